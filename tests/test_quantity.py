"""A quantity that ase_dkl does not have: one entry in the table, and it is trained, predicted, saved and loaded."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ase_dkl import BadModelFile, BadTraining, Dataset, Surrogate, TrainConfig, conditioned, evaluate, fit
from ase_dkl.arrays import Floats
from ase_dkl.crystal.lattice import volumes
from ase_dkl.model.quantity import QUANTITIES, Quantity

GAP = Quantity("gap", "eV", ("meV", 1e3), extensive=False)
CONFIG = TrainConfig(networks=2, width=16, depth=2, n_inducing=12, steps=60)


def gaps(cells: Floats) -> Floats:
    """Gaps of a band structure whose edges move with the volume alone, eV."""
    return np.asarray(1.8 - 3.0 * np.log(volumes(cells) / 61.0))


@pytest.fixture(scope="module", autouse=True)
def known() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(QUANTITIES, GAP.name, GAP)
        yield


@pytest.fixture(scope="module")
def rows(srtio3_dataset: Dataset) -> Dataset:
    """Labelled with gaps where energies were; their stresses say nothing of a gap."""
    return replace(srtio3_dataset, energies=gaps(srtio3_dataset.cells)).subset(np.arange(40))


@pytest.fixture(scope="module")
def model(rows: Dataset, known: None) -> Surrogate:
    return fit(rows.subset(np.arange(24)), CONFIG, quantity=GAP, progress=False)


def test_it_is_learnt_without_slopes(model: Surrogate, rows: Dataset) -> None:
    assert model.report.n_stress == 0
    assert set(model.process.noise) == set(model.report.noise) == {"value"}
    assert not any("stress" in words for words in model.report.warnings)
    unseen = rows.subset(np.arange(24, 40))
    prediction = model.predict_cells(unseen.cells)
    assert not prediction.slopes
    assert prediction.value.mean == pytest.approx(unseen.energies, abs=0.05 * unseen.energies.std())
    assert evaluate(model, unseen).stress_rmse_GPa is None


def test_it_is_called_by_its_name(model: Surrogate, rows: Dataset) -> None:
    assert repr(model.predict_cells(rows.cells[:1])).startswith("Prediction of 1 structure: gap = ")
    assert list(model.predict_cells(rows.cells[:1]).to_dict()) == ["gap", "gap_uncertainty", "gap_noise"]


def test_two_cells_have_the_gap_of_one(model: Surrogate, rows: Dataset) -> None:
    one = model.crystal.atoms(rows.cells[30])
    first, second = (model.predict(atoms).value.mean for atoms in (one, one.repeat((1, 1, 2))))
    assert first == pytest.approx(second, rel=1e-9)


def test_it_has_derivatives_all_the_same(model: Surrogate, rows: Dataset) -> None:
    """Deformation potentials: ∂gap/∂ε of the model, as differences of its gaps have them."""
    cell, step = rows.cells[30], 1e-4
    ahead, behind = (model.predict_cells(cell[None] @ (np.eye(3) * (1 + sign * step))).value.mean for sign in (1, -1))
    slope = (ahead - behind) / (2 * step)
    assert model.derivatives(cell[None])[0, :3].sum() == pytest.approx(slope[0], rel=1e-5)


def test_it_is_saved_and_loaded(model: Surrogate, rows: Dataset, tmp_path: Path) -> None:
    model.save(tmp_path / "gap.dkl")
    loaded = Surrogate.load(tmp_path / "gap.dkl")
    assert loaded.quantity is GAP
    assert loaded.predict_cells(rows.cells).to_dict() == model.predict_cells(rows.cells).to_dict()
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(QUANTITIES, GAP.name)
        with pytest.raises(BadModelFile, match="there is no quantity 'gap', only energy"):
            Surrogate.load(tmp_path / "gap.dkl")


def test_it_learns_of_further_labels(model: Surrogate, rows: Dataset) -> None:
    more = conditioned(model, rows.subset(np.arange(24, 30)))
    assert more.quantity is GAP
    assert more.report.n_rows == 30
    assert (more.predict_cells(rows.cells).value.std <= model.predict_cells(rows.cells).value.std * (1 + 1e-9)).all()


def test_training_does_not_go_on_from_a_model_of_something_else(model: Surrogate, srtio3_dataset: Dataset) -> None:
    with pytest.raises(BadTraining, match=r"one of the gap, not of the energy\. Train from the beginning"):
        fit(srtio3_dataset, CONFIG, start=model, progress=False)
