"""What other limits would have shown: ``replay``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hvac_platform.cli.choosing import Devices, Names, chosen_devices, finite, instant, named, require_order
from hvac_platform.cli.detecting import days_of
from hvac_platform.cli.output import AsJson, Share, at, console, print_json, print_rows, progress_bar
from hvac_platform.config import load_settings
from hvac_platform.monitoring.passes import Span
from hvac_platform.monitoring.what_if import Compared, Episode, Limits, what_if
from hvac_platform.runtime.connections import make_encoders, open_store
from hvac_platform.timestamps import DAY_MS, now_ms

USUAL_DAYS = 7


def replay(
    names: Names = None,
    devices: Devices = None,
    start: Annotated[
        str | None, typer.Option("--from", help=f"From here (ISO 8601); the last {USUAL_DAYS} days when absent.")
    ] = None,
    end: Annotated[str | None, typer.Option("--until", help="Up to here; now when absent.")] = None,
    similarity: Annotated[
        float | None,
        typer.Option(help="Fixed similarity limit, e.g. 0.85; calibrated when absent.", min=-1, max=1, callback=finite),
    ] = None,
    sigma: Annotated[
        float | None,
        typer.Option(help="Fixed sigma limit, e.g. 3.0; calibrated when absent.", min=0.1, max=1e6, callback=finite),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What other limits would have shown: past windows judged again beside the record, which stays as it is.

    Without limits of your own it says what the present profiles would have shown.
    """
    settings = load_settings()
    store, now = open_store(settings), now_ms()
    start_ms, end_ms = instant(start, "--from"), instant(end, "--until")
    require_order(start_ms, end_ms)
    until = now if end_ms is None else end_ms
    begin = until - USUAL_DAYS * DAY_MS if start_ms is None else start_ms
    chosen = chosen_devices(store, named(names, devices))
    spans = [day for device in chosen for day in days_of(Span(device, begin, until), device.window(settings))]
    found: list[Compared] = []
    with progress_bar("device-days") as progress:
        task = progress.add_task("judge again", total=len(spans))
        for _, compared in what_if(
            store, make_encoders(settings, store), settings, spans, Limits(similarity, sigma), now
        ):
            progress.advance(task)
            if compared is not None:
                found.append(compared)
    if as_json:
        print_json([_document(one) for one in found])
        return
    print_rows(
        [_row(one, (until - begin) / DAY_MS) for one in found],
        as_json=False,
        title="Incidents on record, and with these limits",
        empty="no window in that span: hvac verify shows what there is",
        narrow=("device", "recorded", "replayed", "won", "lost", "earlier", "later"),
    )
    for one in found:
        for word, episodes in (("won", one.won), ("lost", one.lost)):
            for episode in episodes:
                console.print(f"{word}: {one.device.device_id}  {_span(episode)}")


def _row(one: Compared, days: float) -> dict[str, Any]:
    minutes = sum(end - start for start, end in one.replayed) / 60_000
    return {
        "device": one.device.device_id,
        "windows": one.windows,
        "recorded": len(one.recorded),
        "replayed": len(one.replayed),
        "won": len(one.won),
        "lost": len(one.lost),
        "earlier": len(one.earlier),
        "later": len(one.later),
        "incidents_a_day": round(len(one.replayed) / days, 2),
        "share_of_time": Share(minutes / (1440 * days)),
    }


def _document(one: Compared) -> dict[str, Any]:
    return {
        "device": one.device.device_id,
        "windows": one.windows,
        **{name: [_times(e) for e in getattr(one, name)] for name in ("recorded", "replayed", "won", "lost")},
        **{
            name: [{"recorded": _times(a), "replayed": _times(b)} for a, b in getattr(one, name)]
            for name in ("earlier", "later")
        },
    }


def _times(episode: Episode) -> dict[str, Any]:
    return {"from": at(episode[0]), "until": at(episode[1])}


def _span(episode: Episode) -> str:
    return f"{at(episode[0])} to {at(episode[1])}"
