"""What a detector says of each snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Verdicts:
    """One method's verdicts over n snapshots of one device.

    Attributes:
        method: name of the method, see :data:`hvac_platform.detection.methods.METHODS`.
        times_ms: int64 [n], the snapshots' window starts.
        score: float64 [n] >= 0; 1.0 is the limit above which a snapshot is suspicious. NaN where the row was not judged,
            because too little was read of it.
        anomalous: bool [n].
        level: int8 [n]; 0 normal, 1 life safety, 2 critical, 3 urgent, 4 normal priority (ASHRAE Guideline 36 levels).
        reasons: n tuples of sentences, empty where normal; why it was not judged, where it was not.
        metrics: n tuples of metric names that the reasons rest on, most important first.
    """

    method: str
    times_ms: NDArray[np.int64]
    score: NDArray[np.float64]
    anomalous: NDArray[np.bool_]
    level: NDArray[np.int8]
    reasons: list[tuple[str, ...]]
    metrics: list[tuple[str, ...]]

    def __len__(self) -> int:
        """Number of snapshots."""
        return len(self.times_ms)

    def take(self, rows: NDArray[np.int64]) -> Verdicts:
        """Those on some rows, in their order; int64 [k]."""
        return Verdicts(
            self.method,
            self.times_ms[rows],
            self.score[rows],
            self.anomalous[rows],
            self.level[rows],
            [self.reasons[i] for i in rows],
            [self.metrics[i] for i in rows],
        )

    def spread(self, mask: NDArray[np.bool_], times_ms: NDArray[np.int64]) -> Verdicts:
        """Verdicts on the rows of a mask, bool [m], as verdicts on all m rows: nothing is said of the others."""
        if mask.all():
            return self
        whole = nothing(self.method, times_ms)
        whole.score[mask], whole.anomalous[mask], whole.level[mask] = self.score, self.anomalous, self.level
        for i, row in enumerate(np.flatnonzero(mask)):
            whole.reasons[row], whole.metrics[row] = self.reasons[i], self.metrics[i]
        return whole

    def leave(self, mask: NDArray[np.bool_], why: Sequence[tuple[str, ...]], *, keep_alarms: bool) -> Verdicts:
        """Nothing is said of the rows of a mask, bool [n]: they have no score, and the reason says why.

        Args:
            mask: rows that are not judged.
            why: reasons of each of the n rows.
            keep_alarms: an alarm on such a row stays.
        """
        left = mask & ~self.anomalous if keep_alarms else mask
        if not left.any():
            return self
        rows = left.tolist()
        return replace(
            self,
            score=np.where(left, np.nan, self.score),
            anomalous=self.anomalous & ~left,
            level=np.where(left, 0, self.level).astype(np.int8),
            reasons=[said if is_left else own for is_left, said, own in zip(rows, why, self.reasons, strict=True)],
            metrics=[() if is_left else own for is_left, own in zip(rows, self.metrics, strict=True)],
        )

    @property
    def judged(self) -> NDArray[np.bool_]:
        """Rows on which the method has said something, bool [n]."""
        return np.asarray(~np.isnan(self.score), dtype=np.bool_)

    def mute(self, mask: NDArray[np.bool_]) -> Verdicts:
        """Nothing alarms on the rows of a mask, bool [n]; scores stay as they are."""
        if not mask.any():
            return self
        quiet = mask.tolist()
        return replace(
            self,
            anomalous=self.anomalous & ~mask,
            level=np.where(mask, 0, self.level).astype(np.int8),
            reasons=[() if muted else reasons for muted, reasons in zip(quiet, self.reasons, strict=True)],
            metrics=[() if muted else names for muted, names in zip(quiet, self.metrics, strict=True)],
        )


def nothing(method: str, times_ms: NDArray[np.int64]) -> Verdicts:
    """What a method says of n snapshots that it has nothing to compare with.

    >>> nothing("rules", np.zeros(2, dtype=np.int64)).anomalous.tolist()
    [False, False]
    """
    n = len(times_ms)
    return Verdicts(
        method, times_ms, np.zeros(n), np.zeros(n, dtype=bool), np.zeros(n, dtype=np.int8), [()] * n, [()] * n
    )
