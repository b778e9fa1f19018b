"""Import historian exports: CSV or Parquet, wide (a column a metric) or long (a row a reading), through the message log."""

from __future__ import annotations

import csv
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pandas as pd

from hvac_platform.devices.bounded_yaml import TextRefusedError, load_yaml, read_text
from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.devices.registry import DeviceType, canonical_type, device_type
from hvac_platform.ingestion.messages import encode_readings, name_problem
from hvac_platform.log.base import MessageLog

ROWS_A_CHUNK = 20_000
SEPARATORS = ",;\t|"
TIME_NAMES = ("timestamp", "datetime", "date_time", "time", "date", "ts")
METRIC_NAMES = ("metric_name", "metric", "point", "point_name", "tag", "name")
VALUE_NAMES = ("metric_value", "value", "reading")
DEVICE_NAMES = ("device_id", "device", "equipment", "unit_id")


class ImportRefusedError(ValueError):
    """The file can't be imported; the message says why and what to give."""


@dataclass(frozen=True, slots=True)
class ImportMap:
    """How columns become metrics.

    Attributes:
        time_column: column of the time, or None to find it by its name.
        columns: metric by column; when given, other columns are ignored.
        device_column: column of the device id, or None.
        metric_column: column of the metric in a long file, or None to find it.
        value_column: column of the value in a long file, or None to find it.
        timezone: timezone of times that name none.
        ignore: columns to leave out.
    """

    time_column: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    device_column: str | None = None
    metric_column: str | None = None
    value_column: str | None = None
    timezone: str = "UTC"
    ignore: tuple[str, ...] = ()

    @classmethod
    def load(cls, path: Path) -> ImportMap:
        """Read a map from YAML.

        Raises:
            ImportRefusedError: it isn't one; the message names the key.
        """
        try:
            document = load_yaml(read_text(path)) or {}
        except TextRefusedError as error:
            raise ImportRefusedError(f"{path}: {error}") from None
        known = set(cls.__dataclass_fields__)
        if not isinstance(document, dict) or set(document) - known:
            bad = ", ".join(sorted(map(str, set(document) - known))) if isinstance(document, dict) else "not a mapping"
            raise ImportRefusedError(f"{path}: unknown keys {bad}; known are {', '.join(sorted(known))}")
        columns, ignore, timezone = (
            document.get("columns", {}),
            document.get("ignore", []),
            document.get("timezone", "UTC"),
        )
        if not isinstance(columns, dict) or not isinstance(ignore, list):
            raise ImportRefusedError(f"{path}: columns must be a mapping of column to metric, ignore a list of columns")
        try:
            ZoneInfo(str(timezone))
        except (ZoneInfoNotFoundError, ValueError):
            raise ImportRefusedError(f"{path}: unknown timezone {timezone!r}, e.g. Europe/Berlin") from None
        names = {str(column): str(metric) for column, metric in columns.items()}
        return cls(**{**document, "columns": names, "ignore": tuple(map(str, ignore))})

    def with_time_column(self, name: str) -> ImportMap:
        """The same map with the column of the time given."""
        return replace(self, time_column=name)


@dataclass
class ImportResult:
    """What came of a file."""

    rows: int = 0
    messages: int = 0
    refused: int = 0
    devices: list[str] = field(default_factory=list)
    first_ms: int | None = None
    last_ms: int | None = None
    ignored_columns: list[str] = field(default_factory=list)


def import_file(
    log: MessageLog,
    topic: str,
    path: Path,
    device: FleetDevice,
    mapping: ImportMap,
    *,
    on_progress: Callable[[int], None] = lambda _: None,
) -> ImportResult:
    """Send a file's rows to the log, one message a reading.

    Rows whose time can't be parsed and values that aren't finite numbers are refused and counted; empty cells are neither.

    Args:
        log: the message log.
        topic: its topic.
        path: CSV or Parquet file.
        device: device of the rows where no column says so; its type and place are those of all rows.
        mapping: how columns become metrics.
        on_progress: called with the bytes read so far.

    Raises:
        ImportRefusedError: the file as a whole can't be read.
    """
    if (problem := name_problem(device.device_id)) is not None:
        raise ImportRefusedError(f"device id {device.device_id!r} {problem}")
    result = ImportResult()
    device = replace(device, device_type=canonical_type(device.device_type))
    declared = device_type(device.device_type)
    undeclared = sorted(set(mapping.columns.values()) - set(declared.metric_names)) if declared else []
    if declared and undeclared:
        raise ImportRefusedError(
            f"the map names metrics that {declared.name} does not declare: {', '.join(undeclared)}; "
            f"declared are {', '.join(declared.metric_names)}"
        )
    for frame, done in _chunks(path):
        if frame.empty:
            continue
        result.rows += len(frame)
        for one, wide in _by_device(frame, device, mapping, declared, result):
            records = encode_readings(
                one,
                wide.index.to_numpy(dtype="datetime64[ms]").astype(np.int64),
                list(wide.columns),
                _units(list(wide.columns), declared),
                wide.to_numpy(dtype=np.float64),
            )
            log.append(topic, records)
            result.messages += len(records)
            if one.device_id not in result.devices:
                result.devices.append(one.device_id)
            times = [record[2] for record in records]
            result.first_ms = min((t for t in (result.first_ms, *times[:1]) if t is not None), default=None)
            result.last_ms = max((t for t in (result.last_ms, *times[-1:]) if t is not None), default=None)
        on_progress(done)
    if not result.rows:
        raise ImportRefusedError("the file has no rows")
    return result


def _chunks(path: Path) -> Iterator[tuple[pd.DataFrame, int]]:
    if path.suffix.lower() in {".parquet", ".pq"}:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            source = pq.ParquetFile(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise ImportRefusedError(f"not a readable Parquet file: {error}") from None
        done = 0
        size, total = path.stat().st_size, max(1, source.metadata.num_rows)
        for batch in source.iter_batches(ROWS_A_CHUNK):
            done += batch.num_rows
            yield batch.to_pandas(), size * done // total
        return
    separator = _separator(path)
    try:
        with path.open("rb") as handle, warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header would lose cells
            for frame in pd.read_csv(
                handle, sep=separator, chunksize=ROWS_A_CHUNK, skipinitialspace=True, index_col=False
            ):
                yield frame, handle.tell()
    except (pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ImportRefusedError(f"not a readable CSV file: {str(error).strip()}") from None


def _separator(path: Path) -> str:
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as handle:
        header = handle.readline()
    try:
        return csv.Sniffer().sniff(header, SEPARATORS).delimiter
    except csv.Error:
        return max(SEPARATORS, key=header.count)


def _by_device(
    frame: pd.DataFrame, device: FleetDevice, mapping: ImportMap, declared: DeviceType | None, result: ImportResult
) -> Iterator[tuple[FleetDevice, pd.DataFrame]]:
    """Wide frames (UTC index, a column a metric) of each device in a chunk."""
    time_column = _column(frame, mapping.time_column, TIME_NAMES)
    if time_column is None:
        there = ", ".join(map(str, frame.columns))
        if mapping.time_column:
            raise ImportRefusedError(f"there is no column {mapping.time_column!r}; the columns are {there}")
        raise ImportRefusedError(f"none of the columns {there} looks like a time; give --time-column")
    frame.index = _times(frame[time_column], mapping.timezone)
    bad = np.asarray(frame.index.isna(), dtype=bool)
    result.refused += int(bad.sum())
    frame = frame.loc[~bad].drop(columns=[time_column])
    device_column = _column(frame, mapping.device_column, DEVICE_NAMES)
    metric_column = _column(frame, mapping.metric_column, METRIC_NAMES)
    value_column = _column(frame, mapping.value_column, VALUE_NAMES)
    parts: list[tuple[Any, pd.DataFrame]] = (
        list(frame.drop(columns=[device_column]).groupby(frame[device_column], sort=False))
        if device_column is not None
        else [(device.device_id, frame)]
    )
    for device_id, part in parts:
        one = replace(device, device_id=str(device_id))
        if metric_column is not None and value_column is not None:
            for metric, rows in part.groupby(metric_column, sort=False):
                name = mapping.columns.get(str(metric), metric_name(str(metric), declared))
                yield one, _numbers(rows[[value_column]].set_axis([name], axis=1), result)
        else:
            yield one, _numbers(_renamed(part, mapping, declared, result), result)


def _column(frame: pd.DataFrame, wanted: str | None, usual: tuple[str, ...]) -> str | None:
    if wanted is not None:
        return wanted if wanted in frame.columns else None
    by_slug = {slug(str(name)): str(name) for name in frame.columns}
    return next((by_slug[name] for name in usual if name in by_slug), None)


def _times(column: pd.Series[Any], timezone: str) -> pd.DatetimeIndex:
    """UTC times; NaT where the text is none. Numbers are epoch seconds, or milliseconds when they are that large."""
    if pd.api.types.is_numeric_dtype(column):
        if column.abs().median() > 1e11:
            return pd.DatetimeIndex(pd.to_datetime(column, unit="ms", utc=True, errors="coerce"))
        return pd.DatetimeIndex(pd.to_datetime(column, unit="s", utc=True, errors="coerce"))
    parsed = pd.to_datetime(column, errors="coerce", format="mixed", utc=timezone == "UTC")
    if timezone != "UTC":
        parsed = parsed.dt.tz_localize(timezone, ambiguous="NaT", nonexistent="NaT").dt.tz_convert("UTC")
    return pd.DatetimeIndex(parsed)


def _renamed(part: pd.DataFrame, mapping: ImportMap, declared: DeviceType | None, result: ImportResult) -> pd.DataFrame:
    """Columns as metrics: those of the map, or those that the type declares, or (of an unknown type) all numeric ones."""
    missing = sorted(set(mapping.columns) - set(map(str, part.columns)))
    if missing:
        raise ImportRefusedError(f"the map names columns that the file lacks: {', '.join(missing)}")
    names: dict[str, str] = {}
    for column in map(str, part.columns):
        name = mapping.columns.get(column) if mapping.columns else metric_name(column, declared)
        known = name is not None and (mapping.columns or declared is None or name in declared.metric_names)
        if known and column not in mapping.ignore and pd.to_numeric(part[column], errors="coerce").notna().any():
            names[column] = str(name)
        elif column not in result.ignored_columns:
            result.ignored_columns.append(column)
    if not names:
        expected = ", ".join(declared.metric_names) if declared else "numeric columns"
        raise ImportRefusedError(f"no column matches a metric ({expected}); give --map to say which column is which")
    return part[list(names)].rename(columns=names)


def _numbers(frame: pd.DataFrame, result: ImportResult) -> pd.DataFrame:
    """Finite numbers, NaN elsewhere; what was there but isn't a finite number is counted as refused."""
    numeric = frame.apply(pd.to_numeric, errors="coerce").astype(np.float64)
    numeric = numeric.where(np.isfinite(numeric))
    result.refused += int((frame.notna() & numeric.isna()).to_numpy().sum())
    ordered: pd.DataFrame = numeric.sort_index()
    return ordered


def slug(name: str) -> str:
    """A column's name as a metric name.

    >>> slug("Volume Flow RateRMS"), slug("Accelerometer1RMS"), slug("Supply Air Temp (°F)")
    ('volume_flow_rate_rms', 'accelerometer1_rms', 'supply_air_temp_f')
    """
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_")


def metric_name(column: str, declared: DeviceType | None) -> str:
    """Metric of a column: the declared point whose name or title it is, else its slug."""
    if declared is not None:
        for point in (declared.point(name) for name in declared.metric_names):
            if slug(column) in {point.name, slug(point.title)}:
                return point.name
    return slug(column)


def _units(names: list[str], declared: DeviceType | None) -> list[str]:
    return [declared.point(n).unit if declared and n in declared.metric_names else "" for n in names]
