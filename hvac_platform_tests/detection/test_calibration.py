"""Limits hold their false-alarm budget on normal data; alarms look back only."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvac_platform.detection.calibration import exceedance_for, persistent, tail_limit

SCORES = st.lists(st.floats(0, 1e9), min_size=1, max_size=300).map(np.array)


@given(scores=SCORES, p=st.floats(1e-6, 0.5))
@settings(max_examples=200, deadline=None)
def test_a_limit_is_finite_and_not_below_the_sample_s_own_quantile(scores, p):
    limit = tail_limit(scores, p)
    assert math.isfinite(limit)
    assert limit >= np.quantile(scores, 1 - max(p, 0.1)) * (1 - 1e-12)


@given(scores=SCORES, low=st.floats(1e-6, 0.5), high=st.floats(1e-6, 0.5))
@settings(max_examples=200, deadline=None)
def test_a_smaller_budget_never_gives_a_lower_limit(scores, low, high):
    low, high = sorted((low, high))
    assert tail_limit(scores, low) >= tail_limit(scores, high) * (1 - 1e-12)


@given(scores=SCORES, p=st.floats(1e-6, 0.5), factor=st.floats(0.01, 100), seed=st.integers(0, 99))
@settings(max_examples=100, deadline=None)
def test_a_limit_scales_with_the_scores_and_ignores_their_order_and_gaps(scores, p, factor, seed):
    limit = tail_limit(scores, p)
    assert tail_limit(scores * factor, p) == pytest.approx(limit * factor, rel=1e-6, abs=1e-9)
    shuffled = np.random.default_rng(seed).permutation(np.concatenate([scores, [np.nan, np.nan]]))
    assert tail_limit(shuffled, p) == pytest.approx(limit)


def test_without_data_nothing_exceeds_the_limit():
    assert tail_limit(np.array([]), 0.01) == math.inf
    assert tail_limit(np.array([np.nan]), 0.01) == math.inf


def test_a_constant_score_is_its_own_limit():
    assert tail_limit(np.full(500, 3.0), 1e-4) == pytest.approx(3.0)


def test_of_a_handful_of_scores_the_largest_is_the_limit():
    assert tail_limit(np.array([1.0, 5.0, 2.0]), 0.001) == 5.0


@pytest.mark.parametrize("p", [0.05, 0.01, 0.001])
@pytest.mark.parametrize("draw", ["exponential", "rayleigh"])
def test_new_data_of_the_same_kind_exceeds_the_limit_about_as_often_as_asked(draw, p):
    """Learned from a day of minutes; over many days the rate is right within a factor."""
    generator = np.random.default_rng(5)
    rates = []
    for _ in range(20):
        limit = tail_limit(getattr(generator, draw)(size=1440), p)
        rates.append((getattr(generator, draw)(size=200_000) > limit).mean())
    assert p / 3 < np.mean(rates) < p * 3


def test_the_tail_reaches_beyond_what_the_sample_has_seen():
    scores = np.random.default_rng(1).exponential(size=1000)
    limit = tail_limit(scores, 1e-6)
    assert limit > scores.max()
    assert limit == pytest.approx(-math.log(1e-6), rel=0.25)


def test_a_budget_a_day_becomes_a_probability_a_window():
    assert exceedance_for(1.0, 60_000) == pytest.approx(4 / 1440)
    assert exceedance_for(2.0, 60_000) == pytest.approx(2 * exceedance_for(1.0, 60_000))
    assert exceedance_for(1.0, 1_000) == pytest.approx(exceedance_for(1.0, 60_000) / 60)
    assert exceedance_for(100.0, 86_400_000) == 0.5


def test_a_day_of_normal_windows_stays_within_the_budget():
    """Two of three windows must exceed: independent scores at the limit of one alarm a day make fewer."""
    generator = np.random.default_rng(3)
    p = exceedance_for(1.0, 60_000)
    limit = tail_limit(generator.exponential(size=1440), p)
    days = 200
    scores = generator.exponential(size=1440 * days) / limit
    alarms = persistent(scores, np.arange(len(scores)) * 60_000, 60_000)
    begun = (np.diff(alarms.astype(int), prepend=0) == 1).sum()
    assert begun / days < 1.0


# -- persistence --------------------------------------------------------------------------------------------------------

WINDOW_MS = 60_000
SERIES = st.lists(
    st.tuples(st.sampled_from([0.0, 0.9, 1.0, 1.1, 1.9, 2.0, 2.1, np.nan]), st.integers(1, 5)), max_size=40
)


def as_arrays(steps):
    return np.array([s for s, _ in steps], dtype=float), WINDOW_MS * np.cumsum([g for _, g in steps], dtype=np.int64)


@given(steps=SERIES)
@settings(max_examples=300, deadline=None)
def test_an_alarm_is_two_of_the_last_three_windows_or_a_score_beyond_two(steps):
    score, times = as_arrays(steps)
    alarms = persistent(score, times, WINDOW_MS)
    for i in range(len(score)):
        before = [j for j in (i - 1, i - 2) if j >= 0 and times[i] - times[j] <= 3 * WINDOW_MS]
        assert alarms[i] == (score[i] > 2 or (score[i] > 1 and any(score[j] > 1 for j in before)))


@given(steps=SERIES, data=st.data())
@settings(max_examples=100, deadline=None)
def test_what_comes_later_changes_no_earlier_alarm(steps, data):
    score, times = as_arrays(steps)
    cut = data.draw(st.integers(0, len(score)))
    whole = persistent(score, times, WINDOW_MS)
    assert persistent(score[:cut], times[:cut], WINDOW_MS).tolist() == whole[:cut].tolist()
    # Three windows before are all that an alarm looks back on: judging may begin anywhere with that much context.
    start = data.draw(st.integers(0, len(score)))
    first = max(0, start - 3)
    assert persistent(score[first:], times[first:], WINDOW_MS)[start - first :].tolist() == whole[start:].tolist()
