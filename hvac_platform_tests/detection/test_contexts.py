"""Contexts of the clock: what recurs at its time of the day is usual there, and nowhere else."""

import numpy as np
import pandas as pd
import pytest

from hvac_platform.detection import FittedDetector, fit_detector
from hvac_platform.detection.contexts import Contexts, slot_factors
from hvac_platform_tests.conftest import MINUTE_MS
from hvac_platform_tests.detection.records import machine

DAY_MS = 86_400_000
MONDAY_MS = 1_783_296_000_000  # 2026-07-06
WEEK = MONDAY_MS + np.arange(14 * 1440) * MINUTE_MS
MINUTE = WEEK % DAY_MS // MINUTE_MS
WEEKEND = (WEEK - MONDAY_MS) // DAY_MS % 7 >= 5


def levels(seed=1):
    return np.random.default_rng(seed).exponential(0.2, len(WEEK))


def with_starts(days=14, seed=2, size=3.0):
    """A machine that takes ten minutes to get under way every day at six."""
    table = machine(days * 1440, seed=seed)
    starts = np.arange(days) * 1440 + 360
    column = table.columns[0]
    for start in starts:
        table.iloc[start : start + 10, table.columns.get_loc(column)] += size * table[column].std()
    return table


def test_a_half_hour_that_is_odd_every_day_is_usual_there_with_its_neighbours_and_nowhere_else():
    level = levels()
    level[(MINUTE >= 365) & (MINUTE < 375)] = 5.0
    factors = slot_factors(WEEK, "UTC")(level, 3.0)
    raised = [sorted(np.flatnonzero(row > 1.0).tolist()) for row in factors]
    assert raised == [[11, 12, 13], [11, 12, 13]]
    assert factors[0, 12] == pytest.approx(5 / 3, abs=0.2)


def test_what_happens_on_a_few_days_is_not_usual():
    level = levels()
    level[(MINUTE >= 365) & (MINUTE < 375) & (WEEK < MONDAY_MS + 3 * DAY_MS)] = 5.0
    assert (slot_factors(WEEK, "UTC")(level, 3.0) == 1.0).all()


def test_working_days_and_weekends_each_have_their_own():
    level = levels()
    level[(MINUTE >= 365) & (MINUTE < 375) & ~WEEKEND] = 5.0
    working, weekend = slot_factors(WEEK, "UTC")(level, 3.0)
    assert working[12] > 1.5
    assert (weekend == 1.0).all()


def test_half_hours_are_those_of_local_time_on_both_sides_of_a_change_of_clocks():
    times = np.array(
        [pd.Timestamp(t, tz="America/Chicago").value // 10**6 for t in ("2026-03-07 06:10", "2026-03-09 06:10")]
    )
    table = np.ones((2, 48))
    table[:, 12] = 2.0
    assert Contexts("America/Chicago", table, table).factors(times).tolist() == [[2.0, 2.0], [2.0, 2.0]]


def test_daily_starts_do_not_alarm_and_the_same_at_another_hour_does():
    table = with_starts()
    detector = fit_detector(table.iloc[: 10 * 1440])
    judged = table.iloc[10 * 1440 :].copy()
    assert not detector.contexts.flat
    quiet = detector.score(judged)["is_anomalous"].to_numpy().reshape(-1, 1440)
    column = judged.columns[0]
    judged.iloc[2 * 1440 + 900 : 2 * 1440 + 910, 0] += 3.0 * table[column].std()
    loud = detector.score(judged)["is_anomalous"].to_numpy().reshape(-1, 1440)
    assert quiet[:, 330:420].sum() == 0
    assert loud[2, 900:910].sum() >= 5


def test_contexts_are_kept_and_earlier_detectors_have_none():
    detector = fit_detector(with_starts().iloc[: 8 * 1440], timezone="America/Chicago")
    document = detector.to_document()
    for again in (FittedDetector.from_document(document), FittedDetector.from_bytes(detector.to_bytes())):
        assert again.contexts.timezone == "America/Chicago"
        assert np.array_equal(again.contexts.now, detector.contexts.now)
    del document["contexts"], document["version"]
    earlier = FittedDetector.from_document(document)
    assert earlier.contexts.flat
    assert earlier.version == 1


def test_a_detector_of_version_3_judges_as_it_did():
    table = with_starts()
    detector = fit_detector(table.iloc[: 8 * 1440])
    earlier = FittedDetector.from_document({**detector.to_document(), "version": 3})
    assert earlier.version == 3
    pd.testing.assert_frame_equal(earlier.score(table.iloc[8 * 1440 :]), detector.score(table.iloc[8 * 1440 :]))
