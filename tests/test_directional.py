import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made import cubic, triclinic
from pymatgen.analysis.elasticity.elastic import ElasticTensor

from ase_dkl.arrays import Floats
from ase_dkl.mechanics.directional import directional_young_modulus, extreme_young_moduli

CERTAIN = np.zeros((36, 36))


def random_directions(n: int) -> Floats:
    return np.random.default_rng(0).normal(size=(n, 3))


@settings(max_examples=30, deadline=None)
@given(C11=st.floats(150, 300), C12=st.floats(20, 120), C44=st.floats(20, 150))
def test_cubic_crystals_follow_the_textbook(C11: float, C12: float, C44: float) -> None:
    unit = random_directions(20)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    S11, S12 = (C11 + C12) / ((C11 - C12) * (C11 + 2 * C12)), -C12 / ((C11 - C12) * (C11 + 2 * C12))
    x, y, z = unit.T**2
    inverse = S11 - 2 * (S11 - S12 - 1 / C44 / 2) * (x * y + y * z + z * x)
    modulus, _ = directional_young_modulus(cubic(C11, C12, C44), CERTAIN, 3 * unit)
    np.testing.assert_allclose(modulus, 1 / inverse, rtol=1e-9)


def test_modulus_is_that_of_pymatgens_compliance() -> None:
    C, directions = triclinic(3), random_directions(5)
    compliance = ElasticTensor.from_voigt(C).compliance_tensor
    unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    expected = 1 / np.einsum("ijkl,ni,nj,nk,nl->n", np.asarray(compliance), unit, unit, unit, unit)
    np.testing.assert_allclose(directional_young_modulus(C, CERTAIN, directions)[0], expected, rtol=1e-9)


def test_error_bars_are_the_spread_of_samples() -> None:
    C, rng = triclinic(3), np.random.default_rng(0)
    factor = rng.normal(scale=0.25, size=(6, 6, 5))
    factor = (factor + factor.transpose(1, 0, 2)).reshape(36, 5)
    directions = random_directions(4)
    _, std = directional_young_modulus(C, factor @ factor.T, directions)
    draws = [C + (factor @ z).reshape(6, 6) for z in rng.normal(size=(4000, 5))]
    samples = [directional_young_modulus(draw, CERTAIN, directions)[0] for draw in draws]
    np.testing.assert_allclose(std, np.std(samples, axis=0), rtol=0.05)


def test_directions_may_form_a_grid() -> None:
    modulus, std = directional_young_modulus(cubic(168, 121, 75), CERTAIN, random_directions(6).reshape(2, 3, 3))
    assert modulus.shape == std.shape == (2, 3)


def test_copper_is_stiffest_along_the_diagonal() -> None:
    softest, stiffest = extreme_young_moduli(cubic(168, 121, 75), np.eye(36))
    assert sorted(np.abs(softest.direction)) == pytest.approx([0, 0, 1], abs=1e-9)
    np.testing.assert_allclose(stiffest.direction, 1 / np.sqrt(3), atol=1e-9)
    assert stiffest.young_modulus_GPa > softest.young_modulus_GPa
    expected = directional_young_modulus(cubic(168, 121, 75), np.eye(36), stiffest.direction)
    assert (stiffest.young_modulus_GPa, stiffest.young_modulus_GPa_std) == pytest.approx(expected)


def test_extremes_between_the_axes_are_found() -> None:
    C = triclinic(3)
    moduli, _ = directional_young_modulus(C, CERTAIN, random_directions(200_000))
    softest, stiffest = extreme_young_moduli(C, CERTAIN)
    assert softest.young_modulus_GPa <= moduli.min()
    assert stiffest.young_modulus_GPa >= moduli.max()
    assert softest.young_modulus_GPa == pytest.approx(moduli.min(), rel=1e-4)
    assert stiffest.young_modulus_GPa == pytest.approx(moduli.max(), rel=1e-4)
