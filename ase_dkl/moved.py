"""Modules that users imported by names which they no longer have: these go on working, and say what to write."""

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "ase_dkl.active.executors": "ase_dkl.active.labels.executors",
    "ase_dkl.baselines": "ase_dkl.benchmark.methods",
    "ase_dkl.plots": "ase_dkl.figures.plots",
    "ase_dkl.plots_active": "ase_dkl.figures.active",
    "ase_dkl.plots_elastic": "ase_dkl.figures.elastic",
    "ase_dkl.plots_eos": "ase_dkl.figures.eos",
}


class _Forwarding:
    """Finds and loads them. It is none of `importlib.abc`, which takes long to import."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in MOVED else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """As Python does by default."""

    def exec_module(self, module: ModuleType) -> None:
        there = MOVED[module.__name__]
        warnings.warn(f"{module.__name__} is now {there}: import it from there.", DeprecationWarning, stacklevel=2)
        vars(module)["__getattr__"] = lambda name: getattr(import_module(there), name)


def forward() -> None:
    """Let the old names be found."""
    sys.meta_path.append(_Forwarding())
