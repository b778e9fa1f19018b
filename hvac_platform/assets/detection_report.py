"""detection_report: the methods side by side, per day."""

from collections.abc import Iterator

import dagster as dg

from hvac_platform.assets.anomaly_events import anomaly_events
from hvac_platform.assets.common import OWNERS, RETRIES
from hvac_platform.io_managers.slices import TableBatch, TableOutput
from hvac_platform.monitoring.comparing import compare_device
from hvac_platform.partitions import daily
from hvac_platform.resources import PlatformResource
from hvac_platform.timestamps import day_windows


@dg.asset(
    partitions_def=daily,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[anomaly_events],
    group_name="detection",
    kinds={"scylladb", "sqlite"},
    owners=OWNERS,
    io_manager_key="store",
    metadata={"table": "detection_reports"},
    retry_policy=RETRIES,
)
def detection_report(context: dg.AssetExecutionContext, platform: PlatformResource) -> TableOutput:
    """Per day and device: windows judged, anomalies and rate of each method, consensus, union, in `detection_reports`.

    Why: a method that alarms far more often than the others is mis-tuned or sees what they miss; the report shows which
    device to look at.
    """
    output = TableOutput(iter(()))

    def batches() -> Iterator[TableBatch]:
        lines = [
            "| day | device | windows | rules | profile | vector | consensus | any |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for date in context.partition_keys:
            start_ms, end_ms = day_windows(date, platform.settings.window_ms)
            for day in platform.store.device_days(date, date):
                c = compare_device(platform.store, day.device_id, start_ms, end_ms)
                if not c.windows:
                    continue
                row = {m: c.anomalies.get(m, 0) for m in ("rules", "profile", "vector")}
                lines.append(
                    f"| {date} | {day.device_id} | {c.windows} | "
                    + " | ".join(f"{n} ({c.rate(n):.1%})" for n in (*row.values(), c.consensus, c.any_method))
                    + " |"
                )
                yield TableBatch(
                    {
                        "date": [date],
                        "device_id": [day.device_id],
                        "windows": [c.windows],
                        **{method: [count] for method, count in row.items()},
                        "consensus": [c.consensus],
                        "any_method": [c.any_method],
                    }
                )
        output.metadata["report"] = dg.MetadataValue.md("\n".join(lines[:500]))

    output.batches = batches()
    return output
