"""Networks that feed Gaussian processes: what they say of the points of a space, in physical units."""

from __future__ import annotations

from functools import cached_property
from typing import Generic, TypeVar

import numpy as np

from ase_dkl.arrays import Floats
from ase_dkl.model.features import propagate, silu
from ase_dkl.model.labels import Units
from ase_dkl.model.layout import Layout
from ase_dkl.model.mean import MEANS, Mean
from ase_dkl.model.posterior import Posterior, spread_factor, spread_variance
from ase_dkl.model.prediction import JointPosterior
from ase_dkl.model.records import TrainConfig
from ase_dkl.model.space import Seen, Space

Layers = list[tuple[Floats, Floats]]
SpaceT = TypeVar("SpaceT", bound=Space)

_CHUNK = 2**18
"""Numbers in the largest intermediate of a batch prediction: small enough to stay near the caches."""


class DeepKernel(Generic[SpaceT]):
    """A mixture of deep kernel processes.

    Attributes:
        space: what moves.
        units: of what is predicted, inside.
        config: how it was trained.
        layers: of the networks, weights and biases.
        process: the Gaussian processes on the features.
    """

    def __init__(self, space: SpaceT, units: Units, config: TrainConfig, layers: Layers, process: Posterior) -> None:
        self.space, self.units, self.config = space, units, config
        self.layers, self.process = layers, process

    @cached_property
    def mean(self) -> Mean:
        """What is expected beforehand."""
        return MEANS[self.config.mean](self.space)

    def marginals(self, points: Floats, slopes: bool, coordinates: Floats | None = None) -> tuple[Floats, Floats]:
        """Mean and standard deviation of values, and of their derivatives where wanted.

        Args:
            points: of the space, shape (n, ...).
            slopes: whether derivatives along the directions of all blocks are wanted.
            coordinates: of the points' images, where they are known and no derivatives are wanted.

        Returns:
            Two arrays of shape (n, 1) or (n, 1 + t), in the unit of the quantity; derivatives are over the directions'.
        """
        rows = len(self.layout(1, slopes))
        size = max(1, _CHUNK // (self.space.shape[0] * rows * self.config.width * self.config.networks))
        expected, uncertainty = np.empty((2, len(points), rows))
        for start in range(0, len(points), size):
            part = slice(start, start + size)
            known = None if coordinates is None else coordinates[part]
            means, variances = self.process.marginals(*self._observe(points[part], slopes, known))
            deviations = np.sqrt(variances.mean(axis=0) + spread_variance(means))
            layout = self.layout(len(points[part]), slopes)
            expected[part], uncertainty[part] = layout.by_point(means.mean(axis=0)), layout.by_point(deviations)
        expected *= self.units.scale
        uncertainty *= self.units.scale
        expected[:, 0] += self.units.shift
        return expected, uncertainty

    def joint(self, points: Floats, slopes: bool, *, spread: bool = True) -> JointPosterior:
        """The joint Gaussian of values, and of their derivatives where wanted, in the units of `marginals`.

        Args:
            points: of the space, shape (n, ...).
            slopes: whether derivatives are wanted.
            spread: whether the covariance contains the networks' disagreement.
        """
        means, covariances = self.process.joint(*self._observe(points, slopes))
        networks, mean, covariance = len(means), means.mean(axis=0), covariances.mean(axis=0)
        if networks > 1 and spread:
            covariance += np.cov(means, rowvar=False) * spread_factor(networks)
        layout = self.layout(len(points), slopes)
        mean *= self.units.scale
        mean[: layout.n] += self.units.shift
        return JointPosterior(mean, covariance * self.units.scale**2, layout)

    def layout(self, n: int, slopes: bool) -> Layout:
        """Where values of n points stand, and their derivatives where wanted."""
        return Layout(n, n, self.space.blocks) if slopes else Layout(n)

    def _observe(
        self, points: Floats, slopes: bool, coordinates: Floats | None = None
    ) -> tuple[Floats, Floats | None, Floats]:
        """Features, their derivatives along all directions, and the mean's functions."""
        seen: Seen
        if slopes:
            seen = self.space.seen_along_all(points)
        elif coordinates is None:
            seen = self.space.seen(points)
        else:
            seen = Seen(points, None, coordinates, None)
        with np.errstate(over="ignore"):  # where exp overflows, SiLU is exactly zero
            features, derivatives = propagate(self.layers, silu, seen.coordinates, seen.tangents)
        return features, derivatives, self.mean.functions(seen)
