"""The reference crystal that a model is a model of, and how other structures are mapped onto it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from ase_dkl.motif import Floats, Integers, Motif, normals
from ase_dkl.reference import mean_crystal
from ase_dkl.symmetry import BadReference, Symmetry, find_symmetry, near_bases

__all__ = ["BadReference", "Crystal", "Mapped", "NotThisCrystal"]

CLAMPED_TOLERANCE = 2e-3
"""How far from its clamped site an ion may be, Å: room for files with four decimals of a fractional coordinate, and
worth at most some 2 meV at the forces of 1 eV/Å that strained crystals with clamped ions have."""

LARGEST_DISTORTION = 0.3
"""Structures beyond this distortion (`near_bases`) from the reference are not recognised in another basis: 20 % strains
with shears of 20° stay below."""


FLAT = 1e-3
"""Smallest singular value of the periodic lattice vectors, each scaled to length one, that is not a flat cell."""


class NotThisCrystal(ValueError):
    """A structure that is not the reference crystal under strain; the message says why."""


@dataclass(frozen=True, eq=False)
class Mapped:
    """A structure in terms of the reference crystal.

    Attributes:
        cell: lattice vectors of the structure in the reference's basis, in the structure's own Cartesian frame and
            right-handed, shape (3, 3), Å. Rows along vacuum are the structure's own.
        multiplicity: number of reference cells in the structure: a whole number for a supercell, a fraction (¼) for the
            primitive cell where the reference is a centred one.
    """

    cell: Floats
    multiplicity: float


@dataclass(frozen=True, eq=False)
class Crystal:
    """A reference crystal and its symmetry.

    Attributes:
        cell: reference lattice, right-handed, shape (3, 3), Å.
        numbers: atomic numbers, shape (n,).
        scaled_positions: fractional coordinates, shape (n, 3). For sheets and chains the columns of the vacuum axes are
            Cartesian offsets across the periodic directions, Å.
        pbc: which axes are periodic, shape (3,).
        images: point-group operations W in the basis of the periodic axes, G → W G Wᵀ, W and −W once and the identity
            first, shape (g, d, d).
        ions: "clamped" where ions keep their fractional coordinates, "relaxed" where they do not.
        space_group: symbol and number, e.g. "Pm-3m (221)".
        magnetic_moments: collinear moments, μB, zeros where there are none, shape (n,). A global sign plays no part.
        tolerance: how far from its place an ion may be in a structure that is mapped, Å.
    """

    cell: Floats
    numbers: Integers
    scaled_positions: Floats
    pbc: NDArray[np.bool_]
    images: Integers
    ions: str
    space_group: str
    magnetic_moments: Floats
    tolerance: float

    @classmethod
    def from_atoms(cls, atoms: Atoms, *, ions: str = "clamped", symmetry: bool = True) -> Crystal:
        """Take a crystal that is not strained, or as it is meant to be the reference.

        Args:
            atoms: the crystal, in the basis that the model shall use.
            ions: "clamped" or "relaxed".
            symmetry: whether energies are the same at symmetry images; False keeps the identity alone.

        Raises:
            BadReference: nothing periodic, a flat cell, or no crystal at all.
        """
        _refuse_unusable(atoms)
        motif = Motif.from_atoms(atoms)
        tolerance = CLAMPED_TOLERANCE / 2 if ions == "clamped" else 1e-2
        found = find_symmetry(motif, motif.metric[None], tolerance)
        allowed = CLAMPED_TOLERANCE if ions == "clamped" else _loosest(found.motif)
        return cls._of(found, [atoms], ions, allowed, symmetry)

    @classmethod
    def from_strained(cls, structures: Sequence[Atoms], *, symmetry: bool = True) -> Crystal:
        """Find the crystal whose strained copies the structures are, though every one of them may be strained.

        The most common setting (basis and cell) decides; structures in others are for `map`. Ions are clamped where the
        fractional coordinates are the same in all structures but for a translation.

        Args:
            structures: at least one. Atoms may be in any order, and shifted together.
            symmetry: whether energies are the same at symmetry images; False keeps the identity alone.

        Raises:
            BadReference: no structures, nothing periodic, or flat cells.
        """
        if not structures:
            raise BadReference("There are no structures to find a reference crystal from.")
        for atoms in structures:
            _refuse_unusable(atoms)
        mean = mean_crystal([Motif.from_atoms(atoms) for atoms in structures])
        ions = "clamped" if mean.largest_displacement <= CLAMPED_TOLERANCE / 2 else "relaxed"
        tolerance = CLAMPED_TOLERANCE / 2 if ions == "clamped" else max(1e-2, mean.typical_displacement)
        found = find_symmetry(mean.motif, mean.metrics, tolerance)
        loosest = _loosest(found.motif)
        allowed = CLAMPED_TOLERANCE if ions == "clamped" else min(max(0.1, 2 * mean.largest_displacement), loosest)
        return cls._of(found, [structures[i] for i in mean.members], ions, allowed, symmetry)

    @classmethod
    def _of(cls, found: Symmetry, setting: Sequence[Atoms], ions: str, tolerance: float, symmetry: bool) -> Crystal:
        pbc = setting[0].pbc.copy()
        axes = _periodic_first(pbc)
        cell = setting[0].cell.array.copy()
        cell[pbc] = found.motif.lattice
        if pbc.all() and all(not np.triu(atoms.cell.array, 1).any() for atoms in setting):
            # Structures in the standard orientation, a along x and b in the xy plane, have a reference that is so too.
            cell = np.linalg.cholesky(found.motif.metric)
        cell = _right_handed(cell, pbc).round(12) + 0.0
        scaled = np.empty_like(found.motif.sites)
        scaled[:, axes] = found.motif.sites.round(12) + 0.0
        images = found.images if symmetry else found.images[:1]
        moments = found.motif.moments
        return cls(cell, found.motif.numbers, scaled, pbc, images, ions, found.space_group, moments, tolerance)

    @property
    def periodic(self) -> tuple[int, ...]:
        """Indices of the periodic axes."""
        return tuple(int(axis) for axis in np.flatnonzero(self.pbc))

    @property
    def formula(self) -> str:
        """Formula of the reference cell, e.g. "SrTiO3"."""
        return str(Atoms(self.numbers).symbols.formula.convert("metal"))

    def atoms(self, cell: Floats | None = None) -> Atoms:
        """Put the motif into a cell.

        Args:
            cell: lattice vectors in the reference's basis, shape (3, 3), Å; the reference's own by default.
        """
        cell = self.cell if cell is None else np.asarray(cell, dtype=float)
        axes = _periodic_first(self.pbc)
        lattice = cell[self.pbc]
        positions = self.scaled_positions[:, axes] @ np.vstack([lattice, normals(lattice)])
        atoms = Atoms(self.numbers, positions, cell=cell, pbc=self.pbc)
        if self.magnetic_moments.any():
            atoms.set_initial_magnetic_moments(self.magnetic_moments)
        return atoms

    def map(self, atoms: Atoms) -> Mapped:
        """Map a strained crystal onto the reference: rotated, shifted, in another basis or atom order, or a supercell.

        Of equivalent bases the one with the least strain is taken. A left-handed lattice and the mirror image of the
        crystal are mapped too: their energies and stresses are the same.

        Args:
            atoms: the structure.

        Raises:
            NotThisCrystal: it is something else, or its ions are elsewhere.
        """
        if self._in_reference_setting(atoms):
            return Mapped(atoms.cell.array.copy(), 1.0)
        self._refuse_other_kind(atoms)
        motif = Motif.from_atoms(atoms)
        multiplicity = len(atoms) / len(self.numbers)
        laid = next((laid for step in self._tolerances if (laid := self._laid(motif, step)) is not None), None)
        if laid is None:
            raise NotThisCrystal(
                f"The structure has the composition of {self.formula}, but no basis of its lattice and no order of its "
                "atoms make it a strained copy of the reference crystal: it is another phase, or is strained too far."
            )
        basis, displacements = laid
        self._refuse_displaced(atoms, displacements)
        cell = np.empty((3, 3))
        cell[self.pbc] = basis @ motif.lattice
        cell[~self.pbc] = atoms.cell.array[~atoms.pbc]
        return Mapped(_right_handed(cell, self.pbc), multiplicity)

    def to_dict(self) -> dict[str, Any]:
        """Everything that `from_dict` needs, for JSON."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Crystal:
        """Rebuild a crystal from `to_dict`."""
        kinds = {"numbers": np.int64, "images": np.int64, "pbc": np.bool_}
        return cls(
            **{
                name: np.array(value, dtype=kinds.get(name, np.float64)) if isinstance(value, list) else value
                for name, value in values.items()
            }
        )

    @cached_property
    def _motif(self) -> Motif:
        return Motif.from_atoms(self.atoms())

    @cached_property
    def _primitive(self) -> tuple[Motif, Floats]:
        return self._motif.primitive(CLAMPED_TOLERANCE / 2)

    @cached_property
    def _tolerances(self) -> list[float]:
        """Tolerances to recognise the crystal with, up to one at which only the place of an ion is in doubt."""
        loosest = _loosest(self._motif)
        return [step for step in (CLAMPED_TOLERANCE, 0.02, 0.05, 0.1, 0.2, 0.4) if step < loosest] + [loosest]

    @cached_property
    def _fractional_tolerance(self) -> float:
        # Half, because the fast path measures from the first atom's place and not from the mean.
        return float(0.5 * self.tolerance / np.linalg.norm(self.cell, axis=1).sum())

    def _in_reference_setting(self, atoms: Atoms) -> bool:
        """Whether cell and sites are the reference's but for strain and translation (this runs at every energy)."""
        arrays = atoms.arrays
        if len(atoms) != len(self.numbers) or not self.pbc.all() or not atoms.pbc.all():
            return False
        if (arrays["numbers"] != self.numbers).any():
            return False
        if "initial_magmoms" in arrays or self.magnetic_moments.any():
            moments = arrays.get("initial_magmoms")
            if moments is None or not np.array_equal(moments, self.magnetic_moments):
                return False
        (ax, ay, az), (bx, by, bz), (cx, cy, cz) = cell = atoms.cell.tolist()
        volume = ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx)
        # Left-handed, flat and infinite cells, and NaN: the general path knows what to do or say.
        if not FLAT * math.hypot(ax, ay, az) * math.hypot(bx, by, bz) * math.hypot(cx, cy, cz) < volume < math.inf:
            return False
        offsets = arrays["positions"] @ np.linalg.inv(cell) - self.scaled_positions
        offsets -= offsets[0]
        offsets -= np.rint(offsets)
        return bool(np.abs(offsets).max() <= self._fractional_tolerance)

    def _laid(self, motif: Motif, tolerance: float) -> tuple[Floats, Floats] | None:
        """Lay a structure on the reference.

        Returns:
            The matrix B that makes B @ lattice the reference's periodic lattice vectors, and how far each of the
            structure's atoms is from its site in the reference lattice, Å.
        """
        target, centring = self._primitive
        primitive, reduction = motif.primitive(tolerance)
        if len(primitive) != len(target):
            return None
        bases, distortions = near_bases(primitive.metric, target.metric, LARGEST_DISTORTION)
        changes = np.linalg.inv(centring) @ bases @ reduction
        # Symmetry images have equal distortions: of these the structure's own basis, or the most similar, comes first.
        own = np.abs(np.trace(changes, axis1=1, axis2=2))
        for i in np.lexsort([-own.round(6), distortions.round(9)]):
            basis, change = bases[i], changes[i]
            relabelled = primitive.in_basis(basis)
            for isometry in target.isometries(relabelled, tolerance):
                placement = next(target.placements(relabelled.transformed(isometry), tolerance), None)
                if placement is not None:
                    everything = motif.in_basis(basis @ reduction).transformed(isometry).shifted(placement.shift)
                    distances = target.distances(target.displacements(everything))
                    return change, distances
        return None

    def _refuse_other_kind(self, atoms: Atoms) -> None:
        """Refuse what no lattice can make the reference crystal."""
        own = f"This model is of {self._description}"
        if problem := _unusable(atoms):
            raise NotThisCrystal(f"{own}; the structure {problem}")
        if atoms.pbc.sum() != self.pbc.sum():
            raise NotThisCrystal(
                f"{own}; the structure is periodic along {atoms.pbc.sum()} of its axes (pbc={atoms.pbc.tolist()}), "
                f"not {self.pbc.sum()}. Set atoms.pbc if that is an oversight."
            )
        counts, wanted = (Atoms(numbers).symbols.formula.count() for numbers in (atoms.numbers, self.numbers))
        formula = atoms.symbols.formula.convert("metal")
        if {k: v * len(self.numbers) for k, v in counts.items()} != {k: v * len(atoms) for k, v in wanted.items()}:
            raise NotThisCrystal(f"{own}; the structure is {formula}, of another composition.")
        if len(atoms) % len(self._primitive[0]):
            raise NotThisCrystal(
                f"{own}; the structure has {len(atoms)} atoms ({formula}), which is no whole number of primitive cells "
                f"of {len(self._primitive[0])} atoms."
            )
        magnetic = bool(atoms.get_initial_magnetic_moments().any())
        if magnetic != bool(self.magnetic_moments.any()):
            raise NotThisCrystal(
                f"{own} {'with' if not magnetic else 'without'} magnetic moments; the structure has "
                f"{'some' if magnetic else 'none'}. Use atoms.set_initial_magnetic_moments to give it the reference's."
            )

    def _refuse_displaced(self, atoms: Atoms, distances: Floats) -> None:
        worst = int(np.argmax(distances))
        if distances[worst] <= self.tolerance:
            return
        place = (
            "from its clamped site; this model knows clamped ions only: give every ion its fractional coordinates in "
            "the reference (with set_cell(..., scale_atoms=True) they keep them)."
            if self.ions == "clamped"
            else f"from its mean place in the training structures, more than {self.tolerance:.2f} Å: relax the ions."
        )
        raise NotThisCrystal(f"Atom {worst} ({atoms.symbols[worst]}) is {distances[worst]:.3g} Å {place}")

    @property
    def _description(self) -> str:
        formula, units = Atoms(self.numbers).symbols.formula.reduce()
        plural = "formula unit" if units == 1 else "formula units"
        return f"{formula.convert('metal')} ({self.space_group}, {units} {plural} a cell, {self.ions} ions)"


def _periodic_first(pbc: NDArray[np.bool_]) -> Integers:
    return np.argsort(~pbc, kind="stable")


def _right_handed(cell: Floats, pbc: NDArray[np.bool_]) -> Floats:
    """Reverse lattice vectors of a left-handed cell such that the metric of the periodic ones stays."""
    if np.linalg.det(cell) < 0:
        cell[pbc if pbc.sum() != 2 else ~pbc] *= -1
    return cell


def _loosest(motif: Motif) -> float:
    """Beyond this distance (Å) it is not clear any more whose place an ion has left."""
    return 0.4 * motif.closest


def _unusable(atoms: Atoms) -> str | None:
    if len(atoms) == 0:
        return "has no atoms."
    if not (np.isfinite(atoms.cell.array).all() and np.isfinite(atoms.positions).all()):
        return "has lattice vectors or positions that are not finite numbers."
    if not atoms.pbc.any():
        return "is not periodic (pbc is False along all axes): set atoms.pbc along its lattice vectors."
    lattice = atoms.cell.array[atoms.pbc]
    lengths = np.linalg.norm(lattice, axis=1)
    if not lengths.all() or np.linalg.svd(lattice / lengths[:, None])[1][-1] < FLAT:
        return f"has a flat cell: its periodic lattice vectors {lattice.round(4).tolist()} are linearly dependent."
    return None


def _refuse_unusable(atoms: Atoms) -> None:
    if problem := _unusable(atoms):
        raise BadReference(f"A reference crystal cannot be made: the structure {problem}")
    if "initial_magmoms" in atoms.arrays and atoms.arrays["initial_magmoms"].ndim > 1:
        raise BadReference("A reference crystal cannot be made: its magnetic moments are vectors, not collinear ones.")
