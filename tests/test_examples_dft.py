"""The examples of active learning, with DFT that is really computed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import ase.db
import pytest

from ase_dkl import Dataset, Surrogate

SCRIPT = Path(__file__).parent.parent / "examples" / "active_silicon.py"


@pytest.mark.usefixtures("gpaw")
def test_silicon_is_learnt_and_the_second_run_computes_nothing(tmp_path: Path) -> None:
    first, second = run(tmp_path), run(tmp_path)
    assert first == second
    numbers = {name: float(value) for name, value in re.findall(r"^(\w+) = (\S+)", first, flags=re.MULTILINE)}
    assert 5.4 < numbers["a"] < 5.6
    assert 130 < numbers["C11"] < 180
    assert 40 < numbers["C12"] < 75
    assert 80 < numbers["C44"] < 110
    assert sorted(path.name for path in tmp_path.iterdir()) == ["silicon", "silicon.db", "silicon.png"]
    surrogate = Surrogate.load(tmp_path / "silicon" / "surrogate.dkl")
    dataset = Dataset.read(tmp_path / "silicon.db")
    assert surrogate.report.n_rows == surrogate.report.n_stress == len(dataset) <= 15
    with ase.db.connect(tmp_path / "silicon.db") as database:
        assert {row.label_attempts for row in database.select()} == {1}


def run(folder: Path) -> str:
    command = [sys.executable, str(SCRIPT), "--quick"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return done.stdout
