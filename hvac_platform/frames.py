"""Tables of a device as DataFrames, for notebooks and scripts: readings, states and events between two instants."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal

import numpy as np

from hvac_platform.config import load_settings
from hvac_platform.runtime.connections import open_store
from hvac_platform.stores.base import Store, TableSlice
from hvac_platform.stores.records import AnomalyEvent, Reading, Snapshot, Span
from hvac_platform.stores.series import read_series
from hvac_platform.timestamps import parse_instant

if TYPE_CHECKING:
    import pandas as pd

FLAGS = ("snapshot_time", "is_anomalous", "anomaly_score")

Table = Literal["states", "readings", "events"]
Statistic = Literal["mean", "minimum", "maximum", "last", "count"]
Instant = str | datetime | int | None


class UnknownDeviceError(LookupError):
    """No device of that name is registered; the message lists those that are."""


def read(
    device: str,
    start: Instant = None,
    end: Instant = None,
    *,
    table: Table = "states",
    statistic: Statistic = "mean",
    store: Store | None = None,
) -> pd.DataFrame:
    """What is known of a device between two instants, a row an instant in UTC, a column a metric.

    Args:
        device: its id.
        start: first instant, as ISO 8601, datetime with a time zone, or epoch milliseconds; the beginning when absent.
        end: first instant that is no longer wanted; everything when absent.
        table: ``states`` (a row a window, with ``is_anomalous`` and ``anomaly_score`` behind the metrics), ``readings`` (as
            they were sent, NaN where a metric has none at an instant) or ``events`` (anomalous windows and what is said of
            them).
        statistic: of the readings of a window, for states.
        store: where from; the one that the settings name when absent.

    Raises:
        UnknownDeviceError: it is not registered.
        ValueError: an instant, the table or the statistic is none.
    """
    import pandas as pd

    if table not in ("states", "readings", "events") or statistic not in (
        "mean",
        "minimum",
        "maximum",
        "last",
        "count",
    ):
        raise ValueError(
            f"table {table!r}, statistic {statistic!r}: tables are states, readings, events; statistics of states are mean, "
            "minimum, maximum, last, count"
        )
    store = store or open_store(load_settings())
    registered = {one.device_id: one for one in store.devices()}
    if device not in registered:
        raise UnknownDeviceError(f"{device!r} is not registered; devices are {', '.join(registered) or 'none yet'}")
    span = _milliseconds(start), _milliseconds(end)
    if table == "readings":
        return _readings(store, device, span)
    if table == "events":
        events = AnomalyEvent.read(store, device, span)
        names = AnomalyEvent.all_but("device_id", "detected_at", "device_type", "location", "building_id")
        return pd.DataFrame(
            {name: [getattr(event, name) for event in events] for name in names},
            index=_times(np.array([event.detected_at for event in events], dtype=np.int64), "detected_at"),
        )
    series = read_series(store, device, registered[device].device_type, *span)
    flags = {s.snapshot_time: s for s in Snapshot.read(store, device, span, only=FLAGS)}
    frame = pd.DataFrame(
        getattr(series, statistic), index=_times(series.times_ms, "snapshot_time"), columns=list(series.metric_names)
    )
    told = [flags[time_ms] for time_ms in series.times_ms.tolist()]
    frame["is_anomalous"] = pd.array([one.is_anomalous for one in told], dtype="boolean")
    frame["anomaly_score"] = np.array([one.anomaly_score for one in told], dtype=np.float64)
    return frame


def _readings(store: Store, device: str, span: Span) -> pd.DataFrame:
    import pandas as pd

    names = ("timestamp", "metric_name", "metric_value")
    batches = list(store.scan(TableSlice(Reading.TABLE, names, device, *span)))
    times, metrics, values = ([value for batch in batches for value in batch[name]] for name in names)
    instants, row = np.unique(np.array(times, dtype=np.int64), return_inverse=True)
    columns, column = np.unique(np.array(metrics, dtype=str), return_inverse=True)
    wide = np.full((len(instants), len(columns)), np.nan)
    wide[row, column] = values
    return pd.DataFrame(wide, index=_times(instants, "timestamp"), columns=columns.tolist())


def _milliseconds(at: Instant) -> int | None:
    if at is None or isinstance(at, int):
        return at
    if isinstance(at, datetime):
        if at.tzinfo is None:
            raise ValueError(f"{at} has no time zone")
        return round(at.timestamp() * 1000)
    return parse_instant(at)


def _times(times_ms: np.ndarray[tuple[int], np.dtype[np.int64]], name: str) -> pd.DatetimeIndex:
    import pandas as pd

    return pd.DatetimeIndex(pd.to_datetime(times_ms, unit="ms", utc=True), name=name)
