"""What other limits would have shown, beside the record: past windows judged again, or the scores that are kept of them.

To judge again takes what detection takes. A kept score says how far a window was from the limit that it had, so what a
multiple of that limit, another budget of false alarms, fewer methods or more agreement would have shown is read from the
verdicts alone; what other rules, or fixed limits of the profile, would have said takes the windows' values too, while the
verdicts of the other methods are kept ones. Nothing is written either way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from hvac_platform.config import Settings
from hvac_platform.detection.alarms import PERSISTENCE_WINDOWS, budget_limit
from hvac_platform.detection.incidents import group_windows
from hvac_platform.detection.methods import knows_limits
from hvac_platform.detection.profile import Profile, profile_scores
from hvac_platform.detection.rules import rule_lookback_ms, rule_scores
from hvac_platform.devices.registry import DeviceType
from hvac_platform.embedding.learned import Encoders
from hvac_platform.monitoring.judging import ready_to_judge
from hvac_platform.monitoring.maintenance import in_maintenance
from hvac_platform.monitoring.passes import Span, days_of
from hvac_platform.monitoring.profiles import current_profile, judging_type_of
from hvac_platform.monitoring.wide_devices import metrics_to_read
from hvac_platform.stores.base import Device, Store
from hvac_platform.stores.records import AnomalyEvent, MaintenanceSpan
from hvac_platform.stores.series import VerdictSeries, read_series, verdict_series
from hvac_platform.timestamps import DAY_MS

Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]
RULES, PROFILE = "rules", "profile"
"""Names of the methods that go by declared limits, and by limits that can be given by hand."""
SHARE = 0.5
"""Of the budget, what one of the two limits of a detector may use up."""
MOST_NAMED = 4
"""Of the devices without a judged window, how many are named."""
Episode = tuple[int, int]
"""Start of the first and end of the last of some anomalous windows that are of one incident, epoch milliseconds."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Fixed limits of the method ``profile`` that are tried in place of what was calibrated.

    Attributes:
        similarity: of the similarity to the profile; None for the calibrated one.
        sigma: of deviations in sigma; None for the calibrated one.
    """

    similarity: float | None = None
    sigma: float | None = None


@dataclass(frozen=True, slots=True)
class OfScores:
    """What is tried on kept scores.

    Attributes:
        times_limit: so many times the limit that a window had; rules, whose limits are declared, stay as they are.
        methods: methods that count; None for all.
        agreeing: so many of them have to call a window anomalous.
        budget: false alarms a day that limits are to hold; None for what they were calibrated to.
        rules: a device type whose rules are tried on devices of that type; None for those that there were.
        fixed: fixed limits that are tried on the states of the windows, compared with the present profile.
    """

    times_limit: float = 1.0
    methods: frozenset[str] | None = None
    agreeing: int = 1
    budget: float | None = None
    rules: DeviceType | None = None
    fixed: Limits = Limits()


class TooFewScoresError(ValueError):
    """What a budget would do can't be said from so few windows; one line says how many there are."""


@dataclass(frozen=True, slots=True)
class Compared:
    """Incidents on record and incidents as they would have been, of one device.

    Recorded + won - lost + in several parts - several in one = replayed.

    Attributes:
        device: the device.
        windows: windows that were judged again.
        recorded: incidents on record.
        replayed: incidents with the other limits.
        won: of those, the ones that no recorded incident overlaps.
        lost: recorded ones that none of the replayed overlaps.
        earlier: recorded incident and replayed one that begins before it.
        later: recorded incident and replayed one that begins after it.
        in_several_parts: recorded incident and replayed one that overlaps it, beyond the first that does.
        several_in_one: recorded incident, beyond the first that a replayed one overlaps, and that replayed one.
        wider: by how much wider the limit of a method is for another budget; empty where none was tried.
    """

    device: Device
    windows: int
    recorded: tuple[Episode, ...] = ()
    replayed: tuple[Episode, ...] = ()
    won: tuple[Episode, ...] = ()
    lost: tuple[Episode, ...] = ()
    earlier: tuple[tuple[Episode, Episode], ...] = field(default=())
    later: tuple[tuple[Episode, Episode], ...] = field(default=())
    in_several_parts: tuple[tuple[Episode, Episode], ...] = field(default=())
    several_in_one: tuple[tuple[Episode, Episode], ...] = field(default=())
    wider: Mapping[str, float] = field(default_factory=dict)


def episodes_of(times_ms: Int64, window_ms: int, quiet_ms: int) -> tuple[Episode, ...]:
    """Incidents among anomalous windows, as :mod:`~hvac_platform.monitoring.incident_windows` first groups them.

    Args:
        times_ms: int64 [n], starts of the anomalous windows, ascending.
        window_ms: length of a window.
        quiet_ms: longest pause within an incident.

    >>> episodes_of(np.array([0, 60_000, 600_000]), 60_000, 120_000)
    ((0, 120000), (600000, 660000))
    """
    return tuple(
        (int(times_ms[a]), int(times_ms[b]) + window_ms) for a, b in group_windows(times_ms, window_ms, quiet_ms)
    )


def compare(device: Device, windows: int, recorded: Sequence[Episode], replayed: Sequence[Episode]) -> Compared:
    """Set incidents beside each other: those that have a moment in common are the same.

    Args:
        device: the device.
        windows: windows that were judged again.
        recorded: incidents on record, ascending, none of which overlap.
        replayed: incidents with the other limits, likewise.

    >>> found = compare(Device("CH-001", "chiller", "", "", 0, 0, 0), 9, [(0, 5)], [(0, 1), (3, 4), (7, 8)])
    >>> found.won, found.in_several_parts
    (((7, 8),), (((0, 5), (3, 4)),))
    """
    pairs = [(one, other) for one in recorded for other in replayed if one[0] < other[1] and other[0] < one[1]]
    first, first_of = dict(reversed(pairs)), {other: one for one, other in reversed(pairs)}
    return Compared(
        device,
        windows,
        tuple(recorded),
        tuple(replayed),
        tuple(other for other in replayed if other not in first_of),
        tuple(one for one in recorded if one not in first),
        tuple((one, first[one]) for one in recorded if one in first and first[one][0] < one[0]),
        tuple((one, first[one]) for one in recorded if one in first and first[one][0] > one[0]),
        tuple((one, other) for one, other in pairs if other != first[one]),
        tuple((one, other) for one, other in pairs if one != first_of[other]),
    )


def without_a_judged_window(devices: Sequence[str]) -> str:
    """Devices of which nothing can be said, in a line; empty where there are none.

    >>> without_a_judged_window(["CH-001"])
    '1 device has no judged window in that time: CH-001'
    >>> without_a_judged_window(["A", "B", "C", "D", "E"])
    '5 devices have no judged window in that time: A, B, C, D and 1 more'
    """
    if not devices:
        return ""
    count = "1 device has" if len(devices) == 1 else f"{len(devices):,} devices have"
    more = len(devices) - MOST_NAMED
    named = ", ".join(devices[:MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")
    return f"{count} no judged window in that time: {named}"


def budget_in_words(budget: float, calibrated: float) -> str:
    """What another budget of false alarms does to limits and so to incidents: not what the word leads one to expect.

    Args:
        budget: false alarms a day that are tried.
        calibrated: those that limits hold.

    >>> budget_in_words(1, 1)
    'Limits are calibrated to that budget, 1 false alarms a day, so they stay as they are'
    >>> budget_in_words(2, 1).partition(" (")[0]
    'A larger budget lowers the limits: more windows are anomalous, so more incidents come'
    """
    beside = f"({budget:g} false alarms a day in place of {calibrated:g}, to which limits are calibrated)"
    if budget > calibrated:
        return f"A larger budget lowers the limits: more windows are anomalous, so more incidents come {beside}"
    if budget < calibrated:
        return f"A smaller budget raises the limits: fewer windows are anomalous, so fewer incidents come {beside}"
    return f"Limits are calibrated to that budget, {budget:g} false alarms a day, so they stay as they are"


def judged_again(
    store: Store, encoders: Encoders, settings: Settings, span: Span, fixed: Limits, now_ms: int
) -> Compared:
    """Judge the windows of a device again, day by day.

    Nothing is written. Windows are judged by the present profile, so what differs is due to fixed limits, and to the profile
    where the record rests on an earlier one.

    Args:
        store: has windows, profiles and the record.
        encoders: of all devices.
        settings: the quiet time of incidents, and which windows are complete.
        span: part of the past.
        fixed: limits that are tried; none for those that there are.
        now_ms: the present.
    """
    windows, anomalous, recorded = 0, [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    window_ms, quiet_ms = span.device.window(settings), settings.incident_quiet_ms
    for day in days_of(span, window_ms):
        judgement = ready_to_judge(
            *(store, span.device, encoders, settings, day.start_ms, day.end_ms),
            now_ms=now_ms,
            similarity_threshold=fixed.similarity,
            sigma_threshold=fixed.sigma,
        ).judge()
        windows += len(judgement.series)
        anomalous.append(judgement.series.times_ms[judgement.anomalous])
        recorded.append(AnomalyEvent.times(store, span.device.device_id, (day.start_ms, day.end_ms)))
    was = episodes_of(np.concatenate(recorded), window_ms, quiet_ms)
    return compare(span.device, windows, was, episodes_of(np.concatenate(anomalous), window_ms, quiet_ms))


def limits_for_budget(
    verdicts: Mapping[str, VerdictSeries], window_ms: int, budget: float, calibrated: float
) -> dict[str, float]:
    """By how much limits of another budget are wider than those that windows had, by method.

    The distribution of extremes from which limits are calibrated (:func:`~hvac_platform.detection.alarms.budget_limit`) is
    fitted to the scores that are kept of windows that didn't alarm; the ratio of two of its limits is the answer. Rules have
    declared limits.

    Args:
        verdicts: by method.
        window_ms: length of a window.
        budget: false alarms a day that are tried.
        calibrated: those that limits hold.

    Raises:
        TooFewScoresError: less than a day of windows has scores.
    """
    found = {}
    for name, series in verdicts.items():
        if knows_limits(name):
            continue
        level = series.scores[np.isfinite(series.scores) & ~series.anomalous]
        if len(level) * window_ms < DAY_MS:
            raise TooFewScoresError(
                f"{len(level)} windows without an alarm have a score of {name}; a day of them, {DAY_MS // window_ms}, is "
                "needed to say what another budget does"
            )
        held = budget_limit(level, window_ms, SHARE * calibrated)
        found[name] = budget_limit(level, window_ms, SHARE * budget) / max(held, 1e-9)
    return found


def anomalous_by_scores(
    verdicts: Mapping[str, VerdictSeries], tried: OfScores, wider: Mapping[str, float] | None = None
) -> tuple[Int64, Bool]:
    """Windows that anything is kept of, int64 [n] ascending, and whether each would have been anomalous, bool [n].

    With the limits that they had it is what was recorded; with wider ones what was recorded and scored beyond them; with
    tighter ones also what only scored beyond them.

    Args:
        verdicts: by method.
        tried: what is tried.
        wider: by how much more than that the limit of a method is wider; as much as of the others where it is absent.

    >>> scores = np.array([0.7, 1.2, 2.5])
    >>> kept = {"profile": VerdictSeries(np.array([0, 1, 2]), scores, scores > 1)}
    >>> [anomalous_by_scores(kept, OfScores(n))[1].tolist() for n in (0.5, 1.0, 2.0)]
    [[True, True, True], [False, True, True], [False, False, True]]
    """
    times = [series.times_ms for series in verdicts.values()]
    windows = np.unique(np.concatenate(times)) if times else np.zeros(0, dtype=np.int64)
    votes = np.zeros(len(windows), dtype=np.int64)
    for name, series in verdicts.items():
        if tried.methods is not None and name not in tried.methods:
            continue
        flags = series.anomalous
        limit = tried.times_limit * (wider or {}).get(name, 1.0)
        if not knows_limits(name) and limit != 1.0:
            beyond = series.scores >= limit  # of what was not judged there is no score, and no alarm
            flags = flags & beyond if limit > 1 else flags | beyond
        votes[np.searchsorted(windows, series.times_ms)] += flags
    return windows, votes >= tried.agreeing


def what_scores_say(
    store: Store, settings: Settings, span: Span, tried: OfScores, encoders: Encoders | None = None
) -> Compared:
    """What would have been of one device, from the verdicts that are kept of it.

    Args:
        store: has the verdicts and the record.
        settings: the quiet time of incidents.
        span: part of the past.
        tried: what is tried.
        encoders: of all devices; needed where fixed limits are tried.

    Raises:
        TooFewScoresError: another budget is tried, and there is less than a day of scores.
    """
    within, window_ms = (span.start_ms, span.end_ms), span.device.window(settings)
    verdicts = verdict_series(store, span.device.device_id, within)
    would_say, wider = dict(verdicts), dict[str, float]()
    if verdicts and tried.budget is not None:
        wider = limits_for_budget(verdicts, window_ms, tried.budget, settings.hvac_false_alarms_per_day)
    if RULES in verdicts and tried.rules is not None and tried.rules.name == span.device.device_type:
        would_say[RULES] = _rules_say(store, span, tried.rules, window_ms, verdicts[RULES])
    if PROFILE in verdicts and tried.fixed != Limits():
        assert encoders is not None
        profile = current_profile(store, span.device, encoders, settings)
        if profile is not None:
            profile = profile.with_limits(tried.fixed.similarity, tried.fixed.sigma)
            would_say[PROFILE] = _profile_says(store, encoders, span, profile, window_ms, verdicts[PROFILE])
    windows, anomalous = anomalous_by_scores(would_say, tried, wider)
    _, was = anomalous_by_scores(verdicts, OfScores())
    quiet = in_maintenance(windows, MaintenanceSpan.read(store, span.device.device_id))
    anomalous &= was | ~quiet  # no limit makes an alarm of what is done in maintenance
    quiet_ms = settings.incident_quiet_ms
    recorded = AnomalyEvent.times(store, span.device.device_id, within)
    compared = compare(
        span.device,
        len(windows),
        episodes_of(recorded, window_ms, quiet_ms),
        episodes_of(windows[anomalous], window_ms, quiet_ms),
    )
    return replace(compared, wider=wider)


def _rules_say(store: Store, span: Span, rules: DeviceType, window_ms: int, judged: VerdictSeries) -> VerdictSeries:
    """Verdicts of a type's rules on the windows that were judged by others."""
    rules = judging_type_of(store, span.device.device_id, rules) or rules
    low = span.start_ms - rule_lookback_ms(rules, window_ms)
    series = read_series(store, span.device.device_id, rules.name, low, span.end_ms)
    rows = np.flatnonzero(np.isin(series.times_ms, judged.times_ms))
    return VerdictSeries(series.times_ms[rows], *rule_scores(series, rules, rows))


def _profile_says(
    store: Store, encoders: Encoders, span: Span, profile: Profile, window_ms: int, judged: VerdictSeries
) -> VerdictSeries:
    """Verdicts of a profile with fixed limits on the windows that were judged by others; none where nothing was."""
    device, encoder = span.device, encoders.of(span.device.device_id)
    low = span.start_ms - max(encoder.context_windows, PERSISTENCE_WINDOWS) * window_ms
    series = read_series(
        *(store, device.device_id, device.device_type, low, span.end_ms),
        embeddings=not encoders.learned,
        embedding_method=encoders.common.method,
        metrics=metrics_to_read(store, device, low, span.end_ms, profile),
    )
    if series.embeddings is None:  # those stored may be of an encoder that was replaced since
        series = replace(series, embeddings=encoder.encode(series))
    scores, anomalous = profile_scores(series, profile)
    rows = np.flatnonzero(np.isin(series.times_ms, judged.times_ms[np.isfinite(judged.scores)]))
    return VerdictSeries(series.times_ms[rows], scores[rows], anomalous[rows])
