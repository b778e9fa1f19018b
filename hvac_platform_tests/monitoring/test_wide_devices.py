"""A device of thousands of metrics: what is judged of it is bounded and said, and it costs no other device anything."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from hvac_platform.cli.main import app
from hvac_platform.definitions import defs
from hvac_platform.detection import fit_detector
from hvac_platform.detection.choosing_metrics import MOST_METRICS, chosen_metrics
from hvac_platform.ingestion.snapshotting import ENCODED_READINGS
from hvac_platform.monitoring import wide_devices
from hvac_platform.monitoring.degradation import TooFewDaysError, device_degradation
from hvac_platform.monitoring.profiles import load_profile
from hvac_platform.stores.base import Device
from hvac_platform.stores.series import read_series
from hvac_platform_tests.conftest import DAY, HOUR_MS, MIDNIGHT_MS, MINUTE_MS, NEXT_DAY, rows
from hvac_platform_tests.monitoring import machines
from hvac_platform_tests.monitoring.test_judging import LATHE, bring_in, judge, lathe_readings

FIRST_MS = MIDNIGHT_MS - 4 * HOUR_MS
WINDOWS, WIDTH, JUDGED = 240, 60, 12
MEMORY_BYTES = 2 * 1024**3


def wide_windows(store, windows=WINDOWS, width=WIDTH, *, start_ms=FIRST_MS, device_id="plant", offset=0.0):
    """Snapshots of a device with many metrics, all of which follow one load."""
    generator = np.random.default_rng(1)
    weight = generator.normal(size=width)
    times = start_ms + np.arange(windows) * MINUTE_MS
    values = 10 + np.sin(times / HOUR_MS)[:, None] * weight + generator.normal(0, 0.3, (windows, width)) + offset
    names = [f"point_{j:05d}" for j in range(width)]
    found = [dict(zip(names, row, strict=True)) for row in values.tolist()]
    columns = {
        "device_id": [device_id] * windows,
        "snapshot_time": times,
        "window_ms": [MINUTE_MS] * windows,
        "metrics": found,
        "metric_summary": [{name: [6, v, v, v] for name, v in row.items()} for row in found],
        "completeness": [1.0] * windows,
        "revision": list(range(windows)),
    }
    store.upsert("device_state_snapshots", columns)
    store.register_devices([Device(device_id, "plant", "roof", "b-1", int(times[0]), int(times[-1]) + 50_000, 0)])
    return next(d for d in store.devices() if d.device_id == device_id)


def broken_windows(store):
    """A device whose snapshots nobody can read as numbers: a fault of its own data."""
    device = bring_in(store, replace(LATHE, device_id="aaa"), lathe_readings(FIRST_MS, WINDOWS))
    store.update(
        "device_state_snapshots",
        {
            "device_id": ["aaa"],
            "snapshot_time": [FIRST_MS + 5 * MINUTE_MS],
            "metric_summary": [{"load": "words", "temperature": [], "vibration": [1]}],
        },
    )
    return device


@pytest.fixture
def narrow(monkeypatch):
    """Smaller bounds, so that a device of sixty metrics is a wide one."""
    monkeypatch.setattr("hvac_platform.detection.detector.fit.MOST_METRICS", JUDGED)
    monkeypatch.setattr(wide_devices, "MOST_READ", 2 * JUDGED)


# -- which metrics -------------------------------------------------------------------------------------------------------


def test_declared_points_come_first_then_the_most_complete_then_the_most_varying():
    rng = np.random.default_rng(1)
    values = 100 + rng.normal(0, [5, 1, 9, 2], (200, 4))
    values[::3, 2] = np.nan
    names = ["moving", "steady", "patchy", "declared"]
    assert chosen_metrics(values, names, {"declared"}, 1) == ["declared"]
    assert chosen_metrics(values, names, {"declared"}, 2) == ["moving", "declared"]
    assert chosen_metrics(values, names, {"declared"}, 3) == ["moving", "steady", "declared"]
    assert chosen_metrics(values, names, {"declared"}, 4) == names


def test_a_detector_judges_a_bounded_number_of_metrics_and_says_which_it_left_out():
    times = pd.date_range("2025-03-10", periods=200, freq="min", tz="UTC")
    values = np.random.default_rng(1).normal(10, 1, (200, 800))
    detector = fit_detector(pd.DataFrame(values, index=times, columns=[f"m{j}" for j in range(800)]))
    assert len(detector.metric_names) == MOST_METRICS
    assert len(detector.left_out) == 800 - MOST_METRICS
    assert "declared points come first" in next(iter(detector.left_out.values()))


# -- what it costs -------------------------------------------------------------------------------------------------------


def test_a_device_of_thousands_of_metrics_is_learned_judged_and_compared_in_bounded_memory(platform, home):
    """Each in a process that may not take more than two gigabytes."""
    wide_windows(platform.store, width=3000)
    day = ("--from", "2025-03-10T22:00:00Z", "--until", "2025-03-10T23:00:00Z")
    for command in (("profiles", "build"), ("detect", *day), ("similar", "--device", "plant")):
        done = subprocess.run(
            [sys.executable, "-m", "hvac_platform.cli", *command],
            cwd=home,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES)),
        )
        assert done.returncode == 0, f"{command}: {done.stderr[-2000:]}"
        assert len(done.stdout) < 20_000


def test_the_history_of_a_very_wide_device_is_read_from_its_newest_end_and_that_is_said(platform, narrow, monkeypatch):
    device = wide_windows(platform.store)
    monkeypatch.setattr(wide_devices, "MOST_READINGS", WIDTH * 220)
    lesson = machines.learn(platform.store, device)
    assert lesson.profile.snapshot_count == 220
    assert f"of its {WIDTH} metrics only the history from" in lesson.note
    with pytest.raises(TooFewDaysError, match=f"of its {WIDTH} metrics no more is read"):
        device_degradation(platform.store, device, MINUTE_MS)


def test_embeddings_of_a_wide_device_are_those_of_encoding_it_at_once(platform, monkeypatch):
    device = wide_windows(platform.store, width=20)
    lesson = machines.learn(platform.store, device)
    stored = read_series(platform.store, "plant", "plant", embeddings=True).embeddings
    monkeypatch.setattr("hvac_platform.ingestion.snapshotting.ENCODED_READINGS", 20 * 70)
    assert ENCODED_READINGS > 20 * 70
    machines.embed(platform.store, device, FIRST_MS, MIDNIGHT_MS)
    again = read_series(platform.store, "plant", "plant", embeddings=True).embeddings
    assert len(lesson.series) == len(again) == WINDOWS
    assert (stored * again).sum(axis=1).min() > 0.9999


def test_a_fault_in_what_is_judged_of_a_wide_device_is_found(platform, narrow):
    store = platform.store
    device = wide_windows(store)
    machines.learn(store, device)
    device = wide_windows(store, 60, start_ms=MIDNIGHT_MS, offset=4.0)
    assert judge(store, device).verdicts["profile"].anomalous.mean() > 0.8
    (metrics,) = {len(m) for (m,) in rows(store, "anomaly_events", "metrics_snapshot")}
    assert metrics == JUDGED


def test_a_refit_finds_no_new_metrics_in_those_that_were_left_out(platform, narrow):
    device = wide_windows(platform.store)
    first = machines.learn(platform.store, device, until_ms=MIDNIGHT_MS)
    assert machines.learn(platform.store, device, until_ms=MIDNIGHT_MS).refitted == ""
    assert len(first.metrics_left_out) == WIDTH - JUDGED
    assert load_profile(platform.store, "plant").detector.left_out == dict(first.metrics_left_out)


def test_commands_and_metadata_say_which_metrics_are_not_judged(platform, instance, narrow):
    wide_windows(platform.store)
    metadata = profile_run(instance, ["plant"], until=NEXT_DAY)[1]
    assert metadata["metrics_left_out"] == WIDTH - JUDGED
    built = json.loads(CliRunner().invoke(app, ["profiles", "build", "--until", NEXT_DAY, "--json"]).stdout)
    assert f"{WIDTH - JUDGED} metrics (" in built[0]["metrics_left_out"]
    shown = json.loads(CliRunner().invoke(app, ["profiles", "show", "plant", "--json"]).stdout)
    assert len(shown["metrics_left_out"]) == WIDTH - JUDGED
    assert f"not judged: {WIDTH - JUDGED} metrics" in CliRunner().invoke(app, ["profiles", "show", "plant"]).stdout


# -- one device's failure ------------------------------------------------------------------------------------------------


def profile_run(instance, device_ids, until=None):
    """A nightly run over some devices: its result, metadata of the profiles and the outcome of their check."""
    config = {"ops": {"device_profiles": {"config": {"until": until} if until else {}}}}
    return job_run(instance, "profiles", "device_profiles", "every_device_learned", device_ids, config)


def job_run(instance, job, asset, check, partitions, config=None):
    if job == "profiles":
        instance.add_dynamic_partitions("devices", partitions)
    tags = {"dagster/asset_partition_range_start": partitions[0], "dagster/asset_partition_range_end": partitions[-1]}
    result = defs.resolve_job_def(job).execute_in_process(
        instance=instance,
        run_config=config,
        tags=tags if len(partitions) > 1 else {},
        partition_key=partitions[0] if len(partitions) == 1 else None,
        raise_on_error=False,
    )
    events = [e for e in result.get_asset_materialization_events() if e.asset_key.to_user_string() == asset]
    metadata = {k: v.value for k, v in events[-1].materialization.metadata.items()} if events else {}
    passed = {e.check_name: e.passed for e in result.get_asset_check_evaluations()}
    return result, metadata, passed.get(check)


def test_a_device_that_fails_costs_no_other_its_profile_and_is_named(platform, home):
    broken_windows(platform.store)
    bring_in(platform.store, LATHE, lathe_readings(FIRST_MS, WINDOWS))
    result = CliRunner().invoke(app, ["profiles", "build"])
    assert result.exit_code == 1
    assert "hvac: aaa: " in result.output
    assert load_profile(platform.store, "lathe") is not None


def test_a_nightly_run_builds_the_profiles_of_the_others_and_fails_its_check(platform, instance):
    broken_windows(platform.store)
    bring_in(platform.store, LATHE, lathe_readings(FIRST_MS, WINDOWS))
    result, metadata, passed = profile_run(instance, ["aaa", "lathe"])
    assert result.success
    assert passed is False
    assert metadata["devices_failed"] == 1
    assert metadata["failures"].startswith("- aaa: ")
    assert load_profile(platform.store, "lathe") is not None


def test_detection_judges_the_others_and_fails_its_check(platform, instance):
    broken_windows(platform.store)
    device = bring_in(platform.store, LATHE, lathe_readings(FIRST_MS, WINDOWS))
    machines.learn(platform.store, device)
    result, metadata, passed = job_run(instance, "detection", "anomaly_events", "every_device_judged", [DAY])
    assert result.success
    assert passed is False
    assert metadata["failures"].startswith("- aaa: ")
    assert {d for (d,) in rows(platform.store, "snapshot_verdicts", "device_id")} == {"lathe"}
    judged = {d.device_id: d.judged_at for d in platform.store.device_days(DAY, DAY)}
    assert judged["aaa"] is None
    assert judged["lathe"]
    command = CliRunner().invoke(app, ["detect", "--from", DAY, "--until", NEXT_DAY])
    assert command.exit_code == 1
    assert "hvac: aaa: " in command.output


def test_a_run_in_which_every_device_fails_fails(platform, instance):
    broken_windows(platform.store)
    result, _, _ = profile_run(instance, ["aaa"])
    assert not result.success


def test_an_unreachable_store_is_no_devices_own_failure():
    from hvac_platform.monitoring.isolation import device_failure
    from hvac_platform.stores.base import EmbeddingError, StoreError

    with pytest.raises(StoreError):
        device_failure("AC-001", StoreError("no host answers"))
    assert device_failure("AC-001", EmbeddingError("a zero vector")).reason == "EmbeddingError: a zero vector"
    assert device_failure("AC-001", MemoryError()).reason == "MemoryError"
