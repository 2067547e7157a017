"""ASE's SQL databases, with what they lack to be the state of a campaign: many changes in one transaction.

All that is private to ASE is used here: `_convert_tuple_to_row`, so that one query reads many rows, and
`_get_external_table_names`, with which ASE asks the database once more for each of them.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ase.db.row import AtomsRow

from ase_dkl.errors import Refused

_OURS = (
    # No two rows have the same key.
    "CREATE UNIQUE INDEX label_key_index ON text_key_values(value) WHERE key='label_key'",
    # ASE rewrites a row's entries in these tables whenever the row changes, and would search all of each for them.
    *(
        f"CREATE INDEX label_{table}_index ON {table}(id)"
        for table in ("species", "keys", "text_key_values", "number_key_values")
    ),
    # When those who compute labels were last alive.
    "CREATE TABLE label_owners (owner TEXT PRIMARY KEY, beat DOUBLE PRECISION)",
)

LOCK_S = 20
"""How long one attempt waits for the transactions of others."""


class BadStore(Refused, ValueError):
    """A database, or something in it, that a campaign cannot work with."""


class StoreUnreachable(Refused, OSError):
    """A database that cannot be read or written at present."""


class Passing(Exception):
    """A failure that may be over when the same is tried again."""


@dataclass(eq=False)
class Row:
    """A row that may be changed and saved.

    Attributes:
        ase_row: ASE's, with the structure, its results, and an id once it is saved.
        pairs: key-value pairs.
        data: "requests", by campaign, "errors", and what others put there.
    """

    ase_row: AtomsRow
    pairs: dict[str, Any]
    data: dict[str, Any]


class OneTransaction(ABC):
    """What ASE's SQL databases need to do many things in one transaction.

    Attributes:
        clock: the time in unix seconds as an SQL expression, by the clock that all who share the database see.
    """

    name: str
    connection: Any
    clock: str
    change_count = 0
    _among: str

    @contextmanager
    def managed_connection(self, commit_frequency: int = sys.maxsize) -> Iterator[Any]:
        """Let ASE use our connection; its own default commits half-way."""
        with super().managed_connection(commit_frequency) as connection:  # type: ignore[misc]
            yield connection

    def prepare(self) -> None:
        """Add ASE's tables to a new database, and what is ours to any."""
        self.begin(exclusive=True, create=True)
        self.initialize()
        self.commit()
        self.begin(exclusive=True)
        if "label_owners" not in self._tables():
            cursor = self.connection.cursor()
            for statement in _OURS:
                cursor.execute(statement)
        self.commit()

    def initialize(self) -> None:
        """Find out ASE's version of the tables, and make them where there are none."""
        try:
            with self.managed_connection():
                pass
        except (OSError, AssertionError) as error:
            raise BadStore(f"{self.name} is of another version of ASE's databases: {error}") from error

    def rows(self, keys: Sequence[str] | None = None) -> list[Row]:
        """Rows with these keys, or all that have a key."""
        if keys is not None and not keys:
            return []
        among, values = ("", []) if keys is None else (f" AND {self._among}", [self._listed(keys)])
        cursor = self.connection.cursor()
        cursor.execute(
            f"SELECT * FROM systems WHERE id IN (SELECT id FROM text_key_values WHERE key='label_key'{among})", values
        )
        return [self._row(values) for values in cursor.fetchall()]

    def save(self, row: Row) -> None:
        """Write a row as it is now, in place of what was there."""
        row.ase_row.id = self.write(row.ase_row, row.pairs, row.data, row.ase_row.get("id"))

    @abstractmethod
    def begin(self, exclusive: bool, create: bool = False) -> bool:
        """Begin a transaction, alone where `exclusive`, as whatever writes has to be; False where nothing is there."""

    @abstractmethod
    def commit(self) -> None:
        """Make what was done last."""

    @abstractmethod
    def abandon(self) -> None:
        """Undo what was done since the beginning, and close the connection."""

    def there(self) -> bool:
        """Whether ASE's tables are there; they may have yet to be made."""
        return "systems" in self._tables()

    @abstractmethod
    def _tables(self) -> set[str]: ...

    @abstractmethod
    def translated(self, error: BaseException) -> Exception | None:
        """A driver's error in words; None where it is none of the driver's."""

    def _row(self, values: Sequence[Any]) -> Row:
        try:
            row: AtomsRow = self._convert_tuple_to_row(tuple(values))
            data = row.data
            return Row(row, row.key_value_pairs, {"requests": data["requests"], "errors": data["errors"], **data})
        except Exception as error:
            problem = f"Row {values[0]} of {self.name} is damaged ({type(error).__name__}: {error})."
            raise BadStore(f"{problem} Bring back a copy of the database from before.") from error

    def _listed(self, keys: Sequence[str]) -> Any:
        return list(keys)

    def _get_external_table_names(self, db_con: Any = None) -> list[str]:
        """ASE asks for every row; what others keep in such tables is neither read nor written."""
        del db_con
        return []

    # ASE's own, whose class comes after this one.
    _convert_tuple_to_row: Any
    write: Any
