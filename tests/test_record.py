import subprocess
import sys
from pathlib import Path

import pytest
from campaigns import copper

from ase_dkl import Surrogate
from ase_dkl.active import record
from ase_dkl.active.plan import BadCampaign
from ase_dkl.active.stopping import Stage


def stage(number: int) -> Stage:
    return Stage(
        number, 6 + 3 * number, 0, 0.01 / 3, 0.015, 0.02, 1e-4, (0.1, -0.2), (0.3, 0.1), 1.0, None, None, True, 0.5
    )


def test_a_folder_keeps_its_name(tmp_path: Path) -> None:
    with record.locked(tmp_path) as name:
        assert record.is_locked(tmp_path)
    assert not record.is_locked(tmp_path)
    with record.locked(tmp_path) as again:
        assert again == name
    (tmp_path / record.LOCK).write_text(name[:10])
    with record.locked(tmp_path) as renamed:
        assert len(renamed) == 32
    with record.locked(tmp_path) as again:
        assert again == renamed


def test_one_process_has_it_until_it_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "PATIENCE_S", 0.2)
    code = (
        "import pathlib, sys, time\n"
        "from ase_dkl.active import record\n"
        "with record.locked(pathlib.Path(sys.argv[1])) as name:\n"
        "    print(name, flush=True)\n"
        "    time.sleep(100)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        name = process.stdout.readline().strip()
        assert record.is_locked(tmp_path)
        with pytest.raises(BadCampaign, match="Another process is at work"), record.locked(tmp_path):
            pass
        process.kill()
    with record.locked(tmp_path) as again:
        assert again == name


def test_what_is_saved_is_loaded(tmp_path: Path, surrogate: Surrogate) -> None:
    plan = copper(tmp_path)
    plan.folder.mkdir()
    assert record.load(plan) == (None, [])
    saved = record.save(plan, surrogate, [stage(0), stage(1)])
    loaded, stages = record.load(plan)
    assert loaded is not None
    assert loaded.digest == saved.digest
    assert loaded.report.dataset["campaign"] == {"name": "copper", "plan": plan.parts, "stage": 1}
    assert stages == [stage(0), stage(1)]
    assert record.read_stages(plan.folder) == stages


def test_a_record_that_is_ahead_of_its_model_is_cut(tmp_path: Path, surrogate: Surrogate) -> None:
    plan = copper(tmp_path)
    plan.folder.mkdir()
    record.save(plan, surrogate, [stage(0), stage(1)])
    before = (plan.folder / record.MODEL).read_bytes()
    record.save(plan, surrogate, [stage(0), stage(1), stage(2)])
    (plan.folder / record.MODEL).write_bytes(before)
    assert record.load(plan)[1] == [stage(0), stage(1)]


def test_a_model_of_another_plan_is_none(tmp_path: Path, surrogate: Surrogate) -> None:
    plan = copper(tmp_path)
    plan.folder.mkdir()
    record.save(plan, surrogate, [stage(0)])
    assert record.load(copper(tmp_path, batch=4)) == (None, [])
    assert record.load(copper(tmp_path, name="other", folder=plan.folder)) == (None, [])
    assert record.load(plan)[0] is not None
    surrogate.save(plan.folder / record.MODEL)
    assert record.load(plan) == (None, [])
