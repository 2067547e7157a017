"""Recalibration of a model's error bars: a training without each fold of the rows in turn, and a comparison with it."""

from __future__ import annotations

import numpy as np
from rich.console import Console
from rich.progress import track

from ase_dkl.arrays import Floats
from ase_dkl.dataset import Dataset
from ase_dkl.model.calibration import BadCalibration, Calibration, Scores
from ase_dkl.model.evaluation import labels_by_kind
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
    scores: dict[str, Floats] = {}
    for each in track(range(folds), "calibrating", console=Console(stderr=True), disable=not progress):
        held_out = fold == each
        surrogate = fit(dataset.subset(~held_out), config, progress=False)
        for kind, z in _scores(surrogate, dataset.subset(held_out)).items():
            scores.setdefault(kind, np.full((n, z.shape[1]), np.nan))[held_out] = z
    notes = () if not chosen else (_of_chosen(chosen, n),)
    labelled = {kind: np.isfinite(z).any(axis=1) for kind, z in scores.items()}
    return Calibration({kind: Scores(z[labelled[kind]], fold[labelled[kind]]) for kind, z in scores.items()}, notes)


def _scores(surrogate: Surrogate, dataset: Dataset) -> dict[str, Floats]:
    """Scores by the kind of label, shape (n, 1) of values and (n, t) of slopes, NaN where there is no label."""
    labels = labels_by_kind(dataset, surrogate.stress_offset)
    predicted = surrogate.predict_cells(dataset.cells, stress=len(labels) > 1).by_kind
    return {
        kind: ((labels[kind] - each.mean) / each.total).reshape(len(dataset), -1) for kind, each in predicted.items()
    }


def _of_chosen(chosen: int, n: int) -> str:
    return (
        f"{chosen} of the {n} rows come from active learning, which asks where models are unsure. New structures are "
        "not like them: the intervals may hold more or fewer labels than they say."
    )
