"""Where the pages read: store and log, opened when first asked for, and again after a failure."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from hvac_platform.access.scoped_store import ScopedStore
from hvac_platform.access.users import ANYBODY, Person
from hvac_platform.config import Settings
from hvac_platform.log.base import MessageLog
from hvac_platform.runtime.connections import open_log_as_it_is, open_store, open_store_as_it_is
from hvac_platform.stores.base import Store, StoreError
from hvac_platform.stores.embedded import version_of
from hvac_platform.stores.made_with import require_settings
from hvac_platform.stores.repacking import SCHEMA_VERSION

T = TypeVar("T")

RETRY_SECONDS = 5.0
"""A server that did not answer is left alone for so long: pages that ask every few seconds must not queue up for it."""


class Remembered(Generic[T]):
    """A value that is read again when it is older than some seconds; a failure is remembered as long.

    However many browsers are open, one thread reads and the others wait for it.
    """

    def __init__(self, read: Callable[[], T], seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._read, self._seconds, self._clock = read, seconds, clock
        self._lock = threading.Lock()
        self._at: float | None = None
        self._value: T | None = None
        self._failure: Exception | None = None

    def get(self) -> T:
        """The value; raises what reading it raised."""
        with self._lock:
            if self._at is None or self._clock() - self._at >= self._seconds:
                try:
                    self._value, self._failure = self._read(), None
                except Exception as error:  # whatever it is, the next caller is to see the same
                    self._failure = error
                self._at = self._clock()
            if self._failure is not None:
                raise self._failure
            return self._value  # type: ignore[return-value]

    def forget(self) -> None:
        """Read it anew when it is asked for next."""
        with self._lock:
            self._at = None


class Source:
    """Store and log of some settings.

    Nothing is created: where the embedded store or log has no file yet there is none, and a schema of another version is an
    error that says what to do.

    Attributes:
        settings: say which.
        person: who asks at the moment.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.person: Callable[[], Person] = lambda: ANYBODY
        self._store_lock, self._log_lock = threading.Lock(), threading.Lock()
        self._store: Store | None = None
        self._log: MessageLog | None = None
        self._failures: dict[str, tuple[float, Exception]] = {}
        self._schema_is_current = False

    def buildings(self) -> frozenset[str] | None:
        """The buildings that who asks may see; None for the whole site."""
        return self.person().buildings

    def store(self) -> Store | None:
        """The store, as far as who asks may see it; None while there is no embedded one yet.

        Raises:
            Exception: as :meth:`whole_store` does.
        """
        store, buildings = self.whole_store(), self.buildings()
        return store if store is None or buildings is None else ScopedStore(store, buildings)

    def whole_store(self) -> Store | None:
        """The store, whoever asks; None while there is no embedded one yet.

        Raises:
            Exception: it can't be reached, has the schema of another version, or was made with other settings.
        """
        if self.settings.scylla_hosts:
            with self._store_lock:
                if self._store is None or getattr(self._store, "closed", False):
                    self._store = self._opened("store", self._open_server)
                return self._store
        path = self.settings.hvac_home / "store.db"
        if not path.exists():
            self._schema_is_current = False
            return None
        if not self._schema_is_current:
            found = version_of(path)
            if found == 0:
                return None  # another process is just making it
            _require_schema(found, SCHEMA_VERSION)
            self._schema_is_current = True
        return open_store(self.settings)

    def log(self) -> MessageLog | None:
        """The message log; None while there is no embedded one yet.

        Raises:
            Exception: it can't be reached.
        """
        if self.settings.kafka_bootstrap_servers:
            with self._log_lock:
                if self._log is None or getattr(self._log, "closed", False):
                    self._log = self._opened("log", lambda: open_log_as_it_is(self.settings))
                return self._log
        return open_log_as_it_is(self.settings) if (self.settings.hvac_home / "log.db").exists() else None

    def _open_server(self) -> Store:
        store = open_store_as_it_is(self.settings)
        try:
            _require_schema(*store.schema_versions())
            require_settings(store, self.settings, record=False)
        except Exception:
            store.close()
            raise
        return store

    def _opened(self, name: str, opening: Callable[[], T]) -> T:
        at, failure = self._failures.get(name, (0.0, None))
        if failure is not None and time.monotonic() - at < RETRY_SECONDS:
            raise failure
        try:
            opened = opening()
        except Exception as error:
            self._failures[name] = time.monotonic(), error
            raise
        self._failures.pop(name, None)
        return opened


def _require_schema(found: int, needed: int) -> None:
    if found == 0:
        raise StoreError("the store has no tables yet: hvac schema apply, or wait for the first ingestion")
    if found < needed:
        raise StoreError(f"the store has schema version {found}, this dashboard needs {needed}: hvac schema apply")
    if found > needed:
        raise StoreError(
            f"the store has schema version {found}, this dashboard knows {needed}: use a newer hvac_platform"
        )
