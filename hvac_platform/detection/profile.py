"""Profile similarity: what normal looks like for a device, and how far a snapshot is from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hvac_platform.detection.alarms import budget_limit, counted_limit, margin_for_variation, persistent_level
from hvac_platform.detection.calibration import exceedance_for, persistent, tail_limit
from hvac_platform.detection.reasons import Deviation, deviations_of, digits_apart, told
from hvac_platform.detection.rules import without_rules
from hvac_platform.detection.verdicts import Verdicts
from hvac_platform.devices.registry import DeviceType
from hvac_platform.snapshots import SnapshotSeries

if TYPE_CHECKING:
    from hvac_platform.detection.detector import FittedDetector
    from hvac_platform.detection.energy import EnergyModel

LARGEST_SCORE = 1000.0
"""Beyond so many times its limit a score is far off in any case, and a larger number tells no more."""
USUAL = "{title} {observed} where {expected} is usual ({sigmas})"
LONGEST_EXCLUSION_MS = 30 * 60_000
NEIGHBOUR_SHARE, NEIGHBOUR_MARGIN, NEIGHBOUR_MARGIN_LONG, LARGEST_DISTANCE = 0.25, 1.5, 1.3, 0.95
ROUNDING = 1e-5
"""Cosines of float32 vectors of 384 numbers may differ by so much from rounding alone: no limit is closer."""
LAXEST = {"similarity": 0.85, "sigma": 6.0, "neighbour_distance": 0.05}  # patchy history must not blind a detector


class TooFewSnapshotsError(ValueError):
    """Not enough normal snapshots for a profile; the message says how many there are, and what to do.

    Args:
        message: that.
        points: rows of ``device_points``: what was learned all the same.
    """

    def __init__(self, message: str, points: Mapping[str, Any] | None = None) -> None:
        super().__init__(message, points)
        self.points = points or {}

    def __str__(self) -> str:
        """The message."""
        return str(self.args[0])


@dataclass(frozen=True, slots=True)
class MetricStatistics:
    """Statistics of one metric over normal snapshots, in the metric's unit; ``scale`` is what one sigma counts as."""

    mean: float
    std: float
    min: float
    max: float
    scale: float


def exclusion_ms(snapshots: int, window_ms: int) -> int:
    """How near in time a state counts as another's own surroundings: half an hour, or a tenth of a short history."""
    return min(LONGEST_EXCLUSION_MS, snapshots * window_ms // 10)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Limits of one device.

    Attributes:
        similarity: cosine to the centroid below which a snapshot is suspicious.
        sigma: largest |z| above which it is.
        neighbour_distance: mean cosine distance to the nearest normal states above which it is.
        exclude_ms: states nearer in time than this are a state's own surroundings, not its history.
    """

    similarity: float = 0.85
    sigma: float = 3.0
    neighbour_distance: float = 0.05
    exclude_ms: int = 30 * 60_000


@dataclass(frozen=True, slots=True)
class Fit:
    """What a detector was fitted on, and why.

    Attributes:
        count: normal snapshots.
        start_ms: first of them.
        end_ms: end of the last one.
        reason: why it was fitted anew.
        window_ms: length of their windows; None in profiles of versions in which all windows of a store had one length.
        standing: ids of rules that are a standing condition of the device since a change was learned: they are not judged.
    """

    count: int
    start_ms: int
    end_ms: int
    reason: str
    window_ms: int | None = None
    standing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Profile:
    """What normal looks like for one device.

    Attributes:
        device_id: the device.
        embedding_method: encoder of the centroid.
        centroid: float32 [384], unit length.
        metric_stats: statistics by metric.
        calibration: limits.
        snapshot_count: normal snapshots used; 0 for a provisional profile.
        span_start: first snapshot used, epoch milliseconds.
        span_end: end of the last.
        detector: encoder and calibration learned from the device's own history; None while there is too little, and where
            another encoder made the embeddings.
        fit: what the detector was fitted on.
        energy: what power the device should draw, or None.
        fixed: limits were given by hand; the detector's own count for nothing then.
    """

    device_id: str
    embedding_method: str
    centroid: NDArray[np.float32]
    metric_stats: dict[str, MetricStatistics]
    calibration: Calibration = field(default_factory=Calibration)
    snapshot_count: int = 0
    span_start: int = 0
    span_end: int = 0
    detector: FittedDetector | None = None
    fit: Fit | None = None
    energy: EnergyModel | None = None
    fixed: bool = False
    _version: int | None = field(default=None, init=False, compare=False, repr=False)

    @property
    def standing(self) -> tuple[str, ...]:
        """Rules that are not judged on this device, see :class:`Fit`."""
        return () if self.fit is None else self.fit.standing

    def judging_type(self, declared: DeviceType | None) -> DeviceType | None:
        """The device type without the rules that are a standing condition of this device."""
        return without_rules(declared, self.standing) if declared is not None and self.standing else declared

    @property
    def provisional(self) -> bool:
        """Whether it rests on declared ranges alone."""
        return self.snapshot_count == 0

    @property
    def version(self) -> int:
        """63-bit fingerprint of the content, worked out once."""
        if self._version is None:
            object.__setattr__(self, "_version", self._fingerprint())
        return self._version or 0

    def _fingerprint(self) -> int:
        limits = {**self.detector.limits} if self.detector else {}
        text = json.dumps(
            [self.embedding_method, self.statistics_json(), asdict(self.calibration), limits], sort_keys=True
        )
        digest = hashlib.blake2b(text.encode() + self.centroid.tobytes(), digest_size=8).digest()
        return 0 if self.provisional else int.from_bytes(digest, "little") >> 1

    def statistics_json(self) -> dict[str, dict[str, float]]:
        """``metric_stats`` as plain maps."""
        return {name: asdict(stats) for name, stats in self.metric_stats.items()}

    def with_limits(self, similarity: float | None = None, sigma: float | None = None) -> Profile:
        """The same profile with fixed limits in place of calibrated ones, where given."""
        if similarity is None and sigma is None and not self.fixed:
            return self
        calibration = replace(
            self.calibration,
            similarity=self.calibration.similarity if similarity is None else similarity,
            sigma=self.calibration.sigma if sigma is None else sigma,
        )
        return replace(self, calibration=calibration, fixed=similarity is not None or sigma is not None)


def build_profile(
    series: SnapshotSeries,
    neighbour_distances: NDArray[np.float64],
    *,
    embedding_method: str,
    device_type: DeviceType | None = None,
    min_snapshots: int = 5,
    false_alarms_per_day: float = 1.0,
    exclude_ms: int = LONGEST_EXCLUSION_MS,
    detector: FittedDetector | None = None,
    fit: Fit | None = None,
) -> Profile:
    """Learn a profile from normal snapshots.

    The centroid is the mean of the unit vectors, scaled to unit length. Sigma of a metric is its standard deviation, at
    least 0.5 % of its declared normal range (or of its mean) so that a constant metric doesn't alarm on its resolution.
    Limits are those that the device's own normal data exceeds at the false-alarm budget, but never laxer than cosine 0.85,
    6 sigma and distance 0.05.

    Args:
        series: normal snapshots with embeddings, n >= min_snapshots.
        neighbour_distances: float64 [n], mean cosine distance of each snapshot to its nearest others.
        embedding_method: encoder of the embeddings.
        device_type: declared ranges, or None.
        min_snapshots: fewest snapshots.
        false_alarms_per_day: budget.
        exclude_ms: states this near in time were left out of the distances.
        detector: the device's own, whose embeddings the series holds; or None.
        fit: what it was fitted on.

    Raises:
        TooFewSnapshotsError: fewer snapshots than that.
    """
    n = len(series)
    if n < min_snapshots or series.embeddings is None:
        raise TooFewSnapshotsError(
            f"{series.device_id}: {n} normal snapshots with an embedding, {min_snapshots} are needed"
        )
    mean_vector = series.embeddings.astype(np.float64).mean(axis=0)
    centroid = (mean_vector / np.linalg.norm(mean_vector)).astype(np.float32)
    stats = _statistics(series, device_type)
    draft = Profile(
        series.device_id,
        embedding_method,
        centroid,
        stats,
        snapshot_count=n,
        span_start=int(series.times_ms[0]),
        span_end=int(series.times_ms[-1]) + series.window_ms,
        detector=detector,
        fit=fit,
    )
    p = exceedance_for(false_alarms_per_day, series.window_ms)
    calibration = Calibration(
        similarity=max(LAXEST["similarity"], 1.0 - _widened(tail_limit(1.0 - similarity_to(series, draft), p))),
        sigma=min(LAXEST["sigma"], max(3.0, tail_limit(np.abs(sigmas(series, draft)).max(axis=1, initial=0.0), p))),
        neighbour_distance=min(LAXEST["neighbour_distance"], _widened(tail_limit(neighbour_distances, p))),
        exclude_ms=exclude_ms,
    )
    if detector is not None:
        calibration = _learned_calibration(calibration, series, neighbour_distances, detector, false_alarms_per_day)
    return replace(draft, calibration=calibration)


def _learned_calibration(
    calibration: Calibration,
    series: SnapshotSeries,
    neighbour_distances: NDArray[np.float64],
    detector: FittedDetector,
    false_alarms_per_day: float,
) -> Calibration:
    """Limits of learned embeddings: their distances are in units of the device's own normal, whatever its declared ranges.

    The limit of the distance to the nearest states is what the device's own days exceed within the budget, by the maxima of
    blocks of an hour and by count, with room for what a short history can't show. Its share of the budget is a quarter: what
    vector search finds the detector finds too, more often than not.
    """
    from hvac_platform.detection.observations import Stretch  # brings pandas, as the detector did

    distances = neighbour_distances[np.isfinite(neighbour_distances)]
    if not len(distances):
        return replace(calibration, similarity=detector.similarity_limit, neighbour_distance=LARGEST_DISTANCE)
    unit = max(float(np.quantile(distances, 0.9)), 1e-9)
    level = persistent_level(distances / unit, [Stretch(0, len(distances), None)])
    span_ms = int(series.times_ms[-1] - series.times_ms[0]) + series.window_ms
    budget = NEIGHBOUR_SHARE * false_alarms_per_day
    expected = max(budget_limit(level, series.window_ms, budget), counted_limit(level, series.window_ms, budget))
    limit = unit * expected * margin_for_variation(NEIGHBOUR_MARGIN, span_ms, len(series), NEIGHBOUR_MARGIN_LONG)
    return replace(
        calibration,
        similarity=detector.similarity_limit,
        neighbour_distance=float(min(limit, LARGEST_DISTANCE)),
    )


def _widened(limit: float) -> float:
    """Room for the difference between one day and the next, which a day of training can't show."""
    return float(limit * 1.5 + 1e-6)


def _statistics(series: SnapshotSeries, device_type: DeviceType | None) -> dict[str, MetricStatistics]:
    stats: dict[str, MetricStatistics] = {}
    for j, name in enumerate(series.metric_names):
        values = series.mean[:, j]
        values = values[np.isfinite(values)]
        if not len(values) or _is_counter(name, device_type):
            continue
        normal = device_type.point(name).normal if device_type and name in device_type.metric_names else None
        floor = 0.005 * ((normal[1] - normal[0]) if normal else max(abs(float(values.mean())), 1e-6))
        stats[name] = MetricStatistics(
            mean=float(values.mean()),
            std=float(values.std()),
            min=float(values.min()),
            max=float(values.max()),
            scale=max(float(values.std()), floor),
        )
    return stats


def _is_counter(name: str, device_type: DeviceType | None) -> bool:
    """Counters never return to where they were, so they have no usual value."""
    return device_type is not None and name in device_type.metric_names and device_type.point(name).kind == "counter"


def provisional_profile(device_id: str, device_type: DeviceType, encoder_method: str, encode: Any) -> Profile:
    """A profile from declared ranges alone, until there is history: middle of the range, sigma a quarter of it."""
    middles, stats = [], {}
    for name in device_type.metric_names:
        normal = device_type.point(name).normal
        low, high = normal if normal else (0.0, 0.0)
        middles.append((low + high) / 2)
        if normal and not _is_counter(name, device_type):
            stats[name] = MetricStatistics((low + high) / 2, (high - low) / 4, low, high, (high - low) / 4)
    row = np.array([middles])
    ones = np.ones(row.shape, dtype=np.int64)
    state = SnapshotSeries(
        device_id, device_type.name, np.zeros(1, dtype=np.int64), device_type.metric_names, row, ones, row, row, row
    )
    centroid: NDArray[np.float32] = encode(state)[0]
    return Profile(device_id, encoder_method, centroid, stats, Calibration(similarity=-1.0))


def similarity_to(series: SnapshotSeries, profile: Profile) -> NDArray[np.float64]:
    """Cosine of each snapshot's embedding to the profile's centroid, float64 [n]; NaN without embeddings."""
    if series.embeddings is None:
        return np.full(len(series), np.nan)
    norms = np.linalg.norm(series.embeddings, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine: NDArray[np.float64] = (series.embeddings @ profile.centroid) / norms
    return cosine.astype(np.float64)


def sigmas(series: SnapshotSeries, profile: Profile) -> NDArray[np.float64]:
    """Signed z of every metric, float64 [n, m]; 0 where the metric is absent or the profile doesn't know it."""
    means = np.array(
        [profile.metric_stats[n].mean if n in profile.metric_stats else np.nan for n in series.metric_names]
    )
    scales = np.array(
        [profile.metric_stats[n].scale if n in profile.metric_stats else 1.0 for n in series.metric_names]
    )
    z: NDArray[np.float64] = np.nan_to_num((series.mean - means) / scales, posinf=0.0, neginf=0.0)
    return z


def usual_deviations(series: SnapshotSeries, profile: Profile, row: int) -> list[Deviation]:
    """How far each metric of a snapshot is from its usual value, the farthest first; at least one."""
    known = [(j, name) for j, name in enumerate(series.metric_names) if name in profile.metric_stats]
    if not known:
        known = list(enumerate(series.metric_names))
    usual = [profile.metric_stats.get(name) for _, name in known]
    return deviations_of(
        [name for _, name in known],
        series.mean[row, [j for j, _ in known]],
        np.array([np.nan if one is None else one.mean for one in usual]),
        np.array([1.0 if one is None else one.scale for one in usual]),
    )


def profile_scores(series: SnapshotSeries, profile: Profile) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Score of profile similarity of every snapshot, float64 [n], and whether it alarms, bool [n].

    score = max((1 - cosine) / (1 - similarity limit), max|z| / sigma limit); alarm by
    :func:`hvac_platform.detection.calibration.persistent`.
    """
    z_score = np.abs(sigmas(series, profile)).max(axis=1, initial=0.0) / profile.calibration.sigma
    score = np.minimum(np.maximum(_distance_score(similarity_to(series, profile), profile), z_score), LARGEST_SCORE)
    return score, persistent(score, series.times_ms, series.window_ms)


def _distance_score(similarity: NDArray[np.float64], profile: Profile) -> NDArray[np.float64]:
    return np.nan_to_num((1.0 - similarity) / max(1.0 - profile.calibration.similarity, ROUNDING))


def judge_profile(series: SnapshotSeries, profile: Profile, device_type: DeviceType | None = None) -> Verdicts:
    """Verdict of profile similarity on every snapshot, with :func:`profile_scores`."""
    limits = profile.calibration
    similarity = similarity_to(series, profile)
    distance_score = _distance_score(similarity, profile)
    score, anomalous = profile_scores(series, profile)
    note = " (provisional: no profile yet)" if profile.provisional else ""
    reasons: list[tuple[str, ...]] = [()] * len(series)
    metrics: list[tuple[str, ...]] = [()] * len(series)
    for i in np.flatnonzero(anomalous):
        lines, metrics[i] = told(usual_deviations(series, profile, int(i)), device_type, USUAL)
        reasons[i] = tuple(f"{line}{note}" for line in lines)
        found, limit = digits_apart(float(similarity[i]), limits.similarity)
        if distance_score[i] > 1 and found != limit:
            reasons[i] = (*reasons[i], f"similarity to the profile {found} is below {limit}{note}")
    level = np.where(anomalous, np.where(score > 3.0, 3, 4), 0).astype(np.int8)
    return Verdicts("profile", series.times_ms, score, anomalous, level, reasons, metrics)
