import json
import multiprocessing
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ase_dkl.benchmark.results import Results
from ase_dkl.benchmark.runner import run
from ase_dkl.benchmark.settings import Study, read_study
from ase_dkl.benchmark.worker import Task

OWN = Path(__file__).parent / "studied.py"


def study_of(folder: Path, *names: str, more: str = "", seeds: str = "[0, 1]") -> Study:
    methods = "".join(f'[[method]]\nname = "{OWN}:{name}"\n' for name in names)
    text = f'seeds = {seeds}\n{more}\n[[data]]\nname = "srtio3"\nsizes = [16]\n{methods}'
    (folder / "s.toml").write_text(text, encoding="utf-8")
    return read_study(folder / "s.toml")


def ran(study: Study, path: Path, workers: int = 1) -> list[tuple[Task, str | None]]:
    told: list[tuple[Task, str | None]] = []
    totals: list[int] = []
    run(study, path, workers=workers, begun=totals.append, told=lambda task, error: told.append((task, error)))
    assert totals == [len(told)]
    return told


def test_fits_are_recorded_and_not_done_again(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    assert len(ran(study_of(tmp_path, "METHOD"), path, workers=2)) == 2
    rows = Results(path).rows
    assert sorted(row["seed"] for row in rows) == ["0", "1"]
    for row in rows:
        assert (row["data"], row["method"], row["label"], row["n"]) == ("srtio3", "quadratic", "Least squares", "16")
        assert row["error"] == row["stress_rmse_GPa"] == ""
        assert float(row["energy_rmse_meV"]) > 0
        assert 0 < float(row["fit_s"]) < 5
        assert 0 < float(row["predict_us"]) < 1e4
        assert json.loads(row["settings"]) == {"degree": 1, "noise": 0.05}
    assert rows[0]["energy_nll"] != rows[1]["energy_nll"]
    more = ran(study_of(tmp_path, "METHOD", seeds="[0, 1, 2]"), path)
    assert [task.seed for task, _ in more] == [2]
    assert Results(path).rows[:2] == rows


def test_a_method_without_chance_is_fitted_once(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    told = ran(study_of(tmp_path, "FIXED", "METHOD", seeds="[1, 2]"), path)
    assert [(task.case.entry.method.name, task.seed) for task, _ in told] == [
        ("fixed", 1),
        ("quadratic", 1),
        ("quadratic", 2),
    ]
    assert not ran(study_of(tmp_path, "FIXED", "METHOD", seeds="[1, 2]"), path)


def test_failures_are_rows_that_say_why(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    ran(study_of(tmp_path, "REFUSES", "DIES", "NO_NUMBER"), path, workers=2)
    errors = {(row["method"], row["seed"]): row["error"] for row in Results(path).rows}
    assert errors["refuses", "0"] == ""
    assert errors["refuses", "1"] == "RuntimeError: The matrix is singular."
    assert "died with exit status 9" in errors["dies", "0"]
    assert "not a positive number" in errors["no number", "1"]
    assert not ran(study_of(tmp_path, "REFUSES", "DIES", "NO_NUMBER"), path)


def test_settings_are_searched_once(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    told = ran(study_of(tmp_path, "METHOD", more="search = 3"), path)
    assert [task.seed for task, _ in told] == [None, 0, 1]
    (found,) = Results(path).searches.values()
    assert [json.loads(row["settings"]) for row in Results(path).rows] == [found["settings"]] * 2
    again = ran(study_of(tmp_path, "METHOD", more="search = 3", seeds="[0, 1, 2]"), path)
    assert [task.seed for task, _ in again] == [2]


@pytest.fixture
def python_interrupts() -> Iterator[None]:
    """Ctrl-C as Python has it: dask_jobqueue takes it for itself where it is imported."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("python_interrupts")
def test_an_interrupted_study_keeps_what_had_ended_and_leaves_no_process(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    before = set(multiprocessing.active_children())

    def interrupt(task: Task, error: str | None) -> None:
        main = threading.main_thread().ident
        threading.Timer(0.3, signal.pthread_kill, [main, signal.SIGINT]).start()

    with pytest.raises(KeyboardInterrupt):
        run(study_of(tmp_path, "WAITS"), path, workers=1, begun=lambda _: None, told=interrupt)
    assert Results(path).done() == {(Results(path).rows[0]["key"], 0)}
    assert set(multiprocessing.active_children()) == before
