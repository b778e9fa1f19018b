"""The platform's own incidents, through Dagster's sensors: each opens once, resolves once, and goes where its route says."""

from __future__ import annotations

from dataclasses import replace

import dagster as dg
import pytest

from hvac_platform.alerts.outbox import write
from hvac_platform.alerts.troubles import Trouble, clear_trouble, open_troubles, raise_trouble, tell_troubles
from hvac_platform.assets.checks import alerts_are_delivered
from hvac_platform.execution import ingest_everything
from hvac_platform.monitoring.counted import RunsCounted, runs_counted
from hvac_platform.monitoring.refused import refusals
from hvac_platform.sensors import ingestion_watch as ingestion_watch_module
from hvac_platform.sensors.alert_delivery import alert_delivery
from hvac_platform.sensors.ingestion_watch import ingestion_watch
from hvac_platform.sensors.run_failure import run_failure, run_success
from hvac_platform.stores.records import OutboxMessage
from hvac_platform.timestamps import DAY_MS, day_of, now_ms
from hvac_platform_tests.alerts.conftest import Happenings, incident
from hvac_platform_tests.conftest import HOUR_MS, MIDNIGHT_MS, MINUTE_MS, NOON_MS, reading, readings

SCREEN = "receivers: {screen: {console: true}}\nroute: {receivers: [screen]}\n"


@pytest.fixture
def told_to(home, monkeypatch):
    """Has a file of alerts in the home folder."""

    def write(text):
        (home / "alerts.yaml").write_text(text)
        monkeypatch.setenv("HVAC_ALERTS", "alerts.yaml")

    return write


def at(platform, instance, cursor=None):
    return dg.build_sensor_context(instance=instance, resources={"platform": platform}, cursor=cursor)


def test_what_is_looked_at_again_and_again_opens_once_and_resolves_once(alerts, store, clock):
    made = alerts(SCREEN)
    wrong = [
        Trouble("ingestion", "partition-0", "critical", "nothing moves"),
        Trouble("lag", "partition-1", "warning", "late"),
    ]
    for present in (wrong, wrong, wrong[:1], [], [], wrong[:1]):
        clock.passes(MINUTE_MS)
        tell_troubles(store, ("ingestion", "lag"), present, clock.at_ms)
        made.deliver()
    assert [title.split("platform: ")[1] for title in made.titles()] == [
        "nothing moves",
        "late",
        "late",
        "nothing moves",
        "nothing moves",
    ]
    assert [title.startswith(("[critical] over", "[warning] over")) for title in made.titles()] == [
        False,
        False,
        True,
        True,
        False,
    ]


def test_one_kind_is_left_alone_by_who_looks_at_another(store, clock):
    raise_trouble(store, Trouble("run", "detection", "warning", "failed"), clock.at_ms)
    assert tell_troubles(store, ("ingestion",), [], clock.at_ms) == []
    assert [trouble.name for trouble in open_troubles(store, clock.at_ms)] == [("run", "detection")]
    assert clear_trouble(store, "run", "detection", clock.at_ms + 1)
    assert not clear_trouble(store, "run", "detection", clock.at_ms + 2)


def test_ingestion_that_lags_and_messages_in_no_table_are_incidents_until_they_are_not(platform, instance, monkeypatch):
    platform.log.append(platform.topic, readings("RTU-001", MIDNIGHT_MS, 1))
    context = at(platform, instance)
    ingestion_watch(context)
    assert open_troubles(platform.store, now_ms()) == []
    monkeypatch.setattr(ingestion_watch_module, "LONGEST_BEHIND_MS", 0)
    context = at(platform, instance, context.cursor)
    ingestion_watch(context)
    (trouble,) = open_troubles(platform.store, now_ms())
    assert trouble.kind == "lag"
    assert "12 messages wait" in trouble.text
    end = platform.log.end_offsets(platform.topic)
    partition = max(end, key=lambda p: end[p])
    platform.store.advance_ledger(platform.topic, partition, 0, end[partition], run_id="nobody", watermark=None)
    context = at(platform, instance, context.cursor)
    ingestion_watch(context)
    (trouble,) = open_troubles(platform.store, now_ms())
    assert trouble.kind == "proof"
    assert "in no table" in trouble.text


def test_a_run_that_fails_is_an_incident_until_its_job_succeeds(platform, instance):
    @dg.op
    def fails(context):
        if context.run.tags.get("ok") != "yes":
            raise dg.Failure("no space left")

    @dg.job(name="report")
    def report():
        fails()

    for tags in ({}, {}, {"ok": "yes"}):
        result = report.execute_in_process(instance=instance, tags=tags, raise_on_error=False)
        event = result.get_run_success_event() if result.success else result.get_run_failure_event()
        context = dg.build_run_status_sensor_context(
            "sensor", event, instance, result.dagster_run, resources={"platform": platform}
        )
        if result.success:
            run_success(context)
        else:
            run_failure(context.for_run_failure())
            (trouble,) = open_troubles(platform.store, now_ms())
            assert (trouble.name, trouble.severity) == (("run", "report"), "warning")
    assert open_troubles(platform.store, now_ms()) == []
    counted = runs_counted(platform.store, "report")
    assert counted == RunsCounted(1, 2, counted.seconds)


@dg.asset
def first(context):
    if "fails" in context.run.tags:
        raise dg.Failure("no space left")


@dg.asset
def second():
    pass


@dg.asset
def what_if():
    raise dg.Failure("no method guess")


def ran_by_hand(instance, *assets, tags=None):
    """A run over some assets, as the button Materialize begins it."""
    job = dg.Definitions(assets=[first, second, what_if]).resolve_implicit_global_asset_job_def()
    keys = [asset.key for asset in assets]
    return job.execute_in_process(instance=instance, asset_selection=keys, tags=tags, raise_on_error=False)


def looked_at(platform, instance, result):
    """The sensors have seen how a run ended."""
    event = result.get_run_success_event() if result.success else result.get_run_failure_event()
    context = dg.build_run_status_sensor_context(
        "sensor", event, instance, result.dagster_run, resources={"platform": platform}
    )
    if result.success:
        run_success(context)
    else:
        run_failure(context.for_run_failure())


def test_a_failed_run_by_hand_is_told_by_its_assets_and_ends_by_a_later_one_over_the_same(platform, instance):
    before = ran_by_hand(instance, first, second)
    looked_at(platform, instance, ran_by_hand(instance, first, second, tags={"fails": "yes"}))
    (trouble,) = open_troubles(platform.store, now_ms())
    assert trouble.name == ("run", "first,second")
    assert " of first, second failed: " in trouble.text
    assert "partition" not in trouble.text
    for other in (before, ran_by_hand(instance, second), ran_by_hand(instance, first)):
        assert other.success
        looked_at(platform, instance, other)
        assert open_troubles(platform.store, now_ms()) == [trouble]
    looked_at(platform, instance, ran_by_hand(instance, first, second))
    assert open_troubles(platform.store, now_ms()) == []


def test_a_partition_is_told_where_there_is_one(platform, instance):
    tags = {"fails": "yes", "dagster/partition": "2025-03-11"}
    looked_at(platform, instance, ran_by_hand(instance, first, tags=tags))
    (trouble,) = open_troubles(platform.store, now_ms())
    assert " of first over 2025-03-11 failed: " in trouble.text


def test_a_question_that_fails_is_no_trouble_of_the_platform(platform, instance):
    looked_at(platform, instance, ran_by_hand(instance, what_if))
    assert open_troubles(platform.store, now_ms()) == []


def test_what_was_opened_by_the_name_of_dagsters_own_job_ends_by_any_run_by_hand(platform, instance):
    raise_trouble(platform.store, Trouble("run", "__ASSET_JOB", "warning", "failed"), now_ms())
    looked_at(platform, instance, ran_by_hand(instance, second))
    assert open_troubles(platform.store, now_ms()) == []


def said_of(look):
    """What a tick of the sensor says, whether the outbox stands as before or not."""
    return look.skip_message if isinstance(look, dg.SkipReason) else look.skip_reason.skip_message


def test_the_sensor_sends_what_lies_for_half_a_minute_and_says_what_it_was(platform, instance, told_to):
    nobody = alert_delivery(at(platform, instance))
    assert "names no file" in said_of(nobody)
    assert nobody.asset_events[1].description == "HVAC_ALERTS names no file: nobody is told"
    told_to(SCREEN)
    assert said_of(alert_delivery(at(platform, instance))) == "nothing is late"
    one, now = incident(), now_ms()
    happenings = Happenings(platform.store)
    happenings.record(one)
    happenings.happens("opened", one, at_ms=now - 29_000)
    assert said_of(alert_delivery(at(platform, instance))) == "nothing is late"
    happenings.happens("worsened/rtu-2", one, at_ms=now - 31_000)
    said = said_of(alert_delivery(at(platform, instance)))
    assert said.startswith("2 messages sent: sent to screen: ")
    assert f"worse: {one.device_id}" in said
    assert said_of(alert_delivery(at(platform, instance))) == "nothing is late"


def test_how_the_outbox_stands_is_told_on_its_page_in_dagster_when_it_has_changed(platform, instance, told_to):
    told_to(SCREEN)
    first = at(platform, instance)
    observed, checked = alert_delivery(first).asset_events
    assert observed.asset_key == dg.AssetKey("alert_outbox")
    assert {name: value.value for name, value in observed.metadata.items()} == {
        "waiting": 0,
        "waits_since": "nothing is due",
        "sent_in_the_last_day": 0,
        "given_up_in_the_last_day": 0,
    }
    assert (checked.check_name, checked.passed) == ("alerts_are_delivered", True)
    again = at(platform, instance, first.cursor)
    assert isinstance(alert_delivery(again), dg.SkipReason), "as it was a minute ago"
    write(platform.store, [due_for(now_ms() - 7 * 60_000), replace(due_for(now_ms() - 60_000), state="dead")])
    held_elsewhere(platform.store)
    observed, checked = alert_delivery(at(platform, instance, first.cursor)).asset_events
    assert observed.metadata["waiting"].value == 1
    assert not checked.passed
    assert checked.description == (
        "a message has been due for 7 min, and 1 wait; 1 messages of the last day were given up: hvac alerts outbox says "
        "which and why"
    )
    assert not alerts_are_delivered(platform).passed, "the check says the same when somebody runs it"


def held_elsewhere(store):
    """Another process delivers, and is stuck."""
    from hvac_platform.alerts.delivery import LEASE_TOPIC

    store.take_lease(LEASE_TOPIC, 0, "a detection run", at=0)


def due_for(due_ms):
    """A message that is due since an instant."""
    return OutboxMessage(
        date=day_of(due_ms),
        queued_at=due_ms,
        message_key=f"CH-001/1#opened#{due_ms}",
        kind="message",
        state="waiting",
        incident_id="CH-001/1",
        device_id="CH-001",
        transition="opened",
        route=None,
        receiver="screen",
        incidents=["CH-001/1"],
        details={},
        attempts=1,
        next_attempt_at=due_ms,
        sent_at=None,
        error="refused",
        updated_at=due_ms,
    )


def test_while_another_delivers_the_sensor_leaves_it_alone(platform, instance, told_to):
    from hvac_platform.alerts.delivery import LEASE_TOPIC

    told_to(SCREEN)
    one = incident()
    happenings = Happenings(platform.store)
    happenings.record(one)
    happenings.happens("opened", one, at_ms=now_ms() - 60_000)
    platform.store.take_lease(LEASE_TOPIC, 0, "a detection run", at=0)
    assert said_of(alert_delivery(at(platform, instance))) == "1 are late, and another process delivers"
    assert platform.store.ledger(platform.topic) == {}  # it is no partition of the topic


def test_a_detection_run_delivers_beside_its_work(platform, instance, home, told_to, http, monkeypatch):
    from hvac_platform.execution import run_job
    from hvac_platform.monitoring import standing as standing_detection
    from hvac_platform.runs import HOME_TAG, STANDING_TAG
    from hvac_platform.timestamps import day_of

    told_to(f"group_wait: 0s\nreceivers: {{hook: {{webhook: {{url: '{http.url}'}}}}}}\nroute: {{receivers: [hook]}}\n")
    monkeypatch.setenv("HVAC_RUN_MINUTES", f"{2 / 60}")
    monkeypatch.setattr(standing_detection, "HAND_OVER_SECONDS", 0)
    one = incident(started_at=NOON_MS)
    happenings = Happenings(platform.store)
    happenings.record(one)
    happenings.happens("acknowledged/1", one, at_ms=now_ms())
    happenings.happens("opened", one, at_ms=now_ms())
    today = day_of(now_ms())
    tags = {"dagster/partition": today, HOME_TAG: platform.home, STANDING_TAG: "yes"}
    config = {"ops": {"anomaly_events": {"config": {"standing": True}}}}
    result = run_job("detection", instance, tags, config)
    assert result.success
    assert [taken.event["type"] for taken in http.taken][:1] == ["hvac.incident.opened"]
    (materialized,) = result.asset_materializations_for_node("anomaly_events")[-1:]
    assert materialized.metadata["alerts_sent"].value == len(http.taken)


@pytest.mark.parametrize("runs", [1, 2])
def test_readings_that_come_again_with_another_value_are_counted_and_told_by_device(platform, instance, runs):
    """Within a batch, and against what the store has; the same value again is nothing."""
    first = [reading(at_ms=NOON_MS + m * MINUTE_MS, value=70.0 + m) for m in range(5)]
    again = [reading(at_ms=NOON_MS + MINUTE_MS, value=99.0), reading(at_ms=NOON_MS + 2 * MINUTE_MS, value=72.0)]
    for part in [[*first, *again]] if runs == 1 else [first, again]:
        platform.log.append(platform.topic, part)
        list(ingest_everything(instance, platform))
    (trouble,) = open_troubles(platform.store, now_ms())
    assert (trouble.kind, trouble.subject) == ("device", "RTU-001")
    assert "came again with another value, 1 at first, such as supply_air_temp of 2025-03-10 12:01:00Z" in trouble.text
    assert "was 71 and then 99" in trouble.text
    platform.log.append(platform.topic, [reading(at_ms=NOON_MS + HOUR_MS)])
    list(ingest_everything(instance, platform))
    assert open_troubles(platform.store, now_ms()) == []


def test_a_device_whose_clock_is_ahead_is_told_with_how_much_until_its_messages_agree(platform, instance):
    now = now_ms()
    platform.log.append(platform.topic, [reading(at_ms=now - MINUTE_MS)])
    list(ingest_everything(instance, platform))
    year = [reading(at_ms=now + 365 * DAY_MS + i * MINUTE_MS) for i in range(4)]
    platform.log.append(platform.topic, [*year, *(reading("RTU-002", now - m * MINUTE_MS) for m in range(9))])
    list(ingest_everything(instance, platform))
    (trouble,) = open_troubles(platform.store, now_ms())
    assert (trouble.kind, trouble.subject) == ("device", "RTU-001")
    assert "its clock is ahead by 365 days" in trouble.text
    (refusal,) = refusals(platform.store)
    assert (refusal.count, refusal.devices) == (4, {"RTU-001"})
    assert refusals(platform.store, since_ms=now_ms() + 1) == []
    platform.log.append(platform.topic, [reading(at_ms=now)])
    list(ingest_everything(instance, platform))
    assert open_troubles(platform.store, now_ms()) == []
