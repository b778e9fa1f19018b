"""How readings are recorded: instruments that are replaced, coarse ones, what is sent on change, polled, or lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hvac_platform.simulation.randomness import generator
from hvac_platform.simulation.sensors import SENSORS

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Instrument:
    """A sensor that is another one from some time on.

    Attributes:
        device_id: of the device.
        metric: what it measures.
        from_ms: first moment of the new one, epoch milliseconds UTC.
        offset: by how much it reads more than the old one, in the metric's unit.
        noise_factor: its noise over that of the old one, at least 1.
    """

    device_id: str
    metric: str
    from_ms: int
    offset: float = 0.0
    noise_factor: float = 1.0

    def __post_init__(self) -> None:
        if self.noise_factor < 1.0:
            raise ValueError(
                f"noise_factor {self.noise_factor} of {self.metric}: a new sensor can't be less noisy here"
            )


@dataclass(frozen=True, slots=True)
class Recording:
    """What becomes of readings between instrument and log; everything off is what a perfect log has.

    Steps and increments are in standard deviations of the sensor's noise, so that one number fits all metrics; commands,
    statuses and counters have no noise and are recorded as they are.

    Attributes:
        instruments: sensors that are replaced.
        resolution_noises: readings are rounded to so many deviations.
        increment_noises: change of value: a reading is sent when it differs by more than so many deviations from the one
            sent last. None sends every reading.
        repeated: what isn't sent, by increment or by interval, is recorded as the last one sent (a gateway that
            is polled); otherwise it is missing.
        intervals_s: metrics that are read at an interval of their own, in seconds, at multiples of it.
        missing: share of readings that are lost, each metric's for ``lost_s`` seconds at a time.
        lost_s: see ``missing``; it divides an hour.
    """

    instruments: tuple[Instrument, ...] = ()
    resolution_noises: float = 0.0
    increment_noises: float | None = None
    repeated: bool = True
    intervals_s: Mapping[str, int] = field(default_factory=dict)
    missing: float = 0.0
    lost_s: int = 60

    def __post_init__(self) -> None:
        if not 0.0 <= self.missing < 1.0:
            raise ValueError(f"missing is a share of readings, not {self.missing}")
        if self.lost_s <= 0 or _HOUR_MS % (self.lost_s * 1000):
            raise ValueError(f"lost_s {self.lost_s} doesn't divide an hour")


class Recorder:
    """Records one device: readings of any split into calls give the same records.

    Args:
        recording: what becomes of readings.
        device_id: of the device.
        device_type: its type.
        metric_names: m names.
        seed: of what is lost, and of a new sensor's noise.

    Raises:
        ValueError: an instrument or an interval of a metric that the device doesn't have.
    """

    def __init__(
        self, recording: Recording, device_id: str, device_type: str, metric_names: Sequence[str], seed: int
    ) -> None:
        self._recording, self._device_id, self._seed = recording, device_id, seed
        self._names = tuple(metric_names)
        self._noise = np.array([SENSORS[device_type][name].noise for name in self._names])
        self._instruments = [(self._column(i.metric), i) for i in recording.instruments if i.device_id == device_id]
        every = {name: s for name, s in recording.intervals_s.items() if name in self._names}
        self._every_ms = np.array([every.get(name, 0) * 1000 for name in self._names], dtype=np.int64)
        self._extra = [generator(seed, device_id, "instrument", i.metric, str(i.from_ms)) for _, i in self._instruments]
        self._sent = np.full(len(self._names), np.nan)

    def record(self, times_ms: Int64, readings: Float64) -> Float64:
        """What the log has at ``times_ms`` [t] of ``readings`` [t, m]; float64 [t, m], NaN where nothing."""
        values = readings.copy()
        self._replace(values, times_ms)
        if self._recording.resolution_noises > 0:
            values = _rounded(values, self._recording.resolution_noises * self._noise)
        values = self._send(values, times_ms)
        if self._recording.missing > 0:
            values[self._lost(times_ms)] = np.nan
        return values

    def _column(self, metric: str) -> int:
        if metric not in self._names:
            raise ValueError(f"instrument of {self._device_id}: no metric {metric!r} among {', '.join(self._names)}")
        return self._names.index(metric)

    def _replace(self, values: Float64, times_ms: Int64) -> None:
        for (j, instrument), draws in zip(self._instruments, self._extra, strict=True):
            noise = self._noise[j] * np.sqrt(instrument.noise_factor**2 - 1.0) * draws.standard_normal(len(times_ms))
            values[:, j] += np.where(times_ms >= instrument.from_ms, instrument.offset + noise, 0.0)

    def _send(self, values: Float64, times_ms: Int64) -> Float64:
        increment_noises = self._recording.increment_noises
        if increment_noises is None and not self._every_ms.any():
            return values
        due = (self._every_ms == 0) | (times_ms[:, None] % np.maximum(self._every_ms, 1) == 0)
        increments = np.full(len(self._names), -1.0)
        if increment_noises is not None:
            increments = increment_noises * self._noise
        recorded = np.empty_like(values)
        for row, reading in enumerate(values):
            # A first reading, and one after a missing one, is always sent.
            moved = ~(np.abs(reading - self._sent) <= increments)
            sent = due[row] & moved
            self._sent = np.where(sent, reading, self._sent)
            recorded[row] = self._sent if self._recording.repeated else np.where(sent, reading, np.nan)
        return recorded

    def _lost(self, times_ms: Int64) -> NDArray[np.bool_]:
        cell_ms = self._recording.lost_s * 1000
        hours, cells = times_ms // _HOUR_MS, times_ms % _HOUR_MS // cell_ms
        lost = np.zeros((len(times_ms), len(self._names)), dtype=np.bool_)
        for hour in np.unique(hours).tolist():
            draws = generator(self._seed, self._device_id, "lost", str(hour))
            drawn = draws.random((_HOUR_MS // cell_ms, len(self._names))) < self._recording.missing
            rows = hours == hour
            lost[rows] = drawn[cells[rows]]
        return lost


def _rounded(values: Float64, steps: Float64) -> Float64:
    """Values at multiples of their column's step; as they are where it is 0."""
    coarse = steps > 0
    rounded = values.copy()
    rounded[:, coarse] = np.round(values[:, coarse] / steps[coarse]) * steps[coarse]
    return rounded
