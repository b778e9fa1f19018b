"""What a detector remembers between two calls, so that rows may come one at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvac_platform.detection.detector import codec
from hvac_platform.detection.reference import Memory


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
        return codec.document_of(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> DetectorState:
        """The state of a document."""
        state = codec.read(document, cls)
        # A list without rows has lost the number of its columns.
        shaped = [replace(r, recent_values=r.recent_values.reshape(-1, len(r.memory.last))) for r in state.records]
        return replace(state, records=tuple(shaped))
