"""Labels beside predictions, as the report's figures of errors want them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from ase.units import GPa
from numpy.typing import NDArray

from ase_dkl.arrays import Floats
from ase_dkl.model.evaluation import prediction_of, stress_labels

if TYPE_CHECKING:
    from ase_dkl.dataset import Dataset
    from ase_dkl.model.loading import Loaded
    from ase_dkl.model.prediction import Normal


@dataclass(frozen=True, eq=False)
class Compared:
    """One kind of labels beside its predictions.

    Attributes:
        name: of the quantity.
        unit: of labels and predictions.
        small: unit of errors, and how many of it are one unit.
        title: of an axis of labels.
        row: of the dataset that each number belongs to, shape (m,).
        label: shape (m,).
        predicted: shape (m,).
        total: standard deviation of model and noise together, shape (m,).
    """

    name: str
    unit: str
    small: tuple[str, float]
    title: str
    row: NDArray[np.int_]
    label: Floats
    predicted: Floats
    total: Floats


def compared(surrogate: Loaded, dataset: Dataset) -> list[Compared]:
    """Energies, forces and stress components where there are labels, judged as `evaluate` judges them."""
    prediction = prediction_of(surrogate, dataset)
    found = []
    if dataset.has_energy.any():
        lowest = float(np.nanmin(dataset.energies))
        above = replace(prediction.value, mean=prediction.value.mean - lowest)
        kind = "energy", "eV", ("meV", 1e3), "energy above the lowest label (eV per cell)"
        found.append(_beside(*kind, dataset.energies - lowest, above))
    if (forces := prediction.slopes.get("displacement")) is not None and dataset.has_forces.any():
        # Ions that are held have no forces to compare.
        mobile = dataset.crystal.mobile
        kind = "force", "eV/Å", ("meV/Å", 1e3), "force component of the label (eV/Å)"
        found.append(_beside(*kind, dataset.forces[:, mobile], forces[:, mobile]))
    if (stress := prediction.slopes.get("strain")) is not None and dataset.has_stress.any():
        kind = "stress", "GPa", ("GPa", 1.0), "stress component of the label (GPa)"
        labels = stress_labels(dataset, surrogate.stress_offset)
        found.append(_beside(*kind, labels / GPa, stress.times(1 / GPa)))
    return found


def _beside(name: str, unit: str, small: tuple[str, float], title: str, labels: Floats, found: Normal) -> Compared:
    """Labels, NaN where there are none, beside predictions of the same shape (n, ...)."""
    exists = np.isfinite(labels)
    values = labels[exists], found.mean[exists], found.total[exists]
    return Compared(name, unit, small, title, np.nonzero(exists)[0], *values)
