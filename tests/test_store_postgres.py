"""The store on a PostgreSQL server."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import ase.db
import numpy as np
import psycopg2
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from postgres import Server
from store_checks import Writers, finish_and_compare, picture, writers
from store_writer import outcome, request, run

from ase_dkl.active.store import BadStore, Store, StoreUnreachable
from ase_dkl.cli.inputs import read_structures
from ase_dkl.dataset.sources import read_rows


@pytest.fixture
def address(server: Server) -> str:
    return server.new_database()


@pytest.fixture(scope="module")
def writing(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Writers]:
    with writers(tmp_path_factory.mktemp("writers")) as processes:
        yield processes


def store(address: str, campaign: str = "a", patience_s: float = 20) -> Store:
    return Store(address, campaign, owner=f"owner of {campaign}", parameters={"xc": "PBE"}, patience_s=patience_s)


@pytest.fixture
def undisturbed(tmp_path: Path) -> str:
    """An SQLite file with what 64 labels are when nothing happens."""
    path = str(tmp_path / "undisturbed.db")
    run(path, "a", 64, tmp_path / "computed")
    return path


def test_a_server_keeps_what_a_file_does(address: str, undisturbed: str, tmp_path: Path) -> None:
    assert store(address).labels() == []
    assert store(address).counts() == {"waiting": 0, "done": 0, "failed": 0}
    run(address, "a", 64, tmp_path / "computed")
    assert picture(address) == picture(undisturbed)
    mine, theirs = store(address).labels(), store(undisturbed).labels()
    for a, b in zip(mine, theirs, strict=True):
        assert a.request.atoms == b.request.atoms
        assert (a.request.key, a.request.number, a.request.fields) == (
            b.request.key,
            b.request.number,
            b.request.fields,
        )
        assert (a.status, a.attempts, a.errors, a.ours) == (b.status, b.attempts, b.errors, b.ours)
        assert (a.atoms is None) == (b.atoms is None)
        if a.atoms is not None and b.atoms is not None:
            assert a.atoms.get_potential_energy() == b.atoms.get_potential_energy()
            assert np.array_equal(a.atoms.get_stress(), b.atoms.get_stress())
    assert len(read_rows(address, "label_status=done")) == store(address).counts()["done"]


def test_all_rows_are_read_through_one_connection(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(address, "a", 8, tmp_path / "computed")
    opened = []

    def connect(*args: str) -> Any:
        opened.append(args)
        return psycopg2.connect(*args)

    monkeypatch.setattr("ase_db_backends.postgresql.connect", connect)
    assert len(read_rows(address)) == 8
    assert len(opened) == 1


def test_texts_that_postgresql_cannot_keep(address: str) -> None:
    mine = store(address)
    [label] = mine.request([request(3)])
    failed = outcome(label)
    mine.finish([type(failed)(**{**vars(failed), "error": "zero \0 and \udcff and σ"})])
    assert mine.labels()[0].errors == ("zero  and ? and σ",)


def test_rows_of_others_are_left_alone(address: str) -> None:
    atoms = bulk("Cu")
    atoms.calc = SinglePointCalculator(atoms, energy=1.0)
    ase.db.connect(address).write(atoms, mine=1, data={"x": [1]})
    before = ase.db.connect(address).get(1)
    run(address, "a", 8, Path("/dev/null"))
    after = ase.db.connect(address).get(1)
    assert (after.energy, after.mtime, after.key_value_pairs, after.data) == (
        1.0,
        before.mtime,
        {"mine": 1},
        {"x": [1]},
    )
    assert len(store(address).labels()) == 8


def test_ids_are_right_while_others_write(address: str, tmp_path: Path) -> None:
    run(address, "a", 8, tmp_path / "computed")
    ended = threading.Event()

    def write() -> None:
        connection = psycopg2.connect(address)
        while not ended.is_set():
            connection.cursor().execute("INSERT INTO systems DEFAULT VALUES")
            connection.commit()
        connection.close()

    other = threading.Thread(target=write)
    other.start()
    run(address, "a", 64, tmp_path / "computed")
    ended.set()
    other.join()
    picture(address)
    ids = [label.id for label in store(address).labels()]
    assert ids != list(range(ids[0], ids[0] + 64))
    with ase.db.connect(address) as rows:
        for label in store(address).labels():
            assert rows.get(label_key=label.request.key).id == label.id


def test_two_processes_that_want_the_same(address: str, tmp_path: Path, writing: Writers) -> None:
    writing.computed.unlink(missing_ok=True)
    with writers(tmp_path) as others:
        others.computed = writing.computed
        writing.begin(address, "a", 160)
        others.begin(address, "b", 160)
        assert (writing.end(), others.end()) == ("0", "0")
    labels = picture(address)
    assert len(labels) == 160
    assert all(set(label[4]) == {"a", "b"} for label in labels.values())
    assert {key: label[1] for key, label in labels.items()} == Counter(writing.computed.read_text().split())
    assert len({row.label_owner for row in ase.db.connect(address).select()}) == 2


def test_labels_of_the_dead_are_taken_over_by_one(address: str) -> None:
    a, b, c = (store(address, name) for name in "abc")
    for each in (a, b, c):
        each.request([request(0)])
    assert b.foreign() == []
    connection = psycopg2.connect(address)
    connection.cursor().execute("UPDATE label_owners SET beat = beat - 3600")
    connection.commit()
    connection.close()
    assert [label.ours for label in b.foreign()] == [True]
    assert c.foreign() == []
    assert [label.ours for label in a.labels()] == [False]


def test_kill_9_of_a_writer_at_any_instant(address: str, tmp_path: Path, writing: Writers) -> None:
    kills, finished = 0, dict[str, object]()
    for instant in np.random.default_rng(0).uniform(0, 0.5, 1000):
        kills += writing.killed_after(instant, address)
        now = picture(address)
        assert all(now[key] == label for key, label in finished.items())
        finished = {key: label for key, label in now.items() if label[0] != "waiting"}
        if kills >= 20 and len(now) > 64:
            break
    finish_and_compare(address, tmp_path)


def test_kill_9_of_the_server_at_any_instant(server: Server, address: str, tmp_path: Path, writing: Writers) -> None:
    """The run goes on by itself, and where it cannot know whether a transaction was done, nothing is done twice."""
    writing.begin(address, n=320)
    for instant in np.random.default_rng(1).uniform(0, 0.4, 6):
        time.sleep(instant)
        server.kill()
        server.start()
    assert writing.end() == "0"
    assert len(picture(address)) == 320
    finish_and_compare(address, tmp_path)


def test_connections_that_the_server_ends(server: Server, address: str, tmp_path: Path, writing: Writers) -> None:
    run(address, "a", 8, tmp_path / "computed")
    process, ended = writing.begin(address), 0
    others = "FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
    deadline = time.monotonic() + 60
    while ended < 12:
        assert time.monotonic() < deadline
        time.sleep(0.15)
        ended += len(server.execute("postgres", f"SELECT pg_terminate_backend(pid) {others}"))
    os.kill(process, signal.SIGKILL)
    assert writing.end() == str(int(signal.SIGKILL))
    assert len(picture(address)) > 8
    finish_and_compare(address, tmp_path)


def test_a_commit_whose_answer_is_lost_is_not_done_twice(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as the store can tell, every second connection breaks when it commits."""
    mine, lost = store(address), [False, True] * 20
    mine.beat()
    commit = mine._database.commit

    def committed() -> None:
        commit()
        if lost.pop():
            raise psycopg2.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(mine._database, "commit", committed)
    never, once = mine.request([request(7), request(1)])
    assert [label.attempts for label in mine.finish([outcome(never), outcome(once)])] == [1, 1]
    assert [label.attempts for label in mine.finish([outcome(mine.labels()[1])])] == [2]
    assert mine.give_up(never.request.key).status == "failed"
    assert [(label.request.number, label.status, len(label.errors)) for label in mine.labels()] == [
        (1, "done", 0),
        (7, "failed", 2),
    ]
    assert len(lost) < 30


def test_a_server_that_stays_away_is_told(server: Server, address: str) -> None:
    mine = store(address, patience_s=0.5)
    [label] = mine.request([request(1)])
    server.kill()
    try:
        with pytest.raises(StoreUnreachable, match=r"postgresql:///.* does not answer"):
            mine.finish([outcome(label)])
        with pytest.raises(StoreUnreachable, match="does not answer"):
            store(address, patience_s=0.1)
    finally:
        server.start()
    assert mine.finish([outcome(label)])[0].status == "done"


def test_a_lock_for_ever_is_told(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = store(address, patience_s=0.1)
    [label] = mine.request([request(1)])
    holder = psycopg2.connect(address)
    holder.cursor().execute("LOCK TABLE systems")
    monkeypatch.setattr("ase_dkl.active.store.server.LOCK_S", 1)
    with pytest.raises(StoreUnreachable, match="lock timeout"):
        mine.finish([outcome(label)])
    holder.close()
    assert mine.finish([outcome(label)])[0].status == "done"


def test_passwords_are_not_told(server: Server) -> None:
    folder = quote(str(server.folder))
    for address, words in {
        f"postgresql://postgres:secret@/nowhere?host={folder}": 'database "nowhere" does not exist',
        f"postgresql://nobody:secret@/postgres?host={folder}": 'role "nobody" does not exist',
        "postgresql://me:secret@localhost:1/labels": "refused",
    }.items():
        with pytest.raises(StoreUnreachable, match=words) as caught:
            store(address, patience_s=0)
        assert "secret" not in str(caught.value)


def test_rights(address: str) -> None:
    [label] = store(address).request([request(1)])
    connection = psycopg2.connect(address)
    connection.cursor().execute(
        "CREATE ROLE reader LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader;"
        "CREATE ROLE writer LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public TO writer;"
        "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO writer;"
    )
    connection.commit()
    connection.close()
    mine = store(address.replace("postgres@", "reader@"))
    assert mine.counts() == {"waiting": 1, "done": 0, "failed": 0}
    with pytest.raises(StoreUnreachable, match="may not be written by this user"):
        mine.finish([outcome(label)])
    mine = store(address.replace("postgres@", "writer@"))
    mine.request([request(2)])
    assert mine.finish([outcome(label)])[0].status == "done"


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


def test_a_database_of_something_else_is_told(address: str) -> None:
    connection = psycopg2.connect(address)
    connection.cursor().execute("CREATE TABLE systems (name TEXT)")
    connection.commit()
    connection.close()
    with pytest.raises(BadStore, match="cannot be used"):
        store(address).request([request(1)])


def test_services_and_passwords_that_postgresql_keeps(
    server: Server, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = address.split("/")[3].partition("?")[0]
    server.execute("postgres", "CREATE ROLE anna LOGIN SUPERUSER PASSWORD 'sec/ret@%'")
    rules = server.folder / "data" / "pg_hba.conf"
    rules.write_text(f"local {name} anna scram-sha-256\n{rules.read_text()}")
    server.execute("postgres", "SELECT pg_reload_conf()")
    (tmp_path / "services").write_text(f"[labels]\nhost={server.folder}\nuser=anna\ndbname={name}\n")
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    service = "postgresql:///?service=labels"
    deadline = time.monotonic() + 20
    while True:
        with pytest.raises(StoreUnreachable) as caught:
            store(service, patience_s=0)
        if "no password supplied" in str(caught.value):
            break
        assert time.monotonic() < deadline, caught.value
        time.sleep(0.1)
    monkeypatch.setenv("PGPASSWORD", "sec/ret@%")
    store(service).request([request(1)])
    monkeypatch.delenv("PGPASSWORD")
    (tmp_path / "pgpass").write_text("*:*:*:anna:sec/ret@%\n")
    (tmp_path / "pgpass").chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "pgpass"))
    assert store(service).counts()["waiting"] == 1
    assert len(read_rows(service)) == 1
    encoded = f"postgresql://anna:{quote('sec/ret@%', safe='')}@/{name}?host={quote(str(server.folder), safe='')}"
    assert len(read_rows(encoded)) == len(read_structures([encoded])[1]) == 1
    assert "ret" not in str(read_structures([encoded])[0]).replace(str(server.folder), "")
