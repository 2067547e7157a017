"""Campaigns killed at random instants, with their workers and their database's server, end as undisturbed ones.

Nothing is lost, nothing is there twice, nothing that was finished is computed again, and the same is decided.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ase.db
import pytest
from campaigns import computed, copper, decisions, rows
from postgres import Server

from ase_dkl import Surrogate
from ase_dkl.active.campaign import Campaign
from ase_dkl.active.plan import Plan
from ase_dkl.active.record import read_stages
from ase_dkl.active.status import Status
from ase_dkl.active.stopping import Stop

pytestmark = pytest.mark.slow

LOT = random.Random(4)


class Driver:
    """Runs campaigns in processes of their own."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        assert self._line() == "ready"

    def begin(self, run: "Run") -> int:
        """Begin, or go on; gives the number of the process."""
        assert self._process.stdin is not None
        told = {"place": str(run.place), "workers": run.workers, "told": run.told, "given": run.given}
        self._process.stdin.write(json.dumps(told) + "\n")
        self._process.stdin.flush()
        return int(self._line())

    def end(self) -> int:
        """Wait for the end; its status as of `waitpid`."""
        return int(self._line())

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@dataclass
class Run:
    """A campaign at a place."""

    place: Path
    workers: str = "threads"
    told: dict[str, Any] = field(default_factory=lambda: {"seconds": 0.1})
    given: dict[str, Any] = field(default_factory=lambda: {"budget": 30})

    @property
    def plan(self) -> Plan:
        given = dict(self.given)
        return copper(self.place, stop=Stop(budget=given.pop("budget")), **given)

    def check(self) -> Status:
        """The database opens, and what is in it fits together."""
        status = Campaign.status(self.plan)
        assert status.waiting + status.done <= self.given["budget"]
        assert status.failed == 0
        rows(self.plan)
        return status

    def equals(self, other: "Run") -> None:
        """It ended as the other did."""
        plan, reference = self.plan, other.plan
        assert rows(plan) == rows(reference)
        assert decisions(read_stages(plan.folder)) == decisions(read_stages(reference.folder))
        models = [Surrogate.load(each.folder / "surrogate.dkl").digest for each in (plan, reference)]
        assert models[0] == models[1]
        assert not any("repeated" in what for what in computed(self.place / "log").values())


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    command = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("fault_driver.py"))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    with subprocess.Popen(command, **pipes) as process:
        yield Driver(process)
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture(scope="module")
def undisturbed(driver: Driver, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Run]:
    """By their budgets."""
    runs = {}
    for budget in (12, 30):
        runs[budget] = Run(tmp_path_factory.mktemp("undisturbed"), told={}, given={"budget": budget})
        driver.begin(runs[budget])
        assert driver.end() == 0
        assert all(what == ["begun", "finished"] for what in computed(runs[budget].place / "log").values())
    return runs


class Lives:
    """Random times after which to kill: short ones, but not so short that nothing ever happens in them."""

    def __init__(self, longest: float) -> None:
        self.longest, self.seen = longest, {(0, 0)}

    def live(self) -> None:
        """Wait for the next one."""
        time.sleep(LOT.uniform(0, self.longest))

    def ended(self, status: Status) -> None:
        """See how far the campaign came in it."""
        known = len(self.seen)
        self.seen.add((status.done, len(status.stages)))
        self.longest *= 0.7 if len(self.seen) > known else 1.4


def kill(process: int, what: str, place: Path) -> None:
    """Kill -9 a campaign, and its workers too, or its workers alone."""
    if "labels" in what:
        for environment in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if f"ASE_DKL_LABEL={place}".encode() in environment.read_bytes():
                    os.kill(int(environment.parent.name), signal.SIGKILL)
    if "children" in what:
        for status in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                if int(status.read_text().rpartition(")")[2].split()[1]) == process:
                    os.kill(int(status.parent.name), signal.SIGKILL)
    if "group" in what:
        os.killpg(process, signal.SIGKILL)
    if "campaign" in what:
        os.kill(process, signal.SIGKILL)


@pytest.mark.parametrize(
    ("kills", "budget", "workers", "own_process", "ways"),
    [
        (36, 30, "threads", False, ["campaign"]),
        (8, 12, "local", False, ["campaign", "group", "children"]),
        (8, 12, "local", True, ["campaign", "campaign and labels", "labels"]),
    ],
)
def test_killed_at_random_instants(
    driver: Driver,
    undisturbed: dict[int, Run],
    tmp_path: Path,
    kills: int,
    budget: int,
    workers: str,
    own_process: bool,
    ways: list[str],
) -> None:
    def place(number: int) -> Run:
        folder = tmp_path / str(number)
        folder.mkdir()
        return Run(folder, workers, given={"budget": budget, "own_process": own_process, "attempts": 50})

    lives, number, left = Lives(0.5 if workers == "threads" else 3.0), 0, kills
    run = place(number)
    while left:
        process = driver.begin(run)
        lives.live()
        way = LOT.choice(ways)
        with suppress(ProcessLookupError):
            kill(process, way, run.place)
            left -= 1
        status = driver.end()
        if status == signal.SIGKILL:
            lives.ended(run.check())
            continue
        # It came to its end before it was killed, or only its workers were, without which it goes on.
        assert status == 0
        if "campaign" in way or "group" in way:
            lives.longest /= 2
        run.equals(undisturbed[budget])
        number += 1
        run = place(number)
    driver.begin(run)
    assert driver.end() == 0
    run.equals(undisturbed[budget])
    assert len(lives.seen) > kills // 12, "It was killed at few stages only."


def test_killed_while_labels_fail_hang_and_are_not_numbers(
    driver: Driver, undisturbed: dict[int, Run], tmp_path: Path
) -> None:
    told = {"fails": 0.3, "hangs": 0.1, "nan": 0.1}
    given = {"budget": 12, "own_process": True, "timeout_s": 6, "attempts": 50}
    run = Run(tmp_path, "local", told, given)
    for _ in range(4):
        process = driver.begin(run)
        time.sleep(LOT.uniform(0, 8))
        with suppress(ProcessLookupError):
            kill(process, "campaign", run.place)
        driver.end()
        run.check()
    driver.begin(run)
    assert driver.end() == 0
    run.equals(undisturbed[12])
    assert max(row.label_attempts for row in ase.db.connect(run.plan.database).select()) > 1


def test_killed_together_with_the_server_of_its_database(
    driver: Driver, undisturbed: dict[int, Run], tmp_path: Path, server: Server
) -> None:
    lives = Lives(1.0)
    run = Run(tmp_path, given={"budget": 30, "database": server.new_database()})
    for _ in range(6):
        process = driver.begin(run)
        lives.live()
        server.kill()
        time.sleep(LOT.uniform(0, 0.5))
        if LOT.random() < 0.7:
            with suppress(ProcessLookupError):
                kill(process, "campaign", run.place)
            driver.end()
            server.start()
        else:
            server.start()
            assert driver.end() == 0
        lives.ended(run.check())
    driver.begin(run)
    assert driver.end() == 0
    run.equals(undisturbed[30])
