"""A process for each label, supervised: found, waited for, and ended with everything that it has started."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

MARK = "ASE_DKL_LABEL"
"""Environment variable that everything started for a label carries, so that it can be found and ended."""

GRACE_S = 5.0
"""Seconds between asking a process to end and ending it: mpirun needs them to end its ranks."""

_running: dict[Path, int] = {}
_leaving = threading.Event()


@dataclass(frozen=True)
class Ended:
    """How a label's process ended.

    Attributes:
        status: exit status, or minus the number of the signal that it died of.
        late: whether it was ended because of the timeout.
        seconds: that it ran.
    """

    status: int
    late: bool
    seconds: float


def being_left() -> threading.Event:
    """What is set when the labels that are now in work, or begin from now on, are to be left."""
    return _leaving


def end_labels() -> None:
    """End all labels that this process has in work in processes of their own, or waits for."""
    global _leaving  # noqa: PLW0603  labels of a later campaign have another
    _leaving.set()
    _leaving = threading.Event()
    for folder, process in list(_running.items()):
        end(folder, process)


def claimed(lock: int, folder: Path, timeout_s: float | None, leaving: threading.Event) -> bool:
    """Wait for a label's lock; a holder that takes longer than the timeout is ended, if it is on this machine.

    Args:
        lock: descriptor of the open lock file.
        folder: the label's.
        timeout_s: seconds; None waits for ever.
        leaving: gives up when it is set.

    Returns:
        Whether the lock is ours.
    """
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
            end(folder)
            ended, deadline = True, time.monotonic() + GRACE_S
        if leaving.wait(wait):
            return False
        wait = min(2 * wait, 1.0)


def run(module: str, folder: Path, log: Path, lock: int, timeout_s: float | None, leaving: threading.Event) -> Ended:
    """Run a module as a program in a label's folder, and wait for its end.

    The program lives on if this process is killed, and holds the lock as long as it lives.

    Args:
        module: its argument is the folder.
        folder: the label's; the working directory.
        log: gets what the program says, at its end.
        lock: descriptor of the label's lock.
        timeout_s: seconds after which it is ended; None waits for ever.
        leaving: do not begin when it is set.
    """
    began = time.monotonic()
    with log.open("ab") as said:
        process = subprocess.Popen(
            [sys.executable, "-P", "-X", "faulthandler", "-m", module, str(folder)],
            cwd=folder,
            env={**os.environ, MARK: str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=[lock],
        )
    with _ended_after(timeout_s, folder, process.pid) as late:
        if leaving.is_set():
            end(folder, process.pid)
        status = process.wait()
    return Ended(status, late.is_set(), time.monotonic() - began)


def end(folder: Path, process: int | None = None) -> None:
    """End everything that was started for a label; for good where it does not listen within a grace."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + GRACE_S
        told: set[int] = set()
        while (left := started_for(folder, process)) and time.monotonic() < deadline:
            for each in left - told:
                with suppress(ProcessLookupError):
                    os.kill(each, number)
            told |= left
            time.sleep(0.02)


def started_for(folder: Path, process: int | None) -> set[int]:
    """What to send signals to: all processes that carry the mark of the label, on whatever paths they were started.

    Where there is no /proc to find them in, the group of the label's own process.
    """
    if not Path("/proc/self/environ").exists():
        with suppress(ProcessLookupError, PermissionError):
            if process is not None:
                os.killpg(process, 0)
                return {-process}
        return set()
    mark = f"{MARK}={folder}".encode()
    found = set()
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark in environment.read_bytes().split(b"\0"):
                found.add(int(environment.parent.name))
    return found


@contextmanager
def _ended_after(timeout_s: float | None, folder: Path, process: int) -> Iterator[threading.Event]:
    """End a process after a time, and in any case what it leaves behind."""
    late = threading.Event()

    def too_late() -> None:
        late.set()
        end(folder, process)

    timer = None if timeout_s is None else threading.Timer(timeout_s, too_late)
    _running[folder] = process
    try:
        if timer is not None:
            timer.start()
        yield late
    finally:
        if timer is not None:
            timer.cancel()
            timer.join()
        end(folder, process)
        del _running[folder]
