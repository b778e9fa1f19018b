"""A store of before version 8, whose tables were in the file as in the catalogue, is brought into the packed form.

A packed file is made beside the old one, device by device, and takes its place when all is in it; the old one is not changed
meanwhile, and nobody else can write to it. What is killed goes on where it was.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw

from hvac_platform.embedded_file import IN_MEMORY, EmbeddedFileError, beside, itself, prepare_to_open, users_of
from hvac_platform.shipped import SCHEMA_DIRECTORY
from hvac_platform.stores.base import Device, StoreError, TableSlice
from hvac_platform.stores.copying import writable
from hvac_platform.stores.plain_tables import scan_plain
from hvac_platform.stores.tables import table, tables

SCHEMA_VERSION = 12
PACKED_SINCE = 8
"""From this version on the large tables are packed."""
BUSY_TIMEOUT_MS = 10_000
BY_DEVICE = ("device_metrics_raw", "device_state_snapshots", "snapshot_verdicts", "anomaly_events")
TOLD_SECONDS, WAIT_SECONDS = 5.0, 0.2
DONE = "CREATE TABLE IF NOT EXISTS repacked (table_name TEXT, device_id TEXT, PRIMARY KEY (table_name, device_id))"

_logger = logging.getLogger(__name__)

Tell = Callable[[str], object]


class PlainStore:
    """A store of version 7, for reading.

    Args:
        connection: to its file.
        path: of it.
    """

    def __init__(self, connection: apsw.Connection, path: Path) -> None:
        self.connection, self.location = connection, str(path)

    def devices(self) -> list[Device]:
        """All registered devices by id."""
        return [Device(*row) for row in self.connection.execute("SELECT * FROM devices ORDER BY device_id")]

    def scan(self, rows: TableSlice, *, batch_rows: int = 50_000) -> Iterator[dict[str, list[Any]]]:
        """Read rows in key order; none of a table, and None of a column, that there was not yet in version 7."""
        there = self._columns(rows.table)
        if not there:
            return
        names = rows.columns or tuple(table(rows.table).columns)
        known = tuple(name for name in names if name in there)
        for batch in scan_plain(self.connection, replace(rows, columns=known), batch_rows):
            listed = len(batch[known[0]])
            yield {name: batch[name] if name in batch else [None] * listed for name in names}

    def count(self, name: str) -> int:
        """Number of rows of a table."""
        if not self._columns(name):
            return 0
        ((rows,),) = self.connection.execute(f"SELECT count(*) FROM {name}")
        return int(rows)

    def _columns(self, name: str) -> set[str]:
        """Columns that the file has of a table; none where it has no such table."""
        return {row[0] for row in self.connection.execute("SELECT name FROM pragma_table_xinfo(?)", (name,))}


def brought_up_to_date(path: Path, tell: Tell = _logger.warning) -> None:
    """Bring a store of before version 8 into the packed form; does nothing with others.

    Raises:
        StoreError: somebody has it open, or the disk is too small; it is as it was then.
        apsw.Error: it can't be read.
    """
    path = itself(path)  # a link stays one
    if str(path) == IN_MEMORY or not path.exists() or not path.stat().st_size or _version(path, tell) not in _OLD:
        return
    with _one_at_a_time(path, tell):
        if (found := _version(path, tell)) in _OLD:
            _repack(path, found, tell)


_OLD = range(1, PACKED_SINCE)


def _version(path: Path, tell: Tell) -> int:
    """Schema version of a file; waits while it is being upgraded."""
    told = False
    while True:
        try:
            prepare_to_open(path)
            try:
                return _user_version(path, apsw.SQLITE_OPEN_READONLY)
            except (apsw.ReadOnlyError, apsw.CantOpenError):  # a write that was cut off has to be taken back first
                return _user_version(path, apsw.SQLITE_OPEN_READWRITE)
        except (apsw.BusyError, EmbeddedFileError):  # whoever upgrades has it alone, without a -wal
            if not _is_upgraded_now(path):
                raise
            if not told:
                tell(f"{path} is being upgraded by another process: waiting for it")
                told = True
            time.sleep(WAIT_SECONDS)


def _user_version(path: Path, flags: int) -> int:
    connection = apsw.Connection(str(path), flags=flags)
    try:
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        return int(connection.pragma("user_version"))
    finally:
        connection.close()


def _is_upgraded_now(path: Path) -> bool:
    """Whether a process upgrades the file at this moment."""
    try:
        descriptor = os.open(_lock_of(path), os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _lock_of(path: Path) -> Path:
    return path.with_name(path.name + ".upgrade-lock")


def read_plain(path: Path, found: int) -> PlainStore:
    """A store of a version before the packed form, for reading; its file stays as it is.

    Raises:
        StoreError: it is older than version 7, and somebody has it open.
    """
    if found == PACKED_SINCE - 1:
        return PlainStore(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY), path)
    connection = apsw.Connection(str(path))
    _take_alone(connection, path, found)
    return _at_version_7(connection, path, found)


def _upgrade_of(path: Path) -> Path:
    return path.with_name(path.name + ".upgrading")


@contextmanager
def _one_at_a_time(path: Path, tell: Tell) -> Iterator[None]:
    """One process upgrades, others wait for it."""
    lock = _lock_of(path)
    descriptor = os.open(lock, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell(f"{path} is being upgraded by another process: waiting for it")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        lock.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _repack(path: Path, found: int, tell: Tell) -> None:
    began = time.monotonic()
    connection = apsw.Connection(str(path))
    made = _upgrade_of(path)
    try:
        _take_alone(connection, path, found)
        tell(
            f"upgrading {path} from schema version {found} to {SCHEMA_VERSION}: packing {path.stat().st_size / 1e6:.0f} MB"
        )
        try:
            size = _copy(_at_version_7(connection, path, found), path, made, tell)
        except (apsw.CorruptError, apsw.NotADBError):
            _remove(made)
            raise
        except apsw.FullError as error:
            raise _disk_full(path, made) from error
        except apsw.IOError as error:
            raise StoreError(f"{path} can't be upgraded, it is as it was: {made} can't be written ({error})") from error
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise _disk_full(path, made) from error
        except StoreError as error:
            if isinstance(error.__cause__, apsw.FullError):
                raise _disk_full(path, made) from error
            raise
        before = path.stat()
        shutil.copymode(path, made)
        with suppress(OSError):  # only root may give a file away
            os.chown(made, before.st_uid, before.st_gid)
        _flushed(made)
        beside(path, "-journal").unlink(missing_ok=True)  # nothing was written to the old file, so nothing is in it
        made.replace(path)
        _flushed(path.parent)
        tell(
            f"upgraded {path} to schema version {SCHEMA_VERSION}: {size / 1e6:.0f} MB, {time.monotonic() - began:.0f} s"
        )
    finally:
        connection.close()


def _remove(database: Path) -> None:
    """Delete a file with what lies beside it."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)


def _disk_full(path: Path, made: Path) -> StoreError:
    return StoreError(
        f"the disk is full: {path} can't be upgraded, it is as it was; free some space beside it and try again, "
        f"which goes on where it was ({made})"
    )


def _take_alone(connection: apsw.Connection, path: Path, found: int) -> None:
    """Bring the -wal into the file, and see that nobody else is in it from now on."""
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    try:
        connection.pragma("locking_mode", "exclusive")
        connection.pragma("journal_mode", "delete")
        if connection.pragma("journal_mode") != "delete":
            raise apsw.BusyError
        # The lock is kept until it is closed. It never writes: the file stays as it is until another takes its place.
        connection.execute("BEGIN EXCLUSIVE; COMMIT")
    except (apsw.BusyError, apsw.LockedError) as error:
        users = [pid for pid in users_of(path) if pid != os.getpid()]
        who = f"process {', '.join(map(str, users))} has" if users else "another process has"
        raise StoreError(
            f"{path} has schema version {found} and must be upgraded, but {who} it open: stop it (an hvac up of the version "
            "before), then try again"
        ) from error


def _at_version_7(connection: apsw.Connection, path: Path, found: int) -> PlainStore:
    """The store at version 7: itself, or a copy that is brought there."""
    if found == PACKED_SINCE - 1:
        return PlainStore(connection, path)
    copied = path.with_name(path.name + ".upgrading-7")
    _remove(copied)
    older = apsw.Connection(str(copied))
    # Through the connection: to open and close the file besides would drop the locks that keep others out of it.
    with older.backup("main", connection, "main") as copying:
        copying.step()
    older.execute("PRAGMA synchronous=OFF; BEGIN")
    # Triggers that kept the former vector index would need its extension to be loaded.
    for name in [row[0] for row in older.execute("SELECT name FROM sqlite_master WHERE type='trigger'")]:
        older.execute(f"DROP TRIGGER {name}")
    for version in range(found + 1, PACKED_SINCE):
        older.execute((SCHEMA_DIRECTORY / "embedded" / f"upgrade_{version}.sql").read_text(encoding="utf-8"))
    older.execute("COMMIT")
    _remove(copied)  # from the folder: it is there for this connection until it is closed
    return PlainStore(older, path)


def _fingerprint(path: Path) -> str:
    """What changes when anybody has written to the file, or it is another one."""
    now = path.stat()
    return f"{now.st_dev} {now.st_ino} {now.st_size} {now.st_mtime_ns}"


def _copy(old: PlainStore, path: Path, made: Path, tell: Tell) -> int:
    """All rows into the new file; returns its size. What an earlier attempt has copied stays, if it is of this very file."""
    from hvac_platform.stores.embedded import EmbeddedStore

    source = _fingerprint(path)
    new = EmbeddedStore(made)
    new.connection.execute(DONE)
    done = set(new.connection.execute("SELECT table_name, device_id FROM repacked"))
    if done and ("", source) not in done:
        new.close()
        _remove(made)
        new, done = EmbeddedStore(made), set()
        new.connection.execute(DONE)
    new.connection.execute("INSERT OR IGNORE INTO repacked VALUES ('', ?)", (source,))
    try:
        devices = old.devices()
        new.register_devices(devices)
        told, steps = time.monotonic(), len(BY_DEVICE) * len(devices)
        for step, (name, device) in enumerate((name, device) for name in BY_DEVICE for device in devices):
            if (name, device.device_id) not in done:
                _copy_rows(old, new, TableSlice(name, device_id=device.device_id))
                new.connection.execute("INSERT INTO repacked VALUES (?, ?)", (name, device.device_id))
            if time.monotonic() - told > TOLD_SECONDS:
                told = time.monotonic()
                tell(f"upgrading {old.location}: {name} of {device.device_id}, {100 * (step + 1) // steps} %")
        for name in BY_DEVICE:
            if new.count(name) < old.count(name):  # rows of devices that are in no registry
                _copy_rows(old, new, TableSlice(name))
        new.connection.execute("DELETE FROM device_days")  # marks that the copying has made
        for name in tables():
            if name not in BY_DEVICE and name != "devices":
                _copy_rows(old, new, TableSlice(name))
        lost = [f"{n} {new.count(n)} of {old.count(n)}" for n in tables() if new.count(n) != old.count(n)]
        if lost:
            raise StoreError(f"{old.location} could not be upgraded, it is as it was: rows differ ({', '.join(lost)})")
        new.connection.execute("DROP TABLE repacked")
        # Closing would bring the -wal into the file too, but says nothing where it can't.
        if new.connection.pragma("journal_mode", "delete") != "delete":
            raise StoreError(f"{old.location} could not be upgraded, it is as it was: {made} is open elsewhere")
        rows = _physical_rows(new.connection)
    finally:
        new.close()
    if beside(made, "-wal").exists() and beside(made, "-wal").stat().st_size:
        raise StoreError(f"{old.location} could not be upgraded, it is as it was: {made} is open elsewhere")
    for suffix in ("-wal", "-shm"):
        beside(made, suffix).unlink(missing_ok=True)
    written = apsw.Connection(str(made), flags=apsw.SQLITE_OPEN_READONLY)
    try:  # what is in the file itself, as whoever opens it next will find it
        if _physical_rows(written) != rows:
            raise StoreError(f"{old.location} could not be upgraded, it is as it was: {made} is not whole; try again")
    finally:
        written.close()
    return made.stat().st_size


def _physical_rows(connection: apsw.Connection) -> dict[str, int]:
    """Rows of each table of a file."""
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")]
    return {name: next(iter(connection.execute(f"SELECT count(*) FROM {name}")))[0] for name in names}


def _copy_rows(old: PlainStore, new: Any, rows: TableSlice) -> None:
    for batch in old.scan(rows, batch_rows=5_000):
        for part in writable(rows.table, batch):
            new.upsert(rows.table, part)


def _flushed(path: Path) -> None:
    """See that a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
