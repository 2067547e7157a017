import numpy as np
import pytest

from ase_dkl import Surrogate
from ase_dkl.mechanics.grid import scan_grid
from ase_dkl.mechanics.paths import BadScan
from ase_dkl.mechanics.scan import scan_along

LENGTHS, ANGLES = np.array([-0.04, 0.0, 0.5]), np.array([-6.0, 0.0])


def test_lines_through_the_start_are_scans(surrogate: Surrogate) -> None:
    grid = scan_grid(surrogate, ("a", "alpha"), (LENGTHS, ANGLES), stress=True)
    a, alpha = scan_along(surrogate, "a", LENGTHS), scan_along(surrogate, "alpha", ANGLES)
    np.testing.assert_allclose(grid.energy[:, 1], a.energy, atol=1e-9)
    np.testing.assert_allclose(grid.energy[1], alpha.energy, atol=1e-9)
    np.testing.assert_allclose(grid.energy_std[1], alpha.energy_std, rtol=1e-5)
    assert grid.stress is not None
    assert alpha.stress is not None
    np.testing.assert_allclose(grid.stress[1], alpha.stress, atol=1e-8)
    np.testing.assert_allclose(grid.coordinates[0], a.coordinate)
    np.testing.assert_allclose(grid.coordinates[1], alpha.coordinate)
    assert grid.outside.tolist() == [[False, False], [False, False], [True, True]]


def test_table_has_a_row_for_each_lattice(surrogate: Surrogate) -> None:
    grid = scan_grid(surrogate, ("a", "alpha"), (LENGTHS, ANGLES))
    assert grid.stress is None
    table = grid.table()
    assert list(table)[:5] == ["a_A", "a_offset", "alpha_deg", "alpha_offset_deg", "energy_eV"]
    np.testing.assert_allclose(table["a_offset"], np.repeat(LENGTHS, 2))
    np.testing.assert_allclose(table["alpha_deg"], 90 + np.tile(ANGLES, 3))
    np.testing.assert_array_equal(table["energy_eV"].reshape(3, 2), grid.energy)


@pytest.mark.parametrize(
    ("along", "names"),
    [
        (("xx", "xy"), ("strain_xx", "strain_xy")),
        (("xx=1,yy=1", "zz"), ("amplitude", "strain_zz")),
        (("xx=1,yy=1", "xx=1,yy=-1"), ("amplitude_1", "amplitude_2")),
    ],
)
def test_strains_are_their_own_offsets(surrogate: Surrogate, along: tuple[str, str], names: tuple[str, str]) -> None:
    grid = scan_grid(surrogate, along, ([0.0, 0.01], [0.0, 0.02]))
    assert grid.coordinate_names == names
    assert list(grid.table()) == [*names, "energy_eV", "energy_uncertainty_eV", "outside_domain"]


def test_grids_start_where_they_are_told(surrogate: Surrogate) -> None:
    start = surrogate.crystal.cell @ np.diag([1.0, 1.02, 1.0])
    grid = scan_grid(surrogate, ("b", "volume"), ([0.0, 0.01], [0.0, 0.02]), start=start)
    np.testing.assert_allclose(grid.cells[0, 0], start, atol=1e-12)
    assert grid.coordinates[0][1] == pytest.approx(1.01 * np.linalg.norm(start[1]))


def test_a_line_is_no_grid(surrogate: Surrogate) -> None:
    with pytest.raises(BadScan, match="this one would have 3 times 1"):
        scan_grid(surrogate, ("a", "b"), (LENGTHS, [0.0]))
