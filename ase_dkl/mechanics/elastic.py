"""Elastic constants of a bulk crystal under pressure, with the covariance of all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.units import GPa

from ase_dkl.arrays import Floats
from ase_dkl.crystal import Crystal
from ase_dkl.crystal.lattice import metric, on_strains, strained
from ase_dkl.crystal.motif import normals
from ase_dkl.errors import Refused
from ase_dkl.mechanics.equilibrium import STEP, Equilibrium, equilibrium
from ase_dkl.mechanics.frame import LaueClass, laue_class, standard_frame
from ase_dkl.mechanics.linear import Linear
from ase_dkl.mechanics.moduli import Moduli, NotStiff, moduli
from ase_dkl.mechanics.stability import BornCondition, Stability, born_conditions, stability
from ase_dkl.mechanics.strains import laue_group
from ase_dkl.model.accepted import Model, as_surrogate
from ase_dkl.shown import Shown
from ase_dkl.wording import NOT_KNOWN, concise

if TYPE_CHECKING:
    from pymatgen.analysis.elasticity.elastic import ElasticTensor

    from ase_dkl.model.surrogate import Surrogate

COMPONENTS = {1: [0], 2: [0, 1, 5], 3: [0, 1, 2, 3, 4, 5]}
"""Voigt components in which chains along x, sheets in the xy plane, and bulk crystals have stresses."""
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


class BadElasticity(Refused, ValueError):
    """Elastic constants asked of what has none, or not these."""


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
        return np.sqrt(np.maximum(np.diagonal(self.covariance), 0)).reshape(6, 6)

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


def elastic_constants(surrogate: Model, *, pressure_GPa: float = 0.0, symmetric: bool = True) -> ElasticConstants:
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
    surrogate = as_surrogate(surrogate)
    refuse_all_but_bulk(surrogate.crystal)
    found = in_standard_frame(surrogate.crystal, equilibrium(surrogate, pressure_GPa=pressure_GPa, symmetric=symmetric))
    mean, covariance = at_equilibrium(surrogate, found, lambda cell: stiffness(surrogate.crystal, cell))
    laue = laue_class(surrogate.crystal, found.cell)
    return ElasticConstants(found, surrogate.crystal.ions, mean.reshape(6, 6) / GPa, covariance / GPa**2, laue)


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
    std = np.sqrt(np.maximum(np.diagonal(covariance), 0)).reshape(n, n)
    unknown = std > (modulus if modulus_std < modulus else np.abs(C))
    # Voigt numbers in the plane are 1, 2 and 6.
    numbers = [component + 1 for component in COMPONENTS[d]]
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
    numbers = [component + 1 for component in COMPONENTS[d]]
    rows: dict[str, str] = {}
    for group in ([(i, i) for i in range(d)], [*combinations(range(d), 2)], [(i, i) for i in range(d, n)]):
        first: dict[str, str] = {}
        for i, j in group:
            name = f"C{numbers[i]}{numbers[j]}"
            words = NOT_KNOWN if name in unknown else concise(float(C[i, j]), float(std[i, j]), unit)
            first.setdefault(words, name)
        rows |= {name: words for words, name in first.items()}
    return rows


def refuse_all_but_bulk(crystal: Crystal) -> None:
    """Three-dimensional constants are for three-dimensional crystals.

    Raises:
        BadElasticity: the crystal is a sheet, slab or chain.
    """
    if crystal.dimension < 3:
        raise BadElasticity(
            f"{crystal.formula} has {crystal.dimension} periodic axes, and no elastic "
            "constants in GPa. sheet_constants gives those of a sheet or slab, in N/m, chain_stiffness gives that of a "
            "chain, in nN."
        )


def stiffness(crystal: Crystal, cell: Floats) -> Linear:
    """∂σ_i/∂ε_j at a lattice, by central differences of the stress, symmetrised by the lattice's rotations.

    Args:
        crystal: the reference crystal.
        cell: shape (3, 3), Å; of a sheet with the plane in xy, of a chain along x.

    Returns:
        36 quantities, eV/Å³; for sheets nine of xx, yy and xy, eV/Å²; for chains one, eV/Å. The first of its cells is
        the lattice itself.
    """
    components = COMPONENTS[crystal.dimension]
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
    surrogate: Surrogate, found: Equilibrium, quantities: Callable[[Floats], Linear]
) -> tuple[Floats, Floats]:
    """Means, shape (p,), and covariance, shape (p, p), of quantities at an equilibrium; arguments as `linearised`."""
    mean, linear = linearised(surrogate, found, quantities)
    return mean, linear.posterior(surrogate)[1]


def linearised(
    surrogate: Surrogate, found: Equilibrium, quantities: Callable[[Floats], Linear]
) -> tuple[Floats, Linear]:
    """Quantities at an equilibrium, and what they are of ∂E/∂ε to first order, the equilibrium's own shift included.

    δq = L δd + (∂q/∂u) δu for the free strains u, and δu is linear in the derivatives d too.

    Args:
        surrogate: a trained surrogate.
        found: the equilibrium.
        quantities: what is asked for, as it follows from a lattice, which is the first of its cells.

    Returns:
        Means, shape (p,), and quantities of which only the deviations from the mean count.
    """
    here = quantities(found.cell)
    mean = here.mean(surrogate)
    ahead, behind = (
        np.array([quantities(strained(found.cell, step * strain)).mean(surrogate) for strain in found.strains])
        for step in (STEP, -STEP)
    )
    drift = (ahead - behind).T / (2 * STEP)
    weights = here.weights.copy()
    weights[:, 0] += drift @ found.response
    return mean, Linear(here.cells, weights)
