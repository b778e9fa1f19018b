"""What the pages read: rows of the store, each question with a bound on what it may cost.

Every read names the partitions it wants (a device, a day), so it is one short query on a server too.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvac_platform.detection.methods import method_names
from hvac_platform.ingestion.flow import PartitionFlow, flows
from hvac_platform.log.base import MessageLog, UnknownTopicError
from hvac_platform.stores.base import Device, Store, TableSlice
from hvac_platform.timestamps import DAY_MS, day_of, days_before, now_ms, parse_instant

HOUR_MS = 3_600_000
INCIDENT_DAYS = 30
RECENT_WINDOWS = 5
"""Detection lags a window or two behind, so the state of a device is that of its newest few windows."""
MOST_ROWS = 20_000
MOST_DEAD_LETTERS = 25
DEAD_LETTER_DAYS = 7
BUFFER_MS = HOUR_MS

Row = dict[str, Any]

INCIDENT_COLUMNS = (
    *("device_id", "started_at", "ended_at", "incident_id", "status", "severity", "level", "windows", "peak_score"),
    *("methods", "rules", "metrics", "reasons", "signature", "kinds", "similar", "scope", "cause", "excess_kwh"),
    *("updated_at", "label"),
)
SEVERITIES = ("critical", "warning", "info")


def rows_of(store: Store, wanted: TableSlice, most: int = MOST_ROWS) -> list[Row]:
    """Rows of a slice as dictionaries, so many at most."""
    return list(islice(_rows(store, wanted, min(most, 5_000)), most))


def _rows(store: Store, wanted: TableSlice, batch_rows: int) -> Iterable[Row]:
    for batch in store.scan(wanted, batch_rows=batch_rows):
        names = list(batch)
        for values in zip(*batch.values(), strict=True):
            yield dict(zip(names, values, strict=True))


# -- one device ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DeviceState:
    """How one device is doing.

    Attributes:
        device: its registration.
        newest_ms: start of its newest window, or None.
        window_ms: length of a window.
        values: newest value of each metric.
        live: values are of the window that is still open, not the means of a snapshot.
        times_ms: int64 [n], window starts of its last hour of data.
        history: float64 [n] by metric, means over those windows.
        anomalous: one of its newest windows is flagged.
        score: largest score of those windows, or None; 1 is the limit.
        incidents: its incidents of the last 30 days, oldest first.
        units: unit that was sent with each metric, of devices whose type declares none.
    """

    device: Device
    newest_ms: int | None = None
    window_ms: int = 60_000
    values: dict[str, float] = field(default_factory=dict)
    live: bool = False
    times_ms: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    history: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    anomalous: bool = False
    score: float | None = None
    incidents: list[Row] = field(default_factory=list)
    units: dict[str, str] = field(default_factory=dict)

    @property
    def open_incidents(self) -> list[Row]:
        """Incidents that may still go on."""
        return [incident for incident in self.incidents if incident["status"] == "open"]

    @property
    def worst(self) -> str | None:
        """Severity of the worst open incident."""
        found = {incident["severity"] for incident in self.open_incidents}
        return next((severity for severity in SEVERITIES if severity in found), None)

    @property
    def interval_ms(self) -> int:
        """Usual distance of its windows, so that a device that reports every hour is not silent after two minutes."""
        return int(np.median(np.diff(self.times_ms))) if len(self.times_ms) > 2 else self.window_ms


def device_state(
    store: Store, device: Device, window_ms: int, at_ms: int, *, units: dict[str, str] | None = None
) -> DeviceState:
    """State of a device by at most three reads: its last hour of snapshots, its open window, its incidents."""
    span_ms = max(HOUR_MS, 30 * window_ms)
    columns = ("snapshot_time", "window_ms", "metrics", "is_anomalous", "anomaly_score")
    wanted = TableSlice(
        "device_state_snapshots", columns, device.device_id, device.last_seen - span_ms, device.last_seen + 1
    )
    snapshots = rows_of(store, wanted, 4_000)
    times = np.array([row["snapshot_time"] for row in snapshots], dtype=np.int64)
    names = sorted({name for row in snapshots for name in row["metrics"]})
    history = {name: np.array([row["metrics"].get(name, np.nan) for row in snapshots]) for name in names}
    newest = snapshots[-RECENT_WINDOWS:]
    scores = [row["anomaly_score"] for row in newest if row["anomaly_score"] is not None]
    live = open_window(store, device, window_ms, at_ms)
    return DeviceState(
        device=device,
        newest_ms=int(times[-1]) if len(times) else None,
        window_ms=int(snapshots[-1]["window_ms"]) if snapshots else window_ms,
        values={**(dict(snapshots[-1]["metrics"]) if snapshots else {}), **live},
        live=bool(live),
        times_ms=times,
        history=history,
        anomalous=any(bool(row["is_anomalous"]) for row in newest),
        score=max(scores, default=None),
        incidents=device_incidents(store, device.device_id, at_ms - INCIDENT_DAYS * DAY_MS),
        units=units or {},
    )


def open_window(store: Store, device: Device, window_ms: int, at_ms: int) -> dict[str, float]:
    """Latest values of the window of a device that its last reading is in; empty when that is an hour ago."""
    if device.last_seen <= at_ms - BUFFER_MS:
        return {}
    start = device.last_seen - device.last_seen % window_ms
    wanted = TableSlice(
        "metric_aggregation_buffer",
        ("metric_name", "metric_value"),
        device.device_id,
        equals=(("window_start", start),),
    )
    return {row["metric_name"]: row["metric_value"] for row in rows_of(store, wanted)}


def units_sent(store: Store, device: Device, window_ms: int) -> dict[str, str]:
    """Unit of each metric as the device's last readings had it."""
    start_ms = device.last_seen - max(window_ms, 60_000)
    wanted = TableSlice("device_metrics_raw", ("metric_name", "unit"), device.device_id, start_ms, device.last_seen + 1)
    return {row["metric_name"]: row["unit"] or "" for row in rows_of(store, wanted, 5_000)}


def device_incidents(store: Store, device_id: str, start_ms: int | None = None, end_ms: int | None = None) -> list[Row]:
    """Incidents of a device that began in a span, oldest first."""
    return rows_of(store, TableSlice("incidents", INCIDENT_COLUMNS, device_id, start_ms, end_ms))


def device_events(store: Store, device_id: str, start_ms: int, end_ms: int) -> list[Row]:
    """Anomalous windows of a device in a span, oldest first."""
    columns = ("detected_at", "anomaly_score", "anomaly_type", "methods", "level", "reasons", "metrics")
    return rows_of(store, TableSlice("anomaly_events", columns, device_id, start_ms, end_ms), 50_000)


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of the methods on the n judged windows of a device: int64 [n], float64 [n] and bool [n] by method."""

    times_ms: dict[str, NDArray[np.int64]]
    scores: dict[str, NDArray[np.float64]]
    anomalous: dict[str, NDArray[np.bool_]]


def method_scores(store: Store, device_id: str, start_ms: int, end_ms: int) -> Scores:
    """Scores of a device in a span, by method."""
    columns = ("snapshot_time", "method", "score", "anomalous")
    found: dict[str, list[tuple[int, float, bool]]] = {}
    for row in rows_of(store, TableSlice("snapshot_verdicts", columns, device_id, start_ms, end_ms), 200_000):
        score = np.nan if row["score"] is None else row["score"]
        found.setdefault(row["method"], []).append((row["snapshot_time"], score, bool(row["anomalous"])))
    names = method_names()
    known = [*[m for m in names if m in found], *sorted(set(found) - set(names))]
    return Scores(
        {m: np.array([t for t, _, _ in found[m]], dtype=np.int64) for m in known},
        {m: np.array([s for _, s, _ in found[m]], dtype=np.float64) for m in known},
        {m: np.array([a for _, _, a in found[m]], dtype=np.bool_) for m in known},
    )


PROFILE_COLUMNS = (
    *("device_id", "embedding_method", "metric_stats", "calibration", "profile_version", "snapshot_count"),
    *("span_start", "span_end", "profile_created_at", "profile_updated_at", "fit", "modes"),
)


def profile_row(store: Store, device_id: str) -> Row | None:
    """Profile of a device without its large columns, or None."""
    found = rows_of(store, TableSlice("device_profiles", PROFILE_COLUMNS, device_id), 1)
    return found[0] if found else None


def device_trends(store: Store, device_id: str) -> list[Row]:
    """Trends of a device's metrics, worn ones first, the strongest first."""
    found = rows_of(store, TableSlice("metric_trends", (), device_id), 1_000)
    return sorted(found, key=lambda row: (row["since"] is None, -abs(row["sigmas"])))


def profiled_devices(store: Store) -> set[str]:
    """Devices that have a profile."""
    return {row["device_id"] for row in rows_of(store, TableSlice("device_profiles", ("device_id",)), 200_000)}


# -- days ---------------------------------------------------------------------------------------------------------------


def report_rows(store: Store, last_day: str, days: int) -> list[Row]:
    """Daily reports, newest day first: two reads a day. ``by_method`` has the anomalous windows of each method."""
    found = []
    for back in range(days):
        day = (("date", days_before(last_day, back)),)
        counts: dict[str, dict[str, int]] = {}
        for row in rows_of(store, TableSlice("method_reports", ("device_id", "method", "anomalous"), equals=day)):
            counts.setdefault(row["device_id"], {})[row["method"]] = row["anomalous"]
        found += [
            row | {"by_method": counts.get(row["device_id"], {})}
            for row in rows_of(store, TableSlice("detection_reports", equals=day))
        ]
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

    rows: list[Row]
    seen: int
    complete: bool


def dead_letters(store: Store, topic: str, last_day: str, *, most: int = MOST_DEAD_LETTERS) -> DeadLetters:
    """Newest rejected messages of the last week, with their bytes.

    Days are read from the newest back until there are enough. First without the bytes, at most 20,000 rows a day, then the
    bytes of the few that are shown, each by its key.
    """
    light = ("kafka_partition", "record_offset", "record_time", "reason", "rejected_at")
    chosen: list[tuple[str, Row]] = []
    seen, complete = 0, True
    for back in range(DEAD_LETTER_DAYS):
        date = days_before(last_day, back)
        found = rows_of(store, TableSlice("dead_letters", light, equals=(("topic", topic), ("date", date))))
        seen += len(found)
        complete &= len(found) < MOST_ROWS
        newest = heapq.nlargest(most - len(chosen), found, key=lambda row: (row["record_time"], row["record_offset"]))
        chosen += [(date, row) for row in newest]
        if len(chosen) >= most:
            break
    return DeadLetters([_with_bytes(store, topic, date, row) for date, row in chosen], seen, complete)


def _with_bytes(store: Store, topic: str, date: str, row: Row) -> Row:
    key = (
        ("topic", topic),
        ("date", date),
        ("kafka_partition", row["kafka_partition"]),
        ("record_offset", row["record_offset"]),
    )
    found = rows_of(store, TableSlice("dead_letters", ("record_key", "record_value"), equals=key), 1)
    return {**row, **(found[0] if found else {"record_key": None, "record_value": None})}


def embedding_backlog(store: Store) -> list[Row]:
    """Device-days that wait for the encoder's server."""
    return rows_of(store, TableSlice("embedding_backlog"), 1_000)


def today(at_ms: int | None = None) -> str:
    """The UTC day."""
    return day_of(now_ms() if at_ms is None else at_ms)


# -- loosely shaped columns ---------------------------------------------------------------------------------------------


def likelihoods(kinds: Any) -> list[tuple[str, float | None]]:
    """Kinds of fault with their similarity, however they are written: a map, pairs, objects or names.

    >>> likelihoods({"low flow": 0.9}), likelihoods([["low flow", 0.9]]), likelihoods([{"kind": "low flow", "cosine": 1}])
    ([('low flow', 0.9)], [('low flow', 0.9)], [('low flow', 1.0)])
    """
    if isinstance(kinds, Mapping):
        pairs = [(str(name), _number(value)) for name, value in kinds.items()]
        return sorted(pairs, key=lambda pair: -(pair[1] or 0.0))
    found: list[tuple[str, float | None]] = []
    for kind in kinds or []:
        if isinstance(kind, Mapping):
            values = list(kind.values())
            name = next((v for v in values if isinstance(v, str)), "")
            found.append((name, next((_number(v) for v in values if _number(v) is not None), None)))
        elif isinstance(kind, list | tuple) and kind:
            found.append((str(kind[0]), _number(kind[1]) if len(kind) > 1 else None))
        else:
            found.append((str(kind), None))
    return found


def incident_key(incident_id: str) -> tuple[str, int] | None:
    """Device and start of an incident's id, 'device/start'; None where it is not one.

    >>> incident_key("a/b/86400000"), incident_key("a/1970-01-02T00:00:00Z"), incident_key("a")
    (('a/b', 86400000), ('a', 86400000), None)
    """
    device_id, _, start = incident_id.rpartition("/")
    if not device_id:
        return None
    if start.isdigit():
        return device_id, int(start)
    try:
        return device_id, parse_instant(start)
    except ValueError:
        return None


def similar_incidents(similar: Any) -> list[tuple[str, int, float | None]]:
    """Device, start and similarity of past incidents, however they are written.

    >>> similar_incidents([{"incident": "a/86400000", "similarity": 0.9}, ["b/0", 0.5]])
    [('a', 86400000, 0.9), ('b', 0, 0.5)]
    >>> similar_incidents([{"device_id": "a", "started_at": 5, "similarity": 1}])
    [('a', 5, 1.0)]
    """
    found = []
    entries = list(similar.items()) if isinstance(similar, Mapping) else similar or []
    for entry in entries:
        if isinstance(entry, Mapping) and "device_id" in entry and _number(entry.get("started_at")) is not None:
            found.append((str(entry["device_id"]), int(entry["started_at"]), _number(entry.get("similarity"))))
            continue
        ((name, likeness),) = likelihoods([entry])
        key = incident_key(name)
        if key is not None:
            found.append((*key, likeness))
    return found


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
