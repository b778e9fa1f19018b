"""What a process keeps of its devices saves work and changes no verdict."""

from dataclasses import replace

import numpy as np
import pytest

from hvac_platform.config import load_settings
from hvac_platform.detection.learned import BLOCK_WINDOWS
from hvac_platform.monitoring import judging
from hvac_platform.monitoring.judging import judgement_batches, read_common, ready_to_judge
from hvac_platform.monitoring.kept import KeptDevices
from hvac_platform.stores.batches import write_batch
from hvac_platform.timestamps import DAY_MS
from hvac_platform_tests.conftest import HOUR_MS, MIDNIGHT_MS, MINUTE_MS, rows
from hvac_platform_tests.monitoring.machines import encoders
from hvac_platform_tests.monitoring.test_judging import (
    COMPRESSOR,
    LATE,
    LATHE,
    bring_in,
    compressor_readings,
    hot,
    lathe_readings,
    learn,
)

HISTORY_MS = 16 * HOUR_MS  # enough for a detector of the device's own


@pytest.fixture
def stranger(platform):
    """A compressor without a profile, eight hours: too hot for 15 min, which a rule tells after 5; a gap."""
    hot_ms = range(MIDNIGHT_MS + 100 * MINUTE_MS, MIDNIGHT_MS + 115 * MINUTE_MS)
    gone = range(MIDNIGHT_MS + 200 * MINUTE_MS, MIDNIGHT_MS + 215 * MINUTE_MS)
    readings = [
        (t, metric, value + 45 if metric == "discharge_temp" and t in hot_ms else value)
        for t, metric, value in compressor_readings(MIDNIGHT_MS, 8 * 60)
        if t not in gone
    ]
    return bring_in(platform.store, COMPRESSOR, readings)


@pytest.fixture
def device(platform):
    """The lathe with a profile of its own, and a day's first eight hours: a fault at minute 100, a gap, a block's end."""
    store = platform.store
    lathe = bring_in(store, LATHE, lathe_readings(MIDNIGHT_MS - HISTORY_MS, HISTORY_MS // MINUTE_MS))
    assert learn(store, lathe).detector is not None
    return bring_in_the_day(store)


def bring_in_the_day(store):
    readings = hot(lathe_readings(MIDNIGHT_MS, 8 * 60, seed=2), 100, 115)
    gone = range(MIDNIGHT_MS + 200 * MINUTE_MS, MIDNIGHT_MS + 215 * MINUTE_MS)
    assert BLOCK_WINDOWS < 8 * 60
    return bring_in(store, LATHE, [r for r in readings if r[0] not in gone])


def verdicts(store):
    found = rows(store, "snapshot_verdicts", "snapshot_time", "method", "score", "anomalous", "reasons", "revision")
    return [row for row in found if row[0] >= MIDNIGHT_MS]


def judge(store, device, end_ms, kept=None, *, together=False):
    known = replace(device, last_seen=end_ms - 1)
    common = read_common(store, [known], encoders(store), load_settings(), LATE, kept) if together else None
    judgement = ready_to_judge(
        *(store, device, encoders(store), load_settings(), MIDNIGHT_MS, end_ms),
        now_ms=LATE,
        unjudged_only=True,
        kept=kept,
        common=common,
    ).judge()
    for batch in judgement_batches(judgement):
        write_batch(store, "anomaly_events", batch)
    return judgement


def forget(store):
    """As if nothing of the day had been judged."""
    found = rows(store, "device_state_snapshots", "device_id", "snapshot_time", start_ms=MIDNIGHT_MS)
    columns = {"device_id": [d for d, _ in found], "snapshot_time": [t for _, t in found]}
    n = len(found)
    store.update("device_state_snapshots", columns | {"judged_revision": [None] * n, "is_anomalous": [None] * n})
    for method in ("rules", "profile", "vector"):
        store.delete("snapshot_verdicts", columns | {"method": [method] * n})
    store.delete("anomaly_events", {"device_id": columns["device_id"], "detected_at": columns["snapshot_time"]})


def same(found, expected):
    assert [(t, m, a, w, r) for t, m, _, a, w, r in found] == [(t, m, a, w, r) for t, m, _, a, w, r in expected]
    np.testing.assert_allclose([row[2] for row in found], [row[2] for row in expected], rtol=1e-4, atol=1e-6)


def ends(step):
    return range(MIDNIGHT_MS + step * MINUTE_MS, MIDNIGHT_MS + 8 * HOUR_MS + step * MINUTE_MS, step * MINUTE_MS)


@pytest.mark.parametrize("step", [1, 7])
def test_window_by_window_the_verdicts_are_those_of_judging_the_day_at_once(platform, device, step):
    store = platform.store
    judge(store, device, MIDNIGHT_MS + DAY_MS)
    expected = verdicts(store)
    assert any(anomalous for *_, anomalous, _, _ in expected)
    forget(store)
    kept = KeptDevices(store)
    for end_ms in ends(step):
        judge(store, device, end_ms, kept)
    same(verdicts(store), expected)


@pytest.mark.parametrize("whose", ["device", "stranger"])
@pytest.mark.parametrize("together", [False, True])
def test_read_with_those_of_other_devices_or_alone_and_with_a_profile_or_without_the_verdicts_are_the_same(
    platform, request, whose, together
):
    store, device = platform.store, request.getfixturevalue(whose)
    judge(store, device, MIDNIGHT_MS + DAY_MS)
    expected = verdicts(store)
    assert any(anomalous for *_, anomalous, _, _ in expected)
    forget(store)
    kept = KeptDevices(store)
    for end_ms in ends(3):
        judge(store, device, end_ms, kept, together=together)
    same(verdicts(store), expected)


@pytest.mark.parametrize("whose", ["device", "stranger"])
def test_windows_that_are_read_with_those_of_other_devices_are_not_read_again(platform, request, whose, monkeypatch):
    store, device = platform.store, request.getfixturevalue(whose)
    kept = KeptDevices(store)
    judge(store, device, ends(1)[0], kept)
    monkeypatch.setattr(judging, "read_series_and_states", None)
    for end_ms in ends(1)[1:40]:
        judge(store, device, end_ms, kept, together=True)


def test_a_new_window_costs_the_reading_of_that_window(platform, device, monkeypatch):
    store, kept, read = platform.store, KeptDevices(platform.store), []
    whole = judging.read_series_and_states

    def counted(*arguments, **options):
        found = whole(*arguments, **options)
        read.append(len(found[0]))
        return found

    for end_ms in ends(1)[:40]:
        judge(store, device, end_ms, kept)
    monkeypatch.setattr(judging, "read_series_and_states", counted)
    for end_ms in ends(1)[40:80]:
        judge(store, device, end_ms, kept)
    assert read == [1] * 40


def test_after_a_late_reading_and_after_a_new_profile_it_begins_anew(platform, device):
    store, kept = platform.store, KeptDevices(platform.store)
    judge(store, device, MIDNIGHT_MS + 150 * MINUTE_MS, kept)
    bring_in(store, LATHE, lathe_readings(MIDNIGHT_MS + 120 * MINUTE_MS, 1, seed=9))
    judge(store, device, MIDNIGHT_MS + 180 * MINUTE_MS, kept)
    learn(store, device, until_ms=MIDNIGHT_MS, refit=True)
    judge(store, device, MIDNIGHT_MS + 240 * MINUTE_MS, kept)
    found = [row for row in verdicts(store) if row[0] >= MIDNIGHT_MS + 180 * MINUTE_MS]
    forget(store)
    judge(store, device, MIDNIGHT_MS + 240 * MINUTE_MS)
    expected = [row for row in verdicts(store) if row[0] >= MIDNIGHT_MS + 180 * MINUTE_MS]
    same(found, expected)
