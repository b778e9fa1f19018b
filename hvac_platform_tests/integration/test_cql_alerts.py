"""Alerts on a real Cassandra: planned, sent once, in order, explained; one deliverer at a time."""

from __future__ import annotations

import pytest

from hvac_platform.alerts.delivery import Deliverer
from hvac_platform.alerts.explaining import explain
from hvac_platform.alerts.outbox import read_outbox
from hvac_platform.alerts.tree import parse_tree
from hvac_platform.alerts.troubles import Trouble, clear_trouble, open_troubles, raise_trouble
from hvac_platform.config import Settings
from hvac_platform.monitoring.counted import count_judged, windows_judged
from hvac_platform.stores.cql import CqlSettings, CqlStore
from hvac_platform.timestamps import now_ms
from hvac_platform_tests.alerts.conftest import Happenings, incident

TREE = "receivers: {screen: {console: true}}\nroute: {receivers: [screen], cool_down: 10m}\n"


@pytest.fixture(scope="module")
def store(node, keyspace):
    opened = CqlStore(CqlSettings(("127.0.0.1",), port=node.port, keyspace=keyspace, replication_factor=1))
    yield opened
    opened.close()


def test_alerts_are_planned_and_sent_as_on_the_embedded_store(store):
    now, printed = now_ms(), []
    happenings, tree = Happenings(store), parse_tree(TREE, {})
    one, again = incident("RTU-001", now - 60_000), incident("RTU-001", now - 1_000)
    happenings.record(one, again)
    deliverer = Deliverer(store, Settings(), tree=tree, write=printed.append)
    other = Deliverer(store, Settings(), tree=tree, write=printed.append)
    for transition, happened in (("opened", one), ("opened", again), ("resolved", one)):
        happenings.happens(transition, happened, at_ms=now)
        assert deliverer.deliver_everything(300)
    other.step(at_once=True)
    assert (deliverer.delivers, other.delivers) == (True, False)
    assert [text.split()[1] for text in printed] == ["RTU-001", "over:"]
    explained = {
        (e.transition, str(e.decision.action), e.state) for e in explain(store, tree, again.incident_id, "RTU-001", now)
    }
    assert explained == {("opened", "hold", "waiting")}, "it is told when the cool-down ends"
    assert raise_trouble(store, Trouble("lag", "partition-0", "warning", "late"), now)
    assert not raise_trouble(store, Trouble("lag", "partition-0", "warning", "late"), now + 1)
    assert clear_trouble(store, "lag", "partition-0", now + 2)
    assert open_troubles(store, now) == []
    assert deliverer.deliver_everything(300)
    assert len(printed) == 4
    deliverer.close()
    assert {row.state for row in read_outbox(store, now)} == {"planned", "sent", "waiting"}
    for n in (3, 4):
        count_judged(store, n)
    assert windows_judged(store) == 7
