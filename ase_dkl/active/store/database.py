"""SQLite files as databases of campaigns, and which database an address means."""

import json
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

from ase.db.sqlite import SQLite3Database

from ase_dkl.active.store.adapter import LOCK_S, BadStore, OneTransaction, Passing, StoreUnreachable
from ase_dkl.addresses import check_server, display_name, is_server

POLL_S = 0.003

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_UNWRITABLE = {
    sqlite3.SQLITE_FULL: "its disk is full. Make room",
    sqlite3.SQLITE_READONLY: "it, or its directory, may not be written by this user. Change its permissions",
    sqlite3.SQLITE_CANTOPEN: "it, or the journal beside it, cannot be opened. See that file and directory are there, "
    "and may be written",
    sqlite3.SQLITE_IOERR: "its disk does not do what it is told. See whether it is full, over a quota or broken",
}


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
        super().__init__(str(path), use_lock_file=False, serial=True)

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
