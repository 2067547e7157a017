"""What a model of free ions sees: inverse lengths of a fixed list of pairs of sites, which symmetry permutes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from ase_dkl.arrays import Floats, Integers
from ase_dkl.crystal import Crystal
from ase_dkl.crystal.cluster import interchangeable
from ase_dkl.crystal.lattice import STRAIN_GENERATORS, independent_strains
from ase_dkl.errors import Refused
from ase_dkl.model.records import Interchange

POWER, WHOLE_POWER = 2, 1
"""Coordinates go as this power of the inverse length, and where all is one environment as that one."""
DECAY, WHOLE_DECAY = 2, 1
"""A pair's weight falls with this power of its length in the reference, and where all is one environment with that."""
WIDTH = 0.75
"""Width of an environment, in units of the mean distance of an atom from the nearest other one."""
LEAST_WEIGHT = 0.2
"""Pairs that weigh less in every environment are left out."""
SOFT = 1e-3
"""Singular value, over the largest, of a motion that no pair notices."""
WHOLE = 24
"""Molecules and clusters of up to so many atoms are one environment."""
MOST_IMAGES = 200
"""Permutations of a molecule's atoms."""
FLAT, OFF_PLANE = 1e-3, 0.1
"""A structure that is thinner than this part of its length is flat, and how far its ions then are off their plane, over
the shortest pair, where it is asked what holds them."""
WIDER, WIDEST = 1.25, 4.0
"""By how much environments grow until the pairs make the reference rigid, and up to how much."""


@dataclass(frozen=True, eq=False)
class Environment:
    """What is around the sites of one orbit, or all that there is.

    Attributes:
        places: the pairs around each of the A sites, in one order, shape (A, q).
        weights: shape (q,).
        images: permutations of the pairs by the operations that keep the site, shape (h, q).
    """

    places: Integers
    weights: Floats
    images: Integers

    def of(self, coordinates: Floats) -> Floats:
        """Coordinates of pairs, shape (..., p), as the environments of the sites see them, shape (..., A, q)."""
        return coordinates[..., self.places] * self.weights


@dataclass(frozen=True, eq=False)
class Pairs:
    """Every ion moves, and the lattice where there is one. Points are cells and positions, shape (n, 3 + N, 3), Å.

    A coordinate is x = w d ((d / r)^k − 1) / k of a pair at the distance r, d in the reference, with w = (d_min / d)^k,
    k = 2, or 1 where all is one environment. It does not change when a structure is turned or shifted, and an operation
    of symmetry permutes the coordinates.

    Attributes:
        crystal: the reference.
        first, second: sites of each pair, shape (p,).
        steps: lattice translations of the second site, shape (p, 3).
        lengths: of the reference's pairs, shape (p,), Å.
        kinds: for each pair the first of those that symmetry makes equal to it, shape (p,).
        environments: of each orbit of sites, or a single one that has all pairs.
    """

    crystal: Crystal
    first: Integers
    second: Integers
    steps: Integers
    lengths: Floats
    kinds: Integers
    environments: tuple[Environment, ...]

    @classmethod
    def of(cls, crystal: Crystal, interchange: Interchange = "symmetry") -> Self:
        """The pairs of a reference, and their environments.

        Args:
            crystal: the reference.
            interchange: which permutations of the atoms leave the energy alone: those that are "symmetry" of the
                reference, or of a molecule all that leave its "bonds", as where methyl groups turn.

        Raises:
            Refused: a reference of a single atom, or one that its own pairs do not hold together, or bonds are to tell
                of what is no small molecule, or of one that has too many such permutations.
        """
        positions = crystal.atoms().positions
        if len(positions) < 2 and not crystal.dimension:
            raise Refused("A single atom has no distances to others, and its energy does not change.")
        if not crystal.dimension and len(positions) <= WHOLE:
            return cls._whole(crystal, interchange)
        if interchange == "bonds":
            raise Refused(
                f"Atoms are interchanged by bonds in molecules of up to {WHOLE} atoms, and this is none. Leave "
                'interchange="bonds" (--interchange) out.'
            )
        width = WIDTH * float(_nearest(crystal).mean())
        growth = 1.0
        while growth < WIDEST:
            found = cls._within(crystal, growth * width)
            if found.is_rigid:
                return found
            growth *= WIDER
        raise Refused(
            f"Pairs of atoms up to {found.lengths.max():.3g} Å apart do not hold the reference together: some motion "
            "of its atoms changes none of their distances. Parts of it may be too far apart to be one structure."
        )

    @classmethod
    def _whole(cls, crystal: Crystal, interchange: Interchange) -> Self:
        n = len(crystal.numbers)
        first, second = np.triu_indices(n, 1)
        positions = crystal.atoms().positions
        lengths = np.linalg.norm(positions[second] - positions[first], axis=1)
        steps = np.zeros((len(first), 3), dtype=np.int64)
        atoms = crystal.operations.permutations
        if interchange == "bonds":
            atoms = interchangeable(crystal.numbers, positions)
            if len(atoms) > MOST_IMAGES:
                raise Refused(
                    f"{len(atoms)} permutations of the atoms leave all bonds, and the model has room for "
                    f'{MOST_IMAGES}. Leave interchange="bonds" (--interchange) out.'
                )
        place = np.zeros((n, n), dtype=np.int64)
        place[first, second] = place[second, first] = np.arange(len(first))
        images = np.unique(place[atoms[:, first], atoms[:, second]], axis=0)
        whole = Environment(np.arange(len(first))[None], np.ones(len(first)), images)
        return cls(crystal, first, second, steps, _alike(lengths, images), images.min(axis=0), (whole,))

    @classmethod
    def _within(cls, crystal: Crystal, width: float) -> Self:
        """Pairs that weigh something in the environments of a width, Å."""
        reach = width * np.sqrt(-2 * np.log(LEAST_WEIGHT))
        positions = crystal.atoms().positions
        first, second, steps = _apart(crystal, 2 * reach)
        permutations = _permuted(crystal, first, second, steps, positions)
        begin, end = positions[first], positions[second] + steps @ crystal.cell
        spans = np.linalg.norm(end - begin, axis=1)
        sites, environments = crystal.operations.permutations, []
        orbits = {tuple(sorted(set(sites[:, atom].tolist()))) for atom in range(len(positions))}
        for orbit in sorted(orbits):
            root = orbit[0]
            # The mean square of its ends' distances from the site, where the pair is nearest to it.
            squares = _squares(crystal, (begin + end) / 2 - positions[root]) + spans**2 / 4
            weights = np.exp(-squares / (2 * width**2))
            inside = np.flatnonzero(weights > LEAST_WEIGHT)
            place = np.full(len(first), -1)
            place[inside] = np.arange(len(inside))
            onto = [int(np.flatnonzero(sites[:, root] == atom)[0]) for atom in orbit]
            staying = place[permutations[sites[:, root] == root][:, inside]]
            weights = _alike(weights[inside], staying)
            environments.append((permutations[onto][:, inside], weights, np.unique(staying, axis=0)))
        used = np.unique(np.concatenate([places.ravel() for places, _, _ in environments]))
        renamed = np.full(len(first), -1)
        renamed[used] = np.arange(len(used))
        lengths = _alike(spans, permutations)
        seen = tuple(Environment(renamed[places], weights, images) for places, weights, images in environments)
        kinds = np.unique(permutations.min(axis=0)[used], return_index=True, return_inverse=True)
        chosen = first[used], second[used], steps[used], lengths[used]
        return cls(crystal, *chosen, kinds[1][kinds[2]], seen)

    def as_one(self) -> Self:
        """The same pairs as a single environment, in which all weigh the same."""
        permuted = _permuted(self.crystal, self.first, self.second, self.steps, self.reference[3:])
        images = np.unique(permuted, axis=0)
        whole = Environment(np.arange(len(self.first))[None], np.ones(len(self.first)), images)
        return replace(self, environments=(whole,))

    @property
    def blocks(self) -> Mapping[str, int]:
        """Directions along which energies have slopes: strains, and displacements of every ion."""
        return {"strain": 6, "displacement": 3 * len(self.crystal.numbers)}

    @property
    def power(self) -> int:
        """Coordinates go as this power of the inverse length."""
        return WHOLE_POWER if self.is_one_environment else POWER

    @property
    def is_one_environment(self) -> bool:
        """Whether all pairs are in one environment."""
        return len(self.environments) == 1 and len(self.environments[0].places) == 1

    @cached_property
    def weights(self) -> Floats:
        """Of the pairs, shape (p,)."""
        decay = WHOLE_DECAY if self.is_one_environment else DECAY
        return np.asarray((self.lengths.min() / self.lengths) ** decay)

    @property
    def is_rigid(self) -> bool:
        """Whether any strain, and any motion of the ions that is no rotation or translation, changes some length.

        Motions out of a plane, or across a line, change lengths only where ions are off it.
        """
        point = self.reference[None].copy()
        about = point[0, 3:] - point[0, 3:].mean(axis=0)
        spans = np.linalg.svd(np.concatenate([self.crystal.vectors(point[0, :3]), about]), compute_uv=False)
        if spans[-1] < FLAT * spans[0]:
            off = np.random.default_rng(0).normal(size=about.shape)
            point[:, 3:] += OFF_PLANE * self.lengths.min() * off
        tangents = (self.directions(point) @ self.seen(point)[1])[0]
        sizes = np.linalg.svd(tangents, compute_uv=False)
        return len(sizes) == len(tangents) and bool(sizes[-1] > SOFT * sizes[0])

    @cached_property
    def reference(self) -> Floats:
        """The reference's point, shape (3 + N, 3), Å."""
        atoms = self.crystal.atoms()
        return np.concatenate([atoms.cell.array, atoms.positions])

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the kinds of pairs."""
        symbols = self.crystal.atoms().symbols
        return tuple(
            f"the distance {symbols[self.first[kind]]}–{symbols[self.second[kind]]} of {self.lengths[kind]:.3g} Å"
            for kind in np.unique(self.kinds)
        )

    def ranges(self, points: Floats) -> tuple[Floats, Floats]:
        """The shortest and the longest pair of each kind in each structure, shape (n, kinds) each, Å."""
        lengths = self.distances(points)[1]
        order = np.argsort(self.kinds, kind="stable")
        starts = np.flatnonzero(np.diff(self.kinds[order], prepend=-1))
        return np.minimum.reduceat(lengths[:, order], starts, axis=1), np.maximum.reduceat(
            lengths[:, order], starts, axis=1
        )

    def distances(self, points: Floats) -> tuple[Floats, Floats]:
        """Vectors between the ions of each pair, shape (n, p, 3), and their lengths, (n, p), Å."""
        cells, positions = points[:, :3], points[:, 3:]
        vectors = positions[:, self.second] - positions[:, self.first] + self.steps @ cells
        return vectors, np.linalg.norm(vectors, axis=2)

    def coordinates(self, points: Floats) -> Floats:
        """Coordinates of the pairs, shape (n, p)."""
        lengths = self.distances(points)[1]
        return np.asarray(self.weights * self.lengths * ((self.lengths / lengths) ** self.power - 1) / self.power)

    def size(self, points: Floats) -> float:
        """Root mean square length of the environments in structures, shape (n, 3 + N, 3)."""
        coordinates = self.coordinates(points)
        return float(np.sqrt(np.mean([(each.of(coordinates) ** 2).sum(axis=-1).mean() for each in self.environments])))

    def seen(self, points: Floats) -> tuple[Floats, Floats]:
        """Coordinates, shape (n, p), and their derivatives along the six strains and all displacements, (n, t, p)."""
        vectors, lengths = self.distances(points)
        ratios = (self.lengths / lengths) ** self.power
        coordinates = self.weights * self.lengths * (ratios - 1) / self.power
        n, p = lengths.shape
        # dx = pulls · dr, with r a pair's vector
        pulls = -(self.weights * self.lengths * ratios / lengths**2)[..., None] * vectors
        tangents = np.zeros((n, 6 + points[0, 3:].size, p))
        tangents[:, :6] = np.einsum("npi,jik,npk->njp", vectors, STRAIN_GENERATORS, pulls, optimize=True)
        displaced = tangents[:, 6:].reshape(n, -1, 3, p)
        pair = np.arange(p)
        # One index is an array, and so the pairs come first. Both ions of a pair may be of one site.
        displaced[:, self.second, :, pair] += pulls.swapaxes(0, 1)
        displaced[:, self.first, :, pair] -= pulls.swapaxes(0, 1)
        return coordinates, tangents

    def directions(self, points: Floats) -> Floats:
        """Independent directions that change a structure, orthonormal displacements last, shape (n, t, 6 + 3 N).

        Only ions that move are displaced; where all do, they are not shifted together, and those of molecules not
        turned.
        """
        n, (d, atoms) = len(points), (self.crystal.dimension, len(self.crystal.numbers))
        strains = independent_strains(self.crystal.vectors(points[:, :3])) if d else np.zeros((n, 0, 6))
        mobile = np.repeat(self.crystal.mobile, 3)
        displacements = np.eye(3 * atoms)[mobile]
        if self.crystal.mobile.all():
            rigid = np.tile(np.eye(3), atoms)[None].repeat(n, axis=0)
            if d < 2:
                rigid = np.concatenate([rigid, _turns(self.crystal.vectors(points[:, :3]), points[:, 3:])], axis=1)
            # Completes the rigid motions to a basis of all: columns beyond theirs are across them.
            sizes = np.linalg.svd(rigid, compute_uv=False)
            rank = int((sizes[0] > 1e-6 * sizes[0, 0]).sum())
            across = np.linalg.svd(rigid, full_matrices=True)[2][:, rank:]
        else:
            across = np.broadcast_to(displacements, (n, *displacements.shape))
        t = strains.shape[1]
        found = np.zeros((n, t + across.shape[1], 6 + 3 * atoms))
        found[:, :t, :6], found[:, t:, 6:] = strains, across
        return found


def _turns(lattices: Floats, positions: Floats) -> Floats:
    """Displacements of ions that turn: molecules about any axis, chains about their own, shape (n, 3 or 1, 3 N)."""
    about = positions - positions.mean(axis=1, keepdims=True)
    axes = np.broadcast_to(np.eye(3), (len(positions), 3, 3))
    if lattices.shape[1]:
        axes = lattices / np.linalg.norm(lattices, axis=2, keepdims=True)
    return np.cross(axes[:, :, None], about[:, None]).reshape(*axes.shape[:2], -1)


def _nearest(crystal: Crystal) -> Floats:
    """Distance of each atom of a reference from the nearest other one, Å, shape (N,)."""
    from ase.neighborlist import neighbor_list

    atoms = crystal.atoms()
    reach = 3.0
    while True:
        i, distances = neighbor_list("id", atoms, reach)
        nearest = np.full(len(atoms), np.inf)
        np.minimum.at(nearest, i, distances)
        if np.isfinite(nearest).all():
            return nearest
        reach *= 1.5


def _apart(crystal: Crystal, cutoff: float) -> tuple[Integers, Integers, Integers]:
    """Pairs of sites up to a distance, Å, each once: first and second site, and the second's lattice translation."""
    from ase.neighborlist import neighbor_list

    first, second, steps = neighbor_list("ijS", crystal.atoms(), cutoff)
    ahead = np.array([next((step for step in each if step), 0) for each in steps.tolist()])
    once = (first < second) | ((first == second) & (ahead > 0))
    order = np.lexsort([*steps[once].T, second[once], first[once]])
    return first[once][order], second[once][order], steps[once][order].astype(np.int64)


def _squares(crystal: Crystal, vectors: Floats) -> Floats:
    """Squared lengths of vectors, shape (m, 3), or of those a lattice translation away, if these are shorter."""
    from ase.geometry import find_mic

    return np.asarray(find_mic(vectors, crystal.cell, crystal.pbc)[1] ** 2)


def _permuted(crystal: Crystal, first: Integers, second: Integers, steps: Integers, positions: Floats) -> Integers:
    """The pair on which each pair comes to lie, by every operation, shape (g, p)."""
    operations = crystal.operations
    cell = crystal.cell
    periodic = crystal.pbc
    inverse = np.zeros((3, 3))
    inverse[:, periodic] = np.linalg.pinv(crystal.vectors(cell))
    vectors = positions[second] + steps @ cell - positions[first]
    atoms, most = len(positions), int(np.abs(steps).max(initial=0)) + 2

    def key(one: Integers, other: Integers, step: Integers) -> Integers:
        """A number for each pair, the same for either order of its sites."""
        swapped = (one > other) | ((one == other) & (_leading(step) < 0))
        low, high = np.where(swapped, other, one), np.where(swapped, one, other)
        step = np.where(swapped[..., None], -step, step) + most
        number = low * atoms + high
        for axis in range(3):
            number = number * (2 * most + 1) + step[..., axis]
        return np.asarray(number)

    own = key(first, second, steps)
    order = np.argsort(own)
    one, other = operations.permutations[:, first], operations.permutations[:, second]
    turned = vectors @ operations.rotations
    step = np.rint((turned - (positions[other] - positions[one])) @ inverse).astype(np.int64)
    wanted = key(one, other, step)
    found = np.searchsorted(own[order], wanted).clip(max=len(own) - 1)
    if (own[order][found] != wanted).any():
        raise AssertionError("An operation takes a pair to none.")
    return np.asarray(order[found])


def _leading(steps: Integers) -> Integers:
    """The first component of each translation that is not zero, shape (..., 3) → (...)."""
    x, y, z = np.moveaxis(steps, -1, 0)
    return np.asarray(np.where(x != 0, x, np.where(y != 0, y, z)))


def _alike(numbers: Floats, permutations: Integers) -> Floats:
    """Numbers of the pairs, shape (p,), made equal where symmetry says that they are."""
    return np.asarray(numbers[permutations].mean(axis=0))
