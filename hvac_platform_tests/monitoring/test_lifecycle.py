"""What becomes of incidents: one a fault however it flaps, told once, closed by people for good, whole after every crash."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hvac_platform.alerts.outbox import in_history, new_transitions
from hvac_platform.monitoring import lifecycle
from hvac_platform.monitoring.lifecycle import (
    ACTIVE,
    ENDS,
    KEPT_QUIET,
    PLATFORM,
    NotAllowedError,
    State,
    Transition,
    find_incident,
    handling_by_id,
    handling_of,
    incident_by_id,
    recorded,
)
from hvac_platform.monitoring.renaming import rename_device
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.records import Incident, IncidentHandling, IncidentTransition, OutboxMessage
from hvac_platform_tests.monitoring.faults import (
    MINUTE_MS,
    Clock,
    anomalous,
    heard,
    history,
    incidents,
    minute,
    normal,
    queued,
    rows_of,
    states,
)

DEVICE = "CH-001"
FIRST = f"{DEVICE}/{minute(60)}"


@pytest.fixture
def store(tmp_path, home):
    made = EmbeddedStore(tmp_path / "store.db")
    heard(made, [DEVICE], 0)
    yield made
    made.close()


@pytest.fixture
def clock(store):
    return Clock(store)


def one(store, incident_id):
    return incidents(store)[incident_id]


def flapping(start=60, end=26 * 60, every=25, length=5):
    """Minutes of a fault that comes and goes."""
    return [m for begin in range(start, end, every) for m in range(begin, begin + length)]


def test_a_fault_that_flaps_for_a_day_is_opened_once_and_resolved_once_whatever_is_done_again(store, clock, tmp_path):
    shown: list[int] = []
    for begin, episode in itertools.groupby(flapping(), key=lambda m: m // 25):
        shown += episode
        anomalous(store, DEVICE, shown[-5:])
        clock.look(shown[-1] + 1.5, only_changed=True)
        if begin % 10 == 0:  # a backfill over all of it, and a restart
            clock.again(shown[-1] + 2, only_changed=False)
            again = EmbeddedStore(tmp_path / "store.db")
            Clock(again).again(shown[-1] + 3)
            again.close()
        assert list(incidents(store)) == [FIRST]
    clock.look(shown[-1] + 59)
    assert states(store) == {FIRST: "open"}
    clock.look(shown[-1] + 62)
    clock.again(shown[-1] + 63)
    assert one(store, FIRST).windows == len(shown)
    assert states(store) == {FIRST: "resolved"}
    assert history(store, FIRST) == ["opened", "resolved"]
    assert queued(store) == [f"{FIRST}#opened", f"{FIRST}#resolved"]


def test_another_fault_beside_one_that_flaps_is_an_incident_of_its_own(store, clock):
    """The field's complaint: the old open alarm swallows the new one."""
    anomalous(store, DEVICE, [*range(60, 65), *range(90, 95)])
    anomalous(store, DEVICE, range(75, 80), "compressor off")
    clock.look(96)
    other = f"{DEVICE}/{minute(75)}"
    assert {i: (x.windows, x.severity) for i, x in incidents(store).items()} == {
        FIRST: (10, "warning"),
        other: (5, "critical"),
    }
    assert queued(store) == [f"{FIRST}#opened", f"{other}#opened"]


def test_another_fault_while_one_goes_on_is_told_once(store, clock):
    anomalous(store, DEVICE, range(60, 80))
    clock.look(80)
    anomalous(store, DEVICE, range(80, 90), "low superheat")
    clock.look(90)
    anomalous(store, DEVICE, range(90, 95), "compressor off")
    for number in (95, 96):
        clock.look(number)
    keys = [f"{FIRST}#{key}" for key in ("opened", "worsened/ch-2", "worsened/ch-3", "worsened/critical")]
    assert queued(store) == keys
    assert one(store, FIRST).severity == "critical"


def test_what_people_resolve_stays_resolved_and_what_is_anomalous_half_an_hour_later_is_new(store, clock):
    anomalous(store, DEVICE, range(60, 120))
    clock.look(120)
    lifecycle.resolve(store, one(store, FIRST), by="kim", at_ms=minute(120), note="cleaned the condenser")
    anomalous(store, DEVICE, range(120, 200))
    for number in (140, 155, 200, 201):
        clock.look(number)
    second = f"{DEVICE}/{minute(151)}"
    assert {i: x.windows for i, x in incidents(store).items()} == {FIRST: 91, second: 49}
    assert states(store) == {FIRST: "resolved", second: "open"}
    clock.look(290)
    anomalous(store, DEVICE, range(100, 105))  # late data of before
    clock.look(291)
    assert history(store, FIRST) == ["opened", "resolved"]
    assert history(store, second) == ["opened", "resolved"]


def test_what_a_person_reopens_is_not_resolved_by_a_return_of_before(store, clock):
    anomalous(store, DEVICE, range(60, 70))
    clock.look(131)
    assert states(store) == {FIRST: "resolved"}
    lifecycle.reopen(store, one(store, FIRST), by="kim", at_ms=minute(140), note="it comes again under load")
    lifecycle.acknowledge(store, one(store, FIRST), by="kim", at_ms=minute(141))
    clock.look(150)
    assert states(store) == {FIRST: "acknowledged"}
    assert one(store, FIRST).status == "open"
    lifecycle.resolve(store, one(store, FIRST), by="kim", at_ms=minute(160))
    clock.look(170)
    assert history(store, FIRST) == ["opened", "resolved", "reopened", "acknowledged", "resolved"]


def test_the_id_stays_when_late_data_move_the_start_divide_an_incident_or_join_two(store, clock):
    anomalous(store, DEVICE, range(60, 70))
    clock.look(70)
    anomalous(store, DEVICE, range(50, 60))
    clock.look(71)
    assert {i: x.started_at for i, x in incidents(store).items()} == {FIRST: minute(50)}
    anomalous(store, DEVICE, range(170, 180))
    clock.look(180)
    second = f"{DEVICE}/{minute(170)}"
    assert states(store) == {FIRST: "resolved", second: "open"}
    lifecycle.assign(store, one(store, second), "alex", by="kim", at_ms=minute(181))
    lifecycle.label(store, one(store, second), ["condenser"], by="kim", at_ms=minute(182))
    anomalous(store, DEVICE, range(120, 125))  # late: between the two there is no pause beyond the quiet time
    clock.look(183)
    assert {i: x.windows for i, x in incidents(store).items()} == {FIRST: 35}
    assert states(store) == {FIRST: "open", second: "resolved"}
    handlings = handling_of(store, [one(store, FIRST)])
    assert (handlings[FIRST].assignee, handlings[FIRST].labels) == ("alex", ["condenser"])
    assert history(store, second)[-1] == "merged"
    with pytest.raises(NotAllowedError, match=f"{second} was merged into {FIRST}"):
        lifecycle.comment(
            store, Incident.read(store)[0].__class__(**_with_id(one(store, FIRST), second)), "?", by="kim", at_ms=1
        )
    normal(store, DEVICE, range(120, 125))
    clock.look(184)
    assert states(store) == {FIRST: "resolved", second: "open"}
    assert history(store, FIRST) == ["opened", "resolved", "reopened", "resolved"]


def _with_id(incident, incident_id):
    return {name: getattr(incident, name) for name in Incident.all_but()} | {"incident_id": incident_id}


def test_an_incident_whose_windows_are_not_anomalous_after_all_is_taken_back_and_told_so(store, clock):
    anomalous(store, DEVICE, range(60, 70))
    clock.look(70)
    normal(store, DEVICE, range(60, 70))
    clock.look(71)
    clock.look(72)
    assert incidents(store) == {}
    assert states(store) == {FIRST: "taken_back"}
    assert queued(store) == [f"{FIRST}#opened", f"{FIRST}#taken_back"]


def test_a_backfill_opens_none_in_the_past_unless_asked(store, clock):
    """The field's complaint: resolved without open, and alerts of last year."""
    anomalous(store, DEVICE, range(60, 70))
    clock.look(60 * 24)
    assert (states(store), queued(store)) == ({FIRST: "past"}, [])
    with pytest.raises(NotAllowedError, match="was over when it was found"):
        lifecycle.acknowledge(store, one(store, FIRST), by="kim", at_ms=minute(60 * 24))
    clock.look(60 * 25, open_past=True)
    assert states(store) == {FIRST: "resolved"}
    assert queued(store) == [f"{FIRST}#opened", f"{FIRST}#resolved"]


def test_an_incident_that_no_span_reaches_any_more_is_resolved_by_the_clock(store, clock):
    anomalous(store, DEVICE, range(60, 70))
    clock.look(70)
    heard(store, [DEVICE], 131)
    clock.again(131, spans=[])
    assert states(store) == {FIRST: "resolved"}


def test_a_snooze_ends_by_the_clock_and_when_the_incident_becomes_more_severe(store, clock):
    anomalous(store, DEVICE, range(60, 70))
    clock.look(70)
    lifecycle.snooze(store, one(store, FIRST), minute(100), by="kim", at_ms=minute(71))
    clock.look(99)
    assert states(store) == {FIRST: "snoozed"}
    clock.again(100, spans=[])
    assert states(store) == {FIRST: "open"}
    lifecycle.snooze(store, one(store, FIRST), minute(500), by="kim", at_ms=minute(101))
    anomalous(store, DEVICE, range(102, 104), "compressor off", metric="ch-1 metric")
    clock.look(104)
    assert states(store) == {FIRST: "open"}
    assert {"woken", "worsened"} <= set(history(store, FIRST)[-4:])


def test_two_hundred_devices_that_go_wrong_together_are_one_parent_with_its_children(store, clock):
    devices = [f"CH-{number:03d}" for number in range(200)]
    heard(store, devices, 0)
    for number, device in enumerate(devices):
        anomalous(store, device, range(60 + number % 7, 75), metric="power_consumption")
    clock.look(76)
    clock.look(77)
    parents = {i: incident.parent_id for i, incident in incidents(store).items()}
    parent = f"CH-000/{minute(60)}"
    assert parents.pop(parent) is None
    assert len(parents) == 199
    assert set(parents.values()) == {parent}
    transitions = [t.transition for t in IncidentTransition.read(store)]
    assert (transitions.count("opened"), transitions.count("joined"), len(transitions)) == (200, 199, 399)
    assert "supply" in one(store, parent).cause


def test_a_pass_that_is_killed_anywhere_leaves_what_the_next_one_completes(tmp_path, home):
    """Content, outbox, history and handling are the same as without the kill, and nothing is told twice."""

    def story(path, killed_after):
        store = EmbeddedStore(path)
        heard(store, [DEVICE, "CH-002"], 0)
        clock = Clock(store)
        anomalous(store, DEVICE, range(60, 70))
        anomalous(store, "CH-002", range(60, 62), "compressor off")
        heard(store, [DEVICE, "CH-002"], 70)
        clock.again(70, most=killed_after)
        clock.again(71)
        anomalous(store, DEVICE, range(40, 45))
        normal(store, "CH-002", range(60, 62))
        heard(store, [DEVICE, "CH-002"], 140)
        clock.again(140, most=killed_after)
        clock.again(141)
        found = rows_of(store)
        store.close()
        return found

    whole = story(tmp_path / "whole.db", None)
    assert [m.message_key.split("#")[1] for m in whole[3]] == ["opened", "resolved", "opened", "taken_back"]
    for killed_after in range(8):
        assert story(tmp_path / f"{killed_after}.db", killed_after) == whole


def test_who_does_what_is_recorded_and_what_is_not_possible_is_said(store, clock):
    anomalous(store, DEVICE, range(60, 70))
    clock.look(70)
    incident = one(store, FIRST)
    lifecycle.acknowledge(store, incident, by="kim", at_ms=minute(71), note="on my way")
    with pytest.raises(NotAllowedError, match="was acknowledged by kim"):
        lifecycle.acknowledge(store, incident, by="alex", at_ms=minute(72))
    with pytest.raises(NotAllowedError, match="a snooze ends later than now"):
        lifecycle.snooze(store, incident, minute(71), by="alex", at_ms=minute(72))
    with pytest.raises(NotAllowedError, match="is no person"):
        lifecycle.resolve(store, incident, by=PLATFORM, at_ms=minute(72))
    lifecycle.assign(store, incident, "alex", by="kim", at_ms=minute(73))
    lifecycle.mark_false_alarm(store, incident, by="alex", at_ms=minute(74), note="test run")
    with pytest.raises(NotAllowedError, match=r"was called a false alarm by alex at .*: reopen it first"):
        lifecycle.resolve(store, incident, by="kim", at_ms=minute(75))
    lifecycle.comment(store, incident, "see the log book", by="kim", at_ms=minute(76))
    found = [(t.transition, t.actor, t.note) for t in lifecycle.history_of(store, incident)]
    assert found == [
        ("opened", "platform", ""),
        ("acknowledged", "kim", "on my way"),
        ("assigned", "kim", ""),
        ("false_alarm", "alex", "test run"),
        ("commented", "kim", "see the log book"),
    ]
    assert not [key for key in queued(store) if "commented" in key]


# -- whatever happens in whatever order ----------------------------------------------------------------------------------

ACTIONS = {
    "acknowledge": lambda store, i, at: lifecycle.acknowledge(store, i, by="kim", at_ms=at),
    "snooze": lambda store, i, at: lifecycle.snooze(store, i, at + 20 * MINUTE_MS, by="kim", at_ms=at),
    "resolve": lambda store, i, at: lifecycle.resolve(store, i, by="kim", at_ms=at),
    "reopen": lambda store, i, at: lifecycle.reopen(store, i, by="kim", at_ms=at),
    "false alarm": lambda store, i, at: lifecycle.mark_false_alarm(store, i, by="kim", at_ms=at),
}
MOMENTS = st.tuples(
    st.just("windows"), st.integers(0, 60), st.integers(1, 12), st.sampled_from(["high head pressure", "low superheat"])
)
EVENTS = st.one_of(
    MOMENTS,
    st.tuples(st.just("normal"), st.integers(0, 120), st.integers(1, 40)),
    st.tuples(st.just("time"), st.integers(1, 90)),
    st.tuples(st.just("pass"), st.booleans(), st.none() | st.integers(0, 6)),
    st.tuples(st.just("person"), st.sampled_from(sorted(ACTIONS)), st.integers(0, 3)),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=st.lists(EVENTS, min_size=3, max_size=25))
def test_whatever_happens_each_opening_has_one_end_and_nobody_undoes_what_a_person_closed(
    events, tmp_path_factory, home
):
    store = EmbeddedStore(tmp_path_factory.mktemp("any") / "store.db")
    heard(store, [DEVICE], 0)
    clock, now = Clock(store), 100.0
    before: dict[tuple[str, str], IncidentTransition] = {}
    for event in (*events, ("time", 1), ("pass", False, None), ("time", 1), ("pass", True, None)):
        now += 0.01  # no two things at one instant
        if event[0] == "windows":
            anomalous(store, DEVICE, range(int(now) - event[1], int(now) - event[1] + event[2]), event[3])
        elif event[0] == "normal":
            normal(store, DEVICE, range(int(now) - event[1], int(now) - event[1] + event[2]))
        elif event[0] == "time":
            now += event[1]
        elif event[0] == "person":
            there = Incident.read(store)  # of one that was moved by a pass that was killed there are two rows
            if there:
                try:
                    ACTIONS[event[1]](store, there[event[2] % len(there)], minute(now))
                except NotAllowedError:
                    continue
        else:
            heard(store, [DEVICE], now)
            clock.again(now, only_changed=event[1], most=event[2])
            if event[2] is None:
                assert_sound(store, before)
    store.close()


def assert_sound(store, before):
    """What has to hold after every whole pass; ``before`` is the history up to the pass before."""
    contents, handlings = incidents(store), {h.incident_id: h for h in IncidentHandling.read(store)}
    assert contents.keys() <= handlings.keys()
    assert {i for i, h in handlings.items() if h.state in ACTIVE} <= contents.keys()
    history = {(t.incident_id, t.transition_key): t for t in IncidentTransition.read(store)}
    for key, transition in before.items():
        assert history[key].transition == transition.transition
    told = {f"{i}#{key}" for (i, key), t in history.items() if t.transition not in KEPT_QUIET}
    # One more may be there, of a pass that was killed right after it and whose windows were not anomalous after all.
    rows = OutboxMessage.read(store)
    assert told == {m.message_key for m in recorded(store, rows)}
    for incident_id, handling in handlings.items():
        mine = sorted((t for t in history.values() if t.incident_id == incident_id), key=lambda t: t.at)
        going, closed_by_person = 0, False
        for t in sorted(mine, key=lambda t: (t.at, t.transition not in ("opened", "reopened"))):
            if t.transition in (Transition.OPENED, Transition.REOPENED):
                assert not (closed_by_person and t.actor == PLATFORM), mine
                going, closed_by_person = going + 1, False
            elif t.transition in ENDS:
                closed_by_person = t.actor != PLATFORM
                going = max(0, going - 1) if t.transition == Transition.FALSE_ALARM else going - 1
            assert going in (0, 1), [(t.at, t.transition_key) for t in mine]
        assert going == (handling.state in ACTIVE), [(t.at, t.transition_key) for t in mine]
        if handling.state == State.PAST:
            assert not mine
    before.clear()
    before.update(history)


def test_an_incident_of_a_renamed_device_keeps_its_id_by_which_people_and_receivers_know_it(store, clock):
    anomalous(store, DEVICE, range(60, 70))
    clock.look(70)
    (device,) = store.devices()
    rename_device(store, device, "CH-NORTH")
    assert incident_by_id(store, FIRST).device_id == "CH-NORTH"
    assert handling_by_id(store, FIRST).state == "open"
    waiting = new_transitions(store, minute(71))
    assert [(row.incident_id, row.device_id) for row in in_history(store, waiting)] == [(FIRST, "CH-NORTH")]
    anomalous(store, "CH-NORTH", range(72, 80))
    clock.look(80)
    assert {i: (x.device_id, x.windows) for i, x in incidents(store).items()} == {FIRST: ("CH-NORTH", 18)}
    lifecycle.acknowledge(store, find_incident(store, FIRST), by="kim", at_ms=minute(81))
    clock.look(80 + 61)
    assert states(store) == {FIRST: "resolved"}
    assert history(store, FIRST) == ["opened", "acknowledged", "resolved"]
