"""What training sees: inputs and labels in scaled units, all at once or a few structures at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import block_diag
from torch import Tensor

from ase_dkl.arrays import Floats
from ase_dkl.model.labels import Labels
from ase_dkl.model.mean import MEANS
from ase_dkl.model.posterior import Posterior
from ase_dkl.model.records import TrainConfig

SUBSET = 2000
"""m_r: structures that fuzzy c-means sees."""


@dataclass(frozen=True)
class Batch:
    """Inputs that do not depend on the networks, and labels, of n structures.

    Attributes:
        coordinates: scaled lattice parameters of every image, shape (n, g, p).
        tangents: their derivatives, of the first m structures along t directions, shape (m, g, t, p), or None.
        basis: independent basis functions of the mean, shape (n + m t, R).
        labels: scaled energies, then derivatives of the energy point by point, shape (n + m t,).
        blocks: kinds of the directions.
    """

    coordinates: Tensor
    tangents: Tensor | None
    basis: Tensor
    labels: Tensor
    blocks: Mapping[str, int]

    def in_precision(self, dtype: torch.dtype) -> Batch:
        """The networks' inputs in another precision; basis and labels stay."""
        tangents = None if self.tangents is None else self.tangents.to(dtype)
        return replace(self, coordinates=self.coordinates.to(dtype), tangents=tangents)


class TrainingData:
    """Labels, as networks learn from them. Structures that have stress labels come first.

    Args:
        labels: of a dataset.
        config: says how many inducing points want a place, and which mean.
    """

    def __init__(self, labels: Labels, config: TrainConfig) -> None:
        self._labels, self._config = labels, config
        self.space, self.mean = labels.space, MEANS[config.mean](labels.space)
        self.n_stress, self.blocks = len(labels.slopes), labels.blocks
        # The last function is the labels' offset. BLAS rounds by the layout, and models are to stay what they were.
        self._independent = np.asfortranarray(block_diag(self.mean.independent(labels.points), 1.0))

    def __len__(self) -> int:
        return len(self._labels.values)

    @property
    def n_labels(self) -> int:
        """Energies and derivatives together."""
        return len(self._labels.layout)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of labels that there are."""
        return self._labels.layout.kinds

    def batch(self, index: NDArray[np.int_]) -> Batch:
        """Some structures, in rising order."""
        labels = self._labels.part(index)
        seen, functions = labels.observed(self.mean)
        return Batch(
            _tensor(seen.coordinates),
            None if seen.tangents is None else _tensor(seen.tangents),
            _tensor(functions @ self._independent),
            _tensor(labels.together()),
            labels.layout.blocks,
        )

    def all(self) -> Batch:
        """All structures."""
        return self.batch(np.arange(len(self)))

    def used(self, fold: NDArray[np.int_]) -> Tensor:
        """Labels for each network to be trained with, all but those of its fold: 1 or 0, shape (K, labels)."""
        return _tensor((fold[self._labels.layout.points] != np.arange(self._config.networks)[:, None]).astype(float))

    def subset(self, rng: np.random.Generator) -> Tensor:
        """Coordinates of a random subset, shape (m_r, g, p).

        A structure with stresses is worth several observations, and then there may be more inducing points than
        structures. The subset is filled up with points between the labelled ones.
        """
        every = self._labels.points
        points = every[rng.permutation(len(self))[:SUBSET]]
        missing = 8 * self._config.n_inducing - len(points)
        if self.n_stress and missing > 0:
            points = np.concatenate([points, self.space.between(every, missing, rng)])
        return _tensor(self.space.coordinates(points))

    def of_all_functions(self, posterior: Posterior) -> Posterior:
        """A posterior of the weights of the independent basis functions, as one of all P of them."""
        m = posterior.points.shape[1]
        weights, factor = posterior.weights[:, m:, None], posterior.factor[:, m:]
        return replace(
            posterior,
            weights=np.concatenate([posterior.weights[:, :m], (self._independent @ weights)[..., 0]], axis=1),
            factor=np.concatenate([posterior.factor[:, :m], self._independent @ factor], axis=1),
        )

    def learnt(self) -> Tensor | None:
        """Functions whose prior's breadth the bound finds, all but the constant and the offset, shape (R,)."""
        if not self.mean.breadth_is_learnt:
            return None
        place = torch.arange(self._independent.shape[1])
        return (place > 0) & (place < len(place) - 1)

    def activation_bytes(self) -> int:
        """Memory that training on all data at once takes for what the backward pass needs."""
        passes = self.n_labels
        numbers = passes * self.space.shape[0] * self._config.networks * self._config.width
        return 4 * 3 * self._config.depth * numbers


def folds(n: int, config: TrainConfig) -> NDArray[np.int_] | None:
    """The network that each of n structures, those with stresses first, is kept from while networks train, shape (n,).

    None where there is one network, or fewer structures than networks.
    """
    if config.networks == 1 or n < config.networks:
        return None
    return np.asarray(np.random.default_rng(config.seed).permutation(n) % config.networks)


def _tensor(array: Floats) -> Tensor:
    # A copy: torch's own memory is aligned, and with that the last bit of a product is the same in every run.
    return torch.tensor(array)
