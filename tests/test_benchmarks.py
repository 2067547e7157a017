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
    "mechanics",
    "scaling",
    "speed",
    "srtio3",
    "stochastic",
]
FOLDER = Path(__file__).parent.parent / "examples" / "benchmarks"


@pytest.mark.parametrize("name", SCRIPTS)
def test_runs(name: str, tmp_path: Path) -> None:
    command = [sys.executable, str(FOLDER / f"{name}.py"), "--quick", "--seeds", "0"]
    # The cache of labels is written where the test can throw it away.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert "seeds 0" in done.stdout
    assert "1 torch threads" in done.stdout


def test_every_script_is_run_here() -> None:
    scripts = {path.stem for path in FOLDER.glob("[!_]*.py")}
    assert scripts == set(SCRIPTS)
