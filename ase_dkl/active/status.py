"""How far a campaign is: what a live view shows, from within and from beside."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ase_dkl.active.plan import Plan
from ase_dkl.active.stopping import Stage, Stop, StopReason, labels_to_go
from ase_dkl.files import written_whole
from ase_dkl.metrics import rmse
from ase_dkl.shown import Shown
from ase_dkl.wording import number, plus_minus

PROGRESS = "progress.json"
"""The file in the campaign's folder that has what only the running campaign knows."""


@dataclass(frozen=True)
class Progress:
    """What only the running campaign knows.

    Attributes:
        running: labels being computed.
        event: what happened last, in a sentence.
        time: when, in seconds since 1970.
    """

    running: int = 0
    event: str = ""
    time: float = 0.0

    def write(self, folder: Path) -> None:
        """Write it for others to read."""
        with written_whole(folder / PROGRESS) as beside:
            beside.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Progress:
        """What was written last, or nothing."""
        try:
            return cls(**json.loads((folder / PROGRESS).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return cls()


@dataclass(frozen=True, repr=False)
class Status(Shown):
    """How far a campaign is.

    Attributes:
        name: of the campaign.
        alive: whether a process is at work on it.
        waiting: labels requested and not yet begun.
        running: labels being computed.
        done: labels there are.
        failed: labels that the campaign goes on without.
        stages: what was found at each stage, oldest first.
        stop: when the campaign stops.
        target_unit: unit of the target's value.
        event: what happened last, in a sentence.
        event_time: when, in seconds since 1970.
        reason: why the campaign stopped choosing, in a sentence; None while it goes on.
    """

    name: str
    alive: bool
    waiting: int
    running: int
    done: int
    failed: int
    stages: tuple[Stage, ...]
    stop: Stop
    target_unit: str | None
    event: str
    event_time: float
    reason: str | None

    @property
    def stage(self) -> Stage | None:
        """The newest stage; None before the first model."""
        return self.stages[-1] if self.stages else None

    @property
    def labels_to_go(self) -> int | None:
        """An estimate of how many more labels are needed; None where nothing can be said yet."""
        return 0 if self.reason else labels_to_go(self.stages, self.stop)

    @property
    def finished(self) -> bool:
        """Whether everything is done."""
        return self.reason is not None and not self.waiting and not self.running

    def words(self) -> dict[str, str]:
        """A campaign's state, by what it is."""
        rows = {"labels": f"{self.done} done, {self.running} running, {self.waiting} waiting, {self.failed} failed"}
        if self.stop.budget is not None:
            rows["labels"] += f"; at most {self.stop.budget}"
        if self.reason is None:
            rows["to go"] = "not to be told yet" if (n := self.labels_to_go) is None else f"about {n} labels"
        if (stage := self.stage) is None:
            rows["model"] = "none yet: the initial design comes first"
        else:
            rows |= self._of_stage(stage)
        if self.event and (self.reason is None or self.reason not in self.event):
            rows["last event"] = self.event
        if self.reason is not None:
            rows["stop"] = self.reason + ("" if self.finished else " What was begun is brought to its end.")
        if not self.alive and not self.finished:
            rows["process"] = "none is at work on it: ase-dkl active run begins, or goes on where it was"
        return rows

    def _summary(self) -> tuple[str, dict[str, str]]:
        return f"Campaign {self.name}", {"labels": self.words()["labels"], "finished": str(self.finished)}

    def _derived(self) -> tuple[str, ...]:
        return ("labels_to_go", "finished")

    def _of_stage(self, stage: Stage) -> dict[str, str]:
        rows = {}
        if (aim := self._aim(stage)) is not None:
            rows["aim"] = aim
        rms, largest = (number(1e3 * value, 3) for value in (stage.rms_uncertainty, stage.largest_uncertainty))
        rows["σ over the box"] = f"RMS {rms}, largest {largest} meV per cell"
        if stage.batch_errors:
            off, expected = (number(1e3 * rmse(each), 2) for each in (stage.batch_errors, stage.batch_uncertainties))
            rows["newest errors"] = f"{off} meV, where {expected} meV were expected (RMS, noise included)"
        made = "trained" if stage.refitted else "conditioned on new labels"
        rows["model"] = (
            f"of {stage.labels} labels, {made} in {stage.seconds:.1f} s; noise {number(1e3 * stage.noise, 2)} meV"
        )
        return rows

    def _aim(self, stage: Stage) -> str | None:
        """What is held against the tolerance, and that."""
        stop = self.stop
        if (aim := stop.aim(stage)) is None:
            return None
        factor = f", with errors {stage.calibration:.2f} times as large as expected" * (stage.calibration > 1)
        if stop.target is None:
            what = "RMS error at most" if stop.measure == "rms" else "largest σ"
            sure = " (95 %)" * (stop.measure == "rms")
            return f"{what} {aim[0] / stage.calibration:.3g} meV{sure}{factor}; tolerance {aim[1]:g} meV"
        unit, known = self.target_unit or "", f"{stop.target.name} is not known yet"
        if stage.target_value is not None and stage.target_std is not None:
            known = f"{stop.target.name} = {plus_minus(stage.target_value, stage.target_std, unit)}{factor}"
        return f"{known}; tolerance {stop.target.tolerance:g} {unit}"


def status_of(
    plan: Plan,
    counts: Mapping[str, int],
    stages: Sequence[Stage],
    verdict: tuple[StopReason, str] | None,
    progress: Progress,
    *,
    alive: bool,
) -> Status:
    """Put together what is known of a campaign.

    Args:
        plan: the campaign.
        counts: labels waiting, running ones included, done and failed.
        stages: its record.
        verdict: why it chooses no more.
        progress: what its process last told.
        alive: whether that is still there.
    """
    running = min(progress.running, counts["waiting"]) if alive else 0
    return Status(
        name=plan.name,
        alive=alive,
        waiting=counts["waiting"] - running,
        running=running,
        done=counts["done"],
        failed=counts["failed"],
        stages=tuple(stages),
        stop=plan.stop,
        target_unit=None if plan.stop.target is None else plan.stop.target.unit(plan.crystal),
        event=progress.event,
        event_time=progress.time,
        reason=None if verdict is None else verdict[1],
    )
