"""What can't wait is said of a window that is still open; the judgement of the window confirms it or takes it back."""

from __future__ import annotations

import numpy as np
import pytest

from hvac_platform.devices.registry import device_type
from hvac_platform.ingestion import standing as standing_module
from hvac_platform.monitoring.provisional import may_be_urgent, provisional_events
from hvac_platform.stores.records import AnomalyEvent, LatestReading, MaintenanceSpan
from hvac_platform.timestamps import now_ms
from hvac_platform_tests.conftest import MINUTE_MS, SECOND_MS, reading
from hvac_platform_tests.ingestion.test_standing import standing, take_all
from hvac_platform_tests.monitoring.machines import judge

COMPRESSOR = {"device_id": "AC-001", "device_type": "air_compressor", "metric": "discharge_temp", "unit": "°F"}
CHILLER = {"device_id": "CH-001", "device_type": "chiller", "metric": "chilled_water_supply_temp", "unit": "°F"}
USUAL, TRIP, BROKEN, FREEZING = 185.0, 240.0, -999.0, 35.0


class Plant:
    """A device that sends readings, taken in as they come; the clock is the test's."""

    def __init__(self, platform, monkeypatch, fields):
        self.platform, self.fields = platform, fields
        self.at = now_ms() // MINUTE_MS * MINUTE_MS + 5 * SECOND_MS - MINUTE_MS
        self.ingestion = standing(platform)
        monkeypatch.setattr(standing_module, "now_ms", lambda: self.at)

    def send(self, *values, every_ms=10 * SECOND_MS):
        """Send readings one after the other, the clock with them; all are in the store afterwards."""
        for value in values:
            self.platform.log.append(self.platform.topic, [reading(at_ms=self.at, value=value, **self.fields)])
            take_all(self.ingestion)
            self.at += every_ms

    @property
    def device(self):
        (device,) = self.platform.store.devices()
        return device

    def provisional(self):
        return provisional_events(self.platform.store, self.device, MINUTE_MS, self.at)

    def completed(self):
        """Let the clock pass the end of all windows, and judge them; the events on record."""
        self.at += 2 * MINUTE_MS
        take_all(self.ingestion)
        store = self.platform.store
        judge(store, self.device, self.at - 30 * MINUTE_MS, self.at)
        return AnomalyEvent.read(store, self.device.device_id)


@pytest.fixture
def compressor(platform, monkeypatch):
    return Plant(platform, monkeypatch, COMPRESSOR)


@pytest.fixture
def chiller(platform, monkeypatch):
    return Plant(platform, monkeypatch, CHILLER)


def test_an_impossible_reading_is_told_at_once_and_confirmed(compressor):
    compressor.send(USUAL, USUAL, BROKEN)
    (told,) = compressor.provisional()
    assert "broken sensor" in told.reasons[0]
    assert told.metrics == ("discharge_temp",)
    assert told.open
    compressor.send(USUAL, USUAL)  # what was read stays so
    assert [event.event_id for event in compressor.provisional()] == [told.event_id]
    (event,) = compressor.completed()
    assert event.event_id == told.event_id
    assert event.level == told.level == 3
    assert compressor.provisional() == []


def test_a_trip_that_was_one_reading_is_taken_back(compressor):
    compressor.send(TRIP)
    (told,) = compressor.provisional()
    assert told.level == 2
    assert "trip limit" in told.reasons[0]
    compressor.send(USUAL, USUAL, USUAL, USUAL)
    assert compressor.provisional() == []
    assert compressor.completed() == []


def test_a_trip_that_stays_is_an_event_of_the_same_id(compressor):
    compressor.send(TRIP)
    (told,) = compressor.provisional()
    compressor.send(TRIP, TRIP)
    (event,) = compressor.completed()
    assert (event.event_id, event.level) == (told.event_id, told.level)
    assert told.reasons[0] in event.reasons


def test_a_window_that_is_over_but_not_judged_is_still_told(compressor):
    compressor.send(TRIP, TRIP, TRIP, TRIP, TRIP, TRIP, USUAL)
    (told,) = compressor.provisional()
    assert told.detected_at == compressor.at // MINUTE_MS * MINUTE_MS - MINUTE_MS
    compressor.at += MINUTE_MS
    take_all(compressor.ingestion)
    (still,) = compressor.provisional()  # it is a snapshot by now, which nobody has judged
    assert still.event_id == told.event_id
    assert not still.open


def test_a_rule_that_takes_minutes_counts_the_open_window(chiller):
    chiller.send(*[FREEZING] * 4, every_ms=MINUTE_MS)
    assert chiller.provisional() == []
    chiller.send(FREEZING)
    (told,) = chiller.provisional()
    assert told.level == 2
    assert "freeze the evaporator" in told.reasons[0]


def test_nothing_is_told_during_maintenance_nor_of_what_is_long_silent(compressor):
    compressor.send(TRIP)
    assert compressor.provisional()
    store, device = compressor.platform.store, compressor.device
    assert provisional_events(store, device, MINUTE_MS, compressor.at + 2 * 3_600_000) == []
    span = MaintenanceSpan("AC-001", compressor.at - MINUTE_MS, compressor.at + MINUTE_MS, "valves", 0)
    store.upsert(MaintenanceSpan.TABLE, MaintenanceSpan.columns([span]))
    assert compressor.provisional() == []


def test_a_look_at_many_devices_misses_none(chiller):
    chiller.send(*[FREEZING] * 5, every_ms=MINUTE_MS)
    assert chiller.provisional()
    start = chiller.device.last_seen // MINUTE_MS * MINUTE_MS
    latest = LatestReading.read(chiller.platform.store, "CH-001", equals={"window_start": start})
    values = {row.metric_name: row.metric_value for row in latest}
    others = {f"AC-{n}": {"discharge_temp": value} for n, value in enumerate([USUAL, TRIP, BROKEN, np.nan])}
    types = {"CH-001": "chiller", "teapot": "teapot", **dict.fromkeys(others, "air_compressor")}
    looked_at = [("CH-001", values), ("teapot", {"t": 1e9}), *others.items()]
    assert may_be_urgent(looked_at, types, dict.fromkeys(types, MINUTE_MS)) == {"CH-001", "AC-1", "AC-2"}


@pytest.mark.parametrize("name", ["air_compressor", "chiller", "cooling_tower", "makeup_air_unit", "rooftop_unit"])
def test_every_type_has_something_that_can_not_wait(name):
    declared = device_type(name)
    assert any(rule.level <= 2 for rule in declared.rules)
    assert any(point.hard is not None for point in declared.points)
