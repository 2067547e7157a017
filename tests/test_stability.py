import numpy as np
import pytest
from scipy.stats import norm

from ase_dkl.arrays import Floats
from ase_dkl.mechanics.stability import SAMPLES, smallest_eigenvalue, stability, stable_probability


def cubic(C11: float, C12: float, C44: float) -> Floats:
    C = np.zeros((6, 6))
    C[:3, :3] = C12
    np.fill_diagonal(C, [C11] * 3 + [C44] * 3)
    return C


def shear_covariance(std: float) -> Floats:
    """Of C44 alone."""
    direction = cubic(0, 0, 1).ravel()
    return std**2 * np.outer(direction, direction)


@pytest.mark.parametrize(
    ("C", "eigenvalue"),
    [(cubic(168, 121, 75), 47), (cubic(300, 100, 40), 80), (cubic(100, 120, 75), -20), (cubic(50, -30, 75), -10)],
    ids=["tetragonal shear", "shear", "unstable shear", "unstable volume"],
)
def test_eigenvalues_of_a_cubic_crystal(C: Floats, eigenvalue: float) -> None:
    found = stability(C, np.zeros((36, 36)))
    assert found.smallest_eigenvalue_GPa == pytest.approx(eigenvalue)
    assert smallest_eigenvalue(C) == pytest.approx(eigenvalue)
    assert found.stable_probability == (eigenvalue > 0)
    # Half of εᵀ C ε, twice, for a strain of norm one as a tensor.
    strain = found.softest_strain
    assert strain @ C @ strain == pytest.approx(eigenvalue)
    assert (strain[:3] ** 2).sum() + (strain[3:] ** 2).sum() / 2 == pytest.approx(1)


@pytest.mark.parametrize("sigmas", [-1.0, 0.0, 0.5, 2.0])
def test_probability_is_that_of_the_gaussian(sigmas: float) -> None:
    std = 4.0
    found = stability(cubic(300, 100, sigmas * std), shear_covariance(std))
    assert found.smallest_eigenvalue_GPa_std == pytest.approx(2 * std, rel=0.05)
    assert found.stable_probability == pytest.approx(norm.cdf(sigmas), abs=3 * found.stable_probability_std)
    assert found.stable_probability_std == pytest.approx(np.sqrt(norm.cdf(sigmas) * norm.sf(sigmas) / SAMPLES), rel=0.1)


def test_a_probability_of_one_is_known_to_the_number_of_draws() -> None:
    found = stability(cubic(300, 100, 100), shear_covariance(1.0))
    assert found.stable_probability == 1
    assert found.stable_probability_std == pytest.approx(1 / SAMPLES, rel=0.01)


def test_answers_are_the_same_every_time_and_in_every_frame() -> None:
    C, covariance = cubic(300, 100, 5), shear_covariance(4.0)
    assert stability(C, covariance).stable_probability == stability(C, covariance).stable_probability
    from ase_dkl.lattice import on_strains

    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    inverse = np.linalg.inv(on_strains(turn[None])[0])
    assert smallest_eigenvalue(inverse.T @ C @ inverse) == pytest.approx(10)


def test_a_mode_that_two_shears_compete_for_is_sampled() -> None:
    # C44 and (C11 − C12) / 2 alike and uncertain by as much: stable are those draws where both are positive.
    std = 2.0
    direction = cubic(2 / 3, -1 / 3, 0).ravel() * 2
    both = shear_covariance(std) + std**2 * np.outer(direction, direction)
    C = cubic(102, 98, 2.0)
    assert stability(C, both).stable_probability == pytest.approx(norm.cdf(1) ** 2, abs=0.02)


def test_sheets_have_a_probability_too() -> None:
    sheet = np.diag([300.0, 300.0, 4.0])
    covariance = np.zeros((9, 9))
    covariance[8, 8] = 4.0**2
    assert smallest_eigenvalue(sheet) == pytest.approx(8)
    assert stable_probability(sheet, covariance)[0] == pytest.approx(norm.cdf(1), abs=0.02)
