"""Start-ups keep local time: a detector learns them in that of its building, through a change of the clocks."""

import numpy as np
import pandas as pd
import pytest

from hvac_platform.config import load_settings
from hvac_platform.detection import fit_detector
from hvac_platform.devices.local_time import timezone_of
from hvac_platform.stores.base import Device
from hvac_platform_tests.conftest import MINUTE_MS
from hvac_platform_tests.detection.records import machine
from hvac_platform_tests.monitoring.machines import learn

CHICAGO = "America/Chicago"
FIRST, CHANGE = pd.Timestamp("2026-02-26", tz=CHICAGO), pd.Timestamp("2026-03-08", tz=CHICAGO)
MINUTES, LEARNED = 13 * 1440, 10 * 1440
ALERTS = """
timezone: Europe/Berlin
buildings:
  plant-us: {timezone: America/Chicago}
receivers:
  team: {webhook: {url: "${NOT_SET_HERE}", secret: "${NOR_THIS}"}}
route: {receiver: team}
"""


@pytest.fixture(scope="module")
def record():
    """Ten days and three after clocks went forward; every day it takes ten minutes to get under way at six, local time."""
    table = machine(MINUTES, seed=2, start=FIRST)
    local = table.index.tz_convert(CHICAGO)
    starting = (local.hour == 6) & (local.minute < 10)
    table.loc[starting, "supply_temp"] += 3.0 * table["supply_temp"].std()
    table.index = table.index.tz_convert("UTC")
    return table


@pytest.fixture
def alerts(tmp_path):
    path = tmp_path / "alerts.yaml"
    path.write_text(ALERTS)
    return path


def test_a_unit_that_starts_by_local_time_does_not_alarm_when_clocks_have_changed(
    record, alerts, platform, monkeypatch
):
    monkeypatch.setenv("HVAC_ALERTS", str(alerts))
    times_ms = record.index.as_unit("ms").asi8[:LEARNED]
    samples = [dict(zip(record.columns, row, strict=True)) for row in record.to_numpy()[:LEARNED].tolist()]
    platform.store.upsert(
        "device_state_snapshots",
        {
            "device_id": ["unit"] * LEARNED,
            "snapshot_time": times_ms,
            "window_ms": [MINUTE_MS] * LEARNED,
            "metrics": samples,
            "metric_summary": [{name: [6, v, v, v] for name, v in row.items()} for row in samples],
            "completeness": [1.0] * LEARNED,
            "revision": list(range(LEARNED)),
        },
    )
    device = Device("unit", "unit", "roof", "plant-us", int(times_ms[0]), int(times_ms[-1]) + MINUTE_MS, 0)
    detector = learn(platform.store, device, days_back=11.0).profile.detector
    after = record.iloc[LEARNED:]
    local = after.index.tz_convert(CHICAGO)
    morning = np.asarray((local.hour == 6) & (local.minute < 40))
    in_utc = fit_detector(record.iloc[:LEARNED])

    assert detector.contexts.timezone == CHICAGO
    assert detector.score(after)["is_anomalous"].to_numpy()[morning].sum() == 0
    assert in_utc.score(after)["is_anomalous"].to_numpy()[morning].sum() > 0


def test_a_timezone_is_the_buildings_else_the_sites_else_utc(alerts, tmp_path, home):
    assert timezone_of(alerts, "plant-us") == CHICAGO
    assert timezone_of(alerts, "another") == "Europe/Berlin"
    assert timezone_of(load_settings().hvac_alerts, "plant-us") == "UTC"
    for text in ("timezone: Mars/Olympus", "buildings: [1]", "a: [", "- 1", "timezone: ../../etc/passwd"):
        alerts.write_text(text)
        assert timezone_of(alerts, "plant-us") == "UTC"
    assert timezone_of(tmp_path / "none.yaml", "plant-us") == "UTC"
