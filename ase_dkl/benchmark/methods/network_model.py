"""A trained network method in physical units, and what predictions of networks have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike

from ase_dkl.arrays import Floats
from ase_dkl.benchmark.methods.rows import Frame
from ase_dkl.model.features import propagate, silu
from ase_dkl.model.layout import VALUE, by_column
from ase_dkl.model.prediction import Normal, Prediction, as_cells

Layers = Sequence[tuple[Floats, Floats]]
Activation = Callable[[Floats, int], Floats]

LOG_NOISE = (-9.0, 3.0)
"""Bounds of the logarithm of a noise that a network says."""
_CHUNK = 2**18
"""Numbers in the largest intermediate of a prediction."""


class Moments(NamedTuple):
    """What a network method says of n cells in the frame's units, energies first, shape (n, 1 or 1 + t) each.

    Attributes:
        mean: energies, and derivatives along the strains.
        variance: the model's own.
        noise: variance of the labels' noise.
    """

    mean: Floats
    variance: Floats
    noise: Floats


class Head(Protocol):
    """A trained method between the frame's inputs and its units."""

    @property
    def width(self) -> int:
        """Numbers that it holds for one image of a cell at a time."""
        ...

    def moments(self, coordinates: Floats, tangents: Floats | None) -> Moments:
        """What it says of cells with image coordinates (n, g, p) and tangents (n, g, 6, p)."""
        ...


@dataclass(frozen=True, eq=False)
class NetworkModel:
    """A trained network method in physical units.

    Attributes:
        frame: units, and the trend.
        head: what the networks say.
        stress_offset: the labels' constant in V·σ of xx, yy and zz (Pulay stress), eV; 0 without stress labels.
    """

    frame: Frame
    head: Head
    stress_offset: float

    def predict_cells(self, cells: ArrayLike, *, stress: bool = True) -> Prediction:
        """Predict cells in the reference's basis; energies are per reference cell.

        Args:
            cells: shape (n, 3, 3), Å.
            stress: whether stresses are wanted.

        Raises:
            ValueError: another shape, vectors that are not finite, or stress asked of a cell without volume.
        """
        given = as_cells(cells, stress=stress)
        blocks = self.frame.space.blocks if stress else {}
        units = self.frame.unit * by_column({VALUE: 1.0, "strain": self.frame.slope_unit}, blocks)
        answers = np.empty((3, len(given), len(units)))
        size = max(1, _CHUNK // (len(self.frame.space.frame.images) * len(units) * self.head.width))
        for start in range(0, len(given), size):
            part = slice(start, start + size)
            coordinates, tangents = self.frame.inputs(given[part], stress=stress)
            mean, variance, noise = self.head.moments(coordinates, tangents)
            answers[0, part] = self.frame.trend_of(coordinates, tangents) + units * mean
            answers[1:, part] = units * np.sqrt([variance, noise])
        if not self.frame.has_slopes:
            answers[2, :, 1:] = 0
        return Prediction.of(given, Normal(*answers))


@dataclass(frozen=True, eq=False)
class Passes:
    """K functions side by side: members of an ensemble, draws of weights, or one network under K dropout masks.

    Attributes:
        layers: weights (K or 1, inputs, outputs) and biases; the first output is the energy, two more where there are
            any the logarithms of the noise on energies and on slopes.
        masks: factors on the residual branches' outputs, (K, 1, width) of each branch; None for none.
        log_noise: the logarithms of the noise where it does not depend on the cell, shape (2,).
    """

    layers: Layers
    masks: Sequence[Floats] | None
    log_noise: Floats | None

    @property
    def width(self) -> int:
        """Numbers that it holds for one image of a cell at a time."""
        passes = len(self.layers[0][0]) if self.masks is None else len(self.masks[0])
        return passes * int(self.layers[0][0].shape[2])

    def moments(self, coordinates: Floats, tangents: Floats | None) -> Moments:
        """Mean and spread of the functions, whose slopes are each one's own; see `Head`."""
        activate = silu if self.masks is None else masked(self.masks)
        features, slopes = outputs(self.layers, activate, coordinates, tangents)
        each = by_cell(features, slopes)
        if self.log_noise is None:
            logs = np.clip(features[..., 1:], *LOG_NOISE)
            noise = np.exp(2 * logs).mean(axis=0)[:, [0, *[1] * (each.shape[2] - 1)]]
        else:
            noise = constant_noise(self.log_noise, each.shape[1:])
        return Moments(each.mean(axis=0), each.var(axis=0, ddof=1), noise)


def outputs(
    layers: Layers, activate: Activation, coordinates: Floats, tangents: Floats | None
) -> tuple[Floats, Floats | None]:
    """What trained networks say; see `propagate`."""
    with np.errstate(over="ignore"):  # where exp overflows, SiLU is exactly zero
        return propagate(layers, activate, coordinates, tangents)


def masked(masks: Sequence[Floats]) -> Activation:
    """SiLU with factors on the outputs of each branch in turn: the same for a value and its tangents."""
    turns = iter(masks)
    return lambda rows, values: silu(rows, values) * next(turns)


def by_cell(values: Floats, slopes: Floats | None) -> Floats:
    """The first outputs of K networks, energies before slopes, shape (K, n, 1 or 1 + t)."""
    first = values[..., :1]
    return first if slopes is None else np.concatenate([first, slopes[..., 0]], axis=-1)


def constant_noise(log_noise: Floats, shape: tuple[int, ...]) -> Floats:
    """Variance of the noise on energies and slopes of every cell, shape (n, 1 or 1 + t)."""
    return np.broadcast_to(np.exp(2 * log_noise[[0, *[1] * (shape[1] - 1)]]), shape)
