"""Energy and stress along one lattice parameter, the volume, one strain, or any path of strains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ase_dkl.arrays import Floats
from ase_dkl.crystal.lattice import strained
from ase_dkl.mechanics.along import Along, as_words, check_in_plane, path_along, start_cell
from ase_dkl.mechanics.paths import ALONG, ANGLES, LENGTHS, STRAINS, BadScan, deformations
from ase_dkl.mechanics.points import Points, points_on_line
from ase_dkl.mechanics.scanned import Scanned, column, predict
from ase_dkl.model.accepted import Energy, as_energy

if TYPE_CHECKING:
    pass

__all__ = ["ALONG", "ANGLES", "LENGTHS", "BadScan", "Points", "Scan", "points_on_line", "scan_along", "scan_path"]


@dataclass(frozen=True, eq=False, repr=False)
class Scan(Scanned):
    """Predictions along a line of lattices.

    Attributes:
        along: one of `ALONG`, a direction such as "xx=1,yy=-0.5", or "path".
        offsets: from the start, shape (n,): fractions for lengths, area, volume and strains (shears engineering),
            degrees for angles, amplitudes for directions, the way covered for a path.
        coordinate: the scanned quantity itself, shape (n,): Å, degrees, Å², Å³, or as the offsets.
        strains: Voigt, shears engineering, about the start, shape (n, 6), where the path was given as such.
    """

    along: str
    offsets: Floats
    coordinate: Floats
    strains: Floats | None = None

    @property
    def coordinate_names(self) -> tuple[str]:
        """One: the scanned quantity's."""
        return (column(self.along),)

    def _coordinate_columns(self) -> dict[str, Floats]:
        coordinate = {self.coordinate_names[0]: self.coordinate}
        if self.strains is not None:
            return coordinate | {f"strain_{name}": self.strains[:, i] for i, name in enumerate(STRAINS)}
        return {**coordinate, "offset_deg" if self.along in ANGLES else "offset": self.offsets}


def scan_along(
    surrogate: Energy, along: Along, offsets: ArrayLike, *, stress: bool = True, start: ArrayLike | None = None
) -> Scan:
    """Predict along one lattice parameter, the volume or one strain, all else as at the start.

    Args:
        surrogate: a trained surrogate, its file, or a calculator that has it.
        along: one of `ALONG`, or a direction in the space of strains: six Voigt components (shears engineering), or
            words such as "xx=1,yy=-0.5,xy=0.2".
        offsets: from the start, shape (n,): fractions for lengths, area, volume and strains, degrees for angles,
            amplitudes that multiply a direction.
        stress: predict the stress as well.
        start: cell in the reference's basis, shape (3, 3), Å; the reference's own by default.

    Raises:
        BadScan: an offset leaves no lattice, or the crystal does not have what is scanned.
    """
    surrogate = as_energy(surrogate)
    path = path_along(surrogate.crystal, [along], start)
    given = offsets_of(offsets)
    cells = path.cells(given[:, None])
    prediction, outside = predict(surrogate, cells, stress)
    coordinate = path.coordinates(given[:, None])[:, 0]
    return Scan(surrogate, cells, prediction, outside, path.names[0], given, coordinate)


def scan_path(surrogate: Energy, strains: ArrayLike, *, stress: bool = True, start: ArrayLike | None = None) -> Scan:
    """Predict along any path in the space of strains.

    Args:
        surrogate: a trained surrogate, its file, or a calculator that has it.
        strains: Voigt, shears engineering, about the start, shape (n, 6), in the order of the path.
        stress: predict the stress as well.
        start: cell in the reference's basis, shape (3, 3), Å; the reference's own by default.

    Returns:
        A scan whose coordinate is the length of the path, as a sum of norms of strain matrices.

    Raises:
        BadScan: a strain leaves no lattice, or reaches out of a sheet's plane.
    """
    surrogate = as_energy(surrogate)
    given = np.array(strains, dtype=float)
    if given.ndim != 2 or given.shape[1] != 6 or not np.isfinite(given).all():
        raise BadScan(
            f"A path has n strains of six finite Voigt components, shape (n, 6); the one given has shape {given.shape}."
        )
    cell = start_cell(surrogate.crystal, start)
    check_in_plane(surrogate.crystal, cell, given)
    matrices = deformations(given)
    flat = np.flatnonzero(np.linalg.eigvalsh(matrices)[:, 0] <= 0)
    if len(flat):
        raise BadScan(
            f"There is no lattice at point {flat[0]} of the path, at a strain of {as_words(given[flat[0]])}: its cell "
            "would be flat or inside out."
        )
    cells = strained(np.repeat(cell[None], len(given), axis=0), given)
    vacuum = [axis for axis in range(3) if axis not in surrogate.crystal.periodic]
    cells[:, vacuum] = cell[vacuum]
    prediction, outside = predict(surrogate, cells, stress)
    way = np.concatenate([[0.0], np.linalg.norm(np.diff(matrices, axis=0), axis=(1, 2)).cumsum()])
    return Scan(surrogate, cells, prediction, outside, "path", way, way, given)


def offsets_of(values: ArrayLike) -> Floats:
    """Offsets of a scan, checked, shape (n,)."""
    offsets = np.array(values, dtype=float)
    if offsets.ndim != 1 or not len(offsets):
        raise BadScan(f"Offsets of a scan have the shape (n,), with n of at least 1; these have {offsets.shape}.")
    return offsets
