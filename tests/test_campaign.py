"""Campaigns of EMT copper, from design to stop, and through what may happen on the way."""

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import ase.db
import pytest
from campaigns import computed, copper, decisions, rows
from counted_emt import TOLD
from test_executors import DASK, PARSL

from ase_dkl import Dataset, Surrogate, fit
from ase_dkl.active import record
from ase_dkl.active.campaign import Campaign, Result
from ase_dkl.active.labels.calculation import BadCalculation, Calculation
from ase_dkl.active.labels.executors import open_executor
from ase_dkl.active.plan import BadCampaign, Plan
from ase_dkl.active.status import Status
from ase_dkl.active.stopping import Stop, StopReason
from ase_dkl.active.store import BadStore
from ase_dkl.active.target import Target

Tell = Callable[..., Path]


def run(plan: Plan, watch: Callable[[Status], None] | None = None, workers: int = 1) -> Result:
    return Campaign(plan, lambda: ThreadPoolExecutor(workers)).run(watch)


@pytest.fixture
def tell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Tell:
    """Tell the calculator how to go wrong; gives the log of what it computes."""

    def telling(**told: float) -> Path:
        log = tmp_path / "log"
        monkeypatch.setenv(TOLD, json.dumps({**told, "log": str(log)}))
        return log

    return telling


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Result]:
    plan = copper(tmp_path_factory.mktemp("undisturbed"))
    return plan, run(plan)


class Stopped(Exception):
    pass


def test_from_design_to_budget(undisturbed: tuple[Plan, Result]) -> None:
    plan, result = undisturbed
    assert result.kind == StopReason.budget
    assert "18 labels" in result.reason
    assert (result.labels, result.failed) == (18, 0)
    assert [stage.stage for stage in result.stages] == [0, 1, 2, 3, 4]
    assert [stage.labels for stage in result.stages] == [6, 9, 12, 15, 18]
    assert [len(stage.batch_errors) for stage in result.stages] == [0, 3, 3, 3, 3]
    assert result.stages[0].refitted
    assert result.surrogate.report.n_rows == 18
    assert result.surrogate.report.dataset["campaign"]["stage"] == 4
    assert Surrogate.load(plan.folder / "surrogate.dkl").digest == result.surrogate.digest

    requests = sorted((row["requests"]["copper"] for row in rows(plan).values()), key=lambda each: each["number"])
    assert [each["number"] for each in requests] == list(range(18))
    # A batch is chosen two stages ahead, the first two at once.
    assert [(each["batch"], each.get("stage")) for each in requests] == [
        (batch, stage) for batch, stage in ((0, None), (0, None), (1, 0), (2, 0), (3, 1), (4, 2)) for _ in range(3)
    ]
    assert all(each["reason"] for each in requests)
    assert len(Dataset.read(plan.database, reference=plan.crystal)) == 18


def test_errors_are_against_the_model_that_chose(undisturbed: tuple[Plan, Result]) -> None:
    plan, result = undisturbed
    found = []
    for row in rows(plan).values():
        asked = row["requests"]["copper"]
        if asked["batch"] == 3:
            expected = (asked["energy_uncertainty"] ** 2 + asked["energy_noise"] ** 2) ** 0.5
            found.append((asked["number"], row["energy"] - asked["energy_predicted"], expected))
    for (_, error, expected), told, uncertainty in zip(
        sorted(found), result.stages[3].batch_errors, result.stages[3].batch_uncertainties, strict=True
    ):
        assert told == pytest.approx(error)
        assert uncertainty == pytest.approx(expected)


def test_once_ended_there_is_nothing_to_do(undisturbed: tuple[Plan, Result], tell: Tell) -> None:
    plan, result = undisturbed
    log = tell()
    again = run(plan)
    assert not log.exists()
    assert again.reason == result.reason
    assert again.stages == result.stages
    assert again.surrogate.digest == result.surrogate.digest


@pytest.mark.parametrize("workers", [2, 5])
def test_the_order_in_which_labels_come_decides_nothing(
    undisturbed: tuple[Plan, Result], tmp_path: Path, tell: Tell, workers: int
) -> None:
    tell(jitter=0.05)
    plan = copper(tmp_path)
    result = run(plan, workers=workers)
    assert decisions(result.stages) == decisions(undisturbed[1].stages)
    assert result.surrogate.digest == undisturbed[1].surrogate.digest
    assert rows(plan) == rows(undisturbed[0])


@pytest.mark.parametrize("kind", ["local", "dask", pytest.param("parsl", marks=pytest.mark.slow)])
def test_where_labels_are_computed_decides_nothing(undisturbed: tuple[Plan, Result], tmp_path: Path, kind: str) -> None:
    file = tmp_path / "cluster.py"
    file.write_text(DASK + PARSL.format(folder=str(tmp_path / "runinfo")))
    what = {"local": {}, "dask": {"cluster": f"{file}:cluster"}, "parsl": {"config": f"{file}:config"}}[kind]
    plan = copper(tmp_path)
    result = Campaign(plan, lambda: open_executor({"kind": kind, **what}, own_process=False)).run()
    assert result.surrogate.digest == undisturbed[1].surrogate.digest
    assert rows(plan) == rows(undisturbed[0])


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, Stopped])
def test_interrupted_it_goes_on_and_decides_the_same(
    undisturbed: tuple[Plan, Result], tmp_path: Path, tell: Tell, interruption: type[BaseException]
) -> None:
    log = tell()
    plan = copper(tmp_path)
    # At every stage and between them: the status is told after all that happens.
    for calls in range(1, 14):
        left = iter(range(calls))

        def watch(status: Status, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise interruption

        try:
            run(plan, watch)
        except interruption:
            assert "goes on" in Campaign.status(plan).event or interruption is Stopped
    result = run(plan)
    assert decisions(result.stages) == decisions(undisturbed[1].stages)
    assert result.surrogate.digest == undisturbed[1].surrogate.digest
    assert rows(plan) == rows(undisturbed[0])
    assert all(what == ["begun", "finished"] for what in computed(log).values())


@pytest.mark.parametrize("damage", ["no stages", "half the stages", "earlier stages", "no model", "half a model"])
def test_without_its_record_the_stages_are_made_again(
    undisturbed: tuple[Plan, Result], tmp_path: Path, tell: Tell, damage: str
) -> None:
    shutil.copytree(undisturbed[0].folder.parent, tmp_path, dirs_exist_ok=True)
    plan = copper(tmp_path)
    stages, model = plan.folder / "stages.json", plan.folder / "surrogate.dkl"
    if damage == "no stages":
        stages.unlink()
    elif damage == "half the stages":
        stages.write_text(stages.read_text()[:700])
    elif damage == "earlier stages":
        stages.write_text(json.dumps(json.loads(stages.read_text())[:2]))
    elif damage == "no model":
        model.unlink()
    else:
        model.write_bytes(model.read_bytes()[:5000])
    log = tell()
    result = run(plan)
    assert not log.exists()
    assert decisions(result.stages) == decisions(undisturbed[1].stages)
    assert result.surrogate.digest == undisturbed[1].surrogate.digest


def test_another_tolerance_lets_it_go_on(tmp_path: Path, tell: Tell) -> None:
    loose = copper(tmp_path, stop=Stop(tolerance_meV=10.0, budget=60))
    first = run(loose)
    assert first.kind == StopReason.tolerance
    assert "10 meV" in first.reason
    aim = loose.stop.aim(first.stages[-1])
    assert aim is not None
    strict = replace(loose, stop=Stop(tolerance_meV=0.9 * aim[0], budget=60))
    log = tell()
    second = run(strict)
    assert second.kind == StopReason.tolerance
    assert second.stages[: len(first.stages)] == first.stages
    assert len(computed(log)) == second.labels - first.labels > 0
    again = run(loose)
    assert again.kind == StopReason.tolerance
    assert again.stages == second.stages
    assert (again.kind, again.reason) == loose.stop.verdict(again.stages)


def test_what_is_requested_is_computed_before_it_ends_and_judged(tmp_path: Path) -> None:
    plan = copper(tmp_path, stop=Stop(tolerance_meV=10.0))
    result = run(plan)
    met = [i for i in range(len(result.stages)) if plan.stop.verdict(result.stages[: i + 1])]
    assert met[0] < len(result.stages) - 1
    assert result.labels == result.stages[-1].labels == 6 + 3 * (len(result.stages) - 1)
    aim = plan.stop.aim(result.stages[-1])
    assert aim is not None
    assert f"at most {aim[0]:.2g} meV" in result.reason
    assert result.stages[-1].labels == result.surrogate.report.n_rows
    status = Campaign.status(plan)
    assert (status.reason, status.finished) == (result.reason, True)


def test_a_verdict_that_the_last_labels_contradict_is_none(tmp_path: Path, tell: Tell) -> None:
    """The labels that are in work when the tolerance is met, and those that come after, are off by 20 meV."""
    tell(wrong_from=12)
    plan = copper(tmp_path, stop=Stop(tolerance_meV=10.0, budget=24))
    reasons: list[str | None] = []
    result = run(plan, lambda status: reasons.append(status.reason))
    halts = [i for i, reason in enumerate(reasons) if reason and "within the tolerance" in reason]
    assert halts
    assert None in reasons[halts[0] :]
    assert result.kind == StopReason.budget
    assert result.labels == 24
    assert (result.kind, result.reason) == plan.stop.verdict(result.stages)
    # Made again out of the labels alone, the decisions are the same.
    (plan.folder / "stages.json").unlink()
    again = run(plan)
    assert decisions(again.stages) == decisions(result.stages)
    assert again.surrogate.digest == result.surrogate.digest


def test_the_model_that_is_left_is_trained_on_all_labels(undisturbed: tuple[Plan, Result]) -> None:
    plan, result = undisturbed
    assert result.stages[-1].refitted
    trained = fit(Dataset.read(plan.database, reference=plan.crystal), plan.config, progress=False)
    assert result.surrogate.digest == trained.digest


def test_chosen_for_a_property(tmp_path: Path) -> None:
    plan = copper(tmp_path, stop=Stop(target=Target("C44", 1.0), budget=18))
    result = run(plan)
    last = result.stages[-1]
    assert last.target_value is not None
    assert last.target_std is not None
    assert {"variance of C44"} <= {
        " ".join(row["requests"]["copper"]["reason"].split()[-3:]) for row in rows(plan).values()
    }
    assert Campaign.status(plan).target_unit == "GPa"


@pytest.mark.parametrize("kind", ["sobol", "random", "conditional", "largest"])
def test_other_ways_to_choose(tmp_path: Path, kind: str) -> None:
    plan = copper(tmp_path, stop=Stop(budget=12), acquisition=kind)
    run(plan)
    cells = [row.cell for row in ase.db.connect(plan.database).select()]
    assert len(cells) == 12
    if kind == "sobol":
        design = plan.box.design(plan.crystal, 12, seed=plan.seed)
        assert all((cell == point).all() for cell, point in zip(cells, design, strict=True))


def test_a_plan_that_changed_is_told_in_words(undisturbed: tuple[Plan, Result]) -> None:
    plan = undisturbed[0]
    with pytest.raises(BadCampaign, match="another choice of structures"):
        run(replace(plan, batch=4))
    with pytest.raises(BadCampaign, match="another box and another model"):
        run(replace(plan, box=type(plan.box)((-0.02, 0.02)), config=replace(plan.config, width=8)))
    with pytest.raises(BadCampaign, match="another calculator"):
        Campaign.status(replace(plan, calculation=type(plan.calculation)("emt")))


def test_a_database_that_is_another_is_told_in_words(tmp_path: Path) -> None:
    plan = copper(tmp_path, stop=Stop(budget=9))
    run(plan)
    with pytest.raises(BadCampaign, match="holds a model of 9 labels"):
        run(replace(plan, database=str(tmp_path / "other.db")))
    database = ase.db.connect(plan.database)
    database.delete([3])
    with pytest.raises(BadCampaign, match="Request 2 of the campaign copper is gone"):
        run(plan)


def test_one_process_at_a_time(tmp_path: Path, tell: Tell) -> None:
    tell(seconds=2)
    plan = copper(tmp_path)
    begun, seen = threading.Event(), []

    def watch(status: Status) -> None:
        begun.set()

    thread = threading.Thread(target=lambda: seen.append(run(plan, watch, workers=6)))
    thread.start()
    assert begun.wait(30)
    time.sleep(0.3)
    status = Campaign.status(plan)
    assert status.alive
    assert not status.finished
    assert status.waiting + status.running + status.done == 6
    with pytest.raises(BadCampaign, match="Another process is at work"):
        run(plan)
    thread.join()
    assert seen[0].labels == 18
    status = Campaign.status(plan)
    assert not status.alive
    assert status.finished
    assert status.done == 18
    assert status.labels_to_go == 0
    json.dumps(status.to_dict(), allow_nan=False)


def test_before_it_begins_there_is_a_status(tmp_path: Path) -> None:
    status = Campaign.status(copper(tmp_path))
    assert (status.waiting, status.done, status.stage, status.reason, status.alive) == (0, 0, None, None, False)


def test_labels_that_fail_are_tried_again(undisturbed: tuple[Plan, Result], tmp_path: Path, tell: Tell) -> None:
    tell(fails=0.3, nan=0.2)
    plan = copper(tmp_path, attempts=50)
    events = []
    result = run(plan, lambda status: events.append(status.event))
    assert result.surrogate.digest == undisturbed[1].surrogate.digest
    assert rows(plan) == rows(undisturbed[0])
    assert any("attempt 1 of 50: RuntimeError: The density did not converge." in event for event in events)
    attempts = [row.label_attempts for row in ase.db.connect(plan.database).select()]
    assert max(attempts) > 1


def test_labels_that_fail_for_good_are_passed_over(tmp_path: Path, tell: Tell) -> None:
    tell(spares=0.7)
    plan = copper(tmp_path, initial=12, stop=Stop(budget=24))
    result = run(plan)
    assert result.kind == StopReason.budget
    assert result.failed > 0
    assert result.labels + result.failed == 24
    status = Campaign.status(plan)
    assert (status.done, status.failed) == (result.labels, result.failed)
    assert result.surrogate.report.n_rows == result.labels


def test_where_all_fail_it_says_why_and_can_be_begun_again(tmp_path: Path, tell: Tell) -> None:
    tell(nan=1.0)
    plan = copper(tmp_path)
    with pytest.raises(BadCampaign, match=r"6 failed, after 3 attempts each.*energy is nan") as caught:
        run(plan)
    assert "ase-dkl active retry" in str(caught.value)
    assert "is nan" in Campaign.status(plan).event
    tell()
    with pytest.raises(BadCampaign, match="6 failed"):
        run(plan)
    assert Campaign.retry(plan) == 6
    with pytest.raises(BadCampaign, match="there is nothing to try again"):
        Campaign.retry(plan)
    assert run(plan).labels == 18


def test_what_failed_for_good_is_tried_again_when_asked(tmp_path: Path, tell: Tell) -> None:
    tell(spares=0.7)
    plan = copper(tmp_path, initial=12, stop=Stop(budget=24))
    other = replace(plan, name="other", folder=tmp_path / "other")
    before = run(plan)
    assert run(other).failed == before.failed > 0
    requests = rows(plan)
    with record.locked(plan.folder), pytest.raises(BadCampaign, match="Another process is at work"):
        Campaign.retry(plan)
    assert Campaign.retry(plan) == before.failed
    assert Campaign.status(plan).waiting == before.failed
    log = tell()
    after = run(plan)
    assert len(computed(log)) - len(requests) == 0
    assert sum(what.count("finished") for what in computed(log).values()) == 24
    assert (after.labels, after.failed) == (24, 0)
    assert after.stages[-1].failed == 0
    assert after.surrogate.report.n_rows == 24
    assert {key: row["requests"] for key, row in rows(plan).items()} == {
        key: row["requests"] for key, row in requests.items()
    }
    assert run(other).labels == 24
    with pytest.raises(BadCampaign, match="there is nothing to try again"):
        Campaign.retry(plan)
    with pytest.raises(BadCampaign, match="there is nothing to try again"):
        Campaign.retry(copper(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "vasp is not set up: CalculatorSetupError: Please set either command .*ASE_VASP_COMMAND"),
        ({"ASE_VASP_COMMAND": "vasp_std"}, "vasp is not set up: RuntimeError: No pseudopotential for Cu"),
    ],
)
@pytest.mark.filterwarnings("ignore::ase.config.ASEEnvDeprecationWarning")
@pytest.mark.parametrize("own_process", [False, True])
def test_a_calculator_that_is_not_set_up_stops_it_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], words: str, own_process: bool
) -> None:
    for name in ("ASE_VASP_COMMAND", "VASP_COMMAND", "VASP_SCRIPT", "VASP_PP_PATH"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    plan = copper(tmp_path, calculation=Calculation("vasp", {"xc": "PBE"}), own_process=own_process)
    with pytest.raises(BadCalculation, match=words):
        run(plan)
    status = Campaign.status(plan)
    assert (status.waiting, status.failed) == (6, 0)
    assert "is not set up" in status.event
    assert {row.label_attempts for row in ase.db.connect(plan.database).select()} == {0}


def test_first_labels_that_all_fail_alike_are_of_the_set_up(tmp_path: Path, tell: Tell) -> None:
    log = tell(fails=1.0)
    plan = copper(tmp_path)
    for calculations in (6, 12):
        with pytest.raises(
            BadCalculation, match=r"All of the first 6 labels failed in the same way.*The density did not converge"
        ):
            run(plan, workers=3)
        assert sum(what.count("begun") for what in computed(log).values()) == calculations
    assert {row.label_attempts for row in ase.db.connect(plan.database).select()} == {0}
    tell()
    assert run(plan).labels == 18


def test_a_library_says_what_happens_where_it_is_asked_to(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="ase_dkl"):
        run(copper(tmp_path, stop=Stop(budget=9)))
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "copper: The campaign begins."
    assert said[-1].startswith("copper: Stage 1: 9 labels, σ")
    assert said[-1].endswith("The budget of 9 labels is spent.")


def test_where_labels_fail_from_some_time_on_it_ends(tmp_path: Path, tell: Tell) -> None:
    tell(until=9)
    result = run(copper(tmp_path, stop=Stop(budget=60)))
    assert result.kind == StopReason.failures
    assert "did not converge" in result.reason
    assert result.labels == 9
    assert result.surrogate.report.n_rows == 9


def test_two_campaigns_share_labels(tmp_path: Path, tell: Tell) -> None:
    log = tell()
    first = copper(tmp_path)
    second = copper(tmp_path, name="other", folder=tmp_path / "other")
    one = run(first)
    other = run(second)
    assert one.surrogate.digest == other.surrogate.digest
    assert len(computed(log)) == 18
    assert all(set(row["requests"]) == {"copper", "other"} for row in rows(first).values())


@pytest.mark.slow
def test_two_campaigns_share_labels_at_the_same_time(tmp_path: Path, tell: Tell) -> None:
    log = tell(seconds=0.2)
    plans = [copper(tmp_path, name=name, folder=tmp_path / name) for name in ("one", "two")]
    results: dict[str, Result] = {}

    def work(plan: Plan) -> None:
        results[plan.name] = run(plan)

    threads = [threading.Thread(target=work, args=[plan]) for plan in plans]
    for thread in threads:
        thread.start()
        time.sleep(0.5)
    for thread in threads:
        thread.join()
    assert results["one"].surrogate.digest == results["two"].surrogate.digest
    assert sorted(map(len, computed(log).values())) == [2] * 18


def test_what_cannot_work_is_told_before_it_begins(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nonesuch"):
        run(copper(tmp_path, calculation=type(copper(tmp_path).calculation)("nonesuch")))
    with pytest.raises(ValueError, match="C99"):
        run(copper(tmp_path, stop=Stop(target=Target("C99", 1.0))))
    (tmp_path / "text.db").write_text("no database")
    with pytest.raises(BadStore):
        run(copper(tmp_path, database=str(tmp_path / "text.db")))
