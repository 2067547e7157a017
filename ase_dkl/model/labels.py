"""Labels in scaled units, and what they are observations of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from ase_dkl.arrays import Floats
from ase_dkl.model.layout import Layout
from ase_dkl.model.mean import Mean
from ase_dkl.model.quantity import ENERGY, Quantity, quantity_of
from ase_dkl.model.space import Lattice, Seen, Space

if TYPE_CHECKING:
    from ase_dkl.dataset import Dataset

LEAST_SCALE = 1e-6
"""eV."""


@dataclass(frozen=True)
class Units:
    """Units that a model computes in: its values are (y − shift) / scale.

    Attributes:
        shift: the value that is zero, eV where it is an energy.
        scale: by how much the value that is one is above it.
        quantity: what the values are of.
    """

    shift: float
    scale: float
    quantity: Quantity = ENERGY

    @classmethod
    def standardising(cls, values: Floats, quantity: Quantity = ENERGY) -> Self:
        """Units in which some values of a quantity have mean 0 and variance 1."""
        return cls(float(values.mean()), max(float(values.std()), LEAST_SCALE), quantity)

    def to_dict(self) -> dict[str, Any]:
        """For a model file."""
        return {"shift": self.shift, "scale": self.scale, "quantity": self.quantity.name}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Rebuild units from `to_dict`."""
        return cls(values["shift"], values["scale"], quantity_of(values["quantity"]))


@dataclass(frozen=True, eq=False)
class Labels:
    """Points and their labels in scaled units; the m of n structures that have stress labels come first.

    Attributes:
        space: of the points.
        units: of the energies.
        points: shape (n, 3, 3), Å.
        directions: along which values of the first m are differentiated, shape (m, t, q).
        values: shape (n,).
        slopes: derivatives along the directions, shape (m, t).
        offsets: what one constant adds to the slopes, of a size that training finds, shape (m, t).
        blocks: how many of the t directions are of which kind.
    """

    space: Space
    units: Units
    points: Floats
    directions: Floats
    values: Floats
    slopes: Floats
    offsets: Floats
    blocks: Mapping[str, int]

    @classmethod
    def of(cls, dataset: Dataset, space: Lattice | None = None, units: Units | None = None) -> Self:
        """Labels of a dataset, in a given space and units or in its own."""
        dataset = dataset.stressed_first()
        m = int(dataset.has_stress.sum())
        space = space or Lattice.of(dataset.crystal, dataset.cells)
        units = units or Units.standardising(dataset.energies)
        directions = space.directions(dataset.cells[:m])
        values = (dataset.energies - units.shift) / units.scale
        blocks = {block: int(directions.shape[1]) for block in space.blocks if block in units.quantity.slopes}
        slopes = offsets = np.zeros(directions.shape[:2])
        if m:
            # ∂E/∂ε = V σ
            stress = units.quantity.slopes["strain"]
            virial = stress.per_label(dataset.cells[:m]) * dataset.stresses[:m]
            slopes = (directions @ virial[..., None])[..., 0] / units.scale
            offsets = directions @ stress.offset
        return cls(space, units, dataset.cells, directions, values, slopes, offsets, blocks)

    def part(self, index: NDArray[np.int_]) -> Self:
        """Some of the structures, in rising order."""
        stressed = index[index < len(self.directions)]
        of_slopes = {name: getattr(self, name)[stressed] for name in ("directions", "slopes", "offsets")}
        return replace(self, points=self.points[index], values=self.values[index], **of_slopes)

    @property
    def layout(self) -> Layout:
        """Where each label stands among all of them."""
        return Layout(len(self.values), len(self.slopes), self.blocks)

    def together(self) -> Floats:
        """Values of all structures, then slopes point by point, shape (n + m t,)."""
        return np.concatenate([self.values, self.slopes.ravel()])

    def observed(self, mean: Mean) -> tuple[Seen, Floats]:
        """What the labels are observations of.

        Returns:
            What is seen of the points, and the mean's functions with the labels' offset, shape (n + m t, P + 1).
        """
        seen = self.space.seen(self.points, self.directions)
        functions = mean.functions(seen)
        functions[len(self.values) :, -1] = self.offsets.ravel()
        return seen, functions
