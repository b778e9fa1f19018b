"""What a person reads of a day's incidents in the Dagster UI: a table with costs, plots, and never too much of it."""

from __future__ import annotations

import base64
import re
from xml.etree import ElementTree

import pytest

from hvac_platform.assets.incident_plots import LISTED, PLOTTED, incidents_told
from hvac_platform.config import load_settings
from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.execution import run_job
from hvac_platform.schedules import partition_tags
from hvac_platform.simulation.faults import Fault
from hvac_platform.stores.records import Incident
from hvac_platform.timestamps import DAY_MS, day_of
from hvac_platform_tests.conftest import HOUR_MS, MIDNIGHT_MS, open_dagster
from hvac_platform_tests.monitoring.machines import judge, learn, simulated_windows
from hvac_platform_tests.monitoring.metered import CHILLER, draws, incident, metered_chiller

LARGEST = 150_000
"""Bytes of all that is told of a day's incidents."""


@pytest.fixture
def priced(home, monkeypatch):
    (home / "tariffs.yaml").write_text("name: example prices\ncurrency: EUR\nprice: 0.25\n")
    monkeypatch.setenv("HVAC_TARIFFS", str(home / "tariffs.yaml"))
    monkeypatch.setenv("HVAC_WINDOW_SECONDS", "300")


def pictures(markdown):
    """The drawings of a text."""
    found = re.findall(r"!\[plot\]\(data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)\)", markdown)
    return [ElementTree.fromstring(base64.b64decode(one)) for one in found]


def test_an_incident_says_why_what_it_costs_a_day_and_shows_what_moved(priced, platform):
    """Six hours at 40 kW beyond 100: 960 kWh a day."""
    metered_chiller(platform.store)
    draws(platform.store, MIDNIGHT_MS - HOUR_MS, MIDNIGHT_MS, 100.0)
    draws(platform.store, MIDNIGHT_MS, MIDNIGHT_MS + 6 * HOUR_MS, 140.0)
    one = incident(MIDNIGHT_MS, 6, metrics=["power_consumption"], reasons=["power 140 kW | far <b>off</b>"])
    told = incidents_told(platform.store, load_settings(), [CHILLER], [one])
    row = told["incidents"].splitlines()[-1]
    assert row.startswith(f"| CH-001/{MIDNIGHT_MS} | 2025-03-11 00:00 | 6 h 0 min | warning |")
    assert "240.00 EUR (210.00 to 270.00) a day at example prices |" in row
    assert "power 140 kW &#124; far &lt;b&gt;off&lt;/b&gt;" in row
    assert row.count("|") == 9, "what comes from outside ends no cell"
    (drawn,) = pictures(told["incident_plots"])
    assert "power (kW)" in [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert "Costs about 240.00 EUR" in told["incident_plots"]


def test_a_day_without_an_incident_says_so(priced, platform):
    assert incidents_told(platform.store, load_settings(), [CHILLER], []) == {"incidents": "No incident."}


def test_what_is_told_is_bounded_whatever_there_is(priced, platform):
    metered_chiller(platform.store)
    draws(platform.store, MIDNIGHT_MS, MIDNIGHT_MS + DAY_MS, 140.0)
    reasons = ["x" * 5_000] * 50
    many = [
        incident(MIDNIGHT_MS + n * 60_000, 1, metrics=["power_consumption"], reasons=reasons, urgency=float(n))
        for n in range(500)
    ]
    told = incidents_told(platform.store, load_settings(), [CHILLER], many)
    assert "500 incidents (0 critical, 500 warning, 0 info), the most urgent first; 470 more" in told["incidents"]
    assert sum(line.startswith("| CH-001/") for line in told["incidents"].splitlines()) == LISTED
    assert f"| {many[-1].incident_id} |" in told["incidents"], "the most urgent are told"
    assert len(pictures(told["incident_plots"])) == PLOTTED
    assert sum(len(text.encode()) for text in told.values()) < LARGEST


def test_the_report_of_a_day_has_its_incidents(home, platform):
    fault = Fault("CH-001", "low_flow", MIDNIGHT_MS + 3 * HOUR_MS, MIDNIGHT_MS + 4 * HOUR_MS)
    until_ms = MIDNIGHT_MS + 6 * HOUR_MS
    devices = simulated_windows(
        platform.store, [FleetDevice("CH-001", "chiller")], MIDNIGHT_MS - DAY_MS, until_ms, faults=[fault]
    )
    learn(platform.store, devices["CH-001"], until_ms=MIDNIGHT_MS)
    judge(platform.store, devices["CH-001"], MIDNIGHT_MS, until_ms)
    day = day_of(MIDNIGHT_MS)
    with open_dagster(home) as instance:
        run_job("detection", instance, partition_tags(day, day))
        done = run_job("report", instance, partition_tags(day, day))
        (event,) = done.get_asset_materialization_events()
    metadata = event.materialization.metadata
    stored = Incident.read(platform.store, "CH-001", (MIDNIGHT_MS, MIDNIGHT_MS + DAY_MS))
    assert stored
    for one in stored:
        assert f"| {one.incident_id} | " in metadata["incidents"].value
    drawn = pictures(metadata["incident_plots"].value)
    assert drawn
    words = [text.text for one in drawn for text in one.iter("{http://www.w3.org/2000/svg}text")]
    assert "normal would have been" in words
    assert stored[0].incident_id in metadata["incident_plots"].value
