"""A registered device keeps its type unless a whole batch of its newest messages says otherwise, and that is told."""

from __future__ import annotations

import json

import pytest

from hvac_platform.alerts.disputed_devices import disputes
from hvac_platform.assets.common import ingestion_run_config
from hvac_platform.definitions import defs
from hvac_platform.ingestion.messages import RecordBatch, decode_batch
from hvac_platform.ingestion.ranges import OffsetRange
from hvac_platform.timestamps import DAY_MS, now_ms
from hvac_platform_tests.conftest import DAY, HOUR_MS, MINUTE_MS, NOON_MS, SECOND_MS, reading, rows


def said(kind, n=5, *, start_ms=NOON_MS, device_id="RTU-001"):
    """Messages of a device that all name one type, ten seconds apart."""
    return [reading(device_id, start_ms + k * 10 * SECOND_MS, device_type=kind, value=70.0 + k) for k in range(n)]


@pytest.fixture
def ingest(platform, instance, monkeypatch):
    """Ingest some messages as one run; its metadata and what it logged."""
    platform.log.create_topic(platform.topic, 1)

    def run(*messages):
        start = platform.log.end_offsets(platform.topic)[0]
        platform.log.append_to_partition(platform.topic, 0, [m for some in messages for m in some])
        end = platform.log.end_offsets(platform.topic)[0]
        result = defs.resolve_job_def("ingestion").execute_in_process(
            instance=instance,
            partition_key=DAY,
            run_config=ingestion_run_config((OffsetRange(0, start, end),)),
        )
        told = [e.materialization for e in result.get_asset_materialization_events()]
        (own,) = [m for m in told if m.asset_key.to_user_string() == "raw_metrics" and "messages" in m.metadata]
        return {k: v.value for k, v in own.metadata.items()}

    return run


def types(platform):
    return {d.device_id: d.device_type for d in platform.store.devices()}


def test_a_new_device_has_the_type_that_most_of_its_messages_name(platform, ingest):
    ingest(said("chiller", 2), said("rooftop_unit", 5, start_ms=NOON_MS + MINUTE_MS), said("chiller", 2))
    assert types(platform) == {"RTU-001": "rooftop_unit"}
    (text,) = disputes(platform.store, now_ms())
    assert text.startswith("RTU-001: stays rooftop_unit though messages say chiller: others of the same batch disagree")


def test_a_whole_batch_of_one_mind_changes_the_type_and_the_run_says_so(platform, ingest):
    assert ingest(said("rooftopunit"))["type_changes"] == "none"
    metadata = ingest(said("Chiller", start_ms=NOON_MS + MINUTE_MS))
    assert types(platform) == {"RTU-001": "chiller"}
    assert metadata["type_changes"] == "RTU-001: type changed from rooftop_unit to chiller"


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ([said("chiller", 2, start_ms=NOON_MS + MINUTE_MS)], "2 of 3 messages that it takes"),
        (
            [said("chiller", 5, start_ms=NOON_MS + MINUTE_MS), said("rooftop_unit", 1, start_ms=NOON_MS + MINUTE_MS)],
            "others of the same batch disagree",
        ),
        ([said("chiller", 5, start_ms=NOON_MS - MINUTE_MS)], "they are older than what is known of it"),
        ([said("roftop_unit", 5, start_ms=NOON_MS + MINUTE_MS)], "no file declares that type"),
    ],
    ids=["stray messages", "a batch that disagrees", "old messages", "a typing error"],
)
def test_a_registered_device_keeps_its_type_and_the_run_says_why(platform, ingest, messages, why):
    ingest(said("rooftop_unit"))
    metadata = ingest(*messages)
    assert types(platform) == {"RTU-001": "rooftop_unit"}
    assert metadata["type_changes"] == "none"
    assert metadata["type_conflicts"].startswith("RTU-001: stays rooftop_unit though messages say ")
    assert metadata["type_conflicts"].endswith(why)
    assert metadata["rejected"] == 0


def test_a_device_of_an_undeclared_type_gets_a_declared_one_or_another_undeclared_one(platform, ingest):
    ingest(said("heat pump"))
    ingest(said("heat pump 2", start_ms=NOON_MS + MINUTE_MS))
    assert types(platform) == {"RTU-001": "heat_pump_2"}
    ingest(said("chiller", start_ms=NOON_MS + 2 * MINUTE_MS))
    assert types(platform) == {"RTU-001": "chiller"}


def test_a_message_without_a_type_is_a_dead_letter_and_changes_nothing(platform, ingest):
    ingest(said("rooftop_unit"))
    metadata = ingest(said("", start_ms=NOON_MS + MINUTE_MS), said(" \t", start_ms=NOON_MS + MINUTE_MS))
    assert types(platform) == {"RTU-001": "rooftop_unit"}
    assert metadata["rejected"] == 10
    assert {reason for (reason,) in rows(platform.store, "dead_letters", "reason")} == {"device_type is empty"}


def test_devices_of_one_batch_are_settled_each_by_itself(platform, ingest):
    ingest(said("rooftop_unit"), said("chiller", device_id="CH-001"))
    later = NOON_MS + MINUTE_MS
    ingest(said("chiller", start_ms=later), said("rooftop_unit", 1, device_id="CH-001", start_ms=later))
    assert types(platform) == {"CH-001": "chiller", "RTU-001": "chiller"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"device_type": ""}, "device_type is empty"),
        ({"device_type": "\u3000"}, "device_type is empty"),
        ({"device_type": "?!"}, "device_type '?!' has no letter or digit"),
        ({"device_type": "t" * 129}, "device_type has 129 characters, over the 128 that are allowed"),
    ],
)
def test_a_type_that_says_nothing_is_refused(changes, reason):
    (rejected,) = decoded(changes)[1]
    assert rejected.reason == reason


@pytest.mark.parametrize("name", ["冷水机", "Wärmepumpe", "кондиционер", "7"])
def test_a_type_in_any_script_is_accepted(name):
    (kind,) = decoded({"device_type": name})[0].device_type
    assert kind


@pytest.mark.parametrize("text", ["2025-03-10t12:00:00z", "2025-03-10T12:00:00z", "2025-03-10t12:00:00.000z"])
def test_lower_case_times_of_rfc_3339_are_accepted(text):
    good, rejected = decoded({"timestamp": text})
    assert rejected == []
    assert good.timestamps_ms.tolist() == [NOON_MS]


def decoded(changes):
    import numpy as np

    key, value, at_ms = reading()
    content = json.dumps(json.loads(value) | changes).encode()
    batch = RecordBatch("t", 0, np.array([0]), np.array([at_ms]), [key], [content])
    return decode_batch(batch, now_ms=NOON_MS)


def test_a_device_whose_messages_name_another_type_is_an_incident_of_the_platform_until_they_agree(platform, ingest):
    ingest(said("rooftop_unit"))
    other = [*said("chiller", start_ms=NOON_MS + MINUTE_MS), *said("rooftop_unit", 1, start_ms=NOON_MS + MINUTE_MS)]
    ingest(other)
    (text,) = disputes(platform.store, now_ms())
    assert text.startswith("RTU-001: stays rooftop_unit though messages say chiller")
    ingest(said("rooftop_unit", start_ms=NOON_MS + 2 * MINUTE_MS))
    assert disputes(platform.store, now_ms()) == []


def test_a_clock_that_went_back_is_told_and_history_that_is_imported_beside_new_readings_is_not(platform, ingest):
    hour_ago, year_ago = now_ms() - HOUR_MS, now_ms() - 365 * DAY_MS
    ingest(said("chiller", start_ms=hour_ago), said("chiller", start_ms=now_ms() - MINUTE_MS, device_id="CH-2"))
    ingest(said("chiller", start_ms=year_ago), said("chiller", start_ms=year_ago, device_id="CH-2"))
    (text,) = disputes(platform.store, now_ms())
    assert text.startswith("RTU-001: what arrives of it is of ")
    assert text.endswith("did its clock go back?")
    ingest(said("chiller", start_ms=now_ms() - MINUTE_MS))
    assert disputes(platform.store, now_ms()) == []
