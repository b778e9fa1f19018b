"""What speaks for and against learning a lasting change, and whether a candidate may take the present profile's place."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hvac_platform.detection.fault_kinds import LikelyKind
from hvac_platform.detection.lasting import (
    DAY_MS,
    change_span,
    departs_all_day,
    energy_evidence,
    growth_evidence,
    kind_evidence,
    noise_evidence,
    noisier,
    rule_evidence,
    sensor_evidence_of,
    setpoint_evidence,
    speaks_against,
    swing_evidence,
    was_exchanged,
    weather_evidence,
)
from hvac_platform.detection.promotion import Trial, judge_candidate
from hvac_platform.detection.urgency import MOST, Standing, notification_level, urgency
from hvac_platform.devices.registry import device_type
from hvac_platform_tests.conftest import MINUTE_MS

CHILLER = device_type("chiller")
NAMES = ("chilled_water_supply_temp", "compressor_current")
RNG = np.random.default_rng(4)
LOAD = RNG.uniform(100.0, 300.0, 400)


def readings(supply, spread=0.1):
    return np.column_stack([supply + spread * RNG.normal(size=400), LOAD])


# -- since when ----------------------------------------------------------------------------------------------------------


def test_a_change_begins_with_its_first_flagged_window_and_ends_with_a_day_that_is_quiet():
    times = np.arange(5 * 1440) * MINUTE_MS
    flagged = (times >= 2 * DAY_MS + 5 * MINUTE_MS) & (times % DAY_MS < DAY_MS // 12)
    since, shares = change_span(times, flagged, 5 * DAY_MS)
    assert since == 2 * DAY_MS + 5 * MINUTE_MS
    assert len(shares) == 3
    assert max(shares) < 0.1
    flagged[-1440:] = False
    assert change_span(times, flagged, 5 * DAY_MS) is None


# -- evidence ------------------------------------------------------------------------------------------------------------


def test_a_controlled_variable_that_is_held_elsewhere_as_tightly_was_given_another_setpoint():
    (found,) = setpoint_evidence(NAMES, readings(44.0), readings(45.0), CHILLER)
    assert not found.against
    assert "is held at" in found.said


def test_one_that_is_let_go_or_is_moved_far_was_not():
    assert setpoint_evidence(NAMES, readings(44.0), readings(45.0, spread=0.6), CHILLER) == []
    assert setpoint_evidence(NAMES, readings(44.0), readings(49.0), CHILLER) == []


def test_a_sensor_that_paused_when_the_change_began_was_exchanged_and_one_that_did_not_is_off():
    assert [e.against for e in sensor_evidence_of("cop", 0.99, 12, all_day=True)] == [False]
    assert [e.against for e in sensor_evidence_of("cop", 0.9, 12, all_day=True)] == [False]
    assert [e.against for e in sensor_evidence_of("cop", 0.99, 0, all_day=True)] == [True]
    assert sensor_evidence_of("cop", 0.9, 0, all_day=True) == [], "others have moved too"


def test_a_pause_is_several_windows_in_a_row_and_longer_than_any_before():
    read = np.ones(240, dtype=bool)
    paused, now_and_then = read.copy(), read.copy()
    paused[100:112] = False
    now_and_then[::3] = False
    assert was_exchanged(paused, read, MINUTE_MS) == 12
    assert was_exchanged(now_and_then, read, MINUTE_MS) == 0
    assert was_exchanged(paused, paused, MINUTE_MS) == 0, "it pauses like that at times"


def test_a_sensor_that_is_off_is_off_all_day_and_not_in_the_flagged_windows_alone():
    flagged, usual = 5.0 + RNG.normal(size=100), RNG.normal(size=100)
    assert not departs_all_day(flagged, usual)
    assert departs_all_day(flagged, 3.0 + usual)
    assert departs_all_day(flagged, usual[:5]), "hardly any window is not flagged"


def test_a_likeness_to_a_fault_speaks_against_and_less_so_where_a_setpoint_was_moved():
    leak = LikelyKind("refrigerant_leak", "refrigerant leak", 0.84)
    assert kind_evidence([leak], moved_setpoint=False)[0].against
    assert not kind_evidence([leak], moved_setpoint=True)[0].against
    wrong_mode = LikelyKind("wrong_mode", "wrong mode", 0.99)
    assert kind_evidence([wrong_mode], moved_setpoint=True) == []


def test_more_power_at_equal_load_speaks_against_and_less_does_not():
    expected = np.full(100, 50.0)
    assert energy_evidence(np.full(100, 5.0), expected, moved_setpoint=False)[0].against
    assert not energy_evidence(np.full(100, -5.0), expected, moved_setpoint=False)[0].against
    assert energy_evidence(np.full(100, -40.0), expected, moved_setpoint=True)[0].against, "it hardly runs"
    assert energy_evidence(np.full(100, np.nan), expected, moved_setpoint=False) == []


def test_a_deviation_that_grows_from_day_to_day_is_not_learned_yet():
    direction = np.array([2.0, -1.0])
    assert growth_evidence(direction, 1.5 * direction)[0].against
    assert growth_evidence(direction, 1.1 * direction) == []


def test_a_loop_that_hunts_moves_other_metrics_too_and_speaks_against():
    steady = np.column_stack([readings(44.0)[:, 0], 200.0 + RNG.normal(size=400)])
    hunts = 40.0 * (np.arange(400) % 2)
    (found,) = swing_evidence(NAMES, steady, steady + np.column_stack([0.02 * hunts, hunts]))
    assert found.against
    assert swing_evidence(NAMES, steady, steady + 1.0) == []
    assert swing_evidence(NAMES, steady, steady + np.column_stack([0.0 * hunts, hunts])) == []


def four_days(noise=0.0, swing=0.0, shift=0.0):
    """Two metrics that move together, windows of five minutes; for a day and a half the second is noisier, or both swing."""
    rng = np.random.default_rng(5)
    times = np.arange(4 * 288, dtype=np.int64) * 5 * MINUTE_MS
    late = times >= 2.5 * DAY_MS
    load = (
        np.sin(times / DAY_MS * 2 * np.pi)
        + 0.1 * rng.normal(size=len(times))
        + late * swing * (-1.0) ** np.arange(len(times))
    )
    residuals = rng.normal(size=(len(times), 2))
    residuals[:, 1] = residuals[:, 1] * np.where(late, 1.0 + noise, 1.0) + late * shift
    return times, load[:, None] + 0.01 * residuals, residuals, times < 2 * DAY_MS


def test_a_sensor_that_scatters_more_about_what_the_others_imply_is_noisier_since_then():
    found = noisier(*four_days(noise=2.0), 4 * DAY_MS)
    assert found is not None
    assert (found.metric, found.since) == (1, 2.5 * DAY_MS)
    assert 2.0 < found.ratio < 4.0
    (said,) = noise_evidence(NAMES, found)
    assert (said.about, said.against) == ("noise", False)


def test_nothing_is_noisier_where_readings_scatter_as_ever_others_swing_too_or_the_metric_has_moved():
    assert noisier(*four_days(), 4 * DAY_MS) is None
    assert noisier(*four_days(noise=2.0, swing=1.0), 4 * DAY_MS) is None
    assert noisier(*four_days(noise=2.0, shift=9.0), 4 * DAY_MS) is None, "that is a fault, or another sensor"
    assert noise_evidence(NAMES, None) == []


def test_weather_beyond_what_was_learned_leads_and_then_a_likeness_to_a_fault_says_nothing():
    rooftop = device_type("rooftop_unit")
    learned, hot = RNG.uniform(60.0, 80.0, (400, 1)), RNG.uniform(85.0, 90.0, (400, 1))
    weather = weather_evidence(("outdoor_air_temp",), learned, hot, rooftop)
    assert not weather[0].against
    like = kind_evidence([LikelyKind("fouling", "fouling", 0.85)], moved_setpoint=False)
    assert speaks_against(like)
    assert not speaks_against([*weather, *like])
    assert speaks_against([*weather, *rule_evidence(0.2, ["ch-1"])])


# -- the gate ------------------------------------------------------------------------------------------------------------


def ruled(present, candidate, incidents=2):
    return judge_candidate(present, candidate, days=1.0, incidents=incidents, budget_per_day=1.0).promoted


def test_a_candidate_that_is_no_worse_is_promoted():
    assert ruled(Trial(4, 0.2, 2), Trial(1, 0.01, 2))
    assert ruled(Trial(0, 0.0, 2), Trial(1, 0.004, 2)), "within the budget, and under half a per cent"


def test_a_candidate_with_more_false_alarms_more_flagged_windows_or_a_missed_incident_is_refused():
    assert not ruled(Trial(1, 0.01, 2), Trial(2, 0.01, 2))
    assert not ruled(Trial(1, 0.01, 2), Trial(1, 0.02, 2))
    assert not ruled(Trial(9, 0.5, 2), Trial(0, 0.0, 1))


TRIALS = st.builds(Trial, st.integers(0, 9), st.floats(0, 1), st.integers(0, 5))


@given(TRIALS, TRIALS)
def test_what_is_no_worse_in_anything_is_never_refused(present, candidate):
    better = Trial(
        min(present.alarms, candidate.alarms), min(present.share, candidate.share), max(present.found, candidate.found)
    )
    assert ruled(present, better, incidents=5)


# -- urgency -------------------------------------------------------------------------------------------------------------

STANDINGS = st.builds(
    Standing,
    st.sampled_from(["critical", "warning", "info"]),
    st.floats(0, 5000),
    st.integers(1, 3000),
    st.dictionaries(st.sampled_from(["rules", "profile", "vector"]), st.integers(1, 3000)),
    st.floats(0, 100),
    rules=st.integers(0, 4),
    false_alarms=st.integers(0, 9),
)


@given(STANDINGS)
def test_urgency_is_not_negative_and_earlier_false_alarms_never_raise_it(standing):
    assert 0.0 <= urgency(standing) <= MOST
    quiet = Standing(standing.severity, standing.minutes, standing.windows, standing.methods, standing.peak_score)
    doubted = Standing(
        standing.severity, standing.minutes, standing.windows, standing.methods, standing.peak_score, false_alarms=2
    )
    assert urgency(doubted) <= urgency(quiet)


def test_what_lasts_and_two_methods_agree_on_is_told_in_a_fleet_of_a_hundred_and_a_blip_is_not():
    level = notification_level(100, 1.0)
    fault = Standing("warning", 30.0, 30, {"profile": 30, "vector": 28}, 4.0, metrics=6)
    blip = Standing("info", 2.0, 2, {"profile": 2}, 1.2)
    assert urgency(blip) < level < urgency(fault)
    assert notification_level(3, 1.0) == 0.0, "a handful of machines is told of everything"
