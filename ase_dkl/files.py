"""What is written, whole or not at all, and what is never destroyed by that: one rule for every output."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ase import Atoms
    from ase.db.core import Database

_MODEL = b'{"__metadata__":{"ase_dkl"'
"""How the header of a model file begins, after eight bytes."""
_SQLITE = b"SQLite format 3\0"


def check_outputs(
    *outputs: Path | None,
    inputs: Iterable[str | Path | None] = (),
    overwrite: bool = False,
    append: bool = False,
    model: bool = False,
) -> None:
    """Find out before the work, not after it, that its outputs cannot be written or would destroy something.

    What is read is never written. What exists is replaced only where that is asked for: a model by models only, and
    labels that are no predictions of ours by nothing.

    Args:
        outputs: files to be written.
        inputs: files that are read, each perhaps with "@" and a selection; what is no file plays no part.
        overwrite: whether files that exist may be replaced.
        append: whether rows are added to a database that exists.
        model: whether models are written.

    Raises:
        OSError: in words.
    """
    given = [output for output in outputs if output is not None]
    for one, other in combinations(given, 2):
        if _same(one, other):
            raise shutil.SameFileError(f"{one} and {other} are the same file. Name two.")
    sources = [source for each in inputs if each is not None for source in _files(str(each))]
    for path in given:
        for source in sources:
            if _same(path, source):
                raise shutil.SameFileError(
                    f"{path} is read here, and writing it would destroy what it holds. Name another file."
                )
        _check_writable(path)
        if not path.exists():
            continue
        if append:
            _check_database(path)
        elif not overwrite:
            or_append = ", add to it with --append" if path.suffix == ".db" and not model else ""
            raise FileExistsError(f"{path} exists already. Name another file{or_append}, or replace it: --overwrite.")
        else:
            _check_replaceable(path, model)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give the address of a file to write, which takes the place of `path` only once it is complete.

    A link stays a link, and its target is replaced; permissions stay.

    Raises:
        FileNotFoundError: there is no such directory.
    """
    target = path.resolve()
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{path} cannot be written: there is no directory {target.parent}. Make it first.")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{path.stem[:100]}-") as folder:
        beside = Path(folder) / path.name
        yield beside
        if target.exists():
            shutil.copymode(target, beside)
        beside.replace(target)


@contextmanager
def written_rows(path: Path, *, append: bool) -> Iterator[Database]:
    """Give an ASE database to write rows into: in the end it has all of them or none.

    Args:
        path: an SQLite file.
        append: whether the rows are added to those that it has.

    Raises:
        OSError: in words.
    """
    from ase.db import connect

    try:
        if append:
            # One transaction keeps others out; ASE's lock file would be waited for for ever where one was left behind.
            with connect(path.resolve(), type="db", use_lock_file=False) as database:
                yield database
        else:
            with written_whole(path) as beside, connect(beside, type="db", use_lock_file=False) as database:
                yield database
    except sqlite3.Error as error:
        raise OSError(f"{path}: its rows could not be written ({error}). It is as it was.") from error


def _same(one: Path, other: Path) -> bool:
    """Whether they are one file, by links of either kind too."""
    if one.exists() and other.exists():
        return one.samefile(other)
    return one.resolve() == other.resolve()


def _files(source: str) -> list[Path]:
    """What may be the file of an address such as "file@selection"."""
    parts = source.split("@")
    return [Path("@".join(parts[:end])) for end in range(1, len(parts) + 1)]


def _check_writable(path: Path) -> None:
    folder = path.resolve().parent
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{path} cannot be written: there is no directory {folder}. Make it, or choose another."
        )
    if path.is_dir():
        raise IsADirectoryError(f"{path} cannot be written: it is a directory. Name a file.")
    if path.exists() and not path.is_file():
        raise FileExistsError(f"{path} cannot be written: it is a device or a pipe. Name a file.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"{path} cannot be written: you may not write into {folder}. Choose another directory.")
    if path.exists() and not os.access(path, os.W_OK):
        raise PermissionError(f"{path} cannot be written: you may not change it. Name another file.")


def _check_replaceable(path: Path, model: bool) -> None:
    if not path.stat().st_size:
        return
    with path.open("rb") as file:
        begin = file.read(8 + len(_MODEL))
    is_model = begin[8:] == _MODEL
    if model and not is_model:
        raise FileExistsError(f"{path} exists and is no model: no model is written over it. Name another file.")
    if is_model and not model:
        raise FileExistsError(f"{path} is a model, which only a model may replace. Name another file.")
    if not is_model and (_has_labels_in_rows(path) if begin.startswith(_SQLITE) else _has_labels_in_frames(path)):
        raise FileExistsError(
            f"{path} holds labels or values that are no predictions of ase-dkl, and is never replaced. "
            "Name another file."
        )


def _check_database(path: Path) -> None:
    if path.stat().st_size and "systems" not in _tables(path):
        raise FileExistsError(f"{path} is no ASE database that rows could be added to. Name another file.")


def _tables(path: Path) -> set[str]:
    try:
        with _read_only(path) as connection:
            return {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    except sqlite3.Error:
        return set()


def _read_only(path: Path) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True))


def _has_labels_in_rows(path: Path) -> bool:
    """Whether an SQLite file has more than predictions and bare structures; True where that cannot be told."""
    foreign = "calculator IS NOT 'dkl' AND (calculator IS NOT NULL OR key_value_pairs IS NOT '{}')"
    try:
        with _read_only(path) as connection:
            return bool(connection.execute(f"SELECT 1 FROM systems WHERE {foreign} LIMIT 1").fetchall())
    except sqlite3.Error:
        return True


def _has_labels_in_frames(path: Path) -> bool:
    """The same of a file that ASE reads; False for other files."""
    from ase.io import iread

    try:
        return any(map(_foreign, iread(path, index=":")))
    except Exception:  # noqa: BLE001 - readers of so many formats raise whatever they like
        return False


def _foreign(atoms: Atoms) -> bool:
    import numpy as np

    if "energy_uncertainty" in atoms.info or (atoms.calc is not None and atoms.calc.name == "dkl"):
        return False
    of_numbers = (int, float, np.number, np.ndarray)
    return atoms.calc is not None or any(isinstance(value, of_numbers) for value in atoms.info.values())
