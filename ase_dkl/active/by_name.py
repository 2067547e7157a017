"""Objects that a text names: "package.module:name", or "path/to/file.py:name"."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any


class BadName(ValueError):
    """A name that leads to no object."""


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
