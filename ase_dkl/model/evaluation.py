"""A surrogate held against labels."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from ase.units import GPa

from ase_dkl.arrays import Floats
from ase_dkl.crystal.lattice import onto_lattice, volumes
from ase_dkl.metrics import coverage, miscalibration_area, negative_log_likelihood, rank_correlation, rmse
from ase_dkl.model.accepted import Model, as_surrogate
from ase_dkl.model.layout import VALUE
from ase_dkl.model.records import Evaluation

if TYPE_CHECKING:
    from ase_dkl.dataset import Dataset
    from ase_dkl.model.prediction import Prediction

FEWEST_JUDGED = 10
"""Layout below which a fraction or a correlation is an accident."""


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
    error, total = prediction.value.mean - dataset.energies, prediction.value.total
    enough = len(dataset) >= FEWEST_JUDGED
    stress_rmse = stress_coverage = None
    if (stress := prediction.slopes.get("strain")) is not None:
        stress_error = stress.mean - stress_labels(dataset, offset)
        compared = np.isfinite(stress_error)
        stress_error = stress_error[compared]
        stress_rmse = rmse(stress_error) / GPa
        stress_coverage = coverage(stress_error, stress.total[compared], 0.95) if enough else None
    return Evaluation(
        n=len(dataset),
        energy_rmse_meV=1e3 * rmse(error),
        energy_mae_meV=1e3 * float(np.mean(np.abs(error))),
        energy_max_meV=1e3 * float(np.max(np.abs(error))),
        energy_nll=negative_log_likelihood(error, total) if enough else None,
        coverage_68=coverage(error, total, 0.68) if enough else None,
        coverage_95=coverage(error, total, 0.95) if enough else None,
        miscalibration_area=miscalibration_area(error, total) if enough else None,
        spearman=rank_correlation(error, prediction.value.std) if enough else None,
        stress_rmse_GPa=stress_rmse,
        stress_coverage_95=stress_coverage,
        n_outside_domain=None,
        energy_rms_z=rmse(error / total) if enough else None,
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
