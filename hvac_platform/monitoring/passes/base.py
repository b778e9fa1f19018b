"""What a pass is: devices one after the other, rows to write, and a count of what became of each device."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from hvac_platform.config import Settings
from hvac_platform.monitoring.isolation import DeviceFailure, device_failure
from hvac_platform.stores.base import Device, Store
from hvac_platform.stores.batches import TableBatch, write_batch
from hvac_platform.timestamps import day_of, day_windows, days_between


@dataclass(frozen=True, slots=True)
class Span:
    """Windows of one device that start in [start_ms, end_ms).

    Attributes:
        device: the device.
        start_ms: first window start included.
        end_ms: first one excluded.
        day: the UTC day that the span is the whole of, or None.
    """

    device: Device
    start_ms: int
    end_ms: int
    day: str | None = None


def spans_of_days(devices: Sequence[Device], dates: Sequence[str], settings: Settings) -> Iterator[Span]:
    """Whole days of devices, a day after the other; without the days before a device was first heard of."""
    for date in dates:
        for device in devices:
            start_ms, end_ms = day_windows(date, device.window(settings))
            if device.first_seen < end_ms:
                yield Span(device, start_ms, end_ms, date)


def days_of(span: Span, window_ms: int) -> list[Span]:
    """The UTC days of a span that the device has readings of, each as far as the span goes."""
    device = span.device
    begin, end = max(span.start_ms, device.first_seen - window_ms), min(span.end_ms, device.last_seen + 1)
    found = []
    for date in days_between(day_of(begin), day_of(end - 1)) if begin < end else ():
        first, last = day_windows(date, window_ms)
        whole = date if span.start_ms <= first and last <= span.end_ms else None
        found.append(Span(device, max(span.start_ms, first), min(span.end_ms, last), whole))
    return found


class Pass(ABC):
    """Goes through devices; assets and commands are thin around the same one, so they leave equal stores.

    Attributes:
        table: where rows go that don't say otherwise.
        done: devices that were dealt with.
        failed: devices that could not be, and why; what was done for the others stands.
        refused: devices with too little data, in a line each.
        on_device: told of each device (or span) that is through.
    """

    table: ClassVar[str]

    def __init__(self, store: Store) -> None:
        self.store = store
        self.done: set[str] = set()
        self.failed: dict[str, DeviceFailure] = {}
        self.refused: list[str] = []
        self.on_device: Callable[[str], object] = lambda _: None

    @abstractmethod
    def batches(self) -> Iterator[TableBatch]:
        """Rows to write, in an order that a crash between any two does no harm."""

    @contextmanager
    def alone(self, device_id: str) -> Iterator[None]:
        """What goes wrong inside costs no other device; what concerns all of them, such as a full disk, is raised."""
        try:
            yield
        except Exception as error:  # whatever it is, it is the error of this device
            self.leave_out(device_id, error)
        else:
            self.done.add(device_id)
            self.on_device(device_id)

    def leave_out(self, device_id: str, error: Exception) -> None:
        """A device can't be dealt with; an error that concerns all of them is raised again."""
        self.failed.setdefault(device_id, device_failure(device_id, error))
        self.on_device(device_id)


def write_pass(found: Pass) -> None:
    """Do all of a pass and write its rows: what a command does. An asset gives the batches to its IO manager instead."""
    batches = found.batches()
    try:
        for batch in batches:
            write_batch(found.store, found.table, batch)
    finally:
        if isinstance(batches, Generator):  # an interrupted pass lets go of what it works with now
            batches.close()
