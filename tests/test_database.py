"""SQLite files as they may be: of something else, damaged, locked, not to be written, on a disk that is full."""

import os
import resource
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ase.db
import numpy as np
import pytest
from store_checks import finish_and_compare, writers
from store_writer import good, request, run

from ase_dkl.active.store import BadStore, Store, StoreUnreachable, database


@pytest.fixture
def address(tmp_path: Path) -> str:
    return str(tmp_path / "labels.db")


def store(address: str, patience_s: float = 5) -> Store:
    return Store(address, "a", owner="owner of a", parameters={"xc": "PBE"}, patience_s=patience_s)


def test_what_is_no_ase_database_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE people (name TEXT)")
    connection.close()
    text = tmp_path / "text.db"
    text.write_text("This is a text, and long enough to have been taken for the header of something else. " * 9)
    (tmp_path / "folder.db").mkdir()
    before = other.read_bytes()
    for name, words in {
        "other.db": "of something else than ASE",
        "text.db": "no SQLite file",
        "folder.db": "is a directory",
        "labels.json": "ends in .db",
        "nowhere/labels.db": "there is no directory",
    }.items():
        with pytest.raises(BadStore, match=words):
            store(str(tmp_path / name))
    assert other.read_bytes() == before
    with pytest.raises(BadStore, match="cannot hold the state of a campaign"):
        store("mysql://root:secret@host/labels")


def test_a_file_of_a_later_version_is_refused(address: str) -> None:
    store(address).request([request(0)])
    connection = sqlite3.connect(address)
    connection.execute("UPDATE information SET value='99' WHERE name='version'")
    connection.commit()
    connection.close()
    with pytest.raises(BadStore, match="another version"):
        store(address)


def test_merged_databases_with_a_key_twice_are_told(tmp_path: Path, address: str) -> None:
    for name in ("one.db", "two.db"):
        store(str(tmp_path / name)).request([request(0)])
        with ase.db.connect(address) as merged:
            for row in ase.db.connect(tmp_path / name).select():
                merged.write(row, data=row.data, **row.key_value_pairs)
    with pytest.raises(BadStore, match="two rows with the same label_key"):
        store(address).request([request(1)])


def test_a_damaged_file_is_told(address: str) -> None:
    run(address, "a", 64, Path(address).with_name("computed"))
    content = Path(address).read_bytes()
    rng, told = np.random.default_rng(0), 0
    for _ in range(40):
        damaged = bytearray(content)
        for page in rng.choice(len(content) // 4096, 6, replace=False):
            damaged[4096 * page + 50 : 4096 * page + 4096] = rng.bytes(4096 - 50)
        Path(address).write_bytes(damaged)
        try:
            store(address).finish([good(label) for label in store(address).labels()])
        except BadStore as error:
            told += str(error).startswith(("Row", address))
    assert told > 20  # the other pages are not looked at
    Path(address).write_bytes(content[: len(content) // 2])
    with pytest.raises(BadStore, match="damaged"):
        store(address).labels()


def test_a_lock_is_waited_for(address: str) -> None:
    mine = store(address)
    mine.request([request(0)])
    holder = sqlite3.connect(address, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN EXCLUSIVE")
    threading.Timer(0.5, holder.execute, ["ROLLBACK"]).start()
    began = time.monotonic()
    mine.finish([good(mine.labels()[0])])
    assert time.monotonic() - began > 0.4
    assert mine.labels()[0].status == "done"
    holder.close()


def test_a_lock_for_ever_is_told(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LOCK_S", 0.1)
    mine = store(address, patience_s=0.3)
    [label] = mine.request([request(0)])
    holder = sqlite3.connect(address, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreUnreachable, match="locked: another program"):
        mine.finish([good(label)])
    holder.close()
    mine.finish([good(label)])
    assert mine.labels()[0].status == "done"


@contextmanager
def without_rights(folder: Path) -> Iterator[None]:
    """As a user who may read a folder and not write to it, which the superuser becomes for a while."""
    for path in (folder, *folder.iterdir()):
        path.chmod(0o555 if path.is_dir() else 0o444)
    superuser = os.getuid() == 0
    if superuser:
        os.seteuid(65534)
    try:
        yield
    finally:
        if superuser:
            os.seteuid(0)
        folder.chmod(0o755)


def test_without_the_right_to_write_a_store_can_be_looked_at() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        address = str(Path(folder, "labels.db"))
        [label] = store(address).request([request(0)])
        with without_rights(Path(folder)):
            mine = store(address)
            assert mine.counts() == {"waiting": 1, "done": 0, "failed": 0}
            with pytest.raises(StoreUnreachable, match="may not be written"):
                mine.finish([good(label)])
            with pytest.raises(StoreUnreachable, match="cannot be opened"):
                store(str(Path(folder, "new.db"))).request([request(0)])
        assert store(address).labels()[0].status == "waiting"


def test_a_disk_that_takes_no_more_loses_nothing(tmp_path: Path, address: str) -> None:
    with writers(tmp_path) as writing:
        process = writing.begin(address)
        while not Path(address).exists() or Path(address).stat().st_size < 200_000:
            time.sleep(0.001)
        resource.prlimit(process, resource.RLIMIT_FSIZE, (300_000, 300_000))
        said = writing.end()
    assert "StoreUnreachable" in said
    assert "its disk" in said
    finish_and_compare(address, tmp_path)


def test_a_row_that_lost_its_data_is_told(address: str) -> None:
    [label] = store(address).request([request(0)])
    connection = sqlite3.connect(address)
    connection.execute("UPDATE systems SET data='null'")
    connection.commit()
    connection.close()
    with pytest.raises(BadStore, match=f"Row {label.id} of .* is damaged"):
        store(address).labels()
