"""Columns that nobody named and that yet decide what a row means: which series it is of, and whether it is good."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hvac_platform.ingestion.importing.columns import slug, split_header
from hvac_platform.ingestion.importing.refusing import ImportRefusedError, listed, shown

QUALITY_NAMES = (
    *("quality", "data_quality", "quality_code", "qualitycode", "quality_flag", "opc_quality", "value_quality", "qual"),
    *(
        "point_quality",
        "sample_quality",
        "quality_status",
        "reliability",
        "validity",
        "data_validity",
        "is_valid",
        "valid",
    ),
    *(
        "is_good",
        "good",
        "isgood",
        "isquestionable",
        "questionable",
        "qc",
        "qc_flag",
        "quality_good",
        "data_status",
        "value_status",
    ),
    *("status", "state_flags", "status_flags", "point_status", "sample_status", "tag_quality", "q"),
    *("quality_detail", "quality_details", "qualitat", "qualite", "calidad", "qualita", "kwaliteit"),
    *(
        "flag",
        "flags",
        "data_flag",
        "data_flags",
        "trend_flags",
        "bad",
        "is_bad",
        "invalid",
        "is_invalid",
        "substituted",
    ),
    *("is_substituted", "suspect", "is_suspect", "estimated", "is_estimated"),
)
_QUALITIES = frozenset(name.replace("_", "") for name in QUALITY_NAMES)
GOOD_STATUS = (
    *("ok", "good", "normal", "valid", "0", "192", "{ok}", "", "reliable", "good non specific", "no fault detected"),
    *("true", "yes", "good local override", "in service", "none", "{}", "{ }", "{start}"),
)
"""What a status says of a good row, as ``status_word`` writes it."""
_BAD_STATUS = r"(?i)fault|down|stale|disabled|null|invalid|offline|bad|error|unreliable|uncertain|no.?data"
_OF_BAD_ROWS = re.compile(r"(questionable|bad|invalid|substituted|suspect|estimated|unreliable|fault)$")
"""Names of columns that are true of a bad row."""
_OF_GOOD_ROWS = re.compile(r"(valid|good|ok)$")
"""Names of columns that are true of a good one."""
_BARE_STATUS = re.compile(r"(^|_)(status|stat|state|health|(status|state|point)_flags?)$")
"""What may be the state of a machine, and says something of a row only where it has a word for bad ones."""
_BESIDE = re.compile(
    r"_(?:data_)?(?:quality(?:_code)?|status|stat|reliability|validity|is_?valid|valid|ok|good|flags?|qc(?:_flag)?|qual|q|"
    r"health|fault|state|questionable|bad)$"
)
"""What follows the name of a point where a column says which of its values are good."""
_BAD = re.compile(_BAD_STATUS)
LOGGED = frozenset(
    {"real value", "boolean value", "enumerated value", "enum value", "unsigned value", "signed value", "integer value",
     "double value", "value", "real", "data", "log value"}
)  # fmt: skip
"""What a trend log of BACnet calls records that hold a value, as ``status_word`` writes it."""
EVENTS = frozenset(
    {"log status", "log disabled", "buffer purged", "log interrupted", "time change", "failure", "error", "null value",
     "any value", "event"}
)  # fmt: skip
"""What it calls those that tell of the log itself: a number in them is none of the point."""
_BITS = re.compile(r"(?i)[\s{(\[]*(?:(?:true|false|[tf01])[\s;,|/]*){4}[})\]]*")
MOST_WORDS, MOST_SERIES, ROWS_LOOKED_AT = 1_000, 500, 50_000
REPEATED = 0.1
"""Share of the rows whose time another row of another word has too, above which a column tells series apart."""


def status_word(text: str) -> str:
    """A status in small letters, without what differs between writings of the same one.

    >>> status_word("Good, non-specific"), status_word("no-fault-detected"), status_word("{ok}")
    ('good non specific', 'no fault detected', '{ok}')
    """
    return " ".join(re.sub(r"[\s,;_()\[\]-]+", " ", text.lower()).split())


def is_good_status(status: pa.Array, good: tuple[str, ...] | None) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which rows are good by what their status says, bool [n].

    Args:
        status: n texts.
        good: what it says of good ones; None where words for bad ones decide.
    """
    encoded = status.dictionary_encode()
    words = encoded.dictionary.to_pylist()
    if good is None:
        fine = [_BAD.search(word) is None for word in words]
    else:
        known, usual = {status_word(word) for word in good}, tuple(good) == GOOD_STATUS
        fine = [
            status_word(word) in known or (usual and _bits(word) is not None and not any(_bits(word) or ()))
            for word in words
        ]
    found: np.ndarray[tuple[int], np.dtype[np.bool_]] = np.array(fine, np.bool_)[np.asarray(encoded.indices)]
    return found


@dataclass
class Overlooked:
    """What columns without a role say, seen chunk by chunk.

    Attributes:
        quality: by column with a name of a quality, its rows by what they say.
        status: by column of a status that is given, its rows by what they say.
        words: by column of words, its different words; None where they are too many to be names of series.
    """

    quality: dict[str, dict[str, int]] = field(default_factory=dict)
    words: dict[str, set[str] | None] = field(default_factory=dict)
    status: dict[str, dict[str, int]] = field(default_factory=dict)

    def see(self, columns: Mapping[str, pa.Array]) -> None:
        """Some rows more, of the columns that have no role."""
        for name, cells in columns.items():
            if (_is_quality(name) or _BESIDE.search(slug(name))) and not pa.types.is_nested(cells.type):
                _count(self.quality.setdefault(name, {}), cells)
            if not pa.types.is_string(cells.type) or self.words.get(name, set()) is None:
                continue
            unique = set(pc.unique(_texts(cells)).to_pylist())
            seen = (self.words.get(name) or set()) | unique
            self.words[name] = None if len(seen) > MOST_SERIES else seen

    def see_status(self, name: str, cells: pa.Array) -> None:
        """Some rows more of a column of status."""
        _count(self.status.setdefault(name, {}), cells)

    def check_quality(self, taken: Collection[str]) -> None:
        """Nothing says that some rows are bad which nobody looks at.

        Args:
            taken: columns that are metrics themselves.

        Raises:
            ImportRefusedError: a column says that some are; the message names it.
        """
        for name, counts in self.quality.items():
            if not _is_quality(name) and _of_column(name, taken) is None:
                continue
            said = {word: count for word, count in counts.items() if word}
            numbers = _are_numbers(said) and not all(map(_bits, said))
            # One number everywhere tells nothing apart; of several, which one is good depends on the system.
            words = _good_words(name, said)
            doubtful = [word for word in said if word not in words]
            bad = [word for word in doubtful if _BAD.search(word) or any(_bits(word) or ())]
            if (
                name in taken
                or not doubtful
                or (numbers and len(said) < 2)
                or (_BARE_STATUS.search(slug(name)) and not bad)
            ):
                continue
            first = (bad or doubtful)[0]
            of = _of_column(name, taken)
            key = f"status_column: {shown(name)}" if of is None else f"status_columns: {{{shown(of)}: {shown(name)}}}"
            which = "rows" if of is None else f"values of {shown(of)}"
            good = ", ".join(map(shown, words[:4])) or "WORD"
            there = "" if words else f", one or more of {listed(list(said))}"
            raise ImportRefusedError(
                f"column {shown(name)} seems to say which {which} are good, and {said[first]} rows have {shown(first)}; "
                f"give {key} in the map, with good_status: [{good}] for what good rows have{there}, or "
                f"ignore: [{shown(name)}] to take all of them"
            )

    def check_events(self, taken: Collection[str]) -> None:
        """No rows tell of a log itself among those that hold values.

        Args:
            taken: columns that are metrics themselves.

        Raises:
            ImportRefusedError: some do; the message names the column.
        """
        for name, said in self.words.items():
            if name in taken or not said:
                continue
            events = sorted(word for word in said if status_word(word) in EVENTS)
            values = sorted(word for word in said if status_word(word) in LOGGED)
            if events and values and len(events) + len(values) == len(said - {""}):
                raise ImportRefusedError(
                    f"column {shown(name)} says which rows hold a value, {listed(values)}, and which tell of the log, "
                    f"{listed(events)}; give status_column: {shown(name)} in the map, with good_status: "
                    f"[{', '.join(map(shown, values))}]"
                )

    def check_status(self, column: str) -> None:
        """Numbers of a column of status mean what its system says, and a column such as Questionable is true of bad rows.

        Raises:
            ImportRefusedError: there are several, and nothing says which of them is good.
        """
        said = [word for word in self.status.get(column, {}) if word]
        good = _good_words(column, said)
        if _OF_BAD_ROWS.search(_squeezed(column)) and len(good) < len(said):
            raise ImportRefusedError(
                f"column {shown(column)} says which rows are bad, with {listed(said)}; say what good rows have: "
                f"good_status: [{', '.join(map(shown, good[:4])) or 'WORD'}] in the map"
            )
        if len(said) > 1 and _are_numbers(said) and not all(map(_bits, said)):
            raise ImportRefusedError(
                f"column {shown(column)} has the numbers {listed(said)}; say which of them good rows have: good_status: "
                "[NUMBER] in the map"
            )

    def telling(self, taken: Iterable[str]) -> list[str]:
        """Columns whose words may be names of series."""
        apart = set(taken) | {name for name in self.quality if _is_quality(name)}
        return [
            name
            for name, words in self.words.items()
            if words is not None and name not in apart and len(words - {""}) > 1 and _are_names(words)
        ]


def _squeezed(name: str) -> str:
    """A name in small letters, without accents and what stands between its words.

    >>> _squeezed("Qualität"), _squeezed("OPCQuality")
    ('qualitat', 'opcquality')
    """
    return re.sub(r"[^a-z0-9]", "", unicodedata.normalize("NFKD", name).lower())


def _is_quality(name: str) -> bool:
    suffixes = ("_quality", "_reliability", "_status", "_validity")
    return _squeezed(name) in _QUALITIES or slug(name).endswith(suffixes)


def _good_words(name: str, said: Collection[str]) -> list[str]:
    """Of the words that a column of a name says, those that it says of good rows."""
    squeezed = _squeezed(name)
    if _OF_BAD_ROWS.search(squeezed):
        good = {*GOOD_STATUS, "false", "no", "n", "f", "0.0"} - {"true", "yes", "valid"}
        return [word for word in said if status_word(word) in good]
    if said and all(map(_bits, said)):
        return [word for word in said if not any(_bits(word) or ())]
    if _are_numbers(said):
        is_yes_or_no = _OF_GOOD_ROWS.search(squeezed) and {"0", "1"} >= set(said)
        return [word for word in said if word == ("1" if is_yes_or_no else "192")]
    return [word for word in said if status_word(word) in GOOD_STATUS]


def _of_column(name: str, taken: Iterable[str]) -> str | None:
    """The column that a quality stands beside: its name goes on with a word for one."""
    bare = _BESIDE.sub("", slug(name))
    return next((one for one in taken if bare != slug(name) and bare in (slug(one), slug(split_header(one)[0]))), None)


def _count(found: dict[str, int], cells: pa.Array) -> None:
    for one in pc.value_counts(_texts(cells)).to_pylist():
        if one["values"] in found or len(found) < MOST_WORDS:
            found[one["values"]] = found.get(one["values"], 0) + one["counts"]


def _bits(word: str) -> tuple[bool, ...] | None:
    """The four flags of BACnet's Status_Flags (in alarm, fault, overridden, out of service); None where it is none.

    >>> _bits("F;T;F;F"), _bits("{false,false,false,false}"), _bits("0100"), _bits("ok")
    ((False, True, False, False), (False, False, False, False), (False, True, False, False), None)
    """
    if _BITS.fullmatch(word) is None:
        return None
    return tuple(bit.lower() in ("t", "true", "1") for bit in re.findall(r"(?i)true|false|[tf01]", word))


def _are_numbers(words: Iterable[str]) -> bool:
    return all(re.fullmatch(r"[-+]?\d+(\.\d*)?", word) for word in words)


def _are_names(words: set[str]) -> bool:
    return any(re.search(r"[^\W\d_]", word) for word in words)


def _texts(cells: pa.Array) -> pa.Array:
    return pc.utf8_trim_whitespace(pc.fill_null(pc.cast(cells, pa.string()), ""))


def check_series(
    rows: Iterable[tuple[Sequence[str], Mapping[str, Sequence[str]]]], value: str | None, has_device: bool
) -> None:
    """No column tells rows of one time apart, so that each time has a reading of a series.

    Args:
        rows: by chunk, the times with the devices, and the words of the columns that may be names of series.
        value: the one column of values, or None where there are several.
        has_device: whether a column says the device.

    Raises:
        ImportRefusedError: one does; the message names it.
    """
    first_of: dict[str, dict[str, str]] = {}
    repeated: dict[str, int] = {}
    count = 0
    for times, columns in rows:
        for name, words in columns.items():
            seen = first_of.setdefault(name, {})
            repeated[name] = repeated.get(name, 0) + sum(
                seen.setdefault(at, word) != word for at, word in zip(times, words, strict=True) if word
            )
        count += len(times)
        if count >= ROWS_LOOKED_AT:
            break
    found = [name for name, times in repeated.items() if times > REPEATED * count]
    if not found:
        return
    name = max(found, key=lambda one: repeated[one])
    points = f"metric_column: {shown(name)} and value_column: {shown(value)} where its words are points, "
    devices = f"device_column: {shown(name)} where they are devices, "
    advice = (points if value is not None else "") + ("" if has_device else devices)
    raise ImportRefusedError(
        f"column {shown(name)} tells rows of one time apart, so they are several series in one; in the map give "
        f"{advice}or ignore: [{shown(name)}] where they say nothing of it"
        + (f" (all of such columns: {listed(found)})" if len(found) > 1 else "")
    )
