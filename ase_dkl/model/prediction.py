"""What a surrogate answers with."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, overload

import numpy as np
from numpy.typing import ArrayLike

from ase_dkl.arrays import Floats
from ase_dkl.crystal.lattice import flat
from ase_dkl.model.layout import VALUE, Layout
from ase_dkl.model.quantity import ENERGY, Quantity
from ase_dkl.model.space import Lattice
from ase_dkl.shown import Shown, plain
from ase_dkl.wording import concise, number


@dataclass(frozen=True, eq=False)
class Normal:
    """Numbers, each with a Gaussian for what is not known of it.

    Attributes:
        mean: what is expected.
        std: standard deviation of the model alone, of the mean's shape.
        noise: standard deviation of the labels' noise, of the mean's shape.
    """

    mean: Floats
    std: Floats
    noise: Floats

    @property
    def total(self) -> Floats:
        """Standard deviation of a label from the mean: the model's and the noise together."""
        return np.hypot(self.std, self.noise)

    def times(self, factor: Floats | float) -> Normal:
        """The numbers in another unit, or those of so many cells."""
        size = np.abs(factor)
        return Normal(self.mean * factor, self.std * size, self.noise * size)

    def reshaped(self, *shape: int) -> Normal:
        """The same numbers in another shape."""
        return Normal(self.mean.reshape(shape), self.std.reshape(shape), self.noise.reshape(shape))

    def __getitem__(self, index: Any) -> Normal:
        return Normal(self.mean[index], self.std[index], self.noise[index])


@dataclass(frozen=True, eq=False, repr=False, init=False)
class Prediction(Shown):
    """Predictions for n structures. An uncertainty is one standard deviation of the model; the labels' noise is apart.

    Attributes:
        value: of the quantity, in its unit, shape (n,).
        slopes: by block, as labels are, such as the stress under "strain": eV/Å³, Voigt xx yy zz yz xz xy, tension
            positive, in each structure's own frame, shape (n, 6). It is the energy's own derivative and contains no
            offset of the labels. Forces are under "displacement": eV/Å, shape (n, N, 3), of models of free ions.
            Empty where slopes were not asked for.
        quantity: what is predicted.
    """

    value: Normal
    slopes: Mapping[str, Normal]
    quantity: Quantity

    @overload
    def __init__(self, value: Normal, slopes: Mapping[str, Normal] | None = ..., quantity: Quantity = ...) -> None: ...
    @overload
    def __init__(self, *arrays: Floats | None, **named: Floats | None) -> None: ...
    def __init__(self, *given: Any, **named: Any) -> None:
        by_fields = "value" in named or (given and isinstance(given[0], Normal))
        for name, each in (_by_fields if by_fields else _by_arrays)(*given, **named).items():
            object.__setattr__(self, name, each)

    @classmethod
    def of(
        cls, cells: Floats, rows: Normal, blocks: Mapping[str, int] = Lattice.blocks, quantity: Quantity = ENERGY
    ) -> Self:
        """From values and derivatives.

        Args:
            cells: shape (n, 3, 3), Å.
            rows: of the quantity, and of its derivatives where wanted, shape (n, 1) or (n, 1 + t).
            blocks: along what the derivatives are.
            quantity: what they are of.
        """
        slopes, end = {}, 1
        for block, directions in blocks.items() if rows.mean.shape[1] > 1 else ():
            start, end = end, end + directions
            if block in quantity.slopes:
                slopes[block] = rows[:, start:end].times(1 / quantity.slopes[block].per_label(cells))
                if block == "displacement":
                    slopes[block] = slopes[block].reshaped(len(cells), directions // 3, 3)
        return cls(rows[:, 0], slopes, quantity)

    @property
    def energy(self) -> Floats:
        """Expected energies, eV, shape (n,)."""
        return self._of("energy").mean

    @property
    def energy_uncertainty(self) -> Floats:
        """Standard deviation of each energy, eV, shape (n,)."""
        return self._of("energy").std

    @property
    def energy_noise(self) -> Floats:
        """Standard deviation of the training labels' noise, eV, shape (n,)."""
        return self._of("energy").noise

    @property
    def stress(self) -> Floats | None:
        """Expected stresses, eV/Å³, shape (n, 6); None where not asked for."""
        return None if (stress := self.slopes.get("strain")) is None else stress.mean

    @property
    def stress_uncertainty(self) -> Floats | None:
        """Standard deviation of each stress, eV/Å³, shape (n, 6); None where not asked for."""
        return None if (stress := self.slopes.get("strain")) is None else stress.std

    @property
    def stress_noise(self) -> Floats | None:
        """Standard deviation of the stress labels' noise, eV/Å³, shape (n, 6); None where not asked for."""
        return None if (stress := self.slopes.get("strain")) is None else stress.noise

    @property
    def forces(self) -> Floats | None:
        """Expected forces, eV/Å, shape (n, N, 3); None where not asked for, or of a model of lattices."""
        return None if (forces := self.slopes.get("displacement")) is None else forces.mean

    @property
    def forces_uncertainty(self) -> Floats | None:
        """Standard deviation of each force, eV/Å, shape (n, N, 3); None as `forces`."""
        return None if (forces := self.slopes.get("displacement")) is None else forces.std

    @property
    def forces_noise(self) -> Floats | None:
        """Standard deviation of the force labels' noise, eV/Å, shape (n, N, 3); None as `forces`."""
        return None if (forces := self.slopes.get("displacement")) is None else forces.noise

    def to_dict(self) -> dict[str, Any]:
        """Every array under its name, None in place of slopes that were not asked for."""
        parts = {"": "mean", "_uncertainty": "std", "_noise": "noise"}
        return {
            name + ending: plain(getattr(self.by_kind.get(kind), part, None))
            for kind, name in self.quantity.names.items()
            if kind != "displacement" or kind in self.slopes
            for ending, part in parts.items()
        }

    @property
    def by_kind(self) -> dict[str, Normal]:
        """The value and the slopes, as labels and their noise go by kinds."""
        return {VALUE: self.value, **self.slopes}

    def _of(self, name: str) -> Normal:
        if name != self.quantity.name:
            raise AttributeError(f"This is a prediction of the {self.quantity.name} and has no {name}: see `value`.")
        return self.value

    def _summary(self) -> tuple[str, dict[str, str]]:
        n, name, unit = len(self.value.mean), self.quantity.name, self.quantity.unit
        if n == 1:
            rows = {name: concise(float(self.value.mean[0]), float(self.value.std[0]), unit)}
        elif n:
            low, high = (number(float(each), 8) for each in (self.value.mean.min(), self.value.mean.max()))
            small, size = self.quantity.shown
            largest = number(size * float(self.value.std.max()), 3)
            rows = {name: f"{low} … {high} {unit}", "largest uncertainty": f"{largest} {small}"}
        else:
            rows = {}
        slopes = {self.quantity.names[block]: "yes" for block in self.slopes}
        return f"Prediction of {n} structure{'s' * (n != 1)}", rows | slopes


@dataclass(frozen=True, repr=False)
class JointPosterior(Shown):
    """The joint Gaussian of [E_1 … E_n, ∂E_1/∂ε_1 … ∂E_1/∂ε_6, ∂E_2/∂ε_1 …], per reference cell, eV.

    Attributes:
        mean: shape (n + n t,) with t derivatives of each energy, or (n,) of energies alone.
        covariance: without label noise, eV², shape (n + n t, n + n t) or (n, n).
        layout: where each is.
    """

    mean: Floats
    covariance: Floats
    layout: Layout

    def of(self, kind: str) -> tuple[Floats, Floats]:
        """Mean and covariance of all that is of one kind, point by point: "value" or a block of slopes."""
        index = self.layout.of(kind)
        return self.mean[index], self.covariance[np.ix_(index, index)]

    def _summary(self) -> tuple[str, dict[str, str]]:
        return "Joint posterior", {"quantities": str(len(self.mean))}


def as_cells(cells: ArrayLike, *, stress: bool = False) -> Floats:
    """Cells as numbers, shape (n, 3, 3), Å.

    Raises:
        ValueError: another shape, vectors that are not finite, or stress asked of a cell without volume.
    """
    given = np.array(cells, dtype=np.float64)
    if given.ndim != 3 or given.shape[1:] != (3, 3):
        raise ValueError(f"Cells have the shape (n, 3, 3); these have {given.shape}.")
    if not np.isfinite(given).all():
        wrong = np.flatnonzero(~np.isfinite(given).all(axis=(1, 2)))
        raise ValueError(f"Cell {wrong[0]} has lattice vectors that are not finite: {given[wrong[0]].tolist()}.")
    if stress and flat(given).any():
        raise ValueError("A cell without volume has no stress. Give the vacuum vector a length, or ask for energies.")
    return given


def _by_fields(
    value: Normal, slopes: Mapping[str, Normal] | None = None, quantity: Quantity = ENERGY
) -> dict[str, Any]:
    return {"value": value, "slopes": slopes or {}, "quantity": quantity}


def _by_arrays(
    energy: Floats,
    energy_uncertainty: Floats,
    energy_noise: Floats,
    stress: Floats | None = None,
    stress_uncertainty: Floats | None = None,
    stress_noise: Floats | None = None,
) -> dict[str, Any]:
    warnings.warn(
        "A Prediction of up to six arrays is now Prediction(Normal(energy, energy_uncertainty, energy_noise), "
        '{"strain": Normal(stress, stress_uncertainty, stress_noise)}), with ase_dkl.Normal.',
        DeprecationWarning,
        stacklevel=3,
    )
    slopes = {}
    if stress is not None and stress_uncertainty is not None and stress_noise is not None:
        slopes["strain"] = Normal(stress, stress_uncertainty, stress_noise)
    return _by_fields(Normal(energy, energy_uncertainty, energy_noise), slopes)
