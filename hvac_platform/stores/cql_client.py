"""A connection to a CQL cluster: how to reach it, TLS, statements, retries, and errors that say what to do."""

from __future__ import annotations

import logging
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from cassandra import (
    AuthenticationFailed,
    ConsistencyLevel,
    DriverException,
    OperationTimedOut,
    ReadTimeout,
    RequestExecutionException,
    RequestValidationException,
    Unauthorized,
    Unavailable,
    WriteTimeout,
)
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable, Session
from cassandra.policies import (
    DCAwareRoundRobinPolicy,
    ExponentialReconnectionPolicy,
    RoundRobinPolicy,
    TokenAwarePolicy,
)
from cassandra.query import PreparedStatement, tuple_factory
from pydantic import SecretStr

from hvac_platform.stores.base import RefusedError, StoreError
from hvac_platform.stores.cassandra_private import PlainProtocolHandler, plain_metadata

CONNECT_SECONDS = 10.0
REQUEST_SECONDS = 12.0
PATIENCE_SECONDS = 30.0
OVERLOAD_PATIENCE = 5
"""So many times longer for nodes that answer, but too late: Cassandra takes no write while vectors go to its disk."""
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0
RECONNECT_SECONDS = (0.25, 2.0)
HEARTBEAT_SECONDS = 10.0
CONCURRENCY = 32
RETRIED = (NoHostAvailable, RequestExecutionException, DriverException)

Consistency = Literal["LOCAL_QUORUM", "QUORUM", "LOCAL_ONE", "ONE", "ALL"]
T = TypeVar("T")
logging.getLogger("cassandra").setLevel(logging.CRITICAL)  # it logs, with tracebacks, what the errors here say once


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """TLS towards the cluster.

    Attributes:
        ca_file: certificates (PEM) that sign the nodes'; None trusts the system's.
        check_hostname: whether a node's certificate must name the address that it is reached at.
        certificate_file: this client's certificate (PEM), where the cluster asks for one.
        key_file: its key; None when it is in the same file.
    """

    ca_file: Path | None = None
    check_hostname: bool = True
    certificate_file: Path | None = None
    key_file: Path | None = None

    def context(self) -> ssl.SSLContext:
        """The context of every connection.

        Raises:
            StoreError: a file can't be read or holds no certificate; names the variable.
        """
        try:
            context = ssl.create_default_context(cafile=None if self.ca_file is None else str(self.ca_file))
        except OSError as error:
            raise StoreError(f"SCYLLA_SSL_CAFILE={self.ca_file}: no certificates in PEM there: {error}") from None
        context.check_hostname = self.check_hostname
        if self.certificate_file is not None:
            try:
                context.load_cert_chain(
                    self.certificate_file,
                    self.key_file,
                    password=lambda: "",  # never ask on the terminal
                )
            except (OSError, ValueError) as error:
                raise StoreError(
                    f"SCYLLA_SSL_CERTFILE={self.certificate_file}, SCYLLA_SSL_KEYFILE={self.key_file or ''}: "
                    f"no certificate with its unencrypted key in PEM there: {error}"
                ) from None
        return context


@dataclass(frozen=True, slots=True)
class CqlSettings:
    """How to reach a cluster.

    Attributes:
        hosts: contact points.
        port: native protocol port.
        keyspace: keyspace of the platform.
        username: empty for none.
        password: never shown.
        dialect: ``scylla`` or ``cassandra``; detected when empty.
        vector_search: what one search of ScyllaDB's index covers: all days of a ``device``, or a ``day`` of it.
        datacenter: local data center; detected when empty.
        replication_factor: of a keyspace that is created.
        consistency: of reads and writes.
        tls: None for a plain connection.
        patience_seconds: how long a call without any success is tried again.
        request_seconds: how long one statement may take.
    """

    hosts: tuple[str, ...]
    port: int = 9042
    keyspace: str = "iot_monitoring"
    username: str = ""
    password: SecretStr = field(default=SecretStr(""))
    dialect: str = ""
    vector_search: str = "device"
    datacenter: str = ""
    replication_factor: int = 3
    consistency: Consistency = "LOCAL_QUORUM"
    tls: TlsSettings | None = None
    patience_seconds: float = PATIENCE_SECONDS
    request_seconds: float = REQUEST_SECONDS

    @property
    def location(self) -> str:
        """Hosts, port and keyspace."""
        return f"{','.join(self.hosts)}:{self.port}/{self.keyspace}"

    def __repr__(self) -> str:
        """Where, never with which password."""
        return f"CqlSettings({self.location})"


class CqlClient:
    """One session: prepared statements, bounded concurrency, retries with growing pauses.

    Every statement that goes through :meth:`run` is idempotent, so sending it again is harmless.

    Raises:
        StoreError: no node can be used; says why and what to do.
    """

    def __init__(self, settings: CqlSettings) -> None:
        self.settings = settings
        self._prepared: dict[tuple[str, int | None], PreparedStatement] = {}
        secret = settings.password.get_secret_value()
        balancing = DCAwareRoundRobinPolicy(settings.datacenter) if settings.datacenter else RoundRobinPolicy()
        profile = ExecutionProfile(
            load_balancing_policy=TokenAwarePolicy(balancing),
            consistency_level=getattr(ConsistencyLevel, settings.consistency),
            serial_consistency_level=ConsistencyLevel.LOCAL_SERIAL,
            request_timeout=settings.request_seconds,
            row_factory=tuple_factory,
        )
        self._cluster = Cluster(
            list(settings.hosts),
            port=settings.port,
            auth_provider=PlainTextAuthProvider(settings.username, secret) if settings.username else None,
            ssl_context=None if settings.tls is None else settings.tls.context(),
            execution_profiles={EXEC_PROFILE_DEFAULT: profile},
            connect_timeout=CONNECT_SECONDS,
            control_connection_timeout=CONNECT_SECONDS,
            # The driver's own waits up to ten minutes before it looks at a node again.
            reconnection_policy=ExponentialReconnectionPolicy(*RECONNECT_SECONDS, max_attempts=None),
            idle_heartbeat_interval=HEARTBEAT_SECONDS,
            idle_heartbeat_timeout=HEARTBEAT_SECONDS,
            sockopts=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        )
        try:
            self._session: Session = self._cluster.connect()
            self._session.client_protocol_handler = PlainProtocolHandler
        except (NoHostAvailable, DriverException, OSError) as error:
            self._cluster.shutdown()
            raise StoreError(_why_unreachable(settings, error)) from None

    @property
    def protocol_version(self) -> int:
        """Version of the native protocol that was agreed on."""
        return int(self._cluster.protocol_version)

    @property
    def closed(self) -> bool:
        """Whether the session has ended."""
        return bool(self._cluster.is_shutdown)

    def nodes(self, datacenter: str) -> int:
        """Nodes of a data center, also those that are down."""
        return sum(host.datacenter == datacenter for host in self._cluster.metadata.all_hosts())

    def close(self) -> None:
        """End the session."""
        self._cluster.shutdown()

    # -- statements --------------------------------------------------------------------------------------------------

    def prepare(self, statement: str, *, idempotent: bool = True, consistency: int | None = None) -> PreparedStatement:
        """Prepared once a session; timestamps as int64 and vectors as bytes, in and out.

        Args:
            statement: CQL with ``?`` markers.
            idempotent: whether the driver may send it a second time.
            consistency: in place of the settings'.
        """
        key = (statement, consistency)
        if key not in self._prepared:
            prepared = self.retried(lambda: self._session.prepare(statement))
            prepared.is_idempotent = idempotent
            prepared.consistency_level = consistency
            prepared.column_metadata = [plain_metadata(meta) for meta in prepared.column_metadata]
            self._prepared[key] = prepared
        return self._prepared[key]

    def execute(self, statement: PreparedStatement | str, arguments: Sequence[Any] | None = None) -> Any:
        """Result of one idempotent statement."""
        return self.retried(lambda: self._session.execute(statement, arguments))

    def execute_once(
        self, statement: PreparedStatement | str, arguments: Sequence[Any] | None = None, **how: Any
    ) -> Any:
        """Result of one statement that must not be sent twice; the driver's errors come through."""
        return self._session.execute(statement, arguments, **how)

    def next_page(self, result: Any) -> None:
        """Fetch the next page of a result."""
        self.retried(result.fetch_next_page)

    def run(
        self,
        calls: Sequence[tuple[Any, Any]],
        *,
        patience_seconds: float | None = None,
        passing: Callable[[Exception], bool] = lambda _: False,
    ) -> list[Any]:
        """Results of many idempotent calls, in order, at most :data:`CONCURRENCY` at once.

        After a failure only what has not succeeded is sent again, as long as something succeeds at least every
        ``patience_seconds``.

        Args:
            calls: (statement, arguments).
            patience_seconds: in place of the settings'.
            passing: says of an error that looks like a refusal whether it may pass.

        Raises:
            StoreError: the fault did not pass, or the server refuses a statement.
        """
        results: list[Any] = [None] * len(calls)
        left: Sequence[int] = range(len(calls))
        seconds = self.settings.patience_seconds if patience_seconds is None else patience_seconds
        patience = _Patience(seconds, passing)
        while left:
            done, error = self._attempt(calls, left, results)
            if error is None:
                break
            if done:
                patience.renew()
                left = [i for i in left if i not in done]
            self._wait_or_raise(error, patience)
        return results

    def _attempt(
        self, calls: Sequence[tuple[Any, Any]], left: Sequence[int], results: list[Any]
    ) -> tuple[set[int], Exception | None]:
        """Send what is left until something fails; which succeeded, and the first error."""
        done: set[int] = set()
        first_error: Exception | None = None
        flying: deque[tuple[int, Any]] = deque()

        def land() -> None:
            nonlocal first_error
            i, future = flying.popleft()
            try:
                results[i] = future.result()
                done.add(i)
            except RETRIED as error:
                first_error = first_error or error

        for i in left:
            if len(flying) >= CONCURRENCY:
                land()
            if first_error is not None:
                break
            flying.append((i, self._session.execute_async(*calls[i])))
        while flying:
            land()
        return done, first_error

    # -- errors ------------------------------------------------------------------------------------------------------

    def retried(self, call: Callable[[], T]) -> T:
        """Call again after a passing fault, with growing pauses.

        Raises:
            StoreError: the fault did not pass, or the server refuses the statement.
        """
        patience = _Patience(self.settings.patience_seconds)
        while True:
            try:
                return call()
            except RETRIED as error:
                self._wait_or_raise(error, patience)

    def _wait_or_raise(self, error: Exception, patience: _Patience) -> None:
        if isinstance(error, Unauthorized):
            raise StoreError(
                f"user {self.settings.username!r} may not do this in the store at {self.settings.location}: "
                f"{_first_line(error)}. "
                "GRANT it CREATE, MODIFY and SELECT on the keyspace"
            ) from error
        if isinstance(error, RequestValidationException) and not patience.passing(error):
            raise RefusedError(
                f"the store at {self.settings.location} refuses a statement: {_first_line(error)}"
            ) from error
        overloaded = any(isinstance(cause, WriteTimeout) for cause in _causes(error))
        if not patience.wait(OVERLOAD_PATIENCE if overloaded else 1):
            raise StoreError(
                f"the store at {self.settings.location} failed for {patience.waited:.0f} s: {self.explain(error)}"
            ) from error

    def explain(self, error: Exception) -> str:
        """One sentence: what the error means and what to do."""
        telling = (Unavailable, OperationTimedOut, WriteTimeout, ReadTimeout)
        # The driver asks the next node after such an answer, and in the end reports all of them as one error.
        cause = next((c for c in _causes(error) if isinstance(c, telling)), None)
        if isinstance(cause, Unavailable):
            return (
                f"consistency {self.settings.consistency} needs {cause.required_replicas} replicas and "
                f"{cause.alive_replicas} are alive. Start the nodes that are down; a keyspace with fewer nodes than its "
                "replication factor needs ALTER KEYSPACE, see docs/scylladb.md"
            )
        if isinstance(cause, OperationTimedOut):
            return (
                f"no answer within {self.settings.request_seconds:g} s. Check the network between here and the nodes, and "
                "their load"
            )
        if isinstance(cause, (WriteTimeout, ReadTimeout)):
            return (
                f"{cause.received_responses or 0} of {cause.required_responses or 0} replicas answered the coordinator in "
                "time. Check that the nodes are up and not overloaded"
            )
        if isinstance(error, NoHostAvailable):
            return f"no node can be used ({_reasons(error)}). Check that they are up and that the network reaches them"
        return f"{type(error).__name__}: {_first_line(error)}"


class _Patience:
    """Growing pauses within a span of time."""

    def __init__(self, seconds: float, passing: Callable[[Exception], bool] = lambda _: False) -> None:
        self._seconds = seconds
        self.passing = passing
        self.renew()

    def renew(self) -> None:
        """Begin anew."""
        self._began = time.monotonic()
        self._pause = FIRST_PAUSE_SECONDS

    @property
    def waited(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def wait(self, times: float = 1) -> bool:
        """Pause; False when so many times the span is over."""
        left = times * self._seconds - self.waited
        if left <= 0:
            return False
        time.sleep(min(self._pause, left))
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        return True


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0].rpartition("Last error: ")[2] if lines else type(error).__name__


def _causes(error: Exception) -> list[BaseException]:
    """What each node answered, or the error itself."""
    if isinstance(error, NoHostAvailable) and isinstance(error.errors, dict) and error.errors:
        return list(error.errors.values())
    return [error]


def _reasons(error: Exception) -> str:
    return "; ".join(dict.fromkeys(_first_line(cause) for cause in _causes(error)))


def _why_unreachable(settings: CqlSettings, error: Exception) -> str:
    """One line: why no connection was made, and what to do."""
    causes = _causes(error)
    said = _reasons(error)
    start = f"can't connect to {settings.location}: "
    if any(isinstance(cause, AuthenticationFailed) for cause in causes):
        if not settings.username:
            return f"{start}it asks for a user. Set SCYLLA_USERNAME and SCYLLA_PASSWORD"
        return f"{start}it refuses user {settings.username!r}. Check SCYLLA_USERNAME and SCYLLA_PASSWORD"
    if settings.tls is not None:
        if "certificate verify failed" in said:
            if "mismatch" in said or "doesn't match" in said:
                return (
                    f"{start}{said}. Name the nodes in SCYLLA_HOSTS as their certificates do, or set "
                    "SCYLLA_SSL_CHECK_HOSTNAME=false"
                )
            return f"{start}{said}. Set SCYLLA_SSL_CAFILE to the certificates (PEM) that sign the nodes'"
        if _tls_probe(settings) == "plain":
            return f"{start}the port speaks no TLS. Unset SCYLLA_TLS and SCYLLA_SSL_CAFILE, or name the TLS port"
        if settings.tls.certificate_file is None and _tls_probe(settings) == "tls":
            return (
                f"{start}{said}. The port speaks TLS and ended the connection; where it asks for a client's certificate, "
                "set SCYLLA_SSL_CERTFILE and SCYLLA_SSL_KEYFILE"
            )
    elif _tls_probe(settings) == "tls":
        return (
            f"{start}the port speaks TLS. Set SCYLLA_TLS=true, and SCYLLA_SSL_CAFILE to the certificates that sign it"
        )
    nodes = f", that SCYLLA_DATACENTER={settings.datacenter} is its data center" if settings.datacenter else ""
    return f"{start}{said}. Check SCYLLA_HOSTS and SCYLLA_PORT{nodes}, and that the server is up"


def _tls_probe(settings: CqlSettings) -> Literal["tls", "plain", "none"]:
    """What the first contact point answers to a TLS greeting; nothing is sent inside."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection((settings.hosts[0], settings.port), timeout=3) as connection:
            try:
                with context.wrap_socket(connection):
                    return "tls"
            except ssl.SSLError as error:
                return "plain" if error.reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"} else "tls"
            except OSError:  # a plain server that closes, or waits for more
                return "plain"
    except OSError:
        return "none"
