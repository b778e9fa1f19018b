"""Texts of many rows as numbers: which distinct ones there are, and which of them each row has."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import TypeVar, overload

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]
K = TypeVar("K", bound=Hashable)


class Coded(Sequence[K]):
    """A column of which many rows are alike: a sequence for whoever looks at single rows, numbers for whoever wants all.

    Attributes:
        names: the distinct values, in order of their first row.
        codes: int64 [n], place of each row's value among them.
    """

    __slots__ = ("codes", "names")

    def __init__(self, names: list[K], codes: Int64) -> None:
        self.names, self.codes = names, codes

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.codes)

    @overload
    def __getitem__(self, index: int) -> K: ...
    @overload
    def __getitem__(self, index: slice) -> list[K]: ...
    def __getitem__(self, index: int | slice) -> K | list[K]:
        """Value of a row, or of some."""
        if isinstance(index, slice):
            return [self.names[code] for code in self.codes[index].tolist()]
        return self.names[int(self.codes[index])]

    def __iter__(self) -> Iterator[K]:
        """The values, row by row."""
        return map(self.names.__getitem__, self.codes.tolist())

    def __eq__(self, other: object) -> bool:
        """Whether the rows are those of another sequence."""
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as of a list

    def __repr__(self) -> str:
        """Names and codes."""
        return f"Coded(names={self.names!r}, codes={self.codes!r})"

    def rows(self, rows: Int64) -> Coded[K]:
        """Some rows, with those values that they have."""
        there, codes = renumbered(self.codes[rows], len(self.names))
        return Coded([self.names[code] for code in there.tolist()], codes)


def renumbered(codes: Int64, most: int) -> tuple[Int64, Int64]:
    """Which numbers occur, in order of their first row, and the place of each row's number among those.

    Without sorting the rows, for numbers that are not much larger than the rows are many.

    Args:
        codes: int64 [n], from 0 on.
        most: all are less than this.

    >>> there, places = renumbered(np.array([7, 2, 7]), 8)
    >>> there.tolist(), places.tolist()
    ([7, 2], [0, 1, 0])
    """
    n = len(codes)
    first = np.full(most, n, dtype=np.int64)
    first[codes[::-1]] = np.arange(n - 1, -1, -1)  # of several rows the first one is written last
    there = np.flatnonzero(first < n)
    there = there[np.argsort(first[there])]
    place = np.empty(most, dtype=np.int64)
    place[there] = np.arange(len(there))
    return there, place[codes]


def coded_as(values: Sequence[K]) -> Coded[K]:
    """A column with its distinct values numbered.

    >>> coded_as(["b", "a", "b"])
    Coded(names=['b', 'a'], codes=array([0, 1, 0]))
    """
    if isinstance(values, Coded):
        return values
    place = {value: code for code, value in enumerate(dict.fromkeys(values))}
    return Coded(list(place), np.fromiter(map(place.__getitem__, values), dtype=np.int64, count=len(values)))
