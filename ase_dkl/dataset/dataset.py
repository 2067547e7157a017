"""Labelled cells of one crystal."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, cast

import ase.io
import numpy as np
from ase import Atoms
from ase.db.row import AtomsRow

from ase_dkl.crystal import BadReference, Crystal
from ase_dkl.crystal.periodicity import periodic_axes
from ase_dkl.crystal.structures import Structure, as_atoms
from ase_dkl.dataset.columns import BadRow, Columns
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
    vacuum_hint,
)
from ase_dkl.dataset.sources import BadDataset, read, rows_in_memory
from ase_dkl.shown import Shown

_log = logging.getLogger(__name__)

FEWEST_ROWS = 5
"""One to be held out for an error, and four to learn from: energy, slope and curvature along one direction take three,
and with fewer than four nothing tells noise from shape."""


@dataclass(frozen=True, eq=False, repr=False)
class Dataset(Shown):
    """Energies, and stresses where there are any, of n strained copies of one crystal.

    Attributes:
        crystal: the reference crystal.
        cells: lattice vectors in the reference's basis, in each structure's own Cartesian frame, shape (n, 3, 3), Å.
        energies: eV per reference cell, shape (n,).
        stresses: eV/Å³, Voigt xx yy zz yz xz xy, tension positive, NaN where there is none, shape (n, 6).
        ids: row ids in the source (frame numbers for files), shape (n,); from several files names, "runs/a/OUTCAR" or
            "x.db@3".
        provenance: where the rows come from and how they were computed, JSON-able.
        warnings: what the user should know.
    """

    crystal: Crystal
    cells: np.ndarray
    energies: np.ndarray
    stresses: np.ndarray
    ids: np.ndarray
    provenance: dict[str, Any]
    warnings: tuple[str, ...]

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
        progress: bool = False,
    ) -> Self:
        """Read ASE databases, and any files that ASE reads.

        Only the last step of a run in which ions move, a relaxation, is taken; where the cell alone changes, every one
        is. Rows without an energy are left out with a warning. Whatever would make a wrong model is refused: several
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
            progress: show a progress bar where it takes long.

        Raises:
            ValueError: `pbc` names no axes.
            BadDataset: the data cannot be used; the message lists everything that stands against it.
            BadReference: the reference cannot be read or is no crystal.
        """
        axes = None if pbc is None else periodic_axes(pbc)
        found = read([str(source)] if isinstance(source, str | Path) else [str(each) for each in source], select)
        if len(found.files) == 1:
            ((name, sha256),) = found.files.items()
            provenance: dict[str, Any] = {"source": name, "select": select, "sha256": sha256}
        else:
            provenance = {"source": found.name, "select": select, "sha256": None, "files": found.files}
        given = _reference(reference, axes)
        return cls._of(found.rows, found.name, select, given, symmetry, axes, stress, provenance, found.notes, progress)

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
        progress: bool = False,
    ) -> Self:
        """Take structures whose calculators hold an energy, and a stress where known. For the rest see `read`.

        Structures of pymatgen's keep the calculator (`calc`) that they had as atoms.
        """
        axes = None if pbc is None else periodic_axes(pbc)
        rows = rows_in_memory(map(as_atoms, structures), select)
        provenance = {"source": "structures in memory", "select": select, "sha256": None}
        given = _reference(reference, axes)
        return cls._of(rows, "The given structures", select, given, symmetry, axes, stress, provenance, (), progress)

    @classmethod
    def _of(
        cls,
        rows: list[AtomsRow],
        name: str,
        select: str | None,
        reference: Atoms | Crystal | None,
        symmetry: bool,
        pbc: np.ndarray | None,
        stress: bool,
        provenance: dict[str, Any],
        notes: Sequence[str],
        progress: bool,
    ) -> Self:
        began = time.perf_counter()
        findings = Findings(select, warnings=list(notes))
        try:
            columns = leave_out_unlabelled(Columns.of(rows, pbc), findings)
        except BadRow as error:
            raise BadDataset(name, [str(error)]) from error
        findings.warnings += check_names(columns)
        columns = columns if stress else columns.without_stresses()
        settings = check_settings(columns, findings)
        columns = columns.take(check_geometry(columns, findings))
        if not len(columns.ids):
            raise BadDataset(name, findings.listed())
        columns = columns.take(check_moments(columns, findings))
        if reference is None:
            columns = columns.take(
                findings.one_kind("compositions", compositions(columns), columns, "A model is of one crystal.")
            )
        if not isinstance(reference, Crystal):
            findings.warnings += vacuum_hint(columns)
        try:
            crystal = find_crystal(columns.structures, reference, symmetry)
            keep = check_ions(crystal, columns, findings, given=isinstance(reference, Crystal))
            if not keep.any():
                raise BadDataset(name, findings.listed())
            if not keep.all():
                columns = columns.take(keep)
                crystal = find_crystal(columns.structures, reference, symmetry)
        except BadReference as error:
            if reference is not None:
                raise
            raise BadDataset(name, [*findings.listed(), f"No reference crystal is found: {error}"]) from error
        fits, cells, multiplicities = map_rows(crystal, columns, findings, progress=progress)
        if not fits.any():
            raise BadDataset(name, findings.listed())
        columns = columns.take(fits)
        energies = columns.energies / multiplicities
        check_labels(crystal, columns, cells, energies, findings)
        if len(columns.ids) < (1 if isinstance(reference, Crystal) else FEWEST_ROWS):
            findings.problems.append(f"Too few rows: {len(columns.ids)} usable, and at least {FEWEST_ROWS} are needed.")
        if findings.problems:
            raise BadDataset(name, findings.listed())
        if symmetry and len(crystal.images) == 1 and len(crystal.periodic) > 1 and not isinstance(reference, Crystal):
            findings.warnings.append(
                f"The reference crystal ({crystal.space_group}) has no symmetry that would make a row count more than "
                "once. If it should have, name it as the reference."
            )
        _log.debug(f"{name}: {len(rows)} rows judged in {time.perf_counter() - began:.1f} s")
        provenance |= {"rows": len(rows), "labels": len(energies), "settings": settings}
        return cls(crystal, cells, energies, columns.stresses, columns.ids, provenance, tuple(findings.warnings))

    @property
    def has_stress(self) -> np.ndarray:
        """Which rows have a stress label, shape (n,)."""
        return np.asarray(np.isfinite(self.stresses).all(axis=1))

    def __len__(self) -> int:
        return len(self.energies)

    def _summary(self) -> tuple[str, dict[str, str]]:
        crystal = self.crystal
        return f"Dataset of {crystal.formula}, {crystal.space_group}", {
            "rows": str(len(self)),
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
        )

    def joined(self, other: Self) -> Self:
        """These rows and then those of another dataset of the same crystal; ids, provenance and warnings are kept."""
        return replace(
            self,
            cells=np.concatenate([self.cells, other.cells]),
            energies=np.concatenate([self.energies, other.energies]),
            stresses=np.concatenate([self.stresses, other.stresses]),
            ids=np.concatenate([self.ids, other.ids]),
        )

    def stressed_first(self) -> Self:
        """The same rows, those with stresses before the others, in their order otherwise."""
        return self.subset(np.argsort(~self.has_stress, kind="stable"))

    def without_stresses(self) -> Self:
        """The same rows with energies alone."""
        return replace(self, stresses=np.full_like(self.stresses, np.nan))

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
