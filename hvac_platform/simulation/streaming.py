"""Simulated readings into the message log: history as fast as it goes, live at the pace of the clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter

import numpy as np

from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.ingestion.messages import encode_readings
from hvac_platform.log.base import MessageLog, Record
from hvac_platform.simulation.fleet_simulation import FleetSimulation, SimulatedReadings
from hvac_platform.timestamps import now_ms

CHUNK_READINGS = 60_000  # a chunk is made, encoded and appended at once; this bounds memory
METRICS_A_DEVICE = 15


def records_of(readings: Sequence[SimulatedReadings]) -> list[Record]:
    """Records of some devices' readings in order of time, as they would arrive."""
    records = [
        record for r in readings for record in encode_readings(r.device, r.times_ms, r.metric_names, r.units, r.values)
    ]
    records.sort(key=itemgetter(2))
    return records


def stream_history(
    log: MessageLog,
    topic: str,
    simulation: FleetSimulation,
    devices: Sequence[FleetDevice],
    start_ms: int,
    end_ms: int,
    interval_ms: int,
) -> Iterator[tuple[int, int]]:
    """Append [start_ms, end_ms) to the log; yields (simulated up to, messages so far) after each chunk."""
    ticks = max(1, CHUNK_READINGS // (METRICS_A_DEVICE * max(1, len(devices))))
    messages = 0
    for chunk_start in range(start_ms, end_ms, ticks * interval_ms):
        chunk_end = min(end_ms, chunk_start + ticks * interval_ms)
        records = records_of(simulation.advance(np.arange(chunk_start, chunk_end, interval_ms, dtype=np.int64)))
        log.append(topic, records)
        messages += len(records)
        yield chunk_end, messages


def stream_live(
    log: MessageLog,
    topic: str,
    simulation: FleetSimulation,
    interval_ms: int,
    *,
    until_ms: int | None = None,
    clock: Callable[[], int] = now_ms,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[tuple[int, int]]:
    """Append one tick every interval until an instant (or for ever); yields (time of the tick, messages so far).

    Ticks that a stopped or slow process missed are made up for, so the history has no hole.
    """
    messages = 0
    following = -(-clock() // interval_ms) * interval_ms
    while until_ms is None or following < until_ms:
        wait = following - clock()
        if wait > 0:
            sleep(wait / 1000)
        due = np.arange(following, clock() + 1, interval_ms, dtype=np.int64)
        if not len(due):
            continue
        records = records_of(simulation.advance(due))
        log.append(topic, records)
        messages += len(records)
        following = int(due[-1]) + interval_ms
        yield int(due[-1]), messages
