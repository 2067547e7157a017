"""The one of a lattice's equivalent settings that is nearest to lattices that are known.

A lattice that turns into itself under a large shear can be written down in several ways, each a strain of the reference
crystal: a face-centred tetragonal crystal is body-centred tetragonal along three axes, near c/a = √2 all of them alike.
The energy is the same in each, but a model has been trained in some and extrapolates in the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import KDTree

from ase_dkl.arrays import Floats
from ase_dkl.crystal.coordinates import Coordinates
from ase_dkl.crystal.relabelling import SURE_DISTORTION, reach_of

if TYPE_CHECKING:
    from ase_dkl.crystal import Crystal

_FURTHEST = 1.4
"""Largest reach of relabellings: lattices that differ more are not confused."""
_SAME = 1e-6
"""Difference of scaled distances below which two settings are equally near."""


class Neighbourhood:
    """Lattices that are known.

    Args:
        crystal: the reference crystal.
        cells: lattice vectors in its basis, shape (n, 3, 3), Å.
    """

    def __init__(self, crystal: Crystal, cells: Floats) -> None:
        lattice = crystal.vectors(crystal.cell)
        self._inverse = np.linalg.inv(np.linalg.cholesky(lattice @ lattice.T))
        lattices = crystal.vectors(cells)
        # Nearness is in the units of the domain: a lattice parameter that is never varied counts for much.
        self._frame = Coordinates.standardising(lattices, crystal.images)
        self._tree = KDTree(self._frame.of(lattices)[:, 0])
        known = _angles(self._metrics(lattices)).max()
        # What has come near to the reference is within the first angle or the second one, and what is known is within
        # the first: so no other relabelling leads from the one to the other.
        reach = known + 1.1 * max(known, reach_of(SURE_DISTORTION, len(lattice)))
        self._equivalents = crystal.equivalents(min(reach, _FURTHEST))
        others = _angles(self._metrics(self._equivalents @ lattice))[1:]
        self._sure = others.min(initial=np.inf) - known

    def relabelling(self, lattice: Floats) -> Floats | None:
        """The matrix W, shape (d, d), that brings a lattice nearest to a known one, as W @ lattice.

        Args:
            lattice: periodic lattice vectors in the reference's basis, shape (d, 3), Å.

        Returns:
            None where no setting is nearer than the lattice's own.
        """
        if len(self._equivalents) == 1 or _angles(self._metrics(lattice)) < self._sure:
            return None
        distances = self._tree.query(self._frame.of(self._equivalents @ lattice))[0].min(axis=1)
        nearest = int(np.argmin(distances))
        return None if distances[nearest] >= distances[0] - _SAME else self._equivalents[nearest]

    def _metrics(self, lattices: Floats) -> Floats:
        """Metrics in a frame in which the reference's is the unit matrix, shape (..., d, 3) → (..., d, d)."""
        vectors = self._inverse @ lattices
        return np.asarray(vectors @ vectors.swapaxes(-1, -2))


def _angles(metrics: Floats) -> Floats:
    """Distance from the unit matrix along the shortest way of constant volume, shape (..., d, d) → (...).

    It obeys the triangle inequality, and relabelling both metrics leaves it alone.
    """
    logarithms = np.log(np.linalg.eigvalsh(metrics))
    return np.asarray(np.linalg.norm(logarithms - logarithms.mean(axis=-1, keepdims=True), axis=-1))
