"""Constants of bulk crystals, sheets and chains at their equilibrium, which follow from the stress about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from ase_dkl.arrays import Floats
from ase_dkl.crystal import Crystal
from ase_dkl.crystal.lattice import KINDS, metric, normals, on_strains, strained
from ase_dkl.errors import Refused
from ase_dkl.mechanics.equilibrium import STEP, Equilibrium, equilibrium
from ase_dkl.mechanics.frame import standard_frame
from ase_dkl.mechanics.linear import Linear
from ase_dkl.mechanics.propagation import deviations
from ase_dkl.mechanics.strains import laue_group
from ase_dkl.wording import NOT_KNOWN, concise

if TYPE_CHECKING:
    from ase_dkl.model.lattice_energy import LatticeEnergy

_GIVEN = {
    1: "chain_stiffness gives the stiffness of a chain, in nN",
    2: "sheet_constants gives the elastic constants of a sheet or slab, in N/m",
    3: "elastic_constants gives those of a bulk crystal, in GPa",
}


class BadElasticity(Refused, ValueError):
    """Elastic constants asked of what has none, or not these."""


def refuse_all_but(dimension: int, crystal: Crystal) -> None:
    """Constants are those of crystals with a number of periodic axes.

    Raises:
        BadElasticity: the crystal has another one.
    """
    if crystal.dimension != dimension:
        raise BadElasticity(
            f"{crystal.formula} has {crystal.dimension} periodic axes and not {dimension}. {_GIVEN[crystal.dimension]}."
        )


def in_equilibrium(
    surrogate: LatticeEnergy, dimension: int, *, pressure_GPa: float = 0.0, symmetric: bool = True
) -> Equilibrium:
    """The equilibrium of a crystal with a number of periodic axes, in the Cartesian frame of its constants.

    Raises:
        BadElasticity: the crystal has another number of periodic axes.
        BadEquilibrium: no equilibrium was found.
    """
    refuse_all_but(dimension, surrogate.crystal)
    return in_standard_frame(surrogate.crystal, equilibrium(surrogate, pressure_GPa=pressure_GPa, symmetric=symmetric))


def stiffness(crystal: Crystal, cell: Floats) -> Linear:
    """∂σ_i/∂ε_j at a lattice, by central differences of the stress, symmetrised by the lattice's rotations.

    Args:
        crystal: the reference crystal.
        cell: shape (3, 3), Å; of a sheet with the plane in xy, of a chain along x.

    Returns:
        36 quantities, eV/Å³; for sheets nine of xx, yy and xy, eV/Å²; for chains one, eV/Å. The first of its cells is
        the lattice itself.
    """
    components = np.array(crystal.kind.components)
    n = len(components)
    strains = STEP * np.eye(6)[components]
    cells = strained(cell[None], np.concatenate([np.zeros((1, 6)), strains, -strains]))
    slopes = 1 / (2 * STEP * sizes(crystal, cells))
    weights = np.zeros((n, n, 1 + 2 * n, 6))
    for j in range(n):
        weights[np.arange(n), j, 1 + j, components] = slopes[1 + j]
        weights[np.arange(n), j, 1 + n + j, components] = -slopes[1 + n + j]
    # Energies ½ εᵀ C ε are the same after ε → K ε.
    group = laue_group(crystal, cell)[:, components][:, :, components]
    averaged = np.einsum("gki,glj,kl...->ij...", group, group, weights, optimize=True) / len(group)
    return Linear(cells, ((averaged + averaged.swapaxes(0, 1)) / 2).reshape(n * n, 1 + 2 * n, 6))


def sizes(crystal: Crystal, cells: Floats) -> Floats:
    """Volumes of cells (n, 3, 3), Å³, areas of a sheet's, Å², or lengths of a chain's, Å; shape (n,)."""
    return np.asarray(np.sqrt(np.linalg.det(metric(crystal.vectors(cells)))))


def in_standard_frame(crystal: Crystal, found: Equilibrium) -> Equilibrium:
    """Turn an equilibrium into the Cartesian frame of its constants.

    For bulk crystals that is the one IEEE Standard 176 (1987) gives their symmetry; sheets lie in the xy plane, with
    their first periodic vector along x, and chains along x.
    """
    rows = crystal.vectors(found.cell)
    if len(rows) == 3:
        rotation = standard_frame(crystal, found.cell)
    else:
        x = rows[0] / np.linalg.norm(rows[0])
        normal = np.cross(*rows) if len(rows) == 2 else normals(rows)[-1]
        z = normal / np.linalg.norm(normal)
        rotation = np.array([x, np.cross(z, x), z])
    on_strain = on_strains(rotation[None])[0]
    return replace(
        found,
        cell=found.cell @ rotation.T,
        strains=found.strains @ on_strain.T,
        # Like strains: u = response · d, and the work dᵀε is the same number in either frame.
        response=found.response @ on_strain.T,
    )


def at_equilibrium(
    surrogate: LatticeEnergy, found: Equilibrium, quantities: Callable[[Crystal, Floats], Linear]
) -> tuple[Floats, Floats]:
    """Means, shape (p,), and covariance, shape (p, p), of quantities at an equilibrium; arguments as `linearised`."""
    mean, linear = linearised(surrogate, found, quantities)
    return mean, linear.posterior(surrogate)[1]


def linearised(
    surrogate: LatticeEnergy, found: Equilibrium, quantities: Callable[[Crystal, Floats], Linear]
) -> tuple[Floats, Linear]:
    """Quantities at an equilibrium, and what they are of ∂E/∂ε to first order, the equilibrium's own shift included.

    δq = L δd + (∂q/∂u) δu for the free strains u, and δu is linear in the derivatives d too.

    Args:
        surrogate: a trained surrogate.
        found: the equilibrium.
        quantities: what is asked for, such as `stiffness`: from a crystal and a lattice, which is the first of its
            cells.

    Returns:
        Means, shape (p,), and quantities of which only the deviations from the mean count.
    """
    crystal = surrogate.crystal
    here = quantities(crystal, found.cell)
    mean = here.mean(surrogate)
    ahead, behind = (
        np.array([quantities(crystal, strained(found.cell, step * strain)).mean(surrogate) for strain in found.strains])
        for step in (STEP, -STEP)
    )
    drift = (ahead - behind).T / (2 * STEP)
    weights = here.weights.copy()
    weights[:, 0] += drift @ found.response
    return mean, Linear(here.cells, weights)


def undetermined(C: Floats, covariance: Floats) -> tuple[str, ...]:
    """Names of the constants, "C11" and on, of which data say nothing: rows of other volumes alone tell no shear.

    Their error bars are above the modulus of an isotropic strain, or where that is not known either, above themselves.

    Args:
        C: elastic constants in Voigt form, of a bulk crystal (6, 6), a sheet (3, 3) or a chain (1, 1).
        covariance: of `C.ravel()`, in the square of their unit.
    """
    n, d = len(C), {6: 3, 3: 2, 1: 1}[len(C)]
    isotropic = np.zeros((n, n))
    isotropic[:d, :d] = 1 / d**2
    modulus = abs(float((isotropic * C).sum()))
    modulus_std = float(np.sqrt(isotropic.ravel() @ covariance @ isotropic.ravel()))
    std = deviations(covariance).reshape(n, n)
    unknown = std > (modulus if modulus_std < modulus else np.abs(C))
    # Voigt numbers in the plane are 1, 2 and 6.
    numbers = [component + 1 for component in KINDS[d].components]
    return tuple(f"C{numbers[i]}{numbers[j]}" for i in range(n) for j in range(i, n) if unknown[i, j])


def undetermined_in_words(names: Sequence[str]) -> str:
    """What is to be done about constants of which the data say nothing; empty where there are none."""
    return bool(names) * (
        f"Not determined by the training data: {', '.join(names)}. Their error bars are larger than any stiffness of "
        "this crystal. Add DFT runs with the strains that they belong to."
    )


def constants_in_words(C: Floats, std: Floats, unknown: tuple[str, ...], unit: str) -> dict[str, str]:
    """Constants of strains along axes, of two of them, and of shears; in each of these groups equal ones once.

    Args:
        C: elastic constants in Voigt form, of a bulk crystal (6, 6), or of a sheet (3, 3).
        std: their standard deviations.
        unknown: names of those that are not determined.
        unit: of all.
    """
    n, d = len(C), {6: 3, 3: 2}[len(C)]
    numbers = [component + 1 for component in KINDS[d].components]
    rows: dict[str, str] = {}
    for group in ([(i, i) for i in range(d)], [*combinations(range(d), 2)], [(i, i) for i in range(d, n)]):
        first: dict[str, str] = {}
        for i, j in group:
            name = f"C{numbers[i]}{numbers[j]}"
            words = NOT_KNOWN if name in unknown else concise(float(C[i, j]), float(std[i, j]), unit)
            first.setdefault(words, name)
        rows |= {name: words for words, name in first.items()}
    return rows
