"""A device whose windows get another length: its history is made anew from its readings, and nothing is left of the old."""

from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

from hvac_platform.cli.main import app
from hvac_platform.config import load_settings
from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.monitoring.passes import DetectionPass, IncidentsPass, LearningPass, Span, write_pass
from hvac_platform.monitoring.profiles import load_profile
from hvac_platform.monitoring.window_change import WindowChange
from hvac_platform.simulation.faults import Fault
from hvac_platform.simulation.fleet_simulation import FleetSimulation
from hvac_platform.stores.base import Device
from hvac_platform.stores.records import AnomalyEvent, Incident, Reading, Snapshot, Verdict
from hvac_platform.timestamps import DAY_MS, day_of
from hvac_platform_tests.conftest import HOUR_MS, MIDNIGHT_MS, MINUTE_MS
from hvac_platform_tests.monitoring.machines import encoders

FIVE = 5 * MINUTE_MS
START_MS, END_MS = MIDNIGHT_MS - 2 * DAY_MS, MIDNIGHT_MS + 6 * HOUR_MS
FAULT = Fault("CH-001", "low_flow", MIDNIGHT_MS + 2 * HOUR_MS, MIDNIGHT_MS + 4 * HOUR_MS)


def run(*arguments):
    return CliRunner().invoke(app, list(arguments))


def change(store, window_ms):
    """The change of the chiller's windows by itself, without what the command does then."""
    return WindowChange(store, encoders(store), load_settings(), registered(store), window_ms)


def registered(store):
    (device,) = store.devices()
    return device


@pytest.fixture
def store(platform):
    """A chiller that is read each five minutes, has windows of a minute, was learned from, and had a fault."""
    store, settings = platform.store, platform.settings
    simulation = FleetSimulation([FleetDevice("CH-001", "chiller")], seed=3, faults=[FAULT])
    times = np.arange(START_MS, END_MS, FIVE, dtype=np.int64)
    (found,) = simulation.advance(times)
    store.register_devices([Device("CH-001", "chiller", "roof", "b-1", START_MS, int(times[-1]), 0)])
    for metric, values in zip(found.metric_names, found.values.T, strict=True):
        n = len(times)
        columns = {"device_id": ["CH-001"] * n, "timestamp": times, "metric_name": [metric] * n}
        store.upsert(Reading.TABLE, columns | {"metric_value": values, "unit": [None] * n})
    assert len(list(change(store, None).make_anew())) == 3
    write_pass(LearningPass(store, encoders(store), settings, [registered(store)]))
    spans = [Span(registered(store), START_MS, END_MS)]
    write_pass(DetectionPass(store, encoders(store), settings, spans))
    write_pass(IncidentsPass(store, settings, spans, now_ms=END_MS))
    assert {snapshot.window_ms for snapshot in Snapshot.read(store)} == {MINUTE_MS}
    assert load_profile(store, "CH-001").fit.window_ms == MINUTE_MS
    return store


def content(store):
    """What there is of the chiller's windows."""
    snapshots = Snapshot.read(store, only=("snapshot_time", "window_ms", "revision", "judged_revision"))
    kept = [(s.snapshot_time, s.window_ms, s.revision, s.revision == s.judged_revision) for s in snapshots]
    return kept, Verdict.times(store, "CH-001").tolist(), AnomalyEvent.times(store, "CH-001").tolist()


def test_windows_verdicts_events_incidents_and_profile_are_of_the_new_length(store):
    before = Incident.read(store)
    assert any(i.started_at < FAULT.end_ms and i.ended_at > FAULT.start_ms for i in before)
    done = run("devices", "window", "CH-001", "5min")
    assert done.exit_code == 0, done.output
    assert "CH-001 has windows of 5 min now: 648 were made anew from its readings" in done.stdout
    windows = list(range(START_MS, END_MS, FIVE))
    kept, verdicts, events = content(store)
    assert [row[:2] for row in kept] == [(start, FIVE) for start in windows]
    assert all(judged for *_, judged in kept)
    assert sorted(set(verdicts)) == windows
    assert set(events) <= set(windows)
    assert load_profile(store, "CH-001").fit.window_ms == FIVE
    incidents = Incident.read(store)
    assert any(i.started_at < FAULT.end_ms and i.ended_at > FAULT.start_ms for i in incidents)
    assert all(i.started_at % FIVE == 0 and i.ended_at % FIVE == 0 for i in incidents)
    assert {i.started_at for i in incidents if "silence" not in i.methods} <= set(events)


def test_killed_in_the_middle_it_is_done_by_doing_it_again(store):
    killed = change(store, FIVE)
    killed.begin()
    next(killed.make_anew())
    assert {snapshot.window_ms for snapshot in Snapshot.read(store)} == {MINUTE_MS, FIVE}
    assert run("devices", "window", "CH-001", "300").exit_code == 0
    again = content(store)
    assert {length for _, length, *_ in again[0]} == {FIVE}
    assert run("devices", "window", "CH-001", "5 min").exit_code == 0
    assert content(store) == again


def test_days_whose_readings_are_gone_stay_as_they_are_and_are_not_learned_from(store):
    times = Reading.read(store, "CH-001", (START_MS, START_MS + DAY_MS + 2 * HOUR_MS + MINUTE_MS))
    keys = {name: [getattr(r, name) for r in times] for name in ("device_id", "timestamp", "metric_name")}
    store.delete(Reading.TABLE, keys)
    done = run("devices", "window", "CH-001", "10min")
    assert f"those of {day_of(START_MS)} stay as they are" in " ".join(done.stdout.split())
    lengths = {s.snapshot_time: s.window_ms for s in Snapshot.read(store)}
    first = START_MS + DAY_MS + 2 * HOUR_MS + 2 * FIVE  # of the ten minutes before it only the second reading is left
    assert {t: length for t, length in lengths.items() if t >= first} == dict.fromkeys(
        range(first, END_MS, 2 * FIVE), 2 * FIVE
    )
    assert {length for t, length in lengths.items() if t < first} == {MINUTE_MS}
    assert load_profile(store, "CH-001").span_start >= first


def test_a_window_of_the_former_length_that_somebody_writes_meanwhile_is_made_anew(store):
    going = change(store, FIVE)
    going.begin()
    list(going.make_anew())
    (former, *_) = Snapshot.read(store, "CH-001", (MIDNIGHT_MS, None))
    columns = Snapshot.columns(
        [former], only=("device_id", "snapshot_time", "metrics", "metric_summary", "completeness")
    )
    late = {"snapshot_time": [MIDNIGHT_MS + MINUTE_MS], "window_ms": [MINUTE_MS], "revision": [1]}
    store.upsert(Snapshot.TABLE, columns | late)
    assert going.finish() == [day_of(MIDNIGHT_MS)]
    assert {snapshot.window_ms for snapshot in Snapshot.read(store)} == {FIVE}


@pytest.mark.parametrize("length", ["7min", "0", "-5", "soon", "2 days", "0.5s"])
def test_a_length_that_does_not_fill_a_day_evenly_is_refused(platform, length):
    platform.store.register_devices([Device("CH-001", "chiller", "", "", 0, 1, 0)])
    refused = run("devices", "window", "CH-001", "--", length)
    assert refused.exit_code == 2
    assert "divides a day evenly" in " ".join(refused.stderr.replace("│", " ").split())
    assert registered(platform.store).window_ms is None
