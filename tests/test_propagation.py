import numpy as np
import pytest

from ase_dkl.arrays import Floats
from ase_dkl.mechanics.propagation import covariance_root, propagated


@pytest.fixture
def covariance() -> Floats:
    """Covariance of a length in Å, an angle in degrees and a modulus in GPa: very unlike, and correlated."""
    correlation = np.array([[1.0, 0.6, -0.2], [0.6, 1.0, 0.1], [-0.2, 0.1, 1.0]])
    scale = np.array([1e-4, 0.1, 20.0])
    return np.asarray(scale[:, None] * correlation * scale)


def test_linear_functions_are_exact(covariance: Floats) -> None:
    matrix = np.array([[1.0, 2.0, -3.0], [500.0, 0.0, 1e-3]])
    mean = np.array([3.9, 90.0, 250.0])
    value, propagated_covariance = propagated(lambda x: x @ matrix.T, mean, covariance)
    np.testing.assert_allclose(value, matrix @ mean)
    np.testing.assert_allclose(propagated_covariance, matrix @ covariance @ matrix.T, rtol=1e-6, atol=1e-12)


def test_functions_are_linearised(covariance: Floats) -> None:
    mean = np.array([3.9, 60.0, 250.0])

    def function(x: Floats) -> Floats:
        length, angle, modulus = x.T
        return np.column_stack([length**3 * np.sin(np.deg2rad(angle)), modulus / length])

    sine, cosine = np.sin(np.pi / 3), np.cos(np.pi / 3)
    jacobian = np.array(
        [[3 * 3.9**2 * sine, 3.9**3 * cosine * np.pi / 180, 0.0], [-250 / 3.9**2, 0.0, 1 / 3.9]],
    )
    value, found = propagated(function, mean, covariance)
    np.testing.assert_allclose(value, function(mean[None])[0])
    np.testing.assert_allclose(found, jacobian @ covariance @ jacobian.T, rtol=1e-6)


def test_the_function_is_called_once_and_only_along_what_is_uncertain() -> None:
    shapes = []

    def function(x: Floats) -> Floats:
        shapes.append(x.shape)
        return x[:, :1]

    together = np.ones((3, 3))
    assert propagated(function, np.zeros(3), together)[1] == pytest.approx(1)
    assert shapes == [(3, 3)]


def test_what_is_certain_stays_so() -> None:
    value, covariance = propagated(lambda x: x**2, np.array([1.0, 2.0]), np.zeros((2, 2)))
    assert value.tolist() == [1, 4]
    assert not covariance.any()


def test_root_squares_to_the_covariance(covariance: Floats) -> None:
    # A covariance that is singular but for rounding has negative eigenvalues.
    singular = np.pad(covariance, (0, 2), mode="edge")
    root = covariance_root(singular)
    assert root.shape == (5, 3)
    np.testing.assert_allclose(root @ root.T, singular, rtol=1e-6)


def test_rounding_does_not_become_uncertainty(covariance: Floats) -> None:
    rounded = np.zeros((4, 4))
    rounded[:3, :3] = covariance
    rounded[3, 3] = -1e-30
    rounded[3, 2] = rounded[2, 3] = 1e-14
    root = covariance_root(rounded)
    np.testing.assert_allclose((root @ root.T)[:3, :3], covariance, rtol=1e-6)
