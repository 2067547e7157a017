"""The store on SQLite files."""

import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import ase.db
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from store_checks import Writers, finish_and_compare, picture, writers
from store_writer import good, request, run, structure

from ase_dkl import Dataset
from ase_dkl.active.labels.labelling import Outcome
from ase_dkl.active.store import BadStore, Label, Request, Store


@pytest.fixture
def address(tmp_path: Path) -> str:
    return str(tmp_path / "labels.db")


@pytest.fixture(scope="module")
def writing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Writers]:
    with writers(tmp_path_factory.mktemp("writers")) as processes:
        yield processes


def store(address: str, campaign: str = "a", patience_s: float = 5) -> Store:
    return Store(address, campaign, owner=f"owner of {campaign}", patience_s=patience_s)


def bad(label: Label, error: str = "KohnShamConvergenceError: no") -> Outcome:
    return Outcome(label.request.key, None, None, None, 2.5, error, "EMT")


def die(address: str) -> None:
    """Make all who compute labels look as if they had not been heard of for an hour."""
    connection = sqlite3.connect(address)
    connection.execute("UPDATE label_owners SET beat = beat - 3600")
    connection.commit()
    connection.close()


def test_a_request_is_a_row_and_so_is_its_label(address: str) -> None:
    mine = Store(address, "a", owner="me", parameters={"xc": "PBE", "kpts": [3, 3, 3]})
    assert mine.labels() == []
    assert not Path(address).exists()
    fields = {"batch": 0, "energy_uncertainty": 0.1 + 0.2, "cells": [[1, 2]], "none": None}
    [asked] = mine.request([replace(request(3), fields=fields)])
    assert (asked.status, asked.attempts, asked.errors, asked.ours, asked.atoms) == ("waiting", 0, (), True, None)
    [found] = mine.labels()
    assert found.id == asked.id == 1
    assert found.request.fields == fields
    assert found.request.number == 3
    assert found.request.atoms == structure(3)
    assert found.request.atoms.calc is None

    results = replace(good(asked), free_energy=-1.75, magmom=2.25, magmoms=[2.25])
    [finished] = mine.finish([results])
    for label in (finished, *mine.labels()):
        assert (label.status, label.attempts) == ("done", 1)
        assert label.atoms is not None
        assert label.atoms == structure(3)
        assert label.atoms.get_potential_energy() == -1.5
        assert label.atoms.get_potential_energy(force_consistent=True) == -1.75
        assert label.atoms.get_stress().tolist() == [1, 2, 3, 4, 5, 6]
        assert label.atoms.get_forces().tolist() == [[0, 0.5, 1]]
        assert label.atoms.get_magnetic_moment() == 2.25
        assert label.atoms.get_magnetic_moments().tolist() == [2.25]
    row = ase.db.connect(address).get(label_key=asked.request.key)
    assert (row.calculator, row.calculator_parameters) == ("emt", {"xc": "PBE", "kpts": [3, 3, 3]})
    assert row.label_seconds == 2.5
    assert mine.counts() == {"waiting": 0, "done": 1, "failed": 0}


def test_results_come_back_to_the_last_bit(address: str) -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(np.array(atoms.cell) + np.random.default_rng(0).normal(0, 0.1, (3, 3)), scale_atoms=True)
    atoms.set_initial_magnetic_moments([0.1, 0.2, 0.3, 0.4])
    [asked] = store(address).request([Request("l1", atoms, 0, {})])
    atoms.calc = EMT()
    forces, stress = atoms.get_forces(), atoms.get_stress()
    as_tuples = tuple(map(tuple, forces.tolist()))
    store(address).finish(
        [Outcome("l1", atoms.get_potential_energy(), tuple(stress.tolist()), as_tuples, 1.0, None, "emt")]
    )
    [label] = store(address).labels()
    assert label.atoms is not None
    assert label.atoms.get_potential_energy() == atoms.get_potential_energy()
    assert np.array_equal(label.atoms.get_stress(), stress)
    assert np.array_equal(label.atoms.get_forces(), forces)
    for there in (label.atoms, label.request.atoms, asked.request.atoms):
        assert there == atoms
        assert np.array_equal(there.get_initial_magnetic_moments(), atoms.get_initial_magnetic_moments())


def test_requests_come_back_by_number(address: str) -> None:
    mine = store(address)
    mine.request([request(number) for number in (2, 0)])
    mine.request([request(number) for number in (3, 1)])
    assert [label.request.number for label in mine.labels()] == [0, 1, 2, 3]


def test_asking_twice_makes_one_row_and_keeps_the_first_record(address: str) -> None:
    mine = store(address)
    again = replace(request(0), number=5, fields={"batch": 1})
    first, second, third = mine.request([request(0), again, request(1)])
    assert first.id == second.id != third.id
    assert mine.request([again])[0].request.number == 0
    assert mine.labels()[0].request.fields == request(0).fields
    assert len(mine.labels()) == 2


def test_failures_are_counted_and_a_later_success_counts(address: str) -> None:
    mine = store(address)
    asked, other = mine.request([request(0), request(1)])
    mine.finish([bad(asked), bad(asked, "again\0 \udcff"), bad(other)])
    label, given_up = mine.labels()
    assert (label.status, label.attempts) == ("waiting", 2)
    assert label.errors == ("KohnShamConvergenceError: no", "again ?")
    assert mine.give_up(given_up.request.key).status == "failed"
    [finished] = mine.finish([good(label)])
    assert (finished.status, finished.attempts, len(finished.errors)) == ("done", 3, 2)
    assert mine.counts() == {"waiting": 0, "done": 1, "failed": 1}


def test_what_is_settled_stays_as_it_is(address: str) -> None:
    mine = store(address)
    done, failed = mine.request([request(0), request(1)])
    mine.finish([good(done)])
    mine.give_up(failed.request.key)
    before = picture_of_rows(address)
    mine.finish([replace(good(done), energy=7.0), bad(done), good(failed)])
    assert mine.give_up(done.request.key).status == "done"
    mine.request([request(0), request(1)])
    assert picture_of_rows(address) == before


def test_failed_labels_wait_again(address: str) -> None:
    mine, other = store(address), store(address, "b")
    mine.request([request(0), request(1)])
    other.request([request(1), request(2)])
    for label in mine.labels():
        mine.give_up(label.request.key)
    other.give_up(request(2).key)
    assert mine.retry() == 2
    assert mine.retry() == 0
    assert [(label.status, label.attempts, label.ours) for label in mine.labels()] == [("waiting", 0, True)] * 2
    assert [label.status for label in other.labels()] == ["waiting", "failed"]


def picture_of_rows(address: str) -> list[str]:
    connection = sqlite3.connect(address)
    try:
        return [str(row) for row in connection.execute("SELECT * FROM systems ORDER BY id")]
    finally:
        connection.close()


def test_rows_of_others_are_left_alone(address: str) -> None:
    atoms = bulk("Cu")
    atoms.calc = SinglePointCalculator(atoms, energy=1.0)
    rows = ase.db.connect(address)
    rows.write(atoms, key_value_pairs={"mine": 1}, data={"x": [1]})
    rows.write(atoms, external_tables={"extra": {"a": 1.0}}, note="of mine")
    before = picture_of_rows(address)
    with rows:  # a program that was killed with ASE's lock file in its hands
        Path(f"{address}.lock").touch()
    labels = store(address).request([request(0), request(1)])
    store(address).finish([good(labels[0]), bad(labels[1])])
    assert picture_of_rows(address)[:2] == before
    assert len(store(address).labels()) == 2
    Path(f"{address}.lock").unlink()
    assert rows.get(2).extra == {"a": 1.0}


def test_key_value_pairs_that_users_add_stay(address: str) -> None:
    [label] = store(address).request([request(0)])
    ase.db.connect(address).update(label.id, looked_at=True, data={"by": "me"})
    store(address).finish([good(label)])
    row = ase.db.connect(address).get(label.id)
    assert row.looked_at
    assert row.data["by"] == "me"


def test_a_dataset_is_read_of_the_labels_that_are_done(address: str) -> None:
    labels = store(address).request([request(number) for number in range(0, 60, 5)])
    outcomes = []
    for label in labels[:-2]:
        atoms = label.request.atoms.copy()
        atoms.calc = EMT()
        energy, stress = atoms.get_potential_energy(), tuple(atoms.get_stress().tolist())
        outcomes.append(Outcome(label.request.key, energy, stress, None, 0.1, None, "emt"))
    store(address).finish([bad(labels[0]), *outcomes])
    store(address).give_up(labels[-1].request.key)
    dataset = Dataset.read(address)
    assert len(dataset.energies) == 10
    assert any("no energy" in warning and "11, 12" in warning for warning in dataset.warnings)
    assert len(Dataset.read(address, select="label_status=done").energies) == 10
    assert dataset.provenance["settings"] == {"calculator": "emt"}


def test_two_campaigns_share_labels(address: str) -> None:
    a, b = store(address, "a"), store(address, "b")
    a.request([request(0), request(1)])
    a.finish([good(a.labels()[0])])
    shared = b.request([replace(request(number), number=number - 1, fields={"b": 1}) for number in (1, 2, 0)])
    assert [(label.status, label.ours) for label in shared] == [("waiting", False), ("waiting", True), ("done", False)]
    assert [label.request.number for label in b.labels()] == [-1, 0, 1]
    assert [label.request.number for label in a.labels()] == [0, 1]
    assert b.foreign() == []
    a.finish([good(a.labels()[1])])
    [seen] = b.foreign()
    assert (seen.status, seen.ours, seen.request.fields) == ("done", False, {"b": 1})
    assert b.foreign() == []


def test_labels_of_the_dead_are_taken_over_by_one(address: str) -> None:
    a, b, c = (store(address, name) for name in "abc")
    a.request([request(0), request(1)])
    b.request([request(0), request(1)])
    c.request([request(0)])
    assert b.foreign() == []
    die(address)
    assert [label.ours for label in b.foreign()] == [True, True]
    assert c.foreign() == []
    assert [label.ours for label in a.labels()] == [False, False]
    # The one thought dead comes back and is heard of the result.
    b.finish([good(b.labels()[0])])
    assert [label.status for label in a.foreign()] == ["done"]
    # A restart finds what it has lost, and what it can take again.
    die(address)
    again = store(address, "a")
    again.labels()
    assert [label.request.number for label in again.foreign()] == [1]


def test_who_asks_takes_over_at_once_what_the_dead_left(address: str) -> None:
    store(address, "a").request([request(0)])
    die(address)
    assert store(address, "b").request([request(0)])[0].ours


def test_a_sign_of_life_keeps_labels(address: str) -> None:
    a, b = store(address, "a"), store(address, "b")
    a.request([request(0)])
    b.request([request(0)])
    die(address)
    a.beat()
    assert b.foreign() == []
    a.leave()
    assert [label.ours for label in b.foreign()] == [True]


def test_a_row_that_is_gone_is_told(address: str) -> None:
    a, b = store(address, "a"), store(address, "b")
    [label] = a.request([request(0)])
    b.request([request(0)])
    ase.db.connect(address).delete([label.id])
    for act in (lambda: a.finish([good(label)]), lambda: a.give_up(label.request.key), b.foreign):
        with pytest.raises(BadStore, match=f"no row with label_key={label.request.key}: it was deleted"):
            act()


@pytest.mark.parametrize("name", ["", "1a", "a b", "a'; DROP TABLE systems", "é"])
def test_bad_campaign_names(address: str, name: str) -> None:
    with pytest.raises(BadStore, match="cannot have the name"):
        Store(address, name, owner="me")


def test_an_owner_is_no_number(address: str) -> None:
    with pytest.raises(BadStore, match="'12' cannot name who computes"):
        Store(address, "a", owner="12")


def test_kill_9_at_any_instant(tmp_path: Path, address: str, writing: Writers) -> None:
    writing.computed.unlink(missing_ok=True)
    instants = np.random.default_rng(0).uniform(0, 0.1, 1000)
    kills = 0
    finished: dict[str, Any] = {}
    for instant in instants:
        kills += writing.killed_after(instant, address)
        connection = sqlite3.connect(address)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.close()
        # What was done stays as it was, and whatever is there is whole.
        now = picture(address) if Path(address).stat().st_size else {}
        assert all(now[key] == label for key, label in finished.items())
        finished = {key: label for key, label in now.items() if label[0] != "waiting"}
        if kills >= 60 and len(now) > 100:
            break
    finish_and_compare(address, tmp_path)


def test_two_processes_that_want_the_same(tmp_path: Path, address: str, writing: Writers) -> None:
    writing.computed.unlink(missing_ok=True)
    with writers(tmp_path) as others:
        others.computed = writing.computed
        writing.begin(address, "a", 200)
        others.begin(address, "b", 200)
        assert (writing.end(), others.end()) == ("0", "0")
    labels = picture(address)
    assert len(labels) == 200
    assert all(set(requests) == {"a", "b"} for *_, requests, _, _, _, _, _ in labels.values())
    computed = Counter(writing.computed.read_text().split())
    assert {key: attempts for key, (_, attempts, *_) in labels.items()} == computed
    owners = Counter(row.label_owner for row in ase.db.connect(address).select())
    assert len(owners) == 2


def test_a_copy_of_the_file_goes_on(tmp_path: Path, address: str) -> None:
    run(address, "a", 16, tmp_path / "computed")
    shutil.copy(address, tmp_path / "copy.db")
    run(str(tmp_path / "copy.db"), "a", 32, tmp_path / "computed")
    run(address, "a", 32, tmp_path / "computed")
    assert picture(address) == picture(str(tmp_path / "copy.db"))
