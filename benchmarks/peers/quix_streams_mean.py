"""Mean of every metric over 60 s windows with Quix Streams: BOOTSTRAP TOPIC MESSAGES; prints what it took as JSON.

Without changelog topics, and with a commit interval longer than the run: the least it can be asked to do.
"""

import json
import logging
import sys
import tempfile
import time
import warnings

warnings.simplefilter("ignore")

from quixstreams import Application  # noqa: E402


def main(bootstrap: str, topic_name: str, messages: int) -> None:
    """Read all messages, keep sums and counts by device and metric, count the windows that close."""
    windows = 0
    span = [0.0, 0.0, 0.0]  # first message, last message, CPU at the first

    def first(reading: dict) -> dict:
        return {reading["metric_name"]: [reading["metric_value"], 1]}

    def add(sums: dict, reading: dict) -> dict:
        entry = sums.setdefault(reading["metric_name"], [0.0, 0])
        entry[0] += reading["metric_value"]
        entry[1] += 1
        return sums

    def closed(result: dict) -> None:
        nonlocal windows
        windows += 1
        {name: total / count for name, (total, count) in result["value"].items()}

    def noted(_topic: str, _partition: int, _offset: int) -> None:
        if not span[0]:
            span[0], span[2] = time.perf_counter(), time.process_time()
        span[1] = time.perf_counter()

    with tempfile.TemporaryDirectory() as state:
        application = Application(
            broker_address=bootstrap,
            consumer_group=f"quix-{time.time_ns()}",
            auto_offset_reset="earliest",
            commit_interval=3600,
            use_changelog_topics=False,
            auto_create_topics=False,
            state_dir=state,
            loglevel=logging.ERROR,
            on_message_processed=noted,
        )
        topic = application.topic(topic_name, value_deserializer="json", key_deserializer="str")
        frame = application.dataframe(topic)
        frame.tumbling_window(60_000).reduce(add, first).final().update(closed)
        application.run(count=messages, timeout=120, collect=False)
    told = {"messages": messages, "windows": windows, "seconds": span[1] - span[0]}
    print(json.dumps(told | {"cpu_seconds": time.process_time() - span[2]}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
