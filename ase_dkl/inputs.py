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

DEGREES = {"constant": 0, "quadratic": 2, "cubic": 3}
"""Of the polynomials in the mean."""
CUBIC = 2e-3
"""Prior standard deviation of a cubic coefficient over that of the others. Crystals are nearly harmonic in their
lattice parameters: a prior as broad for cubic terms lets them run wild between few data."""


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


def observed(
    scaling: Scaling, cells: Floats, directions: Floats, *, degree: int
) -> tuple[Floats, Floats | None, Floats]:
    """What labels are observations of: image coordinates, their tangents, and basis functions with the labels' offset.

    Args:
        scaling: units.
        cells: periodic rows, shape (n, d, 3), Å; the first m have slopes as labels.
        directions: strains along which those were taken, shape (m, t, 6).
        degree: of the mean's polynomials.

    Returns:
        Arrays of shape (n, g, p), (m, g, t, p) or None, and (n + m t, P).
    """
    m = len(directions)
    coordinates = scaling.coordinates(cells)
    if not m:
        return coordinates, None, basis_functions(coordinates, degree=degree)
    tangents = directions[:, None] @ scaling.coordinates_and_tangents(cells[:m])[1]
    traces = directions[..., :3].sum(-1)
    return coordinates, tangents, basis_functions(coordinates, tangents, traces, degree=degree)


def slopes_along(cells: Floats, stresses: Floats, directions: Floats) -> Floats:
    """Labels of ∂E/∂ε = V σ along directions (n, t, 6) of cells (n, 3, 3) with stresses (n, 6), eV, shape (n, t)."""
    virial = np.abs(np.linalg.det(cells))[:, None] * stresses
    return np.asarray((directions @ virial[..., None])[..., 0])


def basis_functions(
    coordinates: Floats, tangents: Floats | None = None, traces: Floats | None = None, *, degree: int = 3
) -> Floats:
    """Basis functions of the mean: polynomials averaged over the images, and the labels' offset.

    Args:
        coordinates: scaled, shape (n, g, p).
        tangents: derivatives of the first m structures along t directions, shape (m, g, t, p).
        traces: by how much each direction changes the volume's logarithm, shape (m, t). Labels of ∂E/∂ε may contain a
            constant times this (Pulay stress); without traces the offset's column is zero, as predictions want it.
        degree: of the polynomials, 0, 2 or 3; cubic ones are scaled by `CUBIC`.

    Returns:
        Values of all structures, then slopes point by point, shape (n + m t, P); the last column is the offset.
    """
    n, g, p = coordinates.shape
    (i, j), (pair, k) = _pairs(p), _triples(p)
    linear, quadratic = slice(1, 1 + p), slice(1 + p, 1 + p + len(i))
    cubic = slice(quadratic.stop, quadratic.stop + len(k))
    last = {0: 1, 2: quadratic.stop, 3: cubic.stop}[degree]
    values = np.zeros((n, last + 1))
    values[:, 0] = 1
    products = coordinates[..., i] * coordinates[..., j] / g
    if degree:
        values[:, linear] = coordinates.mean(1)
        values[:, quadratic] = products.sum(1)
    if degree == 3:
        values[:, cubic] = CUBIC * (products.mT @ coordinates)[:, pair, k]
    if tangents is None:
        return values
    m, _, t, _ = tangents.shape
    slopes = np.zeros((m, t, last + 1))
    if degree:
        at, along = coordinates[:m, None], np.moveaxis(tangents, 2, 1)
        of_products = (along[..., i] * at[..., j] + at[..., i] * along[..., j]) / g
        slopes[..., linear] = along.mean(2)
        slopes[..., quadratic] = of_products.sum(2)
    if degree == 3:
        slopes[..., cubic] = CUBIC * (of_products.mT @ at + products[:m, None].mT @ along)[..., pair, k]
    if traces is not None:
        slopes[..., last] = traces
    return np.concatenate([values, slopes.reshape(m * t, -1)])


def _numbers(d: int) -> int:
    return d * (d + 1) // 2


@functools.cache
def _pairs(p: int) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    return np.triu_indices(p)


@functools.cache
def _triples(p: int) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Cubic monomials: a pair of coordinates, by its place among `_pairs`, and a third that is not before them."""
    _, second = _pairs(p)
    pair, third = np.nonzero(np.arange(p) >= second[:, None])
    return pair, third
