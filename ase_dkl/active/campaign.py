"""The campaign: design → label → learn → choose → label → … → stop, from wherever an earlier process left it.

Requests come in batches. Batch 0 is the initial design. Stage b is the model that knows what became of the batches up
to b, and of nothing else. Stage 0 chooses batches 1 and 2, stage b the batch b + 2, as if batch b + 1, which is being
computed, were known. So workers do not wait while a model learns, and yet no decision depends on when a label comes:
killed at any instant and started again, a campaign decides what it would have decided.

A verdict halts the choosing. What is in work is waited for, the networks are trained on all of it, and the verdict is
given again: a campaign stops where it holds with all labels in, and goes on otherwise.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from ase_dkl.active import record
from ase_dkl.active.dispatch import Dispatcher
from ase_dkl.active.labels.labelling import Job
from ase_dkl.active.ledger import Ledger
from ase_dkl.active.plan import BadCampaign, Plan
from ase_dkl.active.stages import box_points, next_batch, next_stage, verdict
from ase_dkl.active.status import Progress, Status, status_of
from ase_dkl.active.stopping import Stage, StopReason
from ase_dkl.active.store import STALE_S, BadStore, Label, Request, Store, StoreUnreachable
from ase_dkl.arrays import Floats
from ase_dkl.model.surrogate import Surrogate
from ase_dkl.shown import Shown

__all__ = ["BadCampaign", "Campaign", "Plan", "Result", "Status"]

logger = logging.getLogger(__name__)

AHEAD = 2
"""Batches chosen and not yet known to the model."""
LABELS = "labels"
"""The folder in the campaign's where each label has its own."""
GIVEN = "given"
"""What the campaign of structures that somebody names is called after its name, and its folder within the folder."""
LOOK_S, TELL_S = 5.0, 0.1
"""Seconds between looks at what other campaigns compute, and between two reports of the status."""


@dataclass(frozen=True, eq=False, repr=False)
class Result(Shown):
    """What a campaign ends with.

    Attributes:
        surrogate: the model of all labels, as it is in the campaign's folder.
        stages: how it got there.
        kind: why it ended.
        reason: the same in a sentence.
        labels: usable labels.
        failed: requests passed over.
    """

    surrogate: Surrogate
    stages: tuple[Stage, ...]
    kind: StopReason
    reason: str
    labels: int
    failed: int

    def _summary(self) -> tuple[str, dict[str, str]]:
        return f"Campaign of {self.surrogate.crystal.formula}", {
            "labels": str(self.labels),
            "failed": str(self.failed),
            "stages": str(len(self.stages)),
            "ended by": str(self.kind),
        }


class Campaign:
    """A campaign of active learning, as it is planned and where its labels are computed.

    Args:
        plan: what to do.
        executor: opens what labels are computed by.
    """

    def __init__(self, plan: Plan, executor: Callable[[], Executor]) -> None:
        self.plan, self._executor = plan, executor

    def run(self, watch: Callable[[Status], None] | None = None) -> Result:
        """Go on until there is a reason to stop, and everything requested is computed.

        Interrupted in whatever way, it goes on where it was when it is run again.

        Args:
            watch: is told how far the campaign is, a few times a second at most.

        Raises:
            BadCampaign: it cannot begin, or go on; the message says what to do.
            BadCalculation: the calculator cannot be made, or is not set up.
            BadStore: the database cannot be used.
            StoreUnreachable: it cannot be reached.
        """
        plan = self.plan
        plan.check()
        Store(plan.database, plan.name, owner="opening")  # before anything is written
        plan.folder.mkdir(parents=True, exist_ok=True)
        with record.locked(plan.folder) as owner:
            parameters = dict(plan.calculation.parameters)
            store = Store(plan.database, plan.name, owner=f"{plan.name}:{owner}", parameters=parameters)
            with _heartbeat(store):
                run = _Run(plan, store, self._executor, watch)
                try:
                    result = run.to_the_end()
                except BaseException as error:
                    run.leave(error)
                    raise
                run.dispatcher.close(wait=True)
            store.leave()
        return result

    @classmethod
    def retry(cls, plan: Plan) -> int:
        """Let labels that were given up be tried again, as often as new ones, when the campaign is next run.

        What the campaign has decided stays as it is, but for its models: they are made again, with these labels in
        their places. Labels of `label_given` are among them.

        Returns:
            How many.

        Raises:
            BadCampaign: none had failed, or the campaign is running.
            BadStore: the database cannot be used.
            StoreUnreachable: it cannot be reached.
        """
        again = 0
        for name, folder in ((plan.name, plan.folder), (f"{plan.name}-{GIVEN}", plan.folder / GIVEN)):
            if folder.is_dir():
                with record.locked(folder) as owner:
                    again += Store(plan.database, name, owner=f"{name}:{owner}").retry()
        if not again:
            raise BadCampaign(
                f"No label of the campaign {plan.name} in {plan.database_shown} has failed for good: there is nothing "
                "to try again."
            )
        logger.info("%s: %d failed labels are tried again.", plan.name, again)
        return again

    @classmethod
    def status(cls, plan: Plan) -> Status:
        """How far a campaign is, by its database and folder, whether a process is at work on it or not."""
        ledger = Ledger(plan, Store(plan.database, plan.name, owner="status").labels())
        stages, progress = ledger.supported(record.read_stages(plan.folder)), Progress.read(plan.folder)
        why = verdict(plan, ledger, stages) if stages else None
        return status_of(plan, ledger.counts, stages, why, progress, alive=record.is_locked(plan.folder))


class _Run:
    """One process's part of a campaign."""

    def __init__(
        self, plan: Plan, store: Store, executor: Callable[[], Executor], watch: Callable[[Status], None] | None
    ) -> None:
        self.plan, self.store, self.watch = plan, store, watch
        self.box = box_points(plan)
        self.ledger = Ledger(plan, store.labels())
        self.dispatcher = Dispatcher(executor, proven=self.ledger.counts["done"] > 0)
        self.surrogate, self.stages = record.load(plan)
        if self.ledger.supported(self.stages) != self.stages:  # labels were tried again
            self.surrogate, self.stages = None, []
        self.verdict = verdict(plan, self.ledger, self.stages) if self.stages else None
        self.event, self.told, self.looked = "", 0.0, time.monotonic()

    def to_the_end(self) -> Result:
        self._happened("The campaign goes on." if len(self.ledger) else "The campaign begins.")
        if self.ledger.n_requests < self.plan.initial:
            design = self.plan.box.design(self.plan.crystal, self.plan.initial, seed=self.plan.seed)
            labels = self._request(0, [(cell, {"reason": "initial design"}) for cell in design])
            self.ledger = Ledger(self.plan, labels)
        self._begin(self.ledger.open())
        self._choose()
        while True:
            while len(self.stages) < len(self.ledger) and self.ledger.settled(len(self.stages)):
                self._learn()
                self._choose()
            if len(self.stages) == len(self.ledger):
                return self._result()
            self._tell()
            if outcomes := self.dispatcher.outcomes(LOOK_S):
                self._changed(self.store.finish(outcomes))
            if time.monotonic() > self.looked + LOOK_S:
                self._changed(self.store.foreign())
                self.looked = time.monotonic()

    def leave(self, error: BaseException) -> None:
        """Let everything go. What is computed and not yet in the database is found in the labels' folders."""
        self.dispatcher.close(wait=False)
        words = "Interrupted. Run again, the campaign goes on where it was."
        if not isinstance(error, KeyboardInterrupt):
            words = f"{type(error).__name__}: {error}"
        with suppress(BadStore, OSError):
            Progress(0, words, time.time()).write(self.plan.folder)
            if not isinstance(error, StoreUnreachable):  # who waited for it once waits no longer
                self.store.leave()

    def _choose(self) -> None:
        """Choose what this stage has to choose, unless an earlier process did."""
        while self.stages and self.verdict is None and len(self.ledger) < len(self.stages) + AHEAD:
            n, batch, budget = self.plan.batch, len(self.ledger), self.plan.stop.budget
            if budget is not None:
                n = min(n, budget - self.ledger.n_requests)
            if n <= 0:
                return
            assert self.surrogate is not None
            wanted = next_batch(self.plan, self.ledger, self.surrogate, self.stages[-1], n)
            labels = self._request(batch, wanted)
            self.ledger.add(labels)
            self._begin(label for label in labels if label.status == "waiting")

    def _request(self, batch: int, wanted: Sequence[tuple[Floats, dict[str, Any]]]) -> list[Label]:
        plan, requests = self.plan, []
        for number, (cell, fields) in enumerate(wanted, self.ledger.n_requests if batch else 0):
            atoms = plan.crystal.atoms(cell)
            about = {"batch": batch, "plan": plan.parts, **fields}
            requests.append(Request(plan.calculation.key(atoms), atoms, number, about))
        return self.store.request(requests)

    def _begin(self, labels: Iterable[Label]) -> None:
        """Have labels computed, those that are for this campaign to compute and were not tried too often."""
        plan, jobs = self.plan, []
        for label in labels:
            key, atoms = label.request.key, label.request.atoms
            if not label.ours:
                self._happened(f"{key} is computed by another campaign, and waited for.")
            elif label.attempts >= plan.attempts:
                self._happened(f"{key} failed for good: {label.errors[-1]}")
                self.ledger.update(self.store.give_up(key))
            else:
                folder = plan.folder.resolve() / LABELS
                jobs.append(Job(key, atoms, plan.calculation, folder, plan.own_process, plan.timeout_s))
        self.dispatcher.submit(jobs)

    def _changed(self, labels: Sequence[Label]) -> None:
        """Take note of labels that are done, failed, or to be tried again."""
        for label in labels:
            key = label.request.key
            if label.status == "waiting" and label.attempts > self.ledger[key].attempts:
                attempt = f"attempt {label.attempts} of {self.plan.attempts}"
                self._happened(f"{key} failed, {attempt}: {label.errors[-1]}")
            self.ledger.update(label)
        self._begin(label for label in labels if label.status == "waiting")

    def _learn(self) -> None:
        surrogate, stage = next_stage(self.plan, self.ledger, self.box, self.surrogate, self.stages)
        self.stages.append(stage)
        self.surrogate = record.save(self.plan, surrogate, self.stages)
        self.verdict = verdict(self.plan, self.ledger, self.stages)
        said = f"Stage {stage.stage}: {stage.labels} labels, σ {1e3 * stage.rms_uncertainty:.3g} meV."
        self._happened(f"{said} {self.verdict[1]}" if self.verdict else said)

    def _result(self) -> Result:
        assert self.surrogate is not None
        assert self.verdict is not None
        latest = self.stages[-1]
        return Result(self.surrogate, tuple(self.stages), *self.verdict, latest.labels, latest.failed)

    def _happened(self, event: str) -> None:
        logger.info("%s: %s", self.plan.name, event)
        self.event, self.told = event, 0.0
        self._tell()

    def _tell(self) -> None:
        """Say how far the campaign is, not too often."""
        if time.monotonic() < self.told + TELL_S:
            return
        self.told = time.monotonic()
        progress = Progress(self.dispatcher.running, self.event, time.time())
        progress.write(self.plan.folder)
        if self.watch is not None:
            self.watch(status_of(self.plan, self.ledger.counts, self.stages, self.verdict, progress, alive=True))


@contextmanager
def _heartbeat(store: Store) -> Iterator[None]:
    """Let other campaigns know that this one is alive, also while a model is trained."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(STALE_S / 4):
            with suppress(StoreUnreachable, BadStore):  # the campaign itself finds out
                store.beat()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=1.0)
