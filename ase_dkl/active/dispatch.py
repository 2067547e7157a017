"""Labels at work: given to an executor, taken back as they come, and given again where the executor lost them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from ase_dkl.active.labels.calculation import BadCalculation
from ase_dkl.active.labels.labelling import Job, Outcome, label
from ase_dkl.active.plan import BadCampaign

MOST_LOSSES = 3
"""How often an executor may break, or lose one label, while it finishes none."""
ALIKE = 4
"""Labels, the first and no fewer, that fail alike where the calculator's set-up is at fault."""

_MENDED = "Mend it and run the same again: nothing is lost, and no attempt was counted."


@dataclass
class _Task:
    job: Job
    future: Future[Outcome]
    losses: int = 0
    finished_before: int = 0
    """Labels finished when it was lost first."""
    last_words: str = ""


class Dispatcher:
    """Labels at work in an executor.

    A label that the calculator fails comes back as an outcome like any other. One that the executor loses (its worker
    died, its batch job ended) is given again; one that it loses again and again while others finish has failed.

    Args:
        executor: makes an executor when there is something to compute, and another one when that breaks.
        proven: whether the calculator has given labels before.
    """

    def __init__(self, executor: Callable[[], Executor], *, proven: bool = False) -> None:
        self._factory = executor
        self._proven, self._works = proven, False
        self._alike: list[Outcome] = []
        self._executor: Executor | None = None
        self._tasks: dict[str, _Task] = {}
        self._done: SimpleQueue[tuple[str, Future[Outcome]]] = SimpleQueue()
        self._finished = self._finished_at_break = self._breaks = 0

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def running(self) -> int:
        """Labels that a worker has begun."""
        return sum(task.future.running() for task in self._tasks.values())

    def submit(self, jobs: Iterable[Job]) -> None:
        """Give labels to the executor.

        Raises:
            BadCampaign: executors break as soon as they are made.
        """
        for job in jobs:
            self._tasks[job.key] = task = _Task(job, Future())
            self._send(task)

    def outcomes(self, timeout: float) -> list[Outcome]:
        """Wait for an outcome, and take all that are there.

        Args:
            timeout: seconds after which to return without one.

        Raises:
            BadCampaign: the executor loses labels and finishes none.
            BadCalculation: the calculator's settings or installation are at fault. What came of these labels is not
                told: they can be computed once that is mended.
        """
        outcomes: list[Outcome] = []
        until = time.monotonic() + timeout
        while True:
            try:
                key, future = self._done.get(timeout=0 if outcomes else max(0.0, until - time.monotonic()))
            except Empty:
                return outcomes
            task = self._tasks.get(key)
            if task is None or task.future is not future:
                continue  # of an executor that broke
            outcome = self._outcome(task)
            if outcome is not None:
                self._tasks.pop(key)
                outcomes += self._judged(outcome)
            for each in self._lost_for_good():
                self._tasks.pop(each.key)
                outcomes += self._judged(each)

    def close(self, *, wait: bool) -> None:
        """Let the executor go. Without waiting, labels that no worker has begun are dropped."""
        if self._executor is not None:
            self._executor.shutdown(wait=wait, cancel_futures=not wait)

    def _outcome(self, task: _Task) -> Outcome | None:
        """What a future that is done holds, or None where the label was lost and is at work again."""
        try:
            outcome = task.future.result()
        except BrokenExecutor as error:
            self._renew(error)
            return None
        except (Exception, CancelledError) as error:  # noqa: BLE001
            if not task.losses:
                task.finished_before = self._finished
            task.losses, task.last_words = task.losses + 1, _words(error)
            if task.losses < MOST_LOSSES:
                self._send(task)
            return None
        self._finished += 1
        return outcome

    def _judged(self, outcome: Outcome) -> list[Outcome]:
        """What can be told: as long as all labels fail, and alike, the first ones are kept until the last is there."""
        if outcome.fault == "setup" and not outcome.good and not self._works:
            raise BadCalculation(
                f"The calculator {outcome.calculator} is not set up: {_sentence(outcome.error)} Another structure or "
                f"attempt would not change that. {_MENDED}"
            )
        self._works |= outcome.good
        self._alike.append(outcome)
        one_error = len({_pattern(each) for each in self._alike}) == 1 and outcome.fault == "either"
        if one_error and not self._works and not self._proven:
            if self._tasks:
                return []
            if len(self._alike) >= ALIKE:
                raise BadCalculation(
                    f"All of the first {len(self._alike)} labels failed in the same way, which is the calculator's "
                    f"set-up rather than the structures: {_sentence(outcome.error)} {_MENDED}"
                )
        self._proven, told, self._alike = True, self._alike, []
        return told

    def _lost_for_good(self) -> list[Outcome]:
        """Labels lost too often have failed, where others did finish; whether they do is waited for."""
        lost = [task for task in self._tasks.values() if task.losses >= MOST_LOSSES]
        failed = [task for task in lost if task.finished_before < self._finished]
        if lost and not failed and len(lost) == len(self._tasks):
            raise BadCampaign(
                f"The executor lost each of {len(lost)} labels {MOST_LOSSES} times and finished none in between; its "
                f"last words are {lost[-1].last_words}. See whether its workers start, and run the campaign again: it "
                "goes on where it was."
            )
        return [
            Outcome(
                key=task.job.key,
                energy=None,
                stress=None,
                forces=None,
                seconds=0.0,
                error=f"The executor lost it {task.losses} times: {task.last_words}",
                calculator=task.job.calculation.name,
            )
            for task in failed
        ]

    def _send(self, task: _Task) -> bool:
        """Give a label to the executor; False where that broke, and all labels were given to the next one."""
        if self._executor is None:
            self._executor = self._factory()
        try:
            task.future = self._executor.submit(label, task.job)
        except BrokenExecutor as error:
            self._renew(error)
            return False
        key = task.job.key
        task.future.add_done_callback(lambda future: self._done.put((key, future)))
        return True

    def _renew(self, error: BrokenExecutor) -> None:
        """Replace an executor that broke, and give everything to the new one."""
        if self._finished > self._finished_at_break:
            self._finished_at_break, self._breaks = self._finished, 0
        self._breaks += 1
        if self._breaks > MOST_LOSSES:
            raise BadCampaign(
                f"The executor broke {self._breaks} times and finished no label in between; its last words are "
                f"{_words(error)}. A calculator that crashes takes the worker with it, unless each label has a process "
                "of its own (own_process). Run the campaign again: it goes on where it was."
            ) from error
        self.close(wait=False)
        self._executor = None
        for task in self._tasks.values():
            if not self._send(task):
                return


def _pattern(outcome: Outcome) -> str:
    """An error without what differs from structure to structure."""
    return re.sub(r"-?[\d.]+(e[+-]?\d+)?", "0", str(outcome.error).replace(outcome.key, ""))


def _sentence(text: str | None) -> str:
    return f"{str(text).rstrip('.')}."


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().rstrip('.') or 'no more is said'}"
