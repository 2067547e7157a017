"""Deep kernel surrogates of strained crystals, as ASE calculators with uncertainty.

This is the whole public interface. Names are imported on first use, so that `import ase_dkl` is quick; it makes
`ase.calculators.calculator.get_calculator_class("dkl")` work.
"""

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ase.calculators.calculator import external_calculators, register_calculator_class

from ase_dkl.calculator import DKLCalculator, ExtrapolationError, ExtrapolationWarning, database_fields

if TYPE_CHECKING:
    from ase_dkl.active.box import BadBox, Box
    from ase_dkl.active.calculation import BadCalculation, Calculation
    from ase_dkl.active.campaign import Campaign
    from ase_dkl.active.executors import BadExecutor, open_executor
    from ase_dkl.active.on_the_fly import ActiveCalculator
    from ase_dkl.active.plan import BadCampaign, Plan
    from ase_dkl.active.questions import NoLabel
    from ase_dkl.active.stopping import BadStop, Stop
    from ase_dkl.active.store import BadStore, StoreUnreachable
    from ase_dkl.active.target import BadTarget, Target
    from ase_dkl.calibration import BadCalibration, Calibration, calibrate
    from ase_dkl.conditioning import conditioned
    from ase_dkl.crystal import BadReference, Crystal, NotThisCrystal
    from ase_dkl.dataset import BadDataset, Dataset, mgo_slab, mos2, silicon, srtio3, srtio3_direct
    from ase_dkl.mechanics.chain import ChainStiffness, chain_stiffness
    from ase_dkl.mechanics.directional import directional_young_modulus, extreme_young_moduli
    from ase_dkl.mechanics.elastic import BadElasticity, ElasticConstants, elastic_constants
    from ase_dkl.mechanics.eos import EquationOfState, MisfitWarning, equation_of_state
    from ase_dkl.mechanics.equilibrium import BadEquilibrium, Equilibrium, equilibrium
    from ase_dkl.mechanics.forms import BadEquationOfState
    from ase_dkl.mechanics.frame import laue_class
    from ase_dkl.mechanics.grid import Grid, scan_grid
    from ase_dkl.mechanics.loading import BadLoading, Shear, Tension
    from ase_dkl.mechanics.moduli import Moduli, NotStiff, moduli
    from ase_dkl.mechanics.paths import BadScan
    from ase_dkl.mechanics.points import Points, points_on_line
    from ase_dkl.mechanics.scan import Scan, scan_along, scan_path
    from ase_dkl.mechanics.sheet import SheetConstants, sheet_constants
    from ase_dkl.mechanics.stability import BornCondition, Stability, born_conditions, stability
    from ase_dkl.mechanics.strength import IdealStrength, ideal_strength
    from ase_dkl.mechanics.third_order import (
        PressureDerivatives,
        ThirdOrderConstants,
        pressure_derivatives,
        third_order_constants,
    )
    from ase_dkl.metrics import evaluate
    from ase_dkl.model_file import BadModelFile
    from ase_dkl.prediction import JointPosterior, Prediction
    from ase_dkl.records import BadTraining, Evaluation, TrainConfig, TrainingReport
    from ase_dkl.surrogate import Surrogate
    from ase_dkl.training import fit

_MODULES = {
    "active.box": ("BadBox", "Box"),
    "active.calculation": ("BadCalculation", "Calculation"),
    "active.campaign": ("Campaign",),
    "active.executors": ("BadExecutor", "open_executor"),
    "active.on_the_fly": ("ActiveCalculator",),
    "active.plan": ("BadCampaign", "Plan"),
    "active.questions": ("NoLabel",),
    "active.stopping": ("BadStop", "Stop"),
    "active.store": ("BadStore", "StoreUnreachable"),
    "active.target": ("BadTarget", "Target"),
    "calibration": ("BadCalibration", "Calibration", "calibrate"),
    "conditioning": ("conditioned",),
    "crystal": ("BadReference", "Crystal", "NotThisCrystal"),
    "dataset": ("BadDataset", "Dataset", "mgo_slab", "mos2", "silicon", "srtio3", "srtio3_direct"),
    "mechanics.chain": ("ChainStiffness", "chain_stiffness"),
    "mechanics.directional": ("directional_young_modulus", "extreme_young_moduli"),
    "mechanics.elastic": ("BadElasticity", "ElasticConstants", "elastic_constants"),
    "mechanics.eos": ("EquationOfState", "MisfitWarning", "equation_of_state"),
    "mechanics.equilibrium": ("BadEquilibrium", "Equilibrium", "equilibrium"),
    "mechanics.forms": ("BadEquationOfState",),
    "mechanics.frame": ("laue_class",),
    "mechanics.grid": ("Grid", "scan_grid"),
    "mechanics.loading": ("BadLoading", "Shear", "Tension"),
    "mechanics.moduli": ("Moduli", "NotStiff", "moduli"),
    "mechanics.paths": ("BadScan",),
    "mechanics.points": ("Points", "points_on_line"),
    "mechanics.scan": ("Scan", "scan_along", "scan_path"),
    "mechanics.sheet": ("SheetConstants", "sheet_constants"),
    "mechanics.stability": ("BornCondition", "Stability", "born_conditions", "stability"),
    "mechanics.strength": ("IdealStrength", "ideal_strength"),
    "mechanics.third_order": (
        "PressureDerivatives",
        "ThirdOrderConstants",
        "pressure_derivatives",
        "third_order_constants",
    ),
    "metrics": ("evaluate",),
    "model_file": ("BadModelFile",),
    "prediction": ("JointPosterior", "Prediction"),
    "records": ("BadTraining", "Evaluation", "TrainConfig", "TrainingReport"),
    "surrogate": ("Surrogate",),
    "training": ("fit",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "ActiveCalculator",
    "BadBox",
    "BadCalculation",
    "BadCalibration",
    "BadCampaign",
    "BadDataset",
    "BadElasticity",
    "BadEquationOfState",
    "BadEquilibrium",
    "BadExecutor",
    "BadLoading",
    "BadModelFile",
    "BadReference",
    "BadScan",
    "BadStop",
    "BadStore",
    "BadTarget",
    "BadTraining",
    "BornCondition",
    "Box",
    "Calculation",
    "Calibration",
    "Campaign",
    "ChainStiffness",
    "Crystal",
    "DKLCalculator",
    "Dataset",
    "ElasticConstants",
    "EquationOfState",
    "Equilibrium",
    "Evaluation",
    "ExtrapolationError",
    "ExtrapolationWarning",
    "Grid",
    "IdealStrength",
    "JointPosterior",
    "MisfitWarning",
    "Moduli",
    "NoLabel",
    "NotStiff",
    "NotThisCrystal",
    "Plan",
    "Points",
    "Prediction",
    "PressureDerivatives",
    "Scan",
    "Shear",
    "SheetConstants",
    "Stability",
    "Stop",
    "StoreUnreachable",
    "Surrogate",
    "Target",
    "Tension",
    "ThirdOrderConstants",
    "TrainConfig",
    "TrainingReport",
    "__version__",
    "born_conditions",
    "calibrate",
    "chain_stiffness",
    "conditioned",
    "database_fields",
    "directional_young_modulus",
    "elastic_constants",
    "equation_of_state",
    "equilibrium",
    "evaluate",
    "extreme_young_moduli",
    "fit",
    "ideal_strength",
    "laue_class",
    "mgo_slab",
    "moduli",
    "mos2",
    "open_executor",
    "points_on_line",
    "pressure_derivatives",
    "scan_along",
    "scan_grid",
    "scan_path",
    "sheet_constants",
    "silicon",
    "srtio3",
    "srtio3_direct",
    "stability",
    "third_order_constants",
]

logging.getLogger(__name__).addHandler(logging.NullHandler())

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
