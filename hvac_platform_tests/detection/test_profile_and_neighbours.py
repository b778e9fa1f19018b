"""Profile similarity and vector search on synthetic machines: silent on normal days, loud on strange ones, and why."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest

from hvac_platform.detection.neighbours import judge_neighbours, mean_distance
from hvac_platform.detection.profile import (
    Calibration,
    TooFewSnapshotsError,
    build_profile,
    judge_profile,
    provisional_profile,
    sigmas,
    similarity_to,
)
from hvac_platform.devices.registry import device_type, device_types
from hvac_platform.embedding.state import StateEncoder
from hvac_platform.monitoring.profiles import profile_of, stored_profile
from hvac_platform.snapshots import Neighbours, SnapshotSeries
from hvac_platform.stores.base import Device
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.vectors import NearestSearch
from hvac_platform_tests.detection.reading_reasons import contradictions

WINDOW_MS = 60_000
DAY_WINDOWS = 1440
NAMES = ("load", "temperature", "vibration")


def machine(windows=DAY_WINDOWS, seed=0, first=0, embedded=True, **changes):
    """A machine that follows its load over the day; changes are added to a metric."""
    generator = np.random.default_rng(seed)
    times = (first + np.arange(windows)) * WINDOW_MS
    load = 50 + 20 * np.sin(2 * np.pi * times / 86_400_000)
    mean = np.column_stack([load, 60 + load / 5, 1 + load / 100]) * (1 + generator.normal(0, 0.005, (windows, 3)))
    for name, change in changes.items():
        mean[:, NAMES.index(name)] += change
    series = SnapshotSeries(
        "lathe", "lathe", times, NAMES, mean, np.ones(mean.shape, dtype=np.int64), mean, mean, mean, WINDOW_MS
    )
    vectors = StateEncoder().encode(series) if embedded else None
    return SnapshotSeries(
        **{name: getattr(series, name) for name in series.__slots__ if name != "embeddings"}, embeddings=vectors
    )


def neighbours_of(series, history, k=10, **options):
    flags = np.zeros(len(history), dtype=bool)
    return NearestSearch(series.embeddings, k, **options).add(history.times_ms, history.embeddings, flags).result()


@pytest.fixture(scope="module")
def history():
    return machine()


@pytest.fixture(scope="module")
def learned(history):
    found = neighbours_of(history, history, 5, query_times_ms=history.times_ms, exclude_ms=30 * WINDOW_MS)
    return build_profile(history, mean_distance(found), embedding_method="state-1")


# -- the profile itself -------------------------------------------------------------------------------------------------


def test_a_profile_says_what_it_rests_on(history, learned):
    assert (learned.device_id, learned.embedding_method, learned.snapshot_count) == ("lathe", "state-1", DAY_WINDOWS)
    assert (learned.span_start, learned.span_end) == (0, DAY_WINDOWS * WINDOW_MS)
    assert np.linalg.norm(learned.centroid) == pytest.approx(1.0, abs=1e-6)
    assert not learned.provisional
    for j, name in enumerate(NAMES):
        stats, values = learned.metric_stats[name], history.mean[:, j]
        assert stats.mean == pytest.approx(values.mean())
        assert stats.std == pytest.approx(values.std())
        assert (stats.min, stats.max) == (values.min(), values.max())


def test_the_version_is_of_the_content(history, learned, tmp_path):
    again = build_profile(history, np.zeros(DAY_WINDOWS), embedding_method="state-1")
    assert learned.version == build_like(learned, tmp_path).version
    assert again.version != learned.version  # other distances give another limit
    assert 0 < learned.version < 2**63


def build_like(profile, folder):
    """The profile as it comes back from its record."""
    device = Device(profile.device_id, "", "", "", 0, 0, 0)
    return profile_of(stored_profile(EmbeddedStore(folder / "store.db"), device, profile))


def test_too_few_snapshots_or_none_with_a_vector_are_refused():
    with pytest.raises(TooFewSnapshotsError, match="lathe: 4 normal snapshots with an embedding, 5 are needed"):
        build_profile(machine(4), np.zeros(4), embedding_method="m")
    with pytest.raises(TooFewSnapshotsError):
        build_profile(machine(50, embedded=False), np.zeros(50), embedding_method="m")


def test_five_snapshots_are_enough():
    profile = build_profile(machine(5), np.zeros(5), embedding_method="m")
    assert all(np.isfinite(list(asdict(profile.calibration).values())))
    assert not judge_profile(machine(5), profile).anomalous.any()


def test_a_constant_metric_does_not_alarm_on_its_resolution():
    steady = machine(200)
    steady.mean[:, 2] = 5.0
    profile = build_profile(steady, np.zeros(200), embedding_method="m")
    assert profile.metric_stats["vibration"].std == 0
    steady.mean[:, 2] = 5.05  # 1 %, two of the smallest sigmas
    assert np.abs(sigmas(steady, profile)[:, 2]) == pytest.approx(2.0)


def test_an_absent_metric_counts_for_nothing():
    profile = build_profile(machine(200), np.zeros(200), embedding_method="m")
    holed = machine(200)
    holed.mean[::2, 1] = np.nan
    z = sigmas(holed, profile)
    assert np.isfinite(z).all()
    assert not z[::2, 1].any()


# -- profile similarity -------------------------------------------------------------------------------------------------


def test_another_normal_day_stays_within_the_budget(learned):
    verdicts = judge_profile(machine(seed=1, first=DAY_WINDOWS), learned)
    assert verdicts.method == "profile"
    assert verdicts.anomalous.mean() < 5 / DAY_WINDOWS
    assert (verdicts.score >= 0).all()
    assert not any(verdicts.reasons[i] for i in np.flatnonzero(~verdicts.anomalous))
    assert set(verdicts.level[~verdicts.anomalous]) == {0}


def test_a_metric_far_from_its_usual_alarms_and_is_named_first(learned):
    verdicts = judge_profile(machine(60, seed=2, temperature=40.0), learned)
    assert verdicts.anomalous.all()
    assert {names[0] for names in verdicts.metrics} == {"temperature"}
    assert all("is usual" in reasons[0] for reasons in verdicts.reasons)
    assert [found for reasons in verdicts.reasons for reason in reasons for found in contradictions(reason)] == []
    assert set(verdicts.level) <= {3, 4}


def test_the_further_the_worse(learned):
    scores = [judge_profile(machine(60, temperature=by), learned).score.mean() for by in (0.0, 10.0, 20.0, 40.0)]
    assert scores == sorted(scores)
    assert scores[0] < 1 < scores[-1]


def test_fixed_limits_take_the_place_of_calibrated_ones(learned):
    normal = machine(60, seed=3)
    assert judge_profile(normal, learned.with_limits(similarity=1.0)).anomalous.all()
    assert not judge_profile(normal, learned.with_limits(similarity=-1.0, sigma=1e9)).anomalous.any()
    assert learned.with_limits().calibration == learned.calibration
    assert learned.with_limits(0.85, 3.0).calibration.neighbour_distance == learned.calibration.neighbour_distance


def test_without_vectors_sigma_alone_judges(learned):
    assert judge_profile(machine(60, embedded=False, temperature=60.0), learned).anomalous.all()
    assert not judge_profile(machine(60, embedded=False), learned).anomalous.any()
    assert np.isnan(similarity_to(machine(3, embedded=False), learned)).all()


def test_no_snapshots_are_no_verdicts(learned):
    assert len(judge_profile(machine(0, embedded=False), learned).score) == 0


@pytest.mark.parametrize("name", sorted(device_types()))
def test_a_provisional_profile_calls_the_middle_of_the_ranges_normal_and_the_far_end_not(name):
    declared = device_type(name)
    profile = provisional_profile("d", declared, "state-1", StateEncoder().encode)
    assert profile.provisional
    assert profile.version == 0
    assert profile.calibration == Calibration(similarity=-1.0)
    ranges = [declared.point(n).normal or (0.0, 0.0) for n in declared.metric_names]
    middle = np.array([[(low + high) / 2 for low, high in ranges]] * 3)
    far = middle.copy()
    j = next(j for j, (low, high) in enumerate(ranges) if high > low)
    far[:, j] = ranges[j][1] + 5 * (ranges[j][1] - ranges[j][0])

    def judged(mean):
        times, count = np.arange(3) * WINDOW_MS, np.ones(mean.shape, dtype=np.int64)
        series = SnapshotSeries("d", name, times, declared.metric_names, mean, count, mean, mean, mean)
        return judge_profile(series, profile)

    assert not judged(middle).anomalous.any()
    assert judged(far).anomalous.all()
    assert judged(far).metrics[0][0] == declared.metric_names[j]
    assert "provisional" in judged(far).reasons[0][0]


# -- vector search ------------------------------------------------------------------------------------------------------


def test_the_mean_distance_is_of_the_nearest_five_and_needs_three():
    similarity = np.array([[0.9, 0.8, 0.7, 0.6, 0.5, 0.1], [1.0, 0.9, np.nan, np.nan, np.nan, np.nan]])
    found = Neighbours(np.zeros((2, 6), dtype=np.int64), similarity, np.zeros((2, 6), dtype=bool))
    assert mean_distance(found).tolist() == [pytest.approx(0.3), np.inf]


def test_states_that_were_seen_before_are_normal_to_vector_search(history, learned):
    tomorrow = machine(seed=4, first=DAY_WINDOWS)
    verdicts = judge_neighbours(tomorrow, neighbours_of(tomorrow, history), learned)
    assert verdicts.method == "vector"
    assert verdicts.anomalous.mean() < 5 / DAY_WINDOWS


def test_a_combination_never_seen_is_novel_though_each_metric_is_in_its_range(history, learned):
    """Low load with the temperature of high load: no metric is out of range, the state is."""
    strange = machine(60, seed=5, first=DAY_WINDOWS)
    strange.mean[:, 0], strange.mean[:, 1] = 32.0, 73.5
    strange = SnapshotSeries(
        **{n: getattr(strange, n) for n in strange.__slots__ if n != "embeddings"},
        embeddings=StateEncoder().encode(strange),
    )
    ranges = learned.metric_stats
    assert all(ranges[n].min <= v <= ranges[n].max for n, v in zip(NAMES[:2], strange.mean[0, :2], strict=True))
    verdicts = judge_neighbours(strange, neighbours_of(strange, history), learned)
    assert verdicts.anomalous.all()
    assert verdicts.reasons[0][0].startswith(
        "0 of 10 nearest normal states are as close as usual; the nearest was 1970"
    )


def test_a_history_without_enough_normal_states_says_nothing_of_a_state(learned):
    few = machine(2)
    verdicts = judge_neighbours(few, neighbours_of(few, few), learned)
    assert not verdicts.anomalous.any()
    assert verdicts.score.tolist() == [0.0, 0.0]


def test_an_empty_history_is_silent(learned):
    series = machine(3)
    absent = Neighbours(np.full((3, 10), -1), np.full((3, 10), np.nan), np.zeros((3, 10), dtype=bool))
    verdicts = judge_neighbours(series, absent, learned)
    assert not verdicts.anomalous.any()
    assert verdicts.reasons == [(), (), ()]


def test_states_far_from_a_sufficient_history_are_novel(history, learned):
    strange = machine(5, seed=9)
    opposite = replace(strange, embeddings=-strange.embeddings)
    verdicts = judge_neighbours(opposite, neighbours_of(opposite, history), learned)
    assert verdicts.anomalous[1:].all()
    assert verdicts.reasons[1][0].startswith("0 of 10 nearest normal states")


def test_a_search_by_blocks_is_a_search_over_all(history):
    queries = machine(20, seed=6)
    whole = neighbours_of(queries, history, query_times_ms=queries.times_ms, exclude_ms=5 * WINDOW_MS)
    search = NearestSearch(queries.embeddings, 10, query_times_ms=queries.times_ms, exclude_ms=5 * WINDOW_MS)
    for rows in np.array_split(np.arange(len(history)), 31):
        search.add(history.times_ms[rows], history.embeddings[rows], np.zeros(len(rows), dtype=bool))
    blocks = search.result()
    np.testing.assert_allclose(blocks.similarity, whole.similarity, atol=1e-6)
    assert (np.abs(blocks.times_ms - queries.times_ms[:, None]) >= 5 * WINDOW_MS).all()
