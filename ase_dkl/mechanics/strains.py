"""Which strains a crystal's symmetry allows, and how its rotations act on strains and on what is linear in them."""

from __future__ import annotations

import numpy as np

from ase_dkl.arrays import Floats
from ase_dkl.crystal import Crystal, lattice
from ase_dkl.crystal.lattice import normals, on_strains

SYMMETRIC = 1e-6
"""Difference of an image's metric, relative to its largest element, up to which it is the same lattice."""


def invariant_strains(crystal: Crystal, cell: Floats) -> Floats:
    """Strains that keep the symmetry of a lattice, such as the isotropic one of a cube.

    Args:
        crystal: the reference crystal.
        cell: a lattice of it, strained or not, shape (3, 3), Å.

    Returns:
        An orthonormal basis of them, Voigt, shape (d, 6); for a sheet or slab in its plane, for a chain along it.
    """
    possible = lattice.independent_strains(crystal.vectors(cell[None]))[0]
    # The mean over a group is a projection, so that the singular values of what it leaves are zero or not small.
    _, sizes, directions = np.linalg.svd(possible @ laue_group(crystal, cell).mean(axis=0).T)
    return np.asarray(directions[: int((sizes > 0.1).sum())])


def laue_group(crystal: Crystal, cell: Floats) -> Floats:
    """Rotations of the crystal that leave a lattice as it is, as they act on Voigt strains.

    Args:
        crystal: the reference crystal.
        cell: a lattice of it, strained or not, shape (3, 3), Å.

    Returns:
        Shape (g, 6, 6).
    """
    return on_strains(lattice_rotations(crystal, cell))


def lattice_rotations(crystal: Crystal, cell: Floats) -> Floats:
    """Rotations of the crystal that leave a lattice as it is, W and −W once, as a rotation; arguments as `laue_group`.

    Returns:
        Q with W C = C Q, shape (g, 3, 3).
    """
    rows = crystal.vectors(cell)
    d = len(rows)
    metric = lattice.metric(rows)
    images = crystal.images.astype(float)
    same = np.abs(images @ metric @ images.mT - metric).max(axis=(1, 2)) <= SYMMETRIC * np.abs(metric).max()
    whole = np.repeat(np.eye(3)[None], same.sum(), axis=0)
    whole[:, :d, :d] = images[same]
    frame = np.vstack([rows, normals(rows)])
    turns = np.linalg.inv(frame) @ whole @ frame
    return np.asarray(turns * np.sign(np.linalg.det(turns))[:, None, None])
