"""The model file: safetensors with a JSON header. Reading one executes nothing."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ase_dkl.arrays import Floats
from ase_dkl.errors import Refused
from ase_dkl.model.older_formats import modern

FORMAT = "ase_dkl surrogate"
VERSION = 4
"""The format's version. One more whenever an older ase_dkl could not read what is written, or would read it wrongly;
what older files lack is made up for in `older_formats`."""
CHECKED = 3
"""The first format with a checksum."""
UNITS = "eV, Å, degrees; stress eV/Å³, Voigt xx yy zz yz xz xy, tension positive"


class BadModelFile(Refused, ValueError):
    """A file that is no model, or not one that this version reads."""


def looks_like_a_model(path: Path) -> bool:
    """Whether a file is a model, whole or damaged, by its name or its first bytes."""
    if path.suffix == ".dkl" or not path.is_file():
        return path.suffix == ".dkl"
    with path.open("rb") as file:
        start = file.read(9)
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") < 2**40


def pack(header: Mapping[str, Any], tensors: Mapping[str, Floats]) -> bytes:
    """Make the content of a model file, which says who wrote it and when, and has a checksum.

    Args:
        header: JSON-able.
        tensors: by name.
    """
    written = {"ase_dkl": _own_version(), "date": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
    whole = {**header, "format": FORMAT, "version": VERSION, "units": UNITS, "written": written}
    whole["sha256"] = checksum(whole, tensors)
    text = json.dumps(whole, sort_keys=True, allow_nan=False)
    return save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, metadata={"ase_dkl": text})


def unpack(content: bytes, name: str) -> tuple[dict[str, Any], dict[str, Floats]]:
    """Take a model file apart.

    Args:
        content: of the file.
        name: what errors call it.

    Returns:
        Header and tensors, as given to `pack`; of older files, as they would be now.

    Raises:
        BadModelFile: in words.
    """
    # safetensors: eight bytes that say how long the header is, the header in JSON, the tensors
    end = 8 + int.from_bytes(content[:8], "little")
    try:
        text = json.loads(content[8:end])["__metadata__"]["ase_dkl"]
        header = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if len(content) < end and content[8:9] == b"{":
            raise BadModelFile(f"{name} is truncated: it ends within its header. Copy or train it again.") from error
        raise BadModelFile(f"{name} is not a model file of ase_dkl. Make one with `ase-dkl train`.") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise BadModelFile(f"{name} is not a model file of ase_dkl. Make one with `ase-dkl train`.")
    written_as = header.get("version")
    if type(written_as) is not int or written_as < 1:
        raise BadModelFile(f"{name} is damaged: it has no format version. Copy or train it again.")
    if written_as > VERSION:
        by = writer(header) or "a newer ase_dkl"
        raise BadModelFile(
            f"{name} was written by {by} in format {written_as}; this is ase_dkl {_own_version()}, which "
            f"reads formats up to {VERSION}. Install that ase_dkl or a newer one, or train again with this one."
        )
    try:
        tensors = load(content)
        if written_as < CHECKED or header.pop("sha256") == checksum(header, tensors):
            return (header, tensors) if written_as == VERSION else modern(written_as, header, tensors)
    except SafetensorError as error:
        raise BadModelFile(f"{name} is truncated or damaged ({error}). Copy or train it again.") from error
    except Exception as error:
        raise BadModelFile(f"{name} is damaged: parts of it are missing. Copy or train it again.") from error
    raise BadModelFile(f"{name} is damaged: its content is not what its checksum says. Copy or train it again.")


def checksum(header: Mapping[str, Any], tensors: Mapping[str, Floats]) -> str:
    """SHA-256 of a header and tensors, by their names."""
    found = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        found.update(f"\0{name} {tensor.dtype.str} {tensor.shape}\0".encode())
        found.update(np.ascontiguousarray(tensor).data)
    return found.hexdigest()


def _own_version() -> str:
    try:
        return version("ase-dkl")
    except PackageNotFoundError:
        return "of unknown version"


def writer(header: Mapping[str, Any]) -> str | None:
    """Who wrote a model and when, in words; None where it does not say so."""
    written = header.get("written")
    if not isinstance(written, dict):
        return None
    by, on = str(written.get("ase_dkl")), str(written.get("date"))
    if not re.fullmatch(r"[\w.+ -]{1,40}", by) or not re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}Z", on):
        return None
    return f"ase_dkl {by} on {on[:10]} at {on[11:16]} UTC"


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number.")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large a number.")
    return value
