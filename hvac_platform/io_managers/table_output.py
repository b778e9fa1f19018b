"""What an asset returns: rows to write and what to say of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from hvac_platform.stores.batches import TableBatch

Metadata = dict[str, Any]


@dataclass
class TableOutput:
    """Batches, written one by one as they are made, and metadata that is complete at the end."""

    batches: Iterator[TableBatch]
    metadata: Metadata = field(default_factory=dict)


def table_output(make: Callable[[Metadata], Iterator[TableBatch]]) -> TableOutput:
    """The output of a generator that adds to the metadata it is given while its batches are taken."""
    metadata: Metadata = {}
    return TableOutput(make(metadata), metadata)
