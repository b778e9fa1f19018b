"""What the pages read: records of the store, each question with a bound on what it may cost.

Every read names the partitions it wants (a device, a day), so it is one short query on a server too.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvac_platform.config import Settings
from hvac_platform.detection.methods import method_names
from hvac_platform.detection.urgency import points_in_order
from hvac_platform.ingestion.flow import PartitionFlow, flows
from hvac_platform.log.base import MessageLog, UnknownTopicError
from hvac_platform.monitoring.lifecycle import ATTENTION, State
from hvac_platform.snapshots import SnapshotSeries
from hvac_platform.stores.base import Device, Store, TableSlice, gathered
from hvac_platform.stores.metric_maps import metric_maps
from hvac_platform.stores.records import (
    AnomalyEvent,
    BacklogDay,
    DeadLetter,
    DeviceReport,
    Incident,
    IncidentHandling,
    LastingChange,
    LatestReading,
    MaintenanceSpan,
    MethodReport,
    MetricTrend,
    ProfileVersion,
    Reading,
    Snapshot,
    StoredProfile,
)
from hvac_platform.stores.series import VerdictSeries, joined, verdict_series
from hvac_platform.timestamps import day_of, days_before, now_ms

Float64 = NDArray[np.float64]

LONGEST_REPLAY_MS = 7 * 86_400_000
"""So long a span is played back at once."""
HOUR_MS = 3_600_000
INCIDENT_DAYS = 30
RECENT_WINDOWS = 5
"""Detection lags a window or two behind, so the state of a device is that of its newest few windows."""
MOST_ROWS = 20_000
MOST_DEAD_LETTERS = 25
DEAD_LETTER_DAYS = 7
DEAD_LETTER_KEY = ("topic", "date", "kafka_partition", "record_offset")
BUFFER_MS = HOUR_MS

SEVERITIES = ("critical", "warning", "info")


# -- one device ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DeviceState:
    """What one device shows.

    Attributes:
        device: its registration.
        newest_ms: start of its newest window, or None.
        window_ms: length of a window.
        values: newest value of each metric.
        live: values are of the window that is still open, not the means of a snapshot.
        history: float64 [n] by metric, means over the windows of its last hour of data; NaN where one is missing.
        score: largest score of its newest windows, or None; 1 is the limit.
        units: unit that was sent with each metric, of devices whose type declares none.
    """

    device: Device
    newest_ms: int | None = None
    window_ms: int = 60_000
    values: dict[str, float] = field(default_factory=dict)
    live: bool = False
    history: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    score: float | None = None
    units: dict[str, str] = field(default_factory=dict)


def device_state(
    store: Store, device: Device, window_ms: int, at_ms: int, *, units: dict[str, str] | None = None
) -> DeviceState:
    """State of a device by two reads: its last hour of snapshots, its open window."""
    names = ("snapshot_time", "window_ms", "metrics", "anomaly_score")
    asked = TableSlice(Snapshot.TABLE, names, device.device_id, *_last_hour(device, window_ms))
    columns = gathered(names, store.scan(asked))  # columns, for a page of cards has a thousand windows
    times = np.array(columns["snapshot_time"], dtype=np.int64)
    maps = metric_maps(columns["metrics"])
    if maps is None:
        raise ValueError(f"snapshots of {device.device_id} have metrics that are no numbers")
    grid = maps.merged()
    lasted_ms = columns["window_ms"][-1] if len(times) else window_ms
    rows = (times - times[0]) // lasted_ms if len(times) else times
    history: dict[str, NDArray[np.float64]] = {}
    for name, of_it in sorted(zip(grid.names, grid.values.T, strict=True), key=lambda pair: pair[0]):
        history[name] = np.full(int(rows[-1]) + 1, np.nan)
        history[name][rows] = of_it
    newest = {name: float(of_it[-1]) for name, of_it in history.items() if of_it[-1] == of_it[-1]}
    scores = [score for score in columns["anomaly_score"][-RECENT_WINDOWS:] if score is not None]
    live = open_window(store, device, window_ms, at_ms)
    return DeviceState(
        device=device,
        newest_ms=int(times[-1]) if len(times) else None,
        window_ms=lasted_ms,
        values={**newest, **live},
        live=bool(live),
        history=history,
        score=max(scores, default=None),
        units=units or {},
    )


def _last_hour(device: Device, window_ms: int) -> tuple[int, int]:
    """The last hour of a device's data, or as long as thirty windows take."""
    return device.last_seen - max(HOUR_MS, 30 * window_ms), device.last_seen + 1


def usual_interval_ms(store: Store, device: Device, window_ms: int) -> int:
    """Usual distance of a device's windows in its last hour of data; a window's length where there are too few."""
    times = Snapshot.times(store, device.device_id, _last_hour(device, window_ms))
    return int(np.median(np.diff(times))) if len(times) > 2 else window_ms


def with_newest_event(store: Store, devices: Sequence[Device], settings: Settings) -> set[str]:
    """Those of some devices of which one of the newest windows is an event; detection lags a window or two behind them."""
    spans = {}
    for device in devices:
        window_ms = device.window(settings)
        newest = device.last_seen - device.last_seen % window_ms
        spans[device.device_id] = newest - RECENT_WINDOWS * window_ms, newest + window_ms
    return set(store.scan_spans(AnomalyEvent.TABLE, ("device_id",), spans)["device_id"])


def states_since(
    store: Store, spans: Mapping[str, tuple[int, int]], before: Mapping[str, Mapping[str, float]]
) -> tuple[list[tuple[str, dict[str, float]]], dict[str, tuple[int, int]]]:
    """Latest value of each metric after each instant at which devices were read, by device and time.

    And the last of those instants with the number of its readings, by device.

    Args:
        store: has the readings.
        spans: first instant included and first excluded of each device.
        before: latest values before them of each device.
    """
    columns = ("device_id", "timestamp", "metric_name", "metric_value")
    read = store.scan_spans(Reading.TABLE, columns, spans)
    found: list[tuple[str, dict[str, float]]] = []
    device_id, last = "", None
    values: dict[str, float] = {}
    last_of: dict[str, tuple[int, int]] = {}
    for of_device, at, name, value in zip(*(read[column] for column in columns), strict=True):
        if at != last or of_device != device_id:
            values = dict(values if of_device == device_id else before[of_device])
            device_id, last = of_device, at
            found.append((device_id, values))
            last_of[device_id] = at, 0
        last_of[device_id] = at, last_of[device_id][1] + 1
        values[name] = value
    return found, last_of


def open_incidents(store: Store) -> dict[str, list[Incident]]:
    """Open incidents of all devices by device, oldest first: one read."""
    found: dict[str, list[Incident]] = {}
    only = ("device_id", "started_at", "incident_id", "severity", "level", "urgency", "parent_id")
    for incident in Incident.read(store, only=only, equals={"status": "open"}, most=MOST_ROWS):
        found.setdefault(incident.device_id, []).append(incident)
    return found


def newest_incidents(
    store: Store, since_ms: int, severity: str | None, states: Mapping[str, State], state: str | None
) -> list[tuple[str, int]]:
    """Device and start of the incidents of all devices since an instant: what needs attention first, most urgent first.

    Rows are read when they are shown.

    Args:
        store: where from.
        since_ms: the instant.
        severity: only those of one severity.
        states: state by id of those that were ever handled, see :func:`incident_states`.
        state: only those in one state.
    """
    columns: dict[str, list[Any]] = {
        name: [] for name in ("device_id", "started_at", "incident_id", "severity", "urgency")
    }
    wanted = (("severity", severity),) if severity else ()
    for batch in store.scan(TableSlice(Incident.TABLE, tuple(columns), None, since_ms, equals=wanted)):
        for name, values in columns.items():
            values += batch[name]
    found = [
        (
            ATTENTION.get(there, len(ATTENTION)),
            -points_in_order(urgency, rank) if there in ATTENTION else 0.0,
            -started_at,
            device_id,
        )
        for device_id, started_at, incident_id, rank, urgency in zip(*columns.values(), strict=True)
        for there in [states.get(incident_id, State.PAST)]
        if not state or state == there
    ]
    return [(device_id, -started) for _, _, started, device_id in sorted(found)]


def incident_states(store: Store) -> dict[str, State]:
    """State of the incidents of all devices by id, of those that were ever handled: one read."""
    found: dict[str, State] = {}
    rows = TableSlice(IncidentHandling.TABLE, ("incident_id", "state"))
    for batch in store.scan(rows):
        found.update(zip(batch["incident_id"], map(State, batch["state"]), strict=True))
    return found


def incidents_of(store: Store, keys: Sequence[tuple[str, int]]) -> list[Incident]:
    """Incidents by device and start, those of them that are still there."""
    found = [Incident.first(store, device_id, (start_ms, start_ms + 1)) for device_id, start_ms in keys]
    return [incident for incident in found if incident is not None]


def open_window(store: Store, device: Device, window_ms: int, at_ms: int) -> dict[str, float]:
    """Latest values of the window of a device that its last reading is in; empty when that is an hour ago."""
    if device.last_seen <= at_ms - BUFFER_MS:
        return {}
    start = device.last_seen - device.last_seen % window_ms
    columns, window = ("metric_name", "metric_value"), (("window_start", start),)
    rows = TableSlice(LatestReading.TABLE, columns, device.device_id, equals=window)
    found: dict[str, float] = {}
    for batch in store.scan(rows, batch_rows=MOST_ROWS):
        found.update(zip(batch["metric_name"], batch["metric_value"], strict=True))
    return found


def with_open_window(
    snapshots: SnapshotSeries, latest: Mapping[str, float], device: Device, window_ms: int, end_ms: int
) -> SnapshotSeries:
    """Snapshots of a device, and the latest values of the window that is still open as one more, if they end there.

    Args:
        snapshots: of the device, up to an instant.
        latest: values of the window of its last reading, see :func:`open_window`.
        device: its registration.
        window_ms: length of a window.
        end_ms: that instant.
    """
    start = device.last_seen - device.last_seen % window_ms
    newest = int(snapshots.times_ms[-1]) if len(snapshots) else -1
    if not latest or start <= newest or start >= end_ms:
        return snapshots
    values = np.array([list(latest.values())])
    point = SnapshotSeries(
        device.device_id,
        device.device_type,
        np.array([start], dtype=np.int64),
        tuple(latest),
        *(values, np.ones_like(values, dtype=np.int64), values, values, values),
        window_ms=snapshots.window_ms if len(snapshots) else window_ms,
    )
    return joined([snapshots, point]) if len(snapshots) else point


def units_sent(store: Store, device: Device, window_ms: int) -> dict[str, str]:
    """Unit of each metric as the device's last readings had it."""
    start_ms = device.last_seen - max(window_ms, 60_000)
    found = Reading.read(
        store, device.device_id, (start_ms, device.last_seen + 1), only=("metric_name", "unit"), most=5_000
    )
    return {reading.metric_name: reading.unit or "" for reading in found}


def device_incidents(
    store: Store, device_id: str, start_ms: int | None = None, end_ms: int | None = None
) -> list[Incident]:
    """Incidents of a device that began in a span, oldest first."""
    return Incident.read(store, device_id, (start_ms, end_ms), most=MOST_ROWS)


def device_events(store: Store, device_id: str, start_ms: int, end_ms: int) -> list[AnomalyEvent]:
    """Anomalous windows of a device in a span, oldest first; without the values of its metrics."""
    only = AnomalyEvent.all_but("metrics_snapshot")
    return AnomalyEvent.read(store, device_id, (start_ms, end_ms), only=only, most=50_000)


def maintenance_within(store: Store, device_id: str, start_ms: int, end_ms: int) -> list[MaintenanceSpan]:
    """Maintenance of a device that reaches into [start_ms, end_ms)."""
    return [m for m in MaintenanceSpan.read(store, device_id) if m.starts_at < end_ms and m.ends_at > start_ms]


def method_scores(store: Store, device_id: str, start_ms: int, end_ms: int) -> dict[str, VerdictSeries]:
    """Verdicts on a device in a span, by method, in the order of the methods."""
    found = verdict_series(store, device_id, (start_ms, end_ms), most=200_000)
    return {name: found[name] for name in (*method_names(), *found) if name in found}


def completeness_of(store: Store, series: SnapshotSeries) -> Float64:
    """Share of its points that was read in each window of a series, float64 [n]; NaN of windows that are gone meanwhile."""
    found = np.full(len(series), np.nan)
    if not len(series):
        return found
    span = int(series.times_ms[0]), int(series.times_ms[-1]) + 1
    columns = ("snapshot_time", "completeness")
    for batch in store.scan(TableSlice(Snapshot.TABLE, columns, series.device_id, *span)):
        times = np.array(batch["snapshot_time"], dtype=np.int64)
        at = np.minimum(np.searchsorted(series.times_ms, times), len(found) - 1)
        there = series.times_ms[at] == times
        found[at[there]] = np.array(batch["completeness"], dtype=np.float64)[there]
    return found


def profile_row(store: Store, device_id: str) -> StoredProfile | None:
    """Profile of a device without its large columns, or None."""
    only = StoredProfile.all_but("profile_embedding", "detector", "energy")
    return StoredProfile.first(store, device_id, only=only)


def profile_history(store: Store, device_id: str) -> list[ProfileVersion]:
    """Versions of a device's profile, newest first, without what they hold."""
    return ProfileVersion.read(store, device_id, only=ProfileVersion.all_but("content"))[::-1]


def lasting_changes(store: Store, device_id: str) -> list[LastingChange]:
    """What was new on a device and lasted, newest first."""
    return LastingChange.read(store, device_id)[::-1]


def device_trends(store: Store, device_id: str) -> list[MetricTrend]:
    """Trends of a device's metrics, worn ones first, the strongest first."""
    found = MetricTrend.read(store, device_id, most=1_000)
    return sorted(found, key=lambda trend: (trend.since is None, -abs(trend.sigmas)))


def not_judged(scores: Mapping[str, VerdictSeries]) -> int:
    """Windows on which a method has said nothing, because too little was read of them."""
    return max((int(np.isnan(series.scores).sum()) for series in scores.values()), default=0)


def profiled_devices(store: Store) -> set[str]:
    """Devices that have a profile."""
    return {profile.device_id for profile in StoredProfile.read(store, only=("device_id",), most=200_000)}


# -- days ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DayReport:
    """Report of a device on a day, with the anomalous windows of each method."""

    device: DeviceReport
    by_method: dict[str, int]


def day_reports(store: Store, last_day: str, days: int) -> list[DayReport]:
    """Daily reports, newest day first: two reads a day."""
    found = []
    for back in range(days):
        day = {"date": days_before(last_day, back)}
        counts: dict[str, dict[str, int]] = {}
        for method in MethodReport.read(store, equals=day, most=MOST_ROWS):
            counts.setdefault(method.device_id, {})[method.method] = method.anomalous
        reports = DeviceReport.read(store, equals=day, most=MOST_ROWS)
        found += [DayReport(report, counts.get(report.device_id, {})) for report in reports]
    return found


# -- ingestion ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ingestion:
    """Log and ledger side by side.

    Attributes:
        partitions: each partition of the topic.
        per_minute: messages whose time lies in the last minute.
    """

    partitions: list[PartitionFlow]
    per_minute: int

    @property
    def lag(self) -> int:
        """Messages that are waiting, over all partitions."""
        return sum(p.waiting for p in self.partitions)

    @property
    def troubles(self) -> list[str]:
        """Partitions in which data don't flow, with the reason."""
        return [f"partition {p.partition}: {p.said or p.state}" for p in self.partitions if not p.ok]


def ingestion(log: MessageLog | None, store: Store | None, topic: str, at_ms: int | None = None) -> Ingestion | None:
    """Log and ledger side by side; None while there is no such topic."""
    if log is None:
        return None
    at = now_ms() if at_ms is None else at_ms
    try:
        partitions = flows(log, store, topic, at)
        ends, since = log.end_offsets(topic), log.offsets_for_time(topic, at - 60_000)
    except UnknownTopicError:
        return None
    recent = sum(max(0, ends[p] - start) for p, start in since.items() if start is not None and p in ends)
    return Ingestion(partitions, recent)


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """The newest rejected messages; ``complete`` is False where a day had too many to look through."""

    rows: list[DeadLetter]
    seen: int
    complete: bool


def dead_letters(store: Store, topic: str, last_day: str, *, most: int = MOST_DEAD_LETTERS) -> DeadLetters:
    """Newest rejected messages of the last week, with their bytes.

    Days are read from the newest back until there are enough. First without the bytes, at most 20,000 rows a day, then the
    bytes of the few that are shown, each by its key.
    """
    light = DeadLetter.all_but("record_key", "record_value")
    chosen: list[DeadLetter] = []
    seen, complete = 0, True
    for back in range(DEAD_LETTER_DAYS):
        day = {"topic": topic, "date": days_before(last_day, back)}
        found = DeadLetter.read(store, only=light, equals=day, most=MOST_ROWS)
        seen += len(found)
        complete &= len(found) < MOST_ROWS
        chosen += heapq.nlargest(most - len(chosen), found, key=lambda row: (row.record_time, row.record_offset))
        if len(chosen) >= most:
            break
    keys = [{name: getattr(row, name) for name in DEAD_LETTER_KEY} for row in chosen]
    whole = [DeadLetter.first(store, equals=key) for key in keys]
    return DeadLetters([letter for letter in whole if letter is not None], seen, complete)


def embedding_backlog(store: Store) -> list[BacklogDay]:
    """Device-days that wait for the encoder's server."""
    return BacklogDay.read(store, most=1_000)


def today(at_ms: int | None = None) -> str:
    """The UTC day."""
    return day_of(now_ms() if at_ms is None else at_ms)
