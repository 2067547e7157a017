"""Lines and planes of lattices, through the reference or another lattice to start from.

A line goes along one of two kinds of things: lattice parameters (with the volume or area), where all others stay as
they are, or strains. A plane takes two of the same kind.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ase_dkl.arrays import Floats
from ase_dkl.crystal.lattice import STRAIN_GENERATORS, VOIGT, VOIGT_NAMES, metric
from ase_dkl.errors import Refused

LENGTHS = ("a", "b", "c")
ANGLES = {"alpha": (1, 2), "beta": (0, 2), "gamma": (0, 1)}
MEASURES = {"area": 2, "volume": 3}
"""How many periodic axes it takes to have one."""
STRAINS = VOIGT_NAMES
PARAMETERS = (*LENGTHS, *ANGLES, *MEASURES)
ALONG = (*PARAMETERS, *STRAINS)
"""What can be scanned by its name."""

_SQUARED_NORM = np.array([1, 1, 1, 0.5, 0.5, 0.5])
"""Squared norm of a strain's matrix from its squared Voigt components: shears are off the diagonal twice, halved."""


class BadScan(Refused, ValueError):
    """A scan that leads through no lattice, or along what the crystal does not have."""


@dataclass(frozen=True, eq=False)
class LatticePath(ABC):
    """A line (k = 1) or plane (k = 2) of lattices.

    Attributes:
        names: what it goes along, of length k.
        start: the lattice at offset zero, shape (3, 3), Å. Vacuum vectors stay as they are.
        periodic: indices of the periodic axes.
    """

    names: tuple[str, ...]
    start: Floats
    periodic: list[int]

    def cells(self, offsets: Floats) -> Floats:
        """Lattices at offsets from the start: symmetric strains of it, without rotation.

        Args:
            offsets: fractions for lengths, areas and volumes, degrees for angles, strains (shears engineering) or
                amplitudes of a direction, shape (n, k).

        Returns:
            Shape (n, 3, 3), Å.

        Raises:
            BadScan: there is no lattice at one of the offsets.
        """
        if not np.isfinite(offsets).all():
            raise BadScan("Offsets of a scan are numbers; some of these are not finite.")
        cells, exists = self.cells_where(offsets)
        if not exists.all():
            first = offsets[~exists][0]
            where = " and ".join(f"an offset of {x:g} along {name}" for x, name in zip(first, self.names, strict=True))
            raise BadScan(
                f"There is no lattice at {where} from the start: its cell would be flat or inside out. Offsets are "
                "fractions for lengths, area, volume and strains, and degrees for angles; choose a smaller range."
            )
        return cells

    @abstractmethod
    def cells_where(self, offsets: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """Lattices, and whether there are any; where not, the start takes the place."""

    @abstractmethod
    def coordinates(self, offsets: Floats) -> Floats:
        """The scanned quantities at offsets: Å, degrees, Å², Å³, or strains and amplitudes, shape (n, k)."""

    @abstractmethod
    def offsets(self, metrics: Floats) -> Floats:
        """Offsets, shape (n, k), of lattices that lie on the path, or near it, from the periodic axes' metrics."""

    @property
    def plane(self) -> Floats:
        """Orthonormal axes of the space that the periodic axes span, in columns, shape (3, d)."""
        d = len(self.periodic)
        return np.eye(3) if d == 3 else np.linalg.qr(self.start[self.periodic].T).Q

    def stretches(self, metrics: Floats) -> Floats:
        """The symmetric S, shape (n, d, d), in the axes of `plane`, that strain the start into these metrics."""
        inverse = np.linalg.inv(self.start[self.periodic] @ self.plane)
        values, vectors = np.linalg.eigh(inverse @ metrics @ inverse.T)
        return np.asarray((vectors * np.sqrt(values)[:, None, :]) @ vectors.mT)

    def stretched(self, stretches: Floats) -> Floats:
        """The start strained by stretches in the axes of `plane`, shape (n, 3, 3), Å."""
        cells = np.repeat(self.start[None], len(stretches), axis=0)
        cells[:, self.periodic] = self.start[self.periodic] @ self.plane @ stretches @ self.plane.T
        return cells


class ParameterPath(LatticePath):
    """Lattice parameters, volume or area; all other lattice parameters are the start's.

    A volume or area comes about by one factor for all lengths that are not scanned themselves.
    """

    def cells_where(self, offsets: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """There is none where a length or an angle is not positive, or the angles do not close."""
        start = metric(self.start[self.periodic])
        target = np.repeat(start[None], len(offsets), axis=0)
        goal = dict(zip(self.names, self.coordinates(offsets).T, strict=True))
        exists = np.ones(len(offsets), dtype=bool)
        for name in sorted(goal, key=ALONG.index):  # lengths before the angles between them
            if name in LENGTHS:
                axis = self.periodic.index(LENGTHS.index(name))
                _scale(target, [axis], goal[name] / np.sqrt(start[axis, axis]))
                exists &= goal[name] > 0
            elif name in ANGLES:
                i, j = self._between(name)
                cosine = np.cos(np.deg2rad(goal[name]))
                target[:, i, j] = target[:, j, i] = np.sqrt(target[:, i, i] * target[:, j, j]) * cosine
                exists &= (goal[name] > 0) & (goal[name] < 180)
        exists &= np.linalg.eigvalsh(target)[:, 0] > 0
        target[~exists] = start
        for name in goal.keys() & MEASURES.keys():
            exists &= goal[name] > 0
            free = [i for i, axis in enumerate(self.periodic) if LENGTHS[axis] not in goal]
            ratio = np.where(exists, goal[name], 1) / np.sqrt(np.linalg.det(target))
            _scale(target, free, ratio ** (1 / len(free)))
        target[~exists] = start
        return self.stretched(self.stretches(target)), exists

    def coordinates(self, offsets: Floats) -> Floats:
        """Lengths, angles, areas and volumes themselves."""
        start = self._values(metric(self.start[self.periodic])[None])
        angles = np.isin(self.names, list(ANGLES))
        return np.where(angles, start + offsets, start * (1 + offsets))

    def offsets(self, metrics: Floats) -> Floats:
        """Read off the lattice parameters, whatever the others are."""
        start = self._values(metric(self.start[self.periodic])[None])
        values = self._values(metrics)
        angles = np.isin(self.names, list(ANGLES))
        return np.where(angles, values - start, values / start - 1)

    def _values(self, metrics: Floats) -> Floats:
        return np.stack([self._value(metrics, name) for name in self.names], axis=-1)

    def _value(self, metrics: Floats, name: str) -> Floats:
        if name in LENGTHS:
            axis = self.periodic.index(LENGTHS.index(name))
            return np.asarray(np.sqrt(metrics[:, axis, axis]))
        if name in ANGLES:
            i, j = self._between(name)
            return np.rad2deg(np.arccos(metrics[:, i, j] / np.sqrt(metrics[:, i, i] * metrics[:, j, j])))
        return np.asarray(np.sqrt(np.linalg.det(metrics)))

    def _between(self, angle: str) -> tuple[int, int]:
        i, j = ANGLES[angle]
        return self.periodic.index(i), self.periodic.index(j)


@dataclass(frozen=True, eq=False)
class StrainPath(LatticePath):
    """Strains of the start: amounts of one or two directions.

    Attributes:
        directions: Voigt strains, shears engineering, shape (k, 6).
    """

    directions: Floats

    def cells_where(self, offsets: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """There is none where I + E(ε) is not positive definite."""
        stretches = self.plane.T @ deformations(offsets @ self.directions) @ self.plane
        exists = np.linalg.eigvalsh(stretches)[:, 0] > 0
        stretches[~exists] = np.eye(len(self.periodic))
        return self.stretched(stretches), exists

    def coordinates(self, offsets: Floats) -> Floats:
        """A strain is its own offset."""
        return offsets

    def offsets(self, metrics: Floats) -> Floats:
        """The foot of the perpendicular: of all strains on the path the nearest, as a matrix."""
        strains = self.plane @ (self.stretches(metrics) - np.eye(len(self.periodic))) @ self.plane.T
        rows, columns = np.transpose(VOIGT)
        voigt = strains[:, rows, columns] * [1, 1, 1, 2, 2, 2]
        weighted = self.directions * _SQUARED_NORM
        return np.linalg.solve(weighted @ self.directions.T, weighted @ voigt.T).T


def deformations(strains: Floats) -> Floats:
    """I + E(ε) of Voigt strains, shape (n, 6), as matrices, shape (n, 3, 3)."""
    return np.asarray(np.eye(3) + np.einsum("nj,jkl->nkl", strains, STRAIN_GENERATORS))


def _scale(metrics: Floats, axes: list[int], factor: Floats) -> None:
    """Scale lattice vectors of metrics in place."""
    for axis in axes:
        metrics[:, axis, :] *= factor[:, None]
        metrics[:, :, axis] *= factor[:, None]
