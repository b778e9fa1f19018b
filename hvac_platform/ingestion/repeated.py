"""Readings that come again with another value: the last one counts, and somebody should know that there were two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hvac_platform.coding import coded_as
from hvac_platform.ingestion.messages import DecodedBatch
from hvac_platform.stores.base import Device, Store, TableSlice
from hvac_platform.stores.records import Reading
from hvac_platform.timestamps import iso

MOST_COMPARED, LONGEST_COMPARED_MS = 10, 6 * 3_600_000
"""Devices of a batch whose older readings are compared with the store, and how much of the time before their newest one."""


@dataclass(frozen=True, slots=True)
class Repeated:
    """Readings of a device that came again with another value.

    Attributes:
        count: how many.
        example: one of them, for people.
    """

    count: int
    example: str


def repeated_readings(batch: DecodedBatch, store: Store, devices: Mapping[str, Device]) -> dict[str, Repeated]:
    """Readings of a batch with the device, metric and time of another one and another value, by device.

    All readings of a batch are compared with each other. With the store are compared, as far as the bounds above reach,
    those that are older than the newest one of their device: of what comes in order there is none, so nothing is read.

    Args:
        batch: readings that are about to be written.
        store: has those of before.
        devices: the registry, as it was before the batch.
    """
    if not len(batch):
        return {}
    of_device, of_metric = coded_as(batch.device_id), coded_as(batch.metric_name)
    points = of_device.codes * len(of_metric.names) + of_metric.codes
    found = _within(batch, points)
    newest = np.array([devices[d].last_seen if d in devices else np.iinfo(np.int64).min for d in of_device.names])
    oldest = newest[of_device.codes] - LONGEST_COMPARED_MS
    older = np.flatnonzero((batch.timestamps_ms < newest[of_device.codes]) & (batch.timestamps_ms >= oldest))
    for code in np.unique(of_device.codes[older])[:MOST_COMPARED].tolist() if len(older) else ():
        rows = older[of_device.codes[older] == code].tolist()
        found += _against_store(batch, rows, store, of_device.names[code])
    told: dict[str, Repeated] = {}
    for device_id, example in found:
        known = told.get(device_id)
        told[device_id] = Repeated(1, example) if known is None else Repeated(known.count + 1, known.example)
    return told


def _within(batch: DecodedBatch, points: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[tuple[str, str]]:
    order = np.lexsort((batch.timestamps_ms, points))  # stable, so of equal ones the later message is the later row
    first, second = order[:-1], order[1:]
    same = (points[first] == points[second]) & (batch.timestamps_ms[first] == batch.timestamps_ms[second])
    other = np.flatnonzero(same & (batch.metric_value[first] != batch.metric_value[second]))
    return [
        (batch.device_id[row], _example(batch, row, float(batch.metric_value[before])))
        for before, row in zip(first[other].tolist(), second[other].tolist(), strict=True)
    ]


def _against_store(batch: DecodedBatch, rows: list[int], store: Store, device_id: str) -> list[tuple[str, str]]:
    times = batch.timestamps_ms[rows]
    wanted = {(int(batch.timestamps_ms[row]), batch.metric_name[row]): row for row in rows}
    columns, span = ("timestamp", "metric_name", "metric_value"), (int(times.min()), int(times.max()) + 1)
    found = []
    for some in store.scan(TableSlice(Reading.TABLE, columns, device_id, *span)):
        for at_ms, metric, value in zip(*(some[name] for name in columns), strict=True):
            row = wanted.get((at_ms, metric))
            if row is not None and value != float(batch.metric_value[row]):
                found.append((device_id, _example(batch, row, value)))
    return found


def _example(batch: DecodedBatch, row: int, before: float) -> str:
    after = float(batch.metric_value[row])
    return f"{batch.metric_name[row]} of {iso(int(batch.timestamps_ms[row]))} was {before:g} and then {after:g}"
