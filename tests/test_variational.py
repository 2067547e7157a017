import pytest
import torch
from gpytorch.optim import NGD

from ase_dkl.gp import Observations, RadialKernel, SparseGP
from ase_dkl.variational import VariationalGP


@pytest.fixture
def given() -> Observations:
    generator = torch.Generator().manual_seed(3)
    features, derivatives, basis = (
        torch.randn(*shape, dtype=torch.float64, generator=generator) for shape in ((2, 12, 3), (2, 5, 4, 3), (32, 4))
    )
    return Observations(features, derivatives, basis)


@pytest.fixture
def labels() -> torch.Tensor:
    return torch.randn(32, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def process() -> SparseGP:
    points = torch.randn(2, 7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    return SparseGP(points, RadialKernel("rbf", torch.full((2, 1, 1), 0.3, dtype=torch.float64)))


def train(model: VariationalGP, given: Observations, labels: torch.Tensor, natural: bool) -> torch.Tensor:
    q = model.distribution_parameters()
    optimiser = NGD(q, num_data=1, lr=0.5) if natural else torch.optim.Adam(q, lr=0.05)
    for _ in range(30 if natural else 800):
        optimiser.zero_grad()
        bound = model.bound(given, labels, 1.0)
        (-bound.sum()).backward()
        optimiser.step()
    return bound.detach()


@pytest.mark.parametrize("natural", [True, False])
def test_the_best_q_gives_the_collapsed_bound_and_posterior(
    given: Observations, labels: torch.Tensor, natural: bool
) -> None:
    gp = process()
    model = VariationalGP(gp, torch.zeros(4, dtype=torch.float64), natural).train()
    bound = train(model, given, labels, natural)
    # The explicit q(u) has no basis functions to integrate over, so neither has the collapsed one here.
    bare = Observations(given.features, given.derivatives, torch.zeros_like(given.basis))
    torch.testing.assert_close(bound, gp.collapsed_bound(bare, labels).detach(), rtol=1e-3, atol=1e-2)
    values = given.features.numpy(), None, bare.basis[:12].numpy()
    mean, variance = model.eval().posterior().marginals(*values)
    best_mean, best_variance = gp.condition([(bare, labels)]).marginals(*values)
    assert mean == pytest.approx(best_mean, abs=0.03)
    assert variance == pytest.approx(best_variance, rel=0.05, abs=0.01)


def test_minibatches_estimate_the_bound_without_bias(given: Observations, labels: torch.Tensor) -> None:
    model = VariationalGP(process(), torch.ones(4, dtype=torch.float64), natural=True).train()
    energies = Observations(given.features, None, given.basis[:12])
    whole = model.bound(energies, labels[:12], 1.0)
    parts = [
        model.bound(Observations(given.features[:, part], None, given.basis[part]), labels[part], 1 / 3)
        for part in torch.arange(12).split(4)
    ]
    torch.testing.assert_close(sum(parts) / 3, whole)


def test_the_posterior_is_the_strategy_s_own(given: Observations, labels: torch.Tensor) -> None:
    model = VariationalGP(process(), torch.full((4,), 0.5, dtype=torch.float64), natural=True).train()
    train(model, given, labels, natural=True)
    model.eval()
    values = Observations(given.features, None, given.basis[:12])
    strategy = model(values.rows())
    mean, variance = model.posterior().marginals(values.features.numpy(), None, values.basis.numpy())
    assert mean == pytest.approx((strategy.mean + model.mean @ values.basis.T).detach().numpy())
    assert variance == pytest.approx(strategy.variance.detach().numpy(), rel=1e-6, abs=1e-6)


def test_inducing_points_and_kernel_are_the_process_s() -> None:
    gp = process()
    model = VariationalGP(gp, torch.zeros(4, dtype=torch.float64), natural=True)
    assert model.variational_strategy.inducing_points is gp.inducing_points
    assert {id(p) for p in gp.parameters()} <= {id(p) for p in model.parameters()}
