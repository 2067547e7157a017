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

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from ase_dkl.arrays import Floats, Integers
from ase_dkl.model.pairs import Environment


@dataclass(frozen=True)
class Profile:
    """A function of x·z, or of |x − z|².

    Attributes:
        name: in model files.
        of_distance: whether it is one of |x − z|².
        derivatives: its value, slope and curvature there.
    """

    name: str
    of_distance: bool
    derivatives: Callable[[Floats], tuple[Floats, Floats, Floats]]


def _linear(s: Floats) -> tuple[Floats, Floats, Floats]:
    return s, np.ones_like(s), np.zeros_like(s)


def _quadratic(s: Floats) -> tuple[Floats, Floats, Floats]:
    return s**2, 2 * s, np.full_like(s, 2.0)


def _gaussian(width: float) -> Callable[[Floats], tuple[Floats, Floats, Floats]]:
    slope = -0.5 / width**2

    def derivatives(s: Floats) -> tuple[Floats, Floats, Floats]:
        value = np.exp(slope * s)
        return value, slope * value, slope**2 * value

    return derivatives


PROFILES = (
    Profile("linear", False, _linear),
    Profile("quadratic", False, _quadratic),
    *(Profile(f"gaussian {width:g}", True, _gaussian(width)) for width in (0.5, 1.0, 2.0, 4.0)),
)
"""Coordinates are in units in which environments of the training are of length 1."""


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
        every = range(len(PROFILES))
        self._used = [k for k in every if scales is None or scales[k] > 0]
        self._scales = np.ones(len(PROFILES)) if scales is None else scales
        self.apart = scales is None

    @property
    def count(self) -> int:
        """Leading length of all covariances: of the profiles apart, or 1 of their sum."""
        return len(PROFILES) if self.apart else 1

    def _parts(self, products: Floats, squares: Floats) -> tuple[Floats, Floats, Floats, Floats, Floats]:
        """Value; slope and curvature with respect to |x − z|², and with respect to x·z, shape (K, ...)."""
        found = np.zeros((5, self.count, *products.shape))
        for k in self._used:
            profile, scale = PROFILES[k], self._scales[k]
            value, slope, curvature = profile.derivatives(squares if profile.of_distance else products)
            row = k if self.apart else 0
            found[0, row] += scale * value
            kind = 1 if profile.of_distance else 3
            found[kind, row] += scale * slope
            found[kind + 1, row] += scale * curvature
        return found[0], found[1], found[2], found[3], found[4]

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
        value, by_square, by_square2, by_product, by_product2 = self._parts(products, squares)
        of = inducing.of
        # d/dx f(|x − z|²) = 2 f' (x − z),  d/dx f(x·z) = f' z
        toward = (by_product - 2 * by_square).transpose(0, 2, 1, 3) / h
        away = 2 * by_square.sum(axis=3).transpose(0, 2, 1) / h
        if inducing.only_values:
            gradients = toward @ points
            gradients += away[..., None] * seen
            return value.mean(axis=3), gradients
        along, is_value = inducing.images_along, inducing.is_value
        drift = (seen @ along.reshape(M * h, q).T).reshape(n, M, h)
        own = (inducing.points[of] * inducing.along).sum(axis=1)
        lag = drift - own[:, None]
        # d/dz · v: −2 f' (x − z)·v, and f' x·v
        values = (
            value[..., of, :] * is_value[:, None] - 2 * by_square[..., of, :] * lag + by_product[..., of, :] * drift
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
        A, q = seen.shape
        t = tangents.shape[1]
        others = seen[:, images].reshape(A * h, q)
        norms = (seen**2).sum(axis=1)
        products = seen @ others.T
        squares = np.maximum(norms[:, None] + np.repeat(norms, h) - 2 * products, 0)
        value, by_square, by_square2, by_product, by_product2 = self._parts(products, squares)
        found = np.empty((self.count, 1 + t))
        found[:, 0] = value.sum(axis=(1, 2)) / h
        if not t:
            return found
        along = tangents.swapaxes(0, 1)
        other_along = along[:, :, images].reshape(t, A * h, q)
        first = along @ others.T
        second = seen @ other_along.mT
        both = along @ other_along.mT
        own = (along * seen).sum(axis=2)
        lag_first, lag_second = own[:, :, None] - first, np.repeat(own, h, axis=1)[:, None] - second
        cross = by_product - 2 * by_square
        found[:, 1:] = (
            np.einsum("kab,tab->kt", cross, both)
            + 4 * np.einsum("kab,tab->kt", by_square2, lag_first * lag_second)
            + np.einsum("kab,tab->kt", by_product2, first * second)
        ) / h
        return found

    def between(
        self, environment: Environment, seen: Floats, tangents: Floats, others: Floats, other_tangents: Floats
    ) -> Floats:
        """Prior covariances of one structure's value and slopes with another's, shape (K, 1 + t, 1 + t')."""
        images = environment.images
        h = len(images)
        A, q = seen.shape
        t, u = tangents.shape[1], other_tangents.shape[1]
        points = others[:, images].reshape(A * h, q)
        along = other_tangents[:, :, images].swapaxes(1, 2).reshape(A * h, u, q)
        products = seen @ points.T
        norms = (seen**2).sum(axis=1), np.repeat((others**2).sum(axis=1), h)
        squares = np.maximum(norms[0][:, None] + norms[1] - 2 * products, 0)
        value, by_square, by_square2, by_product, by_product2 = self._parts(products, squares)
        first = tangents @ points.T  # (A, t, B)
        second = np.einsum("aq,buq->abu", seen, along, optimize=True)
        lag_first = (tangents * seen[:, None]).sum(axis=2)[..., None] - first
        lag_second = np.repeat((other_tangents * others[:, None]).sum(axis=2), h, axis=0) - second
        cross = by_product - 2 * by_square
        found = np.empty((self.count, 1 + t, 1 + u))
        found[:, 0, 0] = value.sum(axis=(1, 2))
        found[:, 1:, 0] = np.einsum("kab,atb->kt", 2 * by_square, lag_first) + np.einsum(
            "kab,atb->kt", by_product, first
        )
        found[:, 0, 1:] = np.einsum("kab,abu->ku", 2 * by_square, lag_second) + np.einsum(
            "kab,abu->ku", by_product, second
        )
        carried = (cross @ along.reshape(A * h, u * q)).reshape(len(cross), A, u, q)
        found[:, 1:, 1:] = np.einsum("atq,kauq->ktu", tangents, carried, optimize=True)
        found[:, 1:, 1:] += ((4 * by_square2[:, :, None] * lag_first) @ lag_second).sum(axis=1)
        found[:, 1:, 1:] += ((by_product2[:, :, None] * first) @ second).sum(axis=1)
        return found / h


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
