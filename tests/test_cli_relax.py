import json
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from commands import Command

from ase_dkl import Surrogate
from ase_dkl.mechanics.equilibrium import equilibrium

COMMAND = Command("relax")
run, succeed, numbers = COMMAND.run, COMMAND.succeed, COMMAND.numbers


@pytest.mark.parametrize("pressure", [0.0, 5.0, -3.0])
def test_json_agrees_with_the_library(model_file: Path, surrogate: Surrogate, pressure: float) -> None:
    printed = numbers(model_file, "--pressure", pressure)
    found = equilibrium(surrogate, pressure_GPa=pressure)
    assert list(printed["lattice_parameters"]) == ["a", "b", "c", "alpha", "beta", "gamma"]
    np.testing.assert_allclose(list(printed["lattice_parameters"].values()), found.lattice_parameters)
    stds = list(printed["lattice_parameters_std"].values())
    np.testing.assert_allclose(stds, found.lattice_parameters_std, atol=1e-12)
    assert printed["volume_A3"] == pytest.approx(found.volume)
    assert printed["volume_A3_std"] == pytest.approx(found.volume_std)
    assert printed["energy_eV"] == pytest.approx(found.energy)
    assert printed["energy_eV_std"] == pytest.approx(found.energy_std)
    np.testing.assert_allclose(printed["cell"], found.cell, atol=1e-9)
    assert printed["space_group"] == "Pm-3m (221)"
    assert printed["pressure_GPa"] == pressure
    assert printed["outside_domain"] is False
    assert printed["warnings"] == []


def test_a_symmetric_model_finds_the_symmetric_lattice_without_being_told(model_file: Path) -> None:
    free, kept = numbers(model_file, "--no-symmetry"), numbers(model_file)
    for key in ("lattice_parameters", "lattice_parameters_std"):
        np.testing.assert_allclose(list(free[key].values()), list(kept[key].values()), atol=1e-6)


@pytest.mark.parametrize("name", ["x.cif", "x.vasp", "POSCAR", "x.xyz", "x.db", "x.traj"])
def test_writes_what_ase_reads(model_file: Path, tmp_path: Path, name: str, surrogate: Surrogate) -> None:
    result = succeed(model_file, "-o", tmp_path / name)
    assert name in result.stderr
    atoms = ase.io.read(tmp_path / name)
    assert isinstance(atoms, Atoms)
    assert atoms.get_volume() == pytest.approx(equilibrium(surrogate).volume, rel=1e-6)
    assert surrogate.crystal.map(atoms).multiplicity == 1
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_table_has_error_bars(model_file: Path) -> None:
    table = succeed(model_file, "--pressure", "2").stdout
    assert "2 GPa" in table
    assert "a = b = c" in table
    assert table.count("±") == 3
    assert "Å³" in table


def test_a_pressure_beyond_the_training_data_is_told(model_file: Path) -> None:
    result = succeed(model_file, "--pressure", "120", "--json")
    printed = json.loads(result.stdout)
    assert printed["outside_domain"] is True
    assert printed["warnings"][0].startswith("Extrapolation: a is")
    assert f"Warning: {printed['warnings'][0]}" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--pressure", "-500"], "No lattice of lowest enthalpy was found"),
        (["-o", "x.foo"], "ASE writes no structures into such files"),
        (["-o", "x"], "ASE writes no structures into such files"),
        (["-o", "nowhere/x.cif"], "there is no directory"),
    ],
)
def test_mistakes_are_told_in_words(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(model_file, *arguments)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert words in " ".join(result.stderr.split())
    assert not list(tmp_path.iterdir())
