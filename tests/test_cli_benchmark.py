import json
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from ase_dkl.benchmark.results import Results
from ase_dkl.cli.benchmark import benchmark

OWN = Path(__file__).parent / "studied.py"
app = typer.Typer(pretty_exceptions_enable=False)
app.command()(benchmark)


def test_a_study_is_run_and_told(tmp_path: Path) -> None:
    study, table = tmp_path / "mine.toml", tmp_path / "mine.csv"
    methods = "".join(f'[[method]]\nname = "{OWN}:{name}"\n' for name in ("METHOD", "REFUSES"))
    study.write_text(f'seeds = [0, 1]\n[[data]]\nname = "srtio3"\nsizes = [16]\n{methods}', encoding="utf-8")
    done = CliRunner().invoke(app, [str(study), "--trust", "--results", str(table)], catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    assert not done.stdout
    assert f"torch {version('torch')}" in done.stderr
    assert "Done: Least squares, srtio3, 16 rows, energies, seed 1" in done.stderr
    assert "Failed: Refuses, srtio3, 16 rows, energies, seed 1: RuntimeError" in done.stderr
    assert len(Results(table).rows) == 4
    told = CliRunner().invoke(app, [str(study), "--trust", "--results", str(table), "--report"], catch_exceptions=False)
    assert told.exit_code == 0, told.stderr
    assert "srtio3, 16 rows, energies" in told.stdout
    assert "1 of 2" in told.stdout
    assert (tmp_path / "mine-report" / "report.md").exists()
    for more in ([], ["--report", "--overwrite"]):
        as_json = CliRunner().invoke(
            app, [str(study), "--trust", "--results", str(table), "--json", *more], catch_exceptions=False
        )
        good, other = json.loads(as_json.stdout)
        assert (good["method"], good["n"], good["fits"], good["failed"]) == ("Least squares", 16, 2, 0)
        assert good["scores"]["energy_rmse_meV"]["mean"] > 0
        assert (other["method"], other["failed"]) == ("Refuses", 1)
        assert other["scores"]["energy_rmse_meV"]["std"] == 0


def test_tables_that_cannot_be_written_are_told_before_the_work(tmp_path: Path) -> None:
    study = tmp_path / "mine.toml"
    study.write_text(
        f'seeds = [0]\n[[data]]\nname = "srtio3"\nsizes = [16]\n[[method]]\nname = "{OWN}:METHOD"\n', encoding="utf-8"
    )
    done = CliRunner().invoke(app, [str(study), "--trust", "--results", str(tmp_path / "no" / "t.csv")])
    assert done.exit_code == 1
    assert "there is no directory" in done.stderr


@pytest.mark.parametrize(("module", "name"), [("scoringrules", "scoringrules"), ("sklearn", "scikit-learn")])
def test_a_missing_library_is_named_before_anything_is_read(
    module: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for loaded in [each for each in sys.modules if each.partition(".benchmark")[0] == "ase_dkl"]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, module, None)
    done = CliRunner().invoke(app, ["missing.toml"])
    assert done.exit_code == 1
    assert f"Studies need {name}. Install it: pip install 'ase-dkl[benchmark]'" in " ".join(done.stderr.split())
