"""Labels of structures with free ions, in scaled units; any of them may be missing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from ase_dkl.arrays import Floats
from ase_dkl.model.labels import LEAST_SCALE, Units
from ase_dkl.model.layout import VALUE
from ase_dkl.model.pairs import Pairs
from ase_dkl.model.quantity import ENERGY

if TYPE_CHECKING:
    from ase_dkl.dataset import Dataset

KINDS = (VALUE, "strain", "displacement")
"""Of labels."""
AMPLITUDE = 0.1
"""Å. Where there are no energies, a displacement of this size tells their unit."""


@dataclass(frozen=True, eq=False)
class IonLabels:
    """Points and their labels in scaled units: of each a value, and slopes along its own independent directions.

    Attributes:
        space: of the points.
        units: of the energies.
        points: shape (n, 3 + N, 3), Å.
        directions: shape (n, t, 6 + 3 N).
        labels: a value and t slopes, NaN where there is no label, shape (n, 1 + t).
        offsets: what one constant adds to them, of a size that training finds, shape (n, 1 + t).
        kinds: index in `KINDS` of each column, shape (1 + t,).
    """

    space: Pairs
    units: Units
    points: Floats
    directions: Floats
    labels: Floats
    offsets: Floats
    kinds: NDArray[np.int_]

    @classmethod
    def of(cls, dataset: Dataset, space: Pairs, units: Units | None = None) -> Self:
        """Labels of a dataset of free ions, in given units or in its own."""
        units = units or units_of(dataset)
        directions = space.directions(dataset.points)
        n, t, _ = directions.shape
        strains = int(directions[0, :, :6].any(axis=1).sum())
        labels, offsets = np.full((n, 1 + t), np.nan), np.zeros((n, 1 + t))
        labels[:, 0] = (dataset.energies - units.shift) / units.scale
        if strains:
            stress = ENERGY.slopes["strain"]
            virial = stress.per_label(dataset.cells) * dataset.stresses
            along = directions[:, :strains, :6]
            labels[:, 1 : 1 + strains] = (along @ virial[..., None])[..., 0] / units.scale
            offsets[:, 1 : 1 + strains] = along @ stress.offset
        pulls = -np.nan_to_num(dataset.forces.reshape(n, -1))
        slopes = (directions[:, strains:, 6:] @ pulls[..., None])[..., 0] / units.scale
        labels[:, 1 + strains :] = np.where(dataset.has_forces[:, None], slopes, np.nan)
        kinds = np.repeat([0, 1, 2], [1, strains, t - strains])
        return cls(space, units, dataset.points, directions, labels, offsets, kinds)

    @property
    def known(self) -> NDArray[np.bool_]:
        """Where there is a label, shape (n, 1 + t)."""
        return np.isfinite(self.labels)

    def part(self, index: NDArray[np.int_]) -> Self:
        """Some of the structures."""
        names = ("points", "directions", "labels", "offsets")
        return replace(self, **{name: getattr(self, name)[index] for name in names})

    def seen(self) -> tuple[Floats, Floats]:
        """Coordinates of the pairs, shape (n, p), and their derivatives along the directions, (n, t, p)."""
        coordinates, tangents = self.space.seen(self.points)
        return coordinates, self.directions @ tangents


def units_of(dataset: Dataset) -> Units:
    """Units in which energies, or where there are none what forces are worth, have a variance of about 1."""
    energies = dataset.energies[dataset.has_energy]
    if len(energies) > 1:
        return Units.standardising(energies)
    pulls = dataset.forces[dataset.has_forces]
    size = float(np.sqrt(np.mean(pulls**2))) * AMPLITUDE * pulls.shape[1] ** 0.5 if len(pulls) else LEAST_SCALE
    return Units(float(energies.mean()) if len(energies) else 0.0, max(size, LEAST_SCALE))
