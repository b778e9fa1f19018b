"""What other limits would have shown: ``replay``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from hvac_platform.cli.choosing import Devices, Names, chosen_devices, finite, instant, named, require_order
from hvac_platform.cli.output import AsJson, Share, at, console, errors, print_json, print_rows, progress_bar
from hvac_platform.config import load_settings
from hvac_platform.detection.methods import method_names
from hvac_platform.devices.bounded_yaml import TextRefusedError, read_text
from hvac_platform.devices.registry import DeviceType, DeviceTypeError, parse_other_rules
from hvac_platform.monitoring.passes import Span
from hvac_platform.monitoring.what_if import (
    Compared,
    Episode,
    Limits,
    OfScores,
    TooFewScoresError,
    budget_in_words,
    without_a_judged_window,
)
from hvac_platform.runtime.connections import open_store
from hvac_platform.runtime.what_if_processes import asked_again, asked_of_scores
from hvac_platform.stores.base import Device
from hvac_platform.timestamps import DAY_MS, now_ms

USUAL_DAYS = 7


def replay(
    names: Names = None,
    devices: Devices = None,
    start: Annotated[
        str | None, typer.Option("--from", help=f"From here (ISO 8601); the last {USUAL_DAYS} days when absent.")
    ] = None,
    end: Annotated[str | None, typer.Option("--until", "--to", help="Up to here; now when absent.")] = None,
    similarity: Annotated[
        float | None,
        typer.Option(
            help="Fixed similarity limit of the profile, e.g. 0.85; calibrated when absent.",
            min=-1,
            max=1,
            callback=finite,
        ),
    ] = None,
    sigma: Annotated[
        float | None,
        typer.Option(
            help="Fixed sigma limit of the profile, e.g. 3.0; calibrated when absent.",
            min=0.1,
            max=1e6,
            callback=finite,
        ),
    ] = None,
    times_limit: Annotated[
        float | None,
        typer.Option(
            "--times-limit",
            help="So many times the limit that each window had, e.g. 1.5; from kept scores.",
            min=0.01,
            max=1e6,
            callback=finite,
        ),
    ] = None,
    methods: Annotated[
        str | None, typer.Option(help=f"Methods that count, of {','.join(method_names())}; from kept scores.")
    ] = None,
    agreeing: Annotated[
        int | None,
        typer.Option(help="So many methods have to agree; from kept scores.", min=1, max=len(method_names())),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(
            help="Limits for so many false alarms a day of each device; from kept scores.",
            min=0.001,
            max=1e4,
            callback=finite,
        ),
    ] = None,
    rules: Annotated[
        Path | None,
        typer.Option(
            help="Rules of a device type that are tried on its devices: its YAML, or what is to differ in it; the scores of "
            "other methods are kept ones.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    judge_again: Annotated[
        bool,
        typer.Option("--judge-again", help="Judge every window again, with fixed limits where you give some."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """What other limits would have shown, beside the record, which stays as it is.

    Incidents are anomalous windows without a longer pause between them, on either side; the record may join several of one
    fault. Recorded + won - lost + in several parts - several in one = replayed.

    The scores that are kept for 90 days answer: what a multiple of the limits that windows had, another budget, fewer
    methods or agreement would have shown needs nothing else; other rules, and fixed limits of the present profile, are
    applied to the windows again. Where you try none of these, or ask for it, every method judges every window again, by the
    present profiles.
    """
    fixed = Limits(similarity, sigma)
    of_scores = _of_scores(times_limit, methods, agreeing, budget, _type_of(rules))
    if budget is not None and fixed != Limits():
        raise typer.BadParameter("a budget sets limits, and so do you: ask them apart", param_hint="--budget")
    if judge_again and of_scores != OfScores():
        raise typer.BadParameter(
            "to judge again is one question, what kept scores say another: ask them apart",
            param_hint="--judge-again with --times-limit/--methods/--agreeing/--budget/--rules",
        )
    asked_of = () if judge_again else (times_limit, methods, agreeing, budget, rules, similarity, sigma)
    tried = replace(of_scores, fixed=fixed) if any(one is not None for one in asked_of) else None
    settings = load_settings()
    store, now = open_store(settings), now_ms()
    start_ms, end_ms = instant(start, "--from"), instant(end, "--until")
    require_order(start_ms, end_ms)
    until = now if end_ms is None else end_ms
    begin = until - USUAL_DAYS * DAY_MS if start_ms is None else start_ms
    require_order(begin, until)
    chosen = chosen_devices(store, named(names, devices))
    if tried is not None and tried.rules is not None:
        chosen = _of_type(chosen, tried.rules, named(names, devices))
    spans = [Span(device, begin, until) for device in chosen]
    asked = asked_again(settings, spans, fixed) if tried is None else asked_of_scores(settings, spans, tried)
    found: list[Compared] = []
    untold: dict[str, str] = {}
    with progress_bar("devices") as progress, closing(asked):
        task = progress.add_task("judge again" if tried is None else "read scores", total=len(chosen))
        for span, answer in asked:
            try:
                found.append(answer())
            except TooFewScoresError as error:
                untold[span.device.device_id] = str(error)
            progress.advance(task)
    for device_id, why in untold.items():
        errors.print(f"{device_id}: {why}")
    if unjudged := without_a_judged_window([one.device.device_id for one in found if not one.windows]):
        errors.print(unjudged)
    if as_json:
        print_json([_document(one) for one in found])
        if untold:
            raise typer.Exit(1)
        return
    rows = [_row(one, one.device.window(settings)) for one in found if one.windows]
    if rows or not untold:  # of what couldn't be told the reason is told above
        print_rows(
            rows,
            as_json=False,
            title="Incidents on record, and with these limits",
            empty="no window in that span: hvac verify shows what there is",
            narrow=(
                "device",
                "recorded",
                "replayed",
                "won",
                "lost",
                "in_several_parts",
                "several_in_one",
                "earlier",
                "later",
            ),
        )
    if rows and budget is not None:
        console.print(f"{budget_in_words(budget, settings.hvac_false_alarms_per_day)}.")
    for one in found:
        for word, episodes in (("won", one.won), ("lost", one.lost)):
            for episode in episodes:
                console.print(f"{word}: {one.device.device_id}  {_span(episode)}")
    if untold:
        raise typer.Exit(1)


def _type_of(file: Path | None) -> DeviceType | None:
    """The device type of a file."""
    if file is None:
        return None
    try:
        return parse_other_rules(read_text(file), str(file))
    except (DeviceTypeError, TextRefusedError) as error:
        raise typer.BadParameter(str(error), param_hint="--rules") from None


def _of_type(chosen: Sequence[Device], rules: DeviceType, asked: Sequence[str]) -> list[Device]:
    """Devices whose rules are tried."""
    others = [device.device_id for device in chosen if device.device_type != rules.name]
    if others and asked:
        raise typer.BadParameter(f"{', '.join(others)}: no {rules.name}, whose rules these are", param_hint="--rules")
    found = [device for device in chosen if device.device_type == rules.name]
    if not found:
        raise typer.BadParameter(f"there is no {rules.name}, whose rules these are", param_hint="--rules")
    return found


def _of_scores(
    times_limit: float | None,
    methods: str | None,
    agreeing: int | None,
    budget: float | None,
    rules: DeviceType | None,
) -> OfScores:
    """What kept scores are asked."""
    chosen = None if methods is None else frozenset(methods.replace(",", " ").split())
    strange = sorted((chosen or frozenset()) - set(method_names()))
    if chosen is not None and (strange or not chosen):
        told = f"no method {', '.join(strange)}" if strange else "no method named"
        raise typer.BadParameter(f"{told}: there are {', '.join(method_names())}", param_hint="--methods")
    needed = 1 if agreeing is None else agreeing
    if chosen is not None and needed > len(chosen):
        raise typer.BadParameter(f"{needed} can't agree where {len(chosen)} count", param_hint="--agreeing")
    return OfScores(1.0 if times_limit is None else times_limit, chosen, needed, budget, rules)


def _row(one: Compared, window_ms: int) -> dict[str, Any]:
    days = one.windows * window_ms / DAY_MS  # of the span, what was judged
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
        "in_several_parts": len(one.in_several_parts),
        "several_in_one": len(one.several_in_one),
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
            for name in ("earlier", "later", "in_several_parts", "several_in_one")
        },
    }


def _times(episode: Episode) -> dict[str, Any]:
    return {"from": at(episode[0]), "until": at(episode[1])}


def _span(episode: Episode) -> str:
    return f"{at(episode[0])} to {at(episode[1])}"
