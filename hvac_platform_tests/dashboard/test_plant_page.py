"""The page of plants: levels, what is open, and nothing of what its reader does not see."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hvac_platform.config import Settings
from hvac_platform.dashboard.device_states import FleetBoards
from hvac_platform.dashboard.pages.plant import FED_SHOWN, MOST_DEVICES, render
from hvac_platform.stores.base import Device
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.records import Incident
from hvac_platform.timestamps import now_ms
from hvac_platform_tests.dashboard.conftest import incident, settings_of

FEEDS = {"CT-1": ["CH-1", "CH-2"], "CH-1": ["MAU-1"], "CH-9": ["RTU-9"]}


def device(device_id: str) -> Device:
    return Device(device_id, "chiller", "roof", "b-1", 0, now_ms(), 0)


@pytest.fixture
def store(tmp_path: Path) -> EmbeddedStore:
    made = EmbeddedStore(tmp_path / "store.db")
    made.register_devices([device(name) for name in ("MAU-1", "CH-2", "CH-1", "CT-1", "RTU-1", "RTU-9")])
    return made


def shown(store: EmbeddedStore, tmp_path: Path, feeds: dict[str, list[str]] | None = None) -> str:
    file = tmp_path / "fleet.json"
    file.write_text(json.dumps({"feeds": FEEDS if feeds is None else feeds}))
    settings: Settings = settings_of(tmp_path, hvac_fleet=file)
    return json.dumps(render(store, settings, FleetBoards(settings, lambda: None, None)).to_plotly_json(), default=vars)


def test_levels_follow_what_feeds_what_and_devices_alone_are_in_no_plant(store, tmp_path):
    text = shown(store, tmp_path)
    order = [text.index(f'/device/{name}"') for name in ("CT-1", "CH-1", "MAU-1")]
    assert order == sorted(order)
    assert text.count("Levels of the plant") == 1  # what feeds RTU-9 has not been heard
    assert "RTU-1" not in text
    assert "RTU-9" not in text
    assert "none with an open incident" in text


def test_what_is_open_is_told_with_its_first_reason_and_what_follows_leads_to_its_root(store, tmp_path):
    root = incident("CT-1", now_ms() - 60_000, severity="critical", reasons=["fan stands still"])
    part = replace(incident("CH-1", now_ms() - 50_000), parent_id=root.incident_id, scope="plant")
    store.upsert(Incident.TABLE, Incident.columns([root, part]))
    text = shown(store, tmp_path)
    assert "2 with an open incident" in text
    assert "fan stands still" in text
    assert "follows from what feeds it" in text
    assert text.count(f"/incident/{root.incident_id}") == 2


def test_of_a_very_large_plant_what_is_ill_and_near_it_is_shown(store, tmp_path):
    many = [f"AHU-{i:04d}" for i in range(MOST_DEVICES + 10)]
    store.register_devices([device(name) for name in many])
    store.upsert(Incident.TABLE, Incident.columns([incident("AHU-0007", now_ms() - 60_000)]))
    text = shown(store, tmp_path, {"CT-1": many})
    assert text.count('"/device/') == 2 + FED_SHOWN  # the tower, the ill one, and some of what the tower feeds
    assert f"{len(many) - 1} more devices are well" in text


def test_without_a_topology_the_page_says_how_to_write_one(store, tmp_path):
    assert "HVAC_FLEET names" in shown(store, tmp_path, {})
