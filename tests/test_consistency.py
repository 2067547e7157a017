import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ase_dkl.dataset.consistency import (
    SAME_LATTICE,
    check_repeats,
    energy_groups,
    repeated_lattices,
)

IDENTITY = np.eye(3, dtype=int)[None]
CYCLIC = np.array([np.roll(np.eye(3, dtype=int), shift, axis=0) for shift in range(3)])
ALL = (0, 1, 2)


@pytest.fixture
def cells() -> np.ndarray:
    rng = np.random.default_rng(3)
    return np.asarray(4 * np.eye(3) + rng.uniform(-0.3, 0.3, (12, 3, 3)))


def test_lattices_are_repeated_only_where_they_are(cells: np.ndarray) -> None:
    assert repeated_lattices(cells, np.zeros(12), CYCLIC, ALL) == []


def test_rotations_images_and_rounding_make_repeats(cells: np.ndarray) -> None:
    turned = Rotation.from_euler("xyz", [10, 20, 30], degrees=True).as_matrix()
    cells[5] = cells[2] @ turned
    cells[9] = CYCLIC[1] @ cells[2] + 1e-7
    groups = repeated_lattices(cells, -np.arange(12.0), CYCLIC, ALL)
    assert [group.tolist() for group in groups] == [[9, 5, 2]]
    groups = repeated_lattices(cells, np.arange(12.0), IDENTITY, ALL)
    assert [group.tolist() for group in groups] == [[2, 5]]


@pytest.mark.parametrize(("strain", "repeated"), [(0.5 * SAME_LATTICE, True), (3 * SAME_LATTICE, False)])
def test_the_same_lattice_is_so_within_a_strain(cells: np.ndarray, strain: float, repeated: bool) -> None:
    cells[7] = cells[3] * (1 + strain)
    assert bool(repeated_lattices(cells, np.zeros(12), IDENTITY, ALL)) == repeated


def test_the_vacuum_of_a_sheet_makes_no_difference(cells: np.ndarray) -> None:
    cells[4] = cells[1]
    cells[4, 2] *= 2
    assert len(repeated_lattices(cells, np.zeros(12), np.eye(2, dtype=int)[None], (0, 1))) == 1


def repeats_of(energies: list[float]) -> tuple[str | None, str | None]:
    return check_repeats([np.array([0, 1])], np.array([11, 12, 13, 14]), np.array(energies), atoms=2)


def test_repeats_with_one_energy_are_told() -> None:
    problem, warning = repeats_of([0.0, 0.001, 1.0, 2.0])
    assert problem is None
    assert "1 row: 12" in str(warning)


def test_repeats_that_differ_a_little_are_told() -> None:
    problem, warning = repeats_of([0.0, 0.01, 1.0, 2.0])
    assert problem is None
    assert "rows 11 and 12 by 10 meV" in str(warning)


def test_repeats_that_differ_as_much_as_lattices_do_are_refused() -> None:
    problem, warning = repeats_of([0.0, 0.5, 1.0, 2.0])
    assert "different energies: rows 11 and 12 by 500 meV" in str(problem)
    assert warning is None


def test_energies_in_two_groups_are_told() -> None:
    ids = np.arange(10)
    energies = np.linspace(0, 1, 10)
    assert energy_groups(ids, energies) is None
    energies[[3, 6]] += 40
    assert "the smaller is 2 rows: 3, 6" in str(energy_groups(ids, energies))


def test_one_far_row_is_no_group() -> None:
    energies = np.linspace(0, 1, 10)
    energies[4] = 9
    assert energy_groups(np.arange(10), energies) is None
