"""Every record is decoded or rejected with a reason, exactly once, whatever producers send."""

from __future__ import annotations

import json
import sys
from unittest.mock import patch

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.devices.registry import canonical_type, device_type
from hvac_platform.devices.units import SAYS_NOTHING, UnitError, plain
from hvac_platform.ingestion import messages
from hvac_platform.ingestion.messages import (
    EARLIEST_MS,
    MAX_AHEAD_MS,
    MAX_VALUE_BYTES,
    Metric,
    decode_batch,
    encode_metric,
    encode_readings,
    format_timestamp,
    name_problem,
    parse_timestamp,
    type_problem,
)
from hvac_platform.log.base import RecordBatch

NOW_MS = 1_763_480_000_000
MESSAGE = {
    "device_id": "RTU-001",
    "device_type": "rooftopunit",
    "timestamp": "2025-11-18T15:30:00Z",
    "metric_name": "supply_air_temp",
    "metric_value": 72.5,
    "unit": "°F",
    "location": "building-A",
    "building_id": "bldg-001",
}
MESSAGE_MS = 1_763_479_800_000


def record_batch(values, first_offset=0):
    return RecordBatch(
        topic="iot-metrics",
        partition=0,
        offsets=np.arange(first_offset, first_offset + len(values), dtype=np.int64),
        timestamps_ms=np.arange(len(values), dtype=np.int64),
        keys=[b"key %d" % i for i in range(len(values))],
        values=list(values),
    )


def message(**changes):
    """The specification's message with some fields changed; those set to ... are left out."""
    fields = {name: value for name, value in (MESSAGE | changes).items() if value is not ...}
    return json.dumps(fields).encode()


def decode_one(value):
    good, rejected = decode_batch(record_batch([value]), now_ms=NOW_MS)
    assert len(good) + len(rejected) == 1
    return good, rejected


def reason(value):
    good, rejected = decode_one(value)
    assert len(good) == 0
    return rejected[0].reason


def test_the_specified_message_becomes_one_row():
    good, rejected = decode_batch(record_batch([message()], first_offset=41), now_ms=NOW_MS)
    assert rejected == []
    assert good.offsets.tolist() == [41]
    assert good.timestamps_ms.tolist() == [MESSAGE_MS]
    assert good.metric_value.tolist() == [72.5]
    assert (good.device_id, good.metric_name) == (["RTU-001"], ["supply_air_temp"])
    assert good.device_type == ["rooftop_unit"]
    assert (good.unit, good.location, good.building_id) == (["°F"], ["building-A"], ["bldg-001"])


@pytest.mark.parametrize(
    "text",
    [
        "2025-11-18T15:30:00Z",
        "2025-11-18T15:30:00.000Z",
        "2025-11-18T15:30:00.000999999Z",
        "2025-11-18T17:30:00+02:00",
        "2025-11-18T10:00:00-05:30",
        "2025-11-18T15:30:00",
        "2025-11-18 15:30:00",
        "2025-11-18T15:30Z",
        "20251118T153000Z",
        "2025-11-18T24:00:00+08:30",
    ],
)
def test_the_ways_to_write_an_instant(text):
    good, _ = decode_one(message(timestamp=text))
    assert good.timestamps_ms.tolist() == [MESSAGE_MS]


def test_a_byte_order_mark_before_a_message_is_passed_over():
    good, _ = decode_one(b"\xef\xbb\xbf" + message())
    assert good.metric_value.tolist() == [72.5]


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (b"72", 72.0),
        (b"-0", 0.0),
        (b"7.25E1", 72.5),
        (b"true", 1.0),
        (b"false", 0.0),
        (b"1e-999", 0.0),
        (b"1" * 30, float("1" * 30)),
    ],
)
def test_the_ways_to_write_a_reading(number, expected):
    good, _ = decode_one(message().replace(b"72.5", number))
    assert good.metric_value.tolist() == [expected]


def test_optional_fields_may_be_absent_or_null_and_others_are_ignored():
    good, rejected = decode_batch(
        record_batch(
            [
                message(unit=..., location=..., building_id=...),
                message(unit=None, location=None, building_id=None, x={"a": [1]}),
            ]
        ),
        now_ms=NOW_MS,
    )
    assert rejected == []
    assert good.unit == good.location == good.building_id == ["", ""]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "no value (a tombstone)"),
        (b"", "empty value"),
        (b" ", "not JSON: Expecting value"),
        (b"garbage", "not JSON: Expecting value"),
        (b"{", "not JSON: Expecting property name"),
        (message() + b"}", "not JSON: Extra data"),
        (b"\xef\xbb\xbf{", "not JSON: "),
        (b"\xff\xfe", "not UTF-8: byte 0xff at position 0"),
        (message().replace(b"RTU", b"R\xe9U"), "not UTF-8: byte 0xe9 at position 16"),
        (b"[]", "not a JSON object but an array"),
        (b'"x"', "not a JSON object but a string"),
        (b"12", "not a JSON object but a number"),
        (b"null", "not a JSON object but null"),
        (b"{}", "missing field 'device_id'"),
        (message(x="x" * MAX_VALUE_BYTES), "value of 65764 bytes, over the 65536 that are allowed"),
        (message(timestamp=...), "missing field 'timestamp'"),
        (message(metric_value=...), "missing field 'metric_value'"),
        (message(device_type=...), "missing field 'device_type'"),
        (message(device_id=7), "field 'device_id' is a number, not a string"),
        (message(metric_name=None), "field 'metric_name' is null, not a string"),
        (message(timestamp=1763480000), "field 'timestamp' is a number, not a string"),
        (message(metric_value="72.5"), "field 'metric_value' is a string, not a number"),
        (message(metric_value="NaN"), "field 'metric_value' is a string, not a number"),
        (message(metric_value=None), "field 'metric_value' is null, not a number"),
        (message(metric_value=[1]), "field 'metric_value' is an array, not a number"),
        (message(unit=7), "field 'unit' is a number, not a string"),
        (message(location={}), "field 'location' is an object, not a string"),
        (message(metric_value=float("nan")), "metric_value is NaN"),
        (message(metric_value=float("inf")), "metric_value is infinite, or over the range of a double"),
        (message(metric_value=float("-inf")), "metric_value is infinite, or over the range of a double"),
        (message().replace(b"72.5", b"1e999"), "metric_value is infinite, or over the range of a double"),
        (message().replace(b"72.5", b"9" * 5_000), "metric_value is infinite, or over the range of a double"),
        (message(x=float("nan")), "not readable: JSON is malformed"),
        (message().replace(b"}", b', "unit": 3, "unit": "b"}'), "not readable: Expected `str | null`, got `int`"),
        (message(timestamp="yesterday"), "timestamp 'yesterday' is not an ISO 8601 date and time"),
        (message(timestamp="2025-11-18"), "timestamp '2025-11-18' is not an ISO 8601 date and time"),
        (message(timestamp=""), "timestamp '' is not an ISO 8601 date and time"),
        (message(timestamp="2025-02-30T00:00Z"), "timestamp '2025-02-30T00:00Z' is not an ISO 8601 date and time"),
        (message(timestamp="1999-12-31T23:59Z"), "timestamp '1999-12-31T23:59Z' is before 2000-01-01T00:00:00Z"),
        (message(timestamp="1970-01-01T00:00Z"), "timestamp '1970-01-01T00:00Z' is before 2000-01-01T00:00:00Z"),
        (
            message(timestamp="2025-11-18T16:33:20.001Z"),
            "timestamp '2025-11-18T16:33:20.001Z' is more than 3600 s ahead of 2025-11-18T15:33:20Z",
        ),
        (message(device_id=""), "device_id is empty"),
        (message(device_id=" \u00a0"), "device_id is empty"),
        (message(metric_name="\t"), "metric_name is empty"),
        (message(device_id="x" * 129), "device_id has 129 characters, over the 128 that are allowed"),
        (message(metric_name="é" * 129), "metric_name has 129 characters, over the 128 that are allowed"),
        (message(device_id="RTU\n1"), r"device_id contains '\n' at position 3"),
        (message(metric_name="a\x00b"), r"metric_name contains '\x00' at position 1"),
        (message(device_id="a\x7f"), r"device_id contains '\x7f' at position 1"),
        (message(device_id="RTU\u202e1"), r"device_id contains '\u202e' at position 3"),
        (message(device_id="RTU-1\u200b"), r"device_id contains '\u200b' at position 5"),
        (message(device_id="RTU...1"), "device_id contains '...' at position 3"),
        (message(device_id="\ud800"), "not readable: JSON is malformed"),
    ],
)  # fmt: skip
def test_what_is_rejected_and_why(value, expected):
    assert reason(value).startswith(expected)


def test_json_that_is_nested_too_deeply_is_rejected_and_never_the_end_of_the_process():
    """From Python 3.14 on it is the stack that bounds how deep; 64 KiB are not too deep for it."""
    open_only, unused = b"[" * 60_000, message(x=0).replace(b"0}", b"[" * 30_000 + b"]" * 30_000 + b"}")
    if sys.version_info < (3, 14):
        assert reason(open_only) == reason(unused) == "not readable: JSON is nested too deeply"
    else:
        assert reason(open_only).startswith("not JSON: Expecting value")
        assert decode_one(unused)[0].metric_value.tolist() == [MESSAGE["metric_value"]]


@pytest.mark.parametrize(
    "changes",
    [
        {"device_id": "x" * 128},
        {"device_id": "Dach Nord / RTU 1 (é, 屋上)"},
        {"timestamp": "2000-01-01T00:00:00Z"},
        {"timestamp": "2025-11-18T16:33:20Z"},
        {"x": "x" * (MAX_VALUE_BYTES - len(message(x="")))},
        {"metric_value": 1.7976931348623157e308},
    ],
)
def test_what_is_just_allowed(changes):
    _, rejected = decode_one(message(**changes))
    assert rejected == []


def test_a_rejected_record_keeps_what_a_dead_letter_needs():
    values = [message(), b"bad\xff", message(metric_value=1), None, message(metric_value="x")]
    good, rejected = decode_batch(record_batch(values, first_offset=100), now_ms=NOW_MS)
    assert good.offsets.tolist() == [100, 102]
    assert good.metric_value.tolist() == [72.5, 1.0]
    assert [(r.offset, r.timestamp_ms, r.key, r.value) for r in rejected] == [
        (101, 1, b"key 1", b"bad\xff"),
        (103, 3, b"key 3", b""),
        (104, 4, b"key 4", values[4]),
    ]


def test_an_empty_batch_decodes_to_nothing():
    good, rejected = decode_batch(record_batch([]), now_ms=NOW_MS)
    assert (len(good), rejected) == (0, [])
    assert good.metric_value.dtype == np.float64


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
near_messages = st.builds(
    lambda changes, dropped: message(**changes, **dict.fromkeys(dropped - set(changes), ...)),
    st.dictionaries(st.sampled_from(list(MESSAGE)), json_values, max_size=2),
    st.sets(st.sampled_from(list(MESSAGE)), max_size=1),
)
mangled_messages = st.builds(
    lambda value, position, junk: value[:position] + junk + value[position + 1 :],
    near_messages,
    st.integers(0, 250),
    st.binary(max_size=3),
)
timed_messages = st.builds(lambda text: message(timestamp=text), st.text("0123456789-:TZ+.W ", max_size=30))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.none() | st.binary() | near_messages | mangled_messages | timed_messages, max_size=12))
@example([message().replace(b"RTU", b"\\udc00")])
def test_every_record_is_good_or_rejected_exactly_once(values):
    batch = record_batch(values, first_offset=7)
    good, rejected = decode_batch(batch, now_ms=NOW_MS)
    assert sorted(good.offsets.tolist() + [r.offset for r in rejected]) == batch.offsets.tolist()
    assert np.isfinite(good.metric_value).all()
    assert ((good.timestamps_ms >= EARLIEST_MS) & (good.timestamps_ms <= NOW_MS + MAX_AHEAD_MS)).all()
    for names in (good.device_id, good.metric_name):
        assert [name_problem(name) for name in names] == [None] * len(good)
    columns = (good.device_id, good.device_type, good.metric_name, good.unit, good.location, good.building_id)
    for column in columns:
        assert len(column) == len(good)
        "".join(column).encode()  # no lone surrogates: every text can be stored
    for record in rejected:
        assert record.value == (values[record.offset - 7] or b"")
        assert record.reason
        assert len(record.reason.splitlines()) == 1
        assert len(record.reason.encode()) < 500


def alone(value):
    """The row of one message, by the checks of the format one after the other; None where one of them fails."""
    if not value or len(value) > MAX_VALUE_BYTES:
        return None
    try:
        found = msgspec.json.decode(value, type=Metric)
        at_ms = parse_timestamp(found.timestamp)
    except (ValueError, RecursionError):
        return None
    problems = name_problem(found.device_id), name_problem(found.metric_name), type_problem(found.device_type)
    usable = problems == (None, None, None)
    if not (usable and EARLIEST_MS <= at_ms <= NOW_MS + MAX_AHEAD_MS and np.isfinite(found.metric_value)):
        return None
    value, unit, kind = found.metric_value, found.unit or "", device_type(found.device_type)
    if kind is not None and found.metric_name in kind.index:
        point = kind.point(found.metric_name)
        try:
            how = point.conversion(unit)
        except UnitError:
            return None
        if not how.changes_nothing:
            value = float(f"{value * how.scale + how.offset:.12g}")
        unit = "" if plain(unit).lower() in SAYS_NOTHING and how.changes_nothing else point.unit
    if not np.isfinite(value):
        return None
    where = (found.location or "", found.building_id or "")
    return (found.device_id, canonical_type(found.device_type), at_ms, found.metric_name, value, unit, *where)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.none() | st.binary(max_size=5) | near_messages | mangled_messages | timed_messages | st.just(message()),
        max_size=12,
    ),
    st.integers(1, 5),
)
@example([message(), message(metric_value=True), message(unit=None), message(location="x" * 70_000), message()], 2)
def test_a_batch_decodes_as_its_messages_do_alone(values, at_once):
    """However many are decoded together, and whatever stands beside them."""
    with patch.object(messages, "DECODED_AT_ONCE", at_once):
        good, rejected = decode_batch(record_batch(values), now_ms=NOW_MS)
    rows = zip(
        good.device_id, good.device_type, good.timestamps_ms.tolist(), good.metric_name, good.metric_value.tolist(),
        good.unit, good.location, good.building_id, strict=True,
    )  # fmt: skip
    expected = {i: row for i, value in enumerate(values) if (row := alone(value)) is not None}
    assert dict(zip(good.offsets.tolist(), rows, strict=True)) == expected
    assert [(bad.offset, bad.reason) for bad in rejected] == [
        (i, reason(value)) for i, value in enumerate(values) if i not in expected
    ]


names = st.text(min_size=1, max_size=20).filter(lambda name: name_problem(name) is None)
types = st.text(min_size=1, max_size=10).filter(lambda name: type_problem(name) is None)
in_range_ms = st.integers(EARLIEST_MS, NOW_MS)
readings = st.floats(width=64)


@given(names, types, in_range_ms, names, readings.filter(np.isfinite), st.text(max_size=5))
def test_an_encoded_metric_decodes_to_itself(device_id, device_type, time_ms, metric_name, value, text):
    metric = Metric(device_id, device_type, format_timestamp(time_ms), metric_name, value, text, text, text)
    encoded = encode_metric(metric)
    assert list(json.loads(encoded)) == list(MESSAGE)
    good, rejected = decode_one(encoded)
    assert rejected == []
    assert good.timestamps_ms.tolist() == [time_ms]
    assert good.metric_value.tolist() == [value]
    assert (good.device_id, good.device_type) == ([device_id], [canonical_type(device_type)])
    assert (good.metric_name, good.unit, good.building_id) == ([metric_name], [text], [text])


@given(
    st.builds(FleetDevice, names, types, st.text(max_size=8), st.text(max_size=8)),
    st.lists(in_range_ms, max_size=4),
    st.lists(st.tuples(names, st.text(max_size=4)), max_size=4),
    st.data(),
)
def test_encoded_readings_decode_to_what_was_read(device, times_ms, metrics, data):
    values = np.array([[data.draw(readings) for _ in metrics] for _ in times_ms], dtype=np.float64).reshape(
        len(times_ms), len(metrics)
    )
    records = encode_readings(
        device, np.array(times_ms, dtype=np.int64), [name for name, _ in metrics], [unit for _, unit in metrics], values
    )
    expected = [
        (time_ms, name, unit, values[t, m])
        for t, time_ms in enumerate(times_ms)
        for m, (name, unit) in enumerate(metrics)
        if np.isfinite(values[t, m])
    ]
    assert [(key, timestamp_ms) for key, _, timestamp_ms in records] == [
        (device.device_id.encode(), time_ms) for time_ms, *_ in expected
    ]
    good, rejected = decode_batch(record_batch([value for _, value, _ in records]), now_ms=NOW_MS)
    assert rejected == []
    assert (
        list(zip(good.timestamps_ms.tolist(), good.metric_name, good.unit, good.metric_value.tolist(), strict=True))
        == expected
    )
    assert set(good.device_id) <= {device.device_id}
    assert set(good.location) <= {device.location}
    assert set(good.building_id) <= {device.building_id}


def test_encoded_readings_have_the_specified_fields_in_their_order():
    device = FleetDevice("RTU-001", "rooftopunit", "building-A", "bldg-001")
    ((key, value, timestamp_ms),) = encode_readings(
        device, np.array([MESSAGE_MS]), ["supply_air_temp"], ["°F"], np.array([[72.5]])
    )
    assert (key, timestamp_ms) == (b"RTU-001", MESSAGE_MS)
    assert list(msgspec.json.decode(value).items()) == list(MESSAGE.items())


def test_readings_that_dont_fit_are_refused():
    device = FleetDevice("RTU-001", "rooftop_unit")
    with pytest.raises(ValueError, match="don't fit"):
        encode_readings(device, np.array([MESSAGE_MS]), ["a", "b"], ["", ""], np.zeros((2, 1)))
    with pytest.raises(ValueError, match="metric_value is nan"):
        encode_metric(Metric("RTU-001", "rooftop_unit", "2025-11-18T15:30:00Z", "a", float("nan")))


@given(st.integers(0, 4_102_444_800_000))
def test_a_formatted_timestamp_parses_to_itself(timestamp_ms):
    text = format_timestamp(timestamp_ms)
    assert parse_timestamp(text) == timestamp_ms
    assert len(text) == (20 if timestamp_ms % 1000 == 0 else 24)
