from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ase.db
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from campaigns import copper

from ase_dkl import Dataset, NotThisCrystal
from ase_dkl.active.campaign import Campaign
from ase_dkl.active.given import label_given
from ase_dkl.active.labels.calculation import Calculation
from ase_dkl.active.plan import BadCampaign
from ase_dkl.active.record import locked
from ase_dkl.active.stopping import Stop

FAILING = """
from ase.calculators.emt import EMT

class Failing(EMT):
    def calculate(self, atoms=None, properties=None, system_changes=None):
        if atoms.cell.volume > 50:
            raise RuntimeError("The density did not converge.")
        super().calculate(atoms, properties, system_changes)

make = Failing
"""


class Unused(ThreadPoolExecutor):
    """An executor that has nothing to do."""

    def submit(self, *_: Any, **__: Any) -> Any:
        raise AssertionError


def threads() -> Executor:
    return ThreadPoolExecutor(2)


def strained(*stretches: float) -> list[Atoms]:
    structures = []
    for stretch in stretches:
        atoms = bulk("Cu", cubic=True)
        atoms.set_cell(atoms.cell.array * [[1 + stretch], [1], [1]], scale_atoms=True)
        structures.append(atoms)
    return structures


def energies(structures: Sequence[Atoms]) -> list[float]:
    found = []
    for atoms in structures:
        copy = atoms.copy()
        copy.calc = EMT()
        found.append(copy.get_potential_energy())
    return found


def test_labels_come_in_the_order_of_the_structures_and_into_the_database(tmp_path: Path) -> None:
    plan, structures = copper(tmp_path), strained(0.02, -0.01, 0.02)
    told: list[str] = []
    labels = label_given(plan, threads, structures, told.append)
    atoms = [label.atoms for label in labels if label.atoms is not None]
    np.testing.assert_allclose([each.get_potential_energy() for each in atoms], energies(structures))
    assert all("stress" in each.calc.results for each in atoms if each.calc)
    assert labels[0].id == labels[2].id
    assert told[-1] == "2 of 2 labels are settled."
    with ase.db.connect(plan.database) as database:
        assert len(database) == 2
    assert len(Dataset.read(plan.database, reference=plan.crystal)) == 2


def test_what_is_there_is_not_computed_again(tmp_path: Path) -> None:
    plan = copper(tmp_path)
    label_given(plan, threads, strained(0.02))
    (label,) = label_given(plan, Unused, strained(0.02))
    assert label.attempts == 1


def test_a_campaign_decides_nothing_by_them_and_takes_what_it_asks_for_itself(tmp_path: Path) -> None:
    alone = copper(tmp_path / "alone", stop=Stop(budget=9))
    beside = copper(tmp_path / "beside", stop=Stop(budget=9))
    for plan in (alone, beside):
        plan.folder.parent.mkdir()
    first = beside.crystal.atoms(beside.box.design(beside.crystal, 1, seed=beside.seed)[0])
    label_given(beside, threads, [first, *strained(0.02)])
    left, right = (Campaign(plan, threads).run() for plan in (alone, beside))
    assert left.surrogate.digest == right.surrogate.digest
    with ase.db.connect(beside.database) as database:
        assert len(database) == 10
        (both,) = [row for row in database.select() if len(row.data["requests"]) == 2]
        assert both.label_attempts == 1


def test_what_fails_is_told_and_holds_nothing_up(tmp_path: Path) -> None:
    (tmp_path / "failing.py").write_text(FAILING)
    plan = copper(tmp_path, calculation=Calculation(f"{tmp_path / 'failing.py'}:make"), attempts=2)
    failed, good = label_given(plan, threads, strained(0.1, 0.0))
    assert (failed.status, failed.attempts, good.status) == ("failed", 2, "done")
    assert failed.errors[-1] == "RuntimeError: The density did not converge."


def test_another_crystal_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    plan = copper(tmp_path)
    with pytest.raises(NotThisCrystal):
        label_given(plan, threads, [*strained(0.01), bulk("Al", cubic=True)])
    assert not Path(plan.database).exists()


def test_two_at_a_time_would_be_in_each_others_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ase_dkl.active.record.PATIENCE_S", 0.1)
    plan = copper(tmp_path)
    (plan.folder / "given").mkdir(parents=True)
    with locked(plan.folder / "given"), pytest.raises(BadCampaign, match="Another process is at work"):
        label_given(plan, threads, strained(0.01))
