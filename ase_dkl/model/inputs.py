"""From cells to what does not depend on the networks: scaled coordinates, scaled labels, and the mean's functions."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from ase_dkl.arrays import Floats
from ase_dkl.crystal import lattice
from ase_dkl.crystal.invariants import Invariants

if TYPE_CHECKING:
    from ase_dkl.dataset import Dataset

ENOUGH = 4096
"""Cells that tell the spread of all."""
LEAST_LENGTH_SCALE = 0.005
"""Part of a length's mean: a lattice parameter that the data hardly vary is not blown up to unit variance."""
LEAST_ANGLE_SCALE = 0.3
"""The same for angles, degrees."""

DEGREES = {"constant": 0, "quadratic": 2, "cubic": 3}
"""Degree of the polynomial of lattice parameters in each mean."""
SEXTIC = 6
"""Degree of the polynomials of the strain in the mean of that name."""
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
        metric: mean of all images of the training cells, about which strains are, shape (d, d), Å²; None in models from
            before there were any.
    """

    images: Floats
    centre: Floats
    scale: Floats
    energy_shift: float
    energy_scale: float
    metric: Floats | None = None

    @classmethod
    def of(cls, images: NDArray[np.int_], cells: Floats, energies: Floats) -> Self:
        """Standardise training cells (n, d, 3), periodic rows, and energies (n,)."""
        sample = cells[:: max(1, len(cells) // ENOUGH)]
        parameters = lattice.image_parameters(sample, images.astype(float)).reshape(-1, _numbers(cells.shape[1]))
        metric = (images @ lattice.metric(sample).mean(axis=0) @ images.mT).mean(axis=0)
        least = np.full_like(parameters[0], LEAST_ANGLE_SCALE)
        lengths = slice(cells.shape[1])
        least[lengths] = LEAST_LENGTH_SCALE * parameters[:, lengths].mean()
        return cls(
            images.astype(float),
            parameters.mean(axis=0),
            np.maximum(parameters.std(axis=0), least),
            float(energies.mean()),
            max(float(energies.std()), 1e-6),
            metric,
        )

    @cached_property
    def invariants(self) -> Invariants:
        """Polynomials of the strain.

        Raises:
            ValueError: there is no metric.
        """
        if self.metric is None:
            raise ValueError("Without a metric there are no strains.")
        return Invariants.of(self.metric, self.images, SEXTIC)

    def coordinates(self, cells: Floats) -> Floats:
        """Scaled lattice parameters of every image of cells (n, d, 3), shape (n, g, p)."""
        return (lattice.image_parameters(cells, self.images) - self.centre) / self.scale

    def coordinates_and_tangents(self, cells: Floats) -> tuple[Floats, Floats]:
        """The same, and their derivatives along the six Voigt strains, shape (n, g, 6, p)."""
        parameters, tangents = lattice.image_parameters_and_tangents(cells, self.images)
        return (parameters - self.centre) / self.scale, tangents / self.scale


@dataclass(frozen=True, eq=False)
class Labels:
    """Cells and their labels in scaled units; the m of n structures that have stress labels come first.

    Attributes:
        scaling: the units.
        cells: periodic rows, shape (n, d, 3), Å.
        directions: strains along which energies of the first m are differentiated, shape (m, t, 6).
        values: energies, shape (n,).
        slopes: ∂E/∂ε along the directions, shape (m, t).
    """

    scaling: Scaling
    cells: Floats
    directions: Floats
    values: Floats
    slopes: Floats

    @classmethod
    def of(cls, dataset: Dataset, scaling: Scaling | NDArray[np.int_]) -> Self:
        """Labels of a dataset, in given units or, where images are given, in its own."""
        dataset = dataset.stressed_first()
        m = int(dataset.has_stress.sum())
        cells = dataset.cells[:, list(dataset.crystal.periodic)]
        if not isinstance(scaling, Scaling):
            scaling = Scaling.of(scaling, cells, dataset.energies)
        directions = lattice.independent_strains(cells[:m])
        values = (dataset.energies - scaling.energy_shift) / scaling.energy_scale
        # ∂E/∂ε = V σ
        virial = np.abs(np.linalg.det(dataset.cells[:m]))[:, None] * dataset.stresses[:m]
        slopes = (directions @ virial[..., None])[..., 0] / scaling.energy_scale
        return cls(scaling, cells, directions, values, slopes)

    def part(self, index: NDArray[np.int_]) -> Self:
        """Some of the structures, in rising order."""
        stressed = index[index < len(self.directions)]
        directions, slopes = self.directions[stressed], self.slopes[stressed]
        return type(self)(self.scaling, self.cells[index], directions, self.values[index], slopes)

    def together(self) -> Floats:
        """Values of all structures, then slopes point by point, shape (n + m t,)."""
        return np.concatenate([self.values, self.slopes.ravel()])

    def observed(self, mean: str) -> tuple[Floats, Floats | None, Floats]:
        """What the labels are observations of: coordinates, tangents, and basis functions with the labels' offset.

        Args:
            mean: the prior's; see `TrainConfig`.

        Returns:
            Arrays of shape (n, g, p), (m, g, t, p) or None, and (n + m t, P).
        """
        m = len(self.directions)
        coordinates, tangents = self.scaling.coordinates(self.cells), None
        if m:
            tangents = self.directions[:, None] @ self.scaling.coordinates_and_tangents(self.cells[:m])[1]
        traces = self.directions[..., :3].sum(-1)
        if mean == "sextic":
            return coordinates, tangents, strain_functions(self.scaling, self.cells, self.directions, traces)
        return coordinates, tangents, basis_functions(coordinates, tangents, traces, degree=DEGREES[mean])


def strain_functions(scaling: Scaling, cells: Floats, directions: Floats, traces: Floats | None = None) -> Floats:
    """Basis functions of the sextic mean: invariant polynomials of the strain, and the labels' offset.

    Args:
        scaling: has the polynomials.
        cells: periodic rows, shape (n, d, 3), Å.
        directions: strains along which the first m are differentiated, shape (m, t, 6).
        traces: as for `basis_functions`.

    Returns:
        Values of all structures, then slopes point by point, shape (n + m t, P); the last column is the offset.

    Raises:
        ValueError: the scaling has no metric.
    """
    values, slopes = scaling.invariants.functions(cells, directions)
    offset = np.zeros(slopes.shape[:2]) if traces is None else traces
    slopes = np.concatenate([slopes, offset[..., None]], axis=2)
    return np.concatenate([np.pad(values, ((0, 0), (0, 1))), slopes.reshape(-1, slopes.shape[2])])


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
