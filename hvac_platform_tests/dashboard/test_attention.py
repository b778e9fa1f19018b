"""The top of the home page: what needs somebody now, in order, with what to look at first."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hvac_platform.config import Settings
from hvac_platform.dashboard import known_of_incidents
from hvac_platform.dashboard.attention import SHOWN, attention, most_urgent
from hvac_platform.dashboard.reading import incident_states, newest_incidents, open_incidents
from hvac_platform.detection.fault_kinds import SENSOR_KINDS, signature_library
from hvac_platform.detection.worth import DailyExcess, Interval
from hvac_platform.devices.first_checks import FIRST_CHECKS
from hvac_platform.devices.registry import device_types
from hvac_platform.monitoring import lifecycle
from hvac_platform.monitoring.worth import Prices, Worth
from hvac_platform.stores.base import Store
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.records import Incident
from hvac_platform_tests.conftest import HOUR_MS
from hvac_platform_tests.dashboard.conftest import START_MS, incident

NOW = START_MS + 30 * HOUR_MS


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedStore]:
    opened = EmbeddedStore(tmp_path / "store.db")
    yield opened
    opened.close()


def opened(store: EmbeddedStore, *incidents: Incident) -> None:
    store.upsert(Incident.TABLE, Incident.columns(incidents))
    rules = lifecycle.Rules(100 * HOUR_MS)
    steps = [lifecycle.after_pass(None, one, rules, one.ended_at) for one in incidents]
    lifecycle.write_steps(store, steps, NOW)


def told(store: EmbeddedStore) -> str:
    return json.dumps(
        attention(store, open_incidents(store), NOW).to_plotly_json(), default=lambda c: c.to_plotly_json()
    )


def test_what_nobody_has_seen_comes_first_then_the_most_urgent(store: EmbeddedStore) -> None:
    a = incident("A", START_MS, severity="critical", urgency=None)  # not judged yet: its severity alone
    b = incident("B", START_MS, severity="info", urgency=90.0)
    c = incident("C", START_MS, severity="warning", urgency=20.0)
    d = incident("D", START_MS, severity="critical", urgency=190.0)
    opened(store, a, b, c, d)
    assert [one.device_id for one in most_urgent(open_incidents(store))] == ["D", "A", "B", "C"]
    board = newest_incidents(store, 0, None, incident_states(store), None)
    assert [device_id for device_id, _ in board] == ["D", "A", "B", "C"]
    lifecycle.acknowledge(store, d, by="ana", at_ms=NOW)
    text = told(store)
    places = [text.index(f'"{device}"') for device in ("A", "B", "C", "D")]
    assert places == sorted(places)
    assert "acknowledged" in text


def test_parts_of_an_event_are_left_to_it_and_what_finds_no_room_is_counted(store: EmbeddedStore) -> None:
    whole = incident("A", START_MS, scope="fleet")
    parts = [incident(f"P{n}", START_MS, parent_id=whole.incident_id) for n in range(3)]
    others = [incident(f"Q{n}", START_MS) for n in range(SHOWN + 2)]
    opened(store, whole, *parts, *others)
    text = told(store)
    assert "P0" not in text
    assert "3 more that are open" in text


def test_the_likely_kind_comes_with_what_to_check_first_until_somebody_says_what_it_is(store: EmbeddedStore) -> None:
    kinds = [{"kind": "fouling", "title": "a filter clogs", "similarity": 0.91}]
    opened(store, incident("A", START_MS, kinds=kinds))
    assert "Likely fouling." in told(store)
    assert FIRST_CHECKS["fouling"] in told(store)
    (one,) = Incident.read(store, "A")
    lifecycle.label(store, one, ["slipping belt"], by="ana", at_ms=NOW)
    assert "It turned out to be slipping belt." in told(store)
    assert FIRST_CHECKS["fouling"] not in told(store)


def test_where_nothing_is_open_it_says_so(store: EmbeddedStore) -> None:
    assert "Nothing needs attention" in told(store)


def test_every_kind_of_fault_that_is_told_apart_has_a_first_check() -> None:
    kinds = {kind for name in device_types() for kind in signature_library(name)}
    assert kinds
    assert kinds | set(SENSOR_KINDS) == set(FIRST_CHECKS)


def test_it_says_what_an_incident_costs_a_day_where_that_is_known_and_computes_it_once(
    store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(store, incident("A", START_MS), incident("B", START_MS))
    daily = DailyExcess(Interval(48.0, 36.0, 60.0), Interval(12.0, 9.0, 15.0), 24.0, extrapolated=False)
    asked: list[str] = []

    def worth_of(_store: Store, one: Incident, _prices: Prices) -> Worth:
        asked.append(one.device_id)
        known = daily if one.device_id == "A" else None
        return Worth(known, "" if known else "nothing came of it meanwhile", "EUR", "", "", 2.0, None, "", 0.0, {})

    monkeypatch.setattr(known_of_incidents, "worth_of", worth_of)
    known = known_of_incidents.KnownOfIncidents(Settings(_env_file=None))  # type: ignore[call-arg]
    for looked in range(1, 5):
        shown = attention(store, open_incidents(store), NOW, known).to_plotly_json()
        text = json.dumps(shown, default=lambda c: c.to_plotly_json(), ensure_ascii=False)
        assert len(asked) == min(looked, 2), "at most one that isn't known yet at a refresh"
    assert text.count("Costs about") == 1
    assert "Costs about 12.00 EUR (9.00 to 15.00) a day." in text
    assert sorted(asked) == ["A", "B"]


def test_a_part_of_an_event_that_is_over_stands_for_itself(store: EmbeddedStore) -> None:
    """Else nothing would need attention while it is open."""
    whole = incident("A", START_MS, scope="fleet", status="closed")
    opened(store, whole, incident("P1", START_MS, parent_id=whole.incident_id))
    assert '"P1"' in told(store)


def test_a_thousand_incidents_are_put_in_order_without_looking_at_what_each_is_worth(
    store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [incident(f"D{n:04d}", START_MS, urgency=float(n % 97)) for n in range(1000)]
    store.upsert(Incident.TABLE, Incident.columns(many))
    monkeypatch.setattr(known_of_incidents, "worth_of", lambda *_: pytest.fail("a list reads what was kept"))
    began = time.process_time()
    found = newest_incidents(store, 0, None, {one.incident_id: lifecycle.State.OPEN for one in many}, None)
    seconds = time.process_time() - began
    assert [one[0] for one in found[:2]] == ["D0096", "D0193"]
    assert seconds < 0.1
