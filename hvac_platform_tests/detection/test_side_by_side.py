"""The newest rows of many devices examined at once: each is what it is by itself, to the last digit; so is its memory."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hvac_platform.detection import fit_detector
from hvac_platform.detection.detector.judge import examine_rows
from hvac_platform.detection.detector.side_by_side import examine_side_by_side
from hvac_platform.detection.observations import observations_of
from hvac_platform.devices.fleet import fleet_of_size
from hvac_platform.simulation.fleet_simulation import FleetSimulation

LEARNED, JUDGED, MINUTE_MS = 1_440, 240, 60_000
START_MS = 1_783_209_600_000


@pytest.fixture(scope="module")
def machines() -> list[tuple[Any, Any]]:
    """Six devices of five types: detectors of a day, and readings of the hours after it."""
    fleet = fleet_of_size(6)
    times = START_MS + MINUTE_MS * np.arange(LEARNED + JUDGED)
    index = pd.DatetimeIndex(pd.to_datetime(times, unit="ms", utc=True))
    found = []
    for readings in FleetSimulation(fleet, seed=104).advance(times):
        table = pd.DataFrame(readings.values, index=index, columns=list(readings.metric_names))
        detector = fit_detector(table.iloc[:LEARNED])
        found.append((detector, table[list(detector.metric_names)].to_numpy()[LEARNED:]))
    return found


def same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return bool(one.shape == other.shape and np.array_equal(one, other, equal_nan=one.dtype.kind == "f"))
    return bool(one == other)


@pytest.mark.parametrize(
    "trouble", ["none", "a missing reading", "an outlying reading", "an odd episode", "a stuck sensor", "a gap"]
)
def test_rows_side_by_side_are_what_each_is_by_itself(machines: list[tuple[Any, Any]], trouble: str) -> None:
    detectors = [detector for detector, _ in machines]
    memories = [detector.memory for detector in detectors]
    noise = np.random.default_rng(7)
    at, together = START_MS + LEARNED * MINUTE_MS, 0
    for step in range(JUDGED):
        at += MINUTE_MS * (12 if trouble == "a gap" and step == 100 else 1)
        rows = []
        for i, (detector, readings) in enumerate(machines):
            row = readings[step : step + 1].copy()
            struck = noise.integers(row.shape[1])
            if trouble == "a missing reading" and noise.random() < 0.1:
                row[0, struck] = np.nan
            elif trouble == "an outlying reading" and noise.random() < 0.05:
                row[0, struck] *= 5.0
            elif trouble == "an odd episode" and i % 2 and 60 <= step < 66:
                row *= 1.5
            elif trouble == "a stuck sensor" and i % 2 and step >= 40:
                row[0, :] = readings[40]
            rows.append(observations_of(np.array([at - MINUTE_MS]), row, detector.interval_ms))
        found = examine_side_by_side(detectors, rows, memories)
        for i, (detector, observations, answer) in enumerate(zip(detectors, rows, found, strict=True)):
            examined, memory = examine_rows(detector, observations, memories[i])
            if answer is not None:
                together += 1
                assert all(same(examined.columns[name], answer[0].columns[name]) for name in examined.columns)
                for one, other in ((examined, answer[0]), (memory, answer[1])):
                    for field in fields(one):
                        if field.name != "columns":
                            assert same(getattr(one, field.name), getattr(other, field.name)), (step, i, field.name)
            memories[i] = memory
    assert together > JUDGED * len(machines) // 4


def test_a_single_device_and_several_rows_are_left_to_be_examined_by_themselves(
    machines: list[tuple[Any, Any]],
) -> None:
    (detector, readings), *_ = machines
    times = START_MS + MINUTE_MS * (LEARNED + np.arange(2))
    two = observations_of(times, readings[:2], detector.interval_ms)
    one = observations_of(times[:1], readings[:1], detector.interval_ms)
    assert examine_side_by_side([detector], [one], [detector.memory]) == [None]
    assert examine_side_by_side([detector] * 2, [two, two], [detector.memory] * 2) == [None, None]
