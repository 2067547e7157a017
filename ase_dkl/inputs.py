"""From cells to what the Gaussian process sees: scaled image coordinates → features, and the basis of the mean."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ase_dkl import lattice
from ase_dkl.gp import Observations
from ase_dkl.network import FeatureExtractor

ENOUGH = 4096
"""Cells that tell the spread of all."""
LEAST_LENGTH_SCALE = 0.005
"""Of a length's mean: a lattice parameter that the data hardly vary is not blown up to unit variance."""
LEAST_ANGLE_SCALE = 0.3
"""The same for angles, degrees."""


class Scaling(nn.Module):
    """Symmetry images and units: cells ↔ scaled image coordinates, eV ↔ scaled energies.

    Attributes:
        images: the crystal's images W, shape (g, d, d).
        centre, scale: of each lattice parameter over the images of the training cells, shape (p,).
        energy_shift, energy_scale: eV, scalars.
    """

    images: Tensor
    centre: Tensor
    scale: Tensor
    energy_shift: Tensor
    energy_scale: Tensor

    def __init__(self, images: Tensor, cells: Tensor, energies: Tensor) -> None:
        super().__init__()
        self.register_buffer("images", images.to(torch.float64))
        sample = cells[:: max(1, len(cells) // ENOUGH)]
        parameters = lattice.image_parameters(sample, self.images).flatten(0, 1)
        d = cells.shape[-2]
        least = torch.full_like(parameters[0], LEAST_ANGLE_SCALE)
        least[:d] = LEAST_LENGTH_SCALE * parameters[:, :d].mean()
        self.register_buffer("centre", parameters.mean(0))
        self.register_buffer("scale", torch.maximum(parameters.std(0), least))
        self.register_buffer("energy_shift", energies.mean())
        self.register_buffer("energy_scale", energies.std().clamp(min=1e-6))

    def coordinates(self, cells: Tensor) -> Tensor:
        """Scaled lattice parameters of every image of cells (n, d, 3), shape (n, g, p)."""
        return (lattice.image_parameters(cells, self.images) - self.centre) / self.scale

    def coordinates_and_tangents(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """The same, and their derivatives along the six Voigt strains, shape (n, g, 6, p)."""
        parameters, tangents = lattice.image_parameters_and_tangents(cells, self.images)
        return (parameters - self.centre) / self.scale, tangents / self.scale


@dataclass(frozen=True)
class Inputs:
    """What does not change while training: coordinates, tangents and basis functions of n structures.

    Attributes:
        coordinates: shape (n, g, p).
        tangents: of the first m structures along t directions, shape (m, g, t, p), or None.
        basis: shape (n + m t, P); the last column is the labels' offset.
    """

    coordinates: Tensor
    tangents: Tensor | None
    basis: Tensor

    def to(self, dtype: torch.dtype) -> Inputs:
        """Coordinates and tangents in another precision; the basis stays."""
        tangents = None if self.tangents is None else self.tangents.to(dtype)
        return Inputs(self.coordinates.to(dtype), tangents, self.basis)


def gather(
    coordinates: Tensor, tangents: Tensor | None = None, traces: Tensor | None = None, *, quadratic: bool = True
) -> Inputs:
    """Gather coordinates and the basis functions of the mean, averaged over the images.

    Args:
        coordinates: scaled, shape (n, g, p).
        tangents: derivatives of the first m structures, shape (m, g, t, p).
        traces: by how much each direction changes the volume's logarithm, shape (m, t). Labels of ∂E/∂ε may contain a
            constant times this (Pulay stress); without traces the offset's column is zero, as predictions want it.
        quadratic: constant, linear and quadratic basis functions; otherwise the constant alone.
    """
    n, g, p = coordinates.shape
    i, j = _pairs(p)
    constant = coordinates.new_ones(n, 1)
    columns = [constant]
    if quadratic:
        columns += [coordinates.mean(1), (coordinates.mT @ coordinates)[:, i, j] / g]
    values = torch.cat([*columns, torch.zeros_like(constant)], dim=1)
    if tangents is None:
        return Inputs(coordinates, None, values)
    m, _, t, _ = tangents.shape
    slopes = values.new_zeros(m, t, values.shape[1])
    if quadratic:
        products = torch.einsum("mgtp,mgq->mtpq", tangents, coordinates[:m]) / g
        slopes[..., 1 : p + 1] = tangents.mean(1)
        slopes[..., p + 1 : -1] = products[..., i, j] + products[..., j, i]
    if traces is not None:
        slopes[..., -1] = traces
    return Inputs(coordinates, tangents, torch.cat([values, slopes.flatten(0, 1)]))


def observe(extractor: FeatureExtractor, given: Inputs) -> Observations:
    """Pass inputs through the networks. Features come out in double precision whatever the networks compute in."""
    if given.tangents is None:
        features, derivatives = extractor(given.coordinates)
    else:
        m = len(given.tangents)
        features, derivatives = extractor(given.coordinates[:m], given.tangents)
        derivatives = derivatives.double()
        if m < len(given.coordinates):
            features = torch.cat([features, extractor(given.coordinates[m:])[0]], dim=1)
    return Observations(features.double(), derivatives, given.basis)


@functools.cache
def _pairs(p: int) -> Tensor:
    return torch.triu_indices(p, p)
