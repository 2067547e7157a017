"""The state of campaigns: requests and their labels as rows of an ASE database.

A request is a row from the moment when it is decided on, with `label_key`, `label_status` ("waiting", "done" or
"failed"), `label_attempts`, `label_seconds` and `label_owner` among its key-value pairs. Its data hold `requests`, what
each campaign that wants this label says of it, and `errors`, of attempts that failed. Results are where ASE has them.
"""

import os
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar
from uuid import uuid4

import numpy as np
from ase import Atoms
from ase.db.core import convert_str_to_int_float_bool_or_str, now
from ase.db.row import AtomsRow

from ase_dkl.active.database import BadStore, Passing, StoreUnreachable, open_database
from ase_dkl.active.labelling import Outcome

STALE_S = 600.0
"""Who has not been heard of for so long computes nothing any more."""

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Request:
    """A label that a campaign wants.

    Attributes:
        key: of structure and calculator settings; no two rows have the same.
        atoms: what to compute.
        number: of the request in its campaign.
        fields: what else the campaign keeps of it; what JSON can hold.
    """

    key: str
    atoms: Atoms
    number: int
    fields: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Label:
    """A row, as one campaign sees it.

    Attributes:
        id: of the row.
        request: what was asked for; where this campaign asked twice, the first time.
        status: "waiting", "done" or "failed", which it is for good.
        attempts: how often it was computed, with or without success.
        errors: what was the matter with the attempts that failed.
        ours: whether it is for this campaign to compute, or was; False where it is for another one.
        atoms: with its results, once done.
    """

    id: int
    request: Request
    status: Literal["waiting", "done", "failed"]
    attempts: int
    errors: tuple[str, ...]
    ours: bool
    atoms: Atoms | None


class Store:
    """Requests and labels of one campaign, in a database that it may share with others.

    Every change is one transaction that is done whole or not at all, and that may be done twice without harm. Rows
    that are done or failed do not change again. Rows without a `label_key` are none of its business.

    Args:
        address: an SQLite file whose name ends in .db, made at the first request, or "postgresql://…".
        campaign: the name under which this campaign's requests are kept.
        owner: who computes: the same whenever this campaign is started again, and never two at a time.
        parameters: the calculator's, to be kept with each result.
        patience_s: how long to wait for a server that went away or a file that is locked, in seconds.

    Raises:
        BadStore: no ASE database, and nothing that could become one.
        StoreUnreachable: it cannot be opened.
    """

    def __init__(
        self,
        address: str,
        campaign: str,
        *,
        owner: str,
        parameters: Mapping[str, Any] | None = None,
        patience_s: float = 600.0,
    ) -> None:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", campaign):
            problem = f"A campaign cannot have the name {campaign!r}"
            raise BadStore(f"{problem}: begin with a letter, and go on with letters, digits, _ and -.")
        if not owner or convert_str_to_int_float_bool_or_str(owner) != owner:
            raise BadStore(f"{owner!r} cannot name who computes: ASE would take it for a number. Name a text.")
        self.campaign, self.owner, self.patience_s = campaign, owner, patience_s
        self._parameters = dict(parameters or {})
        self._database = open_database(address)
        self._turn = threading.RLock()
        self._prepared = False
        self._elsewhere: set[str] = set()
        self._reading(lambda: None, patience_s=0)

    def labels(self) -> list[Label]:
        """All requests of this campaign, by number."""
        rows = self._reading(self._database.rows) or []
        mine = [row for row in rows if self.campaign in row.data["requests"]]
        return sorted(map(self._label, mine), key=lambda label: label.request.number)

    def counts(self) -> dict[str, int]:
        """How many labels of this campaign are waiting, done and failed."""
        counts = {"waiting": 0, "done": 0, "failed": 0}
        for label in self.labels():
            counts[label.status] += 1
        return counts

    def request(self, requests: Sequence[Request]) -> list[Label]:
        """Add rows for labels that there is no row for yet, and this campaign's record to those that there are.

        Returns:
            What there is now of each request: a label that another campaign computed may be done already.
        """

        def work() -> list[AtomsRow]:
            rows = self._rows([request.key for request in requests])
            alive = self._alive()
            for request in requests:
                if request.key not in rows:
                    rows[request.key] = self._new(request)
                    continue
                row = rows[request.key]
                wanted = row._data["requests"]
                known = self.campaign in wanted
                if not known:
                    wanted[self.campaign] = _record(request)
                if self._taken_over(row, alive) or not known:
                    self._change(row)
            return [rows[request.key] for request in requests]

        return [self._label(row) for row in self._exclusively(work)]

    def finish(self, outcomes: Sequence[Outcome]) -> list[Label]:
        """Write results, and errors of attempts that failed, which leaves their rows waiting.

        Returns:
            The rows as they are now: who settled one before is not overruled.

        Raises:
            BadStore: a row is gone.
        """
        call = uuid4().hex

        def work() -> list[AtomsRow]:
            rows = self._rows([outcome.key for outcome in outcomes])
            for number, outcome in enumerate(outcomes):
                row = self._present(rows, outcome.key)
                attempt, attempts = f"{call}-{number}", row["label_attempts"] + 1
                if row["label_status"] != "waiting":
                    continue
                if outcome.good:
                    self._write_results(row, outcome, attempts)
                elif all(error["attempt"] != attempt for error in row._data["errors"]):
                    said = {"attempt": attempt, "error": _plain(outcome.error or ""), "seconds": outcome.seconds}
                    row._data["errors"].append(said)
                    self._change(row, label_attempts=attempts)
            return [rows[outcome.key] for outcome in outcomes]

        return [self._label(row) for row in self._exclusively(work)]

    def give_up(self, key: str) -> Label:
        """Let a label that failed too often be failed for good.

        Raises:
            BadStore: its row is gone.
        """

        def work() -> AtomsRow:
            row = self._present(self._rows([key]), key)
            if row["label_status"] == "waiting":
                self._change(row, label_status="failed")
            return row

        return self._label(self._exclusively(work))

    def foreign(self) -> list[Label]:
        """Look at what other campaigns compute of what this one wants, and take over what none of them does any more.

        Returns:
            What has changed since it was last seen: done, failed, or waiting and now for this campaign to compute.
        """

        def work() -> list[AtomsRow]:
            alive = self._alive()
            rows = self._database.rows(sorted(self._elsewhere))
            for row in rows:
                if self._taken_over(row, alive):
                    self._change(row)
            return rows

        seen = [self._label(row) for row in (self._exclusively(work) if self._elsewhere else [])]
        return [label for label in seen if label.status != "waiting" or label.ours]

    def beat(self) -> None:
        """Let others know that this campaign is alive; every change does so too. Due well within `STALE_S`."""
        self._exclusively(lambda: None)

    def leave(self) -> None:
        """Let others know that this campaign computes nothing any more: they need not wait for it."""
        self._exclusively(lambda: self._execute("DELETE FROM label_owners WHERE owner=?", [self.owner]))

    def _new(self, request: Request) -> AtomsRow:
        row = AtomsRow(request.atoms.copy())
        row["ctime"], row["user"] = now(), os.getenv("USER")
        row._data = {"requests": {self.campaign: _record(request)}, "errors": []}
        _set(row, label_key=request.key, label_status="waiting", label_attempts=0, label_owner=self.owner)
        row.id = self._database._write(row, row.key_value_pairs, row._data, None)
        return row

    def _change(self, row: AtomsRow, **pairs: str | float) -> None:
        _set(row, **pairs)
        self._database._update(row.id, row.key_value_pairs, row._data)

    def _write_results(self, row: AtomsRow, outcome: Outcome, attempts: int) -> None:
        _set(row, label_status="done", label_attempts=attempts, label_seconds=outcome.seconds)
        row["calculator"], row["calculator_parameters"] = outcome.calculator.lower(), self._parameters
        results = {name: getattr(outcome, name) for name in ("energy", "free_energy", "forces", "stress")}
        for name, value in results.items():
            if value is not None:
                row[name] = value if name.endswith("energy") else np.array(value, dtype=float)
        self._database._write(row, row.key_value_pairs, row._data, row.id)

    def _rows(self, keys: Sequence[str]) -> dict[str, AtomsRow]:
        return {row["label_key"]: row for row in self._database.rows(keys)}

    def _present(self, rows: Mapping[str, AtomsRow], key: str) -> AtomsRow:
        if key not in rows:
            problem = f"{self._database.name} has no row with label_key={key}: it was deleted meanwhile."
            raise BadStore(f"{problem} Bring back a copy of the database from before, or begin another campaign.")
        return rows[key]

    def _alive(self) -> set[str]:
        cursor = self._execute(f"SELECT owner FROM label_owners WHERE beat > {self._database.clock} - ?", [STALE_S])
        return {owner for (owner,) in cursor.fetchall()}

    def _taken_over(self, row: AtomsRow, alive: set[str]) -> bool:
        """Make a row whose owner is dead our own; the row has yet to be written."""
        if row["label_status"] != "waiting" or row["label_owner"] in alive:
            return False
        _set(row, label_owner=self.owner)
        return True

    def _label(self, row: AtomsRow) -> Label:
        atoms, record = row.toatoms(), row._data["requests"][self.campaign]
        key, status, ours = row["label_key"], row["label_status"], row["label_owner"] == self.owner
        (self._elsewhere.add if status == "waiting" and not ours else self._elsewhere.discard)(key)
        return Label(
            row.id,
            Request(key, atoms.copy(), record["number"], record["fields"]),
            status,
            row["label_attempts"],
            tuple(error["error"] for error in row._data["errors"]),
            ours,
            atoms if status == "done" else None,
        )

    def _execute(self, statement: str, values: Sequence[Any]) -> Any:
        cursor = self._database.connection.cursor()
        cursor.execute(statement, values)
        return cursor

    def _exclusively(self, work: Callable[[], T]) -> T:
        """Do all of `work` or nothing of it, while no other campaign writes."""
        heard = (
            f"INSERT INTO label_owners VALUES (?, {self._database.clock}) "
            "ON CONFLICT (owner) DO UPDATE SET beat=excluded.beat"
        )

        def once() -> T:
            if not self._prepared:
                self._database.prepare()
                self._prepared = True
            self._database.begin(exclusive=True)
            self._execute(heard, [self.owner])
            result = work()
            self._database.commit()
            return result

        return self._patiently(once, self.patience_s)

    def _reading(self, work: Callable[[], T], patience_s: float | None = None) -> T | None:
        """The answer of `work`, or None where there is no database yet."""

        def once() -> T | None:
            if not self._database.begin(exclusive=False):
                return None
            there = self._database.there()
            if there:
                self._database.initialize()
            result = work() if there else None
            self._database.commit()
            return result

        return self._patiently(once, self.patience_s if patience_s is None else patience_s)

    def _patiently(self, once: Callable[[], T], patience_s: float) -> T:
        """Do it again where the database went away, also if it may have been done: nothing is done twice."""
        deadline, pause = time.monotonic() + patience_s, 0.05
        while True:
            with self._turn:
                try:
                    return once()
                except BaseException as error:
                    self._database.abandon()
                    words = self._database.translated(error)
                    if words is None:
                        raise
                    if not isinstance(words, Passing):
                        raise words from error
                    if time.monotonic() + pause > deadline:
                        raise StoreUnreachable(f"{self._database.name} {words} Start again once it does.") from error
            time.sleep(pause)
            pause = min(2 * pause, 5.0)


def _record(request: Request) -> dict[str, Any]:
    return {"number": request.number, "fields": request.fields}


def _set(row: AtomsRow, **pairs: str | float) -> None:
    row.__dict__.update(pairs)
    row._keys = list(dict.fromkeys([*row._keys, *pairs]))


def _plain(text: str) -> str:
    """Without what PostgreSQL cannot keep in a text."""
    return text.replace("\0", "").encode(errors="replace").decode()
