"""Where DFT data lie → ASE rows: one row for every structure, whatever it was read from."""

import difflib
import hashlib
import itertools
import operator
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.db.core import Database, connect, parse_selection
from ase.db.row import AtomsRow, atoms2dict
from ase.db.sqlite import SQLite3Database

from ase_dkl.addresses import check_server, display_name, is_server
from ase_dkl.dataset.places import Place, frames, places, run_of
from ase_dkl.errors import Refused

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
_PLACE = ("file", "row")
"""Keys of rows of several files."""
_COLUMNS = {"id", "natoms", "formula", "energy", "calculator", "volume", "pbc", "fmax", "smax", "age", "user"}


class BadDataset(Refused, ValueError):
    """Data that no model should be trained on. The message lists every problem and what to do about it.

    Attributes:
        problems: the entries of that list.
    """

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(
            "\n".join([f"{display_name(source)} cannot be used:", *(f"- {problem}" for problem in problems)])
        )


class _Rows:
    """Rows in memory that answer ASE's selection language as an SQL database does."""

    def __init__(self, rows: Iterable[AtomsRow]) -> None:
        self.rows = list(rows)

    def select(self, selection: str | None, *, include_data: bool) -> Iterator[AtomsRow]:
        del include_data  # they have none
        keys, comparisons = parse_selection(selection)
        for row in self.rows:
            if all(row.get(key) is not None for key in keys) and all(_holds(row, *c) for c in comparisons):
                yield row


@dataclass(frozen=True)
class Read:
    """Rows, and how they came about.

    Attributes:
        name: of where they are from, as it is shown.
        rows: in the order of the sources. A file's frames count from 0, and their scalar `info` entries are key-value
            pairs. From several files, ids are names, such as "runs/a/OUTCAR" or "x.db@3", which a
            selection knows by the keys `file` and `row`.
        files: name and SHA-256 of each file; None of a server.
        notes: what was not read, and why.
    """

    name: str
    rows: list[AtomsRow]
    files: dict[str, str | None]
    notes: list[str]


def read_rows(source: str | Sequence[str], select: str | None = None) -> list[AtomsRow]:
    """The rows of what `read` reads."""
    return read(source, select).rows


def read(source: str | Sequence[str], select: str | None = None, *, every_step: bool = False) -> Read:
    """Read rows of ASE databases, and frames of any files that ASE reads.

    Args:
        source: one or several names of files, directories that are searched for outputs of runs, patterns, addresses
            of database servers, or "-" for stdin.
        select: selection in the language of `ase.db`; None for all rows.
        every_step: whether of a run in which ions move all steps are read, and not the last alone.

    Raises:
        BadDataset: nothing there, not readable, or nothing selected. Of several files some may be unreadable.
    """
    sources = [source] if isinstance(source, str) else list(source)
    try:
        with places(sources) as found:
            if not found:
                raise BadDataset("Nothing", ["No file was named."])
            read_one_or_all = _read_one if len(found) == 1 else _read_all
            return read_one_or_all(found, select, every_step)
    except FileNotFoundError as error:
        raise BadDataset(sources[0] if len(sources) == 1 else f"{len(sources)} sources", [str(error)]) from error


def _read_one(found: list[Place], select: str | None, every_step: bool) -> Read:
    (place,) = found
    table, note = _table(place, every_step)
    rows = _selected(table, place.name, select)
    # Where a file is on this machine is nobody's business.
    kept = Path(place.name).name if Path(place.name).is_absolute() else place.name
    return Read(place.name, rows, {kept: content_hash(place.path)}, [] if note is None else [_RELAXED + note + "."])


def _read_all(found: list[Place], select: str | None, every_step: bool) -> Read:
    rows: list[AtomsRow] = []
    unreadable, relaxed, files = [], [], {}
    for place in found:
        try:
            table, note = _table(place, every_step)
            of_file = _selected(table, place.name, None)
        except BadDataset as error:
            unreadable.append(f"{place.name} ({' '.join(error.problems).rstrip('.')})")
            continue
        files[place.name] = content_hash(place.path)
        relaxed += [] if note is None else [note]
        for row in of_file:
            identity = place.name if len(of_file) == 1 else f"{place.name}@{row.id}"
            vars(row)["id"] = identity
            for key, value in zip(_PLACE, (place.name, identity), strict=True):
                if key not in row.key_value_pairs:
                    row[key] = value
        rows += of_file
    name = f"{len(found)} files"
    notes = [f"Not read: {_some(unreadable)}."] * bool(unreadable) + [f"{_RELAXED}{_some(relaxed)}."] * bool(relaxed)
    if not rows:
        raise BadDataset(name, notes or ["They hold no structures."])
    return Read(name, _selected(_Rows(rows), name, select), files, notes)


def pairs_of(row: AtomsRow) -> dict[str, Any]:
    """The key-value pairs of a row, and of several files' what tells where it is from."""
    return {**row.key_value_pairs, **{key: row[key] for key in _PLACE if key in row}}


_RELAXED = "Ions move in these runs, and the last step alone is taken: "
_SHOWN = 8


def _some(texts: Sequence[str]) -> str:
    return "; ".join(texts[:_SHOWN]) + (f"; and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else "")


def _table(place: Place, every_step: bool) -> tuple[Database | _Rows, str | None]:
    """What can be selected from, and of which step of how many the only frame is where ions move."""
    try:
        kind = _database_kind(place.path)
        if kind is None:
            indices, structures = frames(place.path, every_step=every_step)
            if not structures and run_of(place.path):
                raise BadDataset(place.name, ["It is the output of a run of which no step has finished."])
            last = indices[0] + 1 if len(indices) == 1 and indices[0] else None
            return _frames(structures, indices), None if last is None else f"{place.name} (step {last} of {last})"
        table = connect(place.path, type=kind)
        return _Rows(table.select(None, include_data=False)) if kind == "json" else table, None
    except BadDataset:
        raise
    except Exception as error:
        raise BadDataset(place.name, [_unreadable(error)]) from error


def rows_in_memory(structures: Iterable[Atoms], select: str | None = None) -> list[AtomsRow]:
    """Rows of structures in memory, as `read_rows` makes them of a file's frames."""
    return _selected(_frames(structures), "The given structures", select)


def content_hash(source: str) -> str | None:
    """SHA-256 of a file's content; None for a database server."""
    if is_server(source) or not Path(source).is_file():
        return None
    with Path(source).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _database_kind(source: str) -> str | None:
    """The name that `ase.db.connect` has for this kind of database, or None for another kind of file."""
    if is_server(source):
        try:
            check_server(source)
        except ValueError as error:
            raise BadDataset(source, [str(error)]) from None
        return "extract_from_name"
    path = Path(source)
    if not path.exists():
        raise BadDataset(source, ["There is no such file."])
    if path.suffix in {".json", ".aselmdb"}:
        return path.suffix[1:]
    with path.open("rb") as file:
        sqlite = file.read(15) == b"SQLite format 3"
    if sqlite:
        # ASE would add its tables to a file that lacks them.
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if "systems" not in tables:
            raise BadDataset(source, ["It is an SQLite file, but holds no ASE database."])
    elif path.suffix == ".db":
        raise BadDataset(source, ["Its name ends in .db, but it is no SQLite file, as such an ASE database would be."])
    return "db" if sqlite else None


def _selected(table: Database | _Rows, source: str, select: str | None) -> list[AtomsRow]:
    selection = re.sub(r"\s*([<>=!]+|,)\s*", r"\1", select.strip()) if select else ""
    try:
        _check(selection)
        with table if isinstance(table, AbstractContextManager) else nullcontext():  # one connection for all rows
            if isinstance(table, SQLite3Database):
                _ = table.metadata  # ASE finds out the version, which a selection by magmom asks for
            rows = list(table.select(selection, include_data=False))
            _name_data(table, rows)
    except _BadSelection as error:
        problem = (
            f"The selection {select!r} is not in the language of ase.db: {error}. Write conditions as key=value, "
            "key<value, key>=value or key, and a comma between two of them: set=pool,index>=192."
        )
        raise BadDataset(source, [problem]) from error
    except Exception as error:
        raise BadDataset(source, [_unreadable(error)]) from error
    if rows:
        return rows
    everything = list(table.select("", include_data=False))
    if not everything:
        raise BadDataset(source, ["It holds no structures."])
    raise BadDataset(source, [_why_nothing_matches(table, selection, everything)])


class _BadSelection(ValueError):
    pass


def _check(selection: str) -> None:
    for condition in selection.split(","):
        operators = re.findall(r"[<>=!]+", condition)
        if len(operators) > 1 and not all(symbol in {"<", "<="} for symbol in operators):
            raise _BadSelection(f"{condition!r} holds {len(operators)} comparisons")
    try:
        parse_selection(selection)
    except (ValueError, KeyError, IndexError) as error:
        raise _BadSelection(error) from error


def _why_nothing_matches(table: Database | _Rows, selection: str, rows: list[AtomsRow]) -> str:
    keys = {key for row in rows for key in pairs_of(row)}
    lines = [f"None of its {len(rows)} rows matches the selection {selection!r}."]
    conditions = selection.split(",")
    for condition in conditions:
        found = sum(1 for _ in table.select(condition, include_data=False))
        if len(conditions) > 1:
            lines.append(f"{condition} alone matches {found}.")
        key = re.split(r"[<>=!]", condition)[0]
        if found == 0 and key in keys:
            lines.append(f"Values of {key}: {_listed({row.get(key) for row in rows} - {None})}.")
        elif found == 0 and key not in _COLUMNS:
            close = difflib.get_close_matches(key, keys | _COLUMNS, n=1)
            lines.append(f"No row has the key {key!r}{f' (did you mean {close[0]}?)' if close else ''}; ")
            lines[-1] += f"keys here are {_listed(keys)}."
    return " ".join(lines)


def _listed(values: set[Any]) -> str:
    if all(isinstance(value, int | float) for value in values) and len(values) > 8:
        return f"{len(values)} numbers from {min(values)} to {max(values)}"
    texts = sorted(map(str, values)) or ["none"]
    return ", ".join(texts[:12]) + (f" and {len(texts) - 12} more" if len(texts) > 12 else "")


def _frames(structures: Iterable[Atoms], indices: Iterable[int] | None = None) -> _Rows:
    numbers = itertools.count() if indices is None else indices
    return _Rows(_frame(index, atoms) for index, atoms in zip(numbers, structures, strict=False))


def _frame(index: int, atoms: Atoms) -> AtomsRow:
    scalar = (str, int, float, np.number)
    values = atoms2dict(atoms)
    dropped = "energy" not in values and isinstance(atoms.calc, Calculator) and atoms.calc.results
    return AtomsRow(
        {
            **values,
            "id": index,
            # What differs between the atoms and those of their results, which ASE then drops.
            "changes": tuple(atoms.calc.check_state(atoms)) if dropped else (),
            "names": {*atoms.info, *atoms.arrays},
            "key_value_pairs": {key: value for key, value in atoms.info.items() if isinstance(value, scalar)},
        }
    )


def _name_data(table: Database | _Rows, rows: list[AtomsRow]) -> None:
    """Let the first row that lacks a label tell what its data, which are not read, are called: labels, maybe."""
    lacking = next((row for row in rows if row.get("energy") is None or row.get("stress") is None), None)
    if lacking is not None and not isinstance(table, _Rows):
        lacking["names"] = set(table.get(id=lacking.id).data)


def _holds(row: AtomsRow, key: str | int, symbol: str, value: Any) -> bool:
    if isinstance(key, int):
        return _OPERATORS[symbol](int(np.equal(row["numbers"], key).sum()), value)
    actual = "".join(np.where(row.pbc, "T", "F")) if key == "pbc" else row.get(key)
    comparable = actual is not None and isinstance(actual, str) == isinstance(value, str)
    return comparable and _OPERATORS[symbol](actual, value)


def _unreadable(error: Exception) -> str:
    return f"ASE cannot read it ({type(error).__name__}: {str(error).strip() or 'no more is said'})."
