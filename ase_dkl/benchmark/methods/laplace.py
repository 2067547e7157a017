"""Laplace's approximation of the last layer: a trained network, and the covariance of its last weights around it.

A slope is linear in the same weights: its coordinates are the derivatives of the last hidden layer, averaged over the
images like that layer itself. The prior's precision is what maximises the approximate evidence. This is what
laplace-torch has as the last layer's full Hessian; that package insists on torchvision, whose wheels do not go
with every build of torch.

Source: MacKay, Neural Computation 4 (1992) 448; Daxberger et al., NeurIPS 2021.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ase_dkl.arrays import Floats
from ase_dkl.benchmark.methods.method import Method, Settings
from ase_dkl.benchmark.methods.network_model import Layers, Moments, NetworkModel, constant_noise, outputs
from ase_dkl.benchmark.methods.networks import SHARED, Likelihood, backbone, minimise, on_rows, seeded, settled
from ase_dkl.benchmark.methods.rows import TRENDS, Rows
from ase_dkl.dataset import Dataset
from ase_dkl.model.features import silu

DEFAULTS: Settings = {**SHARED}
GRID = {**TRENDS, "learning_rate": (3e-3, 1e-2), "weight_decay": (0.0, 0.1, 0.3), "steps": (300, 600, 1200)}
PRECISIONS = np.logspace(-4, 6, 101)
"""Precisions of the prior, of which the evidence picks one."""


@dataclass(frozen=True, eq=False)
class LaplaceHead:
    """The trained network and the covariance of its last layer; see `Head`.

    Attributes:
        layers: the last one gives the hidden layer as it is.
        weights: of the last layer, its bias at the end, shape (w + 1,).
        factor: a root of their covariance, shape (w + 1, w + 1).
        log_noise: shape (2,).
    """

    layers: Layers
    weights: Floats
    factor: Floats
    log_noise: Floats

    @property
    def width(self) -> int:
        """Numbers that it holds for one image of a cell at a time."""
        return len(self.weights)

    def moments(self, coordinates: Floats, tangents: Floats | None) -> Moments:
        """Linear in the last weights; see `Head`."""
        hidden, slopes = outputs(self.layers, silu, coordinates, tangents)
        rows = _with_bias(hidden[0], 1.0)[:, None]
        if slopes is not None:
            rows = np.concatenate([rows, _with_bias(slopes[0], 0.0)], axis=1)
        mean = rows @ self.weights
        return Moments(mean, ((rows @ self.factor) ** 2).sum(-1), constant_noise(self.log_noise, mean.shape))


def fit(dataset: Dataset, settings: Settings, seed: int) -> NetworkModel:
    """Train the network, then find the covariance."""
    rows = Rows.of(dataset, settings)
    with seeded(seed):
        network, likelihood = backbone(rows, 1, settings), Likelihood()

        def loss() -> Tensor:
            return likelihood.loss(rows, on_rows(network, rows))

        minimise(loss, list(network.parameters()), list(likelihood.parameters()), settings)
    *layers, (weight, bias) = settled(network)
    width = weight.shape[1]
    layers.append((np.eye(width)[None], np.zeros((1, 1, width))))
    weights = np.append(weight[0, :, 0], bias[0, 0])
    log_noise = likelihood.noise()
    head = LaplaceHead(layers, weights, covariance_root(_design(rows, layers, log_noise), weights), log_noise)
    return NetworkModel(rows.frame, head, likelihood.offset_in_eV(rows.frame))


def covariance_root(design: Floats, weights: Floats) -> Floats:
    """R with R Rᵀ = (JᵀJ + τ)⁻¹, where τ maximises log |τ| − log |JᵀJ + τ| − τ ‖w‖², twice the evidence.

    Args:
        design: J, labels' derivatives by the weights, in units of the noise, shape (N, P).
        weights: w, where training ended, shape (P,).
    """
    sizes, directions = np.linalg.eigh(design.T @ design)
    sizes = np.maximum(sizes, 0)
    evidence = -np.log1p(sizes / PRECISIONS[:, None]).sum(1) - PRECISIONS * (weights @ weights)
    return np.asarray(directions / np.sqrt(sizes + PRECISIONS[np.argmax(evidence)]))


def _design(rows: Rows, layers: Sequence[tuple[Floats, Floats]], log_noise: Floats) -> Floats:
    """Coordinates of all labels in the space of the last weights, in units of the noise."""
    coordinates = rows.coordinates.double().numpy()
    hidden, _ = outputs(layers, silu, coordinates, None)
    design: Floats = _with_bias(hidden[0], 1.0) / np.exp(log_noise[0])
    if rows.tangents is None:
        return design
    _, slopes = outputs(layers, silu, coordinates[: len(rows.tangents)], rows.tangents.double().numpy())
    assert slopes is not None
    of_slopes = _with_bias(slopes[0], 0.0).reshape(-1, design.shape[1]) / np.exp(log_noise[1])
    return np.concatenate([design, of_slopes])


def _with_bias(hidden: Floats, bias: float) -> Floats:
    return np.asarray(np.concatenate([hidden, np.full_like(hidden[..., :1], bias)], axis=-1))


METHODS = (
    Method(
        name="laplace",
        title="Laplace, last layer",
        fit=fit,
        defaults=DEFAULTS,
        grid=GRID,
        learns_from_stress=True,
        predicts_stress=True,
        passes=lambda _: 1,
    ),
)
