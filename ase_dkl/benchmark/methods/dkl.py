"""Deep kernel learning: this package's, the paper's and DUE's. The training is the same, the settings are not."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import Any

from ase_dkl.benchmark.methods.method import Method, Model, Settings
from ase_dkl.dataset import Dataset
from ase_dkl.model.records import KERNELS, TrainConfig
from ase_dkl.training.fit import fit


def settings_of(config: TrainConfig) -> dict[str, Any]:
    """Every setting but the seed. `stress` says whether stress labels are used, and no spectral limit is infinity."""
    settings = asdict(config)
    del settings["seed"]
    settings["stress"] = config.stress != "ignore"
    if config.spectral_coefficient is None:
        settings["spectral_coefficient"] = math.inf
    return settings


def config_of(settings: Settings, seed: int) -> TrainConfig:
    """The other way round."""
    limit = settings["spectral_coefficient"]
    given = {
        **settings,
        "stress": "auto" if settings["stress"] else "ignore",
        "spectral_coefficient": None if math.isinf(limit) else limit,
    }
    return TrainConfig(**given, seed=seed)


def _fit(dataset: Dataset, settings: Settings, seed: int) -> Model:
    return fit(dataset, config_of(settings, seed), progress=False)


def _fit_energies(dataset: Dataset, settings: Settings, seed: int) -> Model:
    return _fit(dataset, {**settings, "stress": False}, seed)


def _passes(settings: Settings) -> int:
    return int(settings["networks"])


_PAPER = settings_of(TrainConfig.paper())
_DUE = settings_of(replace(TrainConfig.paper(), inducing="kmeans"))
del _DUE["stress"]
_PAPER_GRID = {"kernel": KERNELS, "learning_rate": (3e-3, 1e-2, 3e-2), "n_inducing": (20, 50)}

METHODS = (
    Method(
        name="dkl",
        title="DKL (ours)",
        fit=_fit,
        defaults=settings_of(TrainConfig()),
        grid={"mean": ("cubic", "quadratic"), "weight_decay": (0.4, 1.2, 3.6), "n_features": (4, 8, 16)},
        learns_from_stress=True,
        predicts_stress=True,
        passes=_passes,
    ),
    Method(
        name="dkl_paper",
        title="DKL (paper)",
        fit=_fit,
        defaults=_PAPER,
        grid=_PAPER_GRID,
        learns_from_stress=True,
        predicts_stress=True,
        passes=_passes,
    ),
    # Source: van Amersfoort et al., arXiv:2102.11409.
    Method(
        name="due",
        title="DUE",
        fit=_fit_energies,
        defaults=_DUE,
        grid=_PAPER_GRID,
        learns_from_stress=False,
        predicts_stress=True,
        passes=_passes,
    ),
)
