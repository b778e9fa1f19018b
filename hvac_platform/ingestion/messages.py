"""The message format: one JSON object per reading, decoded to columns, checked, or rejected with a reason.

A message is ``{device_id, device_type, timestamp, metric_name, metric_value, unit, location, building_id}``; its key is
the device id and its record timestamp the time of the reading. The last three fields may be absent or null, fields of
other names are ignored. ``timestamp`` is ISO 8601 with date and time (RFC 3339 and its relatives); without an offset it
is UTC. ``metric_value`` is a finite number, or a boolean that counts as 0 or 1. A unit other than the one that the device's
type declares for the metric is converted; one that is not known, or measures something else, makes the message a bad one.

Every record of a batch is either decoded or rejected, never both and never neither, and nothing a producer can send
raises an exception here.
"""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from math import isfinite, isinf, isnan
from operator import attrgetter
from typing import Any, ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from hvac_platform.coding import coded_as
from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.devices.registry import canonical_type
from hvac_platform.ingestion.declared_units import (
    NO_FOREIGN_UNITS,
    converted,
    in_declared_units,
    in_usual_units,
    unit_problem,
)
from hvac_platform.ingestion.foreign import ForeignMessageError, MessageMap, message_map
from hvac_platform.ingestion.series_numbers import UNUSABLE, Said, Series, SeriesTable
from hvac_platform.log.base import Int64, Record, RecordBatch

Float64 = NDArray[np.float64]

MAX_VALUE_BYTES = 65_536
MAX_NAME_LENGTH = 128
EARLIEST_MS = 946_684_800_000
"""2000-01-01: an earlier reading comes from a clock that was never set."""
MAX_AHEAD_MS = 3_600_000
"""A reading may be this far in the future; Kafka's default ``message.timestamp.after.max.ms``."""

DECODED_AT_ONCE = 2_000
"""Messages that are decoded before their fields go into columns: so many stay in the processor's cache."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_UNPARSABLE = -(2**63)
# Device ids become Dagster partition keys, which may not contain "...". What can't be seen, or turns the reading
# direction of what follows, makes one device look like another.
_BAD_IN_NAME = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|\.\.\."
)
_JSON_TYPES = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    type(None): "null",
}


class Metric(msgspec.Struct, gc=False):
    """One reading as it travels.

    Attributes:
        device_id: the device; also the record's key.
        device_type: its type, in the producer's spelling.
        timestamp: time of the reading, ISO 8601; UTC unless it has an offset.
        metric_name: the point, e.g. ``supply_air_temp``.
        metric_value: the reading.
        unit: unit of the reading, e.g. ``°F``.
        location: where the device is.
        building_id: the building it belongs to.
    """

    device_id: str
    device_type: str
    timestamp: str
    metric_name: str
    metric_value: float | bool
    unit: str | None = ""
    location: str | None = ""
    building_id: str | None = ""


_AHEAD = " ahead of "
_TIME_AHEAD = re.compile(rf"timestamp '([^']+)' is more than \d+ s{_AHEAD}")
_MIDNIGHT = re.compile(r"(.{10}[Tt ])24:00(?::00(?:[.,]0+)?)?([Zz]|[-+][0-9:]+)?")
_decode = msgspec.json.Decoder(Metric).decode
_said: Callable[[Metric], Said] = attrgetter(*Series._fields)
_encode = msgspec.json.Encoder().encode
# parse_int: an integer of thousands of digits is infinite, not an error of its own.
_lenient_json = json.JSONDecoder(parse_int=float)


@dataclass(frozen=True, slots=True)
class DecodedBatch:
    """The readings of the good messages of a record batch as columns, in offset order; n readings.

    A message of the platform's own is one reading; one of another producer may be several, of the same offset.

    Attributes:
        offsets: int64 [n], where the message of each was in the log.
        timestamps_ms: int64 [n], time of the reading (not the record timestamp), epoch milliseconds UTC.
        device_id: n device ids.
        device_type: n canonical device types.
        metric_name: n point names.
        metric_value: float64 [n], finite.
        unit: n units; empty where the message has none.
        location: n locations; empty where the message has none.
        building_id: n buildings; empty where the message has none.
        told_units: device, metric and unit of readings that were converted, or that came in several units.
        sent_unit: n units as they were sent; None where none was converted.
    """

    offsets: Int64
    timestamps_ms: Int64
    device_id: Sequence[str]
    device_type: Sequence[str]
    metric_name: Sequence[str]
    metric_value: Float64
    unit: Sequence[str]
    location: Sequence[str]
    building_id: Sequence[str]
    told_units: frozenset[tuple[str, str, str]] = frozenset()
    sent_unit: Sequence[str] | None = None

    TEXTS: ClassVar = ("device_id", "device_type", "metric_name", "unit", "location", "building_id")

    def rows(self, rows: Int64) -> DecodedBatch:
        """Some of the readings; what is told of units stays."""
        texts: dict[str, Any] = {name: coded_as(getattr(self, name)).rows(rows) for name in self.TEXTS}
        return replace(
            self,
            offsets=self.offsets[rows],
            timestamps_ms=self.timestamps_ms[rows],
            metric_value=self.metric_value[rows],
            sent_unit=None if self.sent_unit is None else [self.sent_unit[row] for row in rows.tolist()],
            **texts,
        )

    def __len__(self) -> int:
        """Number of readings."""
        return len(self.offsets)

    @property
    def messages(self) -> int:
        """Number of messages that they came in."""
        return int(np.count_nonzero(np.diff(self.offsets))) + 1 if len(self.offsets) else 0


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that is not a valid message, with all that is needed to store it as a dead letter.

    Attributes:
        offset: where it is in the log.
        timestamp_ms: the record's timestamp, epoch milliseconds UTC.
        key: the record's key.
        value: the record's bytes; empty for a tombstone.
        reason: what is wrong, in one line.
    """

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes
    reason: str

    @property
    def ahead(self) -> bool:
        """Whether the only fault is a time in the future; then it may be this machine's clock that is wrong."""
        return _AHEAD in self.reason

    @property
    def ahead_ms(self) -> int | None:
        """The time that its only fault is to have, epoch milliseconds; None where that isn't its fault."""
        found = _TIME_AHEAD.search(self.reason) if self.ahead else None
        try:
            return None if found is None else parse_timestamp(found[1])
        except ValueError:
            return None


def decode_batch(batch: RecordBatch, *, now_ms: int) -> tuple[DecodedBatch, list[Rejected]]:
    """Decode and check a record batch; never raises, whatever the records hold.

    Args:
        batch: records of one partition.
        now_ms: the present, epoch milliseconds; readings over an hour ahead of it are rejected.

    Returns:
        The good messages as columns, and the others with their reasons; both in offset order.
    """
    readings, accepted = _decoded(batch.values)
    decoded, good = _checked(readings, batch.offsets[accepted], now_ms)
    accepted[accepted] = good
    if accepted.all():
        return decoded, []
    foreign = message_map()
    rejected, unfolded = [], _Unfolded()
    for position in np.flatnonzero(~accepted).tolist():
        value, key = batch.values[position], batch.keys[position]
        offset = int(batch.offsets[position])
        reason = None if foreign is None else unfolded.add(foreign, offset, value, key, now_ms)
        if reason != "":
            if reason is None:
                reason = rejection_reason(value, now_ms=now_ms)
                if foreign is not None and reason.startswith("missing field"):
                    reason += ", and no kind of the message map fits"
            rejected.append(Rejected(offset, int(batch.timestamps_ms[position]), key, value or b"", reason))
    return unfolded.joined(decoded), rejected


class _Unfolded:
    """Readings of messages of other producers, as the message map has them."""

    def __init__(self) -> None:
        self.offsets: list[int] = []
        self.messages: list[Metric] = []

    def add(self, foreign: MessageMap, offset: int, value: bytes | None, key: bytes | None, now_ms: int) -> str | None:
        """Take in a message; why it is bad, empty where it is not, None where no kind of the map fits it."""
        if not value or len(value) > MAX_VALUE_BYTES:
            return None
        try:
            found = foreign.readings(value, key)
            if found is None:
                return None
            kind, readings = found
            for number, content in enumerate(readings, 1):
                problem = _content_problem(content, now_ms) or _unit_problem(content)
                if problem is not None:
                    return f"as {kind}: {f'reading {number}: ' if len(readings) > 1 else ''}{problem}"
            self.messages += [msgspec.convert(content, Metric) for content in readings]
        except (ForeignMessageError, msgspec.ValidationError) as error:
            return _one_line(str(error))
        self.offsets += [offset] * len(readings)
        return ""

    def joined(self, others: DecodedBatch) -> DecodedBatch:
        """With the readings of the other messages, in the order of the log."""
        if not self.offsets:
            return others
        readings = _Readings(_table())
        readings.add(self.messages)
        mine, _ = _checked(readings, np.array(self.offsets, np.int64), None)
        sent = None
        if others.sent_unit is not None or mine.sent_unit is not None:
            sent = [*(others.sent_unit or others.unit), *(mine.sent_unit or mine.unit)]
        offsets = np.concatenate([others.offsets, mine.offsets])
        order = np.argsort(offsets, kind="stable")
        rows = order.tolist()

        def texts(first: Sequence[str], second: Sequence[str]) -> list[str]:
            both = [*first, *second]
            return [both[row] for row in rows]

        return DecodedBatch(
            offsets=offsets[order],
            timestamps_ms=np.concatenate([others.timestamps_ms, mine.timestamps_ms])[order],
            device_id=texts(others.device_id, mine.device_id),
            device_type=texts(others.device_type, mine.device_type),
            metric_name=texts(others.metric_name, mine.metric_name),
            metric_value=np.concatenate([others.metric_value, mine.metric_value])[order],
            unit=texts(others.unit, mine.unit),
            location=texts(others.location, mine.location),
            building_id=texts(others.building_id, mine.building_id),
            told_units=others.told_units | mine.told_units,
            sent_unit=None if sent is None else [sent[row] for row in rows],
        )


def _checked(readings: _Readings, offsets: Int64, now_ms: int | None) -> tuple[DecodedBatch, NDArray[np.bool_]]:
    """Those of n decoded readings that can be used, in the units that their types declare; and bool [n], which those are.

    Args:
        readings: decoded.
        offsets: int64 [n], of their messages.
        now_ms: the present; None where times and values were checked before.
    """
    timestamps_ms = np.array(readings.timestamps_ms, dtype=np.int64)
    values, codes = np.array(readings.metric_value, dtype=np.float64), np.array(readings.codes, dtype=np.int64)
    good = codes != UNUSABLE
    if now_ms is not None:
        good &= (timestamps_ms >= EARLIEST_MS) & (timestamps_ms <= now_ms + MAX_AHEAD_MS) & np.isfinite(values)
    if not good.all():
        offsets, timestamps_ms, values, codes = offsets[good], timestamps_ms[good], values[good], codes[good]
    device_id, kind, metric, unit, location, building_id = readings.table.columns(codes)
    foreign, units = NO_FOREIGN_UNITS, list[str]()
    if not in_usual_units(kind, metric, unit):
        units = list(unit)
        foreign = in_declared_units(list(device_id), list(kind), list(metric), units, values)
    texts = device_id, kind, metric, values, units or unit, location, building_id
    decoded = DecodedBatch(offsets, timestamps_ms, *texts, foreign.told, foreign.sent)
    usable = np.isfinite(values)
    if foreign.refused is not None:
        usable &= ~foreign.refused
    if not usable.all():
        decoded = decoded.rows(np.flatnonzero(usable))
        good[good] = usable
    return decoded, good


def rejection_reason(value: bytes | None, *, now_ms: int) -> str:
    """Why a record's value is not a valid message, in one line; the first reason found.

    >>> rejection_reason(b'{"device_id": "RTU-001", "device_type": 7}', now_ms=0)
    "field 'device_type' is a number, not a string"
    """
    if value is None:
        return "no value (a tombstone)"
    if not value:
        return "empty value"
    if len(value) > MAX_VALUE_BYTES:
        return f"value of {len(value)} bytes, over the {MAX_VALUE_BYTES} that are allowed"
    try:
        # The decoder's own complaint is less precise, and it does not know the tokens NaN and Infinity.
        content = _lenient_json.decode(value.removeprefix(BOM_UTF8).decode())
    except UnicodeDecodeError as error:
        return f"not UTF-8: byte 0x{value[error.start]:02x} at position {error.start}"
    except RecursionError:
        return "not readable: JSON is nested too deeply"
    except ValueError as error:
        return _one_line(f"not JSON: {error}")
    if not isinstance(content, dict):
        return f"not a JSON object but {_JSON_TYPES[type(content)]}"
    return (
        _content_problem(content, now_ms)
        or _decoder_complaint(value)
        or _unit_problem(content)
        or "not a valid message"
    )


def _content_problem(content: dict[str, Any], now_ms: int) -> str | None:
    """What is wrong with a message that is a JSON object; None if nothing is found."""
    for name in ("device_id", "device_type", "timestamp", "metric_name", "metric_value"):
        if name not in content:
            return f"missing field '{name}'"
        expected, description = ((float, bool), "a number") if name == "metric_value" else (str, "a string")
        if not isinstance(content[name], expected):
            return f"field '{name}' is {_JSON_TYPES[type(content[name])]}, not {description}"
    for name in ("unit", "location", "building_id"):
        if not isinstance(content.get(name), str | None):
            return f"field '{name}' is {_JSON_TYPES[type(content[name])]}, not a string"
    if isnan(content["metric_value"]):
        return "metric_value is NaN"
    if isinf(content["metric_value"]):
        return "metric_value is infinite, or over the range of a double"
    for name in ("device_id", "metric_name"):
        problem = name_problem(content[name])
        if problem is not None:
            return f"{name} {problem}"
    problem = type_problem(content["device_type"])
    if problem is not None:
        return f"device_type {problem}"
    timestamp = content["timestamp"]
    try:
        timestamp_ms = parse_timestamp(timestamp)
    except ValueError:
        epoch = "; epoch times are numbers, and read by a message map" if timestamp.isdigit() else ""
        return f"timestamp {timestamp[:40]!a} is not an ISO 8601 date and time{epoch}"
    if timestamp_ms < EARLIEST_MS:
        return f"timestamp {timestamp!a} is before {format_timestamp(EARLIEST_MS)}"
    if timestamp_ms > now_ms + MAX_AHEAD_MS:
        return f"timestamp {timestamp!a} is more than {MAX_AHEAD_MS // 1000} s{_AHEAD}{format_timestamp(now_ms)}"
    return None


def _unit_problem(content: dict[str, Any]) -> str | None:
    """What is wrong with the unit of a message that is fine otherwise."""
    kind, metric, unit = canonical_type(content["device_type"]), content["metric_name"], content.get("unit") or ""
    problem = unit_problem(kind, metric, unit)
    if problem is None and not isfinite(converted(kind, metric, unit, content["metric_value"])):
        return f"metric_value is over the range of a double once it is converted from {unit[:MAX_NAME_LENGTH]!r}"
    return problem


def _decoder_complaint(value: bytes) -> str | None:
    """The typed decoder's own words, for what only it objects to: a duplicate field, NaN in a field that is ignored."""
    try:
        _decode(value.removeprefix(BOM_UTF8))
    except (ValueError, RecursionError) as error:
        return _one_line(f"not readable: {error}")
    return None


def name_problem(name: str) -> str | None:
    """What makes a device id or metric name unusable, to follow its field's name; None if it is fine.

    >>> name_problem("RTU-001"), name_problem(" ")
    (None, 'is empty')
    """
    if not name or name.isspace():
        return "is empty"
    if len(name) > MAX_NAME_LENGTH:
        return f"has {len(name)} characters, over the {MAX_NAME_LENGTH} that are allowed"
    found = _BAD_IN_NAME.search(name)
    if found is not None:
        return f"contains {found.group()!a} at position {found.start()}"
    return None


def type_problem(name: str) -> str | None:
    """What makes a device type unusable, to follow its field's name; None if it is fine.

    >>> type_problem("rooftopunit"), type_problem(" "), type_problem("?!")
    (None, 'is empty', "'?!' has no letter or digit")
    """
    if not name or name.isspace():
        return "is empty"
    if len(name) > MAX_NAME_LENGTH:
        return f"has {len(name)} characters, over the {MAX_NAME_LENGTH} that are allowed"
    return None if canonical_type(name) else f"{name[:40]!a} has no letter or digit"


def parse_timestamp(text: str) -> int:
    """Epoch milliseconds of an ISO 8601 date and time, rounded down; without an offset it is UTC.

    >>> parse_timestamp("2025-11-18T17:30:00.25+02:00") == parse_timestamp("2025-11-18 15:30:00.250")
    True
    >>> parse_timestamp("2025-11-18T24:00:00Z") == parse_timestamp("2025-11-19T00:00:00Z")
    True

    Raises:
        ValueError: the text is not a date and time. A date alone is none: a reading has a time of day.
    """
    if len(text) <= len("2025-11-18"):
        raise ValueError(f"{text!r} has no time of day")
    if text.isdigit():  # of an epoch time Python would take the first digits for a date
        raise ValueError(f"{text!r} is a number")
    if text.endswith("z"):  # RFC 3339 allows t and z too, Python only t
        text = f"{text[:-1]}Z"
    leap = len(text) >= len("2016-12-31T23:59:60") and text[16:19] == ":60"  # RFC 3339 has leap seconds, Python none
    midnight = _MIDNIGHT.fullmatch(text)  # ISO 8601 calls the end of a day 24:00 too
    if midnight is not None:
        text = f"{midnight.group(1)}00:00{midnight.group(2) or ''}"
    instant = datetime.fromisoformat(f"{text[:16]}:59{text[19:]}" if leap else text)
    if leap or midnight is not None:
        instant += timedelta(seconds=1) if leap else timedelta(days=1)
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    return (instant - _EPOCH) // _MILLISECOND


def format_timestamp(timestamp_ms: int) -> str:
    """ISO 8601 in UTC; milliseconds only where there are any.

    >>> format_timestamp(0), format_timestamp(1)
    ('1970-01-01T00:00:00Z', '1970-01-01T00:00:00.001Z')
    """
    seconds, milliseconds = divmod(timestamp_ms, 1000)
    instant = _EPOCH + timedelta(seconds=seconds)
    fraction = f".{milliseconds:03d}" if milliseconds else ""
    return f"{instant.replace(tzinfo=None).isoformat()}{fraction}Z"


def encode_metric(metric: Metric) -> bytes:
    """The message of one reading.

    Raises:
        ValueError: metric_value is NaN or infinite, which JSON can't say.
    """
    if not isfinite(metric.metric_value):
        raise ValueError(f"{metric.device_id} {metric.metric_name}: metric_value is {metric.metric_value}")
    return _encode(metric)


def encode_readings(
    device: FleetDevice,
    times_ms: Int64,
    metric_names: Sequence[str],
    units: Sequence[str],
    values: Float64,
) -> list[Record]:
    """Records of one device's readings, ready to append; in order of time, then of metric.

    Args:
        device: the device.
        times_ms: int64 [t], times of the readings, epoch milliseconds UTC.
        metric_names: m point names.
        units: m units.
        values: float64 [t, m], readings; those that are NaN or infinite are left out.

    Returns:
        (key, value, timestamp in epoch milliseconds) of each reading.

    Raises:
        ValueError: the shapes don't fit together.
    """
    if values.shape != (len(times_ms), len(metric_names)) or len(units) != len(metric_names):
        raise ValueError(
            f"{len(times_ms)} times, {len(metric_names)} metrics and {len(units)} units "
            f"don't fit values of shape {values.shape}"
        )
    key = device.device_id.encode()
    head = b'{"device_id":%b,"device_type":%b,"timestamp":"' % (_encode(device.device_id), _encode(device.device_type))
    # What stands between the time and the value, and after the value, is the same for all readings of a metric.
    middles = [b'","metric_name":%b,"metric_value":' % _encode(name) for name in metric_names]
    tails = [
        b',"unit":%b,"location":%b,"building_id":%b}'
        % (_encode(unit), _encode(device.location), _encode(device.building_id))
        for unit in units
    ]
    records: list[Record] = []
    for timestamp_ms, readings in zip(times_ms.tolist(), values.tolist(), strict=True):
        start = head + format_timestamp(timestamp_ms).encode()
        # One call formats the numbers of a tick; what JSON can't say comes out as null.
        numbers = _encode(readings)[1:-1].split(b",")
        records += [
            (key, start + middle + number + tail, timestamp_ms)
            for middle, number, tail in zip(middles, numbers, tails, strict=bool(middles))
            if number != b"null"
        ]
    return records


class _Known(dict[Any, Any]):
    """What a function makes of each text; it is called once for each different one."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self._function = function

    def __missing__(self, text: Any) -> Any:
        value = self[text] = self._function(text)
        return value


def _checked_series(said: Said) -> Series | None:
    """The series of a message as its readings are stored; None where one of its names can't be used."""
    device_id, kind, metric, unit, location, building_id = said
    if name_problem(device_id) is not None or name_problem(metric) is not None or type_problem(kind) is not None:
        return None
    return Series(device_id, canonical_type(kind), metric, unit or "", location or "", building_id or "")


_tables = [SeriesTable(_checked_series)]


def _table() -> SeriesTable:
    """The table of this process."""
    if _tables[0].full:
        _tables[0] = SeriesTable(_checked_series)
    return _tables[0]


class _Readings:
    """Readings of a batch as they are decoded, before what only whole columns are checked for.

    Attributes:
        table: of series.
        codes: of the series of each.
        timestamps_ms: of each.
        metric_value: of each.
    """

    def __init__(self, table: SeriesTable) -> None:
        self.table = table
        self.codes: list[int] = []
        self.timestamps_ms: list[int] = []
        self.metric_value: list[float | bool] = []
        self._instants = _Known(_timestamp_or_unparsable)

    def add(self, messages: Sequence[Metric]) -> None:
        """Add decoded messages."""
        self.codes += self.table.codes(list(map(_said, messages)))
        self.metric_value += [message.metric_value for message in messages]
        self.timestamps_ms += map(self._instants.__getitem__, [message.timestamp for message in messages])


def _decoded(values: Sequence[bytes | None]) -> tuple[_Readings, NDArray[np.bool_]]:
    """Readings of the values that can be decoded, and bool [n], which those are."""
    readings = _Readings(_table())
    accepted = np.ones(len(values), dtype=np.bool_)
    for first in range(0, len(values), DECODED_AT_ONCE):
        some = values[first : first + DECODED_AT_ONCE]
        try:
            if max(map(len, some)) > MAX_VALUE_BYTES:  # type: ignore[arg-type]
                raise ValueError
            messages = list(map(_decode, some))  # type: ignore[arg-type]
        except (ValueError, RecursionError, TypeError):  # one is bad: look at each
            decoded = [_decode_or_none(value) for value in some]
            accepted[first : first + len(some)] = [message is not None for message in decoded]
            messages = [message for message in decoded if message is not None]
        readings.add(messages)
    return readings, accepted


def _decode_or_none(value: bytes | None) -> Metric | None:
    """The message, or None where the typed decoder refuses it; the reason is looked for later."""
    if not value or len(value) > MAX_VALUE_BYTES:
        return None
    try:
        return _decode(value.removeprefix(BOM_UTF8))  # RFC 8259: a reader may pass over such a mark
    except (ValueError, RecursionError):
        return None


def _timestamp_or_unparsable(text: str) -> int:
    try:
        return parse_timestamp(text)
    except ValueError:
        return _UNPARSABLE


def _one_line(text: str) -> str:
    return " ".join(text.split())[:200]
