"""Makeup air units: all outdoor air, filtered, heated by gas or cooled, at constant duct pressure.

Air side, quasi-steady: the fan's pressure A n² less its own fall with flow B q² feeds filter and duct, r q² + p, where
the terminals take q = o sqrt(p / p_set) at opening o. A drive turns the fan so that p keeps its setpoint (fan laws:
flow ~ n, pressure ~ n², power ~ n³). Air temperature: a modulating burner or cooling coil on an integral controller,
each enabled by outdoor temperature with hysteresis. In a plant the coil cools as well as the chilled
water that feeds it can.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.simulation.device_group import Block, DeviceGroup, State, lag, working_hours
from hvac_platform.simulation.faults import Fault
from hvac_platform.simulation.media import CHILLED_WATER, DESIGN_CHILLED_WATER_F, coil_capacity
from hvac_platform.simulation.psychrometrics import relative_humidity, saturation_humidity_ratio

Float64 = NDArray[np.float64]

_HEATING_TARGET_F, _COOLING_TARGET_F = 65.0, 67.0
#: Outdoor temperatures that enable heating and cooling, and those that end them again.
_HEAT_BELOW_F, _NO_HEAT_ABOVE_F = 57.0, 58.8
_COOL_ABOVE_F, _NO_COOL_BELOW_F = 66.8, 65.6
#: Temperature change of the air at full flow by the full burner and the full cooling coil, °F.
_BURNER_RISE_F, _COIL_DROP_F = 60.0, 34.0
_FAN_HEAT_F = 1.2
_COIL_LAG, _FAN_LAG, _DAMPER_LAG = lag(90.0), lag(25.0), lag(60.0)
_INTEGRAL_GAIN, _PRESSURE_GAIN = 0.0012, 0.06
#: Static pressure setpoint, inH2O, and the fan's fall of pressure with flow.
_STATIC_SETPOINT, _FAN_DROOP = 1.0, 0.8
_FULL_FREQUENCY_HZ = 60.0
#: So much of what chilled water is warmer than designed shows on the coil's surface.
_SURFACE_SHARE = 0.6


class MakeupAirUnits(DeviceGroup):
    """Gas-fired makeup air units with cooling, 2,800 to 4,400 cfm."""

    device_type: ClassVar[str] = "makeup_air_unit"
    correlated_offsets: ClassVar[Mapping[str, float]] = {
        "supply_air_temp": 3.5,
        "supply_air_humidity": -7.0,
        "supply_air_flow": -350.0,
        "static_pressure": 0.15,
        "filter_pressure_drop": 0.12,
        "damper_position": -7.0,
        "power_consumption": 1.5,
    }

    def __init__(self, devices: Sequence[FleetDevice], seed: int, faults: Sequence[Fault]) -> None:
        super().__init__(devices, seed, faults)
        self._design_flow = self.individual(2800.0, 4400.0)
        self._fan_pressure = self.individual(3.6, 3.95)
        self._filter_resistance = self.individual(0.42, 0.5)
        self._rpm_per_hz = self.individual(24.7, 25.1)
        self._fan_kw = self.individual(0.0011, 0.0013) * self._design_flow
        self._cooling_kw = self.individual(0.0030, 0.0035) * self._design_flow
        self._shift = self.individual(-0.5, 0.5)

    def drive(self, block: Block) -> dict[str, Float64]:
        """Terminal opening by working hours, outdoor air and what faults force."""
        day = working_hours(block.schedule_hours - self._shift, 5.0, 22.0, 1.5)
        opening = 0.62 + 0.22 * day + 0.05 * self.load_noise(block)
        dirt = self.slow_drift(block)
        wrong_mode = block.fault("wrong_mode")
        degradation = block.fault("efficiency_degradation")
        water = block.delivered(CHILLED_WATER, np.full_like(block.none, DESIGN_CHILLED_WATER_F))
        return {
            "opening": opening * (1.0 - 0.6 * block.fault("low_flow")),
            "outdoor": block.dry_bulb,
            "outdoor_ratio": block.humidity_ratio,
            "filter": self._filter_resistance * (1.0 + 0.25 * dirt) * (1.0 + 3.0 * block.fault("fouling")),
            "forced_cooling": (block.fault("compressor_stuck_on") > 0).astype(np.float64),
            "forced_heat": 0.5 * wrong_mode,
            "cooling_allowed": (wrong_mode == 0).astype(np.float64),
            "fan_works": (block.fault("fan_failure") == 0).astype(np.float64),
            "hunting": 0.16 * block.swing("novel", 240.0),
            "capacity": 1.0 - 0.5 * degradation,
            "power_factor": 1.0 + 0.5 * degradation,
            "setpoint_change": block.setpoint_change,
            "chilled_water": water,
            "coil_capacity": coil_capacity(water),
        }

    def initial_states(self) -> Mapping[str, float | Float64]:
        """Fan near its operating point, no heating and no cooling."""
        return {
            "fan": 0.7,
            "drive_output": 0.7,
            "static": _STATIC_SETPOINT,
            "terminal": 0.7,
            "heating": 0.0,
            "cooling": 0.0,
            "gas": 0.0,
            "cooling_demand": 0.0,
            "burner": 0.0,
            "coil": 0.0,
        }

    def integrate(self, drive: Mapping[str, Float64], states: tuple[State, ...]) -> list[tuple[State, ...]]:
        """Pressure control of the fan, then temperature control of burner and coil."""
        low, high = self.extremes()
        (fan_pressure,) = self.loop_values(self._fan_pressure)
        rows = self.loop_rows(
            drive["opening"],
            drive["outdoor"],
            drive["filter"],
            drive["forced_cooling"],
            drive["forced_heat"],
            drive["cooling_allowed"],
            drive["fan_works"],
            drive["hunting"],
            drive["capacity"],
            drive["setpoint_change"],
            drive["coil_capacity"],
        )
        fan, output, static, terminal, heating, cooling, gas, demand, burner, coil = states
        heating, cooling = heating > 0, cooling > 0
        history: list[tuple[State, ...]] = []
        for (
            opening,
            outdoor,
            resistance,
            forced_cooling,
            forced_heat,
            cooling_allowed,
            fan_works,
            hunting,
            capacity,
            moved,
            by_water,
        ) in rows:
            terminal = terminal + _DAMPER_LAG * (opening - terminal)
            output = low(high(output + _PRESSURE_GAIN * (_STATIC_SETPOINT - static), 0.2), 1.0)
            fan = fan + _FAN_LAG * (low(output + hunting, 1.0) * fan_works - fan)
            static = fan_pressure * fan * fan / (1.0 + (_FAN_DROOP + resistance) * terminal * terminal)
            heating = (outdoor < _HEAT_BELOW_F) | (heating & (outdoor < _NO_HEAT_ABOVE_F))
            cooling = (outdoor > _COOL_ABOVE_F) | (cooling & (outdoor > _NO_COOL_BELOW_F))
            # Flow without the root: near the setpoint pressure q = opening, and the controller needs no more than that.
            air = high(terminal, 0.25)
            change = (_BURNER_RISE_F * burner - _COIL_DROP_F * coil * by_water) * capacity / air
            supply = outdoor + _FAN_HEAT_F + change
            # An airflow switch stops burner and coil when the fan fails.
            gas = high(low(gas + _INTEGRAL_GAIN * (_HEATING_TARGET_F + moved - supply), 1.0), 0.06) * heating
            demand = high(low(demand + _INTEGRAL_GAIN * (supply - _COOLING_TARGET_F - moved), 1.0), 0.0) * cooling
            burner = burner + _COIL_LAG * (high(gas, forced_heat) * fan_works - burner)
            coil = coil + _COIL_LAG * (high(demand * cooling_allowed, forced_cooling) * fan_works - coil)
            history.append((fan, output, static, terminal, heating, cooling, gas, demand, burner, coil))
        return history

    def observe(self, series: Mapping[str, Float64]) -> dict[str, Float64]:
        """Flow, temperatures and moisture from the states; a cooling coil dries air to its own surface's saturation."""
        fan, static, terminal = series["fan"], np.maximum(series["static"], 0.0), series["terminal"]
        burner, coil, outdoor = series["burner"], series["coil"], series["outdoor"]
        flow = terminal * np.sqrt(static / _STATIC_SETPOINT)
        air = np.maximum(flow, 0.25)
        rise = _BURNER_RISE_F * burner * series["capacity"] / air
        # Refrigerant near freezing carries the coil no further down.
        full_drop = _COIL_DROP_F * coil * series["coil_capacity"] * series["capacity"] / air
        drop = np.minimum(full_drop, np.maximum(outdoor - 33.0, 0.0))
        off_coil = outdoor - drop
        supply = off_coil + rise + _FAN_HEAT_F * np.minimum(fan * 2.0, 1.0)
        active = np.minimum(coil * 10.0, 1.0)
        warmer = _SURFACE_SHARE * (series["chilled_water"] - DESIGN_CHILLED_WATER_F)
        coil_surface = np.maximum(off_coil - (9.0 + 0.2 * drop - warmer) * active, np.minimum(32.5, outdoor))
        wet = np.maximum(series["outdoor_ratio"] - saturation_humidity_ratio(coil_surface), 0.0)
        supply_ratio = series["outdoor_ratio"] - 0.75 * active * wet
        gas = np.maximum(series["gas"], series["forced_heat"]) * series["fan_works"]
        fan_kw = self._fan_kw * fan * fan * fan * series["power_factor"]
        return {
            "supply_air_temp": supply,
            "outdoor_air_temp": outdoor,
            "supply_air_humidity": relative_humidity(supply, supply_ratio),
            "outdoor_air_humidity": relative_humidity(outdoor, series["outdoor_ratio"]),
            "supply_air_flow": self._design_flow * flow,
            "fan_speed": self._rpm_per_hz * _FULL_FREQUENCY_HZ * fan,
            "fan_vfd_frequency": _FULL_FREQUENCY_HZ * fan,
            "heating_coil_temp": outdoor + 1.8 * rise + 8.0 * np.minimum(burner * 10.0, 1.0),
            "cooling_coil_temp": coil_surface,
            "filter_pressure_drop": series["filter"] * flow * flow,
            "static_pressure": static,
            "damper_position": 100.0 * terminal,
            "gas_valve_position": 100.0 * gas,
            "power_consumption": 0.3 + fan_kw + self._cooling_kw * coil * (0.7 + 0.3 * series["power_factor"]),
        }
