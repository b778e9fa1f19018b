"""Whatever a command is given, and wherever it runs: one clear line, never a traceback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from hvac_platform.cli.main import app, expected_cause, told
from hvac_platform.log.embedded import EmbeddedLog
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform_tests.conftest import NOON_MS, readings
from hvac_platform_tests.sensors.test_full_disk import filled_up

NUMBERS = ("nan", "inf", "-inf", "-2", "9e99", "ten", "\x1b[31m", "9" * 400)
INSTANTS = ("0001-01-01T00:00:00+14:00", "9999-12-31", "1969-12-31", "2999-01-01", "nan", "\x00", "12" * 300)
RUN = (
    ("check",), ("verify",), ("lag",), ("ingest",), ("schema", "apply"),
    ("profiles", "build"), ("profiles", "list"), ("profiles", "show", "RTU-001"), ("detect",), ("compare",),
    ("similar", "--device", "RTU-001"), ("degradation",), ("incidents", "list"), ("incidents", "show", "RTU-001/1"),
    ("maintenance", "list"), ("simulate", "--duration", "0"), ("demo", "--once"), ("up",),
)  # fmt: skip


def options():
    """Every option of every command that takes a number or an instant, with what else the command needs."""
    waiting = [((), typer.main.get_command(app))]
    while waiting:
        path, command = waiting.pop()
        if hasattr(command, "commands"):
            names = command.list_commands(None)
            waiting += [((*path, name), command.get_command(None, name)) for name in names]
            continue
        needed = []
        for parameter in command.params:
            if parameter.required:
                value = __file__ if parameter.type_descriptor.annotation in (Path, list[Path]) else "2025-01-01"
                needed += [parameter.opts[0], value] if parameter.param_type_name == "option" else [value]
        for parameter in command.params:
            name = parameter.opts[0]
            if parameter.param_type_name != "option" or parameter.is_flag:
                continue
            if parameter.type_descriptor.annotation in (int, float):
                yield from ((path, needed, name, text) for text in NUMBERS)
            elif name in {"--from", "--until", "--start", "--end", "--at"}:
                yield from ((path, needed, name, text) for text in INSTANTS)


def is_one_line(result, path):
    assert result.returncode in {1, 2}, f"{path}: {result.stdout}{result.stderr}"
    assert "Traceback" not in result.stderr, f"{path}: {result.stderr[-1500:]}"
    return result.stderr.strip().splitlines()


def hvac(*arguments, cwd, **environment):
    return subprocess.run(
        [sys.executable, "-m", "hvac_platform.cli", *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_no_option_takes_a_number_or_an_instant_that_makes_no_sense(platform):
    """In this process, where a traceback is an exception."""
    platform.log.append(platform.topic, readings("RTU-001", NOON_MS, 1))
    tried = list(options())
    assert len({(path, name) for path, _, name, _ in tried}) >= 25
    for path, needed, name, text in tried:
        result = CliRunner().invoke(app, [*path, *needed, name, text])
        place = f"hvac {' '.join(path)} {name} {text[:20]!r}"
        assert isinstance(result.exception, SystemExit), f"{place}: {result.exception!r}"
        assert result.exit_code in {1, 2}, f"{place}: exit code {result.exit_code}"


@pytest.mark.parametrize("number", ["²", "99999999999999999999", "-1"])
def test_an_incident_that_can_not_be_is_not_found(platform, number):
    assert CliRunner().invoke(app, ["incidents", "show", f"RTU-001/{number}"]).exit_code == 2


@pytest.fixture(params=["an empty home", "a home with data"])
def read_only(tmp_path, request):
    """A folder on a file system that is mounted read-only, without and with a store and a log in it."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting needs root")
    folder = tmp_path / "read-only"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    if request.param == "a home with data":
        log = EmbeddedLog(folder / "log.db")
        log.create_topic("iot-metrics")
        log.append("iot-metrics", readings("RTU-001", NOON_MS, 1))
        log.close()
        EmbeddedStore(folder / "store.db").close()
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("command", RUN, ids=" ".join)
def test_a_home_that_can_not_be_written_is_one_line_for_every_command(read_only, tmp_path, command):
    lines = is_one_line(hvac(*command, cwd=tmp_path, HVAC_HOME=str(read_only)), command)
    if command != ("check",):  # which tells of each part by itself
        assert any(line.startswith("hvac: ") for line in lines), lines
        assert len(lines) <= 3, lines


@pytest.mark.parametrize("command", [("verify",), ("ingest",), ("profiles", "build")], ids=" ".join)
def test_a_file_where_the_home_should_be_is_one_line(tmp_path, command):
    (tmp_path / "home").write_text("")
    lines = is_one_line(hvac(*command, cwd=tmp_path, HVAC_HOME=str(tmp_path / "home")), command)
    assert lines[-1].startswith("hvac: ")


@pytest.mark.parametrize("command", RUN, ids=" ".join)
def test_a_setting_that_makes_no_sense_is_one_line_for_every_command(tmp_path, command):
    result = hvac(*command, cwd=tmp_path, HVAC_HOME=str(tmp_path / "home"), HVAC_PROFILE_DAYS_BACK="inf")
    lines = is_one_line(result, command)
    assert any("HVAC_PROFILE_DAYS_BACK='inf'" in line for line in [*lines, *result.stdout.splitlines()])


@pytest.mark.parametrize("command", [("verify",), ("up",), ("ingest",)], ids=" ".join)
def test_a_binary_env_file_is_one_line(tmp_path, command):
    (tmp_path / ".env").write_bytes(b"\xff\xfe\x00")
    (line,) = is_one_line(hvac(*command, cwd=tmp_path), command)
    assert line.startswith("hvac: ")
    assert ".env: not a text file in UTF-8" in line


def test_every_ingestion_on_a_full_disk_is_one_line(tmp_path, monkeypatch):
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        shutil.copy(Path(__file__).parents[2] / "dagster.yaml", folder)
        made = hvac(
            *("simulate", "--devices", "RTU-001:rooftop_unit", "--interval", "60"),
            *("--start", "2025-03-10", "--end", "2025-03-11"),
            cwd=folder,
            HVAC_HOME=str(folder),
        )
        assert made.returncode == 0, made.stderr
        filler = filled_up(folder)
        for attempt in range(3):
            lines = is_one_line(hvac("ingest", cwd=folder, HVAC_HOME=str(folder)), f"ingest {attempt}")
            assert [line for line in lines if line.startswith("hvac: ")], lines
        filler.unlink()
        done = hvac("ingest", cwd=folder, HVAC_HOME=str(folder))
        assert done.returncode == 0, done.stderr[-2000:]
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_what_a_library_makes_of_a_full_disk_is_told_as_what_happened():
    try:
        try:
            raise OSError(28, "No space left on device", "/data/x.db")
        except OSError as error:
            raise RuntimeError("storage error") from error
    except RuntimeError as error:
        cause = expected_cause(error)
        assert cause is not None
        assert told(cause) == "/data/x.db: No space left on device"
    assert expected_cause(RuntimeError("a mistake of ours")) is None
