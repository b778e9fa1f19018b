"""Messages reach real receivers: what they say, in which order, how they are signed, and what becomes of failures."""

from __future__ import annotations

import base64
import hmac
from dataclasses import replace
from email.utils import parsedate_to_datetime
from hashlib import sha256

import numpy as np
import pytest

from hvac_platform.alerts.delivery import Deliverer
from hvac_platform.alerts.explaining import explain
from hvac_platform.alerts.outbox import read_outbox
from hvac_platform.alerts.receivers.webhook import webhook_id
from hvac_platform.alerts.troubles import open_troubles
from hvac_platform.config import Settings
from hvac_platform.stores.records import AnomalyEvent, IncidentTransition
from hvac_platform_tests.alerts.conftest import incident
from hvac_platform_tests.alerts.servers import HttpReceiver, SmtpReceiver, free_port
from hvac_platform_tests.conftest import HOUR_MS, MINUTE_MS, NOON_MS

SECRET = "whsec_" + base64.b64encode(b"a key of thirty-two bytes or so.").decode()
SCREEN = "receivers: {screen: {console: true}}\nroute: {receivers: [screen]}\n"


def hook(url, extra=""):
    return (
        f"receivers:\n  cmms: {{webhook: {{url: '{url}', secret: '${{KEY}}'{extra}}}}}\nroute: {{receivers: [cmms]}}\n"
    )


def mail(port, more=""):
    return (
        "receivers:\n  team:\n    email: {to: [ops@example.com], from: hvac@example.com, server: 127.0.0.1, "
        f"port: {port}, security: none}}\nroute: {{receivers: [team]}}\n{more}"
    )


def test_a_webhook_is_a_cloud_event_that_its_receiver_can_verify(alerts, happenings, http):
    one = incident()
    happenings.record(one)
    happenings.happens("opened", one)
    alerts(hook(http.url), KEY=SECRET).deliver()
    (taken,) = http.taken
    event, headers = taken.event, taken.headers
    assert headers["content-type"].startswith("application/cloudevents+json")
    assert (event["specversion"], event["id"], event["type"]) == (
        "1.0",
        f"{one.incident_id}#opened",
        "hvac.incident.opened",
    )
    assert (event["subject"], event["data"]["incidents"][0]["moved"][0]["value"]) == (one.incident_id, 78.1)
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + taken.body
    expected = base64.b64encode(hmac.new(base64.b64decode(SECRET[6:]), signed, sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert headers["idempotency-key"] == headers["webhook-id"] == webhook_id(event["id"])


def test_a_mail_says_what_a_person_needs_in_text_and_html(alerts, happenings, smtp):
    one = incident(reasons=["<script>alert(1)</script> & more"])
    happenings.record(one)
    happenings.happens("opened", one)
    alerts(mail(smtp.port)).deliver()
    (found,) = smtp.mails
    text = found.get_body(("plain",)).get_content()
    for part in (
        "RTU-001",
        "roof east, bldg-001",
        "78.1 °F",
        "stuck cooling valve",
        "since 2025-03-10 12:00",
        "<script>",
    ):
        assert part in text
    assert "https://hvac.example.com/incident/RTU-001/" in text
    html = found.get_body(("html",)).get_content()
    assert "&lt;script&gt;" in html
    assert "<script>" not in html
    assert found["subject"].startswith("[critical] RTU-001 (roof east, bldg-001): stuck cooling valve")


def test_values_are_told_in_the_units_that_people_prefer_and_programs_get_them_as_stored(
    alerts, happenings, http, monkeypatch
):
    monkeypatch.setenv("HVAC_UNITS", "SI")
    one = incident()
    happenings.record(one)
    happenings.happens("opened", one)
    alerts(hook(http.url), KEY=SECRET).deliver()
    data = http.taken[0].event["data"]
    assert "supply air temperature 25.6 °C" in data["text"]
    assert (data["incidents"][0]["moved"][0]["value"], data["incidents"][0]["moved"][0]["unit"]) == (78.1, "°F")


def test_a_message_that_is_sent_again_has_the_same_message_id(alerts, happenings, smtp, store, clock):
    one = incident()
    happenings.record(one)
    happenings.happens("opened", one)
    made = alerts(mail(smtp.port))
    clock.passes(HOUR_MS)  # it was found an hour after it began
    made.deliver()
    assert {parsedate_to_datetime(found["date"]).timestamp() * 1000 for found in smtp.mails} == {clock.at_ms}
    (row,) = made.rows()
    store.update(
        "alert_outbox", {"queued_at": [row.queued_at], "message_key": [row.message_key], "state": ["waiting"]}
    )  # as after a crash between the server's answer and the row
    store.update(
        "alert_outbox", {"queued_at": [row.queued_at], "message_key": [row.message_key], "next_attempt_at": [0]}
    )
    made.deliver()
    assert len({found["message-id"] for found in smtp.mails}) == 1
    assert len(smtp.mails) == 2


def test_what_a_work_order_system_calls_it_comes_back_into_the_incident(alerts, happenings, http, store):
    http.answer = b'{"workOrder": {"id": "WO-4711"}}'
    one = incident()
    happenings.record(one)
    happenings.happens("opened", one)
    made = alerts(hook(http.url, ", reference: workOrder.id"), KEY=SECRET)
    made.deliver()
    made.deliver()
    (noted,) = IncidentTransition.read(store, one.device_id, equals={"actor": "cmms"})
    assert (noted.transition, noted.actor, noted.note) == ("commented", "cmms", "cmms: WO-4711")
    assert made.rows()[0].details["reference"] == "WO-4711"


def test_a_service_gets_it_through_apprise(alerts, happenings, http):
    one = incident()
    happenings.record(one)
    happenings.happens("opened", one)
    text = "receivers: {phone: {apprise: '${URL}'}}\nroute: {receivers: [phone]}\n"
    made = alerts(text, URL=f"json://127.0.0.1:{http.port}/hook")
    made.deliver()
    (taken,) = http.taken
    assert taken.event["title"].startswith("[critical] RTU-001")
    assert "78.1 °F" in taken.event["message"]


def test_an_hour_without_servers_loses_nothing_and_doubles_nothing(alerts, happenings, clock):
    """1,000 incidents; the mail server and the webhook come back after an hour, on a clock that the test sets."""
    ports = free_port(), free_port()
    text = (
        "storm: 10000\nreceivers:\n"
        f"  cmms: {{webhook: {{url: 'http://127.0.0.1:{ports[0]}/', secret: '${{KEY}}'}}}}\n"
        "  team: {email: {to: [a@example.com], from: b@example.com, server: 127.0.0.1, "
        f"port: {ports[1]}, security: none}}}}\nroute: {{receivers: [cmms, team]}}\n"
    )
    made = alerts(text, KEY=SECRET)
    many = [incident(f"RTU-{i:04d}", NOON_MS + i) for i in range(1_000)]
    happenings.record(*many)
    happenings.happens("opened", *many)
    begin = clock.at_ms
    while clock.at_ms - begin < HOUR_MS:
        made.deliver()
        clock.passes(2 * MINUTE_MS)
    assert {row.state for row in made.rows()} == {"waiting"}
    assert max(row.attempts for row in made.rows()) <= 14
    http, smtp = HttpReceiver(ports[0]), SmtpReceiver(ports[1])
    try:
        clock.passes(10 * MINUTE_MS)
        made.deliver()
        wanted = sorted(f"{one.incident_id}#opened" for one in many)
        assert sorted(taken.event["id"] for taken in http.taken) == wanted
        assert len({found["message-id"] for found in smtp.mails}) == len(smtp.mails) == len(wanted)
    finally:
        http.close()
        smtp.close()


def test_a_receiver_that_stays_away_is_given_up_and_is_an_incident_of_its_own_that_ends_when_it_is_back(
    alerts, happenings, http, clock, store
):
    text = (
        "delivery: {attempts: 3, first_wait: 1s}\nreceivers:\n"
        f"  cmms: {{webhook: {{url: '{http.url}', secret: '${{KEY}}'}}}}\n  screen: {{console: true}}\n"
        "route:\n  receivers: [cmms]\n  routes: [{match: {scope: platform}, receivers: [screen]}]\n"
    )
    made = alerts(text, KEY=SECRET)
    one, two = incident(), incident("RTU-002")
    happenings.record(one, two)
    happenings.happens("opened", one)
    http.answers.extend([503, 503, 503])
    for _ in range(4):
        made.deliver()
        clock.passes(MINUTE_MS)
    assert [row.state for row in made.rows(receiver="cmms")] == ["dead"]
    assert [trouble.subject for trouble in open_troubles(store, clock.at_ms)] == ["cmms"]
    assert made.titles() == [made.titles()[0]]
    assert "receiver cmms took no message in 3 attempts" in made.titles()[0]
    happenings.happens("opened", two, at_ms=clock.at_ms)
    made.deliver()
    made.deliver()
    assert [taken.event["subject"] for taken in http.taken] == [two.incident_id]
    assert open_troubles(store, clock.at_ms) == []
    assert "over: platform" in made.titles()[1]


def test_a_receiver_says_how_long_it_is_to_be_left_alone(alerts, happenings, http, clock):
    one = incident()
    happenings.record(one)
    happenings.happens("opened", one)
    http.answers.append((429, {"retry-after": "600"}))
    made = alerts(hook(http.url), KEY=SECRET)
    made.deliver()
    (row,) = made.rows()
    assert row.next_attempt_at == clock.at_ms + 600_000
    assert "HTTP 429" in row.error


def test_a_message_that_is_refused_keeps_no_other_waiting(alerts, happenings, http):
    many = [incident(f"RTU-{i:03d}") for i in range(3)]
    happenings.record(*many)
    happenings.happens("opened", *many)
    http.answers.append(422)
    made = alerts(hook(http.url), KEY=SECRET)
    made.deliver()
    assert sorted(row.state for row in made.rows()) == ["sent", "sent", "waiting"]


def test_no_secret_is_in_what_is_kept_or_said(alerts, happenings):
    one = incident()
    happenings.record(one)
    happenings.happens("opened", one)
    url = f"http://127.0.0.1:{free_port()}/token-4711"
    made = alerts("receivers: {a: {webhook: {url: '${URL}'}}}\nroute: {receivers: [a]}\n", URL=url)
    made.deliver()
    (row,) = made.rows()
    assert row.error
    assert "token-4711" not in f"{row}{made.troubles}{made.tree!r}"


def test_the_end_waits_for_the_beginning_that_a_receiver_has_not_taken_yet(alerts, happenings, http, clock):
    one = incident()
    happenings.record(one)
    happenings.happens("opened", one)
    http.answers.append(422)
    made = alerts(hook(http.url), KEY=SECRET)
    made.deliver()
    happenings.happens("resolved", one, at_ms=clock.at_ms + 1)
    made.deliver()
    assert http.taken == []
    clock.passes(10 * MINUTE_MS)
    made.deliver()
    assert [taken.event["type"].rpartition(".")[2] for taken in http.taken] == ["opened", "resolved"]


def test_one_deliverer_works_at_a_time(alerts, happenings, store, clock):
    one = incident()
    happenings.record(one)
    happenings.happens("opened", one)
    made = alerts(SCREEN)
    other = made.started()
    made.deliver()
    other.step(at_once=True)
    assert (made.deliverer.delivers, other.delivers) == (True, False)
    made.deliverer.close()
    other.step(at_once=True)
    assert other.delivers
    other.close()
    assert len(made.printed) == 1


def test_two_hundred_devices_that_go_wrong_together_are_one_message_and_later_ones_are_not_told_again(
    alerts, happenings, clock
):
    parent = incident("RTU-000", scope="fleet", cause="supply of building bldg-001 (200 devices)")
    many = [parent] + [
        incident(f"RTU-{i:03d}", NOON_MS + i, scope="fleet", cause=parent.cause, parent_id=parent.incident_id)
        for i in range(1, 200)
    ]
    made = alerts(SCREEN)
    happenings.record(*many)
    happenings.happens("opened", *many[:150])
    made.deliver()
    clock.passes(MINUTE_MS)
    happenings.happens("opened", *many[150:], at_ms=clock.at_ms)
    made.deliver()
    assert made.titles() == ["[critical] 150 devices at once: supply of building bldg-001 (200 devices)"]
    later = [row for row in made.rows(state="suppressed") if row.incident_id == many[-1].incident_id]
    assert [row.error for row in later] == [f"part of {parent.incident_id}, of which it knows by {parent.incident_id}"]
    clock.passes(HOUR_MS)
    happenings.happens("resolved", *many, at_ms=clock.at_ms)
    made.deliver()
    assert len(made.titles()) == 2
    assert made.titles()[1].startswith("[critical] over: RTU-000")


def test_more_of_the_same_is_gathered_for_two_seconds(alerts, happenings, clock):
    many = [incident(f"RTU-{i:03d}") for i in range(30)]
    happenings.record(*many)
    happenings.happens("opened", *many[:20], at_ms=clock.at_ms)
    made = alerts(SCREEN)
    made.deliverer.step()
    clock.passes(1_000)
    happenings.happens("opened", *many[20:], at_ms=clock.at_ms)
    made.deliverer.step()
    assert made.rows() == []
    clock.passes(1_000)
    made.deliver()
    assert made.titles() == ["[critical] 30 devices at once: building bldg-001"]


def test_without_a_file_nothing_is_told_and_nothing_is_lost(store, happenings, clock, home):
    one = incident()
    happenings.record(one)
    happenings.happens("opened", one)
    deliverer = Deliverer(store, Settings(), clock=clock)
    deliverer.step(at_once=True)
    assert not deliverer.delivers
    assert [row.state for row in read_outbox(store, clock.at_ms)] == ["new"]


def test_a_file_that_is_wrong_is_told_once_and_the_last_good_one_holds(store, happenings, clock, home, tmp_path):
    file, printed, troubles = tmp_path / "alerts.yaml", [], []
    file.write_text(SCREEN)
    settings = Settings(hvac_alerts=file)
    deliverer = Deliverer(store, settings, clock=clock, write=printed.append, on_trouble=troubles.append)
    one = incident()
    happenings.record(one)
    deliverer.step()
    file.write_text("receivers: {}\nroute:\n  receivers: [nobody]\n")
    happenings.happens("opened", one)
    assert deliverer.deliver_everything(300)
    deliverer.close()
    assert len(printed) == 1
    said = "line 3: route.receivers: there is no receiver 'nobody'; receivers are none"
    assert troubles == [f"alerts go by the file as it was: {file}: {said}"]


@pytest.mark.parametrize("state", ["acknowledged", "resolved", "snoozed", "false_alarm"])
def test_nobody_else_is_called_about_what_somebody_has_taken_on_or_is_over(alerts, happenings, clock, state):
    one = incident()
    happenings.record(one)
    happenings.happens("opened", one)
    made = alerts(
        "receivers: {first: {console: true}, second: {console: true}}\n"
        "route: {receivers: [first], escalate: [{after: 30m, receivers: [second]}]}\n"
    )
    made.deliver()
    clock.passes(10 * MINUTE_MS)
    happenings.stands(state, one)
    clock.passes(5 * HOUR_MS)  # also when the time-out is noticed late
    made.deliver()
    assert len(made.printed) == 1
    (row,) = made.rows(receiver="second")
    assert (row.state, state.replace("_", " ") in row.error) == ("superseded", True)


def test_somebody_else_is_called_when_nobody_acknowledges(alerts, happenings, clock):
    one = incident()
    happenings.record(one)
    happenings.happens("opened", one)
    made = alerts(
        "receivers: {first: {console: true}, second: {console: true}}\n"
        "route: {receivers: [first], escalate: [{after: 30m, receivers: [second]}, {after: 1h, receivers: [first]}]}\n"
    )
    for _ in range(4):
        made.deliver()
        clock.passes(20 * MINUTE_MS)
    assert [title.partition(": ")[0] for title in made.titles()] == [
        "[critical] RTU-001 (roof east, bldg-001)",
        "[critical] nobody has acknowledged",
        "[critical] nobody has acknowledged",
    ]


@pytest.mark.parametrize(("settled", "again"), [("snoozed", "woken"), ("false_alarm", "reopened")])
def test_what_a_snooze_or_an_end_has_settled_is_not_escalated_when_it_begins_again(
    alerts, happenings, clock, settled, again
):
    one = incident()
    happenings.record(one)
    happenings.happens("opened", one)
    made = alerts(
        "receivers: {first: {console: true}, second: {console: true}}\n"
        "route: {receivers: [first], escalate: [{after: 30m, receivers: [second]}]}\n"
    )
    made.deliver()
    happenings.happens(f"{settled}/1", one, at_ms=NOON_MS + 5 * MINUTE_MS)
    clock.passes(20 * MINUTE_MS)
    made.deliver()
    happenings.happens(f"{again}/1", one, at_ms=NOON_MS + 20 * MINUTE_MS)
    made.deliver()
    clock.passes(15 * MINUTE_MS)  # 35 min after the first begin, 15 after the second
    made.deliver()
    (row,) = (row for row in made.rows(receiver="second") if row.transition == "opened")
    assert (row.state, row.error) == (
        "superseded",
        f"{one.incident_id} was {settled.replace('_', ' ')} since: what began then is escalated by itself",
    )
    clock.passes(20 * MINUTE_MS)
    made.deliver()
    called = [(row.transition, row.state) for row in made.rows(receiver="second") if row.state == "sent"]
    assert len([one for one in called if one[0].startswith(again)]) == len(called) == 1


def test_what_is_opened_again_is_told_after_its_end_and_an_end_that_comes_too_late_is_not_told(
    alerts, happenings, http, clock
):
    one = incident()
    happenings.record(one)
    happenings.happens("opened", one)
    made = alerts(hook(http.url), KEY=SECRET)
    made.deliver()
    happenings.happens("resolved/1", one, at_ms=NOON_MS + MINUTE_MS)
    happenings.happens("reopened/1", one, at_ms=NOON_MS + 2 * MINUTE_MS)
    made.deliver()
    assert [taken.event["type"].rpartition(".")[2] for taken in http.taken] == ["opened", "resolved", "reopened"]
    happenings.happens("resolved/2", one, at_ms=NOON_MS + 3 * MINUTE_MS)
    http.answers.append(422)  # it refuses this one message, which is tried again later
    made.deliver()
    happenings.happens("reopened/2", one, at_ms=NOON_MS + 4 * MINUTE_MS)
    made.deliver()
    clock.passes(HOUR_MS)
    made.deliver()
    assert [taken.event["type"].rpartition(".")[2] for taken in http.taken][3:] == ["reopened"]


def test_what_has_worsened_by_the_time_it_is_first_told_is_one_message(alerts, happenings):
    one = incident(severity="warning")
    happenings.record(one)
    happenings.happens("opened", one)
    happenings.happens("worsened/rtu-1", one, at_ms=NOON_MS + MINUTE_MS)
    made = alerts(SCREEN)
    made.deliver()
    assert [title.startswith("[warning] RTU-001") for title in made.titles()] == [True]
    (row,) = (row for row in made.rows() if row.transition.startswith("worsened"))
    assert (row.state, row.error) == ("suppressed", "told together with opened")


def test_a_false_alarm_ends_what_was_opened_at_the_receiver(alerts, happenings, http):
    one = incident()
    happenings.record(one)
    happenings.happens("opened", one)
    made = alerts(hook(http.url), KEY=SECRET)
    made.deliver()
    happenings.happens("false_alarm/1", one, at_ms=NOON_MS + MINUTE_MS)
    made.deliver()
    assert [taken.event["type"].rpartition(".")[2] for taken in http.taken] == ["opened", "false_alarm"]


def test_a_message_of_many_incidents_counts_devices_as_devices(alerts, happenings, http):
    many = [incident(f"RTU-{i % 4}", NOON_MS + i) for i in range(12)]
    happenings.record(*many)
    happenings.happens("opened", *many)
    alerts(hook(http.url), KEY=SECRET).deliver()
    (taken,) = http.taken
    assert "12 incidents of 4 devices at once: building bldg-001" in taken.event["data"]["title"]


DIGEST = SCREEN.replace("}\n", "}\n", 1).replace(
    "{receivers: [screen]}",
    "\n  name: all\n  receivers: [screen]\n  routes: [{name: low, match: {severity: info}, digest: '18:00'}]",
)


CAUSE = (
    "condenser water (root CT-1; since 2026-07-10T08:04Z; CH-1 3 min later, 88% of its deviation in condenser water)"
)


def test_a_towers_fault_and_what_it_does_to_chillers_are_one_message_that_names_the_root(alerts, happenings, clock):
    tower = incident("CT-1", scope="plant", cause=CAUSE)
    fed = [incident(f"CH-{i}", NOON_MS + i, scope="plant", cause=CAUSE, parent_id=tower.incident_id) for i in (1, 2)]
    made = alerts(SCREEN)
    happenings.record(tower, *fed)
    happenings.happens("opened", tower, *fed)
    made.deliver()
    assert made.titles() == ["[critical] 3 devices at once: condenser water (root CT-1)"]
    assert CAUSE in made.printed[0]
    clock.passes(HOUR_MS)
    happenings.happens("resolved", tower, *fed, at_ms=clock.at_ms)
    made.deliver()
    assert len(made.titles()) == 2


def test_who_was_told_of_a_chiller_is_not_told_again_when_its_tower_is_found_to_be_the_root(alerts, happenings, clock):
    chiller = incident("CH-1")
    made = alerts(SCREEN)
    happenings.record(chiller)
    happenings.happens("opened", chiller)
    made.deliver()
    tower = incident("CT-1", NOON_MS - MINUTE_MS, scope="plant", cause=CAUSE)
    joined = incident("CH-1", scope="plant", cause=CAUSE, parent_id=tower.incident_id)
    happenings.record(tower, joined)
    clock.passes(MINUTE_MS)
    happenings.happens("opened", tower, at_ms=clock.at_ms)
    made.deliver()
    assert [title.partition(" (")[0] for title in made.titles()] == ["[critical] CH-1"]


def part(device_id, parent, at_ms=NOON_MS, **changes):
    """An incident that joins another one."""
    return incident(device_id, at_ms, scope="fleet", parent_id=parent.incident_id, **changes)


@pytest.fixture
def explained(store, clock):
    """What `explain` says of an incident's opening, by receiver."""

    def of(made, one):
        found = explain(store, made.tree, one.incident_id, one.device_id, clock.at_ms)
        return {
            e.decision.receiver: (str(e.decision.action), e.decision.reason) for e in found if e.transition == "opened"
        }

    return of


def test_what_joins_an_incident_that_waits_for_the_digest_is_told_and_so_is_its_end(
    alerts, happenings, clock, explained
):
    parent = incident("AC-1", severity="info", scope="fleet")
    later = clock.at_ms + MINUTE_MS
    worse, alike = part("CH-1", parent, later), part("AC-2", parent, later, severity="info")
    made = alerts(DIGEST)
    happenings.record(parent, worse, alike)
    happenings.happens("opened", parent)
    made.deliver()
    clock.passes(MINUTE_MS)
    happenings.happens("opened", worse, alike, at_ms=later)
    planned = {one.incident_id: explained(made, one) for one in (worse, alike)}
    made.deliver()
    assert made.titles() == ["[critical] CH-1 (roof east, bldg-001): stuck cooling valve (similarity 0.91)"]
    assert explained(made, worse)["screen"][0] == "send"
    assert explained(made, alike)["screen"][0] == "digest"  # the digest lists it, as everything that came
    assert {one.incident_id: explained(made, one) for one in (worse, alike)} == planned
    clock.passes(HOUR_MS)
    happenings.happens("resolved", worse, at_ms=clock.at_ms)
    made.deliver()
    assert made.titles()[1].startswith("[critical] over: CH-1")  # its parent's end is told nowhere but in the digest


def test_a_part_that_is_worse_than_what_was_sent_of_its_family_is_told_and_one_that_is_not_is_not(
    alerts, happenings, clock, explained
):
    parent = incident("AC-1", severity="warning", scope="fleet")
    made = alerts(SCREEN)
    happenings.record(parent)
    happenings.happens("opened", parent)
    made.deliver()
    joining = (("CH-1", "warning"), ("CH-2", "critical"), ("CH-3", "critical"), ("CH-4", "info"))
    for i, (device_id, severity) in enumerate(joining, 1):
        one = part(device_id, parent, NOON_MS + i, severity=severity)
        happenings.record(one)
        clock.passes(1_000)
        happenings.happens("opened", one, at_ms=clock.at_ms)
        made.deliver()
    assert [title.partition(" (")[0] for title in made.titles()] == ["[warning] AC-1", "[critical] CH-2"]
    reason = explained(made, one)["screen"][1]
    assert reason == f"part of {parent.incident_id}, of which it knows by {parent.incident_id}"


def test_who_was_called_of_a_warning_is_called_of_a_critical_part_and_who_was_not_reached_yet_knows_nothing(
    alerts, happenings, clock, http
):
    parent = incident("AC-1", severity="warning", scope="fleet")
    made = alerts(
        f"receivers: {{cmms: {{webhook: {{url: '{http.url}'}}}}, second: {{console: true}}}}\n"
        "route: {receivers: [cmms], escalate: [{after: 10m, receivers: [second]}]}\n"
    )
    happenings.record(parent)
    happenings.happens("opened", parent)
    http.answers.append(422)  # it has not taken the beginning when the part comes
    made.deliver()
    same = part("RTU-1", parent, NOON_MS + 1, severity="warning")
    happenings.record(same)
    happenings.happens("opened", same, at_ms=clock.at_ms)
    made.deliver()
    assert [taken.event["subject"] for taken in http.taken] == [same.incident_id]
    clock.passes(11 * MINUTE_MS)
    made.deliver()
    assert [title.split(" (")[0] for title in made.titles()] == ["[warning] nobody has acknowledged: AC-1"]
    worse = part("CH-1", parent, NOON_MS + 2)
    happenings.record(worse)
    happenings.happens("opened", worse, at_ms=clock.at_ms)
    clock.passes(11 * MINUTE_MS)
    made.deliver()
    clock.passes(11 * MINUTE_MS)
    made.deliver()
    assert made.titles()[1].startswith("[critical] nobody has acknowledged: CH-1")


def test_an_end_does_not_wait_for_the_digest_of_a_beginning_that_has_been_told_to_be_worse_since(
    alerts, happenings, clock
):
    one = incident(severity="info")
    happenings.record(one)
    happenings.happens("opened", one)
    made = alerts(
        "receivers: {screen: {console: true}}\n"
        "route: {receivers: [screen], routes: [{match: {severity: info}, digest: '18:00'}]}\n"
    )
    made.deliver()
    assert made.titles() == []
    worse = incident(severity="warning")
    happenings.record(worse)
    happenings.happens("worsened/1", worse, at_ms=NOON_MS + MINUTE_MS)
    made.deliver()
    happenings.happens("resolved/1", worse, at_ms=NOON_MS + 2 * MINUTE_MS)
    clock.passes(3 * MINUTE_MS)
    made.deliver()
    assert [title.partition(":")[0] for title in made.titles()] == ["[warning] worse", "[warning] over"]


@pytest.mark.parametrize("more", ["cool_down: 6h", "digest: '18:00', cool_down: 6h"])
def test_a_cool_down_goes_by_what_was_sent_and_not_by_what_became_of_it_since(alerts, happenings, clock, more):
    first = incident(severity="warning")
    made = alerts(
        f"receivers: {{screen: {{console: true}}}}\nroute:\n  receivers: [screen]\n  {more.split(', ')[-1]}\n"
        + (f"  routes: [{{match: {{severity: warning}}, {more.split(', ')[0]}}}]\n" if "digest" in more else "")
    )
    happenings.record(first)
    happenings.happens("opened", first)
    made.deliver()
    happenings.record(incident())  # it is critical by now
    again = incident(started_at=NOON_MS + HOUR_MS)
    happenings.record(again)
    clock.passes(HOUR_MS)
    happenings.happens("opened", again, at_ms=clock.at_ms)
    made.deliver()
    assert made.titles()[-1].startswith("[critical] RTU-001")


def test_what_stands_at_its_normal_has_not_moved_and_what_was_farthest_from_it_is_shown(
    alerts, happenings, store, http
):
    one = incident()
    happenings.record(one)
    at_ms, normal = one.ended_at - 2 * MINUTE_MS, {"std": 2.0, "min": 0.0, "max": 200.0, "scale": 2.0}
    (event,) = AnomalyEvent.read(store, one.device_id)
    event = replace(event, detected_at=at_ms, event_id=f"{one.device_id}/{at_ms}")
    event.metrics_snapshot["supply_air_temp"] = -9999.0
    store.upsert(AnomalyEvent.TABLE, AnomalyEvent.columns([event]))
    stats = {"supply_air_temp": normal | {"mean": 77.0}, "fan_speed": normal | {"mean": 90.5}}
    numbers = (
        "profile_version",
        "snapshot_count",
        "span_start",
        "span_end",
        "profile_created_at",
        "profile_updated_at",
    )
    texts = ("embedding_method", "device_type", "location", "building_id")
    store.upsert(
        "device_profiles",
        {
            **{name: [1] for name in (*numbers, "last_seen")},
            **{name: [""] for name in texts},
            "device_id": [one.device_id],
            "profile_embedding": np.ones((1, 384), np.float32),
            "metric_stats": [stats],
            "calibration": [{}],
        },
    )
    happenings.happens("opened", one)
    alerts(hook(http.url), KEY=SECRET).deliver()
    moved = http.taken[0].event["data"]["incidents"][0]["moved"]
    assert [(m["metric"], m["value"]) for m in moved] == [("supply_air_temp", -9999.0)]
