import pytest

from ase_dkl.dataset import progress
from ase_dkl.dataset.progress import tracked


def test_a_bar_comes_only_where_it_is_wanted_and_takes_long(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(tracked([1, 2, 3], "reading", shown=False)) == [1, 2, 3]
    assert list(tracked([1, 2, 3], "reading", shown=True)) == [1, 2, 3]
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(progress, "_PATIENCE", -1)
    assert list(tracked([1, 2, 3], "reading", shown=True)) == [1, 2, 3]
    out, err = capsys.readouterr()
    assert out == ""
    assert "reading" in err
    assert "100%" in err
