"""Devices and their points on the command line: listed, retired, taken back, renamed with their history."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from hvac_platform.cli.main import app
from hvac_platform.config import load_settings
from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.monitoring.data_loss import Listening
from hvac_platform.monitoring.passes import DetectionPass, Span, write_pass
from hvac_platform.monitoring.points import points_of
from hvac_platform.stores.records import DevicePoint, Snapshot, StoredProfile, Verdict
from hvac_platform.timestamps import DAY_MS
from hvac_platform_tests.conftest import HOUR_MS, MIDNIGHT_MS, MINUTE_MS
from hvac_platform_tests.monitoring.machines import encoders, learn, simulated_windows

FLEET = [FleetDevice("CH-001", "chiller"), FleetDevice("RTU-001", "rooftop_unit")]


def run(*arguments):
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def store(platform):
    simulated_windows(platform.store, FLEET, MIDNIGHT_MS - DAY_MS, MIDNIGHT_MS)
    for device in platform.store.devices():
        learn(platform.store, device, until_ms=MIDNIGHT_MS)
    return platform.store


def test_devices_are_listed_with_the_grades_of_their_points(store):
    listed = {row["device"]: row for row in json.loads(run("devices", "list", "--json").stdout)}
    assert listed["CH-001"]["points"] == 15
    assert listed["CH-001"]["good"] + listed["CH-001"]["fair"] + listed["CH-001"]["poor"] == 15
    assert listed["RTU-001"]["fitting_window"] is None


def test_points_are_listed_with_pace_and_grade(store):
    points = {row["point"]: row for row in json.loads(run("devices", "points", "CH-001", "--json").stdout)}
    assert points["power_consumption"]["interval_seconds"] == 10
    assert points["power_consumption"]["grade"] == "good"
    assert "graded when its profile was built, 20" in " ".join(run("devices", "points", "CH-001").stdout.split())


def test_a_point_whose_logger_writes_a_mark_in_place_of_readings_is_graded_poor(store):
    marked = [snapshot for i, snapshot in enumerate(Snapshot.read(store, "CH-001")) if i % 10 == 0]
    store.upsert(
        Snapshot.TABLE,
        {
            "device_id": ["CH-001"] * len(marked),
            "snapshot_time": [snapshot.snapshot_time for snapshot in marked],
            "window_ms": [MINUTE_MS] * len(marked),
            "metrics": [{**snapshot.metrics, "cop": -9999.0} for snapshot in marked],
            "metric_summary": [{**snapshot.metric_summary, "cop": [6, *[-9999.0] * 3]} for snapshot in marked],
            "completeness": [1.0] * len(marked),
            "revision": [snapshot.revision + 1 for snapshot in marked],
        },
    )
    (chiller,) = (d for d in store.devices() if d.device_id == "CH-001")
    learn(store, chiller, until_ms=MIDNIGHT_MS)
    grades = {point.metric: point.grade for point in DevicePoint.read(store, "CH-001") if point.grade is not None}
    assert grades["cop"]["out_of_range"] == 0.1
    assert grades["cop"]["grade"] == "poor"
    assert {grade["out_of_range"] for metric, grade in grades.items() if metric != "cop"} == {0.0}


def test_a_retired_device_is_not_missed_until_it_is_taken_back(store):
    chiller = next(d for d in store.devices() if d.device_id == "CH-001")
    simulated_windows(store, FLEET[1:], MIDNIGHT_MS - DAY_MS, MIDNIGHT_MS + 3 * HOUR_MS)

    def losses():
        listening = Listening(store, load_settings(), MIDNIGHT_MS + 3 * HOUR_MS)
        return listening.data_losses(chiller, MIDNIGHT_MS, MIDNIGHT_MS + 3 * HOUR_MS)

    assert [loss.start_ms for loss in losses()] == [MIDNIGHT_MS]
    assert run("devices", "retire", "CH-001").exit_code == 0
    assert points_of(store, "CH-001").paces == {}
    assert [loss.over for loss in losses()] == [True]  # it was retired after the newest reading of all
    store.update("device_points", {"device_id": ["CH-001"], "metric": ["*"], "retired_at": [MIDNIGHT_MS]})
    assert losses() == []
    assert run("devices", "return", "CH-001").exit_code == 0
    assert [loss.start_ms for loss in losses()] == [MIDNIGHT_MS]


def test_a_point_is_retired_by_its_name(store):
    assert run("devices", "retire", "CH-001", "--point", "cop").exit_code == 0
    assert "cop" not in points_of(store, "CH-001").paces
    refused = run("devices", "retire", "CH-001", "--point", "cup")
    assert refused.exit_code == 2
    assert "CH-001 has no point 'cup'; it has" in refused.stderr


def test_a_renamed_device_keeps_its_history(store):
    simulated_windows(store, FLEET[:1], MIDNIGHT_MS, MIDNIGHT_MS + MINUTE_MS)  # the newest has no vector yet
    device = next(d for d in store.devices() if d.device_id == "CH-001")
    write_pass(
        DetectionPass(
            *(store, encoders(store), load_settings(), [Span(device, MIDNIGHT_MS - HOUR_MS, MIDNIGHT_MS)]),
            clock=lambda: MIDNIGHT_MS + DAY_MS,
        )
    )
    before = {
        record: [_content(row) for row in record.read(store, "CH-001")] for record in (Snapshot, StoredProfile, Verdict)
    }
    assert all(before.values())
    told = run("devices", "rename", "CH-001", "CH-NORTH")
    assert told.exit_code == 0
    assert "1441 device_state_snapshots" in told.stdout
    assert sorted(d.device_id for d in store.devices()) == ["CH-NORTH", "RTU-001"]
    for record, rows in before.items():
        assert record.read(store, "CH-001") == []
        assert [_content(row) for row in record.read(store, "CH-NORTH")] == rows
    assert run("devices", "rename", "RTU-001", "CH-NORTH").exit_code == 1


def _content(row):
    values = (getattr(row, name) for name in row.__dataclass_fields__ if name != "device_id")
    return [value.tolist() if isinstance(value, np.ndarray) else value for value in values]


def test_check_says_which_window_would_fit(platform):
    times = np.arange(MIDNIGHT_MS - DAY_MS, MIDNIGHT_MS, 5 * MINUTE_MS)
    simulated_windows(platform.store, FLEET[:1], MIDNIGHT_MS - DAY_MS, MIDNIGHT_MS - DAY_MS + MINUTE_MS)
    platform.store.upsert(
        "device_state_snapshots",
        {
            "device_id": ["CH-001"] * len(times),
            "snapshot_time": times,
            "window_ms": [MINUTE_MS] * len(times),
            "metrics": [{"cop": 4.0 + i % 3} for i in range(len(times))],
            "metric_summary": [{"cop": [1, 4.0 + i % 3, 4.0 + i % 3, 4.0 + i % 3]} for i in range(len(times))],
            "completeness": [1.0] * len(times),
            "revision": list(range(len(times))),
        },
    )
    (device,) = platform.store.devices()
    learn(platform.store, device, until_ms=MIDNIGHT_MS)
    rows = {row["part"]: row for row in json.loads(run("check", "--json").stdout)}
    assert rows["window"]["ok"]
    assert "shorter than the pace of CH-001 (5 min)" in rows["window"]["state"]
    assert rows["window"]["state"].endswith("hvac devices window CH-001 5min")
    assert "most windows of CH-001 are empty: hvac devices window CH-001 5min" in run("devices", "list").stdout
    assert run("devices", "window", "CH-001", "5min").exit_code == 0
    assert json.loads(run("devices", "list", "--json").stdout)[0]["window_seconds"] == 300
    rows = {row["part"]: row for row in json.loads(run("check", "--json").stdout)}
    assert rows["window"]["state"] == "60 s, another one for 1 of 1 devices, no longer than any device reports"
    assert {snapshot.window_ms for snapshot in Snapshot.read(platform.store, "CH-001")} == {MINUTE_MS}  # no readings


def test_devices_are_listed_with_what_they_feed_and_what_feeds_them(store, tmp_path, monkeypatch):
    assert {row["feeds"] for row in json.loads(run("devices", "list", "--json").stdout)} == {None}
    file = tmp_path / "plant.json"
    file.write_text('{"feeds": {"CT-001": ["CH-001"], "CH-001": ["RTU-001"]}}')
    monkeypatch.setenv("HVAC_FLEET", str(file))
    listed = {
        row["device"]: (row["feeds"], row["fed_by"]) for row in json.loads(run("devices", "list", "--json").stdout)
    }
    assert listed == {"CH-001": ("RTU-001", "CT-001"), "RTU-001": (None, "CH-001")}
    rows = {row["part"]: row for row in json.loads(run("check", "--json", "--wait", "0").stdout)}
    assert rows["plant"]["ok"]
    assert rows["plant"]["state"].endswith("not heard of yet: CT-001")


def test_a_plant_that_can_not_be_is_told_by_check_and_stops_no_list(store, tmp_path, monkeypatch):
    file = tmp_path / "plant.json"
    file.write_text('{"feeds": {"CH-001": ["CH-001"]}}')
    monkeypatch.setenv("HVAC_FLEET", str(file))
    assert len(json.loads(run("devices", "list", "--json").stdout)) == 2
    rows = {row["part"]: row for row in json.loads(run("check", "--json", "--wait", "0").stdout)}
    assert not rows["plant"]["ok"]
    assert "CH-001 feeds itself" in rows["plant"]["state"]
