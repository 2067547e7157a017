"""Where a model knows something: the range of its training lattices, and the distance to the nearest of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import KDTree

from ase_dkl.inputs import Scaling

MARGIN = 0.02
"""Of the range's width: how far beyond the outermost training lattice is still inside."""
FAR = 1.5
"""A lattice is far when no training lattice is within this many times the largest gap between those."""
_ENOUGH = 2000
"""Training lattices whose gaps are looked at."""
NAMES = {1: ("a",), 3: ("a", "b", "gamma"), 6: ("a", "b", "c", "alpha", "beta", "gamma")}

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Extrapolation:
    """How far n lattices are from the training data.

    Attributes:
        outside_range: some lattice parameter lies beyond those of the training lattices and their images, shape (n,).
        distance: to the nearest training lattice, in standard deviations of the lattice parameters, shape (n,).
        far: the distance is large against the gaps between the training lattices, shape (n,).
        excess: by how much each lattice parameter is beyond the range, Å and degrees, shape (n, p).
        reach: the distance beyond which a lattice is far.
    """

    outside_range: NDArray[np.bool_]
    distance: Floats
    far: NDArray[np.bool_]
    excess: Floats
    reach: float

    @property
    def outside(self) -> NDArray[np.bool_]:
        """Outside the range, or far, shape (n,)."""
        return self.outside_range | self.far

    def describe(self, i: int) -> str:
        """Say of one lattice what is wrong with it."""
        p = self.excess.shape[1]
        lengths = {1: 1, 3: 2, 6: 3}[p]
        reasons = [
            f"{name} is {value:.3g} {'Å' if k < lengths else '°'} beyond the training range"
            for k, (name, value) in enumerate(zip(NAMES[p], self.excess[i], strict=True))
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
        scaling: images, and units of distance.
        cells: training cells, periodic rows, shape (n, d, 3), Å.
    """

    def __init__(self, scaling: Scaling, cells: torch.Tensor) -> None:
        self._scaling = scaling
        coordinates = scaling.coordinates(cells).numpy()
        flat = coordinates.reshape(-1, coordinates.shape[-1])
        low, high = flat.min(axis=0), flat.max(axis=0)
        self._low, self._high = low - MARGIN * (high - low), high + MARGIN * (high - low)
        self._unit = scaling.scale.numpy()
        self._tree = KDTree(coordinates[:, 0])
        some = np.random.default_rng(0).permutation(len(coordinates))[:_ENOUGH]
        distance, neighbour = self._tree.query(coordinates[some], k=[1, 2])
        # An image of a lattice may lie close to the lattice itself, which is no other training lattice.
        distance[neighbour == some[:, None, None]] = np.inf
        gaps = distance.min(axis=(1, 2))
        self.reach = float(FAR * gaps.max(initial=0.0, where=np.isfinite(gaps)))

    def judge(self, cells: torch.Tensor) -> Extrapolation:
        """Compare cells (n, d, 3) with the training lattices."""
        coordinates = self._scaling.coordinates(cells).numpy()
        excess = np.maximum(coordinates - self._high, self._low - coordinates)
        distance, _ = self._tree.query(coordinates)
        nearest = distance.min(axis=1)
        # All images share one range. Words are about the lattice as given, or the image that is furthest beyond it.
        total = excess.sum(axis=2)
        total[total[:, 0] > 0, 0] = np.inf
        told = np.take_along_axis(excess, total.argmax(axis=1)[:, None, None], axis=1)[:, 0]
        return Extrapolation(
            outside_range=(excess > 0).any(axis=(1, 2)),
            distance=nearest,
            far=nearest > self.reach,
            excess=told * self._unit,
            reach=self.reach,
        )
