"""From one stage to the next: a model of all labels of the batches that are settled, what it knows, what it asks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms

from ase_dkl.active.acquisition import choose
from ase_dkl.active.ledger import Ledger
from ase_dkl.active.plan import FEWEST, BadCampaign, Plan
from ase_dkl.active.retraining import due
from ase_dkl.active.stopping import JUDGED, Stage, StopReason, calibration, over_box
from ase_dkl.arrays import Floats
from ase_dkl.dataset import Dataset
from ase_dkl.mechanics.equilibrium import BadEquilibrium
from ase_dkl.mechanics.stiffness import BadElasticity
from ase_dkl.model.conditioning import conditioned
from ase_dkl.model.surrogate import Surrogate
from ase_dkl.training.fit import fit

BOX_POINTS = 256
"""Lattices that stand for the box where its uncertainty is measured."""
STREAK = 6
"""Labels that failed one after the other, in two batches at least, after which there is no point in going on."""


def next_stage(
    plan: Plan, ledger: Ledger, box: Floats, surrogate: Surrogate | None, stages: Sequence[Stage]
) -> tuple[Surrogate, Stage]:
    """Learn what the next batch tells.

    Args:
        plan: the campaign.
        ledger: its labels; the next batch is settled.
        box: lattices that stand for the box, shape (n, 3, 3), Å.
        surrogate: the model of the stage before; None for the first one.
        stages: those before.

    Raises:
        BadCampaign: too few labels of the initial design are there.
        BadDataset: the labels contradict each other.
    """
    began = time.perf_counter()
    number = len(stages)
    batch = ledger.batch(number)
    labelled = [label.atoms for label in batch if label.atoms is not None]
    labels = len(labelled) + (stages[-1].labels if stages else 0)
    failed = len(batch) - len(labelled) + (stages[-1].failed if stages else 0)
    errors, uncertainties = _judged(ledger, number)
    recent = [*stages[-JUDGED:]]
    factor = calibration(
        [*(error for stage in recent for error in stage.batch_errors), *errors],
        [*(sigma for stage in recent for sigma in stage.batch_uncertainties), *uncertainties],
    )
    trained_on = next((stage.labels for stage in reversed(stages) if stage.refitted), 0)
    # Where nothing is in work any more the campaign may end, with a model of all labels.
    refit = surrogate is None or due(labels, trained_on, factor) or (ledger.complete(number) and labels > trained_on)
    if surrogate is None:
        _enough(plan, ledger, labels)
    if refit:
        surrogate = _trained(plan, ledger, surrogate, number + 1)
    elif labelled:
        assert surrogate is not None
        surrogate = conditioned(surrogate, _dataset(plan, labelled))
    assert surrogate is not None
    return surrogate, Stage(
        stage=number,
        labels=labels,
        failed=failed,
        batch_errors=tuple(errors),
        batch_uncertainties=tuple(uncertainties),
        calibration=factor,
        refitted=refit,
        **_knowledge(plan, box, surrogate),
        seconds=time.perf_counter() - began,
    )


def next_batch(
    plan: Plan, ledger: Ledger, surrogate: Surrogate, stage: Stage, n: int
) -> list[tuple[Floats, dict[str, Any]]]:
    """Choose a batch.

    Args:
        plan: the campaign.
        ledger: its labels; those that the stage does not know of are pending to it.
        surrogate: the model of the stage.
        stage: the latest.
        n: how many.

    Returns:
        Lattices in the reference's basis, (3, 3), Å, and what the request is to say of each.
    """
    number = len(ledger)
    if plan.acquisition == "sobol":
        candidates = plan.box.design(plan.crystal, ledger.n_requests + n, seed=plan.seed)[-n:]
    else:
        candidates = plan.box.design(plan.crystal, plan.candidates, seed=_seed(plan, number))
    chosen = choose(
        surrogate,
        candidates,
        n,
        kind=plan.acquisition,
        pending=ledger.pending(stage.stage),
        # Without an equilibrium nothing tells what a label says of it: then the whole box has to become known first.
        target=plan.stop.target if stage.target_std is not None else None,
        stress=plan.labels_have_stress,
        seed=_seed(plan, number),
    )
    cells = candidates[chosen.index]
    prediction = surrogate.predict_cells(cells, stress=False)
    wanted = []
    for i, (cell, reason) in enumerate(zip(cells, chosen.reasons, strict=True)):
        fields = {
            "reason": reason,
            "stage": stage.stage,
            "energy_predicted": float(prediction.energy[i]),
            "energy_uncertainty": float(prediction.energy_uncertainty[i]),
            "energy_noise": float(prediction.energy_noise[i]),
        }
        wanted.append((cell, fields))
    return wanted


def box_points(plan: Plan) -> Floats:
    """Lattices that stand for the box, and among which none is chosen, shape (n, 3, 3), Å."""
    return plan.box.design(plan.crystal, BOX_POINTS, seed=_seed(plan, 0))


def verdict(plan: Plan, ledger: Ledger, stages: Sequence[Stage]) -> tuple[StopReason, str] | None:
    """Whether to stop after the last of some stages, and why."""
    latest = stages[-1]
    same = [stage for stage in stages if stage.labels == latest.labels]
    streak = latest.failed - same[0].failed
    if len(same) > 2 and streak >= STREAK:
        return StopReason.failures, (
            f"The last {streak} labels failed, after {plan.attempts} attempts each. The last one said: "
            f"{ledger.last_error(latest.stage)}"
        )
    return plan.stop.verdict(stages)


def _judged(ledger: Ledger, batch: int) -> tuple[list[float], list[float]]:
    """Errors that a batch's energies turned out to have, and what was expected of them, eV per reference cell."""
    errors, uncertainties = [], []
    for label in ledger.batch(batch):
        fields = label.request.fields
        if label.atoms is not None and "energy_predicted" in fields:
            errors.append(label.atoms.get_potential_energy() - fields["energy_predicted"])
            uncertainties.append((fields["energy_uncertainty"] ** 2 + fields["energy_noise"] ** 2) ** 0.5)
    return errors, uncertainties


def _enough(plan: Plan, ledger: Ledger, labels: int) -> None:
    if labels < max(FEWEST, plan.initial / 2):
        raise BadCampaign(
            f"Of the {plan.initial} labels of the initial design {plan.initial - labels} failed, after "
            f"{plan.attempts} attempts each, and {labels} are too few to go on from. The last one said: "
            f"{ledger.last_error(0)}\nMend what is wrong. If that changes no setting of the calculator, have the "
            "failed labels tried again (ase-dkl active retry, Campaign.retry) and run the campaign again."
        )


def _trained(plan: Plan, ledger: Ledger, surrogate: Surrogate | None, batches: int) -> Surrogate:
    """A model of all labels of the first batches."""
    return fit(_dataset(plan, ledger.usable(batches)), plan.config, start=surrogate, progress=False)


def _dataset(plan: Plan, labelled: list[Atoms]) -> Dataset:
    return Dataset.from_atoms(labelled, reference=plan.crystal, stress=plan.config.stress != "ignore")


def _knowledge(plan: Plan, box: Floats, surrogate: Surrogate) -> dict[str, Any]:
    """What a model knows, as a `Stage` has it."""
    rms, bound, largest = over_box(surrogate, box)
    value, std = _target(plan, surrogate)
    return {
        "rms_uncertainty": rms,
        "rms_bound": bound,
        "largest_uncertainty": largest,
        "noise": surrogate.report.energy_noise,
        "target_value": value,
        "target_std": std,
    }


def _target(plan: Plan, surrogate: Surrogate) -> tuple[float | None, float | None]:
    """The property aimed at; nothing where the model has no equilibrium yet."""
    if plan.stop.target is None:
        return None, None
    try:
        found = plan.stop.target.evaluate(surrogate)
    except (BadEquilibrium, BadElasticity):
        return None, None
    return found.value, found.std


def _seed(plan: Plan, batch: int) -> int:
    """A seed of its own for each batch: other candidates every time, and no pass over those that were there before."""
    return int(np.random.SeedSequence([plan.seed, batch]).generate_state(1)[0])
