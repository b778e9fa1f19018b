"""What other limits would have shown: incidents won, lost, earlier and later, and the record stays as it is."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from hvac_platform.cli.main import app
from hvac_platform.config import load_settings
from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.devices.registry import BUILT_IN_FOLDER
from hvac_platform.monitoring.maintenance import enter
from hvac_platform.monitoring.passes import Span
from hvac_platform.monitoring.what_if import (
    Limits,
    OfScores,
    anomalous_by_scores,
    compare,
    judged_again,
    limits_for_budget,
)
from hvac_platform.simulation.faults import Fault
from hvac_platform.stores.base import Device, TableSlice
from hvac_platform.stores.series import VerdictSeries
from hvac_platform.stores.tables import tables
from hvac_platform.timestamps import DAY_MS, parse_instant
from hvac_platform_tests.conftest import HOUR_MS, MIDNIGHT_MS
from hvac_platform_tests.monitoring.machines import encoders, judge, learn, simulated_windows

CHILLER = FleetDevice("CH-001", "chiller")
FLOW = Fault("CH-001", "low_flow", MIDNIGHT_MS + 3 * HOUR_MS, MIDNIGHT_MS + 4 * HOUR_MS)
DEVICE = Device("CH-001", "chiller", "", "", 0, 0, 0)


@pytest.fixture
def store(platform):
    """A chiller with a fault in the third of six hours that were judged."""
    devices = simulated_windows(
        platform.store, [CHILLER], MIDNIGHT_MS - DAY_MS, MIDNIGHT_MS + 6 * HOUR_MS, faults=[FLOW]
    )
    learn(platform.store, devices["CH-001"], until_ms=MIDNIGHT_MS)
    judge(platform.store, devices["CH-001"], MIDNIGHT_MS, MIDNIGHT_MS + 6 * HOUR_MS)
    return platform.store


FROM = ("--from", "2025-03-11")


def replayed(*options):
    done = CliRunner().invoke(
        app,
        ["replay", "--until", "2025-03-11T06:00", "--json", *(options if "--from" in options else [*FROM, *options])],
    )
    assert done.exit_code == 0, done.output
    (found,) = json.loads(done.stdout)
    return found


def contents(store):
    return {name: list(store.scan(TableSlice(name, tuple(t.columns)))) for name, t in tables().items()}


def test_the_same_limits_show_what_is_on_record(store):
    found = replayed()
    assert found["windows"] == 360
    assert len(found["recorded"]) >= 1
    assert found["replayed"] == found["recorded"]
    assert found["won"] == found["lost"] == found["earlier"] == found["later"] == []


def test_tighter_limits_tell_incidents_earlier_and_wider_ones_flag_fewer_windows(store):
    assert replayed("--sigma", "0.5")["earlier"]
    (device,) = store.devices()
    span = Span(device, MIDNIGHT_MS, MIDNIGHT_MS + 6 * HOUR_MS)
    lengths = []
    for limits in (Limits(), Limits(similarity=-1.0, sigma=1_000.0)):
        compared = judged_again(store, encoders(store), load_settings(), span, limits, MIDNIGHT_MS + DAY_MS)
        lengths.append(sum(end - start for start, end in compared.replayed))
    assert lengths[1] < lengths[0]


@pytest.mark.parametrize("limits", [("--similarity", "0.9"), ("--sigma", "2"), ("--similarity", "0.5", "--sigma", "9")])
def test_fixed_limits_on_kept_scores_say_what_judging_again_says(store, limits):
    from_scores, again = replayed(*limits), replayed(*limits, "--judge-again")
    assert from_scores == again
    assert from_scores["replayed"] != replayed("--judge-again")["replayed"]


def test_fixed_limits_go_together_with_what_else_scores_say(store):
    found = replayed("--similarity", "-1", "--sigma", "1000", "--methods", "profile")
    assert found["recorded"] != []
    assert found["replayed"] == []


def test_windows_of_which_too_little_was_read_stay_unjudged_with_fixed_limits(store):
    half_past = MIDNIGHT_MS + HOUR_MS // 2
    tight = ("--similarity", "1", "--sigma", "0.1", "--methods", "profile")

    def covered():
        spans = [(parse_instant(one["from"]), parse_instant(one["until"])) for one in replayed(*tight)["replayed"]]
        return any(start <= half_past < end for start, end in spans)

    assert covered()
    unread = {
        "snapshot_time": list(range(MIDNIGHT_MS, MIDNIGHT_MS + HOUR_MS, 60_000)),
        **{name: [value] * 60 for name, value in (("device_id", "CH-001"), ("method", "profile"), ("score", math.nan))},
        **{
            name: [value] * 60 for name, value in (("anomalous", False), ("level", 0), ("reasons", ()), ("metrics", ()))
        },
        **{name: [0] * 60 for name in ("profile_version", "revision")},
    }
    store.upsert("snapshot_verdicts", unread)
    assert not covered()


@pytest.mark.parametrize("options", [("--sigma", "0.5"), ("--times-limit", "0.5")])
def test_the_record_stays_as_it_is(store, options):
    before = contents(store)
    replayed(*options)
    assert contents(store) == before


def test_kept_scores_with_the_limits_that_they_had_are_the_record(store):
    for options in (("--times-limit", "1"), ("--methods", "rules,profile,vector"), ("--agreeing", "1")):
        found = replayed(*options)
        assert found["windows"] == 360
        assert found["replayed"] == found["recorded"] != []


def test_kept_scores_say_what_wider_and_tighter_limits_fewer_methods_and_agreement_would_have_shown(store):
    def length(*options):
        told = replayed(*options)["replayed"]
        return sum(parse_instant(one["until"]) - parse_instant(one["from"]) for one in told)

    recorded = length("--times-limit", "1")
    assert length("--times-limit", "0.3") > recorded > length("--times-limit", "1000")
    assert recorded >= length("--methods", "profile")
    assert recorded > length("--agreeing", "3")
    assert length("--times-limit", "1000") == length("--methods", "rules")


@pytest.fixture
def two_days(store):
    """The same chiller, the day before its six hours judged too."""
    (device,) = store.devices()
    judge(store, device, MIDNIGHT_MS - DAY_MS, MIDNIGHT_MS)
    return store


def test_a_smaller_budget_is_a_wider_limit_and_the_calibrated_one_is_the_record(two_days):
    def flagged(*options):
        found = replayed("--from", "2025-03-10", *options)
        spans = [(parse_instant(one["from"]), parse_instant(one["until"])) for one in found["replayed"]]
        return found, sum(end - start for start, end in spans)

    same, recorded = flagged("--budget", str(load_settings().hvac_false_alarms_per_day))
    assert same["replayed"] == same["recorded"] != []
    lengths = [flagged("--budget", budget)[1] for budget in ("0.01", "1", "200")]
    assert lengths == sorted(lengths)
    assert lengths[0] <= recorded < lengths[2]


@given(st.floats(0.01, 1), st.floats(1, 100), st.integers(0, 2**32 - 1))
def test_limits_of_a_budget_are_wider_the_smaller_it_is(smaller, larger, seed):
    scores = np.random.default_rng(seed).gamma(2.0, 0.1, 3000)
    verdicts = {
        "profile": VerdictSeries(np.arange(3000), scores, scores > 1),
        "rules": VerdictSeries(*[np.zeros(0)] * 3),
    }
    found = [limits_for_budget(verdicts, 60_000, budget, 1.0) for budget in (smaller, 1.0, larger)]
    assert [set(one) for one in found] == [{"profile"}] * 3
    assert found[0]["profile"] >= found[1]["profile"] == 1.0 >= found[2]["profile"]


def test_a_budget_cannot_be_answered_from_less_than_a_day_of_scores(store):
    done = CliRunner().invoke(app, ["replay", "--from", "2025-03-11", "--until", "2025-03-11T06:00", "--budget", "0.1"])
    assert done.exit_code == 1
    assert "CH-001:" in done.stderr
    assert "a day of them, 1440, is needed to say what another budget does" in " ".join(done.stderr.split())


def test_other_rules_are_tried_on_devices_of_their_type(store, tmp_path):
    text = (BUILT_IN_FOLDER / "chiller.yaml").read_text()
    same, strict = tmp_path / "same.yaml", tmp_path / "strict.yaml"
    same.write_text(text)
    strict.write_text(text.replace("min_delta_t: {value: 4,", "min_delta_t: {value: 40,"))
    assert replayed("--rules", str(same))["replayed"] == replayed("--rules", str(same))["recorded"]
    differs = tmp_path / "differs.yaml"
    differs.write_text("{name: chiller, parameters: {min_delta_t: 40}}")
    found = replayed("--rules", str(strict), "--methods", "rules")
    assert replayed("--rules", str(differs), "--methods", "rules") == found
    length = sum(parse_instant(one["until"]) - parse_instant(one["from"]) for one in found["replayed"])
    assert length > 4 * HOUR_MS  # no chiller has so much between supply and return


def test_rules_of_another_type_or_none_are_refused(store, tmp_path):
    broken = tmp_path / "broken.yaml"
    broken.write_text("name: chiller\npoints: 5\n")
    for file, why in ((BUILT_IN_FOLDER / "rooftop_unit.yaml", "no rooftop_unit"), (broken, "broken.yaml")):
        done = CliRunner().invoke(app, ["replay", "--rules", str(file)])
        assert done.exit_code == 2
        assert why in " ".join(done.stderr.split())


def test_tighter_limits_alarm_of_nothing_in_maintenance(store):
    hours = [(MIDNIGHT_MS, MIDNIGHT_MS + 2 * HOUR_MS), (MIDNIGHT_MS + 5 * HOUR_MS, MIDNIGHT_MS + 6 * HOUR_MS)]
    tight = ("--times-limit", "0.05")

    def within(told):
        spans = [(parse_instant(one["from"]), parse_instant(one["until"])) for one in told]
        return any(start < b and a < end for start, end in spans for a, b in hours)

    assert within(replayed(*tight)["replayed"])
    for start_ms, end_ms in hours:
        enter(store, "CH-001", start_ms, end_ms, "", MIDNIGHT_MS)
    assert not within(replayed(*tight)["replayed"])


@pytest.mark.parametrize(
    "options",
    [
        ("--from", "2030-01-01"),
        ("--times-limit", "2", "--judge-again"),
        ("--budget", "2", "--sigma", "3"),
        ("--methods", "guess"),
        ("--methods", ","),
        ("--methods", "rules", "--agreeing", "2"),
        ("--agreeing", "0"),
        ("--times-limit", "nan"),
    ],
)
def test_what_kept_scores_cannot_answer_is_refused(store, options):
    assert CliRunner().invoke(app, ["replay", *options]).exit_code == 2


SCORES = st.lists(st.floats(0, 10), min_size=1, max_size=20)


@given(st.dictionaries(st.sampled_from(["rules", "profile", "vector"]), SCORES), st.integers(1, 3))
def test_fewer_windows_alarm_the_wider_the_limit_and_the_more_have_to_agree(scores, agreeing):
    verdicts = {
        name: VerdictSeries(np.arange(len(values)), np.array(values), np.array(values) > 1)
        for name, values in scores.items()
    }
    found = [anomalous_by_scores(verdicts, OfScores(limit, None, agreeing))[1] for limit in (0.5, 1.0, 2.0)]
    assert all((wider <= tighter).all() for tighter, wider in pairwise(found))
    windows, all_of_them = anomalous_by_scores(verdicts, OfScores(agreeing=1))
    assert (found[1] <= all_of_them).all()
    assert len(windows) == max(map(len, scores.values()), default=0)


EPISODES = st.lists(st.integers(1, 50), min_size=0, max_size=6).map(
    lambda steps: [(sum(steps[:i]) * 100, sum(steps[:i]) * 100 + 60) for i in range(len(steps))]
)


EPISODES_OF_ANY_LENGTH = st.lists(st.integers(1, 30), max_size=16).map(
    lambda steps: list(pairwise(np.cumsum(steps).tolist()))[::2]
)


@given(EPISODES, EPISODES)
def test_each_incident_is_kept_won_or_lost_and_no_other(recorded, other):
    found = compare(DEVICE, 0, recorded, other)
    kept = {one for one in recorded if any(one[0] < b and a < one[1] for a, b in other)}
    assert set(found.lost) == set(recorded) - kept
    assert {one for one, _ in (*found.earlier, *found.later)} <= kept
    assert all(not any(a < end and start < b for a, b in recorded) for start, end in found.won)
    assert all(after[0] < before[0] for before, after in found.earlier)


@given(EPISODES_OF_ANY_LENGTH, EPISODES_OF_ANY_LENGTH)
def test_the_counts_add_up(recorded, tried):
    found = compare(DEVICE, 0, recorded, tried)
    differs = len(found.won) - len(found.lost) + len(found.in_several_parts) - len(found.several_in_one)
    assert len(found.recorded) + differs == len(found.replayed)
    overlap = {(one, other) for one in recorded for other in tried if one[0] < other[1] and other[0] < one[1]}
    assert {*found.in_several_parts, *found.several_in_one} <= overlap


def test_an_incident_in_parts_and_several_in_one_are_counted():
    parts, whole = [(0, 10), (20, 30), (40, 50)], [(0, 50)]
    assert compare(DEVICE, 0, whole, parts).in_several_parts == (((0, 50), (20, 30)), ((0, 50), (40, 50)))
    assert compare(DEVICE, 0, parts, whole).several_in_one == (((20, 30), (0, 50)), ((40, 50), (0, 50)))


def test_a_device_without_a_judged_window_is_told(store):
    store.register_devices([Device(f"AA-{n}", "chiller", "", "", 0, 0, 0) for n in range(5)])
    done = CliRunner().invoke(app, ["replay", *FROM, "--until", "2025-03-11T06:00", "--times-limit", "2"])
    assert done.exit_code == 0
    said = " ".join(done.stderr.split())
    assert "5 devices have no judged window in that time: AA-0, AA-1, AA-2, AA-3 and 1 more" in said
