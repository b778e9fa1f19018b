"""Slow degradation: what departs more every day is found against the first days, with its pace, and stored by metric."""

from __future__ import annotations

import json

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from hvac_platform.assets.metric_trends import metric_trends
from hvac_platform.cli.main import app
from hvac_platform.io_managers.store_io_manager import StoreIOManager
from hvac_platform.monitoring.degradation import (
    TooFewDaysError,
    degradation_batches,
    degradation_sentence,
    device_degradation,
)
from hvac_platform.partitions import devices
from hvac_platform.stores.base import Device
from hvac_platform.stores.batches import write_batch
from hvac_platform.stores.records import MetricTrend
from hvac_platform.timestamps import DAY_MS, day_of
from hvac_platform_tests.conftest import MINUTE_MS
from hvac_platform_tests.detection.records import START, machine

WINDOW_MS = 15 * MINUTE_MS
DAYS, ROWS_A_DAY = 20, 96
FIRST_MS = int(START.timestamp() * 1000)


def record(store, table, *, device_type="machine", flagged=()):
    """A table of a machine as snapshots of a device; windows of the flagged days were found anomalous."""
    times = (table.index - pd.Timestamp(0, tz="UTC")) // pd.Timedelta(milliseconds=1)
    n, rows = len(table), table.to_dict("records")
    store.upsert(
        "device_state_snapshots",
        {
            "device_id": ["M-1"] * n,
            "snapshot_time": times.to_numpy(dtype=np.int64),
            "window_ms": [WINDOW_MS] * n,
            "metrics": rows,
            "metric_summary": [{name: [90, v, v, v] for name, v in row.items()} for row in rows],
            "completeness": [1.0] * n,
            "revision": list(range(n)),
            "is_anomalous": [day_of(int(t)) in flagged for t in times],
        },
    )
    device = Device("M-1", device_type, "roof", "b-1", int(times[0]), int(times[-1]) + WINDOW_MS - 1, 0)
    store.register_devices([device])
    return device


def machine_days(days=DAYS, *, power_a_day=0.0):
    table = machine(days * ROWS_A_DAY, interval="15min")
    table["power"] += power_a_day * np.maximum(0, np.arange(len(table)) / ROWS_A_DAY - 8)
    return table


def test_a_machine_that_draws_more_power_every_day_is_found(platform):
    device = record(platform.store, machine_days(power_a_day=1.0))
    wear = device_degradation(platform.store, device, WINDOW_MS)
    assert (len(wear.days), wear.reference_days) == (20, 6)
    worst = wear.degrading[0]
    assert worst.metric == "power"
    assert worst.deviation > 0
    assert 0.5 < worst.per_day < 1.5
    assert abs((worst.since - START).days - 8) <= 2
    assert wear.sigmas["power"].iloc[-1] == pytest.approx(worst.sigmas, rel=0.2)


def test_it_is_found_even_where_detection_has_flagged_every_window_of_it(platform):
    worn = [day_of(FIRST_MS + day * DAY_MS) for day in range(10, DAYS)]
    device = record(platform.store, machine_days(power_a_day=1.0), flagged=worn)
    assert device_degradation(platform.store, device, WINDOW_MS).degrading[0].metric == "power"


def test_a_machine_that_stays_the_same_shows_no_wear(platform):
    device = record(platform.store, machine_days())
    wear = device_degradation(platform.store, device, WINDOW_MS)
    assert wear.degrading == []
    assert [t.metric for t in wear.trends if t.days_to_limit is not None] == []


def test_days_that_are_hardly_there_do_not_count(platform):
    table = machine_days()
    cut = table[(table.index < START + pd.Timedelta(days=15, hours=3)) | (table.index >= START + pd.Timedelta(days=16))]
    wear = device_degradation(platform.store, record(platform.store, cut), WINDOW_MS)
    assert day_of(FIRST_MS + 15 * DAY_MS) not in wear.days
    assert len(wear.days) == DAYS - 1


def test_a_short_history_is_refused_with_what_is_needed(platform):
    device = record(platform.store, machine_days(6))
    with pytest.raises(TooFewDaysError, match="M-1: 6 whole days in the last 30, 10 are needed to see degradation"):
        device_degradation(platform.store, device, WINDOW_MS)


def test_a_history_of_one_value_is_refused(platform):
    table = machine_days(12)
    table[:] = 1.0
    with pytest.raises(TooFewDaysError, match="can't be learned from: nothing to learn"):
        device_degradation(platform.store, record(platform.store, table), WINDOW_MS)


def test_rows_are_written_by_metric_and_those_of_metrics_that_are_gone_are_taken_out(platform):
    store = platform.store
    device = record(store, machine_days(power_a_day=1.0))
    store.upsert(
        "metric_trends",
        {
            "device_id": ["M-1"],
            "metric": ["gone"],
            "unit": [""],
            **{name: [0.0] for name in ("reading", "deviation", "sigmas", "per_day", "cusum")},
            **{name: [0] for name in ("since", "span_start", "span_end", "updated_at")},
            "days_to_limit": [None],
        },
    )
    for batch in degradation_batches(store, device_degradation(store, device, WINDOW_MS), WINDOW_MS):
        write_batch(store, "metric_trends", batch)
    rows = {trend.metric: trend for trend in MetricTrend.read(store, "M-1")}
    assert set(rows) == {"supply_temp", "return_temp", "flow", "power", "vibration"}
    assert rows["power"].since is not None
    assert rows["power"].span_start == FIRST_MS
    assert rows["power"].span_end == FIRST_MS + DAYS * DAY_MS
    assert rows["flow"].unit == ""


def test_the_time_left_is_until_the_declared_normal_range_ends(platform):
    """A chiller's power: 0 kW to where its type says that normal ends."""
    table = machine_days(power_a_day=1.0).rename(columns={"power": "power_consumption"})
    device = record(platform.store, table, device_type="chiller")
    wear = device_degradation(platform.store, device, WINDOW_MS)
    worst = next(t for t in wear.degrading if t.metric == "power_consumption")
    assert worst.days_to_limit > 10


@pytest.mark.parametrize(
    ("left", "end"),
    [
        (12.4, "; leaves its normal range in about 12 days"),
        (0.0, "; outside its normal range"),
        (900.0, "since 1970-01-01"),
    ],
)
def test_the_time_left_is_told_as_far_as_it_can_be_foreseen(left, end):
    assert degradation_sentence("power_consumption", "kW", 4.2, 6.1, 0.31, 0, left).endswith(end)


def test_what_recedes_is_told_as_shrinking():
    assert (
        "1.5 (4.0 sigma) below what the other metrics imply, shrinking 0.1 a day since 1970-01-01"
        in degradation_sentence("cop", "", -1.5, -4.0, 0.1, 0, None)
    )


def test_the_command_shows_what_wears_and_with_all_every_metric(platform):
    record(platform.store, machine_days(power_a_day=1.0))
    shown = CliRunner().invoke(app, ["trends", "--json"])
    assert shown.exit_code == 0, shown.output
    first = json.loads(shown.stdout)[0]
    assert (first["device"], first["metric"]) == ("M-1", "power")
    assert first["since"].startswith("2026-03-")
    everything = json.loads(CliRunner().invoke(app, ["trends", "--all", "--json"]).stdout)
    assert len(everything) == 5
    assert len(MetricTrend.read(platform.store, "M-1")) == 5


def test_the_asset_writes_trends_and_tells_of_wear_and_of_devices_that_are_too_new(platform, instance):
    record(platform.store, machine_days(power_a_day=1.0))
    platform.store.register_devices([Device("M-2", "machine", "", "", FIRST_MS, FIRST_MS + DAY_MS, 0)])
    instance.add_dynamic_partitions(devices.name, ["M-1", "M-2"])
    tags = {"dagster/asset_partition_range_start": "M-1", "dagster/asset_partition_range_end": "M-2"}
    result = dg.materialize(
        [metric_trends],
        instance=instance,
        resources={"platform": platform, "store": StoreIOManager(platform=platform)},
        tags=tags,
        selection=[metric_trends],
    )
    (event,) = result.asset_materializations_for_node("metric_trends")[:1]
    assert event.metadata["devices_degrading"].value == 1
    assert event.metadata["dagster/row_count"].value == 5
    assert event.metadata["too_few_days"].value == 1
    assert "**M-1**: power is" in event.metadata["degradation"].value
    assert "data:image/svg+xml" in event.metadata["deviations"].value
    assert len(MetricTrend.read(platform.store, "M-1")) == 5
