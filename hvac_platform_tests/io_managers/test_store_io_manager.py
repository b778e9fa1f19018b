"""The IO manager: whatever ranges are ingested, however often and in whatever order, the tables are the same."""

from __future__ import annotations

import contextlib
import itertools

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hvac_platform.assets.common import ingestion_run_config
from hvac_platform.definitions import defs
from hvac_platform.embedding.learned import Encoders
from hvac_platform.embedding.state import StateEncoder
from hvac_platform.execution import QUIET, RunFailedError, ingest_everything, run_job
from hvac_platform.ingestion.completing import Completing
from hvac_platform.ingestion.decoding import BUFFER_MS, IngestionCounts, ingest_ranges
from hvac_platform.ingestion.ranges import OffsetRange
from hvac_platform.ingestion.snapshotting import EmbeddingCounts
from hvac_platform.ingestion.windows import window_ranges
from hvac_platform.io_managers.store_io_manager import StoreIOManager
from hvac_platform.io_managers.table_output import TableOutput
from hvac_platform.log.embedded import EmbeddedLog
from hvac_platform.partitions import daily
from hvac_platform.resources import PlatformResource
from hvac_platform.schedules import partition_tags
from hvac_platform.stores.batches import DeviceSlice, DeviceSlices, TableBatch, write_batch
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.records import Reading
from hvac_platform.timestamps import DAY_MS, day_of, days_before, now_ms
from hvac_platform_tests.conftest import (
    BAD_VALUES,
    DAY,
    MIDNIGHT_MS,
    MINUTE_MS,
    NEXT_DAY,
    bad,
    contents,
    enter_home,
    reading,
    readings,
    rows,
)


@pytest.fixture
def instance(home):
    """Runs and events in memory: these tests are about tables."""
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


@contextlib.contextmanager
def fresh_platform(folder, window_seconds):
    """A platform with its instance in an empty folder, for one example of a property."""
    with pytest.MonkeyPatch.context() as patch:
        enter_home(folder, patch.setenv, lambda name: patch.delenv(name, raising=False), patch.chdir)
        patch.setenv("HVAC_WINDOW_SECONDS", str(window_seconds))
        platform = PlatformResource()
        with dg.DagsterInstance.ephemeral() as instance:
            yield instance, platform
        platform.store.close()
        platform.log.close()


def ingest(instance, ranges, first=DAY, last=DAY):
    """One ingestion run over exactly these ranges."""
    return run_job("ingestion", instance, partition_tags(first, last), ingestion_run_config(tuple(ranges)))


def whole_log(platform):
    return [OffsetRange(p, 0, end) for p, end in platform.log.end_offsets(platform.topic).items() if end]


# -- any range, any number of times, in any order ----------------------------------------------------------------------

DEVICES = ["RTU-001", "CH-001", "lathe"]  # two partitions, known types and one that nobody declares
TYPES = ["rooftop_unit", "chiller", "lathe"]


@st.composite
def message(draw):
    """Around midnight, in any order, on a grid so coarse that many messages are duplicates; one in five is bad."""
    at_ms = MIDNIGHT_MS + 5_000 * draw(st.integers(-40, 40))
    if draw(st.integers(0, 4)) == 0:
        return bad(
            draw(st.sampled_from(sorted(BAD_VALUES))), at_ms, draw(st.sampled_from([b"RTU-001", b"CH-001", b""]))
        )
    device = draw(st.integers(0, 2))
    metric = draw(st.sampled_from(["power_consumption", "supply_air_temp", "wobble"]))
    value = float(np.sin(at_ms) * 100 + device)
    return reading(DEVICES[device], at_ms, metric, value, device_type=TYPES[device])


def part_of(draw, end):
    start = draw(st.integers(0, end))
    return start, draw(st.integers(start, end))


def replay(log, runs, window_ms):
    """What the steps of some runs leave in a store, without Dagster between them."""
    store = EmbeddedStore(":memory:")
    for ranges in runs:
        touched: dict[str, set[int]] = {}
        batches = ingest_ranges(
            *(log, "t", ranges),
            now_ms=now_ms(),
            window_of=lambda _: window_ms,
            register=store.register_devices,
            counts=IngestionCounts(),
        )
        for batch in batches:
            write_batch(store, "device_metrics_raw", batch)
            for device_id, starts in batch.touched.starts_ms.items() if batch.touched else ():
                touched.setdefault(device_id, set()).update(starts.tolist())
        types = {d.device_id: d.device_type for d in store.devices()}
        spans = [
            (device_id, *span)
            for device_id, starts in touched.items()
            for span in window_ranges(np.array(sorted(starts)), window_ms)
        ]
        readings = [DeviceSlice(store, "device_metrics_raw", *span) for span in spans]
        completing = Completing(store, Encoders(StateEncoder()), lambda _: window_ms)
        for batch in completing.batches_of(readings, types, EmbeddingCounts()):
            write_batch(store, "device_state_snapshots", batch)
    devices = [(d.device_id, d.first_seen, d.last_seen) for d in store.devices()]
    result = contents(store) | {"devices": devices}
    store.close()
    return result


@given(
    messages=st.lists(message(), min_size=1, max_size=60), window_seconds=st.sampled_from([1, 7, 60]), data=st.data()
)
@settings(max_examples=60, deadline=None)
def test_any_replay_of_ranges_writes_the_same_rows(tmp_path_factory, messages, window_seconds, data):
    """Arbitrary overlapping ranges, and all offsets in two parts, in any order."""
    folder = tmp_path_factory.mktemp("log")
    log = EmbeddedLog(folder / "log.db", batch_records=data.draw(st.integers(1, 20)))
    log.create_topic("t")
    log.append("t", messages)
    ends = {p: end for p, end in log.end_offsets("t").items() if end}
    runs = [[OffsetRange(p, *part_of(data.draw, end))] for p, end in ends.items() for _ in range(2)]
    for p, end in ends.items():
        cut = data.draw(st.integers(0, end))
        runs += [[OffsetRange(p, 0, cut)], [OffsetRange(p, cut, end)]]
    once = replay(log, [[OffsetRange(p, 0, end) for p, end in ends.items()]], window_seconds * 1000)
    assert replay(log, data.draw(st.permutations(runs)), window_seconds * 1000) == once
    good, rejected = told_apart(messages)
    assert len(once["device_metrics_raw"]) == len(set(good))
    assert len(once["dead_letters"]) == len(rejected)
    log.close()


def told_apart(messages):
    """Good messages and bad ones."""
    never = set(BAD_VALUES.values())
    return [m for m in messages if m[1] not in never], [m for m in messages if m[1] in never]


@given(messages=st.lists(message(), min_size=10, max_size=60), window_seconds=st.sampled_from([7, 60]), data=st.data())
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_replay_of_ranges_through_the_ingestion_job_gives_the_same_tables(
    tmp_path_factory, messages, window_seconds, data
):
    """The property through the real job: rows, snapshots with their vectors, dead letters."""
    with fresh_platform(tmp_path_factory.mktemp("once"), window_seconds) as (instance, platform):
        platform.log.append(platform.topic, messages)
        ends = {r.partition: r.end for r in whole_log(platform)}
        ingest(instance, whole_log(platform))
        expected = contents(platform.store)
    cuts = {p: data.draw(st.integers(0, end)) for p, end in ends.items()}
    runs = [
        [OffsetRange(p, 0, cut) for p, cut in cuts.items()],
        [OffsetRange(p, cut, ends[p]) for p, cut in cuts.items()],
        [OffsetRange(p, *part_of(data.draw, end)) for p, end in ends.items()],
    ]
    order = data.draw(st.permutations([0, 1, 2, 2]))
    with fresh_platform(tmp_path_factory.mktemp("parts"), window_seconds) as (instance, platform):
        platform.log.append(platform.topic, messages)
        for number in order:
            ingest(instance, runs[number])
        assert contents(platform.store) == expected
    windows = {(row[0], t - t % (window_seconds * 1000)) for row in expected["device_metrics_raw"] for t in [row[2]]}
    assert {(row[0], row[2]) for row in expected["device_state_snapshots"]} == windows


def test_of_two_values_for_one_reading_the_later_message_counts(instance, platform):
    """Ingested in order, as the sensor does, the last word in the log is the last word in the table."""
    for value in (1.0, 2.0, 3.0):
        platform.log.append(platform.topic, [reading(value=value)])
        list(ingest_everything(instance, platform))
    assert rows(platform.store, "device_metrics_raw", "metric_value") == [(3.0,)]
    assert rows(platform.store, "device_state_snapshots", "metrics") == [({"supply_air_temp": 3.0},)]


# -- runs over ranges --------------------------------------------------------------------------------------------------


def test_late_rows_go_to_their_own_day_and_are_told_there(instance, platform):
    late = readings("RTU-001", MIDNIGHT_MS - 2 * MINUTE_MS, 1)
    platform.log.append(platform.topic, [*readings("RTU-001", MIDNIGHT_MS, 1), *late])
    ingest(instance, whole_log(platform), NEXT_DAY, NEXT_DAY)
    days = {date for (date,) in rows(platform.store, "device_state_snapshots", "date")}
    assert days == {DAY, NEXT_DAY}
    for name in ("raw_metrics", "windowed_snapshots", "snapshot_embeddings"):
        assert instance.get_materialized_partitions(dg.AssetKey(name)) == {DAY, NEXT_DAY}, name
    events = instance.fetch_materializations(
        dg.AssetRecordsFilter(dg.AssetKey("raw_metrics"), asset_partitions=[DAY]), limit=5
    ).records
    metadata = events[0].event_log_entry.asset_materialization.metadata
    assert metadata["late_rows_of_run_for"].value == NEXT_DAY


def test_exactly_the_touched_windows_are_computed_again(instance, platform):
    store = platform.store
    platform.log.append(platform.topic, readings("RTU-001", MIDNIGHT_MS, 300))
    list(ingest_everything(instance, platform))
    # Damage every snapshot: what a run computes again becomes whole, what it leaves alone stays damaged.
    times = [t for (t,) in rows(store, "device_state_snapshots", "snapshot_time")]
    store.update(
        "device_state_snapshots",
        {"device_id": ["RTU-001"] * len(times), "snapshot_time": times, "revision": [0] * len(times)},
    )
    touched = [MIDNIGHT_MS + 3 * MINUTE_MS, MIDNIGHT_MS + 290 * MINUTE_MS]
    platform.log.append(platform.topic, [reading(at_ms=t + 500, value=99.0) for t in touched])
    list(ingest_everything(instance, platform))
    found = dict(rows(store, "device_state_snapshots", "snapshot_time", "revision"))
    assert [t for t, revision in found.items() if revision] == touched


def test_a_run_of_nothing_but_bad_messages_computes_no_window(instance, platform):
    platform.log.append(platform.topic, readings("RTU-001", MIDNIGHT_MS, 2))
    list(ingest_everything(instance, platform))
    before = platform.store.device_days(DAY, NEXT_DAY)
    platform.log.append(platform.topic, [bad(kind, MIDNIGHT_MS) for kind in BAD_VALUES])
    list(ingest_everything(instance, platform))
    assert platform.store.device_days(DAY, NEXT_DAY) == before
    assert platform.store.count("dead_letters") == len(BAD_VALUES)
    watermarks = {entry.watermark for entry in platform.store.ledger(platform.topic).values()}
    assert watermarks == {MIDNIGHT_MS + 2 * MINUTE_MS - 10_000}


def test_a_retry_from_the_middle_computes_the_windows_of_the_first_attempt(instance, platform, monkeypatch):
    """Raw rows are in, the windows failed: the second run starts at the windows and knows which."""
    platform.log.append(platform.topic, [*readings("RTU-001", MIDNIGHT_MS, 3), *readings("CH-001", MIDNIGHT_MS, 1)])
    ranges = tuple(whole_log(platform))
    with monkeypatch.context() as broken:

        def no_disk(*_):
            raise dg.Failure("no space left", allow_retries=False)

        broken.setattr("hvac_platform.ingestion.snapshotting.aggregate_windows", no_disk)
        with pytest.raises(RunFailedError, match=r"windowed_snapshots: .*no space left"):
            ingest(instance, ranges, NEXT_DAY, NEXT_DAY)
    assert platform.store.count("device_state_snapshots") == 0
    assert {entry.next_offset for entry in platform.store.ledger(platform.topic).values()} == {0}
    (failed,) = instance.get_runs()
    job = defs.resolve_job_def("ingestion")
    again = instance.create_run_for_job(
        job,
        run_config=ingestion_run_config(ranges) | QUIET,
        tags=partition_tags(NEXT_DAY, NEXT_DAY),
        root_run_id=failed.run_id,
        parent_run_id=failed.run_id,
        asset_selection=frozenset(
            dg.AssetKey(name) for name in ("windowed_snapshots", "snapshot_embeddings", "consumer_offsets")
        ),
    )
    assert execute_run(InMemoryJob(job.get_subset(asset_selection=again.asset_selection)), again, instance).success
    windows = rows(platform.store, "device_state_snapshots", "device_id", "snapshot_time", "embedding_method")
    assert [(d, (t - MIDNIGHT_MS) // MINUTE_MS) for d, t, method in windows if method] == [
        ("CH-001", 0),
        ("RTU-001", 0),
        ("RTU-001", 1),
        ("RTU-001", 2),
    ]
    assert {p: e.next_offset for p, e in platform.store.ledger(platform.topic).items()} == {
        r.partition: r.end for r in ranges
    }


def test_a_replay_of_the_middle_of_an_untouched_log_leaves_no_gap_behind_the_ledger(instance, platform):
    platform.log.append(platform.topic, readings("RTU-001", MIDNIGHT_MS, 2))
    (one,) = whole_log(platform)
    ingest(instance, [OffsetRange(one.partition, 5, 10)], NEXT_DAY, NEXT_DAY)
    assert platform.store.ledger(platform.topic) == {}
    list(ingest_everything(instance, platform))
    assert platform.store.count("device_metrics_raw") == one.end


def test_the_live_buffer_holds_the_latest_value_of_the_open_windows_only(instance, platform):
    now = now_ms() // MINUTE_MS * MINUTE_MS - 3 * MINUTE_MS
    old = reading(at_ms=now - BUFFER_MS)
    platform.log.append(platform.topic, [reading(at_ms=now + t, value=float(t)) for t in (2_000, 1_000)] + [old])
    list(ingest_everything(instance, platform))
    assert rows(platform.store, "metric_aggregation_buffer", "window_start", "metric_value", "last_updated") == [
        (now, 2_000.0, now + 2_000)
    ]
    assert platform.store.count("device_metrics_raw") == 3


# -- backfills ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def three_days(instance, platform):
    """Three ingested days, with late and bad messages among them; the first and the last day."""
    start = MIDNIGHT_MS - 2 * DAY_MS
    for day in range(3):
        at_ms = start + day * DAY_MS
        late = readings("CH-001", at_ms - MINUTE_MS, 1, device_type="chiller") if day else []
        platform.log.append(
            platform.topic, [*readings("RTU-001", at_ms, 2), *late, bad("NaN", at_ms), *readings("CH-001", at_ms, 2)]
        )
    list(ingest_everything(instance, platform))
    return days_before(NEXT_DAY, 2), NEXT_DAY


def backfill(instance, first, last):
    return run_job("ingestion", instance, partition_tags(first, last))


def test_a_backfill_over_days_is_one_run_that_changes_nothing(instance, platform, three_days):
    before, ledger = contents(platform.store), platform.store.ledger(platform.topic)
    result = backfill(instance, *three_days)
    assert contents(platform.store) == before
    assert platform.store.ledger(platform.topic) == ledger
    materialized = [e for e in result.all_events if e.is_step_materialization]
    assert {e.partition for e in materialized} == {days_before(NEXT_DAY, n) for n in range(3)}


def test_a_backfill_replays_from_the_log_what_the_store_has_lost(instance, platform, three_days):
    before = contents(platform.store)
    for table in ("device_metrics_raw", "device_state_snapshots"):
        keys = [
            *(
                (("device_id", "timestamp", "metric_name"))
                if table == "device_metrics_raw"
                else ("device_id", "snapshot_time")
            )
        ]
        lost = [k for k in rows(platform.store, table, *keys) if day_of(k[1]) == DAY]
        platform.store.delete(table, dict(zip(keys, zip(*lost, strict=True), strict=True)))
    assert contents(platform.store) != before
    backfill(instance, *three_days)
    assert contents(platform.store) == before


def test_a_backfill_after_retention_keeps_and_uses_the_rows_that_are_there(instance, platform, three_days):
    before = contents(platform.store)
    platform.log.apply_retention(platform.topic, now_ms())
    assert sum(platform.log.end_offsets(platform.topic).values()) == sum(
        platform.log.begin_offsets(platform.topic).values()
    )
    times = rows(platform.store, "device_state_snapshots", "device_id", "snapshot_time")
    platform.store.delete(
        "device_state_snapshots", dict(zip(("device_id", "snapshot_time"), zip(*times, strict=True), strict=True))
    )
    backfill(instance, *three_days)
    assert contents(platform.store) == before


# -- frames, nothing, slices -------------------------------------------------------------------------------------------


def metrics_asset(function, **options):
    """An asset of the test's own on the table of readings."""
    return dg.asset(
        partitions_def=daily,
        backfill_policy=dg.BackfillPolicy.single_run(),
        io_manager_key="store",
        metadata={"table": "device_metrics_raw"},
        **options,
    )(function)


def materialize(instance, platform, assets, first=DAY, last=DAY):
    tags = partition_tags(first, last)
    result = dg.materialize(
        assets,
        instance=instance,
        resources={"platform": platform, "store": StoreIOManager(platform=platform)},
        partition_key=tags.pop("dagster/partition", None),
        tags=tags,
        run_config=QUIET,
    )
    assert result.success
    return result


FRAME = pd.DataFrame(
    {
        "device_id": ["d", "d", "e"],
        "timestamp": [MIDNIGHT_MS - 1, MIDNIGHT_MS, MIDNIGHT_MS + 5],
        "metric_name": ["t", "t", "u"],
        "metric_value": [1.0, 2.0, 3.0],
        "unit": ["", "°F", ""],
    }
)


def test_a_frame_goes_in_and_comes_out(instance, platform):
    seen = []

    def source() -> pd.DataFrame:
        return FRAME

    def sink(source: pd.DataFrame) -> None:
        seen.append(source)

    result = materialize(instance, platform, [metrics_asset(source), metrics_asset(sink)], DAY, NEXT_DAY)
    assert seen[0][list(FRAME)].sort_values("timestamp", ignore_index=True).equals(FRAME)
    metadata = result.asset_materializations_for_node("source")[0].metadata
    assert metadata["dagster/row_count"].value == 3
    assert metadata["dagster/table_name"].value == "device_metrics_raw"
    schema = metadata["dagster/column_schema"].value
    assert [c.name for c in schema.columns][:3] == ["device_id", "date", "timestamp"]
    assert [c.name for c in schema.columns if not c.constraints.nullable] == ["device_id", "timestamp", "metric_name"]


def test_a_day_loads_its_own_rows_and_a_range_those_of_all_its_days(instance, platform):
    platform.store.upsert("device_metrics_raw", {name: FRAME[name].tolist() for name in FRAME})
    loaded = []

    def source() -> None: ...

    def sink(source: DeviceSlices) -> None:
        loaded.append([(s.device_id, t) for s in source for t in Reading.times(s.store, s.device_id, s.span).tolist()])

    assets = [metrics_asset(source), metrics_asset(sink)]
    materialize(instance, platform, assets, NEXT_DAY, NEXT_DAY)
    materialize(instance, platform, assets, DAY, NEXT_DAY)
    materialize(instance, platform, assets, days_before(DAY, 1), days_before(DAY, 1))
    assert loaded == [
        [("d", MIDNIGHT_MS), ("e", MIDNIGHT_MS + 5)],
        [("d", MIDNIGHT_MS - 1), ("d", MIDNIGHT_MS), ("e", MIDNIGHT_MS + 5)],
        [],
    ]


def test_none_writes_nothing_and_still_materializes(instance, platform):
    def source():
        return None

    materialize(instance, platform, [metrics_asset(source)])
    assert platform.store.count("device_metrics_raw") == 0
    assert instance.get_materialized_partitions(dg.AssetKey("source")) == {DAY}


def test_slices_read_nothing_before_they_are_asked_and_can_be_read_again(instance, platform):
    batches = []

    def source() -> None: ...

    def sink(source: DeviceSlices) -> None:
        # Rows that come after the input was handed over are seen: it held no rows.
        platform.store.upsert("device_metrics_raw", {name: FRAME[name].tolist() for name in FRAME})
        part = next(iter(source))
        assert list(part.batches("metric_value")) == [{"metric_value": [1.0]}]
        n = 120_000
        many = {"device_id": ["d"] * n, "timestamp": list(range(MIDNIGHT_MS - n, MIDNIGHT_MS)), "unit": [""] * n}
        platform.store.upsert("device_metrics_raw", many | {"metric_name": ["m"] * n, "metric_value": [0.0] * n})
        batches.extend(len(batch["timestamp"]) for part in source for batch in part.batches("timestamp"))

    materialize(instance, platform, [metrics_asset(source), metrics_asset(sink)])
    assert batches == [50_000, 50_000, 20_001]


def test_batches_are_written_as_they_are_made(instance, platform):
    """Of a thousand batches, never more than one is in memory: each is in the store when the next is asked for."""

    def source() -> TableOutput:
        def batches():
            for made in range(50):
                assert platform.store.count("device_metrics_raw") == made * 100
                times = list(range(MIDNIGHT_MS + made * 100, MIDNIGHT_MS + made * 100 + 100))
                yield TableBatch(
                    {
                        "device_id": ["d"] * 100,
                        "timestamp": times,
                        "metric_name": ["t"] * 100,
                        "metric_value": [0.0] * 100,
                        "unit": [""] * 100,
                    }
                )

        return TableOutput(batches(), {"made": 50})

    result = materialize(instance, platform, [metrics_asset(source)], NEXT_DAY, NEXT_DAY)
    metadata = result.asset_materializations_for_node("source")[0].metadata
    assert (metadata["dagster/row_count"].value, metadata["made"].value) == (5_000, 50)


def test_actions_and_other_tables_don_t_count_as_rows_of_the_asset(instance, platform):
    row = {name: FRAME[name].tolist()[:1] for name in FRAME}
    key = {name: row[name] for name in ("device_id", "timestamp", "metric_name")}

    def source() -> TableOutput:
        yields = [
            TableBatch(row),
            TableBatch(key | {"metric_value": [5.0]}, action="update"),
            TableBatch({"device_id": ["d"], "date": [DAY]}, table="device_days"),
            TableBatch(key, action="delete"),
            TableBatch({}),
        ]
        return TableOutput(iter(yields))

    result = materialize(instance, platform, [metrics_asset(source)])
    assert result.asset_materializations_for_node("source")[0].metadata["dagster/row_count"].value == 2
    assert platform.store.count("device_metrics_raw") == 0
    assert list(itertools.chain(*rows(platform.store, "device_days", "date"))) == [DAY]
