"""Roots of a plant's faults: what follows from what, when two stay two, whatever the order in which they are looked at."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvac_platform.detection.plant import PlantIncident, Shifts, plant_faults
from hvac_platform.devices.registry import device_type
from hvac_platform.devices.topology import topology_of

MINUTE_MS = 60_000
PLANT = topology_of({"CT-1": ["CH-1", "CH-2", "CH-3"], "CH-1": ["MAU-1"], "CH-2": ["RTU-1"]})
TYPES = {"CT": "cooling_tower", "CH": "chiller", "MAU": "makeup_air_unit", "RTU": "rooftop_unit"}
WARM = {
    "condenser_water_supply_temp": 0.6,
    "condenser_water_return_temp": 0.6,
    "cop": -0.5,
    "chilled_water_flow_rate": 0.1,
}
FLOW = {"chilled_water_flow_rate": -0.9, "chilled_water_delta_t": 0.4, "cop": -0.1}
FAN = {"fan_speed": -0.8, "outlet_water_temp": 0.5, "approach_temp": 0.4}
SHAKES = {"vibration_level": 0.95, "outlet_water_temp": 0.05}
WARM_WATER = {"chilled_water_supply_temp": 0.8, "chilled_water_return_temp": 0.5}
WARM_AIR = {"supply_air_temp": 0.8, "cooling_coil_temp": 0.5}


def incident(device_id, start, end, deviation, **more):
    """An incident of a device, from minute to minute."""
    kind = device_type(TYPES[device_id.partition("-")[0]])
    name = f"{device_id}/{start}"
    return PlantIncident(name, device_id, kind, start * MINUTE_MS, end * MINUTE_MS, deviation, **more)


def went(given=4.0, taken=4.0, together=0.9):
    """What everybody reads of a medium."""
    return lambda link: Shifts(given) if link.takes.takes is None else Shifts(given, taken, together)


def told(incidents, shifts=None):
    """By parent, the root and who follows."""
    return {
        fault.parent.incident_id: (fault.root, [f.incident.incident_id for f in fault.followers])
        for fault in plant_faults(incidents, PLANT, shifts or went())
    }


def test_what_a_towers_fault_does_to_its_chillers_is_one_fault_with_the_tower_as_root():
    found = [incident("CT-1", 0, 60, FAN), incident("CH-1", 5, 70, WARM), incident("CH-2", 8, 70, WARM)]
    assert told(found) == {"CT-1/0": ("CT-1", ["CH-1/5", "CH-2/8"])}


def test_a_chiller_that_alarms_before_the_tower_does_follows_from_it_all_the_same():
    found = [incident("CT-1", 12, 60, FAN), incident("CH-1", 5, 70, WARM)]
    assert told(found) == {"CT-1/12": ("CT-1", ["CH-1/5"])}


def test_the_root_of_an_air_handlers_incident_is_found_through_its_chiller():
    both = WARM | WARM_WATER
    found = [incident("CT-1", 0, 60, FAN), incident("CH-1", 5, 70, both), incident("MAU-1", 15, 70, WARM_AIR)]
    assert told(found) == {"CT-1/0": ("CT-1", ["CH-1/5", "MAU-1/15"])}
    assert told(found[1:]) == {"CH-1/5": ("CH-1", ["MAU-1/15"])}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("CT-1", FAN), ("CH-1", FLOW)),  # the chiller has a fault of its own
        (("CH-1", WARM_WATER), ("CH-2", FLOW)),  # neither feeds the other
        (("CH-1", WARM_WATER), ("RTU-1", WARM_AIR)),  # it is fed by another
        (("MAU-1", WARM_AIR), ("CH-2", WARM_WATER)),
    ],
)
def test_two_that_have_nothing_to_do_with_each_other_stay_two(first, second):
    found = [incident(device, 5 * i, 60, deviation) for i, (device, deviation) in enumerate((first, second))]
    assert told(found) == {}


@pytest.mark.parametrize(
    "shifts",
    [
        went(given=0.2),  # the tower's water is as ever, whatever shakes
        went(given=4.0, taken=4.0, together=-0.2),
        went(given=4.0, taken=0.1),
        went(given=4.0, taken=4.0, together=None),
        lambda link: Shifts(),  # nobody has read it
    ],
)
def test_a_chiller_that_shows_a_wrong_temperature_with_a_sound_tower_is_its_own(shifts):
    found = [incident("CT-1", 0, 60, SHAKES), incident("CH-1", 5, 60, WARM)]
    assert told(found, shifts) == {}


def test_a_sensor_that_is_wrong_is_felt_by_nobody_and_nothing_follows_from_it():
    chiller, tower = incident("CH-1", 5, 60, WARM), incident("CT-1", 0, 60, FAN)
    assert told([replace(tower, sensor_kind="sensor_bias"), chiller]) == {}
    assert told([tower, replace(chiller, sensor_kind="sensor_bias")]) == {}


def test_an_air_handler_with_warm_water_may_look_as_if_it_had_lost_its_capacity():
    chiller, unit = incident("CH-1", 0, 60, WARM_WATER, own_kind=0.9), incident("MAU-1", 5, 60, WARM_AIR, own_kind=0.9)
    assert told([chiller, replace(unit, sensor_kind="sensor_bias")]) == {"CH-1/0": ("CH-1", ["MAU-1/5"])}
    assert told([chiller, replace(unit, sensor_kind="stuck_sensor")]) == {}
    assert told([chiller, replace(unit, deviation={"damper_position": 0.9, "supply_air_temp": 0.3})]) == {}


def test_a_chiller_that_is_the_picture_of_a_fault_of_its_own_has_that_whatever_feeds_it():
    tower, chiller = incident("CT-1", 0, 60, FAN), incident("CH-1", 5, 60, WARM)
    assert told([tower, replace(chiller, own_kind=0.7)]) == {"CT-1/0": ("CT-1", ["CH-1/5"])}
    assert told([tower, replace(chiller, own_kind=0.9)]) == {}


@pytest.mark.parametrize(("start", "end"), [(-90, -50), (130, 180)])
def test_what_does_not_overlap_does_not_follow(start, end):
    assert told([incident("CT-1", 0, 60, FAN), incident("CH-1", start, end, WARM)]) == {}


def test_what_begins_after_a_person_closed_the_root_does_not_follow_from_it():
    tower = incident("CT-1", 0, 60, FAN, closed_ms=20 * MINUTE_MS)
    found = [tower, incident("CH-1", 5, 60, WARM), incident("CH-2", 25, 60, WARM)]
    assert told(found) == {"CT-1/0": ("CT-1", ["CH-1/5"])}


def test_chillers_that_deviate_together_have_their_root_in_a_tower_that_shows_nothing():
    found = [incident("CH-1", 5, 60, WARM), incident("CH-2", 9, 60, WARM)]
    assert told(found) == {"CH-1/5": ("CT-1", ["CH-2/9"])}
    assert told(found[:1]) == {}
    assert told([found[0], incident("CH-2", 25, 60, WARM)]) == {}


def test_a_type_that_declares_no_media_stands_alone():
    tower, chiller = incident("CT-1", 0, 60, FAN), incident("CH-1", 5, 60, WARM)
    assert told([replace(tower, device_type=None), chiller]) == {}
    assert told([replace(tower, device_type=device_type("air_compressor")), chiller]) == {}


DEVIATIONS = {"CT": [FAN, SHAKES], "CH": [WARM, FLOW, WARM_WATER], "MAU": [WARM_AIR], "RTU": [WARM_AIR]}


@st.composite
def some_incidents(draw):
    """Incidents of the plant at random, one a device and start."""
    places = draw(
        st.lists(st.tuples(st.sampled_from(sorted(PLANT.devices)), st.integers(0, 120)), max_size=9, unique=True)
    )
    return [
        incident(
            device, start, start + draw(st.integers(5, 90)), draw(st.sampled_from(DEVIATIONS[device.partition("-")[0]]))
        )
        for device, start in places
    ]


@given(some_incidents(), st.randoms(use_true_random=False))
def test_the_order_in_which_incidents_are_looked_at_decides_nothing_and_each_has_one_root(found, random):
    shuffled = list(found)
    random.shuffle(shuffled)
    assert told(shuffled) == told(found)
    faults = plant_faults(found, PLANT, went())
    named = [i for f in faults for i in (f.parent.incident_id, *(one.incident.incident_id for one in f.followers))]
    assert len(named) == len(set(named))
    for fault in faults:
        assert fault.followers
        reached = {fault.root, *PLANT.downstream(fault.root)}
        assert {fault.parent.device_id, *(one.incident.device_id for one in fault.followers)} <= reached
