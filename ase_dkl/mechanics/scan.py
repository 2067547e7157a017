"""Energy and stress along one lattice parameter, the volume or one strain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ase_dkl.arrays import Floats

if TYPE_CHECKING:
    from ase_dkl.crystal import Crystal
    from ase_dkl.dataset import Dataset
    from ase_dkl.prediction import Prediction
    from ase_dkl.surrogate import Surrogate


LENGTHS = ("a", "b", "c")
ANGLES = {"alpha": (1, 2), "beta": (0, 2), "gamma": (0, 1)}
STRAINS = {"xx": (0, 0), "yy": (1, 1), "zz": (2, 2), "yz": (1, 2), "xz": (0, 2), "xy": (0, 1)}
ALONG = (*LENGTHS, *ANGLES, "volume", *STRAINS)
"""What can be scanned."""


class BadScan(ValueError):
    """A scan that leads through no lattice, or along what the crystal does not have."""


@dataclass(frozen=True, eq=False)
class Scan:
    """Predictions along a line of lattices through the reference.

    Attributes:
        along: one of `ALONG`.
        offsets: from the reference, shape (n,): fractions for lengths, volume and strains (shears engineering),
            degrees for angles.
        coordinate: the scanned quantity itself, shape (n,): Å, degrees, Å³, or the strain.
        cells: lattice vectors in rows, shape (n, 3, 3), Å: the reference strained without rotation.
        prediction: per reference cell; stresses in the frame of the cells.
        outside: where the surrogate extrapolates, shape (n,).
    """

    along: str
    offsets: Floats
    coordinate: Floats
    cells: Floats
    prediction: Prediction
    outside: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Points:
    """Labelled structures on a scan's line.

    Attributes:
        coordinate: the scanned quantity, shape (n,).
        energies: labels, eV per reference cell, shape (n,).
        errors: prediction for the structure's own lattice minus label, eV, shape (n,).
    """

    coordinate: Floats
    energies: Floats
    errors: Floats


def scan_along(surrogate: Surrogate, along: str, offsets: Sequence[float] | Floats, *, stress: bool = True) -> Scan:
    """Predict along one lattice parameter, the volume or one strain, all else as in the reference.

    Args:
        surrogate: a trained surrogate.
        along: one of `ALONG`.
        offsets: from the reference, shape (n,): fractions for lengths, volume and strains (shears engineering),
            degrees for angles.
        stress: predict the stress as well.

    Raises:
        BadScan: an offset leaves no lattice, or the crystal is not periodic along what is scanned.
    """
    offsets = np.asarray(offsets, dtype=float)
    cells = scan_cells(surrogate.crystal, along, offsets)
    return Scan(
        along=along,
        offsets=offsets,
        coordinate=coordinate(surrogate.crystal, along, offsets),
        cells=cells,
        prediction=surrogate.predict_cells(cells, stress=stress),
        outside=surrogate.extrapolation(cells).outside,
    )


def points_on_line(surrogate: Surrogate, along: str, dataset: Dataset, *, tolerance: float = 2e-3) -> Points:
    """Pick the rows of a dataset that lie on a scan's line, in any of their symmetry images.

    Args:
        surrogate: a trained surrogate.
        along: one of `ALONG`.
        dataset: rows of the same crystal.
        tolerance: the largest strain off the line.
    """
    indices, offsets = rows_on_line(surrogate.crystal, along, dataset.cells, tolerance)
    rows = dataset.subset(indices)
    predicted = surrogate.predict_cells(rows.cells, stress=False).energy if len(rows) else rows.energies
    return Points(coordinate(surrogate.crystal, along, offsets), rows.energies, predicted - rows.energies)


def coordinate(crystal: Crystal, along: str, offsets: Floats) -> Floats:
    """The scanned quantity at offsets from the reference: Å, degrees, Å³, or the strain."""
    if along in LENGTHS:
        return np.asarray(_lengths(crystal.cell)[LENGTHS.index(along)] * (1 + offsets))
    if along in ANGLES:
        return _angle(crystal.cell @ crystal.cell.T, along) + offsets
    if along == "volume":
        return np.asarray(np.linalg.det(crystal.cell) * (1 + offsets))
    return offsets


def scan_cells(crystal: Crystal, along: str, offsets: Floats) -> Floats:
    """Lattices at offsets from the reference, shape (n, 3, 3), Å: symmetric strains of it, without rotation."""
    _check_periodic(crystal, along)
    cells, exists = _line(crystal, along, offsets)
    if not exists.all():
        raise BadScan(
            f"There is no lattice at an offset of {offsets[~exists][0]:g} along {along} from the reference: its cell "
            "would be flat or inside out. Offsets are fractions for lengths, volume and strains, and degrees for "
            "angles; choose a smaller range."
        )
    return cells


def rows_on_line(crystal: Crystal, along: str, cells: Floats, tolerance: float) -> tuple[NDArray[np.int_], Floats]:
    """Indices of the cells that lie on a scan's line to a strain of `tolerance`, and their offsets along it."""
    _check_periodic(crystal, along)
    vacuum = [axis for axis in range(3) if axis not in crystal.periodic]
    indices, offsets = [], []
    for index, cell in enumerate(cells):
        metric = cell @ cell.T
        # The vacuum is no part of the lattice: take the reference's.
        metric[vacuum] = (crystal.cell @ crystal.cell.T)[vacuum]
        metric[:, vacuum] = metric[vacuum].T
        images = _whole(crystal) @ metric @ _whole(crystal).mT
        along_line = _offset(crystal, along, images)
        line, exists = _line(crystal, along, along_line)
        inverse = np.linalg.inv(line)
        off_line = np.abs(inverse @ images @ inverse.mT - np.eye(3)).max(axis=(1, 2)) / 2
        on_line = np.flatnonzero(exists & (off_line <= tolerance))
        if len(on_line):
            # The first of the images is the row as it stands.
            indices.append(index)
            offsets.append(along_line[on_line[0]])
    return np.array(indices, dtype=int), np.array(offsets, dtype=float)


def _line(crystal: Crystal, along: str, offsets: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Lattices at offsets from the reference, and whether there are any; where not, the reference takes the place."""
    identity = np.eye(3)
    if along == "volume":
        exists = offsets > -1
        return crystal.cell * np.cbrt(1 + np.where(exists, offsets, 0))[:, None, None], exists
    if along in STRAINS:
        row, column = STRAINS[along]
        generator = (np.outer(identity[row], identity[column]) + np.outer(identity[column], identity[row])) / 2
        deformation = identity + offsets[:, None, None] * generator
        exists = np.linalg.eigvalsh(deformation)[:, 0] > 0
        return crystal.cell @ np.where(exists[:, None, None], deformation, identity), exists
    reference = crystal.cell @ crystal.cell.T
    target = np.repeat(reference[None], len(offsets), axis=0)
    if along in LENGTHS:
        axis = LENGTHS.index(along)
        target[:, axis, :] *= 1 + offsets[:, None]
        target[:, :, axis] *= 1 + offsets[:, None]
        exists = offsets > -1
    else:
        i, j = ANGLES[along]
        lengths = _lengths(crystal.cell)
        angles = _angle(target, along) + offsets
        target[:, i, j] = target[:, j, i] = lengths[i] * lengths[j] * np.cos(np.deg2rad(angles))
        exists = (np.linalg.eigvalsh(target)[:, 0] > 0) & (angles > 0) & (angles < 180)
    return crystal.cell @ _stretch(crystal.cell, np.where(exists[:, None, None], target, reference)), exists


def _offset(crystal: Crystal, along: str, metrics: Floats) -> Floats:
    """How far lattices of these metrics are from the reference along a line, shape (n,)."""
    if along in LENGTHS:
        axis = LENGTHS.index(along)
        return np.asarray(np.sqrt(metrics[:, axis, axis]) / _lengths(crystal.cell)[axis] - 1)
    if along in ANGLES:
        return _angle(metrics, along) - _angle(crystal.cell @ crystal.cell.T, along)
    stretch = _stretch(crystal.cell, metrics)
    if along == "volume":
        return np.asarray(np.linalg.det(stretch) - 1)
    row, column = STRAINS[along]
    return stretch[:, row, row] - 1 if row == column else 2 * stretch[:, row, column]


def _stretch(cell: Floats, metrics: Floats) -> Floats:
    """The symmetric S, shape (n, 3, 3), for which the lattices `cell @ S` have these metrics."""
    inverse = np.linalg.inv(cell)
    values, vectors = np.linalg.eigh(inverse @ metrics @ inverse.T)
    return np.asarray((vectors * np.sqrt(values)[:, None, :]) @ vectors.mT)


def _whole(crystal: Crystal) -> Floats:
    """The images as 3×3 matrices that leave the vacuum directions alone, shape (g, 3, 3)."""
    whole = np.repeat(np.eye(3)[None], len(crystal.images), axis=0)
    rows, columns = np.ix_(crystal.periodic, crystal.periodic)
    whole[:, rows, columns] = crystal.images
    return whole


def _lengths(cell: Floats) -> Floats:
    return np.asarray(np.linalg.norm(cell, axis=-1))


def _angle(metric: Floats, along: str) -> Floats:
    i, j = ANGLES[along]
    cosine = metric[..., i, j] / np.sqrt(metric[..., i, i] * metric[..., j, j])
    return np.asarray(np.rad2deg(np.arccos(cosine)))


def _check_periodic(crystal: Crystal, along: str) -> None:
    if along not in ALONG:
        raise BadScan(f"A scan goes along one of {', '.join(ALONG)}; {along!r} is none of them.")
    needed = {LENGTHS.index(along)} if along in LENGTHS else set(ANGLES.get(along, ()))
    if along == "volume":
        needed = {0, 1, 2}
    missing = sorted(needed - set(crystal.periodic))
    if missing:
        axes = " and ".join(LENGTHS[axis] for axis in missing)
        raise BadScan(
            f"There is no scan along {along}: the crystal is not periodic along {axes}, so that its energy does not "
            f"depend on it. Its periodic axes are {', '.join(LENGTHS[axis] for axis in crystal.periodic)}."
        )
