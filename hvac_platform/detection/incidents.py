"""From anomalous windows to incidents, and from incidents of many devices to what they have in common.

An *incident* is a run of anomalous windows of one device. A *fleet event* is what at least half of the devices of a
building, or of the fleet, entered at nearly the same time: weather, a network that is cut, a supply that fails. Neither
needs anything but times, levels and the metrics that lead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from hvac_platform.detection.evaluation import MERGE_MS
from hvac_platform.devices.registry import DeviceType

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

#: A learned score (1 is its limit) beyond which an incident is urgent whatever the other methods say.
FAR = 3.0
#: So many windows in which two learned methods agree, and at least half of all, make an incident urgent.
AGREEING_WINDOWS, AGREEING_SHARE = 3, 0.5
URGENT, NORMAL_PRIORITY = 3, 4

#: Devices that an event needs, and share of the building's or fleet's devices.
LEAST_DEVICES, LEAST_SHARE = 3, 0.5
#: So many leading metrics of an incident are looked at.
LEADING = 3
#: Two incidents whose starts are no further apart may have one cause.
WITHIN_MS = 30 * 60_000
#: Weather comes on over hours, and one machine is sensitive to it before another.
WEATHER_WITHIN_MS = 4 * 3_600_000
#: Windows without news after which the data of a device count as lost.
LOST_WINDOWS = 5

_OUTDOOR = "Outside_Air_"
_ELECTRICAL = frozenset({"Electric_Power_Sensor", "Motor_Current_Sensor", "Motor_Speed_Sensor", "On_Off_Status"})


class Severity(StrEnum):
    """How much an incident matters, in three steps."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


class Cause(StrEnum):
    """What probably moved many devices at once."""

    WEATHER = "weather"
    NETWORK = "network or logging"
    SUPPLY = "supply"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class FleetEvent:
    """Incidents that belong together.

    Attributes:
        start_ms: start of the earliest of them, epoch milliseconds.
        building: the building they are in; empty where they are of the whole fleet.
        devices: the devices, in order of their ids.
        incidents: positions of the incidents, ascending.
        cause: likely cause.
    """

    start_ms: int
    building: str
    devices: tuple[str, ...]
    incidents: tuple[int, ...]
    cause: Cause


def group_windows(times_ms: Int64, window_ms: int, merge_ms: int = MERGE_MS) -> list[tuple[int, int]]:
    """Incidents among the anomalous windows of one device: first and last row of each.

    Windows that are adjacent, or start no more than ``merge_ms`` apart, are of one incident; so
    :func:`~hvac_platform.detection.evaluation.score_faults` counts false alarms.

    Args:
        times_ms: int64 [n], starts of the anomalous windows, ascending.
        window_ms: length of a window.
        merge_ms: longest pause within an incident.

    >>> group_windows(np.array([0, 1, 2, 30, 31]) * 60_000, 60_000)
    [(0, 2), (3, 4)]

    Raises:
        ValueError: the times are not ascending.
    """
    if not len(times_ms):
        return []
    steps = np.diff(times_ms)
    if (steps <= 0).any():
        raise ValueError("times of windows must be ascending")
    cuts = np.flatnonzero(steps > max(merge_ms, window_ms))
    firsts, lasts = np.r_[0, cuts + 1], np.r_[cuts, len(times_ms) - 1]
    return list(zip(firsts.tolist(), lasts.tolist(), strict=True))


def join_episodes(
    episodes: Sequence[tuple[int, int]], faults: Sequence[frozenset[str]], quiet_ms: int
) -> list[list[int]]:
    """Episodes of one device that are of one fault: a fault that flaps is one incident.

    An episode belongs to the fault that it is like (they have a name in common) and that was seen no more than the quiet
    time before it; of several to the latest. Another fault between two episodes of the first does not part them: it is an
    incident beside the first.

    Args:
        episodes: start of the first and of the last window of each, epoch milliseconds, in order of their starts.
        faults: what tells each one's fault: rules that fired, the metric that led. One without any is like every other.
        quiet_ms: longest pause within a fault.

    Returns:
        Positions of the episodes of each fault, in order of the faults' starts.

    >>> join_episodes([(0, 5), (20, 22), (40, 45)], [frozenset("a"), frozenset("b"), frozenset("a")], 50)
    [[0, 2], [1]]
    """
    joined: list[list[int]] = []
    known: list[set[str]] = []
    until: list[int] = []
    for i, ((first, last), names) in enumerate(zip(episodes, faults, strict=True)):
        alike = [
            j
            for j in range(len(joined))
            if first - until[j] <= quiet_ms and (not names or not known[j] or names & known[j])
        ]
        if alike:
            j = max(alike, key=lambda j: until[j])
            joined[j].append(i)
            known[j] |= names
            until[j] = max(until[j], last)
        else:
            joined.append([i])
            known.append(set(names))
            until.append(last)
    return joined


def severity(level: int) -> Severity:
    """Severity of a level of ASHRAE Guideline 36: 1 life safety and 2 critical, 3 urgent, 4 normal priority.

    >>> severity(2), severity(3), severity(4)
    (<Severity.CRITICAL: 'critical'>, <Severity.WARNING: 'warning'>, <Severity.INFO: 'info'>)

    Raises:
        ValueError: no such level.
    """
    if not 1 <= level <= NORMAL_PRIORITY:
        raise ValueError(f"level {level} is none of Guideline 36: 1 to 4")
    return Severity.CRITICAL if level <= 2 else Severity.WARNING if level == URGENT else Severity.INFO


def incident_level(levels: NDArray[np.integer], scores: Float64, votes: NDArray[np.integer]) -> int:
    """Level of an incident from its n windows.

    The most severe rule decides. What is learned can't tell danger from what is only unusual, so without a rule an incident
    is urgent (3) at most: where two learned methods agree in three windows and in half of all, or where a score is three
    times its limit. Otherwise it is of normal priority (4).

    Args:
        levels: int [n], level of the most severe rule that fired in each window; 0 where none did.
        scores: float64 [n], largest learned score in units of its limit; NaN where there is none.
        votes: int [n], learned methods that call the window anomalous.

    >>> incident_level(np.array([0, 2, 3]), np.zeros(3), np.zeros(3, int))
    2
    >>> incident_level(np.zeros(4, int), np.full(4, 1.2), np.array([1, 2, 2, 2]))
    3
    >>> incident_level(np.zeros(2, int), np.array([1.2, 1.1]), np.array([1, 1]))
    4
    """
    by_rules = int(levels[levels > 0].min(initial=NORMAL_PRIORITY))
    agreeing = int((votes >= 2).sum())
    persistent = agreeing >= AGREEING_WINDOWS and agreeing >= AGREEING_SHARE * len(votes)
    far = bool((scores > FAR).any())
    return min(by_rules, URGENT if persistent or far else NORMAL_PRIORITY)


def data_losses(
    times_ms: Int64,
    values: Float64,
    window_ms: int,
    *,
    until_ms: int | None = None,
    least_windows: int = LOST_WINDOWS,
) -> list[tuple[int, int]]:
    """Spans [start, end) in which nothing new came of a device: no windows, no readings, or all of them the same.

    One sensor that repeats itself is stuck; where all of them do at once, it is the logger that repeats them (or a machine
    at rest, of which every reading is constant: a lone loss says little).

    Args:
        times_ms: int64 [n], starts of the windows, ascending.
        values: float64 [n, m], means; NaN where there was no reading.
        window_ms: length of a window.
        until_ms: end of the observation; the end of the last window when absent.
        least_windows: shortest loss.

    >>> times = np.array([0, 1, 2, 9, 10]) * 60_000
    >>> data_losses(times, np.arange(5.0)[:, None], 60_000)
    [(180000, 540000)]
    """
    if not len(times_ms):
        return []
    end = int(times_ms[-1]) + window_ms if until_ms is None else until_ms
    known = np.isfinite(values)
    heard = np.asarray(known.any(axis=1), dtype=np.bool_)
    same = ((values[1:] == values[:-1]) | ~known[1:] | ~known[:-1]).all(axis=1) & heard[:-1]
    moved = heard & ~np.r_[False, same]
    news = np.r_[times_ms[moved], end]
    starts = np.r_[times_ms[0], news[:-1] + window_ms]
    long = news - starts >= least_windows * window_ms
    return list(zip(starts[long].tolist(), news[long].tolist(), strict=True))


def outdoor_metrics(device_type: DeviceType) -> frozenset[str]:
    """Metrics of a type that weather alone decides: points of a Brick class ``Outside_Air_…``."""
    return frozenset(p.name for p in device_type.points if p.brick is not None and p.brick.startswith(_OUTDOOR))


def electrical_metrics(device_type: DeviceType) -> frozenset[str]:
    """Metrics that fall together when electricity fails: power, current, speed and status, by Brick class."""
    return frozenset(p.name for p in device_type.points if p.brick in _ELECTRICAL)


def fleet_events(
    starts_ms: Int64,
    device_ids: Sequence[str],
    leading: Sequence[Sequence[str]],
    lost: NDArray[np.bool_],
    *,
    fleet: Mapping[str, str],
    device_types: Mapping[str, DeviceType],
    within_ms: int = WITHIN_MS,
    weather_within_ms: int = WEATHER_WITHIN_MS,
) -> list[FleetEvent]:
    """Events that many devices entered together; incidents in none of them are local.

    An event is a span in which incidents began on at least three devices and at least half of those of the building. It is
    one of the whole fleet where this holds for the fleet, and half of the devices entered in more than half of the
    buildings. Spans with the most devices are taken first. There are two kinds:

    - *weather*: an outdoor metric is among those that lead, on devices that have one, within four hours; incidents of
      devices without outdoor metrics that began in the same span belong to it;
    - others: whatever leads, within half an hour. Likely cause is the *network or logging* where most of the incidents are
      data_losses, *weather* where most of those that can show it are led by an outdoor metric, the *supply* (electricity, a
      common schedule) where power, current, speed or status come first on half of the devices or more, else *unknown*.

    Independent false alarms hardly make one: at one a device-day, three of five devices agree within half an hour by
    chance once in 77 days (three given devices with one start a day each: 3·w² a day, w = 1/48 day; ten such triples).

    Args:
        starts_ms: int64 [n], starts of the incidents, in any order.
        device_ids: the device of each.
        leading: the metrics that moved most in each, most important first; the first three count. Those of the largest
            absolute value in :func:`~hvac_platform.detection.signatures.signature` serve well.
        lost: bool [n], where the incident is that nothing came, see :func:`data_losses`.
        fleet: building of every device, those without incidents too; empty where it has none.
        device_types: device type by device id; devices of unknown types may be absent.
        within_ms: how far apart the starts may be.
        weather_within_ms: the same where outdoor metrics lead.

    Returns:
        Events in order of time.

    Raises:
        ValueError: an incident of a device that is not in the fleet.
    """
    if unknown := set(device_ids) - fleet.keys():
        raise ValueError(f"devices not in the fleet: {', '.join(sorted(unknown))}")
    n = len(starts_ms)
    devices = np.array(device_ids, dtype=object)
    buildings = np.array([fleet[device] for device in device_ids], dtype=object)
    outdoor = {device: outdoor_metrics(device_types[device]) for device in fleet if device in device_types}
    exposed = {device: fleet[device] for device, names in outdoor.items() if names}
    by_weather = [
        bool(outdoor.get(device, frozenset()) & set(names[:LEADING]))
        for device, names in zip(device_ids, leading, strict=True)
    ]
    led_outdoors = np.array(by_weather, dtype=np.bool_) & ~lost
    indoors = np.array([device not in exposed for device in device_ids], dtype=np.bool_)
    free = np.ones(n, dtype=np.bool_)
    events: list[FleetEvent] = []

    def collect(candidates: Bool, among: Mapping[str, str], span_ms: int, *, weather: bool) -> None:
        for scope in (None, *dict.fromkeys(building for building in among.values() if building)):
            part = {device: b for device, b in among.items() if scope in (None, b)}
            here = np.ones(n, dtype=np.bool_) if scope is None else buildings == scope
            while len(rows := _densest(np.flatnonzero(candidates & here & free), starts_ms, devices, span_ms)):
                if not _entered(set(devices[rows]), part):
                    break
                first = int(starts_ms[rows].min())
                if weather:
                    joining = indoors & here & free & (starts_ms >= first) & (starts_ms <= first + span_ms) & ~lost
                    rows = np.union1d(rows, np.flatnonzero(joining))
                free[rows] = False
                cause = Cause.WEATHER if weather else _cause(rows, lost, led_outdoors, indoors, power_leads)
                named = set(part.values()) if scope is None else {scope}
                members = tuple(sorted(set(devices[rows])))
                events.append(
                    FleetEvent(first, named.pop() if len(named) == 1 else "", members, tuple(rows.tolist()), cause)
                )

    power_leads = np.array(
        [
            device in device_types and bool(electrical_metrics(device_types[device]) & set(names[:1]))
            for device, names in zip(device_ids, leading, strict=True)
        ],
        dtype=np.bool_,
    )
    collect(led_outdoors, exposed, weather_within_ms, weather=True)
    collect(np.ones(n, dtype=np.bool_), fleet, within_ms, weather=False)
    return sorted(events, key=lambda event: event.start_ms)


def _entered(entered: set[str], among: Mapping[str, str]) -> bool:
    """Whether so many of the devices make an event: three, half of them, and half in most of the buildings."""
    if len(entered) < max(LEAST_DEVICES, LEAST_SHARE * len(among)):
        return False
    sizes: dict[str, list[int]] = {}
    for device, building in among.items():
        counts = sizes.setdefault(building, [0, 0])
        counts[0] += device in entered
        counts[1] += 1
    return 2 * sum(count >= LEAST_SHARE * size for count, size in sizes.values()) > len(sizes)


def _densest(rows: Int64, starts_ms: Int64, devices: NDArray[np.object_], within_ms: int) -> Int64:
    """Those of the incidents that began in the span with the most devices, ascending; of equal spans the earliest."""
    ordered = rows[np.argsort(starts_ms[rows], kind="stable")]
    starts = starts_ms[ordered]
    ends = np.searchsorted(starts, starts + within_ms, side="right")
    best, most = slice(0, 0), 0
    for first, end in enumerate(ends.tolist()):
        if end - first > most and (count := len(set(devices[ordered[first:end]]))) > most:
            best, most = slice(first, end), count
    return np.sort(ordered[best])


def _cause(rows: Int64, lost: Bool, led_outdoors: Bool, indoors: Bool, power_leads: Bool) -> Cause:
    heard = rows[~lost[rows]]
    if 2 * len(heard) < len(rows):
        return Cause.NETWORK
    shows_weather = heard[~indoors[heard]]
    led = int(led_outdoors[shows_weather].sum())
    if led >= 2 and 2 * led >= len(shows_weather):
        return Cause.WEATHER
    return Cause.SUPPLY if 2 * int(power_leads[heard].sum()) >= len(heard) else Cause.UNKNOWN
