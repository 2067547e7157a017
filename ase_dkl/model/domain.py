"""Where a model knows something: the range of its training lattices, and the distance to the nearest of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from ase_dkl.arrays import Floats
from ase_dkl.crystal.lattice import unit_of

MARGIN = 0.02
"""How far beyond the outermost training lattice is still inside, as a part of the range's width."""
FAR = 1.5
"""A lattice is far when no training lattice is within this many times the largest gap between those."""
SAME = 1e-3
"""Standard deviations of the lattice parameters by which images of one lattice differ at most, as files round them."""
_ENOUGH = 2000
"""Training lattices whose gaps are looked at."""


@dataclass(frozen=True)
class Extrapolation:
    """How far n lattices are from the training data.

    Attributes:
        excess: by how much each lattice parameter of each image is beyond the range of the training lattices and their
            images, Å and degrees, shape (n, g, p).
        distance: to the nearest training lattice, in standard deviations of the lattice parameters, shape (n,).
        reach: the distance beyond which a lattice is far: large against the gaps between the training lattices.
        names: of the lattice parameters.
    """

    excess: Floats
    distance: Floats
    reach: float
    names: tuple[str, ...]

    @property
    def outside_range(self) -> NDArray[np.bool_]:
        """Some lattice parameter lies beyond the range, shape (n,)."""
        return np.asarray((self.excess > 0).any(axis=(1, 2)))

    @property
    def far(self) -> NDArray[np.bool_]:
        """No training lattice is near, shape (n,)."""
        return self.distance > self.reach

    @property
    def outside(self) -> NDArray[np.bool_]:
        """Outside the range, or far, shape (n,)."""
        return self.outside_range | self.far

    def describe(self, i: int) -> str:
        """Say of one lattice what is wrong with it."""
        images = self.excess[i]
        # The images share one range. Words are about the lattice as given, or the image that is furthest beyond it.
        beyond = images[0] if images[0].any() else images[images.sum(axis=1).argmax()]
        reasons = [
            f"{name} is {value:.3g} {unit_of(name)} beyond the training range"
            for name, value in zip(self.names, beyond, strict=True)
            if value > 0
        ]
        if self.far[i]:
            reasons.append(
                f"the nearest training lattice is {self.distance[i]:.2g} standard deviations away, and this model "
                f"reaches {self.reach:.2g}"
            )
        return (
            f"Extrapolation: {'; '.join(reasons)}. Energy, stress and their uncertainties are not to be trusted there; "
            "add DFT runs nearby and train again."
        )


class Domain:
    """The training lattices as a region.

    Args:
        parts: scaled lattice parameters of every image of the training lattices, in parts of shape (n, g, p).
        unit: of each lattice parameter, Å and degrees, shape (p,).
        names: of the lattice parameters.
    """

    def __init__(self, parts: Iterable[Floats], unit: Floats, names: tuple[str, ...]) -> None:
        low, high = np.inf, -np.inf
        lattices: list[Floats] = []
        some: list[Floats] = []
        for coordinates in parts:
            low = np.minimum(low, coordinates.min(axis=(0, 1)))
            high = np.maximum(high, coordinates.max(axis=(0, 1)))
            lattices.append(coordinates[:, 0])
            if sum(len(part) for part in some) < _ENOUGH:
                some.append(coordinates)
        margin = MARGIN * (high - low)
        self._low, self._high = low - margin, high + margin
        self._unit, self._names = unit, names
        self._tree = KDTree(np.concatenate(lattices))
        self.reach = FAR * _largest_gap(np.concatenate(some)[:_ENOUGH])

    def judge(self, coordinates: Floats) -> Extrapolation:
        """Compare n lattices with the training data, from scaled parameters of every image, shape (n, g, p)."""
        excess = np.maximum(np.maximum(coordinates - self._high, self._low - coordinates), 0) * self._unit
        distance, _ = self._tree.query(coordinates)
        return Extrapolation(excess, distance.min(axis=1), self.reach, self._names)


def _largest_gap(images: Floats) -> float:
    """The largest distance of a lattice to the nearest other one, from all images of n lattices, shape (n, g, p)."""
    images = images[_one_of_equals(images)]
    distance, neighbour = KDTree(images[:, 0]).query(images, k=[1, 2])
    # An image of a lattice may lie close to the lattice itself, which is no other one.
    distance[neighbour == np.arange(len(images))[:, None, None]] = np.inf
    gaps = distance.min(axis=(1, 2))
    return float(gaps.max(initial=0.0, where=np.isfinite(gaps)))


def _one_of_equals(images: Floats) -> NDArray[np.int_]:
    """Indices of lattices, the first of each set that are images of each other."""
    # Equal lattices have equal sets of images, and so the same image is the lowest along any direction.
    direction = np.random.default_rng(0).normal(size=images.shape[2])
    lowest = images[np.arange(len(images)), (images @ direction).argmin(axis=1)]
    pairs = KDTree(lowest).query_pairs(SAME, output_type="ndarray")
    graph = coo_array((np.ones(len(pairs)), pairs.T), shape=(len(images),) * 2)
    return np.unique(connected_components(graph, directed=False)[1], return_index=True)[1]
