"""The recipes of docs/recovery.md, run as they stand there on files that are really damaged, deleted or lost."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from devtools import PROJECT_ROOT
from hvac_platform.config import load_settings
from hvac_platform.definitions import defs
from hvac_platform.execution import open_instance
from hvac_platform.log.embedded import EmbeddedLog
from hvac_platform.partitions import devices
from hvac_platform.resources import PlatformResource
from hvac_platform.runtime.connections import open_log, open_store
from hvac_platform.sensors.ingestion_watch import ingestion_watch
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.timestamps import DAY_MS, now_ms
from hvac_platform.upkeep_time import REACHED
from hvac_platform_tests.conftest import bad, enter_home, reading

TEXT = (PROJECT_ROOT / "docs" / "recovery.md").read_text()
RECIPES = dict(re.findall(r"^```(?:bash|yaml) (\w+)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL))
FLEET = "RTU-001:rooftop_unit,CH-001:chiller"
READINGS = {"CH-001": 15 * 720, "RTU-001": 14 * 720}
PAGE = 4096

Done = subprocess.CompletedProcess[str]


def shell(script: str) -> Done:
    """A script as a person runs it in the home folder; stops at the first command that fails."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-eu", "-c", script], capture_output=True, text=True, check=False, env={**os.environ, "PATH": path}
    )


def follow(recipe: str) -> str:
    """Run a recipe of the page; what it printed."""
    done = shell(RECIPES[recipe])
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def simulate(start: str, end: str) -> None:
    done = shell(f"hvac simulate --devices {FLEET} --interval 60 --start {start} --end {end}")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def half_a_day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with twelve hours of two devices, ingested, learned from and judged."""
    home = tmp_path_factory.mktemp("recovery")
    shutil.copy(PROJECT_ROOT / "dagster.yaml", home)
    with pytest.MonkeyPatch.context() as patch:
        enter_home(home, patch.setenv, lambda name: patch.delenv(name, raising=False), patch.chdir)
        simulate("2026-06-10", "2026-06-10T12:00")
        done = shell("hvac ingest; hvac profiles build; hvac detect --from 2026-06-10 --until 2026-06-11; hvac check")
        assert done.returncode == 0, done.stdout + done.stderr
    return home


@pytest.fixture
def used(half_a_day: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to be broken."""
    home = tmp_path / "used"
    shutil.copytree(half_a_day, home)
    for name in ("store.db", "log.db"):  # as after the last process has closed it
        opened = EmbeddedStore(home / name) if name == "store.db" else EmbeddedLog(home / name)
        opened.close()
    enter_home(home, monkeypatch.setenv, lambda name: monkeypatch.delenv(name, raising=False), monkeypatch.chdir)
    return home


def readings_by_device() -> dict[str, int]:
    store = open_store(load_settings())
    return {d.device_id: store.count("device_metrics_raw", d.device_id) for d in store.devices()}


def damage_pages(path: Path, pages: list[int]) -> None:
    noise = random.Random(7)
    with path.open("r+b") as file:
        for page in pages:
            file.seek(page * PAGE)
            file.write(noise.randbytes(PAGE))


def said_by(command: str) -> str:
    done = shell(command)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return " ".join((done.stdout + done.stderr).split())


def test_every_recipe_of_the_page_is_run_here() -> None:
    here = Path(__file__).read_text()
    assert all(f'"{name}"' in here for name in RECIPES)
    assert len(RECIPES) == TEXT.count("```") // 2, "every block has a name"


@pytest.mark.parametrize("seed", range(2))
def test_a_store_with_damaged_pages_is_salvaged_and_filled_from_the_log(used: Path, seed: int) -> None:
    path = used / "store.db"
    pages = path.stat().st_size // PAGE
    damage_pages(path, random.Random(seed).sample(range(pages // 10, pages), 12))
    assert "store.db is damaged:" in said_by("hvac check --wait 0")
    follow("salvage")
    assert readings_by_device() == READINGS
    store = open_store(load_settings())
    assert store.count("device_state_snapshots") == 2 * 720
    assert store.count("store_settings") > 0
    assert list(used.glob("store.damaged-*.db"))


def overwrite_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"not a database at all, but text" * 4)


def cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def delete(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("loss", [overwrite_header, cut_in_half, empty])
def test_a_store_that_cannot_be_used_is_made_again_from_the_log(used: Path, loss: Any) -> None:
    loss(used / "store.db")
    if loss is not empty:
        assert "damaged" in said_by("hvac check --wait 0")
        assert "docs/recovery.md" in said_by("hvac verify")
    follow("replay")
    assert readings_by_device() == READINGS
    assert open_store(load_settings()).count("device_profiles") == 2


@pytest.mark.parametrize("loss", [overwrite_header, cut_in_half, empty])
def test_a_log_that_cannot_be_used_begins_anew(used: Path, loss: Any) -> None:
    loss(used / "log.db")
    if loss is not empty:
        assert "log.db" in said_by("hvac check --wait 0")
    follow("log")
    simulate("2026-06-10T12:00", "2026-06-10T13:00")
    assert "another log than the one that the ledger counts in" in shell("hvac ingest").stderr
    assert readings_by_device() == {name: rows + rows // 12 for name, rows in READINGS.items()}


@pytest.mark.parametrize("partitions", [1, 3, 5])
def test_a_topic_made_again_with_fewer_or_more_partitions_is_read_from_its_begin(used: Path, partitions: int) -> None:
    settings = load_settings()
    shutil.move(used / "log.db", used / "before.db")
    log = EmbeddedLog(used / "log.db")
    log.create_topic(settings.kafka_topic, partitions)
    log.close()
    simulate("2026-06-10T12:00", "2026-06-10T13:00")
    said = follow("topic")
    if partitions == 3:  # with another number the devices are in partitions that the ledger does not know
        assert "this is another log" in said
    assert readings_by_device() == {name: rows + rows // 12 for name, rows in READINGS.items()}
    assert shell("hvac check --wait 0").returncode == 0


def test_devices_are_partitions_again_after_dagsters_storage_was_lost(used: Path) -> None:
    shutil.rmtree(used / ".dagster")
    assert "ingested 0 messages" in follow("dagster"), "the ledger is in the store"
    assert set(open_instance(used).get_dynamic_partitions(str(devices.name))) == set(READINGS)


def test_and_under_a_running_platform_by_its_sensor(used: Path) -> None:
    shutil.rmtree(used / ".dagster")
    instance = open_instance(used)
    context = dg.build_sensor_context(instance=instance, resources={"platform": PlatformResource()})
    ingestion_watch(context)
    assert set(instance.get_dynamic_partitions(str(devices.name))) == set(READINGS)


def test_messages_of_the_future_stop_ingestion_until_they_are_put_aside(used: Path) -> None:
    settings = load_settings()
    ahead = [reading(at_ms=now_ms() + DAY_MS + 1000 * i) for i in range(50)]
    open_log(settings).append(settings.kafka_topic, ahead)
    assert "ahead of this machine's clock" in said_by("hvac ingest")
    shell("sleep 11")  # the pause after a failure
    follow("clock")
    assert open_store(settings).count("dead_letters") == 50
    assert readings_by_device() == READINGS


def test_upkeep_goes_on_after_a_jump_of_the_clock_that_is_right(used: Path) -> None:
    platform = PlatformResource()
    newest = max(device.last_seen for device in platform.store.devices())
    platform.store.remember(REACHED, str(newest - 30 * DAY_MS))
    maintenance, instance = defs.resolve_job_def("housekeeping"), open_instance(used)
    maintenance.execute_in_process(instance=instance)
    assert platform.store.remembered()[REACHED] == str(newest - 30 * DAY_MS)
    maintenance.execute_in_process(instance=instance, run_config=yaml.safe_load(RECIPES["jump"]))
    assert platform.store.remembered()[REACHED] == str(newest)


def test_dead_letters_can_be_looked_at(used: Path) -> None:
    settings = load_settings()
    open_log(settings).append(settings.kafka_topic, [bad("not JSON")])
    assert shell("hvac ingest").returncode == 0
    said = follow("letters")
    assert "dead letters: 1" in said
    assert re.search(r"\b\d+\|\d+\|.*JSON", said), said


def test_check_passes_after_a_wal_without_users_was_deleted(used: Path) -> None:
    for name in ("store.db", "log.db"):
        for suffix in ("-wal", "-shm"):
            (used / f"{name}{suffix}").unlink(missing_ok=True)
    follow("check")


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="mounting needs root")
def test_ingestion_goes_on_after_a_disk_was_full(
    half_a_day: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        shutil.copytree(half_a_day, disk / "home")
        enter_home(
            disk / "home", monkeypatch.setenv, lambda name: monkeypatch.delenv(name, raising=False), monkeypatch.chdir
        )
        simulate("2026-06-10T12:00", "2026-06-10T13:00")
        filler = disk / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(b"x" * 65_536):
                pass
        said = shell("hvac ingest")
        assert said.returncode == 1
        assert "Traceback" not in said.stderr
        filler.unlink()
        shell("sleep 11")  # the pause after a failure
        follow("full")
        assert json.loads(shell("hvac verify --json").stdout)[0]["readings"] == 15 * 780
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_folder_in_place_of_the_file_is_one_line(used: Path) -> None:
    for name, command in (("store.db", "hvac verify"), ("log.db", "hvac import missing.csv --device-type chiller")):
        (used / "missing.csv").write_text("timestamp,cop\n2026-06-10T00:00:00Z,5\n")
        (used / name).rename(used / f"{name}.aside")
        (used / name).mkdir()
        assert f"{used / name} is a folder, not a file" in said_by(command)
        assert f"{used / name} is a folder, not a file" in said_by("hvac check --wait 0")
