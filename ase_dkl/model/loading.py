"""Reading a model file, whatever the model is of."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from ase_dkl.model.ionic_surrogate import IonicSurrogate
from ase_dkl.model.model_file import unpack
from ase_dkl.model.stored import content_of, of_free_ions
from ase_dkl.model.surrogate import Surrogate

Loaded: TypeAlias = Surrogate | IonicSurrogate
"""A model of a lattice, or one of free ions."""


def load(path: str | Path) -> Loaded:
    """Read a model file. Nothing in it is executed.

    Raises:
        BadModelFile: it cannot be read, is truncated, no model, or of a newer format.
    """
    content = content_of(path)
    kind = IonicSurrogate if of_free_ions(unpack(content, str(path))[0]) else Surrogate
    return kind.from_bytes(content, name=str(path))
