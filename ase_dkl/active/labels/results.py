"""What a calculator computes, looked at before anything is learnt from it."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms

from ase_dkl.active.labels.calculation import one_line
from ase_dkl.errors import Refused


class BadResult(Refused, ValueError):
    """A calculator's results are no label."""


def results_of(calculator: Any, atoms: Atoms, *, stress: bool = True) -> dict[str, Any]:
    """Compute a label.

    Args:
        calculator: any ASE calculator.
        atoms: the structure, whose calculator it becomes.
        stress: whether stresses are asked for, where there are some; else forces are.

    Returns:
        energy (eV); stress (eV/Å³, Voigt) and forces (eV/Å), None where there are none; free_energy, and the total and
        the sites' magnetic moments (μB), where they are told.

    Raises:
        BadResult: something is missing, not finite, or not converged. What the calculator itself raises comes through.
    """
    atoms.calc = calculator
    energy = atoms.get_potential_energy()
    if energy is None or not np.isfinite(energy):
        raise BadResult(f"The calculator's energy is {energy}, not a finite number.")
    found: dict[str, Any] = {"energy": float(energy), "stress": None, "forces": None}
    results = dict(getattr(calculator, "results", {}))
    states = getattr(calculator, "converged", None), results.get("converged")
    if any(isinstance(state, bool | np.bool_) and not state for state in states):
        raise BadResult("The calculator says that it has not converged.")
    if not stress and "forces" in calculator.implemented_properties:
        atoms.get_forces()
        results = dict(getattr(calculator, "results", results))
    if stress and "stress" in calculator.implemented_properties:
        found["stress"] = _stress(atoms)
        results = dict(getattr(calculator, "results", results))
    if (forces := results.get("forces")) is not None and np.isfinite(forces).all():
        found["forces"] = tuple(map(tuple, np.asarray(forces, dtype=float).tolist()))
    if (free := results.get("free_energy")) is not None and np.isfinite(free):
        found["free_energy"] = float(free)
    for name in ("magmom", "magmoms"):
        if (moments := results.get(name)) is not None and np.isfinite(moments).all():
            found[name] = np.asarray(moments, dtype=float).tolist()
    return found


def _stress(atoms: Atoms) -> tuple[float, ...]:
    try:
        stress = np.asarray(atoms.get_stress(voigt=True), dtype=float)
    except Exception as error:
        raise BadResult(
            f"The calculator promises a stress and gives none: {one_line(error)}. For labels of energies alone, name a "
            "factory whose calculator has no 'stress' among its implemented_properties."
        ) from error
    if stress.shape != (6,) or not np.isfinite(stress).all():
        raise BadResult(f"The calculator's stress is {stress.tolist()}, not six finite numbers.")
    return tuple(stress.tolist())
