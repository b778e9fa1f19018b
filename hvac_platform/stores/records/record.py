"""What every record can do: be read from its table, wholly or some columns of it, and be written back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from hvac_platform.stores.tables import TableSlice, table

if TYPE_CHECKING:
    from hvac_platform.stores.base import Store

ROWS_AT_ONCE = 5_000

Span = tuple[int | None, int | None]
"""Half-open range [start, end) of a table's time column, epoch milliseconds; None leaves a side open."""


class Record:
    """A row of a table: a frozen dataclass whose fields are the table's columns.

    Static attributes (``device_type`` and others of raw readings and snapshots) are no fields: the embedded store has them
    in ``devices`` alone, and that is where to read them. A column that ``only`` leaves out of a reading is not there: to use
    it is an AttributeError that says so.

    Attributes:
        TABLE: name of the table.
    """

    __slots__ = ()

    TABLE: ClassVar[str]

    @classmethod
    def batches(
        cls,
        store: Store,
        device_id: str | None = None,
        span: Span = (None, None),
        *,
        only: Sequence[str] = (),
        equals: Mapping[str, object] | None = None,
        batch_rows: int = ROWS_AT_ONCE,
    ) -> Iterator[list[Self]]:
        """Records in the order of their keys, so many at a time.

        Args:
            store: where from.
            device_id: of one device; of all when absent.
            span: times of the table's time column.
            only: columns to read; all when empty.
            equals: further columns that must have a value.
            batch_rows: most records at a time.
        """
        names = tuple(only) or columns_of(cls)
        vectors = vectors_of(cls)
        rows = TableSlice(cls.TABLE, names, device_id, *span, equals=tuple((equals or {}).items()))
        for batch in store.scan(rows, batch_rows=batch_rows):
            columns = [_decoded(batch[name]) if name in vectors else batch[name] for name in names]
            yield [cls._of(names, values) for values in zip(*columns, strict=True)]

    @classmethod
    def read(
        cls,
        store: Store,
        device_id: str | None = None,
        span: Span = (None, None),
        *,
        only: Sequence[str] = (),
        equals: Mapping[str, object] | None = None,
        most: int | None = None,
    ) -> list[Self]:
        """The records of :meth:`batches` in one list, the first ``most`` of them."""
        size = ROWS_AT_ONCE if most is None else min(most, ROWS_AT_ONCE)
        found = cls.batches(store, device_id, span, only=only, equals=equals, batch_rows=size)
        return list(islice(chain.from_iterable(found), most))

    @classmethod
    def first(
        cls,
        store: Store,
        device_id: str | None = None,
        span: Span = (None, None),
        *,
        only: Sequence[str] = (),
        equals: Mapping[str, object] | None = None,
    ) -> Self | None:
        """The first record, or None."""
        return next(iter(cls.read(store, device_id, span, only=only, equals=equals, most=1)), None)

    @classmethod
    def times(cls, store: Store, device_id: str, span: Span = (None, None)) -> NDArray[np.int64]:
        """The time column of a device's rows, int64 [n], ascending; no other column is read and no record is made."""
        name = table(cls.TABLE).time_column
        assert name is not None
        batches = store.scan(TableSlice(cls.TABLE, (name,), device_id, *span))
        return np.sort(np.concatenate([np.zeros(0, dtype=np.int64), *(np.array(batch[name]) for batch in batches)]))

    @classmethod
    def all_but(cls, *left_out: str) -> tuple[str, ...]:
        """Every column but some large ones, as ``only`` takes them."""
        return tuple(name for name in columns_of(cls) if name not in left_out)

    @classmethod
    def columns(cls, records: Sequence[Self], *, only: Sequence[str] = ()) -> dict[str, Any]:
        """Records as columns to write; vectors float32 [n, 384], left out where no record has one.

        Args:
            records: with all of these columns.
            only: columns to write, the others stay as they are in the store; all when empty.

        Raises:
            ValueError: some records have a vector and some have none; they are written apart.
        """
        found: dict[str, Any] = {n: [getattr(record, n) for record in records] for n in tuple(only) or columns_of(cls)}
        for name in vectors_of(cls) & found.keys():
            absent = sum(vector is None for vector in found[name])
            if absent and absent == len(records):
                del found[name]
            elif absent:
                raise ValueError(f"{absent} of {len(records)} records have no {name}: write them apart")
            elif records:
                found[name] = np.stack(found[name])
        return found

    @classmethod
    def _of(cls, names: Sequence[str], values: Sequence[Any]) -> Self:
        """A record that has some columns only."""
        made = object.__new__(cls)
        for name, value in zip(names, values, strict=True):
            object.__setattr__(made, name, value)
        return made

    if not TYPE_CHECKING:  # for types a column that a record hasn't is an error as everywhere

        def __getattr__(self, name: str) -> Any:
            """Say why a column is not there; it is asked only for one that is not."""
            kind = type(self).__name__
            if name in columns_of(type(self)):
                raise AttributeError(f"{kind}.{name} was not read: it is not among the columns of only=")
            raise AttributeError(f"{kind} has no {name}")


def columns_of(record: type[Record]) -> tuple[str, ...]:
    """Names of a record's fields."""
    return tuple(field.name for field in fields(record))  # type: ignore[arg-type]  # every record is a dataclass


def vectors_of(record: type[Record]) -> frozenset[str]:
    """Those of them that are vectors."""
    return frozenset(column.name for column in table(record.TABLE).columns.values() if column.type == "vector")


def _decoded(blobs: list[bytes | None]) -> list[NDArray[np.float32] | None]:
    return [None if blob is None else np.frombuffer(blob, dtype="<f4").astype(np.float32) for blob in blobs]
