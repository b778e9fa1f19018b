"""Devices whose windows have a length of their own, taken in live and by runs of one range, and when somebody changes it."""

from __future__ import annotations

import dagster as dg
import pytest
from typer.testing import CliRunner

from hvac_platform.cli.main import app
from hvac_platform.execution import ingest_everything
from hvac_platform.ingestion import standing as standing_module
from hvac_platform.resources import PlatformResource
from hvac_platform.stores.base import Device
from hvac_platform.stores.window_lengths import set_window
from hvac_platform.timestamps import day_start
from hvac_platform_tests.conftest import DAY, MIDNIGHT_MS, MINUTE_MS, contents, readings, rows
from hvac_platform_tests.ingestion.test_standing import recent, release, standing, take_all
from hvac_platform_tests.io_managers.test_store_io_manager import backfill

FIVE = 5 * MINUTE_MS
METER = """
name: meter
window_seconds: 300
points: [{name: power, unit: kW}, {name: flow, unit: gpm}]
"""


@pytest.fixture(autouse=True)
def meters(home, tmp_path, monkeypatch):
    """A type of device whose windows are of five minutes."""
    folder = tmp_path / "types"
    folder.mkdir()
    (folder / "meter.yaml").write_text(METER, encoding="utf-8")
    monkeypatch.setenv("HVAC_DEVICE_TYPES", str(folder))


def slow(start_ms, minutes):
    """A meter that is read each five minutes."""
    return readings("M-1", start_ms + 30_000, minutes, every_ms=FIVE, metrics=("power", "flow"), device_type="meter")


def windows(store, device_id):
    return rows(store, "device_state_snapshots", "snapshot_time", "window_ms", device_id=device_id)


def of_length(platform, length):
    """The windows of the rooftop unit that its readings fall in."""
    times = {t for (t,) in rows(platform.store, "device_metrics_raw", "timestamp", device_id="RTU-001")}
    return [(start, length) for start in sorted({t - t % length for t in times})]


def test_live_by_ranges_and_by_backfill_each_device_has_windows_of_its_own_length(platform, tmp_path):
    first = day_start(DAY) + 10 * MINUTE_MS
    messages = [*readings("RTU-001", first, 20), *slow(first, 20)]
    platform.log.append(platform.topic, messages)
    one = standing(platform)
    take_all(one)
    one.let_go()
    assert windows(platform.store, "RTU-001") == [(first + i * MINUTE_MS, MINUTE_MS) for i in range(20)]
    assert windows(platform.store, "M-1") == [(first + i * FIVE, FIVE) for i in range(4)]
    assert set(rows(platform.store, "device_state_snapshots", "completeness")) == {(1.0,)}
    expected = contents(platform.store)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HVAC_HOME", str(tmp_path / "by_ranges"))
        other = PlatformResource()
        other.log.append(other.topic, messages)
        with dg.DagsterInstance.ephemeral() as instance:
            list(ingest_everything(instance, other))
            assert contents(other.store) == expected
            assert backfill(instance, DAY, DAY).success
        assert contents(other.store) == expected


def test_new_windows_have_the_new_length_as_soon_as_it_was_changed_and_those_that_are_open_too(platform, monkeypatch):
    passed = 0

    def minutes(more):
        """So many minutes pass, and what is read in them is taken in."""
        nonlocal passed
        platform.log.append(platform.topic, readings("RTU-001", MIDNIGHT_MS + passed * MINUTE_MS, more))
        passed += more
        monkeypatch.setattr(standing_module, "now_ms", lambda: MIDNIGHT_MS + passed * MINUTE_MS)
        take_all(one)
        return [
            (start - MIDNIGHT_MS) // MINUTE_MS for start, length in windows(platform.store, "RTU-001") if length == FIVE
        ]

    one = standing(platform)
    late = -(-platform.settings.allowed_lateness_ms // MINUTE_MS)
    assert minutes(10 + late) == []
    minute_by_minute = windows(platform.store, "RTU-001")
    assert minute_by_minute == [(MIDNIGHT_MS + i * MINUTE_MS, MINUTE_MS) for i in range(10)]
    set_window(platform.store, "RTU-001", FIVE)
    assert minutes(4) == []  # the minutes that were open are of a window that is open still
    assert minutes(1) == [10]
    assert minutes(5) == [10, 15]
    assert windows(platform.store, "RTU-001")[:10] == minute_by_minute
    set_window(platform.store, "RTU-001", None)
    assert minutes(1) == [10, 15]
    assert windows(platform.store, "RTU-001")[12:] == [(MIDNIGHT_MS + 20 * MINUTE_MS, MINUTE_MS)]


def test_after_the_command_all_windows_are_as_if_they_had_always_had_that_length(platform, tmp_path, monkeypatch):
    columns = ("device_id", "snapshot_time", "window_ms", "metrics", "metric_summary", "completeness", "revision")
    history = [readings(d, MIDNIGHT_MS + m * MINUTE_MS, 1) for m in range(33) for d in ("RTU-001", "RTU-002")]

    def taken_in(where, during=None):
        one = standing(where)
        for passed, messages in enumerate(history, 1):
            where.log.append(where.topic, messages)
            with monkeypatch.context() as clock:
                clock.setattr(standing_module, "now_ms", lambda at=MIDNIGHT_MS + passed // 2 * MINUTE_MS: at)
                take_all(one)
            if passed == 36 and during is not None:
                during()
        take_all(one)
        one.let_go()
        return rows(where.store, "device_state_snapshots", *columns)

    def command():
        done = CliRunner().invoke(app, ["devices", "window", "RTU-001", "5min"])
        assert done.exit_code == 0, done.output

    changed = taken_in(platform, command)
    with monkeypatch.context() as patch:
        patch.setenv("HVAC_HOME", str(tmp_path / "always"))
        other = PlatformResource()
        unit = Device("RTU-001", "rooftop_unit", "", "", MIDNIGHT_MS, MIDNIGHT_MS, 0, window_ms=FIVE)
        other.store.register_devices([unit])
        assert changed == taken_in(other)
    assert {row[2] for row in changed if row[0] == "RTU-001"} == {FIVE}


def test_a_device_that_another_run_has_registered_has_the_length_that_it_got_there(platform, monkeypatch):
    start = MIDNIGHT_MS + 10 * MINUTE_MS
    platform.log.append(platform.topic, readings("RTU-001", start, 2))
    one = standing(platform)
    take_all(one)
    platform.store.register_devices([Device("RTU-002", "rooftop_unit", "", "", start, start, 0, window_ms=FIVE)])
    monkeypatch.setattr(standing_module, "REGISTRY_SECONDS", 0.0)  # half a minute later
    platform.log.append(platform.topic, readings("RTU-002", start, 5))
    take_all(one)
    assert windows(platform.store, "RTU-002") == [(start, FIVE)]


def test_what_was_written_in_the_moment_of_the_change_is_taken_back(platform):
    """A new device comes in the same range as complete windows of another, whose length is changed just then."""
    start = MIDNIGHT_MS + 10 * MINUTE_MS
    platform.log.append(platform.topic, readings("RTU-001", start, 2))
    one = standing(platform)
    take_all(one)

    def changed(new):
        set_window(platform.store, "RTU-001", FIVE)

    one.registry.on_new = changed
    platform.log.append(
        platform.topic, [*readings("RTU-001", start + 2 * MINUTE_MS, 6), *readings("RTU-002", start, 8)]
    )
    take_all(one)
    written_before = [(start, MINUTE_MS), (start + MINUTE_MS, MINUTE_MS)]  # whoever changes it makes these anew
    found = windows(platform.store, "RTU-001")
    assert [window for window in found if window not in written_before] == [(start, FIVE), (start + FIVE, FIVE)][
        int(written_before[0] in found) :
    ]
    content = rows(platform.store, "device_state_snapshots", "snapshot_time", "metric_summary", device_id="RTU-001")
    assert dict(content)[start + FIVE]["fan_speed"][0] == 18  # three minutes of readings each ten seconds


def test_windows_that_a_killed_run_left_open_are_completed_in_the_length_that_they_have_by_then(
    platform, home, instance
):
    platform.log.append(platform.topic, recent("RTU-001", 2))
    take_all(standing(platform, "first"))
    written = windows(platform.store, "RTU-001")
    release(platform)
    set_window(platform.store, "RTU-001", FIVE)
    list(ingest_everything(instance, platform))
    made = [window for window in windows(platform.store, "RTU-001") if window not in written]
    assert made
    assert set(made) <= set(of_length(platform, FIVE))
