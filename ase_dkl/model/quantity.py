"""What is predicted: the energy of a crystal is an entry in a table, and so is any other number that it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ase.units import GPa

from ase_dkl.arrays import Floats
from ase_dkl.crystal.lattice import volumes
from ase_dkl.model.layout import VALUE


@dataclass(frozen=True)
class Slope:
    """The derivatives of a quantity along the directions of one block, as labels and users have them.

    Attributes:
        name: such as "stress".
        unit: such as "eV/Å³".
        shown: the unit of what is told, and how many of it are one `unit`.
        sign: of the label of a positive derivative.
        per_volume: whether labels are derivatives over the cell's volume.
        offset: by which constant times these numbers labels may all be off, as stresses are by Pulay's; of no
            directions where they may not.
    """

    name: str
    unit: str
    shown: tuple[str, float]
    sign: float = 1.0
    per_volume: bool = False
    offset: tuple[float, ...] = ()

    def per_label(self, cells: Floats) -> Floats | float:
        """The derivative that a label of one says, of cells (n, 3, 3), Å; shape (n, 1), or one number for all."""
        return self.sign * volumes(cells)[:, None] if self.per_volume else self.sign


@dataclass(frozen=True)
class Quantity:
    """A number that a crystal has.

    Attributes:
        name: such as "energy"; models are saved with it.
        unit: such as "eV".
        shown: the unit of errors and error bars, and how many of it are one `unit`.
        extensive: whether N cells have N times as much.
        slopes: by block of directions, what its derivatives are called where they have labels.
    """

    name: str
    unit: str
    shown: tuple[str, float]
    extensive: bool
    slopes: Mapping[str, Slope] = field(default_factory=dict)

    @property
    def names(self) -> dict[str, str]:
        """What it and its slopes are called, by the kind of label."""
        return {VALUE: self.name, **{block: slope.name for block, slope in self.slopes.items()}}


ENERGY = Quantity(
    "energy",
    "eV",
    ("meV", 1e3),
    True,
    {
        "strain": Slope("stress", "eV/Å³", ("GPa", 1 / GPa), per_volume=True, offset=(1, 1, 1, 0, 0, 0)),
        "displacement": Slope("forces", "eV/Å", ("meV/Å", 1e3), sign=-1.0),
    },
)
QUANTITIES = {each.name: each for each in (ENERGY,)}
"""All that there are models of."""


def quantity_of(name: str) -> Quantity:
    """The entry of a name in the table.

    Raises:
        ValueError: there is none.
    """
    if name not in QUANTITIES:
        raise ValueError(f"there is no quantity {name!r}, only {', '.join(QUANTITIES)}")
    return QUANTITIES[name]
