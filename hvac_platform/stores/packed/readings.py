"""Raw readings packed: those of one device at one instant are one row, their metrics and units in the vocabulary."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvac_platform.coding import coded_as, renumbered
from hvac_platform.stores.base import Columns, RefusedError
from hvac_platform.stores.packed.numbers import packed, together, unpacked
from hvac_platform.stores.packed.vocabulary import Names, Vocabulary

Int64 = NDArray[np.int64]


class PackedReadings:
    """Rows of ``device_metrics_raw`` by device and instant; a layout is metric, unit, metric, unit… in order of the metrics.

    Where the vocabulary has enough lists, the layout is the number of readings, negative, and their metrics with units are
    in front of the values, four bytes each.

    Args:
        vocabulary: of the file.
    """

    member = "metric_name"

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary

    def pack(self, columns: Columns) -> list[tuple[Any, ...]]:
        """Readings as rows (device, instant, layout, cells); of readings with one key the last counts.

        Raises:
            RefusedError: a value is missing.
        """
        device_ids, values = columns["device_id"], np.asarray(columns["metric_value"], dtype=np.float64)
        if bool(np.isnan(values).any()):
            raise RefusedError("device_metrics_raw.metric_value has no value in some rows")
        times = np.asarray(columns["timestamp"], dtype=np.int64)
        named, measured, of_device = coded_as(columns["metric_name"]), coded_as(columns["unit"]), coded_as(device_ids)
        devices, device = of_device.names, of_device.codes
        if not len(device) == len(times) == len(named.codes) == len(measured.codes) == len(values):
            raise ValueError("columns of device_metrics_raw have different lengths")
        units = max(1, len(measured.names))
        both, pair = renumbered(named.codes * units + measured.codes, len(named.names) * units)
        pairs = [(named.names[code // units], measured.names[code % units]) for code in both.tolist()]
        ranks = np.argsort(np.argsort(np.array(named.names, dtype=object), kind="stable"))
        metric = ranks[named.codes].astype(np.int64)
        order = _order(device, times, metric)
        device, times, metric, pair, values = device[order], times[order], metric[order], pair[order], values[order]
        new_row = np.ones(len(order), dtype=np.bool_)
        new_row[1:] = (np.diff(device) != 0) | (np.diff(times) != 0)
        last_of_key = np.ones(len(order), dtype=np.bool_)
        last_of_key[:-1] = new_row[1:] | (np.diff(metric) != 0)
        if not bool(last_of_key.all()):
            row_of = np.cumsum(new_row)[last_of_key]
            new_row = np.diff(row_of, prepend=0) != 0
            device, times, pair, values = (
                device[last_of_key],
                times[last_of_key],
                pair[last_of_key],
                values[last_of_key],
            )
        starts = np.flatnonzero(new_row)
        widths = np.diff(starts, append=len(values))
        layouts, cells = np.zeros(len(starts), dtype=np.int64), np.empty(len(starts), dtype=object)
        for width in np.unique(widths).tolist():
            rows = np.flatnonzero(widths == width)
            at = starts[rows][:, None] + np.arange(width)
            kinds, of = _alike(pair[at])
            found = [self._layout([pairs[p] for p in kind]) for kind in kinds.tolist()]
            layouts[rows] = np.array([layout for layout, _ in found])[of]
            cells[rows] = [found[kind][1] + row for kind, row in zip(of.tolist(), packed(values[at]), strict=True)]
        return list(
            zip(
                [devices[code] for code in device[starts].tolist()],
                times[starts].tolist(),
                layouts.tolist(),
                cells.tolist(),
                strict=True,
            )
        )

    def unpack(self, names: Sequence[str], layouts: Sequence[int], cells: Sequence[bytes]) -> dict[str, list[Any]]:
        """Metrics, units and values of the readings of some rows, in order of rows and metrics."""
        rows = [self._opened(layout, content) for layout, content in zip(layouts, cells, strict=True)]
        found: dict[str, list[Any]] = {}
        for name in names:
            if name == "metric_value":
                found[name] = _values(
                    [content for _, content in rows], [len(listed) // 2 for listed, _ in rows]
                ).tolist()
            else:
                found[name] = list(chain.from_iterable(listed[name == "unit" :: 2] for listed, _ in rows))
        return found

    def merge(self, old_layout: int, old: bytes, new_layout: int, new: bytes) -> tuple[int, bytes]:
        """Readings of one instant that came apart, as one row; where both have a metric the new one counts."""
        readings = self._row(old_layout, old) | self._row(new_layout, new)
        return self._packed_row(readings)

    def without(self, layout: int, cells: bytes, metrics: set[str]) -> tuple[int, bytes] | None:
        """A row without some metrics; None where nothing is left."""
        readings = {metric: reading for metric, reading in self._row(layout, cells).items() if metric not in metrics}
        return self._packed_row(readings) if readings else None

    def width(self, layout: int) -> int:
        """How many readings a row of this layout has."""
        return -layout if layout < 0 else len(self._vocabulary.names(layout)) // 2

    def layouts_with(self, member: str) -> str:
        """The condition on ``layout``, in SQL, that each row with a metric meets; none does where nobody has sent it."""
        numbers = self._vocabulary.naming(member)
        return f"(layout < 0 OR layout IN ({', '.join(map(str, numbers))}))" if numbers else "FALSE"

    def _layout(self, pairs: Sequence[tuple[str, str]]) -> tuple[int, bytes]:
        """Layout of some metrics with their units, and what stands in front of their values."""
        number = self._vocabulary.number_if_room([*chain.from_iterable(pairs)])
        if number is not None:
            return number, b""
        return -len(pairs), np.array([self._vocabulary.number(pair) for pair in pairs], dtype="<u4").tobytes()

    def _opened(self, layout: int, cells: bytes) -> tuple[Names, bytes]:
        """Metrics and units of a row, and its packed values."""
        if layout >= 0:
            return self._vocabulary.names(layout), cells
        numbers = np.frombuffer(cells[: -4 * layout], dtype="<u4").tolist()
        return tuple(chain.from_iterable(map(self._vocabulary.names, numbers))), cells[-4 * layout :]

    def _row(self, layout: int, cells: bytes) -> dict[str, tuple[str, float]]:
        names, content = self._opened(layout, cells)
        values = _values([content], [len(names) // 2]).tolist()
        return dict(zip(names[::2], zip(names[1::2], values, strict=True), strict=True))

    def _packed_row(self, readings: dict[str, tuple[str, float]]) -> tuple[int, bytes]:
        metrics = sorted(readings)
        layout, front = self._layout([(metric, readings[metric][0]) for metric in metrics])
        return layout, front + packed(np.array([[readings[metric][1] for metric in metrics]]))[0]


def _alike(rows: Int64) -> tuple[Int64, Int64]:
    """The different ones of some rows, int64 [k, w], and which of them each row is, int64 [n].

    >>> _alike(np.array([[2, 1], [0, 1], [2, 1]]))[1].tolist() in ([0, 1, 0], [1, 0, 1])
    True
    """
    weights = np.random.default_rng(0).integers(2**62, size=rows.shape[1]) | 1
    sums = rows @ weights  # modulo 2**64; that two rows have one sum is next to impossible, and looked at
    _, first, of = np.unique(sums, return_index=True, return_inverse=True)
    if bool((rows[first][of] == rows).all()):
        return rows[first], of
    kinds, of = np.unique(rows, axis=0, return_inverse=True)
    return kinds, of.ravel()


def _order(device: Int64, times: Int64, metric: Int64) -> Int64:
    """Rows by device, time and metric; the last of a key stays last."""
    if not len(times):
        return np.zeros(0, dtype=np.int64)
    earliest, devices, metrics = int(times.min()), int(device.max()) + 1, int(metric.max()) + 1
    span = int(times.max()) - earliest + 1
    if devices * span * metrics >= 2**62:
        return np.lexsort((metric, times, device))
    return np.argsort((device * span + (times - earliest)) * metrics + metric, kind="stable")  # a third of the time


def _values(cells: Sequence[bytes], widths: Sequence[int]) -> NDArray[np.float64]:
    """Values of all rows, one after the other."""
    kinds: dict[tuple[int, int], list[int]] = defaultdict(list)
    for row, (width, content) in enumerate(zip(widths, cells, strict=True)):
        kinds[width, content[0]].append(row)
    ends = np.cumsum(widths)
    values = np.empty(int(ends[-1]) if len(ends) else 0)
    for (width, form), rows in kinds.items():
        found = unpacked(together([cells[row] for row in rows])[:, 1:], form)
        if len(kinds) == 1:
            return found.ravel()
        values[(ends[rows] - width)[:, None] + np.arange(width)] = found
    return values
