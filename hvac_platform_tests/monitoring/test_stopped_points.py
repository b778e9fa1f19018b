"""Points that stop while their device is heard: an incident that names them, and no verdict on what was not read."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from hvac_platform.config import load_settings
from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.ingestion.messages import rejection_reason
from hvac_platform.monitoring.passes import DetectionPass, IncidentsPass, Span, write_pass
from hvac_platform.monitoring.points import states_now
from hvac_platform.monitoring.standing import StandingDetection
from hvac_platform.simulation.fleet_simulation import FleetSimulation
from hvac_platform.stores.records import DeadLetter, DevicePoint, Incident, Snapshot, Verdict
from hvac_platform.stores.series import read_series
from hvac_platform.timestamps import DAY_MS, day_of
from hvac_platform_tests.conftest import HOUR_MS, MIDNIGHT_MS, MINUTE_MS
from hvac_platform_tests.monitoring.machines import encoders, learn, simulated_windows

CHILLER = FleetDevice("CH-001", "chiller")
START_MS, END_MS = MIDNIGHT_MS - 2 * DAY_MS, MIDNIGHT_MS + 8 * HOUR_MS
TWO = ("chilled_water_supply_temp", "condenser_water_supply_temp")
MAPS = ("metrics", "metric_summary")


@pytest.fixture
def store(platform):
    simulated_windows(platform.store, [CHILLER], START_MS, MIDNIGHT_MS)
    (device,) = platform.store.devices()
    learn(platform.store, device, until_ms=MIDNIGHT_MS)
    return platform.store


def without(store, metrics, begin_ms, end_ms, until_ms=END_MS, seed=3, window_ms=MINUTE_MS):
    """The hours after midnight as they come while some metrics are not read, from one instant or one each to another."""
    begins_ms = begin_ms if isinstance(begin_ms, dict) else dict.fromkeys(metrics, begin_ms)
    simulation = FleetSimulation([CHILLER], seed=seed)
    (found,) = simulation.advance(np.arange(START_MS, until_ms, window_ms // 6, dtype=np.int64))
    begins = np.arange(START_MS, until_ms, window_ms)
    means = found.values.reshape(len(begins), 6, -1).mean(axis=1)
    rows = [
        {
            n: v
            for n, v in zip(found.metric_names, row, strict=True)
            if not (n in metrics and begins_ms[n] <= time < end_ms)
        }
        for time, row in zip(begins.tolist(), means.tolist(), strict=True)
    ]
    later = [i for i, row in enumerate(rows) if begins[i] >= MIDNIGHT_MS and row]
    store.upsert(
        "device_state_snapshots",
        {
            "device_id": [CHILLER.device_id] * len(later),
            "snapshot_time": begins[later],
            "window_ms": [window_ms] * len(later),
            "metrics": [rows[i] for i in later],
            "metric_summary": [{name: [6, v, v, v] for name, v in rows[i].items()} for i in later],
            "completeness": [1.0] * len(later),
            "revision": [10**6 + i for i in later],
        },
    )
    (device,) = store.devices()
    store.register_devices([type(device)(**{**vars_of(device), "last_seen": int(begins[later[-1]]) + 50_000})])
    return store.devices()[0]


def vars_of(device):
    return {name: getattr(device, name) for name in device.__dataclass_fields__}


def detect(store, device, start_ms, end_ms):
    """What `hvac detect` and the schedule do over a span."""
    settings, spans = load_settings(), [Span(device, start_ms, end_ms)]
    write_pass(DetectionPass(store, encoders(store), settings, spans, clock=lambda: END_MS + DAY_MS))
    write_pass(IncidentsPass(store, settings, spans, now_ms=end_ms))
    return [i for i in Incident.read(store, device.device_id) if "stopped" in i.methods]


def test_learning_says_at_which_pace_each_point_reports(store):
    points = DevicePoint.read(store, "CH-001")
    assert {point.metric for point in points} > set(TWO)
    assert {(point.interval_ms, point.regular) for point in points} == {(10_000, True)}


def test_a_point_that_comes_and_goes_is_one_incident_however_passes_follow_each_other(store):
    begin, cycle = MIDNIGHT_MS + HOUR_MS, 40 * MINUTE_MS
    device = without(store, (), 0, 0)
    there = Snapshot.read(store, device.device_id, (begin, begin + 6 * cycle))
    away = [one for one in there if (one.snapshot_time - begin) % cycle < cycle // 2]
    bare = [
        replace(one, **{name: {k: v for k, v in getattr(one, name).items() if k != TWO[0]} for name in MAPS})
        for one in away
    ]
    kept = ("device_id", "snapshot_time", "window_ms", *MAPS, "completeness", "revision")
    store.upsert("device_state_snapshots", Snapshot.columns(bare, only=kept))
    found = set()
    for end in range(begin, begin + 6 * cycle + HOUR_MS, 10 * MINUTE_MS):
        open_now = detect(store, device, end - 10 * MINUTE_MS, end)
        found |= {one.incident_id for one in open_now}
        assert len(open_now) <= 1
    (incident,) = detect(store, device, MIDNIGHT_MS, END_MS)
    assert found == {incident.incident_id}
    assert (incident.started_at, incident.ended_at) == (begin - 1, begin + 5 * cycle + cycle // 2 - 1)
    assert incident.reasons[0].startswith("6 stops since ")
    assert incident.status == "closed"


def test_of_a_stop_that_goes_on_nothing_is_read_again_since_its_begin(store, monkeypatch):
    device = without(store, TWO, MIDNIGHT_MS + HOUR_MS, END_MS)
    (early,) = detect(store, device, MIDNIGHT_MS, END_MS - 5 * MINUTE_MS)
    begins: list[int] = []

    def read(*given, **options):
        begins.append(given[3])
        return read_series(*given, **options)

    monkeypatch.setattr("hvac_platform.monitoring.stopped_points.read_series", read)
    (late,) = detect(store, device, END_MS - 5 * MINUTE_MS, END_MS)
    assert (late.incident_id, late.started_at) == (early.incident_id, early.started_at)
    assert min(begins) >= END_MS - 2 * HOUR_MS


def test_an_incident_stays_whatever_part_of_the_past_is_looked_at_again(store):
    first, second = MIDNIGHT_MS + HOUR_MS, MIDNIGHT_MS + 90 * MINUTE_MS
    device = without(store, {TWO[0]: first, TWO[1]: second}, {TWO[0]: first, TWO[1]: second}, MIDNIGHT_MS + 5 * HOUR_MS)
    back = Snapshot.read(store, device.device_id, (first + HOUR_MS, MIDNIGHT_MS + 5 * HOUR_MS))
    again = [
        replace(
            one,
            metrics={**one.metrics, TWO[0]: 44.0},
            metric_summary={**one.metric_summary, TWO[0]: [6, 44.0, 44.0, 44.0]},
        )
        for one in back
    ]
    kept = ("device_id", "snapshot_time", "window_ms", *MAPS, "completeness", "revision")
    store.upsert("device_state_snapshots", Snapshot.columns(again, only=kept))

    def told():
        return {i.incident_id: (i.metrics, i.started_at, i.ended_at) for i in Incident.read(store, device.device_id)}

    detect(store, device, MIDNIGHT_MS, END_MS)
    whole = told()
    assert [metrics for metrics, *_ in whole.values() if set(metrics) <= set(TWO)][:2] == [[TWO[0]], [TWO[1]]]
    for begin in range(MIDNIGHT_MS, MIDNIGHT_MS + 7 * HOUR_MS, 17 * MINUTE_MS):
        detect(store, device, begin, begin + HOUR_MS)
        assert told() == whole, (begin - MIDNIGHT_MS) / HOUR_MS


def test_points_that_stop_are_one_incident_until_they_return(store):
    stopped, back = MIDNIGHT_MS + HOUR_MS, MIDNIGHT_MS + 4 * HOUR_MS
    device = without(store, TWO, stopped, back, until_ms=stopped + 5 * MINUTE_MS)
    (early,) = detect(store, device, MIDNIGHT_MS, stopped + 5 * MINUTE_MS)
    assert early.status == "open"
    assert early.metrics == sorted(TWO)
    device = without(store, TWO, stopped, back)
    (late,) = detect(store, device, MIDNIGHT_MS, END_MS)
    assert late.incident_id == early.incident_id
    assert (late.started_at + 1, late.ended_at + 1, late.status) == (stopped, back, "closed")
    assert late.reasons == [
        f"no readings of {TWO[0]}, {TWO[1]} (2 of 15 points) for 3.0 h after 2025-03-11 01:00:00Z; usually one comes each "
        "10 s"
    ]


def test_points_that_stop_one_after_the_other_are_each_named_by_their_own_incident(store):
    names = ("cop", "power_consumption", *TWO)
    begins = {name: MIDNIGHT_MS + (1 + i) * HOUR_MS for i, name in enumerate(names)}
    device = without(store, names, begins, END_MS)
    ids: list[str] = []
    for hour in range(2, 7):  # as they stop, and then over all of it
        found = detect(store, device, MIDNIGHT_MS, MIDNIGHT_MS + hour * HOUR_MS)
        assert [(i.metrics, i.started_at + 1) for i in found] == [([n], begins[n]) for n in names[: hour - 1]]
        assert [i.incident_id for i in found][: len(ids)] == ids
        ids = [i.incident_id for i in found]
        assert all(i.metrics[0] in i.reasons[0] and i.status == "open" for i in found)


def test_points_of_a_device_with_longer_windows_stop_for_whole_ones_of_them(platform):
    store, five = platform.store, 5 * MINUTE_MS
    simulated_windows(store, [CHILLER], START_MS, MIDNIGHT_MS, window_ms=five)
    (device,) = store.devices()
    learn(store, device, until_ms=MIDNIGHT_MS)
    stopped, back = MIDNIGHT_MS + HOUR_MS, MIDNIGHT_MS + 4 * HOUR_MS
    device = without(store, TWO, stopped, back, window_ms=five)
    (found,) = detect(store, device, MIDNIGHT_MS, END_MS)
    assert (found.started_at + 1, found.ended_at + 1, found.status) == (stopped, back, "closed")
    assert found.windows == 36


def test_before_its_time_a_silence_is_none_of_a_stop(store):
    device = without(store, TWO, MIDNIGHT_MS + HOUR_MS, MIDNIGHT_MS + HOUR_MS + 4 * MINUTE_MS)
    assert detect(store, device, MIDNIGHT_MS, END_MS) == []


def test_a_point_that_is_retired_is_no_longer_missed(store):
    device = without(store, TWO, MIDNIGHT_MS + HOUR_MS, END_MS)
    (found,) = detect(store, device, MIDNIGHT_MS, END_MS)
    assert found.status == "open"
    key = {"device_id": ["CH-001"] * 2, "metric": list(TWO)}
    store.update("device_points", {**key, "retired_at": [MIDNIGHT_MS + 3 * HOUR_MS] * 2})
    (closed,) = detect(store, device, MIDNIGHT_MS, END_MS)
    assert (closed.incident_id, closed.status) == (found.incident_id, "closed")
    assert closed.ended_at + 1 == MIDNIGHT_MS + 3 * HOUR_MS


def test_a_point_that_is_retired_ends_its_incident_though_nothing_newer_has_come(store):
    device = without(store, TWO, MIDNIGHT_MS + HOUR_MS, END_MS)
    (found,) = detect(store, device, MIDNIGHT_MS, END_MS)
    store.update(
        "device_points", {"device_id": ["CH-001"] * 2, "metric": list(TWO), "retired_at": [END_MS + HOUR_MS] * 2}
    )
    write_pass(IncidentsPass(store, load_settings(), [], now_ms=END_MS + 2 * HOUR_MS))
    (closed,) = (i for i in Incident.read(store, device.device_id) if "stopped" in i.methods)
    assert (closed.incident_id, closed.status) == (found.incident_id, "closed")


def test_a_point_that_was_retired_before_its_stop_was_found_is_no_incident(store):
    device = without(store, TWO, MIDNIGHT_MS + HOUR_MS, END_MS)
    key = {"device_id": ["CH-001"] * 2, "metric": list(TWO)}
    for retired_ms in (END_MS + HOUR_MS, MIDNIGHT_MS + 3 * HOUR_MS):
        store.update("device_points", {**key, "retired_at": [retired_ms] * 2})
        assert detect(store, device, MIDNIGHT_MS, END_MS) == []


def test_of_a_point_whose_readings_are_refused_it_is_said_that_they_come_and_why_they_are(store):
    stopped = MIDNIGHT_MS + HOUR_MS
    reading = {"device_id": "CH-001", "device_type": "chiller", "metric_name": TWO[0], "metric_value": 3.0}
    value = json.dumps(reading | {"unit": "furlong", "timestamp": "2025-03-11T07:00:00Z"}).encode()
    reason = rejection_reason(value, now_ms=END_MS)
    letter = DeadLetter("t", day_of(END_MS), 0, 1, END_MS - HOUR_MS, b"CH-001", value, len(value), None, reason, END_MS)
    store.upsert(DeadLetter.TABLE, DeadLetter.columns([letter]))
    (found,) = detect(store, without(store, TWO[:1], stopped, END_MS), MIDNIGHT_MS, END_MS)
    assert found.reasons[0].startswith(f"readings of {TWO[0]} come and are refused for 7.0 h after ")
    assert "furlong" in found.reasons[0]


def test_of_windows_that_were_hardly_read_nobody_says_that_they_are_normal(store):
    names = {point.metric for point in DevicePoint.read(store, "CH-001")} - {"chilled_water_supply_temp"}
    device = without(store, names, MIDNIGHT_MS + HOUR_MS, MIDNIGHT_MS + 3 * HOUR_MS)
    (found,) = detect(store, device, MIDNIGHT_MS, END_MS)
    assert set(found.metrics) == names
    assert found.severity == "warning"
    verdicts = [v for v in Verdict.read(store, "CH-001") if v.snapshot_time >= MIDNIGHT_MS]
    inside = [
        v for v in verdicts if MIDNIGHT_MS + HOUR_MS + 6 * MINUTE_MS <= v.snapshot_time < MIDNIGHT_MS + 3 * HOUR_MS
    ]
    assert len(inside) == 3 * 114
    assert all(np.isnan(v.score) and not v.anomalous and v.reasons[0].startswith("not judged: of ") for v in inside)
    outside = [
        v for v in verdicts if v.snapshot_time < MIDNIGHT_MS + HOUR_MS or v.snapshot_time > MIDNIGHT_MS + 4 * HOUR_MS
    ]
    assert not any(np.isnan(v.score) for v in outside)


def test_what_a_rule_sees_in_what_was_read_still_alarms(store):
    names = {point.metric for point in DevicePoint.read(store, "CH-001")} - {"chilled_water_supply_temp"}
    device = without(store, names, MIDNIGHT_MS + HOUR_MS, MIDNIGHT_MS + 3 * HOUR_MS)
    times = np.arange(MIDNIGHT_MS + 2 * HOUR_MS, MIDNIGHT_MS + 2 * HOUR_MS + 10 * MINUTE_MS, MINUTE_MS)
    store.upsert(
        "device_state_snapshots",
        {
            "device_id": ["CH-001"] * len(times),
            "snapshot_time": times,
            "window_ms": [MINUTE_MS] * len(times),
            "metrics": [{"chilled_water_supply_temp": -999.0}] * len(times),
            "metric_summary": [{"chilled_water_supply_temp": [6, -999.0, -999.0, -999.0]}] * len(times),
            "completeness": [1.0] * len(times),
            "revision": list(range(len(times))),
        },
    )
    detect(store, device, MIDNIGHT_MS, END_MS)
    verdicts = Verdict.read(store, "CH-001", (int(times[2]), int(times[-1])))
    assert {(v.method, v.anomalous) for v in verdicts} == {("rules", True), ("profile", False), ("vector", False)}


def test_while_detection_stands_a_stop_is_an_incident_as_soon_as_its_time_is_over(store):
    stopped = MIDNIGHT_MS + HOUR_MS
    detection = StandingDetection(store, encoders(store), load_settings(), until=0.0)
    seen = []
    for minutes in range(55, 70):
        without(store, TWO, stopped, END_MS, until_ms=MIDNIGHT_MS + minutes * MINUTE_MS)
        while detection.step():
            pass
        seen.append(bool([i for i in Incident.read(store, "CH-001") if "stopped" in i.methods]))
    assert seen == [False] * 10 + [True] * 5


def test_what_each_point_does_now_is_told_late_before_it_has_stopped(store):
    for silent, state in ((1, "reporting"), (3, "late"), (6, "stopped")):
        device = without(store, TWO, END_MS - silent * MINUTE_MS, END_MS)
        states = states_now(store, device)
        assert {states[name] for name in TWO} == {state}
        assert {states[name] for name in states if name not in TWO} == {"reporting"}


@pytest.mark.parametrize("hours", [2, 7, 21])
def test_a_point_that_repeats_itself_though_it_moves_is_frozen_and_one_that_rests_is_not(store, hours):
    device = without(store, (), END_MS, END_MS)
    last = Snapshot.read(store, device.device_id, (END_MS - hours * HOUR_MS, None))
    store.upsert(
        "device_state_snapshots",
        {
            "device_id": [device.device_id] * len(last),
            "snapshot_time": [one.snapshot_time for one in last],
            "window_ms": [MINUTE_MS] * len(last),
            "metrics": [{**one.metrics, "cop": 5.5} for one in last],
            "metric_summary": [{**one.metric_summary, "cop": [6, 5.5, 5.5, 5.5]} for one in last],
            "completeness": [1.0] * len(last),
            "revision": [one.revision + 1 for one in last],
        },
    )
    assert {name: state for name, state in states_now(store, device).items() if state != "reporting"} == {
        "cop": "frozen"
    }
