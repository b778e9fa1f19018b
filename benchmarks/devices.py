"""Many devices in one process, below Dagster: what a minute of their readings costs to take in and to judge, and to keep.

Ten simulated devices are ingested for a day, learned from and judged; the others are copies of them under other ids, with
their profiles and the last windows of their history. Then minutes of all devices are appended, taken in and judged by what
stands in a live platform. Prints CPU milliseconds a message and a window, and bytes a reading; judges nothing.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.copies import copy_rows
from hvac_platform.config import load_settings
from hvac_platform.devices.fleet import FleetDevice, fleet_of_size
from hvac_platform.garbage import look_for_garbage_seldom
from hvac_platform.ingestion.messages import encode_readings
from hvac_platform.ingestion.ownership import LeaseKeeper
from hvac_platform.ingestion.standing import Registry, StandingIngestion
from hvac_platform.monitoring.passes import DetectionPass, LearningPass, spans_of_days, write_pass
from hvac_platform.monitoring.standing import StandingDetection
from hvac_platform.resources import PlatformResource
from hvac_platform.simulation.fleet_simulation import FleetSimulation
from hvac_platform.simulation.streaming import stream_history
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.window_lengths import WindowLengths
from hvac_platform.timestamps import DAY_MS, day_of, now_ms

MINUTE_MS = 60_000
LEARNED = 10


def ingestion(platform: PlatformResource) -> StandingIngestion:
    store = platform.store
    leases = LeaseKeeper(lambda: EmbeddedStore(load_settings().hvac_home / "store.db"))
    lengths = WindowLengths(store, platform.settings.window_ms)
    registry = Registry(store, lambda _: None, lambda _: None, platform.settings.hvac_max_devices, lengths)
    where = (store, platform.log, platform.topic, platform.settings, platform.encoders, leases, "benchmark", registry)
    return StandingIngestion(*where, until=float("inf"))


def copies(store: EmbeddedStore, originals: list[FleetDevice], fleet: list[FleetDevice], since_ms: int) -> None:
    """The devices of a fleet as copies of some that have a profile."""
    registered = {device.device_id: device for device in store.devices()}
    connection = store.connection
    connection.execute("BEGIN IMMEDIATE")
    for number, device in enumerate(fleet):
        original = originals[number % len(originals)].device_id
        one = registered[original]
        connection.execute(
            "INSERT INTO devices (device_id, device_type, location, building_id, first_seen, last_seen, kafka_partition) "
            "VALUES (?,?,?,?,?,?,?)",
            (device.device_id, one.device_type, "", "", one.first_seen, one.last_seen, one.kafka_partition),
        )
        for table, time_column in (("device_state_snapshots", "snapshot_time"), ("device_profiles", None)):
            where = f"{time_column}>={since_ms}" if time_column else "TRUE"
            copy_rows(store, table, original, device.device_id, where)
    connection.execute("COMMIT")
    store.connection.wal_checkpoint()


def learn_a_day(
    platform: PlatformResource, originals: list[FleetDevice], end_ms: int, interval_ms: int
) -> FleetSimulation:
    """A day of some simulated devices taken in, learned from and judged; the simulation, which can go on."""
    store, settings = platform.store, platform.settings
    simulation = FleetSimulation(originals, seed=5)
    for _ in stream_history(platform.log, platform.topic, simulation, originals, end_ms - DAY_MS, end_ms, interval_ms):
        pass
    taking_in = ingestion(platform)
    while taking_in.step():
        pass
    taking_in.let_go()
    write_pass(LearningPass(store, platform.encoders, settings, store.devices()))
    days = sorted({day_of(end_ms - DAY_MS), day_of(end_ms - 1)})
    write_pass(DetectionPass(store, platform.encoders, settings, list(spans_of_days(store.devices(), days, settings))))
    return simulation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--minutes", type=int, default=5)
    parser.add_argument("--interval", type=float, default=60.0, help="seconds between readings")
    parser.add_argument("--history", type=int, default=1440, help="windows of history of each copy")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"HVAC_HOME": folder, "HVAC_RUN_MINUTES": "0"}
        run(arguments, Path(folder))


def run(arguments: argparse.Namespace, home: Path) -> None:
    platform = PlatformResource()
    store, settings = platform.store, platform.settings
    assert isinstance(store, EmbeddedStore)
    originals = fleet_of_size(LEARNED)
    interval_ms = round(arguments.interval * 1000)
    end_ms = now_ms() // 3_600_000 * 3_600_000 - 2 * 3_600_000
    simulation = learn_a_day(platform, originals, end_ms, interval_ms)
    fleet = [FleetDevice(f"copy-{i:05d}", originals[i % LEARNED].device_type, "", "") for i in range(arguments.devices)]
    copies(store, originals, fleet, end_ms - arguments.history * MINUTE_MS)
    before_bytes = size(home)
    taking_in = ingestion(platform)
    judging = StandingDetection(store, platform.encoders, settings, until=float("inf"))
    judging.step()
    look_for_garbage_seldom()  # as a run that stands does
    figures: list[tuple[float, float]] = []
    messages = 0
    per_minute = max(1, MINUTE_MS // interval_ms)
    for minute in range(arguments.minutes):
        start_ms = end_ms + minute * MINUTE_MS
        times = [start_ms + i * interval_ms for i in range(per_minute)]
        simulated = list(simulation.advance(np.array(times, dtype=np.int64)))
        records = []
        for number, device in enumerate(fleet):
            like = simulated[number % LEARNED]
            records += encode_readings(
                device, np.array(times, dtype=np.int64), like.metric_names, like.units, like.values
            )
        platform.log.append(platform.topic, records)
        messages += len(records)
        began = time.process_time()
        while taking_in.step():
            pass
        taken = time.process_time() - began
        began = time.process_time()
        done = judging.windows
        while judging.step():
            pass
        judged = time.process_time() - began
        windows = judging.windows - done
        figures.append((1000 * taken / len(records), 1000 * judged / max(1, windows)))
        print(
            f"minute {minute + 1}: {len(records)} messages, {figures[-1][0] * 1000:.1f} us a message; {windows} windows, "
            f"{figures[-1][1]:.2f} ms a window; {taken + judged:.1f} s of one core for a minute of data",
            flush=True,
        )
    taking_in.let_go()
    store.connection.wal_checkpoint()
    grown = size(home) - before_bytes
    print(f"{grown / max(1, messages):.1f} bytes a reading (store with verdicts), every {arguments.interval:g} s")
    print(f"resident memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


def size(home: Path) -> int:
    return (home / "store.db").stat().st_size


if __name__ == "__main__":
    main()
