"""What network methods share in training: the backbone, the labels' noise and offset, and the optimiser."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ase_dkl.arrays import Floats
from ase_dkl.benchmark.methods import rows as labelled
from ase_dkl.benchmark.methods.method import Settings
from ase_dkl.benchmark.methods.rows import Frame, Rows
from ase_dkl.training.network import FeatureExtractor

Outputs = tuple[Tensor, Tensor | None]
"""Outputs of K networks: values, shape (K, n, f), and slopes of the rows with stress labels, shape (K, m, t, f)."""

SHARED: Settings = {
    **labelled.SHARED,
    "width": 32,
    "depth": 6,
    "spectral_coefficient": 0.9,
    "steps": 600,
    "learning_rate": 1e-2,
    "weight_decay": 0.1,
}
"""Settings of every network method: those of its rows, of the residual network, and of its training."""
INITIAL_NOISE = 0.3
"""Where training begins, in units of what the trend leaves."""
OTHER_RATE = 5.0
"""Times the networks' learning rate, of the noise and of the labels' offset."""


class Likelihood(nn.Module):
    """Gaussian noise on both kinds of label, and what the labels' offset has beyond the frame's; K of each."""

    def __init__(self, networks: int = 1) -> None:
        super().__init__()
        self.log_noise = nn.Parameter(torch.full((2, networks), math.log(INITIAL_NOISE)))
        self.offset = nn.Parameter(torch.zeros(networks))

    def errors(self, rows: Rows, given: Outputs) -> list[Tensor]:
        """Errors of values (K, n) and, where there are any, slopes (K, m, t)."""
        values, slopes = given
        errors = [values[..., 0] - rows.values]
        if slopes is not None:
            errors.append(slopes[..., 0] + self.offset[:, None, None] * rows.traces - rows.slopes)
        return errors

    def loss(self, rows: Rows, given: Outputs) -> Tensor:
        """Negative log likelihood of the labels, but for a constant: mean over them, sum over the networks."""
        total = torch.zeros(())
        for error, log_noise in zip(self.errors(rows, given), self.log_noise, strict=False):
            scaled = error.flatten(1) / log_noise.exp()[:, None]
            total = total + (0.5 * scaled**2 + log_noise[:, None]).sum()
        return total / rows.n_labels

    def offset_in_eV(self, frame: Frame) -> float:
        """The labels' offset, averaged over the networks."""
        return frame.offset + frame.unit * frame.slope_unit * float(self.offset.detach().mean())

    def noise(self) -> Floats:
        """Logarithms of the noise on values and on slopes, shape (2,)."""
        return self.log_noise.detach().mean(1).double().numpy()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random numbers from a seed, and torch's own state as it was afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def backbone(rows: Rows, n_features: int, settings: Settings, *, networks: int = 1) -> FeatureExtractor:
    """Fresh networks for these rows."""
    return FeatureExtractor(
        networks,
        rows.coordinates.shape[-1],
        n_features,
        width=settings["width"],
        depth=settings["depth"],
        coefficient=settings["spectral_coefficient"],
    )


def on_rows(network: Callable[[Tensor, Tensor | None], Outputs], rows: Rows) -> Outputs:
    """What networks say of training rows; only those with stress labels are differentiated."""
    if rows.tangents is None:
        return network(rows.coordinates, None)
    m = len(rows.tangents)
    values, slopes = network(rows.coordinates[:m], rows.tangents)
    if m < len(rows.coordinates):
        values = torch.cat([values, network(rows.coordinates[m:], None)[0]], dim=1)
    return values, slopes


def minimise(
    loss: Callable[[], Tensor], weights: Sequence[nn.Parameter], others: Sequence[nn.Parameter], settings: Settings
) -> None:
    """Adam with decoupled weight decay and a rate that falls to zero along a cosine.

    Args:
        loss: of all rows, a scalar.
        weights: of the networks; these decay.
        others: noise and offset, which go faster and do not decay.
        settings: those in `SHARED`.

    Raises:
        FloatingPointError: the loss is not finite in the end.
    """
    rate = settings["learning_rate"]
    optimiser = torch.optim.AdamW(
        [
            {"params": list(weights), "lr": rate, "weight_decay": settings["weight_decay"]},
            {"params": list(others), "lr": OTHER_RATE * rate, "weight_decay": 0.0},
        ],
        betas=(0.9, 0.95),
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings["steps"])
    for _ in range(settings["steps"]):
        optimiser.zero_grad()
        latest = loss()
        latest.backward()
        optimiser.step()
        schedule.step()
    if not torch.isfinite(latest):
        raise FloatingPointError(f"Training diverged: the loss is {latest.detach().item()}. Use a lower learning_rate.")


def settled(extractor: FeatureExtractor) -> list[tuple[Floats, Floats]]:
    """Trained layers for predictions: in double precision, with the spectral normalisation folded into the weights."""
    extractor.double().eval()
    for layer in extractor.layers:
        layer.fold()
    return [layer.numpy() for layer in extractor.layers]
