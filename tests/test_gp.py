import math
from dataclasses import replace

import pytest
import torch

from ase_dkl.arrays import Floats
from ase_dkl.model.kernel import functional_rows
from ase_dkl.model.records import KERNELS
from ase_dkl.training.gp import BASIS_SCALE, OFFSET_SCALE, Observations, SparseGP, cholesky
from ase_dkl.training.variational import RadialKernel

torch.manual_seed(0)

BLOCKS = {"strain": 3, "displacement": 1}


def observations(n: int = 12, m: int = 5, t: int = 4, f: int = 3, networks: int = 2) -> Observations:
    generator = torch.Generator().manual_seed(3)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    return Observations(normal(networks, n, f), normal(networks, m, t, f) if m else None, normal(n + m * t, 4), BLOCKS)


def arrays(given: Observations) -> tuple[Floats, Floats | None, Floats]:
    """What `Posterior` takes: NumPy arrays."""
    derivatives = None if given.derivatives is None else given.derivatives.numpy()
    return given.features.numpy(), derivatives, given.basis.numpy()


def process(given: Observations, kind: str = "rbf", points: torch.Tensor | None = None) -> SparseGP:
    generator = torch.Generator().manual_seed(4)
    k, _, f = given.features.shape
    inducing = torch.randn(k, 7, f, dtype=torch.float64, generator=generator) if points is None else points
    gp = SparseGP(inducing, kind, torch.full((k, 1, 1), 0.3, dtype=torch.float64), BLOCKS)
    with torch.no_grad():
        gp.log_noise["strain"].add_(0.7)
    return gp


def linear(first: Observations, second: Observations) -> torch.Tensor:
    """Prior covariance of the linear mean; the last function is the labels' offset."""
    scale = torch.tensor([BASIS_SCALE, BASIS_SCALE, BASIS_SCALE, OFFSET_SCALE], dtype=torch.float64)
    return (scale * first.basis) @ (scale * second.basis).T


def labels(given: Observations) -> torch.Tensor:
    return torch.randn(len(given.basis), dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def exact(gp: SparseGP, given: Observations) -> torch.Tensor:
    """Prior covariance of the labels without inducing points, shape (K, n, n)."""
    rows = given.functionals()
    return RadialKernel(gp).forward(rows, rows) + linear(given, given) + torch.diag_embed(gp.noise(given))


@pytest.mark.parametrize("kind", KERNELS)
def test_with_inducing_points_at_the_data_the_bound_is_the_exact_evidence(kind: str) -> None:
    given = observations(m=0)
    gp, y = process(given, kind, given.features), labels(given)
    evidence = torch.distributions.MultivariateNormal(torch.zeros(12, dtype=torch.float64), exact(gp, given))
    torch.testing.assert_close(gp.collapsed_bound(given, y), evidence.log_prob(y), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KERNELS)
def test_with_few_inducing_points_it_is_a_lower_bound(kind: str) -> None:
    given = observations()
    gp, y = process(given, kind), labels(given)
    evidence = torch.distributions.MultivariateNormal(torch.zeros_like(y), exact(gp, given)).log_prob(y)
    assert (gp.collapsed_bound(given, y) < evidence).all()


def test_the_bound_term_by_term() -> None:
    """Titsias' bound written down directly: log N(y; 0, Q + D) − ½ tr(D⁻¹ (K − Q))."""
    given = observations()
    gp, y = process(given), labels(given)
    cross = gp.cross_covariances(given)
    root = torch.linalg.solve_triangular(gp.chol_inducing(), cross.mT, upper=False)
    noise = gp.noise(given)
    low_rank = root.mT @ root
    marginal = torch.distributions.MultivariateNormal(
        torch.zeros_like(y), low_rank + linear(given, given) + torch.diag_embed(noise)
    )
    left = gp.prior_variances(given) - low_rank.diagonal(dim1=1, dim2=2)
    expected = marginal.log_prob(y) - 0.5 * (left / noise).sum(1)
    torch.testing.assert_close(gp.collapsed_bound(given, y), expected)


def test_a_network_without_some_labels_has_the_bound_of_the_others() -> None:
    """Structure 1 is left out of the first network, with its derivatives, and structure 9 of the second."""
    given = observations()
    gp, y = process(given), labels(given)
    assert given.derivatives is not None
    used = torch.ones(2, len(y), dtype=torch.float64)
    used[0, 1] = used[1, 9] = 0
    used[0, 12 + 4 : 12 + 8] = 0
    bounds = gp.collapsed_bound(given, y, used)
    for network, structure in ((0, 1), (1, 9)):
        kept = [i for i in range(12) if i != structure]
        derivatives = given.derivatives[:, [i for i in kept if i < 5]]
        rows = used[network].bool()
        fewer = Observations(given.features[:, kept], derivatives, given.basis[rows], BLOCKS)
        assert len(y[rows]) == len(fewer.functionals()[0])
        torch.testing.assert_close(bounds[network], gp.collapsed_bound(fewer, y[rows])[network])


def test_with_inducing_points_at_the_data_the_posterior_is_the_exact_one() -> None:
    given = observations(m=0)
    gp, y = process(given, points=given.features), labels(given)
    new = observations(n=3, m=3)
    rows = given.functionals(), new.functionals()
    cross = RadialKernel(gp).forward(rows[1], rows[0]) + linear(new, given)
    gain = torch.linalg.solve(exact(gp, given), cross.mT).mT
    prior = RadialKernel(gp).forward(rows[1], rows[1]) + linear(new, new)
    mean, covariance = gp.condition([(given, y)]).joint(*arrays(new))
    assert mean == pytest.approx((gain @ y).detach().numpy(), abs=1e-5)
    assert covariance == pytest.approx((prior - gain @ cross.mT).detach().numpy(), abs=1e-5)


def test_diagonal_of_the_joint_posterior_is_the_pointwise_variance() -> None:
    given = observations(m=12)
    conditioned = process(given).condition([(given, labels(given))])
    mean, variance = conditioned.marginals(*arrays(given))
    joint_mean, covariance = conditioned.joint(*arrays(given))
    assert mean == pytest.approx(joint_mean)
    assert variance == pytest.approx(covariance.diagonal(axis1=1, axis2=2))


def test_conditioning_batch_by_batch_is_conditioning_at_once() -> None:
    given = observations(m=0)
    gp, y = process(given), labels(given)
    halves = [
        (Observations(given.features[:, part], None, given.basis[part]), y[part])
        for part in (slice(0, 5), slice(5, None))
    ]
    whole, parts = (gp.condition(batches).marginals(*arrays(given)) for batches in ([(given, y)], halves))
    assert parts[0] == pytest.approx(whole[0])
    assert parts[1] == pytest.approx(whole[1])


def test_structures_without_derivatives_follow_those_with() -> None:
    given = observations(n=6, m=2)
    gp = process(given)
    values = gp.cross_covariances(replace(given, derivatives=None))
    both = gp.cross_covariances(given)
    torch.testing.assert_close(both[:, :6], values)
    assert both.shape == (2, 6 + 2 * 4, 7)
    torch.testing.assert_close(both, RadialKernel(gp).forward(given.functionals(), functional_rows(gp.inducing_points)))


def test_noise_is_one_number_for_values_and_one_for_each_block_of_slopes() -> None:
    given = observations()
    gp = process(given)
    with torch.no_grad():
        for kind, first in (("value", -1.0), ("strain", -2.0), ("displacement", -3.0)):
            gp.log_noise[kind].copy_(torch.tensor([first, 2 * first]))
    for network in (1, 2):
        expected = [-1.0] * 12 + [-2.0, -2.0, -2.0, -3.0] * 5
        torch.testing.assert_close(
            gp.noise(given)[network - 1], torch.tensor(expected, dtype=torch.float64).mul(2 * network).exp()
        )


@pytest.mark.parametrize("kind", KERNELS)
def test_conditioning_later_is_conditioning_at_once(kind: str) -> None:
    given = observations()
    gp, y = process(given, kind), labels(given)
    late = observations(n=6, m=2)
    at_once = gp.condition([(given, y), (late, labels(late))])
    in_turn = gp.condition([(given, y)]).conditioned(*arrays(late), labels(late).numpy(), late.layout)
    for first, second in zip(at_once.marginals(*arrays(late)), in_turn.marginals(*arrays(late)), strict=True):
        assert first == pytest.approx(second, abs=1e-9)


def test_a_singular_matrix_has_a_root_and_leaves_the_others_alone() -> None:
    sound = torch.tensor([[2.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
    singular = torch.tensor([[1.0, 1.0], [1.0, 1.0 - 3e-8]], dtype=torch.float64)
    root = cholesky(torch.stack([sound, singular]))
    assert torch.equal(root[0], torch.linalg.cholesky(sound))
    torch.testing.assert_close(root[1] @ root[1].mT, singular + 1e-7 * torch.eye(2), rtol=0, atol=1e-12)


@pytest.mark.parametrize("entry", [-1.0, math.nan])
def test_what_rounding_does_not_explain_is_an_error(entry: float) -> None:
    with pytest.raises(torch.linalg.LinAlgError):  # type: ignore[attr-defined]
        cholesky(torch.diag_embed(torch.tensor([[1.0, entry]], dtype=torch.float64)))
