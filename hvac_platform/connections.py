"""One store and one log a thread, opened when first used and shared by everything in it."""

from __future__ import annotations

import threading

from hvac_platform.config import Settings
from hvac_platform.embedding.base import Encoder
from hvac_platform.embedding.state import StateEncoder
from hvac_platform.stores.base import Store
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.streams.base import MessageLog
from hvac_platform.streams.embedded import EmbeddedLog

_local = threading.local()  # a connection's transactions must not mix with another thread's


def open_store(settings: Settings) -> Store:
    """The store that the environment asks for."""
    stores: dict[str, Store] = _local.__dict__.setdefault("stores", {})
    path = settings.hvac_home / "store.db"
    if str(path) not in stores or not path.exists():
        stores[str(path)] = EmbeddedStore(path)
    return stores[str(path)]


def open_log(settings: Settings) -> MessageLog:
    """The message log that the environment asks for, with the topic in it."""
    logs: dict[str, MessageLog] = _local.__dict__.setdefault("logs", {})
    path = settings.hvac_home / "log.db"
    if str(path) not in logs or not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        log = EmbeddedLog(path)
        log.create_topic(settings.kafka_topic)
        logs[str(path)] = log
    return logs[str(path)]


def make_encoder(settings: Settings) -> Encoder:
    """The encoder that ``HVAC_EMBEDDING`` names."""
    del settings  # one encoder so far
    return StateEncoder()
