"""SNGP: a spectrally normalised network under a Gaussian process by random features, with Laplace's approximation.

The process's weights are trained with the network. When training ends they are solved for with their covariance: under
Gaussian noise Laplace's approximation is exact. Slopes are linear in the same weights, and so are part of it.

Source: Liu et al., NeurIPS 2020; random features: Rahimi & Recht, NeurIPS 2007.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ase_dkl.arrays import Array, Floats, namespace
from ase_dkl.benchmark.methods.method import Method, Settings
from ase_dkl.benchmark.methods.network_model import Moments, NetworkModel, constant_noise, outputs
from ase_dkl.benchmark.methods.networks import SHARED, Likelihood, Outputs, backbone, minimise, on_rows, seeded, settled
from ase_dkl.benchmark.methods.rows import TRENDS, Rows
from ase_dkl.dataset import Dataset
from ase_dkl.model.features import silu

DEFAULTS: Settings = {**SHARED, "n_features": 8, "n_random": 512, "lengthscale": 8.0, "amplitude": 10.0}
GRID = {
    **TRENDS,
    "lengthscale": (1.0, 3.0, 8.0),
    "amplitude": (1.0, 3.0, 10.0),
    "learning_rate": (3e-3, 1e-2),
    "weight_decay": (0.0, 0.1, 0.3),
}
OFFSET_PRIOR = 10.0
"""Standard deviation of the labels' offset, in slope units."""


@dataclass(frozen=True, eq=False)
class SNGPHead:
    """The trained network and its process; see `Head`.

    Attributes:
        layers: of the network.
        directions: of the random features, shape (f, D).
        phases: shape (D,).
        amplitude: prior standard deviation.
        weights: shape (D,).
        factor: a root of their covariance, shape (D, q).
        log_noise: shape (2,).
    """

    layers: Sequence[tuple[Floats, Floats]]
    directions: Floats
    phases: Floats
    amplitude: float
    weights: Floats
    factor: Floats
    log_noise: Floats

    @property
    def width(self) -> int:
        """Numbers that it holds for one image of a cell at a time."""
        return int(self.layers[0][0].shape[2]) + len(self.phases)

    def moments(self, coordinates: Floats, tangents: Floats | None) -> Moments:
        """Moments of the process; see `Head`."""
        features, slopes = outputs(self.layers, silu, coordinates, tangents)
        values, slopes = random_features(features, slopes, self.directions, self.phases, self.amplitude)
        rows = values[0][:, None]
        if slopes is not None:
            rows = np.concatenate([rows, slopes[0]], axis=1)
        mean = rows @ self.weights
        return Moments(mean, ((rows @ self.factor) ** 2).sum(-1), constant_noise(self.log_noise, mean.shape))


def random_features(
    features: Array, slopes: Array | None, directions: Array, phases: Array, amplitude: float
) -> tuple[Array, Array | None]:
    """Functions whose products approximate the RBF kernel, and their derivatives.

    Args:
        features: shape (K, n, f).
        slopes: their derivatives, shape (K, m, t, f), or None; of the first m.
        directions: normal numbers over the length scale, shape (f, D).
        phases: between 0 and 2π, shape (D,).
        amplitude: prior standard deviation of the process.
    """
    xp = namespace(features)
    scale = amplitude * math.sqrt(2 / len(phases))
    angles = features @ directions + phases
    values = scale * xp.cos(angles)
    if slopes is None:
        return values, None
    m = slopes.shape[1]
    return values, -scale * xp.sin(angles[:, :m, None]) * (slopes @ directions)


def fit(dataset: Dataset, settings: Settings, seed: int) -> NetworkModel:
    """Train network and process, then solve for the process's weights."""
    rows = Rows.of(dataset, settings)
    amplitude: float = settings["amplitude"]
    with seeded(seed):
        network, likelihood = backbone(rows, settings["n_features"], settings), Likelihood()
        directions = torch.randn(settings["n_features"], settings["n_random"])
        phases = 2 * math.pi * torch.rand(settings["n_random"])
        with torch.no_grad():
            spread = network(rows.coordinates)[0].std(dim=1).mean()
        directions = directions / (settings["lengthscale"] * math.sqrt(settings["n_features"]) * spread)
        weights = nn.Parameter(torch.zeros(settings["n_random"], 1))

        def answer(coordinates: Tensor, tangents: Tensor | None) -> Outputs:
            features, slopes = network(coordinates, tangents)
            values, slopes = random_features(features, slopes, directions, phases, amplitude)
            return values @ weights, None if slopes is None else slopes @ weights

        def loss() -> Tensor:
            prior = 0.5 * (weights**2).sum() / rows.n_labels
            return likelihood.loss(rows, on_rows(answer, rows)) + prior

        minimise(loss, list(network.parameters()), [weights, *likelihood.parameters()], settings)
    layers = settled(network)
    doubles = directions.double().numpy(), phases.double().numpy()
    log_noise = likelihood.noise()
    mean, factor, offset = _posterior(rows, layers, *doubles, amplitude, log_noise)
    head = SNGPHead(layers, *doubles, amplitude, mean, factor, log_noise)
    frame = rows.frame
    return NetworkModel(frame, head, frame.offset + frame.unit * frame.slope_unit * offset)


def _posterior(
    rows: Rows,
    layers: Sequence[tuple[Floats, Floats]],
    directions: Floats,
    phases: Floats,
    amplitude: float,
    log_noise: Floats,
) -> tuple[Floats, Floats, float]:
    """Mean of the weights, a root of their covariance, and the labels' offset, which has a column of its own."""
    coordinates = rows.coordinates.double().numpy()
    tangents = None if rows.tangents is None else rows.tangents.double().numpy()
    m = 0 if tangents is None else len(tangents)
    features, slopes = outputs(layers, silu, coordinates[:m], tangents) if m else (None, None)
    rest, _ = outputs(layers, silu, coordinates[m:], None)
    features = rest if features is None else np.concatenate([features, rest], axis=1)
    values, derivatives = random_features(features, slopes, directions, phases, amplitude)
    design = np.pad(values[0], ((0, 0), (0, 1)))
    labels = rows.values.double().numpy()
    sigma = np.full(len(labels), np.exp(log_noise[0]))
    if derivatives is not None:
        traces = OFFSET_PRIOR * rows.traces.double().numpy()
        of_slopes = np.concatenate([derivatives[0], traces[..., None]], axis=-1).reshape(-1, design.shape[1])
        design = np.concatenate([design, of_slopes])
        labels = np.concatenate([labels, rows.slopes.double().numpy().ravel()])
        sigma = np.concatenate([sigma, np.full(len(of_slopes), np.exp(log_noise[1]))])
    design, labels = design / sigma[:, None], labels / sigma
    root = np.linalg.cholesky(design.T @ design + np.eye(design.shape[1]))
    inverse = np.linalg.solve(root, np.eye(len(root)))
    mean = inverse.T @ (inverse @ (design.T @ labels))
    return mean[:-1], np.ascontiguousarray(inverse.T[:-1]), float(OFFSET_PRIOR * mean[-1])


METHODS = (
    Method(
        name="sngp",
        title="SNGP",
        fit=fit,
        defaults=DEFAULTS,
        grid=GRID,
        learns_from_stress=True,
        predicts_stress=True,
        passes=lambda _: 1,
    ),
)
