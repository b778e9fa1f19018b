"""Cooling towers: water against wet bulb, a fan on a drive, a basin with makeup and blowdown.

Outlet water tends to wet bulb + approach, where the approach grows with the heat load and shrinks with air flow, and
air flow follows fan speed (fan laws; motor power ~ n³). Range is the load: Q = 500 gpm range. Evaporation = 0.00085 gpm
range (Cooling Technology Institute rule of thumb), makeup = evaporation + blowdown, blowdown by conductivity with
hysteresis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.simulation.device_group import STEP_HOURS, Block, DeviceGroup, State, lag, working_hours
from hvac_platform.simulation.faults import Fault
from hvac_platform.simulation.media import CONDENSER_WATER

Float64 = NDArray[np.float64]

EVAPORATION_PER_GPM_F = 0.00085
_FULL_SPEED_RPM = 400.0
_LEAST_SPEED = 0.1
#: Air that moves through the tower with the fan at rest, as a share of full air flow.
_NATURAL_DRAFT = 0.12
_BASIN_LAG, _FAN_LAG = lag(280.0), lag(30.0)
_PROPORTIONAL_GAIN, _INTEGRAL_GAIN = 0.06, 0.0025
_LEAST_OUTLET_F = 60.6
#: Cycles of concentration at which the blowdown valve opens and closes, and its position when open.
_OPEN_ABOVE, _CLOSE_BELOW, _OPEN_SHARE = 6.7, 6.3, 0.4
_LEVEL_SETPOINT, _MAKEUP_GPM_PER_PERCENT = 72.0, 0.8


class CoolingTowers(DeviceGroup):
    """Open induced-draft towers of 650 to 1,100 gpm."""

    device_type: ClassVar[str] = "cooling_tower"
    delivers: ClassVar[tuple[str, str] | None] = (CONDENSER_WATER, "outlet")
    correlated_offsets: ClassVar[Mapping[str, float]] = {
        "inlet_water_temp": 2.5,
        "outlet_water_temp": 2.2,
        "approach_temp": 2.2,
        "fan_current": 4.0,
        "vibration_level": 0.8,
        "makeup_water_flow": 3.0,
        "power_consumption": 2.5,
    }

    def __init__(self, devices: Sequence[FleetDevice], seed: int, faults: Sequence[Fault]) -> None:
        super().__init__(devices, seed, faults)
        self._flow = self.individual(650.0, 1100.0)
        self._design_range = self.individual(9.5, 10.5)
        self._design_approach = self.individual(4.7, 5.2)
        self._approach_setpoint = self.individual(6.2, 6.8)
        self._base_load = self.individual(0.56, 0.62)
        self._fan_kw = self.individual(0.021, 0.025) * self._flow
        self._basin_gallons = 1.9 * self._flow
        self._vibration = self.individual(1.6, 2.3)
        self._shift = self.individual(-0.7, 0.7)

    def drive(self, block: Block) -> dict[str, Float64]:
        """Heat load, wet bulb, what the fill can do, and what faults force."""
        day = working_hours(block.schedule_hours - self._shift, 5.0, 22.0, 3.0)
        noise = self.load_noise(block)
        load = self._base_load + 0.2 * day + 0.002 * (block.dry_bulb - 72.0) + 0.05 * noise
        dirt = self.slow_drift(block)
        fouling = block.fault("fouling")
        degradation = block.fault("efficiency_degradation")
        flow_share = (1.0 + 0.01 * noise) * (1.0 - 0.5 * block.fault("low_flow")) * (1.0 - 0.12 * fouling)
        # Dry cold air takes up less water: the same fill comes less close to a lower wet bulb.
        cold = 1.0 + 0.008 * (75.0 - block.wet_bulb)
        fill = (1.0 + 0.04 * dirt) * (1.0 + 1.2 * fouling) * (1.0 + 1.0 * degradation)
        return {
            "range": load * self._design_range / flow_share,
            "flow": self._flow * flow_share,
            "wet_bulb": block.wet_bulb,
            "dry_bulb": block.dry_bulb,
            "full_fan_approach": self._design_approach * load * cold * fill,
            "hand": (block.fault("wrong_mode") > 0).astype(np.float64),
            "fan_works": (block.fault("fan_failure") == 0).astype(np.float64),
            "hunting": 0.35 * block.swing("novel", 240.0),
            "power_factor": 1.0 + 0.25 * degradation,
            "setpoint_change": block.setpoint_change,
            "imbalance": 1.0 + 0.15 * dirt + 0.5 * fouling,
        }

    def initial_states(self) -> Mapping[str, float | Float64]:
        """Water a little above wet bulb, half fan, basin at its usual level."""
        return {
            "outlet": 70.0,
            "integral": 0.5,
            "fan": 0.5,
            "level": 62.0,
            "cycles": 6.5,
            "blowing": 0.0,
            "makeup": 8.0,
        }

    def integrate(self, drive: Mapping[str, Float64], states: tuple[State, ...]) -> list[tuple[State, ...]]:
        """Fan control, basin temperature, then the basin's balance of water and of dissolved solids."""
        low, high = self.extremes()
        approach_setpoint, gallons, blowdown_gpm = self.loop_values(
            self._approach_setpoint,
            self._basin_gallons,
            0.2 * EVAPORATION_PER_GPM_F * self._flow * self._design_range,
        )
        minutes = STEP_HOURS * 60.0
        rows = self.loop_rows(
            drive["wet_bulb"],
            drive["full_fan_approach"],
            drive["flow"] * drive["range"] * EVAPORATION_PER_GPM_F,
            drive["hand"],
            drive["fan_works"],
            drive["hunting"],
            drive["setpoint_change"],
        )
        outlet, integral, fan, level, cycles, blowing, makeup = states
        blowing = blowing > 0
        history: list[tuple[State, ...]] = []
        for wet_bulb, full_fan_approach, evaporation, hand, fan_works, hunting, moved in rows:
            error = outlet - high(wet_bulb + approach_setpoint + moved, _LEAST_OUTLET_F)
            integral = low(high(integral + _INTEGRAL_GAIN * error, _LEAST_SPEED), 1.0)
            speed = low(high(integral + _PROPORTIONAL_GAIN * error + hunting, _LEAST_SPEED), 1.0)
            fan = fan + _FAN_LAG * (high(speed, hand) * fan_works - fan)
            approach = low(full_fan_approach / (_NATURAL_DRAFT + (1.0 - _NATURAL_DRAFT) * fan), 30.0)
            outlet = outlet + _BASIN_LAG * (wet_bulb + approach - outlet)
            blowing = (cycles > _OPEN_ABOVE) | (blowing & (cycles > _CLOSE_BELOW))
            blowdown = blowdown_gpm * blowing
            makeup = low(high(_MAKEUP_GPM_PER_PERCENT * (_LEVEL_SETPOINT - level), 0.0), 45.0)
            level = level + 100.0 * minutes * (makeup - evaporation - blowdown) / gallons
            cycles = cycles + minutes * (makeup - cycles * blowdown) / gallons
            history.append((outlet, integral, fan, level, cycles, blowing, makeup))
        return history

    def observe(self, series: Mapping[str, Float64]) -> dict[str, Float64]:
        """Temperatures, fan power by fan laws, vibration with the square of speed (centrifugal force)."""
        outlet, fan, range_, wet_bulb = series["outlet"], series["fan"], series["range"], series["wet_bulb"]
        fan_kw = self._fan_kw * fan * fan * fan * series["power_factor"]
        return {
            "inlet_water_temp": outlet + range_,
            "outlet_water_temp": outlet,
            "water_flow_rate": series["flow"],
            "wet_bulb_temp": wet_bulb,
            "dry_bulb_temp": series["dry_bulb"],
            "approach_temp": outlet - wet_bulb,
            "range_temp": range_,
            "fan_speed": _FULL_SPEED_RPM * fan,
            # 480 V, three phases, power factor 0.85, and the magnetizing current of a turning motor.
            "fan_current": fan_kw / (np.sqrt(3.0) * 0.48 * 0.85) + 2.0 * np.minimum(fan * 5.0, 1.0),
            "sump_water_level": series["level"],
            "makeup_water_flow": series["makeup"],
            "blowdown_valve_position": 100.0 * _OPEN_SHARE * series["blowing"],
            "vibration_level": 0.3 + self._vibration * fan * fan * series["imbalance"],
            "power_consumption": 0.4 + fan_kw,
        }
