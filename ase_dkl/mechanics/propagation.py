"""Error bars of functions of quantities that have error bars."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ase_dkl.arrays import Floats

STEP = 1e-4
"""Step of the finite differences, in standard deviations."""


def propagated(function: Callable[[Floats], Floats], mean: Floats, covariance: Floats) -> tuple[Floats, Floats]:
    """Values of a function of Gaussian quantities, and their covariance to first order.

    The function is followed along the columns of a root of the covariance, by central differences. Steps are therefore
    small against the error bars, whatever the units, and the directions that symmetry leaves certain cost nothing.

    Args:
        function: takes m points, shape (m, n), and answers m values, shape (m, p). It is called once.
        mean: shape (n,).
        covariance: shape (n, n).

    Returns:
        The function at the mean, shape (p,), and a covariance of shape (p, p).
    """
    root = covariance_root(covariance)
    steps = STEP * root.T
    values = function(mean + np.concatenate([np.zeros((1, len(mean))), steps, -steps]))
    forward, backward = np.split(values[1:], 2)
    slopes = (forward - backward) / (2 * STEP)
    return values[0], slopes.T @ slopes


def covariance_root(covariance: Floats) -> Floats:
    """R with covariance = R Rᵀ and as many columns as the covariance has rank, shape (n, r)."""
    # Correlations have the root: next to 100 GPa, 1e-5 eV would be lost. What is zero but for rounding keeps its size.
    scale = deviations(covariance)
    scale = np.maximum(scale, 1e-12 * scale.max() or 1.0)
    variances, directions = np.linalg.eigh(covariance / np.outer(scale, scale))
    uncertain = variances > 1e-12 * variances[-1]
    return np.asarray(scale[:, None] * directions[:, uncertain] * np.sqrt(variances[uncertain]))


def deviations(covariance: Floats) -> Floats:
    """Standard deviations of n quantities, whose variances rounding may have left below zero, shape (n,)."""
    return np.sqrt(np.maximum(np.diagonal(covariance), 0))
