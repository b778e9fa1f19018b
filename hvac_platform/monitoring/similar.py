"""Has this happened before? The past states most like a given one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hvac_platform.embedding.base import Encoder
from hvac_platform.embedding.learned import Encoders
from hvac_platform.monitoring.profiles import load_profile
from hvac_platform.snapshots import SnapshotSeries, select
from hvac_platform.stores.base import Device, Store
from hvac_platform.stores.records import Incident
from hvac_platform.stores.series import read_series
from hvac_platform.timestamps import DAY_MS

LONGEST_EPISODE_MS = 30 * 60_000
RECENT_MS = 3_600_000
SAME_STATE = 0.995


class NoSnapshotError(ValueError):
    """There is no snapshot to start from; the message says where there are some."""


@dataclass(frozen=True, slots=True)
class SimilarState:
    """One past state.

    Attributes:
        time_ms: start of its window.
        cosine: similarity to the state in question.
        anomalous: whether it was flagged.
        outcome: what became of it: ``normal``, or the incident it belongs to with its label or likely kind.
        differences: per metric (value then, value in question minus value then), largest relative difference first.
    """

    time_ms: int
    cosine: float
    anomalous: bool
    outcome: str
    differences: dict[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class History:
    """A state and what the past has like it.

    Attributes:
        state: the state in question, a series of one snapshot.
        similar: past states, most similar first, one an episode.
        seen: separate past episodes at least as similar as ``threshold``.
        last_seen_ms: latest of them, or None.
        threshold: cosine from which a state counts as the same.
    """

    state: SnapshotSeries
    similar: list[SimilarState]
    seen: int
    last_seen_ms: int | None
    threshold: float


def similar_states(
    store: Store,
    device: Device,
    encoders: Encoders,
    *,
    at_ms: int | None = None,
    limit: int = 5,
    threshold: float | None = None,
    before_ms: int | None = None,
) -> History:
    """The past states of a device that are most like its state at an instant (by default the newest).

    States within half an hour of it, and of one another, are one episode and count once (in a recording of less than five
    hours, those within a tenth of it).

    Raises:
        NoSnapshotError: the device has no snapshot at that time.
    """
    end_ms = device.last_seen + 1 if at_ms is None else at_ms + 1
    encoder = encoders.of(device.device_id)
    series = read_series(
        store,
        device.device_id,
        device.device_type,
        end_ms - RECENT_MS,
        end_ms,
        embeddings=True,
        embedding_method=encoder.method,
    )
    if encoder.context_windows and len(series):  # what is stored may be of an encoder that has been replaced since
        before_ms = end_ms - RECENT_MS - encoder.context_windows * series.window_ms
        series = read_series(store, device.device_id, device.device_type, before_ms, end_ms)
        series = replace(series, embeddings=encoder.encode(series))
    if not len(series) or series.embeddings is None or not np.isfinite(series.embeddings[-1]).all():
        raise NoSnapshotError(f"{device.device_id} has no embedded snapshot in the hour before that time")
    row = len(series) - 1
    episode_ms = min(LONGEST_EPISODE_MS, (device.last_seen - device.first_seen) // 10)
    found = store.nearest(
        device.device_id,
        series.embeddings[row:],
        1000,
        embedding_method=encoder.method,
        end_ms=min(int(series.times_ms[row]) - episode_ms, end_ms if before_ms is None else before_ms),
    )
    episodes: list[tuple[int, float, bool]] = []
    for time_ms, cosine, flag in zip(
        found.times_ms[0].tolist(), found.similarity[0].tolist(), found.anomalous[0].tolist(), strict=True
    ):
        if time_ms >= 0 and all(abs(time_ms - earlier) >= episode_ms for earlier, _, _ in episodes):
            episodes.append((time_ms, cosine, flag))
    if threshold is None:
        threshold = same_state_cosine(store, device, encoder)
    seen = [time_ms for time_ms, cosine, _ in episodes if cosine >= threshold]
    begin_ms = min((t for t, _, _ in episodes), default=0) - DAY_MS
    incidents = Incident.read(store, device.device_id, (begin_ms, end_ms))
    state = select(series, np.array([row]))
    return History(
        state,
        [_compared(store, device, state, *episode, _outcome(incidents, *episode)) for episode in episodes[:limit]],
        len(seen),
        max(seen, default=None),
        threshold,
    )


def same_state_cosine(store: Store, device: Device, encoder: Encoder) -> float:
    """Cosine from which two states of a device are the same: as near as normal states are to the nearest others.

    Embeddings of a device's own encoder are compared with the profile's limit of distance; those of other encoders lie
    closer together, and 0.995 is a matter of judgement.
    """
    profile = load_profile(store, device.device_id)
    if profile is None or profile.detector is None or profile.embedding_method != encoder.method:
        return SAME_STATE
    return 1.0 - profile.calibration.neighbour_distance


def _outcome(incidents: Sequence[Incident], time_ms: int, _cosine: float, anomalous: bool) -> str:
    if not anomalous:
        return "normal"
    incident = next((i for i in incidents if i.started_at <= time_ms < i.ended_at), None)
    if incident is None:
        return "anomalous"
    likely = incident.kinds[0]["kind"].replace("_", " ") + "?" if incident.kinds else ""
    return f"incident {incident.incident_id}, {incident.severity}: {incident.label or likely or 'of unknown kind'}"


def _compared(
    store: Store, device: Device, state: SnapshotSeries, time_ms: int, cosine: float, anomalous: bool, outcome: str
) -> SimilarState:
    past = read_series(store, device.device_id, device.device_type, time_ms, time_ms + 1)
    differences = {}
    for name in state.metric_names:
        now, then = float(state.column(name)[0]), float(past.column(name)[0])
        if np.isfinite(now) and np.isfinite(then):
            differences[name] = (then, now - then)
    ordered = sorted(differences.items(), key=lambda item: -abs(item[1][1]) / (abs(item[1][0]) + 1.0))
    return SimilarState(time_ms, cosine, anomalous, outcome, dict(ordered))
