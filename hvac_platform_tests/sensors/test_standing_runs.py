"""Runs that stand, as Dagster sees them: one at a time, the next one launched before the last one ends."""

import time

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from hvac_platform.assets import standing as standing_assets
from hvac_platform.execution import ingest_everything, run_job
from hvac_platform.ingestion import standing
from hvac_platform.lost_runs import end_lost_ingestion
from hvac_platform.monitoring import standing as standing_detection
from hvac_platform.runs import HOME_TAG, STANDING_TAG, SUCCEEDS_TAG
from hvac_platform.schedules import detection_schedule
from hvac_platform.sensors.kafka_ingestion import kafka_ingestion
from hvac_platform.stores.base import Device
from hvac_platform.timestamps import DAY_MS, day_of, now_ms
from hvac_platform_tests.conftest import DAY, MIDNIGHT_MS, MINUTE_MS, NEXT_DAY, SECOND_MS, bad, reading, readings, rows

ALL = {f"hvac/kafka_partition_{p}" for p in range(3)}


@pytest.fixture(autouse=True)
def short(home, monkeypatch):
    """Runs stand for four seconds, so that one begins in them on a busy machine too, and wait for nobody."""
    monkeypatch.setenv("HVAC_RUN_MINUTES", f"{4 / 60}")
    monkeypatch.setattr(standing, "HAND_OVER_SECONDS", 0)
    monkeypatch.setattr(standing_detection, "HAND_OVER_SECONDS", 0)
    monkeypatch.setattr(standing, "ALONE_SECONDS", 1)


def tick(instance, platform):
    result = kafka_ingestion(dg.build_sensor_context(instance=instance, resources={"platform": platform}))
    return result.skip_message if isinstance(result, dg.SkipReason) else result.run_requests


def at_schedule(instance, platform):
    context = dg.build_schedule_context(instance=instance, resources={"platform": platform})
    evaluated = detection_schedule(context)
    return evaluated.skip_message if isinstance(evaluated, dg.SkipReason) else evaluated


def started(instance, tags, job="ingestion"):
    """A run of the daemon's that has begun."""
    run = create_run_for_test(instance, job_name=job, tags=tags)
    instance.handle_new_event(
        dg.EventLogEntry(
            error_info=None,
            level=20,
            user_message="",
            run_id=run.run_id,
            timestamp=time.time(),
            dagster_event=dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, job),
        )
    )
    return run


def own(platform, run_id):
    return [platform.store.take_lease(platform.topic, p, run_id, at=0) for p in range(3)]


def later(monkeypatch, module, seconds):
    monkeypatch.setattr(f"hvac_platform.{module}.now_ms", lambda: round(1000 * (time.time() + seconds)))


def test_one_run_takes_all_partitions_and_goes_on_with_what_arrives(instance, platform):
    platform.log.append(platform.topic, [*readings("RTU-001", MIDNIGHT_MS, 3), bad("NaN", MIDNIGHT_MS, b"MAU-001")])
    (request,) = tick(instance, platform)
    assert set(request.tags) >= ALL
    assert request.tags[STANDING_TAG] == "yes"
    assert request.run_config["ops"]["raw_metrics"]["config"]["standing"] is True
    result = run_job("ingestion", instance, request.tags, request.run_config)
    moved = {p: e.next_offset for p, e in platform.store.ledger(platform.topic).items() if e.next_offset}
    assert moved == {1: 1, 2: 36}
    assert {e.holder for e in platform.store.ledger(platform.topic).values()} == {None}
    assert len(rows(platform.store, "device_state_snapshots", "snapshot_time")) == 3
    assert platform.store.count("dead_letters") == 1
    (last,) = result.asset_materializations_for_node("raw_metrics")[-1:]
    assert (last.metadata["accepted"].value, last.metadata["rejected"].value) == (36, 1)
    assert tick(instance, platform) == "no new offsets in iot-metrics"


def test_what_it_does_shows_on_the_partitions_of_the_days_concerned(instance, platform):
    platform.log.append(platform.topic, readings("RTU-001", MIDNIGHT_MS - 3 * MINUTE_MS, 6))
    (request,) = tick(instance, platform)
    run_job("ingestion", instance, request.tags, request.run_config)
    for asset in ("raw_metrics", "windowed_snapshots", "snapshot_embeddings", "consumer_offsets"):
        assert {DAY, NEXT_DAY} <= instance.get_materialized_partitions(dg.AssetKey(asset)), asset
    told = instance.fetch_materializations(dg.AssetRecordsFilter(dg.AssetKey("windowed_snapshots"), [DAY]), limit=9)
    assert 3 in {r.asset_materialization.metadata["windows"].value for r in told.records}


def test_it_says_which_device_changes_its_type_and_which_does_not(instance, platform):
    for device_id, last_seen in (("RTU-001", MIDNIGHT_MS - 1), ("RTU-002", MIDNIGHT_MS + DAY_MS)):
        platform.store.register_devices([Device(device_id, "rooftop_unit", "", "", 0, last_seen, 0)])
        said = [reading(device_id, MIDNIGHT_MS + k * SECOND_MS, device_type="chiller") for k in range(5)]
        platform.log.append(platform.topic, said)
    (request,) = tick(instance, platform)
    result = run_job("ingestion", instance, request.tags, request.run_config)
    metadata = result.asset_materializations_for_node("raw_metrics")[-1].metadata
    assert metadata["type_changes"].value == "RTU-001: type changed from rooftop_unit to chiller"
    assert metadata["type_conflicts"].value.startswith("RTU-002: stays rooftop_unit though messages say chiller: ")


def test_its_checks_pass(instance, platform):
    platform.log.append(platform.topic, readings("RTU-001", MIDNIGHT_MS, 3))
    (request,) = tick(instance, platform)
    result = run_job("ingestion", instance, request.tags, request.run_config)
    checks = {e.check_name: e.passed for e in result.get_asset_check_evaluations()}
    assert checks
    assert all(checks.values()), checks


def test_while_it_stands_nobody_else_is_launched(instance, platform, monkeypatch):
    monkeypatch.setenv("HVAC_RUN_MINUTES", "15")
    platform.log.append(platform.topic, readings("RTU-001", MIDNIGHT_MS, 1))
    (request,) = tick(instance, platform)
    run = started(instance, request.tags)
    assert "has been asked for" in tick(instance, platform)
    own(platform, run.run_id)
    assert tick(instance, platform) == f"partition 2 is being ingested by run {run.run_id[:8]}"


def test_a_run_that_owns_all_partitions_is_left_alone_until_it_loses_one_or_is_about_to_end(
    instance, platform, monkeypatch
):
    monkeypatch.setenv("HVAC_RUN_MINUTES", "15")
    platform.log.append(platform.topic, readings("RTU-001", MIDNIGHT_MS, 1))
    (request,) = tick(instance, platform)
    run = started(instance, request.tags)
    for partition in platform.log.partitions(platform.topic):
        assert platform.store.take_lease(platform.topic, partition, run.run_id, at=0)

    def look(cursor):
        context = dg.build_sensor_context(instance=instance, cursor=cursor)
        return kafka_ingestion(context), context.cursor

    found, cursor = look(None)
    assert cursor.startswith(run.run_id)
    asked = []
    monkeypatch.setattr("hvac_platform.sensors.kafka_ingestion.pending_partitions", lambda *_: asked.append(1) or {})
    found, same = look(cursor)
    assert found.skip_message == f"run {run.run_id[:8]} stands and takes in what arrives"
    assert (asked, same) == ([], cursor)
    later(monkeypatch, "sensors.kafka_ingestion", 40)  # its lease has lapsed by then
    look(cursor)
    assert asked == [1]
    later(monkeypatch, "sensors.kafka_ingestion", 0)
    assert int(cursor.split()[1]) <= now_ms() + 30_000
    assert look(f"{run.run_id} {now_ms() - 1}")[1] != cursor
    assert asked == [1, 1]


def test_the_next_one_is_launched_before_it_ends_and_only_once(instance, platform, monkeypatch):
    monkeypatch.setenv("HVAC_RUN_MINUTES", "15")
    platform.log.append(platform.topic, readings("RTU-001", MIDNIGHT_MS, 1))
    (request,) = tick(instance, platform)
    run = started(instance, request.tags)
    later(monkeypatch, "sensors.kafka_ingestion", 14.6 * 60)
    monkeypatch.setattr("hvac_platform.stores.base.LedgerEntry.held_by", lambda entry, _: entry.holder)
    own(platform, run.run_id)
    (following,) = tick(instance, platform)
    assert following.tags[SUCCEEDS_TAG] == run.run_id
    monkeypatch.setattr(
        "hvac_platform.lost_runs.BEGINS_WITHIN_SECONDS", 3_600
    )  # it is made a quarter of an hour ago here
    assert following.tags["dagster/partition"] == day_of(now_ms())
    assert set(following.tags) >= ALL
    config = following.run_config["ops"]["raw_metrics"]["config"]
    assert (config["standing"], config["succeeds"], config["ranges"]) == (True, True, [])
    create_run_for_test(instance, job_name="ingestion", tags=following.tags, status=dg.DagsterRunStatus.NOT_STARTED)
    assert "is being ingested by" in tick(instance, platform)


def test_hvac_ingest_ends_although_a_run_that_stands_has_open_windows(instance, platform):
    platform.log.append(platform.topic, readings("RTU-001", now_ms() // MINUTE_MS * MINUTE_MS, 1, every_ms=20_000))
    one = platform.store.take_lease(platform.topic, 2, "another", at=0)
    assert platform.store.advance_ledger(
        *(platform.topic, 2, 0, 6), run_id="another", watermark=None, fence=one.fence, open_since=now_ms()
    )
    assert list(ingest_everything(instance, platform)) == []
    assert tick(instance, platform) == "no new offsets in iot-metrics"


def test_the_detection_of_another_home_in_the_same_dagster_storage_holds_nothing_up(instance, platform):
    started(instance, {HOME_TAG: "another store iot-metrics", STANDING_TAG: "yes"}, "detection")
    platform.log.append(platform.topic, readings("RTU-001", now_ms() - 60 * MINUTE_MS, 3))
    (request,) = tick(instance, platform)
    run_job("ingestion", instance, request.tags, request.run_config)
    assert at_schedule(instance, platform).tags[HOME_TAG] == platform.home


def test_a_backlog_is_shared_by_a_run_for_each_partition(instance, platform, monkeypatch):
    monkeypatch.setenv("HVAC_RUN_MINUTES", "15")
    monkeypatch.setattr(standing, "IDLE_SECONDS", 2.0)
    monkeypatch.setenv("HVAC_MAX_MESSAGES_PER_RUN", "1000")
    many = [r for d in ("RTU-001", "MAU-001") for r in readings(d, MIDNIGHT_MS, 90)]
    platform.log.append(platform.topic, many)
    requests = tick(instance, platform)
    assert [set(r.tags) & ALL for r in requests] == [{"hvac/kafka_partition_1"}, {"hvac/kafka_partition_2"}]
    run_job("ingestion", instance, requests[0].tags, requests[0].run_config)  # it goes on with the other, too
    assert platform.store.count("device_metrics_raw") == len(many)


def test_one_that_was_killed_is_told_to_be_dead_as_soon_as_its_lease_has_lapsed(instance, platform, monkeypatch):
    monkeypatch.setenv("HVAC_RUN_MINUTES", "15")
    platform.log.append(platform.topic, readings("RTU-001", MIDNIGHT_MS, 1))
    (request,) = tick(instance, platform)
    run = started(instance, request.tags)
    leases = own(platform, run.run_id)
    assert platform.store.advance_ledger(
        platform.topic, 2, 0, 6, run_id=run.run_id, watermark=None, fence=leases[2].fence
    )
    assert end_lost_ingestion(instance, platform, now_ms() + 2_000) == []
    assert end_lost_ingestion(instance, platform, now_ms() + 6_000) == [run.run_id]
    platform.log.append(platform.topic, readings("RTU-001", MIDNIGHT_MS + MINUTE_MS, 1))
    later(monkeypatch, "sensors.kafka_ingestion", 6)
    assert len(tick(instance, platform)) == 1


def test_one_that_waits_for_the_last_one_to_end_is_not_dead(instance, platform):
    tags = {HOME_TAG: platform.home, STANDING_TAG: "yes", SUCCEEDS_TAG: "another"}
    run = started(instance, tags)
    own(platform, "another")
    assert end_lost_ingestion(instance, platform, now_ms() + 100_000) == []
    assert end_lost_ingestion(instance, platform, now_ms() + 400_000) == [run.run_id]


def test_a_run_that_is_asked_to_end_lets_go_and_succeeds(instance, platform, monkeypatch):
    platform.log.append(platform.topic, readings("RTU-001", MIDNIGHT_MS, 3))
    (request,) = tick(instance, platform)

    def interrupted(one):
        one.step()
        raise dg.DagsterExecutionInterruptedError

    monkeypatch.setattr(standing_assets.StandingIngestion, "run", interrupted)
    run_job("ingestion", instance, request.tags, request.run_config)
    assert {e.holder for e in platform.store.ledger(platform.topic).values()} == {None}
    assert platform.store.count("device_metrics_raw") == 36


def test_detection_stands_and_judges_what_becomes_complete(instance, platform):
    start = now_ms() // MINUTE_MS * MINUTE_MS - 60 * MINUTE_MS
    platform.log.append(platform.topic, readings("RTU-001", start, 30))
    (request,) = tick(instance, platform)
    run_job("ingestion", instance, request.tags, request.run_config)
    request = at_schedule(instance, platform)
    assert request.tags[STANDING_TAG] == "yes"
    result = run_job("detection", instance, request.tags, request.run_config)
    assert result.asset_materializations_for_node("anomaly_events")[-1].metadata["windows_judged"].value == 30
    assert day_of(start) in instance.get_materialized_partitions(dg.AssetKey("anomaly_events"))
    assert platform.store.count("snapshot_verdicts") == 90


def test_while_detection_stands_the_schedule_says_which_run_judges_and_launches_the_next_in_time(
    instance, platform, monkeypatch
):
    monkeypatch.setenv("HVAC_RUN_MINUTES", "15")
    tags = {HOME_TAG: platform.home, STANDING_TAG: "yes"}
    run = started(instance, tags, "detection")
    assert at_schedule(instance, platform) == f"run {run.run_id[:8]} is judging"
    later(monkeypatch, "schedules", 14 * 60)
    assert at_schedule(instance, platform).tags[STANDING_TAG] == "yes"


def test_a_device_that_can_not_be_judged_is_left_alone_for_a_while_and_named(instance, platform, monkeypatch):
    start = now_ms() // MINUTE_MS * MINUTE_MS - 60 * MINUTE_MS
    platform.log.append(platform.topic, [r for d in ("RTU-001", "RTU-002") for r in readings(d, start, 5)])
    (request,) = tick(instance, platform)
    run_job("ingestion", instance, request.tags, request.run_config)
    from hvac_platform.monitoring.passes import detection

    whole, tried = detection.ready_to_judge, []

    def judge(store, device, *arguments, **options):
        if device.device_id == "RTU-002":
            tried.append(1)
            raise ValueError("a matrix is singular")
        return whole(store, device, *arguments, **options)

    monkeypatch.setattr(detection, "ready_to_judge", judge)
    request = at_schedule(instance, platform)
    result = run_job("detection", instance, request.tags, request.run_config)
    metadata = result.asset_materializations_for_node("anomaly_events")[-1].metadata
    assert metadata["devices_failed"].value == 1
    assert "RTU-002: ValueError: a matrix is singular" in metadata["failures"].value
    assert len(tried) == 1
    assert platform.store.count("snapshot_verdicts") == 15
