"""What is asked of many devices in processes is what one process answers, errors included."""

from __future__ import annotations

import pytest

from hvac_platform.config import load_settings
from hvac_platform.devices.fleet import fleet_of_size
from hvac_platform.devices.registry import parse_other_rules
from hvac_platform.monitoring.passes import Span
from hvac_platform.monitoring.what_if import Limits, OfScores, TooFewScoresError
from hvac_platform.runtime import what_if_processes
from hvac_platform.runtime.what_if_processes import asked_again, asked_of_scores
from hvac_platform_tests.conftest import HOUR_MS, MIDNIGHT_MS
from hvac_platform_tests.monitoring.machines import judge, learn, simulated_windows

UNTIL_MS = MIDNIGHT_MS + 12 * HOUR_MS


@pytest.fixture
def spans(platform, monkeypatch):
    """Half a day of four devices that was judged, and as little as is worth a process."""
    devices = simulated_windows(platform.store, fleet_of_size(4), MIDNIGHT_MS - 12 * HOUR_MS, UNTIL_MS)
    for device in devices.values():
        learn(platform.store, device, until_ms=MIDNIGHT_MS)
        judge(platform.store, device, MIDNIGHT_MS, UNTIL_MS)
    for least in ("SCORED_SPANS_A_PROCESS", "SPANS_A_PROCESS"):
        monkeypatch.setattr(what_if_processes, least, 1)
    return [Span(device, MIDNIGHT_MS, UNTIL_MS) for device in devices.values()]


def answers(asked):
    return [(span.device.device_id, answer()) for span, answer in asked]


def test_processes_answer_as_one_does(spans):
    rules = parse_other_rules("name: chiller\nparameters: {min_delta_t: 40}\n", "rules.yaml")
    for tried in (OfScores(0.3), OfScores(fixed=Limits(similarity=0.9)), OfScores(rules=rules)):
        one, two = (
            answers(asked_of_scores(load_settings().model_copy(update={"hvac_profile_processes": n}), spans, tried))
            for n in (1, 2)
        )
        assert one == two
        assert any(found.replayed != found.recorded for _, found in one)


def test_processes_judge_again_as_one_does(spans):
    one, two = (
        answers(asked_again(load_settings().model_copy(update={"hvac_profile_processes": n}), spans, Limits(sigma=1.0)))
        for n in (1, 2)
    )
    assert one == two
    assert all(found.windows == 720 for _, found in one)


def test_what_cannot_be_said_of_one_device_is_an_error_of_that_one(spans):
    settings = load_settings().model_copy(update={"hvac_profile_processes": 2})
    for _, answer in asked_of_scores(settings, spans, OfScores(budget=0.1)):
        with pytest.raises(TooFewScoresError, match="a day of them, 1440, is needed"):
            answer()
