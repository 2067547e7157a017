"""Moduli of a polycrystal from the elastic constants of its crystals, with error bars."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ase_dkl.arrays import Floats
from ase_dkl.errors import Refused
from ase_dkl.mechanics.propagation import covariance_root, propagated
from ase_dkl.mechanics.stability import smallest_eigenvalue
from ase_dkl.shown import Shown
from ase_dkl.wording import concise, plus_minus

LABELS = {
    "bulk_modulus_GPa": ("bulk modulus (Hill)", "GPa"),
    "shear_modulus_GPa": ("shear modulus (Hill)", "GPa"),
    "young_modulus_GPa": ("Young's modulus (Hill)", "GPa"),
    "poisson_ratio": ("Poisson's ratio", ""),
    "universal_anisotropy": ("universal anisotropy", ""),
}
SECOND_STEP = 0.05
"""Step of second differences, in standard deviations."""


class NotStiff(Refused, ValueError):
    """Moduli asked of elastic constants that resist not every strain."""


@dataclass(frozen=True, repr=False)
class Moduli(Shown):
    """Moduli of a polycrystal of randomly turned grains, each with its standard deviation.

    The grains are strained alike in Voigt's average, stressed alike in Reuss's; Hill's is the mean of the two, and the
    names that mention neither are Hill's.

    Attributes:
        bulk_modulus_GPa: K.
        shear_modulus_GPa: G.
        young_modulus_GPa: 9 K G / (3 K + G).
        poisson_ratio: (3 K − 2 G) / (6 K + 2 G).
        universal_anisotropy: 5 G_Voigt / G_Reuss + K_Voigt / K_Reuss − 6; zero where the crystal is isotropic.
        universal_anisotropy_std: to second order, because the index is never negative and has no slope at zero. Where
            it is below its standard deviation, the crystal may well be isotropic.
    """

    bulk_modulus_GPa: float
    shear_modulus_GPa: float
    young_modulus_GPa: float
    poisson_ratio: float
    universal_anisotropy: float
    bulk_modulus_voigt_GPa: float
    bulk_modulus_reuss_GPa: float
    shear_modulus_voigt_GPa: float
    shear_modulus_reuss_GPa: float
    bulk_modulus_GPa_std: float
    shear_modulus_GPa_std: float
    young_modulus_GPa_std: float
    poisson_ratio_std: float
    universal_anisotropy_std: float
    bulk_modulus_voigt_GPa_std: float
    bulk_modulus_reuss_GPa_std: float
    shear_modulus_voigt_GPa_std: float
    shear_modulus_reuss_GPa_std: float

    def words(self) -> dict[str, str]:
        """Hill's averages."""
        return self._in_words(plus_minus)

    def _summary(self) -> tuple[str, dict[str, str]]:
        return "Polycrystal", self._in_words(concise)

    def _in_words(self, in_words: Callable[[float, float, str], str]) -> dict[str, str]:
        return {
            label: in_words(getattr(self, name), getattr(self, f"{name}_std"), unit)
            for name, (label, unit) in LABELS.items()
        }


def moduli(C_GPa: Floats, covariance: Floats) -> Moduli:
    """Average elastic constants over the directions of the grains.

    Args:
        C_GPa: elastic constants, Voigt, shape (6, 6).
        covariance: of `C_GPa.ravel()`, GPa², shape (36, 36).

    Raises:
        NotStiff: the crystal gives way to some strain: it is not stable, and Reuss's averages mean nothing.

    Source: R. Hill, Proc. Phys. Soc. A 65, 349 (1952); S. I. Ranganathan, M. Ostoja-Starzewski, Phys. Rev. Lett. 101,
    055504 (2008).
    """
    lowest = smallest_eigenvalue(C_GPa)
    if lowest <= 0:
        raise NotStiff(
            f"These elastic constants have an eigenvalue of {lowest:.3g} GPa: the crystal gives way to some strain, so "
            "that a polycrystal of it has no moduli. Choose another pressure, or add DFT runs around this lattice if "
            "the crystal should be stable there."
        )
    mean = C_GPa.ravel()
    values, covariances = propagated(_averages, mean, covariance)
    stds = np.sqrt(np.diagonal(covariances)).copy()
    stds[4] = np.sqrt(_second_order_variance(lambda C: _averages(C)[:, 4], mean, covariance))
    return Moduli(*values.tolist(), *stds.tolist())


def _averages(C: Floats) -> Floats:
    """The moduli of m sets of constants, shape (m, 36), in the order of the fields, shape (m, 9)."""
    C = C.reshape(-1, 6, 6)
    S = np.asarray(np.linalg.inv(C), dtype=np.float64)
    axial, diagonal, shears = _sums(C)
    K_voigt, G_voigt = axial / 9, (3 * diagonal - axial + 6 * shears) / 30
    axial, diagonal, shears = _sums(S)
    K_reuss, G_reuss = 1 / axial, 15 / (6 * diagonal - 2 * axial + 3 * shears)
    K, G = (K_voigt + K_reuss) / 2, (G_voigt + G_reuss) / 2
    young, poisson = 9 * K * G / (3 * K + G), (3 * K - 2 * G) / (6 * K + 2 * G)
    anisotropy = 5 * G_voigt / G_reuss + K_voigt / K_reuss - 6
    return np.column_stack([K, G, young, poisson, anisotropy, K_voigt, K_reuss, G_voigt, G_reuss])


def _sums(M: Floats) -> tuple[Floats, Floats, Floats]:
    """Sums over the 3×3 block of the axial strains, over its diagonal and over the shears', of m matrices."""
    diagonal = np.diagonal(M, axis1=1, axis2=2)
    return M[:, :3, :3].sum(axis=(1, 2)), diagonal[:, :3].sum(axis=1), diagonal[:, 3:].sum(axis=1)


def _second_order_variance(function: Callable[[Floats], Floats], mean: Floats, covariance: Floats) -> float:
    """Variance of a scalar of Gaussian quantities to second order: |g|² + ½ ‖H‖² along a root of the covariance."""
    steps = SECOND_STEP * covariance_root(covariance).T
    r = len(steps)
    signs = [(first, second) for first in (1, -1) for second in (1, -1)]
    pairs = np.array([first * steps[:, None] + second * steps[None] for first, second in signs])
    both, right, left, neither = function(mean + pairs.reshape(-1, len(mean))).reshape(4, r, r)
    hessian = (both - right - left + neither) / (4 * SECOND_STEP**2)
    # Along the diagonal, "both" and "neither" are two steps forward and back.
    gradient = np.diagonal(both - neither) / (4 * SECOND_STEP)
    return float((gradient**2).sum() + (hessian**2).sum() / 2)
