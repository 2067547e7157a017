import io
import logging
import math
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import typer
from commands import Command

import ase_dkl
from ase_dkl import ExtrapolationWarning
from ase_dkl.cli.encoding import in_ascii, write_in_any_encoding
from ase_dkl.cli.options import finite
from ase_dkl.cli.output import print_table
from ase_dkl.cli.terminal import bars, heard, note, warn, warnings_told


class TestWarningsTold:
    def test_words_go_to_stderr_and_into_the_list(self, capsys: pytest.CaptureFixture[str]) -> None:
        with heard(logging.INFO), warnings_told() as told:
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


def test_no_markup_in_what_a_table_holds_is_followed(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("Title", {"runs[/b]": "a[1].xyz"})
    assert "runs[/b]  a[1].xyz" in capsys.readouterr().out


class TestHowMuchIsSaid:
    @pytest.mark.parametrize(
        ("level", "said"),
        [
            (logging.DEBUG, "one second\na note\nWarning: beware\n"),
            (logging.INFO, "a note\nWarning: beware\n"),
            (logging.WARNING, "Warning: beware\n"),
        ],
    )
    def test_by_level(self, level: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
        with heard(level):
            logging.getLogger("ase_dkl.training.fit").debug("one second")
            note("a note")
            warn("beware")
            assert bars() == (level < logging.WARNING)
        assert capsys.readouterr().err == said

    def test_a_library_is_silent(self, capsys: pytest.CaptureFixture[str]) -> None:
        note("a note")
        warn("beware")
        assert capsys.readouterr() == ("", "")
        assert not bars()

    @pytest.mark.parametrize("arguments", [("-q", "label"), ("label", "-q"), ("label", "--quiet")])
    def test_options_stand_before_or_after_the_command(self, model_file: Path, tmp_path: Path, arguments: Any) -> None:
        output = ["scan", model_file, "--along", "a", "--range", "0", "0.1", "-n", "3", "-o", tmp_path / "scan.csv"]
        command = [each for name in arguments for each in (output if name == "label" else [name])]
        assert Command().run(*command).stderr == ""

    def test_more(self, model_file: Path) -> None:
        result = Command().run("-v", "info", model_file)
        assert "info: 0." in result.stderr
        result = Command().run("info", "nowhere.dkl", "-v")
        assert "Traceback" in result.stderr
        assert "Error: nowhere.dkl cannot be read" in result.stderr


def test_version() -> None:
    result = Command().run("--version")
    assert result.stdout.startswith(f"ase-dkl {ase_dkl.__version__} (Python ")


class TestEncodings:
    @pytest.mark.parametrize(
        ("text", "ascii_text"),
        [
            ("V₀ = 61.460 ± 0.008 Å³", "V0 = 61.460 +/- 0.008 A3"),
            ("∂σ/∂ε, 90°, B₀′ × 10⁻⁹", "dsigma/depsilon, 90 deg, B0' x 10-9"),
            ("−5 … café Σ ━ █ 漢", "-5 ... cafe Sigma - # ?"),
            ("bad name \udcff", "bad name ?"),
        ],
    )
    def test_what_ascii_lacks(self, text: str, ascii_text: str) -> None:
        assert in_ascii(text) == ascii_text

    @pytest.mark.parametrize(
        ("encoding", "area"),
        [("ascii", "61.5 +/- 0.1 A3 sigma"), ("cp1252", "61.5 ± 0.1 Å³ sigma"), ("utf-8", "61.5 ± 0.1 Å³ σ")],
    )
    def test_streams_write_every_text(self, encoding: str, area: str, monkeypatch: pytest.MonkeyPatch) -> None:
        streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
        monkeypatch.setattr(sys, "stdout", streams[0])
        monkeypatch.setattr(sys, "stderr", streams[1])
        write_in_any_encoding()
        for stream in streams:
            stream.write("61.5 ± 0.1 Å³ σ\udcff")
            stream.flush()
            assert isinstance(stream.buffer, io.BytesIO)
            assert stream.buffer.getvalue().decode(encoding) == f"{area}?"

    @pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
    def test_a_command_in_another_encoding(self, model_file: Path, encoding: str) -> None:
        program = "from ase_dkl.cli import app; app()"
        environment = {**os.environ, "PYTHONIOENCODING": encoding}
        command = [sys.executable, "-c", program, "elastic", str(model_file)]
        result = subprocess.run(command, env=environment, capture_output=True, check=True)
        assert "dsigma/depsilon" in result.stdout.decode(encoding).replace("∂", "d")
        assert "Traceback" not in result.stderr.decode(encoding)


def test_who_stops_reading_is_told_nothing(model_file: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-c", "from ase_dkl.cli import app; app()", "info", str(model_file)]
    result = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert result.returncode == 1
    assert result.stderr == ""
