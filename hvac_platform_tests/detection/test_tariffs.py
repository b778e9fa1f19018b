"""Prices of energy: by the clock of the site, on the days on which clocks change too, and over midnight."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hvac_platform.detection.tariffs import Period, Tariff, mean_price, prices
from hvac_platform.timestamps import to_ms

BERLIN = ZoneInfo("Europe/Berlin")
MINUTE_MS, HOUR_MS = 60_000, 3_600_000
ZONES = st.sampled_from(["Europe/Berlin", "America/Chicago", "Asia/Kathmandu", "Australia/Lord_Howe", "UTC"])
MINUTES = st.integers(0, 1440)
PERIODS = st.builds(
    Period,
    price=st.floats(0, 2),
    days=st.frozensets(st.integers(0, 6), min_size=1),
    start=st.integers(0, 1439),
    until=MINUTES,
    months=st.frozensets(st.integers(1, 12), min_size=1),
).filter(lambda period: period.start != period.until)
INSTANTS = st.integers(1_704_067_200, 1_830_297_600).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


def holds(period: Period, local: datetime) -> bool:
    """The meaning of a period, an instant at a time: today's, or yesterday's that goes on over midnight."""
    minute = local.hour * 60 + local.minute
    before = local.replace(tzinfo=None) - timedelta(days=1)
    today = local.weekday() in period.days and local.month in period.months
    yesterday = before.weekday() in period.days and before.month in period.months
    if period.start < period.until:
        return today and period.start <= minute < period.until
    return (today and minute >= period.start) or (yesterday and minute < period.until)


@given(st.lists(PERIODS, max_size=4), st.lists(INSTANTS, min_size=1, max_size=20), ZONES)
@example([Period(1.0, start=22 * 60, until=6 * 60)], [datetime(2026, 3, 29, 1, tzinfo=UTC)], "Europe/Berlin")
@example([Period(1.0, months=frozenset({12}), start=1380, until=60)], [datetime(2026, 1, 1, tzinfo=UTC)], "UTC")
def test_the_price_is_that_of_the_first_period_that_holds_else_the_flat_one(
    periods: list[Period], instants: list[datetime], zone: str
) -> None:
    times = np.array([to_ms(at) for at in instants], dtype=np.int64)
    found = prices(times, Tariff(9.0, tuple(periods)), ZoneInfo(zone))
    for at, price in zip(instants, found.tolist(), strict=True):
        local = at.astimezone(ZoneInfo(zone))
        assert price == next((period.price for period in periods if holds(period, local)), 9.0)


@pytest.mark.parametrize(
    ("day", "hours", "at_night"),
    [("2026-03-29", 23, 7), ("2026-10-25", 25, 9), ("2026-06-10", 24, 8)],
    ids=["spring forward", "fall back", "an ordinary day"],
)
def test_a_night_tariff_has_as_many_hours_as_the_clock_of_the_day(day: str, hours: int, at_night: int) -> None:
    """Night is 22 to 6: two hours in the evening, and five, six or seven in the morning."""
    night = Tariff(0.30, (Period(0.10, start=22 * 60, until=6 * 60),))
    begin = datetime.fromisoformat(day).replace(tzinfo=BERLIN)
    end = (begin.replace(tzinfo=None) + timedelta(days=1)).replace(tzinfo=BERLIN)
    times = np.arange(to_ms(begin), to_ms(end), HOUR_MS)
    assert len(times) == hours
    assert int((prices(times, night, BERLIN) == 0.10).sum()) == at_night
    expected = (0.10 * at_night + 0.30 * (hours - at_night)) / hours
    assert mean_price(to_ms(begin), to_ms(end), night, BERLIN) == pytest.approx(expected)


def test_hours_after_midnight_belong_to_the_day_and_the_month_before() -> None:
    friday_night = Tariff(1.0, (Period(0.5, days=frozenset({4}), start=22 * 60, until=4 * 60, months=frozenset({1})),))
    said = {
        datetime(2026, 1, 30, 23, tzinfo=UTC): 0.5,  # a Friday of January
        datetime(2026, 1, 31, 3, tzinfo=UTC): 0.5,  # Saturday morning
        datetime(2026, 1, 30, 3, tzinfo=UTC): 1.0,  # the night of Thursday
        datetime(2026, 2, 6, 23, tzinfo=UTC): 1.0,  # a Friday of February
        datetime(2026, 1, 31, 4, tzinfo=UTC): 1.0,
    }
    found = prices(np.array([to_ms(at) for at in said], dtype=np.int64), friday_night, ZoneInfo("UTC"))
    assert found.tolist() == list(said.values())


def test_the_first_of_two_periods_that_hold_says_the_price() -> None:
    both = Tariff(1.0, (Period(3.0, start=600, until=660), Period(2.0)))
    times = np.array([10 * HOUR_MS, 11 * HOUR_MS])
    assert prices(times, both, ZoneInfo("UTC")).tolist() == [3.0, 2.0]
    assert prices(np.zeros(0, dtype=np.int64), both, ZoneInfo("UTC")).tolist() == []
