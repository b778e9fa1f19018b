"""All that the platform uses of cassandra-driver beyond its documented API; no other module may.

A newer version may change any of it without a word: before one is used, the test of :data:`CHECKED_ON` asks that this be
read again. What is here puts batches that are encoded already on the wire, and takes timestamps and vectors from it plain.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from cassandra.cqltypes import BytesType, LongType
from cassandra.protocol import BatchMessage, ProtocolHandler, ResultMessage
from cassandra.query import BatchStatement, BatchType

CHECKED_ON = ("3.30.1",)
"""Versions of cassandra-driver on which all tests passed, those against a node too."""


class EncodedRows:
    """Rows of a batch that are encoded already; to the driver's own writer it is a list of so many statements."""

    __slots__ = ("_count", "body")

    def __init__(self, count: int, body: bytes) -> None:
        self._count = count
        self.body = body

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Any]:
        return iter(())


class _EncodedBatchMessage(BatchMessage):  # type: ignore[misc]
    def send_body(self, f: Any, protocol_version: int) -> None:
        """What the driver writes for no rows, with the rows put where theirs would be: after type and count."""
        frame = io.BytesIO()
        super().send_body(frame, protocol_version)
        written = frame.getvalue()
        f.write(written[:3])
        f.write(self.queries.body)
        f.write(written[3:])


class _PlainResultMessage(ProtocolHandler.message_types_by_opcode[ResultMessage.opcode]):  # type: ignore[misc]
    """Results whose timestamps stay int64 and whose vectors stay bytes."""

    column_metadata: list[Any] | None

    def recv_results_metadata(self, f: Any, user_type_map: Any) -> None:
        super().recv_results_metadata(f, user_type_map)
        if self.column_metadata:
            self.column_metadata = [plain_metadata(meta) for meta in self.column_metadata]


class PlainProtocolHandler(ProtocolHandler):  # type: ignore[misc]
    """The driver's protocol with encoded batches out, plain timestamps and vectors in."""

    message_types_by_opcode: ClassVar[dict[int, Any]] = {
        **ProtocolHandler.message_types_by_opcode,
        ResultMessage.opcode: _PlainResultMessage,
    }

    @classmethod
    def encode_message(cls, msg: Any, *arguments: Any, **named: Any) -> Any:
        """A frame of the protocol."""
        if isinstance(msg, BatchMessage) and isinstance(msg.queries, EncodedRows):
            encoded = _EncodedBatchMessage.__new__(_EncodedBatchMessage)
            encoded.__dict__.update(msg.__dict__)
            msg = encoded
        return super().encode_message(msg, *arguments, **named)


def encoded_batch(rows: EncodedRows, routing_key: Sequence[bytes], keyspace: str) -> BatchStatement:
    """An UNLOGGED, idempotent batch of rows of one partition."""
    batch = BatchStatement(BatchType.UNLOGGED)
    batch._statements_and_parameters = rows
    batch.routing_key = list(routing_key)
    batch.keyspace = keyspace
    batch.is_idempotent = True
    return batch


def plain_metadata(meta: Any) -> Any:
    """Column metadata with timestamps as int64 and vectors as bytes."""
    kind = meta[3].cql_parameterized_type() if hasattr(meta[3], "cql_parameterized_type") else ""
    if kind == "timestamp":
        return _retyped(meta, LongType)
    if kind.startswith("vector") or "VectorType" in kind:
        return _retyped(meta, BytesType)
    return meta


def _retyped(meta: Any, kind: type) -> Any:
    return meta._replace(type=kind) if hasattr(meta, "_replace") else (*meta[:3], kind)
