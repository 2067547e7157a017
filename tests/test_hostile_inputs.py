"""Damaged, mislabelled and absurd files, given to every command that reads one: words, and nothing written."""

import gzip
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import ase.db
import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, graphene, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from commands import Command
from made import labelled
from typer.testing import Result

Maker = Callable[[Path], Path]


def copper(n: int = 12, *, size: float = 0.03) -> list[Atoms]:
    """Strained copies with EMT's labels."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(n):
        atoms = bulk("Cu", cubic=True)
        strain = rng.uniform(-size, size, (3, 3))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
        rows.append(labelled(atoms))
    return rows


def written(folder: Path, rows: list[Atoms], name: str = "rows.traj") -> Path:
    ase.io.write(folder / name, rows)
    return folder / name


def changed(change: Callable[[Atoms, int], object]) -> Maker:
    """Rows of copper, each changed in its own way; a label that changes is returned."""

    def make(folder: Path) -> Path:
        rows = copper()
        for i, atoms in enumerate(rows):
            results = dict(atoms.calc.results)
            told = change(atoms, i)
            atoms.calc = SinglePointCalculator(atoms, **{**results, **(told if isinstance(told, dict) else {})})
        return written(folder, rows)

    return make


def text(content: str | bytes, name: str = "rows.xyz") -> Maker:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return folder / name

    return make


def cut(name: str, part: float) -> Maker:
    """A file of good rows that ends too early."""

    def make(folder: Path) -> Path:
        path = written(folder, copper(), name)
        content = path.read_bytes()
        path.write_bytes(content[: int(part * len(content))])
        return path

    return make


def overwritten(name: str, at: float) -> Maker:
    """A file of good rows with zeros in its middle."""

    def make(folder: Path) -> Path:
        path = written(folder, copper(), name)
        content = bytearray(path.read_bytes())
        start = int(at * len(content))
        content[start : start + 200] = bytes(len(content[start : start + 200]))
        path.write_bytes(bytes(content))
        return path

    return make


def other_tables(folder: Path) -> Path:
    with sqlite3.connect(folder / "rows.db") as connection:
        connection.execute("CREATE TABLE systems (id INTEGER)")
    connection.close()
    return folder / "rows.db"


def no_rows(folder: Path) -> Path:
    with ase.db.connect(folder / "rows.db") as database:
        row = database.write(copper(1)[0])
        database.delete([row])
    return folder / "rows.db"


def blob(folder: Path) -> Path:
    """A database one of whose positions is no array."""
    path = written(folder, copper(), "rows.db")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE systems SET positions = ? WHERE id = 3", (b"\x00\x01\x02",))
    connection.close()
    return path


def json_with(**entries: object) -> Maker:
    def make(folder: Path) -> Path:
        path = written(folder, copper(), "rows.json")
        rows = json.loads(path.read_text())
        rows["3"].update(entries)
        path.write_text(json.dumps(rows))
        return path

    return make


def directory(folder: Path) -> Path:
    (folder / "rows.traj").mkdir()
    return folder / "rows.traj"


def frames(*rows: Atoms) -> Maker:
    return lambda folder: written(folder, [atoms.copy() if atoms.calc is None else atoms for atoms in rows])


FIRST_LINE = 'Lattice="3.6 0 0 0 3.6 0 0 0 3.6" Properties=species:S:1:pos:R:3 energy=-1.0 pbc="T T T"'

DATA: dict[str, Maker] = {
    "nothing in it": text(""),
    "one letter": text("x"),
    "random bytes": text(np.random.default_rng(0).bytes(4096)),
    "random bytes called a database": text(np.random.default_rng(1).bytes(4096), "rows.db"),
    "text called a database": text("not a database", "rows.db"),
    "a database's header alone": text(b"SQLite format 3\x00", "rows.db"),
    "random bytes called a trajectory": text(np.random.default_rng(2).bytes(512), "rows.traj"),
    "random bytes called JSON": text(np.random.default_rng(3).bytes(512), "rows.json"),
    "deep JSON": text("[" * 100_000, "rows.json"),
    "a JSON list": text("[1, 2, 3]", "rows.json"),
    "JSON of something else": text('{"a": 1}', "rows.json"),
    "a picture": text(b"\x89PNG\r\n\x1a\n" + bytes(200), "rows.png"),
    "a compressed nothing": text(gzip.compress(b""), "rows.xyz.gz"),
    "not compressed": text("12", "rows.xyz.gz"),
    "a page": text("<html><body>404</body></html>", "rows.html"),
    "a number of atoms and no more": text("4\n"),
    "fewer atoms than said": text(f"4\n{FIRST_LINE}\nCu 0 0 0\n"),
    "a negative number of atoms": text(f"-4\n{FIRST_LINE}\nCu 0 0 0\n"),
    "an element that is none": text(f"1\n{FIRST_LINE}\nQq 0 0 0\n" * 8),
    "a word for a number": text(f"1\n{FIRST_LINE}\nCu 0 zero 0\n" * 8),
    "a lattice of two vectors": text('1\nLattice="3 0 0 0 3 0" energy=-1\nCu 0 0 0\n' * 8),
    "a lattice of words": text('1\nLattice="a b c d e f g h i" energy=-1\nCu 0 0 0\n' * 8),
    "an energy in words": text(f"1\n{FIRST_LINE.replace('-1.0', 'low')}\nCu 0 0 0\n" * 8),
    "two energies": text(f"1\n{FIRST_LINE} energy=-2.0\nCu 0 0 0\n" * 8),
    "another alphabet": text("1\nрешётка\nМедь 0 0 0\n"),
    "another encoding": text("1\nPrüfung energy=-1\nCu 0 0 0\n".encode("utf-16")),
    "a trajectory cut in its header": cut("rows.traj", 0.02),
    "a trajectory cut in its middle": cut("rows.traj", 0.5),
    "a trajectory cut at its end": cut("rows.traj", 0.98),
    "a database cut in its middle": cut("rows.db", 0.5),
    "a database cut at its end": cut("rows.db", 0.95),
    "JSON cut in its middle": cut("rows.json", 0.5),
    "a trajectory with a hole": overwritten("rows.traj", 0.5),
    "a database with a hole": overwritten("rows.db", 0.9),
    "a database without its header": overwritten("rows.db", 0.0),
    "a database of another program": other_tables,
    "a database without rows": no_rows,
    "positions that are no array": blob,
    "positions as text": json_with(positions="here"),
    "numbers that do not match positions": json_with(numbers=[29, 29]),
    "a cell of four numbers": json_with(cell=[1, 2, 3, 4]),
    "an energy as text": json_with(energy="low"),
    "an energy as a list": json_with(energy=[1, 2]),
    "a stress as text": json_with(stress="high"),
    "a row that is a number": lambda folder: _row_replaced(folder, 5),
    "a directory": directory,
    "no file": lambda folder: folder / "nowhere.traj",
    "a file in no directory": lambda folder: folder / "nowhere" / "rows.traj",
    "positions that are not finite": changed(lambda atoms, _: atoms.positions.__setitem__((0, 0), np.nan)),
    "positions at infinity": changed(lambda atoms, _: atoms.positions.__setitem__((0, 0), np.inf)),
    "a cell that is not finite": changed(lambda atoms, _: atoms.cell.__setitem__((0, 0), np.nan)),
    "flat cells": changed(lambda atoms, _: atoms.cell.__setitem__(2, atoms.cell[1])),
    "no cell": changed(lambda atoms, _: atoms.set_cell(np.zeros((3, 3)))),
    "huge cells": changed(lambda atoms, _: atoms.set_cell(atoms.cell * 1e150)),
    "tiny cells": changed(lambda atoms, _: atoms.set_cell(atoms.cell * 1e-150)),
    "atoms on one another": changed(lambda atoms, _: atoms.positions.__setitem__(1, atoms.positions[0])),
    "all atoms in one place": changed(lambda atoms, _: atoms.set_positions(np.zeros((4, 3)))),
    "another element in each row": changed(lambda atoms, i: atoms.set_atomic_numbers([29 + i] * 4)),
    "energies that are all the same": changed(lambda _, __: {"energy": -1.0, "stress": None}),
    "energies that are not finite": changed(lambda _, __: {"energy": np.nan}),
    "infinite energies": changed(lambda _, __: {"energy": np.inf}),
    "huge energies": changed(lambda _, i: {"energy": (-1) ** i * 1e300}),
    "stresses of no meaning": changed(lambda _, i: {"stress": np.random.default_rng(i).normal(size=6)}),
    "stresses in GPa": changed(lambda atoms, _: {"stress": atoms.calc.results["stress"] * 160.2}),
    "stresses of the other sign": changed(lambda atoms, _: {"stress": -atoms.calc.results["stress"]}),
    "one lattice in all rows": lambda folder: written(folder, [labelled(bulk("Cu", cubic=True)) for _ in range(12)]),
    "lattices that differ by rounding": lambda folder: written(
        folder, [labelled(bulk("Cu", a=3.6 + 1e-13 * i, cubic=True)) for i in range(12)]
    ),
    "one row": lambda folder: written(folder, copper(1)),
    "three rows": lambda folder: written(folder, copper(3)),
    "rows without labels": lambda folder: written(folder, [bulk("Cu", cubic=True) for _ in range(12)]),
    "clusters": frames(
        *[labelled(Atoms("Cu4", [(0, 0, 0), (2.5 + 0.1 * i, 0, 0), (0, 2.5, 0), (0, 0, 2.5)])) for i in range(8)]
    ),
    "molecules": frames(*[labelled(molecule("CO")) for _ in range(8)]),
    "no atoms": frames(*[Atoms(cell=[3, 3, 3], pbc=True) for _ in range(8)]),
}
"""What `train` is given."""

SAME_FOR_EVALUATE = (
    "random bytes",
    "a database's header alone",
    "deep JSON",
    "a trajectory cut in its middle",
    "a database with a hole",
    "positions that are not finite",
    "huge cells",
    "no cell",
    "rows without labels",
    "infinite energies",
    "no atoms",
    "a directory",
    "no file",
)

STRUCTURES: dict[str, Maker] = {
    "another crystal": lambda folder: written(folder, [bulk("NaCl", "rocksalt", a=5.6)], "x.xyz"),
    "a molecule": lambda folder: written(folder, [molecule("H2O")], "x.xyz"),
    "a sheet": lambda folder: written(folder, [graphene(vacuum=8)], "x.xyz"),
    "half a structure file": text("data_x\n_cell_length_a 3.9\n", "x.cif"),
    "a structure file of one line": text("SrTiO3\n", "POSCAR"),
    "a structure with a flat cell": text("SrTiO3\n1.0\n4 0 0\n0 4 0\n0 0 0\nSr\n1\nDirect\n0 0 0\n", "POSCAR"),
    "random bytes as a structure": text(np.random.default_rng(5).bytes(300), "x.cif"),
    "a picture as a structure": text(b"\x89PNG\r\n\x1a\n" + bytes(200), "x.png"),
    "displaced ions": lambda folder: written(folder, [perovskite(displaced=0.3)], "x.traj"),
    "an atom too many": lambda folder: written(folder, [perovskite() + Atoms("O", [(1, 1, 1)])], "x.traj"),
    "positions of nan": lambda folder: written(folder, [perovskite(displaced=np.nan)], "x.traj"),
    "a cell that is not finite": lambda folder: written(folder, [perovskite(scale=np.nan)], "x.traj"),
    "a huge cell": lambda folder: written(folder, [perovskite(scale=1e200)], "x.traj"),
}
"""What `predict` is given with a model of SrTiO3."""

MODELS: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"",
    "one byte": lambda content: content[:1],
    "seven bytes": lambda content: content[:7],
    "a header's length alone": lambda content: content[:8],
    "half a header": lambda content: content[:500],
    "half a model": lambda content: content[: len(content) // 2],
    "all but a byte": lambda content: content[:-1],
    "a byte more": lambda content: content + b"\x00",
    "an endless header": lambda content: b"\xff" * 8 + content[8:],
    "no header": lambda content: bytes(8) + content[8:],
    "zeros": lambda content: bytes(len(content)),
    "text": lambda _: b"a model, surely",
    "a pickle": lambda _: b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00}\x94.",
    "deep JSON in its header": lambda _: (200_000).to_bytes(8, "little") + b"[" * 200_000,
    "tensors of nan": lambda content: content[: _header(content)] + b"\xff" * (len(content) - _header(content)),
    "tensors of zero": lambda content: content[: _header(content)] + bytes(len(content) - _header(content)),
    "another format's name": lambda content: content.replace(b"ase_dkl surrogate", b"ase_dkl surrogato"),
    "another element": lambda content: content.replace(b'\\"numbers\\": [38', b'\\"numbers\\": [-8'),
    "letters for numbers": lambda content: content.replace(b'\\"seed\\": 0', b'\\"seed\\": x'),
}


def _header(content: bytes) -> int:
    return 8 + int.from_bytes(content[:8], "little")


def _row_replaced(folder: Path, row: object) -> Path:
    path = written(folder, copper(), "rows.json")
    rows = json.loads(path.read_text())
    rows["3"] = row
    path.write_text(json.dumps(rows))
    return path


def perovskite(*, displaced: float = 0.0, scale: float = 1.0) -> Atoms:
    sites = [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)]
    atoms = Atoms("SrTiO3", scaled_positions=sites, cell=[3.95] * 3, pbc=True)
    atoms.positions[1, 0] += displaced
    atoms.cell = np.diag([scale * 3.95] * 3)
    return atoms


def told_in_words(result: Result, folder: Path, before: set[Path]) -> str:
    """The error, if it is one in words and the command has left nothing behind."""
    assert result.exit_code == 1, f"exit {result.exit_code}: {result.output[-2000:]} {result.exception!r}"
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert "Traceback" not in result.stderr
    error = f"\n{result.stderr}".partition("\nError: ")[2]
    assert len(error) > 30, error
    assert set(folder.rglob("*")) == before
    return error


@pytest.mark.parametrize("name", DATA)
def test_training_on_it_is_refused(name: str, tmp_path: Path) -> None:
    path = DATA[name](tmp_path)
    before = set(tmp_path.rglob("*"))
    result = Command().run("train", path, "-o", tmp_path / "x.dkl", "--test-fraction", "0")
    told_in_words(result, tmp_path, before)


@pytest.mark.parametrize("name", SAME_FOR_EVALUATE)
def test_evaluating_on_it_is_refused(name: str, tmp_path: Path, model_file: Path) -> None:
    path = DATA[name](tmp_path)
    before = set(tmp_path.rglob("*"))
    told_in_words(Command().run("evaluate", model_file, path), tmp_path, before)


@pytest.mark.parametrize("name", STRUCTURES)
def test_predicting_it_is_refused(name: str, tmp_path: Path, model_file: Path) -> None:
    path = STRUCTURES[name](tmp_path)
    before = set(tmp_path.rglob("*"))
    result = Command().run("predict", model_file, path, "-o", tmp_path / "out.csv")
    told_in_words(result, tmp_path, before)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_like_it_is_refused(name: str, tmp_path: Path, model_file: Path) -> None:
    whole = model_file.read_bytes()
    (tmp_path / "x.dkl").write_bytes(MODELS[name](whole))
    assert (tmp_path / "x.dkl").read_bytes() != whole
    before = set(tmp_path.rglob("*"))
    error = told_in_words(Command().run("info", tmp_path / "x.dkl"), tmp_path, before)
    assert "x.dkl" in error
