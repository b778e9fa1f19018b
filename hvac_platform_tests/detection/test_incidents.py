"""Windows become incidents, incidents of many devices become events with a likely cause."""

from __future__ import annotations

import itertools
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvac_platform.detection import fit_detector
from hvac_platform.detection.evaluation import score_faults
from hvac_platform.detection.incidents import (
    Cause,
    Severity,
    data_losses,
    electrical_metrics,
    fleet_events,
    group_windows,
    incident_level,
    join_episodes,
    outdoor_metrics,
    severity,
)
from hvac_platform.detection.signatures import signature
from hvac_platform.devices.registry import device_types
from hvac_platform.simulation.fleet_simulation import FleetSimulation
from hvac_platform.simulation.weather import Climate
from hvac_platform_tests.simulation.fleets import HOUR_MS, MINUTE_MS, fleet, midnight, span

WINDOWS = st.lists(st.integers(0, 2000), unique=True).map(lambda w: np.array(sorted(w), dtype=np.int64) * MINUTE_MS)


class TestGrouping:
    @settings(deadline=None)
    @given(WINDOWS)
    def test_every_window_is_in_exactly_one_incident(self, times):
        groups = group_windows(times, MINUTE_MS)
        rows = [row for first, last in groups for row in range(first, last + 1)]
        assert rows == list(range(len(times)))

    @settings(deadline=None)
    @given(WINDOWS)
    def test_incidents_are_more_than_ten_minutes_apart_and_have_no_longer_pause(self, times):
        groups = group_windows(times, MINUTE_MS)
        for (_, last), (first, _) in pairwise(groups):
            assert times[first] - times[last] > 10 * MINUTE_MS
        for first, last in groups:
            assert (np.diff(times[first : last + 1]) <= 10 * MINUTE_MS).all()

    @settings(deadline=None)
    @given(WINDOWS)
    def test_there_are_as_many_as_the_evaluation_counts(self, times):
        counted = score_faults(times, np.ones(len(times), dtype=bool), []).false_alarms
        assert len(group_windows(times, MINUTE_MS)) == counted

    def test_adjacent_coarse_windows_are_of_one_incident(self):
        quarter = 15 * MINUTE_MS
        assert group_windows(np.array([0, 1, 2, 4]) * quarter, quarter) == [(0, 2), (3, 3)]

    def test_times_out_of_order_are_refused(self):
        with pytest.raises(ValueError, match="ascending"):
            group_windows(np.array([2, 1]), MINUTE_MS)


class TestSeverity:
    def test_follows_the_levels_of_guideline_36(self):
        assert [severity(level) for level in (1, 2, 3, 4)] == ["critical", "critical", "warning", "info"]
        assert severity(3) is Severity.WARNING

    @pytest.mark.parametrize("level", [0, 5, -1])
    def test_other_levels_are_refused(self, level):
        with pytest.raises(ValueError, match="Guideline 36"):
            severity(level)

    def test_the_most_severe_rule_decides(self):
        assert incident_level(np.array([0, 4, 1, 3]), np.full(4, 9.0), np.full(4, 2)) == 1

    def test_methods_that_agree_persistently_make_it_urgent(self):
        nothing = np.zeros(6, dtype=int)
        assert incident_level(nothing, np.full(6, 1.5), np.array([1, 2, 2, 2, 1, 1])) == 3
        assert incident_level(nothing, np.full(6, 1.5), np.array([1, 2, 2, 1, 1, 1])) == 4

    def test_a_score_far_above_its_limit_makes_it_urgent(self):
        assert incident_level(np.zeros(2, dtype=int), np.array([np.nan, 3.1]), np.ones(2, dtype=int)) == 3

    @settings(deadline=None)
    @given(
        st.lists(st.integers(0, 4), min_size=1, max_size=20),
        st.floats(0, 10),
        st.integers(0, 3),
    )
    def test_more_evidence_never_makes_it_less_severe(self, levels, score, votes):
        rows = len(levels)
        some = incident_level(np.array(levels), np.full(rows, score), np.full(rows, votes))
        more = incident_level(np.array([*levels, 2]), np.full(rows + 1, score), np.full(rows + 1, votes))
        assert 1 <= more <= some <= 4


class TestDataLoss:
    TIMES = np.arange(60, dtype=np.int64) * MINUTE_MS

    def values(self):
        return np.random.default_rng(1).normal(size=(60, 3))

    def test_news_in_every_window_is_no_data_loss(self):
        assert data_losses(self.TIMES, self.values(), MINUTE_MS) == []

    def test_missing_windows_missing_readings_and_repeated_ones_are(self):
        repeated, unread = self.values(), self.values()
        repeated[20:31] = repeated[19]
        unread[20:31] = np.nan
        gone = np.r_[0:20, 31:60]
        expected = [(20 * MINUTE_MS, 31 * MINUTE_MS)]
        assert data_losses(self.TIMES[gone], self.values()[gone], MINUTE_MS) == expected
        assert data_losses(self.TIMES, repeated, MINUTE_MS) == expected
        assert data_losses(self.TIMES, unread, MINUTE_MS) == expected

    def test_one_stuck_or_missing_sensor_is_no_data_loss(self):
        values = self.values()
        values[10:, 0], values[10:, 1] = values[10, 0], np.nan
        assert data_losses(self.TIMES, values, MINUTE_MS) == []

    def test_the_data_of_a_device_that_ends_are_lost_until_the_end(self):
        until = 100 * MINUTE_MS
        assert data_losses(self.TIMES, self.values(), MINUTE_MS, until_ms=until) == [(60 * MINUTE_MS, until)]

    def test_a_short_pause_is_none(self):
        kept = np.r_[0:20, 24:60]
        assert data_losses(self.TIMES[kept], self.values()[kept], MINUTE_MS) == []


def test_brick_classes_tell_which_metrics_weather_and_electricity_decide():
    types = device_types()
    assert outdoor_metrics(types["cooling_tower"]) == {"dry_bulb_temp", "wet_bulb_temp"}
    assert outdoor_metrics(types["chiller"]) == frozenset()
    assert {"power_consumption", "compressor_status"} <= electrical_metrics(types["chiller"])


FLEET = {f"{building}{i}": building for building in "AB" for i in range(4)}
TYPES = dict.fromkeys(FLEET, device_types()["rooftop_unit"])


class TestFleetEvents:
    """Four rooftop units in building A, four in B; positions of incidents are those of the lists."""

    def events(self, incidents, **options):
        """Events of (minute, device, leading metric or None for a data loss)."""
        return fleet_events(
            np.array([minute * MINUTE_MS for minute, _, _ in incidents], dtype=np.int64),
            [device for _, device, _ in incidents],
            [() if metric is None else (metric,) for _, _, metric in incidents],
            np.array([metric is None for _, _, metric in incidents], dtype=bool),
            fleet=FLEET,
            device_types=TYPES,
            **options,
        )

    def test_nothing_happens_without_incidents(self):
        assert self.events([]) == []

    def test_one_or_two_devices_are_local(self):
        assert self.events([(0, "A0", "fan_speed"), (1, "A1", "fan_speed"), (300, "A2", "fan_speed")]) == []

    def test_half_of_a_building_of_four_is_too_few_devices(self):
        assert self.events([(0, "A0", None), (1, "A1", None)]) == []

    def test_three_devices_of_a_building_are_an_event_of_that_building(self):
        incidents = [(0, "B3", "fan_speed"), (60, "A0", None), (61, "A1", None), (63, "A3", None)]
        (event,) = self.events(incidents)
        assert (event.building, event.devices, event.incidents) == ("A", ("A0", "A1", "A3"), (1, 2, 3))
        assert event.start_ms == 60 * MINUTE_MS
        assert event.cause is Cause.NETWORK

    def test_half_of_the_fleet_in_both_buildings_is_an_event_of_the_fleet(self):
        incidents = [(i, device, "power_consumption") for i, device in enumerate(("A0", "A1", "B0", "B1"))]
        (event,) = self.events(incidents)
        assert (event.building, event.cause) == ("", Cause.SUPPLY)

    def test_a_whole_building_is_no_event_of_the_fleet(self):
        (event,) = self.events([(i, f"A{i}", "supply_air_temp") for i in range(4)])
        assert (event.building, event.cause) == ("A", Cause.UNKNOWN)

    def test_starts_that_are_far_apart_are_separate(self):
        assert self.events([(40 * i, f"A{i}", "supply_air_temp") for i in range(4)]) == []

    def test_weather_may_take_hours_to_reach_all(self):
        (event,) = self.events([(60 * i, f"A{i}", "outdoor_air_temp") for i in range(4)])
        assert event.cause is Cause.WEATHER

    def test_many_incidents_of_one_device_are_no_event(self):
        assert self.events([(i, "A0", "outdoor_air_temp") for i in range(12)]) == []

    def test_a_device_outside_the_fleet_is_refused(self):
        with pytest.raises(ValueError, match="not in the fleet: Z9"):
            self.events([(0, "Z9", None)])

    @settings(deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.integers(0, 600),
                st.sampled_from(sorted(FLEET)),
                st.sampled_from([None, "outdoor_air_temp", "fan_speed", "supply_air_temp"]),
            ),
            max_size=25,
        ),
        st.randoms(),
    )
    def test_each_incident_is_in_one_event_at_most_and_order_does_not_matter(self, incidents, random):
        events = self.events(incidents)
        rows = [row for event in events for row in event.incidents]
        assert len(rows) == len(set(rows))
        for event in events:
            assert len(event.devices) >= 3
            assert set(event.devices) == {incidents[row][1] for row in event.incidents}
        shuffled = incidents.copy()
        random.shuffle(shuffled)
        assert [(e.start_ms, e.devices, e.cause) for e in self.events(shuffled)] == [
            (e.start_ms, e.devices, e.cause) for e in events
        ]


@pytest.fixture(scope="module")
def six_devices():
    """Six machines with three days each, their detectors, and nine hours of the fourth from three in the morning."""
    devices = fleet(2, ("rooftop_unit", "makeup_air_unit", "cooling_tower"))
    start = midnight("2026-07-06")
    train = _frames(devices, span(start, 72), Climate())
    fitted = {device: fit_detector(frame) for device, frame in train.items()}
    types = {device.device_id: device_types()[device.device_type] for device in devices}
    return devices, start + 75 * HOUR_MS, fitted, types


def _frames(devices, times, climate):
    return {
        r.device.device_id: pd.DataFrame(
            r.values, index=pd.to_datetime(r.times_ms, unit="ms", utc=True), columns=list(r.metric_names)
        )
        for r in FleetSimulation(devices, seed=5, climate=climate).advance(times)
    }


def _incidents(fitted, tests):
    """Start, device, leading metrics and data loss of every incident of simulated devices."""
    found = []
    for device, test in tests.items():
        times = test.index.as_unit("ms").asi8
        alarms = np.flatnonzero(fitted[device].score(test)["is_anomalous"])
        for first, last in group_windows(times[alarms], MINUTE_MS):
            looks = signature(fitted[device].sigmas(test).iloc[alarms[first : last + 1]])
            leading = looks.abs().sort_values(ascending=False).index
            found.append((times[alarms[first]], device, tuple(leading), False))
        for start, _ in data_losses(times, test.to_numpy(), MINUTE_MS):
            found.append((start, device, (), True))
    return found


def _events(incidents, types, buildings="one"):
    starts, devices, leading, lost = zip(*incidents, strict=True)
    return fleet_events(
        np.array(starts, dtype=np.int64),
        devices,
        leading,
        np.array(lost, dtype=bool),
        fleet=dict.fromkeys(types, buildings),
        device_types=types,
    )


class TestOnSimulatedMachines:
    def test_a_heat_wave_is_one_event_and_it_is_the_weather(self, six_devices):
        devices, start, fitted, types = six_devices
        # As warm as the days before at three in the morning, sixteen degrees warmer in the afternoon.
        hot = Climate(mean_f=82.0, daily_f=16.0, dew_point_depression_f=26.0)
        tests = _frames(devices, span(start, 11), hot)
        events = _events(_incidents(fitted, tests), types)
        assert {event.cause for event in events} == {Cause.WEATHER}
        assert max(len(event.devices) for event in events) >= 5

    def test_a_cut_network_is_one_event_and_no_machine_is_blamed(self, six_devices):
        devices, start, fitted, types = six_devices
        tests = {}
        for i, (device, frame) in enumerate(_frames(devices, span(start, 6), Climate()).items()):
            first = 200 + i % 2
            if i < 3:  # gateways that are cut off, and loggers that repeat the last reading
                tests[device] = frame.drop(frame.index[first:240])
            else:
                frame.iloc[first:240] = frame.iloc[first - 1].to_numpy()
                tests[device] = frame
        incidents = [incident for incident in _incidents(fitted, tests) if incident[3]]
        (event,) = _events(incidents, types)
        assert (event.cause, len(event.devices)) == (Cause.NETWORK, 6)

    def test_a_fault_of_one_machine_is_local(self, six_devices):
        devices, start, fitted, types = six_devices
        tests = _frames(devices, span(start, 6), Climate())
        broken = devices[0].device_id
        tests[broken].iloc[120:200, tests[broken].columns.get_loc("outdoor_air_temp")] += 15.0
        incidents = _incidents(fitted, tests)
        assert any(device == broken for _, device, _, _ in incidents)
        assert _events(incidents, types) == []


@given(
    starts=st.lists(st.integers(0, 400), min_size=1, max_size=25, unique=True),
    names=st.lists(st.sets(st.sampled_from("abcd"), max_size=2), min_size=25, max_size=25),
    quiet=st.integers(0, 60),
)
def test_each_episode_is_of_one_fault_and_is_like_one_before_it_that_was_seen_of_late(starts, names, quiet):
    episodes = [(start, start + 3) for start in sorted(starts)]
    faults = [frozenset(named) for named in names[: len(episodes)]]
    joined = join_episodes(episodes, faults, quiet)
    assert sorted(i for group in joined for i in group) == list(range(len(episodes)))
    assert [group[0] for group in joined] == sorted(group[0] for group in joined)
    for group in joined:
        for before, i in pairwise(group):
            known = frozenset().union(*(faults[j] for j in group if j < i))
            assert episodes[i][0] - episodes[before][1] <= quiet
            assert not known or not faults[i] or known & faults[i]
    for first, second in itertools.combinations(joined, 2):  # nothing was left apart that could be together
        alike = [j for j in first if j < second[0]]
        known = frozenset().union(*(faults[j] for j in alike))
        within = any(episodes[second[0]][0] - episodes[j][1] <= quiet for j in alike)
        assert not within or (known and faults[second[0]] and not known & faults[second[0]])
