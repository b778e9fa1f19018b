"""Recurring suppression: when it holds, what for, what becomes of what began under it, and what a wrong file is told."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvac_platform.monitoring.suppression import (
    SCOPE,
    WEEKDAYS,
    SuppressionError,
    checked,
    fits,
    holds,
    read_suppressions,
    suppressions_of_file,
)
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.records import OutboxMessage, Suppression
from hvac_platform.timestamps import to_datetime, to_ms
from hvac_platform_tests.monitoring.faults import Clock, anomalous, heard, incidents, minute, queued

DEVICE = "CH-001"
FIRST = f"{DEVICE}/{minute(60)}"
FILE = """
holidays:
  national: [2026-12-25, 2026-12-31/2027-01-01]
suppressions:
  - name: nights
    building: b-*
    hours: 22:00-06:00
    weekdays: [fri]
    holidays: [national]
    timezone: Europe/Berlin
    note: nobody is there
"""


@pytest.fixture
def store(tmp_path, home):
    made = EmbeddedStore(tmp_path / "store.db")
    heard(made, [DEVICE], 0)
    yield made
    made.close()


def instant(text, zone="Europe/Berlin"):
    return to_ms(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)))


@pytest.mark.parametrize(
    ("local", "expected"),
    [
        ("2026-12-04T21:59", False),  # a Friday
        ("2026-12-04T22:00", True),
        ("2026-12-05T05:59", True),  # the night of Friday
        ("2026-12-05T06:00", False),
        ("2026-12-05T23:00", False),
        ("2026-12-25T00:30", False),  # the night of Thursday
        ("2026-12-25T23:00", True),
        ("2027-01-02T05:00", True),  # the night of the last holiday
        ("2026-07-03T22:00", True),  # in summer time too
    ],
)
def test_a_suppression_holds_in_local_time_and_its_nights_belong_to_the_day_before(tmp_path, local, expected):
    file = tmp_path / "suppressions.yaml"
    file.write_text(FILE)
    known = suppressions_of_file(file)
    assert holds(known.rules[0].calendar, known.holidays, instant(local)) == expected


@given(
    days=st.sets(st.sampled_from(WEEKDAYS)),
    begin=st.integers(0, 1439),
    end=st.integers(0, 1439),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]),
    at_ms=st.integers(1_700_000_000_000, 1_800_000_000_000),
)
def test_it_holds_exactly_where_a_span_that_began_on_one_of_its_days_has_not_ended(days, begin, end, zone, at_ms):
    hours = f"{begin // 60:02}:{begin % 60:02}-{end // 60:02}:{end % 60:02}"
    calendar = {"weekdays": sorted(days), "hours": hours, "timezone": zone}
    local = to_datetime(at_ms).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    length = (end - begin) % 1440 or 1440
    begins = [
        datetime.combine(local.date() - timedelta(days=back), datetime.min.time()) + timedelta(minutes=begin)
        for back in (0, 1)
    ]
    expected = any(
        start <= local < start + timedelta(minutes=length) and (not days or WEEKDAYS[start.weekday()] in days)
        for start in begins
    )
    assert holds(calendar, {}, at_ms) == expected


def suppression(name="night", matches=None, **calendar):
    return Suppression(SCOPE, name, matches or {"device": "CH-*"}, calendar, "", "kim", 0)


def enter(store, *rules):
    store.upsert(Suppression.TABLE, Suppression.columns([checked(rule, {}) for rule in rules]))


def test_all_patterns_have_to_fit_and_those_of_rules_each_rule_that_fired(store):
    anomalous(store, DEVICE, range(60, 65))
    Clock(store).look(65)
    incident = incidents(store)[FIRST]
    for matches, expected in (
        ({"device": "CH-*"}, True),
        ({"device": "RTU-*"}, False),
        ({"device": "CH-*", "building": "b-2"}, False),
        ({"building": "b-1", "rule": "ch-[12]"}, True),
        ({"point": "ch-1*"}, True),
        ({"rule": "data-loss"}, False),
    ):
        assert fits(matches, incident) == expected, matches
    anomalous(store, DEVICE, range(65, 70), "low superheat")
    Clock(store).look(70)
    assert not fits({"rule": "ch-[12]"}, incidents(store)[FIRST])


def test_what_begins_and_ends_under_a_suppression_is_recorded_and_nobody_is_told_of_either(store):
    """Neither the beginning nor an end without a beginning."""
    enter(store, suppression())
    clock = Clock(store)
    anomalous(store, DEVICE, range(60, 65))
    clock.look(65)
    store.delete(Suppression.TABLE, {"scope": [SCOPE], "suppression_id": ["night"]})
    heard(store, [DEVICE], 130)
    clock.again(130)
    assert queued(store) == []
    assert {(m.transition, m.error) for m in OutboxMessage.read(store) if m.state == "suppressed"} == {
        ("opened", "night"),
        ("resolved", "night"),
    }


def test_what_goes_on_when_the_suppression_is_over_is_told_then_and_its_end_too(store):
    enter(store, suppression(hours="00:00-02:00"))
    clock = Clock(store)
    anomalous(store, DEVICE, range(60, 125))
    clock.look(119)
    assert queued(store) == []
    clock.look(121)
    assert queued(store) == [f"{FIRST}#opened"]
    enter(store, suppression(hours="00:00-23:59"))
    clock.look(190)
    assert queued(store) == [f"{FIRST}#opened", f"{FIRST}#resolved"]


def test_a_file_that_can_not_be_used_stops_no_pass_and_those_of_the_store_hold(store, tmp_path, caplog):
    enter(store, suppression())
    file = tmp_path / "suppressions.yaml"
    file.write_text("suppressions: [{name: x, weekdays: [sunday], device: '*'}]")
    anomalous(store, DEVICE, range(60, 65))
    Clock(store).look(65, settings={"hvac_suppressions": file})
    assert queued(store, "suppressed") == [f"{FIRST}#opened"]
    assert "'sunday' is no weekday" in caplog.text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a", "not a mapping"),
        ("rules: []", "unknown key 'rules'"),
        ("suppressions: {}", None),
        ("suppressions: [a]", "not a list of mappings"),
        ("suppressions: [{name: x, devices: a}]", "unknown key 'devices'"),
        ("suppressions: [{name: 'x y', device: a}]", "is called 'x y'"),
        ("suppressions: [{name: x}]", "say what it holds for"),
        ("suppressions: [{name: x, device: a}, {name: x, device: b}]", "two suppressions are called 'x'"),
        ("suppressions: [{name: x, device: a, hours: 25:00-01:00}]", "hours are like 22:00-06:00"),
        ("suppressions: [{name: x, device: a, timezone: Mars/Base}]", "no time zone is called 'Mars/Base'"),
        ("suppressions: [{name: x, device: a, holidays: [moon]}]", "no list of holidays is called 'moon'"),
        ("suppressions: [{name: x, device: a, dates: [tomorrow]}]", "'tomorrow' is neither a day"),
        ("holidays: {a: [2027-01-01/2026-01-01]}", "not a span of at most 366 days"),
        ("a: [", "not valid YAML"),
    ],
)
def test_a_wrong_file_is_refused_in_a_line_that_names_it(tmp_path, text, said):
    file = tmp_path / "suppressions.yaml"
    file.write_text(text)
    if said is None:
        assert suppressions_of_file(file).rules == ()
        return
    with pytest.raises(SuppressionError) as refused:
        suppressions_of_file(file)
    assert str(file) in str(refused.value)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_one_of_the_file_goes_before_one_of_the_same_name_in_the_store(store, tmp_path):
    file = tmp_path / "suppressions.yaml"
    file.write_text(FILE)
    enter(store, suppression("nights"), suppression("other"))
    known = read_suppressions(store, file)
    assert [(rule.suppression_id, rule.added_by) for rule in known.rules] == [("nights", "file"), ("other", "kim")]
    assert known.holidays["national"] == {date(2026, 12, 25), date(2026, 12, 31), date(2027, 1, 1)}
