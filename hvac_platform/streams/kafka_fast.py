"""Kafka through confluent-kafka, several times as fast as in pure Python; used where it is installed.

It comes with ``pip install hvac-platform[fast]``. Topics, offsets and groups stay with kafka-python, and every range is
checked there before the first record is read, so what goes wrong is said in the same words.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from kafka import errors as kafka_errors

from hvac_platform.streams.base import LogError, Record, RecordBatch
from hvac_platform.streams.embedded import MAX_RECORD_BYTES
from hvac_platform.streams.kafka import BATCH_OVERHEAD_BYTES, COMPRESSION, INHERITED_BY_FORK, KafkaLog
from hvac_platform.streams.kafka_batches import RecordColumns

_POLLED_MESSAGES = 1_000  # while they are still in the processor's cache
_POLL_SECONDS = 0.2
_QUEUED_KILOBYTES = 32_768  # fetched ahead of the reader; what lies behind the end of the range is thrown away
_UNUSED_GROUP = "hvac-platform-ranges"  # librdkafka wants a name, though a consumer with assigned partitions joins none


class _Delivered(NamedTuple):
    """Where a record went."""

    partition: int
    offset: int


class FastKafkaLog(KafkaLog):
    """A :class:`~hvac_platform.streams.kafka.KafkaLog` whose reads and appends go through librdkafka."""

    def _forget_clients(self) -> None:
        super()._forget_clients()
        INHERITED_BY_FORK.append(
            getattr(self, "_fast_producer", None)
        )  # freeing a parent's one would wait for its threads
        self._fast_producer: Producer | None = None

    def _discard_producer(self) -> None:
        super()._discard_producer()
        with self._lock:
            producer, self._fast_producer = self._fast_producer, None
        if producer is not None:
            producer.purge()
            producer.flush(0)

    def _fast_client(self) -> Producer:
        self._enter()
        with self._lock:
            if self._fast_producer is None:
                self._fast_producer = Producer(
                    self._options()
                    | {
                        "enable.idempotence": True,
                        "compression.type": COMPRESSION,
                        "batch.size": self._batch_bytes,
                        "linger.ms": self._linger_ms,
                        "message.timeout.ms": round(self._delivery_seconds * 1000),
                        "message.max.bytes": MAX_RECORD_BYTES + BATCH_OVERHEAD_BYTES,
                    }
                )
            return self._fast_producer

    def _deliver(self, topic: str, partitions: Sequence[int], records: Sequence[Record]) -> list[Any]:
        if any(timestamp_ms == 0 for _, _, timestamp_ms in records):
            return super()._deliver(topic, partitions, records)  # librdkafka takes 0 for now
        producer = self._fast_client()
        delivered: list[_Delivered] = []
        failed: list[KafkaError] = []

        def settled(error: KafkaError | None, message: Any) -> None:
            if error is None:
                delivered.append(_Delivered(message.partition(), message.offset()))
            else:
                failed.append(error)

        deadline = time.monotonic() + self._delivery_seconds + 5
        for partition, (key, value, timestamp_ms) in zip(partitions, records, strict=True):
            while True:
                try:
                    producer.produce(
                        topic, value, key, partition=partition, timestamp=timestamp_ms, on_delivery=settled
                    )
                    break
                except BufferError:  # its queue is full
                    producer.poll(_POLL_SECONDS)
                    if time.monotonic() > deadline:
                        raise kafka_errors.KafkaTimeoutError("the queue of the producer stays full") from None
                except KafkaException as error:
                    raise _in_the_other_clients_words(error.args[0]) from error
        producer.flush(max(0.1, deadline - time.monotonic()))
        if failed:
            raise _in_the_other_clients_words(failed[0])
        if len(delivered) < len(records):
            raise kafka_errors.KafkaTimeoutError("no acknowledgement")
        return sorted(delivered)

    def _batches(self, topic: str, partition: int, start: int, end: int, max_records: int) -> Iterator[RecordBatch]:
        if start == end:
            return
        self._enter()
        doing = f"read {topic}/{partition} at offset"
        failures: list[KafkaError] = []
        consumer = Consumer(self._reading_options(), error_cb=failures.append)
        try:
            consumer.assign([TopicPartition(topic, partition, start)])
            position, moved_at = start, time.monotonic()
            pending = RecordColumns()
            while position < end:
                wanted = min(_POLLED_MESSAGES, max_records - len(pending))
                polled = consumer.consume(wanted, _POLL_SECONDS)
                records: list[Any] = [message for message in polled if message.error() is None]
                reached: int = records[-1].offset() + 1 if records else position
                for message in polled if len(records) < len(polled) else ():
                    error = message.error()
                    if error is None:
                        continue
                    if error.code() != KafkaError._PARTITION_EOF:
                        self._require_stored(topic, partition, position, end)
                        raise LogError(f"can't {doing} {position}: {error.str()}")
                    # The end of the partition may lie behind offsets that hold no record.
                    reached = max(reached, message.offset() or 0)
                _add(pending, [record for record in records if record.offset() < end])
                if reached > position:
                    position, moved_at = reached, time.monotonic()
                elif time.monotonic() - moved_at > self._answer_seconds:
                    self._require_stored(topic, partition, position, end)
                    raise self._no_answer(
                        f"{doing} {position}", KafkaException(failures[-1].str()) if failures else None
                    )
                if len(pending) and (len(pending) >= max_records or position >= end):
                    yield pending.take(topic, partition, max_records)
                    moved_at = time.monotonic()
        except KafkaException as failure:
            raise LogError(f"can't {doing} {start}: {failure}") from failure
        finally:
            consumer.close()

    def _reading_options(self) -> dict[str, Any]:
        return self._options() | {
            "group.id": _UNUSED_GROUP,
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "queued.max.messages.kbytes": _QUEUED_KILOBYTES,
            "fetch.wait.max.ms": 50,
        }

    def _options(self) -> dict[str, Any]:
        """What both of its clients need to connect."""
        options: dict[str, Any] = {
            "bootstrap.servers": self.bootstrap_servers.replace(" ", ""),
            "client.id": "hvac-platform",
            "allow.auto.create.topics": False,
            "security.protocol": self._security.protocol,
            "log_level": 0,  # what goes wrong is raised
        }
        if self._security.protocol.startswith("SASL"):
            options |= {
                "sasl.mechanism": self._security.mechanism,
                "sasl.username": self._security.username,
                "sasl.password": self._security.password.get_secret_value(),
            }
        if self._security.protocol.endswith("SSL") and self._security.ca_file is not None:
            options["ssl.ca.location"] = str(self._security.ca_file)
        return options


def _in_the_other_clients_words(error: KafkaError) -> Exception:
    """The exception of kafka-python for an error: codes above 0 are the broker's and the same for both."""
    if error.code() > 0:
        return kafka_errors.for_code(error.code())(error.str())  # type: ignore[no-any-return]
    if error.code() in {KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}:
        return kafka_errors.UnknownTopicOrPartitionError(error.str())  # type: ignore[no-any-return]
    return kafka_errors.KafkaTimeoutError(error.str())  # type: ignore[no-any-return]


def _add(columns: RecordColumns, records: Sequence[Any]) -> None:
    """Add confluent-kafka's messages."""
    columns.add(
        [record.offset() for record in records],
        [record.timestamp()[1] for record in records],
        [record.key() for record in records],
        [record.value() for record in records],
        [record.headers() or () for record in records],
    )
