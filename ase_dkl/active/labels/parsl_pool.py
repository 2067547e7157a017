"""Parsl behind the interface of `concurrent.futures`, all of it."""

from __future__ import annotations

import concurrent.futures
import os
import subprocess
import sysconfig
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, InvalidStateError
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

from parsl import Config, DataFlowKernel
from parsl.concurrent import ParslPoolExecutor
from parsl.executors import HighThroughputExecutor

P = ParamSpec("P")
T = TypeVar("T")


class ParslPool(Executor):
    """Parsl's pool, whose futures can be cancelled and are told when they are lost.

    It is broken when one of Parsl's interchanges dies, and the interchanges die with the process that opened it.

    Args:
        config: a new one; Parsl does not start one twice.
    """

    def __init__(self, config: Config) -> None:
        # Parsl starts its own programs by name, and a Python need not be activated to run.
        programs = sysconfig.get_path("scripts")
        if programs not in os.environ.get("PATH", "").split(os.pathsep):
            os.environ["PATH"] = os.pathsep.join(filter(None, (programs, os.environ.get("PATH"))))
        self._kernel = DataFlowKernel(config)
        self._executor: Any = ParslPoolExecutor(dfk=self._kernel)
        self._pending: set[Future[Any]] = set()
        self._turn = threading.Lock()
        self._state = "open"
        exchanges = [
            each.interchange_proc
            for each in self._kernel.executors.values()
            if isinstance(each, HighThroughputExecutor) and each.interchange_proc is not None
        ]
        # The input of this process ends when ours does, however that happens.
        pids = " ".join(str(each.pid) for each in exchanges)
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", f"read _ || kill {pids}"],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for each in exchanges:
            threading.Thread(target=self._watch, args=(each,), daemon=True).start()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """See `concurrent.futures.Executor`.

        Raises:
            BrokenExecutor: an interchange died, or the pool was shut down.
        """
        # Parsl's own futures can neither be cancelled nor told that they are lost.
        future: Future[T] = Future()
        with self._turn:
            if self._state != "open":
                raise BrokenExecutor(f"Parsl's executor is {self._state}.")
            lent: Future[T] = self._executor.submit(fn, *args, **kwargs)
            self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        lent.add_done_callback(lambda lent: _passed_on(lent, future))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """See `concurrent.futures.Executor`."""
        if cancel_futures:
            for future in list(self._pending):
                future.cancel()
        if wait:
            concurrent.futures.wait(list(self._pending))
        with self._turn:
            state, self._state = self._state, "closed"
        if state == "closed":
            return
        self._guard.communicate(b"\n")
        # Parsl asks its interchange which blocks to let go, and would wait for the answer of a dead one for ever. The
        # blocks end by themselves when they miss its heartbeat.
        cleaning = threading.Thread(target=self._kernel.cleanup, daemon=True)
        cleaning.start()
        if state == "open":
            cleaning.join()

    def _watch(self, interchange: subprocess.Popen[bytes]) -> None:
        interchange.wait()
        with self._turn:
            if self._state == "closed":
                return
            self._state = "broken: its interchange died"
        for future in list(self._pending):
            with suppress(InvalidStateError):
                future.set_exception(BrokenExecutor("Parsl's interchange died."))


def _passed_on(done: Future[T], future: Future[T]) -> None:
    # Cancelled, or lost, before.
    with suppress(InvalidStateError):
        if (error := done.exception()) is not None:
            future.set_exception(error)
        else:
            future.set_result(done.result())
