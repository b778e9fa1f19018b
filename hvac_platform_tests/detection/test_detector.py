"""What the detector promises, as a user of ``fit_detector`` sees it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvac_platform.detection import FittedDetector, UnusableMetricsError, fit_detector
from hvac_platform.detection.detector import VERSION, DetectorState
from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.simulation.faults import Fault
from hvac_platform.simulation.fleet_simulation import FleetSimulation
from hvac_platform_tests.detection.records import NAMES, START, machine, train_and_test
from hvac_platform_tests.simulation.fleets import HOUR_MS, midnight, span

COLUMNS = ["score", "is_anomalous", "profile_similarity", "neighbour_distance", "top_metric"]


@pytest.fixture(scope="module")
def normal():
    return train_and_test(4500)


@pytest.fixture(scope="module")
def fitted(normal) -> FittedDetector:
    return fit_detector(normal[0])


def faulty(frame: pd.DataFrame, metric: str, offset: float, first: int = 200, last: int = 260) -> pd.DataFrame:
    changed = frame.copy()
    changed.iloc[first:last, changed.columns.get_loc(metric)] += offset
    return changed


class TestResult:
    def test_has_one_row_for_each_row_and_the_promised_columns(self, fitted, normal):
        scored = fitted.score(normal[1])
        assert list(scored.columns[:5]) == COLUMNS
        assert scored.index.equals(normal[1].index)
        assert scored["is_anomalous"].dtype == bool
        assert scored["score"].between(0, 5).all()
        assert scored["profile_similarity"].between(0, 1).all()
        assert scored["neighbour_distance"].between(0, 2).all()
        assert scored["top_metric"].isin(NAMES).all()

    def test_normal_rows_hardly_alarm(self, fitted, normal):
        assert fitted.score(normal[1])["is_anomalous"].mean() <= 0.01

    def test_half_of_normal_rows_are_no_surprise(self, fitted, normal):
        assert fitted.score(normal[1])["score"].median() < 0.8

    def test_no_rows_give_no_rows(self, fitted, normal):
        empty = fitted.score(normal[1].iloc[:0])
        assert len(empty) == 0
        assert list(empty.columns[:5]) == COLUMNS

    def test_scoring_twice_gives_the_same(self, fitted, normal):
        pd.testing.assert_frame_equal(fitted.score(normal[1]), fitted.score(normal[1]))

    def test_additional_columns_and_their_order_do_not_matter(self, fitted, normal):
        shuffled = normal[1][list(reversed(NAMES))].assign(note="text", unknown=1.0)
        pd.testing.assert_frame_equal(fitted.score(shuffled), fitted.score(normal[1]))

    def test_survives_json(self, fitted, normal):
        document = json.loads(json.dumps(fitted.to_document(), allow_nan=False))
        again = FittedDetector.from_document(document)
        test = faulty(normal[1], "power", 30.0)
        pd.testing.assert_frame_equal(again.score(test), fitted.score(test))


class TestFaults:
    @pytest.mark.parametrize(
        ("metric", "offset"),
        [("supply_temp", 2.0), ("return_temp", -2.0), ("flow", 60.0), ("power", -25.0), ("vibration", 0.6)],
    )
    def test_a_shifted_sensor_is_found_within_two_rows_and_named(self, fitted, normal, metric, offset):
        scored = fitted.score(faulty(normal[1], metric, offset))
        during = scored.iloc[200:260]
        assert during["is_anomalous"].iloc[:2].any()
        assert (during["top_metric"][during["is_anomalous"]] == metric).mean() > 0.9

    def test_the_alarm_ends_with_the_fault(self, fitted, normal):
        after = fitted.score(faulty(normal[1], "power", 60.0)).iloc[260:]
        assert not after["is_anomalous"].any()

    def test_a_shift_of_one_sigma_that_lasts_is_found_as_sustained(self, fitted, normal):
        # The reading stays well within its usual range, and each row alone could be chance.
        scored = fitted.score(faulty(normal[1], "vibration", 0.07, 200, 500))
        during = scored.iloc[200:500]
        assert "sustained" in set(during["reason"])
        assert set(during["top_metric"][during["reason"] == "sustained"]) == {"vibration"}

    def test_a_stuck_sensor_is_found_while_its_reading_is_usual(self, fitted, normal):
        stuck = normal[1].copy()
        stuck.iloc[200:260, 4] = stuck["vibration"].iloc[200]
        during = fitted.score(stuck).iloc[200:260]
        assert during["is_anomalous"].any()
        assert (during["reason"] == "frozen").any()
        assert set(during["top_metric"][during["reason"] == "frozen"]) == {"vibration"}

    def test_a_value_that_marks_a_broken_sensor_is_found_at_once(self, fitted, normal):
        scored = fitted.score(faulty(normal[1], "flow", -999.0))
        assert scored["is_anomalous"].iloc[200]
        assert scored["top_metric"].iloc[200] == "flow"

    def test_expected_is_what_the_other_metrics_imply(self, fitted, normal):
        row = fitted.score(faulty(normal[1], "power", 60.0)).iloc[210]
        truth = normal[1]["power"].iloc[210]
        assert row["top_metric"] == "power"
        assert row["observed"] == pytest.approx(truth + 60.0)
        assert row["expected"] == pytest.approx(truth, abs=8.0)

    def test_three_per_cent_of_faulty_training_rows_do_no_harm(self, normal):
        train, test = normal
        dirty = faulty(faulty(train, "power", 60.0, 300, 367), "flow", -150.0, 2900, 2967)
        scored = fit_detector(dirty).score(faulty(test, "power", 40.0))
        assert scored["is_anomalous"].iloc[200:260].mean() > 0.5
        assert scored["is_anomalous"].iloc[:200].mean() <= 0.01

    def test_nothing_alarms_in_maintenance(self, fitted, normal):
        test = faulty(normal[1], "power", 60.0)
        times = test.index
        scored = fitted.score(test, maintenance=[(times[190], times[230])])
        assert not scored["is_anomalous"].iloc[:230].any()
        assert scored["is_anomalous"].iloc[230]

    def test_a_larger_budget_gives_lower_limits(self, normal):
        strict, lax = (fit_detector(normal[0], false_alarms_per_day=budget).limits for budget in (0.1, 10.0))
        assert lax["now"] <= strict["now"]
        assert lax["sustained"] <= strict["sustained"]
        assert lax["frozen"] < strict["frozen"]


def two_modes(rows: int, *, phase: int = 0) -> pd.DataFrame:
    """A machine that runs for ninety minutes and rests for ninety; its readings are ten times as restless while it runs."""
    generator = np.random.default_rng([3, phase])
    on = (np.arange(phase, phase + rows) % 180 < 90).astype(float)
    noise = generator.normal(size=(rows, 3)) * np.where(on > 0, 10.0, 1.0)[:, None]
    values = np.column_stack([on, 20 + 0.5 * noise[:, 0] + 10 * on, 50 + noise[:, 1] + 20 * on, 5 + 0.2 * noise[:, 2]])
    index = pd.date_range(START, periods=phase + rows, freq="60s")[phase:]
    return pd.DataFrame(values, index=index, columns=["status", "pressure", "flow", "vibration"])


@pytest.fixture(scope="module")
def of_two_modes() -> FittedDetector:
    return fit_detector(two_modes(9000))


class TestModes:
    def test_are_calibrated_each_where_they_are_common(self, of_two_modes, fitted):
        assert [switch.metric for switch in of_two_modes.switches] == ["status"]
        assert set(of_two_modes.within) == {"0", "1", "8"}  # 8: at rest since less than ten rows
        assert fitted.within == {}

    def test_a_fault_within_the_noise_of_another_mode_is_found(self, of_two_modes):
        test = two_modes(1800, phase=9000)
        minute = np.arange(9000, 10_800) % 180
        resting, running = (minute >= 110) & (minute < 170), (minute >= 20) & (minute < 80)
        regardless = replace(of_two_modes, within={})

        def found(detector: FittedDetector, rows: np.ndarray) -> float:
            shifted = test.copy()
            shifted.loc[rows, "flow"] += 10.0  # ten sigmas at rest, one while it runs
            return detector.score(shifted)["is_anomalous"].to_numpy()[rows].mean()

        assert found(of_two_modes, resting) > 0.8
        assert found(of_two_modes, running) < 0.3
        assert found(regardless, resting) < 0.1

    def test_normal_rows_hardly_alarm_in_either(self, of_two_modes):
        assert of_two_modes.score(two_modes(1800, phase=9000))["is_anomalous"].mean() <= 0.01

    def test_half_of_the_rows_of_either_are_no_surprise(self, of_two_modes):
        test = two_modes(1800, phase=9000)
        medians = of_two_modes.score(test)["score"].groupby(test["status"]).median()
        assert medians.between(0.1, 0.8).all(), medians

    def test_without_the_status_rows_are_judged_among_those_of_all_modes(self, of_two_modes):
        test = two_modes(1800, phase=9000).assign(status=np.nan)
        assert of_two_modes.score(test)["is_anomalous"].mean() <= 0.01

    @pytest.mark.parametrize("cut", [1, 85, 93, 97, 400])
    def test_carry_on_from_one_call_to_the_next(self, of_two_modes, cut):
        test = two_modes(600, phase=9000)
        first, state = of_two_modes.advance(test.iloc[:cut])
        kept = DetectorState.from_document(json.loads(json.dumps(state.to_document())))
        second, _ = of_two_modes.advance(test.iloc[cut:], kept)
        # A distance is 1 less a cosine in float32, whose last digits follow from how the machine multiplies matrices.
        pd.testing.assert_frame_equal(pd.concat([first, second]), of_two_modes.score(test), atol=2e-7)

    def test_survive_being_kept(self, of_two_modes):
        test = two_modes(600, phase=9000)
        for again in (
            FittedDetector.from_bytes(of_two_modes.to_bytes()),
            FittedDetector.from_document(json.loads(json.dumps(of_two_modes.to_document(), allow_nan=False))),
        ):
            pd.testing.assert_frame_equal(again.score(test), of_two_modes.score(test))

    def test_a_detector_kept_before_modes_were_calibrated_still_judges(self, fitted, normal):
        document = {k: v for k, v in fitted.to_document().items() if k not in ("switches", "within", "version")}
        again = FittedDetector.from_document(document)
        assert (again.version, fitted.version) == (1, VERSION)
        pd.testing.assert_frame_equal(again.score(normal[1]), fitted.score(normal[1]))


@pytest.fixture(scope="module")
def chiller():
    start = midnight("2026-07-06")
    day = 24 * HOUR_MS
    faults = [
        Fault("CH", "wrong_mode", start + 2 * day + 8 * HOUR_MS, start + 2 * day + 9 * HOUR_MS),
        Fault(
            "CH",
            "stuck_sensor",
            start + 2 * day + 13 * HOUR_MS,
            start + 2 * day + 14 * HOUR_MS,
            "compressor_current",
        ),
    ]
    simulation = FleetSimulation([FleetDevice("CH", "chiller")], seed=77, faults=faults)
    (readings,) = simulation.advance(span(start, 72, 60))
    index = pd.to_datetime(readings.times_ms, unit="ms", utc=True)
    frame = pd.DataFrame(readings.values, index=index, columns=list(readings.metric_names))
    return frame.iloc[:2880], frame.iloc[2880:], faults


class TestOnSimulatedMachines:
    @pytest.mark.parametrize("device_type", [None, "chiller"])
    def test_a_wrong_mode_and_a_stuck_sensor_are_found(self, chiller, device_type):
        train, test, faults = chiller
        scored = fit_detector(train, device_type=device_type).score(test)
        times_ms = test.index.as_unit("ms").asi8
        for fault in faults:
            inside = (times_ms >= fault.start_ms) & (times_ms < fault.end_ms)
            assert scored["is_anomalous"].to_numpy()[inside].any(), fault.kind
            if fault.metric:
                found = scored[inside & (scored["reason"] == "frozen").to_numpy()]
                assert set(found["top_metric"]) == {fault.metric}
        before = times_ms < faults[0].start_ms
        assert scored["is_anomalous"].to_numpy()[before].mean() < 0.02

    def test_a_rule_alarms_only_where_the_device_type_is_known(self, chiller):
        train, test, _ = chiller
        broken = test.iloc[:30].copy()
        broken.iloc[10:, broken.columns.get_loc("chilled_water_supply_temp")] = 36.0
        with_rules = fit_detector(train, device_type="chiller")
        assert with_rules.device_type == "chiller"
        assert with_rules.score(broken)["is_anomalous"].iloc[12:].all()
        assert fit_detector(train).device_type is None

    def test_run_hours_are_left_out(self):
        (readings,) = FleetSimulation([FleetDevice("AC", "air_compressor")], seed=4).advance(
            span(midnight("2026-07-06"), 10)
        )
        index = pd.to_datetime(readings.times_ms, unit="ms", utc=True)
        frame = pd.DataFrame(readings.values, index=index, columns=list(readings.metric_names))
        fitted = fit_detector(frame)
        assert "run_hours" not in fitted.metric_names
        assert "counter" in fitted.left_out["run_hours"]


class TestCausality:
    @settings(max_examples=15, deadline=None)
    @given(cut=st.integers(1, 299), seed=st.integers(0, 3), gaps=st.booleans(), missing=st.booleans())
    def test_scoring_a_prefix_gives_the_same_prefix(self, fitted, cut, seed, gaps, missing):
        generator = np.random.default_rng(seed)
        test = machine(300, seed=seed, phase=4500, start=START + pd.Timedelta(minutes=4500))
        test = faulty(faulty(test, "flow", 200.0, 60, 130), "power", 15.0, 180, 240)
        if gaps:
            test = test.drop(test.index[[*range(40, 55), *range(150, 190)]])
        if missing:
            test = test.mask(generator.random(test.shape) < 0.2)
        cut = min(cut, len(test))
        pd.testing.assert_frame_equal(
            fitted.score(test.iloc[:cut]),
            fitted.score(test).iloc[:cut],
            rtol=1e-6,
            atol=1e-6,  # distances are float32
        )

    def test_what_comes_later_changes_nothing(self, fitted, normal):
        changed = normal[1].copy()
        changed.iloc[300:] = -1e6
        pd.testing.assert_frame_equal(fitted.score(changed).iloc[:300], fitted.score(normal[1]).iloc[:300])

    def test_state_carries_on_where_the_training_ended(self, fitted, normal):
        following = fitted.score(normal[1].iloc[:50])
        elsewhere = fitted.score(normal[1].iloc[:50].set_axis(normal[1].index[:50] + pd.Timedelta(days=30)))
        assert not np.allclose(following["profile_similarity"], elsewhere["profile_similarity"])

    def test_state_does_not_carry_across_segments(self, fitted, normal):
        test = normal[1]
        labels = np.repeat(["a", "b"], 300)
        together = fitted.score(test, segments=labels)
        alone = fitted.score(test.iloc[300:], segments=labels[300:])
        pd.testing.assert_frame_equal(together.iloc[300:], alone)

    def test_interleaved_segments_are_scored_as_if_alone(self, fitted, normal):
        test = normal[1]
        test = test.set_axis(test.index + pd.Timedelta(days=1))
        labels = np.where(np.arange(600) % 2 == 0, "even", "odd")
        together = fitted.score(test, segments=labels)
        alone = fitted.score(test.iloc[1::2], segments=labels[1::2])
        pd.testing.assert_frame_equal(together.iloc[1::2], alone)

    def test_a_segment_of_another_name_does_not_carry_on(self, normal):
        train, test = normal
        fitted = fit_detector(train, segments=np.repeat("first", len(train)))
        same = fitted.score(test.iloc[:20], segments=np.repeat("first", 20))
        other = fitted.score(test.iloc[:20], segments=np.repeat("second", 20))
        assert not np.allclose(same["score"], other["score"])

    def test_records_may_overlap_in_time(self, normal):
        train, _ = normal
        twice = pd.concat([train, train])
        fitted = fit_detector(twice, segments=np.repeat([1, 2], len(train)))
        assert fitted.interval_ms == 60_000

    def test_a_gap_starts_afresh(self, fitted, normal):
        test = normal[1].drop(normal[1].index[100:130])
        with_gap = fitted.score(test).iloc[100:]
        fresh = fitted.score(test.iloc[100:])
        pd.testing.assert_frame_equal(with_gap, fresh)


class TestInvariance:
    @settings(max_examples=8, deadline=None)
    @given(
        factors=st.lists(st.floats(1e-3, 1e4), min_size=5, max_size=5),
        offsets=st.lists(st.floats(-1e3, 1e3), min_size=5, max_size=5),
    )
    def test_units_do_not_matter(self, factors, offsets):
        train, test = train_and_test(400, 120)
        test = faulty(test, "flow", 80.0, 60, 90)
        reference = fit_detector(train).score(test)
        changed = fit_detector(train * factors + offsets).score(test * factors + offsets)
        np.testing.assert_allclose(changed["score"], reference["score"], atol=0.02)
        assert (changed["is_anomalous"] == reference["is_anomalous"]).mean() > 0.98

    def test_the_order_of_columns_does_not_matter(self):
        train, test = train_and_test(400, 120)
        reversed_names = list(reversed(NAMES))
        a, b = fit_detector(train).score(test), fit_detector(train[reversed_names]).score(test)
        np.testing.assert_allclose(a["score"], b["score"], atol=1e-3)

    @pytest.mark.parametrize("interval", ["1s", "10s", "60s", "15min"])
    def test_any_interval_is_judged(self, interval):
        train, test = train_and_test(600, 200, interval=interval)
        scored = fit_detector(train).score(faulty(test, "power", 60.0, 100, 150))
        assert scored["is_anomalous"].iloc[100:150].any()
        assert scored["is_anomalous"].iloc[:100].mean() <= 0.02


class TestMissingReadings:
    @settings(max_examples=8, deadline=None)
    @given(share=st.floats(0.0, 0.3), seed=st.integers(0, 5))  # where 40 % are missing, 2 to 4 % of the rows alarm
    def test_missing_readings_neither_break_nor_alarm(self, fitted, normal, share, seed):
        generator = np.random.default_rng(seed)
        test = normal[1].mask(generator.random(normal[1].shape) < share)
        scored = fitted.score(test)
        heard = test.notna().any(axis=1)
        assert np.isfinite(scored["score"][heard]).all()
        assert scored["is_anomalous"].mean() <= 0.03

    def test_a_metric_that_falls_silent_leaves_the_others_judged(self, fitted, normal):
        test = faulty(normal[1], "power", 60.0)
        test["supply_temp"] = np.nan
        scored = fitted.score(test)
        assert scored["is_anomalous"].iloc[200:260].any()
        assert scored["is_anomalous"].iloc[:200].mean() <= 0.02
        assert scored["top_metric"].iloc[205] == "power"

    def test_a_row_without_readings_has_no_score_and_no_alarm(self, fitted, normal):
        test = faulty(normal[1], "power", 60.0)
        test.iloc[220] = np.nan
        scored = fitted.score(test)
        assert np.isnan(scored["score"].iloc[220])
        assert not scored["is_anomalous"].iloc[220]

    def test_training_with_gaps_in_every_metric_works(self, normal):
        train, test = normal
        holes = train.mask(np.random.default_rng(1).random(train.shape) < 0.2)
        assert fit_detector(holes).score(test)["is_anomalous"].mean() <= 0.02

    def test_infinite_readings_count_as_missing(self, fitted, normal):
        test = normal[1].copy()
        test.iloc[100, 0] = np.inf
        missing = normal[1].copy()
        missing.iloc[100, 0] = np.nan
        pd.testing.assert_series_equal(fitted.score(test)["score"], fitted.score(missing)["score"])

    def test_a_metric_known_too_seldom_is_left_out_with_the_reason(self, normal):
        train = normal[0].copy()
        train.iloc[: len(train) * 2 // 3, 2] = np.nan
        fitted = fit_detector(train)
        assert "flow" not in fitted.metric_names
        assert "half is needed" in fitted.left_out["flow"]

    def test_a_constant_metric_that_moves_is_found(self, normal):
        train, test = normal
        fitted = fit_detector(train.assign(alarm_status=0.0))
        moved = test.assign(alarm_status=0.0)
        moved.iloc[200:220, -1] = 1.0
        scored = fitted.score(moved)
        assert scored["is_anomalous"].iloc[201:220].all()
        assert set(scored["top_metric"].iloc[200:220]) == {"alarm_status"}
        assert scored["is_anomalous"].iloc[:200].mean() <= 0.01


class TestExplain:
    def test_the_faulty_metric_comes_first_with_its_expected_value(self, fitted, normal):
        row = normal[1].iloc[100].copy()
        truth = row["return_temp"]
        row["return_temp"] += 4.0
        explained = fitted.explain(row)
        assert explained.index[0] == "return_temp"
        assert explained.loc["return_temp", "direction"] == "high"
        assert explained.loc["return_temp", "expected"] == pytest.approx(truth, abs=1.0)
        assert set(explained.index) == set(NAMES)

    def test_a_normal_row_is_as_expected(self, fitted, normal):
        explained = fitted.explain(normal[1].iloc[100])
        assert (explained["direction"] == "as expected").all()

    def test_missing_readings_are_left_out(self, fitted, normal):
        row = normal[1].iloc[100].copy()
        row["flow"] = np.nan
        assert "flow" not in fitted.explain(row).index

    def test_a_row_of_something_else_is_refused(self, fitted):
        with pytest.raises(UnusableMetricsError, match=r"metrics\.iloc"):
            fitted.explain(pd.Series({"score": 3.0}))


class TestUnusableInput:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda f: f.to_numpy(), "must be a pandas DataFrame"),
            (lambda f: f.reset_index(drop=True), "DatetimeIndex"),
            (lambda f: f.tz_localize(None), "no timezone"),
            (lambda f: f.iloc[::-1], "after a later time"),
            (lambda f: pd.concat([f, f.iloc[-1:]]), "appears twice"),
            (lambda f: f.set_axis(["a", "a", "b", "c", "d"], axis=1), "'a' appears twice"),
            (lambda f: f.astype(str), "no numeric column"),
            (lambda f: f * np.nan, "no metric can be judged"),
            (lambda f: f * 0.0 + 3.0, "constant"),
            (lambda f: f.iloc[:10], "at least 50"),
            (lambda f: f.iloc[:0], "at least 50"),
            (lambda f: f.set_axis(f.index[0] + np.arange(len(f)) * pd.Timedelta(hours=2)), "1 s to 1 h"),
            (lambda f: f.set_axis(f.index.where(f.index != f.index[5])), "missing times"),
        ],
    )
    def test_training_is_refused_with_the_reason(self, normal, change, message):
        with pytest.raises(UnusableMetricsError, match=message):
            fit_detector(change(normal[0]))

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda f: f.drop(columns="flow"), "missing that the detector was fitted on: flow"),
            (lambda f: f.tz_localize(None), "no timezone"),
            (lambda f: f.iloc[::-1], "after a later time"),
        ],
    )
    def test_scoring_is_refused_with_the_reason(self, fitted, normal, change, message):
        with pytest.raises(UnusableMetricsError, match=message):
            fitted.score(change(normal[1]))

    def test_segments_must_label_every_row(self, fitted, normal):
        with pytest.raises(UnusableMetricsError, match="one label a row"):
            fitted.score(normal[1], segments=["a"])
        with pytest.raises(UnusableMetricsError, match="missing labels"):
            fitted.score(normal[1], segments=[None] * len(normal[1]))

    @pytest.mark.parametrize("budget", [0.0, -1.0, float("nan"), float("inf")])
    def test_a_budget_must_be_positive(self, normal, budget):
        with pytest.raises(UnusableMetricsError, match="must be positive"):
            fit_detector(normal[0], false_alarms_per_day=budget)

    def test_other_timezones_are_the_same_instants(self, fitted, normal):
        local = normal[1].tz_convert("Europe/Berlin")
        np.testing.assert_array_equal(fitted.score(local)["score"], fitted.score(normal[1])["score"])
