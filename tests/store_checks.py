"""What is true of every database that a store wrote, whatever happened meanwhile."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ase.db
import numpy as np
from store_writer import ATTEMPTS, BATCH, run


class Writers:
    """Processes that write labels, forked from one that has everything imported."""

    def __init__(self, process: "subprocess.Popen[str]", computed: Path) -> None:
        self._process, self.computed = process, computed

    def begin(self, address: str, campaign: str = "a", n: int = 10**6) -> int:
        """Begin a run, and tell the number of its process."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{address} {campaign} {n} {self.computed}\n")
        self._process.stdin.flush()
        return int(self._line())

    def end(self) -> str:
        """Wait for the end of the run: its status as of `waitpid`, and before it an error if there was one."""
        lines = [self._line()]
        while not lines[-1].isdigit():
            lines.append(self._line())
        return "".join(lines)

    def killed_after(self, seconds: float, address: str, n: int = 10**6) -> bool:
        """Kill a run after some time, and tell whether it had not ended by itself before."""
        process = self.begin(address, n=n)
        time.sleep(seconds)
        os.kill(process, signal.SIGKILL)
        return int(self.end()) == signal.SIGKILL

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@contextmanager
def writers(folder: Path) -> Iterator[Writers]:
    """One process that forks runs, in a folder for what they compute."""
    command = [sys.executable, str(Path(__file__).with_name("store_writer.py"))]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield Writers(process, folder / "computed")
        process.stdin.close()


def picture(address: str) -> dict[str, Any]:
    """What the labels of a database are, after a check that each is whole."""
    found: dict[str, Any] = {}
    with ase.db.connect(address) as database:
        rows = list(database.select("label_key"))
    for row in rows:
        errors = [error["error"] for error in row.data["errors"]]
        status, attempts = row.label_status, row.label_attempts
        results = [row.get(name) for name in ("energy", "free_energy", "forces", "stress", "calculator")]
        if status == "done":
            assert all(result is not None for result in results)
            assert row.calculator_parameters == {"xc": "PBE"}
            assert attempts == len(errors) + 1
        else:
            assert results == [None] * 5
            assert attempts == len(errors)
            assert status == "waiting" or attempts == ATTEMPTS
        assert row.label_key not in found
        flat = [np.asarray(result).tolist() for result in results]
        found[row.label_key] = (status, attempts, errors, row.cell.tolist(), row.data["requests"], *flat)
    assert len(found) % BATCH == 0
    return found


def finish_and_compare(address: str, folder: Path) -> None:
    """Finish what is open, and compare it with what comes of it when nothing happens."""
    n = len(picture(address))
    run(address, "a", n, folder / "computed")
    undisturbed = str(folder / "undisturbed.db")
    run(undisturbed, "a", n, folder / "computed")
    assert picture(address) == picture(undisturbed)
