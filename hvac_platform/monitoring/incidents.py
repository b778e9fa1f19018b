"""Incidents on the store: anomalous windows that belong together, why, what they resemble and cost; and data losses."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hvac_platform.detection.evaluation import MERGE_MS
from hvac_platform.detection.incidents import (
    Cause,
    FleetEvent,
    data_losses,
    fleet_events,
    group_windows,
    incident_level,
    severity,
)
from hvac_platform.detection.methods import knows_limits, method_names
from hvac_platform.detection.profile import Profile
from hvac_platform.devices.registry import device_type
from hvac_platform.monitoring.data_loss import DATA_LOSS, DataLoss
from hvac_platform.monitoring.profiles import load_profile
from hvac_platform.monitoring.wide_devices import metrics_to_read
from hvac_platform.stores.base import Device, Store
from hvac_platform.stores.batches import TableBatch
from hvac_platform.stores.records import AnomalyEvent, Incident, SimilarIncident, StoredKind, Verdict
from hvac_platform.stores.series import read_series
from hvac_platform.timestamps import DAY_MS, iso

if TYPE_CHECKING:
    import pandas as pd

    from hvac_platform.detection.learned import Learned

BEYOND_MS = 2 * DAY_MS  # an incident of a day is looked for so far on both sides; one that lasts longer, further
FURTHEST_MS = 64 * DAY_MS
LIBRARY_MS = 180 * DAY_MS
MOST_REASONS, MOST_METRICS, MOST_SIMILAR = 6, 6, 5
MOST_EXAMINED = 720
"""Windows of an incident that its signature rests on: of a long one the first half day."""
LEADING_HOURS = 4
MOST = 0.75

_RULE_ID = re.compile(r"\((\S+)\)$")


@dataclass(frozen=True, slots=True)
class IncidentWindows:
    """The k anomalous windows of one incident of a device, with what each method said.

    Attributes:
        device: the device.
        times_ms: int64 [k], window starts.
        window_ms: length of a window.
        verdicts: anomalous verdicts of the windows.
    """

    device: Device
    times_ms: NDArray[np.int64]
    window_ms: int
    verdicts: list[Verdict]

    @property
    def start_ms(self) -> int:
        """Start of the first window."""
        return int(self.times_ms[0])

    @property
    def end_ms(self) -> int:
        """End of the last window."""
        return int(self.times_ms[-1]) + self.window_ms

    @property
    def incident_id(self) -> str:
        """The same in every run: device and start."""
        return f"{self.device.device_id}/{self.start_ms}"


@dataclass
class PastIncidents:
    """Signatures of past incidents by device type, read when first asked for.

    Attributes:
        store: where they are.
        since_ms: earliest start.
    """

    store: Store
    since_ms: int
    _by_type: dict[str, list[Incident]] = field(default_factory=dict)

    def of_type(self, name: str) -> list[Incident]:
        """Incidents of all devices of a type that have a signature: which they are, it, and what was said of them."""
        if name not in self._by_type:
            only = ("device_id", "started_at", "incident_id", "signature", "label")
            self._by_type[name] = [
                past
                for device in self.store.devices()
                if device.device_type == name
                for past in Incident.read(self.store, device.device_id, (self.since_ms, None), only=only)
                if past.signature
            ]
        return self._by_type[name]

    def add(self, incident: Incident) -> None:
        """Put an incident that was just computed in the place of what was known of it."""
        known = self.of_type(incident.device_type)
        known[:] = [other for other in known if other.incident_id != incident.incident_id]
        if incident.signature:
            known.append(incident)


def incident_spans(store: Store, device_id: str, window_ms: int, start_ms: int, end_ms: int) -> list[NDArray[np.int64]]:
    """Windows of every incident that reaches into [start_ms, end_ms), each int64 [k], complete on both sides."""
    before, after = BEYOND_MS, BEYOND_MS
    while True:
        low, high = start_ms - before, end_ms + after
        times = AnomalyEvent.times(store, device_id, (low, high))
        groups = [times[a : b + 1] for a, b in group_windows(times, window_ms)]
        chosen = [g for g in groups if g[0] < end_ms and g[-1] + window_ms > start_ms]
        cut_before = bool(chosen) and int(chosen[0][0]) - low <= MERGE_MS and before < FURTHEST_MS
        cut_after = bool(chosen) and high - int(chosen[-1][-1]) <= MERGE_MS + window_ms and after < FURTHEST_MS
        if not cut_before and not cut_after:
            return chosen
        before, after = before * (4 if cut_before else 1), after * (4 if cut_after else 1)


def incident_batches(
    store: Store,
    device: Device,
    window_ms: int,
    start_ms: int,
    end_ms: int,
    *,
    now_ms: int,
    past: PastIncidents,
    losses: Sequence[DataLoss],
    only_changed: bool = False,
) -> Iterator[TableBatch]:
    """Rows of ``incidents`` for what reaches into [start_ms, end_ms); incidents that no longer exist are taken back.

    What somebody said of an incident (its label) goes over to the one that takes its place.

    Args:
        store: where events and verdicts are.
        device: whose.
        window_ms: length of a window.
        start_ms: start of the span.
        end_ms: its end.
        now_ms: the present.
        past: incidents to compare with.
        losses: spans in which nothing came of the device; each is an incident.
        only_changed: leave out incidents with the same windows as when they were last computed.
    """
    spans = incident_spans(store, device.device_id, window_ms, start_ms, end_ms)
    found = {*(int(span[0]) for span in spans), *(loss.start_ms for loss in losses)}
    known = {
        incident.started_at: incident
        for incident in Incident.read(store, device.device_id, (min([start_ms - BEYOND_MS, *found]), end_ms))
        if incident.ended_at > start_ms or incident.started_at in found
    }
    gone = [incident for t, incident in known.items() if t not in found]
    if gone:
        keys = Incident.columns(gone, only=("device_id", "started_at"))
        yield TableBatch(keys, table=Incident.TABLE, action="delete")
    for loss in losses:
        incident = data_loss_incident(device, loss, window_ms, now_ms=now_ms)
        present = known.get(loss.start_ms)
        if not only_changed or not _unchanged(present, incident.ended_at, incident.status):
            yield _batch(incident)
    profile: Profile | None = None
    loaded = False
    for span in spans:
        ended = int(span[-1]) + window_ms
        present = known.get(int(span[0]))
        status = "open" if ended + MERGE_MS >= device.last_seen else "closed"
        if only_changed and _unchanged(present, ended, status, len(span)):
            continue
        if not loaded:
            profile, loaded = load_profile(store, device.device_id), True
        windows = IncidentWindows(device, span, window_ms, _verdicts(store, device.device_id, span, window_ms))
        incident = windows_incident(store, windows, profile, past, status=status, now_ms=now_ms)
        said = [old.label for old in gone if old.label and old.ended_at > int(span[0]) and old.started_at < ended]
        label = present.label if present is not None else next(iter(said), None)
        incident = replace(incident, label=label)
        past.add(incident)
        yield _batch(incident, with_label=present is None and label is not None)


def _unchanged(present: Incident | None, ended_at: int, status: str, windows: int | None = None) -> bool:
    """Whether an incident was computed before from as many windows (of a data loss: up to the same end)."""
    return (
        present is not None
        and (present.ended_at, present.status) == (ended_at, status)
        and windows in (None, present.windows)
    )


def _batch(incident: Incident, *, with_label: bool = False) -> TableBatch:
    """An incident to write; what somebody says of it meanwhile stays, unless it brings a label of its own."""
    return TableBatch(Incident.columns([incident], only=() if with_label else Incident.all_but("label")))


def _verdicts(store: Store, device_id: str, span: NDArray[np.int64], window_ms: int) -> list[Verdict]:
    wanted = set(span.tolist())
    found = Verdict.read(store, device_id, (int(span[0]), int(span[-1]) + window_ms))
    return [verdict for verdict in found if verdict.anomalous and verdict.snapshot_time in wanted]


def windows_incident(
    store: Store, incident: IncidentWindows, profile: Profile | None, past: PastIncidents, *, status: str, now_ms: int
) -> Incident:
    """The incident of some windows: what methods said, and what the device's detector and energy model add."""
    device, verdicts = incident.device, incident.verdicts
    position = {int(t): i for i, t in enumerate(incident.times_ms)}
    levels, votes = np.zeros(len(position), dtype=np.int64), np.zeros(len(position), dtype=np.int64)
    scores = np.full(len(position), np.nan)
    for verdict in verdicts:
        i = position[verdict.snapshot_time]
        if knows_limits(verdict.method):
            levels[i] = verdict.level
        else:
            votes[i] += 1
            scores[i] = np.fmax(scores[i], verdict.score)
    rules = Counter(
        found[1]
        for verdict in verdicts
        if knows_limits(verdict.method)
        for reason in verdict.reasons
        if (found := _RULE_ID.search(reason))
    )
    made = replace(
        blank_incident(device, incident.start_ms, incident.end_ms, incident_level(levels, scores, votes)),
        status=status,
        windows=len(position),
        peak_score=float(max((v.score for v in verdicts), default=1.0)),
        methods=dict(Counter(v.method for v in verdicts)),
        rules=[name for name, _ in rules.most_common()],
        metrics=_leading_metrics(verdicts),
        reasons=_telling_reasons(verdicts),
        updated_at=now_ms,
    )
    return made if profile is None else _with_learned(made, store, incident, profile, past)


def data_loss_incident(device: Device, loss: DataLoss, window_ms: int, *, now_ms: int) -> Incident:
    """The incident of a data loss; its score is how unusual the length is."""
    length = loss.end_ms - loss.start_ms
    return replace(
        blank_incident(device, loss.start_ms, loss.end_ms, loss.level),
        status="closed" if loss.over else "open",
        windows=length // window_ms,
        peak_score=length / loss.longest_ms,
        methods={DATA_LOSS: length // window_ms},
        reasons=[loss.reason],
        updated_at=now_ms,
    )


def blank_incident(device: Device, start_ms: int, end_ms: int, level: int) -> Incident:
    """What every incident has, and empty what only windows or a detector can tell."""
    return Incident(
        device_id=device.device_id,
        started_at=start_ms,
        ended_at=end_ms,
        incident_id=f"{device.device_id}/{start_ms}",
        status="",
        severity=str(severity(level)),
        level=level,
        windows=0,
        peak_score=0.0,
        methods={},
        rules=[],
        metrics=[],
        reasons=[],
        signature={},
        kinds=[],
        similar=[],
        scope="local",
        cause="",
        excess_kwh=None,
        device_type=device.device_type,
        location=device.location,
        building_id=device.building_id,
        updated_at=0,
        label=None,
        parent_id=None,
    )


def _leading_metrics(verdicts: Sequence[Verdict]) -> list[str]:
    """Metrics that verdicts name, each window's first one counting most."""
    weight: Counter[str] = Counter()
    for verdict in verdicts:
        for rank, name in enumerate(verdict.metrics):
            weight[name] += 6 // (rank + 1)
    return [name for name, _ in weight.most_common(MOST_METRICS)]


def _telling_reasons(verdicts: Sequence[Verdict]) -> list[str]:
    """What methods said: of each rule and of each metric the sentence of the worst window, then the nearest past state."""
    chosen: dict[tuple[str, str], str] = {}
    for verdict in sorted(verdicts, key=lambda v: (_rank(v.method), v.level, -v.score)):
        method, metrics = verdict.method, verdict.metrics
        for position, reason in enumerate(verdict.reasons):
            if knows_limits(method):
                found = _RULE_ID.search(reason)
                about = found[1] if found else " ".join(reason.split()[:3])
            else:
                about = metrics[position] if position < len(metrics) else ""
            chosen.setdefault((method, about), reason)
    by_rules = [reason for (method, _), reason in chosen.items() if knows_limits(method)]
    others = [reason for (method, _), reason in chosen.items() if not knows_limits(method)]
    return [*by_rules[: MOST_REASONS // 2], *others][:MOST_REASONS]


def _rank(method: str) -> int:
    """Place of a method among those that there are; one that a store has and this code doesn't know comes last."""
    names = method_names()
    return names.index(method) if method in names else len(names)


def _with_learned(
    made: Incident, store: Store, incident: IncidentWindows, profile: Profile, past: PastIncidents
) -> Incident:
    """What the device's detector and energy model add: signature, likely kinds, what is similar, excess energy."""
    from hvac_platform.detection.learned import context_start, examine_windows, frame_of

    device = incident.device
    times = incident.times_ms[:MOST_EXAMINED]
    begin_ms = min(context_start(incident.start_ms, incident.window_ms), incident.start_ms - 3_600_000)
    series = read_series(
        store,
        device.device_id,
        device.device_type,
        begin_ms,
        incident.end_ms,
        metrics=metrics_to_read(store, device, begin_ms, incident.end_ms, profile),
    )
    if not len(series):
        return made
    if profile.energy is not None:
        made = replace(made, excess_kwh=incident_excess_kwh(frame_of(series), incident, profile))
    if profile.detector is None:
        return made
    learned, _ = examine_windows(series, np.isin(series.times_ms, times), profile.detector)
    direction, kinds = _direction_and_kinds(learned, profile, device.device_type)
    return replace(made, signature=direction, kinds=kinds, similar=similar_incidents(incident, direction, past))


def _direction_and_kinds(
    learned: Learned, profile: Profile, type_name: str
) -> tuple[dict[str, float], list[StoredKind]]:
    import pandas as pd

    from hvac_platform.detection.fault_kinds import likely_kinds, sensor_evidence
    from hvac_platform.detection.signatures import signature

    assert profile.detector is not None
    names = list(profile.detector.metric_names)
    sigmas = pd.DataFrame(learned.sigmas, columns=names)
    try:
        direction = signature(sigmas)
    except ValueError:  # no readings, or nothing deviates: rules alone spoke
        return {}, []
    evidence = sensor_evidence(
        sigmas,
        profile.detector.levels.precision,
        pd.DataFrame(learned.observed, columns=names),
        pd.Series(learned.reason),
        pd.Series(np.array(names, dtype=object)[learned.top]),
        type_name,
    )
    kinds = likely_kinds(direction, type_name, evidence=evidence)
    return (
        {str(name): round(float(value), 6) for name, value in direction.items()},
        [{"kind": k.kind, "title": k.title, "similarity": round(k.similarity, 4)} for k in kinds],
    )


def similar_incidents(
    incident: IncidentWindows, direction: Mapping[str, float], past: PastIncidents
) -> list[SimilarIncident]:
    """Earlier incidents whose deviation points the same way, on this device and on others of its type, most alike first."""
    import pandas as pd

    from hvac_platform.detection.signatures import most_similar

    if not direction:
        return []
    earlier = {
        other.incident_id: other
        for other in past.of_type(incident.device.device_type)
        if other.started_at < incident.start_ms and other.incident_id != incident.incident_id
    }
    signatures = {name: pd.Series(other.signature, dtype=np.float64) for name, other in earlier.items()}
    matches = most_similar(pd.Series(dict(direction), dtype=np.float64), signatures)[:MOST_SIMILAR]
    return [
        {
            "incident_id": match.incident,
            "device_id": earlier[match.incident].device_id,
            "started_at": earlier[match.incident].started_at,
            "similarity": round(match.similarity, 4),
            "known": match.known,
            "label": earlier[match.incident].label,
        }
        for match in matches
        if match.similarity > 0
    ]


def incident_excess_kwh(frame: pd.DataFrame, incident: IncidentWindows, profile: Profile) -> float | None:
    """Energy beyond the expected from the incident's start to its end, kWh; None where no window can be compared."""
    import pandas as pd

    from hvac_platform.detection.energy import kwh
    from hvac_platform.monitoring.energy import power_frame

    if profile.energy is None:
        return None
    excess = profile.energy.excess(power_frame(frame, incident.device.device_type))
    inside = excess.loc[
        pd.Timestamp(incident.start_ms, unit="ms", tz="UTC") : pd.Timestamp(incident.end_ms - 1, unit="ms", tz="UTC")
    ]
    return kwh(inside, pd.Timedelta(milliseconds=incident.window_ms)) if inside.notna().any() else None


# -- fleet-wide events ---------------------------------------------------------------------------------------------------


def fleet_scope_batches(store: Store, window_ms: int, start_ms: int, end_ms: int) -> Iterator[TableBatch]:
    """Updates of ``incidents`` that began in a span: which belong to an event of many devices, and its likely cause."""
    begin = start_ms - LEADING_HOURS * 3_600_000
    incidents = Incident.read(store, None, (begin, end_ms))
    devices = store.devices()
    event_of = {i: event for event in fleet_events_of(store, incidents, devices, window_ms) for i in event.incidents}
    changed = [
        replace(incident, scope=scope, cause=cause)
        for i, incident in enumerate(incidents)
        for scope, cause in [("fleet", _told(event_of[i])) if i in event_of else ("local", "")]
        if (incident.scope, incident.cause) != (scope, cause)
        and (i in event_of or incident.started_at >= start_ms)  # what began earlier is seen in part only
    ]
    if changed:
        columns = Incident.columns(changed, only=("device_id", "started_at", "scope", "cause"))
        yield TableBatch(columns, table=Incident.TABLE, action="update")


def fleet_events_of(
    store: Store, incidents: Sequence[Incident], devices: Sequence[Device], window_ms: int
) -> list[FleetEvent]:
    """Events that many devices entered together, among some incidents."""
    if len({incident.device_id for incident in incidents}) < 3:
        return []
    leading = [sorted(i.signature, key=lambda name: -abs(i.signature[name])) or i.metrics for i in incidents]
    types = {d.device_id: declared for d in devices if (declared := device_type(d.device_type)) is not None}
    found = fleet_events(
        np.array([incident.started_at for incident in incidents], dtype=np.int64),
        [incident.device_id for incident in incidents],
        leading,
        np.array([_lost(store, incident, window_ms) for incident in incidents], dtype=np.bool_),
        fleet={d.device_id: d.building_id for d in devices},
        device_types=types,
    )
    # Without a cause that explains it, coincidence is the better explanation unless nearly all devices take part.
    return [event for event in found if event.cause is not Cause.UNKNOWN or len(event.devices) >= MOST * len(devices)]


def _lost(store: Store, incident: Incident, window_ms: int) -> bool:
    """Whether nothing new came of the device for most of the incident."""
    if DATA_LOSS in incident.methods:
        return True
    begin, end = incident.started_at, incident.ended_at
    series = read_series(store, incident.device_id, incident.device_type, begin, end)
    quiet = sum(b - a for a, b in data_losses(series.times_ms, series.mean, window_ms, until_ms=end))
    return bool(2 * quiet > end - begin)


def _told(event: FleetEvent) -> str:
    where = f"building {event.building}" if event.building else "the whole fleet"
    return f"{event.cause} ({len(event.devices)} devices of {where} from {iso(event.start_ms)[:16]}Z)"
