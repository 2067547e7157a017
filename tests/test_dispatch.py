"""Labels at work in executors that break, and in executors that lose some."""

import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from campaigns import COUNTED, CRYSTAL, computed
from counted_emt import TOLD

from ase_dkl.active.dispatch import Dispatcher
from ase_dkl.active.labels.calculation import BadCalculation, Calculation
from ase_dkl.active.labels.executors import open_executor
from ase_dkl.active.labels.labelling import Job, Outcome
from ase_dkl.active.plan import BadCampaign


class Losing(ThreadPoolExecutor):
    """Threads that lose a label as often as they are told, as clusters do whose batch jobs end."""

    def __init__(self, losses: dict[str, int]) -> None:
        super().__init__(2)
        self.losses, self.given = losses, Counter[str]()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        key = args[0].key
        self.given[key] += 1
        if self.given[key] <= self.losses.get(key, 0):
            return super().submit(self._lose)
        return super().submit(fn, *args, **kwargs)

    def _lose(self) -> None:
        raise RuntimeError("The worker was lost.")


def jobs(folder: Path, n: int = 4) -> list[Job]:
    cells = [CRYSTAL.cell * (1 + 0.01 * i) for i in range(n)]
    structures = [CRYSTAL.atoms(cell) for cell in cells]
    return [Job(COUNTED.key(atoms), atoms, COUNTED, folder, own_process=False) for atoms in structures]


def finished(dispatcher: Dispatcher) -> list[Outcome]:
    outcomes: list[Outcome] = []
    while len(dispatcher):
        outcomes += dispatcher.outcomes(60.0)
    return outcomes


def test_outcomes_come_one_for_each_label(tmp_path: Path) -> None:
    dispatcher = Dispatcher(partial(ThreadPoolExecutor, 2))
    given = jobs(tmp_path)
    dispatcher.submit(given)
    assert len(dispatcher) == 4
    outcomes = finished(dispatcher)
    assert sorted(each.key for each in outcomes) == sorted(job.key for job in given)
    assert all(each.good for each in outcomes)
    assert dispatcher.outcomes(0.01) == []
    assert dispatcher.running == 0
    dispatcher.close(wait=True)


def test_a_pool_that_breaks_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOLD, json.dumps({"log": str(tmp_path / "log"), "deaths": 1}))
    dispatcher = Dispatcher(partial(open_executor, {"workers": 2}, own_process=False))
    dispatcher.submit(jobs(tmp_path))
    outcomes = finished(dispatcher)
    assert sorted(each.key for each in outcomes) == sorted(job.key for job in jobs(tmp_path))
    assert all(each.good for each in outcomes)
    assert sum(what.count("died") for what in computed(tmp_path / "log").values()) == 1
    dispatcher.close(wait=True)


def test_a_pool_that_breaks_again_and_again_is_told_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOLD, json.dumps({"log": str(tmp_path / "log"), "deaths": 1000}))
    dispatcher = Dispatcher(partial(open_executor, {"workers": 1}, own_process=False))
    dispatcher.submit(jobs(tmp_path, 1))
    with pytest.raises(BadCampaign, match=r"broke 4 times and finished no label .*own_process"):
        finished(dispatcher)
    dispatcher.close(wait=False)


def failing(folder: Path, name: str, n: int = 5) -> list[Job]:
    calculation = Calculation(f"{Path(__file__).with_name('misbehaving.py')}:{name}")
    return [replace(job, calculation=calculation) for job in jobs(folder, n)]


def test_what_no_structure_is_to_blame_for_ends_it_at_once(tmp_path: Path) -> None:
    dispatcher = Dispatcher(partial(ThreadPoolExecutor, 1))
    dispatcher.submit(failing(tmp_path, "without_program"))
    # On a path with folders that others may not enter Python says that permission is denied.
    with pytest.raises(BadCalculation, match=r"not set up: (FileNotFound|Permission)Error: .*no-such-program"):
        finished(dispatcher)
    dispatcher.close(wait=False)
    assert len(list(tmp_path.glob("*/outcome.json"))) < 5


def test_a_calculator_that_worked_is_set_up(tmp_path: Path) -> None:
    dispatcher = Dispatcher(partial(ThreadPoolExecutor, 1))
    good = jobs(tmp_path)[0]
    dispatcher.submit([good, *failing(tmp_path, "without_program")[1:4]])
    assert [each.good for each in finished(dispatcher)] == [True, False, False, False]
    dispatcher.close(wait=True)


@pytest.mark.parametrize(
    ("others", "n", "proven", "told"),
    [("forgetful", 5, False, 0), ("forgetful", 3, False, 3), ("forgetful", 5, True, 5), ("nan", 4, False, 5)],
)
def test_first_labels_that_fail_alike(tmp_path: Path, others: str, n: int, proven: bool, told: int) -> None:
    """Where each is tried once: a failure that is not alike, or fewer of them, are the structures' own."""
    dispatcher = Dispatcher(partial(ThreadPoolExecutor, 1), proven=proven)
    dispatcher.submit(failing(tmp_path, "forgetful")[: n - (others == "nan")])
    dispatcher.submit(failing(tmp_path, "nan")[n - 1 :] if others == "nan" else [])
    if told:
        assert len(finished(dispatcher)) == told
    else:
        with pytest.raises(BadCalculation, match="All of the first 5 labels failed in the same way"):
            finished(dispatcher)
    dispatcher.close(wait=True)


def test_failures_that_were_kept_are_told_once_a_label_is_there(tmp_path: Path) -> None:
    dispatcher = Dispatcher(partial(ThreadPoolExecutor, 1))
    dispatcher.submit([*failing(tmp_path, "forgetful")[:4], jobs(tmp_path, 5)[4]])
    assert [each.good for each in finished(dispatcher)] == [False] * 4 + [True]
    assert dispatcher.outcomes(0.01) == []
    dispatcher.close(wait=True)


def test_labels_that_get_lost_are_given_again(tmp_path: Path) -> None:
    given = jobs(tmp_path)
    executor = Losing({given[0].key: 2, given[2].key: 1})
    dispatcher = Dispatcher(lambda: executor)
    dispatcher.submit(given)
    assert all(each.good for each in finished(dispatcher))
    assert executor.given[given[0].key] == 3
    dispatcher.close(wait=True)


def test_a_label_that_is_lost_again_and_again_while_others_finish_has_failed(tmp_path: Path) -> None:
    first, *others = jobs(tmp_path)
    executor = Losing({first.key: 1000})
    dispatcher = Dispatcher(lambda: executor)
    dispatcher.submit([first, *others])
    outcomes = {each.key: each for each in finished(dispatcher)}
    assert outcomes[first.key].error == "The executor lost it 3 times: RuntimeError: The worker was lost"
    assert all(outcomes[job.key].good for job in others)
    dispatcher.close(wait=True)


def test_where_everything_is_lost_it_is_told_in_words(tmp_path: Path) -> None:
    given = jobs(tmp_path)
    executor: Executor = Losing({job.key: 1000 for job in given})
    dispatcher = Dispatcher(lambda: executor)
    dispatcher.submit(given)
    with pytest.raises(BadCampaign, match=r"lost each of 4 labels 3 times and finished none in between"):
        finished(dispatcher)
    dispatcher.close(wait=False)
