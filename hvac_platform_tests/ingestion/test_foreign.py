"""Messages of other producers, by a map, into the platform's readings; a bad one is one dead letter."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from devtools import PROJECT_ROOT
from hvac_platform.cli.main import app
from hvac_platform.execution import ingest_everything
from hvac_platform.ingestion.decoding import IngestionCounts
from hvac_platform.ingestion.foreign import MESSAGE_MAP_VARIABLE, MessageMapError, message_map, parse_message_map
from hvac_platform.ingestion.messages import DecodedBatch, Rejected, decode_batch, format_timestamp
from hvac_platform.ingestion.ownership import may_be_the_messages
from hvac_platform.ingestion.proof import newest_proofs
from hvac_platform.log.base import RecordBatch
from hvac_platform.timestamps import DAY_MS, now_ms
from hvac_platform_tests.conftest import NOON_MS
from hvac_platform_tests.conftest import rows as stored
from hvac_platform_tests.ingestion.test_messages import message

EXAMPLE = PROJECT_ROOT / "docs" / "examples" / "message-map.yaml"
NOW = NOON_MS + 365 * DAY_MS
AT = format_timestamp(NOON_MS)


@pytest.fixture
def mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MESSAGE_MAP_VARIABLE, str(EXAMPLE))


def decoded(*values: object, key: bytes | None = b"RTU-9") -> tuple[DecodedBatch, list[Rejected]]:
    n = len(values)
    raw = [value if isinstance(value, bytes) else json.dumps(value).encode() for value in values]
    batch = RecordBatch("t", 0, np.arange(n), np.full(n, NOON_MS), [key] * n, list(raw))
    return decode_batch(batch, now_ms=NOW)


def rows(batch: DecodedBatch) -> list[tuple[str, str, str, float, str, int]]:
    return list(
        zip(
            batch.device_id,
            batch.device_type,
            batch.metric_name,
            batch.metric_value.tolist(),
            batch.unit,
            batch.timestamps_ms.tolist(),
            strict=True,
        )
    )


def reading(
    metric: str = "supply_air_temp", value: float = 55.0, unit: str = "", device: str = "RTU-1"
) -> tuple[object, ...]:
    return (device, "rooftop_unit", metric, value, unit, NOON_MS)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            {"RTU-1": [{"ts": NOON_MS, "values": {"supply_air_temp": 55, "power_consumption": 4}}]},
            [reading(), reading("power_consumption", 4)],
        ),
        (
            {"fields": {"value": 55.0}, "name": "supply_air_temp", "tags": {"host": "RTU-1"}, "timestamp": NOON_MS // 1000},
            [reading()],
        ),
        (
            {"timestamp": NOON_MS, "seq": 1,
             "metrics": [{"name": "SAT", "value": 10}, {"name": "Node Control/Rebirth", "value": 0}]},
            [reading(value=50.0, unit="°F", device="RTU-9")],
        ),
        (
            {"device": "RTU-1", "ts": NOON_MS * 1000,
             "values": {"supply_air_temp": "55,0", "compressor_status": "On", "cop": None}},
            [reading(), reading("compressor_status", 1)],
        ),
        (
            {"deviceId": "RTU-1", "deviceType": "RTU", "timestamp": AT, "metricName": "supply_air_temp", "value": "55"},
            [reading()],
        ),
        (
            [{"device_id": "RTU-1", "device_type": "rooftopunit", "timestamp": NOON_MS * 10**6, "metric_name": m,
              "metric_value": 1} for m in ("a", "b")],
            [reading("a", 1), reading("b", 1)],
        ),
        (message(timestamp=str(NOON_MS), metric_value="72.5", device_id="RTU-1"), [reading(value=72.5, unit="°F")]),
    ],
)  # fmt: skip
def test_a_kind_of_message_of_the_map_becomes_readings(mapped: None, value: object, expected: list[object]) -> None:
    batch, rejected = decoded(value)
    assert rejected == []
    assert rows(batch) == expected
    assert batch.messages == 1


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"RTU-1": [{"ts": NOON_MS, "values": {"a": 1, "b": "soon"}}]},
         "as ThingsBoard gateway: reading 2: metric_value 'soon' is not a number"),
        ({"X-1": [{"ts": NOON_MS, "values": {"a": 1}}]}, "as ThingsBoard gateway: missing field 'device_type'"),
        ({"RTU-1": [{"ts": 12, "values": {"a": 1}}]},
         "as ThingsBoard gateway: timestamp '1970-01-01T00:00:12.000Z' is before 2000-01-01T00:00:00Z"),
        ({"RTU-1": [{"values": {"a": 1}}]}, "as ThingsBoard gateway: missing field 'timestamp'"),
        ({"device": "RTU-1", "ts": NOON_MS, "values": {"a": None}}, "as nested values: none of its readings has a value"),
        ({"something": "else"}, "missing field 'device_id', and no kind of the message map fits"),
        ({"device_id": "RTU-1", "device_type": "rooftop_unit"}, "missing field 'timestamp', and no kind of the message map"),
        ([{"device_id": "RTU-1"}, 5], "as list: reading 1: missing field 'device_type'"),
        ({"device": "RTU-1", "ts": NOON_MS, "values": {"a": "1.23"}},
         "as nested values: metric_value '1.23' is not a number"),
        ([{**json.loads(message()), "metric_value": value} for value in (1, 2)],
        "as list: 'supply_air_temp' has two values at"),
        (b"hello", "not JSON"),
    ],
)  # fmt: skip
def test_a_bad_message_is_one_dead_letter_with_its_reason(mapped: None, value: object, why: str) -> None:
    batch, rejected = decoded(value)
    assert len(batch) == 0
    assert [one.reason[: len(why)] for one in rejected] == [why]


PLANT = """messages:
  - name: plant
    when: tags
    each: tags.[]
    device_id: id
    device_type: =rooftop_unit
    timestamp: t
    metric_name: n
    metric_value: v
    metrics: {OAT: outdoor_air_temp}
    units: {OAT: °C, supply_air_temp: °C}
    ignore: ["Node*"]
"""


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ([{"n": "OAT", "v": 10.0}], [reading("outdoor_air_temp", 50.0)]),
        ([{"n": "supply_air_temp", "v": 10.0}], [reading("supply_air_temp", 50.0)]),
        ([{"n": "OAT", "is_null": True}, {"n": "supply_air_temp", "v": 10.0}], [reading("supply_air_temp", 50.0)]),
        ([{"n": "Node Control", "v": 1}, {"n": "OAT", "v": 10.0}], [reading("outdoor_air_temp", 50.0)]),
        ([{"n": "Node Control", "v": 1}], "as plant: none of its readings has a value, or is not ignored by the map"),
        ([], "as plant: there is no reading at 'tags.[]'"),
        ([{"n": "OAT"}], "as plant: missing field 'metric_value'"),
    ],
)
def test_units_go_by_either_name_and_what_holds_no_reading_is_told_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tags: list[dict[str, object]], expected: object
) -> None:
    (tmp_path / "map.yaml").write_text(PLANT)
    monkeypatch.setenv(MESSAGE_MAP_VARIABLE, str(tmp_path / "map.yaml"))
    batch, rejected = decoded({"id": "RTU-1", "t": NOON_MS, "tags": tags})
    found = [one[2:4] for one in rows(batch)] if not rejected else [one.reason for one in rejected]
    assert found == ([one[2:4] for one in expected] if isinstance(expected, list) else [expected])


def test_a_word_that_yaml_takes_for_true_is_told(tmp_path: Path) -> None:
    with pytest.raises(MessageMapError, match="in YAML, On, Off, Yes and No have to be in quotes"):
        parse_message_map("messages: [{states: {On: 1}}]", "map.yaml")


def test_digits_in_quotes_are_no_time_of_the_platforms_own_message() -> None:
    _, (bad,) = decoded(message(timestamp=str(NOON_MS)))
    assert bad.reason.endswith("is not an ISO 8601 date and time; epoch times are numbers, and read by a message map")


def test_a_decimal_comma_leaves_points_to_thousands(mapped: None) -> None:
    batch, _ = decoded({"device": "RTU-1", "ts": NOON_MS, "values": {"fan_speed": "1.234", "fan_current": "1.234,5"}})
    assert batch.metric_value.tolist() == [1234.0, 1234.5]


def test_one_value_of_several_fields_of_telegraf_is_read(mapped: None) -> None:
    sent = {
        "fields": {"value": 55, "max": 60},
        "name": "supply_air_temp",
        "tags": {"host": "RTU-1"},
        "timestamp": NOON_MS,
    }
    assert rows(decoded(sent)[0]) == [reading()]


def test_messages_of_the_platform_itself_are_what_they_are_without_a_map(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [message(), message(metric_value=True), message(unit="°C"), message(device_id="")]
    without = decoded(*values)
    monkeypatch.setenv(MESSAGE_MAP_VARIABLE, str(EXAMPLE))
    with_map = decoded(*values)
    assert rows(with_map[0]) == rows(without[0])
    assert [one.offset for one in with_map[1]] == [one.offset for one in without[1]] == [3]


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["device", "ts", "values", "metrics", "seq", "RTU-1", "name"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(json_values, min_size=1, max_size=5))
def test_every_message_is_readings_or_a_dead_letter_never_both_and_never_neither(values: list[object]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MESSAGE_MAP_VARIABLE, str(EXAMPLE))
        batch, rejected = decoded(*values)
    assert sorted({*batch.offsets.tolist(), *(one.offset for one in rejected)}) == list(range(len(values)))
    assert batch.messages + len(rejected) == len(values)
    assert np.isfinite(batch.metric_value).all()
    counts = IngestionCounts()
    counts.add(batch, rejected)
    assert counts.messages == len(values)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("messages: []", "there are none"),
        ("messages: [{devise: a}]", "devise"),
        ('messages: [{device_id: "{gone}"}]', "{gone} is not in each"),
        ("a: [", "not valid YAML"),
    ],
)
def test_a_map_that_is_none_is_a_matter_of_configuration_and_never_of_messages(text: str, says: str) -> None:
    with pytest.raises(MessageMapError, match=says) as refused:
        parse_message_map(text, "map.yaml")
    assert str(refused.value).startswith("map.yaml: ")
    assert not may_be_the_messages(refused.value)


def test_a_map_is_read_again_when_its_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "map.yaml"
    monkeypatch.setenv(MESSAGE_MAP_VARIABLE, str(path))
    with pytest.raises(MessageMapError, match="No such file"):
        message_map()
    path.write_text("messages: [{name: first}]")
    first = message_map()
    path.write_text("messages: [{name: second, when: a}]")
    second = message_map()
    assert first is not None
    assert second is not None
    assert [kind.name for kind in (*first.kinds, *second.kinds)] == ["first", "second"]


def test_check_tells_the_kinds_of_a_map_or_what_is_wrong_with_it(home, monkeypatch: pytest.MonkeyPatch) -> None:
    def told() -> dict[str, object]:
        rows = json.loads(CliRunner().invoke(app, ["check", "--wait", "0", "--json"]).stdout)
        return next(row for row in rows if row["part"] == "message map")

    monkeypatch.setenv(MESSAGE_MAP_VARIABLE, str(EXAMPLE))
    assert told()["ok"]
    assert "Telegraf" in str(told()["state"])
    monkeypatch.setenv(MESSAGE_MAP_VARIABLE, "gone.yaml")
    assert not told()["ok"]
    assert "gone.yaml: No such file" in str(told()["state"])


def test_the_proof_accounts_for_messages_that_bring_several_readings(instance, platform, mapped: None) -> None:
    values = [
        {"RTU-1": [{"ts": NOON_MS, "values": {"supply_air_temp": 55, "fan_speed": 900}}]},
        {"RTU-1": [{"ts": NOON_MS, "values": {"supply_air_temp": 56}}]},
        {"RTU-1": [{"ts": NOON_MS, "values": {"supply_air_temp": "hot"}}]},
    ]
    platform.log.append(platform.topic, [(b"RTU-1", json.dumps(value).encode(), NOON_MS) for value in values])
    list(ingest_everything(instance, platform))
    (proof,) = [p for p in newest_proofs(platform.log, platform.store, platform.topic, now_ms()) if p.end > p.start]
    assert proof.ok
    assert (proof.accepted, proof.duplicates, proof.dead_letters) == (1, 1, 1)
    assert sorted(stored(platform.store, "device_metrics_raw", "metric_name", "metric_value")) == [
        ("fan_speed", 900.0),
        ("supply_air_temp", 56.0),
    ]
