import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import ase.db
import ase.io
import pytest
from ase.build import bulk
from commands import Command
from matplotlib.image import imread
from typer.testing import Result

from ase_dkl import Dataset, Surrogate
from ase_dkl.cli.active import TEMPLATE

SETTINGS = """
[campaign]
name = "copper"
database = "labels.db"
[crystal]
file = "copper.xyz"
[box]
lengths = [-0.04, 0.04]
angles = [-4, 4]
[calculator]
name = "slow.py:make"
[labels]
initial = 6
batch = 3
own_process = false
[stop]
budget = 12
[acquisition]
candidates = 32
[model]
networks = 1
steps = 20
width = 16
depth = 2
n_inducing = 20
[executor]
kind = "factory"
factory = "slow.py:threads"
"""
SLOW = """
import os, time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ase.calculators.emt import EMT

class Slow(EMT):
    def calculate(self, *arguments):
        time.sleep(float(os.environ.get("SECONDS", 0)))
        super().calculate(*arguments)
        if self.atoms.cell.volume > float(os.environ.get("LARGEST", 70)):
            raise RuntimeError("No convergence.")

make, threads = Slow, partial(ThreadPoolExecutor, 2)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    ase.io.write(tmp_path / "copper.xyz", bulk("Cu", cubic=True))
    (tmp_path / "slow.py").write_text(SLOW)
    path = tmp_path / "campaign.toml"
    path.write_text(SETTINGS)
    return path


class Trusted(Command):
    """The code that a campaign's file names may run."""

    def run(self, *arguments: object) -> Result:
        trust = ["--trust"] if arguments[0] in ("run", "label") and "--help" not in arguments else []
        return super().run(*arguments, *trust)


COMMAND = Trusted("active")
run, succeed, numbers = COMMAND.run, COMMAND.succeed, COMMAND.numbers


class TestInit:
    def test_writes_what_explains_itself(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert "ase-dkl active run campaign.toml" in succeed("init").stderr
        written = (tmp_path / "campaign.toml").read_text(encoding="utf-8")
        assert "ase-dkl active run    campaign.toml" in written
        assert written.count("\n") == TEMPLATE.read_text(encoding="utf-8").count("\n")

    def test_overwrites_nothing(self, file: Path) -> None:
        result = run("init", file)
        assert result.exit_code == 1
        assert "is there already and stays as it is" in result.stderr
        assert file.read_text() == SETTINGS

    def test_nowhere(self, tmp_path: Path) -> None:
        assert "there is no directory" in run("init", tmp_path / "no" / "campaign.toml").stderr


class TestRun:
    def test_ends_with_a_model_a_database_and_a_record(self, file: Path) -> None:
        result = succeed("run", file)
        assert "Cu4, Fm-3m (225), 24 symmetry images." in result.stderr
        assert "The campaign begins." in result.stderr
        assert "Campaign copper" in result.stdout
        assert "The budget of 12 labels is spent." in " ".join(result.stdout.split())
        surrogate = Surrogate.load(file.parent / "copper" / "surrogate.dkl")
        assert surrogate.report.n_rows == 12
        assert len(Dataset.read(file.parent / "labels.db")) == 12
        again = succeed("run", file)
        assert "The campaign goes on." in again.stderr
        assert Surrogate.load(file.parent / "copper" / "surrogate.dkl").digest == surrogate.digest

    def test_json_alone_on_stdout(self, file: Path) -> None:
        printed = numbers("run", file)
        assert (printed["name"], printed["done"], printed["finished"], printed["alive"]) == ("copper", 12, True, False)
        assert [stage["labels"] for stage in printed["stages"]] == [6, 9, 12]
        assert printed["database"] == str(file.parent / "labels.db")
        assert printed == numbers("status", file)

    def test_interrupted_it_says_how_to_go_on(self, file: Path) -> None:
        # Programs begun in the background of a script ignore the signal, and so would what they begin.
        listening = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
        code = f"{listening}; from ase_dkl.cli.active import active; active()"
        command = [sys.executable, "-c", code, "run", str(file), "--trust"]
        environment = {**os.environ, "SECONDS": "1.5", "OMP_NUM_THREADS": "1"}
        with subprocess.Popen(
            command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            wait_for(lambda: numbers("status", file)["done"] >= 2)
            during = numbers("status", file)
            shown = succeed("status", file).stdout
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=300)
        assert during["alive"]
        assert not during["finished"]
        assert "running" in shown
        assert process.returncode == 130
        assert out == ""
        assert f"ase-dkl active run {file} --trust goes on where this ended" in err
        assert "Traceback" not in err
        assert "none is at work on it" in succeed("status", file).stdout
        assert numbers("run", file)["done"] == 12


def wait_for(condition: Any) -> None:
    until = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.2)


class TestStatus:
    def test_before_anything(self, file: Path) -> None:
        printed = numbers("status", file)
        assert (printed["done"], printed["waiting"], printed["alive"], printed["stages"]) == (0, 0, False, [])
        assert not (file.parent / "labels.db").exists()

    def test_no_figure_without_a_model(self, file: Path, tmp_path: Path) -> None:
        assert "No figure" in succeed("status", file, "--figure", tmp_path / "x.png").stderr
        assert not (tmp_path / "x.png").exists()

    def test_a_figure(self, file: Path, tmp_path: Path) -> None:
        succeed("run", file)
        succeed("status", file, "--figure", tmp_path / "x.png")
        assert imread(tmp_path / "x.png").shape[0] > 500

    def test_a_figure_of_another_kind(self, file: Path, tmp_path: Path) -> None:
        assert "a figure is written as one of" in run("status", file, "--figure", tmp_path / "x.doc").stderr


class TestRetry:
    def test_lets_what_failed_be_tried_again(self, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        result = run("retry", file)
        assert result.exit_code == 1
        assert "there is nothing to try again" in " ".join(result.stderr.split())
        ase.io.write(tmp_path / "large.xyz", bulk("Cu", a=4.2, cubic=True))
        (row,) = json.loads(run("label", file, tmp_path / "large.xyz", "--json").stdout)
        assert row["error"] == "RuntimeError: No convergence."
        assert "1 failed label waits to be tried again" in succeed("retry", file).stderr
        monkeypatch.setenv("LARGEST", "100")
        (row,) = json.loads(run("label", file, tmp_path / "large.xyz", "--json").stdout)
        assert row["error"] is None


class TestLabel:
    def test_computes_what_is_given(self, file: Path, tmp_path: Path) -> None:
        larger = bulk("Cu", a=3.7, cubic=True)
        ase.io.write(tmp_path / "two.xyz", [larger, larger])
        ase.io.write(tmp_path / "one.cif", bulk("Cu", a=3.5, cubic=True))
        first, second, third = numbers("label", file, tmp_path / "two.xyz", tmp_path / "one.cif")
        assert (first["file"], first["frame"], second["frame"]) == (str(tmp_path / "two.xyz"), 0, 1)
        assert first["energy_eV"] == second["energy_eV"] != third["energy_eV"]
        assert first["id"] == second["id"]
        with ase.db.connect(tmp_path / "labels.db") as database:
            assert database.get(third["id"]).energy == pytest.approx(third["energy_eV"])
        table = succeed("label", file, tmp_path / "one.cif").stdout
        assert f"{third['energy_eV']:.5f}" in table

    def test_what_fails_is_told(self, file: Path, tmp_path: Path) -> None:
        ase.io.write(tmp_path / "large.xyz", bulk("Cu", a=4.2, cubic=True))
        result = run("label", file, tmp_path / "large.xyz", "--json")
        assert result.exit_code == 1
        (row,) = json.loads(result.stdout)
        assert (row["energy_eV"], row["error"]) == (None, "RuntimeError: No convergence.")
        assert "1 of 1 labels failed, after 3 attempts each." in result.stderr


@pytest.mark.parametrize("command", ["run", "status"])
@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("batch", "bach", "[labels] has no bach: did you mean batch?"),
        ('"copper.xyz"', '"tin.xyz"', "[crystal] file: there is no"),
        ("[-0.04, 0.04]", "[0.04]", "it must be two numbers"),
        ("initial = 6", "initial = 2", "initial is 2; it has to be at least 5."),
        ("budget = 12", "", "Nothing would ever stop this campaign."),
    ],
)
def test_mistakes_are_told_in_words(file: Path, command: str, old: str, new: str, words: str) -> None:
    file.write_text(SETTINGS.replace(old, new))
    result = run(command, file)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert words in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("slow.py:make", "slow.py:none", "there is no none in"),
        ("slow.py:make", "nonesuch", "cannot be imported"),
        ("slow.py:threads", "slow.py:make", "not a concurrent.futures.Executor"),
        ("labels.db", "copper.xyz", "copper.xyz"),
        ("budget = 12", 'target = { name = "A0", tolerance = 1 }', "A0 is no property"),
    ],
)
def test_what_only_shows_when_it_begins(file: Path, old: str, new: str, words: str) -> None:
    file.write_text(SETTINGS.replace(old, new))
    result = run("run", file)
    assert result.exit_code == 1, result.output
    assert words in " ".join(result.stderr.split())


def test_another_plan_under_the_same_name_is_refused(file: Path) -> None:
    succeed("run", file)
    file.write_text(SETTINGS.replace("batch = 3", "batch = 2"))
    for command in ("run", "status"):
        assert "was begun with another choice of structures" in " ".join(run(command, file).stderr.split())


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("", "", "the calculator {folder}/slow.py:make; the executor's factory slow.py:threads. Read the file"),
        ("slow.py:make", "emt", "ase-dkl's: the executor's factory slow.py:threads."),
        ("slow.py:make", "ase.calculators.socketio:Popen", "the calculator ase.calculators.socketio:Popen;"),
        (
            '"slow.py:make"',
            '"vasp"\nparameters = { xc = "PBE", options = { command = "touch ran" } }',
            'the calculator\'s command "touch ran"',
        ),
    ],
)
def test_code_of_strangers_is_run_only_where_it_is_trusted(
    file: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, words: str
) -> None:
    monkeypatch.chdir(file.parent)
    ran = file.parent / "ran"
    (file.parent / "slow.py").write_text(f"open({str(ran)!r}, 'w')\n{SLOW}")
    file.write_text(SETTINGS.replace(old, new) if old else SETTINGS)
    for command in (["run", str(file)], ["label", str(file), "copper.xyz"]):
        result = Command("active").run(*command)
        assert result.exit_code == 1
        said = " ".join(result.stderr.split())
        assert words.format(folder=file.parent).replace("ase-dkl's", "ase_dkl's") in said
        assert "say so with --trust" in said
    succeed("status", file)
    assert not ran.exists()
    assert not (file.parent / "labels.db").exists()
    assert not (file.parent / "copper").exists()


def test_ases_own_calculators_need_no_trust(file: Path) -> None:
    text = SETTINGS.replace("slow.py:make", "ase.calculators.emt:EMT").partition("[executor]")[0]
    file.write_text(text.replace("budget = 12", "budget = 6"))
    result = Command("active").run("run", file)
    assert result.exit_code == 0, result.output


def test_each_command_explains_itself() -> None:
    for command in ("init", "run", "status", "retry", "label"):
        assert "FILE" in succeed(command, "--help").stdout
