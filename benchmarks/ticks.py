"""What a tick of the detection schedule costs by the size of the fleet: with nothing new, with a new window of each device.

python benchmarks/ticks.py [DEVICES …]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from hvac_platform.config import load_settings
from hvac_platform.monitoring.pending import pending
from hvac_platform.stores.base import Device
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.timestamps import DAY_MS, now_ms

JUDGED_WINDOWS = 30
TIMES = 5


def fill(store: EmbeddedStore, devices: list[str], start_ms: int, windows: int, *, judged: bool) -> None:
    """Windows of all devices, judged or new."""
    times = (start_ms + 60_000 * np.arange(windows)).tolist()
    for first in range(0, len(devices), 500):
        some = devices[first : first + 500]
        n = len(some) * windows
        store.upsert(
            "device_state_snapshots",
            {
                "device_id": [d for d in some for _ in times],
                "snapshot_time": times * len(some),
                "window_ms": [60_000] * n,
                "metrics": [{"power": 1.0}] * n,
                "metric_summary": [{}] * n,
                "completeness": [1.0] * n,
                "revision": [7] * n,
                "judged_revision": [7 if judged else None] * n,
            },
        )


def cost(store: EmbeddedStore, now: int) -> tuple[float, int]:
    """CPU seconds of a tick, the least of some, and how many devices have something to judge."""
    settings, spent, found = load_settings(), [], 0
    for _ in range(TIMES):
        began = time.process_time()
        found = sum(len(devices) for devices in pending(store, settings, now).by_day.values())
        spent.append(time.process_time() - began)
    return min(spent), found


def main() -> None:
    """Print a line a fleet."""
    sizes = [int(text) for text in sys.argv[1:]] or [50, 800, 10_000]
    now = now_ms()
    start = now - now % DAY_MS - DAY_MS
    print(f"{'devices':>8} {'nothing new':>12} {'a new window each':>18}   CPU seconds a tick")
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            store = EmbeddedStore(Path(folder) / "store.db")
            names = [f"D-{i:05}" for i in range(size)]
            last = start + 60_000 * (JUDGED_WINDOWS + 1)
            store.register_devices([Device(name, "chiller", "", "", start, last, 0) for name in names])
            fill(store, names, start, JUDGED_WINDOWS, judged=True)
            idle, nobody = cost(store, now)
            fill(store, names, start + 60_000 * JUDGED_WINDOWS, 1, judged=False)
            busy, everybody = cost(store, now)
            store.close()
        assert (nobody, everybody) == (0, size)
        print(f"{size:>8} {idle:>12.3f} {busy:>18.3f}", flush=True)


if __name__ == "__main__":
    main()
