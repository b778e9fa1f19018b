"""Parquet: typed columns, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hvac_platform.ingestion.importing.formats.opening import Content
from hvac_platform.ingestion.importing.formats.table import Chunk, rows_a_chunk
from hvac_platform.ingestion.importing.refusing import ImportRefusedError


@dataclass
class ParquetTable:
    """The table of a Parquet file; an index of pandas is a column like the others."""

    content: Content
    columns: tuple[str, ...]
    rows: int
    description: str = "Parquet"
    units: Mapping[str, str] = field(default_factory=dict)

    def chunks(self) -> Iterator[Chunk]:
        """The rows, from the first one."""
        size, done = self.content.path.stat().st_size, 0
        with self.content.open() as handle:
            try:
                for batch in pq.ParquetFile(handle).iter_batches(rows_a_chunk(len(self.columns))):
                    columns = {name: _plain(batch.column(i)) for i, name in enumerate(self.columns)}
                    lines = np.arange(done + 1, done + batch.num_rows + 1, dtype=np.int64)
                    done += batch.num_rows
                    yield Chunk(columns, lines, (), size * done // max(1, self.rows))
            except (pa.ArrowInvalid, OSError) as error:
                raise ImportRefusedError(f"not a readable Parquet file: {error}") from None


def open_parquet(content: Content) -> ParquetTable:
    """The table of a Parquet file.

    Raises:
        ImportRefusedError: it is none.
    """
    try:
        with content.open() as handle:
            source = pq.ParquetFile(handle)
            names = source.schema_arrow.names
            rows = source.metadata.num_rows
    except (pa.ArrowInvalid, OSError) as error:
        raise ImportRefusedError(f"not a readable Parquet file: {error}") from None
    if len(set(names)) < len(names):
        raise ImportRefusedError("two columns of the Parquet file have the same name")
    return ParquetTable(content, tuple(names), rows)


def _plain(values: Any) -> pa.Array:
    """Dictionaries as their values, times of day as text, what is nested as nothing that can be read."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        values = values.dictionary_decode()
        kind = values.type
    if pa.types.is_time(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pc.cast(values, pa.string())
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_duration(kind):
        return pa.array(["?"] * len(values), pa.string())
    return values
