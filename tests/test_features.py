import numpy as np
import pytest
import torch

from ase_dkl.model.features import propagate, silu
from ase_dkl.training.network import FeatureExtractor


def test_silu_and_its_slope() -> None:
    z, tangent = np.linspace(-30, 30, 201), np.full(201, 0.7)
    rows = np.stack([z, tangent])[None, :, :, None].reshape(1, 402, 1)
    values, slopes = silu(rows.copy(), 201).reshape(2, 201)
    assert values == pytest.approx(z / (1 + np.exp(-z)))
    step = 1e-6
    ahead, behind = (silu((z + s * step).reshape(1, 201, 1), 201)[0, :, 0] for s in (1, -1))
    assert slopes == pytest.approx(0.7 * (ahead - behind) / (2 * step), abs=1e-8)


def test_training_and_prediction_pass_through_the_same_layers() -> None:
    """Training computes with torch and predictions with NumPy."""
    torch.manual_seed(0)
    network = FeatureExtractor(2, 6, 8, width=16, depth=3, coefficient=0.9).double().eval()
    for layer in network.layers:
        layer.fold()
    layers = [layer.numpy() for layer in network.layers]
    coordinates, tangents = torch.randn(5, 4, 6).double(), torch.randn(5, 4, 3, 6).double()
    for along in (tangents, None):
        expected = network(coordinates, along)
        found = propagate(layers, silu, coordinates.numpy(), None if along is None else along.numpy())
        assert found[0] == pytest.approx(expected[0].detach().numpy(), abs=1e-11)
        if along is not None:
            assert found[1] == pytest.approx(expected[1].detach().numpy(), abs=1e-11)
