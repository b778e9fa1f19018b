"""A deliverer that is killed at any moment: what was decided arrives, and hardly anything twice."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter

from hvac_platform.alerts.delivery import Deliverer
from hvac_platform.alerts.outbox import read_outbox
from hvac_platform.alerts.tree import parse_tree
from hvac_platform.config import Settings
from hvac_platform.runtime.connections import open_store
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.timestamps import now_ms
from hvac_platform_tests.alerts.conftest import Happenings, incident
from hvac_platform_tests.conftest import start_process

KILLS, INCIDENTS = 20, 150


def deliver(text):
    """In a process of its own, until it is killed or everything is delivered."""
    settings = Settings()
    deliverer = Deliverer(open_store(settings), settings, tree=parse_tree(text, {}), holder="deliverer")
    deliverer.deliver_everything(60)
    deliverer.run(threading.Event())


def test_twenty_kills_between_decision_and_delivery_lose_nothing(home, http, smtp, say):
    text = (
        "storm: 10000\ngroup_wait: 0s\nreceivers:\n"
        f"  cmms: {{webhook: {{url: '{http.url}'}}}}\n"
        "  team: {email: {to: [a@example.com], from: b@example.com, server: 127.0.0.1, "
        f"port: {smtp.port}, security: none}}}}\nroute: {{receivers: [cmms, team]}}\n"
    )
    store, now, chance = EmbeddedStore(home / "store.db"), now_ms(), random.Random(15)
    many = [incident(f"RTU-{i:03d}", now + i) for i in range(INCIDENTS)]
    happenings = Happenings(store)
    happenings.record(*many)
    happenings.happens("opened", *many, at_ms=now)
    for kill in range(KILLS):
        if kill == KILLS // 2:
            happenings.happens("resolved", *many, at_ms=now + 1)
        before, wanted = len(http.taken) + len(smtp.mails), chance.randrange(0, 20)
        process = start_process(home, deliver, text)
        end = time.monotonic() + 240
        while len(http.taken) + len(smtp.mails) < before + wanted and time.monotonic() < end:
            time.sleep(0.001)
        if wanted < 5:
            time.sleep(chance.random() * 0.3)  # while it starts, plans, or writes
        process.kill()
        process.join()
    process = start_process(home, deliver, text)
    end = time.monotonic() + 240
    while time.monotonic() < end and any(row.state in ("new", "waiting") for row in read_outbox(store, now)):
        time.sleep(0.1)
    process.kill()
    process.join()
    store.close()
    wanted = {f"{one.incident_id}#{transition}" for one in many for transition in ("opened", "resolved")}
    events = Counter(taken.event["id"] for taken in http.taken)
    mails = Counter(mail["message-id"] for mail in smtp.mails)
    say(f"{KILLS} kills, {2 * len(wanted)} messages", f"webhooks twice {events.total() - len(events)}")
    say(f"mails twice {mails.total() - len(mails)}")
    assert events.keys() == wanted  # each key is there: a receiver that deduplicates by it has each once
    assert len(mails) == len(wanted)
    assert events.total() - len(events) <= KILLS
    assert mails.total() - len(mails) <= KILLS
