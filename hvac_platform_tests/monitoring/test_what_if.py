"""What other limits would have shown: incidents won, lost, earlier and later, and the record stays as it is."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from hvac_platform.cli.main import app
from hvac_platform.config import load_settings
from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.monitoring.passes import Span
from hvac_platform.monitoring.what_if import Limits, compare, what_if
from hvac_platform.simulation.faults import Fault
from hvac_platform.stores.base import Device, TableSlice
from hvac_platform.stores.tables import tables
from hvac_platform.timestamps import DAY_MS
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


def replayed(*options):
    done = CliRunner().invoke(
        app, ["replay", "--from", "2025-03-11", "--until", "2025-03-11T06:00", "--json", *options]
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
    spans = [Span(device, MIDNIGHT_MS, MIDNIGHT_MS + 6 * HOUR_MS)]
    lengths = []
    for limits in (Limits(), Limits(similarity=-1.0, sigma=1_000.0)):
        ((_, compared),) = what_if(store, encoders(store), load_settings(), spans, limits, MIDNIGHT_MS + DAY_MS)
        lengths.append(sum(end - start for start, end in compared.replayed))
    assert lengths[1] < lengths[0]


def test_the_record_stays_as_it_is(store):
    before = contents(store)
    replayed("--sigma", "0.5")
    assert contents(store) == before


EPISODES = st.lists(st.integers(1, 50), min_size=0, max_size=6).map(
    lambda steps: [(sum(steps[:i]) * 100, sum(steps[:i]) * 100 + 60) for i in range(len(steps))]
)


@given(EPISODES, EPISODES)
def test_each_incident_is_kept_won_or_lost_and_no_other(recorded, other):
    found = compare(DEVICE, 0, recorded, other)
    kept = {one for one in recorded if any(one[0] < b and a < one[1] for a, b in other)}
    assert set(found.lost) == set(recorded) - kept
    assert {one for one, _ in (*found.earlier, *found.later)} <= kept
    assert all(not any(a < end and start < b for a, b in recorded) for start, end in found.won)
    assert all(after[0] < before[0] for before, after in found.earlier)
