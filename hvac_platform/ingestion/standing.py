"""Ingestion that stands: range after range as messages arrive, for a bounded time.

A run over one range has a fixed cost of seconds; one that stands takes a message in within a second of its arrival. What
holds for every run holds for each of its ranges: the ledger moves when the readings are durable, under a lease. A snapshot
is written once, when its window is complete: when the partition's event time has passed its end by the allowed lateness, or
the clock has and everything that the log had is in. Until then the ledger says from where on windows are open, so whoever
takes a partition over knows what is left to write.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import apsw
import numpy as np
from numpy.typing import NDArray

from hvac_platform.config import CONSUMER_GROUP, Settings
from hvac_platform.devices.registry import device_type
from hvac_platform.embedding.learned import Encoders
from hvac_platform.ingestion.clock import require_right_clock
from hvac_platform.ingestion.completing import Completing
from hvac_platform.ingestion.decoding import IngestionCounts, ingest_ranges
from hvac_platform.ingestion.messages import DecodedBatch, Rejected
from hvac_platform.ingestion.ownership import LeaseKeeper, claim, give_back, may_be_the_messages, root_cause
from hvac_platform.ingestion.ranges import OffsetRange, gone_message, next_ranges, retry_delay
from hvac_platform.ingestion.registration import TypeClaims, TypeConflict, settled_types, stranger_reason, strangers
from hvac_platform.ingestion.repeated import Repeated, repeated_readings
from hvac_platform.ingestion.sent_units import SentUnits, UnitChange
from hvac_platform.ingestion.snapshotting import (
    EmbeddingCounts,
    backlog_batches,
)
from hvac_platform.log.base import LogError, MessageLog
from hvac_platform.log.embedded import EmbeddedLog
from hvac_platform.log.identity import told_offsets
from hvac_platform.standing_loop import stand
from hvac_platform.stores.base import Device, Lease, Store, StoreError
from hvac_platform.stores.batches import TableBatch, write_batch
from hvac_platform.stores.records import Reading
from hvac_platform.stores.window_lengths import WindowLengths, WindowOf
from hvac_platform.timestamps import DAY_MS, day_of, now_ms, window_floor

POLL_SECONDS = 0.4
"""How often the log is asked for its end."""
LOOK_SECONDS = 1.0
"""How often the ledger is asked for partitions that nobody owns."""
COMMIT_SECONDS = 5.0
"""How often the group's offsets are committed to Kafka, where only tools read them."""
STEP_MESSAGES = 100_000
"""Most messages between two moves of the ledger."""
IDLE_SECONDS = 300.0
"""Without a message for so long, a run ends; the sensor begins another when one comes."""
ALONE_SECONDS = 20.0
"""A run that has got no partition for so long isn't needed."""
HAND_OVER_SECONDS = 120.0
"""So much longer than planned it stands while no other run is there to take over."""
RETRIES, RETRY_SECONDS = 3, 1.0
"""A range that fails is tried again within the run so often, after twice as long each time; then the run fails."""
REGISTRY_SECONDS = 30.0
OUTAGE_SECONDS, CAUGHT_UP = 30.0, 500
"""An encoder's server that is unavailable is asked again after so long; so many snapshots then get their vector at once."""

Int64 = NDArray[np.int64]

LEAST_AHEAD = 3
"""So many messages of a device with a time in the future are no slip: its clock is ahead."""
STRAY_MS, SILENT_MS, GONE_MS = DAY_MS, 600_000, 7 * DAY_MS
"""Readings a day before a device's newest one are strays where that is of late and yet some time ago: its clock went back.

While newer ones come too it is history that somebody imports, and so it is of a device that has been gone for long."""


@dataclass(frozen=True, slots=True)
class Moved:
    """What one step of a standing run has done.

    Attributes:
        taken: the range.
        counts: what came of its messages.
        days: UTC days of its readings.
        written: windows that became complete, by UTC day.
        waiting: messages behind the range.
    """

    taken: OffsetRange
    counts: IngestionCounts
    days: frozenset[str]
    written: Mapping[str, int]
    waiting: int


@dataclass(slots=True)
class _Owned:
    """A partition that the run owns; ``open`` has the windows without a snapshot, by device."""

    lease: Lease
    next_offset: int
    watermark: int | None
    log_id: str
    open: dict[str, set[int]]
    caught_up_at: int | None = None
    limit: int | None = None
    failures: int = 0
    retry_at: float = 0.0

    @property
    def open_since(self) -> int | None:
        """Start of its earliest window without a snapshot."""
        return min((min(starts) for starts in self.open.values()), default=None)

    def open_until(self, window_of: WindowOf) -> int | None:
        """End of the window without a snapshot that ends first."""
        return min((min(starts) + window_of(device_id) for device_id, starts in self.open.items()), default=None)


@dataclass
class Registry:
    """Devices as a run knows them, and what it says of new ones.

    Attributes:
        store: has the registry.
        on_new: told of the ids of devices that were registered.
        on_conflict: told of each device whose messages name another type, once.
        most: so many devices may be registered.
        lengths: of the windows of each device.
        on_stray: told of each device, once, of which only readings of long ago arrive, with its newest reading, epoch ms.
        on_units: told of a device and of its points whose unit has changed.
        on_ahead: told of each device, once, whose clock is ahead, with a time that it sent, epoch ms.
        on_repeated: told of each device, once, whose readings came again with another value.
        conflicts: the last conflict of each of them.
        ahead: messages with a time in the future, by device.
        repeated: readings that came again with another value, by device.
        strays: devices that ``on_stray`` was told of.
    """

    store: Store
    on_new: Callable[[list[str]], object]
    on_conflict: Callable[[TypeConflict], object]
    most: int
    lengths: WindowLengths
    on_stray: Callable[[Device, int], object] = lambda _device, _newest_ms: None
    on_units: Callable[[str, Sequence[UnitChange]], object] = lambda _device_id, _changes: None
    on_ahead: Callable[[str, int], object] = lambda _device_id, _at_ms: None
    on_repeated: Callable[[str, Repeated], object] = lambda _device_id, _told: None
    conflicts: dict[str, TypeConflict] = field(default_factory=dict)
    repeated: dict[str, int] = field(default_factory=dict)
    ahead: dict[str, int] = field(default_factory=dict)
    strays: set[str] = field(default_factory=set)
    _known: dict[str, Device] = field(default_factory=dict)
    _read_at: float = -np.inf

    def __post_init__(self) -> None:
        """The units that points are sent in are compared over the batches of the run."""
        self._units = SentUnits(self.store, lambda: self.devices, lambda *told: self.on_units(*told))

    def look(self, batch: DecodedBatch, rejected: Sequence[Rejected] = ()) -> None:
        """See the readings of a batch before its devices are registered, and the messages that are refused."""
        self._look_at_clocks(rejected)
        self._units.look(batch)
        for device_id, told in repeated_readings(batch, self.store, self.devices).items():
            if device_id not in self.repeated:
                self.on_repeated(device_id, told)
            self.repeated[device_id] = self.repeated.get(device_id, 0) + told.count

    def _look_at_clocks(self, rejected: Sequence[Rejected]) -> None:
        """Tell of known devices whose messages have times in the future."""
        for bad in rejected:
            device_id = (bad.key or b"").decode(errors="replace")
            if not bad.ahead or device_id not in self.devices or (at_ms := bad.ahead_ms) is None:
                continue
            self.ahead[device_id] = self.ahead.get(device_id, 0) + 1
            if self.ahead[device_id] == LEAST_AHEAD:
                self.on_ahead(device_id, at_ms)

    @property
    def devices(self) -> dict[str, Device]:
        """All devices by id; at most half a minute old, and never without what this run has registered."""
        if time.monotonic() - self._read_at > REGISTRY_SECONDS:
            self._known = {device.device_id: device for device in self.store.devices()}
            self._read_at = time.monotonic()
        return self._known

    @property
    def types(self) -> dict[str, str]:
        """Device type by id."""
        return {device_id: device.device_type for device_id, device in self.devices.items()}

    def settle(self, claims: list[TypeClaims]) -> list[Device]:
        """Devices of a batch, each with the type that it keeps or gets."""
        settled, conflicting = settled_types(claims, self.devices)
        for conflict in conflicting:
            if self.conflicts.get(conflict.device_id) != conflict:
                self.on_conflict(conflict)
            self.conflicts[conflict.device_id] = conflict
        return settled

    def refuse(self, device_ids: Sequence[str]) -> tuple[set[str], str]:
        """Devices of a batch that find no room, and what is said of their messages."""
        return strangers(device_ids, self.devices, self.most), stranger_reason(self.most)

    def register(self, found: list[Device]) -> None:
        """Write devices of a batch; new ones get the windows of their type."""
        now = now_ms()
        before = self.devices
        new = {device.device_id for device in found if device.device_id not in before}
        found = [_with_window_of_type(device) if device.device_id in new else device for device in found]
        self.store.register_devices(found)
        for device in found:
            known = self._known.get(device.device_id, device)
            last = max(known.last_seen, device.last_seen)
            if (last, known.window_ms) != (device.last_seen, device.window_ms):
                self._known[device.device_id] = replace(device, last_seen=last, window_ms=known.window_ms)
            else:
                self._known[device.device_id] = device
            stray = last - device.last_seen > STRAY_MS and last + SILENT_MS < now < last + GONE_MS
            if stray and device.device_id not in self.strays:
                self.strays.add(device.device_id)
                self.on_stray(device, last)
        if new:
            self.lengths.note(device for device in self.store.devices() if device.device_id in new)
            self.on_new([device.device_id for device in found if device.device_id in new])


def _with_window_of_type(device: Device) -> Device:
    """A new device with windows of the length that its type asks for."""
    declared = device_type(device.device_type)
    if declared is None or declared.window_seconds is None:
        return device
    return replace(device, window_ms=declared.window_seconds * 1000)


def open_windows(store: Store, partition: int, since_ms: int, window_of: WindowOf) -> dict[str, Int64]:
    """Windows with readings from an instant on, of the devices of a partition: what a run left open.

    Args:
        store: has readings and registry.
        partition: of the topic.
        since_ms: start of the earliest of them.
        window_of: length of the windows of each device.

    Returns:
        Window starts by device, ascending.
    """
    found: dict[str, Int64] = {}
    for device in store.devices():
        if device.kafka_partition != partition or device.last_seen < since_ms:
            continue
        times = Reading.times(store, device.device_id, (since_ms, None))
        starts = np.unique(window_floor(times, window_of(device.device_id)))
        if len(starts):
            found[device.device_id] = starts
    return found


class StandingIngestion:
    """Takes in what arrives in the partitions that nobody else takes in, until its time is over.

    Args:
        store: where rows go.
        log: the message log.
        topic: its topic.
        settings: windows, lateness, most messages at once.
        encoders: of all devices.
        leases: renews what is owned.
        holder: id of the run.
        registry: of devices.
        planned: ranges that the run was launched for; others are looked for once those are in.
        reject_ahead: reject messages of the future although this machine's clock may be what is wrong.
        until: when it should end, by ``time.monotonic()``; it stands a little longer while nobody takes over.
        succeeds: whether it was launched to take over from a run that is about to end, and so waits for it.
        taken_over: whether a run is there that takes over.
        on_moved: told of each step.
        on_trouble: told of what went wrong and is tried again, one line each.
    """

    def __init__(
        self,
        store: Store,
        log: MessageLog,
        topic: str,
        settings: Settings,
        encoders: Encoders,
        leases: LeaseKeeper,
        holder: str,
        registry: Registry,
        *,
        planned: Sequence[OffsetRange] = (),
        reject_ahead: bool = False,
        until: float,
        succeeds: bool = False,
        taken_over: Callable[[], bool] = lambda: False,
        on_moved: Callable[[Moved], object] = lambda _: None,
        on_trouble: Callable[[str], object] = lambda _: None,
    ) -> None:
        self.store, self.log, self.topic, self.settings = store, log, topic, settings
        self.encoders, self.leases, self.holder, self.registry = encoders, leases, holder, registry
        self.planned, self.reject_ahead, self.until, self.succeeds = list(planned), reject_ahead, until, succeeds
        self.taken_over, self.on_moved, self.on_trouble = taken_over, on_moved, on_trouble
        self.counts, self.embedded = IngestionCounts(), EmbeddingCounts()
        self._completing = Completing(store, encoders, registry.lengths.of)
        self.snapshots = self._completing.snapshots
        self.made_again = 0
        self._former: dict[str, int] = {}
        self._told_of_strangers = False
        self._owned: dict[int, _Owned] = {}
        self._looked = self._committed = self._caught_up = self._outage_at = -np.inf
        self._busy = time.monotonic()
        self._alone = time.monotonic()

    def run(self) -> None:
        """Stand.

        Raises:
            Exception: a range failed again and again; its partition is still owned, so that the failure can be recorded.
        """
        stand(
            self.step,
            self._over,
            away=(LogError, StoreError, OSError, apsw.Error),
            on_trouble=self.on_trouble,
            poll_seconds=POLL_SECONDS,
            retries=RETRIES,
            retry_seconds=RETRY_SECONDS,
            hopeless=lambda: any(owned.failures > RETRIES for owned in self._owned.values()),
        )
        self.let_go()

    def let_go(self) -> None:
        """Give all partitions back."""
        self._commit()
        for owned in self._owned.values():
            give_back(self.store, owned.lease, self.leases)
        self._owned = {}

    def step(self) -> bool:
        """Take in what has arrived since the last step; returns whether that was anything."""
        now = time.monotonic()
        if now - self._looked >= LOOK_SECONDS or not self._owned:
            self._looked = now
            self._take_what_is_free()
        at = now_ms()
        ends = self.log.end_offsets(self.topic)
        self._follow_lengths()
        worked = False
        if any(ends.get(p, 0) != owned.next_offset for p, owned in self._owned.items()):
            self._leave_what_was_made_again(self.log.identity(self.topic), ends)
        for partition, owned in list(self._owned.items()):
            if self.leases.is_lost(owned.lease):
                self._lose(partition)
            elif time.monotonic() >= owned.retry_at:
                worked |= self._attempt(owned, ends.get(partition, owned.next_offset), at)
        if worked:
            self._busy = time.monotonic()
        if now - self._caught_up >= OUTAGE_SECONDS and self._owned:
            self._caught_up = now
            self._catch_up()
        if now - self._committed >= COMMIT_SECONDS:
            self._committed = now
            self._commit()
        return worked

    # -- owning ------------------------------------------------------------------------------------------------------

    def _take_what_is_free(self) -> None:
        """Own the partitions that nobody owns: first those that the run was launched for, then all others."""
        now, log, topic = now_ms(), self.log, self.topic
        log_id, told = log.identity(topic), told_offsets(log, topic)
        ledger = self.store.ledger(topic)
        begins, ends = log.begin_offsets(topic), log.end_offsets(topic)
        self._leave_what_was_made_again(log_id, ends)
        step = min(STEP_MESSAGES, self.settings.hvac_max_messages_per_run)
        wanted = {r.partition: r for r in next_ranges(ledger, begins, ends, step, log_id, told)}
        only = {r.partition for r in self.planned}
        if only and all(p in self._owned and self._owned[p].next_offset >= ends[p] for p in only if p in ends):
            only, self.planned = set(), []
        for partition in sorted(ends):
            entry = ledger.get(partition)
            if partition in self._owned or (only and partition not in only):
                continue
            if entry is not None and (entry.held_by(now) not in (None, self.holder) or retry_delay(entry, now) > 0):
                continue
            stands = entry.next_offset if entry is not None else begins[partition]
            self._claim(wanted.get(partition, OffsetRange(partition, stands, stands, log_id=log_id)), log_id)
        if self._owned:
            self._alone = time.monotonic()

    def _claim(self, wanted: OffsetRange, log_id: str) -> None:
        got = claim(self.store, self.log, self.topic, [wanted], self.holder, self.leases, planned=True)
        for line in got.troubles:
            self.on_trouble(line)
        self.made_again += len(got.made_again)
        if not got.ranges:
            return
        (taken,) = got.ranges
        lease = next(lease for lease, _ in self.leases.of(self.holder) if lease.partition == taken.partition)
        entry = self.store.settled_ledger(self.topic)[taken.partition]
        left: dict[str, Int64] = {}
        if entry.open_since is not None:
            left = open_windows(self.store, taken.partition, entry.open_since, self.registry.lengths.of)
        owned = _Owned(
            lease=lease,
            next_offset=taken.start - taken.skipped,
            watermark=entry.watermark,
            log_id=log_id,
            open={device_id: set(starts.tolist()) for device_id, starts in left.items()},
            limit=entry.range_limit,
        )
        self._owned[taken.partition] = owned
        if taken.skipped:
            self._gone(taken.partition, owned.next_offset, taken.start)
        if taken.set_aside or taken.skipped:  # as planned from the ledger, not by what has arrived
            self._take(owned, taken, now_ms(), None)
        elif entry.failures and taken.end == taken.start:  # who ended without a word did so with nothing to read
            self._move(owned, owned.next_offset, owned.next_offset, None)

    def _leave_what_was_made_again(self, log_id: str, ends: Mapping[int, int]) -> None:
        """Give back partitions whose log is another one by now; what comes next is claimed as such."""
        for partition, owned in list(self._owned.items()):
            if owned.log_id != log_id or ends.get(partition, -1) < owned.next_offset:
                give_back(self.store, self._owned.pop(partition).lease, self.leases)

    def _lose(self, partition: int) -> None:
        self.leases.let_go(self._owned.pop(partition).lease)
        self.on_trouble(f"partition {partition} was taken over by another run")

    # -- windows whose length somebody has changed ----------------------------------------------------------------------

    def _follow_lengths(self) -> None:
        """Windows that are open become windows of the length that their device has now."""
        self._former = self.registry.lengths.look() | self._former  # of two changes the first: those windows are open
        for device_id, former_ms in self._former.items():
            window_ms = self.registry.lengths.of(device_id)
            for owned in self._owned.values():
                if starts := owned.open.get(device_id):
                    owned.open[device_id] = set(_of_other_length(starts, former_ms, window_ms).tolist())
        self._former = {}

    def _take_back_of_former_length(self, due: Mapping[str, Int64]) -> dict[str, Int64]:
        """Remove snapshots that were written in the moment in which somebody changed the length of their windows.

        Whoever changes it makes the history anew from then on, so what is written later in the old length would stay.

        Args:
            due: starts of the windows that were written, by device.

        Returns:
            Starts of the windows to write in their place, by device.
        """
        changed = self.registry.lengths.look()
        self._former = changed | self._former
        again: dict[str, Int64] = {}
        for device_id in due.keys() & changed.keys():
            starts, former_ms = due[device_id], changed[device_id]
            again[device_id] = _of_other_length(starts.tolist(), former_ms, self.registry.lengths.of(device_id))
            keys = {"device_id": [device_id] * len(starts), "snapshot_time": starts}
            self._write("device_state_snapshots", TableBatch(keys, action="delete"))
        return again

    # -- taking in ---------------------------------------------------------------------------------------------------

    def _attempt(self, owned: _Owned, end: int, at: int) -> bool:
        """One step of a partition; a failure is tried again a little later, with fewer messages where they may be why."""
        most = min(STEP_MESSAGES, self.settings.hvac_max_messages_per_run, owned.limit or STEP_MESSAGES)
        taken = OffsetRange(owned.lease.partition, owned.next_offset, min(end, owned.next_offset + most))
        whole = taken.end >= end
        try:
            if taken.end > taken.start:
                self._take(owned, taken, at, at if whole else None, end - taken.end)
            elif whole:
                return self._complete_by_clock(owned, at)
            return taken.end > taken.start
        except Exception as error:  # whatever it is: after some attempts the run fails with it
            cause = root_cause(error)
            owned.failures += 1
            if may_be_the_messages(cause) and taken.end - taken.start > 1:
                owned.limit = (taken.end - taken.start) // 2
            elif owned.failures > RETRIES:
                raise
            pause = RETRY_SECONDS * 2 ** (owned.failures - 1) if owned.failures <= RETRIES else 0.0
            owned.retry_at = time.monotonic() + pause
            self.on_trouble(
                f"partition {taken.partition} at offset {taken.start}: {type(cause).__name__}: {cause}; tried again "
                f"in {pause:.0f} s"
            )
            return True

    def _take(self, owned: _Owned, taken: OffsetRange, at: int, caught_up_at: int | None, waiting: int = 0) -> None:
        """Readings of a range, windows that are complete by then, and the move of the ledger."""
        self.leases.works_on(owned.lease, taken)
        counts, days = IngestionCounts(), set[str]()
        opened = {device_id: set(starts) for device_id, starts in owned.open.items()}
        watermark = owned.watermark
        for batch in ingest_ranges(
            self.log,
            self.topic,
            [taken],
            now_ms=now_ms(),
            window_of=self.registry.lengths.of,
            register=self.registry.register,
            counts=counts,
            gone=self._gone,
            reading=lambda partition: self.leases.read(self.holder, partition),
            check_clock=self._check_clock,
            settle=self.registry.settle,
            refuse=self._refuse,
            look=self.registry.look,
        ):
            self._write("device_metrics_raw", batch)
            if batch.touched is not None:
                for device_id, starts in batch.touched.starts_ms.items():
                    opened.setdefault(device_id, set()).update(starts.tolist())
                    days.update(day_of(day * DAY_MS) for day in np.unique(starts // DAY_MS).tolist())
                latest = max(batch.touched.latest_ms.values(), default=watermark)
                watermark = latest if watermark is None or latest is None else max(watermark, latest)
        due, left = _split(opened, self._complete_until(watermark, caught_up_at, at), self.registry.lengths.of)
        written = self._snapshots(due)
        start = taken.start - taken.skipped
        before, owned.open, owned.watermark = owned.open, left, watermark
        if isinstance(self.log, EmbeddedLog):  # first: a log that knows of less than the ledger was put back
            self.log.commit(CONSUMER_GROUP, self.topic, {taken.partition: taken.end})
        if not self._move(owned, start, taken.end, caught_up_at, counts.skipped):
            owned.open = before
            return
        owned.failures, owned.limit = 0, self._next_limit(owned, taken)
        self._add(counts)
        self.on_moved(Moved(taken, counts, frozenset(days), written, waiting))

    def _refuse(self, device_ids: Sequence[str]) -> tuple[set[str], str]:
        refused, reason = self.registry.refuse(device_ids)
        if refused and not self._told_of_strangers:
            self._told_of_strangers = True
            self.on_trouble(f"messages of {min(refused)} and maybe of others are set aside: {reason}")
        return refused, reason

    def _gone(self, partition: int, first: int, last: int) -> None:
        self.on_trouble(gone_message(self.topic, partition, first, last))

    def _complete_by_clock(self, owned: _Owned, at: int) -> bool:
        """Windows of a partition that everything is in of, and that the clock has passed."""
        limit, window_of = self._complete_until(owned.watermark, at, at), self.registry.lengths.of
        first = owned.open_until(window_of)
        if first is None or first > limit:
            return False
        due, left = _split(owned.open, limit, window_of)
        written = self._snapshots(due)
        owned.open = left
        here = owned.next_offset
        if self._move(owned, here, here, at):
            nothing = OffsetRange(owned.lease.partition, here, here)
            self.on_moved(Moved(nothing, IngestionCounts(), frozenset(written), written, 0))
        owned.failures = 0
        return True

    def _complete_until(self, watermark: int | None, caught_up_at: int | None, now: int) -> int:
        """Windows that end at or before this instant are complete; epoch milliseconds."""
        return max(min(watermark or 0, now), caught_up_at or 0) - self.settings.allowed_lateness_ms

    def _move(self, owned: _Owned, start: int, end: int, caught_up_at: int | None, skipped: int = 0) -> bool:
        moved = self.store.advance_ledger(
            self.topic,
            owned.lease.partition,
            start,
            end,
            run_id=self.holder,
            watermark=owned.watermark,
            skipped=skipped,
            fence=owned.lease.fence,
            open_since=owned.open_since,
            caught_up_at=caught_up_at,
        )
        if moved:
            owned.next_offset = end
        else:
            self._lose(owned.lease.partition)
        return moved

    def _next_limit(self, owned: _Owned, taken: OffsetRange) -> int | None:
        """Most messages of the next step: after a failure they grow again."""
        if owned.limit is None or taken.end - taken.start >= STEP_MESSAGES:
            return None
        return min(STEP_MESSAGES, 2 * max(owned.limit, 1))

    def _snapshots(self, due: Mapping[str, Int64]) -> dict[str, int]:
        """Write the snapshots of some windows and their embeddings; returns how many, by UTC day."""
        written: dict[str, int] = {}
        if not due:
            return written
        counts = self._embedding_counts()
        while due:
            for batch in self._completing.batches(due, self.registry.types, counts):
                self._write("device_state_snapshots", batch)
                if batch.action == "upsert" and batch.table == "device_state_snapshots":
                    days, n = np.unique(np.asarray(batch.columns["snapshot_time"]) // DAY_MS, return_counts=True)
                    for day, some in zip(days.tolist(), n.tolist(), strict=True):
                        written[day_of(day * DAY_MS)] = written.get(day_of(day * DAY_MS), 0) + some
            due = self._take_back_of_former_length(due)
        self._count_embeddings(counts)
        return written

    def _catch_up(self) -> None:
        """Embeddings that were left out while the encoder's server was unavailable, some at a time."""
        counts = self._embedding_counts()
        types, window_of = self.registry.types, self.registry.lengths.of
        for batch in backlog_batches(self.store, types, self.encoders, window_of, counts, CAUGHT_UP):
            self._write("device_state_snapshots", batch)
        self._count_embeddings(counts)

    def _embedding_counts(self) -> EmbeddingCounts:
        """Fresh counts; those of a server that has just been unavailable keep it from being asked."""
        recent = time.monotonic() - self._outage_at < OUTAGE_SECONDS
        return EmbeddingCounts(outage=self.embedded.outage if recent else "")

    def _count_embeddings(self, counts: EmbeddingCounts) -> None:
        self.embedded.add(counts)
        self.embedded.caught_up += counts.caught_up
        self.embedded.waiting += counts.waiting - counts.caught_up
        if counts.outage and time.monotonic() - self._outage_at >= OUTAGE_SECONDS:
            self._outage_at = time.monotonic()
            self.on_trouble(f"snapshots are stored without an embedding until it can be made: {counts.outage}")
        self.embedded.outage = counts.outage

    def _write(self, table: str, batch: TableBatch) -> None:
        write_batch(self.store, table, batch)

    def _check_clock(self, partition: int, rejected: Sequence[Rejected], messages: int) -> None:
        if not self.reject_ahead:
            require_right_clock(partition, rejected, messages, self.store.devices, now_ms())

    def _add(self, counts: IngestionCounts) -> None:
        total = self.counts
        for name in ("messages", "accepted", "rejected", "unreadable", "skipped"):
            setattr(total, name, getattr(total, name) + getattr(counts, name))
        total.devices |= counts.devices
        for reason, n in counts.reasons.items():
            if reason in total.reasons or len(total.reasons) < 20:
                total.reasons[reason] = total.reasons.get(reason, 0) + n

    def _commit(self) -> None:
        """Tell Kafka's tools how far the group is; nothing here reads it back."""
        if isinstance(self.log, EmbeddedLog) or not self._owned:
            return
        self.log.commit(CONSUMER_GROUP, self.topic, {p: owned.next_offset for p, owned in self._owned.items()})

    # -- ending ------------------------------------------------------------------------------------------------------

    def _over(self) -> bool:
        now = time.monotonic()
        if not self._owned:
            waits = HAND_OVER_SECONDS + ALONE_SECONDS if self.succeeds else ALONE_SECONDS
            return now - self._alone > waits
        if now - self._busy > IDLE_SECONDS and all(owned.open_since is None for owned in self._owned.values()):
            return True
        return now > self.until and (now > self.until + HAND_OVER_SECONDS or self.taken_over())


def _of_other_length(starts: Collection[int], former_ms: int, window_ms: int) -> Int64:
    """Windows of one length that share time with windows of another, int64 [n], ascending.

    >>> _of_other_length([60_000, 120_000], 60_000, 300_000).tolist(), _of_other_length([300_000], 300_000, 150_000).tolist()
    ([0], [300000, 450000])
    """
    within = np.arange(0, former_ms, min(former_ms, window_ms), dtype=np.int64)
    return np.unique(window_floor(np.add.outer(np.array(list(starts), dtype=np.int64), within), window_ms))


def _split(
    opened: Mapping[str, set[int]], until: int, window_of: WindowOf
) -> tuple[dict[str, Int64], dict[str, set[int]]]:
    """Windows that end at or before an instant, ascending, and the others, by device."""
    due: dict[str, Int64] = {}
    left: dict[str, set[int]] = {}
    for device_id, starts in opened.items():
        last = until - window_of(device_id)
        complete = {start for start in starts if start <= last}
        if complete:
            due[device_id] = np.array(sorted(complete), dtype=np.int64)
        if len(complete) < len(starts):
            left[device_id] = starts - complete
    return due, left
