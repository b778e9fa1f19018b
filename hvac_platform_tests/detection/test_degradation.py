"""Slow degradation is seen against what the other metrics imply, with the time that is left."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from hvac_platform.detection import fit_detector
from hvac_platform.detection.degradation import trends
from hvac_platform_tests.detection.records import machine

ROWS_A_DAY = 96


@pytest.fixture(scope="module")
def weeks():
    whole = machine(40 * ROWS_A_DAY, interval="15min")
    fitted = fit_detector(whole.iloc[: 14 * ROWS_A_DAY])
    return fitted, whole.iloc[: 14 * ROWS_A_DAY], whole.iloc[14 * ROWS_A_DAY :]


def test_a_machine_that_draws_more_power_every_day_is_found_with_its_pace(weeks):
    fitted, normal, later = weeks
    worn = later.copy()
    worn["power"] += 0.5 * np.arange(len(worn)) / ROWS_A_DAY
    limits = {"power": (-np.inf, 20.0)}
    found = trends(fitted.deviations(worn), fitted.deviations(normal), fitted.conditional_spread, limits=limits)
    assert found[0].metric == "power"
    assert found[0].per_day == pytest.approx(0.5, rel=0.1)
    assert found[0].since is not None
    assert found[0].since <= worn.index[0] + pd.Timedelta(days=4)
    assert found[0].days_to_limit == pytest.approx((20.0 - found[0].deviation) / found[0].per_day, abs=0.5)
    assert found[0].sigmas == pytest.approx(found[0].deviation / fitted.conditional_spread["power"])


def test_a_machine_that_stays_the_same_has_no_trend(weeks):
    fitted, normal, later = weeks
    limits = dict.fromkeys(fitted.metric_names, (-1e9, 1e9))
    found = trends(fitted.deviations(later), fitted.deviations(normal), fitted.conditional_spread, limits=limits)
    assert len(found) == len(fitted.metric_names)
    assert all(abs(t.per_day) < 0.05 for t in found)
    assert all(t.since is None and t.days_to_limit is None for t in found)


def test_a_fault_of_a_few_hours_is_no_trend(weeks):
    fitted, normal, later = weeks
    faulty = later.copy()
    faulty.iloc[300:320, faulty.columns.get_loc("power")] += 80.0
    found = {
        t.metric: t for t in trends(fitted.deviations(faulty), fitted.deviations(normal), fitted.conditional_spread)
    }
    calm = {t.metric: t for t in trends(fitted.deviations(later), fitted.deviations(normal), fitted.conditional_spread)}
    assert found["power"].cusum < calm["power"].cusum + 1.0


def test_a_limit_that_is_reached_leaves_no_days_and_one_on_the_other_side_is_never_reached(weeks):
    fitted, normal, later = weeks
    worn = later.copy()
    worn["power"] += 0.5 * np.arange(len(worn)) / ROWS_A_DAY
    deviations, usual = fitted.deviations(worn), fitted.deviations(normal)
    spread = fitted.conditional_spread
    assert trends(deviations, usual, spread, limits={"power": (-np.inf, 5.0)})[0].days_to_limit == 0.0
    assert trends(deviations, usual, spread, limits={"power": (-20.0, np.inf)})[0].days_to_limit is None


def test_too_few_days_are_refused(weeks):
    fitted, normal, later = weeks
    with pytest.raises(ValueError, match="5 are needed"):
        trends(fitted.deviations(later.iloc[:100]), fitted.deviations(normal), fitted.conditional_spread)


def test_deviations_are_in_the_metrics_unit(weeks):
    fitted, _, later = weeks
    shifted = later.copy()
    shifted["flow"] += 30.0
    difference = fitted.deviations(shifted)["flow"] - fitted.deviations(later)["flow"]
    assert difference.median() == pytest.approx(30.0, rel=0.05)
