"""What a tick of the detection schedule costs by the size of the fleet: with nothing new, with a new window of each device.

python -m benchmarks.ticks [DEVICES …] [--cql [--hosts HOST …] [--port PORT]] [--windows N] [--days N]

On the embedded store, or with --cql on Cassandra: the one at --port, else one that it starts. Beside CPU seconds of this
process stand the statements that were sent and the rows that came back.
"""

from __future__ import annotations

import argparse
import contextlib
import secrets
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cql import own_cassandra
from hvac_platform.config import load_settings
from hvac_platform.monitoring.pending import pending
from hvac_platform.stores.base import Device, Store
from hvac_platform.stores.cql import CqlSettings, CqlStore
from hvac_platform.stores.cql_unjudged import SKEW_MS
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.timestamps import DAY_MS, day_of, now_ms

TIMES = 5
AT_ONCE = 500


class Counted:
    """A store that counts what is asked of it: calls, and rows that they give."""

    def __init__(self, store: Store) -> None:
        self.store, self.calls, self.rows = store, 0, 0

    def __getattr__(self, name: str) -> Any:
        """Everything else as it is."""
        return getattr(self.store, name)

    def devices(self) -> list[Device]:
        return self._counted(self.store.devices())

    def ledger(self, topic: str) -> Any:
        return self._counted(self.store.ledger(topic))

    def scan(self, *arguments: Any, **options: Any) -> Iterator[Any]:
        return self._batches(self.store.scan(*arguments, **options))

    def unjudged(self, *arguments: Any, **options: Any) -> Iterator[Any]:
        return self._batches(self.store.unjudged(*arguments, **options))

    def _counted(self, result: Any) -> Any:
        self.calls += 1
        self.rows += len(result)
        return result

    def _batches(self, batches: Iterator[Any]) -> Iterator[Any]:
        self.calls += 1
        for batch in batches:
            self.rows += len(next(iter(batch.values())))
            yield batch


class Statements:
    """Counts what a CQL store sends to its servers, and the rows that come back."""

    def __init__(self, store: Store) -> None:
        self.sent = self.rows = 0
        client = getattr(store, "_client", None)
        if client is None:
            return
        execute, run, next_page = client.execute, client.run, client.next_page

        def counted_execute(*arguments: Any) -> Any:
            result = execute(*arguments)
            self._count([result])
            return result

        def counted_run(calls: Any, **how: Any) -> Any:
            results = run(calls, **how)
            self._count(results)
            return results

        def counted_page(result: Any) -> None:
            next_page(result)
            self._count([result])

        client.execute, client.run, client.next_page = counted_execute, counted_run, counted_page

    def _count(self, results: list[Any]) -> None:
        self.sent += len(results)
        self.rows += sum(len(r.current_rows) for r in results if getattr(r, "column_names", None))


def fill(store: Store, devices: list[str], start_ms: int, windows: int, *, judged: bool) -> None:
    """Windows of all devices, new, or judged thereafter."""
    times = (start_ms + 60_000 * np.arange(windows)).tolist()
    for first in range(0, len(devices), AT_ONCE):
        some = devices[first : first + AT_ONCE]
        n = len(some) * windows
        key = {"device_id": [d for d in some for _ in times], "snapshot_time": times * len(some)}
        store.upsert(
            "device_state_snapshots",
            {
                **key,
                "window_ms": [60_000] * n,
                "metrics": [{"power": 1.0}] * n,
                "metric_summary": [{}] * n,
                "completeness": [1.0] * n,
                "revision": [7] * n,
            },
        )
        if judged:
            store.update("device_state_snapshots", key | {"judged_revision": [7] * n})


def past(store: Store, devices: list[str], last_ms: int, days: int) -> None:
    """Days before the last one that every device was heard on, all of them judged; their windows are left out."""
    dates = [day_of(last_ms - DAY_MS * back) for back in range(1, days + 1)]
    for first in range(0, len(devices), AT_ONCE):
        some = devices[first : first + AT_ONCE]
        n = len(some) * len(dates)
        columns = {"device_id": [d for d in some for _ in dates], "date": dates * len(some)}
        marks = dict.fromkeys(("raw_written_at", "snapshots_written_at"), [last_ms] * n)
        if n:
            store.upsert("device_days", columns | marks | {"judged_at": [last_ms + 1] * n})


def judged_whole(store: Store, devices: list[str], day_ms: int) -> None:
    """Detection has found nothing left on a day."""
    marks = {"date": [day_of(day_ms)] * len(devices), "judged_at": [now_ms() + 1] * len(devices)}
    store.update("device_days", {"device_id": devices} | marks)


def cost(store: Store, now: int) -> tuple[str, int]:
    """What a tick costs, the least of some; and how many devices have something to judge."""
    settings, spent, took, found = load_settings(), [], [], 0
    counted = Counted(store)
    statements = Statements(store)
    for _ in range(TIMES):
        counted.calls = counted.rows = statements.sent = statements.rows = 0
        began, clock = time.process_time(), time.monotonic()
        found = sum(len(devices) for devices in pending(counted, settings, now).by_day.values())  # type: ignore[arg-type]
        spent.append(time.process_time() - began)
        took.append(time.monotonic() - clock)
    sent = f"{statements.sent} st, {statements.rows} rows" if statements.sent else f"{counted.rows} rows"
    return f"{min(spent):.3f} CPU-s, {min(took):.2f} s; {counted.calls} calls, {sent}", found


@contextlib.contextmanager
def opened(options: argparse.Namespace) -> Iterator[Store]:
    """The store to measure on, empty."""
    with contextlib.ExitStack() as stack:
        if not options.cql:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            store: Store = EmbeddedStore(Path(folder) / "store.db")
        else:
            port = options.port
            keyspace = f"ticks_{secrets.token_hex(4)}"
            store = CqlStore(
                CqlSettings(
                    tuple(options.hosts), port=port, keyspace=keyspace, replication_factor=1, request_seconds=60
                )
            )
            stack.callback(lambda: store._client.execute(f"DROP KEYSPACE {keyspace}"))  # type: ignore[attr-defined]
        yield store
        stack.close()
        store.close()


def main() -> None:
    """Print a line a fleet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("devices", nargs="*", type=int, default=[50, 800, 10_000])
    parser.add_argument("--cql", action="store_true")
    parser.add_argument("--hosts", nargs="+", default=["127.0.0.1"])
    parser.add_argument("--port", type=int)
    parser.add_argument("--windows", type=int, default=30, help="windows of the last day that are judged already")
    parser.add_argument("--days", type=int, default=30, help="days before it that are judged whole")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        if options.cql and options.port is None:
            options.port = stack.enter_context(own_cassandra())
        measure(options)


def measure(options: argparse.Namespace) -> None:
    """All fleets on one kind of store."""
    now = now_ms()
    start = now - now % DAY_MS - DAY_MS
    for size in options.devices:
        with opened(options) as store:
            names = [f"D-{i:05}" for i in range(size)]
            last = start + 60_000 * (options.windows + 1)
            store.register_devices([Device(name, "chiller", "", "", start, last, 0) for name in names])
            past(store, names, start, options.days)
            fill(store, names, start, options.windows, judged=True)
            judged_whole(store, names, start)
            just, nobody = cost(store, now)
            print(f"{size:>6} devices, all just judged:   {just}")
            time.sleep(SKEW_MS / 1000 if options.cql else 0)  # so long what was just written is looked at again
            pending(store, load_settings(), now)
            idle, nobody = cost(store, now)
            fill(store, names, start + 60_000 * options.windows, 1, judged=False)
            busy, everybody = cost(store, now)
        assert (nobody, everybody) == (0, size)
        print(f"{size:>6} devices, nothing new:       {idle}")
        print(f"{size:>6} devices, a new window each: {busy}", flush=True)


if __name__ == "__main__":
    main()
