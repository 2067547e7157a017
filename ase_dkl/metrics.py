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


def _central_mass(error: ArrayLike, uncertainty: ArrayLike) -> Floats:
    from scipy.special import erf

    return np.asarray(erf(np.abs(error) / (np.sqrt(2) * np.asarray(uncertainty))))
