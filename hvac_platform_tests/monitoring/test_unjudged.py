"""What nobody has judged is judged before a profile learns from it, or left out and counted."""

from __future__ import annotations

import json
from dataclasses import asdict

import dagster as dg
import numpy as np
import pytest
from typer.testing import CliRunner

from hvac_platform.cli.main import app
from hvac_platform.config import load_settings
from hvac_platform.definitions import defs
from hvac_platform.detection.profile import TooFewSnapshotsError
from hvac_platform.monitoring.unjudged import judge_unjudged
from hvac_platform_tests.conftest import HOUR_MS, MIDNIGHT_MS, MINUTE_MS, rows
from hvac_platform_tests.monitoring import machines
from hvac_platform_tests.monitoring.test_judging import LATHE, bring_in, hot, judge, lathe_readings

TEN_HOURS = 600
FIRST_MS = MIDNIGHT_MS - 10 * HOUR_MS
CALM_MINUTES, FAULTY_MINUTES = 60, 12


def newest(readings_from=CALM_MINUTES):
    """An hour of the lathe after midnight that is well, then an incident that is still open."""
    windows = CALM_MINUTES + FAULTY_MINUTES
    return hot(lathe_readings(MIDNIGHT_MS, windows), readings_from, windows)


@pytest.fixture
def watched(platform):
    """The lathe with a profile of ten hours, which detection has judged."""
    device = bring_in(platform.store, LATHE, lathe_readings(FIRST_MS, TEN_HOURS))
    machines.learn(platform.store, device)
    judge(platform.store, device, FIRST_MS, MIDNIGHT_MS)
    return platform.store


def flagged(store):
    return {t for t, flag in rows(store, "device_state_snapshots", "snapshot_time", "is_anomalous") if flag}


def test_a_profile_built_during_an_open_incident_is_the_one_of_a_judged_incident(watched):
    device = bring_in(watched, LATHE, newest())
    unjudged = machines.learn(watched, device)
    judge(watched, device)
    judged = machines.learn(watched, device)
    assert unjudged.profile.statistics_json() == judged.profile.statistics_json()
    assert asdict(unjudged.profile.calibration) == pytest.approx(asdict(judged.profile.calibration))
    assert unjudged.profile.snapshot_count == judged.profile.snapshot_count


def test_what_was_left_out_is_counted_with_the_reason(watched):
    usual = machines.learn(watched, watched.devices()[0])
    lesson = machines.learn(watched, bring_in(watched, LATHE, newest()))
    assert lesson.judged == CALM_MINUTES + FAULTY_MINUTES
    assert lesson.left_out["anomalous, judged only now"] == FAULTY_MINUTES
    assert lesson.profile.snapshot_count >= usual.profile.snapshot_count + CALM_MINUTES - 2
    assert lesson.profile.metric_stats["temperature"].max < 90


def test_judging_for_a_profile_writes_nothing(watched):
    device = bring_in(watched, LATHE, newest())
    before = (rows(watched, "snapshot_verdicts"), rows(watched, "anomaly_events"), flagged(watched))
    machines.learn(watched, device)
    assert (rows(watched, "snapshot_verdicts"), rows(watched, "anomaly_events"), flagged(watched)) == before


def test_windows_that_wait_for_late_readings_are_left_out_and_counted(watched, platform):
    device = bring_in(watched, LATHE, lathe_readings(MIDNIGHT_MS, 20))
    watched.advance_ledger(platform.topic, 0, 0, 1, run_id="r", watermark=MIDNIGHT_MS + 15 * MINUTE_MS)
    settings = load_settings()
    now = MIDNIGHT_MS + 15 * MINUTE_MS
    found = judge_unjudged(
        watched, device, machines.encoders(watched), settings, FIRST_MS, device.last_seen + 1, now_ms=now
    )
    assert len(found.waiting) == 6
    assert found.judged == 14


def test_a_corrected_window_counts_as_unjudged(watched):
    """It was judged before its readings changed."""
    at = MIDNIGHT_MS - 30 * MINUTE_MS
    readings = [(at + k * MINUTE_MS + 1_234, "temperature", 400.0) for k in range(4)]
    lesson = machines.learn(watched, bring_in(watched, LATHE, readings))
    assert lesson.judged == 4
    assert lesson.left_out["anomalous, judged only now"] >= 3


def test_of_a_device_that_was_never_judged_everything_is_learned(platform):
    device = bring_in(platform.store, LATHE, lathe_readings(FIRST_MS, TEN_HOURS))
    lesson = machines.learn(platform.store, device)
    assert (lesson.judged, lesson.left_out) == (0, {})
    assert lesson.profile.snapshot_count == TEN_HOURS


def test_what_a_device_with_a_profile_was_never_judged_for_is_judged_by_that_before_it_is_learned(platform):
    """As where a recording is imported, a profile built, and more imported before anybody asks for detection."""
    store = platform.store
    machines.learn(store, bring_in(store, LATHE, lathe_readings(FIRST_MS, TEN_HOURS)))
    lesson = machines.learn(store, bring_in(store, LATHE, newest()))
    assert lesson.judged == TEN_HOURS + CALM_MINUTES + FAULTY_MINUTES
    assert FAULTY_MINUTES <= lesson.left_out["anomalous, judged only now"] <= FAULTY_MINUTES + 5
    assert lesson.profile.metric_stats["temperature"].max < 90


def test_a_device_that_nobody_has_judged_for_long_still_learns_what_is_new(watched):
    """Judged first, not left out: hours without detection don't starve its profile."""
    hours = lathe_readings(MIDNIGHT_MS, 6 * 60)
    lesson = machines.learn(watched, bring_in(watched, LATHE, hours))
    assert lesson.judged == 6 * 60
    assert lesson.profile.snapshot_count > TEN_HOURS + 5.8 * 60


def test_who_asks_for_flagged_windows_gets_the_unjudged_ones_too(watched):
    device = bring_in(watched, LATHE, newest())
    lesson = machines.learn(watched, device, include_flagged=True)
    assert lesson.left_out == {}
    assert lesson.profile.snapshot_count == TEN_HOURS + CALM_MINUTES + FAULTY_MINUTES


def test_the_refusal_of_a_device_in_a_lasting_incident_says_how_to_take_it_for_normal(watched):
    device = bring_in(watched, LATHE, hot(lathe_readings(MIDNIGHT_MS, 60), 0, 60))
    with pytest.raises(TooFewSnapshotsError, match=r"flagged as anomalous \(.* --include-flagged"):
        machines.learn(watched, device, days_back=50 / 1440, min_snapshots=50)


def test_the_command_and_the_asset_tell_what_was_left_out_and_why(watched, instance, platform):
    bring_in(watched, LATHE, newest())
    built = CliRunner().invoke(app, ["profiles", "build", "--json"])
    (row,) = json.loads(built.stdout)
    assert row["judged_first"] == CALM_MINUTES + FAULTY_MINUTES
    assert f"{FAULTY_MINUTES} anomalous, judged only now" in row["left_out_because"]
    instance.add_dynamic_partitions("devices", ["lathe"])
    result = defs.resolve_job_def("profiles").execute_in_process(
        instance=instance, partition_key="lathe", raise_on_error=False
    )
    (event,) = [e for e in result.get_asset_materialization_events() if e.asset_key == dg.AssetKey("device_profiles")]
    metadata = {k: v.value for k, v in event.materialization.metadata.items()}
    assert metadata["snapshots_judged_first"] == CALM_MINUTES + FAULTY_MINUTES
    assert f"{FAULTY_MINUTES} anomalous, judged only now" in metadata["left_out_because"]
    assert np.isfinite(metadata["sigma_limit"])


@pytest.mark.parametrize("days", [float("inf"), float("nan"), -1.0, 1e9])
def test_a_run_asked_for_days_that_make_no_sense_is_refused_before_it_starts(instance, home, days):
    from pydantic import ValidationError

    from hvac_platform.assets.device_profiles import ProfileConfig

    with pytest.raises((ValidationError, dg.DagsterInvalidConfigError)):
        ProfileConfig(days_back=days)
