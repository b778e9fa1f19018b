"""Maintenance spans: work on a machine that is known of, in which nothing alarms and nothing is learned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hvac_platform.stores.records import MaintenanceSpan


def in_maintenance(times_ms: NDArray[np.int64], spans: Sequence[MaintenanceSpan]) -> NDArray[np.bool_]:
    """Windows that start within a span, bool [n].

    >>> in_maintenance(np.array([0, 60_000, 120_000]), [MaintenanceSpan("d", 60_000, 120_000, "", 0)]).tolist()
    [False, True, False]
    """
    inside = np.zeros(len(times_ms), dtype=np.bool_)
    for span in spans:
        inside |= (times_ms >= span.starts_at) & (times_ms < span.ends_at)
    return inside
