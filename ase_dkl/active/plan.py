"""What a campaign is to do: everything that its decisions follow from."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ase_dkl.active.acquisition import ACQUISITIONS, Acquisition
from ase_dkl.active.box import Box
from ase_dkl.active.labels.calculation import Calculation
from ase_dkl.active.stopping import Stop
from ase_dkl.addresses import display_name
from ase_dkl.crystal import Crystal
from ase_dkl.errors import Refused
from ase_dkl.model.records import TrainConfig

FEWEST = 4
"""Labels without which there is no first model: energy, slope and curvature take three, and one tells of noise."""


class BadCampaign(Refused, ValueError):
    """A campaign that cannot begin, or cannot go on."""


@dataclass(frozen=True)
class Plan:
    """What a campaign is to do.

    Attributes:
        name: of the campaign in the database: letters, digits, - and _, a letter first.
        database: an ASE database, as a file name or an address `postgresql://…`.
        folder: where the model, the record of the stages and the calculators' files are.
        crystal: the unstrained crystal.
        calculation: what computes a label.
        box: the lattices that the surrogate is to be good for.
        stop: when it is good enough.
        initial: labels of the initial design.
        batch: labels chosen at a time; at most two batches are in work at once.
        acquisition: how lattices are chosen; one of `ACQUISITIONS`.
        candidates: lattices among which a batch is chosen.
        config: how models are trained.
        attempts: how often a label is tried before the campaign goes on without it.
        own_process: whether each label has a process of its own, which may crash, leak or hang and hurts nothing else.
        timeout_s: seconds after which a label counts as hung.
        seed: of designs and choices. `config.seed` is the networks' own.
    """

    name: str
    database: str = field(repr=False)  # it may hold a password
    folder: Path
    crystal: Crystal
    calculation: Calculation
    box: Box
    stop: Stop
    initial: int = 8
    batch: int = 4
    acquisition: Acquisition = "variance"
    candidates: int = 128
    config: TrainConfig = field(default_factory=TrainConfig)
    attempts: int = 3
    own_process: bool = True
    timeout_s: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", self.name):
            raise BadCampaign(
                f"A campaign cannot be named {self.name!r}: take letters, digits, - and _, and begin with a letter."
            )
        for name, least in (
            ("initial", FEWEST + 1),
            ("batch", 1),
            ("candidates", self.batch),
            ("attempts", 1),
            ("seed", 0),
        ):
            value = getattr(self, name)
            if value < least:
                raise BadCampaign(f"{name} is {value}; it has to be at least {least}.")
        if self.acquisition not in ACQUISITIONS:
            raise BadCampaign(f"There is no acquisition {self.acquisition!r}; choose one of {', '.join(ACQUISITIONS)}.")
        if self.timeout_s is not None and not self.timeout_s > 0:
            raise BadCampaign(f"timeout_s is {self.timeout_s}; give seconds above zero, or none for no limit.")
        if self.timeout_s is not None and not self.own_process:
            raise BadCampaign(
                "A label that hangs can only be ended in a process of its own: give no timeout_s, or set own_process."
            )
        if self.stop.budget is not None and self.stop.budget < self.initial:
            raise BadCampaign(
                f"The budget of {self.stop.budget} labels does not cover the {self.initial} of the initial design."
            )

    def check(self) -> None:
        """Find out before a campaign what could not work in it. The calculator is made for this.

        Raises:
            BadCalculation: the calculator cannot be made, or computes no energy.
            BadTarget: the crystal has no such property.
            BadCampaign: the model demands stresses that the calculator does not compute.
        """
        self.calculation.check()
        if self.stop.target is not None:
            self.stop.target.check(self.crystal)
        if self.config.stress == "use" and not self.calculation.computes_stress:
            raise BadCampaign(
                f'The calculator {self.calculation.name} computes no stress, and stress="use" of the model demands it. '
                'Take "auto".'
            )

    @property
    def database_shown(self) -> str:
        """The database's name, without a password."""
        return display_name(self.database)

    @property
    def labels_have_stress(self) -> bool:
        """Whether a label tells models of the stress too."""
        return self.calculation.computes_stress and self.config.stress != "ignore"

    @property
    def target_name(self) -> str | None:
        """The property that labels are chosen for."""
        return None if self.stop.target is None else self.stop.target.name

    @cached_property
    def parts(self) -> dict[str, str]:
        """Digests of what decisions follow from, by what it is. Tolerances, budget and attempts may change."""
        chosen = {name: getattr(self, name) for name in ("initial", "batch", "acquisition", "candidates", "seed")}
        values = {
            "crystal": self.crystal.to_dict(),
            "calculator": self.calculation.digest,
            "box": asdict(self.box),
            "choice of structures": {**chosen, "target": self.target_name},
            "model": asdict(self.config),
        }
        return {name: _digest(value) for name, value in values.items()}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
