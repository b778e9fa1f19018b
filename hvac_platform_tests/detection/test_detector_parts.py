"""The parts of the detector, each against what defines it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvac_platform.detection.alarms import budget_limit, persistent_level, persists
from hvac_platform.detection.attribution import conditional_sigmas, imputed, pair_contributions, plausible
from hvac_platform.detection.frozen import fit_repetition, run_lengths
from hvac_platform.detection.holding import OFF_BY, holding_errors
from hvac_platform.detection.nearest import mean_nearest_distance, padded, state_embeddings
from hvac_platform.detection.observations import Stretch
from hvac_platform.detection.scaling import robust_scale
from hvac_platform.detection.smoothing import ewma, restarted
from hvac_platform.detection.surprise import fit_surprise, towards
from hvac_platform.detection.whitening import HOURS, MINUTES, fit_whitening, oas_shrinkage

RNG = np.random.default_rng


def recursion(values, weight, start):
    averaged, y = [], start
    for row in values:
        y = (1 - weight) * y + weight * row
        averaged.append(y)
    return np.array(averaged)


class TestSmoothing:
    @given(n=st.integers(1, 200), weight=st.floats(0.01, 1.0), seed=st.integers(0, 100))
    @settings(max_examples=30, deadline=None)
    def test_is_the_recursion(self, n, weight, seed):
        values, start = RNG(seed).normal(size=(n, 3)), RNG(seed + 1).normal(size=3)
        np.testing.assert_allclose(ewma(values, weight, start), recursion(values, weight, start), atol=1e-12)

    def test_a_restart_forgets_what_came_before(self):
        values = RNG(0).normal(size=(80, 2))
        values[:30] += 1000.0
        restarts = np.arange(80) == 30
        anew = restarted(ewma(values, 0.1, np.zeros(2)), 0.1, restarts, np.zeros(2))
        weights = 0.9 ** np.arange(19, -1, -1)
        np.testing.assert_allclose(anew[49], weights @ values[30:50] / weights.sum(), atol=1e-8)
        np.testing.assert_allclose(anew[30], values[30], atol=1e-8)

    def test_only_the_latest_restart_counts(self):
        values = RNG(1).normal(size=(60, 1))
        plain = ewma(values, 0.2, np.zeros(1))
        rows = np.arange(60)
        twice = restarted(plain, 0.2, np.isin(rows, [10, 40]), np.zeros(1))
        once = restarted(plain, 0.2, rows == 40, np.zeros(1))
        np.testing.assert_allclose(twice[40:], once[40:])


class TestScale:
    def test_is_one_sigma_for_normal_readings(self):
        scale = robust_scale(RNG(0).normal(10.0, 3.0, size=(20_000, 1)))
        assert scale.centre[0] == pytest.approx(10.0, abs=0.1)
        assert scale.spread[0] == pytest.approx(3.0, rel=0.03)

    def test_what_it_is_given_stays_as_it_is(self):
        for values in (RNG(0).normal(size=(2000, 1)), np.asfortranarray(RNG(0).normal(size=(2000, 3)))):
            before = values.copy()
            robust_scale(values)
            np.testing.assert_array_equal(values, before)

    def test_five_per_cent_of_outliers_hardly_move_it(self):
        values = RNG(0).normal(10.0, 3.0, size=(2000, 1))
        values[:100] = 500.0
        scale = robust_scale(values)
        assert scale.centre[0] == pytest.approx(10.0, abs=0.3)
        assert scale.apply(values)[0, 0] > 3.0

    def test_a_metric_that_mostly_rests_keeps_a_scale(self):
        values = np.zeros((1000, 1))
        values[::10] = 50.0
        assert robust_scale(values).spread[0] == pytest.approx(15.0, rel=0.01)

    def test_a_declared_range_steadies_a_short_history(self):
        few = np.array([[20.0], [20.1], [20.05]])
        alone = robust_scale(few)
        declared = robust_scale(few, np.array([0.0]), np.array([60.0]))
        assert alone.spread[0] < 0.1
        assert 5.0 < declared.spread[0] < 10.0
        assert 20.05 < declared.centre[0] < 30.0


class TestWhitening:
    def test_normal_states_get_unit_covariance(self):
        mixing = RNG(1).normal(size=(4, 4))
        features = RNG(0).normal(size=(20_000, 4)) @ mixing
        white = fit_whitening(features).apply(features)
        np.testing.assert_allclose(np.cov(white.T), np.eye(4), atol=0.12)

    def test_faulty_rows_in_the_training_stay_odd(self):
        features = RNG(0).normal(size=(4000, 3)) @ np.array([[1.0, 0.99, 0.0], [0.0, 0.1, 0.0], [0.0, 0.0, 1.0]])
        clean = fit_whitening(features)
        dirty = features.copy()
        dirty[1000:1120, 0] += 1.5  # three per cent: against the correlation, not beyond the range
        fitted = fit_whitening(dirty)
        distance = np.linalg.norm(fitted.apply(dirty[1000:1120]), axis=1)
        expected = np.linalg.norm(clean.apply(dirty[1000:1120]), axis=1)
        assert np.median(distance) > 0.7 * np.median(expected)

    def test_what_wandered_from_day_to_day_counts_less_and_the_rest_as_before(self):
        generator = np.random.default_rng(8)
        weather = np.repeat(generator.normal(size=7), 300)
        features = generator.normal(size=(2100, 3)) + np.column_stack([weather, weather, np.zeros(2100)])
        odd = np.array([[6.0, 6.0, 0.0], [6.0, -6.0, 0.0], [0.0, 0.0, 6.0]])
        near, far = (np.linalg.norm(fit_whitening(features, drift).apply(odd), axis=1) for drift in (MINUTES, HOURS))
        assert far[0] < near[0] / 2  # both move together, as they did
        assert far[1:] == pytest.approx(near[1:], rel=0.25)

    def test_shrinkage_falls_with_rows_and_is_full_for_a_multiple_of_the_identity(self):
        sample = np.cov(RNG(0).normal(size=(50, 6)).T)
        assert oas_shrinkage(sample, 10) > oas_shrinkage(sample, 1000)
        assert oas_shrinkage(np.eye(5), 100) == 1.0

    def test_rounding_of_a_still_feature_is_not_its_unit(self):
        generator = np.random.default_rng(8)
        features = generator.normal(size=(400, 3))
        features[:, 2] = 1e-16 * generator.normal(size=400)
        whitening = fit_whitening(features)
        typical, rounded = np.zeros((1, 3)), np.array([[0.0, 0.0, 1e-15]])
        np.testing.assert_allclose(whitening.apply(rounded), whitening.apply(typical), atol=1e-9)
        assert np.linalg.norm(whitening.apply(np.array([[0.0, 0.0, 1.0]]))) > 10.0


class TestSurprise:
    @given(seed=st.integers(0, 50), scale=st.floats(0.01, 100.0))
    @settings(max_examples=20, deadline=None)
    def test_is_the_logarithm_of_the_share_of_normal_rows_beyond(self, seed, scale):
        normal = scale * RNG(seed).gamma(3.0, size=5000)
        surprise = fit_surprise(normal).of(np.quantile(normal, [0.5, 0.8, 0.9, 0.99]))
        np.testing.assert_allclose(surprise[:3], -np.log10([0.5, 0.2, 0.1]), atol=0.05)
        assert surprise[3] == pytest.approx(2.0, abs=0.5)

    @given(seed=st.integers(0, 50))
    @settings(max_examples=20, deadline=None)
    def test_never_falls_as_the_statistic_rises(self, seed):
        calibrated = fit_surprise(RNG(seed).exponential(size=300))
        assert (np.diff(calibrated.of(np.linspace(0, 50, 400))) >= -1e-12).all()

    def test_of_a_group_is_its_own_with_many_rows_and_that_of_all_with_few(self):
        overall = fit_surprise(np.random.default_rng(1).exponential(size=20_000))
        within = fit_surprise(np.random.default_rng(2).exponential(size=20_000) / 10.0)
        bodies = [towards(within, overall, rows).body[50] for rows in (0, 1000, 10**12)]
        assert bodies == pytest.approx([overall.body[50], (overall.body[50] * within.body[50]) ** 0.5, within.body[50]])
        shapes = [towards(within, overall, rows).shape for rows in (0, 10**12)]
        assert shapes == pytest.approx([overall.shape, within.shape])

    def test_faults_among_the_normal_data_leave_faults_surprising(self):
        clean = np.abs(RNG(0).normal(size=3000)) + 1.0
        dirty = clean.copy()
        dirty[:90] = 30.0
        assert fit_surprise(dirty).of(np.array([30.0]))[0] > 5.0


class TestAlarms:
    def test_one_odd_row_does_not_alarm_and_a_gross_one_does(self):
        assert not persists(np.array([0.0, 3.0, 0.0]), 2.0, np.zeros(2)).any()
        assert persists(np.array([0.0, 4.5, 0.0]), 2.0, np.zeros(2)).tolist() == [False, True, False]

    def test_rows_before_the_first_count(self):
        assert persists(np.array([3.0]), 2.0, np.array([3.0, 0.0])).tolist() == [True]

    @given(seed=st.integers(0, 100), limit=st.floats(0.5, 4.0))
    @settings(max_examples=30, deadline=None)
    def test_the_level_is_the_limit_at_which_a_row_just_alarms(self, seed, limit):
        surprise = RNG(seed).exponential(size=60)
        level = persistent_level(surprise, (Stretch(0, 60, None),))
        np.testing.assert_array_equal(persists(surprise, limit, np.zeros(2)), level > limit)

    @pytest.mark.parametrize("budget", [0.5, 2.0])
    def test_normal_data_alarm_as_often_as_the_budget_allows(self, budget):
        days = 100
        learned, later = (-np.log10(RNG(seed).random(days * 1440)) for seed in (1, 2))
        whole = (Stretch(0, days * 1440, None),)
        limit = budget_limit(persistent_level(learned, whole), 60_000, budget)
        alarms = persists(later, limit, np.zeros(2))
        episodes = (alarms[1:] & ~alarms[:-1]).sum() / days
        assert budget / 3 < episodes < budget * 3


class TestAttribution:
    COVARIANCE = np.array([[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 4.0]])
    PRECISION = np.linalg.inv(COVARIANCE)

    def test_conditional_deviations_are_those_of_regression(self):
        # x0 given x1 = 2: expectation 1.8, standard deviation √(1 - 0.81)
        sigmas = conditional_sigmas(np.array([[0.0, 2.0, 0.0]]), self.PRECISION)
        assert sigmas[0, 0] == pytest.approx((0.0 - 1.8) / np.sqrt(0.19))
        assert sigmas[0, 2] == pytest.approx(0.0)

    def test_unknown_features_become_what_the_others_imply(self):
        filled = imputed(np.array([[99.0, 2.0, 1.0]]), self.PRECISION, np.array([[True, False, False]]))
        np.testing.assert_allclose(filled, [[1.8, 2.0, 1.0]])

    def test_an_outlying_feature_is_replaced_and_the_rest_is_left(self):
        states = np.array([[0.5, 0.4, 0.1], [0.5, 0.4, 60.0]])
        result, replaced = plausible(states, self.PRECISION)
        assert replaced.tolist() == [0, 1]
        np.testing.assert_allclose(result, [[0.5, 0.4, 0.1], [0.5, 0.4, 0.0]], atol=1e-9)

    def test_a_pairs_contribution_is_what_t2_falls_by_without_it(self):
        mixing = RNG(3).normal(size=(4, 4))
        covariance = mixing @ mixing.T + np.eye(4)
        precision, y = np.linalg.inv(covariance), RNG(4).normal(size=(1, 4))
        rest = [1, 3]  # without metric 0, whose features are 0 and 2
        without = y[:, rest] @ np.linalg.inv(covariance[np.ix_(rest, rest)]) @ y[:, rest].T
        fall = float((y @ precision @ y.T - without)[0, 0])
        assert pair_contributions(y, precision)[0, 0] == pytest.approx(np.sqrt(fall))


class TestFrozen:
    def test_runs_count_equal_readings_and_end_at_missing_ones_and_stretches(self):
        values = np.array([[1.0], [1.0], [np.nan], [1.0], [1.0], [2.0]])
        stretches = (Stretch(0, 4, None), Stretch(4, 6, None))
        runs = run_lengths(values, stretches, np.array([3]), np.array([1.0]))
        assert runs.ravel().tolist() == [4, 5, 0, 1, 1, 1]

    def test_a_live_sensor_that_repeats_is_surprising_and_a_resting_one_is_not(self):
        live = np.round(RNG(0).normal(20.0, 1.0, size=2000), 1)
        resting = np.where(np.arange(2000) % 400 < 200, 0.0, np.round(RNG(1).normal(50, 2, size=2000), 1))
        setpoint = np.repeat(RNG(2).integers(18, 24, size=4), 500).astype(float)
        values = np.column_stack([live, resting, setpoint])
        whole = (Stretch(0, 2000, None),)
        none = np.zeros(3, dtype=np.int64)
        repetition = fit_repetition(values, run_lengths(values, whole, none, np.full(3, np.nan)))
        held = np.tile([20.3, 0.0, 20.0], (15, 1))
        runs = run_lengths(held, (Stretch(0, 15, None),), none, np.full(3, np.nan))
        surprise = repetition.surprise(held, runs)[-1]
        assert surprise[0] > 6.0
        assert surprise[1:].tolist() == [0.0, 0.0]

    def test_a_coarse_reading_may_hold_where_it_never_was(self):
        slow = 20.0 + np.cumsum(RNG(0).normal(0.0, 0.05, size=4320))
        coarse = np.round(slow) + np.where(np.arange(4320) % 3 == 0, RNG(1).integers(-1, 2, size=4320) / 6, 0.0)
        coarse[:-1][np.abs(np.diff(slow)) < 0.08] = np.round(slow[:-1][np.abs(np.diff(slow)) < 0.08])
        none, unknown = np.zeros(1, dtype=np.int64), np.full(1, np.nan)
        whole = (Stretch(0, 4320, None),)
        repetition = fit_repetition(coarse[:, None], run_lengths(coarse[:, None], whole, none, unknown))
        beyond = np.full((90, 1), coarse.max() + 1.0)
        runs = run_lengths(beyond, (Stretch(0, 90, None),), none, unknown)
        assert repetition.surprise(beyond, runs).max() == 0.0
        assert len(repetition.resting[0]) == 2

    def test_a_machine_with_three_levels_rests_at_each(self):
        level = np.repeat(np.tile([0.0, 50.0, 100.0, 50.0], 5), 100)
        moving = np.where(np.arange(2000) % 100 < 60, level, np.round(RNG(0).uniform(0.0, 100.0, size=2000), 1))
        none, unknown = np.zeros(1, dtype=np.int64), np.full(1, np.nan)
        repetition = fit_repetition(
            moving[:, None], run_lengths(moving[:, None], (Stretch(0, 2000, None),), none, unknown)
        )
        assert {0.0, 50.0, 100.0} <= set(repetition.resting[0].tolist())


def sent_on_change(readings, step):
    """What a log has of readings that are sent when they have moved by a step."""
    held = [readings[0]]
    for reading in readings[1:]:
        held.append(reading if abs(reading - held[-1]) > step else held[-1])
    return np.array(held)


class TestHolding:
    def test_what_hardly_varies_and_is_sent_on_change_may_be_off_by_a_part_of_its_step(self):
        flow = sent_on_change(np.round(RNG(0).normal(830.0, 4.0, size=10_000)), 12.0)
        (error,) = holding_errors(flow[:, None])
        assert OFF_BY * 12.0 <= error <= OFF_BY * 18.0

    @pytest.mark.parametrize(
        "column",
        [
            RNG(1).normal(830.0, 4.0, size=10_000),  # sent as it is
            sent_on_change(np.cumsum(RNG(2).normal(0.0, 1.0, size=10_000)), 4.0),  # it goes far beyond its step
            (np.arange(10_000) % 900 < 10).astype(float),  # a status
            np.full(10_000, 72.0),
            np.full(10_000, np.nan),
        ],
        ids=["not held", "moves far", "status", "constant", "unknown"],
    )
    def test_other_metrics_show_where_they_go(self, column):
        assert holding_errors(column[:, None]).tolist() == [0.0]


class TestNearest:
    def test_the_cosine_to_the_centre_is_mahalanobis_distance(self):
        white = RNG(0).normal(size=(50, 6))
        vectors = state_embeddings(white, np.zeros(50, dtype=np.int64), clock=False)
        squared = (white**2).sum(axis=1)
        np.testing.assert_allclose(vectors[:, 0], np.sqrt(6) / np.sqrt(6 + squared), rtol=1e-5)

    def test_vectors_are_of_unit_length_and_padding_keeps_cosines(self):
        vectors = state_embeddings(RNG(0).normal(size=(20, 6)), np.arange(20) * 3_600_000, clock=True)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)
        wide = padded(vectors)
        assert wide.shape == (20, 384)
        np.testing.assert_allclose(wide @ wide.T, vectors @ vectors.T, atol=1e-6)

    def test_more_metrics_than_the_index_holds_are_refused(self):
        with pytest.raises(ValueError, match="384"):
            padded(np.zeros((1, 400), dtype=np.float32))

    def test_is_the_mean_over_the_five_nearest(self):
        vectors = state_embeddings(RNG(0).normal(size=(40, 4)), np.zeros(40, dtype=np.int64), clock=False)
        cosine = np.sort(1.0 - vectors[:3] @ vectors[3:].T, axis=1)[:, :5].mean(axis=1)
        np.testing.assert_allclose(mean_nearest_distance(vectors[:3], vectors[3:]), cosine, atol=1e-6)
