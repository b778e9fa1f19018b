"""Water-cooled chillers (R-134a) at constant leaving temperature, and the water loop that they cool.

Evaporator: tons = gpm dT / 24. Condenser: 500 gpm_cw dT_cw = 500 gpm_chw dT_chw + 3412 kW (AHRI 550/590). Efficiency
is a share of Carnot's between the refrigerant's saturation temperatures, COP = eta T_evap / (T_cond - T_evap) in °R, so
capacity, temperatures, pressures and power hang together. Capacity follows leaving water by a proportional-integral
controller; the loop's water and the building behind it are first-order lags. Condenser water comes from a tower of the
chiller's own that isn't simulated, or, in a plant, from the one that feeds it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.simulation.device_group import Block, DeviceGroup, State, lag, working_hours
from hvac_platform.simulation.faults import Fault
from hvac_platform.simulation.media import CHILLED_WATER, CONDENSER_WATER
from hvac_platform.simulation.refrigerant import saturation_pressure_psig

Float64 = NDArray[np.float64]

#: tons = gpm dT / 24, from 500 Btu/h per gpm °F and 12,000 Btu/h a ton.
_GPM_F_PER_TON = 24.0
KW_PER_TON_AT_COP_1 = 3.517
BTU_PER_KWH = 3412.0
WATER_BTU_PER_GPM_F = 500.0
_RANKINE = 459.67
_PROPORTIONAL_GAIN, _INTEGRAL_GAIN = 0.02, 0.0012
_CAPACITY_LAG, _WATER_LAG, _LOOP_LAG = lag(60.0), lag(40.0), lag(420.0)
#: The condenser loop's bypass keeps entering water above this, for refrigerant flow needs a pressure difference.
_LEAST_CONDENSER_WATER_F = 76.0
_STANDBY_KW = 2.0
#: Leaving water at which the chiller's own controller raises its alarm: danger of frost, loss of cooling.
_LOW_ALARM_F, _HIGH_ALARM_F = 36.5, 60.0


class Chillers(DeviceGroup):
    """Centrifugal chillers of 280 to 390 tons."""

    device_type: ClassVar[str] = "chiller"
    delivers: ClassVar[tuple[str, str] | None] = (CHILLED_WATER, "supply")
    correlated_offsets: ClassVar[Mapping[str, float]] = {
        "chilled_water_supply_temp": 1.2,
        "chilled_water_return_temp": 1.2,
        "condenser_water_supply_temp": 2.0,
        "condenser_water_return_temp": 2.0,
        "refrigerant_pressure_evap": -1.5,
        "refrigerant_pressure_cond": 9.0,
        "compressor_current": 25.0,
        "capacity_percentage": -6.0,
    }

    def __init__(self, devices: Sequence[FleetDevice], seed: int, faults: Sequence[Fault]) -> None:
        super().__init__(devices, seed, faults)
        self._capacity = self.individual(280.0, 390.0)
        self._setpoint = self.individual(43.7, 44.3)
        self._flow = 2.1 * self._capacity
        self._condenser_flow = self.individual(2.75, 2.95) * self._capacity
        self._efficiency = self.individual(0.50, 0.54)
        self._evaporator_approach = self.individual(0.9, 1.3)
        self._condenser_approach = self.individual(1.0, 1.5)
        self._base_load = self.individual(0.42, 0.48)
        self._tower_approach = self.individual(6.0, 7.5)
        self._shift = self.individual(-0.7, 0.7)

    def drive(self, block: Block) -> dict[str, Float64]:
        """Load by working hours and weather, water flows, condenser water and what faults force."""
        day = working_hours(block.schedule_hours - self._shift, 5.0, 22.0, 3.0)
        weather = 0.006 * (block.dry_bulb - 72.0)
        plr = self._base_load + 0.17 * day + weather + 0.045 * self.load_noise(block)
        dirt = self.slow_drift(block)
        degradation = block.fault("efficiency_degradation")
        flow = self._flow * (0.5 + 0.5 * plr) * (1.0 - 0.5 * block.fault("low_flow"))
        return {
            "load": plr * self._capacity,
            "flow": flow,
            "condenser_flow": self._condenser_flow * (1.0 - 0.02 * dirt),
            "condenser_supply": np.maximum(
                block.delivered(CONDENSER_WATER, block.wet_bulb + self._tower_approach), _LEAST_CONDENSER_WATER_F
            ),
            "setpoint": self._setpoint + 5.5 * block.fault("wrong_mode") + block.setpoint_change,
            "forced": (block.fault("compressor_stuck_on") > 0).astype(np.float64),
            "works": (block.fault("compressor_stuck_off") == 0).astype(np.float64),
            "surge": 0.3 * block.swing("novel", 240.0),
            "efficiency": self._efficiency * (1.0 - 0.015 * dirt) * (1.0 - 0.4 * degradation),
            "condenser_fouling": 0.4 * dirt + 8.0 * block.fault("fouling"),
        }

    def initial_states(self) -> Mapping[str, float | Float64]:
        """Leaving water at its setpoint, half load."""
        return {"supply": self._setpoint, "return_": self._setpoint + 8.0, "integral": 0.55, "output": 0.55}

    def integrate(self, drive: Mapping[str, Float64], states: tuple[State, ...]) -> list[tuple[State, ...]]:
        """Capacity control and the water loop."""
        low, high = self.extremes()
        (capacity,) = self.loop_values(self._capacity)
        rows = self.loop_rows(
            drive["load"],
            drive["flow"],
            drive["setpoint"],
            drive["forced"],
            drive["works"],
            drive["surge"],
        )
        supply, return_, integral, output = states
        history: list[tuple[State, ...]] = []
        for load, flow, setpoint, forced, works, surge in rows:
            error = supply - setpoint
            integral = low(high(integral + _INTEGRAL_GAIN * error, 0.1), 1.0)
            demand = low(high(integral + _PROPORTIONAL_GAIN * error, 0.1), 1.0)
            output = output + _CAPACITY_LAG * (high(demand * (1.0 + surge), forced) * works - output)
            # Towards freezing the suction pressure falls and with it what the compressor can move.
            tons = capacity * output * high(low((supply - 32.0) * 0.2, 1.0), 0.0)
            supply = supply + _WATER_LAG * (return_ - _GPM_F_PER_TON * tons / flow - supply)
            # Warm water cools the building less: its load fades towards room temperature.
            rise = _GPM_F_PER_TON * load * low((78.0 - supply) * (1.0 / 34.0), 1.0) / flow
            return_ = return_ + _LOOP_LAG * (supply + rise - return_)
            history.append((supply, return_, integral, output))
        return history

    def observe(self, series: Mapping[str, Float64]) -> dict[str, Float64]:
        """Heat balances of both sides; pressures at the refrigerant's saturation temperatures; power from COP."""
        supply, return_, output, works = series["supply"], series["return_"], series["output"], series["works"]
        flow, condenser_flow, entering = series["flow"], series["condenser_flow"], series["condenser_supply"]
        delta_t = return_ - supply
        tons = np.maximum(flow * delta_t / _GPM_F_PER_TON, 0.0) * works
        plr = tons / self._capacity
        # Leaving condenser water needs power, power needs the condensing temperature: estimate with COP 6, then refine.
        # Stopped, both vessels settle to the temperature of their water: there is no approach.
        kw = tons * (KW_PER_TON_AT_COP_1 / 6.0)
        evaporating = supply - self._evaporator_approach * (0.4 + 0.8 * plr) * works
        for _ in range(2):
            rejected = 12_000.0 * tons + BTU_PER_KWH * kw
            leaving = entering + rejected / (WATER_BTU_PER_GPM_F * condenser_flow)
            approach = self._condenser_approach * (0.4 + 0.8 * plr) + series["condenser_fouling"] * (0.5 + 0.5 * plr)
            condensing = leaving + approach * works
            lift = np.maximum(condensing - evaporating, 15.0)
            part_load = 1.0 - 0.25 * (plr - 0.7) * (plr - 0.7)
            cop = series["efficiency"] * part_load * (evaporating + _RANKINE) / lift
            kw = tons * KW_PER_TON_AT_COP_1 / cop
        power = kw + _STANDBY_KW * (1.0 - works)
        return {
            "chilled_water_supply_temp": supply,
            "chilled_water_return_temp": return_,
            "chilled_water_flow_rate": flow,
            "chilled_water_delta_t": delta_t,
            "condenser_water_supply_temp": entering,
            "condenser_water_return_temp": leaving,
            "condenser_water_flow_rate": condenser_flow,
            "refrigerant_pressure_evap": saturation_pressure_psig(evaporating),
            "refrigerant_pressure_cond": saturation_pressure_psig(condensing),
            # 480 V, three phases, power factor 0.9.
            "compressor_current": kw / (np.sqrt(3.0) * 0.48 * 0.9),
            "compressor_status": works,
            "capacity_percentage": 100.0 * output,
            "cop": cop * works,
            "alarm_status": ((supply < _LOW_ALARM_F) | (supply > _HIGH_ALARM_F)).astype(np.float64),
            "power_consumption": power,
        }
