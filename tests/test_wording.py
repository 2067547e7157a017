import math

import numpy as np
import pytest

from ase_dkl import Dataset, Surrogate, evaluate
from ase_dkl.mechanics.elastic import elastic_constants
from ase_dkl.mechanics.eos import equation_of_state
from ase_dkl.mechanics.equilibrium import equilibrium
from ase_dkl.mechanics.stability import probability_in_words
from ase_dkl.wording import concise, number, plus_minus


@pytest.mark.parametrize(
    ("value", "std", "words"),
    [
        (3.94403, 0.00123, "3.9440 ± 0.0012 Å"),
        (171.26, 1.04, "171.3 ± 1.0 Å"),
        (171.26, 42.7, "171 ± 43 Å"),
        (90.0, 1e-14, "90 Å"),
        (-3e-16, 1e-16, "0 Å"),
        (-2142345.6789, 0.00012, "-2142345.67890 ± 0.00012 Å"),
        (4.3, 596851.0, "0 ± 600000 Å"),
        (1712.0, 427.0, "1710 ± 430 Å"),
        (12.34, 99.7, "10 ± 100 Å"),
        (-0.001, 0.3, "0.00 ± 0.30 Å"),
        (0.0, 0.0996, "0.00 ± 0.10 Å"),
        (1.2e-9, 3e-10, "(1.20 ± 0.30) × 10⁻⁹ Å"),
        (3.0, 2.5e12, "(0.0 ± 2.5) × 10¹² Å"),
    ],
)
def test_a_value_is_shown_to_the_digits_that_it_has(value: float, std: float, words: str) -> None:
    assert plus_minus(value, std, "Å") == words
    assert plus_minus(value, std) == words[:-2]


@pytest.mark.parametrize(
    ("value", "std", "words"),
    [
        (61.46, 0.0083, "61.460(8) Å³"),
        (169.4, 0.3, "169.4(3) Å³"),
        (3.94403, 0.00123, "3.9440(12) Å³"),
        (171.26, 1.04, "171.3(1.0) Å³"),
        (171.26, 42.7, "170(40) Å³"),
        (1712.0, 427.0, "1700(400) Å³"),
        (-2142345.6789, 0.00012, "-2142345.67890(12) Å³"),
        (90.0, 1e-14, "90 Å³"),
        (1.2e-9, 3e-10, "(1.20 ± 0.30) × 10⁻⁹ Å³"),
        (math.nan, 0.1, "not known"),
    ],
)
def test_the_error_bar_in_units_of_the_last_digit(value: float, std: float, words: str) -> None:
    assert concise(value, std, "Å³") == words


@pytest.mark.parametrize(
    ("value", "digits", "words"),
    [
        (24512345.678, 3, "24512346"),
        (0.3104, 3, "0.31"),
        (999.6, 3, "1000"),
        (0.00012345, 3, "0.000123"),
        (-3.2e-9, 3, "-3.2 × 10⁻⁹"),
        (1e16, 3, "1 × 10¹⁶"),
        (0.0, 3, "0"),
        (math.nan, 3, "not known"),
        (None, 3, "not known"),
    ],
)
def test_a_number_is_written_without_an_exponent_where_that_can_be_read(
    value: float | None, digits: int, words: str
) -> None:
    assert number(value, digits) == words


def test_what_is_not_known_is_said() -> None:
    assert plus_minus(None, None, "GPa") == plus_minus(math.nan, 0.1, "GPa") == "not known"
    assert plus_minus(3.2, math.inf, "GPa") == plus_minus(3.2, None, "GPa") == "3.2 GPa, its error not known"


def test_equal_lattice_parameters_are_named_together(surrogate: Surrogate) -> None:
    found = equilibrium(surrogate)
    words = found.lattice_words()
    assert list(words) == ["a = b = c", "α = β = γ"]
    assert words["a = b = c"] == plus_minus(found.lattice_parameters[0], found.lattice_parameters_std[0], "Å")
    assert words["α = β = γ"] == "90 °"


def test_every_quantity_has_its_unit_and_error_bar(surrogate: Surrogate) -> None:
    state = equation_of_state(surrogate).words()
    assert list(state)[:4] == ["volume V₀", "energy E₀", "bulk modulus B₀", "its pressure derivative B₀′"]
    assert state["volume V₀"].endswith("Å³")
    constants = elastic_constants(surrogate)
    assert constants.moduli is not None
    assert constants.stability is not None
    found, judged = constants.moduli.words(), constants.stability.words()
    assert [words.endswith("GPa") for words in found.values()] == [True] * 3 + [False] * 2
    assert judged["smallest eigenvalue of C as a Mandel matrix"].endswith("GPa")
    assert all("±" in words for words in (found | judged).values())
    assert all("±" in words for words in list(state.values())[:4])
    assert probability_in_words(0.5, 0.01) == {"probability of stability": "0.5000 ± 0.0100"}


def test_an_evaluation_says_where_there_is_nothing_to_compare(surrogate: Surrogate, srtio3_dataset: Dataset) -> None:
    unseen = srtio3_dataset.subset(np.arange(30, 40))
    assert evaluate(surrogate, unseen).words()["stress error, RMS"].endswith("GPa")
    assert evaluate(surrogate, unseen.without_stresses()).words()["stress error, RMS"] == "nothing to compare"
