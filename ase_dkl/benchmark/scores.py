"""What a fitted model is worth: every score of a study, from its predictions and the labels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from ase.units import GPa

from ase_dkl import metrics
from ase_dkl.arrays import Floats
from ase_dkl.benchmark.data import Data
from ase_dkl.benchmark.methods import Model
from ase_dkl.benchmark.metrics import (
    auroc,
    continuous_ranked_probability_score,
    expected_normalised_calibration_error,
    risk_coverage_area,
)
from ase_dkl.crystal.lattice import volumes
from ase_dkl.dataset import Dataset
from ase_dkl.errors import Refused
from ase_dkl.model.evaluation import stress_labels
from ase_dkl.model.prediction import Normal, Prediction

Scores = dict[str, float | None]


class BadPrediction(Refused, ValueError):
    """A model's numbers that cannot be scored."""


def scores(model: Model, training: Dataset, data: Data, *, stress: bool) -> Scores:
    """Score a model on the rows of a data set.

    Coverages, likelihood, CRPS, ENCE and sharpness judge labels by the model's uncertainty and the noise together; rank
    correlation, the risk–coverage area and AUROC the order of the model's own uncertainties.

    Args:
        model: fitted to `training`.
        training: with all labels that the rows have, whether the model was given them or not.
        data: what to score it on.
        stress: whether the model has stresses to score.

    Raises:
        BadPrediction: numbers that are not finite, or an uncertainty that is not positive.
    """
    test, outside = data.test, data.outside
    compared = stress and bool(test.has_stress.any())
    prediction = model.predict_cells(test.cells, stress=compared)
    energy = prediction.value
    found = _named("energy", "meV", 1e3, energy.mean - test.energies, energy)
    if compared:
        of_strain = prediction.slopes["strain"]
        errors = _stress_errors(prediction, test, model.stress_offset or _offset(model, training))
        there = np.isfinite(errors)
        found |= _named("stress", "GPa", 1, errors[there] / GPa, of_strain[there].times(1 / GPa))
    around = model.predict_cells(data.around, stress=False).value.std
    found["auroc"] = auroc(energy.std, _finite(around))
    if outside is not None:
        beyond = model.predict_cells(outside.cells, stress=False).value
        error = _finite(beyond.mean - outside.energies)
        found["outside_rmse_meV"] = 1e3 * metrics.rmse(error)
        found["outside_coverage_95"] = metrics.coverage(error, beyond.total, 0.95)
        found["outside_auroc"] = auroc(energy.std, _finite(beyond.std))
    return found


def _offset(model: Model, training: Dataset) -> float:
    """The labels' constant in V·σ of xx, yy, zz, eV, for a model that had no stresses to learn it from.

    It is found on the rows that the model was trained on, where other models find it too.
    """
    rows = training.subset(training.has_stress)
    if not len(rows):
        return 0.0
    errors = _stress_errors(model.predict_cells(rows.cells), rows, 0.0)
    return -float(np.nanmedian(volumes(rows.cells)[:, None] * errors[:, :3]))


def _stress_errors(prediction: Prediction, rows: Dataset, offset: float) -> Floats:
    """Errors of stresses that are finite: NaN then says that there is nothing to compare."""
    return _finite(prediction.slopes["strain"].mean) - stress_labels(rows, offset)


def _named(what: str, unit: str, factor: float, error: Floats, predicted: Normal) -> Scores:
    _finite(error)
    own, total = predicted.std, predicted.total
    if not (np.isfinite(own).all() and np.isfinite(total).all() and (own >= 0).all() and (total > 0).all()):
        raise BadPrediction(f"Some uncertainty of the {what} is not a positive number.")
    measured: Mapping[str, float | None] = {
        f"rmse_{unit}": factor * metrics.rmse(error),
        f"mae_{unit}": factor * float(np.mean(np.abs(error))),
        "nll": metrics.negative_log_likelihood(error, total),
        f"crps_{unit}": factor * continuous_ranked_probability_score(error, total),
        "coverage_68": metrics.coverage(error, total, 0.68),
        "coverage_95": metrics.coverage(error, total, 0.95),
        "miscalibration_area": metrics.miscalibration_area(error, total),
        "ence": expected_normalised_calibration_error(error, total),
        f"sharpness_{unit}": factor * metrics.rmse(total),
        "spearman": metrics.rank_correlation(error, own),
        f"risk_coverage_{unit}": factor * risk_coverage_area(error, own),
    }
    return {f"{what}_{name}": value for name, value in measured.items()}


def _finite(values: Floats) -> Floats:
    if not np.isfinite(values).all():
        raise BadPrediction(f"{np.count_nonzero(~np.isfinite(values))} of {values.size} predictions are not finite.")
    return values
