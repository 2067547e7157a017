"""Campaigns of active learning on labels that cost nothing, so that many can be compared."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from _common import Floats

from ase_dkl import Dataset, TrainConfig, fit
from ase_dkl.active.acquisition import Acquisition, choose
from ase_dkl.active.retraining import due
from ase_dkl.active.stopping import Stage, calibration, over_box
from ase_dkl.active.target import Target
from ase_dkl.mechanics.equilibrium import BadEquilibrium
from ase_dkl.model.conditioning import conditioned
from ase_dkl.model.surrogate import Surrogate

Labeller = Callable[[Floats], Dataset]
"""Cells, shape (n, 3, 3), Å → labelled rows in their order."""


@dataclass(frozen=True)
class Point:
    """Where a replayed campaign is after some labels.

    Attributes:
        stage: what the campaign itself knows.
        errors_meV: true RMSE on every set of test lattices, by its name.
        target_error: true error of the property aimed at, in its unit.
    """

    stage: Stage
    errors_meV: dict[str, float]
    target_error: float | None


def replay(
    label: Labeller,
    candidates: Floats,
    initial: Floats,
    kind: Acquisition,
    tests: dict[str, Dataset],
    config: TrainConfig,
    *,
    most: int,
    batch: int,
    box: Floats,
    target: Target | None = None,
    aimed: bool = False,
    truth: float | None = None,
    seed: int = 0,
    enough: Callable[[list[Point]], bool] = lambda _: False,
) -> list[Point]:
    """Run a campaign as `ase_dkl.active.Campaign` does: each batch is chosen while the one before it is computed.

    Args:
        label: what is asked.
        candidates: lattices to choose among, each at most once, in the order of a Sobol sequence, shape (c, 3, 3), Å.
        initial: the initial design, shape (n, 3, 3), Å.
        kind: of acquisition.
        tests: labelled lattices on which errors are measured.
        config: of the models.
        most: labels after which to stop.
        batch: labels chosen at a time.
        box: lattices that stand for the box, shape (b, 3, 3), Å.
        target: a property whose error bar is followed.
        aimed: whether labels are chosen for it.
        truth: its true value.
        seed: of random choices.
        enough: when to stop earlier, by all points so far.
    """
    left = list(range(len(candidates)))
    dataset = label(initial)
    surrogate = fit(dataset, config, progress=False)
    trained_on = len(dataset)
    points: list[Point] = []
    errors: list[float] = []
    sigmas: list[float] = []
    pending: list[tuple[Floats, Floats, Floats]] = []

    def record(refitted: bool, batch_errors: Floats, batch_sigmas: Floats) -> None:
        rms, bound, largest = over_box(surrogate, box)
        value, std = _evaluated(surrogate, target)
        stage = Stage(
            stage=len(points),
            labels=len(dataset),
            failed=0,
            rms_uncertainty=rms,
            rms_bound=bound,
            largest_uncertainty=largest,
            noise=surrogate.report.energy_noise,
            batch_errors=tuple(map(float, batch_errors)),
            batch_uncertainties=tuple(map(float, batch_sigmas)),
            calibration=calibration(errors, sigmas),
            target_value=value,
            target_std=std,
            refitted=refitted,
            seconds=0.0,
        )
        measured = {name: 1e3 * _rmse(surrogate, test) for name, test in tests.items()}
        points.append(Point(stage, measured, None if value is None or truth is None else abs(value - truth)))

    def request() -> None:
        cells = np.concatenate([each[0] for each in pending]) if pending else np.empty((0, 3, 3))
        among = np.array(left)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            chosen = choose(
                surrogate,
                candidates[among],
                batch,
                kind=kind,
                pending=cells,
                target=target if aimed else None,
                seed=1000 * seed + len(left),
            )
        picked = among[chosen.index]
        prediction = surrogate.predict_cells(candidates[picked], stress=False)
        sigma = np.sqrt(prediction.energy_uncertainty**2 + prediction.energy_noise**2)
        pending.append((candidates[picked], prediction.energy, sigma))
        for index in picked:
            left.remove(index)

    record(True, np.empty(0), np.empty(0))
    request()
    while len(dataset) < most and not enough(points):
        request()
        cells, energies, expected = pending.pop(0)
        new = label(cells)
        batch_errors = new.energies - energies
        errors.extend(batch_errors)
        sigmas.extend(expected)
        dataset = dataset.joined(new)
        refit = due(len(dataset), trained_on, calibration(errors, sigmas))
        if refit:
            surrogate = fit(dataset, config, start=surrogate, progress=False)
            trained_on = len(dataset)
        else:
            surrogate = conditioned(surrogate, new)
        record(refit, batch_errors, expected)
    return points


def _rmse(surrogate: Surrogate, test: Dataset) -> float:
    energy = surrogate.predict_cells(test.cells, stress=False).energy
    return float(np.sqrt(np.mean((energy - test.energies) ** 2)))


def _evaluated(surrogate: Surrogate, target: Target | None) -> tuple[float | None, float | None]:
    if target is None:
        return None, None
    try:
        found = target.evaluate(surrogate)
    except BadEquilibrium:
        return None, None
    return found.value, found.std
