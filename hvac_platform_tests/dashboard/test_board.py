"""The state of a fleet: statuses, and a bound on what a refresh asks of the store."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import pytest

from hvac_platform.dashboard.app import make_app
from hvac_platform.dashboard.device_states import DEVICES_PER_REFRESH, FleetBoard, Status, status_of
from hvac_platform.dashboard.reading import DeviceState
from hvac_platform.dashboard.source import Remembered
from hvac_platform.stores.base import Device
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.records import Incident
from hvac_platform.timestamps import now_ms
from hvac_platform_tests.dashboard.conftest import Browser, CountingStore, incident, settings_of
from hvac_platform_tests.dashboard.test_pages import FixedSource

NOW = 1_760_000_000_000
SILENCE_MS = 120_000
FLEET_SIZE = 1_000


def device(device_id: str = "CH-001", last_seen: int = NOW, device_type: str = "chiller") -> Device:
    return Device(device_id, device_type, "roof", "b1", 0, last_seen, 0)


@pytest.mark.parametrize(
    ("age_ms", "state", "profiled", "status"),
    [
        (0, None, True, Status.UNREAD),
        (0, {}, True, Status.NORMAL),
        (0, {}, False, Status.NO_PROFILE),
        (0, {"anomalous": True}, False, Status.ANOMALOUS),
        (SILENCE_MS + 60_001, {"anomalous": True}, True, Status.SILENT),
        (10 * SILENCE_MS, {"incidents": [incident("CH-001", NOW, severity="info")]}, True, Status.INCIDENT),
        (0, {"incidents": [incident("CH-001", NOW, severity="info", status="closed")]}, True, Status.NORMAL),
    ],
)
def test_a_status_says_the_most_urgent_thing(age_ms: int, state: dict | None, profiled: bool, status: Status) -> None:
    registered = device(last_seen=NOW - age_ms)
    made = None if state is None else DeviceState(registered, **state)
    assert status_of(registered, made, profiled, NOW, SILENCE_MS) is status


@pytest.fixture
def fleet(tmp_path: Path) -> CountingStore:
    """A thousand devices, some with an open incident."""
    store = EmbeddedStore(tmp_path / "store.db")
    newest = now_ms()
    store.register_devices([device(f"CH-{i:04}", newest) for i in range(FLEET_SIZE)])
    for i in range(0, FLEET_SIZE, 250):
        found = incident(f"CH-{i:04}", newest - 3_600_000, severity="critical")
        store.upsert("incidents", Incident.columns([found]))
    return CountingStore(store)


def test_a_refresh_of_a_thousand_devices_has_a_bound_and_comes_round(fleet: CountingStore) -> None:
    clock = iter(range(0, 10_000, 15))
    board = FleetBoard(settings_of(Path()), clock=lambda: float(next(clock)))
    for turn in range(1, FLEET_SIZE // DEVICES_PER_REFRESH + 1):
        fleet.calls.clear()
        state = board.refresh(fleet)  # type: ignore[arg-type]
        assert len(fleet.calls) <= 2 + 3 * DEVICES_PER_REFRESH
        assert state.read == turn * DEVICES_PER_REFRESH
    assert state.open_by_severity() == {"critical": 4, "warning": 0, "info": 0}
    assert Counter(state.statuses.values()) == {Status.INCIDENT: 4, Status.NO_PROFILE: FLEET_SIZE - 4}


def test_devices_on_the_page_are_read_first(fleet: CountingStore) -> None:
    board = FleetBoard(settings_of(Path()), per_refresh=10)
    assert "CH-0999" in board.refresh(fleet, ["CH-0999", "gone"]).states  # type: ignore[arg-type]


def test_many_browsers_cost_no_more_than_one(fleet: CountingStore) -> None:
    board = FleetBoard(settings_of(Path()), per_refresh=FLEET_SIZE, clock=lambda: 0.0)
    board.refresh(fleet)  # type: ignore[arg-type]
    fleet.calls.clear()
    for _ in range(5):
        board.refresh(fleet)  # type: ignore[arg-type]
    assert fleet.calls == ["devices"] * 5


@pytest.mark.parametrize("output", ["fleet-cards.children", "incidents-table.children", "ingestion-freshness.children"])
def test_pages_of_a_thousand_devices_have_a_bound(fleet: CountingStore, tmp_path: Path, output: str) -> None:
    settings = settings_of(tmp_path)
    browser = Browser(make_app(settings, source=FixedSource(settings, fleet)))
    fleet.calls.clear()
    text = browser.text(output)
    assert len(fleet.calls) <= 3 * DEVICES_PER_REFRESH + 20
    assert text.count('"namespace"') <= 700, "each component costs the browser at every change"
    assert len(text) < 400_000


def test_one_reads_and_the_others_wait_and_a_failure_is_remembered() -> None:
    at = [0.0]
    reads: list[int] = []

    def read() -> int:
        reads.append(1)
        if len(reads) == 2:
            raise OSError("down")
        return len(reads)

    remembered = Remembered(read, 5.0, clock=lambda: at[0])
    threads = [threading.Thread(target=remembered.get) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (remembered.get(), len(reads)) == (1, 1)
    at[0] = 6.0
    for _ in range(2):
        with pytest.raises(OSError, match="down"):
            remembered.get()
    assert len(reads) == 2
    at[0] = 12.0
    assert remembered.get() == 3
