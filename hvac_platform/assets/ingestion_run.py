"""What every ingestion run shows in Dagster, whether it stands or not: new devices, and what it took in."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from hvac_platform.alerts.disputed_devices import (
    ahead_text,
    dispute,
    repeated_text,
    settle,
    stray_text,
    tell_units,
    units_text,
)
from hvac_platform.assets.common import listed
from hvac_platform.ingestion.decoding import IngestionCounts
from hvac_platform.ingestion.registration import OLDER, TypeConflict, look_alikes
from hvac_platform.ingestion.repeated import Repeated
from hvac_platform.ingestion.sent_units import UnitChange
from hvac_platform.ingestion.standing import LEAST_AHEAD, Registry
from hvac_platform.io_managers.table_output import Metadata
from hvac_platform.partitions import devices
from hvac_platform.resources import PlatformResource
from hvac_platform.stores.base import Device
from hvac_platform.stores.window_lengths import WindowLengths
from hvac_platform.timestamps import now_ms


def run_registry(context: dg.AssetExecutionContext, platform: PlatformResource) -> Registry:
    """The registry for a run: new devices become partitions, and its log names them and those whose type is disputed."""

    def on_new(found: list[str]) -> None:
        unknown = sorted(set(found) - set(context.instance.get_dynamic_partitions(str(devices.name))))
        if unknown:
            context.instance.add_dynamic_partitions(str(devices.name), unknown)
            context.log.info("new devices: %s", listed(unknown))
        for one, other in look_alikes(found, [device.device_id for device in platform.store.devices()]):
            context.log.warning("device %r looks like %r: is it the same one?", one, other)

    def on_conflict(conflict: TypeConflict) -> None:
        context.log.warning("%s", conflict)
        if conflict.why != OLDER:
            dispute(platform.store, conflict.device_id, str(conflict), now_ms())

    def on_stray(device: Device, newest_ms: int) -> None:
        text = stray_text(device.device_id, device.last_seen, newest_ms)
        context.log.warning("%s", text)
        dispute(platform.store, device.device_id, text, now_ms())

    def on_units(device_id: str, changes: Sequence[UnitChange]) -> None:
        text = units_text(device_id, changes)
        context.log.warning("%s", text)
        tell_units(platform.store, device_id, changes, now_ms())

    def on_ahead(device_id: str, at_ms: int) -> None:
        text = ahead_text(device_id, at_ms, now_ms())
        context.log.warning("%s", text)
        dispute(platform.store, device_id, text, now_ms())

    def on_repeated(device_id: str, told: Repeated) -> None:
        text = repeated_text(device_id, told)
        context.log.warning("%s", text)
        dispute(platform.store, device_id, text, now_ms())

    settings = platform.settings
    lengths = WindowLengths(platform.store, settings.window_ms)
    most = settings.hvac_max_devices
    return Registry(platform.store, on_new, on_conflict, most, lengths, on_stray, on_units, on_ahead, on_repeated)


def tell_taken_in(metadata: Metadata, counts: IngestionCounts, registry: Registry, *, made_again: int) -> None:
    """Say of a run what it read, what it refused and why, and whether messages and registry disagree on devices.

    Args:
        metadata: of the materialization.
        counts: of the run.
        registry: of the run.
        made_again: logs that were made again and so are read from their begin.
    """
    disputed = registry.conflicts.values()
    ahead = {device_id for device_id, count in registry.ahead.items() if count >= LEAST_AHEAD}
    unsettled = (
        registry.strays
        | ahead
        | registry.repeated.keys()
        | {conflict.device_id for conflict in disputed if conflict.why != OLDER}
    )
    settle(registry.store, counts.devices - unsettled, now_ms())
    metadata.update(
        messages=counts.messages,
        accepted=counts.accepted,
        rejected=counts.rejected,
        rejected_share=counts.rejected_share,
        skipped_offsets=counts.skipped,
        unreadable=counts.unreadable,
        logs_made_again=made_again,
        devices=len(counts.devices),
        rejections=dg.MetadataValue.json(counts.reasons),
        other_units=", ".join(sorted(counts.other_units)) or "none",
        repeated_with_other_values=listed([f"{name}: {n}" for name, n in sorted(registry.repeated.items())]) or "none",
        type_changes=", ".join(str(c) for c in disputed if c.changed) or "none",
        type_conflicts=", ".join(str(c) for c in disputed if not c.changed) or "none",
    )
