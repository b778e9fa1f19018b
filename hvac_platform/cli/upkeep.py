"""Commands about the state of the platform: ``check``, ``verify``, ``schema``."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from difflib import get_close_matches
from typing import Annotated, Any

import apsw
import numpy as np
import typer

from hvac_platform.alerts.disputed_devices import disputes
from hvac_platform.alerts.doubts import doubts
from hvac_platform.alerts.receivers import DeliveryError, make_sender
from hvac_platform.alerts.tree import AlertsFileError, current_tree
from hvac_platform.alerts.troubles import open_troubles
from hvac_platform.cli.choosing import Devices, Names, chosen_devices, named
from hvac_platform.cli.output import AsJson, Length, age, at, console, errors, print_rows
from hvac_platform.config import Settings, load_settings
from hvac_platform.detection.profile import provisional_profile
from hvac_platform.devices.fleet import load_topology
from hvac_platform.devices.registry import DeviceTypeError, device_type, device_types
from hvac_platform.embedded_file import beside, close_as_it_is, users_of
from hvac_platform.ingestion.flow import STANDS_STILL_MS, PartitionFlow, flows
from hvac_platform.ingestion.foreign import message_map
from hvac_platform.ingestion.proof import newest_proofs
from hvac_platform.ingestion.registration import look_alike_metrics, look_alikes
from hvac_platform.log.base import LogError, UnknownTopicError
from hvac_platform.log.embedded import EmbeddedLog
from hvac_platform.monitoring.data_loss import spelled
from hvac_platform.monitoring.points import fitting_window_ms, points_of, window_command
from hvac_platform.monitoring.refused import refusals
from hvac_platform.monitoring.stored_units import foreign_units
from hvac_platform.monitoring.suppression import suppressions_of_file
from hvac_platform.monitoring.tariffs import current_tariffs
from hvac_platform.runtime.claims import HOME_LOCK, is_held
from hvac_platform.runtime.connections import (
    make_encoders,
    open_log,
    open_log_as_it_is,
    open_store,
    open_store_as_it_is,
)
from hvac_platform.stores.base import Store, StoreError
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.made_with import forget_device_types
from hvac_platform.stores.records import LatestReading, Snapshot
from hvac_platform.stores.salvage import open_damaged, salvage
from hvac_platform.stores.tables import tables
from hvac_platform.timestamps import iso, now_ms

schema = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
TYPES = "device types"
PREFIXES = ("HVAC_", "KAFKA_", "SCYLLA_", "OLLAMA_")
NEARLY = 0.85
"""Names that are so much alike (difflib's ratio) are taken for a slip of the pen."""
NO_SETTINGS = frozenset({"HVAC_SERVICES", "HVAC_WORKER_PROCESSES", "HVAC_WORKER_NAME"})
"""What ``make`` takes, and no process of the platform."""
SHOWN_ALIKE = 3
HOUR_MS = 3_600_000
PROOF_REMEDY = "launch the job backfill over the days of the missing readings; docs/recovery.md"


MOST_NAMED = 5
"""Devices that a line names."""


def check(
    as_json: AsJson = False,
    wait: Annotated[
        float,
        typer.Option(help="Seconds to watch partitions in which messages wait, whether they move.", min=0, max=600),
    ] = STANDS_STILL_MS / 1000,
) -> None:
    """Check every connection, the schema, and that data flow; says what to do where something fails.

    Nothing is made by it. Exit code 1 when anything fails. Where messages wait and nobody owns their partition it looks
    again each second, for as long as --wait says, until they move.
    """
    settings = load_settings()
    rows: list[dict[str, Any]] = []

    def tell(name: str, ok: bool, state: str, remedy: str, detail: dict[str, Any] | None = None) -> None:
        rows.append({"part": name, "ok": ok, "state": state, "what_to_do": "" if ok else remedy, "detail": detail})

    def probe(name: str, remedy: str, test: Callable[[Settings], str]) -> bool:
        try:
            tell(name, True, test(settings), "")
        except DeviceTypeError as error:
            # What rests on the types fails with them; the file is told once, where it is to be mended.
            if name == TYPES:
                tell(name, False, str(error), remedy)
            else:
                tell(name, False, "not looked at, because a device type is wrong", f"see {TYPES}")
        except Exception as error:  # every failure is a finding here, whatever its type
            tell(name, False, str(error), remedy)
        return bool(rows[-1]["ok"])

    unknown, meant = unknown_settings()
    if unknown or meant:
        tell("settings", not meant, "; ".join(meant + unknown), "correct the name, in the environment or in .env")
    probe(TYPES, "correct that file, or HVAC_DEVICE_TYPES", lambda _: ", ".join(sorted(device_types())))
    if settings.hvac_suppressions is not None:
        probe("suppressions", "correct the file that HVAC_SUPPRESSIONS names; docs/incidents.md", _suppressions_state)
    if settings.hvac_tariffs is not None:
        probe("tariffs", "correct the file that HVAC_TARIFFS names; docs/worth.md", _tariffs_state)
    if settings.hvac_fleet is not None:
        probe("plant", "correct the file that HVAC_FLEET names; docs/plant.md", _plant_state)
    if settings.hvac_message_map:
        probe("message map", "correct that file, or HVAC_MESSAGE_MAP", _message_map_state)
    servers = "check {} and that the server is up; docs/troubleshooting.md lists the usual causes"
    store = probe(
        "store",
        servers.format("SCYLLA_HOSTS") if settings.scylla_hosts else "do what it says; docs/recovery.md",
        _store_state,
    )
    there = store and _not_yet(settings, "store.db") is None and probe("schema", "hvac schema apply", _schema_state)
    log = probe(
        "message log",
        servers.format("KAFKA_BOOTSTRAP_SERVERS")
        if settings.kafka_bootstrap_servers
        else "do what it says; docs/recovery.md",
        _log_state,
    )
    if there:
        probe("dead letters", "see hvac verify", _dead_letters_state)
        probe("devices", "correct the producer that makes up device ids, or raise it", _room_for_devices)
        probe("encoder", "see what it says, or set HVAC_EMBEDDING=state", _encoder_state)
        probe("window", "see what it says", _window_state)
    if settings.hvac_alerts is not None:
        probe("alerts", "correct the file that HVAC_ALERTS names; docs/alerts.md", _alerts_state)
    if there and log and _topic_is_there(settings):
        try:
            for flow in watched_flows(settings, wait):
                tell(f"partition {flow.partition}", flow.ok, flow_line(flow), flow_remedy(flow), flow.document())
            for proof in newest_proofs(open_log(settings), open_store(settings), settings.kafka_topic, now_ms()):
                tell(f"proof {proof.partition}", proof.ok, proof.said, PROOF_REMEDY, proof.document())
        except (LogError, StoreError) as error:
            tell("partitions", False, str(error), "see docs/troubleshooting.md")
    if not as_json:
        rows = [{name: value for name, value in row.items() if name != "detail"} for row in rows]
    print_rows(rows, as_json=as_json, title="Check")
    if not all(row["ok"] for row in rows):
        raise typer.Exit(1)


def _tariffs_state(settings: Settings) -> str:
    found = current_tariffs(settings)
    if found is None:
        return "none"
    of = len(found.written.buildings)
    own = f", {of} building{'s' if of != 1 else ''} with their own" if of else ""
    return f"{settings.hvac_tariffs}: {found.price:g} {found.currency} a kWh, {len(found.written.periods)} periods{own}"


def _alerts_state(settings: Settings) -> str:
    tree = current_tree(settings.hvac_alerts)
    for name, receiver in tree.receivers.items() if tree is not None else ():
        try:
            make_sender(name, receiver, lambda _: None).close()
        except DeliveryError as error:
            raise AlertsFileError(f"receiver {name}: {error}") from None
    store = open_store(settings) if _not_yet(settings, "store.db") is None else None
    if tree is not None and (found := doubts(tree, store)):
        raise AlertsFileError(f"{settings.hvac_alerts}: {'; '.join(found)}")
    if store is not None:
        dead = [one for one in open_troubles(store, now_ms()) if one.kind == "receiver"]
        if dead:
            raise DeliveryError("; ".join(one.text for one in dead), everything=True)
    return f"{settings.hvac_alerts}: receivers {', '.join(tree.receivers) if tree is not None else 'none'}"


def unknown_settings() -> tuple[list[str], list[str]]:
    """Names in the environment and in ``.env`` that look like settings and are none, and those that are nearly one."""
    from dotenv import dotenv_values

    known = {name.upper() for name in Settings.model_fields}
    unknown, meant = [], []
    for name in sorted({*os.environ, *dotenv_values(".env")} - known - NO_SETTINGS):
        near = get_close_matches(name, known, 1, NEARLY)
        if near and name.startswith(PREFIXES):
            meant.append(f"{name} is no setting: is {near[0]} meant?")
        elif name.startswith("HVAC_"):
            unknown.append(f"{name} is no setting")
    return unknown, meant


def watched_flows(settings: Settings, wait_seconds: float) -> list[PartitionFlow]:
    """Partitions of the topic, looked at until those in which messages wait are owned or move, or the time is over."""
    log, store = open_log(settings), open_store(settings)
    if wait_seconds and not _may_run(settings):
        wait_seconds = 0.0  # nobody is there who could move them
    began, told = time.monotonic(), False
    first = flows(log, store, settings.kafka_topic, now_ms())
    stood = {flow.partition: flow.ledger for flow in first}
    while True:
        found = flows(log, store, settings.kafka_topic, now_ms())
        idle = [
            flow
            for flow in found
            if flow.state in ("waiting", "made again") and flow.ledger == stood.get(flow.partition)
        ]
        if not idle or time.monotonic() - began >= wait_seconds:
            break
        if not told and not errors.is_terminal:
            errors.print(
                f"messages wait in {len(idle)} partitions; watching for {wait_seconds:.0f} s whether they move (--wait)"
            )
        told = True
        with errors.status(f"messages wait in {len(idle)} partitions; watching whether they move"):
            time.sleep(1)
    nobody = not _may_run(settings)
    if not idle or not (wait_seconds or nobody):
        return found
    still = {flow.partition for flow in idle}
    why = "no hvac up runs here" if nobody else f"nobody took them in for {wait_seconds:.0f} s"
    return [
        replace(flow, state="standing still", said="; ".join(filter(None, (f"messages wait and {why}", flow.said))))
        if flow.partition in still
        else flow
        for flow in found
    ]


def _may_run(settings: Settings) -> bool:
    """Whether a platform may be at work on the log: of an embedded one the lock of its folder says so."""
    served = settings.kafka_bootstrap_servers or settings.scylla_hosts
    return bool(served) or is_held(settings.hvac_home / HOME_LOCK)


def flow_line(flow: PartitionFlow) -> str:
    """A partition in one line."""
    at = now_ms()
    parts = [
        f"{flow.state}: end {'-' if flow.end is None else flow.end}",
        f"ledger {'-' if flow.ledger is None else flow.ledger}",
        f"waiting {flow.waiting}",
        "never moved" if flow.moved_at is None else f"moved {age(at - flow.moved_at)} ago",
        f"held by run {flow.holder[:8]}" if flow.holder else "held by nobody",
    ]
    if flow.uncommitted:
        parts.append(f"{flow.uncommitted} records in or behind an open transaction")
    if flow.skipped:
        parts.append(f"{flow.skipped} offsets lost to retention")
    return ", ".join(parts) + (f": {flow.said}" if flow.said else "")


def flow_remedy(flow: PartitionFlow) -> str:
    """What to do about a partition in which data don't flow."""
    if flow.state == "failing":
        return "correct what it says; ingestion tries again by itself. The run's page in Dagster says more"
    if flow.state == "losing":
        return "change that setting; what is gone by then must be sent again"
    if flow.uncommitted and not flow.waiting:
        return "stop that producer, or end its transaction with Kafka's kafka-transactions.sh abort"
    return "start hvac up, or run hvac ingest; where it runs, look at the sensor kafka_ingestion in Dagster"


def _not_yet(settings: Settings, name: str) -> str | None:
    """What to say of an embedded store or log that nobody has made yet; None where it is there, or on a server.

    Raises:
        RuntimeError: it can't be made where it should be.
    """
    served = settings.scylla_hosts if name == "store.db" else settings.kafka_bootstrap_servers
    path = settings.hvac_home / name
    if served or os.path.lexists(path):
        return None
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise RuntimeError(f"{path} can't be made: {folder} is not a folder that may be written to")
    return f"none yet; what first writes to it makes {path}"


def _suppressions_state(settings: Settings) -> str:
    assert settings.hvac_suppressions is not None
    known = suppressions_of_file(settings.hvac_suppressions)
    return f"{settings.hvac_suppressions}: {', '.join(rule.suppression_id for rule in known.rules) or 'none'}"


def _plant_state(settings: Settings) -> str:
    assert settings.hvac_fleet is not None
    topology = load_topology(settings.hvac_fleet)
    links = sum(len(fed) for fed in topology.feeds.values())
    told = f"{settings.hvac_fleet}: {len(topology.devices)} devices, {links} of them fed by another (feeds)"
    if _not_yet(settings, "store.db") is None and topology:
        registered = {device.device_id for device in open_store(settings).devices()}
        if unheard := sorted(topology.devices - registered):
            told += f"; not heard of yet: {', '.join(unheard[:MOST_NAMED])}"
    return told


def _store_state(settings: Settings) -> str:
    if said := _not_yet(settings, "store.db"):
        if waiting := _messages_in_log(settings):
            raise StoreError(
                f"there is no {settings.hvac_home / 'store.db'}, and {waiting} messages in the log are in no store: hvac "
                "ingest makes one of them; one that was there before is gone, docs/recovery.md"
            )
        return said
    store = open_store_as_it_is(settings)
    found, needed = store.schema_versions()
    if found == needed:
        store = open_store(settings)  # which checks that it was made with the same settings
    if isinstance(store, EmbeddedStore) and (damage := store.damage()):
        raise RuntimeError(f"{store.location} is damaged: {'; '.join(damage)}")
    return store.location


def _schema_state(settings: Settings) -> str:
    found, needed = open_store_as_it_is(settings).schema_versions()
    if found != needed:
        raise RuntimeError(f"the store has schema version {found}, this code needs {needed}")
    return f"version {found}, {len(tables())} tables"


def _message_map_state(_settings: Settings) -> str:
    """Names of the kinds of messages of other producers."""
    found = message_map()
    return ", ".join(kind.name for kind in found.kinds) if found is not None else "none"


def _room_for_devices(settings: Settings) -> str:
    ids = [device.device_id for device in open_store(settings).devices()]
    registered, most = len(ids), settings.hvac_max_devices
    if registered >= most:
        raise StoreError(
            f"{registered} are registered and HVAC_MAX_DEVICES is {most}: messages of others are set aside"
        )
    alike = sorted({tuple(sorted(pair)) for pair in look_alikes(ids, ids)})[:SHOWN_ALIKE]
    told = "".join(f"; {one!r} looks like {other!r}: are they the same one?" for one, other in alike)
    told += "".join(f"; {text}" for text in disputes(open_store(settings), now_ms())[:SHOWN_ALIKE])
    told += "".join(f"; {text}" for text in _strange_metrics(open_store(settings))[:SHOWN_ALIKE])
    return f"{registered}, at most {most}{told}"


def _strange_metrics(store: Store) -> list[str]:
    """Metrics that are read by nobody because their names are not quite those that the device's type declares."""
    kinds = {device.device_id: device_type(device.device_type) for device in store.devices()}
    newest: dict[str, set[str]] = {}
    for reading in LatestReading.read(store, only=("device_id", "metric_name")):
        newest.setdefault(reading.device_id, set()).add(reading.metric_name)
    return [
        f"{device_id} sends {sent!r}, which no rule reads: is it {meant}?"
        for device_id, metrics in sorted(newest.items())
        if (kind := kinds.get(device_id)) is not None
        for sent, meant in look_alike_metrics(kind, sorted(metrics))
    ]


def _dead_letters_state(settings: Settings) -> str:
    """Messages of the last hour that were refused; the others are taken in, so nothing fails by it."""
    store = open_store(settings)
    found = refusals(store, since_ms=now_ms() - HOUR_MS)
    if not found:
        return "none in the last hour"
    most = found[0]
    more = f", {len(found) - 1} other reasons" if len(found) > 1 else ""
    named = ", ".join(sorted(most.devices))
    return (
        f"{sum(one.count for one in found)} in the last hour, {most.count} of them such as {named}: "
        f"{most.reason}{more}; hvac verify lists them"
    )


def _window_state(settings: Settings) -> str:
    """Whether windows fit the pace at which devices report; judging works in any case, so nothing fails by it."""
    store = open_store(settings)
    devices = store.devices()
    own = sum(device.window_ms is not None for device in devices)
    lengths = f"{spelled(settings.window_ms)}{f', another one for {own} of {len(devices)} devices' if own else ''}"
    unfit = {
        device.device_id: fitting
        for device in devices
        if (fitting := fitting_window_ms(points_of(store, device.device_id), device.window(settings))) is not None
    }
    if not unfit:
        return f"{lengths}, no longer than any device reports"
    named = ", ".join(f"{name} ({spelled(fitting)})" for name, fitting in list(unfit.items())[:MOST_NAMED])
    more = f" and {len(unfit) - MOST_NAMED} more" if len(unfit) > MOST_NAMED else ""
    return (
        f"{lengths}, shorter than the pace of {named}{more}: most of their windows are empty; "
        f"{window_command(*next(iter(unfit.items())))}"
    )


def _encoder_state(settings: Settings) -> str:
    """Encode the middle of a device type's ranges: for a server behind the encoder that is the whole way and back."""
    encoder, declared = make_encoders(settings, open_store(settings)).common, next(iter(device_types().values()))
    provisional_profile("check", declared, encoder.method, encoder.encode)
    return encoder.method


def _topic_is_there(settings: Settings) -> bool:
    if _not_yet(settings, "log.db"):
        return False
    try:
        open_log_as_it_is(settings).partitions(settings.kafka_topic)
    except UnknownTopicError:
        return False
    return True


def _messages_in_log(settings: Settings) -> int:
    """Messages that an embedded log has; 0 where there is none or it can't be read, which is told by itself."""
    if _not_yet(settings, "log.db") is not None or settings.kafka_bootstrap_servers:
        return 0
    try:
        log = open_log_as_it_is(settings)
        return sum(log.end_offsets(settings.kafka_topic).values()) - sum(
            log.begin_offsets(settings.kafka_topic).values()
        )
    except (LogError, StoreError):
        return 0


def _taken_in(settings: Settings) -> int:
    """Messages that the ledger has taken in; 0 where there is no store or it can't be read, which is told by itself."""
    if _not_yet(settings, "store.db") is not None:
        return 0
    try:
        return sum(entry.next_offset for entry in open_store_as_it_is(settings).ledger(settings.kafka_topic).values())
    except (LogError, StoreError, apsw.Error):
        return 0


def _log_state(settings: Settings) -> str:
    gone = "and the ledger has {} messages of one: put it back, or begin a new one with hvac ingest; docs/recovery.md"
    if said := _not_yet(settings, "log.db"):
        if taken := _taken_in(settings):
            raise LogError(f"there is no {settings.hvac_home / 'log.db'}, {gone.format(taken)}")
        return said
    log = open_log_as_it_is(settings)
    if isinstance(log, EmbeddedLog) and (damage := log.damage()):
        raise RuntimeError(f"{log.path} is damaged: {'; '.join(damage)}")
    try:
        ends = log.end_offsets(settings.kafka_topic)
    except UnknownTopicError:
        if taken := _taken_in(settings):
            raise LogError(f"there is no topic {settings.kafka_topic}, {gone.format(taken)}") from None
        return f"no topic {settings.kafka_topic} yet; what first reads or writes it makes it"
    messages = sum(ends.values()) - sum(log.begin_offsets(settings.kafka_topic).values())
    return f"{settings.kafka_topic}, {len(ends)} partitions, {messages} messages"


def verify(names: Names = None, devices: Devices = None, as_json: AsJson = False) -> None:
    """Row counts, gaps and freshness of every device."""
    settings = load_settings()
    store = open_store(settings)
    rows = []
    for device in chosen_devices(store, named(names, devices)):
        times: list[int] = []
        embedded = flagged = 0
        for batch in Snapshot.batches(
            store, device.device_id, only=("snapshot_time", "embedding_method", "is_anomalous")
        ):
            times += [snapshot.snapshot_time for snapshot in batch]
            embedded += sum(snapshot.embedding_method is not None for snapshot in batch)
            flagged += sum(bool(snapshot.is_anomalous) for snapshot in batch)
        steps = np.diff(np.array(times, dtype=np.int64)) // device.window(settings)
        rows.append(
            {
                "device": device.device_id,
                "type": device.device_type,
                "readings": store.count("device_metrics_raw", device.device_id),
                "snapshots": len(times),
                "without_embedding": len(times) - embedded,
                "anomalous": flagged,
                "gaps": int((steps > 1).sum()),
                "windows_missing": int((steps[steps > 1] - 1).sum()),
                "other_units": [asdict(one) if as_json else str(one) for one in foreign_units(store, device)],
                "first_reading": at(device.first_seen),
                "last_reading": at(device.last_seen),
                "age": Length(now_ms() - device.last_seen),
            }
        )
    narrow = ("device", "readings", "snapshots", "windows_missing", "age")
    if as_json:
        _with_dead_letters(store, rows)
    print_rows(rows, as_json=as_json, title="Devices", narrow=narrow)
    if as_json:
        return
    console.print(f"dead letters: {store.count('dead_letters')}")
    if refused := refusals(store):
        shown = [
            {"count": r.count, "devices": sorted(r.devices), "last": at(r.last_at), "example": r.reason}
            for r in refused
        ]
        print_rows(shown, as_json=False, title="Dead letters by reason", narrow=("count", "example"))


def _with_dead_letters(store: Store, rows: list[dict[str, Any]]) -> None:
    """Say of each device which of its messages are dead letters; a last row without a device has those of none."""
    known = {device.device_id for device in store.devices()}
    by_device: dict[str | None, list[dict[str, Any]]] = {}
    for refusal in refusals(store, by_device=True):
        device_id = next(iter(refusal.devices))
        told = {"count": refusal.count, "last": at(refusal.last_at), "example": refusal.reason}
        by_device.setdefault(device_id if device_id in known else None, []).append(told)
    for row in rows:
        row["dead_letters"] = by_device.get(row["device"], [])
    if rows and None in by_device:
        rows.append({**dict.fromkeys(rows[0]), "dead_letters": by_device[None]})


@schema.command("show")
def show_schema(as_json: AsJson = False) -> None:
    """The tables: columns, keys, time to live."""
    rows = [
        {
            "table": t.name,
            "key": list(t.partition + t.clustering),
            "ttl_days": t.ttl_days,
            "columns": list(t.columns),
            "holds": t.description,
        }
        for t in tables().values()
    ]
    print_rows(rows, as_json=as_json, title="Schema", narrow=("table", "holds"))


@schema.command("apply")
def apply_schema(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done; on a CQL server, print the statements.")
    ] = False,
    forget: Annotated[
        bool,
        typer.Option(
            "--forget-device-types", help="Go on without device types that HVAC_DEVICE_TYPES no longer declares."
        ),
    ] = False,
) -> None:
    """Bring the store's schema to the current version; safe to repeat."""
    store = open_store_as_it_is(load_settings())
    before, needed = store.schema_versions()
    done = store.apply_schema(dry_run=dry_run)
    if forget and not dry_run:
        forget_device_types(store)
    for line in done:
        # Without markup and wrapping: a dry run on a CQL server prints statements that cqlsh takes.
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if dry_run:
        state = f"would go from schema version {before} to {needed}; nothing was done" if done else "nothing to do"
        console.print(f"-- {store.location}: {state}", highlight=False, soft_wrap=True)
        return
    found, _ = store.schema_versions()
    console.print(f"{store.location}: schema version {found} of {needed}" + ("" if done else ", nothing to do"))


@schema.command("salvage")
def salvage_store() -> None:
    """Bring what can be read of a damaged embedded store into a new one; the damaged file is kept.

    Stop everything that uses the store first; afterwards hvac ingest fills the holes from what the log still has.
    """
    settings = load_settings()
    if settings.scylla_hosts:
        raise StoreError("salvage is for the embedded store; the store here is a server's")
    path = settings.hvac_home / "store.db"
    if not path.exists():
        raise StoreError(f"there is no {path}")
    if users := users_of(path):
        raise StoreError(f"process {', '.join(map(str, users))} has {path} open: stop it first")
    made = path.with_name("store.salvaged.db")
    for left_over in (made, beside(made, "-wal"), beside(made, "-shm")):
        left_over.unlink(missing_ok=True)
    damaged, new = open_damaged(path), EmbeddedStore(made)
    found = salvage(damaged, new)
    new.close()
    close_as_it_is(damaged.connection)
    aside = path.with_name(f"store.damaged-{iso(now_ms()).replace(':', '').replace(' ', 'T')}.db")
    for suffix in ("", "-wal", "-shm"):
        if (old := path.with_name(path.name + suffix)).exists():
            old.replace(aside.with_name(aside.name + suffix))
    made.replace(path)
    lost = ", ".join(f"{name} {stretches}" for name, stretches in sorted(found.lost.items())) or "none"
    console.print(
        f"brought over {found.rows.total()} rows of {len(found.rows)} tables; stretches that could not be read: {lost}\n"
        f"the damaged file is {aside}; now hvac ingest"
    )
