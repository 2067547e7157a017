"""Young's modulus of a single crystal, as it depends on the direction of the pull."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ase_dkl.arrays import Floats
from ase_dkl.crystal.lattice import VOIGT
from ase_dkl.shown import Shown
from ase_dkl.wording import concise

GRID = 12
"""Steps from the middle of a cube's face to its edge, in a grid of directions that holds the cube's own axes."""
ZOOMS = 8
"""Rounds in which an extreme direction is looked for in a grid half as wide."""


@dataclass(frozen=True, repr=False)
class Pull(Shown):
    """Young's modulus along one direction.

    Attributes:
        direction: unit vector in the frame of the elastic constants; one of several where symmetry has more.
        young_modulus_GPa: stress along it over strain along it, with free sides.
        young_modulus_GPa_std: standard deviation.
    """

    direction: tuple[float, float, float]
    young_modulus_GPa: float
    young_modulus_GPa_std: float

    def _summary(self) -> tuple[str, dict[str, str]]:
        direction = " ".join(f"{component:.3f}" for component in self.direction)
        return f"Pull along [{direction}]", {
            "Young's modulus": concise(self.young_modulus_GPa, self.young_modulus_GPa_std, "GPa")
        }


def directional_young_modulus(C_GPa: Floats, covariance: Floats, directions: ArrayLike) -> tuple[Floats, Floats]:
    """Young's modulus E(n) = 1 / (S_ijkl n_i n_j n_k n_l) along directions, with S the inverse of the constants.

    Args:
        C_GPa: elastic constants of a stable crystal, Voigt, shape (6, 6).
        covariance: of `C_GPa.ravel()`, GPa², shape (36, 36).
        directions: of any length, in the frame of the constants, shape (..., 3).

    Returns:
        Modulus and standard deviation, GPa, each of shape (...).

    Source: J. F. Nye, Physical Properties of Crystals (1957), chapter VIII.
    """
    stress = _pulls(directions)
    strain = stress @ np.linalg.inv(C_GPa).T
    young = 1 / (stress * strain).sum(axis=-1)
    # δE = E² ε(n)ᵀ δC ε(n), with ε(n) the strain under a pull of unit stress
    products = (strain[..., :, None] * strain[..., None, :]).reshape(*strain.shape[:-1], 36)
    variance = ((products @ covariance) * products).sum(axis=-1)
    return young, young**2 * np.sqrt(np.maximum(variance, 0))


def extreme_young_moduli(C_GPa: Floats, covariance: Floats) -> tuple[Pull, Pull]:
    """The directions in which a stable crystal is most compliant and stiffest.

    Standard deviations are those along the direction found: which way it lies matters only to second order.

    Args:
        C_GPa: elastic constants of a stable crystal, Voigt, shape (6, 6).
        covariance: of `C_GPa.ravel()`, GPa², shape (36, 36).
    """
    compliance = np.asarray(np.linalg.inv(C_GPa), dtype=np.float64)
    return _extreme(C_GPa, covariance, compliance), _extreme(C_GPa, covariance, -compliance)


def _extreme(C_GPa: Floats, covariance: Floats, compliance: Floats) -> Pull:
    """The direction of largest compliance: the best of a grid, then of ever finer ones around it."""
    steps = np.arange(-GRID, GRID + 1) / GRID
    grid = np.stack(np.meshgrid(steps, steps, [1.0], indexing="ij"), axis=-1).reshape(-1, 3)
    directions = np.concatenate([grid, grid[:, [2, 0, 1]], grid[:, [1, 2, 0]]])
    best = _best(compliance, directions)
    around = np.stack(np.meshgrid(*[np.arange(-2.0, 3.0)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    for zoom in range(1, ZOOMS + 1):
        best = _best(compliance, np.concatenate([best[None], best + around * 0.5**zoom / GRID]))
    modulus, std = directional_young_modulus(C_GPa, covariance, best)
    x, y, z = best.tolist()
    return Pull((x, y, z), float(modulus), float(std))


def _best(compliance: Floats, directions: Floats) -> Floats:
    """The unit vector of largest compliance; of several that rounding alone tells apart, that nearest to [111]."""
    stress = _pulls(directions)
    values = ((stress @ compliance) * stress).sum(axis=-1)
    ties = directions[values >= values.max() - 1e-12 * np.abs(values).max()]
    units = ties / np.linalg.norm(ties, axis=1, keepdims=True)
    return np.asarray(units[units.sum(axis=1).round(9).argmax()])


def _pulls(directions: ArrayLike) -> Floats:
    """Unit tensile stresses n nᵀ along directions, Voigt, shape (..., 6)."""
    given = np.asarray(directions, dtype=float)
    unit = given / np.linalg.norm(given, axis=-1, keepdims=True)
    rows, columns = zip(*VOIGT, strict=True)
    return np.asarray(unit[..., rows] * unit[..., columns])
