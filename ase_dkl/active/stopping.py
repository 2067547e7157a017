"""When a campaign is over: its record stage by stage, and the rule that reads it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from scipy.special import chdtri

from ase_dkl.arrays import Floats
from ase_dkl.errors import Refused
from ase_dkl.wording import number, plus_minus

if TYPE_CHECKING:
    from ase_dkl.active.target import Target
    from ase_dkl.model.surrogate import Surrogate

Measure = Literal["rms", "largest"]
JUDGED = 8
"""Labels, the latest ones, whose errors tell whether σ can be believed."""
SURPRISE = 1.5
"""Calibration above which the newest labels say that the model does not know what it does not know."""
PATIENCE = 6
"""Stages without progress after which there is no point in going on."""
CONFIDENCE = 0.95
"""Probability with which the error over the box is within the tolerance where a campaign says so."""
PROGRESS = 0.97
"""What is left of the uncertainty where a stage made progress."""


class BadStop(Refused, ValueError):
    """A rule that would never stop, or makes no sense."""


class StopReason(StrEnum):
    """Why a campaign ended."""

    tolerance = "tolerance"
    target = "target"
    budget = "budget"
    no_progress = "no progress"
    failures = "failures"


@dataclass(frozen=True)
class Stage:
    """What was known when a batch was complete. Energies in eV per reference cell.

    Attributes:
        stage: number of the batch.
        labels: usable labels so far.
        failed: requests passed over so far.
        rms_uncertainty: σ of the energy over the box, root mean square.
        rms_bound: what the RMS error over the box is below of, with a probability of 95 %.
        largest_uncertainty: the largest σ over the box.
        noise: of an energy label, as the model found it.
        batch_errors: label less prediction, of the newest batch's energies, by the model that chose it.
        batch_uncertainties: what was expected of each of these, label noise included.
        calibration: RMS of error over uncertainty of the latest labels, 1 where it is below.
        target_value: of the property aimed at, in its unit.
        target_std: its standard deviation.
        refitted: whether the networks were trained, not only the processes conditioned.
        seconds: that it took.
    """

    stage: int
    labels: int
    failed: int
    rms_uncertainty: float
    rms_bound: float
    largest_uncertainty: float
    noise: float
    batch_errors: tuple[float, ...]
    batch_uncertainties: tuple[float, ...]
    calibration: float
    target_value: float | None
    target_std: float | None
    refitted: bool
    seconds: float


def calibration(errors: Sequence[float], uncertainties: Sequence[float]) -> float:
    """By how much the latest errors, in order, exceeded what was expected of them: their RMS ratio, at least 1."""
    if not len(errors):
        return 1.0
    ratios = np.divide(errors, uncertainties)[-JUDGED:]
    return max(1.0, float(np.sqrt(np.mean(ratios**2))))


def over_box(surrogate: Surrogate, cells: Floats) -> tuple[float, float, float]:
    """What a model knows of its energy over a box.

    Errors over the box go together: their mean square is no sum of many that would even out. Its distribution follows
    from the joint posterior, as a multiple of χ² with as many degrees of freedom as that has.

    Source: F. E. Satterthwaite, Biometrics Bulletin 2 (1946) 110.

    Args:
        surrogate: a model.
        cells: lattices that stand for the box, shape (n, 3, 3), Å.

    Returns:
        σ, root mean square; what the RMS error is below of with a probability of 95 %; and the largest σ; eV per cell.
    """
    covariance = surrogate.posterior(cells, derivatives=False).covariance
    variances = np.diagonal(covariance).clip(min=0)
    mean, largest = float(variances.mean()), float(variances.max())
    freedom = max(1.0, float(variances.sum() ** 2 / (covariance**2).sum()))
    return mean**0.5, (mean * float(chdtri(freedom, 1 - CONFIDENCE)) / freedom) ** 0.5, largest**0.5


@dataclass(frozen=True)
class Stop:
    """When to stop: whatever comes first.

    Attributes:
        tolerance_meV: of the energy's error over the box, per reference cell.
        measure: what is to be below it: "rms", the RMS error over the box, with a probability of 95 %; or "largest",
            the largest σ.
        target: a property to know, with its own tolerance, in place of the energy.
        budget: labels, failed ones included.
    """

    tolerance_meV: float | None = None
    measure: Measure = "rms"
    target: Target | None = None
    budget: int | None = None

    def __post_init__(self) -> None:
        if self.tolerance_meV is None and self.target is None and self.budget is None:
            raise BadStop("Nothing would ever stop this campaign. Give a tolerance, a target or a budget.")
        if self.tolerance_meV is not None and self.target is not None:
            raise BadStop("A campaign aims at the energy over the box or at one property. Leave one of the two out.")
        if self.measure not in get_args(Measure):
            raise BadStop(f"measure is {self.measure!r}; choose rms or largest.")
        for name, value in (("tolerance_meV", self.tolerance_meV), ("budget", self.budget)):
            if value is not None and not 0 < value < float("inf"):
                raise BadStop(f"{name} is {value:g}; it is a positive number.")

    def aim(self, stage: Stage) -> tuple[float, float] | None:
        """Where a campaign stands: the uncertainty that counts, enlarged by the calibration, and its tolerance."""
        if self.target is not None:
            std = math.inf if stage.target_std is None else stage.target_std
            return stage.calibration * std, self.target.tolerance
        if self.tolerance_meV is None:
            return None
        sigma = stage.rms_bound if self.measure == "rms" else stage.largest_uncertainty
        return 1e3 * stage.calibration * sigma, self.tolerance_meV

    def verdict(self, stages: Sequence[Stage]) -> tuple[StopReason, str] | None:
        """Whether to stop after the latest stage, and why, in words.

        The uncertainty must be below the tolerance with the latest errors agreeing: σ is multiplied by their
        calibration, and at least `JUDGED` labels must have been predicted before they were known.
        """
        latest = stages[-1]
        judged = sum(len(stage.batch_errors) for stage in stages)
        aim = self.aim(latest)
        if aim is not None and aim[0] <= aim[1] and judged >= JUDGED:
            return self._met(latest)
        if self.budget is not None and latest.labels + latest.failed >= self.budget:
            return StopReason.budget, f"The budget of {self.budget} labels is spent."
        if aim is not None and len(stages) > PATIENCE:
            before = [self.aim(stage) for stage in stages[:-PATIENCE]]
            least = min(each[0] for each in before if each is not None)
            since = min(each[0] for stage in stages[-PATIENCE:] if (each := self.aim(stage)) is not None)
            if since > PROGRESS * least:
                return (
                    StopReason.no_progress,
                    f"No progress over {PATIENCE} batches: the uncertainty stays at {since:.3g}, above the tolerance "
                    f"{aim[1]:g}. The labels' own noise may be the limit.",
                )
        return None

    def _met(self, latest: Stage) -> tuple[StopReason, str]:
        if self.target is not None:
            assert latest.target_value is not None
            return (
                StopReason.target,
                f"{self.target.name} = {plus_minus(latest.target_value, latest.target_std)} is known.",
            )
        below = "The RMS error over the box is" if self.measure == "rms" else "The largest σ over the box is"
        with_95 = ", with a probability of 95 %" if self.measure == "rms" else ""
        value = latest.rms_bound if self.measure == "rms" else latest.largest_uncertainty
        return (
            StopReason.tolerance,
            f"{below} at most {number(1e3 * latest.calibration * value, 2)} meV{with_95}: within the tolerance of "
            f"{self.tolerance_meV:g} meV.",
        )


def labels_to_go(stages: Sequence[Stage], stop: Stop) -> int | None:
    """How many labels are left to the tolerance, by a power law through the latest stages; None where none is seen."""
    points = [
        (stage.labels, aim[0])
        for stage in stages[-6:]
        if (aim := stop.aim(stage)) is not None and 0 < aim[0] < math.inf
    ]
    if len(points) < 3 or len({labels for labels, _ in points}) < 2:
        return None
    labels, sigma = np.log(np.transpose(points))
    slope, intercept = np.polyfit(labels, sigma, 1)
    aim = stop.aim(stages[-1])
    if slope >= -0.1 or aim is None:
        return None
    at = np.exp((np.log(aim[1]) - intercept) / slope)
    return max(0, int(np.ceil(at - stages[-1].labels))) if at < 1e6 else None
