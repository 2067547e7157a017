"""How good predictions are and how honest their error bars: arrays in, numbers out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from ase.units import GPa
from numpy.typing import ArrayLike

from ase_dkl.accepted import Model, as_surrogate
from ase_dkl.arrays import Floats
from ase_dkl.crystal.lattice import on_strains
from ase_dkl.model.records import Evaluation

if TYPE_CHECKING:
    from ase_dkl.dataset import Dataset
    from ase_dkl.model.prediction import Prediction
    from ase_dkl.model.surrogate import Surrogate


FEWEST_JUDGED = 10
"""Rows below which a fraction or a correlation is an accident."""


def rmse(error: ArrayLike) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(error))))


def negative_log_likelihood(error: ArrayLike, uncertainty: ArrayLike) -> float:
    """Mean of −log N(error; 0, uncertainty²), nats."""
    error, uncertainty = np.asarray(error), np.asarray(uncertainty)
    return float(np.mean(0.5 * (error / uncertainty) ** 2 + np.log(uncertainty) + 0.5 * np.log(2 * np.pi)))


def coverage(error: ArrayLike, uncertainty: ArrayLike, level: float) -> float:
    """Fraction of the errors inside the central interval of a Gaussian that holds `level` of its mass."""
    return float(np.mean(_central_mass(error, uncertainty) <= level))


def miscalibration_area(error: ArrayLike, uncertainty: ArrayLike) -> float:
    """Area between the observed and the expected coverage of central intervals, ∫₀¹ |observed(p) − p| dp.

    0 for a perfectly calibrated forecast, ½ where every error lies far outside (or every error is zero). The observed
    coverage is a staircase, so the integral is exact and needs no grid.

    Source: Kuleshov, Fenner & Ermon (2018), arXiv:1807.00263, in the absolute-area form of Tran et al. (2020),
    doi:10.1088/2632-2153/ab7e1a.
    """
    mass = np.sort(_central_mass(error, uncertainty))
    observed = np.arange(len(mass) + 1) / len(mass)
    left, right = np.append(0.0, mass) - observed, np.append(mass, 1.0) - observed
    # ∫ |p − c| dp = ½ (p − c) |p − c|
    return float(np.sum(right * np.abs(right) - left * np.abs(left)) / 2)


def rank_correlation(error: ArrayLike, uncertainty: ArrayLike) -> float | None:
    """Spearman correlation of |error| and uncertainty; None where either does not vary."""
    from scipy.stats import spearmanr

    size, uncertainty = np.abs(error), np.asarray(uncertainty)
    if np.ptp(size) == 0 or np.ptp(uncertainty) == 0:
        return None
    return float(spearmanr(size, uncertainty).statistic)


def continuous_ranked_probability_score(error: ArrayLike, uncertainty: ArrayLike) -> float:
    """Mean CRPS of Gaussian forecasts, in the unit of the error: its size for a forecast without uncertainty.

    Source: Gneiting & Raftery (2007), doi:10.1198/016214506000001437; computed by scoringrules.
    """
    from scoringrules import crps_normal

    zero = np.zeros_like(error, dtype=np.float64)
    return float(np.mean(crps_normal(zero, np.asarray(error), np.asarray(uncertainty), backend="numpy")))


def sharpness(uncertainty: ArrayLike) -> float:
    """Root mean square of the uncertainties: of two calibrated forecasts the one with the smaller says more."""
    return rmse(uncertainty)


def expected_normalised_calibration_error(error: ArrayLike, uncertainty: ArrayLike, *, bins: int = 10) -> float | None:
    """Mean of |RMS σ − RMSE| / RMS σ over bins of equally many errors, ordered by σ; None with fewer errors than bins.

    Errors are drawn: of calibrated Gaussian forecasts with k errors a bin it is near 0.56/√k, not 0.

    Source: Levi et al. (2022), doi:10.3390/s22155540.
    """
    error, uncertainty = np.broadcast_arrays(error, uncertainty)
    if len(error) < bins:
        return None
    parts = np.array_split(np.argsort(uncertainty, kind="stable"), bins)
    return float(np.mean([abs(1 - rmse(error[part]) / rmse(uncertainty[part])) for part in parts]))


def risk_coverage_area(error: ArrayLike, uncertainty: ArrayLike) -> float:
    """Mean absolute error of the k surest predictions, averaged over k = 1 … n, in the unit of the error.

    It is small where errors are, and where the sure predictions are the right ones; with σ that does not tell it is the
    mean absolute error. Equally sure predictions are taken in no order.

    Source: El-Yaniv & Wiener (2010), JMLR 11, 1605; Geifman, Uziel & El-Yaniv (2019), arXiv:1805.08206.
    """
    _, group, sizes = np.unique(np.asarray(uncertainty), return_inverse=True, return_counts=True)
    losses = np.repeat(np.bincount(group, np.abs(error)) / sizes, sizes)
    return float(np.mean(np.cumsum(losses) / np.arange(1, len(losses) + 1)))


def auroc(inside: ArrayLike, outside: ArrayLike) -> float:
    """Probability that a value from outside is larger than one from inside; ties count one half.

    The area under the curve of true against false alarms, as from scikit-learn's `roc_auc_score`.
    """
    from scipy.stats import mannwhitneyu

    inside, outside = np.asarray(inside), np.asarray(outside)
    return float(mannwhitneyu(outside, inside).statistic / (len(inside) * len(outside)))


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


def _central_mass(error: ArrayLike, uncertainty: ArrayLike) -> Floats:
    from scipy.special import erf

    return np.asarray(erf(np.abs(error) / (np.sqrt(2) * np.asarray(uncertainty))))
