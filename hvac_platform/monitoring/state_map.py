"""Where a device's states lie on a plane: what is normal by operating mode, the path of its last day, its incidents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hvac_platform.config import Settings
from hvac_platform.detection.modes import mode_codes
from hvac_platform.detection.profile import Profile
from hvac_platform.embedding.projection import plane_of
from hvac_platform.monitoring.operating_modes import UNKNOWN_MODE, mode_names
from hvac_platform.monitoring.profiles import load_profile
from hvac_platform.stores.base import Device, Store, TableSlice
from hvac_platform.stores.metric_maps import metric_maps
from hvac_platform.stores.records import Incident, Snapshot
from hvac_platform.stores.vectors import decoded_vectors
from hvac_platform.timestamps import DAY_MS

CLOUD_MS = 7 * DAY_MS
MOST_CLOUD, MOST_PATH = 1_000, 500
"""Windows that are drawn of each; anomalous ones of the path beside the others."""
MOST_READ = 7 * 1_440
"""Windows that are read: of devices with windows of less than a minute, stretches spread over the span."""
STRETCHES, AT_ONCE = 48, 5_000
MOST_INCIDENTS, OF_INCIDENT = 10, 10
"""The newest incidents are marked, each by the mean place of its first windows."""

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PlacedIncident:
    """An incident and where its states lie."""

    incident: Incident
    place: tuple[float, float]


@dataclass(frozen=True, slots=True)
class StateMap:
    """States on a plane.

    Attributes:
        shares: of the variance of normal states that lies along each axis.
        cloud: normal states of the last week, float64 [n, 2], by operating mode, the most usual first.
        path_ms: window starts of the last day, int64 [m].
        path: where they lie, float64 [m, 2].
        flagged: which of them were called anomalous, bool [m].
        incidents: those of the week.
    """

    shares: tuple[float, float]
    cloud: dict[str, Float64]
    path_ms: Int64
    path: Float64
    flagged: NDArray[np.bool_]
    incidents: list[PlacedIncident]


@dataclass(frozen=True, slots=True)
class _States:
    """Windows that have an embedding by the present encoder, in order.

    Attributes:
        times_ms: their starts, int64 [n].
        flagged: which were called anomalous, bool [n].
        vectors: embeddings as they are stored; decoding takes longer than reading.
        switches: float64 [n, k], what tells operating modes apart; NaN where it wasn't read.
    """

    times_ms: Int64
    flagged: NDArray[np.bool_]
    vectors: list[bytes]
    switches: Float64

    def of(self, rows: Int64) -> NDArray[np.float32]:
        """Embeddings of some of them, float32 [m, d]."""
        return decoded_vectors(self.vectors[row] for row in rows.tolist())

    def within(self, start_ms: int, end_ms: int) -> Int64:
        """Rows of windows that begin in a span."""
        return np.flatnonzero((self.times_ms >= start_ms) & (self.times_ms < end_ms))


def state_map(store: Store, device: Device, settings: Settings) -> StateMap | None:
    """The map of a device at its newest reading; None where too few of its windows have embeddings of its present encoder.

    Args:
        store: has its windows; at most twice :data:`MOST_READ` are read, however long they are.
        device: which.
        settings: length of the windows of devices that have none of their own.
    """
    profile = load_profile(store, device.device_id)
    if profile is None:
        return None
    window_ms = device.window(settings)
    end_ms = device.last_seen + window_ms
    spans = _stretches(end_ms - CLOUD_MS, end_ms, window_ms, MOST_READ)
    week = _read(store, device, profile, spans)
    normal = _thinned(np.flatnonzero(~week.flagged), MOST_CLOUD)
    plane = plane_of(week.of(normal))
    if plane is None:
        return None
    whole = len(spans) == 1
    day = week if whole else _read(store, device, profile, _stretches(end_ms - DAY_MS, end_ms, window_ms, MOST_READ))
    rows = day.within(end_ms - DAY_MS, end_ms)
    path = np.union1d(_thinned(rows[~day.flagged[rows]], MOST_PATH), _thinned(rows[day.flagged[rows]], MOST_PATH))
    incidents = Incident.read(store, device.device_id, (end_ms - CLOUD_MS, end_ms))
    placed: list[PlacedIncident] = []
    for incident in sorted(incidents, key=lambda one: -one.started_at)[:MOST_INCIDENTS]:
        span = (incident.started_at, max(incident.started_at + window_ms, incident.ended_at))
        states = week if whole else _read(store, device, profile, _stretches(*span, window_ms, OF_INCIDENT))
        during = states.within(*span)[:OF_INCIDENT]
        if len(during):  # of a data loss there are none
            x, y = plane.of(states.of(during)).mean(axis=0).tolist()
            placed.append(PlacedIncident(incident, (x, y)))
    return StateMap(
        plane.shares,
        _by_mode(store, device, plane.of(week.of(normal)), _modes(profile, week.switches[normal])),
        day.times_ms[path],
        plane.of(day.of(path)),
        day.flagged[path],
        placed,
    )


def _modes(profile: Profile, switches: Float64) -> Int64:
    """Numbers of operating modes, int64 [n], -1 where one isn't known."""
    told = profile.detector.switches if profile.detector is not None else ()
    return mode_codes(told, switches, [switch.metric for switch in told])


def _by_mode(store: Store, device: Device, places: Float64, codes: Int64) -> dict[str, Float64]:
    """Places under the names of their modes, the most usual first."""
    names = mode_names(store, device.device_id)
    parts: dict[str, list[Float64]] = {}
    for code in np.unique(codes).tolist():
        parts.setdefault(names.get(code, UNKNOWN_MODE), []).append(places[codes == code])
    found = {name: np.concatenate(part) for name, part in parts.items()}
    return dict(sorted(found.items(), key=lambda one: (-len(one[1]), one[0])))


def _thinned(rows: Int64, most: int) -> Int64:
    """At most so many rows, at equal distances, the last one among them.

    >>> _thinned(np.arange(10), 3).tolist(), _thinned(np.arange(2), 3).tolist()
    ([2, 5, 9], [0, 1])
    """
    return rows if len(rows) <= most else rows[np.arange(1, most + 1) * len(rows) // most - 1]


def _stretches(start_ms: int, end_ms: int, window_ms: int, most: int) -> list[tuple[int, int]]:
    """Spans that hold at most so many windows: the whole, or stretches of it at equal distances, the last one at its end.

    >>> _stretches(0, 600_000, 60_000, 10), len(_stretches(0, 600_000, 1_000, 96))
    ([(0, 600000)], 48)
    """
    if (end_ms - start_ms) // window_ms <= most:
        return [(start_ms, end_ms)]
    stretches = min(STRETCHES, most)
    each = most // stretches * window_ms
    ends = np.linspace(start_ms + each, end_ms, stretches).astype(np.int64)
    return [(end - each, end) for end in ends.tolist()]


def _read(store: Store, device: Device, profile: Profile, spans: Sequence[tuple[int, int]]) -> _States:
    """Windows of some spans, in order, that have an embedding by the encoder of the profile."""
    told = profile.detector.switches if profile.detector is not None else ()
    names = tuple(switch.metric for switch in told)
    columns = ("snapshot_time", "embedding", "embedding_method", "is_anomalous", *(("metrics",) if names else ()))
    times: list[int] = []
    flagged: list[bool] = []
    vectors: list[bytes] = []
    grids: list[Float64] = [np.zeros((0, len(names)))]
    for start_ms, end_ms in spans:
        rows = TableSlice(Snapshot.TABLE, columns, device.device_id, start_ms, end_ms)
        for batch in store.scan(rows, batch_rows=AT_ONCE):
            methods, blobs = batch["embedding_method"], batch["embedding"]
            known = [i for i, blob in enumerate(blobs) if blob is not None and methods[i] == profile.embedding_method]
            times += [batch["snapshot_time"][i] for i in known]
            flagged += [bool(batch["is_anomalous"][i]) for i in known]
            vectors += [blobs[i] for i in known]
            maps = metric_maps(batch["metrics"]) if names else None
            grids.append(
                maps.merged(names).values[known] if maps is not None else np.full((len(known), len(names)), np.nan)
            )
    return _States(np.array(times, dtype=np.int64), np.array(flagged, dtype=np.bool_), vectors, np.concatenate(grids))
