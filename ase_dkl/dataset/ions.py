"""Ions that are neither clamped nor relaxed: at no lattice are their rows' energies those of a model of lattices."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ase_dkl.crystal import Crystal
from ase_dkl.crystal.mapping import CLAMPED_TOLERANCE
from ase_dkl.crystal.motif import LOOSEST, Motif
from ase_dkl.dataset.columns import Columns
from ase_dkl.dataset.mixtures import Findings, counted, rows_in_words

UNRELAXED = 0.1
"""eV/Å. Relaxations stop at 0.01 to 0.05, loose ones at this: larger forces on ions that have moved are of displaced
ions, unless what they are worth is negligible."""

RELAXED = 0.05
"""eV/Å. Smaller forces on ions that have moved are never refused."""

DISPLACED = 2 * CLAMPED_TOLERANCE
"""Å. What ions are off by beyond the digits that files keep; displacements for phonons are 0.01 and more."""

STIFFNESS = 5.0
"""eV/Å². Force constant K of an ion, some 3 in soft metals and 20 in diamond: a force F is worth the energy F²/2K."""

NEGLIGIBLE, LOOSE, MUCH = 0.005, 0.01, 0.05
"""Parts of the spread of the energies: what forces may be worth even where they are large, what is told, and what is
too much even where forces are small."""

SAME_ENERGY = 1e-5
"""eV per atom. Two relaxations at one lattice end no further apart."""

FEWEST_TO_JUDGE = 5
"""Rows from which the spread of their energies means something."""

WHY = (
    "A model is of the energy as a function of the lattice, and positions are no input: relax the ions in every row, "
    "to 0.01 eV/Å, or leave all at the same fractional coordinates."
)

OR_FREE = 'If they are displaced on purpose and have forces, let all ions be free: --ions free, or ions="free".'

_SAMPLE = 200
"""Rows among which the sites that most of them share are looked for."""


@dataclass(frozen=True, eq=False)
class _Kind:
    """Rows with the same atoms in the same order.

    Attributes:
        rows: their positions, shape (m,).
        sites: where their ions are in one lattice, translations left out, shape (m, atoms, 3 or more), Å.
        distances: of the ions from the sites that most rows share, shape (m, atoms), Å.
    """

    rows: np.ndarray
    sites: np.ndarray
    distances: np.ndarray


def check_ions(
    crystal: Crystal, columns: Columns, findings: Findings, *, given: bool, may_be_free: bool = False
) -> np.ndarray | None:
    """Look for rows whose ions are neither clamped nor relaxed, and for clamped rows among relaxed ones.

    Args:
        crystal: what the rows are strained copies of; nothing is to be judged where its ions are clamped.
        columns: n rows.
        findings: where problems go.
        given: whether the crystal is given and its relaxed ions with it, so that no row may be a clamped one.
        may_be_free: whether most rows may have displaced ions that feel forces.

    Returns:
        Which rows can be used together, shape (n,), none where too few can; or None where the ions are free.
    """
    n = len(columns.ids)
    if crystal.ions != "relaxed":
        return np.ones(n, dtype=bool)
    judge = _Judge(columns)
    distance, force, largest = np.zeros(n), np.full(n, np.nan), np.full(n, np.nan)
    moved, unrelaxed, loose, clamped, displaced = (np.zeros(n, dtype=bool) for _ in range(5))
    for kind in _kinds(columns):
        off = np.ones(kind.distances.shape, dtype=bool) if given else kind.distances > DISPLACED
        distance[kind.rows] = kind.distances.max(axis=1)
        moved[kind.rows] = off.any(axis=1)
        force[kind.rows], worth = judge.forces(kind.rows, off)
        unrelaxed[kind.rows] = judge.too_large(force[kind.rows], worth)
        if unrelaxed[kind.rows].sum() > off.any(axis=1).sum() / 2:
            # Some rattled rows and frames of dynamics have small forces by chance.
            unrelaxed[kind.rows] |= force[kind.rows] > RELAXED
        loose[kind.rows] = worth > LOOSE * judge.spread
        displaced[kind.rows] = off.any(axis=1) & _above_the_lowest(kind, columns, judge)
        relaxed = off.any(axis=1) & ~unrelaxed[kind.rows] & ~displaced[kind.rows]
        mobile = np.broadcast_to(off[relaxed].any(axis=0), off.shape)
        largest[kind.rows], worth = judge.forces(kind.rows, mobile)
        clamped[kind.rows] = ~off.any(axis=1) & judge.too_large(largest[kind.rows], worth)
    bad = unrelaxed | displaced
    if may_be_free and unrelaxed.sum() > n / 2:
        return None
    if bad.any():
        what = "Ions that are not relaxed, where the model's are" if given else "Ions neither clamped nor relaxed"
        problem = f"{what}: {rows_in_words(columns.ids[bad])}{how_far(distance[bad], force[bad])}."
        if (by_energy := displaced & ~unrelaxed).any():
            problem += (
                f" Of these {by_energy.sum()} have the lattice of a row of lower energy and other ions: displaced, as "
                "for phonons, in dynamics or on a path."
            )
        enough = given or (~bad).sum() >= FEWEST_TO_JUDGE
        hint = "" if given or not unrelaxed.any() else f" {OR_FREE}"
        findings.refuse(f"{problem} {WHY}{hint}", columns, ~bad & enough, prefer=("fmax",))
        if not enough:
            return np.zeros(n, dtype=bool)
    relaxed = moved & ~bad
    if clamped.any() and relaxed.any():
        return np.asarray(~bad & _one_kind(columns, clamped, relaxed, largest, findings))
    if (told := relaxed & loose).any():
        findings.warnings.append(
            f"Ions are not relaxed to the end in {rows_in_words(columns.ids[told])}: forces up to "
            f"{np.nanmax(force[told]):.2g} eV/Å are worth more than {LOOSE:.0%} of what the energies differ by. Relax "
            "further, to 0.01 eV/Å or less."
        )
    unknown = relaxed & np.isnan(force)
    if 0 < unknown.sum() < (n - bad.sum()) / 2 and not given:
        findings.warnings.append(
            f"Ions count as relaxed because of {rows_in_words(columns.ids[unknown])}. The others keep their "
            "fractional coordinates: if they are clamped, a model of both together would be wrong."
        )
    return ~bad


class _Judge:
    """What forces are worth, beside what the energies differ by."""

    def __init__(self, columns: Columns) -> None:
        self._forces = columns.forces
        self.atoms = np.array([len(structure) for structure in columns.structures])
        self.energies = columns.energies / self.atoms
        deviations = np.abs(self.energies - np.median(self.energies))
        self.spread = 1.48 * float(np.median(deviations)) if len(deviations) >= FEWEST_TO_JUDGE else np.nan

    def forces(self, rows: np.ndarray, ions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The largest force on some ions of each row, eV/Å, and what they are worth, eV an atom; NaN where not known.

        Args:
            rows: shape (m,).
            ions: which count, shape (m, atoms).
        """
        nothing = np.full(ions.shape[1:], np.nan)
        sizes = np.array(
            [nothing if (of_row := self._forces[i]) is None else np.linalg.norm(of_row, axis=1) for i in rows]
        )
        sizes = np.where(ions, sizes, np.where(np.isnan(sizes), np.nan, 0.0))
        return sizes.max(axis=1), (sizes**2).mean(axis=1) / (2 * STIFFNESS)

    def too_large(self, force: np.ndarray, worth: np.ndarray) -> np.ndarray:
        """Whether no relaxation ends with such forces, or what they are worth is too much; False where not known."""
        large = (force > UNRELAXED) & ~(worth <= NEGLIGIBLE * self.spread)
        return np.asarray(large | ((force > RELAXED) & (worth > MUCH * self.spread)))


def _kinds(columns: Columns) -> Iterator[_Kind]:
    orders = [f"{atoms.pbc.tobytes()!r}{atoms.numbers.tobytes()!r}" for atoms in columns.structures]
    for alike in counted(orders).values():
        motifs = [Motif.from_atoms(columns.structures[i]) for i in alike]
        lattice, d = motifs[0].lattice, motifs[0].dimension
        sites = np.array([motif.sites for motif in motifs])
        offsets = sites - sites[0]
        offsets -= offsets[:, :1]
        offsets[..., :d] -= np.rint(offsets[..., :d])
        offsets -= np.median(offsets, axis=1, keepdims=True)
        placed = np.concatenate([offsets[..., :d] @ lattice, offsets[..., d:]], axis=2)
        # Structures in another basis of the lattice cannot be compared so.
        comparable = np.linalg.norm(placed, axis=2).max(axis=1) <= 2 * LOOSEST * motifs[0].closest
        rows, placed = alike[comparable], placed[comparable]
        sample = placed[:: 1 + len(placed) // _SAMPLE]
        shared = [(np.abs(sample - each).max(axis=(1, 2)) <= CLAMPED_TOLERANCE).sum() for each in sample]
        centre = sample[int(np.argmax(shared))] if max(shared) > 1 else np.median(placed, axis=0)
        yield _Kind(rows, placed, np.linalg.norm(placed - centre, axis=2))


def _above_the_lowest(kind: _Kind, columns: Columns, judge: _Judge) -> np.ndarray:
    """Which rows have the lattice of another row of lower energy, and other ions, shape (m,)."""
    lattices = np.array([columns.structures[i].cell.array[columns.structures[i].pbc] for i in kind.rows])
    metrics = (lattices @ lattices.transpose(0, 2, 1)).reshape(len(lattices), -1)
    same = np.unique((metrics / metrics.max()).round(7), axis=0, return_inverse=True)[1].ravel()
    energies = judge.energies[kind.rows]
    above = np.zeros(len(kind.rows), dtype=bool)
    least = max(SAME_ENERGY, NEGLIGIBLE * judge.spread)
    for lattice in np.flatnonzero(np.bincount(same) > 1):
        members = np.flatnonzero(same == lattice)
        lowest = members[np.argmin(energies[members])]
        differ = np.linalg.norm(kind.sites[members] - kind.sites[lowest], axis=2).max(axis=1) > DISPLACED
        above[members] = differ & (energies[members] - energies[lowest] > least)
    return above


def how_far(distance: np.ndarray, force: np.ndarray) -> str:
    """Say how far ions are off their places, Å, and what forces they feel, eV/Å, NaN where not known."""
    parts = [f"up to {distance.max():.2g} Å off their places"] if distance.max() > CLAMPED_TOLERANCE else []
    parts += [f"forces up to {np.nanmax(force):.2g} eV/Å"] if np.isfinite(force).any() else []
    return f" ({', '.join(parts)})"


def _one_kind(
    columns: Columns, clamped: np.ndarray, relaxed: np.ndarray, force: np.ndarray, findings: Findings
) -> np.ndarray:
    """Refuse clamped rows beside relaxed ones. Rows whose ions feel no force where they are clamped are either."""
    first, other = (clamped, relaxed) if clamped.sum() >= relaxed.sum() else (relaxed, clamped)
    told = clamped | relaxed
    findings.refuse(
        f"Clamped and relaxed ions: {rows_in_words(columns.ids[clamped])} keep their fractional coordinates, with "
        f"forces up to {np.nanmax(force[clamped]):.2g} eV/Å, {rows_in_words(columns.ids[relaxed])} do not. Their "
        "energies are two functions of the lattice, and a model is of one.",
        columns.take(told),
        first[told],
    )
    return ~other
