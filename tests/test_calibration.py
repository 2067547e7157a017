from dataclasses import replace

import numpy as np
import pytest
from ase.units import GPa

from ase_dkl import Dataset, Normal, Prediction, Surrogate, TrainConfig
from ase_dkl.arrays import Floats
from ase_dkl.model.calibration import BadCalibration, Calibration, Scores
from ase_dkl.training.calibrate import calibrate

QUICK = TrainConfig(networks=1, width=16, depth=2, n_inducing=16, steps=25)


def scores_of(z: Floats, folds: int = 5) -> Scores:
    z = z.reshape(len(z), -1)
    return Scores(z, np.arange(len(z)) % folds)


def prediction_of(n: int, stress: bool = True) -> Prediction:
    ones = np.ones(n)
    six = np.ones((n, 6))
    slopes = {"strain": Normal(0.1 * six, 0.3 * six, 0.4 * six)} if stress else {}
    return Prediction(Normal(2 * ones, 3 * ones, 4 * ones), slopes)


@pytest.fixture(scope="module")
def rows(srtio3_dataset: Dataset) -> Dataset:
    return srtio3_dataset.subset(np.arange(24))


@pytest.fixture(scope="module")
def calibration(rows: Dataset) -> Calibration:
    return calibrate(rows, QUICK, folds=3, progress=False)


def test_the_quantile_is_the_textbook_one() -> None:
    """It is the ⌈(n + 1) level⌉-th smallest of n scores."""
    scores = scores_of(np.random.default_rng(0).permutation(np.arange(1.0, 20.0)))
    assert scores.half_width(0.95) == 19
    assert scores.half_width(0.9) == 18
    assert scores.half_width(0.5) == 10


@pytest.mark.parametrize("labels", [1, 2, 6])
def test_the_row_to_come_counts_with_all_its_labels(labels: int) -> None:
    """The smallest score that at least the level of all scores do not exceed, those of the row to come at infinity."""
    rng = np.random.default_rng(labels)
    for _ in range(100):
        z = rng.standard_t(3, size=(rng.integers(5, 60), labels))
        level = rng.uniform(0.05, 0.8)
        everything = np.append(np.abs(z), np.full(labels, np.inf))
        expected = min(score for score in everything if np.mean(everything <= score) >= level)
        assert scores_of(z).half_width(level) == expected


def test_the_sign_of_errors_does_not_matter() -> None:
    z = np.random.default_rng(0).normal(size=50)
    assert scores_of(z).half_width(0.9) == scores_of(-z).half_width(0.9) == scores_of(np.abs(z)).half_width(0.9)


@pytest.mark.parametrize(("level", "rows_needed"), [(0.9, 9), (0.95, 19), (0.99, 99), (0.68, 3)])
@pytest.mark.parametrize("labels", [1, 6])
def test_as_many_rows_as_a_level_takes(level: float, rows_needed: int, labels: int) -> None:
    """However many labels a row has: they go together."""
    z = np.random.default_rng(1).normal(size=(rows_needed, labels))
    assert np.isfinite(scores_of(z).half_width(level))
    with pytest.raises(BadCalibration, match=rf"{rows_needed - 1} held-out rows .* takes {rows_needed}\."):
        scores_of(z[1:]).half_width(level)


def test_labels_that_do_not_exist_do_not_count() -> None:
    z = np.random.default_rng(2).normal(size=(40, 3))
    padded = np.insert(z, [2, 3, 3], np.nan, axis=1)
    assert scores_of(padded).half_width(0.9) == scores_of(z).half_width(0.9)
    assert scores_of(padded).factor == pytest.approx(scores_of(z).factor)
    assert scores_of(padded).coverage(0.9) == scores_of(z).coverage(0.9)


@pytest.mark.parametrize("labels", [1, 6])
@pytest.mark.parametrize("kind", ["narrow", "heavy"])
def test_intervals_hold_what_they_say_whatever_the_errors_are(kind: str, labels: int) -> None:
    """Averaged over many calibrations; errors of one row go together."""
    rng = np.random.default_rng(3)
    inside = []
    for _ in range(1000):
        if kind == "narrow":
            z = 0.2 * rng.normal(size=(60, labels))
        else:
            z = rng.standard_t(2, size=(60, 1)) * rng.normal(size=(60, labels))
        inside.append(np.abs(z[30:]) <= scores_of(z[:30]).half_width(0.9))
    # In theory 0.9 or up to 1/31 more; ± 0.0025 by chance.
    assert 0.893 < np.mean(inside) < 0.94


def test_the_factor_mends_gaussian_errors() -> None:
    z = 2.5 * np.random.default_rng(4).normal(size=4000)
    scores = scores_of(z)
    assert scores.factor == pytest.approx(2.5, rel=0.05)
    coverage = scores.coverage(0.95)
    assert coverage["raw"] is not None
    assert coverage["raw"] < 0.6
    assert coverage["scaled"] == pytest.approx(0.95, abs=0.01)
    assert coverage["conformal"] == pytest.approx(0.95, abs=0.01)


def test_coverage_that_folds_are_too_few_for() -> None:
    assert scores_of(np.random.default_rng(0).normal(size=20)).coverage(0.95)["conformal"] is None


def test_intervals_lie_around_the_prediction() -> None:
    scores = scores_of(np.arange(1.0, 20.0))
    found = Calibration({"value": scores, "strain": scores_of(np.arange(1.0, 20.0) / 2)}).intervals(
        prediction_of(2), 0.9
    )
    assert found.energy == pytest.approx(np.array([[2 - 90, 2 + 90]] * 2))
    assert found.stress is not None
    assert found.stress.shape == (2, 6, 2)
    assert found.stress[1, 3] == pytest.approx([0.1 - 4.5, 0.1 + 4.5])


def test_extrapolations_have_no_interval() -> None:
    scores = scores_of(np.arange(1.0, 20.0))
    outside = np.array([False, True])
    found = Calibration({"value": scores, "strain": scores}).intervals(prediction_of(2), 0.9, outside=outside)
    assert found.stress is not None
    assert np.array_equal(np.isnan(found.energy).all(axis=1), outside)
    assert np.array_equal(np.isnan(found.stress).all(axis=(1, 2)), outside)


def test_stresses_without_scores_or_predictions() -> None:
    scores = scores_of(np.arange(1.0, 20.0))
    assert Calibration({"value": scores}).intervals(prediction_of(1), 0.9).stress is None
    assert (
        Calibration({"value": scores, "strain": scores}).intervals(prediction_of(1, stress=False), 0.9).stress is None
    )


@pytest.mark.parametrize("level", [0, 1, 95])
def test_levels_are_fractions(level: float) -> None:
    with pytest.raises(BadCalibration, match="give a fraction"):
        Calibration({"value": scores_of(np.arange(9.0))}).intervals(prediction_of(1), level)


def test_every_row_is_held_out_once(calibration: Calibration, rows: Dataset) -> None:
    assert np.isfinite(calibration.energy.z).all()
    assert sorted(np.bincount(calibration.energy.fold)) == [8, 8, 8]
    assert calibration.stress is not None
    assert calibration.stress.z.shape == (len(rows), 6)
    assert np.isfinite(calibration.stress.z).all()
    # A model of this few rows is wrong by more than it says, and not by orders of magnitude.
    assert 0.2 < calibration.energy.factor < 20
    assert 0.2 < calibration.stress.factor < 20


def test_the_same_again(rows: Dataset, calibration: Calibration) -> None:
    assert np.array_equal(calibrate(rows, QUICK, folds=3, progress=False).energy.z, calibration.energy.z)


def test_rows_without_stress(rows: Dataset) -> None:
    few = rows.subset(np.arange(12))
    stresses = few.stresses.copy()
    stresses[::3] = np.nan
    found = calibrate(replace(few, stresses=stresses), QUICK, folds=2, progress=False)
    assert found.stress is not None
    assert (len(found.energy.z), len(found.stress.z)) == (12, 8)
    without = calibrate(few, replace(QUICK, stress="ignore"), folds=2, progress=False)
    assert without.stress is None


def test_rows_of_active_learning_are_told(rows: Dataset) -> None:
    found = calibrate(rows.subset(np.arange(8)), replace(QUICK, steps=2), folds=2, chosen=5, progress=False)
    assert "5 of the 8 rows come from active learning" in found.notes[0]


@pytest.mark.parametrize("folds", [1, 3])
def test_too_few_rows_for_the_folds(rows: Dataset, folds: int) -> None:
    with pytest.raises(BadCalibration, match=f"5 rows cannot be held out in {folds} folds"):
        calibrate(rows.subset(np.arange(5)), QUICK, folds=folds, progress=False)


def test_a_model_file_keeps_it_apart_from_the_predictions(surrogate: Surrogate, calibration: Calibration) -> None:
    with_it = Surrogate.from_bytes(surrogate.to_bytes())
    with_it.calibration = replace(calibration, notes=("Not exchangeable.",))
    loaded = Surrogate.from_bytes(with_it.to_bytes())
    assert loaded.calibration is not None
    assert loaded.calibration.summary() == with_it.calibration.summary()
    assert loaded.digest == surrogate.digest
    assert surrogate.calibration is None
    prediction = loaded.predict_cells(loaded.cells)
    one, other = (each.calibration.intervals(prediction, 0.8) for each in (loaded, with_it) if each.calibration)
    assert np.array_equal(one.energy, other.energy)


def test_intervals_of_unseen_rows(rows: Dataset, srtio3_dataset: Dataset, calibration: Calibration) -> None:
    from ase_dkl import fit

    surrogate = fit(rows, QUICK, progress=False)
    unseen = srtio3_dataset.subset(np.arange(200, 300))
    outside = surrogate.extrapolation(unseen.cells).outside
    found = calibration.intervals(surrogate.predict_cells(unseen.cells), 0.9, outside=outside)
    low, high = found.energy[~outside].T
    energies = unseen.energies[~outside]
    assert np.mean((low <= energies) & (energies <= high)) > 0.75
    assert found.stress is not None
    low, high = np.moveaxis(found.stress[~outside], -1, 0) / GPa
    assert (low < high).all()
