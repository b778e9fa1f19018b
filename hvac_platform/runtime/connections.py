"""Store and log, opened when first used: embedded ones once a thread, a server's clients once a process."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Generic, TypeVar
from weakref import WeakKeyDictionary

from hvac_platform.config import Settings, load_settings
from hvac_platform.devices.registry import DEVICE_TYPES_VARIABLE
from hvac_platform.embedded_file import OpenFile
from hvac_platform.embedding.base import Encoder
from hvac_platform.embedding.learned import Encoders
from hvac_platform.embedding.state import StateEncoder
from hvac_platform.ingestion.ownership import LeaseKeeper
from hvac_platform.log.base import LogError, MessageLog
from hvac_platform.log.embedded import EmbeddedLog
from hvac_platform.stores.base import Store
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.made_with import require_settings
from hvac_platform.stores.records import profile_updated_at, profiles_updated_at, stored_detector

if TYPE_CHECKING:
    from hvac_platform.log.kafka.kafka_log import KafkaLog, KafkaSecurity
    from hvac_platform.stores.cql import CqlSettings, CqlStore

T = TypeVar("T")
_local = threading.local()  # a connection's transactions must not mix with another thread's
_kafka_logs: dict[tuple[str, KafkaSecurity, str], KafkaLog] = {}  # safe for threads, and each has connections
_cql_stores: dict[tuple[int, CqlSettings], CqlStore] = {}  # a session is safe for threads, and a process needs one
_lock = threading.Lock()
_checked: WeakKeyDictionary[Store, tuple[int, str]] = WeakKeyDictionary()  # a thread's store ends with the thread


@dataclass(frozen=True, slots=True)
class Wiring(Generic[T]):
    """How one kind of store or log is opened.

    Attributes:
        asked_for: true for settings that want it.
        opened: opens it, made ready for use; may give what is open already.
        as_it_is: opens it without a change to what is on a server.
    """

    asked_for: Callable[[Settings], object]
    opened: Callable[[Settings], T]
    as_it_is: Callable[[Settings], T]


def _wired(wirings: Sequence[Wiring[T]], settings: Settings) -> Wiring[T]:
    return next(wiring for wiring in wirings if wiring.asked_for(settings))


def open_store(settings: Settings) -> Store:
    """The store that the environment asks for, with its schema brought to the current version.

    Raises:
        StoreError: it can't be used, or was made with other settings.
    """
    store = _wired(STORES, settings).opened(settings)
    made_with = (settings.hvac_window_seconds, os.environ.get(DEVICE_TYPES_VARIABLE, ""))
    if _checked.get(store) != made_with:
        require_settings(store, settings)
        _checked[store] = made_with
    return store


def open_store_as_it_is(settings: Settings) -> Store:
    """The store without a change to the schema of a server; for who applies it, or asks what applying it would do."""
    return _wired(STORES, settings).as_it_is(settings)


def _cql_settings(settings: Settings) -> CqlSettings:
    from hvac_platform.stores.cql import CqlSettings, TlsSettings  # the driver takes a while to load

    files = (settings.scylla_ssl_cafile, settings.scylla_ssl_certfile, settings.scylla_ssl_keyfile)
    tls = TlsSettings(
        ca_file=settings.scylla_ssl_cafile,
        check_hostname=settings.scylla_ssl_check_hostname,
        certificate_file=settings.scylla_ssl_certfile,
        key_file=settings.scylla_ssl_keyfile,
    )
    return CqlSettings(
        hosts=tuple(host.strip() for host in settings.scylla_hosts.split(",") if host.strip()),
        port=settings.scylla_port,
        keyspace=settings.scylla_keyspace,
        username=settings.scylla_username,
        password=settings.scylla_password,
        dialect=settings.scylla_dialect,
        vector_search=settings.scylla_vector_search,
        datacenter=settings.scylla_datacenter,
        replication_factor=settings.scylla_replication_factor,
        consistency=settings.scylla_consistency,
        tls=tls if settings.scylla_tls or any(files) else None,
    )


def _cql_store(settings: Settings) -> Store:
    from hvac_platform.stores.cql import CqlStore

    wanted = _cql_settings(settings)
    key = (os.getpid(), wanted)  # a session does not survive a fork
    with _lock:
        opened = _cql_stores.get(key)
        if opened is None or opened.closed:
            opened = _cql_stores[key] = CqlStore(wanted)
        return opened


def _cql_store_as_it_is(settings: Settings) -> Store:
    from hvac_platform.stores.cql import CqlStore

    return CqlStore(_cql_settings(settings), create=False)


def _embedded_store(settings: Settings) -> Store:
    stores: dict[str, EmbeddedStore] = _local.__dict__.setdefault("stores", {})
    path = settings.hvac_home / "store.db"
    opened = stores.get(str(path))
    if opened is not None and not opened.still_open():  # deleted, or put back from elsewhere
        del stores[str(path)]
        opened.close()
        opened = None
    if opened is None:
        opened = stores[str(path)] = EmbeddedStore(path)
    return opened


LEASES = LeaseKeeper(lambda: open_store(load_settings()))
"""The partitions that this process owns at the moment."""


def open_log(settings: Settings) -> MessageLog:
    """The message log that the environment asks for, with the topic in it."""
    return _wired(LOGS, settings).opened(settings)


def open_log_as_it_is(settings: Settings) -> MessageLog:
    """The log without creating the topic where it lacks, for who only looks. On a server it is a client of one's own."""
    return _wired(LOGS, settings).as_it_is(settings)


def _embedded_log(settings: Settings) -> MessageLog:
    logs: dict[str, tuple[EmbeddedLog, OpenFile]] = _local.__dict__.setdefault("logs", {})
    path = settings.hvac_home / "log.db"
    log, file = logs.get(str(path), (None, None))
    log = log or EmbeddedLog(path)
    while (present := log.file) is not file:  # the first, or deleted, or put back from elsewhere: it may have no topic
        log.create_topic(settings.kafka_topic)
        file = present
    logs[str(path)] = log, present
    return log


def _kafka_security(settings: Settings) -> KafkaSecurity:
    from hvac_platform.log.kafka.kafka_log import KafkaSecurity  # the client takes a while to load

    return KafkaSecurity(
        protocol=settings.kafka_security_protocol,
        mechanism=settings.kafka_sasl_mechanism,
        username=settings.kafka_sasl_username,
        password=settings.kafka_sasl_password,
        ca_file=settings.kafka_ssl_cafile,
    )


def _kafka_log(settings: Settings) -> MessageLog:
    security = _kafka_security(settings)
    key = (settings.kafka_bootstrap_servers, security, settings.kafka_topic)
    opened = _kafka_logs.get(key)
    if opened is not None and not opened.closed:
        return opened
    log = _new_kafka_log(settings.kafka_bootstrap_servers, security)
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


def _kafka_log_as_it_is(settings: Settings) -> MessageLog:
    return _new_kafka_log(settings.kafka_bootstrap_servers, _kafka_security(settings))


def _new_kafka_log(bootstrap_servers: str, security: KafkaSecurity) -> KafkaLog:
    from hvac_platform.log.kafka.kafka_log import KafkaLog

    if find_spec("confluent_kafka") is None:
        return KafkaLog(bootstrap_servers, security=security)
    from hvac_platform.log.kafka.fast import FastKafkaLog

    return FastKafkaLog(bootstrap_servers, security=security)


STORES: tuple[Wiring[Store], ...] = (
    Wiring(lambda settings: settings.scylla_hosts, _cql_store, _cql_store_as_it_is),
    Wiring(lambda _: True, _embedded_store, _embedded_store),
)
"""Every store, a line each; the first one that is asked for is taken."""

LOGS: tuple[Wiring[MessageLog], ...] = (
    Wiring(lambda settings: settings.kafka_bootstrap_servers, _kafka_log, _kafka_log_as_it_is),
    Wiring(lambda _: True, _embedded_log, _embedded_log),
)
"""Every log, a line each; the first one that is asked for is taken."""


def make_encoders(settings: Settings, store: Store) -> Encoders:
    """The encoders that ``HVAC_EMBEDDING`` names: a device's own where its profile has one, or one of text for all."""
    if settings.hvac_embedding == "text":
        return Encoders(_text_encoder(settings.ollama_base_url, settings.ollama_model))
    return Encoders(
        StateEncoder(),
        lambda device_id: stored_detector(store, device_id),
        lambda device_id: profile_updated_at(store, device_id),
        lambda: profiles_updated_at(store),
    )


@lru_cache(maxsize=4)
def _text_encoder(base_url: str, model: str) -> Encoder:
    from hvac_platform.embedding.ollama import OllamaEncoder  # its client takes a while to load

    return OllamaEncoder(base_url, model)
