"""What every store promises, whatever it is built on."""

from __future__ import annotations

import secrets
import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hvac_platform.log.base import KEPT_BYTES
from hvac_platform.stores.base import UNJUDGED_COLUMNS, Device, EmbeddingError, TableSlice
from hvac_platform.stores.tables import tables
from hvac_platform.stores.vectors import decoded_vectors
from hvac_platform.stores.window_lengths import WindowLengths, set_window
from hvac_platform.timestamps import DAY_MS, day_start, now_ms
from hvac_platform_tests.conftest import DAY, MIDNIGHT_MS, MINUTE_MS, NEXT_DAY, rows

WHOLE_STATE = ("device_id", "snapshot_time", "metrics", "metric_summary", "completeness", "revision", "embedding")
T0 = day_start(DAY)
TIMES = [T0, T0 + MINUTE_MS, T0 + 2 * MINUTE_MS]
DEVICE = Device("RTU-001", "rooftop_unit", "building-A", "bldg-001", 100, 200, 2)


def unit_vectors(count, seed=0, dimension=5):
    """Unit vectors in few dimensions, so that some are near one another."""
    vectors = np.zeros((count, 384), dtype=np.float32)
    vectors[:, :dimension] = np.random.default_rng(seed).normal(size=(count, dimension))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def snapshots(device, times_ms, **columns):
    """Columns of whole snapshots without a vector."""
    n = len(times_ms)
    return {
        "device_id": [device] * n,
        "snapshot_time": list(times_ms),
        "window_ms": [MINUTE_MS] * n,
        "metrics": [{"t": float(i)} for i in range(n)],
        "metric_summary": [{"t": [1.0, 0.0, 2.0, 1.5]} for _ in range(n)],
        "completeness": [1.0] * n,
        "revision": list(range(n)),
        **columns,
    }


def profile(device, **columns):
    """Columns of a whole profile."""
    return {
        "device_id": [device],
        "device_type": ["rooftop_unit"],
        "location": [""],
        "building_id": [""],
        "profile_embedding": unit_vectors(1),
        "embedding_method": ["m"],
        "metric_stats": [{"t": {"mean": 1.0}}],
        "calibration": [{"sigma": 3.0}],
        **{name: [1] for name in ("profile_version", "snapshot_count", "span_start", "span_end", "profile_created_at")},
        "profile_updated_at": [1],
        "last_seen": [1],
        **columns,
    }


def raw(device, times_ms, values, metric="t"):
    """Columns of readings of one metric."""
    n = len(times_ms)
    return {
        "device_id": [device] * n,
        "timestamp": list(times_ms),
        "metric_name": [metric] * n,
        "metric_value": list(values),
        "unit": [""] * n,
    }


def embed(store, device, times_ms, vectors, method="m"):
    """Write vectors of snapshots that are there."""
    n = len(times_ms)
    columns = {"device_id": [device] * n, "snapshot_time": list(times_ms), "embedding": vectors}
    store.update("device_state_snapshots", columns | {"embedding_method": [method] * n})


def flag(store, device, times_ms, flags):
    """Say of snapshots whether they are anomalous."""
    columns = {"device_id": [device] * len(times_ms), "snapshot_time": list(times_ms), "is_anomalous": list(flags)}
    store.update("device_state_snapshots", columns)


def letter(topic, offset, reason="no JSON", rejected_at=1, value=b"\x00\xff"):
    """Columns of one dead letter."""
    return {
        "topic": [topic],
        "kafka_partition": [0],
        "record_offset": [offset],
        "record_time": [T0],
        "record_key": [None],
        "record_value": [value],
        "reason": [reason],
        "rejected_at": [rejected_at],
    }


def letters(store, topic, *columns):
    """Dead letters of a topic and day."""
    return rows(store, "dead_letters", *columns, equals=(("topic", topic), ("date", DAY)))


BY_TYPE = {
    "text": "°F 'quoted' 漢字",
    "bigint": 2**63 - 1,
    "double": -1e-308,
    "boolean": True,
    "timestamp": T0 + 1,
    "blob": bytes(range(256)),
    "map": {"é": 1e-308, "ta": -999.0},
    "json": {"a": [1, 2.5, "°F", {"b": None}]},
    "vector": unit_vectors(1),
}
BY_NAME = {
    "date": DAY,
    "metric_stats": {"t": {"mean": 1.5, "std": 0.25}},
    "metrics_snapshot": {"t": 1.5, "u": -1e-308},
}


def _with(row, value):
    vectors = unit_vectors(3)
    vectors[row] = value
    return vectors


REFUSED = {
    "zero": (_with(1, 0.0), "embedding 1 is all zeros"),
    "NaN": (_with(2, [np.nan] + [0.1] * 383), "embedding 2 is not finite"),
    "infinite": (_with(0, [np.inf] + [0.1] * 383), "embedding 0 is not finite"),
    "over the range of float32": (np.full((3, 384), 1e300), "not finite"),
    "infinitely long": (_with(1, 1e30), "embedding 1 has no length that a float can hold"),
    "too short": (unit_vectors(3)[:, :383], r"shape \(3, 383\), expected \(n, 384\)"),
    "flat": (unit_vectors(3)[0], "shape"),
    "ragged": ([[1.0] * 384, [1.0] * 383, [1.0] * 384], "not an array of numbers"),
    "absent": ([None, None, None], "embedding"),
    "words": ([["x"] * 384] * 3, "not an array of numbers"),
}
refused = pytest.mark.parametrize(("vectors", "complaint"), REFUSED.values(), ids=REFUSED)


def by_hand(vectors, times, flags, queries, k, *, normal_only, exclude_ms, query_times, low, high):
    """The k nearest by a plain sort: (similarity, time, flag) lists."""
    found = []
    for query, query_time in zip(queries, query_times, strict=True):
        candidates = [
            (float(query @ v), t, f)
            for v, t, f in zip(vectors, times, flags, strict=True)
            if not (normal_only and f) and abs(t - query_time) >= exclude_ms and low <= t < high
        ]
        found.append(sorted(candidates, reverse=True)[:k])
    return found


class StoreContract:
    """Tests of a store that the fixture ``store`` gives; tests may share it, for each has devices of its own.

    A device is registered before its rows are written, as ingestion does: a store may find the rows of all devices by way
    of the registry.
    """

    examples = 60
    """Examples of each property; fewer where a server is asked."""

    schema = 12
    """Version of the schema."""

    many_queries = 9
    """So many queries at once are answered by a pass over the vectors, where a single one goes to an index."""

    updates_make_no_row = True
    """False where an update and an insert are one statement (CQL), so that an update of a row that isn't there makes one
    of what the update names. Nobody may rely on either."""

    @pytest.fixture
    def new_devices(self, store):
        """Registers devices that no other test has; names that are given in order have ids in that order."""

        def registered(*names):
            prefix = secrets.token_hex(6)
            ids = [f"{prefix} {name}" for name in names]
            store.register_devices([replace(DEVICE, device_id=device_id) for device_id in ids])
            return ids

        return registered

    @pytest.fixture
    def device(self, new_devices):
        return new_devices("d")[0]

    @pytest.fixture
    def topic(self):
        return f"t-{secrets.token_hex(6)}"

    def properties(self, **how):
        """Settings of a property that opens nothing anew for an example, and gives each devices of its own."""
        health = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
        return settings(max_examples=self.examples, deadline=None, suppress_health_check=health, **how)

    # -- schema --------------------------------------------------------------------------------------------------------

    def test_the_schema_is_applied_once_and_again_without_effect(self, store):
        found, needed = store.schema_versions()
        assert found == needed == self.schema
        assert store.apply_schema(dry_run=True) == []
        assert store.apply_schema() == []
        assert store.schema_versions() == (found, needed)

    def test_where_it_is_can_be_told_to_people(self, store):
        assert store.location

    @pytest.mark.parametrize(
        "use",
        [
            lambda store: store.count("metrics"),
            lambda store: store.upsert("metrics", {"a": [1]}),
            lambda store: store.update("metrics", {"a": [1]}),
            lambda store: store.delete("metrics", {"a": [1]}),
            lambda store: list(store.scan(TableSlice("metrics"))),
        ],
        ids=["count", "upsert", "update", "delete", "scan"],
    )
    def test_an_unknown_table_is_named_with_those_that_exist(self, store, use):
        with pytest.raises(KeyError, match=r"no table 'metrics'; tables are device_metrics_raw, "):
            use(store)

    # -- rows ----------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("name", tables())
    def test_a_row_of_every_table_comes_back_as_it_went_in(self, store, device, name):
        table = tables()[name]
        derived = {"date"} if table.time_column is not None else set()
        written = {
            column: [device if column == "device_id" else BY_NAME.get(column, BY_TYPE[spec.type])]
            for column, spec in table.columns.items()
            if column not in derived and spec.type != "vector"
        }
        written |= {c: BY_TYPE["vector"] for c, spec in table.columns.items() if spec.type == "vector"}
        first = table.partition[0]
        if first not in ("device_id", "date"):
            written[first] = [device]  # as unlike that of any other test as a device is
        assert store.upsert(name, written) == 1
        of_device = device if first in ("device_id", "date") else None
        named = [n for n in table.partition if n != "device_id" and not (n == "date" and first == "device_id")]
        equals = tuple((n, DAY if n == "date" else written[n][0]) for n in named)
        span = {} if table.time_column is None else {"start_ms": T0, "end_ms": T0 + DAY_MS}
        (batch,) = store.scan(TableSlice(name, (), of_device, equals=equals, **span))
        assert set(batch) == set(table.columns)
        assert all(batch[n] == [DAY] for n in derived & set(batch))
        for column, values in written.items():
            if table.columns[column].type == "vector":
                assert decoded_vectors(batch[column]).tolist() == values.tolist()
            else:
                assert batch[column] == values, column

    def test_every_kind_of_column_comes_back_as_it_went_in(self, store, device):
        vectors = unit_vectors(1)
        written = snapshots(
            device,
            [T0],
            metrics=[{"ta": -999.0, "é": 1e-308}],
            metric_summary=[{"ta": [3, -999.0, 72.25, 70.0]}],
            completeness=[0.25],
            revision=[2**63 - 1],
            is_anomalous=[True],
            anomaly_score=[1.5],
            embedding=vectors,
            embedding_method=["state"],
        )
        store.upsert("device_state_snapshots", written)
        (batch,) = store.scan(TableSlice("device_state_snapshots", (), device))
        assert set(batch) == set(tables()["device_state_snapshots"].columns)
        assert batch["date"] == [DAY]
        assert decoded_vectors(batch.pop("embedding")).tolist() == vectors.tolist()
        assert {name: batch[name] for name in written if name != "embedding"} == {
            name: values for name, values in written.items() if name != "embedding"
        }

    def test_columns_that_a_row_lacks_or_that_hold_nothing_come_back_as_none(self, store, device):
        trend = {
            "device_id": device,
            "metric": "fan_current",
            "unit": "A",
            "reading": 4.5,
            "deviation": 0.25,
            "sigmas": 3.5,
            "per_day": 0.01,
            "cusum": 7.0,
            "since": None,
            "days_to_limit": 12.5,
            "span_start": T0,
            "span_end": T0 + 1,
            "updated_at": T0,
        }
        other = trend | {"metric": "supply_air_temp", "reading": None, "since": T0, "days_to_limit": None}
        store.upsert("metric_trends", {name: [trend[name], other[name]] for name in trend})
        assert rows(store, "metric_trends", *trend, device_id=device) == [tuple(trend.values()), tuple(other.values())]
        store.upsert("device_state_snapshots", snapshots(device, [T0], is_anomalous=[None]))
        lacking = ("is_anomalous", "anomaly_score", "embedding", "embedding_method")
        assert rows(store, "device_state_snapshots", *lacking, device_id=device) == [(None,) * 4]
        store.upsert("device_profiles", profile(device))
        lacking = ("detector", "fit", "energy", "modes")
        assert rows(store, "device_profiles", *lacking, device_id=device) == [(None,) * 4]

    def test_numpy_arrays_are_columns_as_lists_are(self, store, device):
        written = snapshots(device, TIMES)
        arrays = {name: np.array(written[name]) for name in ("snapshot_time", "window_ms", "completeness", "revision")}
        assert store.upsert("device_state_snapshots", written | arrays) == 3
        found = rows(store, "device_state_snapshots", *arrays, device_id=device)
        assert found == list(zip(*(written[name] for name in arrays), strict=True))
        assert {type(value) for row in found for value in row} == {int, float}

    def test_no_rows_are_no_write(self, store, device):
        assert store.upsert("device_metrics_raw", {}) == 0
        assert store.upsert("device_metrics_raw", raw(device, [], [])) == 0
        assert store.update("device_state_snapshots", {n: [] for n in ("device_id", "snapshot_time", "revision")}) == 0
        store.delete("device_metrics_raw", {"device_id": [], "timestamp": [], "metric_name": []})
        assert store.count("device_metrics_raw", device) == 0
        assert store.device_days(DAY, DAY, device) == []

    def test_the_largest_values_fit(self, store, device, topic):
        content = np.random.default_rng(1).bytes(KEPT_BYTES)
        store.upsert("dead_letters", letter(topic, 2**62, "x" * 10_000, value=content))
        assert letters(store, topic, "record_offset", "reason", "record_value") == [(2**62, "x" * 10_000, content)]
        metrics = {f"metric {i}": float(i) for i in range(2_000)}
        store.upsert("device_state_snapshots", snapshots(device, [T0], metrics=[metrics]))
        assert rows(store, "device_state_snapshots", "metrics", device_id=device) == [(metrics,)]

    def test_an_upsert_replaces_rows_by_key_and_leaves_the_others(self, store, device):
        store.upsert("device_metrics_raw", raw(device, [T0, T0 + 1], [1.0, 2.0]))
        assert store.upsert("device_metrics_raw", raw(device, [T0 + 1, T0 + 2], [20.0, 30.0])) == 2
        found = rows(store, "device_metrics_raw", "timestamp", "metric_value", device_id=device)
        assert found == [(T0, 1.0), (T0 + 1, 20.0), (T0 + 2, 30.0)]

    def test_of_rows_with_one_key_in_one_upsert_the_last_stays_whole(self, store, device):
        written = raw(device, [T0, T0, T0 + 1, T0], [1.0, 30.0, 5.0, 20.0])
        store.upsert("device_metrics_raw", written | {"unit": ["°F", "A", "kW", "°C"]})
        found = rows(store, "device_metrics_raw", "timestamp", "metric_value", "unit", device_id=device)
        assert found == [(T0, 20.0, "°C"), (T0 + 1, 5.0, "kW")]

    def test_a_snapshot_that_is_written_again_keeps_what_the_write_does_not_name(self, store, device):
        store.upsert("device_state_snapshots", snapshots(device, [T0]))
        embed(store, device, [T0], unit_vectors(1))
        flag(store, device, [T0], [True])
        store.upsert("device_state_snapshots", snapshots(device, [T0], revision=[7]))
        kept = ("revision", "is_anomalous", "embedding_method")
        assert rows(store, "device_state_snapshots", *kept, device_id=device) == [(7, True, "m")]

    def test_of_a_table_that_is_written_once_a_row_keeps_its_first_version(self, store, topic):
        assert [name for name, table in tables().items() if table.write_once] == ["dead_letters"]
        store.upsert("dead_letters", letter(topic, 5, "first", 1))
        both = [letter(topic, offset, "second", 2) for offset in (5, 6)]
        store.upsert("dead_letters", {name: [*both[0][name], *both[1][name]] for name in both[0]})
        found = letters(store, topic, "record_offset", "record_value", "reason", "rejected_at")
        assert found == [(5, b"\x00\xff", "first", 1), (6, b"\x00\xff", "second", 2)]

    def test_a_row_that_is_written_once_can_be_written_anew_after_it_was_deleted(self, store, topic):
        store.upsert("dead_letters", letter(topic, 5, "of the log before"))
        store.delete("dead_letters", letter(topic, 5))
        store.upsert("dead_letters", letter(topic, 5, "of the log that was made again"))
        assert letters(store, topic, "reason") == [("of the log that was made again",)]

    def test_an_update_changes_named_columns_of_rows_that_exist(self, store, device):
        store.upsert("device_state_snapshots", snapshots(device, TIMES[:2]))
        flag(store, device, TIMES[:1], [True])
        assert rows(store, "device_state_snapshots", "snapshot_time", "revision", "is_anomalous", device_id=device) == [
            (TIMES[0], 0, True),
            (TIMES[1], 1, None),
        ]

    def test_an_update_of_a_row_that_is_not_there_makes_none(self, store, device):
        store.upsert("device_state_snapshots", snapshots(device, TIMES[:1]))
        flag(store, device, [TIMES[0], T0 + 9 * MINUTE_MS], [True, True])
        made = [] if self.updates_make_no_row else [(T0 + 9 * MINUTE_MS, None)]
        found = rows(store, "device_state_snapshots", "snapshot_time", "revision", device_id=device)
        assert found == [(TIMES[0], 0), *made]

    def test_a_delete_takes_whole_keys(self, store, new_devices):
        device, other = new_devices("d", "e")
        store.upsert("device_metrics_raw", raw(device, [T0, T0 + 1], [1.0, 2.0]))
        store.upsert("device_metrics_raw", raw(other, [T0], [1.0]))
        keys = {"device_id": [device, other], "timestamp": [T0, T0 + 1], "metric_name": ["t", "t"]}
        store.delete("device_metrics_raw", keys)
        assert rows(store, "device_metrics_raw", "timestamp", device_id=device) == [(T0 + 1,)]
        assert rows(store, "device_metrics_raw", "timestamp", device_id=other) == [(T0,)]

    def test_columns_of_different_lengths_are_refused_whole(self, store, device):
        with pytest.raises(ValueError, match=r"zip|lengths"):
            store.upsert("device_metrics_raw", raw(device, [T0, T0 + 1], [1.0]) | {"unit": ["", ""]})
        assert store.count("device_metrics_raw", device) == 0

    def test_a_scan_gives_exactly_the_slice_in_key_order(self, store, new_devices):
        @given(
            written=st.sets(st.tuples(st.sampled_from("abc"), st.integers(0, 40), st.sampled_from("xy")), max_size=60),
            device=st.none() | st.sampled_from("abcz"),
            start=st.none() | st.integers(0, 40),
            length=st.none() | st.integers(0, 40),
            metric=st.none() | st.sampled_from("xyz"),
            batch_rows=st.integers(1, 70),
        )
        @self.properties()
        def check(written, device, start, length, metric, batch_rows):
            ids = dict(zip("abcz", new_devices(*"abcz"), strict=True))
            for name in {name for name, _, _ in written}:
                mine = [(T0 + minute * 60 * MINUTE_MS, metric) for d, minute, metric in written if d == name]
                columns = raw(ids[name], [at_ms for at_ms, _ in mine], [1.0] * len(mine))
                store.upsert("device_metrics_raw", columns | {"metric_name": [metric for _, metric in mine]})
            low = None if start is None else T0 + start * 60 * MINUTE_MS
            high = None if length is None else (low or T0) + length * 60 * MINUTE_MS
            equals = () if metric is None else (("metric_name", metric),)
            names = ("device_id", "timestamp", "metric_name")
            wanted = TableSlice("device_metrics_raw", names, device and ids[device], low, high, equals)
            batches = [list(zip(*b.values(), strict=True)) for b in store.scan(wanted, batch_rows=batch_rows)]
            assert all(1 <= len(batch) <= batch_rows for batch in batches)
            assert [row for batch in batches for row in batch if row[0] in ids.values()] == sorted(
                (ids[d], T0 + t * 60 * MINUTE_MS, m)
                for d, t, m in written
                if (device is None or d == device)
                and (low is None or T0 + t * 60 * MINUTE_MS >= low)
                and (high is None or T0 + t * 60 * MINUTE_MS < high)
                and (metric is None or m == metric)
            )

        check()

    def test_many_devices_are_read_each_in_a_span_of_its_own(self, store, new_devices):
        ids = new_devices(*"abcd")
        across = MIDNIGHT_MS - MINUTE_MS, MIDNIGHT_MS + MINUTE_MS
        times = np.arange(*across, 10_000)
        for device in ids:
            for metric in "yx":
                columns = raw(device, times, np.arange(len(times), dtype=float)) | {
                    "metric_name": [metric] * len(times)
                }
                store.upsert("device_metrics_raw", columns)
            store.upsert("device_state_snapshots", snapshots(device, times.tolist()))
        a, b, c, _ = ids
        spans = {c: across, a: (MIDNIGHT_MS - 10_000, MIDNIGHT_MS + 10_000), b: (0, MIDNIGHT_MS - MINUTE_MS)}
        spans["never heard of"] = across

        def expected(members):
            return [
                (device, at, *rest)
                for device, (start, end) in sorted(spans.items())
                for at in (times.tolist() if device in ids else ())
                if start <= at < end
                for rest in members(at)
            ]

        names = ("device_id", "timestamp", "metric_name", "metric_value")
        found = store.scan_spans("device_metrics_raw", names, spans)
        number = {at: float(i) for i, at in enumerate(times.tolist())}
        assert list(zip(*found.values(), strict=True)) == expected(lambda at: [(m, number[at]) for m in "xy"])
        found = store.scan_spans("device_state_snapshots", ("device_id", "snapshot_time"), spans)
        assert list(zip(*found.values(), strict=True)) == expected(lambda at: [()])
        alone = [
            batch
            for one in sorted(spans)
            for batch in store.scan(TableSlice("device_state_snapshots", WHOLE_STATE, one, *spans[one]))
        ]
        found = store.scan_spans("device_state_snapshots", WHOLE_STATE, spans)
        for name in WHOLE_STATE:
            assert list(found[name]) == [value for batch in alone for value in batch[name]]
        notes = {"device_id": [a, b, c], "starts_at": [MIDNIGHT_MS] * 3, "ends_at": [0] * 3, "added_at": [0] * 3}
        store.upsert("maintenance_spans", {**notes, "note": ["in", "out", "in"]})
        found = store.scan_spans("maintenance_spans", ("note", "device_id"), spans)
        assert found == {"note": ["in", "in"], "device_id": sorted((a, c))}
        assert store.scan_spans("maintenance_spans", ("device_id",), {}) == {"device_id": []}

    def test_many_rows_are_read_in_batches_that_are_no_larger_than_asked_for(self, store, device):
        times = [T0 + i for i in range(12_000)]  # more than a page of any server
        store.upsert("device_metrics_raw", raw(device, times, range(12_000)))
        found = list(store.scan(TableSlice("device_metrics_raw", ("timestamp",), device), batch_rows=2_500))
        assert all(1 <= len(batch["timestamp"]) <= 2_500 for batch in found)
        assert [at_ms for batch in found for at_ms in batch["timestamp"]] == times

    def test_a_scan_of_a_column_that_is_no_key_gives_the_rows_with_that_value(self, store, device):
        store.upsert("device_state_snapshots", snapshots(device, TIMES, revision=[4, 5, 4]))
        sought = {"device_id": device, "start_ms": T0, "end_ms": T0 + DAY_MS, "equals": (("revision", 4),)}
        assert rows(store, "device_state_snapshots", "snapshot_time", **sought) == [(TIMES[0],), (TIMES[2],)]

    def test_readings_on_both_sides_of_midnight_utc_come_in_order_of_time_however_often_they_are_written(
        self, store, device
    ):
        times = MIDNIGHT_MS - 3_600_000 + np.arange(0, 7_200_000, 10_000)
        values = np.arange(len(times), dtype=float)
        columns = raw(device, times, values) | {"timestamp": times, "metric_value": values}
        for _ in range(2):
            assert store.upsert("device_metrics_raw", columns) == len(times)
        found = rows(store, "device_metrics_raw", "timestamp", "metric_value", device_id=device)
        assert found == list(zip(times.tolist(), values.tolist(), strict=True))
        assert store.count("device_metrics_raw", device) == len(times)
        span = {"start_ms": MIDNIGHT_MS - 1, "end_ms": MIDNIGHT_MS + 20_000}
        part = rows(store, "device_metrics_raw", "timestamp", device_id=device, **span)
        assert part == [(MIDNIGHT_MS,), (MIDNIGHT_MS + 10_000,)]
        days = rows(store, "device_metrics_raw", "date", device_id=device)
        assert days == [(DAY,)] * 360 + [(NEXT_DAY,)] * 360

    def test_what_has_a_partition_a_device_is_read_of_all_devices_in_a_span_of_time(self, store, new_devices):
        device, other = new_devices("d", "e")
        spans = {"ends_at": [T0 + 60_000] * 3, "note": ["a", "b", "c"], "added_at": [0] * 3}
        starts = [T0, T0 - 60_000, T0 + 60_000]
        store.upsert("maintenance_spans", {"device_id": [device, device, other], "starts_at": starts, **spans})

        def notes(**span):
            found = rows(store, "maintenance_spans", "device_id", "note", **span)
            return sorted(note for device_id, note in found if device_id in (device, other))

        assert notes() == ["a", "b", "c"]
        assert notes(start_ms=T0) == ["a", "c"]
        assert notes(end_ms=T0) == ["b"]

    def test_count_is_of_a_table_or_of_one_device(self, store, new_devices):
        device, other, empty = new_devices("d", "e", "f")
        before = store.count("device_metrics_raw"), store.count("device_profiles")
        store.upsert("device_metrics_raw", raw(device, [T0, MIDNIGHT_MS], [1.0, 2.0]))
        store.upsert("device_metrics_raw", raw(other, [T0], [1.0]))
        store.upsert("device_profiles", profile(other))
        assert [store.count("device_metrics_raw", d) for d in (device, other, empty)] == [2, 1, 0]
        assert [store.count("device_profiles", d) for d in (device, other, empty)] == [0, 1, 0]
        assert (store.count("device_metrics_raw"), store.count("device_profiles")) == (before[0] + 3, before[1] + 1)

    def test_threads_use_a_parallel_store_at_once(self, store, new_devices):
        if not store.parallel:
            pytest.skip("its connection is one thread's; every thread opens one")
        ids = new_devices(*"abcdef")

        def write(device):
            for batch in range(10):
                times = [T0 + batch * 100 + i for i in range(100)]
                store.upsert("device_metrics_raw", raw(device, times, [1.0] * 100))
            written.append(len(rows(store, "device_metrics_raw", "timestamp", device_id=device)))

        written = []
        threads = [threading.Thread(target=write, args=(device,)) for device in ids]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert written == [1_000] * 6

    # -- days and registry ---------------------------------------------------------------------------------------------

    def test_the_days_of_a_device_are_known_from_its_writes(self, store, new_devices):
        device, other = new_devices("d", "e")
        store.upsert("device_metrics_raw", raw(device, [MIDNIGHT_MS - 1, MIDNIGHT_MS], [1.0, 2.0]))
        store.upsert("device_state_snapshots", snapshots(device, [MIDNIGHT_MS]))
        first, second = store.device_days(DAY, NEXT_DAY, device)
        assert (first.date, second.date) == (DAY, NEXT_DAY)
        assert first.raw_written_at is not None
        assert first.snapshots_written_at is None
        assert second.snapshots_written_at is not None
        assert store.device_days(NEXT_DAY, NEXT_DAY, device) == [second]
        assert store.device_days(DAY, NEXT_DAY, other) == []
        store.upsert("device_metrics_raw", raw(other, [MIDNIGHT_MS - 1], [1.0]))
        found = [(d.device_id, d.date) for d in store.device_days(DAY, NEXT_DAY) if d.device_id in (device, other)]
        assert found == [(device, DAY), (device, NEXT_DAY), (other, DAY)]

    def test_embeddings_and_flags_are_no_new_data_of_a_day(self, store, device):
        store.upsert("device_state_snapshots", snapshots(device, [T0]))
        (before,) = store.device_days(DAY, DAY, device)
        embed(store, device, [T0], unit_vectors(1))
        flag(store, device, [T0], [True])
        assert store.device_days(DAY, DAY, device) == [before]

    def test_a_judged_day_is_marked_as_such_and_one_without_data_makes_no_day(self, store, new_devices):
        device, other = new_devices("d", "e")
        store.upsert("device_state_snapshots", snapshots(device, [T0, MIDNIGHT_MS]))
        days = {"device_id": [device, other, "nobody"], "date": [DAY] * 3}
        store.update("device_days", days | {"judged_at": [77] * 3})
        assert [d.judged_at for d in store.device_days(DAY, NEXT_DAY, device)] == [77, None]
        assert store.device_days(DAY, DAY, other) == []
        assert "nobody" not in {d.device_id for d in store.device_days(DAY, DAY)}

    def test_windows_are_unjudged_until_their_revision_is_the_judged_one(self, store, device):
        """Of a device in a span; the registry knows it, as some stores look device by device."""
        store.register_devices([replace(DEVICE, device_id=device, first_seen=T0, last_seen=TIMES[-1])])
        store.upsert("device_state_snapshots", snapshots(device, TIMES, revision=[7, 8, 9]))
        key = {"device_id": [device] * 3, "snapshot_time": TIMES}

        def unjudged(*span):
            return [
                (time_ms, revision)
                for batch in store.unjudged(device, *span)
                for name, time_ms, length, revision in zip(*(batch[c] for c in UNJUDGED_COLUMNS), strict=True)
                if (name, length) == (device, MINUTE_MS)
            ]

        assert unjudged() == list(zip(TIMES, [7, 8, 9], strict=True))
        store.update("device_state_snapshots", key | {"judged_revision": [7, 8, 8]})
        assert unjudged() == [(TIMES[2], 9)]
        assert unjudged(TIMES[0], TIMES[2]) == []
        store.upsert("device_state_snapshots", snapshots(device, TIMES[:1], revision=[70]))
        assert unjudged(TIMES[0], TIMES[1]) == [(TIMES[0], 70)]
        store.update("device_state_snapshots", key | {"judged_revision": [70, None, 9]})
        assert unjudged() == [(TIMES[1], 8)]
        everything = {name for batch in store.unjudged() for name in batch["device_id"]}
        assert device in everything

    def test_a_device_is_new_once_and_its_span_only_grows(self, store):
        first, second = sorted(f"{secrets.token_hex(4)}" for _ in range(2))
        device = replace(DEVICE, device_id=second)
        assert store.register_devices([device, replace(DEVICE, device_id=first)]) == [second, first]
        assert store.register_devices([replace(device, first_seen=150, last_seen=300, location="roof")]) == []
        assert store.register_devices([replace(device, first_seen=50, last_seen=60)]) == []
        assert store.register_devices([]) == []
        found = [d for d in store.devices() if d.device_id in (first, second)]
        assert found == [replace(DEVICE, device_id=first), replace(device, first_seen=50, last_seen=300)]

    def test_the_length_of_a_devices_windows_is_that_of_its_registration_until_somebody_changes_it(self, store):
        own, other = sorted(f"{secrets.token_hex(4)}" for _ in range(2))

        def lengths():
            return {d.device_id: d.window_ms for d in store.devices() if d.device_id in (own, other)}

        device = replace(DEVICE, device_id=own, window_ms=300_000)
        store.register_devices([device, replace(DEVICE, device_id=other)])
        assert lengths() == {own: 300_000, other: None}
        seen = WindowLengths(store, 60_000)
        assert (seen.of(own), seen.of(other), seen.look()) == (300_000, 60_000, {})
        store.register_devices([replace(device, last_seen=400, window_ms=None)])  # whoever hears it knows no better
        assert lengths() == {own: 300_000, other: None}
        set_window(store, own, None)
        set_window(store, other, 900_000)
        assert lengths() == {own: None, other: 900_000}
        assert seen.look() == {own: 300_000, other: 60_000}
        assert (seen.of(own), seen.of(other), seen.look()) == (60_000, 900_000, {})

    # -- ledger --------------------------------------------------------------------------------------------------------

    def test_the_ledger_moves_only_from_where_it_stands(self, store):
        step = st.tuples(st.integers(0, 1), st.integers(0, 6), st.integers(0, 6), st.none() | st.integers(0, 9))

        @given(moves=st.lists(step, max_size=40))
        @self.properties()
        def check(moves):
            topic = f"t-{secrets.token_hex(6)}"
            stands: dict[int, int] = {}
            latest: dict[int, int] = {}
            for partition, start, length, watermark in moves:
                allowed = stands.get(partition, start) == start
                moved = store.advance_ledger(topic, partition, start, start + length, run_id="r", watermark=watermark)
                assert moved == allowed
                if allowed:
                    stands[partition] = start + length
                    if watermark is not None:
                        latest[partition] = max(watermark, latest.get(partition, 0))
            entries = store.ledger(topic)
            assert {p: e.next_offset for p, e in entries.items()} == stands
            assert {p: e.watermark for p, e in entries.items() if e.watermark is not None} == latest
            assert store.ledger(f"{topic} of another name") == {}

        check()

    def test_a_replay_of_an_old_range_changes_nothing_in_the_ledger(self, store, topic):
        store.advance_ledger(topic, 0, 0, 10, run_id="first", watermark=5)
        store.advance_ledger(topic, 0, 10, 20, run_id="second", watermark=6)
        before = store.ledger(topic)
        assert not store.advance_ledger(topic, 0, 0, 10, run_id="replay", watermark=99, skipped=3)
        assert not store.advance_ledger(topic, 0, 0, 30, run_id="replay", watermark=99)
        assert store.ledger(topic) == before

    def test_skipped_offsets_add_up_and_the_watermark_stays_where_a_move_has_none(self, store, topic):
        store.advance_ledger(topic, 0, 0, 10, run_id="a", watermark=5, skipped=4)
        store.advance_ledger(topic, 0, 10, 20, run_id="b", watermark=None)
        store.advance_ledger(topic, 0, 20, 50, run_id="c", watermark=None, skipped=7)
        entry = store.ledger(topic)[0]
        assert (entry.next_offset, entry.run_id, entry.watermark, entry.skipped_offsets) == (50, "c", 5, 11)

    # -- vectors that must never be stored -----------------------------------------------------------------------------

    @refused
    def test_a_bad_vector_in_an_upsert_is_refused_and_nothing_is_written(self, store, device, vectors, complaint):
        written = snapshots(device, TIMES, embedding=vectors, embedding_method=["m"] * 3)
        with pytest.raises(EmbeddingError, match=complaint):
            store.upsert("device_state_snapshots", written)
        assert store.count("device_state_snapshots", device) == 0
        assert store.device_days(DAY, DAY, device) == []

    @refused
    def test_a_bad_vector_in_an_update_is_refused_and_nothing_is_written(self, store, device, vectors, complaint):
        store.upsert("device_state_snapshots", snapshots(device, TIMES))
        with pytest.raises(EmbeddingError, match=complaint):
            embed(store, device, TIMES, vectors)
        found = rows(store, "device_state_snapshots", "embedding", "embedding_method", device_id=device)
        assert found == [(None, None)] * 3

    @refused
    def test_a_bad_vector_in_a_profile_is_refused_and_nothing_is_written(self, store, new_devices, vectors, complaint):
        ids = new_devices("a", "b", "c")
        whole = {name: [*values] * 3 for name, values in profile(ids[0]).items()}
        with pytest.raises(EmbeddingError, match=complaint):
            store.upsert("device_profiles", whole | {"device_id": ids, "profile_embedding": vectors})
        assert [store.count("device_profiles", device) for device in ids] == [0, 0, 0]

    @refused
    def test_a_bad_vector_in_a_search_is_refused(self, store, device, vectors, complaint):
        with pytest.raises(EmbeddingError, match=complaint):
            store.nearest(device, vectors, 1, embedding_method="m")

    # -- nearest neighbours --------------------------------------------------------------------------------------------

    def test_few_queries_and_many_find_the_true_neighbours(self, store, new_devices):
        @given(
            seed=st.integers(0, 2**32 - 1),
            stored=st.integers(0, 60),
            asked=st.integers(1, 8),
            k=st.integers(1, 12),
            normal_only=st.booleans(),
            exclude=st.integers(0, 20),
            span=st.tuples(st.integers(0, 60), st.integers(0, 60)).map(sorted),
        )
        @self.properties()
        def check(seed, stored, asked, k, normal_only, exclude, span):
            generator = np.random.default_rng(seed)
            device, other = new_devices("d", "another device")
            times = T0 + MINUTE_MS * np.arange(stored)
            vectors, flags = unit_vectors(stored, seed), generator.random(stored) < 0.3
            for each, its_seed in ((device, seed), (other, seed + 1)):
                store.upsert("device_state_snapshots", snapshots(each, times.tolist()))
                if stored:
                    embed(store, each, times.tolist(), unit_vectors(stored, its_seed))
            flag(store, device, times.tolist(), flags.tolist())
            if stored:  # one state is of another encoder, and one has no vector at all
                embed(store, device, times[:1].tolist(), vectors[:1], method="another method")
                store.upsert("device_state_snapshots", snapshots(device, [T0 + 60 * MINUTE_MS]))
            queries = unit_vectors(asked, seed + 2)
            query_times = T0 + MINUTE_MS * generator.integers(0, 60, asked)
            limits = {"start_ms": T0 + span[0] * MINUTE_MS, "end_ms": T0 + span[1] * MINUTE_MS}
            options = {"normal_only": normal_only, "exclude_ms": exclude * MINUTE_MS, **limits}
            few, many = (
                store.nearest(
                    device,
                    np.tile(queries, (repeated, 1)),
                    k,
                    embedding_method="m",
                    query_times_ms=np.tile(query_times, repeated),
                    **options,
                )
                for repeated in (1, self.many_queries)
            )
            expected = by_hand(
                *(vectors[1:], times[1:].tolist(), flags[1:].tolist(), queries, k),
                normal_only=normal_only,
                exclude_ms=exclude * MINUTE_MS,
                query_times=query_times.tolist(),
                low=limits["start_ms"],
                high=limits["end_ms"],
            )
            for found in (few, many):
                for i, candidates in enumerate(expected):
                    n = len(candidates)
                    assert found.times_ms[i].tolist() == [t for _, t, _ in candidates] + [-1] * (k - n)
                    assert found.anomalous[i].tolist() == [f for _, _, f in candidates] + [False] * (k - n)
                    np.testing.assert_allclose(found.similarity[i, :n], [s for s, _, _ in candidates], atol=1e-5)
                    assert np.isnan(found.similarity[i, n:]).all()

        check()

    def test_nothing_is_near_where_nothing_is_stored(self, store, device):
        found = store.nearest(device, unit_vectors(2), 3, embedding_method="m")
        assert found.times_ms.tolist() == [[-1] * 3] * 2
        assert np.isnan(found.similarity).all()
        assert not found.anomalous.any()

    def test_a_state_is_found_by_its_direction_whatever_the_lengths_of_vectors(self, store, device):
        vectors = np.eye(3, 384, dtype=np.float32) * np.array([[0.01], [1.0], [100.0]], dtype=np.float32)
        store.upsert("device_state_snapshots", snapshots(device, TIMES))
        embed(store, device, TIMES, vectors)
        for repeated in (1, self.many_queries):
            found = store.nearest(device, np.tile(7 * vectors[::-1], (repeated, 1)), 1, embedding_method="m")
            assert found.times_ms[:, 0].tolist() == TIMES[::-1] * repeated
            np.testing.assert_allclose(found.similarity, 1.0, atol=1e-6)

    def nearest_time(self, store, device, query, **options):
        """Time of the nearest state as one query and as many see it; they must agree."""
        one = store.nearest(device, query[None], 1, embedding_method="m", **options).times_ms[0, 0]
        many = store.nearest(device, np.tile(query, (self.many_queries, 1)), 1, embedding_method="m", **options)
        assert set(many.times_ms[:, 0].tolist()) == {int(one)}
        return int(one)

    @pytest.fixture
    def axes(self, store, device):
        """Two states at right angles."""
        store.upsert("device_state_snapshots", snapshots(device, TIMES[:2]))
        embed(store, device, TIMES[:2], np.eye(2, 384, dtype=np.float32))
        return np.eye(3, 384, dtype=np.float32)

    def test_the_search_follows_when_a_state_is_embedded_again(self, store, device, axes):
        embed(store, device, TIMES[:1], axes[2:])
        assert self.nearest_time(store, device, axes[2]) == TIMES[0]
        assert self.nearest_time(store, device, axes[0] + axes[1] / 2) == TIMES[1]

    def test_the_search_follows_when_the_encoder_changes_but_not_the_vector(self, store, device, axes):
        embed(store, device, TIMES[:1], axes[:1], method="another")
        assert self.nearest_time(store, device, axes[0]) == TIMES[1]

    def test_the_search_follows_when_the_encoder_is_withdrawn(self, store, device, axes):
        keys = {"device_id": [device], "snapshot_time": TIMES[:1]}
        store.update("device_state_snapshots", {**keys, "embedding_method": [None]})
        assert self.nearest_time(store, device, axes[0]) == TIMES[1]

    def test_the_search_follows_when_a_state_is_flagged_and_cleared(self, store, device, axes):
        flag(store, device, TIMES[:1], [True])
        assert self.nearest_time(store, device, axes[0], normal_only=True) == TIMES[1]
        assert self.nearest_time(store, device, axes[0]) == TIMES[0]
        flag(store, device, TIMES[:1], [False])
        assert self.nearest_time(store, device, axes[0], normal_only=True) == TIMES[0]

    def test_the_search_follows_when_a_flagged_state_is_embedded_again(self, store, device, axes):
        flag(store, device, TIMES[:1], [True])
        embed(store, device, TIMES[:1], axes[2:])
        assert self.nearest_time(store, device, axes[2], normal_only=True) == TIMES[1]

    def test_the_search_follows_when_a_state_is_deleted(self, store, device, axes):
        store.delete("device_state_snapshots", {"device_id": [device], "snapshot_time": TIMES[:1]})
        assert self.nearest_time(store, device, axes[0]) == TIMES[1]

    def test_the_search_follows_when_whole_states_are_written_with_their_vectors(self, store, device, axes):
        both = [TIMES[1], TIMES[2]]  # one is there, one is new
        written = {"embedding": axes[[1, 2]], "embedding_method": ["m", "m"], "is_anomalous": [None, True]}
        store.upsert("device_state_snapshots", snapshots(device, both, **written))
        assert self.nearest_time(store, device, axes[2]) == TIMES[2]
        assert self.nearest_time(store, device, axes[1]) == TIMES[1]
        assert self.nearest_time(store, device, axes[2] + axes[1] / 2, normal_only=True) == TIMES[1]

    def test_states_near_in_time_are_left_out_however_short_their_windows(self, store, device):
        """Half an hour around a state holds 3,600 windows of a second; the neighbours are beyond them."""
        times = [T0 + i * 1_000 for i in range(5_000)]
        store.upsert("device_state_snapshots", snapshots(device, times, window_ms=[1_000] * len(times)))
        vectors = np.zeros((len(times), 384), dtype=np.float32)
        angle = np.abs(np.arange(len(times)) - 2_500) / 5_000  # the nearer in time, the more alike
        vectors[:, 0], vectors[:, 1] = np.cos(angle), np.sin(angle)
        embed(store, device, times, vectors)
        query = {"query_times_ms": np.array([times[2_500]]), "exclude_ms": 2_200_000}
        found = store.nearest(device, vectors[2_500:2_501], 3, embedding_method="m", **query)
        assert sorted(abs(t - times[2_500]) for t in found.times_ms[0].tolist())[:2] == [2_200_000, 2_200_000]
        assert np.isfinite(found.similarity).all()

    # -- time to live and settings -------------------------------------------------------------------------------------

    def test_old_data_that_was_written_just_now_stays(self, store, device):
        """A row's time to live counts from its write; a server may see to it by itself, and leave a purge nothing to do."""
        long_ago = T0 - 1000 * DAY_MS
        store.upsert("device_metrics_raw", raw(device, [long_ago], [1.0]))
        assert store.purge(now_ms()) == {}
        assert rows(store, "device_metrics_raw", "timestamp", device_id=device) == [(long_ago,)]

    def test_settings_are_remembered_by_name(self, store, topic):
        assert topic not in store.remembered()
        store.remember(topic, "60")
        store.remember(f"{topic} of another name", "°F")
        store.remember(topic, "1 second")
        assert store.remembered()[topic] == "1 second"
        assert store.remembered()[f"{topic} of another name"] == "°F"
