"""Values of a file's cells: numbers with points or commas, units beside them, words for on and off, nothing at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hvac_platform.devices.units import parse_unit, plain
from hvac_platform.ingestion.numerals import BY_COMMA, BY_POINT, EXPONENT, GAP

Float64 = NDArray[np.float64]
Bools = NDArray[np.bool_]

EMPTY_WORDS = ("", "-", "--", "---", "nan", "na", "n/a", "null", "none", "nil", "\\n", "<na>")
"""What stands for no reading, in small letters; such cells are neither sent nor refused."""
ERRORS = r"(?i)^(?:#(?:n/?a|nv|[^\W\d_][\w/]*[!?])|err:[0-9]{3})$"
"""What spreadsheets write where a formula has no result: ``#DIV/0!``, ``#N/A``, ``#WERT!``, ``Err:502``."""
STATES: Mapping[str, float] = {
    **dict.fromkeys(
        ("on", "true", "yes", "active", "enabled", "enable", "running", "run", "started", "start", "occupied", "open",
         "opened", "t", "y", "ein", "an", "ja", "marche", "oui", "alarm"), 1.0),
    **dict.fromkeys(
        ("off", "false", "no", "inactive", "disabled", "disable", "stopped", "stop", "unoccupied", "closed", "close", "f",
         "n", "aus", "nein", "arrêt", "arret", "non", "normal"), 0.0),
}  # fmt: skip
"""Words for on and off, in small letters."""
MOST_WORDS, MOST_UNITS = 1_000, 50
FEW, MOSTLY = 0.02, 0.5
"""Shares of the cells of a column."""

_GAPS = rf"[{GAP}]"
_PLAIN = rf"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+){EXPONENT}$"
_HEAD = rf"^[-+]?(?:[0-9][0-9.,{GAP}]*)?[.,]?[0-9]+"
_WITH_UNIT = (
    rf"^(?P<number>[-+]?(?:[0-9][0-9.,{GAP}]*)?[.,]?[0-9]+[.,]?{EXPONENT})" r"\s*(?P<unit>[^0-9\s.,+-].{0,30})$"
)
_COMMA_SURE = (
    r"^[-+]?(?:[0-9]+,(?:[0-9]{1,2}|[0-9]{4,})|0+,[0-9]+|,[0-9]+|[0-9]{1,3}(?:\.[0-9]{3})+,[0-9]+|"
    r"[0-9]{1,3}(?:\.[0-9]{3}){2,}|[0-9]{4,},[0-9]+|[0-9]*,[0-9]*[eE][-+]?[0-9]+)$"
)
_POINT_SURE = (
    r"^[-+]?(?:[0-9]+\.(?:[0-9]{1,2}|[0-9]{4,})|0+\.[0-9]+|\.[0-9]+|[0-9]{1,3}(?:,[0-9]{3})+\.[0-9]*|"
    r"[0-9]{1,3}(?:,[0-9]{3}){2,}|[0-9]{4,}\.[0-9]+|[0-9]*\.[0-9]*[eE][-+]?[0-9]+)$"
)
_UNCLEAR = r"^[-+]?[1-9][0-9]{0,2},[0-9]{3}$"
_UNCLEAR_POINT = r"^[-+]?[1-9][0-9]{0,2}\.[0-9]{3}$"
_HUNDREDS = r"^[-+]?[1-9][0-9]{2}$"
"""Numbers that stand beside 1.020 where the point is between thousands: those below a thousand have none."""
_INFINITE = ("inf", "-inf", "+inf", "infinity", "-infinity", "∞")


@dataclass
class ColumnEvidence:
    """What all cells of a column say of how they are written.

    Attributes:
        filled: cells that are not empty.
        numbers: cells that are numbers by themselves.
        comma: cells that only a decimal comma explains.
        point: cells that only a decimal point explains.
        unclear: cells that are numbers of either kind, but not the same one: 1,234.
        unclear_point: the same with a point: 1.234.
        hundreds: whole numbers of three digits.
        units: cells by the unit that stands in them.
        words: cells by word, of those that are no numbers.
        errors: cells that hold an error of a spreadsheet, which are not among the filled ones.
        first_error: the first of them.
        first: the first cell that is no number.
        first_unclear_point: the first cell of ``unclear_point``.
        first_comma: the first cell of ``comma``.
    """

    filled: int = 0
    numbers: int = 0
    comma: int = 0
    point: int = 0
    unclear: int = 0
    unclear_point: int = 0
    hundreds: int = 0
    units: dict[str, int] = field(default_factory=dict)
    words: dict[str, int] = field(default_factory=dict)
    errors: int = 0
    first_error: str = ""
    first: str = ""
    first_unclear_point: str = ""
    first_comma: str = ""

    def see(self, values: pa.Array) -> None:
        """Some cells more."""
        if pa.types.is_boolean(values.type):  # words, as they are in a file of texts
            values = pc.drop_null(pc.cast(values, pa.string()))
        if not _is_text(values.type):
            good = int(np.asarray(pc.is_valid(values)).sum())
            self.filled += good
            self.numbers += good if _is_numeric(values.type) else 0
            return
        values = _trimmed(values)
        numbers = _as_plain(values)
        if numbers is not None:
            good = len(numbers) - numbers.null_count
            self.filled += good
            self.numbers += good
            self._see_points(values)
            return
        is_error = pc.match_substring_regex(values, ERRORS)
        if count := int(pc.sum(is_error).as_py() or 0):
            self.errors += count
            self.first_error = self.first_error or values.filter(is_error)[0].as_py()
            values = values.filter(pc.invert(is_error))
        is_empty = pc.is_in(pc.utf8_lower(values), value_set=pa.array(EMPTY_WORDS))
        is_plain = pc.match_substring_regex(values, _PLAIN)
        self.filled += len(values) - int(pc.sum(is_empty).as_py() or 0)
        self.numbers += pc.sum(is_plain).as_py() or 0
        self._see_points(values)
        rest = values.filter(pc.invert(pc.or_(is_empty, is_plain)))
        if not len(rest):
            return
        self.first = self.first or rest[0].as_py()
        bare, unit = split_units(rest)
        bare = pc.replace_substring_regex(bare, rf"([0-9]){_GAPS}([0-9]{{3}})", r"\1\2")
        for name, count in _counted(unit.filter(pc.not_equal(unit, ""))):
            if name in self.units or len(self.units) < MOST_UNITS:
                self.units[name] = self.units.get(name, 0) + count
        commas = bare.filter(pc.match_substring_regex(bare, _COMMA_SURE))
        self.comma += len(commas)
        self.first_comma = self.first_comma or (commas[0].as_py() if len(commas) else "")
        self._see_points(bare.filter(pc.not_equal(unit, "")))
        self.unclear += _count(bare, _UNCLEAR)
        is_number = pc.match_substring_regex(bare, _HEAD + "(?:[eE][-+]?[0-9]+)?[.,]?$")
        for word, count in _counted(bare.filter(pc.invert(is_number))):
            if word in self.words or len(self.words) < MOST_WORDS:
                self.words[word] = self.words.get(word, 0) + count

    def _see_points(self, values: pa.Array) -> None:
        """Count what points mean, as long as no cell has said it."""
        if self.point:
            return
        self.point += _count(values, _POINT_SURE)
        unclear = values.filter(pc.match_substring_regex(values, _UNCLEAR_POINT))
        self.unclear_point += len(unclear)
        self.first_unclear_point = self.first_unclear_point or (unclear[0].as_py() if len(unclear) else "")
        self.hundreds += _count(values, _HUNDREDS)

    @property
    def without_unit(self) -> int:
        """Cells that are numbers and have no unit."""
        return self.filled - sum(self.words.values()) - sum(self.units.values())

    @property
    def states(self) -> int:
        """Cells that are words for on and off."""
        return sum(count for word, count in self.words.items() if word.lower() in STATES)


@dataclass(frozen=True)
class Style:
    """How the cells of a column are read.

    Attributes:
        decimal: the decimal mark.
        states: numbers by word, in small letters.
    """

    decimal: str = "."
    states: Mapping[str, float] = field(default_factory=dict)


OK, EMPTY, NOT_A_NUMBER, NOT_FINITE, ERROR, NO_ROOM = 0, 1, 2, 3, 4, 5
REASONS = (
    "",
    "empty",
    "not a number",
    "not a finite number",
    "an error of a spreadsheet",
    "the spreadsheet's column was too narrow to show it",
)


def read_cells(values: pa.Array, style: Style) -> tuple[Float64, NDArray[np.int8], list[str] | None]:
    """Numbers of some cells, float64 [n]; why one is none, int8 [n]; and n units, or None where no cell has one."""
    if not _is_text(values.type):
        if not _is_numeric(values.type):
            valid = np.asarray(pc.is_valid(values))
            return np.full(len(values), np.nan), np.where(valid, NOT_A_NUMBER, EMPTY).astype(np.int8), None
        numbers = pc.cast(pc.cast(values, pa.int8()) if pa.types.is_boolean(values.type) else values, pa.float64())
        problem = np.where(np.asarray(pc.is_valid(values)), OK, EMPTY).astype(np.int8)
        found = np.array(pc.fill_null(numbers, np.nan).to_numpy(zero_copy_only=False), np.float64)
        # A file of numbers has no other way to say "no reading" than NaN.
        problem[(problem == OK) & np.isnan(found)] = EMPTY
        problem[(problem == OK) & ~np.isfinite(found)] = NOT_FINITE
        return found, problem, None
    values = _trimmed(values)
    plain_numbers = _as_plain(values) if style.decimal == "." else None
    if plain_numbers is not None:
        found = np.array(pc.fill_null(plain_numbers, np.nan).to_numpy(zero_copy_only=False), np.float64)
        problem = np.where(np.isnan(found), EMPTY, np.where(np.isinf(found), NOT_FINITE, OK)).astype(np.int8)
        return found, problem, None
    is_empty = np.asarray(pc.is_in(pc.utf8_lower(values), value_set=pa.array(EMPTY_WORDS)))
    bare, unit = split_units(values)
    numeric = pc.match_substring_regex(bare, BY_COMMA if style.decimal == "," else BY_POINT)
    numeric = pc.and_(numeric, pc.match_substring_regex(bare, "[0-9]"))
    text = pc.if_else(numeric, bare, None)
    text = pc.replace_substring_regex(text, _GAPS, "")
    if style.decimal == ",":
        text = pc.replace_substring(pc.replace_substring(text, ".", ""), ",", ".")
    else:
        text = pc.replace_substring(text, ",", "")
    text = pc.replace_substring_regex(text, r"^\+", "")
    numbers = pc.cast(text, pa.float64())
    found = np.array(pc.fill_null(numbers, np.nan).to_numpy(zero_copy_only=False), np.float64)
    problem = np.where(np.asarray(pc.is_valid(numbers)), OK, NOT_A_NUMBER).astype(np.int8)
    for i in np.flatnonzero((problem == NOT_A_NUMBER) & ~is_empty).tolist() if style.states else ():
        state = style.states.get(values[i].as_py().lower())
        if state is not None:
            found[i], problem[i] = state, OK
    problem[is_empty] = EMPTY
    problem[np.asarray(pc.match_substring_regex(values, ERRORS)) & (problem == NOT_A_NUMBER)] = ERROR
    problem[np.asarray(pc.match_substring_regex(values, "^#{2,}$")) & (problem == NOT_A_NUMBER)] = NO_ROOM
    infinite = np.asarray(pc.is_in(pc.utf8_lower(values), value_set=pa.array(_INFINITE)))
    problem[infinite | ((problem == OK) & ~np.isfinite(found))] = NOT_FINITE
    units = unit.to_pylist() if pc.any(pc.not_equal(unit, "")).as_py() else None
    return found, problem, units


def split_units(values: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Cells without their units, and the units; a suffix counts as one only where it is known.

    A status of Niagara behind a number, ``55.1 °F {ok}``, belongs to neither.
    """
    values = pc.replace_substring(values, "−", "-")
    if _count(values, r"\{ok\}$"):
        values = pc.utf8_trim_whitespace(pc.replace_substring_regex(values, r"\s*\{ok\}$", ""))
    empty = pa.array([""] * len(values), pa.string())
    if not _count(values, r"[^-0-9.,+eE]"):
        return values, empty
    parts = pc.extract_regex(values, _WITH_UNIT)
    unit = pc.utf8_trim_whitespace(pc.fill_null(pc.struct_field(parts, "unit"), ""))
    known = [name for name, _ in _counted(unit) if name and parse_unit(name) is not None and plain(name)]
    has_unit = pc.is_in(unit, value_set=pa.array(known, pa.string()))
    number = pc.utf8_trim_whitespace(pc.fill_null(pc.struct_field(parts, "number"), ""))
    return pc.if_else(has_unit, number, values), pc.if_else(has_unit, unit, empty)


def decimal_of(column: ColumnEvidence, of_file: ColumnEvidence, separator: str = ",") -> str | None:
    """The decimal mark of a column, by its own cells, or by those of the file; None where that leaves two.

    A point before three digits in all cells that have one may stand between thousands: in files with semicolons, which
    those with decimal commas have, and beside whole numbers of three digits, which would be followed by 1.000. Files
    without a separator between cells, such as JSON, write numbers with a point.

    >>> decimal_of(ColumnEvidence(comma=3), ColumnEvidence()), decimal_of(ColumnEvidence(unclear=1), ColumnEvidence())
    (',', None)
    >>> decimal_of(ColumnEvidence(unclear_point=3), ColumnEvidence())
    '.'
    >>> decimal_of(ColumnEvidence(unclear_point=3, hundreds=2), ColumnEvidence()) is None
    True
    """
    if column.comma and column.point:  # a slip in few cells refuses these cells alone
        if column.comma <= FEW * column.filled:
            return "."
        if column.point <= FEW * column.filled and column.comma > MOSTLY * column.filled:
            return ","
    if column.comma or column.point:
        return None if column.comma and column.point else "," if column.comma else "."
    if of_file.comma and not of_file.point:
        return ","
    if column.unclear and not (of_file.point and not of_file.comma):
        return None
    if column.unclear_point and not of_file.point and separator and (separator == ";" or column.hundreds):
        return None
    return "."


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_numeric(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
    )


def _trimmed(values: pa.Array) -> pa.Array:
    return pc.utf8_trim_whitespace(pc.fill_null(pc.cast(values, pa.string()), ""))


def _as_plain(values: pa.Array) -> pa.Array | None:
    """Numbers where all cells are plain ones or empty, null for those; else None."""
    try:
        return pc.cast(pc.if_else(pc.equal(values, ""), None, values), pa.float64())
    except pa.ArrowInvalid:
        return None


def _count(values: pa.Array, pattern: str) -> int:
    return int(pc.sum(pc.match_substring_regex(values, pattern)).as_py() or 0)


def _counted(values: pa.Array) -> list[tuple[Any, int]]:
    counted = pc.value_counts(values)
    return [(one["values"], one["counts"]) for one in counted.to_pylist()]
