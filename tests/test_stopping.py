from dataclasses import replace

import numpy as np
import pytest

from ase_dkl import Surrogate
from ase_dkl.active.box import Box
from ase_dkl.active.stopping import (
    CONFIDENCE,
    JUDGED,
    PATIENCE,
    BadStop,
    Stage,
    Stop,
    StopReason,
    calibration,
    labels_to_go,
    over_box,
)
from ase_dkl.active.target import Target

FIRST = Stage(
    stage=0,
    labels=8,
    failed=0,
    rms_uncertainty=8e-3,
    rms_bound=8e-3,
    largest_uncertainty=30e-3,
    noise=3e-4,
    batch_errors=(),
    batch_uncertainties=(),
    calibration=1.0,
    target_value=None,
    target_std=None,
    refitted=True,
    seconds=1.0,
)


def course(*rms_meV: float, calibration: float = 1.0) -> list[Stage]:
    """Stages of four labels each with these uncertainties, the latest with this calibration."""
    stages = [
        replace(
            FIRST,
            stage=i,
            labels=8 + 4 * i,
            rms_uncertainty=0.8e-3 * sigma,
            rms_bound=1e-3 * sigma,
            largest_uncertainty=4e-3 * sigma,
            batch_errors=(1e-3,) * 4 * (i > 0),
            batch_uncertainties=(1e-3,) * 4 * (i > 0),
        )
        for i, sigma in enumerate(rms_meV)
    ]
    return [*stages[:-1], replace(stages[-1], calibration=calibration)]


def reason(stop: Stop, stages: list[Stage]) -> StopReason | None:
    verdict = stop.verdict(stages)
    return verdict[0] if verdict else None


def test_within_the_tolerance() -> None:
    stop = Stop(tolerance_meV=1.0)
    assert reason(stop, course(8, 2, 0.9)) == StopReason.tolerance
    assert reason(stop, course(8, 2, 1.1)) is None
    assert reason(replace(stop, measure="largest"), course(8, 2, 0.9)) is None
    assert reason(replace(stop, measure="largest"), course(8, 2, 0.2)) == StopReason.tolerance


def test_errors_that_exceed_their_uncertainty_count() -> None:
    assert reason(Stop(tolerance_meV=1.0), course(8, 2, 0.9, calibration=1.2)) is None
    assert reason(Stop(tolerance_meV=1.0), course(8, 2, 0.8, calibration=1.2)) == StopReason.tolerance


def test_nothing_is_believed_before_enough_labels_were_predicted() -> None:
    stages = course(8, 0.5)
    assert sum(len(stage.batch_errors) for stage in stages) < JUDGED
    assert reason(Stop(tolerance_meV=1.0), stages) is None
    assert reason(Stop(tolerance_meV=1.0), course(8, 0.5, 0.5)) == StopReason.tolerance


def test_a_budget_counts_failed_labels() -> None:
    stages = course(8, 4, 3)
    assert reason(Stop(budget=17), stages) is None
    assert reason(Stop(budget=17), [*stages[:-1], replace(stages[-1], failed=1)]) == StopReason.budget
    assert reason(Stop(budget=16, tolerance_meV=1), stages) == StopReason.budget


def test_no_progress() -> None:
    stop = Stop(tolerance_meV=0.1)
    assert reason(stop, course(8, 1, *(1.0,) * (PATIENCE - 1))) is None
    assert reason(stop, course(8, 1, *(1.0,) * PATIENCE)) == StopReason.no_progress
    assert reason(stop, course(8, 1, *(1.0,) * (PATIENCE - 1), 0.9)) is None


def test_a_property() -> None:
    stop = Stop(target=Target("C44", 1.0))
    stages = [replace(stage, target_value=90.0, target_std=0.9) for stage in course(8, 4, 4)]
    assert reason(stop, stages) == StopReason.target
    verdict = stop.verdict(stages)
    assert verdict is not None
    assert verdict[1] == "C44 = 90.00 ± 0.90 is known."
    assert reason(stop, [*stages[:-1], replace(stages[-1], calibration=1.2)]) is None


def test_a_property_that_the_model_cannot_tell_yet_is_not_known() -> None:
    assert reason(Stop(target=Target("C44", 1.0)), course(8, 4, 4, 4)) is None


def test_calibration_is_of_the_latest_labels_and_never_below_one() -> None:
    assert calibration([], []) == 1
    assert calibration([0.1] * 20, [1.0] * 20) == 1
    assert calibration([100.0] * 5 + [2.0] * JUDGED, [1.0] * (5 + JUDGED)) == pytest.approx(2)


def test_labels_to_go() -> None:
    """σ = 8 / n times 8: a power law is found again."""
    stages = [replace(stage, rms_bound=0.064 / stage.labels) for stage in course(8, 4, 3, 2, 1)]
    assert labels_to_go(stages, Stop(tolerance_meV=1.0)) == 64 - stages[-1].labels
    assert labels_to_go(stages, Stop(budget=100)) is None
    assert labels_to_go(course(8, 8, 8), Stop(tolerance_meV=1.0)) is None
    assert labels_to_go(stages[:2], Stop(tolerance_meV=1.0)) is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "Nothing would ever stop"),
        ({"tolerance_meV": 1.0, "target": Target("C44", 1)}, "Leave one of the two out"),
        ({"tolerance_meV": -1.0}, "positive number"),
        ({"budget": 0}, "positive number"),
        ({"tolerance_meV": float("nan")}, "positive number"),
        ({"tolerance_meV": 1.0, "measure": "mean"}, "choose rms or largest"),
    ],
)
def test_rules_that_make_no_sense(settings: dict[str, object], words: str) -> None:
    with pytest.raises(BadStop, match=words):
        Stop(**settings)  # type: ignore[arg-type]


def test_the_bound_over_the_box_holds_as_often_as_it_says(surrogate: Surrogate) -> None:
    """By drawing energies over the box from the joint posterior."""
    cells = Box().design(surrogate.crystal, 60, seed=3)
    rms, bound, largest = over_box(surrogate, cells)
    sigma = surrogate.predict_cells(cells, stress=False).energy_uncertainty
    assert rms == pytest.approx(np.sqrt(np.mean(sigma**2)))
    assert largest == pytest.approx(sigma.max())
    covariance = surrogate.posterior(cells, derivatives=False).covariance
    drawn = np.random.default_rng(0).multivariate_normal(np.zeros(60), covariance, size=20_000, method="eigh")
    below = np.mean(np.sqrt(np.mean(drawn**2, axis=1)) < bound)
    assert below == pytest.approx(CONFIDENCE, abs=0.01)
