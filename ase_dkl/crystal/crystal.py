"""The reference crystal that a model is a model of, and how other structures are mapped onto it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from ase_dkl.arrays import Floats, Integers
from ase_dkl.crystal import cluster
from ase_dkl.crystal.equivalent import Neighbourhood
from ase_dkl.crystal.free import Ions, IonsName, Places, named_ions, still
from ase_dkl.crystal.lattice import GREEK, KINDS, Kind, lattice_parameters, metric, normals, unit_of
from ase_dkl.crystal.mapping import CLAMPED_TOLERANCE, DisplacedIons, NotThisCrystal, Pattern
from ase_dkl.crystal.motif import LOOSEST, Motif
from ase_dkl.crystal.operations import Operations
from ase_dkl.crystal.periodicity import in_dimension
from ase_dkl.crystal.reference import mean_crystal
from ase_dkl.crystal.relabelling import distortion
from ase_dkl.crystal.setting import Setting
from ase_dkl.crystal.structures import Structure, as_atoms
from ase_dkl.crystal.symmetry import BadReference, Symmetry, find_symmetry
from ase_dkl.crystal.unusable import unusable
from ase_dkl.shown import Shown
from ase_dkl.wording import number

__all__ = ["BadReference", "Crystal", "DisplacedIons", "Mapped", "NotThisCrystal"]

_RELAXED_TOLERANCE = 1e-2
"""Distance within which relaxed ions are symmetric, Å: the residue of a relaxation."""
_HELD = 200
"""Added to the atomic numbers of ions that are held where these are to be told from others."""
_ENOUGH = 1000
"""Structures that tell the mean crystal; with more of them a random choice is as good a witness."""


@dataclass(frozen=True, eq=False)
class Mapped:
    """A structure in terms of the reference crystal.

    Attributes:
        cell: lattice vectors of the structure in the reference's basis, in the structure's own Cartesian frame and
            right-handed, shape (3, 3), Å. Rows along vacuum are the structure's own.
        multiplicity: number of reference cells in the structure: a whole number for a supercell, a fraction (¼) for the
            primitive cell where the reference is a centred one.
        displacement: how far the ion that is furthest from its site is from there, Å.
        point: where ions are free, the cell and below it the ions' positions in the reference's order, each near its
            site, in the structure's own frame, shape (3 + n, 3), Å; the cell of a molecule is zeros. Else the cell.
        sites: where ions are free, for which ion of the reference each atom of the structure stands, shape (atoms,):
            its forces are the reference's [sites]. Else nothing.
    """

    cell: Floats
    multiplicity: float
    displacement: float
    point: Floats
    sites: Integers = field(default_factory=lambda: np.empty(0, dtype=np.int64))


@dataclass(frozen=True, eq=False, repr=False)
class Crystal(Shown):
    """A reference crystal and its symmetry.

    Attributes:
        cell: reference lattice, right-handed, shape (3, 3), Å.
        numbers: atomic numbers, shape (n,).
        scaled_positions: fractional coordinates, shape (n, 3). For sheets and chains the columns of the vacuum axes are
            Cartesian offsets across the periodic directions, Å.
        pbc: which axes are periodic, shape (3,).
        images: point-group operations W in the basis of the periodic axes, G → W G Wᵀ, W and −W once and the identity
            first, shape (g, d, d).
        ions: "clamped" where ions keep their fractional coordinates, "relaxed" where they follow the lattice otherwise,
            "free" where they are anywhere about their sites.
        space_group: symbol and number, e.g. "Pm-3m (221)"; of molecules and clusters the point group, "C2v".
        magnetic_moments: collinear moments, μB, zeros where there are none, shape (n,). A global sign plays no part.
        tolerance: how far from its place an ion may be in a structure that is mapped, Å.
        known: lattices of a model or a dataset in this basis, shape (n, 3, 3), Å; not saved. Of equivalent settings
            `map` takes the one that is nearest to them.
        mobile: which ions are free to be off their sites, shape (n,); none where ions are clamped or relaxed.
        symmetric: of free ions, whether energies are the same after symmetry operations other than the identity.
        by_order: whether in structures with this order of atoms each is the one that it is here, as far as no bond is
            broken, however far it is off its site and whatever the lattice is.
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
    known: Floats = field(default_factory=lambda: np.empty((0, 3, 3)), repr=False)
    mobile: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, dtype=bool), repr=False)
    symmetric: bool = field(default=True, repr=False)
    by_order: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.mobile) != len(self.numbers):
            object.__setattr__(self, "mobile", np.full(len(self.numbers), self.ions == "free"))

    @classmethod
    def from_atoms(
        cls,
        atoms: Structure,
        *,
        ions: Literal["clamped", "relaxed", "free"] = "clamped",
        symmetry: bool = True,
        mobile: Ions | None = None,
    ) -> Crystal:
        """Take a crystal that is not strained, or as it is meant to be the reference.

        Args:
            atoms: the crystal, as atoms or a structure of pymatgen's, in the basis that the model shall use.
            ions: "clamped", "relaxed" or "free". Those of molecules and clusters are free.
            symmetry: whether energies are the same at symmetry images; False keeps the identity alone.
            mobile: which of free ions may be off their sites, by indices of the reference cell, or symbols; all by
                default.

        Raises:
            BadReference: nothing periodic where ions are not free, a flat cell, or no crystal at all.
        """
        atoms = as_atoms(atoms)
        _refuse_unusable(atoms, ions == "free")
        moving = _named(mobile, atoms, ions)
        if not atoms.pbc.any():
            return cls._finite([atoms], symmetry, moving)
        motif = Motif.from_atoms(atoms)
        tolerance = CLAMPED_TOLERANCE / 2 if ions == "clamped" else _RELAXED_TOLERANCE
        found = find_symmetry(motif, motif.metric[None], tolerance)
        allowed = CLAMPED_TOLERANCE if ions == "clamped" else LOOSEST * found.motif.closest
        return cls._of(found, [atoms], ions, allowed, symmetry, moving)

    @classmethod
    def from_strained(
        cls,
        structures: Sequence[Structure],
        *,
        ions: IonsName = "auto",
        symmetry: bool = True,
        mobile: Ions | None = None,
        by_order: bool = False,
    ) -> Crystal:
        """Find the crystal whose strained copies the structures are, though every one of them may be strained.

        The most common setting (basis and cell) decides; structures in others are for `map`.

        Args:
            structures: at least one. Atoms may be in any order, and shifted together.
            ions: what ions do. auto: clamped where the fractional coordinates are the same in all structures but for a
                translation, else relaxed; free in molecules and clusters.
            symmetry: whether energies are the same at symmetry images; False keeps the identity alone.
            mobile: which of free ions may be off their sites, by indices of the reference cell (the first structure's
                order of atoms), or symbols; by default those that are so in the structures.
            by_order: whether atoms are the same that have the same place in the order, however they move: for flexible
                frameworks. Of relaxed and free ions; the reference is then the structure of median size.

        Raises:
            BadReference: no structures, nothing periodic where ions are not free, or flat cells.
        """
        if not structures:
            raise BadReference("There are no structures to find a reference crystal from.")
        if len(structures) > _ENOUGH:
            chosen = np.random.default_rng(0).choice(len(structures), _ENOUGH, replace=False)
            structures = [structures[i] for i in np.sort(chosen)]
        members = [as_atoms(each) for each in structures]
        finite = ions in {"auto", "free"} and not any(atoms.pbc.any() for atoms in members)
        for atoms in members:
            _refuse_unusable(atoms, finite)
        if finite:
            return cls._finite(members, symmetry, _named(mobile, members[0], "free"))
        mean = mean_crystal([Motif.from_atoms(atoms) for atoms in members], by_order=by_order)
        if ions == "auto" and mobile is not None:
            ions = "free"
        if ions == "auto":
            ions = "clamped" if mean.largest_displacement <= CLAMPED_TOLERANCE / 2 else "relaxed"
        if ions == "clamped":
            found = find_symmetry(mean.motif, mean.metrics, CLAMPED_TOLERANCE / 2)
            allowed = CLAMPED_TOLERANCE
        else:
            # Four standard errors: where the mean sites are further from symmetric, the branch that the ions follow
            # has not that symmetry, and calling images equal that are not would be wrong.
            error = 0.0 if by_order else 4 * mean.typical_displacement / math.sqrt(len(mean.members))
            found = find_symmetry(mean.motif, mean.metrics, max(_RELAXED_TOLERANCE, error))
            allowed = min(max(0.1, 2 * mean.largest_displacement), LOOSEST * found.motif.closest)
        if ions == "free":
            allowed = LOOSEST * found.motif.closest
        setting = [members[i] for i in mean.members]
        own = replace(cls._of(found, setting, ions, allowed, symmetry), by_order=by_order and ions != "clamped")
        moving = _named(mobile, setting[0], ions)
        if ions == "free" and moving is None and len(setting) > 1:
            moving = _with_translations(own, ~still(mean.motif, mean.sites, CLAMPED_TOLERANCE))
        if moving is None or moving.all():
            return own
        # Ions that are held are of another kind than the same that move, and stand where they do to the last digit.
        decorated = replace(mean.motif, numbers=mean.motif.numbers + _HELD * ~moving)
        for tolerance in (max(_RELAXED_TOLERANCE, error), CLAMPED_TOLERANCE / 4):
            found = find_symmetry(decorated, mean.metrics, tolerance)
            laid = decorated.in_order(found.motif)
            assert laid is not None  # symmetrising keeps the order
            held = laid.displacements[~moving]
            if decorated.distances(held - held.mean(axis=0)).max() < CLAMPED_TOLERANCE / 2:
                break
        found = replace(found, motif=replace(found.motif, numbers=mean.motif.numbers))
        return replace(cls._of(found, setting, ions, allowed, symmetry, moving), by_order=by_order)

    @classmethod
    def _of(
        cls,
        found: Symmetry,
        setting: Sequence[Atoms],
        ions: str,
        tolerance: float,
        symmetry: bool,
        mobile: NDArray[np.bool_] | None = None,
    ) -> Crystal:
        pbc = setting[0].pbc.copy()
        axes = _periodic_first(pbc)
        cell = setting[0].cell.array.copy()
        cell[pbc] = found.motif.lattice
        if pbc.all() and all(np.allclose(np.triu(atoms.cell.array, 1), 0) for atoms in setting):
            # Structures in the standard orientation, a along x and b in the xy plane, have a reference that is so too.
            cell = np.linalg.cholesky(found.motif.metric)
        cell = _right_handed(cell, pbc).round(12) + 0.0
        scaled = np.empty_like(found.motif.sites)
        scaled[:, axes] = found.motif.sites.round(12) + 0.0
        images = found.images if symmetry else found.images[:1]
        own = cls(
            cell,
            found.motif.numbers,
            scaled,
            pbc,
            images,
            ions,
            found.space_group,
            found.motif.moments,
            tolerance,
            symmetric=symmetry,
        )
        return own if mobile is None else replace(own, mobile=mobile)

    @classmethod
    def _finite(cls, members: Sequence[Atoms], symmetry: bool, mobile: NDArray[np.bool_] | None) -> Crystal:
        """A molecule or cluster of which all members are frames; those in the most common order of atoms decide."""
        orders = [atoms.numbers.tobytes() for atoms in members]
        common = max(orders, key=orders.count)
        alike = [atoms for atoms, order in zip(members, orders, strict=True) if order == common]
        numbers = alike[0].numbers.astype(np.int64)
        moments = np.mean([atoms.get_initial_magnetic_moments() for atoms in alike], axis=0)
        frames = np.array([atoms.positions for atoms in alike])
        if mobile is None and len(alike) > 1:
            mobile = ~cluster.still(frames, CLAMPED_TOLERANCE)
        sites = cluster.mean_molecule(numbers, frames)
        found = cluster.point_group(numbers, sites, moments)
        apart = cluster.distances_of(sites)
        closest = apart[apart > 0].min(initial=np.inf) if len(numbers) > 1 else 2.0
        return cls(
            np.zeros((3, 3)),
            numbers,
            sites.round(12) + 0.0,
            np.zeros(3, dtype=bool),
            np.empty((1, 0, 0), dtype=np.int64),
            "free",
            cluster.schoenflies(found, sites),
            moments,
            LOOSEST * float(closest),
            symmetric=symmetry,
            mobile=np.ones(len(numbers), dtype=bool) if mobile is None else mobile,
        )

    @property
    def periodic(self) -> tuple[int, ...]:
        """Indices of the periodic axes."""
        return tuple(int(axis) for axis in np.flatnonzero(self.pbc))

    @property
    def dimension(self) -> int:
        """Number of the periodic axes."""
        return int(np.count_nonzero(self.pbc))

    @property
    def kind(self) -> Kind:
        """What is periodic in so many dimensions."""
        return KINDS[self.dimension]

    def vectors(self, cells: Floats) -> Floats:
        """Periodic lattice vectors of cells, shape (..., 3, 3) → (..., d, 3)."""
        return cells[..., self._rows, :]

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

        The one of equivalent bases that is nearest to the known lattices is taken, and where none are known the one
        with the least strain. A left-handed lattice and the mirror image of the crystal are mapped too: their energies
        and stresses are the same.

        A structure that is periodic along more axes than the reference, as plane-wave codes write sheets and chains, is
        taken for one that is not, where these axes hold at least 8 Å of vacuum.

        Args:
            atoms: the structure.

        Raises:
            NotThisCrystal: it is something else.
            DisplacedIons: its ions are elsewhere.
        """
        atoms = in_dimension(atoms, self.dimension)
        if self.ions == "free":
            placed = self._places.of(atoms)
            return Mapped(
                placed.cell,
                len(atoms) / len(self.numbers),
                placed.displacement,
                np.concatenate([placed.cell, placed.positions]),
                placed.sites,
            )
        if self.by_order and np.array_equal(atoms.numbers, self.numbers):
            placed = self._places.of(atoms)
            return Mapped(placed.cell, 1.0, placed.displacement, placed.cell)
        displacement = self._setting.displacement(atoms)
        if displacement is not None:
            cell, multiplicity = atoms.cell.array.copy(), 1.0
        else:
            basis, displacement = self._pattern.lay(atoms)
            cell, multiplicity = np.empty((3, 3)), len(atoms) / len(self.numbers)
            cell[self.pbc] = basis @ atoms.cell.array[atoms.pbc]
            cell[~self.pbc] = atoms.cell.array[~atoms.pbc]
        if len(self.known) and (relabelling := self._neighbourhood.relabelling(cell[self.pbc])) is not None:
            cell[self.pbc] = relabelling @ cell[self.pbc]
        cell = _right_handed(cell, self.pbc)
        return Mapped(cell, multiplicity, displacement, cell)

    def changes(self, cells: Floats, positions: Floats) -> Floats:
        """What takes the reference, r → r @ T, to where its sites are in structures, shape (n, 3, 3).

        Args:
            cells: in this crystal's basis, shape (n, 3, 3), Å.
            positions: of free ions, in this crystal's order, shape (n, N, 3), Å.
        """
        return np.array([self._places.change(*each) for each in zip(cells, positions, strict=True)]).reshape(-1, 3, 3)

    def is_written_alike(self, atoms: Atoms) -> bool:
        """Whether atoms are this crystal in its own basis and order, strained a little; see `Setting`."""
        return self._setting.displacement(in_dimension(atoms, self.dimension)) is not None

    def near(self, cells: Floats) -> Crystal:
        """The same crystal with other `known` lattices, shape (n, 3, 3), Å."""
        return replace(self, known=cells)

    def moving_as(self, cells: Floats, positions: Floats) -> Crystal:
        """The same crystal, of which those ions are mobile that are off their sites in some of n structures.

        Args:
            cells: shape (n, 3, 3), Å.
            positions: in this crystal's order, each near its site, shape (n, N, 3), Å.
        """
        if not self.dimension:
            return self
        lattices = self.vectors(cells)
        frames = np.array([np.vstack([lattice, normals(lattice)]) for lattice in lattices])
        motif = Motif.from_atoms(self.atoms())
        sites = np.concatenate([motif.sites[None], positions @ np.linalg.inv(frames)])
        return replace(self, mobile=_with_translations(self, ~still(motif, sites, CLAMPED_TOLERANCE)))

    def without_symmetry(self) -> Crystal:
        """The same crystal with the identity as its only image."""
        return replace(self, images=self.images[:1], symmetric=False)

    def equivalents(self, reach: float) -> Floats:
        """Relabellings W of a lattice, C → W C, that leave its energy alone though they change the reference's metric.

        Args:
            reach: largest √Σ(ln e)², e the eigenvalues of G⁻¹ W G Wᵀ and G the reference's metric.

        Returns:
            The identity, then one matrix W for all products with images, shape (k, d, d). Centred cells may have
            fractions. Where the crystal's symmetry is not to be used there is the identity alone.
        """
        matrices = self._pattern.equivalents(reach)
        lattice = self.cell[self.pbc]
        own = lattice @ lattice.T
        moved = distortion(matrices @ own @ matrices.swapaxes(1, 2), own) > 1e-6
        symmetric = (~moved).sum() == len(self.images)
        chosen = [np.eye(len(lattice))]
        seen: set[bytes] = set()
        for matrix in matrices[moved & symmetric]:
            images = (self.images @ matrix).round(6)
            keys = {(sign * image + 0.0).tobytes() for image in images for sign in (1, -1)}
            if seen.isdisjoint(keys):
                chosen.append(matrix)
                seen |= keys
        return np.array(chosen)

    def to_dict(self) -> dict[str, Any]:
        """Everything that `from_dict` needs, for JSON; the known lattices are not the crystal's own."""
        left_out = {"known"} if self.ions == "free" else {"known", "mobile", "symmetric"}
        left_out |= set() if self.by_order else {"by_order"}
        return {name: value for name, value in super().to_dict().items() if name not in left_out}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Crystal:
        """Rebuild a crystal from `to_dict`."""
        kinds = {"numbers": np.int64, "images": np.int64, "pbc": np.bool_, "mobile": np.bool_}
        arrays = {
            name: np.array(value, dtype=kinds.get(name, np.float64)) if isinstance(value, list) else value
            for name, value in values.items()
        }
        d = int(np.count_nonzero(arrays["pbc"]))
        return cls(**arrays | {"images": arrays["images"].reshape(len(arrays["images"]), d, d)})

    def _summary(self) -> tuple[str, dict[str, str]]:
        if not self.dimension:
            return self._description, {}
        parameters = lattice_parameters(metric(self.vectors(self.cell))).tolist()
        rows = {
            GREEK.get(name, name): f"{number(value)}{' ' * (len(name) == 1)}{unit_of(name)}"
            for name, value in zip(self.kind.parameters, parameters, strict=True)
        }
        return self._description, rows

    @cached_property
    def _rows(self) -> slice | NDArray[np.bool_]:
        # A view where all are periodic, which takes no time.
        return slice(None) if self.pbc.all() else self.pbc

    @cached_property
    def operations(self) -> Operations:
        """Isometries of space that lay the reference crystal on itself, by all of which its energy is the same.

        Pure translations of a supercell are among them, and of free ions those alone that leave the mobile ones mobile.
        """
        if not self.dimension:
            found = cluster.point_group(self.numbers, self.scaled_positions, self.magnetic_moments)
        else:
            found = Operations.of(Motif.from_atoms(self.atoms()), self.images, CLAMPED_TOLERANCE / 2)
        if self.ions != "free":
            return found
        kept = (self.mobile[found.permutations] == self.mobile).all(axis=1)
        if not self.symmetric:
            kept &= (found.permutations == np.arange(len(self.numbers))).all(axis=1)
            kept &= np.isclose(np.trace(found.rotations, axis1=1, axis2=2), 3)
        return found.where(kept)

    @cached_property
    def _places(self) -> Places:
        motif = Motif.from_atoms(self.atoms())
        mobile = self.mobile if self.ions == "free" else np.ones_like(self.mobile)
        return Places(motif, self.pbc, mobile, self.tolerance, self._description, self.by_order)

    @cached_property
    def _pattern(self) -> Pattern:
        return Pattern(Motif.from_atoms(self.atoms()), self._description, self.ions, self.tolerance)

    @cached_property
    def _neighbourhood(self) -> Neighbourhood:
        return Neighbourhood(self, self.known)

    @cached_property
    def _setting(self) -> Setting:
        return Setting(self.cell, self.pbc, self.numbers, self.scaled_positions, self.magnetic_moments, self.tolerance)

    @property
    def _description(self) -> str:
        formula, units = Atoms(self.numbers).symbols.formula.reduce()
        if not self.dimension:
            return f"{Atoms(self.numbers).symbols.formula.convert('metal')} ({self.space_group}, {self.ions} ions)"
        plural = "formula unit" if units == 1 else "formula units"
        return f"{formula.convert('metal')} ({self.space_group}, {units} {plural} a cell, {self.ions} ions)"


def _periodic_first(pbc: NDArray[np.bool_]) -> Integers:
    return np.argsort(~pbc, kind="stable")


def _right_handed(cell: Floats, pbc: NDArray[np.bool_]) -> Floats:
    """Reverse lattice vectors of a left-handed cell such that the metric of the periodic ones stays."""
    if np.linalg.det(cell) < 0:
        cell[pbc if pbc.sum() != 2 else ~pbc] *= -1
    return cell


def _refuse_unusable(atoms: Atoms, finite: bool) -> None:
    if problem := unusable(atoms, finite=finite):
        raise BadReference(f"A reference crystal cannot be made: the structure {problem}")


def _named(mobile: Ions | None, atoms: Atoms, ions: str) -> NDArray[np.bool_] | None:
    if mobile is None:
        return None
    if ions != "free":
        raise BadReference(
            f"mobile={mobile!r}: which ions move is a question of free ions alone, and these are {ions}."
        )
    try:
        return named_ions(mobile, atoms.numbers)
    except ValueError as error:
        raise BadReference(str(error)) from error


def _with_translations(crystal: Crystal, mobile: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mobile ions, and those that are a translation away from one, shape (n,)."""
    if mobile.all():
        return mobile
    found = replace(crystal, mobile=np.ones_like(mobile)).operations
    shifted = np.isclose(np.trace(found.rotations, axis1=1, axis2=2), 3)
    return np.asarray(mobile[found.permutations[shifted]].any(axis=0))
