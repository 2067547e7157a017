"""A surrogate held against labels."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from ase.units import GPa

from ase_dkl.arrays import Floats
from ase_dkl.crystal.lattice import on_strains
from ase_dkl.metrics import coverage, miscalibration_area, negative_log_likelihood, rank_correlation, rmse
from ase_dkl.model.accepted import Model, as_surrogate
from ase_dkl.model.records import Evaluation

if TYPE_CHECKING:
    from ase_dkl.dataset import Dataset
    from ase_dkl.model.prediction import Prediction
    from ase_dkl.model.surrogate import Surrogate

FEWEST_JUDGED = 10
"""Rows below which a fraction or a correlation is an accident."""


def evaluate(surrogate: Model, dataset: Dataset) -> Evaluation:
    """Compare a surrogate with labels.

    The labels' fitted offset in V·σ (Pulay stress) is taken off them, since predicted stresses do not contain it. Of
    sheets, slabs and chains the stresses in their plane or along them are compared: what labels say of other directions
    is about the ions' places, or noise.

    Args:
        surrogate: a trained surrogate, its file, or a calculator that has it.
        dataset: labelled structures of the same crystal.
    """
    surrogate = as_surrogate(surrogate)
    prediction = surrogate.predict_cells(dataset.cells, stress=bool(dataset.has_stress.any()))
    outside = int(surrogate.extrapolation(dataset.cells).outside.sum())
    return replace(judged(prediction, dataset, surrogate.stress_offset), n_outside_domain=outside)


def judged(prediction: Prediction, dataset: Dataset, offset: float) -> Evaluation:
    """Compare predictions with labels; of fewer than `FEWEST_JUDGED` rows, nothing is said of the error bars.

    Args:
        prediction: of the dataset's cells, with stresses where there are labels.
        dataset: the labels.
        offset: the labels' constant in V·σ of xx, yy and zz (Pulay stress), eV.
    """
    error = prediction.energy - dataset.energies
    total = np.hypot(prediction.energy_uncertainty, prediction.energy_noise)
    enough = len(dataset) >= FEWEST_JUDGED
    stress_rmse = stress_coverage = None
    if prediction.stress is not None:
        assert prediction.stress_uncertainty is not None
        assert prediction.stress_noise is not None
        stress_error = stress_errors(prediction, dataset, offset)
        compared = np.isfinite(stress_error)
        stress_total = np.hypot(prediction.stress_uncertainty, prediction.stress_noise)[compared]
        stress_error = stress_error[compared]
        stress_rmse = rmse(stress_error) / GPa
        stress_coverage = coverage(stress_error, stress_total, 0.95) if enough else None
    return Evaluation(
        n=len(dataset),
        energy_rmse_meV=1e3 * rmse(error),
        energy_mae_meV=1e3 * float(np.mean(np.abs(error))),
        energy_max_meV=1e3 * float(np.max(np.abs(error))),
        energy_nll=negative_log_likelihood(error, total) if enough else None,
        coverage_68=coverage(error, total, 0.68) if enough else None,
        coverage_95=coverage(error, total, 0.95) if enough else None,
        miscalibration_area=miscalibration_area(error, total) if enough else None,
        spearman=rank_correlation(error, prediction.energy_uncertainty) if enough else None,
        stress_rmse_GPa=stress_rmse,
        stress_coverage_95=stress_coverage,
        n_outside_domain=None,
        energy_rms_z=rmse(error / total) if enough else None,
    )


def stress_errors(prediction: Prediction, dataset: Dataset, offset: float) -> Floats:
    """Predicted stresses less labels.

    Args:
        prediction: of the dataset's cells, with stresses.
        dataset: n rows, some of them with stress labels.
        offset: the labels' constant in V·σ of xx, yy and zz (Pulay stress), eV.

    Returns:
        Shape (n, 6), eV/Å³; NaN where there is no label, and where a sheet or chain has no such stress.
    """
    assert prediction.stress is not None
    labels = dataset.stresses.copy()
    labels[:, :3] -= offset / np.abs(np.linalg.det(dataset.cells))[:, None]
    projection = onto_lattice(dataset, dataset.cells)
    errors = prediction.stress - np.einsum("nij,ni->nj", projection, labels)
    errors[np.diagonal(projection, axis1=1, axis2=2) <= 1e-9] = np.nan
    return np.asarray(errors)


def label_offset(surrogate: Surrogate, cells: Floats) -> Floats:
    """What the labels' constant in V·σ adds to the stress of cells, shape (n, 6), eV/Å³."""
    offset = np.zeros((len(cells), 6))
    offset[:, :3] = surrogate.stress_offset / np.abs(np.linalg.det(cells))[:, None]
    return offset


def onto_lattice(of: Surrogate | Dataset, cells: Floats) -> Floats:
    """Projections of Voigt strains onto those that change the lattice of a crystal's cells, shape (n, 6, 6)."""
    axes = np.linalg.qr(cells[:, list(of.crystal.periodic)].mT).Q
    return on_strains(axes @ axes.mT)
