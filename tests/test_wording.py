import numpy as np
import pytest

from ase_dkl import Dataset, Surrogate, evaluate
from ase_dkl.mechanics.elastic import elastic_constants
from ase_dkl.mechanics.eos import equation_of_state
from ase_dkl.mechanics.equilibrium import equilibrium
from ase_dkl.mechanics.moduli import moduli
from ase_dkl.mechanics.stability import stability
from ase_dkl.wording import of_equilibrium, of_evaluation, of_moduli, of_probability, of_stability, of_state, plus_minus


@pytest.mark.parametrize(
    ("value", "std", "words"),
    [
        (3.94403, 0.00123, "3.9440 ± 0.0012 Å"),
        (171.26, 1.04, "171.3 ± 1.0 Å"),
        (171.26, 42.7, "171 ± 43 Å"),
        (90.0, 1e-14, "90 Å"),
    ],
)
def test_a_value_is_shown_to_the_digits_that_it_has(value: float, std: float, words: str) -> None:
    assert plus_minus(value, std, "Å") == words
    assert plus_minus(value, std) == words[:-2]


def test_equal_lattice_parameters_are_named_together(surrogate: Surrogate) -> None:
    found = equilibrium(surrogate)
    words = of_equilibrium(found)
    assert list(words) == ["a = b = c", "α = β = γ"]
    assert words["a = b = c"] == plus_minus(found.lattice_parameters[0], found.lattice_parameters_std[0], "Å")
    assert words["α = β = γ"] == "90 °"


def test_every_quantity_has_its_unit_and_error_bar(surrogate: Surrogate) -> None:
    state = of_state(equation_of_state(surrogate))
    assert list(state) == ["volume V₀", "energy E₀", "bulk modulus B₀", "its pressure derivative B₀′"]
    assert state["volume V₀"].endswith("Å³")
    constants = elastic_constants(surrogate)
    found = of_moduli(moduli(constants.C_GPa, constants.covariance))
    assert [words.endswith("GPa") for words in found.values()] == [True] * 3 + [False] * 2
    judged = of_stability(stability(constants.C_GPa, constants.covariance))
    assert judged["smallest eigenvalue of C"].endswith("GPa")
    assert all("±" in words for words in (state | found | judged).values())
    assert of_probability(0.5, 0.01) == {"probability of stability": "0.5000 ± 0.0100"}


def test_an_evaluation_says_where_there_is_nothing_to_compare(surrogate: Surrogate, srtio3_dataset: Dataset) -> None:
    unseen = srtio3_dataset.subset(np.arange(30, 40))
    assert of_evaluation(evaluate(surrogate, unseen))["stress error, RMS"].endswith("GPa")
    assert of_evaluation(evaluate(surrogate, unseen.without_stresses()))["stress error, RMS"] == "nothing to compare"
