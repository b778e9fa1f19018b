"""The routing tree: what it takes, what it refuses and where, and that what it decides is what is written and explained."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from hvac_platform.alerts import outbox
from hvac_platform.alerts.doubts import doubts
from hvac_platform.alerts.explaining import explain_rows
from hvac_platform.alerts.facts import Facts
from hvac_platform.alerts.planning import Told, Transition, plan
from hvac_platform.alerts.routing import Action, route
from hvac_platform.alerts.tree import RAISING, TOLD, AlertsFileError, Tree, parse_tree
from hvac_platform.timestamps import DAY_MS, to_ms
from hvac_platform_tests.alerts.conftest import incident, transition_row

BERLIN = ZoneInfo("Europe/Berlin")
NAMES = ("a", "b", "c")
HOURS = st.fixed_dictionaries(
    {
        "days": st.sampled_from(["mon-fri", "sat-sun", "fri-mon", "wed"]),
        "from": st.sampled_from(["00:00", "08:00", "22:00"]),
    },
    optional={"until": st.sampled_from(["06:00", "18:00", "24:00"])},
)
MATCH = st.fixed_dictionaries(
    {},
    optional={
        "building": st.sampled_from(["b-1", "b-*", ["b-2", "b-3"]]),
        "type": st.sampled_from(["chiller", "rooftop_*"]),
        "device": st.sampled_from(["D-1", "D-?"]),
        "severity": st.sampled_from(["critical", ["info", "warning"]]),
        "rule": st.sampled_from(["r-1", "r-*"]),
        "metric": st.sampled_from(["temp", "flow"]),
        "scope": st.sampled_from(["fleet", "local"]),
        "transition": st.sampled_from([["opened", "resolved"], "worsened"]),
        "during": st.lists(HOURS, min_size=1, max_size=2),
    },
)
RECEIVERS = st.lists(st.sampled_from(NAMES), max_size=3)
OPTIONS = {
    "match": MATCH,
    "receivers": RECEIVERS,
    "continue": st.booleans(),
    "resolved": st.booleans(),
    "tell": st.lists(st.sampled_from([*TOLD, "acknowledged"]), max_size=4),
    "quiet": st.lists(HOURS.map(lambda hours: hours | {"but": "critical"}), max_size=2),
    "digest": st.sampled_from(["08:00", "23:30", False]),
    "cool_down": st.sampled_from(["30m", "1d"]),
    "escalate": st.lists(
        st.fixed_dictionaries(
            {"after": st.sampled_from(["5m", "2h"]), "receivers": st.lists(st.sampled_from(NAMES), min_size=1)}
        ),
        max_size=2,
    ),
}
ROUTES = st.recursive(
    st.fixed_dictionaries({}, optional=OPTIONS),
    lambda below: st.fixed_dictionaries({}, optional=OPTIONS | {"routes": st.lists(below, max_size=3)}),
    max_leaves=6,
)


def tree_of(first, zone):
    """A tree; None where it is refused because its quiet hours never end."""
    try:
        return Tree.model_validate(
            {
                "timezone": zone,
                "buildings": {"b-2": {"timezone": "America/St_Johns"}},
                "receivers": {name: {"console": True} for name in NAMES},
                "route": {name: value for name, value in first.items() if name != "match"},
            }
        )
    except ValidationError:
        return None


TREES = st.builds(tree_of, ROUTES, st.sampled_from(["UTC", "Europe/Berlin", "Pacific/Apia"])).filter(bool)
FACTS = st.builds(
    Facts,
    incident_id=st.integers(1, 10**6).map(lambda i: f"D-{i % 10}/{i}"),
    device_id=st.just("D-1"),
    device_type=st.sampled_from(["chiller", "rooftop_unit", "cooling_tower"]),
    building_id=st.sampled_from(["b-1", "b-2", ""]),
    severity=st.sampled_from(["critical", "warning", "info"]),
    rules=st.sampled_from([(), ("r-1",), ("x-1", "r-2")]),
    metrics=st.sampled_from([(), ("temp",), ("flow", "temp")]),
    scope=st.sampled_from(["local", "fleet"]),
)
HAPPENED = st.tuples(FACTS, st.sampled_from([*TOLD, "acknowledged", "resolved/2"]))
BEGIN_MS = to_ms(datetime(2026, 3, 20, tzinfo=BERLIN))


@settings(
    max_examples=500,
    deadline=None,
    phases=(Phase.generate,),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    TREES,
    st.lists(HAPPENED, min_size=20, max_size=20, unique_by=lambda h: h[0].incident_id),
    st.integers(BEGIN_MS, BEGIN_MS + 30 * DAY_MS),
)
def test_what_is_explained_is_what_is_written_and_nothing_goes_unrouted_without_a_word(tree, happened, at_ms):
    """10,000 pairs of random trees and incidents, over the weeks in which summer time begins."""
    transitions = [Transition(facts, key, at_ms) for facts, key in happened]
    planned = plan(tree, transitions, Told(), at_ms)
    written = outbox.rows_of(planned, {}, at_ms)
    unheard = {
        (i, one.transition): one.decision.reason for one in planned if not one.decision.receiver for i in one.incidents
    }
    for transition in transitions:
        facts, key = transition.facts, transition.transition
        row = transition_row(incident(facts.device_id, 1, incident_id=facts.incident_id), key, at_ms)
        row = row.__class__(
            **{n: getattr(row, n) for n in row.__dataclass_fields__}
            | {"state": "planned", "error": unheard.get((facts.incident_id, key))}
        )
        explained = [one.decision for one in explain_rows(facts.incident_id, [row, *written])]
        assert explained
        assert all(decision.reason for decision in explained)
        routed = {(d.receiver, d.step): d for d in route(tree, facts, key, at_ms) if d.receiver}
        assert {(d.receiver, d.step) for d in explained if d.receiver} == routed.keys()
        for decision in explained:
            wanted = routed.get((decision.receiver, decision.step), decision)
            if decision.reason.startswith("cool-down"):
                assert (decision.action, decision.route) == (Action.HOLD, wanted.route)
                assert decision.due_ms >= at_ms + wanted.cool_down_ms
                continue
            known = decision.reason.startswith(("it was not told", "part of"))
            assert (decision.action, decision.due_ms, decision.route) == (
                Action.NOTHING if known else wanted.action,
                wanted.due_ms,
                wanted.route,
            )
        for decision in route(tree, facts, key, at_ms):
            later = decision.action in (Action.HOLD, Action.DIGEST, Action.ESCALATE)
            assert (decision.due_ms > at_ms) if later else (decision.due_ms == at_ms)
            assert decision.due_ms <= at_ms + 9 * DAY_MS
    told = {(i, row.receiver) for row in written if row.state == "waiting" for i in row.incidents}
    begun = {facts.incident_id for facts, key in happened if key.partition("/")[0] in RAISING}
    ends = {
        (f.incident_id, r) for f, key in happened for i, r in told if i == f.incident_id and key.startswith("resolved")
    }
    assert {i for i, _ in ends} <= begun  # no end is told to whom no beginning was


TREE = """
timezone: Europe/Berlin
receivers:
  phone: {apprise: "ntfy://${TOPIC}"}
  screen: {console: true}
route:
  receivers: [screen]
  quiet: [{from: 22:00, until: 06:00}]
  routes:
    - name: low
      match: {severity: info}
      digest: 08:00
    - name: weekdays
      match: {building: b-*, during: [{days: mon-fri, from: 08:00, until: 18:00}]}
      receivers: [phone]
      continue: true
    - name: chillers
      match: {type: chiller, rule: ch-*}
      resolved: false
"""


@pytest.fixture(scope="module")
def tree():
    return parse_tree(TREE, {"TOPIC": "x"})


def decisions(tree, local, transition="opened", **facts):
    at_ms = to_ms(datetime.fromisoformat(local).replace(tzinfo=BERLIN))
    found = route(tree, Facts("D/1", "D", **{"severity": "warning", **facts}), transition, at_ms)
    return [(d.receiver, str(d.action), (d.due_ms - at_ms) / 3_600_000) for d in found]


def test_routes_match_by_facts_and_local_time_and_continue_only_where_told_to(tree):
    assert decisions(tree, "2026-03-11T12:00") == [("screen", "send", 0)]
    assert decisions(tree, "2026-03-11T12:00", building_id="b-1") == [("phone", "send", 0)]
    both = decisions(tree, "2026-03-11T12:00", building_id="b-1", device_type="chiller", rules=("ch-1",))
    assert both == [("phone", "send", 0), ("screen", "send", 0)]
    assert decisions(tree, "2026-03-14T12:00", building_id="b-1") == [("screen", "send", 0)]  # a Saturday
    end = decisions(tree, "2026-03-11T12:00", "resolved", device_type="chiller", rules=("ch-1",))
    assert end == [("screen", "nothing", 0)]


@pytest.mark.parametrize(
    ("local", "severity", "expected"),
    [
        ("2026-03-10T23:00", "warning", ("screen", "hold", 7)),
        ("2026-03-10T23:00", "critical", ("screen", "send", 0)),
        ("2026-03-10T05:59", "warning", ("screen", "hold", 1 / 60)),
        ("2026-03-10T06:00", "warning", ("screen", "send", 0)),
        ("2026-03-28T23:00", "warning", ("screen", "hold", 6)),  # summer time begins in this night
        ("2026-10-24T23:00", "warning", ("screen", "hold", 8)),  # and ends in this one
        ("2026-03-10T09:00", "info", ("screen", "digest", 23)),
        ("2026-03-28T09:00", "info", ("screen", "digest", 22)),
    ],
)
def test_quiet_hours_and_digests_go_by_the_clock_of_the_site(tree, local, severity, expected):
    assert decisions(tree, local, severity=severity) == [pytest.approx(expected)]


def test_what_comes_through_quiet_hours_is_explained_by_them(tree):
    at_ms = to_ms(datetime(2026, 3, 10, 23, tzinfo=BERLIN))
    (decision,) = route(tree, Facts("D/1", "D", severity="critical"), "opened", at_ms)
    assert decision.reason.endswith("; quiet hours let critical through")
    (decision,) = route(tree, Facts("D/1", "D", severity="critical"), "opened", at_ms + 12 * 3_600_000)
    assert "quiet" not in decision.reason


A = "receivers: {a: {console: true}}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "not valid YAML"),
        ("[]", "line 1: must be a mapping"),
        (A + "route:\n  receivers: [b]\n", "line 3: route.receivers: there is no receiver 'b'; receivers are a"),
        (A + "route:\n  routes:\n    - cooldown: 3m\n", "line 4: route.routes[0].cooldown: there is no such key here"),
        (A + "route:\n  cool_down: 3\n", "line 3: route.cool_down: must be a period such as 30s"),
        (A + "route:\n  quiet:\n  - {from: 25:00}\n", "line 4: route.quiet[0].from: must be a time of day"),
        (A + "route:\n  quiet:\n  - {days: someday}\n", "line 4: route.quiet[0].days: 'someday' is no day"),
        (
            A + "route:\n  quiet:\n  - {days: mon-sun}\n",
            "line 3: route.quiet: quiet hours of severity warning never end",
        ),
        (A + "route:\n  match: {type: x}\n", "line 3: route.match: the first route takes every incident"),
        (A + "timezone: Mars/Base\nroute: {}\n", "line 2: timezone: unknown timezone 'Mars/Base'"),
        (
            "receivers:\n  a: {}\nroute: {}\n",
            "line 2: receivers.a: must have one of apprise, email, webhook and console",
        ),
        ("receivers: {a b: {console: true}}\nroute: {}\n", "line 1: receivers: 'a b' is no name"),
        (
            "receivers:\n  a:\n    apprise: ${NOWHERE}\nroute: {}\n",
            "line 3: receivers.a.apprise: the environment has no NOWHERE",
        ),
        ("receivers: {a: {webhook: {url: 'ftp://TOKEN'}}}\nroute: {}\n", "url: must begin with https:// or http://"),
        (A + "group_wait: 1m\nroute: {}\n", "line 2: group_wait: Input should be less than or equal to 3000"),
        (A, "line 1: route: Field required"),
        (
            A + "route: {tell: [openend]}\n",
            "line 2: route.tell: there is no transition 'openend'; they are opened, worsened",
        ),
        (
            A + "route:\n  routes:\n    - match: {transition: open}\n      receivers: [a]\n",
            "line 4: route.routes[0].match.transition: there is no transition 'open'",
        ),
        (
            "receivers: {a: {webhook: {url: 'https://x', secret: 'whsec_%%%'}}}\nroute: {}\n",
            "webhook.secret: a secret that begins with whsec_ goes on in base64",
        ),
        (
            "receivers: {a: {email: {to: a@b, from: a@b, server: '127.0.0.1:25'}}}\nroute: {}\n",
            "email.server: must be the name or address of a server alone; its port goes in port",
        ),
    ],
)
def test_what_is_wrong_in_the_file_is_named_with_its_line_and_path_and_without_secrets(text, said):
    with pytest.raises(AlertsFileError) as refused:
        parse_tree(text, {})
    assert said in str(refused.value)
    assert "TOKEN" not in str(refused.value)


def test_a_secret_shows_nowhere(tree):
    hidden = parse_tree(TREE, {"TOPIC": "token-4711"})
    assert "token-4711" not in f"{hidden!r}{hidden.model_dump_json()}"


@pytest.mark.parametrize(
    ("route", "said"),
    [
        (
            "receivers: [a], routes: [{match: {type: chillr}}]",
            "match.type: nothing that is known is called 'chillr': is chiller",
        ),
        ("receivers: [a], routes: [{match: {rule: [ch-1, ch-99]}}]", "rule: nothing that is known is called 'ch-99'"),
        (
            "receivers: [a], routes: [{match: {metric: supply_temp}}]",
            "metric: nothing that is known is called 'supply_temp'",
        ),
        ("receivers: [a], routes: [{match: {kind: bananas}}]", "kind: nothing that is known is called 'bananas'"),
        (
            "routes: [{match: {type: chiller}, receivers: [a]}]",
            "route: it has no receivers, so nobody is told of what no",
        ),
        (
            "receivers: [a], routes: [{}, {match: {severity: critical}}]",
            "route.routes[1]: nothing comes to it, because",
        ),
        ("receivers: [a], routes: [{name: x, match: {type: chiller}}, {name: x}]", "2 routes are called 'x'"),
    ],
)
def test_what_can_hardly_be_meant_is_doubtful_and_can_be_used_all_the_same(route, said):
    (doubt,) = doubts(parse_tree(f"{A}route: {{{route}}}\n", {}))
    assert said in doubt


def test_names_that_are_known_and_patterns_of_them_are_not_doubtful():
    match = (
        "{type: [chiller, platform], rule: ['ch-*', device], metric: supply_air_temp, kind: 'stuck_*', building: b-9}"
    )
    assert (
        doubts(parse_tree(f"{A}route: {{receivers: [a], routes: [{{match: {match}, continue: true}}, {{}}]}}\n", {}))
        == []
    )
    with pytest.raises(AlertsFileError, match="nobody is told of 'commented', it is in the history alone"):
        parse_tree(A + "route: {receivers: [a], tell: [commented]}\n", {})
