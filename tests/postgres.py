"""A real PostgreSQL server, which tests may kill."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import psycopg2

PATIENCE_S = 60


class Server:
    """A server of its own on a socket of its own; the superuser's tests run it as nobody, as it insists.

    Args:
        binaries: where initdb and postgres are.
        folder: where its data go, of whoever runs it.
    """

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries, self.folder = binaries, folder
        self._runs: dict[str, Any] = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        if os.getuid() == 0:
            self._runs |= {"user": "nobody", "group": "nogroup", "extra_groups": []}
            shutil.chown(folder, "nobody", "nogroup")
        folder.chmod(0o755)
        initdb = [str(binaries / "initdb"), "--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8"]
        subprocess.run([*initdb, "--locale=C", "data"], check=True, **self._runs)
        self._databases = 0
        self.start()

    def start(self) -> None:
        """Start, and wait until it answers; what a killed one leaves behind may take a moment to go."""
        deadline = time.monotonic() + PATIENCE_S
        command = [f"{self._binaries}/postgres", "-F", "-D", "data", "-k", str(self.folder), "-c", "listen_addresses="]
        self._process = subprocess.Popen(command, **self._runs)
        while True:
            if self._process.poll() is not None:
                self._process = subprocess.Popen(command, **self._runs)
            try:
                psycopg2.connect(self.address("postgres")).close()
                return
            except psycopg2.OperationalError:
                assert time.monotonic() < deadline, "PostgreSQL does not start."
                time.sleep(0.05)

    def kill(self) -> None:
        """kill -9, also of what serves connections: that may outlive the server by a transaction."""
        serving = psutil.Process(self._process.pid).children()
        self._process.kill()
        for process in serving:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(serving)
        self._process.wait()

    def stop(self) -> None:
        """Stop at once."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait()

    def address(self, database: str) -> str:
        """The address of one of its databases."""
        return f"postgresql://postgres@/{database}?host={quote(str(self.folder))}"

    def new_database(self) -> str:
        """The address of an empty database."""
        self._databases += 1
        name = f"test{self._databases}"
        self.execute("postgres", f"CREATE DATABASE {name}")
        return self.address(name)

    def execute(self, database: str, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement by itself."""
        connection = psycopg2.connect(self.address(database))
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(statement)
        rows = cursor.fetchall() if cursor.description else []
        connection.close()
        return list(rows)


@contextmanager
def running_server() -> Iterator[Server]:
    """A new server, of the PostgreSQL that is installed."""
    found = [Path(path).resolve() for path in [shutil.which("initdb")] if path]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    assert found, "There is no PostgreSQL server here; on Debian and Ubuntu: apt-get install postgresql."
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp") as folder:
        server = Server(found[0].parent, Path(folder))
        try:
            yield server
        finally:
            server.stop()
