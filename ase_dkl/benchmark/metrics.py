"""Metrics of studies alone, besides those of `ase_dkl.metrics`: arrays in, numbers out."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import mannwhitneyu
from scoringrules import crps_normal

from ase_dkl.metrics import rmse


def continuous_ranked_probability_score(error: ArrayLike, uncertainty: ArrayLike) -> float:
    """Mean CRPS of Gaussian forecasts, in the unit of the error: its size for a forecast without uncertainty.

    Source: Gneiting & Raftery (2007), doi:10.1198/016214506000001437; computed by scoringrules.
    """
    zero = np.zeros_like(error, dtype=np.float64)
    return float(np.mean(crps_normal(zero, np.asarray(error), np.asarray(uncertainty), backend="numpy")))


def expected_normalised_calibration_error(error: ArrayLike, uncertainty: ArrayLike) -> float | None:
    """Mean of |RMS σ − RMSE| / RMS σ over ten bins of equally many errors, ordered by σ; None with fewer errors.

    Errors are drawn: of calibrated Gaussian forecasts with k errors a bin it is near 0.56/√k, not 0.

    Source: Levi et al. (2022), doi:10.3390/s22155540.
    """
    bins = 10
    error, uncertainty = np.broadcast_arrays(error, uncertainty)
    if len(error) < bins:
        return None
    parts = np.array_split(np.argsort(uncertainty, kind="stable"), bins)
    return float(np.mean([abs(1 - rmse(error[part]) / rmse(uncertainty[part])) for part in parts]))


def risk_coverage_area(error: ArrayLike, uncertainty: ArrayLike) -> float:
    """Mean absolute error of the k surest predictions, averaged over k = 1 … n, in the unit of the error.

    It is small where errors are, and where the sure predictions are the right ones; with σ that does not tell it is the
    mean absolute error. Equally sure predictions are taken in no order.

    Source: El-Yaniv & Wiener (2010), JMLR 11, 1605; Geifman, Uziel & El-Yaniv (2019), arXiv:1805.08206.
    """
    _, group, sizes = np.unique(np.asarray(uncertainty), return_inverse=True, return_counts=True)
    losses = np.repeat(np.bincount(group, np.abs(error)) / sizes, sizes)
    return float(np.mean(np.cumsum(losses) / np.arange(1, len(losses) + 1)))


def auroc(inside: ArrayLike, outside: ArrayLike) -> float:
    """Probability that a value from outside is larger than one from inside; ties count one half.

    The area under the curve of true against false alarms, as from scikit-learn's `roc_auc_score`.
    """
    inside, outside = np.asarray(inside), np.asarray(outside)
    return float(mannwhitneyu(outside, inside).statistic / (len(inside) * len(outside)))
