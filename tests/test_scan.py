from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk, graphene
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core.lattice import Lattice

from ase_dkl import Crystal, Dataset, Surrogate, srtio3
from ase_dkl.arrays import Floats
from ase_dkl.mechanics.scan import (
    ALONG,
    ANGLES,
    LENGTHS,
    BadScan,
    coordinate,
    points_on_line,
    rows_on_line,
    scan_along,
    scan_cells,
)


@pytest.fixture(scope="module")
def hexagonal() -> Crystal:
    return Crystal.from_atoms(bulk("Zn", "hcp", a=2.66, c=4.95))


@pytest.fixture(scope="module")
def cubic() -> Crystal:
    return Crystal.from_atoms(bulk("Cu", cubic=True))


@pytest.mark.parametrize("along", [*LENGTHS, *ANGLES])
def test_only_the_scanned_lattice_parameter_changes(hexagonal: Crystal, along: str) -> None:
    names = [*LENGTHS, *ANGLES]
    (cell,) = scan_cells(hexagonal, along, np.array([0.05]))
    expected = np.array(Lattice(hexagonal.cell).parameters)
    expected[names.index(along)] = (
        expected[names.index(along)] * 1.05 if along in LENGTHS else (expected[names.index(along)] + 0.05)
    )
    np.testing.assert_allclose(Lattice(cell).parameters, expected, atol=1e-10)


@pytest.mark.parametrize("along", ALONG)
def test_cells_are_strained_without_rotation(hexagonal: Crystal, along: str) -> None:
    deformation = np.linalg.inv(hexagonal.cell) @ scan_cells(hexagonal, along, np.array([-0.03, 0.0, 0.04]))
    np.testing.assert_allclose(deformation, deformation.mT, atol=1e-12)
    np.testing.assert_allclose(deformation[1], np.eye(3), atol=1e-12)


def test_volume_is_scaled_isotropically(hexagonal: Crystal) -> None:
    (cell,) = scan_cells(hexagonal, "volume", np.array([0.331]))
    np.testing.assert_allclose(cell, hexagonal.cell * 1.1, atol=1e-3)
    assert np.linalg.det(cell) == pytest.approx(1.331 * np.linalg.det(hexagonal.cell))


def test_shears_are_engineering(cubic: Crystal) -> None:
    (cell,) = scan_cells(cubic, "yz", np.array([0.02]))
    assert (np.linalg.inv(cubic.cell) @ cell)[1, 2] == pytest.approx(0.01)


@settings(max_examples=40, deadline=None)
@given(along=st.sampled_from(ALONG), offset=st.floats(-0.08, 0.08), seed=st.integers(0, 99))
def test_rows_on_the_line_are_found_rotated_and_relabelled(along: str, offset: float, seed: int) -> None:
    crystal = Crystal.from_atoms(bulk("Zn", "hcp", a=2.66, c=4.95))
    offset *= 100 if along in ANGLES else 1
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    rotation *= np.linalg.det(rotation)
    (cell,) = scan_cells(crystal, along, np.array([offset]))
    image = crystal.images[rng.integers(len(crystal.images))]
    image = image * round(np.linalg.det(image))
    indices, offsets = rows_on_line(crystal, along, (image @ cell @ rotation)[None], 1e-6)
    assert indices.tolist() == [0]
    (found,) = scan_cells(crystal, along, offsets)
    # The image found may be another one of the same lattice, e.g. with the angle on the other side.
    metrics = crystal.images @ (found @ found.T) @ crystal.images.mT
    assert np.abs(metrics - cell @ cell.T).max(axis=(1, 2)).min() < 1e-5


def test_rows_off_the_line_are_not_found(hexagonal: Crystal) -> None:
    cells = scan_cells(hexagonal, "a", np.array([0.0, 0.05])) @ np.diag([1, 1, 1.01])
    assert rows_on_line(hexagonal, "a", cells, 2e-3)[0].size == 0
    assert rows_on_line(hexagonal, "a", cells, 2e-2)[0].tolist() == [0, 1]


def test_the_vacuum_of_a_sheet_is_no_part_of_the_line() -> None:
    sheet = Crystal.from_atoms(graphene(vacuum=5.0))
    cells = scan_cells(sheet, "gamma", np.array([-3.0, 2.0]))
    cells[:, 2, 2] *= 1.5
    _, offsets = rows_on_line(sheet, "gamma", cells, 1e-6)
    np.testing.assert_allclose(offsets, [-3.0, 2.0], atol=1e-8)
    with pytest.raises(BadScan, match="not periodic along c"):
        scan_cells(sheet, "c", np.array([0.1]))


@pytest.mark.parametrize(
    ("along", "offset"), [("a", -1.0), ("volume", -1.2), ("alpha", 95.0), ("xx", -1.0), ("xy", 2.5)]
)
def test_scans_through_no_lattice_are_refused(cubic: Crystal, along: str, offset: float) -> None:
    with pytest.raises(BadScan, match=f"no lattice at an offset of {offset:g} along {along}"):
        scan_cells(cubic, along, np.array([0.0, offset]))


def test_unknown_directions_are_refused(cubic: Crystal) -> None:
    with pytest.raises(BadScan, match="'d' is none of them"):
        scan_cells(cubic, "d", np.array([0.1]))


def test_rows_beyond_every_lattice_of_the_line_are_not_on_it() -> None:
    # With the primitive cell's other angles at 60°, alpha ends at 120°.
    crystal = Crystal.from_atoms(bulk("Cu"))
    wide: Floats = 2.55 * np.linalg.cholesky(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, -0.6], [0.0, -0.6, 1.0]]))
    assert rows_on_line(crystal, "alpha", wide[None], 1e-2)[0].size == 0


def test_scan_predicts_what_the_surrogate_predicts(surrogate: Surrogate) -> None:
    scan = scan_along(surrogate, "b", [-0.05, 0.0, 0.4])
    np.testing.assert_array_equal(scan.prediction.energy, surrogate.predict_cells(scan.cells).energy)
    assert scan.coordinate[1] == pytest.approx(np.linalg.norm(surrogate.crystal.cell[1]))
    assert scan.outside.tolist() == [False, False, True]


def test_stress_along_a_strain_is_the_slope_of_the_energy(surrogate: Surrogate) -> None:
    step = 1e-4
    scan = scan_along(surrogate, "xx", [-step, 0.0, step])
    slope = (scan.prediction.energy[2] - scan.prediction.energy[0]) / (2 * step)
    assert scan.prediction.stress is not None
    assert scan.prediction.stress[1, 0] * np.linalg.det(scan.cells[1]) == pytest.approx(slope, abs=2e-5)


def test_points_are_the_labels_of_the_line(surrogate: Surrogate, srtio3_dataset: Dataset) -> None:
    offsets = np.array([-0.06, 0.03])
    cells = scan_cells(surrogate.crystal, "c", offsets)
    strained = cells[0] @ np.diag([1.1, 1.0, 1.0])
    rows = replace(srtio3_dataset.subset(np.arange(3)), cells=np.array([*cells, strained]))
    points = points_on_line(surrogate, "c", rows)
    np.testing.assert_allclose(points.coordinate, coordinate(surrogate.crystal, "c", offsets))
    np.testing.assert_array_equal(points.energies, rows.energies[:2])
    np.testing.assert_allclose(points.errors, surrogate.predict_cells(cells).energy - rows.energies[:2])
    # The cubic axes are alike: what is stretched along c lies, relabelled, on the line of a.
    np.testing.assert_allclose(points_on_line(surrogate, "a", rows).coordinate, points.coordinate)
    assert len(points_on_line(surrogate, "alpha", rows).coordinate) == 0


def test_shipped_scans_lie_on_the_lines_of_a_model_of_the_pool(surrogate: Surrogate) -> None:
    rows = Dataset.read(srtio3(), select="set=scan_alpha", reference=surrogate.crystal)
    angles = points_on_line(surrogate, "alpha", rows).coordinate
    # As they stand: 78° and 102° are images of each other, and each stays where it is.
    np.testing.assert_allclose(angles, np.linspace(78, 102, 17))
