"""Verdicts packed: those of all methods on one window are one row, the methods in the vocabulary.

Nearly all windows are judged by all methods in one revision and one profile, and found normal: such a row is a revision, a
profile and a score a method. Reasons follow where there are any.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec
import numpy as np

from hvac_platform.stores.base import Columns, RefusedError
from hvac_platform.stores.packed.numbers import together
from hvac_platform.stores.packed.vocabulary import Vocabulary

PLAIN, REASONED, FREE = 0, 1, 2
"""First byte of a row: no reasons; reasons behind the numbers; not one revision and profile."""
ANOMALOUS, BY_PROFILE, LEVEL = 1, 2, 4
"""Bits of a method's byte: its flag, whether it rests on the profile; the level counts in fours above them."""
MOST_LEVEL = 63
HEADER = np.dtype([("kind", "u1"), ("revision", "<i8"), ("profile_version", "<i8")])

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode

FIELDS = ("score", "anomalous", "level", "reasons", "metrics", "profile_version", "revision")
Verdict = tuple[float, bool, int, list[Any], list[Any], int, int]


class PackedVerdicts:
    """Rows of ``snapshot_verdicts`` by device and window; a layout is the list of methods, in order.

    Args:
        vocabulary: of the file.
    """

    member = "method"

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary

    def pack(self, columns: Columns) -> list[tuple[Any, ...]]:
        """Verdicts as rows (device, window, layout, cells); of verdicts with one key the last counts.

        Raises:
            RefusedError: a value is missing.
        """
        times = np.asarray(columns["snapshot_time"], dtype=np.int64).tolist()
        listed = [
            np.asarray(c).tolist() if isinstance(c, np.ndarray) else c for c in (columns[name] for name in FIELDS)
        ]
        windows: dict[tuple[str, int], dict[str, Verdict]] = defaultdict(dict)
        for device_id, time_ms, method, *verdict in zip(
            columns["device_id"], times, columns["method"], *listed, strict=True
        ):
            if None in verdict:
                raise RefusedError("snapshot_verdicts has rows without a value in some columns")
            windows[device_id, time_ms][method] = tuple(verdict)
        return [(*key, *self._packed_row(verdicts)) for key, verdicts in windows.items()]

    def unpack(self, names: Sequence[str], layouts: Sequence[int], cells: Sequence[bytes]) -> dict[str, list[Any]]:
        """Methods and what they say of the windows of some rows, in order of rows and methods."""
        lists = [self._vocabulary.names(number) for number in layouts]
        found = _fields([name for name in FIELDS if name in names], list(map(len, lists)), cells)
        if self.member in names:
            found[self.member] = list(chain.from_iterable(lists))
        return found

    def merge(self, old_layout: int, old: bytes, new_layout: int, new: bytes) -> tuple[int, bytes]:
        """Verdicts on one window that came apart, as one row; where both have a method the new one counts."""
        return self._packed_row(self._row(old_layout, old) | self._row(new_layout, new))

    def without(self, layout: int, cells: bytes, methods: set[str]) -> tuple[int, bytes] | None:
        """A row without some methods; None where nothing is left."""
        verdicts = {method: verdict for method, verdict in self._row(layout, cells).items() if method not in methods}
        return self._packed_row(verdicts) if verdicts else None

    def width(self, layout: int) -> int:
        """How many verdicts a row of this layout has."""
        return len(self._vocabulary.names(layout))

    def layouts_with(self, member: str) -> str:
        """The condition on ``layout``, in SQL, that each row with a method meets."""
        return f"layout IN ({', '.join(map(str, self._vocabulary.naming(member)))})"

    def _row(self, layout: int, cells: bytes) -> dict[str, Verdict]:
        names = self._vocabulary.names(layout)
        fields = _fields(FIELDS, [len(names)], [cells])
        return dict(zip(names, zip(*(fields[name] for name in FIELDS), strict=True), strict=True))

    def _packed_row(self, verdicts: Mapping[str, Verdict]) -> tuple[int, bytes]:
        methods = sorted(verdicts)
        return self._vocabulary.number(methods), _cells([verdicts[method] for method in methods])


def _cells(verdicts: Sequence[Verdict]) -> bytes:
    revisions = {verdict[6] for verdict in verdicts}
    profiles = {verdict[5] for verdict in verdicts} - {0}
    if len(revisions) > 1 or len(profiles) > 1 or not all(0 <= verdict[2] <= MOST_LEVEL for verdict in verdicts):
        return bytes([FREE]) + _encode(verdicts)
    profile = next(iter(profiles), 0)
    flags = bytes(
        bool(verdict[1]) * ANOMALOUS + (verdict[5] != 0) * BY_PROFILE + int(verdict[2]) * LEVEL for verdict in verdicts
    )
    reasons = [(verdict[3], verdict[4]) for verdict in verdicts]
    reasoned = any(said or of for said, of in reasons)
    head = np.array([(reasoned * REASONED, next(iter(revisions)), profile)], dtype=HEADER).tobytes()
    scores = np.array([verdict[0] for verdict in verdicts], dtype="<f8").tobytes()
    return head + flags + scores + (_encode(reasons) if reasoned else b"")


def _fields(names: Sequence[str], widths: Sequence[int], cells: Sequence[bytes]) -> dict[str, list[Any]]:
    """Columns of the verdicts of all rows, one after the other."""
    kinds: dict[tuple[int, bool], list[int]] = defaultdict(list)
    for row, (width, content) in enumerate(zip(widths, cells, strict=True)):
        kinds[width, content[0] == FREE].append(row)
    ends = np.cumsum(widths)
    found = {name: np.empty(int(ends[-1]) if len(ends) else 0, dtype=object) for name in names}
    for (width, free), rows in kinds.items():
        places = (ends[rows] - width)[:, None] + np.arange(width)
        columns = _free_ones(rows, cells) if free else _plain_ones(names, width, rows, cells)
        for name in names:
            found[name][places] = columns[name]
    return {name: values.tolist() for name, values in found.items()}


def _free_ones(rows: Sequence[int], cells: Sequence[bytes]) -> dict[str, Any]:
    table = [_decode(cells[row][1:]) for row in rows]
    return {name: _objects([[verdict[i] for verdict in listed] for listed in table]) for i, name in enumerate(FIELDS)}


def _plain_ones(names: Sequence[str], width: int, rows: Sequence[int], cells: Sequence[bytes]) -> dict[str, Any]:
    size, end = HEADER.itemsize, HEADER.itemsize + 9 * width
    content = together([cells[row][:end] for row in rows])
    head = np.ascontiguousarray(content[:, :size]).view(HEADER)[:, 0]
    flags = content[:, size : size + width]
    columns: dict[str, Any] = {
        "score": np.ascontiguousarray(content[:, size + width :]).view("<f8"),
        "anomalous": (flags & ANOMALOUS) != 0,
        "level": (flags // LEVEL).astype(np.int64),
        "profile_version": np.where(flags & BY_PROFILE, head["profile_version"][:, None], 0),
        "revision": np.broadcast_to(head["revision"][:, None], (len(rows), width)),
    }
    if "reasons" in names or "metrics" in names:
        said = [
            _decode(cells[row][end:]) if kind == REASONED else [([], []) for _ in range(width)]
            for row, kind in zip(rows, head["kind"].tolist(), strict=True)
        ]
        columns["reasons"] = _objects([[one for one, _ in listed] for listed in said])
        columns["metrics"] = _objects([[one for _, one in listed] for listed in said])
    return columns


def _objects(table: list[list[Any]]) -> Any:
    """A table of anything as an array of objects [n, m], lists in it left whole."""
    found = np.empty((len(table), len(table[0])), dtype=object)
    for row, listed in enumerate(table):
        for column, value in enumerate(listed):
            found[row, column] = value
    return found
