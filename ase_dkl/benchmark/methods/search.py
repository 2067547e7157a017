"""A fair search: of every method as many settings, drawn from its grid, judged on held-out training rows."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from ase_dkl.arrays import Floats
from ase_dkl.benchmark.methods.method import BadMethod, Method, Model, Settings
from ase_dkl.dataset import Dataset
from ase_dkl.metrics import negative_log_likelihood
from ase_dkl.model.evaluation import stress_labels


def search(method: Method, dataset: Dataset, *, budget: int, folds: int = 3, seed: int) -> dict[str, Any]:
    """Find settings of a method.

    They are judged by the mean negative log likelihood of held-out labels over the folds: of energies, and of stresses
    where the method has them and rows do, with equal weights. A fit that fails, or numbers that are not finite, make
    settings the worst.

    Args:
        method: whose grid is searched.
        dataset: the training rows.
        budget: how many settings are tried, the defaults among them.
        folds: into how many parts the rows are divided.
        seed: of the draw, the parts and the fits.

    Returns:
        All settings of the method, the best of those tried; the defaults where every fit failed.
    """
    if budget < 1 or not 2 <= folds <= len(dataset):
        raise BadMethod(
            f"A search with a budget of {budget} and {folds} folds of {len(dataset)} rows is none: try at least one "
            "setting, and divide the rows into two parts or more, none of them empty."
        )
    rng = np.random.default_rng(seed)
    candidates = _candidates(method, budget, rng)
    if len(candidates) == 1:
        return candidates[0]
    part = rng.permutation(len(dataset)) % folds
    scores = [_score(method, settings, dataset, part, seed) for settings in candidates]
    return candidates[int(np.argmin(scores))]


def _candidates(method: Method, budget: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """The defaults, and then other points of the grid in random order."""
    defaults = dict(method.defaults)
    points = [
        defaults | dict(zip(method.grid, values, strict=True)) for values in itertools.product(*method.grid.values())
    ]
    others = [point for point in points if point != defaults]
    return [defaults, *(others[i] for i in rng.permutation(len(others))[: budget - 1])]


def _score(method: Method, settings: Settings, dataset: Dataset, part: np.ndarray, seed: int) -> float:
    total = 0.0
    for fold in range(part.max() + 1):
        try:
            model = method.fit(dataset.subset(part != fold), settings, seed)
            loss = _loss(model, dataset.subset(part == fold), method.predicts_stress)
        except BadMethod:
            raise
        # Whatever a method dies of, its other settings may do better.
        except Exception:  # noqa: BLE001
            return math.inf
        if not math.isfinite(loss):
            return math.inf
        total += loss
    return total


def _loss(model: Model, held_out: Dataset, predicts_stress: bool) -> float:
    """Negative log likelihood of energies, and of stresses where there are any, in units of the labels' spread."""
    stress = predicts_stress and bool(held_out.has_stress.any())
    answer = model.predict_cells(held_out.cells, stress=stress)
    losses = [_scaled(answer.value.mean - held_out.energies, answer.value.total, held_out.energies)]
    if (found := answer.slopes.get("strain")) is not None:
        errors = found.mean - stress_labels(held_out, model.stress_offset)
        compared = np.isfinite(errors)
        losses.append(_scaled(errors[compared], found.total[compared], held_out.stresses[compared]))
    return float(np.mean(losses))


def _scaled(error: Floats, total: Floats, labels: Floats) -> float:
    spread = max(float(labels.std()), 1e-12)
    return negative_log_likelihood(error / spread, total / spread)
