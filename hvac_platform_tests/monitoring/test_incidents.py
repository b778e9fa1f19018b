"""Incidents on the store: one a fault, however often computed; seen before, also on a sister device; in maintenance none."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from hvac_platform.config import load_settings
from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.monitoring.energy import span_energy
from hvac_platform.monitoring.incidents import blank_incident, fleet_events_of, fleet_scope_batches
from hvac_platform.monitoring.profiles import load_profile
from hvac_platform.simulation.faults import Fault
from hvac_platform.stores.base import Device
from hvac_platform.stores.batches import write_batch
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.records import Incident, MaintenanceSpan
from hvac_platform.timestamps import DAY_MS
from hvac_platform_tests.conftest import HOUR_MS, MIDNIGHT_MS, MINUTE_MS
from hvac_platform_tests.monitoring.machines import gather_incidents, judge, learn, simulated_windows

START = MIDNIGHT_MS - DAY_MS
END = MIDNIGHT_MS + 12 * HOUR_MS
FIRST = Fault("CH-001", "low_flow", MIDNIGHT_MS + 2 * HOUR_MS, MIDNIGHT_MS + 3 * HOUR_MS)
SISTER = Fault("CH-002", "low_flow", MIDNIGHT_MS + 8 * HOUR_MS, MIDNIGHT_MS + 9 * HOUR_MS)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A store file: two chillers that learned from a day; the same fault befell one and then the other."""
    path = tmp_path_factory.mktemp("prepared") / "store.db"
    store = EmbeddedStore(path)
    fleet = [FleetDevice("CH-001", "chiller"), FleetDevice("CH-002", "chiller")]
    for device in simulated_windows(store, fleet, START, END, faults=[FIRST, SISTER]).values():
        learn(store, device, until_ms=MIDNIGHT_MS)
        judge(store, device, MIDNIGHT_MS, END)
        gather_incidents(store, device, MIDNIGHT_MS, END)
    store.close()
    return path


@pytest.fixture
def store(prepared, home, platform):
    shutil.copy(prepared, home / "store.db")
    return platform.store


@pytest.fixture
def chillers(store):
    return {d.device_id: d for d in store.devices()}


def during(store, fault):
    """The incident of a fault."""
    found = [
        row
        for row in Incident.read(store, fault.device_id, (MIDNIGHT_MS, END))
        if row.started_at < fault.end_ms and row.ended_at > fault.start_ms
    ]
    assert len(found) == 1
    return found[0]


def test_a_fault_is_one_incident_with_severity_methods_metrics_and_reasons(store):
    row = during(store, FIRST)
    assert 0 <= row.started_at - FIRST.start_ms <= 5 * MINUTE_MS
    assert row.incident_id == f"CH-001/{row.started_at}"
    assert row.severity == "warning"
    assert row.status == "closed"
    assert set(row.methods) >= {"profile", "vector"}
    assert row.metrics
    assert row.reasons
    assert row.peak_score > 1


def test_the_likely_kinds_are_told_by_signature(store):
    kinds = [k["kind"] for k in during(store, FIRST).kinds]
    assert "low_flow" in kinds


def test_the_same_fault_is_recognised_on_a_sister_device(store):
    row = during(store, SISTER)
    first = during(store, FIRST)
    assert row.similar[0]["incident_id"] == first.incident_id
    assert row.similar[0]["device_id"] == "CH-001"
    assert row.similar[0]["similarity"] > 0.6
    assert during(store, FIRST).similar == []  # nothing came before it


def test_what_somebody_said_of_an_incident_is_kept_and_shown_with_later_ones(store, chillers):
    first = during(store, FIRST)
    key = {"device_id": ["CH-001"], "started_at": [first.started_at]}
    store.update("incidents", {**key, "label": ["clogged strainer"]})
    for device in chillers.values():
        gather_incidents(store, device, MIDNIGHT_MS, END)
    assert during(store, FIRST).label == "clogged strainer"
    assert during(store, SISTER).similar[0]["label"] == "clogged strainer"


def test_computing_incidents_again_rewrites_the_same_rows_and_leaves_unchanged_ones_alone(store, chillers):
    before = Incident.read(store, None, (MIDNIGHT_MS, END))
    for device in chillers.values():
        assert gather_incidents(store, device, MIDNIGHT_MS, END, only_changed=True) == []
        gather_incidents(store, device, MIDNIGHT_MS, END)
    assert Incident.read(store, None, (MIDNIGHT_MS, END)) == before


def test_an_incident_that_reaches_over_midnight_is_one_whichever_day_is_computed(store, chillers):
    row = during(store, FIRST)
    middle = (row.started_at + row.ended_at) // 2
    before = Incident.read(store, "CH-001", (MIDNIGHT_MS, END))
    gather_incidents(store, chillers["CH-001"], middle, END)
    gather_incidents(store, chillers["CH-001"], MIDNIGHT_MS, middle)
    after = Incident.read(store, "CH-001", (MIDNIGHT_MS, END))
    assert [(r.started_at, r.ended_at) for r in after] == [(r.started_at, r.ended_at) for r in before]


def test_incidents_without_windows_are_taken_back(store, chillers):
    row = during(store, FIRST)
    times = list(range(row.started_at, row.ended_at, MINUTE_MS))
    store.delete("anomaly_events", {"device_id": ["CH-001"] * len(times), "detected_at": times})
    gather_incidents(store, chillers["CH-001"], MIDNIGHT_MS, END)
    assert row.started_at not in {r.started_at for r in Incident.read(store, "CH-001", (MIDNIGHT_MS, END))}


def test_in_maintenance_nothing_alarms_and_nothing_is_learned(store, chillers):
    span = MaintenanceSpan("CH-001", FIRST.start_ms - 10 * MINUTE_MS, FIRST.end_ms + 3 * HOUR_MS, "strainer", 0)
    store.upsert("maintenance_spans", MaintenanceSpan.columns([span]))
    judge(store, chillers["CH-001"], MIDNIGHT_MS, END)
    gather_incidents(store, chillers["CH-001"], MIDNIGHT_MS, END)
    assert [r for r in Incident.read(store, "CH-001", (MIDNIGHT_MS, END)) if r.started_at < FIRST.end_ms] == []
    lesson = learn(store, chillers["CH-001"], until_ms=END, include_flagged=True)
    inside = (lesson.series.times_ms >= FIRST.start_ms) & (lesson.series.times_ms < FIRST.end_ms)
    assert not inside.any()


def test_energy_of_a_span_is_compared_with_what_the_state_calls_for(store, chillers):
    device = chillers["CH-002"]
    energy = span_energy(
        store, device, load_profile(store, "CH-002"), MINUTE_MS, MIDNIGHT_MS, MIDNIGHT_MS + 6 * HOUR_MS
    )
    assert energy.actual_kwh == pytest.approx(energy.expected_kwh, rel=0.1)
    assert abs(energy.excess_kwh) < 0.05 * energy.actual_kwh


def test_what_all_devices_enter_at_once_is_an_event_of_the_fleet(platform):
    fleet = [FleetDevice(f"CT-00{i}", "cooling_tower") for i in range(1, 5)]
    at, end = MIDNIGHT_MS + HOUR_MS, MIDNIGHT_MS + 2 * HOUR_MS
    together = [Fault(d.device_id, "low_flow", at, end) for d in fleet]
    devices = simulated_windows(platform.store, fleet, START, MIDNIGHT_MS + 4 * HOUR_MS, faults=together)
    for device in devices.values():
        learn(platform.store, device, until_ms=MIDNIGHT_MS)
        judge(platform.store, device, MIDNIGHT_MS, MIDNIGHT_MS + 4 * HOUR_MS)
        gather_incidents(platform.store, device, MIDNIGHT_MS, MIDNIGHT_MS + 4 * HOUR_MS)
    for batch in fleet_scope_batches(platform.store, platform.settings, MIDNIGHT_MS, MIDNIGHT_MS + DAY_MS):
        write_batch(platform.store, "incidents", batch)
    rows = [r for r in Incident.read(platform.store, None, (MIDNIGHT_MS, END)) if at <= r.started_at < end]
    assert {r.device_id for r in rows if r.scope == "fleet"} == set(devices)
    assert "4 devices" in rows[0].cause


def test_the_same_fault_on_one_device_is_local(store):
    for batch in fleet_scope_batches(store, load_settings(), MIDNIGHT_MS, MIDNIGHT_MS + DAY_MS):
        write_batch(store, "incidents", batch)
    assert {r.scope for r in Incident.read(store, None, (MIDNIGHT_MS, END))} == {"local"}


@pytest.mark.parametrize(("entered", "events"), [(3, 0), (4, 1)])
def test_without_a_cause_that_explains_it_nearly_all_devices_make_an_event(platform, entered, events):
    devices = [Device(f"CH-{i}", "chiller", "", "b-1", 0, END, 0) for i in range(5)]
    led_by = ("evaporator_pressure", "cop", "chilled_water_supply_temp", "chilled_water_return_temp")
    rows = [
        replace(
            blank_incident(device, MIDNIGHT_MS + i * MINUTE_MS, MIDNIGHT_MS + HOUR_MS, 3),
            methods={"profile": 10},
            signature={led_by[i]: 1.0},
            metrics=[led_by[i]],
        )
        for i, device in enumerate(devices[:entered])
    ]
    assert len(fleet_events_of(platform.store, rows, devices, platform.settings)) == events
