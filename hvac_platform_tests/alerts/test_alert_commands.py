"""`hvac alerts`: who is told and why, what waits, what is tried again, and what is sent by hand."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from hvac_platform.alerts.delivery import LEASE_TOPIC
from hvac_platform.alerts.troubles import Trouble, clear_trouble, raise_trouble
from hvac_platform.cli.main import app
from hvac_platform.config import load_settings
from hvac_platform.runtime.connections import open_store
from hvac_platform.timestamps import now_ms
from hvac_platform_tests.alerts.conftest import Happenings, incident

TREE = """
delivery: {attempts: 1}
receivers:
  orders: {webhook: {url: "${URL}"}}
  screen: {console: true}
route:
  name: all of it
  receivers: [orders, screen]
  resolved: false
"""


@pytest.fixture
def run(home, http, monkeypatch):
    (home / "alerts.yaml").write_text(TREE)
    monkeypatch.setenv("HVAC_ALERTS", "alerts.yaml")
    monkeypatch.setenv("URL", http.url)

    def command(*words, code=0, as_json=False):
        result = CliRunner().invoke(app, ["alerts", *words, *(["--json"] if as_json else [])])
        assert result.exit_code == code, result.output
        return json.loads(result.stdout) if as_json else result.output

    return command


@pytest.fixture
def one(home):
    happenings = Happenings(open_store(load_settings()))
    happenings.one, happenings.now = incident(), now_ms()
    happenings.record(happenings.one)
    return happenings


def test_an_incident_of_which_nothing_was_told_is_explained_by_what_would_be(run, one):
    rows = run("explain", one.one.incident_id, as_json=True)
    assert [(row["receiver"], row["what"], row["state"]) for row in rows] == [
        ("orders", "send", "if it opened now"),
        ("screen", "send", "if it opened now"),
    ]
    assert "no incident" in run("explain", "CH-009/1", code=2)


def test_what_waits_is_sent_by_hand_and_explained_by_what_became_of_it(run, one, http):
    one.happens("opened", one.one, at_ms=one.now - 1)
    one.happens("resolved", one.one, at_ms=one.now)
    assert {row["state"] for row in run("explain", one.one.incident_id, as_json=True)} == {"planned"}
    http.answers.append(503)
    sent = run("send", as_json=True, code=1)
    assert [row["receiver"] for row in sent["sent"]] == [
        "screen",
        "screen",
    ]  # the incident, and that orders is given up
    explained = run("explain", one.one.incident_id, as_json=True)
    assert {(row["transition"], row["receiver"], row["what"], row["state"]) for row in explained} >= {
        ("opened", "orders", "send", "dead"),
        ("opened", "screen", "send", "sent"),
        ("resolved", "orders", "nothing", "nothing"),
        ("resolved", "screen", "nothing", "nothing"),
    }
    (dead,) = run("outbox", "--state", "dead", as_json=True)
    assert (dead["receiver"], dead["attempts"], dead["error"]) == ("orders", 1, "HTTP 503 {}")
    assert "no dead message is 'phone'" in run("outbox", "--retry", "phone", code=2)
    run("outbox", "--retry", "orders")
    run("send")
    assert http.taken[0].event["type"] == "hvac.incident.opened"
    assert run("outbox", "--state", "dead", as_json=True) == []


def test_while_another_process_delivers_it_says_so(run, one, monkeypatch):
    monkeypatch.setattr("hvac_platform.cli.alerts.PATIENCE_SECONDS", 0.0)
    one.store.take_lease(LEASE_TOPIC, 0, "somebody", at=0)
    one.happens("opened", one.one, at_ms=one.now)
    assert "another process delivers" in run("send")


def test_people_acknowledge_the_platforms_own_incidents_too(run, one):
    raise_trouble(one.store, Trouble("receiver", "orders", "critical", "away"), one.now)
    (row,) = run("outbox", as_json=True)
    incident_id = row["key"].removesuffix("#opened")
    result = CliRunner().invoke(app, ["incidents", "ack", incident_id, "--by", "kim"])
    assert result.exit_code == 0, result.output
    assert {row["transition"].partition("/")[0] for row in run("explain", incident_id, as_json=True)} == {
        "opened",
        "acknowledged",
    }


def test_the_platforms_own_incidents_are_listed_and_shown(run, one):
    raise_trouble(one.store, Trouble("unit", "RTU-001/power", "warning", "power came in kW and comes in W"), one.now)
    listed = json.loads(CliRunner().invoke(app, ["incidents", "list", "--json"]).stdout)
    (found,) = (row for row in listed if row["scope"] == "platform")
    assert (found["state"], found["why"]) == ("open", "power came in kW and comes in W")
    shown = CliRunner().invoke(app, ["incidents", "show", found["incident"]])
    assert shown.exit_code == 0, shown.output
    assert "power came in kW and comes in W" in shown.stdout
    clear_trouble(one.store, "unit", "RTU-001/power", one.now + 1)
    shown = CliRunner().invoke(app, ["incidents", "show", found["incident"], "--json"])
    assert json.loads(shown.stdout)["handling"]["state"] == "resolved"


@pytest.mark.parametrize("words", [("test", "screen"), ("send",), ("explain", "x/1")])
def test_without_a_file_a_command_says_what_to_set(home, words, capsys):
    result = CliRunner().invoke(app, ["alerts", *words])
    assert "HVAC_ALERTS names no file" in str(result.exception)


def test_a_receiver_that_fails_its_test_makes_the_exit_code_1_and_shows_no_secret(run, http):
    http.answers.append(500)
    (row, other) = run("test", "all of it", as_json=True, code=1)
    assert (row["ok"], row["said"], other["ok"]) == (False, "HTTP 500 {}", True)
    assert http.url not in json.dumps(row)


def test_a_test_of_a_route_without_receivers_fails_and_check_says_what_is_doubtful(run, home):
    (home / "alerts.yaml").write_text("receivers: {a: {console: true}}\nroute: {name: first}\n")
    assert "this route has no receivers: nobody is told" in run("test", "first", code=1)
    result = CliRunner().invoke(app, ["check", "--json"])
    (row,) = [row for row in json.loads(result.stdout) if row["part"] == "alerts"]
    assert not row["ok"]
    assert "route: it has no receivers" in row["state"]
