"""The forms that ase.eos fits to energies: their parameters, and their derivatives to machine precision."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import ase.eos
import numpy as np
from numpy.typing import NDArray

from ase_dkl.arrays import Floats
from ase_dkl.errors import Refused

Kind = Literal[
    "sj", "taylor", "murnaghan", "birch", "birchmurnaghan", "pouriertarantola", "vinet", "anton-schmidt", "p3"
]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""Forms that ase.eos fits."""
FEWEST = 5
"""Points that four parameters are fitted to and that leave something to judge the form by."""
_CIRCLE = np.exp(2j * np.pi * np.arange(16) / 16)


class BadEquationOfState(Refused, ValueError):
    """An equation of state that cannot be fitted, or is asked of what has none."""


@dataclass(frozen=True, eq=False)
class Form:
    """A form of ase.eos with its four parameters.

    Attributes:
        kind: one of `KINDS`.
        parameters: as ase.eos orders them, in eV and Å, shape (4,).
        minimum: the volume where it is lowest, Å³.
    """

    kind: Kind
    parameters: Floats
    minimum: float

    @classmethod
    def fit(cls, kind: Kind, volumes: Floats, energies: Floats) -> Self:
        """Fit as ase.eos does, by least squares, every point counting the same.

        The minimum may lie outside the points, no further than they reach.

        Args:
            kind: one of `KINDS`.
            volumes: shape (n,), Å³.
            energies: shape (n,), eV.

        Raises:
            BadEquationOfState: no such kind, too few points, or no minimum near them.
        """
        check_fit(kind, len(volumes))
        lowest = energies.min()
        fit = ase.eos.EquationOfState(volumes, energies - lowest, eos=kind)
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                minimum, _, modulus = fit.fit(warn=False)
        except (RuntimeError, ValueError) as error:  # SciPy's that did not converge, and ASE's "No minimum!"
            raise _no_minimum(kind, volumes, energies) from error
        width = float(np.ptp(volumes))
        if not (volumes.min() - width < minimum < volumes.max() + width and modulus > 0):
            raise _no_minimum(kind, volumes, energies)
        parameters = np.array(fit.fit0.coeffs[::-1] if kind == "sj" else fit.eos_parameters)
        parameters[0] += lowest
        return cls(kind, parameters, float(minimum))

    def energy(self, volumes: Floats) -> Floats:
        """Energies at volumes of shape (m,), eV."""
        return np.asarray(self._energy(self.parameters, volumes))

    def by_parameters(self, volumes: Floats) -> Floats:
        """Derivatives of the energy with respect to the parameters, shape (m, 4)."""
        return np.asarray(self._by_parameters(volumes).real)

    def response(self, volumes: Floats) -> Floats:
        """How much fitted parameters move with the energies at volumes (n,), shape (4, n): (JᵀJ)⁻¹ Jᵀ."""
        q, r = np.linalg.qr(self.by_parameters(volumes))
        return np.linalg.solve(r, q.T)

    def along_volume(self, volumes: Floats, order: int) -> Floats:
        """∂ᵏE/∂Vᵏ at volumes (m,) for k = 0 … order, shape (order + 1, m)."""
        return _derivatives(lambda v: self._energy(self.parameters, v), volumes, order)

    def along_volume_by_parameters(self, volumes: Floats, order: int) -> Floats:
        """Derivatives of those with respect to the parameters, shape (order + 1, m, 4)."""
        return _derivatives(self._by_parameters, volumes, order)

    def _energy(self, parameters: Any, volumes: Any) -> Any:
        """The function of ase.eos, which also takes complex numbers."""
        if self.kind == "sj":
            return ase.eos.p3(volumes ** (-1 / 3), *parameters)
        return getattr(ase.eos, self.kind.replace("-", "_"))(volumes, *parameters)

    def _by_parameters(self, volumes: Any) -> NDArray[np.complex128]:
        """Derivatives by Cauchy's integral, at volumes (...), shape (..., 4)."""
        circle = _CIRCLE.reshape(-1, *(1,) * np.ndim(volumes))
        columns = []
        for i, parameter in enumerate(self.parameters):
            radius = 0.01 * abs(parameter) or 0.01
            turned = [*self.parameters]
            turned[i] = parameter + radius * circle
            columns.append((self._energy(turned, volumes) / circle).mean(axis=0) / radius)
        return np.stack(columns, axis=-1)


def check_fit(kind: Kind, points: int) -> None:
    """Find out before the work that there will be no fit.

    Raises:
        BadEquationOfState: no such kind, or too few points.
    """
    if kind not in KINDS:
        raise BadEquationOfState(f"There is no equation of state {kind!r}. ASE has {', '.join(KINDS)}.")
    if points < FEWEST:
        raise BadEquationOfState(
            f"{points} points are too few for an equation of state, which has four parameters; take at least {FEWEST}."
        )


def _no_minimum(kind: Kind, volumes: Floats, energies: Floats) -> BadEquationOfState:
    return BadEquationOfState(
        f"The form {kind} has no minimum when fitted between {volumes.min():.4g} and {volumes.max():.4g}; the lowest "
        f"energy is at {volumes[energies.argmin()]:.4g}. Choose bounds with the minimum well between them, or another "
        "form."
    )


def _derivatives(function: Callable[[Any], Any], at: Floats, order: int) -> Floats:
    """Derivatives 0 … order of an analytic function, by Cauchy's integral along a circle around each point.

    Args:
        function: of points (16, m), shape (16, m, ...).
        at: shape (m,). The function has no singularity near; those of ase.eos have theirs at 0.
        order: the highest.

    Returns:
        Shape (order + 1, m, ...).
    """
    radius = 0.1 * at
    values = function(at + radius * _CIRCLE[:, None])
    radius = radius.reshape(-1, *(1,) * (values.ndim - 2))
    powers = [np.tensordot(_CIRCLE**-k, values, 1).real / len(_CIRCLE) / radius**k for k in range(order + 1)]
    return np.stack([math.factorial(k) * power for k, power in enumerate(powers)])
