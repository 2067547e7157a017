import subprocess
import sys

import pytest

from ase_dkl.benchmark.methods import NAMES, BadMethod, checked, method


def test_settings_override_defaults() -> None:
    found = method("polynomial")
    assert checked(found, {"degree": 3, "decay": 1}) == {**found.defaults, "degree": 3, "decay": 1}
    assert checked(found, {}) == found.defaults


def test_every_kind_is_taken_where_the_default_is_none() -> None:
    assert checked(method("dkl"), {"steps": 7})["steps"] == 7


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"degrees": 3}, "no setting 'degrees'. It has: degree, decay, symmetry, stress."),
        ({"degree": 2.5}, "degree of the method polynomial is 2.5; .* default, 6."),
        ({"degree": True}, "degree of the method polynomial is True"),
        ({"decay": "0.1"}, "decay of the method polynomial is '0.1'"),
        ({"symmetry": 1}, "symmetry of the method polynomial is 1"),
    ],
)
def test_says_what_is_wrong_with_settings(settings: dict[str, object], said: str) -> None:
    with pytest.raises(BadMethod, match=said):
        checked(method("polynomial"), settings)


def test_an_unknown_name() -> None:
    with pytest.raises(BadMethod, match=f"no method 'dlk'. Choose one of {', '.join(NAMES)}."):
        method("dlk")


def test_names_need_no_torch() -> None:
    code = "import sys, ase_dkl.benchmark.methods; sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
