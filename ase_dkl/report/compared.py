"""Labels beside predictions, as the report's figures of errors want them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase.units import GPa
from numpy.typing import NDArray

from ase_dkl.arrays import Floats
from ase_dkl.model.evaluation import stress_labels

if TYPE_CHECKING:
    from ase_dkl.dataset import Dataset
    from ase_dkl.model.surrogate import Surrogate


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


def compared(surrogate: Surrogate, dataset: Dataset) -> list[Compared]:
    """Energies, and stress components where there are labels, judged as `evaluate` judges them."""
    prediction = surrogate.predict_cells(dataset.cells, stress=bool(dataset.has_stress.any()))
    lowest = dataset.energies.min()
    energies = Compared(
        "energy",
        "eV",
        ("meV", 1e3),
        "energy above the lowest label (eV per cell)",
        np.arange(len(dataset)),
        dataset.energies - lowest,
        prediction.value.mean - lowest,
        prediction.value.total,
    )
    if (stress := prediction.slopes.get("strain")) is None:
        return [energies]
    labels = stress_labels(dataset, surrogate.stress_offset)
    exists = np.isfinite(labels)
    stresses = (values[exists] / GPa for values in (labels, stress.mean, stress.total))
    row = np.nonzero(exists)[0]
    return [energies, Compared("stress", "GPa", ("GPa", 1.0), "stress component of the label (GPa)", row, *stresses)]
