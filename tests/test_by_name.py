from pathlib import Path

import pytest
from ase.calculators.calculator import BaseCalculator

from ase_dkl.by_name import BadName, absolute, is_file, is_trusted, named


def test_an_object_of_a_package() -> None:
    assert named("pathlib:Path") is Path
    assert not is_file("pathlib:Path")
    assert absolute("pathlib:Path") == "pathlib:Path"


def test_an_object_of_a_file_wherever_one_works(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "numbers.py").write_text("number = 1\n")
    monkeypatch.chdir(tmp_path)
    name = absolute("numbers.py:number")
    monkeypatch.chdir("/")
    assert is_file(name)
    assert named(name) == 1


def test_a_file_runs_again_when_it_changes_and_only_then(tmp_path: Path) -> None:
    file = tmp_path / "things.py"
    file.write_text("thing = object()\n")
    first = named(f"{file}:thing")
    assert named(f"{file}:thing") is first
    file.write_text("thing = object()  # another\n")
    assert named(f"{file}:thing") is not first


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pathlib", "names no object. Write package.module:name or"),
        (":Path", "names no object"),
        ("pathlib:", "names no object"),
        ("pathlib:Pth", "there is no Pth in pathlib, which has .*PurePath"),
        ("nothing.of_this_name:x", "nothing.of_this_name cannot be imported: ModuleNotFoundError"),
        ("nowhere.py:x", "nowhere.py:x' cannot be read: .*No such file"),
    ],
)
def test_names_that_lead_to_nothing(name: str, words: str) -> None:
    with pytest.raises(BadName, match=words):
        named(name)


@pytest.mark.parametrize(
    ("name", "trusted"),
    [
        ("ase.calculators.emt:EMT", True),
        ("ase.calculators.vasp:Vasp", True),
        ("ase_dkl.calculator:DKLCalculator", True),
        ("ase_dkl:DKLCalculator", True),
        ("ase.calculators.emt:nonesuch", True),  # nothing is run
        ("os:system", False),
        ("asefork.calculators:EMT", False),
        ("ase.py:EMT", False),
        ("ase/calculators/emt.py:EMT", False),
        ("ase.calculators.socketio:Popen", False),
        ("ase.io.formats:import_module", False),
        ("ase.calculators.calculator:os", False),
        ("ase.cli.main:main", False),
        ("ase.calculators.calculator:get_calculator_class", False),
        ("ase_dkl.by_name:named", False),
    ],
)
def test_what_is_run_without_a_question(name: str, trusted: bool) -> None:
    assert is_trusted(name, BaseCalculator) is trusted


def test_a_file_that_does_not_run(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    with pytest.raises(BadName, match="cannot be imported: ZeroDivisionError: division by zero"):
        named(f"{tmp_path}/broken.py:x")
    with pytest.raises(BadName, match=r"there is no file .*nowhere.py. A relative path is relative to"):
        absolute("nowhere.py:x")
