"""What every detection method does, whatever it computes; a class that passes it is a method."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest

from hvac_platform.detection import fit_detector
from hvac_platform.detection.learned import frame_of
from hvac_platform.detection.methods.base import Due, Method, Windows
from hvac_platform.detection.neighbours import AVERAGED, mean_distance
from hvac_platform.detection.profile import Profile, build_profile
from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.devices.registry import device_type
from hvac_platform.embedding.learned import LearnedEncoder
from hvac_platform.embedding.state import StateEncoder
from hvac_platform.simulation.fleet_simulation import FleetSimulation
from hvac_platform.snapshots import Neighbours, SnapshotSeries, select
from hvac_platform.stores.vectors import NearestSearch
from hvac_platform_tests.conftest import HOUR_MS, MINUTE_MS

START_MS = 1_783_296_000_000  # 2026-07-06
TRAINED_HOURS, JUDGED_HOURS = 36, 6
CHILLER = device_type("chiller")


@dataclass(frozen=True)
class Past:
    """The device's own normal states, in memory."""

    normal: SnapshotSeries

    def nearest_normal(self, embeddings, times_ms, k) -> Neighbours:
        search = NearestSearch(embeddings, k, query_times_ms=times_ms, exclude_ms=30 * MINUTE_MS)
        flags = np.zeros(len(self.normal), dtype=bool)
        return search.add(self.normal.times_ms, self.normal.embeddings, flags).result()


@dataclass(frozen=True)
class Case:
    """A device with what it was trained on, and hours to judge; in the fourth its chilled water is nearly freezing."""

    series: SnapshotSeries
    trained: int
    profile: Profile
    past: Past

    def windows(self, first: int, until: int, profile: Profile | None = None, **changes) -> Windows:
        """To judge: rows [first, until) after the training, with all that came before."""
        series = select(self.series, slice(0, self.trained + until))
        chosen = np.arange(self.trained + first, self.trained + until)
        known = {"device_type": CHILLER, "profile": self.profile if profile is None else profile} | changes
        return Windows(series, chosen, encode=StateEncoder().encode, **known)


@cache
def made_case() -> Case:
    times = np.arange(START_MS, START_MS + (TRAINED_HOURS + JUDGED_HOURS) * HOUR_MS, MINUTE_MS)
    (found,) = FleetSimulation([FleetDevice("CH", "chiller")], seed=11).advance(times)
    ones = np.ones(found.values.shape, dtype=np.int64)
    values = found.values.copy()
    fault = slice((TRAINED_HOURS + 3) * 60, (TRAINED_HOURS + 4) * 60)
    values[fault, found.metric_names.index("chilled_water_supply_temp")] = 35.0  # near freezing: a limit, and unusual
    series = SnapshotSeries("CH", "chiller", times, tuple(found.metric_names), values, ones, values, values, values)
    trained = TRAINED_HOURS * 60
    normal = select(series, slice(0, trained))
    detector = fit_detector(frame_of(normal), device_type="chiller")
    encoder = LearnedEncoder(detector)
    normal = replace(normal, embeddings=encoder.encode(normal))
    past = Past(normal)
    distances = mean_distance(past.nearest_normal(normal.embeddings, normal.times_ms, AVERAGED))
    profile = build_profile(normal, distances, embedding_method=encoder.method, device_type=CHILLER, detector=detector)
    return Case(series, trained, profile, past)


def same(found, other) -> None:
    assert found.method == other.method
    assert found.times_ms.tolist() == other.times_ms.tolist()
    assert found.anomalous.tolist() == other.anomalous.tolist()
    assert found.level.tolist() == other.level.tolist()
    np.testing.assert_allclose(found.score, other.score, rtol=1e-5, atol=1e-5)
    assert [bool(r) for r in found.reasons] == [bool(r) for r in other.reasons]


class MethodContract:
    """Subclasses have a fixture ``method``."""

    @pytest.fixture
    def case(self) -> Case:
        return made_case()

    def test_it_has_a_name_and_looks(self, method: Method):
        assert method.name == method.name.lower()
        assert " " not in method.name
        assert method.speaks_of in ("limits", "normal")
        assert method.color.startswith("#")
        assert len(method.color) == 7

    def test_its_context_begins_at_or_before_what_is_judged(self, method: Method, case: Case):
        start = START_MS + TRAINED_HOURS * HOUR_MS
        for profile in (None, case.profile):
            for declared in (None, CHILLER):
                assert method.context_start(Due(start, MINUTE_MS, declared, profile)) <= start

    def test_a_verdict_has_a_row_a_window_and_says_why_where_it_alarms(self, method: Method, case: Case):
        found, _ = method.judge(case.windows(0, 360), case.past, None)
        assert found.method == method.name
        assert found.times_ms.tolist() == case.series.times_ms[case.trained :].tolist()
        assert np.isfinite(found.score).all()
        assert (found.score >= 0).all()
        assert (found.level[found.anomalous] > 0).all()
        assert not found.level[~found.anomalous].any()
        assert [bool(reasons) for reasons in found.reasons] == found.anomalous.tolist()

    def test_a_fault_is_found_and_what_was_before_it_is_not(self, method: Method, case: Case):
        found, _ = method.judge(case.windows(0, 360), case.past, None)
        assert found.anomalous[:180].mean() < 0.05
        assert found.anomalous[180:240].any()

    def test_it_is_deterministic(self, method: Method, case: Case):
        windows = case.windows(100, 300)
        same(method.judge(windows, case.past, None)[0], method.judge(windows, case.past, None)[0])

    def test_it_is_causal(self, method: Method, case: Case):
        """What comes later changes nothing."""
        whole, _ = method.judge(case.windows(150, 300), case.past, None)
        early, _ = method.judge(case.windows(150, 230), case.past, None)
        same(whole.take(np.arange(80)), early)

    def test_split_with_its_state_carried_is_the_whole(self, method: Method, case: Case):
        whole, _ = method.judge(case.windows(150, 260), case.past, None)
        state = None
        for first, until in ((150, 151), (151, 190), (190, 240), (240, 260)):
            found, state = method.judge(case.windows(first, until), case.past, state)
            same(whole.take(np.arange(first - 150, until - 150)), found)

    def test_it_needs_no_more_than_the_context_that_it_states(self, method: Method, case: Case):
        whole, _ = method.judge(case.windows(200, 260), case.past, None)
        windows = case.windows(200, 260)
        begin = method.context_start(Due(int(windows.times_ms[0]), MINUTE_MS, CHILLER, case.profile))
        skipped = int(np.searchsorted(windows.series.times_ms, begin))
        less = replace(windows, series=select(windows.series, slice(skipped, None)), chosen=windows.chosen - skipped)
        same(whole, method.judge(less, case.past, None)[0])

    def test_without_a_type_and_a_profile_it_is_silent(self, method: Method, case: Case):
        windows = replace(case.windows(0, 360), device_type=None, profile=None)
        found, _ = method.judge(windows, case.past, None)
        assert not found.anomalous.any()
        assert not found.score.any()

    def test_windows_without_a_reading_do_not_alarm(self, method: Method, case: Case):
        windows = case.windows(0, 60)
        values, count = windows.series.mean.copy(), windows.series.count.copy()
        values[windows.chosen[20:40]], count[windows.chosen[20:40]] = np.nan, 0
        silent = dict.fromkeys(("mean", "minimum", "maximum", "last"), values) | {"count": count}
        found, _ = method.judge(replace(windows, series=replace(windows.series, **silent)), case.past, None)
        assert not found.anomalous[22:40].any()
