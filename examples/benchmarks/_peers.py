"""Regressors that know the six lattice parameters and nothing else: what a deep kernel has to beat."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from _common import Floats, Result
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Matern, WhiteKernel
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from ase_dkl import Dataset
from ase_dkl.crystal.lattice import lattice_parameters, metric
from ase_dkl.metrics import coverage, negative_log_likelihood, rmse


class Guess(NamedTuple):
    """Energies and their standard deviations, label noise included, eV; None where a method gives none."""

    energies: Floats
    sigma: Floats | None


@dataclass(frozen=True)
class Peer:
    """A trained regressor.

    Attributes:
        name: what it is.
        seconds: wall time of its fit.
        predict: from lattice parameters, shape (n, 6).
    """

    name: str
    seconds: float
    predict: Callable[[Floats], Guess]

    def evaluate(self, test: Dataset) -> Result:
        energies, sigma = self.predict(lattice_parameters_of(test))
        error = energies - test.energies
        result = {"energy_rmse_meV": 1e3 * rmse(error), "seconds": self.seconds}
        if sigma is not None:
            result["coverage_95"] = coverage(error, sigma, 0.95)
            result["energy_nll"] = negative_log_likelihood(error, sigma)
        return result


def lattice_parameters_of(dataset: Dataset) -> Floats:
    """Lattice parameters, Å and degrees, shape (n, 6)."""
    return lattice_parameters(metric(torch.as_tensor(dataset.cells))).numpy()


def peers(training: Dataset, quick: bool) -> Iterator[Peer]:
    """Train each of them on the energies."""
    x, y = lattice_parameters_of(training), training.energies
    restarts = 0 if quick else 5
    # Wide bounds: a parameter that hardly matters may run to a very long length scale.
    kernels = {"RBF": RBF(np.ones(6), (1e-2, 1e5)), "Matérn-5/2": Matern(np.ones(6), (1e-2, 1e5), nu=2.5)}
    for name, kernel in kernels.items():
        scaler = StandardScaler().fit(x)
        process = GaussianProcessRegressor(
            ConstantKernel(1.0, (1e-3, 1e5)) * kernel + WhiteKernel(1e-4, (1e-12, 1.0)),
            normalize_y=True,
            n_restarts_optimizer=restarts,
            random_state=0,
        )
        start = time.perf_counter()
        with warnings.catch_warnings():
            # It warns of every parameter that ends at a bound, in restarts that are not the best one too.
            warnings.simplefilter("ignore", ConvergenceWarning)
            process.fit(scaler.transform(x), y)
        yield Peer(f"exact GP, ARD {name}", time.perf_counter() - start, partial(_with_sigma, scaler, process))
    for degree in (2, 3, 4):
        features = PolynomialFeatures(degree, include_bias=False)
        regression = RidgeCV(np.logspace(-12, 2, 29))
        pipeline = make_pipeline(StandardScaler(), features, StandardScaler(), regression)
        start = time.perf_counter()
        pipeline.fit(x, y)
        yield Peer(f"polynomial ridge, degree {degree}", time.perf_counter() - start, partial(_alone, pipeline))


def _with_sigma(scaler: StandardScaler, process: GaussianProcessRegressor, x: Floats) -> Guess:
    return Guess(*process.predict(scaler.transform(x), return_std=True))


def _alone(pipeline: RidgeCV, x: Floats) -> Guess:
    return Guess(pipeline.predict(x), None)
