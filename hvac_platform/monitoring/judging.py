"""Judge a device's windows with every method, and turn verdicts into rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvac_platform.config import Settings
from hvac_platform.detection import methods
from hvac_platform.detection.consensus import votes
from hvac_platform.detection.methods.base import Windows
from hvac_platform.detection.profile import Profile
from hvac_platform.detection.verdicts import Verdicts
from hvac_platform.devices.registry import device_type
from hvac_platform.embedding.learned import Encoders
from hvac_platform.ingestion.windows import complete_until
from hvac_platform.monitoring.maintenance import in_maintenance, maintenance_spans
from hvac_platform.monitoring.profiles import current_profile
from hvac_platform.monitoring.wide_devices import metrics_to_read
from hvac_platform.snapshots import Neighbours, SnapshotSeries, select
from hvac_platform.stores.base import Device, DeviceDay, Store, TableSlice
from hvac_platform.stores.batches import TableBatch
from hvac_platform.stores.series import read_series
from hvac_platform.timestamps import day_windows, iso

FIRST_DAY = "2000-01-01"
FOLLOWING_WINDOWS = 100
"""So many windows after one that has changed are judged again: the slowest average then holds 5 % of the change."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Verdicts of every method on some windows of one device.

    Attributes:
        device: the device.
        series: the n judged snapshots.
        verdicts: verdicts by method, each over those n snapshots.
        revisions: revision of each judged snapshot.
        was_flagged: bool [n], flagged by an earlier judgement.
        profile: the profile that they rest on, or None.
        left_open: windows that are not complete yet.
    """

    device: Device
    series: SnapshotSeries
    verdicts: dict[str, Verdicts]
    revisions: list[int]
    was_flagged: NDArray[np.bool_]
    profile: Profile | None
    left_open: int

    @property
    def anomalous(self) -> NDArray[np.bool_]:
        """Windows that any method calls anomalous, bool [n]."""
        return votes(self.verdicts) > 0 if self.verdicts else np.zeros(0, dtype=bool)


def first_reason(judgement: Judgement) -> tuple[str, str]:
    """Start of the first anomalous window, and what the first method that alarms says of it.

    Raises:
        ValueError: no window is anomalous.
    """
    rows = np.flatnonzero(judgement.anomalous)
    if not len(rows):
        raise ValueError(f"no window of {judgement.device.device_id} is anomalous")
    first = int(rows[0])
    said = [reason for v in judgement.verdicts.values() for reason in v.reasons[first]]
    return iso(int(judgement.series.times_ms[first])), said[0] if said else "no reason given"


def needs_judging(day: DeviceDay) -> bool:
    """Whether the snapshots of a device-day changed after it was last judged."""
    return day.snapshots_written_at is not None and day.snapshots_written_at >= (day.judged_at or 0)


def unjudged_days(store: Store, today: str) -> list[DeviceDay]:
    """Device-days, up to today, whose snapshots changed after they were last judged."""
    return [day for day in store.device_days(FIRST_DAY, today) if needs_judging(day)]


def completeness_limit(store: Store, device: Device, settings: Settings, now_ms: int) -> int:
    """Windows of the device that end at or before this instant are complete."""
    entry = store.ledger(settings.kafka_topic).get(device.kafka_partition)
    return complete_until(
        entry.watermark if entry else None,
        device.last_seen,
        now_ms,
        allowed_lateness_ms=settings.allowed_lateness_ms,
        silence_ms=settings.silence_ms,
    )


def judged_revisions(store: Store, device_id: str, start_ms: int, end_ms: int) -> dict[int, int]:
    """Revision that all methods have judged, by window start."""
    found: dict[int, list[int]] = {}
    rows = TableSlice("snapshot_verdicts", ("snapshot_time", "revision"), device_id, start_ms, end_ms)
    for batch in store.scan(rows):
        for time_ms, revision in zip(batch["snapshot_time"], batch["revision"], strict=True):
            found.setdefault(time_ms, []).append(revision)
    return {t: r[0] for t, r in found.items() if len(r) == len(methods.METHODS) and len(set(r)) == 1}


def has_unjudged(store: Store, settings: Settings, day: DeviceDay, now_ms: int) -> bool:
    """Whether a device-day has a complete window that not all methods have judged as it now is."""
    device = next((d for d in store.devices() if d.device_id == day.device_id), None)
    if device is None:
        return False
    start_ms, end_ms = day_windows(day.date, settings.window_ms)
    limit = completeness_limit(store, device, settings, now_ms)
    judged = judged_revisions(store, day.device_id, start_ms, end_ms)
    rows = TableSlice(
        "device_state_snapshots", ("snapshot_time", "window_ms", "revision"), day.device_id, start_ms, end_ms
    )
    return any(
        time_ms + window_ms <= limit and judged.get(time_ms) != revision
        for batch in store.scan(rows)
        for time_ms, window_ms, revision in zip(
            batch["snapshot_time"], batch["window_ms"], batch["revision"], strict=True
        )
    )


def judge_device(
    store: Store,
    device: Device,
    encoders: Encoders,
    settings: Settings,
    start_ms: int,
    end_ms: int,
    *,
    now_ms: int,
    unjudged_only: bool = False,
    similarity_threshold: float | None = None,
    sigma_threshold: float | None = None,
) -> Judgement:
    """Judge a device's complete windows that start in [start_ms, end_ms).

    Args:
        store: where snapshots, profile and history are.
        device: whose windows.
        encoders: of all devices.
        settings: lateness and silence decide which windows are complete.
        start_ms: first window start included.
        end_ms: first one excluded.
        now_ms: the present.
        unjudged_only: only windows whose current revision not all methods have judged, and those that rest on one.
        similarity_threshold: fixed limit in place of the calibrated one.
        sigma_threshold: likewise.
    """
    declared = device_type(device.device_type)
    profile = current_profile(store, device, encoders)
    if profile is not None:
        profile = profile.with_limits(similarity_threshold, sigma_threshold)
    begin_ms = min(method.context_start(start_ms, settings.window_ms, declared, profile) for method in methods.METHODS)
    series, extra = read_series(
        store,
        device.device_id,
        device.device_type,
        begin_ms,
        end_ms,
        embeddings=not encoders.learned,
        embedding_method=encoders.common.method,
        extra=("revision", "is_anomalous"),
        metrics=metrics_to_read(store, device, begin_ms, end_ms, profile),
    )
    limit = completeness_limit(store, device, settings, now_ms)
    wanted = series.times_ms >= start_ms
    complete = series.times_ms + series.window_ms <= limit
    left_open = int((wanted & ~complete).sum())
    wanted &= complete
    revisions = np.array(extra["revision"], dtype=np.int64)
    if unjudged_only and wanted.any():
        judged = judged_revisions(store, device.device_id, start_ms, end_ms)
        known = np.array([judged.get(int(t), -1) for t in series.times_ms], dtype=np.int64)
        changed = wanted & (known != revisions)
        wanted &= _soon_after(changed, FOLLOWING_WINDOWS)
    chosen = np.flatnonzero(wanted)
    verdicts: dict[str, Verdicts] = {}
    if len(chosen):
        upto = select(series, np.arange(int(chosen[-1]) + 1))
        windows = Windows(upto, chosen, declared, profile, encoders.common.encode)
        history = StoredHistory(store, device.device_id, profile)
        muted = in_maintenance(windows.times_ms, maintenance_spans(store, device.device_id))
        verdicts = {m.name: m.judge(windows, history, None)[0].mute(muted) for m in methods.METHODS}
    flags = np.array([bool(flag) for flag in extra["is_anomalous"]], dtype=bool)
    return Judgement(
        device, select(series, chosen), verdicts, revisions[chosen].tolist(), flags[chosen], profile, left_open
    )


def _soon_after(mask: NDArray[np.bool_], rows: int) -> NDArray[np.bool_]:
    """Rows of a mask, and up to so many that follow one, bool [n].

    >>> _soon_after(np.array([False, True, False, False, False, True]), 2).astype(int)
    array([0, 1, 1, 1, 0, 1])
    """
    positions = np.arange(len(mask))
    last = np.maximum.accumulate(np.where(mask, positions, -rows - 1))
    return positions - last <= rows


@dataclass(frozen=True, slots=True)
class StoredHistory:
    """A device's own past as the store has it, for methods that search it.

    Attributes:
        store: where it is.
        device_id: the device.
        profile: says which span is searched, under which encoder, and how far from a window its own past begins.
    """

    store: Store
    device_id: str
    profile: Profile | None

    def nearest_normal(self, embeddings: NDArray[np.float32], times_ms: NDArray[np.int64], k: int) -> Neighbours:
        """See :class:`hvac_platform.detection.methods.base.History`.

        Raises:
            ValueError: the device has no profile.
        """
        if self.profile is None:
            raise ValueError(f"{self.device_id} has no profile: nothing is known to be normal")
        near = self.profile.calibration.exclude_ms
        return self.store.nearest(
            self.device_id,
            embeddings,
            k,
            embedding_method=self.profile.embedding_method,
            start_ms=self.profile.span_start,
            end_ms=self.profile.span_end,
            normal_only=True,
            query_times_ms=times_ms,
            exclude_ms=near if int(times_ms[0]) - near < self.profile.span_end else 0,
        )


def judgement_batches(judgement: Judgement) -> Iterator[TableBatch]:
    """Rows of verdicts, events and flags; running it again rewrites the same rows.

    Verdicts come last: they are what says that a window is judged, so a crash before them means that it is judged again.
    An event is taken back before its flag is, for the flag is how the next judgement knows of it.
    """
    n = len(judgement.series)
    if not n:
        return
    device_id, times = judgement.device.device_id, judgement.series.times_ms
    flagged = judgement.anomalous
    scores = np.max([v.score for v in judgement.verdicts.values()], axis=0)
    cleared = np.flatnonzero(judgement.was_flagged & ~flagged)
    if len(cleared):
        taken_back = {"device_id": [device_id] * len(cleared), "detected_at": times[cleared]}
        yield TableBatch(taken_back, "anomaly_events", "delete")
    yield TableBatch(
        {"device_id": [device_id] * n, "snapshot_time": times, "is_anomalous": flagged, "anomaly_score": scores},
        table="device_state_snapshots",
        action="update",
    )
    if flagged.any():
        yield TableBatch(event_columns(judgement, np.flatnonzero(flagged), scores))
    yield verdict_batch(judgement)


def verdict_batch(judgement: Judgement) -> TableBatch:
    """Rows of ``snapshot_verdicts``: every method's verdict on every window, normal ones too."""
    n = len(judgement.series)
    columns: dict[str, list[Any]] = {}
    version = judgement.profile.version if judgement.profile else 0
    for method, verdicts in judgement.verdicts.items():
        part: dict[str, list[Any]] = {
            "device_id": [judgement.device.device_id] * n,
            "snapshot_time": verdicts.times_ms.tolist(),
            "method": [method] * n,
            "score": verdicts.score.tolist(),
            "anomalous": verdicts.anomalous.tolist(),
            "level": verdicts.level.tolist(),
            "reasons": verdicts.reasons,
            "metrics": verdicts.metrics,
            "profile_version": [0 if methods.knows_limits(method) else version] * n,
            "revision": judgement.revisions,
        }
        for name, values in part.items():
            columns.setdefault(name, []).extend(values)
    return TableBatch(columns, table="snapshot_verdicts")


def event_columns(judgement: Judgement, rows: NDArray[np.int64], scores: NDArray[np.float64]) -> dict[str, list[Any]]:
    """Rows of ``anomaly_events`` for the anomalous windows."""
    device, series = judgement.device, judgement.series
    columns: dict[str, list[Any]] = {
        name: [] for name in ("event_id", "anomaly_type", "methods", "level", "reasons", "metrics", "metrics_snapshot")
    }
    for i in rows.tolist():
        firing = [v for v in judgement.verdicts.values() if v.anomalous[i]]
        methods = [v.method for v in firing]
        columns["event_id"].append(f"{device.device_id}/{int(series.times_ms[i])}")
        columns["anomaly_type"].append("consensus" if len(methods) > 1 else methods[0])
        columns["methods"].append(methods)
        columns["level"].append(min(int(v.level[i]) for v in firing))
        columns["reasons"].append([reason for v in firing for reason in v.reasons[i]])
        columns["metrics"].append(list(dict.fromkeys(name for v in firing for name in v.metrics[i])))
        columns["metrics_snapshot"].append(
            {
                name: value
                for name, value in zip(series.metric_names, series.mean[i].tolist(), strict=True)
                if value == value
            }
        )
    n = len(rows)
    return {
        "device_id": [device.device_id] * n,
        "detected_at": series.times_ms[rows].tolist(),
        "anomaly_score": scores[rows].tolist(),
        "device_type": [device.device_type] * n,
        "location": [device.location] * n,
        "building_id": [device.building_id] * n,
        **columns,
    }
