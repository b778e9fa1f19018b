"""Profile similarity: do the metrics still hang together as they do on this device?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from hvac_platform.detection.alarms import PERSISTENCE_WINDOWS
from hvac_platform.detection.methods.base import History, Windows
from hvac_platform.detection.profile import Profile, judge_profile
from hvac_platform.detection.verdicts import Verdicts, nothing
from hvac_platform.devices.registry import DeviceType

if TYPE_CHECKING:
    from hvac_platform.detection.learned import Carried


class ProfileSimilarity:
    """The device's own detector; before there is one, or with limits given by hand, distance to the centroid."""

    name = "profile"
    speaks_of: Literal["limits", "normal"] = "normal"
    needs_embedding = False
    color = "#0072b2"
    dash: Literal["solid", "dot", "dash", "dashdot"] = "solid"

    def context_start(
        self,
        start_ms: int,
        window_ms: int,
        device_type: DeviceType | None,
        profile: Profile | None,
        carried: Carried | None = None,
    ) -> int:
        """What the detector remembers, or as far back as persistence looks."""
        return context_of(profile, start_ms, window_ms, carried)

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


def context_of(profile: Profile | None, start_ms: int, window_ms: int, carried: Carried | None) -> int:
    """First window that embeddings and persistence of a window rest on."""
    begin = start_ms - PERSISTENCE_WINDOWS * window_ms
    if profile is not None and profile.detector is not None:
        if carried is not None:
            return min(begin, int(carried.recent.times_ms[0]))
        from hvac_platform.detection.learned import context_start

        begin = min(begin, context_start(start_ms, window_ms))
    return begin
