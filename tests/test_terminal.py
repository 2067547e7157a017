import warnings

import pytest

from ase_dkl import ExtrapolationWarning
from ase_dkl.cli.terminal import plus_minus, warnings_told


class TestWarningsTold:
    def test_words_go_to_stderr_and_into_the_list(self, capsys: pytest.CaptureFixture[str]) -> None:
        with warnings_told() as told:
            for _ in range(2):
                warnings.warn("too far out", ExtrapolationWarning, stacklevel=1)
        assert told == ["too far out"]
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err == "Warning: too far out\n"

    def test_what_is_not_for_users_goes_on_as_it_was(self) -> None:
        with pytest.warns(RuntimeWarning, match="divided"), warnings_told() as told:  # noqa: PT031
            warnings.simplefilter("always")
            warnings.warn("divided by nothing", RuntimeWarning, stacklevel=1)
        assert told == []

    def test_a_quiet_block(self, capsys: pytest.CaptureFixture[str]) -> None:
        with warnings_told() as told:
            pass
        assert told == []
        assert capsys.readouterr().err == ""


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
