from collections.abc import Callable

import numpy as np
import pytest

from ase_dkl import (
    Surrogate,
    ThirdOrderConstants,
    elastic_constants,
    pressure_derivatives,
    third_order_constants,
)

Moved = Callable[[Surrogate, float], Surrogate]


@pytest.fixture(scope="module")
def constants(surrogate: Surrogate) -> ThirdOrderConstants:
    return third_order_constants(surrogate)


def test_a_cube_has_six(constants: ThirdOrderConstants) -> None:
    C = constants.C_GPa
    six = [C[place] for place in ((0, 0, 0), (0, 0, 1), (0, 1, 2), (0, 3, 3), (1, 3, 3), (3, 4, 5))]
    different = np.unique(np.abs(C.round(4)))
    assert set(different) == {0.0, *np.abs(np.round(six, 4))}
    for axes in ((1, 0, 2), (2, 1, 0), (0, 2, 1)):
        assert np.transpose(C, axes) == pytest.approx(C, abs=1e-9)


def test_they_say_how_second_order_constants_change_with_pressure(
    surrogate: Surrogate, constants: ThirdOrderConstants
) -> None:
    """Source: G. R. Barsch, Phys. Status Solidi 19, 129 (1967), for cubic crystals."""
    second, third = elastic_constants(surrogate).C_GPa, constants.C_GPa
    C11, C12, C44 = second[0, 0], second[0, 1], second[3, 3]
    threefold = C11 + 2 * C12
    expected = [
        -(2 * C11 + 2 * C12 + third[0, 0, 0] + 2 * third[0, 0, 1]) / threefold,
        -(-C11 - C12 + 2 * third[0, 0, 1] + third[0, 1, 2]) / threefold,
        -(threefold + C44 + third[0, 3, 3] + 2 * third[1, 3, 3]) / threefold,
    ]
    found = pressure_derivatives(surrogate).dC_dP[[0, 0, 3], [0, 1, 3]]
    assert found == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("pressure", [0.0, 10.0])
def test_pressure_derivatives_are_differences_of_constants(surrogate: Surrogate, pressure: float) -> None:
    step = 0.2
    ahead, behind = (elastic_constants(surrogate, pressure_GPa=pressure + by).C_GPa for by in (step, -step))
    found = pressure_derivatives(surrogate, pressure_GPa=pressure).dC_dP
    assert found == pytest.approx((ahead - behind) / (2 * step), rel=1e-3, abs=1e-6)


def test_error_bars_are_those_of_models_that_the_posterior_allows(surrogate: Surrogate, moved: Moved) -> None:
    step = 0.02
    models = [moved(surrogate, by) for by in (0, step, -step)]
    here, ahead, behind = (third_order_constants(model) for model in models)
    change = np.abs(ahead.C_GPa - behind.C_GPa) / (2 * step)
    assert here.C_std_GPa == pytest.approx(change, rel=0.01, abs=0.05)
    slopes = [pressure_derivatives(model) for model in models]
    change = np.abs(slopes[1].dC_dP - slopes[2].dC_dP) / (2 * step)
    assert slopes[0].dC_dP_std == pytest.approx(change, rel=0.01, abs=1e-4)
