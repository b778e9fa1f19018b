"""Windows are what a naive reading of the readings gives, whatever their order, their size and the window's length."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hvac_platform.coding import coded_as
from hvac_platform.ingestion.windows import (
    SPLIT_WINDOWS,
    aggregate_windows,
    complete_until,
    snapshot_columns,
    touched_windows,
    window_ranges,
    windows_of_readings,
)
from hvac_platform.stores.base import TableSlice
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.timestamps import DAY_MS, day_of, day_start, day_windows, days_before, window_floor
from hvac_platform_tests.conftest import DAY, MIDNIGHT_MS, MINUTE_MS

# From a second to a day; 7 s, 11 s and 7,001 s don't divide a day, so their windows cross midnight.
WINDOWS_MS = st.sampled_from([1, 2, 5, 7, 11, 60, 300, 3_600, 7_001, 86_400]).map(lambda seconds: seconds * 1_000)
TIMES_MS = st.integers(MIDNIGHT_MS - 90_000, MIDNIGHT_MS + 90_000)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
READINGS = st.dictionaries(st.tuples(TIMES_MS, st.sampled_from("abc")), FINITE, min_size=1, max_size=60)


def aggregated(readings, window_ms):
    """Aggregate of readings by (time, metric), in the order in which the store gives them."""
    ordered = sorted(readings.items())
    times = np.array([time for (time, _), _ in ordered], dtype=np.int64)
    return aggregate_windows(times, [m for (_, m), _ in ordered], np.array([float(v) for _, v in ordered]), window_ms)


def naive(readings, window_ms):
    """Readings by window start and metric, in order of time."""
    cells: dict[int, dict[str, list[float]]] = {}
    for (time, metric), value in sorted(readings.items()):
        cells.setdefault(time - time % window_ms, {}).setdefault(metric, []).append(value)
    return cells


@given(readings=READINGS, window_ms=WINDOWS_MS)
@settings(max_examples=200, deadline=None)
def test_an_aggregate_is_what_plain_python_makes_of_the_readings(readings, window_ms):
    found, expected = aggregated(readings, window_ms), naive(readings, window_ms)
    assert found.starts_ms.tolist() == sorted(expected)
    assert found.metric_names == tuple(sorted({metric for _, metric in readings}))
    for i, start in enumerate(found.starts_ms.tolist()):
        for j, metric in enumerate(found.metric_names):
            values = expected[start].get(metric, [])
            assert found.count[i, j] == len(values)
            numbers = [g[i, j] for g in (found.mean, found.minimum, found.maximum, found.last)]
            if not values:
                assert np.isnan(numbers).all()
                continue
            mean = math.fsum(value / len(values) for value in values)
            tolerance = 1e-12 * max(map(abs, values))
            assert numbers[0] == pytest.approx(min(max(mean, min(values)), max(values)), rel=1e-9, abs=tolerance)
            assert numbers[1:] == [min(values), max(values), values[-1]]


BIG = 1.7e308


@given(
    values=st.lists(st.sampled_from([BIG, -BIG, 1.0, 0.0, -5e-324]) | FINITE, min_size=1, max_size=200),
    window_ms=WINDOWS_MS,
)
@example(values=[BIG] * 3, window_ms=MINUTE_MS)
@example(values=[BIG, -BIG] * 64, window_ms=86_400_000)
@settings(max_examples=100, deadline=None)
def test_readings_near_the_limit_of_a_double_stay_finite_and_within_what_was_read(values, window_ms):
    found = aggregated({(MIDNIGHT_MS + i, "a"): value for i, value in enumerate(values)}, window_ms)
    assert np.isfinite(found.mean).all()
    assert (found.minimum <= found.mean).all()
    assert (found.mean <= found.maximum).all()
    json.loads(json.dumps(list(snapshot_columns("d", found, window_ms)["metrics"]), allow_nan=False))


@given(
    readings=READINGS,
    window_ms=WINDOWS_MS,
    paces=st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 60), max_size=8),
)
@settings(max_examples=150, deadline=None)
def test_completeness_is_a_share_and_absent_metrics_are_absent(readings, window_ms, paces):
    columns = snapshot_columns("d", aggregated(readings, window_ms), window_ms, paces)
    assert all(0 <= share <= 1 for share in columns["completeness"].tolist())
    expected = naive(readings, window_ms)
    for start, metrics, summary in zip(
        columns["snapshot_time"].tolist(), columns["metrics"], columns["metric_summary"], strict=True
    ):
        assert set(metrics) == set(summary) == set(expected[start])
        assert list(metrics) == sorted(metrics)


def regular(every_ms, metrics, duration_ms=MINUTE_MS):
    return {(MIDNIGHT_MS + t, m): 1.0 for t in range(0, duration_ms, every_ms) for m in metrics}


@pytest.mark.parametrize("every_ms", [1_000, 10_000, 20_000, 60_000])
def test_a_window_with_every_expected_reading_is_whole_at_any_interval(every_ms):
    expected = dict.fromkeys("ab", MINUTE_MS / every_ms)
    columns = snapshot_columns("d", aggregated(regular(every_ms, "ab"), MINUTE_MS), MINUTE_MS, expected)
    assert columns["completeness"].tolist() == [1.0]


def test_half_of_the_time_or_half_of_the_metrics_is_half_complete():
    half_time = aggregated(regular(10_000, "ab", MINUTE_MS // 2), MINUTE_MS)
    assert snapshot_columns("d", half_time, MINUTE_MS)["completeness"].tolist() == [0.5]
    assert snapshot_columns("d", half_time, MINUTE_MS, {"a": 6, "b": 6})["completeness"].tolist() == [0.5]
    half_metrics = aggregated(regular(10_000, "ab"), MINUTE_MS)
    assert snapshot_columns("d", half_metrics, MINUTE_MS, dict.fromkeys("abcd", 6))["completeness"].tolist() == [0.5]


def test_a_point_of_another_pace_is_expected_at_its_own():
    mixed = aggregated(regular(10_000, "a") | regular(60_000, "b"), MINUTE_MS)
    assert snapshot_columns("d", mixed, MINUTE_MS, {"a": 6, "b": 1})["completeness"].tolist() == [1.0]
    assert snapshot_columns("d", mixed, MINUTE_MS)["completeness"].tolist() == [1.0]  # nothing is known of them yet


@given(readings=READINGS, window_ms=WINDOWS_MS, data=st.data())
@settings(max_examples=60, deadline=None)
def test_the_order_of_arrival_is_irrelevant(readings, window_ms, data):
    """Readings go through a store in any order, in any number of batches, some of them twice."""
    snapshots = []
    for _ in range(2):
        arriving = data.draw(st.permutations(sorted(readings)))
        arriving = arriving + arriving[: data.draw(st.integers(0, 10))]
        store = EmbeddedStore(":memory:")
        for batch in itertools.batched(arriving, 7) if hasattr(itertools, "batched") else [arriving[:7], arriving[7:]]:
            store.upsert(
                "device_metrics_raw",
                {
                    "device_id": ["d"] * len(batch),
                    "timestamp": [time for time, _ in batch],
                    "metric_name": [metric for _, metric in batch],
                    "metric_value": [readings[key] for key in batch],
                    "unit": [""] * len(batch),
                },
            )
        (rows,) = store.scan(TableSlice("device_metrics_raw", ("timestamp", "metric_name", "metric_value"), "d"))
        store.close()
        aggregate = aggregate_windows(
            np.array(rows["timestamp"]), rows["metric_name"], np.array(rows["metric_value"]), window_ms
        )
        columns = snapshot_columns("d", aggregate, window_ms)
        snapshots.append({name: np.asarray(values).tolist() for name, values in columns.items()})
    assert snapshots[0] == snapshots[1]


@given(
    readings=st.dictionaries(st.tuples(TIMES_MS, st.sampled_from("abc")), st.integers(-999, 999), min_size=1),
    window_ms=WINDOWS_MS,
    data=st.data(),
)
@settings(max_examples=100, deadline=None)
def test_a_revision_tells_contents_apart_and_nothing_else(readings, window_ms, data):
    def revisions(content):
        columns = snapshot_columns("d", aggregated(content, window_ms), window_ms)
        return dict(zip(columns["snapshot_time"].tolist(), columns["revision"], strict=True))

    before = revisions(readings)
    assert all(0 <= revision < 2**63 for revision in before.values())
    key = data.draw(st.sampled_from(sorted(readings)))
    window = key[0] - key[0] % window_ms
    after = revisions(readings | {key: readings[key] + 1})
    assert after[window] != before[window]
    assert {t: r for t, r in after.items() if t != window} == {t: r for t, r in before.items() if t != window}
    # A metric that is absent from a window, but not from others, is no part of the window's content.
    elsewhere = (window + 5 * DAY_MS, "zzz")
    assert {t: r for t, r in revisions(readings | {elsewhere: 1.0}).items() if t in before} == before


@given(
    readings=st.lists(st.tuples(st.sampled_from("xyz"), TIMES_MS), max_size=50),
    windows_ms=st.tuples(WINDOWS_MS, WINDOWS_MS, WINDOWS_MS),
)
def test_the_touched_windows_are_those_that_readings_fall_in_each_of_the_length_of_its_device(readings, windows_ms):
    window_of = dict(zip("xyz", windows_ms, strict=True))
    ids, times = [d for d, _ in readings], np.array([t for _, t in readings], dtype=np.int64)
    devices = coded_as(ids)
    touched = touched_windows(devices, times, windows_of_readings(devices, window_of.__getitem__))
    expected: dict[str, set[int]] = {}
    for device, time in readings:
        expected.setdefault(device, set()).add(time - time % window_of[device])
    assert {device: starts.tolist() for device, starts in touched.items()} == {
        device: sorted(starts) for device, starts in expected.items()
    }


@given(
    numbers=st.sets(st.integers(0, 400) | st.integers(20_000, 20_100), max_size=80),
    window_ms=WINDOWS_MS,
)
@example(numbers={0, SPLIT_WINDOWS, 2 * SPLIT_WINDOWS + 1}, window_ms=MINUTE_MS)
@settings(max_examples=200, deadline=None)
def test_window_ranges_cover_every_window_and_no_long_stretch_that_is_not_needed(numbers, window_ms):
    first = MIDNIGHT_MS - 200 * window_ms
    starts = first - first % window_ms + window_ms * np.array(sorted(numbers), dtype=np.int64)
    ranges = window_ranges(starts, window_ms)
    assert all(low < high for low, high in ranges)
    assert all(high <= low for (_, high), (low, _) in itertools.pairwise(ranges))
    covered = [[s for s in starts.tolist() if low <= s and s + window_ms <= high] for low, high in ranges]
    assert [s for part in covered for s in part] == starts.tolist()
    for (low, high), part in zip(ranges, covered, strict=True):
        assert (low, high) == (part[0], part[-1] + window_ms)
        assert len({s // DAY_MS for s in part}) == 1
        assert all(b - a <= SPLIT_WINDOWS * window_ms for a, b in itertools.pairwise(part))
    # Few ranges: neighbours are apart by more than a split, or by midnight.
    for before, after in itertools.pairwise(covered):
        assert after[0] - before[-1] > SPLIT_WINDOWS * window_ms or after[0] // DAY_MS > before[-1] // DAY_MS


@given(window_ms=WINDOWS_MS, offset=st.integers(-3 * DAY_MS, 3 * DAY_MS))
def test_every_window_belongs_to_exactly_the_day_it_starts_in(window_ms, offset):
    start = int(window_floor(np.array([MIDNIGHT_MS + offset]), window_ms)[0])
    days = [days_before(DAY, n) for n in range(-6, 7)]
    owners = [day for day in days if day_windows(day, window_ms)[0] <= start < day_windows(day, window_ms)[1]]
    assert owners == [day_of(start)]
    low, high = day_windows(DAY, window_ms)
    assert low % window_ms == high % window_ms == 0
    assert day_start(DAY) <= low < day_start(DAY) + window_ms


LATENESS_MS, SILENCE_MS = 30_000, 120_000
NOW_MS = MIDNIGHT_MS


def limit(watermark_ms, last_seen_ms, now_ms=NOW_MS):
    return complete_until(watermark_ms, last_seen_ms, now_ms, allowed_lateness_ms=LATENESS_MS, silence_ms=SILENCE_MS)


class TestCompleteness:
    def test_a_window_waits_for_the_watermark_of_its_partition_and_the_allowed_lateness(self):
        assert limit(NOW_MS - 5_000, NOW_MS - 90_000) == NOW_MS - 5_000 - LATENESS_MS

    def test_without_a_ledger_the_device_itself_is_the_watermark(self):
        assert limit(None, NOW_MS - 5_000) == NOW_MS - 5_000 - LATENESS_MS

    def test_a_silent_partition_is_closed_by_the_clock(self):
        assert limit(NOW_MS - SILENCE_MS, 0) == NOW_MS - SILENCE_MS - LATENESS_MS
        assert limit(NOW_MS - 10 * SILENCE_MS, 0) == NOW_MS - SILENCE_MS - LATENESS_MS

    def test_a_clock_that_runs_ahead_closes_nothing_before_its_time(self):
        assert limit(NOW_MS + 3_600_000, NOW_MS) == NOW_MS - LATENESS_MS

    @given(
        watermark=st.none() | st.integers(NOW_MS - DAY_MS, NOW_MS + 3_600_000),
        last_seen=st.integers(NOW_MS - DAY_MS, NOW_MS),
        later=st.integers(0, DAY_MS),
    )
    def test_what_is_complete_stays_complete_and_is_past(self, watermark, last_seen, later):
        now = limit(watermark, last_seen)
        assert now <= NOW_MS - LATENESS_MS
        assert limit(watermark, last_seen, NOW_MS + later) >= now
        if watermark is not None:
            assert limit(watermark + later, last_seen) >= now
