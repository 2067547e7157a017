"""The trained process, reduced to what predictions take: a kernel row, a product and a norm."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from ase_dkl import kernel
from ase_dkl.arrays import Floats

_CHUNK = 2**17
"""Numbers in an intermediate of a joint covariance: what stays near the caches is computed several times as fast."""


@dataclass(frozen=True, eq=False)
class Posterior:
    """K posteriors of values and directional derivatives, one for each network.

    With h(o) = [k_Z(o); φ(o)] of an observation o:  mean = hᵀ w,  variance = k_oo − ‖T_Zᵀ k_Z‖² + ‖Tᵀ h‖².

    Attributes:
        kind: of the kernel.
        points: inducing points Z, shape (K, M, f).
        lengthscale: ℓ, shape (K, 1, 1).
        scale: s, prior standard deviation, shape (K, 1, 1).
        whitening: T_Z = L⁻ᵀ, with L Lᵀ = K_ZZ, shape (K, M, M).
        factor: T, a root of the covariance of the weights of h, shape (K, M + P, q).
        weights: w, shape (K, M + P).
        value_noise: standard deviation of the labels' noise, shape (K,).
        derivative_noise: the same of derivatives, shape (K,).
    """

    kind: str
    points: Floats
    lengthscale: Floats
    scale: Floats
    whitening: Floats
    factor: Floats
    weights: Floats
    value_noise: Floats
    derivative_noise: Floats

    def marginals(self, features: Floats, derivatives: Floats | None, basis: Floats) -> tuple[Floats, Floats]:
        """Mean and variance of every observation, without its noise.

        Args:
            features: ψ, shape (K, n, f).
            derivatives: ∂ψ/∂ε along t directions, shape (K, n, t, f), or None.
            basis: φ of all values and then of all derivatives, shape (n + n t, P).

        Returns:
            Two arrays of shape (K, n + n t).
        """
        features, derivatives = self._scaled(features, derivatives)
        products = self._products(features, derivatives, basis)
        squares = products[..., :-1] ** 2
        m = self.points.shape[1]
        prior = self.scale[..., 0] ** 2 * kernel.variances(self.kind, features, derivatives)
        variance = prior - squares[..., :m].sum(-1) + squares[..., m:].sum(-1)
        return products[..., -1], np.maximum(variance, 0)

    def joint(self, features: Floats, derivatives: Floats | None, basis: Floats) -> tuple[Floats, Floats]:
        """Mean, shape (K, n + n t), and covariance matrix, shape (K, n + n t, n + n t); arguments as `marginals`."""
        features, derivatives = self._scaled(features, derivatives)
        products = self._products(features, derivatives, basis)
        m = self.points.shape[1]
        whitened, left = products[..., :m], products[..., m:-1]
        covariance = left @ left.mT
        covariance -= whitened @ whitened.mT
        rows = kernel.functional_rows(features, derivatives)
        size = max(1, _CHUNK // rows.shape[1])
        for network, scale in enumerate(self.scale.ravel()):
            for start in range(0, rows.shape[1], size):
                part = slice(start, start + size)
                covariance[network, part] += scale**2 * kernel.covariances(
                    self.kind, rows[network, part], rows[network]
                )
        return products[..., -1], 0.5 * (covariance + covariance.mT)

    def conditioned(self, features: Floats, derivatives: Floats | None, basis: Floats, labels: Floats) -> Self:
        """The posterior when further labels are known; features and derivatives as `marginals`.

        Args:
            features: ψ of n structures, the first m with derivatives, shape (K, n, f).
            derivatives: shape (K, m, t, f), or None.
            basis: φ, with what is in the labels alone, shape (n + m t, P).
            labels: values, then derivatives point by point, shape (n + m t,).
        """
        n, m = features.shape[1], self.points.shape[1]
        products = self._products(*self._scaled(features, derivatives), basis)
        noise = np.repeat(np.stack([self.value_noise, self.derivative_noise], axis=1), [n, len(labels) - n], axis=1)
        # S = Tᵀ h and r = y − hᵀ w, in units of the noise;  B = I + Sᵀ S = L Lᵀ
        seen = products[..., m:-1] / noise[..., None]
        surprise = (labels - products[..., -1]) / noise
        root = np.linalg.cholesky(np.eye(seen.shape[2]) + seen.mT @ seen)
        # T ← T L⁻ᵀ, w ← w + T B⁻¹ Sᵀ r
        factor = np.linalg.solve(root, self.factor.mT).mT
        step = factor @ np.linalg.solve(root, seen.mT @ surprise[..., None])
        return replace(self, factor=np.ascontiguousarray(factor), weights=self.weights + step[..., 0])

    def _scaled(self, features: Floats, derivatives: Floats | None) -> tuple[Floats, Floats | None]:
        inverse = 1 / self.lengthscale
        return features * inverse, None if derivatives is None else derivatives * inverse[..., None]

    def _products(self, features: Floats, derivatives: Floats | None, basis: Floats) -> Floats:
        """[T_Zᵀ k_Z, Tᵀ h, hᵀ w] of every observation, shape (K, n + n t, M + q + 1)."""
        networks, m = self.points.shape[:2]
        row = np.empty((networks, *basis.shape[:1], m + basis.shape[1]))
        row[..., :m] = kernel.covariances_with_values(self.kind, features, derivatives, self._scaled_points)
        row[..., :m] *= self.scale**2
        row[..., m:] = basis
        return row @ self._head

    @cached_property
    def _scaled_points(self) -> Floats:
        return self.points / self.lengthscale

    @cached_property
    def _head(self) -> Floats:
        """[T_Z padded, T, w], shape (K, M + P, M + q + 1): one product serves all three."""
        missing = self.factor.shape[1] - self.whitening.shape[1]
        padded = np.pad(self.whitening, ((0, 0), (0, missing), (0, 0)))
        return np.concatenate([padded, self.factor, self.weights[..., None]], axis=2)
