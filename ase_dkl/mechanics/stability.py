"""Whether a crystal withstands every small strain, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ase_dkl.arrays import Floats
from ase_dkl.mechanics.frame import LaueClass
from ase_dkl.mechanics.propagation import covariance_root, propagated
from ase_dkl.shown import Shown
from ase_dkl.wording import concise, plus_minus

POWERS_OF_GPA = ("", "GPa", "GPa²", "GPa³")
SAMPLES = 4096
"""Draws of the constants: probabilities closer to 0 or 1 than one in so many are not told apart from them."""

_KELVIN = {6: np.array([1, 1, 1, *[np.sqrt(2)] * 3]), 3: np.array([1, 1, np.sqrt(2)])}
"""Weights of axial strains and shears, in three dimensions and in two."""


def _c(C: Floats, i: int, j: int) -> Floats:
    return np.asarray(C[:, i - 1, j - 1])


_Side = tuple[str, int, Callable[[Floats], Floats]]
"""An expression, its power of a constant, and its value for constants of shape (m, 6, 6)."""
_DIFFERENCE: _Side = ("C11 − C12", 1, lambda C: _c(C, 1, 1) - _c(C, 1, 2))
_AXIAL: _Side = (
    "C33 (C11 + C12) − 2 C13²",
    2,
    lambda C: _c(C, 3, 3) * (_c(C, 1, 1) + _c(C, 1, 2)) - 2 * _c(C, 1, 3) ** 2,
)
_C44: _Side = ("C44", 1, lambda C: _c(C, 4, 4))
_C66: _Side = ("C66", 1, lambda C: _c(C, 6, 6))
_CUBIC: tuple[_Side, ...] = (_DIFFERENCE, ("C11 + 2 C12", 1, lambda C: _c(C, 1, 1) + 2 * _c(C, 1, 2)), _C44)
_CONDITIONS: dict[LaueClass, tuple[_Side, ...]] = {
    "m-3m": _CUBIC,
    "m-3": _CUBIC,
    "6/mmm": (_DIFFERENCE, _AXIAL, _C44),
    "6/m": (_DIFFERENCE, _AXIAL, _C44),
    "4/mmm": (_DIFFERENCE, _AXIAL, _C44, _C66),
    "4/m": (
        _DIFFERENCE,
        _AXIAL,
        _C44,
        (
            "C66 (C11 − C12) − 2 C16²",
            2,
            lambda C: _c(C, 6, 6) * (_c(C, 1, 1) - _c(C, 1, 2)) - 2 * _c(C, 1, 6) ** 2,
        ),
    ),
    "-3m": (
        _DIFFERENCE,
        _AXIAL,
        _C44,
        (
            "C44 (C11 − C12) − 2 C14²",
            2,
            lambda C: _c(C, 4, 4) * (_c(C, 1, 1) - _c(C, 1, 2)) - 2 * _c(C, 1, 4) ** 2,
        ),
    ),
    "-3": (
        _DIFFERENCE,
        _AXIAL,
        _C44,
        (
            "C44 (C11 − C12) − 2 C14² − 2 C15²",
            2,
            lambda C: _c(C, 4, 4) * (_c(C, 1, 1) - _c(C, 1, 2)) - 2 * _c(C, 1, 4) ** 2 - 2 * _c(C, 1, 5) ** 2,
        ),
    ),
    "mmm": (
        ("C11", 1, lambda C: _c(C, 1, 1)),
        ("C11 C22 − C12²", 2, lambda C: _c(C, 1, 1) * _c(C, 2, 2) - _c(C, 1, 2) ** 2),
        ("det C(xx, yy, zz)", 3, lambda C: np.asarray(np.linalg.det(C[:, :3, :3]))),
        _C44,
        ("C55", 1, lambda C: _c(C, 5, 5)),
        _C66,
    ),
}


@dataclass(frozen=True, repr=False)
class BornCondition(Shown):
    """One of the conditions under which a crystal of some Laue class is stable.

    Attributes:
        expression: of elastic constants; it is above zero where the condition holds.
        power: of the constants in it.
        value: GPa to this power.
        std: its standard deviation.
    """

    expression: str
    power: int
    value: float
    std: float

    def words(self) -> dict[str, str]:
        """What must be above zero."""
        return {f"{self.expression} > 0": plus_minus(self.value, self.std, POWERS_OF_GPA[self.power])}

    def _summary(self) -> tuple[str, dict[str, str]]:
        holds = "holds" if self.value > 0 else "does not hold"
        return f"Born's condition {self.expression} > 0 {holds}", {
            "left side": concise(self.value, self.std, POWERS_OF_GPA[self.power])
        }


def born_conditions(C_GPa: Floats, covariance: Floats, laue: LaueClass) -> tuple[BornCondition, ...]:
    """Born's conditions of a Laue class, which together are necessary and sufficient.

    Args:
        C_GPa: stress–strain coefficients in the class's standard frame, Voigt, shape (6, 6).
        covariance: of `C_GPa.ravel()`, GPa², shape (36, 36).
        laue: the class.

    Returns:
        Nothing for monoclinic and triclinic crystals: there the eigenvalues say all that there is to say.

    Source: F. Mouhat, F.-X. Coudert, Phys. Rev. B 90, 224104 (2014).
    """
    conditions = _CONDITIONS.get(laue, ())
    if not conditions:
        return ()

    def sides(constants: Floats) -> Floats:
        return np.column_stack([side(constants.reshape(-1, 6, 6)) for _, _, side in conditions])

    values, covariances = propagated(sides, C_GPa.ravel(), covariance)
    stds = np.sqrt(np.diagonal(covariances))
    return tuple(
        BornCondition(expression, power, float(value), float(std))
        for (expression, power, _), value, std in zip(conditions, values, stds, strict=True)
    )


@dataclass(frozen=True, eq=False, repr=False)
class Stability(Shown):
    """Born's criterion under pressure: the matrix ∂σ_i/∂ε_j of the Cauchy stress has no eigenvalue below zero.

    Eigenvalues are Kelvin's, the stress per unit of a strain of norm one as a tensor, which are the same in every
    frame; for a cubic crystal C11 + 2 C12, C11 − C12 (twice) and 2 C44 (three times). The criterion is about strains of
    the model's own cell alone: it knows nothing of phonons, nor of ions that the training data held in place.

    Attributes:
        smallest_eigenvalue_GPa: negative where the crystal is not stable.
        smallest_eigenvalue_GPa_std: of the same draws as the probability.
        softest_strain: the strain that it belongs to, Voigt with engineering shears, of norm one as a tensor, shape
            (6,); one of several where the eigenvalue is multiple.
        stable_probability: the part of draws of the constants from their covariance that are stable.
        stable_probability_std: error of sampling, of one part in the number of draws where all of them agree.

    Source: F. Mouhat, F.-X. Coudert, Phys. Rev. B 90, 224104 (2014); D. C. Wallace, Thermodynamics of Crystals (1972).
    """

    smallest_eigenvalue_GPa: float
    smallest_eigenvalue_GPa_std: float
    softest_strain: Floats
    stable_probability: float
    stable_probability_std: float

    def words(self) -> dict[str, str]:
        """Born's criterion."""
        eigenvalue = plus_minus(self.smallest_eigenvalue_GPa, self.smallest_eigenvalue_GPa_std, "GPa")
        return {
            "smallest eigenvalue of C as a Mandel matrix": eigenvalue,
            **probability_in_words(self.stable_probability, self.stable_probability_std),
        }

    def _summary(self) -> tuple[str, dict[str, str]]:
        eigenvalue = concise(self.smallest_eigenvalue_GPa, self.smallest_eigenvalue_GPa_std, "GPa")
        return "Stable" if self.smallest_eigenvalue_GPa > 0 else "Not stable", {
            "smallest eigenvalue": eigenvalue,
            "probability of stability": f"{self.stable_probability:.4f}",
        }


def stability(C_GPa: Floats, covariance: Floats) -> Stability:
    """Judge a crystal by its elastic constants.

    Args:
        C_GPa: stress–strain coefficients at the crystal's own pressure, Voigt, shape (6, 6).
        covariance: of `C_GPa.ravel()`, GPa², shape (36, 36).
    """
    values, strains = np.linalg.eigh(_kelvin(C_GPa))
    lowest = _lowest_of_draws(C_GPa, covariance)
    return Stability(float(values[0]), float(lowest.std()), strains[:, 0] * _KELVIN[6], *_part_above_zero(lowest))


def stable_probability(C: Floats, covariance: Floats) -> tuple[float, float]:
    """How probable it is that a crystal or a sheet is stable, and the error of the sampling; see `Stability`.

    Args:
        C: elastic constants in Voigt form, shape (6, 6), or of a sheet in the order xx, yy, xy, shape (3, 3).
        covariance: of `C.ravel()`, in the square of their unit.
    """
    return _part_above_zero(_lowest_of_draws(C, covariance))


def probability_in_words(stable: float, std: float) -> dict[str, str]:
    """How probable it is that a crystal withstands every small strain."""
    return {"probability of stability": f"{stable:.4f} ± {std:.4f}"}


def _part_above_zero(lowest: Floats) -> tuple[float, float]:
    stable = int((lowest > 0).sum())
    # As by Laplace's rule of succession: a spread that is not zero where all draws agree.
    expected = (stable + 1) / (SAMPLES + 2)
    return stable / SAMPLES, float(np.sqrt(expected * (1 - expected) / (SAMPLES + 3)))


def smallest_eigenvalue(C: Floats) -> float:
    """Kelvin's smallest eigenvalue of elastic constants in Voigt form, in their unit."""
    return float(np.linalg.eigvalsh(_kelvin(C))[0])


def _lowest_of_draws(C: Floats, covariance: Floats) -> Floats:
    """Smallest eigenvalues of constants drawn from their covariance, the same ones every time."""
    root = covariance_root(covariance)
    draws = np.random.default_rng(0).normal(size=(SAMPLES, root.shape[1])) @ root.T
    return np.asarray(np.linalg.eigvalsh(_kelvin(C + draws.reshape(-1, *C.shape)))[:, 0])


def _kelvin(C: Floats) -> Floats:
    """Symmetrised, and shears in units in which strains have the norm of a tensor."""
    weights = _KELVIN[C.shape[-1]]
    return np.asarray((C + C.mT) / 2 * np.outer(weights, weights))
