"""What stands for a surrogate and for atoms."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from pymatgen.io.ase import AseAtomsAdaptor

from ase_dkl import Crystal, Dataset, DKLCalculator, Surrogate, equation_of_state, equilibrium, evaluate, scan_along
from ase_dkl.crystal.structures import as_atoms
from ase_dkl.mechanics.elastic import elastic_constants
from ase_dkl.model.accepted import as_surrogate


def test_a_file_or_a_calculator_is_as_good_as_the_surrogate(surrogate: Surrogate, model_file: Path) -> None:
    calculator = DKLCalculator(surrogate)
    # Exactly equal: the same numbers on the same path.
    for model in (str(model_file), model_file, calculator):
        assert equilibrium(model).energy == equilibrium(surrogate).energy
    assert (elastic_constants(calculator).C_GPa == elastic_constants(surrogate).C_GPa).all()
    assert equation_of_state(model_file).V0_A3 == equation_of_state(surrogate).V0_A3
    scan = scan_along(calculator, "a", [0.0, 0.01])
    assert scan.surrogate is surrogate


def test_evaluate_takes_a_file(surrogate: Surrogate, model_file: Path, srtio3_dataset: Dataset) -> None:
    rows = srtio3_dataset.subset(np.arange(30, 36))
    assert evaluate(model_file, rows) == evaluate(surrogate, rows)


def test_anything_else_is_refused_in_words(surrogate: Surrogate) -> None:
    with pytest.raises(TypeError, match="int is no model"):
        as_surrogate(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="dict is no structure"):
        as_atoms({})  # type: ignore[arg-type]


def test_structures_of_pymatgen(surrogate: Surrogate) -> None:
    cells = [factor * surrogate.crystal.cell for factor in np.linspace(0.98, 1.02, 6)]
    atoms = [surrogate.crystal.atoms(cell) for cell in cells]
    for each in atoms:
        energy = float(surrogate.predict(each, stress=False).energy[0])
        each.calc = SinglePointCalculator(each, energy=energy)
    structures = [AseAtomsAdaptor.get_structure(each) for each in atoms]
    of_atoms, of_structures = surrogate.predict(atoms), surrogate.predict(structures)
    # pymatgen keeps fractional coordinates: positions come back but for rounding.
    np.testing.assert_allclose(of_structures.energy, of_atoms.energy, atol=1e-9)
    np.testing.assert_allclose(surrogate.predict(structures[0]).energy, of_atoms.energy[:1], atol=1e-9)
    assert Crystal.from_atoms(structures[2]).space_group == "Pm-3m (221)"
    dataset = Dataset.from_atoms(structures, reference=structures[2])
    np.testing.assert_allclose(dataset.energies, of_atoms.energy, atol=1e-9)


def test_nobody_waits_for_pymatgen_who_has_no_structure_of_its_kind() -> None:
    program = (
        "import sys; from ase.build import bulk; from ase_dkl.crystal.structures import as_atoms; as_atoms(bulk('Cu'));"
        "sys.exit('pymatgen' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
