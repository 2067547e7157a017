import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ase_dkl.training.network import FeatureExtractor, SpectralLinear

SILU_LIPSCHITZ = 1.0998
"""The largest slope of SiLU, at x ≈ 2.4: a branch act(W x + b) with ‖W‖ ≤ c' is c' · 1.0998-Lipschitz."""


def extractor(networks: int = 2, coefficient: float | None = 0.9) -> FeatureExtractor:
    torch.manual_seed(0)
    return FeatureExtractor(networks, 6, 8, width=16, depth=3, coefficient=coefficient).double()


def test_shapes() -> None:
    features, derivatives = extractor()(torch.randn(5, 4, 6).double(), torch.randn(5, 4, 3, 6).double())
    assert features.shape == (2, 5, 8)
    assert derivatives.shape == (2, 5, 3, 8)


def test_values_do_not_depend_on_whether_tangents_come_along() -> None:
    network = extractor().eval()
    coordinates, tangents = torch.randn(5, 4, 6).double(), torch.randn(5, 4, 3, 6).double()
    torch.testing.assert_close(network(coordinates)[0], network(coordinates, tangents)[0], rtol=0, atol=1e-11)


def test_derivatives_are_those_of_the_features() -> None:
    network = extractor().eval()
    coordinates, tangents = torch.randn(3, 4, 6).double(), torch.randn(3, 4, 2, 6).double()
    _, derivatives = network(coordinates, tangents)
    step = 1e-5
    for t in range(2):
        ahead, behind = (network(coordinates + s * step * tangents[:, :, t])[0] for s in (1, -1))
        torch.testing.assert_close(derivatives[:, :, t], (ahead - behind) / (2 * step), rtol=1e-7, atol=1e-8)


def test_gradients_of_values_and_derivatives() -> None:
    network = extractor().eval()
    coordinates, tangents = torch.randn(2, 3, 6).double(), torch.randn(2, 3, 2, 6).double()
    weight = network.blocks[1].weight

    def loss() -> torch.Tensor:
        features, derivatives = network(coordinates, tangents)
        total: torch.Tensor = (features**2).sum() + (derivatives**3).sum()
        return total

    (gradient,) = torch.autograd.grad(loss(), weight)
    direction, step = torch.randn_like(weight), 1e-5
    with torch.no_grad():
        weight.add_(step * direction)
        ahead = loss()
        weight.sub_(2 * step * direction)
        difference = (ahead - loss()) / (2 * step)
    torch.testing.assert_close((gradient * direction).sum(), difference, rtol=1e-6, atol=1e-6)


def test_features_do_not_depend_on_the_order_of_the_images() -> None:
    network = extractor().eval()
    coordinates = torch.randn(5, 4, 6).double()
    torch.testing.assert_close(network(coordinates)[0], network(coordinates[:, [2, 0, 3, 1]])[0])


def test_each_network_computes_on_its_own() -> None:
    network = extractor().eval()
    coordinates = torch.randn(5, 4, 6).double()
    before = network(coordinates)[0]
    with torch.no_grad():
        network.blocks[0].weight[1] += 0.1
    after = network(coordinates)[0]
    assert torch.equal(before[0], after[0])
    assert not torch.allclose(before[1], after[1])


@settings(max_examples=25, deadline=None, derandomize=True)
@given(scale=st.floats(0.01, 30), coefficient=st.floats(0.2, 3))
def test_singular_values_are_held_and_small_weights_left_alone(scale: float, coefficient: float) -> None:
    torch.manual_seed(1)
    layer = SpectralLinear(2, 12, 12, coefficient).double()
    with torch.no_grad():
        layer.weight.mul_(scale)
    largest = torch.linalg.matrix_norm(layer.weight, ord=2)
    layer.fold()
    folded = torch.linalg.matrix_norm(layer.weight, ord=2)
    torch.testing.assert_close(folded, largest.clamp(max=coefficient).detach())


def test_power_iteration_finds_the_singular_value() -> None:
    layer = SpectralLinear(2, 12, 12, 0.01).double().train()
    for _ in range(200):
        weight = layer.normalised_weight()
    torch.testing.assert_close(torch.linalg.matrix_norm(weight, ord=2), torch.full((2,), 0.01).double())


def test_folding_keeps_the_features() -> None:
    network = extractor().train()
    coordinates = torch.randn(5, 4, 6).double()
    for _ in range(300):
        before = network(coordinates)[0]
    for layer in network.layers:
        layer.fold()
    torch.testing.assert_close(network(coordinates)[0], before, rtol=1e-6, atol=1e-6)
    for block in network.blocks:
        assert torch.linalg.matrix_norm(block.weight, ord=2).max() <= 0.9 + 1e-12


def test_residual_branches_keep_distances() -> None:
    """With ‖W‖ ≤ c / L the stack of residual blocks is bi-Lipschitz with (1 ∓ c) to the power of the depth."""
    c = 0.5
    network = extractor(1, coefficient=c / SILU_LIPSCHITZ)
    for layer in network.layers:
        layer.fold()
    hidden = 3 * torch.randn(1, 200, 16).double()
    out = hidden
    for block in network.blocks:
        out = out + torch.nn.functional.silu(out @ block.weight + block.bias)
    ratio = (torch.pdist(out[0]) / torch.pdist(hidden[0])).detach()
    assert ratio.min() >= (1 - c) ** 3
    assert ratio.max() <= (1 + c) ** 3


def test_steepest_slope_of_the_activation() -> None:
    x = torch.linspace(0, 5, 100001, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(torch.nn.functional.silu(x).sum(), x)
    assert slope.max().item() == pytest.approx(SILU_LIPSCHITZ, abs=5e-5)
