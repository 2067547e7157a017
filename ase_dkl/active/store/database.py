"""ASE databases, with what they lack to be the state of a campaign: many changes in one transaction, and words."""

import json
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ase.db.row import AtomsRow
from ase.db.sqlite import SQLite3Database

from ase_dkl.addresses import check_server, display_name, is_server
from ase_dkl.errors import Refused

LOCK_S = 20
"""How long one attempt waits for the transactions of others."""
POLL_S = 0.003

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

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_UNWRITABLE = {
    sqlite3.SQLITE_FULL: "its disk is full. Make room",
    sqlite3.SQLITE_READONLY: "it, or its directory, may not be written by this user. Change its permissions",
    sqlite3.SQLITE_CANTOPEN: "it, or the journal beside it, cannot be opened. See that file and directory are there, "
    "and may be written",
    sqlite3.SQLITE_IOERR: "its disk does not do what it is told. See whether it is full, over a quota or broken",
}


class BadStore(Refused, ValueError):
    """A database, or something in it, that a campaign cannot work with."""


class StoreUnreachable(Refused, OSError):
    """A database that cannot be read or written at present."""


class Passing(Exception):
    """A failure that may be over when the same is tried again."""


class OneTransaction(ABC):
    """What ASE's SQL databases need to do many things in one transaction.

    Attributes:
        clock: the time in unix seconds as an SQL expression, by the clock that all who share the database see.
    """

    name: str
    connection: Any
    clock: str
    _among: str

    @contextmanager
    def managed_connection(self, commit_frequency: int = 0) -> Iterator[Any]:
        """ASE's own opens a connection for each query, or commits half-way."""
        del commit_frequency
        yield self.connection

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
            self._initialize(self.connection)
        except (OSError, AssertionError) as error:
            raise BadStore(f"{self.name} is of another version of ASE's databases: {error}") from error

    def rows(self, keys: Sequence[str] | None = None) -> list[AtomsRow]:
        """Rows with these keys, or all that have a key."""
        if keys is not None and not keys:
            return []
        among, values = ("", []) if keys is None else (f" AND {self._among}", [self._listed(keys)])
        cursor = self.connection.cursor()
        cursor.execute(
            f"SELECT * FROM systems WHERE id IN (SELECT id FROM text_key_values WHERE key='label_key'{among})", values
        )
        return [self._row(values) for values in cursor.fetchall()]

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

    def _row(self, values: Sequence[Any]) -> AtomsRow:
        try:
            row: AtomsRow = self._convert_tuple_to_row(tuple(values))
            row._data = {"requests": row.data["requests"], "errors": row.data["errors"], **row.data}
        except Exception as error:
            problem = f"Row {values[0]} of {self.name} is damaged ({type(error).__name__}: {error})."
            raise BadStore(f"{problem} Bring back a copy of the database from before.") from error
        return row

    def _listed(self, keys: Sequence[str]) -> Any:
        return list(keys)

    def _get_external_table_names(self, db_con: Any = None) -> list[str]:
        """ASE asks for every row; what others keep in such tables is neither read nor written."""
        del db_con
        return []

    # ASE's own, whose class comes after this one.
    _initialize: Any
    _convert_tuple_to_row: Any
    _write: Any
    _update: Any


class FileDatabase(OneTransaction, SQLite3Database):
    """An SQLite file. Its connection lives for one transaction, so that a file in another's place is noticed."""

    clock = "((julianday('now') - 2440587.5) * 86400.0)"
    _among = "value IN (SELECT value FROM json_each(?))"

    def __init__(self, address: str) -> None:
        path = Path(address).expanduser().absolute()
        self.name = display_name(address)
        if path.suffix != ".db":
            problem = f"{self.name} is no address of a database for a campaign."
            raise BadStore(f"{problem} Name an SQLite file that ends in .db, or a server: postgresql://host/name")
        if not path.parent.is_dir():
            raise BadStore(
                f"{self.name} cannot be made: there is no directory {display_name(str(path.parent))}. Make it first."
            )
        if path.is_dir():
            raise BadStore(f"{self.name} is a directory. Name a file.")
        self._path = path
        super().__init__(str(path), use_lock_file=False)

    def begin(self, exclusive: bool, create: bool = False) -> bool:
        """Open the file, and reserve it where the transaction is exclusive."""
        if not exclusive and not self._path.exists():
            return False
        address = f"{self._path.as_uri()}?mode={'rwc' if create else 'rw'}"
        self.connection = sqlite3.connect(address, uri=True, timeout=0, isolation_level=None)
        deadline = time.monotonic() + LOCK_S
        # SQLite's own way of waiting looks ten times a second, which is seldom beside transactions of milliseconds.
        while not self._begun("BEGIN IMMEDIATE" if exclusive else "BEGIN", time.monotonic() > deadline):
            time.sleep(POLL_S)
        self.connection.execute(f"PRAGMA busy_timeout={1000 * LOCK_S:.0f}")
        return True

    def _begun(self, statement: str, last: bool) -> bool:
        try:
            self.connection.execute(statement)
        except sqlite3.OperationalError as error:
            if last or error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            return False
        return True

    def commit(self) -> None:
        """Write the changes and close the file."""
        self.connection.commit()
        self.abandon()

    def abandon(self) -> None:
        """Close the file, which undoes what was not committed."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def translated(self, error: BaseException) -> Exception | None:
        """SQLite's errors in words: only a lock passes by itself."""
        if not isinstance(error, sqlite3.Error):
            return None
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _BUSY:
            return Passing(f"is locked: another program has been writing for {LOCK_S} s ({error}).")
        if code in _UNWRITABLE:
            problem = f"{self.name} cannot be read or written: {_UNWRITABLE[code]}, and start again"
            return StoreUnreachable(f"{problem}; what was done before is safe ({error}).")
        if code in _DAMAGED:
            problem = f"{self.name} is no SQLite file, or a damaged one ({error})."
            return BadStore(f"{problem} Bring back a copy from before, or try: sqlite3 {self.name} .recover")
        if code == sqlite3.SQLITE_CONSTRAINT:
            problem = f"{self.name} holds two rows with the same label_key, as when databases were merged ({error})."
            return BadStore(f"{problem} Delete one of the two with ase db.")
        return BadStore(f"{self.name} cannot be used ({type(error).__name__}: {error}).")

    def _tables(self) -> set[str]:
        tables = {name for (name,) in self.connection.execute("SELECT name FROM sqlite_master WHERE type='table'")}
        if tables and "systems" not in tables:
            raise BadStore(f"{self.name} is an SQLite file of something else than ASE. Name another one.")
        return tables

    def _listed(self, keys: Sequence[str]) -> str:
        return json.dumps(list(keys))


def open_database(address: str) -> OneTransaction:
    """The database at an address, as `ase.db.connect` understands it, less what cannot hold a campaign's state.

    Raises:
        BadStore: no address of an SQLite file or of a PostgreSQL server.
    """
    if not is_server(address):
        return FileDatabase(address)
    try:
        check_server(address)
    except ValueError as error:
        raise BadStore(str(error)) from None
    if address.startswith(("mysql:", "mariadb:")):
        problem = f"{display_name(address)} cannot hold the state of a campaign."
        raise BadStore(f"{problem} Name an SQLite file that ends in .db, or a server: postgresql://host/name")
    try:
        from ase_dkl.active.store.server import ServerDatabase
    except ImportError as error:
        problem = f"{display_name(address)} cannot be opened: {error}."
        raise BadStore(f"{problem} Install the driver: pip install 'ase-dkl[postgresql]'") from error
    return ServerDatabase(address)
