"""The map of a device's states: what is on it, when it is drawn, and what it costs the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hvac_platform.dashboard.app import make_app
from hvac_platform.monitoring import state_map as module
from hvac_platform.monitoring.state_map import MOST_CLOUD, state_map
from hvac_platform.stores.base import Device
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.timestamps import DAY_MS
from hvac_platform_tests.conftest import HOUR_MS
from hvac_platform_tests.dashboard.conftest import EVIL, START_MS, Browser, CountingStore, settings_of


@pytest.fixture
def store(filled: Path) -> EmbeddedStore:
    return EmbeddedStore(filled / "store.db")


def chiller(store: EmbeddedStore) -> Device:
    return next(device for device in store.devices() if device.device_id == "CH-001")


def test_normal_states_are_told_apart_by_mode_and_a_fault_lies_off_them(filled: Path, store: EmbeddedStore) -> None:
    found = state_map(store, chiller(store), settings_of(filled))
    assert found is not None
    assert sum(map(len, found.cloud.values())) == MOST_CLOUD
    assert [len(places) for places in found.cloud.values()] == sorted(map(len, found.cloud.values()), reverse=True)
    assert any(name.endswith((" high", " low", " on", " off", "all")) for name in found.cloud)
    assert (np.diff(found.path_ms) > 0).all()
    assert found.path_ms[-1] == START_MS + DAY_MS - 60_000
    assert found.flagged.sum() > 150, "every anomalous window of the day is on the path"
    cloud = np.concatenate(list(found.cloud.values()))

    def off(places: Any) -> float:
        """Distance to the nearest normal state, the median."""
        return float(np.median(np.linalg.norm(places[:, None] - cloud[None], axis=2).min(axis=1)))

    assert off(found.path[found.flagged]) > 3 * off(found.path[~found.flagged])
    (one,) = found.incidents
    assert one.incident.started_at == START_MS + 20 * HOUR_MS


def test_it_is_drawn_when_it_is_opened_and_at_no_refresh(filled: Path) -> None:
    browser = Browser(make_app(settings_of(filled)))
    assert "device-map.children" not in browser.ask("device-message.children", device_id__data="CH-001")
    answer = browser.ask("device-map.children", device_id__data="CH-001", device_map_open__n_clicks=1)
    drawn = str(answer["device-map.children"])
    for words in (
        "normal windows of the last week",
        "1 incident.",
        "path of the last day",
        "newest state",
        "incident, warning",
    ):
        assert words in drawn
    assert "<script>" not in drawn
    assert browser.ask("device-map.children", device_id__data="CH-001", device_map_open__n_clicks=2) == {}, (
        "it was shut"
    )


@pytest.mark.parametrize("device", [EVIL, "CH-999"])
def test_where_there_is_too_little_it_is_said(filled: Path, device: str) -> None:
    browser = Browser(make_app(settings_of(filled)))
    drawn = browser.text("device-map.children", device_id__data=device, device_map_open__n_clicks=1)
    assert ("too few of its normal windows" if device == EVIL else "no device of this name") in drawn.lower()
    assert '"data"' not in drawn


def test_a_store_is_asked_little_and_of_short_windows_a_part(
    filled: Path, store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting: Any = CountingStore(store)
    assert state_map(counting, chiller(store), settings_of(filled)) is not None
    assert counting.calls.count("scan device_state_snapshots") == 1
    assert len(counting.calls) == 4, "profile, windows, modes, incidents"
    monkeypatch.setattr(module, "MOST_READ", 480)  # as if a week had many more windows than are read
    part = state_map(store, chiller(store), settings_of(filled))
    assert part is not None
    assert MOST_CLOUD > sum(map(len, part.cloud.values())) > 50
    assert part.path_ms[-1] == START_MS + DAY_MS - 60_000
    assert len(part.incidents) == 1
