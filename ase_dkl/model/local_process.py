"""The trained process of free ions, reduced to what predictions take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeAlias

import numpy as np
from scipy.linalg import block_diag, solve_triangular

from ase_dkl.arrays import Floats
from ase_dkl.model.local_kernel import Inducing, Prior, of_structures
from ase_dkl.model.pairs import Environment

JITTER = 1e-8
"""Added to the diagonal of K_ZZ, over its mean."""
Seen: TypeAlias = tuple[Floats, Floats]
"""Of structures: coordinates of the pairs, shape (n, p), and their derivatives along t directions, (n, t, p)."""
CONSTANT, OFFSET = 10.0, 1e3
"""Prior standard deviations of the constant and of what all stress labels are off by, in the energies' scale."""


class Process(Protocol):
    """What a model of free ions asks of a process; see `LocalProcess`."""

    @property
    def noise(self) -> Mapping[str, float]:
        """Standard deviation of the labels' noise, by kind."""

    @property
    def weights(self) -> Floats:
        """What predictions weigh."""

    def means(self, coordinates: Floats, tangents: Floats) -> Floats:
        """Of values and slopes."""

    def marginals(self, coordinates: Floats, tangents: Floats) -> tuple[Floats, Floats]:
        """Means and variances of these."""

    def joint(self, coordinates: Floats, tangents: Floats) -> tuple[Floats, Floats]:
        """Their means and covariances."""


@dataclass(frozen=True, eq=False)
class LocalProcess:
    """A Gaussian process of an energy that is a sum over environments, on inducing functionals.

    With h(o) = [k_Z(o); φ(o)] of an observation o, φ the constant and the labels' offset:
    mean = hᵀ w,  variance = k_oo − ‖T_Zᵀ k_Z‖² + ‖Tᵀ h‖².

    Attributes:
        unit: length of the environments that coordinates are divided by.
        scales: s, of the profiles, shape (Q,).
        inducing: of each orbit, M together.
        noise: standard deviation of the labels' noise, by kind.
        factor: T, a root of the covariance of the weights of h, shape (M + 2, M + 2).
        weights: w, shape (M + 2,).
    """

    unit: float
    scales: Floats
    inducing: tuple[Inducing, ...]
    noise: Mapping[str, float]
    factor: Floats
    weights: Floats

    @cached_property
    def prior(self) -> Prior:
        """Covariances under the scales."""
        return Prior(self.scales)

    @cached_property
    def whitening(self) -> Floats:
        """T_Z = L⁻ᵀ with L Lᵀ = K_ZZ, shape (M, M)."""
        return whitening(self.prior, self.inducing)

    def marginals(self, coordinates: Floats, tangents: Floats) -> tuple[Floats, Floats]:
        """Mean and variance of structures' values and slopes, without noise, shape (n, 1 + t) each.

        Args:
            coordinates: of the pairs, shape (n, p).
            tangents: their derivatives along t directions, shape (n, t, p).
        """
        seen = coordinates / self.unit, tangents / self.unit
        rows = observations(self.prior, self.inducing, *seen)
        size = len(self.whitening)
        variance = prior_variances(self.prior, self._environments, *seen)[0]
        variance -= ((rows[..., :size] @ self.whitening) ** 2).sum(axis=-1)
        return rows @ self.weights, np.maximum(variance, 0) + ((rows @ self.factor) ** 2).sum(axis=-1)

    def means(self, coordinates: Floats, tangents: Floats) -> Floats:
        """The first of `marginals`."""
        return observations(self.prior, self.inducing, coordinates / self.unit, tangents / self.unit) @ self.weights

    def joint(self, coordinates: Floats, tangents: Floats) -> tuple[Floats, Floats]:
        """Mean of all values and slopes, structure by structure, shape (n (1 + t),), and their covariance."""
        seen = coordinates / self.unit, tangents / self.unit
        rows = observations(self.prior, self.inducing, *seen).reshape(-1, len(self.weights))
        size = len(self.whitening)
        covariance = prior_covariance(self.prior, self._environments, *seen)
        whitened, left = rows[:, :size] @ self.whitening, rows @ self.factor
        covariance += left @ left.T - whitened @ whitened.T
        return rows @ self.weights, covariance

    @property
    def _environments(self) -> tuple[Environment, ...]:
        return tuple(each.environment for each in self.inducing)


def prior_cross(prior: Prior, environments: Sequence[Environment], one: Seen, other: Seen) -> Floats:
    """Prior covariances of values and slopes of n structures with those of m others, shape (n (1 + t), m (1 + u))."""
    (n, t), (m, u) = one[1].shape[:2], other[1].shape[:2]
    found = np.zeros((n, 1 + t, m, 1 + u))
    for environment in environments:
        seen = [environment.of(each) for each, _ in (one, other)]
        along = [(each[..., environment.places] * environment.weights).swapaxes(1, 2) for _, each in (one, other)]
        for i in range(n):
            for j in range(m):
                found[i, :, j] += prior.between(environment, seen[0][i], along[0][i], seen[1][j], along[1][j])[0]
    return found.reshape(n * (1 + t), m * (1 + u))


def whitening(prior: Prior, inducing: tuple[Inducing, ...]) -> Floats:
    """L⁻ᵀ with L Lᵀ = K_ZZ, shape (M, M)."""
    parts = []
    for each in inducing:
        covariance = prior.covariances(each)[0]
        size = len(covariance)
        root = np.linalg.cholesky(covariance + JITTER * np.trace(covariance) / size * np.eye(size))
        parts.append(solve_triangular(root, np.eye(size), lower=True).T)
    return np.asarray(block_diag(*parts))


def observations(prior: Prior, inducing: tuple[Inducing, ...], coordinates: Floats, tangents: Floats) -> Floats:
    """[k_Z; 1; 0] of values, and of slopes along t directions with a constant of zero, shape (n, 1 + t, M + 2)."""
    n, t = tangents.shape[:2]
    size = sum(map(len, inducing))
    found = np.zeros((n, 1 + t, size + 2))
    found[..., :size] = of_structures(prior, inducing, coordinates, tangents)[0]
    found[:, 0, size] = 1
    return found


def prior_variances(prior: Prior, environments: Sequence[Environment], coordinates: Floats, tangents: Floats) -> Floats:
    """Prior variances of values and slopes, without the constant's, shape (K, n, 1 + t)."""
    found = np.zeros((prior.count, len(coordinates), 1 + tangents.shape[1]))
    for environment in environments:
        along = tangents[..., environment.places] * environment.weights
        for each, (seen, slopes) in enumerate(zip(environment.of(coordinates), along, strict=True)):
            found[:, each] += prior.variances(environment, seen, slopes.swapaxes(0, 1))
    return found


def prior_covariance(
    prior: Prior, environments: Sequence[Environment], coordinates: Floats, tangents: Floats
) -> Floats:
    """Prior covariances of all values and slopes, structure by structure, shape (n (1 + t), n (1 + t))."""
    n, rows = len(coordinates), 1 + tangents.shape[1]
    found = np.zeros((n, rows, n, rows))
    for environment in environments:
        seen = environment.of(coordinates)
        along = (tangents[..., environment.places] * environment.weights).swapaxes(1, 2)
        for i in range(n):
            for j in range(i + 1):
                block = prior.between(environment, seen[i], along[i], seen[j], along[j])[0]
                found[i, :, j] += block
                if i != j:
                    found[j, :, i] += block.T
    return found.reshape(n * rows, n * rows)
