"""A device whose windows get another length: its history is made anew from its readings, as far as those are there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from hvac_platform.config import Settings
from hvac_platform.embedding.learned import Encoders
from hvac_platform.ingestion.completing import Completing
from hvac_platform.ingestion.snapshotting import EmbeddingCounts, SnapshotCounts
from hvac_platform.stores.base import Device, Store, TableSlice
from hvac_platform.stores.batches import DeviceSlice, write_batch
from hvac_platform.stores.records import AnomalyEvent, LatestReading, Reading, Snapshot, Verdict
from hvac_platform.stores.tables import table
from hvac_platform.stores.window_lengths import set_window
from hvac_platform.timestamps import day_of, day_windows

ROWS_AT_ONCE = 5_000
MOST_ATTEMPTS = 20
"""A day to which readings are added while it is made anew is made anew again, so often at most."""


@dataclass
class WindowChange:
    """The change of the length of a device's windows, day by day. Killed in the middle, it is done by doing it again.

    The registry has the new length from the begin, so that whoever takes in readings meanwhile writes windows of that
    length; what is made here are those that were there before.

    Attributes:
        device: as it is registered from now on.
        counts: windows that were made.
        days: UTC days that were made anew.
        kept: UTC days whose windows stay as they were, because their readings are gone.

    Args:
        store: has the readings.
        encoders: of all devices.
        settings: the length of the windows of devices that have none of their own.
        device: whose.
        window_ms: the new length, or None for that of the store.
    """

    store: Store
    encoders: Encoders
    settings: Settings
    device: Device
    window_ms: int | None
    counts: SnapshotCounts = field(default_factory=SnapshotCounts)
    days: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.device = replace(self.device, window_ms=self.window_ms)

    def begin(self) -> list[str]:
        """Register the new length; returns the days that there is something of."""
        set_window(self.store, self.device.device_id, self.window_ms)
        _delete(self.store, LatestReading.TABLE, self.device.device_id)  # of open windows of the former length
        return self._days()

    def make_anew(self) -> Iterator[str]:
        """Snapshots and their vectors, day by day; what was said of the former ones is deleted. Yields each day."""
        for date in self._days():
            (self.days if self._make_day(date) else self.kept).append(date)
            yield date

    def finish(self) -> list[str]:
        """Days that somebody has written a window of the former length to meanwhile, which are made anew once more."""
        again = [date for date in self.days if self._has_former(date)]
        for date in again:
            self._make_day(date)
        return again

    def _has_former(self, date: str) -> bool:
        length, only = self.device.window(self.settings), ("snapshot_time", "window_ms")
        span = self._start(date), day_windows(date, length)[1]
        return any(one.window_ms != length for one in Snapshot.read(self.store, self.device.device_id, span, only=only))

    def _days(self) -> list[str]:
        newest = next((d for d in self.store.devices() if d.device_id == self.device.device_id), self.device)
        found = self.store.device_days(day_of(newest.first_seen), day_of(newest.last_seen), newest.device_id)
        return [day.date for day in found]

    def _start(self, date: str) -> int:
        """Start of the first window of a day that is made anew: one that its readings are whole of."""
        length = self.device.window(self.settings)
        start_ms, end_ms = day_windows(date, length)
        first = Reading.first(self.store, self.device.device_id, (start_ms, end_ms), only=("timestamp",))
        if first is None:
            return end_ms
        oldest = Snapshot.first(
            self.store, self.device.device_id, (start_ms, end_ms), only=("snapshot_time", "window_ms")
        )
        if oldest is None or oldest.snapshot_time + oldest.window_ms > first.timestamp:
            return start_ms
        return -(-first.timestamp // length) * length  # the readings of the day's first windows are gone

    def _make_day(self, date: str) -> bool:
        """Make the windows of a day anew; False where no reading of it is there."""
        length = self.device.window(self.settings)
        start_ms, end_ms = self._start(date), day_windows(date, length)[1]
        if start_ms >= end_ms:
            return False
        for _ in range(MOST_ATTEMPTS):
            written_at = self._raw_written_at(date)
            counts = self._write(start_ms, end_ms, length)
            if self._raw_written_at(date) == written_at:
                break
        self.counts.add(counts)
        return True

    def _write(self, start_ms: int, end_ms: int, length: int) -> SnapshotCounts:
        store, device_id = self.store, self.device.device_id
        day_ms = day_windows(day_of(start_ms), length)[0]
        former = Snapshot.read(store, device_id, (day_ms, end_ms), only=("snapshot_time", "window_ms"))
        reaching = [one.snapshot_time for one in former if one.snapshot_time + one.window_ms > start_ms]
        since = min([start_ms, *reaching])
        # What an event is of is there as long as the event.
        for name in (AnomalyEvent.TABLE, Verdict.TABLE, Snapshot.TABLE):
            _delete(store, name, device_id, (since, end_ms))
        completing = Completing(store, self.encoders, lambda _: length)
        part = DeviceSlice(store, Reading.TABLE, device_id, start_ms, end_ms)
        for batch in completing.batches_of([part], {device_id: self.device.device_type}, EmbeddingCounts()):
            write_batch(store, Snapshot.TABLE, batch)
        return completing.snapshots

    def _raw_written_at(self, date: str) -> int | None:
        """When readings were written to a day last."""
        found = self.store.device_days(date, date, self.device.device_id)
        return found[0].raw_written_at if found else None


def _delete(store: Store, name: str, device_id: str, span: tuple[int | None, int | None] = (None, None)) -> None:
    """Delete rows of a device in a span of the table's time column."""
    for batch in list(store.scan(TableSlice(name, table(name).key, device_id, *span), batch_rows=ROWS_AT_ONCE)):
        store.delete(name, batch)
