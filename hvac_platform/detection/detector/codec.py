"""Detectors and what they remember as bytes and as plain documents; those of earlier versions are read too.

Dataclasses become maps. In bytes an array is its type, shape and little-endian content; in documents, which are for JSON, it
is a list, with None for NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar, get_args, get_origin

import msgspec
import numpy as np

ARRAY = "__array__"
"""Marks an array among packed values."""

T = TypeVar("T")


def packed(value: Any) -> bytes:
    """Dataclasses, maps, sequences and arrays as MessagePack."""
    return msgspec.msgpack.encode(value, enc_hook=_array_to_map)


def unpacked(content: bytes) -> dict[str, Any]:
    """The document of :func:`packed` bytes, arrays as maps."""
    document: dict[str, Any] = msgspec.msgpack.decode(content)
    return document


def document_of(value: Any) -> dict[str, Any]:
    """A dataclass as plain values, for JSON."""
    document: dict[str, Any] = _without_nan(msgspec.to_builtins(value, enc_hook=_array_to_list))
    return document


def read(document: Mapping[str, Any], kind: type[T]) -> T:
    """The dataclass of a document of either kind.

    Raises:
        msgspec.ValidationError: the document is of something else.
    """
    return msgspec.convert(document, kind, dec_hook=_array_of)


def detector_of(kind: type[T], document: Mapping[str, Any]) -> T:
    """The detector of a document.

    Documents of version 1 say nothing of their version.

    Raises:
        msgspec.ValidationError: the document is of something else.
    """
    found: Any = read({"version": 1, **document}, kind)
    # A list without rows has lost the number of its columns.
    values = found.recent_values.reshape(-1, len(found.metric_names))
    detector: T = replace(found, recent_values=values)
    return detector


def _array_to_map(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        little = value.astype(value.dtype.newbyteorder("<"))
        return {ARRAY: little.dtype.str, "shape": list(value.shape), "data": little.tobytes()}
    return _number(value)


def _array_to_list(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else _number(value)


def _number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise NotImplementedError(f"{type(value).__name__} can't be kept")


def _array_of(kind: Any, value: Any) -> Any:
    """An array of the annotated type, ``NDArray[...]``."""
    if get_origin(kind) is not np.ndarray:
        raise NotImplementedError(f"{kind} can't be read")
    (dtype,) = get_args(get_args(kind)[1])
    if isinstance(value, Mapping):
        return np.frombuffer(value["data"], dtype=value[ARRAY]).reshape(value["shape"]).astype(dtype)
    return np.array(value, dtype=dtype)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
