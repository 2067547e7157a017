"""A property that a campaign is after: its value, its error bar, and the energy derivatives that it follows from."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase.units import GPa

from ase_dkl.arrays import Floats
from ase_dkl.calculator import ExtrapolationWarning
from ase_dkl.errors import Refused
from ase_dkl.mechanics.equilibrium import Equilibrium, equilibrium, lattice_tangents
from ase_dkl.mechanics.linear import Linear
from ase_dkl.mechanics.sheet import N_PER_M
from ase_dkl.mechanics.stiffness import in_standard_frame, linearised, stiffness

if TYPE_CHECKING:
    from ase_dkl.crystal import Crystal
    from ase_dkl.model.surrogate import Surrogate


class BadTarget(Refused, ValueError):
    """A property that there is not, or not of this crystal."""


@dataclass(frozen=True, eq=False)
class TargetValue:
    """What a model knows of a property.

    Attributes:
        value: in its unit.
        std: its standard deviation.
        unit: "GPa", "N/m", "Å", "°", "Å³" or "Å²".
        linear: the property to first order in ∂E/∂ε, one quantity.
    """

    value: float
    std: float
    unit: str
    linear: Linear


@dataclass(frozen=True)
class Target:
    """A property in equilibrium, without pressure.

    Attributes:
        name: an elastic constant such as "C11" (GPa; of sheets N/m), "B0" (bulk modulus, GPa), a lattice parameter
            ("a", "gamma", …), or the volume "V0" (of sheets the area "A0").
        tolerance: standard deviation at which it is known well enough, in its unit.
    """

    name: str
    tolerance: float

    def __post_init__(self) -> None:
        if not 0 < self.tolerance < np.inf:
            raise BadTarget(f"The tolerance of {self.name} is {self.tolerance:g}; it is a positive number.")

    def check(self, crystal: Crystal) -> None:
        """See whether the crystal has such a property.

        Raises:
            BadTarget: it has none; the message lists what it has.
        """
        names = self._names(crystal)
        if self.name not in names:
            raise BadTarget(
                f"{self.name} is no property that a campaign can aim at for {crystal.formula}. Choose one of "
                f"{', '.join(names)}."
            )

    def unit(self, crystal: Crystal) -> str:
        """What the property of this crystal is told in: GPa, N/m, Å³, Å², Å or °."""
        if self.name == "B0" or self.name.startswith("C"):
            return "GPa" if crystal.dimension == 3 else "N/m"
        return {"V0": "Å³", "A0": "Å²"}.get(self.name, "Å" if self.name in "abc" else "°")

    def evaluate(self, surrogate: Surrogate) -> TargetValue:
        """Value, error bar and linear form under a model.

        Raises:
            BadEquilibrium: the model has no minimum.
            BadTarget: the crystal has no such property.
        """
        crystal = surrogate.crystal
        self.check(crystal)
        with warnings.catch_warnings():
            # σ grows outside the data as well, and it is σ that a campaign goes by.
            warnings.simplefilter("ignore", ExtrapolationWarning)
            found = in_standard_frame(crystal, equilibrium(surrogate))
        if self.name == "B0" or self.name.startswith("C"):
            value, weights, cells = self._elastic(surrogate, found)
        else:
            value, weights, cells = self._of_lattice(crystal, found)
        linear = Linear(cells, weights[None])
        variance = linear.posterior(surrogate)[1][0, 0]
        return TargetValue(value, float(np.sqrt(max(variance, 0.0))), self.unit(crystal), linear)

    def _names(self, crystal: Crystal) -> list[str]:
        d = crystal.dimension
        components = [i + 1 for i in crystal.kind.components]
        elastic = [f"C{i}{j}" for i in components for j in components if i <= j]
        return [*elastic, *(["B0", "V0"] if d == 3 else ["A0"] * (d == 2)), *crystal.kind.parameters]

    def _elastic(self, surrogate: Surrogate, found: Equilibrium) -> tuple[float, Floats, Floats]:
        crystal = surrogate.crystal
        components = crystal.kind.components
        n = len(components)
        mean, linear = linearised(surrogate, found, stiffness)
        unit = GPa if n == 6 else N_PER_M
        constants = mean.reshape(n, n) / unit
        if constant := re.fullmatch(r"C(\d)(\d)", self.name):
            i, j = (components.index(int(digit) - 1) for digit in constant.groups())
            value, slope = float(constants[i, j]), np.zeros((n, n))
            slope[i, j] = 1
        else:
            # K = 1 / Σ S_ij over the normal components (Reuss), and so ∂K/∂C = K² (S 1)(S 1)ᵀ.
            normal = np.linalg.solve(constants, np.repeat([1.0, 0.0], 3))
            value = float(1 / normal[:3].sum())
            slope = value**2 * np.outer(normal, normal)
        return value, np.tensordot(slope.ravel(), linear.weights, axes=1) / unit, linear.cells

    def _of_lattice(self, crystal: Crystal, found: Equilibrium) -> tuple[float, Floats, Floats]:
        of_parameters, of_size = lattice_tangents(crystal.vectors(found.cell))
        moved = found.strains.T @ found.response
        if self.name in found.names:
            place = found.names.index(self.name)
            value, tangent = float(found.lattice_parameters[place]), of_parameters[:, place]
        else:
            value, tangent = found.volume, of_size
        return value, (tangent @ moved)[None], found.cell[None]
