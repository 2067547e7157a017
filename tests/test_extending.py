"""What another mean and another space take: each stands in one place, and all else follows."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
from ase import Atoms

from ase_dkl import Dataset, Surrogate, TrainConfig, fit
from ase_dkl.arrays import Floats
from ase_dkl.crystal import Mapped
from ase_dkl.crystal.lattice import strained, volumes
from ase_dkl.model.domain import Domain
from ase_dkl.model.labels import Labels, Units
from ase_dkl.model.mean import MEANS, Mean
from ase_dkl.model.space import Seen, SeenAlong
from ase_dkl.training.algorithm import learn


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


class Dimer:
    """Two atoms, of which the distance moves. Points are distances, shape (n, 1), Å; the one coordinate is 1/r."""

    blocks: ClassVar[Mapping[str, int]] = {"stretch": 1}
    names = ("r",)
    shape = (1, 1)

    def map(self, atoms: Atoms) -> Mapped:
        raise NotImplementedError

    def atoms(self, point: Floats) -> Atoms:
        return Atoms("N2", [[0, 0, 0], [0, 0, point[0]]])

    def coordinates(self, points: Floats) -> Floats:
        return 5 * (1 / points[:, None] - 0.8)

    def directions(self, points: Floats) -> Floats:
        return np.ones((len(points), 1, 1))

    def seen(self, points: Floats, directions: Floats | None = None) -> Seen:
        m = 0 if directions is None else len(directions)
        if not m or directions is None:
            return Seen(points, directions, self.coordinates(points), None)
        tangents = directions[:, None] * (-5 / points[:m, None, :, None] ** 2)
        return Seen(points, directions, self.coordinates(points), tangents)

    def seen_along_all(self, points: Floats) -> SeenAlong:
        directions = self.directions(points)
        tangents = directions[:, None] * (-5 / points[:, None, :, None] ** 2)
        return SeenAlong(points, directions, self.coordinates(points), tangents)

    def between(self, points: Floats, n: int, rng: np.random.Generator) -> Floats:
        return rng.uniform(points.min(), points.max(), (n, 1))

    def scattered(self, points: Floats, n: int, rng: np.random.Generator) -> Floats:
        return points[rng.integers(len(points), size=n)] * rng.uniform(0.9, 1.1, (n, 1))

    def domain(self, points: Floats) -> Domain:
        return Domain([self.coordinates(points)], np.ones(1), self.names)


def morse(r: Floats) -> tuple[Floats, Floats]:
    """The energy of a dimer, eV, and its slope, eV/Å."""
    decay = np.exp(-2.7 * (r - 1.1))
    return 9.8 * (1 - decay) ** 2, 2 * 9.8 * 2.7 * decay * (1 - decay)


def test_a_space() -> None:
    points = np.linspace(0.95, 1.6, 12)[:, None]
    energies, slopes = morse(points[:, 0])
    space, units = Dimer(), Units.standardising(energies)
    values, along = (energies - units.shift) / units.scale, slopes[:, None] / units.scale
    labels = Labels(space, units, points, space.directions(points), values, along, np.zeros((12, 1)), space.blocks)
    config = TrainConfig(networks=2, width=16, depth=2, n_inducing=12, steps=150)
    trained, report = learn(labels, config, progress=False)
    assert report.noise.keys() == {"value", "stretch"}

    unseen = np.linspace(0.97, 1.55, 9)[:, None]
    expected, std = trained.marginals(unseen, True)
    truth = np.column_stack(morse(unseen[:, 0]))
    # The energies spread over 3 eV, and their slopes over 20 eV/Å.
    assert expected[:, 0] == pytest.approx(truth[:, 0], abs=0.03)
    assert expected[:, 1] == pytest.approx(truth[:, 1], abs=0.5)
    joint = trained.joint(unseen, True)
    assert joint.mean[:9] == pytest.approx(expected[:, 0])
    assert np.sqrt(np.diagonal(joint.covariance)[:9]) == pytest.approx(std[:, 0], rel=1e-4, abs=1e-6)
    ahead, behind = (trained.marginals(unseen + step, False)[0][:, 0] for step in (1e-5, -1e-5))
    assert (ahead - behind) / 2e-5 == pytest.approx(expected[:, 1], rel=1e-5)
