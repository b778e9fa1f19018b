"""What judging two new windows late in a day reads from the store, rows and calls, in a new and in a standing process.

python -m benchmarks.new_windows [--devices N] [--interval SECONDS]

Simulated devices are ingested for a day, learned from, ingested for most of the next and judged; then two more windows of
each come in. Once they are judged as a process does that has just started, once as one that has judged those before.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from typing import Any

from benchmarks.devices import ingestion
from hvac_platform.devices.fleet import fleet_of_size
from hvac_platform.monitoring.passes import DetectionPass, LearningPass, spans_of_days, write_pass
from hvac_platform.monitoring.standing import StandingDetection
from hvac_platform.resources import PlatformResource
from hvac_platform.simulation.fleet_simulation import FleetSimulation
from hvac_platform.simulation.streaming import stream_history
from hvac_platform.stores.base import Store
from hvac_platform.stores.tables import TableSlice
from hvac_platform.timestamps import DAY_MS, day_of, now_ms

MINUTE_MS, HOUR_MS = 60_000, 3_600_000
LATE_MS = 20 * HOUR_MS


class Reads:
    """A store that counts what is read of it: calls and rows by table or question."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.calls: Counter[str] = Counter()
        self.rows: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        """What only writes, as it is; what reads, counted."""
        found = getattr(self._store, name)
        if name not in {"scan", "devices", "device_days", "unjudged", "ledger", "nearest", "remembered"}:
            return found

        def counted(*arguments: Any, **options: Any) -> Any:
            what = arguments[0].table if arguments and isinstance(arguments[0], TableSlice) else name
            self.calls[what] += 1
            result = found(*arguments, **options)
            if name in {"scan", "unjudged"}:
                return self._batches(what, result)
            self.rows[what] += 0 if name == "nearest" else len(result)
            return result

        return counted

    def _batches(self, what: str, batches: Iterator[Any]) -> Iterator[Any]:
        for batch in batches:
            self.rows[what] += len(next(iter(batch.values())))
            yield batch

    def told(self) -> str:
        """Sum and parts of what was counted, which begins anew."""
        parts = ", ".join(f"{what} {self.rows[what]} in {calls}" for what, calls in self.calls.most_common())
        line = f"{sum(self.rows.values())} rows in {sum(self.calls.values())} calls ({parts})"
        self.calls.clear()
        self.rows.clear()
        return line


def main() -> None:
    """Print a line a process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=6)
    parser.add_argument("--interval", type=float, default=60.0, help="seconds between readings")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"HVAC_HOME": folder, "HVAC_RUN_MINUTES": "0"}
        run(arguments)


def run(arguments: argparse.Namespace) -> None:
    """Fill a store and count."""
    platform = PlatformResource()
    store, settings = platform.store, platform.settings
    fleet = fleet_of_size(arguments.devices)
    interval_ms = round(arguments.interval * 1000)
    late_ms = now_ms() // DAY_MS * DAY_MS - DAY_MS + LATE_MS
    simulation = FleetSimulation(fleet, seed=5)
    begin_ms = late_ms - LATE_MS - DAY_MS
    taking_in = ingestion(platform)

    def ingest(upto_ms: int) -> None:
        nonlocal begin_ms
        for _ in stream_history(platform.log, platform.topic, simulation, fleet, begin_ms, upto_ms, interval_ms):
            pass
        begin_ms = upto_ms
        while taking_in.step():
            pass

    ingest(late_ms - LATE_MS)
    write_pass(LearningPass(store, platform.encoders, settings, store.devices()))
    ingest(late_ms)
    days = [day_of(late_ms - DAY_MS), day_of(late_ms)]
    write_pass(DetectionPass(store, platform.encoders, settings, list(spans_of_days(store.devices(), days, settings))))
    print(f"{len(fleet)} devices, {store.count('device_state_snapshots')} windows, all judged; then two more of each")
    reads = Reads(store)
    standing = StandingDetection(reads, platform.encoders, settings, until=float("inf"))  # type: ignore[arg-type]
    for name in ("a process that has just started", "one that has judged the windows before"):
        ingest(begin_ms + 2 * MINUTE_MS)
        reads.told()
        before = standing.windows
        while standing.step():
            pass
        windows = standing.windows - before
        print(f"{name}: {windows} windows of {len(fleet)} devices, {reads.told()}", flush=True)
    taking_in.let_go()


if __name__ == "__main__":
    main()
