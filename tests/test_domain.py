import numpy as np
import pytest

from ase_dkl.crystal.lattice import KINDS
from ase_dkl.model.domain import Domain


def domain(n: int = 200) -> tuple[Domain, np.ndarray]:
    """Points of a unit cube in six dimensions, with the exchange of a and b as the one symmetry."""
    points = np.random.default_rng(0).uniform(-1, 1, (n, 6))
    exchanged = points[:, [1, 0, 2, 4, 3, 5]]
    coordinates = np.stack([points, exchanged], axis=1)
    return Domain(
        np.array_split(coordinates, 3), np.array([0.1, 0.1, 0.1, 2.0, 2.0, 2.0]), KINDS[3].parameters
    ), coordinates


def test_training_points_are_inside() -> None:
    region, coordinates = domain()
    judged = region.judge(coordinates)
    assert not judged.outside.any()
    assert judged.distance == pytest.approx(0)


def test_an_image_of_a_training_point_is_that_point() -> None:
    region, coordinates = domain()
    assert region.judge(coordinates[:, ::-1]).distance == pytest.approx(0)


def test_beyond_the_range_in_one_parameter() -> None:
    region, coordinates = domain()
    point = np.zeros((1, 2, 6))
    point[:, :, 3:5] = [[2.0, 0.0], [0.0, 2.0]]
    judged = region.judge(point)
    assert judged.outside[0]
    beyond = 2 * (2.0 - coordinates[..., 3].max() - 0.02 * np.ptp(coordinates[..., 3]))
    assert f"alpha is {beyond:.3g} ° beyond the training range" in judged.describe(0)
    assert "beta" not in judged.describe(0)


def test_a_lattice_whose_image_alone_is_beyond_is_told_by_that_image() -> None:
    region, coordinates = domain()
    point = coordinates[:1].copy()
    point[0, 1, 2] = 3.0
    judged = region.judge(point)
    assert judged.outside[0]
    assert "c is " in judged.describe(0)
    assert "Å beyond" in judged.describe(0)


def test_a_hole_in_the_data_is_far() -> None:
    grid = np.array(np.meshgrid(*[np.linspace(-1, 1, 5)] * 3)).reshape(3, -1).T
    shell = grid[np.abs(grid).max(axis=1) == 1]
    region = Domain([shell[:, None]], np.ones(3), KINDS[2].parameters)
    judged = region.judge(np.zeros((1, 1, 3)))
    assert not judged.outside_range[0]
    assert judged.far[0]
    assert "the nearest training lattice is 1 standard deviations away" in judged.describe(0)


def test_two_images_of_one_lattice_are_no_gap() -> None:
    """Nearly symmetric lattices: their images are near themselves, and the gaps are those between lattices."""
    points = np.linspace(0, 1, 11)[:, None] * np.ones(6)
    coordinates = np.stack([points, points + 1e-3], axis=1)
    region = Domain(np.array_split(coordinates, 3), np.ones(6), KINDS[3].parameters)
    assert region.reach == pytest.approx(1.5 * 0.1 * np.sqrt(6), rel=0.05)


def test_rows_that_are_images_of_each_other_are_no_gap() -> None:
    """As in the usual set of strains of a cubic crystal, whose rows come in three copies."""
    points = np.linspace(-1, 1, 11)[:, None] * np.eye(3)[0]
    rows = np.concatenate([np.roll(points, by, axis=1) for by in range(3)])
    noise = 1e-5 * np.random.default_rng(0).normal(size=rows.shape)
    images = np.stack([np.roll(rows + noise, by, axis=1) for by in range(3)], axis=1)
    region = Domain([images], np.ones(3), KINDS[2].parameters)
    assert region.reach == pytest.approx(1.5 * 0.2, rel=1e-3)
    assert not region.judge(np.full((1, 3, 3), 0.1)).outside[0]
