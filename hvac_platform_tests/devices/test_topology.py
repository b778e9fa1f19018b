"""What feeds what: read from a file, checked, asked upstream and downstream."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvac_platform.devices.fleet import FleetError, load_fleet, load_topology
from hvac_platform.devices.registry import DeviceTypeError, device_types, parse_device_type
from hvac_platform.devices.topology import NO_TOPOLOGY, TopologyError, topology_of

PLANT = {"CT-1": ["CH-1", "CH-2"], "CH-1": ["MAU-1"], "CH-2": ["RTU-1"]}
DEVICES = [
    {"device_id": name, "device_type": kind}
    for name, kind in (("CT-1", "ct"), ("CH-1", "ch"), ("CH-2", "ch"), ("MAU-1", "mau"), ("RTU-1", "rtu"))
]


def written(tmp_path, content):
    path = tmp_path / "fleet.json"
    path.write_text(json.dumps(content))
    return path


def test_a_fleet_file_says_what_feeds_what(tmp_path):
    path = written(tmp_path, {"devices": DEVICES, "feeds": PLANT})
    assert len(load_fleet(path)) == 5
    plant = load_topology(path)
    assert plant.feeds["CT-1"] == ("CH-1", "CH-2")
    assert plant.fed_by["MAU-1"] == ("CH-1",)
    assert plant.upstream("MAU-1") == ("CH-1", "CT-1")
    assert plant.downstream("CT-1") == ("CH-1", "CH-2", "MAU-1", "RTU-1")
    assert plant.connected(["CH-1"]) == {"CT-1", "CH-1", "CH-2", "MAU-1", "RTU-1"}


def test_a_site_that_knows_its_devices_by_their_messages_names_no_devices(tmp_path):
    assert load_topology(written(tmp_path, {"feeds": {"CT-1": ["CH-9"]}})).devices == {"CT-1", "CH-9"}


def test_a_fleet_file_of_before_feeds_nothing(tmp_path):
    path = written(tmp_path, {"devices": DEVICES})
    assert load_topology(path) == NO_TOPOLOGY
    assert not load_topology(path)


@pytest.mark.parametrize(
    ("feeds", "complaint"),
    [
        ({"CT-1": ["CH-3"]}, "feeds: CH-3 is not among the devices"),
        ({"CT-9": ["CH-1"]}, "feeds: CT-9 is not among the devices"),
        ({"CT-1": ["CT-1"]}, "feeds: CT-1 feeds itself"),
        ({"CT-1": ["CH-1", "CH-1"]}, "feeds: CT-1 feeds CH-1 twice"),
        ({"CT-1": ["CH-1"], "CH-1": ["MAU-1"], "MAU-1": ["CT-1"]}, "feeds: a circle, "),
        ({"CT-1": "CH-1"}, "Expected `array`"),
        ({"CT-1": [" "]}, "the name of a device is empty"),
    ],
)
def test_what_can_not_be_is_refused_by_name(tmp_path, feeds, complaint):
    path = written(tmp_path, {"devices": DEVICES, "feeds": feeds})
    for load in (load_fleet, load_topology):
        with pytest.raises(FleetError) as refusal:
            load(path)
        assert str(refusal.value).startswith(f"{path}: ")
        assert complaint in str(refusal.value)


def test_a_circle_is_told_in_the_order_in_which_devices_feed_each_other():
    with pytest.raises(TopologyError) as refusal:
        topology_of({"a": ["b"], "b": ["a"]})
    assert str(refusal.value) in ("feeds: a circle, a feeds b feeds a", "feeds: a circle, b feeds a feeds b")


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=20, unique=True))
def test_any_pairs_are_a_topology_without_circles_or_refused(pairs):
    feeds: dict[str, list[str]] = {}
    for a, b in pairs:
        feeds.setdefault(str(a), []).append(str(b))
    try:
        plant = topology_of(feeds)
    except TopologyError:
        return
    for name in plant.devices:
        assert name not in plant.upstream(name)
        for above in plant.upstream(name):
            assert name in plant.downstream(above)


class TestMedia:
    FAN = "name: fan\npoints:\n  - {name: air_temp}\n  - {name: water_temp}\nmedia: "

    def test_types_say_by_which_points_a_medium_shows(self):
        types = device_types()
        given_by = {(t.name, m.name) for t in types.values() for m in t.media if m.gives}
        assert given_by == {("cooling_tower", "condenser water"), ("chiller", "chilled water")}
        (condenser, _) = types["chiller"].media
        assert condenser.points[0] == condenser.takes == "condenser_water_supply_temp"
        assert types["air_compressor"].media == ()

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ("[{medium: water}]", "media[water]: needs a point: gives, takes or moves"),
            ("[{medium: water, takes: steam}]", "media[water]: steam is not a point"),
            (
                "[{medium: water, takes: water_temp, gives: air_temp}]",
                "media[water]: a machine gives it or takes it, not both",
            ),
            ("[{medium: water, takes: water_temp}, {medium: water, moves: air_temp}]", "media[water]: is given twice"),
            ("[{takes: water_temp}]", "missing required field `medium`"),
        ],
    )
    def test_media_that_can_not_be_are_refused(self, text, complaint):
        with pytest.raises(DeviceTypeError) as refusal:
            parse_device_type(self.FAN + text, "fan.yaml")
        assert complaint in str(refusal.value)
