"""ASE's database on a PostgreSQL server."""

from typing import Any

import psycopg2
from ase_db_backends.postgresql import Connection, PostgreSQLDatabase
from psycopg2.extensions import parse_dsn

from ase_dkl.active.store.adapter import LOCK_S, BadStore, OneTransaction, Passing, StoreUnreachable
from ase_dkl.addresses import display_name

LOCK = 0x61736564_6B6C
"""The number of the advisory lock: "asedkl"."""

NOTICED = {"connect_timeout": 10, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
"""A server that vanishes without a word is noticed within a minute."""


class ServerDatabase(OneTransaction, PostgreSQLDatabase):  # type: ignore[misc]
    """A PostgreSQL database, whose connection is kept until it breaks."""

    clock = "extract(epoch from clock_timestamp())"
    _among = "value = ANY(?)"

    def __init__(self, address: str) -> None:
        self.name = display_name(address)
        self._settings = {**NOTICED, "tcp_user_timeout": 60_000, **parse_dsn(address)}
        super().__init__(address, serial=True)

    def begin(self, exclusive: bool, create: bool = False) -> bool:
        """Connect where the connection is broken, and take the lock where the transaction is exclusive."""
        del create
        if self.connection is None:
            self.connection = Connection(psycopg2.connect(**self._settings))
        if exclusive:
            # Who stops in the middle without dying lets go of the lock after a while.
            self.connection.cursor().execute(
                f"SET LOCAL lock_timeout = '{LOCK_S}s'; "
                f"SET LOCAL idle_in_transaction_session_timeout = '{3 * LOCK_S}s'; "
                f"SELECT pg_advisory_xact_lock({LOCK})"
            )
        return True

    def commit(self) -> None:
        """Write the changes."""
        self.connection.commit()

    def abandon(self) -> None:
        """Close the connection, which undoes what was not committed."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def translated(self, error: BaseException) -> Exception | None:
        """PostgreSQL's errors in words: servers come back, as do locks; rights do not."""
        if not isinstance(error, psycopg2.Error):
            return None
        said = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError):
            return Passing(f"does not answer ({said}).")
        if isinstance(error, psycopg2.errors.InsufficientPrivilege | psycopg2.errors.ReadOnlySqlTransaction):
            problem = f"{self.name} may not be written by this user"
            return StoreUnreachable(f"{problem}: grant the right to, and start again ({said}).")
        if isinstance(error, psycopg2.errors.UniqueViolation):
            problem = f"{self.name} holds two rows with the same label_key, as when databases were merged ({said})."
            return BadStore(f"{problem} Delete one of the two with ase db.")
        return BadStore(f"{self.name} cannot be used ({type(error).__name__}: {said}).")

    def get_last_id(self, cur: Any) -> int:
        """ASE's own answers the id of whoever wrote last."""
        cur.execute("SELECT currval('systems_id_seq')")
        return int(cur.fetchone()[0])

    def _tables(self) -> set[str]:
        cursor = self.connection.cursor()
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = ANY(current_schemas(false))")
        return {name for (name,) in cursor.fetchall()}
