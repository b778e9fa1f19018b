"""The what-if as a person asks it in the Dagster UI: the same answer as the command's, and nothing is written."""

from __future__ import annotations

import json

import dagster as dg
import pytest
from typer.testing import CliRunner

from hvac_platform.assets.what_if import what_if
from hvac_platform.cli.main import app
from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.simulation.faults import Fault
from hvac_platform.stores.base import TableSlice
from hvac_platform.stores.tables import tables
from hvac_platform_tests.conftest import HOUR_MS, MIDNIGHT_MS, open_dagster
from hvac_platform_tests.monitoring.machines import judge, learn, simulated_windows

UNTIL_MS = MIDNIGHT_MS + 6 * HOUR_MS
COUNTED = ("recorded", "replayed", "won", "lost", "earlier", "later", "in_several_parts", "several_in_one")
UNTIL = "2025-03-11T06:00"


@pytest.fixture
def judged(platform):
    fault = Fault("CH-001", "low_flow", MIDNIGHT_MS + 3 * HOUR_MS, MIDNIGHT_MS + 4 * HOUR_MS)
    devices = simulated_windows(
        platform.store, [FleetDevice("CH-001", "chiller")], MIDNIGHT_MS - 24 * HOUR_MS, UNTIL_MS, faults=[fault]
    )
    learn(platform.store, devices["CH-001"], until_ms=MIDNIGHT_MS)
    judge(platform.store, devices["CH-001"], MIDNIGHT_MS, UNTIL_MS)
    return platform


def asked(home, platform, **config):
    with open_dagster(home) as instance:
        done = dg.materialize(
            [what_if],
            instance=instance,
            resources={"platform": platform},
            run_config={"ops": {"what_if": {"config": {"until": UNTIL, "days": 1, **config}}}},
            raise_on_error=False,
        )
        if not done.success:
            return done.failure_data_for_node("what_if").error.cause or done.failure_data_for_node("what_if").error
        (event,) = done.get_asset_materialization_events()
    return {name: value.value for name, value in event.materialization.metadata.items()}


def contents(store):
    return {name: list(store.scan(TableSlice(name, tuple(t.columns)))) for name, t in tables().items()}


@pytest.mark.parametrize(
    ("config", "options"),
    [
        ({"times_limit": 0.3}, ("--times-limit", "0.3")),
        ({"similarity": 0.9, "methods": ["profile"]}, ("--similarity", "0.9", "--methods", "profile")),
        ({"agreeing": 3}, ("--agreeing", "3")),
    ],
)
def test_it_says_what_the_command_says_and_writes_nothing(home, judged, config, options):
    before = contents(judged.store)
    told = asked(home, judged, **config)
    done = CliRunner().invoke(app, ["replay", "--from", "2025-03-10T06:00", "--until", UNTIL, *options, "--json"])
    (found,) = json.loads(done.stdout)
    counts = [len(found[name]) for name in COUNTED]
    row = f"| CH-001 | {found['windows']} | {' | '.join(map(str, counts))} |"
    assert told["by_device"].splitlines()[-1] == row
    assert (told["won"], told["lost"]) == (counts[2], counts[3])
    assert (told["in_several_parts"], told["several_in_one"]) == (counts[6], counts[7])
    assert counts[0] + counts[2] - counts[3] + counts[6] - counts[7] == counts[1]
    assert told["devices_without_a_judged_window"] == "none"
    assert told["which"].count("- won: CH-001") == counts[2]
    assert contents(judged.store) == before


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"methods": ["guess"]}, "no method guess: there are rules, profile, vector"),
        ({"agreeing": 2, "methods": ["rules"]}, "2 methods can't agree where fewer count"),
        ({"budget": 0.1, "sigma": 3.0}, "ask them apart"),
        ({"rules": "name: chiller\npoints: 5"}, "rules"),
        ({"devices": ["CH-999"]}, "not registered: CH-999"),
        ({"until": "yesterday"}, "until is a time as 2025-03-11 or 2025-03-11T06:00Z, not 'yesterday'"),
        ({"until": "0001-01-01"}, "not '0001-01-01'"),
        ({"until": ""}, "not ''"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_the_reason(home, judged, config, why):
    assert why in str(asked(home, judged, **config))


def test_a_device_with_too_few_scores_is_counted(home, judged):
    told = asked(home, judged, budget=0.1)
    assert (told["devices"], told["devices_without_an_answer"]) == (0, 1)


def test_a_device_without_a_judged_window_is_named(home, judged):
    told = asked(home, judged, until="2025-01-01")
    assert told["devices"] == 0
    assert told["devices_without_a_judged_window"] == "1 device has no judged window in that time: CH-001"
