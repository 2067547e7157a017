"""What the package refuses has one root, and stays what it was among Python's own exceptions."""

import importlib
import pkgutil
from collections.abc import Iterator

import pytest
from ase.calculators.calculator import CalculatorError

import ase_dkl
from ase_dkl import Refused

WITHIN = {"Passing"}
"""Raised and caught inside the package."""


def exceptions() -> Iterator[type[Exception]]:
    for module in pkgutil.walk_packages(ase_dkl.__path__, "ase_dkl."):
        if not module.name.endswith("__main__"):
            for each in vars(importlib.import_module(module.name)).values():
                if isinstance(each, type) and issubclass(each, Exception) and each.__module__ == module.name:
                    yield each


def test_whatever_is_refused_has_one_root() -> None:
    found = {each for each in exceptions() if not issubclass(each, Warning)}
    told = {each for each in found if not each.__name__.startswith("_") and each.__name__ not in WITHIN}
    assert len(told) > 25
    assert all(issubclass(each, Refused) for each in told)


@pytest.mark.parametrize(
    ("name", "built_in"),
    [
        ("BadCampaign", ValueError),
        ("NotThisCrystal", ValueError),
        ("BadEquilibrium", ValueError),
        ("StoreUnreachable", OSError),
        ("NoLabel", CalculatorError),
        ("ExtrapolationError", CalculatorError),
    ],
)
def test_code_that_catches_what_it_used_to_goes_on_working(name: str, built_in: type[Exception]) -> None:
    with pytest.raises(built_in, match="why"):
        raise getattr(ase_dkl, name)("why")
