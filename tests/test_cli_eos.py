import csv
import json
from pathlib import Path

import numpy as np
import pytest
from commands import Command

from ase_dkl import Surrogate
from ase_dkl.mechanics.eos import equation_of_state

COMMAND = Command("eos")
run, succeed, numbers = COMMAND.run, COMMAND.succeed, COMMAND.numbers


def test_json_agrees_with_the_library(model_file: Path, surrogate: Surrogate) -> None:
    printed = numbers(model_file)
    expected = equation_of_state(surrogate)
    for name, value, std in zip(expected.names, expected.values, expected.std, strict=True):
        assert printed[name] == pytest.approx(value)
        assert printed[f"{name}_std"] == pytest.approx(std)
    assert printed["names"] == ["V0_A3", "E0_eV", "B0_GPa", "B0_prime"]
    np.testing.assert_allclose(printed["correlation"], expected.correlation)
    assert printed["residual_meV"] == pytest.approx(expected.residual_meV)
    assert printed["kind"] == "birchmurnaghan"
    assert printed["warnings"] == []


def test_table_has_error_bars(model_file: Path) -> None:
    table = succeed(model_file, "--kind", "vinet").stdout
    assert "vinet" in table
    assert table.count("±") == 4
    assert "GPa" in table


def test_csv_and_figure(model_file: Path, tmp_path: Path, surrogate: Surrogate) -> None:
    table, figure = tmp_path / "eos.csv", tmp_path / "eos.png"
    result = succeed(model_file, "--range", "-0.05", "0.04", "-n", 9, "-o", table, "--plot", figure)
    assert "9 points" in result.stderr
    with table.open(newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    expected = equation_of_state(surrogate, bounds=(-0.05, 0.04), points=9)
    np.testing.assert_allclose([row["volume_A3"] for row in rows], expected.volumes)
    np.testing.assert_allclose([row["energy_eV"] for row in rows], expected.energies)
    np.testing.assert_allclose([row["energy_eV"] - row["fit_eV"] for row in rows], expected.residuals, atol=1e-12)
    assert rows[0]["pressure_GPa"] > 0 > rows[-1]["pressure_GPa"]
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_warnings_are_words_and_in_the_json(model_file: Path) -> None:
    result = succeed(model_file, "--kind", "p3", "--range", "-0.4", "0.4", "--json")
    extrapolation, misfit = json.loads(result.stdout)["warnings"]
    assert "extrapolations" in extrapolation
    assert "p3 does not follow the energies" in misfit
    assert f"Warning: {extrapolation}" in result.stderr
    assert "UserWarning" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--range", "0.1", "-0.1"], "the smaller one first"),
        (["--range", "0.3", "0.9"], "has no minimum when fitted between"),
        (["--kind", "morse"], "'morse' is not one of"),
        (["-n", "4"], "-n"),
        (["-o", "eos.txt"], "a table is written as .csv"),
        (["--plot", "eos.docx"], "a figure is written as one of"),
        (["--plot", "nowhere/eos.png"], "there is no directory"),
    ],
)
def test_mistakes_are_told_in_words(model_file: Path, arguments: list[str], words: str) -> None:
    result = run(model_file, *arguments)
    assert result.exit_code != 0
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    assert words in " ".join(result.stderr.replace("│", " ").split())
