"""Rooftop units: one zone each, a compressor on a thermostat, an economizer and modulating heat.

The zone is one air node: C dT/dt = UA (T_out - T) + gains + m cp (T_supply - T), written in °F/h. The thermostat
switches the compressor with hysteresis, so zone, supply temperature and power cycle together. In cool weather the
compressor is locked out and the economizer damper modulates instead. Fan laws: flow ~ n, pressure ~ n², power ~ n³
(ASHRAE Handbook - HVAC Systems and Equipment, Fans). In a plant the cooling stage is a coil that cools as well as the
chilled water that feeds it can; the stage's status and power stay those of the type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.simulation.device_group import STEP_HOURS, Block, DeviceGroup, State, lag, working_hours
from hvac_platform.simulation.faults import Fault
from hvac_platform.simulation.media import CHILLED_WATER, DESIGN_CHILLED_WATER_F, coil_capacity
from hvac_platform.simulation.psychrometrics import relative_humidity, saturation_humidity_ratio

Float64 = NDArray[np.float64]

#: Half of the thermostat's differential, °F.
_DIFFERENTIAL_F = 0.7
#: The compressor is released above, locked out below; in between it stays. The economizer has the rest.
_RELEASE_F, _LOCK_OUT_F = 62.2, 61.4
#: Fan speed for ventilation alone, as a share of full speed.
_VENTILATION_SPEED = 0.7
_FAN_HEAT_F = 1.2
#: Supply air rise with the heating valve open, at full flow, °F.
_HEATING_RISE_F = 21.0
_COIL_LAG, _FAN_LAG, _DAMPER_LAG, _VALVE_LAG = lag(100.0), lag(30.0), lag(60.0), lag(90.0)
#: Moisture: share of a dry-down to the coil's dew point that a running coil achieves; zone air changes per hour.
_LATENT_EFFECTIVENESS, _AIR_CHANGES_PER_HOUR = 0.9, 4.0
_STANDBY_KW = 0.35


class RooftopUnits(DeviceGroup):
    """Packaged rooftop units of 5 to 12 tons."""

    device_type: ClassVar[str] = "rooftop_unit"
    correlated_offsets: ClassVar[Mapping[str, float]] = {
        "supply_air_temp": 5.0,
        "return_air_temp": 2.5,
        "supply_air_humidity": -9.0,
        "return_air_humidity": 7.0,
        "fan_current": 1.8,
        "filter_pressure_drop": 0.12,
    }

    def __init__(self, devices: Sequence[FleetDevice], seed: int, faults: Sequence[Fault]) -> None:
        super().__init__(devices, seed, faults)
        self._cooling_setpoint = np.round(self.individual(73.5, 75.0), 1)
        self._heating_setpoint = np.round(self.individual(68.5, 69.8), 1)
        self._compressor_kw = self.individual(5.5, 12.0)
        self._fan_kw = self.individual(0.13, 0.17) * self._compressor_kw
        self._fan_rpm = self.individual(1050.0, 1450.0)
        self._coil_drop = self.individual(18.5, 20.3)
        self._conductance = 1.0 / self.individual(5.0, 7.0)
        self._air_rate = self.individual(0.78, 0.9)
        self._night_gain = self.individual(2.0, 2.6)
        self._day_gain = self.individual(4.0, 5.0)
        self._solar_gain = self.individual(1.0, 1.8)
        self._minimum_damper = self.individual(0.14, 0.18)
        self._filter_drop = self.individual(0.34, 0.42)
        self._shift = self.individual(-0.5, 0.5)
        self._coil_ratio = self.individual(0.0080, 0.0084)

    def drive(self, block: Block) -> dict[str, Float64]:
        """Gains, outdoor air and what faults force."""
        hours = block.hours - self._shift
        people = working_hours(block.schedule_hours - self._shift, 5.5, 21.0, 2.5)
        sun = np.maximum(0.0, 1.0 - ((hours - 13.5) / 6.0) ** 2)
        wander = 1.0 + 0.1 * self.load_noise(block)
        dirt = self.slow_drift(block)
        hunting = block.swing("novel", 240.0)
        fouling, low_flow = block.fault("fouling"), block.fault("low_flow")
        degradation = block.fault("efficiency_degradation")
        water = block.delivered(CHILLED_WATER, np.full_like(block.none, DESIGN_CHILLED_WATER_F))
        return {
            "gain": (self._night_gain + self._day_gain * people + self._solar_gain * sun) * wander,
            "moisture_gain": (0.0007 + 0.0012 * people) * wander,
            "outdoor": block.dry_bulb,
            "outdoor_ratio": block.humidity_ratio,
            "forced_on": ((block.fault("compressor_stuck_on") > 0) | (hunting > 0)).astype(np.float64),
            "blocked": (
                (block.fault("compressor_stuck_off") > 0) | (block.fault("wrong_mode") > 0) | (hunting < 0)
            ).astype(np.float64),
            "forced_heat": 0.75 * block.fault("wrong_mode"),
            "damper_swing": 0.18 * np.maximum(hunting, 0.0),
            "fan_works": (block.fault("fan_failure") == 0).astype(np.float64),
            "flow_factor": (1.0 - 0.25 * fouling) * (1.0 - 0.5 * low_flow),
            "filter_factor": (1.0 + 0.3 * dirt) * (1.0 + 4.0 * fouling),
            "belt_factor": 1.0 - 0.5 * low_flow,
            "capacity": (1.0 - 0.02 * dirt) * (1.0 - 0.55 * degradation) * coil_capacity(water),
            "power_factor": 1.0 + 0.15 * degradation,
            "setpoint_change": block.setpoint_change,
        }

    def initial_states(self) -> Mapping[str, float | Float64]:
        """Zone at its cooling setpoint, everything idle."""
        return {
            "zone": self._cooling_setpoint,
            "zone_ratio": 0.0090,
            "calling": 0.0,
            "released": 1.0,
            "running": 0.0,
            "coil": 0.0,
            "fan": _VENTILATION_SPEED,
            "damper": self._minimum_damper,
            "valve": 0.0,
            "supply": self._cooling_setpoint,
            "supply_ratio": 0.0090,
        }

    def integrate(self, drive: Mapping[str, Float64], states: tuple[State, ...]) -> list[tuple[State, ...]]:
        """Thermostat with hysteresis, then actuators, then the zone's heat and moisture balance."""
        low, high = self.extremes()
        cooling_setpoint, heating_setpoint, drop, conductance, air_rate, least, coil_ratio = self.loop_values(
            self._cooling_setpoint,
            self._heating_setpoint,
            self._coil_drop,
            self._conductance,
            self._air_rate,
            self._minimum_damper,
            self._coil_ratio,
        )
        rows = self.loop_rows(
            drive["gain"],
            drive["moisture_gain"],
            drive["outdoor"],
            drive["outdoor_ratio"],
            drive["forced_on"] > 0,
            drive["blocked"] == 0,
            drive["forced_heat"],
            drive["damper_swing"],
            drive["fan_works"],
            drive["flow_factor"],
            drive["capacity"],
            drive["setpoint_change"],
        )
        zone, ratio, calling, released, _, coil, fan, damper, valve, _, _ = states
        calling, released = calling > 0, released > 0
        history: list[tuple[State, ...]] = []
        for (
            gain,
            moisture,
            outdoor,
            outdoor_ratio,
            forced_on,
            allowed,
            heat,
            swing,
            fan_works,
            flow,
            capacity,
            moved,
        ) in rows:
            cool_at, heat_at = cooling_setpoint + moved, heating_setpoint + moved
            calling = (zone > cool_at + _DIFFERENTIAL_F) | (calling & (zone > cool_at - _DIFFERENTIAL_F))
            released = (outdoor > _RELEASE_F) | (released & (outdoor > _LOCK_OUT_F))
            running = ((calling & released) | forced_on) & allowed
            free_cooling = low(high((zone - cool_at + 0.9) * 0.6, 0.0), 1.0) * (1.0 - released)
            damper = damper + _DAMPER_LAG * (least + (1.0 - least) * free_cooling + swing - damper)
            valve = valve + _VALVE_LAG * (high(low((heat_at - zone) * 0.8, 1.0), high(heat, 0.0)) - valve)
            fan_target = _VENTILATION_SPEED + (1.0 - _VENTILATION_SPEED) * high(running, low(valve * 20.0, 1.0))
            fan = fan + _FAN_LAG * (fan_target * fan_works - fan)
            coil = coil + _COIL_LAG * (running - coil)
            air = fan * flow
            mixed = zone + damper * (outdoor - zone)
            supply = (
                mixed
                - drop * coil * capacity * (1.55 - 0.55 * air)
                + _HEATING_RISE_F * valve * (1.4 - 0.4 * air)
                + _FAN_HEAT_F * fan
            )
            zone = zone + STEP_HOURS * (conductance * (outdoor - zone) + gain + air_rate * air * (supply - zone))
            mixed_ratio = ratio + damper * (outdoor_ratio - ratio)
            supply_ratio = mixed_ratio - _LATENT_EFFECTIVENESS * coil * high(mixed_ratio - coil_ratio, 0.0)
            ratio = ratio + STEP_HOURS * (_AIR_CHANGES_PER_HOUR * air * (supply_ratio - ratio) + moisture)
            history.append((zone, ratio, calling, released, running, coil, fan, damper, valve, supply, supply_ratio))
        return history

    def observe(self, series: Mapping[str, Float64]) -> dict[str, Float64]:
        """Humidity by psychrometrics, pressure and power by fan laws."""
        zone, supply, fan = series["zone"], series["supply"], series["fan"]
        outdoor, running = series["outdoor"], series["running"]
        air = fan * series["flow_factor"]
        # Part of the air bypasses the coil and the fan warms it: supply air stays short of saturation.
        supply_ratio = np.minimum(series["supply_ratio"], 0.9 * saturation_humidity_ratio(supply))
        fan_cubed = fan * fan * fan
        fan_kw = self._fan_kw * fan_cubed * series["belt_factor"]
        lift = 1.0 + 0.008 * (outdoor - 85.0)
        compressor_kw = self._compressor_kw * running * (0.85 + 0.15 * series["coil"]) * lift * series["power_factor"]
        devices = np.ones_like(zone)
        return {
            "supply_air_temp": supply,
            "return_air_temp": zone + 0.3,
            "outdoor_air_temp": outdoor,
            "supply_air_humidity": relative_humidity(supply, supply_ratio),
            "return_air_humidity": relative_humidity(zone + 0.3, series["zone_ratio"]),
            "cooling_setpoint": self._cooling_setpoint * devices + series["setpoint_change"],
            "heating_setpoint": self._heating_setpoint * devices + series["setpoint_change"],
            "fan_speed": self._fan_rpm * fan,
            # 480 V, three phases, power factor 0.85; the drive draws a little even at low load.
            "fan_current": fan_kw / (np.sqrt(3.0) * 0.48 * 0.85) * 1.8 + 0.9 * np.minimum(fan * 5.0, 1.0),
            "compressor_status": running,
            "heating_valve_position": 100.0 * series["valve"],
            "economizer_damper_position": 100.0 * series["damper"],
            "filter_pressure_drop": self._filter_drop * series["filter_factor"] * air * air,
            "power_consumption": _STANDBY_KW + fan_kw + compressor_kw,
        }
