"""Do the labels agree with each other? Repeated lattices, groups of energies, stresses against energies."""

from collections.abc import Iterator

import numpy as np
from ase.stress import voigt_6_to_full_3x3_stress
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from ase_dkl.dataset.mixtures import rows_in_words

SAME_LATTICE = 1e-5
"""Lattices are the same when they differ by less strain than this: well above the digits that files keep, and worth
less than 0.1 meV under the stresses of a strain set."""

SAME_ENERGY = 1e-3
"""eV per atom. Repeats of one calculation agree to better than this."""

CONFLICT = 0.05
"""Repeats that differ by more than this fraction of the energies' standard deviation leave nothing to learn."""

AGREEMENT = 0.8
"""Share of the energies' differences that stresses must explain between neighbours. Measured on the shipped data, 16 to
238 rows: 0.97 to 0.998, and 0.18 to 0.64 with shear components in another code's order."""

ROWS_TO_JUDGE_STRESSES = 16
ENERGIES_TO_JUDGE_STRESSES = 0.02
"""eV; energies closer together than this may differ by noise alone."""


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


def stress_disagreement(cells: np.ndarray, energies: np.ndarray, stresses: np.ndarray) -> str | None:
    """What is wrong with stresses that are not the energies' derivatives, in words, or None.

    Between neighbouring lattices i and j the energy changes by ½ ⟨T_i + T_j, G_j − G_i⟩ up to third order, with
    T = ∂E/∂G = ½ V C⁻ᵀ σ C⁻¹. A constant offset in V σ (Pulay stress) adds a multiple of ln(V_j / V_i).

    Args:
        cells: shape (n, 3, 3), Å.
        energies: eV, shape (n,).
        stresses: eV/Å³, shape (n, 6).
    """
    if len(cells) < ROWS_TO_JUDGE_STRESSES or energies.std() < ENERGIES_TO_JUDGE_STRESSES:
        return None
    volumes = np.abs(np.linalg.det(cells))
    inverse = np.linalg.inv(cells)
    tensors = voigt_6_to_full_3x3_stress(stresses)
    slopes = 0.5 * volumes[:, None, None] * (inverse.transpose(0, 2, 1) @ tensors @ inverse)
    metrics = cells @ cells.transpose(0, 2, 1)
    _, neighbours = cKDTree(metrics.reshape(-1, 9)).query(metrics.reshape(-1, 9), k=3)
    i, j = np.repeat(np.arange(len(cells)), 2), neighbours[:, 1:].ravel()
    change = energies[j] - energies[i]
    predicted = 0.5 * np.einsum("nij,nij->n", slopes[i] + slopes[j], metrics[j] - metrics[i])
    columns = np.stack([predicted, np.log(volumes[j] / volumes[i])], axis=1)
    coefficients = np.linalg.lstsq(columns, change, rcond=None)[0]
    explained = 1 - ((change - columns @ coefficients) ** 2).sum() / (change**2).sum()
    factor = coefficients[0]
    if explained < AGREEMENT:
        return (
            f"they explain {100 * max(explained, 0):.0f} % of the energy differences between neighbouring lattices; in "
            "eV/Å³ and the order xx yy zz yz xz xy they would explain nearly all"
        )
    if factor < 0:
        return "they have the opposite sign of the energies' derivative; ASE counts tension as positive"
    if not 0.5 < factor < 2:
        return f"they are {1 / factor:.3g} times the energies' derivative in eV/Å³ (1 eV/Å³ = 160.2 GPa = 1602 kbar)"
    return None


def _pairs(groups: list[np.ndarray], differences: np.ndarray, chosen: np.ndarray, ids: np.ndarray) -> str:
    def words() -> Iterator[str]:
        worst_first = np.argsort(-differences)
        for at in worst_first[chosen[worst_first]][:4]:
            low, high = groups[at][0], groups[at][-1]
            yield f"rows {ids[low]} and {ids[high]} by {_energy(differences[at])}"

    return "; ".join(words()) + (f"; … ({chosen.sum()} lattices)" if chosen.sum() > 4 else "")


def _energy(value: float) -> str:
    return f"{value:.3g} eV" if value >= 1 else f"{1000 * value:.3g} meV"
