import json
from pathlib import Path
from typing import Literal

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT
from ase.units import J, m
from commands import Command

from ase_dkl import Dataset, Surrogate, TrainConfig, fit
from ase_dkl.mechanics.elastic import elastic_constants
from ase_dkl.mechanics.moduli import moduli
from ase_dkl.mechanics.sheet import sheet_constants
from ase_dkl.mechanics.stability import stability
from ase_dkl.mechanics.third_order import pressure_derivatives, third_order_constants
from ase_dkl.wording import plus_minus

COMMAND = Command("elastic")
run, succeed, numbers = COMMAND.run, COMMAND.succeed, COMMAND.numbers


def trained(structures: list[Atoms], folder: Path, stress: Literal["auto", "ignore"] = "auto") -> Path:
    for atoms in structures:
        atoms.calc = EMT()
        atoms.get_stress()
    ase.io.write(folder / "rows.traj", structures)
    path = folder / "x.dkl"
    config = TrainConfig(networks=1, steps=60, stress=stress)
    fit(Dataset.read(folder / "rows.traj"), config, progress=False).save(path)
    return path


def strained(unstrained: Atoms, axes: int) -> list[Atoms]:
    rng = np.random.default_rng(0)
    structures = []
    for _ in range(24):
        atoms = unstrained.copy()
        strain = rng.uniform(-0.04, 0.04, (axes, axes))
        deformation = np.eye(3)
        deformation[:axes, :axes] += (strain + strain.T) / 2
        atoms.set_cell(atoms.cell.array @ deformation, scale_atoms=True)
        structures.append(atoms)
    return structures


@pytest.fixture(scope="module")
def sheet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One layer of copper."""
    return trained(strained(fcc111("Cu", (1, 1, 1), a=3.52, vacuum=6.0), 2), tmp_path_factory.mktemp("sheet"))


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copper atoms in a row, along z."""
    row = Atoms("Cu", cell=[12, 12, 2.34], pbc=(False, False, True))
    rows = []
    for scale in np.linspace(0.95, 1.05, 11):
        atoms = row.copy()
        atoms.cell[2] *= scale
        rows.append(atoms)
    return trained(rows, tmp_path_factory.mktemp("chain"))


def test_a_chain_has_a_stiffness(chain: Path) -> None:
    printed = numbers(chain)
    length = printed["lattice_parameters"]["a"]
    atoms = Atoms("Cu", cell=[12, 12, length], pbc=(False, False, True), calculator=EMT())
    energies = []
    for scale in (0.99, 1.0, 1.01):
        atoms.cell[2, 2] = scale * length
        energies.append(atoms.get_potential_energy())
    expected = (energies[0] - 2 * energies[1] + energies[2]) / 0.01**2 / length * (m / J) * 1e9
    # A difference of the second order over 1 % contains a fourth derivative.
    assert printed["stiffness_nN"] == pytest.approx(expected, rel=0.05)
    assert 0 < printed["stiffness_nN_std"] < 0.1 * expected
    shown = succeed(chain).stdout
    assert "stiffness" in shown
    assert "nN" in shown


@pytest.fixture(scope="module")
def volumes_alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = []
    for scale in np.linspace(0.96, 1.04, 9):
        atoms = bulk("Cu", cubic=True)
        atoms.set_cell(scale * atoms.cell, scale_atoms=True)
        atoms.calc = EMT()
        atoms.get_potential_energy()
        rows.append(atoms)
    return trained(rows, tmp_path_factory.mktemp("volumes"), stress="ignore")


def test_constants_that_no_row_tells_are_named(volumes_alone: Path) -> None:
    printed = numbers(volumes_alone)
    assert {"C11", "C12", "C44"} <= set(printed["undetermined"])
    assert printed["stable_probability"] is None
    assert printed["bulk_modulus_GPa"] is None
    assert any("Not determined by the training data: C11, C12" in text for text in printed["warnings"])
    result = succeed(volumes_alone)
    assert "Not determined by the training data" in result.stderr
    assert "not known" in result.stdout
    assert "probability" not in result.stdout


def test_born_conditions_of_the_class_are_printed(model_file: Path, surrogate: Surrogate) -> None:
    printed = numbers(model_file)
    C = elastic_constants(surrogate).C_GPa
    by_name = {each["expression"]: each["value"] for each in printed["born_conditions"]}
    assert by_name == pytest.approx(
        {"C11 − C12": C[0, 0] - C[0, 1], "C11 + 2 C12": C[0, 0] + 2 * C[0, 1], "C44": C[3, 3]}
    )
    assert printed["undetermined"] == []
    shown = succeed(model_file).stdout
    assert "C11 − C12 > 0" in shown
    assert "smallest eigenvalue of C as a Mandel matrix" in shown


def test_json_agrees_with_the_library(model_file: Path, surrogate: Surrogate) -> None:
    printed = numbers(model_file, "--pressure", 2)
    expected = elastic_constants(surrogate, pressure_GPa=2)
    np.testing.assert_allclose(printed["C_GPa"], expected.C_GPa)
    np.testing.assert_allclose(printed["C_GPa_std"], expected.C_std_GPa)
    np.testing.assert_allclose(printed["lagrangian_GPa"], expected.lagrangian_GPa)
    np.testing.assert_allclose(printed["lagrangian_GPa_std"], expected.C_std_GPa)
    averaged = moduli(expected.C_GPa, expected.covariance)
    for name in ("bulk_modulus_GPa", "shear_modulus_GPa", "young_modulus_GPa", "poisson_ratio", "universal_anisotropy"):
        assert printed[name] == pytest.approx(getattr(averaged, name))
        assert printed[f"{name}_std"] == pytest.approx(getattr(averaged, f"{name}_std"))
    judged = stability(expected.C_GPa, expected.covariance)
    assert printed["stable_probability"] == judged.stable_probability
    assert printed["stable_probability_std"] == pytest.approx(judged.stable_probability_std)
    assert printed["smallest_eigenvalue_GPa"] == pytest.approx(judged.smallest_eigenvalue_GPa)
    assert printed["ions"] == "clamped"
    assert printed["pressure_GPa"] == 2
    assert list(printed["lattice_parameters"]) == list(printed["lattice_parameters_std"])
    assert printed["lattice_parameters"]["a"] == pytest.approx(expected.equilibrium.lattice_parameters[0])
    assert "Wallace" in printed["convention"]
    assert printed["warnings"] == []
    assert "third_order_GPa" not in printed


def test_third_order_constants_on_request(model_file: Path, surrogate: Surrogate) -> None:
    printed = numbers(model_file, "--third-order")
    third, along = third_order_constants(surrogate), pressure_derivatives(surrogate)
    np.testing.assert_allclose(printed["third_order_GPa"], third.C_GPa)
    np.testing.assert_allclose(printed["third_order_GPa_std"], third.C_std_GPa)
    np.testing.assert_allclose(printed["dC_dP"], along.dC_dP)
    np.testing.assert_allclose(printed["dC_dP_std"], along.dC_dP_std)
    table = succeed(model_file, "--third-order").stdout
    assert "C111" in table
    assert "dC12/dP" in table
    assert "C114" not in table


def test_symmetry_may_be_left_to_the_model(model_file: Path, surrogate: Surrogate) -> None:
    printed = numbers(model_file, "--no-symmetry")
    expected = elastic_constants(surrogate, symmetric=False)
    np.testing.assert_allclose(printed["C_GPa"], expected.C_GPa)


def test_table_has_every_constant_and_error_bar_in_a_terminals_width(model_file: Path) -> None:
    table = succeed(model_file).stdout
    found = elastic_constants(Surrogate.load(model_file))
    value, std = plus_minus(found.C_GPa[0, 0], found.C_std_GPa[0, 0]).split(" ± ")
    assert table.count(value) == 3
    assert table.count(f"± {std}") >= 3
    assert "…" not in table
    assert "Young's modulus" in table
    assert "probability of stability" in table
    assert "ions clamped" in table


def test_figure(model_file: Path, tmp_path: Path) -> None:
    figure = tmp_path / "young.png"
    result = succeed(model_file, "--plot", figure)
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert str(figure) in result.stderr
    refused = run(model_file, "--plot", tmp_path / "young.docx")
    assert refused.exit_code == 1
    assert "Choose one of these endings" in refused.stderr


def test_no_equilibrium_is_told_in_words(model_file: Path) -> None:
    result = run(model_file, "--pressure", -500)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: No lattice of lowest enthalpy")


@pytest.mark.parametrize("pressure", ["nan", "inf", "ten"])
def test_a_pressure_is_a_number(model_file: Path, pressure: str) -> None:
    result = run(model_file, "--pressure", pressure)
    assert result.exit_code == 2
    assert "--pressure" in result.stderr


def test_what_lies_outside_the_data_is_told_beside_the_numbers(model_file: Path) -> None:
    result = succeed(model_file, "--pressure", 150, "--json")
    printed = json.loads(result.stdout)
    assert printed["outside_domain"]
    assert "Extrapolation" in printed["warnings"][0]
    assert "Warning: Extrapolation" in result.stderr


def test_a_sheet_has_constants_in_its_plane(sheet: Path) -> None:
    printed = numbers(sheet)
    expected = sheet_constants(Surrogate.load(sheet))
    np.testing.assert_allclose(printed["C_N_per_m"], expected.C_N_per_m)
    np.testing.assert_allclose(printed["C_N_per_m_std"], expected.C_std_N_per_m)
    assert printed["shear_modulus_N_per_m"] == pytest.approx(expected.shear_modulus_N_per_m)
    assert list(printed["lattice_parameters"]) == ["a", "b", "gamma"]
    assert printed["stable_probability"] == 1
    assert "C_GPa" not in printed
    table = succeed(sheet).stdout
    assert "N/m" in table
    assert "Young's modulus along y" in table


def test_a_sheet_is_under_no_pressure(sheet: Path) -> None:
    for option in (["--pressure", "1"], ["--third-order"], ["--plot", "x.png"]):
        result = run(sheet, *option)
        assert result.exit_code == 1
        assert "are for bulk crystals" in result.stderr


def test_a_crystal_that_is_not_stable_has_constants_but_no_moduli(tmp_path: Path) -> None:
    # Body-centred copper is a saddle on the way between two face-centred ones.
    model = trained(strained(bulk("Cu", "bcc", a=2.86, cubic=True), 3), tmp_path)
    result = succeed(model, "--plot", tmp_path / "young.png", "--json")
    printed = json.loads(result.stdout)
    assert printed["C_GPa"][0][0] < printed["C_GPa"][0][1]
    assert printed["stable_probability"] == 0
    assert printed["bulk_modulus_GPa"] is printed["young_modulus_GPa_std"] is None
    assert "gives way to some strain" in printed["warnings"][-1]
    assert "gives way to some strain" in result.stderr
    assert not (tmp_path / "young.png").exists()
    assert "bulk modulus" not in succeed(model).stdout
