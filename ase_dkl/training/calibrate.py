"""Recalibration of a model's error bars: a training without each fold of the rows in turn, and a comparison with it."""

from __future__ import annotations

import numpy as np
from rich.console import Console
from rich.progress import track

from ase_dkl.arrays import Floats
from ase_dkl.dataset import Dataset
from ase_dkl.model.calibration import BadCalibration, Calibration, Scores
from ase_dkl.model.evaluation import stress_labels
from ase_dkl.model.records import TrainConfig
from ase_dkl.model.surrogate import Surrogate
from ase_dkl.training.fit import fit

FOLDS = 5


def calibrate(
    dataset: Dataset, config: TrainConfig | None = None, *, folds: int = FOLDS, chosen: int = 0, progress: bool = True
) -> Calibration:
    """Train a model without each fold of the rows in turn, and compare it with the fold.

    Args:
        dataset: the rows that the model to be calibrated is trained on.
        config: how it is trained.
        folds: how many parts the rows are divided into at random, and so how many trainings this takes.
        chosen: how many rows are there for what a model said of them, as in active learning; for the notes.
        progress: show a progress bar.

    Returns:
        For `surrogate.calibration`. Each of the models has seen 1/folds of the rows less than that one, and errs rather
        more.

    Raises:
        BadCalibration: fewer than two rows a fold.
    """
    config = config or TrainConfig()
    n = len(dataset)
    if folds < 2 or n < 2 * folds:
        raise BadCalibration(
            f"{n} rows cannot be held out in {folds} folds: there have to be two folds at least, of two rows each."
        )
    if config.stress == "ignore":
        dataset = dataset.without_stresses()
    fold = np.random.default_rng(config.seed).permutation(n) % folds
    energy, stress = np.empty((n, 1)), np.full((n, 6), np.nan)
    for each in track(range(folds), "calibrating", console=Console(stderr=True), disable=not progress):
        held_out = fold == each
        surrogate = fit(dataset.subset(~held_out), config, progress=False)
        energy[held_out, 0], stress[held_out] = _scores(surrogate, dataset.subset(held_out))
    with_stress = dataset.has_stress
    notes = () if not chosen else (_of_chosen(chosen, n),)
    of_stress = Scores(stress[with_stress], fold[with_stress]) if with_stress.any() else None
    return Calibration(Scores(energy, fold), of_stress, notes)


def _scores(surrogate: Surrogate, dataset: Dataset) -> tuple[Floats, Floats]:
    """Scores of energies, shape (n,), and of stress components, shape (n, 6), NaN where there is no label."""
    p = surrogate.predict_cells(dataset.cells, stress=bool(dataset.has_stress.any()))
    of_energy = (dataset.energies - p.value.mean) / p.value.total
    stress = p.slopes.get("strain")
    if stress is None:
        return of_energy, np.full((len(dataset), 6), np.nan)
    return of_energy, (stress_labels(dataset, surrogate.stress_offset) - stress.mean) / stress.total


def _of_chosen(chosen: int, n: int) -> str:
    return (
        f"{chosen} of the {n} rows come from active learning, which asks where models are unsure. New structures are "
        "not like them: the intervals may hold more or fewer labels than they say."
    )
