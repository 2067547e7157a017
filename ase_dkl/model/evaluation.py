"""A surrogate held against labels."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from ase.units import GPa

from ase_dkl.arrays import Floats
from ase_dkl.crystal.lattice import onto_lattice, volumes
from ase_dkl.metrics import coverage, miscalibration_area, negative_log_likelihood, rank_correlation, rmse
from ase_dkl.model.accepted import AnyModel, as_any
from ase_dkl.model.layout import VALUE
from ase_dkl.model.records import Evaluation
from ase_dkl.model.surrogate import Surrogate

if TYPE_CHECKING:
    from ase_dkl.dataset import Dataset
    from ase_dkl.model.domain import Extrapolation
    from ase_dkl.model.loading import Loaded
    from ase_dkl.model.prediction import Prediction

FEWEST_JUDGED = 10
"""Rows below which a fraction or a correlation is an accident."""


def evaluate(surrogate: AnyModel, dataset: Dataset) -> Evaluation:
    """Compare a surrogate with labels.

    The labels' fitted offset in V·σ (Pulay stress) is taken off them, since predicted stresses do not contain it. Of
    sheets, slabs and chains the stresses in their plane or along them are compared: what labels say of other directions
    is about the ions' places, or noise.

    Args:
        surrogate: a trained surrogate, its file, or a calculator that has it.
        dataset: labelled structures of the same crystal.
    """
    model = as_any(surrogate)
    outside = extrapolation_of(model, dataset).outside
    found = judged(prediction_of(model, dataset), dataset, model.stress_offset)
    return replace(found, n_outside_domain=int(outside.sum()))


def prediction_of(model: Loaded, dataset: Dataset) -> Prediction:
    """Predictions of a dataset's structures, with slopes where it has labels of some."""
    if isinstance(model, Surrogate):
        return model.predict_cells(dataset.cells, stress=bool(dataset.has_stress.any()))
    return model.predict_points(dataset.points, slopes=bool((dataset.has_stress | dataset.has_forces).any()))


def extrapolation_of(model: Loaded, dataset: Dataset) -> Extrapolation:
    """How far a dataset's structures are from those of the training."""
    return model.extrapolation(dataset.cells if isinstance(model, Surrogate) else dataset.points)


def judged(prediction: Prediction, dataset: Dataset, offset: float) -> Evaluation:
    """Compare predictions with labels; of fewer than `FEWEST_JUDGED` rows, nothing is said of the error bars.

    Args:
        prediction: of the dataset's structures, with slopes where there are labels.
        dataset: the labels.
        offset: the labels' constant in V·σ of xx, yy and zz (Pulay stress), eV.
    """
    known = np.isfinite(dataset.energies)
    error, total = (prediction.value.mean - dataset.energies)[known], prediction.value.total[known]
    some, enough = len(error) > 0, len(error) >= FEWEST_JUDGED
    stress_rmse = stress_coverage = None
    if (stress := prediction.slopes.get("strain")) is not None:
        stress_error = stress.mean - stress_labels(dataset, offset)
        compared = np.isfinite(stress_error)
        if compared.any():
            stress_error = stress_error[compared]
            stress_rmse = rmse(stress_error) / GPa
            if len(dataset) >= FEWEST_JUDGED:
                stress_coverage = coverage(stress_error, stress.total[compared], 0.95)
    found = Evaluation(
        n=len(dataset),
        energy_rmse_meV=1e3 * rmse(error) if some else None,
        energy_mae_meV=1e3 * float(np.mean(np.abs(error))) if some else None,
        energy_max_meV=1e3 * float(np.max(np.abs(error))) if some else None,
        energy_nll=negative_log_likelihood(error, total) if enough else None,
        coverage_68=coverage(error, total, 0.68) if enough else None,
        coverage_95=coverage(error, total, 0.95) if enough else None,
        miscalibration_area=miscalibration_area(error, total) if enough else None,
        spearman=rank_correlation(error, prediction.value.std[known]) if enough else None,
        stress_rmse_GPa=stress_rmse,
        stress_coverage_95=stress_coverage,
        n_outside_domain=None,
        energy_rms_z=rmse(error / total) if enough else None,
    )
    return _with_forces(found, prediction, dataset)


def _with_forces(found: Evaluation, prediction: Prediction, dataset: Dataset) -> Evaluation:
    """The same with errors of the forces, where there are any."""
    if (forces := prediction.slopes.get("displacement")) is None or not dataset.has_forces.any():
        return found
    rows = dataset.has_forces
    # Ions that are held have no forces to compare.
    error = (forces.mean - dataset.forces)[rows][:, dataset.crystal.mobile]
    total = forces.total[rows][:, dataset.crystal.mobile]
    labels = dataset.forces[rows][:, dataset.crystal.mobile]
    # Forces that symmetry makes vanish are known exactly.
    unsure = total > 0
    enough = int(rows.sum()) >= FEWEST_JUDGED and bool(unsure.any())
    return replace(
        found,
        force_rmse_meV_A=1e3 * rmse(error),
        force_mae_meV_A=1e3 * float(np.mean(np.abs(error))),
        force_relative_rmse=rmse(error) / rmse(labels) if labels.any() else None,
        force_coverage_95=coverage(error[unsure], total[unsure], 0.95) if enough else None,
    )


def labels_by_kind(dataset: Dataset, offset: float) -> dict[str, Floats]:
    """Labels as predictions have them: "value", shape (n,), and "strain" where there are `stress_labels`."""
    found = {VALUE: dataset.energies}
    return {**found, "strain": stress_labels(dataset, offset)} if dataset.has_stress.any() else found


def stress_labels(dataset: Dataset, offset: float) -> Floats:
    """Labels of the stress as predictions have it: without the labels' constant, of the lattice alone.

    Args:
        dataset: n rows, some of them with stress labels.
        offset: the labels' constant in V·σ of xx, yy and zz (Pulay stress), eV.

    Returns:
        Shape (n, 6), eV/Å³; NaN where there is no label, and where a sheet or chain has no such stress.
    """
    labels = dataset.stresses.copy()
    labels[:, :3] -= offset / volumes(dataset.cells)[:, None]
    projection = onto_lattice(dataset.crystal.vectors(dataset.cells))
    found = np.einsum("nij,ni->nj", projection, labels)
    found[np.diagonal(projection, axis1=1, axis2=2) <= 1e-9] = np.nan
    return np.asarray(found)
