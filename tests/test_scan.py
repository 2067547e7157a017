import numpy as np
import pytest

from ase_dkl import Surrogate
from ase_dkl.crystal.lattice import strained
from ase_dkl.mechanics.scan import BadScan, scan_along, scan_path


def test_scan_predicts_what_the_surrogate_predicts(surrogate: Surrogate) -> None:
    scan = scan_along(surrogate, "b", [-0.05, 0.0, 0.4])
    np.testing.assert_array_equal(scan.prediction.energy, surrogate.predict_cells(scan.cells).energy)
    assert scan.coordinate[1] == pytest.approx(np.linalg.norm(surrogate.crystal.cell[1]))
    assert scan.outside.tolist() == [False, False, True]


def test_stress_along_a_strain_is_the_slope_of_the_energy(surrogate: Surrogate) -> None:
    step = 1e-4
    scan = scan_along(surrogate, "xx", [-step, 0.0, step])
    slope = (scan.energy[2] - scan.energy[0]) / (2 * step)
    assert scan.stress is not None
    assert scan.stress[1, 0] * np.linalg.det(scan.cells[1]) == pytest.approx(slope, abs=2e-5)


def test_columns_of_a_line(surrogate: Surrogate) -> None:
    table = scan_along(surrogate, "alpha", [-1.0, 1.0], stress=False).table()
    assert list(table) == ["alpha_deg", "offset_deg", "energy_eV", "energy_uncertainty_eV", "outside_domain"]
    np.testing.assert_allclose(table["alpha_deg"], [89, 91])
    assert list(scan_along(surrogate, "xx=1,yy=1", [0.0, 0.01]).table())[:2] == ["amplitude", "offset"]


def test_a_path_is_the_strains_one_gives(surrogate: Surrogate) -> None:
    strains = np.zeros((3, 6))
    strains[1] = [0.03, 0, 0, 0, 0, 0]
    strains[2] = [0.03, 0.04, 0, 0, 0, 0.02]
    scan = scan_path(surrogate, strains)
    expected = strained(np.stack([surrogate.crystal.cell] * 3), strains)
    np.testing.assert_allclose(scan.cells, expected, atol=1e-12)
    np.testing.assert_array_equal(scan.energy, surrogate.predict_cells(expected).energy)
    # Steps are norms of matrices: the shear's two elements are half of it each.
    np.testing.assert_allclose(scan.coordinate, [0, 0.03, 0.03 + np.sqrt(0.04**2 + 2 * 0.01**2)])
    assert list(scan.table())[:3] == ["path_length", "strain_xx", "strain_yy"]
    np.testing.assert_array_equal(scan.table()["strain_xy"], strains[:, 5])


def test_a_straight_path_is_a_direction(surrogate: Surrogate) -> None:
    direction, amplitudes = np.array([1, -0.5, 0, 0, 0, 0.2]), np.linspace(-0.05, 0.05, 5)
    start = 1.01 * surrogate.crystal.cell
    along = scan_along(surrogate, direction, amplitudes, start=start)
    path = scan_path(surrogate, amplitudes[:, None] * direction, start=start)
    np.testing.assert_allclose(path.energy, along.energy, atol=1e-10)
    np.testing.assert_allclose(along.cells[2], start, atol=1e-12)


@pytest.mark.parametrize("offsets", [[], 0.1, [[0.0, 0.1]], [0.0, np.inf]])
def test_offsets_that_make_no_line_are_refused(surrogate: Surrogate, offsets: object) -> None:
    with pytest.raises(BadScan, match="Offsets of a scan"):
        scan_along(surrogate, "a", np.array(offsets))


@pytest.mark.parametrize(
    ("strains", "words"),
    [
        (np.zeros((0, 6)), "at least one point"),
        (np.zeros((3, 3)), r"shape \(3, 3\)"),
        (np.full((2, 6), np.nan), "finite"),
        ([[0.0] * 6, [-1.5, 0, 0, 0, 0, 0]], "no lattice at point 1 of the path, at a strain of xx=-1.5"),
    ],
)
def test_paths_that_are_none_are_refused(surrogate: Surrogate, strains: object, words: str) -> None:
    with pytest.raises(BadScan, match=words):
        scan_path(surrogate, np.array(strains))
