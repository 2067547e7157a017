import numpy as np
import pytest

from ase_dkl import Dataset, Surrogate, TrainConfig, fit, mos2
from ase_dkl.model.conditioning import conditioned


@pytest.fixture(scope="module")
def new(srtio3_dataset: Dataset) -> Dataset:
    """Rows that the surrogate has not seen, one of them without a stress."""
    rows = srtio3_dataset.subset(np.arange(30, 36))
    rows.stresses[2] = np.nan
    return rows


def test_all_at_once_or_one_by_one_is_the_same(surrogate: Surrogate, new: Dataset, srtio3_dataset: Dataset) -> None:
    at_once = conditioned(surrogate, new)
    in_turn = surrogate
    for i in (3, 2, 0, 1, 5, 4):
        in_turn = conditioned(in_turn, new.subset(np.array([i])))
    cells = srtio3_dataset.cells[100:120]
    first, second = at_once.posterior(cells), in_turn.posterior(cells)
    assert first.mean == pytest.approx(second.mean, abs=1e-8)
    assert first.covariance == pytest.approx(second.covariance, abs=1e-10)
    assert at_once.report.n_rows == in_turn.report.n_rows == 30
    assert at_once.report.n_stress == in_turn.report.n_stress == 29
    assert at_once.report.stress_offset_GPa == pytest.approx(in_turn.report.stress_offset_GPa)


def test_the_sextic_mean_learns_as_well(new: Dataset, srtio3_dataset: Dataset) -> None:
    config = TrainConfig(networks=1, steps=40, mean="sextic")
    before = fit(srtio3_dataset.subset(np.arange(24)), config, progress=False)
    at_once = conditioned(before, new)
    in_turn = conditioned(conditioned(before, new.subset(np.arange(3))), new.subset(np.arange(3, 6)))
    cells = srtio3_dataset.cells[100:120]
    after = at_once.predict_cells(cells)
    assert after.energy == pytest.approx(in_turn.predict_cells(cells).energy, abs=1e-8)
    assert (after.energy_uncertainty < before.predict_cells(cells).energy_uncertainty).all()


def test_one_energy_is_worth_what_the_textbook_says(surrogate: Surrogate, new: Dataset) -> None:
    row = new.without_stresses().subset(np.array([1]))
    before = surrogate.predict_cells(row.cells, stress=False)
    after = conditioned(surrogate, row).predict_cells(row.cells, stress=False)
    variance, noise = before.energy_uncertainty**2, before.energy_noise**2
    gain = variance / (variance + noise)
    # To what the inducing points leave unexplained, which no label changes.
    assert after.energy - before.energy == pytest.approx(gain * (row.energies - before.energy), rel=5e-2)
    assert after.energy_uncertainty**2 == pytest.approx((1 - gain) * variance, rel=5e-2)


def test_the_old_model_stays_as_it_is_and_the_new_one_is_saved_like_any(surrogate: Surrogate, new: Dataset) -> None:
    digest = surrogate.digest
    model = conditioned(surrogate, new)
    assert surrogate.digest == digest != model.digest
    assert len(model.cells) == len(surrogate.cells) + len(new)
    assert Surrogate.from_bytes(model.to_bytes()).digest == model.digest


def test_uncertainty_never_grows(surrogate: Surrogate, new: Dataset, srtio3_dataset: Dataset) -> None:
    cells = srtio3_dataset.cells[60:100]
    before, after = surrogate.predict_cells(cells), conditioned(surrogate, new).predict_cells(cells)
    assert (after.energy_uncertainty <= before.energy_uncertainty * (1 + 1e-9)).all()
    assert before.stress_uncertainty is not None
    assert after.stress_uncertainty is not None
    assert (after.stress_uncertainty <= before.stress_uncertainty * (1 + 1e-9)).all()


def test_a_model_of_energies_alone_takes_energies_alone(srtio3_dataset: Dataset, new: Dataset) -> None:
    config = TrainConfig(networks=1, steps=5, width=8, depth=1)
    model = fit(srtio3_dataset.subset(np.arange(12)).without_stresses(), config, progress=False)
    assert conditioned(model, new).digest == conditioned(model, new.without_stresses()).digest
    assert conditioned(model, new).report.n_stress == 0


def test_sheets() -> None:
    dataset = Dataset.read(mos2(), select="set=pool")
    model = fit(dataset.subset(np.arange(10)), TrainConfig(networks=2, steps=60), progress=False)
    rest = dataset.subset(np.arange(10, len(dataset)))
    after = conditioned(model, rest).predict_cells(rest.cells, stress=False)
    before = model.predict_cells(rest.cells, stress=False)
    assert np.std(after.energy - rest.energies) < np.std(before.energy - rest.energies)
