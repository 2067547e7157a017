import fcntl
from pathlib import Path

import pytest

from ase_dkl.benchmark.results import COLUMNS, Results
from ase_dkl.benchmark.settings import BadStudy

ROW = {"key": "a", "seed": 3, "label": "with, comma", "energy_rmse_meV": 0.25, "error": ""}


def test_rows_and_searches_are_there_when_read_again(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    with Results.written(path) as results:
        results.add(ROW)
        results.add_search("a", {"settings": {"degree": 2}})
    again = Results(path)
    assert again.done() == {("a", 3)}
    assert again.rows == results.rows
    assert (again.rows[0]["label"], again.rows[0]["energy_rmse_meV"], again.rows[0]["auroc"]) == (
        "with, comma",
        "0.25",
        "",
    )
    assert again.searches == {"a": {"settings": {"degree": 2}}}


def test_a_row_that_was_cut_short_is_taken_off(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    with Results.written(path) as results:
        results.add(ROW)
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole + "b,srtio3,dk", encoding="utf-8")
    assert Results(path).done() == {("a", 3)}
    with Results.written(path) as results:
        results.add({**ROW, "key": "b"})
    assert path.read_text(encoding="utf-8").startswith(whole)
    assert Results(path).done() == {("a", 3), ("b", 3)}


def test_other_tables_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x,y\n1,2\n", encoding="utf-8")
    with pytest.raises(BadStudy, match="no table of results"):
        Results(path)


def test_one_process_writes_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    with path.open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(BadStudy, match="another process"), Results.written(path):
            pass
    with Results.written(path):
        assert path.read_text(encoding="utf-8").split(",")[:3] == list(COLUMNS[:3])
