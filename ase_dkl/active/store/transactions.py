"""Transactions that are done whole, through locks of others and servers that go away."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ase_dkl.active.store.adapter import OneTransaction, Passing, StoreUnreachable
from ase_dkl.active.store.database import open_database

OPENING_S = 10.0
"""Long enough for a server that is starting; who has mistyped an address does not want to wait longer to be told."""

R = TypeVar("R")
T = TypeVar("T")


class Transactions:
    """Transactions on a database, one after the other.

    Args:
        address: an SQLite file whose name ends in .db, made at the first write, or "postgresql://…".
        patience_s: how long to wait for a server that went away or a file that is locked, in seconds.

    Raises:
        BadStore: no ASE database, and nothing that could become one.
        StoreUnreachable: it cannot be opened.
    """

    def __init__(self, address: str, patience_s: float) -> None:
        self.database: OneTransaction = open_database(address)
        self.patience_s = patience_s
        self._turn = threading.RLock()
        self._prepared = False
        self._again(self._read, lambda: None, min(patience_s, OPENING_S))

    def exclusively(self, work: Callable[[], T]) -> T:
        """Do all of `work` or nothing of it, while no other program that does so writes.

        Args:
            work: what to do. It may be done again where it is not known whether it was done.
        """
        return self._again(self._write, work, self.patience_s)

    def reading(self, work: Callable[[], T]) -> T | None:
        """The answer of `work`, which reads at one instant; None where there is no database yet."""
        return self._again(self._read, work, self.patience_s)

    def execute(self, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Run one statement within the transaction."""
        cursor = self.database.connection.cursor()
        cursor.execute(statement, values)
        return list(cursor.fetchall()) if statement.startswith("SELECT") else []

    def _write(self, work: Callable[[], T]) -> T:
        if not self._prepared:
            self.database.prepare()
            self._prepared = True
        self.database.begin(exclusive=True)
        result = work()
        self.database.commit()
        return result

    def _read(self, work: Callable[[], T]) -> T | None:
        if not self.database.begin(exclusive=False):
            return None
        there = self.database.there()
        if there:
            self.database.initialize()
        result = work() if there else None
        self.database.commit()
        return result

    def _again(self, attempt: Callable[[Callable[[], T]], R], work: Callable[[], T], patience_s: float) -> R:
        deadline, pause = time.monotonic() + patience_s, 0.05
        while True:
            with self._turn:
                try:
                    return attempt(work)
                except BaseException as error:
                    self.database.abandon()
                    words = self.database.translated(error)
                    if words is None:
                        raise
                    if not isinstance(words, Passing):
                        raise words from error
                    if time.monotonic() + pause > deadline:
                        raise StoreUnreachable(f"{self.database.name} {words}") from error
            time.sleep(pause)
            pause = min(2 * pause, 2.0)
