"""From cells to what does not depend on the networks: scaled image coordinates, and the basis functions of the mean."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ase_dkl import lattice
from ase_dkl.arrays import Floats

ENOUGH = 4096
"""Cells that tell the spread of all."""
LEAST_LENGTH_SCALE = 0.005
"""Of a length's mean: a lattice parameter that the data hardly vary is not blown up to unit variance."""
LEAST_ANGLE_SCALE = 0.3
"""The same for angles, degrees."""


@dataclass(frozen=True, eq=False)
class Scaling:
    """Symmetry images and units: cells ↔ scaled image coordinates, eV ↔ scaled energies.

    Attributes:
        images: the crystal's images W, shape (g, d, d).
        centre: of each lattice parameter over the images of the training cells, shape (p,).
        scale: the standard deviation likewise, shape (p,).
        energy_shift: eV.
        energy_scale: eV.
    """

    images: Floats
    centre: Floats
    scale: Floats
    energy_shift: float
    energy_scale: float

    @classmethod
    def of(cls, images: NDArray[np.int_], cells: Floats, energies: Floats) -> Self:
        """Standardise training cells (n, d, 3), periodic rows, and energies (n,)."""
        sample = cells[:: max(1, len(cells) // ENOUGH)]
        parameters = lattice.image_parameters(sample, images.astype(float)).reshape(-1, _numbers(cells.shape[1]))
        least = np.full_like(parameters[0], LEAST_ANGLE_SCALE)
        lengths = slice(cells.shape[1])
        least[lengths] = LEAST_LENGTH_SCALE * parameters[:, lengths].mean()
        return cls(
            images.astype(float),
            parameters.mean(axis=0),
            np.maximum(parameters.std(axis=0), least),
            float(energies.mean()),
            max(float(energies.std()), 1e-6),
        )

    def coordinates(self, cells: Floats) -> Floats:
        """Scaled lattice parameters of every image of cells (n, d, 3), shape (n, g, p)."""
        return (lattice.image_parameters(cells, self.images) - self.centre) / self.scale

    def coordinates_and_tangents(self, cells: Floats) -> tuple[Floats, Floats]:
        """The same, and their derivatives along the six Voigt strains, shape (n, g, 6, p)."""
        parameters, tangents = lattice.image_parameters_and_tangents(cells, self.images)
        return (parameters - self.centre) / self.scale, tangents / self.scale


def basis_functions(
    coordinates: Floats, tangents: Floats | None = None, traces: Floats | None = None, *, quadratic: bool = True
) -> Floats:
    """Basis functions of the mean, averaged over the images: constant, linear and quadratic, and the labels' offset.

    Args:
        coordinates: scaled, shape (n, g, p).
        tangents: derivatives of the first m structures along t directions, shape (m, g, t, p).
        traces: by how much each direction changes the volume's logarithm, shape (m, t). Labels of ∂E/∂ε may contain a
            constant times this (Pulay stress); without traces the offset's column is zero, as predictions want it.
        quadratic: constant, linear and quadratic functions; otherwise the constant alone.

    Returns:
        Values of all structures, then slopes point by point, shape (n + m t, P); the last column is the offset.
    """
    n, g, p = coordinates.shape
    i, j = _pairs(p)
    last = 1 + (p + len(i) if quadratic else 0)
    values = np.zeros((n, last + 1))
    values[:, 0] = 1
    if quadratic:
        values[:, 1 : p + 1] = coordinates.mean(1)
        values[:, p + 1 : last] = (coordinates.mT @ coordinates)[:, i, j] / g
    if tangents is None:
        return values
    m, _, t, _ = tangents.shape
    slopes = np.zeros((m, t, last + 1))
    if quadratic:
        products = np.moveaxis(tangents, 2, 1).mT @ coordinates[:m, None] / g
        slopes[..., 1 : p + 1] = tangents.mean(1)
        slopes[..., p + 1 : last] = products[..., i, j] + products[..., j, i]
    if traces is not None:
        slopes[..., last] = traces
    return np.concatenate([values, slopes.reshape(m * t, -1)])


def _numbers(d: int) -> int:
    return d * (d + 1) // 2


@functools.cache
def _pairs(p: int) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    return np.triu_indices(p)
