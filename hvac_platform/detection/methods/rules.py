"""Rules: hard limits and relationships that the device type declares."""

from __future__ import annotations

from typing import Any, Literal

from hvac_platform.detection.methods.base import Due, History, Windows
from hvac_platform.detection.rules import evaluate_rules, rule_lookback_ms
from hvac_platform.detection.verdicts import Verdicts


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
        return evaluate_rules(windows.series, windows.device_type).take(windows.chosen), None
