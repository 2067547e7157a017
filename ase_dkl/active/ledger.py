"""A campaign's requests by batch, and what became of them: the database's rows as the campaign sees them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from ase import Atoms

from ase_dkl.active.plan import BadCampaign, Plan
from ase_dkl.active.stopping import Stage
from ase_dkl.active.store import Label
from ase_dkl.arrays import Floats


class Ledger:
    """A campaign's requests. A batch is settled when each of its labels is there or given up.

    Args:
        plan: the campaign.
        labels: all that the database has of it.

    Raises:
        BadCampaign: they were requested under another plan, or some are gone.
    """

    def __init__(self, plan: Plan, labels: Sequence[Label]) -> None:
        self._plan = plan
        self._labels: dict[str, Label] = {}
        self._batches: list[list[str]] = []
        self._open: list[set[str]] = []
        self.counts = {"waiting": 0, "done": 0, "failed": 0}
        _check(plan, labels)
        self.add(labels)

    def __len__(self) -> int:
        """Number of batches."""
        return len(self._batches)

    def __getitem__(self, key: str) -> Label:
        return self._labels[key]

    @property
    def n_requests(self) -> int:
        """Number of labels requested."""
        return len(self._labels)

    def supported(self, stages: Sequence[Stage]) -> list[Stage]:
        """The stages on record as far as they were made of what these labels are now.

        Those are left out that follow a failed label which is tried again.

        Raises:
            BadCampaign: they were made of others.
        """
        usable = 0
        for place, stage in enumerate(stages):
            batch = self.batch(place) if place < len(self) else []
            usable += sum(label.atoms is not None for label in batch)
            if usable < stage.labels:
                raise BadCampaign(
                    f"{self._plan.folder} holds a model of {stages[-1].labels} labels of the campaign "
                    f"{self._plan.name}, and its database {self._plan.database_shown} has not all of them. Name the "
                    "database that belongs to it; or, to begin again with what this one has, another folder."
                )
            if usable > stage.labels or not self.settled(place):
                return list(stages[:place])
        return list(stages)

    def complete(self, batch: int) -> bool:
        """Whether no later request had been made when a batch was settled: nothing was in work any more."""
        return batch > 0 and (len(self) == batch + 1 or self.batch(batch + 1)[0].request.fields.get("stage") == batch)

    def add(self, labels: Iterable[Label]) -> None:
        """Take requests up, in the order of their numbers."""
        for label in labels:
            batch = label.request.fields["batch"]
            if batch == len(self._batches):
                self._batches.append([])
                self._open.append(set())
            key = label.request.key
            self._batches[batch].append(key)
            self._labels[key] = label
            self.counts[label.status] += 1
            if label.status == "waiting":
                self._open[batch].add(key)

    def update(self, label: Label) -> None:
        """Take a label's new state."""
        key, before = label.request.key, self._labels[label.request.key]
        self._labels[key] = replace(label, request=before.request)
        self.counts[before.status] -= 1
        self.counts[label.status] += 1
        if label.status != "waiting":
            self._open[before.request.fields["batch"]].discard(key)

    def settled(self, batch: int) -> bool:
        """Whether nothing of a batch is still to come."""
        return not self._open[batch]

    def open(self) -> list[Label]:
        """Labels still to come, in the order of their numbers."""
        waiting = [key for batch, open_ in zip(self._batches, self._open, strict=True) if open_ for key in batch]
        return [label for key in waiting if (label := self._labels[key]).status == "waiting"]

    def batch(self, batch: int) -> list[Label]:
        """The labels of a batch, in the order of their numbers."""
        return [self._labels[key] for key in self._batches[batch]]

    def usable(self, batches: int) -> list[Atoms]:
        """Labelled structures of the first so many batches."""
        return [label.atoms for batch in range(batches) for label in self.batch(batch) if label.atoms is not None]

    def pending(self, stage: int) -> Floats:
        """Lattices requested that a stage knows no label of, whether there is one by now or not, (p, 3, 3), Å."""
        keys = [key for batch in self._batches[stage + 1 :] for key in batch]
        return np.array([self._labels[key].request.atoms.cell.array for key in keys]).reshape(-1, 3, 3)

    def last_error(self, batch: int) -> str:
        """What the last label up to a batch that was given up said."""
        for number in range(batch, -1, -1):
            for label in reversed(self.batch(number)):
                if label.status == "failed" and label.errors:
                    return label.errors[-1]
        return "nothing was said"


def _check(plan: Plan, labels: Sequence[Label]) -> None:
    begun = any(label.request.fields["batch"] for label in labels)
    for place, label in enumerate(labels):
        request = label.request
        if begun and request.number != place:
            raise BadCampaign(
                f"Request {place} of the campaign {plan.name} is gone from {plan.database_shown}, and later ones are "
                "there. Its decisions cannot be repeated: give the campaign another name. Labels that are there "
                "already are found again, and not computed twice."
            )
        changed = [name for name, digest in plan.parts.items() if request.fields["plan"].get(name) != digest]
        if changed:
            raise BadCampaign(
                f"The campaign {plan.name} in {plan.database_shown} was begun with another "
                f"{' and another '.join(changed)}. Put that back, or give the campaign another name (and folder): "
                "labels that are there already are found again, and not computed twice. What may change on the way "
                "are tolerances, budget, attempts, timeout and executor."
            )
