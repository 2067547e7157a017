"""Radial kernels between linear functionals of a function on feature space.

An observation is a functional y = w f(ψ) + vᵀ ∇f(ψ): a value has w = 1 and v = 0, a derivative along a direction v has
w = 0. Its covariances follow from the kernel's derivatives, so one formula serves energies, stresses (v is the
features' derivative along a strain) and whatever else may be differentiated along. The kernel sees rows [ψ, v, w]; it
does not know what a direction means.

With s = |ψ − ψ'|² / ℓ², d = (ψ − ψ') / ℓ, v in units of ℓ, and dots for derivatives of k with respect to s:

    cov(y, y') = w w' k + 2 k̇ (w' v·d − w v'·d − v·v') − 4 k̈ (v·d)(v'·d)

Source: derivative observations of Gaussian processes: Solak et al., NeurIPS 2002; with inducing points: Padidar et al.,
NeurIPS 2021.
"""

from __future__ import annotations

import math
from typing import Any

import gpytorch
import torch
from torch import Tensor, nn


def functional_rows(features: Tensor, derivatives: Tensor | None = None) -> Tensor:
    """Rows that stand for function values, and for derivatives where given.

    Args:
        features: ψ, shape (..., n, f).
        derivatives: ∂ψ/∂ε along t directions, shape (..., n, t, f).

    Returns:
        All values, then all derivatives point by point, shape (..., n + n t, 2 f + 1).
    """
    values = torch.cat([features, torch.zeros_like(features), torch.ones_like(features[..., :1])], dim=-1)
    if derivatives is None:
        return values
    points = features.unsqueeze(-2).expand_as(derivatives)
    slopes = torch.cat([points, derivatives, torch.zeros_like(derivatives[..., :1])], dim=-1)
    return torch.cat([values, slopes.flatten(-3, -2)], dim=-2)


class RadialKernel(gpytorch.kernels.Kernel):  # type: ignore[misc]
    """s² κ(|ψ − ψ'| / ℓ) between rows [ψ, v, w]; one scale and one length scale for each network.

    Attributes:
        log_scale: log s, shape (K, 1, 1).
        log_lengthscale: log ℓ, shape (K, 1, 1).
    """

    def __init__(self, kind: str, log_lengthscale: Tensor) -> None:
        super().__init__(batch_shape=log_lengthscale.shape[:-2])
        self.kind = kind
        self.log_lengthscale = nn.Parameter(log_lengthscale)
        self.log_scale = nn.Parameter(torch.zeros_like(log_lengthscale))

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **_: Any) -> Tensor:
        """Covariances of the functionals in the rows of x1 (..., n, 2f + 1) with those of x2 (..., m, 2f + 1).

        Returns:
            Shape (..., n, m), or (..., n) for the covariances row by row (``diag=True``).
        """
        f = (x1.shape[-1] - 1) // 2
        scale = torch.exp(-self.log_lengthscale)
        (p1, v1, w1), (p2, v2, w2) = (
            (x[..., :f] * scale, x[..., f : 2 * f] * scale, x[..., 2 * f :]) for x in (x1, x2)
        )
        variance = torch.exp(2 * self.log_scale)
        if diag:
            offset = p1 - p2
            squared = (offset**2).sum(-1)
            v1d, v2d, v1v2 = (v1 * offset).sum(-1), (v2 * offset).sum(-1), (v1 * v2).sum(-1)
            w1, w2 = w1.squeeze(-1), w2.squeeze(-1)
            variance = variance.squeeze(-1)
        else:
            squared = (p1**2).sum(-1, keepdim=True) + (p2**2).sum(-1).unsqueeze(-2) - 2 * p1 @ p2.mT
            v1d = (v1 * p1).sum(-1, keepdim=True) - v1 @ p2.mT
            v2d = p1 @ v2.mT - (v2 * p2).sum(-1).unsqueeze(-2)
            v1v2 = v1 @ v2.mT
            w2 = w2.mT
        value, slope, curvature = self._profile(squared.clamp(min=0))
        return variance * (w1 * w2 * value + 2 * slope * (w2 * v1d - w1 * v2d - v1v2) - 4 * curvature * v1d * v2d)

    def with_values(self, points: Tensor, features: Tensor, derivatives: Tensor | None) -> Tensor:
        """Covariances of values at some points with values, and derivatives where given, at others.

        The same as ``forward`` on `functional_rows`, with the radial part evaluated once for each pair of points.

        Args:
            points: shape (..., m, f).
            features: shape (..., n, f).
            derivatives: shape (..., n, t, f).

        Returns:
            Shape (..., n + n t, m).
        """
        scale = torch.exp(-self.log_lengthscale)
        points, features = points * scale, features * scale
        squared = (features**2).sum(-1, keepdim=True) + (points**2).sum(-1).unsqueeze(-2) - 2 * features @ points.mT
        value, slope, _ = self._profile(squared.clamp(min=0))
        if derivatives is not None:
            derivatives = derivatives * scale.unsqueeze(-1)
            along = (derivatives * features.unsqueeze(-2)).sum(-1, keepdim=True) - derivatives @ points.mT.unsqueeze(-3)
            value = torch.cat([value, (2 * slope.unsqueeze(-2) * along).flatten(-3, -2)], dim=-2)
        return torch.exp(2 * self.log_scale) * value

    def variances(self, features: Tensor, derivatives: Tensor | None) -> Tensor:
        """Prior variances of values, and derivatives where given, shape (..., n + n t)."""
        variance = torch.exp(2 * self.log_scale)
        values = variance.squeeze(-1).expand(features.shape[:-1])
        if derivatives is None:
            return values
        slope = -1.0 if self.kind == "rbf" else -5 / 3  # 2 k̇ at s = 0
        squared = (derivatives**2).sum(-1) * torch.exp(-2 * self.log_lengthscale)
        return torch.cat([values, (-slope * variance * squared).flatten(-2)], dim=-1)

    def _profile(self, squared: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """k, k̇ and k̈ as functions of s = r²."""
        if self.kind == "rbf":
            value = torch.exp(-0.5 * squared)
            return value, -0.5 * value, 0.25 * value
        distance = (5 * squared + 1e-30).sqrt()  # the offset keeps its derivative finite at s = 0
        decay = torch.exp(-distance)
        return (1 + distance + distance**2 / 3) * decay, -(5 / 6) * (1 + distance) * decay, (25 / 12) * decay


def typical_lengthscale(features: Tensor) -> Tensor:
    """A length scale at which the kernel starts nearly as a polynomial: eight times the spread of the features.

    From short length scales the bound first grows the noise to explain the labels, and comes back late.

    Args:
        features: shape (K, n, f).

    Returns:
        Shape (K, 1, 1).
    """
    spread = features.std(dim=1, keepdim=True).mean(dim=-1, keepdim=True)
    return 8 * math.sqrt(features.shape[-1]) * spread
