"""Profile similarity: do the metrics still hang together as they do on this device?"""

from __future__ import annotations

from typing import Any, Literal

from hvac_platform.detection.methods.base import History, RestsOnExamined, Windows
from hvac_platform.detection.profile import judge_profile
from hvac_platform.detection.verdicts import Verdicts, nothing


class ProfileSimilarity(RestsOnExamined):
    """The device's own detector; before there is one, or with limits given by hand, distance to the centroid."""

    name = "profile"
    speaks_of: Literal["limits", "normal"] = "normal"
    needs_embedding = False
    color = "#0072b2"
    dash: Literal["solid", "dot", "dash", "dashdot"] = "solid"

    def judge(self, windows: Windows, history: History, state: Any) -> tuple[Verdicts, Any]:
        """What moved, and what the other metrics imply of it."""
        profile, examined = windows.profile, windows.examined
        if profile is None or examined is None:
            return nothing(self.name, windows.times_ms), None
        if profile.detector is None or profile.fixed:
            found = judge_profile(examined.recent, profile, windows.device_type)
        else:
            from hvac_platform.detection.learned import learned_verdicts

            found = learned_verdicts(examined.learned, profile.detector, windows.device_type)
        return found.take(windows.chosen - windows.first_recent), None
