"""All fits of a study, each in a fresh process with one thread, as many at a time as asked for."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable
from functools import cache
from multiprocessing import connection, forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from ase_dkl.benchmark.data import Data, load
from ase_dkl.benchmark.results import Results
from ase_dkl.benchmark.settings import Case, Study
from ase_dkl.benchmark.worker import Task, work

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

Told = Callable[[Task, str | None], None]
"""Hears of a task that has ended, and of what went wrong in it."""


def unfinished(study: Study, results: Results) -> dict[Case, list[int]]:
    """Cases with the seeds that have no row yet."""
    done = results.done()
    left = {case: [seed for seed in case.seeds if (case.key, seed) not in done] for case in study.cases}
    return {case: seeds for case, seeds in left.items() if seeds}


def run(study: Study, path: Path, *, workers: int, begun: Callable[[int], None], told: Told) -> None:
    """Do what is left of a study, and write each result as it comes.

    Interrupted, it leaves a table of all fits that had ended.

    Args:
        study: what to fit.
        path: the table of results, a CSV file.
        workers: processes at a time.
        begun: hears how many tasks there are.
        told: hears of every task that ends.

    Raises:
        BadStudy: the table cannot be added to, or a data set has too few rows.
        BadDataset: a data set cannot be used.
    """
    with Results.written(path) as results:
        left = unfinished(study, results)
        ready = deque[Task]()
        for case, seeds in left.items():
            search = case.entry.search and case.key not in results.searches
            ready.extend([Task(case)] if search else _fits(case, seeds, results))
        begun(sum(map(len, left.values())) + sum(task.seed is None for task in ready))
        if ready:
            _start_server()
        data = cache(load)
        running: dict[Connection, tuple[ForkServerProcess, Task]] = {}
        try:
            while ready or running:
                while ready and len(running) < workers:
                    task = ready.popleft()
                    answer, process = _start(task, data(task.case.source))
                    running[answer] = process, task
                answered = connection.wait(running)
                for answer in [each for each in running if each in answered]:
                    process, task = running.pop(answer)
                    found = _received(answer, process)
                    ready.extendleft(reversed(_record(task, found, left[task.case], results, told)))
        finally:
            for process, _ in running.values():
                process.terminate()
                process.join()


def _record(task: Task, found: dict[str, Any], seeds: list[int], results: Results, told: Told) -> list[Task]:
    """Write what came of a task; the tasks that follow from it."""
    case, error = task.case, found.get("error")
    named = {"data": case.source.name, "method": case.entry.method.name, "label": case.entry.label}
    named |= {"n": str(case.n), "labels": case.labels}
    following = []
    if task.seed is not None:
        results.add({"key": case.key, "seed": task.seed, **named, **found})
    elif error is None:
        results.add_search(case.key, named | found)
        following = _fits(case, seeds, results)
    told(task, error)
    if task.seed is None and error is not None:
        for seed in seeds:
            results.add({"key": case.key, "seed": seed, **named, "error": f"search: {error}"})
            told(Task(case, seed), f"search: {error}")
    return following


def _fits(case: Case, seeds: list[int], results: Results) -> list[Task]:
    settings = results.searches[case.key]["settings"] if case.entry.search else {}
    return [Task(case, seed, settings) for seed in seeds]


def _start_server() -> None:
    """Start what workers are forked from: it has imported what they need, and computes with one thread."""
    multiprocessing.set_forkserver_preload([Task.__module__])
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        forkserver.ensure_running()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _start(task: Task, data: Data) -> tuple[Connection, ForkServerProcess]:
    context = multiprocessing.get_context("forkserver")
    answer, others = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(task, data, others))
    process.start()
    others.close()
    return answer, process


def _received(answer: Connection, process: ForkServerProcess) -> dict[str, Any]:
    try:
        found: dict[str, Any] = answer.recv()
    except EOFError:
        process.join()
        found = {"error": f"The process died with exit status {process.exitcode}; −9 is often a lack of memory."}
    answer.close()
    process.join()
    return found
