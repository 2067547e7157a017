"""Ideal strength: the first maximum of the stress that a perfect crystal bears along a path of strain."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from ase.units import GPa

from ase_dkl.arrays import Floats
from ase_dkl.crystal.lattice import VOIGT, strained
from ase_dkl.mechanics.equilibrium import STEP, Equilibrium, equilibrium
from ase_dkl.mechanics.linear import Linear
from ase_dkl.mechanics.loading import BadLoading, Shear, Tension
from ase_dkl.mechanics.propagation import deviations
from ase_dkl.mechanics.stiffness import refuse_all_but
from ase_dkl.model.accepted import Energy, as_energy
from ase_dkl.shown import Shown
from ase_dkl.wording import concise

if TYPE_CHECKING:
    from ase_dkl.model.lattice_energy import LatticeEnergy

SPACING = 0.005
"""Strain between the points of a path."""
LONGEST = 1.0
"""Strain at which a path ends at the latest."""
CONVERGED = 1e-8
"""Stress that may be left across a relaxed path, eV/Å³: 2e-6 GPa."""
MOST_STEPS = 12
LARGEST_STEP = 0.03


@dataclass(frozen=True, eq=False, repr=False)
class IdealStrength(Shown):
    """The stress of a crystal along a path that begins at its equilibrium, and its first maximum.

    The stress is Cauchy's, the component of the loading, tension positive: force over the area as it then is. Standard
    deviations are the model's own, to first order, and contain the equilibrium's. Since the stress at its maximum does
    not change with the strain, the strength is as uncertain as the stress there.

    Attributes:
        loading: what is done to the crystal.
        relaxed: whether the other stresses are zero along the path, or else the other strains.
        strains: shape (n,).
        cells: shape (n, 3, 3), Å, in the axes of the loading.
        stress_GPa: shape (n,).
        covariance: of the stress, GPa², shape (n, n).
        strength_GPa: the stress at its first maximum; None where the path has none.
        strength_GPa_std: its standard deviation.
        strain_at_strength: where the maximum lies.
        strain_at_strength_std: its standard deviation.
        ending: in words, why the path ends where it does.
        formula: of the reference cell.
    """

    loading: Tension | Shear
    relaxed: bool
    strains: Floats
    cells: Floats
    stress_GPa: Floats
    covariance: Floats
    strength_GPa: float | None
    strength_GPa_std: float | None
    strain_at_strength: float | None
    strain_at_strength_std: float | None
    ending: str
    formula: str

    @property
    def stress_std_GPa(self) -> Floats:
        """Standard deviation of the stress, shape (n,)."""
        return deviations(self.covariance)

    def _summary(self) -> tuple[str, dict[str, str]]:
        heading = f"{self.formula}, {self.loading}{'' if self.relaxed else ', other strains zero'}"
        if self.strength_GPa is None:
            reached = f"{self.strains[-1]:.3g}" if len(self.strains) else "0"
            return heading, {"strength": f"none up to a strain of {reached}"}
        return heading, {
            "strength": concise(self.strength_GPa, self.strength_GPa_std, "GPa"),
            "strain there": concise(self.strain_at_strength, self.strain_at_strength_std),
        }

    def _derived(self) -> tuple[str, ...]:
        return ("stress_std_GPa",)


def ideal_strength(surrogate: Energy, loading: Tension | Shear, *, relaxed: bool = True) -> IdealStrength:
    """Strain a crystal from its equilibrium at no pressure as far as the model knows it, and find the largest stress.

    Only the lattice is strained. A crystal that fails earlier, by a phonon or by ions that were held in place in the
    training data, is weaker than this.

    Args:
        surrogate: a trained surrogate of a bulk crystal, its file, or a calculator that has it.
        loading: a pull or a shear.
        relaxed: let the other strains follow such that the other stresses are zero; otherwise these strains are zero.

    Raises:
        BadLoading: the lattice has no such direction, or not in this plane; or the path has no beginning.
        BadElasticity: the crystal is not periodic in three directions.
        BadEquilibrium: there is no equilibrium to begin at.

    Warns:
        ExtrapolationWarning: the equilibrium lies outside the training data.

    Source: D. Roundy, C. R. Krenn, M. L. Cohen, J. W. Morris, Phys. Rev. Lett. 82, 2713 (1999).
    """
    surrogate = as_energy(surrogate)
    refuse_all_but(3, surrogate.crystal)
    found = equilibrium(surrogate)
    path = _Path(surrogate, found, loading, relaxed)
    points, ending = path.follow()
    if not points:
        raise BadLoading(
            f"{loading}: there is no path to follow. {ending} Strength is that of a crystal which is stable when "
            "nothing is done to it, and whose equilibrium lies in the training data."
        )
    top = path.first_maximum(points)
    n = len(points)
    extreme = [] if top is None else [path.at(top.strain - STEP, top), top]
    covariance = path.covariance([*points, *extreme])
    strength = strength_std = strain = strain_std = None
    if top is not None:
        strength, strength_std = top.stress / GPa, float(np.sqrt(covariance[n + 1, n + 1])) / GPa
        # From σ' = 0 follows δe = −δσ' / σ'', with differences from the point before for both.
        moved = np.array([-1.0, 1.0]) / extreme[0].slope
        strain, strain_std = top.strain, float(np.sqrt(moved @ covariance[n:, n:] @ moved))
    return IdealStrength(
        loading=loading,
        relaxed=relaxed,
        strains=np.array([point.strain for point in points]),
        cells=np.array([point.cell for point in points]),
        stress_GPa=np.array([point.stress for point in points]) / GPa,
        covariance=covariance[:n, :n] / GPa**2,
        strength_GPa=strength,
        strength_GPa_std=strength_std,
        strain_at_strength=strain,
        strain_at_strength_std=strain_std,
        ending=ending,
        formula=surrogate.crystal.formula,
    )


@dataclass(frozen=True, eq=False)
class _Point:
    """A point of a path.

    Attributes:
        strain: along the path.
        entries: of the deformation, shape (6,).
        cell: shape (3, 3), Å.
        stress: the component of the loading, eV/Å³.
        row: what a change of the six stresses at this lattice adds to it, once the other strains have followed.
        tangent: change of the entries with the strain, shape (6,).
        slope: change of the stress with the strain, eV/Å³.
    """

    strain: float
    entries: Floats
    cell: Floats
    stress: float
    row: Floats
    tangent: Floats
    slope: float


class _PathEnds(Exception):
    """There is no further point; the message says why."""


class _Path:
    """Lattices that begin at an equilibrium and are strained further and further."""

    def __init__(self, surrogate: LatticeEnergy, found: Equilibrium, loading: Tension | Shear, relaxed: bool) -> None:
        self._surrogate, self._found, self._loading = surrogate, found, loading
        self._component = loading.component
        self._free = [i for i in range(6) if relaxed and i != self._component]

    def follow(self) -> tuple[list[_Point], str]:
        """All points, and in words why there are no more."""
        points: list[_Point] = []
        begin = _Point(0.0, np.zeros(6), self._found.cell, 0.0, np.zeros(6), np.zeros(6), 0.0)
        while len(points) * SPACING <= LONGEST:
            last = points[-1] if points else begin
            strain = len(points) * SPACING
            try:
                point = self.at(strain, last)
            except _PathEnds as reason:
                return points, f"At a strain of {strain:.3f} {reason}."
            extrapolation = self._surrogate.extrapolation(point.cell[None])
            if extrapolation.outside[0]:
                return points, f"At a strain of {strain:.3f} the training data end. {extrapolation.describe(0)}"
            points.append(point)
        return points, f"No path is followed beyond a strain of {LONGEST:g}."

    def first_maximum(self, points: list[_Point]) -> _Point | None:
        """Where the stress first stops to rise, if it does."""
        from scipy.optimize import brentq

        for before, after in pairwise(points):
            if before.slope > 0 >= after.slope:
                strain = brentq(lambda e, near=before: self.at(e, near).slope, before.strain, after.strain, xtol=1e-8)
                return self.at(strain, before)
        return None

    def at(self, strain: float, near: _Point) -> _Point:
        """The point of a strain, looked for from one near by.

        Raises:
            _PathEnds: there is none.
        """
        c, free = self._component, self._free
        entries = near.entries + (strain - near.strain) * near.tangent
        entries[c] = strain
        start = self._turned(self._found.cell)
        for _ in range(MOST_STEPS):
            cells = _deformed(start, entries + np.concatenate([np.zeros((1, 6)), STEP * np.eye(6), -STEP * np.eye(6)]))
            if (np.linalg.det(cells) <= 0).any():
                break
            stresses = self._stresses(cells)
            stress, slopes = stresses[0], (stresses[1:7] - stresses[7:]).T / (2 * STEP)
            across = slopes[np.ix_(free, free)]
            if np.abs(stress[free]).max(initial=0) < CONVERGED:
                if np.linalg.eigvals(across).real.min(initial=np.inf) <= 0:
                    raise _PathEnds("the crystal gives way sideways: it no longer resists one of the other strains")
                row, tangent = np.eye(6)[[c, c]]
                row[free] = -np.linalg.solve(across.T, slopes[c, free])
                tangent[free] = -np.linalg.solve(across, slopes[free, c])
                return _Point(strain, entries, cells[0], float(stress[c]), row, tangent, float(row @ slopes[:, c]))
            step = -np.linalg.solve(across, stress[free])
            entries[free] += step * min(1.0, LARGEST_STEP / np.abs(step).max())
        raise _PathEnds("there are no other strains nearby for which the other stresses are zero")

    def covariance(self, points: list[_Point]) -> Floats:
        """Covariance of the stress at points of the path, (eV/Å³)², shape (n, n)."""
        found, n = self._found, len(points)
        rows, entries = np.array([point.row for point in points]), np.array([point.entries for point in points])
        cells = np.array([point.cell for point in points])
        weights = np.zeros((n, n + 1, 6))
        weights[range(n), range(n)] = rows / np.linalg.det(cells)[:, None]
        for strain, response in zip(found.strains, found.response, strict=True):
            # The path begins elsewhere when the equilibrium does.
            ahead, behind = (self._turned(strained(found.cell, step * strain)) for step in (STEP, -STEP))
            change = self._stresses(_deformed(ahead, entries)) - self._stresses(_deformed(behind, entries))
            weights[:, n] += ((rows * change).sum(axis=1) / (2 * STEP))[:, None] * response
        return Linear(np.concatenate([cells, found.cell[None]]), weights).posterior(self._surrogate)[1]

    def _turned(self, cell: Floats) -> Floats:
        return np.asarray(cell @ self._loading.axes(cell).T)

    def _stresses(self, cells: Floats) -> Floats:
        return np.asarray(self._surrogate.derivatives(cells) / np.linalg.det(cells)[:, None])


def _deformed(cell: Floats, entries: Floats) -> Floats:
    """Deform a lattice by I + L, L lower triangular with the given entries in Voigt order, shape (n, 6).

    The first axis then keeps its direction, and the first two their plane: these do not turn away from the loading.
    """
    deformation = np.broadcast_to(np.eye(3), (len(entries), 3, 3)).copy()
    for k, (i, j) in enumerate(VOIGT):
        deformation[:, max(i, j), min(i, j)] += entries[:, k]
    return np.asarray(cell @ deformation)
