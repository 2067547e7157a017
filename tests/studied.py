"""Methods of a user's own, for the tests of studies: one that works, and some that do not."""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ase_dkl.arrays import Floats
from ase_dkl.benchmark.methods import Method
from ase_dkl.crystal.lattice import lattice_parameters, metric
from ase_dkl.dataset import Dataset
from ase_dkl.model.prediction import Normal, Prediction


class Quadratic:
    """Least squares in the lattice parameters, and the distance to their mean for an uncertainty."""

    stress_offset = 0.0

    def __init__(self, dataset: Dataset, settings: Mapping[str, Any], seed: int) -> None:
        self.cell, self.degree = dataset.crystal.cell, settings["degree"]
        self.noise = settings["noise"] * (1 + 0.01 * seed)
        self.coefficients = np.linalg.lstsq(self._columns(dataset.cells), dataset.energies)[0]

    def _parameters(self, cells: Floats) -> Floats:
        return (lattice_parameters(metric(cells)) / lattice_parameters(metric(self.cell)) - 1) * 10

    def _columns(self, cells: Floats) -> Floats:
        x = self._parameters(cells)
        return np.hstack([np.ones((len(x), 1)), *(x**power for power in range(1, self.degree + 1))])

    def predict_cells(self, cells: ArrayLike, *, stress: bool = True) -> Prediction:
        del stress
        given = np.asarray(cells, dtype=float)
        energy = self._columns(given) @ self.coefficients
        uncertainty = 0.01 * np.linalg.norm(self._parameters(given), axis=1)
        return Prediction(Normal(energy, uncertainty, np.full(len(given), self.noise)))


def _like(name: str, fit: Callable[[Dataset, Mapping[str, Any], int], Quadratic]) -> Method:
    return replace(METHOD, name=name, title=name.capitalize(), fit=fit)


def _refuse(dataset: Dataset, settings: Mapping[str, Any], seed: int) -> Quadratic:
    if seed == 1:
        raise RuntimeError("The matrix is\nsingular.")
    return Quadratic(dataset, settings, seed)


def _die(dataset: Dataset, settings: Mapping[str, Any], seed: int) -> Quadratic:
    os._exit(9)


def _wait(dataset: Dataset, settings: Mapping[str, Any], seed: int) -> Quadratic:
    import time

    if seed:
        time.sleep(60)
    return Quadratic(dataset, settings, seed)


def _without_number(dataset: Dataset, settings: Mapping[str, Any], seed: int) -> Quadratic:
    return Quadratic(dataset, {**settings, "noise": float("nan")}, seed)


METHOD = Method(
    name="quadratic",
    title="Least squares",
    fit=Quadratic,
    defaults={"degree": 1, "noise": 0.05},
    grid={"degree": (1, 2, 3)},
    learns_from_stress=False,
    predicts_stress=False,
    passes=lambda _: 0,
)
FIXED = replace(METHOD, name="fixed", title="The same with every seed", random=False)
REFUSES, DIES, WAITS, NO_NUMBER = (
    _like(name, fit)
    for name, fit in {"refuses": _refuse, "dies": _die, "waits": _wait, "no number": _without_number}.items()
)
