"""From what a method computes, energies and their derivatives along strains, to a `Prediction`."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ase_dkl.arrays import Floats
from ase_dkl.prediction import Prediction


def as_cells(cells: ArrayLike, *, stress: bool) -> Floats:
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


def prediction(cells: Floats, mean: Floats, uncertainty: Floats, energy_noise: float, slope_noise: float) -> Prediction:
    """Put numbers into physical units of stress.

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
