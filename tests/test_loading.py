import numpy as np
import pytest
from ase.build import bulk
from hypothesis import given
from hypothesis import strategies as st

from ase_dkl.mechanics.loading import BadLoading, Shear, Tension

HEXAGONAL = bulk("Zn", "hcp", a=2.66, c=4.95).cell.array
INDEX = st.integers(-3, 3)


@given(direction=st.tuples(INDEX, INDEX, INDEX).filter(any))
def test_the_first_axis_is_the_pull(direction: tuple[int, int, int]) -> None:
    axes = Tension(direction).axes(HEXAGONAL)
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(axes) == pytest.approx(1)
    pull = np.array(direction) @ HEXAGONAL
    assert axes[0] @ pull == pytest.approx(np.linalg.norm(pull))


def test_the_axes_of_a_pull_follow_the_lattice_smoothly() -> None:
    cell = bulk("Cu", cubic=True).cell.array
    for direction in ((0, 0, 1), (1, 1, 0), (1, 1, 1)):
        moved = cell @ (np.eye(3) + 1e-5 * np.random.default_rng(0).normal(size=(3, 3)))
        np.testing.assert_allclose(Tension(direction).axes(moved), Tension(direction).axes(cell), atol=1e-4)


def test_the_axes_of_a_shear_are_its_direction_and_the_normal_of_its_plane() -> None:
    shear = Shear((1, 0, 1), (1, 2, -1))
    direction, _, normal = shear.axes(HEXAGONAL)
    along = np.array(shear.direction) @ HEXAGONAL
    assert direction @ along == pytest.approx(np.linalg.norm(along))
    # Lattice vectors [u v w] with h u + k v + l w = 0 lie in the plane; those above it have a positive sum.
    np.testing.assert_allclose(np.array([[0, 1, 0], [1, 0, -1]]) @ HEXAGONAL @ normal, 0, atol=1e-12)
    assert HEXAGONAL[0] @ normal > 0


@pytest.mark.parametrize(
    ("plane", "direction"), [((0, 0, 1), (0, 0, 1)), ((0, 0, 0), (1, 0, 0)), ((0, 0, 1), (0, 0, 0))]
)
def test_directions_off_the_plane_are_refused(plane: tuple[int, int, int], direction: tuple[int, int, int]) -> None:
    with pytest.raises(BadLoading, match="h u \\+ k v \\+ l w is zero"):
        Shear(plane, direction).axes(HEXAGONAL)


def test_a_pull_without_direction_is_refused() -> None:
    with pytest.raises(BadLoading, match="no direction"):
        Tension((0, 0, 0)).axes(HEXAGONAL)


def test_loadings_have_names() -> None:
    assert str(Tension((1, -1, 0))) == "tension along [1 -1 0]"
    assert str(Shear((1, 1, 1), (1, 1, -2))) == "shear of (1 1 1) along [1 1 -2]"
