"""Rows of one store as another takes them."""

from __future__ import annotations

from collections.abc import Iterator

from hvac_platform.stores.base import Columns
from hvac_platform.stores.tables import tables
from hvac_platform.stores.vectors import decoded_vectors


def writable(table: str, batch: Columns) -> Iterator[Columns]:
    """Columns that were read as they are written: vectors as numbers, and rows without one on their own."""
    kinds = tables()[table].columns
    for vector in (name for name in batch if kinds[name].type == "vector"):
        there = [i for i, value in enumerate(batch[vector]) if value is not None]
        absent = [i for i, value in enumerate(batch[vector]) if value is None]
        if there and not absent:
            yield {**batch, vector: decoded_vectors(batch[vector])}
            return
        if there:
            rows = {name: [values[i] for i in there] for name, values in batch.items()}
            yield {**rows, vector: decoded_vectors(rows[vector])}
        if absent:
            yield {name: [values[i] for i in absent] for name, values in batch.items() if name != vector}
        return
    yield batch
