"""Small campaigns for tests: copper by EMT, a model that is trained in a moment."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ase.db
import numpy as np
from ase.build import bulk

from ase_dkl import Crystal, TrainConfig
from ase_dkl.active.box import Box
from ase_dkl.active.labels.calculation import Calculation
from ase_dkl.active.plan import Plan
from ase_dkl.active.stopping import Stage, Stop

QUICK = TrainConfig(networks=1, steps=20, width=16, depth=2, n_inducing=20)
CRYSTAL = Crystal.from_atoms(bulk("Cu", cubic=True))
COUNTED = Calculation(f"{Path(__file__).with_name('counted_emt.py')}:make")


def copper(place: Path, **given: Any) -> Plan:
    """A campaign that ends when 18 labels are there, unless something else is given."""
    usual: dict[str, Any] = {
        "name": "copper",
        "database": str(place / "labels.db"),
        "folder": place / "copper",
        "crystal": CRYSTAL,
        "calculation": COUNTED,
        "box": Box((-0.05, 0.05), (-5.0, 5.0)),
        "stop": Stop(budget=18),
        "initial": 6,
        "batch": 3,
        "candidates": 32,
        "config": QUICK,
        "own_process": False,
    }
    return Plan(**{**usual, **given})


def decisions(stages: Sequence[Stage]) -> list[Stage]:
    """Stages without the time they took."""
    return [replace(stage, seconds=0.0) for stage in stages]


def rows(plan: Plan) -> dict[str, Any]:
    """What the database holds, but for times and attempts: what two campaigns that went alike have alike."""
    found: dict[str, Any] = {}
    with ase.db.connect(plan.database) as database:
        for row in database.select():
            assert row.label_key not in found, "a label is there twice"
            requests = {
                name: {"number": asked["number"], **asked["fields"]} for name, asked in row.data["requests"].items()
            }
            results = {name: np.round(row[name], 10).tolist() for name in ("energy", "stress") if name in row}
            found[row.label_key] = {"status": row.label_status, "requests": requests, **results}
    return found


def computed(log: Path) -> dict[str, list[str]]:
    """What became of each label that was begun, by the calculator's log."""
    lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    found: dict[str, list[str]] = {}
    for what, label in lines:
        found.setdefault(label, []).append(what)
    return found
