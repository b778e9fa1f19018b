"""What each sensor adds to the truth: noise, resolution; and by how much it is off when it is at fault."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Sensor:
    """One measured or reported quantity.

    Attributes:
        noise: standard deviation of a reading, in the metric's unit; 0 for commands and status.
        decimals: digits after the point in a reading (its resolution).
        bias: typical size of a bias fault, in the metric's unit; 0 where faults of a sensor make no sense (a
            setpoint, a status, a counter).
        lively: True where the value changes enough within half an hour for a stuck sensor to be noticed.
    """

    noise: float
    decimals: int
    bias: float
    lively: bool = False


#: Sensors by device type and metric. Noise is that of ordinary building instruments: 10k thermistors, 2 % humidity
#: sensors, differential pressure and current transducers, magnetic flow meters.
SENSORS: Mapping[str, Mapping[str, Sensor]] = MappingProxyType(
    {
        "rooftop_unit": {
            "supply_air_temp": Sensor(0.15, 1, 8.0, lively=True),
            "return_air_temp": Sensor(0.08, 1, 5.0, lively=True),
            "outdoor_air_temp": Sensor(0.1, 1, 15.0),
            "supply_air_humidity": Sensor(0.6, 1, 20.0, lively=True),
            "return_air_humidity": Sensor(0.4, 1, 15.0),
            "cooling_setpoint": Sensor(0.0, 1, 0.0),
            "heating_setpoint": Sensor(0.0, 1, 0.0),
            "fan_speed": Sensor(2.0, 0, 250.0, lively=True),
            "fan_current": Sensor(0.05, 2, 4.0, lively=True),
            "compressor_status": Sensor(0.0, 0, 0.0),
            "heating_valve_position": Sensor(0.0, 1, 0.0),
            "economizer_damper_position": Sensor(0.2, 1, 25.0),
            "filter_pressure_drop": Sensor(0.006, 3, 0.35, lively=True),
            "power_consumption": Sensor(0.06, 2, 6.0, lively=True),
        },
        "makeup_air_unit": {
            "supply_air_temp": Sensor(0.15, 1, 8.0),
            "outdoor_air_temp": Sensor(0.1, 1, 15.0),
            "supply_air_humidity": Sensor(0.6, 1, 20.0),
            "outdoor_air_humidity": Sensor(0.6, 1, 25.0),
            "supply_air_flow": Sensor(25.0, 0, 900.0, lively=True),
            "fan_speed": Sensor(2.0, 0, 200.0, lively=True),
            "fan_vfd_frequency": Sensor(0.05, 1, 8.0, lively=True),
            "heating_coil_temp": Sensor(0.2, 1, 25.0),
            "cooling_coil_temp": Sensor(0.2, 1, 12.0),
            "filter_pressure_drop": Sensor(0.006, 3, 0.35, lively=True),
            "static_pressure": Sensor(0.012, 3, 0.4, lively=True),
            "damper_position": Sensor(0.2, 1, 25.0, lively=True),
            "gas_valve_position": Sensor(0.0, 1, 0.0),
            "power_consumption": Sensor(0.05, 2, 4.0, lively=True),
        },
        "chiller": {
            "chilled_water_supply_temp": Sensor(0.05, 2, 3.0),
            "chilled_water_return_temp": Sensor(0.05, 2, 4.0, lively=True),
            "chilled_water_flow_rate": Sensor(3.0, 0, 180.0, lively=True),
            "chilled_water_delta_t": Sensor(0.06, 2, 3.0, lively=True),
            "condenser_water_supply_temp": Sensor(0.05, 2, 5.0),
            "condenser_water_return_temp": Sensor(0.05, 2, 5.0, lively=True),
            "condenser_water_flow_rate": Sensor(4.0, 0, 220.0, lively=True),
            "refrigerant_pressure_evap": Sensor(0.15, 1, 5.0),
            "refrigerant_pressure_cond": Sensor(0.3, 1, 18.0, lively=True),
            "compressor_current": Sensor(1.0, 1, 60.0, lively=True),
            "compressor_status": Sensor(0.0, 0, 0.0),
            "capacity_percentage": Sensor(0.2, 1, 20.0, lively=True),
            "cop": Sensor(0.03, 2, 1.4, lively=True),
            "alarm_status": Sensor(0.0, 0, 0.0),
            "power_consumption": Sensor(0.6, 1, 40.0, lively=True),
        },
        "cooling_tower": {
            "inlet_water_temp": Sensor(0.08, 1, 5.0, lively=True),
            "outlet_water_temp": Sensor(0.08, 1, 4.0),
            "water_flow_rate": Sensor(4.0, 0, 200.0, lively=True),
            "wet_bulb_temp": Sensor(0.1, 1, 6.0),
            "dry_bulb_temp": Sensor(0.1, 1, 12.0),
            "approach_temp": Sensor(0.1, 1, 4.0),
            "range_temp": Sensor(0.1, 1, 4.0, lively=True),
            "fan_speed": Sensor(1.0, 0, 80.0, lively=True),
            "fan_current": Sensor(0.1, 2, 7.0, lively=True),
            "sump_water_level": Sensor(0.3, 1, 18.0, lively=True),
            "makeup_water_flow": Sensor(0.15, 2, 6.0, lively=True),
            "blowdown_valve_position": Sensor(0.0, 1, 0.0),
            "vibration_level": Sensor(0.06, 2, 2.0, lively=True),
            "power_consumption": Sensor(0.05, 2, 6.0, lively=True),
        },
        "air_compressor": {
            "discharge_pressure": Sensor(0.3, 1, 10.0),
            "inlet_pressure": Sensor(0.01, 3, 0.4, lively=True),
            "discharge_temp": Sensor(0.3, 1, 18.0, lively=True),
            "ambient_temp": Sensor(0.1, 1, 14.0),
            "motor_current": Sensor(0.5, 1, 25.0, lively=True),
            "motor_speed": Sensor(5.0, 0, 500.0, lively=True),
            "oil_pressure": Sensor(0.25, 1, 10.0, lively=True),
            "oil_temp": Sensor(0.3, 1, 18.0, lively=True),
            "cooling_water_temp": Sensor(0.1, 1, 9.0),
            "air_flow_rate": Sensor(1.5, 0, 70.0, lively=True),
            "load_percentage": Sensor(0.3, 1, 20.0, lively=True),
            "run_hours": Sensor(0.0, 2, 0.0),
            "vibration_level": Sensor(0.06, 2, 2.0, lively=True),
            "power_consumption": Sensor(0.2, 1, 15.0, lively=True),
        },
    }
)
