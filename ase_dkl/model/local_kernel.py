"""The prior of an energy that is a sum over environments, and of its slopes.

    E = Σ_a e(x_a),   cov(e(x), e(z)) = Σ_k s_k mean_h κ_k(x, P_h z)

x_a are the coordinates of the pairs around site a (`Environment`), P_h their permutations by the operations that keep
the site, and κ_k the profiles: powers of x·z, which are polynomials of one degree, and Gaussians of |x − z| of several
widths. What the s_k are, the labels tell. Orbits of sites are independent of each other.

Functionals are values of e and its derivatives: an inducing functional (z, v) is e(z), or ∂e/∂z · v.

Source: sums over environments: Bartók et al., Phys. Rev. Lett. 104, 136403 (2010); the average over a group: Haasdonk &
Burkhardt, Mach. Learn. 68, 35 (2007).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from ase_dkl.arrays import Floats, Integers
from ase_dkl.model.pairs import Environment

WIDTHS = (4.0, 2.0, 1.0, 0.5)
"""Of the Gaussians, each half the one before, in units in which environments of the training are of length 1."""
_CACHED = 2**17
"""Numbers in an intermediate: what stays near the caches is computed several times as fast."""
DEGREES = (1, 2, 3, 4)
"""Of the polynomials."""
PROFILES = (*(f"degree {degree}" for degree in DEGREES), *(f"gaussian {width:g}" for width in WIDTHS))
"""Their names, in the order of their scales."""


@dataclass(frozen=True, eq=False)
class Radial:
    """Weighted sums of the profiles and their derivatives, with respect to x·z and to |x − z|².

    Attributes:
        value: shape (K, ...), as all others.
        by_product: slope with respect to x·z.
        by_product2: curvature.
        by_square: slope with respect to |x − z|².
        by_square2: curvature.
    """

    value: Floats
    by_product: Floats
    by_product2: Floats
    by_square: Floats
    by_square2: Floats

    @classmethod
    def of(cls, weights: Floats, products: Floats, squares: Floats) -> Self:
        """From weights of the profiles, shape (K, Q), and x·z and |x − z|², shape (...)."""
        axes = (..., *[None] * products.ndim)
        value, by_product, by_product2 = np.zeros((3, len(weights), *products.shape))
        for degree, scale in zip(DEGREES, weights.T, strict=False):
            if scale.any():
                value += scale[axes] * products**degree
                by_product += scale[axes] * degree * products ** (degree - 1)
                by_product2 += scale[axes] * degree * (degree - 1) * products ** max(degree - 2, 0)
        by_square, by_square2 = np.zeros((2, *by_product.shape))
        gaussian = np.exp(squares / (-2 * WIDTHS[0] ** 2))
        for width, scale in zip(WIDTHS, weights[:, len(DEGREES) :].T, strict=True):
            if width != WIDTHS[0]:
                gaussian = gaussian * gaussian
                gaussian *= gaussian
            if not scale.any():
                continue
            part = scale[axes] * gaussian
            slope = -0.5 / width**2
            value += part
            part *= slope
            by_square += part
            part *= slope
            by_square2 += part
        return cls(value, by_product, by_product2, by_square, by_square2)


@dataclass(frozen=True, eq=False)
class Inducing:
    """Inducing functionals of one orbit's environments.

    Attributes:
        environment: of the orbit.
        points: z, shape (m, q).
        of: the point of each functional, shape (M,).
        along: v, shape (M, q); zero where the functional is a value.
    """

    environment: Environment
    points: Floats
    of: Integers
    along: Floats

    @classmethod
    def values(cls, environment: Environment, points: Floats) -> Self:
        """The values at some points, shape (m, q)."""
        return cls(environment, points, np.arange(len(points)), np.zeros_like(points))

    def __len__(self) -> int:
        return len(self.of)

    def take(self, index: Integers) -> Self:
        """Some of the functionals, and the points that these need."""
        used, of = np.unique(self.of[index], return_inverse=True)
        return replace(self, points=self.points[used], of=of, along=self.along[index])

    @cached_property
    def is_value(self) -> Floats:
        """1 of values, 0 of slopes, shape (M,)."""
        return np.asarray(~self.along.any(axis=1), dtype=float)

    @cached_property
    def only_values(self) -> bool:
        """Whether each functional is the value at its own point."""
        return bool(self.is_value.all()) and np.array_equal(self.of, np.arange(len(self.points)))

    @cached_property
    def images(self) -> Floats:
        """P_h z of every point, shape (m, h, q)."""
        return np.ascontiguousarray(self.points[:, self.environment.images])

    @cached_property
    def images_along(self) -> Floats:
        """P_h v of every functional, shape (M, h, q)."""
        return np.ascontiguousarray(self.along[:, self.environment.images])

    @cached_property
    def norms(self) -> Floats:
        """|z|², shape (m,)."""
        return np.asarray((self.points**2).sum(axis=1))


class Prior:
    """Covariances under scales s of the profiles, shape (Q,); or of each profile alone, where there are none."""

    def __init__(self, scales: Floats | None = None) -> None:
        self._weights = np.eye(len(PROFILES)) if scales is None else scales[None]

    @property
    def count(self) -> int:
        """Leading length of all covariances: of the profiles apart, or 1 of their sum."""
        return len(self._weights)

    def rows(self, seen: Floats, inducing: Inducing) -> tuple[Floats, Floats]:
        """Covariances of e(x) and of its gradient with inducing functionals.

        Args:
            seen: x, shape (n, q).
            inducing: M functionals.

        Returns:
            Of values, shape (K, n, M), and of gradients, shape (K, M, n, q).
        """
        points = inducing.images
        (m, h, q), n, M = points.shape, len(seen), len(inducing)
        products = (seen @ points.reshape(m * h, q).T).reshape(n, m, h)
        squares = np.maximum((seen**2).sum(axis=1)[:, None, None] + inducing.norms[:, None] - 2 * products, 0)
        radial = Radial.of(self._weights, products, squares)
        by_square, by_product = radial.by_square, radial.by_product
        of = inducing.of
        # d/dx f(|x − z|²) = 2 f' (x − z),  d/dx f(x·z) = f' z
        toward = (by_product - 2 * by_square).transpose(0, 2, 1, 3) / h
        away = 2 * by_square.sum(axis=3).transpose(0, 2, 1) / h
        if inducing.only_values:
            gradients = toward @ points
            gradients += away[..., None] * seen
            return radial.value.mean(axis=3), gradients
        by_square2, by_product2 = radial.by_square2, radial.by_product2
        along, is_value = inducing.images_along, inducing.is_value
        drift = (seen @ along.reshape(M * h, q).T).reshape(n, M, h)
        own = (inducing.points[of] * inducing.along).sum(axis=1)
        lag = drift - own[:, None]
        # d/dz · v: −2 f' (x − z)·v, and f' x·v
        values = (
            radial.value[..., of, :] * is_value[:, None]
            - 2 * by_square[..., of, :] * lag
            + by_product[..., of, :] * drift
        )
        slopes_toward = (4 * by_square2[..., of, :] * lag + by_product2[..., of, :] * drift).transpose(0, 2, 1, 3) / h
        slopes_away = -4 * (by_square2[..., of, :] * lag).sum(axis=3).transpose(0, 2, 1) / h
        straight = (by_product - 2 * by_square)[..., of, :].transpose(0, 2, 1, 3) / h
        gradients = (is_value[:, None] * away[:, of] + slopes_away)[..., None] * seen
        gradients = gradients + (is_value[:, None, None] * toward[:, of] + slopes_toward) @ points[of]
        return values.mean(axis=3), gradients + straight @ along

    def covariances(self, inducing: Inducing) -> Floats:
        """Of the inducing functionals with each other, shape (K, M, M)."""
        values, gradients = self.rows(inducing.points, inducing)
        of, is_value = inducing.of, inducing.is_value
        slopes = np.einsum("kMnq,nq->knM", gradients[:, :, of], inducing.along)
        found = is_value[:, None] * values[:, of] + slopes
        return np.asarray((found + found.mT) / 2)

    def variances(self, environment: Environment, seen: Floats, tangents: Floats) -> Floats:
        """Prior variances of a structure's sum over environments, and of its slopes, shape (K, 1 + t).

        Args:
            environment: of one orbit.
            seen: x of its A sites, shape (A, q).
            tangents: their derivatives along t directions, shape (A, t, q).
        """
        images = environment.images
        h = len(images)
        (A, q), t = seen.shape, tangents.shape[1]
        others = seen[:, images].reshape(A * h, q)
        radial = self._radial(seen, others)
        found = np.zeros((self.count, 1 + t))
        found[:, 0] = radial.value.sum(axis=(1, 2))
        cross = radial.by_product - 2 * radial.by_square
        weights = np.stack([cross, 4 * radial.by_square2, radial.by_product2]).reshape(3, self.count, A, A, h)
        for directions, sites in _supports(tangents):
            some = len(sites)
            of_some = weights[:, :, sites][:, :, :, sites].reshape(3, self.count, some, some * h)
            near, images_near = seen[sites], seen[sites][:, images].reshape(some * h, q)
            own = (tangents[sites] @ near[..., None])[..., 0]
            size = max(1, _CACHED // (some * some * h))
            for start in range(0, len(directions), size):
                chosen = directions[start : start + size]
                along = np.ascontiguousarray(tangents[np.ix_(sites, chosen)].swapaxes(0, 1))
                other_along = along[:, :, images].reshape(len(chosen), some * h, q)
                first, second = along @ images_near.T, near @ other_along.mT
                terms = np.einsum("kab,tab->kt", of_some[0], along @ other_along.mT)
                terms += np.einsum("kab,tab->kt", of_some[2], first * second)
                lag = own[:, chosen].T
                first -= lag[:, :, None]
                second -= np.repeat(lag, h, axis=1)[:, None]
                terms += np.einsum("kab,tab->kt", of_some[1], first * second)
                found[:, 1 + chosen] = terms
        return found / h

    def between(
        self, environment: Environment, seen: Floats, tangents: Floats, others: Floats, other_tangents: Floats
    ) -> Floats:
        """Prior covariances of one structure's value and slopes with another's, shape (K, 1 + t, 1 + u).

        Args:
            environment: of one orbit.
            seen: x of the A sites of one structure, shape (A, q).
            tangents: their derivatives along t directions, shape (A, t, q).
            others: x of the other's, shape (A, q).
            other_tangents: shape (A, u, q).
        """
        images = environment.images
        h = len(images)
        (A, q), t, u = seen.shape, tangents.shape[1], other_tangents.shape[1]
        points = others[:, images].reshape(A * h, q)
        along = other_tangents[:, :, images].swapaxes(1, 2).reshape(A * h, u, q)
        radial = self._radial(seen, points)
        first, second = tangents @ points.T, (along @ seen.T).transpose(2, 0, 1)
        lag_first = first - (tangents * seen[:, None]).sum(axis=2)[..., None]
        lag_second = second - np.repeat((other_tangents * others[:, None]).sum(axis=2), h, axis=0)
        found = np.empty((self.count, 1 + t, 1 + u))
        found[:, 0, 0] = radial.value.sum(axis=(1, 2))
        found[:, 1:, 0] = np.einsum("kab,atb->kt", -2 * radial.by_square, lag_first)
        found[:, 1:, 0] += np.einsum("kab,atb->kt", radial.by_product, first)
        found[:, 0, 1:] = np.einsum("kab,abu->ku", -2 * radial.by_square, lag_second)
        found[:, 0, 1:] += np.einsum("kab,abu->ku", radial.by_product, second)
        cross = radial.by_product - 2 * radial.by_square
        carried = (cross @ along.reshape(A * h, u * q)).reshape(len(cross), A, u, q)
        block = tangents @ carried.mT
        block += (4 * radial.by_square2[:, :, None] * lag_first) @ lag_second
        block += (radial.by_product2[:, :, None] * first) @ second
        found[:, 1:, 1:] = block.sum(axis=1)
        return found / h

    def _radial(self, seen: Floats, others: Floats) -> Radial:
        """Profiles between all of two sets of environments, shape (K, n, m)."""
        products = seen @ others.T
        norms = [(each**2).sum(axis=1) for each in (seen, others)]
        return Radial.of(self._weights, products, np.maximum(norms[0][:, None] + norms[1] - 2 * products, 0))


def _supports(tangents: Floats) -> Iterator[tuple[Integers, Integers]]:
    """Directions that change the same sites' coordinates, shape (A, t, q), and these sites."""
    changed = tangents.any(axis=2)
    supports, which = np.unique(changed, axis=1, return_inverse=True)
    for each, support in enumerate(supports.T):
        if support.any():
            yield np.flatnonzero(which.ravel() == each), np.flatnonzero(support)


def by_pair(environment: Environment, gradients: Floats, pairs: int) -> Floats:
    """Gradients with respect to environments' coordinates, shape (K, M, n, A, q), as those of pairs, (K, n, p, M)."""
    found = np.zeros((len(gradients), gradients.shape[2], pairs, gradients.shape[1]))
    weighted = np.moveaxis(gradients * environment.weights, 1, -1)
    for site, places in enumerate(environment.places):
        found[:, :, places] += weighted[:, :, site]
    return found


def of_structures(prior: Prior, inducing: Sequence[Inducing], coordinates: Floats, tangents: Floats) -> Floats:
    """Covariances of structures' values and slopes with all inducing functionals.

    Args:
        prior: with its scales.
        inducing: of each orbit.
        coordinates: of the pairs, shape (n, p).
        tangents: their derivatives along t directions, shape (n, t, p).

    Returns:
        Shape (K, n, 1 + t, M).
    """
    (n, p), t = coordinates.shape, tangents.shape[1]
    found = np.empty((prior.count, n, 1 + t, sum(map(len, inducing))))
    start = 0
    for each in inducing:
        seen = each.environment.of(coordinates)
        A, q = each.environment.places.shape
        values, gradients = prior.rows(seen.reshape(n * A, q), each)
        part = slice(start, start + len(each))
        found[:, :, 0, part] = values.reshape(prior.count, n, A, -1).sum(axis=2)
        if t:
            gradients = gradients.reshape(prior.count, len(each), n, A, q)
            found[:, :, 1:, part] = tangents @ by_pair(each.environment, gradients, p)
        start = part.stop
    return found
