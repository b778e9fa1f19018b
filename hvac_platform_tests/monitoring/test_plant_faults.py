"""A tower's fault that shows on its chillers is one incident with its root, in whatever order it is found."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from hvac_platform.alerts.outbox import new_transitions
from hvac_platform.config import load_settings
from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.devices.topology import topology_of
from hvac_platform.monitoring import lifecycle
from hvac_platform.monitoring.incidents import blank_incident
from hvac_platform.monitoring.lifecycle import children_of
from hvac_platform.monitoring.passes import IncidentsPass, Span, write_pass
from hvac_platform.monitoring.plant_faults import shift_of
from hvac_platform.simulation.faults import Fault
from hvac_platform.simulation.plant import Plant
from hvac_platform.stores.base import Device
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.records import Incident, IncidentTransition
from hvac_platform.timestamps import DAY_MS
from hvac_platform_tests.conftest import HOUR_MS, MIDNIGHT_MS, MINUTE_MS
from hvac_platform_tests.monitoring.faults import history, rows_of, states
from hvac_platform_tests.monitoring.machines import judge, learn, simulated_windows

START, END = MIDNIGHT_MS - DAY_MS, MIDNIGHT_MS + 15 * HOUR_MS
FEEDS = {"CT-1": ["CH-1", "CH-2"], "CH-1": ["MAU-1"]}
FLEET = [
    FleetDevice("CT-1", "cooling_tower"),
    FleetDevice("CH-1", "chiller"),
    FleetDevice("CH-2", "chiller"),
    FleetDevice("CH-9", "chiller"),
    FleetDevice("MAU-1", "makeup_air_unit"),
    FleetDevice("AC-1", "air_compressor"),
]
OWN = Fault("CH-2", "low_flow", MIDNIGHT_MS + 2 * HOUR_MS, MIDNIGHT_MS + 3 * HOUR_MS)
OF_TOWER = Fault("CT-1", "fan_failure", MIDNIGHT_MS + 9 * HOUR_MS, MIDNIGHT_MS + 10 * HOUR_MS)
BESIDE = Fault("CH-9", "low_flow", MIDNIGHT_MS + 9 * HOUR_MS, MIDNIGHT_MS + 10 * HOUR_MS)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A store file: a plant that was learned from for a day and judged, without incidents."""
    path = tmp_path_factory.mktemp("prepared") / "store.db"
    store = EmbeddedStore(path)
    plant = Plant(topology_of(FEEDS))
    devices = simulated_windows(store, FLEET, START, END, faults=[OWN, OF_TOWER, BESIDE], plant=plant)
    for device in devices.values():
        learn(store, device, until_ms=MIDNIGHT_MS)
        judge(store, device, MIDNIGHT_MS, END)
    store.close()
    return path


@pytest.fixture
def store(prepared, home, platform, monkeypatch):
    shutil.copy(prepared, home / "store.db")
    file = home / "plant.json"
    file.write_text(json.dumps({"feeds": FEEDS}))
    monkeypatch.setenv("HVAC_FLEET", str(file))
    return platform.store


def look(store, begin_ms=MIDNIGHT_MS, end_ms=END, *, now_ms=END, devices=None):
    """A pass over the incidents of a span."""
    spans = [Span(d, begin_ms, end_ms) for d in store.devices() if devices is None or d.device_id in devices]
    found = IncidentsPass(store, load_settings(), spans, now_ms=now_ms)
    write_pass(found)
    assert not found.failed, found.failed


def decided(store):
    """What incidents belong to, where they stand and what happened to them."""
    content, handling, transitions, outbox = rows_of(store)
    return [(i.incident_id, i.ended_at, i.scope, i.cause, i.parent_id) for i in content], handling, transitions, outbox


def during(store, fault=OF_TOWER):
    """Incidents that began in a fault or in its recovery, by device; the first of each."""
    rows = [i for i in Incident.read(store) if fault.start_ms - MINUTE_MS <= i.started_at < fault.recovered_ms]
    return {row.device_id: row for row in reversed(rows)}


def test_a_towers_fault_and_what_it_does_to_chillers_are_one_incident_with_its_root(store):
    look(store)
    found = during(store)
    assert {"CT-1", "CH-1", "CH-2", "CH-9"} <= found.keys()
    tower = found["CT-1"]
    assert (tower.scope, tower.parent_id) == ("plant", None)
    for device in ("CH-1", "CH-2"):
        assert (found[device].scope, found[device].parent_id) == ("plant", tower.incident_id)
        assert found[device].cause == tower.cause
    assert tower.cause.startswith("condenser water (root CT-1; since 20")
    assert "CH-1" in tower.cause
    assert "CH-2" in tower.cause
    assert {child.device_id for child in children_of(store, tower)} >= {"CH-1", "CH-2"}


def test_faults_of_their_own_stay_incidents_of_their_own(store):
    look(store)
    beside, own = during(store)["CH-9"], during(store, OWN)["CH-2"]
    assert (beside.scope, beside.cause, beside.parent_id) == ("local", "", None)
    assert (own.scope, own.parent_id) == ("local", None)


def test_whatever_is_looked_at_again_and_in_whatever_parts_the_same_is_decided(store, prepared, tmp_path):
    look(store)
    first = decided(store)
    look(store)
    assert decided(store) == first
    shutil.copy(prepared, tmp_path / "other.db")
    other = EmbeddedStore(tmp_path / "other.db")
    for begin_ms in reversed(range(MIDNIGHT_MS, END, HOUR_MS)):  # a backfill, hour by hour, newest first
        look(other, begin_ms, begin_ms + HOUR_MS)
    assert decided(other)[0] == first[0]
    other.close()


def test_a_root_that_is_found_late_takes_in_what_follows_from_it_and_nothing_is_told_twice(store):
    look(store, devices={"CH-1"})
    chiller = during(store)["CH-1"]
    assert (chiller.scope, chiller.parent_id) == ("local", None)
    for _ in range(2):
        look(store)
    chiller, tower = during(store)["CH-1"], during(store)["CT-1"]
    assert chiller.parent_id == tower.incident_id
    keys = [t.transition_key for t in IncidentTransition.read(store, "CH-1") if t.incident_id == chiller.incident_id]
    assert len(keys) == len(set(keys))
    assert len(during(store)) == len({i.device_id for i in during(store).values()})
    told = [row.message_key for row in new_transitions(store, END)]
    assert len(told) == len(set(told))


def test_what_a_person_closed_stays_closed_and_what_is_done_to_the_parent_reaches_its_parts(store):
    now = OF_TOWER.start_ms + 50 * MINUTE_MS
    look(store, now_ms=now)
    tower = during(store)["CT-1"]
    for incident in (tower, *children_of(store, tower)):
        if states(store)[incident.incident_id] == "open":
            lifecycle.resolve(store, incident, by="kim", at_ms=now)
    before = states(store)
    look(store, now_ms=now + MINUTE_MS)
    look(store, now_ms=END)
    assert {name: state for name, state in states(store).items() if name in before} == before
    assert history(store, tower.incident_id)[-1] == "resolved"


def test_without_a_topology_devices_stand_alone(store, monkeypatch):
    look(store)
    monkeypatch.delenv("HVAC_FLEET")
    look(store)
    assert "plant" not in {incident.scope for incident in Incident.read(store)}
    assert (
        during(store)["CH-1"].parent_id != during(store)["CT-1"].incident_id or during(store)["CH-1"].scope == "fleet"
    )


def test_a_file_that_can_not_be_used_changes_nothing_until_it_is_mended(store, home):
    look(store)
    first = decided(store)
    (home / "plant.json").write_text('{"feeds": {"CT-1": ["CT-1"]}}')
    look(store)
    assert decided(store) == first


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 1.0, 1.0, 5.0, 5.0, 5.0], 4.0),
        ([1.0, 1.0, 1.0, -5.0, -5.0, -5.0], -6.0),
        ([np.nan, 1.0, np.nan, np.nan, 5.0, np.nan], 4.0),
        ([np.nan] * 3 + [5.0] * 3, None),
        ([1.0] * 3 + [np.nan] * 3, None),
    ],
)
def test_a_shift_is_told_where_both_sides_are_known(values, expected):
    assert shift_of(np.arange(6, dtype=np.int64), np.array(values), 3, 3) == expected


def test_weather_in_the_same_hours_takes_what_shows_it_and_leaves_the_chillers_to_their_tower(store):
    """Units led by outdoor air, hours before: they are the weather's, as a tower that is led by its wet bulb is."""
    hot = OF_TOWER.start_ms - 2 * HOUR_MS
    units = [Device(f"RTU-{i}", "rooftop_unit", "roof", "b-1", START, END - 1, 0) for i in range(4)]
    store.register_devices(units)
    rows = [
        replace(
            blank_incident(unit, hot + i * MINUTE_MS, hot + 10 * MINUTE_MS, 3),
            status="closed",
            methods={"profile": 9},
            signature={"outdoor_air_temp": 1.0},
            metrics=["outdoor_air_temp"],
        )
        for i, unit in enumerate(units)
    ]
    store.upsert(Incident.TABLE, Incident.columns(rows))
    look(store, devices={device.device_id for device in FLEET})
    found = during(store)
    for device in ("CH-1", "CH-2"):
        assert found[device].scope == "plant"
        assert "root CT-1" in found[device].cause
    weather = [i for i in Incident.read(store) if i.device_id.startswith("RTU-")]
    assert {i.scope for i in weather} == {"fleet"}
    assert weather[0].cause.startswith("weather (")
