import warnings
from dataclasses import asdict, fields

import numpy as np
import pytest
from made import cubic, triclinic

from ase_dkl.arrays import Floats
from ase_dkl.mechanics.moduli import Moduli, NotStiff, moduli

CERTAIN = np.zeros((36, 36))


def cubic_covariance(*stds: float) -> Floats:
    """Covariance of independent C11, C12 and C44."""
    directions = [cubic(*row).ravel() for row in np.eye(3)]
    return sum((std**2 * np.outer(each, each) for std, each in zip(stds, directions, strict=True)), start=CERTAIN)


@pytest.mark.parametrize("C", [cubic(168, 121, 75), triclinic(0), triclinic(1)], ids=["copper", "triclinic", "another"])
def test_moduli_are_those_of_pymatgen(C: Floats) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # constants that no crystal class fits
        from pymatgen.analysis.elasticity.elastic import ElasticTensor

        reference = ElasticTensor.from_voigt(C)
    found = moduli(C, CERTAIN)
    np.testing.assert_allclose(found.bulk_modulus_GPa, reference.k_vrh, rtol=1e-10)
    np.testing.assert_allclose(found.bulk_modulus_voigt_GPa, reference.k_voigt, rtol=1e-10)
    np.testing.assert_allclose(found.bulk_modulus_reuss_GPa, reference.k_reuss, rtol=1e-10)
    np.testing.assert_allclose(found.shear_modulus_GPa, reference.g_vrh, rtol=1e-10)
    np.testing.assert_allclose(found.shear_modulus_voigt_GPa, reference.g_voigt, rtol=1e-10)
    np.testing.assert_allclose(found.shear_modulus_reuss_GPa, reference.g_reuss, rtol=1e-10)
    np.testing.assert_allclose(found.young_modulus_GPa, reference.y_mod / 1e9, rtol=1e-10)  # pymatgen's is in Pa
    np.testing.assert_allclose(found.poisson_ratio, reference.homogeneous_poisson, rtol=1e-10)
    np.testing.assert_allclose(found.universal_anisotropy, reference.universal_anisotropy, rtol=1e-10)


def test_an_isotropic_crystal_has_the_moduli_of_its_grains() -> None:
    found = moduli(cubic(200, 80, 60), CERTAIN)
    assert found.bulk_modulus_GPa == pytest.approx(120)
    assert found.shear_modulus_GPa == pytest.approx(60)
    assert found.young_modulus_GPa == pytest.approx(9 * 120 * 60 / 420)
    assert found.poisson_ratio == pytest.approx(80 / 280)
    assert found.universal_anisotropy == pytest.approx(0, abs=1e-12)
    assert not any(value for name, value in asdict(found).items() if name.endswith("_std"))


def test_error_bars_are_the_spread_of_samples() -> None:
    C, rng = triclinic(2), np.random.default_rng(0)
    factor = rng.normal(scale=0.25, size=(6, 6, 5))
    factor = (factor + factor.transpose(1, 0, 2)).reshape(36, 5)
    found = moduli(C, factor @ factor.T)
    samples = [moduli(C + (factor @ z).reshape(6, 6), CERTAIN) for z in rng.normal(size=(4000, 5))]
    for name in (each.name for each in fields(Moduli) if not each.name.endswith("_std")):
        spread = np.std([getattr(sample, name) for sample in samples])
        assert getattr(found, f"{name}_std") == pytest.approx(spread, rel=0.05), name


def test_anisotropy_of_what_seems_isotropic_is_not_certain() -> None:
    # With Zener's ratio A the index is 6/5 (√A − 1/√A)², which has no slope at A = 1.
    C44, std = 60.0, 3.0
    found = moduli(cubic(200, 80, C44), cubic_covariance(0, 0, std))
    assert found.universal_anisotropy == pytest.approx(0, abs=1e-12)
    assert found.universal_anisotropy_std == pytest.approx(np.sqrt(2) * 6 / 5 * (std / C44) ** 2, rel=0.01)


def test_a_crystal_that_gives_way_has_no_moduli() -> None:
    with pytest.raises(NotStiff, match="eigenvalue of -10 GPa"):
        moduli(cubic(80, 90, 50), CERTAIN)
