from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ase_dkl import Dataset
from ase_dkl.benchmark.methods import BadMethod, Method, Model, Settings, method
from ase_dkl.benchmark.methods.search import search


@pytest.fixture(scope="module")
def rows(srtio3_dataset: Dataset) -> Dataset:
    return srtio3_dataset.subset(np.arange(18))


def polynomial(grid: Mapping[str, tuple[Any, ...]], **defaults: Any) -> Method:
    found = method("polynomial")
    return replace(found, defaults={**found.defaults, **defaults}, grid=grid)


def test_finds_the_better_of_two(rows: Dataset) -> None:
    """A cubic polynomial of energies alone is better than a plane, whichever is the default."""
    for default in (1, 3):
        found = search(polynomial({"degree": (1, 3)}, degree=default), rows, budget=2, seed=0)
        assert found == {"degree": 3, "decay": 0.1, "symmetry": True, "stress": True}


def test_a_budget_of_one_is_the_default(rows: Dataset) -> None:
    assert search(polynomial({"degree": (1, 3)}, degree=1), rows, budget=1, seed=0)["degree"] == 1


def test_tries_as_many_as_it_may_and_none_twice(rows: Dataset) -> None:
    tried = []
    found = method("polynomial")

    def fit(dataset: Dataset, settings: Settings, seed: int) -> Model:
        tried.append((settings["degree"], settings["decay"]))
        return found.fit(dataset, settings, seed)

    grid = {"degree": (1, 2), "decay": (0.1, 0.5, 1.0)}
    search(replace(polynomial(grid, degree=2), fit=fit), rows, budget=4, folds=2, seed=0)
    assert len(tried) == 8
    assert tried[0] == (2, 0.1)
    assert len(set(tried)) == 4
    tried.clear()
    search(replace(polynomial(grid, degree=2), fit=fit), rows, budget=40, folds=2, seed=0)
    assert len(set(tried)) == 6


def test_a_failed_fit_is_the_worst(rows: Dataset) -> None:
    found = method("polynomial")

    def fit(dataset: Dataset, settings: Settings, seed: int) -> Model:
        if settings["degree"] == 3:
            raise RuntimeError("no luck")
        return found.fit(dataset, settings, seed)

    method_that_fails = replace(polynomial({"degree": (1, 3)}, degree=3), fit=fit)
    assert search(method_that_fails, rows, budget=2, seed=0)["degree"] == 1


def test_mistakes_are_not_failed_fits(rows: Dataset) -> None:
    with pytest.raises(BadMethod, match="cannot be fitted"):
        search(polynomial({"degree": (0, 1)}, degree=1), rows, budget=2, seed=0)


@pytest.mark.parametrize(("budget", "folds"), [(0, 3), (4, 1), (4, 19)])
def test_refuses_what_is_no_search(rows: Dataset, budget: int, folds: int) -> None:
    with pytest.raises(BadMethod, match="A search with"):
        search(polynomial({"degree": (1, 3)}), rows, budget=budget, folds=folds, seed=0)


def test_rows_of_energies_alone(rows: Dataset) -> None:
    found = search(polynomial({"degree": (1, 2)}, degree=1), rows.without_stresses(), budget=2, seed=0)
    assert found["degree"] == 2
