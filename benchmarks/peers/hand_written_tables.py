"""Kafka into the platform's tables by a hand-written loop: BOOTSTRAP TOPIC MESSAGES HOSTS PORT KEYSPACE; prints JSON.

confluent-kafka, msgspec and batched inserts: what a careful programmer writes in a day. It checks nothing: a message that is
not as expected ends it. Offsets are committed after the rows of a batch are in.
"""

import json
import sys
import time

import msgspec
from confluent_kafka import Consumer
from tables import LATENESS_MS, WINDOW_MS, Tables, add, epoch_ms

AT_ONCE = 5_000


class Message(msgspec.Struct):
    """What is read of a message."""

    device_id: str
    timestamp: str
    metric_name: str
    metric_value: float
    unit: str


def main(bootstrap: str, topic: str, messages: int, hosts: str, port: int, keyspace: str) -> None:
    """Read so many messages and write their rows."""
    tables = Tables(hosts, port, keyspace)
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"hand-{time.time_ns()}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([topic])
    decoder = msgspec.json.Decoder(Message)
    times: dict[str, int] = {}
    open_windows: dict[tuple[str, int], dict] = {}
    newest: dict[int, int] = {}
    partition_of: dict[str, int] = {}
    done, closed, began = 0, 0, 0.0
    while done < messages:
        records = consumer.consume(min(AT_ONCE, messages - done), 1.0)
        if records and not began:
            began = time.perf_counter()
        rows = []
        for record in records:
            message = decoder.decode(record.value())
            at = times.get(message.timestamp)
            if at is None:
                at = times[message.timestamp] = epoch_ms(message.timestamp)
            rows.append((message.device_id, at, message.metric_name, message.metric_value, message.unit))
            window = (message.device_id, at - at % WINDOW_MS)
            add(open_windows.setdefault(window, {}), message.metric_name, message.metric_value)
            partition = record.partition()
            partition_of[message.device_id] = partition
            newest[partition] = max(newest.get(partition, 0), at)
        if len(times) > 100_000:
            times.clear()
        tables.write_raw(rows)
        complete = [key for key in open_windows if key[1] + WINDOW_MS + LATENESS_MS <= newest[partition_of[key[0]]]]
        tables.write_windows([(*key, open_windows.pop(key)) for key in complete])
        closed += len(complete)
        done += len(records)
        if records:
            consumer.commit(asynchronous=False)
    seconds = time.perf_counter() - began
    consumer.close()
    tables.close()
    print(json.dumps({"messages": done, "windows": closed, "seconds": seconds}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], int(sys.argv[5]), sys.argv[6])
