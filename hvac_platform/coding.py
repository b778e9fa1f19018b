"""Texts of many rows as numbers: which distinct ones there are, and which of them each row has."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]
K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Coded(Generic[K]):
    """A column of which many rows are alike.

    Attributes:
        names: the distinct values, in order of their first row.
        codes: int64 [n], place of each row's value among them.
    """

    names: list[K]
    codes: Int64


def coded_as(values: Sequence[K]) -> Coded[K]:
    """A column with its distinct values numbered.

    >>> coded_as(["b", "a", "b"])
    Coded(names=['b', 'a'], codes=array([0, 1, 0]))
    """
    place = {value: code for code, value in enumerate(dict.fromkeys(values))}
    return Coded(list(place), np.fromiter(map(place.__getitem__, values), dtype=np.int64, count=len(values)))
