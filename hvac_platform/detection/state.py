"""What a detector remembers between two calls, so that rows may come one at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvac_platform.detection.reference import Memory

ARRAY = "__array__"  # marks an array among packed values
_WHOLE_NUMBERS = {"carried_age", "run"}
_SCALARS = {"time_ms", "label", "odd_rows", "age", "begun_anew", "mode", "mode_rows"}


@dataclass(frozen=True, slots=True)
class Record:
    """Where one record stands; m metrics.

    Attributes:
        memory: of its last row.
        recent_times_ms: int64 [r], last rows, as far back as rules look.
        recent_values: float64 [r, m], their readings.
    """

    memory: Memory
    recent_times_ms: NDArray[np.int64]
    recent_values: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DetectorState:
    """Where every record stands after some calls of :meth:`FittedDetector.advance`.

    Attributes:
        records: one for each label seen (a single one without labels), the latest last. A record that has ended can be
            left out; its label then starts afresh.
        begun: whether any row has been judged; if not, the only record is that of the training.
    """

    records: tuple[Record, ...] = ()
    begun: bool = True

    def of(self, label: str | None) -> Record | None:
        """The record of a label, or None where there is none."""
        return next((record for record in self.records if record.memory.label == label), None)

    def with_record(self, record: Record) -> DetectorState:
        """The same with one record replaced or added."""
        others = tuple(r for r in self.records if r.memory.label != record.memory.label)
        return DetectorState((*others, record), begun=True)

    def to_document(self) -> dict[str, Any]:
        """The state as plain values, for JSON."""
        document: dict[str, Any] = plain(self)
        return document

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> DetectorState:
        """The state of a document."""
        return cls(tuple(_record_of(record) for record in document["records"]), document["begun"])


def plain(value: Any) -> Any:
    """Dataclasses and arrays as dicts and lists; NaN as None, which JSON has."""
    if hasattr(value, "__dataclass_fields__"):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def packed(value: Any) -> Any:
    """Dataclasses as dicts, and arrays as their type, shape and bytes, for MessagePack."""
    if hasattr(value, "__dataclass_fields__"):
        return {f.name: packed(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, np.ndarray):
        little = value.astype(value.dtype.newbyteorder("<"))
        return {ARRAY: little.dtype.str, "shape": list(value.shape), "data": little.tobytes()}
    if isinstance(value, Mapping):
        return {key: packed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [packed(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def unpacked(value: Any) -> Any:
    """The values that :func:`packed` was given, dataclasses as dicts and tuples as lists."""
    if isinstance(value, dict):
        if ARRAY in value:
            return np.frombuffer(value["data"], dtype=value[ARRAY]).reshape(value["shape"])
        return {key: unpacked(item) for key, item in value.items()}
    if isinstance(value, list):
        return [unpacked(item) for item in value]
    return value


def memory_of(document: Mapping[str, Any]) -> Memory:
    """The memory of a document."""
    remembered: dict[str, Any] = {
        name: value if name in _SCALARS else np.array(value, dtype=np.int64 if name in _WHOLE_NUMBERS else np.float64)
        for name, value in document.items()
    }
    return Memory(**remembered)


def _record_of(document: Mapping[str, Any]) -> Record:
    memory = memory_of(document["memory"])
    values = np.array(document["recent_values"], dtype=np.float64).reshape(-1, len(memory.last))
    return Record(memory, np.array(document["recent_times_ms"], dtype=np.int64), values)
