"""ASE rows → columns, in one pass."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from ase import Atoms
from ase.db.row import AtomsRow
from ase.formula import Formula
from ase.stress import full_3x3_to_voigt_6_stress

from ase_dkl.crystal.periodicity import without_periods
from ase_dkl.dataset.sources import pairs_of
from ase_dkl.errors import Refused

DECISIVE = frozenset(
    (
        "calculator code xc functional gga metagga theory level_of_theory basis basis_set encut ecut ecutwfc ecutrho "
        "cutoff cut_off_energy energy_cutoff plane_wave_cutoff planewave_cutoff pp setups potcar pseudopotential "
        "pseudopotentials pseudo_dir ldau ldauu ldauj hubbard hubbard_u ivdw vdw dispersion"
    ).split()
)
"""Settings that move energies by more than strain does: rows that differ in one cannot share a model."""

SECONDARY = frozenset(
    (
        "kpts kpoints k_points kspacing kmesh smearing sigma ismear occupations degauss ispin nspin spinpol ediff "
        "conv_thr convergence prec gpts code_version"
    ).split()
)
"""Settings that add noise at worst; some follow the cell by design, as k-points of a fixed density do."""

ORDERED = ("fmax", "magmom")
"""Results that a selection can name; they vary from row to row, so that only bounds of them mean anything."""

ASYMMETRY = 1e-3
"""A 3×3 stress counts as symmetric up to this fraction of its largest component."""


LARGEST = 1e12
"""Labels beyond this, in eV, eV/Å and eV/Å³, are no finite numbers that a code has computed."""


class BadRow(Refused, ValueError):
    """A row that cannot be read, in words."""


@dataclass(frozen=True, eq=False)
class Columns:
    """What rows hold, column by column; n rows.

    Attributes:
        ids: row ids, shape (n,).
        structures: the atoms, their initial magnetic moments included.
        energies: eV, NaN where a row has none or no finite one, shape (n,).
        free_energies: eV, NaN where a row has none, shape (n,).
        stresses: eV/Å³, Voigt, NaN where a row has no usable one, shape (n, 6).
        forces: eV/Å, without what constraints take up, shape (atoms, 3); None where a row has no finite ones.
        moments: total magnetic moments of the results, μB, lengths of vectors, NaN where a row has none, shape (n,).
        site_moments: magnetic moments of the results, μB, shape (atoms,) or (atoms, 3); None where a row has none.
        changes: what of a structure was changed after its calculation, so that ASE drops the results.
        names: what else a row holds, by name: key-value pairs, data, entries of `atoms.info` and further arrays.
        stress_notes: what was the matter with a row's stress, or how it was read; "" where nothing was.
        formulas: chemical formulas.
        settings: calculator settings that are known to matter, by name.
        pairs: what a selection can name: key-value pairs, the formula, calculator, pbc, and where there are such the
            largest force, fmax, and the total moment, magmom.
    """

    ids: np.ndarray
    structures: list[Atoms]
    energies: np.ndarray
    free_energies: np.ndarray
    stresses: np.ndarray
    forces: list[np.ndarray | None]
    moments: np.ndarray
    site_moments: list[np.ndarray | None]
    changes: list[tuple[str, ...]]
    names: list[set[str]]
    stress_notes: list[str]
    formulas: list[str]
    settings: list[dict[str, str]]
    pairs: list[dict[str, Any]]

    @classmethod
    def of(cls, rows: Sequence[AtomsRow], pbc: np.ndarray | None = None) -> "Columns":
        """Columns of ASE rows, with which axes are periodic where that is given, shape (3,).

        Raises:
            BadRow: what a row holds is no structure, or no number where a label should be.
        """
        structures, energies, free_energies, stresses = [], [], [], []
        forces, moments, site_moments = [], [], []
        notes, formulas, settings, pairs = [], [], [], []
        for row in rows:
            with _of_row(row):
                atoms = Atoms(
                    numbers=row["numbers"],
                    positions=row.positions,
                    cell=row.cell,
                    pbc=row.pbc,
                    magmoms=row.get("initial_magmoms"),
                )
                if pbc is not None:
                    atoms = without_periods(atoms, pbc)
                stress, note = _stress(row.get("stress"))
                energies.append(_number(row.get("energy")))
                free_energies.append(_number(row.get("free_energy")))
                forces.append(_forces(row, len(atoms)))
                site_moments.append(_finite(row.get("magmoms")))
                moments.append(_total(_finite(row.get("magmom")), site_moments[-1]))
            own = pairs_of(row)
            formula = _formula(atoms.numbers.tobytes())
            calculator = str(row.get("calculator") or "unknown").lower()
            structures.append(atoms)
            stresses.append(stress)
            notes.append(note)
            formulas.append(formula)
            settings.append(_settings(calculator, row.get("calculator_parameters") or {}, own))
            axes = "".join(np.where(row.pbc, "T", "F"))
            names = {"formula": formula, "calculator": calculator, "pbc": axes, **own}
            names |= {name: value for name in ORDERED if isinstance(value := row.get(name), float)}
            pairs.append(names)
        return cls(
            np.array([row.id for row in rows]),
            structures,
            np.array(energies),
            np.array(free_energies),
            np.array(stresses).reshape(-1, 6),
            forces,
            np.array(moments),
            site_moments,
            [row.get("changes") or () for row in rows],
            [{*pairs_of(row), *(row.get("names") or ())} for row in rows],
            notes,
            formulas,
            settings,
            pairs,
        )

    def without_stresses(self) -> "Columns":
        """The same rows as if no calculation had given a stress."""
        return replace(self, stresses=np.full_like(self.stresses, np.nan), stress_notes=[""] * len(self.ids))

    def take(self, keep: np.ndarray) -> "Columns":
        """The rows where `keep`, shape (n,), is true."""
        chosen = np.flatnonzero(keep)
        return Columns(
            self.ids[chosen],
            [self.structures[i] for i in chosen],
            self.energies[chosen],
            self.free_energies[chosen],
            self.stresses[chosen],
            [self.forces[i] for i in chosen],
            self.moments[chosen],
            [self.site_moments[i] for i in chosen],
            [self.changes[i] for i in chosen],
            [self.names[i] for i in chosen],
            [self.stress_notes[i] for i in chosen],
            [self.formulas[i] for i in chosen],
            [self.settings[i] for i in chosen],
            [self.pairs[i] for i in chosen],
        )


@contextmanager
def _of_row(row: AtomsRow) -> Iterator[None]:
    try:
        yield
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise BadRow(
            f"Row {row.get('id')} holds what is no structure with labels ({type(error).__name__}: {error}). The file "
            "is damaged, or another program wrote something else into it."
        ) from error


def reduced_formula(formula: str) -> str:
    """Composition: the formula divided by its greatest common divisor, elements in alphabetical order."""
    return Formula(formula).reduce()[0].format("hill")


def setting_words(name: str) -> set[str]:
    """The words of a setting's dotted name, units left out: mode.ecut_eV → mode, ecut."""
    return {re.sub(r"_(ev|ry|ha|hartree|rydberg)$", "", part) for part in name.lower().split(".")}


@lru_cache(maxsize=1024)
def _formula(numbers: bytes) -> str:
    return str(Atoms(numbers=np.frombuffer(numbers, dtype=int)).symbols.formula.format("metal"))


def _number(value: Any) -> float:
    number = np.nan if value is None else float(value)
    return number if abs(number) < LARGEST else np.nan


def _finite(value: Any) -> np.ndarray | None:
    array = None if value is None else np.asarray(value, dtype=float)
    return array if array is not None and np.isfinite(array).all() else None


def _forces(row: AtomsRow, atoms: int) -> np.ndarray | None:
    if row.get("forces") is None:
        return None
    shape = np.shape(row["forces"])
    if shape != (atoms, 3):
        raise ValueError(f"{shape[0] if shape else 0} forces, of shape {shape}, on {atoms} atoms")
    forces = _finite(row.constrained_forces)
    return None if forces is None or np.abs(forces).max(initial=0) > LARGEST else forces


def _total(total: np.ndarray | None, sites: np.ndarray | None) -> float:
    if total is None:
        total = None if sites is None else sites.sum(axis=0)
    if total is None:
        return np.nan
    return float(total if total.size == 1 else np.linalg.norm(total))


def _stress(value: Any) -> tuple[np.ndarray, str]:
    nothing = np.full(6, np.nan)
    if value is None:
        return nothing, ""
    stress = np.asarray(value, dtype=float)
    if stress.size not in {6, 9}:
        return nothing, f"a stress of {stress.size} components, neither 6 nor 9"
    if not (np.abs(stress) < LARGEST).all():
        return nothing, "a stress that is not finite"
    if not stress.any():
        return nothing, "a stress of zeros, as codes write that did not compute it"
    if stress.size == 6:
        return stress.ravel(), ""
    stress = stress.reshape(3, 3)
    if np.abs(stress - stress.T).max() > ASYMMETRY * np.abs(stress).max():
        return nothing, "a 3×3 stress that is not symmetric"
    return full_3x3_to_voigt_6_stress(stress), ""


def _settings(calculator: str, parameters: Mapping[str, Any], pairs: Mapping[str, Any]) -> dict[str, str]:
    found = {} if calculator == "unknown" else {"calculator": calculator}
    for name, value in _leaves({**parameters, **pairs}):
        if setting_words(name) & (DECISIVE | SECONDARY):
            found[name] = _text(value)
    return found


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        elif value is not None:
            yield f"{prefix}{name}", value


def _text(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, int | float | np.number):
        return f"{float(value):g}"
    if isinstance(value, np.ndarray):
        value = value.tolist()
    return str(value).strip().lower()
