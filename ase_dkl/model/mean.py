"""What is expected beforehand: functions of a point, whose coefficients the labels tell."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ase_dkl.arrays import Floats
from ase_dkl.errors import Refused

if TYPE_CHECKING:
    from ase_dkl.crystal.invariants import Invariants
    from ase_dkl.model.space import Lattice, Seen, Space

MeanName = Literal["sextic", "cubic", "quadratic", "constant"]

CUBIC = 2e-3
"""Prior standard deviation of a cubic coefficient over that of the others. Crystals are nearly harmonic in their
lattice parameters: a prior as broad for cubic terms lets them run wild between few data."""
SYNTHETIC = 400
"""Random points that tell which functions are independent."""
DEPENDENT = 1e-9
"""Relative size below which a combination of functions is zero but for rounding."""


class Mean(ABC):
    """The functions of a mean.

    Attributes:
        name: in configurations.
        breadth_is_learnt: whether the bound finds how broad the prior of the coefficients is, but of the constant.
        space: whose points they are functions of.
    """

    name: ClassVar[MeanName]
    breadth_is_learnt: ClassVar[bool] = False

    def __init__(self, space: Space) -> None:
        self.space = space

    @abstractmethod
    def functions(self, seen: Seen) -> Floats:
        """Values of all n points, then slopes point by point, shape (n + m t, P + 1).

        The first function is the constant. The last column is zero: it is the place of the labels' offset, of which
        predictions have nothing.
        """

    @abstractmethod
    def independent(self, points: Floats) -> Floats:
        """An orthonormal basis of the coefficients that make a difference near some points, shape (P, R)."""

    @abstractmethod
    def constants(self) -> dict[str, Any]:
        """What the functions are computed from, for programs in other languages; arrays are NumPy's."""


class _Polynomial(Mean):
    """Polynomials of the scaled coordinates, averaged over the symmetry images."""

    degree: ClassVar[int]

    def functions(self, seen: Seen) -> Floats:
        """See `Mean`."""
        coordinates, tangents = seen.coordinates, seen.tangents
        n, g, p = coordinates.shape
        (i, j), (pair, k) = _pairs(p), _triples(p)
        linear, quadratic = slice(1, 1 + p), slice(1 + p, 1 + p + len(i))
        cubic = slice(quadratic.stop, quadratic.stop + len(k))
        last = {0: 1, 2: quadratic.stop, 3: cubic.stop}[self.degree]
        values = np.zeros((n, last + 1))
        values[:, 0] = 1
        products = coordinates[..., i] * coordinates[..., j] / g
        if self.degree:
            values[:, linear] = coordinates.mean(1)
            values[:, quadratic] = products.sum(1)
        if self.degree == 3:
            values[:, cubic] = CUBIC * (products.mT @ coordinates)[:, pair, k]
        if tangents is None:
            return values
        m, _, t, _ = tangents.shape
        slopes = np.zeros((m, t, last + 1))
        if self.degree:
            at, along = coordinates[:m, None], np.moveaxis(tangents, 2, 1)
            of_products = (along[..., i] * at[..., j] + at[..., i] * along[..., j]) / g
            slopes[..., linear] = along.mean(2)
            slopes[..., quadratic] = of_products.sum(2)
        if self.degree == 3:
            slopes[..., cubic] = CUBIC * (of_products.mT @ at + products[:m, None].mT @ along)[..., pair, k]
        return np.concatenate([values, slopes.reshape(m * t, -1)])

    def independent(self, points: Floats) -> Floats:
        """See `Mean`."""
        # Averages of different monomials over the images are often the same function. With fewer combinations the
        # process is the same, and its linear algebra a fraction.
        scattered = self.space.scattered(points, SYNTHETIC, np.random.default_rng(0))
        values = self.functions(self.space.seen(scattered))
        _, sizes, directions = np.linalg.svd(values, full_matrices=False)
        return np.asarray(directions[sizes > DEPENDENT * sizes[0]].T[:-1])

    def constants(self) -> dict[str, Any]:
        """See `Mean`."""
        return {"degree": self.degree, "cubic": CUBIC}


class Constant(_Polynomial):
    """A constant."""

    name = "constant"
    degree = 0


class Quadratic(_Polynomial):
    """A quadratic polynomial of the lattice parameters."""

    name = "quadratic"
    degree = 2


class Cubic(_Polynomial):
    """A cubic polynomial of the lattice parameters."""

    name = "cubic"
    degree = 3


class Sextic(Mean):
    """Invariant polynomials of the strain up to the sixth degree, orthonormal as they are."""

    name = "sextic"
    breadth_is_learnt = True

    @cached_property
    def _invariants(self) -> Invariants:
        from ase_dkl.crystal.invariants import Invariants

        if self._lattice.metric is None:
            raise ValueError("Without a metric there are no strains.")
        return Invariants.of(self._lattice.metric, self._lattice.frame.images, 6)

    @property
    def _lattice(self) -> Lattice:
        from ase_dkl.model.space import Lattice

        if not isinstance(self.space, Lattice):
            raise Refused("The sextic mean is one of lattices, and here is none. Choose another one.")
        return self.space

    def functions(self, seen: Seen) -> Floats:
        """See `Mean`."""
        lattices = self._lattice.crystal.vectors(seen.points)
        directions = np.empty((0, 6, 6)) if seen.directions is None else seen.directions
        values, slopes = self._invariants.functions(lattices, directions)
        n, (m, t, count) = len(values), slopes.shape
        together = np.zeros((n + m * t, count + 1))
        together[:n, :-1], together[n:, :-1] = values, slopes.reshape(m * t, count)
        return together

    def independent(self, points: Floats) -> Floats:  # noqa: ARG002
        """See `Mean`: all are."""
        return np.eye(self._invariants.count)

    def constants(self) -> dict[str, Any]:
        """See `Mean`."""
        degrees = [
            {"first": each.first.tolist(), "rest": each.rest.tolist(), "mixing": each.mixing}
            for each in self._invariants.degrees
        ]
        from ase_dkl.crystal.invariants import UNIT

        return {"strain": {"root": self._invariants.root.tolist(), "unit": UNIT, "degrees": degrees}}


POLYNOMIALS: Mapping[str, type[Mean]] = {each.name: each for each in (Constant, Quadratic, Cubic)}
"""Those of the lattice parameters, by their names."""
MEANS: Mapping[str, type[Mean]] = {**POLYNOMIALS, Sextic.name: Sextic}
"""All, by their names."""


@functools.cache
def _pairs(p: int) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    return np.triu_indices(p)


@functools.cache
def _triples(p: int) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Cubic monomials: a pair of coordinates, by its place among `_pairs`, and a third that is not before them."""
    _, second = _pairs(p)
    pair, third = np.nonzero(np.arange(p) >= second[:, None])
    return pair, third
