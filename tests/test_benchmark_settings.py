from pathlib import Path

import pytest

from ase_dkl.benchmark.methods import BadMethod
from ase_dkl.benchmark.settings import BadStudy, Study, read_study
from ase_dkl.by_name import Untrusted

EXAMPLES = Path(__file__).parent.parent / "examples" / "benchmarks"
OWN = Path(__file__).parent / "studied.py"
DATA = '[[data]]\nname = "srtio3"\nsizes = [32, 16]\n'
METHOD = f'[[method]]\nname = "{OWN}:METHOD"\n'


def read(folder: Path, text: str) -> Study:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return read_study(path)


def test_cases_are_what_the_file_says(tmp_path: Path) -> None:
    text = f'seeds = [3, 1]\nsearch = 4\n{DATA}{METHOD}{METHOD}label = "second degree"\ndegree = 2\nsearch = false\n'
    study = read(tmp_path, text + '[[method]]\nname = "polynomial"\nlabels = ["energies+stresses"]\n')
    assert study.name == "mine"
    assert study.seeds == (1, 3)
    told = [(case.n, case.labels, case.entry.label, case.entry.search) for case in study.cases]
    assert told[:3] == [
        (16, "energies", "Least squares", 4),
        (16, "energies", "second degree", 0),
        (16, "energies+stresses", "polynomial ridge", 4),
    ]
    assert len(told) == 6
    changed = study.entries[1].method
    assert changed.defaults == {"degree": 2, "noise": 0.05}
    assert not changed.grid


def test_a_case_is_known_by_what_its_result_depends_on(tmp_path: Path) -> None:
    first = read(tmp_path, f"seeds = [0]\n{DATA}{METHOD}")
    renamed = read(tmp_path, f'seeds = [0, 1]\n{DATA.replace("32", "64")}{METHOD}label = "mine"\n')
    other = read(tmp_path, f"seeds = [0]\n{DATA}{METHOD}noise = 0.1\n")
    searched = read(tmp_path, f"seeds = [0]\nsearch = 3\n{DATA}{METHOD}")
    keys = [study.cases[0].key for study in (first, renamed, other, searched)]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


def test_names_in_a_file_are_relative_to_it(tmp_path: Path) -> None:
    (tmp_path / "copy.py").write_text(OWN.read_text(encoding="utf-8"), encoding="utf-8")
    study = read(tmp_path, f'seeds = [0]\n{DATA}[[method]]\nname = "copy.py:METHOD"\n')
    assert study.entries[0].name == f"{tmp_path / 'copy.py'}:METHOD"
    assert study.entries[0].method.name == "quadratic"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seeds = [", "not written in TOML"),
        (f"{DATA}{METHOD}", "seeds is None; give a list of whole numbers"),
        (f"seeds = [0]\nsizes = [3]\n{DATA}{METHOD}", "has no 'sizes'"),
        (f"seeds = [0]\nsearch = true\n{DATA}{METHOD}", "search is True"),
        (f"seeds = [0]\n{DATA}", r"There is no \[\[method\]\]"),
        (f"seeds = [0]\n{DATA.replace('16', '3')}{METHOD}", "at least 5"),
        (f"seeds = [0]\n{DATA.replace('srtio3', 'emt:Fe')}{METHOD}", "effective medium theory has Al"),
        (f"seeds = [0]\n{DATA.replace('srtio3', 'mine')}{METHOD}", "name its database"),
        (f'seeds = [0]\n{DATA.replace("srtio3", "mine")}database = "no.db"\n{METHOD}', "there is no .*no.db"),
        (f"seeds = [0]\n{DATA}box = 3\n{METHOD}", "has no 'box'"),
        (f"seeds = [0]\n{DATA}{METHOD}{METHOD}", "called 'Least squares'"),
        (f'seeds = [0]\n{DATA}{METHOD}{METHOD}label = "again"\n', "is the same as"),
        (f'seeds = [0]\n{DATA}{METHOD}labels = ["forces"]\n', "labels is"),
        (f"seeds = [0]\n{DATA}{METHOD.replace(':METHOD', ':np')}", "must be an ase_dkl.benchmark.methods.Method"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadStudy, match=message):
        read(tmp_path, text)


def test_settings_of_a_method_are_checked(tmp_path: Path) -> None:
    with pytest.raises(BadMethod, match="no setting 'degre'"):
        read(tmp_path, f"seeds = [0]\n{DATA}{METHOD}degre = 2\n")
    with pytest.raises(BadMethod, match="no method 'gp'"):
        read(tmp_path, f'seeds = [0]\n{DATA}[[method]]\nname = "gp"\n')


@pytest.mark.parametrize("name", ["methods", "ablations", "ablations_paper", "means", "quick"])
def test_shipped_studies_are_read(name: str) -> None:
    study = read_study(EXAMPLES / f"{name}.toml")
    assert study.cases
    if name not in ("means", "quick"):
        assert len(study.seeds) >= 5
        assert {source.name for source in study.sources} == {"srtio3", "emt:Cu"}


def test_methods_of_strangers_are_imported_only_where_they_are_trusted(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    (tmp_path / "own.py").write_text(f"open({str(ran)!r}, 'w')\nfrom ase_dkl.benchmark.methods.dkl import METHOD\n")
    path = tmp_path / "study.toml"
    for name in ("own.py:METHOD", "os:system", "ase_dkl.by_name:named"):
        path.write_text(f'seeds = [0]\n{DATA}[[method]]\nname = "{name}"\n')
        with pytest.raises(Untrusted, match=f"the method {name}. Read the file"):
            read_study(path, trust=False)
    assert not ran.exists()
    path.write_text(f'seeds = [0]\n{DATA}[[method]]\nname = "polynomial"\n')
    read_study(path, trust=False)
