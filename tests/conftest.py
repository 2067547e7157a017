"""One small model of the shipped data, for everything that needs a model and not a good one."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ase_dkl import Dataset, Surrogate, TrainConfig, fit, srtio3

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def srtio3_dataset() -> Dataset:
    """The pool of the shipped SrTiO3 data, rows in the order of their index."""
    return Dataset.read(srtio3(), select="set=pool")


@pytest.fixture(scope="session")
def surrogate(srtio3_dataset: Dataset) -> Surrogate:
    """Trained on the first 24 rows of the pool."""
    return fit(srtio3_dataset.subset(np.arange(24)), TrainConfig(networks=1, steps=60), progress=False)


@pytest.fixture(scope="session")
def model_file(surrogate: Surrogate, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "sto.dkl"
    surrogate.save(path)
    return path
