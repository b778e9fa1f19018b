"""Simulated plants: what a tower's fault does to its chillers, and theirs to air handlers, and nothing to others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.devices.topology import topology_of
from hvac_platform.simulation.faults import Fault
from hvac_platform.simulation.fleet_simulation import FleetSimulation
from hvac_platform.simulation.plant import Plant
from hvac_platform_tests.simulation.fleets import HOUR_MS, MINUTE_MS, column, fleet, midnight, simulate, span

START = midnight("2025-07-10") + 6 * HOUR_MS
FLEET = [
    FleetDevice("CT-1", "cooling_tower"),
    FleetDevice("CH-1", "chiller"),
    FleetDevice("CH-2", "chiller"),
    FleetDevice("CH-9", "chiller"),
    FleetDevice("MAU-1", "makeup_air_unit"),
    FleetDevice("RTU-1", "rooftop_unit"),
]
FEEDS = topology_of({"CT-1": ["CH-1", "CH-2"], "CH-1": ["MAU-1", "RTU-1"]})
AT = START + 3 * HOUR_MS
END = AT + 2 * HOUR_MS


def in_a_plant(times, *, faults=(), lag_minutes=5.0, devices=FLEET):
    simulation = FleetSimulation(devices, seed=1, faults=faults, plant=Plant(FEEDS, lag_minutes))
    return {r.device.device_id: r for r in simulation.advance(times)}


def shift(faulty, sound, device, metric, times):
    """Largest difference that a fault makes during it."""
    during = (times >= AT) & (times < END)
    difference = column(faulty[device], metric) - column(sound[device], metric)
    return difference[during][np.abs(difference[during]).argmax()]


def test_without_a_plant_all_is_as_ever():
    times = span(START, 4)
    plain = simulate(fleet(2), times)
    alone = {r.device.device_id: r for r in FleetSimulation(fleet(2), seed=1, plant=Plant()).advance(times)}
    for device_id, readings in plain.items():
        assert np.array_equal(readings.values, alone[device_id].values)


def test_condenser_water_is_what_the_tower_sends():
    times = span(START, 8)
    found = in_a_plant(times)
    sent = column(found["CT-1"], "outlet_water_temp")
    for device in ("CH-1", "CH-2"):
        arriving = column(found[device], "condenser_water_supply_temp")
        assert np.abs(arriving - np.maximum(sent, 76.0)).max() < 1.5


@pytest.mark.parametrize("kind", ["fan_failure", "fouling", "efficiency_degradation"])
def test_a_towers_fault_shows_on_its_chillers_and_on_no_other(kind):
    times = span(START, 8)
    fault = Fault("CT-1", kind, AT, END)
    sound, faulty = in_a_plant(times), in_a_plant(times, faults=[fault])
    for device in ("CH-1", "CH-2"):
        assert shift(faulty, sound, device, "condenser_water_supply_temp", times) > 0.8
        assert shift(faulty, sound, device, "cop", times) < 0
    assert np.array_equal(faulty["CH-9"].values, sound["CH-9"].values)


def test_it_shows_later_the_longer_the_lag():
    times = span(START, 8)
    fault = Fault("CT-1", "fan_failure", AT, END)
    first = []
    for lag_minutes in (2.0, 20.0):
        sound, faulty = (in_a_plant(times, faults=f, lag_minutes=lag_minutes) for f in ((), (fault,)))
        moved = column(faulty["CH-1"], "condenser_water_supply_temp") - column(
            sound["CH-1"], "condenser_water_supply_temp"
        )
        first.append(times[np.argmax(moved > 3.0)])
    assert first[1] - first[0] >= 3 * MINUTE_MS


def test_a_chiller_that_stops_shows_on_the_air_handlers_that_it_feeds():
    times = span(START, 8)
    fault = Fault("CH-1", "compressor_stuck_off", AT, END)
    sound, faulty = in_a_plant(times), in_a_plant(times, faults=[fault])
    assert shift(faulty, sound, "MAU-1", "supply_air_temp", times) > 3.0
    assert shift(faulty, sound, "RTU-1", "return_air_temp", times) > 1.0
    for device in ("CT-1", "CH-2"):
        assert np.array_equal(faulty[device].values, sound[device].values)


def test_a_sensor_of_the_tower_that_is_wrong_shows_on_nobody_else():
    times = span(START, 8)
    fault = Fault("CT-1", "sensor_bias", AT, END, "outlet_water_temp", 6.0)
    sound, faulty = in_a_plant(times), in_a_plant(times, faults=[fault])
    assert np.array_equal(faulty["CH-1"].values, sound["CH-1"].values)


@settings(max_examples=8, deadline=None)
@given(cuts=st.lists(st.integers(1, 299), max_size=4, unique=True).map(sorted))
def test_chunks_do_not_change_a_plant(cuts):
    times = span(START + 1234, 5)
    whole = in_a_plant(times)
    simulation = FleetSimulation(FLEET, seed=1, plant=Plant(FEEDS))
    parts = [simulation.advance(part) for part in np.split(times, cuts)]
    for i, device in enumerate(FLEET):
        assert np.array_equal(np.concatenate([p[i].values for p in parts]), whole[device.device_id].values)


def test_groups_of_many_devices_are_fed_as_single_ones_are():
    more = [FleetDevice(f"X-{i}", "chiller") for i in range(12)]
    times = span(START, 3)
    single, many = in_a_plant(times), in_a_plant(times, devices=[*FLEET, *more])
    for device in FLEET:
        np.testing.assert_allclose(many[device.device_id].values, single[device.device_id].values, atol=0.011)


def test_a_plant_of_devices_that_are_not_there_is_refused():
    with pytest.raises(ValueError, match="a plant of devices that are not in the fleet: CT-1"):
        FleetSimulation(FLEET[1:], seed=1, plant=Plant(FEEDS))
    with pytest.raises(ValueError, match="lag_minutes"):
        Plant(FEEDS, 0.0)
