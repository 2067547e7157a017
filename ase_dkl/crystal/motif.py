"""The motif of a crystal, what stands in each cell, and how one motif is laid onto another.

Sites are held as fractional coordinates along the periodic lattice vectors and, for sheets and chains, Cartesian
offsets across them. So a vacuum vector plays no part, and a strained crystal with clamped ions has the motif of the
unstrained one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import numpy as np
from ase import Atoms
from ase.geometry import minkowski_reduce
from scipy.spatial import cKDTree

from ase_dkl.arrays import Floats, Integers
from ase_dkl.crystal.lattice import normals

MOMENT_TOLERANCE = 0.25
"""Magnetic moments are the same when they differ by less than this part of the largest one."""

LOOSEST = 0.4
"""Displacement beyond which it is not clear whose place an ion has left, in shortest distances between sites."""

_PROBES = 6
"""Sites that tell whether a translation is worth a look at all sites."""
_TOGETHER = 2**16
"""Sites looked up together."""
_ROUNDING = 1e-9
"""Å."""


@dataclass(frozen=True)
class Placement:
    """One way in which a motif lies on another.

    Attributes:
        partners: site of this motif on which each site of the other one lies, shape (n,).
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
        probes = self._probes(other)
        shifts = self.sites[self.numbers == other.numbers[probes[0]]] - other.sites[probes[0]]
        _, _, distances = self.nearest(other.sites[probes] + shifts[:, None], other.numbers[probes])
        # The first probe may itself be off its place, so that others seem to be twice as far from theirs.
        shifts = shifts[(distances <= 2 * tolerance + _ROUNDING).all(axis=1)]
        for start in range(0, len(shifts), size := max(1, _TOGETHER // len(self))):
            for shift, partners, offsets in self._one_to_one(other, shifts[start : start + size]):
                rest = offsets.mean(axis=0)
                displacements = offsets - rest
                distances = self.distances(displacements)
                flip = self.flip_of(other.moments, partners)
                if flip and distances.max() <= tolerance:
                    yield Placement(partners, shift - rest, displacements, distances, flip)

    def misfits(self, other: Motif, bases: Integers, isometries: Floats) -> Floats:
        """How well another motif would lie on this one at best in each basis and after each isometry.

        Args:
            other: motif of the same composition and number of sites.
            bases: unimodular, shape (m, d, d).
            isometries: shape (q, 3, 3).

        Returns:
            Lower bounds of the largest distance of a site from its place, Å, shape (m, q).
        """
        probes = self._probes(other)
        sites = other.sites[probes]
        along = np.eye(3)[None].repeat(len(bases), axis=0)
        along[:, : self.dimension, : self.dimension] = np.linalg.inv(bases)
        ways = (along[:, None] @ isometries).reshape(-1, 3, 3)
        anchors = self.sites[self.numbers == other.numbers[probes[0]]]
        bounds = np.empty(len(ways))
        for start in range(0, len(ways), size := max(1, _TOGETHER // (len(anchors) * len(probes)))):
            from_first = (sites - sites[0]) @ ways[start : start + size]
            distances = self.nearest(from_first[:, None] + anchors[:, None], other.numbers[probes])[2]
            # The first probe may itself be off its place, so that others seem to be twice as far from theirs.
            bounds[start : start + size] = distances.max(axis=-1).min(axis=-1) / 2
        return bounds.reshape(len(bases), len(isometries))

    def in_order(self, other: Motif) -> Placement | None:
        """Lay another motif on this one by the order of its sites; None where species or moments are others."""
        if not np.array_equal(self.numbers, other.numbers):
            return None
        offsets = other.sites - self.sites
        displacements = offsets - offsets[0]
        displacements[:, : self.dimension] -= np.rint(displacements[:, : self.dimension])
        displacements -= displacements.mean(axis=0)
        order = np.arange(len(self))
        flip = self.flip_of(other.moments, order)
        shift = displacements[0] - offsets[0]
        return Placement(order, shift, displacements, self.distances(displacements), flip) if flip else None

    def displacements(self, other: Motif) -> Floats:
        """How far sites that lie near this motif's, any number on each, are from them, after the best translation.

        Returns:
            In the coordinates of `sites`, shape (len(other), 3).
        """
        _, displacements, _ = self.nearest(other.sites, other.numbers)
        return np.asarray(displacements - displacements.mean(axis=0))

    def distances(self, displacements: Floats) -> Floats:
        """Lengths of displacements in the coordinates of `sites`, shape (n, 3) → (n,), Å."""
        along = displacements[..., : self.dimension] @ self.lattice
        return np.asarray(np.sqrt((along**2).sum(axis=-1) + (displacements[..., self.dimension :] ** 2).sum(axis=-1)))

    @cached_property
    def closest(self) -> float:
        """Shortest distance between two sites, those of neighbouring cells included, Å."""
        vectors = np.linalg.norm(self._reduced, axis=1).min()
        if len(self) == 1:
            return float(vectors)
        _, points = self._tree
        home = len(points) // 2 // len(self) * len(self)
        neighbours, _ = cKDTree(points[:, :3]).query(points[home : home + len(self), :3], k=2)
        return float(min(vectors, neighbours[:, 1].min()))

    def reduced(self) -> tuple[Motif, Floats]:
        """The same motif in Minkowski-reduced lattice vectors R @ lattice, and R, shape (d, d)."""
        return self.in_basis(self.reduction), self.reduction.astype(float)

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
        basis = replace(self, lattice=basis @ self.lattice).reduction @ basis
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
    def reduction(self) -> Integers:
        """Unimodular matrix that makes the lattice vectors Minkowski-reduced ones, shape (d, d)."""
        d = self.dimension
        frame = np.vstack([self.lattice, normals(self.lattice)])
        return np.asarray(minkowski_reduce(frame, np.arange(3) < d)[1], dtype=np.int64)[:d, :d]

    @property
    def _reduced(self) -> Floats:
        return np.asarray(self.reduction @ self.lattice)

    @cached_property
    def _tree(self) -> tuple[cKDTree, Floats]:
        """Sites in and around one reduced cell, and their coordinates, shape (3^d n, 4)."""
        d = self.dimension
        points = self._points(self.sites, self.numbers)
        neighbours = np.array(list(product((-1, 0, 1), repeat=d))) @ self._reduced
        everywhere = np.tile(points, (len(neighbours), 1))
        everywhere[:, :3] += np.repeat(neighbours, len(self), axis=0)
        return cKDTree(everywhere), everywhere

    @cached_property
    def _frame(self) -> Floats:
        return np.vstack([self.lattice, normals(self.lattice)])

    def _points(self, sites: Floats, numbers: Integers) -> Floats:
        """Cartesian coordinates in the reduced cell, and a fourth one that keeps species apart, shape (..., n, 4)."""
        d = self.dimension
        inside = sites[..., :d] @ np.linalg.inv(self.reduction) % 1.0
        positions = inside @ self._reduced + sites[..., d:] @ self._frame[d:]
        far_apart = np.broadcast_to(1e4 * numbers[:, None], (*sites.shape[:-1], 1))
        return np.concatenate([positions, far_apart], axis=-1)

    def nearest(self, sites: Floats, numbers: Integers) -> tuple[Integers, Floats, Floats]:
        """The nearest sites of this motif.

        Args:
            sites: shape (..., n, 3).
            numbers: shape (n,).

        Returns:
            Partners, shape (..., n); displacements from them in the coordinates of `sites`, shape (..., n, 3); and
            distances, Å, shape (..., n).
        """
        tree, everywhere = self._tree
        points = self._points(sites, numbers)
        distances, nearest = tree.query(points)
        displacements = (points - everywhere[nearest])[..., :3] @ np.linalg.inv(self._frame)
        return np.asarray(nearest % len(self), dtype=np.int64), displacements, np.asarray(distances)

    def _one_to_one(self, other: Motif, shifts: Floats) -> Iterator[tuple[Floats, Integers, Floats]]:
        """Those translations, of shape (k, 3), that bring every site near to another one, with partners and rests."""
        order = np.arange(len(self))
        partners, displacements, _ = self.nearest(other.sites + shifts[:, None], other.numbers)
        unique = (np.sort(partners, axis=1) == order).all(axis=1)
        # Where the site that gave the shift is far from its place, others seem to be, and may be nearer to a wrong one.
        for k in np.flatnonzero(~unique):
            better = shifts[k] - np.median(displacements[k], axis=0)
            partners[k], displacements[k], _ = self.nearest(other.sites + better, other.numbers)
            shifts[k] = better
        unique = (np.sort(partners, axis=1) == order).all(axis=1)
        return ((shifts[k], partners[k], displacements[k]) for k in np.flatnonzero(unique))

    def _probes(self, other: Motif) -> Integers:
        """A few sites of another motif that tell whether it may lie on this one; the first is of the rarest species."""
        species, counts = np.unique(self.numbers, return_counts=True)
        first = np.flatnonzero(other.numbers == species[np.argmin(counts)])[:1]
        return np.concatenate([first, np.linspace(0, len(other) - 1, min(_PROBES, len(other))).astype(np.int64)])

    def flip_of(self, moments: Floats, partners: Integers) -> int:
        """1 where moments agree with those of partner sites, −1 where reversed they do, else 0; see `Placement`."""
        mine = self.moments[partners]
        largest = np.abs(self.moments).max()
        for flip in (1, -1):
            if (np.abs(flip * moments - mine) <= MOMENT_TOLERANCE * largest).all():
                return flip
        return 0


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
