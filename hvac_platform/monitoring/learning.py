"""Learn a device's profile from its stored normal snapshots."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hvac_platform.config import Settings
from hvac_platform.detection.choosing_metrics import NOT_CHOSEN
from hvac_platform.detection.grades import impossible_readings, without_readings
from hvac_platform.detection.neighbours import AVERAGED, mean_distance
from hvac_platform.detection.pace import Pace, learn_paces, read_share
from hvac_platform.detection.profile import (
    Fit,
    Profile,
    TooFewSnapshotsError,
    build_profile,
    exclusion_ms,
)
from hvac_platform.detection.promotion import Ruling, judge_candidate
from hvac_platform.detection.rule_review import RuleReview, often_fired, rules_to_review
from hvac_platform.detection.rules import evaluate_rules, rule_firings
from hvac_platform.devices.local_time import timezone_of
from hvac_platform.devices.registry import DeviceType, device_type
from hvac_platform.embedding.base import Encoder
from hvac_platform.embedding.learned import Encoders, LearnedEncoder
from hvac_platform.ingestion.snapshotting import EmbeddingCounts
from hvac_platform.monitoring.lasting import (
    OVER_AFTER_DAYS,
    ChangeState,
    LookedAt,
    called_fault_since,
    expected_since,
    look_for_change,
    spans_of_faults,
    standing_rules,
)
from hvac_platform.monitoring.maintenance import in_maintenance, within
from hvac_platform.monitoring.points import learned_points
from hvac_platform.monitoring.profile_versions import (
    archived,
    embedded_anew,
    promoted,
    reflagged,
    refused,
    rests_until,
    versions_of,
)
from hvac_platform.monitoring.profiles import judging_type_of, load_profile, stored_profile
from hvac_platform.monitoring.unjudged import Unjudged, judge_unjudged
from hvac_platform.monitoring.wide_devices import choose_by_sample, readable_from
from hvac_platform.snapshots import SnapshotSeries, select
from hvac_platform.stores.base import Device, Store
from hvac_platform.stores.batches import TableBatch
from hvac_platform.stores.records import (
    DevicePoint,
    LastingChange,
    MaintenanceSpan,
    MetricTrend,
    StoredEvidence,
    StoredGate,
    StoredMode,
    StoredProfile,
)
from hvac_platform.stores.series import read_series_and_states
from hvac_platform.stores.vectors import NearestSearch
from hvac_platform.timestamps import DAY_MS, iso, now_ms

if TYPE_CHECKING:
    from hvac_platform.detection.detector import FittedDetector
    from hvac_platform.detection.energy import EnergyModel

CALIBRATION_SAMPLE = 3000  # distances of so many snapshots calibrate a limit as well as those of all
LEAST_COMPLETE = 0.5
LEAST_KNOWN = 0.5
URGENT = 3
BY_RULE, NOT_EMBEDDED = "against a rule", "without an embedding"
FLAGGED, CALLED_FAULT = "flagged", "in a change that somebody calls a fault"
SPOKEN_AGAINST = "in a lasting change that something speaks against"
INCOMPLETE, IN_MAINTENANCE, JUDGED_NOW = "incomplete", "in maintenance", "anomalous, judged only now"
MOST_NAMED = 3
LEAST_FIT = 200
"""Fewest normal snapshots for a detector; with fewer, a profile rests on centroid and statistics."""
ASKED_FOR = "asked for"
NONE_BEFORE, OTHER_VERSION, ENDS_EARLIER = "there was none", "it was fitted by version", "the history asked for ends"
OTHER_WINDOW, OTHER_BUDGET, NEW_METRICS = "the window is", "the budget is", "new metrics"
LEARNED_A_FAULT = "what was learned since"
UNCOMPARED = (NONE_BEFORE, OTHER_VERSION, ENDS_EARLIER, OTHER_WINDOW, OTHER_BUDGET, NEW_METRICS, LEARNED_A_FAULT)
"""What reasons for a new encoder begin with under which there is nothing to compare, or no choice."""
LONGEST_HELD_MS = DAY_MS
GROWTH = 2.0
DRIFTED_SHARE, DRIFT_SURPRISE, DRIFT_ROWS = 0.3, 1.0, 720
"""One normal window in ten has a surprise of 1 or more; three in ten over half a day of a minute's windows is drift."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What came of learning from a device's history.

    Attributes:
        profile: what is normal now.
        series: the n normal snapshots that it rests on, with the embeddings that it was calibrated on.
        left_out: snapshots that were not fit to learn from, by the reason.
        judged: so many had no verdict yet and were judged first.
        review: rules that fire most of the time on a machine that runs steadily.
        metrics_left_out: metrics that aren't judged, with the reason.
        refitted: why the encoder was fitted anew, so that snapshots need new embeddings; empty when it was kept.
        note: why there is no detector, where there could be one, or less history than was asked for; else empty.
        modes: ways in which the machine runs, as plain values; None while there is too little history to tell.
        points: the device's points with the pace that each reports at.
        gate: how the candidate did against the present profile; None where there was none, or nothing to compare with.
        candidate: the candidate, where the gate has refused it; the profile is the present one then.
        change: what is new on the device and lasts, as it now stands; None where nothing is.
        cleared: int64 [k], starts of flagged windows that are learned as normal from now on.
        unlearned: changes that were learned, and that somebody has called a fault since.
        expected: changes that were learned, whose rules somebody has said since are expected too.
    """

    profile: Profile
    series: SnapshotSeries
    left_out: dict[str, int]
    judged: int = 0
    review: tuple[RuleReview, ...] = ()
    metrics_left_out: Mapping[str, str] = field(default_factory=dict)
    refitted: str = ""
    note: str = ""
    modes: list[StoredMode] | None = None
    points: tuple[DevicePoint, ...] = ()
    gate: StoredGate | None = None
    candidate: Profile | None = None
    change: LastingChange | None = None
    cleared: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    unlearned: tuple[LastingChange, ...] = ()
    expected: tuple[LastingChange, ...] = ()

    @property
    def changes(self) -> tuple[LastingChange, ...]:
        """Lasting changes as they now stand."""
        return (*self.unlearned, *self.expected, *((self.change,) if self.change is not None else ()))

    @property
    def left_out_count(self) -> int:
        """Snapshots that were not fit to learn from."""
        return sum(self.left_out.values())


@dataclass(frozen=True, slots=True)
class History:
    """Snapshots of a device, and what speaks against learning from some of them.

    Attributes:
        series: the n snapshots.
        unfit: bool [n] by reason; a snapshot counts under the first reason that holds.
        judged: so many of them had no verdict yet and were judged first.
        impossible: windows with a reading that can't be, by metric; it counts as missing there.
        paces: at which each point reports, as far as these snapshots tell.
    """

    series: SnapshotSeries
    unfit: dict[str, NDArray[np.bool_]]
    judged: int = 0
    impossible: Mapping[str, int] = field(default_factory=dict)
    paces: Mapping[str, Pace] = field(default_factory=dict)

    @property
    def fit(self) -> NDArray[np.bool_]:
        """Snapshots that nothing speaks against, bool [n]."""
        unfit = np.zeros(len(self.series), dtype=np.bool_)
        for mask in self.unfit.values():
            unfit |= mask
        return ~unfit

    def without(self, reason: str, mask: NDArray[np.bool_]) -> History:
        """The history with some snapshots unfit for one more reason."""
        return replace(self, unfit={**self.unfit, reason: self.unfit.get(reason, np.zeros_like(mask)) | mask})

    def with_learned(self, accepted: NDArray[np.bool_], *, by_rules_too: bool = False) -> History:
        """The history with the flags of some snapshots not counted, nor rules that are a standing condition from now on."""
        not_counted = (FLAGGED, JUDGED_NOW, CALLED_FAULT, *((BY_RULE,) if by_rules_too else ()))
        unfit = {reason: mask & ~accepted if reason in not_counted else mask for reason, mask in self.unfit.items()}
        return replace(self, unfit=unfit)

    def left_out(self) -> dict[str, int]:
        """How many snapshots are left out for each reason, where any are."""
        counted = np.zeros(len(self.series), dtype=np.bool_)
        counts = {}
        for reason, mask in self.unfit.items():
            if n := int((mask & ~counted).sum()):
                counts[reason] = n
            counted |= mask
        return counts


def normal_snapshots(
    store: Store,
    device: Device,
    embedding_method: str | None,
    start_ms: int,
    end_ms: int,
    *,
    include_flagged: bool = False,
    metrics: Collection[str] | None = None,
) -> tuple[SnapshotSeries, NDArray[np.bool_]]:
    """Snapshots between two instants, and which are fit to learn from, bool [n].

    Unfit are flagged ones, those in a maintenance span, those that a rule of level 3 or above speaks against, those that
    hold less than half of the readings that the paces of the device's points let expect, and, where an embedding method is
    given, those that another encoder (or none) has embedded.
    """
    history = read_history(
        store, device, embedding_method, start_ms, end_ms, include_flagged=include_flagged, metrics=metrics
    )
    return history.series, history.fit


def read_history(
    store: Store,
    device: Device,
    embedding_method: str | None,
    start_ms: int,
    end_ms: int,
    *,
    include_flagged: bool = False,
    unjudged: Unjudged | None = None,
    metrics: Collection[str] | None = None,
) -> History:
    """Snapshots between two instants with what speaks against each, as :func:`normal_snapshots` says.

    Where it is known what became of the windows that nobody had judged, those that are anomalous or can't be judged yet
    are unfit too.
    """
    series, states = read_series_and_states(
        store,
        device.device_id,
        device.device_type,
        start_ms,
        end_ms,
        embeddings=embedding_method is not None,
        embedding_method=embedding_method,
        metrics=metrics,
    )
    if not len(series):
        return History(series, {})
    declared = device_type(device.device_type)
    rules = evaluate_rules(series, judging_type_of(store, device.device_id, declared))
    impossible = impossible_readings(series, declared)
    series = without_readings(series, impossible)
    paces = learn_paces(series)
    unfit: dict[str, NDArray[np.bool_]] = {
        INCOMPLETE: read_share(series, paces) < LEAST_COMPLETE,
        IN_MAINTENANCE: in_maintenance(series.times_ms, MaintenanceSpan.read(store, device.device_id)),
        BY_RULE: rules.anomalous & (rules.level <= URGENT),
    }
    if not include_flagged:
        unfit[FLAGGED] = states.flagged
        faults = spans_of_faults(store, device.device_id)
        if faults:
            unfit[CALLED_FAULT] = within(series.times_ms, faults)
    if unjudged is not None:
        unfit[JUDGED_NOW] = np.isin(series.times_ms, unjudged.anomalous)
        unfit["not judged yet, waiting for late readings"] = np.isin(series.times_ms, unjudged.waiting)
    if series.embeddings is not None:
        unfit[NOT_EMBEDDED] = np.logical_not(np.isfinite(series.embeddings).all(axis=1))
    told = {name: int(n) for name, n in zip(series.metric_names, impossible.sum(axis=0).tolist(), strict=True) if n}
    return History(series, unfit, 0 if unjudged is None else unjudged.judged, told, paces)


def learn_profile(
    store: Store,
    device: Device,
    encoders: Encoders,
    settings: Settings,
    *,
    days_back: float | None = None,
    min_snapshots: int | None = None,
    until_ms: int | None = None,
    refit: bool = False,
    include_flagged: bool = False,
) -> Lesson:
    """Learn a profile from the days before an instant (by default the end of the device's data).

    Where devices have encoders of their own, the device's is fitted when it has none yet, when its history has doubled, when
    what it reports, the window, the budget or its normal states have changed, and on request. Otherwise
    centroid, statistics and the calibration of vector search are refreshed and its embeddings stay as they are.

    Args:
        store: where snapshots and the present profile are.
        device: whose.
        encoders: of all devices.
        settings: defaults, and the false-alarm budget.
        days_back: days of history.
        min_snapshots: fewest normal snapshots.
        until_ms: end of the history.
        refit: fit the encoder anew in any case.
        include_flagged: learn from flagged windows too: what they show is the new normal.

    Raises:
        TooFewSnapshotsError: not enough normal snapshots; the message says what to do.
    """
    end_ms = device.last_seen + 1 if until_ms is None else until_ms
    span_days = settings.hvac_profile_days_back if days_back is None else days_back
    start_ms = end_ms - round(span_days * DAY_MS)
    common = None if encoders.learned else encoders.common.method
    present = load_profile(store, device.device_id)
    every_rule = declared = device_type(device.device_type)
    if present is not None:
        declared = present.judging_type(declared)
    read, every = choose_by_sample(store, device, declared, start_ms, end_ms)
    if read is not None:
        read |= frozenset(() if present is None or present.detector is None else present.detector.metric_names)
    unread: frozenset[str] = frozenset() if read is None else every - read
    wanted_ms, start_ms = start_ms, readable_from(len(every), start_ms, end_ms, device.window(settings))
    # What nobody has judged may be an incident that is going on just now.
    unjudged = (
        None
        if include_flagged
        else judge_unjudged(store, device, encoders, settings, start_ms, end_ms, now_ms=now_ms())
    )
    history = read_history(
        store, device, common, start_ms, end_ms, include_flagged=include_flagged, unjudged=unjudged, metrics=read
    )
    now = now_ms()
    unlearned: list[LastingChange] = []
    looked = None
    least = settings.hvac_profile_min_snapshots if min_snapshots is None else min_snapshots
    held = False
    if not include_flagged and present is not None and present.detector is not None:
        unlearned = called_fault_since(store, device.device_id, now)
        for fault in unlearned:
            history = history.without(CALLED_FAULT, within(history.series.times_ms, [(fault.since, fault.seen_until)]))
        looked = _lasting(store, device, history, present, end_ms, now)
        if looked is not None and looked.learns:
            history = history.with_learned(looked.accepted, by_rules_too=bool(looked.standing))
        if looked is not None and not refit and looked.spoken_against.any():
            # Its windows that are not flagged show the fault too: with them learned, the fault would become quiet.
            # Where less than a day is left without them they still count for the statistics, and the encoder stays.
            held, without = True, history.without(SPOKEN_AGAINST, looked.spoken_against)
            if without.fit.sum() >= max(least, LEAST_FIT, DAY_MS // history.series.window_ms):
                history = without
    whole, fit, left_out = history.series, history.fit, history.left_out()
    review = rules_to_review(whole, declared)
    normal = select(whole, fit)
    points = learned_points(
        whole,
        history.paces,
        history.impossible,
        DevicePoint.read(store, device.device_id),
        from_ms=start_ms,
        until_ms=end_ms,
        at_ms=now,
    )
    if len(normal) < least:
        raise TooFewSnapshotsError(
            _too_few(device, len(normal), span_days, least, left_out, whole, declared), DevicePoint.columns(points)
        )
    detector, fitted, why, note = None, None, "", ""
    if encoders.learned:
        detector, fitted, why, note = _detector_for(
            device,
            whole,
            fit,
            present,
            settings,
            end_ms,
            _wish(refit, looked, unlearned),
            worn=_is_worn(store, device),
            held=held,
        )
    if start_ms > max(wanted_ms, device.first_seen):
        note = note or f"of its {len(every)} metrics only the history from {iso(start_ms)} on is read"
    metrics_left_out = dict.fromkeys(sorted(unread), NOT_CHOSEN)
    if detector is not None:
        metrics_left_out = {**metrics_left_out, **detector.left_out}
        if unread - detector.left_out.keys():
            detector = replace(detector, left_out=metrics_left_out)
    gate = None
    if why and detector is not None and detector is not (None if present is None else present.detector):
        gate = _gate(store, device, whole, fit, present, settings, end_ms, why, now)
    told = {f"of {name}": windows for name, windows in history.impossible.items()}
    if told:
        said = f"readings that can't be count as missing: {told_counts(told)}"
        note = f"{note}; {said}" if note else said

    def built(detector: FittedDetector | None, fitted: Fit | None) -> tuple[Profile, SnapshotSeries, int]:
        encoder: Encoder = LearnedEncoder(detector) if detector is not None else encoders.common
        here, unknown = normal, 0
        if encoders.learned:
            vectors = encoder.encode(whole)
            known = np.isfinite(vectors).all(axis=1)
            unknown = int((fit & ~known).sum())
            here = select(replace(whole, embeddings=vectors), fit & known)
        profile = build_profile(
            here,
            _distances(here, learned=detector is not None),
            embedding_method=encoder.method,
            device_type=declared,
            min_snapshots=least,
            false_alarms_per_day=settings.hvac_false_alarms_per_day,
            exclude_ms=exclusion_ms(len(here), here.window_ms),
            detector=detector,
            fit=fitted,
        )
        return replace(profile, energy=energy_model(here, device.device_type)), here, unknown

    candidate = None
    if encoders.learned and detector is None and present is not None and present.detector is not None:
        why = "the history at hand is too short for an encoder of its own"
    if gate is not None and not gate["promoted"] and present is not None:
        candidate, _, _ = built(detector, fitted)
        detector, fitted, why = present.detector, present.fit, ""
        if looked is not None and looked.learns:
            # What the gate refuses is not learned: the change waits, and says why.
            refusal: StoredEvidence = {"about": "gate", "against": True, "said": gate["said"], "value": 0.0}
            change = replace(looked.change, state=str(ChangeState.WAITING), evidence=[*looked.change.evidence, refusal])
            looked = replace(looked, change=change, accepted=np.zeros_like(looked.accepted))
    if gate is not None and not gate["promoted"]:
        note = f"{note}; {gate['said']}" if note else gate["said"]
    accepted_now = expected_since(store, device.device_id, now)
    if fitted is not None:
        standing = _standing(present, looked, accepted_now, unlearned, whole, every_rule)
        fitted = replace(fitted, standing=standing)
    profile, normal, unknown = built(detector, fitted)
    if unknown:
        left_out[NOT_EMBEDDED] = unknown
    return Lesson(
        profile,
        normal,
        left_out,
        history.judged,
        review,
        metrics_left_out,
        why,
        note,
        operating_modes(normal, detector),
        tuple(points),
        gate,
        candidate,
        None if looked is None else looked.change,
        whole.times_ms[looked.accepted] if looked is not None else np.zeros(0, dtype=np.int64),
        tuple(unlearned),
        tuple(accepted_now),
    )


def _standing(
    present: Profile | None,
    looked: LookedAt | None,
    expected: Sequence[LastingChange],
    unlearned: Sequence[LastingChange],
    whole: SnapshotSeries,
    declared: DeviceType | None,
) -> tuple[str, ...]:
    """Rules that are a standing condition of a device from now on.

    Those of the profile at hand, and of what is learned or expected now; not of what somebody calls a fault, nor what has
    been silent for three days: when it fires again, it is something new.
    """
    before = () if present is None else present.standing
    lately = select(whole, whole.times_ms >= int(whole.times_ms[-1]) - OVER_AFTER_DAYS * DAY_MS)
    fired = {f.rule.id for f in rule_firings(lately, declared) if f.rule is not None} if before else set()
    found = dict.fromkeys(rule for rule in before if rule in fired)
    for change in expected:
        found |= dict.fromkeys(standing_rules(change))
    if looked is not None and looked.learns:
        found |= dict.fromkeys(looked.standing)
    faulty = {rule for change in unlearned for rule in standing_rules(change)}
    return tuple(rule for rule in found if rule not in faulty)


def _lasting(
    store: Store, device: Device, history: History, present: Profile, end_ms: int, now_ms: int
) -> LookedAt | None:
    """What is new and lasts, by the windows that are flagged and those that were judged only now."""
    nothing = np.zeros(len(history.series), dtype=np.bool_)
    flagged = history.unfit.get(FLAGGED, nothing) | history.unfit.get(JUDGED_NOW, nothing)
    usable = ~nothing
    for reason, mask in history.unfit.items():
        if reason not in (FLAGGED, JUDGED_NOW, BY_RULE, CALLED_FAULT):
            usable &= ~mask
    return look_for_change(
        store,
        device,
        history.series,
        flagged,
        usable,
        history.unfit.get(BY_RULE, nothing),
        present,
        end_ms=end_ms,
        now_ms=now_ms,
    )


def _wish(refit: bool, looked: LookedAt | None, unlearned: Sequence[LastingChange]) -> str:
    """Why an encoder is to be fitted anew whatever the history calls for; empty where nothing asks for it."""
    if refit:
        return ASKED_FOR
    if unlearned:
        return f"{LEARNED_A_FAULT} {iso(unlearned[0].since)} is a fault, as somebody says"
    if looked is not None and looked.learns:
        return f"what is new since {iso(looked.change.since)} lasts, and nothing speaks against it"
    return ""


def _is_worn(store: Store, device: Device) -> bool:
    """Whether a metric of the device degrades slowly: to follow it would be to forget it."""
    return any(trend.since is not None for trend in MetricTrend.read(store, device.device_id, only=("since",)))


def _gate(
    store: Store,
    device: Device,
    whole: SnapshotSeries,
    fit: NDArray[np.bool_],
    present: Profile | None,
    settings: Settings,
    end_ms: int,
    why: str,
    now_ms: int,
) -> StoredGate | None:
    """How a candidate does against the present profile; None where there is none to compare with, or nothing to hold out.

    What is promoted is fitted on all of the history. What is tried is its like, fitted without the held-out days: so neither
    has seen them.
    """
    if present is None or present.detector is None or present.fit is None or why.startswith(UNCOMPARED):
        return None
    from hvac_platform.detection import UnusableMetricsError, fit_detector
    from hvac_platform.detection.learned import frame_of
    from hvac_platform.monitoring.trials import labelled_incidents, trial_of

    begin_ms = int(whole.times_ms[0])
    held_from = end_ms - min(LONGEST_HELD_MS, (end_ms - begin_ms) // 4)
    held = whole.times_ms >= held_from
    earlier = select(whole, fit & ~held)
    if len(earlier) < LEAST_FIT or not (fit & held).any():
        return None
    rest = rests_until(versions_of(store, device.device_id))
    try:
        like = fit_detector(
            frame_of(earlier),
            device_type=device_type(device.device_type),
            false_alarms_per_day=settings.hvac_false_alarms_per_day,
            timezone=timezone_of(settings.hvac_alerts, device.building_id),
        )
    except UnusableMetricsError:
        return None
    labelled = labelled_incidents(store, device.device_id)
    tried = [trial_of(store, device, whole, fit & held, detector, labelled) for detector in (present.detector, like)]
    days = int((fit & held).sum()) * whole.window_ms / DAY_MS
    ruling = judge_candidate(
        *tried, days=days, incidents=len(labelled), budget_per_day=settings.hvac_false_alarms_per_day
    )
    if rest is not None and now_ms < rest and ruling.promoted:
        said = f"somebody has gone back to this version: until {iso(rest)[:10]} a new one is promoted by hand only"
        ruling = Ruling(False, said)
    before, after = tried
    return StoredGate(
        promoted=ruling.promoted,
        said=ruling.said,
        days=round(days, 3),
        windows=int((fit & held).sum()),
        present_alarms=before.alarms,
        candidate_alarms=after.alarms,
        present_share=round(before.share, 5),
        candidate_share=round(after.share, 5),
        incidents=len(labelled),
        present_found=before.found,
        candidate_found=after.found,
    )


def told_counts(counts: Mapping[str, int]) -> str:
    """Counts by reason in words.

    >>> told_counts({"flagged": 3, "incomplete": 1})
    '3 flagged, 1 incomplete'
    """
    return ", ".join(f"{count} {reason}" for reason, count in counts.items())


def told_metrics(left_out: Mapping[str, str]) -> str:
    """Metrics that aren't judged, by reason, in words; of many with one reason the first few.

    >>> told_metrics({"run_hours": "a counter", "starts": "a counter"})
    '2 metrics (run_hours, starts): a counter'
    """
    by_reason: dict[str, list[str]] = {}
    for name, why in left_out.items():
        by_reason.setdefault(why, []).append(name)
    return "; ".join(
        f"{len(names)} metric{'s' if len(names) > 1 else ''} "
        f"({', '.join(names[:MOST_NAMED])}{', …' if len(names) > MOST_NAMED else ''}): {why}"
        for why, names in by_reason.items()
    )


def _too_few(
    device: Device,
    found: int,
    span_days: float,
    least: int,
    left_out: Mapping[str, int],
    whole: SnapshotSeries,
    declared: DeviceType | None,
) -> str:
    """Why there is no profile, and what helps against each of the reasons: time mends a short history alone."""
    told = f"{device.device_id}: {found} normal snapshots in the last {span_days:g} days, {least} are needed"
    flagged = left_out.get(FLAGGED, 0) + left_out.get(JUDGED_NOW, 0)
    advice = []
    if left_out.get(BY_RULE):
        culprits = [] if declared is None else often_fired(whole, declared, URGENT)
        told_rules = "; ".join(culprit.sentence() for culprit in culprits[:MOST_NAMED])
        advice.append(f"{left_out[BY_RULE]} {BY_RULE}" + (f" ({told_rules})" if told_rules else ""))
    if flagged:
        why = "if what they show is the new normal: hvac profiles build --include-flagged"
        advice.append(f"{flagged} flagged as anomalous ({why})")
    if left_out.get(INCOMPLETE):
        why = f"most of the device's points were silent: hvac devices points {device.device_id} shows which"
        advice.append(f"{left_out[INCOMPLETE]} {INCOMPLETE} ({why})")
    if left_out.get(IN_MAINTENANCE):
        why = f"hvac maintenance list {device.device_id} shows when it ends"
        advice.append(f"{left_out[IN_MAINTENANCE]} {IN_MAINTENANCE} ({why})")
    told_already = {BY_RULE, FLAGGED, JUDGED_NOW, INCOMPLETE, IN_MAINTENANCE}
    others = {reason: n for reason, n in left_out.items() if reason not in told_already}
    if others:
        advice.append(told_counts(others))
    if not advice:
        return f"{told}, none was left out; wait for more data or look further back (--days-back)"
    return f"{told}; left out are {'; '.join(advice)}"


def mode_calibration(mode: StoredMode) -> str:
    """What a mode's rows are measured against, in words; empty in profiles from before that was kept."""
    if "calibrated" not in mode:
        return ""
    return "its own rows" if mode["calibrated"] else "rows of all modes"


def operating_modes(normal: SnapshotSeries, detector: FittedDetector | None) -> list[StoredMode] | None:
    """How a machine runs, the most usual mode first; None where there is too little history to tell.

    Modes are those that the detector tells apart, where it does; ``calibrated`` says of each whether what is surprising in
    it is measured against its own rows.
    """
    from hvac_platform.detection.learned import frame_of
    from hvac_platform.detection.modes import LEAST_ROWS, find_modes, modes_of

    if len(normal) < LEAST_ROWS:
        return None
    frame = frame_of(normal)
    switches, within = ((), {}) if detector is None else (detector.switches, detector.within)
    modes = modes_of(frame, switches) if switches else find_modes(frame)
    return [
        StoredMode(
            name=mode.name,
            number=mode.number,
            share=round(mode.share, 4),
            episodes=mode.episodes,
            centre=dict(mode.centre),
            calibrated=str(mode.number) in within,
        )
        for mode in modes.modes
    ]


def energy_model(normal: SnapshotSeries, type_name: str) -> EnergyModel | None:
    """What power a device should draw; None where its type declares no energy, or there is too little to learn from."""
    declared = device_type(type_name)
    if declared is None or declared.energy is None:
        return None
    from hvac_platform.detection import UnusableMetricsError
    from hvac_platform.detection.energy import fit_energy
    from hvac_platform.detection.learned import frame_of
    from hvac_platform.monitoring.energy import POWER, power_frame

    try:
        return fit_energy(
            power_frame(frame_of(normal), type_name),
            power=POWER,
            drivers=declared.energy.drivers,
            clock=declared.energy.clock,
        )
    except UnusableMetricsError:
        return None


def _distances(series: SnapshotSeries, *, learned: bool) -> NDArray[np.float64]:
    """Mean cosine distance of snapshots to the nearest others that are not their own surroundings.

    Of all of them in order where runs of suspicious windows count (learned embeddings fill few of the 384 slots), of a
    sample where only the distribution does.
    """
    assert series.embeddings is not None
    vectors, rows = series.embeddings, np.arange(len(series))
    if learned:
        vectors = vectors[:, : int(np.flatnonzero(vectors.any(axis=0)).max()) + 1]
    else:
        rows = np.unique(np.linspace(0, len(series) - 1, min(len(series), CALIBRATION_SAMPLE)).astype(np.int64))
    search = NearestSearch(
        vectors[rows],
        AVERAGED,
        query_times_ms=series.times_ms[rows],
        exclude_ms=exclusion_ms(len(series), series.window_ms),
    )
    return mean_distance(search.add(series.times_ms, vectors, np.zeros(len(series), dtype=bool)).result())


def _detector_for(
    device: Device,
    whole: SnapshotSeries,
    fit: NDArray[np.bool_],
    present: Profile | None,
    settings: Settings,
    end_ms: int,
    wish: str,
    *,
    worn: bool,
    held: bool,
) -> tuple[FittedDetector | None, Fit | None, str, str]:
    """Detector, what it rests on, why it is a new one (empty: the present one is kept), why there is none."""
    from hvac_platform.detection import UnusableMetricsError, fit_detector
    from hvac_platform.detection.learned import frame_of

    normal = select(whole, fit)
    why = wish or refit_reason(present, whole, fit, settings, end_ms, worn=worn, held=held)
    if not why and present is not None:
        return present.detector, present.fit, "", ""
    if len(normal) < LEAST_FIT:
        return None, None, "", f"{len(normal)} normal snapshots, {LEAST_FIT} are needed for an encoder of its own"
    try:
        detector = fit_detector(
            frame_of(normal),
            device_type=device_type(device.device_type),
            false_alarms_per_day=settings.hvac_false_alarms_per_day,
            timezone=timezone_of(settings.hvac_alerts, device.building_id),
        )
    except UnusableMetricsError as error:
        return None, None, "", str(error)
    span = Fit(len(normal), int(normal.times_ms[0]), int(normal.times_ms[-1]) + normal.window_ms, why, normal.window_ms)
    return detector, span, why, ""


def refit_reason(
    present: Profile | None,
    whole: SnapshotSeries,
    fit: NDArray[np.bool_],
    settings: Settings,
    end_ms: int,
    *,
    worn: bool = False,
    held: bool = False,
) -> str:
    """Why a device's encoder has to be fitted anew; empty when it can stay.

    So the number of fits, and of snapshots that get new embeddings, grows with the logarithm of the history.

    Args:
        present: profile as it stands, or None.
        whole: history at hand, n snapshots.
        fit: bool [n], those that are normal.
        settings: the false-alarm budget.
        end_ms: end of the history asked for.
        worn: whether the device degrades slowly; then no drift is followed.
        held: whether something speaks against learning what lasts on it; then neither drift nor a doubled history counts.
    """
    if present is None or present.detector is None or present.fit is None:
        return NONE_BEFORE
    detector, count = present.detector, int(fit.sum())
    from hvac_platform.detection.detector import VERSION

    if present.detector.version != VERSION:
        return f"{OTHER_VERSION} {present.detector.version} of the method, the present one is {VERSION}"
    if present.fit.end_ms - whole.window_ms >= end_ms:  # it was fitted on windows that start later
        return f"{ENDS_EARLIER} before the one that it was fitted on"
    window_ms = present.fit.window_ms or settings.window_ms
    if window_ms != whole.window_ms:
        return f"{OTHER_WINDOW} {whole.window_ms // 1000} s, it was {window_ms // 1000} s"
    if detector.false_alarms_per_day != settings.hvac_false_alarms_per_day:
        return f"{OTHER_BUDGET} {settings.hvac_false_alarms_per_day:g} false alarms a day"
    known = np.isfinite(whole.mean[fit]).mean(axis=0) if count else np.zeros(len(whole.metric_names))
    judged = {*detector.metric_names, *detector.left_out}
    new = [n for n, share in zip(whole.metric_names, known, strict=True) if share >= LEAST_KNOWN and n not in judged]
    if new:
        return f"{NEW_METRICS}: {', '.join(new[:5])}"
    if held:
        return ""
    if count >= GROWTH * present.fit.count:
        return f"the history has grown from {present.fit.count} to {count} normal snapshots"
    return "" if worn else _drift(present, whole, fit)


def _drift(present: Profile, whole: SnapshotSeries, fit: NDArray[np.bool_]) -> str:
    """Whether the newest normal windows are odder than normal windows should be, without being anomalous."""
    from hvac_platform.detection.learned import examine_windows

    assert present.detector is not None
    assert present.fit is not None
    newest = np.flatnonzero(fit & (whole.times_ms >= present.fit.end_ms))[-DRIFT_ROWS:]
    if len(newest) < DRIFT_ROWS:
        return ""
    wanted = np.zeros(len(whole), dtype=np.bool_)
    wanted[newest] = True
    share = float((examine_windows(whole, wanted, present.detector)[0].surprise > DRIFT_SURPRISE).mean())
    return (
        f"drift: {share:.0%} of the newest normal windows are as odd as one in ten was" if share > DRIFTED_SHARE else ""
    )


def lesson_batches(store: Store, device: Device, lesson: Lesson, counts: EmbeddingCounts) -> Iterator[TableBatch]:
    """Rows of what was learned: new embeddings where the encoder is a new one, then the profile.

    The profile comes after all that it needs: a process that dies before it fits again, and writes the same. What it takes
    the place of is kept as an earlier version first. Embeddings reach from the first snapshot of the profile's span to the
    newest one there is, for detection looks for neighbours among them. A candidate that was refused is recorded, and nothing
    is embedded for it.
    """
    now, device_id = now_ms(), device.device_id
    if lesson.changes:
        yield TableBatch(LastingChange.columns(lesson.changes), table=LastingChange.TABLE)
    yield from reflagged(store, list(lesson.unlearned))
    stored = stored_profile(store, device, lesson.profile, lesson.modes)
    versions = versions_of(store, device_id) if lesson.refitted or lesson.candidate is not None else []
    first = True
    if lesson.refitted:
        left = archived(store, device_id, versions, now)
        if left is not None:
            first = False
            yield left
        yield from embedded_anew(store, device, lesson.profile, counts)
    if len(lesson.cleared):
        flags = {"device_id": [device_id] * len(lesson.cleared), "snapshot_time": lesson.cleared}
        cleared = {**flags, "is_anomalous": [False] * len(lesson.cleared)}
        yield TableBatch(cleared, table="device_state_snapshots", action="update")
    if lesson.points:
        yield TableBatch(DevicePoint.columns(lesson.points), table=DevicePoint.TABLE)
    yield TableBatch(StoredProfile.columns([stored]))
    if lesson.refitted:
        yield from promoted(stored, versions, lesson.gate, now, first=first)
    if lesson.candidate is not None and lesson.gate is not None:
        candidate = stored_profile(store, device, lesson.candidate, lesson.modes)
        yield from refused(candidate, versions, lesson.gate, now)


def history_coverage(profile: Profile, window_ms: int, days_back: float) -> float:
    """Share of the days asked for that a profile's snapshots cover; low where history is short or patchy."""
    return min(1.0, profile.snapshot_count * window_ms / (days_back * DAY_MS))
