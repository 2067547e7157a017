import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from campaigns import COUNTED, copper

from ase_dkl import TrainConfig
from ase_dkl.active.box import Box
from ase_dkl.active.labels.calculation import Calculation
from ase_dkl.active.plan import BadCampaign
from ase_dkl.active.stopping import Stop
from ase_dkl.active.target import Target


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"name": "my copper"}, "cannot be named 'my copper'"),
        ({"initial": 4}, "initial is 4; it has to be at least 5"),
        ({"batch": 0}, "batch is 0"),
        ({"batch": 40}, "candidates is 32; it has to be at least 40"),
        ({"attempts": 0}, "attempts is 0"),
        ({"acquisition": "best"}, "no acquisition 'best'; choose one of variance"),
        ({"timeout_s": 0.0, "own_process": True}, "timeout_s is 0"),
        ({"timeout_s": 10.0}, "can only be ended in a process of its own"),
        ({"stop": Stop(budget=5)}, "budget of 5 labels does not cover the 6"),
    ],
)
def test_plans_that_make_no_sense(tmp_path: Path, given: dict[str, object], words: str) -> None:
    with pytest.raises(BadCampaign, match=words):
        copper(tmp_path, **given)


def test_stresses_that_no_label_has_are_not_waited_for(tmp_path: Path) -> None:
    plan = copper(tmp_path, calculation=Calculation("lj"), config=TrainConfig(stress="use"))
    plan.check()
    energies = Path(tmp_path / "energies.py")
    energies.write_text(
        "from ase.calculators.emt import EMT\n\n\nclass Energies(EMT):\n    implemented_properties = ['energy']\n"
    )
    plan = replace(plan, calculation=Calculation(f"{energies}:Energies"))
    assert not plan.labels_have_stress
    with pytest.raises(BadCampaign, match="computes no stress"):
        plan.check()


def test_parts_tell_what_decisions_follow_from(tmp_path: Path) -> None:
    plan = copper(tmp_path)
    assert json.dumps(plan.parts)
    same: dict[str, Any] = {
        "attempts": 9,
        "own_process": True,
        "timeout_s": 5.0,
        "stop": Stop(tolerance_meV=1.0),
        "name": "other",
    }
    assert copper(tmp_path, **same).parts == plan.parts
    changes: dict[str, dict[str, Any]] = {
        "calculator": {"calculation": Calculation(COUNTED.name, {"a": 1})},
        "box": {"box": Box((-0.02, 0.02))},
        "model": {"config": replace(plan.config, networks=2)},
        "choice of structures": {"stop": Stop(target=Target("C11", 1.0))},
    }
    for part, given in changes.items():
        parts = copper(tmp_path, **given).parts
        assert {name for name in parts if parts[name] != plan.parts[name]} == {part}


def test_campaigns_that_older_versions_began_go_on(tmp_path: Path) -> None:
    """A digest of the default configuration, as their databases have it: a new setting would make it another one."""
    assert copper(tmp_path, config=TrainConfig()).parts["model"] == "e36f372d539b"


def test_a_password_is_not_shown(tmp_path: Path) -> None:
    assert copper(tmp_path, database="postgresql://me:secret@host/db").database_shown == "postgresql://host/db"
