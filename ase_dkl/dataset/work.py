"""Are forces and stresses the derivatives of energies? If not: of which unit, sign or order are they?

With y the displacements of the ions and the stretch of the cell, turned into the reference's frame, and g the
derivatives along them, between near rows

    Δg · Δy > 0     and     E_j − E_i ≈ ½ (g_i + g_j) · Δy

Near a minimum ions and cells are pulled back: the first holds for every ion, be displacements random or thermal, and
needs no energies. The second is exact for energies that are quadratic in y, whatever they are; what it is off by is a
small part of the second order, ½ Δg · Δy.

Measured on 5 to 300 rows of perovskites, MgO, benzene and ethanol, in cells of up to 64 ions: right forces have cosines
of Δg and Δy of 0.4 to 0.9, forces of other rows, in another order or frame less than 0.15; right labels are off by 0.02
to 0.2 of the second order, wrong ones by 0.4 and more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.units import GPa
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ase_dkl.arrays import Floats, Integers
from ase_dkl.crystal import Crystal
from ase_dkl.dataset.stresses import ORDERS
from ase_dkl.dataset.units import causes, causes_of_forces

STIFFNESS = (5.0, 1.0)
"""eV/Å² of an ion and eV/Å³ of a crystal, by which displacements and strains compare."""
NEIGHBOURS = 3
"""Rows that each one is compared with."""
FEWEST = 3
"""Pairs of near rows that judge."""
ALONG = 0.15
"""Cosine of Δg and Δy, and for a single ion a third of it, below which ions are not pulled back."""
POSITIVE = 0.8
"""Part of the pairs in which they are, where forces are right."""
FEWEST_FOR_STRESSES = 8
"""Rows that judge stresses beside forces."""
FEWEST_FOR_IONS = 30
"""Pairs that judge single ions, and single components of the stress."""
SMALL = 0.1
"""Part of the second order's root mean square that energies may be off by, however near two rows are."""
FIT = 0.25
"""Part of the second order by which right labels are off at most."""
ROUGH = 0.35
"""The same of labels that are no derivatives, at least; of the median."""
FAR_OFF = 10.0
"""Times the median of what energies are off by that is no matter of the third order."""
SAME = 1e-4
"""Å, and of strain: what differs less is one structure."""
FACTOR = 1.8
"""Factors up to this and down to its inverse are no matter of units."""
CLEAR = 8.0
"""Nats by which another factor must be better."""
SURE = 6.0
"""How many times smaller the variance must become by another factor or order of stresses."""
FLOOR = 0.05
"""Part of the second order that is never told from nothing where stresses are judged."""
ION, STIFFEST = (0.02, 1e3), 3e3
"""Stiffness of an ion, eV/Å²: none is softer or harder; and of a crystal, GPa: none is stiffer."""
LEAST_STRAIN = 1e-3
"""Difference of strain that makes stresses do work."""


@dataclass(frozen=True, eq=False)
class Ways:
    """Ways between m pairs of near rows.

    Attributes:
        rows: from which to which, shape (m, 2).
        energies: by how much their energies differ, eV, shape (m,).
        pulls: differences of the derivatives along displacements, eV/Å, shape (m, N, 3).
        displacements: differences of these, Å, shape (m, N, 3).
        virials: differences of the derivatives along stretches, eV, by the order of six components, shape (m, orders,
            3, 3).
        stretches: differences of these, shape (m, 3, 3).
        by_forces: what forces do along the way, eV, shape (m,).
        by_stresses: what stresses do, shape (m,).
    """

    rows: Integers
    energies: Floats
    pulls: Floats
    displacements: Floats
    virials: Floats
    stretches: Floats
    by_forces: Floats
    by_stresses: Floats

    @classmethod
    def between(
        cls, crystal: Crystal, cells: Floats, positions: Floats, energies: Floats, forces: Floats, stresses: Floats
    ) -> Ways:
        """Ways between near rows, all of which have forces.

        Args:
            crystal: the reference, with N ions.
            cells: shape (n, 3, 3), Å.
            positions: in the reference's order, shape (n, N, 3), Å.
            energies: eV per reference cell, NaN where there is none, shape (n,).
            forces: shape (n, N, 3), eV/Å.
            stresses: NaN where there is none, shape (n, 6), eV/Å³.
        """
        changes = crystal.changes(cells, positions)
        u, s, vt = np.linalg.svd(changes)
        stretches = (u * s[:, None]) @ u.mT
        turns = u @ vt
        displacements = positions @ np.linalg.inv(changes) - crystal.atoms().positions
        anchors = slice(None) if crystal.mobile.all() else ~crystal.mobile
        displacements -= displacements[:, anchors].mean(axis=1, keepdims=True)
        pulls = -(forces @ turns.mT) @ stretches
        volume = np.abs(np.linalg.det(cells))
        orders = np.array(list(ORDERS.values()))
        tensors = stresses[:, orders][..., [0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(len(cells), -1, 3, 3)
        turned = turns[:, None] @ tensors @ turns.mT[:, None]
        virials = np.linalg.inv(stretches)[:, None] @ turned * volume[:, None, None, None]
        virials = (virials + virials.mT) / 2
        size = np.sqrt(STIFFNESS[1] / STIFFNESS[0] * volume.mean()) if crystal.dimension else 0.0
        places = np.concatenate([displacements.reshape(len(cells), -1), size * stretches.reshape(-1, 9)], axis=1)
        near = cKDTree(places).query(places, k=min(NEIGHBOURS + 1, len(cells)))[1]
        first = np.repeat(near[:, :1], near.shape[1] - 1, axis=1)
        pairs = np.sort(np.stack([first, near[:, 1:]], axis=2).reshape(-1, 2))
        pairs = np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)
        i, j = pairs.T
        apart = displacements[j] - displacements[i]
        # Where ions are so far apart that they are hardly told from others, a third order counts.
        kept = np.linalg.norm(apart, axis=2).max(axis=1, initial=0) < crystal.tolerance
        i, j = pairs[kept].T
        apart, stretch = displacements[j] - displacements[i], stretches[j] - stretches[i]
        by_forces = ((pulls[i] + pulls[j]) * apart).sum(axis=(1, 2)) / 2
        by_stresses = ((virials[i, 0] + virials[j, 0]) * stretch).sum(axis=(1, 2)) / 2
        return cls(
            pairs[kept],
            energies[j] - energies[i],
            pulls[j] - pulls[i],
            apart,
            virials[j] - virials[i],
            stretch,
            by_forces,
            by_stresses,
        )


def pulled_back(ways: Ways, crystal: Crystal) -> str | None:
    """What is wrong with forces, by themselves, in words, or None.

    Args:
        ways: of rows with forces.
        crystal: the reference.
    """
    m, ions = len(ways.rows), np.flatnonzero(crystal.mobile)
    if m < FEWEST:
        return None
    pulls, apart = ways.pulls[:, ions], ways.displacements[:, ions]
    products = (pulls * apart).sum(axis=2)
    sizes = (apart**2).sum(axis=2)
    if not pulls.any() or not apart.any():
        # All rows are one structure, or strains of a crystal of one atom.
        return None
    cosine = products.sum() / np.sqrt((pulls**2).sum() * sizes.sum())
    positive = (products.sum(axis=1) > 0).mean()
    if not np.isfinite(cosine) or (cosine < ALONG and positive < POSITIVE):
        if cosine < -ALONG and positive < 1 - POSITIVE:
            return (
                "Forces push ions further away from where they are in other rows, instead of back: they have the "
                "opposite sign, as gradients have, or are in another frame than the positions."
            )
        return (
            "Forces do not pull ions back to where they are in other rows: they are of other rows, in another order of "
            "atoms than the positions, or in another frame."
        )
    stiffness = float(products.sum() / sizes.sum())
    if not ION[0] < stiffness < ION[1]:
        return (
            f"By the forces ions are held by {stiffness:.2g} eV/Å² on average; elsewhere it is 1 to 50. "
            "They are in another unit than eV/Å, or positions are not in Å."
        )
    if m < FEWEST_FOR_IONS:
        return None
    cosines = products.sum(axis=0) / np.sqrt((pulls**2).sum(axis=(0, 2)) * sizes.sum(axis=0))
    loose = ions[cosines < ALONG / 3]
    if not 0 < len(loose) < len(ions) / 2:
        return None
    symbols = Atoms(crystal.numbers).symbols
    named = ", ".join(f"{i} ({symbols[i]})" for i in loose[:6].tolist()) + (", …" if len(loose) > 6 else "")
    return (
        f"Forces on ions {named} of the reference do not pull them back to where they are in other rows, though those "
        "on the others do: they are in another order of atoms than the positions."
    )


def contradiction(ways: Ways, crystal: Crystal, atoms: Atoms) -> str | None:
    """How energies differ from what forces and stresses say, in words, or None.

    Args:
        ways: of rows with forces and energies.
        crystal: the reference.
        atoms: a typical structure.
    """
    known, strained = _known(ways)
    rows = len(np.unique(ways.rows[known]))
    if known.sum() < FEWEST + 1 or rows < FEWEST + 2:
        return None
    stressed = bool((strained & known).any())
    energies, forces = ways.energies[known], ways.by_forces[known]
    stresses = np.where(strained, ways.by_stresses, 0.0)[known]
    second = _second_order(ways, strained)[known]
    if stressed and (problem := _stresses_alone(ways, crystal, strained & known)):
        return problem
    if not forces.any() or not second.all():
        # All rows are one structure, or strains of a crystal of one atom.
        return None
    factor, error, gain, off = _of_forces(energies / second, forces / second, stresses / second, rows)
    nats = (rows - 1) / 2 * np.log(gain)
    if off < FIT and nats > CLEAR and gain > SURE and not 1 / FACTOR < factor < FACTOR:
        return f"The forces are not the derivatives of the energies: they are {_in_words(factor, error, atoms)}."
    wrong = np.median(np.abs(forces + stresses - energies) / second)
    if stressed and rows >= FEWEST_FOR_STRESSES:
        problem = _of_stresses((energies - forces) / second, stresses / second, rows, atoms)
        if problem:
            return problem
    if wrong > ROUGH and rows >= 2 * FEWEST + 2:
        return (
            "The forces are not the derivatives of the energies: between near rows energies differ by something else "
            f"than {'forces and stresses' if stressed else 'forces'} do, by {100 * wrong:.0f} % of the second order. "
            "Labels of other rows, of another method, in another frame or order of atoms do this."
        )
    return None


def outliers(ways: Ways) -> tuple[Integers, float]:
    """Rows whose energies are far from what forces say on every way to near rows, and by how much at most, eV.

    Args:
        ways: of rows with forces and energies, which do not contradict each other altogether.
    """
    known, strained = _known(ways)
    if known.sum() < FEWEST_FOR_IONS:
        return np.empty(0, dtype=np.int64), 0.0
    stresses = np.where(strained, ways.by_stresses, 0.0)[known]
    off = np.abs(ways.by_forces[known] + stresses - ways.energies[known])
    parts = off / _second_order(ways, strained)[known]
    limit = max(ROUGH, FAR_OFF * float(np.median(parts)))
    rows = ways.rows[known]
    count = np.bincount(rows.ravel())
    bad = np.bincount(rows[parts > limit].ravel(), minlength=len(count))
    # What leads to a bad row is bad as well: of a way's two ends it is the one that is bad on all its own.
    found = np.flatnonzero((count >= NEIGHBOURS) & (bad == count))
    touched = np.isin(rows, found).any(axis=1)
    return found, float(off[touched].max(initial=0.0))


def same_structures(ways: Ways) -> tuple[Integers, Floats]:
    """Pairs of rows that are one structure, shape (s, 2), and by how much their energies differ, eV, shape (s,)."""
    apart = np.abs(ways.displacements).max(axis=(1, 2), initial=0) + np.abs(ways.stretches).max(axis=(1, 2), initial=0)
    same = (apart < SAME) & np.isfinite(ways.energies)
    return ways.rows[same], np.abs(ways.energies[same])


def _known(ways: Ways) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """On which ways it is known what stresses do, and on which they do something."""
    strained = np.abs(ways.stretches).max(axis=(1, 2), initial=0) > LEAST_STRAIN
    return np.isfinite(ways.by_stresses) | ~strained, strained


def _second_order(ways: Ways, strained: NDArray[np.bool_]) -> Floats:
    virials = np.where(strained[:, None, None], np.nan_to_num(ways.virials[:, 0]), 0.0)
    second = np.abs((ways.pulls * ways.displacements).sum(axis=(1, 2))) / 2
    second += np.abs((virials * ways.stretches).sum(axis=(1, 2))) / 2
    return np.asarray(np.hypot(second, SMALL * np.sqrt((second**2).mean())))


def _of_forces(energies: Floats, forces: Floats, stresses: Floats, rows: int) -> tuple[float, float, float, float]:
    """How many times forces are too large, the error of that, and by how much and to what the misfit comes down."""
    columns = np.column_stack([energies, -stresses]) if stresses.any() else energies[:, None]
    solution = np.linalg.lstsq(columns, forces, rcond=None)[0]
    left = float(((forces - columns @ solution) ** 2).mean())
    as_given = forces - energies
    if stresses.any():
        as_given = as_given + stresses * (-(stresses @ as_given) / (stresses @ stresses))
    covariance = left * np.linalg.pinv(columns.T @ columns)[0, 0] * len(forces) / (rows - 1)
    gain = (as_given**2).mean() / max(left, 1e-300)
    return float(solution[0]), float(np.sqrt(covariance) / abs(solution[0])), float(gain), float(np.sqrt(left))


def _stresses_alone(ways: Ways, crystal: Crystal, strained: NDArray[np.bool_]) -> str | None:
    """Whether stresses make a crystal as stiff as crystals are, and each component answers its own strain."""
    if crystal.dimension < 3 or strained.sum() < FEWEST:
        return None
    stretches, virials = ways.stretches[strained], ways.virials[strained]
    stiffness = (virials[:, 0] * stretches).sum() / (stretches**2).sum() / abs(np.linalg.det(crystal.cell)) / GPa
    if abs(stiffness) > STIFFEST:
        return (
            f"By the stresses the crystal's stiffness is about {stiffness:.2g} GPa, which no crystal has: they are in "
            "another unit than eV/Å³, as if in GPa or kbar, or virials."
        )
    if strained.sum() < FEWEST_FOR_IONS:
        return None
    sizes = np.sqrt((virials**2).sum(axis=0) * (stretches**2).sum(axis=0))
    cosines = (virials * stretches[:, None]).sum(axis=0) / np.maximum(sizes, 1e-300)
    every = cosines[:, *np.triu_indices(3)]
    if every[0].max() < -ALONG:
        return "All components of the stresses push their own strains on, instead of back: they have the opposite sign."
    # A crystal may be unstable to a shear: its stress then answers with the opposite sign, but it answers.
    answers = np.abs(every).min(axis=1)
    best = int(answers.argmax())
    if answers[0] < ALONG / 3 and answers[best] > 2 * ALONG:
        return f"The components of the stresses do not answer their own strains: they are {list(ORDERS)[best]}."
    return None


def _of_stresses(rest: Floats, given: Floats, rows: int, atoms: Atoms) -> str | None:
    """Whether what energies differ by beyond what forces do is what stresses say; both of the second order."""
    best = float(rest @ given / (given @ given))
    left, as_given = (float(((rest - factor * given) ** 2).mean()) for factor in (best, 1.0))
    if as_given < SURE * max(left, FLOOR**2) or left > FIT**2 or 1 / FACTOR < best < FACTOR:
        return None
    error = float(np.sqrt(left / (given @ given) * len(rest) / (rows - 1)) / abs(best))
    words = _in_words(1 / best, error, atoms, stress=True)
    return f"The stresses are not the derivatives of the energies: they are {words}."


def _in_words(factor: float, error: float, atoms: Atoms, *, stress: bool = False) -> str:
    size, parts = abs(factor), []
    if not 1 / FACTOR < size < FACTOR:
        words = f"{size:.3g} times too large" if size > 1 else f"{1 / size:.3g} times too small"
        likely = (causes if stress else causes_of_forces)(size, max(error, 0.05), atoms)
        parts.append(words + "".join(f", {'or ' * (i > 0)}as if {cause}" for i, cause in enumerate(likely)))
    if factor < 0:
        parts.append("of the opposite sign")
    return "; ".join(parts)
