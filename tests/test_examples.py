import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parent.parent / "examples"
NOT_RUN = {"_rows", "active_silicon", "active_srtio3", "dft_data", "dft_ions", "framework_data"}
"""These need GPAW or CHGNet, which are no dependencies. `test_examples_dft.py` and `test_ions_data.py` run some."""

EXAMPLES: dict[str, tuple[list[str], list[str], dict[str, tuple[float, float]]]] = {
    # script: (options, files that it writes, numbers that it prints and what they may be)
    "train_from_database": ([], ["srtio3.dkl"], {r"unseen rows: (\S+) meV": (0.1, 10), r", (\S+) GPa\n": (0.01, 0.5)}),
    "strain_scan": ([], ["scan_a.csv", "scan_a.xyz", "scan_a.png", "scan_plane.png"], {r"at a = (\S+) Å": (3.9, 4.0)}),
    "equation_of_state": (
        [],
        ["equation_of_state.png"],
        {r"V0_A3 = (\S+)": (60.5, 62.5), r"B0_GPa = (\S+)": (150, 190), r"B0_prime = (\S+)": (3.5, 5.5)},
    ),
    "elastic_constants": (
        ["--pressures", "0", "5"],
        ["elastic_constants.csv"],
        {r"C11 = (\S+)": (270, 340), r"C12 = (\S+)": (85, 115), r"C44 = (\S+)": (95, 120)},
    ),
    "relax_under_pressure": (
        ["--pressures", "5"],
        ["relaxed.cif"],
        {r"a = (\S+) ±": (3.88, 3.93), r"by ASE (\S+) Å": (3.88, 3.93), r"alpha (\S+)°": (89.99, 90.01)},
    ),
    "on_the_fly": (
        [],
        ["on_the_fly.db", "on_the_fly.log"],
        {r"EMT answered (\d+), RMS": (3, 60), r"RMS error (\S+) meV": (0, 2), r"lengths (\S+),": (3.58, 3.6)},
    ),
    "molecule": (
        [],
        [],
        {r"rows: (\S+) meV": (0.5, 8), r", (\S+) meV/Å": (10, 80), r"BFGS: (\S+) Å": (1.31, 1.35)},
    ),
    "cluster": ([], [], {r"Ih, (\d+) operations": (119, 121), r"error (\S+) meV/Å": (0, 30)}),
    "adsorbate": ([], [], {r"(\d+) of 13 ions": (8, 10), r"model is (\S+) Å": (1.5, 1.6)}),
    "crystal_ions": (
        [],
        [],
        {r"clamped: (\S+) ±": (90, 106), r"relaxed: (\S+) ±": (70, 80), r"ζ: (\S+) ±": (0.46, 0.54)},
    ),
    # Of 60 steps of one network nothing is expected but that they are taken.
    "framework": ([], [], {r"model: (\S+) meV": (1, 500), r"degree 5 in V: (\S+) meV": (7, 10)}),
    "sheet": ([], ["mos2_pull.csv"], {r"a = (\S+) ±": (3.15, 3.22), r"C11 = (\S+)": (140, 165)}),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_runs(name: str, tmp_path: Path) -> None:
    options, files, numbers = EXAMPLES[name]
    command = [sys.executable, str(FOLDER / f"{name}.py"), "--quick", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(files)
    for pattern, (low, high) in numbers.items():
        found = re.search(pattern, done.stdout)
        assert found, (pattern, done.stdout)
        assert low < float(found[1]) < high


def test_every_script_is_run_here() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} - NOT_RUN == set(EXAMPLES)
