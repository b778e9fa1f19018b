"""What an incident is worth, by hand calculation; unknown is unknown, and what is critical comes first."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvac_platform.detection.fault_kinds import SENSOR_KINDS, signature_library
from hvac_platform.detection.urgency import MOST, Standing, total, urgency, urgency_parts
from hvac_platform.detection.worth import (
    KIND_RISK,
    Interval,
    comfort_points,
    compared_hours,
    cost_points,
    daily_excess,
    degree_hours,
    maintenance_parts,
    savings,
)
from hvac_platform.devices.registry import device_types

MINUTE = 1 / 60
NAN = float("nan")


def test_the_energy_of_a_whole_day_is_what_was_measured_and_its_cost_that_of_its_hours():
    """24 h at 2 kW beyond the expected: 48 kWh; 16 h at 0.30 and 8 h at 0.15 make 2 · (4.8 + 1.2) = 12."""
    price = np.repeat([0.30, 0.15], [16, 8])
    found = daily_excess(np.full(24, 2.0), 0.5, 1.0, price=price, day_price=float(price.mean()))
    assert found is not None
    assert found.kwh == Interval(48.0, 36.0, 60.0)
    assert found.cost is not None
    assert found.cost.value == pytest.approx(12.0)
    assert found.cost.high - found.cost.value == pytest.approx(24 * 0.5 * 0.25)
    assert (found.hours, found.extrapolated) == (24.0, False)


def test_part_of_a_day_is_told_to_be_extrapolated_and_costs_the_mean_price_of_the_day():
    """3 h at 4 kW: a day of it would be 96 kWh, at 0.25 a kWh 24; what the 3 h themselves cost doesn't matter."""
    found = daily_excess(np.full(180, 4.0), 1.0, MINUTE, price=np.full(180, 9.0), day_price=0.25)
    assert found is not None
    assert found.cost is not None
    assert (found.kwh.value, found.cost.value) == (pytest.approx(96.0), pytest.approx(24.0))
    assert found.extrapolated
    assert found.hours == pytest.approx(180 * MINUTE + 1 - MINUTE)


def test_windows_that_can_not_be_compared_count_for_nothing():
    some = np.where(np.arange(240) < 120, 3.0, NAN)
    found = daily_excess(some, 0.5, MINUTE)
    assert found is not None
    assert found.kwh.value == pytest.approx(72.0)
    assert found.cost is None
    assert found.hours == pytest.approx(3 - MINUTE)
    assert daily_excess(np.full(10, NAN), 0.5, MINUTE) is None
    assert daily_excess(np.zeros(0), 0.5, MINUTE) is None


@pytest.mark.parametrize(("window", "n", "hours"), [(MINUTE, 1, 1.0), (0.25, 5, 2.0), (1.0, 3, 3.0), (2.0, 3, 6.0)])
def test_each_window_says_something_of_the_hour_up_to_it(window, n, hours):
    assert compared_hours(np.zeros(n), window) == pytest.approx(hours)


def test_what_may_be_nothing_has_no_points_of_cost_and_neither_has_what_is_not_known():
    small = daily_excess(np.full(60, 0.4), 0.5, MINUTE)
    assert small is not None
    assert not small.kwh.is_more_than_nothing
    assert cost_points(small) == cost_points(None) == 0.0
    less = daily_excess(np.full(60, -4.0), 0.5, MINUTE)
    assert cost_points(less) == 0.0


def test_points_of_cost_follow_the_money_where_there_are_prices():
    """5 kW beyond is 120 kWh a day, half of all points; in hours at twice the flat price it is worth all of them."""
    dear = daily_excess(np.full(60, 5.0), 0.5, MINUTE, price=np.full(60, 0.6), day_price=0.6)
    assert cost_points(dear) == pytest.approx(5.0)
    assert cost_points(dear, flat_price=0.3) == pytest.approx(10.0)
    assert cost_points(dear, flat_price=0.0) == pytest.approx(5.0), "energy that costs nothing still has its energy"


def test_degree_hours_are_counted_while_the_machine_runs_and_unknown_where_it_never_does():
    """Four quarters of an hour at 3 °F beyond, one of them at rest, one unknown: 2 · 0.25 · 3 · 5/9 K·h."""
    beyond, runs = np.array([3.0, 3.0, 3.0, NAN]), np.array([True, False, True, True])
    assert degree_hours(beyond, runs, 0.25, 5 / 9) == pytest.approx(2 * 0.25 * 3 * 5 / 9)
    assert degree_hours(beyond, np.zeros(4, dtype=bool), 0.25) is None
    assert degree_hours(np.zeros(4), np.ones(4, dtype=bool), 0.25) == 0.0
    assert [comfort_points(x) for x in (None, 0.0, 12.0, 480.0)] == [0.0, 0.0, 2.5, 10.0]


def test_the_risk_of_a_fault_is_its_kind_its_level_and_how_long_it_lasts():
    assert maintenance_parts([("low_flow", 0.8)], 2, 36 * 60) == {"low flow": 4.0, "level 2": 3.0, "persistence": 2.0}
    assert maintenance_parts([], 4, 30) == {}
    assert maintenance_parts([("slipping_belt", 1.0), ("fan_failure", 0.9)], 4, 0) == {"fan failure": 4.5}


def test_every_kind_of_fault_that_can_be_told_has_a_risk():
    kinds = {kind for name in device_types() for kind in signature_library(name)} | SENSOR_KINDS.keys()
    assert kinds == KIND_RISK.keys()


@given(
    st.lists(st.tuples(st.sampled_from([*KIND_RISK, "other"]), st.floats(-1, 2)), max_size=3),
    st.integers(1, 4),
    st.floats(0, 1e6),
)
def test_risk_is_between_0_and_10(kinds, level, minutes):
    assert 0.0 <= sum(maintenance_parts(kinds, level, minutes).values()) <= 10.0


def test_savings_are_what_the_fault_would_have_drawn_since_less_what_was():
    """Before 6 kW beyond, since 1 kW: 5 kW saved, 240 kWh in two days; a day at 0.4, one at 0.2: 5 · 24 · 0.6."""
    price = np.repeat([0.4, 0.2], 24)
    found = savings(np.full(24, 6.0), np.full(48, 1.0), 0.6, 1.0, price=price)
    assert found is not None
    assert found.kwh.value == pytest.approx(240.0)
    assert found.kwh_a_day.value == pytest.approx(120.0)
    assert found.cost is not None
    assert found.cost_a_day is not None
    assert found.cost.value == pytest.approx(72.0)
    assert found.cost_a_day.value == pytest.approx(36.0)
    half = 0.6 * np.sqrt(1 / 1 + 1 / 2)
    assert found.kwh.high - found.kwh.value == pytest.approx(48 * half)
    assert found.cost.value - found.cost.low == pytest.approx(48 * half * 0.3)


def test_nothing_is_said_to_be_saved_before_a_day_has_passed():
    assert savings(np.full(24, 6.0), np.full(23, 1.0), 0.6, 1.0) is None
    assert savings(np.full(24, NAN), np.full(48, 1.0), 0.6, 1.0) is None


STANDINGS = st.builds(
    Standing,
    st.sampled_from(["critical", "warning", "info"]),
    st.floats(0, 5000),
    st.integers(1, 3000),
    st.dictionaries(st.sampled_from(["rules", "profile", "vector"]), st.integers(1, 3000)),
    st.floats(0, 100),
    rules=st.integers(0, 4),
    fleet_wide=st.booleans(),
    metrics=st.integers(0, 9),
    like_a_fault=st.booleans(),
    false_alarms=st.integers(0, 9),
    cost=st.floats(0, 10),
    comfort=st.floats(0, 10),
    maintenance=st.floats(0, 10),
)


@given(STANDINGS, STANDINGS)
def test_what_is_critical_comes_before_all_that_is_not(one, other):
    assert 0.0 <= urgency(one) <= MOST
    assert urgency(one) == total(urgency_parts(one))
    if one.severity == "critical" and other.severity != "critical":
        assert urgency(one) > urgency(other)
