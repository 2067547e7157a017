import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from ase_dkl.benchmark.metrics import (
    auroc,
    continuous_ranked_probability_score,
    expected_normalised_calibration_error,
    risk_coverage_area,
)


def test_crps_is_that_of_its_definition() -> None:
    error, uncertainty = 0.7, 0.4
    at = np.linspace(-10, 10, 400_001)
    # ∫ (F(x) − 1[x ≥ truth])² dx of the forecast N(error, uncertainty²) of the truth 0
    integral = np.mean((norm.cdf(at, error, uncertainty) - (at >= 0)) ** 2) * 20
    assert continuous_ranked_probability_score([error], [uncertainty]) == pytest.approx(integral, abs=1e-4)
    assert continuous_ranked_probability_score([-3.0, 1.0], [1e-9, 1e-9]) == pytest.approx(2)


def test_calibration_error_of_forecasts_that_are_too_sure_by_a_factor() -> None:
    rng = np.random.default_rng(0)
    n = 20_000
    uncertainty = rng.uniform(0.1, 2, size=n)
    error = uncertainty * rng.permutation(norm.ppf((np.arange(n) + 0.5) / n))
    assert expected_normalised_calibration_error(error, uncertainty) == pytest.approx(0, abs=0.03)
    assert expected_normalised_calibration_error(3 * error, uncertainty) == pytest.approx(2, abs=0.06)
    assert expected_normalised_calibration_error(error[:9], uncertainty[:9]) is None


def test_calibration_error_of_few_calibrated_errors_is_what_its_docstring_says() -> None:
    rng = np.random.default_rng(1)
    found = [expected_normalised_calibration_error(e, np.ones(400)) for e in rng.normal(size=(50, 400))]
    assert np.mean(np.array(found, dtype=float)) == pytest.approx(0.56 / 40**0.5, rel=0.1)


def test_area_under_the_risk_coverage_curve() -> None:
    error, rising = np.array([1.0, -2.0, 3.0]), np.array([0.1, 0.2, 0.3])
    assert risk_coverage_area(error, rising) == pytest.approx((1 + 3 / 2 + 6 / 3) / 3)
    assert risk_coverage_area(error, -rising) == pytest.approx((3 + 5 / 2 + 6 / 3) / 3)
    assert risk_coverage_area(error, np.ones(3)) == pytest.approx(2)
    assert risk_coverage_area(error, [2.0, 1.0, 1.0]) == pytest.approx((2.5 + 2.5 + 2) / 3)


def test_auroc_agrees_with_scikit_learn_and_counts_ties_half() -> None:
    rng = np.random.default_rng(0)
    inside, outside = rng.normal(size=40).round(1), rng.normal(0.5, size=30).round(1)
    expected = roc_auc_score(np.repeat([0, 1], [40, 30]), np.concatenate([inside, outside]))
    assert auroc(inside, outside) == pytest.approx(expected)
    assert auroc([1.0, 1.0], [1.0]) == 0.5
    assert auroc([1.0], [2.0, 3.0]) == 1
