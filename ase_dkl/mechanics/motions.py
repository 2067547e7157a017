"""Structures of free ions in motion, their symmetry, and quantities linear in energies and slopes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ase_dkl.arrays import Floats, Integers
from ase_dkl.crystal import Crystal
from ase_dkl.crystal.lattice import STRAIN_GENERATORS, normals, on_strains

if TYPE_CHECKING:
    from ase_dkl.model.ionic_energy import IonicEnergy

SAME_PLACE = 1e-4
"""Distance within which ions that are laid on each other coincide, Å."""
_AT_ONCE = 3000
"""Rows of a joint posterior that is asked for in one piece: 72 MB, of each network."""


def moved(points: Floats, motions: Floats) -> Floats:
    """Strain structures with their ions, then displace the ions.

    Args:
        points: shape (..., 3 + N, 3), Å.
        motions: Voigt strain, shears engineering, then the displacement of every ion, Å; shape (..., 6 + 3 N).

    Returns:
        Shape (..., 3 + N, 3), Å.
    """
    strains = np.einsum("...j,jkl->...kl", motions[..., :6], STRAIN_GENERATORS)
    found = points + points @ strains
    found[..., 3:, :] += motions[..., 6:].reshape(*found.shape[:-2], -1, 3)
    return np.asarray(found)


def displacements(motions: ArrayLike) -> Floats:
    """Motions of the ions alone, shape (..., 3 N), with the strains that they lack, shape (..., 6 + 3 N)."""
    given = np.asarray(motions, dtype=float)
    return np.concatenate([np.zeros((*given.shape[:-1], 6)), given], axis=-1)


@dataclass(frozen=True, eq=False)
class Functionals:
    """Quantities q = L y of the energies and slopes y of several structures.

    Attributes:
        points: shape (n, 3 + N, 3), Å.
        weights: L, shape (p, n, 1 + t): of each structure its energy, its strain slopes and its displacement slopes.
    """

    points: Floats
    weights: Floats

    def mean(self, model: IonicEnergy) -> Floats:
        """Expected values, shape (p,)."""
        return np.tensordot(self.weights, model.means(self.points), axes=2)

    def covariance(self, model: IonicEnergy, *, spread: bool = True) -> Floats:
        """L Σ Lᵀ, shape (p, p), of the joint posterior Σ, which is never held whole where it is large."""
        n, rows = self.weights.shape[1:]
        size = n if n * rows <= _AT_ONCE else max(1, _AT_ONCE // 2 // rows)
        parts = [np.arange(start, min(start + size, n)) for start in range(0, n, size)]
        found = np.zeros((len(self.weights),) * 2)
        for first, second in combinations_with_replacement(parts, 2):
            same = first is second
            both = first if same else np.concatenate([first, second])
            joint = model.joint(self.points[both], True, spread=spread)
            left, right = joint.layout.places[: len(first)].ravel(), joint.layout.places[-len(second) :].ravel()
            block = self._flat(first) @ joint.covariance[np.ix_(left, right)] @ self._flat(second).T
            found += block if same else block + block.T
        return found

    def _flat(self, points: Integers) -> Floats:
        return self.weights[:, points].reshape(len(self.weights), -1)


@dataclass(frozen=True, eq=False)
class SiteGroup:
    """Operations that lay a structure on itself: a displacement of ion i becomes one of the ion where it comes to lie.

    Attributes:
        rotations: r goes to r @ rotation, shape (g, 3, 3).
        permutations: shape (g, N).
        places: which of the crystal's operations they are, shape (g,).
    """

    rotations: Floats
    permutations: Integers
    places: Integers

    @classmethod
    def of(cls, crystal: Crystal, point: Floats) -> SiteGroup:
        """Those of the crystal's operations that a structure of it, shape (3 + N, 3), has kept."""
        operations, axes = crystal.operations, list(crystal.periodic)
        own, lattice, here, cell = crystal.atoms().positions, crystal.cell[axes], point[3:], point[axes]
        frame = rotation_between(lattice, cell)
        turns = frame.T @ operations.rotations @ frame
        # Which cell an ion comes to lie in does not change with the motion; the translation may.
        places = own @ operations.rotations + operations.translations[:, None] - own[operations.permutations]
        shifts = here @ turns - here[operations.permutations] - (places @ np.linalg.pinv(lattice)).round() @ cell
        # Entries of centred cells' relabellings are fractions, of whole numbers no larger than four.
        relabelled = (12 * cell @ turns @ np.linalg.pinv(cell)).round() / 12 @ cell
        apart = np.abs(relabelled - cell @ turns).max(axis=(1, 2), initial=0.0)
        index = np.flatnonzero(np.maximum(apart, np.ptp(shifts, axis=1).max(axis=1)) < SAME_PLACE)
        return cls(turns[index], operations.permutations[index], index)

    def keeping(self, values: Floats) -> SiteGroup:
        """Those that lay ions on ions of the same value, such as a mass, shape (N,)."""
        kept = np.isclose(values[self.permutations], values).all(axis=1)
        return SiteGroup(self.rotations[kept], self.permutations[kept], self.places[kept])

    @cached_property
    def invariant(self) -> Floats:
        """The projection onto motions that have the symmetry, of strains and displacements, (6 + 3 N, 6 + 3 N)."""
        n = self.permutations.shape[1]
        found = np.zeros((6 + 3 * n, 6 + 3 * n))
        found[:6, :6] = on_strains(self.rotations.mT).mean(axis=0)
        blocks = np.zeros((n, n, 3, 3))
        for rotation, permutation in zip(self.rotations, self.permutations, strict=True):
            blocks[permutation, np.arange(n)] += rotation.T / len(self.rotations)
        found[6:, 6:] = blocks.transpose(0, 2, 1, 3).reshape(3 * n, 3 * n)
        return found

    def turned(self, displacement: Floats) -> Floats:
        """All images of a displacement, shape (3 N,) → (g, 3 N)."""
        found = np.empty((len(self.rotations), self.permutations.shape[1], 3))
        images = displacement.reshape(-1, 3) @ self.rotations
        np.put_along_axis(found, self.permutations[:, :, None], images, axis=1)
        return found.reshape(len(found), -1)

    def averaged(self, matrix: Floats) -> Floats:
        """The part of a quadratic form in displacements that has the symmetry, shape (3 N, 3 N)."""
        n = self.permutations.shape[1]
        blocks = matrix.reshape(n, 3, n, 3).transpose(0, 2, 1, 3)
        total = np.zeros_like(blocks)
        for rotation, permutation in zip(self.rotations, self.permutations, strict=True):
            total[np.ix_(permutation, permutation)] += rotation.T @ blocks @ rotation
        return np.asarray((total / len(self.rotations)).transpose(0, 2, 1, 3).reshape(3 * n, 3 * n))

    def averaged_rows(self, rows: Floats) -> Floats:
        """The same of a form linear in strains and in displacements, shape (6, 3 N)."""
        n = self.permutations.shape[1]
        blocks = rows.reshape(6, n, 3)
        total = np.zeros_like(blocks)
        on_slopes = on_strains(self.rotations).mT
        for rotation, permutation, on_slope in zip(self.rotations, self.permutations, on_slopes, strict=True):
            total[:, permutation] += np.einsum("ij,jnk->ink", on_slope, blocks @ rotation)
        return np.asarray((total / len(self.rotations)).reshape(6, 3 * n))


def rotation_between(lattice: Floats, cell: Floats) -> Floats:
    """The rotation nearest to what makes one lattice of another, rows (d, 3), Å; none for what is not periodic."""
    if not len(lattice):
        return np.eye(3)
    frames = [np.vstack([each, normals(each)]) for each in (lattice, cell)]
    left, _, right = np.linalg.svd(np.linalg.inv(frames[0]) @ frames[1])
    return np.asarray(left @ right)


def rigid_motions(crystal: Crystal, positions: Floats, masses: Floats | None = None) -> Floats:
    """Displacements that cost no energy, or are not to be made: translations, rotations, and those of held ions.

    Args:
        crystal: the reference. A lattice forbids rotations, but of a chain about itself.
        positions: of the ions, shape (N, 3), Å.
        masses: where they are wanted in coordinates weighted by the masses' roots, shape (N,).

    Returns:
        An orthonormal basis, shape (k, 3 N): where all ions are mobile, k is 3 for crystals and sheets, 6 for
        molecules, 5 for linear ones.
    """
    root = np.ones(len(positions)) if masses is None else np.sqrt(masses)
    motions = [np.broadcast_to(axis, positions.shape) for axis in np.eye(3)]
    centred = positions - np.average(positions, axis=0, weights=root**2)
    axes = {0: np.eye(3), 1: crystal.vectors(crystal.cell)}.get(crystal.dimension, np.empty((0, 3)))
    size = max(float(np.abs(centred).max(initial=0.0)), 1.0)
    motions += [np.cross(axis / np.linalg.norm(axis), centred) / size for axis in axes]
    whole = _span((np.array(motions) * root[:, None]).reshape(len(motions), -1))
    held = np.eye(whole.shape[1])[~crystal.mobile.repeat(3)]
    if not len(held):
        return whole
    left, sizes, _ = np.linalg.svd(whole @ held.T)
    still = np.concatenate([sizes, np.zeros(len(whole) - len(sizes))]) < 1e-6
    return np.concatenate([held, left.T[still] @ whole])


def _span(vectors: Floats) -> Floats:
    _, sizes, directions = np.linalg.svd(vectors)
    return np.asarray(directions[: len(sizes)][sizes > 1e-4 * sizes[0]])


def complement(rigid: Floats) -> Floats:
    """An orthonormal basis of all other displacements, shape (3 N − k, 3 N)."""
    return np.asarray(np.linalg.svd(rigid)[2][len(rigid) :])
