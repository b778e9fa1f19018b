"""The pace of a point is learned from its own readings; a silence is a stop by that pace, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvac_platform.detection.pace import Pace, last_readings, learn_paces, read_share, stale, stops
from hvac_platform.snapshots import SnapshotSeries, select

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
START_MS = 1_783_296_000_000


def windows(count, window_ms=MINUTE_MS, names=None):
    """Windows in which each metric has so many readings; those without any reading are not there."""
    count = np.asarray(count)
    names = tuple(names or (f"m{j}" for j in range(count.shape[1])))
    heard = count.any(axis=1)
    times = (START_MS + np.arange(len(count)) * window_ms)[heard]
    count = count[heard]
    grid = np.where(count > 0, 1.0, np.nan)
    return SnapshotSeries("d", "", times, names, grid, count, grid, grid, grid, window_ms)


def readings(days, interval_ms, window_ms=MINUTE_MS, phase_ms=0, missing=0.0, seed=0):
    """Readings of each window of a point that is read at an interval, int64 [n]."""
    times = np.arange(phase_ms, days * DAY_MS, interval_ms, dtype=np.int64)
    kept = np.random.default_rng(seed).random(len(times)) >= missing
    return np.bincount(times[kept] // window_ms, minlength=int(days * DAY_MS // window_ms))


def on_change(days, usual_ms, seed=0):
    """Readings of a point that is sent when it has moved: often by day, seldom by night."""
    rng, time, times = np.random.default_rng(seed), 0.0, []
    while time < days * DAY_MS:
        times.append(time)
        night = time % DAY_MS < 7 * HOUR_MS
        time += rng.exponential(usual_ms * (20 if night else 1)) + 1_000
    return np.bincount(np.array(times, dtype=np.int64) // MINUTE_MS, minlength=days * 1440)[: days * 1440]


@pytest.mark.parametrize("interval_ms", [1_000, 10_000, 30_000, 60_000, 300_000, 900_000])
@pytest.mark.parametrize("missing", [0.0, 0.1])
def test_a_point_that_is_read_regularly_has_its_interval(interval_ms, missing):
    pace = learn_paces(windows(np.stack([readings(3, interval_ms, missing=missing), readings(3, 60_000)], axis=1)))[
        "m0"
    ]
    assert pace.regular
    assert pace.interval_ms == pytest.approx(interval_ms, rel=0.2)


def test_a_point_that_is_sent_on_change_is_not_regular_and_its_longest_rest_is_known():
    pace = learn_paces(windows(np.stack([on_change(5, 2 * MINUTE_MS), readings(5, 60_000)], axis=1)))["m0"]
    assert not pace.regular
    assert pace.longest_ms > 60 * MINUTE_MS
    assert pace.patience_ms(MINUTE_MS) == 2 * pace.longest_ms


def test_a_slow_point_that_is_sent_on_change_is_not_regular_though_its_rests_are_alike():
    rng = np.random.default_rng(3)
    times = np.cumsum(rng.uniform(10, 40, 400) * MINUTE_MS).astype(np.int64)
    count = np.bincount(times // MINUTE_MS, minlength=8 * 1440)
    pace = learn_paces(windows(np.stack([count, readings(len(count) / 1440, 60_000)[: len(count)]], axis=1)))["m0"]
    assert not pace.regular


def test_an_outage_in_the_history_is_not_taken_for_the_pace():
    one = readings(5, 60_000)
    one[2000:3000] = 0
    slow = on_change(5, 2 * MINUTE_MS)
    slow[2000:4000] = 0
    paces = learn_paces(windows(np.stack([one, slow, readings(5, 60_000)], axis=1)))
    assert paces["m0"] == Pace(60_000, 60_000, regular=True)
    assert paces["m1"].longest_ms < 1000 * MINUTE_MS


def test_while_the_device_is_not_heard_no_point_is_silent():
    both = np.stack([readings(3, 300_000), readings(3, 60_000)], axis=1)
    both[1000:2000] = 0
    series = windows(both)
    paces = learn_paces(series)
    assert paces["m0"].interval_ms == 300_000
    end = int(series.times_ms[-1]) + MINUTE_MS
    assert stops(series.times_ms, series.count, series.metric_names, paces, MINUTE_MS, until_ms=end) == []


def test_points_that_stop_together_are_one_stop_and_come_back_with_their_first_reading():
    count = np.stack([readings(1, 60_000)] * 4, axis=1)
    count[600:700, :2] = 0
    count[650:, 2] = 0
    series = windows(count)
    paces = dict.fromkeys(series.metric_names, Pace(60_000, 60_000, regular=True))
    end = int(series.times_ms[-1]) + MINUTE_MS
    found = stops(series.times_ms, series.count, series.metric_names, paces, MINUTE_MS, until_ms=end)
    assert [(s.metrics, s.start_ms - START_MS, s.end_ms - START_MS, s.over) for s in found] == [
        (("m0", "m1"), 600 * MINUTE_MS, 700 * MINUTE_MS, True),
        (("m2",), 650 * MINUTE_MS, 1440 * MINUTE_MS, False),
    ]


@given(
    intervals=st.lists(st.sampled_from([10_000, 30_000, 60_000, 300_000, 900_000]), min_size=2, max_size=6),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_a_removal_of_twice_its_patience_is_a_stop_and_nothing_else_is(intervals, data):
    days = 4
    count = np.stack([readings(days, ms, phase_ms=7_000 * j) for j, ms in enumerate(intervals)], axis=1)
    learned = learn_paces(windows(count[: 2 * 1440]))
    removed = data.draw(
        st.lists(st.integers(0, len(intervals) - 1), min_size=1, max_size=len(intervals) - 1, unique=True)
    )
    patience = max(learned[f"m{j}"].patience_ms(MINUTE_MS) for j in removed)
    slowest = max(intervals) // MINUTE_MS + 1
    # Removed for so long that what is left is read meanwhile: else it is the device that nothing comes of.
    length = data.draw(st.integers(2 * patience // MINUTE_MS + 2 * slowest, 1440))
    begin = data.draw(st.integers(2 * 1440 + 60, days * 1440 - length - 20))
    count[begin : begin + length, removed] = 0
    series = windows(count)
    until = data.draw(st.integers(begin + length, days * 1440)) * MINUTE_MS + START_MS
    seen = select(series, series.times_ms < until)
    found = stops(seen.times_ms, seen.count, seen.metric_names, learned, MINUTE_MS, until_ms=until)
    assert {name for stop in found for name in stop.metrics} == {f"m{j}" for j in removed}
    for stop in found:
        assert abs(stop.start_ms - START_MS - begin * MINUTE_MS) <= 900_000 + MINUTE_MS


def test_a_window_is_read_by_what_its_points_let_expect():
    count = np.stack([readings(2, 60_000), readings(2, 900_000), readings(2, 900_000, phase_ms=300_000)], axis=1)
    series = windows(count)
    paces = learn_paces(series)
    assert read_share(series, paces)[:2000].min() == 1.0
    count[1000:1200, 1:] = 0
    share = read_share(windows(count), paces)
    assert share[1000:1060].min() == 1.0  # within their own pace they still say where they are
    assert share[1199] == pytest.approx(1 / 3)


def test_silence_goes_on_from_the_last_reading_that_is_known_of():
    series = windows(np.stack([readings(1, 60_000), np.zeros(1440, dtype=np.int64)], axis=1))
    part = select(series, slice(0, 3))
    paces = dict.fromkeys(series.metric_names, Pace(60_000, 60_000, regular=True))
    assert stale(part, series.metric_names, paces)[:, 1].tolist() == [False, False, False]
    before = last_readings(part, {"m1": START_MS - 3 * MINUTE_MS})
    assert before == {"m0": START_MS + 3 * MINUTE_MS, "m1": START_MS - 3 * MINUTE_MS}
    assert stale(part, series.metric_names, paces, before)[:, 1].tolist() == [False, True, True]


@pytest.mark.parametrize("known", [None, {"m0": START_MS - 9 * MINUTE_MS, "m1": START_MS}])
def test_silence_of_the_last_windows_is_that_of_all(known):
    count = np.random.default_rng(3).integers(0, 2, (40, 5)) * np.array([1, 1, 0, 1, 1])
    series = windows(count)
    paces = dict.fromkeys(series.metric_names, Pace(20_000, 60_000, regular=True))
    whole = stale(series, series.metric_names, paces, known)
    for first in (0, 1, 17, len(series) - 1):
        assert (stale(series, series.metric_names, paces, known, first) == whole[first:]).all()
