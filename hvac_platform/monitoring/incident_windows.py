"""Which anomalous windows of a device are of one fault, and which data losses: a fault that flaps is one incident."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hvac_platform.detection.incidents import group_windows, join_episodes
from hvac_platform.monitoring.data_loss import DataLoss
from hvac_platform.monitoring.incident_identity import Found
from hvac_platform.stores.base import Store
from hvac_platform.stores.records import AnomalyEvent
from hvac_platform.timestamps import DAY_MS

BEYOND_MS = 2 * DAY_MS
"""An incident of a day is looked for so far on both sides; one that lasts longer, further."""
FURTHEST_MS = 64 * DAY_MS
EXAMINED_WINDOWS = 30
"""Windows of an episode that tell its fault: they are the same however long it lasts in the end."""
RULE_ID = re.compile(r"\((\S+)\)$")
"""Where the sentence of a rule has its id."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """How windows become incidents.

    Attributes:
        window_ms: length of a window.
        quiet_ms: longest pause within one fault.
    """

    window_ms: int
    quiet_ms: int


def fault_windows(store: Store, device_id: str, grouping: Grouping, start_ms: int, end_ms: int) -> list[Found]:
    """Windows of every fault that reaches into [start_ms, end_ms), complete on both sides."""
    window_ms, quiet_ms = grouping.window_ms, max(grouping.quiet_ms, grouping.window_ms)
    before, after = BEYOND_MS, BEYOND_MS
    while True:
        low, high = start_ms - before, end_ms + after
        times = AnomalyEvent.times(store, device_id, (low, high))
        near = [times[a : b + 1] for a, b in group_windows(times, window_ms, quiet_ms)]
        chosen = [g for g in near if g[0] < end_ms and g[-1] + window_ms > start_ms]
        cut_before = bool(chosen) and int(chosen[0][0]) - low <= quiet_ms and before < FURTHEST_MS
        cut_after = bool(chosen) and high - int(chosen[-1][-1]) <= quiet_ms + window_ms and after < FURTHEST_MS
        if not cut_before and not cut_after:
            return [found for of_late in chosen for found in _by_fault(store, device_id, of_late, grouping)]
        before, after = before * (4 if cut_before else 1), after * (4 if cut_after else 1)


def _by_fault(store: Store, device_id: str, times_ms: NDArray[np.int64], grouping: Grouping) -> list[Found]:
    """Windows with no pause beyond the quiet time among them, by the fault that they are of."""
    episodes = group_windows(times_ms, grouping.window_ms)
    if len(episodes) == 1:
        return [Found(times_ms)]
    spans = [(int(times_ms[a]), int(times_ms[b])) for a, b in episodes]
    longest = EXAMINED_WINDOWS * grouping.window_ms
    faults = [_told_by(store, device_id, first, min(last + 1, first + longest)) for first, last in spans]
    return [
        Found(
            np.concatenate([times_ms[episodes[i][0] : episodes[i][1] + 1] for i in joined]),
            frozenset(name for i in joined for name in faults[i]),
        )
        for joined in join_episodes(spans, faults, grouping.quiet_ms)
    ]


def _told_by(store: Store, device_id: str, start_ms: int, end_ms: int) -> frozenset[str]:
    """Rules that fired in some windows, and the metric that led each."""
    events = AnomalyEvent.read(store, device_id, (start_ms, end_ms), only=("reasons", "metrics"))
    rules = {found[1] for event in events for reason in event.reasons if (found := RULE_ID.search(reason))}
    return frozenset(rules | {event.metrics[0] for event in events if event.metrics})


def all_losses(look: Callable[[int, int], list[DataLoss]], start_ms: int, end_ms: int, quiet_ms: int) -> list[DataLoss]:
    """Data losses that reach into [start_ms, end_ms), with those before and after that are of the same incident.

    Args:
        look: gives those that reach into a span.
        start_ms: start of the span.
        end_ms: its end.
        quiet_ms: longest pause within one incident.
    """
    low, high = start_ms, end_ms
    while True:
        found = look(low, high)
        if not found or high - low > FURTHEST_MS:
            return found
        wider = min(low, found[0].start_ms - quiet_ms), max(high, found[-1].end_ms + quiet_ms)
        if wider == (low, high):
            return found
        low, high = wider


def loss_windows(losses: Sequence[DataLoss], grouping: Grouping) -> list[Found]:
    """The windows that are missing, as one group where the pause between two losses is within the quiet time."""
    groups: list[list[DataLoss]] = []
    for loss in losses:
        if groups and loss.start_ms - groups[-1][-1].end_ms <= grouping.quiet_ms:
            groups[-1].append(loss)
        else:
            groups.append([loss])
    step = grouping.window_ms
    return [Found(np.concatenate([np.arange(o.start_ms, o.end_ms, step, dtype=np.int64) for o in g])) for g in groups]
