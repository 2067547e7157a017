"""Bayesian network: a Gaussian for every weight, independent of the others, by the evidence lower bound.

Draws of weights are whole functions, the same for a value and its tangents. Those of predictions are drawn once.

Source: Blundell et al., ICML 2015 (Bayes by backprop); the bound's divergence taken less than fully, without which such
networks explain everything by noise: Wenzel et al., ICML 2020 (cold posteriors).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ase_dkl.benchmark.methods.method import Method, Settings
from ase_dkl.benchmark.methods.network_model import NetworkModel, Passes
from ase_dkl.benchmark.methods.networks import SHARED, Likelihood, Outputs, backbone, minimise, on_rows, seeded
from ase_dkl.benchmark.methods.rows import TRENDS, Rows
from ase_dkl.dataset import Dataset
from ase_dkl.model.features import propagate
from ase_dkl.training.network import silu

REPLACED = {"weight_decay": 0.0, "spectral_coefficient": None}
"""Settings that the prior stands for."""
DEFAULTS: Settings = {
    **{name: value for name, value in SHARED.items() if name not in REPLACED},
    "prior": 1.0,
    "temperature": 0.01,
    "passes": 32,
}
GRID = {
    **TRENDS,
    "prior": (0.5, 1.0, 2.0),
    "temperature": (0.001, 0.003, 0.01, 1.0),
    "learning_rate": (3e-3, 1e-2),
}
INITIAL_DEVIATION = 0.02
"""Standard deviation of a weight where training begins, in units of its prior's."""
PAIRS = 1
"""Pairs of opposite draws in a step."""


class GaussianWeights(nn.Module):
    """One normal distribution for every weight and bias.

    Args:
        layers: weights (1, inputs, outputs) and biases (1, 1, outputs) where the means start.
        prior: standard deviation of what a layer adds to its outputs, for inputs of size one.
    """

    def __init__(self, layers: list[tuple[Tensor, Tensor]], prior: float) -> None:
        super().__init__()
        flat = [each for layer in layers for each in layer]
        self.means = nn.ParameterList([each.detach().clone() for each in flat])
        self.priors = [prior / math.sqrt(weight.shape[1]) for weight, _ in layers for _ in range(2)]
        self.log_deviations = nn.ParameterList(
            [
                torch.full_like(each, math.log(INITIAL_DEVIATION * prior))
                for each, prior in zip(flat, self.priors, strict=True)
            ]
        )

    def draws(self, pairs: int) -> list[tuple[Tensor, Tensor]]:
        """Layers of 2 × pairs networks, one half opposite to the other."""
        drawn = []
        for mean, log_deviation in zip(self.means, self.log_deviations, strict=True):
            noise = torch.randn(pairs, *mean.shape[1:])
            drawn.append(mean + log_deviation.exp() * torch.cat([noise, -noise]))
        return list(zip(drawn[::2], drawn[1::2], strict=True))

    def divergence(self) -> Tensor:
        """Divergence from the prior, nats."""
        total = torch.zeros(())
        for mean, log_deviation, prior in zip(self.means, self.log_deviations, self.priors, strict=True):
            log_ratio = log_deviation - math.log(prior)
            total = total + 0.5 * ((mean / prior) ** 2 + (2 * log_ratio).exp() - 1 - 2 * log_ratio).sum()
        return total


def fit(dataset: Dataset, settings: Settings, seed: int) -> NetworkModel:
    """Maximise the bound, and draw the networks of predictions."""
    rows = Rows.of(dataset, settings)
    temperature: float = settings["temperature"]
    with seeded(seed):
        start = backbone(rows, 1, {**settings, **REPLACED})
        weights = GaussianWeights([(layer.weight, layer.bias) for layer in start.layers], settings["prior"])
        likelihood = Likelihood()

        def loss() -> Tensor:
            layers = weights.draws(PAIRS)

            def drawn(coordinates: Tensor, tangents: Tensor | None) -> Outputs:
                return propagate(layers, silu, coordinates, tangents)

            expected = likelihood.loss(rows, on_rows(drawn, rows)) / (2 * PAIRS)
            return expected + temperature * weights.divergence() / rows.n_labels

        minimise(loss, list(weights.parameters()), list(likelihood.parameters()), {**settings, **REPLACED})
        with torch.no_grad():
            layers = weights.draws(settings["passes"] // 2)
    drawn = [(weight.double().numpy(), bias.double().numpy()) for weight, bias in layers]
    return NetworkModel(rows.frame, Passes(drawn, None, likelihood.noise()), likelihood.offset_in_eV(rows.frame))


METHODS = (
    Method(
        name="variational",
        title="Bayesian network, mean field",
        fit=fit,
        defaults=DEFAULTS,
        grid=GRID,
        learns_from_stress=True,
        predicts_stress=True,
        passes=lambda settings: int(settings["passes"]),
    ),
)
