"""A row of ASE's as a label: what a campaign asked for, and what came of it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.db.core import now
from ase.db.row import AtomsRow

from ase_dkl.active.labels.labelling import Outcome


@dataclass(frozen=True, eq=False)
class Request:
    """A label that a campaign wants.

    Attributes:
        key: of structure and calculator settings; no two rows have the same.
        atoms: what to compute.
        number: of the request in its campaign.
        fields: what else the campaign keeps of it; what JSON can hold.
    """

    key: str
    atoms: Atoms
    number: int
    fields: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Label:
    """A row, as one campaign sees it.

    Attributes:
        id: of the row.
        request: what was asked for; where this campaign asked twice, the first time.
        status: "waiting", "done" or "failed", which it is for good.
        attempts: how often it was computed, with or without success.
        errors: what was the matter with the attempts that failed.
        ours: whether it is for this campaign to compute, or was; False where it is for another one.
        atoms: with its results, once done.
    """

    id: int
    request: Request
    status: Literal["waiting", "done", "failed"]
    attempts: int
    errors: tuple[str, ...]
    ours: bool
    atoms: Atoms | None


def new_row(request: Request, campaign: str, owner: str) -> AtomsRow:
    """The row of a label that nobody has asked for before; it has yet to be written."""
    row = AtomsRow(request.atoms.copy())
    row["ctime"], row["user"] = now(), os.getenv("USER")
    row._data = {"requests": {}, "errors": []}
    add_request(row, request, campaign)
    set_pairs(row, label_key=request.key, label_status="waiting", label_attempts=0, label_owner=owner)
    return row


def add_request(row: AtomsRow, request: Request, campaign: str) -> bool:
    """Keep what a campaign says of its request, the first time that it asks; whether it was."""
    asked = row._data["requests"]
    if campaign in asked:
        return False
    asked[campaign] = {"number": request.number, "fields": request.fields}
    return True


def add_error(row: AtomsRow, outcome: Outcome, attempt: str) -> bool:
    """Keep what was the matter with an attempt, once; whether it was new."""
    errors = row._data["errors"]
    if any(error["attempt"] == attempt for error in errors):
        return False
    # PostgreSQL has texts in UTF-8 without zeros.
    error = str(outcome.error).replace("\0", "").encode(errors="replace").decode()
    errors.append({"attempt": attempt, "error": error, "seconds": outcome.seconds})
    set_pairs(row, label_attempts=row["label_attempts"] + 1)
    return True


def set_results(row: AtomsRow, outcome: Outcome, parameters: Mapping[str, Any]) -> None:
    """Put results where ASE has them."""
    attempts = row["label_attempts"] + 1
    set_pairs(row, label_status="done", label_attempts=attempts, label_seconds=outcome.seconds)
    row["calculator"], row["calculator_parameters"] = outcome.calculator.lower(), dict(parameters)
    row["energy"] = outcome.energy
    if outcome.free_energy is not None:
        row["free_energy"] = outcome.free_energy
    if isinstance(outcome.magmom, float):  # ASE's databases have a column for a number, none for a vector
        row["magmom"] = outcome.magmom
    for name, value in (("forces", outcome.forces), ("stress", outcome.stress), ("magmoms", outcome.magmoms)):
        if value is not None:
            row[name] = np.array(value, dtype=float)


def set_pairs(row: AtomsRow, **pairs: str | float) -> None:
    """Set key-value pairs; those of others stay."""
    row.__dict__.update(pairs)
    row._keys = list(dict.fromkeys([*row._keys, *pairs]))


def as_label(row: AtomsRow, campaign: str, owner: str) -> Label:
    """A row as a campaign sees it."""
    atoms, record, status = row.toatoms(), row._data["requests"][campaign], row["label_status"]
    return Label(
        row.id,
        Request(row["label_key"], atoms.copy(), record["number"], record["fields"]),
        status,
        row["label_attempts"],
        tuple(error["error"] for error in row._data["errors"]),
        row["label_owner"] == owner,
        atoms if status == "done" else None,
    )
