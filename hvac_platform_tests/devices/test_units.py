"""Units: what spellings mean, what converts to what, and what is refused with its cause."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvac_platform.devices.registry import Point, device_types, parse_device_type
from hvac_platform.devices.units import SAME, UnitError, conversion, parse_unit


def convert(value: float, given: str, wanted: str, *, difference: bool = False) -> float:
    how = conversion(given, wanted, difference=difference)
    return value * how.scale + how.offset


@pytest.mark.parametrize(
    ("value", "given", "expected", "wanted"),
    [
        (20, "°C", 68, "°F"),
        (293.15, "K", 20, "°C"),
        (1, "bar", 14.503774, "psi"),
        (100, "kPa", 401.463076, "inH2O"),
        (250, "Pa", 1.003658, "inH2O"),
        (1, "L/s", 2.118880, "cfm"),
        (1, "m³/h", 4.402868, "gpm"),
        (1, "m³/h", 0.588578, "cfm"),
        (0.42, "fraction", 42, "%"),
        (1500, "W", 1.5, "kW"),
        (10, "hp", 7.456999, "kW"),
        (1, "ton", 3.516853, "kW"),
        (3600, "s", 1, "h"),
        (1, "in/s", 25.4, "mm/s"),
        (1, "kWh/m²", 0.3169983, "kBtu/ft²"),
        (2, "barg", 29.007548, "psig"),
        (7.6, "kg/cm2", 108.097409, "psig"),
        (7.6, "kgf/cm²(g)", 108.097409, "psig"),
        (12.8, "degrees Celsius", 55.04, "°F"),
        (12.8, "Deg. Celsius", 55.04, "°F"),
        (0.5, "″H2O", 124.544455, "Pa"),
    ],
)
def test_units_of_the_field_convert(value: float, given: str, expected: float, wanted: str) -> None:
    assert convert(value, given, wanted) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    "spellings",
    [
        ("°C", "degC", "deg C", "Cel", "celsius", "degrees-celsius", "℃", "ºC", "Â°C", "\ufffdC", "DEG_C", "C", "[°C]"),
        ("°F", "degF", "[degF]", "Fahrenheit", "degrees-fahrenheit", "unit:DEG_F", "F"),
        ("cfm", "CFM", "ft³/min", "[cft_i]/min", "cubic-feet-per-minute", "FT3-PER-MIN"),
        ("gpm", "[gal_us]/min", "gal/min", "us-gallons-per-minute", "GAL_US-PER-MIN"),
        ("inH2O", "inH₂O", "in. w.c.", "inWC", "[in_i'H2O]", "inches-of-water", "IN_H2O"),
        ("%", "percent", "%RH", "% RH", "PERCENT", "percent-relative-humidity"),
        ("m³/h", "m3/h", "m^3/h", "CMH", "cubic-meters-per-hour"),
        ("L/s", "l/s", "lps", "liters-per-second"),
        ("kWh", "kwh", "kilowatt-hours", "kW·h"),
    ],
)  # fmt: skip
def test_spellings_of_one_unit_are_one_unit(spellings: tuple[str, ...]) -> None:
    assert {parse_unit(spelling) for spelling in spellings} == {parse_unit(spellings[0])} != {None}


def test_small_and_large_letters_tell_units_apart_where_they_must() -> None:
    assert convert(1, "MW", "kW") == 1_000
    assert convert(1, "mW", "kW") == pytest.approx(1e-6)
    assert convert(1, "KPA", "kPa") == 1


@pytest.mark.parametrize(
    ("given", "wanted", "says"),
    [
        ("furlongs", "°F", "unit 'furlongs' is not known"),
        ("u" * 5_000, "°F", "is not known"),
        ("kW", "°F", "unit 'kW' does not measure what '°F' does"),
        ("kg/s", "gpm", "does not measure"),
        ("Hz", "rpm", "does not measure"),
        ("kVA", "kW", "does not measure"),
        ("kW/ton", "", "does not measure"),
        ("psia", "psig", "counts from another zero"),
        ("kPa abs", "psig", "counts from another zero than 'psig'"),
        ("bar a", "psig", "the pressure of the air is not known"),
        ("delta_degC", "°F", "is a difference of temperatures"),
        ("°C", "widgets", "can't become 'widgets'"),
    ],
)
def test_what_is_not_known_or_measures_something_else_is_refused(given: str, wanted: str, says: str) -> None:
    with pytest.raises(UnitError) as refused:
        conversion(given, wanted)
    assert says in str(refused.value)
    assert len(str(refused.value)) < 300


def test_a_difference_of_temperatures_has_no_zero() -> None:
    assert convert(10, "K", "°F", difference=True) == pytest.approx(18)
    assert convert(10, "°C", "°F", difference=True) == pytest.approx(18)
    assert convert(10, "delta_degC", "°F", difference=True) == pytest.approx(18)
    points = {(kind.name, point.name) for kind in device_types().values() for point in kind.points if point.difference}
    assert points == {
        ("chiller", "chilled_water_delta_t"),
        ("cooling_tower", "approach_temp"),
        ("cooling_tower", "range_temp"),
    }


def test_hertz_become_turns_where_the_point_declares_their_ratio() -> None:
    text = "{name: fan, points: [{name: speed, unit: rpm, ratios: {Hz: 29.5}}]}"
    assert parse_device_type(text, "fan.yaml").point("speed").conversion("Hz").scale == 29.5
    with pytest.raises(UnitError):
        Point("speed", "speed", "rpm").conversion("Hz")


def test_every_unit_that_the_platforms_types_name_means_their_points() -> None:
    for kind in device_types().values():
        for point in kind.points:
            assert [point.conversion(unit) for unit in (point.unit, point.ucum or "", point.qudt or "", "")] == [
                SAME
            ] * 4
            assert parse_unit(point.unit) == parse_unit(point.ucum or point.unit)


PAIRS = [
    ("°C", "°F"),
    ("K", "°F"),
    ("bar", "psi"),
    ("kPa", "inH2O"),
    ("L/s", "cfm"),
    ("m³/h", "gpm"),
    ("W", "hp"),
    ("1", "%"),
]


@given(st.sampled_from(PAIRS), st.floats(-1e6, 1e6))
def test_there_and_back_is_where_it_began(pair: tuple[str, str], value: float) -> None:
    there = convert(value, *pair)
    assert convert(there, pair[1], pair[0]) == pytest.approx(value, rel=1e-9, abs=1e-6)


@given(st.text(max_size=80), st.sampled_from(["", "°F", "kW", "%", "gpm"]))
def test_no_text_is_anything_but_converted_or_refused(text: str, wanted: str) -> None:
    try:
        how = conversion(text, wanted)
    except UnitError as error:
        assert "\n" not in str(error)  # noqa: PT017 - the other outcome is as good
    else:
        assert math.isfinite(how.scale)
        assert how.scale > 0


def test_help_needs_no_pandas_and_no_workbooks() -> None:
    code = "import sys, hvac_platform.cli.main; print(*{'pandas', 'pyarrow', 'python_calamine'} & sys.modules.keys())"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == []
