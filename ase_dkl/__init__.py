"""Deep kernel surrogates of strained crystals, as ASE calculators with uncertainty.

This is the whole public interface. Names are imported on first use, so that `import ase_dkl` is quick; it makes
`ase.calculators.calculator.get_calculator_class("dkl")` work.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ase.calculators.calculator import external_calculators, register_calculator_class

from ase_dkl.calculator import DKLCalculator, ExtrapolationError, ExtrapolationWarning, database_fields

if TYPE_CHECKING:
    from ase_dkl.crystal import BadReference, Crystal, NotThisCrystal
    from ase_dkl.dataset import BadDataset, Dataset, srtio3
    from ase_dkl.mechanics.scan import BadScan, Scan, scan_along
    from ase_dkl.metrics import evaluate
    from ase_dkl.model_file import BadModelFile
    from ase_dkl.prediction import JointPosterior, Prediction
    from ase_dkl.records import BadTraining, Evaluation, TrainConfig, TrainingReport
    from ase_dkl.surrogate import Surrogate
    from ase_dkl.training import fit

_MODULES = {
    "crystal": ("BadReference", "Crystal", "NotThisCrystal"),
    "dataset": ("BadDataset", "Dataset", "srtio3"),
    "mechanics.scan": ("BadScan", "Scan", "scan_along"),
    "metrics": ("evaluate",),
    "records": ("BadTraining", "Evaluation", "TrainConfig", "TrainingReport"),
    "model_file": ("BadModelFile",),
    "prediction": ("JointPosterior", "Prediction"),
    "surrogate": ("Surrogate",),
    "training": ("fit",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "BadDataset",
    "BadModelFile",
    "BadReference",
    "BadScan",
    "BadTraining",
    "Crystal",
    "DKLCalculator",
    "Dataset",
    "Evaluation",
    "ExtrapolationError",
    "ExtrapolationWarning",
    "JointPosterior",
    "NotThisCrystal",
    "Prediction",
    "Scan",
    "Surrogate",
    "TrainConfig",
    "TrainingReport",
    "__version__",
    "database_fields",
    "evaluate",
    "fit",
    "scan_along",
    "srtio3",
]

if "dkl" not in external_calculators:
    register_calculator_class("dkl", DKLCalculator)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("ase-dkl")
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
