"""What programs read over HTTP: documents as described, pages that join to the whole, errors that say what is wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hvac_platform.dashboard.app import make_app
from hvac_platform.monitoring.lifecycle import device_of, snooze
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.records import Incident, Reading, StoredProfile
from hvac_platform_tests.conftest import HOUR_MS, MINUTE_MS
from hvac_platform_tests.dashboard.conftest import EVIL, START_MS, copy_databases, settings_of

API = "/api/v1"


@pytest.fixture(scope="module")
def client(filled: Path) -> Any:
    server: Any = make_app(settings_of(filled)).server
    return server.test_client()


def get(client: Any, path: str, **parameters: Any) -> Any:
    answer = client.get(API + path, query_string={name.rstrip("_"): value for name, value in parameters.items()})
    assert answer.status_code == 200, answer.data[:500]
    assert answer.content_type == "application/json"
    return answer.json


def whole(client: Any, path: str, **parameters: Any) -> list[dict[str, Any]]:
    """All pages of a list."""
    items, cursor = [], None
    while True:
        page = get(client, path, **parameters, **({} if cursor is None else {"cursor": cursor}))
        items += page["items"]
        cursor = page["next"]
        if cursor is None:
            return items


@pytest.fixture(scope="module")
def document(client: Any) -> Any:
    return get(client, "/openapi.json")


def test_every_path_of_the_document_answers_with_what_its_schema_has(client: Any, document: Any, filled: Path) -> None:
    (incident, *_) = Incident.read(EmbeddedStore(filled / "store.db"), "CH-001", only=("incident_id",))
    names = {"device": "CH-001", "incident": incident.incident_id}
    for path, operations in document["paths"].items():
        if "get" not in operations:
            continue
        answer = get(client, re.sub(r"\{(\w+)\}", lambda m: names[m[1]], path.removeprefix(API)))
        schema = operations["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        items = answer["items"] if "items" in schema.get("properties", {}) else [answer]
        assert items or path.endswith("/similar"), path
        reference = schema.get("$ref") or schema.get("properties", {}).get("items", {}).get("items", {}).get("$ref")
        for one in [reference] if reference is not None else [part["$ref"] for part in schema.get("allOf", [])]:
            described = document["components"]["schemas"][one.rpartition("/")[2]]["properties"]
            assert described.keys() <= items[0].keys(), path


def test_every_reference_of_the_document_leads_somewhere_and_every_parameter_is_described(document: Any) -> None:
    assert document["openapi"] == "3.1.0"
    for reference in re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)):
        assert reference in document["components"]["schemas"]
    operations = [one for path in document["paths"].values() for one in path.values()]
    assert len({one["operationId"] for one in operations}) == len(operations)
    assert all(one["summary"] for one in operations)


@pytest.mark.parametrize("limit", [1, 7, 100])
def test_pages_join_to_the_whole_and_no_instant_is_on_two_of_them(client: Any, filled: Path, limit: int) -> None:
    span = {"from_": "2000-01-01", "until": "2100-01-01"}
    begin, end = START_MS + HOUR_MS, START_MS + HOUR_MS + 5 * MINUTE_MS
    store = EmbeddedStore(filled / "store.db")
    stored = Reading.read(store, "CH-001", (begin, end))
    times = {"from": _rfc(begin), "until": _rfc(end)}
    read = whole(client, "/devices/CH-001/readings", limit=limit, **times)
    assert [(one["timestamp"], one["metric_name"], one["metric_value"]) for one in read] == [
        (_rfc(one.timestamp), one.metric_name, one.metric_value) for one in stored
    ]
    assert len(whole(client, "/devices", limit=limit)) == len(store.devices())
    found = whole(client, "/incidents", limit=limit, **span)
    assert sorted(one["incident_id"] for one in found) == sorted(one.incident_id for one in Incident.read(store))
    assert [one["started_at"] for one in found] == sorted((one["started_at"] for one in found), reverse=True)


def _rfc(milliseconds: int) -> str:
    from hvac_platform.ingestion.messages import format_timestamp

    return format_timestamp(milliseconds)


def test_lists_are_restricted_as_asked(client: Any) -> None:
    metrics = {one["metric_name"] for one in get(client, "/devices/CH-001/readings", metric_name="cop")["items"]}
    assert metrics == {"cop"}
    assert {one["method"] for one in get(client, "/devices/CH-001/verdicts", method="rules")["items"]} == {"rules"}
    (one,) = get(client, "/incidents", state="acknowledged")["items"]
    assert (device_of(one["incident_id"]), one["handling"]["assignee"]) == ("CH-001", "alex")
    assert {one["device_type"] for one in get(client, "/devices", device_type="chiller")["items"]} == {"chiller"}
    history = get(client, f"/incidents/{one['incident_id']}")["history"]
    assert [step["transition"] for step in history] == ["opened", "acknowledged", "assigned"]


def test_times_of_similar_incidents_are_written_as_all_times_are(client: Any) -> None:
    similar = [one for each in get(client, "/incidents")["items"] for one in each["similar"]]
    assert similar
    assert all(re.fullmatch(r"20\d\d-\d\d-\d\dT[\d:]+(\.\d+)?Z", one["started_at"]) for one in similar)


def test_every_time_is_written_as_rfc_3339_however_deep_it_is(client: Any, document: Any, filled: Path) -> None:
    """Columns of JSON have instants too: what the detector was fitted on, until when an incident was snoozed."""
    fit = get(client, "/devices/CH-001/profile")["fit"]
    (stored,) = [one for one in StoredProfile.read(EmbeddedStore(filled / "store.db")) if one.device_id == "CH-001"]
    assert stored.fit is not None
    assert (fit["start"], fit["end"]) == (_rfc(stored.fit["start_ms"]), _rfc(stored.fit["end_ms"]))
    assert fit["count"] == stored.fit["count"]
    described = document["components"]["schemas"]["device_profiles"]["properties"]["fit"]["properties"]
    assert {one["format"] for one in described.values()} == {"date-time"}
    for path in document["paths"]:
        if "{" not in path:
            assert not re.search(r": 1[6-9]\d{11}\b", json.dumps(get(client, path.removeprefix(API)))), path
    for path in ("profile", "points", "snapshots", "events", "verdicts"):
        assert not re.search(r": 1[6-9]\d{11}\b", json.dumps(get(client, f"/devices/CH-001/{path}"))), path


def test_the_end_of_a_snooze_in_a_history_is_a_time(filled: Path, tmp_path: Path) -> None:
    copy_databases(filled, tmp_path)
    store = EmbeddedStore(tmp_path / "store.db")
    (incident, *_) = Incident.read(store, "CH-001")
    snooze(store, incident, incident.ended_at + 2 * HOUR_MS, by="kim", at_ms=incident.ended_at + HOUR_MS)
    store.close()
    server: Any = make_app(settings_of(tmp_path)).server
    history = get(server.test_client(), f"/incidents/{incident.incident_id}")["history"]
    assert history[-1]["details"] == {"until": _rfc(incident.ended_at + 2 * HOUR_MS)}


def test_a_device_of_any_name_is_found(client: Any) -> None:
    assert get(client, f"/devices/{quote(EVIL, safe='')}")["device_id"] == EVIL
    assert len(get(client, f"/devices/{quote(EVIL, safe='')}/readings")["items"]) == 89


def test_an_answer_that_the_client_has_is_not_sent_again(client: Any) -> None:
    first = client.get(f"{API}/devices")
    again = client.get(f"{API}/devices", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert client.get(f"{API}/devices?limit=1").headers["ETag"] != first.headers["ETag"]


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/devices?limit=0", 400, "limit: a number from 1 to 10000"),
        ("/devices?colour=red", 400, "no parameter 'colour' here; there are building_id, cursor"),
        ("/devices?limit=1&limit=2", 400, "limit: given more than once"),
        ("/devices?cursor=none", 400, "cursor: not one that an answer of this list had as next"),
        ("/devices/CH-001/readings?from=yesterday", 400, "from: a date or time of ISO 8601"),
        ("/devices/CH-9", 404, "no device 'CH-9': /api/v1/devices has them"),
        ("/incidents/CH-9/1", 404, "no incident 'CH-9/1'"),
        ("/machines", 404, "no such path; there are /api/v1/health"),
        ("", 404, "no such path; there are /api/v1/health"),
        ("/", 404, "no such path; there are /api/v1/health"),
        ("//devices", 404, "no such path; there are /api/v1/health"),
        ("/devices%0A", 404, "no such path; there are /api/v1/health"),
    ],
)
def test_what_is_wrong_is_told_as_a_problem(client: Any, path: str, status: int, said: str) -> None:
    answer = client.get(API + path)
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")
    problem = json.loads(answer.data)
    assert problem["status"] == status
    assert said in problem["detail"]


@pytest.mark.parametrize("path", ["/incidents", "/devices/CH-001", "/openapi.json"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("body", [{}, {"json": {}}, {"data": b"x", "content_type": "text/plain"}, {"data": b"["}])
def test_a_method_that_a_path_does_not_take_is_told_whatever_its_body(
    client: Any, path: str, method: str, body: dict[str, Any]
) -> None:
    answer = client.open(API + path, method=method, **body)
    assert (answer.status_code, answer.content_type) == (405, "application/problem+json")
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


def test_actions_take_json_by_post_alone(client: Any) -> None:
    path = f"{API}/incidents/CH-001/1/actions"
    assert client.post(path, data=b"x", content_type="text/plain").status_code == 415
    answer = client.delete(path)
    assert (answer.status_code, "POST" in answer.headers["Allow"]) == (405, True)


def test_no_body_is_longer_than_a_million_bytes_whatever_the_method(client: Any) -> None:
    for method, kind in (("POST", "text/plain"), ("POST", "application/json"), ("PUT", "text/plain"), ("GET", "x/y")):
        answer = client.open(f"{API}/devices", method=method, data=b"1" * 1_000_001, content_type=kind)
        assert (answer.status_code, answer.content_type) == (413, "application/problem+json"), (method, kind)


def test_a_metric_that_nobody_has_sent_has_no_readings(client: Any) -> None:
    assert get(client, "/devices/CH-001/readings", metric_name="nobodys") == {"items": [], "next": None}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(
        ["/devices", "/incidents", "/devices/CH-001/readings", "/devices/CH-001/similar", "/devices/", "/"]
    ),
    st.dictionaries(
        st.sampled_from(["limit", "cursor", "from", "until", "state", "x"]), st.text(max_size=30), max_size=4
    ),
    st.text(max_size=20),
)
def test_no_request_whatever_it_says_is_an_error_of_the_server(
    client: Any, path: str, parameters: dict[str, str], behind: str
) -> None:
    answer = client.get(API + path + quote(behind), query_string=parameters)
    assert answer.status_code < 500
    if answer.status_code != 200:
        assert answer.content_type.startswith("application/problem+json")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/incidents?severity=purple", "severity: one of critical, warning, info"),
        ("/incidents?state=new", "state: one of open"),
        ("/incidents?device=NOPE", "device: no 'NOPE'"),
        ("/devices/CH-001/verdicts?method=magic", "method: one of rules"),
        ("/devices/CH-001/readings?from=2026-01-02&until=2026-01-01", "until: not after from"),
    ],
)
def test_what_can_not_be_there_is_refused_and_not_answered_by_an_empty_list(client: Any, path: str, said: str) -> None:
    answer = client.get(API + path)
    assert answer.status_code == 400
    assert answer.json["detail"].startswith(said)


def test_an_incident_has_what_it_is_worth_with_the_reason_where_that_is_not_known(client: Any, filled: Path) -> None:
    first, *_ = Incident.read(EmbeddedStore(filled / "store.db"), "CH-001")
    one = get(client, f"/incidents/{first.incident_id}")
    worth = one["worth"]
    assert worth["avoidable_kwh_a_day"] is not None or worth["unknown"]["cost"]
    assert "HVAC_TARIFFS" in worth["unknown"]["money"]
    assert worth["avoidable_cost_a_day"] is None
    for name in ("cost", "comfort", "maintenance_risk"):
        assert 0 <= worth[name] <= 10
    assert one["urgency_parts"]["severity"] == 25.0
    assert one["urgency_parts"]["maintenance risk"] == worth["maintenance_risk"]
    assert one["savings"] is None, "it is not resolved"
    listed = get(client, "/incidents", device="CH-001")["items"][0]
    assert "urgency" in listed
    assert "worth" not in listed, "a list reads what was kept"
