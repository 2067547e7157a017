"""Where values and slopes of many points stand in one vector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate, pairwise, starmap

import numpy as np
from numpy.typing import NDArray

from ase_dkl.arrays import Array, Floats, namespace

VALUE = "value"
"""The kind of a row that is no slope; slopes are of the kind of their block."""


@dataclass(frozen=True)
class Layout:
    """Values of n points, then slopes of the first m: point by point, and of each point block after block.

    Attributes:
        n: number of points.
        m: how many of them have slopes.
        blocks: directions along which they have them, by kind, such as {"strain": 6}.
    """

    n: int
    m: int = 0
    blocks: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.n + self.m * self.along

    @property
    def along(self) -> int:
        """Directions of a point, t."""
        return sum(self.blocks.values())

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of which there are rows."""
        return (VALUE, *(self.blocks if self.m else ()))

    @property
    def points(self) -> NDArray[np.int_]:
        """The point of each row, shape (n + m t,)."""
        return np.concatenate([np.arange(self.n), np.repeat(np.arange(self.m), self.along)])

    @property
    def places(self) -> NDArray[np.int_]:
        """The rows of each point that has slopes: its value and then its slopes, shape (m, 1 + t)."""
        slopes = self.n + np.arange(self.m * self.along).reshape(self.m, self.along)
        return np.column_stack([np.arange(self.m), slopes])

    def of(self, kind: str) -> NDArray[np.int_]:
        """All rows of a kind, point by point."""
        return np.arange(self.n) if kind == VALUE else self.places[:, columns(self.blocks)[kind]].ravel()

    def by_point(self, stacked: Floats) -> Floats:
        """A stack of points of which all have slopes, or none, (n + m t,), point by point, shape (n, 1 + t or 1)."""
        if not self.m:
            return stacked[:, None]
        rows = np.empty((self.n, 1 + self.along))
        rows[:, 0], rows[:, 1:] = stacked[: self.n], stacked[self.n :].reshape(self.n, -1)
        return rows

    def of_kinds(self, numbers: Mapping[str, Array]) -> Array:
        """One number for each kind of row, shape (K,) each → shape (K, n + m t)."""
        value = numbers[VALUE]
        xp, networks = namespace(value), len(value)
        parts = [xp.broadcast_to(value[:, None], (networks, self.n))]
        if self.m:
            slopes = [
                xp.broadcast_to(numbers[block][:, None, None], (networks, self.m, width))
                for block, width in self.blocks.items()
            ]
            parts.append(xp.concatenate(slopes, -1).reshape(networks, -1))
        together: Array = xp.concatenate(parts, -1)
        return together


def columns(blocks: Mapping[str, int]) -> dict[str, slice]:
    """Where each kind stands in rows of a value and then its slopes, shape (..., 1 + t)."""
    ends = (0, *accumulate((1, *blocks.values())))
    return dict(zip((VALUE, *blocks), starmap(slice, pairwise(ends)), strict=True))


def by_column(numbers: Mapping[str, float], blocks: Mapping[str, int]) -> Floats:
    """One number for each kind, zero by default, where rows have a value and then its slopes, shape (1 + t,)."""
    found = [numbers[VALUE]]
    for block, directions in blocks.items():
        found += [numbers.get(block, 0.0)] * directions
    return np.array(found, dtype=np.float64)
