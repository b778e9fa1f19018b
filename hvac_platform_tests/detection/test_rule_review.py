"""Rules that may not fit a machine are proposed for review; faults that come, grow or go are not."""

from __future__ import annotations

import numpy as np
import pytest

from hvac_platform.detection.rule_review import LEAST_WINDOWS, often_fired, rules_to_review
from hvac_platform.devices.registry import device_type
from hvac_platform.snapshots import SnapshotSeries

COMPRESSOR = device_type("air_compressor")
WINDOWS = 300
NORMAL = {"motor_speed": 1800.0, "vibration_level": 2.0, "discharge_temp": 185.0, "oil_pressure": 45.0}


def compressor(**changes):
    """A compressor that runs for five hours; changed metrics are float64 [n]."""
    generator = np.random.default_rng(1)
    names = tuple(NORMAL)
    mean = np.column_stack([np.full(WINDOWS, v) + generator.normal(0, 0.01 * v, WINDOWS) for v in NORMAL.values()])
    for name, values in changes.items():
        mean[:, names.index(name)] = values
    times = np.arange(WINDOWS, dtype=np.int64) * 60_000
    count = np.full(mean.shape, 6)
    return SnapshotSeries("AC-7", "air_compressor", times, names, mean, count, mean, mean, mean)


def shaking(level):
    return level + np.random.default_rng(2).normal(0, 0.05, WINDOWS)


def test_a_rule_that_fires_most_of_the_time_on_a_steady_machine_is_proposed_with_its_parameter_and_the_remedy():
    (review,) = rules_to_review(compressor(vibration_level=shaking(5.0)), COMPRESSOR)
    assert review.settings == ("vibration_alert (4.5 mm/s)",)
    assert review.share > 0.9
    sentence = review.sentence()
    assert sentence.startswith("rule ac-10a (raised vibration), which rests on vibration_alert (4.5 mm/s), fires in ")
    assert "a copy of air_compressor.yaml in a folder of your own" in sentence
    assert "HVAC_DEVICE_TYPES" in sentence


@pytest.mark.parametrize(
    "vibration",
    [np.linspace(2.0, 12.0, WINDOWS), np.where(np.arange(WINDOWS) < 100, 2.0, 5.0), np.full(WINDOWS, 2.0)],
    ids=["a fault that grows", "a fault that has come", "no fault"],
)
def test_nothing_is_proposed_where_the_machine_is_not_steady_or_the_rule_is_silent(vibration):
    assert rules_to_review(compressor(vibration_level=vibration), COMPRESSOR) == ()


def test_hard_limits_count_as_rules_do():
    series = compressor(vibration_level=shaking(80.0))
    names = {review.name: review.settings for review in often_fired(series, COMPRESSOR, most_level=3)}
    assert names["limits of vibration_level"] == ("hard [0.0, 50.0] of vibration_level",)


def test_a_short_recording_and_an_unknown_type_propose_nothing():
    series = compressor(vibration_level=shaking(5.0))
    short = SnapshotSeries(
        *("AC-7", "air_compressor", series.times_ms[: LEAST_WINDOWS - 1], series.metric_names),
        *(
            grid[: LEAST_WINDOWS - 1]
            for grid in (series.mean, series.count, series.minimum, series.maximum, series.last)
        ),
    )
    assert rules_to_review(short, COMPRESSOR) == ()
    assert rules_to_review(series, None) == ()
