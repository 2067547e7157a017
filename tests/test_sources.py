import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import ase.db
import ase.io
import ase.test
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from made import labelled

from ase_dkl.dataset import BadDataset, srtio3
from ase_dkl.dataset.sources import content_hash, read_rows, rows_in_memory

ASE_DATA = Path(ase.test.__file__).parent / "testdata"


@pytest.fixture(scope="module")
def copper() -> list[Atoms]:
    structures = []
    for index, length in enumerate((3.5, 3.6, 3.7)):
        atoms = bulk("Cu", a=length, cubic=True)
        atoms.info = {"set": "wide" if index else "narrow", "number": index}
        structures.append(labelled(atoms))
    return structures


def write_database(path: Path, structures: Sequence[Atoms]) -> None:
    with ase.db.connect(path) as database:
        for atoms in structures:
            database.write(atoms, key_value_pairs=atoms.info)


def written(path: Path, structures: Sequence[Atoms]) -> str:
    write: Callable[[Path, Sequence[Atoms]], None] = write_database if path.suffix in {".db", ".json"} else ase.io.write
    write(path, structures)
    return str(path)


@pytest.mark.parametrize(("name", "first"), [("cu.db", 1), ("cu.json", 1), ("cu.extxyz", 0), ("cu.traj", 0)])
def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path, copper: list[Atoms], name: str, first: int) -> None:
    rows = read_rows(written(tmp_path / name, copper))
    assert [row.id for row in rows] == [first, first + 1, first + 2]
    for row, atoms in zip(rows, copper, strict=True):
        assert row.get("energy") == pytest.approx(atoms.calc.results["energy"], abs=1e-7)
        assert row.get("stress") == pytest.approx(atoms.calc.results["stress"], abs=1e-7)
        assert np.asarray(row.cell) == pytest.approx(atoms.cell.array, abs=1e-7)


@pytest.mark.parametrize("name", ["cu.db", "cu.json", "cu.extxyz"])
@pytest.mark.parametrize(
    ("select", "count"),
    [
        ("set=wide", 2),
        ("set = wide , number > 1", 1),
        ("0<number<=2", 2),
        ("number", 3),
        ("Cu=4", 3),
        ("formula=Cu4", 3),
        ("id!=1", 2),
        ("pbc=TTT", 3),
    ],
)
def test_files_answer_selections_as_databases_do(
    tmp_path: Path, copper: list[Atoms], name: str, select: str, count: int
) -> None:
    assert len(read_rows(written(tmp_path / name, copper), select)) == count


@pytest.mark.parametrize("name", ["cu.db", "cu.json", "cu.extxyz"])
@pytest.mark.parametrize(
    ("select", "words"),
    [
        ("set<5", "matches the selection 'set<5'. Values of set: narrow, wide."),
        ("set=wid", "matches the selection 'set=wid'. Values of set: narrow, wide."),
        ("st=wide", "did you mean set?"),
        ("set=wide,number>7", "set=wide alone matches 2. number>7 alone matches 0."),
        ("set=wide number>1", "holds 2 comparisons"),
        ("number==1", "not in the language"),
        ("formula=Xyz", "not in the language"),
        ("natoms=many", "must be a number"),
    ],
)
def test_a_selection_that_fails_says_why(
    tmp_path: Path, copper: list[Atoms], name: str, select: str, words: str
) -> None:
    source = written(tmp_path / name, copper)
    with pytest.raises(BadDataset) as caught:
        read_rows(source, select)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.db", b"", "no SQLite file"),
        ("empty.extxyz", b"", "ASE cannot read it"),
        ("text.db", b"a,b\n1,2\n", "no SQLite file"),
        ("other.json", b'{"energy": 1}', "ASE cannot read it"),
        ("broken.json", b'{"1": {"numb', "ASE cannot read it"),
        ("notes.txt", b"nothing at all", "ASE cannot read it"),
        ("cut.extxyz", b"4\nProperties=species:S:1:pos:R:3\nCu 0 0 0\n", "ASE cannot read it"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadDataset, match=words):
        read_rows(str(path))


def test_a_truncated_database_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "cut.db").write_bytes(srtio3().read_bytes()[:300_000])
    with pytest.raises(BadDataset, match="malformed"):
        read_rows(str(tmp_path / "cut.db"))


@pytest.mark.parametrize("name", ["none.db", "none.json", "none.extxyz"])
def test_a_missing_file_is_not_created(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadDataset, match="There is no such file"):
        read_rows(str(tmp_path / name))
    assert list(tmp_path.iterdir()) == []


def test_a_directory_without_outputs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "INCAR").write_text("ENCUT = 500\n")
    with pytest.raises(BadDataset, match="no outputs of DFT runs"):
        read_rows(str(tmp_path))


def test_another_programs_database_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE things (name TEXT)")
    before = path.read_bytes()
    with pytest.raises(BadDataset, match="holds no ASE database"):
        read_rows(str(path))
    assert path.read_bytes() == before


def test_live_calculators_answer_without_calculating(copper: list[Atoms]) -> None:
    labelled, moved, bare = copper[0].copy(), copper[1].copy(), copper[2].copy()
    for atoms in (labelled, moved):
        atoms.calc = EMT()
        atoms.get_potential_energy()
    moved.set_cell(1.01 * moved.cell.array, scale_atoms=True)
    energies = [row.get("energy") for row in rows_in_memory([labelled, moved, bare])]
    assert energies == [pytest.approx(copper[0].calc.results["energy"]), None, None]


def test_vasp_output() -> None:
    (row,) = read_rows(str(ASE_DATA / "vasp" / "vasprun_pstress.xml"))
    # The file says e_0_energy −20.24720095 eV and a stress of −166 kbar, compression counted as positive.
    assert row.get("energy") == pytest.approx(-20.24720095)
    assert row.get("stress")[:3] == pytest.approx(0.10360632, abs=1e-8)
    assert row.get("calculator") == "vasp"


def test_the_hash_is_of_the_content(tmp_path: Path) -> None:
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (content_hash(str(tmp_path / name)) for name in "abc")
    assert a == b != c


def test_a_database_without_rows_is_refused(tmp_path: Path, copper: list[Atoms]) -> None:
    with ase.db.connect(tmp_path / "none.db") as database:
        database.write(copper[0])
        database.delete([1])
    with pytest.raises(BadDataset, match="It holds no structures"):
        read_rows(str(tmp_path / "none.db"))
