"""Cassandra keeps leases and the ledger as every store does."""

from __future__ import annotations

import time

import pytest

from hvac_platform.stores import cql, ledger
from hvac_platform.stores.cql import CqlSettings, CqlStore
from hvac_platform_tests.stores.ledger_contract import LedgerContract


@pytest.fixture(scope="module")
def opened(node, keyspace):
    store = CqlStore(CqlSettings(hosts=("127.0.0.1",), port=node.port, keyspace=keyspace, replication_factor=1))
    yield store
    store.close()


class TestCqlLedger(LedgerContract):
    """On a real node, whose clock ends a lease, by whole seconds."""

    short = 2

    @pytest.fixture
    def store(self, opened):
        return opened

    @pytest.fixture
    def short_leases(self, monkeypatch):
        monkeypatch.setattr(ledger, "LEASE_SECONDS", self.short)
        monkeypatch.setattr(cql, "LEASE_SECONDS", self.short)

    def test_a_row_of_an_earlier_version_has_no_fencing_number_and_can_be_owned(self, store, topic):
        name = store._name("ingestion_ledger")
        store._client.execute(
            f"INSERT INTO {name} (topic, kafka_partition, next_offset, run_id, updated_at, skipped_offsets) "
            f"VALUES ('{topic}', 0, 120, 'old run', {int(time.time() * 1000)}, 0)"
        )
        assert self.entry(store, topic).fence == 0
        lease = store.take_lease(topic, 0, "run", at=0)
        assert lease.fence == 1
        assert store.advance_ledger(topic, 0, 120, 130, run_id="run", watermark=None, fence=lease.fence)

    def test_the_clock_of_the_machine_that_holds_a_lease_does_not_matter(self, store, topic, short_leases, monkeypatch):
        monkeypatch.setattr(ledger, "now_ms", lambda: 0)  # fifty years behind
        lease = store.take_lease(topic, 0, "run", at=0)
        monkeypatch.undo()
        assert store.take_lease(topic, 0, "next run", at=0) is None
        assert lease is not None
