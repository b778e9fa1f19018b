"""Who may act does so on an incident, by the API and on its page; who may read alone is told who may."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hvac_platform.access import acting as acting_module
from hvac_platform.access.roles import Role
from hvac_platform.access.users import add_user
from hvac_platform.api.openapi import openapi
from hvac_platform.dashboard import log_in
from hvac_platform.dashboard.acting import button_id
from hvac_platform.dashboard.app import make_app
from hvac_platform.monitoring import lifecycle
from hvac_platform.monitoring.incident_actions import ACTIONS
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.records import Incident, IncidentHandling, MaintenanceSpan
from hvac_platform.timestamps import iso, now_ms
from hvac_platform_tests.dashboard.conftest import copy_databases, settings_of
from hvac_platform_tests.dashboard.test_access import Visitor

NORTH, SOUTH = "tower north", "tower south"


@pytest.fixture
def store(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EmbeddedStore:
    """CH-001 in the north with an acknowledged incident, RTU-001 in the south with one of the past."""
    copy_databases(filled, tmp_path)
    monkeypatch.setattr(log_in, "USERS_SECONDS", 0.0)
    store = EmbeddedStore(tmp_path / "store.db")
    for device, building in (("CH-001", NORTH), ("RTU-001", SOUTH)):
        store.connection.execute("UPDATE devices SET building_id=? WHERE device_id=?", (building, device))
    return store


@pytest.fixture
def app(store: EmbeddedStore, tmp_path: Path) -> Any:
    return make_app(settings_of(tmp_path))


def incident_of(store: EmbeddedStore, device_id: str) -> Incident:
    (found,) = Incident.read(store, device_id)
    return found


def handling(store: EmbeddedStore, device_id: str = "CH-001") -> IncidentHandling:
    found = lifecycle.handling_by_id(store, incident_of(store, device_id).incident_id)
    assert found is not None
    return found


def visitor(app: Any, store: EmbeddedStore, name: str, role: Role, buildings: list[str] | None = None) -> Visitor:
    return Visitor(app, add_user(store, name, role, buildings, now_ms()))


def post(who: Visitor, incident: Incident, **body: Any) -> Any:
    return who.client.post(f"/api/v1/incidents/{incident.incident_id}/actions", json=body)


def press(who: Visitor, incident: Incident, action: str, **fields: str) -> str:
    """What the page says after a button was pressed."""
    key = incident.incident_id.rsplit("/", 1)
    given = {button_id(action).replace("-", "_") + "__n_clicks": 1, "incident_id__data": key}
    values = {f"incident_{name}__value": text for name, text in fields.items()}
    return who.text("incident-said.children", **given, incident_hours__value="4 hours", **values)


def test_an_operator_walks_an_incident_from_acknowledged_to_reopened_by_the_api(app: Any, store: EmbeddedStore) -> None:
    ana, incident = visitor(app, store, "ana", Role.OPERATOR), incident_of(store, "CH-001")
    steps: list[tuple[dict[str, Any], str]] = [
        ({"action": "snooze", "hours": 2}, "snoozed"),
        ({"action": "ack", "note": "on my way"}, "acknowledged"),
        ({"action": "assign", "to": "ben"}, "acknowledged"),
        ({"action": "label", "label": "fouled condenser"}, "acknowledged"),
        ({"action": "comment", "note": "tubes are dirty"}, "acknowledged"),
        ({"action": "resolve"}, "resolved"),
        ({"action": "reopen"}, "open"),
        ({"action": "false-alarm"}, "false_alarm"),
    ]
    for body, state in steps:
        answer = post(ana, incident, **body)
        assert (answer.status_code, answer.json["state"], answer.json["parts"]) == (200, state, 0), answer.json
    read = ana.client.get(f"/api/v1/incidents/{incident.incident_id}").json
    assert (read["label"], read["handling"]["assignee"]) == ("fouled condenser", "ben")
    told = [(one["transition"], one["actor"], one["note"]) for one in read["history"][-8:]]
    assert ("acknowledged", "ana", "on my way") in told
    assert ("commented", "ana", "tubes are dirty") in told


def test_what_cannot_be_done_as_it_stands_is_a_conflict_that_says_why(app: Any, store: EmbeddedStore) -> None:
    ana, incident = visitor(app, store, "ana", Role.ADMIN), incident_of(store, "CH-001")
    answer = post(ana, incident, action="ack")
    assert answer.status_code == 409
    assert "was acknowledged by kim" in answer.json["detail"]
    assert handling(store).actor == "kim"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ([], "a JSON object"),
        ({"action": "delete"}, "one of ack, assign"),
        ({"action": ["ack"]}, "one of ack, assign"),
        ({"action": "ack", "by": "kim"}, "no field 'by'"),
        ({"action": "ack", "note": 7}, "note: a string, not int"),
        ({"action": "ack", "to": "ben"}, "to is for assign"),
        ({"action": "assign"}, "assign needs to"),
        ({"action": "label"}, "label needs label"),
        ({"action": "snooze"}, "either hours or until"),
        ({"action": "snooze", "hours": 1, "until": "2100-01-01T00:00:00Z"}, "either hours or until"),
        ({"action": "snooze", "hours": 1e300}, "hours: more than 0"),
        ({"action": "snooze", "hours": float("nan")}, "hours: more than 0"),
        ({"action": "snooze", "hours": True}, "hours: a number, not bool"),
        ({"action": "snooze", "until": "tomorrow"}, "until: a time of ISO 8601"),
        ({"action": "snooze", "until": "2020-01-01T00:00:00Z"}, "a snooze ends later than now"),
        ({"action": "comment", "note": " "}, "a comment says something"),
        ({"action": "ack", "note": "n" * 2_001}, "characters"),
        ({"action": "assign", "to": "b" * 129}, "to: at most 128 characters"),
        ({"action": "ack", "alone": "no"}, "alone: a boolean"),
    ],
)
def test_a_body_that_asks_for_nothing_possible_is_refused_with_what_would_be(
    app: Any, store: EmbeddedStore, body: Any, told: str
) -> None:
    ana, incident = visitor(app, store, "ana", Role.OPERATOR), incident_of(store, "CH-001")
    before = handling(store)
    answer = ana.client.post(f"/api/v1/incidents/{incident.incident_id}/actions", json=body)
    assert (answer.status_code, answer.content_type) == (400, "application/problem+json")
    assert told in answer.json["detail"]
    assert handling(store) == before


@pytest.mark.parametrize("data", [b"", b"{", b"[" * 100_000, b'{"action": "ack"', b"\xff\xfe"])
def test_a_body_that_is_no_json_is_refused(app: Any, store: EmbeddedStore, data: bytes) -> None:
    ana, incident = visitor(app, store, "ana", Role.OPERATOR), incident_of(store, "CH-001")
    path = f"/api/v1/incidents/{incident.incident_id}/actions"
    assert ana.client.post(path, data=data, content_type="application/json").status_code == 400


def test_who_may_read_alone_changes_nothing_and_is_told_who_may(app: Any, store: EmbeddedStore) -> None:
    incident, before = incident_of(store, "CH-001"), handling(store)
    anybody = app.server.test_client()
    path = f"/api/v1/incidents/{incident.incident_id}/actions"
    answer = anybody.post(path, json={"action": "resolve"})
    assert answer.status_code == 403
    assert "hvac users add NAME --role operator" in answer.json["detail"]
    ben = visitor(app, store, "ben", Role.VIEWER)
    assert post(ben, incident, action="resolve").status_code == 403
    assert "you are here as ben, a viewer" in press(ben, incident, "resolve")
    assert anybody.post(path, json={"action": "resolve"}).status_code == 401, "there are users by now"
    assert handling(store) == before


def test_an_incident_of_another_building_is_not_there_to_act_on(app: Any, store: EmbeddedStore) -> None:
    north, south = incident_of(store, "CH-001"), incident_of(store, "RTU-001")
    ana, before = visitor(app, store, "ana", Role.OPERATOR, [SOUTH]), handling(store)
    assert post(ana, north, action="resolve").status_code == 404
    assert "no incident" in press(ana, north, "resolve")
    assert handling(store) == before
    assert post(ana, south, action="reopen").json["state"] == "open"


def test_with_a_parent_go_the_parts_that_are_seen_and_no_others(app: Any, store: EmbeddedStore) -> None:
    north, south = incident_of(store, "CH-001"), incident_of(store, "RTU-001")
    key = {"device_id": ["CH-001"], "started_at": [north.started_at]}
    store.update(Incident.TABLE, {**key, "parent_id": [south.incident_id]})
    store.update(Incident.TABLE, {"device_id": ["RTU-001"], "started_at": [south.started_at], "scope": ["fleet"]})
    ana = visitor(app, store, "ana", Role.OPERATOR, [SOUTH])
    assert post(ana, south, action="reopen").json["parts"] == 0
    assert post(ana, south, action="resolve").json["parts"] == 0
    assert handling(store).state == "acknowledged", "the part in the north is not ana's"
    ben = visitor(app, store, "ben", Role.OPERATOR)
    assert post(ben, south, action="reopen", alone=True).json["parts"] == 0
    assert post(ben, south, action="resolve").json["parts"] == 1
    assert handling(store).state == "resolved"


def test_the_page_has_buttons_for_what_can_be_done_and_says_what_was(app: Any, store: EmbeddedStore) -> None:
    ana, incident = visitor(app, store, "ana", Role.OPERATOR), incident_of(store, "CH-001")
    key = incident.incident_id.rsplit("/", 1)

    def off() -> set[str]:
        found = ana.ask("incident-content.children", incident_id__data=key)
        return {name for name in ACTIONS if found[f"{button_id(name)}.disabled"]}

    assert off() == {"ack", "reopen"}
    assert "Resolve: done by ana" in press(ana, incident, "resolve", note="tubes cleaned")
    assert off() == {"ack", "assign", "snooze", "resolve"}
    assert "resolved by ana: tubes cleaned" in ana.text("incident-content.children", incident_id__data=key)
    assert "was resolved by ana" in press(ana, incident, "snooze")
    assert "Reopen: done by ana" in press(ana, incident, "reopen")
    for action, fields in (("snooze", {}), ("assign", {"to": "ben"}), ("label", {"label": "fouling"})):
        assert "done by ana" in press(ana, incident, action, **fields)
    assert (handling(store).state, handling(store).assignee, handling(store).labels) == ("snoozed", "ben", ["fouling"])
    assert "a comment says something" in press(ana, incident, "comment", note=" ")


def test_the_page_of_who_reads_alone_hides_the_buttons_and_says_who_may_act(app: Any, store: EmbeddedStore) -> None:
    where = {"where__pathname": "/incident/CH-001/1"}
    ana = visitor(app, store, "ana", Role.OPERATOR)
    ben = visitor(app, store, "ben", Role.VIEWER)
    assert "as ben, a viewer" not in ana.text("page.children", **where)
    assert "You are here as ben, a viewer, who reads" in ben.text("page.children", **where)


def enter(who: Visitor, device: str, start: str, until: str, note: str = "") -> str:
    """What the page of a device says after maintenance was entered."""
    given = {"device_maintenance_from__value": start, "device_maintenance_until__value": until}
    return who.text(
        "device-maintenance-said.children",
        device_maintenance_do__n_clicks=1,
        device_id__data=device,
        device_maintenance_note__value=note,
        **given,
    )


def test_an_operator_enters_maintenance_on_the_page_of_a_device(app: Any, store: EmbeddedStore) -> None:
    ana = visitor(app, store, "ana", Role.OPERATOR, [NORTH])
    assert "Entered: 2026-01-31 06:00 to 2026-01-31 18:00" in enter(
        ana, "CH-001", "2026-01-31T06:00", "2026-01-31T18:00Z", "tubes"
    )
    before = len(MaintenanceSpan.read(store, "CH-001")) - 1
    span = min(MaintenanceSpan.read(store, "CH-001"), key=lambda span: span.starts_at)
    assert (iso(span.starts_at), iso(span.ends_at)) == ("2026-01-31 06:00:00Z", "2026-01-31 18:00:00Z")
    assert span.note == "tubes (ana)"
    assert "tubes (ana)" in str(ana.ask("device-message.children", device_id__data="CH-001"))
    for start, until, told in (
        ("2026-01-31T06:00", "2026-01-31T06:00", "can't end at"),
        ("2026-01-31", "2028-01-31", "more than a year"),
        ("2026-01-31T06:00", "2026-01-31T07:00", "there is maintenance of CH-001"),
        ("tomorrow", "2026-01-31", "From: a time such as"),
        ("2026-01-31", "", "Until: a time such as"),
    ):
        assert told in enter(ana, "CH-001", start, until), until
    assert "no such device" in enter(ana, "RTU-001", "2026-01-31", "2026-02-01"), "it is in the south"
    assert "who reads" in enter(visitor(app, store, "ben", Role.VIEWER), "CH-001", "2026-01-31", "2026-02-01")
    assert len(MaintenanceSpan.read(store, "CH-001")) == before + 1
    assert MaintenanceSpan.read(store, "RTU-001") == []


def test_who_reads_alone_has_no_fields_for_maintenance(app: Any, store: EmbeddedStore) -> None:
    where = {"where__pathname": "/device/CH-001"}
    assert "Enter maintenance" in visitor(app, store, "ana", Role.OPERATOR).text("page.children", **where)
    assert "Enter maintenance" not in visitor(app, store, "ben", Role.VIEWER).text("page.children", **where)


def test_an_incident_that_was_taken_back_is_shown_with_what_was_said_of_it(app: Any, store: EmbeddedStore) -> None:
    incident = incident_of(store, "CH-001")
    ana, ben = (visitor(app, store, name, Role.OPERATOR, [place]) for name, place in (("ana", NORTH), ("ben", SOUTH)))
    assert post(ana, incident, action="comment", note="belt ordered").status_code == 200
    gone = lifecycle.after_withdrawal(handling(store), None, now_ms())
    store.delete(Incident.TABLE, {"device_id": ["CH-001"], "started_at": [incident.started_at]})
    lifecycle.write_steps(store, [gone], now_ms())
    read = ana.client.get(f"/api/v1/incidents/{incident.incident_id}")
    assert (read.status_code, read.json["state"], read.json["handling"]["state"]) == (200, "taken_back", "taken_back")
    assert [one["note"] for one in read.json["history"] if one["transition"] == "commented"] == ["belt ordered"]
    key = incident.incident_id.rsplit("/", 1)
    page = ana.ask("incident-content.children", incident_id__data=key)
    assert all(
        words in str(page["incident-content.children"])
        for words in ("taken back", "commented by ana: belt ordered", "/device/CH-001")
    )
    assert all(page[f"{button_id(name)}.disabled"] for name in ACTIONS)
    answer = post(ana, incident, action="comment", note="too late")
    assert (answer.status_code, "taken back" in answer.json["detail"]) == (409, True)
    assert "taken back" in press(ana, incident, "comment", note="too late")
    assert ben.client.get(f"/api/v1/incidents/{incident.incident_id}").status_code == 404
    assert post(ben, incident, action="comment", note="mine").status_code == 404
    assert "no such incident" in ben.text("incident-content.children", incident_id__data=key)
    assert ana.client.get("/api/v1/incidents/CH-001/7").status_code == 404
    assert "no such incident" in ana.text("incident-content.children", incident_id__data=["CH-001", "7"])


def test_a_program_gone_wrong_waits(app: Any, store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    ana, incident = visitor(app, store, "ana", Role.OPERATOR), incident_of(store, "CH-001")
    found = [post(ana, incident, action="comment", note=str(n)) for n in range(acting_module.MOST_ACTIONS + 1)]
    assert ({answer.status_code for answer in found[:-1]}, found[-1].status_code) == ({200}, 429)
    assert 0 < int(found[-1].headers["Retry-After"]) <= acting_module.ACTIONS_SECONDS + 1


@pytest.mark.parametrize(
    ("body", "headers", "status", "told"),
    [
        (b"{not json", {}, 400, "the body isn't JSON"),
        (b"[" * 100_000, {}, 400, "the body isn't JSON"),
        (b"", {}, 400, "the body isn't JSON"),
        (b'{"action": "comment", "note": "\\ud800"}', {}, 400, "half of a character"),
        (b'{"\\udfff": 1}', {}, 400, "half of a character"),
        (b'"' + b"x" * 3_000 + b'"', {}, 400, "2,000 characters"),
        (b"x" * 1_000_001, {}, 413, "1,000,000 bytes"),
        (b"{}", {"Content-Type": "text/plain"}, 415, "application/json"),
        (b"{}", {"Host": "evil.example"}, 403, "evil.example"),
    ],
)
def test_what_is_refused_before_a_path_is_looked_at_is_a_problem_too(
    app: Any, store: EmbeddedStore, body: bytes, headers: dict[str, str], status: int, told: str
) -> None:
    ana = visitor(app, store, "ana", Role.OPERATOR)
    answer = ana.client.post(
        "/api/v1/incidents/x/actions", data=body, headers={"Content-Type": "application/json", **headers}
    )
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")
    assert told in answer.json["detail"]


def test_the_document_describes_what_may_be_asked() -> None:
    operation = openapi()["paths"]["/api/v1/incidents/{incident}/actions"]["post"]
    body = operation["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["action"]["enum"] == list(ACTIONS)
    assert operation["operationId"] == "act"
