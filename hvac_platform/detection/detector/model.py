"""The detector: what normal looks like for one device, and how surprising each row of its metrics is.

A row is judged from three sides, each calibrated on data that it was not fitted to:

- *now*: Hotelling's T² of the state and its recent change, and the distance to the nearest normal states;
- *for some time*: T² and the largest conditional deviation of averages over about 10 and 30 rows (multivariate EWMA
  control chart: Lowry, Woodall, Champ and Rigdon, Technometrics 34, 1992);
- *too still*: a live sensor that repeats itself.

Pure: tables and arrays in, tables out. docs/detection.md has the formulas.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hvac_platform.detection.contexts import Contexts
from hvac_platform.detection.detector import codec, explain, judge
from hvac_platform.detection.detector.judge import Examination
from hvac_platform.detection.detector.state import DetectorState
from hvac_platform.detection.frozen import Repetition
from hvac_platform.detection.modes import Switch
from hvac_platform.detection.observations import Segments
from hvac_platform.detection.reference import Memory
from hvac_platform.detection.scaling import Scale
from hvac_platform.detection.surprise import Surprise
from hvac_platform.detection.whitening import Whitening

Float64 = NDArray[np.float64]
Float32 = NDArray[np.float32]

VERSION = 4
"""Of what a detector learns and how; one that was fitted under another number should be fitted again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedDetector:
    """What normal looks like for one device; made by :func:`fit_detector`, never changed.

    Attributes:
        metric_names: the m metrics that it judges.
        left_out: columns of the training that it doesn't judge, with the reason.
        device_type: name of the device type whose rules count too, or None.
        interval_ms: usual time between rows.
        false_alarms_per_day: budget that the limits hold.
        scale: robust centre and spread of each metric.
        levels: covariance of the scaled metrics.
        states: covariance of the state and its recent change.
        averages: covariances of the two sustained averages.
        normal: float32 [k, 2m + 3], embeddings of normal states.
        clock: whether the hour of the day is part of them.
        surprises: calibration of each statistic.
        limits: surprise above which ``now`` and ``sustained`` alarm.
        switches: what tells the machine's operating modes apart.
        within: calibration of each statistic within a mode, by the mode's number (plus 8 for the rows in which it was just
            entered); what is too rare for one is absent.
        repetition: how the metrics usually repeat themselves.
        memory: where the training ended.
        recent_times_ms: int64 [r], last rows of the training, for rules.
        recent_values: float64 [r, m], their readings.
        carry: int64 [m], rows for which a reading of each metric counts, by its pace; empty in detectors of earlier
            versions, which carry ten.
        contexts: half-hours of the day in which more surprise is usual; none in detectors of earlier versions.
        version: of the method that it was fitted by.
    """

    metric_names: tuple[str, ...]
    left_out: Mapping[str, str]
    device_type: str | None
    interval_ms: int
    false_alarms_per_day: float
    scale: Scale
    levels: Whitening
    states: Whitening
    averages: tuple[Whitening, Whitening]
    normal: Float32
    clock: bool
    surprises: Mapping[str, Surprise]
    limits: Mapping[str, float]
    switches: tuple[Switch, ...] = ()
    within: Mapping[str, Mapping[str, Surprise]] = field(default_factory=dict)
    repetition: Repetition
    memory: Memory
    recent_times_ms: NDArray[np.int64]
    recent_values: Float64
    carry: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    contexts: Contexts = field(default_factory=Contexts)
    version: int = VERSION

    def score(
        self,
        metrics: pd.DataFrame,
        *,
        segments: Segments | None = None,
        maintenance: Sequence[tuple[pd.Timestamp, pd.Timestamp]] = (),
    ) -> pd.DataFrame:
        """Judge rows of metrics. Row i rests on rows up to i alone.

        What is remembered carries on from the end of the training when the first row follows it within five intervals (and
        carries the same segment label, where both have labels). It starts afresh at each other segment and gap.

        Args:
            metrics: n rows, UTC DatetimeIndex increasing within each segment, with at least the metrics of the training.
            segments: label of the record of each row.
            maintenance: spans [from, until) in which nothing alarms.

        Returns:
            n rows with the index of ``metrics``:
            ``score``: surprise, 0 to 5; 2 means that one normal row in a hundred is as odd. NaN for a row without readings.
            ``is_anomalous``: whether it alarms.
            ``profile_similarity``: cosine to the centre of normal, c/√(c² + T²).
            ``neighbour_distance``: mean cosine distance to the five nearest normal states.
            ``top_metric``: metric that speaks most against the row.
            ``observed``, ``expected``: that metric's reading, and what the others imply, in its unit.
            ``reason``: ``now``, ``sustained``, ``frozen`` or ``rule`` where it alarms, else empty.

        Raises:
            UnusableMetricsError: the table isn't as described.
        """
        return self.advance(metrics, segments=segments, maintenance=maintenance)[0]

    def advance(
        self,
        metrics: pd.DataFrame,
        state: DetectorState | None = None,
        *,
        segments: Segments | None = None,
        maintenance: Sequence[tuple[pd.Timestamp, pd.Timestamp]] = (),
    ) -> tuple[pd.DataFrame, DetectorState]:
        """Judge the next rows, and say where that leaves each record: for rows that come a few at a time.

        Calls that pass on each other's state give together what :meth:`score` gives of all rows at once.

        Args:
            metrics: n rows, as for :meth:`score`.
            state: what the call before returned; None carries on from the end of the training.
            segments: label of the record of each row.
            maintenance: spans [from, until) in which nothing alarms.

        Returns:
            The table that :meth:`score` returns, and the state after the last row.

        Raises:
            UnusableMetricsError: the table isn't as described, or has rows that the state has seen already.
        """
        return judge.advance(self, metrics, state, segments=segments, maintenance=maintenance)

    def examine(self, metrics: pd.DataFrame) -> Examination:
        """Everything there is to say of rows of one record: what :meth:`score` says, and what it rests on.

        Rows that follow the end of the training carry on from there. Rules are left out of account.

        Args:
            metrics: n >= 1 rows, as for :meth:`score`.

        Raises:
            UnusableMetricsError: the table isn't as described.
        """
        return judge.examine(self, metrics)

    def explain(self, row: pd.Series) -> pd.DataFrame:
        """What each metric of one row would be if the others are right, most deviating metric first.

        Args:
            row: readings by metric, as ``metrics.iloc[i]`` gives them; missing ones are left out.

        Returns:
            One row a metric: ``observed``, ``expected`` (its conditional expectation) and ``usual`` (median of the
            training), in the metric's unit; ``sigmas`` (conditional deviation, signed); ``direction`` (high, low or as
            expected).

        Raises:
            UnusableMetricsError: the row has none of the detector's metrics.
        """
        return explain.explain(self, row)

    def deviations(self, metrics: pd.DataFrame, *, segments: Segments | None = None) -> pd.DataFrame:
        """Observed less expected value of every metric, in its unit: n rows, one column a metric; NaN where missing.

        Expected is what the other metrics imply, so load and weather are accounted for.
        """
        return explain.deviations(self, metrics, segments=segments)

    def sigmas(self, metrics: pd.DataFrame, *, segments: Segments | None = None) -> pd.DataFrame:
        """Conditional deviation of every metric in standard deviations of this device's normal, signed; n rows.

        Missing readings count as what the others imply, so as 0.
        """
        return explain.sigmas(self, metrics, segments=segments)

    def embed(self, metrics: pd.DataFrame, *, segments: Segments | None = None) -> Float32:
        """Unit vectors float32 [n, 2m + 3] of rows of metrics: neighbours are found by their cosine."""
        return explain.embed(self, metrics, segments=segments)

    @property
    def conditional_spread(self) -> dict[str, float]:
        """By metric, the standard deviation of a normal row about what the other metrics imply, in the metric's unit."""
        units = self.scale.spread * self.levels.scale.spread
        spread = units / np.sqrt(np.diag(self.levels.precision))
        return dict(zip(self.metric_names, spread.tolist(), strict=True))

    @property
    def similarity_limit(self) -> float:
        """Cosine to the centre of normal at which Hotelling's T² alone reaches the limit of what alarms now."""
        distance = self.surprises["profile"].statistic_at(self.limits["now"])
        return float(1.0 / np.sqrt(1.0 + distance**2 / (2.0 * len(self.metric_names))))

    @property
    def encoder_version(self) -> str:
        """Fingerprint of what :meth:`embed` rests on, 12 hexadecimal digits: vectors of different ones can't be compared."""
        parts = (self.metric_names, self.clock, self.scale, self.levels, self.states)
        return hashlib.blake2b(codec.packed(parts), digest_size=6).hexdigest()

    def to_bytes(self) -> bytes:
        """The detector in few bytes, for a column of a table: arrays as they are in memory, compressed."""
        return zlib.compress(codec.packed(self), level=1)

    @classmethod
    def from_bytes(cls, content: bytes) -> FittedDetector:
        """The detector of :meth:`to_bytes`."""
        return codec.detector_of(cls, codec.unpacked(zlib.decompress(content)))

    def to_document(self) -> dict[str, Any]:
        """The detector as plain values, for JSON."""
        return codec.document_of(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> FittedDetector:
        """The detector of a document."""
        return codec.detector_of(cls, document)
