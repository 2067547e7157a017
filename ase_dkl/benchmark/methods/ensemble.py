"""Deep ensemble: networks that differ in where they started, each with its own idea of the labels' noise.

Source: Lakshminarayanan, Pritzel & Blundell, NeurIPS 2017; the loss's weights, without which such networks explain
errors by noise: Seitzer et al., ICLR 2022 (β-NLL).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ase_dkl.benchmark.methods.method import Method, Settings
from ase_dkl.benchmark.methods.network_model import LOG_NOISE, NetworkModel, Passes
from ase_dkl.benchmark.methods.networks import (
    INITIAL_NOISE,
    SHARED,
    Likelihood,
    Outputs,
    backbone,
    minimise,
    on_rows,
    seeded,
    settled,
)
from ase_dkl.benchmark.methods.rows import TRENDS, Rows
from ase_dkl.dataset import Dataset

DEFAULTS: Settings = {**SHARED, "members": 5, "beta": 0.5}
GRID = {**TRENDS, "learning_rate": (3e-3, 1e-2), "weight_decay": (0.0, 0.1, 0.3), "beta": (0.0, 0.5, 1.0)}


def fit(dataset: Dataset, settings: Settings, seed: int) -> NetworkModel:
    """Train the members side by side."""
    rows = Rows.of(dataset, settings)
    members = settings["members"]
    with seeded(seed):
        networks = backbone(rows, 3, settings, networks=members)
        with torch.no_grad():
            networks.last.bias[..., 1:] += math.log(INITIAL_NOISE)
        likelihood = Likelihood(members)

        def loss() -> Tensor:
            return _loss(likelihood, rows, on_rows(networks, rows), settings["beta"])

        minimise(loss, list(networks.parameters()), [likelihood.offset], settings)
    head = Passes(settled(networks), None, None)
    return NetworkModel(rows.frame, head, likelihood.offset_in_eV(rows.frame))


def _loss(likelihood: Likelihood, rows: Rows, given: Outputs, beta: float) -> Tensor:
    """Negative log likelihood under each network's noise, every label's weighted by the noise to the power 2 β."""
    logs = given[0][..., 1:].clamp(*LOG_NOISE)
    total = torch.zeros(())
    for kind, error in enumerate(likelihood.errors(rows, given)):
        log = logs[:, : error.shape[1], kind].reshape(*error.shape[:2], *[1] * (error.ndim - 2))
        weight = (2 * beta * log.detach()).exp()
        total = total + (weight * (0.5 * (error / log.exp()) ** 2 + log)).sum()
    return total / rows.n_labels


METHODS = (
    Method(
        name="ensemble",
        title="Deep ensemble",
        fit=fit,
        defaults=DEFAULTS,
        grid=GRID,
        learns_from_stress=True,
        predicts_stress=True,
        passes=lambda settings: int(settings["members"]),
    ),
)
