"""Rows that come a few at a time are judged as if they had come at once."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvac_platform.detection import DetectorState, UnusableMetricsError, fit_detector
from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.simulation.fleet_simulation import FleetSimulation
from hvac_platform_tests.detection.records import START, train_and_test
from hvac_platform_tests.simulation.fleets import HOUR_MS, midnight

ROWS = 240
CUTS = st.lists(st.integers(0, ROWS), max_size=12).map(sorted)


@pytest.fixture(scope="module")
def normal():
    return train_and_test(1500, ROWS)


@pytest.fixture(scope="module")
def fitted(normal):
    return fit_detector(normal[0])


@pytest.fixture(scope="module")
def eventful(normal):
    """A record with all that memory is for: gross and small faults, a stuck sensor, missing readings, silence, a gap."""
    test = normal[1].copy()
    columns = test.columns.get_loc
    test.iloc[20:26, columns("power")] += 400.0  # gross, so that levels begin anew after it
    test.iloc[40:75, columns("vibration")] += 0.12
    test.iloc[80:110, columns("flow")] = test.iloc[80, columns("flow")]
    test.iloc[115:119, columns("return_temp")] = np.nan
    test.iloc[120:140, columns("supply_temp")] = np.nan
    test.iloc[144:147] = np.nan
    test.iloc[150:152, columns("power")] -= 300.0
    return test.drop(test.index[170:182])


def in_pieces(fitted, frame, cuts, segments=None, *, through_json=False, **options):
    state, tables = None, []
    bounds = [0, *(min(cut, len(frame)) for cut in cuts), len(frame)]
    for start, stop in pairwise(bounds):
        part = None if segments is None else segments[start:stop]
        table, state = fitted.advance(frame.iloc[start:stop], state, segments=part, **options)
        if through_json:
            state = DetectorState.from_document(json.loads(json.dumps(state.to_document(), allow_nan=False)))
        tables.append(table)
    return pd.concat(tables)


def assert_same(pieces, whole):
    # Sums of floats in another order; neighbour distances are of 32-bit vectors.
    pd.testing.assert_frame_equal(pieces, whole, rtol=1e-6, atol=2e-4, check_freq=False)


class TestPieces:
    def test_the_record_shows_what_memory_is_for(self, fitted, eventful):
        assert {"now", "sustained", "frozen"} <= set(fitted.score(eventful)["reason"])

    @settings(max_examples=25, deadline=None)
    @given(cuts=CUTS, through_json=st.booleans())
    def test_any_split_gives_what_all_at_once_gives(self, fitted, eventful, cuts, through_json):
        assert_same(in_pieces(fitted, eventful, cuts, through_json=through_json), fitted.score(eventful))

    def test_so_do_single_rows(self, fitted, eventful):
        assert_same(in_pieces(fitted, eventful, range(len(eventful))), fitted.score(eventful))

    @settings(max_examples=15, deadline=None)
    @given(cuts=CUTS, which=st.lists(st.sampled_from("abc"), min_size=ROWS, max_size=ROWS))
    def test_records_may_come_interleaved(self, fitted, eventful, cuts, which):
        labels = np.array(which, dtype=object)[: len(eventful)]
        assert_same(in_pieces(fitted, eventful, cuts, labels), fitted.score(eventful, segments=labels))

    @settings(max_examples=10, deadline=None)
    @given(cuts=CUTS)
    def test_maintenance_is_left_out_of_alarms_alone(self, fitted, eventful, cuts):
        spans = [(eventful.index[22], eventful.index[60])]
        whole = fitted.score(eventful, maintenance=spans)
        assert_same(in_pieces(fitted, eventful, cuts, maintenance=spans), whole)
        assert not whole["is_anomalous"].iloc[22:60].any()

    def test_rules_look_back_into_earlier_calls(self):
        start = midnight("2026-07-06")
        fleet = [FleetDevice("CH-1", "chiller")]
        times = np.arange(start, start + 30 * HOUR_MS, 60_000, dtype=np.int64)
        readings = next(iter(FleetSimulation(fleet, seed=3).advance(times)))
        index = pd.to_datetime(times, unit="ms", utc=True)
        frame = pd.DataFrame(readings.values, index=index, columns=list(readings.metric_names))
        train, test = frame.iloc[:1440], frame.iloc[1440:].copy()
        test.iloc[60:200, test.columns.get_loc("chilled_water_supply_temp")] = 36.0
        silent = dict.fromkeys(("now", "sustained", "frozen"), np.inf)  # so that nothing but rules can alarm
        fitted = replace(fit_detector(train, device_type="chiller"), limits=silent)
        whole = fitted.score(test)
        assert set(whole["reason"]) == {"rule", ""}
        assert_same(in_pieces(fitted, test, range(0, len(test), 7), through_json=True), whole)


class TestState:
    def test_without_a_state_it_carries_on_from_the_training(self, fitted, normal):
        table, state = fitted.advance(normal[1])
        pd.testing.assert_frame_equal(table, fitted.score(normal[1]))
        assert state.of(None).memory.time_ms == int(normal[1].index[-1].timestamp() * 1000)

    def test_no_rows_change_nothing(self, fitted, normal):
        _, state = fitted.advance(normal[1].iloc[:50])
        table, same = fitted.advance(normal[1].iloc[:0], state)
        assert len(table) == 0
        assert same.to_document() == state.to_document()

    def test_rows_that_were_judged_are_refused(self, fitted, normal):
        _, state = fitted.advance(normal[1].iloc[:50])
        with pytest.raises(UnusableMetricsError, match="was judged before"):
            fitted.advance(normal[1].iloc[49:60], state)

    def test_the_state_of_another_machine_is_refused(self, fitted, normal):
        other = fit_detector(normal[0].drop(columns="flow"))
        _, state = other.advance(normal[1].iloc[:50])
        with pytest.raises(UnusableMetricsError, match="4 metrics, the detector of 5"):
            fitted.advance(normal[1].iloc[50:], state)

    def test_a_record_that_is_left_out_starts_afresh(self, fitted, normal):
        _, state = fitted.advance(normal[1].iloc[:50])
        forgotten, _ = fitted.advance(normal[1].iloc[50:60], DetectorState())
        remembered, _ = fitted.advance(normal[1].iloc[50:60], state)
        assert not np.allclose(forgotten["score"], remembered["score"])

    def test_many_states_of_one_detector_are_independent(self, fitted, normal):
        _, state = fitted.advance(normal[1].iloc[:50])
        first, _ = fitted.advance(normal[1].iloc[50:60], state)
        again, _ = fitted.advance(normal[1].iloc[50:60], state)
        pd.testing.assert_frame_equal(first, again)
        assert first.index[0] > START
