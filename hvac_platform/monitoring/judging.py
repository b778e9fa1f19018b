"""Judge a device's windows with the three methods, and turn verdicts into rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvac_platform.config import Settings
from hvac_platform.detection.consensus import votes
from hvac_platform.detection.neighbours import NEIGHBOURS, judge_neighbours
from hvac_platform.detection.profile import Profile, judge_profile
from hvac_platform.detection.rules import evaluate_rules, rule_lookback_ms
from hvac_platform.detection.verdicts import METHODS, Verdicts
from hvac_platform.devices.registry import DeviceType, device_type
from hvac_platform.embedding.base import Encoder
from hvac_platform.embedding.learned import Encoders
from hvac_platform.io_managers.slices import TableBatch
from hvac_platform.monitoring.maintenance import in_maintenance, maintenance_spans
from hvac_platform.monitoring.profiles import current_profile
from hvac_platform.monitoring.wide_devices import metrics_to_read
from hvac_platform.snapshots import SnapshotSeries
from hvac_platform.stores.base import Device, DeviceDay, Store, TableSlice
from hvac_platform.stores.series import read_series, select
from hvac_platform.streams.windows import complete_until
from hvac_platform.timestamps import day_windows

FIRST_DAY = "2000-01-01"
CONTEXT_WINDOWS = 3  # what an alarm by two of three windows looks back on
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
    return {t: r[0] for t, r in found.items() if len(r) == len(METHODS) and len(set(r)) == 1}


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
    begin_ms = start_ms - max(
        rule_lookback_ms(declared, settings.window_ms) if declared else 0, CONTEXT_WINDOWS * settings.window_ms
    )
    if profile is not None and profile.detector is not None:
        from hvac_platform.detection.learned import context_start

        begin_ms = min(begin_ms, context_start(start_ms, settings.window_ms))
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
    verdicts = _verdicts(store, device, series, chosen, profile, encoders) if len(chosen) else {}
    _silence(verdicts, in_maintenance(series.times_ms[chosen], maintenance_spans(store, device.device_id)))
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


def _verdicts(
    store: Store,
    device: Device,
    series: SnapshotSeries,
    chosen: NDArray[np.int64],
    profile: Profile | None,
    encoders: Encoders,
) -> dict[str, Verdicts]:
    """All three methods on the chosen rows, with the rows before them as context."""
    declared = device_type(device.device_type)
    until = int(chosen[-1]) + 1
    first = max(0, int(chosen[0]) - CONTEXT_WINDOWS)
    upto = select(series, np.arange(until))
    rules = _rows(evaluate_rules(upto, declared), chosen)
    if profile is None:
        return {"rules": rules, "profile": _silent("profile", rules), "vector": _silent("vector", rules)}
    recent, by_profile, bound = _judged_by_profile(upto, first, profile, encoders.common, declared)
    verdicts = {"rules": rules, "profile": _rows(by_profile, chosen - first)}
    embedded = np.zeros(len(recent), dtype=bool)
    if recent.embeddings is not None:
        embedded |= np.isfinite(recent.embeddings).all(axis=1)
    if profile.provisional or not embedded.any():
        verdicts["vector"] = _silent("vector", rules)
        return verdicts
    known = select(recent, embedded)
    assert known.embeddings is not None
    near = profile.calibration.exclude_ms
    found = store.nearest(
        device.device_id,
        known.embeddings,
        NEIGHBOURS,
        embedding_method=profile.embedding_method,
        start_ms=profile.span_start,
        end_ms=profile.span_end,
        normal_only=True,
        query_times_ms=known.times_ms,
        exclude_ms=near if int(known.times_ms[0]) - near < profile.span_end else 0,
    )
    judged = judge_neighbours(known, found, profile, bound=None if bound is None else bound[embedded])
    judged = _spread(judged, embedded, recent.times_ms)
    verdicts["vector"] = _rows(judged, chosen - first)
    return verdicts


def _judged_by_profile(
    upto: SnapshotSeries, first: int, profile: Profile, common: Encoder, declared: DeviceType | None
) -> tuple[SnapshotSeries, Verdicts, NDArray[np.float64] | None]:
    """The rows from ``first`` on with the embeddings that the profile compares, its verdicts, and a bound on scores.

    Learned embeddings are made here rather than read: those stored may be of an encoder that has been replaced since.
    """
    rows = np.arange(first, len(upto))
    recent = select(upto, rows)
    if profile.detector is None:
        if recent.embeddings is None:
            recent = replace(recent, embeddings=common.encode(recent))
        return recent, judge_profile(recent, profile, declared), None
    from hvac_platform.detection.learned import examine_windows, learned_verdicts

    wanted = np.zeros(len(upto), dtype=np.bool_)
    wanted[rows] = True
    learned = examine_windows(upto, wanted, profile.detector)
    recent = replace(recent, embeddings=learned.vectors)
    if profile.fixed:
        return recent, judge_profile(recent, profile, declared), learned.settling
    return recent, learned_verdicts(learned, profile.detector, declared), learned.settling


def _silence(verdicts: dict[str, Verdicts], mask: NDArray[np.bool_]) -> None:
    """Nothing alarms in the masked windows; scores stay as they are."""
    if not mask.any():
        return
    for method, v in verdicts.items():
        verdicts[method] = replace(
            v,
            anomalous=v.anomalous & ~mask,
            level=np.where(mask, 0, v.level).astype(np.int8),
            reasons=[() if quiet else reason for quiet, reason in zip(mask.tolist(), v.reasons, strict=True)],
            metrics=[() if quiet else names for quiet, names in zip(mask.tolist(), v.metrics, strict=True)],
        )


def _spread(verdicts: Verdicts, mask: NDArray[np.bool_], times_ms: NDArray[np.int64]) -> Verdicts:
    """Verdicts on the rows of a mask as verdicts on all rows: a snapshot without a vector is not suspicious for that."""
    n = len(mask)
    score, anomalous, level = np.zeros(n), np.zeros(n, dtype=bool), np.zeros(n, dtype=np.int8)
    reasons: list[tuple[str, ...]] = [()] * n
    metrics: list[tuple[str, ...]] = [()] * n
    score[mask], anomalous[mask], level[mask] = verdicts.score, verdicts.anomalous, verdicts.level
    for i, row in enumerate(np.flatnonzero(mask)):
        reasons[row], metrics[row] = verdicts.reasons[i], verdicts.metrics[i]
    return Verdicts(verdicts.method, times_ms, score, anomalous, level, reasons, metrics)


def _rows(verdicts: Verdicts, rows: NDArray[np.int64]) -> Verdicts:
    return Verdicts(
        verdicts.method,
        verdicts.times_ms[rows],
        verdicts.score[rows],
        verdicts.anomalous[rows],
        verdicts.level[rows],
        [verdicts.reasons[i] for i in rows],
        [verdicts.metrics[i] for i in rows],
    )


def _silent(method: str, like: Verdicts) -> Verdicts:
    """A method that has nothing to compare with yet."""
    n = len(like.times_ms)
    return Verdicts(
        method, like.times_ms, np.zeros(n), np.zeros(n, dtype=bool), np.zeros(n, dtype=np.int8), [()] * n, [()] * n
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
            "profile_version": [0 if method == "rules" else version] * n,
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
