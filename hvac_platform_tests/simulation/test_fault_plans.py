"""Plans of faults: where they may lie, what they depend on, and their labels."""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.devices.registry import device_types
from hvac_platform.simulation.faults import FAULT_KINDS, Fault, kinds_for, plan_faults, plan_one_of_each
from hvac_platform.simulation.sensors import SENSORS
from hvac_platform_tests.simulation.fleets import DAY_MS, HOUR_MS, MINUTE_MS, fleet, midnight

START = midnight("2025-06-10")


def assert_sound(plan, devices, start_ms, end_ms):
    """What every plan must be: in range, of its device, applicable, with time to recover before the next."""
    types = {d.device_id: d.device_type for d in devices}
    for fault in plan:
        assert start_ms <= fault.start_ms < fault.end_ms <= end_ms
        assert fault.kind in kinds_for(types[fault.device_id])
        sensors = SENSORS[types[fault.device_id]]
        assert fault.metric is None or sensors[fault.metric].bias > 0
        first, last = FAULT_KINDS[fault.kind].utc_hours
        assert first <= fault.start_ms % DAY_MS / HOUR_MS <= last + 0.01
        assert fault.end_ms - fault.start_ms <= FAULT_KINDS[fault.kind].minutes[1] * MINUTE_MS + 1000
    for device_id in types:
        own = [f for f in plan if f.device_id == device_id]
        assert all(a.recovered_ms <= b.start_ms for a, b in pairwise(own))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    rate=st.floats(0.0, 30.0),
    days=st.floats(0.02, 6.0),
    offset_ms=st.integers(0, DAY_MS),
)
def test_random_plans_are_sound(seed, rate, days, offset_ms):
    start, end = START + offset_ms, START + offset_ms + round(days * DAY_MS)
    assert_sound(plan_faults(fleet(), start, end, seed=seed, rate=rate), fleet(), start, end)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), count=st.integers(1, 8), hours=st.integers(6, 60), offset_ms=st.integers(0, DAY_MS))
def test_schedules_are_sound_different_and_clear_of_the_ends(seed, count, hours, offset_ms):
    start, end = START + offset_ms, START + offset_ms + hours * HOUR_MS
    plan = plan_one_of_each(fleet(2), start, end, seed=seed, faults_per_device=count)
    assert_sound(plan, fleet(2), start + HOUR_MS, end - HOUR_MS)
    for device in fleet(2):
        kinds = [f.kind for f in plan if f.device_id == device.device_id]
        assert len(set(kinds)) == len(kinds) <= count


@pytest.mark.parametrize("seed", range(5))
def test_a_scheduled_day_gives_every_device_its_faults_and_the_fleet_every_kind(seed):
    plan = plan_one_of_each(fleet(), START, START + DAY_MS, seed=seed)
    assert {d.device_id: sum(f.device_id == d.device_id for f in plan) for d in fleet()} == {
        d.device_id: 4 for d in fleet()
    }
    assert {f.kind for f in plan} == set(FAULT_KINDS)


@pytest.mark.parametrize("rate", [0.2, 1.0, 3.0])
def test_rate_is_faults_per_device_day(rate):
    plan = plan_faults(fleet(8), START, START + 20 * DAY_MS, seed=4, rate=rate)
    expected = rate * 40 * 20
    assert abs(len(plan) - expected) < 0.12 * expected + 3 * np.sqrt(expected)


def test_a_plan_depends_on_seed_and_device_only():
    whole = plan_faults(fleet(3), START, START + DAY_MS * 3, seed=9, rate=2.0)
    assert whole == plan_faults(fleet(3), START, START + DAY_MS * 3, seed=9, rate=2.0)
    assert whole != plan_faults(fleet(3), START, START + DAY_MS * 3, seed=10, rate=2.0)
    alone = plan_faults([FleetDevice("chiller-1", "chiller")], START, START + DAY_MS * 3, seed=9, rate=2.0)
    assert alone == [f for f in whole if f.device_id == "chiller-1"]


def test_plans_can_be_restricted_to_devices_and_kinds():
    plan = plan_faults(
        fleet(2), START, START + 9 * DAY_MS, seed=1, rate=3.0, device_ids=["chiller-0"], kinds=["fouling"]
    )
    assert {(f.device_id, f.kind) for f in plan} == {("chiller-0", "fouling")}


def test_a_type_without_simulation_gets_no_faults():
    assert plan_faults([FleetDevice("x", "heat_pump")], START, START + DAY_MS, seed=1, rate=9.0) == []


def test_wrong_requests_are_refused_by_name():
    with pytest.raises(ValueError, match="nobody"):
        plan_faults(fleet(), START, START + DAY_MS, seed=1, rate=1.0, device_ids=["nobody"])
    with pytest.raises(ValueError, match="earthquake"):
        plan_faults(fleet(), START, START + DAY_MS, seed=1, rate=1.0, kinds=["earthquake"])
    with pytest.raises(ValueError, match="negative"):
        plan_faults(fleet(), START, START + DAY_MS, seed=1, rate=-1.0)
    with pytest.raises(ValueError, match="unknown fault kind"):
        Fault("a", "earthquake", 0, 1)
    with pytest.raises(ValueError, match="ends before"):
        Fault("a", "fouling", 5, 5)
    with pytest.raises(ValueError, match="metric"):
        Fault("a", "sensor_bias", 0, 5)


def test_labels_survive_json():
    for fault in plan_faults(fleet(), START, START + 5 * DAY_MS, seed=1, rate=4.0):
        assert Fault.from_dict(json.loads(json.dumps(fault.to_dict()))) == fault


def test_intensity_is_zero_outside_and_grows_to_the_magnitude():
    times = np.arange(0, 400 * MINUTE_MS, MINUTE_MS)
    for kind in ("fouling", "efficiency_degradation", "fan_failure"):
        fault = Fault("a", kind, 100 * MINUTE_MS, 300 * MINUTE_MS, None, 0.8)
        severity = fault.intensity(times)
        assert not severity[:100].any()
        assert not severity[300:].any()
        assert severity[299] == 0.8
        assert (np.diff(severity[100:300]) >= 0).all()
        assert severity[100] > 0


def test_every_simulated_type_describes_every_sensor_of_its_registry_entry():
    for name, sensors in SENSORS.items():
        assert set(sensors) == set(device_types()[name].metric_names)
        assert len(kinds_for(name)) >= 9
