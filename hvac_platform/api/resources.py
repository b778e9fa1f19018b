"""The resources: what is read for each path, from a store and the parameters of a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from http import HTTPStatus
from typing import Any

from hvac_platform.access.acting import Acting, NoIncidentError, RoleError, TooOftenError
from hvac_platform.access.users import Person
from hvac_platform.api.actions import action_of
from hvac_platform.api.documents import documents, plain, shown_columns, with_times
from hvac_platform.api.lists import Page, page_by_time, page_of
from hvac_platform.api.paging import Asked
from hvac_platform.api.problems import ProblemError
from hvac_platform.config import Settings
from hvac_platform.detection.methods import method_names
from hvac_platform.ingestion.flow import flows
from hvac_platform.ingestion.messages import format_timestamp
from hvac_platform.ingestion.proof import newest_proofs
from hvac_platform.log.base import MessageLog, UnknownTopicError
from hvac_platform.monitoring import lifecycle
from hvac_platform.monitoring.incident_actions import UnusableActionError
from hvac_platform.monitoring.notifying import urgency_now
from hvac_platform.monitoring.points import states_now
from hvac_platform.monitoring.similar import NoSnapshotError, similar_states
from hvac_platform.monitoring.worth import Prices, savings_document, savings_of, worth_document, worth_of
from hvac_platform.runtime.connections import make_encoders
from hvac_platform.stores.base import Device, Store, TableSlice
from hvac_platform.stores.records import NO_POINTS, Incident, IncidentHandling, IncidentTransition
from hvac_platform.stores.tables import table
from hvac_platform.timestamps import now_ms


@dataclass(frozen=True, slots=True)
class Request:
    """What a resource is asked.

    Attributes:
        store: where rows are.
        log: the message log; None while there is none.
        settings: of this process.
        person: who asks.
        acting: does what somebody asks for.
        body: of the request, as JSON was read; None where it had none.
        path: parameters of the path.
        asked: parameters of the query.
    """

    store: Store
    log: MessageLog | None
    settings: Settings
    person: Person
    acting: Acting
    body: object
    path: Mapping[str, str]
    asked: Asked


def device_of(request: Request) -> Device:
    """The device that the path names.

    Raises:
        ProblemError: it is not registered.
    """
    name = request.path["device"]
    found = next((device for device in request.store.devices() if device.device_id == name), None)
    if found is None:
        raise ProblemError(HTTPStatus.NOT_FOUND, f"no device {name[:100]!r}: /api/v1/devices has them")
    return found


def health(request: Request) -> dict[str, Any]:
    """Whether data flow, by partition, with the proofs of the last ranges."""
    if request.log is None:
        return {"ok": True, "partitions": [], "proofs": []}
    topic, now = request.settings.kafka_topic, now_ms()
    try:
        found = flows(request.log, request.store, topic, now)
    except UnknownTopicError:
        return {"ok": True, "partitions": [], "proofs": []}
    proofs = newest_proofs(request.log, request.store, topic, now)
    return {
        "ok": all(flow.ok for flow in found) and all(proof.ok for proof in proofs),
        "partitions": [flow.document() for flow in found],
        "proofs": [proof.document() for proof in proofs],
    }


def devices(request: Request) -> Page:
    """Registered devices, by id."""
    keyed = _keyed(request, "devices", "device_id")
    for name in ("device_type", "building_id"):
        if name in request.asked.given:
            keyed = {key: one for key, one in keyed.items() if one[name] == request.asked.given[name]}
    return page_of(sorted(keyed), keyed.__getitem__, request.asked)


def device(request: Request) -> dict[str, Any]:
    """One device."""
    wanted = device_of(request).device_id
    return _keyed(request, "devices", "device_id")[wanted]


def points(request: Request) -> Page:
    """Points of a device: pace, grade, and what each does now."""
    of = device_of(request)
    states = states_now(request.store, of)
    keyed = _keyed(request, "device_points", "metric", of.device_id)
    for key, one in keyed.items():
        one["now"] = "retired" if one["retired_at"] is not None else states.get(key)
    return page_of(sorted(keyed.keys() - NO_POINTS), keyed.__getitem__, request.asked)


def rows_by_time(request: Request, name: str) -> Page:
    """Rows of a table of one device in a span."""
    _require_one_of("method", request.asked.given, method_names())
    equals = [(n, request.asked.given[n]) for n in FILTERS.get(name, ()) if n in request.asked.given]
    return page_by_time(request.store, table(name), device_of(request).device_id, request.asked, equals=equals)


FILTERS: Mapping[str, tuple[str, ...]] = {
    "device_metrics_raw": ("metric_name",),
    "snapshot_verdicts": ("method",),
}
"""Columns that a list may be restricted by, beside its device and its span."""


def profile(request: Request) -> dict[str, Any]:
    """What was learned of a device.

    Raises:
        ProblemError: nothing yet.
    """
    of = device_of(request)
    found = _keyed(request, "device_profiles", "device_id", of.device_id)
    if not found:
        raise ProblemError(HTTPStatus.NOT_FOUND, f"{of.device_id} has no profile yet: hvac profiles build")
    return found[of.device_id]


def similar(request: Request) -> dict[str, Any]:
    """Past states of a device that are most like its newest before an instant.

    Raises:
        ProblemError: it has no state then.
    """
    of, given = device_of(request), request.asked
    at_ms = None if given.end_ms is None else given.end_ms - 1
    try:
        found = similar_states(
            request.store,
            of,
            make_encoders(request.settings, request.store),
            at_ms=at_ms,
            limit=min(given.limit, MOST_SIMILAR),
        )
    except NoSnapshotError as error:
        raise ProblemError(HTTPStatus.NOT_FOUND, str(error)) from None
    items = [
        {
            "snapshot_time": format_timestamp(one.time_ms),
            "cosine": round(one.cosine, 6),
            "anomalous": one.anomalous,
            "became": one.outcome,
        }
        for one in found.similar
    ]
    return {"items": items, "next": None}


MOST_SIMILAR = 50


def incidents(request: Request) -> Page:
    """Incidents, the newest first, each with where it stands."""
    given, now = request.asked.given, now_ms()
    _require_one_of("severity", given, lifecycle.SEVERITIES)
    _require_one_of("state", given, [str(state) for state in lifecycle.State])
    if "device" in given and given["device"] not in {one.device_id for one in request.store.devices()}:
        raise ProblemError(HTTPStatus.BAD_REQUEST, f"device: no {given['device'][:100]!r}: /api/v1/devices has them")
    span = (request.asked.start_ms, request.asked.end_ms)
    found = Incident.read(
        request.store,
        given.get("device"),
        span,
        only=("device_id", "started_at", "incident_id", "severity", "building_id"),
    )
    handlings = lifecycle.handling_of(request.store, found)
    states = {one.incident_id: str(lifecycle.state_of(handlings.get(one.incident_id), now)) for one in found}
    wanted = sorted(
        (
            one
            for one in found
            if given.get("severity", one.severity) == one.severity
            and given.get("state", states[one.incident_id]) == states[one.incident_id]
            and given.get("building_id", one.building_id) == one.building_id
        ),
        key=lambda one: (-one.started_at, one.incident_id),
    )
    keyed = {one.incident_id: one for one in wanted}
    return page_of(
        list(keyed), lambda key: _incident(request.store, keyed[key], handlings.get(key), now), request.asked
    )


def incident(request: Request) -> dict[str, Any]:
    """One incident, with where it stands, its history, what it is worth and what its repair has saved.

    Of one that was taken back there are where it stands and its history.

    Raises:
        ProblemError: there is none of this id.
    """
    name = request.path["incident"]
    found = lifecycle.find_incident(request.store, name)
    if found is None:
        return _gone(request.store, name)
    handling = lifecycle.handling_by_id(request.store, found.incident_id)
    now, prices = now_ms(), Prices.of(request.settings)
    worth = worth_of(request.store, found, prices)
    return {
        **_incident(request.store, found, handling, now),
        "history": _history(lifecycle.history_of(request.store, found)),
        "worth": worth_document(worth),
        "urgency_parts": urgency_now(request.store, found, worth),
        "savings": savings_document(*savings_of(request.store, found, handling, prices, now), worth.currency),
    }


def _gone(store: Store, incident_id: str) -> dict[str, Any]:
    """What is left of an incident that was taken back.

    Raises:
        ProblemError: there never was one of this id.
    """
    left = lifecycle.history_of_gone(store, incident_id)
    if not left:
        raise ProblemError(HTTPStatus.NOT_FOUND, f"no incident {incident_id[:100]!r}: /api/v1/incidents has them")
    return {
        "incident_id": incident_id,
        "device_id": left[0].device_id,
        "state": str(lifecycle.State.TAKEN_BACK),
        "handling": _handling(lifecycle.handling_by_id(store, incident_id)),
        "history": _history(left),
    }


def _history(transitions: Sequence[IncidentTransition]) -> list[dict[str, Any]]:
    return [
        {
            "transition": one.transition,
            "at": format_timestamp(one.at),
            "actor": one.actor,
            "note": one.note,
            "details": with_times(IncidentTransition.TABLE, "details", one.details),
        }
        for one in transitions
    ]


def act(request: Request) -> dict[str, Any]:
    """Do something with an incident, as hvac incidents does.

    Raises:
        ProblemError: the body is wrong, who asks may only read, there is no such incident, or it can't be done as it stands.
    """
    action, alone = action_of(request.body)
    try:
        done = request.acting.act(request.store, request.person, request.path["incident"], action, alone=alone)
    except RoleError as error:
        raise ProblemError(HTTPStatus.FORBIDDEN, str(error)) from None
    except NoIncidentError as error:
        raise ProblemError(HTTPStatus.NOT_FOUND, f"{error}: /api/v1/incidents has them") from None
    except TooOftenError as error:
        raise ProblemError(HTTPStatus.TOO_MANY_REQUESTS, str(error), retry_seconds=error.wait_seconds) from None
    except UnusableActionError as error:
        raise ProblemError(HTTPStatus.BAD_REQUEST, str(error)) from None
    except lifecycle.NotAllowedError as error:
        raise ProblemError(HTTPStatus.CONFLICT, str(error)) from None
    return {**incident(replace(request, path={"incident": done.incident_id})), "parts": done.parts}


def _require_one_of(name: str, given: Mapping[str, str], known: Sequence[str]) -> None:
    if name in given and given[name] not in known:
        raise ProblemError(HTTPStatus.BAD_REQUEST, f"{name}: one of {', '.join(known)}, not {given[name][:60]!r}")


def _incident(store: Store, key: Incident, handling: IncidentHandling | None, now: int) -> dict[str, Any]:
    kind = table(Incident.TABLE)
    rows = TableSlice(kind.name, shown_columns(kind), key.device_id, key.started_at, key.started_at + 1)
    document = next((one for batch in store.scan(rows, batch_rows=1) for one in documents(kind, batch)), {})
    document["similar"] = document.get("similar") or []
    return {**document, "state": str(lifecycle.state_of(handling, now)), "handling": _handling(handling)}


def _handling(handling: IncidentHandling | None) -> dict[str, Any] | None:
    if handling is None:
        return None
    columns = table(IncidentHandling.TABLE).columns
    return {
        name: plain(columns[name], value)
        for name, value in asdict(handling).items()
        if name not in ("device_id", "incident_id")
    }


def _keyed(request: Request, name: str, key: str, device_id: str | None = None) -> dict[str, dict[str, Any]]:
    """Documents of a small table, or of one device in it, by key."""
    kind = table(name)
    rows = TableSlice(name, shown_columns(kind), device_id)
    return {str(one[key]): one for batch in request.store.scan(rows) for one in documents(kind, batch)}
