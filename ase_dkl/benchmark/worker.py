"""What a worker process does: search a method's settings on the training rows, or fit, score and time it."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

# What methods and scores need is imported here, in the server that workers are forked from, and so is in no fit's time.
import gpytorch  # noqa: F401
import numpy as np
import skfuzzy  # noqa: F401
import sklearn.linear_model  # noqa: F401
import torch
import torch._dynamo

from ase_dkl.benchmark.data import Data
from ase_dkl.benchmark.methods import Method, Model
from ase_dkl.benchmark.scores import scores
from ase_dkl.benchmark.settings import STRESSES, Case

BATCH, STRESS_BATCH = 1000, 100
"""Structures in a batch whose time is told: of energies alone, and of energies and stresses."""
SINGLES = 20
"""Predictions of one structure whose median time is told."""
SEARCH_SEED = 0


@dataclass(frozen=True)
class Task:
    """What a worker is asked for: a fit, or the settings to fit with where there is no seed."""

    case: Case
    seed: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.case}, {'search' if self.seed is None else f'seed {self.seed}'}"


def work(task: Task, data: Data, answer: Connection) -> None:
    """Do a task in a process of its own: send a dict, with what went wrong as its "error" where something did."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the business of the process that started this one
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = _searched(task, data) if task.seed is None else _fitted(task, data)
        except Exception as error:  # noqa: BLE001  whatever a method does wrong is a result
            found = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}
    found["warnings"] = " | ".join(dict.fromkeys(" ".join(str(each.message).split()) for each in caught))
    answer.send(found)
    answer.close()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _searched(task: Task, data: Data) -> dict[str, Any]:
    from ase_dkl.benchmark.methods.search import search

    entry = task.case.entry
    training = data.pool.subset(np.arange(task.case.n))
    began = time.process_time()
    dataset = training if task.case.labels == STRESSES else training.without_stresses()
    settings = search(entry.method, dataset, budget=entry.search, seed=SEARCH_SEED)
    return {"settings": settings, "seconds": time.process_time() - began}


def _fitted(task: Task, data: Data) -> dict[str, Any]:
    method, case = task.case.entry.method, task.case
    settings = {**method.defaults, **task.settings}
    training = data.pool.subset(np.arange(case.n))
    dataset = training if case.labels == STRESSES else training.without_stresses()
    assert task.seed is not None
    peak = _peak_MiB()
    # Time of this process and not of the clock: the cores may have other work.
    began = time.process_time()
    model = method.fit(dataset, settings, task.seed)
    found: dict[str, Any] = {"fit_s": time.process_time() - began}
    found |= _times(method, model, data)
    found["memory_MiB"] = _peak_MiB() - peak
    found["passes"] = method.passes(settings)
    found["settings"] = json.dumps(settings)
    return found | scores(model, training, data, stress=method.predicts_stress)


def _times(method: Method, model: Model, data: Data) -> dict[str, Any]:
    """CPU seconds of predictions: of many energies at once, with stresses where there are any, and of one at a time."""
    cells = np.resize(data.test.cells, (BATCH, 3, 3))
    model.predict_cells(cells[:1], stress=method.predicts_stress)
    found = {"predict_us": 1e6 / BATCH * _seconds(lambda: model.predict_cells(cells, stress=False))}
    if method.predicts_stress:
        found["predict_stress_us"] = 1e6 / STRESS_BATCH * _seconds(lambda: model.predict_cells(cells[:STRESS_BATCH]))
    # Another cell each time, as a model may remember the last.
    singles = [_seconds(partial(model.predict_cells, cell[None], stress=False)) for cell in cells[:SINGLES]]
    found["single_ms"] = 1e3 * float(np.median(singles))
    return found


def _seconds(action: Callable[[], object]) -> float:
    began = time.process_time()
    action()
    return time.process_time() - began


def _peak_MiB() -> float:
    """The most memory that this process has had."""
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest / (2**20 if sys.platform == "darwin" else 2**10)
