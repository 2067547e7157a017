import math
import warnings

import pytest
import typer

from ase_dkl import ExtrapolationWarning
from ase_dkl.cli.terminal import finite, print_table, warnings_told


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


class TestFinite:
    @pytest.mark.parametrize("value", [1.5, None, (0.0, 1.0)])
    def test_passes_numbers_on(self, value: object) -> None:
        assert finite(value) == value

    @pytest.mark.parametrize("value", [math.inf, math.nan, (0.0, -math.inf)])
    def test_refuses_the_rest(self, value: object) -> None:
        with pytest.raises(typer.BadParameter, match="not a finite number"):
            finite(value)


def test_titles_are_not_broken_to_the_width_of_their_table(capsys: pytest.CaptureFixture[str]) -> None:
    title = "A title that is longer than the table beneath it"
    print_table(title, {"a": "1"})
    assert capsys.readouterr().out.splitlines()[0] == title
