"""What goes wrong with one device costs no other: which errors are a device's own, and how they are told."""

from __future__ import annotations

from dataclasses import dataclass

import apsw

from hvac_platform.embedding.base import EncoderUnavailableError
from hvac_platform.stores.base import EmbeddingError, StoreError

MOST_TOLD = 300

_OF_ALL = (
    StoreError,
    EncoderUnavailableError,
    OSError,
    apsw.BusyError,
    apsw.CorruptError,
    apsw.FullError,
    apsw.IOError,
    apsw.LockedError,
    apsw.NotADBError,
    apsw.ReadOnlyError,
)
"""A store that can't be reached or written is no device's fault: the whole run fails, and is tried again."""


@dataclass(frozen=True, slots=True)
class DeviceFailure:
    """One device that could not be dealt with, and why."""

    device_id: str
    reason: str

    def __str__(self) -> str:
        """One line for people."""
        return f"{self.device_id}: {self.reason}"


def device_failure(device_id: str, error: Exception) -> DeviceFailure:
    """The error as the failure of one device; an error that concerns all of them is raised again.

    >>> str(device_failure("AC-001", ValueError("a matrix is singular")))
    'AC-001: ValueError: a matrix is singular'

    Args:
        device_id: whose turn it was.
        error: what was caught.
    """
    if isinstance(error, _OF_ALL) and not isinstance(error, EmbeddingError):
        raise error
    said = " ".join(str(error).split())[:MOST_TOLD]
    return DeviceFailure(device_id, f"{type(error).__name__}: {said}" if said else type(error).__name__)
