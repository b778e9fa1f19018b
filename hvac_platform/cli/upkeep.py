"""Commands about the state of the platform: ``check``, ``verify``, ``lag``, ``schema``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import typer

from hvac_platform.cli.choosing import chosen_devices
from hvac_platform.cli.output import AsJson, console, print_rows
from hvac_platform.config import CONSUMER_GROUP, Settings, load_settings
from hvac_platform.connections import make_encoders, open_log, open_store, open_store_as_it_is
from hvac_platform.detection.profile import provisional_profile
from hvac_platform.devices.registry import device_types
from hvac_platform.stores.base import TableSlice
from hvac_platform.stores.tables import tables
from hvac_platform.timestamps import iso, now_ms

schema = typer.Typer(no_args_is_help=True)


def check(as_json: AsJson = False) -> None:
    """Check every connection and the schema; says what to do where something fails. Exit code 1 when anything does."""
    settings = load_settings()
    rows: list[dict[str, Any]] = []

    def probe(name: str, remedy: str, test: Callable[[Settings], str]) -> None:
        try:
            rows.append({"part": name, "ok": True, "state": test(settings), "what_to_do": ""})
        except Exception as error:  # every failure is a finding here, whatever its type
            rows.append({"part": name, "ok": False, "state": str(error), "what_to_do": remedy})

    servers = "check {} and that the server is up; docs/troubleshooting.md lists the usual causes"
    probe(
        "store",
        servers.format("SCYLLA_HOSTS") if settings.scylla_hosts else "set HVAC_HOME to a writable folder",
        lambda s: open_store(s).location,
    )
    probe("schema", "hvac schema apply", _schema_state)
    probe(
        "message log",
        servers.format("KAFKA_BOOTSTRAP_SERVERS")
        if settings.kafka_bootstrap_servers
        else "check KAFKA_TOPIC and that HVAC_HOME is a writable folder",
        _log_state,
    )
    probe("encoder", "see what it says, or set HVAC_EMBEDDING=state", _encoder_state)
    probe("device types", "correct the YAML file, or HVAC_DEVICE_TYPES", lambda _: ", ".join(sorted(device_types())))
    print_rows(rows, as_json=as_json, title="Check")
    if not all(row["ok"] for row in rows):
        raise typer.Exit(1)


def _schema_state(settings: Settings) -> str:
    found, needed = open_store(settings).schema_versions()
    if found != needed:
        raise RuntimeError(f"the store has schema version {found}, this code needs {needed}")
    return f"version {found}, {len(tables())} tables"


def _encoder_state(settings: Settings) -> str:
    """Encode the middle of a device type's ranges: for a server behind the encoder that is the whole way and back."""
    encoder, declared = make_encoders(settings, open_store(settings)).common, next(iter(device_types().values()))
    provisional_profile("check", declared, encoder.method, encoder.encode)
    return encoder.method


def _log_state(settings: Settings) -> str:
    log = open_log(settings)
    messages = sum(log.end_offsets(settings.kafka_topic).values()) - sum(
        log.begin_offsets(settings.kafka_topic).values()
    )
    return f"{settings.kafka_topic}, {len(log.partitions(settings.kafka_topic))} partitions, {messages} messages"


def verify(
    devices: Annotated[list[str] | None, typer.Option(help="Devices; all when absent.")] = None, as_json: AsJson = False
) -> None:
    """Row counts, gaps and freshness of every device."""
    settings = load_settings()
    store = open_store(settings)
    rows = []
    for device in chosen_devices(store, devices):
        times: list[int] = []
        embedded = flagged = 0
        columns = ("snapshot_time", "embedding_method", "is_anomalous")
        for batch in store.scan(TableSlice("device_state_snapshots", columns, device.device_id)):
            times += batch["snapshot_time"]
            embedded += sum(method is not None for method in batch["embedding_method"])
            flagged += sum(bool(flag) for flag in batch["is_anomalous"])
        steps = np.diff(np.array(times, dtype=np.int64)) // settings.window_ms
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
                "first_reading": iso(device.first_seen),
                "last_reading": iso(device.last_seen),
                "age": age(now_ms() - device.last_seen),
            }
        )
    print_rows(rows, as_json=as_json, title="Devices")
    if not as_json:
        console.print(f"dead letters: {store.count('dead_letters')}")


def age(milliseconds: int) -> str:
    """How long ago, in the largest unit that fits.

    >>> age(90_000), age(3 * 86_400_000)
    ('1 min', '3 d')
    """
    for unit, length in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000)):
        if milliseconds >= length:
            return f"{milliseconds // length} {unit}"
    return f"{max(0, milliseconds) // 1000} s"


def lag(as_json: AsJson = False) -> None:
    """How far ingestion is behind the log, by partition."""
    settings = load_settings()
    log, store = open_log(settings), open_store(settings)
    topic = settings.kafka_topic
    ledger, committed = store.ledger(topic), log.committed(CONSUMER_GROUP, topic)
    begin = log.begin_offsets(topic)
    rows = []
    for partition, end in sorted(log.end_offsets(topic).items()):
        entry = ledger.get(partition)
        rows.append(
            {
                "partition": partition,
                "begin": begin[partition],
                "end": end,
                "ledger": entry.next_offset if entry else None,
                "committed": committed.get(partition),
                "lag": end - (entry.next_offset if entry else begin[partition]),
                "skipped": entry.skipped_offsets if entry else 0,
                "watermark": iso(entry.watermark) if entry and entry.watermark is not None else None,
            }
        )
    print_rows(rows, as_json=as_json, title=f"{topic}, group {CONSUMER_GROUP}")


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
    print_rows(rows, as_json=as_json, title="Schema")


@schema.command("apply")
def apply_schema(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done; on a CQL server, print the statements.")
    ] = False,
) -> None:
    """Bring the store's schema to the current version; safe to repeat."""
    store = open_store_as_it_is(load_settings())
    before, needed = store.schema_versions()
    done = store.apply_schema(dry_run=dry_run)
    for line in done:
        # Without markup and wrapping: a dry run on a CQL server prints statements that cqlsh takes.
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if dry_run:
        state = f"would go from schema version {before} to {needed}; nothing was done" if done else "nothing to do"
        console.print(f"-- {store.location}: {state}", highlight=False, soft_wrap=True)
        return
    found, _ = store.schema_versions()
    console.print(f"{store.location}: schema version {found} of {needed}" + ("" if done else ", nothing to do"))
