"""The motif of a crystal, what stands in each cell, and how one motif is laid onto another.

Sites are held as fractional coordinates along the periodic lattice vectors and, for sheets and chains, Cartesian
offsets across them. So a vacuum vector plays no part, and a strained crystal with clamped ions has the motif of the
unstrained one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from ase import Atoms
from ase.geometry import get_distances, minkowski_reduce
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MOMENT_TOLERANCE = 0.25
"""Magnetic moments are the same when they differ by less than this part of the largest one."""

COINCIDING = 0.3
"""Å. No two atoms are nearer."""
SHORTEST, LONGEST = 0.3, 1e4
"""Å. No lattice vector is shorter than half an atom, nor longer than any cell that was ever computed."""
FLAT = 1e-3
"""Smallest singular value of the periodic lattice vectors, each scaled to length one, that is not a flat cell."""


@dataclass(frozen=True)
class Placement:
    """One way in which a motif lies on another.

    Attributes:
        partners: site of the other motif on which each site lies, shape (n,).
        shift: translation of the sites, in the coordinates of `Motif.sites`, shape (3,).
        displacements: what is left after the best translation, in the coordinates of `Motif.sites`, shape (n, 3).
        distances: lengths of the displacements, Å, shape (n,).
        flip: −1 where the magnetic moments match after reversing all of them, else 1.
    """

    partners: Integers
    shift: Floats
    displacements: Floats
    distances: Floats
    flip: int


@dataclass(frozen=True, eq=False)
class Motif:
    """Sites of one cell.

    Attributes:
        lattice: periodic lattice vectors, shape (d, 3), Å.
        numbers: atomic numbers, shape (n,).
        sites: d fractional coordinates, then 3 − d Cartesian offsets (Å) along unit vectors normal to the lattice,
            shape (n, 3).
        moments: collinear magnetic moments, μB, shape (n,).
    """

    lattice: Floats
    numbers: Integers
    sites: Floats
    moments: Floats

    @classmethod
    def from_atoms(cls, atoms: Atoms) -> Motif:
        """Take the motif of atoms that are not `unusable`."""
        lattice = atoms.cell.array[atoms.pbc]
        frame = np.vstack([lattice, normals(lattice)])
        moments = atoms.get_initial_magnetic_moments()
        return cls(lattice, atoms.numbers.astype(np.int64), np.linalg.solve(frame.T, atoms.positions.T).T, moments)

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def dimension(self) -> int:
        """Number of periodic lattice vectors."""
        return len(self.lattice)

    @property
    def metric(self) -> Floats:
        """Metric of the periodic lattice vectors, shape (d, d), Å²."""
        return self.lattice @ self.lattice.T

    def in_basis(self, basis: Integers | Floats) -> Motif:
        """The same sites in the lattice vectors `basis @ lattice`, shape (d, d): unimodular for the same crystal."""
        sites = self.sites.copy()
        sites[:, : self.dimension] = sites[:, : self.dimension] @ np.linalg.inv(basis)
        return replace(self, lattice=basis @ self.lattice, sites=sites)

    def transformed(self, isometry: Floats) -> Motif:
        """Multiply the sites by an isometry of space from the right, shape (3, 3)."""
        return replace(self, sites=self.sites @ isometry)

    def shifted(self, shift: Floats) -> Motif:
        """Add a translation, in the coordinates of `sites`, shape (3,)."""
        return replace(self, sites=self.sites + shift)

    def placements(self, other: Motif, tolerance: float) -> Iterator[Placement]:
        """Every translation that lays another motif on this one, no site further than the tolerance from its place.

        Args:
            other: motif of the same composition and number of sites; its lattice plays no part.
            tolerance: Å, measured in this motif's lattice. To be well below half the shortest distance between sites.
        """
        species, counts = np.unique(self.numbers, return_counts=True)
        rarest = species[np.argmin(counts)]
        anchor = other.sites[np.flatnonzero(other.numbers == rarest)[0]]
        for site in self.sites[self.numbers == rarest]:
            moved = other.sites + (site - anchor)
            partners = self._nearest(moved, other.numbers)
            if len(np.unique(partners)) < len(self):
                continue
            displacements = self._displacements(moved, partners)
            rest = displacements.mean(axis=0)
            displacements -= rest
            distances = self.distances(displacements)
            flip = self._flip(other.moments, partners)
            if flip and distances.max() <= tolerance:
                yield Placement(partners, site - anchor - rest, displacements, distances, flip)

    def displacements(self, other: Motif) -> Floats:
        """How far sites that lie near this motif's, any number on each, are from them, after the best translation.

        Returns:
            In the coordinates of `sites`, shape (len(other), 3).
        """
        displacements = self._displacements(other.sites, self._nearest(other.sites, other.numbers))
        return np.asarray(displacements - displacements.mean(axis=0))

    def distances(self, displacements: Floats) -> Floats:
        """Lengths of displacements in the coordinates of `sites`, shape (n, 3) → (n,), Å."""
        along = displacements[..., : self.dimension] @ self.lattice
        return np.asarray(np.sqrt((along**2).sum(axis=-1) + (displacements[..., self.dimension :] ** 2).sum(axis=-1)))

    @cached_property
    def closest(self) -> float:
        """Shortest distance between two sites, those of neighbouring cells included, Å."""
        frame = np.vstack([self.lattice, normals(self.lattice)])
        periodic = np.arange(3) < self.dimension
        shortest_vector = np.linalg.norm(minkowski_reduce(frame, periodic)[0][: self.dimension], axis=1).min()
        if len(self) == 1:
            return float(shortest_vector)
        distances = get_distances(self.sites @ frame, cell=frame, pbc=periodic)[1]
        return float(min(shortest_vector, distances[np.triu_indices(len(self), 1)].min()))

    def primitive(self, tolerance: float) -> tuple[Motif, Floats]:
        """Reduce to a primitive cell with Minkowski-reduced lattice vectors.

        Returns:
            The primitive motif and the rational matrix P, shape (d, d), of its lattice P @ lattice.
        """
        d = self.dimension
        translations = [placement for placement in self.placements(self, tolerance) if placement.flip == 1]
        copies = len(translations)
        steps = np.rint(copies * np.array([placement.shift[:d] for placement in translations])).astype(np.int64)
        basis = _integer_basis(np.vstack([steps, copies * np.eye(d, dtype=np.int64)])) / copies
        frame = np.vstack([basis @ self.lattice, normals(self.lattice)])
        _, change = minkowski_reduce(frame, [axis < d for axis in range(3)])
        basis = np.asarray(change)[:d, :d] @ basis
        first = np.min([placement.partners for placement in translations], axis=0) == np.arange(len(self))
        sites = self.averaged(translations).sites[first]
        sites[:, :d] = sites[:, :d] @ np.linalg.inv(basis)
        return Motif(basis @ self.lattice, self.numbers[first], sites, self.moments[first]), basis

    def averaged(self, placements: Sequence[Placement]) -> Motif:
        """The mean of the motifs that were laid on this one, but for their magnetic moments."""
        return replace(self, sites=np.mean([self.laid(placement) for placement in placements], axis=0))

    def laid(self, placement: Placement) -> Floats:
        """Sites of a motif that was laid on this one, in this one's order, shape (n, 3)."""
        return np.asarray(self.sites + placement.displacements[np.argsort(placement.partners)])

    @cached_property
    def _tree(self) -> cKDTree:
        box = np.zeros(4)
        box[: self.dimension] = np.linalg.norm(self.lattice, axis=1)
        return cKDTree(self._tree_points(self.sites, self.numbers), boxsize=box)

    def _tree_points(self, sites: Floats, numbers: Integers) -> Floats:
        d = self.dimension
        # The second remainder turns the 1.0 of −1e-17 % 1 into 0.0.
        fractional = sites[:, :d] % 1.0 % 1.0
        lengths = np.linalg.norm(self.lattice, axis=1)
        far_apart = 1e4 * numbers[:, None]
        return np.hstack([fractional * lengths, sites[:, d:], far_apart])

    def _nearest(self, sites: Floats, numbers: Integers) -> Integers:
        _, partners = self._tree.query(self._tree_points(sites, numbers))
        return np.asarray(partners, dtype=np.int64)

    def _displacements(self, sites: Floats, partners: Integers) -> Floats:
        displacements = sites - self.sites[partners]
        displacements[:, : self.dimension] -= np.rint(displacements[:, : self.dimension])
        return displacements

    def _flip(self, moments: Floats, partners: Integers) -> int:
        mine = self.moments[partners]
        largest = np.abs(self.moments).max()
        for flip in (1, -1):
            if (np.abs(flip * moments - mine) <= MOMENT_TOLERANCE * largest).all():
                return flip
        return 0


def unusable(atoms: Atoms) -> str | None:
    """Say why atoms have no motif, as the rest of a sentence that begins with "the structure"."""
    if len(atoms) == 0:
        return "has no atoms."
    if not (np.isfinite(atoms.cell.array).all() and np.isfinite(atoms.positions).all()):
        return "has lattice vectors or positions that are not finite numbers."
    if not atoms.pbc.any():
        return (
            "is periodic along no axis (pbc=FFF). A molecule or a cluster has no lattice, and a model is of the energy "
            "as a function of the lattice alone. If it is a crystal, name its periodic axes where it is read (--pbc "
            "TTT, pbc='TTT') or, before the calculation, in atoms.pbc."
        )
    lattice = atoms.cell.array[atoms.pbc]
    if np.abs(lattice).max() > LONGEST:
        return f"has lattice vectors longer than {LONGEST:g} Å: no crystal has. Are lengths in Å?"
    lengths = np.linalg.norm(lattice, axis=1)
    if 0 < lengths.min() < SHORTEST:
        return f"has lattice vectors shorter than {SHORTEST:g} Å: no crystal has. Are lengths in Å?"
    if not lengths.all() or np.linalg.svd(lattice / lengths[:, None])[1][-1] < FLAT:
        return f"has a flat cell: its periodic lattice vectors {lattice.round(4).tolist()} are linearly dependent."
    if (pair := _coinciding(atoms)) is not None:
        return f"has two atoms in one place, {pair[0]} and {pair[1]}: they are less than {COINCIDING:g} Å apart."
    if atoms.get_initial_magnetic_moments().ndim > 1:
        return "has magnetic moments that are vectors: only collinear ones, a number for each atom, are understood."
    return None


def _coinciding(atoms: Atoms) -> tuple[int, int] | None:
    frame = atoms.cell.array.copy()
    frame[~atoms.pbc] = normals(frame[atoms.pbc])
    inverse = np.linalg.inv(frame)
    scaled = atoms.positions @ inverse
    for _ in range(2):  # a remainder may be rounded to 1
        scaled[:, atoms.pbc] %= 1.0
    reach = COINCIDING * float(np.linalg.norm(inverse, axis=0).max())
    for i, j in cKDTree(scaled, boxsize=np.where(atoms.pbc, 1.0, 0.0)).query_pairs(reach, p=np.inf):
        apart = scaled[i] - scaled[j]
        if np.linalg.norm((apart - np.rint(apart) * atoms.pbc) @ frame) < COINCIDING:
            return min(i, j), max(i, j)
    return None


def normals(lattice: Floats) -> Floats:
    """Unit vectors normal to the periodic lattice vectors, shape (3 − d, 3)."""
    if len(lattice) == 2:
        normal = np.cross(lattice[0], lattice[1])
        return np.asarray(normal / np.linalg.norm(normal))[None]
    return np.asarray(np.linalg.svd(lattice)[2][len(lattice) :])


def _integer_basis(rows: Integers) -> Integers:
    """Basis, shape (d, d), of the integer lattice that the rows, shape (n, d), span (row echelon form)."""
    rows = rows.copy()
    dimension = rows.shape[1]
    for column in range(dimension):
        while np.count_nonzero(rows[column:, column]) > 1:
            below = np.abs(rows[column:, column])
            pivot = column + int(np.argmin(np.where(below > 0, below, below.max() + 1)))
            rows[[column, pivot]] = rows[[pivot, column]]
            rows[column + 1 :] -= (rows[column + 1 :, column] // rows[column, column])[:, None] * rows[column]
        pivot = column + int(np.argmax(rows[column:, column] != 0))
        rows[[column, pivot]] = rows[[pivot, column]]
    return rows[:dimension]
