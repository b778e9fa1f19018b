"""Columns of maps from metric to numbers, held as arrays: what a snapshot says of each metric."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class MetricGrid:
    """Maps of n rows over the same m metrics.

    Attributes:
        names: m metric names.
        values: float64 [n, m], or [n, m, 4] where a metric has several numbers.
        there: bool [n, m], which metrics a row has.
    """

    names: tuple[str, ...]
    values: NDArray[np.float64]
    there: NDArray[np.bool_]

    def of_rows(self, rows: slice) -> MetricGrid:
        """Some rows, with the metrics that any of them has."""
        there = self.there[rows]
        columns = np.flatnonzero(there.any(axis=0))
        if len(columns) == len(self.names):
            return MetricGrid(self.names, self.values[rows], there)
        return MetricGrid(
            tuple(self.names[j] for j in columns.tolist()), self.values[rows][:, columns], there[:, columns]
        )

    def maps(self) -> list[dict[str, Any]]:
        """The rows as dictionaries."""
        rows = self.values.tolist()
        if bool(self.there.all()):
            return [dict(zip(self.names, row, strict=True)) for row in rows]
        return [
            {name: value for name, value, has in zip(self.names, row, mask, strict=True) if has}
            for row, mask in zip(rows, self.there.tolist(), strict=True)
        ]


class MetricMaps(Sequence[dict[str, Any]]):
    """A column of maps: a sequence of dictionaries for whoever looks at single rows, arrays for whoever wants many.

    Args:
        grids: one below the other.
    """

    def __init__(self, grids: Sequence[MetricGrid] = ()) -> None:
        self.grids = list(grids)
        self._rows: list[dict[str, Any]] | None = None

    def __len__(self) -> int:
        """Number of rows."""
        return sum(len(grid.values) for grid in self.grids)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        """One row, or some, as dictionaries."""
        if self._rows is None:
            self._rows = list(self)
        return self._rows[index]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The rows as dictionaries."""
        for grid in self.grids:
            yield from grid.maps()

    def __eq__(self, other: object) -> bool:
        """Whether the rows are the same as those of another sequence."""
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # it can grow

    def __repr__(self) -> str:
        """As the list that it stands for."""
        return repr(list(self))

    def extend(self, other: MetricMaps) -> None:
        """Put rows below these."""
        self.grids += other.grids
        self._rows = None

    def merged(self, names: tuple[str, ...] | None = None) -> MetricGrid:
        """All rows over one list of metrics, sorted by name where they don't have the same ones anyway.

        Args:
            names: metrics to keep; all when absent.
        """
        lists = {grid.names for grid in self.grids}
        if names is None:
            names = next(iter(lists)) if len(lists) == 1 else tuple(sorted({n for listed in lists for n in listed}))
        if len(self.grids) == 1 and self.grids[0].names == names:
            return self.grids[0]
        if lists == {names}:
            return MetricGrid(
                names,
                np.concatenate([grid.values for grid in self.grids]),
                np.concatenate([grid.there for grid in self.grids]),
            )
        depth = self.grids[0].values.shape[2:] if self.grids else ()
        values = np.full((len(self), len(names), *depth), np.nan)
        there = np.zeros((len(self), len(names)), dtype=np.bool_)
        place = {name: column for column, name in enumerate(names)}
        row = 0
        for grid in self.grids:
            taken = [j for j, name in enumerate(grid.names) if name in place]
            columns = [place[grid.names[j]] for j in taken]
            below = row + len(grid.values)
            values[row:below, columns] = grid.values[:, taken]
            there[row:below, columns] = grid.there[:, taken]
            row = below
        return MetricGrid(names, values, there)


def metric_maps(maps: Sequence[Mapping[str, Any]]) -> MetricMaps | None:
    """Dictionaries as arrays; None where they are not numbers, or not as many in each.

    Consecutive rows with the same metrics become one grid.
    """
    if isinstance(maps, MetricMaps):
        return maps
    grids: list[MetricGrid] = []
    begin = 0
    for end in range(1, len(maps) + 1):
        if end < len(maps) and maps[end].keys() == maps[begin].keys():
            continue
        names = tuple(maps[begin])
        rows = [[row[name] for name in names] for row in maps[begin:end]]
        try:
            values = np.array(rows, dtype=np.float64)
        except (ValueError, TypeError):
            return None
        grids.append(MetricGrid(names, values, np.ones((end - begin, len(names)), dtype=np.bool_)))
        begin = end
    return MetricMaps(grids)
