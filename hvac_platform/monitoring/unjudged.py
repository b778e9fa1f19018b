"""Windows of a history that nobody has judged yet: judged before anything is learned from them, or left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hvac_platform.config import Settings
from hvac_platform.embedding.learned import Encoders
from hvac_platform.monitoring.judging import ready_to_judge
from hvac_platform.monitoring.pending import completeness_limits, unjudged_windows
from hvac_platform.stores.base import Device, Store
from hvac_platform.stores.records import Verdict, profile_updated_at
from hvac_platform.timestamps import DAY_MS


@dataclass(frozen=True, slots=True)
class Unjudged:
    """What became of the windows that had no verdict as they now are.

    Attributes:
        judged: so many were judged for the purpose.
        anomalous: int64 [k], starts of those of them that are anomalous.
        waiting: int64 [w], starts of those that can't be judged yet: they wait for late readings.
    """

    judged: int
    anomalous: NDArray[np.int64]
    waiting: NDArray[np.int64]


def was_ever_judged(store: Store, device_id: str) -> bool:
    """Whether there is any verdict on a device."""
    return Verdict.first(store, device_id, only=("snapshot_time",)) is not None


def judge_unjudged(
    store: Store, device: Device, encoders: Encoders, settings: Settings, start_ms: int, end_ms: int, *, now_ms: int
) -> Unjudged:
    """Judge, as detection would and with the profile as it stands, what it has not come to yet; nothing is written.

    A day at a time, as detection does. Of a device that has no profile and was never judged there is nothing to go by: its
    first profile is learned from everything.

    Args:
        store: where snapshots, verdicts and the profile are.
        device: whose.
        encoders: of all devices.
        settings: lateness and silence decide which windows are complete.
        start_ms: first window start included.
        end_ms: first one excluded.
        now_ms: the present.
    """
    nothing = np.zeros(0, dtype=np.int64)
    if profile_updated_at(store, device.device_id) is None and not was_ever_judged(store, device.device_id):
        return Unjudged(0, nothing, nothing)
    limit = completeness_limits(store, [device], settings, now_ms)[device.device_id]
    new, waiting = unjudged_windows(store, device.device_id, start_ms, end_ms, limit)
    found = [nothing]
    for day in np.unique(new // DAY_MS).tolist():
        judgement = ready_to_judge(
            store,
            device,
            encoders,
            settings,
            max(start_ms, day * DAY_MS),
            min(end_ms, (day + 1) * DAY_MS),
            now_ms=now_ms,
            unjudged_only=True,
        ).judge()
        found.append(judgement.series.times_ms[judgement.anomalous])
    return Unjudged(len(new), np.concatenate(found), waiting)
