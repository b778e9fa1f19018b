"""Rules, one fixture family for each: normal, fault, gap, boundary, start-up; then what holds for all of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvac_platform.detection.rules import evaluate_rules, rule_lookback_ms, rule_scores
from hvac_platform.devices.registry import device_type, load_device_types, parse_device_type
from hvac_platform.snapshots import SnapshotSeries

MINUTE_MS = 60_000
DAY_MS = 86_400_000
NOON_MS = 20_000 * DAY_MS + DAY_MS // 2

#: A healthy state of each type, well inside every limit.
HEALTHY = {
    "rooftop_unit": {
        "supply_air_temp": 57.0,
        "return_air_temp": 74.0,
        "outdoor_air_temp": 85.0,
        "supply_air_humidity": 80.0,
        "return_air_humidity": 50.0,
        "cooling_setpoint": 74.0,
        "heating_setpoint": 68.0,
        "fan_speed": 1200.0,
        "fan_current": 12.0,
        "compressor_status": 1.0,
        "heating_valve_position": 0.0,
        "economizer_damper_position": 15.0,
        "filter_pressure_drop": 0.5,
        "power_consumption": 15.0,
    },
    "makeup_air_unit": {
        "supply_air_temp": 65.0,
        "outdoor_air_temp": 30.0,
        "supply_air_humidity": 30.0,
        "outdoor_air_humidity": 70.0,
        "supply_air_flow": 3500.0,
        "fan_speed": 1125.0,
        "fan_vfd_frequency": 45.0,
        "heating_coil_temp": 100.0,
        "cooling_coil_temp": 64.0,
        "filter_pressure_drop": 0.5,
        "static_pressure": 1.0,
        "damper_position": 90.0,
        "gas_valve_position": 50.0,
        "power_consumption": 6.0,
    },
    "chiller": {
        "chilled_water_supply_temp": 44.0,
        "chilled_water_return_temp": 54.0,
        "chilled_water_flow_rate": 600.0,  # 250 tons
        "chilled_water_delta_t": 10.0,
        "condenser_water_supply_temp": 75.0,
        "condenser_water_return_temp": 84.55,
        "condenser_water_flow_rate": 739.2,  # closes the heat balance: 3.0 + 0.53 MBtu/h
        "refrigerant_pressure_evap": 37.6,  # evaporates at 42.6 °F
        "refrigerant_pressure_cond": 97.0,  # condenses at 86.3 °F
        "compressor_current": 220.0,
        "compressor_status": 1.0,
        "capacity_percentage": 70.0,
        "cop": 5.67,
        "alarm_status": 0.0,
        "power_consumption": 155.0,
    },
    "cooling_tower": {
        "inlet_water_temp": 90.0,
        "outlet_water_temp": 80.0,
        "water_flow_rate": 800.0,
        "wet_bulb_temp": 74.0,
        "dry_bulb_temp": 85.0,
        "approach_temp": 6.0,
        "range_temp": 10.0,
        "fan_speed": 300.0,
        "fan_current": 20.0,
        "sump_water_level": 70.0,
        "makeup_water_flow": 9.0,  # evaporation is 6.8 gpm
        "blowdown_valve_position": 20.0,
        "vibration_level": 2.0,
        "power_consumption": 12.0,
    },
    "air_compressor": {
        "discharge_pressure": 110.0,
        "inlet_pressure": -0.1,
        "discharge_temp": 185.0,
        "ambient_temp": 75.0,
        "motor_current": 100.0,
        "motor_speed": 2700.0,
        "oil_pressure": 45.0,
        "oil_temp": 170.0,
        "cooling_water_temp": 75.0,
        "air_flow_rate": 350.0,
        "load_percentage": 70.0,
        "run_hours": 20_000.0,
        "vibration_level": 2.0,
        "power_consumption": 58.0,
    },
}


def series_of(type_name, minutes=60, start_ms=NOON_MS, step_minutes=1, moving=True, **changes):
    """One-minute snapshots of a healthy device, with columns replaced by numbers or arrays.

    Readings wobble by a thousandth of the hard range, so that no sensor looks frozen, unless ``moving`` is false.
    """
    loaded = device_type(type_name)
    n = minutes // step_minutes
    rng = np.random.default_rng(7)
    columns = []
    for point in loaded.points:
        value = np.broadcast_to(np.asarray(changes.pop(point.name, HEALTHY[type_name][point.name]), dtype=float), n)
        columns.append(value)
    assert not changes, changes
    mean = np.stack(columns, axis=1)
    # Means are exact, so that boundaries can be tested; the least and greatest reading of a window lie about them.
    spread = np.zeros_like(mean)
    for j, point in enumerate(loaded.points):
        low, high = point.hard
        if moving and point.kind == "analog" and not point.may_hold:
            room = np.nan_to_num(np.minimum(mean[:, j] - low, high - mean[:, j]))
            spread[:, j] = np.clip(room, 0.0, 0.001 * (high - low)) * rng.uniform(0.5, 1.0, n)
    count = np.where(np.isnan(mean), 0, 6)
    times_ms = start_ms + np.arange(n) * step_minutes * MINUTE_MS
    return SnapshotSeries(
        "unit-1", loaded.name, times_ms, loaded.metric_names, mean, count, mean - spread, mean + spread, mean.copy()
    )


def rows(series, chosen):
    """Part of a series, by slice or mask."""
    return replace(
        series,
        times_ms=series.times_ms[chosen],
        mean=series.mean[chosen],
        count=series.count[chosen],
        minimum=series.minimum[chosen],
        maximum=series.maximum[chosen],
        last=series.last[chosen],
    )


def judge(series):
    return evaluate_rules(series, device_type(series.device_type))


def fired(series, rule_id):
    """Rows at which a rule fired, bool [n]."""
    return np.array([any(reason.endswith(f"({rule_id})") for reason in reasons) for reasons in judge(series).reasons])


def step(n, at, before, after):
    """A value that changes at a row."""
    return np.where(np.arange(n) < at, before, after)


@dataclass(frozen=True)
class Family:
    """One rule's fixtures.

    ``fault`` replaces columns of the healthy state; ``boundary`` is the nearest state that must stay silent; ``level``
    and ``minutes`` are what is asked for; ``stopped`` is the fault on a machine at rest, which must stay silent.
    """

    type_name: str
    rule_id: str
    level: int
    minutes: int
    fault: dict[str, float]
    boundary: dict[str, float]
    says: str
    stopped: dict[str, float] = field(default_factory=dict)


AT_REST_RTU = {"fan_speed": 0.0, "fan_current": 0.0, "compressor_status": 0.0, "power_consumption": 0.2}
AT_REST_MAU = {"fan_speed": 0.0, "fan_vfd_frequency": 0.0, "supply_air_flow": 0.0, "static_pressure": 0.0}
AT_REST_CH = {"compressor_status": 0.0, "power_consumption": 1.0, "compressor_current": 0.0, "capacity_percentage": 0.0}
AT_REST_CT = {"water_flow_rate": 0.0, "fan_speed": 0.0, "fan_current": 0.0}
AT_REST_AC = {"motor_speed": 0.0, "motor_current": 0.0, "load_percentage": 0.0, "air_flow_rate": 0.0}

FAMILIES = [
    Family(
        "rooftop_unit",
        "rtu-1",
        3,
        5,
        {"power_consumption": 0.8},
        {"power_consumption": 2.0},
        "compressor on but power only 0.8 kW (rtu-1)",
        stopped={"power_consumption": 0.8, "compressor_status": 0.0},
    ),
    Family(
        "rooftop_unit",
        "rtu-2",
        2,
        5,
        {"fan_speed": 0.0, "fan_current": 0.0},
        {"fan_speed": 50.0},
        "compressor on while the fan stands still at 0 rpm (rtu-2)",
        stopped=AT_REST_RTU,
    ),
    Family(
        "rooftop_unit",
        "rtu-3",
        3,
        5,
        {"fan_current": 0.1},
        {"fan_current": 0.5},
        "fan speed 1,200 rpm and fan current 0.1 A disagree (rtu-3)",
        stopped=AT_REST_RTU,
    ),
    Family(
        "rooftop_unit",
        "rtu-4",
        3,
        19,  # fifteen minutes of compressor, then five of too little cooling; the fifteenth counts for both
        {"supply_air_temp": 70.0},
        {"supply_air_temp": 66.0},
        "compressor on for 15 min or longer but supply air at 70.0 °F is only 4.0 °F below return air (rtu-4)",
        stopped={"supply_air_temp": 70.0, "compressor_status": 0.0},
    ),
    Family(
        "rooftop_unit",
        "rtu-5",
        3,
        5,
        {"heating_valve_position": 30.0},
        {"heating_valve_position": 10.0},
        "heating valve open 30.0 % while the compressor cools (rtu-5)",
        stopped={"heating_valve_position": 30.0, "compressor_status": 0.0},
    ),
    Family(
        "rooftop_unit",
        "rtu-6",
        4,
        15,
        {"economizer_damper_position": 60.0},
        {"economizer_damper_position": 42.0},
        "economizer damper open 60.0 % with outdoor air at 85.0 °F (rtu-6)",
        stopped={"economizer_damper_position": 60.0, **AT_REST_RTU},
    ),
    Family(
        "rooftop_unit",
        "rtu-7",
        4,
        15,
        {"economizer_damper_position": 1.0},
        {"economizer_damper_position": 5.0},
        "economizer damper only 1.0 % open while cooling with outdoor air at 85.0 °F (rtu-7)",
        stopped={"economizer_damper_position": 1.0, **AT_REST_RTU},
    ),
    Family(
        "rooftop_unit",
        "rtu-8",
        4,
        15,
        {"outdoor_air_temp": 50.0},
        {"outdoor_air_temp": 60.0},
        "compressor on although outdoor air at 50.0 °F could cool (rtu-8)",
        stopped={"outdoor_air_temp": 50.0, "compressor_status": 0.0},
    ),
    Family(
        "rooftop_unit",
        "rtu-9",
        4,
        15,
        {"filter_pressure_drop": 1.4},
        {"filter_pressure_drop": 1.0},
        "filter pressure drop 1.40 inH2O is above 1 inH2O (rtu-9)",
        stopped={"filter_pressure_drop": 1.4, **AT_REST_RTU},
    ),
    Family(
        "rooftop_unit",
        "rtu-10",
        3,
        10,
        {"supply_air_temp": 46.0},
        {"supply_air_temp": 49.0},
        "supply air at 46.0 °F is 28.0 °F from return air, more than 25.0 °F (rtu-10)",
        stopped={"supply_air_temp": 46.0, **AT_REST_RTU},
    ),
    Family(
        "makeup_air_unit",
        "mau-1",
        2,
        5,
        {"supply_air_temp": 36.0, "gas_valve_position": 0.0},
        {"supply_air_temp": 38.0, "gas_valve_position": 0.0},
        "supply air at 36.0 °F is below 38 °F and may freeze coils (mau-1)",
        stopped={"supply_air_temp": 36.0, **AT_REST_MAU},
    ),
    Family(
        "makeup_air_unit",
        "mau-2",
        3,
        15,
        {"gas_valve_position": 98.0, "supply_air_temp": 60.0},
        {"gas_valve_position": 98.0, "supply_air_temp": 64.0},
        "gas valve open 98.0 % but supply air only 60.0 °F, target 65 °F (mau-2)",
        stopped={"gas_valve_position": 98.0, "supply_air_temp": 60.0, **AT_REST_MAU},
    ),
    Family(
        "makeup_air_unit",
        "mau-3",
        3,
        15,
        {"outdoor_air_temp": 62.0},
        {"outdoor_air_temp": 60.0},
        "gas valve open 50.0 % but supply air only 3.0 °F warmer than outdoor air (mau-3)",
        stopped={"outdoor_air_temp": 62.0, **AT_REST_MAU},
    ),
    Family(
        "makeup_air_unit",
        "mau-4",
        3,
        15,
        {"gas_valve_position": 0.0, "outdoor_air_temp": 50.0},
        {"gas_valve_position": 0.0, "outdoor_air_temp": 57.75},
        "gas valve closed but supply air 15.0 °F warmer than outdoor air (mau-4)",
        stopped={"gas_valve_position": 0.0, "outdoor_air_temp": 50.0, **AT_REST_MAU},
    ),
    Family(
        "makeup_air_unit",
        "mau-5",
        3,
        5,
        {"damper_position": 2.0},
        {"damper_position": 10.0},
        "damper only 2.0 % open but air flow 3,500 cfm (mau-5)",
        stopped={"damper_position": 2.0, **AT_REST_MAU},
    ),
    Family(
        "makeup_air_unit",
        "mau-6",
        3,
        10,
        {"fan_vfd_frequency": 57.0, "fan_speed": 1425.0, "static_pressure": 0.6},
        {"fan_vfd_frequency": 57.0, "fan_speed": 1425.0, "static_pressure": 0.88},
        "fan drive at 95.0 % but static pressure only 0.60 inH2O, setpoint 1 inH2O (mau-6)",
        stopped=AT_REST_MAU,
    ),
    Family(
        "makeup_air_unit",
        "mau-7",
        3,
        5,
        {"fan_speed": 900.0},
        {"fan_speed": 1070.0},
        "fan turns 900 rpm at 45.0 Hz, 20.0 rpm/Hz instead of 25 rpm/Hz (mau-7)",
        stopped=AT_REST_MAU,
    ),
    Family(
        "makeup_air_unit",
        "mau-8",
        4,
        15,
        {"filter_pressure_drop": 1.4},
        {"filter_pressure_drop": 1.0},
        "filter pressure drop 1.40 inH2O is above 1 inH2O (mau-8)",
        stopped={"filter_pressure_drop": 1.4, **AT_REST_MAU},
    ),
    Family(
        "chiller",
        "ch-1",
        4,
        15,
        {"chilled_water_delta_t": 3.0, "chilled_water_return_temp": 47.0},
        {"chilled_water_delta_t": 4.0, "chilled_water_return_temp": 48.0},
        "chilled water temperature difference only 3.0 °F at 70.0 % load (ch-1)",
        stopped={"chilled_water_delta_t": 3.0, "chilled_water_return_temp": 47.0, **AT_REST_CH},
    ),
    Family(
        "chiller",
        "ch-2",
        3,
        15,
        {"chilled_water_supply_temp": 47.0},
        {"chilled_water_supply_temp": 46.0},
        "leaving chilled water at 47.0 °F is more than 2.2 °F from its setpoint 44 °F (ch-2)",
        stopped={"chilled_water_supply_temp": 60.0, **AT_REST_CH},
    ),
    Family(
        "chiller",
        "ch-3",
        3,
        5,
        {"chilled_water_delta_t": 13.0},
        {"chilled_water_delta_t": 11.0},
        "chilled water temperature difference reads 13.0 °F, return minus supply is 10.0 °F (ch-3)",
    ),
    Family(
        "chiller",
        "ch-4a",
        3,
        15,
        {"refrigerant_pressure_evap": 31.0},
        {"refrigerant_pressure_evap": 34.5},
        "evaporator approach 8.3 °F is above 5 °F, evaporating at 35.7 °F (ch-4a)",
        stopped={"refrigerant_pressure_evap": 31.0, **AT_REST_CH},
    ),
    Family(
        "chiller",
        "ch-4b",
        3,
        15,
        {"refrigerant_pressure_cond": 115.0},
        {"refrigerant_pressure_cond": 102.0},
        "condenser approach 10.9 °F is above 5 °F, condensing at 95.5 °F (ch-4b)",
        stopped={"refrigerant_pressure_cond": 115.0, **AT_REST_CH},
    ),
    Family(
        "chiller",
        "ch-5",
        4,
        15,
        {"cop": 3.2, "power_consumption": 275.0},
        {"cop": 3.52, "power_consumption": 250.0},
        "1.10 kW/ton at 70.0 % load is above 1 kW/ton (ch-5)",
        stopped={"cop": 3.2, **AT_REST_CH},
    ),
    Family(
        "chiller",
        "ch-6",
        4,
        15,
        {"cop": 7.5},
        {"cop": 6.5},
        "coefficient of performance reads 7.50, flow, temperature difference and power give 5.67 (ch-6)",
        stopped={"cop": 7.5, **AT_REST_CH},
    ),
    Family(
        "chiller",
        "ch-7",
        4,
        15,
        {"condenser_water_flow_rate": 500.0},
        {"condenser_water_flow_rate": 640.0},
        "heat to condenser water 2,387,500 Btu/h and heat from chilled water and compressor 3,528,860 Btu/h differ by "
        "32.3 % (ch-7)",
        stopped={"condenser_water_flow_rate": 500.0, **AT_REST_CH},
    ),
    Family(
        "chiller",
        "ch-8",
        3,
        5,
        {**AT_REST_CH, "power_consumption": 40.0},
        {**AT_REST_CH, "power_consumption": 5.0},
        "compressor off but power 40 kW (ch-8)",
    ),
    Family(
        "chiller",
        "ch-9",
        2,
        5,
        {"chilled_water_supply_temp": 36.0},
        {"chilled_water_supply_temp": 38.0},
        "leaving chilled water at 36.0 °F is below 38 °F and may freeze the evaporator (ch-9)",
    ),
    Family(
        "chiller",
        "ch-10",
        3,
        1,
        {"alarm_status": 1.0},
        {"alarm_status": 0.5},
        "the chiller reports an alarm of its own (ch-10)",
    ),
    Family(
        "cooling_tower",
        "ct-1",
        4,
        15,
        {"fan_speed": 395.0, "approach_temp": 9.0, "outlet_water_temp": 83.0, "inlet_water_temp": 93.0},
        {"fan_speed": 395.0, "approach_temp": 8.0, "outlet_water_temp": 82.0, "inlet_water_temp": 92.0},
        "approach 9.0 °F is above 8 °F at full fan (ct-1)",
        stopped={**AT_REST_CT, "approach_temp": 9.0},
    ),
    Family(
        "cooling_tower",
        "ct-2",
        3,
        5,
        {"outlet_water_temp": 70.0},
        {"outlet_water_temp": 73.0},
        "outlet water at 70.0 °F is colder than wet bulb 74.0 °F, so one sensor is wrong (ct-2)",
        stopped={**AT_REST_CT, "outlet_water_temp": 70.0},
    ),
    Family(
        "cooling_tower",
        "ct-3a",
        3,
        5,
        {"approach_temp": 8.0},
        {"approach_temp": 7.0},
        "approach reads 8.0 °F, outlet minus wet bulb is 6.0 °F (ct-3a)",
        stopped={**AT_REST_CT, "approach_temp": 8.0},
    ),
    Family(
        "cooling_tower",
        "ct-3b",
        3,
        5,
        {"range_temp": 13.0},
        {"range_temp": 11.0},
        "range reads 13.0 °F, inlet minus outlet is 10.0 °F (ct-3b)",
        stopped={**AT_REST_CT, "range_temp": 13.0},
    ),
    Family(
        "cooling_tower",
        "ct-4",
        3,
        15,
        {"fan_speed": 380.0, "outlet_water_temp": 88.0, "inlet_water_temp": 98.0, "approach_temp": 14.0},
        {"fan_speed": 379.0, "outlet_water_temp": 88.0, "inlet_water_temp": 98.0, "approach_temp": 14.0},
        "full fan but outlet water at 88.0 °F is 14.0 °F above wet bulb, design 7 °F (ct-4)",
        stopped={**AT_REST_CT, "outlet_water_temp": 88.0},
    ),
    Family(
        "cooling_tower",
        "ct-5",
        3,
        5,
        {"fan_current": 0.1},
        {"fan_current": 0.5},
        "fan speed 300 rpm but fan current only 0.1 A (ct-5)",
        stopped=AT_REST_CT,
    ),
    Family(
        "cooling_tower",
        "ct-6",
        3,
        5,
        {"sump_water_level": 30.0},
        {"sump_water_level": 40.0},
        "sump water level 30.0 % is below 40 % (ct-6)",
    ),
    Family(
        "cooling_tower",
        "ct-7",
        4,
        30,
        {"makeup_water_flow": 25.0},
        {"makeup_water_flow": 14.5},
        "makeup water 25.0 gpm against 6.8 gpm of evaporation, perhaps a leak (ct-7)",
        stopped={**AT_REST_CT, "makeup_water_flow": 25.0},
    ),
    Family(
        "cooling_tower",
        "ct-8a",
        3,
        5,
        {"vibration_level": 6.0},
        {"vibration_level": 4.5},
        "vibration 6.00 mm/s is above 4.5 mm/s (ct-8a)",
    ),
    Family(
        "cooling_tower",
        "ct-8b",
        2,
        5,
        {"vibration_level": 9.0},
        {"vibration_level": 7.1},
        "vibration 9.00 mm/s is above 7.1 mm/s and may cause damage (ct-8b)",
    ),
    Family(
        "air_compressor",
        "ac-1a",
        3,
        120,
        {"discharge_pressure": 98.0},
        {"discharge_pressure": 100.0},
        "discharge pressure 98.0 psig has been more than 10 psi from 110 psig for 2 h (ac-1a)",
        stopped={**AT_REST_AC, "discharge_pressure": 20.0},
    ),
    Family(
        "air_compressor",
        "ac-1b",
        3,
        120,
        {"discharge_pressure": 135.0},
        {"discharge_pressure": 130.0},
        "discharge pressure 135.0 psig has been above 130 psig for 2 h (ac-1b)",
        stopped={**AT_REST_AC, "discharge_pressure": 135.0},
    ),
    Family(
        "air_compressor",
        "ac-2a",
        3,
        5,
        {"discharge_temp": 225.0},
        {"discharge_temp": 221.0},
        "discharge temperature 225.0 °F is above 221 °F (ac-2a)",
    ),
    Family(
        "air_compressor",
        "ac-2b",
        2,
        1,
        {"discharge_temp": 230.0},
        {"discharge_temp": 229.9},
        "discharge temperature 230.0 °F has reached the trip limit 230 °F (ac-2b)",
    ),
    Family(
        "air_compressor",
        "ac-3",
        4,
        15,
        {"power_consumption": 84.0},
        {"power_consumption": 77.0},
        "specific power 24.0 kW per 100 cfm is above 22 kW per 100 cfm (ac-3)",
        stopped=AT_REST_AC,
    ),
    Family(
        "air_compressor",
        "ac-4",
        4,
        120,
        {"motor_speed": 3560.0},
        {"motor_speed": 3420.0},
        "motor at 98.9 % of full speed for 2 h, so demand exceeds capacity (ac-4)",
    ),
    Family(
        "air_compressor",
        "ac-6",
        3,
        5,
        {"motor_current": 0.2},
        {"motor_current": 1.0},
        "load 70.0 % but motor current only 0.2 A (ac-6)",
        stopped=AT_REST_AC,
    ),
    Family(
        "air_compressor",
        "ac-7",
        2,
        5,
        {"oil_pressure": 15.0},
        {"oil_pressure": 25.0},
        "oil pressure 15.0 psig is below 25 psig while running (ac-7)",
        stopped={**AT_REST_AC, "oil_pressure": 0.0},
    ),
    Family(
        "air_compressor",
        "ac-9",
        4,
        5,
        {"inlet_pressure": -0.8},
        {"inlet_pressure": -0.5},
        "inlet pressure -0.80 psig is more than 0.5 psi from the atmosphere (ac-9)",
        stopped={**AT_REST_AC, "inlet_pressure": -0.8},
    ),
    Family(
        "air_compressor",
        "ac-10a",
        3,
        5,
        {"vibration_level": 6.0},
        {"vibration_level": 4.5},
        "vibration 6.00 mm/s is above 4.5 mm/s (ac-10a)",
    ),
    Family(
        "air_compressor",
        "ac-10b",
        2,
        5,
        {"vibration_level": 9.0},
        {"vibration_level": 7.1},
        "vibration 9.00 mm/s is above 7.1 mm/s and may cause damage (ac-10b)",
    ),
]
#: Rules whose fault is no steady state; they have tests of their own.
OTHERS = {"ac-5", "ac-8"}


def rule_of(family):
    return next(rule for rule in device_type(family.type_name).rules if rule.id == family.rule_id)


def each_family(applies=lambda family: True):
    """The families to which a test applies."""
    chosen = [family for family in FAMILIES if applies(family)]
    return pytest.mark.parametrize("family", chosen, ids=[family.rule_id for family in chosen])


def test_every_rule_has_a_family():
    rule_ids = {rule.id for loaded in load_device_types().values() for rule in loaded.rules}
    assert {family.rule_id for family in FAMILIES} | OTHERS == rule_ids


@pytest.mark.parametrize("type_name", HEALTHY)
class TestHealthyDevices:
    def test_no_rule_fires(self, type_name):
        verdicts = judge(series_of(type_name, minutes=300))
        assert not verdicts.anomalous.any(), next(reasons for reasons in verdicts.reasons if reasons)

    def test_verdicts_are_complete(self, type_name):
        verdicts = judge(series_of(type_name))
        assert verdicts.method == "rules"
        assert len(verdicts.times_ms) == len(verdicts.reasons) == len(verdicts.metrics) == 60
        assert verdicts.score.tolist() == [0.0] * 60
        assert verdicts.level.dtype == np.int8
        assert set(verdicts.reasons) == set(verdicts.metrics) == {()}


class TestEachRule:
    LEAD = 90  # minutes of health before a fault: past every start-up and as long as memory reaches

    def with_fault(self, family, minutes=0):
        n = self.LEAD + family.minutes + 10 + minutes
        healthy = HEALTHY[family.type_name]
        changes = {name: step(n, self.LEAD, healthy[name], value) for name, value in family.fault.items()}
        return series_of(family.type_name, minutes=n, **changes)

    @each_family()
    def test_fault_fires_after_its_time(self, family):
        hits = fired(self.with_fault(family), family.rule_id)
        # The compressor of rtu-4 has already run for its fifteen minutes when the fault begins.
        wait = 5 if family.rule_id == "rtu-4" else family.minutes
        assert np.flatnonzero(hits)[0] == self.LEAD + wait - 1
        assert hits[self.LEAD + wait - 1 :].all()

    @each_family()
    def test_fault_is_told_with_values_and_units(self, family):
        verdicts = judge(self.with_fault(family))
        assert family.says in verdicts.reasons[-1]
        assert verdicts.level[-1] <= family.level
        rule = rule_of(family)
        assert rule.level == family.level
        assert set(rule.metrics) <= set(verdicts.metrics[-1])
        assert rule.metrics[0] in family.fault or family.rule_id in {"rtu-8", "mau-3", "mau-4"}

    @each_family()
    def test_scores_without_reasons_are_the_same(self, family):
        series = self.with_fault(family)
        some = np.arange(0, len(series), 3)
        verdicts = evaluate_rules(series, device_type(family.type_name), some)
        score, anomalous = rule_scores(series, device_type(family.type_name), some)
        assert score.tolist() == verdicts.score.tolist()
        assert anomalous.tolist() == verdicts.anomalous.tolist()

    @each_family()
    def test_boundary_is_silent(self, family):
        n = 180
        assert not fired(series_of(family.type_name, minutes=n, **family.boundary), family.rule_id).any()

    @each_family(lambda family: family.minutes >= 5)
    def test_gap_starts_the_time_anew(self, family):
        series = self.with_fault(family, minutes=200)
        broken = np.ones(len(series), dtype=bool)
        gap_at = self.LEAD + family.minutes + 5
        broken[gap_at : gap_at + 3] = False  # the next snapshot is four windows later
        after = fired(rows(series, broken), family.rule_id)[gap_at:]
        assert not after[: family.minutes - 1].any()
        assert after[-1]

    @each_family()
    def test_missing_readings_start_the_time_anew(self, family):
        rule = rule_of(family)
        series = self.with_fault(family, minutes=200)
        row, column = self.LEAD + family.minutes + 5, series.metric_names.index(rule.metrics[0])
        series.mean[row, column] = series.minimum[row, column] = series.maximum[row, column] = np.nan
        series.count[row, column] = 0
        hits = fired(series, family.rule_id)
        assert hits[row - 1]
        assert not hits[row]
        assert not hits[row : row + min(family.minutes, 5) - 1].any()
        assert hits[-1]

    @each_family(lambda family: "starting" in rule_of(family).suppress)
    def test_start_up_is_silent(self, family):
        startup = round(device_type(family.type_name).parameters["startup_time"].value)
        # Nothing is known before the first snapshot, so the machine may have started with it.
        hits = fired(series_of(family.type_name, minutes=startup + family.minutes + 40, **family.fault), family.rule_id)
        assert not hits[: startup + 1].any()
        assert hits[-1]

    @each_family(lambda family: family.stopped)
    def test_at_rest_it_is_silent(self, family):
        assert not fired(series_of(family.type_name, minutes=180, **family.stopped), family.rule_id).any()

    @each_family()
    def test_causality(self, family):
        series = self.with_fault(family)
        whole = judge(series)
        for end in (1, self.LEAD, self.LEAD + family.minutes - 1, self.LEAD + family.minutes, len(series) - 1):
            part = judge(rows(series, slice(0, end)))
            assert part.reasons == whole.reasons[:end]
            assert part.level.tolist() == whole.level[:end].tolist()


class TestModesOfRules:
    def test_fan_current_without_speed_disagrees_too(self):
        series = series_of("rooftop_unit", fan_speed=0.0, fan_current=3.0, compressor_status=0.0)
        assert fired(series, "rtu-3")[-1]

    def test_a_heating_unit_may_blow_warmer_than_a_cooling_one_cold(self):
        heating = {"compressor_status": 0.0, "heating_valve_position": 60.0, "return_air_temp": 68.0}
        assert not fired(series_of("rooftop_unit", supply_air_temp=98.0, **heating), "rtu-10").any()
        assert fired(series_of("rooftop_unit", supply_air_temp=108.0, **heating), "rtu-10")[-1]

    def test_a_compressor_that_just_started_need_not_cool_yet(self):
        status = step(60, 30, 0.0, 1.0)
        hits = fired(series_of("rooftop_unit", compressor_status=status, supply_air_temp=70.0), "rtu-4")
        assert np.flatnonzero(hits)[0] == 30 + 15 + 5 - 2

    def test_a_window_in_which_the_compressor_switches_is_not_on(self):
        series = series_of("rooftop_unit", compressor_status=0.5, power_consumption=0.5)
        assert not fired(series, "rtu-1").any()

    def test_freezing_is_told_although_the_sensor_is_out_of_range(self):
        verdicts = judge(series_of("makeup_air_unit", supply_air_temp=10.0, outdoor_air_temp=-5.0))
        assert verdicts.level[-1] == 2
        assert verdicts.reasons[-1][0] == "supply air at 10.0 °F is below 38 °F and may freeze coils (mau-1)"
        assert "supply air temperature 10.0 °F is below its hard limit 30 °F" in verdicts.reasons[-1]

    def test_freezing_is_not_told_of_a_broken_sensor(self):
        verdicts = judge(series_of("makeup_air_unit", supply_air_temp=-999.0))
        assert set(verdicts.level.tolist()) == {3}

    def test_a_reading_out_of_range_takes_no_part_in_relationships(self):
        verdicts = judge(series_of("chiller", chilled_water_delta_t=99.0))
        assert set(verdicts.reasons) == {
            ("chilled water temperature difference 99.0 °F is above its hard limit 30 °F",)
        }

    def test_a_metric_that_is_not_reported_silences_its_rules(self):
        series = series_of("rooftop_unit", power_consumption=0.5)
        j = series.metric_names.index("power_consumption")
        keep = [k for k in range(14) if k != j]
        without = SnapshotSeries(
            "unit-1",
            "rooftop_unit",
            series.times_ms,
            tuple(series.metric_names[k] for k in keep),
            series.mean[:, keep],
            series.count[:, keep],
            series.minimum[:, keep],
            series.maximum[:, keep],
            series.last[:, keep],
        )
        assert not judge(without).anomalous.any()


class TestOffHoursLeak:
    """ac-5 compares night flow with the mean of the last 24 hours."""

    def flow(self, night, days=2):
        hour = np.arange(days * 288) * 5 / 60 % 24
        return np.where((hour >= 22) | (hour < 5), night, 350.0)

    def series(self, night):
        series = series_of(
            "air_compressor", minutes=2 * 1440, step_minutes=5, start_ms=20_000 * DAY_MS, air_flow_rate=self.flow(night)
        )
        return replace(series, window_ms=5 * MINUTE_MS)

    def test_a_leak_in_the_night(self):
        series = self.series(150.0)
        hits = fired(series, "ac-5")
        hour = series.times_ms % DAY_MS / 3_600_000
        assert not hits[:144].any()  # half a day must be known
        assert not hits[(hour >= 5) & (hour < 22)].any()
        assert hits[(hour >= 23) | ((hour < 5) & (series.times_ms > series.times_ms[0] + DAY_MS))].all()
        assert any("air flow 150 cfm in off-hours" in r for r in judge(series).reasons[-1])

    def test_a_tight_system(self):
        assert not fired(self.series(20.0), "ac-5").any()

    def test_verdicts_need_one_day_of_history_and_an_hour(self):
        assert rule_lookback_ms(device_type("air_compressor")) >= DAY_MS + 60 * MINUTE_MS


class TestRunHours:
    """ac-8 finds a counter that goes back."""

    def test_a_counter_that_falls(self):
        hits = fired(series_of("air_compressor", run_hours=step(60, 30, 20_000.0, 150.0)), "ac-8")
        assert np.flatnonzero(hits).tolist() == [30]

    def test_values_are_told(self):
        reasons = judge(series_of("air_compressor", run_hours=step(60, 30, 20_000.0, 150.0))).reasons[30]
        assert reasons == ("run hours fell from 20,000.0 h to 150.0 h, so the counter is wrong (ac-8)",)

    def test_a_counter_that_rests_or_rises(self):
        assert not fired(series_of("air_compressor", run_hours=step(60, 30, 20_000.0, 20_000.1)), "ac-8").any()

    def test_rounding_is_no_fall(self):
        assert not fired(series_of("air_compressor", run_hours=step(60, 30, 20_000.0, 19_999.96)), "ac-8").any()

    def test_after_a_gap_nothing_is_compared(self):
        series = series_of("air_compressor", run_hours=step(60, 30, 20_000.0, 150.0))
        mask = np.ones(60, dtype=bool)
        mask[27:30] = False
        assert not fired(rows(series, mask), "ac-8").any()


class TestHardLimits:
    @pytest.mark.parametrize("type_name", HEALTHY)
    def test_every_point_has_both_limits(self, type_name):
        for point in device_type(type_name).points:
            for limit, beyond, word in ((point.hard[0], -0.5, "below"), (point.hard[1], 0.5, "above")):
                at = judge(series_of(type_name, minutes=2, moving=False, **{point.name: limit}))
                assert not any(f"{point.title} " in r and "hard limit" in r for reasons in at.reasons for r in reasons)
                over = judge(series_of(type_name, minutes=2, moving=False, **{point.name: limit + beyond}))
                assert any(r.startswith(point.title) and f"is {word} its hard limit" in r for r in over.reasons[0])
                assert over.level[0] <= 3
                assert point.name in over.metrics[0]

    def test_the_sentence(self):
        verdicts = judge(series_of("rooftop_unit", minutes=1, supply_air_temp=28.0))
        assert verdicts.reasons == [("supply air temperature 28.0 °F is below its hard limit 30 °F",)]
        assert (verdicts.level[0], verdicts.score[0]) == (3, 2.0)

    def test_one_reading_of_the_window_is_enough(self):
        series = series_of("rooftop_unit", minutes=1)
        series.maximum[0, 0] = 300.0
        assert judge(series).reasons == [("supply air temperature 300.0 °F is above its hard limit 150 °F",)]

    def test_the_mark_of_a_broken_sensor_is_named(self):
        verdicts = judge(series_of("rooftop_unit", minutes=1, return_air_temp=-999.0))
        assert verdicts.reasons == [("return air temperature reads -999, the mark of a broken sensor",)]

    @pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
    def test_a_value_that_is_not_finite(self, value):
        series = series_of("rooftop_unit", minutes=1)
        for array in (series.mean, series.minimum, series.maximum):
            array[0, 0] = value
        assert judge(series).reasons == [("supply air temperature is not a finite number",)]

    def test_an_absent_metric_is_no_fault(self):
        assert not judge(series_of("rooftop_unit", supply_air_temp=np.nan)).anomalous.any()

    def test_a_point_without_hard_limits_has_none(self):
        loaded = parse_device_type("{name: probe, points: [{name: depth}]}", "probe.yaml")
        reading = np.array([[-999.0], [1e12]])
        series = SnapshotSeries(
            "p", "probe", np.array([0, 60_000]), ("depth",), reading, np.ones((2, 1), int), *[reading] * 3
        )
        assert not evaluate_rules(series, loaded).anomalous.any()


class TestFrozenSensors:
    WINDOWS = 30

    def frozen(self, type_name="rooftop_unit", metric="return_air_temp", minutes=120, at=40, **changes):
        series = series_of(type_name, minutes=minutes, **changes)
        j = series.metric_names.index(metric)
        for array in (series.minimum, series.maximum):
            array[at:, j] = series.mean[at:, j]
        return series

    def told(self, series, title="return air temperature"):
        return np.array(
            [any(r.startswith(f"{title} has not moved") for r in reasons) for reasons in judge(series).reasons]
        )

    def test_after_its_windows_it_is_told(self):
        series = self.frozen()
        assert np.flatnonzero(self.told(series))[0] == 40 + self.WINDOWS - 1
        verdicts = judge(series)
        assert verdicts.reasons[-1] == (
            "return air temperature has not moved from 74 °F for 30 min or more while other sensors did",
        )
        assert (verdicts.level[-1], verdicts.metrics[-1]) == (4, ("return_air_temp",))

    def test_one_other_digit_starts_anew(self):
        series = self.frozen()
        j = series.metric_names.index("return_air_temp")
        series.minimum[75, j] = series.maximum[75, j] = 74.1
        told = self.told(series)
        assert told[74]
        assert np.flatnonzero(told[75:])[0] == 1 + self.WINDOWS - 1

    def test_a_gap_starts_anew(self):
        series = self.frozen()
        mask = np.ones(len(series), dtype=bool)
        mask[60:63] = False
        told = self.told(rows(series, mask))
        assert np.flatnonzero(told)[0] == 60 + self.WINDOWS - 1

    def test_when_all_sensors_hold_the_source_is_at_fault_and_none_of_them(self):
        assert not judge(series_of("rooftop_unit", minutes=120, moving=False)).anomalous.any()

    def test_a_machine_at_rest_may_hold(self):
        series = self.frozen(fan_speed=0.0, fan_current=0.0, compressor_status=0.0, power_consumption=0.2)
        assert not self.told(series).any()

    @pytest.mark.parametrize(
        ("metric", "value"), [("supply_air_humidity", 100.0), ("fan_current", 25.0), ("outdoor_air_temp", 0.0)]
    )
    def test_the_end_of_a_range_may_hold(self, metric, value):
        title = device_type("rooftop_unit").point(metric).title
        assert not self.told(self.frozen(metric=metric, **{metric: value}), title).any()

    @pytest.mark.parametrize(
        "metric", ["cooling_setpoint", "heating_valve_position", "economizer_damper_position", "compressor_status"]
    )
    def test_commands_and_states_may_hold(self, metric):
        title = device_type("rooftop_unit").point(metric).title
        assert not self.told(self.frozen(metric=metric), title).any()

    def test_a_counter_may_hold(self):
        assert not self.told(self.frozen("air_compressor", "run_hours"), "run hours").any()


class TestUnknownTypesAndOddSeries:
    def test_an_unknown_type_is_checked_for_numbers_that_no_sensor_reads(self):
        reading = np.array([[1e9, -999.0], [np.inf, 1.0], [2.0, 1.7e308]])
        times = np.array([0, 60_000, 120_000])
        series = SnapshotSeries(
            "b-1", "boiler", times, ("flue_temp", "flow"), reading, np.ones((3, 2), int), *[reading] * 3
        )
        verdicts = evaluate_rules(series, None)
        assert verdicts.reasons == [
            (),
            ("flue temp is not a finite number",),
            ("flow reads a number of 309 digits, which no sensor does",),
        ]
        assert rule_lookback_ms(None) == 0

    def test_no_snapshots(self):
        for loaded in (None, *load_device_types().values()):
            empty = rows(series_of("rooftop_unit", minutes=1), slice(0, 0))
            assert len(evaluate_rules(empty, loaded).reasons) == 0

    def test_metrics_that_the_type_does_not_know_are_ignored(self):
        series = series_of("rooftop_unit", minutes=2)
        renamed = replace(series, metric_names=tuple(f"x_{name}" for name in series.metric_names))
        assert not judge(renamed).anomalous.any()

    def test_the_input_is_not_changed(self):
        series = series_of("rooftop_unit", power_consumption=0.5, supply_air_temp=-999.0)
        before = series.mean.copy(), series.minimum.copy(), series.maximum.copy()
        judge(series)
        for kept, now in zip(before, (series.mean, series.minimum, series.maximum), strict=True):
            np.testing.assert_array_equal(kept, now)

    def test_several_faults_are_ordered_by_severity(self):
        verdicts = judge(series_of("rooftop_unit", minutes=30, fan_speed=0.0, fan_current=3.0, return_air_temp=150.0))
        assert [r.rsplit(" ", 1)[-1] for r in verdicts.reasons[-1]] == ["(rtu-2)", "°F", "(rtu-3)"]
        assert (verdicts.level[-1], verdicts.score[-1]) == (2, 3.0)
        assert verdicts.metrics[-1] == ("fan_speed", "compressor_status", "return_air_temp", "fan_current")


def test_derived_conditions_and_minutes_of_a_user_type():
    pump = parse_device_type(
        """
        name: pump
        points: [{name: power}, {name: flow}]
        derived: {specific: power / flow}
        conditions: {running: flow > 1, settled: minutes_running >= 3}
        rules: [{id: p-1, when: settled & (specific > 2), for: 2, message: "{specific} at {prev_flow}"}]
        """,
        "pump.yaml",
    )
    reading = np.stack([np.full(8, 30.0), np.array([0.0, 10, 10, 10, 10, 10, 10, 20])], axis=1)
    series = SnapshotSeries(
        "p", "pump", np.arange(8) * 60_000, ("power", "flow"), reading, np.ones((8, 2), int), *[reading] * 3
    )
    verdicts = evaluate_rules(series, pump)
    assert np.flatnonzero(verdicts.anomalous).tolist() == [4, 5, 6]
    assert verdicts.reasons[4] == ("3.0 at 10.00 (p-1)",)


@st.composite
def random_series(draw):
    """Series that wander in and out of faults, with gaps, absent readings, frozen stretches and broken sensors."""
    type_name = draw(st.sampled_from(sorted(HEALTHY)))
    loaded = device_type(type_name)
    n = draw(st.integers(2, 150))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    low, high = np.array([point.normal for point in loaded.points]).T
    # Values that stay for a while, so that conditions hold long enough for rules to fire.
    stretch = np.cumsum(rng.random(n) < 0.05)
    mean = (low + (high - low) * rng.uniform(-0.1, 1.1, (stretch[-1] + 1, len(low))))[stretch]
    for j, point in enumerate(loaded.points):
        if point.kind == "binary":
            mean[:, j] = rng.integers(0, 2, stretch[-1] + 1)[stretch]
    mean[rng.random(mean.shape) < 0.002] = np.nan
    mean[rng.random(mean.shape) < 0.001] = -999.0
    spread = np.where(rng.random(mean.shape) < 0.5, 0.0, 0.001)
    steps = np.where(rng.random(n) < 0.03, rng.integers(2, 10, n), 1)
    times_ms = NOON_MS + np.cumsum(steps) * MINUTE_MS
    count = np.where(np.isnan(mean), 0, 6)
    return SnapshotSeries(
        "unit-1", type_name, times_ms, loaded.metric_names, mean, count, mean - spread, mean + spread, mean
    )


class TestProperties:
    @settings(max_examples=60, deadline=None)
    @given(random_series(), st.data())
    def test_later_rows_do_not_change_earlier_verdicts(self, series, data):
        end = data.draw(st.integers(0, len(series)))
        whole, part = judge(series), judge(rows(series, slice(0, end)))
        assert part.reasons == whole.reasons[:end]
        assert part.metrics == whole.metrics[:end]
        assert part.level.tolist() == whole.level[:end].tolist()

    @settings(max_examples=60, deadline=None)
    @given(random_series(), st.data())
    def test_history_beyond_the_lookback_does_not_matter(self, series, data):
        start = data.draw(st.integers(0, len(series) - 1))
        whole, part = judge(series), judge(rows(series, slice(start, None)))
        enough = series.times_ms[start:] - series.times_ms[start] >= rule_lookback_ms(device_type(series.device_type))
        for i in np.flatnonzero(enough):
            assert part.reasons[i] == whole.reasons[start + i]

    @settings(max_examples=60, deadline=None)
    @given(random_series())
    def test_score_level_reasons_and_metrics_agree(self, series):
        verdicts = judge(series)
        for i in range(len(series)):
            assert verdicts.anomalous[i] == bool(verdicts.reasons[i]) == bool(verdicts.metrics[i])
            assert verdicts.anomalous[i] == (verdicts.score[i] >= 1.0) == (1 <= verdicts.level[i] <= 4)
            assert verdicts.score[i] == (5.0 - verdicts.level[i] if verdicts.anomalous[i] else 0.0)
            assert len(set(verdicts.metrics[i])) == len(verdicts.metrics[i])
            assert set(verdicts.metrics[i]) <= set(series.metric_names)
            assert not any("nan" in reason or "{" in reason for reason in verdicts.reasons[i])

    @settings(max_examples=60, deadline=None)
    @given(random_series())
    def test_order_of_metrics_does_not_matter(self, series):
        order = np.random.default_rng(len(series)).permutation(len(series.metric_names))
        shuffled = replace(
            series,
            metric_names=tuple(series.metric_names[k] for k in order),
            mean=series.mean[:, order],
            count=series.count[:, order],
            minimum=series.minimum[:, order],
            maximum=series.maximum[:, order],
            last=series.last[:, order],
        )
        one, other = judge(series), judge(shuffled)
        assert one.level.tolist() == other.level.tolist()
        assert [set(r) for r in one.reasons] == [set(r) for r in other.reasons]
