"""A campaign as one TOML file: read into a plan and an executor, every mistake in it told in words."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, get_args, get_type_hints

from ase_dkl.active.acquisition import ACQUISITIONS
from ase_dkl.active.box import Box
from ase_dkl.active.campaign import Plan
from ase_dkl.active.labels.calculation import Calculation
from ase_dkl.active.labels.executors import KINDS, open_executor
from ase_dkl.active.stopping import Measure, Stop
from ase_dkl.active.target import Target
from ase_dkl.addresses import display_name, is_server
from ase_dkl.by_name import check_trust, is_trusted
from ase_dkl.crystal import Crystal
from ase_dkl.errors import Refused
from ase_dkl.model.records import TrainConfig

_Kind = tuple[str, Callable[[Any], Any]]


class BadSettings(Refused, ValueError):
    """A file of settings that says something wrong, or not enough."""


@dataclass(frozen=True, eq=False)
class Settings:
    """What a file of settings describes.

    Attributes:
        plan: the campaign.
        executor: opens what the labels are computed by.
    """

    plan: Plan
    executor: Callable[[], Executor]


def read_settings(path: Path, *, trust: bool = True) -> Settings:
    """Read a campaign's file.

    Args:
        path: a TOML file; what it names is relative to its folder.
        trust: whether it may have code run that is neither ASE's nor ours. Reading it runs none.

    Raises:
        Untrusted: it would, and may not.
        BadSettings: it is no TOML, or a table, key, type or value in it is wrong.
        OSError: it cannot be read.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadSettings(f"{path} is not written in TOML: {error}.") from error
    try:
        settings = _settings(tables, path.resolve().parent)
    except (ValueError, RecursionError) as error:
        raise BadSettings(f"{path}: {error}") from error
    if not trust:
        check_trust(path, _foreign(settings.plan.calculation, tables.get("executor", {})))
    return settings


def _foreign(calculation: Calculation, executor: Mapping[str, Any]) -> list[str]:
    """What would be run, in words, that is neither ASE's nor ours."""
    from ase.calculators.calculator import BaseCalculator

    found = []
    if ":" in calculation.name and not is_trusted(calculation.name, BaseCalculator):
        found.append(f"the calculator {calculation.name}")
    found += [f"the calculator's {key} {json.dumps(value)}" for key, value in _commands(calculation.parameters)]
    functions = [name for kind in KINDS.values() for name in kind if name not in ("workers", "address")]
    return found + [f"the executor's {name} {executor[name]}" for name in functions if name in executor]


def _commands(parameters: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Parameters that calculators give to a shell."""
    for key, value in parameters.items():
        if re.search("command|cmd", key, re.IGNORECASE):
            yield key, value
        elif isinstance(value, Mapping):
            yield from _commands(value)


def _settings(tables: dict[str, Any], folder: Path) -> Settings:
    for name, table in tables.items():
        _known(name, _TABLES, "There is no table [{}]", "the tables are")
        if not isinstance(table, dict):
            raise BadSettings(f"{name} is {_shown(table)}; it must be a table: write [{name}] in a line of its own.")
    given = {name: _checked(name, tables.get(name, {}), kinds) for name, kinds in _TABLES.items()}
    campaign, stop, database = given["campaign"], given["stop"], given["campaign"]["database"]
    seed = {"seed": campaign["seed"]} if "seed" in campaign else {}
    if "target" in stop:
        stop["target"] = _made("stop.target", Target, _checked("stop.target", stop["target"], _TARGET))
    given["calculator"]["name"] = _beside(folder, given["calculator"]["name"])
    acquisition = {"acquisition" if key == "kind" else key: value for key, value in given["acquisition"].items()}
    plan = Plan(
        name=campaign["name"],
        database=database if is_server(database) else str(folder / database),
        folder=folder / campaign.get("folder", campaign["name"]),
        crystal=_crystal(folder, given["crystal"]["file"]),
        calculation=_made("calculator", Calculation, given["calculator"]),
        box=_made("box", Box, given["box"]),
        stop=_made("stop", Stop, stop),
        config=_made("model", TrainConfig, seed | given["model"]),
        **seed,
        **given["labels"],
        **acquisition,
    )
    executor = {key: _beside(folder, value) for key, value in given["executor"].items()}
    return Settings(plan, partial(open_executor, executor, own_process=plan.own_process))


def _crystal(folder: Path, file: str) -> Crystal:
    import ase.io

    name, at, index = file.partition("@")
    shown = display_name(file)
    if not (folder / name).exists():
        raise BadSettings(f"[crystal] file: there is no {display_name(str(folder / file))}.")
    try:
        atoms = ase.io.read(f"{folder / name}{at}{index}")
    except Exception as error:
        raise BadSettings(f"[crystal] file: ASE cannot read {shown} ({type(error).__name__}: {error}).") from error
    if isinstance(atoms, list):
        raise BadSettings(f"[crystal] file: {shown} names {len(atoms)} structures; it must name one.")
    return Crystal.from_atoms(atoms)


def _beside(folder: Path, value: Any) -> Any:
    """A function of a file, "file.py:function", with the file's address in full; everything else as it is."""
    if isinstance(value, str) and re.search(r"\.py:\w+$", value):
        return str(folder / value)
    return value


def _made(table: str, kind: Callable[..., Any], values: Mapping[str, Any]) -> Any:
    try:
        return kind(**values)
    except ValueError as error:
        raise BadSettings(f"[{table}] {error}") from error


def _checked(table: str, values: Mapping[str, Any], kinds: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a table in the types that they must have.

    Raises:
        BadSettings: a key is unknown or missing, or its value of another type.
    """
    checked = {}
    for key, value in values.items():
        _known(key, kinds, f"[{table}] has no {{}}", "there is")
        words, convert = kinds[key]
        try:
            checked[key] = convert(value)
        except _Unfit:
            raise BadSettings(f"[{table}] {key} is {_shown(value)}; it must be {words}.") from None
    for key, help_ in _NEEDED.get(table, {}).items():
        if key not in checked:
            raise BadSettings(f"[{table}] {key} is missing. {help_}")
    return checked


def _known(name: str, known: Collection[str], wrong: str, there_is: str) -> None:
    if name in known:
        return
    near = get_close_matches(name, known, 1, 0.5)
    help_ = f"did you mean {near[0]}?" if near else f"{there_is} {', '.join(known)}."
    raise BadSettings(f"{wrong.format(name)}: {help_}")


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    return json.dumps(display_name(value) if isinstance(value, str) else value, default=str, ensure_ascii=False)


class _Unfit(Exception):
    """A value is of another type."""


def _of_type(*types: type) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        if type(value) not in types:
            raise _Unfit
        return value

    return convert


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not abs(value) < 1e300:
        raise _Unfit
    return float(value)


def _whole(most: int) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        if type(value) is not int or abs(value) > most:
            raise _Unfit
        return value

    return convert


def _text(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise _Unfit
    return value


def _range(value: Any) -> tuple[float, float]:
    if not isinstance(value, list) or len(value) != 2:
        raise _Unfit
    return _number(value[0]), _number(value[1])


def _one_of(*choices: str) -> _Kind:
    def convert(value: Any) -> Any:
        if value not in choices:
            raise _Unfit
        return value

    return f"one of {', '.join(json.dumps(choice) for choice in choices)}", convert


_TEXT: _Kind = ("a text in quotation marks", _text)
_WHOLE: _Kind = ("a whole number, of at most a million", _whole(10**6))
_SEED: _Kind = ("a whole number, of at most 18 digits", _whole(10**18))
_NUMBER: _Kind = ("a number", _number)
_BOOLEAN: _Kind = ("true or false", _of_type(bool))
_RANGE: _Kind = ("two numbers, [lowest, highest]", _range)
_TABLE: _Kind = ("a table", _of_type(dict))
_BY_HINT = {int: _WHOLE, float: _NUMBER, bool: _BOOLEAN}


def _model() -> dict[str, _Kind]:
    """Settings of the training; the seed is the campaign's, and choices are checked where they are used."""
    hints = get_type_hints(TrainConfig)
    return {name: _of_hint(hint) for name, hint in hints.items() if name != "seed"}


def _of_hint(hint: Any) -> _Kind:
    kinds = [hint, *getattr(hint, "__args__", ())]
    return next((_BY_HINT[kind] for kind in kinds if kind in _BY_HINT), _TEXT)


_TABLES: dict[str, dict[str, _Kind]] = {
    "campaign": {"name": _TEXT, "database": _TEXT, "folder": _TEXT, "seed": _SEED},
    "crystal": {"file": _TEXT},
    "box": {"lengths": _RANGE, "angles": _RANGE},
    "calculator": {"name": _TEXT, "parameters": _TABLE},
    "labels": {"initial": _WHOLE, "batch": _WHOLE, "attempts": _WHOLE, "own_process": _BOOLEAN, "timeout_s": _NUMBER},
    "stop": {
        "tolerance_meV": _NUMBER,
        "measure": _one_of(*get_args(Measure)),
        "budget": _WHOLE,
        "target": _TABLE,
    },
    "acquisition": {"kind": _one_of(*ACQUISITIONS), "candidates": _WHOLE},
    "model": _model(),
    "executor": {
        "kind": _one_of(*KINDS),
        "workers": _WHOLE,
        **{name: _TEXT for names in KINDS.values() for name in names if name != "workers"},
    },
}
_TARGET: dict[str, _Kind] = {"name": _TEXT, "tolerance": _NUMBER}
_NEEDED = {
    "campaign": {
        "name": 'Give the campaign a name, like "silicon".',
        "database": 'Name the file of an ASE database, like "silicon.db", or a server, "postgresql://…".',
    },
    "crystal": {"file": "Name a file with the unstrained crystal in it."},
    "calculator": {"name": 'Name what computes the labels, like "vasp".'},
    "stop.target": {
        "name": 'Name a property, like "C44" or "V0".',
        "tolerance": "Say which standard deviation is good enough, in the property's unit.",
    },
}
