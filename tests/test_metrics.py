import numpy as np
import pytest
from scipy.stats import norm

from ase_dkl import metrics
from ase_dkl.arrays import Floats


@pytest.fixture
def calibrated() -> Floats:
    """Errors at the quantiles of a standard Gaussian."""
    n = 20_000
    errors: Floats = norm.ppf((np.arange(n) + 0.5) / n)
    return errors


def test_rmse_of_constant_error_is_its_size() -> None:
    assert metrics.rmse([-3.0, 3.0, 3.0]) == 3.0


def test_likelihood_of_calibrated_errors_is_the_entropy_of_a_gaussian(calibrated: Floats) -> None:
    scale = 0.02
    entropy = 0.5 * np.log(2 * np.pi * np.e * scale**2)
    assert metrics.negative_log_likelihood(scale * calibrated, scale) == pytest.approx(entropy, abs=1e-3)


def test_likelihood_matches_scipy_with_unequal_uncertainties() -> None:
    error, uncertainty = np.array([0.1, -2.0, 0.0]), np.array([0.3, 1.0, 0.01])
    expected = -norm.logpdf(error, scale=uncertainty).mean()
    assert metrics.negative_log_likelihood(error, uncertainty) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("level", [0.1, 0.68, 0.95])
def test_coverage_of_calibrated_errors_is_the_level(calibrated: Floats, level: float) -> None:
    assert metrics.coverage(5 * calibrated, 5.0, level) == pytest.approx(level, abs=1e-3)


def test_coverage_uses_the_exact_quantile() -> None:
    inside, outside = 1.9599, 1.9601
    assert metrics.coverage([inside, -inside], [1.0, 1.0], 0.95) == 1
    assert metrics.coverage([outside, -outside], [1.0, 1.0], 0.95) == 0


@pytest.mark.parametrize(("error", "area"), [(0.0, 0.5), (1e9, 0.5), (norm.ppf(0.75), 0.25)])
def test_miscalibration_area_of_identical_errors(error: float, area: float) -> None:
    # With every error at central mass q, the staircase jumps at q: the area is q²/2 + (1 − q)²/2.
    assert metrics.miscalibration_area(np.full(7, error), np.ones(7)) == pytest.approx(area)


def test_miscalibration_area_vanishes_for_calibrated_errors(calibrated: Floats) -> None:
    assert metrics.miscalibration_area(calibrated, 1.0) < 1e-4


def test_miscalibration_area_agrees_with_a_fine_grid() -> None:
    rng = np.random.default_rng(0)
    error, uncertainty = rng.normal(size=37), rng.uniform(0.2, 3, size=37)
    levels = (np.arange(100_000) + 0.5) / 100_000
    mass = 2 * norm.cdf(np.abs(error) / uncertainty) - 1
    observed = np.searchsorted(np.sort(mass), levels, side="right") / len(mass)
    assert metrics.miscalibration_area(error, uncertainty) == pytest.approx(
        np.mean(np.abs(observed - levels)), abs=1e-4
    )


def test_rank_correlation() -> None:
    uncertainty = np.array([0.1, 0.2, 0.7, 1.5])
    assert metrics.rank_correlation(-(uncertainty**3), uncertainty) == pytest.approx(1)
    assert metrics.rank_correlation(1 / uncertainty, uncertainty) == pytest.approx(-1)
    assert metrics.rank_correlation(uncertainty, np.ones(4)) is None
    assert metrics.rank_correlation([0.3], [0.1]) is None
