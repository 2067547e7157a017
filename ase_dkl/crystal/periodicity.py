"""Which axes of a structure are periodic: as it says itself, as its user does, and where it holds vacuum."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

VACUUM = 8.0
"""Å without the centre of an atom that tell a sheet or a chain from a crystal, whatever its file says."""


def periodic_axes(pbc: str | Sequence[bool]) -> NDArray[np.bool_]:
    """Read "TTF", or three truth values.

    Raises:
        ValueError: it is something else.
    """
    letters = [{"T": True, "F": False}.get(each.upper()) for each in pbc] if isinstance(pbc, str) else list(pbc)
    if len(letters) != 3 or not all(isinstance(each, bool | np.bool_) for each in letters):
        raise ValueError(f"pbc={pbc!r} does not name the periodic axes: write T or F for each of the three, as TTF.")
    return np.array(letters, dtype=bool)


def empty_space(atoms: Atoms) -> NDArray[np.float64]:
    """The widest layer across each lattice vector that is periodic in which no atom's centre is, shape (3,), Å."""
    cell = atoms.cell.array
    if not len(atoms) or abs(np.linalg.det(cell)) == 0:
        return np.zeros(3)
    inverse = np.linalg.inv(cell)
    scaled = np.sort(atoms.positions @ inverse % 1.0, axis=0)
    gaps = np.diff(np.vstack([scaled, scaled[:1] + 1]), axis=0).max(axis=0)
    return np.asarray(gaps / np.linalg.norm(inverse, axis=0) * atoms.pbc)


def in_dimension(atoms: Atoms, dimension: int) -> Atoms:
    """Atoms that are periodic along so many axes, where those too many hold vacuum; else the atoms as given."""
    if np.count_nonzero(atoms.pbc) <= dimension:
        return atoms
    vacuum = empty_space(atoms) >= VACUUM
    if np.count_nonzero(atoms.pbc & ~vacuum) != dimension:
        return atoms
    return without_periods(atoms, atoms.pbc & ~vacuum)


def without_periods(atoms: Atoms, pbc: NDArray[np.bool_]) -> Atoms:
    """Atoms that are periodic along the axes `pbc` alone; what the faces of other ones cut through vacuum is whole."""
    flat: Atoms = atoms.copy()
    for axis in np.flatnonzero(atoms.pbc & ~pbc & (empty_space(atoms) >= VACUUM)):
        scaled = (atoms.positions @ np.linalg.inv(atoms.cell.array))[:, axis]
        inside = np.sort(scaled % 1.0)
        gaps = np.diff(inside, append=inside[0] + 1)
        # From the atom beyond the widest gap on, once round.
        start = inside[(int(gaps.argmax()) + 1) % len(inside)]
        steps = np.rint((scaled - start) % 1.0 + start - scaled)
        flat.positions += np.outer(steps - steps[0], atoms.cell.array[axis])
    flat.pbc = pbc
    return flat


def vacuum_that_never_varies(structures: Sequence[Atoms]) -> NDArray[np.bool_]:
    """Axes along which all structures are periodic, equally long and mostly empty, shape (3,)."""
    lengths = np.array([atoms.cell.lengths() for atoms in structures])
    still = (np.ptp(lengths, axis=0) < 1e-3) & (lengths.min(axis=0) > VACUUM) & (len(structures) > 1)
    still &= np.all([atoms.pbc for atoms in structures], axis=0)
    if not still.any():
        return np.asarray(still)
    return np.asarray(still & (np.min([empty_space(atoms) for atoms in structures], axis=0) >= VACUUM))
