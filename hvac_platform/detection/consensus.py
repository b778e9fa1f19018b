"""Where the methods agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hvac_platform.detection.methods import method_names
from hvac_platform.detection.verdicts import Verdicts

AGREEING_METHODS = 2


@dataclass(frozen=True, slots=True)
class Comparison:
    """Methods side by side over the same n windows.

    Attributes:
        windows: n.
        anomalies: anomalous windows by method.
        consensus: windows on which two or more methods agree.
        any_method: windows that any method calls anomalous.
        disagreements: windows on which exactly one method alarms, by that method.
    """

    windows: int
    anomalies: dict[str, int]
    consensus: int
    any_method: int
    disagreements: dict[str, int]

    def rate(self, count: int) -> float:
        """Share of the windows."""
        return count / self.windows if self.windows else 0.0


def votes(verdicts: Mapping[str, Verdicts]) -> NDArray[np.int64]:
    """How many methods call each window anomalous, int64 [n]."""
    stacked = np.stack([v.anomalous for v in verdicts.values()])
    counted: NDArray[np.int64] = stacked.sum(axis=0).astype(np.int64)
    return counted


def agreed(count: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Whether so many methods are a consensus, bool [n]: two or more, of however many there are."""
    found: NDArray[np.bool_] = count >= AGREEING_METHODS
    return found


def compare(anomalous: Mapping[str, NDArray[np.bool_]]) -> Comparison:
    """Compare methods; ``anomalous`` holds bool [n] by method.

    >>> compare({"rules": np.array([True, False]), "profile": np.array([True, True])}).consensus
    1
    """
    present = {m: anomalous[m] for m in method_names() if m in anomalous}
    if not present:
        return Comparison(0, {}, 0, 0, {})
    stacked = np.stack(list(present.values()))
    if not stacked.any():
        none = dict.fromkeys(present, 0)
        return Comparison(int(stacked.shape[1]), none, 0, 0, none.copy())
    count = stacked.sum(axis=0)
    return Comparison(
        windows=int(stacked.shape[1]),
        anomalies={m: int(flags.sum()) for m, flags in present.items()},
        consensus=int(agreed(count).sum()),
        any_method=int((count >= 1).sum()),
        disagreements={m: int((flags & (count == 1)).sum()) for m, flags in present.items()},
    )
