"""Calibration on the command line: from train to info and predict."""

import json
from dataclasses import replace
from pathlib import Path

import ase.db
import ase.io
import numpy as np
import pytest
from ase import Atoms
from commands import Command

from ase_dkl import Surrogate, srtio3
from ase_dkl.model.calibration import Calibration, Scores

COMMAND = Command()
run, numbers = COMMAND.run, COMMAND.numbers


@pytest.fixture(scope="module")
def calibrated(surrogate: Surrogate, tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    model = Surrogate.from_bytes(surrogate.to_bytes())
    fold = np.arange(30) % 5
    energy, stress = (Scores(rng.normal(size=(30, k)), fold) for k in (1, 6))
    model.calibration = Calibration({"value": energy, "strain": stress}, ("Rows were chosen.",))
    path = tmp_path_factory.mktemp("calibrated") / "x.dkl"
    model.save(path)
    return path


@pytest.fixture
def structures(surrogate: Surrogate, tmp_path: Path) -> Path:
    """The crystal, two of it, and a cell that is far too large."""
    crystal: Atoms = surrogate.crystal.atoms()
    large = crystal.copy()
    large.set_cell(1.4 * crystal.cell[:], scale_atoms=True)
    path = tmp_path / "structures.xyz"
    ase.io.write(path, [crystal, crystal.repeat((1, 1, 2)), large])
    return path


@pytest.mark.usefixtures("hasty")
def test_train_measures_the_error_bars_and_counts_rows_of_campaigns(tmp_path: Path) -> None:
    with ase.db.connect(srtio3()) as source, ase.db.connect(tmp_path / "rows.db") as target:
        for row in source.select("set=pool,index<12"):
            of_campaign = {"label_key": f"k{row.index}"} if row.index >= 9 else {}
            target.write(row.toatoms(), **of_campaign)
    size = ["--networks", 1, "--inducing", 10, "--test-fraction", 0, "--calibrate"]
    printed = numbers("train", tmp_path / "rows.db", "-o", tmp_path / "x.dkl", *size)
    found = Surrogate.load(tmp_path / "x.dkl").calibration
    assert found is not None
    assert printed["calibration"] == found.summary()
    assert (printed["calibration"]["folds"], printed["calibration"]["stress"]["rows"]) == (5, 12)
    assert "3 of the 12 rows come from active learning" in found.notes[0]


def test_info(calibrated: Path, model_file: Path) -> None:
    shown = " ".join(run("info", calibrated).stdout.split())
    assert "by 5 folds of the rows" in shown
    assert "energies of 30 rows" in shown
    assert "in conformal intervals" in shown
    assert "Rows were chosen." in shown
    assert "conformal" not in run("info", model_file).stdout
    assert numbers("info", model_file)["calibration"] is None
    assert set(numbers("info", calibrated)["calibration"]["energy"]["coverage_95"]) == {"raw", "scaled", "conformal"}


def test_predict_adds_intervals_where_the_model_knows(calibrated: Path, structures: Path, tmp_path: Path) -> None:
    result = run("predict", calibrated, structures, "--level", 0.9, "-o", tmp_path / "out.json")
    assert result.exit_code == 0, result.output
    one, two, far = json.loads((tmp_path / "out.json").read_text())
    assert one["energy_low_eV"] < one["energy_eV"] < one["energy_high_eV"]
    assert two["energy_low_eV"] == pytest.approx(2 * one["energy_low_eV"])
    assert one["stress_xy_low_GPa"] < one["stress_xy_GPa"] < one["stress_xy_high_GPa"]
    assert far["outside_domain"]
    assert far["energy_low_eV"] is None
    assert "Rows were chosen." in result.stderr
    assert "No intervals for 1 of 3 structures" in result.stderr
    plain = numbers("predict", calibrated, structures)
    assert [row["energy_eV"] for row in plain] == [row["energy_eV"] for row in (one, two, far)]
    table = run("predict", calibrated, structures, "--level", 0.9).stdout
    assert "…" in table
    assert "none" in table


def test_models_without_stress_scores(calibrated: Path, structures: Path, tmp_path: Path) -> None:
    model = Surrogate.load(calibrated)
    assert model.calibration is not None
    model.calibration = replace(model.calibration, scores={"value": model.calibration.energy})
    model.save(tmp_path / "x.dkl")
    assert "stress_xy_low_GPa" not in numbers("predict", tmp_path / "x.dkl", structures, "--level", 0.9)[0]
    assert numbers("info", tmp_path / "x.dkl")["calibration"]["stress"] is None


def test_intervals_that_cannot_be_had(calibrated: Path, model_file: Path, structures: Path, tmp_path: Path) -> None:
    wanted = {
        "Train with --calibrate": ("predict", model_file, structures, "--level", 0.9),
        "Ask for a lower level": ("predict", calibrated, structures, "--level", 0.99),
        "give a fraction": ("predict", calibrated, structures, "--level", 95),
        "intervals are written as .csv or .json": (
            *("predict", calibrated, structures, "--level", 0.9),
            *("-o", tmp_path / "x.db"),
        ),
    }
    for words, arguments in wanted.items():
        result = run(*arguments)
        assert result.exit_code == 1
        assert isinstance(result.exception, SystemExit), result.exception
        assert words in " ".join(result.stderr.split())
