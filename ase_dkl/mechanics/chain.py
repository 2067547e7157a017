"""The stiffness of chains, in nN: the force that strains them, whatever cross-section is thought of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ase.units import J, m

from ase_dkl.mechanics.equilibrium import Equilibrium
from ase_dkl.mechanics.stiffness import at_equilibrium, in_equilibrium, stiffness
from ase_dkl.model.accepted import Energy, as_energy
from ase_dkl.shown import Shown
from ase_dkl.wording import concise, plus_minus

CONVENTION = "stiffness_nN: L times the second derivative of the energy by the length L"
NN = 1e-9 * J / m
"""1 nN in eV/Å."""


@dataclass(frozen=True, eq=False, repr=False)
class ChainStiffness(Shown):
    """The stiffness of a chain or wire at the length without force.

    Attributes:
        equilibrium: that lattice, the chain along x.
        ions: "clamped" or "relaxed", as they were in the training data.
        stiffness_nN: L ∂²E/∂L², the force a unit of strain takes: Young's modulus times cross-section.
        stiffness_nN_std: its standard deviation.
    """

    equilibrium: Equilibrium
    ions: str
    stiffness_nN: float
    stiffness_nN_std: float
    missing: ClassVar[str] = ""

    def words(self) -> dict[str, str]:
        """The stiffness and the lattice."""
        stiffness = plus_minus(self.stiffness_nN, self.stiffness_nN_std, "nN")
        return {"stiffness": stiffness, **self.equilibrium.lattice_words()}

    def _record(self) -> dict[str, Any]:
        """The stiffness and the lattice."""
        found = {"stiffness_nN": self.stiffness_nN, "stiffness_nN_std": self.stiffness_nN_std}
        return {**found, **self.equilibrium.lattice_record(), "convention": CONVENTION}

    def _summary(self) -> tuple[str, dict[str, str]]:
        return self.equilibrium.formula, {"stiffness": concise(self.stiffness_nN, self.stiffness_nN_std, "nN")}


def chain_stiffness(surrogate: Energy) -> ChainStiffness:
    """Find the equilibrium length of a chain and its stiffness.

    Args:
        surrogate: a trained surrogate of a crystal with one periodic axis, its file, or a calculator that has it.

    Raises:
        BadElasticity: the crystal has another number of periodic axes.
        BadEquilibrium: no equilibrium was found.

    Warns:
        ExtrapolationWarning: the equilibrium lies outside the training data.
    """
    surrogate = as_energy(surrogate)
    found = in_equilibrium(surrogate, 1)
    mean, covariance = at_equilibrium(surrogate, found, stiffness)
    return ChainStiffness(found, surrogate.crystal.ions, float(mean[0]) / NN, float(covariance[0, 0]) ** 0.5 / NN)
