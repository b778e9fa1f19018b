"""Columns as the CQL native protocol carries them: whole batches are encoded column by column, not value by value.

The driver binds every value of every row by a Python call. Here a column becomes a list of framed values (a length as int32,
then the bytes) by NumPy or by a look-up, and the rows of a batch are interleaved and joined in C. Timestamps and vectors
bypass the driver's codecs in both directions: they travel as int64 milliseconds and as big-endian float32.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from itertools import chain, repeat
from operator import itemgetter
from typing import Any

import msgspec
import numpy as np
from cassandra.query import BatchStatement, PreparedStatement
from numpy.typing import NDArray

from hvac_platform.snapshots import EMBEDDING_DIMENSION
from hvac_platform.stores.base import Columns
from hvac_platform.stores.cassandra_private import EncodedRows, encoded_batch
from hvac_platform.stores.tables import Table
from hvac_platform.stores.vectors import checked_vectors

BATCH_BYTES = 64_000
"""Size of a batch of one partition. Cassandra merges such a batch into one mutation; ScyllaDB warns from 128 kB on."""
BATCH_ROWS = 500

NULL = struct.pack(">i", -1)
_encode_json = msgspec.json.Encoder().encode
_decode_json = msgspec.json.Decoder().decode
_length = struct.Struct(">i").pack


class LittleEndianVector(bytes):
    """A vector as the store protocol gives it, to tell it from one as the wire gives it."""

    __slots__ = ()


# -- columns out -------------------------------------------------------------------------------------------------------


def framed_column(target: Table, name: str, values: Any, cql_type: Any, protocol_version: int) -> list[bytes]:
    """A column as framed values.

    Args:
        target: the table.
        name: the column.
        values: n values, as the store protocol has them.
        cql_type: the driver's type of the column, for the few that have no fast way.
        protocol_version: of the native protocol.

    Raises:
        EmbeddingError: a vector is zero, not finite or of a wrong length.
    """
    kind = target.columns[name].type
    if kind == "vector":
        vectors = checked_vectors(values)
        return _framed_array(vectors, np.dtype((">f4", (EMBEDDING_DIMENSION,))))
    if kind in {"text", "boolean"}:
        return _framed_few(values, kind)
    if kind in {"timestamp", "bigint", "double"}:
        return _framed_numbers(values, ">f8" if kind == "double" else ">i8")
    if (target.name, name) == ("anomaly_events", "metrics_snapshot"):
        texts = [{key: repr(value) for key, value in row.items()} for row in values]
        return [_framed(cql_type.serialize(row, protocol_version)) for row in texts]
    if (target.name, name) == ("device_profiles", "metric_stats"):
        return [_framed(cql_type.serialize(row, protocol_version)) for row in values]
    if kind == "map":
        return _framed_maps(values)
    if kind == "json":
        return list(map(_framed, map(_encode_json, values)))
    return list(map(_framed, values))


def _framed(value: bytes | None) -> bytes:
    return NULL if value is None else _length(len(value)) + value


def _framed_few(values: Any, kind: str) -> list[bytes]:
    """Texts and booleans, of which a column has few different ones: each is encoded once."""
    different = dict.fromkeys(values)
    if kind == "boolean":
        known = {value: NULL if value is None else _framed(b"\1" if value else b"\0") for value in different}
    else:
        known = {value: NULL if value is None else _framed(str(value).encode()) for value in different}
    return list(map(known.__getitem__, values))


def _framed_numbers(values: Any, wire: str) -> list[bytes]:
    """Numbers of eight bytes; a list may hold None."""
    if not isinstance(values, np.ndarray) and None in values:
        present = iter(_framed_array(np.array([v for v in values if v is not None]), np.dtype(wire)))
        return [NULL if value is None else next(present) for value in values]
    return _framed_array(np.asarray(values), np.dtype(wire))


def _framed_array(array: NDArray[Any], wire: np.dtype[Any]) -> list[bytes]:
    """Rows of an array, each of the same size on the wire."""
    framed = np.empty(len(array), dtype=[("length", ">i4"), ("value", wire)])
    framed["length"] = wire.itemsize
    framed["value"] = array
    rows: list[bytes] = framed.view(f"V{framed.dtype.itemsize}").tolist()
    return rows


def _framed_maps(rows: Sequence[Mapping[str, float] | None]) -> list[bytes]:
    """Maps of text to double. Rows with the same keys, nearly all of a device, share a template that holds the values."""
    keys = [None if row is None else tuple(row) for row in rows]
    framed: list[bytes] = [NULL] * len(rows)
    for names in dict.fromkeys(keys):
        if names is None:
            continue
        wanted = [i for i, key in enumerate(keys) if key == names]
        entries = [_framed(name.encode()) + _length(8) for name in names]
        template = _length(len(names)) + b"".join(entry + bytes(8) for entry in entries)
        filled = np.tile(np.frombuffer(_framed(template), dtype=np.uint8), (len(wanted), 1))
        table = np.array([list(rows[i].values()) for i in wanted], dtype=">f8")  # type: ignore[union-attr]
        position = 8  # after the length of the value and the number of entries
        for column, entry in enumerate(entries):
            position += len(entry)
            filled[:, position : position + 8] = table[:, column : column + 1].copy().view(np.uint8)
            position += 8
        for i, value in zip(wanted, filled.view(f"V{filled.shape[1]}").ravel().tolist(), strict=True):
            framed[i] = value
    return framed


# -- batches -----------------------------------------------------------------------------------------------------------


def batches(
    target: Table, statement: PreparedStatement, names: Sequence[str], columns: Columns, protocol_version: int
) -> list[BatchStatement]:
    """UNLOGGED batches of rows of one partition each, at most :data:`BATCH_ROWS` rows and :data:`BATCH_BYTES` bytes.

    Args:
        target: the table.
        statement: an INSERT of ``names``.
        names: columns in the statement's order, the partition key among them.
        columns: values by name, all of one length.
        protocol_version: of the native protocol.

    Raises:
        EmbeddingError: a vector is zero, not finite or of a wrong length; nothing is encoded.
    """
    types = [meta[3] for meta in statement.column_metadata]
    framed = [
        framed_column(target, name, columns[name], kind, protocol_version)
        for name, kind in zip(names, types, strict=True)
    ]
    lengths = {len(column) for column in framed}
    if len(lengths) > 1:
        raise ValueError(f"columns of {target.name} have different lengths: {sorted(lengths)}")
    keys = [framed[names.index(name)] for name in target.partition]
    partitions, order, edges = _by_partition(keys)
    if order is not None:
        framed = [list(itemgetter(*order)(column)) for column in framed]
    query_id = statement.query_id
    head = b"\1" + struct.pack(">H", len(query_id)) + query_id + struct.pack(">H", len(names))
    sizes = np.sum([np.fromiter(map(len, column), dtype=np.int64, count=len(column)) for column in framed], axis=0)
    ends = np.cumsum(sizes + len(head))
    made = []
    for key, first, last in zip(partitions, edges[:-1], edges[1:], strict=True):
        start = first
        while start < last:
            full = int(np.searchsorted(ends, (ends[start - 1] if start else 0) + BATCH_BYTES, side="right"))
            stop = min(last, start + BATCH_ROWS, max(full, start + 1))
            part = zip(repeat(head), *(column[start:stop] for column in framed), strict=False)
            rows = EncodedRows(stop - start, b"".join(chain.from_iterable(part)))
            made.append(encoded_batch(rows, [component[4:] for component in key], statement.keyspace))
            start = stop
    return made


def _by_partition(
    keys: Sequence[Sequence[bytes]],
) -> tuple[list[tuple[bytes, ...]], list[int] | None, list[int]]:
    """Partitions in order of appearance, the order of rows that brings each together (None: as they are), its edges."""
    rows = list(zip(*keys, strict=True))
    codes_of = {key: code for code, key in enumerate(dict.fromkeys(rows))}
    if len(codes_of) <= 1:
        return list(codes_of), None, [0, len(rows)] if rows else [0]
    codes = np.fromiter(map(codes_of.__getitem__, rows), dtype=np.int64, count=len(rows))
    edges = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=len(codes_of)))]).tolist()
    if (np.diff(codes) >= 0).all():
        return list(codes_of), None, edges
    return list(codes_of), np.argsort(codes, kind="stable").tolist(), edges


# -- values in ---------------------------------------------------------------------------------------------------------


def wire_vector(vector: NDArray[np.float32]) -> bytes:
    """One vector as an argument of a prepared statement."""
    return vector.astype(">f4").tobytes()


def read_vectors(vectors: Sequence[bytes]) -> NDArray[np.float32]:
    """Vectors float32 [n, 384] from bytes as the wire, or as the store protocol, gives them."""
    wire = "<f4" if len(vectors) and isinstance(vectors[0], LittleEndianVector) else ">f4"
    return np.frombuffer(b"".join(vectors), dtype=wire).reshape(-1, EMBEDDING_DIMENSION).astype(np.float32)


def read_column(target: Table, name: str, values: list[Any]) -> list[Any]:
    """A column as the store protocol gives it."""
    kind = target.columns[name].type
    if kind == "vector":
        swapped = read_vectors([v for v in values if v is not None]).astype("<f4").view("V1536").ravel().tolist()
        there = map(LittleEndianVector, swapped)
        return [None if v is None else next(there) for v in values]
    if (target.name, name) == ("anomaly_events", "metrics_snapshot"):
        return [{key: float(value) for key, value in row.items()} for row in values]
    if (target.name, name) == ("device_profiles", "metric_stats"):
        return [{key: dict(stats) for key, stats in row.items()} for row in values]
    if kind == "map":
        return [{} if row is None else dict(row.items()) for row in values]
    if kind == "json":
        return [None if value is None else _decode_json(value) for value in values]
    return values
