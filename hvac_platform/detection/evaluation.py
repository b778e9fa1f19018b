"""How good a detector is against labelled faults: found, missed, false alarms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MERGE_MS = 10 * 60_000


@dataclass(frozen=True, slots=True)
class FaultScore:
    """Result over one device or many: events found and missed, false episodes, delay in milliseconds of each found one."""

    found: int
    missed: int
    false_alarms: int
    delays_ms: tuple[int, ...]

    def __add__(self, other: FaultScore) -> FaultScore:
        """Both together."""
        return FaultScore(
            self.found + other.found,
            self.missed + other.missed,
            self.false_alarms + other.false_alarms,
            self.delays_ms + other.delays_ms,
        )


NOTHING = FaultScore(0, 0, 0, ())


def score_faults(
    times_ms: NDArray[np.int64],
    anomalous: NDArray[np.bool_],
    faults: Sequence[tuple[int, int, int]],
    *,
    window_ms: int = 60_000,
) -> FaultScore:
    """Compare alarms with labelled faults of one device.

    A fault is found when an anomalous window overlaps it. Anomalous windows outside every fault (and the time a machine
    takes to recover from it) form false alarms; those of adjacent windows or less than ten minutes apart are one.

    Args:
        times_ms: int64 [n], window starts.
        anomalous: bool [n].
        faults: (start, end, recovered) of each, epoch milliseconds; between end and recovered the data are neither faulty
            nor normal.
        window_ms: length of a window.

    >>> score_faults(np.arange(5) * 60_000, np.array([0, 1, 0, 0, 1], bool), [(60_000, 120_000, 120_000)])
    FaultScore(found=1, missed=0, false_alarms=1, delays_ms=(60000,))
    """
    alarms = times_ms[anomalous]
    excused = np.zeros(len(alarms), dtype=bool)
    delays: list[int] = []
    for start, end, recovered in faults:
        inside = (alarms + window_ms > start) & (alarms < end)
        if inside.any():
            delays.append(max(0, int(alarms[inside][0]) + window_ms - start))
        excused |= (alarms + window_ms > start) & (alarms < recovered)
    false = alarms[~excused]
    episodes = int((np.diff(false) > max(MERGE_MS, window_ms)).sum()) + 1 if len(false) else 0
    return FaultScore(len(delays), len(faults) - len(delays), episodes, tuple(delays))
