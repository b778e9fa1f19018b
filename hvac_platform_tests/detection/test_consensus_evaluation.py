"""Where methods agree, and how good they are against labelled faults."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvac_platform.detection.consensus import compare, votes
from hvac_platform.detection.evaluation import MERGE_MS, NOTHING, FaultScore, score_faults
from hvac_platform.detection.methods import method_names
from hvac_platform.detection.verdicts import Verdicts

MINUTE_MS = 60_000


def flags(length):
    return st.lists(st.booleans(), min_size=length, max_size=length).map(np.array)


def verdicts(method, anomalous):
    n = len(anomalous)
    return Verdicts(
        method, np.arange(n), np.zeros(n), np.array(anomalous), np.zeros(n, dtype=np.int8), [()] * n, [()] * n
    )


@given(data=st.data(), n=st.integers(1, 30), methods=st.sets(st.sampled_from(method_names()), min_size=1))
@settings(max_examples=150, deadline=None)
def test_counts_are_those_of_counting_by_hand(data, n, methods):
    found = {m: data.draw(flags(n)) for m in sorted(methods)}
    agree = [sum(bool(f[i]) for f in found.values()) for i in range(n)]
    result = compare(found)
    assert result.windows == n
    assert result.anomalies == {m: sum(map(bool, f)) for m, f in found.items()}
    assert result.consensus == sum(a >= 2 for a in agree)
    assert result.any_method == sum(a >= 1 for a in agree)
    assert result.disagreements == {m: sum(bool(f[i]) and agree[i] == 1 for i in range(n)) for m, f in found.items()}
    assert result.consensus + sum(result.disagreements.values()) == result.any_method
    assert list(result.anomalies) == [m for m in method_names() if m in methods]
    assert result.rate(n) == 1.0
    assert votes({m: verdicts(m, f) for m, f in found.items()}).tolist() == agree


def test_nothing_to_compare_is_nothing():
    assert compare({}).windows == 0
    assert compare({"unknown": np.array([True])}).any_method == 0
    assert compare({}).rate(0) == 0.0


def test_the_spec_s_example():
    result = compare(
        {
            "rules": np.array([True, True, False, False]),
            "profile": np.array([True, False, False, True]),
            "vector": np.array([True, False, False, False]),
        }
    )
    assert (result.consensus, result.any_method) == (1, 3)
    assert result.disagreements == {"rules": 1, "profile": 1, "vector": 0}


# -- against labelled faults --------------------------------------------------------------------------------------------


def score(alarm_minutes, faults, *, minutes=600, recovery_minutes=30):
    """Alarms and faults in minutes; after each fault the machine recovers for a while."""
    alarms = np.zeros(minutes, dtype=bool)
    alarms[list(alarm_minutes)] = True
    spans = [tuple(int(t * MINUTE_MS) for t in (a, b, b + recovery_minutes)) for a, b in faults]
    return score_faults(np.arange(minutes) * MINUTE_MS, alarms, spans)


def test_a_fault_is_found_by_any_window_that_overlaps_it():
    assert score([100], [(100, 110)]).found == 1
    assert score([99], [(99.5, 110)]).found == 1  # the window's end lies in the fault
    assert score([109], [(100, 110)]).found == 1
    assert score([99], [(100, 110)]) == FaultScore(0, 1, 1, ())
    assert score([110], [(100, 110)], recovery_minutes=0) == FaultScore(0, 1, 1, ())


def test_the_delay_is_from_the_fault_s_start_to_the_end_of_the_first_alarming_window():
    assert score([103, 104], [(100, 110)]).delays_ms == (4 * MINUTE_MS,)
    assert score([100], [(100, 110)]).delays_ms == (MINUTE_MS,)


def test_the_time_that_a_machine_takes_to_recover_is_excused():
    assert score([105, *range(110, 140)], [(100, 110)]).false_alarms == 0
    assert score([105, 140], [(100, 110)]).false_alarms == 1
    assert score([105, 111], [(100, 110)], recovery_minutes=0).false_alarms == 1


def test_false_alarms_that_are_close_are_one():
    merge = MERGE_MS // MINUTE_MS
    assert score([10, 10 + merge], []).false_alarms == 1
    assert score([10, 11 + merge], []).false_alarms == 2
    assert score([], []).false_alarms == 0


def test_alarms_within_a_fault_don_t_join_false_ones():
    assert score([90, 100, 101, 150], [(100, 110)]).false_alarms == 2


@given(
    alarms=st.sets(st.integers(0, 599), max_size=30),
    faults=st.lists(st.tuples(st.integers(0, 590), st.integers(1, 60)), max_size=4),
)
@settings(max_examples=150, deadline=None)
def test_every_fault_is_found_or_missed_and_more_alarms_find_no_less(alarms, faults):
    spans = [(a, a + length) for a, length in faults]
    result = score(alarms, spans)
    assert result.found + result.missed == len(spans)
    assert len(result.delays_ms) == result.found
    assert all(0 <= delay <= 61 * MINUTE_MS for delay in result.delays_ms)
    assert result.false_alarms <= len(alarms)
    everything = score(range(600), spans)
    assert everything.missed == 0
    assert result.found <= everything.found


def test_scores_of_devices_add_up():
    total = score([100], [(100, 110)]) + score([5], [(200, 210)]) + NOTHING
    assert total == FaultScore(1, 1, 1, (MINUTE_MS,))


@pytest.mark.parametrize("window_ms", [1_000, 300_000])
def test_windows_of_other_lengths_overlap_by_their_own_length(window_ms):
    times = np.arange(10) * window_ms
    alarms = np.arange(10) == 4
    fault = [(int(4.5 * window_ms), 6 * window_ms, 6 * window_ms)]
    assert score_faults(times, alarms, fault, window_ms=window_ms).delays_ms == (window_ms // 2,)


def test_adjacent_windows_are_one_false_alarm_however_long_they_are():
    quarter = 15 * 60_000
    alarms = np.array([0, 1, 1, 1, 0, 1, 0, 0], dtype=bool)
    assert score_faults(np.arange(8) * quarter, alarms, [], window_ms=quarter).false_alarms == 2
