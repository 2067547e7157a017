"""What a surrogate answers with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ase_dkl.arrays import Floats
from ase_dkl.shown import Shown
from ase_dkl.wording import concise, number


@dataclass(frozen=True, repr=False)
class Prediction(Shown):
    """Predictions for n structures. An uncertainty is one standard deviation of the model; the labels' noise is apart.

    Attributes:
        energy: eV, shape (n,).
        energy_uncertainty: eV, shape (n,).
        energy_noise: standard deviation of the training labels' noise, eV, shape (n,).
        stress: eV/Å³, Voigt xx yy zz yz xz xy, tension positive, in each structure's own frame, shape (n, 6); None
            where not asked for. The energy's own derivative: it contains no offset of the labels.
        stress_uncertainty: eV/Å³, shape (n, 6), or None.
        stress_noise: eV/Å³, shape (n, 6), or None.
    """

    energy: Floats
    energy_uncertainty: Floats
    energy_noise: Floats
    stress: Floats | None = None
    stress_uncertainty: Floats | None = None
    stress_noise: Floats | None = None

    def _summary(self) -> tuple[str, dict[str, str]]:
        n = len(self.energy)
        if n == 1:
            rows = {"energy": concise(float(self.energy[0]), float(self.energy_uncertainty[0]), "eV")}
        elif n:
            low, high = (number(float(each), 8) for each in (self.energy.min(), self.energy.max()))
            rows = {
                "energies": f"{low} … {high} eV",
                "largest uncertainty": f"{number(1e3 * float(self.energy_uncertainty.max()), 3)} meV",
            }
        else:
            rows = {}
        return f"Prediction of {n} structure{'s' * (n != 1)}", rows | (
            {} if self.stress is None else {"stresses": "yes"}
        )


@dataclass(frozen=True, repr=False)
class JointPosterior(Shown):
    """The joint Gaussian of [E_1 … E_n, ∂E_1/∂ε_1 … ∂E_1/∂ε_6, ∂E_2/∂ε_1 …], per reference cell, eV.

    Attributes:
        mean: shape (7 n,), or (n,) of energies alone.
        covariance: without label noise, eV², shape (7 n, 7 n) or (n, n).
    """

    mean: Floats
    covariance: Floats

    def _summary(self) -> tuple[str, dict[str, str]]:
        return "Joint posterior", {"quantities": str(len(self.mean))}


def as_cells(cells: ArrayLike, *, stress: bool = False) -> Floats:
    """Cells as numbers, shape (n, 3, 3), Å.

    Raises:
        ValueError: another shape, vectors that are not finite, or stress asked of a cell without volume.
    """
    given = np.array(cells, dtype=np.float64)
    if given.ndim != 3 or given.shape[1:] != (3, 3):
        raise ValueError(f"Cells have the shape (n, 3, 3); these have {given.shape}.")
    if not np.isfinite(given).all():
        wrong = np.flatnonzero(~np.isfinite(given).all(axis=(1, 2)))
        raise ValueError(f"Cell {wrong[0]} has lattice vectors that are not finite: {given[wrong[0]].tolist()}.")
    if stress and (np.abs(np.linalg.det(given)) < 1e-6).any():
        raise ValueError("A cell without volume has no stress. Give the vacuum vector a length, or ask for energies.")
    return given


def of_slopes(cells: Floats, mean: Floats, uncertainty: Floats, energy_noise: float, slope_noise: float) -> Prediction:
    """A prediction from energies and their derivatives along strains, which over the volume are stresses.

    Args:
        cells: shape (n, 3, 3), Å.
        mean: of energies, and of ∂E/∂ε where wanted, eV, shape (n, 1) or (n, 7).
        uncertainty: their standard deviations, in the same shape.
        energy_noise: standard deviation of the labels' noise, eV.
        slope_noise: the same of ∂E/∂ε, eV.
    """
    n = len(cells)
    energies = (mean[:, 0], uncertainty[:, 0], np.full(n, energy_noise))
    if mean.shape[1] == 1:
        return Prediction(*energies)
    volume = np.abs(np.linalg.det(cells))[:, None]
    return Prediction(
        *energies, mean[:, 1:] / volume, uncertainty[:, 1:] / volume, np.full((n, 6), slope_noise) / volume
    )
