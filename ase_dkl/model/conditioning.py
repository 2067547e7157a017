"""Further labels for a trained model: its Gaussian processes are conditioned on them, its networks stay as they are.

The update is exact, as if the labels had been there when the processes were conditioned, and takes as long after many
labels as after few. What it does not do is learn better features: for that, train again.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ase_dkl.arrays import Floats
from ase_dkl.dataset import Dataset
from ase_dkl.model.features import propagate, silu
from ase_dkl.model.labels import Labels
from ase_dkl.model.surrogate import Surrogate, stress_offset_GPa


def conditioned(surrogate: Surrogate, dataset: Dataset) -> Surrogate:
    """Let a model know of further labels.

    Stresses count where the model was trained with some: else it does not know how noisy they are.

    Args:
        surrogate: the model; it stays as it is.
        dataset: the new rows alone, of the model's crystal, in its basis.

    Returns:
        A model that knows of both. Its report is the old one's, with the rows counted and the label offset renewed; the
        errors on held-out rows are gone from it.
    """
    if "strain" not in surrogate.report.noise:
        dataset = dataset.without_stresses()
    labels = Labels.of(dataset, surrogate.space, surrogate.units)
    m = len(labels.slopes)
    process = surrogate.process.conditioned(*observed(surrogate, labels), labels.together(), labels.layout)

    report = replace(
        surrogate.report,
        n_rows=surrogate.report.n_rows + len(dataset),
        n_stress=surrogate.report.n_stress + m,
        test=None,
    )
    if "strain" in report.noise:
        offset, std = stress_offset_GPa(process, surrogate.units, surrogate.crystal)
        report = replace(report, stress_offset_GPa=offset, stress_offset_std_GPa=std)
    cells = np.concatenate([surrogate.cells, dataset.cells])
    space = surrogate.space.knowing(cells)
    return Surrogate(space, surrogate.units, surrogate.config, report, cells, surrogate.layers, process)


def observed(surrogate: Surrogate, labels: Labels) -> tuple[Floats, Floats | None, Floats]:
    """What labels are observations of: features, derivatives and basis functions, as `Posterior.conditioned` wants."""
    m = len(labels.slopes)
    seen, functions = labels.observed(surrogate.mean)
    features, derivatives = propagate(surrogate.layers, silu, seen.coordinates[:m], seen.tangents)
    if m < len(seen.coordinates):
        features = np.concatenate([features, propagate(surrogate.layers, silu, seen.coordinates[m:], None)[0]], axis=1)
    return features, derivatives if m else None, functions
