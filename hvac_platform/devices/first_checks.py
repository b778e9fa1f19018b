"""What to look at first on a machine, by kind of fault: the usual causes, what costs least to check in front."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

FIRST_CHECKS: Mapping[str, str] = MappingProxyType(
    {
        "compressor_stuck_on": "compare the stage's command with its status; contactor, relay, hand switch",
        "compressor_stuck_off": "safeties and lockouts, contactor, supply voltage; does the command arrive?",
        "correlated_deviation": "what these metrics share: a load, a valve or damper, a setpoint that was moved",
        "efficiency_degradation": "refrigerant charge, heat exchanger surfaces, compressor valves, kW at the same load",
        "fan_failure": "belt, motor protection, drive fault code, hand switch",
        "fouling": "pressure drop of filter or strainer, fill, coil or tube surfaces",
        "low_flow": "belt and strainer, dampers and valves in hand, pump and drive speed",
        "novel": "trend the loop's output beside what it controls; gains, oversized valve, sticking actuator",
        "wrong_mode": "schedule and mode in the controller, overrides left in hand, outdoor air sensor",
        "sensor_failure": "wiring and input channel of this sensor: the reading can't be real",
        "stuck_sensor": "is the point overridden or held in the controller? wiring, then the sensor",
        "sensor_bias": "compare the sensor with a hand instrument; calibrate or replace it",
    }
)
"""By the names that likely kinds have (``devices/signatures`` and the kinds of sensor faults)."""
