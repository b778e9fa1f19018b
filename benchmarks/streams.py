"""Reading a Kafka topic: the platform beside a bare kafka-python loop and stream processors, in one run.

`python -m benchmarks.streams --bootstrap 127.0.0.1:9092`; without it, a Kafka of its own is started. What is compared takes
turns, so that a change of the machine's speed hits all; medians are shown, in messages a second of wall and of CPU time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import secrets
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import msgspec
import numpy as np
from kafka import KafkaConsumer, TopicPartition

from hvac_platform.devices.fleet import default_fleet
from hvac_platform.ingestion.messages import DecodedBatch, Metric, decode_batch
from hvac_platform.ingestion.windows import aggregate_windows
from hvac_platform.log.base import KEEP_FOREVER
from hvac_platform.log.kafka.kafka_log import KafkaLog
from hvac_platform.simulation.fleet_simulation import FleetSimulation
from hvac_platform.simulation.streaming import stream_history
from hvac_platform.timestamps import day_start, now_ms, window_floor

DAY = "2026-06-10"
WINDOW_MS = 60_000
INTERVAL_MS = 10_000
HOURS = 24
TURNS = 3
PEERS = {
    "Quix Streams: the same means": ("quix_streams", ()),
    "Bytewax: the same means": ("bytewax", ()),
    "Bytewax, tuned by hand": ("bytewax", ("tuned",)),
}


@dataclass(frozen=True)
class Turn:
    """One reading of the whole topic."""

    messages: int
    seconds: float
    cpu_seconds: float
    windows: int = 0


def say(what: str, figure: str, note: str = "") -> None:
    print(f"{what:<58}{figure:>18}   {note}".rstrip(), flush=True)


def timed(work: Callable[[], tuple[int, int]]) -> Turn:
    """Run one turn; ``work`` gives messages and windows."""
    wall, cpu = time.perf_counter(), time.process_time()
    messages, windows = work()
    return Turn(messages, time.perf_counter() - wall, time.process_time() - cpu, windows)


def bare_loop(bootstrap: str, topic: str, ends: dict[int, int]) -> tuple[int, int]:
    """What a bare kafka-python loop with msgspec decoding does: read, decode, count."""
    decode = msgspec.json.Decoder(Metric).decode
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    assigned = [TopicPartition(topic, partition) for partition, end in ends.items() if end]
    consumer.assign(assigned)
    consumer.seek_to_beginning(*assigned)
    wanted, messages = sum(ends.values()), 0
    while messages < wanted:
        for records in consumer.poll(timeout_ms=1000, max_records=50_000).values():
            for record in records:
                decode(record.value)
            messages += len(records)
    consumer.close()
    return messages, 0


class MeansByWindow:
    """Means of every metric over each window, as batches of readings come in; holds the open window of each device."""

    def __init__(self) -> None:
        self.windows = 0
        self._open: dict[str, tuple[np.ndarray, list[str], np.ndarray]] = {}

    def add(self, decoded: DecodedBatch) -> None:
        """Close all windows but the last of each device."""
        codes_of = {device: code for code, device in enumerate(dict.fromkeys(decoded.device_id))}
        codes = np.fromiter(map(codes_of.__getitem__, decoded.device_id), dtype=np.int64, count=len(decoded))
        names = np.array(decoded.metric_name, dtype=object)
        for device, code in codes_of.items():
            rows = np.flatnonzero(codes == code)
            times, metrics, values = decoded.timestamps_ms[rows], names[rows].tolist(), decoded.metric_value[rows]
            if device in self._open:
                earlier = self._open[device]
                times = np.concatenate([earlier[0], times])
                metrics, values = earlier[1] + metrics, np.concatenate([earlier[2], values])
            last = int(np.searchsorted(times, window_floor(times[-1:], WINDOW_MS)[0]))
            self._open[device] = (times[last:], metrics[last:], values[last:])
            self._close(times[:last], metrics[:last], values[:last])

    def close(self) -> int:
        """Close the open windows too; how many windows there were."""
        for part in self._open.values():
            self._close(*part)
        self._open.clear()
        return self.windows

    def _close(self, times: np.ndarray, metrics: list[str], values: np.ndarray) -> None:
        if len(times):
            self.windows += len(aggregate_windows(times, metrics, values, WINDOW_MS).starts_ms)


def platform_loop(log: KafkaLog, topic: str, ends: dict[int, int]) -> tuple[int, int]:
    """Kafka → decode and check → windows, as the platform does it, without a store."""
    messages, means, now = 0, MeansByWindow(), now_ms()
    for partition, end in ends.items():
        for batch in log.read(topic, partition, 0, end) if end else ():
            decoded, rejected = decode_batch(batch, now_ms=now)
            means.add(decoded)
            messages += len(decoded) + len(rejected)
    return messages, means.close()


def fill(log: KafkaLog, topic: str, hours: int) -> dict[int, int]:
    """The default fleet's readings of some hours; end offset of each partition."""
    log.create_topic(topic, retention_ms=KEEP_FOREVER)
    fleet, start = default_fleet(), day_start(DAY)
    simulation = FleetSimulation(fleet, seed=5)
    for _ in stream_history(log, topic, simulation, fleet, start, start + hours * 3_600_000, INTERVAL_MS):
        pass
    return log.end_offsets(topic)


def peer(name: str, options: Sequence[str], python: Path, bootstrap: str, topic: str, messages: int) -> Turn:
    """One turn of a stream processor in a process of its own; its time is from the first message to the last window."""
    script = Path(__file__).parent / "peers" / f"{name}_mean.py"
    done = subprocess.run(
        [str(python), str(script), bootstrap, topic, str(messages), *options],
        capture_output=True,
        text=True,
        timeout=900,
    )
    if done.returncode:
        raise RuntimeError(f"{name} failed:\n{done.stderr[-2000:]}")
    told = json.loads(done.stdout.strip().splitlines()[-1])
    return Turn(told["messages"], told["seconds"], told["cpu_seconds"], told["windows"])


@contextlib.contextmanager
def own_kafka() -> Iterator[str]:
    """A Kafka of the tests' harness for as long as the benchmark runs; gives its address."""
    from devtools.services.base import DEFAULT_FOLDER, free_port
    from devtools.services.kafka import Kafka

    with tempfile.TemporaryDirectory(prefix="hvac-bench-kafka-") as folder:
        broker = Kafka(DEFAULT_FOLDER / "cache", Path(folder), free_port())
        broker.up()
        try:
            yield broker.bootstrap_servers
        finally:
            broker.down()


def run(bootstrap: str, *, hours: int = HOURS, turns: int = TURNS, peers_python: Path | None = None) -> None:
    """Fill a topic and read it in turns; prints rates and ratios."""
    topic = f"bench-{secrets.token_hex(4)}"
    log = KafkaLog(bootstrap)
    began = time.perf_counter()
    ends = fill(log, topic, hours)
    total = sum(ends.values())
    say("Kafka: produce (gzip, acks=all, with the simulation)", f"{total / (time.perf_counter() - began):,.0f} msg/s")
    ways: dict[str, Callable[[], Turn]] = {
        "bare kafka-python + msgspec": lambda: timed(lambda: bare_loop(bootstrap, topic, ends)),
        "platform: decode, check, windows": lambda: timed(lambda: platform_loop(log, topic, ends)),
    }
    if peers_python is not None:
        for way, (name, options) in PEERS.items():
            ways[way] = lambda name=name, options=options: peer(  # type: ignore[misc]
                name, options, peers_python, bootstrap, topic, total
            )
    taken: dict[str, list[Turn]] = defaultdict(list)
    for _ in range(turns):
        for way, turn in ways.items():
            taken[way].append(turn())
            if taken[way][-1].messages != total:
                raise RuntimeError(f"{way} read {taken[way][-1].messages} of {total} messages")
    rate = {way: median(t.messages / t.seconds for t in found) for way, found in taken.items()}
    cpu = {way: median(t.messages / t.cpu_seconds for t in found) for way, found in taken.items()}
    bare, own = list(ways)[:2]
    for way, found in taken.items():
        against = (
            f"{rate[way] / rate[bare]:.2f} of bare (CPU {cpu[way] / cpu[bare]:.2f})"
            if way.startswith("platform")
            else f"platform is {rate[own] / rate[way]:.1f} times as fast (CPU {cpu[own] / cpu[way]:.1f})"
            if way != bare
            else ""
        )
        windows = f"{found[0].windows} windows" if found[0].windows else ""
        note = "; ".join(part for part in (against, windows, f"CPU {cpu[way]:,.0f} msg/s") if part)
        say(way, f"{rate[way]:,.0f} msg/s", note)
    log.close()


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bootstrap", help="address of a broker; one is started when absent")
    parser.add_argument("--hours", type=int, default=HOURS, help="hours of the five-device fleet at 10 s in the topic")
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--peers-python", type=Path, help="interpreter that has the stream processors installed")
    options = parser.parse_args()
    with contextlib.nullcontext(options.bootstrap) if options.bootstrap else own_kafka() as bootstrap:
        run(bootstrap, hours=options.hours, turns=options.turns, peers_python=options.peers_python)


if __name__ == "__main__":
    main()
