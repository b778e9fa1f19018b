"""What is new and lasts under the nightly work: told once, learned, held, taken back; and the versions of profiles."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from hvac_platform.config import load_settings
from hvac_platform.detection.rules import without_rules
from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.devices.registry import device_type
from hvac_platform.ingestion.snapshotting import EmbeddingCounts
from hvac_platform.monitoring import lifecycle
from hvac_platform.monitoring.judging import judgement_batches, ready_to_judge
from hvac_platform.monitoring.lasting import LASTING, ChangeState, expected_since, sentence_of, standing_rules
from hvac_platform.monitoring.passes import IncidentsPass, LearningOptions, LearningPass, Span, write_pass
from hvac_platform.monitoring.profile_versions import (
    VersionError,
    VersionState,
    change_to,
    packed_profile,
    unpacked_profile,
    versions_of,
)
from hvac_platform.monitoring.profiles import load_profile
from hvac_platform.runtime.connections import make_encoders
from hvac_platform.simulation.faults import Fault
from hvac_platform.simulation.fleet_simulation import FleetSimulation
from hvac_platform.stores.base import Device
from hvac_platform.stores.batches import write_batch
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.records import (
    Incident,
    LastingChange,
    OutboxMessage,
    ProfileVersion,
    Snapshot,
    StoredProfile,
    Verdict,
)
from hvac_platform.timestamps import DAY_MS
from hvac_platform_tests.conftest import HOUR_MS, MIDNIGHT_MS

WINDOW_MS = 300_000
LEARNED_DAYS = 4
CHANGE_MS = MIDNIGHT_MS + LEARNED_DAYS * DAY_MS + 2 * HOUR_MS
BEFORE = (CHANGE_MS - MIDNIGHT_MS) // WINDOW_MS
"""Windows before the change."""
MACHINE = FleetDevice("CH-001", "chiller")


def chiller(days, *, faults=(), setpoint=0.0):
    """Means of a simulated chiller, float64 [n, m]; its setpoint is moved at the change."""
    times = np.arange(MIDNIGHT_MS, MIDNIGHT_MS + days * DAY_MS, WINDOW_MS, dtype=np.int64)
    simulation = FleetSimulation([MACHINE], seed=11, faults=list(faults))
    before, after = times[times < CHANGE_MS], times[times >= CHANGE_MS]
    (first,) = simulation.advance(before)
    simulation._groups[0]._setpoint = simulation._groups[0]._setpoint + setpoint
    (second,) = simulation.advance(after)
    return first.metric_names, np.concatenate([first.values, second.values])


class Site:
    """A store with one chiller, and the platform's work on it day by day."""

    def __init__(self, store, names, values):
        self.store, self.names, self.values = store, names, values
        self.settings = load_settings().model_copy(update={"hvac_window_seconds": WINDOW_MS // 1000})
        self.encoders = make_encoders(self.settings, store)

    def device(self, days):
        return Device("CH-001", "chiller", "roof", "b-1", MIDNIGHT_MS, MIDNIGHT_MS + days * DAY_MS - 1, 0)

    def put(self, first_day, last_day):
        per_day = DAY_MS // WINDOW_MS
        rows = self.values[first_day * per_day : last_day * per_day].tolist()
        times = MIDNIGHT_MS + first_day * DAY_MS + np.arange(len(rows), dtype=np.int64) * WINDOW_MS
        maps = [dict(zip(self.names, row, strict=True)) for row in rows]
        self.store.upsert(
            Snapshot.TABLE,
            {
                "device_id": ["CH-001"] * len(rows),
                "snapshot_time": times,
                "window_ms": [WINDOW_MS] * len(rows),
                "metrics": maps,
                "metric_summary": [{name: [6, v, v, v] for name, v in row.items()} for row in maps],
                "completeness": [1.0] * len(rows),
                "revision": [1] * len(rows),
            },
        )
        self.store.register_devices([self.device(last_day)])

    def learn(self, days, **options):
        """Build the profile at the end of a day; the lesson."""
        options = LearningOptions(until_ms=MIDNIGHT_MS + days * DAY_MS, **options)
        found = LearningPass(self.store, self.encoders, self.settings, [self.device(days)], options)
        write_pass(found)
        assert not found.failed, found.failed
        return found.lessons[0]

    def judge(self, day):
        """Judge a day and compute its incidents; which windows are anomalous."""
        begin, end = MIDNIGHT_MS + day * DAY_MS, MIDNIGHT_MS + (day + 1) * DAY_MS
        device = self.device(day + 1)
        judged = ready_to_judge(
            self.store, device, self.encoders, self.settings, begin, end, now_ms=end + DAY_MS
        ).judge()
        for batch in judgement_batches(judged):
            write_batch(self.store, "anomaly_events", batch)
        write_pass(IncidentsPass(self.store, self.settings, [Span(device, begin, end)], now_ms=end))
        return judged.anomalous

    def day(self, day):
        """A day and the night after it; the flagged share of its windows."""
        self.put(day, day + 1)
        share = float(self.judge(day).mean())
        self.learn(day + 1)
        return share

    @property
    def changes(self):
        return LastingChange.read(self.store, "CH-001")

    @property
    def notices(self):
        return [i for i in Incident.read(self.store, "CH-001") if LASTING in i.methods]

    def flags(self, since, until):
        return [
            bool(s.is_anomalous) for s in Snapshot.read(self.store, "CH-001", (since, until), only=("is_anomalous",))
        ]


MOVED = chiller(LEARNED_DAYS + 4, setpoint=1.0)
WRONG = chiller(
    LEARNED_DAYS + 4, faults=[Fault("CH-001", "correlated_deviation", CHANGE_MS, CHANGE_MS + 30 * DAY_MS, None, 0.75)]
)


def learned_site(path, machine):
    site = Site(EmbeddedStore(path), *machine)
    site.put(0, LEARNED_DAYS)
    site.learn(LEARNED_DAYS)
    return site


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A store in which a moved setpoint was told on the night after it, and is not learned yet."""
    path = tmp_path_factory.mktemp("told") / "store.db"
    site = learned_site(path, MOVED)
    site.day(LEARNED_DAYS)
    site.store.close()
    return path


@pytest.fixture
def moved(told, tmp_path):
    shutil.copy(told, tmp_path / "store.db")
    site = Site(EmbeddedStore(tmp_path / "store.db"), *MOVED)
    yield site
    site.store.close()


def test_a_moved_setpoint_is_told_once_and_learned_after_two_days_and_the_next_day_is_quiet(moved):
    (notice,) = moved.notices
    assert notice.status == "open"
    assert notice.reasons[0].startswith("operates differently since")
    assert any("held at" in reason for reason in notice.reasons)
    embedded = {s.embedding_method for s in Snapshot.read(moved.store, "CH-001", only=("embedding_method",))}
    assert moved.changes[0].state == ChangeState.WAITING
    assert moved.day(LEARNED_DAYS + 1) > 0.9, "not learned before two days are over"
    (change,) = moved.changes
    assert (change.state, change.decided_by) == (ChangeState.LEARNED, "platform")
    assert moved.day(LEARNED_DAYS + 2) < 0.01
    assert [(n.incident_id, n.status) for n in moved.notices] == [(notice.incident_id, "closed")]
    versions = versions_of(moved.store, "CH-001")
    assert [(v.number, v.state) for v in versions] == [(1, "superseded"), (2, "present")]
    assert versions[1].gate["candidate_alarms"] <= versions[1].gate["present_alarms"]
    learned_from = (None, MIDNIGHT_MS + (LEARNED_DAYS + 2) * DAY_MS)
    read = Snapshot.read(moved.store, "CH-001", learned_from, only=("embedding_method",))
    after = {s.embedding_method for s in read}
    assert embedded != after == {versions[1].embedding_method}


def test_incidents_of_the_change_are_part_of_its_notice_and_nobody_is_told_of_them(moved):
    (notice,) = moved.notices
    moved.put(LEARNED_DAYS + 1, LEARNED_DAYS + 2)
    moved.judge(LEARNED_DAYS + 1)
    parts = lifecycle.children_of(moved.store, notice)
    assert parts
    assert {part.device_id for part in parts} == {"CH-001"}


def test_what_somebody_calls_a_fault_is_not_learned_and_what_they_call_expected_is_learned_the_same_night(moved):
    (notice,) = moved.notices
    lifecycle.label(moved.store, notice, ["low charge"], by="kim", at_ms=notice.ended_at)
    assert moved.day(LEARNED_DAYS + 1) > 0.9
    assert moved.day(LEARNED_DAYS + 2) > 0.9
    assert moved.changes[0].state == ChangeState.FAULT
    assert moved.day(LEARNED_DAYS + 3) > 0.9
    lifecycle.label(moved.store, notice, ["expected"], by="kim", at_ms=notice.ended_at + 1)
    assert moved.learn(LEARNED_DAYS + 4).refitted
    assert moved.changes[0].state == ChangeState.LEARNED


def test_going_back_restores_encoder_embeddings_and_flags_and_nothing_is_promoted_unasked_for_a_week(moved):
    first = StoredProfile.first(moved.store, "CH-001")
    (notice,) = moved.notices
    lifecycle.mark_false_alarm(moved.store, notice, by="kim", at_ms=notice.ended_at)
    moved.learn(LEARNED_DAYS + 1)
    span = (CHANGE_MS + HOUR_MS, CHANGE_MS + 20 * HOUR_MS)
    assert not any(moved.flags(*span))
    assert StoredProfile.first(moved.store, "CH-001").embedding_method != first.embedding_method
    counts = EmbeddingCounts()
    device = moved.device(LEARNED_DAYS + 1)
    now = MIDNIGHT_MS + 20 * 365 * DAY_MS
    for batch in change_to(moved.store, device, None, by="kim", now_ms=now, counts=counts, back=True):
        write_batch(moved.store, StoredProfile.TABLE, batch)
    back = StoredProfile.first(moved.store, "CH-001")
    assert (back.embedding_method, back.detector) == (first.embedding_method, first.detector)
    assert counts.encoded == (LEARNED_DAYS + 1) * DAY_MS // WINDOW_MS
    assert all(moved.flags(*span))
    assert [v.state for v in versions_of(moved.store, "CH-001")] == ["present", "rolled_back"]
    lesson = moved.learn(LEARNED_DAYS + 1, refit=True)
    assert not lesson.refitted
    assert "somebody has gone back" in lesson.gate["said"]
    assert versions_of(moved.store, "CH-001")[-1].state == VersionState.REFUSED
    assert StoredProfile.first(moved.store, "CH-001").embedding_method == first.embedding_method
    with pytest.raises(VersionError, match="has no version 9"):
        list(change_to(moved.store, device, 9, by="kim", now_ms=now, counts=counts, back=True))


def test_a_fault_that_nobody_flags_is_told_with_what_speaks_against_learning_it_and_goes_on_alarming(tmp_path):
    site = learned_site(tmp_path / "store.db", WRONG)
    shares = [site.day(day) for day in range(LEARNED_DAYS, LEARNED_DAYS + 4)]
    assert min(shares[1:]) > 0.9
    (change,) = site.changes
    assert change.state == ChangeState.HELD
    assert any(one["against"] for one in change.evidence)
    (notice,) = site.notices
    assert (notice.severity, notice.status) == ("warning", "open")
    assert [v.state for v in versions_of(site.store, "CH-001")] == ["present"]
    site.store.close()


@pytest.fixture(scope="module")
def held_now_and_then(tmp_path_factory):
    """A store in which a fault is held that shows in every third window, and the night after its fourth day is to come."""
    path = tmp_path_factory.mktemp("held") / "store.db"
    site = learned_site(path, WRONG)
    for day in range(LEARNED_DAYS, LEARNED_DAYS + 3):
        site.day(day)
    site.put(LEARNED_DAYS + 3, LEARNED_DAYS + 4)
    site.judge(LEARNED_DAYS + 3)
    times = np.arange(CHANGE_MS, MIDNIGHT_MS + (LEARNED_DAYS + 4) * DAY_MS, WINDOW_MS, dtype=np.int64)
    unseen = times[np.arange(len(times)) % 3 > 0]
    columns = {"device_id": ["CH-001"] * len(unseen), "snapshot_time": unseen, "is_anomalous": [False] * len(unseen)}
    site.store.update(Snapshot.TABLE, columns)
    assert site.changes[0].state == ChangeState.HELD
    site.store.close()
    return path


@pytest.fixture
def held(held_now_and_then, tmp_path):
    shutil.copy(held_now_and_then, tmp_path / "store.db")
    site = Site(EmbeddedStore(tmp_path / "store.db"), *WRONG)
    yield site
    site.store.close()


def test_of_a_change_that_is_held_nothing_is_learned_as_drift_but_on_request(held):
    lesson = held.learn(LEARNED_DAYS + 4)
    assert lesson.refitted == ""
    assert lesson.profile.snapshot_count <= BEFORE
    assert held.changes[0].state == ChangeState.HELD
    asked = held.learn(LEARNED_DAYS + 4, refit=True)
    assert asked.refitted == "asked for"
    assert asked.profile.snapshot_count > BEFORE


def test_of_a_change_that_somebody_calls_a_fault_the_last_day_is_not_learned_either(held):
    (notice,) = held.notices
    lifecycle.label(held.store, notice, ["low charge"], by="kim", at_ms=notice.ended_at)
    lesson = held.learn(LEARNED_DAYS + 4)
    assert held.changes[0].state == ChangeState.FAULT
    assert lesson.profile.snapshot_count <= BEFORE


def test_where_a_change_has_been_held_for_all_of_the_history_statistics_are_renewed_and_the_encoder_stays(held):
    lesson = held.learn(LEARNED_DAYS + 4, days_back=3.9)
    assert lesson.refitted == ""
    assert lesson.profile.snapshot_count > DAY_MS // WINDOW_MS
    assert held.changes[0].state == ChangeState.HELD


def test_a_held_fault_that_a_day_did_not_show_is_still_held(held):
    begin = MIDNIGHT_MS + (LEARNED_DAYS + 3) * DAY_MS
    times = np.arange(begin, begin + DAY_MS, WINDOW_MS, dtype=np.int64)
    columns = {"device_id": ["CH-001"] * len(times), "snapshot_time": times, "is_anomalous": [False] * len(times)}
    held.store.update(Snapshot.TABLE, columns)
    lesson = held.learn(LEARNED_DAYS + 4)
    assert (held.changes[0].state, lesson.refitted) == (ChangeState.HELD, "")
    assert lesson.profile.snapshot_count <= BEFORE


def test_a_noisier_sensor_is_told_once_and_learned_after_two_days_though_it_departs_both_ways(tmp_path):
    names, values = chiller(LEARNED_DAYS + 4)
    begin = (CHANGE_MS - MIDNIGHT_MS) // WINDOW_MS
    noise = np.random.default_rng(3).normal(0.0, 4.0, len(values) - begin)
    values[begin:, names.index("power_consumption")] += noise
    site = Site(EmbeddedStore(tmp_path / "store.db"), names, values)
    site.put(0, LEARNED_DAYS)
    site.learn(LEARNED_DAYS)
    shares = [site.day(LEARNED_DAYS + day) for day in range(4)]
    (change,) = site.changes
    assert change.state == ChangeState.LEARNED
    assert any(one["about"] == "noise" for one in change.evidence)
    assert (shares[1] > 0.01, shares[3] <= 0.01) == (True, True), shares


def exchanged_sensor(days):
    """The chiller with a condenser water sensor that is exchanged at the change: the new one reads 1.2 °F less."""
    names, values = chiller(days)
    j = names.index("condenser_water_supply_temp")
    values[BEFORE:, j] -= 1.2
    values[BEFORE : BEFORE + 8, j] = np.nan
    return names, values


HEAT_BALANCE = "ch-7"


def rules_of(site, day):
    """Share of a day's windows in which a rule fired, when the day was judged."""
    begin = MIDNIGHT_MS + day * DAY_MS
    said = [v for v in Verdict.read(site.store, "CH-001", (begin, begin + DAY_MS)) if v.method == "rules"]
    return sum(v.anomalous for v in said) / len(said)


@pytest.fixture(scope="module")
def exchanged_told(tmp_path_factory):
    """A store in which a sensor was exchanged, and a rule fires since then that its offset explains."""
    path = tmp_path_factory.mktemp("exchanged") / "store.db"
    site = learned_site(path, exchanged_sensor(LEARNED_DAYS + 4))
    site.day(LEARNED_DAYS)
    site.day(LEARNED_DAYS + 1)
    site.store.close()
    return path


@pytest.fixture
def exchanged(exchanged_told, tmp_path):
    shutil.copy(exchanged_told, tmp_path / "store.db")
    site = Site(EmbeddedStore(tmp_path / "store.db"), *exchanged_sensor(LEARNED_DAYS + 4))
    yield site
    site.store.close()


def test_a_rule_that_an_exchanged_sensor_explains_stands_for_it_once_the_change_is_learned(exchanged):
    (change,) = exchanged.changes
    assert change.state == ChangeState.LEARNED
    assert standing_rules(change) == (HEAT_BALANCE,)
    assert "stands for it and no longer fires" in sentence_of(change)
    assert any("as the sensor before did" in reason for reason in exchanged.notices[0].reasons)
    assert rules_of(exchanged, LEARNED_DAYS + 1) > 0.1
    assert exchanged.day(LEARNED_DAYS + 2) < 0.01
    assert current(exchanged).standing == (HEAT_BALANCE,)


def test_a_standing_rule_fires_again_where_somebody_calls_its_change_a_fault(exchanged):
    (notice,) = exchanged.notices
    lifecycle.label(exchanged.store, notice, ["bad sensor"], by="kim", at_ms=notice.ended_at)
    exchanged.learn(LEARNED_DAYS + 2)
    assert current(exchanged).standing == ()
    assert exchanged.day(LEARNED_DAYS + 2) > 0.9
    assert rules_of(exchanged, LEARNED_DAYS + 2) > 0.1


def test_a_standing_rule_that_is_silent_for_three_days_is_something_new_when_it_fires_again(exchanged):
    put_back = exchanged.names.index("condenser_water_supply_temp")
    later = (LEARNED_DAYS + 2) * DAY_MS // WINDOW_MS
    exchanged.values = np.concatenate([exchanged.values, exchanged.values[-2 * DAY_MS // WINDOW_MS :]])
    exchanged.values[later:, put_back] += 1.2
    for day in range(LEARNED_DAYS + 2, LEARNED_DAYS + 6):
        exchanged.put(day, day + 1)
        exchanged.learn(day + 1)
    assert current(exchanged).standing == ()


def test_of_a_rule_that_goes_on_the_notice_says_so_and_what_ends_it(exchanged):
    (change,) = exchanged.changes
    stands = next(one for one in change.evidence if one["about"] == "standing")
    goes_on = [*(one for one in change.evidence if one is not stands), {**stands, "about": "goes on"}]
    write_change(exchanged.store, replace(change, evidence=goes_on))
    assert "but ch-7 goes on until somebody says expected" in sentence_of(exchanged.changes[0])
    assert expected_since(exchanged.store, "CH-001", change.seen_until) == []
    (notice,) = exchanged.notices
    lifecycle.label(exchanged.store, notice, ["expected"], by="kim", at_ms=notice.ended_at)
    exchanged.learn(LEARNED_DAYS + 2)
    (change,) = exchanged.changes
    assert standing_rules(change) == (HEAT_BALANCE,)
    assert exchanged.day(LEARNED_DAYS + 2) < 0.01


def current(site):
    """The profile that judges the chiller."""
    return load_profile(site.store, "CH-001")


def write_change(store, change):
    store.upsert(LastingChange.TABLE, LastingChange.columns([change]))


def test_rules_of_level_1_and_2_and_hard_limits_are_never_a_standing_condition():
    declared = device_type("chiller")
    left = without_rules(declared, tuple(rule.id for rule in declared.rules))
    assert left.rules == tuple(rule for rule in declared.rules if rule.level <= 2)
    assert left.rules


def test_windows_that_a_rule_alone_speaks_against_are_no_lasting_change(tmp_path):
    site = learned_site(tmp_path / "store.db", MOVED)
    first, flagged = LEARNED_DAYS - 2, 2 * DAY_MS // WINDOW_MS
    times = MIDNIGHT_MS + first * DAY_MS + np.arange(flagged, dtype=np.int64) * WINDOW_MS
    columns = {"device_id": ["CH-001"] * flagged, "snapshot_time": times, "is_anomalous": [True] * flagged}
    site.store.update(Snapshot.TABLE, columns)
    site.learn(LEARNED_DAYS)
    assert site.changes == []
    site.store.close()


def test_a_candidate_that_misses_a_labelled_incident_is_refused_and_can_be_promoted_by_hand(tmp_path):
    site = learned_site(tmp_path / "store.db", WRONG)
    site.put(LEARNED_DAYS, LEARNED_DAYS + 4)
    site.judge(LEARNED_DAYS)
    incident = next(i for i in Incident.read(site.store, "CH-001") if i.signature)
    lifecycle.label(site.store, incident, ["low charge"], by="kim", at_ms=incident.ended_at)
    present = StoredProfile.first(site.store, "CH-001")
    lesson = site.learn(LEARNED_DAYS + 4, refit=True, include_flagged=True, days_back=5)  # as if it were normal
    assert not lesson.gate["promoted"]
    assert "labelled incidents missed" in lesson.gate["said"]
    after = StoredProfile.first(site.store, "CH-001")
    assert after.embedding_method == present.embedding_method
    device, counts = site.device(LEARNED_DAYS + 4), EmbeddingCounts()
    for batch in change_to(site.store, device, None, by="kim", now_ms=1, counts=counts, back=False):
        write_batch(site.store, StoredProfile.TABLE, batch)
    assert StoredProfile.first(site.store, "CH-001").embedding_method != present.embedding_method
    site.store.close()


def test_a_profile_comes_back_whole_from_the_version_that_keeps_it(moved):
    stored = StoredProfile.first(moved.store, "CH-001")
    again = unpacked_profile(packed_profile(stored))
    assert again == stored
    np.testing.assert_array_equal(again.profile_embedding, stored.profile_embedding)


# -- labels feed back ----------------------------------------------------------------------------------------------------


def test_a_false_alarms_like_is_recorded_with_the_reason_and_nobody_is_told(moved):
    store = moved.store
    past = next(i for i in Incident.read(store, "CH-001") if i.signature and LASTING not in i.methods)
    lifecycle.mark_false_alarm(store, past, by="kim", at_ms=past.ended_at)
    store.delete(LastingChange.TABLE, {"device_id": ["CH-001"], "since": [moved.changes[0].since]})
    moved.put(LEARNED_DAYS + 1, LEARNED_DAYS + 2)
    moved.judge(LEARNED_DAYS + 1)
    later = [i for i in Incident.read(store, "CH-001") if i.started_at >= past.ended_at and LASTING not in i.methods]
    assert later
    assert any(f"like the false alarm {past.incident_id}" in reason for i in later for reason in i.reasons)
    rows = [r for r in OutboxMessage.read(store) if r.incident_id in {i.incident_id for i in later}]
    opened = [r for r in rows if r.transition == "opened"]
    assert opened
    assert {(r.state, past.incident_id in (r.error or "")) for r in opened} == {("suppressed", True)}


def test_a_confirmed_faults_like_is_known(moved):
    store = moved.store
    past = next(i for i in Incident.read(store, "CH-001") if i.signature and LASTING not in i.methods)
    lifecycle.label(store, past, ["Low charge"], by="kim", at_ms=past.ended_at)
    lifecycle.resolve(store, past, by="kim", at_ms=past.ended_at)
    moved.put(LEARNED_DAYS + 1, LEARNED_DAYS + 2)
    moved.judge(LEARNED_DAYS + 1)
    later = [i for i in Incident.read(store, "CH-001") if i.started_at >= past.ended_at and i.kinds]
    assert any(i.kinds[0]["kind"] == "low_charge" for i in later)
    assert Verdict.first(store, "CH-001") is not None
    assert ProfileVersion.first(store, "CH-001") is not None
    assert replace(past).label is None
