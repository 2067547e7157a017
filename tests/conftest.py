"""One small model of the shipped data, for everything that needs a model and not a good one."""

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from made import rattled_alloy

from ase_dkl import Dataset, IonConfig, IonicSurrogate, Surrogate, TrainConfig, fit, fit_ions, srtio3
from ase_dkl.arrays import Floats
from ase_dkl.model.posterior import Posterior

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from postgres import Server

Moved = Callable[[Surrogate, float], Surrogate]

TOOLS = {"browser", "server", "gpaw"}
"""Fixtures that need what pip does not bring. Where it is missing their tests fail: `make test` leaves them out."""

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if TOOLS & set(getattr(item, "fixturenames", ())):
            item.add_marker("tools")


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    from playwright.sync_api import sync_playwright

    found = [path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))]
    assert found, "There is no Chromium on the path; on Debian and Ubuntu: apt-get install chromium."
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found[0])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def server() -> Iterator["Server"]:
    """A PostgreSQL server."""
    from postgres import running_server

    with running_server() as server:
        yield server


@pytest.fixture(scope="session")
def gpaw() -> None:
    assert importlib.util.find_spec("gpaw"), (
        "GPAW is not installed; with libxc and BLAS there: CC=g++ pip install gpaw."
    )


@pytest.fixture(scope="session")
def srtio3_dataset() -> Dataset:
    """The pool of the shipped SrTiO3 data, rows in the order of their index."""
    return Dataset.read(srtio3(), select="set=pool")


@pytest.fixture(scope="session")
def surrogate(srtio3_dataset: Dataset) -> Surrogate:
    """Trained on the first 24 rows of the pool."""
    return fit(srtio3_dataset.subset(np.arange(24)), TrainConfig(networks=1, steps=60), progress=False)


@pytest.fixture(scope="session")
def alloy_dataset() -> Dataset:
    """Cu3Au, strained and with every ion displaced, labelled by EMT."""
    return Dataset.from_atoms(rattled_alloy(40))


@pytest.fixture(scope="session")
def ionic(alloy_dataset: Dataset) -> IonicSurrogate:
    """A model of free ions, trained on the first 24 of these rows."""
    return fit_ions(alloy_dataset.subset(np.arange(24)), IonConfig(n_inducing=120), progress=False)


@pytest.fixture(scope="class")
def hasty() -> Iterator[None]:
    """Trainings of a few steps, of models whose errors do not matter."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("FEWEST_STEPS", "MOST_STEPS"):
            patch.setattr(f"ase_dkl.training.algorithm.{name}", 30)
        yield


@pytest.fixture(scope="session")
def model_file(surrogate: Surrogate, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "sto.dkl"
    surrogate.save(path)
    return path


class OneDirection(Posterior):
    """A posterior that is unsure of its weights along one direction, and of nothing else."""

    def joint(self, features: Floats, derivatives: Floats | None, basis: Floats) -> tuple[Floats, Floats]:
        products = self._products(*self._scaled(features, derivatives), basis)
        left = products[..., self.points.shape[1] : -1]
        return products[..., -1], left @ left.mT


@pytest.fixture(scope="session")
def moved() -> Moved:
    """Models whose weights are moved along a direction of their posterior, the only one in which they are unsure.

    To first order, what follows from the model moves by its standard deviation where the weights move by theirs.
    """

    def move(surrogate: Surrogate, by: float) -> Surrogate:
        given = surrogate.process
        ways = np.random.default_rng(5).normal(size=(given.factor.shape[2], 1))
        factor = given.factor @ ways
        posterior = replace(given, factor=factor, weights=given.weights + by * factor[..., 0])
        parts = surrogate.space, surrogate.units, surrogate.config, surrogate.report, surrogate.cells
        values = {name: getattr(posterior, name) for name in Posterior.__dataclass_fields__}
        return Surrogate(*parts, surrogate.layers, OneDirection(**values))

    return move
