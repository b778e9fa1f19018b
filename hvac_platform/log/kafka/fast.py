"""Appending to Kafka through confluent-kafka, several times as fast as in pure Python; used where it is installed.

It comes with ``pip install hvac-platform[fast]``. Everything else stays with kafka-python, reading too: batches unpacked by
column (``kafka_batches``) take half of the processor time of librdkafka's messages.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Producer
from kafka import errors as kafka_errors

from hvac_platform.log.base import MAX_RECORD_BYTES, Record
from hvac_platform.log.kafka.kafka_log import BATCH_OVERHEAD_BYTES, COMPRESSION, INHERITED_BY_FORK, KafkaLog

_POLL_SECONDS = 0.2


class _Delivered(NamedTuple):
    """Where a record went."""

    partition: int
    offset: int


class FastKafkaLog(KafkaLog):
    """A :class:`~hvac_platform.log.kafka.kafka_log.KafkaLog` whose appends go through librdkafka."""

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

    def _options(self) -> dict[str, Any]:
        """What its client needs to connect."""
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
