from collections.abc import Callable

import numpy as np
import pytest
from ase.units import GPa

from ase_dkl import BadEquilibrium, Equilibrium, ExtrapolationWarning, Surrogate, equilibrium
from ase_dkl.crystal.lattice import strained

Moved = Callable[[Surrogate, float], Surrogate]


@pytest.fixture(scope="module")
def found(surrogate: Surrogate) -> Equilibrium:
    return equilibrium(surrogate)


@pytest.mark.parametrize("pressure", [0.0, 8.0, -3.0])
def test_stress_is_minus_the_pressure(surrogate: Surrogate, pressure: float) -> None:
    prediction = surrogate.predict_cells(equilibrium(surrogate, pressure_GPa=pressure).cell[None])
    assert prediction.stress is not None
    assert prediction.stress[0] / GPa == pytest.approx([-pressure] * 3 + [0] * 3, abs=1e-6)


def test_it_is_srtio3(found: Equilibrium) -> None:
    assert found.names == ("a", "b", "c", "alpha", "beta", "gamma")
    assert found.lattice_parameters == pytest.approx([3.946] * 3 + [90] * 3, abs=2e-3)
    assert found.volume == pytest.approx(found.lattice_parameters[0] ** 3)
    assert found.strains.shape == (1, 6)
    assert not found.outside


def test_without_symmetry_it_is_the_same_from_anywhere(surrogate: Surrogate, found: Equilibrium) -> None:
    start = strained(surrogate.crystal.cell, np.array([0.04, -0.03, 0.02, 0.05, -0.02, 0.03]))
    free = equilibrium(surrogate, symmetric=False, start=start)
    assert free.lattice_parameters == pytest.approx(found.lattice_parameters, abs=1e-8)
    assert free.strains.shape == (6, 6)
    assert free.energy == pytest.approx(found.energy, abs=1e-10)
    assert free.volume_std == pytest.approx(found.volume_std, rel=1e-3)


def test_from_a_tetragonal_start_the_symmetry_that_is_left_is_kept(surrogate: Surrogate) -> None:
    start = strained(surrogate.crystal.cell, np.array([0, 0, 0.03, 0, 0, 0]))
    assert equilibrium(surrogate, start=start).lattice_parameters[2] == pytest.approx(3.946, abs=2e-3)


@pytest.mark.parametrize("pressure", [0.0, 8.0])
def test_error_bars_are_those_of_models_that_the_posterior_allows(
    surrogate: Surrogate, moved: Moved, pressure: float
) -> None:
    here = equilibrium(moved(surrogate, 0), pressure_GPa=pressure)
    step = 0.05
    ahead, behind = (equilibrium(moved(surrogate, by), pressure_GPa=pressure) for by in (step, -step))
    for name in ("energy", "volume"):
        change = abs(getattr(ahead, name) - getattr(behind, name)) / (2 * step)
        assert getattr(here, f"{name}_std") == pytest.approx(change, rel=1e-3)
    change = np.abs(ahead.lattice_parameters - behind.lattice_parameters) / (2 * step)
    assert here.lattice_parameters_std == pytest.approx(change, rel=1e-3, abs=1e-9)


def test_a_cube_has_one_error_bar(found: Equilibrium) -> None:
    std = found.lattice_parameters_std
    assert std[:3] == pytest.approx(std[0])
    assert std[3:] == pytest.approx(0, abs=1e-9)
    assert found.volume_std == pytest.approx(3 * found.lattice_parameters[0] ** 2 * std[0])


def test_a_pressure_beyond_the_data_is_told(surrogate: Surrogate) -> None:
    with pytest.warns(ExtrapolationWarning, match="beyond the training range"):
        assert equilibrium(surrogate, pressure_GPa=130).outside


def test_what_does_not_exist_is_refused(surrogate: Surrogate) -> None:
    with pytest.raises(BadEquilibrium, match=r"No lattice of lowest enthalpy was found at -200 GPa.*a 3\.9"):
        equilibrium(surrogate, pressure_GPa=-200)
