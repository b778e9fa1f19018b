"""An incident is recognised by its signature, whatever its severity and on sister devices."""

from __future__ import annotations

import pandas as pd
import pytest

from hvac_platform.detection import fit_detector
from hvac_platform.detection.signatures import most_similar, signature
from hvac_platform_tests.detection.records import machine


@pytest.fixture(scope="module")
def sisters():
    """Two machines of one kind at different levels, each with its own detector."""
    own = machine(2000, seed=1)
    sister = machine(2000, seed=2) * [1.02, 0.98, 1.3, 1.4, 1.2]
    return [(fit_detector(frame.iloc[:1500]), frame.iloc[1500:1560]) for frame in (own, sister)]


def incident(device, changes: dict[str, float]) -> pd.Series:
    fitted, frame = device
    faulty = frame.copy()
    for metric, share in changes.items():
        faulty[metric] *= 1 + share
    return signature(fitted.sigmas(faulty))


WORN = {"power": 0.15, "vibration": 0.3}
STARVED = {"flow": -0.25}


def test_the_same_fault_is_known_at_half_the_severity(sisters):
    milder = {metric: share / 2 for metric, share in WORN.items()}
    past = {"worn": incident(sisters[0], WORN), "starved": incident(sisters[0], STARVED)}
    best, other = most_similar(incident(sisters[0], milder), past)
    assert (best.incident, best.known) == ("worn", True)
    assert other.similarity < best.similarity - 0.2


def test_the_same_fault_is_known_on_a_sister_device(sisters):
    past = {"worn": incident(sisters[0], WORN), "starved": incident(sisters[0], STARVED)}
    for name, changes in (("worn", WORN), ("starved", STARVED)):
        best = most_similar(incident(sisters[1], changes), past)[0]
        assert (best.incident, best.known) == (name, True)


def test_another_fault_is_novel(sisters):
    past = {"worn": incident(sisters[0], WORN)}
    assert not any(match.known for match in most_similar(incident(sisters[0], {"supply_temp": 0.05}), past))


def test_devices_that_share_no_metrics_are_not_compared(sisters):
    own = incident(sisters[0], WORN)
    assert most_similar(own, {"other type": own.rename(lambda name: f"other_{name}")}) == []


def test_an_incident_without_rows_is_refused(sisters):
    fitted, frame = sisters[0]
    with pytest.raises(ValueError, match="needs rows"):
        signature(fitted.sigmas(frame.iloc[:0]))
