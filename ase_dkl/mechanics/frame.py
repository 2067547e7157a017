"""The Laue class of a lattice, and the Cartesian frame that IEEE Standard 176 (1987) gives its constants.

Where the standard leaves the sense of an axis open, the atoms decide, so that a crystal has one frame whatever cell it
is written in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import spglib
from ase.geometry import minkowski_reduce
from ase.neighborlist import neighbor_list

from ase_dkl.arrays import Floats
from ase_dkl.crystal import Crystal
from ase_dkl.crystal.symmetry import quietly
from ase_dkl.mechanics.strains import lattice_rotations

LaueClass = Literal["m-3m", "m-3", "6/mmm", "6/m", "-3m", "-3", "4/mmm", "4/m", "mmm", "2/m", "-1"]

SAME_SITE = 1e-2
"""Distance within which a translation maps the motif onto itself, Å."""
RIGHT = 1e-3
"""Cosine of an angle that counts as a right one."""
BALANCED = 1e-4
"""A component of the pairs' tensor below this fraction of its trace tells no sense of an axis."""
_HALF_TURNS = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])[:, :, None] * np.eye(3)


def laue_class(crystal: Crystal, cell: Floats) -> LaueClass:
    """The symmetry of everything even, such as elastic constants, at a lattice of a bulk crystal.

    Args:
        crystal: the reference crystal.
        cell: a lattice of it, strained or not, shape (3, 3), Å.
    """
    axes = _axes(lattice_rotations(crystal, cell))
    twofold, threefold, fourfold, sixfold = (len(axes[order]) for order in (2, 3, 4, 6))
    if threefold == 4:
        return "m-3m" if fourfold else "m-3"
    if sixfold:
        return "6/mmm" if twofold else "6/m"
    if threefold:
        return "-3m" if twofold else "-3"
    if fourfold:
        return "4/mmm" if twofold else "4/m"
    return "mmm" if twofold == 3 else "2/m" if twofold else "-1"


def standard_frame(crystal: Crystal, cell: Floats) -> Floats:
    """The rotation into the frame that IEEE Standard 176 (1987) gives a bulk crystal.

    Cubic crystals have x, y, z along a, b, c. Others with one axis of the highest order have z along it; x is along a
    twofold axis of a trigonal crystal, else along the shortest lattice vector across z. Orthorhombic ones have x, y, z
    along a, b, c with c < a < b; monoclinic ones y along b and z along c, where c < a are the shortest vectors across y
    and β is obtuse; triclinic ones z along c and y across a and c, where c < a < b are the shortest vectors and α and β
    are obtuse.

    Where that leaves senses open (for elastic constants the standard does: it goes by signs of piezoelectric ones), the
    pair tensor Σ w Z_i Z_j r⊗r⊗r⊗r of the atoms decides, which has the symmetry of elastic constants: its first
    component of 14, 15, 16, 24, … that is not zero is negative.

    Args:
        crystal: the reference crystal.
        cell: a lattice of it, strained or not, shape (3, 3), Å.

    Returns:
        R with rows x, y, z, shape (3, 3): a vector v becomes R v.
    """
    axes = _axes(lattice_rotations(crystal, cell))
    vectors = _translations(crystal, cell)
    kind = laue_class(crystal, cell)
    if kind in ("m-3m", "m-3"):
        return _right_handed(axes[4] if kind == "m-3m" else axes[2])
    if kind == "mmm":
        shortest = sorted(axes[2], key=lambda axis: float(_shortest(_along(vectors, axis))))
        return _right_handed([shortest[1], shortest[2], shortest[0]])
    if kind == "2/m":
        frames = np.array(_monoclinic(_across(vectors, axes[2][0])))
    elif kind == "-1":
        frames = np.array(_triclinic(vectors))
    else:
        z = next(axes[order][0] for order in (6, 4, 3) if len(axes[order]))
        x = axes[2][0] if kind == "-3m" else _across(vectors, z)[0]
        frames = _HALF_TURNS @ _frame(z, x)
    return _told_by_atoms(crystal, cell, frames)


def _axes(rotations: Floats) -> dict[int, list[Floats]]:
    """Unit vectors along the axes of rotations, shape (g, 3, 3), each under its highest order alone."""
    found: dict[int, list[Floats]] = {6: [], 4: [], 3: [], 2: []}
    order = {2: 6, 1: 4, 0: 3, -1: 2}
    kinds = np.array([order.get(int(trace), 0) for trace in np.rint(np.trace(rotations, axis1=1, axis2=2))])
    known: list[Floats] = []
    for each, of_order in found.items():
        for rotation in rotations[kinds == each]:
            values, vectors = np.linalg.eig(rotation)
            axis = np.real(vectors[:, np.abs(values - 1).argmin()])
            if not any(abs(axis @ other) > 1 - RIGHT for other in known):
                known.append(axis)
                of_order.append(axis)
    return found


def _translations(crystal: Crystal, cell: Floats) -> Floats:
    """Lattice vectors of the primitive lattice, without their opposites, the shortest first, shape (n, 3), Å."""
    primitive = None
    kinds = np.unique(np.column_stack([crystal.numbers, crystal.magnetic_moments]), axis=0, return_inverse=True)[1]
    structure = cell.tolist(), crystal.scaled_positions.tolist(), kinds.tolist()
    with quietly():
        primitive = spglib.standardize_cell(structure, to_primitive=True, no_idealize=True, symprec=SAME_SITE)
    lattice = minkowski_reduce(cell if primitive is None else primitive[0])[0]
    steps = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    vectors = steps[len(steps) // 2 + 1 :] @ lattice
    return np.asarray(vectors[np.argsort(np.linalg.norm(vectors, axis=1), kind="stable")])


def _along(vectors: Floats, axis: Floats) -> Floats:
    return np.asarray(vectors[np.abs(vectors @ axis) > (1 - RIGHT**2) * np.linalg.norm(vectors, axis=1)])


def _across(vectors: Floats, axis: Floats) -> Floats:
    return np.asarray(vectors[np.abs(vectors @ axis) < RIGHT * np.linalg.norm(vectors, axis=1)])


def _shortest(vectors: Floats) -> float:
    return float(np.linalg.norm(vectors, axis=1).min())


def _frame(z: Floats, x: Floats) -> Floats:
    """Unit vectors along x, y and z from directions of z and of x across it."""
    z, x = z / np.linalg.norm(z), x / np.linalg.norm(x)
    x = x - (x @ z) * z
    x /= np.linalg.norm(x)
    return np.array([x, np.cross(z, x), z])


def _right_handed(rows: Sequence[Floats]) -> Floats:
    return _frame(rows[2], rows[0])


def _monoclinic(across: Floats) -> list[Floats]:
    c = across[0]
    a = next(vector for vector in across if np.linalg.norm(np.cross(vector, c)) > RIGHT * (c @ c))
    return [_frame(c, sense * a) for sense in (1, -1) if _obtuse(sense * a, c)]


def _triclinic(vectors: Floats) -> list[Floats]:
    c = vectors[0]
    a = next(vector for vector in vectors if np.linalg.norm(np.cross(vector, c)) > RIGHT * (c @ c))
    y = np.cross(c, a)
    b = next(vector for vector in vectors if abs(vector @ y) > RIGHT * np.linalg.norm(y) * np.linalg.norm(c))
    return [
        _frame(sense * c, sign * a)
        for sense in (1, -1)
        for sign in (1, -1)
        # b makes a, b, c right-handed: then it lies on the side of y.
        if _obtuse(sense * c, sign * a) and _obtuse(sense * c, b * np.sign(b @ (sense * sign * y)))
    ]


def _obtuse(first: Floats, second: Floats) -> bool:
    return bool(first @ second <= RIGHT * np.linalg.norm(first) * np.linalg.norm(second))


def _told_by_atoms(crystal: Crystal, cell: Floats, frames: Floats) -> Floats:
    """The frame, of (m, 3, 3), in which the first component of the pair tensor that tells is negative."""
    atoms = crystal.atoms(cell)
    spacing = (atoms.get_volume() / len(atoms)) ** (1 / 3)
    i, j, apart, distance = neighbor_list("ijDd", atoms, 3.5 * spacing)
    weights = atoms.numbers[i] * atoms.numbers[j] * np.exp(-((distance / spacing) ** 2))
    directions = frames @ (apart / distance[:, None]).T
    axial, shear = directions**2, directions[:, [1, 0, 0]] * directions[:, [2, 2, 1]]
    components = np.einsum("mip,mjp,p->mij", axial, shear, weights).reshape(len(frames), 9) / weights.sum()
    senses = np.where(np.abs(components) > BALANCED, np.sign(components), 0)
    return np.asarray(frames[np.lexsort(senses.T[::-1])[0]])
