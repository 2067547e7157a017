"""Elastic constants of a bulk crystal under pressure, with the covariance of all of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.units import GPa

from ase_dkl.arrays import Floats
from ase_dkl.mechanics.equilibrium import Equilibrium
from ase_dkl.mechanics.frame import LaueClass, laue_class
from ase_dkl.mechanics.moduli import Moduli, NotStiff, moduli
from ase_dkl.mechanics.propagation import deviations
from ase_dkl.mechanics.stability import BornCondition, Stability, born_conditions, stability
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

if TYPE_CHECKING:
    from pymatgen.analysis.elasticity.elastic import ElasticTensor

PRESSURE_TERMS = np.zeros((6, 6))
"""∂(C − Lagrangian C)/∂P in Voigt form."""
PRESSURE_TERMS[:3, :3] = 1 - 2 * np.eye(3)
PRESSURE_TERMS[3:, 3:] = -np.eye(3)


CONVENTION = (
    "C_GPa: stress-strain coefficients (Wallace) of the Cauchy stress at sigma = -P, by which stability is judged; "
    "lagrangian_GPa: second derivatives of the energy by the Lagrangian strain over the volume. Voigt order xx yy zz "
    "yz xz xy, shears engineering, Cartesian frame of IEEE Standard 176 (1987)"
)
JUDGED = ("stable_probability", "stable_probability_std", "smallest_eigenvalue_GPa", "smallest_eigenvalue_GPa_std")


@dataclass(frozen=True, eq=False, repr=False)
class ElasticConstants(Shown):
    """Elastic constants of a bulk crystal at the lattice where the stress is −P.

    Attributes:
        equilibrium: that lattice, in the Cartesian frame of the constants: IEEE's for the crystal's symmetry.
        ions: "clamped" at their fractional coordinates, or "relaxed", as they were in the training data.
        C_GPa: ∂σ_i/∂ε_j of the Cauchy stress, shape (6, 6): Wallace's stress–strain coefficients, by which stability
            is judged. Symmetric in i and j under hydrostatic pressure, and symmetrised by the crystal's rotations.
        covariance: of `C_GPa.ravel()`, GPa², shape (36, 36). It contains what the equilibrium's uncertainty adds.
        laue: the Laue class of the lattice.
    """

    equilibrium: Equilibrium
    ions: str
    C_GPa: Floats
    covariance: Floats
    laue: LaueClass = "-1"

    @cached_property
    def C_std_GPa(self) -> Floats:
        """Standard deviation of every constant, shape (6, 6)."""
        return deviations(self.covariance).reshape(6, 6)

    @cached_property
    def undetermined(self) -> tuple[str, ...]:
        """Names of the constants of which the training data say nothing, such as "C44"."""
        return undetermined(self.C_GPa, self.covariance)

    @cached_property
    def lagrangian_GPa(self) -> Floats:
        """(1/V) ∂²E/∂η_i∂η_j with η the Lagrangian strain from this lattice, shape (6, 6); as uncertain as `C_GPa`.

        Source: D. C. Wallace, Thermodynamics of Crystals (1972), equation 2.55: they differ by the pressure.
        """
        return self.C_GPa - self.equilibrium.pressure_GPa * PRESSURE_TERMS

    @property
    def moduli(self) -> Moduli | None:
        """Those of a polycrystal; None where they are `missing`."""
        return self._averaged[0]

    @property
    def missing(self) -> str:
        """Why there are no moduli, in words; empty where there are."""
        return self._averaged[1]

    @cached_property
    def stability(self) -> Stability | None:
        """Born's criterion; None where constants are not determined."""
        return None if self.undetermined else stability(self.C_GPa, self.covariance)

    @cached_property
    def born_conditions(self) -> tuple[BornCondition, ...]:
        """Those of the Laue class; none where constants are not determined."""
        return () if self.undetermined else born_conditions(self.C_GPa, self.covariance, self.laue)

    def words(self) -> dict[str, str]:
        """Moduli, stability and the lattice."""
        parts = (self.moduli, self.stability, *self.born_conditions)
        rows = {name: words for part in parts if part is not None for name, words in part.words().items()}
        return rows | self.equilibrium.lattice_words()

    def _record(self) -> dict[str, Any]:
        """Constants, moduli, stability and the lattice."""
        return {
            "C_GPa": self.C_GPa,
            "C_GPa_std": self.C_std_GPa,
            "lagrangian_GPa": self.lagrangian_GPa,
            "lagrangian_GPa_std": self.C_std_GPa,
            **(dict.fromkeys(Moduli.__dataclass_fields__) if self.moduli is None else self.moduli.to_dict()),
            **{name: getattr(self.stability, name, None) for name in JUDGED},
            "born_conditions": self.born_conditions,
            "undetermined": self.undetermined,
            **self.equilibrium.lattice_record(),
            "convention": CONVENTION,
        }

    def elastic_tensor(self) -> ElasticTensor:
        """`C_GPa` as pymatgen's tensor, which brings its rotations, fits and derived properties."""
        from pymatgen.analysis.elasticity.elastic import ElasticTensor

        return ElasticTensor.from_voigt(self.C_GPa)

    @cached_property
    def _averaged(self) -> tuple[Moduli | None, str]:
        if self.undetermined:
            return None, undetermined_in_words(self.undetermined)
        try:
            return moduli(self.C_GPa, self.covariance), ""
        except NotStiff as reason:
            return None, str(reason)

    def _summary(self) -> tuple[str, dict[str, str]]:
        pressure = self.equilibrium.pressure_GPa
        heading = f"{self.equilibrium.formula}{f' at {pressure:g} GPa' if pressure else ''}"
        return heading, constants_in_words(self.C_GPa, self.C_std_GPa, self.undetermined, "GPa")

    def _derived(self) -> tuple[str, ...]:
        return ("C_std_GPa", "lagrangian_GPa", "undetermined")


def elastic_constants(surrogate: Energy, *, pressure_GPa: float = 0.0, symmetric: bool = True) -> ElasticConstants:
    """Find the equilibrium lattice and its elastic constants.

    Args:
        surrogate: a trained surrogate, its file, or a calculator that has it.
        pressure_GPa: hydrostatic.
        symmetric: look for the equilibrium among lattices with the reference's symmetry.

    Raises:
        BadElasticity: the crystal is not periodic in three directions; `sheet_constants` is for sheets, and
            `chain_stiffness` for chains.
        BadEquilibrium: no equilibrium was found.

    Warns:
        ExtrapolationWarning: the equilibrium lies outside the training data.
    """
    surrogate = as_energy(surrogate)
    found = in_equilibrium(surrogate, 3, pressure_GPa=pressure_GPa, symmetric=symmetric)
    mean, covariance = at_equilibrium(surrogate, found, stiffness)
    laue = laue_class(surrogate.crystal, found.cell)
    return ElasticConstants(found, surrogate.crystal.ions, mean.reshape(6, 6) / GPa, covariance / GPa**2, laue)
