"""Objects that a text names: "package.module:name", or "path/to/file.py:name"."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from ase_dkl.errors import Refused

TRUSTED = ("ase", "ase_dkl")
"""Packages whose calculators and methods are run without a question."""


class BadName(Refused, ValueError):
    """A name that leads to no object."""


class Untrusted(Refused, ValueError):
    """A file of settings that has code run, and nobody has said that it may."""


def is_trusted(name: str, kind: type) -> bool:
    """Whether a name leads to a class or object of a kind that ASE or this package itself has defined.

    It is not enough that it can be found there: modules have what they import, and functions that run what they are
    told.

    Args:
        name: "package.module:name".
        kind: a class that the object is a subclass or an instance of.
    """
    if is_file(name) or name.partition(".")[0].partition(":")[0] not in TRUSTED:
        return False
    try:
        found = named(name)
    except BadName:  # which is told when it is used
        return True
    defined = found if isinstance(found, type) else type(found)
    return issubclass(defined, kind) and defined.__module__.partition(".")[0] in TRUSTED


def check_trust(path: Path, foreign: Sequence[str]) -> None:
    """Refuse what a file of settings would have run.

    Args:
        path: the file.
        foreign: what else than ASE's and our own it would have run, in words.

    Raises:
        Untrusted: it would.
    """
    if foreign:
        raise Untrusted(
            f"{path} has code run that is neither ASE's nor ase_dkl's: {'; '.join(foreign)}. Read the file and what it "
            "names, and where you trust both, say so with --trust."
        )


def is_file(name: str) -> bool:
    """Whether a name is that of an object in a file."""
    return name.partition(":")[0].endswith(".py")


def absolute(name: str) -> str:
    """The same name, good in every working directory.

    Raises:
        BadName: it names a file that is not there.
    """
    if not is_file(name):
        return name
    file, _, attribute = name.partition(":")
    path = Path(file).expanduser().resolve()
    if not path.is_file():
        raise BadName(f"{name!r}: there is no file {path}. A relative path is relative to {Path.cwd()}.")
    return f"{path}:{attribute}"


def file_digest(name: str) -> str:
    """SHA-256 of the file that a name leads into.

    Raises:
        BadName: it cannot be read.
    """
    try:
        return hashlib.sha256(Path(name.partition(":")[0]).read_bytes()).hexdigest()
    except OSError as error:
        raise BadName(
            f"{name!r} cannot be read: {error}. Every machine that computes needs this file there."
        ) from error


def named(name: str) -> Any:
    """Import the object of a name. A file is run once for each of its contents.

    Raises:
        BadName: there is no such module, file or object, or importing it fails.
    """
    source, colon, attribute = name.partition(":")
    if not colon or not source or not attribute:
        raise BadName(f"{name!r} names no object. Write package.module:name or path/to/file.py:name.")
    digest = file_digest(name) if is_file(name) else ""
    try:
        module = _run(source, digest) if digest else importlib.import_module(source)
    except Exception as error:
        raise BadName(f"{name!r}: {source} cannot be imported: {type(error).__name__}: {error}") from error
    try:
        return getattr(module, attribute)
    except AttributeError:
        there = ", ".join(sorted(each for each in vars(module) if not each.startswith("_"))) or "nothing"
        raise BadName(f"{name!r}: there is no {attribute} in {source}, which has {there}.") from None


@lru_cache(maxsize=64)
def _run(file: str, digest: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"{Path(file).stem}_{digest[:8]}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
