"""Deep evidential regression: a network that answers with the parameters of a normal-inverse-gamma distribution.

Energies and slopes have evidence of their own: ν, α and β of each are further outputs, functions of the lattice that
all six strains share. Without stress labels the slopes' evidence is the energies', in slope units.

Source: Amini, Schwarting, Soleimany & Rus, NeurIPS 2020.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from ase_dkl.arrays import Floats
from ase_dkl.benchmark.methods.method import Method, Settings
from ase_dkl.benchmark.methods.network_model import Moments, NetworkModel, by_cell, outputs
from ase_dkl.benchmark.methods.networks import SHARED, Likelihood, Outputs, backbone, minimise, on_rows, seeded, settled
from ase_dkl.benchmark.methods.rows import TRENDS, Rows
from ase_dkl.dataset import Dataset
from ase_dkl.model.features import silu

DEFAULTS: Settings = {**SHARED, "evidence_penalty": 0.01}
GRID = {
    **TRENDS,
    "evidence_penalty": (0.0, 0.01, 0.1, 1.0),
    "learning_rate": (3e-3, 1e-2),
    "weight_decay": (0.0, 0.1, 0.3),
}
LEAST = 1e-6
"""What ν, α − 1 and β are at least."""


@dataclass(frozen=True, eq=False)
class EvidentialHead:
    """The trained network; see `Head`.

    Attributes:
        layers: its outputs are the energy, and what softplus turns into ν, α − 1 and β of energies and of slopes.
        has_slopes: whether the slopes' evidence was learnt.
    """

    layers: Sequence[tuple[Floats, Floats]]
    has_slopes: bool

    @property
    def width(self) -> int:
        """Numbers that it holds for one image of a cell at a time."""
        return int(self.layers[0][0].shape[2])

    def moments(self, coordinates: Floats, tangents: Floats | None) -> Moments:
        """Moments of the distribution: epistemic variance β / (ν (α − 1)), noise β / (α − 1); see `Head`."""
        values, slopes = outputs(self.layers, silu, coordinates, tangents)
        mean = by_cell(values, slopes)[0]
        kinds = [0, *[int(self.has_slopes)] * (mean.shape[1] - 1)]
        evidence = np.logaddexp(0, values[0, :, 1:]).reshape(len(mean), 2, 3)[:, kinds] + LEAST
        noise = evidence[..., 2] / evidence[..., 1]
        return Moments(mean, noise / evidence[..., 0], noise)


def fit(dataset: Dataset, settings: Settings, seed: int) -> NetworkModel:
    """Train the network by the likelihood of the labels with mean and noise integrated out."""
    rows = Rows.of(dataset, settings)
    with seeded(seed):
        network, likelihood = backbone(rows, 7, settings), Likelihood()

        def loss() -> Tensor:
            return _loss(likelihood, rows, on_rows(network, rows), settings["evidence_penalty"])

        minimise(loss, list(network.parameters()), [likelihood.offset], settings)
    head = EvidentialHead(settled(network), rows.frame.has_slopes)
    return NetworkModel(rows.frame, head, likelihood.offset_in_eV(rows.frame))


def _loss(likelihood: Likelihood, rows: Rows, given: Outputs, penalty: float) -> Tensor:
    """Student's t of every label, and a penalty on evidence where the error is large."""
    evidence = softplus(given[0][0, :, 1:]) + LEAST
    total = torch.zeros(())
    for kind, error in enumerate(likelihood.errors(rows, given)):
        of_kind = evidence[: error.shape[1], 3 * kind : 3 * kind + 3, None]
        nu, alpha, beta = of_kind[:, 0], 1 + of_kind[:, 1], of_kind[:, 2]
        squares = error[0].reshape(len(nu), -1) ** 2
        omega = 2 * beta * (1 + nu)
        likelihoods = (
            0.5 * (math.pi / nu).log()
            - alpha * omega.log()
            + (alpha + 0.5) * (squares * nu + omega).log()
            + alpha.lgamma()
            - (alpha + 0.5).lgamma()
        )
        total = total + (likelihoods + penalty * error[0].reshape(len(nu), -1).abs() * (2 * nu + alpha)).sum()
    return total / rows.n_labels


METHODS = (
    Method(
        name="evidential",
        title="Deep evidential regression",
        fit=fit,
        defaults=DEFAULTS,
        grid=GRID,
        learns_from_stress=True,
        predicts_stress=True,
        passes=lambda _: 1,
    ),
)
