"""Labels of structures that somebody names, beside those that a campaign chooses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor

from ase import Atoms

from ase_dkl.active.campaign import GIVEN, LABELS, LOOK_S
from ase_dkl.active.dispatch import Dispatcher
from ase_dkl.active.labels.labelling import Job
from ase_dkl.active.plan import Plan
from ase_dkl.active.record import locked
from ase_dkl.active.store import Store
from ase_dkl.active.store.rows import Label, Request


def label_given(
    plan: Plan,
    executor: Callable[[], Executor],
    structures: Sequence[Atoms],
    told: Callable[[str], None] = lambda _: None,
) -> list[Label]:
    """Compute structures with a campaign's calculator, into its database, unless they are there.

    They are requests of a campaign of their own, named after this one, which decides nothing by them.

    Args:
        plan: the campaign.
        executor: opens what labels are computed by.
        structures: of the campaign's crystal, in any setting; at least one.
        told: is told in words what happens.

    Returns:
        For each structure its label, done or failed for good.

    Raises:
        NotThisCrystal: a structure is of something else.
        BadCampaign: another process is labelling structures for this campaign, or the executor loses them all.
        BadCalculation: the calculator cannot be made, or is not set up.
        BadStore: the database cannot be used.
        StoreUnreachable: it cannot be reached.
    """
    for atoms in structures:
        plan.crystal.map(atoms)
    plan.check()
    folder = plan.folder / GIVEN
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{plan.name}-{GIVEN}"
    with locked(folder) as owner:
        parameters = dict(plan.calculation.parameters)
        store = Store(plan.database, name, owner=f"{name}:{owner}", parameters=parameters)
        earlier = store.labels()
        keys = [plan.calculation.key(atoms) for atoms in structures]
        requests = [
            Request(key, atoms, len(earlier) + place, {})
            for place, (key, atoms) in enumerate(zip(keys, map(_bare, structures), strict=True))
        ]
        proven = any(label.status == "done" for label in earlier)
        dispatcher = Dispatcher(executor, proven=proven)
        try:
            labels = _all(plan, store, dispatcher, requests, told)
        finally:
            dispatcher.close(wait=False)
            store.leave()
    return [labels[key] for key in keys]


def _all(
    plan: Plan, store: Store, dispatcher: Dispatcher, requests: list[Request], told: Callable[[str], None]
) -> dict[str, Label]:
    labels: dict[str, Label] = {}

    def take(changed: Iterable[Label]) -> None:
        for label in changed:
            key, labels[label.request.key] = label.request.key, label
            if label.status != "waiting" or not label.ours:
                continue
            if label.attempts >= plan.attempts:
                labels[key] = store.give_up(key)
            else:
                atoms, folder = label.request.atoms, plan.folder.resolve() / LABELS
                dispatcher.submit([Job(key, atoms, plan.calculation, folder, plan.own_process, plan.timeout_s)])
        settled = sum(label.status != "waiting" for label in labels.values())
        told(f"{settled} of {len(labels)} labels are settled.")

    take({label.request.key: label for label in store.request(requests)}.values())
    while any(label.status == "waiting" for label in labels.values()):
        if outcomes := dispatcher.outcomes(LOOK_S):
            take(store.finish(outcomes))
        elif changed := store.foreign():
            take(changed)
        else:
            store.beat()
    return labels


def _bare(atoms: Atoms) -> Atoms:
    """What a label depends on, and nothing else."""
    bare = Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    if atoms.has("initial_magmoms"):
        bare.set_initial_magnetic_moments(atoms.get_initial_magnetic_moments())
    return bare
