"""Habits of sound machines: what each option changes, and that without any nothing does."""

from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.simulation.faults import FAULT_KINDS, Fault, intermittent, plan_faults
from hvac_platform.simulation.fleet_simulation import FleetSimulation
from hvac_platform.simulation.habits import Habits, SetpointChange
from hvac_platform.simulation.occupancy import Schedule, ScheduleChange
from hvac_platform.simulation.recording import Instrument, Recording
from hvac_platform.simulation.weather import Climate, Spell
from hvac_platform_tests.simulation.fleets import DAY_MS, HOUR_MS, MINUTE_MS, TYPES, column, fleet, midnight, span

MONDAY = midnight("2026-07-06")
COMPRESSOR = FleetDevice("C", "air_compressor")
ROOFTOP = FleetDevice("R", "rooftop_unit")
MOVED = {  # by what a device's setpoint shows
    "rooftop_unit": "return_air_temp",
    "makeup_air_unit": "supply_air_temp",
    "chiller": "chilled_water_supply_temp",
    "cooling_tower": "outlet_water_temp",
    "air_compressor": "discharge_pressure",
}


def recorded(device, times, habits=None, *, climate=None, faults=()):
    (readings,) = FleetSimulation([device], seed=3, habits=habits, climate=climate, faults=faults).advance(times)
    return readings


def test_no_habits_are_the_simulation_as_it_is():
    times = span(MONDAY, 2)
    for plain, habitual in zip(
        FleetSimulation(fleet(), seed=3).advance(times),
        FleetSimulation(fleet(), seed=3, habits=Habits()).advance(times),
        strict=True,
    ):
        assert np.array_equal(plain.values, habitual.values)


def test_an_office_rests_at_weekends_and_on_holidays():
    habits = Habits(Schedule(working_days=(0, 1, 2, 3, 4), holidays=(date(2026, 7, 8),)))
    times = span(MONDAY, 7 * 24, interval_s=600)
    flow = column(recorded(COMPRESSOR, times, habits), "air_flow_rate")
    noon = flow[(times % DAY_MS) == 12 * HOUR_MS]
    assert [day for day in range(7) if noon[day] < 60] == [2, 5, 6]


def test_a_schedule_follows_daylight_saving():
    schedule = Schedule("America/Chicago")
    noons = np.array([midnight("2026-03-07"), midnight("2026-03-09")]) + 12 * HOUR_MS  # clocks went forward on the 8th
    assert schedule.hours(noons).tolist() == [6.0, 7.0]


def test_a_schedule_that_is_changed_starts_earlier():
    change = ScheduleChange(MONDAY + DAY_MS, 2.0)
    times = span(MONDAY, 48, interval_s=600)
    flow = column(recorded(COMPRESSOR, times, Habits(Schedule(changes=(change,)))), "air_flow_rate")
    busy = flow > 100
    first = [float((times[:144][day] % DAY_MS)[0] / HOUR_MS) for day in (busy[:144], busy[144:])]
    assert first[0] - first[1] == pytest.approx(2.0, abs=0.34)


@pytest.mark.parametrize("device_type", TYPES)
def test_a_setpoint_that_is_moved_moves_what_it_controls(device_type):
    device = FleetDevice("D", device_type)
    times = span(MONDAY + 14 * HOUR_MS, 6)
    habits = Habits(setpoint_changes=(SetpointChange("D", MONDAY + 16 * HOUR_MS, 1.0),))
    before, after = recorded(device, times), recorded(device, times, habits)
    moved = column(after, MOVED[device_type]) - column(before, MOVED[device_type])
    assert np.allclose(moved[:119], 0.0)
    assert np.mean(moved[180:]) == pytest.approx(1.0, abs=0.4)


def test_a_replaced_sensor_reads_otherwise_and_more_noisily_and_no_other_does():
    change = Instrument("R", "return_air_temp", MONDAY + HOUR_MS, 2.0, 4.0)
    times = span(MONDAY, 5, interval_s=10)
    plain = recorded(ROOFTOP, times)
    replaced = recorded(ROOFTOP, times, Habits(recording=Recording(instruments=(change,))))
    difference = replaced.values - plain.values
    j = plain.metric_names.index("return_air_temp")
    assert not difference[:360].any()
    assert not np.delete(difference, j, axis=1).any()
    assert np.mean(difference[360:, j]) == pytest.approx(2.0, abs=0.05)
    assert np.std(difference[360:, j]) == pytest.approx(0.08 * np.sqrt(15), rel=0.1)


def test_change_of_value_repeats_a_reading_until_it_has_moved():
    times = span(MONDAY, 4, interval_s=10)
    plain = column(recorded(ROOFTOP, times), "return_air_temp")
    kept = column(recorded(ROOFTOP, times, Habits(recording=Recording(increment_noises=4.0))), "return_air_temp")
    assert np.abs(kept - plain).max() <= 4 * 0.08 + 1e-9
    steps = np.diff(kept)[np.diff(kept) != 0]
    assert np.abs(steps).min() > 4 * 0.08
    assert len(steps) < 0.2 * len(times)


def test_what_is_not_sent_may_also_be_missing():
    times = span(MONDAY, 1, interval_s=10)
    plain = column(recorded(ROOFTOP, times), "return_air_temp")
    recording = Recording(intervals_s={"return_air_temp": 300}, repeated=False)
    sent = column(recorded(ROOFTOP, times, Habits(recording=recording)), "return_air_temp")
    assert np.array_equal(sent[::30], plain[::30])
    assert np.isfinite(sent).sum() == 12


def test_coarse_readings_are_near_the_fine_ones():
    times = span(MONDAY, 1)
    plain = column(recorded(ROOFTOP, times), "supply_air_temp")
    coarse = column(recorded(ROOFTOP, times, Habits(recording=Recording(resolution_noises=10.0))), "supply_air_temp")
    assert np.abs(coarse - plain).max() <= 0.75 + 1e-9
    assert np.allclose(coarse / 1.5, np.round(coarse / 1.5))


@settings(max_examples=12, deadline=None)
@given(cuts=st.lists(st.integers(1, 179), max_size=6, unique=True).map(sorted), missing=st.sampled_from([0.0, 0.1]))
def test_chunks_do_not_change_what_is_recorded(cuts, missing):
    recording = Recording(
        instruments=(Instrument("R", "return_air_temp", MONDAY + 1234, 1.0, 2.0),),
        increment_noises=2.0,
        intervals_s={"supply_air_temp": 50},
        missing=missing,
    )
    times = span(MONDAY, 0.5, interval_s=10)
    whole = recorded(ROOFTOP, times, Habits(recording=recording)).values
    simulation = FleetSimulation([ROOFTOP], seed=3, habits=Habits(recording=recording))
    parts = [simulation.advance(part)[0].values for part in np.split(times, cuts)]
    assert np.array_equal(np.concatenate(parts), whole, equal_nan=True)
    assert np.isnan(whole).mean() == pytest.approx(missing, abs=0.03)


def test_a_spell_is_warmer_than_the_season():
    times = span(MONDAY, 96, interval_s=3600)
    spell = Spell(MONDAY + DAY_MS, MONDAY + 3 * DAY_MS, 15.0)
    usual = column(recorded(ROOFTOP, times), "outdoor_air_temp")
    warm = column(recorded(ROOFTOP, times, climate=Climate(spells=(spell,))), "outdoor_air_temp")
    assert np.allclose((warm - usual)[[0, 48, 95]], [0.0, 15.0, 0.0], atol=0.2)


def test_faults_of_a_quarter_are_the_same_faults_at_a_quarter_of_the_size():
    whole, quarter = (plan_faults(fleet(), 0, 5 * DAY_MS, seed=2, rate=5.0, size=size) for size in (1.0, 0.25))
    assert [(f.kind, f.start_ms, f.metric) for f in whole] == [(f.kind, f.start_ms, f.metric) for f in quarter]
    assert [f.magnitude / 4 for f in whole] == [f.magnitude for f in quarter]
    with pytest.raises(ValueError, match="size 0 isn't above 0"):
        plan_faults(fleet(), 0, DAY_MS, seed=2, rate=5.0, size=0)


def test_a_sensor_may_drift_off_over_weeks():
    weeks = Fault("R", "sensor_bias", MONDAY, MONDAY + 28 * DAY_MS, "return_air_temp", 4.0, 14 * 24 * 60.0)
    times = MONDAY + np.array([0, 7, 14, 21]) * DAY_MS + HOUR_MS
    moved = column(recorded(ROOFTOP, times, faults=[weeks]), "return_air_temp") - column(
        recorded(ROOFTOP, times), "return_air_temp"
    )
    assert np.allclose(moved, [0.08, 2.0, 4.0, 4.0], atol=0.11)
    assert Fault.from_dict(weeks.to_dict()) == weeks
    assert FAULT_KINDS["sensor_bias"].onset_minutes == 0.0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Schedule("Mars/Olympus"), "no timezone"),
        (lambda: Schedule(working_days=(7,)), "no day of the week"),
        (lambda: Schedule(changes=(ScheduleChange(0, 3.0),)), "two hours at most"),
        (lambda: Recording(missing=1.0), "share of readings"),
        (lambda: Recording(lost_s=7), "doesn't divide"),
        (lambda: Instrument("R", "power", 0, 0.0, 0.5), "less noisy"),
        (
            lambda: FleetSimulation([ROOFTOP], seed=1, habits=Habits(setpoint_changes=(SetpointChange("X", 0, 1.0),))),
            "X",
        ),
        (
            lambda: FleetSimulation([ROOFTOP], seed=1, habits=Habits(recording=Recording((Instrument("R", "x", 0),)))),
            "no metric 'x'",
        ),
    ],
)
def test_what_cannot_be_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()


def test_an_intermittent_fault_shows_while_it_is_there():
    whole = Fault("R", "sensor_bias", MONDAY, MONDAY + 60 * MINUTE_MS, "return_air_temp", 5.0)
    times = span(MONDAY, 1)
    off = column(recorded(ROOFTOP, times, faults=intermittent(whole, 10, 20)), "return_air_temp") - column(
        recorded(ROOFTOP, times), "return_air_temp"
    )
    assert np.flatnonzero(off > 2.5).tolist() == [*range(10), *range(30, 40)]
