"""A study as one TOML file: data sets, methods, sizes and seeds, and the fits that follow from them."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ase_dkl.active.box import BadBox, Box
from ase_dkl.addresses import display_name
from ase_dkl.by_name import check_trust, file_digest, is_file, is_trusted, named
from ase_dkl.dataset.dataset import FEWEST_ROWS
from ase_dkl.errors import Refused

if TYPE_CHECKING:
    from ase_dkl.benchmark.methods import Method

ENERGIES, STRESSES = "energies", "energies+stresses"
LABELS = (ENERGIES, STRESSES)
SHIPPED = "srtio3"
METALS = ("Al", "Cu", "Ag", "Au", "Ni", "Pd", "Pt")
"""What effective medium theory has; all face-centred cubic."""


class BadStudy(Refused, ValueError):
    """A study's file that says something wrong, or not enough."""


@dataclass(frozen=True)
class Source:
    """Where the rows of a data set come from.

    Attributes:
        name: "srtio3" for the shipped data, "emt:Cu" for copper by effective medium theory; any other of a database.
        sizes: numbers of rows to train on.
        database: an ASE database or another file that ASE reads.
        select: of its rows, in the language of ase.db; all without.
        test: of the rows in the box, those to test on; without, those left over by the largest size.
        reference: a file with the unstrained crystal; found in the rows without.
        box: rows within are for training and tests, those beyond it are scored apart.
        stress: whether the database's stresses are read.
    """

    name: str
    sizes: tuple[int, ...]
    database: Path | None = None
    select: str | None = None
    test: str | None = None
    reference: Path | None = None
    box: Box = field(default_factory=Box)
    stress: bool = True

    @cached_property
    def identity(self) -> list[Any]:
        """What a fit's result depends on, JSON-able."""
        if self.database is None:
            return [self.name]
        left_over = max(self.sizes) if self.test is None else None
        files = [path and _digest(path) for path in (self.database, self.reference)]
        told = [*files, self.select, self.test, left_over, self.box.lengths, self.box.angles]
        return told if self.stress else [*told, "energies alone"]


@dataclass(frozen=True)
class Entry:
    """A method of a study.

    Attributes:
        name: one of `ase_dkl.benchmark.methods.NAMES`, or "package.module:METHOD" or "/path/to/file.py:METHOD".
        label: what it is called in tables and figures.
        settings: that differ from the method's defaults.
        search: how many settings are tried on the training rows; 0 for none.
        labels: kinds of labels that it is trained on.
    """

    name: str
    label: str
    settings: Mapping[str, Any]
    search: int
    labels: tuple[str, ...]

    @property
    def method(self) -> Method:
        """The method itself, with this entry's settings for defaults."""
        method = method_named(self.name)
        grid = {key: values for key, values in method.grid.items() if key not in self.settings}
        return replace(method, defaults={**method.defaults, **self.settings}, grid=grid)


@dataclass(frozen=True, eq=False)
class Case:
    """Fits that differ by their seed alone; one fit of a method whose fits do not."""

    source: Source
    entry: Entry
    n: int
    labels: str
    seeds: tuple[int, ...]

    @cached_property
    def key(self) -> str:
        """The same for the same data, rows, method, settings and search, whatever they are called."""
        entry = self.entry
        method = [entry.name.rpartition(":")[2], file_digest(entry.name)] if is_file(entry.name) else entry.name
        told = [self.source.identity, method, sorted(entry.settings.items()), entry.search, self.n, self.labels]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]

    def __str__(self) -> str:
        return f"{self.entry.label}, {self.source.name}, {self.n} rows, {self.labels}"


@dataclass(frozen=True)
class Study:
    """What a study's file describes.

    Attributes:
        name: the file's, without its ending.
        seeds: every case is fitted with each of them, or with the first where they make no difference.
        sources: data sets.
        entries: methods.
    """

    name: str
    seeds: tuple[int, ...]
    sources: tuple[Source, ...]
    entries: tuple[Entry, ...]

    @cached_property
    def cases(self) -> list[Case]:
        """What is fitted, in that order."""
        return [
            Case(source, entry, n, labels, self.seeds if entry.method.random else self.seeds[:1])
            for source in self.sources
            for n in source.sizes
            for labels in LABELS
            for entry in self.entries
            if labels in entry.labels
        ]


def read_study(path: Path, *, trust: bool = True) -> Study:
    """Read a study's file; what it names is relative to its folder.

    Args:
        path: a TOML file. Reading it imports the methods that it names.
        trust: whether these may be others than ours.

    Raises:
        Untrusted: they are, and may not.
        BadStudy: it is no TOML, or something in it is wrong.
        BadMethod: a method is not known, or has no such setting.
        BadName: a file or module has no such method.
        OSError: it cannot be read.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadStudy(f"{path} is not written in TOML: {error}.") from error
    if not trust:
        check_trust(path, _foreign(tables))
    try:
        return _study(path, tables)
    except BadStudy as error:
        raise BadStudy(f"{path}: {error}") from error


def _foreign(tables: dict[str, Any]) -> list[str]:
    from ase_dkl.benchmark.methods import Method

    methods = tables.get("method")
    names = [each.get("name") for each in methods if isinstance(each, dict)] if isinstance(methods, list) else []
    addresses = [name for name in names if isinstance(name, str) and ":" in name]
    return [f"the method {name}" for name in addresses if not is_trusted(name, Method)]


def method_named(name: str) -> Method:
    """A method by its name or address.

    Raises:
        BadStudy: the address leads to something else.
        BadMethod: there is no method of this name.
        BadName: the address leads nowhere.
    """
    from ase_dkl.benchmark.methods import Method, method

    if ":" not in name:
        return method(name)
    found = named(name)
    if not isinstance(found, Method):
        raise BadStudy(f"{name} is a {type(found).__name__}; it must be an ase_dkl.benchmark.methods.Method.")
    return found


def _study(path: Path, tables: dict[str, Any]) -> Study:
    _only(tables, "The file", ("seeds", "labels", "search", "data", "method"))
    seeds = _whole_numbers(tables, "seeds", 0)
    labels = _labels(tables.get("labels", list(LABELS)))
    search = tables.get("search", 0)
    if type(search) is not int or search < 0:
        raise BadStudy(f"search is {search!r}; it is the number of settings to try for each method, 0 for none.")
    folder = path.resolve().parent
    sources = tuple(_source(folder, table) for table in _list(tables, "data"))
    entries = tuple(_entry(folder, table, labels, search) for table in _list(tables, "method"))
    study = Study(path.stem, seeds, sources, entries)
    for what, names in (("data sets", [s.name for s in sources]), ("methods", [e.label for e in entries])):
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise BadStudy(f"Two {what} are called {twice[0]!r}. Give one of them another name (a method: a label).")
    told: dict[str, Case] = {}
    for case in study.cases:
        if (other := told.setdefault(case.key, case)) is not case:
            raise BadStudy(f"{case} is the same as {other}. Leave one of them out.")
    return study


def _source(folder: Path, table: dict[str, Any]) -> Source:
    name = _text(table, "name", "[[data]]")
    where = f"[[data]] {name}"
    sizes = _whole_numbers(table, "sizes", FEWEST_ROWS, where)
    metal = name.partition(":")[2] if name.startswith("emt:") else None
    if name == SHIPPED or metal is not None:
        _only(table, where, ("name", "sizes"))
        if metal is not None and metal not in METALS:
            raise BadStudy(f"{where}: effective medium theory has {', '.join(METALS)}. Choose one of these.")
        return Source(name, sizes)
    _only(table, where, ("name", "sizes", "database", "select", "test", "reference", "lengths", "angles", "stress"))
    if "database" not in table:
        raise BadStudy(f'{where}: name its database = "…"; without one there are srtio3 and emt:Cu (or another metal).')
    named_files = [key for key in ("database", "reference") if key in table]
    files: dict[str, Any] = {key: folder / _text(table, key, where) for key in named_files}
    for file in files.values():
        if not file.exists():
            raise BadStudy(f"{where}: there is no {display_name(str(file))}.")
    selections: dict[str, Any] = {key: _text(table, key, where) for key in ("select", "test") if key in table}
    stress = table.get("stress", True)
    if not isinstance(stress, bool):
        raise BadStudy(f"{where}: stress is {stress!r}; give true, or false for energies alone.")
    return Source(name, sizes, **files, **selections, box=_box(table, where), stress=stress)


def _box(table: dict[str, Any], where: str) -> Box:
    ranges = {key: table[key] for key in ("lengths", "angles") if key in table}
    for key, value in ranges.items():
        if not isinstance(value, list) or len(value) != 2 or any(type(each) not in (int, float) for each in value):
            raise BadStudy(f"{where}: {key} is {value!r}; give two numbers, [lowest, highest].")
    try:
        return Box(**{key: (float(low), float(high)) for key, (low, high) in ranges.items()})
    except BadBox as error:
        raise BadStudy(f"{where}: {error}") from error


def _entry(folder: Path, table: dict[str, Any], labels: tuple[str, ...], search: int) -> Entry:
    from ase_dkl.benchmark.methods import checked

    name = _text(table, "name", "[[method]]")
    where = f"[[method]] {table.get('label', name)}"
    address = str(folder / name) if is_file(name) and ":" in name else name
    method = method_named(address)
    own = {key: value for key, value in table.items() if key not in ("name", "label", "search", "labels")}
    checked(method, own)
    wanted = table.get("search", True)
    if type(wanted) is not bool:
        raise BadStudy(f"{where}: search is {wanted!r}; write true or false. How many settings, the file says once.")
    if "labels" in table:
        labels = _labels(table["labels"])
    if not method.learns_from_stress:
        labels = (ENERGIES,)
    label = _text(table, "label", where) if "label" in table else method.title
    entry = Entry(address, label, own, search if wanted else 0, labels)
    return entry if entry.method.grid else replace(entry, search=0)


def _labels(given: Any) -> tuple[str, ...]:
    if not isinstance(given, list) or not given or any(each not in LABELS for each in given):
        raise BadStudy(f"labels is {given!r}; give a list of {' and '.join(map(repr, LABELS))}.")
    return tuple(given)


def _list(tables: dict[str, Any], key: str) -> list[dict[str, Any]]:
    given = tables.get(key)
    if not isinstance(given, list) or not given or not all(isinstance(each, dict) for each in given):
        raise BadStudy(f"There is no [[{key}]]. Write one for each, its name in it.")
    return given


def _text(table: dict[str, Any], key: str, where: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value:
        raise BadStudy(f"{where}: {key} is {'missing' if value is None else repr(value)}; give a text.")
    return value


def _whole_numbers(table: dict[str, Any], key: str, least: int, where: str = "The file") -> tuple[int, ...]:
    given = table.get(key)
    if not isinstance(given, list) or not given or any(type(each) is not int or each < least for each in given):
        raise BadStudy(f"{where}: {key} is {given!r}; give a list of whole numbers, at least {least}.")
    return tuple(sorted(set(given)))


def _only(table: dict[str, Any], where: str, known: tuple[str, ...]) -> None:
    if unknown := [key for key in table if key not in known]:
        raise BadStudy(f"{where} has no {unknown[0]!r}; there is {', '.join(known)}.")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
