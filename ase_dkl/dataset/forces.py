"""Labels of free ions: forces in the reference's order, and whether energies, forces and stresses agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ase_dkl.crystal import Crystal, Mapped
from ase_dkl.dataset.columns import Columns
from ase_dkl.dataset.consistency import CONFLICT, SAME_ENERGY
from ase_dkl.dataset.mixtures import Findings, counted, rows_in_words
from ase_dkl.dataset.units import FAR, far_apart
from ase_dkl.dataset.work import Ways, contradiction, outliers, pulled_back, same_structures

REMEDY = (
    "Give energies in eV, forces in eV/Å in the order and frame of the positions (forces are minus the gradient), and "
    "stresses in eV/Å³ in the order xx yy zz yz xz xy, tension positive."
)
MOST_ROWS = 512
"""Rows that judge; with more of them a random choice judges as well."""
NOTICEABLE = 5e-3
"""eV/Å. The mean force on an ion, which should vanish, that is more than rounding and grids make it."""


def forces_on_ions(crystal: Crystal, columns: Columns, mapped: Sequence[Mapped], findings: Findings) -> np.ndarray:
    """Forces in the order of the reference's ions and each structure's own frame, NaN where a row has none.

    The mean force is taken off where all ions move: there nothing pulls at the whole.

    Returns:
        Shape (n, N, 3), eV/Å.
    """
    n, ions = len(mapped), len(crystal.numbers)
    forces = np.full((n, ions, 3), np.nan)
    for i, (each, given) in enumerate(zip(mapped, columns.forces, strict=True)):
        if given is None:
            continue
        if len(given) == ions:
            forces[i, each.sites] = given
        else:
            forces[i] = 0.0
            np.add.at(forces[i], each.sites, given)
            forces[i] /= np.bincount(each.sites, minlength=ions)[:, None]
    if crystal.mobile.all():
        mean = forces.mean(axis=1, keepdims=True)
        forces -= mean
        size = np.linalg.norm(mean[:, 0], axis=1)
        pulled = size > NOTICEABLE
        if pulled.any():
            findings.warnings.append(
                f"Forces do not sum to zero: the mean force on an ion is up to {size[pulled].max():.2g} eV/Å in "
                f"{rows_in_words(columns.ids[pulled])}. It is taken off."
            )
    return forces


def check_free_labels(
    crystal: Crystal,
    columns: Columns,
    cells: np.ndarray,
    positions: np.ndarray,
    energies: np.ndarray,
    forces: np.ndarray,
    findings: Findings,
    *,
    given: bool,
) -> None:
    """Compare the labels of free ions with each other.

    Args:
        crystal: the reference, with N ions.
        columns: n rows.
        cells: shape (n, 3, 3), Å.
        positions: in the reference's order, shape (n, N, 3), Å.
        energies: eV per reference cell, NaN where there is none, shape (n,).
        forces: likewise, shape (n, N, 3), eV/Å.
        findings: where problems go.
        given: whether the crystal is, so that rows need not tell its forces.
    """
    for note, at in counted(columns.stress_notes).items():
        if note:
            findings.warnings.append(f"Not used as stress labels: {rows_in_words(columns.ids[at])} with {note}.")
    has_energy, has_forces = np.isfinite(energies), np.isfinite(forces).all(axis=(1, 2))
    if has_energy.any() and not has_energy.all():
        findings.warnings.append(f"Without an energy: {rows_in_words(columns.ids[~has_energy])}.")
    if has_forces.any() and not has_forces.all():
        findings.warnings.append(f"Without forces: {rows_in_words(columns.ids[~has_forces])}.")
    if not (has_forces.any() or given):
        findings.problems.append(
            "No row has forces. Where ions are free, energies alone do not tell how each one moves it."
        )
        return
    if far_apart(crystal.atoms()):
        findings.warnings.append(
            f"No two atoms are closer than {FAR} times the sum of their covalent radii, as where lengths in Bohr are "
            "taken for Å."
        )
    if findings.problems or has_forces.sum() < 2:
        return
    chosen = np.flatnonzero(has_forces)
    if len(chosen) > MOST_ROWS:
        chosen = np.sort(np.random.default_rng(0).choice(chosen, MOST_ROWS, replace=False))
    ways = Ways.between(
        crystal, cells[chosen], positions[chosen], energies[chosen], forces[chosen], columns.stresses[chosen]
    )
    problem = pulled_back(ways, crystal)
    both = chosen[has_energy[chosen]]
    if problem is None and len(both) > 2:
        ways = Ways.between(crystal, cells[both], positions[both], energies[both], forces[both], columns.stresses[both])
        problem = _repeated(ways, columns.ids[both], energies, len(crystal.numbers), findings)
        problem = problem or contradiction(ways, crystal, columns.structures[0])
        if problem is None:
            rows, off = outliers(ways)
            if len(rows):
                findings.refuse(
                    f"Energies that differ from what forces on near rows say, by up to {off:.2g} eV: "
                    f"{rows_in_words(columns.ids[both[rows]])}. Other settings, unconverged runs and labels of other "
                    "rows do this.",
                    columns,
                    ~np.isin(np.arange(len(columns.ids)), both[rows]),
                )
    if problem:
        findings.problems.append(f"{problem} {REMEDY}")


def _repeated(ways: Ways, ids: np.ndarray, energies: np.ndarray, atoms: int, findings: Findings) -> str | None:
    """Compare the energies of rows that are one structure."""
    pairs, apart = same_structures(ways)
    if not len(pairs):
        return None
    worst = int(apart.argmax())
    first, second = ids[pairs[worst]]
    if apart[worst] > max(SAME_ENERGY * atoms, CONFLICT * float(np.nanstd(energies))):
        return f"Rows {first} and {second} are one structure, and their energies differ by {apart[worst]:.3g} eV."
    later = np.unique(pairs.max(axis=1))
    findings.warnings.append(
        f"The structure of an earlier row: {rows_in_words(ids[later])}. A test on such a row flatters when the earlier "
        "one is in the training."
    )
    return None
