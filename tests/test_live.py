import io
import logging
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from ase_dkl.active.status import Status
from ase_dkl.active.stopping import Stage, Stop
from ase_dkl.active.target import Target
from ase_dkl.cli.live import picture, watching
from ase_dkl.cli.terminal import heard

FIRST = Stage(0, 8, 0, 0.006, 0.008, 0.030, 3e-4, (), (), 1.0, None, None, True, 12.0)
SECOND = replace(
    FIRST,
    stage=1,
    labels=12,
    rms_uncertainty=0.0015,
    rms_bound=0.002,
    largest_uncertainty=0.009,
    batch_errors=(0.003, -0.003),
    batch_uncertainties=(0.002, 0.002),
    calibration=1.5,
    refitted=False,
    seconds=0.1,
)
OFF = "with errors 1.50 times as large as expected"


def status(**given: Any) -> Status:
    usual: dict[str, Any] = {
        "name": "silicon",
        "alive": True,
        "waiting": 3,
        "running": 1,
        "done": 12,
        "failed": 0,
        "stages": (FIRST, SECOND),
        "stop": Stop(tolerance_meV=1.0, budget=60),
        "target_unit": None,
        "event": "Stage 1: 12 labels, σ 2 meV.",
        "event_time": 0.0,
        "reason": None,
    }
    return Status(**usual | given)


def shown(status: Status, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(picture(status))
    return captured.get()


class TestWords:
    def test_tell_labels_uncertainty_and_what_it_is_held_against(self) -> None:
        words = status().words()
        assert words["labels"] == "12 done, 1 running, 3 waiting, 0 failed; at most 60"
        assert words["aim"] == f"RMS error at most 2 meV (95 %), {OFF}; tolerance 1 meV"
        assert words["σ over the box"] == "RMS 1.5, largest 9 meV per cell"
        assert words["newest errors"] == "3 meV, where 2 meV were expected (RMS, noise included)"
        assert words["model"] == "of 12 labels, conditioned on new labels in 0.1 s; noise 0.3 meV"
        assert words["last event"] == "Stage 1: 12 labels, σ 2 meV."
        assert "process" not in words
        assert "stop" not in words

    def test_before_the_first_model(self) -> None:
        words = status(stages=(), done=2).words()
        assert words["model"] == "none yet: the initial design comes first"
        assert words["to go"] == "not to be told yet"
        assert "aim" not in words

    def test_a_target(self) -> None:
        known = replace(SECOND, target_value=97.234, target_std=1.31)
        aimed = status(stop=Stop(target=Target("C44", 1.0)), target_unit="GPa", stages=(FIRST, known))
        assert aimed.words()["aim"] == f"C44 = 97.2 ± 1.3 GPa, {OFF}; tolerance 1 GPa"
        assert replace(aimed, stages=(FIRST,)).words()["aim"] == "C44 is not known yet; tolerance 1 GPa"

    def test_a_budget_alone_is_no_aim(self) -> None:
        assert "aim" not in status(stop=Stop(budget=60)).words()

    def test_stopping_and_stopped(self) -> None:
        reason = "The budget of 12 labels is spent."
        words = status(reason=reason).words()
        assert words["stop"] == f"{reason} What was begun is brought to its end."
        assert "to go" not in words
        ended = status(reason=reason, waiting=0, running=0, alive=False, event=f"Stage 1. {reason}").words()
        assert ended["stop"] == reason
        assert "last event" not in ended
        assert "process" not in ended

    def test_nobody_at_work(self) -> None:
        assert "ase-dkl active run" in status(alive=False).words()["process"]


class TestPicture:
    def test_holds_all_words_and_two_bars(self) -> None:
        text = shown(status(), 120)
        assert "silicon" in text
        for name, words in status().words().items():
            assert f"{name}  " in text
            assert words in text
        assert text.count("━") > 20

    @pytest.mark.parametrize("width", [40, 80])
    def test_nothing_is_lost_in_a_narrow_terminal(self, width: int) -> None:
        text = shown(status(event="Ω" * 90), width)
        assert all(len(line) == width for line in text.splitlines())
        assert text.count("Ω") == 90

    @pytest.mark.parametrize("stages", [(), (FIRST,), (replace(FIRST, rms_uncertainty=1e-5),)])
    @pytest.mark.parametrize("stop", [Stop(tolerance_meV=1.0), Stop(target=Target("a", 1.0)), Stop(budget=9)])
    def test_is_drawn_at_every_stage(self, stages: tuple[Stage, ...], stop: Stop) -> None:
        assert "labels" in shown(status(stages=stages, stop=stop))


class TestWatching:
    def test_a_terminal_gets_a_picture_that_changes(self) -> None:
        console = Console(file=io.StringIO(), width=100, force_terminal=True)
        with heard(logging.INFO), watching(console) as watch:
            watch(status(done=11))
            watch(status())
        assert isinstance(console.file, io.StringIO)
        assert "12 done" in console.file.getvalue()

    def test_what_is_none_gets_a_line_for_each_event(self, capsys: pytest.CaptureFixture[str]) -> None:
        with heard(logging.INFO), watching(Console(file=io.StringIO())) as watch:
            watch(status(done=11))
            watch(status(done=11, running=2))
            watch(status())
            watch(status(event="Stage 2."))
        printed = capsys.readouterr()
        assert printed.out == ""
        lines = [line.split("  ", 1)[1] for line in printed.err.splitlines()]
        assert lines == [
            "11 done, 1 running, 0 failed  Stage 1: 12 labels, σ 2 meV.",
            "12 done, 1 running, 0 failed",
            "12 done, 1 running, 0 failed  Stage 2.",
        ]
