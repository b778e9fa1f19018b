"""The proof of the ledger asks log and tables for each message, and believes no count."""

import json

import dagster as dg
import pytest

from hvac_platform.dashboard.pages.ingestion import proof_table
from hvac_platform.execution import ingest_everything, run_job
from hvac_platform.ingestion.proof import LedgerWatch, newest_proofs
from hvac_platform.schedules import partition_tags
from hvac_platform.sensors.ingestion_watch import ingestion_watch
from hvac_platform.timestamps import now_ms
from hvac_platform_tests.conftest import BAD_VALUES, DAY, MIDNIGHT_MS, MINUTE_MS, NEXT_DAY, bad, readings, rows

RTU = 2


@pytest.fixture
def filled(instance, platform):
    """Readings, one of them twice, and bad messages, all ingested."""
    good = readings("RTU-001", MIDNIGHT_MS - 2 * MINUTE_MS, 4)
    platform.log.append(platform.topic, [*good, good[0], *(bad(kind) for kind in BAD_VALUES)])
    list(ingest_everything(instance, platform))
    return platform


def proofs(platform):
    return {p.partition: p for p in newest_proofs(platform.log, platform.store, platform.topic, now_ms())}


def skip_by_hand(platform, until):
    """The ledger moved without a run."""
    entry = platform.store.ledger(platform.topic)[RTU]
    assert platform.store.advance_ledger(
        platform.topic, RTU, entry.next_offset, until, run_id="by hand", watermark=entry.watermark
    )


def test_every_offset_is_accounted_for(filled):
    proof = proofs(filled)[RTU]
    assert proof.ok
    assert (proof.start, proof.end) == (0, 49 + len(BAD_VALUES))
    assert (proof.accepted, proof.duplicates, proof.dead_letters, proof.not_records, proof.missing) == (48, 1, 17, 0, 0)
    assert proof.said == "offsets 0 to 65: 48 readings + 1 duplicates + 17 dead letters, each in its table"


def test_deleted_readings_are_missing_and_the_first_is_named(filled):
    gone = [(d, t, m) for d, t, m in rows(filled.store, "device_metrics_raw", "device_id", "timestamp", "metric_name")][
        5:9
    ]
    columns = dict(zip(("device_id", "timestamp", "metric_name"), zip(*gone, strict=True), strict=True))
    filled.store.delete("device_metrics_raw", {name: list(values) for name, values in columns.items()})
    proof = proofs(filled)[RTU]
    assert (proof.ok, proof.missing, proof.accepted) == (False, 4, 44)
    assert proof.first_missing.startswith("RTU-001 ")


def test_a_deleted_dead_letter_is_missing(filled):
    key = ("topic", "date", "kafka_partition", "record_offset")
    letter = rows(filled.store, "dead_letters", *key)[3]
    filled.store.delete("dead_letters", {name: [value] for name, value in zip(key, letter, strict=True)})
    proof = proofs(filled)[RTU]
    assert (proof.ok, proof.missing) == (False, 1)
    assert f"a message that can't be a reading at offset {letter[3]}" in proof.said


def test_a_range_that_was_skipped_is_missing(filled):
    filled.log.append(filled.topic, readings("RTU-001", MIDNIGHT_MS + 60 * MINUTE_MS, 2))
    end = filled.log.end_offsets(filled.topic)[RTU]
    skip_by_hand(filled, end)
    proof = proofs(filled)[RTU]
    assert (proof.ok, proof.missing) == (False, 24)
    assert f"at offset {end - 24}" in proof.said


def test_only_what_is_new_is_looked_at_and_what_is_missing_is_looked_for_again(filled, instance):
    watch = LedgerWatch()
    assert [p.ok for p in watch.look(filled.log, filled.store, filled.topic, now_ms())] == [True]
    assert [p.start - p.end for p in watch.look(filled.log, filled.store, filled.topic, now_ms())] == [0]
    start = filled.log.end_offsets(filled.topic)[RTU]
    filled.log.append(filled.topic, readings("RTU-001", MIDNIGHT_MS + 60 * MINUTE_MS, 1))
    skip_by_hand(filled, start + 12)
    for _ in range(3):
        watch = LedgerWatch(watch.proven, watch.unproven)
        found = watch.look(filled.log, filled.store, filled.topic, now_ms())
        assert [(p.start, p.end, p.missing) for p in found if not p.ok] == [(start, start + 12, 12)]
    filled.store.swap_ledger(
        filled.topic, RTU, {"next_offset": start + 12}, {"next_offset": start}
    )  # as recovery.md says
    list(ingest_everything(instance, filled))
    assert all(p.ok for p in watch.look(filled.log, filled.store, filled.topic, now_ms()))
    assert watch.unproven == {}


def test_the_sensor_reports_it_as_the_check_within_its_next_look(filled, instance):
    context = dg.build_sensor_context(instance=instance, resources={"platform": filled})
    (passed,) = ingestion_watch(context).asset_events
    assert passed.passed
    filled.log.append(filled.topic, readings("RTU-001", MIDNIGHT_MS + 60 * MINUTE_MS, 1))
    skip_by_hand(filled, filled.log.end_offsets(filled.topic)[RTU])
    context = dg.build_sensor_context(instance=instance, resources={"platform": filled}, cursor=context.cursor)
    (failed,) = ingestion_watch(context).asset_events
    assert not failed.passed
    assert "12 messages of offsets 66 to 77 count as in and are in no table" in failed.description


def test_commands_and_page_say_the_same(filled, capsys, monkeypatch):
    from typer.testing import CliRunner

    from hvac_platform.cli.main import app

    filled.log.append(filled.topic, readings("RTU-001", MIDNIGHT_MS + 60 * MINUTE_MS, 1))
    skip_by_hand(filled, filled.log.end_offsets(filled.topic)[RTU])
    listed = json.loads(CliRunner().invoke(app, ["lag", "--json"]).stdout)
    assert [row["proof"]["missing"] for row in listed if row["partition"] == RTU] == [12]
    checked = CliRunner().invoke(app, ["check", "--json", "--wait", "0"])
    (part,) = [row for row in json.loads(checked.stdout) if row["part"] == f"proof {RTU}"]
    assert checked.exit_code == 1
    assert not part["ok"]
    assert "count as in and are in no table" in str(proof_table(list(proofs(filled).values())))


def test_a_backfill_of_the_days_brings_back_what_is_missing(filled, instance):
    """The recipe of docs/recovery.md."""
    key = ("device_id", "timestamp", "metric_name")
    gone = rows(filled.store, "device_metrics_raw", *key)[:30]
    filled.store.delete("device_metrics_raw", dict(zip(key, map(list, zip(*gone, strict=True)), strict=True)))
    filled.log.append(filled.topic, readings("RTU-001", MIDNIGHT_MS + 60 * MINUTE_MS, 1))
    skip_by_hand(filled, filled.log.end_offsets(filled.topic)[RTU])
    assert proofs(filled)[RTU].missing == 42
    run_job("backfill", instance, partition_tags(DAY, NEXT_DAY))
    assert proofs(filled)[RTU].ok
