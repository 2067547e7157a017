"""The lattices that a campaign is about: a box of lattice parameters, and designs that fill it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ase_dkl.arrays import Floats
from ase_dkl.crystal import Crystal, lattice
from ase_dkl.errors import Refused
from ase_dkl.mechanics.paths import ANGLES, LENGTHS, ParameterPath

DRAWN = 2**10
"""Sobol points drawn at a time."""
MOST = 2**22
"""Sobol points after which there is no hope of finding a lattice."""


class BadBox(Refused, ValueError):
    """A box with no lattices in it."""


@dataclass(frozen=True)
class Box:
    """Lattice parameters about those of the reference crystal. Sheets have one angle, chains none.

    Attributes:
        lengths: from and to, as fractions of the reference's lengths.
        angles: from and to, degrees.
    """

    lengths: tuple[float, float] = (-0.1, 0.1)
    angles: tuple[float, float] = (-10.0, 10.0)

    def __post_init__(self) -> None:
        for name, (low, high), least in (("lengths", self.lengths, -1.0), ("angles", self.angles, -180.0)):
            if not (np.isfinite([low, high]).all() and least < low <= 0 <= high) or (name == "lengths" and low == high):
                raise BadBox(
                    f"The box goes from {low:g} to {high:g} in {name}. Give two numbers about the reference crystal's, "
                    "the first at or below zero and the second at or above: lengths as fractions, such as -0.1 and "
                    "0.1, angles in degrees, such as -10 and 10."
                )

    def design(self, crystal: Crystal, n: int, *, seed: int = 0) -> Floats:
        """Fill the box evenly, with one of each set of lattices that are the same by symmetry.

        The points are those of one scrambled Sobol sequence, less those with an equivalent that comes first: the first
        n of a longer design are the design of n.

        Args:
            crystal: the reference crystal.
            n: how many lattices.
            seed: of the scrambling.

        Returns:
            Shape (n, 3, 3), Å, in the reference's basis: strained without rotation.

        Raises:
            BadBox: there are no such lattices, as angles that large do not close.
        """
        from scipy.stats import qmc

        low, high = np.transpose(self._ranges(crystal))
        path = _path(crystal)
        sequence = qmc.Sobol(len(low), rng=np.random.default_rng(seed))
        found = np.empty((0, 3, 3))
        while len(found) < n:
            if sequence.num_generated >= MOST:
                raise BadBox(f"{len(found)} of {n} lattices were found in the box; angles that large do not close.")
            cells, exists = path.cells_where(low + (high - low) * sequence.random(DRAWN))
            cells = cells[exists]
            found = np.concatenate([found, cells[self._first(crystal, cells)]])
        return found[:n]

    def _first(self, crystal: Crystal, cells: Floats) -> NDArray[np.bool_]:
        """Which lattices come first among their images in the box, by their offsets in lexical order, shape (n,)."""
        low, high = np.transpose(self._ranges(crystal))
        offsets = self._offsets(crystal, lattice.image_parameters(crystal.vectors(cells), crystal.images.astype(float)))
        inside = ((offsets >= low - 1e-9) & (offsets <= high + 1e-9)).all(-1)
        # The first component in which an image differs decides.
        difference = np.where(np.abs(offsets - offsets[:, :1]) > 1e-9, offsets - offsets[:, :1], 0.0)
        decisive = np.take_along_axis(difference, (difference != 0).argmax(-1)[..., None], axis=-1)[..., 0]
        return np.asarray(~((decisive > 0) & inside).any(axis=1))

    def reach(self, crystal: Crystal, cells: Floats) -> Floats:
        """How far cells (n, 3, 3) are from the reference crystal, in half-widths: 1 on the surface, shape (n,).

        The lattice parameter that is furthest out counts.
        """
        offsets = self._offsets(crystal, lattice.lattice_parameters(lattice.metric(crystal.vectors(cells))))
        low, high = np.transpose(self._ranges(crystal))
        # In a direction in which the box has no width only rounding is inside.
        return np.asarray((offsets / np.where(offsets > 0, high + 1e-12, low - 1e-12)).max(axis=1))

    @staticmethod
    def _offsets(crystal: Crystal, parameters: Floats) -> Floats:
        """Lattice parameters (..., p) less the reference's, lengths as fractions."""
        reference = lattice.lattice_parameters(lattice.metric(crystal.vectors(crystal.cell)))
        offsets = parameters - reference
        d = crystal.dimension
        offsets[..., :d] /= reference[:d]
        return offsets

    def _ranges(self, crystal: Crystal) -> list[tuple[float, float]]:
        d = crystal.dimension
        return [self.lengths] * d + [self.angles] * (d * (d - 1) // 2)


def _path(crystal: Crystal) -> ParameterPath:
    """All lattice parameters at once, in the order in which `lattice.lattice_parameters` has them."""
    periodic = list(crystal.periodic)
    lengths = [LENGTHS[axis] for axis in periodic]
    angles = [name for name, (i, j) in ANGLES.items() if {i, j} <= set(periodic)]
    return ParameterPath((*lengths, *angles), crystal.cell, periodic)
