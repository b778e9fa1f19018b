"""What of the CQL store needs no server: the DDL of both dialects, and rows on the wire as the driver would write them."""

from __future__ import annotations

import io
import re
import ssl
from types import SimpleNamespace

import numpy as np
import pytest
from cassandra import ConsistencyLevel, InvalidRequest
from cassandra.cqltypes import lookup_casstype
from cassandra.protocol import BatchMessage
from cassandra.query import BatchType
from pydantic import SecretStr

from devtools.services.cassandra import Cassandra
from hvac_platform.stores.base import EmbeddingError, StoreError
from hvac_platform.stores.cassandra_private import PlainProtocolHandler
from hvac_platform.stores.cql import CqlSettings, TlsSettings, schema_statements
from hvac_platform.stores.cql_nearest import CqlNearest, NearestQuery
from hvac_platform.stores.cql_schema import CqlSchema
from hvac_platform.stores.cql_wire import (
    BATCH_BYTES,
    BATCH_ROWS,
    batches,
    framed_column,
    read_column,
)
from hvac_platform.stores.tables import table, tables
from hvac_platform_tests.conftest import DAY

CQL_TYPES = {"text": "text", "bigint": "bigint", "double": "double", "boolean": "boolean", "timestamp": "timestamp"}
CQL_TYPES |= {"blob": "blob", "map": "map<text, double>", "vector": "vector<float, 384>", "json": "text"}
STORED_AS_MAPS = {
    ("device_profiles", "metric_stats"): "map<text, frozen<map<text, double>>>",
    ("anomaly_events", "metrics_snapshot"): "map<text, text>",
}
DAY_S = 86_400


def statement(dialect, name):
    found = [s for s in schema_statements(dialect, "k", "dc1", 3) if re.search(rf"EXISTS (k\.)?{name}\b", s)]
    (only,) = found
    return " ".join(only.split())


def columns_of(ddl):
    inside = re.split(r"PRIMARY KEY \(|\)(?: WITH|$)", ddl[ddl.index("(") + 1 :])[0]
    return dict(part.strip(" ,").split(" ", 1) for part in re.split(r", (?=\w+ )", inside) if part.strip())


@pytest.mark.parametrize("dialect", ["cassandra", "scylla"])
@pytest.mark.parametrize("name", list(tables()))
def test_every_table_of_the_catalogue_has_its_columns_keys_and_time_to_live(dialect, name):
    target, ddl = table(name), statement(dialect, name)
    written = {column: kind.removesuffix(" PRIMARY KEY") for column, kind in columns_of(ddl).items()}
    static = {column for column, kind in written.items() if kind.endswith(" STATIC")}
    expected = {c.name: STORED_AS_MAPS.get((name, c.name), CQL_TYPES[c.type]) for c in target.columns.values()}
    assert {column: kind for column, kind in written.items() if column not in static} == expected
    key = re.findall(r"PRIMARY KEY \((.*)\) \) ?(?:WITH|$)", ddl) or re.findall(r"(\w+) text PRIMARY KEY", ddl)
    assert tuple(re.findall(r"\w+", key[0])) == target.partition + target.clustering
    if len(target.partition) > 1:
        assert key[0].startswith("(") or not target.clustering
    seconds = re.findall(r"default_time_to_live = (\d+)", ddl)
    assert [int(s) for s in seconds] == ([] if target.ttl_days is None else [round(target.ttl_days * DAY_S)])


@pytest.mark.parametrize("dialect", ["cassandra", "scylla"])
def test_times_to_live_and_compaction_are_those_of_the_specification(dialect):
    ttl = {"device_metrics_raw": 30 * DAY_S, "metric_aggregation_buffer": 3_600, "device_state_snapshots": 90 * DAY_S}
    for name, seconds in ttl.items():
        assert f"default_time_to_live = {seconds}" in statement(dialect, name)
    for name in tables():
        time_windows = "TimeWindowCompactionStrategy" in statement(dialect, name)
        assert time_windows == (name in {"device_metrics_raw", "dead_letters"}), name


def test_dialects_differ_in_keyspace_and_index_only():
    cassandra, scylla = (schema_statements(d, "k", "dc1", 2) for d in ("cassandra", "scylla"))
    assert cassandra[1:-2] == scylla[1:-1]
    for keyspace in (cassandra[0], scylla[0]):
        assert "'class': 'NetworkTopologyStrategy', 'dc1': 2" in keyspace
    assert "tablets = {'enabled': true}" in scylla[0]
    assert "tablets" not in cassandra[0]


def test_scylla_has_a_local_index_of_2026_2_and_cassandra_a_table_for_its_own():
    local = statement("scylla", "device_state_embedding_idx")
    assert "ON k.device_state_snapshots ((device_id), embedding) USING 'vector_index'" in local
    assert "'similarity_function': 'COSINE'" in local
    assert "ON k.snapshot_vectors (embedding) USING 'StorageAttachedIndex'" in statement(
        "cassandra", "device_state_embedding_idx"
    )
    vectors = statement("cassandra", "snapshot_vectors")
    assert "default_time_to_live = 7776000" in vectors  # as long as the snapshots
    assert "is_anomalous" not in vectors


def test_a_node_that_takes_no_graph_parameters_gets_the_index_without_them():
    """As Cassandra 5.0.9 words its refusal where the JVM property is not set."""
    ran = []

    def execute_once(text, **_):
        if "maximum_node_connections" in text:
            raise InvalidRequest(
                "Maximum node connections cannot be set without enabling SAI_VECTOR_ALLOW_CUSTOM_PARAMETERS"
            )
        ran.append(text)

    client = SimpleNamespace(
        settings=CqlSettings(("h",), keyspace="k", dialect="cassandra"),
        execute_once=execute_once,
        retried=lambda call: call(),
    )
    said = CqlSchema(client).run(statement("cassandra", "device_state_embedding_idx"))
    assert said.startswith("create index device_state_embedding_idx with the server's own graph parameters")
    assert "-Dcassandra.sai.vector.allow_custom_parameters=true" in said
    assert [" ".join(text.split()) for text in ran] == [
        "CREATE CUSTOM INDEX IF NOT EXISTS device_state_embedding_idx ON k.snapshot_vectors (embedding) "
        "USING 'StorageAttachedIndex' WITH OPTIONS = { 'similarity_function': 'cosine' }"
    ]


def test_another_refusal_is_an_error():
    def execute_once(text, **_):
        raise InvalidRequest("no such option")

    client = SimpleNamespace(
        settings=CqlSettings(("h",), keyspace="k", dialect="cassandra"),
        execute_once=execute_once,
        retried=lambda call: call(),
    )
    with pytest.raises(InvalidRequest):
        CqlSchema(client).run(statement("cassandra", "device_state_embedding_idx"))


def test_an_unknown_dialect_is_refused():
    with pytest.raises(StoreError, match="SCYLLA_DIALECT to cassandra or scylla"):
        schema_statements("oracle", "k", "dc1", 3)


def test_settings_never_show_the_password():
    settings = CqlSettings(("h",), password=SecretStr("secret-word"), username="u")
    assert "secret-word" not in f"{settings!r} {settings} {settings.password!r}"


def test_tls_verifies_node_and_name_unless_told_otherwise():
    strict = TlsSettings().context()
    assert (strict.verify_mode, strict.check_hostname) == (ssl.CERT_REQUIRED, True)
    lax = TlsSettings(check_hostname=False).context()
    assert (lax.verify_mode, lax.check_hostname) == (ssl.CERT_REQUIRED, False)


# -- the wire ----------------------------------------------------------------------------------------------------------


def prepared(target, names):
    """What the driver knows of an INSERT; the server's part of it is made up."""
    types = {"text": "UTF8Type", "bigint": "LongType", "double": "DoubleType", "boolean": "BooleanType"}
    types |= {"timestamp": "LongType", "json": "UTF8Type", "blob": "BytesType"}
    types |= {"map": "MapType(UTF8Type,DoubleType)", "vector": "BytesType"}
    kinds = [lookup_casstype(types[target.columns[name].type]) for name in names]
    metadata = [("k", target.name, name, kind) for name, kind in zip(names, kinds, strict=True)]
    return SimpleNamespace(query_id=b"id-of-it", keyspace="k", column_metadata=metadata)


def written(message, version=4):
    body = io.BytesIO()
    message.send_body(body, version)
    return body.getvalue()


def encoded(batch, version=4):
    """A batch as it goes out, without the frame's header."""
    message = BatchMessage(
        batch.batch_type, batch._statements_and_parameters, ConsistencyLevel.LOCAL_QUORUM, timestamp=123
    )
    message.tracing = False
    frame = PlainProtocolHandler.encode_message(message, 1, version, compressor=None, allow_beta_protocol_version=False)
    return frame[9:]


def by_the_driver(statement, rows, version=4):
    """The same batch bound value by value."""
    kinds = [meta[3] for meta in statement.column_metadata]
    queries = [
        (True, statement.query_id, [None if v is None else k.serialize(v, version) for k, v in zip(kinds, row)])  # noqa: B905
        for row in rows
    ]
    return written(BatchMessage(BatchType.UNLOGGED, queries, ConsistencyLevel.LOCAL_QUORUM, timestamp=123), version)


@pytest.mark.parametrize("version", [4, 5])
def test_a_batch_is_byte_for_byte_what_the_driver_would_send(version):
    target = table("device_state_snapshots")
    names = ["device_id", "date", "snapshot_time", "window_ms", "metrics", "completeness", "is_anomalous"]
    columns = {
        "device_id": ["gerät-1"] * 4,
        "date": [DAY] * 4,
        "snapshot_time": np.arange(4, dtype=np.int64) * 60_000,
        "window_ms": [60_000, None, 60_000, 60_000],
        "metrics": [{"a": 1.5, "b": -0.0}, {"a": 2.0, "b": 1e300}, {"b": 3.0}, {}],
        "completeness": np.array([1.0, 0.5, 0.25, 0.0]),
        "is_anomalous": [None, True, False, np.True_],
    }
    statement = prepared(target, names)
    (batch,) = batches(target, statement, names, columns, version)
    columns["is_anomalous"][3] = True  # NumPy's the driver itself refuses
    rows = list(zip(*(v.tolist() if isinstance(v, np.ndarray) else v for v in columns.values()), strict=True))
    assert encoded(batch, version) == by_the_driver(statement, rows, version)


def test_batches_hold_one_partition_within_the_limits_of_rows_and_bytes():
    target = table("device_metrics_raw")
    names = ["device_id", "date", "timestamp", "metric_name", "metric_value", "unit"]
    n = 1_001
    columns = {
        "device_id": [f"d{i % 3}" for i in range(n)],
        "date": [DAY] * n,
        "timestamp": np.arange(n, dtype=np.int64),
        "metric_name": ["m" * (1 + i % 400) for i in range(n)],
        "metric_value": np.arange(n, dtype=float),
        "unit": ["kW"] * n,
    }
    statement = prepared(target, names)
    made = batches(target, statement, names, columns, 4)
    assert sum(len(batch._statements_and_parameters) for batch in made) == n
    for batch in made:
        rows = batch._statements_and_parameters
        assert len(rows) <= BATCH_ROWS
        assert len(rows.body) <= BATCH_BYTES
        assert batch.is_idempotent
        assert len(set(re.findall(rb"\x00\x00\x00\x02(d[012])", rows.body))) == 1
    rows = list(zip(*(v.tolist() if isinstance(v, np.ndarray) else v for v in columns.values()), strict=True))
    size = len(made[0]._statements_and_parameters)
    assert encoded(made[0]) == by_the_driver(statement, rows[::3][:size])


def test_a_row_larger_than_a_batch_goes_alone():
    target = table("dead_letters")
    names = list(target.columns)
    columns = {name: [1, 2] for name in names} | {name: ["t", "t"] for name in ("topic", "date", "reason")}
    columns |= {"record_key": [None, b"k"], "record_value": [b"x" * (2 * BATCH_BYTES), b"y"]}
    made = batches(target, prepared(target, names), names, columns, 4)
    assert [len(batch._statements_and_parameters) for batch in made] == [1, 1]


def test_vectors_travel_as_big_endian_floats_and_come_back():
    target = table("device_state_snapshots")
    vectors = np.random.default_rng(1).normal(size=(3, 384)).astype(np.float32)
    framed = framed_column(target, "embedding", vectors, None, 4)
    assert [f[4:] for f in framed] == [v.astype(">f4").tobytes() for v in vectors]
    back = read_column(target, "embedding", [framed[0][4:], None, framed[2][4:]])
    assert back[1] is None
    assert np.frombuffer(back[2], dtype="<f4").tolist() == vectors[2].tolist()


def test_columns_of_different_lengths_are_refused():
    target = table("device_days")
    with pytest.raises(ValueError, match="different lengths"):
        batches(
            target, prepared(target, ["device_id", "date"]), ["device_id", "date"], {"device_id": ["a"], "date": []}, 4
        )


@pytest.mark.parametrize("bad", [np.zeros(384), np.full(384, np.nan), np.full(384, -np.inf), np.full(384, 1e-30)])
def test_one_bad_vector_among_good_ones_stops_all_of_them(bad):
    vectors = np.stack([np.ones(384), bad, np.ones(384)])
    for name, column in (("device_state_snapshots", "embedding"), ("device_profiles", "profile_embedding")):
        with pytest.raises(EmbeddingError, match="embedding 1 "):
            framed_column(table(name), column, vectors, None, 4)


def test_the_harness_points_the_platform_at_its_node(tmp_path):
    node = Cassandra(tmp_path, tmp_path, 9042)
    assert node.settings == {"SCYLLA_HOSTS": "127.0.0.1", "SCYLLA_PORT": "9042", "SCYLLA_REPLICATION_FACTOR": "1"}


@pytest.mark.parametrize(
    ("separate", "by_day", "where", "searches"),
    [
        (False, False, "device_state_snapshots WHERE device_id=? ORDER BY", 1),
        (False, True, "device_state_snapshots WHERE device_id=? AND date=? ORDER BY", 3),
        (True, False, "snapshot_vectors WHERE device_id=? AND date=? ORDER BY", 3),
    ],
    ids=["scylla", "scylla by day", "cassandra"],
)
def test_a_search_names_the_device_or_its_whole_partition_as_the_server_can_bear(separate, by_day, where, searches):
    asked, run = [], []

    class Recorded:
        """Notes the statements, and finds nothing."""

        settings = CqlSettings(hosts=("h",), keyspace="k")

        def prepare(self, text):
            asked.append(text)
            return text

        def run(self, calls, **_):
            run.append(len(calls))
            return [((), (), (), ()) for _ in calls]

    days = [("d", f"2026-06-1{n}") for n in range(3)]
    nearest = CqlNearest(Recorded(), lambda *_: iter(()), lambda _: days, separate_vectors=separate, by_day=by_day)
    vectors = np.ones((1, 384), dtype=np.float32)
    assert nearest.find(NearestQuery("d", vectors, 10, "m")).times_ms.tolist() == [[-1] * 10]
    assert f"k.{where}" in asked[0]
    assert run[0] == searches
