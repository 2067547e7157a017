"""The quick way of `Crystal.map`: a structure that is written down just as the reference is.

A calculator asks for every energy, so this has some 20 µs.
"""

from __future__ import annotations

import math

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from ase_dkl.arrays import Floats, Integers
from ase_dkl.crystal.relabelling import SURE_DISTORTION
from ase_dkl.crystal.unusable import FLAT


class Setting:
    """Basis, order of atoms and sites of a reference crystal.

    Args:
        cell: lattice vectors, shape (3, 3), Å.
        pbc: which are periodic, shape (3,).
        numbers: atomic numbers, shape (n,).
        positions: fractional coordinates, and Cartesian offsets (Å) in the columns of vacuum axes, shape (n, 3).
        moments: magnetic moments, μB, shape (n,).
        tolerance: how far from its site an ion may be, Å.
    """

    def __init__(
        self,
        cell: Floats,
        pbc: NDArray[np.bool_],
        numbers: Integers,
        positions: Floats,
        moments: Floats,
        tolerance: float,
    ) -> None:
        self._pbc, self._numbers, self._positions, self._moments = pbc, numbers, positions, moments
        self._tolerance = tolerance
        self._magnetic = bool(moments.any())
        self._axes = [int(axis) for axis in np.flatnonzero(pbc)]
        # |Y C|² / size^(2/d) − 1 is the distortion of lattice vectors C.
        metric = cell[pbc] @ cell[pbc].T
        d = len(metric)
        self._yardstick = np.linalg.inv(np.linalg.cholesky(metric)) * np.linalg.det(metric) ** (0.5 / d) / math.sqrt(d)

    def displacement(self, atoms: Atoms) -> float | None:
        """How far the ions of atoms that are the reference but for strain and translation are from their sites, Å.

        None where they are something else, and where it takes longer to tell.
        """
        arrays, d = atoms.arrays, len(self._axes)
        if len(atoms) != len(self._numbers) or d == 1 or (atoms.pbc != self._pbc).any():
            return None
        if (arrays["numbers"] != self._numbers).any():
            return None
        if (self._magnetic or "initial_magmoms" in arrays) and not np.array_equal(
            atoms.get_initial_magnetic_moments(), self._moments
        ):
            return None
        cell = atoms.cell.array
        framed = self._framed(cell.tolist())
        if framed is None:
            return None
        frame, size = framed
        stretched = self._yardstick @ (cell if d == 3 else cell[self._pbc])
        if np.vdot(stretched, stretched) > (1 + SURE_DISTORTION) * size ** (2 / d):
            return None
        offsets = arrays["positions"] @ np.linalg.inv(frame) - self._positions
        offsets -= offsets[0]
        offsets -= np.rint(offsets) * self._pbc
        displacements = (offsets - offsets.sum(axis=0) / len(offsets)) @ np.asarray(frame)
        largest = math.sqrt(np.einsum("ij,ij->i", displacements, displacements).max())
        return largest if largest <= 0.5 * self._tolerance else None  # nor NaN

    def _framed(self, cell: list[list[float]]) -> tuple[list[list[float]], float] | None:
        """Lattice vectors, with a unit normal for vacuum, and their volume (area, for sheets).

        None where they are left-handed, flat or not finite. Plain numbers are faster here than arrays.
        """
        i, j = self._axes[:2]
        k = 3 - i - j
        (ax, ay, az), (bx, by, bz), (cx, cy, cz) = cell[i], cell[j], cell[k]
        nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        volume = (nx * cx + ny * cy + nz * cz) * (1 if j - i == 1 else -1)
        edges = math.hypot(ax, ay, az) * math.hypot(bx, by, bz)
        if len(self._axes) == 3:
            return (cell, volume) if FLAT * edges * math.hypot(cx, cy, cz) < volume < math.inf else None
        area = math.hypot(nx, ny, nz)
        if not FLAT * edges < area < math.inf or volume < 0:
            return None
        cell[k] = [nx / area, ny / area, nz / area]
        return cell, area
