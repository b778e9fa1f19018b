"""Messages that lie, and a consumer group that is reset: every bad message is kept, every good one is in."""

from __future__ import annotations

import json
import random
import string

from kafka import KafkaAdminClient

from hvac_platform.config import CONSUMER_GROUP
from hvac_platform.execution import ingest_everything
from hvac_platform_tests.conftest import NOON_MS, reading
from hvac_platform_tests.integration.traffic import account, assert_nothing_lost

FUZZED = 100_000


def fuzzed(count, seed):
    """Messages none of which is good, made from good ones; the kinds of damage take turns."""
    generator = random.Random(seed)
    text = string.ascii_letters + "äß中\u0000\t"

    def word(n):
        return "".join(generator.choices(text, k=n))

    def changed(**fields):
        good = json.loads(reading("RTU-001", NOON_MS + generator.randrange(3_600_000))[1]) | fields
        return json.dumps({name: value for name, value in good.items() if value is not ...})

    names = ["device_id", "device_type", "timestamp", "metric_name", "metric_value"]
    wrong = [None, [], {}, [1], {"a": 1}]  # not true or false: a status reading may be one
    damages = [
        lambda: generator.randbytes(generator.randrange(1, 300)),
        lambda: changed()[: generator.randrange(1, 100)].encode(),
        lambda: changed(**{generator.choice(names): ...}).encode(),
        lambda: changed(**{generator.choice(names): generator.choice(wrong)}).encode(),
        lambda: changed(metric_value=word(5)).encode(),
        lambda: changed(timestamp=word(20)).encode(),
        lambda: changed(metric_value=generator.choice([float("nan"), float("inf"), -float("inf")])).encode(),
        lambda: changed(device_id=word(generator.randrange(129, 400))).encode(),
        lambda: changed(timestamp=f"{generator.randrange(2500, 9999)}-01-01T00:00:00Z").encode(),
        lambda: b"[" * generator.randrange(1, 2000) + changed().encode(),
        lambda: changed().encode().replace(b"RTU", generator.choice([b"\xff\xfe", b"\xc3\x28", b"\xed\xa0\x80"])),
        lambda: b"",
        lambda: changed().encode() + generator.choice([b"}", b"garbage", b",", b'{"a":1}']),
    ]
    at = NOON_MS
    return [(b"RTU-001", damages[i % len(damages)](), at) for i in range(count)]


def test_a_hundred_thousand_fuzzed_messages_among_good_ones(instance, servers, traffic, say):
    rubbish = fuzzed(FUZZED, seed=11)
    random.shuffle(rubbish)
    for first in range(0, FUZZED, FUZZED // 20):
        traffic.append(rubbish[first : first + FUZZED // 20])
        traffic.send(minutes=10, bad_messages=0)
    list(ingest_everything(instance, servers))
    counted = account(servers, traffic)
    say(counted)
    assert_nothing_lost(counted)
    assert counted.dead_letters == FUZZED


def test_a_consumer_group_that_is_reset_changes_nothing(instance, servers, traffic, say):
    traffic.send(minutes=3, bad_messages=3)
    list(ingest_everything(instance, servers))
    runs = instance.get_runs_count()
    servers.log.commit(CONSUMER_GROUP, servers.topic, dict.fromkeys(servers.log.partitions(servers.topic), 0))
    assert list(ingest_everything(instance, servers)) == []  # the ledger is what counts
    assert instance.get_runs_count() == runs
    with KafkaAdminClient(bootstrap_servers=servers.log.bootstrap_servers) as admin:
        admin.delete_groups([CONSUMER_GROUP])
    traffic.send(minutes=3, bad_messages=3)
    list(ingest_everything(instance, servers))
    counted = account(servers, traffic)
    say(counted)
    assert_nothing_lost(counted)
