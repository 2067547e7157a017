import importlib
import subprocess
import sys

import pytest

from ase_dkl.moved import MOVED


@pytest.mark.parametrize("name", MOVED)
def test_an_old_name_works_and_says_the_new_one(name: str) -> None:
    sys.modules.pop(name, None)
    with pytest.warns(DeprecationWarning, match=f"{name} is now {MOVED[name]}"):
        old = importlib.import_module(name)
    new = importlib.import_module(MOVED[name])
    public = [each for each in vars(new) if each[0].isalpha()]
    assert public
    assert all(getattr(old, each) is getattr(new, each) for each in public)


def test_the_warning_points_at_who_imports() -> None:
    program = "import ase_dkl\nfrom ase_dkl.plots import scan_figure"
    result = subprocess.run(
        [sys.executable, "-W", "default", "-c", program], capture_output=True, text=True, check=True
    )
    assert "<string>:2: DeprecationWarning: ase_dkl.plots is now ase_dkl.figures.plots" in result.stderr
