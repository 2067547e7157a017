"""Cells, lattice parameters, their symmetry images, and how both change along a strain.

Everything here is a pure, batched, differentiable torch function. A cell holds lattice vectors in its rows (ASE's
convention). Only the periodic rows enter: three for a bulk crystal, two for a sheet or slab, one for a chain, so that a
vacuum vector is no input. With d periodic rows there are p = d (d + 1) / 2 lattice parameters:

| d | lattice parameters |
|---|---|
| 3 | a, b, c, alpha, beta, gamma |
| 2 | a, b, gamma |
| 1 | a |

in whatever axes are periodic; lengths in Å, angles in degrees.
"""

import functools
import math

import torch
from torch import Tensor

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
"""Voigt order xx, yy, zz, yz, xz, xy (ASE's)."""

_ANGLES = {
    d: torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).T
    for d, pairs in {1: [], 2: [(0, 1)], 3: [(1, 2), (0, 2), (0, 1)]}.items()
}
"""Pairs of periodic rows between which the angles lie."""


@functools.cache
def strain_generators() -> Tensor:
    """The symmetric matrices e_j of the six Voigt strains, shears engineering (½ off the diagonal), shape (6, 3, 3)."""
    generators = torch.zeros(6, 3, 3, dtype=torch.float64)
    for j, (row, column) in enumerate(VOIGT):
        generators[j, row, column] += 0.5
        generators[j, column, row] += 0.5
    return generators


def strained(cell: Tensor, strain: Tensor) -> Tensor:
    """Apply a strain about the given cell: C' = C (I + E(ε)).

    Args:
        cell: lattice vectors in rows, shape (..., 3, 3), Å.
        strain: Voigt strain, shears engineering, shape (..., 6).

    Returns:
        The strained cell, shape (..., 3, 3), Å.
    """
    deformation = torch.einsum("...j,jkl->...kl", strain, strain_generators())
    return cell + cell @ deformation


def metric(cell: Tensor) -> Tensor:
    """Metric tensor G = C Cᵀ of cells (..., d, 3), shape (..., d, d), Å². Rotations drop out here."""
    return cell @ cell.mT


def lattice_parameters(metric: Tensor) -> Tensor:
    """Lattice parameters of metric tensors.

    Args:
        metric: shape (..., d, d), Å².

    Returns:
        Lengths (Å), then angles (degrees), shape (..., p). The module's docstring has the order.
    """
    lengths = metric.diagonal(dim1=-2, dim2=-1).sqrt()
    i, j = _ANGLES[metric.shape[-1]]
    cosines = metric[..., i, j] / (lengths[..., i] * lengths[..., j])
    return torch.cat([lengths, torch.rad2deg(torch.arccos(cosines))], dim=-1)


def metric_tangents(cell: Tensor) -> Tensor:
    """Change of the metric along the six strains, ∂G/∂ε_j = 2 C e_j Cᵀ at ε = 0.

    Args:
        cell: periodic lattice vectors in rows, shape (..., d, 3), Å.

    Returns:
        Shape (..., 6, d, d), Å².
    """
    return 2 * cell.unsqueeze(-3) @ strain_generators() @ cell.mT.unsqueeze(-3)


def lattice_parameter_tangents(metric: Tensor, tangents: Tensor) -> Tensor:
    """Push tangents of the metric forward to the lattice parameters.

    Args:
        metric: shape (..., d, d), Å².
        tangents: tangents of the metric, shape (..., t, d, d), Å².

    Returns:
        Tangents of the lattice parameters, shape (..., t, p).
    """
    lengths = metric.diagonal(dim1=-2, dim2=-1).sqrt().unsqueeze(-2)
    length_tangents = tangents.diagonal(dim1=-2, dim2=-1) / (2 * lengths)
    i, j = _ANGLES[metric.shape[-1]]
    products = lengths[..., i] * lengths[..., j]
    cosines = metric[..., i, j].unsqueeze(-2) / products
    stretches = length_tangents[..., i] / lengths[..., i] + length_tangents[..., j] / lengths[..., j]
    cosine_tangents = tangents[..., i, j] / products - cosines * stretches
    # d arccos(c) = −dc / √(1 − c²)
    angle_tangents = cosine_tangents * (-180 / math.pi) / (1 - cosines**2).sqrt()
    return torch.cat([length_tangents, angle_tangents], dim=-1)


def image_parameters(cell: Tensor, images: Tensor) -> Tensor:
    """Lattice parameters of every symmetry image of a cell, G → W G Wᵀ.

    Args:
        cell: periodic lattice vectors in rows, shape (..., d, 3), Å.
        images: the reference crystal's images W, shape (g, d, d).

    Returns:
        Shape (..., g, p).
    """
    return lattice_parameters(_images_of(metric(cell), images))


def image_parameters_and_tangents(cell: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
    """Lattice parameters of every symmetry image, and their derivatives along the six strains of the cell.

    Args:
        cell: periodic lattice vectors in rows, shape (..., d, 3), Å.
        images: the reference crystal's images W, shape (g, d, d).

    Returns:
        Lattice parameters, shape (..., g, p), and derivatives, shape (..., g, 6, p).
    """
    image_metrics = _images_of(metric(cell), images)
    tangents = _images_of(metric_tangents(cell), images).transpose(-4, -3)
    return lattice_parameters(image_metrics), lattice_parameter_tangents(image_metrics, tangents)


def _images_of(matrix: Tensor, images: Tensor) -> Tensor:
    images = images.to(matrix)
    return images @ matrix.unsqueeze(-3) @ images.mT


def independent_strains(cell: Tensor) -> Tensor:
    """Voigt strains that change a lattice: six of a crystal, three in the plane of a sheet, one along a chain.

    Args:
        cell: periodic lattice vectors in rows, shape (n, d, 3), Å.

    Returns:
        Shape (n, t, 6), with the six unit Voigt strains for d = 3.
    """
    n, d, _ = cell.shape
    if d == 3:
        return torch.eye(6, dtype=cell.dtype).expand(n, 6, 6)
    axes = torch.linalg.qr(cell.mT).Q
    first, second = torch.triu_indices(d, d)
    outer = axes.mT[:, first, :, None] * axes.mT[:, second, None, :]
    symmetric = 0.5 * (outer + outer.mT)
    rows, columns = zip(*VOIGT, strict=True)
    engineering = torch.tensor([1.0, 1.0, 1.0, 2.0, 2.0, 2.0], dtype=cell.dtype)
    strains: Tensor = symmetric[..., rows, columns] * engineering
    return strains
