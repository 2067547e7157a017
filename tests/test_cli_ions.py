"""The command line of models of free ions: here of springs that a file stands for."""

import json
from collections.abc import Callable
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk, molecule
from commands import Command
from springs import Springs, free
from test_ionic_lattice import saddle

from ase_dkl import Surrogate, elastic_constants, lattice, phonons
from ase_dkl.mechanics.ionic_lattice import Ions

MODELS: dict[str, Callable[[], Springs]] = {
    "diamond": lambda: Springs(
        free(bulk("Si", a=5.43)), 4.2, np.array([[0, 6, -8, 1], [0, 1, -1, 1]]), np.array([[0.03, 0.1, 0.5, 0.1]])
    ),
    "water": lambda: Springs(free(molecule("H2O")), 2.0, np.array([[0, 30.0, 0, 0]]), np.array([[0.01, 0.1, 0, 0]])),
    "saddle": saddle,
}


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of files that stand for models."""
    known = {name: make() for name, make in MODELS.items()}
    for name in known:
        (tmp_path / name).touch()
    monkeypatch.setattr("ase_dkl.model.loading.load", lambda path: known[Path(path).name])
    monkeypatch.setattr("ase_dkl.model.verdict.warn_of", lambda _: None)
    return tmp_path


def test_phonons(models: Path) -> None:
    command = Command("phonons")
    found = phonons(MODELS["diamond"]())
    printed = command.numbers(models / "diamond")
    assert printed["frequencies_THz"] == pytest.approx(found.frequencies_THz.tolist())
    assert printed["frequencies_THz_std"] == pytest.approx(found.frequencies_THz_std.tolist())
    assert printed["stable"] is True
    assert printed["warnings"] == []
    assert "grueneisen" not in printed
    shown = command.succeed(models / "diamond", "--grueneisen").stdout
    assert "modes 4–6" in shown
    assert "−∂ln ω/∂ln V of 16.69 THz" in shown
    assert np.shape(command.numbers(models / "diamond", "--grueneisen")["grueneisen_std"]) == (1, 6)


def test_files_of_phonons(models: Path) -> None:
    table, figure = models / "modes.csv", models / "modes.png"
    Command("phonons").succeed(models / "water", "-o", table, "--figure", figure)
    lines = table.read_text().splitlines()
    assert lines[0].startswith("mode,frequency_THz,frequency_THz_std")
    assert len(lines) == 10
    assert figure.stat().st_size > 10_000
    assert "no table" not in Command("phonons").run(models / "water", "-o", models / "modes.txt").output
    assert Command("phonons").run(models / "water", "-o", models / "modes.txt").exit_code == 1


def test_imaginary_frequencies(models: Path) -> None:
    shown = Command("phonons").succeed(models / "saddle", "--fixed-cell").stdout
    assert "imaginary" in shown
    followed = Command("phonons").numbers(models / "saddle", "--fixed-cell", "--follow")
    assert followed["stable"] is True


def test_elastic_constants_of_one_model(models: Path) -> None:
    command, model = Command("elastic"), MODELS["diamond"]()
    chosen: tuple[Ions, Ions] = ("clamped", "relaxed")
    for ions in chosen:
        printed = command.numbers(models / "diamond", "--ions", ions)
        found = elastic_constants(lattice(model, ions))
        assert printed["ions"] == ions
        assert printed["C_GPa"] == pytest.approx(found.C_GPa, rel=1e-6)
        assert printed["C_GPa_std"] == pytest.approx(found.C_std_GPa, rel=1e-4, abs=1e-6)
        assert ("internal_strain" in printed) is (ions == "relaxed")
    assert printed["internal_strain"]["kleinman"] == pytest.approx(1, rel=1e-3)
    # In the frame of the constants, in which a cube's shear moves ions along an axis.
    assert np.count_nonzero(np.abs(printed["internal_strain"]["response"]) > 1e-6) == 6
    shown = command.succeed(models / "diamond").stdout
    assert "ions relaxed" in shown
    assert "Kleinman's ζ" in shown


def test_equation_of_state(models: Path) -> None:
    command = Command("eos")
    arguments = (models / "diamond", "--range", -0.02, 0.02)
    clamped, relaxed = (command.numbers(*arguments, "--ions", ions) for ions in ("clamped", "relaxed"))
    # Of a cubic crystal whose ions stay where they are under pressure.
    assert clamped["B0_GPa"] == pytest.approx(relaxed["B0_GPa"], rel=1e-6)
    assert (clamped["ions"], relaxed["ions"]) == ("clamped", "relaxed")


def test_scan(models: Path) -> None:
    arguments = (models / "diamond", "--along", "yz", "--range", -0.02, 0.02, "-n", 3)
    clamped, relaxed = (Command("scan").numbers(*arguments, "--ions", ions) for ions in ("clamped", "relaxed"))
    assert json.dumps(clamped) != json.dumps(relaxed)
    assert "none" in Command("scan").run(*arguments, "--data", models / "diamond").output


def test_relax(models: Path) -> None:
    command, file = Command("relax"), models / "water.xyz"
    shown = command.succeed(models / "water", "-o", file)
    assert "ion 1, H" in shown.stdout
    assert "±" in shown.stdout
    assert len(ase.io.read(file)) == 3
    printed = command.numbers(models / "diamond")
    assert np.shape(printed["positions_std"]) == (2, 3)
    assert printed["lattice_parameters"]["a"] == pytest.approx(5.43 / np.sqrt(2), rel=1e-5)
    held = command.numbers(models / "diamond", "--fixed-cell")
    assert "lattice_parameters" not in held
    assert "positions" not in command.numbers(models / "diamond", "--ions", "clamped")
    assert "leaves nothing to relax" in command.run(models / "diamond", "--ions", "clamped", "--fixed-cell").output


def test_refusals(models: Path) -> None:
    for command in ("relax", "elastic", "eos"):
        result = Command(command).run(models / "saddle", *(["--fixed-cell"] if command == "relax" else []))
        assert result.exit_code == 1
        assert "--follow" in result.output
        assert "Traceback" not in result.output
    for command in ("elastic", "eos"):
        assert "molecule or cluster" in Command(command).run(models / "water").output


def test_models_of_lattices(model_file: Path, surrogate: Surrogate) -> None:
    result = Command("phonons").run(model_file)
    assert result.exit_code == 1
    assert "This model knows lattices only" in result.output
    other = "relaxed" if surrogate.crystal.ions == "clamped" else "clamped"
    for command in ("elastic", "eos", "relax"):
        assert f"nothing of {other} ions" in Command(command).run(model_file, "--ions", other).output
    same = Command("relax").numbers(model_file, "--ions", surrogate.crystal.ions)
    assert same == Command("relax").numbers(model_file)
