"""Ways of getting an uncertainty, to be compared on the same rows: `method(name)` is one of `NAMES`.

A module here has a tuple `METHODS`. It is imported when one of them is asked for, as most need torch.
"""

from __future__ import annotations

import importlib

from ase_dkl.benchmark.methods.method import BadMethod, Method, Model, Settings, checked

_MODULES = {
    "dkl": "dkl",
    "dkl_paper": "dkl",
    "due": "dkl",
    "exact_gp": "exact_gp",
    "symmetric_gp": "exact_gp",
    "gradient_gp": "exact_gp",
    "polynomial": "polynomial",
    "mc_dropout": "mc_dropout",
    "variational": "variational",
    "laplace": "laplace",
    "ensemble": "ensemble",
    "sngp": "sngp",
    "evidential": "evidential",
}
"""Where a method is, by its name."""

NAMES = tuple(_MODULES)
"""All methods, in the order of tables."""


def method(name: str) -> Method:
    """A method by its name.

    Raises:
        BadMethod: there is none of that name.
    """
    if name not in _MODULES:
        raise BadMethod(f"There is no method {name!r}. Choose one of {', '.join(NAMES)}.")
    module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    found: Method = next(each for each in module.METHODS if each.name == name)
    return found


__all__ = ["NAMES", "BadMethod", "Method", "Model", "Settings", "checked", "method"]
