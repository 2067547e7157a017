"""Labelled structures that lie on the line or plane of a scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ase_dkl.arrays import Floats
from ase_dkl.crystal.lattice import metric
from ase_dkl.mechanics.along import Along, path_along
from ase_dkl.mechanics.paths import LatticePath
from ase_dkl.model.accepted import Energy, as_energy
from ase_dkl.shown import Shown
from ase_dkl.wording import number

if TYPE_CHECKING:
    from ase_dkl.dataset import Dataset
    from ase_dkl.model.lattice_energy import LatticeEnergy

TOLERANCE = 2e-3
"""The largest strain off a line or plane."""


@dataclass(frozen=True, eq=False, repr=False)
class Points(Shown):
    """Labelled structures on a scan's line or plane.

    Attributes:
        coordinate: the scanned quantity, shape (n,); of a plane both, shape (n, 2).
        energies: labels, eV per reference cell, shape (n,).
        errors: prediction for the structure's own lattice minus label, eV, shape (n,).
    """

    coordinate: Floats
    energies: Floats
    errors: Floats

    def table(self, names: Sequence[str]) -> dict[str, Floats]:
        """Columns of a table, each of shape (n,), the coordinates under the names given."""
        coordinates = self.coordinate.reshape(-1, len(names)).T
        labels = {"energy_eV": self.energies, "error_meV": 1e3 * self.errors}
        return {**dict(zip(names, coordinates, strict=True)), **labels}

    def _summary(self) -> tuple[str, dict[str, str]]:
        rows = {"structures": str(len(self.energies))}
        if len(self.errors):
            rows["energy RMSE"] = f"{number(1e3 * float(np.sqrt(np.mean(self.errors**2))), 3)} meV per cell"
        return "Labelled structures on a scan", rows


def points_on_line(
    surrogate: Energy,
    along: Along,
    dataset: Dataset,
    *,
    tolerance: float = TOLERANCE,
    start: ArrayLike | None = None,
) -> Points:
    """Pick the rows of a dataset that lie on a scan's line, in any of their symmetry images.

    Args:
        surrogate: a trained surrogate, its file, or a calculator that has it.
        along: as in `scan_along`.
        dataset: rows of the same crystal.
        tolerance: the largest strain off the line.
        start: as in `scan_along`.
    """
    surrogate = as_energy(surrogate)
    points = _points(surrogate, path_along(surrogate.crystal, [along], start), dataset, tolerance)
    return replace(points, coordinate=points.coordinate[:, 0])


def points_on_plane(
    surrogate: Energy,
    along: tuple[Along, Along],
    dataset: Dataset,
    *,
    tolerance: float = TOLERANCE,
    start: ArrayLike | None = None,
) -> Points:
    """Pick the rows of a dataset that lie on a grid's plane, in any of their symmetry images.

    Args:
        surrogate: a trained surrogate, its file, or a calculator that has it.
        along: as in `scan_grid`.
        dataset: rows of the same crystal.
        tolerance: the largest strain off the plane.
        start: as in `scan_grid`.
    """
    surrogate = as_energy(surrogate)
    return _points(surrogate, path_along(surrogate.crystal, along, start), dataset, tolerance)


def _points(surrogate: LatticeEnergy, path: LatticePath, dataset: Dataset, tolerance: float) -> Points:
    """Pick the rows of a dataset that lie on a path to a strain of `tolerance`, in any of their symmetry images."""
    indices, offsets = rows_on(path, surrogate.crystal.images, dataset.cells, tolerance)
    rows = dataset.subset(indices)
    predicted = surrogate.predict_cells(rows.cells, stress=False).energy if len(rows) else rows.energies
    return Points(path.coordinates(offsets), rows.energies, predicted - rows.energies)


def rows_on(
    path: LatticePath, images: NDArray[np.int_], cells: Floats, tolerance: float
) -> tuple[NDArray[np.int_], Floats]:
    """Indices of cells that lie on a path to a strain of `tolerance`, and their offsets along it, shape (n, k)."""
    indices, offsets = [], []
    for index, row in enumerate(metric(cells[:, path.periodic])):
        metrics = images @ row @ images.mT
        along_path = path.offsets(metrics)
        lattices, exists = path.cells_where(along_path)
        inverse = np.linalg.inv(np.linalg.cholesky(metric(lattices[:, path.periodic])))
        off_path = np.abs(np.linalg.eigvalsh(inverse @ metrics @ inverse.mT) - 1).max(axis=1) / 2
        on_path = np.flatnonzero(exists & (off_path <= tolerance))
        if len(on_path):
            # The first of the images is the row as it stands.
            indices.append(index)
            offsets.append(along_path[on_path[0]])
    return np.array(indices, dtype=int), np.array(offsets, dtype=float).reshape(-1, len(path.names))
