"""Judge a device's windows with every method, and turn verdicts into rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvac_platform.config import Settings
from hvac_platform.detection import methods
from hvac_platform.detection.consensus import votes
from hvac_platform.detection.methods.base import Due, JudgesTogether, Windows, examine_together
from hvac_platform.detection.pace import last_readings, stale
from hvac_platform.detection.profile import Profile
from hvac_platform.detection.verdicts import Verdicts
from hvac_platform.devices.registry import device_type
from hvac_platform.embedding.learned import Encoders
from hvac_platform.monitoring.kept import Kept, KeptDevices, KeptStates
from hvac_platform.monitoring.maintenance import in_maintenance
from hvac_platform.monitoring.pending import completeness_limits, unjudged_windows
from hvac_platform.monitoring.points import points_of
from hvac_platform.monitoring.profiles import current_profile
from hvac_platform.monitoring.wide_devices import metrics_to_read
from hvac_platform.snapshots import Neighbours, SnapshotSeries, select
from hvac_platform.stores.base import Device, Store
from hvac_platform.stores.batches import TableBatch
from hvac_platform.stores.records import MaintenanceSpan, profile_updated_at, profiles_updated_at
from hvac_platform.stores.series import WindowStates, joined, read_newest, read_series_and_states
from hvac_platform.timestamps import iso

NAMED_POINTS = 4
"""Points that are named where most of a device's have stopped."""
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
        profile_version: of the profile that they rest on; 0 where none was learned.
        left_open: windows that are not complete yet.
        stopped: whether a point of the device had stopped in any of the windows.
    """

    device: Device
    series: SnapshotSeries
    verdicts: dict[str, Verdicts]
    revisions: list[int]
    was_flagged: NDArray[np.bool_]
    profile_version: int
    left_open: int
    stopped: bool = False

    @property
    def anomalous(self) -> NDArray[np.bool_]:
        """Windows that any method calls anomalous, bool [n]."""
        return votes(self.verdicts) > 0 if self.verdicts else np.zeros(0, dtype=bool)

    @property
    def not_judged(self) -> int:
        """Windows of which too little was read to judge them."""
        unjudged = np.zeros(len(self.series), dtype=np.bool_)
        for verdicts in self.verdicts.values():
            unjudged |= ~verdicts.judged
        return int(unjudged.sum())


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


@dataclass(frozen=True, slots=True)
class Ready:
    """Windows of one device that are to be judged, with all that this takes.

    Attributes:
        device: the device.
        profile: what they are judged by, or None.
        left_open: windows that are not complete yet.
        series: the n snapshots to judge.
        revisions: revision of each of them.
        was_flagged: bool [n], flagged by an earlier judgement.
        windows: the same with what came before them; None where there is nothing to judge.
        history: the device's past.
        muted: bool [n], windows in maintenance.
        own: what this process keeps of the device, or None.
        read_from: start of the span that ``windows`` are all windows of, epoch milliseconds.
        unread: why a window is not judged, an empty text where enough was read of it; n texts.
        stopped: whether a point of the device had stopped in any of the windows.
    """

    device: Device
    profile: Profile | None
    left_open: int
    series: SnapshotSeries
    revisions: list[int]
    was_flagged: NDArray[np.bool_]
    windows: Windows | None
    history: StoredHistory
    muted: NDArray[np.bool_]
    own: Kept | None
    read_from: int
    unread: Sequence[str]
    stopped: bool

    def judge(self, said: Mapping[str, Verdicts] | None = None) -> Judgement:
        """The judgement of every method.

        Args:
            said: verdicts of methods that have judged these windows together with those of other devices, by method.
        """
        windows, verdicts = self.windows, dict[str, Verdicts]()
        if windows is not None:
            too_little = np.array([bool(why) for why in self.unread], dtype=np.bool_)
            reasons = [(why,) for why in self.unread]
            for method in methods.METHODS:
                known = (said or {}).get(method.name)
                found = method.judge(windows, self.history, None)[0] if known is None else known
                limits = methods.knows_limits(method.name)  # what a rule sees in what was read still alarms
                verdicts[method.name] = found.leave(too_little, reasons, keep_alarms=limits).mute(self.muted)
            if self.own is not None:
                self.own.carried = windows.examined.carried if windows.examined is not None else None
                self.own.recent, self.own.recent_from = windows.series, self.read_from
                since = int(windows.chosen[0]) if self.own.last_read_ms else 0  # what was before is known
                newer = select(windows.series, slice(since, None))
                self.own.last_read_ms = last_readings(newer, self.own.last_read_ms)
        return Judgement(
            *(self.device, self.series, verdicts, self.revisions, self.was_flagged),
            self.profile.version if self.profile else 0,
            self.left_open,
            stopped=self.stopped,
        )


def judge_together(ready: Sequence[Ready]) -> list[dict[str, Verdicts]]:
    """What those methods say that judge many devices at once, of each device by method; nothing where that failed."""
    said: list[dict[str, Verdicts]] = [{} for _ in ready]
    some = [i for i, one in enumerate(ready) if one.windows is not None]
    if len(some) < 2:
        return said
    many = [windows for i in some if (windows := ready[i].windows) is not None]
    with suppress(Exception):  # of one device, which shows when it is judged by itself
        examine_together(many)
    for method in methods.METHODS:
        if isinstance(method, JudgesTogether):
            with suppress(Exception):  # of one device, which shows when each is judged by itself
                for i, verdicts in zip(some, method.judge_together(many), strict=True):
                    said[i][method.name] = verdicts
    return said


@dataclass(frozen=True, slots=True)
class Common:
    """What is asked of every device, read once for many of them.

    Attributes:
        limits: by device, windows that end at or before this instant are complete.
        profiles_made: by device, when its profile was made, epoch milliseconds.
        maintenance: by device, work on it that is known of.
        newest: by device, the windows behind those that are kept of it, and the span that those are all windows of.
    """

    limits: Mapping[str, int]
    profiles_made: Mapping[str, int]
    maintenance: Mapping[str, Sequence[MaintenanceSpan]]
    newest: Mapping[str, tuple[tuple[int, int], tuple[SnapshotSeries, WindowStates]]]

    def windows(self, device_id: str, begin_ms: int, end_ms: int) -> tuple[SnapshotSeries, WindowStates] | None:
        """The windows of a device between two instants, where those were read."""
        found = self.newest.get(device_id)
        if found is None:
            return None
        (begin, end), (series, states) = found
        if begin != begin_ms or end < end_ms:
            return None
        n = int(np.searchsorted(series.times_ms, end_ms))
        return select(series, slice(0, n)), states.first(n)


def read_common(
    store: Store,
    devices: Sequence[Device],
    encoders: Encoders,
    settings: Settings,
    now_ms: int,
    kept: KeptDevices | None = None,
) -> Common:
    """Read it for some devices."""
    limits = completeness_limits(store, devices, settings, now_ms)
    spans = kept.next_windows(devices, limits) if kept is not None else {}
    types = {device.device_id: device.device_type for device in devices}
    newest: dict[str, tuple[tuple[int, int], tuple[SnapshotSeries, WindowStates]]] = {}
    with suppress(ValueError):  # what one device's rows hold is told where that device is read by itself
        read = read_newest(
            *(store, spans, types), embeddings=not encoders.learned, embedding_method=encoders.common.method
        )
        newest = {device_id: (spans[device_id], found) for device_id, found in read.items()}
    maintenance: dict[str, list[MaintenanceSpan]] = {}
    for span in MaintenanceSpan.read(store):
        maintenance.setdefault(span.device_id, []).append(span)
    return Common(
        limits,
        profiles_updated_at(store),
        maintenance,
        newest,
    )


def ready_to_judge(
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
    kept: KeptDevices | None = None,
    common: Common | None = None,
) -> Ready:
    """Read a device's complete windows that start in [start_ms, end_ms), and what it takes to judge them.

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
        kept: what this process keeps of the devices that it judges again and again; the verdicts are the same without.
        common: what was read for many devices at once; read for this one when absent.
    """
    declared, window_ms = device_type(device.device_type), device.window(settings)
    made = profile_updated_at(store, device.device_id) if common is None else common.profiles_made.get(device.device_id)
    own = kept.of(device, encoders, settings, made) if kept is not None else None
    profile = own.profile if own is not None else current_profile(store, device, encoders, settings)
    if profile is not None:
        profile = profile.with_limits(similarity_threshold, sigma_threshold)
        declared = profile.judging_type(declared)
    limits = completeness_limits(store, [device], settings, now_ms) if common is None else common.limits
    limit = limits[device.device_id]
    first_ms, left_open, changed = start_ms, 0, np.zeros(0, dtype=np.int64)
    if unjudged_only:
        changed, still_open = unjudged_windows(store, device.device_id, start_ms, end_ms, limit)
        left_open = len(still_open)
        if not len(changed):
            return _nothing(store, device, window_ms, profile, left_open)
        first_ms = int(changed[0])
        end_ms = min(end_ms, limit, int(changed[-1]) + (FOLLOWING_WINDOWS + 1) * window_ms)
    carried = own.carried if own is not None else None
    last_ms = int(changed[-1]) if unjudged_only else min(end_ms, limit) - window_ms
    if carried is not None and not carried.leads_to(first_ms, max(first_ms, last_ms), window_ms):
        carried = None
    due = Due(first_ms, window_ms, declared, profile, carried)
    begin_ms = min(method.context_start(due) for method in methods.METHODS)
    goes_on = own is not None and (carried is not None or own.leads_to(first_ms)) and own.recent_from <= begin_ms
    before = own.recent if own is not None and goes_on else None
    read_from = begin_ms if before is None else int(before.times_ms[-1]) + 1
    read = common.windows(device.device_id, read_from, end_ms) if common is not None else None
    if read is None:
        look = partial(metrics_to_read, store, device, begin_ms, end_ms, profile)
        read = read_series_and_states(
            store,
            device.device_id,
            device.device_type,
            read_from,
            end_ms,
            embeddings=not encoders.learned,
            embedding_method=encoders.common.method,
            metrics=look() if own is None else own.metrics_to_read(look),
            most_windows=(end_ms - read_from) // window_ms + 1,
        )
    series, states = read
    if before is not None:
        before = select(before, slice(int(np.searchsorted(before.times_ms, begin_ms)), None))
        states = states.after(len(before))  # those are judged already
        series = joined([before, series]) if len(series) else before
    newest_ms = int(series.times_ms[-1]) if len(series) else first_ms
    if own is not None and carried is not None and not carried.leads_to(first_ms, newest_ms, window_ms):
        own.carried = None  # windows that follow reach beyond what it leads to
        return ready_to_judge(
            *(store, device, encoders, settings, start_ms, end_ms),
            now_ms=now_ms,
            unjudged_only=unjudged_only,
            similarity_threshold=similarity_threshold,
            sigma_threshold=sigma_threshold,
            kept=kept,
            common=common,
        )
    wanted = series.times_ms >= first_ms
    complete = series.times_ms + series.window_ms <= limit
    if unjudged_only:
        wanted &= _soon_after(series.times_ms, changed, FOLLOWING_WINDOWS * series.window_ms)
    else:
        left_open = int((wanted & ~complete).sum())
    wanted &= complete
    chosen = np.flatnonzero(wanted)
    windows, muted, unread, stopped = None, np.zeros(0, dtype=np.bool_), list[str](), False
    if len(chosen):
        upto = select(series, slice(0, int(chosen[-1]) + 1))
        windows = Windows(upto, chosen, declared, profile, encoders.common.encode, carried)
        known = (
            MaintenanceSpan.read(store, device.device_id)
            if common is None
            else common.maintenance.get(device.device_id)
        )
        muted = in_maintenance(windows.times_ms, known or ())
        points = points_of(store, device.device_id) if own is None else own.points
        watched = points.watched(profile)
        names = tuple(dict.fromkeys((*watched, *points.paces)))
        first = int(chosen[0])
        silent = stale(upto, names, points.paces, None if own is None else own.last_read_ms, first)[chosen - first]
        stopped = bool(silent[:, [name in points.paces for name in names]].any())
        unread = [_why_unread(row, watched) for row in silent[:, : len(watched)]]
    return Ready(
        device,
        profile,
        left_open,
        select(series, chosen),
        states.revisions[chosen].tolist(),
        states.flagged[chosen],
        windows,
        StoredHistory(store, device.device_id, profile, kept.states if kept is not None else None),
        muted,
        own,
        begin_ms,
        unread,
        stopped,
    )


def _why_unread(silent: NDArray[np.bool_], watched: Sequence[str]) -> str:
    """Why a window is not judged; empty where at least half of what the profile rests on was read."""
    if 2 * int(silent.sum()) <= len(watched):
        return ""
    stopped = [name for name, is_silent in zip(watched, silent.tolist(), strict=True) if is_silent]
    listed = ", ".join(stopped[:NAMED_POINTS]) + (", …" if len(stopped) > NAMED_POINTS else "")
    return f"not judged: of {len(watched)} points {len(watched) - len(stopped)} are read; nothing comes of {listed}"


def _soon_after(times_ms: NDArray[np.int64], changed_ms: NDArray[np.int64], within_ms: int) -> NDArray[np.bool_]:
    """Windows that start at one that has changed, or so soon after one; bool [n].

    >>> _soon_after(np.arange(6), np.array([1, 5]), 2).astype(int)
    array([0, 1, 1, 1, 0, 1])
    """
    position = np.searchsorted(changed_ms, times_ms, side="right") - 1
    found: NDArray[np.bool_] = (position >= 0) & (times_ms - changed_ms[np.maximum(position, 0)] <= within_ms)
    return found


def _nothing(store: Store, device: Device, window_ms: int, profile: Profile | None, left_open: int) -> Ready:
    """No window to judge."""
    times, grid, none = np.zeros(0, dtype=np.int64), np.zeros((0, 0)), np.zeros(0, dtype=np.bool_)
    count = np.zeros((0, 0), dtype=np.int64)
    series = SnapshotSeries(device.device_id, device.device_type, times, (), grid, count, grid, grid, grid, window_ms)
    history = StoredHistory(store, device.device_id, profile)
    return Ready(device, profile, left_open, series, [], none, None, history, none, None, 0, [], stopped=False)


@dataclass(frozen=True, slots=True)
class StoredHistory:
    """A device's own past as the store has it, for methods that search it.

    Attributes:
        store: where it is.
        device_id: the device.
        profile: says which span is searched, under which encoder, and how far from a window its own past begins.
        states: normal states that this process keeps, or None to ask the store.
    """

    store: Store
    device_id: str
    profile: Profile | None
    states: KeptStates | None = None

    def nearest_normal(self, embeddings: NDArray[np.float32], times_ms: NDArray[np.int64], k: int) -> Neighbours:
        """See :class:`hvac_platform.detection.methods.base.History`.

        Raises:
            ValueError: the device has no profile.
        """
        if self.profile is None:
            raise ValueError(f"{self.device_id} has no profile: nothing is known to be normal")
        near = self.profile.calibration.exclude_ms
        if self.states is not None:
            return self.states.nearest(self.device_id, self.profile, embeddings, times_ms, k, near)
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

    What says that a window is judged comes last, so a crash before it means that the window is judged again.
    An event is taken back before its flag is, for the flag is how the next judgement knows of it.
    """
    n = len(judgement.series)
    if not n:
        return
    device_id, times = judgement.device.device_id, judgement.series.times_ms
    flagged = judgement.anomalous
    highest = np.fmax.reduce([v.score for v in judgement.verdicts.values()])
    scores = [None if score != score else score for score in highest.tolist()]  # none where no method has judged
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
        yield TableBatch(event_columns(judgement, np.flatnonzero(flagged), highest))
    yield verdict_batch(judgement)
    yield TableBatch(
        {"device_id": [device_id] * n, "snapshot_time": times, "judged_revision": judgement.revisions},
        table="device_state_snapshots",
        action="update",
    )


def together(batches: Iterable[TableBatch]) -> Iterator[TableBatch]:
    """The rows of the judgements of many devices in few batches, in the order that a crash between any two does no harm.

    A device may be in it once only: rows of different devices have nothing to do with one another.
    """
    groups: dict[tuple[int, str | None, str, tuple[str, ...]], list[TableBatch]] = {}
    for batch in batches:
        key = (_turn(batch), batch.table, batch.action, tuple(batch.columns))
        groups.setdefault(key, []).append(batch)
    for (_, table, action, names), parts in sorted(groups.items(), key=lambda group: group[0][0]):
        columns = {name: [value for part in parts for value in _listed(part.columns[name])] for name in names}
        yield TableBatch(columns, table, action)  # type: ignore[arg-type]


def _listed(values: Any) -> list[Any]:
    """A column as plain values."""
    return values.tolist() if isinstance(values, np.ndarray) else list(values)


def _turn(batch: TableBatch) -> int:
    """Place of a batch in the order of :func:`judgement_batches`; what marks whole days comes last."""
    if batch.action == "delete":
        return 0
    if batch.table == "device_state_snapshots":
        return 4 if "judged_revision" in batch.columns else 1
    return {None: 2, "snapshot_verdicts": 3}.get(batch.table, 5)


def verdict_batch(judgement: Judgement) -> TableBatch:
    """Rows of ``snapshot_verdicts``: every method's verdict on every window, normal ones too."""
    n = len(judgement.series)
    columns: dict[str, list[Any]] = {}
    version = judgement.profile_version
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
