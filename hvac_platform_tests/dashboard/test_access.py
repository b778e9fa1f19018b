"""Who may see what: without users everybody reads; with them nobody without a token, and each their own buildings."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from hvac_platform.access import passwords
from hvac_platform.access.passwords import set_password
from hvac_platform.access.roles import Role
from hvac_platform.access.scoped_store import ScopedStore
from hvac_platform.access.users import UserError, add_user, revoke_user, users
from hvac_platform.api.openapi import openapi
from hvac_platform.dashboard import log_in
from hvac_platform.dashboard.app import make_app
from hvac_platform.dashboard.pages.device import Asked, plant_around, render
from hvac_platform.stores.base import TableSlice
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.records import Incident
from hvac_platform.stores.tables import tables
from hvac_platform.timestamps import now_ms
from hvac_platform_tests.dashboard.conftest import EVIL, START_MS, Browser, copy_databases, settings_of
from hvac_platform_tests.dashboard.test_pages import PAGES

NORTH, SOUTH = "tower north", "tower south"
"""CH-001 is in the one, RTU-001 in the other."""
SECRET = ("CH-001", NORTH, "north roof")
"""What nobody may read who sees the south alone."""
SITE_ONLY = ("/metrics", "/api/v1/health")


@pytest.fixture
def home(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy_databases(filled, tmp_path)
    monkeypatch.setattr(log_in, "USERS_SECONDS", 0.0)
    store = EmbeddedStore(tmp_path / "store.db")
    for device, building, place in (("CH-001", NORTH, "north roof"), ("RTU-001", SOUTH, "south roof")):
        store.connection.execute(
            "UPDATE devices SET building_id=?, location=? WHERE device_id=?", (building, place, device)
        )
    # An incident of the south that is like one of the north, and part of an event that began there.
    (ours,) = Incident.read(store, "RTU-001")
    like = {
        "incident_id": "CH-001/1",
        "device_id": "CH-001",
        "label": None,
        "known": True,
        "started_at": 1,
        "similarity": 0.9,
    }
    changed = {
        "similar": [[like]],
        "parent_id": ["CH-001/1"],
        "cause": [f"hot weather (9 devices of building {NORTH} from …)"],
    }
    key = {"device_id": ["RTU-001"], "started_at": [ours.started_at]}
    store.update(Incident.TABLE, key | changed)
    store.close()
    return tmp_path


@pytest.fixture
def store(home: Path) -> EmbeddedStore:
    return EmbeddedStore(home / "store.db")


class Visitor(Browser):
    """A browser of somebody with a token."""

    def __init__(self, app: Any, token: str) -> None:
        self.client = app.server.test_client()
        self.client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token}"
        self._dependencies = self.client.get("/_dash-dependencies").json


def test_without_users_everybody_reads(home: Path) -> None:
    client = make_app(settings_of(home)).server.test_client()
    for path in ("/", "/api/v1/devices", "/metrics", "/_dash-layout"):
        assert client.get(path).status_code == 200


def test_with_users_nothing_is_told_without_a_token(home: Path, store: EmbeddedStore) -> None:
    app = make_app(settings_of(home))
    add_user(store, "ana", Role.VIEWER, None, now_ms())
    client = app.server.test_client()
    rules = sorted({rule.rule for rule in app.server.url_map.iter_rules() if "GET" in (rule.methods or ())})
    assert len(rules) > 20
    for rule in rules:
        path = re.sub(r"<(\w+:)?(\w+)>", lambda m: {"device": "CH-001", "incident": "CH-001/1"}.get(m[2], "x"), rule)
        answer = client.get(path)
        allowed = path in log_in.OPEN_PATHS or path.startswith(log_in.OPEN_FOLDERS)
        assert allowed or answer.status_code in (302, 401), path
        assert not any(secret.encode() in answer.data for secret in SECRET), path
    assert client.get("/device/CH-001").headers["Location"] == "/log-in?to=%2Fdevice%2FCH-001"
    assert client.post("/_dash-update-component", json={}).status_code == 401
    assert client.get("/api/v1/devices").headers["WWW-Authenticate"] == "Bearer"
    assert client.get("/api/v1/devices", headers={"Authorization": "Bearer hvac_wrong"}).status_code == 401


def test_a_token_opens_all_of_it_until_it_is_revoked(home: Path, store: EmbeddedStore) -> None:
    app = make_app(settings_of(home))
    token = add_user(store, "ana", Role.VIEWER, None, now_ms())
    visitor = Visitor(app, token)
    assert "CH-001" in visitor.text("fleet-cards.children")
    assert "ana (viewer)" in visitor.text("page.children", where__pathname="/")
    assert visitor.client.get("/metrics").status_code == 200
    assert len(visitor.client.get("/api/v1/devices").json["items"]) == 3
    revoke_user(store, "ana", now_ms())
    assert visitor.client.get("/api/v1/devices").status_code == 401, "the last user is gone, and the door stays closed"


def test_a_browser_gets_a_session_for_a_token_and_it_ends(home: Path, store: EmbeddedStore) -> None:
    token = add_user(store, "ana", Role.OPERATOR, None, now_ms())
    client = make_app(settings_of(home)).server.test_client()
    for path in re.findall(r'(?:href|src)="([^"]+)"', client.get("/log-in").text):
        assert client.get(path).status_code == 200, "what the page to log in consists of is shown to anybody"
    assert client.post("/log-in", json={"token": token + "x"}).status_code == 401
    assert client.post("/log-in", data="token=…", content_type="text/plain").status_code == 415
    answer = client.post("/log-in", json={"token": token})
    cookie = answer.headers["Set-Cookie"]
    assert answer.status_code == 200
    assert all(word in cookie for word in ("HttpOnly", "SameSite=Strict", "Path=/"))
    assert token not in cookie
    assert client.get("/").status_code == 200
    assert client.post("/log-out", json={}).status_code == 200
    assert client.get("/api/v1/devices").status_code == 401
    secure = client.post("/log-in", json={"token": token}, headers={"X-Forwarded-Proto": "https"})
    assert "Secure" in secure.headers["Set-Cookie"]
    revoke_user(store, "ana", now_ms())
    assert client.get("/api/v1/devices").status_code == 401, "a session ends with its user"


PASSWORD = "seven white chillers"


def test_a_name_and_a_password_are_as_good_as_a_token_and_end_with_it(home: Path, store: EmbeddedStore) -> None:
    add_user(store, "ana", Role.OPERATOR, [SOUTH], now_ms())
    set_password(store, "ana", PASSWORD)
    client = make_app(settings_of(home)).server.test_client()
    for name, password in (("ana", PASSWORD + "x"), ("ben", PASSWORD), ("", PASSWORD), ("ana", "p" * 1_500)):
        answer = client.post("/log-in", json={"name": name, "password": password})
        assert (answer.status_code, answer.json) == (401, {"said": "no such name with this password"}), name
    assert client.post("/log-in", data=f"name=ana&password={PASSWORD}", content_type="text/plain").status_code == 415
    other_site = {"Origin": "http://evil.example"}
    assert client.post("/log-in", json={"name": "ana", "password": PASSWORD}, headers=other_site).status_code == 403
    answer = client.post("/log-in", json={"name": "ana", "password": PASSWORD})
    assert answer.status_code == 200
    assert all(word in answer.headers["Set-Cookie"] for word in ("HttpOnly", "SameSite=Strict"))
    assert [one["device_id"] for one in client.get("/api/v1/devices").json["items"]] == ["RTU-001"]
    set_password(store, "ana", "another password")
    assert client.get("/api/v1/devices").status_code == 401, "a session ends with the password that it was begun with"
    assert client.post("/log-in", json={"name": "ana", "password": "another password"}).status_code == 200
    revoke_user(store, "ana", now_ms())
    assert client.get("/api/v1/devices").status_code == 401
    assert client.post("/log-in", json={"name": "ana", "password": "another password"}).status_code == 401
    add_user(store, "ana", Role.VIEWER, None, now_ms())
    assert client.post("/log-in", json={"name": "ana", "password": "another password"}).status_code == 401


def test_a_password_is_kept_as_argon2id_of_the_profile_for_little_memory(store: EmbeddedStore) -> None:
    add_user(store, "ana", Role.VIEWER, None, now_ms())
    set_password(store, "ana", "Ｃａｆé am Turm")
    (kept,) = users(store)
    assert str(kept.password_argon2).startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert passwords.user_of([kept], "ana", "Cafe\u0301 am Turm") == kept, "composed in another way"
    wrong = (("short", "12 to 1,000"), ("x" * 1_001, "this one has 1001"), ("half of a pair \ud800", "UTF-8"))
    for password, said in wrong:
        with pytest.raises(UserError, match=said):
            set_password(store, "ana", password)
    with pytest.raises(UserError, match="no user 'ben': ana"):
        set_password(store, "ben", PASSWORD)
    add_user(store, "ana.of.the.south", Role.VIEWER, None, now_ms())
    with pytest.raises(UserError, match="the user's name"):
        set_password(store, "ana.of.the.south", "Ana.of.the.South")


def test_an_answer_takes_as_long_whether_there_is_such_a_name_or_not(
    store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every log-in by password compares once, with parameters that are the same."""
    compared: list[str] = []

    class Counting:
        def verify(self, kept: str, password: str) -> bool:
            compared.append(kept)
            return bool(passwords.PasswordHasher().verify(kept, password))

    for name in ("ana", "ben", "eve"):
        add_user(store, name, Role.VIEWER, None, now_ms())
    set_password(store, "ana", PASSWORD)
    revoke_user(store, "eve", now_ms())
    known = users(store)
    assert not passwords.HASHER.check_needs_rehash(passwords.NOBODYS)
    monkeypatch.setattr(passwords, "HASHER", Counting())
    found = [passwords.user_of(known, name, "wrong") for name in ("ana", "ben", "eve", "nobody", "no name!")]
    assert found == [None] * 5
    assert compared == [known[0].password_argon2, *[passwords.NOBODYS] * 4]
    assert passwords.user_of(known, "nobody", "correct horse") is None, "what nobody's password is opens nothing"


def test_who_tries_many_passwords_of_a_name_waits_wherever_they_come_from(home: Path, store: EmbeddedStore) -> None:
    token = add_user(store, "ana", Role.VIEWER, None, now_ms())
    set_password(store, "ana", PASSWORD)
    client = make_app(settings_of(home)).server.test_client()

    def tried(password: str, address: int, name: str = "ana") -> int:
        given = {"name": name, "password": password}
        status = client.post("/log-in", json=given, environ_base={"REMOTE_ADDR": f"10.0.0.{address}"}).status_code
        return int(status)

    assert [tried(f"wrong {n}", n) for n in range(11)] == [401] * 10 + [429]
    assert tried(PASSWORD, 12) == 429, "not even with the right one"
    assert tried("wrong", 12, "ben") == 401
    assert client.post("/log-in", json={"token": token}).status_code == 200, "a token is not guessed"
    assert [tried("wrong", 99, f"user{n}") for n in range(11)] == [401] * 10 + [429], "nor many names from one address"


def test_where_many_log_in_at_once_one_waits_and_is_told_so(home: Path, store: EmbeddedStore, monkeypatch: Any) -> None:
    add_user(store, "ana", Role.VIEWER, None, now_ms())
    set_password(store, "ana", PASSWORD)
    monkeypatch.setattr(passwords, "WAIT_SECONDS", 0.01)
    client = make_app(settings_of(home)).server.test_client()
    with passwords._at_work:
        answer = client.post("/log-in", json={"name": "ana", "password": PASSWORD})
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "2")
    assert client.post("/log-in", json={"name": "ana", "password": PASSWORD}).status_code == 200


@pytest.mark.parametrize("to", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)"])
def test_the_page_to_log_in_leads_nowhere_else(home: Path, to: str) -> None:
    text = make_app(settings_of(home)).server.test_client().get(f"/log-in?to={quote(to, safe='')}").text
    assert 'data-to="/"' in text
    assert "evil" not in text


def test_who_tries_many_tokens_waits(home: Path, store: EmbeddedStore) -> None:
    token = add_user(store, "ana", Role.VIEWER, None, now_ms())
    client = make_app(settings_of(home)).server.test_client()
    found = [client.post("/log-in", json={"token": f"hvac_{n}"}).status_code for n in range(11)]
    assert (found[:10], found[10]) == ([401] * 10, 429)
    waiting = client.post("/log-in", json={"token": token})
    assert waiting.status_code == 429
    assert 0 < int(waiting.headers["Retry-After"]) <= 61


def test_who_comes_and_goes_is_in_the_log_and_no_token_is(
    home: Path, store: EmbeddedStore, caplog: pytest.LogCaptureFixture
) -> None:
    token = add_user(store, "ana", Role.OPERATOR, None, now_ms())
    client = make_app(settings_of(home)).server.test_client()
    with caplog.at_level("INFO"):
        client.post("/log-in", json={"token": token[:-1] + "!"})
        client.get("/api/v1/devices", headers={"Authorization": "Bearer hvac_wrong"})
        client.post("/log-in", json={"token": token})
        client.post("/log-out", json={})
        client.post("/log-out", json={})
        client.post("/log-in", json={"name": "ana", "password": PASSWORD})
        client.post("/log-in", json={"name": PASSWORD, "password": "ana"})
    assert [record.getMessage() for record in caplog.records if record.name.endswith("log_in")] == [
        "a token that nobody has came from 127.0.0.1, for /log-in",
        "a token that nobody has came from 127.0.0.1, for /api/v1/devices",
        "ana logged in from 127.0.0.1 as operator",
        "ana logged out from 127.0.0.1",
        "a password that isn't ana's came from 127.0.0.1",
        "a password for a name that nobody has came from 127.0.0.1",
    ]
    assert PASSWORD not in caplog.text, "even where somebody entered it as the name"
    assert token[:-1] not in caplog.text


def test_what_is_audited_is_written_by_the_dashboard_as_it_is_served() -> None:
    """Beside what is wrong, which is all that others write."""
    program = (
        "import logging; from hvac_platform.dashboard.log_lines import AUDITED, log_bounded; log_bounded(); "
        "[logging.getLogger(name).info('told') for name in (*AUDITED, 'werkzeug')]"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr.count("INFO") == 2
    assert "log_in: told" in done.stderr


def test_who_sees_one_building_reads_nothing_of_another(home: Path, store: EmbeddedStore) -> None:
    """Every path of the API, every callback, every page, and what belongs to the other building asked for by name."""
    visitor = Visitor(make_app(settings_of(home)), add_user(store, "ben", Role.OPERATOR, [SOUTH], now_ms()))
    north = next(incident.incident_id for incident in Incident.read(store, "CH-001"))
    south = next(incident.incident_id for incident in Incident.read(store, "RTU-001"))
    read = {}
    for path, operations in openapi()["paths"].items():
        for device, incident in (("CH-001", north), ("RTU-001", south)):
            target = path.replace("{device}", device).replace("{incident}", quote(incident))
            if "get" in operations:
                answer = visitor.client.get(target)
            else:
                answer = visitor.client.post(target, json={"action": "comment", "note": "seen"})
            if "{" in path and device == "CH-001":
                assert answer.status_code == 404, target
                read[target] = answer.text.replace("CH-001", "what was asked").replace(north, "what was asked")
            else:
                assert answer.status_code == (403 if path in SITE_ONLY else 200), target
                read[target] = answer.text
    for query in (f"/incidents?building_id={NORTH}", f"/devices?building_id={NORTH}"):
        assert visitor.client.get(f"/api/v1{query}").json["items"] == []
    unknown = [visitor.client.get(f"/api/v1/incidents?device={name}").text for name in ("CH-001", "CH-999")]
    assert unknown[0] == unknown[1].replace("999", "001"), "as one that there is not"
    for output, given in PAGES.items():
        read[output] = visitor.text(output, **given)
    read["device"] = visitor.text("device-message.children", device_id__data="RTU-001")
    read["incident"] = visitor.text("incident-content.children", incident_id__data=south.split("/"))
    read["search"] = visitor.text("fleet-cards.children", fleet_search__value="CH")
    read["metrics"] = visitor.client.get("/metrics").text
    for where, text in read.items():
        shown = text if where != "device-message.children" else text.replace('"CH-001', "asked")
        assert not any(secret in shown for secret in SECRET), where
    assert "RTU-001" in read["fleet-cards.children"]
    assert "hot weather" in read["incident"]


def test_a_board_of_the_whole_site_shows_nothing_to_who_comes_after(home: Path, store: EmbeddedStore) -> None:
    app = make_app(settings_of(home))
    whole, part = (
        Visitor(app, add_user(store, name, Role.VIEWER, buildings, now_ms()))
        for name, buildings in (("ana", None), ("ben", [SOUTH]))
    )
    assert "CH-001" in whole.text("fleet-cards.children")
    assert "CH-001" not in part.text("fleet-cards.children")
    assert "CH-001" in whole.text("fleet-cards.children")


def test_who_sees_a_part_is_told_that_messages_are_of_the_whole_site_and_not_that_there_are_none(
    home: Path, store: EmbeddedStore
) -> None:
    ben = Visitor(make_app(settings_of(home)), add_user(store, "ben", Role.VIEWER, [SOUTH], now_ms()))
    for part in ("ingestion-lag", "ingestion-proof", "ingestion-dead-letters"):
        told = ben.text(f"{part}.children")
        assert "Messages are of the whole site, and you see some of its buildings." in told
        assert not any(word in told for word in ("UserError", "KAFKA", "No message was rejected"))


def test_a_scoped_store_gives_the_rows_of_its_devices_of_every_table(store: EmbeddedStore) -> None:
    scoped = ScopedStore(store, frozenset({SOUTH}))
    assert [device.device_id for device in scoped.devices()] == ["RTU-001"]
    read = 0
    for name, table in tables().items():
        rows = [
            dict(zip(b, v, strict=True)) for b in scoped.scan(TableSlice(name)) for v in zip(*b.values(), strict=True)
        ]
        if "device_id" not in table.columns or name == "alert_outbox":
            assert rows == []
            continue
        assert {row["device_id"] for row in rows} <= {"RTU-001"}
        assert not list(scoped.scan(TableSlice(name, (), "CH-001")))
        assert scoped.count(name, "CH-001") == 0
        assert scoped.count(name) == store.count(name, "RTU-001") if name != "devices" else True
        read += len(rows)
    assert read > 3_000
    with pytest.raises(UserError, match="another building"):
        scoped.update(Incident.TABLE, {"device_id": ["CH-001"], "started_at": [START_MS], "label": ["mine"]})
    with pytest.raises(UserError, match="whole site"):
        scoped.upsert("users", {"scope": ["all"], "name": ["eve"]})
    with pytest.raises(UserError, match="whole site"):
        scoped.purge(0)


def test_of_the_plant_a_page_names_devices_that_are_seen(home: Path, store: EmbeddedStore, tmp_path: Path) -> None:
    file = tmp_path / "plant.json"
    file.write_text('{"feeds": {"CH-001": ["RTU-001", "RTU-999"]}}')
    settings = settings_of(home).model_copy(update={"hvac_fleet": file})
    assert plant_around(store, settings, "RTU-001") == [("Fed by", ["CH-001"]), ("Feeds", [])]
    assert plant_around(store, settings, "CH-001") == [("Fed by", []), ("Feeds", ["RTU-001"])]
    south = ScopedStore(store, frozenset({SOUTH}))
    assert plant_around(south, settings, "RTU-001") == [("Fed by", []), ("Feeds", [])]
    assert plant_around(store, settings_of(home), "RTU-001") == []
    page = str(render(store, "RTU-001", settings, Asked("24 h")).head)
    assert "/device/CH-001" in page


def test_users_are_added_once_with_buildings_that_there_are(store: EmbeddedStore) -> None:
    token = add_user(store, "ana", Role.ADMIN, [NORTH], 1)
    assert token not in json.dumps(users(store)[0].__class__.columns(users(store)))
    for name, buildings, said in (
        ("ana", None, "already"),
        ("a b", None, "can't be a user's name"),
        ("eve", ["nowhere"], f"buildings with devices: .*{NORTH}"),
    ):
        with pytest.raises(UserError, match=said):
            add_user(store, name, Role.VIEWER, buildings, 2)
    with pytest.raises(UserError, match="no user"):
        revoke_user(store, "eve", 3)
    revoke_user(store, "ana", 4)
    assert add_user(store, "ana", Role.VIEWER, None, 5) != token
    assert [(user.role, user.buildings, user.revoked_at) for user in users(store)] == [("viewer", None, None)]


def test_the_hostile_device_is_in_no_building_and_seen_by_the_whole_site_alone(store: EmbeddedStore) -> None:
    assert EVIL in {device.device_id for device in store.devices()}
    assert EVIL not in {device.device_id for device in ScopedStore(store, frozenset({NORTH, SOUTH})).devices()}
