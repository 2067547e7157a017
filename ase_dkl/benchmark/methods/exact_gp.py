"""Exact Gaussian processes on lattice parameters: of energies, with a kernel summed over images, and with gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ase_dkl.arrays import Floats
from ase_dkl.benchmark.methods.method import BadMethod, Method, Model, Settings
from ase_dkl.benchmark.methods.process import ExactProcess, ImageKernel, rows_of
from ase_dkl.dataset import Dataset
from ase_dkl.model.inputs import DEGREES, Labels, Scaling, basis_functions
from ase_dkl.model.prediction import Normal, Prediction, as_cells
from ase_dkl.model.records import KERNELS
from ase_dkl.training.gp import BASIS_SCALE

EVIDENCE = 512
"""Labels, at most, whose evidence finds kernel and noise; the process is conditioned on all. With derivatives and many
images more would take hours, and change little."""
_CHUNK = 2**23
"""Numbers in the largest matrix of a prediction."""


@dataclass(frozen=True, eq=False)
class ExactModel:
    """A process in physical units.

    Attributes:
        periodic: indices of the periodic axes.
        scaling: symmetry images and units.
        degree: of the trend's polynomials.
        process: conditioned on the training rows.
        slope_unit: of ∂E/∂ε, in units of the energies' spread.
        stress_offset: the labels' constant in V·σ of xx, yy and zz (Pulay stress), eV; 0 without stress labels.
    """

    periodic: list[int]
    scaling: Scaling
    degree: int
    process: ExactProcess
    slope_unit: float
    stress_offset: float

    def predict_cells(self, cells: ArrayLike, *, stress: bool = True) -> Prediction:
        """Predict cells in the reference's basis, (n, 3, 3), Å; energies are per reference cell."""
        given = as_cells(cells, stress=stress)
        kinds = 7 if stress else 1
        answers = np.empty((2, len(given), kinds))
        rows = len(self.process.train_targets)
        size = max(1, _CHUNK // (rows * kinds * len(self.scaling.images)))
        for start in range(0, len(given), size):
            part = slice(start, start + size)
            answers[:, part] = self._marginals(given[part], stress)
        units = self.scaling.energy_scale * np.array([1.0, *[self.slope_unit] * 6])[:kinds]
        mean, uncertainty = answers * units
        mean[:, 0] += self.scaling.energy_shift
        found = self.process.noises()
        noise = units * np.pad(found, (0, 2 - len(found)))[[0, *[1] * (kinds - 1)]]
        return Prediction.of(given, Normal(mean, uncertainty, np.broadcast_to(noise, mean.shape)))

    def _marginals(self, cells: Floats, stress: bool) -> Floats:
        """Mean and standard deviation in scaled units, shape (2, n, 1 or 7)."""
        n = len(cells)
        cells, tangents = cells[:, self.periodic], None
        if stress:
            coordinates, tangents = self.scaling.coordinates_and_tangents(cells)
            tangents = tangents / self.slope_unit
        else:
            coordinates = self.scaling.coordinates(cells)
        basis = basis_functions(coordinates, tangents, degree=self.degree)
        return np.array(
            [
                np.column_stack([numbers[:n], numbers[n:].reshape(n, -1)])
                for numbers in self.process.marginals(rows_of(coordinates, tangents, basis))
            ]
        )


def _fit(dataset: Dataset, settings: Settings) -> Model:
    for name, known in (("kernel", KERNELS), ("trend", tuple(DEGREES))):
        if settings[name] not in known:
            raise BadMethod(f"{name} is {settings[name]!r}; choose one of {', '.join(known)}.")
    labels = Labels.of(dataset, dataset.crystal.images if settings["symmetry"] else dataset.crystal.images[:1])
    n, scaling, slopes, degree = len(labels.values), labels.scaling, labels.slopes, DEGREES[settings["trend"]]
    slope_unit = float(np.sqrt(np.mean(slopes**2))) if slopes.size else 1.0

    coordinates, tangents, basis = labels.observed(settings["trend"])
    tangents = None if tangents is None else tangents / slope_unit
    basis[n:] /= slope_unit
    rows = rows_of(coordinates, tangents, basis)
    scaled = np.concatenate([labels.values, slopes.ravel() / slope_unit])
    process = ExactProcess(rows, scaled, ImageKernel(settings["kernel"], scaling.images))
    # Evenly spaced structures, with all labels that they have.
    step = -(-len(scaled) // EVIDENCE)
    with_slopes = n + np.arange(slopes.size).reshape(slopes.shape)[::step].ravel()
    process.maximise_evidence(settings["steps"], np.concatenate([np.arange(n)[::step], with_slopes]))
    # The offset's column is the last basis function, and its coefficient the posterior mean of an observation of it.
    offset = BASIS_SCALE**2 * float(basis[:, -1] @ process.explained())
    return ExactModel(
        list(dataset.crystal.periodic), scaling, degree, process, slope_unit, offset * scaling.energy_scale
    )


def _of_energies(dataset: Dataset, settings: Settings, _: int) -> Model:
    return _fit(dataset.without_stresses(), settings)


def _of_both(dataset: Dataset, settings: Settings, _: int) -> Model:
    return _fit(dataset if settings["stress"] else dataset.without_stresses(), settings)


def _no_passes(_: Settings) -> int:
    return 0


_SETTINGS: Settings = {"kernel": "rbf", "trend": "cubic", "symmetry": False, "steps": 40}
_GRID = {"kernel": KERNELS, "trend": tuple(DEGREES)}


def _method(name: str, title: str, fit: Callable[[Dataset, Settings, int], Model], **settings: bool | str) -> Method:
    return Method(name, title, fit, {**_SETTINGS, **settings}, _GRID, "stress" in settings, True, _no_passes, False)


METHODS = (
    _method("exact_gp", "exact GP", _of_energies, trend="constant"),
    _method("symmetric_gp", "exact GP, symmetric", _of_energies, symmetry=True),
    _method("gradient_gp", "exact GP, symmetric, with gradients", _of_both, symmetry=True, stress=True),
)
