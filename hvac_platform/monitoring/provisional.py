"""What can't wait until a window is complete: rules of level 1 and 2, and readings that can't be, on windows not judged yet.

A provisional event is nobody's row. It is what the readings that are in say now, so it is there as soon as they are, and it
goes with the judgement of its window: that either records the event of the same id or does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from hvac_platform.detection.rules import GAP_WINDOWS, evaluate_urgent, rule_lookback_ms, urgent_part
from hvac_platform.devices.registry import DeviceType, device_type
from hvac_platform.ingestion.snapshotting import read_aggregate
from hvac_platform.monitoring.lifecycle import PROVISIONAL
from hvac_platform.monitoring.maintenance import in_maintenance
from hvac_platform.snapshots import SnapshotSeries
from hvac_platform.stores.base import Device, Store
from hvac_platform.stores.records import Incident, MaintenanceSpan, Snapshot
from hvac_platform.stores.series import joined, read_series

MOST_WINDOWS = 10
"""Windows that nobody has judged are looked at up to so far back: allowed lateness, and what detection takes, are less."""
RECENT_MS = 3_600_000
"""A device of which nothing came for longer has nothing that can't wait."""


@dataclass(frozen=True, slots=True)
class ProvisionalEvent:
    """A window that rules speak against before it is judged.

    Attributes:
        device_id: the device.
        detected_at: start of the window, epoch milliseconds.
        level: 1 to 3, of the most severe rule.
        reasons: one sentence each, most severe first.
        metrics: metrics that they rest on.
        open: the window may still get readings, as far as is known.
    """

    device_id: str
    detected_at: int
    level: int
    reasons: tuple[str, ...]
    metrics: tuple[str, ...]
    open: bool

    @property
    def event_id(self) -> str:
        """Id of the event that the judgement of the window records if it agrees."""
        return f"{self.device_id}/{self.detected_at}"


def provisional_events(store: Store, device: Device, window_ms: int, at_ms: int) -> list[ProvisionalEvent]:
    """What speaks against the windows of a device that nobody has judged yet, oldest first.

    Reads the snapshots that the rules look back on, and the readings since the newest of them.

    Args:
        store: has readings, snapshots and maintenance.
        device: its registration; nothing is said of devices of unknown type.
        window_ms: length of a window.
        at_ms: the present.
    """
    declared = device_type(device.device_type)
    if declared is None or device.last_seen <= at_ms - RECENT_MS:
        return []
    series, unjudged, snapshots = _recent_windows(store, device, declared, window_ms)
    if not unjudged.any():
        return []
    verdicts = evaluate_urgent(series, declared)
    rows = np.flatnonzero(verdicts.anomalous & unjudged)
    if len(rows):
        rows = rows[~in_maintenance(series.times_ms[rows], MaintenanceSpan.read(store, device.device_id))]
    return [
        ProvisionalEvent(
            device.device_id,
            int(series.times_ms[i]),
            int(verdicts.level[i]),
            verdicts.reasons[i],
            verdicts.metrics[i],
            open=i >= snapshots,
        )
        for i in rows.tolist()
    ]


def awaits_judgement(store: Store, incident: Incident, at_ms: int) -> bool:
    """Whether an incident was opened on a window that nobody has judged yet, and that somebody still may."""
    if PROVISIONAL not in incident.methods or incident.started_at <= at_ms - RECENT_MS:
        return False
    start = incident.started_at
    window = Snapshot.first(store, incident.device_id, (start, start + 1), only=("revision", "judged_revision"))
    return window is None or window.revision != window.judged_revision


def may_be_urgent(
    latest: Sequence[tuple[str, Mapping[str, float]]], types: Mapping[str, str], windows: Mapping[str, int]
) -> set[str]:
    """Devices whose latest readings leave it open whether :func:`provisional_events` has something to say.

    Many devices cost little more than one: those of a type whose windows have one length are rows of one table. What a rule
    needs earlier windows for is taken as given; a rule that names earlier windows in its condition is left to the device's
    own page.

    Args:
        latest: values by metric of each device.
        types: device type by device id.
        windows: length of the windows of each, milliseconds.
    """
    alike: dict[tuple[str, int], list[tuple[str, Mapping[str, float]]]] = {}
    for device_id, values in latest:
        alike.setdefault((types[device_id], windows[device_id]), []).append((device_id, values))
    found: set[str] = set()
    for (name, window_ms), rows in alike.items():
        declared = device_type(name)
        if declared is None:
            continue
        names = declared.metric_names
        unread, values_of = dict.fromkeys(names, np.nan), itemgetter(*names)
        read = np.array([values_of({**unread, **row}) for _, row in rows], dtype=np.float64).reshape(len(rows), -1)
        apart = np.arange(len(rows), dtype=np.int64) * 2 * GAP_WINDOWS * window_ms  # so that no row is another's past
        count = np.isfinite(read).astype(np.int64)
        together = SnapshotSeries("", name, apart, names, read, count, read, read, read, window_ms)
        fired = evaluate_urgent(together, urgent_part(declared, at_once=True)).anomalous
        found.update(rows[i][0] for i in np.flatnonzero(fired).tolist())
    return found


def _recent_windows(
    store: Store, device: Device, declared: DeviceType, window_ms: int
) -> tuple[SnapshotSeries, NDArray[np.bool_], int]:
    """Newest windows of a device, snapshots first and then what readings say of later ones; n windows.

    Returns:
        The windows; which of them nobody has judged, bool [n]; how many are snapshots.
    """
    newest = device.last_seen - device.last_seen % window_ms
    looked_at = newest - MOST_WINDOWS * window_ms
    begin = looked_at - rule_lookback_ms(urgent_part(declared), window_ms)
    span = begin, newest + window_ms
    snapshots = read_series(store, device.device_id, device.device_type, *span, metrics=declared.metric_names)
    known = Snapshot.read(store, device.device_id, span, only=("snapshot_time", "revision", "judged_revision"))
    to_judge = [one.snapshot_time for one in known if one.revision != one.judged_revision]
    unjudged = np.isin(snapshots.times_ms, np.array(to_judge, dtype=np.int64))
    since = max(looked_at, int(snapshots.times_ms[-1]) + window_ms) if len(snapshots) else looked_at
    later = _windows_of_readings(store, device, declared, since, newest + window_ms, window_ms)
    if later is None:
        return snapshots, unjudged & (snapshots.times_ms >= looked_at), len(snapshots)
    series = joined([snapshots, later]) if len(snapshots) else later
    unjudged = np.r_[unjudged, np.ones(len(later), dtype=np.bool_)]
    return series, unjudged & (series.times_ms >= looked_at), len(snapshots)


def _windows_of_readings(
    store: Store, device: Device, declared: DeviceType, start_ms: int, end_ms: int, window_ms: int
) -> SnapshotSeries | None:
    """Windows in a span by the readings that are in, as snapshots would have them; None where there are none."""
    if start_ms >= end_ms:
        return None
    found = read_aggregate(store, device.device_id, (start_ms, end_ms), window_ms)
    if found is None:
        return None
    columns = [j for j, name in enumerate(found.metric_names) if name in declared.index]
    with_any = (found.count[:, columns] > 0).any(axis=1)
    if not with_any.any():
        return None
    rows = np.ix_(np.flatnonzero(with_any), np.array(columns))
    return SnapshotSeries(
        device.device_id,
        device.device_type,
        found.starts_ms[with_any],
        tuple(found.metric_names[j] for j in columns),
        found.mean[rows],
        found.count[rows],
        found.minimum[rows],
        found.maximum[rows],
        found.last[rows],
        window_ms=window_ms,
    )
