"""Rules: hard limits and relationships that the device type declares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from hvac_platform.detection.methods.base import Due, History, Windows
from hvac_platform.detection.rules import evaluate_rules, one_after_another, rule_lookback_ms
from hvac_platform.detection.verdicts import Verdicts
from hvac_platform.snapshots import select


class Rules:
    """What whoever knows the type of machine has declared to be a fault; see :mod:`hvac_platform.detection.rules`."""

    name = "rules"
    speaks_of: Literal["limits", "normal"] = "limits"
    needs_embedding = False
    color = "#d55e00"
    dash: Literal["solid", "dot", "dash", "dashdot"] = "solid"

    def context_start(self, due: Due) -> int:
        """As far back as the longest ``for`` of a rule looks."""
        return due.start_ms - (rule_lookback_ms(due.device_type, due.window_ms) if due.device_type is not None else 0)

    def judge(self, windows: Windows, history: History, state: Any) -> tuple[Verdicts, Any]:
        """Rules that fire, most severe first."""
        return evaluate_rules(windows.series, windows.device_type, windows.chosen), None

    def judge_together(self, many: Sequence[Windows]) -> list[Verdicts]:
        """Windows of devices of one type with the same metrics are rows of one table, and a rule is worked out once."""
        groups: dict[tuple[object, ...], list[int]] = {}
        for i, windows in enumerate(many):
            kind = (id(windows.device_type), windows.series.metric_names, windows.series.window_ms)
            groups.setdefault(kind, []).append(i)
        found: dict[int, Verdicts] = {}
        for members in groups.values():
            parts, rows, before = [], [], 0
            for windows in (many[i] for i in members):
                lookback = rule_lookback_ms(windows.device_type, windows.series.window_ms)
                begin = int(np.searchsorted(windows.series.times_ms, int(windows.times_ms[0]) - lookback))
                parts.append(select(windows.series, slice(begin, None)))
                rows.append(windows.chosen - begin + before)
                before += len(parts[-1])
            judged = evaluate_rules(one_after_another(parts), many[members[0]].device_type, np.concatenate(rows))
            ends = np.cumsum([len(part) for part in rows])
            for i, end, part in zip(members, ends.tolist(), rows, strict=True):
                own = judged.take(np.arange(end - len(part), end))
                found[i] = replace(own, times_ms=many[i].times_ms)
        return [found[i] for i in range(len(many))]
