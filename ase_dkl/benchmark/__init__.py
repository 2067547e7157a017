"""Studies: methods fitted to the same rows of the same data sets, scored, and told in tables and figures."""

from importlib.util import find_spec

from ase_dkl.errors import Refused


class MissingLibraries(Refused, ImportError):
    """Studies need libraries that a plain installation lacks."""


_NEEDED = {"sklearn": "scikit-learn", "scoringrules": "scoringrules"}
if _missing := [name for module, name in _NEEDED.items() if find_spec(module) is None]:
    raise MissingLibraries(f"Studies need {' and '.join(_missing)}. Install it: pip install 'ase-dkl[benchmark]'")
