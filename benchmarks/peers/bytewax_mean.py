"""Mean of every metric over 60 s windows with Bytewax: BOOTSTRAP TOPIC MESSAGES [tuned]; prints what it took as JSON.

Keyed by device and metric with the window operators' defaults; or tuned by hand: keyed by device, with the sums of all
metrics in one state, and without the default ordering by time, which a mean does not need.
"""

import json
import sys
import time
from datetime import UTC, datetime, timedelta

import bytewax.operators as op
import bytewax.operators.windowing as win
import orjson
from bytewax.connectors.kafka import KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main

ALIGNED_TO = datetime(2020, 1, 1, tzinfo=UTC)


class Counting(StatelessSinkPartition):
    """Takes the windows that close."""

    windows = 0

    def write_batch(self, items: list) -> None:
        """Compute the means; keep nothing."""
        for _, (_, sums) in items:
            {name: total / count for name, (total, count) in sums.items()}
        Counting.windows += len(items)


class Counted(DynamicSink):
    """The sink of the dataflow."""

    def build(self, _step: str, _index: int, _count: int) -> Counting:
        """One for each worker."""
        return Counting()


def main(bootstrap: str, topic: str, tuned: bool) -> None:
    """Read all messages, keep sums and counts by device and metric, count the windows that close."""
    read, began, cpu = 0, 0.0, 0.0

    def decoded(message) -> tuple[str, tuple[datetime, str, float]]:  # noqa: ANN001
        nonlocal read, began, cpu
        if not read:
            began, cpu = time.perf_counter(), time.process_time()
        read += 1
        reading = orjson.loads(message.value)
        at = datetime.fromisoformat(reading["timestamp"])
        key = reading["device_id"] if tuned else f"{reading['device_id']}/{reading['metric_name']}"
        return key, (at, reading["metric_name"], reading["metric_value"])

    def add(sums: dict, reading: tuple[datetime, str, float]) -> dict:
        entry = sums.setdefault(reading[1], [0.0, 0])
        entry[0] += reading[2]
        entry[1] += 1
        return sums

    flow = Dataflow("means")
    # tail=False: it ends with the topic.
    messages_in = op.input("in", flow, KafkaSource([bootstrap], [topic], tail=False, batch_size=10_000))
    readings = op.map("decode", messages_in, decoded)
    clock = win.EventClock(lambda reading: reading[0], wait_for_system_duration=timedelta(0))
    windower = win.TumblingWindower(length=timedelta(seconds=60), align_to=ALIGNED_TO)
    means = win.fold_window("mean", readings, clock, windower, dict, add, lambda a, b: {**a, **b}, ordered=not tuned)
    op.output("out", means.down, Counted())
    run_main(flow, epoch_interval=timedelta(seconds=10))
    told = {"messages": read, "windows": Counting.windows, "seconds": time.perf_counter() - began}
    print(json.dumps(told | {"cpu_seconds": time.process_time() - cpu}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[4:] == ["tuned"])
