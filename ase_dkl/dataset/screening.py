"""Rows → labels of one crystal; what does not fit is left out or refused, and always named."""

import re
from collections.abc import Sequence

import numpy as np
from ase import Atoms

from ase_dkl.crystal import BadReference, Crystal, DisplacedIons, Mapped, NotThisCrystal
from ase_dkl.crystal.free import Ions, IonsName
from ase_dkl.crystal.lattice import KINDS
from ase_dkl.crystal.periodicity import VACUUM, vacuum_that_never_varies
from ase_dkl.crystal.unusable import unusable
from ase_dkl.dataset.columns import Columns, reduced_formula
from ase_dkl.dataset.consistency import (
    SAME_ENERGY,
    check_repeats,
    energy_groups,
    repeated_lattices,
)
from ase_dkl.dataset.ions import OR_FREE, WHY, how_far
from ase_dkl.dataset.mixtures import Findings, counted, rows_in_words
from ase_dkl.dataset.progress import tracked
from ase_dkl.dataset.stresses import contradiction, meanings
from ase_dkl.dataset.units import FAR, far_apart

SHOWN_KINDS = 3
REMEDY = (
    "Give energies in eV, and stresses in eV/Å³ in the order xx yy zz yz xz xy, tension positive; or go on with "
    "energies alone: --stress ignore (in Python, stress=False)."
)

ENERGY, STRESS, FORCES = "energ|toten|etot|e_tot", "stress|virial", "force"
"""What labels are called where they are not called as ASE calls them."""

STILL_THIS_CRYSTAL = 0.45
"""Å. Ions further than this from their sites are rather of another crystal."""


def leave_out_unlabelled(columns: Columns, findings: Findings, *, forces: bool = False) -> Columns:
    """Leave out rows without a finite energy: calculations that have not finished, or have failed.

    Args:
        columns: n rows.
        findings: where problems go.
        forces: whether forces, or a stress, are labels enough.
    """
    labelled = np.isfinite(columns.energies)
    if forces:
        labelled |= np.array([each is not None for each in columns.forces], dtype=bool)
        labelled |= np.isfinite(columns.stresses).all(axis=1)
    if labelled.all():
        return columns
    changed = np.array([bool(changes) for changes in columns.changes]) & ~labelled
    if changed.any():
        findings.problems.append(_dropped(columns, changed))
        return columns.take(labelled)
    if labelled.any():
        what = "neither an energy nor forces" if forces else "no energy or none"
        findings.warnings.append(
            f"Left out, because they have {what} that {'are' if forces else 'is'} finite: "
            f"{rows_in_words(columns.ids[~labelled])}."
        )
        return columns.take(labelled)
    hint = (
        f" They have {alike}; ASE knows an energy only by the name energy."
        if (alike := _alike(columns, ENERGY))
        else ""
    )
    findings.problems.append(f"None of the {len(labelled)} rows has a finite energy.{hint}")
    return columns.take(labelled)


def check_names(columns: Columns) -> list[str]:
    """Point out stresses and forces that rows hold under other names than ASE's, which are not read."""
    unnoted = np.array([not note for note in columns.stress_notes], dtype=bool)
    lacking = ~np.isfinite(columns.stresses).all(axis=1) & unnoted
    warnings = []
    if alike := _alike(columns.take(lacking), STRESS):
        virial = "; a virial is −stress times volume" if "virial" in alike.lower() else ""
        warnings.append(
            f"Without a stress by that name, but with {alike}: {rows_in_words(columns.ids[lacking])}. ASE knows one "
            f"only as stress (eV/Å³, tension positive, xx yy zz yz xz xy{virial}). Rename it, and it counts."
        )
    unjudged = np.array([forces is None for forces in columns.forces], dtype=bool)
    if alike := _alike(columns.take(unjudged), FORCES):
        warnings.append(f"Forces are judged only by the name forces: {alike} are not looked at.")
    return warnings


def _alike(columns: Columns, pattern: str) -> str:
    names = {name for of_row in columns.names for name in of_row if re.search(pattern, name.lower())}
    return ", ".join(sorted(name for name in names if not re.search("uncertainty|_std|noise|predicted|before", name)))


def _dropped(columns: Columns, changed: np.ndarray) -> str:
    names = sorted({name for i in np.flatnonzero(changed) for name in columns.changes[i]})
    advice = (
        "Leave the atoms as they were calculated, and name their periodic axes where they are read: "
        "pbc='TTF', --pbc TTF."
        if names == ["pbc"]
        else "Leave the atoms as they were calculated, or attach the results again in a SinglePointCalculator."
    )
    return (
        f"{rows_in_words(columns.ids[changed])} had {', '.join(names)} changed after the calculation, and ASE drops "
        f"the results then. {advice}"
    )


def vacuum_hint(columns: Columns) -> list[str]:
    """Tell where structures that are said to be crystals look like sheets or chains."""
    empty = vacuum_that_never_varies(columns.structures)
    pbc = columns.structures[0].pbc & ~empty
    if not empty.any() or not pbc.any():
        return []
    axes, name = " and ".join(np.array(["a", "b", "c"])[empty]), "".join(np.where(pbc, "T", "F"))
    return [
        f"Along {axes} all rows are equally long and hold {VACUUM:g} Å of vacuum and more, but are said to be periodic."
        f" Of a {KINDS[pbc.sum()].name} say so: --pbc {name}, or pbc='{name}'. A model of it as "
        "a bulk crystal has no lattice in equilibrium and no elastic constants."
    ]


def check_geometry(columns: Columns, findings: Findings, *, finite: bool = False) -> np.ndarray:
    """Look for structures that are no crystal, and no molecule or cluster where these may be `finite`.

    Returns:
        Which rows are sound, shape (n,).
    """
    faults = [unusable(atoms, finite=finite) for atoms in columns.structures]
    sound = np.array([fault is None for fault in faults], dtype=bool)
    if not sound.all():
        sentences = [f"The structure {fault}" if fault else "" for fault in faults]
        findings.refuse(f"Structures that are no crystal. {_complaints(sentences, columns)}", columns, sound)
    return sound


def find_crystal(
    structures: Sequence[Atoms],
    reference: Atoms | Crystal | None,
    symmetry: bool,
    ions: IonsName = "auto",
    mobile: Ions | None = None,
    by_order: bool = False,
) -> Crystal:
    """Find the crystal that structures are strained copies of, or complete the one that the user named."""
    if isinstance(reference, Crystal):
        return reference
    if reference is None:
        return Crystal.from_strained(structures, ions=ions, symmetry=symmetry, mobile=mobile, by_order=by_order)
    if ions != "auto":
        return Crystal.from_atoms(reference, ions=ions, symmetry=symmetry, mobile=mobile)
    choices = [
        Crystal.from_atoms(reference, ions="clamped", symmetry=symmetry, mobile=mobile),
        Crystal.from_atoms(reference, ions="relaxed", symmetry=symmetry, mobile=mobile),
    ]
    return max(choices, key=lambda crystal: sum(isinstance(_mapped(crystal, atoms), Mapped) for atoms in structures))


def same_atoms(columns: Columns, symmetry: bool, ions: IonsName) -> bool:
    """Whether all rows have one order of atoms, and one of them has the bonds of all, with however other lattices."""
    first = columns.structures[0]
    if (
        ions == "clamped"
        or not first.pbc.any()
        or not all(
            np.array_equal(atoms.numbers, first.numbers) and (atoms.pbc == first.pbc).all()
            for atoms in columns.structures
        )
    ):
        return False
    try:
        crystal = Crystal.from_strained(columns.structures, ions=ions, symmetry=symmetry, by_order=True)
    except BadReference:
        return False
    return all(isinstance(_mapped(crystal, atoms), Mapped) for atoms in columns.structures)


def map_rows(
    crystal: Crystal, columns: Columns, findings: Findings, *, progress: bool = False
) -> tuple[np.ndarray, list[Mapped]]:
    """Map structures onto the crystal.

    Rows take the one of their equivalent settings that is nearest to the rows that are written as the reference is.

    Args:
        crystal: the reference crystal.
        columns: n rows.
        findings: where problems go.
        progress: show a progress bar where it takes long.

    Returns:
        Which rows are this crystal, shape (n,), and these in terms of it.
    """
    free = crystal.ions == "free"
    own = [] if free or crystal.by_order else [atoms for atoms in columns.structures if crystal.is_written_alike(atoms)]
    if 0 < len(own) < len(columns.structures) and not len(crystal.known):
        crystal = crystal.near(np.array([atoms.cell.array for atoms in own]))
    outcomes = [_mapped(crystal, atoms) for atoms in tracked(columns.structures, "reading", shown=progress)]
    mapped = [outcome for outcome in outcomes if isinstance(outcome, Mapped)]
    fits = np.array([isinstance(outcome, Mapped) for outcome in outcomes], dtype=bool)
    distances = np.array([each.displacement if isinstance(each, DisplacedIons) else np.inf for each in outcomes])
    displaced = distances < (np.inf if free else STILL_THIS_CRYSTAL)
    if displaced.any():
        forces = [columns.forces[i] for i in np.flatnonzero(displaced)]
        force = np.array([np.nan if each is None else np.linalg.norm(each, axis=1).max() for each in forces])
        sentences = [str(each) if off else "" for off, each in zip(displaced, outcomes, strict=True)]
        findings.refuse(
            f"Ions too far from the sites of the reference. {_complaints(sentences, columns)}"
            if free
            else f"Ions off the sites of the reference crystal, whose ions are {crystal.ions}: "
            f"{rows_in_words(columns.ids[displaced])}{how_far(distances[displaced], force)}. {WHY} {OR_FREE}",
            columns,
            ~displaced,
        )
    if not (fits | displaced).all():
        sentences = ["" if known else str(each) for known, each in zip(fits | displaced, outcomes, strict=True)]
        findings.refuse(f"Rows of another crystal. {_complaints(sentences, columns)}", columns, fits | displaced)
    left_handed = (np.linalg.det([atoms.cell.array for atoms in columns.structures]) < 0) & fits
    if crystal.pbc.all() and left_handed.any():
        findings.warnings.append(
            f"Left-handed cells, relabelled to right-handed ones: {rows_in_words(columns.ids[left_handed])}."
        )
    return fits, mapped


def check_labels(
    crystal: Crystal, columns: Columns, cells: np.ndarray, energies: np.ndarray, findings: Findings
) -> None:
    """Compare labels with each other.

    Args:
        crystal: the reference crystal.
        columns: n rows.
        cells: shape (n, 3, 3), Å.
        energies: eV per reference cell, shape (n,).
        findings: where problems go.
    """
    if far_apart(crystal.atoms()):
        findings.warnings.append(
            f"No two atoms are closer than {FAR} times the sum of their covalent radii, as where lengths in Bohr are "
            "taken for Å."
        )
    groups = repeated_lattices(cells, energies, crystal.images, crystal.periodic)
    problem, warning = check_repeats(groups, columns.ids, energies, len(crystal.numbers))
    findings.problems += [problem] if problem else []
    findings.warnings += [text for text in (warning, energy_groups(columns.ids, energies)) if text]
    for note, at in counted(columns.stress_notes).items():
        if note:
            findings.warnings.append(f"Not used as stress labels: {rows_in_words(columns.ids[at])} with {note}.")
    has_stress = np.isfinite(columns.stresses).all(axis=1)
    if not has_stress.any():
        return
    if not has_stress.all():
        findings.warnings.append(f"Without a stress label: {rows_in_words(columns.ids[~has_stress])}.")
    if findings.problems:
        return  # Among rows that do not belong together stresses tell nothing.
    once = np.ones(len(energies), dtype=bool)
    for members in groups:
        once[members] = members == members[has_stress[members].argmax()]
    found = meanings(crystal.images, crystal.periodic, cells[once], energies[once], columns.stresses[once])
    typical = columns.structures[int(np.argsort([len(atoms) for atoms in columns.structures])[len(energies) // 2])]
    if problem := contradiction(found, len(crystal.periodic), typical, columns.ids[once]):
        findings.problems.append(f"{problem} {REMEDY}")
    findings.warnings += _smearing(columns, has_stress)


def _smearing(columns: Columns, has_stress: np.ndarray) -> list[str]:
    atoms = np.array([len(structure) for structure in columns.structures])
    known = has_stress & np.isfinite(columns.free_energies)
    entropy = (columns.free_energies - columns.energies)[known] / atoms[known]
    if not known.any() or np.ptp(entropy) < SAME_ENERGY:
        return []
    return [
        f"Free energy and energy differ by {1000 * entropy.min():.2g} to {1000 * entropy.max():.2g} meV per atom, and "
        "stresses derive from the free energy: the smearing is wide enough for the two kinds of label to disagree."
    ]


def compositions(columns: Columns) -> list[str]:
    """What must be the same in all rows for one crystal: composition and number of periodic axes."""
    return [
        f"{reduced_formula(formula)}, {int(atoms.pbc.sum())} periodic axes"
        for formula, atoms in zip(columns.formulas, columns.structures, strict=True)
    ]


def _complaints(sentences: Sequence[str], columns: Columns) -> str:
    kinds = [(sentence, at) for sentence, at in counted(sentences).items() if sentence]
    listing = [f"{rows_in_words(columns.ids[at])}: {sentence}" for sentence, at in kinds[:SHOWN_KINDS]]
    return " ".join(listing) + (f" And {len(kinds) - SHOWN_KINDS} more like these." if kinds[SHOWN_KINDS:] else "")


def _mapped(crystal: Crystal, atoms: Atoms) -> Mapped | NotThisCrystal:
    try:
        return crystal.map(atoms)
    except NotThisCrystal as error:
        return error
