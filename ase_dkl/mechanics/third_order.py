"""Third-order elastic constants, and how the elastic constants change with pressure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np
from ase.units import GPa

from ase_dkl.arrays import Floats
from ase_dkl.crystal import Crystal
from ase_dkl.crystal.lattice import STRAIN_GENERATORS, on_strains, strained, volumes
from ase_dkl.mechanics.equilibrium import ISOTROPIC, Equilibrium
from ase_dkl.mechanics.linear import Linear
from ase_dkl.mechanics.propagation import deviations, propagated
from ase_dkl.mechanics.stiffness import at_equilibrium, in_equilibrium, stiffness
from ase_dkl.mechanics.strains import laue_group
from ase_dkl.model.accepted import Energy, as_energy
from ase_dkl.shown import Shown
from ase_dkl.wording import concise

STEP = 4e-3
"""Strain of second differences, whose error is of order STEP²."""
TRIPLES = np.array([(i, j, k) for i in range(6) for j in range(i, 6) for k in range(j, 6)])
"""Indices of the 56 different constants, shape (56, 3)."""
HEADLINES = ("111", "112", "123", "144", "155", "456")
"""All that a cubic crystal has."""


@dataclass(frozen=True, eq=False, repr=False)
class ThirdOrderConstants(Shown):
    """(1/V) ∂³E/∂η_i∂η_j∂η_k of the Lagrangian strain η from the lattice without stress, with clamped or relaxed ions.

    Attributes:
        equilibrium: that lattice, in the Cartesian frame of the constants: IEEE's for the crystal's symmetry.
        ions: "clamped" or "relaxed", as they were in the training data.
        C_GPa: Voigt, symmetric in its three indices, shape (6, 6, 6).
        C_std_GPa: standard deviations, shape (6, 6, 6).
        covariance: of the constants of `TRIPLES`, GPa², shape (56, 56).
    """

    equilibrium: Equilibrium
    ions: str
    C_GPa: Floats
    C_std_GPa: Floats
    covariance: Floats

    def _summary(self) -> tuple[str, dict[str, str]]:
        return self.equilibrium.formula, _in_words("C{}", self.C_GPa, self.C_std_GPa, HEADLINES, "GPa")


@dataclass(frozen=True, eq=False, repr=False)
class PressureDerivatives(Shown):
    """dC_ij/dP of the stress–strain coefficients along the lattices in equilibrium under pressure.

    Attributes:
        equilibrium: the lattice at the pressure where the derivatives are taken, in the constants' frame.
        dC_dP: shape (6, 6), without unit.
        dC_dP_std: standard deviations, shape (6, 6).
    """

    equilibrium: Equilibrium
    dC_dP: Floats
    dC_dP_std: Floats

    def _summary(self) -> tuple[str, dict[str, str]]:
        heading = f"{self.equilibrium.formula} at {self.equilibrium.pressure_GPa:g} GPa"
        return heading, _in_words("dC{}/dP", self.dC_dP, self.dC_dP_std, ("11", "12", "44"))


def _in_words(name: str, values: Floats, std: Floats, components: Sequence[str], unit: str = "") -> dict[str, str]:
    places = {name.format(digits): tuple(int(digit) - 1 for digit in digits) for digits in components}
    return {each: concise(float(values[at]), float(std[at]), unit) for each, at in places.items()}


def third_order_constants(surrogate: Energy, *, symmetric: bool = True) -> ThirdOrderConstants:
    """Find the third-order elastic constants without pressure.

    They are second derivatives of the second Piola–Kirchhoff stress S, which is linear in the posterior of ∂E/∂ε.

    Args:
        surrogate: a trained surrogate, its file, or a calculator that has it.
        symmetric: look for the equilibrium among lattices with the reference's symmetry.

    Raises:
        BadElasticity: the crystal is not periodic in three directions.
        BadEquilibrium: no equilibrium was found.

    Warns:
        ExtrapolationWarning: the equilibrium lies outside the training data.

    Source:
        K. Brugger, Phys. Rev. 133, A1611 (1964), for the definition.
    """
    surrogate = as_energy(surrogate)
    found = in_equilibrium(surrogate, 3, symmetric=symmetric)
    mean, covariance = at_equilibrium(surrogate, found, _third_derivatives)
    place = np.empty((6, 6, 6), dtype=int)
    for index, (i, j, k) in enumerate(TRIPLES):
        for permuted in ((i, j, k), (i, k, j), (j, i, k), (j, k, i), (k, i, j), (k, j, i)):
            place[permuted] = index
    covariance = covariance / GPa**2
    std = deviations(covariance)
    return ThirdOrderConstants(found, surrogate.crystal.ions, mean[place] / GPa, std[place], covariance)


def pressure_derivatives(
    surrogate: Energy, *, pressure_GPa: float = 0.0, symmetric: bool = True
) -> PressureDerivatives:
    """Find by how much each elastic constant changes with pressure.

    Args:
        surrogate: a trained surrogate, its file, or a calculator that has it.
        pressure_GPa: where the derivatives are taken.
        symmetric: look for the equilibrium among lattices with the reference's symmetry.

    Raises:
        BadElasticity: the crystal is not periodic in three directions.
        BadEquilibrium: no equilibrium was found.

    Warns:
        ExtrapolationWarning: the equilibrium lies outside the training data.
    """
    surrogate = as_energy(surrogate)
    found = in_equilibrium(surrogate, 3, pressure_GPa=pressure_GPa, symmetric=symmetric)
    mean, covariance = at_equilibrium(surrogate, found, partial(_stiffness_and_slopes, strains=found.strains))
    value, covariance = propagated(lambda constants: _along_pressure(constants, found.strains), mean, covariance)
    std = deviations(covariance)
    return PressureDerivatives(found, value.reshape(6, 6), std.reshape(6, 6))


def _stiffness_and_slopes(crystal: Crystal, cell: Floats, strains: Floats) -> Linear:
    """C at a lattice and ∂C/∂u along each of the strains u, 36 quantities each."""
    here = stiffness(crystal, cell)
    larger = [stiffness(crystal, strained(cell, STEP * strain)) for strain in strains]
    smaller = [stiffness(crystal, strained(cell, -STEP * strain)) for strain in strains]
    parts = [here, *larger, *smaller]
    d, (p, n, _) = len(strains), here.weights.shape
    weights = np.zeros((1 + d, p, len(parts), n, 6))
    weights[0, :, 0] = here.weights
    for k in range(d):
        weights[1 + k, :, 1 + k] = larger[k].weights / (2 * STEP)
        weights[1 + k, :, 1 + d + k] = -smaller[k].weights / (2 * STEP)
    return Linear(np.concatenate([part.cells for part in parts]), weights.reshape((1 + d) * p, -1, 6))


def _along_pressure(constants: Floats, strains: Floats) -> Floats:
    """dC/dP from C and ∂C/∂u, shape (m, 36 (1 + d)): under pressure the lattice moves by −(uᵀ C u)⁻¹ uᵀ 1."""
    parts = constants.reshape(len(constants), 1 + len(strains), 6, 6)
    stiffnesses = strains @ parts[:, 0] @ strains.T
    moves = -np.linalg.solve(stiffnesses, (strains @ ISOTROPIC)[:, None])[..., 0]
    return np.asarray(np.einsum("mk,mkij->mij", moves, parts[:, 1:])).reshape(len(constants), 36)


def _third_derivatives(crystal: Crystal, cell: Floats) -> Linear:
    """Constants of `TRIPLES`, by second differences of ∂E/∂η; the first of the cells is the lattice itself."""
    pairs = list(combinations(range(6), 2))
    single = np.eye(6)
    double = np.array([single[i] + single[j] for i, j in pairs])
    strains = STEP * np.concatenate([np.zeros((1, 6)), single, -single, double, -double])
    # A Lagrangian strain η is the stretch U = √(1 + 2 η), and ∂E/∂η = U⁻¹ (∂E/∂ε) U⁻¹.
    values, vectors = np.linalg.eigh(np.eye(3) + 2 * np.tensordot(strains, STRAIN_GENERATORS, axes=1))
    stretches = (vectors * np.sqrt(values)[:, None, :]) @ vectors.mT
    slopes = on_strains(np.linalg.inv(stretches)).mT / volumes(cell) / STEP**2
    weights = np.zeros((6, 6, 6, len(strains), 6))
    for i in range(6):
        weights[i, i] = _placed({0: -2, 1 + i: 1, 7 + i: 1}, slopes)
    for index, (i, j) in enumerate(pairs):
        signs = {0: 2, 13 + index: 1, 28 + index: 1, 1 + i: -1, 7 + i: -1, 1 + j: -1, 7 + j: -1}
        weights[i, j] = weights[j, i] = _placed(signs, slopes) / 2
    weights = (weights + np.moveaxis(weights, 2, 0) + np.moveaxis(weights, 2, 1)) / 3
    group = laue_group(crystal, cell)
    averaged = np.mean([np.einsum("ia,jb,kc,ijkng->abcng", K, K, K, weights, optimize=True) for K in group], axis=0)
    return Linear(cell @ stretches, averaged[tuple(TRIPLES.T)])


def _placed(signs: dict[int, int], slopes: Floats) -> Floats:
    """Sums of ∂E/∂η over cells with signs, as weights of ∂E/∂ε, shape (6, n, 6)."""
    weights = np.zeros((6, len(slopes), 6))
    for cell, sign in signs.items():
        weights[:, cell] = sign * slopes[cell]
    return weights
