"""Where labels are computed: this machine, or a cluster through Parsl or Dask.

A cluster is described by a function in a file of the user's. For Slurm with Parsl, `kind = "parsl"` and
`config = "cluster.py:config"` with

    from parsl import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import SlurmProvider

    def config():
        return Config(
            executors=[
                HighThroughputExecutor(
                    label="dft",
                    max_workers_per_node=4,
                    provider=SlurmProvider(
                        partition="standard",
                        nodes_per_block=1,
                        cores_per_node=64,
                        max_blocks=8,
                        walltime="24:00:00",
                        worker_init="source /path/to/venv/bin/activate",
                    ),
                )
            ],
            run_dir="runinfo",
        )

and with Dask, `kind = "dask"` and `cluster = "cluster.py:cluster"` with

    from dask_jobqueue import SLURMCluster

    def cluster():
        made = SLURMCluster(
            queue="standard",
            cores=4,
            processes=4,
            memory="128GB",
            walltime="24:00:00",
            job_extra_directives=["--ntasks=64"],
            job_script_prologue=["source /path/to/venv/bin/activate"],
        )
        made.adapt(maximum_jobs=8)
        return made

The folder of the labels has to be on a file system that all nodes see.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from multiprocessing import connection
from typing import Any, ParamSpec, TypeVar

from ase_dkl.active.labels.calculation import one_line
from ase_dkl.active.labels.own_process import end_labels
from ase_dkl.addresses import display_name
from ase_dkl.by_name import BadName, named
from ase_dkl.errors import Refused

P = ParamSpec("P")
T = TypeVar("T")

KINDS = {"local": ("workers",), "dask": ("address", "cluster"), "parsl": ("config",), "factory": ("factory",)}
"""Kinds of executor, and the settings that each has."""

_CONNECT_S = 30


class BadExecutor(Refused, ValueError):
    """An executor that cannot be opened."""


def open_executor(settings: Mapping[str, Any], *, own_process: bool = True) -> Executor:
    """Open what labels are submitted to.

    `shutdown(wait=False, cancel_futures=True)` leaves at once, whatever the kind. On this machine it ends the labels in
    work; elsewhere they may go on, and a later campaign takes their results from the labels' folders.

    Args:
        settings: `kind` and what belongs to it. "local": `workers`, labels at once, by default one for each core.
            "dask": `address` of a scheduler, or `cluster`, the name of a function that returns a Dask cluster.
            "parsl": `config`, the name of a function that returns a `parsl.Config`. "factory": `factory`, the name of
            a function that returns a `concurrent.futures.Executor`. Functions are named as package.module:function or
            path/to/file.py:function.
        own_process: whether labels bring a process of their own; without, "local" takes a pool of processes, and a
            script that opens one needs `if __name__ == "__main__":`.

    Raises:
        BadExecutor: unknown or missing settings, a package that is not installed, or an executor that does not start.
    """
    kind = settings.get("kind", "local")
    if kind not in KINDS:
        raise BadExecutor(f"There is no executor of kind {kind!r}. Choose one of {', '.join(KINDS)}.")
    if unknown := settings.keys() - {"kind", *KINDS[kind]}:
        raise BadExecutor(f"An executor of kind {kind!r} has {' or '.join(KINDS[kind])}, not {', '.join(unknown)}.")
    if kind == "local":
        return _local(settings.get("workers", os.cpu_count() or 1), own_process)
    given = [name for name in KINDS[kind] if name in settings]
    if len(given) != 1:
        raise BadExecutor(f"An executor of kind {kind!r} needs {' or '.join(KINDS[kind])}, one of them.")
    value = settings[given[0]]
    if not isinstance(value, str):
        raise BadExecutor(f"{given[0]} of the executor is a text, not {value!r}.")
    if kind == "parsl":
        return _parsl(value)
    if kind == "dask":
        return _Dask(value, address=given == ["address"])
    made = _made(value)
    if not isinstance(made, Executor):
        raise BadExecutor(f"{value!r} returns a {type(made).__name__}, not a concurrent.futures.Executor.")
    return made


def _local(workers: Any, own_process: bool) -> Executor:
    if not isinstance(workers, int) or isinstance(workers, bool) or workers < 1:
        raise BadExecutor(f"workers is how many labels are computed at once: 1 or more, not {workers!r}.")
    if own_process:
        return _Supervisors(workers)
    # Not forked: the library's threads would not be there, and the locks that they held would.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)


def _end_with_parent() -> None:
    """Let a worker end when the campaign is killed; it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class _Supervisors(ThreadPoolExecutor):
    """Threads, each of which starts a process for its label and waits for it."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        leave = cancel_futures and not wait
        super().shutdown(wait=not leave, cancel_futures=cancel_futures)
        if leave:
            end_labels()


class _Dask(Executor):
    """A client of a Dask cluster, with its cluster if that is ours."""

    def __init__(self, name: str, *, address: bool) -> None:
        distributed = _installed("distributed")
        self._cluster = None if address else _made(name)
        try:
            self._client = distributed.Client(name if address else self._cluster, timeout=_CONNECT_S)
        except Exception as error:
            if self._cluster is not None:
                self._cluster.close()
            raise BadExecutor(
                f"Dask's scheduler at {display_name(name)!r} does not answer: {one_line(error)}. Is it "
                "running? `dask scheduler` starts one and tells its address."
            ) from error
        # Equal jobs are attempts of their own.
        self._executor = self._client.get_executor(pure=False)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        if self._client.status != "running":
            raise BrokenExecutor(f"Dask's scheduler is gone (the client is {self._client.status}).")
        future: Future[T] = self._executor.submit(fn, *args, **kwargs)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002
        if self._client.status == "running":
            self._executor.shutdown(wait=wait)
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()


def _parsl(name: str) -> Executor:
    parsl = _installed("parsl")
    from ase_dkl.active.labels.parsl_pool import ParslPool

    config = _made(name)
    if not isinstance(config, parsl.Config):
        raise BadExecutor(f"{name!r} returns a {type(config).__name__}, not a parsl.Config.")
    try:
        return ParslPool(config)
    except Exception as error:
        raise BadExecutor(f"Parsl does not start with {name!r}: {one_line(error)}") from error


def _installed(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise BadExecutor(
            f"This executor needs the package {package}, which cannot be imported ({error}) by {sys.executable}. "
            "Install it: pip install 'ase-dkl[cluster]'"
        ) from error


def _made(name: str) -> Any:
    try:
        factory = named(name)
    except BadName as error:
        raise BadExecutor(str(error)) from error
    if not callable(factory):
        raise BadExecutor(
            f"{name!r} is a {type(factory).__name__}, not a function. Name a function that returns it: one that has "
            "broken is replaced by a new one."
        )
    try:
        return factory()
    except Exception as error:
        raise BadExecutor(f"{name!r} fails: {one_line(error)}") from error
