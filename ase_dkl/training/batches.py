"""What training sees: inputs and labels in scaled units, all at once or a few structures at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ase_dkl.arrays import Floats
from ase_dkl.crystal import lattice
from ase_dkl.dataset import Dataset
from ase_dkl.model.inputs import DEGREES, Labels, Scaling, basis_functions
from ase_dkl.model.posterior import Posterior
from ase_dkl.model.records import TrainConfig

SYNTHETIC = 400
"""Random lattices that tell which basis functions are independent."""
DEPENDENT = 1e-9
"""Relative size below which a combination of basis functions is zero but for rounding."""
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
    """

    coordinates: Tensor
    tangents: Tensor | None
    basis: Tensor
    labels: Tensor

    def in_precision(self, dtype: torch.dtype) -> Batch:
        """The networks' inputs in another precision; basis and labels stay."""
        tangents = None if self.tangents is None else self.tangents.to(dtype)
        return Batch(self.coordinates.to(dtype), tangents, self.basis, self.labels)


class TrainingData:
    """A dataset in scaled units. Structures that have stress labels come first.

    Args:
        dataset: labelled cells.
        images: symmetry images to average over, shape (g, d, d).
        config: says how many inducing points want a place, and which mean.
        scaling: units, where an earlier model has set them.
    """

    def __init__(
        self, dataset: Dataset, images: NDArray[np.int_], config: TrainConfig, scaling: Scaling | None = None
    ) -> None:
        self._labels = Labels.of(dataset, scaling or images)
        self.scaling = self._labels.scaling
        self.n_stress = len(self._labels.slopes)
        self._config = config
        self._independent = self._independent_functions()

    def __len__(self) -> int:
        return len(self._labels.values)

    @property
    def n_labels(self) -> int:
        """Energies and derivatives together."""
        return len(self) + int(self._labels.slopes.size)

    def batch(self, index: NDArray[np.int_]) -> Batch:
        """Some structures, in rising order."""
        labels = self._labels.part(index)
        coordinates, tangents, basis = labels.observed(self._config.mean)
        return Batch(
            _tensor(coordinates),
            None if tangents is None else _tensor(tangents),
            _tensor(basis @ self._independent),
            _tensor(labels.together()),
        )

    def all(self) -> Batch:
        """All structures."""
        return self.batch(np.arange(len(self)))

    def fold(self, seed: int) -> NDArray[np.int_] | None:
        """The network that each structure, those with stresses first, is kept from while networks train, shape (n,).

        None where there is one network, or fewer structures than networks.
        """
        networks, n = self._config.networks, len(self)
        if networks == 1 or n < networks:
            return None
        return np.asarray(np.random.default_rng(seed).permutation(n) % networks)

    def used(self, fold: NDArray[np.int_]) -> Tensor:
        """Labels for each network to be trained with, all but those of its fold: 1 or 0, shape (K, labels)."""
        of_labels = np.concatenate([fold, np.repeat(fold[: self.n_stress], self._labels.slopes.shape[1])])
        return _tensor((of_labels != np.arange(self._config.networks)[:, None]).astype(float))

    def subset(self, rng: np.random.Generator) -> Tensor:
        """Coordinates of a random subset, shape (m_r, g, p).

        A structure with stresses is worth several observations, and then there may be more inducing points than
        structures. The subset is filled up with lattices between the labelled ones: mixtures of two metrics.
        """
        every = self._labels.cells
        cells = every[rng.permutation(len(self))[:SUBSET]]
        missing = 8 * self._config.n_inducing - len(cells)
        if self.n_stress and missing > 0:
            metrics = lattice.metric(every)
            first, second = metrics[rng.integers(len(self), size=(2, missing))]
            share = rng.random((missing, 1, 1))
            cells = np.concatenate([cells, _cells_of(share * first + (1 - share) * second)])
        return _tensor(self.scaling.coordinates(cells))

    def of_all_functions(self, posterior: Posterior) -> Posterior:
        """A posterior of the weights of the independent basis functions, as one of all P of them."""
        m = posterior.points.shape[1]
        weights, factor = posterior.weights[:, m:, None], posterior.factor[:, m:]
        return replace(
            posterior,
            weights=np.concatenate([posterior.weights[:, :m], (self._independent @ weights)[..., 0]], axis=1),
            factor=np.concatenate([posterior.factor[:, :m], self._independent @ factor], axis=1),
        )

    def _independent_functions(self) -> Floats:
        """An orthonormal basis of the weights that make a difference, shape (P, R).

        Averages of different monomials over the images are often the same function. With these combinations the
        process is the same, and its linear algebra a fraction.
        """
        if self._config.mean == "sextic":
            return np.eye(self.scaling.invariants.count + 1)
        degree = DEGREES[self._config.mean]
        rng = np.random.default_rng(0)
        cells = self._labels.cells[rng.integers(len(self), size=SYNTHETIC)]
        cells = lattice.strained(cells, rng.uniform(-0.1, 0.1, (SYNTHETIC, 6)))
        values = basis_functions(self.scaling.coordinates(cells), degree=degree)
        _, sizes, directions = np.linalg.svd(values, full_matrices=False)
        kept = directions[sizes > DEPENDENT * sizes[0]].T
        kept = np.pad(kept, ((0, 0), (0, 1)))
        # The labels' offset, of which predictions have nothing.
        kept[-1, -1] = 1
        return np.asarray(kept)

    def learnt(self) -> Tensor | None:
        """Functions whose prior the bound finds: a sextic mean's, less the constant and the offset, shape (R,)."""
        if self._config.mean != "sextic":
            return None
        place = torch.arange(self._independent.shape[1])
        return (place > 0) & (place < len(place) - 1)

    def activation_bytes(self) -> int:
        """Memory that training on all data at once takes for what the backward pass needs."""
        passes = self.n_labels
        numbers = passes * len(self.scaling.images) * self._config.networks * self._config.width
        return 4 * 3 * self._config.depth * numbers


def _cells_of(metrics: Floats) -> Floats:
    """Periodic rows of some cells with these metrics, shape (n, d, 3)."""
    roots = np.linalg.cholesky(metrics)
    return np.pad(roots, ((0, 0), (0, 0), (0, 3 - roots.shape[-1])))


def _tensor(array: Floats) -> Tensor:
    # A copy: torch's own memory is aligned, and with that the last bit of a product is the same in every run.
    return torch.tensor(array)
