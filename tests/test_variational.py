import pytest
import torch

from ase_dkl.training.gp import Observations, SparseGP
from ase_dkl.training.stochastic import NaturalVariational
from ase_dkl.training.variational import VariationalGP


@pytest.fixture
def given() -> Observations:
    generator = torch.Generator().manual_seed(3)
    features, derivatives, basis = (
        torch.randn(*shape, dtype=torch.float64, generator=generator) for shape in ((2, 12, 3), (2, 5, 4, 3), (32, 4))
    )
    return Observations(features, derivatives, basis, {"strain": 4})


@pytest.fixture
def labels() -> torch.Tensor:
    return torch.randn(32, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def process() -> SparseGP:
    points = torch.randn(2, 7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    return SparseGP(points, "rbf", torch.full((2, 1, 1), 0.3, dtype=torch.float64), ["strain"])


def test_one_natural_step_on_all_data_gives_the_collapsed_bound(given: Observations, labels: torch.Tensor) -> None:
    gp = process()
    q = NaturalVariational(gp, 4)
    q.update(given, labels, 1.0, step=1.0)
    torch.testing.assert_close(q.bound(given, labels, 1.0), gp.collapsed_bound(given, labels))


def test_any_other_q_is_worse(given: Observations, labels: torch.Tensor) -> None:
    gp = process()
    q = NaturalVariational(gp, 4)
    best = gp.collapsed_bound(given, labels)
    assert (q.bound(given, labels, 1.0) < best).all()
    q.update(given, labels, 1.0, step=0.5)
    assert (q.bound(given, labels, 1.0) < best).all()


def test_minibatches_estimate_the_bound_without_bias(given: Observations, labels: torch.Tensor) -> None:
    q = NaturalVariational(process(), 4)
    energies = Observations(given.features, None, given.basis[:12])
    q.update(energies, labels[:12], 1.0)
    whole = q.bound(energies, labels[:12], 1.0)
    parts = [
        q.bound(Observations(given.features[:, part], None, given.basis[part]), labels[part], 1 / 3)
        for part in torch.arange(12).split(4)
    ]
    torch.testing.assert_close(sum(parts) / 3, whole)


def trained(given: Observations, labels: torch.Tensor, mean: float) -> VariationalGP:
    model = VariationalGP(process(), torch.full((4,), mean, dtype=torch.float64))
    model.train()
    optimiser = torch.optim.Adam(model.own_parameters()[1:], lr=0.05)
    for _ in range(800):
        optimiser.zero_grad()
        (-model.bound(given, labels, 1.0).sum()).backward()
        optimiser.step()
    return model


def test_adam_finds_the_same_bound_and_posterior(given: Observations, labels: torch.Tensor) -> None:
    model = trained(given, labels, mean=0.0)
    # The explicit q(u) has no basis functions to integrate over, so neither has the collapsed one here.
    bare = Observations(given.features, given.derivatives, torch.zeros_like(given.basis), given.blocks)
    best = process().collapsed_bound(bare, labels)
    torch.testing.assert_close(model.bound(given, labels, 1.0), best, rtol=1e-3, atol=1e-2)
    values = given.features.numpy(), None, bare.basis[:12].numpy()
    mean, variance = model.eval().posterior().marginals(*values)
    best_mean, best_variance = process().condition([(bare, labels)]).marginals(*values)
    assert mean == pytest.approx(best_mean, abs=0.03)
    assert variance == pytest.approx(best_variance, rel=0.05, abs=0.01)


def test_the_posterior_is_the_strategy_s_own(given: Observations, labels: torch.Tensor) -> None:
    model = trained(given, labels, mean=0.5).eval()
    values = Observations(given.features, None, given.basis[:12])
    strategy = model(values.functionals())
    mean, variance = model.posterior().marginals(values.features.numpy(), None, values.basis.numpy())
    assert mean == pytest.approx((strategy.mean + model.mean @ values.basis.T).detach().numpy())
    assert variance == pytest.approx(strategy.variance.detach().numpy(), rel=1e-6, abs=1e-6)


def test_inducing_points_and_kernel_are_the_process_s() -> None:
    gp = process()
    model = VariationalGP(gp, torch.zeros(4, dtype=torch.float64))
    assert model.variational_strategy.inducing_points is gp.inducing_points
    assert {id(p) for p in gp.parameters()} <= {id(p) for p in model.parameters()}
