import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPTS = [
    "active",
    "active_load",
    "calibration",
    "coverage",
    "emt_copper",
    "ions",
    "mechanics",
    "relaxations",
    "scaling",
    "speed",
    "srtio3",
    "stochastic",
]
FOLDER = Path(__file__).parent.parent / "examples" / "benchmarks"


@pytest.mark.parametrize("name", SCRIPTS)
def test_runs(name: str, tmp_path: Path) -> None:
    told = run(name, tmp_path)
    assert "seeds 0" in told
    assert "1 torch threads" in told


def run(name: str, folder: Path) -> str:
    command = [sys.executable, str(FOLDER / f"{name}.py"), "--quick", "--seeds", "0"]
    # The cache of labels is written where the test can throw it away.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(folder)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_ions_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    assert "0 of 3 cases" in run("ions", tmp_path)
    results, table = tmp_path / "ions.jsonl", tmp_path / "ions.md"
    whole, tables = results.read_text(), [line for line in table.read_text().splitlines() if line.startswith("|")]
    assert any(line.startswith("| ours, polynomials alone |") for line in tables)
    assert any("**" in line for line in tables)
    first, *others = whole.splitlines(keepends=True)
    results.write_text("".join(others))
    assert "2 of 3 cases" in run("ions", tmp_path)
    *kept, again = results.read_text().splitlines(keepends=True)
    assert kept == others
    assert json.loads(again)["key"] == json.loads(first)["key"]


def test_every_script_is_run_here() -> None:
    scripts = {path.stem for path in FOLDER.glob("[!_]*.py")}
    assert scripts == set(SCRIPTS)
