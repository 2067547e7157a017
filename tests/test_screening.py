import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect

from ase_dkl import Dataset
from ase_dkl.crystal import Crystal
from ase_dkl.dataset.columns import Columns
from ase_dkl.dataset.ions import check_ions
from ase_dkl.dataset.mixtures import Findings
from ase_dkl.dataset.screening import (
    check_geometry,
    check_labels,
    find_crystal,
    leave_out_unlabelled,
    map_rows,
)
from ase_dkl.dataset.sources import rows_in_memory


def salts(count: int = 8) -> list[Atoms]:
    rng = np.random.default_rng(2)
    structures = []
    for _ in range(count):
        atoms = bulk("NaCl", "rocksalt", a=5.6)
        strain = rng.uniform(-0.04, 0.04, (3, 3))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain + strain.T), scale_atoms=True)
        atoms.calc = SinglePointCalculator(atoms, energy=float(10 * (strain**2).sum()))
        structures.append(atoms)
    return structures


def columns_of(structures: list[Atoms]) -> Columns:
    return Columns.of(rows_in_memory(structures))


def test_rows_without_energy_are_left_out_and_named() -> None:
    structures = salts()
    structures[2].calc = None
    structures[5].calc.results["energy"] = np.nan
    findings = Findings()
    columns = leave_out_unlabelled(columns_of(structures), findings)
    assert columns.ids.tolist() == [0, 1, 3, 4, 6, 7]
    assert findings.warnings == ["Left out, because they have no energy or none that is finite: 2 rows: 2, 5."]
    assert not findings.problems


def test_energies_under_another_name_are_pointed_out() -> None:
    structures = salts()
    for atoms in structures:
        atoms.info["REF_energy"] = atoms.calc.results["energy"]
        atoms.calc = None
    findings = Findings()
    assert len(leave_out_unlabelled(columns_of(structures), findings).ids) == 0
    assert findings.problems == [
        "None of the 8 rows has a finite energy. They have REF_energy; ASE knows an energy only by the name energy."
    ]


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("virial.xyz", r"with virial: 12 rows: .*a virial is −stress times volume"),
        ("ref_stress.xyz", "with REF_stress: 12 rows"),
    ],
)
def test_stresses_under_another_name_are_pointed_out(case: str, words: str) -> None:
    (warning,) = Dataset.read(Path(__file__).parent / "cases" / case).warnings
    assert re.search(words, warning)


@pytest.mark.parametrize("name", ["dft_energy", "energy_pbe", "REF_energy", "E_tot", "TOTEN"])
def test_names_of_energies(name: str) -> None:
    structures = salts()
    for atoms in structures:
        atoms.calc = None
        atoms.info[name] = np.array(-1.0)
    findings = Findings()
    leave_out_unlabelled(columns_of(structures), findings)
    assert f"They have {name}; ASE knows" in findings.problems[0]


@pytest.mark.parametrize("name", ["virial", "dft_stress", "stresses", "REF_forces"])
def test_names_in_a_database(name: str, tmp_path: Path) -> None:
    with connect(tmp_path / "salts.db") as database:
        for atoms in salts():
            database.write(atoms, data={name: np.ones((3, 3)), "stress_uncertainty": np.ones(6)})
    (warning,) = Dataset.read(tmp_path / "salts.db").warnings
    assert name in warning
    assert "uncertainty" not in warning


def test_names_in_arrays() -> None:
    structures = salts()
    for atoms in structures:
        atoms.arrays["REF_forces"] = np.zeros((2, 3))
    assert Dataset.from_atoms(structures).warnings == (
        "Forces are judged only by the name forces: REF_forces are not looked at.",
    )


def flatten(atoms: Atoms) -> None:
    atoms.set_cell([[1, 0, 0], [0, 1, 0], [1, 1, 1e-9]])


def spoil_cell(atoms: Atoms) -> None:
    atoms.set_cell(np.full((3, 3), np.nan))


def spoil_position(atoms: Atoms) -> None:
    atoms.positions[1, 2] = np.inf


def isolate(atoms: Atoms) -> None:
    atoms.pbc = False


def empty(atoms: Atoms) -> None:
    del atoms[:]


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (flatten, "has a flat cell"),
        (spoil_cell, "has lattice vectors or positions that are not finite"),
        (spoil_position, "has lattice vectors or positions that are not finite"),
        (isolate, "is periodic along no axis"),
        (empty, "has no atoms"),
    ],
)
def test_structures_that_are_no_crystal_are_refused(spoil: Callable[[Atoms], None], fault: str) -> None:
    structures = salts()
    spoil(structures[3])
    findings = Findings()
    sound = check_geometry(columns_of(structures), findings)
    assert np.flatnonzero(~sound).tolist() == [3]
    (problem,) = findings.problems
    assert problem.startswith(f"Structures that are no crystal. 1 row: 3: The structure {fault}")


def test_a_cell_without_vacuum_vector_is_sound_for_a_sheet() -> None:
    sheet = Atoms("C2", positions=[[0, 0, 0], [1.25, 1.25, 0]], cell=[2.5, 2.5, 0], pbc=[True, True, False])
    assert check_geometry(columns_of([sheet]), Findings()).all()


def test_the_reference_crystal_is_found_although_all_rows_are_strained() -> None:
    crystal = find_crystal(salts(), None, symmetry=True)
    assert crystal.space_group == "Fm-3m (225)"
    assert len(crystal.images) == 24
    assert crystal.ions == "clamped"
    assert len(find_crystal(salts(), None, symmetry=False).images) == 1


def test_a_named_reference_learns_from_the_rows_whether_ions_are_clamped() -> None:
    reference, structures = bulk("NaCl", "rocksalt", a=5.6), salts()
    assert find_crystal(structures, reference, symmetry=True).ions == "clamped"
    for index, atoms in enumerate(structures):
        atoms.positions[1] += 0.01 * index
    assert find_crystal(structures, reference, symmetry=True).ions == "relaxed"


def test_a_few_relaxed_rows_among_clamped_ones_are_told() -> None:
    structures = salts()
    for index in (2, 5):
        energy = structures[index].calc.results["energy"]
        structures[index].positions[1] += 0.05
        structures[index].calc = SinglePointCalculator(structures[index], energy=energy)
    findings, columns = Findings(), columns_of(structures)
    crystal = find_crystal(columns.structures, None, symmetry=True)
    assert crystal.ions == "relaxed"
    keep = check_ions(crystal, columns, findings, given=False)
    assert keep is not None
    assert keep.all()
    assert map_rows(crystal, columns, findings)[0].all()
    (warning,) = findings.warnings
    assert warning.startswith("Ions count as relaxed because of 2 rows: 2, 5.")


def test_relaxed_rows_among_themselves_are_not_told() -> None:
    structures = salts()
    for index, atoms in enumerate(structures):
        atoms.positions[1] += 0.01 * index
    findings, columns = Findings(), columns_of(structures)
    check_ions(find_crystal(columns.structures, None, symmetry=True), columns, findings, given=False)
    assert not findings.warnings


def test_rows_of_other_phases_are_refused_with_a_selection() -> None:
    structures = salts()
    structures[6] = bulk("NaCl", "zincblende", a=5.6)
    findings, columns = Findings(), columns_of(structures)
    crystal = Crystal.from_atoms(bulk("NaCl", "rocksalt", a=5.6))
    fits, mapped = map_rows(crystal, columns, findings)
    assert np.flatnonzero(~fits).tolist() == [6]
    assert [each.multiplicity for each in mapped] == [1.0] * 7
    (problem,) = findings.problems
    assert problem.startswith("Rows of another crystal. ")
    assert "1 row: 6" in problem
    assert problem.endswith("To keep 7 of the 8 rows: --select 'id!=6'")


def test_left_handed_cells_are_relabelled_and_told() -> None:
    structures = salts()
    structures[4].set_cell(structures[4].cell.array[[1, 0, 2]])
    findings = Findings()
    fits, mapped = map_rows(Crystal.from_atoms(bulk("NaCl", "rocksalt", a=5.6)), columns_of(structures), findings)
    assert fits.all()
    assert all(np.linalg.det(each.cell) > 0 for each in mapped)
    assert findings.warnings == ["Left-handed cells, relabelled to right-handed ones: 1 row: 4."]


def test_supercells_count_their_cells() -> None:
    structures = salts(3)
    structures[1] = make_supercell(structures[1], np.diag([2, 1, 1]))
    _, mapped = map_rows(Crystal.from_atoms(bulk("NaCl", "rocksalt", a=5.6)), columns_of(structures), Findings())
    assert [each.multiplicity for each in mapped] == [1.0, 2.0, 1.0]


def labels_of(structures: list[Atoms]) -> tuple[np.ndarray, Findings]:
    findings, columns = Findings(), columns_of(structures)
    cells = np.array([atoms.cell.array for atoms in structures])
    crystal = Crystal.from_atoms(bulk("NaCl", "rocksalt", a=5.6))
    check_labels(crystal, columns, cells, columns.energies, findings)
    return columns.stresses, findings


def test_stresses_that_cannot_be_used_are_told() -> None:
    structures = salts()
    for index, atoms in enumerate(structures):
        atoms.calc.results["stress"] = np.zeros(6) if index == 5 else np.full(6, 0.01 * (index + 1))
    del structures[2].calc.results["stress"]
    stresses, findings = labels_of(structures)
    assert np.flatnonzero(np.isnan(stresses).any(axis=1)).tolist() == [2, 5]
    assert findings.warnings == [
        "Not used as stress labels: 1 row: 5 with a stress of zeros, as codes write that did not compute it.",
        "Without a stress label: 2 rows: 2, 5.",
    ]


def test_free_energies_that_stresses_belong_to_are_told() -> None:
    structures = salts()
    for index, atoms in enumerate(structures):
        energy = atoms.calc.results["energy"]
        atoms.calc.results.update(stress=np.full(6, 0.01), free_energy=energy - 0.002 * index)
    _, findings = labels_of(structures)
    (warning,) = findings.warnings
    assert warning.startswith("Free energy and energy differ by -7 to 0 meV per atom")
