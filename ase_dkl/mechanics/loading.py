"""Ways to load a crystal until it fails: pulls, and shears of lattice planes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ase_dkl.arrays import Floats
from ase_dkl.crystal.lattice import VOIGT
from ase_dkl.errors import Refused


class BadLoading(Refused, ValueError):
    """A pull or a shear that cannot be done to the crystal."""


@dataclass(frozen=True)
class Tension:
    """A pull along a lattice direction. The strain is the relative change of the length along it.

    Attributes:
        direction: [uvw] in the reference's basis.
        component: of stress and strain that is meant, in Voigt order of the axes.
    """

    direction: tuple[int, int, int]
    component: ClassVar[int] = VOIGT.index((0, 0))

    def axes(self, cell: Floats) -> Floats:
        """Orthonormal axes of a lattice in rows, shape (3, 3); the first is the direction.

        Raises:
            BadLoading: the direction is none.
        """
        if not any(self.direction):
            raise BadLoading("[0 0 0] is no direction. Name a lattice direction [u v w] to pull along.")
        # One of the lattice vectors that is surely not parallel, and the same one after a strain.
        return _orthonormal(np.array(self.direction) @ cell, cell[np.argmin(np.abs(self.direction))])

    def __str__(self) -> str:
        return f"tension along [{_indices(self.direction)}]"


@dataclass(frozen=True)
class Shear:
    """Lattice planes that slide. The strain is the way that they slide, over their distance at the start.

    Attributes:
        plane: Miller indices (hkl) in the reference's basis.
        direction: [uvw] in the reference's basis, in the plane; the opposite one may be another matter.
        component: of stress and strain that is meant, in Voigt order of the axes.
    """

    plane: tuple[int, int, int]
    direction: tuple[int, int, int]
    component: ClassVar[int] = VOIGT.index((0, 2))

    def axes(self, cell: Floats) -> Floats:
        """Orthonormal axes of a lattice in rows, shape (3, 3); the first is the direction, the third the normal.

        Raises:
            BadLoading: the direction does not lie in the plane.
        """
        if not any(self.direction) or not any(self.plane) or np.dot(self.plane, self.direction):
            raise BadLoading(
                f"Planes ({_indices(self.plane)}) cannot slide along [{_indices(self.direction)}]: for a direction in "
                "the plane h u + k v + l w is zero, and neither of the two is zero itself. Choose another."
            )
        direction = np.array(self.direction) @ cell
        return _orthonormal(direction, np.cross(np.linalg.inv(cell) @ np.array(self.plane), direction))

    def __str__(self) -> str:
        return f"shear of ({_indices(self.plane)}) along [{_indices(self.direction)}]"


def _orthonormal(first: Floats, second: Floats) -> Floats:
    """Right-handed axes: along the first vector, in the plane of both, and normal to it."""
    x = first / np.linalg.norm(first)
    y = second - (second @ x) * x
    y /= np.linalg.norm(y)
    return np.array([x, y, np.cross(x, y)])


def _indices(indices: tuple[int, int, int]) -> str:
    return " ".join(str(index) for index in indices)
