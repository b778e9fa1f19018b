"""Fleets: deterministic, the same in chunks, the same in any company, quiet when nothing is wrong."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvac_platform.detection.rules import evaluate_rules
from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.devices.registry import device_types
from hvac_platform.simulation.faults import Fault, plan_faults
from hvac_platform.simulation.fleet_simulation import FleetSimulation
from hvac_platform.snapshots import SnapshotSeries
from hvac_platform_tests.simulation.fleets import HOUR_MS, TYPES, column, fleet, midnight, simulate, span

START = midnight("2025-06-10") + 9 * HOUR_MS
FAULTS = plan_faults(fleet(2), START, START + 3 * HOUR_MS, seed=2, rate=20.0)


def test_readings_have_the_points_of_the_device_type_in_order():
    types = device_types()
    for readings in FleetSimulation(fleet(), seed=1).advance(span(START, 0.5)):
        kind = types[readings.device.device_type]
        assert readings.metric_names == kind.metric_names
        assert readings.units == tuple(point.unit for point in kind.points)
        assert readings.values.shape == (30, len(kind.points))
        assert readings.values.dtype == np.float64


def test_devices_come_back_in_the_order_of_the_fleet():
    devices = fleet(2)[::-1]
    assert [r.device for r in FleetSimulation(devices, seed=1).advance(span(START, 0.1))] == devices


def test_the_same_seed_gives_the_same_values_and_another_seed_others():
    times = span(START, 3)
    first, again, other = (simulate(fleet(2), times, seed=s, faults=FAULTS) for s in (7, 7, 8))
    for device_id, readings in first.items():
        assert np.array_equal(readings.values, again[device_id].values)
        assert not np.array_equal(readings.values, other[device_id].values)


@settings(max_examples=12, deadline=None)
@given(cuts=st.lists(st.integers(1, 179), max_size=6, unique=True).map(sorted), interval_s=st.sampled_from([7, 60]))
def test_chunks_do_not_change_values(cuts, interval_s):
    times = span(START + 1234, 180 * interval_s / 3600, interval_s)
    whole = simulate(fleet(), times, faults=[f for f in FAULTS if f.device_id.endswith("-0")])
    simulation = FleetSimulation(fleet(), seed=1, faults=[f for f in FAULTS if f.device_id.endswith("-0")])
    parts = [simulation.advance(part) for part in np.split(times, cuts)]
    for i, device in enumerate(fleet()):
        assert np.array_equal(np.concatenate([p[i].values for p in parts]), whole[device.device_id].values)


def test_reading_by_reading_is_a_chunking_too():
    times = span(START, 0.2, interval_s=10)
    whole = simulate(fleet(), times)
    simulation = FleetSimulation(fleet(), seed=1)
    one_by_one = [simulation.advance(np.array([t])) for t in times]
    for i, device in enumerate(fleet()):
        assert np.array_equal(np.concatenate([p[i].values for p in one_by_one]), whole[device.device_id].values)


def test_who_runs_in_goes_on_where_others_of_the_same_day_stand():
    begin = midnight("2025-03-11")
    noon = begin + 12 * HOUR_MS
    earlier, later, abrupt = (FleetSimulation(fleet(), seed=5) for _ in range(3))
    earlier.run_in(begin)
    earlier.advance(np.arange(begin, noon, 60_000))
    later.run_in(noon + 1)
    times = np.arange(noon + 10_000, noon + 600_000, 10_000)
    stand, goes_on, begins = (simulation.advance(times) for simulation in (earlier, later, abrupt))

    def apart(others):
        """Largest difference of any metric's mean, in spreads of its readings (their noise is another each time)."""
        return max(
            float((np.abs(a.values.mean(axis=0) - b.values.mean(axis=0)) / (a.values.std(axis=0) + 0.01)).max())
            for a, b in zip(stand, others, strict=True)
        )

    assert apart(goes_on) < 1
    assert apart(begins) > 100, "a compressor that runs, a valve that is open"


@settings(max_examples=8, deadline=None)
@given(company=st.sampled_from([0, 3, 10]), own_type=st.sampled_from(TYPES))
def test_a_device_does_not_depend_on_its_company(company, own_type):
    """Bit for bit, also between the loop for one device and the loop for many."""
    device = FleetDevice("the-one", own_type)
    others = [FleetDevice(f"other-{i}", own_type) for i in range(company)]
    times = span(START, 5)
    alone = simulate([device], times)["the-one"]
    among = simulate([*others, device, *fleet()], times)["the-one"]
    assert np.array_equal(alone.values, among.values)


def test_devices_of_a_type_are_individuals():
    readings = simulate(fleet(3), span(START, 2))
    for kind in TYPES:
        means = np.stack([readings[f"{kind}-{i}"].values.mean(axis=0) for i in range(3)])
        assert len({tuple(m) for m in means}) == 3


def test_time_must_move_forward():
    simulation = FleetSimulation(fleet(), seed=1)
    simulation.advance(span(START, 0.1))
    with pytest.raises(ValueError, match="increase"):
        simulation.advance(span(START, 0.1))
    with pytest.raises(ValueError, match="increase"):
        FleetSimulation(fleet(), seed=1).advance(np.array([START, START]))


def test_no_times_give_no_readings():
    assert [r.values.shape for r in FleetSimulation(fleet(), seed=1).advance(np.array([], dtype=np.int64))] == [
        (0, len(device_types()[t].points)) for t in TYPES
    ]


def test_wrong_fleets_and_faults_are_refused_by_name():
    with pytest.raises(ValueError, match="heat_pump"):
        FleetSimulation([FleetDevice("x", "heat_pump")], seed=1)
    with pytest.raises(ValueError, match="twice"):
        FleetSimulation([FleetDevice("x", "chiller"), FleetDevice("x", "chiller")], seed=1)
    with pytest.raises(ValueError, match="not in the fleet"):
        FleetSimulation(fleet(), seed=1, faults=[Fault("nobody", "fouling", 0, 1)])
    with pytest.raises(ValueError, match="does not apply"):
        FleetSimulation(fleet(), seed=1, faults=[Fault("chiller-0", "fan_failure", 0, 1)])
    with pytest.raises(ValueError, match="no metric"):
        FleetSimulation(fleet(), seed=1, faults=[Fault("chiller-0", "sensor_failure", 0, 1, "sump_water_level")])


@pytest.mark.parametrize("date", ["2025-01-15", "2025-04-12", "2025-07-20", "2025-10-18"])
def test_normal_operation_stays_in_normal_ranges(date):
    types = device_types()
    for seed in (1, 2):
        for readings in simulate(fleet(3), span(midnight(date), 48), seed=seed).values():
            for point in types[readings.device.device_type].points:
                values = column(readings, point.name)
                low, high = point.normal
                inside = ((values >= low) & (values <= high)).mean()
                assert inside >= 0.995, f"{readings.device.device_id} {point.name} {values.min()} {values.max()}"
                assert (values >= point.hard[0]).all()
                assert (values <= point.hard[1]).all()


@pytest.mark.parametrize("date", ["2025-01-15", "2025-04-12", "2025-07-20", "2025-10-18"])
def test_normal_operation_trips_no_rule(date):
    types = device_types()
    for readings in simulate(fleet(), span(midnight(date), 48, interval_s=20), seed=5).values():
        verdicts = evaluate_rules(minute_snapshots(readings), types[readings.device.device_type])
        assert not verdicts.anomalous.any(), next(r for r in verdicts.reasons if r)


def test_one_day_is_like_the_next_whatever_the_day_of_the_week():
    """Hour by hour, a Sunday and a Monday differ by little against what a day itself spans."""
    sunday = midnight("2025-06-15")
    for readings in simulate(fleet(2), span(sunday, 48)).values():
        kind = device_types()[readings.device.device_type]
        for point in kind.points:
            if point.kind != "analog":
                continue
            first, second = column(readings, point.name).reshape(2, 24, 60).mean(axis=2)
            spread = column(readings, point.name).std() + 1e-9
            assert abs(first.mean() - second.mean()) < 0.8 * spread, point.name


def test_a_thousand_device_days_are_a_matter_of_seconds():
    """The full figure (20 million readings) belongs to the benchmarks; a fifteenth of it guards against a slow loop."""
    from time import process_time

    devices = fleet(20)
    started = process_time()
    readings = FleetSimulation(devices, seed=1).advance(span(midnight("2025-06-10"), 16))
    assert sum(r.values.size for r in readings) > 1_300_000
    assert process_time() - started < 15.0


def minute_snapshots(readings) -> SnapshotSeries:
    per_window = int(60_000 // (readings.times_ms[1] - readings.times_ms[0]))
    windows = readings.values.reshape(-1, per_window, len(readings.metric_names))
    return SnapshotSeries(
        device_id=readings.device.device_id,
        device_type=readings.device.device_type,
        times_ms=readings.times_ms[::per_window],
        metric_names=readings.metric_names,
        mean=windows.mean(axis=1),
        count=np.full((len(windows), windows.shape[2]), per_window),
        minimum=windows.min(axis=1),
        maximum=windows.max(axis=1),
        last=windows[:, -1],
    )


def test_faults_that_rules_know_trip_them():
    types = device_types()
    start = midnight("2025-06-10")
    noon = start + 12 * HOUR_MS
    faults = [
        Fault("rooftop_unit-0", "fan_failure", noon, noon + HOUR_MS),
        Fault("makeup_air_unit-0", "fouling", noon, noon + HOUR_MS),
        Fault("chiller-0", "compressor_stuck_on", noon, noon + HOUR_MS),
        Fault("cooling_tower-0", "sensor_bias", noon, noon + HOUR_MS, "outlet_water_temp", -5.0),
        Fault("air_compressor-0", "sensor_failure", noon, noon + HOUR_MS, "oil_pressure"),
    ]
    for readings in simulate(fleet(), span(start, 16, interval_s=20), faults=faults).values():
        verdicts = evaluate_rules(minute_snapshots(readings), types[readings.device.device_type])
        inside = (verdicts.times_ms >= noon) & (verdicts.times_ms < noon + HOUR_MS)
        assert verdicts.anomalous[inside].mean() > 0.3, readings.device.device_id
        assert not verdicts.anomalous[verdicts.times_ms < noon].any()
