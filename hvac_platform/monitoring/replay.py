"""Judge a table of readings day by day, with learning every night: the platform's own work, without a server.

What ingestion, the detection schedule and the nightly job do, this does for one device on a store in a temporary folder.
So a recording shows what the platform would have said while it was made, and when.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hvac_platform.config import Settings
from hvac_platform.detection.consensus import agreed, votes
from hvac_platform.detection.profile import TooFewSnapshotsError
from hvac_platform.devices.registry import canonical_type
from hvac_platform.embedding.learned import Encoders
from hvac_platform.embedding.state import StateEncoder
from hvac_platform.ingestion.snapshotting import EmbeddingCounts, embedding_batches
from hvac_platform.ingestion.windows import aggregate_windows, snapshot_columns
from hvac_platform.monitoring.judging import Judgement, judgement_batches, ready_to_judge
from hvac_platform.monitoring.learning import learn_profile, lesson_batches
from hvac_platform.stores.base import Device, Store
from hvac_platform.stores.batches import DeviceSlice, TableBatch, write_batch
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.records import stored_detector
from hvac_platform.timestamps import DAY_MS

if TYPE_CHECKING:
    import pandas as pd


def judge_table(
    readings: pd.DataFrame,
    *,
    device_type: str = "",
    device_id: str = "device",
    window_seconds: int = 60,
    days_back: float = 7.0,
    false_alarms_per_day: float = 1.0,
) -> pd.DataFrame:
    """Verdicts of every method on each window, where each day is judged by what was learned by the midnight before.

    On the first day nothing is learned yet: rules speak, and the declared ranges of the type stand in for a profile. Windows
    that were anomalous are not learned from.

    Args:
        readings: n rows in order of time with a UTC DatetimeIndex, one numeric column a metric; NaN where a reading is
            missing.
        device_type: name of a device type, whose rules and ranges then count; any other text for a machine without them.
        device_id: how the device is called.
        window_seconds: length of a window; readings within one are averaged.
        days_back: days of history behind a profile.
        false_alarms_per_day: budget of each method.

    Returns:
        One row a window, by its start: ``score_<method>`` (1 is the limit) and ``anomalous_<method>`` for each method;
        ``consensus`` where two or more agree; ``reasons``, all of them in one text; ``learned``, whether the device had a
        profile of its own by then.

    Raises:
        ValueError: the table has no row, no UTC DatetimeIndex, times that are not increasing, or no number at all.
    """
    from pandas import DataFrame, DatetimeIndex, concat  # the rest of this package does without it

    _require_usable(readings)
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]
        hvac_window_seconds=window_seconds,
        hvac_profile_days_back=days_back,
        hvac_false_alarms_per_day=false_alarms_per_day,
    )
    parts: list[DataFrame] = []
    with tempfile.TemporaryDirectory() as folder:
        store = EmbeddedStore(Path(folder) / "store.db")
        try:
            for judgement in _days(store, readings, settings, device_id, canonical_type(device_type or "unknown")):
                columns: dict[str, object] = {}
                for name, verdicts in judgement.verdicts.items():
                    columns |= {f"score_{name}": verdicts.score, f"anomalous_{name}": verdicts.anomalous}
                columns["consensus"] = agreed(votes(judgement.verdicts))
                columns["reasons"] = [
                    "; ".join(reason for v in judgement.verdicts.values() for reason in v.reasons[i])
                    for i in range(len(judgement.series))
                ]
                columns["learned"] = judgement.profile_version != 0
                index = DatetimeIndex(judgement.series.times_ms.astype("datetime64[ms]"), tz="UTC", name="window")
                parts.append(DataFrame(columns, index=index))
        finally:
            store.close()
    return concat(parts)


def _require_usable(readings: pd.DataFrame) -> None:
    index = readings.index
    if not len(readings):
        raise ValueError("the table has no row")
    if str(getattr(index, "tz", None)) != "UTC":
        raise ValueError("the table needs a DatetimeIndex in UTC")
    if not index.is_monotonic_increasing:
        raise ValueError("the rows must be in order of time")
    if not np.isfinite(readings.to_numpy(dtype=np.float64, na_value=np.nan)).any():
        raise ValueError("the table has no number")


def _days(
    store: Store, readings: pd.DataFrame, settings: Settings, device_id: str, type_name: str
) -> Iterator[Judgement]:
    """Each UTC day that has readings: taken in, judged, and then learned from."""
    times: NDArray[np.int64] = readings.index.as_unit("ms").asi8  # type: ignore[attr-defined]
    encoders = Encoders(StateEncoder(), lambda _: stored_detector(store, device_id))
    first_ms = int(times[0])
    for day in np.unique(times // DAY_MS):
        start_ms, end_ms = int(day) * DAY_MS, (int(day) + 1) * DAY_MS
        rows = (times >= start_ms) & (times < end_ms)
        batch = _snapshots(readings[rows], times[rows], device_id, type_name, settings.window_ms)
        if batch is None:
            continue
        device = Device(device_id, type_name, "", "", first_ms, int(times[rows][-1]), 0)
        store.register_devices([device])
        write_batch(store, "device_state_snapshots", batch)
        part = DeviceSlice(store, "device_state_snapshots", device_id, start_ms, end_ms)
        for embedded in embedding_batches([part], {device_id: type_name}, encoders, EmbeddingCounts()):
            write_batch(store, "device_state_snapshots", embedded)
        later = end_ms + DAY_MS  # by then every window of the day is complete
        judgement = ready_to_judge(store, device, encoders, settings, start_ms, end_ms, now_ms=later).judge()
        for judged in judgement_batches(judgement):
            write_batch(store, "anomaly_events", judged)
        yield judgement
        try:
            lesson = learn_profile(store, device, encoders, settings, until_ms=end_ms)
        except TooFewSnapshotsError:  # the next day may bring enough
            continue
        for learned in lesson_batches(store, device, lesson, EmbeddingCounts()):
            write_batch(store, "device_profiles", learned)


def _snapshots(
    readings: pd.DataFrame, times: NDArray[np.int64], device_id: str, type_name: str, window_ms: int
) -> TableBatch | None:
    """Windows of a day; None where it has no number at all."""
    values = readings.to_numpy(dtype=np.float64, na_value=np.nan)
    row, column = np.nonzero(np.isfinite(values))
    if not len(row):
        return None
    names = [str(name) for name in readings.columns]
    aggregate = aggregate_windows(times[row], [names[j] for j in column.tolist()], values[row, column], window_ms)
    return TableBatch(snapshot_columns(device_id, aggregate, window_ms))
