"""An incident of what can't wait is opened once, before its window is judged, and confirmed under its id or taken back."""

from __future__ import annotations

import pytest

from hvac_platform.monitoring import lifecycle
from hvac_platform.monitoring.passes import IncidentsPass, Span, write_pass
from hvac_platform.monitoring.provisional_incidents import UrgentLook
from hvac_platform.stores.batches import write_batch
from hvac_platform.stores.window_lengths import set_window
from hvac_platform.timestamps import DAY_MS
from hvac_platform_tests.conftest import MINUTE_MS
from hvac_platform_tests.monitoring.faults import history, incidents, queued, states
from hvac_platform_tests.monitoring.test_provisional import CHILLER, COMPRESSOR, FREEZING, TRIP, USUAL, Plant


class WatchedPlant(Plant):
    """The plant with a detection run that looks at what can't wait."""

    def __init__(self, platform, monkeypatch, fields):
        super().__init__(platform, monkeypatch, fields)
        self.urgent = UrgentLook(platform.store, platform.settings)

    @property
    def store(self):
        return self.platform.store

    def look(self):
        for batch in self.urgent.look(self.at):
            write_batch(self.store, "incidents", batch)

    def group(self):
        """Incidents as the run computes them each minute."""
        found = IncidentsPass(
            *(self.store, self.platform.settings, [Span(self.device, self.at - DAY_MS, self.at)]),
            now_ms=self.at,
            only_changed=True,
        )
        write_pass(found)
        assert not found.failed


@pytest.fixture
def compressor(platform, monkeypatch):
    return WatchedPlant(platform, monkeypatch, COMPRESSOR)


def test_a_trip_opens_an_incident_at_once_and_the_judgement_of_its_window_confirms_it(compressor):
    compressor.send(TRIP)
    compressor.look()
    ((incident_id, opened),) = incidents(compressor.store).items()
    assert (opened.severity, opened.methods) == ("critical", {"provisional": 1})
    assert incident_id == f"AC-001/{compressor.at // MINUTE_MS * MINUTE_MS}"
    compressor.send(TRIP, TRIP)
    compressor.look()
    compressor.group()  # before anybody has judged the window
    compressor.urgent.waiting.clear()  # as in the run that takes over
    compressor.look()
    assert states(compressor.store) == {incident_id: "open"}
    lifecycle.acknowledge(compressor.store, opened, by="kim", at_ms=compressor.at)
    compressor.completed()
    compressor.group()
    ((confirmed_id, confirmed),) = incidents(compressor.store).items()
    assert confirmed_id == incident_id
    assert "provisional" not in confirmed.methods
    assert states(compressor.store) == {incident_id: "acknowledged"}
    assert history(compressor.store, incident_id) == ["opened", "acknowledged"]


def test_one_whose_window_is_not_anomalous_in_the_end_is_taken_back_and_told_so(compressor):
    compressor.send(TRIP)
    compressor.look()
    compressor.send(USUAL, USUAL, USUAL, USUAL)
    compressor.look()
    ((incident_id, _),) = incidents(compressor.store).items()
    compressor.completed()
    compressor.group()
    assert incidents(compressor.store) == {}
    assert states(compressor.store) == {incident_id: "taken_back"}
    assert queued(compressor.store) == [f"{incident_id}#opened", f"{incident_id}#taken_back"]


def test_while_an_incident_like_it_goes_on_no_other_is_opened(compressor):
    compressor.send(TRIP, TRIP, TRIP)
    compressor.completed()
    compressor.group()
    ((incident_id, _),) = incidents(compressor.store).items()
    compressor.at += 5 * MINUTE_MS
    compressor.send(TRIP)
    compressor.look()
    assert list(incidents(compressor.store)) == [incident_id]
    assert queued(compressor.store) == [f"{incident_id}#opened"]


def test_a_rule_that_takes_minutes_opens_none_before_they_are_over(platform, monkeypatch):
    chiller = WatchedPlant(platform, monkeypatch, CHILLER)
    chiller.send(*[FREEZING] * 4, every_ms=MINUTE_MS)
    chiller.look()
    assert incidents(chiller.store) == {}
    chiller.send(FREEZING)
    chiller.look()
    assert [incident.severity for incident in incidents(chiller.store).values()] == ["critical"]


def test_of_a_device_with_longer_windows_the_incident_is_of_the_whole_window(compressor):
    start = compressor.at = (compressor.at // (5 * MINUTE_MS) + 1) * 5 * MINUTE_MS
    compressor.at += MINUTE_MS
    compressor.send(USUAL)  # its minute begins later than the five minutes that it is of from now on
    set_window(compressor.store, "AC-001", 5 * MINUTE_MS)
    compressor.send(*[TRIP] * 18)
    compressor.look()
    (opened,) = incidents(compressor.store).values()
    assert (opened.started_at, opened.ended_at) == (start, start + 5 * MINUTE_MS)
