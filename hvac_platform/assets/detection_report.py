"""detection_report: the methods side by side, incidents with what they cost, and energy, per day."""

from collections import Counter
from collections.abc import Iterator

import dagster as dg
import numpy as np

from hvac_platform.assets.common import OWNERS, RETRIES, only_device
from hvac_platform.assets.incident_plots import incidents_told
from hvac_platform.assets.incidents import incidents
from hvac_platform.assets.plots import bar_plot, line_plot
from hvac_platform.detection.methods import method_names
from hvac_platform.io_managers.table_output import Metadata, TableOutput, table_output
from hvac_platform.monitoring.comparing import compare_device, scores_of
from hvac_platform.monitoring.energy import span_energy
from hvac_platform.monitoring.profiles import load_profile
from hvac_platform.partitions import daily
from hvac_platform.resources import PlatformResource
from hvac_platform.stores.batches import TableBatch
from hvac_platform.stores.records import DeviceReport, Incident, MethodReport
from hvac_platform.timestamps import day_windows

PLOTTED = 6
HIGHEST = 10.0


@dg.asset(
    partitions_def=daily,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[incidents],
    group_name="detection",
    kinds={"scylladb", "sqlite"},
    owners=OWNERS,
    io_manager_key="store",
    metadata={"table": "detection_reports"},
    retry_policy=RETRIES,
)
def detection_report(context: dg.AssetExecutionContext, platform: PlatformResource) -> TableOutput:
    """Per day and device: consensus, union, incidents and energy in `detection_reports`, each method in `method_reports`.

    Why: a method that alarms far more often than the others is mis-tuned or sees what they miss; the report shows which
    device to look at, and what its state cost. The incidents of the day are beside it, the most urgent first, each with its
    avoidable cost a day, and five of them as plots.
    """
    store = platform.store

    def batches(metadata: Metadata) -> Iterator[TableBatch]:
        names = method_names()
        headings = ("day", "device", "windows", *names, "consensus", "any", "incidents", "kWh", "expected", "excess")
        lines = [f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
        registered = {d.device_id: d for d in store.devices()}
        anomalous: dict[str, dict[str, int]] = {}
        of_days: list[Incident] = []
        plots: list[tuple[int, str]] = []
        for date in context.partition_keys:
            for day in store.device_days(date, date, only_device(context)):
                device = registered.get(day.device_id)
                if device is None:
                    continue
                window_ms = device.window(platform.settings)
                start_ms, end_ms = day_windows(date, window_ms)
                c = compare_device(store, day.device_id, start_ms, end_ms)
                if not c.windows:
                    continue
                begun = Incident.read(store, day.device_id, (start_ms, end_ms))
                found, of_days = len(begun), [*of_days, *begun]
                energy = span_energy(store, device, load_profile(store, day.device_id), window_ms, start_ms, end_ms)
                row = {m: c.anomalies.get(m, 0) for m in names}
                kwh = (energy.actual_kwh, energy.expected_kwh, energy.excess_kwh) if energy else (None,) * 3
                lines.append(
                    f"| {date} | {day.device_id} | {c.windows} | "
                    + " | ".join(f"{n} ({c.rate(n):.1%})" for n in (*row.values(), c.consensus, c.any_method))
                    + f" | {found} | "
                    + " | ".join("–" if v is None else f"{v:,.1f}" for v in kwh)
                    + " |"
                )
                counted = anomalous.setdefault(day.device_id, Counter())
                for name, n in (*row.items(), ("consensus", c.consensus)):
                    counted[name] += n
                if len(context.partition_keys) == 1 and c.any_method:
                    times, scores = scores_of(store, day.device_id, start_ms, end_ms)
                    shown = {m: np.minimum(v, HIGHEST) for m, v in scores.items()}
                    plots.append((c.any_method, f"**{day.device_id}**\n\n{line_plot(shown, times, limit=1.0)}"))
                methods = [
                    MethodReport(date, day.device_id, name, c.windows, n, c.disagreements.get(name, 0))
                    for name, n in row.items()
                ]
                yield TableBatch(MethodReport.columns(methods), table=MethodReport.TABLE)
                report = DeviceReport(date, day.device_id, c.windows, c.consensus, c.any_method, found, *kwh)
                yield TableBatch(DeviceReport.columns([report]))
        told = incidents_told(store, platform.settings, list(registered.values()), of_days)
        metadata.update({name: dg.MetadataValue.md(text) for name, text in told.items()})
        metadata["report"] = dg.MetadataValue.md("\n".join(lines[:500]))
        if anomalous:
            metadata["anomalous_windows_by_method"] = dg.MetadataValue.md(bar_plot(anomalous, (*names, "consensus")))
        worst = sorted(plots, key=lambda plot: -plot[0])[:PLOTTED]
        if worst:
            metadata["scores"] = dg.MetadataValue.md(
                "Scores of the methods; 1 is the limit.\n\n" + "\n\n".join(plot for _, plot in worst)
            )

    return table_output(batches)
