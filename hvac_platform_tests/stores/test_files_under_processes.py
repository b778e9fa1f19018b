"""The embedded store and log while somebody deletes or replaces files under the processes that have them open.

What was acknowledged is never lost, nobody goes on writing into a file that nobody sees, and errors are one clear line.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from hvac_platform.config import load_settings
from hvac_platform.embedded_file import Fate, beside, open_file, users_of
from hvac_platform.log.base import LogError
from hvac_platform.log.embedded import EmbeddedLog
from hvac_platform.runtime.connections import open_log, open_store
from hvac_platform.stores.base import StoreError
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform_tests.conftest import start_process

TOPIC = "t"
KINDS = ("log", "store")


class Writer:
    """One row a call, named after the writer, acknowledged when the call returns."""

    def __init__(self, kind: str, path: Path) -> None:
        self.opened = EmbeddedLog(path) if kind == "log" else EmbeddedStore(path)
        if isinstance(self.opened, EmbeddedLog):
            self.opened.create_topic(TOPIC, 1)

    def write(self, name: str, number: int) -> None:
        if isinstance(self.opened, EmbeddedLog):
            self.opened.append(TOPIC, [(name.encode(), b"%d" % number, number)])
        else:
            self.opened.remember(f"{name}-{number}", "written")

    def found(self) -> Counter[str]:
        """Rows by writer."""
        if isinstance(self.opened, EmbeddedLog):
            ends = self.opened.end_offsets(TOPIC)
            batches = self.opened.read(TOPIC, 0, 0, ends[0])
            return Counter(key.decode() for batch in batches for key in batch.keys if key)
        return Counter(name.split("-")[0] for name in self.opened.remembered())


def write_for_ever(kind: str, path: str, name: str, acknowledged: str) -> None:
    """Body of a writing process."""
    writer = Writer(kind, Path(path))
    number = 0
    while True:
        writer.write(name, number)
        number += 1
        Path(f"{acknowledged}.new").write_text(str(number))
        os.replace(f"{acknowledged}.new", acknowledged)
        time.sleep(0.002)


def read_once(kind: str, path: str) -> None:
    """Body of a reading process."""
    Writer(kind, Path(path)).found()


class Writing:
    """Processes that write, and what they were acknowledged."""

    def __init__(self, home: Path, kind: str, path: Path, names: list[str]) -> None:
        self.files = {name: home / f"acknowledged-{name}" for name in names}
        self.processes = {
            name: start_process(home, write_for_ever, kind, str(path), name, str(file))
            for name, file in self.files.items()
        }
        self.wait_for(5)

    def acknowledged(self) -> dict[str, int]:
        return {name: int(file.read_text()) if file.exists() else 0 for name, file in self.files.items()}

    def wait_for(self, more: int) -> None:
        """Until each has written so many rows more."""
        before = self.acknowledged()
        deadline = time.monotonic() + 60
        while any(now < before[name] + more for name, now in self.acknowledged().items()):
            assert all(process.is_alive() for process in self.processes.values()), "a writer has ended"
            assert time.monotonic() < deadline, "a writer stands still"
            time.sleep(0.01)

    def kill(self) -> dict[str, int]:
        """End them without a word."""
        for process in self.processes.values():
            process.kill()
            process.join()
        return self.acknowledged()


def assert_nothing_is_lost(kind: str, path: Path, acknowledged: dict[str, int]) -> None:
    writer = Writer(kind, path)
    assert writer.opened.damage() == []
    found = writer.found()
    for name, rows in acknowledged.items():
        assert rows <= found[name] <= rows + 1, (name, rows, found)  # one may be written and not yet acknowledged
    writer.opened.close()


@pytest.mark.parametrize("deleted", [("-wal",), ("-shm",), ("-wal", "-shm")], ids=" and ".join)
@pytest.mark.parametrize("kind", KINDS)
def test_what_was_acknowledged_survives_files_deleted_beside_two_writers_that_are_killed_later(
    home: Path, kind: str, deleted: tuple[str, ...]
) -> None:
    path = home / "watched.db"
    writing = Writing(home, kind, path, ["first", "second"])
    for _ in range(4):
        for suffix in deleted:
            beside(path, suffix).unlink(missing_ok=True)
        writing.wait_for(10)
    assert beside(path, "-wal").exists()
    assert_nothing_is_lost(kind, path, writing.kill())


@pytest.mark.parametrize("kind", KINDS)
def test_processes_that_come_and_go_meanwhile_lose_nothing_either(home: Path, kind: str) -> None:
    path = home / "watched.db"
    writing = Writing(home, kind, path, ["stays"])
    for _ in range(3):
        beside(path, "-wal").unlink(missing_ok=True)
        reader = start_process(home, read_once, kind, str(path))
        reader.join(60)
        assert reader.exitcode == 0, "an opener waits until a writer has put the -wal right"
        writing.wait_for(10)
    assert_nothing_is_lost(kind, path, writing.kill())


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_whose_wal_is_gone_is_not_opened_while_its_user_does_nothing(home: Path, kind: str) -> None:
    path = home / "watched.db"
    idle = Writer(kind, path)
    idle.write("idle", 0)
    beside(path, "-wal").unlink()
    with pytest.raises((LogError, StoreError), match=rf"-wal or -shm was deleted while process {os.getpid()} has"):
        Writer(kind, path)
    idle.write("idle", 1)
    assert_nothing_is_lost(kind, path, {"idle": 2})


@pytest.mark.parametrize("kind", KINDS)
def test_another_wal_in_place_of_the_one_in_use_is_an_error_and_not_written_to(home: Path, kind: str) -> None:
    path = home / "watched.db"
    writer = Writer(kind, path)
    writer.write("x", 0)
    beside(path, "-wal").unlink()
    beside(path, "-wal").touch()
    with pytest.raises(
        (LogError, StoreError), match="-wal was deleted while this process had it open, and another one"
    ):
        writer.write("x", 1)
    assert beside(path, "-wal").stat().st_size == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_replaced_under_a_user_with_its_wal_left_there_is_not_written_to_by_it(home: Path, kind: str) -> None:
    path, backup = home / "watched.db", home / "backup.db"
    writer = Writer(kind, path)
    writer.write("x", 0)
    other = Writer(kind, backup)
    other.write("y", 0)
    other.opened.close()
    before = backup.read_bytes()
    shutil.move(backup, path)
    with pytest.raises((LogError, StoreError), match="was replaced while a process had the one before open"):
        writer.write("x", 1)
    assert path.read_bytes() == before
    writer.opened.close()
    for suffix in ("-wal", "-shm"):
        beside(path, suffix).unlink(missing_ok=True)
    assert_nothing_is_lost(kind, path, {"y": 1})


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_deleted_under_a_writer_is_told_and_a_new_one_does_not_take_the_old_ones_wal(
    home: Path, kind: str
) -> None:
    path = home / "watched.db"
    writer = Writer(kind, path)
    writer.write("x", 0)
    path.unlink()
    with pytest.raises((LogError, StoreError)):
        writer.write("x", 1)
    again = Writer(kind, path)
    again.write("y", 0)
    assert again.found() == {"y": 1}
    writer.opened.close()
    assert_nothing_is_lost(kind, path, {"y": 1})


def test_a_file_whose_wal_is_deleted_while_it_is_opened_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "watched.db"
    made = []

    def connect() -> apsw.Connection:
        made.append(apsw.Connection(str(path)))
        made[-1].pragma("journal_mode", "wal")
        made[-1].execute("CREATE TABLE IF NOT EXISTS t (a)")
        if len(made) == 1:
            beside(path, "-wal").unlink()
            beside(path, "-shm").unlink()
        elif len(made) == 2:
            path.unlink()
        return made[-1]

    opened = open_file(path, connect)
    assert len(made) == 3
    opened.connection.execute("INSERT INTO t VALUES (1)")
    assert opened.fate() is Fate.SAME
    other = apsw.Connection(str(path))
    assert list(other.execute("SELECT a FROM t")) == [(1,)]


def test_what_cannot_be_put_right_is_told_once_and_then_it_goes_on(home: Path) -> None:
    settings = load_settings()
    ways: tuple[tuple[str, Callable[[], object]], ...] = (
        ("log.db", lambda: open_log(settings).append(settings.kafka_topic, [(b"k", b"v", 0)])),
        ("store.db", lambda: open_store(settings).remember("written", "x")),
    )
    for name, write in ways:
        write()
        beside(home / name, "-wal").unlink()
        beside(home / name, "-wal").touch()
        with pytest.raises((LogError, StoreError), match="and another one made"):
            write()
        write()
    assert sum(open_log(settings).end_offsets(settings.kafka_topic).values()) >= 1
    assert open_store(settings).remembered()["written"] == "x"


def test_a_log_in_a_new_file_has_its_topic_whoever_noticed_first(home: Path) -> None:
    """A new file may have the number (inode) of the one that was deleted."""
    settings = load_settings()
    for _ in range(5):
        log = open_log(settings)
        for suffix in ("", "-wal", "-shm"):
            beside(home / "log.db", suffix).unlink()
        with pytest.raises(LogError):
            log.append(settings.kafka_topic, [(b"k", b"v", 0)])
        open_log(settings).append(settings.kafka_topic, [(b"k", b"v", 0)])


def append_for_ever(acknowledged: str) -> None:
    """Body of a process that asks for store and log each time, as the platform does, and tries again after an error."""
    number = 0
    while True:
        try:
            open_log(load_settings()).append(load_settings().kafka_topic, [(b"k", b"v", number)])
            open_store(load_settings()).remember("written", str(number))
        except (LogError, StoreError) as error:
            Path(f"{acknowledged}.said").write_text(f"{number}: {error}")
            os.replace(f"{acknowledged}.said", f"{acknowledged}.error")
            continue
        number += 1
        Path(acknowledged).write_text(str(number))
        time.sleep(0.002)


def test_a_running_process_goes_on_in_the_file_that_others_open_after_a_deletion(home: Path) -> None:
    file = home / "acknowledged"
    process = start_process(home, append_for_ever, str(file))
    try:
        for name in ("log.db", "store.db"):
            _wait_for_more(file, process)
            os.kill(process.pid, signal.SIGSTOP)  # or it may make the file anew between two of the deletions
            for suffix in ("", "-wal", "-shm"):
                (home / f"{name}{suffix}").unlink(missing_ok=True)
            os.kill(process.pid, signal.SIGCONT)
            _wait_for_more(file, process)
            assert users_of(home / name) == [process.pid]
        settings = load_settings()
        assert sum(open_log(settings).end_offsets(settings.kafka_topic).values()) > 0
        assert "written" in open_store(settings).remembered()
    finally:
        process.kill()
        process.join()


def _wait_for_more(file: Path, process: object) -> None:
    def count() -> int:
        text = file.read_text() if file.exists() else ""
        return int(text) if text else 0

    before, deadline = count(), time.monotonic() + 60
    while count() < before + 5:
        assert process.is_alive()  # type: ignore[attr-defined]
        said = Path(f"{file}.error")
        assert time.monotonic() < deadline, said.read_text() if said.exists() else "it waits"
        time.sleep(0.01)


def test_a_store_whose_write_lock_another_process_keeps_says_so_and_writes_when_it_is_free(tmp_path, monkeypatch):
    path = tmp_path / "store.db"
    monkeypatch.setattr("hvac_platform.stores.embedded.BUSY_TIMEOUT_MS", 200)
    store, keeper = EmbeddedStore(path), apsw.Connection(str(path))
    keeper.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match=r"store\.db: another process has held the write lock for .* s: is one of"):
        store.remember("key", "value")
    assert store.remembered() == {}
    keeper.execute("ROLLBACK")
    store.remember("key", "value")
    assert store.remembered() == {"key": "value"}
