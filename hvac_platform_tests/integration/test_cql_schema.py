"""``hvac schema apply`` on a live Cassandra: what it says, what it does, and how an older schema becomes this one."""

from __future__ import annotations

import re
import secrets

import numpy as np
import pytest
from typer.testing import CliRunner

from devtools.services.base import DEFAULT_FOLDER, free_port
from devtools.services.cassandra import Cassandra
from hvac_platform.cli.main import app
from hvac_platform.stores.base import Device, StoreError, TableSlice
from hvac_platform.stores.cql import CqlSettings, CqlStore
from hvac_platform.stores.cql_client import CqlClient
from hvac_platform.stores.cql_schema import SCHEMA_VERSION, schema_statements
from hvac_platform.stores.tables import tables
from hvac_platform.timestamps import day_start

START_MS = day_start("2026-06-10")

LATER_TABLES = (
    *("schema_versions", "embedding_backlog", "incidents", "maintenance_spans", "metric_trends"),
    *("store_settings", "method_reports", "unjudged_marks"),
    *("incident_handling", "incident_transitions", "alert_outbox", "alert_suppressions"),
)
LATER_COLUMNS = re.compile(
    r"^ +(judged_revision|detector|fit|energy|modes|"
    r"energy_kwh|expected_kwh|excess_kwh|log_id|log_since|holder|held_until|fence|failures|"
    r"failed_at|error|range_limit|open_since|caught_up_at|record_length|record_sha256|"
    r"parent_id) \w+,?\n|^ +incidents bigint,\n|(?<=kafka_partition bigint,\n) +window_ms bigint\n",
    re.MULTILINE,
)


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    started = Cassandra(DEFAULT_FOLDER / "cache", tmp_path_factory.mktemp("cassandra"), free_port())
    started.up()
    yield started
    started.down()


@pytest.fixture
def keyspace(node, monkeypatch, tmp_path):
    """A name that is not there yet, and the environment that points at it."""
    name = f"hvac_{secrets.token_hex(4)}"
    monkeypatch.chdir(tmp_path)
    for variable, value in (node.settings | {"SCYLLA_KEYSPACE": name}).items():
        monkeypatch.setenv(variable, value)
    return name


def hvac(*arguments):
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def settings(node, keyspace, **changes):
    return CqlSettings(("127.0.0.1",), port=node.port, keyspace=keyspace, **({"replication_factor": 1} | changes))


def there(node, keyspace):
    client = CqlClient(settings(node, keyspace))
    found = client.execute("SELECT table_name FROM system_schema.tables WHERE keyspace_name=%s", (keyspace,))
    names = {row[0] for row in found}
    client.close()
    return names


def test_a_dry_run_prints_statements_that_work_and_does_nothing(node, keyspace):
    said = hvac("schema", "apply", "--dry-run")
    assert f"would go from schema version 0 to {SCHEMA_VERSION}; nothing was done" in said
    assert there(node, keyspace) == set()
    client = CqlClient(settings(node, keyspace))
    for statement in said.split(";\n")[:-1]:  # what cqlsh would be given
        client.execute_once(statement, timeout=60)
    client.close()
    assert f"schema version {SCHEMA_VERSION} of {SCHEMA_VERSION}, nothing to do" in hvac("schema", "apply")


def test_applying_says_what_it_does_and_then_has_nothing_to_do(node, keyspace):
    said = hvac("schema", "apply")
    lines = said.splitlines()
    assert lines[0] == f"create keyspace {keyspace}"
    for name in (*tables(), "snapshot_vectors", "schema_versions", "unjudged_marks"):
        assert f"create table {name}" in lines
    assert "create index device_state_embedding_idx with 8 connections a node, found by a beam of 32" in lines
    assert lines[-1].endswith(f"schema version {SCHEMA_VERSION} of {SCHEMA_VERSION}")
    again = hvac("schema", "apply")
    assert "nothing to do" in again
    assert "create" not in again
    assert there(node, keyspace) == {*tables(), "snapshot_vectors", "schema_versions", "unjudged_marks"}


def test_a_table_that_is_missing_is_made_and_the_rest_left_alone(node, keyspace):
    hvac("schema", "apply")
    client = CqlClient(settings(node, keyspace))
    client.execute_once(f"DROP TABLE {keyspace}.detection_reports", timeout=60)
    client.close()
    dry = hvac("schema", "apply", "--dry-run")
    assert dry.count("CREATE") == 1
    lines = hvac("schema", "apply").splitlines()
    assert lines[0] == "create table detection_reports"
    assert not any(line.startswith("create") for line in lines[1:])


def test_version_1_becomes_the_current_one_with_its_vectors(node, keyspace):
    """A keyspace as the first release made it: the index on the snapshots, no record of a version."""
    client = CqlClient(settings(node, keyspace))
    for statement in schema_statements("cassandra", keyspace, "datacenter1", 1)[:-2]:
        if not any(f".{later} (" in statement for later in LATER_TABLES):
            client.execute_once(LATER_COLUMNS.sub("", statement).replace(",\n)", "\n)"), timeout=60)
    client.execute_once(
        f"CREATE CUSTOM INDEX device_state_embedding_idx ON {keyspace}.device_state_snapshots (embedding) "
        "USING 'StorageAttachedIndex' WITH OPTIONS = {'similarity_function': 'cosine'}",
        timeout=60,
    )
    vectors = np.eye(5, 384, dtype=np.float32) + 0.1
    insert = client.prepare(
        f"INSERT INTO {keyspace}.device_state_snapshots (device_id, date, snapshot_time, embedding, embedding_method) "
        "VALUES ('d', '2026-06-10', ?, ?, 'm')"
    )
    for i, vector in enumerate(vectors):
        client.execute(insert, (START_MS + i * 60_000, vector.astype(">f4").tobytes()))
    client.execute(f"INSERT INTO {keyspace}.devices (device_id, device_type) VALUES ('d', 'chiller')")
    for method in ("rules", "profile", "vector"):
        client.execute_once(f"ALTER TABLE {keyspace}.detection_reports ADD {method} bigint", timeout=60)
    report = "(date, device_id, windows, rules, profile, vector) VALUES ('2026-06-10', 'd', 60, 1, 2, 3)"
    client.execute(f"INSERT INTO {keyspace}.detection_reports {report}")
    client.execute(f"INSERT INTO {keyspace}.device_days (device_id, date) VALUES ('d', '2026-06-10')")
    client.close()

    older = CqlStore(settings(node, keyspace), create=False)
    assert older.schema_versions() == (1, SCHEMA_VERSION)
    done = older.apply_schema()
    assert done[0].startswith("DROP INDEX IF EXISTS")
    assert "copy 5 vectors to snapshot_vectors" in done
    assert {"add column detector to device_profiles", "add column excess_kwh to detection_reports"} <= set(done)
    assert {"create table incidents", "create table maintenance_spans", "create table metric_trends"} <= set(done)
    assert {"add column fence to ingestion_ledger", "add column record_sha256 to dead_letters"} <= set(done)
    assert {"add column open_since to ingestion_ledger", "add column caught_up_at to ingestion_ledger"} <= set(done)
    assert "create table store_settings" in done
    assert "copy 3 rows to method_reports" in done
    (reports,) = older.scan(TableSlice("method_reports", ("method", "windows", "anomalous", "alone")))
    assert reports["method"] == ["profile", "rules", "vector"]
    assert (reports["windows"], reports["anomalous"], reports["alone"]) == ([60] * 3, [2, 1, 3], [None] * 3)
    assert older.take_lease("t", 0, "run", at=0).fence == 1
    later = {"detector": [b"model"], "fit": [{"count": 3}], "energy": [None], "modes": [[{"name": "all"}]]}
    older.upsert("device_profiles", {"device_id": ["d"], **later})
    (row,) = older.scan(TableSlice("device_profiles", ("device_id", *later), "d"))
    assert row == {"device_id": ["d"], **later}
    assert older.schema_versions() == (SCHEMA_VERSION, SCHEMA_VERSION)
    found = older.nearest("d", vectors[3:4], 1, embedding_method="m")
    assert found.times_ms.tolist() == [[START_MS + 3 * 60_000]]
    older.close()


def test_a_newer_schema_is_left_alone(node, keyspace):
    store = CqlStore(settings(node, keyspace))
    store._client.execute(f"INSERT INTO {keyspace}.schema_versions (version, applied_at) VALUES (99, 0)")
    store.close()
    with pytest.raises(StoreError, match=f"has schema version 99, this code knows {SCHEMA_VERSION}"):
        CqlStore(settings(node, keyspace))


def test_more_replicas_than_nodes_are_refused_before_anything_is_made(node, keyspace):
    with pytest.raises(StoreError, match=r"has 1 node, SCYLLA_REPLICATION_FACTOR=3 .* set it to 1 \(development\)"):
        CqlStore(settings(node, keyspace, replication_factor=3))
    with pytest.raises(StoreError, match="SCYLLA_DATACENTER=elsewhere is its data center"):
        CqlStore(settings(node, keyspace, datacenter="elsewhere"))
    assert there(node, keyspace) == set()


def test_the_dialect_is_detected_and_can_be_named(node, keyspace):
    detected = CqlStore(settings(node, keyspace), create=False)
    assert detected.dialect == "cassandra"
    detected.close()
    named = CqlStore(settings(node, keyspace, dialect="scylla"), create=False)
    assert named.dialect == "scylla"
    statements = named.apply_schema(dry_run=True)
    assert "tablets" in statements[0]
    assert any("((device_id), embedding)" in statement for statement in statements)
    assert not any("snapshot_vectors" in statement for statement in statements)
    named.close()
    with pytest.raises(StoreError, match="cassandra or scylla"):
        CqlStore(settings(node, keyspace, dialect="oracle"), create=False)


def test_static_attributes_and_several_writers_of_one_schema(node, keyspace):
    """Two processes that start at once both find a whole schema; the partitions carry their device's attributes."""
    stores = [CqlStore(settings(node, keyspace)) for _ in range(2)]
    device = Device("d", "chiller", "building-B", "bldg-002", START_MS, START_MS, 1)
    stores[0].register_devices([device])
    for store in stores:
        store.upsert(
            "device_metrics_raw",
            {"device_id": ["d"], "timestamp": np.array([START_MS]), "metric_name": ["m"], "metric_value": [1.0],
             "unit": [""]},
        )  # fmt: skip
    row = (
        stores[1]
        ._client.execute(
            f"SELECT device_type, location, building_id FROM {keyspace}.device_metrics_raw "
            "WHERE device_id='d' AND date='2026-06-10'"
        )
        .one()
    )
    assert tuple(row) == ("chiller", "building-B", "bldg-002")
    for store in stores:
        store.close()
