"""Vector search: has this device been in such a state before, and was it normal?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hvac_platform.detection.methods.base import History, RestsOnExamined, Windows
from hvac_platform.detection.neighbours import NEIGHBOURS, judge_neighbours
from hvac_platform.detection.profile import Profile
from hvac_platform.detection.reasons import Deviation
from hvac_platform.detection.verdicts import Verdicts, nothing
from hvac_platform.snapshots import select


class VectorSearch(RestsOnExamined):
    """Distance to the nearest normal states; see :mod:`hvac_platform.detection.neighbours`."""

    name = "vector"
    speaks_of: Literal["limits", "normal"] = "normal"
    needs_embedding = True
    color = "#009e73"
    dash: Literal["solid", "dot", "dash", "dashdot"] = "dot"

    def judge(self, windows: Windows, history: History, state: Any) -> tuple[Verdicts, Any]:
        """How many of the nearest normal states are as close as usual."""
        profile, examined = windows.profile, windows.examined
        if profile is None or examined is None or profile.provisional:
            return nothing(self.name, windows.times_ms), None
        recent = examined.recent
        if recent.embeddings is None:
            return nothing(self.name, windows.times_ms), None
        embedded: NDArray[np.bool_] = np.asarray(np.isfinite(recent.embeddings).all(axis=1), dtype=np.bool_)
        if not embedded.any():
            return nothing(self.name, windows.times_ms), None
        known = recent if embedded.all() else select(recent, embedded)
        assert known.embeddings is not None
        found = history.nearest_normal(known.embeddings, known.times_ms, NEIGHBOURS)
        bound = None if examined.bound is None else examined.bound[embedded]
        judged = judge_neighbours(
            known,
            found,
            profile,
            bound=bound,
            deviations=_deviations(examined.learned, profile, np.flatnonzero(embedded)),
            device_type=windows.device_type,
        )
        # A snapshot without a vector is not suspicious for that.
        judged = judged.spread(embedded, recent.times_ms)
        return judged.take(windows.chosen - windows.first_recent), None


def _deviations(learned: Any, profile: Profile, rows: NDArray[np.int64]) -> Callable[[int], list[Deviation]] | None:
    """What the device's own detector says of some of the rows that it has examined; None where it has none."""
    detector = profile.detector
    if detector is None or learned is None:
        return None
    from hvac_platform.detection.learned import implied_deviations

    return lambda i: implied_deviations(learned, detector, int(rows[i]))
