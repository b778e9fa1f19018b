"""Folders that one process at a time may operate in.

The claim is a lock of the operating system on a file there. The kernel drops it when the process ends, however that
happens, so nothing has to be tidied up; children do not inherit it.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HOME_LOCK = "live.lock"
"""In HVAC_HOME, of the process that runs the platform on it."""
STORAGE_LOCK = "live-storage.lock"
"""In the folder of Dagster's storage, likewise."""


class ClaimError(Exception):
    """A folder can't be claimed.

    Attributes:
        held: whether that is because another process holds it.
    """

    def __init__(self, message: str, *, held: bool = False) -> None:
        super().__init__(message)
        self.held = held


@contextmanager
def claim(lock: Path, note: str) -> Iterator[None]:
    """Hold a folder until the end of the context or of the process.

    Args:
        lock: file to lock; its folder is made where it is missing.
        note: what the holder tells of itself to who is refused, such as its process id and port.

    Raises:
        ClaimError: another process holds the folder, or it can't be written to.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise ClaimError(f"can't write to {lock.parent}: {error.strerror}") from None
    try:
        _lock(descriptor, lock)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{note}\n".encode())
        yield
    finally:
        os.close(descriptor)


def is_held(lock: Path) -> bool:
    """Whether a process holds a folder; nothing is made by asking."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EAGAIN, errno.EACCES)
    else:
        return False
    finally:
        os.close(descriptor)


def _lock(descriptor: int, lock: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise ClaimError(f"can't lock {lock}: {error.strerror}") from None
        holder = os.read(descriptor, 200).decode("utf-8", "replace").strip() or "another process"
        raise ClaimError(f"the platform already runs on {lock.parent.resolve()}, by {holder}", held=True) from None
