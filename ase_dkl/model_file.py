"""The model file: safetensors with a JSON header. Reading one executes nothing."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ase_dkl.arrays import Floats

FORMAT = "ase_dkl surrogate"
VERSION = 2
UNITS = "eV, Å, degrees; stress eV/Å³, Voigt xx yy zz yz xz xy, tension positive"


class BadModelFile(ValueError):
    """A file that is no model, or not one that this version reads."""


def pack(header: dict[str, Any], tensors: dict[str, Floats]) -> bytes:
    """Make the content of a model file.

    Args:
        header: JSON-able.
        tensors: by name.
    """
    text = json.dumps({"format": FORMAT, "version": VERSION, "units": UNITS, **header}, sort_keys=True)
    return save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, metadata={"ase_dkl": text})


def unpack(content: bytes, name: str) -> tuple[dict[str, Any], dict[str, Floats]]:
    """Take a model file apart.

    Args:
        content: of the file.
        name: what errors call it.

    Returns:
        Header and tensors, as given to `pack`.

    Raises:
        BadModelFile: in words.
    """
    # safetensors: eight bytes that say how long the header is, the header in JSON, the tensors
    end = 8 + int.from_bytes(content[:8], "little")
    try:
        header = json.loads(json.loads(content[8:end])["__metadata__"]["ase_dkl"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if len(content) < end and content[8:9] == b"{":
            raise BadModelFile(f"{name} is truncated: it ends within its header. Copy or train it again.") from error
        raise BadModelFile(f"{name} is not a model file of ase_dkl. Make one with `ase-dkl train`.") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise BadModelFile(f"{name} is not a model file of ase_dkl. Make one with `ase-dkl train`.")
    if header.get("version") != VERSION:
        raise BadModelFile(
            f"{name} has format version {header.get('version')}, and this ase_dkl reads version {VERSION}. "
            "Use the ase_dkl that wrote it or a newer one, or train again."
        )
    try:
        return header, load(content)
    except SafetensorError as error:
        raise BadModelFile(f"{name} is truncated or damaged ({error}). Copy or train it again.") from error
