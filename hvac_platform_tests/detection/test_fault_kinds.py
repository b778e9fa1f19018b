"""Likely kinds of fault: machines by their signature, sensors by what the data alone show."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvac_platform.detection import fit_detector
from hvac_platform.detection.fault_kinds import (
    SENSOR_KINDS,
    SensorEvidence,
    likely_kinds,
    sensor_evidence,
    signature_library,
)
from hvac_platform.detection.signatures import signature
from hvac_platform.devices.registry import device_types
from hvac_platform.simulation.faults import FAULT_KINDS, Fault, kinds_for
from hvac_platform_tests.detection.records import machine
from hvac_platform_tests.simulation.fleets import HOUR_MS, MINUTE_MS, fleet, midnight, simulate, span

NOTHING = SensorEvidence("flow", impossible=0.0, frozen=0.0, single=0.5, alone=0.6)


class TestLibrary:
    @pytest.mark.parametrize("device_type", sorted(device_types()))
    def test_holds_every_kind_of_the_machine(self, device_type):
        expected = {k for k in kinds_for(device_type) if not FAULT_KINDS[k].of_a_sensor}
        assert signature_library(device_type).keys() == expected

    @pytest.mark.parametrize("device_type", sorted(device_types()))
    def test_signatures_are_unit_vectors_of_the_types_metrics(self, device_type):
        names = set(device_types()[device_type].metric_names)
        for known in signature_library(device_type).values():
            assert known.incidents >= 4
            for _, looks in known.signatures.iterrows():
                assert set(looks.index) <= names
                assert np.linalg.norm(looks) == pytest.approx(1.0, abs=0.01)

    def test_spelling_of_the_type_does_not_matter_and_an_unknown_type_has_none(self):
        assert signature_library("Rooftop-Unit") is signature_library("rooftop_unit")
        assert signature_library("heat_pump") == {}


class TestLikelyKinds:
    @pytest.mark.parametrize("device_type", sorted(device_types()))
    def test_what_looks_like_a_kind_is_of_that_kind(self, device_type):
        for kind, known in signature_library(device_type).items():
            for _, looks in known.signatures.iterrows():
                best = likely_kinds(looks, device_type, evidence=NOTHING)[0]
                assert (best.kind, best.title) == (kind, known.title)
                assert best.similarity == pytest.approx(1.0)

    @settings(deadline=None)
    @given(
        st.lists(st.floats(-1, 1), min_size=14, max_size=14).filter(lambda v: np.linalg.norm(v) > 0.1),
        st.integers(1, 5),
        st.floats(0.1, 10),
    )
    def test_order_size_and_scale(self, values, top, factor):
        looks = pd.Series(values, index=device_types()["rooftop_unit"].metric_names)
        kinds = likely_kinds(looks, "rooftop_unit", top=top)
        assert len(kinds) <= top
        assert [k.similarity for k in kinds] == sorted((k.similarity for k in kinds), reverse=True)
        assert all(0.0 < k.similarity <= 1.0 + 1e-9 for k in kinds)
        again = likely_kinds(looks * factor, "rooftop_unit", top=top)
        assert [k.similarity for k in again] == pytest.approx([k.similarity for k in kinds])

    def test_a_failed_sensor_is_not_called_stuck_although_it_repeats_itself(self):
        looks = signature_library("chiller")["fouling"].signatures.iloc[0]
        evidence = SensorEvidence("cop", impossible=1.0, frozen=1.0, single=1.0, alone=1.0)
        assert likely_kinds(looks, "chiller", evidence=evidence)[0].kind == "sensor_failure"

    def test_a_repeating_sensor_is_stuck_whatever_else_it_looks_like(self):
        looks = signature_library("chiller")["fouling"].signatures.iloc[0]
        evidence = SensorEvidence("cop", impossible=0.0, frozen=0.9, single=1.0, alone=1.0)
        kinds = [k.kind for k in likely_kinds(looks, "chiller", evidence=evidence)]
        assert kinds[:2] == ["stuck_sensor", "fouling"]

    def test_without_a_library_only_sensors_are_told(self):
        looks = pd.Series({"a": 1.0})
        assert likely_kinds(looks, None, evidence=NOTHING) == []
        biased = SensorEvidence("a", impossible=0.0, frozen=0.0, single=1.0, alone=0.99)
        assert [k.kind for k in likely_kinds(looks, "heat_pump", evidence=biased)] == ["sensor_bias"]
        assert all(title for title in SENSOR_KINDS.values())


@pytest.fixture(scope="module")
def fitted_and_test():
    record = machine(2100)
    return fit_detector(record.iloc[:1500]), record.iloc[1500:]


class TestSensorEvidence:
    def evidence(self, fitted_and_test, change):
        fitted, test = fitted_and_test
        faulty = test.copy()
        change(faulty)
        scored = fitted.score(faulty)
        rows = scored["is_anomalous"].to_numpy() & (np.arange(len(test)) >= 200) & (np.arange(len(test)) < 260)
        found = scored[rows]
        return sensor_evidence(
            fitted.sigmas(faulty)[rows], fitted.levels.precision, faulty[rows], found["reason"], found["top_metric"]
        )

    @pytest.mark.parametrize(("metric", "offset"), [("supply_temp", 2.0), ("power", -25.0), ("vibration", 0.6)])
    def test_one_sensor_that_is_off_accounts_for_the_deviation(self, fitted_and_test, metric, offset):
        def change(frame):
            frame.iloc[200:260, frame.columns.get_loc(metric)] += offset

        evidence = self.evidence(fitted_and_test, change)
        assert evidence.metric == metric
        assert evidence.single > 0.95
        assert evidence.alone > 0.95
        assert evidence.impossible == evidence.frozen == 0.0

    def test_a_machine_that_moves_several_metrics_is_no_sensor(self, fitted_and_test):
        def change(frame):
            frame.iloc[200:260, frame.columns.get_loc("power")] += 25.0
            frame.iloc[200:260, frame.columns.get_loc("vibration")] += 0.6
            frame.iloc[200:260, frame.columns.get_loc("flow")] -= 60.0

        assert self.evidence(fitted_and_test, change).single < 0.95

    def test_a_sentinel_can_not_be_real(self, fitted_and_test):
        def change(frame):
            frame.iloc[200:260, frame.columns.get_loc("flow")] = -999.0

        evidence = self.evidence(fitted_and_test, change)
        assert (evidence.metric, evidence.impossible) == ("flow", 1.0)

    def test_a_stuck_sensor_repeats_itself(self, fitted_and_test):
        def change(frame):
            frame.iloc[200:260, frame.columns.get_loc("vibration")] = frame["vibration"].iloc[200]

        evidence = self.evidence(fitted_and_test, change)
        assert (evidence.metric, evidence.frozen) == ("vibration", 1.0)


@pytest.mark.parametrize(
    ("kind", "metric"),
    [("fouling", None), ("low_flow", None), ("stuck_sensor", "compressor_current"), ("sensor_bias", "cop")],
)
def test_a_fault_of_a_simulated_chiller_is_told(kind, metric):
    start = midnight("2026-07-06")
    device = fleet(1, ("chiller",))
    begun = start + 58 * HOUR_MS
    fault = Fault(device[0].device_id, kind, begun, begun + HOUR_MS, metric, -1.4 if kind == "sensor_bias" else 1.0)
    ((_, readings),) = simulate(device, span(start, 60, 60), seed=77, faults=[fault]).items()
    index = pd.to_datetime(readings.times_ms, unit="ms", utc=True)
    frame = pd.DataFrame(readings.values, index=index, columns=list(readings.metric_names))
    fitted = fit_detector(frame.iloc[: 48 * 60], device_type="chiller")
    test = frame.iloc[48 * 60 :]
    scored = fitted.score(test)
    times_ms = test.index.as_unit("ms").asi8
    rows = scored["is_anomalous"].to_numpy() & (times_ms + MINUTE_MS > begun) & (times_ms < fault.end_ms)
    sigmas, found = fitted.sigmas(test)[rows], scored[rows]
    evidence = sensor_evidence(
        sigmas, fitted.levels.precision, test[rows], found["reason"], found["top_metric"], "chiller"
    )
    likely = likely_kinds(signature(sigmas), "chiller", evidence=evidence)
    assert likely[0].kind == kind
    if metric is not None:
        assert evidence.metric == metric
