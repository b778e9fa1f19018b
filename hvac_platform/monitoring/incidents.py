"""Incidents on the store: anomalous windows that belong together, why, what they resemble, what they cost; and silences."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hvac_platform.detection.evaluation import MERGE_MS
from hvac_platform.detection.incidents import (
    Cause,
    FleetEvent,
    fleet_events,
    group_windows,
    incident_level,
    severity,
)
from hvac_platform.detection.incidents import silences as repeated_spans
from hvac_platform.detection.methods import knows_limits, method_names
from hvac_platform.detection.profile import Profile
from hvac_platform.devices.registry import device_type
from hvac_platform.monitoring.profiles import load_profile
from hvac_platform.monitoring.silence import SILENCE, Silence
from hvac_platform.monitoring.wide_devices import metrics_to_read
from hvac_platform.stores.base import Device, Store, TableSlice
from hvac_platform.stores.batches import TableBatch
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
        verdicts: anomalous verdicts of the windows: (time, method, score, level, reasons, metrics).
    """

    device: Device
    times_ms: NDArray[np.int64]
    window_ms: int
    verdicts: list[tuple[int, str, float, int, list[str], list[str]]]

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
    _by_type: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def of_type(self, name: str) -> list[dict[str, Any]]:
        """Incidents of all devices of a type that have a signature."""
        if name not in self._by_type:
            columns = ("device_id", "started_at", "ended_at", "incident_id", "severity", "signature", "kinds", "label")
            self._by_type[name] = [
                dict(zip(columns, row, strict=True))
                for device in self.store.devices()
                if device.device_type == name
                for batch in self.store.scan(TableSlice("incidents", columns, device.device_id, self.since_ms))
                for row in zip(*(batch[c] for c in columns), strict=True)
                if batch and row[5]
            ]
        return self._by_type[name]

    def add(self, name: str, row: dict[str, Any]) -> None:
        """Put an incident that was just computed in the place of what was known of it."""
        known = self.of_type(name)
        known[:] = [other for other in known if other["incident_id"] != row["incident_id"]]
        if row["signature"]:
            known.append(row)


def anomalous_windows(store: Store, device_id: str, start_ms: int, end_ms: int) -> NDArray[np.int64]:
    """Starts of the windows that have an event, int64 [n], ascending."""
    times = [
        t
        for batch in store.scan(TableSlice("anomaly_events", ("detected_at",), device_id, start_ms, end_ms))
        for t in batch["detected_at"]
    ]
    return np.array(sorted(times), dtype=np.int64)


def incident_spans(store: Store, device_id: str, window_ms: int, start_ms: int, end_ms: int) -> list[NDArray[np.int64]]:
    """Windows of every incident that reaches into [start_ms, end_ms), each int64 [k], complete on both sides."""
    before, after = BEYOND_MS, BEYOND_MS
    while True:
        low, high = start_ms - before, end_ms + after
        times = anomalous_windows(store, device_id, low, high)
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
    silences: Sequence[Silence],
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
        silences: spans in which nothing came of the device; each is an incident.
        only_changed: leave out incidents with the same windows as when they were last computed.
    """
    spans = incident_spans(store, device.device_id, window_ms, start_ms, end_ms)
    found = {*(int(span[0]) for span in spans), *(silence.start_ms for silence in silences)}
    known = {
        row["started_at"]: row
        for row in incident_rows(store, device.device_id, min([start_ms - BEYOND_MS, *found]), end_ms)
        if row["ended_at"] > start_ms or row["started_at"] in found
    }
    gone = [t for t in known if t not in found]
    if gone:
        keys = {"device_id": [device.device_id] * len(gone), "started_at": gone}
        yield TableBatch(keys, table="incidents", action="delete")
    for silence in silences:
        row = silence_row(device, silence, window_ms)
        present = known.get(silence.start_ms)
        if only_changed and present is not None and all(present[k] == row[k] for k in ("ended_at", "status")):
            continue
        yield TableBatch({name: [value] for name, value in (row | {"updated_at": now_ms}).items()})
    profile: Profile | None = None
    loaded = False
    for span in spans:
        ended = int(span[-1]) + window_ms
        present = known.get(int(span[0]))
        status = "open" if ended + MERGE_MS >= device.last_seen else "closed"
        if (
            only_changed
            and present is not None
            and (present["ended_at"], present["windows"], present["status"]) == (ended, len(span), status)
        ):
            continue
        if not loaded:
            profile, loaded = load_profile(store, device.device_id), True
        incident = IncidentWindows(device, span, window_ms, _verdicts(store, device.device_id, span, window_ms))
        row = incident_row(store, incident, profile, past) | {"status": status, "updated_at": now_ms}
        labels = [known[t]["label"] for t in gone if known[t]["ended_at"] > int(span[0]) and t < ended]
        if present is None and (label := next((text for text in labels if text), None)):
            row["label"] = label
        past.add(device.device_type, {"label": present["label"] if present else None, **row})
        yield TableBatch({name: [value] for name, value in row.items()})


def incident_rows(store: Store, device_id: str | None, start_ms: int, end_ms: int) -> list[dict[str, Any]]:
    """Rows of ``incidents`` that began in [start_ms, end_ms), of a device or of all."""
    return [
        dict(zip(batch, row, strict=True))
        for batch in store.scan(TableSlice("incidents", (), device_id, start_ms, end_ms))
        for row in zip(*batch.values(), strict=True)
    ]


def _verdicts(
    store: Store, device_id: str, span: NDArray[np.int64], window_ms: int
) -> list[tuple[int, str, float, int, list[str], list[str]]]:
    wanted = set(span.tolist())
    names = ("snapshot_time", "method", "score", "level", "reasons", "metrics", "anomalous")
    rows = TableSlice("snapshot_verdicts", names, device_id, int(span[0]), int(span[-1]) + window_ms)
    return [
        row[:-1]
        for batch in store.scan(rows)
        for row in zip(*(batch[name] for name in names), strict=True)
        if row[-1] and row[0] in wanted
    ]


def incident_row(
    store: Store, incident: IncidentWindows, profile: Profile | None, past: PastIncidents
) -> dict[str, Any]:
    """One row of ``incidents`` but for status and time of the computation."""
    device, verdicts = incident.device, incident.verdicts
    position = {int(t): i for i, t in enumerate(incident.times_ms)}
    levels, votes = np.zeros(len(position), dtype=np.int64), np.zeros(len(position), dtype=np.int64)
    scores = np.full(len(position), np.nan)
    for time_ms, method, score, level, _, _ in verdicts:
        i = position[time_ms]
        if knows_limits(method):
            levels[i] = level
        else:
            votes[i] += 1
            scores[i] = np.fmax(scores[i], score)
    level = incident_level(levels, scores, votes)
    rules = Counter(
        found[1]
        for _, method, _, _, reasons, _ in verdicts
        if knows_limits(method)
        for reason in reasons
        if (found := _RULE_ID.search(reason))
    )
    row = _blank_row(device, incident.start_ms, incident.end_ms, level) | {
        "windows": len(position),
        "peak_score": float(max((v[2] for v in verdicts), default=1.0)),
        "methods": dict(Counter(v[1] for v in verdicts)),
        "rules": [name for name, _ in rules.most_common()],
        "metrics": _leading_metrics(verdicts),
        "reasons": _telling_reasons(verdicts),
    }
    if profile is not None:
        row |= _learned_columns(store, incident, profile, past)
    return row


def silence_row(device: Device, silence: Silence, window_ms: int) -> dict[str, Any]:
    """One row of ``incidents`` for a silence but for the time of the computation; its score is how unusual the length is."""
    length = silence.end_ms - silence.start_ms
    return _blank_row(device, silence.start_ms, silence.end_ms, silence.level) | {
        "windows": length // window_ms,
        "peak_score": length / silence.longest_ms,
        "methods": {SILENCE: length // window_ms},
        "rules": [],
        "metrics": [],
        "reasons": [silence.reason],
        "status": "closed" if silence.over else "open",
    }


def _blank_row(device: Device, start_ms: int, end_ms: int, level: int) -> dict[str, Any]:
    """What every row of ``incidents`` has, and empty what only a detector can tell."""
    return {
        "device_id": device.device_id,
        "started_at": start_ms,
        "ended_at": end_ms,
        "incident_id": f"{device.device_id}/{start_ms}",
        "severity": str(severity(level)),
        "level": level,
        "signature": {},
        "kinds": [],
        "similar": [],
        "scope": "local",
        "cause": "",
        "excess_kwh": None,
        "device_type": device.device_type,
        "location": device.location,
        "building_id": device.building_id,
    }


def _leading_metrics(verdicts: Sequence[tuple[int, str, float, int, list[str], list[str]]]) -> list[str]:
    """Metrics that verdicts name, each window's first one counting most."""
    weight: Counter[str] = Counter()
    for _, _, _, _, _, metrics in verdicts:
        for rank, name in enumerate(metrics):
            weight[name] += 6 // (rank + 1)
    return [name for name, _ in weight.most_common(MOST_METRICS)]


def _telling_reasons(verdicts: Sequence[tuple[int, str, float, int, list[str], list[str]]]) -> list[str]:
    """What methods said: of each rule and of each metric the sentence of the worst window, then the nearest past state."""
    chosen: dict[tuple[str, str], str] = {}
    for _, method, _, _, reasons, metrics in sorted(verdicts, key=lambda v: (_rank(v[1]), v[3], -v[2])):
        for position, reason in enumerate(reasons):
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


def _learned_columns(store: Store, incident: IncidentWindows, profile: Profile, past: PastIncidents) -> dict[str, Any]:
    """What the device's detector and energy model add: signature, likely kinds, what is similar, excess energy."""
    from hvac_platform.detection.learned import context_start, examine_windows, frame_of

    device = incident.device
    times = incident.times_ms[:MOST_EXAMINED]
    begin_ms = min(context_start(incident.start_ms, incident.window_ms), incident.start_ms - 3_600_000)
    series, _ = read_series(
        store,
        device.device_id,
        device.device_type,
        begin_ms,
        incident.end_ms,
        metrics=metrics_to_read(store, device, begin_ms, incident.end_ms, profile),
    )
    if not len(series):
        return {}
    columns: dict[str, Any] = {}
    if profile.energy is not None:
        columns["excess_kwh"] = incident_excess_kwh(frame_of(series), incident, profile)
    if profile.detector is None:
        return columns
    learned, _ = examine_windows(series, np.isin(series.times_ms, times), profile.detector)
    direction, kinds = _direction_and_kinds(learned, profile, device.device_type)
    columns["signature"] = direction
    columns["kinds"] = kinds
    columns["similar"] = similar_incidents(incident, direction, past)
    return columns


def _direction_and_kinds(
    learned: Learned, profile: Profile, type_name: str
) -> tuple[dict[str, float], list[dict[str, Any]]]:
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
) -> list[dict[str, Any]]:
    """Earlier incidents whose deviation points the same way, on this device and on others of its type, most alike first."""
    import pandas as pd

    from hvac_platform.detection.signatures import most_similar

    if not direction:
        return []
    earlier = {
        row["incident_id"]: row
        for row in past.of_type(incident.device.device_type)
        if row["started_at"] < incident.start_ms and row["incident_id"] != incident.incident_id
    }
    signatures = {name: pd.Series(row["signature"], dtype=np.float64) for name, row in earlier.items()}
    matches = most_similar(pd.Series(dict(direction), dtype=np.float64), signatures)[:MOST_SIMILAR]
    return [
        {
            "incident_id": match.incident,
            "device_id": earlier[match.incident]["device_id"],
            "started_at": earlier[match.incident]["started_at"],
            "similarity": round(match.similarity, 4),
            "known": match.known,
            "label": earlier[match.incident]["label"],
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
    rows = incident_rows(store, None, begin, end_ms)
    devices = store.devices()
    event_of = {i: event for event in fleet_events_of(store, rows, devices, window_ms) for i in event.incidents}
    changed = [
        (row, scope, cause)
        for i, row in enumerate(rows)
        for scope, cause in [("fleet", _told(event_of[i])) if i in event_of else ("local", "")]
        if (row["scope"], row["cause"]) != (scope, cause)
        and (i in event_of or row["started_at"] >= start_ms)  # what began earlier is seen in part only
    ]
    if changed:
        yield TableBatch(
            {
                "device_id": [row["device_id"] for row, _, _ in changed],
                "started_at": [row["started_at"] for row, _, _ in changed],
                "scope": [scope for _, scope, _ in changed],
                "cause": [cause for _, _, cause in changed],
            },
            table="incidents",
            action="update",
        )


def fleet_events_of(
    store: Store, rows: Sequence[Mapping[str, Any]], devices: Sequence[Device], window_ms: int
) -> list[FleetEvent]:
    """Events that many devices entered together, among some rows of ``incidents``."""
    if len({row["device_id"] for row in rows}) < 3:
        return []
    leading = [
        [name for name, _ in sorted(row["signature"].items(), key=lambda item: -abs(item[1]))] or row["metrics"]
        for row in rows
    ]
    types = {d.device_id: declared for d in devices if (declared := device_type(d.device_type)) is not None}
    found = fleet_events(
        np.array([row["started_at"] for row in rows], dtype=np.int64),
        [row["device_id"] for row in rows],
        leading,
        np.array([_silent(store, row, window_ms) for row in rows], dtype=np.bool_),
        fleet={d.device_id: d.building_id for d in devices},
        device_types=types,
    )
    # Without a cause that explains it, coincidence is the better explanation unless nearly all devices take part.
    return [event for event in found if event.cause is not Cause.UNKNOWN or len(event.devices) >= MOST * len(devices)]


def _silent(store: Store, row: Mapping[str, Any], window_ms: int) -> bool:
    """Whether nothing new came of the device for most of the incident."""
    if SILENCE in row["methods"]:
        return True
    series, _ = read_series(store, row["device_id"], row["device_type"], row["started_at"], row["ended_at"])
    length = row["ended_at"] - row["started_at"]
    quiet = sum(b - a for a, b in repeated_spans(series.times_ms, series.mean, window_ms, until_ms=row["ended_at"]))
    return bool(2 * quiet > length)


def _told(event: FleetEvent) -> str:
    where = f"building {event.building}" if event.building else "the whole fleet"
    return f"{event.cause} ({len(event.devices)} devices of {where} from {iso(event.start_ms)[:16]}Z)"
