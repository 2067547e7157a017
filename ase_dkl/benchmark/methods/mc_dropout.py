"""Monte Carlo dropout: a network trained with dropout, and a prediction's spread over masks.

A mask leaves out units of the residual branches. It is the same for a cell's value, its tangents and its symmetry
images, so that every pass is one smooth invariant function with its own stress. The masks of predictions are drawn
once: the same cell has the same answer, and neighbouring cells have similar ones.

Source: Gal & Ghahramani, ICML 2016.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ase_dkl.benchmark.methods.method import BadMethod, Method, Settings
from ase_dkl.benchmark.methods.network_model import NetworkModel, Passes
from ase_dkl.benchmark.methods.networks import SHARED, Likelihood, Outputs, backbone, minimise, on_rows, seeded, settled
from ase_dkl.benchmark.methods.rows import TRENDS, Rows
from ase_dkl.dataset import Dataset
from ase_dkl.model.features import propagate
from ase_dkl.training.network import FeatureExtractor, silu

DEFAULTS: Settings = {**SHARED, "rate": 0.02, "passes": 32}
GRID = {
    **TRENDS,
    "rate": (0.005, 0.02, 0.05, 0.1),
    "learning_rate": (3e-3, 1e-2),
    "weight_decay": (0.0, 0.1, 0.3),
}


def fit(dataset: Dataset, settings: Settings, seed: int) -> NetworkModel:
    """Train one network under masks, and draw those of predictions."""
    rate = settings["rate"]
    if not 0 < rate < 1:
        raise BadMethod(f"The dropout rate is {rate}; give one between 0 and 1.")
    rows = Rows.of(dataset, settings)
    with seeded(seed):
        network, likelihood = backbone(rows, 1, settings), Likelihood()

        def under_masks(coordinates: Tensor, tangents: Tensor | None) -> Outputs:
            return _under_masks(network, rate, coordinates, tangents)

        def loss() -> Tensor:
            return likelihood.loss(rows, on_rows(under_masks, rows))

        minimise(loss, list(network.parameters()), list(likelihood.parameters()), settings)
    kept = np.random.default_rng(seed).random((settings["depth"], settings["passes"], 1, settings["width"])) >= rate
    head = Passes(settled(network), list(kept / (1 - rate)), likelihood.noise())
    return NetworkModel(rows.frame, head, likelihood.offset_in_eV(rows.frame))


def _under_masks(network: FeatureExtractor, rate: float, coordinates: Tensor, tangents: Tensor | None) -> Outputs:
    """Every row under a mask of its own."""
    n, images, _ = coordinates.shape

    def activate(rows: Tensor, values: int) -> Tensor:
        kept = (torch.rand(1, n, 1, rows.shape[2]) >= rate) / (1 - rate)
        mask = kept.expand(-1, -1, images, -1).reshape(1, values, -1)
        masked: Tensor = silu(rows, values) * mask.repeat(1, rows.shape[1] // values, 1)
        return masked

    layers = [(layer.normalised_weight(), layer.bias) for layer in network.layers]
    values, slopes = propagate(layers, activate, coordinates, tangents)
    return values, slopes


METHODS = (
    Method(
        name="mc_dropout",
        title="MC dropout",
        fit=fit,
        defaults=DEFAULTS,
        grid=GRID,
        learns_from_stress=True,
        predicts_stress=True,
        passes=lambda settings: int(settings["passes"]),
    ),
)
