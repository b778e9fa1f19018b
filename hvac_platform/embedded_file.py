"""A SQLite file in WAL mode that many processes have open, and what happens when somebody deletes or replaces parts of it.

SQLite itself does not notice: it goes on with the descriptors that it has. What is then written into a deleted ``-wal`` is
seen by nobody else and ends with the process, and a process that opens the file anew makes another ``-wal`` beside the index
of the old one (SQLite, "How To Corrupt An SQLite Database File", sections 2.4 and 4). So whoever writes looks first:
:meth:`OpenFile.fate` costs three calls of ``stat``.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import apsw

SHARED_LOCK_AT = 0x40000000 + 2
"""Where the lock lies that a connection in WAL mode holds on its file (SQLite's file format)."""
LOCKS = Path("/proc/locks")
LOOKS = 5
"""The list of locks is read a page at a time: one that is there can be missed where others go meanwhile."""
IN_MEMORY = ":memory:"
"""SQLite's name for a database without a file."""
OPENING_SECONDS = 2.0
"""Opening and closing make and remove -wal and -shm within this time."""

LEAST_TRIES = 5
"""On a machine with much to do one of them may take longer than that."""

SAVING_SECONDS = 10.0
"""Readers of the file must have finished within this time, for a deleted -wal to be saved."""

Identity = tuple[int, int] | None


LEAST_FREE = 1 << 20
"""Bytes without which SQLite can't even open a file for writing."""


def disk_is_full(folder: Path) -> bool:
    """Whether the disk of a folder has no room for anything more."""
    try:
        return shutil.disk_usage(folder).free < LEAST_FREE
    except OSError:
        return False


class EmbeddedFileError(Exception):
    """A file can't be used as it is; the message says why and what to do."""


class Fate(Enum):
    """What has become of the files that a connection has open."""

    SAME = "they are still what others open too"
    REPLACED = "the file was deleted, or another one is in its place"
    UNLINKED = "the -wal or -shm was deleted and no other one made: the connection still has what is in it"
    OVERTAKEN = "another process has put the deleted -wal or -shm right: this connection must be opened again"
    MIXED = "another file is in its place, with the -wal of the one before beside it"
    TORN = "another -wal was made, and what is in the deleted one is not in the file"


class _Present(NamedTuple):
    main: Identity
    wal: Identity
    shm: Identity


def file_identity(path: Path) -> Identity:
    """Device and inode of a file; None while there is none. A file that was deleted and made again has another one."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def itself(path: Path) -> Path:
    """The file that a link leads to, beside which SQLite keeps the others; a path that is no link stays as it is."""
    return path.resolve() if path.is_symlink() else path


def beside(path: Path, suffix: str) -> Path:
    """The file that SQLite keeps beside a database: ``-wal`` or ``-shm``."""
    return path.with_name(path.name + suffix)


def _present(path: Path) -> _Present:
    return _Present(file_identity(path), file_identity(beside(path, "-wal")), file_identity(beside(path, "-shm")))


class OpenFile:
    """The files behind a connection as they were when it was opened.

    Args:
        path: the database.
        connection: in WAL mode, and read from, so that its ``-wal`` is there.
    """

    def __init__(self, path: Path, connection: apsw.Connection) -> None:
        self.path, self.connection = path, connection
        self._opened = _present(path)

    @property
    def whole(self) -> bool:
        """Whether the files that lie there are those that were opened: another may have been deleted in between."""
        sizes = _open_sizes()
        return str(self.path) == IN_MEMORY or (
            None not in self._opened and (not sizes or all(identity in sizes for identity in self._opened))
        )

    def fate(self) -> Fate:
        """What has become of them."""
        now, opened = _present(self.path), self._opened
        if now == opened:
            return Fate.SAME
        if now.main != opened.main:
            mixed = now.main is not None and now.wal is not None and now.wal == opened.wal
            return Fate.MIXED if mixed else Fate.REPLACED
        if now.wal is None or (now.shm is None and now.wal == opened.wal):
            return Fate.UNLINKED
        if now.wal == opened.wal or _open_sizes().get(opened.wal) == 0:
            return Fate.OVERTAKEN
        return Fate.TORN

    def leave(self, fate: Fate) -> None:
        """Close the connection so that nothing that was committed is lost; it is to be opened again.

        Raises:
            EmbeddedFileError: the deleted ``-wal`` can't be brought into the file now, or not at all. Where nothing can be
                done about it, which is told once, the connection is closed all the same.
        """
        if fate is Fate.MIXED:
            raise EmbeddedFileError(_mixed(self.path))
        if fate is Fate.TORN:
            close_as_it_is(self.connection)
            raise EmbeddedFileError(
                f"{self.path}-wal was deleted while this process had it open, and another one made: what was written last "
                "may be in neither, and it goes on in the new one; hvac check says whether the file is damaged; "
                "docs/recovery.md"
            )
        deadline = time.monotonic() + SAVING_SECONDS
        while fate is Fate.UNLINKED:
            try:
                self.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
                break
            except (apsw.BusyError, apsw.LockedError) as error:
                if time.monotonic() > deadline:
                    raise EmbeddedFileError(
                        f"{self.path}-wal or -shm was deleted, and the file is being read, so what is in it can't be saved "
                        "yet: try again"
                    ) from error
                time.sleep(0.02)
            fate = self.fate()  # another process may have been faster
        close_as_it_is(self.connection)


def close_as_it_is(connection: apsw.Connection) -> None:
    """Close without bringing the ``-wal`` into the file, which need not be this connection's."""
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.close()


def _open_sizes() -> dict[Identity, int]:
    """Sizes of the files that this process has open, deleted ones too; empty where that can't be told."""
    sizes: dict[Identity, int] = {}
    try:
        descriptors = os.listdir("/proc/self/fd")
    except OSError:
        return sizes
    for descriptor in descriptors:
        try:  # stat alone: to open and close a file would drop SQLite's locks on it
            found = os.stat(f"/proc/self/fd/{descriptor}")
        except OSError:
            continue
        sizes[found.st_dev, found.st_ino] = found.st_size
    return sizes


def open_file(path: Path, connect: Callable[[], apsw.Connection]) -> OpenFile:
    """Open a database, again where somebody deletes or replaces one of its files at that moment.

    Args:
        path: the database.
        connect: makes a connection in WAL mode, and reads from it.

    Raises:
        EmbeddedFileError: others have the file open and its ``-wal`` or ``-shm`` was deleted; or it is no file.
    """
    deadline, tries = time.monotonic() + OPENING_SECONDS, 0
    while True:
        tries += 1
        prepare_to_open(path)
        opened = OpenFile(path, connect())
        if opened.whole:
            return opened
        close_as_it_is(opened.connection)
        if time.monotonic() > deadline and tries >= LEAST_TRIES:
            raise EmbeddedFileError(f"{path}, its -wal or its -shm is deleted again and again: stop what does that")
        time.sleep(0.02)


def prepare_to_open(path: Path) -> None:
    """Call before a connection is made: the file is created if it is missing.

    A file that was deleted may have left its ``-wal`` and ``-shm``: a new one must not take them for its own.

    Raises:
        EmbeddedFileError: others have the file open and its ``-wal`` or ``-shm`` was deleted; or it is no file.
    """
    path = itself(path)
    if str(path) == IN_MEMORY:
        return
    if path.is_dir():
        raise EmbeddedFileError(f"{path} is a folder, not a file: move it away")
    if not path.exists():
        with _alone_in(path.parent):
            if not path.exists():
                for left_over in (beside(path, "-wal"), beside(path, "-shm")):
                    left_over.unlink(missing_ok=True)
                path.touch()
        return
    deadline, tries = time.monotonic() + OPENING_SECONDS, 0
    while trouble := _trouble(path):
        tries += 1
        if time.monotonic() > deadline and tries >= LEAST_TRIES:
            raise EmbeddedFileError(trouble)
        time.sleep(0.02)


def _trouble(path: Path) -> str | None:
    """Why a file should not be opened now; while others open or close it that may be said for a moment, wrongly."""
    wal, shm = beside(path, "-wal"), beside(path, "-shm")
    if wal.exists() and shm.exists():
        return None
    users = users_of(path)
    if not users:
        return None
    return (
        f"{wal} or -shm was deleted while process {', '.join(map(str, users))} has {path.name} open, which puts it right "
        "when it uses it next: try again; docs/recovery.md"
    )


def _mixed(path: Path) -> str:
    return (
        f"{path} was replaced while a process had the one before open, whose -wal and -shm lie beside it: stop every "
        "process that uses it, delete the -wal and the -shm, and put the file there again; docs/recovery.md"
    )


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def cut_short(path: Path, pages: int, page_bytes: int) -> list[str]:
    """What says that the end of a database file is missing, which SQLite itself tells only when it reads there.

    Args:
        path: the file.
        pages: how many it should have, with those that are in the write-ahead log alone.
        page_bytes: length of one.
    """
    size = path.stat().st_size
    if size % page_bytes:
        return [f"the file ends within a page: {size} bytes are no multiple of {page_bytes}"]
    log = beside(path, "-wal")
    whole = not log.exists() or not log.stat().st_size  # else its last pages may not be in the file yet
    return (
        [f"the file has {size} bytes and should have {pages * page_bytes}"]
        if whole and size < pages * page_bytes
        else []
    )


def users_of(path: Path) -> list[int]:
    """Processes that have a database open, as far as the system tells: by the locks on it."""
    identity = file_identity(path)
    if identity is None:
        return []
    for _ in range(LOOKS):
        if found := _users_by_locks(identity):
            return found
    return []


def _users_by_locks(identity: tuple[int, int]) -> list[int]:
    try:
        locks = LOCKS.read_text().splitlines()
    except OSError:
        return []
    users = set()
    for line in locks:  # 2: POSIX  ADVISORY  READ 3161 fe:00:9978227 1073741826 1073742335
        fields = line.split()
        if len(fields) >= 8 and fields[5].endswith(f":{identity[1]}") and fields[6] == str(SHARED_LOCK_AT):
            users.add(int(fields[4]))
    return sorted(users)
