"""The trained process, reduced to what predictions take: a kernel row, a product and a norm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Self

import numpy as np
from scipy.special import ndtr, stdtrit

from ase_dkl.arrays import Floats
from ase_dkl.model import kernel
from ase_dkl.model.layout import Layout

_CHUNK = 2**17
"""Numbers in an intermediate of a joint covariance: what stays near the caches is computed several times as fast."""


@dataclass(frozen=True, eq=False)
class Posterior:
    """K posteriors of values and directional derivatives, one for each network.

    With h(o) = [k_Z(o); φ(o)] of an observation o:  mean = hᵀ w,  variance = k_oo − ‖T_Zᵀ k_Z‖² + ‖Tᵀ h‖².

    Attributes:
        kind: of the kernel.
        noise: standard deviation of the labels' noise, by the kind of row (see `Layout`), shape (K,) each.
        points: inducing points Z, shape (K, M, f).
        lengthscale: ℓ, shape (K, 1, 1).
        scale: s, prior standard deviation, shape (K, 1, 1).
        whitening: T_Z = L⁻ᵀ, with L Lᵀ = K_ZZ, shape (K, M, M).
        factor: T, a root of the covariance of the weights of h, shape (K, M + P, q).
        weights: w, shape (K, M + P).
    """

    kind: str
    noise: Mapping[str, Floats]
    points: Floats
    lengthscale: Floats
    scale: Floats
    whitening: Floats
    factor: Floats
    weights: Floats

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

    def conditioned(
        self, features: Floats, derivatives: Floats | None, basis: Floats, labels: Floats, layout: Layout
    ) -> Self:
        """The posterior when further labels are known; features and derivatives as `marginals`.

        Args:
            features: ψ of n structures, the first m with derivatives, shape (K, n, f).
            derivatives: shape (K, m, t, f), or None.
            basis: φ, with what is in the labels alone, shape (n + m t, P).
            labels: values, then derivatives point by point, shape (n + m t,).
            layout: which labels are of which kind.
        """
        m = self.points.shape[1]
        products = self._products(*self._scaled(features, derivatives), basis)
        noise = layout.of_kinds(self.noise)
        # S = Tᵀ h and r = y − hᵀ w, in units of the noise;  B = I + Sᵀ S = L Lᵀ
        seen = products[..., m:-1] / noise[..., None]
        surprise = (labels - products[..., -1]) / noise
        root = np.linalg.cholesky(np.eye(seen.shape[2]) + seen.mT @ seen)
        # T ← T L⁻ᵀ, w ← w + T B⁻¹ Sᵀ r
        factor = np.linalg.solve(root, self.factor.mT).mT
        step = factor @ np.linalg.solve(root, seen.mT @ surprise[..., None])
        return replace(self, factor=np.ascontiguousarray(factor), weights=self.weights + step[..., 0])

    def left_out(
        self, features: Floats, derivatives: Floats | None, basis: Floats, labels: Floats, layout: Layout
    ) -> tuple[Floats, Floats]:
        """What the labels of each structure look like from those of all others; arguments as `conditioned`.

        The labels are those that the posterior knows. A structure's are left out together.

        Returns:
            Means, shape (K, n, 1 + t), and covariances without noise, shape (K, n, 1 + t, 1 + t); NaN where a structure
            has no such label.

        Source: Rasmussen & Williams (2006), section 5.4.2, by blocks and in weight space.
        """
        networks, inducing = len(self.points), self.points.shape[1]
        n, m, t = layout.n, layout.m, layout.along
        features, derivatives = self._scaled(features, derivatives)
        products = self._products(features, derivatives, basis)
        functionals = kernel.functional_rows(features)
        if derivatives is not None:
            slopes = kernel.functional_rows(features[:, :m], derivatives)[:, m:]
            functionals = np.concatenate([functionals, slopes], axis=1)
        means = np.full((networks, n, 1 + t), np.nan)
        covariances = np.full((networks, n, 1 + t, 1 + t), np.nan)
        of_rows = layout.of_kinds(self.noise)
        for place in (layout.places, np.arange(m, n)[:, None]):
            structures, width = place[:, 0], place.shape[1]
            noise = np.eye(width) * of_rows[:, place][..., None] ** 2
            whitened, seen = products[:, place, :inducing], products[:, place, inducing:-1]
            # e = D (D − C)⁻¹ r,  covariance D (D − C)⁻¹ D − D,  with C the posterior's, r = y − mean
            left = noise @ np.linalg.inv(noise - seen @ seen.mT)
            error = left @ (labels[place] - products[:, place, -1])[..., None]
            prior = [
                s**2 * kernel.covariances(self.kind, each, each)
                for s, each in zip(self.scale.ravel(), functionals[:, place], strict=True)
            ]
            means[:, structures, :width] = labels[place] - error[..., 0]
            covariances[:, structures, :width, :width] = left @ noise - noise + np.array(prior) - whitened @ whitened.mT
        return means, covariances

    def offset(self) -> tuple[float, float]:
        """Mean and standard deviation over the mixture of the last basis function's coefficient, the labels' offset."""
        means = self.weights[:, -1]
        variance = (self.factor[:, -1] ** 2).sum(axis=1).mean()
        return float(means.mean()), float(np.sqrt(variance + spread_variance(means)))

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


def spread_variance(means: Floats) -> Floats:
    """Variance of a prediction that follows from the disagreement of K networks, from their means in the first axis."""
    if len(means) == 1:
        return np.zeros(means.shape[1:])
    return np.asarray(means.var(axis=0, ddof=1) * spread_factor(len(means)))


@cache
def spread_factor(networks: int) -> float:
    """Variance that the disagreement of K networks tells of, over the variance of their means.

    The truth is taken as one more draw from where the networks came from: it differs from the mean of K by 1 + 1/K
    times their variance, which K numbers tell only roughly. What is left is Student's t with K − 1 degrees of freedom,
    replaced by the Gaussian with as much probability within one standard deviation.
    """
    return float((1 + 1 / networks) * stdtrit(networks - 1, ndtr(1)) ** 2)
