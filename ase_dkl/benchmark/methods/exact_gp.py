"""Exact Gaussian processes on lattice parameters: of energies, with a kernel summed over images, and with gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from ase_dkl.arrays import Floats
from ase_dkl.benchmark.methods.method import BadMethod, Method, Model, Settings
from ase_dkl.benchmark.methods.process import ExactProcess, ImageKernel, kernel_rows
from ase_dkl.dataset import Dataset
from ase_dkl.model.labels import Labels, Units
from ase_dkl.model.layout import VALUE, Layout, by_column
from ase_dkl.model.mean import POLYNOMIALS, Mean
from ase_dkl.model.prediction import Normal, Prediction, as_cells
from ase_dkl.model.records import KERNELS
from ase_dkl.model.space import Lattice
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
        space: of the cells.
        units: of the energies.
        mean: functions of the trend.
        process: conditioned on the training rows.
        slope_unit: of ∂E/∂ε, in units of the energies' spread.
        stress_offset: the labels' constant in V·σ of xx, yy and zz (Pulay stress), eV; 0 without stress labels.
    """

    space: Lattice
    units: Units
    mean: Mean
    process: ExactProcess
    slope_unit: float
    stress_offset: float

    def predict_cells(self, cells: ArrayLike, *, stress: bool = True) -> Prediction:
        """Predict cells in the reference's basis, (n, 3, 3), Å; energies are per reference cell."""
        given = as_cells(cells, stress=stress)
        blocks = self.space.blocks if stress else {}
        units = self.units.scale * by_column({VALUE: 1.0, "strain": self.slope_unit}, blocks)
        answers = np.empty((2, len(given), len(units)))
        rows = len(self.process.train_targets)
        size = max(1, _CHUNK // (rows * len(units) * len(self.space.frame.images)))
        for start in range(0, len(given), size):
            part = slice(start, start + size)
            answers[:, part] = self._marginals(given[part], stress)
        mean, uncertainty = answers * units
        mean[:, 0] += self.units.shift
        found = self.process.noises()
        noise = units * by_column({VALUE: found[0], "strain": found[-1] if len(found) > 1 else 0.0}, blocks)
        return Prediction.of(given, Normal(mean, uncertainty, np.broadcast_to(noise, mean.shape)))

    def _marginals(self, cells: Floats, stress: bool) -> Floats:
        """Mean and standard deviation in scaled units, shape (2, n, 1 or 1 + t)."""
        layout = Layout(len(cells), len(cells), self.space.blocks) if stress else Layout(len(cells))
        seen = self.space.seen_along_all(cells) if stress else self.space.seen(cells)
        if seen.tangents is not None:
            seen = replace(seen, tangents=seen.tangents / self.slope_unit)
        basis = self.mean.functions(seen)
        marginals = self.process.marginals(kernel_rows(seen.coordinates, seen.tangents, basis))
        return np.array([layout.by_point(numbers) for numbers in marginals])


def _fit(dataset: Dataset, settings: Settings) -> Model:
    for name, known in (("kernel", KERNELS), ("trend", tuple(POLYNOMIALS))):
        if settings[name] not in known:
            raise BadMethod(f"{name} is {settings[name]!r}; choose one of {', '.join(known)}.")
    space = Lattice.of(dataset.crystal, dataset.cells, symmetry=settings["symmetry"])
    labels = Labels.of(dataset, space)
    n, slopes = len(labels.values), labels.slopes
    mean = POLYNOMIALS[settings["trend"]](space)
    slope_unit = float(np.sqrt(np.mean(slopes**2))) if slopes.size else 1.0

    seen, basis = labels.observed(mean)
    tangents = None if seen.tangents is None else seen.tangents / slope_unit
    basis[n:] /= slope_unit
    rows = kernel_rows(seen.coordinates, tangents, basis)
    scaled = np.concatenate([labels.values, slopes.ravel() / slope_unit])
    process = ExactProcess(rows, scaled, ImageKernel(settings["kernel"], space.frame.images))
    # Evenly spaced structures, with all labels that they have.
    step = -(-len(scaled) // EVIDENCE)
    with_slopes = n + np.arange(slopes.size).reshape(slopes.shape)[::step].ravel()
    process.maximise_evidence(settings["steps"], np.concatenate([np.arange(n)[::step], with_slopes]))
    # The offset's column is the last basis function, and its coefficient the posterior mean of an observation of it.
    offset = BASIS_SCALE**2 * float(basis[:, -1] @ process.explained())
    return ExactModel(space, labels.units, mean, process, slope_unit, offset * labels.units.scale)


def _of_energies(dataset: Dataset, settings: Settings, _: int) -> Model:
    return _fit(dataset.without_stresses(), settings)


def _of_both(dataset: Dataset, settings: Settings, _: int) -> Model:
    return _fit(dataset if settings["stress"] else dataset.without_stresses(), settings)


def _no_passes(_: Settings) -> int:
    return 0


_SETTINGS: Settings = {"kernel": "rbf", "trend": "cubic", "symmetry": False, "steps": 40}
_GRID = {"kernel": KERNELS, "trend": tuple(POLYNOMIALS)}


def _method(name: str, title: str, fit: Callable[[Dataset, Settings, int], Model], **settings: bool | str) -> Method:
    return Method(name, title, fit, {**_SETTINGS, **settings}, _GRID, "stress" in settings, True, _no_passes, False)


METHODS = (
    _method("exact_gp", "exact GP", _of_energies, trend="constant"),
    _method("symmetric_gp", "exact GP, symmetric", _of_energies, symmetry=True),
    _method("gradient_gp", "exact GP, symmetric, with gradients", _of_both, symmetry=True, stress=True),
)
