"""Data loss: spans in which nothing came of a device while others were heard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hvac_platform.config import Settings
from hvac_platform.detection.incidents import LOST_WINDOWS
from hvac_platform.detection.pace import Pace
from hvac_platform.monitoring.maintenance import wholly_in_maintenance
from hvac_platform.monitoring.points import points_of
from hvac_platform.stores.base import Device, Store
from hvac_platform.stores.records import MaintenanceSpan, Snapshot
from hvac_platform.timestamps import DAY_MS, iso

DATA_LOSS = "silence"
"""What stands in place of a method's name in the incident of a data loss. Tables have had this word since version 0.1, so it
stays in them and in ``--json``; people are told :func:`told_method`."""
HOUR_MS = 3_600_000
FURTHEST_MS = 64 * DAY_MS
"""A device of which nothing came for longer has left the fleet: its loss is over then."""
NEAR_MS = 7 * DAY_MS
"""Others must have been heard so soon after the beginning of a loss: what came years later doesn't speak of it."""
MOST_UNUSUAL = 1_000.0
"""Score of a loss that lasts a thousand times longer than is usual; none has more."""
LONG_MS = HOUR_MS
"""From here on it is urgent: an hour without readings is an hour without any detection."""


@dataclass(frozen=True, slots=True)
class DataLoss:
    """A span [start, end) without a snapshot of a device.

    Attributes:
        start_ms: end of the last window before it.
        end_ms: start of the first window after it, or the present while it goes on.
        over: whether a window came after it.
        longest_ms: a gap of this length is usual of the device.
        window_ms: length of a window.
        metrics: points of which readings were due, in the order of their names, as far as their paces are known.
        given_up: whether it is over because the device was retired or has left the fleet, so that nothing is left to wait
            for.
    """

    start_ms: int
    end_ms: int
    over: bool
    longest_ms: int
    window_ms: int
    metrics: tuple[str, ...] = ()
    given_up: bool = False

    @property
    def level(self) -> int:
        """Guideline 36 level: urgent (3) from an hour on, else of normal priority (4)."""
        return 3 if self.end_ms - self.start_ms >= LONG_MS else 4

    @property
    def score(self) -> float:
        """How many times longer it lasts than is usual of the device, a thousand times at most."""
        return min(MOST_UNUSUAL, (self.end_ms - self.start_ms) / self.longest_ms)

    @property
    def reason(self) -> str:
        """The loss in a sentence."""
        length = spelled(self.end_ms - self.start_ms)
        return f"no readings for {length} after {iso(self.start_ms)}, while other devices were heard"


def told_method(name: str) -> str:
    """What to call, before people, the method of an incident.

    >>> told_method("profile"), told_method(DATA_LOSS), told_method("stopped")
    ('profile', 'data loss', 'stopped point')
    """
    return {DATA_LOSS: "data loss", "stopped": "stopped point", "lasting": "lasting change"}.get(name, name)


def spelled(length_ms: int) -> str:
    """A length of time for a sentence.

    >>> spelled(10_000), spelled(300_000), spelled(9_000_000), spelled(216_000_000)
    ('10 s', '5 min', '2.5 h', '2.5 d')
    """
    if length_ms < 120_000:
        return f"{length_ms / 1000:.0f} s"
    if length_ms >= 2 * DAY_MS:
        return f"{round(length_ms / DAY_MS, 1):g} d"
    minutes = length_ms / 60_000
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


class Listening:
    """Looks for data losses of devices at one moment.

    Args:
        store: where registry, ledger and snapshots are.
        settings: window, lateness, and how long a partition may be quiet.
        now_ms: the present.
    """

    def __init__(self, store: Store, settings: Settings, now_ms: int) -> None:
        self._store, self._settings, self._now_ms = store, settings, now_ms
        self._ledger = store.ledger(settings.kafka_topic)
        self._devices = store.devices()
        self._newest_ms = min(now_ms, max((d.last_seen for d in self._devices), default=now_ms))
        self._heard: dict[tuple[int, int, int], bool] = {}

    def heard_until(self, device: Device) -> int:
        """Instant up to which a device should have been heard: that of the newest reading of any device.

        Of a partition whose ingestion is catching up nothing is lost, it is late: until it has, its own watermark counts.
        """
        entry = self._ledger.get(device.kafka_partition)
        if entry is None or entry.watermark is None or self._now_ms - entry.updated_at >= self._settings.silence_ms:
            return self._newest_ms
        return min(self._newest_ms, max(entry.watermark, device.last_seen))

    def data_losses(self, device: Device, start_ms: int, end_ms: int) -> list[DataLoss]:
        """Data losses of a device that reach into [start_ms, end_ms), complete on both sides.

        Data are lost where five windows are missing, or five times what usually lies between two of the device's windows;
        one that goes on must be longer by the allowed lateness. In five windows of its first week others must have been
        heard: when nothing comes of anyone, it is the log or the platform that stood still, or the device's data are older
        than those of all others. A loss ends after 64 days, given up. What lies wholly in maintenance doesn't count.
        """
        window_ms, until_ms = device.window(self._settings), self.heard_until(device)
        times = _times_around(self._store, device, start_ms, end_ms, until_ms)
        if not len(times):
            return []
        steps = np.diff(times)
        usual = max(window_ms, int(np.median(steps))) if len(steps) else window_ms
        points = points_of(self._store, device.device_id)
        paces = points.paces
        # Where all points are sent on change nothing comes at times, as long as none of them has to have moved.
        resting = min((pace.patience_ms(window_ms) for pace in paces.values()), default=0)
        longest = max(LOST_WINDOWS * usual, resting)
        begins, ends = times + window_ms, np.r_[times[1:], until_ms - until_ms % window_ms]
        needed = np.full(len(times), longest)
        needed[-1] += self._settings.allowed_lateness_ms
        lost = np.flatnonzero((ends - begins >= needed) & (begins < end_ms) & (ends > start_ms))
        found = [
            DataLoss(begin, end, i < len(times) - 1, longest, window_ms, _due(paces, end - begin, window_ms))
            for i, begin, end in zip(lost.tolist(), begins[lost].tolist(), ends[lost].tolist(), strict=True)
        ]
        if points.gone_ms is not None:  # a device that was retired is not missed from then on
            found = [_until(loss, points.gone_ms) for loss in found if loss.start_ms < points.gone_ms]
        found = [_until(o, o.start_ms + FURTHEST_MS) if o.end_ms - o.start_ms > FURTHEST_MS else o for o in found]
        found = [loss for loss in found if self._others_heard(loss)]
        maintenance = MaintenanceSpan.read(self._store, device.device_id) if found else []
        return [loss for loss in found if not wholly_in_maintenance(loss.start_ms, loss.end_ms, window_ms, maintenance)]

    def _others_heard(self, loss: DataLoss) -> bool:
        """Whether windows of any device lie near its beginning; the device itself has none, so the answer is one for all."""
        span = (loss.start_ms, min(loss.end_ms, loss.start_ms + NEAR_MS), loss.window_ms)
        if span not in self._heard:
            self._heard[span] = self._anyone_heard(*span)
        return self._heard[span]

    def _anyone_heard(self, start_ms: int, end_ms: int, window_ms: int) -> bool:
        """Whether others were heard in five windows of a length; a longer one of theirs counts as all that lie in it."""
        heard: set[int] = set()
        for device in self._devices:
            for batch in Snapshot.batches(
                self._store,
                device.device_id,
                (start_ms, end_ms),
                only=("snapshot_time", "window_ms"),
                batch_rows=10 * LOST_WINDOWS,
            ):
                for one in batch:
                    if one.snapshot_time + one.window_ms <= end_ms:
                        last = one.snapshot_time + min(one.window_ms, LOST_WINDOWS * window_ms) - 1
                        heard.update(range(one.snapshot_time // window_ms, last // window_ms + 1))
                if len(heard) >= LOST_WINDOWS:
                    return True
        return False


def _due(paces: Mapping[str, Pace], length_ms: int, window_ms: int) -> tuple[str, ...]:
    """Points that are silent for longer than they ever are, after so long a time."""
    return tuple(sorted(name for name, pace in paces.items() if pace.patience_ms(window_ms) <= length_ms))


def _until(loss: DataLoss, at_ms: int) -> DataLoss:
    """The part of a loss before an instant, with which it is over."""
    if loss.end_ms <= at_ms:
        return replace(loss, over=True, given_up=not loss.over)  # nothing that is missing is expected any more
    return replace(loss, end_ms=max(at_ms, loss.start_ms + loss.window_ms), over=True, given_up=True)


def _times_around(store: Store, device: Device, start_ms: int, end_ms: int, until_ms: int) -> NDArray[np.int64]:
    """Window starts in a span, with the nearest one before it and the nearest after it, int64 [n], ascending."""
    before = after = HOUR_MS
    while True:
        low, high = start_ms - before, min(end_ms + after, until_ms)
        times = Snapshot.times(store, device.device_id, (low, high))
        earlier = len(times) and times[0] <= start_ms
        later = len(times) and times[-1] >= end_ms
        look_back = not earlier and device.first_seen < low and before < FURTHEST_MS
        look_ahead = not later and high < until_ms and after < FURTHEST_MS
        if not look_back and not look_ahead:
            return times
        before, after = before * (8 if look_back else 1), after * (8 if look_ahead else 1)
