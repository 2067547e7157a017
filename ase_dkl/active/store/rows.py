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
from ase_dkl.active.store.adapter import Row


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


def new_row(request: Request, campaign: str, owner: str) -> Row:
    """The row of a label that nobody has asked for before; it has yet to be saved."""
    ase_row = AtomsRow(request.atoms.copy())
    ase_row["ctime"], ase_row["user"] = now(), os.getenv("USER")
    pairs = {"label_key": request.key, "label_status": "waiting", "label_attempts": 0, "label_owner": owner}
    row = Row(ase_row, pairs, {"requests": {}, "errors": []})
    add_request(row, request, campaign)
    return row


def add_request(row: Row, request: Request, campaign: str) -> bool:
    """Keep what a campaign says of its request, the first time that it asks; whether it was."""
    asked = row.data["requests"]
    if campaign in asked:
        return False
    asked[campaign] = {"number": request.number, "fields": request.fields}
    return True


def add_error(row: Row, outcome: Outcome, attempt: str) -> bool:
    """Keep what was the matter with an attempt, once; whether it was new."""
    errors = row.data["errors"]
    if any(error["attempt"] == attempt for error in errors):
        return False
    # PostgreSQL has texts in UTF-8 without zeros.
    error = str(outcome.error).replace("\0", "").encode(errors="replace").decode()
    errors.append({"attempt": attempt, "error": error, "seconds": outcome.seconds})
    row.pairs["label_attempts"] += 1
    return True


def set_results(row: Row, outcome: Outcome, parameters: Mapping[str, Any]) -> None:
    """Put results where ASE has them."""
    attempts = row.pairs["label_attempts"] + 1
    row.pairs |= {"label_status": "done", "label_attempts": attempts, "label_seconds": outcome.seconds}
    ase_row = row.ase_row
    ase_row["calculator"], ase_row["calculator_parameters"] = outcome.calculator.lower(), dict(parameters)
    ase_row["energy"] = outcome.energy
    if outcome.free_energy is not None:
        ase_row["free_energy"] = outcome.free_energy
    if isinstance(outcome.magmom, float):  # ASE's databases have a column for a number, none for a vector
        ase_row["magmom"] = outcome.magmom
    for name, value in (("forces", outcome.forces), ("stress", outcome.stress), ("magmoms", outcome.magmoms)):
        if value is not None:
            ase_row[name] = np.array(value, dtype=float)


def as_label(row: Row, campaign: str, owner: str) -> Label:
    """A row as a campaign sees it."""
    atoms, record, status = row.ase_row.toatoms(), row.data["requests"][campaign], row.pairs["label_status"]
    return Label(
        row.ase_row.id,
        Request(row.pairs["label_key"], atoms.copy(), record["number"], record["fields"]),
        status,
        row.pairs["label_attempts"],
        tuple(error["error"] for error in row.data["errors"]),
        row.pairs["label_owner"] == owner,
        atoms if status == "done" else None,
    )
