"""The incidents of some days as Markdown for the Dagster UI: a table with what each costs, and plots of the most urgent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hvac_platform.assets.plots import line_plot
from hvac_platform.config import Settings
from hvac_platform.detection.urgency import points_in_order
from hvac_platform.devices.display_units import display_of
from hvac_platform.devices.registry import device_type
from hvac_platform.monitoring.data_loss import DATA_LOSS
from hvac_platform.monitoring.normal_course import normal_course
from hvac_platform.monitoring.worth import Prices, short_cost, worth_of
from hvac_platform.stores.base import Device, Store
from hvac_platform.stores.records import Incident
from hvac_platform.stores.series import read_series
from hvac_platform.timestamps import DAY_MS, iso

LISTED, PLOTTED = 30, 5
LONGEST_CELL = 160
LEAST_AROUND_MS, MOST_PLOTTED_MS = 1_800_000, 3 * DAY_MS


def incidents_told(
    store: Store, settings: Settings, devices: Sequence[Device], incidents: Sequence[Incident]
) -> dict[str, str]:
    """Markdown by name: ``incidents``, the most urgent with their cost, and ``incident_plots``, a plot of each of five.

    Both are bounded, whatever there is: Dagster keeps them with the event of the run.

    Args:
        store: has the windows of the incidents.
        settings: name the file of prices.
        devices: the registry.
        incidents: of the days.
    """
    if not incidents:
        return {"incidents": "No incident."}
    ordered = sorted(incidents, key=lambda one: (-points_in_order(one.urgency, one.severity), -one.started_at))
    prices = Prices.of(settings)
    shown = ordered[:LISTED]
    costs = {one.incident_id: short_cost(worth_of(store, one, prices)) for one in shown}
    counted = ", ".join(
        f"{sum(one.severity == severity for one in incidents)} {severity}"
        for severity in ("critical", "warning", "info")
    )
    lines = [
        f"{len(incidents)} incidents ({counted}), the most urgent first{_and_more(len(ordered), len(shown))}. "
        "*Costs a day*: what is avoidable while it goes on; – where that is not known, or may be nothing.",
        "",
        "| incident | from (UTC) | lasted | severity | urgency | likely | why | costs a day |",
        "|---|---|---|---|---|---|---|---|",
        *(_row(one, costs[one.incident_id]) for one in shown),
    ]
    registered = {device.device_id: device for device in devices}
    plots = [
        found
        for one in shown[:PLOTTED]
        if one.device_id in registered
        and (found := _plot(store, settings, registered[one.device_id], one, costs[one.incident_id]))
    ]
    told = {"incidents": "\n".join(lines)}
    return told | ({"incident_plots": "\n\n".join(plots)} if plots else {})


def _and_more(found: int, shown: int) -> str:
    return f"; {found - shown} more are on the dashboard" if found > shown else ""


def _row(one: Incident, cost: str) -> str:
    minutes = max(1, (one.ended_at - one.started_at) // 60_000)
    likely = one.label or next((kind["kind"].replace("_", " ") for kind in one.kinds), "–")
    urgency = f"{points_in_order(one.urgency, one.severity):.0f}"
    cells = [
        *(one.incident_id, iso(one.started_at)[:16], f"{minutes // 60} h {minutes % 60} min", one.severity, urgency),
        *(likely, next(iter(one.reasons), "–"), cost or "–"),
    ]
    return f"| {' | '.join(map(_cell, cells))} |"


def _cell(text: str) -> str:
    """Text from outside as a cell: what would end the cell, or be read as HTML or a link, is written out.

    >>> _cell("a|b" + chr(10) + "<i>[x](y)")
    'a&#124;b &lt;i&gt;&#91;x](y)'
    """
    cut = text if len(text) <= LONGEST_CELL else f"{text[:LONGEST_CELL]}…"
    flat = "".join(c if c.isprintable() else " " for c in cut)
    for mark, written in (
        ("&", "&amp;"),
        ("<", "&lt;"),
        (">", "&gt;"),
        ("|", "&#124;"),
        ("[", "&#91;"),
        ("`", "&#96;"),
    ):
        flat = flat.replace(mark, written)
    return flat


def _plot(store: Store, settings: Settings, device: Device, one: Incident, cost: str) -> str:
    """The metric that moved most around an incident, with what would have been normal; empty where nothing is kept of it."""
    if DATA_LOSS in one.methods:
        return ""
    pad = max(LEAST_AROUND_MS, (one.ended_at - one.started_at) // 2)
    span = one.started_at - pad, min(one.ended_at + pad, one.started_at - pad + MOST_PLOTTED_MS)
    series = read_series(store, device.device_id, device.device_type, *span)
    metric = next((name for name in one.metrics if name in series.metric_names), None)
    if metric is None or len(series) < 2:
        return ""
    declared = device_type(device.device_type)
    known = declared is not None and metric in declared.index
    unit = declared.point(metric).unit if declared is not None and known else ""
    title = declared.point(metric).title if declared is not None and known else metric.replace("_", " ")
    display = display_of(declared, metric, unit)
    lines: dict[str, Any] = {
        f"{title} ({display.unit})": np.asarray(display.values(series.column(metric)), dtype=float)
    }
    course = normal_course(store, device, one, span, device.window(settings))
    normal = None if course is None else course.column(metric, series.times_ms)
    if normal is not None:
        lines["normal would have been"] = np.asarray(display.values(normal), dtype=float)
    about = (
        f"{_cell(next(iter(one.reasons), 'no reason was recorded'))}.{f' Costs about {_cell(cost)}.' if cost else ''}"
    )
    drawn = line_plot(lines, series.times_ms, shaded=(one.started_at, one.ended_at))
    return f"**{_cell(one.incident_id)}**, {one.severity}: {about}\n\n{drawn}"
