"""Do the labels agree with each other? Repeated lattices, groups of energies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from ase_dkl.dataset.mixtures import rows_in_words

if TYPE_CHECKING:
    from ase_dkl.dataset import Dataset

SAME_LATTICE = 1e-5
"""Lattices are the same when they differ by less strain than this: well above the digits that files keep, and worth
less than 0.1 meV under the stresses of a strain set."""

SAME_ENERGY = 1e-3
"""eV per atom. Repeats of one calculation agree to better than this."""

ABSURD = 1e15
"""eV, eV/Å³ or Å. From here on numbers are no labels; with larger ones still, squares overflow."""

CONFLICT = 0.05
"""Repeats that differ by more than this fraction of the energies' standard deviation leave nothing to learn."""


def repeated_lattices(
    cells: np.ndarray, energies: np.ndarray, images: np.ndarray, periodic: tuple[int, ...]
) -> list[np.ndarray]:
    """Groups of rows whose lattices are the same up to rotation and the crystal's symmetry.

    Args:
        cells: shape (n, 3, 3), Å.
        energies: shape (n,), eV; each group comes in their order.
        images: the crystal's images, shape (g, d, d).
        periodic: the d periodic axes.

    Returns:
        Row positions of each group of two or more.
    """
    lattices = cells[:, list(periodic)]
    metrics = lattices @ lattices.transpose(0, 2, 1)
    reference = (images @ metrics.mean(axis=0) @ images.transpose(0, 2, 1)).mean(axis=0)
    relative = np.linalg.solve(reference, metrics)
    # Many rows may share one lattice to the last digit; only different ones are compared.
    relative, first, row = np.unique(relative.round(9), axis=0, return_index=True, return_inverse=True)
    # Images of a lattice agree in these invariants, which few other lattices share.
    invariants = np.trace([relative, relative @ relative], axis1=2, axis2=3).T
    i, j = cKDTree(invariants).query_pairs(40 * SAME_LATTICE, output_type="ndarray").T
    same = np.zeros(len(i), dtype=bool)
    for image in images:
        difference = image @ metrics[first[i]] @ image.T - metrics[first[j]]
        same |= np.abs(difference).max(axis=(1, 2)) < 2 * SAME_LATTICE * np.trace(reference) / len(periodic)
    graph = coo_array((np.ones(same.sum()), (i[same], j[same])), shape=(len(first), len(first)))
    group = connected_components(graph, directed=False)[1][row.ravel()]
    order = np.lexsort((energies, group))
    groups = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
    return [members for members in groups if len(members) > 1]


def untrainable(dataset: Dataset) -> str | None:
    """Why no model can be learnt from rows, whatever it is, or None."""
    n, energies, stresses = len(dataset), dataset.energies, dataset.stresses[dataset.has_stress]
    if not n:
        return "There are no rows to train on."
    if dataset.crystal.ions == "free":
        return "The ions are free, and no model of free ions can be trained yet: a model is of a lattice alone."
    sound = np.isfinite(energies) & (np.abs(dataset.cells).max(axis=(1, 2)) < ABSURD) & (np.abs(energies) < ABSURD)
    sound[dataset.has_stress] &= np.abs(stresses).max(axis=1, initial=0) < ABSURD
    if not sound.all():
        return (
            f"Energies, stresses or cells that are not finite, or absurd: {rows_in_words(dataset.ids[~sound])}. Leave "
            "such rows out."
        )
    crystal = dataset.crystal
    groups = repeated_lattices(dataset.cells, energies, crystal.images, crystal.periodic)
    if n == 1 or any(len(group) == n for group in groups):
        return (
            f"There is only one lattice in {n} row{'s' * (n > 1)}, up to rotation, symmetry and {SAME_LATTICE:g} of "
            "strain, which does not tell how the energy depends on it. Give structures that are strained differently."
        )
    if np.ptp(energies) <= 4 * np.spacing(np.abs(energies).max()):
        return (
            f"All {n} energies are {energies[0]:.6f} eV a cell, though the lattices differ. No crystal is like that: "
            "look where the energies come from."
        )
    return None


def check_repeats(
    groups: list[np.ndarray], ids: np.ndarray, energies: np.ndarray, atoms: int
) -> tuple[str | None, str | None]:
    """Compare the energies of equal lattices.

    Args:
        groups: of `repeated_lattices`.
        ids: row ids, shape (n,).
        energies: eV per reference cell, shape (n,).
        atoms: number of atoms in the reference cell.

    Returns:
        A problem or None, and a warning or None.
    """
    if not groups:
        return None, None
    differences = np.array([energies[members[-1]] - energies[members[0]] for members in groups])
    spread = float(energies.std())
    differing = differences > SAME_ENERGY * atoms
    conflicting = differing & (differences > CONFLICT * spread)
    if conflicting.any():
        pairs = _pairs(groups, differences, conflicting, ids)
        return (
            f"The same lattice has different energies: {pairs}. All energies spread over "
            f"{_energy(spread)} (standard deviation). Different settings, reference energies, magnetic states or "
            "places of the ions (positions are no input of a model), unconverged runs and the steps of a relaxation do "
            "this; leave the wrong rows out by a selection.",
            None,
        )
    if differing.any():
        pairs = _pairs(groups, differences, differing, ids)
        return None, f"The same lattice has slightly different energies: {pairs}."
    repeats = np.sort(np.concatenate([np.sort(members)[1:] for members in groups]))
    return None, (
        f"The lattice of an earlier row up to symmetry, with its energy within "
        f"{max(1000 * differences.max(), 1e-3):.1g} meV: {rows_in_words(ids[repeats])}. A test on such a row flatters "
        "when the earlier one is in the training."
    )


def energy_groups(ids: np.ndarray, energies: np.ndarray) -> str | None:
    """A warning where energies fall into two groups that lie further apart than either is wide, or None.

    Args:
        ids: row ids, shape (n,).
        energies: eV per reference cell, shape (n,).
    """
    if len(energies) < 4:
        return None
    order = np.argsort(energies)
    gaps = np.diff(energies[order])
    cut = int(gaps.argmax()) + 1
    low, high = order[:cut], order[cut:]
    smaller = min(low, high, key=len)
    if len(smaller) < 2 or gaps[cut - 1] <= max(np.ptp(energies[low]), np.ptp(energies[high])):
        return None
    return (
        f"The energies fall into two groups {gaps[cut - 1]:.3g} eV apart, as different reference energies "
        f"make them; the smaller is {rows_in_words(ids[smaller])}."
    )


def _pairs(groups: list[np.ndarray], differences: np.ndarray, chosen: np.ndarray, ids: np.ndarray) -> str:
    def words() -> Iterator[str]:
        worst_first = np.argsort(-differences)
        for at in worst_first[chosen[worst_first]][:4]:
            low, high = groups[at][0], groups[at][-1]
            yield f"rows {ids[low]} and {ids[high]} by {_energy(differences[at])}"

    return "; ".join(words()) + (f"; … ({chosen.sum()} lattices)" if chosen.sum() > 4 else "")


def _energy(value: float) -> str:
    return f"{value:.3g} eV" if value >= 1 else f"{1000 * value:.3g} meV"
