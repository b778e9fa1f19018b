"""The IO manager: every asset's rows go to its table by key, and come back as lazy slices of what a run concerns."""

from collections.abc import Iterable, Iterator
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd

from hvac_platform.ingestion.windows import window_ranges
from hvac_platform.io_managers.table_output import TableOutput
from hvac_platform.resources import PlatformResource
from hvac_platform.runtime.device_runs import DEVICE_TAG
from hvac_platform.stores.base import Store
from hvac_platform.stores.batches import DeviceSlice, DeviceSlices, TableBatch, TouchedWindows, write_batch
from hvac_platform.stores.records import TouchedDevice
from hvac_platform.stores.tables import Table, table
from hvac_platform.stores.window_lengths import WindowLengths
from hvac_platform.timestamps import day_windows, days_of, now_ms, window_floor

NO_DEVICE = ""
"""Stands for a range of offsets in ``touched_windows`` that no good message came of."""


def table_of(definition_metadata: Any) -> Table:
    """The table that an asset's definition metadata names."""
    return table(str(definition_metadata["table"]))


def column_schema(target: Table) -> dg.TableSchema:
    """Dagster's view of a table's columns."""
    columns = [
        dg.TableColumn(
            c.name,
            c.type,
            c.description,
            constraints=dg.TableColumnConstraints(nullable=c.name not in target.key, unique=target.key == (c.name,)),
        )
        for c in target.columns.values()
    ]
    return dg.TableSchema(columns=columns)


class StoreIOManager(dg.ConfigurableIOManager):
    """Writes :class:`TableOutput` or DataFrames by key; hands out :class:`DeviceSlices` or DataFrames."""

    platform: dg.ResourceDependency[PlatformResource]

    # -- out ---------------------------------------------------------------------------------------------------------

    def handle_output(self, context: dg.OutputContext, obj: TableOutput | pd.DataFrame | None) -> None:
        """Write what an asset returned; None writes nothing."""
        if obj is None:
            return
        target = table_of(context.definition_metadata)
        output = TableOutput(iter([_batch_of_frame(obj)])) if isinstance(obj, pd.DataFrame) else obj
        rows, store, chain = 0, self.platform.store, _chain_of(context)
        days: set[str] = set()
        for batch in output.batches:
            written = write_batch(store, target.name, batch)
            if batch.touched is not None:
                self._keep_touched(store, chain, batch.touched)
            if batch.table in (None, target.name) and batch.action != "delete":
                rows += written
                if target.time_column is not None and target.time_column in batch.columns:
                    days.update(days_of(np.asarray(batch.columns[target.time_column], dtype=np.int64)))
        if context.has_asset_partitions:
            mark_other_days(context, days, context.asset_partition_keys, context.asset_partitions_def)
        context.add_output_metadata(
            {
                **output.metadata,
                "dagster/row_count": rows,
                "dagster/table_name": target.name,
                "dagster/column_schema": column_schema(target),
                "store": store.location.rsplit("/", 1)[-1],
            }
        )

    @staticmethod
    def _keep_touched(store: Store, chain: str, touched: TouchedWindows) -> None:
        written = now_ms()
        found = [
            TouchedDevice(
                run_id=chain,
                sequence=touched.sequence,
                device_id=device_id,
                topic=touched.topic,
                kafka_partition=touched.partition,
                window_starts=touched.starts_ms[device_id].astype("<i8").tobytes() if device_id != NO_DEVICE else b"",
                latest=touched.latest_ms.get(device_id, 0),
                written_at=written,
            )
            for device_id in list(touched.starts_ms) or [NO_DEVICE]
        ]
        store.upsert(TouchedDevice.TABLE, TouchedDevice.columns(found))

    # -- in ----------------------------------------------------------------------------------------------------------

    def load_input(self, context: dg.InputContext) -> DeviceSlices | pd.DataFrame:
        """Slices of the upstream table: the windows that this chain of runs touched, or else the whole days.

        Days are of all devices, or of the one that the run concerns.
        """
        upstream = context.upstream_output
        assert upstream is not None
        target = table_of(upstream.definition_metadata)
        store = self.platform.store
        chain = _chain_of(context)
        days = list(context.asset_partition_keys) if context.has_asset_partitions else []
        only = context.step_context.dagster_run.tags.get(DEVICE_TAG)

        def slices() -> Iterator[DeviceSlice]:
            lengths = WindowLengths(store, self.platform.settings.window_ms)
            touched = touched_starts(store, chain)
            if touched is not None:
                for device_id, starts in touched.items():
                    window_ms = lengths.of(device_id)
                    whole = np.unique(window_floor(starts, window_ms))  # they are of another length after a change
                    for start, end in window_ranges(whole, window_ms):
                        yield DeviceSlice(store, target.name, device_id, start, end)
            elif days:
                for day in store.device_days(days[0], days[-1], only):
                    start, end = day_windows(day.date, lengths.of(day.device_id))
                    yield DeviceSlice(store, target.name, day.device_id, start, end)

        lazy = DeviceSlices(slices)
        if context.dagster_type.typing_type is pd.DataFrame:
            return lazy.frame(*target.columns)
        return lazy


def mark_other_days(
    context: dg.OutputContext | dg.AssetExecutionContext,
    days: Iterable[str],
    own: Iterable[str],
    known: dg.PartitionsDefinition[str],
) -> None:
    """Late rows went to their own day: say so on that day's partition of the asset as well.

    Args:
        context: of the asset.
        days: UTC days that rows went to.
        own: partitions of the run.
        known: days that are partitions.
    """
    of_the_run = sorted(own)
    for day in sorted(set(days) - set(of_the_run)):
        if known.has_partition_key(day):
            metadata = {"late_rows_of_run_for": ", ".join(of_the_run[:3])}
            context.log_event(dg.AssetMaterialization(context.asset_key, partition=day, metadata=metadata))


def touched_starts(store: Store, chain: str) -> dict[str, np.ndarray[Any, np.dtype[np.int64]]] | None:
    """Window starts that a chain of runs touched, by device; None when it reads whole days, not ranges of offsets."""
    parts: dict[str, list[np.ndarray[Any, np.dtype[np.int64]]]] = {}
    for touched in TouchedDevice.read(store, only=("device_id", "window_starts"), equals={"run_id": chain}):
        starts = np.frombuffer(touched.window_starts, dtype="<i8").astype(np.int64)
        parts.setdefault(touched.device_id, []).append(starts)
    if not parts:
        return None
    parts.pop(NO_DEVICE, None)
    return {device_id: np.unique(np.concatenate(starts)) for device_id, starts in sorted(parts.items())}


def touched_watermarks(store: Store, chain: str) -> dict[int, int]:
    """Latest event time that a chain of runs saw, by partition of the topic."""
    latest: dict[int, int] = {}
    for touched in _touched(store, chain):
        if touched.device_id != NO_DEVICE:
            known = latest.get(touched.kafka_partition, touched.latest)
            latest[touched.kafka_partition] = max(known, touched.latest)
    return latest


def touched_ranges(store: Store, chain: str) -> set[tuple[int, int]]:
    """Partition and first offset of each batch that a chain of runs took in; a range is one of them."""
    return {(touched.kafka_partition, touched.sequence) for touched in _touched(store, chain)}


def _touched(store: Store, chain: str) -> list[TouchedDevice]:
    """What a chain of runs touched, without the windows."""
    return TouchedDevice.read(store, only=TouchedDevice.all_but("window_starts"), equals={"run_id": chain})


def chain_of(run: dg.DagsterRun) -> str:
    """Id of the first run of a chain of retries: what one attempt wrote, the next one finds."""
    return run.root_run_id or run.run_id


def _chain_of(context: dg.OutputContext | dg.InputContext) -> str:
    return chain_of(context.step_context.dagster_run)


def _batch_of_frame(frame: pd.DataFrame) -> TableBatch:
    return TableBatch({str(name): frame[name].tolist() for name in frame.columns})
