"""What a process that judges window after window keeps of each device, so that a new window costs one window.

Nothing here is needed: whatever is missing or out of date is read and worked out again, and the verdicts are the same.
"""

from __future__ import annotations

import math
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hvac_platform.config import Settings
from hvac_platform.detection.profile import Profile
from hvac_platform.embedding.learned import Encoders
from hvac_platform.monitoring.points import Points, points_of
from hvac_platform.monitoring.profiles import current_profile
from hvac_platform.snapshots import Neighbours, SnapshotSeries
from hvac_platform.stores.base import Device, Store
from hvac_platform.stores.series import normal_vectors
from hvac_platform.stores.vectors import NearestSearch

if TYPE_CHECKING:  # it brings pandas
    from hvac_platform.detection.learned import Carried

LEAST_BYTES, MEMORY_SHARE = 256_000_000, 8
"""Normal states may take an eighth of the memory, or this much; beyond it those judged longest ago are read when needed."""
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
POINTS_SECONDS = 300.0
"""How long a device's points are kept: one may have been retired since."""
FEW_WINDOWS = 4
"""So many windows of a device are read together with those of others."""
STATES_SECONDS = 600.0
"""How long normal states are kept: windows of the past may have been flagged, corrected or forgotten since."""


@dataclass
class Kept:
    """What is kept of one device.

    Attributes:
        window_ms: length of its windows.
        profile: as it was read last.
        read_for: when the device's own profile was made, epoch milliseconds, None where it has none, and the device's type,
            as they were when ``profile`` was read.
        metrics: which metrics are read, None for all.
        metrics_at: when that was looked at, by the monotonic clock, seconds.
        carried: what the judgement of the last window left under that profile.
        recent: windows up to that one, as far back as the next one rests on them.
        recent_from: start of the span that those are all windows of, epoch milliseconds.
        points: the device's points.
        points_at: when those were read, by the monotonic clock, seconds.
        last_read_ms: end of the window with the last reading of each metric, epoch milliseconds.
    """

    window_ms: int
    profile: Profile | None = None
    read_for: tuple[int | None, str] | None = None
    metrics: frozenset[str] | None = None
    metrics_at: float = -math.inf
    carried: Carried | None = None
    recent: SnapshotSeries | None = None
    recent_from: int = 0
    points: Points = field(default_factory=Points)
    points_at: float = -math.inf
    last_read_ms: Mapping[str, int] = field(default_factory=dict)

    def leads_to(self, first_ms: int) -> bool:
        """Whether the recent windows are those before some that begin with this one, where no detector remembers any."""
        remembers = self.profile is not None and self.profile.detector is not None
        return (
            not remembers and self.recent is not None and len(self.recent) > 0 and first_ms > self.recent.times_ms[-1]
        )

    def metrics_to_read(self, look: Callable[[], frozenset[str] | None]) -> frozenset[str] | None:
        """Which metrics are read, None for all; looked at every few minutes."""
        if time.monotonic() - self.metrics_at > POINTS_SECONDS:
            self.metrics, self.metrics_at = look(), time.monotonic()
        return self.metrics


@dataclass(frozen=True, slots=True)
class NormalStates:
    """The states of a device that are known to be normal, within its profile's span.

    Attributes:
        method: the encoder that wrote their vectors.
        span: [start, end) of the profile, epoch milliseconds.
        times_ms: int64 [n].
        vectors: float32 [n, d], without the padding that all of them share.
        lengths: float32 [n], of the vectors.
        read_at: by the monotonic clock, seconds.
    """

    method: str
    span: tuple[int, int]
    times_ms: NDArray[np.int64]
    vectors: NDArray[np.float32]
    lengths: NDArray[np.float32]
    read_at: float


def most_bytes() -> int:
    """How much memory normal states may take: a share of what the machine has, or the container may use."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # no such file, or "max"
        memory = min(memory, int(CGROUP_LIMIT.read_text(encoding="ascii")))
    return max(LEAST_BYTES, memory // MEMORY_SHARE)


@dataclass
class KeptStates:
    """Normal states of the devices judged last, within a bound of memory."""

    store: Store
    most: int = field(default_factory=most_bytes)
    _states: OrderedDict[str, NormalStates] = field(default_factory=OrderedDict)
    _bytes: int = 0

    def nearest(
        self,
        device_id: str,
        profile: Profile,
        queries: NDArray[np.float32],
        times_ms: NDArray[np.int64],
        k: int,
        exclude_ms: int,
    ) -> Neighbours:
        """The k most similar normal states of each query, as :meth:`Store.nearest` finds them.

        Args:
            device_id: whose.
            profile: says which span, under which encoder.
            queries: float32 [q, 384].
            times_ms: int64 [q], window starts.
            k: how many of each.
            exclude_ms: states closer in time than this to their query are left out.
        """
        states = self._of(device_id, profile)
        width = states.vectors.shape[1]
        search = NearestSearch(queries[:, :width], k, query_times_ms=times_ms, exclude_ms=exclude_ms)
        if len(states.times_ms):
            unflagged = np.zeros(len(states.times_ms), dtype=np.bool_)
            search.add(states.times_ms, states.vectors, unflagged, states.lengths)
        return search.result()

    def _of(self, device_id: str, profile: Profile) -> NormalStates:
        known, span = self._states.get(device_id), (profile.span_start, profile.span_end)
        now = time.monotonic()
        if (
            known is None
            or (known.method, known.span) != (profile.embedding_method, span)
            or now - known.read_at > STATES_SECONDS
        ):
            self._bytes -= known.vectors.nbytes if known is not None else 0
            known = self._states[device_id] = self._read(device_id, profile.embedding_method, span)
            self._bytes += known.vectors.nbytes
        self._states.move_to_end(device_id)
        while len(self._states) > 1 and self._bytes > self.most:
            self._bytes -= self._states.popitem(last=False)[1].vectors.nbytes
        return known

    def _read(self, device_id: str, method: str, span: tuple[int, int]) -> NormalStates:
        all_times, whole = normal_vectors(self.store, device_id, method, span)
        used = np.flatnonzero(np.any(whole != 0, axis=0))
        width = int(used[-1]) + 1 if len(used) else 1
        vectors = np.ascontiguousarray(whole[:, :width])
        return NormalStates(method, span, all_times, vectors, np.linalg.norm(vectors, axis=1), time.monotonic())


def _half_made(profile: Profile | None) -> bool:
    """Whether the encoder could not be asked when a provisional profile was made."""
    return profile is not None and profile.provisional and not np.isfinite(profile.centroid).all()


class KeptDevices:
    """What is kept of every device that a process judges.

    Attributes:
        states: normal states.

    Args:
        store: where profiles and snapshots are.
    """

    def __init__(self, store: Store) -> None:
        self.states = KeptStates(store)
        self._store, self._kept = store, dict[str, Kept]()

    def of(self, device: Device, encoders: Encoders, settings: Settings, updated_at: int | None) -> Kept:
        """What is kept of a device, with its profile as it is now; nothing from before the length of its windows changed.

        Args:
            device: which.
            encoders: of all devices.
            settings: the usual length of windows.
            updated_at: when the device's profile was made, epoch milliseconds; None where it has none of its own.
        """
        kept, window_ms = self._kept.get(device.device_id), device.window(settings)
        if kept is None or kept.window_ms != window_ms:
            kept = self._kept[device.device_id] = Kept(window_ms)
        read_for = updated_at, device.device_type
        if read_for != kept.read_for or _half_made(kept.profile):
            kept.profile, kept.read_for = current_profile(self._store, device, encoders, settings), read_for
            kept.carried, kept.points_at, kept.metrics_at = None, -math.inf, -math.inf
        if time.monotonic() - kept.points_at > POINTS_SECONDS:
            kept.points, kept.points_at = points_of(self._store, device.device_id), time.monotonic()
        return kept

    def next_windows(self, devices: Iterable[Device], limits: Mapping[str, int]) -> dict[str, tuple[int, int]]:
        """Where the next windows of devices are of which there can only be few: behind the last one that is kept.

        Args:
            devices: which.
            limits: by device, windows that end at or before this instant are complete.
        """
        spans: dict[str, tuple[int, int]] = {}
        for device in devices:
            kept, limit = self._kept.get(device.device_id), limits[device.device_id]
            if kept is None or kept.recent is None or not len(kept.recent) or kept.metrics is not None:
                continue
            begin = int(kept.recent.times_ms[-1]) + 1
            if begin < limit and min(limit, device.last_seen + 1) <= begin + FEW_WINDOWS * kept.window_ms:
                spans[device.device_id] = begin, limit
        return spans

    def forget(self, device_id: str) -> None:
        """Begin anew with a device, as after a failure."""
        self._kept.pop(device_id, None)
