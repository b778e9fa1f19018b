"""The platform on Kafka and Cassandra beside what it is compared with; prints, judges nothing. `make bench SERVICES=1`.

Uses the servers that KAFKA_BOOTSTRAP_SERVERS and SCYLLA_HOSTS name, in topics and keyspaces of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from statistics import median

from cassandra.cluster import Cluster
from cassandra.query import SimpleStatement
from kafka import KafkaConsumer, TopicPartition

from benchmarks import cql, recall, streams
from benchmarks.run import ingest
from hvac_platform.config import Settings, load_settings
from hvac_platform.log.base import MessageLog
from hvac_platform.runtime.connections import open_log, open_store
from hvac_platform.timestamps import DAY_MS, day_start, days_before

PIPELINE_HOURS = 8
PIPELINE_TURNS = 5
NAIVE_SECONDS = 15.0
TABLES_HOURS, TABLES_TURNS = 24, 3
TABLES_PEERS = {
    "Quix Streams, the same rows": "quix_streams_tables.py",
    "a hand-written loop, the same rows": "hand_written_tables.py",
}
PARTS = ("streams", "cql", "pipeline", "tables", "recall", "backfill")


def say(what: str, figure: str, note: str = "") -> None:
    print(f"{what:<58}{figure:>18}   {note}".rstrip(), flush=True)


def own_names() -> Settings:
    """Settings with a topic and a keyspace that nothing else uses."""
    mark = secrets.token_hex(4)
    os.environ.update(KAFKA_TOPIC=f"bench-{mark}", SCYLLA_KEYSPACE=f"bench_{mark}", KAFKA_RETENTION_DAYS="36500")
    return load_settings()


def servers_cpu() -> float:
    """Processor seconds so far of the Kafka and the Cassandra that the tests' harness runs here; 0 for servers elsewhere."""
    from devtools.services.base import DEFAULT_FOLDER
    from devtools.services.cassandra import Cassandra
    from devtools.services.kafka import Kafka

    seconds = 0.0
    for kind in (Kafka, Cassandra):
        running = kind(DEFAULT_FOLDER / "cache", DEFAULT_FOLDER / kind.name).running()
        if running is not None:
            fields = Path(f"/proc/{running.pid}/stat").read_text().rpartition(")")[2].split()
            seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return seconds


@dataclass(frozen=True)
class Pass:
    """What some messages took."""

    messages: int
    seconds: float
    cpu_seconds: float
    servers_cpu_seconds: float


@dataclass(frozen=True)
class Clocks:
    """Where the clocks stood."""

    wall: float
    cpu: float
    servers: float

    @classmethod
    def now(cls) -> Clocks:
        """Where they stand."""
        return cls(time.perf_counter(), time.process_time(), servers_cpu())

    def until_now(self, messages: int) -> Pass:
        """What some messages took since then."""
        now = Clocks.now()
        return Pass(messages, now.wall - self.wall, now.cpu - self.cpu, now.servers - self.servers)


def message_at_a_time(settings: Settings, ends: dict[int, int], seconds: float) -> Pass:
    """A consumer that handles one message after the other for so many seconds: decode, then two synchronous inserts."""
    cluster = Cluster(settings.scylla_hosts.split(","), port=settings.scylla_port)
    session = cluster.connect()
    keyspace = settings.scylla_keyspace
    raw = session.prepare(
        f"INSERT INTO {keyspace}.device_metrics_raw (device_id, date, timestamp, metric_name, metric_value, unit) "
        "VALUES (?,?,?,?,?,?)"
    )
    buffer = session.prepare(
        f"INSERT INTO {keyspace}.metric_aggregation_buffer "
        "(device_id, window_start, metric_name, metric_value, last_updated) VALUES (?,?,?,?,?)"
    )
    consumer = KafkaConsumer(bootstrap_servers=settings.kafka_bootstrap_servers, enable_auto_commit=False)
    assigned = [TopicPartition(settings.kafka_topic, partition) for partition, end in ends.items() if end]
    consumer.assign(assigned)
    consumer.seek_to_beginning(*assigned)
    messages = 0
    first = next(consumer)
    began = Clocks.now()
    for record in chain([first], consumer):
        reading = json.loads(record.value)
        device, at, metric, value = (
            reading[name] for name in ("device_id", "timestamp", "metric_name", "metric_value")
        )
        session.execute(raw, (device, at[:10], record.timestamp, metric, value, reading["unit"]))
        session.execute(buffer, (device, record.timestamp // 60_000 * 60_000, metric, value, record.timestamp))
        messages += 1
        if time.perf_counter() - began.wall > seconds:
            break
    done = began.until_now(messages)
    consumer.close()
    cluster.shutdown()
    return done


def drop_keyspace(settings: Settings) -> None:
    """Remove what a benchmark wrote to Cassandra."""
    cluster = Cluster(settings.scylla_hosts.split(","), port=settings.scylla_port)
    cluster.connect().execute(f"DROP KEYSPACE IF EXISTS {settings.scylla_keyspace}", timeout=120)
    cluster.shutdown()


def pipeline(hours: int, turns: int = PIPELINE_TURNS) -> None:
    """Kafka → Cassandra, all tables, without Dagster, in turns with a consumer that handles a message at a time.

    A first turn of both doesn't count: it is when the servers compile what they run.
    """
    settings = own_names()
    log = open_log(settings)
    ends = streams.fill(log, settings.kafka_topic, hours)  # type: ignore[arg-type]
    total = sum(ends.values())
    taken: dict[str, list[Pass]] = {"platform": [], "a message at a time": []}
    for turn in range(turns + 1):
        os.environ["SCYLLA_KEYSPACE"] = f"bench_{secrets.token_hex(4)}"
        fresh = load_settings()
        store = open_store(fresh)
        began = Clocks.now()
        done = began.until_now(ingest(log, store, topic=settings.kafka_topic).accepted)  # type: ignore[arg-type]
        if done.messages != total:
            raise RuntimeError(f"{done.messages} of {total} messages were ingested")
        singly = message_at_a_time(fresh, ends, NAIVE_SECONDS)
        if turn:
            taken["platform"].append(done)
            taken["a message at a time"].append(singly)
        store.close()
        drop_keyspace(fresh)
    rates, costs = {}, {}
    for way, passes in taken.items():
        rates[way] = median(done.messages / done.seconds for done in passes)
        costs[way] = median((done.cpu_seconds + done.servers_cpu_seconds) / done.messages for done in passes)
        client = median(done.cpu_seconds / done.messages for done in passes)
        say(
            f"Kafka → Cassandra, {'all tables' if way == 'platform' else 'two synchronous inserts a message'}",
            f"{rates[way]:,.0f} msg/s",
            f"{passes[0].messages} messages; CPU {1e6 * client:.1f} µs a message, with the servers' {1e6 * costs[way]:.1f}",
        )
    fast, slow = taken
    ratios = ", ".join(
        f"{a.messages / a.seconds / (b.messages / b.seconds):.0f}" for a, b in zip(*taken.values(), strict=True)
    )
    say(
        "the platform against it",
        f"{rates[fast] / rates[slow]:.0f} times",
        f"turns {ratios}; by CPU {costs[slow] / costs[fast]:.0f}",
    )


@dataclass(frozen=True)
class Written:
    """What a process has written of a topic, by the rows in the tables, and what that took, its start included."""

    rows: int
    seconds: float
    cpu_seconds: float
    servers_cpu_seconds: float

    @property
    def rows_a_cpu_second(self) -> float:
        """Of client and servers together."""
        return self.rows / (self.cpu_seconds + self.servers_cpu_seconds)


def written_by(command: Sequence[str], settings: Settings, **environment: str) -> Written:
    """Run a process that takes in a topic, then count the rows of its keyspace."""
    open_store(settings).close()  # which makes the keyspace
    before, servers, began = resource.getrusage(resource.RUSAGE_CHILDREN), servers_cpu(), time.perf_counter()
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:3])}: {done.stdout[-500:]}{done.stderr[-1500:]}")
    client = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    of_servers = servers_cpu() - servers
    rows = sum(rows_of(settings, name) for name in ("device_metrics_raw", "device_state_snapshots", "snapshot_vectors"))
    return Written(rows, seconds, client, of_servers)


def rows_of(settings: Settings, table: str) -> int:
    """Rows of a table, whoever wrote them."""
    cluster = Cluster(settings.scylla_hosts.split(","), port=settings.scylla_port)
    statement = SimpleStatement(f"SELECT device_id FROM {settings.scylla_keyspace}.{table}", fetch_size=5_000)
    rows = sum(1 for _ in cluster.connect().execute(statement, timeout=120))
    cluster.shutdown()
    return rows


def tables(hours: int, peers_python: Path | None, turns: int = TABLES_TURNS) -> None:
    """Kafka → all tables on Cassandra as a user gets it, by ``hvac ingest`` in a Dagster run, beside others' best.

    What is compared takes turns, each in a keyspace of its own; medians of rows a second, by the clock and by processor time
    of client and servers together. The first turn does not count: servers compile what they run.
    """
    settings = own_names()
    ends = streams.fill(open_log(settings), settings.kafka_topic, hours)  # type: ignore[arg-type]
    total = sum(ends.values())
    taken: dict[str, list[Written]] = {}
    for turn in range(turns + 1):
        for way in ("the platform, hvac ingest", *(TABLES_PEERS if peers_python is not None else ())):
            os.environ["SCYLLA_KEYSPACE"] = f"bench_{secrets.token_hex(4)}"
            fresh = load_settings()
            if way in TABLES_PEERS:
                script = str(Path(__file__).parent / "peers" / TABLES_PEERS[way])
                where = (settings.scylla_hosts, str(settings.scylla_port), fresh.scylla_keyspace)
                found = written_by(
                    [
                        str(peers_python),
                        script,
                        settings.kafka_bootstrap_servers,
                        settings.kafka_topic,
                        str(total),
                        *where,
                    ],
                    fresh,
                )
            else:
                with tempfile.TemporaryDirectory(prefix="hvac-bench-tables-") as home:
                    found = written_by(
                        [sys.executable, "-m", "hvac_platform.cli", "ingest"],
                        fresh,
                        HVAC_HOME=home,
                        HVAC_RUN_MINUTES="0",
                    )
            if turn:
                taken.setdefault(way, []).append(found)
            drop_keyspace(fresh)
    by_cpu = {way: median(found.rows_a_cpu_second for found in passes) for way, passes in taken.items()}
    by_clock = {way: median(found.rows / found.seconds for found in passes) for way, passes in taken.items()}
    own = next(iter(taken))
    for way, passes in taken.items():
        client, servers = (median(getattr(f, name) for f in passes) for name in ("cpu_seconds", "servers_cpu_seconds"))
        against = (
            f"; the platform {by_cpu[own] / by_cpu[way]:.2f} times, by the clock {by_clock[own] / by_clock[way]:.2f}"
        )
        say(
            f"Kafka → all tables, {way}",
            f"{by_cpu[way]:,.0f} rows/CPU-s",
            f"{by_clock[way]:,.0f} rows/s; {passes[0].rows} rows of {total} messages; CPU {client:.1f} s, of the servers "
            f"{servers:.1f} s{against if way != own else ''}",
        )


def backfill(days: int) -> None:
    """Replay of some days of the five-device fleet at 10 s in one Dagster run, in a process of its own."""
    settings = own_names()
    log = open_log(settings)
    began = time.perf_counter()
    messages = fill_days(log, settings.kafka_topic, days)
    say(
        f"backfill: {days} days produced",
        f"{messages / (time.perf_counter() - began):,.0f} msg/s",
        f"{messages} messages",
    )
    first = streams.DAY
    last = days_before(first, 1 - days)
    with tempfile.TemporaryDirectory(prefix="hvac-bench-backfill-") as home:
        command = [sys.executable, "-m", "benchmarks.servers", "--replay", first, last]
        done = subprocess.run(command, env={**os.environ, "HVAC_HOME": home}, capture_output=True, text=True)
    drop_keyspace(settings)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    told = json.loads(done.stdout.strip().splitlines()[-1])
    say(
        f"backfill: {days} days in one run, with snapshots and vectors",
        f"{messages / told['seconds']:,.0f} msg/s",
        f"{told['seconds']:.0f} s, CPU {told['cpu_seconds']:.0f} s, peak RSS {told['rss_mb']:.0f} MB; "
        f"{told['rows']} raw rows, {told['snapshots']} snapshots",
    )


def fill_days(log: MessageLog, topic: str, days: int) -> int:
    """The default fleet's readings of some days; how many."""
    from hvac_platform.devices.fleet import default_fleet
    from hvac_platform.simulation.fleet_simulation import FleetSimulation
    from hvac_platform.simulation.streaming import stream_history

    fleet, start = default_fleet(), day_start(streams.DAY)
    simulation = FleetSimulation(fleet, seed=5)
    messages = 0
    for _, appended in stream_history(log, topic, simulation, fleet, start, start + days * DAY_MS, 10_000):
        messages = appended
    return messages


def replay(first: str, last: str) -> None:
    """Body of the backfill's process: the run that Dagster's backfill of these days launches."""
    import dagster as dg

    from hvac_platform.execution import run_job
    from hvac_platform.schedules import partition_tags

    wall = time.perf_counter()
    with dg.DagsterInstance.local_temp(str(load_settings().hvac_home)) as instance:
        run_job("ingestion", instance, partition_tags(first, last))
    seconds = time.perf_counter() - wall
    used = resource.getrusage(resource.RUSAGE_SELF)
    store = open_store(load_settings())
    rows, snapshots = store.count("device_metrics_raw"), store.count("device_state_snapshots")
    told = {"seconds": seconds, "cpu_seconds": used.ru_utime + used.ru_stime, "rss_mb": used.ru_maxrss / 1024}
    print(json.dumps({**told, "rows": rows, "snapshots": snapshots}))


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="default all")
    parser.add_argument("--days", type=int, default=30, help="days of the backfill")
    parser.add_argument("--hours", type=int, default=streams.HOURS, help="hours in the topic that is read")
    parser.add_argument("--peers-python", type=Path, help="interpreter that has the stream processors installed")
    parser.add_argument("--replay", nargs=2, metavar=("FIRST", "LAST"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.replay:
        return replay(*options.replay)
    settings = load_settings()
    if not settings.kafka_bootstrap_servers or not settings.scylla_hosts:
        parser.error("KAFKA_BOOTSTRAP_SERVERS and SCYLLA_HOSTS must name servers; make bench SERVICES=1 starts them")
    chosen = options.parts or PARTS
    hosts, port = settings.scylla_hosts.split(","), settings.scylla_port
    if "streams" in chosen:
        streams.run(settings.kafka_bootstrap_servers, hours=options.hours, peers_python=options.peers_python)
    if "cql" in chosen:
        cql.run(hosts, port)
    if "pipeline" in chosen:
        pipeline(PIPELINE_HOURS)
    if "tables" in chosen:
        tables(min(options.hours, TABLES_HOURS), options.peers_python)
    if "recall" in chosen:
        recall.run(hosts, port)
    if "backfill" in chosen:
        backfill(options.days)
    return None


if __name__ == "__main__":
    main()
