"""What sound machines do that a plain simulation leaves out: schedules, setpoints that are moved, how they are logged."""

from __future__ import annotations

from dataclasses import dataclass, field

from hvac_platform.simulation.occupancy import Schedule
from hvac_platform.simulation.recording import Recording


@dataclass(frozen=True, slots=True)
class SetpointChange:
    """From ``from_ms`` (epoch ms UTC) on, a device's setpoints are ``change`` higher than first set (°F or psi)."""

    device_id: str
    from_ms: int
    change: float


@dataclass(frozen=True, slots=True)
class Habits:
    """Habits of a fleet; without any, a :class:`~hvac_platform.simulation.fleet_simulation.FleetSimulation` has none.

    Attributes:
        schedule: when the site is in use; None is every day alike, by the climate's hour.
        setpoint_changes: in order of time; a device's latest holds.
        recording: how readings are logged.
    """

    schedule: Schedule | None = None
    setpoint_changes: tuple[SetpointChange, ...] = ()
    recording: Recording = field(default_factory=Recording)
