"""Labels that the others contradict are named, with what they should be; right ones never are."""

import re
import shlex
from copy import copy
from dataclasses import replace
from pathlib import Path

import ase.db
import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.units import GPa
from made import labelled

from ase_dkl import Dataset, Surrogate, mgo_slab, mos2, silicon, srtio3, srtio3_direct
from ase_dkl.crystal.lattice import strained
from ase_dkl.model.verdict import faults
from ase_dkl.training.contradiction import contradicted


@pytest.fixture(scope="module")
def rows(srtio3_dataset: Dataset) -> Dataset:
    return srtio3_dataset.subset(np.arange(24))


@pytest.fixture(scope="module")
def sheet() -> Dataset:
    return Dataset.read(mos2(), select="set=pool")


def spoilt(dataset: Dataset, energies: dict[int, float], stresses: dict[int, float] | None = None) -> Dataset:
    """By positions: eV added to energies, factors of stresses."""
    added, factors = np.zeros(len(dataset)), np.ones(len(dataset))
    added[list(energies)] = list(energies.values())
    factors[list(stresses or {})] = list((stresses or {}).values())
    return replace(dataset, energies=dataset.energies + added, stresses=dataset.stresses * factors[:, None])


def copper(n: int, seed: int) -> list[Atoms]:
    rng = np.random.default_rng(seed)
    structures = []
    for strain in rng.uniform(-0.05, 0.05, (n, 6)):
        atoms = bulk("Cu", cubic=True)
        atoms.set_cell(strained(atoms.cell.array, strain), scale_atoms=True)
        structures.append(labelled(atoms))
    return structures


@pytest.mark.parametrize("stress", [True, False])
@pytest.mark.parametrize(
    ("source", "select"),
    [
        (srtio3, None),
        (srtio3_direct, None),
        (silicon, "ions=clamped"),
        (silicon, "ions=relaxed,set=pool"),
        (mos2, None),
        (mgo_slab, None),
    ],
)
def test_no_row_of_the_shipped_data_is_contradicted(source: object, select: str | None, stress: bool) -> None:
    assert callable(source)
    dataset = Dataset.read(source(), select=select)
    dataset = dataset if stress else dataset.without_stresses()
    rng = np.random.default_rng(1)
    few = [np.sort(rng.permutation(len(dataset))[:n]) for n in (12, 16, 24)]
    assert [contradicted(each) for each in (dataset, *map(dataset.subset, few))] == [()] * 4


def test_a_row_that_is_hard_to_predict_is_not_contradicted(srtio3_dataset: Dataset) -> None:
    """The row of the highest energy, 3 eV above any other of these, is right."""
    highest = int(srtio3_dataset.energies.argmax())
    others = np.arange(24)
    assert highest not in others
    rows = srtio3_dataset.subset(np.append(others, highest))
    assert rows.energies[-1] - rows.energies[:-1].max() > 2.5
    assert contradicted(rows) == ()
    assert contradicted(rows.without_stresses()) == ()


def test_copper_is_right_in_itself() -> None:
    assert contradicted(Dataset.from_atoms(copper(24, 0))) == ()


@pytest.mark.parametrize("added", [0.5, -0.5, 0.05])
def test_one_wrong_energy_is_named_with_its_size(rows: Dataset, added: float) -> None:
    (found,) = contradicted(spoilt(rows, {7: added}))
    assert (found.id, found.label) == (str(rows.ids[7]), "energy")
    # Labels scatter by 0.3 meV, and the others' prediction by as much.
    assert found.given - found.expected == pytest.approx(added, abs=3e-3)
    assert found.expected == pytest.approx(rows.energies[7], abs=3e-3)
    assert 0 < found.std < 3e-3


def test_three_wrong_energies_are_named(rows: Dataset) -> None:
    found = contradicted(spoilt(rows, {7: 0.5, 12: -0.3, 20: 0.5}))
    assert [each.id for each in found] == [*map(str, rows.ids[[7, 12, 20]])]


@pytest.mark.parametrize("factor", [-1.0, 1 / GPa, 10 / GPa])
def test_one_stress_of_another_sign_or_unit_is_named(rows: Dataset, factor: float) -> None:
    (found,) = contradicted(spoilt(rows, {}, {5: factor}))
    assert found.id == str(rows.ids[5])
    assert found.label.startswith("stress ")
    assert found.given / found.expected == pytest.approx(factor, rel=0.1)


def test_one_component_of_another_sign_is_named(rows: Dataset) -> None:
    stresses = rows.stresses.copy()
    stresses[5, 5] *= -1
    (found,) = contradicted(replace(rows, stresses=stresses))
    assert (found.id, found.label) == (str(rows.ids[5]), "stress xy")
    assert found.expected == pytest.approx(-found.given, rel=0.02)


def test_a_sheet_is_judged_in_its_plane(sheet: Dataset) -> None:
    spread = float(sheet.energies.std())
    assert [each.id for each in contradicted(spoilt(sheet, {3: 0.5 * spread}))] == [str(sheet.ids[3])]
    (found,) = contradicted(spoilt(sheet, {}, {4: -1}))
    assert (found.id, found.label[:-2]) == (str(sheet.ids[4]), "stress ")
    assert found.expected == pytest.approx(-found.given, rel=0.05)


def test_energies_alone_tell_where_there_are_enough(sheet: Dataset) -> None:
    found = contradicted(spoilt(sheet, {3: 0.05}).without_stresses())
    assert [(each.id, each.label) for each in found] == [(str(sheet.ids[3]), "energy")]


def test_rows_with_and_without_stresses_are_judged_together(rows: Dataset) -> None:
    stresses = rows.stresses.copy()
    stresses[::3] = np.nan
    found = contradicted(spoilt(replace(rows, stresses=stresses), {6: 0.5, 7: -0.5}))
    assert [(each.id, each.label) for each in found] == [(str(row), "energy") for row in rows.ids[[6, 7]]]


def test_where_all_labels_are_wrong_no_row_is_blamed(rows: Dataset) -> None:
    noise = np.random.default_rng(0).normal(size=(2, 24, 6))
    assert contradicted(replace(rows, energies=noise[0, :, 0], stresses=noise[1])) == ()


@pytest.mark.parametrize("name", ["rows.xyz", "rows.traj", "rows.db"])
def test_the_selection_leaves_the_row_out(tmp_path: Path, surrogate: Surrogate, name: str) -> None:
    structures = copper(24, 1)
    structures[7].calc.results["energy"] += 0.5
    path = tmp_path / name
    if name.endswith(".db"):
        with ase.db.connect(path) as database:
            for atoms in structures:
                database.write(atoms, of="copper")
    else:
        ase.io.write(path, structures)
    dataset = Dataset.read(path, select="of=copper" if name.endswith(".db") else None)
    model = copy(surrogate)
    model.report = replace(model.report, contradictions=contradicted(dataset), dataset=dataset.provenance)
    (sentence,) = faults(model)
    found = re.search(r"--select (.*)$", sentence)
    assert found is not None
    (selection,) = shlex.split(found[1])
    assert selection == {"rows.db": "of=copper,id!=8"}.get(name, "id!=7")
    rest = Dataset.read(path, select=selection)
    assert len(rest) == 23
    assert contradicted(rest) == ()


def test_rows_of_several_files_go_by_their_names(tmp_path: Path, surrogate: Surrogate) -> None:
    structures = copper(24, 1)
    structures[20].calc.results["energy"] += 0.5
    paths = [tmp_path / "first.xyz", tmp_path / "second.xyz"]
    ase.io.write(paths[0], structures[:12])
    ase.io.write(paths[1], structures[12:])
    dataset = Dataset.read(paths)
    model = copy(surrogate)
    model.report = replace(model.report, contradictions=contradicted(dataset), dataset=dataset.provenance)
    (sentence,) = faults(model)
    (selection,) = shlex.split(sentence.partition("--select ")[2])
    assert contradicted(Dataset.read(paths, select=selection)) == ()
