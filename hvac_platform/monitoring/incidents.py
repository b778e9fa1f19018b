"""Incidents on the store: anomalous windows that belong together, why, what they resemble and cost; and data losses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hvac_platform.config import Settings
from hvac_platform.detection.incidents import (
    Cause,
    FleetEvent,
    data_losses,
    fleet_events,
    incident_level,
    outdoor_metrics,
    severity,
)
from hvac_platform.detection.methods import knows_limits, method_names
from hvac_platform.detection.profile import Profile
from hvac_platform.devices.registry import device_type
from hvac_platform.devices.topology import Topology
from hvac_platform.monitoring.data_loss import DATA_LOSS, DataLoss
from hvac_platform.monitoring.incident_identity import Found, Identity, identify
from hvac_platform.monitoring.incident_windows import BEYOND_MS, RULE_ID, Grouping, fault_windows, loss_windows
from hvac_platform.monitoring.lasting import LASTING
from hvac_platform.monitoring.lifecycle import LASTING_ENDING, PROVISIONAL, WordsOfPeople, words_of_people
from hvac_platform.monitoring.notifying import Known
from hvac_platform.monitoring.plant_faults import PLANT, PlantScope, plant_scopes
from hvac_platform.monitoring.profiles import load_profile
from hvac_platform.monitoring.provisional import awaits_judgement
from hvac_platform.monitoring.site_topology import topology_of_site
from hvac_platform.monitoring.stopped_points import FURTHEST_MS, STOPPED, StoppedPoints, of_same_stop, stopped_points
from hvac_platform.monitoring.wide_devices import metrics_to_read
from hvac_platform.monitoring.worth import NO_PRICES, Prices
from hvac_platform.stores.base import Device, Store
from hvac_platform.stores.batches import TableBatch
from hvac_platform.stores.records import Incident, SimilarIncident, StoredKind, Verdict
from hvac_platform.stores.series import read_series
from hvac_platform.timestamps import DAY_MS, iso

if TYPE_CHECKING:
    import pandas as pd

    from hvac_platform.detection.learned import Learned

LIBRARY_MS = 180 * DAY_MS
MOST_REASONS, MOST_METRICS, MOST_SIMILAR = 6, 6, 5
MOST_EXAMINED = 720
"""Windows of an incident that its signature rests on: of a long one the first half day."""
LEADING_HOURS = 4
MOST = 0.75


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
            only = ("device_id", "started_at", "ended_at", "incident_id", "signature", "label")
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


@dataclass
class IncidentChanges:
    """What became of the incidents of one device in a pass, for the history of each.

    Attributes:
        present: start by id of those that there are.
        merged: those that others took in, with the id of the other.
        gone: whether there were some whose windows are not anomalous any more.
    """

    present: dict[str, int] = field(default_factory=dict)
    merged: dict[str, str] = field(default_factory=dict)
    gone: bool = False


def incident_batches(
    store: Store,
    device: Device,
    grouping: Grouping,
    start_ms: int,
    end_ms: int,
    *,
    now_ms: int,
    past: PastIncidents,
    losses: Sequence[DataLoss],
    points: bool = True,
    only_changed: bool = False,
    changes: IncidentChanges | None = None,
    prices: Prices = NO_PRICES,
) -> Iterator[TableBatch]:
    """Rows of ``incidents`` for what reaches into [start_ms, end_ms); incidents that no longer exist are taken back.

    An incident keeps its id when its windows change, see :mod:`hvac_platform.monitoring.incident_identity`. What somebody
    said of an incident (its label) goes over to the one that takes its place.

    Args:
        store: where events and verdicts are.
        device: whose.
        grouping: how windows become incidents.
        start_ms: start of the span; what ended within the quiet time before it is looked at too.
        end_ms: its end.
        now_ms: the present.
        past: incidents to compare with.
        losses: spans in which nothing came of the device; those less than the quiet time apart are one incident.
        points: look for points that have stopped too; else the incidents of such stay as they are.
        only_changed: leave out incidents with the same windows as when they were last computed.
        changes: where to put what became of them.
        prices: of energy, for what each is worth.
    """
    window_ms, begin_ms = grouping.window_ms, start_ms - grouping.quiet_ms
    of_windows = fault_windows(store, device.device_id, grouping, begin_ms, end_ms)
    losses = _expected(store, device.device_id, losses)
    of_losses = loss_windows(losses, grouping)
    # Incidents of a kind exist no longer where that kind was looked for and not found, and nowhere else.
    spans = {
        kind: [(begin_ms, end_ms), *((g.start_ms, g.end_ms(window_ms)) for g in groups)]
        for kind, groups in (("", of_windows), (DATA_LOSS, of_losses))
    }
    earliest = min(begin_ms - BEYOND_MS, *(a for of_kind in spans.values() for a, _ in of_kind))
    latest = max(b for of_kind in spans.values() for _, b in of_kind)
    near = Incident.read(store, device.device_id, (earliest - FURTHEST_MS, latest))
    stopped = stopped_points(store, device, window_ms, begin_ms, end_ms, near, grouping.quiet_ms) if points else []
    # Of points that were retired before they were an incident nobody missed anything.
    stopped = [group for group in stopped if not group.given_up or any(_is_of(incident, group) for incident in near)]
    spans[STOPPED] = [(begin_ms, end_ms)]
    known = [
        incident
        for incident in near
        if _reaches_into(incident, spans[_kind_of(incident)]) or any(_is_of(incident, group) for group in stopped)
        if points or STOPPED not in incident.methods
        if LASTING not in incident.methods  # it has no windows of its own
        if not awaits_judgement(store, incident, now_ms)
    ]
    changes = changes if changes is not None else IncidentChanges()
    said_before = Known.of(store, prices)
    present = changes.present
    said = words_of_people(store, device.device_id) if known else WordsOfPeople({}, {})

    def identified(groups: Sequence[Found], kind: str = "") -> list[Identity]:
        before = [incident for incident in known if _kind_of(incident) == kind]
        found = identify(
            device.device_id,
            groups,
            before,
            window_ms,
            closed_ms=said.closed_ms,
            in_use=lambda name: name in present or _is_used(store, device.device_id, name),
            by_fault=kind == STOPPED,
        )
        present.update({one.incident_id: one.found.start_ms for one in found})
        return found

    rows = {incident.started_at: incident for incident in known}
    profile: Profile | None = None
    loaded = False
    lost, anomalous = identified(of_losses, DATA_LOSS), identified(of_windows)
    silent = identified([group.found for group in stopped], STOPPED)
    for one in (*lost, *anomalous, *silent):
        for old in one.merged:
            present.pop(old.incident_id, None)
            changes.merged[old.incident_id] = one.incident_id
    changes.gone |= any(i.incident_id not in present and i.incident_id not in changes.merged for i in known)
    for one, kind in (
        (one, kind) for kind, ones in ((DATA_LOSS, lost), ("", anomalous), (STOPPED, silent)) for one in ones
    ):
        start, ended = one.found.start_ms, one.found.end_ms(window_ms)
        group = of_same_stop(stopped, one.found) if kind == STOPPED else None
        returned = group is None or group.over
        given_up = group is not None and group.given_up
        if kind == DATA_LOSS:
            given_up = _within(losses, one.found, window_ms)[-1].given_up
        over = one.found.over or given_up or one.incident_id in said.closed_ms
        held_open = ended <= said.reopened_ms.get(one.incident_id, -1)
        goes_on = (ended + grouping.quiet_ms >= device.last_seen or not returned or held_open) and not over
        status = "open" if goes_on else "closed"
        if only_changed and _unchanged(one, ended, status):
            continue
        if group is not None:
            incident = stopped_incident(device, group, one.found, status=status, now_ms=now_ms)
        elif kind == DATA_LOSS:
            incident = data_loss_incident(device, _within(losses, one.found, window_ms), status=status, now_ms=now_ms)
        else:
            if not loaded:
                profile, loaded = load_profile(store, device.device_id), True
            times = one.found.times_ms
            windows = IncidentWindows(device, times, window_ms, _verdicts(store, device.device_id, times, window_ms))
            incident = windows_incident(store, windows, profile, past, status=status, now_ms=now_ms)
        incident = said_before.applied(_continued(incident, one), profile.energy if profile is not None else None)
        past.add(incident)
        here = rows.get(start)
        stays = here is not None and here.incident_id == incident.incident_id
        yield _batch(incident, with_label=not stays and (here is not None or incident.label is not None))
    gone = [incident for start, incident in rows.items() if start not in present.values()]
    if gone:
        yield TableBatch(
            Incident.columns(gone, only=("device_id", "started_at")), table=Incident.TABLE, action="delete"
        )


def _expected(store: Store, device_id: str, losses: Sequence[DataLoss]) -> list[DataLoss]:
    """Losses without those that were given up before they were an incident: nobody missed anything."""
    given_up = [loss for loss in losses if loss.given_up]
    if not given_up:
        return list(losses)
    span = (min(loss.start_ms for loss in given_up) - BEYOND_MS, max(loss.end_ms for loss in given_up))
    known = Incident.read(store, device_id, span, only=("started_at", "ended_at", "methods"))
    told = [(i.started_at, i.ended_at) for i in known if DATA_LOSS in i.methods]
    return [loss for loss in losses if not loss.given_up or any(a < loss.end_ms and b > loss.start_ms for a, b in told)]


def _is_of(incident: Incident, group: StoppedPoints) -> bool:
    """Whether an incident is of some of the points that stopped, from the time in which they did."""
    return (
        STOPPED in incident.methods
        and group.found.overlaps(incident.started_at, incident.ended_at)
        and not group.found.faults.isdisjoint(incident.metrics)
    )


def _is_used(store: Store, device_id: str, incident_id: str) -> bool:
    """Whether an incident of the device has an id."""
    return Incident.first(store, device_id, only=("incident_id",), equals={"incident_id": incident_id}) is not None


def _unchanged(one: Identity, ended_at: int, status: str) -> bool:
    """Whether an incident was computed before from as many windows."""
    before = one.before
    return (
        before is not None
        and not one.merged
        and PROVISIONAL not in before.methods
        and (before.started_at, before.ended_at, before.status, before.windows)
        == (one.found.start_ms, ended_at, status, len(one.found.times_ms))
    )


def _continued(incident: Incident, one: Identity) -> Incident:
    """An incident with what it has of those that it takes over from; which event it is of is found out anew later."""
    said = [old.label for old in (*((one.before,) if one.before else ()), *one.merged) if old.label]
    incident = replace(incident, incident_id=one.incident_id, label=next(iter(said), None))
    before = one.before
    if before is None:
        return incident
    return replace(incident, scope=before.scope, cause=before.cause, parent_id=before.parent_id)


def _within(losses: Sequence[DataLoss], found: Found, window_ms: int) -> list[DataLoss]:
    """Losses, or the parts of them, that lie in some windows."""
    begin_ms, end_ms = found.start_ms, found.end_ms(window_ms)
    return [
        replace(
            loss,
            start_ms=max(loss.start_ms, begin_ms),
            end_ms=min(loss.end_ms, end_ms),
            over=loss.over or loss.end_ms > end_ms,
        )
        for loss in losses
        if loss.start_ms < end_ms and loss.end_ms > begin_ms
    ]


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
        if (found := RULE_ID.search(reason))
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


def data_loss_incident(device: Device, losses: Sequence[DataLoss], *, status: str, now_ms: int) -> Incident:
    """The incident of data losses that belong together, at least one; its score is how unusual the longest is."""
    windows = sum((loss.end_ms - loss.start_ms) // losses[0].window_ms for loss in losses)
    return replace(
        blank_incident(device, losses[0].start_ms, losses[-1].end_ms, min(loss.level for loss in losses)),
        status=status,
        windows=windows,
        peak_score=max(loss.score for loss in losses),
        methods={DATA_LOSS: windows},
        metrics=sorted({metric for loss in losses for metric in loss.metrics}),
        reasons=[loss.reason for loss in losses[:MOST_REASONS]],
        updated_at=now_ms,
    )


def stopped_incident(device: Device, stopped: StoppedPoints, found: Found, *, status: str, now_ms: int) -> Incident:
    """The incident of points that stopped together; its score is how much longer than their pace allows."""
    return replace(
        blank_incident(device, found.start_ms, int(found.times_ms[-1]) + stopped.window_ms, stopped.level),
        status=status,
        windows=len(found.times_ms),
        peak_score=stopped.longest,
        methods={STOPPED: len(found.times_ms)},
        metrics=list(stopped.metrics),
        reasons=stopped.reasons()[:MOST_REASONS],
        updated_at=now_ms,
    )


def _reaches_into(incident: Incident, spans: Sequence[tuple[int, int]]) -> bool:
    """Whether an incident is of a time that was looked at; that of points that stopped has times a millisecond early."""
    early = int(STOPPED in incident.methods)
    return any(incident.started_at + early < b and incident.ended_at + early > a for a, b in spans)


def _kind_of(incident: Incident) -> str:
    """Whether an incident is of a data loss or of points that stopped; empty where it is of anomalous windows."""
    return next((kind for kind in (DATA_LOSS, STOPPED) if kind in incident.methods), "")


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
        urgency=None,
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
                found = RULE_ID.search(reason)
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
    similar = similar_incidents(device, incident.start_ms, direction, past)
    return replace(made, signature=direction, kinds=kinds, similar=similar)


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
    device: Device, start_ms: int, direction: Mapping[str, float], past: PastIncidents
) -> list[SimilarIncident]:
    """Earlier incidents whose deviation points the same way, on this device and on others of its type, most alike first."""
    import pandas as pd

    from hvac_platform.detection.signatures import most_similar

    if not direction:
        return []
    earlier = {
        other.incident_id: other
        for other in past.of_type(device.device_type)
        if other.started_at < start_ms and (other.device_id != device.device_id or other.ended_at <= start_ms)
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


def fleet_scope_batches(store: Store, settings: Settings, start_ms: int, end_ms: int) -> Iterator[TableBatch]:
    """Updates of ``incidents`` that began in a span: which belong to an event of many devices or to a fault of a plant.

    The earliest incident of an event is the parent of the others, and stays so. That of the root of a plant's fault is the
    parent of those that follow from it, see :mod:`hvac_platform.detection.plant`.
    """
    begin = start_ms - LEADING_HOURS * 3_600_000
    incidents = Incident.read(store, None, (begin, end_ms))
    devices = store.devices()
    events = fleet_events_of(store, incidents, devices, settings)
    topology = topology_of_site(settings)
    plant: dict[str, PlantScope] = {}
    if topology:
        events, plant = _events_and_plant(store, topology, incidents, events, (begin, end_ms))
    part_of: dict[int, tuple[str, str, str | None]] = {}
    for event in events:
        parent = parent_of([incidents[i] for i in event.incidents])
        for i in event.incidents:
            name = incidents[i].incident_id
            part_of[i] = ("fleet", _told(event), None if name == parent else parent)
    changed = [
        replace(incident, scope=scope, cause=cause, parent_id=parent_id)
        for i, incident in enumerate(incidents)
        if incident.incident_id not in plant and not (topology is None and incident.scope == PLANT)
        for scope, cause, parent_id in [part_of.get(i, ("local", "", _kept_parent(incident)))]
        if (incident.scope, incident.cause, incident.parent_id) != (scope, cause, parent_id)
        and (i in part_of or incident.started_at >= start_ms)  # what began earlier is seen in part only
    ]
    changed += [
        replace(one.incident, scope=one.scope, cause=one.cause, parent_id=one.parent_id)
        for one in plant.values()
        if (one.incident.scope, one.incident.cause, one.incident.parent_id) != (one.scope, one.cause, one.parent_id)
    ]
    if changed:
        columns = Incident.columns(changed, only=("device_id", "started_at", "scope", "cause", "parent_id"))
        yield TableBatch(columns, table=Incident.TABLE, action="update")


def _events_and_plant(
    store: Store, topology: Topology, incidents: Sequence[Incident], events: Sequence[FleetEvent], span: tuple[int, int]
) -> tuple[list[FleetEvent], dict[str, PlantScope]]:
    """Events of many devices, less what a fault of the plant explains better, and what the plant says of the others.

    Weather explains what shows it, and a network all that it befalls; of devices that only began in the same hours, and of
    events without such a cause, a root explains what it explains.
    """

    def named(positions: Iterable[int]) -> set[str]:
        return {incidents[i].incident_id for i in positions}

    def firm(event: FleetEvent) -> list[int]:
        if event.cause is Cause.WEATHER:
            return [i for i in event.incidents if _shows_weather(incidents[i])]
        return list(event.incidents) if event.cause is Cause.NETWORK else []

    taken = named(i for event in events for i in firm(event))
    plant = plant_scopes(store, topology, incidents, *span, of_events=taken)
    rooted = {name for name, one in plant.items() if one.cause}
    kept: list[FleetEvent] = []
    for event in events:
        if event.cause is Cause.WEATHER:
            left = tuple(i for i in event.incidents if incidents[i].incident_id not in rooted)
            if left:
                kept.append(
                    replace(event, incidents=left, devices=tuple(sorted({incidents[i].device_id for i in left})))
                )
        elif 2 * len(named(event.incidents) & rooted) <= len(event.incidents):
            kept.append(event)
    of_kept = named(i for event in kept for i in event.incidents)
    if of_kept & rooted:
        plant = plant_scopes(store, topology, incidents, *span, of_events=of_kept)
    return kept, plant


def _shows_weather(incident: Incident) -> bool:
    """Whether a device has points that weather alone decides."""
    declared = device_type(incident.device_type)
    return declared is not None and bool(outdoor_metrics(declared))


def _kept_parent(incident: Incident) -> str | None:
    """The parent of an incident that is of no fleet-wide event: what tells of a lasting change stays its parent."""
    parent = incident.parent_id
    return parent if parent is not None and parent.endswith(LASTING_ENDING) else None


def parent_of(incidents: Sequence[Incident]) -> str:
    """Id of the incident that stands for an event, of at least one: the parent that most of them have, else the earliest."""
    members = {incident.incident_id for incident in incidents}
    named = Counter(incident.parent_id for incident in incidents if incident.parent_id in members)
    if named:
        (parent, _), *_ = named.most_common(1)
        return str(parent)
    return min(incidents, key=lambda incident: (incident.started_at, incident.device_id)).incident_id


def fleet_events_of(
    store: Store, incidents: Sequence[Incident], devices: Sequence[Device], settings: Settings
) -> list[FleetEvent]:
    """Events that many devices entered together, among some incidents."""
    if len({incident.device_id for incident in incidents}) < 3:
        return []
    leading = [sorted(i.signature, key=lambda name: -abs(i.signature[name])) or i.metrics for i in incidents]
    types = {d.device_id: declared for d in devices if (declared := device_type(d.device_type)) is not None}
    windows = {d.device_id: d.window(settings) for d in devices}
    lost = [_lost(store, i, windows.get(i.device_id, settings.window_ms)) for i in incidents]
    found = fleet_events(
        np.array([incident.started_at for incident in incidents], dtype=np.int64),
        [incident.device_id for incident in incidents],
        leading,
        np.array(lost, dtype=np.bool_),
        fleet={d.device_id: d.building_id for d in devices},
        device_types=types,
    )
    # Without a cause that explains it, coincidence is the better explanation unless nearly all devices take part.
    return [event for event in found if event.cause is not Cause.UNKNOWN or len(event.devices) >= MOST * len(devices)]


def _lost(store: Store, incident: Incident, window_ms: int) -> bool:
    """Whether nothing new came of the device for most of the incident."""
    if DATA_LOSS in incident.methods:
        return True
    begin = incident.started_at
    end = min(incident.ended_at, begin + MOST_EXAMINED * window_ms)
    series = read_series(store, incident.device_id, incident.device_type, begin, end)
    quiet = sum(b - a for a, b in data_losses(series.times_ms, series.mean, window_ms, until_ms=end))
    return bool(2 * quiet > end - begin)


def _told(event: FleetEvent) -> str:
    where = f"building {event.building}" if event.building else "the whole fleet"
    return f"{event.cause} ({len(event.devices)} devices of {where} from {iso(event.start_ms)[:16]}Z)"
