"""Elastic constants of sheets and slabs, in N/m: forces on an edge, whatever thickness or vacuum is thought of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from ase.units import J, m

from ase_dkl.arrays import Floats
from ase_dkl.mechanics.equilibrium import Equilibrium
from ase_dkl.mechanics.propagation import deviations, propagated
from ase_dkl.mechanics.stability import probability_in_words, stable_probability
from ase_dkl.mechanics.stiffness import (
    at_equilibrium,
    constants_in_words,
    in_equilibrium,
    stiffness,
    undetermined,
    undetermined_in_words,
)
from ase_dkl.model.accepted import Energy, as_energy
from ase_dkl.shown import Shown
from ase_dkl.wording import plus_minus

CONVENTION = (
    "C_N_per_m: second derivatives of the energy by the strain over the area. Order xx yy xy, shear engineering, the "
    "sheet in the xy plane with its first periodic vector along x"
)
N_PER_M = J / m**2
"""1 N/m in eV/Å²."""


@dataclass(frozen=True, eq=False, repr=False)
class SheetConstants(Shown):
    """Elastic constants of a sheet or slab at the lattice without stress, in its plane.

    The sheet lies in the xy plane with its first periodic vector along x. Out of the plane there is no stress.

    Attributes:
        equilibrium: that lattice, in this frame.
        ions: "clamped" or "relaxed", as they were in the training data.
        C_N_per_m: (1/A) ∂²E/∂ε_i∂ε_j for xx, yy and xy, shear engineering, shape (3, 3).
        covariance: of `C_N_per_m.ravel()`, N²/m², shape (9, 9).
        young_moduli_N_per_m: along x and y, shape (2,).
        shear_modulus_N_per_m: in the plane.
        area_modulus_N_per_m: A ∂²E/∂A² of an isotropic strain, (C₁₁ + C₂₂ + 2 C₁₂) / 4.
        poisson_ratio: −ε_yy / ε_xx under tension along x.

    Each modulus has its standard deviation beside it, with `std` in the name.
    """

    equilibrium: Equilibrium
    ions: str
    C_N_per_m: Floats
    covariance: Floats
    young_moduli_N_per_m: Floats
    young_moduli_std_N_per_m: Floats
    shear_modulus_N_per_m: float
    shear_modulus_std_N_per_m: float
    area_modulus_N_per_m: float
    area_modulus_std_N_per_m: float
    poisson_ratio: float
    poisson_ratio_std: float

    @property
    def C_std_N_per_m(self) -> Floats:
        """Standard deviation of every constant, shape (3, 3)."""
        return deviations(self.covariance).reshape(3, 3)

    @property
    def undetermined(self) -> tuple[str, ...]:
        """Names of the constants of which the training data say nothing, such as "C66"."""
        return undetermined(self.C_N_per_m, self.covariance)

    @property
    def missing(self) -> str:
        """Why moduli mean nothing, in words; empty where they do."""
        return undetermined_in_words(self.undetermined)

    @cached_property
    def stable_probability(self) -> tuple[float, float]:
        """How probable it is that the sheet withstands every small strain, and the error of the sampling."""
        return stable_probability(self.C_N_per_m, self.covariance)

    def words(self) -> dict[str, str]:
        """Moduli, stability and the lattice."""
        if self.undetermined:
            return self.equilibrium.lattice_words()
        young = zip("xy", self.young_moduli_N_per_m.tolist(), self.young_moduli_std_N_per_m.tolist(), strict=True)
        return {
            **{f"Young's modulus along {axis}": plus_minus(value, std, "N/m") for axis, value, std in young},
            "shear modulus": plus_minus(self.shear_modulus_N_per_m, self.shear_modulus_std_N_per_m, "N/m"),
            "area modulus": plus_minus(self.area_modulus_N_per_m, self.area_modulus_std_N_per_m, "N/m"),
            "Poisson's ratio": plus_minus(self.poisson_ratio, self.poisson_ratio_std),
            **probability_in_words(*self.stable_probability),
            **self.equilibrium.lattice_words(),
        }

    def _record(self) -> dict[str, Any]:
        """Constants, moduli, stability and the lattice."""
        probability, error = self.stable_probability
        found = {
            "C_N_per_m": self.C_N_per_m,
            "C_N_per_m_std": self.C_std_N_per_m,
            "young_moduli_N_per_m": self.young_moduli_N_per_m,
            "young_moduli_N_per_m_std": self.young_moduli_std_N_per_m,
            "shear_modulus_N_per_m": self.shear_modulus_N_per_m,
            "shear_modulus_N_per_m_std": self.shear_modulus_std_N_per_m,
            "area_modulus_N_per_m": self.area_modulus_N_per_m,
            "area_modulus_N_per_m_std": self.area_modulus_std_N_per_m,
            "poisson_ratio": self.poisson_ratio,
            "poisson_ratio_std": self.poisson_ratio_std,
            "stable_probability": probability,
            "stable_probability_std": error,
            "undetermined": self.undetermined,
        }
        return {**found, **self.equilibrium.lattice_record(), "convention": CONVENTION}

    def _summary(self) -> tuple[str, dict[str, str]]:
        rows = constants_in_words(self.C_N_per_m, self.C_std_N_per_m, self.undetermined, "N/m")
        return self.equilibrium.formula, rows

    def _derived(self) -> tuple[str, ...]:
        return ("C_std_N_per_m", "undetermined")


def sheet_constants(surrogate: Energy, *, symmetric: bool = True) -> SheetConstants:
    """Find the equilibrium lattice of a sheet or slab and its elastic constants.

    Args:
        surrogate: a trained surrogate of a crystal with two periodic axes, its file, or a calculator that has it.
        symmetric: look for the equilibrium among lattices with the reference's symmetry.

    Raises:
        BadElasticity: the crystal has another number of periodic axes.
        BadEquilibrium: no equilibrium was found.

    Warns:
        ExtrapolationWarning: the equilibrium lies outside the training data.
    """
    surrogate = as_energy(surrogate)
    found = in_equilibrium(surrogate, 2, symmetric=symmetric)
    mean, covariance = at_equilibrium(surrogate, found, stiffness)
    mean, covariance = mean / N_PER_M, covariance / N_PER_M**2
    moduli, of_moduli = propagated(_moduli, mean, covariance)
    std = deviations(of_moduli)
    return SheetConstants(
        found,
        surrogate.crystal.ions,
        mean.reshape(3, 3),
        covariance,
        moduli[:2],
        std[:2],
        *(float(each) for pair in zip(moduli[2:], std[2:], strict=True) for each in pair),
    )


def _moduli(constants: Floats) -> Floats:
    """Young's moduli along x and y, shear modulus, area modulus and Poisson ratio of (n, 9) constants, shape (n, 5)."""
    stiffness = constants.reshape(-1, 3, 3)
    compliance = np.linalg.inv(stiffness)
    area = (stiffness[:, 0, 0] + stiffness[:, 1, 1] + 2 * stiffness[:, 0, 1]) / 4
    young = 1 / compliance[:, [0, 1], [0, 1]]
    return np.column_stack([young, 1 / compliance[:, 2, 2], area, -compliance[:, 0, 1] / compliance[:, 0, 0]])
