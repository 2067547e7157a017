"""What a campaign keeps in its folder: the model of its last stage, the record of all stages, and a lock."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ase_dkl.active.plan import BadCampaign, Plan
from ase_dkl.active.status import PROGRESS
from ase_dkl.active.stopping import Stage
from ase_dkl.files import written_whole
from ase_dkl.model.model_file import BadModelFile
from ase_dkl.model.surrogate import Surrogate

LOCK, MODEL, STAGES = "campaign.lock", "surrogate.dkl", "stages.json"
PATIENCE_S = 2.0
"""How long a process that was killed may take to let the lock go."""


@contextmanager
def locked(folder: Path) -> Iterator[str]:
    """Be the only process at work in a folder.

    Yields:
        A name of the folder that no other folder has, wherever it is moved.

    Raises:
        BadCampaign: another process is.
    """
    until = time.monotonic() + PATIENCE_S
    with (folder / LOCK).open("a+", encoding="utf-8") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise BadCampaign(
                        f"Another process is at work on the campaign in {folder}. Wait for it, or end it; "
                        "ase-dkl active status shows how far it is."
                    ) from None
            time.sleep(0.05)
        for name in (MODEL, STAGES, PROGRESS):
            for left in folder.glob(f".{Path(name).stem}-*"):  # by a process that was killed while it wrote
                shutil.rmtree(left, ignore_errors=True)
        file.seek(0)
        name = file.read()
        if not re.fullmatch("[0-9a-f]{32}", name):
            name = uuid.uuid4().hex
            file.truncate(0)
            file.write(name)
            file.flush()
        yield name


def is_locked(folder: Path) -> bool:
    """Whether a process is at work in a folder."""
    try:
        with (folder / LOCK).open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def save(plan: Plan, surrogate: Surrogate, stages: Sequence[Stage]) -> Surrogate:
    """Keep the model of the last stage and the record of all.

    The model comes last: what the record is ahead of it is left out by `load`, so that a process may die in between.

    Returns:
        The model, which now says whose it is.
    """
    with written_whole(plan.folder / STAGES) as beside:
        beside.write_text(json.dumps([asdict(stage) for stage in stages], indent=1), encoding="utf-8")
    about = {**_identity(plan), "stage": stages[-1].stage}
    dataset = {**surrogate.report.dataset, "source": plan.database_shown, "campaign": about}
    named = copy(surrogate)
    named.report = replace(surrogate.report, dataset=dataset)
    with written_whole(plan.folder / MODEL) as beside:  # over a damaged one too
        beside.write_bytes(named.to_bytes())
    return named


def load(plan: Plan) -> tuple[Surrogate | None, list[Stage]]:
    """The model of the last stage and the record of all; nothing where they are not there, damaged or another plan's.

    From nothing the stages are made again out of the labels.
    """
    try:
        surrogate = Surrogate.load(plan.folder / MODEL)
    except BadModelFile:
        return None, []
    about = surrogate.report.dataset.get("campaign", {})
    stages = read_stages(plan.folder)
    if {**about, "stage": None} != {**_identity(plan), "stage": None} or len(stages) <= about["stage"]:
        return None, []
    return surrogate, stages[: about["stage"] + 1]


def read_stages(folder: Path) -> list[Stage]:
    """The record of the stages, as far as there is one."""
    try:
        values = json.loads((folder / STAGES).read_text(encoding="utf-8"))
        return [_stage(value) for value in values]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def _stage(value: dict[str, Any]) -> Stage:
    batch = {name: tuple(value[name]) for name in ("batch_errors", "batch_uncertainties")}
    return Stage(**{**value, **batch})


def _identity(plan: Plan) -> dict[str, Any]:
    return {"name": plan.name, "plan": plan.parts}
