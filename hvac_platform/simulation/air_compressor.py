"""Air compressors: oil-flooded screws on a variable speed drive, feeding a plant network in two shifts.

Network: dp/dt = p_atm (supply - demand) / V. Pressure is held by a proportional-integral controller on speed. Package
power follows flow along a straight line with an intercept (Compressed Air and Gas Institute part-load data for variable
speed machines) and rises by half a percent per psi of discharge pressure (US DOE compressed air sourcebook).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.simulation.device_group import STEP_HOURS, Block, DeviceGroup, State, lag, working_hours
from hvac_platform.simulation.faults import Fault

Float64 = NDArray[np.float64]

_SETPOINT_PSIG = 110.0
_RELIEF_PSIG, _RELIEF_CFM_PER_PSI = 134.0, 60.0
#: psi a step and cfm in a network of 320 ft³ at 14.7 psi.
_PSI_PER_CFM = 14.7 * (10.0 / 60.0) / 320.0
_PROPORTIONAL_GAIN, _INTEGRAL_GAIN = 0.04, 0.0025
_OUTPUT_LAG, _METAL_LAG = lag(15.0), lag(600.0)
_FULL_SPEED_RPM = 3550.0
#: Slowest speed of the drive as a share of full speed; below it the inlet valve throttles.
_LEAST_SPEED = 0.28
#: Run hours are counted from here.
_COMMISSIONED_S = 1_577_836_800.0  # 2020-01-01


class AirCompressors(DeviceGroup):
    """Air compressors of 340 to 440 cfm, running from early morning to evening."""

    device_type: ClassVar[str] = "air_compressor"
    correlated_offsets: ClassVar[Mapping[str, float]] = {
        "discharge_pressure": -5.0,
        "discharge_temp": 8.0,
        "oil_temp": 8.0,
        "oil_pressure": -4.0,
        "motor_current": 14.0,
        "vibration_level": 0.8,
        "cooling_water_temp": 4.0,
    }

    def __init__(self, devices: Sequence[FleetDevice], seed: int, faults: Sequence[Fault]) -> None:
        super().__init__(devices, seed, faults)
        self._capacity = self.individual(340.0, 440.0)
        self._setpoint = self.individual(109.0, 111.5)
        self._full_kw = self.individual(0.160, 0.172) * self._capacity
        self._day_demand = self.individual(0.60, 0.68)
        self._night_demand = self.individual(0.05, 0.065)
        self._shift = self.individual(-0.25, 0.25)
        self._hours_at_commissioning = self.individual(0.0, 15_000.0)
        self._vibration = self.individual(0.9, 1.3)
        self._hot = self.individual(170.0, 174.0)

    def drive(self, block: Block) -> dict[str, Float64]:
        """Demand by shifts, plant room climate and what faults force."""
        shifts = working_hours(block.schedule_hours - self._shift, 5.3, 21.6, 0.8)
        noise = self.load_noise(block)
        demand = self._night_demand * (1.0 + 0.1 * noise) + shifts * (self._day_demand + 0.1 * noise)
        dirt = self.slow_drift(block)
        fouling, low_flow = block.fault("fouling"), block.fault("low_flow")
        degradation = block.fault("efficiency_degradation")
        ambient = 76.0 + 0.35 * (block.dry_bulb - 72.0) + 3.0 * shifts
        water = 74.0 + 0.3 * (block.wet_bulb - 65.0) + 2.0 * shifts
        fan_failure = block.fault("fan_failure")
        return {
            "demand": demand * self._capacity,
            "setpoint": self._setpoint - 17.0 * block.fault("wrong_mode") + block.setpoint_change,
            "ambient": ambient + 8.0 * fan_failure,
            "water": water + 16.0 * low_flow,
            "forced": (block.fault("compressor_stuck_on") > 0).astype(np.float64),
            "works": (block.fault("compressor_stuck_off") == 0).astype(np.float64),
            "hunting": 0.22 * block.swing("novel", 240.0),
            "heating": 2.0 * dirt + 48.0 * fan_failure + 20.0 * low_flow + 16.0 * fouling + 8.0 * degradation,
            "power_factor": (1.0 + 0.01 * dirt) * (1.0 + 0.45 * degradation) * (1.0 + 0.08 * fouling),
            "inlet_loss": 0.05 + 0.05 * dirt + 0.55 * fouling,
            "wear": 1.0 + 0.15 * dirt + 0.5 * degradation,
            "elapsed_hours": np.broadcast_to((block.times_s[:, None] - _COMMISSIONED_S) / 3600.0, block.none.shape),
        }

    def initial_states(self) -> Mapping[str, float | Float64]:
        """Network at pressure, machine warm."""
        return {"pressure": self._setpoint, "integral": 0.3, "output": 0.3, "hot": self._hot, "hours_lost": 0.0}

    def integrate(self, drive: Mapping[str, Float64], states: tuple[State, ...]) -> list[tuple[State, ...]]:
        """Speed control, network pressure and the machine's temperature."""
        low, high = self.extremes()
        capacity, base_temperature, usual = self.loop_values(self._capacity, self._hot, self._setpoint)
        rows = self.loop_rows(
            drive["demand"],
            drive["setpoint"],
            drive["ambient"],
            drive["forced"],
            drive["works"],
            drive["hunting"],
            drive["heating"],
        )
        pressure, integral, output, hot, hours_lost = states
        history: list[tuple[State, ...]] = []
        for demand, setpoint, ambient, forced, works, hunting, heating in rows:
            error = setpoint - pressure
            integral = low(high(integral + _INTEGRAL_GAIN * error, 0.0), 1.0)
            target = low(high(integral + _PROPORTIONAL_GAIN * error + hunting, 0.02), 1.0)
            output = output + _OUTPUT_LAG * (high(target, forced) * works - output)
            # Leaks and tools take less from a network at lower pressure.
            drawn = demand * low(pressure / usual, 1.25) + _RELIEF_CFM_PER_PSI * high(pressure - _RELIEF_PSIG, 0.0)
            pressure = high(pressure + _PSI_PER_CFM * (capacity * output - drawn), 0.0)
            running_hot = base_temperature + 13.0 * output + 0.2 * (ambient - 76.0) + heating
            hot = hot + _METAL_LAG * (running_hot * works + ambient * (1.0 - works) - hot)
            hours_lost = hours_lost + STEP_HOURS * (1.0 - works)
            history.append((pressure, integral, output, hot, hours_lost))
        return history

    def observe(self, series: Mapping[str, Float64]) -> dict[str, Float64]:
        """Flow, power and the machine's own sensors from the states."""
        output, pressure, hot, works = series["output"], series["pressure"], series["hot"], series["works"]
        turning = np.minimum(output * 60.0, 1.0) * works
        pressure_factor = 1.0 + 0.005 * (pressure - _SETPOINT_PSIG)
        line = (0.1 + 0.9 * output) * turning
        kw = self._full_kw * line * pressure_factor * series["power_factor"]
        speed = turning * (_LEAST_SPEED + (1.0 - _LEAST_SPEED) * output)
        return {
            "discharge_pressure": pressure,
            "inlet_pressure": -series["inlet_loss"] * (0.5 + 0.5 * output) * turning - 0.12 * output * output,
            "discharge_temp": hot,
            "ambient_temp": series["ambient"],
            # 460 V, three phases, power factor 0.88.
            "motor_current": kw / (np.sqrt(3.0) * 0.46 * 0.88),
            "motor_speed": _FULL_SPEED_RPM * speed,
            "oil_pressure": (37.0 + 14.0 * speed - 0.04 * (hot - 175.0)) * turning,
            "oil_temp": hot - 12.0 * np.minimum(np.maximum(hot - 100.0, 0.0) / 70.0, 1.0),
            "cooling_water_temp": series["water"],
            "air_flow_rate": self._capacity * output,
            "load_percentage": 100.0 * output,
            "run_hours": self._hours_at_commissioning + series["elapsed_hours"] - series["hours_lost"],
            "vibration_level": (0.4 + self._vibration * speed * speed * series["wear"]) * turning + 0.1,
            "power_consumption": 0.8 + kw,
        }
