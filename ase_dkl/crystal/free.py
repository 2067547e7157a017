"""Structures of a crystal, molecule or cluster whose ions are free: which atom is which, and where each is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal, TypeAlias

import numpy as np
from ase import Atoms
from ase.neighborlist import natural_cutoffs, neighbor_list
from numpy.typing import NDArray

from ase_dkl.arrays import Floats, Integers
from ase_dkl.crystal import cluster
from ase_dkl.crystal.lattice import normals
from ase_dkl.crystal.mapping import _DISTORTIONS, CLAMPED_TOLERANCE, DisplacedIons, NotThisCrystal
from ase_dkl.crystal.motif import Motif
from ase_dkl.crystal.relabelling import SURE_DISTORTION, distortion, isometries, near_bases
from ase_dkl.crystal.unusable import unusable

Ions: TypeAlias = str | int | Sequence[str | int]
"""Names of ions: indices, ranges and symbols, in a sequence or with commas between them."""
IonsName: TypeAlias = Literal["auto", "clamped", "relaxed", "free"]
"""What ions do; auto finds it in the data."""
MatchName: TypeAlias = Literal["auto", "order", "sites"]
"""How it is told which atom is which: by their order, checked by bonds, or by where they are."""

REPEATED = 1e-3
"""Å. Displacements of a supercell that repeat, and so are those of one cell, do so to this."""
_BETTER = 0.8
"""By how much ions are nearer to their sites in another order or basis that is preferred to a structure's own."""
STRETCH = 1.4
"""Factor by which a bond may be longer or shorter than in the reference."""
_MOST_CELLS = 64
"""Reference cells in the largest supercell that is taken apart."""


@dataclass(frozen=True, eq=False)
class Placed:
    """A structure in terms of a reference whose ions are free.

    Attributes:
        cell: lattice vectors in the reference's basis, shape (3, 3), Å.
        positions: in the reference's order, in the structure's own frame, each near its site, shape (n, 3), Å.
        sites: for which of these each atom of the structure stands, shape (atoms,).
        distances: of the ions from their sites, shape (n,), Å.
    """

    cell: Floats
    positions: Floats
    sites: Integers
    distances: Floats

    @property
    def displacement(self) -> float:
        """How far the ion that is furthest from its site is from there, Å."""
        return float(self.distances.max())

    @property
    def typical(self) -> float:
        """Root mean square of the distances, Å."""
        return float(np.sqrt((self.distances**2).mean()))


@dataclass(frozen=True, eq=False)
class Bonds:
    """Bonds of a reference, by which atoms that have changed places are told.

    Attributes:
        symbols: of the atoms.
        atoms: pairs of them, shape (b, 2).
        steps: lattice vectors from the first atom's cell to the second one's, shape (b, d).
        lengths: shape (b,), Å.
    """

    symbols: tuple[str, ...]
    atoms: Integers
    steps: Integers
    lengths: Floats

    @classmethod
    def of(cls, atoms: Atoms) -> Bonds:
        """Bonds of atoms, of which the first d vectors of the cell are periodic."""
        i, j, steps, lengths = neighbor_list("ijSd", atoms, natural_cutoffs(atoms, mult=cluster.BOND))
        once = i <= j
        pairs = np.stack([i, j], axis=1)[once].astype(np.int64)
        return cls(tuple(atoms.symbols), pairs, steps[once][:, : int(atoms.pbc.sum())], lengths[once])

    def broken(self, positions: Floats, lattice: Floats) -> str | None:
        """The bond that is most stretched, or pressed, in words, where it is no bond any more.

        Args:
            positions: each near its site, shape (n, 3), Å.
            lattice: periodic vectors, shape (d, 3), Å.
        """
        if not len(self.atoms):
            return None
        vectors = positions[self.atoms[:, 1]] + self.steps @ lattice - positions[self.atoms[:, 0]]
        now = np.linalg.norm(vectors, axis=1)
        worst = int(np.abs(np.log(np.maximum(now, 1e-3) / self.lengths)).argmax())
        if 1 / STRETCH < now[worst] / self.lengths[worst] < STRETCH:
            return None
        first, second = (f"{each} ({self.symbols[each]})" for each in self.atoms[worst].tolist())
        return (
            f"the bond between atoms {first} and {second}, {self.lengths[worst]:.2f} Å long in the reference, is "
            f"{now[worst]:.2f} Å long"
        )


class Places:
    """Where the ions of a reference are, and structures laid on it.

    Args:
        motif: of the reference.
        pbc: which of its lattice vectors are periodic, shape (3,).
        mobile: which ions may be off their places, shape (n,).
        tolerance: how far, Å.
        description: the reference in words.
        by_order: whether the order of atoms says which is which, as far as no bond is broken, however far they are off
            their sites and whatever the lattice is; so it is with molecules.
    """

    def __init__(
        self,
        motif: Motif,
        pbc: NDArray[np.bool_],
        mobile: NDArray[np.bool_],
        tolerance: float,
        description: str,
        by_order: bool,
    ) -> None:
        self._motif, self._pbc = motif, pbc
        self._tolerance, self._description = tolerance, description
        self._d = motif.dimension
        self._held = np.flatnonzero(~mobile)
        self._anchors = self._held if len(self._held) else slice(None)
        frame = np.vstack([motif.lattice, normals(motif.lattice)])
        self._inverse = np.linalg.inv(frame)
        self._handed = np.sign(np.linalg.det(frame))
        self._reference = motif.sites @ frame
        self._by_order = by_order or self._d == 0
        self._bonds = Bonds.of(Atoms(motif.numbers, self._reference, cell=frame, pbc=np.arange(3) < self._d))

    def of(self, atoms: Atoms) -> Placed:
        """Lay a structure on the reference: by the order of its atoms, or else in any order and basis.

        Raises:
            NotThisCrystal: it is something else.
            DisplacedIons: ions are too far from their sites, or those are that are held.
        """
        self._refuse_other_kind(atoms)
        same = np.array_equal(atoms.numbers, self._motif.numbers) and self._same_moments(atoms)
        own = self._in_order(atoms) if same else None
        if own is None or (own.displacement > self._tolerance and (not self._by_order or self._broken(own))):
            found = self._as_molecule(atoms) if self._d == 0 else self._searched(atoms)
            # By shifting all a little the one that is far can be nearer to some site: that is no better order.
            if own is None or (found is not None and found.typical < _BETTER * own.typical):
                own = found
        if own is None:
            raise NotThisCrystal(
                f"This model is of {self._description}. The structure has the same composition, but no order of its "
                f"atoms{' and no basis of its lattice' * (self._d > 0)} bring every one to within "
                f"{self._tolerance:.2g} Å of its site: it is another phase or conformation, or atoms have changed "
                "places."
            )
        self._refuse_displaced(own)
        return own

    def _refuse_other_kind(self, atoms: Atoms) -> None:
        own, n = f"This model is of {self._description}", len(self._motif)
        if problem := unusable(atoms, finite=self._d == 0):
            raise NotThisCrystal(f"{own}; the structure {problem}")
        if int(atoms.pbc.sum()) != self._d:
            raise NotThisCrystal(
                f"{own}; the structure is periodic along {atoms.pbc.sum()} of its axes (pbc={atoms.pbc.tolist()}), "
                f"not {self._d}. Set atoms.pbc, or --pbc of a command, if that is an oversight."
            )
        counts, wanted = (np.bincount(numbers, minlength=120) for numbers in (atoms.numbers, self._motif.numbers))
        if (counts * n != wanted * len(atoms)).any() or (self._d == 0 and len(atoms) != n):
            formula = atoms.symbols.formula.convert("metal")
            raise NotThisCrystal(f"{own}; the structure is {formula}, of another composition.")
        magnetic = bool(atoms.get_initial_magnetic_moments().any())
        if magnetic != bool(self._motif.moments.any()):
            raise NotThisCrystal(
                f"{own} {'without' if magnetic else 'with'} magnetic moments; the structure has "
                f"{'some' if magnetic else 'none'}. Use atoms.set_initial_magnetic_moments to give it the reference's."
            )

    def _same_moments(self, atoms: Atoms) -> bool:
        if not self._motif.moments.any():
            return True
        return self._motif.flip_of(atoms.get_initial_magnetic_moments(), np.arange(len(atoms))) != 0

    def _refuse_displaced(self, placed: Placed) -> None:
        if placed.displacement > self._tolerance:
            if not self._by_order:
                raise DisplacedIons(
                    f"An atom is {placed.displacement:.2g} Å from its site. This model of {self._description} has room "
                    f"for {self._tolerance:.2g} Å; beyond, it is not clear which atom is where, as when atoms change "
                    "places.",
                    placed.displacement,
                )
            if broken := self._broken(placed):
                raise DisplacedIons(
                    f"This model is of {self._description}; in the structure {broken}: it is broken, or its atoms have "
                    "changed places.",
                    placed.displacement,
                )
        off = placed.distances[self._held]
        if off.max(initial=0.0) > CLAMPED_TOLERANCE:
            atom = int(self._held[off.argmax()])
            raise DisplacedIons(
                f"Atom {atom} of the reference ({self._atoms().symbols[atom]}) is {off.max():.2g} Å from its place, "
                "where all the data of this model hold it. Only ions that move in the data may move.",
                float(off.max()),
            )

    def _broken(self, placed: Placed) -> str | None:
        return self._bonds.broken(placed.positions, placed.cell[self._pbc])

    def _atoms(self) -> Atoms:
        return Atoms(self._motif.numbers, self._reference)

    def change(self, cell: Floats, positions: Floats) -> Floats:
        """What takes the reference, r → r @ T, to where its sites are in a structure, shape (3, 3).

        Strained and turned as the cell is; of a molecule turned as its atoms are.

        Args:
            cell: of the structure, in the reference's basis, shape (3, 3), Å.
            positions: of its ions, in the reference's order, shape (n, 3), Å.
        """
        lattice = cell[self._pbc]
        if self._d < 2:
            return self._turn(positions, lattice)
        return np.asarray(self._inverse @ np.vstack([lattice, normals(lattice)]))

    def _sites(self, cell: Floats, positions: Floats) -> Floats:
        """The sites in a structure's own frame, but for a translation, shape (n, 3), Å."""
        return np.asarray(self._reference @ self.change(cell, positions))

    def _turn(self, positions: Floats, lattice: Floats) -> Floats:
        """What turns, and along a chain stretches, the reference onto positions, shape (3, 3)."""
        own, there = self._reference[self._anchors], positions[self._anchors]
        if self._d == 0:
            return cluster.turned_onto(there, own)
        mine, basis = _about(self._motif.lattice[0]), _about(lattice[0])
        a, b = ((each - each.mean(axis=0)) @ axes.T for each, axes in ((own, mine), (there, basis)))
        angle = float(np.angle((b[:, 1] + 1j * b[:, 2]) @ (a[:, 1] - 1j * a[:, 2])))
        turn = np.eye(3)
        turn[1:, 1:] = [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
        turn[0, 0] = np.linalg.norm(lattice[0]) / np.linalg.norm(self._motif.lattice[0])
        return np.asarray(mine.T @ turn @ basis)

    def _in_order(self, atoms: Atoms) -> Placed | None:
        """Place a structure that is written in the reference's order and basis; None where the basis is another."""
        cell, positions, motif = atoms.cell.array, atoms.positions, self._motif
        lattice = cell[atoms.pbc]
        if self._d and (atoms.pbc != self._pbc).any():
            return None
        if self._d == 3 and np.linalg.det(cell) < 0:
            return None
        limit = np.inf if self._by_order else SURE_DISTORTION
        if self._d >= 2 and distortion(lattice @ lattice.T, motif.metric) > limit:
            return None
        if self._d:
            frame = np.vstack([lattice, normals(lattice)])
            inverse = np.linalg.inv(frame)
            offsets = positions @ inverse - motif.sites
            offsets -= offsets[0]
            positions = positions - np.rint(offsets[:, : self._d]) @ lattice
        return self._placed(cell, positions, np.arange(len(positions)))

    def _placed(self, cell: Floats, positions: Floats, sites: Integers) -> Placed:
        """Shift positions in the reference's order such that they are about the sites, or about those that are held."""
        places = self._sites(cell, positions)
        displacements = positions - places
        displacements -= displacements[self._anchors].mean(axis=0)
        if self._d == 0:
            cell = np.zeros((3, 3))
        sizes = np.sqrt((displacements**2).sum(axis=1))
        return Placed(cell.copy(), places + displacements, sites, sizes)

    def _as_molecule(self, atoms: Atoms) -> Placed | None:
        found = cluster.laid_in_any_order(
            self._motif.numbers, self._reference, atoms.numbers, atoms.positions, self._tolerance
        )
        if found is None:
            sites = cluster.laid_by_bonds(self._motif.numbers, self._reference, atoms.numbers, atoms.positions)
            if sites is None:
                return None
        else:
            sites = found[0]
        return self._placed(np.zeros((3, 3)), atoms.positions[np.argsort(sites)], sites)

    def _searched(self, atoms: Atoms) -> Placed | None:
        motif = Motif.from_atoms(atoms)
        alike = len(motif) == len(self._motif)
        if alike and (found := self._laid(motif, np.arange(len(motif)), atoms)) is not None:
            return found
        for cell, origin in self._cells(motif):
            if (found := self._laid(cell, origin, atoms)) is not None:
                return found
        if alike:
            return None
        raise NotThisCrystal(
            f"This model is of {self._description}. The structure has {len(atoms)} atoms, and is no repetition of one "
            f"cell of {len(self._motif)} to {REPEATED:g} Å. Of supercells only those can be predicted whose "
            "displacements repeat: a model of a larger cell needs data of the larger cell."
        )

    def _cells(self, motif: Motif) -> Iterator[tuple[Motif, Integers]]:
        """Cells as large as the reference's of which a structure is a repetition; and which of its atoms are alike.

        Yields:
            The motif of a cell, and on which of its sites each atom of the structure is, shape (atoms,).
        """
        d = self._d
        small, basis = motif.primitive(REPEATED)
        times, rest = divmod(len(self._motif), len(small))
        if rest or times > _MOST_CELLS:
            return
        target = self._motif.reduced()[0].metric
        likely = []
        for matrix in _sublattices(times, d):
            reduced = replace(small, lattice=matrix @ small.lattice)
            likely.append((float(distortion(reduced.reduced()[0].metric, target)), matrix))
        for off, matrix in sorted(likely, key=lambda pair: round(pair[0], 6)):
            if off > 2 * _DISTORTIONS[-1]:
                return
            sites = np.repeat(small.sites, times, axis=0)
            sites[:, :d] = (sites[:, :d] + np.tile(_inside(matrix), (len(small), 1))) @ np.linalg.inv(matrix)
            numbers, moments = np.repeat(small.numbers, times), np.repeat(small.moments, times)
            cell = Motif(matrix @ small.lattice, numbers, sites, moments)
            own = motif.sites.copy()
            own[:, :d] = own[:, :d] @ np.linalg.inv(matrix @ basis)
            yield cell, cell.nearest(own, motif.numbers)[0]

    def _laid(self, motif: Motif, origin: Integers, atoms: Atoms) -> Placed | None:
        """Lay a motif with as many atoms as the reference has on it, in any basis and order.

        Args:
            motif: of one cell of the structure.
            origin: the site of that motif on which each atom of the structure is, shape (atoms,).
            atoms: the structure.
        """
        d = self._d
        target, reduction = self._motif.reduced()
        other, own_reduction = motif.reduced()
        frame = np.vstack([motif.lattice, normals(motif.lattice)])
        ways = np.array(list(isometries(target, other, self._tolerance)))
        best: Placed | None = None
        least = self._tolerance
        for limit in _DISTORTIONS:
            bases = near_bases(other.metric, target.metric, limit)[0]
            if not len(bases):
                continue
            bounds = target.misfits(other, bases, ways)
            for i, way in product(range(len(bases)), range(len(ways))):
                if bounds[i, way] > least:
                    continue
                # Rows of coordinates in the structure's basis → in the reference's reduced one.
                change = np.eye(3)
                change[:d, :d] = np.linalg.inv(bases[i] @ own_reduction)
                change = change @ ways[way]
                turned = np.linalg.inv(change) @ frame
                back = np.eye(3)
                back[:d, :d] = np.linalg.inv(reduction)
                turned_reference = back @ turned
                if np.sign(np.linalg.det(turned_reference)) != self._handed:
                    continue
                relabelled = other.in_basis(bases[i]).transformed(ways[way])
                for placement in target.placements(relabelled, least):
                    if placement.distances.max() > least - 1e-6 and best is not None:
                        continue
                    least = float(placement.distances.max())
                    cell = atoms.cell.array.copy()
                    if self._d < 3:
                        cell[self._pbc], cell[~self._pbc] = turned_reference[:d], atoms.cell.array[~atoms.pbc]
                        cell = _right_handed(cell, self._pbc)
                    else:
                        cell = turned_reference
                    offsets = placement.displacements @ turned
                    order = np.argsort(placement.partners)
                    positions = self._motif.sites @ turned_reference + offsets[order]
                    best = self._placed(cell, positions, placement.partners[origin])
            if best is not None and best.displacement <= self._tolerance / 2:
                return best
        return best


def _about(axis: Floats) -> Floats:
    """A right-handed set of unit vectors, the first along an axis, shape (3, 3)."""
    along = axis / np.linalg.norm(axis)
    across = normals(along[None])[0]
    return np.vstack([along, across, np.cross(along, across)])


def _right_handed(cell: Floats, pbc: NDArray[np.bool_]) -> Floats:
    """Reverse a vacuum vector of a left-handed cell."""
    if np.linalg.det(cell) < 0:
        cell[int(np.flatnonzero(~pbc)[0])] *= -1
    return cell


def _sublattices(index: int, dimension: int) -> Iterator[Integers]:
    """Bases of all sublattices with so many points a cell (Hermite normal forms), shape (d, d) each."""
    for diagonal in product(*[[k for k in range(1, index + 1) if index % k == 0]] * dimension):
        if int(np.prod(diagonal)) != index:
            continue
        places = [(i, j) for i in range(dimension) for j in range(i + 1, dimension)]
        for above in product(*[range(diagonal[j]) for _, j in places]):
            matrix = np.diag(diagonal).astype(np.int64)
            for (i, j), value in zip(places, above, strict=True):
                matrix[i, j] = value
            yield matrix


def _inside(matrix: Integers) -> Integers:
    """Lattice points in one cell of a sublattice, shape (index, d)."""
    return np.array(list(product(*[range(int(each)) for each in np.diag(matrix)])), dtype=np.int64)


def still(motif: Motif, sites: Floats, tolerance: float) -> NDArray[np.bool_]:
    """Which ions keep their distances from one another in all structures, but for strain.

    Args:
        motif: mean motif.
        sites: in its coordinates and order, in each structure, shape (m, n, 3).
        tolerance: Å.

    Returns:
        The largest such set of two and more, shape (n,); nothing where there is none.
    """
    frame = np.vstack([motif.lattice, normals(motif.lattice)])
    offsets = (sites - sites.mean(axis=0)) @ frame
    n = offsets.shape[1]
    best = np.zeros(n, dtype=bool)
    for k in range(n):
        together = np.linalg.norm(offsets - offsets[:, k : k + 1], axis=2).max(axis=0) <= tolerance
        if together.sum() > max(best.sum(), 1):
            best = together
    return np.asarray(best)


def named_ions(mobile: Ions, numbers: Integers) -> NDArray[np.bool_]:
    """Which ions a user names, shape (n,): by indices, ranges "0-3" or symbols, in a sequence or with commas.

    Raises:
        ValueError: there is no such ion.
    """
    symbols = np.array(Atoms(numbers).get_chemical_symbols())
    words = mobile.split(",") if isinstance(mobile, str) else [mobile] if isinstance(mobile, int) else mobile
    chosen = np.zeros(len(numbers), dtype=bool)
    for each in words:
        word = str(each).strip()
        first, dash, last = word.partition("-")
        if word in symbols:
            chosen |= symbols == word
        elif first.isdigit() and (not dash or last.isdigit()):
            low, high = int(first), int(last or first)
            if not low <= high < len(numbers):
                raise ValueError(f"mobile={word}: the reference cell's ions are numbered from 0 to {len(numbers) - 1}.")
            chosen[low : high + 1] = True
        else:
            raise ValueError(
                f"mobile={word!r} names no ion: give indices (0,3), ranges (0-7) or symbols of the reference cell "
                f"({', '.join(sorted(set(symbols)))})."
            )
    return chosen
