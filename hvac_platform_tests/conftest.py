"""What the tests share: a home folder, a Dagster instance, the platform on them, messages good and bad.

Everything is real: the embedded log and store in a temporary folder, Dagster's storage, processes that can be killed.
"""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
from pathlib import Path

import dagster as dg
import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from devtools import PROJECT_ROOT
from hvac_platform.config import Settings
from hvac_platform.devices.registry import device_type as device_type_of
from hvac_platform.ingestion.messages import Metric, encode_metric, format_timestamp
from hvac_platform.resources import PlatformResource
from hvac_platform.stores.base import TableSlice
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.timestamps import day_start

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a background job: it is inherited
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.pop("COLUMNS", None)  # tables are as without a terminal, whatever the one is that tests run in
for contract in ("stores.ledger_contract", "stores.store_contract", "log.log_contract"):
    pytest.register_assert_rewrite(f"hvac_platform_tests.{contract}")

DAY, NEXT_DAY = "2025-03-10", "2025-03-11"  # past on every clock, and inside the daily partitions
NOON_MS = day_start(DAY) + 12 * 3_600_000
MIDNIGHT_MS = day_start(NEXT_DAY)
SECOND_MS, MINUTE_MS, HOUR_MS = 1_000, 60_000, 3_600_000

CONTENT_TABLES = {
    "device_metrics_raw": (),
    "device_state_snapshots": (),
    "dead_letters": ("rejected_at",),
}
"""Tables whose content follows from the log alone, with the columns that don't."""


@event.listens_for(Engine, "connect")
def _trust_the_operating_system(connection, _):
    """Dagster's own storage need not survive a power cut in tests: most of a small run's time would be waiting for disks."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")


# -- folders and services ----------------------------------------------------------------------------------------------


def enter_home(folder, setenv, delenv, chdir):
    """Point this process's platform at a folder, whatever the environment and ``.env`` files say."""
    for name in Settings.model_fields:
        delenv(name.upper())
    setenv("HVAC_HOME", str(folder))
    setenv("HVAC_RUN_MINUTES", "0")  # a run takes one range in, and ends; tests of what stands say so
    chdir(folder)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder of the test's own as HVAC_HOME and working directory, with Dagster's configuration in it."""
    folder = tmp_path / "home"
    folder.mkdir()
    shutil.copy(PROJECT_ROOT / "dagster.yaml", folder / "dagster.yaml")
    enter_home(folder, monkeypatch.setenv, lambda name: monkeypatch.delenv(name, raising=False), monkeypatch.chdir)
    return folder


@pytest.fixture
def instance(home):
    """A Dagster instance whose storage is in the home folder."""
    with open_dagster(home) as opened:
        yield opened


@pytest.fixture
def platform(home):
    """Store, log and encoder in the home folder."""
    opened = PlatformResource()
    yield opened
    opened.leases.let_all_go()  # a process has one home; tests have many
    opened.store.close()
    opened.log.close()


@pytest.fixture
def store(tmp_path):
    """An embedded store on its own."""
    opened = EmbeddedStore(tmp_path / "store.db")
    yield opened
    opened.close()


def open_dagster(home):
    """The Dagster instance of a home folder. Several processes may open it; they make its storage one after the other."""
    folder = home / ".dagster"
    folder.mkdir(exist_ok=True)
    with (folder / "opening.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        return dg.DagsterInstance.local_temp(str(folder), overrides={"telemetry": {"enabled": False}})


processes = multiprocessing.get_context("forkserver")  # children start with the imports done and nothing open
processes.set_forkserver_preload(
    [
        "hvac_platform.execution",
        "hvac_platform_tests.conftest",
        *("hvac_platform.alerts.delivery", "hvac_platform.alerts.receivers.email", "httpx"),
        *("dagster._core.storage.sqlite_storage", "dagster._core.storage.local_compute_log_manager"),
        *("dagster._core.execution.execute_in_process", "dagster._core.executor.in_process"),
        *("dagster._core.storage.migration.utils", "dagster._daemon", "dagster._core.execution.submit_asset_runs"),
    ]
)


def in_home(home, function, *arguments):
    """Body of a child process: enter the home folder, then do something."""
    enter_home(Path(home), os.environ.__setitem__, lambda name: os.environ.pop(name, None), os.chdir)
    function(*arguments)


_started = []


def start_process(home, function, *arguments):
    """A child process that calls a function in a home folder."""
    process = processes.Process(target=in_home, args=(str(home), function, *arguments))
    process.start()
    _started.append(process)
    return process


def pytest_sessionfinish():
    """End what a failed test has left running: this process would wait for it for ever."""
    for process in _started:
        if process.is_alive():
            process.kill()


def all_succeed(started):
    """Wait for child processes."""
    for process in started:
        process.join(120)
    assert [process.exitcode for process in started] == [0] * len(started)


LONGEST = (
    *("live/test_killed_platform.py", "integration/test_cql_reliability.py", "test_recovery_recipes.py"),
    *("integration/test_celery_workers.py", "test_wheel.py", "integration/test_failing_network.py"),
    *("live/test_endings.py", "integration/test_large_messages.py", "cli/test_hostile_surroundings.py"),
    *("integration/test_kafka_log.py", "live/test_webserver.py"),
)
"""Files that take minutes, longest first: whole files go to one process, and none of these should be the last."""


def pytest_collection_modifyitems(items):
    """Begin with the longest files; the others keep their order."""
    rank = {name: position for position, name in enumerate(LONGEST)}
    here = Path(__file__).parent
    items.sort(key=lambda item: rank.get(os.path.relpath(item.path, here), len(LONGEST)))


@pytest.fixture
def say(request, record_property):
    """Keep what a test counted; all of it is printed at the end of the run."""
    return lambda *parts: record_property("counted", f"{request.node.name}: {'; '.join(map(str, parts))}")


def pytest_terminal_summary(terminalreporter):
    """Print what the tests counted."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.getreports(outcome)]
    counted = [text for report in reports for name, text in report.user_properties if name == "counted"]
    if counted:
        terminalreporter.section("counted")
        for text in counted:
            terminalreporter.line(text)


# -- messages ----------------------------------------------------------------------------------------------------------


def reading(
    device_id="RTU-001",
    at_ms=NOON_MS,
    metric="supply_air_temp",
    value=72.5,
    *,
    device_type="rooftop_unit",
    unit=None,
    location="building-A",
    building_id="bldg-001",
):
    """A good message, ready to append; where no unit is given, in the declared one."""
    declared = device_type_of(device_type)
    if unit is None:
        unit = declared.point(metric).unit if declared is not None and metric in declared.index else "°F"
    metric = Metric(device_id, device_type, format_timestamp(at_ms), metric, value, unit, location, building_id)
    return device_id.encode(), encode_metric(metric), at_ms


def readings(device_id, start_ms, minutes, *, every_ms=10_000, metrics=("supply_air_temp", "fan_speed"), **fields):
    """Good messages of one device over some minutes; the values vary with time and metric."""
    return [
        reading(device_id, at_ms, metric, 70.0 + (at_ms // every_ms * (j + 3)) % 17 / 4, **fields)
        for at_ms in range(start_ms, start_ms + minutes * MINUTE_MS, every_ms)
        for j, metric in enumerate(metrics)
    ]


def _changed(**changes):
    fields = json.loads(reading()[1]) | changes
    return json.dumps({name: value for name, value in fields.items() if value is not ...}).encode()


BAD_VALUES = {
    "not JSON": b'{"device_id": "RTU-001", ',
    "not UTF-8": b"\xff\xfe{}",
    "not an object": b"[1, 2, 3]",
    "empty": b"",
    "a tombstone": None,
    "a missing field": _changed(metric_name=...),
    "a reading in words": _changed(metric_value="hot"),
    "a reading of null": _changed(metric_value=None),
    "NaN": _changed(metric_value=float("nan")),
    "infinity": _changed(metric_value=float("inf")),
    "an unparsable time": _changed(timestamp="yesterday"),
    "a time before 2000": _changed(timestamp="1999-12-31T23:59:59Z"),
    "a time far ahead": _changed(timestamp="2999-01-01T00:00:00Z"),
    "an empty device id": _changed(device_id=" "),
    "an over-long device id": _changed(device_id="d" * 129),
    "an over-long metric name": _changed(metric_name="m" * 129),
    "an oversize message": _changed(location="x" * 70_000),
}


def bad(kind, at_ms=NOON_MS, key=b"RTU-001"):
    """A message that must be rejected, ready to append."""
    return key, BAD_VALUES[kind], at_ms


# -- what is in the store ----------------------------------------------------------------------------------------------


def rows(store, table, *columns, without=(), **restriction):
    """Rows of a table in key order, as tuples."""
    found = []
    for batch in store.scan(TableSlice(table, columns, **restriction)):
        found += zip(*(values for name, values in batch.items() if name not in without), strict=True)
    return found


def contents(store):
    """Everything that follows from the log, in full; but not the time at which a message was found to be ahead of it."""
    found = {table: rows(store, table, without=without) for table, without in CONTENT_TABLES.items()}
    found["dead_letters"] = [(*row[:-1], row[-1].partition(" ahead of ")[0]) for row in found["dead_letters"]]
    return found


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 12 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small file system needs root")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
