"""Learning and judging on the store: complete windows only, again when they change, and the same however often."""

from __future__ import annotations

from dataclasses import replace

import dagster as dg
import numpy as np
import pytest
from dagster._core.test_utils import create_run_for_test
from typer.testing import CliRunner

from hvac_platform.cli.main import app
from hvac_platform.config import load_settings
from hvac_platform.detection.methods import METHODS
from hvac_platform.detection.methods.base import Due
from hvac_platform.detection.profile import TooFewSnapshotsError
from hvac_platform.devices.registry import BUILT_IN_FOLDER, device_type
from hvac_platform.execution import RunFailedError, run_job
from hvac_platform.ingestion.completing import Completing
from hvac_platform.ingestion.snapshotting import EmbeddingCounts
from hvac_platform.monitoring.judging import judgement_batches, ready_to_judge
from hvac_platform.monitoring.learning import normal_snapshots
from hvac_platform.monitoring.pending import pending
from hvac_platform.monitoring.profiles import current_profile
from hvac_platform.schedules import detection_schedule, nightly_profiles, partition_tags
from hvac_platform.stores.base import Device
from hvac_platform.stores.batches import DeviceSlice, write_batch
from hvac_platform.timestamps import DAY_MS, day_of, day_windows, now_ms
from hvac_platform_tests.conftest import DAY, HOUR_MS, MIDNIGHT_MS, MINUTE_MS, NEXT_DAY, rows
from hvac_platform_tests.monitoring import machines
from hvac_platform_tests.monitoring.machines import encoders

LATHE = Device("lathe", "lathe", "hall 3", "bldg-9", 2**62, 0, 0)  # a type that nobody declares
COMPRESSOR = Device("AC-001", "air_compressor", "building-C", "bldg-003", 2**62, 0, 0)
LATE = MIDNIGHT_MS + 20 * HOUR_MS  # long after everything: the wall clock has closed all windows


def lathe_readings(start_ms, windows, seed=1):
    """Two readings a window of a machine that swings through its load; rows of (time, metric, value)."""
    generator = np.random.default_rng(seed)
    found = []
    for at_ms in range(start_ms, start_ms + windows * MINUTE_MS, MINUTE_MS // 2):
        load = 50 + 20 * np.sin(at_ms / HOUR_MS)
        for metric, value in (("load", load), ("temperature", 60 + load / 5), ("vibration", 1 + load / 100)):
            found.append((at_ms, metric, value + generator.normal(0, 0.01 * value)))
    return found


def compressor_readings(start_ms, windows, seed=1, **changes):
    """A compressor that runs as it should."""
    normal = {"discharge_pressure": 110, "inlet_pressure": 0, "discharge_temp": 185, "ambient_temp": 80}
    normal |= {"motor_current": 100, "motor_speed": 1800, "oil_pressure": 45, "oil_temp": 160, "cooling_water_temp": 75}
    normal |= {"air_flow_rate": 250, "load_percentage": 60, "vibration_level": 2, "power_consumption": 45}
    generator = np.random.default_rng(seed)
    return [
        (at_ms, metric, value if metric in changes else value + generator.normal(0, 0.01 * max(1.0, value)))
        for at_ms in range(start_ms, start_ms + windows * MINUTE_MS, MINUTE_MS // 2)
        for metric, value in (normal | changes).items()
    ]


def bring_in(store, device, readings, *, embedded=True):
    """What an ingestion run does with readings of one device."""
    times = [t for t, _, _ in readings]
    n = len(times)
    store.upsert(
        "device_metrics_raw",
        {
            "device_id": [device.device_id] * n,
            "timestamp": times,
            "metric_name": [m for _, m, _ in readings],
            "metric_value": [v for _, _, v in readings],
            "unit": [""] * n,
        },
    )
    low, high = min(times) // MINUTE_MS * MINUTE_MS, (max(times) // MINUTE_MS + 1) * MINUTE_MS
    types = {device.device_id: device.device_type}
    raw = DeviceSlice(store, "device_metrics_raw", device.device_id, low, high)
    completing = Completing(store, encoders(store) if embedded else None, lambda _: MINUTE_MS)
    for batch in completing.batches_of([raw], types, EmbeddingCounts()):
        write_batch(store, "device_state_snapshots", batch)
    store.register_devices([replace(device, first_seen=min(times), last_seen=max(times))])
    return next(d for d in store.devices() if d.device_id == device.device_id)


def learn(store, device, **options):
    return machines.learn(store, device, **options).profile


def judge(store, device, start_ms=MIDNIGHT_MS, end_ms=MIDNIGHT_MS + DAY_MS, *, now=LATE, batches=None, **options):
    """Judge and write, all batches or only the first few, as when the process dies then."""
    judgement = ready_to_judge(
        store, device, encoders(store), load_settings(), start_ms, end_ms, now_ms=now, **options
    ).judge()
    for number, batch in enumerate(judgement_batches(judgement)):
        if number == batches:
            break
        write_batch(store, "anomaly_events", batch)
    return judgement


def everything_judged(store):
    """All that judging writes."""
    return (
        rows(store, "anomaly_events"),
        rows(store, "snapshot_verdicts"),
        rows(store, "device_state_snapshots", "device_id", "snapshot_time", "is_anomalous", "anomaly_score"),
    )


def minutes(times_ms):
    return [(int(t) - MIDNIGHT_MS) // MINUTE_MS for t in times_ms]


def events(store):
    """Minutes after midnight of the events."""
    return minutes(t for (t,) in rows(store, "anomaly_events", "detected_at"))


def hot(readings, first, last, by=60.0):
    """The same readings, the temperature too high in some minutes."""
    return [
        (t, m, v + by if m == "temperature" and first <= (t - MIDNIGHT_MS) // MINUTE_MS < last else v)
        for t, m, v in readings
    ]


def take_as_judged(store):
    """Let all windows that are there count as judged."""
    for batch in list(store.unjudged()):
        judged = {"judged_revision": batch["revision"]}
        store.update("device_state_snapshots", {n: batch[n] for n in ("device_id", "snapshot_time")} | judged)


def to_judge(store, now=LATE):
    """Whether detection has something to do on the day that is judged here; the day of the training is never judged."""
    return NEXT_DAY in pending(store, load_settings(), now).by_day


@pytest.fixture
def trained(platform):
    """The store with ten hours of the lathe's history before midnight, and a profile of it."""
    device = bring_in(platform.store, LATHE, lathe_readings(MIDNIGHT_MS - 10 * HOUR_MS, 600))
    learn(platform.store, device)
    return platform.store


# -- which windows ------------------------------------------------------------------------------------------------------


def test_a_window_is_judged_only_when_the_watermark_has_passed_it_by_the_allowed_lateness(trained, platform):
    device = bring_in(trained, LATHE, lathe_readings(MIDNIGHT_MS, 20))
    watermark = MIDNIGHT_MS + 10 * MINUTE_MS + 30_000
    trained.advance_ledger(platform.topic, 0, 0, 1, run_id="r", watermark=watermark)
    judged = judge(trained, device, now=watermark + 5_000)
    assert minutes(judged.series.times_ms) == list(range(10))
    assert judged.left_open == 10
    assert {t for (t,) in rows(trained, "snapshot_verdicts", "snapshot_time")} == set(judged.series.times_ms.tolist())
    assert judge(trained, device, now=watermark - 1).left_open == 11


def test_a_device_that_has_fallen_silent_is_judged_by_the_wall_clock(trained):
    device = bring_in(trained, LATHE, lathe_readings(MIDNIGHT_MS, 20))
    settings = load_settings()
    quiet = MIDNIGHT_MS + 20 * MINUTE_MS + settings.silence_ms + settings.allowed_lateness_ms
    assert judge(trained, device, now=quiet - 1).left_open == 1
    assert judge(trained, device, now=quiet).left_open == 0


def test_judged_windows_are_left_alone_until_a_late_reading_changes_one_that_they_rest_on(trained):
    device = bring_in(trained, LATHE, lathe_readings(MIDNIGHT_MS, 20))
    assert to_judge(trained)
    assert len(judge(trained, device).series) == 20
    assert not to_judge(trained)
    assert len(judge(trained, device, unjudged_only=True).series) == 0
    device = bring_in(trained, LATHE, [(MIDNIGHT_MS + 7 * MINUTE_MS + 1_234, "load", 55.0)])
    assert to_judge(trained)
    assert minutes(judge(trained, device, unjudged_only=True).series.times_ms) == list(range(7, 20))
    assert not to_judge(trained)


def test_the_same_readings_again_leave_their_windows_judged(trained):
    readings = lathe_readings(MIDNIGHT_MS, 20)
    device = bring_in(trained, LATHE, readings)
    judge(trained, device)
    bring_in(trained, LATHE, readings[::-1])
    assert not to_judge(trained)


def test_what_is_pending_is_told_by_day_and_what_is_open_waits(trained):
    bring_in(trained, LATHE, lathe_readings(MIDNIGHT_MS, 1))
    found = pending(trained, load_settings(), LATE)
    assert (found.by_day, found.waiting) == ({DAY: ["lathe"], NEXT_DAY: ["lathe"]}, 0)
    open_still = pending(trained, load_settings(), MIDNIGHT_MS + 1)
    assert (open_still.by_day, open_still.waiting) == ({DAY: ["lathe"]}, 1)


class Counted:
    """The store, counting the rows that are read."""

    def __init__(self, store):
        self.store, self.rows = store, {}

    def __getattr__(self, name):
        return getattr(self.store, name)

    def scan(self, rows, **options):
        for batch in self.store.scan(rows, **options):
            n = len(next(iter(batch.values())))
            self.rows[rows.table] = self.rows.get(rows.table, 0) + n
            yield batch

    def unjudged(self, *arguments):
        for batch in self.store.unjudged(*arguments):
            self.rows["unjudged"] = self.rows.get("unjudged", 0) + len(batch["revision"])
            yield batch


def test_two_new_windows_late_in_the_day_cost_their_context_and_no_more(trained):
    judge(trained, bring_in(trained, LATHE, lathe_readings(MIDNIGHT_MS, 900)))
    device = bring_in(trained, LATHE, lathe_readings(MIDNIGHT_MS + 900 * MINUTE_MS, 2))
    counted = Counted(trained)
    assert to_judge(counted)
    assert counted.rows == {"unjudged": 2 + 600}
    counted.rows.clear()
    assert len(judge(counted, device, unjudged_only=True).series) == 2
    start = MIDNIGHT_MS + 900 * MINUTE_MS
    profile = current_profile(trained, device, encoders(trained), load_settings())
    begin = min(m.context_start(Due(start, MINUTE_MS, device_type("lathe"), profile)) for m in METHODS)
    assert counted.rows["device_state_snapshots"] == 2 + (start - begin) // MINUTE_MS
    assert counted.rows["unjudged"] == 2
    assert "snapshot_verdicts" not in counted.rows


# -- what is written ----------------------------------------------------------------------------------------------------


def test_a_fault_is_found_with_methods_reasons_and_metrics(trained):
    device = bring_in(trained, LATHE, hot(lathe_readings(MIDNIGHT_MS, 60), 30, 40))
    judge(trained, device)
    assert events(trained) == list(range(30, 40))
    names = ("event_id", "anomaly_type", "methods", "metrics", "reasons", "metrics_snapshot", "location")
    event = dict(zip(names, rows(trained, "anomaly_events", *names)[5], strict=True))
    assert event["event_id"] == f"lathe/{MIDNIGHT_MS + 35 * MINUTE_MS}"
    assert event["anomaly_type"] == "consensus"
    assert event["methods"] == ["profile", "vector"]
    assert event["metrics"][0] == "temperature"
    assert any("temperature" in reason and "where the other metrics imply" in reason for reason in event["reasons"])
    assert event["metrics_snapshot"]["temperature"] > 120
    assert event["location"] == "hall 3"
    flags = dict(rows(trained, "device_state_snapshots", "snapshot_time", "is_anomalous", start_ms=MIDNIGHT_MS))
    assert minutes(t for t, flag in flags.items() if flag) == list(range(30, 40))
    methods = [m for (m,) in rows(trained, "snapshot_verdicts", "method")]
    assert {m: methods.count(m) for m in set(methods)} == {"rules": 60, "profile": 60, "vector": 60}


def test_judging_again_rewrites_the_same_rows(trained):
    device = bring_in(trained, LATHE, hot(lathe_readings(MIDNIGHT_MS, 60), 30, 40))
    judge(trained, device)
    before = everything_judged(trained)
    for _ in range(2):
        judge(trained, device)
    assert everything_judged(trained) == before


def test_judging_window_by_window_is_judging_all_at_once(trained):
    """As it happens every minute; alarms that look back on the windows before come out the same."""
    device = bring_in(trained, LATHE, hot(lathe_readings(MIDNIGHT_MS, 60), 30, 33))
    for minute in range(0, 60, 2):
        judge(trained, device, now=MIDNIGHT_MS + minute * MINUTE_MS, unjudged_only=True)
        trained.advance_ledger(
            "iot-metrics", 0, minute, minute + 2, run_id="", watermark=MIDNIGHT_MS + minute * MINUTE_MS
        )
    judge(trained, device, unjudged_only=True)
    piecewise = everything_judged(trained)
    judge(trained, device)
    at_once = everything_judged(trained)
    assert [row[:2] for row in piecewise[0]] == [row[:2] for row in at_once[0]]
    assert [row[-1] for row in piecewise[1]] == [row[-1] for row in at_once[1]]
    scores = [[score for _, time_ms, _, score in part[2] if time_ms >= MIDNIGHT_MS] for part in (piecewise, at_once)]
    np.testing.assert_allclose(*scores, atol=0.05)  # one by the index, the other by the pass over the table


def test_an_event_that_no_longer_holds_is_taken_back(trained):
    """Two windows hold one wrong reading each; the readings that come late make the windows normal."""
    normal = lathe_readings(MIDNIGHT_MS, 60)
    device = bring_in(trained, LATHE, hot(normal, 30, 32))
    judge(trained, device)
    assert events(trained) == [30, 31]
    device = bring_in(trained, LATHE, [r for r in normal if 30 <= (r[0] - MIDNIGHT_MS) // MINUTE_MS < 32])
    judge(trained, device, unjudged_only=True)
    assert events(trained) == []
    assert {flag for (flag,) in rows(trained, "device_state_snapshots", "is_anomalous", start_ms=MIDNIGHT_MS)} == {
        False
    }


@pytest.mark.parametrize("dies_after", range(5))
def test_judging_that_died_half_way_is_made_good_by_the_next(trained, dies_after):
    """Events appear, and events are taken back, whatever was written before the process died."""
    normal = lathe_readings(MIDNIGHT_MS, 60)
    judge(trained, bring_in(trained, LATHE, hot(normal, 30, 32)))
    device = bring_in(trained, LATHE, hot(normal, 40, 42))  # the old fault goes, another comes
    judge(trained, device, batches=dies_after, unjudged_only=True)
    judge(trained, device, unjudged_only=True)
    assert events(trained) == [40, 41]
    flagged = rows(trained, "device_state_snapshots", "snapshot_time", "is_anomalous", start_ms=MIDNIGHT_MS)
    assert minutes(t for t, flag in flagged if flag) == [40, 41]
    assert not to_judge(trained)


def test_fixed_thresholds_take_the_place_of_calibrated_ones(trained):
    device = bring_in(trained, LATHE, lathe_readings(MIDNIGHT_MS, 30))
    assert not judge(trained, device).verdicts["profile"].anomalous.any()
    assert judge(trained, device, similarity_threshold=0.9999999).verdicts["profile"].anomalous.all()
    assert judge(trained, device, sigma_threshold=1e-3).verdicts["profile"].anomalous.all()


def test_vector_search_judges_a_snapshot_whose_embedding_is_not_stored_yet(trained):
    device = bring_in(trained, LATHE, hot(lathe_readings(MIDNIGHT_MS, 60), 30, 40))
    device = bring_in(trained, LATHE, lathe_readings(MIDNIGHT_MS + 60 * MINUTE_MS, 1), embedded=False)
    vector = judge(trained, device).verdicts["vector"]
    # The first odd window alarms only where it is twice as far off as the limit.
    assert set(range(31, 40)) <= set(np.flatnonzero(vector.anomalous).tolist()) <= set(range(30, 40))
    assert 0 < vector.score[60] < 1


# -- profiles -----------------------------------------------------------------------------------------------------------


def test_without_a_profile_declared_ranges_are_a_provisional_one(platform):
    readings = compressor_readings(MIDNIGHT_MS, 20, oil_temp=900.0)
    device = bring_in(platform.store, COMPRESSOR, readings)
    judged = judge(platform.store, device)
    assert judged.profile_version == 0
    assert judged.verdicts["profile"].anomalous.all()
    assert "provisional: no profile yet" in judged.verdicts["profile"].reasons[0][0]
    assert judged.verdicts["profile"].metrics[0][0] == "oil_temp"
    assert not judged.verdicts["vector"].anomalous.any()
    versions = rows(platform.store, "snapshot_verdicts", "method", "profile_version")
    assert {v for _, v in versions} == {0}


def test_a_normal_machine_is_normal_to_the_provisional_profile(platform):
    device = bring_in(platform.store, COMPRESSOR, compressor_readings(MIDNIGHT_MS, 20))
    assert not judge(platform.store, device).verdicts["profile"].anomalous.any()


def test_an_unknown_type_without_a_profile_is_judged_by_nothing_and_later_learned_from_data(platform):
    device = bring_in(platform.store, LATHE, hot(lathe_readings(MIDNIGHT_MS, 20), 0, 20))
    judged = judge(platform.store, device)
    assert judged.profile_version == 0
    assert len(judged.series) == 20
    assert not judged.anomalous.any()
    learn(platform.store, device)
    assert judge(platform.store, device).profile_version != 0


def test_learning_leaves_out_flagged_incomplete_foreign_and_impossible_snapshots(platform):
    store = platform.store
    broken = compressor_readings(MIDNIGHT_MS + 30 * MINUTE_MS, 3, discharge_temp=-999.0)  # level 3: a dead sensor
    thin = [r for r in compressor_readings(MIDNIGHT_MS + 33 * MINUTE_MS, 2) if r[1] == "oil_temp"]  # 1 of 14 metrics
    device = bring_in(store, COMPRESSOR, [*compressor_readings(MIDNIGHT_MS, 30), *broken, *thin])
    times = [MIDNIGHT_MS + minute * MINUTE_MS for minute in (3, 4)]
    columns = {"device_id": ["AC-001"] * 2, "snapshot_time": times, "is_anomalous": [True, True]}
    store.update("device_state_snapshots", columns)
    foreign = {"device_id": ["AC-001"], "snapshot_time": [MIDNIGHT_MS], "embedding": np.eye(1, 384)}
    store.update("device_state_snapshots", foreign | {"embedding_method": ["another"]})
    series, fit = normal_snapshots(store, device, "state-1", MIDNIGHT_MS, MIDNIGHT_MS + DAY_MS)
    assert minutes(series.times_ms[fit]) == [1, 2, *range(5, 30)]
    series, fit = normal_snapshots(store, device, None, MIDNIGHT_MS, MIDNIGHT_MS + DAY_MS)  # whatever has embedded them
    assert minutes(series.times_ms[fit]) == [0, 1, 2, *range(5, 30)]
    profile = learn(store, device)
    assert profile.snapshot_count == 28
    assert profile.metric_stats["discharge_temp"].min > 0


def test_flagged_windows_do_not_teach_the_next_profile(trained):
    device = bring_in(trained, LATHE, hot(lathe_readings(MIDNIGHT_MS, 60), 0, 60))
    judge(trained, device)
    profile = learn(trained, device)
    assert profile.metric_stats["temperature"].max < 100


def test_a_rebuilt_profile_keeps_the_time_of_its_creation(trained):
    ((created, updated),) = rows(trained, "device_profiles", "profile_created_at", "profile_updated_at")
    learn(trained, trained.devices()[0])
    (again,) = rows(trained, "device_profiles", "profile_created_at", "profile_updated_at")
    assert again[0] == created
    assert again[1] >= updated
    version = current_profile(trained, trained.devices()[0], encoders(trained), load_settings()).version
    assert rows(trained, "device_profiles", "profile_version") == [(version,)]


def test_fewer_than_five_snapshots_are_refused_with_what_to_do(platform):
    device = bring_in(platform.store, LATHE, lathe_readings(MIDNIGHT_MS, 4))
    with pytest.raises(TooFewSnapshotsError) as refused:
        learn(platform.store, device)
    assert str(refused.value) == (
        "lathe: 4 normal snapshots in the last 7 days, 5 are needed, none was left out; wait for more "
        "data or look further back (--days-back)"
    )
    assert learn(platform.store, device, min_snapshots=4).snapshot_count == 4


def test_the_profiles_job_builds_what_it_can_and_says_what_it_refused(instance, platform):
    few = bring_in(platform.store, LATHE, lathe_readings(MIDNIGHT_MS, 4))
    many = bring_in(platform.store, COMPRESSOR, compressor_readings(MIDNIGHT_MS, 30))
    instance.add_dynamic_partitions("devices", ["lathe", "AC-001"])
    result = run_job("profiles", instance, partition_tags("lathe", "AC-001"))
    metadata = result.asset_materializations_for_node("device_profiles")[0].metadata
    assert metadata["profiles"].value == 1
    assert "- lathe: 4 normal snapshots" in metadata["refused"].value
    assert rows(platform.store, "device_profiles", "device_id") == [(many.device_id,)]
    with pytest.raises(RunFailedError, match="no profile was built: lathe: 4 normal snapshots"):
        run_job("profiles", instance, partition_tags(few.device_id, few.device_id))


# -- the detection job and its schedule ---------------------------------------------------------------------------------


def at_schedule(instance, platform, schedule=detection_schedule):
    context = dg.build_schedule_context(instance=instance, resources={"platform": platform})
    evaluated = schedule(context)
    return evaluated.skip_message if isinstance(evaluated, dg.SkipReason) else evaluated


@pytest.fixture
def recent(trained):
    """The lathe's history is judged, and an hour of it from a while ago is not; the start of that hour."""
    take_as_judged(trained)
    start = now_ms() // HOUR_MS * HOUR_MS - 3 * HOUR_MS
    bring_in(trained, LATHE, lathe_readings(start, 60))
    return start


def test_the_schedule_asks_for_one_run_and_then_has_nothing_left_to_do(instance, platform, recent):
    request = at_schedule(instance, platform)
    assert request.tags["dagster/partition"] == day_of(recent)
    assert request.run_config["ops"]["anomaly_events"]["config"]["unjudged_only"] is True
    result = run_job("detection", instance, request.tags, request.run_config)
    metadata = result.asset_materializations_for_node("anomaly_events")[0].metadata
    assert metadata["windows_judged"].value == 60
    assert platform.store.count("snapshot_verdicts") == 180
    assert at_schedule(instance, platform) == "no complete, unjudged windows"


def test_the_schedule_takes_consecutive_days_in_one_run_the_latest_first(instance, platform, trained, recent):
    for days_earlier in (1, 400):
        bring_in(trained, LATHE, lathe_readings(recent - days_earlier * DAY_MS, 10))
    request = at_schedule(instance, platform)
    assert request.tags["dagster/asset_partition_range_start"] == day_of(recent - DAY_MS)
    assert request.tags["dagster/asset_partition_range_end"] == day_of(recent)


def test_the_schedule_says_that_windows_are_still_open(instance, platform, trained):
    now = now_ms()
    take_as_judged(trained)
    bring_in(trained, LATHE, [(now, "load", 50.0), (now + 1_000, "load", 50.0)])
    reason = at_schedule(instance, platform)
    assert reason == "no complete, unjudged windows: 1 device-days have windows that are still open"


def test_the_schedule_waits_for_a_run_that_is_still_going(instance, platform, recent):
    run = create_run_for_test(instance, job_name="detection", status=dg.DagsterRunStatus.STARTED)
    assert at_schedule(instance, platform) == f"detection run {run.run_id[:8]} is still going"


def test_the_schedule_has_nothing_to_do_in_an_empty_store(instance, platform):
    assert at_schedule(instance, platform) == "no complete, unjudged windows"


def test_the_nightly_profiles_are_one_run_over_all_devices(instance, platform):
    assert at_schedule(instance, platform, nightly_profiles) == "no devices are registered yet"
    instance.add_dynamic_partitions("devices", ["b", "a", "c"])
    request = at_schedule(instance, platform, nightly_profiles)
    assert request.tags == {"dagster/asset_partition_range_start": "b", "dagster/asset_partition_range_end": "c"}


def test_a_detection_backfill_over_days_judges_each_window_once(instance, platform, trained):
    bring_in(trained, LATHE, hot(lathe_readings(MIDNIGHT_MS, 60), 30, 40))
    run_job("detection", instance, partition_tags(DAY, NEXT_DAY))
    assert trained.count("snapshot_verdicts") == 3 * 660
    assert set(events(trained)) >= set(range(30, 40))
    run_job("report", instance, partition_tags(DAY, NEXT_DAY))
    assert dict(rows(trained, "detection_reports", "date", "windows")) == {DAY: 600, NEXT_DAY: 60}
    low, high = day_windows(NEXT_DAY, MINUTE_MS)
    assert {low <= t < high for (t,) in rows(trained, "anomaly_events", "detected_at", start_ms=low)} == {True}


# -- rules that always fire ---------------------------------------------------------------------------------------------


def test_a_device_whose_rule_always_fires_is_told_which_one_its_parameter_and_the_remedy(platform):
    """Time doesn't help a compressor whose usual vibration is 8 mm/s."""
    readings = compressor_readings(MIDNIGHT_MS, 120, vibration_level=8.0)
    device = bring_in(platform.store, COMPRESSOR, readings)
    with pytest.raises(TooFewSnapshotsError) as refused:
        learn(platform.store, device)
    message = str(refused.value)
    assert "116 against a rule" in message
    assert "(dangerous vibration), which rests on vibration_danger (7.1 mm/s)" in message
    assert "HVAC_DEVICE_TYPES" in message
    assert "wait for more data" not in message


def test_an_override_of_the_parameter_in_a_file_of_ones_own_gives_it_its_profile(platform, tmp_path, monkeypatch):
    device = bring_in(platform.store, COMPRESSOR, compressor_readings(MIDNIGHT_MS, 120, vibration_level=8.0))
    built_in = (BUILT_IN_FOLDER / "air_compressor.yaml").read_text()
    own = built_in.replace("vibration_danger: {value: 7.1", "vibration_danger: {value: 12").replace(
        "vibration_alert: {value: 4.5", "vibration_alert: {value: 10"
    )
    (tmp_path / "air_compressor.yaml").write_text(own)
    monkeypatch.setenv("HVAC_DEVICE_TYPES", str(tmp_path))
    assert learn(platform.store, device).snapshot_count == 120


def test_a_built_profile_proposes_rules_for_review(platform):
    """The first windows, in which the rule has not held for long enough, make a profile of sorts."""
    device = bring_in(platform.store, COMPRESSOR, compressor_readings(MIDNIGHT_MS, 120, vibration_level=5.0))
    lesson = machines.learn(platform.store, device, min_snapshots=2)
    assert [review.name for review in lesson.review] == ["rule ac-10a"]
    built = CliRunner().invoke(app, ["profiles", "build", "--min-snapshots", "2"])
    assert built.exit_code == 0
    assert "to review: AC-001: rule ac-10a (raised vibration)" in built.output
