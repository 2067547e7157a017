"""What another mean takes: each stands in one place, and all else follows."""

from typing import Any, Literal

import numpy as np
import pytest

from ase_dkl import Dataset, Surrogate, TrainConfig, fit
from ase_dkl.arrays import Floats
from ase_dkl.crystal.lattice import strained, volumes
from ase_dkl.model.mean import MEANS, Mean
from ase_dkl.model.space import Seen


class OfVolume(Mean):
    """A constant and the logarithm of the volume: all that it takes for a mean."""

    name = "volume"  # type: ignore[assignment]

    def functions(self, seen: Seen) -> Floats:
        n = len(seen.points)
        values = np.column_stack([np.ones(n), np.log(volumes(seen.points)), np.zeros(n)])
        if seen.directions is None:
            return values
        traces = seen.directions[..., :3].sum(axis=-1).ravel()
        return np.concatenate([values, np.column_stack([0 * traces, traces, 0 * traces])])

    def independent(self, points: Floats) -> Floats:  # noqa: ARG002
        return np.eye(2)

    def constants(self) -> dict[str, Any]:
        return {}


def test_a_mean(srtio3_dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MEANS, "volume", OfVolume)
    for module in ("mean", "records"):
        monkeypatch.setattr(f"ase_dkl.model.{module}.MeanName", Literal["volume"])
    config = TrainConfig(networks=2, width=8, depth=2, steps=40, mean="volume")  # type: ignore[arg-type]
    rows = srtio3_dataset.subset(np.arange(24))
    surrogate = fit(rows, config, progress=False)
    assert surrogate.report.left_out is not None
    assert surrogate.report.left_out.energy_rmse_meV < 1e3 * rows.energies.std()

    again = Surrogate.from_bytes(surrogate.to_bytes())
    cell, strain = rows.cells[:1], 1e-4 * np.array([1.0, 0.5, 0, 0, 0.3, 0])
    ahead, behind = (again.predict_cells(strained(cell, sign * strain)).energy[0] for sign in (1, -1))
    assert (ahead - behind) / 2 == pytest.approx(again.derivatives(cell)[0] @ strain, rel=1e-5)
