"""When networks are trained again, and when labels that fail end a campaign."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from campaigns import copper
from made import labelled

from ase_dkl.active.ledger import Ledger
from ase_dkl.active.plan import BadCampaign, Plan
from ase_dkl.active.retraining import due
from ase_dkl.active.stages import box_points, next_batch, next_stage, verdict
from ase_dkl.active.stopping import Stage, Stop, StopReason
from ase_dkl.active.store import Label, Request


def labels(plan: Plan, batch: int, first: int, cells: Any, failed: int = 0, shift: float = 0.0) -> list[Label]:
    """A batch of labels, the last of which failed; the model that chose them is wrong by a shift."""
    found = []
    for number, cell in enumerate(cells, first):
        atoms = plan.crystal.atoms(cell)
        done = labelled(atoms.copy())
        energy = done.get_potential_energy()
        told = {"energy_predicted": energy + shift, "energy_uncertainty": 0.003, "energy_noise": 0.004}
        request = Request(f"l{number}", atoms, number, {"batch": batch, "plan": plan.parts, **(told if batch else {})})
        good = number < first + len(cells) - failed
        errors = () if good else ("It did not converge.",)
        found.append(Label(number, request, "done" if good else "failed", 1, errors, True, done if good else None))
    return found


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return copper(tmp_path, initial=20, stop=Stop(tolerance_meV=1e-3))


def test_networks_of_many_labels_are_trained_when_there_are_twice_as_many() -> None:
    assert not due(124, 100, 1.0)
    assert due(125, 100, 1.0)
    assert due(106, 100, 3.0)
    assert due(640, 512, 1.0)
    assert not due(1025, 513, 3.0)
    assert due(1026, 513, 1.0)


def test_networks_are_trained_where_labels_grew_or_surprised(plan: Plan) -> None:
    cells = plan.box.design(plan.crystal, 40, seed=1)
    ledger = Ledger(plan, labels(plan, 0, 0, cells[:20]))
    surrogate, first = next_stage(plan, ledger, box_points(plan), None, [])
    assert first.refitted
    assert (first.labels, first.failed, first.calibration, first.batch_errors) == (20, 0, 1.0, ())
    assert 0 < first.rms_uncertainty < first.largest_uncertainty

    ledger.add(labels(plan, 1, 20, cells[20:24], shift=0.005))
    ledger.add(labels(plan, 2, 24, cells[24:28]))
    model, second = next_stage(plan, ledger, box_points(plan), surrogate, [first])
    assert not second.refitted
    assert second.labels == model.report.n_rows == 24
    np.testing.assert_allclose(second.batch_errors, -0.005)
    np.testing.assert_allclose(second.batch_uncertainties, 0.005)
    assert second.calibration == pytest.approx(1.0)
    assert second.rms_uncertainty < first.rms_uncertainty

    assert next_stage(plan, ledger, box_points(plan), model, [first, second])[1].refitted

    surprised = Ledger(plan, labels(plan, 0, 0, cells[:20]))
    surprised.add(labels(plan, 1, 20, cells[20:24], shift=0.010))
    surprised.add(labels(plan, 2, 24, cells[24:28]))
    _, stage = next_stage(plan, surprised, box_points(plan), surrogate, [first])
    assert stage.refitted
    assert stage.calibration == pytest.approx(2.0)


def test_networks_are_trained_where_nothing_is_in_work_any_more(plan: Plan) -> None:
    cells = plan.box.design(plan.crystal, 21, seed=1)
    ledger = Ledger(plan, labels(plan, 0, 0, cells[:20]))
    surrogate, first = next_stage(plan, ledger, box_points(plan), None, [])
    ledger.add(labels(plan, 1, 20, cells[20:]))
    assert next_stage(plan, ledger, box_points(plan), surrogate, [first])[1].refitted


def test_a_batch_without_labels_changes_no_model(plan: Plan) -> None:
    cells = plan.box.design(plan.crystal, 24, seed=1)
    ledger = Ledger(plan, labels(plan, 0, 0, cells[:20], failed=3))
    surrogate, first = next_stage(plan, ledger, box_points(plan), None, [])
    assert (first.labels, first.failed) == (17, 3)
    ledger.add(labels(plan, 1, 20, cells[20:24], failed=4))
    same, second = next_stage(plan, ledger, box_points(plan), surrogate, [first])
    assert same is surrogate
    assert (second.labels, second.failed, second.refitted) == (17, 7, False)


def test_too_few_to_begin_with(plan: Plan) -> None:
    ledger = Ledger(plan, labels(plan, 0, 0, plan.box.design(plan.crystal, 20), failed=11))
    with pytest.raises(
        BadCampaign, match=r"11 failed, after 3 attempts each, and 9 are too few.*It did not converge\."
    ):
        next_stage(plan, ledger, box_points(plan), None, [])


def test_a_batch_is_chosen_as_if_pending_labels_were_known(plan: Plan) -> None:
    cells = plan.box.design(plan.crystal, 20, seed=1)
    ledger = Ledger(plan, labels(plan, 0, 0, cells))
    surrogate, stage = next_stage(plan, ledger, box_points(plan), None, [])
    first = next_batch(plan, ledger, surrogate, stage, 3)
    assert [fields["stage"] for _, fields in first] == [0, 0, 0]
    expected = surrogate.predict_cells([cell for cell, _ in first], stress=False)
    assert [fields["energy_uncertainty"] for _, fields in first] == expected.energy_uncertainty.tolist()
    assert np.array_equal(
        [cell for cell, _ in first], [cell for cell, _ in next_batch(plan, ledger, surrogate, stage, 3)]
    )
    ledger.add(labels(plan, 1, 20, [cell for cell, _ in first]))
    assert np.array_equal(ledger.pending(0), [cell for cell, _ in first])
    second = next_batch(plan, ledger, surrogate, stage, 3)
    assert not any(np.allclose(cell, other) for cell, _ in first for other, _ in second)


def test_labels_that_all_fail_end_it(plan: Plan) -> None:
    cells = plan.box.design(plan.crystal, 29, seed=1)
    ledger = Ledger(plan, labels(plan, 0, 0, cells[:20]))
    usual = Stage(0, 20, 0, 0.01, 0.015, 0.02, 1e-4, (), (), 1.0, None, None, True, 0.1)
    stages = [usual]
    for batch in (1, 2):
        assert verdict(plan, ledger, stages) is None
        ledger.add(labels(plan, batch, 17 + 3 * batch, cells[17 + 3 * batch : 20 + 3 * batch], failed=3))
        stages.append(replace(usual, stage=batch, failed=3 * batch))
    found = verdict(plan, ledger, stages)
    assert found is not None
    assert found[0] == StopReason.failures
    assert found[1] == "The last 6 labels failed, after 3 attempts each. The last one said: It did not converge."
