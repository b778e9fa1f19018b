"""Several workers: runs of different Kafka partitions on two workers of dagster-celery, with every part real.

PostgreSQL holds Dagster's storage, Redis is the broker, readings come from Kafka and go to Cassandra. The daemon with its
sensor and its queue, and the workers, are processes of their own, on the instance file and the worker script of
``deploy/celery``.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from functools import cached_property
from itertools import combinations
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._serdes import serialize_value
from dagster_celery.make_app import make_app

from devtools import PROJECT_ROOT
from devtools.services.base import DEFAULT_FOLDER, free_port
from devtools.services.cassandra import Cassandra
from devtools.services.postgres import Postgres
from devtools.services.redis import Redis
from hvac_platform.config import CONSUMER_GROUP
from hvac_platform.log.partitioner import partition_for
from hvac_platform.resources import PlatformResource
from hvac_platform.runtime.live import start, stop
from hvac_platform.schedules import ACTIVE
from hvac_platform.sensors.kafka_ingestion import PARTITION_TAG, RANGES_TAG
from hvac_platform_tests.conftest import HOUR_MS, NOON_MS, enter_home, readings, rows

CELERY_FOLDER = PROJECT_ROOT / "deploy" / "celery"
CACHE = DEFAULT_FOLDER / "cache"
MESSAGES_PER_RUN = 5_000
MINUTES = 720  # two metrics every ten seconds: 8,640 readings of each device, two runs for each partition
DEVICES = {0: "CH-007", 1: "MAU-001", 2: "RTU-001"}  # one in each partition of the topic
WORKERS = ("first", "second")
FIRST_MS = NOON_MS - 6 * HOUR_MS
WATCHED_CLOSELY = {
    "poll_interval_seconds": 5,
    "start_timeout_seconds": 45,
    "max_runtime_seconds": 45,
    "free_slots_after_run_end_seconds": 5,
}
PATIENCE_SECONDS = 400
PROCESS = re.compile(r"Started process for run \(pid: (\d+)\)")  # what Dagster says when a run begins


# -- servers and processes ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def open_folder():
    """A folder that other users may enter: PostgreSQL doesn't run as root, and pytest's folders are its owner's only."""
    with tempfile.TemporaryDirectory(prefix="hvac-services-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


@pytest.fixture(scope="module")
def postgres(open_folder):
    server = Postgres(CACHE, open_folder / "postgres", free_port())
    server.up()
    yield server
    server.down()


@pytest.fixture(scope="module")
def redis(open_folder):
    server = Redis(CACHE, open_folder / "redis", free_port())
    server.up()
    yield server
    server.down()


@pytest.fixture(scope="module")
def cassandra(tmp_path_factory):
    node = Cassandra(CACHE, tmp_path_factory.mktemp("cassandra"), free_port())
    node.up()
    yield node
    node.down()


class Cluster:
    """The platform on its servers, and the processes that tests start and kill."""

    def __init__(self, home, platform):
        self.home, self.platform = home, platform
        self.processes = {}

    @cached_property
    def instance(self):
        """Dagster's instance of the home folder, as every process of the cluster sees it."""
        return dg.DagsterInstance.get()

    def close(self):
        stop(list(self.processes.values()))
        self.instance.dispose()
        self.platform.store.close()
        self.platform.log.close()

    def configure(self, *path, **settings):
        """Change a part of the instance file, before anything has started."""
        file = self.home / "dagster.yaml"
        document = part = yaml.safe_load(file.read_text())
        for name in path:
            part = part[name]
        part.update(settings)
        file.write_text(yaml.safe_dump(document))

    def start_daemon(self):
        self._start("daemon", ["dagster-daemon", "run", "-w", str(self.home / "workspace.yaml")])

    def start_worker(self, name):
        environment = {"HVAC_WORKER_NAME": name, "HVAC_WORKER_PROCESSES": "1"}  # so two runs at once are on two workers
        self._start(name, [str(CELERY_FOLDER / "worker.sh")], **environment)

    def _start(self, name, command, **environment):
        log = self.home / f"{name}.log"
        self.processes[name] = start(name, command, self.home, environment, log)

    def kill(self, name):
        """End a process and its children at once, as a power cut would."""
        process = self.processes.pop(name).process
        os.killpg(process.pid, signal.SIGKILL)  # a session of its own
        process.wait(30)

    def pids_of_workers(self):
        """Name of the worker that each of their processes belongs to, as Celery tells it."""
        launcher = self.instance.run_launcher
        stats = make_app(launcher.app_args()).control.inspect(timeout=5).stats() or {}
        return {
            pid: node.partition("@")[0]
            for node, told in stats.items()
            for pid in [*told["pool"]["processes"], told["pid"]]
        }

    def wait_until(self, condition, seconds=PATIENCE_SECONDS):
        """Wait for a condition; the ends of all logs are in the failure."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds} s\n{self.log_ends()}"
            time.sleep(0.3)

    def wait_for_workers(self, *names):
        self.wait_until(lambda: set(names) <= set(self.pids_of_workers().values()), seconds=60)

    def wait_until_everything_is_in(self):
        ends = self.platform.log.end_offsets(self.platform.topic)
        self.wait_until(lambda: self.offsets() == ends and not self.runs(*ACTIVE))

    def runs(self, *statuses):
        """Ingestion runs, oldest first."""
        wanted = dg.RunsFilter(job_name="ingestion", statuses=list(statuses) or None)
        return self.instance.get_run_records(wanted, ascending=True)

    def pid_of(self, record):
        """Process that executed a run, from the run's own events; None if none has begun to."""
        found = [PROCESS.search(entry.message) for entry in self.instance.all_logs(record.dagster_run.run_id)]
        return next((int(match[1]) for match in found if match), None)

    def offsets(self):
        ledger = self.platform.store.ledger(self.platform.topic)
        return {partition: entry.next_offset for partition, entry in ledger.items()}

    def log_ends(self):
        return "\n".join(
            f"--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-25:])
            for path in sorted(self.home.glob("*.log"))
        )


@pytest.fixture
def cluster(tmp_path, postgres, redis, broker, cassandra, topic, monkeypatch):
    """A platform of its own on the servers: topic, keyspace, database, DAGSTER_HOME."""
    home = tmp_path / "home"
    home.mkdir()
    for file in (CELERY_FOLDER / "dagster.yaml", PROJECT_ROOT / "workspace.yaml"):
        shutil.copy(file, home)
    database = f"dagster_{secrets.token_hex(4)}"
    postgres.execute(f"CREATE DATABASE {database}")
    enter_home(home, monkeypatch.setenv, lambda name: monkeypatch.delenv(name, raising=False), monkeypatch.chdir)
    environment = {
        **postgres.settings,
        **redis.settings,
        **broker.settings,
        **cassandra.settings,
        "DAGSTER_HOME": str(home),
        "DAGSTER_POSTGRES_DB": database,
        "KAFKA_TOPIC": topic,
        "KAFKA_PARTITIONS": str(len(DEVICES)),
        "KAFKA_RETENTION_DAYS": "36500",  # the readings are of the past
        "SCYLLA_KEYSPACE": f"hvac_{secrets.token_hex(4)}",
        "SCYLLA_REPLICATION_FACTOR": "1",
        "HVAC_MAX_MESSAGES_PER_RUN": str(MESSAGES_PER_RUN),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    opened = Cluster(home, PlatformResource())
    opened.configure("concurrency", "runs", max_concurrent_runs=len(WORKERS))
    yield opened
    opened.close()


def fill(platform):
    """Fill each partition with the readings of one device; gives (time, metric, value) of what was sent, by device."""
    sent = {}
    for partition, device in DEVICES.items():
        assert partition_for(device.encode(), len(DEVICES)) == partition
        records = readings(device, FIRST_MS, MINUTES)
        platform.log.append(platform.topic, records)
        fields = [(at_ms, json.loads(value)) for _, value, at_ms in records]
        sent[device] = {(at_ms, field["metric_name"], field["metric_value"]) for at_ms, field in fields}
        assert len(sent[device]) == len(records)
    return sent


# -- what must hold -----------------------------------------------------------------------------------------------------


def assert_everything_is_in_once(cluster, sent):
    """Every reading is in the store once, with its window; the ledger and the consumer group are at the end of the log."""
    store, log, topic = cluster.platform.store, cluster.platform.log, cluster.platform.topic
    for device, expected in sent.items():
        stored = Counter(
            rows(store, "device_metrics_raw", "timestamp", "metric_name", "metric_value", device_id=device)
        )
        assert set(stored) == expected
        assert set(stored.values()) == {1}
        assert store.count("device_state_snapshots", device) == MINUTES
    assert store.count("dead_letters") == 0
    assert cluster.offsets() == log.end_offsets(topic) == log.committed(CONSUMER_GROUP, topic)
    assert {entry.skipped_offsets for entry in store.ledger(topic).values()} == {0}


def assert_ranges_are_contiguous(cluster):
    """The ranges of the successful runs, one after the other, are the whole log: no gap and no overlap."""
    reached = dict.fromkeys(DEVICES, 0)
    for record in cluster.runs(dg.DagsterRunStatus.SUCCESS):
        for text in record.dagster_run.tags[RANGES_TAG].split("+"):
            partition, first, end = map(int, re.split("[:-]", text))
            assert first == reached[partition]
            reached[partition] = end
    assert reached == cluster.platform.log.end_offsets(cluster.platform.topic)


def assert_one_run_at_a_time_for_each_partition(cluster):
    for one, other in combinations(cluster.runs(dg.DagsterRunStatus.SUCCESS), 2):
        if partitions_of(one) & partitions_of(other):
            assert seconds_together(one, other) <= 0


def partitions_of(record):
    prefix = PARTITION_TAG.format("")
    return {int(tag.removeprefix(prefix)) for tag in record.dagster_run.tags if tag.startswith(prefix)}


def seconds_together(one, other):
    """For how long two runs executed at the same time; negative when they didn't."""
    return min(one.end_time, other.end_time) - max(one.start_time, other.start_time)


# -- the tests ----------------------------------------------------------------------------------------------------------


def test_runs_of_different_partitions_execute_on_both_workers_at_the_same_time(cluster, say):
    sent = fill(cluster.platform)
    for name in WORKERS:
        cluster.start_worker(name)
    cluster.wait_for_workers(*WORKERS)
    worker_of_pid = cluster.pids_of_workers()
    cluster.start_daemon()
    cluster.wait_until_everything_is_in()

    assert_everything_is_in_once(cluster, sent)
    assert_ranges_are_contiguous(cluster)
    assert_one_run_at_a_time_for_each_partition(cluster)
    assert os.environ["DAGSTER_POSTGRES_PASSWORD"] not in serialize_value(
        cluster.instance.get_ref()
    )  # goes to the broker
    done = cluster.runs()
    assert {record.dagster_run.status for record in done} == {dg.DagsterRunStatus.SUCCESS}
    worker = {record.dagster_run.run_id: worker_of_pid[cluster.pid_of(record)] for record in done}
    assert set(worker.values()) == set(WORKERS)
    overlaps = [
        seconds
        for one, other in combinations(done, 2)
        if worker[one.dagster_run.run_id] != worker[other.dagster_run.run_id]
        and not partitions_of(one) & partitions_of(other)
        and (seconds := seconds_together(one, other)) > 0
    ]
    assert overlaps
    shares = ", ".join(f"{count} on the {name} worker" for name, count in sorted(Counter(worker.values()).items()))
    began, ended = min(r.start_time for r in done), max(r.end_time for r in done)
    say(
        f"{sum(map(len, sent.values()))} readings of {len(DEVICES)} partitions by {len(done)} runs in {ended - began:.0f} s",
        shares,
        f"{len(overlaps)} pairs on different workers overlapped, by up to {max(overlaps):.1f} s",
    )


def test_what_a_killed_worker_was_doing_is_done_by_another(cluster, say):
    """The broker doesn't notice that a worker lost its power: the longest allowed runtime does."""
    cluster.configure("run_monitoring", **WATCHED_CLOSELY)
    sent = fill(cluster.platform)
    cluster.start_worker("first")
    cluster.wait_for_workers("first")
    cluster.start_daemon()
    cluster.wait_until(lambda: cluster.runs(dg.DagsterRunStatus.STARTED))
    cluster.kill("first")
    interrupted = {record.dagster_run.run_id for record in cluster.runs(dg.DagsterRunStatus.STARTED)}
    assert interrupted
    assert set(cluster.offsets().values()) <= {0}
    cluster.start_worker("second")
    cluster.wait_until_everything_is_in()

    assert_everything_is_in_once(cluster, sent)
    assert_ranges_are_contiguous(cluster)
    assert_one_run_at_a_time_for_each_partition(cluster)
    failed = {record.dagster_run.run_id for record in cluster.runs(dg.DagsterRunStatus.FAILURE)}
    assert failed >= interrupted
    say(f"{len(interrupted)} runs died with their worker, {len(failed)} failed in all; every reading is in once")
