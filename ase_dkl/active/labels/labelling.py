"""One label: energy and stress of one structure, computed once, whatever the calculator does."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import threading
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from ase import Atoms
from ase.calculators.calculator import CalculationFailed, CalculatorSetupError, SCFError
from ase.io import jsonio

from ase_dkl.active.labels.calculation import BadCalculation, Calculation, importable, one_line
from ase_dkl.active.labels.own_process import being_left, claimed, end, run
from ase_dkl.active.labels.results import BadResult, results_of
from ase_dkl.files import written_whole

Fault = Literal["setup", "either", "structure"]

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
        magmom: the total magnetic moment, μB, a vector of a non-collinear calculation, where the calculator tells it.
        magmoms: the sites' magnetic moments, μB, where the calculator tells them.
        fault: where something went wrong, with what: "setup", the calculator's settings or installation, whatever the
            structure; "structure", as it crashed, hung, did not converge or gave no number; "either", not to be told
            from one label.
    """

    key: str
    energy: float | None
    stress: tuple[float, ...] | None
    forces: tuple[tuple[float, ...], ...] | None
    seconds: float
    error: str | None
    calculator: str
    free_energy: float | None = None
    magmom: float | list[float] | None = None
    magmoms: list[float] | list[list[float]] | None = None
    fault: Fault = "structure"

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
        return _failed(job, one_line(error), time.monotonic() - began, "either")


def _in_folder(job: Job, folder: Path) -> Outcome:
    leaving = being_left()
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with (folder / _LOCK).open("a") as lock:
        if not claimed(lock.fileno(), folder, job.timeout_s, leaving):
            words = "Another process computes this label and does not end. Its log: "
            return _failed(job, words + str(folder / _LOG), time.monotonic() - began)
        found = _read(folder)
        if found is not None and found.good:
            return found
        # The lock is ours: what still runs here lost the process that held it.
        if (folder / _JOB).exists():
            end(folder)
        _clear(folder)
        if job.own_process:
            return _supervised(job, folder, lock.fileno(), leaving)
        outcome = _computed(job.key, job.atoms, job.calculation, folder)
        _write(folder, outcome)
        return outcome


def _supervised(job: Job, folder: Path, lock: int, leaving: threading.Event) -> Outcome:
    """Run this module as a program, which computes the label and holds the lock even if this process is killed."""
    task = {"key": job.key, "atoms": job.atoms.todict(), "calculation": job.calculation.to_dict(), "path": importable()}
    (folder / _JOB).write_text(jsonio.encode(task))
    ended = run(__spec__.name, folder, folder / _LOG, lock, job.timeout_s, leaving)
    outcome = _read(folder)
    if outcome is not None:
        return outcome
    if ended.late:
        words = f"Not done within the timeout of {job.timeout_s:g} s. Its log: {folder / _LOG}"
        return _failed(job, words, ended.seconds)
    fault: Fault = "structure" if ended.status < 0 else "either"
    return _failed(job, _of_status(ended.status, folder / _LOG), ended.seconds, fault)


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
        results = results_of(calculator, atoms.copy())
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  a calculator may even call sys.exit
        words = str(error) if isinstance(error, BadCalculation | BadResult) else one_line(error)
        return Outcome(key, None, None, None, time.monotonic() - began, words, name, fault=_fault(error))
    return Outcome(key, **results, seconds=time.monotonic() - began, error=None, calculator=name)


def _fault(error: BaseException) -> Fault:
    """What an exception of a calculator tells of."""
    if isinstance(error, BadResult) and error.__cause__ is not None:
        return _fault(error.__cause__)
    if isinstance(error, BadResult | SCFError):
        return "structure"
    if isinstance(error, BadCalculation | ImportError | CalculatorSetupError):
        return "setup"
    code = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    # Nothing was computed yet: files of pseudopotentials are looked for here.
    if any(each.co_name == "write_input" for each in code):
        return "setup"
    files = [Path(each.co_filename).parts[-2:] for each in code]
    not_configured = isinstance(error, KeyError) and ("ase", "config.py") in files
    not_started = isinstance(error, OSError) and any(file[-1] == "subprocess.py" for file in files[-1:])
    # With these a shell says that there is no such program, or that it may not be run.
    not_found = isinstance(error, CalculationFailed) and re.search(r"\b12[67]$", str(error).strip())
    return "setup" if not_configured or not_started or not_found else "either"


def _failed(job: Job, words: str, seconds: float, fault: Fault = "structure") -> Outcome:
    return Outcome(job.key, None, None, None, seconds, words, job.calculation.name, fault=fault)


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
