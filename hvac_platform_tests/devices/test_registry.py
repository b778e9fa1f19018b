"""Device types: what the built-in ones hold, how names are recognised, and what a wrong file is told."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from hvac_platform.devices.document import device_specifications
from hvac_platform.devices.registry import (
    BUILT_IN_FOLDER,
    DEVICE_TYPES_VARIABLE,
    DeviceTypeError,
    Point,
    canonical_type,
    device_type,
    device_types,
    load_device_types,
    message_fields,
    parse_device_type,
    parse_other_rules,
    variables,
)

DOCS = Path(__file__).parents[2] / "docs"
#: Sums over the points of a type: lowest normal, highest normal, lowest hard, highest hard.
RANGE_SUMS = {
    "rooftop_unit": (279.3, 2672.0, 115.0, 3534.0),
    "makeup_air_unit": (140.2, 7459.0, -151.0, 13639.0),
    "chiller": (338.5, 4034.0, 108.0, 7482.0),
    "cooling_tower": (212.1, 2348.5, -32.0, 4255.0),
    "air_compressor": (500.0, 105349.8, 50.0, 1008032.0),
}
FAN = "name: fan\npoints:\n  - {name: speed, normal: [0, 100], hard: [0, 200]}\n"


class TestBuiltInTypes:
    def test_points_of_each_type(self):
        assert {name: len(t.points) for name, t in load_device_types().items()} == {
            "rooftop_unit": 14,
            "makeup_air_unit": 14,
            "chiller": 15,
            "cooling_tower": 14,
            "air_compressor": 14,
        }

    def test_every_point_is_complete(self):
        for loaded in load_device_types().values():
            for point in loaded.points:
                assert point.ucum, point.name
                assert point.qudt, point.name
                assert point.normal is not None, point.name
                assert point.hard is not None, point.name
                assert point.unit or point.ucum == "1", point.name
                assert not re.search(r"[A-Z_]", point.title), point.name

    def test_totals_of_the_ranges(self):
        """A slip of a digit in any range shows in these sums."""
        for name, loaded in load_device_types().items():
            ranges = [(*point.normal, *point.hard) for point in loaded.points]
            assert [sum(column) for column in zip(*ranges, strict=True)] == pytest.approx(RANGE_SUMS[name])

    def test_kinds_follow_names(self):
        for loaded in load_device_types().values():
            for point in loaded.points:
                expected = (
                    "binary" if point.name.endswith("_status") else "counter" if point.name == "run_hours" else "analog"
                )
                assert point.kind == expected, point.name

    def test_one_unit_for_one_kind_of_quantity(self):
        units = {(p.ucum, p.unit) for t in load_device_types().values() for p in t.points}
        assert len(units) == len({ucum for ucum, _ in units})

    def test_rules_of_each_type(self):
        assert {name: len(t.rules) for name, t in load_device_types().items()} == {
            "rooftop_unit": 10,
            "makeup_air_unit": 8,
            "chiller": 11,
            "cooling_tower": 10,
            "air_compressor": 13,
        }

    def test_every_rule_says_what_where_and_why(self):
        for loaded in load_device_types().values():
            for rule in loaded.rules:
                assert rule.metrics, rule.id
                assert rule.source, rule.id
                assert rule.title != rule.id, rule.id
                assert rule.message != rule.title, rule.id

    def test_numbers_of_rules_are_parameters(self):
        """Expressions name their tolerances; only 0, 1, the test of a status and unit conversions are written out."""
        allowed = {"0", "1", "24", "100", "0.01", "0.99"}
        for loaded in load_device_types().values():
            texts = [rule.when for rule in loaded.rules]
            texts += [*loaded.conditions.values(), *(d.expression for d in loaded.derived.values())]
            for text in texts:
                assert set(re.findall(r"(?<![\w.])\d[\d.]*", text)) <= allowed, text

    def test_every_type_says_where_its_power_is_and_what_drives_it(self):
        for loaded in load_device_types().values():
            assert loaded.energy.power == "power_consumption", loaded.name
            assert loaded.energy.drivers, loaded.name
            assert not {p.name for p in loaded.points if p.kind == "counter"} & set(loaded.energy.drivers), loaded.name

    def test_no_parameter_is_idle(self):
        for loaded in load_device_types().values():
            used = set()
            for text in (*loaded.conditions.values(), *(d.expression for d in loaded.derived.values())):
                used |= variables(text)
            for rule in loaded.rules:
                used |= variables(rule.when) | set(message_fields(rule.message))
            used |= set(loaded.comfort.names if loaded.comfort is not None else ())
            assert loaded.parameters.keys() <= used

    def test_the_document_is_in_step_with_the_files(self):
        text = (DOCS / "device-specifications.md").read_text(encoding="utf-8")
        assert text == device_specifications(load_device_types()), (
            "run python -m hvac_platform.devices.document docs/device-specifications.md"
        )


class TestLookup:
    @pytest.mark.parametrize(
        "spelling", ["rooftop_unit", "rooftopunit", "Rooftop-Unit", "ROOFTOP UNIT", "RooftopUnit", "rtu", " RTU "]
    )
    def test_spellings_of_one_type(self, spelling):
        assert canonical_type(spelling) == "rooftop_unit"
        assert device_type(spelling).name == "rooftop_unit"

    @pytest.mark.parametrize(
        ("spelling", "name"),
        [
            ("makeupairunit", "makeup_air_unit"),
            ("Make-Up Air Unit", "makeup_air_unit"),
            ("CH", "chiller"),
            ("coolingtower", "cooling_tower"),
            ("aircompressor", "air_compressor"),
        ],
    )
    def test_the_other_types(self, spelling, name):
        assert canonical_type(spelling) == name

    def test_every_canonical_name_is_its_own(self):
        assert [canonical_type(name) for name in device_types()] == list(device_types())

    @pytest.mark.parametrize(
        ("spelling", "slug"), [("boiler", "boiler"), ("Heat Pump", "heat_pump"), ("VAV-box 2", "vav_box_2")]
    )
    def test_an_unknown_type_keeps_its_name_as_a_slug(self, spelling, slug):
        assert canonical_type(spelling) == slug
        assert canonical_type(slug) == slug
        assert device_type(spelling) is None

    def test_points_by_name(self):
        chiller = device_type("chiller")
        assert chiller.point("cop").title == "coefficient of performance"
        assert chiller.metric_names[chiller.index["cop"]] == "cop"
        with pytest.raises(KeyError):
            chiller.point("copper")

    def test_the_same_object_every_time(self):
        assert device_type("chiller") is device_type("CH")


class TestShowing:
    @pytest.mark.parametrize(
        ("metric", "value", "text"),
        [
            ("supply_air_temp", 28, "28.0 °F"),
            ("filter_pressure_drop", 1.234, "1.23 inH2O"),
            ("fan_speed", 1234.5, "1,234 rpm"),
            ("heating_valve_position", -0.01, "0.0 %"),
        ],
    )
    def test_digits_suit_the_range(self, metric, value, text):
        assert device_type("rooftop_unit").point(metric).show(value) == text

    def test_without_a_range(self):
        assert Point("x", "x").show(1.0) == "1.00"


class TestUserTypes:
    def test_the_smallest_type_has_sensible_defaults(self):
        fan = parse_device_type("{name: exhaust_fan, points: [{name: fan_speed, normal: [0, 100]}]}", "fan.yaml")
        assert fan.title == "exhaust fan"
        assert fan.points == (Point("fan_speed", "fan speed", normal=(0.0, 100.0)),)
        assert fan.points[0].hard is None
        assert fan.points[0].kind == "analog"
        assert fan.rules == ()

    def test_a_rule_needs_only_an_id_and_a_condition(self):
        fan = parse_device_type(FAN + "rules: [{id: f-1, when: speed > 90}]", "fan.yaml")
        assert (fan.rules[0].level, fan.rules[0].metrics, fan.rules[0].message) == (4, ("speed",), "f-1")

    def test_folders_of_the_environment_add_and_replace(self, tmp_path, monkeypatch):
        first, second = tmp_path / "first", tmp_path / "second"
        for folder in (first, second):
            folder.mkdir()
        (first / "fan.yaml").write_text(FAN)
        (second / "chiller.yaml").write_text("{name: chiller, points: [{name: load}]}")
        monkeypatch.setenv(DEVICE_TYPES_VARIABLE, os.pathsep.join([str(first), str(second)]))
        assert device_type("FAN").metric_names == ("speed",)
        assert device_type("chiller").metric_names == ("load",)
        assert len(device_types()) == 6
        monkeypatch.delenv(DEVICE_TYPES_VARIABLE)
        assert device_type("fan") is None
        assert len(device_type("chiller").points) == 15

    def test_a_missing_folder_is_an_error(self, tmp_path):
        with pytest.raises(DeviceTypeError, match="nowhere: no such folder"):
            load_device_types([tmp_path / "nowhere"])

    def test_two_files_with_one_name_are_an_error(self, tmp_path):
        for file in ("a.yaml", "b.yaml"):
            (tmp_path / file).write_text(FAN)
        with pytest.raises(DeviceTypeError, match=r"b\.yaml: name: fan is already defined in a\.yaml"):
            load_device_types([tmp_path])

    def test_two_types_with_one_alias_are_an_error(self, tmp_path):
        (tmp_path / "fan.yaml").write_text(FAN + "aliases: [rtu]")
        with pytest.raises(DeviceTypeError, match=r"aliases: .* is already an alias"):
            load_device_types([tmp_path])

    def test_the_examples_of_the_guide_are_valid(self):
        guide = (DOCS / "adding-a-device-type.md").read_text(encoding="utf-8")
        smallest, whole = re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)
        assert parse_device_type(whole, "heat_pump.yaml").rules[0].suppress == ("stopped", "starting")
        names = ("supply_water_temp", "return_water_temp", "fan_speed")
        assert parse_device_type(smallest, "heat_pump.yaml").metric_names == names


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "Expected `object`"),
        (":::[", "Expected `object`"),
        ("{name: [", "not valid YAML"),
        ("{name: a, name: b}", "key 'name' is repeated"),
        ("{name: fan}", "missing required field `points`"),
        ("{name: fan, points: []}", "`$.points`"),
        ("{name: Fan, points: [{name: speed}]}", "`$.name`"),
        ("{name: fan, points: [{name: speed, nomal: [0, 1]}]}", "unknown field `nomal`"),
        ("{name: fan, points: [{name: speed}], rulez: []}", "unknown field `rulez`"),
        ("{name: fan, points: [{name: speed, normal: [0, fast]}]}", "`$.points[0].normal[1]`"),
        ("{name: fan, points: [{name: speed, normal: [2, 1]}]}", "points[speed].normal: must be [lowest, highest]"),
        ("{name: fan, points: [{name: speed, hard: [0, .inf]}]}", "points[speed].hard: must be [lowest, highest]"),
        (
            "{name: fan, points: [{name: speed, normal: [0, 9], hard: [1, 9]}]}",
            "points[speed].normal: [0.0, 9.0] must be inside",
        ),
        ("{name: fan, points: [{name: speed, kind: digital}]}", "`$.points[0].kind`"),
        ("{name: fan, points: [{name: speed}, {name: speed}]}", "speed: the name is taken"),
        (FAN + "parameters: {speed: 1}", "speed: the name is taken"),
        (FAN + "parameters: {where: 1}", "where: the name is taken"),
        (FAN + "parameters: {prev_speed: 1}", "prev_speed: the name is taken"),
        (FAN + "parameters: {limit: .nan}", "parameters.limit: must be a finite number"),
        (FAN + "derived: {double: speed > 1}", "derived.double: must give a number"),
        (FAN + "derived: {a: b + 1, b: speed}", "derived.a: b is not defined"),
        (FAN + "conditions: {running: speed}", "conditions.running: must give true or false"),
        (
            FAN + "conditions: {a: speed > 1, b: minutes_a > 3, c: minutes_b > 3}",
            "conditions.c: minutes_b is not defined",
        ),
        (FAN + "rules: [{id: r, when: sped > 1}]", "rules[r].when: sped is not defined"),
        (FAN + "rules: [{id: r, when: speed}]", "rules[r].when: must give true or false"),
        (FAN + "rules: [{id: r, when: speed >}]", "rules[r].when: syntax error"),
        (FAN + "rules: [{id: r, when: 1 < speed < 2}]", "rules[r].when: a chain of comparisons"),
        (FAN + "rules: [{id: r, when: speed > 1 and speed < 2}]", "rules[r].when: and, or, not"),
        (FAN + "rules: [{id: r, when: 'open(1) > 1'}]", "rules[r].when: unknown function"),
        (FAN + "rules: [{id: r, when: 'speed.real > 1'}]", "rules[r].when: Attribute is not allowed"),
        (FAN + "rules: [{id: r, when: 'where(speed) > 1'}]", "rules[r].when: "),
        (FAN + "rules: [{id: r, when: speed > 1, level: 5}]", "`$.rules[0].level`"),
        (FAN + "rules: [{id: r, when: speed > 1, for: -1}]", "`$.rules[0].for`"),
        (FAN + "rules: [{id: r, when: speed > 1, suppress: idle}]", "rules[r].suppress: idle is not a condition"),
        (FAN + "rules: [{id: r, when: speed > 1, metrics: [sped]}]", "rules[r].metrics: sped is not a point"),
        (FAN + "rules: [{id: r, when: speed > 1, message: 'at {sped}'}]", "rules[r].message: {sped} is not a point"),
        (FAN + "rules: [{id: r, when: speed > 1, message: 'at {speed'}]", "rules[r].message: "),
        (FAN + "rules: [{id: r, when: speed > 1}, {id: r, when: speed > 2}]", "rules[r].id: is used twice"),
        (FAN + "frozen_windows: 1", "`$.frozen_windows`"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line_that_names_file_and_field(text, complaint):
    with pytest.raises(DeviceTypeError) as refusal:
        parse_device_type(text, "fan.yaml")
    message = str(refusal.value)
    assert message.startswith("fan.yaml: ")
    assert complaint in message
    assert "\n" not in message


HUGE = "9" * 400
MANY = "x"
for _ in range(7):
    MANY = f"({MANY}+{MANY})"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (FAN + "rules: [{id: r, when: 9**9**9 > speed}]", "rules[r].when: a power must be of something that is read"),
        (FAN + "rules: [{id: r, when: speed > (((9**9)**9)**9)**9}]", "rules[r].when: a power must be"),
        (FAN + "rules: [{id: r, when: speed**speed > 1}]", "rules[r].when: a power must be"),
        (FAN + "rules: [{id: r, when: speed**99 > 1}]", "rules[r].when: a power must be"),
        (FAN + "rules: [{id: r, when: 1<<99999999999 > speed}]", "rules[r].when: LShift is not allowed"),
        (FAN + "rules: [{id: r, when: speed >> 2 > 1}]", "rules[r].when: RShift is not allowed"),
        (FAN + "rules: [{id: r, when: speed // 2 > 1}]", "rules[r].when: FloorDiv is not allowed"),
        (FAN + f"rules: [{{id: r, when: speed > {HUGE}}}]", "rules[r].when: a number over 1e+15"),
        (FAN + "rules: [{id: r, when: speed > 1e300}]", "rules[r].when: a number over 1e+15"),
        (FAN + "rules: [{id: r, when: speed > 1j}]", "rules[r].when: 1j is not a number"),
        (FAN + "derived: {d: 1 / 0}", "derived.d: "),
        (FAN + f"derived: {{d: {'speed + ' * 20_000}speed}}", "derived.d: 160005 characters, over the 1000"),
        (FAN + f"parameters: {{x: 1}}\nderived: {{d: {MANY}}}", "derived.d: more than 200 parts"),
        (FAN + f"derived: {{d: {'-' * 80}speed}}", "derived.d: nested more than 60 levels deep"),
        (FAN + f"derived: {{d: {'(' * 300}speed{')' * 300}}}", "derived.d: syntax error"),
        (FAN + "rules: [{id: r, when: speed > 1, for: 1000000000000}]", "`$.rules[0].for`"),
        (FAN + "rules: [{id: r, when: speed > 1, for: .inf}]", "`$.rules[0].for`"),
        (FAN + "rules: [{id: r, when: speed > 1, for: .nan}]", "`$.rules[0].for`"),
        (
            FAN + "rules: [{id: r, when: speed > 1, message: '{speed:>99999999999}'}]",
            "a name in braces may have no format",
        ),
        (FAN + f"rules: [{{id: r, when: speed > 1, message: '{'x' * 2000}'}}]", "rules[r].message: over the 1000"),
        (FAN + "frozen_windows: 1000000000000", "`$.frozen_windows`"),
        (FAN + "memory_minutes: 1.0e+12", "`$.memory_minutes`"),
        (FAN + "memory_minutes: .nan", "`$.memory_minutes`"),
        (FAN + "parameters: {limit: 1.0e+300}", "parameters.limit: must be a finite number within 1e+15"),
        (FAN + f"parameters: {{limit: {'9' * 5000}}}", "not valid YAML"),
        (FAN + "sentinels: [.nan]", "sentinels: must be finite"),
        (FAN + "window_seconds: 0", "Expected `int` >= 1"),
        (FAN + "window_seconds: 420", "window_seconds: 420 s is no even part of a day of 86400 s, such as 300 is"),
        ("{name: fan, points: [{name: speed, hard: [0, 1.0e+300]}]}", "points[speed].hard: must be [lowest, highest]"),
        (
            FAN + f"derived: {{d0: speed, {', '.join(f'd{i}: d{i - 1} + speed' for i in range(1, 40))}}}",
            "derived.d20: rests on more than 20 others in turn",
        ),
        ("[" * 5000 + "]" * 5000, "nested more than 30 levels deep"),
        ("{" * 5000, "nested more than 30 levels deep"),
        ("a: &a [*a]", "alias 'a' stands for nothing, or for itself"),
        (
            "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
            + "".join(f"{b}: &{b} [{', '.join(['*' + a] * 10)}]\n" for a, b in pairwise("abcdefghi")),
            "more than 50000 values",
        ),
        (f"[{'x, ' * 60_000}x]", "more than 50000 values"),
        ("x" * 2_000_000, "2000000 characters, over the 1048576"),
        (FAN + "title: 2025-02-31", "not valid YAML"),
        (FAN + "title: \x00", "not valid YAML"),
    ],
)
def test_what_would_hang_or_fill_the_memory_is_refused_in_one_line_with_its_place(text, complaint):
    with pytest.raises(DeviceTypeError) as refusal:
        parse_device_type(text, "fan.yaml")
    message = str(refusal.value)
    assert message.startswith("fan.yaml: ")
    assert complaint in message
    assert "\n" not in message
    assert len(message) < 600


@pytest.mark.parametrize("text", ["speed**2 > 1", "speed**-0.5 > 1", "abs(speed**3 - 1) > 1e6", "(speed % 24) >= 0"])
def test_what_rules_need_is_allowed(text):
    assert parse_device_type(FAN + f"rules: [{{id: r, when: '{text}'}}]", "fan.yaml").rules


def test_values_may_be_written_once_and_named_again():
    text = "{name: fan, points: [{name: a, normal: &n [0, 9]}, {name: b, normal: *n}]}"
    assert parse_device_type(text, "fan.yaml").point("b").normal == (0, 9)


def test_what_quantities_rest_on_is_found_however_they_are_entangled():
    chain = ", ".join(f"d{i}: d{i - 1} + d{i - 2}" for i in range(2, 18))
    text = FAN + f"derived: {{d0: speed, d1: speed, {chain}}}"
    assert parse_device_type(text, "fan.yaml").inputs("d17 + 1") == {"speed"}


@pytest.mark.parametrize("content", [b"\xff\xfe\x00name", b"\x00" * 100, b"x" * 2_000_000])
def test_a_file_that_is_no_text_is_refused_with_its_name(tmp_path, content):
    (tmp_path / "odd.yaml").write_bytes(content)
    with pytest.raises(DeviceTypeError, match=r"odd\.yaml: "):
        load_device_types([tmp_path])


def test_a_folder_or_a_pipe_in_place_of_a_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(DeviceTypeError, match=r"pipe\.yaml: not a file"):
        load_device_types([tmp_path])
    (tmp_path / "a.yaml").mkdir()
    with pytest.raises(DeviceTypeError, match=r"a\.yaml: not a file"):
        load_device_types([tmp_path])


class TestEnergy:
    METERED = "name: fan\npoints:\n  - {name: power, unit: kW}\n  - {name: amps, unit: A}\n  - {name: flow}\nenergy: "

    def energy(self, text):
        return parse_device_type(self.METERED + text, "fan.yaml").energy

    def test_is_absent_unless_declared(self):
        assert parse_device_type(FAN, "fan.yaml").energy is None

    def test_is_read_from_a_power_point(self):
        energy = self.energy("{power: power, drivers: flow}")
        assert (energy.power, energy.drivers, energy.clock) == ("power", ("flow",), True)

    def test_is_computed_from_a_current_where_the_voltage_is_declared(self):
        energy = self.energy("{current: amps, volts: 480, phases: 3, power_factor: 0.9, drivers: [flow], clock: false}")
        assert (energy.current, energy.volts, energy.phases, energy.power_factor) == ("amps", 480.0, 3, 0.9)

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("{drivers: [flow]}", "energy: needs either power or current"),
            ("{power: power, current: amps, drivers: [flow]}", "energy: needs either power or current"),
            ("{power: steam, drivers: [flow]}", "energy.power: steam is not a point"),
            ("{power: power, drivers: [steam]}", "energy.drivers: steam is not a point"),
            ("{power: amps, drivers: [flow]}", "energy.power: amps is in A, not kW"),
            ("{current: power, volts: 480, phases: 3}", "energy.current: power is in kW, not A"),
            ("{current: amps, drivers: [flow]}", "energy.current: needs volts and phases"),
            ("{current: amps, volts: 480, phases: 2}", "2"),
            ("{power: power, drivers: [power]}", "energy.drivers: power can't drive itself"),
            ("{power: power, clock: false}", "energy.drivers: must name a point"),
            ("{power: power, driver: [flow]}", "driver"),
        ],
    )
    def test_a_mistake_is_refused_with_its_place(self, text, problem):
        with pytest.raises(DeviceTypeError, match=re.escape(problem)):
            self.energy(text)


class TestComfort:
    ROOM = (
        "name: coil\npoints:\n  - {name: zone, unit: °F}\n  - {name: target, unit: °F}\n  - {name: kelvin, unit: K}\n"
        "parameters: {room: 2}\nconditions: {warm: zone > 70}\ncomfort: "
    )

    def comfort(self, text):
        return parse_device_type(self.ROOM + text, "coil.yaml").comfort

    def test_is_a_temperature_with_its_setpoints(self):
        found = self.comfort("{temperature: zone, warmest: target, tolerance: room, while: warm}")
        assert found.names == ("zone", "target", "room", "warm")
        assert parse_device_type(FAN, "fan.yaml").comfort is None

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("{temperature: zone}", "comfort: needs warmest or coldest"),
            ("{temperature: attic, warmest: target}", "comfort.temperature: attic is not a point"),
            ("{temperature: zone, warmest: attic}", "comfort.warmest: attic is not a point or parameter"),
            ("{temperature: zone, coldest: warm}", "comfort.coldest: warm is not a point or parameter"),
            ("{temperature: zone, coldest: kelvin}", "comfort.coldest: kelvin is in K, not °F"),
            ("{temperature: zone, warmest: target, tolerance: target}", "comfort.tolerance: target is not a parameter"),
            ("{temperature: zone, warmest: target, while: cold}", "comfort.while: cold is not a condition"),
            ("{temperature: zone, warmest: target, if: warm}", "if"),
        ],
    )
    def test_a_mistake_is_refused_with_its_place(self, text, problem):
        with pytest.raises(DeviceTypeError, match=re.escape(problem)):
            self.comfort(text)


class TestOtherRules:
    """A type with what differs laid over it."""

    @pytest.mark.parametrize("name", device_types())
    def test_a_name_alone_and_the_whole_file_are_the_type_as_it_is(self, name):
        known = device_type(name)
        whole = (BUILT_IN_FOLDER / f"{name}.yaml").read_text()
        for text in (f"name: {name}", whole):
            found = parse_other_rules(text, "mine")
            assert found.rules == known.rules
            assert dict(found.parameters) == dict(known.parameters)
            assert dict(found.derived) == dict(known.derived)
            assert dict(found.conditions) == dict(known.conditions)
            assert (found.points, found.memory_minutes) == (known.points, known.memory_minutes)

    def test_what_is_given_takes_the_place_of_what_there_is_and_the_rest_stays(self):
        known = device_type("chiller")
        found = parse_other_rules(
            "{name: chiller, parameters: {min_delta_t: 6, mine: {value: 2, unit: K}}, conditions: {loud: cop > 9},"
            "rules: [{id: ch-1, for: 30}, {id: mine, when: cop < mine, suppress: loud}]}",
            "mine",
        )
        assert found.parameters["min_delta_t"] == replace(known.parameters["min_delta_t"], value=6.0)
        assert found.parameters["mine"].show(2) == "2 K"
        assert found.rules[0] == replace(known.rules[0], for_minutes=30.0)
        assert found.rules[1:-1] == known.rules[1:]
        assert (found.rules[-1].id, found.rules[-1].metrics) == ("mine", ("cop",))
        assert device_type("chiller").rules == known.rules, "the type that there is stays as it is"

    def test_the_name_may_be_spelled_as_in_messages(self):
        assert parse_other_rules("name: CH", "mine").name == "chiller"

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("name: teapot", "mine: there is no device type 'teapot': there are air_compressor"),
            ("{name: teapot, points: [{name: lid}]}", "mine: there is no device type 'teapot'"),
            ("{name: chiller, rules: [{id: ch-1, when: lid > 1}]}", "mine: rules[ch-1].when: lid is not defined"),
            ("{name: chiller, rules: [{when: cop > 1}]}", "mine: rules[0]: needs an id"),
            ("{name: chiller, rules: [{id: [1], when: cop > 1}]}", "mine: rules[0]: needs an id"),
            ("{name: chiller, rules: [{id: ch-1, level: 9}]}", "mine: rules[ch-1]: Expected `int` <= 4"),
            ("{name: chiller, rules: [{id: new}]}", "mine: rules[new]: Object missing required field `when`"),
            ("{name: chiller, parameters: {cop: 1}}", "mine: cop: the name is taken"),
            ("{name: chiller, sentinels: [1]}", "mine: Object contains unknown field `sentinels`"),
            ("", "mine: Expected `object`"),
        ],
    )
    def test_a_mistake_is_refused_with_its_place(self, text, problem):
        with pytest.raises(DeviceTypeError, match=re.escape(problem)):
            parse_other_rules(text, "mine")
