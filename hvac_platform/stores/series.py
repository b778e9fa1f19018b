"""Snapshots of one device, and verdicts on them, as arrays, read from any store: the shapes of which there are many rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvac_platform.coding import coded_as
from hvac_platform.snapshots import EMBEDDING_DIMENSION, SnapshotSeries, select
from hvac_platform.stores.base import Store, TableSlice
from hvac_platform.stores.metric_maps import MetricMaps, metric_maps
from hvac_platform.stores.records import Snapshot, Span, Verdict
from hvac_platform.stores.vectors import decoded_vectors

STATES = ("revision", "is_anomalous", "completeness")
STATE_COLUMNS = ("snapshot_time", "window_ms", "metrics", "metric_summary")
_GRIDS = ("mean", "count", "minimum", "maximum", "last")


def series_from_columns(
    device_id: str, device_type: str, columns: dict[str, Any], metrics: Collection[str] | None = None
) -> SnapshotSeries:
    """Series from columns of ``device_state_snapshots``.

    The mean comes from ``metrics``; count, minimum, maximum and last from ``metric_summary``. Vectors are stacked when the
    columns hold ``embedding``; a snapshot without one gets NaN.

    Args:
        device_id: whose snapshots they are.
        device_type: its canonical type.
        columns: at least :data:`STATE_COLUMNS`.
        metrics: metrics to keep; all when absent.

    Raises:
        ValueError: what the columns say of a metric is not a mean, a count and three readings.
    """
    means, summaries = metric_maps(columns["metrics"]), metric_maps(columns["metric_summary"])
    if means is None or summaries is None:
        raise ValueError(f"snapshots of {device_id} have metrics without a mean, a count and three readings")
    names = None
    if metrics is not None:
        present = {name for grid in means.grids for name in grid.names}
        names = tuple(sorted(present & set(metrics)))
    mean = means.merged(names)
    names = mean.names
    n = len(mean.values)
    summary = summaries.merged(names).values.reshape(n, len(names), 4)
    vectors = None
    if "embedding" in columns:
        missing = bytes(np.full(EMBEDDING_DIMENSION, np.nan, dtype="<f4").tobytes())
        vectors = decoded_vectors(missing if blob is None else blob for blob in columns["embedding"]).astype(np.float32)
    return SnapshotSeries(
        device_id=device_id,
        device_type=device_type,
        times_ms=np.array(columns["snapshot_time"], dtype=np.int64),
        metric_names=names,
        mean=mean.values.reshape(n, len(names)),
        count=np.nan_to_num(summary[:, :, 0]).astype(np.int64),
        minimum=summary[:, :, 1],
        maximum=summary[:, :, 2],
        last=summary[:, :, 3],
        window_ms=int(columns["window_ms"][-1]) if n else 60_000,
        embeddings=vectors,
    )


@dataclass(frozen=True, slots=True)
class WindowStates:
    """What detection and learning ask of n windows beside their values.

    Attributes:
        revisions: int64 [n], fingerprint of the content of each.
        flagged: bool [n], called anomalous by the last judgement.
        completeness: float64 [n], share of the expected readings.
    """

    revisions: NDArray[np.int64]
    flagged: NDArray[np.bool_]
    completeness: NDArray[np.float64]

    def first(self, windows: int) -> WindowStates:
        """Of the first so many of them."""
        return WindowStates(self.revisions[:windows], self.flagged[:windows], self.completeness[:windows])

    def after(self, windows: int) -> WindowStates:
        """With so many before them of which nothing more is asked: sound, whole and unflagged."""
        return WindowStates(
            np.concatenate([np.zeros(windows, dtype=np.int64), self.revisions]),
            np.concatenate([np.zeros(windows, dtype=np.bool_), self.flagged]),
            np.concatenate([np.ones(windows), self.completeness]),
        )


def read_series(
    store: Store,
    device_id: str,
    device_type: str,
    start_ms: int | None = None,
    end_ms: int | None = None,
    *,
    embeddings: bool = False,
    embedding_method: str | None = None,
    metrics: Collection[str] | None = None,
) -> SnapshotSeries:
    """Snapshots of a device between two instants.

    Args:
        store: where from.
        device_id: whose.
        device_type: its canonical type.
        start_ms: first window start included.
        end_ms: first one excluded.
        embeddings: read the vectors too.
        embedding_method: snapshots whose vector another method wrote count as without a vector.
        metrics: metrics to keep; all when absent.
    """
    rows = TableSlice(Snapshot.TABLE, (), device_id, start_ms, end_ms)
    parts = list(
        series_parts(
            store, rows, device_type, embeddings=embeddings, embedding_method=embedding_method, metrics=metrics
        )
    )
    return joined(parts) if parts else _empty(device_id, device_type, embeddings=embeddings)


def read_series_and_states(
    store: Store,
    device_id: str,
    device_type: str,
    start_ms: int | None = None,
    end_ms: int | None = None,
    *,
    embeddings: bool = False,
    embedding_method: str | None = None,
    metrics: Collection[str] | None = None,
    most_windows: int | None = None,
) -> tuple[SnapshotSeries, WindowStates]:
    """The series of :func:`read_series`, and what is to be known of its windows beside their values.

    Its windows have one length, that of the newest: of a device whose windows got another one, older ones may be left whose
    readings are gone, and what is usual of the ones is not of the others. With ``most_windows``, more are not expected: a
    store reads few with less ado.
    """
    rows = TableSlice(Snapshot.TABLE, (), device_id, start_ms, end_ms)
    parts: list[SnapshotSeries] = []
    beside: dict[str, list[Any]] = {name: [] for name in ("window_ms", *STATES)}
    at_once = store.states_at_once if most_windows is None else min(store.states_at_once, max(1, most_windows))
    for series, columns in _parts(
        store, rows, device_type, embeddings, embedding_method, STATES, metrics, rows_at_once=at_once
    ):
        parts.append(series)
        for name, values in beside.items():
            values += columns[name]
    return _with_states(parts or [_empty(device_id, device_type, embeddings=embeddings)], beside)


def _with_states(parts: Sequence[SnapshotSeries], beside: Mapping[str, Any]) -> tuple[SnapshotSeries, WindowStates]:
    """Parts of one device as one series of windows of one length, with what is to be known of those."""
    states = WindowStates(
        np.array(beside["revision"], dtype=np.int64),
        np.array(beside["is_anomalous"], dtype=np.bool_),
        np.array(beside["completeness"], dtype=np.float64),
    )
    series, lengths = joined(parts), np.array(beside["window_ms"], dtype=np.int64)
    if (lengths == series.window_ms).all():
        return series, states
    alike = lengths == series.window_ms
    return select(series, alike), WindowStates(
        states.revisions[alike], states.flagged[alike], states.completeness[alike]
    )


def read_newest(
    store: Store,
    spans: Mapping[str, tuple[int, int]],
    device_types: Mapping[str, str],
    *,
    embeddings: bool = False,
    embedding_method: str | None = None,
) -> dict[str, tuple[SnapshotSeries, WindowStates]]:
    """What :func:`read_series_and_states` gives of several devices, with one read, for spans of few windows each.

    Args:
        store: where from.
        spans: first window start included and first one excluded, by device.
        device_types: canonical type by device.
        embeddings: read the vectors too.
        embedding_method: snapshots whose vector another method wrote count as without a vector.
    """
    wanted = ("device_id", *STATE_COLUMNS, *STATES, *(("embedding", "embedding_method") if embeddings else ()))
    columns = store.scan_spans(Snapshot.TABLE, wanted, spans)
    ids, maps = (
        columns.pop("device_id"),
        {name: metric_maps(columns.pop(name)) for name in ("metrics", "metric_summary")},
    )
    if any(one is None for one in maps.values()):
        raise ValueError("a snapshot has metrics without a mean, a count and three readings")
    grids = {name: one.merged() for name, one in maps.items() if one is not None}
    codes = coded_as(ids).codes
    edges = np.flatnonzero(np.diff(codes, prepend=-1, append=-1)).tolist()  # rows of a device are together
    nothing: dict[str, list[Any]] = {name: [] for name in ("window_ms", *STATES)}
    found = {}
    for begin, end in pairwise(edges):
        device_id, rows = ids[begin], slice(begin, end)
        own: dict[str, Any] = {name: values[rows] for name, values in columns.items()}
        own |= {name: MetricMaps([grid.of_rows(rows)]) for name, grid in grids.items()}
        part = _part(device_id, device_types[device_id], own, embedding_method if embeddings else None, None)
        found[device_id] = _with_states([part], own)
    for device_id in spans.keys() - found.keys():
        found[device_id] = _with_states([_empty(device_id, device_types[device_id], embeddings=embeddings)], nothing)
    return found


def series_parts(
    store: Store,
    rows: TableSlice,
    device_type: str,
    *,
    embeddings: bool = False,
    embedding_method: str | None = None,
    metrics: Collection[str] | None = None,
    rows_at_once: int | None = None,
) -> Iterator[SnapshotSeries]:
    """The series of :func:`read_series` in parts, each of ``rows_at_once`` snapshots, or of as many as the store likes."""
    for series, _ in _parts(
        store, rows, device_type, embeddings, embedding_method, (), metrics, rows_at_once=rows_at_once
    ):
        yield series


def _parts(
    store: Store,
    rows: TableSlice,
    device_type: str,
    embeddings: bool,
    embedding_method: str | None,
    beside: tuple[str, ...],
    metrics: Collection[str] | None,
    *,
    rows_at_once: int | None,
) -> Iterator[tuple[SnapshotSeries, dict[str, list[Any]]]]:
    """Series of few snapshots each, and further columns of those."""
    assert rows.device_id is not None
    wanted = STATE_COLUMNS + (("embedding", "embedding_method") if embeddings else ()) + beside
    for columns in store.scan(replace(rows, columns=wanted), batch_rows=rows_at_once or store.states_at_once):
        yield _part(rows.device_id, device_type, columns, embedding_method if embeddings else None, metrics), columns


def _part(
    device_id: str,
    device_type: str,
    columns: dict[str, Any],
    embedding_method: str | None,
    metrics: Collection[str] | None,
) -> SnapshotSeries:
    """Series from columns; vectors that another method wrote are left out."""
    if embedding_method is not None:
        columns["embedding"] = [
            blob if method == embedding_method else None
            for blob, method in zip(columns["embedding"], columns["embedding_method"], strict=True)
        ]
    return series_from_columns(device_id, device_type, columns, metrics)


def _empty(device_id: str, device_type: str, *, embeddings: bool) -> SnapshotSeries:
    """A series of no snapshot."""
    none: dict[str, list[Any]] = {n: [] for n in (*STATE_COLUMNS, *(("embedding",) if embeddings else ()))}
    return series_from_columns(device_id, device_type, none)


def joined(parts: Sequence[SnapshotSeries]) -> SnapshotSeries:
    """Series of one device, one after the other; a metric that a part hasn't is missing there."""
    first = parts[0]
    if len(parts) == 1:
        return first
    names = first.metric_names
    if any(part.metric_names != names for part in parts):
        names = tuple(sorted({name for part in parts for name in part.metric_names}))
        parts = [_with_metrics(part, names) for part in parts]
    grids: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _GRIDS}
    vectors = [part.embeddings for part in parts if part.embeddings is not None]
    return replace(
        first,
        metric_names=names,
        window_ms=parts[-1].window_ms,
        times_ms=np.concatenate([part.times_ms for part in parts]),
        embeddings=np.concatenate(vectors) if vectors else None,
        **grids,
    )


def _with_metrics(series: SnapshotSeries, names: tuple[str, ...]) -> SnapshotSeries:
    place = {name: j for j, name in enumerate(names)}
    columns = [place[name] for name in series.metric_names]
    grids: dict[str, Any] = {}
    for grid in _GRIDS:
        values = getattr(series, grid)
        whole = np.full((len(series), len(names)), 0 if grid == "count" else np.nan, dtype=values.dtype)
        whole[:, columns] = values
        grids[grid] = whole
    return replace(series, metric_names=names, **grids)


def normal_vectors(
    store: Store, device_id: str, embedding_method: str, span: Span
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Window starts, int64 [n], and embeddings by one method, float32 [n, 384], of a device's unflagged windows."""
    names = ("snapshot_time", "embedding", "is_anomalous")
    rows = TableSlice(Snapshot.TABLE, names, device_id, *span, equals=(("embedding_method", embedding_method),))
    times = [np.zeros(0, dtype=np.int64)]
    vectors = [np.zeros((0, EMBEDDING_DIMENSION), dtype=np.float32)]
    for batch in store.scan(rows, batch_rows=5_000):
        blobs = batch["embedding"]
        normal = [i for i, flag in enumerate(batch["is_anomalous"]) if not flag and blobs[i] is not None]
        times.append(np.array(batch["snapshot_time"], dtype=np.int64)[normal])
        vectors.append(decoded_vectors(blobs[i] for i in normal))
    return np.concatenate(times), np.concatenate(vectors)


@dataclass(frozen=True, slots=True)
class VerdictSeries:
    """Verdicts of one method on n windows of a device, in order of time.

    Attributes:
        times_ms: int64 [n], window starts.
        scores: float64 [n]; 1 is the limit, NaN where there is none.
        anomalous: bool [n].
    """

    times_ms: NDArray[np.int64]
    scores: NDArray[np.float64]
    anomalous: NDArray[np.bool_]


def verdict_series(
    store: Store, device_id: str, span: Span = (None, None), *, most: int | None = None
) -> dict[str, VerdictSeries]:
    """Stored verdicts on a device's windows by method, methods in order of their names; of the first ``most`` at most."""
    columns: dict[str, list[Any]] = {"snapshot_time": [], "method": [], "score": [], "anomalous": []}
    for batch in store.scan(TableSlice(Verdict.TABLE, tuple(columns), device_id, *span)):
        for name, values in columns.items():
            values += batch[name]
        if most is not None and len(columns["method"]) >= most:
            break
    names, place = np.unique(np.array(columns["method"][:most], dtype=str), return_inverse=True)
    times = np.array(columns["snapshot_time"][:most], dtype=np.int64)
    scores = np.array(columns["score"][:most], dtype=np.float64)
    anomalous = np.array(columns["anomalous"][:most], dtype=np.bool_)
    of = {str(name): place == i for i, name in enumerate(names)}
    return {name: VerdictSeries(times[mine], scores[mine], anomalous[mine]) for name, mine in of.items()}


def on_common_windows(verdicts: dict[str, VerdictSeries]) -> tuple[NDArray[np.int64], dict[str, NDArray[np.bool_]]]:
    """Windows that every method judged, int64 [n], and what each says of them, bool [n] by method."""
    judged = [v.times_ms[~np.isnan(v.scores)] for v in verdicts.values()]  # of too little nobody has said anything
    common = reduce(np.intersect1d, judged) if judged else np.zeros(0, dtype=np.int64)
    return common, {name: v.anomalous[np.isin(v.times_ms, common)] for name, v in verdicts.items()}
