import shutil
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from ase_dkl.active.labels.calculation import BadCalculation, Calculation

MISBEHAVING = Path(__file__).parent / "misbehaving.py"


def test_a_calculator_that_ase_knows() -> None:
    calculation = Calculation("emt", {"asap_cutoff": True})
    calculation.check()
    assert calculation.computes_stress
    made = calculation.make()
    assert isinstance(made, EMT)
    assert made.parameters["asap_cutoff"] is True


def test_a_factory_of_a_package() -> None:
    calculation = Calculation("ase.calculators.emt:EMT")
    assert isinstance(calculation.make(), EMT)
    assert calculation.digest != Calculation("emt").digest


def test_a_factory_of_a_file_by_a_relative_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(MISBEHAVING.parent)
    calculation = Calculation("misbehaving.py:energies_alone")
    monkeypatch.chdir(tmp_path)
    calculation.check()
    assert not calculation.computes_stress


def test_modules_beside_a_script_are_found_by_the_process_that_checks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "my_calculators.py").write_text("from ase.calculators.emt import EMT as mine\n")
    monkeypatch.syspath_prepend(tmp_path)
    Calculation("my_calculators:mine").check()


@pytest.mark.parametrize(
    ("name", "parameters", "words"),
    [
        ("emtt", {}, "'emtt' cannot be imported.*ASE knows abinit.*emt"),
        ("ase.calculators.emt:EMTT", {}, "there is no EMTT in ase.calculators.emt, which has .*EMT"),
        (f"{MISBEHAVING}:forces_alone", {}, "computes forces, and no energy"),
        (f"{MISBEHAVING}:no_calculator", {}, "returns a str, which is no ASE calculator"),
        (f"{MISBEHAVING}:not_a_function", {}, "cannot be made.*not callable"),
        (f"{MISBEHAVING}:crashing_when_made", {}, r"ended its process with status -6.*no such library: libxc.so"),
        (f"{MISBEHAVING}:good", {"lgo": "x"}, "given: lgo.*unexpected keyword"),
    ],
)
def test_what_is_wrong_is_said_before_a_campaign(name: str, parameters: dict[str, object], words: str) -> None:
    calculation = Calculation(name, parameters)
    with pytest.raises(BadCalculation, match=words):
        calculation.check()


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(BadCalculation, match=r"there is no file .*nowhere.py"):
        Calculation("nowhere.py:make")


@pytest.mark.parametrize("value", [np.ones(3), float("nan"), EMT(), {1: {2}}])
def test_parameters_that_no_settings_file_can_hold(value: object) -> None:
    with pytest.raises(BadCalculation, match="numbers, texts, lists and tables"):
        Calculation("emt", {"value": value})


def test_names_of_parameters_are_texts() -> None:
    with pytest.raises(BadCalculation, match="names are texts"):
        Calculation("emt", {"setups": {1: "Cu"}})


def test_parameters_are_what_another_process_gets() -> None:
    calculation = Calculation("gpaw", {"kpts": (4, 4, 4), "mode": {"name": "pw"}})
    assert calculation.parameters == {"kpts": [4, 4, 4], "mode": {"name": "pw"}}
    assert calculation == Calculation("gpaw", {"mode": {"name": "pw"}, "kpts": [4, 4, 4]})
    assert calculation == Calculation(**calculation.to_dict())
    with pytest.raises(FrozenInstanceError):
        calculation.name = "emt"  # type: ignore[misc]


def test_the_digest_is_that_of_all_settings(tmp_path: Path) -> None:
    digests = {Calculation(*each).digest for each in [("emt", {}), ("lj", {}), ("emt", {"a": 1}), ("emt", {"a": 2})]}
    assert len(digests) == 4
    here = shutil.copy(MISBEHAVING, tmp_path / "calculators.py")
    assert Calculation(f"{here}:good").digest == Calculation(f"{MISBEHAVING}:good").digest
    assert Calculation(f"{here}:nan").digest != Calculation(f"{MISBEHAVING}:good").digest
    Path(here).write_text(MISBEHAVING.read_text() + "\n")
    assert Calculation(f"{here}:good").digest != Calculation(f"{MISBEHAVING}:good").digest


def test_a_file_must_not_change_while_its_labels_are_computed(tmp_path: Path) -> None:
    file = tmp_path / "calculators.py"
    shutil.copy(MISBEHAVING, file)
    calculation = Calculation(f"{file}:good")
    calculation.make()
    file.write_text(MISBEHAVING.read_text() + "\n")
    with pytest.raises(BadCalculation, match=r"calculators.py:good was changed"):
        calculation.make()
    file.unlink()
    with pytest.raises(BadCalculation, match=r"calculators.py:good. cannot be read"):
        calculation.make()


def test_keys_are_those_of_the_structure_and_the_settings() -> None:
    calculation = Calculation("emt")
    copper = bulk("Cu", cubic=True)
    key = calculation.key(copper)
    assert key == Calculation("emt").key(copper.copy())
    assert len(key) == 33
    assert key[0] == "l"
    nearly = copper.copy()
    nearly.positions += 1e-11
    nearly.positions[0] = -0.0
    assert calculation.key(nearly) == key

    others = [copper.copy() for _ in range(5)]
    others[0].cell[0, 0] += 1e-6
    others[1].positions[1, 2] += 1e-6
    others[2].numbers[0] = 47
    others[3].pbc[2] = False
    others[4].set_initial_magnetic_moments([1, 0, 0, 0])
    keys = {calculation.key(atoms) for atoms in others} | {Calculation("emt", {"asap_cutoff": True}).key(copper)}
    assert len(keys) == 6
    assert key not in keys


def test_a_directory_for_calculators_with_files(tmp_path: Path) -> None:
    calculator = Calculation("emt").make(tmp_path)
    assert Path(calculator.directory) == tmp_path
