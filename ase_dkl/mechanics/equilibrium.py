"""The lattice at which the stress is −P, and how sure the model is of it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.units import GPa

from ase_dkl.arrays import Floats
from ase_dkl.calculator import ExtrapolationWarning
from ase_dkl.crystal import lattice
from ase_dkl.crystal.lattice import GREEK, strained, unit_of, volumes
from ase_dkl.errors import Refused
from ase_dkl.mechanics.propagation import deviations
from ase_dkl.mechanics.strains import invariant_strains
from ase_dkl.model.accepted import Energy, as_energy
from ase_dkl.shown import Shown
from ase_dkl.wording import concise, plus_minus

if TYPE_CHECKING:
    from ase_dkl.model.lattice_energy import LatticeEnergy

STEP = 1e-3
"""Strain of finite differences: their error is of order STEP², some 10⁻⁵ of an elastic constant."""
LONGEST = 0.03
"""Largest strain of one Newton step."""
CONVERGED = 1e-10
"""Strain at which the search ends."""
MOST_STEPS = 60
FARTHEST = 0.5
"""Strain of the start beyond which the search has lost its way."""
ISOTROPIC = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
_KINDS = {len(kind.parameters): kind for kind in lattice.KINDS}
"""Kinds of crystals, by the number of lattice parameters."""
_PLAIN = str.maketrans("Å²³", "A23")


class BadEquilibrium(Refused, ValueError):
    """A lattice in equilibrium that does not exist, or cannot be asked for."""


@dataclass(frozen=True, eq=False, repr=False)
class Equilibrium(Shown):
    """A lattice in equilibrium. Energies are per reference cell; a standard deviation is the model's own.

    Attributes:
        cell: lattice vectors in rows, the start strained without rotation, shape (3, 3), Å.
        pressure_GPa: the stress is minus this on its diagonal.
        energy: eV; the energy itself, without P V.
        energy_std: eV.
        volume: Å³; for sheets and slabs the area, Å², for chains the length, Å.
        volume_std: likewise.
        names: of the lattice parameters.
        lattice_parameters: Å and degrees, shape (p,).
        lattice_parameters_covariance: shape (p, p).
        strains: the strains that were free, Voigt, shape (d, 6).
        response: by how much of each the equilibrium moves with ∂E/∂ε at `cell`, 1/eV, shape (d, 6).
        outside: the surrogate extrapolates at this lattice.
        formula: of the reference cell.
        space_group: of the reference crystal.
        ions: "clamped" or "relaxed", as they were in the training data.
    """

    cell: Floats
    pressure_GPa: float
    energy: float
    energy_std: float
    volume: float
    volume_std: float
    names: tuple[str, ...]
    lattice_parameters: Floats
    lattice_parameters_covariance: Floats
    strains: Floats
    response: Floats
    outside: bool
    formula: str
    space_group: str
    ions: str

    @property
    def lattice_parameters_std(self) -> Floats:
        """Å and degrees, shape (p,)."""
        return deviations(self.lattice_parameters_covariance)

    def words(self) -> dict[str, str]:
        """The crystal, its lattice, size and energy."""
        kind = _KINDS[len(self.names)]
        size, unit = kind.size, kind.size_unit
        return {
            "reference crystal": f"{self.formula}, {self.space_group}, ions {self.ions}",
            **({"pressure": f"{self.pressure_GPa:g} GPa"} if size == "volume" else {}),
            **self.lattice_words(),
            size: plus_minus(self.volume, self.volume_std, unit),
            "energy": plus_minus(self.energy, self.energy_std, "eV per cell"),
        }

    def lattice_words(self, in_words: Callable[[float, float, str], str] = plus_minus) -> dict[str, str]:
        """Lattice parameters; those that are equal to all digits shown are named together."""
        names: dict[str, list[str]] = {}
        for name, value, std in zip(self.names, self.lattice_parameters, self.lattice_parameters_std, strict=True):
            words = in_words(float(value), float(std), unit_of(name))
            names.setdefault(words, []).append(GREEK.get(name, name))
        return {" = ".join(equal): words for words, equal in names.items()}

    def _record(self) -> dict[str, Any]:
        """The lattice, its size and energy."""
        kind = _KINDS[len(self.names)]
        size = f"{kind.size}_{kind.size_unit.translate(_PLAIN)}"
        found = {size: self.volume, f"{size}_std": self.volume_std}
        return {**self.lattice_record(), **found, "energy_eV": self.energy, "energy_eV_std": self.energy_std}

    def lattice_record(self) -> dict[str, Any]:
        """The lattice, and of what crystal, for the JSON of whatever belongs to it."""
        return {
            "lattice_parameters": dict(zip(self.names, self.lattice_parameters, strict=True)),
            "lattice_parameters_std": dict(zip(self.names, self.lattice_parameters_std, strict=True)),
            **{name: getattr(self, name) for name in ("cell", "pressure_GPa", "formula", "space_group", "ions")},
            "outside_domain": self.outside,
        }

    def _summary(self) -> tuple[str, dict[str, str]]:
        rows = self.lattice_words(concise)
        if self.pressure_GPa:
            rows["pressure"] = f"{self.pressure_GPa:g} GPa"
        return self.formula, {**rows, **({"outside the training data": "yes"} if self.outside else {})}

    def _derived(self) -> tuple[str, ...]:
        return ("lattice_parameters_std",)


def equilibrium(
    surrogate: Energy, *, pressure_GPa: float = 0.0, symmetric: bool = True, start: Floats | None = None
) -> Equilibrium:
    """Find the lattice of lowest enthalpy E + P V, where the stress is −P.

    The uncertainty is that of the stress, through the stiffness: δu = −H⁻¹ δ(∂E/∂u) for the free strains u.

    Args:
        surrogate: a trained surrogate, its file, or a calculator that has it.
        pressure_GPa: hydrostatic; zero for what is not periodic in three directions.
        symmetric: strain the start only so that its symmetry stays; otherwise in every way.
        start: lattice to start from, in the reference's basis, shape (3, 3), Å; the reference by default.

    Raises:
        BadEquilibrium: no minimum was found, or a pressure was asked of a sheet.

    Warns:
        ExtrapolationWarning: the minimum lies outside the training data.
    """
    surrogate = as_energy(surrogate)
    crystal = surrogate.crystal
    periodic = list(crystal.periodic)
    if pressure_GPa and len(periodic) < 3:
        raise BadEquilibrium(
            f"A pressure of {pressure_GPa:g} GPa was asked of a crystal with {len(periodic)} periodic axes. It has no "
            "volume for a pressure to work on; leave the pressure out."
        )
    begin = np.array(crystal.cell if start is None else start, dtype=float)
    cell, travelled = begin.copy(), np.zeros(6)
    for _ in range(MOST_STEPS):
        if symmetric:
            strains = invariant_strains(crystal, cell)
        else:
            strains = lattice.independent_strains(cell[None][:, periodic])[0]
        slope, curvature = _slope_and_curvature(surrogate, cell, strains, pressure_GPa * GPa)
        step = _newton_step(slope, curvature)
        cell = strained(cell, step @ strains)
        travelled += step @ strains
        if np.abs(travelled).max() > FARTHEST:
            break
        if np.abs(step).max() < CONVERGED:
            if np.linalg.eigvalsh(curvature + curvature.T)[0] <= 0:
                break
            return _found(surrogate, cell, pressure_GPa, strains, curvature)
    raise BadEquilibrium(
        f"No lattice of lowest enthalpy was found at {pressure_GPa:g} GPa, starting from lattice parameters "
        f"{_in_words(begin[periodic])}: the search came to {_in_words(cell[periodic])}. The training data may not "
        "surround the minimum, or there is none at this pressure; add DFT runs around it, or choose another pressure."
    )


def _slope_and_curvature(
    surrogate: LatticeEnergy, cell: Floats, strains: Floats, pressure: float
) -> tuple[Floats, Floats]:
    """First derivatives of the enthalpy along the free strains, eV, shape (d,), and second ones, shape (d, d)."""
    d = len(strains)
    cells = strained(cell[None], np.concatenate([np.zeros((1, 6)), STEP * strains, -STEP * strains]))
    slopes = surrogate.derivatives(cells) + pressure * volumes(cells)[:, None] * ISOTROPIC
    along = slopes @ strains.T
    return along[0], (along[1 : d + 1] - along[d + 1 :]).T / (2 * STEP)


def _newton_step(slope: Floats, curvature: Floats) -> Floats:
    """Downhill also where the enthalpy curves the wrong way, and not too far."""
    values, vectors = np.linalg.eigh((curvature + curvature.T) / 2)
    size = np.maximum(np.abs(values), 1e-3 * np.abs(values).max())
    step = -vectors @ ((vectors.T @ slope) / size)
    return np.asarray(step * min(1.0, LONGEST / max(np.abs(step).max(), 1e-300)))


def _found(
    surrogate: LatticeEnergy, cell: Floats, pressure_GPa: float, strains: Floats, curvature: Floats
) -> Equilibrium:
    crystal = surrogate.crystal
    extrapolation = surrogate.extrapolation(cell[None])
    outside = bool(extrapolation.outside[0])
    if outside:
        warnings.warn(extrapolation.describe(0), ExtrapolationWarning, stacklevel=3)
    joint = surrogate.posterior(cell[None])
    response: Floats = np.asarray(-np.linalg.solve(curvature, strains))
    moved = strains.T @ response
    slopes, covariance = joint.of("strain")
    of_strain = moved @ covariance @ moved.T
    of_energy = np.concatenate([[1.0], slopes @ moved])
    rows = crystal.vectors(cell)
    metric = lattice.metric(rows)
    parameters = lattice.lattice_parameters(metric)
    tangents, size_tangent = lattice_tangents(rows)
    return Equilibrium(
        cell=cell,
        pressure_GPa=pressure_GPa,
        energy=float(joint.mean[0]),
        energy_std=float(np.sqrt(of_energy @ joint.covariance @ of_energy)),
        volume=float(np.sqrt(np.linalg.det(metric))),
        volume_std=float(np.sqrt(size_tangent @ of_strain @ size_tangent)),
        names=crystal.kind.parameters,
        lattice_parameters=parameters,
        lattice_parameters_covariance=tangents.T @ of_strain @ tangents,
        strains=strains,
        response=response,
        outside=outside,
        formula=crystal.formula,
        space_group=crystal.space_group,
        ions=crystal.ions,
    )


def lattice_tangents(rows: Floats) -> tuple[Floats, Floats]:
    """How much lattice parameters, shape (6, p), and volume, area or length, shape (6,), change with the strain.

    Args:
        rows: periodic lattice vectors, shape (d, 3), Å.
    """
    metric, tangents = lattice.metric(rows), lattice.metric_tangents(rows)
    size = float(np.sqrt(np.linalg.det(metric)))
    of_size = size * np.trace(np.linalg.solve(metric, tangents), axis1=1, axis2=2) / 2
    return lattice.lattice_parameter_tangents(metric, tangents), of_size


def _in_words(rows: Floats) -> str:
    parameters = lattice.lattice_parameters(lattice.metric(rows))
    named = zip(lattice.KINDS[len(rows)].parameters, parameters, strict=True)
    return ", ".join(f"{name} {value:.4g} {lattice.unit_of(name)}" for name, value in named)
