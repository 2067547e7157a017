from collections.abc import Callable

import numpy as np
import pytest

from ase_dkl import Dataset, Surrogate, TrainConfig, elastic_constants, equilibrium, fit, moduli, mos2, sheet_constants
from ase_dkl.active.target import BadTarget, Target

Moved = Callable[[Surrogate, float], Surrogate]


@pytest.mark.parametrize(("name", "i", "j"), [("C11", 0, 0), ("C12", 0, 1), ("C44", 3, 3)])
def test_elastic_constants(surrogate: Surrogate, name: str, i: int, j: int) -> None:
    found, expected = Target(name, 1).evaluate(surrogate), elastic_constants(surrogate)
    assert found.value == pytest.approx(expected.C_GPa[i, j])
    assert found.std == pytest.approx(expected.C_std_GPa[i, j])
    assert found.unit == "GPa"


def test_bulk_modulus(surrogate: Surrogate) -> None:
    found, elastic = Target("B0", 1).evaluate(surrogate), elastic_constants(surrogate)
    expected = moduli(elastic.C_GPa, elastic.covariance)
    assert found.value == pytest.approx(expected.bulk_modulus_reuss_GPa)
    assert found.std == pytest.approx(expected.bulk_modulus_reuss_GPa_std, rel=1e-4)


def test_lattice(surrogate: Surrogate) -> None:
    expected = equilibrium(surrogate)
    volume, length = Target("V0", 1).evaluate(surrogate), Target("a", 1).evaluate(surrogate)
    assert (volume.value, volume.std) == pytest.approx((expected.volume, expected.volume_std))
    std = expected.lattice_parameters_std[0]
    assert (length.value, length.std) == pytest.approx((expected.lattice_parameters[0], std))
    assert (volume.unit, length.unit) == ("Å³", "Å")


@pytest.mark.parametrize("name", ["C11", "C44", "B0", "V0", "a"])
def test_the_linear_form_is_how_the_property_moves_with_the_model(
    surrogate: Surrogate, moved: Moved, name: str
) -> None:
    target = Target(name, 1)
    here = target.evaluate(surrogate)
    step = 0.02
    ahead, behind = moved(surrogate, step), moved(surrogate, -step)
    of_slopes = here.linear.mean(ahead)[0] - here.linear.mean(behind)[0]
    of_property = target.evaluate(ahead).value - target.evaluate(behind).value
    assert of_slopes == pytest.approx(of_property, rel=5e-3)


def test_sheets() -> None:
    dataset = Dataset.read(mos2(), select="set=pool")
    model = fit(dataset, TrainConfig(networks=1, steps=60), progress=False)
    expected = sheet_constants(model)
    found = Target("C11", 1).evaluate(model)
    assert found.value == pytest.approx(expected.C_N_per_m[0, 0])
    assert found.unit == "N/m"
    assert found.std == pytest.approx(expected.C_std_N_per_m[0, 0])
    assert Target("C66", 1).evaluate(model).value == pytest.approx(expected.C_N_per_m[2, 2])
    assert Target("A0", 1).evaluate(model).unit == "Å²"
    with pytest.raises(
        BadTarget, match=r"V0 is no property .* Choose one of C11, C12, C16, C22, C26, C66, A0, a, b, gamma"
    ):
        Target("V0", 1).evaluate(model)


@pytest.mark.parametrize("name", ["C77", "C21", "bulk", "", "A0"])
def test_no_such_property(surrogate: Surrogate, name: str) -> None:
    with pytest.raises(BadTarget, match="is no property that a campaign can aim at for SrTiO3"):
        Target(name, 1).check(surrogate.crystal)


@pytest.mark.parametrize("tolerance", [0, -1, np.nan, np.inf])
def test_bad_tolerance(tolerance: float) -> None:
    with pytest.raises(BadTarget, match="positive number"):
        Target("C11", tolerance)
