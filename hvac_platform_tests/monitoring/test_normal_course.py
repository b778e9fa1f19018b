"""What would have been normal while an incident lasted, and how far each metric was from it."""

import numpy as np
import pytest

from hvac_platform.monitoring import normal_course as module
from hvac_platform.monitoring.normal_course import NormalCourse, departures_of, normal_course
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.records import Incident
from hvac_platform.timestamps import DAY_MS
from hvac_platform_tests.conftest import HOUR_MS, MINUTE_MS
from hvac_platform_tests.dashboard.conftest import START_MS, filled, incident

__all__ = ["filled"]


@pytest.fixture
def store(filled):
    return EmbeddedStore(filled / "store.db")


def device(store, device_id="CH-001"):
    return next(one for one in store.devices() if one.device_id == device_id)


LOW_FLOW: Incident = incident("CH-001", START_MS + 20 * HOUR_MS)
SPAN = START_MS + 19 * HOUR_MS, START_MS + 24 * HOUR_MS


def test_the_metric_that_the_fault_moved_is_far_from_normal_and_its_normal_is_what_it_was_before(store):
    course = normal_course(store, device(store), LOW_FLOW, SPAN, MINUTE_MS)
    flow = next(one for one in course.departures if one.metric == "chilled_water_flow_rate")
    assert flow in course.departures[:3]
    assert flow.spreads < -1
    assert flow.observed < 0.8 * flow.normal
    assert (np.diff(course.times_ms) == MINUTE_MS).all()
    assert (course.times_ms[0], course.times_ms[-1]) == (SPAN[0], SPAN[1] - MINUTE_MS)
    before = course.times_ms < LOW_FLOW.started_at
    normal = course.column("chilled_water_flow_rate", course.times_ms)
    assert normal[before].mean() == pytest.approx(flow.normal, rel=0.15)


def test_a_course_is_known_at_its_own_windows_and_nowhere_else():
    times = np.array([0, 60_000, 120_000], dtype=np.int64)
    course = NormalCourse(times, ("a", "b"), np.array([[1.0, np.nan], [2.0, np.nan], [3.0, np.nan]]), ())
    asked = np.array([-60_000, 60_000, 90_000, 240_000], dtype=np.int64)
    assert np.array_equal(course.column("a", asked), [np.nan, 2.0, np.nan, np.nan], equal_nan=True)
    assert course.column("b", times) is None
    assert course.column("c", times) is None


def test_departures_are_means_over_the_windows_in_which_a_metric_was_read_the_farthest_first():
    observed = np.array([[1.0, 10.0, np.nan], [np.nan, 30.0, np.nan]])
    found = departures_of("abc", observed, np.full((2, 3), 2.0), np.array([1.0, 3.0, 1.0]))
    assert [(one.metric, one.observed, one.normal, one.spreads) for one in found] == [
        ("b", 20.0, 2.0, 6.0),
        ("a", 1.0, 2.0, -1.0),
    ]


def test_nothing_is_said_without_a_detector_without_windows_and_of_a_span_that_is_too_long(store, monkeypatch):
    late = START_MS + 40 * DAY_MS
    assert normal_course(store, device(store), LOW_FLOW, (late, late + HOUR_MS), MINUTE_MS) is None
    other = next(one for one in store.devices() if one.device_id not in ("CH-001", "RTU-001"))
    assert normal_course(store, other, LOW_FLOW, SPAN, MINUTE_MS) is None
    monkeypatch.setattr(module, "MOST_WINDOWS", 500)
    assert normal_course(store, device(store), LOW_FLOW, SPAN, MINUTE_MS) is None
