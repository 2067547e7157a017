"""Equation of state: the energy as a function of the volume, fitted with the forms of ase.eos, and its error bars."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.units import GPa, J, m
from numpy.typing import ArrayLike

from ase_dkl.arrays import Floats
from ase_dkl.calculator import ExtrapolationWarning
from ase_dkl.crystal.lattice import metric
from ase_dkl.mechanics.equilibrium import BadEquilibrium, equilibrium
from ase_dkl.mechanics.forms import FEWEST, BadEquationOfState, Form, Kind, check_fit
from ase_dkl.mechanics.propagation import deviations
from ase_dkl.mechanics.strains import invariant_strains
from ase_dkl.model.accepted import Energy, as_energy
from ase_dkl.shown import Shown
from ase_dkl.wording import concise, number, plus_minus

if TYPE_CHECKING:
    from ase_dkl.model.lattice_energy import LatticeEnergy

LABELS = {
    "V0_A3": ("volume V₀", "Å³"),
    "A0_A2": ("area A₀", "Å²"),
    "E0_eV": ("energy E₀", "eV per cell"),
    "B0_GPa": ("bulk modulus B₀", "GPa"),
    "B0_N_per_m": ("area modulus B₀", "N/m"),
    "B0_prime": ("its pressure derivative B₀′", ""),
}
ONE_SHAPE = 1e-4
"""Lattices are of one shape when no component of their metrics, scaled to one size, differs by more than this."""
MISFIT = 2.0
"""Standard deviations by which a value may move in half the range, before a warning says that the form does not fit."""
_ROUNDING = 1e-9
"""Part of a value: what is known better is known exactly."""
BOUNDS = (-0.08, 0.08)
"""Change of volume on either side, in fractions of it."""
NARROWEST = 0.01
"""Distance of the bounds below which the covariance of energies' third differences is lost in rounding."""


class MisfitWarning(UserWarning):
    """A form that follows the energies so badly that error bars, which know nothing of it, are too small."""


def _quantity(name: str, kind: str = "values") -> Any:
    def read(self: EquationOfState) -> float:
        if name not in self.names:
            raise AttributeError(f"This equation of state has no {name}. It has {', '.join(self.names)}.")
        return float(getattr(self, kind)[self.names.index(name)])

    return property(read)


@dataclass(frozen=True, eq=False, repr=False)
class EquationOfState(Shown):
    """A form of ase.eos fitted by least squares to energies whose joint covariance is known.

    A bulk crystal's has `V0_A3`, `E0_eV`, `B0_GPa` and `B0_prime`; that of a sheet or slab, in the area, `A0_A2`,
    `E0_eV`, `B0_N_per_m` and `B0_prime`; each with its standard deviation, `V0_A3_std` and so on. All are read off the
    fitted curve: its minimum, B = V ∂²E/∂V² there, and ∂B/∂P.

    Attributes:
        form: the fitted form.
        volumes: of the reference cell, Å³, shape (n,); in the plane of a sheet the area, Å².
        energies: that the form was fitted to, eV per reference cell, shape (n,).
        energies_covariance: eV², shape (n, n).
        names: of the quantities, with their units.
        values: shape (4,).
        covariance: of the values, shape (4, 4): that of the energies carried through the fit, to first order. How well
            the form follows the energies is no part of it; see `residuals`.
        formula: of the reference cell; empty where only energies were given.
    """

    form: Form
    volumes: Floats
    energies: Floats
    energies_covariance: Floats
    names: tuple[str, ...]
    values: Floats
    covariance: Floats
    formula: str = ""

    V0_A3, V0_A3_std = _quantity("V0_A3"), _quantity("V0_A3", "std")
    A0_A2, A0_A2_std = _quantity("A0_A2"), _quantity("A0_A2", "std")
    E0_eV, E0_eV_std = _quantity("E0_eV"), _quantity("E0_eV", "std")
    B0_GPa, B0_GPa_std = _quantity("B0_GPa"), _quantity("B0_GPa", "std")
    B0_N_per_m, B0_N_per_m_std = _quantity("B0_N_per_m"), _quantity("B0_N_per_m", "std")
    B0_prime, B0_prime_std = _quantity("B0_prime"), _quantity("B0_prime", "std")

    @property
    def std(self) -> Floats:
        """Standard deviations of the values, shape (4,)."""
        return deviations(self.covariance)

    @property
    def correlation(self) -> Floats:
        """Shape (4, 4)."""
        return self.covariance / np.outer(self.std, self.std)

    @property
    def residuals(self) -> Floats:
        """Energies minus the form, eV, shape (n,)."""
        return self.energies - self.form.energy(self.volumes)

    @property
    def residual_meV(self) -> float:
        """Root mean square of the residuals."""
        return float(1e3 * np.sqrt(np.mean(self.residuals**2)))

    def curve(self, volumes: ArrayLike) -> tuple[Floats, Floats]:
        """The fitted energy and its standard deviation, eV, at volumes of shape (m,)."""
        at = np.asarray(volumes, dtype=float)
        return self.form.energy(at), self._std(self.form.by_parameters(at))

    def pressure(self, volumes: ArrayLike) -> tuple[Floats, Floats]:
        """P = −∂E/∂V of the fitted curve and its standard deviation, eV/Å³ (of a sheet eV/Å²), at volumes (m,)."""
        at = np.asarray(volumes, dtype=float)
        slope = self.form.along_volume(at, 1)[1]
        return -slope, self._std(self.form.along_volume_by_parameters(at, 1)[1])

    def table(self) -> dict[str, Floats]:
        """Columns of a table of the points, each of shape (n,); the names carry the units."""
        bulk = self.names[0] == "V0_A3"
        size, force, unit = ("volume_A3", "pressure_GPa", GPa) if bulk else ("area_A2", "tension_N_per_m", -J / m**2)
        fit, fit_std = self.curve(self.volumes)
        pressure, pressure_std = self.pressure(self.volumes)
        return {
            size: self.volumes,
            "energy_eV": self.energies,
            "energy_uncertainty_eV": np.sqrt(np.diagonal(self.energies_covariance)),
            "fit_eV": fit,
            "fit_std_eV": fit_std,
            force: pressure / unit,
            f"{force}_std": pressure_std / abs(unit),
        }

    def words(self) -> dict[str, str]:
        """What was fitted, and how well."""
        found = zip(self.names, self.values.tolist(), self.std.tolist(), strict=True)
        rows = {LABELS[name][0]: plus_minus(value, std, LABELS[name][1]) for name, value, std in found}
        return {**rows, "surrogate from the fit, RMS": f"{number(self.residual_meV, 3)} meV per cell"}

    def _record(self) -> dict[str, Any]:
        """What was fitted, without the points."""
        fitted = {name: getattr(self, name) for each in self.names for name in (each, f"{each}_std")}
        further = {"residual_meV": self.residual_meV, "names": self.names, "correlation": self.correlation}
        return {**fitted, "kind": self.form.kind, **further}

    def _summary(self) -> tuple[str, dict[str, str]]:
        rows = {}
        for name, value, std in zip(self.names, self.values.tolist(), self.std.tolist(), strict=True):
            short, _, unit = name.partition("_")
            if short in ("V0", "A0", "B0") and unit != "prime":
                rows[short] = concise(value, std, LABELS[name][1])
        return self.formula or f"Equation of state ({self.form.kind})", rows

    def _derived(self) -> tuple[str, ...]:
        return (*self.names, *(f"{name}_std" for name in self.names), "residual_meV", "correlation")

    def _std(self, by_parameters: Floats) -> Floats:
        """Standard deviation of what changes with the parameters, shape (m, 4), so much."""
        by_energies = by_parameters @ self._response
        variance = np.einsum("mi,ij,mj->m", by_energies, self.energies_covariance, by_energies)
        return np.asarray(np.sqrt(np.maximum(variance, 0)))

    @cached_property
    def _response(self) -> Floats:
        return self.form.response(self.volumes)


def equation_of_state(
    surrogate: Energy,
    *,
    kind: Kind = "birchmurnaghan",
    bounds: tuple[float, float] | None = None,
    points: int = 21,
    start: Floats | None = None,
) -> EquationOfState:
    """Fit an equation of state to the surrogate's energies of a cell that is scaled without changing its shape.

    For a cubic crystal (a square or hexagonal sheet) this is the equation of state under pressure. Any other changes
    its shape under pressure, and is softer than this B0 says.

    Where the training rows are of one shape and say nothing of the crystal's others, or surround no equilibrium, the
    reference's shape is scaled over the sizes that they have.

    Sheets and slabs get theirs in the area: their cell's volume says only how much vacuum there is. The forms serve as
    curves with a minimum, a curvature and a third derivative, whatever the exponents in them were made for; the
    residuals say how well they do.

    Args:
        surrogate: a trained surrogate, its file, or a calculator that has it.
        kind: one of `ase_dkl.mechanics.forms.KINDS`, the forms of ase.eos.
        bounds: the smallest and the largest volume (area), as fractional changes from the start's; ±8 % by default.
            The wider they are, the worse a form follows: at ±8 % Birch–Murnaghan's misfit moves B0 of SrTiO3 by a
            quarter of its error bar, and Vinet's by three quarters.
        points: equally spaced between the bounds.
        start: cell that is scaled, in the reference's basis, shape (3, 3), Å; the equilibrium by default.

    Raises:
        BadEquationOfState: no such kind, too few points, no minimum near the bounds, or a chain.

    Warns:
        ExtrapolationWarning: some volumes lie outside the training data, or the minimum lies outside the bounds.
        MisfitWarning: some value depends on the bounds by more than its error bar.
    """
    surrogate = as_energy(surrogate)
    periodic = list(surrogate.crystal.periodic)
    if len(periodic) == 1:
        raise BadEquationOfState(
            "A chain has neither volume nor area, and no equation of state. Scan its length along its axis instead."
        )
    check_fit(kind, points)
    begin, (low, high) = (
        _path(surrogate, bounds) if start is None else (np.asarray(start, dtype=float), bounds or BOUNDS)
    )
    if not -1 < low < high:
        raise BadEquationOfState(
            f"An equation of state from {low:g} to {high:g}: the bounds are fractional changes of the volume, the "
            "smaller one first, above −1."
        )
    if high - low < NARROWEST:
        raise BadEquationOfState(
            f"An equation of state from {low:g} to {high:g}: energies so close together say nothing of a curve. Give "
            f"bounds at least {NARROWEST:g} apart."
        )
    scale = (1 + np.linspace(low, high, points)) ** (1 / len(periodic))
    cells = np.repeat(begin[None], points, axis=0)
    cells[:, periodic] *= scale[:, None, None]
    _warn_of_extrapolation(surrogate, cells)
    joint = surrogate.posterior(cells, derivatives=False)
    sizes = np.sqrt(np.linalg.det(metric(cells[:, periodic])))
    dimensions, formula = len(periodic), surrogate.crystal.formula
    fitted = fit_equation(kind, sizes, joint.mean, joint.covariance, dimensions=dimensions, formula=formula)
    if not sizes[0] < fitted.form.minimum < sizes[-1]:
        warnings.warn(
            f"The curve is lowest at {fitted.form.minimum:.5g}, outside the range that it was fitted to, from "
            f"{sizes[0]:.5g} to {sizes[-1]:.5g}. All that follows from the minimum is extrapolated, with an error of "
            "the form that no error bar knows of. Add DFT runs around the minimum.",
            ExtrapolationWarning,
            stacklevel=2,
        )
    _warn_of_misfit(fitted)
    return fitted


def _path(surrogate: LatticeEnergy, bounds: tuple[float, float] | None) -> tuple[Floats, tuple[float, float]]:
    """The cell that is scaled, and how far."""
    crystal = surrogate.crystal
    metrics = metric(crystal.vectors(surrogate.cells))
    sizes = np.sqrt(np.linalg.det(metrics))
    size = float(np.sqrt(np.linalg.det(metric(crystal.vectors(crystal.cell)))))
    shapes = metrics / sizes[:, None, None] ** (2 / crystal.dimension)
    one_shape = np.ptp(shapes, axis=0).max() < ONE_SHAPE * np.abs(shapes).max()
    rows = (sizes.min() / size - 1, sizes.max() / size - 1)
    if one_shape and len(invariant_strains(crystal, crystal.cell)) > 1:
        return crystal.cell, bounds or rows
    try:
        return equilibrium(surrogate).cell, bounds or BOUNDS
    except BadEquilibrium as error:
        warnings.warn(
            f"The shape of the reference crystal is scaled, as there is no equilibrium to start from. {error}",
            ExtrapolationWarning,
            stacklevel=3,
        )
        return crystal.cell, bounds or rows


def fit_equation(
    kind: Kind, volumes: Floats, energies: Floats, covariance: Floats, *, dimensions: int = 3, formula: str = ""
) -> EquationOfState:
    """Fit a form as ase.eos does, every point counting the same, and carry the energies' covariance through the fit.

    Args:
        kind: one of `ase_dkl.mechanics.forms.KINDS`, the forms of ase.eos.
        volumes: shape (n,), Å³; areas, Å², of what is periodic in two dimensions.
        energies: shape (n,), eV.
        covariance: of the energies, shape (n, n), eV².
        dimensions: 3 for volumes, 2 for areas.
        formula: of the reference cell.

    Raises:
        BadEquationOfState: no such kind, too few points, or no minimum near them.
    """
    form = Form.fit(kind, volumes, energies)
    v = form.minimum
    e = form.along_volume(np.array([v]), 4)[:, 0]
    # How the curve and its derivatives at V0 move with the energies, then V0 itself, and they along with it.
    moved = form.along_volume_by_parameters(np.array([v]), 3)[:, 0] @ form.response(volumes)
    dv = -moved[1] / e[2]
    d2, d3 = moved[2] + e[3] * dv, moved[3] + e[4] * dv
    unit = GPa if dimensions == 3 else J / m**2
    ratio = e[3] / e[2]
    # B = V E'' and B' = ∂B/∂P = −1 − V E''' / E''
    values = np.array([v, e[0], v * e[2] / unit, -1 - v * ratio])
    by_energies = np.array([dv, moved[0], (dv * e[2] + v * d2) / unit, -(dv * ratio + v * (d3 - ratio * d2) / e[2])])
    return EquationOfState(
        form=form,
        volumes=volumes,
        energies=energies,
        energies_covariance=covariance,
        names=(*(("V0_A3", "E0_eV", "B0_GPa") if dimensions == 3 else ("A0_A2", "E0_eV", "B0_N_per_m")), "B0_prime"),
        values=values,
        covariance=by_energies @ covariance @ by_energies.T,
        formula=formula,
    )


def _warn_of_extrapolation(surrogate: LatticeEnergy, cells: Floats) -> None:
    extrapolation = surrogate.extrapolation(cells)
    outside = np.flatnonzero(extrapolation.outside)
    if len(outside):
        worst = outside[extrapolation.distance[outside].argmax()]
        warnings.warn(
            f"{len(outside)} of the {len(cells)} cells of the equation of state are extrapolations. Of the furthest: "
            f"{extrapolation.describe(worst)} Narrower bounds avoid them.",
            ExtrapolationWarning,
            stacklevel=3,
        )


def _warn_of_misfit(fitted: EquationOfState) -> None:
    """Compare with a fit to the half of the points that are nearest to the minimum."""
    n = len(fitted.volumes)
    nearest = np.sort(np.argsort(np.abs(fitted.volumes - fitted.form.minimum))[: max(FEWEST, (n + 1) // 2)])
    dimensions = 3 if fitted.names[0] == "V0_A3" else 2
    covariance = fitted.energies_covariance[np.ix_(nearest, nearest)]
    kind, volumes, energies = fitted.form.kind, fitted.volumes[nearest], fitted.energies[nearest]
    try:
        narrow = fit_equation(kind, volumes, energies, covariance, dimensions=dimensions)
    except BadEquationOfState:
        return
    moved = np.abs(narrow.values - fitted.values) / np.maximum(fitted.std, _ROUNDING * np.abs(fitted.values))
    worst = int(moved.argmax())
    if moved[worst] > MISFIT:
        near, far = (plus_minus(float(each.values[worst]), float(each.std[worst])) for each in (narrow, fitted))
        warnings.warn(
            f"{kind} does not follow the energies over this range (by {number(fitted.residual_meV, 2)} meV RMS): "
            f"fitted to the nearer half of the points, {fitted.names[worst]} is {near}, not {far}. The error bars know "
            "nothing of this; choose narrower bounds or another form.",
            MisfitWarning,
            stacklevel=3,
        )
