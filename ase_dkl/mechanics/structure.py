"""The structure at rest, ions and lattice, with the uncertainty of every coordinate."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from ase_dkl.arrays import Floats
from ase_dkl.calculator import ExtrapolationWarning
from ase_dkl.crystal import Crystal
from ase_dkl.crystal.lattice import normals
from ase_dkl.mechanics.equilibrium import Equilibrium, equilibrium
from ase_dkl.mechanics.force_constants import Curvature, curvatures
from ase_dkl.mechanics.ionic_lattice import RelaxedIons, relaxed_lattice
from ase_dkl.mechanics.motions import Functionals, SiteGroup, moved
from ase_dkl.mechanics.propagation import covariance_root, deviations
from ase_dkl.mechanics.relaxation import BadRelaxation, at_rest, in_minimum, unstable
from ase_dkl.model.accepted import Ionic, as_ionic
from ase_dkl.shown import Shown
from ase_dkl.wording import concise, plus_minus

if TYPE_CHECKING:
    from collections.abc import Callable

    from ase_dkl.model.ionic_energy import IonicEnergy

STEP = 1e-3
"""Strain, and displacement in Å, of finite differences along which a quantity drifts as the structure moves."""
_DIGITS = 8
"""Of coordinates that are told; the rest is rounding."""
_NOTHING = 1e-9
"""Part of the largest direction in which a structure is uncertain by which another one is none."""


@dataclass(frozen=True, eq=False, repr=False)
class RelaxedStructure(Shown):
    """Ions at rest, in a lattice in equilibrium or in one that is held.

    Attributes:
        crystal: the reference.
        point: cell and positions, shape (3 + N, 3), Å.
        energy: eV per reference cell.
        energy_std: eV.
        covariance: of the lattice's strain and then the ions' displacements from where they would follow it, shape
            (6 + 3 N, 6 + 3 N), Å for displacements. Motions that leave the energy alone are taken out.
        response: by how much these move with the slopes at `point`, shape (6 + 3 N, 6 + 3 N).
        curvature: second derivatives of the energy at `point`.
        equilibrium: of the lattice; None where the cell was held, or there is none.
        outside: the model extrapolates there.
    """

    crystal: Crystal
    point: Floats
    energy: float
    energy_std: float
    covariance: Floats
    response: Floats
    curvature: Curvature
    equilibrium: Equilibrium | None
    outside: bool

    @property
    def positions(self) -> Floats:
        """Cartesian, in the reference's order, shape (N, 3), Å."""
        return self.point[3:]

    @property
    def positions_std(self) -> Floats:
        """Of ions in their lattice, its own uncertainty left out, shape (N, 3), Å."""
        return deviations(self.covariance)[6:].reshape(-1, 3)

    @property
    def scaled_positions(self) -> Floats:
        """Fractional coordinates along periodic axes, Cartesian ones in Å across them, shape (N, 3)."""
        return np.asarray(self.positions @ np.linalg.inv(self._frame))

    @property
    def scaled_positions_std(self) -> Floats:
        """Their standard deviations, shape (N, 3)."""
        n = len(self.positions)
        inverse = np.linalg.inv(self._frame)
        of_ions = self.covariance[6:, 6:].reshape(n, 3, n, 3)[np.arange(n), :, np.arange(n)]
        return np.asarray(np.sqrt(np.maximum(np.einsum("ji,njk,ki->ni", inverse, of_ions, inverse), 0)))

    @property
    def stable(self) -> bool:
        """No displacement of ions lowers the energy."""
        return not unstable(self.curvature)

    @cached_property
    def ways(self) -> list[tuple[Floats, Floats]]:
        """Orthonormal motions along which it is uncertain, and how far it moves along each with the slopes there."""
        root = covariance_root(self.covariance)
        directions, sizes, _ = np.linalg.svd(root, full_matrices=False)
        basis = directions[:, sizes > _NOTHING * sizes.max(initial=0)].T
        return list(zip(basis, basis @ self.response, strict=True))

    def atoms(self) -> Atoms:
        """The structure itself."""
        found = self.crystal.atoms(self.point[:3])
        found.positions = self.positions
        return found

    def words(self) -> dict[str, str]:
        """Lattice and energy, then every ion."""
        found = self.equilibrium
        if found is None:
            lattice = {"reference": f"{self.crystal.formula}, {self.crystal.space_group}"}
        else:
            lattice = found.words()
            lattice.pop("energy")
        return {
            **lattice,
            "energy": plus_minus(self.energy, self.energy_std, "eV per cell"),
            **self.ions_in_words(plus_minus),
        }

    def ions_in_words(self, in_words: Callable[[float, float, str], str]) -> dict[str, str]:
        """Coordinates of every ion: fractions along periodic axes, Å across them."""
        symbols = self.crystal.atoms().get_chemical_symbols()
        units = ["" if periodic else "Å" for periodic in self.crystal.pbc]
        rows = zip(symbols, self.scaled_positions.tolist(), self.scaled_positions_std.tolist(), strict=True)
        return {
            f"ion {i}, {symbol}": "  ".join(map(in_words, (round(each, _DIGITS) + 0.0 for each in place), std, units))
            for i, (symbol, place, std) in enumerate(rows)
        }

    def _record(self) -> dict[str, Any]:
        """The lattice where it was free, the energy and all coordinates."""
        found = {} if self.equilibrium is None else self.equilibrium.record()
        return {
            "formula": self.crystal.formula,
            **found,
            "cell": self.point[:3],
            "ions": "relaxed",
            "energy_eV": self.energy,
            "energy_eV_std": self.energy_std,
            **{name: getattr(self, name) for name in self._derived()},
            "symbols": self.crystal.atoms().get_chemical_symbols(),
            "outside_domain": self.outside,
        }

    def to_dict(self) -> dict[str, Any]:
        """All but second derivatives and responses."""
        return {**self.record(), "covariance": self.covariance.tolist()}

    def _summary(self) -> tuple[str, dict[str, str]]:
        rows = {} if self.equilibrium is None else self.equilibrium.lattice_words(concise)
        rows["energy"] = concise(self.energy, self.energy_std, "eV")
        worst = float(self.positions_std.max())
        return f"{self.crystal.formula} at rest", {**rows, "largest σ of an ion": f"{worst:.2g} Å"}

    def _derived(self) -> tuple[str, ...]:
        return ("positions", "positions_std", "scaled_positions", "scaled_positions_std", "stable")

    @property
    def _frame(self) -> Floats:
        """Lattice vectors, and unit vectors across what is not periodic, each in the row of its axis."""
        frame = np.empty((3, 3))
        frame[self.crystal.pbc] = self.point[:3][self.crystal.pbc]
        frame[~self.crystal.pbc] = normals(self.crystal.vectors(self.point[:3]))
        return frame


def relaxed_structure(
    model: Ionic,
    *,
    pressure_GPa: float = 0.0,
    symmetric: bool = True,
    fixed_cell: bool = False,
    saddle: bool = False,
    follow: bool = False,
) -> RelaxedStructure:
    """Bring ions to rest, and a lattice into equilibrium with them.

    Args:
        model: of free ions, its file, or a calculator that has it.
        pressure_GPa: hydrostatic; zero for what is not periodic in three directions.
        symmetric: strain the reference only so that its symmetry stays.
        fixed_cell: keep the reference's cell, as where rows of one cell tell nothing of others.
        saddle: accept ions at rest on a saddle that symmetry holds in place.
        follow: follow an unstable mode from there into the minimum beside it.

    Raises:
        BadRelaxation: ions do not come to rest, or on a saddle.
        BadEquilibrium: no equilibrium of the lattice was found.

    Warns:
        ExtrapolationWarning: the structure lies outside the training data.
    """
    model = as_ionic(model)
    if model.crystal.dimension and not fixed_cell:
        lattice = relaxed_lattice(model, saddle=saddle, follow=follow)
        return in_equilibrium(lattice, equilibrium(lattice, pressure_GPa=pressure_GPa, symmetric=symmetric))
    if pressure_GPa:
        raise BadRelaxation(
            f"A pressure of {pressure_GPa:g} GPa works on a lattice that is free. Leave the pressure out, or let the "
            "cell relax too."
        )
    if saddle and not follow:
        point = at_rest(model, model.reference[None])[0]
        return _found(model, point, curvatures(model, point[None])[0], None)
    return _found(model, *in_minimum(model, model.reference, follow=follow), None)


def in_equilibrium(lattice: RelaxedIons, found: Equilibrium) -> RelaxedStructure:
    """The structure whose lattice in equilibrium was found, in its frame."""
    point = lattice.points(found.cell[None])[0]
    return _found(lattice.model, point, lattice.curvatures(point[None])[0], found)


def _found(model: IonicEnergy, point: Floats, curvature: Curvature, lattice: Equilibrium | None) -> RelaxedStructure:
    ions = len(point) - 3
    response = np.zeros((6 + 3 * ions, 6 + 3 * ions))
    response[6:, 6:] = -curvature.inverse
    if lattice is not None:
        by_strain = np.vstack([np.eye(6), curvature.response])
        # δε = S δ(dE/dε), of ions at rest; these go along with the strain, and with the forces on them.
        response += by_strain @ lattice.strains.T @ lattice.response @ by_strain.T
        outside = lattice.outside
    else:
        extrapolation = model.extrapolation(point[None])
        outside = bool(extrapolation.outside[0])
        if outside:
            warnings.warn(extrapolation.describe(0), ExtrapolationWarning, stacklevel=3)
    # What breaks the symmetry of the energy is rounding.
    symmetric = SiteGroup.of(model.crystal, point).invariant
    response = symmetric @ response @ symmetric.T
    slopes = model.means(point[None])[0]
    joint = model.joint(point[None], True)
    covariance = joint.covariance[1:, 1:]
    of_energy = np.concatenate([[1.0], slopes[1:] @ response])
    return RelaxedStructure(
        crystal=model.crystal,
        point=point,
        energy=float(slopes[0]),
        energy_std=float(np.sqrt(max(of_energy @ joint.covariance @ of_energy, 0))),
        covariance=response @ covariance @ response.T,
        response=response,
        curvature=curvature,
        equilibrium=lattice,
        outside=outside,
    )


def at_structure(
    model: IonicEnergy, structure: RelaxedStructure, quantities: Callable[[Floats], Functionals]
) -> Functionals:
    """Quantities of a structure that is itself uncertain, to first order.

    δq = L δy + (∂q/∂x) δx for the structure's coordinates x, and δx is linear in the slopes at the structure too.

    Args:
        model: the energy.
        structure: at which they are asked for.
        quantities: from a structure, shape (3 + N, 3); the first of the points of what it answers is the structure.

    Returns:
        Quantities of which only the deviations from the mean count. The first of their points is the structure.
    """
    here = quantities(structure.point)
    weights = here.weights.copy()
    for way, response in structure.ways:
        ahead, behind = (quantities(moved(structure.point, step * way)).mean(model) for step in (STEP, -STEP))
        weights[:, 0, 1:] += np.multiply.outer((ahead - behind) / (2 * STEP), response)
    return Functionals(here.points, weights)
