"""A trained surrogate as an ASE calculator.

Importing this module costs no more than importing ASE's own calculators: a model, and torch with it, is loaded when a
calculator is made.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import (
    Calculator,
    CalculatorError,
    CalculatorSetupError,
    PropertyNotImplementedError,
    all_changes,
)
from ase.outputs import Properties, all_outputs

from ase_dkl.errors import Refused

if TYPE_CHECKING:
    from ase_dkl.model.domain import Extrapolation
    from ase_dkl.model.loading import Loaded

EXTRAPOLATION = ("warn", "raise", "ignore")

_NO_FORCES = (
    "A model of the energy as a function of the lattice has no forces. To relax the lattice use "
    "ase.filters.StrainFilter, which needs only the stress. For a client that insists on forces, "
    "DKLCalculator(..., rigid_ions=True) answers zeros: ions that follow the lattice."
)
_OF_DISPLACED = (
    "An ion is {:.2g} Å from where the model has it, and this model knows nothing of displaced ions: no forces, no "
    "phonons and no dynamics. rigid_ions=True answers zeros to clients that strain the lattice alone. Give them "
    "calc.surrogate.crystal.atoms(cell), whose ions are where the model has them; for phonons use another calculator."
)


class ExtrapolationWarning(UserWarning):
    """The lattice lies outside the training range or far from every training point."""


class ExtrapolationError(Refused, CalculatorError):
    """The same, where the calculator was told to raise."""


class DKLCalculator(Calculator):
    """Energy, stress, forces and their uncertainties of one crystal, molecule or cluster, from a trained surrogate.

    `results` and `get_property` also hold `energy_uncertainty` (eV), `stress_uncertainty` (Voigt, eV/Å³) and
    `forces_uncertainty` (eV/Å): the model's own standard deviations, without the labels' noise. Only what is asked for
    is computed. A supercell, a rotated or relabelled crystal gives what the crystal itself gives; any other structure
    is refused with `ase_dkl.NotThisCrystal`.

    Models of free ions have forces, which are the energy's exact derivatives. In models of lattices the energy does not
    depend on displacements of the ions (they are where the training data had them), so there are no forces, and
    optimisers of positions refuse to run. `StrainFilter` relaxes the lattice by the stress alone.

    Threads may share a calculator: each gets the results of the atoms that it asks for, one after the other. What
    `results` holds then is of whichever asked last.

    ASE's databases and trajectories drop results whose names they do not know; see `database_fields`.

    Args:
        model: file written by `Surrogate.save`, or the surrogate itself. Calculators may share one.
        extrapolation: what to do with a structure that the training data say little about: "warn" once for each such
            structure (`ExtrapolationWarning`), "raise" an `ExtrapolationError`, or "ignore" it.
        rigid_ions: with a model of lattices, answer zero forces, for clients that insist on some. They are not the
            forces on the ions: they say that the ions follow the lattice, and are refused where the ions do not.
    """

    implemented_properties = [  # noqa: RUF012
        "energy",
        "free_energy",
        "stress",
        "energy_uncertainty",
        "stress_uncertainty",
    ]
    discard_results_on_any_change = True

    surrogate: Loaded

    def __init__(self, model: str | Path | Loaded, *, extrapolation: str = "warn", rigid_ions: bool = False) -> None:
        from ase_dkl.model.loading import load

        self._lock = RLock()
        self.model = str(model) if isinstance(model, str | Path) else None
        self.surrogate = load(model) if isinstance(model, str | Path) else model
        super().__init__(extrapolation=extrapolation, rigid_ions=rigid_ions)  # type: ignore[no-untyped-call]

    def _get_name(self) -> str:
        return "dkl"

    def set(self, **kwargs: Any) -> dict[str, Any]:
        """Change `extrapolation` or `rigid_ions`; returns what changed."""
        unknown = kwargs.keys() - {"extrapolation", "rigid_ions"}
        if unknown:
            raise ValueError(
                f"DKLCalculator can set extrapolation and rigid_ions, not {', '.join(sorted(unknown))}. "
                "For another model make another calculator."
            )
        if kwargs.get("extrapolation", "warn") not in EXTRAPOLATION:
            raise ValueError(f"extrapolation is one of {', '.join(EXTRAPOLATION)}, not {kwargs['extrapolation']!r}.")
        if kwargs.get("rigid_ions") and self._ions_are_free:
            raise ValueError("rigid_ions=True is for models of lattices. Ions of this model are free and have forces.")
        changed: dict[str, Any] = super().set(**kwargs)  # type: ignore[no-untyped-call]
        self.implemented_properties = self._implemented()
        return changed

    @property
    def _ions_are_free(self) -> bool:
        return self.surrogate.crystal.ions == "free"

    def _implemented(self) -> list[str]:
        """Names of the properties that the model has."""
        found = ["energy", "free_energy", "energy_uncertainty"]
        if self.surrogate.crystal.dimension:
            found += ["stress", "stress_uncertainty"]
        if self._ions_are_free:
            return [*found, "forces", "forces_uncertainty"]
        return [*found, "forces"] if self.parameters.get("rigid_ions") else found

    def todict(self, skip_default: bool = True) -> dict[str, Any]:
        """What ASE stores beside results: the model's address and digest, never its weights."""
        parameters = super().todict(skip_default)  # type: ignore[no-untyped-call]
        return {"model": self.model, "digest": self.surrogate.digest, **parameters}

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:  # noqa: ARG002
        """Name what differs, to the last bit, from the atoms of the last calculation.

        ASE's own comparison takes longer than a prediction; `tol` is its argument and not needed here.
        """
        if self.atoms is None:
            return list(all_changes)
        last: dict[str, Any] = {**self.atoms.arrays, "cell": self.atoms.cell.array, "pbc": self.atoms.pbc}
        now: dict[str, Any] = {**atoms.arrays, "cell": atoms.cell.array, "pbc": atoms.pbc}
        return [name for name in all_changes if not np.array_equal(last.get(name, ()), now.get(name, ()))]

    def get_property(self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True) -> Any:
        """Return one result in ASE's units, computing it where the atoms changed; see ASE's `Calculator`."""
        if name == "forces" and name not in self.implemented_properties:
            raise PropertyNotImplementedError(_NO_FORCES)
        with self._lock:
            return super().get_property(name, atoms, allow_calculation)  # type: ignore[no-untyped-call]

    def calculate_properties(self, atoms: Atoms, properties: Sequence[str]) -> Properties:
        """Return several results at once; see ASE's `Calculator`."""
        with self._lock:
            return super().calculate_properties(atoms, properties)  # type: ignore[no-untyped-call,no-any-return]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=RLock())

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Predict for ASE, which calls this; ask `get_property` or the atoms instead."""
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        if self.atoms is None:
            raise CalculatorSetupError("There are no atoms to calculate. Give get_property some, or use theirs.")
        mapped = self.surrogate.crystal.map(self.atoms)
        if system_changes:
            self.results = {}
        slopes = any(name.startswith(("stress", "forces")) for name in properties)
        if self.results or self.parameters["extrapolation"] == "ignore":
            prediction = self.surrogate.of_mapped([mapped], slopes=slopes)
        else:
            prediction, extrapolation = self.surrogate.judged_mapped([mapped], slopes=slopes)
            self._tell(extrapolation)
        energy = float(prediction.value.mean[0])
        self.results.update(
            energy=energy,
            free_energy=energy,
            energy_uncertainty=float(prediction.value.std[0]),
        )
        for block, name in (("strain", "stress"), ("displacement", "forces")):
            if (found := prediction.slopes.get(block)) is not None:
                self.results |= {name: found.mean[0], f"{name}_uncertainty": found.std[0]}
        if self.parameters["rigid_ions"]:
            from ase_dkl.crystal.mapping import CLAMPED_TOLERANCE

            if mapped.displacement <= CLAMPED_TOLERANCE:
                self.results["forces"] = np.zeros((len(self.atoms), 3))
            elif "forces" in properties:
                raise PropertyNotImplementedError(_OF_DISPLACED.format(mapped.displacement))

    def export_properties(self) -> Properties:
        """Results under names that ASE knows; it rejects the others."""
        return Properties({name: value for name, value in self.results.items() if name in all_outputs})

    def _tell(self, extrapolation: Extrapolation) -> None:
        if not extrapolation.outside[0]:
            return
        if self.parameters["extrapolation"] == "raise":
            raise ExtrapolationError(extrapolation.describe(0))
        # Point at the line that called the atoms' get_potential_energy or get_stress; the frames between are ASE's.
        warnings.warn(extrapolation.describe(0), ExtrapolationWarning, stacklevel=7)


def database_fields(results: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Uncertainties in the form in which an ASE database keeps them.

    ASE keeps only results whose names it knows. Key-value pairs can be searched, arrays go into the row's data:

        database.write(atoms, **database_fields(atoms.calc.results))
        database.get("energy_uncertainty<0.001").data["stress_uncertainty"]

    Args:
        results: a calculator's results, or others under the same names.

    Returns:
        The arguments `key_value_pairs` and `data` of `ase.db`'s `write`.
    """
    uncertainties = {name: value for name, value in results.items() if name.endswith("_uncertainty")}
    return {
        "key_value_pairs": {name: float(value) for name, value in uncertainties.items() if np.ndim(value) == 0},
        "data": {name: np.asarray(value) for name, value in uncertainties.items() if np.ndim(value)},
    }
