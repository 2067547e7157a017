"""Deep kernel surrogates of strained crystals, as ASE calculators with uncertainty.

The public interface is listed in `__init__.pyi`. Names are imported on first use, so that `import ase_dkl` is quick; it
makes `ase.calculators.calculator.get_calculator_class("dkl")` work.
"""

import logging
from typing import Any

import lazy_loader
from ase.calculators.calculator import external_calculators, register_calculator_class

from ase_dkl.calculator import DKLCalculator
from ase_dkl.moved import forward

logging.getLogger(__name__).addHandler(logging.NullHandler())

forward()

if "dkl" not in external_calculators:
    register_calculator_class("dkl", DKLCalculator)

_named, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("ase-dkl")
    return _named(name)
