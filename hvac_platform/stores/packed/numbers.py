"""Rows of numbers as bytes, each row in the shortest of some forms that give back exactly the same numbers.

Sensors send decimals of few digits (21.4, 1018.33), which are small integers once the point is moved; others send single
precision. A row is kept in one form: its first byte says which, the values follow, little-endian.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Bytes = NDArray[np.uint8]

DOUBLE, SINGLE = 0, 1
_DECIMALS = 8
"""Forms from here on: 8 + 2k is a 16-bit integer divided by 10^k, 8 + 2k + 1 one of 32 bits."""
MOST_DIGITS = 4
"""Digits behind the point that are tried; a reading of more is rare, and then rather of single precision."""
_TYPES: dict[int, np.dtype[Any]] = {
    DOUBLE: np.dtype("<f8"),
    SINGLE: np.dtype("<f4"),
    **{_DECIMALS + 2 * k + wide: np.dtype("<i4" if wide else "<i2") for k in range(MOST_DIGITS + 1) for wide in (0, 1)},
}
SIZES = {form: kind.itemsize for form, kind in _TYPES.items()}
"""Bytes a value, by form."""


def forms_of(values: Float64) -> tuple[NDArray[np.uint8], Float64]:
    """The shortest form of each row, uint8 [n], and its values as they are kept: whole numbers where it is a decimal one.

    >>> forms_of(np.array([[21.4, 3.0], [1 / 3, 1.0], [0.5, 1e5], [0.1, 70000.0], [0.25, 0.0009765625]]))[0].tolist()
    [12, 0, 13, 13, 1]
    """
    forms = np.full(len(values), DOUBLE, dtype=np.uint8)
    kept = values.copy()
    integers = ~((values == 0) & np.signbit(values)).any(axis=1)  # an integer has no -0.0

    def try_with(digits: int, rows: NDArray[np.int64], limit: float) -> None:
        here = values[rows]
        scaled = np.rint(here * 10.0**digits)
        size = np.abs(scaled).max(axis=1, initial=0)
        exact = (scaled / 10.0**digits == here).all(axis=1) & (size < limit)
        kept[rows[exact]] = scaled[exact]
        forms[rows[exact]] = _DECIMALS + 2 * digits + (size[exact] >= 2**15)

    with np.errstate(invalid="ignore", over="ignore"):
        try_with(2, np.flatnonzero(integers), 2**31)  # which takes all that have fewer digits as well
        for digits in (1, 0):
            try_with(digits, np.flatnonzero(forms == _DECIMALS + 5), 2**15)
        for digits in (1, 0, 3, 4):
            try_with(digits, np.flatnonzero(integers & (forms == DOUBLE)), 2**31)
        left = np.flatnonzero(forms == DOUBLE)
        single = (values[left].astype(np.float32).astype(np.float64) == values[left]).all(axis=1)
        forms[left[single]] = SINGLE
    return forms, kept


def packed(values: Float64) -> list[bytes]:
    """Rows of float64 [n, m] as bytes: the form, then m values.

    >>> [len(row) for row in packed(np.array([[21.4, 3.0], [1 / 3, 1.0]]))]
    [5, 17]
    """
    forms, kept = forms_of(values)
    rows: list[bytes] = [b""] * len(values)
    for form in np.unique(forms).tolist():
        mine = np.flatnonzero(forms == form)
        content = kept[mine].astype(_TYPES[form])
        together = np.empty((len(mine), 1 + content.shape[1] * content.itemsize), dtype=np.uint8)
        together[:, 0] = form
        together[:, 1:] = np.ascontiguousarray(content).view(np.uint8).reshape(len(mine), -1)
        whole, width = together.tobytes(), together.shape[1]
        for place, row in enumerate(mine.tolist()):
            rows[row] = whole[place * width : (place + 1) * width]
    return rows


def unpacked(content: Bytes, form: int) -> Float64:
    """Rows of one form, uint8 [n, bytes] without the form, as float64 [n, m].

    Raises:
        ValueError: there is no such form, or the bytes are no whole number of values.
    """
    if form not in _TYPES:
        raise ValueError(f"packed numbers of an unknown form {form}")
    values: NDArray[Any] = np.ascontiguousarray(content).view(_TYPES[form])
    if form in (DOUBLE, SINGLE):
        return values.astype(np.float64)
    result: Float64 = values / 10.0 ** ((form - _DECIMALS) // 2)
    return result


def together(rows: list[bytes]) -> Bytes:
    """Rows of one length as uint8 [n, length]."""
    return np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(len(rows), -1)
