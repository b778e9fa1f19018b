"""Profile build of a fleet with a day of 60 s windows: `python -m benchmarks.profiles --help`; prints, judges nothing.

`hvac profiles build` as a user runs it, in one process and in as many as it chooses. The devices are copies of ten simulated
ones, each with a history, an encoder and a profile of its own.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.copies import fill_with_copies
from hvac_platform.runtime.worker_processes import usable_processors
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.timestamps import day_start

DAY = "2026-06-10"


def say(what: str, figure: str, note: str = "") -> None:
    print(f"{what:<58}{figure:>18}   {note}".rstrip(), flush=True)


def filled(folder: Path, devices: int, days: float) -> Path:
    """A home folder with a store of so many devices."""
    home = folder / "unlearned"
    home.mkdir()
    store = EmbeddedStore(home / "store.db")
    began = time.perf_counter()
    fill_with_copies(store, devices, day_start(DAY), days=days)
    store.close()
    size = (home / "store.db").stat().st_size / 1e6
    say(
        f"{devices:,} devices, {days:g} days of 60 s windows, made",
        f"{time.perf_counter() - began:.0f} s",
        f"{size:,.0f} MB",
    )
    return home


def build(home: Path, processes: int, devices: int) -> None:
    """One build of all profiles; the processor time is that of all its processes."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "hvac_platform.cli", "profiles", "build", "--json"],
        cwd=home,
        env={**os.environ, "HVAC_HOME": str(home), "HVAC_PROFILE_PROCESSES": str(processes)},
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert done.returncode == 0, done.stderr
    built = done.stdout.count('"device":')
    assert built == devices, (built, devices)
    how = f"in {processes or f'as many processes as it chooses ({usable_processors()} processors)'}"
    say(
        f"profile build, {devices:,} devices, {how}",
        f"{seconds:.0f} s",
        f"{1000 * cpu / devices:.0f} CPU-ms a device, largest process {after.ru_maxrss / 1024:.0f} MB (aim: 1,000 in 240 s)",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--days", type=float, default=1.0)
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 0], help="0: as many as it chooses")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hvac-bench-") as name:
        home = filled(Path(name), arguments.devices, arguments.days)
        for processes in arguments.processes:
            copy = Path(shutil.copytree(home, Path(name) / f"of-{processes}"))
            build(copy, processes, arguments.devices)
            shutil.rmtree(copy)


if __name__ == "__main__":
    main()
