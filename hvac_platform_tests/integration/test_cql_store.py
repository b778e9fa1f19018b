"""The CQL store on a real Cassandra does what every store does; and a whole ingestion on it."""

from __future__ import annotations

import secrets
import shutil

import numpy as np
import pytest
from pydantic import SecretStr

from devtools import PROJECT_ROOT
from devtools.services.base import free_port
from hvac_platform.stores.base import Device, StoreError, TableSlice
from hvac_platform.stores.cql import CqlSettings, CqlStore, schema_statements
from hvac_platform.stores.cql_nearest import EXACT_COST
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.records import Incident, Snapshot
from hvac_platform.timestamps import day_start
from hvac_platform_tests.stores.store_contract import StoreContract

START_MS = day_start("2026-06-10")
WINDOW_MS = 60_000
RTU = Device("RTU-001", "rooftop_unit", "building-A", "bldg-001", START_MS, START_MS + 1, 0)


@pytest.fixture(scope="module")
def opened(node, keyspace):
    store = CqlStore(CqlSettings(("127.0.0.1",), port=node.port, keyspace=keyspace, replication_factor=1))
    yield store
    store.close()


class TestCqlStore(StoreContract):
    """On a real Cassandra; every test has devices of its own in one keyspace."""

    examples = 15
    schema = 12
    many_queries = EXACT_COST + 1
    updates_make_no_row = False

    @pytest.fixture
    def store(self, opened):
        return opened


def snapshots(n, device_id="RTU-001"):
    generator = np.random.default_rng(3)
    return {
        "device_id": [device_id] * n,
        "snapshot_time": START_MS + np.arange(n) * WINDOW_MS,
        "window_ms": [WINDOW_MS] * n,
        "metrics": [{"a": float(i), "b": 2.5} for i in range(n)],
        "metric_summary": [{"a": [6, 1.0, 2.0, 1.5], "b": [6, 1.0, 2.0, 1.5]}] * n,
        "completeness": np.ones(n),
        "revision": generator.integers(0, 2**62, n),
    }


def embeddings(n):
    vectors = np.random.default_rng(4).normal(size=(n, 384)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def rows(store, table, *columns, **where):
    found = {name: [] for name in columns}
    for batch in store.scan(TableSlice(table, columns, **where)):
        for name in columns:
            found[name] += batch[name]
    return found


def test_the_dialect_is_that_of_the_server(opened):
    assert opened.dialect == "cassandra"


def test_both_dialects_differ_in_keyspace_and_index_only():
    cassandra, scylla = (schema_statements(d, "k", "dc1", 3) for d in ("cassandra", "scylla"))
    assert cassandra[1:-2] == scylla[1:-1]
    assert "tablets" in scylla[0]
    assert "((device_id), embedding)" in scylla[-1]
    assert "StorageAttachedIndex" in cassandra[-1]
    with pytest.raises(StoreError, match="cassandra or scylla"):
        schema_statements("oracle", "k", "dc1", 3)


def test_nearest_states_are_those_of_the_embedded_store(opened, tmp_path):
    local = EmbeddedStore(tmp_path / "store.db")
    vectors = embeddings(200)
    for each in (opened, local):
        each.register_devices([RTU])
        each.upsert("device_state_snapshots", snapshots(200))
        keys = {name: snapshots(200)[name] for name in ("device_id", "snapshot_time")}
        each.update("device_state_snapshots", {**keys, "embedding": vectors, "embedding_method": ["m"] * 200})
        flagged = {name: values[:20] for name, values in keys.items()}
        each.update("device_state_snapshots", {**flagged, "is_anomalous": [True] * 20})
    for queries in (vectors[:3], vectors[:30]):
        options = {
            "embedding_method": "m",
            "normal_only": True,
            "start_ms": START_MS,
            "end_ms": START_MS + 150 * WINDOW_MS,
        }
        far, near = (each.nearest("RTU-001", queries, 10, **options) for each in (opened, local))
        assert far.times_ms.tolist() == near.times_ms.tolist()
        np.testing.assert_allclose(far.similarity, near.similarity, atol=1e-6)
    read = rows(opened, "device_state_snapshots", "metrics", "metric_summary", "embedding", device_id="RTU-001")
    assert read["metrics"][3] == {"a": 3.0, "b": 2.5}
    assert read["metric_summary"][0] == {"a": [6, 1.0, 2.0, 1.5], "b": [6, 1.0, 2.0, 1.5]}
    assert np.frombuffer(read["embedding"][5], dtype="<f4").tolist() == vectors[5].tolist()


def test_a_server_that_is_not_there_is_one_clear_line():
    with pytest.raises(StoreError, match="SCYLLA_HOSTS"):
        CqlStore(CqlSettings(("127.0.0.1",), port=free_port(), username="u", password=SecretStr("secret-word")))
    assert "secret-word" not in repr(CqlSettings(("h",), password=SecretStr("secret-word")))


def test_hours_of_the_fleet_are_ingested_learned_and_judged_on_cassandra(node, tmp_path, monkeypatch):
    import dagster as dg

    from hvac_platform import execution
    from hvac_platform.devices.fleet import default_fleet
    from hvac_platform.resources import PlatformResource
    from hvac_platform.simulation.faults import Fault
    from hvac_platform.simulation.fleet_simulation import FleetSimulation
    from hvac_platform.simulation.streaming import stream_history

    shutil.copy(PROJECT_ROOT / "dagster.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "HVAC_HOME": str(tmp_path),
        "SCYLLA_HOSTS": "127.0.0.1",
        "SCYLLA_PORT": str(node.port),
        "SCYLLA_KEYSPACE": f"hvac_{secrets.token_hex(4)}",
        "SCYLLA_REPLICATION_FACTOR": "1",
    }.items():
        monkeypatch.setenv(name, value)
    platform = PlatformResource()
    fleet, hours = default_fleet(), 5
    fault = Fault("CH-001", "low_flow", START_MS + 16 * 900_000, START_MS + 18 * 900_000)
    simulation = FleetSimulation(fleet, seed=2, faults=[fault])
    sent, until_ms = 0, START_MS + hours * 3_600_000
    for _, appended in stream_history(platform.log, platform.topic, simulation, fleet, START_MS, until_ms, 10_000):
        sent = appended
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance:
        for _ in execution.ingest_everything(instance, platform):
            pass
        assert isinstance(platform.store, CqlStore)
        assert platform.store.count("device_metrics_raw") == sent == 71 * 360 * hours
        assert platform.store.count("device_state_snapshots") == 5 * 60 * hours
        assert sum(e.next_offset for e in platform.store.ledger(platform.topic).values()) == sent
        registered = list(instance.get_dynamic_partitions("devices"))
        execution.build_profiles(instance, registered, until="2026-06-10T04:00")
        execution.judge_days(instance, "2026-06-10", "2026-06-10")
    assert platform.store.count("device_profiles") == 5
    assert platform.store.count("snapshot_verdicts") == 3 * 5 * 60 * hours
    only = ("embedding_method", "is_anomalous")
    methods = {snapshot.embedding_method for snapshot in Snapshot.read(platform.store, "CH-001", only=only)}
    assert len(methods) == 1
    assert methods.pop().startswith("state-2/")
    found = Incident.read(platform.store, "CH-001", (START_MS, until_ms))
    assert any(incident.started_at < fault.end_ms and incident.ended_at > fault.start_ms for incident in found)
    assert platform.store.count("detection_reports") == 5
    platform.store.close()
