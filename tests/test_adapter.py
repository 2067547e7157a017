"""What the store takes of ASE's databases, public or not, does what the store takes it for."""

from collections.abc import Iterator
from pathlib import Path

import ase.db
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db.row import AtomsRow

from ase_dkl.active.store.adapter import Row
from ase_dkl.active.store.database import FileDatabase


@pytest.fixture
def database(tmp_path: Path) -> Iterator[FileDatabase]:
    made = FileDatabase(str(tmp_path / "labels.db"))
    made.prepare()
    made.begin(exclusive=True)
    yield made
    made.abandon()


def row(key: str) -> Row:
    atoms = bulk("Cu")
    atoms.calc = SinglePointCalculator(atoms, energy=-1.5, stress=np.arange(6.0))
    ase_row = AtomsRow(atoms)
    ase_row["ctime"], ase_row["user"] = 20.0, "me"
    return Row(ase_row, {"label_key": key}, {"requests": {"a": {"number": 1}}, "errors": []})


def test_what_is_saved_is_what_ase_reads(database: FileDatabase) -> None:
    for key in ("one", "two"):
        database.save(row(key))
    [again] = database.rows(["two"])
    again.pairs["label_status"] = "done"
    again.data["errors"].append("none")
    again.ase_row["energy"] = -2.0
    database.save(again)
    database.commit()
    path = str(database.filename)
    with ase.db.connect(path) as seen:
        one, two = seen.select()
    assert (one.label_key, one.energy, one.data, one.user) == ("one", -1.5, row("").data, "me")
    assert (two.id, two.ctime, two.unique_id) == (2, 20.0, again.ase_row["unique_id"])
    assert (two.key_value_pairs, two.energy) == ({"label_key": "two", "label_status": "done"}, -2.0)
    assert two.data == {"requests": {"a": {"number": 1}}, "errors": ["none"]}
    assert two.toatoms() == bulk("Cu")
    assert two.stress.tolist() == [0, 1, 2, 3, 4, 5]


def test_one_query_reads_all_rows(database: FileDatabase) -> None:
    for number in range(20):
        database.save(row(f"l{number}"))
    statements: list[str] = []
    database.connection.set_trace_callback(statements.append)
    assert len(database.rows()) == 20
    assert len(database.rows([f"l{number}" for number in range(7)])) == 7
    assert [statement.split()[0] for statement in statements] == ["SELECT"] * 2


def test_ase_never_commits_half_way(database: FileDatabase) -> None:
    """As its own connections do with every change of which the number is a multiple of 5000."""
    database.change_count = 4999
    database.save(row("one"))
    database.abandon()
    database.begin(exclusive=False)
    assert database.rows() == []
