"""The message log on Kafka: exact offset ranges in, acknowledged records out."""

from __future__ import annotations

import logging
import os
import random
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from kafka import IsolationLevel, KafkaAdminClient, KafkaConsumer, KafkaProducer, OffsetSpec, TopicPartition
from kafka import errors as kafka_errors
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.structs import OffsetAndMetadata, OffsetAndTimestamp
from pydantic import SecretStr

from hvac_platform.log.base import (
    DEFAULT_PARTITIONS,
    DEFAULT_RETENTION_MS,
    KEEP_FOREVER,
    MAX_RECORD_BYTES,
    MAX_UNPACKED_BYTES,
    Appended,
    LogError,
    OffsetBeyondEndError,
    OffsetOutOfRangeError,
    Record,
    RecordBatch,
    UnknownPartitionError,
    UnknownTopicError,
)
from hvac_platform.log.kafka.batches import RecordColumns
from hvac_platform.log.kafka.kafka_private import CONNECTION_LOGGER, give_whole_batches
from hvac_platform.log.partitioner import assign_partitions

ANSWER_SECONDS = 10.0
"""How long a question to the brokers may take, and how long a read may stand still."""

DELIVERY_SECONDS = 30.0
"""How long an append waits for its acknowledgements: long enough for a broker to restart or a leader to move."""

BATCH_BYTES = 16_384
LINGER_MS = 10
COMPRESSION = "gzip"

BATCH_OVERHEAD_BYTES = 4_096
NO_TOPIC_ID = "00000000-0000-0000-0000-000000000000"
_FETCH_BYTES = 1_048_576
_POLLED_BATCHES = 64  # unpacked at once; the rest of a fetch stays compressed
_FIRST_WAIT_MS, _LONGEST_WAIT_MS = 5, 1_000  # before it knows the leader, a consumer sleeps through much of its wait
_FETCH_WAIT_MS = 50  # what is read is there already; a longer wait would only delay the next request
_PAUSE_SECONDS = 0.2
_SETTLING_SECONDS = 1.0  # a broker of a cluster learns of a new topic a little later than the one that was asked

_APPEND_RECORDS = 20_000  # sent before their acknowledgements are waited for; this bounds memory

_AUTHENTICATION_ERRORS = (
    kafka_errors.SaslAuthenticationFailedError,
    kafka_errors.UnsupportedSaslMechanismError,
    kafka_errors.IllegalSaslStateError,
)


class _ConnectionFailures(logging.Handler):
    """Why connections failed lately: kafka-python writes it into its log, and then only raises that time is up."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._recent: deque[tuple[float, Exception]] = deque(maxlen=100)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the exception of a log record."""
        for argument in record.args or ():
            if isinstance(argument, Exception) and not isinstance(argument, kafka_errors.KafkaTimeoutError):
                self._recent.append((time.monotonic(), argument))

    def most_telling(self, since: float) -> Exception | None:
        """The failure that says most: a refusal to authenticate or of TLS, else a broker that hung up, else the last one."""
        failures = [error for at, error in list(self._recent) if at >= since]
        telling = [error for error in failures if isinstance(error, _AUTHENTICATION_ERRORS) or _is_about_tls(error)]
        return next(iter(telling or [error for error in failures if _hung_up(error)] or failures[::-1]), None)


_connection_failures = _ConnectionFailures()


def _quieten_client() -> None:
    """Keep kafka-python's log to this module.

    It warns at each of its own attempts of what is raised here once, and its debug records hold the password.
    """
    if logging.getLogger("kafka").level == logging.NOTSET:
        logging.getLogger("kafka").setLevel(logging.CRITICAL)
    connections = logging.getLogger(CONNECTION_LOGGER)
    connections.setLevel(logging.WARNING)
    connections.propagate = False
    connections.addHandler(_connection_failures)


_quieten_client()

# Clients that came through a fork have sockets that belong to the parent: they must be neither used nor closed.
INHERITED_BY_FORK: list[Any] = []

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class KafkaSecurity:
    """How to connect to the brokers.

    Attributes:
        protocol: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.
        mechanism: SASL mechanism, e.g. SCRAM-SHA-512; used by the SASL protocols only.
        username: SASL user.
        password: SASL password.
        ca_file: PEM file with the certificates that sign the brokers'; None takes the system's.
    """

    protocol: str = "PLAINTEXT"
    mechanism: str = "SCRAM-SHA-512"
    username: str = ""
    password: SecretStr = field(default_factory=lambda: SecretStr(""))
    ca_file: Path | None = None

    def client_options(self) -> dict[str, Any]:
        """Options of kafka-python's clients.

        Raises:
            LogError: the file of certificates can't be used.
        """
        options: dict[str, Any] = {"security_protocol": self.protocol}
        if self.protocol.startswith("SASL"):
            options |= {
                "sasl_mechanism": self.mechanism,
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password.get_secret_value(),
            }
        if self.protocol.endswith("SSL"):
            try:
                options["ssl_context"] = ssl.create_default_context(cafile=self.ca_file)
            except OSError as error:
                raise LogError(f"KAFKA_SSL_CAFILE={self.ca_file} can't be used: {error}") from None
        return options


class KafkaLog:
    """Message log in a Kafka topic (see `hvac_platform.log.base.MessageLog`).

    Safe for many threads and forked children: threads share an admin client and a producer, made when first used; every
    read has a consumer of its own, so reads may interleave. Offsets are those of committed records: an open transaction
    ends the log for its readers, records of an aborted one are never read.

    Everything is bounded in time: a question fails after ``answer_seconds`` (up to 10 s later where a host takes a
    connection and then says nothing), an append after ``delivery_seconds`` more, and the next one starts afresh.

    Args:
        bootstrap_servers: ``host:port,…`` of some brokers.
        security: how to connect.
        answer_seconds: longest wait for an answer, and longest standstill of a read.
        delivery_seconds: longest wait for the acknowledgement of a record.
        batch_bytes: size of a producer's batch.
        linger_ms: how long a producer waits for a batch to fill.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        security: KafkaSecurity | None = None,
        answer_seconds: float = ANSWER_SECONDS,
        delivery_seconds: float = DELIVERY_SECONDS,
        batch_bytes: int = BATCH_BYTES,
        linger_ms: int = LINGER_MS,
    ) -> None:
        self.bootstrap_servers = bootstrap_servers
        self._security = security or KafkaSecurity()
        self._answer_seconds = answer_seconds
        self._delivery_seconds = delivery_seconds
        self._batch_bytes = batch_bytes
        self._linger_ms = linger_ms
        self._closed = False
        # Processes start anywhere, so that short-lived producers of records without keys don't all fill partition 0.
        self._keyless_turn = random.randrange(1 << 16)
        self._forget_clients()

    # -- topics ---------------------------------------------------------------------------------------------------

    def create_topic(
        self, topic: str, partitions: int = DEFAULT_PARTITIONS, retention_ms: int = DEFAULT_RETENTION_MS
    ) -> bool:
        """Create a topic; False if it exists already (its settings are left as they are).

        The replication factor is the cluster's default. Retention goes by record timestamps: history that is older than
        ``retention_ms`` when it is appended is deleted within minutes.
        """
        if partitions < 1:
            raise LogError(f"topic {topic!r} needs at least 1 partition, not {partitions}")
        if retention_ms < 0 and retention_ms != KEEP_FOREVER:
            raise LogError(f"retention_ms of {topic!r} must be >= 0, or {KEEP_FOREVER} for ever, not {retention_ms}")
        wanted = {
            "num_partitions": partitions,
            "replication_factor": -1,
            "configs": {
                "retention.ms": str(retention_ms),
                "max.message.bytes": str(MAX_RECORD_BYTES + BATCH_OVERHEAD_BYTES),
            },
        }

        def created(admin: KafkaAdminClient) -> bool:
            try:
                admin.create_topics({topic: wanted}, wait_for_metadata=True)
            except kafka_errors.TopicAlreadyExistsError:
                return False
            except kafka_errors.InvalidTopicError:
                raise LogError(
                    f"topic name {topic!r} must be 1 to 249 ASCII letters, digits, '.', '_' or '-'"
                ) from None
            return True

        return self._ask(f"create topic {topic!r}", created)

    def partitions(self, topic: str) -> list[int]:
        """Partition numbers of a topic, ascending."""

        def described(admin: KafkaAdminClient) -> list[int]:
            (found,) = admin.describe_topics([topic])
            if found["error_code"]:
                raise kafka_errors.for_code(found["error_code"])(topic)
            return sorted(partition["partition_index"] for partition in found["partitions"])

        return self._ask(f"describe topic {topic!r}", described, topic)

    def identity(self, topic: str) -> str:
        """The topic's id, which Kafka makes anew each time a topic is made; empty from brokers before 2.8."""

        def described(admin: KafkaAdminClient) -> str:
            (found,) = admin.describe_topics([topic])
            if found["error_code"]:
                raise kafka_errors.for_code(found["error_code"])(topic)
            made = found.get("topic_id")
            return str(made) if made else ""

        identity = self._ask(f"describe topic {topic!r}", described, topic)
        return "" if identity == NO_TOPIC_ID else identity

    # -- offsets --------------------------------------------------------------------------------------------------

    def begin_offsets(self, topic: str) -> dict[int, int]:
        """First stored offset of each partition."""
        return self._offsets(topic, OffsetSpec.EARLIEST)

    def end_offsets(self, topic: str) -> dict[int, int]:
        """Offset that the next record of each partition will get, or where its first open transaction starts."""
        return self._offsets(topic, OffsetSpec.LATEST)

    def high_watermarks(self, topic: str) -> dict[int, int]:
        """Offset behind the last record of each partition, whether its transaction has ended or not."""
        return self._offsets(topic, OffsetSpec.LATEST, IsolationLevel.READ_UNCOMMITTED)

    def losing(self, topic: str) -> str:
        """Whether the topic is compacted: then Kafka keeps the last message of each key, which is a device.

        A user without the right to read the topic's settings is told of nothing.
        """
        self.partitions(topic)  # the broker describes the settings of a topic that isn't there without an error
        asked = ConfigResource(ConfigResourceType.TOPIC, topic)

        def described(admin: KafkaAdminClient) -> str:
            try:
                return str(admin.describe_configs([asked])["topic"][topic]["cleanup.policy"]["value"])
            except (kafka_errors.AuthorizationError, KeyError):
                return ""

        if "compact" not in self._ask(f"read the settings of {topic!r}", described, topic):
            return ""
        return (
            f"topic {topic} has cleanup.policy=compact, so Kafka deletes all but the last message of each device: "
            f"kafka-configs --alter --entity-type topics --entity-name {topic} --add-config cleanup.policy=delete"
        )

    def offsets_for_time(self, topic: str, timestamp_ms: int) -> dict[int, int | None]:
        """Earliest stored offset of each partition whose record timestamp is >= timestamp_ms; None if there is none.

        After somebody has deleted records, Kafka looks for the time in segments of its disk that are no longer part of the
        log, for some minutes, and finds none. So where it says none, the latest timestamp tells whether that can be.
        """
        found = self._offsets(topic, max(0, timestamp_ms))
        if min(found.values()) >= 0:
            return dict(found)
        begins, ends, latest = self.begin_offsets(topic), self.end_offsets(topic), self._latest_times(topic)
        return {
            partition: offset
            if offset >= 0
            else self._first_since(topic, partition, begins[partition], ends[partition], timestamp_ms)
            if latest[partition] >= timestamp_ms and begins[partition] > 0
            else None
            for partition, offset in found.items()
        }

    def _first_since(self, topic: str, partition: int, begin: int, end: int, timestamp_ms: int) -> int | None:
        """What :meth:`offsets_for_time` is to find, by reading."""
        for batch in self.read(topic, partition, begin, end):
            since = batch.timestamps_ms >= timestamp_ms
            if since.any():
                return int(batch.offsets[int(since.argmax())])
        return None

    def _latest_times(self, topic: str) -> dict[int, int]:
        """Latest record timestamp of each partition, of deleted records too where they are still on disk; -1 without any."""
        return {p: int(found.timestamp) for p, found in self._listed(topic, OffsetSpec.MAX_TIMESTAMP).items()}

    def _offsets(
        self, topic: str, wanted: Any, isolation_level: IsolationLevel = IsolationLevel.READ_COMMITTED
    ) -> dict[int, int]:
        """Offset of each partition for a timestamp or an OffsetSpec; -1 where there is none."""
        return {p: int(found.offset) for p, found in self._listed(topic, wanted, isolation_level).items()}

    def _listed(
        self, topic: str, wanted: Any, isolation_level: IsolationLevel = IsolationLevel.READ_COMMITTED
    ) -> dict[int, OffsetAndTimestamp]:
        """Offset and timestamp of each partition for a timestamp or an OffsetSpec; -1 where there is none."""
        asked = {TopicPartition(topic, partition): wanted for partition in self.partitions(topic)}
        found = self._ask(
            f"read the offsets of {topic!r}",
            lambda admin: admin.list_partition_offsets(
                asked, isolation_level=isolation_level, timeout_ms=self._attempt_ms
            ),
            topic,
        )
        return {of.partition: found[of] for of in asked}

    # -- reading --------------------------------------------------------------------------------------------------

    def read(
        self, topic: str, partition: int, start: int, end: int, max_records: int = 50_000
    ) -> Iterator[RecordBatch]:
        """Read exactly the records ``[start, end)`` of one partition, in order, at most max_records a batch.

        The range is checked by the call itself, before the first batch is asked for. Transaction markers and compacted
        records are absent from the batches; a range of nothing else yields nothing. If retention overtakes a slow reader,
        OffsetOutOfRangeError comes after what had been fetched by then.

        Raises:
            UnknownTopicError, UnknownPartitionError: there is no such log.
            OffsetOutOfRangeError: start is below the log's begin.
            OffsetBeyondEndError: end is above the log's end.
            LogError: nothing came for ``answer_seconds``; what was yielded before is right.
        """
        if start > end:
            raise ValueError(f"the range starts at {start}, after its end {end}")
        if max_records < 1:
            raise ValueError(f"max_records must be at least 1, not {max_records}")
        self._require_partition(topic, partition)
        self._require_stored(topic, partition, start, end)
        return self._batches(topic, partition, start, end, max_records)

    def _require_stored(self, topic: str, partition: int, start: int, end: int) -> None:
        begin, log_end = self.begin_offsets(topic)[partition], self.end_offsets(topic)[partition]
        if start < begin:
            raise OffsetOutOfRangeError(topic, partition, start, begin)
        if end > log_end:
            raise OffsetBeyondEndError(topic, partition, end, log_end)

    def _batches(self, topic: str, partition: int, start: int, end: int, max_records: int) -> Iterator[RecordBatch]:
        if start == end:
            return
        assigned = TopicPartition(topic, partition)
        consumer = self._connect(f"read {topic}/{partition}", self._new_consumer)
        try:
            consumer.assign([assigned])
            consumer.seek(assigned, start)
            position, moved_at = start, time.monotonic()
            pending = RecordColumns()
            wait_ms = _FIRST_WAIT_MS
            while position < end:
                try:
                    polled = consumer.poll(timeout_ms=wait_ms, max_records=_POLLED_BATCHES)
                    reached = consumer.position(assigned)
                except (kafka_errors.OffsetOutOfRangeError, kafka_errors.LogTruncationError) as error:
                    while len(pending):
                        yield pending.take(topic, partition, max_records)
                    self._require_stored(topic, partition, position, end)
                    raise self._log_error(f"read {topic}/{partition} at offset {position}", error) from error
                except kafka_errors.KafkaError as error:
                    raise self._log_error(f"read {topic}/{partition} at offset {position}", error, topic) from error
                wait_ms = _FIRST_WAIT_MS if polled else min(2 * wait_ms, _LONGEST_WAIT_MS)
                if reached is not None and reached > position:
                    # The position passes offsets that hold no record, so a range that ends with such ends too.
                    position, moved_at = reached, time.monotonic()
                elif time.monotonic() - moved_at > self._answer_seconds:
                    self._require_stored(topic, partition, position, end)
                    raise self._no_answer(f"read {topic}/{partition} at offset {position}")
                for _ in pending.add_polled(polled.get(assigned, ()), start, end):
                    while len(pending) >= max_records or pending.size >= MAX_UNPACKED_BYTES:
                        yield pending.take(topic, partition, max_records)
                        moved_at = time.monotonic()
                while position >= end and len(pending):
                    yield pending.take(topic, partition, max_records)
        finally:
            consumer.close(autocommit=False, timeout_ms=self._answer_ms)

    # -- appending ------------------------------------------------------------------------------------------------

    def append(self, topic: str, records: Sequence[Record]) -> Appended:
        """Append records, each to the partition that Kafka's default partitioner gives its key; durable on return.

        Records without a key go to one partition together, the next append's to the next partition. All in-sync replicas
        have every record when this returns. Records are checked before any is sent.

        Returns:
            partition → (base offset, number of records), for the partitions that got any. Records of other producers
            may lie in between.

        Raises:
            LogError: a record is over 1 MiB, has a timestamp below 0 or neither key nor value; or not all records were
                acknowledged in time. Then some may be in the log, and the same append can be repeated: a reading that
                arrives twice is stored once.
        """
        partitions = self.partitions(topic)
        if not records:
            return {}
        self._keyless_turn += 1
        keyless = self._keyless_turn % len(partitions)
        assigned = assign_partitions([record[0] for record in records], len(partitions), keyless).tolist()
        return self._append(topic, assigned, records)

    def append_to_partition(self, topic: str, partition: int, records: Sequence[Record]) -> Appended:
        """Append records to one partition whatever their keys; durable on return. Otherwise as `append`."""
        self._require_partition(topic, partition)
        return self._append(topic, [partition] * len(records), records)

    def _append(self, topic: str, partitions: Sequence[int], records: Sequence[Record]) -> Appended:
        for key, value, timestamp_ms in records:
            _check_record(topic, key, value, timestamp_ms)
        appended: Appended = {}
        acknowledged = 0
        for first in range(0, len(records), _APPEND_RECORDS):
            last = first + _APPEND_RECORDS
            try:
                metadata = self._deliver_anew(topic, partitions[first:last], records[first:last])
            except kafka_errors.KafkaError as error:
                self._discard_producer()
                reason = self._log_error(f"append to {topic!r}", error, topic)
                if isinstance(reason, UnknownTopicError):
                    raise reason from error
                raise LogError(
                    f"only {acknowledged} of {len(records)} records are known to be in {topic!r}, append them again "
                    f"(a reading that arrives twice is stored once): {reason}"
                ) from error
            for one in metadata:
                base_offset, count = appended.get(one.partition, (one.offset, 0))
                appended[one.partition] = (base_offset, count + 1)
            acknowledged += len(metadata)
        return appended

    def _deliver_anew(self, topic: str, partitions: Sequence[int], records: Sequence[Record]) -> list[Any]:
        """Deliver, once more by a new producer where the present one knows the topic as it was before it was made again.

        A record that was acknowledged before the refusal arrives twice then, which is stored once.
        """
        try:
            return self._deliver(topic, partitions, records)
        except kafka_errors.UnknownTopicOrPartitionError:
            if not set(partitions) <= set(self.partitions(topic)):
                raise
        self._discard_producer()
        return self._deliver(topic, partitions, records)

    def _deliver(self, topic: str, partitions: Sequence[int], records: Sequence[Record]) -> list[Any]:
        """Send records and wait until each is acknowledged; their metadata."""
        producer = self._connect(f"append to {topic!r}", self._producer_client)
        sent = [
            producer.send(topic, value=value, key=key, partition=partition, timestamp_ms=timestamp_ms)
            for partition, (key, value, timestamp_ms) in zip(partitions, records, strict=True)
        ]
        # The producer gives every record up after delivery_seconds by itself; the margin lets it say why.
        producer.flush(timeout=self._delivery_seconds + 5)
        return [future.get(timeout=0) for future in sent]

    # -- consumer groups ------------------------------------------------------------------------------------------

    def commit(self, group: str, topic: str, offsets: Mapping[int, int]) -> None:
        """Store the next offset to read of a consumer group, by partition; other partitions keep theirs.

        Raises:
            LogError: a consumer is subscribed with this group; only its members can commit then.
        """
        partitions = self.partitions(topic)
        for partition, next_offset in offsets.items():
            if partition not in partitions:
                raise UnknownPartitionError(topic, partition, len(partitions))
            if next_offset < 0:
                raise LogError(f"{topic}/{partition}: can't commit offset {next_offset}")
        committed = {
            TopicPartition(topic, partition): OffsetAndMetadata(next_offset, "", -1)
            for partition, next_offset in offsets.items()
        }

        def altered(admin: KafkaAdminClient) -> None:
            for error in admin.alter_group_offsets(group, committed).values():
                if error is not kafka_errors.NoError:
                    raise error(group)

        self._ask(f"commit offsets of group {group!r}", altered, topic)

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """Committed offsets of a group; partitions that were never committed are absent."""
        asked = [TopicPartition(topic, partition) for partition in self.partitions(topic)]
        found = self._ask(
            f"read the offsets of group {group!r}", lambda admin: admin.list_group_offsets({group: asked}), topic
        )
        return {of.partition: found[group][of].offset for of in asked if found[group][of].offset >= 0}

    # -- clients --------------------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether it can't be used any more."""
        return self._closed

    def close(self) -> None:
        """Close this process's connections; the log can't be used afterwards."""
        self._closed = True
        if self._pid != os.getpid():
            return
        self._discard_producer()
        self._discard_admin()

    def _forget_clients(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._admin: KafkaAdminClient | None = None
        self._producer: KafkaProducer | None = None

    def _enter(self) -> None:
        """Check that the log is open; let go of clients that came through a fork."""
        if self._closed:
            raise LogError(f"the log at {self.bootstrap_servers} is closed")
        if self._pid != os.getpid():
            INHERITED_BY_FORK.extend((self._admin, self._producer))
            self._forget_clients()

    @property
    def _answer_ms(self) -> int:
        return round(self._answer_seconds * 1000)

    @property
    def _attempt_ms(self) -> int:
        """How long one attempt at a question may take, so that a silent broker is asked again, perhaps another one."""
        return self._answer_ms // 3

    def _client_options(self) -> dict[str, Any]:
        return {
            "bootstrap_servers": self.bootstrap_servers.replace(" ", "").split(","),
            "bootstrap_timeout_ms": self._answer_ms,
            "request_timeout_ms": self._answer_ms,
            "reconnect_backoff_max_ms": 1_000,
            **self._security.client_options(),
        }

    def _admin_client(self) -> KafkaAdminClient:
        self._enter()
        admin = self._admin
        if admin is None:
            options = self._client_options() | {"request_timeout_ms": self._attempt_ms}
            admin = self._adopt("_admin", KafkaAdminClient(client_id="hvac-platform", **options))
        return admin

    def _producer_client(self) -> KafkaProducer:
        self._enter()
        producer = self._producer
        if producer is None:
            delivery_ms = round(self._delivery_seconds * 1000)
            options = self._client_options() | {"request_timeout_ms": min(self._answer_ms, delivery_ms // 2)}
            producer = KafkaProducer(
                client_id="hvac-platform",
                acks="all",
                enable_idempotence=True,
                compression_type=COMPRESSION,
                batch_size=self._batch_bytes,
                linger_ms=self._linger_ms,
                delivery_timeout_ms=delivery_ms,
                max_block_ms=self._answer_ms,
                max_request_size=MAX_RECORD_BYTES + BATCH_OVERHEAD_BYTES,
                allow_auto_create_topics=False,
                metrics_enabled=False,
                **options,
            )
            producer = self._adopt("_producer", producer)
        return producer

    def _adopt(self, name: str, client: Any) -> Any:
        """Keep a new client, or close it and take that of a faster thread. No thread waits while another connects."""
        with self._lock:
            faster = getattr(self, name)
            if faster is None:
                setattr(self, name, client)
                return client
        client.close()
        return faster

    def _new_consumer(self) -> KafkaConsumer:
        self._enter()
        consumer = KafkaConsumer(
            client_id="hvac-platform",
            auto_offset_reset="none",
            enable_auto_commit=False,
            isolation_level="read_committed",
            allow_auto_create_topics=False,
            enable_incremental_fetch_sessions=False,
            fetch_max_wait_ms=_FETCH_WAIT_MS,
            max_partition_fetch_bytes=_FETCH_BYTES,
            metrics_enabled=False,
            **self._client_options(),
        )
        give_whole_batches(consumer)
        return consumer

    def _discard_admin(self) -> None:
        with self._lock:
            admin, self._admin = self._admin, None
        if admin is not None:
            admin.close()

    def _discard_producer(self) -> None:
        """Close the producer; the next append makes another, since one that gave up a batch may refuse all later ones."""
        with self._lock:
            producer, self._producer = self._producer, None
        if producer is not None:
            producer.close(timeout=0)

    # -- asking, and what goes wrong ------------------------------------------------------------------------------

    def _ask(self, doing: str, question: Callable[[KafkaAdminClient], T], topic: str | None = None) -> T:
        """Ask the cluster, again and again while it can't answer at the moment."""
        began = time.monotonic()
        while True:
            try:
                return question(self._connect(doing, self._admin_client))
            except kafka_errors.KafkaError as error:
                unknown = isinstance(error, kafka_errors.UnknownTopicOrPartitionError)
                patience = _SETTLING_SECONDS if unknown else self._answer_seconds - self._attempt_ms / 1000
                # A partition that has no leader at the moment is asked of a broker -1, which the client takes for final.
                passes = error.retriable or isinstance(error, kafka_errors.UnknownBrokerIdError)
                if not passes or time.monotonic() - began > patience:
                    raise self._log_error(doing, error, topic) from error
            time.sleep(_PAUSE_SECONDS)

    def _connect(self, doing: str, client: Callable[[], T]) -> T:
        began = time.monotonic()
        try:
            return client()
        except kafka_errors.KafkaError as error:
            raise self._log_error(doing, _connection_failures.most_telling(began) or error) from error

    def _require_partition(self, topic: str, partition: int) -> None:
        partitions = self.partitions(topic)
        if partition not in partitions:
            raise UnknownPartitionError(topic, partition, len(partitions))

    def _log_error(self, doing: str, error: Exception, topic: str | None = None) -> LogError:
        """The error in the platform's words, with what to do."""
        if isinstance(error, LogError):
            return error
        if topic is not None and isinstance(
            error, (kafka_errors.UnknownTopicOrPartitionError, kafka_errors.InvalidTopicError)
        ):
            return UnknownTopicError(topic)
        if isinstance(error, _AUTHENTICATION_ERRORS):
            return LogError(
                f"can't {doing}: Kafka at {self.bootstrap_servers} refuses user {self._security.username!r}: check "
                f"KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD and KAFKA_SASL_MECHANISM={self._security.mechanism}"
            )
        if isinstance(error, kafka_errors.AuthorizationError):
            return LogError(
                f"can't {doing}: user {self._security.username!r} has no right to it at {self.bootstrap_servers}: "
                f"an administrator has to grant it with kafka-acls ({type(error).__name__})"
            )
        if isinstance(error, kafka_errors.UnknownMemberIdError):
            return LogError(f"can't {doing}: another consumer is subscribed with this group: stop it")
        if isinstance(error, kafka_errors.InvalidTimestampError):
            return LogError(
                f"can't {doing}: a record's timestamp is further from the broker's clock than it takes (an hour ahead "
                "by default): correct the producer's clock"
            )
        if _is_about_tls(error):
            return LogError(
                f"can't {doing}: no TLS connection with Kafka at {self.bootstrap_servers}: {_one_line(error)}: "
                f"check KAFKA_SSL_CAFILE and KAFKA_SECURITY_PROTOCOL={self._security.protocol}"
            )
        if self._security.protocol.startswith("SASL") and _hung_up(error):
            return LogError(
                f"can't {doing}: Kafka at {self.bootstrap_servers} hangs up while user {self._security.username!r} logs in: "
                f"check KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD and KAFKA_SASL_MECHANISM={self._security.mechanism}, and "
                "that the brokers run"
            )
        if getattr(error, "retriable", False) or isinstance(error, kafka_errors.KafkaProtocolError):
            return self._no_answer(doing, error)
        return LogError(f"can't {doing}: {type(error).__name__}: {_one_line(error)}")

    def _no_answer(self, doing: str, error: Exception | None = None) -> LogError:
        last = "" if error is None else f" ({_one_line(error)})"
        suspects = ["KAFKA_BOOTSTRAP_SERVERS", f"KAFKA_SECURITY_PROTOCOL={self._security.protocol}"]
        if self._security.protocol.startswith("SASL"):
            suspects += [f"KAFKA_SASL_MECHANISM={self._security.mechanism}", f"user {self._security.username!r}"]
        return LogError(
            f"can't {doing}: no usable answer from Kafka at {self.bootstrap_servers}{last}: check that the brokers run "
            f"and that {', '.join(suspects[:-1])} and {suspects[-1]} fit them"
        )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _is_about_tls(error: Exception) -> bool:
    return isinstance(error.__context__, ssl.SSLError) or "Handshake failed" in str(error)


def _hung_up(error: Exception) -> bool:
    """Whether the broker ended the connection.

    One that refuses a user answers and hangs up; where both are there when the client looks, it reads the second alone.
    """
    return "socket disconnected" in str(error)


def _check_record(topic: str, key: bytes | None, value: bytes | None, timestamp_ms: int) -> None:
    if timestamp_ms < 0:
        raise LogError(f"{topic}: record timestamp {timestamp_ms} is before 1970")
    size = len(key or b"") + len(value or b"")
    if size > MAX_RECORD_BYTES:
        raise LogError(f"{topic}: a record of {size} bytes is over the {MAX_RECORD_BYTES} that are allowed")
    if key is None and value is None:
        raise LogError(f"{topic}: a record needs a key or a value")
