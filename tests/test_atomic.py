from pathlib import Path

import pytest

from ase_dkl.atomic import written_whole


def test_takes_the_place_of_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model.dkl"
    path.write_text("old")
    with written_whole(path) as beside:
        beside.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "model.dkl"
    path.write_text("old")

    def fail_half_way() -> None:
        with written_whole(path) as beside:
            beside.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(FileNotFoundError, match=r"there is no directory .*nowhere"),
        written_whole(tmp_path / "nowhere/m"),
    ):
        pass
