"""What other limits would have shown of a month of a fleet: `python -m benchmarks.what_if --help`; prints, judges nothing.

`hvac replay` as a user runs it, over a store whose windows were all judged, so that their scores are kept. Ten devices are
simulated, learned from and judged; the others are copies of their rows, each read and judged as a device of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.copies import SIMULATED, copy_rows, fill_with_copies
from hvac_platform.devices.fleet import FleetDevice, fleet_of_size
from hvac_platform.devices.registry import device_type
from hvac_platform.stores.base import Device
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.timestamps import DAY_MS, day_start, iso

FIRST_DAY = "2026-06-01"
LEARNED_DAYS = 7
COPIED = ("device_state_snapshots", "device_profiles", "device_points", "device_days", "snapshot_verdicts")
OTHER_PARAMETERS = {
    "rooftop_unit": ("startup_time", 10),
    "makeup_air_unit": ("supply_air_target", 68),
    "chiller": ("min_delta_t", 6),
    "cooling_tower": ("startup_time", 20),
    "air_compressor": ("pressure_tolerance", 5),
}
"""Of each type a parameter that another rule set differs in."""


def say(what: str, figure: str, note: str = "") -> None:
    print(f"{what:<58}{figure:>18}   {note}".rstrip(), flush=True)


def hvac(home: Path, *arguments: str) -> tuple[str, float, float]:
    """A command of the platform: what it printed, its seconds by the clock, and those of processors in all its processes."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "hvac_platform.cli", *arguments],
        cwd=home,
        env={**os.environ, "HVAC_HOME": str(home)},
        capture_output=True,
        text=True,
    )
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    return done.stdout, wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def build(home: Path, devices: int, days: int) -> None:
    """A store of so many devices whose windows of so many days are judged."""
    home.mkdir(parents=True, exist_ok=True)
    began, start_ms = time.perf_counter(), day_start(FIRST_DAY)
    store = EmbeddedStore(home / "store.db")
    fill_with_copies(store, min(devices, SIMULATED), start_ms, days=days)
    store.close()
    say("simulated", f"{time.perf_counter() - began:.0f} s")
    _, wall, cpu = hvac(home, "profiles", "build", "--days-back", str(LEARNED_DAYS), "--json")
    say("learned", f"{wall:.0f} s", f"{cpu:.0f} CPU-s")
    _, wall, cpu = hvac(home, "detect", "--from", iso(start_ms), "--until", iso(start_ms + days * DAY_MS), "--json")
    say("judged", f"{wall:.0f} s", f"{cpu:.0f} CPU-s")
    store = EmbeddedStore(home / "store.db")
    _copy(store, fleet_of_size(devices))
    store.close()
    size = (home / "store.db").stat().st_size / 1e9
    say(f"{devices:,} devices, {days} days, made", f"{time.perf_counter() - began:.0f} s", f"{size:,.1f} GB")


def _copy(store: EmbeddedStore, fleet: Sequence[FleetDevice]) -> None:
    """The devices of a fleet beyond the simulated ones, as copies of those."""
    known = {device.device_id: device for device in store.devices()}
    for twin, original in zip(fleet[SIMULATED:], (i % SIMULATED for i in range(len(fleet))), strict=False):
        one = known[fleet[original].device_id]
        assert twin.device_type == one.device_type
        store.register_devices(
            [Device(twin.device_id, one.device_type, twin.location, twin.building_id, one.first_seen, one.last_seen, 0)]
        )
        for table in COPIED:
            copy_rows(store, table, one.device_id, twin.device_id)
        copy_rows(store, "anomaly_events", one.device_id, twin.device_id)
        store.connection.execute(
            "UPDATE anomaly_events SET event_id = device_id || '/' || detected_at WHERE device_id = ?",
            (twin.device_id,),
        )


def measure(home: Path, what: str, aim_s: float, *questions: Sequence[str]) -> None:
    """Ask `hvac replay` some questions that are one to a person; what they took together."""
    store = EmbeddedStore(home / "store.db")
    devices = store.devices()
    store.close()
    span = (
        "--from",
        iso(min(d.first_seen for d in devices)),
        "--until",
        iso(max(d.last_seen for d in devices) + 60_000),
    )
    wall = cpu = 0.0
    told: list[dict[str, object]] = []
    for question in questions:
        printed, seconds, cpu_seconds = hvac(home, "replay", *span, *question, "--json")
        wall, cpu, told = wall + seconds, cpu + cpu_seconds, told + json.loads(printed)
    assert len(told) == len(devices), (len(told), len(devices))
    won, lost = (sum(len(one[name]) for one in told) for name in ("won", "lost"))  # type: ignore[misc,arg-type]
    windows = sum(one["windows"] for one in told)  # type: ignore[misc]
    say(what, f"{wall:.0f} s", f"{cpu:.0f} CPU-s; {windows:,} windows, {won:,} won, {lost:,} lost (aim: {aim_s:.0f} s)")


def other_rules(folder: Path, types: Sequence[str]) -> list[tuple[str, str]]:
    """What `hvac replay` is asked to try another parameter of the rules of each type."""
    questions = []
    for name in types:
        parameter, value = OTHER_PARAMETERS[name]
        assert device_type(name) is not None
        file = folder / f"{name}.yaml"
        file.write_text(f"name: {name}\nparameters:\n  {parameter}: {value}\n", encoding="utf-8")
        questions.append(("--rules", str(file)))
    return questions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=100)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--home", type=Path, help="a folder whose store is made where it has none, and kept")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hvac-bench-") as name:
        home = (arguments.home or Path(name)).resolve()
        if not (home / "store.db").exists():
            build(home, arguments.devices, arguments.days)
        types = sorted({device.device_type for device in fleet_of_size(arguments.devices)})
        measure(home, "other multiple of the limits", 60, ("--times-limit", "1.5"))
        measure(home, "other similarity limit", 60, ("--similarity", "0.9"))
        measure(home, "other budget of false alarms", 60, ("--budget", "0.2"))
        measure(home, "another parameter in the rules of every type", 60, *other_rules(Path(name), types))
        measure(home, "all judged again", 600, ())


if __name__ == "__main__":
    main()
