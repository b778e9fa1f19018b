"""Readings, states and events as files, one a UTC day and table, for what reads Parquet: DuckDB, Spark, pandas."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from hvac_platform.stores.base import Device, Store, TableSlice
from hvac_platform.stores.metric_maps import metric_maps
from hvac_platform.timestamps import DAY_MS, day_of

TABLES = ("readings", "states", "events")
FORMATS = ("parquet", "csv")
ROWS_AT_ONCE = 50_000

_TIME = pa.timestamp("ms", tz="UTC")
_NAME = pa.dictionary(pa.int32(), pa.string())
_WORDS = pa.list_(pa.string())
SCHEMAS = {
    "readings": pa.schema(
        {"device_id": _NAME, "timestamp": _TIME, "metric_name": _NAME, "metric_value": pa.float64(), "unit": _NAME}
    ),
    "states": pa.schema(
        {
            "device_id": _NAME,
            "snapshot_time": _TIME,
            "window_ms": pa.int64(),
            "metric_name": _NAME,
            "mean": pa.float64(),
            "count": pa.int64(),
            "minimum": pa.float64(),
            "maximum": pa.float64(),
            "last": pa.float64(),
            "completeness": pa.float64(),
            "is_anomalous": pa.bool_(),
            "anomaly_score": pa.float64(),
        }
    ),
    "events": pa.schema(
        {
            "device_id": _NAME,
            "detected_at": _TIME,
            "event_id": pa.string(),
            "anomaly_score": pa.float64(),
            "anomaly_type": _NAME,
            "methods": _WORDS,
            "level": pa.int64(),
            "reasons": _WORDS,
            "metrics": _WORDS,
        }
    ),
}
"""Columns of the files. States are long, a row a window and metric, so that devices of every type fit into one table."""


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """One file.

    Attributes:
        table: what is in it.
        day: UTC day of its rows.
        path: where it is.
        rows: how many it has.
        kept: it was there and has more rows than there are now, so it was left as it is.
    """

    table: str
    day: str
    path: Path
    rows: int
    kept: bool = False


def export(
    store: Store,
    folder: Path,
    devices: Sequence[Device],
    start_ms: int,
    end_ms: int,
    *,
    names: Sequence[str] = TABLES,
    form: str = "parquet",
    overwrite: bool = False,
    on_step: Callable[[str, str], object] = lambda *_: None,
) -> Iterator[ExportedFile]:
    """Write ``folder/table/day.parquet`` for each UTC day of a span that has rows; memory is a device's day in parts.

    A file appears whole or not at all. It takes the place of one of the same name, unless that has more rows: those of other
    devices, or of readings that have outlived their time in the store, would be gone. A day that is not whole in the span is
    exported as far as it is in it.

    Args:
        store: where from.
        folder: where to; made when it is missing.
        devices: whose rows.
        start_ms: first instant.
        end_ms: first instant no longer wanted.
        names: which of :data:`TABLES`.
        form: one of :data:`FORMATS`.
        overwrite: take the place of files with more rows too.
        on_step: called with table and day before each file.

    Raises:
        OSError: a file can't be written.
    """
    for day in range(start_ms // DAY_MS, -(-end_ms // DAY_MS)):
        begin, end = max(start_ms, day * DAY_MS), min(end_ms, (day + 1) * DAY_MS)
        for name in names:
            label = day_of(day * DAY_MS)
            on_step(name, label)
            path = folder / name / f"{label}.{form}"
            before = 0 if overwrite else _rows_of(path, form)
            rows = _write(path, SCHEMAS[name], form, _batches(store, name, devices, begin, end), least=before)
            if rows:
                yield ExportedFile(name, label, path, max(rows, before), kept=rows < before)


def _rows_of(path: Path, form: str) -> int:
    """Rows of a file that is there; 0 where there is none, or it can't be read."""
    try:
        if form == "parquet":
            return int(pyarrow.parquet.read_metadata(path).num_rows)
        return int(pyarrow.csv.read_csv(path).num_rows)
    except (OSError, pa.ArrowInvalid):
        return 0


def _write(path: Path, schema: pa.Schema, form: str, batches: Iterator[dict[str, Any]], *, least: int) -> int:
    """A file of some batches; none where there is no row, and the one before where there are fewer than ``least``."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    writer = None
    rows = 0
    try:
        for batch in batches:
            table = pa.table({name: pa.array(values, schema.field(name).type) for name, values in batch.items()})
            if form == "csv":
                table = _flat(table)
            if writer is None:
                path.parent.mkdir(parents=True, exist_ok=True)
                writer = (
                    pyarrow.csv.CSVWriter(unfinished, table.schema)
                    if form == "csv"
                    else pyarrow.parquet.ParquetWriter(unfinished, schema, compression="zstd")
                )
            writer.write_table(table)
            rows += table.num_rows
        if writer is not None:
            writer.close()
            if rows >= least:
                unfinished.replace(path)
    finally:
        if writer is not None:
            writer.close()
        unfinished.unlink(missing_ok=True)
    return rows


def _flat(table: pa.Table) -> pa.Table:
    """Lists as text, for a format that has none; names as they are."""
    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_list(column.type):
            columns[name] = pa.array(["; ".join(words) for words in column.to_pylist()])
        elif pa.types.is_dictionary(column.type):
            columns[name] = column.cast(pa.string())
        else:
            columns[name] = column
    return pa.table(columns)


def _batches(store: Store, name: str, devices: Sequence[Device], begin: int, end: int) -> Iterator[dict[str, Any]]:
    for device in devices:
        if name == "states":
            yield from _states(store, device.device_id, begin, end)
            continue
        table = {"readings": "device_metrics_raw", "events": "anomaly_events"}[name]
        rows = TableSlice(table, tuple(SCHEMAS[name].names), device.device_id, begin, end)
        yield from store.scan(rows, batch_rows=ROWS_AT_ONCE)


def _states(store: Store, device_id: str, begin: int, end: int) -> Iterator[dict[str, Any]]:
    """Snapshots of a device, a row a window and metric."""
    columns = (
        "snapshot_time",
        "window_ms",
        "metrics",
        "metric_summary",
        "completeness",
        "is_anomalous",
        "anomaly_score",
    )
    rows = TableSlice("device_state_snapshots", columns, device_id, begin, end)
    for batch in store.scan(rows, batch_rows=store.states_at_once):
        means, summaries = metric_maps(batch["metrics"]), metric_maps(batch["metric_summary"])
        if means is None or summaries is None:
            raise ValueError(f"snapshots of {device_id} have metrics without a mean, a count and three readings")
        mean = means.merged()
        summary = summaries.merged(mean.names).values
        row, metric = np.nonzero(mean.there)
        names = np.array(mean.names, dtype=object)
        yield {
            "device_id": [device_id] * len(row),
            "snapshot_time": np.array(batch["snapshot_time"], dtype=np.int64)[row],
            "window_ms": np.array(batch["window_ms"], dtype=np.int64)[row],
            "metric_name": names[metric],
            "mean": mean.values[row, metric],
            **{
                column: summary[row, metric, place].astype(np.int64)
                if column == "count"
                else summary[row, metric, place]
                for place, column in enumerate(("count", "minimum", "maximum", "last"))
            },
            **{
                column: np.array(batch[column], dtype=object)[row]
                for column in ("completeness", "is_anomalous", "anomaly_score")
            },
        }
