"""Stores and logs that a command must not touch: of a newer schema, or made with other settings. One line says so."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import apsw
import dagster as dg
import pytest

from devtools import PROJECT_ROOT
from hvac_platform.cli.main import main
from hvac_platform.dashboard.source import Source
from hvac_platform.definitions import defs
from hvac_platform.devices.registry import DEVICE_TYPES_VARIABLE
from hvac_platform.log.base import LogError
from hvac_platform.resources import PlatformResource
from hvac_platform.runtime import connections
from hvac_platform.stores.base import StoreError, TableSlice
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.made_with import DEVICE_TYPES, WINDOW_SECONDS
from hvac_platform_tests.conftest import enter_home, open_dagster
from hvac_platform_tests.dashboard.conftest import settings_of

TYPE = "name: {}\npoints:\n- {{name: speed, normal: [0, 100]}}\n"
READINGS = "timestamp,speed\n2026-06-10T00:00:00Z,50\n2026-06-10T00:01:00Z,51\n2026-06-10T00:05:00Z,51\n"

ON_THE_STORE = [
    ["simulate", "--duration", "0"],
    ["ingest"],
    ["verify"],
    ["lag"],
    ["profiles", "build"],
    ["profiles", "list"],
    ["profiles", "show", "F-1"],
    ["detect"],
    ["compare"],
    ["similar", "--device", "F-1"],
    ["degradation"],
    ["incidents", "list"],
    ["incidents", "show", "F-1/1"],
    ["incidents", "label", "F-1/1", "right"],
    ["maintenance", "list"],
    ["maintenance", "add", "--device", "F-1", "--from", "2026-06-10", "--until", "2026-06-11"],
    ["up", "--port", "3199"],
]
ON_THE_SCHEMA = [["schema", "apply"], ["schema", "apply", "--dry-run"], ["schema", "apply", "--forget-device-types"]]
ON_THE_LOG = [
    ["simulate", "--duration", "0"],
    ["import", "F-1.csv", "--device-type", "fan"],
    ["ingest"],
    ["lag"],
    ["up"],
]


def words(command: list[str]) -> str:
    return " ".join(command)


def forget_open_files() -> None:
    """As in a new process: nothing is open yet."""
    for store in connections._local.__dict__.pop("stores", {}).values():
        store.close()
    for log, _ in connections._local.__dict__.pop("logs", {}).values():
        log.close()


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def hvac(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """A command as a new process runs it: exit code, standard output, standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        forget_open_files()
        monkeypatch.setattr("sys.argv", ["hvac", *arguments])
        code = 0
        try:
            main()
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        forget_open_files()
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one device of a type of the user's own, and windows of 60 s."""
    home = tmp_path_factory.mktemp("made")
    shutil.copy(PROJECT_ROOT / "dagster.yaml", home)
    (home / "types").mkdir()
    (home / "types" / "fan.yaml").write_text(TYPE.format("fan"))
    (home / "F-1.csv").write_text(READINGS)
    with pytest.MonkeyPatch.context() as patch:
        enter_home(home, patch.setenv, lambda name: patch.delenv(name, raising=False), patch.chdir)
        patch.setenv(DEVICE_TYPES_VARIABLE, str(home / "types"))
        for command in (["import", "F-1.csv", "--device-type", "fan"], ["ingest"]):
            patch.setattr("sys.argv", ["hvac", *command])
            main_ends_well()
        forget_open_files()
    return home


def main_ends_well() -> None:
    with suppress(SystemExit):
        main()


@pytest.fixture
def used(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of it, with the settings that it was made with."""
    home = tmp_path / "used"
    shutil.copytree(made, home)
    enter_home(home, monkeypatch.setenv, lambda name: monkeypatch.delenv(name, raising=False), monkeypatch.chdir)
    monkeypatch.setenv(DEVICE_TYPES_VARIABLE, str(home / "types"))
    yield home
    forget_open_files()


def set_version(path: Path, version: int) -> bytes:
    """Mark a file as of another schema; gives its bytes."""
    connection = apsw.Connection(str(path))
    connection.pragma("user_version", version)
    connection.close()
    return path.read_bytes()


def assert_one_line(result: tuple[int, str, str], *said: str) -> None:
    code, out, err = result
    assert code == 1
    lines = (out + err).strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("hvac: ")
    for part in said:
        assert part in lines[0]


# -- a newer schema ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [*ON_THE_STORE, *ON_THE_SCHEMA], ids=words)
def test_a_store_of_a_newer_schema_is_refused_and_not_written_to(used: Path, hvac: Command, command: list[str]) -> None:
    before = set_version(used / "store.db", 99)
    assert_one_line(hvac(*command), "store.db has schema version 99", "use a newer hvac_platform")
    assert (used / "store.db").read_bytes() == before


@pytest.mark.parametrize("command", ON_THE_LOG, ids=words)
def test_a_log_of_a_newer_schema_is_refused_and_not_written_to(used: Path, hvac: Command, command: list[str]) -> None:
    before = set_version(used / "log.db", 99)
    assert_one_line(hvac(*command), "log.db has schema version 99", "use a newer hvac_platform")
    assert (used / "log.db").read_bytes() == before


def test_what_lies_in_the_wal_of_a_newer_file_stays_there(used: Path, hvac: Command) -> None:
    for name in ("store.db", "log.db"):  # as a newer version leaves it that was killed
        newer = apsw.Connection(str(used / name))
        newer.pragma("user_version", 99)
        for suffix in ("", "-wal"):
            shutil.copy(f"{used / name}{suffix}", f"{used / name}{suffix}.kept")
        newer.close()
        for suffix in ("", "-wal"):
            os.replace(f"{used / name}{suffix}.kept", f"{used / name}{suffix}")
    files = [used / f"{name}{suffix}" for name in ("store.db", "log.db") for suffix in ("", "-wal")]
    before = [file.read_bytes() for file in files]
    assert all(before)
    assert_one_line(hvac("verify"), "store.db has schema version 99")
    assert_one_line(hvac("import", "F-1.csv", "--device-type", "fan"), "log.db has schema version 99")
    assert [file.read_bytes() for file in files] == before


def test_check_tells_a_newer_schema_and_what_to_do(used: Path, hvac: Command) -> None:
    before = [set_version(used / name, 99) for name in ("store.db", "log.db")]
    code, out, _ = hvac("check", "--wait", "0")
    assert code == 1
    assert "store.db has schema version 99" in out
    assert "log.db has schema version 99" in out
    assert "schema apply" not in out
    assert [(used / name).read_bytes() for name in ("store.db", "log.db")] == before


def test_the_dashboard_tells_a_newer_schema(used: Path) -> None:
    before = [set_version(used / name, 99) for name in ("store.db", "log.db")]
    source = Source(settings_of(used))
    with pytest.raises(StoreError, match="schema version 99"):
        source.store()
    with pytest.raises(LogError, match="schema version 99"):
        source.log()
    assert [(used / name).read_bytes() for name in ("store.db", "log.db")] == before


def test_sensor_and_run_of_dagster_fail_with_that_line(used: Path) -> None:
    before = set_version(used / "store.db", 99)
    with open_dagster(used) as instance:
        context = dg.build_sensor_context(instance=instance, resources={"platform": PlatformResource()})
        with pytest.raises(StoreError, match="schema version 99"):
            defs.get_sensor_def("kafka_ingestion")(context)
        result = defs.resolve_job_def("housekeeping").execute_in_process(instance=instance, raise_on_error=False)
        assert "schema version 99" in failures_of(result)
    assert (used / "store.db").read_bytes() == before


def test_a_process_that_had_the_files_open_writes_no_more_after_somebody_upgrades_them(used: Path) -> None:
    platform = PlatformResource()
    store, log = platform.store, platform.log
    for name in ("store.db", "log.db"):
        set_version(used / name, 99)
    with pytest.raises(StoreError, match="schema version 99"):
        store.remember("x", "y")
    with pytest.raises(LogError, match="schema version 99"):
        log.append(platform.topic, [(b"k", b"v", 0)])


def failures_of(result: dg.ExecuteInProcessResult) -> str:
    return " ".join(str(event.event_specific_data) for event in result.all_events if event.is_step_failure)


# -- other settings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ON_THE_STORE, ids=words)
def test_another_window_length_is_refused(
    used: Path, hvac: Command, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HVAC_WINDOW_SECONDS", "1")
    assert_one_line(hvac(*command), "has windows of 60 s, and HVAC_WINDOW_SECONDS is 1: set HVAC_WINDOW_SECONDS=60")


@pytest.mark.parametrize("command", ON_THE_STORE, ids=words)
def test_forgotten_device_types_are_refused(
    used: Path, hvac: Command, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(DEVICE_TYPES_VARIABLE)
    assert_one_line(hvac(*command), "has devices of type fan", "set HVAC_DEVICE_TYPES to it again")


@pytest.mark.parametrize("forgotten", ["window", "types"])
def test_check_dashboard_sensor_and_run_tell_it_too(
    used: Path, hvac: Command, forgotten: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "HVAC_WINDOW_SECONDS=60" if forgotten == "window" else "devices of type fan"
    if forgotten == "window":
        monkeypatch.setenv("HVAC_WINDOW_SECONDS", "1")
    else:
        monkeypatch.delenv(DEVICE_TYPES_VARIABLE)
    code, out, _ = hvac("check", "--wait", "0")
    assert code == 1
    assert said in out
    settings = settings_of(used, hvac_window_seconds=1 if forgotten == "window" else 60)
    with pytest.raises(StoreError, match=said):
        Source(settings).store()
    with open_dagster(used) as instance:
        context = dg.build_sensor_context(instance=instance, resources={"platform": PlatformResource()})
        with pytest.raises(StoreError, match=said):
            defs.get_sensor_def("kafka_ingestion")(context)
        result = defs.resolve_job_def("housekeeping").execute_in_process(instance=instance, raise_on_error=False)
        assert said in failures_of(result)


def test_a_store_of_schema_4_tells_its_window_by_its_snapshots(
    used: Path, hvac: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = EmbeddedStore(used / "store.db")
    (device,) = store.devices()
    windows = [at for batch in store.scan(TableSlice("device_state_snapshots")) for at in batch["snapshot_time"]]
    for at in windows:
        store.upsert("device_state_snapshots", snapshot_of(device.device_id, at, 1_000))
    store.close()
    connection = apsw.Connection(str(used / "store.db"))
    connection.execute("DELETE FROM store_settings")
    connection.close()
    assert_one_line(hvac("verify"), "has windows of 1 s, and HVAC_WINDOW_SECONDS is 60")
    monkeypatch.setenv("HVAC_WINDOW_SECONDS", "1")
    assert hvac("verify")[0] == 0
    assert remembered(used)[WINDOW_SECONDS] == "1"


def snapshot_of(device_id: str, at_ms: int, window_ms: int) -> dict[str, list[object]]:
    return {
        "device_id": [device_id],
        "snapshot_time": [at_ms],
        "window_ms": [window_ms],
        "metrics": [{"speed": 50.0}],
        "metric_summary": [{}],
        "completeness": [1.0],
        "revision": [0],
    }


def remembered(home: Path) -> dict[str, str]:
    store = EmbeddedStore(home / "store.db")
    try:
        return store.remembered()
    finally:
        store.close()


def test_types_may_come_from_a_dotenv_file(used: Path, hvac: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DEVICE_TYPES_VARIABLE, "")  # restored afterwards, whatever the file brings into the environment
    monkeypatch.delenv(DEVICE_TYPES_VARIABLE)
    (used / ".env").write_text(f"{DEVICE_TYPES_VARIABLE}=types\n")
    assert hvac("verify")[0] == 0


@pytest.mark.parametrize("spelling", ["types/", "./types", "../used/types", "types:types", "link"])
def test_the_same_folder_may_be_spelled_differently(
    used: Path, hvac: Command, spelling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (used / "link").symlink_to(used / "types")
    monkeypatch.setenv(DEVICE_TYPES_VARIABLE, spelling)
    assert hvac("verify")[0] == 0


def test_a_relative_folder_is_that_of_the_folder_where_the_command_was_given(used: Path, tmp_path: Path) -> None:
    """``ingest`` goes to the folder of ``dagster.yaml``, which is another one here."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.move(used / "types", elsewhere / "types")
    environment = {**os.environ, "HVAC_HOME": str(used), DEVICE_TYPES_VARIABLE: "types"}
    script = (
        "import os, sys; from hvac_platform.cli import running; from hvac_platform.config import load_settings; "
        "from hvac_platform.runtime.connections import open_store; from pathlib import Path; "
        "running._enter(Path(sys.argv[1]), load_settings()); print(open_store(load_settings()).location)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(used)],
        cwd=elsewhere,
        env={**environment, "PYTHONPATH": str(PROJECT_ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, str(used / "store.db")), done.stderr


def test_a_relative_folder_that_is_not_there_is_one_line(
    used: Path, hvac: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DEVICE_TYPES_VARIABLE, "nowhere")
    assert_one_line(hvac("verify"), "nowhere")


@pytest.mark.parametrize("change", ["renamed", "removed"])
def test_a_type_that_was_given_up_is_forgotten_when_asked_for(used: Path, hvac: Command, change: str) -> None:
    (used / "types" / "fan.yaml").rename(used / "types" / "gone.txt")
    if change == "renamed":
        (used / "types" / "blower.yaml").write_text(TYPE.format("blower"))
    assert_one_line(new_process("verify"), "devices of type fan", "hvac schema apply --forget-device-types")
    assert new_process("schema", "apply", "--forget-device-types")[0] == 0
    assert new_process("verify")[0] == 0
    assert remembered(used)[DEVICE_TYPES] == ("blower" if change == "renamed" else "")


def new_process(*arguments: str) -> tuple[int, str, str]:
    """Types are read once a process."""
    done = subprocess.run(
        [sys.executable, "-m", "hvac_platform.cli", *arguments], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_a_store_closes_with_the_thread_that_opened_it(used: Path) -> None:
    script = (
        "import os, threading, gc; from hvac_platform.config import load_settings; "
        "from hvac_platform.runtime.connections import open_store\n"
        "def look(): open_store(load_settings()).devices()\n"
        "def count(): gc.collect(); return len(os.listdir('/proc/self/fd'))\n"
        "look(); before = count()\n"
        "for _ in range(20):\n    t = threading.Thread(target=look); t.start(); t.join()\n"
        "print(count() - before)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) <= 3


def test_check_makes_nothing_and_says_what_is_not_there_yet(home: Path, hvac: Command) -> None:
    before = sorted(path.name for path in home.iterdir())
    code, out, _ = hvac("check")
    assert code == 0
    assert out.count("none yet") == 2
    assert sorted(path.name for path in home.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "part", "said"),
    [
        ("log.db", "message log", "and the ledger has 3 messages of one: put it back, or begin a new one"),
        ("store.db", "store", "3 messages in the log are in no store: hvac ingest makes one of them"),
    ],
)
def test_check_fails_where_a_log_or_a_store_that_was_used_is_gone(
    used: Path, hvac: Command, name: str, part: str, said: str
) -> None:
    for file in used.glob(f"{name}*"):
        file.unlink()
    code, out, _ = hvac("check", "--json")
    (row,) = [row for row in json.loads(out) if row["part"] == part]
    assert code == 1
    assert not row["ok"]
    assert said in row["state"]


@pytest.mark.parametrize("name", ["log.db", "store.db"])
@pytest.mark.parametrize("missing", [100, 4096])
def test_check_tells_a_file_whose_end_is_missing(used: Path, hvac: Command, name: str, missing: int) -> None:
    connection = apsw.Connection(str(used / name))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    os.truncate(used / name, (used / name).stat().st_size - missing)
    code, out, _ = hvac("check", "--json")
    assert code == 1
    (bad,) = [row for row in json.loads(out) if not row["ok"] and name in row["state"]]
    assert "docs/recovery.md" in bad["what_to_do"]


def test_check_does_not_wait_for_messages_that_nobody_can_move(used: Path, hvac: Command) -> None:
    assert hvac("import", "F-1.csv", "--device-type", "fan")[0] == 0
    code, out, err = hvac("check", "--json")
    (row,) = [row for row in json.loads(out) if row["part"].startswith("partition") and not row["ok"]]
    assert code == 1
    assert "messages wait and no hvac up runs here" in row["state"]
    assert err == ""


def test_check_names_settings_that_are_none(used: Path, hvac: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HVAC_WINDOWS_SECONDS", "30")
    code, out, _ = hvac("check", "--json")
    (row,) = [row for row in json.loads(out) if row["part"] == "settings"]
    assert code == 1
    assert row["state"].startswith("HVAC_WINDOWS_SECONDS is no setting: is HVAC_WINDOW_SECONDS meant?")


def test_the_old_name_of_degradation_says_the_new_one_and_does_the_same(used: Path, hvac: Command) -> None:
    code, out, err = hvac("trends")
    assert "hvac trends is hvac degradation now" in err
    assert (code, out, err.splitlines()[1:]) == (*hvac("degradation")[:2], hvac("degradation")[2].splitlines())
