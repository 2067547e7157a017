"""Several files, directories of runs, patterns and stdin as one set of rows."""

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import ase.db
import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from commands import Command
from dft_outputs import outcar, strained_copper

from ase_dkl import BadDataset, Dataset, Surrogate
from ase_dkl.cli.inputs import read_structures
from ase_dkl.dataset.sources import read


@pytest.fixture(scope="module")
def copper() -> list[Atoms]:
    return strained_copper(8)


@pytest.fixture
def runs(tmp_path: Path, copper: list[Atoms], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight runs of VASP, each in a directory of its own."""
    monkeypatch.chdir(tmp_path)
    for number, atoms in enumerate(copper):
        outcar(tmp_path / "runs" / str(number) / "OUTCAR", [atoms])
    return tmp_path / "runs"


def energies(atoms: list[Atoms]) -> list[float]:
    return [each.get_potential_energy() for each in atoms]


@pytest.mark.parametrize("source", ["runs", "runs/*/OUTCAR", "runs/**/OUTCAR", [f"runs/{i}/OUTCAR" for i in range(8)]])
def test_runs_are_found_and_named(runs: Path, copper: list[Atoms], source: str | list[str]) -> None:
    dataset = Dataset.read(source)
    assert dataset.ids.tolist() == [f"runs/{i}/OUTCAR" for i in range(8)]
    # An OUTCAR has eight digits of the energy and nine of the cell.
    np.testing.assert_allclose(dataset.energies, energies(copper), atol=1e-8)
    np.testing.assert_allclose(dataset.stresses, [atoms.get_stress() for atoms in copper], atol=1e-8)
    assert dataset.warnings == ()


def test_a_model_keeps_names_and_no_paths_of_this_machine(runs: Path) -> None:
    provenance = Dataset.read([runs, runs / "0" / "OUTCAR"]).provenance
    assert list(provenance["files"]) == [f"runs/{i}/OUTCAR" for i in range(8)]
    assert {len(digest) for digest in provenance["files"].values()} == {64}
    assert str(runs) not in json.dumps(provenance)
    read_alone = read(str(runs / "0" / "OUTCAR"))
    assert list(read_alone.files) == ["OUTCAR"]


def test_what_is_not_read_is_named(runs: Path) -> None:
    (runs / "8").mkdir()
    (runs / "8" / "OUTCAR").write_text(" vasp.6.4.2\n")
    (runs / "9").mkdir()
    (runs / "9" / "OUTCAR").write_text("".join((runs / "0" / "OUTCAR").read_text().partition("Iteration")[:2]))
    (warning,) = Dataset.read("runs").warnings
    assert "runs/8/OUTCAR (ASE cannot read it (ParseError: Incomplete OUTCAR))" in warning
    assert "runs/9/OUTCAR (It is the output of a run of which no step has finished)" in warning


def test_nothing_that_can_be_read(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "OUTCAR").write_text(" vasp.6.4.2\n")
    with pytest.raises(BadDataset, match=r"a/OUTCAR .*; .*b/OUTCAR"):
        read(str(tmp_path))
    with pytest.raises(BadDataset, match="no file fits this pattern"):
        read(str(tmp_path / "*.xyz"))


def test_one_run_is_not_read_twice(runs: Path) -> None:
    (runs / "0" / "vasprun.xml").write_text("<modeling>")
    assert Dataset.read("runs").warnings == ()


def test_of_a_relaxation_the_last_step_is_taken(runs: Path, copper: list[Atoms]) -> None:
    """Its earlier steps are energies of ions on their way."""
    displaced = copper[0].copy()
    displaced.positions[1] += [0.08, 0, 0]
    displaced.calc = EMT()
    outcar(runs / "0" / "OUTCAR", [displaced, copper[0]])
    dataset = Dataset.read("runs")
    assert dataset.ids[0] == "runs/0/OUTCAR"
    np.testing.assert_allclose(dataset.energies, energies(copper), atol=1e-8)
    assert dataset.warnings[0].endswith("the last step alone is taken: runs/0/OUTCAR (step 2 of 2).")
    alone = read("runs/0/OUTCAR")
    assert [str(row.id) for row in alone.rows] == ["1"]
    assert "step 2 of 2" in alone.notes[0]


def test_where_only_the_cell_changes_every_step_is_taken(runs: Path, copper: list[Atoms]) -> None:
    outcar(runs / "all" / "OUTCAR", copper)
    (runs / "0" / "OUTCAR").unlink()
    dataset = Dataset.read(["runs/all", "runs/1"])
    assert dataset.ids.tolist() == [*(f"runs/all/OUTCAR@{i}" for i in range(8)), "runs/1/OUTCAR"]
    assert Dataset.read("runs/all").ids.tolist() == list(range(8))


def test_kinds_may_be_mixed_and_selected(runs: Path, copper: list[Atoms]) -> None:
    with ase.db.connect("rows.db") as database:
        for number in range(3):
            database.write(ase.io.read(f"runs/{number}/OUTCAR"), set="pool")
    ase.io.write("more.xyz", copper[3:5], format="extxyz")
    sources = ["rows.db", "more.xyz", "runs/5", "runs/6/OUTCAR"]
    found = Dataset.read([*sources, "runs/7"])
    assert found.ids.tolist() == [
        *(f"rows.db@{i}" for i in (1, 2, 3)),
        *(f"more.xyz@{i}" for i in (0, 1)),
        *(f"runs/{i}/OUTCAR" for i in (5, 6, 7)),
    ]
    np.testing.assert_allclose(found.energies, energies(copper), atol=1e-7)
    assert len(Dataset.read([*sources, "runs/7"], select="file!=runs/7/OUTCAR,row!=rows.db@2").ids) == 6
    assert [str(row.id) for row in read(sources, "set=pool").rows] == [f"rows.db@{i}" for i in (1, 2, 3)]


def test_a_row_that_does_not_belong_is_named(runs: Path, copper: list[Atoms]) -> None:
    other = copper[3].copy()
    other.symbols[0] = "Au"
    other.calc = EMT()
    other.get_potential_energy()
    ase.io.write("other.xyz", [copper[3], other], format="extxyz")
    with pytest.raises(BadDataset, match="--select formula=Cu4") as error:
        Dataset.read(["runs", "other.xyz"])
    assert "1 row: other.xyz@1" in str(error.value)
    assert len(Dataset.read(["runs", "other.xyz"], select="row!=other.xyz@1")) == 9


@pytest.mark.parametrize("name", ["rows.xyz", "rows.traj", "rows.db", "rows.json", "OUTCAR"])
def test_stdin(name: str, copper: list[Atoms], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / name
    if name == "OUTCAR":
        outcar(path, copper)
    elif name.endswith((".db", ".json")):
        with ase.db.connect(path) as database:
            for atoms in copper:
                database.write(atoms)
    else:
        ase.io.write(path, copper)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(path.read_bytes())))
    found = read("-")
    assert found.name == "stdin"
    np.testing.assert_allclose(np.array([row["energy"] for row in found.rows]), energies(copper), atol=1e-7)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(path.read_bytes())))
    sources, structures = read_structures(["-"])
    assert sources[-1] == {"file": "stdin", "frame": 7}
    assert len(structures) == 8


def test_commands_take_several(
    surrogate: Surrogate, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    for i, factor in enumerate((0.99, 1.01)):
        atoms = surrogate.crystal.atoms(factor * surrogate.crystal.cell)
        prediction = surrogate.predict(atoms)
        assert prediction.stress is not None
        atoms.calc = SinglePointCalculator(atoms, energy=float(prediction.energy[0]), stress=prediction.stress[0])
        ase.io.write(f"runs/{i}.xyz", atoms, format="extxyz")
    for sources in (["runs"], ["runs/*.xyz"], ["runs/0.xyz", "runs/1.xyz"]):
        result = Command().run("evaluate", model_file, *sources, "--json")
        assert json.loads(result.stdout)["n"] == 2
        result = Command().run("predict", model_file, *sources, "--json")
        assert [row["file"] for row in json.loads(result.stdout)] == ["runs/0.xyz", "runs/1.xyz"]
    refused = Command().run("predict", model_file, "runs/*.xyz", "-o", "runs/1.xyz", "--overwrite")
    assert refused.exit_code == 1
    assert "is read here" in refused.stderr
