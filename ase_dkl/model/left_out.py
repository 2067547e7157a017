"""Errors on the rows of the training, each predicted without itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ase_dkl.dataset import Dataset
from ase_dkl.model.conditioning import observed
from ase_dkl.model.evaluation import judged
from ase_dkl.model.labels import Labels
from ase_dkl.model.layout import columns
from ase_dkl.model.posterior import spread_factor
from ase_dkl.model.prediction import Normal, Prediction
from ase_dkl.model.records import Evaluation
from ase_dkl.model.surrogate import Surrogate

LARGEST = 2**25
"""Numbers in the largest array: of more rows there are enough to hold some out."""


def left_out(surrogate: Surrogate, dataset: Dataset, fold: NDArray[np.int_]) -> Evaluation | None:
    """Compare each row with what is said of it without it.

    A row is predicted by the one network that was trained without it, conditioned on all other rows, in closed form.
    The average of several networks errs less than one, so that these errors are rather too large. Error bars contain
    the networks' disagreement, as those of the mixture do.

    Args:
        surrogate: the model.
        dataset: the rows that it was trained on, those with stresses first.
        fold: the network that was trained without a row, shape (n,).

    Returns:
        Errors of all rows, or None of so many that it would take much memory.
    """
    labels = Labels.of(dataset, surrogate.space, surrogate.units)
    m, n, networks = len(labels.slopes), len(dataset), len(surrogate.process.points)
    if networks * len(labels.together()) * surrogate.process.factor.shape[1] > LARGEST:
        return None
    means, covariances = surrogate.process.left_out(*observed(surrogate, labels), labels.together(), labels.layout)
    mean, covariance = (each[fold, np.arange(n)] for each in (means, covariances))
    apart = means - means.mean(axis=0)
    covariance += np.einsum("kni,knj->nij", apart, apart) / (networks - 1) * spread_factor(networks)
    scale, strain = surrogate.units.scale, columns(surrogate.space.blocks)["strain"]
    numbers, stds = np.full((2, n, strain.stop if m else 1), np.nan)
    numbers[:, 0] = surrogate.units.shift + scale * mean[:, 0]
    stds[:, 0] = scale * np.sqrt(covariance[:, 0, 0])
    if m:
        # Slopes are along strains of the lattice alone; these are the ∂E/∂ε that have them.
        back = np.linalg.pinv(labels.directions)
        numbers[:m, strain] = scale * (back @ mean[:m, 1:, None])[..., 0]
        variances = np.diagonal(back @ covariance[:m, 1:, 1:] @ back.mT, axis1=1, axis2=2)
        # What symmetry leaves no slope has a variance of zero, but for rounding.
        stds[:m, strain] = scale * np.sqrt(np.maximum(variances, 0))
        # The labels' offset is in what is said of labels, and not in stresses.
        numbers[:m, strain][:, :3] -= surrogate.stress_offset
    prediction = Prediction.of(dataset.cells, Normal(numbers, stds, surrogate.noise(numbers.shape)))
    return judged(prediction, dataset, surrogate.stress_offset)
