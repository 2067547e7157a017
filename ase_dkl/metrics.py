"""How good predictions are and how honest their error bars: arrays in, numbers out."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ase_dkl.arrays import Floats


def rmse(error: ArrayLike) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(error))))


def negative_log_likelihood(error: ArrayLike, uncertainty: ArrayLike) -> float:
    """Mean of −log N(error; 0, uncertainty²), nats."""
    error, uncertainty = np.asarray(error), np.asarray(uncertainty)
    return float(np.mean(0.5 * (error / uncertainty) ** 2 + np.log(uncertainty) + 0.5 * np.log(2 * np.pi)))


def coverage(error: ArrayLike, uncertainty: ArrayLike, level: float) -> float:
    """Fraction of the errors inside the central interval of a Gaussian that holds `level` of its mass."""
    return float(np.mean(_central_mass(error, uncertainty) <= level))


def miscalibration_area(error: ArrayLike, uncertainty: ArrayLike) -> float:
    """Area between the observed and the expected coverage of central intervals, ∫₀¹ |observed(p) − p| dp.

    0 for a perfectly calibrated forecast, ½ where every error lies far outside (or every error is zero). The observed
    coverage is a staircase, so the integral is exact and needs no grid.

    Source: Kuleshov, Fenner & Ermon (2018), arXiv:1807.00263, in the absolute-area form of Tran et al. (2020),
    doi:10.1088/2632-2153/ab7e1a.
    """
    mass = np.sort(_central_mass(error, uncertainty))
    observed = np.arange(len(mass) + 1) / len(mass)
    left, right = np.append(0.0, mass) - observed, np.append(mass, 1.0) - observed
    # ∫ |p − c| dp = ½ (p − c) |p − c|
    return float(np.sum(right * np.abs(right) - left * np.abs(left)) / 2)


def rank_correlation(error: ArrayLike, uncertainty: ArrayLike) -> float | None:
    """Spearman correlation of |error| and uncertainty; None where either does not vary."""
    from scipy.stats import spearmanr

    size, uncertainty = np.abs(error), np.asarray(uncertainty)
    if np.ptp(size) == 0 or np.ptp(uncertainty) == 0:
        return None
    return float(spearmanr(size, uncertainty).statistic)


def continuous_ranked_probability_score(error: ArrayLike, uncertainty: ArrayLike) -> float:
    """Mean CRPS of Gaussian forecasts, in the unit of the error: its size for a forecast without uncertainty.

    Source: Gneiting & Raftery (2007), doi:10.1198/016214506000001437; computed by scoringrules.
    """
    from scoringrules import crps_normal

    zero = np.zeros_like(error, dtype=np.float64)
    return float(np.mean(crps_normal(zero, np.asarray(error), np.asarray(uncertainty), backend="numpy")))


def sharpness(uncertainty: ArrayLike) -> float:
    """Root mean square of the uncertainties: of two calibrated forecasts the one with the smaller says more."""
    return rmse(uncertainty)


def expected_normalised_calibration_error(error: ArrayLike, uncertainty: ArrayLike, *, bins: int = 10) -> float | None:
    """Mean of |RMS σ − RMSE| / RMS σ over bins of equally many errors, ordered by σ; None with fewer errors than bins.

    Errors are drawn: of calibrated Gaussian forecasts with k errors a bin it is near 0.56/√k, not 0.

    Source: Levi et al. (2022), doi:10.3390/s22155540.
    """
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
    from scipy.stats import mannwhitneyu

    inside, outside = np.asarray(inside), np.asarray(outside)
    return float(mannwhitneyu(outside, inside).statistic / (len(inside) * len(outside)))


def _central_mass(error: ArrayLike, uncertainty: ArrayLike) -> Floats:
    from scipy.special import erf

    return np.asarray(erf(np.abs(error) / (np.sqrt(2) * np.asarray(uncertainty))))
