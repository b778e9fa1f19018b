"""What the CQL store promises when nodes are killed and networks fail: no acknowledged row is lost, and errors say why.

Every test counts the rows that were acknowledged and the rows that are there afterwards, and prints both.
"""

from __future__ import annotations

import secrets
import threading
import time

import numpy as np
import pytest

from devtools.services.base import DEFAULT_FOLDER, free_port
from devtools.services.cassandra import Cassandra, wait_for_nodes
from devtools.services.proxy import TcpProxy
from hvac_platform.stores.base import Device, StoreError, TableSlice
from hvac_platform.stores.cql import CqlSettings, CqlStore
from hvac_platform.timestamps import day_start

START_MS = day_start("2026-06-10")
ROWS = 500
CACHE = DEFAULT_FOLDER / "cache"


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """A node that acknowledges what is on disk; whoever kills it starts it again."""
    started = Cassandra(CACHE, tmp_path_factory.mktemp("node"), free_port(), commitlog_sync="group")
    started.up()
    yield started
    started.down()


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two nodes of one cluster."""
    port = free_port()
    first = Cassandra(CACHE, tmp_path_factory.mktemp("first"), port, address="127.0.0.2", commitlog_sync="group")
    first.up()
    second = Cassandra(
        CACHE, tmp_path_factory.mktemp("second"), port, address="127.0.0.3", joins=first, commitlog_sync="group"
    )
    second.up()
    wait_for_nodes(first, 2)
    wait_for_nodes(second, 2)
    yield first, second
    second.kill()
    first.kill()


def settings(hosts, port, **changes):
    known = {"keyspace": f"hvac_{secrets.token_hex(4)}", "replication_factor": len(hosts), "patience_seconds": 4.0}
    return CqlSettings(tuple(hosts), port=port, **(known | {"request_seconds": 3.0} | changes))


def readings(batch):
    """One batch of readings that no other has: its own device, so that the partitions spread over the nodes."""
    return {
        "device_id": [f"d-{batch}"] * ROWS,
        "timestamp": START_MS + np.arange(ROWS, dtype=np.int64) * 1000,
        "metric_name": ["power_consumption"] * ROWS,
        "metric_value": np.arange(ROWS, dtype=float) + batch,
        "unit": ["kW"] * ROWS,
    }


class Writer:
    """Writes batch after batch until it is stopped; a batch that fails is written again, as a retried step would."""

    def __init__(self, store):
        self.store = store
        self.acknowledged = 0
        self.errors: list[str] = []
        self.rejected: list[Exception] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self):
        while not self._stop.is_set():
            try:
                device = Device(f"d-{self.acknowledged}", "rooftop_unit", "A", "1", START_MS, START_MS, 0)
                self.store.register_devices([device])
                self.store.upsert("device_metrics_raw", readings(self.acknowledged))
                self.acknowledged += 1
            except StoreError as error:
                self.errors.append(str(error))
            except Exception as error:  # anything else is a finding of the test
                self.rejected.append(error)
                return

    def wait_for(self, batches, seconds=120):
        """Until so many more batches are acknowledged."""
        goal, deadline = self.acknowledged + batches, time.monotonic() + seconds
        while self.acknowledged < goal:
            assert not self.rejected, self.rejected
            assert time.monotonic() < deadline, f"{self.acknowledged} of {goal} batches: {self.errors[-3:]}"
            time.sleep(0.02)

    def wait_for_error(self, seconds=60):
        seen, deadline = len(self.errors), time.monotonic() + seconds
        while len(self.errors) == seen:
            assert not self.rejected, self.rejected
            assert time.monotonic() < deadline, "no error came"
            time.sleep(0.02)
        return self.errors[-1]

    def finish(self):
        self._stop.set()
        self._thread.join()
        assert not self.rejected, self.rejected
        return self.acknowledged


def counted(store, batches, say, what, errors=()):
    """(rows lost, rows twice, batches that differ from what was written); printed."""
    lost, duplicated, wrong = 0, 0, 0
    for batch in range(batches):
        times, values = [], []
        for part in store.scan(TableSlice("device_metrics_raw", ("timestamp", "metric_value"), f"d-{batch}")):
            times += part["timestamp"]
            values += part["metric_value"]
        written = readings(batch)
        lost += len(set(written["timestamp"].tolist()) - set(times))
        duplicated += len(times) - len(set(times))
        wrong += values != written["metric_value"].tolist()
    say(
        f"{what}: {batches * ROWS} rows acknowledged, lost {lost}, duplicated {duplicated}",
        f"{wrong} batches differ, {len(errors)} failed calls",
    )
    return lost, duplicated, wrong


def assert_nothing_lost(counts):
    assert counts == (0, 0, 0)


def test_a_killed_node_loses_no_acknowledged_row(node, say):
    store = CqlStore(settings(["127.0.0.1"], node.port))
    writer = Writer(store)
    for _ in range(3):
        writer.wait_for(5)
        node.kill()
        error = writer.wait_for_error()
        assert "no node can be used" in error or "no answer within 3 s" in error
        assert "Check" in error
        node.up()
        writer.wait_for(3)
    batches = writer.finish()
    assert_nothing_lost(counted(store, batches, say, "one node, kill -9 three times", writer.errors))
    store.close()


def test_the_ledger_moves_once_whatever_the_node_does(node, say):
    store = CqlStore(settings(["127.0.0.1"], node.port))
    moved, stop = [], threading.Event()

    def advance():
        while not stop.is_set():
            at = len(moved)
            try:
                if store.advance_ledger("t", 0, at * 10, at * 10 + 10, run_id=f"run-{at}", watermark=at):
                    moved.append(at)
                else:
                    moved.append(None)  # found by the assertion below
            except StoreError:
                continue

    thread = threading.Thread(target=advance, daemon=True)
    thread.start()

    def wait_for_moves(count):
        goal, deadline = len(moved) + count, time.monotonic() + 60
        while len(moved) < goal:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    for _ in range(2):
        wait_for_moves(5)
        node.kill()
        node.up()
    wait_for_moves(5)
    stop.set()
    thread.join()
    entry = store.ledger("t")[0]
    say(f"{len(moved)} moves, stands at {entry.next_offset}")
    assert None not in moved
    assert entry.next_offset == 10 * len(moved)
    store.close()


def test_with_two_replicas_a_killed_node_stops_quorum_writes_and_loses_nothing(pair, say):
    first, second = pair
    store = CqlStore(settings([first.address, second.address], first.port))
    writer = Writer(store)
    writer.wait_for(10)
    second.kill()
    seen = [writer.wait_for_error() for _ in range(6)]  # the first may come before the other node has noticed
    assert "consistency LOCAL_QUORUM needs 2 replicas and 1 are alive" in seen[-1]
    before = writer.acknowledged
    second.up()
    wait_for_nodes(first, 2)
    writer.wait_for(10)
    batches = writer.finish()
    assert before < batches
    assert_nothing_lost(counted(store, batches, say, "two nodes, LOCAL_QUORUM, one killed", writer.errors))
    store.close()


def test_with_one_acknowledgement_writing_goes_on_while_a_node_is_down(pair, say):
    first, second = pair
    one = settings([first.address, second.address], first.port, consistency="LOCAL_ONE", patience_seconds=20.0)
    store = CqlStore(one)
    writer = Writer(store)
    writer.wait_for(10)
    second.kill()
    writer.wait_for(30)
    second.up()
    wait_for_nodes(first, 2)
    writer.wait_for(10)
    batches = writer.finish()
    assert writer.errors == []
    quorum = CqlStore(settings([first.address, second.address], first.port, keyspace=one.keyspace))
    counts = counted(quorum, batches, say, "two nodes, LOCAL_ONE, one killed", writer.errors)
    assert_nothing_lost(counts)
    quorum.close()
    store.close()


@pytest.mark.parametrize("fault", ["pause", "cut"])
def test_a_network_that_fails_ends_in_a_clear_error_and_a_later_success(node, say, fault):
    with TcpProxy("127.0.0.1", node.port) as proxy:
        store = CqlStore(settings(["127.0.0.1"], proxy.port))
        writer = Writer(store)
        writer.wait_for(5)
        getattr(proxy, fault)()
        error = writer.wait_for_error()
        assert "the store at 127.0.0.1" in error
        if fault == "pause":
            assert "no answer within 3 s. Check the network" in error or "no node can be used" in error
        else:
            assert "no node can be used" in error
        proxy.heal()
        writer.wait_for(5)
        batches = writer.finish()
        assert_nothing_lost(counted(store, batches, say, f"network {fault}", writer.errors))
        store.close()


def test_a_slow_network_is_slow_and_nothing_else(node, say):
    with TcpProxy("127.0.0.1", node.port) as proxy:
        store = CqlStore(settings(["127.0.0.1"], proxy.port))
        writer = Writer(store)
        writer.wait_for(3)
        proxy.slow(0.2)
        writer.wait_for(3)
        proxy.heal()
        batches = writer.finish()
        assert writer.errors == []
        assert_nothing_lost(counted(store, batches, say, "network slowed by 0.2 s a packet", writer.errors))
        store.close()
