"""Readings in other units: converted as they are decoded, refused where that can't be, told, and set right by a backfill."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvac_platform.alerts.disputed_devices import disputes
from hvac_platform.alerts.troubles import open_troubles
from hvac_platform.devices.registry import device_types
from hvac_platform.execution import ingest_everything, run_job
from hvac_platform.ingestion.decoding import IngestionCounts
from hvac_platform.ingestion.messages import DecodedBatch, Rejected, decode_batch
from hvac_platform.ingestion.registration import look_alikes
from hvac_platform.log.base import RecordBatch
from hvac_platform.monitoring.stored_units import foreign_units
from hvac_platform.schedules import partition_tags
from hvac_platform.timestamps import DAY_MS, iso, now_ms
from hvac_platform_tests.conftest import DAY, MINUTE_MS, NOON_MS, reading, rows


def decoded(*records: tuple[bytes, bytes, int]) -> tuple[DecodedBatch, list[Rejected]]:
    keys, values, times = (list(column) for column in zip(*records, strict=True))
    n = len(records)
    return decode_batch(RecordBatch("t", 0, np.arange(n), np.array(times), keys, values), now_ms=NOON_MS + DAY_MS)


@pytest.mark.parametrize(
    ("metric", "value", "unit", "expected"),
    [
        ("supply_air_temp", 13.0, "°C", (55.4, "°F")),
        ("supply_air_temp", 286.15, "K", (55.4, "°F")),
        ("supply_air_temp", 55.4, "degF", (55.4, "°F")),
        ("supply_air_temp", 55.4, "", (55.4, "")),
        ("supply_air_temp", 55.4, "no-units", (55.4, "")),
        ("heating_valve_position", 0.5, "fraction", (50.0, "%")),
        ("outdoor_air_humidity", 0.5, "-", (0.5, "-")),
        ("return_air_humidity", 0.5, "-", (50.0, "%")),
        ("return_air_humidity", 0.5, "1", (50.0, "%")),
        ("return_air_humidity", 0.5, "Unitless", (50.0, "%")),
        ("return_air_humidity", 50.0, "no-units", (50.0, "")),
        ("supply_air_temp", 55.4, "-", (55.4, "")),
        ("filter_pressure_drop", 0.25, "kPa", (1.00365768994, "inH2O")),
        ("power_consumption", 1500.0, "W", (1.5, "kW")),
        ("a point of its own", 13.0, "°C", (13.0, "°C")),
        ("a point of its own", 13.0, "smoots", (13.0, "smoots")),
    ],
)
def test_a_reading_is_in_the_declared_unit_whichever_it_was_sent_in(
    metric: str, value: float, unit: str, expected: tuple[float, str]
) -> None:
    batch, rejected = decoded(reading(metric=metric, value=value, unit=unit))
    assert rejected == []
    assert (batch.metric_value[0], batch.unit[0]) == expected


@pytest.mark.parametrize(
    ("unit", "value", "says"),
    [
        ("kW", 13.0, "unit 'kW' does not measure what '°F' does, the unit of supply_air_temp"),
        ("smoots", 13.0, "unit 'smoots' is not known, the unit of supply_air_temp"),
        ("°C", 1.7e308, "metric_value is over the range of a double once it is converted from '°C'"),
    ],
)
def test_a_reading_in_a_unit_that_cannot_be_converted_is_a_dead_letter(unit: str, value: float, says: str) -> None:
    batch, rejected = decoded(reading(), reading(unit=unit, value=value), reading())
    assert batch.offsets.tolist() == [0, 2]
    assert [(one.offset, one.reason) for one in rejected] == [(1, says)]


def test_every_unit_that_the_types_declare_leaves_every_reading_as_it_is() -> None:
    for kind in device_types().values():
        for point in kind.points:
            batch, rejected = decoded(
                *(reading(metric=point.name, value=60.25, device_type=kind.name, unit=u) for u in (point.unit, ""))
            )
            assert rejected == []
            assert batch.metric_value.tolist() == [60.25, 60.25]
            assert batch.unit == [point.unit, ""]
            assert batch.told_units == frozenset()


UNITS = ["", "°C", "°F", "K", "kW", "%", "smoots"]


@given(
    st.lists(
        st.tuples(st.sampled_from(["supply_air_temp", "return_air_humidity", "x"]), st.sampled_from(UNITS)),
        min_size=1,
        max_size=30,
    )
)
def test_a_reading_is_treated_alike_alone_and_among_others(sent: list[tuple[str, str]]) -> None:
    records = [reading(metric=metric, value=20.0, unit=unit) for metric, unit in sent]
    together, rejected = decoded(*records)
    alone = [decoded(record) for record in records]
    assert [one.offset for one in rejected] == [i for i, (_, bad) in enumerate(alone) if bad]
    assert together.metric_value.tolist() == [value for good, _ in alone for value in good.metric_value.tolist()]
    assert together.unit == [unit for good, _ in alone for unit in good.unit]


def test_a_run_tells_which_metrics_came_in_other_units() -> None:
    batch, rejected = decoded(
        reading(unit="°C"),
        reading("RTU-2"),
        reading("X", metric="flow", unit="l/min"),
        reading("X", metric="flow", unit="gpm"),
        reading("RTU-2", metric="return_air_humidity", value=0.5, unit="-"),
    )
    counts = IngestionCounts()
    counts.add(batch, rejected)
    assert sorted(counts.other_units) == [
        "RTU-001: supply_air_temp in °C",
        "RTU-2: return_air_humidity in -",
        "X: flow in gpm",
        "X: flow in l/min",
    ]


def test_rows_that_were_stored_in_another_unit_are_told_and_set_right_by_a_backfill(instance, platform) -> None:
    platform.log.append(platform.topic, [reading(at_ms=NOON_MS, value=13.0, unit="°C"), reading(at_ms=NOON_MS + 1)])
    list(ingest_everything(instance, platform))
    (device,) = platform.store.devices()
    assert foreign_units(platform.store, device) == []
    before_conversion = {
        "device_id": ["RTU-001"], "timestamp": [NOON_MS], "metric_name": ["supply_air_temp"], "metric_value": [13.0],
        "unit": ["°C"],
    }  # fmt: skip
    platform.store.upsert("device_metrics_raw", before_conversion)
    (told,) = foreign_units(platform.store, device)
    assert str(told) == f"supply_air_temp stored in °C, not °F, {DAY} to {DAY}: backfill these days"
    run_job("backfill", instance, partition_tags(DAY, DAY))
    assert foreign_units(platform.store, device) == []
    assert rows(platform.store, "device_metrics_raw", "metric_value", "unit")[0] == (55.4, "°F")


def test_ids_that_look_alike_are_told() -> None:
    assert look_alikes(["RTU-1 ", "rtu_2", "RТU-3", "AHU-11"], ["RTU-1", "RTU-2", "RTU-3", "AHU-1-1"]) == [
        ("RTU-1 ", "RTU-1"),
        ("rtu_2", "RTU-2"),
        ("RТU-3", "RTU-3"),
    ]


def fed(instance, platform, *records):
    """Take in some messages, as a run of its own."""
    platform.log.append(platform.topic, list(records))
    list(ingest_everything(instance, platform))


def minutes(first, last, unit, metric="supply_air_temp", device="RTU-001"):
    value = {"°C": 13.0, "K": 286.15}.get(unit, 55.4)
    return [reading(device, NOON_MS + m * MINUTE_MS, metric, value, unit=unit) for m in range(first, last)]


def told_units(platform):
    return [trouble for trouble in open_troubles(platform.store, now_ms()) if trouble.kind == "unit"]


def test_a_unit_that_changes_is_an_incident_that_says_of_which_point_from_what_to_what_and_since_when(
    instance, platform
):
    both = [*minutes(0, 10, "°F"), *minutes(0, 10, "°F", "return_air_temp")]
    fed(instance, platform, *both, *minutes(10, 12, "°C"))  # within one batch
    (told,) = told_units(platform)
    assert told.text.startswith(
        f"RTU-001: supply_air_temp was sent in °F until {iso(NOON_MS + 9 * MINUTE_MS)} "
        f"and in °C since {iso(NOON_MS + 10 * MINUTE_MS)}. Readings are converted to the declared unit"
    )
    fed(instance, platform, *minutes(12, 14, "°C"))  # in a run of its own, which knows by the store
    assert told_units(platform) == [told]
    assert disputes(platform.store, now_ms()) == [told.text]
    fed(instance, platform, *minutes(14, 16, ""))  # without a unit 13 would be taken for °F
    assert told_units(platform) == []
    fed(instance, platform, *minutes(16, 18, "°C"))
    (again,) = told_units(platform)
    assert "was sent in °F until" in again.text
    assert set(rows(platform.store, "device_metrics_raw", "metric_value")) == {(55.4,)}


@pytest.mark.parametrize("batches", [1, 2])
def test_what_has_always_come_in_another_unit_is_no_change_until_it_changes(instance, platform, batches):
    """Nor is a new point of a known device, another spelling, or history that comes late."""
    some = [*minutes(0, 5, "°C"), *minutes(5, 10, "degC" if batches == 1 else "°C")]
    for part in [some] if batches == 1 else [some[:1], some[1:]]:
        fed(instance, platform, *part)
    fed(instance, platform, *minutes(10, 12, "°C", "return_air_temp"), *minutes(-60, -50, "°F"))
    assert told_units(platform) == []
    fed(instance, platform, *minutes(12, 14, "°F"), *minutes(12, 14, "K", "return_air_temp"))
    text = told_units(platform)[0].text
    assert "return_air_temp was sent in °C until" in text
    assert "in K since" in text
    assert "supply_air_temp was sent in °C until" in text
    assert "in °F since" in text


def test_points_by_turns_in_two_units_are_told_once(instance, platform):
    for first in range(0, 8, 2):
        fed(instance, platform, *minutes(first, first + 1, "°F"), *minutes(first + 1, first + 2, "°C"))
    assert len(told_units(platform)) <= 1


@pytest.mark.parametrize("hyphen", [*map(chr, range(0x2010, 0x2016)), "\u2212"])
def test_hyphens_that_look_alike_are_told(hyphen: str) -> None:
    assert look_alikes([f"RTU{hyphen}1"], ["RTU-1"]) == [(f"RTU{hyphen}1", "RTU-1")]
