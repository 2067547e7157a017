"""Labelled cells of one crystal."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, cast, get_args

import ase.io
import numpy as np
from ase import Atoms
from ase.db.row import AtomsRow

from ase_dkl.crystal import BadReference, Crystal
from ase_dkl.crystal.free import Ions, IonsName, MatchName
from ase_dkl.crystal.periodicity import VACUUM, periodic_axes, vacuum_that_never_varies
from ase_dkl.crystal.structures import Structure, as_atoms
from ase_dkl.dataset.columns import BadRow, Columns
from ase_dkl.dataset.forces import check_free_labels, forces_on_ions
from ase_dkl.dataset.ions import check_ions
from ase_dkl.dataset.mixtures import Findings, check_settings
from ase_dkl.dataset.moments import check_moments
from ase_dkl.dataset.screening import (
    check_geometry,
    check_labels,
    check_names,
    compositions,
    find_crystal,
    leave_out_unlabelled,
    map_rows,
    same_atoms,
    vacuum_hint,
)
from ase_dkl.dataset.sources import BadDataset, read, rows_in_memory
from ase_dkl.shown import Shown

_log = logging.getLogger(__name__)

FEWEST_ROWS = 5
"""One to be held out for an error, and four to learn from: energy, slope and curvature along one direction take three,
and with fewer than four nothing tells noise from shape."""

FEWEST_FREE_ROWS = 2
"""The same of rows with forces, each of which tells many slopes."""


@dataclass(frozen=True, eq=False, repr=False)
class Dataset(Shown):
    """Energies, and stresses and forces where there are any, of n strained copies of one crystal.

    Where ions are free any of the three labels may be missing, and there may be no lattice: molecules and clusters.

    Attributes:
        crystal: the reference crystal.
        cells: lattice vectors in the reference's basis, in each structure's own Cartesian frame, shape (n, 3, 3), Å.
        energies: eV per reference cell, NaN where there is none, as only rows of free ions may, shape (n,).
        stresses: eV/Å³, Voigt xx yy zz yz xz xy, tension positive, NaN where there is none, shape (n, 6).
        ids: row ids in the source (frame numbers for files), shape (n,); from several files names, "runs/a/OUTCAR" or
            "x.db@3".
        provenance: where the rows come from and how they were computed, JSON-able.
        warnings: what the user should know.
        positions: where ions are free, of the ions in the reference's order, each near its site, in each structure's
            own Cartesian frame, shape (n, N, 3), Å; else shape (n, 0, 3).
        forces: of free ions, in the same order and frame, NaN where a row has none, shape (n, N, 3), eV/Å.
    """

    crystal: Crystal
    cells: np.ndarray
    energies: np.ndarray
    stresses: np.ndarray
    ids: np.ndarray
    provenance: dict[str, Any]
    warnings: tuple[str, ...]
    positions: np.ndarray = field(default_factory=lambda: np.empty((0, 0, 3)))
    forces: np.ndarray = field(default_factory=lambda: np.empty((0, 0, 3)))

    def __post_init__(self) -> None:
        if self.crystal.ions != "free":
            n = len(self.cells)
            object.__setattr__(self, "positions", np.empty((n, 0, 3)))
            object.__setattr__(self, "forces", np.full((n, len(self.crystal.numbers), 3), np.nan))

    @classmethod
    def read(
        cls,
        source: str | Path | Sequence[str | Path],
        *,
        select: str | None = None,
        reference: Structure | Path | str | Crystal | None = None,
        symmetry: bool = True,
        pbc: str | Sequence[bool] | None = None,
        stress: bool = True,
        ions: IonsName = "auto",
        mobile: Ions | None = None,
        match: MatchName = "auto",
        progress: bool = False,
    ) -> Self:
        """Read ASE databases, and any files that ASE reads.

        Only the last step of a run in which ions move, a relaxation, is taken, unless ions are named as free; where the
        cell alone changes, every one is. Rows without an energy, or where ions are free without any label, are left out
        with a warning. Whatever would make a wrong model is refused: several
        compositions, phases or ways of computing, structures that are no crystal, contradicting energies,
        stresses that are not the energies' derivatives.

        Args:
            source: one or several names of files, directories that are searched for outputs of runs and databases,
                patterns such as "runs/*/OUTCAR", addresses of database servers, or "-" for stdin. Of several files
                some may be unreadable: warnings name them.
            select: selection in the language of `ase.db`, such as `set=pool,index>=192`; for files it sees the scalar
                entries of `atoms.info`, and `file` and `row` where there are several.
            reference: the crystal that rows are strained copies of, as atoms or a file (its last structure); found in
                the rows when not given. With a `Crystal`, such as a model's, any number of rows will do.
            symmetry: whether to look for the crystal's symmetry.
            pbc: which axes are periodic, such as "TTF", whatever the rows and the reference's file say: plane-wave
                codes write sheets and chains as periodic along all.
            stress: whether stresses are read. Those that contradict the energies are refused.
            ions: what ions do: "clamped" where they keep their fractional coordinates, "relaxed" where forces on them
                vanish, "free" where they are displaced and have forces. "auto" finds out: molecules and clusters have
                free ions, and sets in which most rows are displaced and feel forces.
            mobile: which of free ions are off their sites, by indices of the first row's atoms, ranges "0-7" or
                symbols; found in the rows when not given. Others must stay where they are.
            match: how it is told which atom is which: "sites", by where they are, or "order", by their order, which is
                one in all rows, checked by bonds: for flexible frameworks, whose atoms move far and whose lattices
                differ much. "auto" takes the order where sites do not do.
            progress: show a progress bar where it takes long.

        Raises:
            ValueError: `pbc` names no axes.
            BadDataset: the data cannot be used; the message lists everything that stands against it.
            BadReference: the reference cannot be read or is no crystal.
        """
        axes = None if pbc is None else periodic_axes(pbc)
        sources = [str(source)] if isinstance(source, str | Path) else [str(each) for each in source]
        found = read(sources, select, every_step=_ions(ions, reference, mobile) == "free")
        if len(found.files) == 1:
            ((name, sha256),) = found.files.items()
            provenance: dict[str, Any] = {"source": name, "select": select, "sha256": sha256}
        else:
            provenance = {"source": found.name, "select": select, "sha256": None, "files": found.files}
        asked = _Asked(
            select,
            _reference(reference, axes),
            symmetry,
            axes,
            stress,
            _ions(ions, reference, mobile),
            mobile,
            match,
            progress,
        )
        return cls._of(found.rows, found.name, asked, provenance, found.notes)

    @classmethod
    def from_atoms(
        cls,
        structures: Iterable[Structure],
        *,
        select: str | None = None,
        reference: Structure | Path | str | Crystal | None = None,
        symmetry: bool = True,
        pbc: str | Sequence[bool] | None = None,
        stress: bool = True,
        ions: IonsName = "auto",
        mobile: Ions | None = None,
        match: MatchName = "auto",
        progress: bool = False,
    ) -> Self:
        """Take structures whose calculators hold an energy, and a stress where known. For the rest see `read`.

        Structures of pymatgen's keep the calculator (`calc`) that they had as atoms.
        """
        axes = None if pbc is None else periodic_axes(pbc)
        rows = rows_in_memory(map(as_atoms, structures), select)
        provenance = {"source": "structures in memory", "select": select, "sha256": None}
        asked = _Asked(
            select,
            _reference(reference, axes),
            symmetry,
            axes,
            stress,
            _ions(ions, reference, mobile),
            mobile,
            match,
            progress,
        )
        return cls._of(rows, "The given structures", asked, provenance, ())

    @classmethod
    def _of(
        cls, rows: list[AtomsRow], name: str, asked: _Asked, provenance: dict[str, Any], notes: Sequence[str]
    ) -> Self:
        began = time.perf_counter()
        reference, ions, given = asked.reference, asked.ions, isinstance(asked.reference, Crystal)
        findings = Findings(asked.select, warnings=list(notes))
        try:
            every = Columns.of(rows, asked.pbc)
        except BadRow as error:
            raise BadDataset(name, [str(error)]) from error
        if ions in {"auto", "free"} and reference is None and vacuum_that_never_varies(every.structures).all():
            told = (
                f"All rows hold {VACUUM:g} Å of vacuum and more along every axis: read as a molecule, as by --pbc FFF."
            )
            asked = replace(asked, ions="free", pbc=np.zeros(3, dtype=bool))
            return cls._of(rows, name, asked, provenance, [*notes, told])
        if ions == "auto" and (not any(atoms.pbc.any() for atoms in every.structures) or _forces_alone(every)):
            ions = "free"
        columns = leave_out_unlabelled(every, findings, forces=ions == "free")
        findings.warnings += check_names(columns)
        columns = columns if asked.stress else columns.without_stresses()
        settings = check_settings(columns, findings)
        columns = columns.take(check_geometry(columns, findings, finite=ions == "free"))
        if not len(columns.ids):
            raise BadDataset(name, findings.listed())
        columns = columns.take(check_moments(columns, findings))
        if reference is None:
            columns = columns.take(
                findings.one_kind("compositions", compositions(columns), columns, "A model is of one crystal.")
            )
        if not given:
            findings.warnings += vacuum_hint(columns)
        by_order = asked.match == "order"
        try:
            crystal = find_crystal(columns.structures, reference, asked.symmetry, ions, asked.mobile, by_order)
            keep = check_ions(crystal, columns, findings, given=given, may_be_free=ions == "auto" and not given)
            if keep is None:
                return cls._of(rows, name, replace(asked, ions="free"), provenance, notes)
            if not keep.any():
                raise BadDataset(name, findings.listed())
            if not keep.all():
                columns = columns.take(keep)
                crystal = find_crystal(columns.structures, reference, asked.symmetry, ions, asked.mobile, by_order)
        except BadReference as error:
            if reference is not None:
                raise
            raise BadDataset(name, [*findings.listed(), f"No reference crystal is found: {error}"]) from error
        before = len(findings.problems)
        fits, mapped = map_rows(crystal, columns, findings, progress=asked.progress)
        failed = len(findings.problems) > before and asked.match == "auto" and reference is None
        if failed and same_atoms(columns, asked.symmetry, ions):
            return cls._of(rows, name, replace(asked, match="order"), provenance, notes)
        if not fits.any():
            raise BadDataset(name, findings.listed())
        columns = columns.take(fits)
        cells = np.array([each.cell for each in mapped])
        energies = columns.energies / [each.multiplicity for each in mapped]
        positions = forces = np.empty((0, 0, 3))
        if crystal.ions == "free":
            positions = np.array([each.point[3:] for each in mapped])
            if isinstance(reference, Atoms) and asked.mobile is None:
                crystal = crystal.moving_as(cells, positions)
            if not crystal.mobile.any():
                if asked.ions == "auto":
                    return cls._of(rows, name, replace(asked, ions="clamped"), provenance, notes)
                findings.problems.append(
                    "All ions keep their fractional coordinates, though they are said to be free: there is nothing to "
                    "learn from forces. Read the rows with clamped ions (--ions clamped), or add displaced ones."
                )
            columns = columns if crystal.dimension else columns.without_stresses()
            forces = forces_on_ions(crystal, columns, mapped, findings)
            check_free_labels(crystal, columns, cells, positions, energies, forces, findings, given=given)
        else:
            check_labels(crystal, columns, cells, energies, findings)
        fewest = 1 if given else FEWEST_FREE_ROWS if crystal.ions == "free" else FEWEST_ROWS
        if len(columns.ids) < fewest:
            findings.problems.append(f"Too few rows: {len(columns.ids)} usable, and at least {fewest} are needed.")
        if findings.problems:
            raise BadDataset(name, findings.listed())
        alone = len(crystal.images) == 1 and len(crystal.periodic) > 1
        if crystal.ions == "free":
            alone = crystal.dimension > 1 and len(crystal.operations.rotations) == 1
        if asked.symmetry and alone and not given:
            findings.warnings.append(
                f"The reference crystal ({crystal.space_group}) has no symmetry that would make a row count more than "
                "once. If it should have, name it as the reference."
            )
        _log.debug(f"{name}: {len(rows)} rows judged in {time.perf_counter() - began:.1f} s")
        provenance |= {"rows": len(rows), "labels": len(energies), "settings": settings}
        return cls(
            crystal,
            cells,
            energies,
            columns.stresses,
            columns.ids,
            provenance,
            tuple(findings.warnings),
            positions,
            forces,
        )

    @property
    def points(self) -> np.ndarray:
        """Cells; where ions are free with the ions' positions below them, shape (n, 3 + N, 3), Å."""
        return self.cells if self.crystal.ions != "free" else np.concatenate([self.cells, self.positions], axis=1)

    @property
    def has_energy(self) -> np.ndarray:
        """Which rows have an energy, shape (n,)."""
        return np.asarray(np.isfinite(self.energies))

    @property
    def has_forces(self) -> np.ndarray:
        """Which rows have forces, shape (n,)."""
        return np.asarray(np.isfinite(self.forces).all(axis=(1, 2)))

    @property
    def has_stress(self) -> np.ndarray:
        """Which rows have a stress label, shape (n,)."""
        return np.asarray(np.isfinite(self.stresses).all(axis=1))

    def __len__(self) -> int:
        return len(self.energies)

    def _summary(self) -> tuple[str, dict[str, str]]:
        crystal = self.crystal
        free = crystal.ions == "free"
        return f"Dataset of {crystal.formula}, {crystal.space_group}", {
            "rows": str(len(self)),
            **({"with energy": str(int(self.has_energy.sum()))} if free else {}),
            **({"with forces": str(int(self.has_forces.sum()))} if free else {}),
            "with stress": str(int(self.has_stress.sum())),
            "ions": crystal.ions,
            "warnings": str(len(self.warnings)),
        }

    def subset(self, index: np.ndarray) -> Self:
        """Some of the rows, by positions or by a mask of shape (n,)."""
        return replace(
            self,
            cells=self.cells[index],
            energies=self.energies[index],
            stresses=self.stresses[index],
            ids=self.ids[index],
            positions=self.positions[index],
            forces=self.forces[index],
        )

    def joined(self, other: Self) -> Self:
        """These rows and then those of another dataset of the same crystal; ids, provenance and warnings are kept."""
        return replace(
            self,
            cells=np.concatenate([self.cells, other.cells]),
            energies=np.concatenate([self.energies, other.energies]),
            stresses=np.concatenate([self.stresses, other.stresses]),
            ids=np.concatenate([self.ids, other.ids]),
            positions=np.concatenate([self.positions, other.positions]),
            forces=np.concatenate([self.forces, other.forces]),
        )

    def stressed_first(self) -> Self:
        """The same rows, those with stresses before the others, in their order otherwise."""
        return self.subset(np.argsort(~self.has_stress, kind="stable"))

    def without_stresses(self) -> Self:
        """The same rows as if none had a stress."""
        return replace(self, stresses=np.full_like(self.stresses, np.nan))

    def without_forces(self) -> Self:
        """The same rows as if none had forces."""
        return replace(self, forces=np.full_like(self.forces, np.nan))

    def split(self, test_fraction: float, seed: int) -> tuple[Self, Self]:
        """Divide the rows at random.

        Args:
            test_fraction: share of the rows in the second part, which gets at least one and leaves at least one.
            seed: equal seeds divide equally.

        Returns:
            The rows to train on, and the rows to test on; each in the order of the source.
        """
        if not 0 < test_fraction < 1 or len(self) < 2:
            raise ValueError(
                f"{len(self)} rows cannot be split with a test fraction of {test_fraction}: give one between 0 and 1."
            )
        n_test = int(np.clip(round(test_fraction * len(self)), 1, len(self) - 1))
        test = np.zeros(len(self), dtype=bool)
        test[np.random.default_rng(seed).permutation(len(self))[:n_test]] = True
        return self.subset(~test), self.subset(test)


@dataclass(frozen=True, eq=False)
class _Asked:
    """What is asked of rows; as the arguments of `Dataset.read`."""

    select: str | None
    reference: Atoms | Crystal | None
    symmetry: bool
    pbc: np.ndarray | None
    stress: bool
    ions: IonsName
    mobile: Ions | None
    match: MatchName
    progress: bool


def _forces_alone(columns: Columns) -> bool:
    return not np.isfinite(columns.energies).any() and any(each is not None for each in columns.forces)


def _ions(ions: IonsName, reference: Structure | Path | str | Crystal | None, mobile: Ions | None = None) -> IonsName:
    """What ions do, where a crystal is given what its ions do; where mobile ones are named they are free."""
    if ions not in get_args(IonsName):
        raise ValueError(f"ions={ions!r}: say {', '.join(get_args(IonsName))}.")
    if ions == "auto" and mobile is not None:
        ions = "free"
    if not isinstance(reference, Crystal) or (ions == "auto" and reference.ions != "free"):
        return ions
    if ions not in {"auto", reference.ions}:
        raise BadReference(f"ions={ions!r} was asked for, but the ions of the given crystal are {reference.ions}.")
    return cast(IonsName, reference.ions)


def _reference(reference: Structure | Path | str | Crystal | None, pbc: np.ndarray | None) -> Atoms | Crystal | None:
    if reference is None or isinstance(reference, Crystal):
        return reference
    if not isinstance(reference, str | Path):
        said = as_atoms(reference)
        if pbc is not None:
            said = said.copy()
            said.pbc = pbc
        return said
    try:
        atoms = ase.io.read(reference, index=-1)
    except Exception as error:
        raise BadReference(
            f"{reference} cannot be read as a reference crystal ({type(error).__name__}: {error})."
        ) from error
    return _reference(cast(Atoms, atoms), pbc)
