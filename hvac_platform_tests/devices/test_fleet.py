"""Fleets: the default one, files, generated ones, and devices named on a command line."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvac_platform.devices.fleet import FleetDevice, FleetError, default_fleet, fleet_of_size, load_fleet, parse_device
from hvac_platform.devices.registry import load_device_types


def test_the_default_fleet_has_one_device_of_each_type():
    assert default_fleet() == [
        FleetDevice("RTU-001", "rooftop_unit", "building-A", "bldg-001"),
        FleetDevice("MAU-001", "makeup_air_unit", "building-A", "bldg-001"),
        FleetDevice("CH-001", "chiller", "building-B", "bldg-002"),
        FleetDevice("CT-001", "cooling_tower", "building-B", "bldg-002"),
        FleetDevice("AC-001", "air_compressor", "building-C", "bldg-003"),
    ]


class TestFiles:
    def test_types_are_canonical_and_places_optional(self, tmp_path):
        path = tmp_path / "fleet.json"
        path.write_text(
            '{"devices": [{"device_id": "a", "device_type": "RTU"}, {"device_id": "b", "device_type": "Heat Pump"}]}'
        )
        assert load_fleet(path) == [FleetDevice("a", "rooftop_unit"), FleetDevice("b", "heat_pump")]

    @pytest.mark.parametrize(
        ("content", "complaint"),
        [
            ("", "truncated"),
            ("[]", "Expected `object`"),
            ("{}", "missing required field `devices`"),
            ('{"devices": []}', "devices: the fleet is empty"),
            ('{"devices": [{"device_id": "a"}]}', "missing required field `device_type`"),
            ('{"devices": [{"device_id": 1, "device_type": "rtu"}]}', "`$.devices[0].device_id`"),
            ('{"devices": [{"device_id": "a", "device_type": "rtu", "site": "x"}]}', "unknown field `site`"),
            ('{"devices": [{"device_id": " ", "device_type": "rtu"}]}', "neither may be empty"),
            ('{"devices": [{"device_id": "a", "device_type": "?"}]}', "neither may be empty"),
        ],
    )
    def test_bad_files_are_refused_by_name(self, tmp_path, content, complaint):
        path = tmp_path / "fleet.json"
        path.write_text(content)
        with pytest.raises(FleetError) as refusal:
            load_fleet(path)
        assert str(refusal.value).startswith(f"{path}: ")
        assert complaint in str(refusal.value)

    def test_a_device_named_twice_is_refused(self, tmp_path):
        path = tmp_path / "fleet.json"
        path.write_text(json.dumps({"devices": [{"device_id": "a", "device_type": "rtu"}] * 2}))
        with pytest.raises(FleetError, match="device a is named twice"):
            load_fleet(path)

    def test_a_missing_file(self, tmp_path):
        with pytest.raises(FleetError, match="No such file"):
            load_fleet(tmp_path / "none.json")


class TestGeneratedFleets:
    @given(st.integers(1, 300), st.integers(1, 300))
    def test_a_smaller_fleet_is_the_beginning_of_a_larger_one(self, n, m):
        smaller, larger = sorted((fleet_of_size(n), fleet_of_size(m)), key=len)
        assert larger[: len(smaller)] == smaller
        assert len({device.device_id for device in larger}) == len(larger) == max(n, m)

    def test_five_devices_show_all_types(self):
        assert {device.device_type for device in fleet_of_size(5)} == set(load_device_types())

    def test_ten_devices_a_building(self):
        buildings = [device.building_id for device in fleet_of_size(25)]
        assert [buildings.count(name) for name in ("bldg-001", "bldg-002", "bldg-003")] == [10, 10, 5]

    @pytest.mark.parametrize("n", [0, -1])
    def test_an_empty_fleet_is_refused(self, n):
        with pytest.raises(FleetError, match="at least one device"):
            fleet_of_size(n)


class TestCommandLineDevices:
    def test_id_and_type(self):
        assert parse_device("RTU-001:rooftopunit") == FleetDevice("RTU-001", "rooftop_unit")

    def test_an_id_may_contain_colons(self):
        assert parse_device("site:7:chiller") == FleetDevice("site:7", "chiller")

    @pytest.mark.parametrize("text", ["RTU-001", "", ":", "RTU-001:", ":chiller"])
    def test_anything_else_is_refused(self, text):
        with pytest.raises(FleetError):
            parse_device(text)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b'{"devices": ' + b"[" * 100_000, "fleet.json: "),
        (b'{"devices": [{"device_id": "A", "device_type": "chiller", "location": ' + b"[" * 100_000, "fleet.json: "),
        (b"\xff\xfe", "not UTF-8"),
        (b'{"devices": [{"device_id": "' + b"x" * 129 + b'", "device_type": "chiller"}]}', "128 printable characters"),
        (b'{"devices": [{"device_id": "A\\u0000", "device_type": "chiller"}]}', "128 printable characters"),
    ],
)
def test_a_hostile_fleet_is_refused_in_one_line(tmp_path, content, complaint):
    path = tmp_path / "fleet.json"
    path.write_bytes(content)
    with pytest.raises(FleetError) as refusal:
        load_fleet(path)
    assert complaint in str(refusal.value)
    assert "\n" not in str(refusal.value)
