"""Results in words, for the terminal and for the report alike: what they are called, and the digits that they have."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ase_dkl.mechanics.chain import ChainStiffness
    from ase_dkl.mechanics.eos import EquationOfState
    from ase_dkl.mechanics.equilibrium import Equilibrium
    from ase_dkl.mechanics.moduli import Moduli
    from ase_dkl.mechanics.sheet import SheetConstants
    from ase_dkl.mechanics.stability import BornCondition, Stability
    from ase_dkl.model.records import Evaluation

GREEK = {"alpha": "α", "beta": "β", "gamma": "γ"}

OF_STATE = {
    "V0_A3": ("volume V₀", "Å³"),
    "A0_A2": ("area A₀", "Å²"),
    "E0_eV": ("energy E₀", "eV per cell"),
    "B0_GPa": ("bulk modulus B₀", "GPa"),
    "B0_N_per_m": ("area modulus B₀", "N/m"),
    "B0_prime": ("its pressure derivative B₀′", ""),
}
AVERAGED = {
    "bulk_modulus_GPa": ("bulk modulus", "GPa"),
    "shear_modulus_GPa": ("shear modulus", "GPa"),
    "young_modulus_GPa": ("Young's modulus", "GPa"),
    "poisson_ratio": ("Poisson's ratio", ""),
    "universal_anisotropy": ("universal anisotropy", ""),
}


POWERS_OF_GPA = ("", "GPa", "GPa²", "GPa³")
NOT_KNOWN = "not known"
EXACT = (1e-10, 1e-12)
"""A standard deviation below the first, in the units of this module, or this part of the value, is rounding."""
_PLAIN = (1e-4, 1e7)
"""Range in which numbers are written without a power of ten."""
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float | None, digits: int = 6) -> str:
    """A number to so many significant digits, all of those before the point, and no zeros at its end."""
    if value is None or not math.isfinite(value):
        return NOT_KNOWN
    if not value:
        return "0"
    power = _power(value, digits)
    if _PLAIN[0] <= abs(value) < 1e15:
        text = f"{value:.{max(0, digits - 1 - power)}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{number(value / 10.0**power, digits)} × 10{str(power).translate(_RAISED)}"


def plus_minus(value: float | None, std: float | None, unit: str = "") -> str:
    """A value and its standard deviation to two digits of the latter, "3.9440 ± 0.0012 Å"; alone where it is exact."""
    if value is None or not math.isfinite(value):
        return NOT_KNOWN
    if std is None or not math.isfinite(std) or std < 0:
        return f"{number(value)} {unit}".rstrip() + f", its error {NOT_KNOWN}"
    if _exact(value, std):
        return f"{_without_rounding(value)} {unit}".rstrip()
    largest = max(abs(value), std)
    if _PLAIN[0] <= largest and std < _PLAIN[1]:
        return f"{_to(value, std, 2)} ± {_to(std, std, 2)} {unit}".rstrip()
    power = _power(largest, 2)
    value, std = value / 10.0**power, std / 10.0**power
    return f"({_to(value, std, 2)} ± {_to(std, std, 2)}) × 10{str(power).translate(_RAISED)} {unit}".rstrip()


def concise(value: float | None, std: float | None, unit: str = "") -> str:
    """A value with its standard deviation in units of its last digit, "61.460(8) Å³"; in two where the first is 1."""
    if value is None or std is None or not math.isfinite(value) or not math.isfinite(std):
        return plus_minus(value, std, unit)
    if _exact(value, std) or not _PLAIN[0] <= max(abs(value), std) < _PLAIN[1] * 10:
        return plus_minus(value, std, unit)
    digits = 2 if f"{std:.1e}"[0] == "1" else 1
    places = digits - 1 - _power(std, digits)
    error = _to(std, std, digits) if places <= 0 or std >= 1 else f"{std * 10.0**places:.0f}"
    return f"{_to(value, std, digits)}({error}) {unit}".rstrip()


def _power(value: float, digits: int) -> int:
    """The power of ten of a number's first digit, once it is rounded to so many."""
    return int(f"{value:.{digits - 1}e}".partition("e")[2])


def _to(value: float, std: float, digits: int) -> str:
    """A value, rounded to so many digits of its standard deviation."""
    places = digits - 1 - _power(std, digits)
    text = f"{round(value, places):.{max(0, places)}f}"
    return text if text.strip("-0.") else text.lstrip("-")


def _exact(value: float, std: float) -> bool:
    return std <= max(EXACT[0], EXACT[1] * abs(value))


def _without_rounding(value: float) -> str:
    return number(0.0 if abs(value) <= EXACT[0] else value)


def of_evaluation(evaluation: Evaluation) -> dict[str, str]:
    """Errors and calibration; the latter only where there are rows enough."""
    e = evaluation

    def shown(value: Any, form: str = "", unit: str = "") -> str:
        if value is None:
            return "nothing to compare"
        return f"{value:{form}}{unit}" if form else f"{number(value, 3)}{unit}"

    rows = {"structures": f"{e.n}"}
    if e.n_outside_domain is not None:
        rows["of them extrapolations"] = f"{e.n_outside_domain}"
    rows |= {
        "energy error, RMS": shown(e.energy_rmse_meV, unit=" meV per cell"),
        "energy error, mean size": shown(e.energy_mae_meV, unit=" meV per cell"),
        "energy error, largest": shown(e.energy_max_meV, unit=" meV per cell"),
        "stress error, RMS": shown(e.stress_rmse_GPa, unit=" GPa"),
    }
    if e.coverage_95 is None:
        return rows | {"error bars": "not judged by so few structures"}
    return rows | {
        "labels in the 68 % band": shown(e.coverage_68, ".1%"),
        "labels in the 95 % band": shown(e.coverage_95, ".1%"),
        "stresses in the 95 % band": shown(e.stress_coverage_95, ".1%"),
        "miscalibration area": shown(e.miscalibration_area, ".3f", "  (0 is perfect, 0.5 the worst)"),
        "rank correlation of error and uncertainty": shown(e.spearman, ".2f"),
        "negative log likelihood": shown(e.energy_nll, ".2f", " nats (energies in eV)"),
    }


def of_equilibrium(found: Equilibrium, in_words: Callable[[float, float, str], str] = plus_minus) -> dict[str, str]:
    """Lattice parameters; those that are equal to all digits shown are named together."""
    names: dict[str, list[str]] = {}
    for name, value, std in zip(found.names, found.lattice_parameters, found.lattice_parameters_std, strict=True):
        words = in_words(float(value), float(std), "Å" if len(name) == 1 else "°")
        names.setdefault(words, []).append(GREEK.get(name, name))
    return {" = ".join(equal): words for words, equal in names.items()}


def of_state(fitted: EquationOfState) -> dict[str, str]:
    """What was fitted to energies and volumes, or areas."""
    rows = {}
    for name, value, std in zip(fitted.names, fitted.values.tolist(), fitted.std.tolist(), strict=True):
        label, unit = OF_STATE[name]
        rows[label] = plus_minus(value, std, unit)
    return rows


def of_moduli(found: Moduli) -> dict[str, str]:
    """Hill's averages."""
    return {
        label: plus_minus(getattr(found, name), getattr(found, f"{name}_std"), unit)
        for name, (label, unit) in AVERAGED.items()
    }


def of_stability(found: Stability) -> dict[str, str]:
    """Born's criterion."""
    eigenvalue = plus_minus(found.smallest_eigenvalue_GPa, found.smallest_eigenvalue_GPa_std, "GPa")
    return {
        "smallest eigenvalue of C as a Mandel matrix": eigenvalue,
        **of_probability(found.stable_probability, found.stable_probability_std),
    }


def of_born_conditions(conditions: Sequence[BornCondition]) -> dict[str, str]:
    """What must be above zero."""
    return {
        f"{each.expression} > 0": plus_minus(each.value, each.std, POWERS_OF_GPA[each.power]) for each in conditions
    }


def of_undetermined(names: Sequence[str]) -> str:
    """What is to be done about elastic constants of which the data say nothing."""
    return (
        f"Not determined by the training data: {', '.join(names)}. Their error bars are larger than any stiffness of "
        "this crystal. Add DFT runs with the strains that they belong to."
    )


def of_probability(stable: float, std: float) -> dict[str, str]:
    """How probable it is that a crystal withstands every small strain."""
    return {"probability of stability": f"{stable:.4f} ± {std:.4f}"}


def of_chain(found: ChainStiffness) -> dict[str, str]:
    """The stiffness of a chain."""
    return {"stiffness": plus_minus(found.stiffness_nN, found.stiffness_nN_std, "nN")}


def of_sheet(found: SheetConstants) -> dict[str, str]:
    """Moduli of a sheet."""
    young = zip("xy", found.young_moduli_N_per_m.tolist(), found.young_moduli_std_N_per_m.tolist(), strict=True)
    return {
        **{f"Young's modulus along {axis}": plus_minus(value, std, "N/m") for axis, value, std in young},
        "shear modulus": plus_minus(found.shear_modulus_N_per_m, found.shear_modulus_std_N_per_m, "N/m"),
        "area modulus": plus_minus(found.area_modulus_N_per_m, found.area_modulus_std_N_per_m, "N/m"),
        "Poisson's ratio": plus_minus(found.poisson_ratio, found.poisson_ratio_std),
    }
