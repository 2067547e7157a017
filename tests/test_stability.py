import numpy as np
import pytest
from made import cubic
from scipy.stats import norm

from ase_dkl.arrays import Floats
from ase_dkl.mechanics.frame import LaueClass
from ase_dkl.mechanics.stability import SAMPLES, born_conditions, smallest_eigenvalue, stability, stable_probability


def shear_covariance(std: float) -> Floats:
    """Covariance of C44 alone."""
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
    from ase_dkl.crystal.lattice import on_strains

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


def allowed(laue: LaueClass, rng: np.random.Generator) -> Floats:
    """Constants as a Laue class allows them in its standard frame, some of them of stable crystals and some not."""
    free = {
        "m-3m": "11 12 44",
        "6/mmm": "11 12 13 33 44",
        "4/mmm": "11 12 13 33 44 66",
        "4/m": "11 12 13 33 44 66 16",
        "-3m": "11 12 13 33 44 14",
        "-3": "11 12 13 33 44 14 15",
        "mmm": "11 22 33 12 13 23 44 55 66",
    }[laue]
    c = {
        name: rng.uniform(-10 if name in "44 55 66" else 20, 100) if len(set(name)) == 1 else rng.uniform(-80, 80)
        for name in free.split()
    }
    C = np.zeros((6, 6))

    def put(i: int, j: int, value: float) -> None:
        C[i - 1, j - 1] = C[j - 1, i - 1] = value

    for name, value in c.items():
        put(int(name[0]), int(name[1]), value)
    if laue == "mmm":
        return C
    put(2, 2, c["11"])
    put(5, 5, c["44"])
    if laue == "m-3m":
        for i, j, name in ((3, 3, "11"), (1, 3, "12"), (2, 3, "12"), (6, 6, "44")):
            put(i, j, c[name])
        return C
    put(2, 3, c["13"])
    if "66" not in c:
        put(6, 6, (c["11"] - c["12"]) / 2)
    if "16" in c:
        put(2, 6, -c["16"])
    if "14" in c:
        put(2, 4, -c["14"])
        put(5, 6, c["14"])
    if "15" in c:
        put(2, 5, -c["15"])
        put(4, 6, -c["15"])
    return C


@pytest.mark.parametrize("laue", ["m-3m", "6/mmm", "4/mmm", "4/m", "-3m", "-3", "mmm"])
def test_born_conditions_hold_where_no_eigenvalue_is_below_zero(laue: LaueClass) -> None:
    rng, verdicts = np.random.default_rng(0), []
    for _ in range(100):
        C = allowed(laue, rng)
        conditions = born_conditions(C, np.eye(36), laue)
        verdicts.append(all(each.value > 0 for each in conditions))
        assert verdicts[-1] == (smallest_eigenvalue(C) > 0)
    assert {True, False} == set(verdicts)


def test_a_born_condition_has_the_error_bar_of_its_constants() -> None:
    C, covariance = cubic(300, 100, 50), shear_covariance(2.0)
    by_name = {each.expression: each for each in born_conditions(C, covariance, "m-3m")}
    assert (by_name["C44"].value, by_name["C44"].std) == pytest.approx((50, 2))
    assert (by_name["C11 − C12"].value, by_name["C11 − C12"].std) == pytest.approx((200, 0))
    assert not born_conditions(C, covariance, "-1")
