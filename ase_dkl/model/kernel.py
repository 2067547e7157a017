"""Radial kernels between linear functionals of a function on feature space.

An observation is a functional y = w f(ψ) + vᵀ ∇f(ψ): a value has w = 1 and v = 0, a derivative along a direction v has
w = 0. Its covariances follow from the kernel's derivatives, so one formula serves energies, stresses (v is the
features' derivative along a strain) and whatever else may be differentiated along. The kernel sees rows [ψ, v, w]; it
does not know what a direction means.

With s = |ψ − ψ'|², d = ψ − ψ' and dots for derivatives of k with respect to s:

    cov(y, y') = w w' k + 2 k̇ (w' v·d − w v'·d − v·v') − 4 k̈ (v·d)(v'·d)

All functions here are of NumPy arrays or torch tensors, in units of the length scale, for a prior variance of one.

Source: derivative observations of Gaussian processes: Solak et al., NeurIPS 2002; with inducing points: Padidar et al.,
NeurIPS 2021.
"""

from __future__ import annotations

from ase_dkl.arrays import Array, namespace


def functional_rows(features: Array, derivatives: Array | None = None) -> Array:
    """Rows that stand for function values, and for derivatives where given.

    Args:
        features: ψ, shape (..., n, f).
        derivatives: ∂ψ/∂ε along t directions, shape (..., n, t, f).

    Returns:
        All values, then all derivatives point by point, shape (..., n + n t, 2 f + 1).
    """
    xp = namespace(features)
    values = xp.concatenate([features, xp.zeros_like(features), xp.ones_like(features[..., :1])], -1)
    if derivatives is None:
        return values
    points = xp.broadcast_to(features[..., None, :], derivatives.shape)
    slopes = xp.concatenate([points, derivatives, xp.zeros_like(derivatives[..., :1])], -1)
    return xp.concatenate([values, slopes.reshape(*values.shape[:-2], -1, values.shape[-1])], -2)


def covariances(kind: str, x1: Array, x2: Array) -> Array:
    """Covariances of the functionals in the rows of x1 (..., n, 2 f + 1) with those of x2, shape (..., n, m)."""
    (p1, v1, w1), (p2, v2, w2) = _split(x1), _split(x2)
    v1d = (v1 * p1).sum(-1)[..., None] - v1 @ p2.mT
    v2d = p1 @ v2.mT - (v2 * p2).sum(-1)[..., None, :]
    value, slope, curvature = _profile(kind, _squared_distances(p1, p2))
    return w1 * w2.mT * value + 2 * slope * (w2.mT * v1d - w1 * v2d - v1 @ v2.mT) - 4 * curvature * v1d * v2d


def covariances_row_by_row(kind: str, x1: Array, x2: Array) -> Array:
    """The covariance of each functional in x1 with the one in the same row of x2, shape (..., n)."""
    (p1, v1, w1), (p2, v2, w2) = _split(x1), _split(x2)
    offset = p1 - p2
    v1d, v2d, w1, w2 = (v1 * offset).sum(-1), (v2 * offset).sum(-1), w1[..., 0], w2[..., 0]
    value, slope, curvature = _profile(kind, (offset**2).sum(-1))
    return w1 * w2 * value + 2 * slope * (w2 * v1d - w1 * v2d - (v1 * v2).sum(-1)) - 4 * curvature * v1d * v2d


def covariances_with_values(kind: str, features: Array, derivatives: Array | None, points: Array) -> Array:
    """Covariances of values, and derivatives where given, with values at some points.

    The same as `covariances` of `functional_rows`, with the radial part evaluated once for each pair of points.

    Args:
        kind: "rbf" or "matern52".
        features: shape (..., n, f).
        derivatives: of the first m features along t directions, shape (..., m, t, f).
        points: shape (..., M, f).

    Returns:
        Shape (..., n + m t, M).
    """
    value, slope, _ = _profile(kind, _squared_distances(features, points))
    if derivatives is None:
        return value
    m = derivatives.shape[-3]
    flat = derivatives.reshape(*derivatives.shape[:-3], -1, derivatives.shape[-1])
    toward = (flat @ points.mT).reshape(*derivatives.shape[:-1], points.shape[-2])
    along = (derivatives * features[..., :m, None, :]).sum(-1)[..., None] - toward
    slopes = (2 * slope[..., :m, None, :] * along).reshape(*value.shape[:-2], -1, value.shape[-1])
    return namespace(features).concatenate([value, slopes], -2)


def variances(kind: str, features: Array, derivatives: Array | None) -> Array:
    """Prior variances of values, and derivatives where given, shape (..., n + m t)."""
    xp = namespace(features)
    values = xp.ones_like(features[..., 0])
    if derivatives is None:
        return values
    steepness = 1.0 if kind == "rbf" else 5 / 3  # −2 k̇ at s = 0
    slopes = steepness * (derivatives**2).sum(-1)
    return xp.concatenate([values, slopes.reshape(*values.shape[:-1], -1)], -1)


def _split(rows: Array) -> tuple[Array, Array, Array]:
    f = (rows.shape[-1] - 1) // 2
    return rows[..., :f], rows[..., f : 2 * f], rows[..., 2 * f :]


def _squared_distances(x1: Array, x2: Array) -> Array:
    squared = (x1**2).sum(-1)[..., None] + (x2**2).sum(-1)[..., None, :] - 2 * x1 @ x2.mT
    return squared.clip(min=0)


def _profile(kind: str, squared: Array) -> tuple[Array, Array, Array]:
    """k, k̇ and k̈ as functions of s = r²."""
    xp = namespace(squared)
    if kind == "rbf":
        value = xp.exp(-0.5 * squared)
        return value, -0.5 * value, 0.25 * value
    distance = xp.sqrt(5 * squared + 1e-30)  # the offset keeps its derivative finite at s = 0
    decay = xp.exp(-distance)
    return (1 + distance + distance**2 / 3) * decay, -(5 / 6) * (1 + distance) * decay, (25 / 12) * decay
