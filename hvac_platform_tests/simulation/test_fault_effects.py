"""Every fault shows, where its label says and nowhere else."""

import numpy as np
import pytest

from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.devices.registry import device_types
from hvac_platform.simulation.faults import FAULT_KINDS, SENTINEL, Fault, kinds_for
from hvac_platform.simulation.sensors import SENSORS
from hvac_platform_tests.simulation.fleets import HOUR_MS, MINUTE_MS, TYPES, column, midnight, simulate, span

PAIRS = [(t, k) for t in TYPES for k in kinds_for(t)]
METRIC = {
    "rooftop_unit": "return_air_temp",
    "makeup_air_unit": "supply_air_flow",
    "chiller": "chilled_water_return_temp",
    "cooling_tower": "inlet_water_temp",
    "air_compressor": "discharge_temp",
}


class Case:
    """One fault of one device: the run with it and the run without, over the same day."""

    def __init__(self, fault, normal, faulty):
        self.fault, self.normal, self.faulty = fault, normal, faulty
        times = normal.times_ms
        self.inside = (times >= fault.start_ms) & (times < fault.end_ms)
        self.before = times < fault.start_ms
        self.after = times >= fault.recovered_ms

    def pair(self, metric):
        return column(self.normal, metric), column(self.faulty, metric)

    def means(self, metric):
        """Mean in the last third of the fault, without it and with it."""
        late = np.flatnonzero(self.inside)[-np.count_nonzero(self.inside) // 3 :]
        return tuple(float(v[late].mean()) for v in self.pair(metric))


@pytest.fixture(scope="module", params=["2025-06-10", "2025-01-20"], ids=["summer", "winter"])
def cases(request):
    start = midnight(request.param)
    noon = start + 12 * HOUR_MS
    result = {}
    for kind_of_device in TYPES:
        devices, faults = [], []
        for kind in kinds_for(kind_of_device):
            spec = FAULT_KINDS[kind]
            device = FleetDevice(f"{kind_of_device}-{kind}", kind_of_device)
            metric = METRIC[kind_of_device] if spec.of_a_sensor else None
            magnitude = 0.8 * (SENSORS[kind_of_device][metric].bias if metric and kind == "sensor_bias" else 1.0)
            length = (200 if spec.onset_minutes is None else 50) * MINUTE_MS
            devices.append(device)
            faults.append(Fault(device.device_id, kind, noon, noon + length, metric, magnitude))
        times = span(start + 5 * HOUR_MS, 17)
        normal, faulty = simulate(devices, times), simulate(devices, times, faults=faults)
        for fault, device in zip(faults, devices, strict=True):
            case = Case(fault, normal[device.device_id], faulty[device.device_id])
            result[kind_of_device, fault.kind] = case
    return result


@pytest.mark.parametrize(("device_type", "kind"), PAIRS)
def test_fault_departs_visibly_from_normal(cases, device_type, kind):
    """Root mean square departure of the most affected metric, in standard deviations of its normal day."""
    case = cases[device_type, kind]
    if kind == "stuck_sensor":
        normal, faulty = case.pair(case.fault.metric)
        assert np.ptp(faulty[case.inside]) == 0
        assert np.ptp(normal[case.inside]) > 0
        return
    departure = case.faulty.values - case.normal.values
    scale = case.normal.values.std(axis=0) + 0.5 * np.array([s.noise for s in SENSORS[device_type].values()]) + 1e-6
    effect = np.sqrt((departure[case.inside] ** 2).mean(axis=0)) / scale
    assert effect.max() > 0.9


@pytest.mark.parametrize(("device_type", "kind"), PAIRS)
def test_before_the_fault_nothing_differs(cases, device_type, kind):
    case = cases[device_type, kind]
    assert np.array_equal(case.normal.values[case.before], case.faulty.values[case.before])


@pytest.mark.parametrize(("device_type", "kind"), PAIRS)
def test_after_recovery_the_machine_is_itself_again(cases, device_type, kind):
    """Identical after sensor faults; nearly so after others. A thermostat may cycle at another phase: hourly means."""
    case = cases[device_type, kind]
    normal, faulty = case.normal.values[case.after], case.faulty.values[case.after]
    if FAULT_KINDS[kind].recovery_minutes == 0:
        assert np.array_equal(normal, faulty)
        return
    hours = len(normal) // 60
    difference = (faulty - normal)[: hours * 60].reshape(hours, 60, -1).mean(axis=1)
    noise = np.array([s.noise for s in SENSORS[device_type].values()])
    spread = case.normal.values.std(axis=0)
    counters = [p.kind == "counter" for p in device_types()[device_type].points]
    limit = np.where(counters, np.inf, 0.3 * spread + noise)
    worst = np.abs(difference).max(axis=0) / (limit + 1e-9)
    assert worst.max() < (2.0 if device_type == "rooftop_unit" else 1.0), np.array(case.normal.metric_names)[worst > 1]


@pytest.mark.parametrize("device_type", TYPES)
def test_correlated_deviation_stays_in_every_normal_range(cases, device_type):
    case = cases[device_type, "correlated_deviation"]
    moved = 0
    for point in device_types()[device_type].points:
        normal, faulty = case.pair(point.name)
        low, high = point.normal
        noise = 4 * SENSORS[device_type][point.name].noise
        assert faulty[case.inside].min() >= min(low, normal[case.inside].min()) - noise
        assert faulty[case.inside].max() <= max(high, normal[case.inside].max()) + noise
        moved += not np.array_equal(normal[case.inside], faulty[case.inside])
    assert moved >= 4


@pytest.mark.parametrize("device_type", TYPES)
def test_sensor_faults_touch_their_sensor_alone(cases, device_type):
    for kind in ("sensor_failure", "stuck_sensor", "sensor_bias"):
        case = cases[device_type, kind]
        for metric in case.normal.metric_names:
            normal, faulty = case.pair(metric)
            if metric != case.fault.metric:
                assert np.array_equal(normal, faulty)
    failed = cases[device_type, "sensor_failure"]
    assert (failed.pair(failed.fault.metric)[1][failed.inside] == SENTINEL).all()
    biased = cases[device_type, "sensor_bias"]
    normal, faulty = biased.pair(biased.fault.metric)
    assert np.allclose((faulty - normal)[biased.inside], biased.fault.magnitude, atol=1.0)


def test_stuck_compressor_off_lets_the_zone_warm_up_at_little_power(cases):
    case = cases["rooftop_unit", "compressor_stuck_off"]
    normal, faulty = case.means("return_air_temp")
    assert faulty > normal + 1.5
    assert case.means("power_consumption")[1] < 0.5 * case.means("power_consumption")[0] + 0.5
    assert case.means("supply_air_temp")[1] > case.means("supply_air_temp")[0] + 4


def test_stuck_compressor_on_overcools(cases):
    case = cases["rooftop_unit", "compressor_stuck_on"]
    assert case.means("return_air_temp")[1] < case.means("return_air_temp")[0] - 1
    assert (column(case.faulty, "compressor_status")[case.inside] == 1).all()
    chilled = cases["chiller", "compressor_stuck_on"].means("chilled_water_supply_temp")
    assert chilled[1] < 38 < chilled[0]
    pressure = cases["air_compressor", "compressor_stuck_on"].means("discharge_pressure")
    assert pressure[1] > 125 > pressure[0]


def test_fouled_filter_raises_its_pressure_drop_and_takes_air(cases):
    case = cases["makeup_air_unit", "fouling"]
    assert case.means("filter_pressure_drop")[1] > 2 * case.means("filter_pressure_drop")[0]
    assert case.means("fan_speed")[1] > case.means("fan_speed")[0] + 50
    assert case.means("power_consumption")[1] > case.means("power_consumption")[0]


def test_fouled_condenser_raises_pressure_and_power(cases):
    case = cases["chiller", "fouling"]
    assert case.means("refrigerant_pressure_cond")[1] > case.means("refrigerant_pressure_cond")[0] + 4
    assert case.means("cop")[1] < case.means("cop")[0] - 0.3
    assert case.means("power_consumption")[1] > 1.05 * case.means("power_consumption")[0]


def test_low_chilled_water_flow_doubles_the_temperature_difference(cases):
    case = cases["chiller", "low_flow"]
    assert case.means("chilled_water_flow_rate")[1] < 0.7 * case.means("chilled_water_flow_rate")[0]
    assert case.means("chilled_water_delta_t")[1] > 1.3 * case.means("chilled_water_delta_t")[0]


def test_dead_tower_fan_lets_water_warm_up(cases):
    case = cases["cooling_tower", "fan_failure"]
    assert case.means("fan_speed")[1] < 10
    assert case.means("approach_temp")[1] > 15
    assert case.means("outlet_water_temp")[1] > case.means("outlet_water_temp")[0] + 8


def test_wrong_mode_heats_a_zone_that_wants_cooling(cases):
    case = cases["rooftop_unit", "wrong_mode"]
    assert case.means("heating_valve_position")[1] > 40
    assert case.means("supply_air_temp")[1] > case.means("supply_air_temp")[0] + 15


def test_efficiency_degrades_gradually(cases):
    case = cases["chiller", "efficiency_degradation"]
    ratio = (column(case.faulty, "cop") / column(case.normal, "cop"))[case.inside]
    quarters = [q.mean() for q in np.array_split(ratio, 4)]
    assert quarters[0] > quarters[1] > quarters[2] > quarters[3] - 0.01
    assert quarters[0] > 0.9
    assert quarters[3] < 0.75


@pytest.mark.parametrize("device_type", TYPES)
def test_novel_fault_swings_within_hard_limits(cases, device_type):
    """Hunting: what differs changes its sign again and again."""
    case = cases[device_type, "novel"]
    metric = {
        "rooftop_unit": "compressor_status",
        "makeup_air_unit": "fan_vfd_frequency",
        "chiller": "capacity_percentage",
        "cooling_tower": "fan_speed",
        "air_compressor": "motor_speed",
    }[device_type]
    values = column(case.faulty, metric)[case.inside]
    assert np.count_nonzero(np.diff(np.sign(values - values.mean()))) >= 20
    for point in device_types()[device_type].points:
        faulty = column(case.faulty, point.name)
        assert faulty.min() >= point.hard[0]
        assert faulty.max() <= point.hard[1]
