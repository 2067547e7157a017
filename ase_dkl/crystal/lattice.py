"""Cells, lattice parameters, their symmetry images, and how both change along a strain.

Pure batched functions of NumPy arrays or torch tensors; of tensors they are differentiable. A cell holds lattice
vectors in its rows (ASE's convention). Only the periodic rows enter: three for a bulk crystal, two for a sheet or slab,
one for a chain, so that a vacuum vector is no input. With d periodic rows there are p = d (d + 1) / 2 lattice
parameters:

| d | lattice parameters |
|---|---|
| 3 | a, b, c, alpha, beta, gamma |
| 2 | a, b, gamma |
| 1 | a |

in whatever axes are periodic; lengths in Å, angles in degrees.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ase_dkl.arrays import Array, Floats, namespace

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
"""Voigt order xx, yy, zz, yz, xz, xy (ASE's)."""
VOIGT_NAMES = tuple("xyz"[i] + "xyz"[j] for i, j in VOIGT)


@dataclass(frozen=True)
class Kind:
    """What is periodic in d dimensions.

    Attributes:
        name: what people call it.
        parameters: names of the lattice parameters.
        size: what its cells have: a length, an area or a volume.
        size_unit: the unit of that.
        stress: what pulls at it.
        components: Voigt components of strain and stress that it has, along x and in the xy plane where it has not all.
    """

    name: str
    parameters: tuple[str, ...]
    size: str
    size_unit: str
    stress: str
    components: tuple[int, ...]


KINDS = (
    Kind("cluster", (), "number of atoms", "", "force", ()),
    Kind("chain", ("a",), "length", "Å", "force", (0,)),
    Kind("sheet or slab", ("a", "b", "gamma"), "area", "Å²", "stress in the plane", (0, 1, 5)),
    Kind("crystal", ("a", "b", "c", "alpha", "beta", "gamma"), "volume", "Å³", "stress", (0, 1, 2, 3, 4, 5)),
)
"""By the number of periodic rows, d."""
GREEK = {"alpha": "α", "beta": "β", "gamma": "γ"}

_ANGLES = {
    1: np.zeros((2, 0), dtype=int),
    2: np.array([[0], [1]]),
    3: np.array([[1, 0, 0], [2, 2, 1]]),
}
"""Pairs of periodic rows between which the angles lie."""


def unit_of(name: str) -> str:
    """Å for a length, ° for an angle."""
    return "°" if name in GREEK else "Å"


def _strain_generators() -> Floats:
    generators = np.zeros((6, 3, 3))
    for j, (row, column) in enumerate(VOIGT):
        generators[j, row, column] += 0.5
        generators[j, column, row] += 0.5
    return generators


STRAIN_GENERATORS = _strain_generators()
"""The symmetric matrices e_j of the six Voigt strains, shears engineering (½ off the diagonal), shape (6, 3, 3)."""


FLAT = 1e-6
"""Volume of a cell, Å³, below which it is a sheet's or chain's without a vacuum vector, and there is no stress."""


def strained(cell: Array, strain: Array) -> Array:
    """Apply a strain about the given cell: C' = C (I + E(ε)).

    Args:
        cell: lattice vectors in rows, shape (..., 3, 3), Å.
        strain: Voigt strain, shears engineering, shape (..., 6).

    Returns:
        The strained cell, shape (..., 3, 3), Å.
    """
    xp = namespace(cell)
    return cell + cell @ xp.einsum("...j,jkl->...kl", strain, xp.asarray(STRAIN_GENERATORS))


def normals(lattice: Floats) -> Floats:
    """Unit vectors normal to the periodic lattice vectors, shape (3 − d, 3)."""
    if len(lattice) == 2:
        normal = np.cross(lattice[0], lattice[1])
        return np.asarray(normal / np.linalg.norm(normal))[None]
    return np.asarray(np.linalg.svd(lattice)[2][len(lattice) :])


def volumes(cells: Floats) -> Floats:
    """Volumes of cells of three lattice vectors, shape (..., 3, 3) → (...), Å³."""
    return np.abs(np.linalg.det(cells))


def flat(cells: Floats) -> NDArray[np.bool_]:
    """Which cells, shape (..., 3, 3), Å, have no volume that stresses could refer to, shape (...)."""
    return np.asarray(volumes(cells) < FLAT)


def metric(cell: Array) -> Array:
    """Metric tensor G = C Cᵀ of cells (..., d, 3), shape (..., d, d), Å². Rotations drop out here."""
    return cell @ cell.mT


def lattice_parameters(metric: Array) -> Array:
    """Lattice parameters of metric tensors.

    Args:
        metric: shape (..., d, d), Å².

    Returns:
        Lengths (Å), then angles (degrees), shape (..., p). The module's docstring has the order.
    """
    xp = namespace(metric)
    lengths = _lengths(metric)
    i, j = _ANGLES[metric.shape[-1]]
    cosines = metric[..., i, j] / (lengths[..., i] * lengths[..., j])
    return xp.concatenate([lengths, xp.rad2deg(xp.arccos(cosines))], -1)


def metric_tangents(cell: Array) -> Array:
    """Change of the metric along the six strains, ∂G/∂ε_j = 2 C e_j Cᵀ at ε = 0.

    Args:
        cell: periodic lattice vectors in rows, shape (..., d, 3), Å.

    Returns:
        Shape (..., 6, d, d), Å².
    """
    generators = namespace(cell).asarray(STRAIN_GENERATORS)
    return 2 * cell[..., None, :, :] @ generators @ cell.mT[..., None, :, :]


def lattice_parameter_tangents(metric: Array, tangents: Array) -> Array:
    """Push tangents of the metric forward to the lattice parameters.

    Args:
        metric: shape (..., d, d), Å².
        tangents: tangents of the metric, shape (..., t, d, d), Å².

    Returns:
        Tangents of the lattice parameters, shape (..., t, p).
    """
    xp = namespace(metric)
    d = np.arange(metric.shape[-1])
    lengths = _lengths(metric)[..., None, :]
    length_tangents = tangents[..., d, d] / (2 * lengths)
    i, j = _ANGLES[len(d)]
    products = lengths[..., i] * lengths[..., j]
    cosines = metric[..., i, j][..., None, :] / products
    stretches = length_tangents[..., i] / lengths[..., i] + length_tangents[..., j] / lengths[..., j]
    cosine_tangents = tangents[..., i, j] / products - cosines * stretches
    # d arccos(c) = −dc / √(1 − c²)
    angle_tangents = cosine_tangents * (-180 / math.pi) / xp.sqrt(1 - cosines**2)
    return xp.concatenate([length_tangents, angle_tangents], -1)


def image_parameters(cell: Array, images: Array) -> Array:
    """Lattice parameters of every symmetry image of a cell, G → W G Wᵀ.

    Args:
        cell: periodic lattice vectors in rows, shape (..., d, 3), Å.
        images: the reference crystal's images W, integers or not, shape (g, d, d).

    Returns:
        Shape (..., g, p).
    """
    return lattice_parameters(_images_of(metric(cell), images))


def image_parameters_and_tangents(cell: Array, images: Array) -> tuple[Array, Array]:
    """Lattice parameters of every symmetry image, and their derivatives along the six strains of the cell.

    Args:
        cell: periodic lattice vectors in rows, shape (..., d, 3), Å.
        images: the reference crystal's images W, integers or not, shape (g, d, d).

    Returns:
        Lattice parameters, shape (..., g, p), and derivatives, shape (..., g, 6, p).
    """
    image_metrics = _images_of(metric(cell), images)
    tangents = namespace(cell).moveaxis(_images_of(metric_tangents(cell), images), -4, -3)
    return lattice_parameters(image_metrics), lattice_parameter_tangents(image_metrics, tangents)


def independent_strains(cell: Floats) -> Floats:
    """Voigt strains that change a lattice: six of a crystal, three in the plane of a sheet, one along a chain.

    Args:
        cell: periodic lattice vectors in rows, shape (n, d, 3), Å.

    Returns:
        Shape (n, t, 6), with the six unit Voigt strains for d = 3.
    """
    n, d, _ = cell.shape
    if d == 3:
        return np.broadcast_to(np.eye(6), (n, 6, 6))
    axes = np.linalg.qr(cell.mT).Q
    first, second = np.triu_indices(d)
    outer = axes.mT[:, first, :, None] * axes.mT[:, second, None, :]
    symmetric = 0.5 * (outer + outer.mT)
    rows, columns = zip(*VOIGT, strict=True)
    return symmetric[..., rows, columns] * [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]


def onto_lattice(cell: Floats) -> Floats:
    """Projections of Voigt strains onto those that change a lattice; transposed, of stresses onto those that it has.

    Args:
        cell: periodic lattice vectors in rows, shape (n, d, 3), Å.

    Returns:
        Shape (n, 6, 6), with ones on the diagonal for d = 3, but for rounding.
    """
    axes = np.linalg.qr(cell.mT).Q
    return on_strains(axes @ axes.mT)


def on_strains(matrices: Floats) -> Floats:
    """What ε → Q ε Qᵀ does to Voigt strains with engineering shears; transposed, it does σ → Qᵀ σ Q to stresses.

    Args:
        matrices: Q, shape (g, 3, 3), rotations or not.

    Returns:
        Shape (g, 6, 6).
    """
    turned = matrices[:, None] @ STRAIN_GENERATORS @ matrices.mT[:, None]
    rows, columns = zip(*VOIGT, strict=True)
    return np.asarray((turned[..., rows, columns] * [1, 1, 1, 2, 2, 2]).mT)


def _lengths(metric: Array) -> Array:
    d = np.arange(metric.shape[-1])
    return namespace(metric).sqrt(metric[..., d, d])


def _images_of(matrix: Array, images: Array) -> Array:
    images = namespace(matrix).asarray(images, dtype=matrix.dtype)
    return images @ matrix[..., None, :, :] @ images.mT
