"""Every method of the platform passes the contract, and so does one that a reader of the docs would write."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest

from hvac_platform.detection import methods
from hvac_platform.detection.calibration import persistent
from hvac_platform.detection.consensus import compare
from hvac_platform.detection.methods.base import Due, History, Windows
from hvac_platform.detection.verdicts import Verdicts, nothing
from hvac_platform.snapshots import select
from hvac_platform_tests.detection.methods.contract import Case, MethodContract, same


class SeasonalNaive:
    """Yesterday at this time, give or take: the simplest forecast there is (Hyndman and Athanasopoulos 2021, 5.2)."""

    name = "seasonal"
    speaks_of: Literal["limits", "normal"] = "normal"
    needs_embedding = False
    color = "#cc79a7"
    dash: Literal["solid", "dot", "dash", "dashdot"] = "dash"
    day_ms = 86_400_000
    most_sigmas = 12.0

    def context_start(self, due: Due) -> int:
        """A day back, and as far as persistence looks."""
        return due.start_ms - self.day_ms - 3 * due.window_ms

    def judge(self, windows: Windows, history: History, state: Any) -> tuple[Verdicts, Any]:
        """Far from yesterday, in units of each metric's own spread."""
        series, profile = windows.series, windows.profile
        if profile is None:
            return nothing(self.name, windows.times_ms), None
        rows = np.arange(windows.first_recent, len(series))
        yesterday = np.searchsorted(series.times_ms, series.times_ms[rows] - self.day_ms)
        known = series.times_ms[yesterday] == series.times_ms[rows] - self.day_ms
        scale = np.array([s.scale if (s := profile.metric_stats.get(n)) else np.inf for n in series.metric_names])
        residual = np.where(known[:, None], series.mean[rows] - series.mean[yesterday], 0.0) / scale
        residual = np.abs(np.nan_to_num(residual))
        score = residual.max(axis=1) / self.most_sigmas
        anomalous = persistent(score, series.times_ms[rows], series.window_ms)
        top = [series.metric_names[j] for j in residual.argmax(axis=1)]
        found = Verdicts(
            self.name,
            series.times_ms[rows],
            score,
            anomalous,
            np.where(anomalous, 4, 0).astype(np.int8),
            [(f"{n} is not what it was yesterday",) if a else () for n, a in zip(top, anomalous, strict=True)],
            [(n,) if a else () for n, a in zip(top, anomalous, strict=True)],
        )
        return found.take(windows.chosen - windows.first_recent), None


class TestRules(MethodContract):
    @pytest.fixture
    def method(self):
        return methods.METHODS[0]

    def test_windows_of_many_devices_together_are_judged_as_each_by_itself(self, method, case: Case):
        fewer = select(case.series, slice(None))
        kept = [j for j, name in enumerate(fewer.metric_names) if name != "power_consumption"]
        fewer = replace(
            fewer,
            metric_names=tuple(fewer.metric_names[j] for j in kept),
            **{name: getattr(fewer, name)[:, kept] for name in ("mean", "count", "minimum", "maximum", "last")},
        )
        many = [
            case.windows(150, 151),
            replace(case.windows(178, 182), series=select(fewer, slice(0, case.trained + 182))),
            case.windows(200, 260),
            case.windows(179, 190, device_type=None),
            case.windows(350, 360),
        ]
        found = method.judge_together(many)
        assert sum(one.anomalous.sum() for one in found) >= 40
        for windows, one in zip(many, found, strict=True):
            alone = method.judge(windows, case.past, None)[0]
            same(one, alone)
            assert one.reasons == alone.reasons
            assert one.metrics == alone.metrics


class TestProfileSimilarity(MethodContract):
    @pytest.fixture
    def method(self):
        return methods.METHODS[1]


class TestVectorSearch(MethodContract):
    @pytest.fixture
    def method(self):
        return methods.METHODS[2]


class TestAFourthMethod(MethodContract):
    @pytest.fixture
    def method(self):
        return SeasonalNaive()


def test_names_are_those_of_the_specification():
    assert methods.method_names() == ("rules", "profile", "vector")
    assert [methods.knows_limits(name) for name in methods.method_names()] == [True, False, False]


def test_a_method_in_the_tuple_is_compared_with_the_others(monkeypatch):
    monkeypatch.setattr(methods, "METHODS", (*methods.METHODS, SeasonalNaive()))
    found = compare({"seasonal": np.array([True, False]), "rules": np.array([True, False])})
    assert (list(found.anomalies), found.consensus) == (["rules", "seasonal"], 1)
