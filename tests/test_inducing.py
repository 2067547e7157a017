from typing import get_args

import numpy as np
import pytest

from ase_dkl.model.records import Start
from ase_dkl.training.inducing import LEAST_SPREAD, place


@pytest.mark.parametrize("how", ["fuzzy", "kmeans"])
def test_centres_of_separate_clusters_are_their_means(how: str) -> None:
    rng = np.random.default_rng(0)
    means = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    data = np.concatenate([mean + 0.1 * rng.standard_normal((50, 2)) for mean in means])
    centres = place(how, data, 3, rng)
    distances = np.linalg.norm(centres.points[:, None] - means, axis=2)
    assert (distances.min(axis=0) < 0.1).all()
    assert centres.fuzzifier == (2 if how == "fuzzy" else None)


def test_collapse_in_many_dimensions_is_seen_and_mended() -> None:
    data = np.random.default_rng(1).standard_normal((200, 64))
    centres = place("fuzzy", data, 20, np.random.default_rng(0))
    assert centres.fuzzifier is not None
    assert centres.fuzzifier < 2
    assert np.mean(centres.points.std(axis=0) / data.std(axis=0)) == pytest.approx(centres.spread)
    assert centres.spread > 0.2


def test_random_places_are_different_data() -> None:
    data = np.random.default_rng(1).standard_normal((30, 4))
    points = place("random", data, 20, np.random.default_rng(0)).points
    assert len(np.unique(points, axis=0)) == 20
    assert all((point == data).all(axis=1).any() for point in points)


def test_kmeans_on_fewer_different_data_than_centres() -> None:
    data = np.repeat(np.eye(2), 4, axis=0)
    points = place("kmeans", data, 6, np.random.default_rng(0)).points
    assert {tuple(point) for point in points} == {(1.0, 0.0), (0.0, 1.0)}


def test_centres_spread_with_few_dimensions() -> None:
    data = np.random.default_rng(2).standard_normal((100, 3))
    assert place("fuzzy", data, 20, np.random.default_rng(0)).spread >= LEAST_SPREAD


@pytest.mark.parametrize("how", get_args(Start))
def test_same_generator_same_centres_and_the_global_one_is_left_alone(how: str) -> None:
    data = np.random.default_rng(2).standard_normal((40, 3))
    state = np.random.get_state(legacy=False)["state"]["key"].copy()  # noqa: NPY002
    first, second = (place(how, data, 5, np.random.default_rng(7)).points for _ in range(2))
    assert np.array_equal(first, second)
    assert np.array_equal(state, np.random.get_state(legacy=False)["state"]["key"])  # noqa: NPY002


def test_more_centres_than_data_is_refused() -> None:
    with pytest.raises(ValueError, match="5 inducing points cannot be placed on 3 structures"):
        place("fuzzy", np.zeros((3, 2)), 5, np.random.default_rng(0))
