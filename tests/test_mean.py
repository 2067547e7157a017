import numpy as np
import pytest
from ase.build import bulk

from ase_dkl import Crystal
from ase_dkl.arrays import Floats
from ase_dkl.crystal.lattice import strained
from ase_dkl.model.mean import MEANS, Constant, Cubic, Mean
from ase_dkl.model.space import Lattice


def cells(n: int = 6) -> Floats:
    return 4 * np.eye(3) + 0.3 * np.random.default_rng(0).standard_normal((n, 3, 3))


@pytest.fixture(scope="module")
def space() -> Lattice:
    return Lattice.of(Crystal.from_atoms(bulk("Cu", cubic=True)), cells())


@pytest.fixture(scope="module", params=MEANS)
def mean(request: pytest.FixtureRequest, space: Lattice) -> Mean:
    return MEANS[request.param](space)


def test_slopes_are_those_of_the_values(space: Lattice, mean: Mean) -> None:
    some = cells(2)
    functions = mean.functions(space.seen_along_all(some))
    slopes = functions[2:].reshape(2, 6, -1)
    step = 1e-5
    for j in range(6):
        strain = step * np.eye(6)[j]
        ahead, behind = (mean.functions(space.seen(strained(some, s * strain))) for s in (1, -1))
        # Differences lose about half of sixteen digits.
        assert slopes[:, j] == pytest.approx((ahead - behind) / (2 * step), rel=1e-6, abs=1e-6)


def test_slopes_of_some_points_along_some_directions_are_parts_of_all(space: Lattice, mean: Mean) -> None:
    some, directions = cells(3), np.random.default_rng(1).normal(size=(2, 4, 6))
    functions = mean.functions(space.seen(some, directions))
    whole = mean.functions(space.seen_along_all(some))
    assert functions[:3] == pytest.approx(whole[:3])
    assert functions[3:].reshape(2, 4, -1) == pytest.approx(directions @ whole[3:].reshape(3, 6, -1)[:2])


def test_functions_are_the_same_for_every_image(space: Lattice, mean: Mean) -> None:
    some = cells(1)
    first, second = (mean.functions(space.seen(each)) for each in (some, some[:, [1, 0, 2]]))
    assert first == pytest.approx(second, abs=1e-11)


def test_the_constant_comes_first_and_the_place_of_the_offset_last(space: Lattice, mean: Mean) -> None:
    functions = mean.functions(space.seen_along_all(cells(2)))
    assert (functions[:2, 0] == 1).all()
    assert not functions[2:, 0].any()
    assert not functions[:, -1].any()


def test_independent_functions_are_all_that_there_are(space: Lattice, mean: Mean) -> None:
    independent = mean.independent(cells())
    assert independent.T @ independent == pytest.approx(np.eye(independent.shape[1]), abs=1e-9)
    functions = mean.functions(space.seen(cells()))[:, :-1]
    assert functions @ independent @ independent.T == pytest.approx(functions, abs=1e-6)


def test_a_cubic_polynomial_has_every_monomial(space: Lattice) -> None:
    assert Cubic(space).functions(space.seen(cells())).shape == (6, 1 + 6 + 21 + 56 + 1)


def test_a_constant_mean_has_no_slope(space: Lattice) -> None:
    functions = Constant(space).functions(space.seen_along_all(cells(2)))
    assert functions.shape == (2 + 12, 2)
    assert not functions[2:].any()
