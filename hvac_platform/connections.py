"""Store and log, opened when first used: embedded ones once a thread, a server's clients once a process."""

from __future__ import annotations

import threading
from typing import Any

from hvac_platform.config import Settings
from hvac_platform.embedding.base import Encoder
from hvac_platform.embedding.state import StateEncoder
from hvac_platform.stores.base import Store
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.streams.base import LogError, MessageLog
from hvac_platform.streams.embedded import EmbeddedLog
from hvac_platform.streams.kafka import KafkaLog, KafkaSecurity

_local = threading.local()  # a connection's transactions must not mix with another thread's
_kafka_logs: dict[tuple[str, KafkaSecurity, str], KafkaLog] = {}  # safe for threads, and each has connections
_cql_stores: dict[Any, Store] = {}  # a session is safe for threads, and a process needs one
_lock = threading.Lock()


def open_store(settings: Settings) -> Store:
    """The store that the environment asks for."""
    return _cql_store(settings) if settings.scylla_hosts else _embedded_store(settings)


def _cql_store(settings: Settings) -> Store:
    from hvac_platform.stores.cql import CqlSettings, CqlStore  # the driver takes a while to load

    wanted = CqlSettings(
        hosts=tuple(host.strip() for host in settings.scylla_hosts.split(",") if host.strip()),
        port=settings.scylla_port,
        keyspace=settings.scylla_keyspace,
        username=settings.scylla_username,
        password=settings.scylla_password.get_secret_value(),
        dialect=settings.scylla_dialect,
        datacenter=settings.scylla_datacenter,
        replication_factor=settings.scylla_replication_factor,
    )
    with _lock:
        if wanted not in _cql_stores:
            _cql_stores[wanted] = CqlStore(wanted)
        return _cql_stores[wanted]


def _embedded_store(settings: Settings) -> Store:
    stores: dict[str, Store] = _local.__dict__.setdefault("stores", {})
    path = settings.hvac_home / "store.db"
    if str(path) not in stores or not path.exists():
        stores[str(path)] = EmbeddedStore(path)
    return stores[str(path)]


def open_log(settings: Settings) -> MessageLog:
    """The message log that the environment asks for, with the topic in it."""
    return _kafka_log(settings) if settings.kafka_bootstrap_servers else _embedded_log(settings)


def _embedded_log(settings: Settings) -> MessageLog:
    logs: dict[str, MessageLog] = _local.__dict__.setdefault("logs", {})
    path = settings.hvac_home / "log.db"
    if str(path) not in logs or not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        log = EmbeddedLog(path)
        log.create_topic(settings.kafka_topic)
        logs[str(path)] = log
    return logs[str(path)]


def _kafka_log(settings: Settings) -> MessageLog:
    security = KafkaSecurity(
        protocol=settings.kafka_security_protocol,
        mechanism=settings.kafka_sasl_mechanism,
        username=settings.kafka_sasl_username,
        password=settings.kafka_sasl_password,
        ca_file=settings.kafka_ssl_cafile,
    )
    key = (settings.kafka_bootstrap_servers, security, settings.kafka_topic)
    opened = _kafka_logs.get(key)
    if opened is not None and not opened.closed:
        return opened
    log = KafkaLog(settings.kafka_bootstrap_servers, security=security)
    try:
        log.create_topic(settings.kafka_topic, settings.kafka_partitions, settings.kafka_retention_ms)
    except LogError:
        log.close()
        raise
    with _lock:  # not held while connecting: no thread waits for another's time-out
        faster = _kafka_logs.get(key)
        if faster is None or faster.closed:
            _kafka_logs[key] = log
            return log
    log.close()
    return faster


def make_encoder(settings: Settings) -> Encoder:
    """The encoder that ``HVAC_EMBEDDING`` names."""
    del settings  # one encoder so far
    return StateEncoder()
