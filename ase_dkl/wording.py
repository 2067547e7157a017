"""Numbers in words, with the digits that they have."""

from __future__ import annotations

import math

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
