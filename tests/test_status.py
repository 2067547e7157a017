import json
from pathlib import Path

from campaigns import copper

from ase_dkl.active.status import Progress, status_of
from ase_dkl.active.stopping import Stage, Stop, StopReason
from ase_dkl.active.target import Target

COUNTS = {"waiting": 5, "done": 7, "failed": 1}


def stages(*sigmas: float) -> list[Stage]:
    return [
        Stage(i, 8 + 4 * i, 0, sigma, 1.5 * sigma, 2 * sigma, 1e-4, (), (), 1.0, None, None, False, 0.1)
        for i, sigma in enumerate(sigmas)
    ]


def test_what_a_campaign_told_is_read_by_others(tmp_path: Path) -> None:
    assert Progress.read(tmp_path) == Progress()
    Progress(3, "Stage 2", 1e9).write(tmp_path)
    assert Progress.read(tmp_path) == Progress(3, "Stage 2", 1e9)
    (tmp_path / "progress.json").write_text('{"running": 3')
    assert Progress.read(tmp_path) == Progress()


def test_labels_that_run_are_known_while_the_process_lives(tmp_path: Path) -> None:
    plan = copper(tmp_path)
    alive = status_of(plan, COUNTS, [], None, Progress(2, "", 0.0), alive=True)
    assert (alive.waiting, alive.running, alive.done, alive.failed) == (3, 2, 7, 1)
    assert alive.stage is None
    assert alive.labels_to_go is None
    dead = status_of(plan, COUNTS, [], None, Progress(2, "", 0.0), alive=False)
    assert (dead.waiting, dead.running) == (5, 0)


def test_it_ends_when_there_is_a_reason_and_nothing_is_left(tmp_path: Path) -> None:
    plan = copper(tmp_path, stop=Stop(tolerance_meV=1.0))
    given = stages(0.01, 0.005, 0.003)
    going = status_of(plan, COUNTS, given, None, Progress(), alive=True)
    assert going.stage == given[-1]
    assert going.labels_to_go is not None
    assert going.labels_to_go > 0
    ending = status_of(plan, COUNTS, given, (StopReason.tolerance, "Good."), Progress(), alive=True)
    assert not ending.finished
    ended = status_of(plan, {**COUNTS, "waiting": 0}, given, (StopReason.tolerance, "Good."), Progress(), alive=False)
    assert ended.finished
    assert (ended.reason, ended.labels_to_go) == ("Good.", 0)
    told = json.loads(json.dumps(ended.to_dict(), allow_nan=False))
    assert told["finished"]
    assert told["stages"][2]["rms_uncertainty"] == 0.003


def test_units_of_targets(tmp_path: Path) -> None:
    for name, unit in {"C44": "GPa", "B0": "GPa", "V0": "Å³", "a": "Å", "gamma": "°"}.items():
        plan = copper(tmp_path, stop=Stop(target=Target(name, 1.0)))
        assert status_of(plan, COUNTS, [], None, Progress(), alive=False).target_unit == unit
