"""From raw readings to snapshots: each is written once, with its embedding."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hvac_platform.embedding.base import Encoder
from hvac_platform.embedding.learned import Encoders
from hvac_platform.ingestion.expected import ExpectedReadings
from hvac_platform.ingestion.snapshotting import (
    EmbeddingCounts,
    SnapshotCounts,
    embedding_batches,
    read_aggregate,
    read_aggregates,
    snapshots_at_once,
    whole_windows,
)
from hvac_platform.ingestion.windows import WindowAggregate, snapshot_columns, window_ranges
from hvac_platform.snapshots import SnapshotSeries, select
from hvac_platform.stores.base import Store
from hvac_platform.stores.batches import DeviceSlice, TableBatch
from hvac_platform.stores.metric_maps import MetricMaps
from hvac_platform.stores.series import joined, read_series
from hvac_platform.stores.window_lengths import WindowOf
from hvac_platform.timestamps import window_floor

WINDOWS_A_BATCH = 250
"""So many snapshots, of whatever devices, are written together."""
READ_TOGETHER, FEW_WINDOWS, READINGS_TOGETHER = 128, 4, 200_000
"""Readings of so many devices of which few windows are due are read at once, up to so many readings."""
VERSIONS_TOGETHER = 16
"""From so many devices on it is asked of all at once which encoders have been made anew."""
USUAL_READINGS = 500
"""Of a window of a device that was not read before."""
MOST_CONTEXTS = 10_000
"""Devices whose last windows are kept for the embedding of the next one; those of others are read."""
TABLE = "device_state_snapshots"

Int64 = NDArray[np.int64]


class _Due(NamedTuple):
    """Windows of a device that are to become snapshots: a span of whole ones, and their length."""

    device_id: str
    span: tuple[int, int]
    window_ms: int


class Completing:
    """Turns raw readings of whole windows into snapshots.

    Where the encoder works in this process, a snapshot and its vector are one row, written once. What a server encodes is
    written without a vector first, so that ingestion never waits for it.

    Attributes:
        snapshots: how many windows were written.

    Args:
        store: has the readings.
        encoders: of all devices; None where embeddings are made by somebody else.
        window_of: length of the windows of each device.
    """

    def __init__(self, store: Store, encoders: Encoders | None, window_of: WindowOf) -> None:
        self.snapshots = SnapshotCounts()
        self._store, self._encoders, self._window_of = store, encoders, window_of
        self._expected = ExpectedReadings(store)
        self._contexts: OrderedDict[str, SnapshotSeries] = OrderedDict()
        self._readings: dict[str, int] = {}  # of a window of each device, as it was read last

    def batches(
        self, due: Mapping[str, Int64], types: Mapping[str, str], embedded: EmbeddingCounts
    ) -> Iterator[TableBatch]:
        """Rows of ``device_state_snapshots``, and what belongs to vectors that can't be made now.

        Args:
            due: starts of windows by device, ascending.
            types: device type by device id.
            embedded: filled as batches pass.
        """

        def spans() -> Iterator[tuple[str, tuple[int, int], int]]:
            for device_id, starts in due.items():
                window_ms = self._window_of(device_id)
                whole = np.unique(window_floor(starts, window_ms))  # they are of another length after a change
                for span in window_ranges(whole, window_ms):
                    yield device_id, span, window_ms

        ask = self._encoders.versions if self._encoders is not None else None
        versions = ask() if ask is not None and len(due) >= VERSIONS_TOGETHER else None
        yield from self._batches(spans(), types, embedded, versions)

    def batches_of(
        self, slices: Iterable[DeviceSlice], types: Mapping[str, str], embedded: EmbeddingCounts
    ) -> Iterator[TableBatch]:
        """The same for every window that some slices of raw readings reach into."""

        def spans() -> Iterator[tuple[str, tuple[int, int], int]]:
            for part in slices:
                window_ms = self._window_of(part.device_id)
                yield part.device_id, whole_windows(part.start_ms, part.end_ms, window_ms), window_ms

        yield from self._batches(spans(), types, embedded)

    def _batches(
        self,
        spans: Iterable[tuple[str, tuple[int, int], int]],
        types: Mapping[str, str],
        embedded: EmbeddingCounts,
        versions: Mapping[str, int] | None = None,
    ) -> Iterator[TableBatch]:
        together: list[dict[str, Any]] = []
        rows = 0
        for due, aggregate in self._aggregates(spans):
            device_id = due.device_id
            columns, later = self._rows(due, types.get(device_id, ""), aggregate, versions, embedded)
            if later is not None:  # one row can't hold both
                yield TableBatch(columns, table=TABLE)
                yield from later
                continue
            if together and together[0].keys() != columns.keys():
                yield _merged(together)
                together, rows = [], 0
            together.append(columns)
            rows += len(columns["snapshot_time"])
            if rows >= WINDOWS_A_BATCH:
                yield _merged(together)
                together, rows = [], 0
        if together:
            yield _merged(together)

    def _aggregates(self, spans: Iterable[tuple[str, tuple[int, int], int]]) -> Iterator[tuple[_Due, WindowAggregate]]:
        """Raw readings by window, those of devices of which few windows are due read together."""
        waiting: dict[str, _Due] = {}
        readings = 0
        for due in (_Due(*span) for span in spans):
            windows = (due.span[1] - due.span[0]) // due.window_ms
            few = windows <= FEW_WINDOWS
            if not few or due.device_id in waiting or len(waiting) >= READ_TOGETHER or readings > READINGS_TOGETHER:
                yield from self._read(waiting)
                waiting, readings = {}, 0
            if few:
                waiting[due.device_id] = due
                readings += windows * self._readings.get(due.device_id, USUAL_READINGS)
            else:
                yield from self._read({due.device_id: due})
        yield from self._read(waiting)

    def _read(self, waiting: Mapping[str, _Due]) -> Iterator[tuple[_Due, WindowAggregate]]:
        if len(waiting) == 1:
            ((device_id, due),) = waiting.items()
            alone = read_aggregate(self._store, device_id, due.span, due.window_ms)
            found = {} if alone is None else {device_id: alone}
        else:
            found = read_aggregates(self._store, {one: (due.span, due.window_ms) for one, due in waiting.items()})
        for device_id, due in waiting.items():
            aggregate = found.get(device_id)
            if aggregate is not None:
                self._readings[device_id] = int(aggregate.count.sum()) // len(aggregate.starts_ms)
                yield due, aggregate

    def _rows(
        self,
        due: _Due,
        type_name: str,
        aggregate: WindowAggregate,
        versions: Mapping[str, int] | None,
        embedded: EmbeddingCounts,
    ) -> tuple[dict[str, Any], Iterator[TableBatch] | None]:
        """Columns of the windows in a span, and batches that have to follow them."""
        device_id, span, window_ms = due
        columns = snapshot_columns(device_id, aggregate, window_ms, self._expected.of(device_id, window_ms))
        self.snapshots.windows += len(aggregate.starts_ms)
        self.snapshots.partial += int((columns["completeness"] < 1).sum())
        if self._encoders is None:
            return columns, None
        if not self._encoders.learned:
            part = DeviceSlice(self._store, TABLE, device_id, *span)
            return columns, embedding_batches([part], {device_id: type_name}, self._encoders, embedded)
        encoder = self._encoders.of(device_id, versions)
        series = _series_of(device_id, type_name, aggregate, window_ms)
        at_once = snapshots_at_once(encoder.context_windows, len(series.metric_names))
        parts = [slice(first, first + at_once) for first in range(0, len(series), at_once)]
        vectors = np.concatenate([self._vectors(encoder, select(series, part)) for part in parts])
        good = np.isfinite(vectors).all(axis=1)
        n = int(good.sum())
        embedded.encoded += n
        embedded.refused += len(vectors) - n
        if n == len(vectors):
            columns |= {"embedding": vectors, "embedding_method": [encoder.method] * n}
            return columns, None
        known = {
            "device_id": [device_id] * n,
            "snapshot_time": aggregate.starts_ms[good],
            "embedding": vectors[good],
            "embedding_method": [encoder.method] * n,
        }
        return columns, iter([TableBatch(known, table=TABLE, action="update")])

    def _vectors(self, encoder: Encoder, series: SnapshotSeries) -> NDArray[np.float32]:
        """Vectors of some windows, encoded with those before them where the encoder looks at those."""
        if not encoder.context_windows:
            return encoder.encode(series)
        device_id, first_ms = series.device_id, int(series.times_ms[0])
        begin_ms = first_ms - encoder.context_windows * series.window_ms
        context = self._contexts.pop(device_id, None)
        # Not known, or older windows have changed, or their length.
        if context is None or int(context.times_ms[-1]) >= first_ms or context.window_ms != series.window_ms:
            context = read_series(self._store, device_id, series.device_type, begin_ms, first_ms)
        context = select(context, context.times_ms >= begin_ms)
        together = joined([context, series]) if len(context) else series
        self._contexts[device_id] = select(together, slice(-encoder.context_windows, None))
        if len(self._contexts) > MOST_CONTEXTS:
            self._contexts.popitem(last=False)
        return encoder.encode(together)[len(context) :]


def _series_of(device_id: str, type_name: str, aggregate: WindowAggregate, window_ms: int) -> SnapshotSeries:
    return SnapshotSeries(
        device_id,
        type_name,
        aggregate.starts_ms,
        aggregate.metric_names,
        aggregate.mean,
        aggregate.count,
        aggregate.minimum,
        aggregate.maximum,
        aggregate.last,
        window_ms,
    )


def _merged(parts: list[dict[str, Any]]) -> TableBatch:
    """Rows of several devices as one batch."""
    if len(parts) == 1:
        return TableBatch(parts[0], table=TABLE)
    return TableBatch({name: _below([part[name] for part in parts]) for name in parts[0]}, table=TABLE)


def _below(values: list[Any]) -> Any:
    """Columns of one kind, one below the other."""
    if isinstance(values[0], np.ndarray):
        return np.concatenate(values)
    if isinstance(values[0], MetricMaps):
        return MetricMaps([grid for maps in values for grid in maps.grids])
    return [value for part in values for value in part]
