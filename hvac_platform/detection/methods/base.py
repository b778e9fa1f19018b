"""What a detection method is: windows of a device in, a verdict on each out.

A new method is one module that defines an object with the attributes and the two functions of :class:`Method`, and its name
in :data:`hvac_platform.detection.methods.METHODS`. Everything else (choices of commands, reports, lanes and colours of the
dashboard, consensus, comparisons) goes by that tuple. ``hvac_platform_tests/detection/methods/contract.py`` says what a
method must do; docs/adding-a-method.md shows one being written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hvac_platform.detection.alarms import PERSISTENCE_WINDOWS
from hvac_platform.detection.nearest import padded
from hvac_platform.detection.profile import Profile
from hvac_platform.detection.verdicts import Verdicts
from hvac_platform.devices.registry import DeviceType
from hvac_platform.snapshots import Neighbours, SnapshotSeries, select

if TYPE_CHECKING:
    from hvac_platform.detection.learned import Carried

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

Encode = Callable[[SnapshotSeries], Float32]
"""Unit vectors float32 [n, 384] of n snapshots; NaN where one can't be encoded."""


class History(Protocol):
    """The device's own past, as far as a method may ask for it."""

    def nearest_normal(self, embeddings: Float32, times_ms: Int64, k: int) -> Neighbours:
        """The k most similar normal states within the profile's span, other than those around each window itself.

        Args:
            embeddings: float32 [n, 384], unit vectors.
            times_ms: int64 [n], window starts, ascending.
            k: how many of each.
        """
        ...


@dataclass(frozen=True)
class Windows:
    """Windows of one device that are to be judged, with those before them.

    Attributes:
        series: n windows in order of time, ending with the last that is to be judged.
        chosen: int64 [k], rows to judge, ascending.
        device_type: the declared type, or None.
        profile: what normal looks like for the device, or None.
        encode: encoder of devices without one of their own.
        carried: what the judgement of the windows before left, if it leads to these; the series then begins with the first
            of its recent windows, or earlier.
    """

    series: SnapshotSeries
    chosen: Int64
    device_type: DeviceType | None
    profile: Profile | None
    encode: Encode
    carried: Carried | None = None

    @property
    def times_ms(self) -> Int64:
        """Starts of the windows to judge, int64 [k]."""
        return self.series.times_ms[self.chosen]

    @property
    def first_recent(self) -> int:
        """First row that persistence of the first window to judge rests on."""
        return max(0, int(self.chosen[0]) - PERSISTENCE_WINDOWS)

    @cached_property
    def examined(self) -> Examined | None:
        """The rows from :attr:`first_recent` on under the profile; None without one."""
        return None if self.profile is None else _examined(self, self.profile)


@dataclass(frozen=True)
class Examined:
    """Recent rows under a profile, worked out once for all methods that rest on it.

    Attributes:
        recent: r rows with the embeddings that the profile compares.
        learned: what the device's own detector says of them, or None where the profile has none.
        bound: float64 [r], no score should be more than this; None where nothing bounds them.
        carried: what to pass on to the judgement of the windows that follow; None where nothing is remembered.
    """

    recent: SnapshotSeries
    learned: Any
    bound: NDArray[np.float64] | None = field(default=None)
    carried: Carried | None = None


def _examined(windows: Windows, profile: Profile) -> Examined:
    """Learned embeddings are made here rather than read: those stored may be of an encoder that was replaced since."""
    rows = np.arange(windows.first_recent, len(windows.series))
    recent = select(windows.series, rows)
    if profile.detector is None:
        if recent.embeddings is None:
            recent = replace(recent, embeddings=windows.encode(recent))
        return Examined(recent, None)
    from hvac_platform.detection.learned import examine_windows  # brings pandas

    wanted = np.zeros(len(windows.series), dtype=np.bool_)
    wanted[rows] = True
    learned, carried = examine_windows(windows.series, wanted, profile.detector, windows.carried)
    return Examined(replace(recent, embeddings=padded(learned.vectors)), learned, learned.settling, carried)


def examine_together(many: Sequence[Windows]) -> None:
    """Work out :attr:`Windows.examined` for all devices at once that have one new window each; others do it by themselves.

    Args:
        many: windows of different devices.
    """
    from hvac_platform.detection.learned import examine_newest  # brings pandas

    cases = [
        (windows, (windows.series, windows.profile.detector, windows.carried))
        for windows in many
        if windows.profile is not None
        and windows.profile.detector is not None
        and windows.carried is not None
        and windows.chosen.tolist() == [len(windows.series) - 1]
    ]
    for (windows, _), found in zip(cases, examine_newest([case for _, case in cases]), strict=True):
        if found is not None:
            recent = select(windows.series, slice(windows.first_recent, None))
            learned = found[0].take(np.searchsorted(found[0].times_ms, recent.times_ms))
            examined = Examined(
                replace(recent, embeddings=padded(learned.vectors)), learned, learned.settling, found[1]
            )
            windows.__dict__["examined"] = examined  # where the property keeps it


@dataclass(frozen=True, slots=True)
class Due:
    """Windows of one device that are to be judged, before anything of them is read.

    Attributes:
        start_ms: start of the first of them.
        window_ms: length of a window.
        device_type: the declared type, or None.
        profile: what normal looks like for the device, or None.
        carried: what the judgement of the windows before left, if it leads to these.
    """

    start_ms: int
    window_ms: int
    device_type: DeviceType | None
    profile: Profile | None
    carried: Carried | None = None


class RestsOnExamined:
    """For methods that judge by :attr:`Windows.examined`: how far back that has to see."""

    def context_start(self, due: Due) -> int:
        """What the detector remembers, or as far back as persistence looks."""
        begin = due.start_ms - PERSISTENCE_WINDOWS * due.window_ms
        if due.profile is None or due.profile.detector is None:
            return begin
        if due.carried is not None:
            return min(begin, int(due.carried.recent.times_ms[0]))
        from hvac_platform.detection.learned import context_start  # brings pandas

        return min(begin, context_start(due.start_ms, due.window_ms))


@runtime_checkable
class JudgesTogether(Protocol):
    """A method that judges the windows of many devices for little more than those of one; it needs no history."""

    def judge_together(self, many: Sequence[Windows]) -> list[Verdicts]:
        """Verdicts on the windows of each device, as :meth:`Method.judge` gives them."""
        ...


class Method(Protocol):
    """A detection method.

    Attributes:
        name: in tables, options and consensus; lower case, one word. Never changed once it was stored.
        speaks_of: ``limits`` where a fault is declared by someone who knows the machine, ``normal`` where the method only
            knows what is unusual; the severity of an incident goes by it.
        needs_embedding: whether it is silent on a window that has no embedding, and so judges it again once that has come.
        color: of its line on the dashboard, ``#rrggbb``.
        dash: how that line is drawn.
    """

    name: str
    speaks_of: Literal["limits", "normal"]
    needs_embedding: bool
    color: str
    dash: Literal["solid", "dot", "dash", "dashdot"]

    def context_start(self, due: Due) -> int:
        """First window that the judgement of these windows rests on, epoch milliseconds, at most ``due.start_ms``."""
        ...

    def judge(self, windows: Windows, history: History, state: Any) -> tuple[Verdicts, Any]:
        """Verdicts on the windows to judge, in their order, and what to pass on to the call for those that follow.

        A verdict rests on its window and on what came before it, never on what came after. Where there is nothing to compare
        with, it is silent: not anomalous, score 0.

        Args:
            windows: k of them to judge.
            history: the device's past.
            state: what the call for the windows before has returned; None at first, and always for a method without one.
        """
        ...
