"""The level at which Dagster's run storage settles, at default settings.

Real runs are made once; then hours of live operation are laid on top of one another by copying those runs (rows and files)
under new ids, 300 runs an hour as with five devices, and after each hour the maintenance job runs as its schedule does.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sqlite3
import tempfile
import time
import uuid
from pathlib import Path

from hvac_platform.devices.fleet import default_fleet
from hvac_platform.execution import ingest_everything, open_instance, run_job
from hvac_platform.resources import PlatformResource
from hvac_platform.runtime.run_storage import run_files, size_of
from hvac_platform.sensors import kafka_ingestion
from hvac_platform.shipped import place_instance_file
from hvac_platform.simulation.fleet_simulation import FleetSimulation
from hvac_platform.simulation.streaming import stream_history
from hvac_platform.timestamps import DAY_MS, now_ms

RUNS_AN_HOUR = 300


def copied(database: Path, table: str, run_id: str, new_id: str, when: float) -> None:
    """Copy the rows of a run in one table under another id."""
    with sqlite3.connect(database, timeout=60) as connection:
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})") if row[1] != "id"]
        for row in connection.execute(f"SELECT {', '.join(columns)} FROM {table} WHERE run_id=?", (run_id,)).fetchall():
            values = dict(zip(columns, row, strict=True))
            values["run_id"] = new_id
            for name in ("run_body", "event", "value"):
                if isinstance(values.get(name), str):
                    values[name] = values[name].replace(run_id, new_id)
            if "create_timestamp" in values:
                values["create_timestamp"] = time.strftime("%Y-%m-%d %H:%M:%S.000000", time.gmtime(when))
            connection.execute(
                f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",
                list(values.values()),
            )
    connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=int, default=30)
    parser.add_argument("--runs-an-hour", type=int, default=RUNS_AN_HOUR, help="8 where runs stand for 15 minutes")
    arguments = parser.parse_args()
    kafka_ingestion.PACE_SECONDS = 0
    with tempfile.TemporaryDirectory(prefix="hvac-storage-") as folder:
        home = Path(folder)
        place_instance_file(home)
        os.environ["HVAC_HOME"] = folder
        os.chdir(folder)
        platform, instance = PlatformResource(), open_instance(home)
        simulation, fleet = FleetSimulation(default_fleet(), seed=5), default_fleet()
        start = now_ms() - DAY_MS // 24
        made = []
        for n in range(6):
            list(
                stream_history(
                    platform.log,
                    platform.topic,
                    simulation,
                    fleet,
                    start + n * 20_000,
                    start + (n + 1) * 20_000,
                    10_000,
                )
            )
            list(ingest_everything(instance, platform))
            made.append(instance.get_runs(limit=1)[0].run_id)
        storage = home / ".dagster"
        one = sum(sum(map(size_of, run_files(instance, run_id))) for run_id in made) / len(made)
        print(f"a run: {one / 1e3:.0f} kB of files of its own", flush=True)
        runs_db, index_db = next(storage.rglob("runs.db")), next(storage.rglob("index.db"))
        events = index_db.parent
        began = time.time() - arguments.hours * 3600
        highest = 0.0
        for hour in range(arguments.hours):
            for n in range(arguments.runs_an_hour):
                source, new_id = made[n % len(made)], str(uuid.uuid4())
                when = began + hour * 3600 + n * 3600 / arguments.runs_an_hour
                for table in ("runs", "run_tags"):
                    copied(runs_db, table, source, new_id, when)
                copied(index_db, "event_logs", source, new_id, when)
                shutil.copy(events / f"{source}.db", events / f"{new_id}.db")
                for path in run_files(instance, source):
                    if path.is_dir():
                        shutil.copytree(path, path.parent / new_id)
            before = size_of(storage) / 1e6
            highest = max(highest, before)
            made_again = time.monotonic()
            run_job("housekeeping", instance, {})
            print(
                f"hour {hour + 1}: {before:.0f} MB before upkeep, {size_of(storage) / 1e6:.0f} MB after it "
                f"({instance.get_runs_count()} runs, {time.monotonic() - made_again:.0f} s)",
                flush=True,
            )
            if not all(
                instance.has_run(run_id) for run_id in made
            ):  # upkeep has taken the originals: go on from copies
                made = [run.run_id for run in instance.get_runs(limit=6) if run.job_name == "ingestion"] or made
        print(f"highest {highest:.0f} MB, at the end {size_of(storage) / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
