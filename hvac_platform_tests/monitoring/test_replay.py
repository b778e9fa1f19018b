"""A table is judged day by day by what was learned the nights before."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest

from hvac_platform.detection.methods import method_names
from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.monitoring.replay import judge_table
from hvac_platform.simulation.faults import Fault
from hvac_platform.simulation.fleet_simulation import FleetSimulation
from hvac_platform.timestamps import DAY_MS, day_start
from hvac_platform_tests.conftest import DAY, HOUR_MS, MINUTE_MS

START = day_start(DAY)
FAULT = Fault("CH-1", "low_flow", START + DAY_MS + 9 * HOUR_MS, START + DAY_MS + 11 * HOUR_MS, None, 1.0)


@cache
def recording():
    """A chiller over two days; on the second its flow is low from 9 to 11."""
    simulation = FleetSimulation([FleetDevice("CH-1", "chiller")], seed=4, faults=[FAULT])
    times = np.arange(START, START + 2 * DAY_MS, MINUTE_MS // 2, dtype=np.int64)
    (readings,) = simulation.advance(times)
    return pd.DataFrame(
        readings.values, index=pd.to_datetime(times, unit="ms", utc=True), columns=list(readings.metric_names)
    )


@cache
def verdicts():
    return judge_table(recording(), device_type="chiller")


def test_each_window_has_a_verdict_of_each_method():
    found = verdicts()
    assert len(found) == 2 * 1440
    assert found.index[0] == pd.Timestamp(START, unit="ms", tz="UTC")
    for name in method_names():
        assert np.isfinite(found[f"score_{name}"]).all()
        assert found[f"anomalous_{name}"].dtype == bool
    assert [bool(text) for text in found["reasons"]] == found[[f"anomalous_{name}" for name in method_names()]].any(
        axis=1
    ).tolist()


def test_the_first_day_is_judged_without_a_profile_and_the_second_with_one():
    found = verdicts()
    assert not found["learned"][:1440].any()
    assert found["learned"][1440:].all()


def test_a_fault_of_the_second_day_is_found_and_the_hours_before_are_not():
    second = verdicts()[1440:]
    assert second["consensus"][9 * 60 : 11 * 60].mean() > 0.8
    assert second["consensus"][: 9 * 60].mean() < 0.02


def test_what_comes_later_changes_nothing():
    half = judge_table(recording()[: 2880 + 1440], device_type="chiller")
    whole = verdicts()[: len(half)]
    names = [f"anomalous_{name}" for name in method_names()]
    pd.testing.assert_frame_equal(half[names], whole[names])


def test_a_machine_of_unknown_type_is_judged_by_its_own_history_alone():
    found = judge_table(recording())
    assert not found["anomalous_rules"].any()
    assert not found["anomalous_profile"][:1440].any()
    assert found["anomalous_profile"][1440 + 9 * 60 : 1440 + 11 * 60].mean() > 0.8


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t[:0], "no row"),
        (lambda t: t.tz_localize(None), "UTC"),
        (lambda t: t[::-1], "order of time"),
        (lambda t: t * np.nan, "no number"),
    ],
)
def test_an_unusable_table_is_refused(change, said):
    with pytest.raises(ValueError, match=said):
        judge_table(change(recording()[:100]))
