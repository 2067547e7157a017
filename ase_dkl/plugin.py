"""What ASE finds through the entry point `ase.plugins` (shown by `ase info --plugins`).

ASE loads the plugins of every package together: an exception here would take them all down, and a heavy import would
delay them. ASE's plugin classes are experimental, so they are looked up when ASE asks for them, and where they are not
as expected, the calculator is merely not listed.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    if name != "__ase_plugins__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from ase._4.plugins.plugin import CalculatorPlugin

        return {CalculatorPlugin(name="dkl", implementation="ase_dkl.calculator.DKLCalculator")}
    except (ImportError, TypeError):
        return set()
