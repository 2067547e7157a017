"""How far a campaign is: what a live view shows, from within and from beside."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ase_dkl.active.plan import Plan
from ase_dkl.active.stopping import Stage, Stop, StopReason, labels_to_go
from ase_dkl.files import written_whole

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


@dataclass(frozen=True)
class Status:
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

    def to_dict(self) -> dict[str, Any]:
        """All of it, and what follows, for JSON."""
        return {**asdict(self), "labels_to_go": self.labels_to_go, "finished": self.finished}


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
