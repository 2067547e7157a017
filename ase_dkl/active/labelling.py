"""One label: energy and stress of one structure, computed once, whatever the calculator does."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import jsonio

from ase_dkl.active.calculation import BadCalculation, Calculation, importable, one_line
from ase_dkl.atomic import written_whole

_MARK = "ASE_DKL_LABEL"
"""Environment variable that everything started for a label carries, so that it can be found and ended."""

_GRACE_S = 5.0
"""Between asking a process to end and ending it: mpirun needs it to end its ranks."""

_OUTCOME, _JOB, _LOCK, _LOG = "outcome.json", "job.json", "lock", "label.log"


@dataclass(frozen=True, eq=False)
class Job:
    """What a worker needs to compute a label.

    Attributes:
        key: of `Calculation.key`.
        atoms: the structure.
        calculation: what to compute it with.
        folder: where each label has a folder, named as its key; None keeps nothing.
        own_process: compute in a process of its own, in the label's folder, so that a crash, a hang or lost memory
            stays there. False computes in the worker, for calculators of milliseconds.
        timeout_s: seconds after which that process is ended.

    Raises:
        BadCalculation: a process of its own without a folder, or a timeout without such a process.
    """

    key: str
    atoms: Atoms
    calculation: Calculation
    folder: Path | None = None
    own_process: bool = True
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w[\w-]*", self.key):
            raise BadCalculation(f"{self.key!r} names no folder. A key has letters, digits, - and _ only.")
        if self.own_process and self.folder is None:
            raise BadCalculation(
                "A label in a process of its own needs a folder for it. Give one, or own_process=False."
            )
        if self.timeout_s is not None and not self.own_process:
            raise BadCalculation(
                "A calculation inside the worker cannot be stopped after a time. Use own_process=True, or no timeout."
            )
        if self.timeout_s is not None and not 0 < self.timeout_s < float("inf"):
            raise BadCalculation(f"A timeout is a positive number of seconds, not {self.timeout_s}.")


@dataclass(frozen=True)
class Outcome:
    """What came of a job.

    Attributes:
        key: the job's.
        energy: eV, None where there is none.
        stress: eV/Å³, Voigt, None where the calculator has none.
        forces: eV/Å, one triple an atom, where the calculator computed them with the rest.
        seconds: that the calculation took.
        error: what went wrong, in a line or two; None where nothing did.
        calculator: the calculator's name.
        free_energy: eV, the energy that forces and stresses are derivatives of, where the calculator tells it.
    """

    key: str
    energy: float | None
    stress: tuple[float, ...] | None
    forces: tuple[tuple[float, ...], ...] | None
    seconds: float
    error: str | None
    calculator: str
    free_energy: float | None = None

    @property
    def good(self) -> bool:
        """Whether it is a label."""
        return self.error is None


def label(job: Job) -> Outcome:
    """Compute a label, or take it from its folder where it is already.

    Whatever the calculator does is told in the outcome. In a folder, no two processes compute one label at once: what a
    killed campaign left running is waited for, up to the timeout, and its result taken.

    Args:
        job: what to compute.
    """
    began = time.monotonic()
    try:
        if job.folder is None:
            return _computed(job.key, job.atoms, job.calculation, None)
        return _in_folder(job, (job.folder / job.key).resolve())
    except OSError as error:
        return _failed(job, one_line(error), time.monotonic() - began)


def end_labels() -> None:
    """End all labels that this process has in work in processes of their own, or waits for."""
    global _leaving  # noqa: PLW0603  labels of a later campaign have another
    _leaving.set()
    _leaving = threading.Event()
    for folder, process in list(_running.items()):
        _end(folder, process)


_running: dict[Path, int] = {}
_leaving = threading.Event()


def _in_folder(job: Job, folder: Path) -> Outcome:
    leaving = _leaving
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with (folder / _LOCK).open("a") as lock:
        if not _claimed(lock.fileno(), folder, job.timeout_s, leaving):
            words = "Another process computes this label and does not end. Its log: "
            return _failed(job, words + str(folder / _LOG), time.monotonic() - began)
        found = _read(folder)
        if found is not None and found.good:
            return found
        # The lock is ours: what still runs here lost the process that held it.
        _end(folder)
        _clear(folder)
        if job.own_process:
            return _supervised(job, folder, lock.fileno(), leaving)
        outcome = _computed(job.key, job.atoms, job.calculation, folder)
        _write(folder, outcome)
        return outcome


def _claimed(lock: int, folder: Path, timeout_s: float | None, leaving: threading.Event) -> bool:
    """Wait for the lock; a holder that takes longer than the timeout is ended, if it is on this machine."""
    wait = 0.02
    deadline = float("inf") if timeout_s is None else time.monotonic() + timeout_s
    ended = False
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if time.monotonic() > deadline:
            if ended:
                return False
            _end(folder)
            ended, deadline = True, time.monotonic() + _GRACE_S
        if leaving.wait(wait):
            return False
        wait = min(2 * wait, 1.0)


def _supervised(job: Job, folder: Path, lock: int, leaving: threading.Event) -> Outcome:
    """Run this module as a program, which computes the label and holds the lock even if this process is killed."""
    task = {"key": job.key, "atoms": job.atoms.todict(), "calculation": job.calculation.to_dict(), "path": importable()}
    (folder / _JOB).write_text(jsonio.encode(task))
    began = time.monotonic()
    with (folder / _LOG).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-X", "faulthandler", "-m", "ase_dkl.active.labelling", str(folder)],
            cwd=folder,
            env={**os.environ, _MARK: str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=[lock],
        )
    with _ended_after(job.timeout_s, folder, process.pid) as late:
        if leaving.is_set():
            _end(folder, process.pid)
        status = process.wait()
    seconds = time.monotonic() - began
    outcome = _read(folder)
    if outcome is not None:
        return outcome
    if late.is_set():
        return _failed(job, f"Not done within the timeout of {job.timeout_s:g} s. Its log: {folder / _LOG}", seconds)
    return _failed(job, _of_status(status, folder / _LOG), seconds)


@contextmanager
def _ended_after(timeout_s: float | None, folder: Path, process: int) -> Iterator[threading.Event]:
    """End a process after a time, and in any case what it leaves behind."""
    late = threading.Event()

    def end() -> None:
        late.set()
        _end(folder, process)

    timer = None if timeout_s is None else threading.Timer(timeout_s, end)
    _running[folder] = process
    try:
        if timer is not None:
            timer.start()
        yield late
    finally:
        if timer is not None:
            timer.cancel()
            timer.join()
        _end(folder, process)
        del _running[folder]


def _end(folder: Path, process: int | None = None) -> None:
    """End everything that was started for a label; for good where it does not listen within a grace."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + _GRACE_S
        told: set[int] = set()
        while (left := _started_for(folder, process)) and time.monotonic() < deadline:
            for each in left - told:
                with suppress(ProcessLookupError):
                    os.kill(each, number)
            told |= left
            time.sleep(0.02)


def _started_for(folder: Path, process: int | None) -> set[int]:
    """What to send signals to: all processes that carry the mark of the label, on whatever paths they were started.

    Where there is no /proc to find them in, the group of the label's own process.
    """
    if not Path("/proc/self/environ").exists():
        with suppress(ProcessLookupError, PermissionError):
            if process is not None:
                os.killpg(process, 0)
                return {-process}
        return set()
    mark = f"{_MARK}={folder}".encode()
    found = set()
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark in environment.read_bytes().split(b"\0"):
                found.add(int(environment.parent.name))
    return found


def _of_status(status: int, log: Path) -> str:
    if status < 0:
        name = signal.Signals(-status).name
        hint = " (most often the machine had no memory left)" if name == "SIGKILL" else ""
        return f"The calculator's process died of {name}{hint}. Its log: {log}"
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        said = file.read().decode(errors="replace").strip().splitlines() or ["nothing"]
    return f"The calculator's process ended with status {status} and no result. Its log {log} ends: {said[-1][:300]}"


def _computed(key: str, atoms: Atoms, calculation: Calculation, directory: Path | None) -> Outcome:
    began = time.monotonic()
    name = calculation.name
    try:
        calculator = calculation.make(directory)
        name = str(getattr(calculator, "name", type(calculator).__name__.lower()))
        results = _results(calculator, atoms.copy())
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  a calculator may even call sys.exit
        words = str(error) if isinstance(error, BadCalculation | _BadResult) else one_line(error)
        return Outcome(key, None, None, None, time.monotonic() - began, words, name)
    return Outcome(key, **results, seconds=time.monotonic() - began, error=None, calculator=name)


class _BadResult(Exception):
    """A calculator's results are no label."""


def _results(calculator: Any, atoms: Atoms) -> dict[str, Any]:
    atoms.calc = calculator
    energy = atoms.get_potential_energy()
    if energy is None or not np.isfinite(energy):
        raise _BadResult(f"The calculator's energy is {energy}, not a finite number.")
    found: dict[str, Any] = {"energy": float(energy), "stress": None, "forces": None}
    results = dict(getattr(calculator, "results", {}))
    states = getattr(calculator, "converged", None), results.get("converged")
    if any(isinstance(state, bool | np.bool_) and not state for state in states):
        raise _BadResult("The calculator says that it has not converged.")
    if "stress" in calculator.implemented_properties:
        found["stress"] = _stress(atoms)
        results = dict(getattr(calculator, "results", results))
    if (forces := results.get("forces")) is not None and np.isfinite(forces).all():
        found["forces"] = tuple(map(tuple, np.asarray(forces, dtype=float).tolist()))
    if (free := results.get("free_energy")) is not None and np.isfinite(free):
        found["free_energy"] = float(free)
    return found


def _stress(atoms: Atoms) -> tuple[float, ...]:
    try:
        stress = np.asarray(atoms.get_stress(voigt=True), dtype=float)
    except Exception as error:
        raise _BadResult(
            f"The calculator promises a stress and gives none: {one_line(error)}. For labels of energies alone, name a "
            "factory whose calculator has no 'stress' among its implemented_properties."
        ) from error
    if stress.shape != (6,) or not np.isfinite(stress).all():
        raise _BadResult(f"The calculator's stress is {stress.tolist()}, not six finite numbers.")
    return tuple(stress.tolist())


def _failed(job: Job, words: str, seconds: float) -> Outcome:
    return Outcome(job.key, None, None, None, seconds, words, job.calculation.name)


def _clear(folder: Path) -> None:
    """Remove what an earlier attempt left, which could mislead the next."""
    for each in folder.iterdir():
        if each.name in {_LOCK, _LOG}:
            continue
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        else:
            each.unlink()


def _write(folder: Path, outcome: Outcome) -> None:
    with written_whole(folder / _OUTCOME) as beside, beside.open("w") as file:
        json.dump(asdict(outcome), file, allow_nan=False)
        file.flush()
        os.fsync(file.fileno())


def _read(folder: Path) -> Outcome | None:
    try:
        values = json.loads((folder / _OUTCOME).read_text())
        forces = values["forces"] and tuple(map(tuple, values["forces"]))
        return Outcome(**{**values, "stress": values["stress"] and tuple(values["stress"]), "forces": forces})
    # Written whole, so that a damaged file is the disk's doing; the label is then computed again.
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _main(folder: Path) -> None:
    task = jsonio.decode((folder / _JOB).read_text())
    sys.path.extend(each for each in task["path"] if each not in sys.path)
    calculation = Calculation(**task["calculation"])
    _write(folder, _computed(task["key"], Atoms.fromdict(task["atoms"]), calculation, None))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
