"""Snapshots packed: what a window says of each metric as arrays, the vector at its real length.

A state is, after seven bytes that say how it is laid out, the counts of the readings (one number where all metrics have as
many), their means, and minimum, maximum and last reading (nothing where each metric was read once, or never moved). The
names of the metrics are in the vocabulary.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from hvac_platform.snapshots import EMBEDDING_DIMENSION
from hvac_platform.stores.base import Columns, RefusedError
from hvac_platform.stores.metric_maps import MetricGrid, MetricMaps, metric_maps
from hvac_platform.stores.packed.numbers import SIZES, packed, together, unpacked
from hvac_platform.stores.packed.vocabulary import Names, Vocabulary
from hvac_platform.stores.vectors import checked_vectors

Grid = NDArray[np.float64]
Rows = NDArray[np.intp]

EQUAL_COUNTS, ONE_VALUE, FREE = 1, 2, 128
"""Flags of the first byte: one count for all metrics; mean, minimum, maximum and last are the same; not arrays at all."""
HEADER = np.dtype([("flags", "u1"), ("means", "u1"), ("others", "u1"), ("count", "<u4")])
MAPS = frozenset({"metrics", "metric_summary"})
KEPT_IN = {"metrics": ("layout", "state"), "metric_summary": ("layout", "state"), "embedding_method": ("encoder",)}
BYTES_A_VECTOR = 4 * EMBEDDING_DIMENSION

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class PackedStates:
    """Columns of ``device_state_snapshots`` as the file keeps them, and back.

    Args:
        vocabulary: of the file.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary

    @staticmethod
    def kept_in(name: str) -> tuple[str, ...]:
        """Columns of the file that a column of the catalogue is in."""
        return KEPT_IN.get(name, (name,))

    def pack(self, columns: Columns) -> dict[str, Sequence[Any]]:
        """Those of some columns that the file keeps otherwise; both maps are in one, so either comes with the other.

        Raises:
            RefusedError: one of the maps is missing.
        """
        kept: dict[str, Sequence[Any]] = {}
        if MAPS & set(columns):
            if missing := sorted(MAPS - set(columns)):
                raise RefusedError(f"device_state_snapshots.{missing[0]} has no value")
            kept["layout"], kept["state"] = packed_states(
                columns["metrics"], columns["metric_summary"], self._vocabulary
            )
        if "embedding" in columns:
            kept["embedding"] = short_vectors(columns["embedding"])
        if "embedding_method" in columns:
            kept["encoder"] = [None if m is None else self._vocabulary.number([m]) for m in columns["embedding_method"]]
        return kept

    def unpack(self, kept: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        """Columns of the catalogue that are in some columns of the file."""
        found: dict[str, Any] = {}
        if "state" in kept:
            maps = unpacked_states(kept["layout"], kept["state"], self._vocabulary)
            found["metrics"], found["metric_summary"] = maps
        if "embedding" in kept:
            found["embedding"] = whole_vectors(kept["embedding"])
        if "encoder" in kept:
            found["embedding_method"] = [None if n is None else self._vocabulary.names(n)[0] for n in kept["encoder"]]
        return found


def packed_states(
    metrics: Sequence[Any], summaries: Sequence[Any], vocabulary: Vocabulary
) -> tuple[list[int], list[bytes]]:
    """Columns ``metrics`` and ``metric_summary`` of n snapshots as numbers of the vocabulary and bytes, n each."""
    n = len(metrics)
    numbers, states = [0] * n, [b""] * n
    mean, summary = metric_maps(metrics), metric_maps(summaries)
    if mean is None or summary is None or not _alike(mean, summary):
        for row, (one, other) in enumerate(zip(metrics, summaries, strict=True)):
            states[row] = bytes([FREE]) + _encode([dict(one), dict(other)])
        return numbers, states
    by_names: dict[Names, list[tuple[Rows, MetricGrid, MetricGrid]]] = defaultdict(list)
    row = 0
    for one, other in zip(mean.grids, summary.grids, strict=True):
        by_names[one.names].append((np.arange(row, row + len(one.values)), one, other))
        row += len(one.values)
    for names, grids in by_names.items():
        rows = np.concatenate([where for where, _, _ in grids])
        means = np.concatenate([one.values for _, one, _ in grids])
        others = np.concatenate([other.values for _, _, other in grids])
        there = np.concatenate([one.there for _, one, _ in grids])
        for mask, mine in _by_mask(there):
            kept = sorted(np.flatnonzero(mask).tolist(), key=names.__getitem__)
            listed = [names[j] for j in kept]
            number = vocabulary.number_if_room(listed)
            pack = _packed if number is not None else partial(_free, listed)
            for place, state in zip(
                rows[mine].tolist(), pack(means[mine][:, kept], others[mine][:, kept]), strict=True
            ):
                numbers[place], states[place] = number or 0, state
    return numbers, states


def _free(names: Sequence[str], means: Grid, others: Grid) -> list[bytes]:
    """States with the names of their metrics in them."""
    return [
        bytes([FREE]) + _encode([dict(zip(names, mean, strict=True)), dict(zip(names, other, strict=True))])
        for mean, other in zip(means.tolist(), others.tolist(), strict=True)
    ]


def _alike(mean: MetricMaps, summary: MetricMaps) -> bool:
    """Whether both say something of the same metrics, the one a number and the other a count and three numbers of each."""
    return len(mean.grids) == len(summary.grids) and all(
        one.names == other.names
        and other.values.shape == (*one.values.shape, 4)
        and one.values.ndim == 2
        and bool((one.there == other.there).all())
        and _are_counts(other.values[:, :, 0][other.there])
        for one, other in zip(mean.grids, summary.grids, strict=True)
    )


def _are_counts(values: Grid) -> bool:
    with np.errstate(invalid="ignore"):
        return bool(((values >= 0) & (values < 2**32) & (values == np.rint(values)) & ~np.signbit(values)).all())


def _by_mask(there: NDArray[np.bool_]) -> list[tuple[NDArray[np.bool_], Rows]]:
    """Which rows have which metrics."""
    if bool(there.all()):
        return [(np.ones(there.shape[1], dtype=np.bool_), np.arange(len(there)))]
    masks, of = np.unique(there, axis=0, return_inverse=True)
    return [(mask, np.flatnonzero(of.ravel() == i)) for i, mask in enumerate(masks)]


def _packed(means: Grid, others: Grid) -> list[bytes]:
    """States of rows that have all their metrics: means float64 [n, m], count, minimum, maximum and last [n, m, 4]."""
    n, m = means.shape
    counts = others[:, :, 0]
    same = (others[:, :, 1:] == means[:, :, None]) & (np.signbit(others[:, :, 1:]) == np.signbit(means[:, :, None]))
    one_value = same.all(axis=(1, 2)) if m else np.ones(n, dtype=np.bool_)
    equal = (counts == counts[:, :1]).all(axis=1)
    packed_means = packed(means)
    spread = np.flatnonzero(~one_value)
    packed_others = dict(
        zip(
            spread.tolist(),
            packed(others[spread][:, :, 1:].transpose(0, 2, 1).reshape(len(spread), 3 * m)),
            strict=True,
        )
    )
    header = np.zeros(n, dtype=HEADER)
    header["flags"] = equal * EQUAL_COUNTS + one_value * ONE_VALUE
    header["means"] = [row[0] for row in packed_means]
    if len(spread):
        header["others"][spread] = [packed_others[i][0] for i in spread.tolist()]
    header["count"] = np.where(equal, counts[:, 0] if m else 0, 0)
    heads, size = header.tobytes(), HEADER.itemsize
    whole_counts = counts.astype("<u4")
    return [
        heads[size * i : size * i + size]
        + (b"" if equal[i] else whole_counts[i].tobytes())
        + packed_means[i][1:]
        + (b"" if one_value[i] else packed_others[i][1:])
        for i in range(n)
    ]


def unpacked_states(
    numbers: Sequence[int], states: Sequence[bytes], vocabulary: Vocabulary
) -> tuple[Sequence[Any], Sequence[Any]]:
    """Columns ``metrics`` and ``metric_summary`` of n snapshots from what :func:`packed_states` gave.

    They are :class:`MetricMaps`, or lists of dictionaries where some states are no arrays.

    Raises:
        ValueError: the bytes are no state.
    """
    if any(state[0] == FREE for state in states):
        return _one_by_one(numbers, states, vocabulary)
    kinds: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    size = HEADER.itemsize
    for row, (number, state) in enumerate(zip(numbers, states, strict=True)):
        kinds[number, state[:size]].append(row)
    lists = {number: vocabulary.names(number) for number, _ in kinds}
    names = next(iter(lists.values())) if len(lists) == 1 else tuple(sorted({n for x in lists.values() for n in x}))
    place = {name: column for column, name in enumerate(names)}
    n, m = len(states), len(names)
    mean, summary = np.full((n, m), np.nan), np.full((n, m, 4), np.nan)
    summary[:, :, 0] = 0.0
    there = np.zeros((n, m), dtype=np.bool_)
    for (number, head), listed in kinds.items():
        own = lists[number]
        means, others = _unpacked(head, together([states[row] for row in listed])[:, size:], len(own))
        if len(kinds) == 1:
            mean, summary[:, :, :] = means, others
            there[:, :] = True
            break
        where = np.ix_(listed, [place[name] for name in own])
        mean[where], summary[where], there[where] = means, others, True
    return MetricMaps([MetricGrid(names, mean, there)]), MetricMaps([MetricGrid(names, summary, there)])


def _one_by_one(numbers: Sequence[int], states: Sequence[bytes], vocabulary: Vocabulary) -> tuple[list[Any], list[Any]]:
    mean: list[Any] = []
    summary: list[Any] = []
    for number, state in zip(numbers, states, strict=True):
        one, other = (
            ([part] for part in _decode(state[1:]))
            if state[0] == FREE
            else unpacked_states([number], [state], vocabulary)
        )
        mean += one
        summary += other
    return mean, summary


def _unpacked(head: bytes, content: NDArray[np.uint8], m: int) -> tuple[Grid, Grid]:
    """Rows of one layout: means float64 [n, m] and count, minimum, maximum, last float64 [n, m, 4]."""
    flags, means_form, others_form, count = np.frombuffer(head, dtype=HEADER)[0].tolist()
    n = len(content)
    others = np.empty((n, m, 4))
    at = 0
    if flags & EQUAL_COUNTS:
        others[:, :, 0] = count
    else:
        at = 4 * m
        others[:, :, 0] = np.ascontiguousarray(content[:, :at]).view("<u4")
    end = at + m * SIZES.get(means_form, 0)
    means = unpacked(content[:, at:end], means_form)
    if flags & ONE_VALUE:
        others[:, :, 1:] = means[:, :, None]
    else:
        others[:, :, 1:] = unpacked(content[:, end:], others_form).reshape(n, 3, m).transpose(0, 2, 1)
    return means, others


def short_vectors(vectors: object) -> list[bytes]:
    """Vectors float32 [n, 384] as bytes without the zeros that pad them."""
    array = checked_vectors(vectors).astype("<f4")
    lengths = EMBEDDING_DIMENSION - np.argmax((array != 0)[:, ::-1], axis=1)
    whole = array.tobytes()
    return [
        whole[BYTES_A_VECTOR * row : BYTES_A_VECTOR * row + 4 * length] for row, length in enumerate(lengths.tolist())
    ]


def whole_vectors(blobs: Sequence[bytes | None]) -> list[bytes | None]:
    """Bytes of 384 numbers each, from those without the padding."""
    return [None if blob is None else blob.ljust(BYTES_A_VECTOR, b"\0") for blob in blobs]


def stacked(blobs: Sequence[bytes]) -> NDArray[np.float32]:
    """Vectors without their padding as float32 [n, as many as the longest has]."""
    longest = max(map(len, blobs), default=0)
    if any(len(blob) != longest for blob in blobs):
        blobs = [blob.ljust(longest, b"\0") for blob in blobs]
    return np.frombuffer(b"".join(blobs), dtype="<f4").reshape(len(blobs), longest // 4)
