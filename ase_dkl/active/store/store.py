"""The state of campaigns: requests and their labels as rows of an ASE database.

A request is a row from the moment when it is decided on, with `label_key`, `label_status` ("waiting", "done" or
"failed"), `label_attempts`, `label_seconds` and `label_owner` among its key-value pairs. Its data hold `requests`, what
each campaign that wants this label says of it, and `errors`, of attempts that failed. Results are where ASE has them.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from uuid import uuid4

from ase.db.core import convert_str_to_int_float_bool_or_str

from ase_dkl.active.labels.labelling import Outcome
from ase_dkl.active.store.adapter import BadStore, Row
from ase_dkl.active.store.rows import Label, Request, add_error, add_request, as_label, new_row, set_results
from ase_dkl.active.store.transactions import Transactions

STALE_S = 600.0
"""Who has not been heard of for so long computes nothing any more."""

T = TypeVar("T")


class Store:
    """Requests and labels of one campaign, in a database that it may share with others.

    Every change is one transaction that is done whole or not at all, and that may be done twice without harm. Rows that
    are done do not change again, those that failed only to be tried again. Rows without a `label_key` are none of its
    business.

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
        self.campaign, self.owner = campaign, owner
        self._parameters = dict(parameters or {})
        self._transactions = Transactions(address, patience_s)
        self._database = self._transactions.database
        self._elsewhere: set[str] = set()

    def labels(self) -> list[Label]:
        """All requests of this campaign, by number."""
        rows = self._transactions.reading(self._database.rows) or []
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

        def work() -> list[Row]:
            rows = self._rows([request.key for request in requests])
            alive = self._alive()
            for request in requests:
                if request.key not in rows:
                    row = rows[request.key] = new_row(request, self.campaign, self.owner)
                    self._database.save(row)
                    continue
                row = rows[request.key]
                asked = add_request(row, request, self.campaign)
                if self._taken_over(row, alive) or asked:
                    self._database.save(row)
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

        def work() -> list[Row]:
            rows = self._rows([outcome.key for outcome in outcomes])
            for number, outcome in enumerate(outcomes):
                row = self._present(rows, outcome.key)
                if row.pairs["label_status"] != "waiting":
                    continue
                if outcome.good:
                    set_results(row, outcome, self._parameters)
                elif not add_error(row, outcome, f"{call}-{number}"):
                    continue
                self._database.save(row)
            return [rows[outcome.key] for outcome in outcomes]

        return [self._label(row) for row in self._exclusively(work)]

    def give_up(self, key: str) -> Label:
        """Let a label that failed too often be failed for good.

        Raises:
            BadStore: its row is gone.
        """

        def work() -> Row:
            row = self._present(self._rows([key]), key)
            if row.pairs["label_status"] == "waiting":
                row.pairs["label_status"] = "failed"
                self._database.save(row)
            return row

        return self._label(self._exclusively(work))

    def retry(self) -> int:
        """Let this campaign's labels that failed for good wait again, as if they had never been tried; how many."""

        def work() -> int:
            failed = [row for row in self._database.rows() if row.pairs["label_status"] == "failed"]
            mine = [row for row in failed if self.campaign in row.data["requests"]]
            for row in mine:
                row.pairs |= {"label_status": "waiting", "label_attempts": 0, "label_owner": self.owner}
                self._database.save(row)
            return len(mine)

        return self._exclusively(work) if self.counts()["failed"] else 0

    def foreign(self) -> list[Label]:
        """Look at what other campaigns compute of what this one wants, and take over what none of them does any more.

        Returns:
            What has changed since it was last seen: done, failed, or waiting and now for this campaign to compute.
        """

        def work() -> list[Row]:
            alive, rows = self._alive(), self._rows(sorted(self._elsewhere))
            for key in self._elsewhere:
                if self._taken_over(self._present(rows, key), alive):
                    self._database.save(rows[key])
            return list(rows.values())

        seen = [self._label(row) for row in (self._exclusively(work) if self._elsewhere else [])]
        return [label for label in seen if label.status != "waiting" or label.ours]

    def beat(self) -> None:
        """Let others know that this campaign is alive; every change does so too. Due well within `STALE_S`."""
        self._exclusively(lambda: None)

    def leave(self) -> None:
        """Let others know that this campaign computes nothing any more: they need not wait for it."""
        self._exclusively(lambda: self._transactions.execute("DELETE FROM label_owners WHERE owner=?", [self.owner]))

    def _rows(self, keys: Sequence[str]) -> dict[str, Row]:
        return {row.pairs["label_key"]: row for row in self._database.rows(keys)}

    def _present(self, rows: Mapping[str, Row], key: str) -> Row:
        if key not in rows:
            problem = f"{self._database.name} has no row with label_key={key}: it was deleted meanwhile."
            raise BadStore(f"{problem} Bring back a copy of the database from before, or begin another campaign.")
        return rows[key]

    def _alive(self) -> set[str]:
        query = f"SELECT owner FROM label_owners WHERE beat > {self._database.clock} - ?"
        return {owner for (owner,) in self._transactions.execute(query, [STALE_S])}

    def _taken_over(self, row: Row, alive: set[str]) -> bool:
        """Make a row whose owner is dead our own; the row has yet to be written."""
        if row.pairs["label_status"] != "waiting" or row.pairs["label_owner"] in alive:
            return False
        row.pairs["label_owner"] = self.owner
        return True

    def _label(self, row: Row) -> Label:
        label = as_label(row, self.campaign, self.owner)
        (self._elsewhere.discard if label.ours or label.status != "waiting" else self._elsewhere.add)(label.request.key)
        return label

    def _exclusively(self, work: Callable[[], T]) -> T:
        """Do all of `work` or nothing of it, while no other campaign writes."""

        def heard() -> T:
            self._transactions.execute(
                f"INSERT INTO label_owners VALUES (?, {self._database.clock}) "
                "ON CONFLICT (owner) DO UPDATE SET beat=excluded.beat",
                [self.owner],
            )
            return work()

        return self._transactions.exclusively(heard)
