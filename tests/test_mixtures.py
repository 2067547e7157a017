from pathlib import Path
from typing import Any

import ase.db
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from ase_dkl.dataset.columns import Columns
from ase_dkl.dataset.mixtures import Findings, check_settings, counted, rows_in_words, selection_of
from ase_dkl.dataset.sources import read_rows


def database(path: Path, pairs: list[dict[str, Any]]) -> str:
    with ase.db.connect(path) as rows:
        for index, of_row in enumerate(pairs):
            name = of_row.get("formula", "Cu")
            atoms = bulk(name, "fcc", a=3.6) if len(name) == 2 else bulk(name, "rocksalt", a=5.6)
            atoms.calc = SinglePointCalculator(atoms, energy=float(index))
            rows.write(atoms, key_value_pairs={key: value for key, value in of_row.items() if key != "formula"})
    return str(path)


@pytest.mark.parametrize(
    ("pairs", "keep", "selection"),
    [
        ([{"ecut": 500.0}] * 3 + [{"ecut": 600.0}], [1, 1, 1, 0], "ecut=500.0"),
        ([{"xc": "PBE"}, {"xc": "LDA"}] * 2, [0, 1, 0, 1], "xc=LDA"),
        ([{"n": 3}, {}, {"n": 3}], [1, 0, 1], "n=3"),
        ([{"formula": "NaCl"}, {"formula": "MgO"}, {"formula": "NaCl"}], [1, 0, 1], "formula=NaCl"),
        ([{"note": "a<b"}, {"note": "c"}, {"note": "a<b"}], [1, 0, 1], "id!=2"),
        ([{"tag": "a"}] * 5, [1, 1, 1, 0, 0], "id<=3"),
        ([{"tag": "a"}] * 5, [0, 0, 1, 1, 1], "id>=3"),
        ([{"tag": "a"}] * 5, [1, 0, 1, 0, 1], "id!=2,id!=4"),
        ([{"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 1, "b": 1}], [1, 0, 1], "b=1"),
    ],
)
def test_proposed_selections_give_these_rows_and_no_others(
    tmp_path: Path, pairs: list[dict[str, Any]], keep: list[int], selection: str
) -> None:
    source = database(tmp_path / "rows.db", pairs)
    mask = np.array(keep, dtype=bool)
    assert selection_of(Columns.of(read_rows(source)), mask) == selection
    assert [row.id for row in read_rows(source, selection)] == (np.flatnonzero(mask) + 1).tolist()


def test_no_selection_where_none_tells_rows_apart(tmp_path: Path) -> None:
    columns = Columns.of(read_rows(database(tmp_path / "rows.db", [{}] * 40)))
    keep = np.arange(40) % 2 == 0
    assert selection_of(columns, keep) is None
    findings = Findings()
    findings.refuse("Every second row is odd.", columns, keep)
    assert findings.problems == [
        "Every second row is odd. No key tells 20 of the 40 rows from the others: copy them to a database of their own."
    ]


def check(tmp_path: Path, pairs: list[dict[str, Any]], select: str | None = None) -> tuple[dict[str, str], Findings]:
    findings = Findings(select)
    return check_settings(Columns.of(read_rows(database(tmp_path / "rows.db", pairs), select)), findings), findings


def test_one_way_of_computing_is_recorded(tmp_path: Path) -> None:
    settings, findings = check(tmp_path, [{"code": "GPAW", "ecut_eV": 800.0, "index": i} for i in range(3)])
    assert settings == {"code": "gpaw", "ecut_eV": "800"}
    assert not findings.problems
    assert not findings.warnings


def test_settings_that_differ_together_are_one_problem(tmp_path: Path) -> None:
    gpaw = {"code": "GPAW", "ecut_eV": 800.0}
    vasp = {"code": "VASP", "ecut_eV": 520.0}
    _, findings = check(tmp_path, [gpaw, gpaw, gpaw, vasp])
    assert findings.problems == [
        "2 ways of computing: code=gpaw ecut_eV=800 (3 rows: 1, 2, 3); code=vasp ecut_eV=520 (1 row: 4). Their "
        "energies have no common zero. To keep 3 of the 4 rows: --select code=GPAW"
    ]


def test_a_given_selection_is_refined(tmp_path: Path) -> None:
    pairs = [{"set": "pool", "xc": xc} for xc in ("PBE", "PBE", "LDA")] + [{"set": "test", "xc": "PBE"}]
    _, findings = check(tmp_path, pairs, select="set=pool")
    assert findings.problems[0].endswith("--select set=pool,xc=PBE")


def test_capitals_and_kinds_of_number_make_no_difference(tmp_path: Path) -> None:
    _, findings = check(tmp_path, [{"xc": "PBE", "ecut": 500}, {"xc": "pbe", "ecut": 500.0}])
    assert not findings.problems


def test_k_points_may_differ_and_are_told(tmp_path: Path) -> None:
    _, findings = check(tmp_path, [{"kpts": "3x3x3"}, {"kpts": "4x3x3"}, {"kpts": "3x3x3"}])
    assert not findings.problems
    assert findings.warnings == ["kpts differs among the rows: 3x3x3 (2 rows), 4x3x3 (1 row)."]


def test_settings_that_some_rows_do_not_name_are_told(tmp_path: Path) -> None:
    settings, findings = check(tmp_path, [{"ecut": 500.0}, {"ecut": 500.0}, {}])
    assert findings.warnings == ["ecut is 500 where it is given, and not given in 1 row: 3."]
    assert settings == {}


def test_several_selections_are_offered_together() -> None:
    findings = Findings(problems=["first", "second"], selections=["formula=Cu", "id<=7", "formula=Cu"])
    assert findings.listed() == ["first", "second", "All these selections together: --select 'formula=Cu,id<=7'"]


def test_the_most_frequent_kind_comes_first() -> None:
    assert {label: at.tolist() for label, at in counted("abbcb").items()} == {"b": [1, 2, 4], "a": [0], "c": [3]}


def test_row_ids_are_shortened() -> None:
    assert rows_in_words(np.array([7])) == "1 row: 7"
    assert rows_in_words(np.arange(100)) == "100 rows: 0, 1, 2, 3, 4, 5, 6, 7, …"
