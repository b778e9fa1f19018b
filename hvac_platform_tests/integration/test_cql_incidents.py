"""The life of incidents on a real Cassandra: the same rows as in the embedded store, whatever people and passes do."""

from __future__ import annotations

import secrets

import pytest

from hvac_platform.monitoring import lifecycle
from hvac_platform.monitoring.suppression import SCOPE
from hvac_platform.stores.cql import CqlSettings, CqlStore
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.records import Suppression
from hvac_platform_tests.monitoring.faults import (
    Clock,
    anomalous,
    heard,
    history,
    incidents,
    minute,
    normal,
    queued,
    rows_of,
    states,
)

FIRST, SECOND = f"CH-001/{minute(60)}", f"CH-002/{minute(60)}"


@pytest.fixture
def cql(node):
    keyspace = f"hvac_{secrets.token_hex(4)}"
    opened = CqlStore(CqlSettings(("127.0.0.1",), port=node.port, keyspace=keyspace, replication_factor=1))
    yield opened
    opened.close()


@pytest.fixture
def embedded(tmp_path):
    opened = EmbeddedStore(tmp_path / "store.db")
    yield opened
    opened.close()


def story(store):
    """A fault that is handled and moved, one that is suppressed, one that is taken back, a person's word, the clock."""
    devices = ["CH-001", "CH-002", "CH-003"]
    heard(store, devices, 0)
    night = Suppression(SCOPE, "night", {"device": "CH-002"}, {"hours": "00:00-02:00"}, "", "kim", 0)
    store.upsert(Suppression.TABLE, Suppression.columns([night]))
    clock = Clock(store)
    for device in devices:
        anomalous(store, device, range(60, 70))
    clock.look(70)
    lifecycle.acknowledge(store, incidents(store)[FIRST], by="kim", at_ms=minute(71))
    lifecycle.label(store, incidents(store)[FIRST], ["belt"], by="kim", at_ms=minute(72))
    anomalous(store, "CH-001", range(50, 55))
    anomalous(store, "CH-002", range(70, 125))
    normal(store, "CH-003", range(60, 70))
    clock.look(121)
    clock.look(135)
    lifecycle.resolve(store, incidents(store)[SECOND], by="kim", at_ms=minute(136))
    clock.look(200)


def test_the_same_rows_result_as_in_the_embedded_store(cql, embedded, home):
    story(cql)
    story(embedded)
    assert states(cql) == {FIRST: "resolved", SECOND: "resolved", f"CH-003/{minute(60)}": "taken_back"}
    assert history(cql, FIRST) == ["opened", "acknowledged", "labelled", "resolved"]
    assert f"{SECOND}#opened" in queued(cql)
    assert lifecycle.find_incident(cql, FIRST).label == "belt"
    for of_cql, of_embedded in zip(rows_of(cql), rows_of(embedded), strict=True):
        assert sorted(of_cql, key=str) == sorted(of_embedded, key=str)
