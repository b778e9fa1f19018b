"""Nothing comes of a device while others are heard: one incident, however often computed, and closed when it returns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from hvac_platform.cli.main import app
from hvac_platform.config import load_settings
from hvac_platform.monitoring.data_loss import DataLoss, Listening
from hvac_platform.monitoring.incidents import data_loss_incident, fleet_scope_batches
from hvac_platform.monitoring.lifecycle import Rules, after_pass, write_steps
from hvac_platform.monitoring.passes import IncidentsPass, Span, write_pass
from hvac_platform.monitoring.points import retire_point
from hvac_platform.stores.base import Device
from hvac_platform.stores.batches import write_batch
from hvac_platform.stores.records import WHOLE_DEVICE, Incident, IncidentHandling
from hvac_platform.timestamps import DAY_MS
from hvac_platform_tests.conftest import HOUR_MS, MIDNIGHT_MS, MINUTE_MS
from hvac_platform_tests.monitoring.machines import gather_incidents

END = MIDNIGHT_MS + 6 * HOUR_MS


@pytest.fixture
def store(platform):
    return platform.store


def heard(store, device_id, *minutes, partition=0, step=1, window=1):
    """Windows of a device in spans of minutes after midnight; one of so many minutes in each step."""
    times = np.concatenate([np.arange(first, last, step) for first, last in minutes]) * MINUTE_MS + MIDNIGHT_MS
    n = len(times)
    store.upsert(
        "device_state_snapshots",
        {
            "device_id": [device_id] * n,
            "snapshot_time": times,
            "window_ms": [window * MINUTE_MS] * n,
            "metrics": [{"power": float(i)} for i in range(n)],
            "metric_summary": [{"power": [6, float(i), float(i), float(i)]} for i in range(n)],
            "completeness": [1.0] * n,
            "revision": [1] * n,
        },
    )
    device = Device(device_id, "chiller", "roof", "b-1", int(times[0]), int(times[-1]) + 50_000, partition)
    store.register_devices([replace(device, window_ms=None if window == 1 else window * MINUTE_MS)])
    return next(d for d in store.devices() if d.device_id == device_id)


def found(store, device, start_ms=MIDNIGHT_MS, end_ms=END, now_ms=END):
    listening = Listening(store, load_settings(), now_ms)
    return [
        ((s.start_ms - MIDNIGHT_MS) // MINUTE_MS, (s.end_ms - MIDNIGHT_MS) // MINUTE_MS, s.over)
        for s in listening.data_losses(device, start_ms, end_ms)
    ]


def test_windows_that_are_missing_between_others_are_a_data_loss_that_is_over(store):
    device = heard(store, "CH-001", (0, 60), (100, 360))
    heard(store, "CH-002", (0, 360))
    assert found(store, device) == [(60, 100, True)]


def test_when_nothing_comes_of_anyone_no_data_are_lost(store):
    """The platform, the log or the network to it stood still; devices come back within some windows of each other."""
    first = heard(store, "CH-001", (0, 60), (300, 360))
    heard(store, "CH-002", (0, 60), (297, 360))
    assert found(store, first) == []
    last = heard(store, "CH-003", (0, 60), (320, 360))
    assert found(store, last) == [(60, 320, True)]


def test_fewer_than_five_missing_windows_are_none(store):
    device = heard(store, "CH-001", (0, 60), (64, 360))
    heard(store, "CH-002", (0, 360))
    assert found(store, device) == []


def test_a_device_that_reports_seldom_is_given_longer(store):
    heard(store, "CH-003", (0, 360))
    device = heard(store, "CH-001", (0, 120), (150, 360), step=15)
    assert found(store, device) == []
    slow = heard(store, "CH-002", (0, 120), (240, 360), step=15)
    assert found(store, slow) == [(106, 240, True)]


def test_a_loss_of_a_device_with_longer_windows_ends_at_the_begin_and_end_of_those(store):
    heard(store, "CH-003", (0, 360))
    device = heard(store, "CH-001", (0, 120), (180, 360), step=5, window=5)
    assert found(store, device) == [(120, 180, True)]
    gather_incidents(store, device, MIDNIGHT_MS, END)
    (incident,) = Incident.read(store, "CH-001")
    assert ((incident.ended_at - incident.started_at) // MINUTE_MS, incident.windows) == (60, 12)
    shorter = heard(store, "CH-002", (0, 120), (140, 360), step=5, window=5)
    assert found(store, shorter) == []  # four windows


def test_others_are_heard_in_a_loss_whatever_the_length_of_their_windows(store):
    heard(store, "CH-003", (0, 360), step=15, window=15)
    quick = heard(store, "CH-001", (0, 60), (110, 360))
    assert found(store, quick) == [(60, 110, True)]
    within_one_of_theirs = heard(store, "CH-002", (0, 61), (89, 360))
    store.delete("devices", {"device_id": ["CH-001"]})
    assert found(store, within_one_of_theirs) == []  # it can't be told whether CH-003 was heard in that time


def test_data_are_lost_while_others_are_heard_and_not_when_nothing_is(store):
    device = heard(store, "CH-001", (0, 60))
    assert found(store, device) == []
    heard(store, "CH-002", (0, 360), partition=1)
    assert found(store, device) == [(60, 359, False)]


def test_a_partition_that_is_catching_up_is_late_and_has_lost_nothing(store):
    device = heard(store, "CH-001", (0, 60))
    heard(store, "CH-002", (0, 360), partition=1)
    topic, watermark = load_settings().kafka_topic, MIDNIGHT_MS + HOUR_MS
    store.advance_ledger(topic, 0, 0, 10, run_id="r", watermark=watermark)
    moved = store.ledger(topic)[0].updated_at
    assert found(store, device, now_ms=moved + 1_000) == []
    assert found(store, device, now_ms=moved + load_settings().silence_ms) == [(60, 359, False)]


def test_data_that_ended_long_before_others_were_heard_are_no_data_loss(store):
    """Three hours of five years ago are imported today, while others are live."""
    years = 5 * 365 * 1440
    device = heard(store, "CH-001", (-years, 180 - years))
    heard(store, "CH-002", (0, 360), partition=1)
    old = MIDNIGHT_MS - years * MINUTE_MS
    assert found(store, device, old, old + DAY_MS) == []


def test_a_loss_is_of_a_time_in_whose_first_week_others_were_heard(store):
    """The platform stood still when the device fell silent, and others came back some days later."""
    heard(store, "CH-002", (0, 360), partition=1)
    for days, losses in ((8, 0), (6, 1)):
        device = heard(store, f"CH-10{days}", (-days * 1440, 60 - days * 1440))
        since = MIDNIGHT_MS - days * DAY_MS
        assert len(found(store, device, since, since + DAY_MS)) == losses


def test_a_device_that_falls_silent_stays_an_open_incident_for_weeks_and_has_then_left_the_fleet(store):
    device = heard(store, "CH-001", (0, 60))
    heard(store, "CH-002", (0, 360), partition=1)
    write_pass(IncidentsPass(store, load_settings(), [Span(device, MIDNIGHT_MS, END)], now_ms=END))
    for days, status in ((20, "open"), (63, "open"), (66, "closed"), (90, "closed")):
        heard(store, "CH-002", ((days - 1) * 1440, days * 1440), partition=1)
        write_pass(IncidentsPass(store, load_settings(), [], now_ms=MIDNIGHT_MS + days * DAY_MS))
        (row,) = Incident.read(store, "CH-001")
        assert row.status == status, days
        assert row.peak_score == 1_000.0
    assert row.ended_at - row.started_at == 64 * DAY_MS
    assert row.reasons == ["no readings for 64 d after 2025-03-11 01:00:00Z, while other devices were heard"]
    assert [h.state for h in IncidentHandling.read(store, "CH-001")] == ["resolved"]


def test_an_open_incident_of_data_that_ended_long_ago_is_taken_back_with_the_next_pass(store):
    """An earlier version opened it."""
    years = 5 * 365 * 1440
    device = heard(store, "CH-001", (-years, 180 - years))
    heard(store, "CH-002", (0, 360), partition=1)
    began = MIDNIGHT_MS + (180 - years) * MINUTE_MS
    loss = DataLoss(began, END, False, 5 * MINUTE_MS, MINUTE_MS)
    one = data_loss_incident(device, [loss], status="open", now_ms=END)
    store.upsert(Incident.TABLE, Incident.columns([one]))
    write_steps(store, [after_pass(None, one, Rules(DAY_MS), END)], END)
    assert [h.state for h in IncidentHandling.read(store, "CH-001")] == ["open"]
    assert passed(store, END + HOUR_MS) == []
    assert [h.state for h in IncidentHandling.read(store, "CH-001")] == ["taken_back"]


def test_a_data_loss_over_midnight_is_the_same_whichever_day_is_looked_at(store):
    device = heard(store, "CH-001", (0, 60), (3 * 1440, 3 * 1440 + 30))
    heard(store, "CH-002", (0, 4 * 1440), partition=1)
    now = MIDNIGHT_MS + 4 * DAY_MS
    days = [found(store, device, MIDNIGHT_MS + d * DAY_MS, MIDNIGHT_MS + (d + 1) * DAY_MS, now) for d in range(3)]
    assert days == [[(60, 3 * 1440, True)]] * 3


def test_a_device_has_no_data_loss_before_it_was_first_heard(store):
    device = heard(store, "CH-001", (300, 360))
    heard(store, "CH-002", (0, 360), partition=1)
    assert found(store, device) == []


def test_work_that_is_known_of_is_no_data_loss(store):
    device = heard(store, "CH-001", (0, 60), (100, 360))
    heard(store, "CH-002", (0, 360))
    span = {"starts_at": [MIDNIGHT_MS + 59 * MINUTE_MS], "ends_at": [MIDNIGHT_MS + 100 * MINUTE_MS]}
    store.upsert("maintenance_spans", {"device_id": ["CH-001"], **span, "note": ["cabling"], "added_at": [0]})
    assert found(store, device) == []


def test_a_data_loss_is_one_incident_that_grows_and_then_closes(store):
    device = heard(store, "CH-001", (0, 60))
    other = heard(store, "CH-002", (0, 80), partition=1)
    gather_incidents(store, device, MIDNIGHT_MS, END)
    (row,) = Incident.read(store, "CH-001", (MIDNIGHT_MS, END))
    assert (row.status, row.severity, row.windows, row.methods) == ("open", "info", 19, {"silence": 19})
    assert row.reasons == ["no readings for 19 min after 2025-03-11 01:00:00Z, while other devices were heard"]

    heard(store, other.device_id, (80, 360), partition=1)
    gather_incidents(store, device, MIDNIGHT_MS, END, only_changed=True)
    (row,) = Incident.read(store, "CH-001", (MIDNIGHT_MS, END))
    assert (row.status, row.severity, row.windows) == ("open", "warning", 299)

    device = heard(store, "CH-001", (200, 360))
    gather_incidents(store, device, MIDNIGHT_MS, END, only_changed=True)
    (row,) = Incident.read(store, "CH-001", (MIDNIGHT_MS, END))
    assert (row.status, row.windows, row.ended_at) == ("closed", 140, MIDNIGHT_MS + 200 * MINUTE_MS)
    assert gather_incidents(store, device, MIDNIGHT_MS, END, only_changed=True) == []


def passed(store, now_ms):
    """What the next pass leaves of CH-001, where none of its windows is new."""
    write_pass(IncidentsPass(store, load_settings(), [], now_ms=now_ms))
    return [(i.status, i.windows) for i in Incident.read(store, "CH-001")]


def test_a_device_that_was_retired_before_its_silence_was_found_is_no_incident(store):
    device = heard(store, "CH-001", (0, 60))
    heard(store, "CH-002", (0, 360), partition=1)
    for retired_ms in (END + DAY_MS, MIDNIGHT_MS + 5 * HOUR_MS):
        retire_point(store, "CH-001", WHOLE_DEVICE, retired_ms)
        gather_incidents(store, device, MIDNIGHT_MS, END)
        assert Incident.read(store, "CH-001") == []


@pytest.mark.parametrize("retired_ms", [END + HOUR_MS, MIDNIGHT_MS + 5 * HOUR_MS])
def test_the_incident_of_a_silence_ends_with_the_next_pass_when_the_device_is_retired(store, retired_ms):
    device = heard(store, "CH-001", (0, 60))
    heard(store, "CH-002", (0, 360), partition=1)
    write_pass(IncidentsPass(store, load_settings(), [Span(device, MIDNIGHT_MS, END)], now_ms=END))
    assert [i.status for i in Incident.read(store, "CH-001")] == ["open"]
    retire_point(store, "CH-001", WHOLE_DEVICE, retired_ms)
    ended = passed(store, END + 2 * HOUR_MS)
    assert [status for status, _ in ended] == ["closed"]
    assert [h.state for h in IncidentHandling.read(store, "CH-001")] == ["resolved"]
    heard(store, "CH-002", (360, 600), partition=1)
    assert passed(store, END + 4 * HOUR_MS) == ended


def test_readings_that_come_late_take_the_incident_back(store):
    device = heard(store, "CH-001", (0, 60), (100, 360))
    heard(store, "CH-002", (0, 360))
    gather_incidents(store, device, MIDNIGHT_MS, END)
    assert len(Incident.read(store, "CH-001", (MIDNIGHT_MS, END))) == 1
    device = heard(store, "CH-001", (60, 100))
    gather_incidents(store, device, MIDNIGHT_MS, END)
    assert Incident.read(store, "CH-001", (MIDNIGHT_MS, END)) == []


def test_the_command_line_tells_of_a_data_loss_without_asking_what_it_resembles(store):
    heard(store, "CH-002", (0, 360))
    gather_incidents(store, heard(store, "CH-001", (0, 60), (100, 360)), MIDNIGHT_MS, END)
    result = CliRunner().invoke(app, ["incidents", "show", f"CH-001/{MIDNIGHT_MS + HOUR_MS}"])
    assert result.exit_code == 0, result.output
    assert "methods: data loss 40" in result.stdout
    assert "no readings for 40 min" in result.stdout
    assert "Likely kinds" not in result.stdout


def test_devices_that_are_cut_off_together_are_a_network_event(store):
    devices = [heard(store, f"CH-00{i}", (0, 60), (100, 360)) for i in (1, 2, 3)]
    heard(store, "CH-004", (0, 360))
    for device in devices:
        gather_incidents(store, device, MIDNIGHT_MS, END)
    for batch in fleet_scope_batches(store, load_settings(), MIDNIGHT_MS, END):
        write_batch(store, "incidents", batch)
    rows = Incident.read(store, None, (MIDNIGHT_MS, END))
    assert {row.scope for row in rows} == {"fleet"}
    assert {row.cause for row in rows} == {"network or logging (3 devices of building b-1 from 2025-03-11 01:00Z)"}
