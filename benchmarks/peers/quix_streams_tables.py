"""Kafka into the platform's tables with Quix Streams: BOOTSTRAP TOPIC MESSAGES HOSTS PORT KEYSPACE; prints JSON.

Readings go to a batching sink, and tumbling windows of 60 s to another; both write as the
hand-written loop does. Without changelog topics; offsets are committed every five seconds, when the sinks are flushed.
"""

import json
import logging
import sys
import tempfile
import time
import warnings

warnings.simplefilter("ignore")

from quixstreams import Application  # noqa: E402
from quixstreams.sinks import BatchingSink, SinkBatch  # noqa: E402
from tables import LATENESS_MS, WINDOW_MS, Tables, add, epoch_ms  # noqa: E402


class Readings(BatchingSink):
    """Raw rows."""

    def __init__(self, tables: Tables) -> None:
        super().__init__()
        self.tables = tables

    def write(self, batch: SinkBatch) -> None:
        """A batch of messages."""
        self.tables.write_raw(
            [
                (r["device_id"], epoch_ms(r["timestamp"]), r["metric_name"], r["metric_value"], r["unit"])
                for r in (item.value for item in batch)
            ]
        )


class Windows(BatchingSink):
    """Snapshots with their vectors."""

    def __init__(self, tables: Tables) -> None:
        super().__init__()
        self.tables, self.windows = tables, 0

    def write(self, batch: SinkBatch) -> None:
        """A batch of windows that are complete."""
        rows = [(str(item.key), item.value["start"], item.value["value"]) for item in batch]
        self.windows += len(rows)
        self.tables.write_windows(rows)


def main(bootstrap: str, topic_name: str, messages: int, hosts: str, port: int, keyspace: str) -> None:
    """Read so many messages and write their rows."""
    tables = Tables(hosts, port, keyspace)
    windows = Windows(tables)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as state:
        application = Application(
            broker_address=bootstrap,
            consumer_group=f"quix-{time.time_ns()}",
            auto_offset_reset="earliest",
            commit_interval=5,
            use_changelog_topics=False,
            auto_create_topics=False,
            state_dir=state,
            loglevel=logging.ERROR,
        )
        topic = application.topic(topic_name, value_deserializer="json", key_deserializer="str")
        frame = application.dataframe(topic)
        frame.sink(Readings(tables))

        def counted(sums: dict, reading: dict) -> dict:
            return add(sums, reading["metric_name"], reading["metric_value"])

        def first(reading: dict) -> dict:
            return counted({}, reading)

        frame.tumbling_window(WINDOW_MS, grace_ms=LATENESS_MS).reduce(counted, first).final().sink(windows)
        application.run(count=messages, timeout=300, collect=False)
    seconds = time.perf_counter() - began
    tables.close()
    print(json.dumps({"messages": messages, "windows": windows.windows, "seconds": seconds}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], int(sys.argv[5]), sys.argv[6])
