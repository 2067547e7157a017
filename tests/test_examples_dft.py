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


@pytest.mark.usefixtures("gpaw")
def test_ions_of_silicon_survive_a_kill(tmp_path: Path) -> None:
    database = tmp_path / "silicon_ions.db"
    command = [sys.executable, str(SCRIPT.parent / "dft_ions.py"), "silicon", str(database), "--quick", "--points", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    killed = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    assert killed.stderr is not None
    for line in killed.stderr:
        if line.startswith("volumes 3/9"):
            break
    killed.kill()
    killed.wait()
    killed.stderr.close()
    for options in ([], ["--ship", str(tmp_path / "shipped.db")]):
        done = subprocess.run([*command, *options], capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stderr
        assert "Warning" not in done.stderr
    with ase.db.connect(tmp_path / "shipped.db") as rows:
        found = rows.metadata
        sets = [(row.set, row.index) for row in rows.select()]
    assert len(sets) == len(set(sets)) == 9 + 8 + 8 + 6 + 2 + 2
    numbers = found["finite_differences"]
    # Linear response and relaxed rows agree; at coarse settings both are near what good ones have, 74 GPa and 15.1 THz.
    assert numbers["C44_relaxed_GPa"]["value"] == pytest.approx(numbers["C44_relaxed_from_two_GPa"]["value"], abs=0.1)
    assert 70 < numbers["C44_relaxed_GPa"]["value"] < 80
    assert 14.5 < numbers["optical_frequency_THz"]["value"] < 16
    assert 0.3 < numbers["zeta"]["value"] < 0.7
    # The step of 0.01 Å leaves its own third order, and the coarse basis a Pulay stress.
    assert abs(found["labels"]["finite_difference_less_force_meV_A"]) < 1
    assert abs(found["labels"]["finite_difference_less_stress_meV"]) < 20
