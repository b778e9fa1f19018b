"""What other limits would have shown of all devices: a table that grows while a browser asks for one device after another.

Each answer takes about half a second and carries what the next one goes on from, so no question holds the server, and a
page that is left asks no more.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from dash import dcc, html

from hvac_platform.config import Settings
from hvac_platform.dashboard.components import Content, Heading, empty_state, note, table
from hvac_platform.dashboard.formatting import device_href, number
from hvac_platform.dashboard.pasted_rules import PastedRulesError, require_few_windows
from hvac_platform.embedding.learned import Encoders
from hvac_platform.monitoring.passes import Span
from hvac_platform.monitoring.what_if import (
    Compared,
    Limits,
    OfScores,
    TooFewScoresError,
    budget_in_words,
    what_scores_say,
    without_a_judged_window,
)
from hvac_platform.runtime.connections import make_encoders
from hvac_platform.stores.base import Device, Store
from hvac_platform.timestamps import DAY_MS
from hvac_platform.visible_text import visible

STEP_SECONDS = 0.4
MOST_DEVICES = 200
NAMES = (
    *("windows", "recorded", "replayed", "won", "lost", "earlier", "later"),
    *("in_several_parts", "several_in_one"),
)
HEADINGS = (
    *("windows", "on record", "as tried", "won", "lost", "earlier", "later"),
    *("in several parts", "several in one"),
)


@dataclass(frozen=True, slots=True)
class DeviceAnswer:
    """What other limits would have shown of one device.

    Attributes:
        device_id: the device.
        counts: windows judged, incidents on record and as tried, won, lost, earlier, later, in several parts,
            several in one; no windows where none was judged.
        days: for how long windows were judged.
        minutes: how long the incidents as tried last.
        said: why there is no answer, or empty.
    """

    device_id: str
    counts: list[float]
    days: float = 0.0
    minutes: float = 0.0
    said: str = ""


def answer_of(found: Compared, window_ms: int) -> DeviceAnswer:
    """A comparison in figures."""
    counts = [found.windows, *(len(getattr(found, name)) for name in NAMES[1:])]
    minutes = sum(end - start for start, end in found.replayed) / 60_000
    return DeviceAnswer(found.device.device_id, [float(n) for n in counts], found.windows * window_ms / DAY_MS, minutes)


def sent_answers(rows: object) -> list[DeviceAnswer]:
    """Answers as a browser sends them back; what is none is left out.

    >>> row = {"device_id": "CH-001", "counts": [1, 2, 3, 4, 5, 6, 7, 8, 9], "days": 1.0, "minutes": 3, "said": ""}
    >>> sent_answers([row, 7])
    [DeviceAnswer(device_id='CH-001', counts=[1, 2, 3, 4, 5, 6, 7, 8, 9], days=1.0, minutes=3, said='')]
    """
    found = []
    for row in rows if isinstance(rows, list) else []:
        if not isinstance(row, dict) or row.keys() != DeviceAnswer.__dataclass_fields__.keys():
            continue
        figures = [row["days"], row["minutes"], *(row["counts"] if isinstance(row["counts"], list) else ["none"])]
        texts = isinstance(row["device_id"], str) and isinstance(row["said"], str)
        if texts and len(figures) == 2 + len(NAMES) and all(type(n) in (int, float) and 0 <= n < 1e12 for n in figures):
            found.append(DeviceAnswer(**row))
    return found[:MOST_DEVICES]


def devices_asked(store: Store, tried: OfScores) -> list[Device]:
    """Devices that are compared, by name: with other rules, those of their type."""
    wanted = store.devices() if tried.rules is None else [d for d in store.devices() if _is_of(d, tried)]
    return sorted(wanted, key=lambda device: device.device_id)


def _is_of(device: Device, tried: OfScores) -> bool:
    return tried.rules is not None and device.device_type == tried.rules.name


def encoders_for(tried: OfScores, store: Store, settings: Settings) -> Encoders | None:
    """The encoders of all devices where fixed limits are tried, which need them."""
    return None if tried.fixed == Limits() else make_encoders(settings, store)


def next_answers(
    store: Store, settings: Settings, tried: OfScores, span: tuple[int, int], so_far: Mapping[str, Any]
) -> tuple[Content, dict[str, Any] | None]:
    """Compare some more devices.

    Args:
        store: has verdicts and the record.
        settings: quiet time of incidents, length of windows.
        tried: what is tried.
        span: [start, end) of the past.
        so_far: ``read``, the number of devices that are done, and ``rows``, what was found of them.

    Returns:
        What is shown of all devices so far, and what to go on from; None when all are done.
    """
    devices = devices_asked(store, tried)
    if not devices:
        kind = "device" if tried.rules is None else f"{tried.rules.title}, whose rules these are,"
        return empty_state(f"there is no {kind} among the devices"), None
    asked = devices[:MOST_DEVICES]
    answers, read = sent_answers(so_far.get("rows")), so_far.get("read")
    done = min(max(read, 0), len(asked)) if isinstance(read, int) else 0
    encoders = encoders_for(tried, store, settings)
    deadline = time.monotonic() + STEP_SECONDS
    while done < len(asked):
        device = asked[done]
        done += 1
        try:
            require_few_windows(tried, span[1] - span[0], device.window(settings))
            found = what_scores_say(store, settings, Span(device, *span), tried, encoders)
            answers.append(answer_of(found, device.window(settings)))
        except (PastedRulesError, TooFewScoresError) as error:
            answers.append(DeviceAnswer(device.device_id, [0.0] * len(NAMES), said=str(error)))
        if time.monotonic() > deadline:
            break
    why = "" if tried.budget is None else budget_in_words(tried.budget, settings.hvac_false_alarms_per_day)
    shown = _shown(answers, done, len(asked), len(devices), why)
    if done == len(asked):
        return shown, None
    return shown, {"read": done, "rows": [asdict(answer) for answer in answers]}


def _shown(answers: list[DeviceAnswer], done: int, asked: int, all_of_them: int, why: str) -> Content:
    """The table, the sums above it with why there are more or fewer, and of which devices nothing can be said."""
    told = [answer for answer in answers if not answer.said and answer.counts[0]]
    unjudged = [visible(answer.device_id, 80) for answer in answers if not answer.said and not answer.counts[0]]
    untold = [answer for answer in answers if answer.said]
    days = sum(answer.days for answer in told)
    sums = [sum(answer.counts[i] for answer in told) for i in range(len(NAMES))]
    read = f"{done:,} of {asked:,} devices read"
    if not told:
        words = f"{read}; no window of them was judged in that time"
    else:
        minutes = sum(answer.minutes for answer in told)
        words = (
            f"{read}: {sums[1]:,.0f} incidents on record, {sums[2]:,.0f} as tried; {sums[3]:,.0f} won, "
            f"{sums[4]:,.0f} lost, {sums[7]:,.0f} in several parts, {sums[8]:,.0f} several in one, {sums[5]:,.0f} earlier, "
            f"{sums[6]:,.0f} later. As tried, "
            f"{number(sums[2] / days, 2)} incidents a day and device, {minutes / (1440 * days):.1%} of the time"
        )
    words += f". The first {asked} of {all_of_them:,} are read; hvac replay reads all" if all_of_them > asked else ""
    rows: list[list[Content]] = [
        [
            dcc.Link(visible(one.device_id, 80), href=device_href(one.device_id)),
            *(number(n, 0) for n in one.counts),
            number(one.counts[2] / one.days, 2) if one.days else "–",
            f"{one.minutes / (1440 * one.days):.1%}" if one.days else "–",
        ]
        for one in sorted(told, key=lambda one: (-one.counts[3] - one.counts[4], one.device_id))
    ]
    headings = [Heading("device"), *(Heading(name, True) for name in (*HEADINGS, "a day", "of the time"))]
    finished = "status" if done == asked else None  # it is read out once, and not with every device
    return html.Div(
        [
            html.H2("By device"),
            html.P(f"{words}.", role=finished),
            note(f"{why}.") if why and told else None,
            table(headings, rows, label="What other limits would have shown, by device", empty="", tall=True),
            note(f"{without_a_judged_window(unjudged)}.") if unjudged else None,
            *(note(f"{visible(one.device_id, 80)}: {visible(one.said, 300)}.") for one in untold[:10]),
            *([note(f"The same is so of {len(untold) - 10:,} more.")] if len(untold) > 10 else []),
            html.P("Choose a device to see which incidents these are, and when.", className="small") if rows else None,
        ]
    )
