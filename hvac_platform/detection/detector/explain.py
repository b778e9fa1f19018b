"""What a detector expects of each metric, how far each is from it, and the embeddings of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hvac_platform.detection.attribution import conditional_sigmas
from hvac_platform.detection.detector.statistics import Departures, departures_of
from hvac_platform.detection.nearest import state_embeddings
from hvac_platform.detection.observations import (
    GAP_INTERVALS,
    Observations,
    Segments,
    Stretch,
    UnusableMetricsError,
    numeric_columns,
    observe,
)
from hvac_platform.detection.reference import Memory, Stuck, Trace, trace

if TYPE_CHECKING:
    from hvac_platform.detection.detector.model import FittedDetector

Float64 = NDArray[np.float64]
Float32 = NDArray[np.float32]


def explain(detector: FittedDetector, row: pd.Series) -> pd.DataFrame:
    """See :meth:`FittedDetector.explain`."""
    values = pd.to_numeric(row.reindex(list(detector.metric_names)), errors="coerce").to_numpy(dtype=np.float64)
    values = np.where(np.isfinite(values), values, np.nan)
    if not np.isfinite(values).any():
        raise UnusableMetricsError(
            f"the row has no reading of {', '.join(detector.metric_names)}: pass a row of metrics, as metrics.iloc[i]"
        )
    single = Observations(
        values[None, :], np.zeros(1, dtype=np.int64), (Stretch(0, 1, None),), np.zeros(1, dtype=np.int64), 1
    )
    followed = followed_by(detector, single, None)
    implied = expected(detector, followed)[0]
    deviations = detector.levels.deviations(followed.level)
    sigmas = conditional_sigmas(deviations, detector.levels.precision)[0]
    table = pd.DataFrame(
        {
            "observed": values,
            "expected": implied,
            "usual": detector.scale.centre,
            "sigmas": sigmas,
            "direction": np.select([sigmas > 3.0, sigmas < -3.0], ["high", "low"], "as expected"),
        },
        index=pd.Index(detector.metric_names, name="metric"),
    )
    known = table[np.isfinite(values)]
    ordered: pd.DataFrame = known.reindex(known["sigmas"].abs().sort_values(ascending=False, kind="stable").index)
    return ordered


def deviations(detector: FittedDetector, metrics: pd.DataFrame, *, segments: Segments | None = None) -> pd.DataFrame:
    """See :meth:`FittedDetector.deviations`."""
    check_columns(detector, metrics)
    observations = observe(metrics, detector.metric_names, segments, detector.interval_ms)
    if not len(observations.order):
        return pd.DataFrame(columns=list(detector.metric_names), index=metrics.index, dtype=np.float64)
    before = detector.memory if _continues(detector, observations) else None
    followed = followed_by(detector, observations, before)
    deviations = observations.values - expected(detector, followed)
    back = np.argsort(observations.order, kind="stable")
    return pd.DataFrame(deviations[back], index=metrics.index, columns=list(detector.metric_names))


def sigmas(detector: FittedDetector, metrics: pd.DataFrame, *, segments: Segments | None = None) -> pd.DataFrame:
    """See :meth:`FittedDetector.sigmas`."""
    check_columns(detector, metrics)
    observations = observe(metrics, detector.metric_names, segments, detector.interval_ms)
    if not len(observations.order):
        return pd.DataFrame(columns=list(detector.metric_names), index=metrics.index, dtype=np.float64)
    followed = followed_by(detector, observations, detector.memory if _continues(detector, observations) else None)
    sigmas = conditional_sigmas(detector.levels.deviations(followed.level), detector.levels.precision)
    back = np.argsort(observations.order, kind="stable")
    return pd.DataFrame(sigmas[back], index=metrics.index, columns=list(detector.metric_names))


def embed(detector: FittedDetector, metrics: pd.DataFrame, *, segments: Segments | None = None) -> Float32:
    """See :meth:`FittedDetector.embed`."""
    check_columns(detector, metrics)
    observations = observe(metrics, detector.metric_names, segments, detector.interval_ms)
    return embed_rows(detector, observations)[np.argsort(observations.order, kind="stable")]


def embed_rows(detector: FittedDetector, observations: Observations) -> Float32:
    """Embeddings of observations, float32 [n, 2m + 3], in their own order."""
    before = detector.memory if _continues(detector, observations) else None
    followed = followed_by(detector, observations, before)
    return vectors(detector, observations, departures_of(followed, detector.states))


def vectors(detector: FittedDetector, observations: Observations, departures: Departures) -> Float32:
    """Embeddings of the rows, against the level that each departs from less, as the alarm takes it."""
    return state_embeddings(departures.nearer, observations.times_ms, clock=detector.clock)


def expected(detector: FittedDetector, followed: Trace) -> Float64:
    """What the other metrics imply of each, in the metrics' units, float64 [n, m]."""
    deviations = detector.levels.deviations(followed.usual)
    implied = deviations - (deviations @ detector.levels.precision) / np.diag(detector.levels.precision)
    z = (implied + detector.levels.mean) * detector.levels.scale.spread + detector.levels.scale.centre
    expected: Float64 = z * detector.scale.spread + detector.scale.centre
    return expected


def check_columns(detector: FittedDetector, metrics: pd.DataFrame) -> None:
    """Check that a table has the columns that the detector was fitted on.

    Raises:
        UnusableMetricsError: it has not.
    """
    names = numeric_columns(metrics)
    missing = [name for name in detector.metric_names if name not in names]
    if missing:
        raise UnusableMetricsError(
            f"columns missing that the detector was fitted on: {', '.join(missing)}; a metric that is not "
            f"reported is a column of NaN"
        )


def followed_by(detector: FittedDetector, observations: Observations, before: Memory | None) -> Trace:
    """The rows beside the levels that they are compared with, going on from what is remembered of those before."""
    stuck = Stuck(detector.repetition, detector.limits["frozen"])
    return trace(
        observations, detector.scale, detector.levels, detector.surprises["level"], before, stuck, detector.carry
    )


def _continues(detector: FittedDetector, observations: Observations) -> bool:
    """Whether the first rows carry on from the end of the training."""
    if not observations.stretches:
        return False
    label = observations.stretches[0].label
    same = label is None or detector.memory.label is None or label == detector.memory.label
    return same and follows(detector, observations, detector.memory)


def follows(detector: FittedDetector, observations: Observations, memory: Memory) -> bool:
    """Whether the first row comes soon enough after a remembered one to go on from it."""
    return 0 < int(observations.times_ms[0]) - memory.time_ms <= GAP_INTERVALS * detector.interval_ms
