import numpy as np
import pytest
from ase.build import bulk, graphene
from pymatgen.core.lattice import Lattice

from ase_dkl import Crystal
from ase_dkl.arrays import Floats
from ase_dkl.crystal.lattice import strained
from ase_dkl.mechanics.along import path_along
from ase_dkl.mechanics.paths import ALONG, ANGLES, LENGTHS, PARAMETERS, BadScan

NAMES = [*LENGTHS, *ANGLES]
BULK = [name for name in ALONG if name != "area"]


@pytest.fixture(scope="module")
def hexagonal() -> Crystal:
    return Crystal.from_atoms(bulk("Zn", "hcp", a=2.66, c=4.95))


@pytest.fixture(scope="module")
def cubic() -> Crystal:
    return Crystal.from_atoms(bulk("Cu", cubic=True))


@pytest.fixture(scope="module")
def sheet() -> Crystal:
    return Crystal.from_atoms(graphene(vacuum=5.0))


def cells(crystal: Crystal, along: str | tuple[str, ...], offsets: object, start: Floats | None = None) -> Floats:
    names = (along,) if isinstance(along, str) else along
    return path_along(crystal, names, start).cells(np.asarray(offsets, dtype=float).reshape(-1, len(names)))


@pytest.mark.parametrize("along", NAMES)
def test_only_the_scanned_lattice_parameter_changes(hexagonal: Crystal, along: str) -> None:
    (cell,) = cells(hexagonal, along, 0.05)
    expected = np.array(Lattice(hexagonal.cell).parameters)
    axis = NAMES.index(along)
    expected[axis] = expected[axis] * 1.05 if along in LENGTHS else expected[axis] + 0.05
    np.testing.assert_allclose(Lattice(cell).parameters, expected, atol=1e-10)


@pytest.mark.parametrize("along", BULK)
def test_cells_are_strained_without_rotation(hexagonal: Crystal, along: str) -> None:
    deformation = np.linalg.inv(hexagonal.cell) @ cells(hexagonal, along, [-0.03, 0.0, 0.04])
    np.testing.assert_allclose(deformation, deformation.mT, atol=1e-12)
    np.testing.assert_allclose(deformation[1], np.eye(3), atol=1e-12)


def test_volume_is_scaled_isotropically(hexagonal: Crystal) -> None:
    (cell,) = cells(hexagonal, "volume", 0.331)
    np.testing.assert_allclose(cell, hexagonal.cell * 1.1, atol=1e-9)


def test_shears_are_engineering(cubic: Crystal) -> None:
    (cell,) = cells(cubic, "yz", 0.02)
    assert (np.linalg.inv(cubic.cell) @ cell)[1, 2] == pytest.approx(0.01)


def test_directions_are_strains_times_amplitudes(hexagonal: Crystal) -> None:
    made = cells(hexagonal, "xx=1, yy=-0.5,xy=0.2", [-0.1, 0.1])
    strains = np.array([[-1.0], [1.0]]) * [0.1, -0.05, 0, 0, 0, 0.02]
    np.testing.assert_allclose(made, strained(np.stack([hexagonal.cell] * 2), strains), atol=1e-12)


def test_two_strains_are_added(cubic: Crystal) -> None:
    (cell,) = cells(cubic, ("xx", "xy"), [0.03, 0.02])
    np.testing.assert_allclose(cell, strained(cubic.cell, np.array([0.03, 0, 0, 0, 0, 0.02])), atol=1e-12)


@pytest.mark.parametrize("along", [("a", "alpha"), ("gamma", "b"), ("beta", "alpha"), ("c", "a")])
def test_two_lattice_parameters_are_both_what_was_asked_for(hexagonal: Crystal, along: tuple[str, str]) -> None:
    (cell,) = cells(hexagonal, along, [0.05, -0.04])
    expected = np.array(Lattice(hexagonal.cell).parameters)
    for name, offset in zip(along, [0.05, -0.04], strict=True):
        axis = NAMES.index(name)
        expected[axis] = expected[axis] * (1 + offset) if name in LENGTHS else expected[axis] + offset
    np.testing.assert_allclose(Lattice(cell).parameters, expected, atol=1e-10)


def test_volume_with_a_length_scales_the_others_alike(hexagonal: Crystal) -> None:
    (cell,) = cells(hexagonal, ("volume", "c"), [0.1, -0.05])
    a, b, c, *angles = np.array(Lattice(cell).parameters)
    before = np.array(Lattice(hexagonal.cell).parameters)
    assert np.linalg.det(cell) == pytest.approx(1.1 * np.linalg.det(hexagonal.cell))
    assert c == pytest.approx(0.95 * before[2])
    assert a == pytest.approx(b)
    np.testing.assert_allclose(angles, before[3:], atol=1e-9)


def test_volume_with_an_angle_scales_all_lengths(hexagonal: Crystal) -> None:
    (cell,) = cells(hexagonal, ("gamma", "volume"), [-5, 0.1])
    assert np.linalg.det(cell) == pytest.approx(1.1 * np.linalg.det(hexagonal.cell))
    assert Lattice(cell).gamma == pytest.approx(115)
    assert Lattice(cell).c / Lattice(cell).a == pytest.approx(4.95 / 2.66)


@pytest.mark.parametrize("along", [*((name,) for name in BULK), ("a", "gamma"), ("volume", "b"), ("xx", "yz=1,zz=2")])
def test_offsets_are_found_again_from_the_lattices(hexagonal: Crystal, along: tuple[str, ...]) -> None:
    path = path_along(hexagonal, along)
    offsets = np.array([[0.03, -0.02], [0.0, 0.0], [-0.04, 0.05]])[:, : len(along)]
    made = path.cells(offsets)
    np.testing.assert_allclose(path.offsets(made @ made.mT), offsets, atol=1e-8)


def test_another_start_takes_the_place_of_the_reference(cubic: Crystal) -> None:
    start = 1.02 * cubic.cell @ np.diag([1.0, 1.1, 1.0])
    np.testing.assert_allclose(cells(cubic, "a", 0.0, start)[0], start, atol=1e-12)
    (longer,) = cells(cubic, "b", 0.1, start)
    np.testing.assert_allclose(longer, start @ np.diag([1.0, 1.1, 1.0]), atol=1e-12)
    path = path_along(cubic, ["volume"], start)
    assert path.coordinates(np.array([[0.5]]))[0, 0] == pytest.approx(1.5 * np.linalg.det(start))


class TestSheets:
    def test_area_scales_the_plane_and_no_vacuum(self, sheet: Crystal) -> None:
        (cell,) = cells(sheet, "area", 0.21)
        np.testing.assert_allclose(cell[:2], 1.1 * sheet.cell[:2], atol=1e-12)
        np.testing.assert_array_equal(cell[2], sheet.cell[2])
        area = np.linalg.norm(np.cross(*sheet.cell[:2]))
        path = path_along(sheet, ["area"])
        assert path.coordinates(np.array([[0.21]]))[0, 0] == pytest.approx(1.21 * area)

    @pytest.mark.parametrize("along", ["a", "gamma", "area", "xx", "xy", "xx=1,yy=-1"])
    def test_a_zero_vacuum_vector_is_no_obstacle(self, sheet: Crystal, along: str) -> None:
        atoms = sheet.atoms()
        atoms.cell[2] = 0
        without = Crystal.from_atoms(atoms)
        np.testing.assert_allclose(cells(without, along, 0.02)[:, :2], cells(sheet, along, 0.02)[:, :2], atol=1e-12)
        np.testing.assert_array_equal(cells(without, along, 0.02)[0, 2], 0)

    def test_in_any_orientation(self, sheet: Crystal) -> None:
        # The sheet of the xz plane, its vacuum along y.
        standing = Crystal.from_atoms(graphene(vacuum=5.0))
        turn = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
        start = sheet.cell @ turn
        np.testing.assert_allclose(cells(standing, "zz", 0.02, start), cells(sheet, "yy", 0.02) @ turn, atol=1e-12)
        with pytest.raises(BadScan, match="yy=1 reaches into the vacuum"):
            cells(standing, "yy", 0.02, start)


@pytest.mark.parametrize(
    ("along", "offset"), [("a", -1.0), ("volume", -1.2), ("alpha", 95.0), ("xx", -1.0), ("xy", 2.5), ("xx=2", -0.5)]
)
def test_scans_through_no_lattice_are_refused(cubic: Crystal, along: str, offset: float) -> None:
    with pytest.raises(BadScan, match=f"no lattice at an offset of {offset:g} along {along} from the start"):
        cells(cubic, along, [0.0, offset])


def test_planes_through_no_lattice_are_refused(hexagonal: Crystal) -> None:
    with pytest.raises(BadScan, match="an offset of 65 along alpha and an offset of 0 along gamma"):
        cells(hexagonal, ("alpha", "gamma"), [[5.0, 0.0], [65.0, 0.0]])
    # Alone, such an alpha would not close with the other angles; with this gamma it does.
    (cell,) = cells(hexagonal, ("alpha", "gamma"), [65.0, -40.0])
    assert Lattice(cell).alpha == pytest.approx(155)


def test_offsets_are_numbers(cubic: Crystal) -> None:
    with pytest.raises(BadScan, match="not finite"):
        cells(cubic, "a", [0.0, np.nan])


def test_names_are_each_of_one_kind() -> None:
    assert len(set(ALONG)) == len(ALONG)
    assert set(PARAMETERS) < set(ALONG)
