from dataclasses import replace

import numpy as np
import pytest

from ase_dkl import Dataset, Surrogate, evaluate
from ase_dkl.benchmark.data import Data
from ase_dkl.benchmark.results import SCORES
from ase_dkl.benchmark.scores import BadPrediction, scores
from ase_dkl.benchmark.table import SCORES as SHOWN


@pytest.fixture
def data(srtio3_dataset: Dataset) -> Data:
    test, outside = (srtio3_dataset.subset(np.arange(*ends)) for ends in ((24, 64), (64, 70)))
    return Data(srtio3_dataset.subset(np.arange(24)), test, outside, 1.15 * test.cells)


def test_scores_are_those_of_an_evaluation(surrogate: Surrogate, data: Data) -> None:
    found = scores(surrogate, data.pool, data, stress=True)
    expected = evaluate(surrogate, data.test)
    for name in "rmse_meV mae_meV nll coverage_68 coverage_95".split():
        assert found[f"energy_{name}"] == pytest.approx(getattr(expected, f"energy_{name}", getattr(expected, name, 0)))
    assert found["energy_spearman"] == expected.spearman
    assert found["stress_rmse_GPa"] == pytest.approx(expected.stress_rmse_GPa)
    assert found["stress_coverage_95"] == pytest.approx(expected.stress_coverage_95)
    assert found["auroc"] == 1
    assert found["outside_rmse_meV"] is not None


def test_every_score_has_a_column_and_every_column_a_heading(surrogate: Surrogate, data: Data) -> None:
    cost = "fit_s predict_us predict_stress_us single_ms memory_MiB passes".split()
    assert {*scores(surrogate, data.pool, data, stress=True), *cost} == set(SCORES) == set(SHOWN)


def test_without_stresses_there_are_no_scores_of_them(surrogate: Surrogate, data: Data) -> None:
    without = replace(data, test=data.test.without_stresses(), outside=None)
    for found in (scores(surrogate, data.pool, data, stress=False), scores(surrogate, data.pool, without, stress=True)):
        assert not any(name.startswith("stress") for name in found)


def test_labels_offset_is_found_for_a_model_that_does_not_know_it(surrogate: Surrogate, data: Data) -> None:
    known = scores(surrogate, data.pool, data, stress=True)["stress_rmse_GPa"]
    ignorant = Surrogate.from_bytes(surrogate.to_bytes())
    ignorant.stress_offset = 0.0
    found = scores(ignorant, data.pool, data, stress=True)["stress_rmse_GPa"]
    assert found == pytest.approx(known, rel=0.05)


def test_numbers_that_are_not_finite_are_refused(surrogate: Surrogate, data: Data) -> None:
    spoilt = replace(data, test=replace(data.test, energies=np.full(40, np.nan)))
    with pytest.raises(BadPrediction, match="40 of 40 predictions"):
        scores(surrogate, data.pool, spoilt, stress=False)
