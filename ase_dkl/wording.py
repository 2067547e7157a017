"""Results in words, for the terminal and for the report alike: what they are called, and the digits that they have."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ase_dkl.mechanics.eos import EquationOfState
    from ase_dkl.mechanics.equilibrium import Equilibrium
    from ase_dkl.mechanics.moduli import Moduli
    from ase_dkl.mechanics.sheet import SheetConstants
    from ase_dkl.mechanics.stability import Stability
    from ase_dkl.records import Evaluation

GREEK = {"alpha": "α", "beta": "β", "gamma": "γ"}

_OF_STATE = {
    "V0_A3": ("volume V₀", "Å³"),
    "A0_A2": ("area A₀", "Å²"),
    "E0_eV": ("energy E₀", "eV per cell"),
    "B0_GPa": ("bulk modulus B₀", "GPa"),
    "B0_N_per_m": ("area modulus B₀", "N/m"),
    "B0_prime": ("its pressure derivative B₀′", ""),
}
_AVERAGED = {
    "bulk_modulus_GPa": ("bulk modulus", "GPa"),
    "shear_modulus_GPa": ("shear modulus", "GPa"),
    "young_modulus_GPa": ("Young's modulus", "GPa"),
    "poisson_ratio": ("Poisson's ratio", ""),
    "universal_anisotropy": ("universal anisotropy", ""),
}


def plus_minus(value: float, std: float, unit: str = "") -> str:
    """A value and its standard deviation to two digits of the latter, "3.9440 ± 0.0012 Å"; alone where it is exact."""
    if std <= 1e-9 * abs(value):
        return f"{value:.6g} {unit}".rstrip()
    digits = max(0, 1 - math.floor(math.log10(std)))
    return f"{value:.{digits}f} ± {std:.{digits}f} {unit}".rstrip()


def of_evaluation(evaluation: Evaluation) -> dict[str, str]:
    """Errors and calibration."""
    e = evaluation

    def shown(value: Any, form: str, unit: str = "") -> str:
        return "nothing to compare" if value is None else f"{value:{form}}{unit}"

    return {
        "structures": f"{e.n}",
        "of them extrapolations": f"{e.n_outside_domain}",
        "energy error, RMS": shown(e.energy_rmse_meV, ".3f", " meV per cell"),
        "energy error, mean size": shown(e.energy_mae_meV, ".3f", " meV per cell"),
        "energy error, largest": shown(e.energy_max_meV, ".3f", " meV per cell"),
        "stress error, RMS": shown(e.stress_rmse_GPa, ".4f", " GPa"),
        "labels in the 68 % band": shown(e.coverage_68, ".1%"),
        "labels in the 95 % band": shown(e.coverage_95, ".1%"),
        "stresses in the 95 % band": shown(e.stress_coverage_95, ".1%"),
        "miscalibration area": shown(e.miscalibration_area, ".3f", "  (0 is perfect, 0.5 the worst)"),
        "rank correlation of error and uncertainty": shown(e.spearman, ".2f"),
        "negative log likelihood": shown(e.energy_nll, ".2f", " nats (energies in eV)"),
    }


def of_equilibrium(found: Equilibrium) -> dict[str, str]:
    """Lattice parameters; those that are equal to all digits shown are named together."""
    names: dict[str, list[str]] = {}
    for name, value, std in zip(found.names, found.lattice_parameters, found.lattice_parameters_std, strict=True):
        words = plus_minus(float(value), float(std), "Å" if len(name) == 1 else "°")
        names.setdefault(words, []).append(GREEK.get(name, name))
    return {" = ".join(equal): words for words, equal in names.items()}


def of_state(fitted: EquationOfState) -> dict[str, str]:
    """What was fitted to energies and volumes, or areas."""
    rows = {}
    for name, value, std in zip(fitted.names, fitted.values.tolist(), fitted.std.tolist(), strict=True):
        label, unit = _OF_STATE[name]
        rows[label] = plus_minus(value, std, unit)
    return rows


def of_moduli(found: Moduli) -> dict[str, str]:
    """Hill's averages."""
    return {
        label: plus_minus(getattr(found, name), getattr(found, f"{name}_std"), unit)
        for name, (label, unit) in _AVERAGED.items()
    }


def of_stability(found: Stability) -> dict[str, str]:
    """Born's criterion."""
    return {
        "smallest eigenvalue of C": plus_minus(found.smallest_eigenvalue_GPa, found.smallest_eigenvalue_GPa_std, "GPa"),
        **of_probability(found.stable_probability, found.stable_probability_std),
    }


def of_probability(stable: float, std: float) -> dict[str, str]:
    """How probable it is that a crystal withstands every small strain."""
    return {"probability of stability": f"{stable:.4f} ± {std:.4f}"}


def of_sheet(found: SheetConstants) -> dict[str, str]:
    """Moduli of a sheet."""
    young = zip("xy", found.young_moduli_N_per_m.tolist(), found.young_moduli_std_N_per_m.tolist(), strict=True)
    return {
        **{f"Young's modulus along {axis}": plus_minus(value, std, "N/m") for axis, value, std in young},
        "shear modulus": plus_minus(found.shear_modulus_N_per_m, found.shear_modulus_std_N_per_m, "N/m"),
        "area modulus": plus_minus(found.area_modulus_N_per_m, found.area_modulus_std_N_per_m, "N/m"),
        "Poisson's ratio": plus_minus(found.poisson_ratio, found.poisson_ratio_std),
    }
