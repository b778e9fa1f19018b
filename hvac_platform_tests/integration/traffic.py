"""Messages that are counted as they are sent, and what must have come of them in the store."""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from hvac_platform.config import CONSUMER_GROUP
from hvac_platform.execution import RunFailedError, ingest_everything
from hvac_platform.log.base import LogError
from hvac_platform.stores.base import StoreError
from hvac_platform_tests.conftest import BAD_VALUES, DAY, MINUTE_MS, NOON_MS, bad, readings, rows

METRICS = ("supply_air_temp", "fan_speed")
WINDOW_MS = MINUTE_MS
SOONEST_RETRY_SECONDS = 0.5


@dataclass
class Traffic:
    """A producer of three devices whose ids no other test uses. It sends again what was not acknowledged, as producers do.

    Attributes:
        good: (device, time, metric) of every good reading.
        good_values: the messages of those, to tell bad ones from them without the platform's decoder.
        again: number of appends that had to be repeated.
    """

    log: object
    topic: str
    devices: tuple[str, ...] = field(default_factory=lambda: tuple(f"RTU-{secrets.token_hex(3)}" for _ in range(3)))
    good: set[tuple[str, int, str]] = field(default_factory=set)
    good_values: set[bytes] = field(default_factory=set)
    again: int = 0
    minute: int = 0

    def send(self, minutes=1, bad_messages=1):
        """The next minutes of every device, one reading of each metric every ten seconds, and some bad messages."""
        start_ms = NOON_MS + self.minute * MINUTE_MS
        self.minute += minutes
        kinds = random.choices(list(BAD_VALUES), k=bad_messages)
        records = [r for device in self.devices for r in readings(device, start_ms, minutes, metrics=METRICS)]
        self.good_values |= {value for _, value, _ in records}
        records += [bad(kind, start_ms, random.choice(self.devices).encode()) for kind in kinds]
        random.shuffle(records)
        self.append(records)
        self.good |= {
            (device, at_ms, metric)
            for device in self.devices
            for at_ms in range(start_ms, start_ms + minutes * MINUTE_MS, 10_000)
            for metric in METRICS
        }

    def append(self, records):
        """Append until it is acknowledged."""
        deadline = time.monotonic() + 120
        while True:
            try:
                self.log.append(self.topic, records)
                return
            except LogError:
                self.again += 1
                if time.monotonic() > deadline:
                    raise
                time.sleep(SOONEST_RETRY_SECONDS)


def ingest_until_in(instance, platform, *, seconds=180):
    """Do what the sensor does, again and again, until nothing is left; the errors on the way."""
    errors, deadline = [], time.monotonic() + seconds
    while True:
        try:
            list(ingest_everything(instance, platform))
            return errors
        except (RunFailedError, StoreError, LogError) as error:  # anything else is a defect
            errors.append(str(error))
            if time.monotonic() > deadline:
                raise
            time.sleep(SOONEST_RETRY_SECONDS)


@dataclass(frozen=True)
class Account:
    """What a test counted; all of ``lost``, ``duplicated``, ``unwindowed``, ``unembedded`` must be 0."""

    sent: int
    lost: int
    duplicated: int
    bad: int
    dead_letters: int
    unwindowed: int
    unembedded: int
    offsets: int

    def __str__(self):
        return (
            f"{self.sent} good readings sent, lost {self.lost}, duplicated {self.duplicated}; "
            f"{self.bad} bad messages in the log, {self.dead_letters} dead letters; "
            f"windows wrong {self.unwindowed}, without vector {self.unembedded}; "
            f"{self.offsets} offsets in the ledger without a gap"
        )


def account(platform, traffic):
    """Count everything that was sent against everything that is stored, and check ledger and group."""
    store, log, topic = platform.store, platform.log, platform.topic
    stored, summaries, vectors = Counter(), {}, {}
    for device in traffic.devices:
        stored.update(rows(store, "device_metrics_raw", "device_id", "timestamp", "metric_name", device_id=device))
        for start, summary, method, blob in rows(
            store,
            "device_state_snapshots",
            *("snapshot_time", "metric_summary", "embedding_method", "embedding"),
            device_id=device,
        ):
            summaries[device, start] = {metric: counts[0] for metric, counts in summary.items()}
            vectors[device, start] = method is not None and blob is not None
    expected = {}
    for device, at_ms, metric in traffic.good:
        window = expected.setdefault((device, at_ms - at_ms % WINDOW_MS), Counter())
        window[metric] += 1
    ends = {p: end for p, end in log.end_offsets(topic).items() if end}
    ledger = store.ledger(topic)
    assert {p: entry.next_offset for p, entry in ledger.items()} == ends
    assert all(entry.skipped_offsets == 0 for entry in ledger.values())
    assert log.committed(CONSUMER_GROUP, topic) == ends
    letters = rows(store, "dead_letters", "kafka_partition", "record_offset", equals=(("topic", topic), ("date", DAY)))
    assert len(letters) == len(set(letters))
    return Account(
        sent=len(traffic.good),
        lost=len(traffic.good - set(stored)),
        duplicated=sum(stored.values()) - len(traffic.good & set(stored)),
        bad=sum(
            value not in traffic.good_values
            for partition, end in ends.items()
            for batch in log.read(topic, partition, log.begin_offsets(topic)[partition], end)
            for value in batch.values
        ),
        dead_letters=len(letters),
        unwindowed=sum(summaries.get(window) != counts for window, counts in expected.items()),
        unembedded=sum(not vectors.get(window, False) for window in expected),
        offsets=sum(ends.values()),
    )


def assert_nothing_lost(account):
    """The four promises of ingestion."""
    assert (account.lost, account.duplicated, account.unwindowed, account.unembedded) == (0, 0, 0, 0), str(account)
    assert account.dead_letters == account.bad, str(account)


def ingested_meanwhile(instance, platform, traffic, disturbances, *, rest_seconds=1.0):
    """Send and ingest while things happen to the servers; errors of ingestion on the way.

    Args:
        instance: Dagster's.
        platform: on the servers.
        traffic: sends a few minutes of readings before each disturbance and after it.
        disturbances: called one after the other, each in the middle of an ingestion.
        rest_seconds: how long ingestion goes on before the next one.
    """
    errors = []
    for disturb in disturbances:
        traffic.send(minutes=20, bad_messages=10)
        ingesting = threading.Thread(target=lambda: errors.extend(ingest_until_in(instance, platform)))
        ingesting.start()
        time.sleep(rest_seconds + random.uniform(0, 1))
        disturb()
        traffic.send(minutes=5, bad_messages=5)
        ingesting.join()
    errors.extend(ingest_until_in(instance, platform))
    return errors
