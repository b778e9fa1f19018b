"""Who sees one building learns nothing of another and changes nothing there, whatever of the platform is asked.

What there is to ask is listed by the platform itself: callbacks by Dash, pages by the registry, paths and parameters by
OpenAPI, rules by Flask. A new one that these tests don't know how to ask fails them, until it is said here what it is to be
asked with.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from hvac_platform.access import acting as acting_module
from hvac_platform.access.roles import Role
from hvac_platform.access.scoped_store import ScopedStore
from hvac_platform.access.users import add_user
from hvac_platform.api.actions import FIELDS
from hvac_platform.api.openapi import openapi
from hvac_platform.dashboard import log_in
from hvac_platform.dashboard.app import PAGES, make_app
from hvac_platform.monitoring.incident_actions import ACTIONS
from hvac_platform.runtime.device_runs import BY_TAG, DEVICE_TAG
from hvac_platform.stores.base import Store, TableSlice
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.records import Incident
from hvac_platform.stores.tables import tables
from hvac_platform.timestamps import now_ms
from hvac_platform_tests.dashboard.conftest import START_MS, YESTERDAY, copy_databases, settings_of
from hvac_platform_tests.dashboard.test_access import SITE_ONLY, Visitor
from hvac_platform_tests.dashboard.test_launching import PlayedDagster

NORTH, SOUTH = "tower north", "tower south"
MARK, NUMBER = "northmark", 731_911.5
"""Words and a number that stand in every kind of row of the device in the north, and nowhere else."""
NORTHERN, UNKNOWN = "CH-001", "CH-999"
# The number stands alone: somewhere among the digits of a score there may be any six.
SECRETS = re.compile(rf"{NORTHERN}|{NORTH}|north roof|{MARK}|(?<![\d.])731[.,]?91[12](?!\d)|kim|alex")
OPENED_AT = START_MS + 20 * 3_600_000
TAKEN_BACK = START_MS + 9 * 3_600_000
"""Starts of incidents in the north, of which the second has no rows any more."""
GIVEN: dict[str, list[Any]] = {
    "tick.n_intervals": [3],
    "where.pathname": [address.replace("<device>", NORTHERN).replace("<number>", str(OPENED_AT)) for address in PAGES],
    "pause.n_clicks": [1],
    "tick.disabled": [False],
    **{
        f"{part}-{end}": [1]
        for part in ("fleet", "incidents", "methods", "freshness")
        for end in ("previous.n_clicks",)
    },
    **{f"{part}-{end}": [1] for part in ("fleet", "incidents", "methods", "freshness") for end in ("next.n_clicks",)},
    **{f"{part}-page.data": [0, 1] for part in ("fleet", "incidents", "methods", "freshness")},
    "fleet-type.value": [None, "chiller"],
    "fleet-building.value": [None, NORTH],
    "fleet-status.value": [None, "incident open"],
    "fleet-search.value": [None, "CH", "north"],
    "fleet-view.value": ["cards", "table"],
    "fleet-order.value": [None, "place"],
    "where.search": [None, f"?search={NORTHERN}&building={NORTH}", "?from=2026-01-31&until=2026-02-01"],
    "fleet-shown.data": [[NORTHERN]],
    "device-id.data": [NORTHERN],
    "incident-axes.data": [None],
    "device-range.value": ["24 h", "7 d", "custom"],
    "device-from-entered.data": [YESTERDAY],
    "device-until-entered.data": [f"{YESTERDAY}T23:59"],
    "device-metrics.value": [[], [MARK, "cop"]],
    "device-overlay.value": [[], ["overlaid"]],
    "device-shown.data": [None, {"state": "x", "metrics": [MARK], "ends": [[]]}],
    "device-map-open.n_clicks": [1],
    "device-run-profile.n_clicks": [1],
    "device-run-days.n_clicks": [1],
    "device-run-from.value": [YESTERDAY],
    "device-run-until.value": [YESTERDAY],
    "device-run-said.children": ["done"],
    "device-runs-going.data": [None, True],
    "device-maintenance-do.n_clicks": [1],
    "device-maintenance-from.value": [f"{YESTERDAY}T01:00"],
    "device-maintenance-until.value": [f"{YESTERDAY}T02:00"],
    "device-maintenance-note.value": ["coils"],
    "incidents-severity.value": [None, "warning"],
    "incidents-device.value": [None, NORTHERN],
    "incidents-state.value": [None, "acknowledged"],
    **{f"incident-do-{name}.n_clicks": [1] for name in ACTIONS},
    "incident-note.value": ["seen"],
    "incident-to.value": ["ben"],
    "incident-hours.value": ["1 hour"],
    "incident-label.value": ["fouling"],
    "incident-said.children": ["done"],
    "incident-id.data": [[NORTHERN, str(OPENED_AT)], [NORTHERN, str(TAKEN_BACK)]],
    "methods-span.value": ["7 days", "30 days"],
    "methods-device.value": [None, NORTHERN],
    "replay-show.n_clicks": [1],
    "replay-from.n_submit": [None, 1],
    "replay-until.n_submit": [None, 1],
    "replay-metrics.value": [[], [MARK, "cop"]],
    "replay-from.value": ["", YESTERDAY],
    "replay-until.value": [f"{YESTERDAY}T23:59", ""],
    "replay-id.data": [[NORTHERN, None], [NORTHERN, str(OPENED_AT)], [NORTHERN, str(TAKEN_BACK)]],
    "what-if-device.value": [NORTHERN],
    "what-if-times.value": ["1", "1.5"],
    "what-if-methods.value": [[], ["rules"]],
    "what-if-agreeing.value": ["any method"],
    "what-if-span.value": ["7 days", "30 days"],
    "what-if-budget-entered.data": ["", "0.5"],
    "what-if-similarity-entered.data": ["", "0.9"],
    "what-if-sigma-entered.data": ["", "3"],
    "what-if-rules.value": ["", "name: chiller"],
    "what-if-try.n_clicks": [1],
    "what-if-fill.n_clicks": [1],
    "what-if-next.data": [
        {
            "until": 10**13,
            "read": 0,
            "rows": [],
            "fields": ["0.5", [], "", "30 days", "", fixed, ""],
            "rules": {"value": rules},
        }
        for rules, fixed in ((None, "0.9"), ("name: chiller", ""))
    ],
}
"""What callbacks are asked with, by 'id.property' of an input or a state: the first value while another one is tried."""
QUERY = {
    "limit": ["100"],
    "cursor": [],  # of an answer; one of another's list is refused or gives the same list's rows
    "from": ["2000-01-01"],
    "until": ["2100-01-01"],
    "metric_name": [MARK, "cop"],
    "method": ["rules"],
    "device": [NORTHERN],
    "device_type": ["chiller"],
    "building_id": [NORTH],
    "severity": ["warning"],
    "state": ["acknowledged"],
}
"""What parameters of the API are asked with."""
BODIES: Mapping[str, Mapping[str, Any]] = {
    "note": {"action": "comment", "note": "seen"},
    "to": {"action": "assign", "to": "ben"},
    "hours": {"action": "snooze", "hours": 1},
    "until": {"action": "snooze", "until": "2100-01-01T00:00:00Z"},
    "label": {"action": "label", "label": "fouling"},
    "alone": {"action": "resolve", "alone": True},
    "action": {"action": "resolve"},
}
"""A body for each field that a body may have."""
PARTS = {
    "device": NORTHERN,
    "incident": f"{NORTHERN}/{TAKEN_BACK}",
    "path": f"device/{NORTHERN}",
    "_other": f"devices/{NORTHERN}/secrets",
    "filename": "dashboard.css",
    "package_name": "dash",
    "fingerprinted_path": "x",
}
"""What stands for the parts of Flask's rules."""
ACTS = {"device-maintenance-said.children", "device-run-said.children", "incident-said.children"}
"""Callbacks that change something."""
SHOWS_NOTHING_OF_DEVICES = {
    *("fleet-page.data", "incidents-page.data", "methods-page.data", "freshness-page.data"),
    *("updated.children", "tick.disabled", "what-if-rules.value"),
}
"""Callbacks that say nothing of a device to anybody."""


def _marked(store: Store) -> None:
    """Put words and a number into rows of every kind that the device in the north has."""
    texts = {
        "incidents": {"reasons": [MARK], "label": MARK, "peak_score": NUMBER, "excess_kwh": NUMBER},
        "incident_handling": {"assignee": f"alex {MARK}", "labels": [MARK]},
        "incident_transitions": {"note": MARK},
        "anomaly_events": {"reasons": [MARK], "anomaly_score": NUMBER},
        "snapshot_verdicts": {"reasons": [MARK], "score": NUMBER},
        "device_profiles": {"fit": {"count": 1, "start_ms": 1, "end_ms": 2, "reason": MARK}},
        "profile_versions": {"reason": MARK},
        "maintenance_spans": {"note": MARK},
        "metric_trends": {"reading": NUMBER},
        "detection_reports": {"energy_kwh": NUMBER},
        "method_reports": {"anomalous": int(NUMBER)},
    }
    for name, changes in texts.items():
        kind = tables()[name]
        keys = tuple(dict.fromkeys(("device_id", *kind.partition, *kind.clustering)))
        for batch in list(store.scan(TableSlice(name, keys, NORTHERN))):
            marks = {column: [value] * len(batch["device_id"]) for column, value in changes.items()}
            store.update(name, {**{key: batch[key] for key in keys}, **marks})
    newest = max(
        time
        for batch in store.scan(TableSlice("device_state_snapshots", (), NORTHERN))
        for time in batch["snapshot_time"]
    )
    reading = {"timestamp": newest, "date": YESTERDAY, "metric_name": MARK, "metric_value": NUMBER, "unit": MARK}
    _one(store, "device_metrics_raw", reading | {"device_type": "chiller", "location": "", "building_id": NORTH})
    change = {"since": newest, "seen_until": newest, "state": "waiting", "windows": 9, "share": 0.5, "metrics": [MARK]}
    change |= {"signature": {}, "evidence": [{"about": "rule", "against": True, "said": MARK, "value": NUMBER}]}
    _one(
        store,
        "lasting_changes",
        change | {"incident_id": f"{NORTHERN}/lasting", "told_at": newest, "decided_at": 1, "decided_by": MARK},
    )
    _one(store, "embedding_backlog", {"date": YESTERDAY, "since": newest, "reason": MARK})
    point = {"metric": MARK, "interval_ms": 60_000, "longest_ms": 60_000, "regular": True, "learned_from": 0}
    _one(store, "device_points", point | {"learned_until": 1, "grade": None, "retired_at": None, "updated_at": 1})

    gone = {"incident_id": f"{NORTHERN}/{TAKEN_BACK}", "transition_key": "opened", "transition": "opened", "at": 1}
    _one(store, "incident_transitions", gone | {"actor": "platform", "note": MARK, "details": {}})


def _one(store: Store, table: str, row: Mapping[str, Any]) -> None:
    store.upsert(table, {name: [value] for name, value in {"device_id": NORTHERN, **row}.items()})


def _entangled(store: EmbeddedStore) -> None:
    """Have the south's own incident speak of the north in every way in which one may."""
    (ours,) = Incident.read(store, "RTU-001")
    north = f"{NORTHERN}/{OPENED_AT}"
    like = {
        "incident_id": north,
        "device_id": NORTHERN,
        "label": MARK,
        "known": True,
        "started_at": OPENED_AT,
        "similarity": 0.9,
    }
    cause = f"chilled water (root {NORTHERN}; since {YESTERDAY}T20:00Z; {NORTHERN} 5 min later, {MARK})"
    key = {"device_id": ["RTU-001"], "started_at": [ours.started_at]}
    store.update(
        Incident.TABLE, {**key, "similar": [[like]], "parent_id": [north], "cause": [cause], "scope": ["plant"]}
    )
    handling = {"device_id": ["RTU-001"], "incident_id": [ours.incident_id]}
    store.update("incident_handling", {**handling, "parent_id": [north]})
    for transition, details in (("joined", {"parent": north}), ("merged", {"into": north})):
        step = {"transition_key": f"{transition}/{north}", "transition": transition, "at": 5, "actor": "platform"}
        row = {"device_id": "RTU-001", "incident_id": ours.incident_id, **step, "note": "", "details": details}
        store.upsert("incident_transitions", {name: [value] for name, value in row.items()})


@pytest.fixture(scope="module")
def home(filled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("leaks")
    copy_databases(filled, folder)
    store = EmbeddedStore(folder / "store.db")
    for device, building, place in ((NORTHERN, NORTH, "north roof"), ("RTU-001", SOUTH, "south roof")):
        store.connection.execute(
            "UPDATE devices SET building_id=?, location=? WHERE device_id=?", (building, place, device)
        )
    _marked(store)
    _entangled(store)
    store.close()
    return folder


@pytest.fixture(scope="module")
def store(home: Path) -> EmbeddedStore:
    return EmbeddedStore(home / "store.db")


@pytest.fixture(scope="module")
def dagster() -> Iterator[PlayedDagster]:
    """Has a run over the device in the north."""
    played = PlayedDagster()
    tags = [{"key": key, "value": value} for key, value in ((DEVICE_TAG, NORTHERN), (BY_TAG, MARK))]
    times = {"creationTime": 1.0, "endTime": None}
    played.runs.append({"runId": MARK, "status": "QUEUED", **times, "tags": tags, "stepStats": []})
    yield played
    played.server.shutdown()
    played.server.server_close()


@pytest.fixture(scope="module")
def app(home: Path, store: EmbeddedStore, dagster: PlayedDagster) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(acting_module, "MOST_ACTIONS", 100_000)
        patch.setattr(log_in, "USERS_SECONDS", 0.0)
        plant = home / "plant.json"  # the north feeds the south
        plant.write_text(json.dumps({"feeds": {NORTHERN: ["RTU-001"]}}))
        yield make_app(settings_of(home, hvac_dagster_url=dagster.url, hvac_fleet=plant))


@pytest.fixture(scope="module")
def whole(app: Any, store: EmbeddedStore) -> Visitor:
    """Somebody who sees everything: what they find is what the others must not. They act nowhere."""
    return Visitor(app, add_user(store, "ana", Role.OPERATOR, None, now_ms()))


@pytest.fixture(scope="module")
def part(app: Any, store: EmbeddedStore) -> Visitor:
    """Somebody who may do everything in the south."""
    return Visitor(app, add_user(store, "ben", Role.OPERATOR, [SOUTH], now_ms()))


def everything(store: Store) -> dict[str, list[str]]:
    """All rows of the store but its users'."""
    return {
        name: sorted(repr(row) for batch in store.scan(TableSlice(name)) for row in zip(*batch.values(), strict=True))
        for name in tables()
        if name != "users"
    }


def callbacks(visitor: Visitor) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each callback that the server answers, with all that it is to be asked: each value of each input and state in turn."""
    for callback in visitor.client.get("/_dash-dependencies").json:
        if callback["clientside_function"] is not None:
            continue
        output = callback["output"].strip(".").split("...")[0]
        names = [f"{one['id']}.{one['property']}" for one in (*callback["inputs"], *callback["state"])]
        unknown = set(names) - set(GIVEN)
        assert not unknown, f"{output} takes what nobody says here how to ask for: say it in GIVEN"
        buttons = {name for name in names if name.endswith("n_clicks")}
        usual = {name: GIVEN[name][0] for name in names if name not in buttons}
        for name in names:
            for value in GIVEN[name]:
                yield output, {name: value} | {other: one for other, one in usual.items() if other != name}


def told(visitor: Visitor, output: str, given: Mapping[str, Any]) -> str:
    names = {name.replace("-", "_").replace(".", "__"): value for name, value in given.items()}
    return visitor.text(output, **names)


def renamed(value: Any) -> Any:
    """The same, of a device that there isn't."""
    return json.loads(json.dumps(value).replace(NORTHERN, UNKNOWN))


def leaks(said: str, asked_for: str) -> re.Match[str] | None:
    """The first thing of the north in an answer, besides what it was asked for by name."""
    for word in (NORTHERN, NORTH, MARK):
        said = said.replace(word, "") if word in asked_for else said
    return SECRETS.search(said)


def test_no_callback_tells_of_another_building_or_changes_it(
    whole: Visitor, part: Visitor, store: EmbeddedStore, dagster: PlayedDagster
) -> None:
    before, asked, shown = everything(store), 0, set()
    for output, given in callbacks(part):
        asked += 1
        said, asked_for = told(part, output, given), json.dumps(list(given.values()))
        if NORTHERN in asked_for:
            assert said.replace(NORTHERN, UNKNOWN) == told(part, output, renamed(given)), (output, given)
        assert not leaks(said, asked_for), (output, given, leaks(said, asked_for))
    assert everything(store) == before
    assert dagster.launched == []
    for output, given in callbacks(whole):
        if output not in ACTS and leaks(told(whole, output, given), ""):
            shown.add(output)
    known = {output for output, _ in callbacks(part)}
    assert known - shown == SHOWS_NOTHING_OF_DEVICES | ACTS, "a callback was asked so that it shows nothing to anybody"
    assert asked > 60


def test_what_callbacks_are_asked_with_is_asked_for_by_one(whole: Visitor) -> None:
    assert {name for _, given in callbacks(whole) for name in given} == GIVEN.keys()


def test_what_acts_does_so_for_who_may(home: Path, tmp_path: Path, dagster: PlayedDagster) -> None:
    """So that an act which is asked for in vain on another building isn't one that could not be done by anybody."""
    copy_databases(home, tmp_path)
    store = EmbeddedStore(tmp_path / "store.db")
    app = make_app(settings_of(tmp_path, hvac_dagster_url=dagster.url))
    cleo = Visitor(app, add_user(store, "cleo", Role.OPERATOR, None, now_ms()))
    changed, before = set(), (everything(store), len(dagster.launched))
    for output, given in callbacks(cleo):
        if output in ACTS:
            told(cleo, output, given)
            after = everything(store), len(dagster.launched)
            changed |= {output} if after != before else set()
            before = after
    assert changed == ACTS


def requests() -> Iterator[tuple[str, str, Any]]:
    """Method, path with its query, and body of every request that the document has: about the north, with each parameter."""
    for path, operations in openapi()["paths"].items():
        parts = [PARTS, {**PARTS, "incident": f"{NORTHERN}/{OPENED_AT}"}] if "{incident}" in path else [PARTS]
        targets = [re.sub(r"\{(\w+)\}", lambda part, of=of: quote(of[part[1]]), path) for of in parts]
        for target, (method, operation) in product(targets, operations.items()):
            named = [one["name"] for one in operation["parameters"] if one["in"] == "query"]
            unknown = set(named) - set(QUERY)
            assert not unknown, f"{path} takes what nobody says here how to ask for: say it in QUERY"
            bodies: list[Any] = [None]
            if "requestBody" in operation:
                assert set(operation["requestBody"]["content"]["application/json"]["schema"]["properties"]) == set(
                    BODIES
                )
                bodies = [*BODIES.values(), *({"action": name} for name in ACTIONS)]
            queries = ["", *(f"?{urlencode({name: value})}" for name in named for value in QUERY[name])]
            for query, body in product(queries, bodies):
                yield method.upper(), target + query, body


def test_no_path_of_the_api_tells_of_another_building_or_changes_it(
    whole: Visitor, part: Visitor, store: EmbeddedStore
) -> None:
    assert set(BODIES) == set(FIELDS)
    before, shown = everything(store), set()
    for method, target, body in requests():
        answer = part.client.open(target, method=method, json=body)
        path = target.partition("?")[0]
        assert answer.status_code < 500, target
        assert answer.status_code == 403 or path not in SITE_ONLY, target
        if NORTHERN in path:
            assert answer.status_code in ((404,) if method == "GET" else (400, 404)), target
        if NORTHERN in target:
            other = part.client.open(target.replace(NORTHERN, UNKNOWN), method=method, json=body)
            said = answer.status_code, answer.text.replace(NORTHERN, UNKNOWN)
            assert said == (other.status_code, other.text), target
        assert not leaks(answer.text, target), target
        if method == "GET" and leaks(whole.client.get(target).text, ""):
            shown.add(path)
    assert everything(store) == before
    read = {target.partition("?")[0] for method, target, _ in requests() if method == "GET"}
    assert read - shown == {"/api/v1/health"}, "a path was asked so that it shows nothing to anybody"


def test_a_cursor_of_another_list_leads_to_nothing_of_another_building(whole: Visitor, part: Visitor) -> None:
    followed = 0
    for method, target, _ in requests():
        if method != "GET" or "?limit" not in target:
            continue
        first = whole.client.get(target.replace("limit=100", "limit=1")).json
        if first.get("next") is None:
            continue
        followed += 1
        for path in {target.partition("?")[0], target.partition("?")[0].replace(NORTHERN, "RTU-001")}:
            answer = part.client.get(f"{path}?limit=1000&cursor={quote(first['next'])}")
            assert not leaks(answer.text, path), path
    assert followed >= 5


def test_no_rule_of_the_server_tells_of_another_building(app: Any, part: Visitor) -> None:
    """Pages, Dash's own paths, health, metrics and whatever is added: each by what Flask knows of it."""
    asked = 0
    for rule in app.server.url_map.iter_rules():
        target = re.sub(r"<(?:\w+:)?(\w+)>", lambda part: quote(PARTS[part[1]]), rule.rule)
        for method in sorted((rule.methods or set()) - {"OPTIONS", "HEAD"}):
            if target == "/log-out":
                continue
            asked += 1
            answer = part.client.open(target, method=method, json={} if method == "POST" else None)
            assert answer.status_code < 500, target
            assert answer.status_code == 403 or target not in SITE_ONLY, target
            assert not leaks(answer.data.decode(errors="replace"), target), target
    assert asked > 25
    for page in GIVEN["where.pathname"]:
        assert not leaks(part.client.get(page).text, page), page


def test_no_row_that_a_part_of_the_site_reads_names_another(store: EmbeddedStore) -> None:
    """Whatever pages come to show of a row: what would tell of another building is not in it."""
    scoped, read = ScopedStore(store, frozenset({SOUTH})), 0
    for name in tables():
        for batch in scoped.scan(TableSlice(name)):
            for column, values in batch.items():
                read += len(values)
                told = next((found for value in values if (found := SECRETS.search(str(value)))), None)
                assert told is None, (name, column, told)
    assert read > 30_000
