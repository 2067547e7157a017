import numpy as np
import pytest

from ase_dkl.arrays import Floats
from ase_dkl.model import kernel
from ase_dkl.model.posterior import Posterior
from ase_dkl.model.records import KERNELS

RNG = np.random.default_rng(0)
SCALE = np.array([1.5, 0.7])[:, None, None]
LENGTH_SCALE = np.array([2.0, 3.0])[:, None, None]
BASIS_SCALE = 10.0


def without_data(kind: str) -> Posterior:
    """q(w) is the prior: nothing was learned. Two networks, 5 inducing points in 3 features, 4 basis functions."""
    points = RNG.standard_normal((2, 5, 3))
    scaled = points / LENGTH_SCALE
    covariance = SCALE**2 * kernel.covariances_with_values(kind, scaled, None, scaled)
    whitening = np.linalg.inv(np.linalg.cholesky(covariance)).mT
    factor = np.zeros((2, 9, 9))
    factor[:, :5, :5] = whitening
    factor[:, 5:, 5:] = BASIS_SCALE * np.eye(4)
    return Posterior(kind, {}, points, LENGTH_SCALE, SCALE, whitening, factor, np.zeros((2, 9)))


def observations() -> tuple[Floats, Floats, Floats]:
    return RNG.standard_normal((2, 6, 3)), RNG.standard_normal((2, 6, 2, 3)), RNG.standard_normal((18, 4))


@pytest.mark.parametrize("kind", KERNELS)
def test_without_data_it_is_the_prior(kind: str) -> None:
    features, derivatives, basis = observations()
    mean, covariance = without_data(kind).joint(features, derivatives, basis)
    rows = kernel.functional_rows(features / LENGTH_SCALE, derivatives / LENGTH_SCALE[..., None])
    prior = SCALE**2 * kernel.covariances(kind, rows, rows) + BASIS_SCALE**2 * basis @ basis.T
    assert not mean.any()
    assert covariance == pytest.approx(prior, abs=1e-9)


@pytest.mark.parametrize("kind", KERNELS)
def test_marginals_are_the_joint_s(kind: str) -> None:
    given = observations()
    posterior = without_data(kind)
    mean, variance = posterior.marginals(*given)
    joint_mean, covariance = posterior.joint(*given)
    assert mean == pytest.approx(joint_mean)
    assert variance == pytest.approx(covariance.diagonal(axis1=1, axis2=2))


def test_values_alone_are_the_values_among_all() -> None:
    features, derivatives, basis = observations()
    posterior = without_data("rbf")
    alone, among = posterior.marginals(features, None, basis[:6]), posterior.marginals(features, derivatives, basis)
    assert alone[1] == pytest.approx(among[1][:, :6])
