"""Atoms that no crystal is: where cells or positions make no sense."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from scipy.spatial import cKDTree

from ase_dkl.crystal.lattice import normals

COINCIDING = 0.1
"""Å. No two atoms are nearer."""
SHORTEST, LONGEST = 0.3, 1e4
"""Å. No lattice vector is shorter than half an atom, nor longer than any cell that was ever computed."""
FLAT = 1e-3
"""Smallest singular value of the periodic lattice vectors, each scaled to length one, that is not a flat cell."""


def unusable(atoms: Atoms, *, finite: bool = False) -> str | None:
    """Say why atoms have no motif, as the rest of a sentence that begins with "the structure".

    Args:
        atoms: the structure.
        finite: whether a molecule or cluster, which has no lattice, is one.
    """
    if len(atoms) == 0:
        return "has no atoms."
    if not (np.isfinite(atoms.cell.array).all() and np.isfinite(atoms.positions).all()):
        return "has lattice vectors or positions that are not finite numbers."
    if not atoms.pbc.any():
        if not finite:
            return (
                "is periodic along no axis (pbc=FFF). A molecule or a cluster has no lattice, and a model of clamped "
                "or relaxed ions is of the energy as a function of the lattice alone: let ions be free (--ions free, "
                "ions='free'). If it is a crystal, name its periodic axes where it is read (--pbc TTT, pbc='TTT') or, "
                "before the calculation, in atoms.pbc."
            )
        if len(atoms) == 1:
            return "is a single atom, which has one energy and no forces."
        if np.abs(atoms.positions).max() > LONGEST:
            return f"has positions beyond {LONGEST:g} Å. Are lengths in Å?"
        return _doubtful(atoms)
    lattice = atoms.cell.array[atoms.pbc]
    if np.abs(lattice).max() > LONGEST:
        return f"has lattice vectors longer than {LONGEST:g} Å: no crystal has. Are lengths in Å?"
    lengths = np.linalg.norm(lattice, axis=1)
    if 0 < lengths.min() < SHORTEST:
        return f"has lattice vectors shorter than {SHORTEST:g} Å: no crystal has. Are lengths in Å?"
    if not lengths.all() or np.linalg.svd(lattice / lengths[:, None])[1][-1] < FLAT:
        return f"has a flat cell: its periodic lattice vectors {lattice.round(4).tolist()} are linearly dependent."
    return _doubtful(atoms)


def _doubtful(atoms: Atoms) -> str | None:
    if (pair := _coinciding(atoms)) is not None:
        return f"has two atoms in one place, {pair[0]} and {pair[1]}: they are less than {COINCIDING:g} Å apart."
    if atoms.get_initial_magnetic_moments().ndim > 1:
        return "has magnetic moments that are vectors: only collinear ones, a number for each atom, are understood."
    return None


def _coinciding(atoms: Atoms) -> tuple[int, int] | None:
    frame = atoms.cell.array.copy()
    frame[~atoms.pbc] = normals(frame[atoms.pbc])
    inverse = np.linalg.inv(frame)
    scaled = atoms.positions @ inverse
    for _ in range(2):  # a remainder may be rounded to 1
        scaled[:, atoms.pbc] %= 1.0
    reach = COINCIDING * float(np.linalg.norm(inverse, axis=0).max())
    for i, j in cKDTree(scaled, boxsize=np.where(atoms.pbc, 1.0, 0.0)).query_pairs(reach, p=np.inf):
        apart = scaled[i] - scaled[j]
        if np.linalg.norm((apart - np.rint(apart) * atoms.pbc) @ frame) < COINCIDING:
            return min(i, j), max(i, j)
    return None
