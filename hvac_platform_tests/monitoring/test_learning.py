"""Encoders of devices' own: when they are fitted, what is embedded anew, and that a window's judgement is one thing."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from hvac_platform.config import load_settings
from hvac_platform.detection.learned import examine_windows
from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.monitoring.learning import (
    load_profile,
    mode_calibration,
    normal_snapshots,
    refit_reason,
)
from hvac_platform.monitoring.profiles import stored_profile
from hvac_platform.monitoring.similar import similar_states
from hvac_platform.simulation.faults import Fault
from hvac_platform.stores.base import Device, TableSlice
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.records import StoredProfile
from hvac_platform.stores.series import read_series
from hvac_platform.stores.vectors import decoded_vectors
from hvac_platform.timestamps import DAY_MS
from hvac_platform_tests.conftest import HOUR_MS, MIDNIGHT_MS, MINUTE_MS, rows
from hvac_platform_tests.detection.reading_reasons import contradictions
from hvac_platform_tests.monitoring.machines import embed, encoders, judge, learn, simulated_windows

START = MIDNIGHT_MS - 2 * DAY_MS
CHILLER = FleetDevice("CH-001", "chiller")
FLOW = Fault("CH-001", "low_flow", MIDNIGHT_MS + 3 * HOUR_MS, MIDNIGHT_MS + 4 * HOUR_MS)


@pytest.fixture(scope="module")
def unlearned(tmp_path_factory):
    """A store file: two days of a chiller and six hours of the next, with an hour of low flow in it."""
    path = tmp_path_factory.mktemp("unlearned") / "store.db"
    store = EmbeddedStore(path)
    simulated_windows(store, [CHILLER], START, MIDNIGHT_MS + 6 * HOUR_MS, faults=[FLOW])
    store.close()
    return path


@pytest.fixture(scope="module")
def learned(unlearned, tmp_path_factory):
    """The same, with a profile learned from the two days."""
    path = tmp_path_factory.mktemp("learned") / "store.db"
    shutil.copy(unlearned, path)
    store = EmbeddedStore(path)
    learn(store, store.devices()[0], until_ms=MIDNIGHT_MS)
    store.close()
    return path


@pytest.fixture
def store(unlearned, home, platform):
    shutil.copy(unlearned, home / "store.db")
    return platform.store


@pytest.fixture
def learned_store(learned, home, platform):
    shutil.copy(learned, home / "store.db")
    return platform.store


@pytest.fixture
def device():
    return Device("CH-001", "chiller", "roof", "b-1", START, MIDNIGHT_MS + 6 * HOUR_MS - 10_000, 0)


def methods(store, start_ms, end_ms):
    """Encoders that wrote the embeddings of some windows."""
    return {m for (m,) in rows(store, "device_state_snapshots", "embedding_method", start_ms=start_ms, end_ms=end_ms)}


def test_a_device_gets_an_encoder_of_its_own_and_its_snapshots_get_new_embeddings_up_to_the_newest(store, device):
    embed(store, device, START, MIDNIGHT_MS + 6 * HOUR_MS)
    assert methods(store, START, MIDNIGHT_MS + 6 * HOUR_MS) == {"state-1"}
    lesson = learn(store, device, until_ms=MIDNIGHT_MS)
    assert lesson.refitted == "there was none"
    assert lesson.profile.fit.count == lesson.profile.snapshot_count == 2 * 1440 - lesson.left_out_count
    assert methods(store, START, MIDNIGHT_MS + 6 * HOUR_MS) == {lesson.profile.embedding_method}
    assert lesson.profile.embedding_method.startswith("state-2/")


def test_what_arrives_later_is_encoded_by_the_devices_own_encoder(learned_store, device):
    store = learned_store
    profile = load_profile(store, "CH-001")
    store.update(
        "device_state_snapshots",
        {"device_id": ["CH-001"], "snapshot_time": [MIDNIGHT_MS + HOUR_MS], "embedding_method": [None]},
    )
    embed(store, device, MIDNIGHT_MS + HOUR_MS, MIDNIGHT_MS + HOUR_MS + MINUTE_MS)
    assert methods(store, MIDNIGHT_MS, MIDNIGHT_MS + 2 * HOUR_MS) == {profile.embedding_method}


def test_a_snapshot_that_arrives_alone_gets_the_embedding_that_it_gets_among_others(learned_store, device):
    store = learned_store
    first, last = MIDNIGHT_MS + HOUR_MS, MIDNIGHT_MS + 2 * HOUR_MS
    stored = TableSlice("device_state_snapshots", ("embedding",), "CH-001", first, last)
    together = decoded_vectors(blob for batch in store.scan(stored) for blob in batch["embedding"])
    for at in range(first, last, MINUTE_MS):
        embed(store, device, at, at + MINUTE_MS)
    alone = decoded_vectors(blob for batch in store.scan(stored) for blob in batch["embedding"])
    assert (together * alone).sum(axis=1).min() > 0.9999


def test_an_encoder_is_kept_until_the_history_has_doubled(store, device):
    first = learn(store, device, until_ms=MIDNIGHT_MS - DAY_MS).profile
    second = learn(store, device, until_ms=MIDNIGHT_MS - DAY_MS + 12 * HOUR_MS)
    assert second.refitted == ""
    assert second.profile.embedding_method == first.embedding_method
    assert second.profile.snapshot_count > first.snapshot_count
    assert second.profile.detector.limits == first.detector.limits
    third = learn(store, device, until_ms=MIDNIGHT_MS)
    assert third.refitted.startswith("the history has grown from")
    assert third.profile.embedding_method != first.embedding_method


def test_what_was_learned_of_all_that_a_device_has_sent_is_not_fitted_again(store, device):
    learn(store, device)
    assert learn(store, device).refitted == ""


def test_an_encoder_is_fitted_anew_on_request_and_when_what_it_rests_on_has_changed(store, device, monkeypatch):
    learn(store, device, until_ms=MIDNIGHT_MS)
    assert learn(store, device, until_ms=MIDNIGHT_MS).refitted == ""
    assert learn(store, device, until_ms=MIDNIGHT_MS, refit=True).refitted == "asked for"
    earlier = learn(store, device, until_ms=MIDNIGHT_MS - HOUR_MS)
    assert earlier.refitted == "the history asked for ends before the one that it was fitted on"
    monkeypatch.setenv("HVAC_FALSE_ALARMS_PER_DAY", "0.5")
    assert learn(store, device, until_ms=MIDNIGHT_MS).refitted == "the budget is 0.5 false alarms a day"


def test_an_encoder_of_an_earlier_version_of_the_method_is_fitted_anew(learned_store, device):
    profile = load_profile(learned_store, device.device_id)
    earlier = replace(profile, detector=replace(profile.detector, version=1))
    stored = stored_profile(learned_store, device, earlier)
    learned_store.upsert("device_profiles", StoredProfile.columns([stored]))
    assert learn(learned_store, device, until_ms=MIDNIGHT_MS).refitted.startswith(
        "it was fitted by version 1 of the method"
    )
    assert learn(learned_store, device, until_ms=MIDNIGHT_MS).refitted == ""


def test_a_new_sensor_calls_for_a_new_encoder(learned_store, device):
    store = learned_store
    profile = load_profile(store, "CH-001")
    series, fit = normal_snapshots(store, device, None, START, MIDNIGHT_MS)
    settings = load_settings()
    assert refit_reason(profile, series, fit, settings, MIDNIGHT_MS) == ""
    more = np.column_stack([series.mean, np.linspace(0.0, 1.0, len(series))])
    reason = refit_reason(
        profile,
        replace(series, metric_names=(*series.metric_names, "oil_level"), mean=more),
        fit,
        settings,
        MIDNIGHT_MS,
    )
    assert reason == "new metrics: oil_level"


def test_normal_states_that_have_drifted_call_for_a_new_encoder(store, device):
    profile = learn(store, device, until_ms=MIDNIGHT_MS - DAY_MS).profile
    series, fit = normal_snapshots(store, device, None, START, MIDNIGHT_MS - 2 * HOUR_MS)
    drifted = series.mean.copy()
    later = series.times_ms >= MIDNIGHT_MS - DAY_MS
    drifted[later] += (
        4.0 * profile.detector.scale.spread[0] * (np.array(series.metric_names) == "chilled_water_supply_temp")
    )
    reason = refit_reason(profile, replace(series, mean=drifted), fit, load_settings(), MIDNIGHT_MS)
    assert reason.startswith("drift: ")


def test_with_too_few_snapshots_a_profile_rests_on_centroid_and_statistics(store, device):
    lesson = learn(store, device, until_ms=MIDNIGHT_MS, days_back=0.1)
    assert lesson.profile.detector is None
    assert lesson.profile.embedding_method == "state-1"
    assert "200 are needed for an encoder of its own" in lesson.note


def test_a_profile_comes_back_from_the_store_as_it_was(store, device):
    profile = learn(store, device, until_ms=MIDNIGHT_MS).profile
    loaded = load_profile(store, "CH-001")
    assert loaded.version == profile.version
    assert loaded.fit == profile.fit
    series = read_series(store, "CH-001", "chiller", MIDNIGHT_MS, MIDNIGHT_MS + 6 * HOUR_MS)
    everything = np.ones(len(series), dtype=bool)
    before, after = (examine_windows(series, everything, p.detector)[0] for p in (profile, loaded))
    np.testing.assert_array_equal(before.ratio, after.ratio)
    np.testing.assert_array_equal(before.vectors, after.vectors)
    np.testing.assert_array_equal(loaded.energy.coefficients, profile.energy.coefficients)


def test_a_profile_tells_the_modes_of_its_detector_and_what_each_is_measured_against(learned_store, device):
    detector = load_profile(learned_store, device.device_id).detector
    modes = StoredProfile.first(learned_store, device.device_id).modes
    assert len(modes) >= 2
    assert {m["number"] for m in modes if m["calibrated"]} == {int(n) for n in detector.within if int(n) < 8}
    assert {mode_calibration(m) for m in modes} <= {"its own rows", "rows of all modes"}
    assert mode_calibration({"name": "all", "share": 1.0, "episodes": 1}) == ""  # kept before there was such a thing


def test_a_window_is_judged_the_same_live_and_in_a_backfill(learned_store, device):
    store = learned_store
    end = MIDNIGHT_MS + 6 * HOUR_MS
    at_once = judge(store, device, MIDNIGHT_MS, end).verdicts["profile"]
    pieces = [
        judge(store, device, start, start + 7 * MINUTE_MS).verdicts["profile"]
        for start in range(MIDNIGHT_MS + 2 * HOUR_MS, MIDNIGHT_MS + 5 * HOUR_MS, 7 * MINUTE_MS)
    ]
    score = dict(zip(at_once.times_ms.tolist(), at_once.score.tolist(), strict=True))
    alarm = dict(zip(at_once.times_ms.tolist(), at_once.anomalous.tolist(), strict=True))
    for piece in pieces:  # a distance is 1 - a float32 cosine: blocks of other lengths round it by a few 1e-7
        np.testing.assert_allclose(piece.score, [score[t] for t in piece.times_ms.tolist()], rtol=1e-6, atol=2e-6)
        assert piece.anomalous.tolist() == [alarm[t] for t in piece.times_ms.tolist()]


def test_low_flow_is_found_by_profile_and_vector_search_and_the_reason_names_what_others_imply(learned_store, device):
    store = learned_store
    judged = judge(store, device, MIDNIGHT_MS, MIDNIGHT_MS + 6 * HOUR_MS)
    times = judged.series.times_ms
    inside = (times >= FLOW.start_ms) & (times < FLOW.end_ms)
    before = times < FLOW.start_ms
    for method in ("profile", "vector"):
        assert judged.verdicts[method].anomalous[inside].mean() > 0.9
        assert judged.verdicts[method].anomalous[before].mean() < 0.02
    reasons = [r for group in judged.verdicts["profile"].reasons for r in group]
    assert any("where the other metrics imply" in reason for reason in reasons)
    every = [r for verdicts in judged.verdicts.values() for group in verdicts.reasons for r in group]
    assert {reason: found for reason in every if (found := contradictions(reason))} == {}
    for method in ("profile", "vector"):
        verdicts = judged.verdicts[method]
        assert all(names for names, alarm in zip(verdicts.metrics, verdicts.anomalous, strict=True) if alarm)


def test_a_state_that_came_before_is_found_and_one_that_never_did_is_not(learned_store, device):
    store = learned_store
    usual = similar_states(store, device, encoders(store), at_ms=MIDNIGHT_MS + HOUR_MS)
    assert usual.seen > 0
    assert {s.outcome for s in usual.similar} == {"normal"}
    odd = similar_states(store, device, encoders(store), at_ms=FLOW.start_ms + 30 * MINUTE_MS)
    assert odd.seen == 0


def verdicts_of(store, device):
    found = rows(
        store, "snapshot_verdicts", "snapshot_time", "method", "score", "anomalous", device_id=device.device_id
    )
    return {(time, method): (bool(anomalous), score) for time, method, score, anomalous in found}


def test_after_a_late_correction_verdicts_are_those_of_judging_everything_again(learned_store, device):
    store, end = learned_store, MIDNIGHT_MS + 6 * HOUR_MS
    judge(store, device, MIDNIGHT_MS, end)
    before = verdicts_of(store, device)
    at = MIDNIGHT_MS + 2 * HOUR_MS
    series = read_series(store, "CH-001", "chiller", at, at + 20 * MINUTE_MS)
    changed = [dict(zip(series.metric_names, (row * 1.2).tolist(), strict=True)) for row in series.mean]
    key = {"device_id": ["CH-001"] * len(changed), "snapshot_time": series.times_ms}
    store.update("device_state_snapshots", key | {"metrics": changed, "revision": [10**6] * len(changed)})
    judge(store, device, MIDNIGHT_MS, end, unjudged_only=True)
    after = verdicts_of(store, device)
    judge(store, device, MIDNIGHT_MS, end)
    anew = verdicts_of(store, device)
    assert {key: flag for key, (flag, _) in after.items()} == {key: flag for key, (flag, _) in anew.items()}
    assert {key: score for key, (_, score) in after.items()} == pytest.approx(
        {key: score for key, (_, score) in anew.items()}, rel=0.02, abs=0.02
    )
    moved = {time for (time, method), verdict in after.items() if verdict != before[time, method]}
    assert any(time >= at + 20 * MINUTE_MS for time in moved), "windows after the corrected ones rest on them"
