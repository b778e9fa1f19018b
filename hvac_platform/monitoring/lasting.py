"""What is new on a device and lasts: noticed at night, told once, learned after two days unless something is against it.

Windows that are anomalous are not learned from. So whatever moves a machine for good (weather, a setpoint, a schedule,
another sensor) would alarm for ever, and the more it alarms the less of it would be learned. Each night the flagged windows
of the last days are looked at: where they go on from day to day, in one direction, that is a lasting change, with the
evidence that :mod:`hvac_platform.detection.lasting` gives. What a rule, a label, a likeness to a fault, a sensor that is
off, more energy at equal load or slow wear speaks against is held: it goes on alarming until somebody says that it
is expected, and nothing of its span is learned, flagged or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from hvac_platform.detection.lasting import (
    SAME_WAY,
    Evidence,
    Noise,
    RuleOfChange,
    change_span,
    departs_all_day,
    energy_evidence,
    explained_by_offset,
    growth_evidence,
    kind_evidence,
    noise_evidence,
    noisier,
    rule_evidence,
    rules_of_change,
    same_way,
    sensor_evidence_of,
    setpoint_evidence,
    speaks_against,
    swing_evidence,
    was_exchanged,
    weather_evidence,
)
from hvac_platform.detection.profile import Profile
from hvac_platform.detection.rules import rule_firings
from hvac_platform.devices.registry import DeviceType, device_type
from hvac_platform.monitoring.lifecycle import LASTING_ENDING, PLATFORM, State
from hvac_platform.snapshots import SnapshotSeries, select
from hvac_platform.stores.base import Device, Store
from hvac_platform.stores.records import (
    Incident,
    IncidentHandling,
    LastingChange,
    MetricTrend,
    StoredEvidence,
)
from hvac_platform.timestamps import DAY_MS, iso

if TYPE_CHECKING:
    from hvac_platform.detection.detector import FittedDetector
    from hvac_platform.detection.fault_kinds import SensorEvidence
    from hvac_platform.detection.learned import Learned

Bool = NDArray[np.bool_]

LASTING = "lasting"
"""What stands in place of a method's name in the incident that tells of one."""
TOLD_AFTER_MS, LEARNED_AFTER_MS = round(0.9 * DAY_MS), round(1.9 * DAY_MS)
ODD, LEAST_ODD = 1.0, 0.5
"""One normal window in ten has a surprise of 1; of the flagged windows of a change at least half have."""
MOST_EXAMINED = 2880
OVER_AFTER_DAYS = 3
"""So many quiet days end a change: what shows now and then only goes on meanwhile."""
AROUND_BEGIN_MS, STRAY = 2 * 3_600_000, 0.1
"""An exchanged sensor pauses about when the change begins; a tenth of the flagged windows may be stray ones before."""
URGENT = 3
STANDING, GOES_ON = "standing", "goes on"
"""Evidence about rules that began with a change: they stand for it once it is learned, or they don't."""
MOST_METRICS = 6
EXPECTED_LABEL = "expected"
"""The label by which somebody says that a change is expected; any other one says what fault it is."""
PART_OF = 0.7
"""Cosine from which on an incident is part of a change that is told already."""


class ChangeState(StrEnum):
    """What has become of a lasting change."""

    WAITING = "waiting"
    LEARNED = "learned"
    HELD = "held"
    EXPECTED = "expected"
    FAULT = "fault"
    OVER = "over"


GOING_ON = frozenset({ChangeState.WAITING, ChangeState.HELD, ChangeState.EXPECTED, ChangeState.FAULT})
NOT_LEARNED = frozenset({ChangeState.HELD, ChangeState.FAULT})


@dataclass(frozen=True, slots=True)
class LookedAt:
    """A lasting change, and what of the history may be learned because of it.

    Attributes:
        change: as it is to be stored.
        accepted: bool [n], flagged windows of the history that are learned from now on.
        standing: ids of rules that are a standing condition of the device once it is learned.
        spoken_against: bool [n], all windows of it, flagged or not, where something or somebody speaks against learning it.
    """

    change: LastingChange
    accepted: Bool
    spoken_against: Bool
    standing: tuple[str, ...] = ()

    @property
    def learns(self) -> bool:
        """Whether the change is to be learned now."""
        return bool(self.accepted.any())


def look_for_change(
    store: Store,
    device: Device,
    series: SnapshotSeries,
    flagged: Bool,
    usable: Bool,
    against_rules: Bool,
    present: Profile,
    *,
    end_ms: int,
    now_ms: int,
) -> LookedAt | None:
    """What has been new on a device for a day or longer, up to the end of its history; None where nothing is.

    Args:
        store: where earlier changes, incidents and trends are.
        device: whose.
        series: the n snapshots of the history.
        flagged: bool [n], anomalous ones.
        usable: bool [n], those that nothing but a flag or a rule speaks against.
        against_rules: bool [n], those that a rule of level 3 or above speaks against.
        present: the profile that flagged them; it needs a detector.
        end_ms: end of the history.
        now_ms: the present.
    """
    from hvac_platform.detection.learned import residuals_of, values_of

    assert present.detector is not None
    assert present.fit is not None
    known = going_on(store, device.device_id)
    times, nothing = series.times_ms, np.zeros(len(series), dtype=np.bool_)
    residuals = residuals_of(series, present.detector)
    noise = noisier(
        times[usable],
        values_of(series, present.detector.metric_names)[usable],
        np.where(_setpoints(present.detector.metric_names, device_type(device.device_type)), np.nan, residuals)[usable],
        (~flagged & (times < present.fit.end_ms))[usable],
        end_ms,
    )
    spans = [
        change_span(times[usable], flagged[usable], end_ms - quiet * DAY_MS)
        for quiet in range(1 if known is None else OVER_AFTER_DAYS)
    ]
    if spans[0] is None and noise is None:
        if known is None:
            return None
        if not any(spans):
            return LookedAt(_moved(known, ChangeState.OVER, PLATFORM, now_ms), nothing, nothing)
        against = known.state in NOT_LEARNED or any(one["against"] for one in known.evidence)
        return LookedAt(known, nothing, (times >= known.since) & against)
    begins = [one.since for one in (known, noise) if one is not None] + [span[0] for span in spans[:1] if span]
    since = begins[0]
    if end_ms - since < TOLD_AFTER_MS:
        return None
    rows = flagged & usable & (times >= since)
    incident_id = f"{device.device_id}/{since}{LASTING_ENDING}" if known is None else known.incident_id
    found, evidence, direction, new_rules = _evidence(
        store,
        device,
        series,
        flagged,
        usable,
        against_rules,
        rows,
        present,
        residuals,
        noise,
        since,
        end_ms,
        incident_id,
    )
    if speaks_against(evidence):
        evidence = [one for one in evidence if one.about != GOES_ON]
    whole = times >= since
    if found is None:  # what is held stays so on a night that shows nothing clear, unless somebody expects it
        if known is None or known.state not in NOT_LEARNED or said_of(store, known)[0] is ChangeState.EXPECTED:
            return None
        return LookedAt(known, nothing, whole)
    if known is not None and same_way(_vector(known.signature, direction), _values(direction)) < 0.0:
        known = None  # what was told before has gone over into something else
    names = sorted(direction, key=lambda name: -abs(direction[name]))
    change = LastingChange(
        device_id=device.device_id,
        since=since,
        seen_until=end_ms,
        state=ChangeState.WAITING if known is None else known.state,
        windows=int(rows.sum()),
        share=round(float(flagged[usable & (times >= end_ms - DAY_MS)].mean()), 4),
        metrics=names[:MOST_METRICS],
        signature=direction,
        evidence=[_stored(one) for one in evidence],
        incident_id=f"{device.device_id}/{since}{LASTING_ENDING}" if known is None else known.incident_id,
        told_at=now_ms if known is None else known.told_at,
        decided_at=now_ms if known is None else known.decided_at,
        decided_by=PLATFORM if known is None else known.decided_by,
    )
    said, by = said_of(store, change)
    if said is ChangeState.FAULT:
        return LookedAt(_moved(change, said, by, now_ms), nothing, whole)
    if said is ChangeState.EXPECTED:
        return _learned(change, by, rows, against_rules, new_rules, tuple(new_rules), now_ms)
    against = change.state == ChangeState.HELD or speaks_against(evidence)
    # What grows isn't learned while it does; wear shows itself in time, and a warmer week stops growing.
    grows_only = against and not speaks_against([one for one in evidence if one.about != "growth"])
    if change.state == ChangeState.HELD or grows_only or end_ms - since < LEARNED_AFTER_MS:
        return LookedAt(change, nothing, whole if against else nothing)
    if against:
        return LookedAt(_moved(change, ChangeState.HELD, PLATFORM, now_ms), nothing, whole)
    return _learned(change, PLATFORM, rows, against_rules, new_rules, standing_rules(change), now_ms)


def _learned(
    change: LastingChange,
    by: str,
    rows: Bool,
    against_rules: Bool,
    new_rules: dict[str, Bool],
    standing: tuple[str, ...],
    now_ms: int,
) -> LookedAt:
    """A change that is learned, with the windows that only rules speak against which stand from now on."""
    evidence = list(change.evidence)
    others = [rule for rule in standing if rule not in standing_rules(change)]
    if others:
        evidence = [one for one in evidence if one["about"] != GOES_ON]
        said = f"{', '.join(others)} began with it and {'are' if len(others) > 1 else 'is'} expected, as {by} said"
        evidence.append({"about": STANDING, "against": False, "said": said, "value": 0.0, "rules": others})
    moved = _moved(replace(change, evidence=evidence), ChangeState.LEARNED, by, now_ms)
    accepted = rows & ~_against(against_rules, new_rules, standing)
    return LookedAt(moved, accepted, np.zeros_like(rows), standing)


def _against(against_rules: Bool, new_rules: dict[str, Bool], standing: Sequence[str]) -> Bool:
    """Windows that something other than standing rules speaks against."""
    stand, others = np.zeros_like(against_rules), np.zeros_like(against_rules)
    for rule, fired in new_rules.items():
        if rule in standing:
            stand |= fired
        else:
            others |= fired
    return against_rules & (others | ~stand)


def standing_rules(change: LastingChange) -> tuple[str, ...]:
    """Rules that a change makes a standing condition of its device."""
    return tuple(rule for one in change.evidence if one["about"] == STANDING for rule in one.get("rules", ()))


def rules_that_go_on(change: LastingChange) -> tuple[str, ...]:
    """Rules that go on firing when a change is learned."""
    return tuple(rule for one in change.evidence if one["about"] == GOES_ON for rule in one.get("rules", ()))


def expected_since(store: Store, device_id: str, now_ms: int) -> list[LastingChange]:
    """Changes that were learned, and of which somebody has said since that they are expected, their rules with them."""
    found = []
    for change in LastingChange.read(store, device_id):
        rules = rules_that_go_on(change)
        if change.state != ChangeState.LEARNED or not rules:
            continue
        said, by = said_of(store, change)
        if said is ChangeState.EXPECTED:
            nothing = np.zeros(0, dtype=np.bool_)
            whole = (*standing_rules(change), *rules)
            learned = _learned(change, by, nothing, nothing, {}, whole, now_ms).change
            found.append(replace(learned, decided_at=now_ms, decided_by=by))
    return found


def going_on(store: Store, device_id: str) -> LastingChange | None:
    """The change of a device that is told and neither learned nor over; None where there is none."""
    found = [one for one in LastingChange.read(store, device_id) if one.state in GOING_ON]
    return found[-1] if found else None


def part_of_change(change: LastingChange | None, incident: Incident) -> bool:
    """Whether an incident is the same that a lasting change was told for; one with another rule is not."""
    if change is None or incident.ended_at <= change.since or not incident.signature:
        return False
    ruled = any(one["about"] == "rule" and one["against"] for one in change.evidence)
    if not ruled and not set(incident.rules) <= {*standing_rules(change), *rules_that_go_on(change)}:
        return False
    alike = same_way(_vector(change.signature, incident.signature), _values(incident.signature))
    both_ways = any(one["about"] == "noise" for one in change.evidence)
    return (abs(alike) if both_ways else alike) >= PART_OF


def said_of(store: Store, change: LastingChange) -> tuple[ChangeState | None, str]:
    """What somebody said of a change, by the incident that tells of it, and who; (None, "") where nobody has."""
    handling = IncidentHandling.first(store, change.device_id, equals={"incident_id": change.incident_id})
    if handling is None:
        return None, ""
    labels = [label.strip().lower() for label in handling.labels]
    by = handling.actor if handling.actor != PLATFORM else "a label"
    if handling.state == State.FALSE_ALARM or EXPECTED_LABEL in labels:
        return ChangeState.EXPECTED, by
    if labels:
        return ChangeState.FAULT, by
    return None, ""


def called_fault_since(store: Store, device_id: str, now_ms: int) -> list[LastingChange]:
    """Changes that were learned, and of which somebody has said since that they are a fault, in that state."""
    learned = [one for one in LastingChange.read(store, device_id) if one.state == ChangeState.LEARNED]
    found = []
    for change in learned:
        said, by = said_of(store, change)
        if said is ChangeState.FAULT:
            found.append(_moved(change, ChangeState.FAULT, by, now_ms))
    return found


def spans_of_faults(store: Store, device_id: str) -> list[tuple[int, int]]:
    """Spans of lasting changes that somebody calls a fault: nothing of them is learned."""
    found = LastingChange.read(store, device_id, only=("since", "seen_until", "state"))
    return [(one.since, one.seen_until) for one in found if one.state == ChangeState.FAULT]


def evidence_line(evidence: StoredEvidence) -> str:
    """One piece of evidence, and which way it speaks."""
    way = "against" if evidence["against"] else "beside" if evidence["about"] == GOES_ON else "for"
    return f"{way}: {evidence['said']}"


def sentence_of(change: LastingChange) -> str:
    """What is told of a change, in a sentence."""
    since = iso(change.since)[:16] + "Z"
    told = f"operates differently since {since}"
    moved = ", ".join(change.metrics[:3])
    told += f" ({moved})" if moved else ""
    stand, on = standing_rules(change), rules_that_go_on(change)
    rest = f"; {', '.join(stand)} {'stand' if len(stand) > 1 else 'stands'} for it and no longer fires" if stand else ""
    rest += f"; but {', '.join(on)} {'go' if len(on) > 1 else 'goes'} on until somebody says expected" if on else ""
    ending = {
        ChangeState.WAITING: "expected or a fault? It is learned two days after it began unless somebody says fault",
        ChangeState.LEARNED: f"learned as normal, decided by {change.decided_by}{rest}",
        ChangeState.EXPECTED: f"expected, as {change.decided_by} said: it is learned tonight",
        ChangeState.HELD: "not learned, for something speaks against it: expected or a fault?",
        ChangeState.FAULT: f"a fault, as {change.decided_by} said: it is not learned",
        ChangeState.OVER: "it is over",
    }[ChangeState(change.state)]
    return f"{told}: {ending}"


def _moved(change: LastingChange, state: ChangeState, by: str, now_ms: int) -> LastingChange:
    if change.state == state:
        return change
    return replace(change, state=str(state), decided_at=now_ms, decided_by=by)


def _setpoints(names: Sequence[str], declared: DeviceType | None) -> Bool:
    """Which of m metrics are setpoints, bool [m]: no sensor of theirs becomes noisier."""
    classes = [declared.point(n).brick or "" if declared is not None and n in declared.index else "" for n in names]
    return np.array([name.endswith("Setpoint") for name in classes], dtype=np.bool_)


def _stored(evidence: Evidence) -> StoredEvidence:
    value = evidence.value if np.isfinite(evidence.value) else 0.0
    stored: StoredEvidence = {
        "about": evidence.about,
        "against": evidence.against,
        "said": evidence.said,
        "value": round(value, 4),
    }
    if evidence.rules:
        stored["rules"] = list(evidence.rules)
    return stored


def _values(direction: dict[str, float]) -> NDArray[np.float64]:
    return np.array(list(direction.values()), dtype=np.float64)


def _vector(direction: dict[str, float], like: dict[str, float]) -> NDArray[np.float64]:
    return np.array([direction.get(name, 0.0) for name in like], dtype=np.float64)


def _evidence(
    store: Store,
    device: Device,
    series: SnapshotSeries,
    flagged: Bool,
    usable: Bool,
    against_rules: Bool,
    rows: Bool,
    present: Profile,
    residuals: NDArray[np.float64],
    noise: Noise | None,
    since: int,
    end_ms: int,
    incident_id: str,
) -> tuple[Learned | None, list[Evidence], dict[str, float], dict[str, Bool]]:
    """What the flagged windows of a change show, and where rules that began with it fire, bool [n] each.

    (None, …) where its days don't go the same way.
    """
    import pandas as pd

    from hvac_platform.detection.fault_kinds import likely_kinds, sensor_evidence
    from hvac_platform.detection.learned import examine_windows, values_of
    from hvac_platform.detection.signatures import signature

    assert present.detector is not None
    detector, declared = present.detector, device_type(device.device_type)
    chosen = np.zeros(len(series), dtype=np.bool_)
    chosen[np.flatnonzero(rows)[-MOST_EXAMINED:]] = True
    if chosen.sum() < 2:
        return None, [], {}, {}
    learned, _ = examine_windows(series, chosen, detector)
    if (learned.anomalous | (learned.surprise > ODD)).mean() < LEAST_ODD:
        return None, [], {}, {}  # rules alone speak: to learn what is normal anyway would not quieten them
    names = list(detector.metric_names)
    after = usable & (series.times_ms >= since)
    before = usable & ~flagged & (series.times_ms < since)
    values = values_of(series, names)
    moved_by = learned.sigmas
    if noise is not None:  # both ways: the way it went up stands for both
        moved_by = np.where(learned.sigmas[:, [noise.metric]] < 0.0, -1.0, 1.0) * learned.sigmas
    size = np.arcsinh(moved_by)
    last = learned.times_ms >= end_ms - DAY_MS
    earlier = (learned.times_ms < end_ms - DAY_MS) & (learned.times_ms >= end_ms - 2 * DAY_MS)
    days = [size[part].mean(axis=0) for part in (earlier, last) if part.sum() >= 2]
    if len(days) == 2 and same_way(*days) < SAME_WAY:
        return None, [], {}, {}
    sigmas = pd.DataFrame(learned.sigmas, columns=names)
    try:
        looks = signature(sigmas)
    except ValueError:
        return None, [], {}, {}
    found: list[Evidence] = []
    found += _labels(store, device, since, end_ms)
    moved = setpoint_evidence(names, values[before], values[after], declared)
    sensor = sensor_evidence(
        sigmas,
        detector.levels.precision,
        pd.DataFrame(learned.observed, columns=names),
        pd.Series(learned.reason),
        pd.Series(np.array(names, dtype=object)[learned.top]),
        device.device_type,
    )
    of_sensor, name = _of_a_sensor(series, detector, learned, residuals, rows, after & ~flagged, since, sensor)
    if noise is not None:
        of_sensor = [one for one in of_sensor if not one.against]
    exchanged = any(not one.against for one in of_sensor)
    began = rules_of_change(series, declared, before, after)
    found += _of_rules(
        series, incident_id, declared, began, learned, names, name if exchanged else "", after, against_rules
    )
    found += of_sensor
    if not of_sensor:
        found += moved
    by_setpoint = bool(moved) and not of_sensor
    kinds = likely_kinds(looks, device.device_type, evidence=sensor)
    if not exchanged:
        if noise is None:
            found += kind_evidence(kinds, moved_setpoint=by_setpoint, share=float(flagged[after].mean()))
        found += _energy(series, after, device, present, moved_setpoint=by_setpoint)
        found += noise_evidence(names, noise) or swing_evidence(names, values[before], values[after])
        if noise is None and len(days) == 2 and since < end_ms - 1.5 * DAY_MS:
            found += growth_evidence(*days)
    found += _wear(store, device, names, looks)
    found += weather_evidence(names, values[before], learned.observed, declared)
    if noise is not None:
        looks = signature(pd.DataFrame(moved_by, columns=names))
    direction = {str(name): round(float(value), 6) for name, value in looks.items()}
    return learned, found, direction, {one.rule.id: one.fired for one in began}


def _of_rules(
    series: SnapshotSeries,
    incident_id: str,
    declared: DeviceType | None,
    began: list[RuleOfChange],
    learned: Learned,
    names: Sequence[str],
    exchanged: str,
    after: Bool,
    against_rules: Bool,
) -> list[Evidence]:
    """What rules say: those that an exchanged sensor explains stand for it, others speak against learning, or go on."""
    found: list[Evidence] = []
    explained: list[RuleOfChange] = []
    if exchanged and began and declared is not None:
        j = names.index(exchanged)
        offset = float(np.nanmedian(learned.observed[:, j] - learned.expected[:, j]))
        explained = explained_by_offset(began, series, declared, exchanged, offset, after)
        if explained:
            ids, point = tuple(one.rule.id for one in explained), declared.point(exchanged)
            said = (
                f"{', '.join(ids)} would not fire, did {exchanged} read {abs(offset):.2g} {point.unit or ''}".rstrip()
                + f" {'less' if offset > 0 else 'more'}, as the sensor before did"
            )
            found.append(Evidence(STANDING, False, said, offset, ids))
    left = _against(against_rules, {one.rule.id: one.fired for one in began}, [one.rule.id for one in explained])
    stand = {one.rule.id for one in explained}
    fired = [f for f in rule_firings(select(series, after), declared) if f.level <= URGENT and f.fired.any()]
    ids_fired = dict.fromkeys(f.rule.id if f.rule is not None else "a hard limit" for f in fired)
    found += rule_evidence(float(left[after].mean()), [one for one in ids_fired if one not in stand])
    going = [one for one in began if one.rule.id not in stand and one.rule.level > URGENT]
    if going:
        ids = tuple(one.rule.id for one in going)
        titles = ", ".join(f"{one.rule.id} ({one.rule.title})" for one in going)
        share = max(one.share for one in going)
        said = (
            f"{titles} fires in {share:.0%} of the windows since, and goes on when the change is learned. If it is as it "
            f"should be: hvac incidents label {incident_id} {EXPECTED_LABEL}"
        )
        found.append(Evidence(GOES_ON, False, said, share, ids))
    return found


def _of_a_sensor(
    series: SnapshotSeries,
    detector: FittedDetector,
    learned: Learned,
    residuals: NDArray[np.float64],
    rows: Bool,
    unflagged: Bool,
    since: int,
    likely: SensorEvidence,
) -> tuple[list[Evidence], str]:
    """Whether one sensor has changed, and which: that paused when the change began, else that most speaks for it.

    Of sensors that nearly say the same, such as humidities, any looks wrong where one is; the pause tells which.
    """
    from hvac_platform.detection.fault_kinds import alone
    from hvac_platform.detection.learned import values_of

    times, names = series.times_ms, list(detector.metric_names)
    begun = int(times[rows][int(STRAY * rows.sum())])
    heard = np.isfinite(series.mean).mean(axis=1) >= 0.5
    begin = heard & (times >= since - AROUND_BEGIN_MS) & (times < begun + AROUND_BEGIN_MS)
    before = heard & (times < since - AROUND_BEGIN_MS)
    read = np.isfinite(values_of(series, names))
    found: list[tuple[Evidence, str]] = []
    for j, name in enumerate(names):
        pause = was_exchanged(read[begin, j], read[before, j], series.window_ms)
        if pause:
            likeness = alone(learned.sigmas, detector.levels.precision, j)
            found += [(one, name) for one in sensor_evidence_of(name, likeness, pause, all_day=True)]
    if found:
        most, name = max(found, key=lambda one: one[0].value)
        return [most], name
    j = names.index(likely.metric)
    all_day = departs_all_day(residuals[rows, j], residuals[unflagged & (times >= begun), j])
    return sensor_evidence_of(likely.metric, likely.alone, 0, all_day=all_day), likely.metric


def _labels(store: Store, device: Device, since: int, end_ms: int) -> list[Evidence]:
    """What people said of incidents of the change, and of earlier ones that are like them."""
    found = []
    incidents = [i for i in Incident.read(store, device.device_id, (since - DAY_MS, end_ms)) if i.ended_at > since]
    for incident in incidents:
        if LASTING in incident.methods:
            continue
        like = next((s for s in incident.similar if s["known"] and s["label"]), None)
        if incident.label:
            found.append(Evidence("label", True, f"{incident.incident_id} was labelled: {incident.label}"))
        elif like is not None:
            said = f"{incident.incident_id} is like {like['incident_id']}, which was: {like['label']}"
            found.append(Evidence("label", True, said, like["similarity"]))
    return found[:2]


def _energy(
    series: SnapshotSeries, after: Bool, device: Device, present: Profile, *, moved_setpoint: bool
) -> list[Evidence]:
    from hvac_platform.detection.learned import frame_of
    from hvac_platform.monitoring.energy import power_frame

    if present.energy is None or not after.any():
        return []
    frame = power_frame(frame_of(select(series, after)), device.device_type)
    excess, expected = present.energy.excess(frame), present.energy.expected(frame)
    return energy_evidence(
        excess.to_numpy(dtype=np.float64), expected.to_numpy(dtype=np.float64), moved_setpoint=moved_setpoint
    )


def _wear(store: Store, device: Device, names: Sequence[str], looks: object) -> list[Evidence]:
    """Slow degradation of a metric that is in the change."""
    import pandas as pd

    direction = cast("pd.Series", looks).abs()
    moved = set(direction[direction >= 0.2].index)
    worn = [t for t in MetricTrend.read(store, device.device_id) if t.since is not None and t.metric in moved]
    return [
        Evidence("trend", True, f"{t.metric} has degraded slowly since {iso(t.since or 0)[:10]}", t.sigmas)
        for t in worn[:1]
    ]
