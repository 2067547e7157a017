import fcntl
import json
import os
import pickle
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import jsonio

from ase_dkl.active.labels import own_process
from ase_dkl.active.labels.calculation import BadCalculation, Calculation
from ase_dkl.active.labels.labelling import Job, Outcome, label
from ase_dkl.active.labels.own_process import end_labels

MISBEHAVING = Path(__file__).parent / "misbehaving.py"


def misbehaving(name: str, **parameters: Any) -> Calculation:
    return Calculation(f"{MISBEHAVING}:{name}", parameters)


def strained(by: float = 0.01) -> Atoms:
    atoms = bulk("Cu")
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + by * np.arange(9).reshape(3, 3) / 9), scale_atoms=True)
    return atoms


def job(calculation: Calculation, folder: Path | None, **settings: Any) -> Job:
    return Job(calculation.key(strained()), strained(), calculation, folder, **settings)


def started(task: Job) -> "subprocess.Popen[bytes]":
    """A process that computes a label, as a campaign that is killed would."""
    words = (
        "import sys; from pathlib import Path; from ase_dkl.active.labels.calculation import Calculation; "
        "from ase_dkl.active.labels.labelling import Job, label; from ase.io import jsonio; "
        "from ase import Atoms; d = jsonio.decode(sys.argv[1]); "
        "label(Job(d['key'], Atoms.fromdict(d['atoms']), Calculation(**d['calculation']), Path(d['folder'])))"
    )
    values = {"key": task.key, "atoms": task.atoms.todict(), "calculation": task.calculation.to_dict()}
    return subprocess.Popen([sys.executable, "-c", words, jsonio.encode({**values, "folder": str(task.folder)})])


def orphaned(task: Job, ready: Callable[[], bool]) -> None:
    """Kill the process that computes a label when it is ready for it."""
    process = started(task)
    _until(ready)
    process.kill()
    process.wait()


def _until(ready: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def running(task: Job) -> set[int]:
    assert task.folder is not None
    return own_process.started_for((task.folder / task.key).resolve(), None)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_process, "GRACE_S", 0.3)


@pytest.mark.parametrize("own_process", [True, False])
def test_a_label_is_what_the_calculator_says(own_process: bool, tmp_path: Path) -> None:
    outcome = label(job(Calculation("emt"), tmp_path, own_process=own_process))
    atoms = strained()
    atoms.calc = EMT()
    assert outcome.good
    assert outcome.energy == atoms.get_potential_energy()
    assert outcome.free_energy == atoms.get_potential_energy(force_consistent=True)
    assert outcome.stress == tuple(atoms.get_stress())
    assert outcome.forces == tuple(map(tuple, atoms.get_forces()))
    assert outcome.calculator == "emt"
    assert outcome.seconds > 0
    assert pickle.loads(pickle.dumps(outcome)) == outcome


def test_without_a_folder_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert label(job(Calculation("emt"), None, own_process=False)).good
    assert not list(tmp_path.iterdir())


def test_energies_alone(tmp_path: Path) -> None:
    outcome = label(job(misbehaving("energies_alone"), tmp_path, own_process=False))
    assert outcome.good
    assert outcome.stress is None


@pytest.mark.parametrize("own_process", [True, False])
def test_a_label_is_computed_once(own_process: bool, tmp_path: Path) -> None:
    log = tmp_path / "log"
    task = job(misbehaving("good", log=str(log)), tmp_path / "labels", own_process=own_process)
    first = label(task)
    assert first.good
    assert label(task) == first
    assert label(replace(task, own_process=not own_process)) == first
    assert len(log.read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("good", "structure"),
        ("nan", "structure"),
        ("unconverged", "structure"),
        ("without_scf", "structure"),
        ("killed", "structure"),
        ("unreliable", "either"),
        ("without_stress", "either"),
        ("exiting", "either"),
        ("crash", "setup"),
        ("unlicensed", "setup"),
        ("without_library", "setup"),
        ("without_program", "setup"),
        ("without_configuration", "setup"),
        ("not_found", "setup"),
    ],
)
def test_what_is_at_fault(name: str, fault: str, tmp_path: Path) -> None:
    own_process = name in ("killed", "exiting")
    parameters = {"share": 1.0} if name == "unreliable" else {}
    assert label(job(misbehaving(name, **parameters), tmp_path, own_process=own_process)).fault == fault


@pytest.mark.parametrize("own_process", [True, False])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nan", "energy is nan, not a finite number"),
        ("infinite_stress", "stress is .inf.*, not six finite numbers"),
        ("unconverged", "says that it has not converged"),
        ("without_stress", "promises a stress and gives none: .*NotImplemented.*For labels of energies alone, name a"),
        ("quitting", "^SystemExit: no input file$"),
        ("crash", "there is no crash in .*misbehaving.py, which has .*aborting"),
    ],
)
def test_what_goes_wrong_is_told_in_words(name: str, words: str, own_process: bool, tmp_path: Path) -> None:
    outcome = label(job(misbehaving(name), tmp_path, own_process=own_process))
    _failed(outcome, words)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("aborting", r"process died of SIGABRT\. Its log: .*label.log"),
        ("killed", r"died of SIGKILL \(most often the machine had no memory left\)"),
        ("exiting", "ended with status 3 and no result. Its log .*label.log ends: out of licences"),
    ],
)
def test_a_process_that_dies_hurts_nothing_else(name: str, words: str, tmp_path: Path) -> None:
    _failed(label(job(misbehaving(name), tmp_path)), words)


def _failed(outcome: Outcome, words: str) -> None:
    assert not outcome.good
    assert outcome.energy is None
    assert outcome.error is not None
    assert re.search(words, outcome.error), outcome.error
    assert len(outcome.error.splitlines()) <= 2


def test_an_attempt_that_failed_is_made_again_from_nothing(tmp_path: Path) -> None:
    task = job(misbehaving("unreliable", share=1.0), tmp_path)
    _failed(label(task), "^CalculationFailed: SCF did not converge in 100 steps$")
    folder = tmp_path / task.key
    (folder / "WAVECAR").write_text("half of it")
    (folder / "scratch").mkdir()
    (folder / "scratch" / "file").write_text("")
    _failed(label(task), "SCF did not converge")
    assert sorted(each.name for each in folder.iterdir()) == ["job.json", "label.log", "lock", "outcome.json"]

    task = job(misbehaving("once", log=str(tmp_path / "died")), tmp_path)
    assert not label(task).good
    assert label(task).good
    assert "Fatal Python error: Aborted" in (tmp_path / task.key / "label.log").read_text()


@pytest.mark.slow
def test_a_hang_ends_with_everything_that_it_started(tmp_path: Path, impatient: None) -> None:
    task = job(misbehaving("deaf"), tmp_path, timeout_s=15.0)
    pids: set[int] = set()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(label, task)
        _until(lambda: (tmp_path / task.key / "ready").exists() or future.done())
        pids = running(task)
        outcome = future.result()
    _failed(outcome, r"Not done within the timeout of 15 s. Its log: .*label.log")
    assert outcome.seconds >= 15
    assert len(pids) == 2
    assert not running(task)
    assert not any(Path(f"/proc/{pid}/cmdline").exists() and b"python" in _command(pid) for pid in pids)


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def test_what_a_good_calculation_leaves_running_is_ended(tmp_path: Path) -> None:
    task = job(misbehaving("littering"), tmp_path)
    assert label(task).good
    assert (tmp_path / task.key / "litter").read_text().isdecimal()
    assert not running(task)


def test_an_orphan_finishes_and_its_result_is_taken(tmp_path: Path) -> None:
    log = tmp_path / "log"
    task = job(misbehaving("good", log=str(log), seconds=4.0), tmp_path / "labels")
    orphaned(task, lambda: bool(running(task)))
    assert not log.exists()
    outcome = label(task)
    assert outcome.good
    assert len(log.read_text().splitlines()) == 1
    assert outcome.seconds > 4


@pytest.mark.slow
def test_an_orphan_that_hangs_is_ended_after_the_timeout(tmp_path: Path, impatient: None) -> None:
    task = job(misbehaving("deaf"), tmp_path, timeout_s=3.0)
    orphaned(task, (tmp_path / task.key / "ready").exists)
    orphans = running(task)
    assert len(orphans) == 2
    began = time.monotonic()
    _failed(label(task), "Not done within the timeout of 3 s")
    assert time.monotonic() - began >= 6
    assert not orphans & running(task)


@pytest.mark.slow
def test_what_an_orphan_left_running_is_ended(tmp_path: Path) -> None:
    task = job(misbehaving("deaf"), tmp_path)
    orphaned(task, (tmp_path / task.key / "ready").exists)
    own = next(pid for pid in running(task) if b"labelling" in _command(pid))
    os.kill(own, signal.SIGKILL)
    good = replace(task, calculation=misbehaving("good"))
    assert label(good).good
    assert not running(task)


def test_two_at_once_compute_a_label_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    task = job(misbehaving("good", log=str(log), seconds=0.5), tmp_path / "labels")
    with ThreadPoolExecutor(3) as pool:
        outcomes = list(pool.map(label, [task, replace(task, own_process=False), task]))
    assert outcomes[0].good
    assert outcomes == [outcomes[0]] * 3
    assert len(log.read_text().splitlines()) == 1


def test_a_holder_that_nobody_can_end_is_told(tmp_path: Path, impatient: None) -> None:
    task = job(Calculation("emt"), tmp_path, timeout_s=0.5)
    (tmp_path / task.key).mkdir()
    with (tmp_path / task.key / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        _failed(label(task), "Another process computes this label and does not end")
    assert label(replace(task, timeout_s=None)).good


def test_killed_at_any_instant_there_is_a_whole_result_or_none(tmp_path: Path) -> None:
    seen = random.Random(7)
    for attempt in range(4):
        task = job(misbehaving("good"), tmp_path / str(attempt))
        process = started(task)
        _until(lambda task=task: bool(running(task)) or process.poll() is not None)  # type: ignore[misc]  # noqa: B023
        time.sleep(seen.uniform(0, 1.5))
        for pid in {process.pid} | running(task):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        process.wait()
        result = tmp_path / str(attempt) / task.key / "outcome.json"
        if result.exists():
            assert json.loads(result.read_text())["error"] is None
        assert label(task).good


def test_a_result_that_the_disk_damaged_is_computed_again(tmp_path: Path) -> None:
    task = job(Calculation("emt"), tmp_path, own_process=False)
    first = label(task)
    for damage in ('{"key": "l', "[]", "{}", "\x00\x00"):
        (tmp_path / task.key / "outcome.json").write_text(damage)
        assert replace(label(task), seconds=first.seconds) == first


def test_labels_in_work_can_be_ended(tmp_path: Path, impatient: None) -> None:
    hanging = job(misbehaving("hanging"), tmp_path)
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(label, hanging), pool.submit(label, hanging)]
        _until(lambda: bool(running(hanging)))
        time.sleep(0.2)
        end_labels()
        outcomes = [future.result(timeout=10) for future in futures]
    assert not running(hanging)
    assert sorted(str(outcome.error)[:13] for outcome in outcomes) == ["Another proce", "The calculato"]
    assert label(job(Calculation("emt"), tmp_path)).good


def test_a_disk_that_refuses_is_told(tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("a file")
    for own in (True, False):
        task = job(Calculation("emt"), tmp_path / "labels", own_process=own)
        _failed(label(task), r"^NotADirectoryError: .*labels|^FileExistsError: .*labels")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"own_process": True}, "needs a folder"),
        ({"own_process": False, "timeout_s": 3.0}, "cannot be stopped after a time"),
        ({"own_process": True, "timeout_s": -1.0, "folder": Path()}, "positive number of seconds, not -1"),
        ({"own_process": True, "timeout_s": float("nan"), "folder": Path()}, "positive number of seconds, not nan"),
        ({"own_process": False, "key": "../l0"}, "names no folder"),
    ],
)
def test_jobs_that_cannot_be(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(BadCalculation, match=words):
        Job(**{"key": "l0", "atoms": bulk("Cu"), "calculation": Calculation("emt"), **settings})
