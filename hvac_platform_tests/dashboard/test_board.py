"""The state of a fleet: statuses, and a bound on what a refresh asks of the store."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hvac_platform.dashboard.app import make_app
from hvac_platform.dashboard.attention import attention
from hvac_platform.dashboard.device_states import (
    LOOKED_AT_ONCE,
    MOST_SUSPECTS,
    FleetBoard,
    News,
    Status,
    status_of,
)
from hvac_platform.dashboard.pages.fleet import Filters, chosen, totals
from hvac_platform.dashboard.source import Remembered
from hvac_platform.monitoring.provisional import ProvisionalEvent
from hvac_platform.stores.base import Device
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.records import Incident, LatestReading
from hvac_platform.timestamps import DAY_MS, now_ms
from hvac_platform_tests.dashboard.conftest import Browser, CountingStore, incident, settings_of
from hvac_platform_tests.dashboard.test_pages import FixedSource

NOW = 1_760_000_000_000
SILENCE_MS = 120_000
FLEET_SIZE = 1_000
URGENT = ProvisionalEvent("CH-001", NOW, 2, ("water may freeze",), ("chilled_water_supply_temp",), True)


def device(device_id: str = "CH-001", last_seen: int = NOW, device_type: str = "chiller") -> Device:
    return Device(device_id, device_type, "roof", "b1", 0, last_seen, 0)


@pytest.mark.parametrize(
    ("age_ms", "news", "incidents", "profiled", "status"),
    [
        (0, None, 0, True, Status.UNREAD),
        (0, {}, 0, True, Status.NORMAL),
        (0, {}, 0, False, Status.NO_PROFILE),
        (0, {"anomalous": True}, 0, False, Status.ANOMALOUS),
        (SILENCE_MS + 60_001, {"anomalous": True}, 0, True, Status.SILENT),
        (SILENCE_MS + 60_001, {"interval_ms": 3_600_000}, 0, True, Status.NORMAL),
        (0, {"anomalous": True, "provisional": (URGENT,)}, 0, True, Status.URGENT),
        (10 * SILENCE_MS, {"provisional": (URGENT,)}, 1, True, Status.INCIDENT),
    ],
)
def test_a_status_says_the_most_urgent_thing(
    age_ms: int, news: dict | None, incidents: int, profiled: bool, status: Status
) -> None:
    registered = device(last_seen=NOW - age_ms)
    made = None if news is None else News(**news)
    found = [incident("CH-001", NOW, severity="info")] * incidents
    assert status_of(registered, made, found, profiled, NOW, SILENCE_MS) is status


def test_a_silent_device_is_counted_whatever_else_is_to_say_of_it(tmp_path: Path) -> None:
    store, newest = EmbeddedStore(tmp_path / "store.db"), now_ms()
    store.register_devices([device("CH-1", newest), device("CH-2", newest - DAY_MS), device("CH-3", newest - DAY_MS)])
    found = incident("CH-2", newest - DAY_MS, severity="warning")
    store.upsert("incidents", Incident.columns([found]))
    state = board_of().refresh(store)
    assert state.statuses["CH-2"] is Status.INCIDENT
    assert state.silent == {"CH-2", "CH-3"}
    assert "2 silent" in str(totals(state, None, 0)[0])
    assert "2 devices are silent" in str(attention(store, {}, state.at_ms, silent=len(state.silent)))
    assert "Nothing needs attention" in str(attention(store, {}, state.at_ms))
    store.close()


@pytest.fixture
def fleet(tmp_path: Path) -> CountingStore:
    """A thousand devices, some with an open incident."""
    store = EmbeddedStore(tmp_path / "store.db")
    newest = now_ms()
    store.register_devices([device(f"CH-{i:04}", newest) for i in range(FLEET_SIZE)])
    for i in range(0, FLEET_SIZE, 250):
        found = incident(f"CH-{i:04}", newest - 3_600_000, severity="critical" if i else "info")
        store.upsert(
            "incidents", Incident.columns([found, replace(found, started_at=newest - DAY_MS, status="closed")])
        )
    return CountingStore(store)


def board_of(**options: Any) -> FleetBoard:
    return FleetBoard(settings_of(Path()), looking_seconds=60.0, **options)


def send(
    store: CountingStore, device_id: str, values: dict[str, float], *, age_ms: int = 0, at_ms: int | None = None
) -> None:
    """Readings of a device as ingestion leaves them."""
    at = now_ms() - age_ms if at_ms is None else at_ms
    kept: Any = store._store
    raw = [(device_id, at, name, value, "") for name, value in values.items()]
    names = ("device_id", "timestamp", "metric_name", "metric_value", "unit")
    kept.upsert("device_metrics_raw", dict(zip(names, map(list, zip(*raw, strict=True)), strict=True)))
    start = at - at % 60_000
    latest = [LatestReading(device_id, start, name, value, at) for name, value in values.items()]
    kept.upsert(LatestReading.TABLE, LatestReading.columns(latest))
    kept.register_devices([device(device_id, at)])


def test_all_of_a_thousand_devices_are_known_at_the_first_refresh(fleet: CountingStore) -> None:
    state = board_of().refresh(fleet)  # type: ignore[arg-type]
    assert state.read == FLEET_SIZE
    assert state.open_by_severity() == {"critical": 3, "warning": 0, "info": 1}
    assert Counter(state.statuses.values()) == {Status.INCIDENT: 4, Status.NO_PROFILE: FLEET_SIZE - 4}
    assert fleet.calls.count("scan incidents") == 1, "one read, however many devices"


def test_a_slow_store_is_looked_at_in_turn(fleet: CountingStore) -> None:
    board = FleetBoard(settings_of(Path()), looking_seconds=0.0, fresh_seconds=0.0)
    for turn in range(1, FLEET_SIZE // LOOKED_AT_ONCE + 1):
        fleet.calls.clear()
        state = board.refresh(fleet)  # type: ignore[arg-type]
        assert len(fleet.calls) <= 5
        assert state.read == turn * LOOKED_AT_ONCE
    assert state.open_by_severity()["critical"] == 3


def test_what_takes_long_is_read_seldom(fleet: CountingStore) -> None:
    at = [0.0]

    def clock() -> float:
        at[0] += 0.5
        return at[0]

    board = FleetBoard(settings_of(Path()), looking_seconds=0.0, clock=clock)
    for _ in range(10):
        board.refresh(fleet)  # type: ignore[arg-type]
    assert fleet.calls.count("scan incidents") < 5
    assert fleet.calls.count("scan device_profiles") == 1


def test_devices_on_the_page_are_looked_at_first(fleet: CountingStore) -> None:
    board = FleetBoard(settings_of(Path()), looking_seconds=0.0)
    assert "CH-0999" in board.refresh(fleet, ["CH-0999", "gone"]).news  # type: ignore[arg-type]


def test_many_browsers_cost_no_more_than_one(fleet: CountingStore) -> None:
    board = board_of(clock=lambda: 0.0)
    state = board.refresh(fleet)  # type: ignore[arg-type]
    board.states(fleet, state.devices[:24], state.at_ms)  # type: ignore[arg-type]
    fleet.calls.clear()
    for _ in range(5):
        board.refresh(fleet)  # type: ignore[arg-type]
        board.states(fleet, state.devices[:24], state.at_ms)  # type: ignore[arg-type]
    assert fleet.calls == ["devices"] * 5


def test_the_most_urgent_come_first_and_a_name_is_found(fleet: CountingStore) -> None:
    state = board_of().refresh(fleet)  # type: ignore[arg-type]
    order = [d.device_id for d in chosen(state, Filters())]
    assert order[:5] == ["CH-0250", "CH-0500", "CH-0750", "CH-0000", "CH-0001"], "critical before info, incidents first"
    assert [d.device_id for d in chosen(state, Filters(search=" ch-099"))] == [f"CH-099{i}" for i in range(10)]
    assert len(chosen(state, Filters(search="roof"))) == FLEET_SIZE


def test_an_urgent_reading_is_on_the_next_refresh_and_goes_when_its_window_is_judged(fleet: CountingStore) -> None:
    board = board_of(fresh_seconds=0.0)
    assert board.refresh(fleet).statuses["CH-0777"] is Status.NO_PROFILE  # type: ignore[arg-type]
    send(fleet, "CH-0777", {"chilled_water_supply_temp": -999.0})
    state = board.refresh(fleet)  # type: ignore[arg-type]
    assert state.statuses["CH-0777"] is Status.URGENT
    (told,) = state.news["CH-0777"].provisional
    assert "broken sensor" in told.reasons[0]
    send(fleet, "CH-0777", {"chilled_water_supply_temp": 44.0})
    assert board.refresh(fleet).statuses["CH-0777"] is Status.URGENT  # type: ignore[arg-type]
    row = {
        "device_id": ["CH-0777"],
        "snapshot_time": [told.detected_at],
        "window_ms": [60_000],
        "metrics": [{"chilled_water_supply_temp": 44.0}],
        "metric_summary": [{"chilled_water_supply_temp": [2, -999.0, 44.0, 44.0]}],
        "completeness": [1.0],
        "revision": [7],
    }
    kept: Any = fleet._store
    kept.upsert("device_state_snapshots", row)
    assert board.refresh(fleet).statuses["CH-0777"] is Status.URGENT, "complete, and nobody has judged it"  # type: ignore[arg-type]
    kept.upsert("device_state_snapshots", {**row, "judged_revision": [7]})
    assert board.refresh(fleet).news["CH-0777"].provisional == ()  # type: ignore[arg-type]


def test_a_reading_between_two_looks_is_not_missed(fleet: CountingStore) -> None:
    board = board_of(fresh_seconds=0.0)
    send(fleet, "CH-0777", {"chilled_water_supply_temp": 44.0}, age_ms=4_000)
    board.refresh(fleet)  # type: ignore[arg-type]
    send(fleet, "CH-0777", {"chilled_water_supply_temp": -999.0}, age_ms=2_000)
    send(fleet, "CH-0777", {"chilled_water_supply_temp": 44.0})
    assert board.refresh(fleet).statuses["CH-0777"] is Status.URGENT  # type: ignore[arg-type]


def test_a_reading_that_comes_behind_others_of_its_instant_is_not_missed(fleet: CountingStore) -> None:
    board, at_ms = board_of(fresh_seconds=0.0), now_ms() + 3_000  # later than all that the fleet was heard of
    sound = {"chilled_water_supply_temp": 44.0, "chilled_water_return_temp": 54.0}
    send(fleet, "CH-0777", sound, at_ms=at_ms - 3_000)
    board.refresh(fleet)  # type: ignore[arg-type]
    send(fleet, "CH-0777", {"chilled_water_return_temp": 54.0}, at_ms=at_ms)
    board.refresh(fleet)  # type: ignore[arg-type]
    send(fleet, "CH-0777", {"chilled_water_supply_temp": -999.0}, at_ms=at_ms)
    send(fleet, "CH-0777", sound, at_ms=at_ms + 1_000)
    assert board.refresh(fleet).statuses["CH-0777"] is Status.URGENT  # type: ignore[arg-type]


def test_readings_that_the_registry_knows_of_before_they_are_there_are_not_missed(fleet: CountingStore) -> None:
    board, at_ms = board_of(fresh_seconds=0.0), now_ms() + 3_000  # later than all that the fleet was heard of
    send(fleet, "CH-0777", {"chilled_water_supply_temp": 44.0}, at_ms=at_ms - 3_000)
    board.refresh(fleet)  # type: ignore[arg-type]
    kept: Any = fleet._store
    kept.register_devices([device("CH-0777", at_ms)])
    board.refresh(fleet)  # type: ignore[arg-type]
    send(fleet, "CH-0777", {"chilled_water_supply_temp": -999.0}, at_ms=at_ms)
    send(fleet, "CH-0777", {"chilled_water_supply_temp": 44.0}, at_ms=at_ms + 1_000)
    assert board.refresh(fleet).statuses["CH-0777"] is Status.URGENT  # type: ignore[arg-type]


def test_a_whole_instant_is_read_once(fleet: CountingStore) -> None:
    board, asked = board_of(fresh_seconds=0.0), []
    kept: Any = fleet._store
    scan_spans = kept.scan_spans

    def counted(table: str, columns: Any, spans: Any) -> Any:
        found = scan_spans(table, columns, spans)
        if table == "device_metrics_raw":
            asked.append(len(found["device_id"]))
        return found

    kept.scan_spans = counted
    at_ms = now_ms()  # later than all that the fleet was heard of
    for later_ms in (1_000, 3_000, 5_000):
        values = {"chilled_water_supply_temp": 44.0, "chilled_water_return_temp": 54.0}
        send(fleet, "CH-0777", values, at_ms=at_ms + later_ms)
        board.refresh(fleet)  # type: ignore[arg-type]
    assert [read for read in asked if read] == [2, 2, 2]


def test_urgent_readings_of_a_whole_fleet_are_looked_into_in_turn(fleet: CountingStore) -> None:
    board = board_of(fresh_seconds=0.0)
    for i in range(3 * MOST_SUSPECTS):
        send(fleet, f"CH-{i:04}", {"chilled_water_supply_temp": -999.0})
    for turn in range(1, 4):
        state = board.refresh(fleet)  # type: ignore[arg-type]
        assert sum(bool(news.provisional) for news in state.news.values()) == turn * MOST_SUSPECTS


@pytest.mark.parametrize("output", ["fleet-cards.children", "incidents-table.children", "ingestion-freshness.children"])
def test_pages_of_a_thousand_devices_have_a_bound(fleet: CountingStore, tmp_path: Path, output: str) -> None:
    settings = settings_of(tmp_path)
    browser = Browser(make_app(settings, source=FixedSource(settings, fleet)))
    fleet.calls.clear()
    text = browser.text(output)
    assert len(fleet.calls) <= 2 * FLEET_SIZE + 100
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
