from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import CalculationFailed
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from ase_dkl.active.labels.calculation import Calculation
from ase_dkl.active.labels.results import BadResult, results_of

MISBEHAVING = Path(__file__).parent / "misbehaving.py"


def results(name: str, **parameters: float) -> dict[str, object]:
    return results_of(Calculation(f"{MISBEHAVING}:{name}", parameters).make(), bulk("Cu"))


def test_results_are_those_of_the_calculator() -> None:
    found = results("good")
    atoms = bulk("Cu")
    atoms.calc = EMT()
    assert found["energy"] == found["free_energy"] == atoms.get_potential_energy()
    assert found["stress"] == tuple(atoms.get_stress())
    assert found["forces"] == tuple(map(tuple, atoms.get_forces()))


def test_magnetic_moments() -> None:
    atoms = bulk("Fe", cubic=True)
    answers = {"energy": -16.0, "magmom": 4.4, "magmoms": np.array([2.2, 2.2])}
    found = results_of(SinglePointCalculator(atoms, **answers), atoms)
    assert (found["magmom"], found["magmoms"]) == (4.4, [2.2, 2.2])
    assert "magmom" not in results("good")


def test_energies_alone() -> None:
    found = results("energies_alone")
    assert found["stress"] is None
    assert np.isfinite(found["energy"])  # type: ignore[call-overload]


def test_an_energy_that_is_missing() -> None:
    atoms = Atoms("Cu", cell=[3, 3, 3], pbc=True)
    calculator = SinglePointCalculator(atoms, energy=float("inf"))
    with pytest.raises(BadResult, match="energy is inf, not a finite number"):
        results_of(calculator, atoms)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nan", "energy is nan"),
        ("infinite_stress", "not six finite numbers"),
        ("unconverged", "has not converged"),
        ("without_stress", "promises a stress and gives none"),
    ],
)
def test_results_that_are_no_label(name: str, words: str) -> None:
    with pytest.raises(BadResult, match=words):
        results(name)


def test_what_a_calculator_raises_comes_through() -> None:
    with pytest.raises(CalculationFailed, match="did not converge"):
        results("unreliable", share=1.0)
