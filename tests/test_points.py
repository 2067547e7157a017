from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk, graphene
from hypothesis import given, settings
from hypothesis import strategies as st

from ase_dkl import Crystal, Dataset, Surrogate, srtio3
from ase_dkl.arrays import Floats
from ase_dkl.mechanics.along import path_along
from ase_dkl.mechanics.paths import ALONG, ANGLES
from ase_dkl.mechanics.points import points_on_line, points_on_plane, rows_on

PATHS = [*((name,) for name in ALONG if name != "area"), ("a", "gamma"), ("volume", "c"), ("xx", "yz"), ("xx=1,xy=-1",)]


@settings(max_examples=60, deadline=None)
@given(
    along=st.sampled_from(PATHS), first=st.floats(-0.08, 0.08), second=st.floats(-0.08, 0.08), seed=st.integers(0, 99)
)
def test_rows_on_the_path_are_found_rotated_and_relabelled(
    along: tuple[str, ...], first: float, second: float, seed: int
) -> None:
    crystal = Crystal.from_atoms(bulk("Zn", "hcp", a=2.66, c=4.95))
    path = path_along(crystal, along)
    units = [100 if name in ANGLES else 1 for name in along]
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    rotation *= np.linalg.det(rotation)
    (cell,) = path.cells(np.array([[first, second]])[:, : len(along)] * units)
    image = crystal.images[rng.integers(len(crystal.images))]
    image = image * round(np.linalg.det(image))
    indices, offsets = rows_on(path, crystal.images, (image @ cell @ rotation)[None], 1e-6)
    assert indices.tolist() == [0]
    (found,) = path.cells(offsets)
    # The image found may be another one of the same lattice, e.g. with the angle on the other side.
    metrics = crystal.images @ (found @ found.T) @ crystal.images.mT
    assert np.abs(metrics - cell @ cell.T).max(axis=(1, 2)).min() < 1e-4


def test_rows_off_the_line_are_not_found() -> None:
    crystal = Crystal.from_atoms(bulk("Zn", "hcp", a=2.66, c=4.95))
    path = path_along(crystal, ["a"])
    cells = path.cells(np.array([[0.0], [0.05]])) @ np.diag([1, 1, 1.01])
    assert rows_on(path, crystal.images, cells, 2e-3)[0].size == 0
    indices, offsets = rows_on(path, crystal.images, cells, 2e-2)
    assert indices.tolist() == [0, 1]
    assert offsets.shape == (2, 1)


def test_the_vacuum_of_a_sheet_is_no_part_of_the_line() -> None:
    sheet = Crystal.from_atoms(graphene(vacuum=5.0))
    path = path_along(sheet, ["gamma"])
    cells = path.cells(np.array([[-3.0], [2.0]]))
    cells[:, 2, 2] *= 1.5
    _, offsets = rows_on(path, sheet.images, cells, 1e-6)
    np.testing.assert_allclose(offsets, [[-3.0], [2.0]], atol=1e-8)


def test_rows_beyond_every_lattice_of_the_line_are_not_on_it() -> None:
    # With the primitive cell's other angles at 60°, alpha ends at 120°.
    crystal = Crystal.from_atoms(bulk("Cu"))
    wide: Floats = 2.55 * np.linalg.cholesky(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, -0.6], [0.0, -0.6, 1.0]]))
    assert rows_on(path_along(crystal, ["alpha"]), crystal.images, wide[None], 1e-2)[0].size == 0


def test_points_are_the_labels_of_the_line(surrogate: Surrogate, srtio3_dataset: Dataset) -> None:
    path = path_along(surrogate.crystal, ["c"])
    cells = path.cells(np.array([[-0.06], [0.03]]))
    strained = cells[0] @ np.diag([1.1, 1.0, 1.0])
    rows = replace(srtio3_dataset.subset(np.arange(3)), cells=np.array([*cells, strained]))
    points = points_on_line(surrogate, "c", rows)
    np.testing.assert_allclose(points.coordinate, np.linalg.norm(cells[:, 2], axis=1))
    np.testing.assert_array_equal(points.energies, rows.energies[:2])
    np.testing.assert_allclose(points.errors, surrogate.predict_cells(cells).energy - rows.energies[:2])
    # The cubic axes are alike: what is stretched along c lies, relabelled, on the line of a.
    np.testing.assert_allclose(points_on_line(surrogate, "a", rows).coordinate, points.coordinate)
    assert len(points_on_line(surrogate, "alpha", rows).coordinate) == 0
    # All three lie on the plane of two lengths.
    plane = points_on_plane(surrogate, ("c", "a"), rows)
    edge = np.linalg.norm(surrogate.crystal.cell[0])
    np.testing.assert_allclose(plane.coordinate, [[0.94 * edge, edge], [1.03 * edge, edge], [0.94 * edge, 1.1 * edge]])


def test_lines_from_another_start(surrogate: Surrogate, srtio3_dataset: Dataset) -> None:
    start = 1.01 * surrogate.crystal.cell
    rows = replace(srtio3_dataset.subset(np.arange(1)), cells=start[None] @ np.diag([1.0, 1.0, 1.05]))
    assert len(points_on_line(surrogate, "zz", rows).coordinate) == 0
    assert points_on_line(surrogate, "zz", rows, start=start).coordinate == pytest.approx([0.05])


def test_shipped_scans_lie_on_the_lines_of_a_model_of_the_pool(surrogate: Surrogate) -> None:
    rows = Dataset.read(srtio3(), select="set=scan_alpha", reference=surrogate.crystal)
    angles = points_on_line(surrogate, "alpha", rows).coordinate
    # As they stand: 78° and 102° are images of each other, and each stays where it is.
    np.testing.assert_allclose(angles, np.linspace(78, 102, 17))
