"""A database that labelled structures are added to, each once, by a script that may be killed at any time."""

from __future__ import annotations

import fcntl
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculatorError
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Floats = NDArray[np.float64]
Labeller = Callable[[Atoms], Atoms]
"""Returns a copy with its results, or raises a CalculatorError."""


class Job(NamedTuple):
    """A structure to be labelled, and the keys that name its row: `set`, `index` and whatever else is known of it."""

    keys: dict[str, Any]
    atoms: Atoms


class Rows:
    """Labelled structures in sets, each in the order of its index."""

    def __init__(self, path: Path) -> None:
        # ASE's own lock file would outlive a killed run, and the next one would wait for ever.
        self.database = connect(path, use_lock_file=False)

    def has(self, **keys: Any) -> bool:
        """Whether there is a row with these keys."""
        return int(self.database.count(**keys)) > 0

    def read(self, name: str) -> list[Atoms]:
        """Rows of a set in the order of their index, their keys in `info`."""
        rows = sorted(self.database.select(set=name), key=lambda row: int(row.index))
        return [row.toatoms(add_additional_information=True) for row in rows]

    def ship(self, path: Path, title: str, without: Iterable[str], numbers: Mapping[str, Any]) -> None:
        """Write a packed copy, some sets left out, with what was found from all rows as the database's metadata."""
        path.unlink(missing_ok=True)
        left_out = set(without)
        with connect(path, use_lock_file=False) as copy:
            for row in self.database.select(sort="id"):
                if row.set not in left_out:
                    copy.write(row.toatoms(), **row.key_value_pairs)
        copy.metadata = {"title": title, **numbers}
        with closing(sqlite3.connect(path)) as file:
            file.execute("VACUUM")


class Growing(Rows):
    """Rows that a script adds to. SQLite writes each whole or not at all; a second script on a file is refused.

    A context: at its end the file is anybody's.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], label: Labeller) -> None:
        """Open or make a database.

        Args:
            path: the database.
            settings: written into every row.
            label: computes a structure.
        """
        self._lock = path.with_suffix(".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise SystemExit(f"Another run is at work on {path}. Wait for it, or name another file.") from None
        super().__init__(path)
        self._settings = dict(settings)
        self._label = label

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        self._lock.close()

    def add(self, jobs: Iterable[Job]) -> None:
        """Label what is not there yet. What does not converge is said, is not written, and is tried by the next run."""
        jobs = list(jobs)
        missing = [job for job in jobs if not self.has(set=job.keys["set"], index=job.keys["index"])]
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
            for name in dict.fromkeys(str(job.keys["set"]) for job in missing):
                here = [job for job in missing if job.keys["set"] == name]
                total = sum(job.keys["set"] == name for job in jobs)
                bar = progress.add_task(name, total=total, completed=total - len(here))
                started = time.monotonic()
                for done, job in enumerate(here, start=1):
                    said = self._added(job)
                    progress.advance(bar)
                    left = (time.monotonic() - started) / done * (len(here) - done) / 60
                    where = f"{name} {total - len(here) + done}/{total}"
                    progress.console.print(f"{where}: {said}; {left:.0f} min left", highlight=False)

    def _added(self, job: Job) -> str:
        started = time.monotonic()
        try:
            labelled = self._label(job.atoms)
        except CalculatorError as problem:
            return f"index {job.keys['index']} is left out, for it did not converge ({problem})"
        seconds = time.monotonic() - started
        self.write(labelled, job.keys | {"seconds": round(seconds, 1)})
        return f"{labelled.get_potential_energy():.5f} eV in {seconds:.0f} s"

    def write(self, labelled: Atoms, keys: Mapping[str, Any]) -> None:
        self.database.write(labelled, **dict(keys), **self._settings)


def frozen(atoms: Atoms, **results: Any) -> Atoms:
    """A copy with results, without the calculator that they are from."""
    copy: Atoms = atoms.copy()
    copy.calc = SinglePointCalculator(copy, **results)
    return copy
