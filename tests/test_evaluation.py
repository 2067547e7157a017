from dataclasses import replace

import numpy as np
import pytest
from ase.units import GPa

from ase_dkl import Dataset, Evaluation, Surrogate, mos2
from ase_dkl.arrays import Floats
from ase_dkl.model import evaluation


def test_evaluation_agrees_with_predictions_row_by_row(surrogate: Surrogate, srtio3_dataset: Dataset) -> None:
    rows = srtio3_dataset.subset(np.arange(24, 40))
    prediction = surrogate.predict_cells(rows.cells)
    assert prediction.stress is not None
    result = evaluation.evaluate(surrogate, rows)
    error_meV = 1e3 * (prediction.energy - rows.energies)
    assert result.n == 16
    assert result.energy_rmse_meV == pytest.approx(np.sqrt(np.mean(error_meV**2)))
    assert result.energy_mae_meV == pytest.approx(np.abs(error_meV).mean())
    assert result.energy_max_meV == pytest.approx(np.abs(error_meV).max())
    volumes = np.abs(np.linalg.det(rows.cells))
    labels = rows.stresses.copy()
    labels[:, :3] -= surrogate.stress_offset / volumes[:, None]
    stress_rmse = np.sqrt(np.mean((prediction.stress - labels) ** 2)) / GPa
    assert result.stress_rmse_GPa == pytest.approx(stress_rmse)
    assert result.coverage_68 is not None
    assert result.coverage_95 is not None
    assert 0 <= result.coverage_68 <= result.coverage_95 <= 1


def test_a_surrogate_is_exact_on_its_own_predictions(surrogate: Surrogate, srtio3_dataset: Dataset) -> None:
    rows = srtio3_dataset.subset(np.arange(24, 40))
    prediction = surrogate.predict_cells(rows.cells)
    assert prediction.stress is not None
    stresses = prediction.stress.copy()
    stresses[:, :3] += surrogate.stress_offset / np.abs(np.linalg.det(rows.cells))[:, None]
    result = evaluation.evaluate(surrogate, replace(rows, energies=prediction.energy, stresses=stresses))
    assert result.energy_rmse_meV == 0
    assert result.coverage_68 == result.coverage_95 == result.stress_coverage_95 == 1
    assert result.stress_rmse_GPa == pytest.approx(0, abs=1e-12)
    assert result.spearman is None


def test_stresses_of_a_tilted_sheet_are_compared_in_its_plane() -> None:
    """What a label says of the direction across the sheet, whichever that is, does not count; nor does the offset."""
    rng = np.random.default_rng(0)
    rows = Dataset.read(mos2()).subset(np.arange(4))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    across = turn[:, 2]
    in_plane = np.diag([1.0, 2.0, 0.0])
    in_plane[0, 1] = in_plane[1, 0] = 0.5
    # Q σ Qᵀ is what a frame that is turned by Q sees of σ.
    stress = _voigt(turn @ in_plane @ turn.T)
    tilted = replace(
        rows, cells=rows.cells @ turn.T, stresses=np.tile(stress + _voigt(7 * np.outer(across, across)), (4, 1))
    )
    volumes = np.abs(np.linalg.det(rows.cells))
    # The offset's part across the sheet is taken off like everything else there.
    offset = 3.0
    tilted.stresses[:, :3] += offset / volumes[:, None]
    np.testing.assert_allclose(evaluation.stress_labels(tilted, offset), np.tile(stress, (4, 1)), atol=1e-12)
    tilted.stresses[2] = np.nan
    there = np.isfinite(evaluation.stress_labels(tilted, offset))
    assert there.all(axis=1).tolist() == there.any(axis=1).tolist() == [True, True, False, True]


def _voigt(tensor: Floats) -> Floats:
    return tensor[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]


def test_nothing_to_compare_is_none(surrogate: Surrogate, srtio3_dataset: Dataset) -> None:
    rows = srtio3_dataset.subset(np.full(10, 30)).without_stresses()
    result = evaluation.evaluate(surrogate, rows).to_dict()
    assert [key for key, value in result.items() if value is None] == [
        "spearman",
        "stress_rmse_GPa",
        "stress_coverage_95",
    ]


@pytest.mark.parametrize("n", [2, 9, 10])
def test_of_few_rows_nothing_is_said_of_the_error_bars(surrogate: Surrogate, srtio3_dataset: Dataset, n: int) -> None:
    result = evaluation.evaluate(surrogate, srtio3_dataset.subset(np.arange(24, 24 + n))).to_dict()
    errors = ["n", "energy_rmse_meV", "energy_mae_meV", "energy_max_meV", "stress_rmse_GPa", "n_outside_domain"]
    assert [key for key, value in result.items() if value is not None] == (list(result) if n == 10 else errors)


def test_keys() -> None:
    keys = (
        "n energy_rmse_meV energy_mae_meV energy_max_meV energy_nll coverage_68 coverage_95 miscalibration_area "
        "spearman stress_rmse_GPa stress_coverage_95 n_outside_domain energy_rms_z force_rmse_meV_A force_mae_meV_A "
        "force_relative_rmse force_coverage_95"
    )
    assert list(Evaluation.__dataclass_fields__) == keys.split()
