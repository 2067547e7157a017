"""Energy and stress over a plane of lattices: two lattice parameters, or two strains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ase_dkl.arrays import Floats
from ase_dkl.mechanics.along import Along, path_along
from ase_dkl.mechanics.paths import ANGLES, PARAMETERS, BadScan
from ase_dkl.mechanics.scan import offsets_of
from ase_dkl.mechanics.scanned import Scanned, column, predict
from ase_dkl.model.accepted import Energy, as_energy

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, eq=False, repr=False)
class Grid(Scanned):
    """Predictions for a grid of n times m lattices; the first direction is the first axis of arrays.

    Attributes:
        along: the two directions, named as in `Scan`.
        offsets: from the start along each, shapes (n,) and (m,).
        coordinates: the scanned quantities themselves, shapes (n,) and (m,).
    """

    along: tuple[str, str]
    offsets: tuple[Floats, Floats]
    coordinates: tuple[Floats, Floats]

    @property
    def coordinate_names(self) -> tuple[str, str]:
        """Two, numbered where they would be the same."""
        first, second = (column(along) for along in self.along)
        return (first, second) if first != second else (f"{first}_1", f"{second}_2")

    def _coordinate_columns(self) -> dict[str, Floats]:
        columns: dict[str, Floats] = {}
        values, offsets = _spread(self.coordinates), _spread(self.offsets)
        for axis, (along, name) in enumerate(zip(self.along, self.coordinate_names, strict=True)):
            columns[name] = values[:, axis]
            # A strain is its own offset.
            if along in PARAMETERS:
                columns[f"{along}_offset_deg" if along in ANGLES else f"{along}_offset"] = offsets[:, axis]
        return columns


def scan_grid(
    surrogate: Energy,
    along: tuple[Along, Along],
    offsets: tuple[ArrayLike, ArrayLike],
    *,
    stress: bool = False,
    start: ArrayLike | None = None,
) -> Grid:
    """Predict on a grid of two lattice parameters, or of two strains, all else as at the start.

    Two strains are added. The volume (or a sheet's area) goes with a lattice parameter: lengths that are not scanned
    themselves then change by one factor.

    Args:
        surrogate: a trained surrogate, its file, or a calculator that has it.
        along: two directions, each as in `scan_along`.
        offsets: from the start along each, shapes (n,) and (m,).
        stress: predict the stress as well.
        start: cell in the reference's basis, shape (3, 3), Å; the reference's own by default.

    Raises:
        BadScan: offsets leave no lattice or no grid, the crystal does not have what is scanned, or the two do not go
            together.
    """
    surrogate = as_energy(surrogate)
    path = path_along(surrogate.crystal, along, start)
    first, second = (offsets_of(values) for values in offsets)
    if min(len(first), len(second)) < 2:
        raise BadScan(f"A grid has at least two points each way; this one would have {len(first)} times {len(second)}.")
    given = _spread((first, second))
    cells = path.cells(given)
    prediction, outside = predict(surrogate, cells, stress)
    coordinates = path.coordinates(given).reshape(len(first), len(second), 2)
    return Grid(
        surrogate=surrogate,
        cells=cells.reshape(len(first), len(second), 3, 3),
        prediction=prediction,
        outside=outside.reshape(len(first), len(second)),
        along=(path.names[0], path.names[1]),
        offsets=(first, second),
        coordinates=(coordinates[:, 0, 0], coordinates[0, :, 1]),
    )


def _spread(axes: tuple[Floats, Floats]) -> Floats:
    """All pairs, the second changing fastest, shape (n m, 2)."""
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
