import json
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db.row import AtomsRow

from ase_dkl.dataset.columns import Columns, reduced_formula, setting_words
from ase_dkl.dataset.sources import rows_in_memory

VOIGT = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
FULL = np.array([[1.0, 6.0, 5.0], [6.0, 2.0, 4.0], [5.0, 4.0, 3.0]])


def row(**fields: Any) -> AtomsRow:
    atoms = bulk("NaCl", "rocksalt", a=5.6)
    fixed = {"numbers": atoms.numbers, "positions": atoms.positions, "cell": atoms.cell.array, "pbc": atoms.pbc}
    return AtomsRow({**fixed, "id": 1, **fields})


@pytest.mark.parametrize("stress", [VOIGT, FULL, FULL.ravel(), FULL.tolist(), FULL + 1e-7 * np.eye(3, k=1)])
def test_stresses_of_six_and_nine_components_are_the_same(stress: Any) -> None:
    columns = Columns.of([row(energy=1.0, stress=stress)])
    assert columns.stresses[0] == pytest.approx(VOIGT, abs=1e-6)
    assert columns.stress_notes == [""]


@pytest.mark.parametrize(
    ("stress", "note"),
    [
        (None, ""),
        (np.zeros(6), "a stress of zeros, as codes write that did not compute it"),
        (np.full(6, np.nan), "a stress that is not finite"),
        (FULL + np.eye(3, k=1), "a 3×3 stress that is not symmetric"),
        (np.ones(3), "a stress of 3 components, neither 6 nor 9"),
    ],
)
def test_stresses_that_cannot_be_used_are_missing_and_noted(stress: Any, note: str) -> None:
    columns = Columns.of([row(energy=1.0, stress=stress)])
    assert np.isnan(columns.stresses).all()
    assert columns.stress_notes == [note]


@pytest.mark.parametrize("energy", [None, np.nan, np.inf])
def test_energies_that_are_missing_or_not_finite_are_nan(energy: float | None) -> None:
    assert np.isnan(Columns.of([row(energy=energy)]).energies[0])


def test_atoms_keep_their_magnetic_moments() -> None:
    atoms = bulk("NaCl", "rocksalt", a=5.6)
    atoms.set_initial_magnetic_moments([1.0, -1.0])
    (structure,) = Columns.of(rows_in_memory([atoms])).structures
    assert structure.get_initial_magnetic_moments() == pytest.approx([1.0, -1.0])
    assert structure == atoms


def test_settings_come_from_pairs_and_from_nested_calculator_parameters() -> None:
    parameters = {"mode": {"name": "pw", "ecut": 800}, "kpts": {"size": [3, 3, 3]}, "txt": "out.txt", "setups": None}
    pairs = {"ecut_eV": 800.0, "xc": "PBE", "index": 4}
    columns = Columns.of([row(calculator="GPAW", calculator_parameters=parameters, key_value_pairs=pairs)])
    assert columns.settings == [
        {"calculator": "gpaw", "mode.ecut": "800", "kpts.size": "[3, 3, 3]", "ecut_eV": "800", "xc": "pbe"}
    ]


def test_parameters_written_by_a_calculator_are_read() -> None:
    atoms = bulk("Cu", a=3.6)
    atoms.calc = EMT()
    atoms.get_potential_energy()
    (settings,) = Columns.of(rows_in_memory([atoms])).settings
    assert settings == {"calculator": "emt"}


def test_a_calculator_without_a_name_is_no_setting() -> None:
    atoms = bulk("Cu", a=3.6)
    atoms.calc = SinglePointCalculator(atoms, energy=-0.1)
    assert Columns.of(rows_in_memory([atoms])).settings == [{}]


def test_setting_words_leave_units_out() -> None:
    assert setting_words("input_data.SYSTEM.ecutwfc_Ry") == {"input_data", "system", "ecutwfc"}


def test_pairs_hold_what_a_selection_can_name() -> None:
    (pairs,) = Columns.of([row(calculator="vasp", key_value_pairs={"phase": "B1"})]).pairs
    assert pairs == {"formula": "NaCl", "calculator": "vasp", "pbc": "TTT", "phase": "B1"}


def test_taking_rows_takes_every_column() -> None:
    columns = Columns.of([row(energy=float(i), stress=i * VOIGT, key_value_pairs={"n": i}) for i in range(4)])
    taken = columns.take(np.array([False, True, False, True]))
    assert taken.energies.tolist() == [1.0, 3.0]
    assert taken.stresses[:, 0].tolist() == [1.0, 3.0]
    assert [pairs["n"] for pairs in taken.pairs] == [1, 3]
    assert {len(getattr(taken, name)) for name in taken.__dataclass_fields__} == {2}


@pytest.mark.parametrize("formula", ["Sr2Ti2O6", "SrTiO3", "O3SrTi", "OTiO2Sr"])
def test_compositions_do_not_depend_on_order_or_number(formula: str) -> None:
    assert reduced_formula(str(Atoms(formula).symbols.formula)) == reduced_formula("SrTiO3")


def test_settings_are_json() -> None:
    atoms = bulk("Cu", a=3.6)
    atoms.calc = SinglePointCalculator(atoms, energy=-0.1)
    atoms.info = {"kpts": np.int64(4), "ecut": np.float64(500.0), "spinpol": True}
    (settings,) = Columns.of(rows_in_memory([atoms])).settings
    assert json.loads(json.dumps(settings)) == {"kpts": "4", "ecut": "500", "spinpol": "True"}
