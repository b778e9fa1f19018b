"""incidents: anomalous windows that belong together, and what is behind them."""

from collections import Counter
from collections.abc import Iterator

import dagster as dg
from pydantic import Field

from hvac_platform.assets.anomaly_events import anomaly_events
from hvac_platform.assets.common import OWNERS, RETRIES, only_device, tell_failures
from hvac_platform.io_managers.table_output import Metadata, TableOutput, table_output
from hvac_platform.monitoring.lifecycle import State, handling_of, state_of
from hvac_platform.monitoring.passes import IncidentsPass, spans_of_days
from hvac_platform.partitions import daily
from hvac_platform.resources import PlatformResource
from hvac_platform.stores.base import Store
from hvac_platform.stores.batches import TableBatch
from hvac_platform.stores.records import Incident
from hvac_platform.timestamps import day_windows, iso, now_ms

SHOWN = 100


class IncidentsConfig(dg.Config):
    """Which incidents to compute."""

    only_changed: bool = Field(False, description="Only incidents with other windows than when they were last computed")
    open_past: bool = Field(
        False, description="Open incidents that ended long ago too, so that people are told of them"
    )


@dg.asset(
    partitions_def=daily,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[anomaly_events],
    group_name="detection",
    kinds={"scylladb", "sqlite", "numpy"},
    owners=OWNERS,
    io_manager_key="store",
    metadata={"table": "incidents"},
    retry_policy=RETRIES,
)
def incidents(context: dg.AssetExecutionContext, config: IncidentsConfig, platform: PlatformResource) -> TableOutput:
    """Incidents with severity, likely kinds of fault, similar past incidents, scope and excess energy, in `incidents`.

    Why: a fault is one thing to a person, whatever number of windows it shows in. Anomalous windows of a device less than
    ten minutes apart are one incident, and so is a fault that comes again within the hour. Its signature, in units of the
    device's own normal, tells what kind of fault it resembles and where the same was seen before, also on other devices;
    what many devices entered at once is weather or network rather than a fault. A device of which nothing comes while others
    are heard is an incident too. Where each stands (open, acknowledged, resolved, …) is in `incident_handling`, what
    happened to it in `incident_transitions`.
    """
    store, window_ms = platform.store, platform.settings.window_ms
    only = only_device(context)
    devices = [device for device in store.devices() if only in (None, device.device_id)]
    spans = list(spans_of_days(devices, context.partition_keys, platform.settings))
    found = IncidentsPass(
        store,
        platform.settings,
        spans,
        now_ms=now_ms(),
        only_changed=config.only_changed,
        open_past=config.open_past,
    )
    found.on_incident = lambda device_id, batch: _log_incident(context, device_id, batch)

    def batches(metadata: Metadata) -> Iterator[TableBatch]:
        yield from found.batches()
        tell_failures(context, metadata, found)
        start_ms = day_windows(context.partition_keys[0], window_ms)[0]
        end_ms = day_windows(context.partition_keys[-1], window_ms)[1]
        stored = sorted(Incident.read(store, None, (start_ms, end_ms)), key=lambda incident: -incident.started_at)
        metadata.update(
            incidents=len(stored),
            computed=found.computed,
            open=sum(incident.status == "open" for incident in stored),
            **{f"state_{state}": count for state, count in _states(store, stored).items()},
            fleet_wide=sum(incident.scope == "fleet" for incident in stored),
            **{s: sum(incident.severity == s for incident in stored) for s in ("critical", "warning", "info")},
            newest=dg.MetadataValue.md(_table_of(stored[:SHOWN])),
        )

    return table_output(batches)


def _states(store: Store, stored: list[Incident]) -> dict[str, int]:
    """Incidents by where they stand."""
    handlings, at_ms = handling_of(store, stored), now_ms()
    counted = Counter(state_of(handlings.get(incident.incident_id), at_ms) for incident in stored)
    return {str(state): counted[state] for state in State}


def _log_incident(context: dg.AssetExecutionContext, device_id: str, batch: TableBatch) -> None:
    context.log.info(
        "%s: %s incident from %s, %d windows: %s",
        *(device_id, batch.columns["severity"][0], iso(batch.columns["started_at"][0])),
        *(batch.columns["windows"][0], next(iter(batch.columns["reasons"][0]), "no reason given")),
    )


def _table_of(shown: list[Incident]) -> str:
    lines = ["| device | from | windows | severity | likely | why |", "|---|---|---|---|---|---|"]
    for incident in shown:
        likely = incident.kinds[0]["kind"].replace("_", " ") if incident.kinds else "–"
        lines.append(
            f"| {incident.device_id} | {iso(incident.started_at)[:16]} | {incident.windows} | {incident.severity} | "
            f"{likely} | {next(iter(incident.reasons), '')} |"
        )
    return "\n".join(lines)
