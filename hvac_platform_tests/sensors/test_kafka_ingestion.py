"""The ingestion sensor: exactly the new offsets, one run at a time for each partition, no gap after a failure."""

from __future__ import annotations

import logging
import re

import dagster as dg
import pytest
from dagster._core.remote_origin import InProcessCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.test_utils import create_run_for_test
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from hvac_platform.assets import checks
from hvac_platform.config import CONSUMER_GROUP
from hvac_platform.execution import ingest_everything, run_job
from hvac_platform.ingestion.ranges import FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS, SEARCH_SECONDS
from hvac_platform.lost_runs import end_lost_ingestion
from hvac_platform.resources import PlatformResource
from hvac_platform.runs import HOME_TAG, RANGES_TAG
from hvac_platform.sensors.kafka_ingestion import (
    PACE_SECONDS,
    kafka_ingestion,
    made_again,
    pending_partitions,
    plan_tick,
)
from hvac_platform.timestamps import DAY_MS, day_of, days_before, now_ms
from hvac_platform_tests.conftest import (
    BAD_VALUES,
    DAY,
    MIDNIGHT_MS,
    MINUTE_MS,
    NEXT_DAY,
    all_succeed,
    bad,
    contents,
    open_dagster,
    processes,
    reading,
    readings,
    rows,
    start_process,
)


@pytest.fixture(autouse=True)
def no_pause_between_runs(request, monkeypatch):
    if "quarter_of_a_minute" not in request.node.name:
        monkeypatch.setattr(f"{kafka_ingestion_module}.PACE_SECONDS", 0)


def tick(instance, platform):
    """Requests of one tick; or why there are none."""
    result = kafka_ingestion(dg.build_sensor_context(instance=instance, resources={"platform": platform}))
    return result.skip_message if isinstance(result, dg.SkipReason) else result.run_requests


def ranges_of(request):
    """(partition, start, end) of each range in a request's config; both configured assets must have the same."""
    listed = [request.run_config["ops"][name]["config"]["ranges"] for name in ("raw_metrics", "consumer_offsets")]
    assert listed[0] == listed[1]
    return [(r["partition"], r["start"], r["end"]) for r in listed[0]]


def execute(instance, request):
    return run_job("ingestion", instance, request.tags, request.run_config)


def submitted(instance, request, status=dg.DagsterRunStatus.STARTED):
    """The run that the daemon makes of a request, in some state."""
    return create_run_for_test(
        instance,
        job_name="ingestion",
        status=status,
        tags=request.tags | {"dagster/run_key": request.run_key},
        remote_job_origin=ORIGIN,
    )


ORIGIN = RemoteRepositoryOrigin(
    InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="hvac_platform.definitions")), "hvac_platform"
).get_job_origin("ingestion")


def next_offsets(platform):
    return {p: entry.next_offset for p, entry in platform.store.ledger(platform.topic).items()}


kafka_ingestion_module = "hvac_platform.sensors.kafka_ingestion"
RTU, MAU = 2, 1  # partitions of RTU-001 and MAU-001 in a topic of three


# -- what a tick requests -----------------------------------------------------------------------------------------------


def test_nothing_new_is_a_skip_that_says_so(instance, platform):
    assert tick(instance, platform) == "no new offsets in iot-metrics"


def test_a_tick_requests_exactly_the_new_offsets_and_a_run_brings_them_in(instance, platform):
    platform.log.append(platform.topic, [*readings("RTU-001", MIDNIGHT_MS, 2), bad("NaN", MIDNIGHT_MS, b"MAU-001")])
    (request,) = tick(instance, platform)
    assert ranges_of(request) == [(MAU, 0, 1), (RTU, 0, 24)]
    assert re.fullmatch(rf"iot-metrics\.[0-9a-f]{{6}}:{NEXT_DAY}:1:0-1\+2:0-24#1", request.run_key)
    assert request.tags == {
        "dagster/partition": NEXT_DAY,
        HOME_TAG: platform.home,
        RANGES_TAG: "1:0-1+2:0-24",
        "hvac/kafka_partition_1": "0",
        "hvac/kafka_partition_2": "0",
    }
    execute(instance, request)
    assert next_offsets(platform) == {MAU: 1, RTU: 24}
    assert platform.log.committed(CONSUMER_GROUP, platform.topic) == {MAU: 1, RTU: 24}
    assert platform.store.count("device_metrics_raw") == 24
    assert tick(instance, platform) == "no new offsets in iot-metrics"
    platform.log.append(platform.topic, [reading(at_ms=MIDNIGHT_MS)])
    (request,) = tick(instance, platform)
    assert ranges_of(request) == [(RTU, 24, 25)]


def test_a_tick_reads_no_payload_and_moves_nothing(instance, platform):
    platform.log.append(platform.topic, [bad(kind) for kind in BAD_VALUES])
    first = tick(instance, platform)
    assert [ranges_of(r) for r in tick(instance, platform)] == [ranges_of(r) for r in first]
    assert next_offsets(platform) == {}
    assert instance.get_runs_count() == 0


def test_a_range_is_cut_at_midnight_and_the_rest_follows_in_the_next_tick(instance, platform, monkeypatch):
    monkeypatch.setenv("HVAC_MAX_MESSAGES_PER_RUN", "1000")
    before = readings("RTU-001", MIDNIGHT_MS - 10 * 60_000, 10)
    platform.log.append(platform.topic, before + readings("RTU-001", MIDNIGHT_MS, 5))
    (first,) = tick(instance, platform)
    assert (first.tags["dagster/partition"], ranges_of(first)) == (DAY, [(RTU, 0, 120)])
    execute(instance, first)
    (second,) = tick(instance, platform)
    assert (second.tags["dagster/partition"], ranges_of(second)) == (NEXT_DAY, [(RTU, 120, 180)])


def test_a_sparse_history_of_many_days_is_one_run_over_their_range(instance, platform):
    platform.log.append(platform.topic, [reading(at_ms=MIDNIGHT_MS - n * DAY_MS) for n in (12, 8, 4, 0)])
    (request,) = tick(instance, platform)
    assert "dagster/partition" not in request.tags
    assert request.tags["dagster/asset_partition_range_start"] == days_before(NEXT_DAY, 12)
    assert request.tags["dagster/asset_partition_range_end"] == NEXT_DAY
    execute(instance, request)
    assert platform.store.count("device_state_snapshots") == 4
    assert len(instance.get_materialized_partitions(dg.AssetKey("snapshot_embeddings"))) == 13


def test_a_backlog_goes_by_capped_runs_of_one_partition_each(instance, platform, monkeypatch):
    monkeypatch.setenv("HVAC_MAX_MESSAGES_PER_RUN", "1000")
    for device in ("RTU-001", "MAU-001"):
        platform.log.append(platform.topic, readings(device, MIDNIGHT_MS, 10, every_ms=500))
    requests = tick(instance, platform)
    assert [ranges_of(r) for r in requests] == [[(MAU, 0, 1000)], [(RTU, 0, 1000)]]
    assert len({r.run_key for r in requests}) == 2


def test_new_devices_become_partitions_and_are_registered(instance, platform):
    platform.log.append(platform.topic, [reading("RTU-001"), reading("lathe 7", device_type="Lathe")])
    list(ingest_everything(instance, platform))
    assert sorted(instance.get_dynamic_partitions("devices")) == ["RTU-001", "lathe 7"]
    assert [(d.device_id, d.device_type) for d in platform.store.devices()] == [
        ("RTU-001", "rooftop_unit"),
        ("lathe 7", "lathe"),
    ]


# -- runs that are under way --------------------------------------------------------------------------------------------


def owned(platform, request, run_id):
    """Let a run own the partitions of a request, as it does from its first step on."""
    return [
        platform.store.take_lease(platform.topic, partition, run_id, at=start)
        for partition, start, _ in ranges_of(request)
    ]


@pytest.mark.parametrize(
    "status",
    [
        dg.DagsterRunStatus.QUEUED,
        dg.DagsterRunStatus.NOT_STARTED,
        dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.STARTED,
        dg.DagsterRunStatus.CANCELING,
    ],
)
def test_a_partition_waits_while_a_run_over_it_has_been_asked_for(instance, platform, status):
    platform.log.append(platform.topic, [reading("RTU-001")])
    (request,) = tick(instance, platform)
    run = submitted(instance, request, status)
    assert set(pending_partitions(instance, platform, now_ms())) == {RTU}
    assert tick(instance, platform) == f"partition 2 has been asked for by run {run.run_id[:8]}"
    platform.log.append(platform.topic, [reading("RTU-001"), reading("MAU-001")])
    (other,) = tick(instance, platform)
    assert ranges_of(other) == [(MAU, 0, 1)]  # another partition need not wait


def test_a_partition_waits_while_a_run_owns_it_whatever_dagster_says_of_the_run(instance, platform):
    platform.log.append(platform.topic, [reading("RTU-001")])
    (request,) = tick(instance, platform)
    (lease,) = owned(platform, request, "0123456789ab")
    assert tick(instance, platform) == "partition 2 is being ingested by run 01234567"
    platform.store.release_lease(lease)
    assert len(tick(instance, platform)) == 1


def test_a_run_that_goes_on_and_owns_nothing_is_told_to_be_dead_and_its_range_is_asked_for_again(instance, platform):
    platform.log.append(platform.topic, [reading("RTU-001")])
    (request,) = tick(instance, platform)
    run = submitted(instance, request)
    assert end_lost_ingestion(instance, platform, now_ms()) == []  # it may be about to
    assert end_lost_ingestion(instance, platform, now_ms() + 16_000) == [run.run_id]
    assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.FAILURE
    (again,) = tick(instance, platform)
    assert (ranges_of(again), again.run_key) == (ranges_of(request), request.run_key.replace("#1", "#2"))


def test_a_run_that_owns_its_partition_is_left_alone_however_long_it_takes(instance, platform):
    platform.log.append(platform.topic, [reading("RTU-001")])
    (request,) = tick(instance, platform)
    run = submitted(instance, request)
    (lease,) = owned(platform, request, run.run_id)
    in_an_hour = now_ms() + 3_600_000
    platform.store.swap_ledger(platform.topic, RTU, {"fence": lease.fence}, {"held_until": in_an_hour + 5_000})
    assert end_lost_ingestion(instance, platform, in_an_hour) == []


def test_a_run_that_has_moved_the_ledger_has_two_minutes_for_its_checks(instance, platform):
    platform.log.append(platform.topic, [reading("RTU-001")])
    (request,) = tick(instance, platform)
    run = submitted(instance, request)
    (lease,) = owned(platform, request, run.run_id)
    assert platform.store.advance_ledger(
        platform.topic, RTU, 0, 1, run_id=run.run_id, watermark=None, fence=lease.fence
    )
    platform.store.release_lease(lease)
    assert end_lost_ingestion(instance, platform, now_ms() + 100_000) == []
    assert end_lost_ingestion(instance, platform, now_ms() + 130_000) == [run.run_id]


def test_a_cancelled_run_holds_nothing_up(instance, platform):
    """It moved nothing, so its range is asked for again at once, under a new key."""
    platform.log.append(platform.topic, [reading("RTU-001")])
    (request,) = tick(instance, platform)
    submitted(instance, request, dg.DagsterRunStatus.CANCELED)
    (again,) = tick(instance, platform)
    assert ranges_of(again) == ranges_of(request)
    assert again.run_key == request.run_key.replace("#1", "#2")


def test_a_partition_gets_a_run_each_quarter_of_a_minute(instance, platform):
    platform.log.append(platform.topic, [reading("RTU-001")])
    (request,) = tick(instance, platform)
    run = submitted(instance, request, dg.DagsterRunStatus.SUCCESS)
    assert tick(instance, platform).startswith(f"partition 2 was ingested by run {run.run_id[:8]} ")
    assert pending_partitions(instance, platform, now_ms() + PACE_SECONDS * 1000) == {}


def test_the_number_of_an_attempt_is_never_used_twice_whatever_upkeep_has_deleted(instance, platform):
    platform.log.append(platform.topic, [reading("RTU-001")])
    (request,) = tick(instance, platform)
    first = submitted(instance, request, dg.DagsterRunStatus.CANCELED)
    (again,) = tick(instance, platform)
    submitted(instance, again, dg.DagsterRunStatus.CANCELED)
    instance.delete_run(first.run_id)
    (third,) = tick(instance, platform)
    assert third.run_key == request.run_key.replace("#1", "#3")


def test_another_home_in_the_same_dagster_storage_is_held_up_by_nothing_of_this_one(
    instance, platform, tmp_path, monkeypatch
):
    platform.log.append(platform.topic, [reading("RTU-001")])
    (request,) = tick(instance, platform)
    run = submitted(instance, request)
    monkeypatch.setenv("HVAC_HOME", str(tmp_path / "other home"))
    other = PlatformResource()
    other.log.append(other.topic, [reading("RTU-001")])
    (of_the_other,) = tick(instance, other)
    assert (ranges_of(of_the_other), of_the_other.run_key != request.run_key) == (ranges_of(request), True)
    assert end_lost_ingestion(instance, other, now_ms() + 10**6) == []
    assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.STARTED


def test_the_runs_of_other_jobs_are_no_concern_of_the_sensor(instance, platform):
    platform.log.append(platform.topic, [reading("RTU-001")])
    (request,) = tick(instance, platform)
    create_run_for_test(instance, job_name="detection", status=dg.DagsterRunStatus.STARTED, tags=request.tags)
    assert len(tick(instance, platform)) == 1


# -- failure ------------------------------------------------------------------------------------------------------------


def failed(instance, platform, request, error, range_limit=None):
    """A run over a request that owned its partitions and failed."""
    run = submitted(instance, request)
    for lease in owned(platform, request, run.run_id):
        assert platform.store.note_failure(lease, error, range_limit=range_limit)
    instance.report_run_failed(run)


def test_a_failed_run_is_followed_by_the_same_range_under_a_new_key_after_a_pause(instance, platform):
    platform.log.append(platform.topic, [reading("RTU-001")])
    (request,) = tick(instance, platform)
    failed(instance, platform, request, "the disk is full")
    said = tick(instance, platform)
    assert said.startswith("partition 2 failed and is tried again in ")
    assert said.endswith(": the disk is full")
    assert plan_tick(instance, platform, now_ms() + FIRST_RETRY_SECONDS * 1000 - 2000)[0] == []
    planned, _ = plan_tick(instance, platform, now_ms() + FIRST_RETRY_SECONDS * 1000 + 1000)
    ((_, again),) = planned
    assert ranges_of(again) == ranges_of(request)
    assert again.run_key == request.run_key.replace("#1", "#2")
    execute(instance, again)
    assert next_offsets(platform) == {RTU: 1}
    entry = platform.store.ledger(platform.topic)[RTU]
    assert (entry.failures, entry.error, entry.failed_at) == (0, None, None)


def test_the_range_of_a_failed_run_takes_in_what_has_arrived_since(instance, platform):
    platform.log.append(platform.topic, [reading("RTU-001")])
    (request,) = tick(instance, platform)
    failed(instance, platform, request, "no answer")
    platform.log.append(platform.topic, [reading("RTU-001")])
    assert tick(instance, platform).startswith("partition 2 failed and is tried again in ")
    ((_, again),) = plan_tick(instance, platform, now_ms() + 60_000)[0]
    assert ranges_of(again) == [(RTU, 0, 2)]
    assert again.run_key != request.run_key


def test_the_pause_doubles_with_every_failure_up_to_a_limit(instance, platform):
    platform.log.append(platform.topic, [reading("RTU-001")])
    for failures in range(1, 9):
        ((_, request),) = plan_tick(instance, platform, now_ms() + 10**7)[0]
        assert request.run_key.endswith(f"#{failures}")
        failed(instance, platform, request, "no answer")
        pause = min(FIRST_RETRY_SECONDS * 2 ** (failures - 1), LONGEST_RETRY_SECONDS)
        _, (waiting,) = plan_tick(instance, platform, now_ms())
        assert float(re.search(r"again in (\d+) s", waiting)[1]) == pytest.approx(pause, abs=2)
        assert len(plan_tick(instance, platform, now_ms() + (pause + 1) * 1000)[0]) == 1


def test_where_messages_may_be_the_cause_ranges_are_halved_soon_after_one_another(instance, platform):
    platform.log.append(platform.topic, [reading("RTU-001")] * 8)
    (request,) = tick(instance, platform)
    failed(instance, platform, request, "TypeError: 7", range_limit=4)
    ((_, shorter),) = plan_tick(instance, platform, now_ms() + (SEARCH_SECONDS + 1) * 1000)[0]
    assert ranges_of(shorter) == [(RTU, 0, 4)]


def test_a_failure_of_one_partition_does_not_hold_up_the_others(instance, platform):
    platform.log.append(platform.topic, [reading("RTU-001")])
    (request,) = tick(instance, platform)
    failed(instance, platform, request, "no answer")
    platform.log.append(platform.topic, [reading("MAU-001")])
    (other,) = tick(instance, platform)
    assert ranges_of(other) == [(MAU, 0, 1)]


# -- two ticks at once --------------------------------------------------------------------------------------------------


def _run(barrier, requests):
    """Body of a process: the runs of a tick, started together with those of another."""
    platform = PlatformResource()
    with open_dagster(platform.settings.hvac_home) as instance:
        barrier.wait(60)
        for tags, run_config in requests:
            run_job("ingestion", instance, tags, run_config)


class TestTwoTicksAtOnce:
    @pytest.fixture
    def messages(self):
        return [
            *readings("RTU-001", MIDNIGHT_MS - 120_000, 4),
            *readings("MAU-001", MIDNIGHT_MS, 2, device_type="makeup_air_unit"),
            *(bad(kind, MIDNIGHT_MS) for kind in BAD_VALUES),
        ]

    @pytest.fixture
    def expected(self, tmp_path, messages):
        """Tables after one run over the messages, in another home."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HVAC_HOME", str(tmp_path / "other home"))
            other = PlatformResource()
            other.log.append(other.topic, messages)
            with dg.DagsterInstance.ephemeral() as instance:
                list(ingest_everything(instance, other))
            return contents(other.store), next_offsets(other)

    def test_they_ask_for_the_same_run_keys_so_dagster_launches_each_once(self, instance, platform, messages):
        platform.log.append(platform.topic, messages)
        first, second = tick(instance, platform), tick(instance, platform)
        assert [r.run_key for r in first] == [r.run_key for r in second]
        assert len(first) == 2  # one partition crosses midnight, the other doesn't

    def test_should_both_run_one_after_the_other_the_second_changes_nothing(
        self, instance, platform, messages, expected
    ):
        platform.log.append(platform.topic, messages)
        for request in [*tick(instance, platform), *tick(instance, platform)]:
            execute(instance, request)
        assert (contents(platform.store), next_offsets(platform)) == expected

    def test_should_both_run_at_the_same_time_the_tables_are_the_same_too(
        self, home, instance, platform, messages, expected
    ):
        platform.log.append(platform.topic, messages)
        barrier = processes.Barrier(2)
        ticks = [tick(instance, platform), tick(instance, platform)]
        runs = [[(dict(r.tags), dict(r.run_config)) for r in requests] for requests in ticks]
        all_succeed([start_process(home, _run, barrier, one) for one in runs])
        assert (contents(platform.store), next_offsets(platform)) == expected
        assert tick(instance, platform) == "no new offsets in iot-metrics"


# -- retention overtook the sensor --------------------------------------------------------------------------------------


@pytest.fixture
def overtaken(instance, platform):
    """Ten messages are in, twenty were removed unread, five of now are in the log."""
    old = [reading(at_ms=MIDNIGHT_MS + n) for n in range(30)]
    platform.log.append(platform.topic, old[:10])
    list(ingest_everything(instance, platform))
    platform.log.append(platform.topic, old[10:])
    platform.log.apply_retention(platform.topic, now_ms())
    now = now_ms()
    platform.log.append(platform.topic, [reading(at_ms=now - n) for n in range(5)])
    return day_of(now)


def test_offsets_below_the_logs_start_are_an_explicit_gap(instance, platform, overtaken):
    (request,) = tick(instance, platform)
    assert ranges_of(request) == [(RTU, 30, 35)]
    assert request.run_config["ops"]["raw_metrics"]["config"]["ranges"][0]["skipped"] == 20
    result = execute(instance, request)
    entry = platform.store.ledger(platform.topic)[RTU]
    assert (entry.next_offset, entry.skipped_offsets) == (35, 20)
    evaluations = {e.check_name: e for e in result.get_asset_check_evaluations()}
    lost = evaluations["no_offsets_lost"]
    assert not lost.passed
    assert lost.severity == dg.AssetCheckSeverity.ERROR
    assert lost.metadata["skipped_offsets"].value == 20
    errors = [e.user_message for e in instance.all_logs(result.run_id) if e.level == logging.ERROR]
    assert errors == [
        "partition 2 of iot-metrics: 20 offsets, 10 to 29, were removed by retention or by somebody before they were read"
    ]
    metadata = result.asset_materializations_for_node("raw_metrics")[0].metadata
    assert (metadata["skipped_offsets"].value, metadata["messages"].value) == (20, 5)
    assert tick(instance, platform) == "no new offsets in iot-metrics"


def test_the_check_is_of_its_own_run_whatever_another_has_materialized_since(
    instance, platform, overtaken, monkeypatch
):
    """Between a run's readings and its checks another partition's run may have finished."""
    (request,) = tick(instance, platform)
    innocent = dg.AssetMaterialization(
        "raw_metrics", partition=overtaken, metadata={"skipped_offsets": 0, "rejected_share": 0.0, "accepted": 0}
    )
    original = checks._latest

    def another_run_ends(context, asset):
        instance.report_runless_asset_event(innocent)
        return original(context, asset)

    monkeypatch.setattr(checks, "_latest", another_run_ends)
    result = execute(instance, request)
    assert {e.check_name: e.passed for e in result.get_asset_check_evaluations()}["no_offsets_lost"] is False


def test_retention_that_overtakes_a_run_is_a_gap_too_and_what_was_read_before_has_its_windows(
    instance, platform, monkeypatch
):
    monkeypatch.setattr("hvac_platform.ingestion.decoding.BATCH_MESSAGES", 40)
    for _ in range(2):  # as many as are fetched at once, and as many again
        for n in range(32):
            platform.log.append(platform.topic, [reading(at_ms=MIDNIGHT_MS + n * MINUTE_MS, value=n)] * 40)
    now = now_ms()
    read = type(platform.log).read

    def overtaken(log, *arguments):
        for number, batch in enumerate(read(log, *arguments)):
            yield batch
            if number == 0 and log.begin_offsets(platform.topic)[RTU] == 0:
                log.apply_retention(platform.topic, now)
                log.append(platform.topic, [reading(at_ms=now)])

    monkeypatch.setattr(type(platform.log), "read", overtaken)
    (request,) = tick(instance, platform)
    assert ranges_of(request) == [(RTU, 0, 2_560)]
    result = execute(instance, request)
    assert result.success
    entry = platform.store.ledger(platform.topic)[RTU]
    assert (entry.next_offset, entry.skipped_offsets) == (2_560, 1_280)
    assert platform.store.count("device_state_snapshots") == 32
    assert not {e.check_name: e for e in result.get_asset_check_evaluations()}["no_offsets_lost"].passed
    list(ingest_everything(instance, platform))
    assert platform.store.ledger(platform.topic)[RTU].next_offset == 2_561


def test_a_gap_with_nothing_behind_it_is_told_as_well(instance, platform):
    platform.log.append(platform.topic, [reading(at_ms=MIDNIGHT_MS)])
    list(ingest_everything(instance, platform))
    platform.log.append(platform.topic, [reading(at_ms=MIDNIGHT_MS)] * 3)
    platform.log.apply_retention(platform.topic, now_ms())
    (request,) = tick(instance, platform)
    assert ranges_of(request) == [(RTU, 4, 4)]
    execute(instance, request)
    entry = platform.store.ledger(platform.topic)[RTU]
    assert (entry.next_offset, entry.skipped_offsets, entry.watermark) == (4, 3, MIDNIGHT_MS)
    assert tick(instance, platform) == "no new offsets in iot-metrics"


def test_checks_of_a_run_without_troubles_pass(instance, platform):
    platform.log.append(platform.topic, readings("RTU-001", MIDNIGHT_MS, 2))
    (request,) = tick(instance, platform)
    passed = {e.check_name: e.passed for e in execute(instance, request).get_asset_check_evaluations()}
    of_values = ("few_messages_rejected", "no_offsets_lost", "data_flow", "snapshots_not_empty")
    assert passed == dict.fromkeys((*of_values, "vectors_are_sane", "every_snapshot_embedded"), True)


def test_a_producer_of_bad_messages_is_noticed(instance, platform):
    platform.log.append(platform.topic, [*readings("RTU-001", MIDNIGHT_MS, 2), bad("NaN"), bad("not JSON")])
    (request,) = tick(instance, platform)
    result = execute(instance, request)
    passed = {e.check_name: e.passed for e in result.get_asset_check_evaluations()}
    assert passed["few_messages_rejected"] is False
    assert passed["no_offsets_lost"] is True
    reasons = [reason for (reason,) in rows(platform.store, "dead_letters", "reason")]
    assert len(reasons) == 2
    assert "metric_value is NaN" in reasons
    metadata = result.asset_materializations_for_node("raw_metrics")[0].metadata
    assert metadata["rejected_share"].value == pytest.approx(2 / 26)
    assert sum(metadata["rejections"].value.values()) == 2


# -- the log was replaced -----------------------------------------------------------------------------------------------


def test_an_embedded_log_that_was_deleted_is_read_from_its_begin_and_it_is_told(home, instance, platform):
    platform.log.append(platform.topic, [*readings("RTU-001", MIDNIGHT_MS, 5), bad("NaN")])
    list(ingest_everything(instance, platform))
    for path in home.glob("log.db*"):
        path.unlink()
    platform.log.append(platform.topic, [*readings("RTU-001", MIDNIGHT_MS + 600_000, 2), bad("NaN")])
    (line,) = made_again(platform)
    assert "another log than the one that the ledger counts in, up to offset 61" in line
    (request,) = tick(instance, platform)
    assert ranges_of(request) == [(RTU, 0, 25)]
    result = execute(instance, request)
    lost = {e.check_name: e for e in result.get_asset_check_evaluations()}["no_offsets_lost"]
    assert (lost.passed, lost.metadata["logs_made_again"].value) == (False, 1)
    assert platform.store.count("device_metrics_raw") == 7 * 12
    assert platform.store.count("dead_letters") == 2
    assert next_offsets(platform) == {RTU: 25}
    assert made_again(platform) == []


def test_an_older_copy_of_the_log_that_has_grown_past_the_ledger_is_noticed_too(home, instance, platform):
    """The copy has the same identity; but it was told of less than the ledger knows."""
    platform.log.append(platform.topic, readings("RTU-001", MIDNIGHT_MS, 5))
    list(ingest_everything(instance, platform))
    copies = {path: path.read_bytes() for path in home.glob("log.db*")}
    platform.log.append(platform.topic, readings("RTU-001", MIDNIGHT_MS + 600_000, 5))
    list(ingest_everything(instance, platform))
    for path in home.glob("log.db*"):
        path.unlink()
    for path, content in copies.items():
        path.write_bytes(content)
    platform.log.append(platform.topic, readings("RTU-001", MIDNIGHT_MS + 1_200_000, 9))
    assert platform.log.end_offsets(platform.topic)[RTU] > next_offsets(platform)[RTU]
    platform.log.append(platform.topic, [reading("MAU-001")])
    (other,) = [r for r in tick(instance, platform) if {p for p, *_ in ranges_of(r)} == {MAU}]
    execute(instance, other)  # a run over another partition does not wipe the trace out
    assert len(made_again(platform)) == 1
    list(ingest_everything(instance, platform))
    assert platform.store.count("device_metrics_raw", "RTU-001") == (5 + 5 + 9) * 12
    assert next_offsets(platform) == {MAU: 1, RTU: 14 * 12}
