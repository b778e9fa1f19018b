"""Commands about normal and anomalous: ``profiles``, ``detect``, ``compare``, ``similar``."""

from __future__ import annotations

import getpass
import time
from typing import Annotated, Any

import numpy as np
import typer

from hvac_platform.cli.choosing import (
    MOST_DAYS,
    Devices,
    Names,
    OneDevice,
    OneName,
    chosen_device,
    chosen_devices,
    finite,
    instant,
    named,
    require_order,
)
from hvac_platform.cli.output import (
    AsJson,
    Share,
    at,
    console,
    errors,
    in_precision,
    print_json,
    print_rows,
    progress_bar,
)
from hvac_platform.config import Settings, load_settings
from hvac_platform.detection.consensus import Comparison
from hvac_platform.detection.methods import method_names
from hvac_platform.ingestion.snapshotting import EmbeddingCounts
from hvac_platform.monitoring.comparing import compare_device
from hvac_platform.monitoring.counted import count_judged
from hvac_platform.monitoring.degradation import HISTORY_DAYS, LEAST_DAYS, metric_unit
from hvac_platform.monitoring.judging import Judgement
from hvac_platform.monitoring.lasting import ChangeState, evidence_line, sentence_of
from hvac_platform.monitoring.learning import Lesson, mode_calibration, told_counts, told_metrics
from hvac_platform.monitoring.passes import (
    DegradationPass,
    DetectionPass,
    IncidentsPass,
    LearningOptions,
    LearningPass,
    Pass,
    Span,
    days_of,
    write_pass,
)
from hvac_platform.monitoring.profile_versions import VersionState, change_to, told_gate, versions_of
from hvac_platform.monitoring.profiles import profile_of
from hvac_platform.monitoring.similar import NoSnapshotError, similar_states
from hvac_platform.runtime.connections import make_encoders, open_store
from hvac_platform.runtime.judging_processes import judging_elsewhere
from hvac_platform.runtime.learning_processes import learning_elsewhere
from hvac_platform.stores.base import Store
from hvac_platform.stores.batches import write_batch
from hvac_platform.stores.records import LastingChange, StoredProfile
from hvac_platform.timestamps import iso, now_ms

DELIVERY_SECONDS = 15.0
CONTINUOUS_SECONDS = 30
ALL_METHODS = "all"
MOST_SHOWN = 60  # metrics of a state

profiles = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@profiles.command("build")
def build(
    names: Names = None,
    devices: Devices = None,
    days_back: Annotated[
        float | None,
        typer.Option(
            help="Days of history; HVAC_PROFILE_DAYS_BACK (7) when absent.", min=0.001, max=MOST_DAYS, callback=finite
        ),
    ] = None,
    min_snapshots: Annotated[
        int | None, typer.Option(help="Fewest normal snapshots (5 when absent).", min=2, max=1_000_000)
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="End of the history (ISO 8601); the newest data when absent.")
    ] = None,
    refit: Annotated[bool, typer.Option(help="Fit the encoder anew, whether or not the history calls for it.")] = False,
    include_flagged: Annotated[
        bool, typer.Option(help="Learn from flagged windows too: what they show is the new normal.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Learn what normal looks like. Exit code 1 when a device has too little data, or fails; the others are built."""
    settings = load_settings()
    store = open_store(settings)
    encoders = make_encoders(settings, store)
    chosen, until_ms = chosen_devices(store, named(names, devices)), instant(until, "--until")
    options = LearningOptions(
        days_back=days_back,
        min_snapshots=min_snapshots,
        until_ms=until_ms,
        refit=refit,
        include_flagged=include_flagged,
    )
    found = LearningPass(
        store, encoders, settings, chosen, options, elsewhere=learning_elsewhere(settings, len(chosen))
    )
    rows: list[dict[str, Any]] = []
    found.on_lesson = lambda _, lesson, counts: rows.append(_built(lesson, counts))
    with progress_bar("devices") as progress:
        task = progress.add_task("build profiles", total=len(chosen))
        found.on_device = lambda _: progress.advance(task)
        write_pass(found)
    print_rows(
        rows,
        as_json=as_json,
        title="Profiles",
        empty="no profile was built",
        narrow=("device", "snapshots", "left_out", "fitted"),
    )
    for lesson in found.lessons:
        for change in lesson.changes:
            errors.print(f"{lesson.profile.device_id}: {sentence_of(change)}")
        for rule in lesson.review:
            errors.print(f"to review: {lesson.profile.device_id}: {rule.sentence()}")
    if _told(found):
        raise typer.Exit(1)


def _told(found: Pass) -> bool:
    """Say which devices could not be dealt with, and why; whether there were any."""
    for reason in (*found.refused, *found.failed.values()):
        errors.print(f"hvac: {reason}")
    return bool(found.refused or found.failed)


def _built(lesson: Lesson, counts: EmbeddingCounts) -> dict[str, Any]:
    profile = lesson.profile
    return {
        "device": profile.device_id,
        "snapshots": profile.snapshot_count,
        "left_out": lesson.left_out_count,
        "left_out_because": told_counts(lesson.left_out) or None,
        "judged_first": lesson.judged,
        "from": at(profile.span_start),
        "to": at(profile.span_end),
        "encoder": profile.embedding_method,
        "fitted": "; ".join(filter(None, (lesson.refitted, lesson.note))) or "kept",
        "embedded_anew": counts.encoded,
        "metrics_left_out": told_metrics(lesson.metrics_left_out) or None,
        "rules_to_review": [rule.sentence() for rule in lesson.review],
    }


VersionNumber = Annotated[
    int | None, typer.Option("--version", help="Version, as `hvac profiles history` shows it.", min=1)
]
By = Annotated[str | None, typer.Option("--by", help="Who does it; who is logged in when absent.")]


@profiles.command("history")
def history(name: OneName = None, option: OneDevice = None, as_json: AsJson = False) -> None:
    """Versions of a profile: which is the present one, why each was fitted, and how it did against the one before it."""
    store = open_store(load_settings())
    device = chosen_device(store, name, option).device_id
    rows: list[dict[str, Any]] = [
        {
            "version": version.number,
            "state": version.state.replace("_", " "),
            "built": at(version.built_at),
            "snapshots": version.snapshot_count,
            "from": at(version.span_start),
            "to": at(version.span_end),
            "because": version.reason,
            "judged": told_gate(version),
            "by": version.decided_by,
            "at": at(version.decided_at),
        }
        | ({"gate": version.gate} if as_json else {})
        for version in reversed(versions_of(store, device))
    ]
    print_rows(
        rows,
        as_json=as_json,
        title=f"Versions of the profile of {device}",
        empty="no version is recorded yet",
        narrow=("version", "state", "built", "because"),
    )
    changes = [change for change in LastingChange.read(store, device) if change.state != ChangeState.OVER]
    if changes and not as_json:
        console.print("")
        for change in reversed(changes):
            console.print(sentence_of(change))
            for one in change.evidence:
                console.print(f"  {evidence_line(one)}")


@profiles.command("rollback")
def rollback(name: OneName = None, option: OneDevice = None, version: VersionNumber = None, by: By = None) -> None:
    """Go back to an earlier version of a profile, the newest when none is named; for a week none is promoted unasked."""
    _change(name, option, version, by, back=True)


@profiles.command("promote")
def promote(name: OneName = None, option: OneDevice = None, version: VersionNumber = None, by: By = None) -> None:
    """Promote what the gate has refused, or any version that is kept."""
    _change(name, option, version, by, back=False)


def _change(name: str | None, option: str | None, version: int | None, by: str | None, *, back: bool) -> None:
    store, counts = open_store(load_settings()), EmbeddingCounts()
    device = chosen_device(store, name, option)
    who = by or getpass.getuser()
    for batch in change_to(store, device, version, by=who, now_ms=now_ms(), counts=counts, back=back):
        write_batch(store, StoredProfile.TABLE, batch)
    present = next(v for v in reversed(versions_of(store, device.device_id)) if v.state == VersionState.PRESENT)
    console.print(
        f"{device.device_id}: version {present.number} is the present one now, {counts.encoded} snapshots embedded anew"
    )


@profiles.command("list")
def list_profiles(as_json: AsJson = False) -> None:
    """All profiles, and devices that have none yet."""
    store = open_store(load_settings())
    rows = []
    only = ("snapshot_count", "span_start", "span_end", "profile_updated_at", "embedding_method")
    for device in store.devices():
        found = StoredProfile.first(store, device.device_id, only=only)
        rows.append(
            {
                "device": device.device_id,
                "type": device.device_type,
                "snapshots": found.snapshot_count if found else 0,
                "from": at(found.span_start) if found else None,
                "to": at(found.span_end) if found else None,
                "updated": at(found.profile_updated_at) if found else None,
                "encoder": found.embedding_method if found else None,
            }
        )
    print_rows(
        rows,
        as_json=as_json,
        title="Profiles",
        empty="no device has been registered yet",
        narrow=("device", "type", "snapshots", "to"),
    )


@profiles.command("show")
def show_profile(name: OneName = None, option: OneDevice = None, as_json: AsJson = False) -> None:
    """One profile: span, limits and the statistics of every metric."""
    store = open_store(load_settings())
    device = chosen_device(store, name, option).device_id
    found = StoredProfile.first(store, device)
    if found is None:
        errors.print(f"hvac: {device} has no profile yet: hvac profiles build --devices {device}")
        raise typer.Exit(1)
    statistics = [{"metric": name, **stats} for name, stats in found.metric_stats.items()]
    detector = profile_of(found).detector
    metrics_left_out = dict(detector.left_out) if detector is not None else {}
    modes = found.modes or []
    if as_json:
        kept = ("snapshot_count", "embedding_method", "calibration", "profile_version")
        times = ("span_start", "span_end", "profile_created_at", "profile_updated_at")
        print_json(
            {"device": device}
            | {name: getattr(found, name) for name in kept}
            | {name: at(getattr(found, name)) for name in times}
            | {"metrics": statistics, "modes": modes, "metrics_left_out": metrics_left_out}
        )
        return
    console.print(
        f"{device} ({found.device_type}): {found.snapshot_count} snapshots, {iso(found.span_start)} to "
        f"{iso(found.span_end)}, encoder {found.embedding_method}"
    )
    limits: dict[str, Any] = dict(found.calibration)
    near = limits.pop("exclude_ms", None)
    shown = [f"{name.replace('_', ' ')} {in_precision(value)}" for name, value in limits.items()]
    if near is not None:
        shown.append(f"states within {in_precision(near / 60_000)} min don't count as neighbours")
    console.print("limits: " + ", ".join(shown))
    print_rows(statistics, as_json=False)
    if metrics_left_out:
        console.print(f"not judged: {told_metrics(metrics_left_out)}")
    if modes:
        told = [
            {
                "mode": m["name"].replace("_", " "),
                "share": f"{m['share']:.1%}",
                "entered": m["episodes"],
                "measured against": mode_calibration(m),
            }
            for m in modes
        ]
        print_rows(told, as_json=False, title="Operating modes")


def degradation(
    names: Names = None,
    devices: Devices = None,
    days_back: Annotated[int, typer.Option(help="Days of history.", min=LEAST_DAYS, max=MOST_DAYS)] = HISTORY_DAYS,
    until: Annotated[
        str | None, typer.Option(help="End of the history (ISO 8601); the newest data when absent.")
    ] = None,
    show_all: Annotated[bool, typer.Option("--all", help="Show every metric, not only those that degrade.")] = False,
    as_json: AsJson = False,
) -> None:
    """Slow degradation: which metrics depart more every day from what the others imply, since when, and what time is left.

    Exit code 1 when no device has enough whole days, or one fails.
    """
    settings = load_settings()
    store = open_store(settings)
    chosen, until_ms = chosen_devices(store, named(names, devices)), instant(until, "--until")
    found = DegradationPass(store, chosen, settings, days_back=days_back, until_ms=until_ms)
    with progress_bar("devices") as progress:
        task = progress.add_task("look for degradation", total=len(chosen))
        found.on_device = lambda _: progress.advance(task)
        write_pass(found)
    rows = [
        {
            "device": degradation.device.device_id,
            "metric": t.metric,
            "unit": metric_unit(degradation.device, t.metric),
            "reading": degradation.readings[t.metric],
            "deviation": t.deviation,
            "sigmas": t.sigmas,
            "per_day": t.per_day,
            "since": None if t.since is None else f"{t.since:%Y-%m-%d}",
            "days_to_limit": t.days_to_limit,
        }
        for degradation in found.found
        for t in (degradation.trends if show_all else degradation.degrading)
    ]
    print_rows(rows, as_json=as_json, title="Trends", empty="no metric degrades" if found.found else "")
    _told(found)
    if found.failed or not found.found:
        raise typer.Exit(1)


def trends(
    names: Names = None,
    devices: Devices = None,
    days_back: Annotated[int, typer.Option(min=LEAST_DAYS, max=MOST_DAYS)] = HISTORY_DAYS,
    until: Annotated[str | None, typer.Option()] = None,
    show_all: Annotated[bool, typer.Option("--all")] = False,
    as_json: AsJson = False,
) -> None:
    """What `hvac degradation` was called up to version 0.1."""
    errors.print("hvac trends is hvac degradation now; this name goes with version 0.3")
    degradation(names, devices, days_back, until, show_all, as_json)


def _known_method(name: str) -> str:
    if name not in (*method_names(), ALL_METHODS):
        raise typer.BadParameter(f"{name[:40]!r} is none of {', '.join((*method_names(), ALL_METHODS))}")
    return name


def detect(
    names: Names = None,
    method: Annotated[
        str,
        typer.Option(
            help=f"Method whose verdicts are shown: {', '.join(method_names())} or {ALL_METHODS}.",
            callback=_known_method,
        ),
    ] = ALL_METHODS,
    devices: Devices = None,
    hours_back: Annotated[
        float, typer.Option(help="Hours before now to judge.", min=0, max=24 * MOST_DAYS, callback=finite)
    ] = 24.0,
    start: Annotated[str | None, typer.Option("--from", help="Judge from here (ISO 8601) instead.")] = None,
    end: Annotated[str | None, typer.Option("--until", help="Judge up to here.")] = None,
    similarity_threshold: Annotated[
        float | None,
        typer.Option(help="Fixed similarity limit, e.g. 0.85; calibrated when absent.", min=-1, max=1, callback=finite),
    ] = None,
    sigma_threshold: Annotated[
        float | None,
        typer.Option(help="Fixed sigma limit, e.g. 3.0; calibrated when absent.", min=0.1, max=1e6, callback=finite),
    ] = None,
    record: Annotated[bool, typer.Option("--record/--no-record", help="Store verdicts, events and flags.")] = True,
    open_past: Annotated[
        bool,
        typer.Option("--open-past", help="Open incidents that ended long ago too, so that people are told of them."),
    ] = False,
    continuous: Annotated[bool, typer.Option(help=f"Again every {CONTINUOUS_SECONDS} s, new windows only.")] = False,
    limit: Annotated[int, typer.Option(help="Windows to show, the newest; --json has all.", min=1)] = 30,
    as_json: AsJson = False,
) -> None:
    """Judge windows and show how many are anomalous by device, and the newest of them with reasons.

    All methods always judge, so that what is recorded is whole; --method chooses what is shown. A device that can't be
    judged is named, costs no other its judgement, and makes the exit code 1.
    """
    settings = load_settings()
    store = open_store(settings)
    start_ms, end_ms = instant(start, "--from"), instant(end, "--until")
    require_order(start_ms, end_ms)
    seen: dict[str, int] = {}
    while True:
        now = now_ms()
        begin = start_ms if start_ms is not None else now - round(hours_back * 3_600_000)
        chosen, until = chosen_devices(store, named(names, devices)), now if end_ms is None else end_ms
        spans = [Span(d, max(begin, seen.get(d.device_id, 0)), until) for d in chosen]
        days = [day for span in spans for day in days_of(span, span.device.window(settings))]
        found = DetectionPass(
            store,
            make_encoders(settings, store),
            settings,
            days,
            similarity_threshold=similarity_threshold,
            sigma_threshold=sigma_threshold,
            elsewhere=judging_elsewhere(settings, days),
        )
        rows, counts = _judged(found, method, seen, record=record)
        if record:
            incidents = IncidentsPass(
                store,
                settings,
                [s for s in spans if s.start_ms < s.end_ms],
                now_ms=now,
                only_changed=True,
                open_past=open_past,
            )
            write_pass(incidents)
            count_judged(store, found.windows)
            found.failed = incidents.failed | found.failed
            _deliver(store, settings)
        if as_json and (rows or not continuous):
            print_json(rows)
        elif rows or not continuous:
            unread = f"; of {found.not_judged} too little was read" if found.not_judged else ""
            empty = (
                f"{found.windows} windows judged, none anomalous{unread}"
                if found.windows
                else _nothing_judged(settings, found.left_open)
            )
            if rows and unread:
                console.print(
                    f"{found.windows} windows judged{unread}: hvac devices points shows which points are silent"
                )
            if rows:
                print_rows([c for c in counts.values() if c["any"]], as_json=False, title="Anomalous windows by device")
            newest = sorted(rows, key=lambda row: row["window"].milliseconds)[-limit:]
            shown = (
                f"newest {len(newest)} of {len(rows)}; --limit or --json for more" if len(newest) < len(rows) else "all"
            )
            print_rows(
                newest,
                as_json=False,
                title=f"Anomalous windows ({found.windows} judged; {shown})",
                empty=empty,
                narrow=("device", "window", "reasons"),
            )
        _told(found)
        if not continuous:
            if found.failed:
                raise typer.Exit(1)
            return
        errors.print(
            f"{iso(now)}  {found.windows} windows judged, {len(rows)} anomalous; next in {CONTINUOUS_SECONDS} s"
        )
        try:
            time.sleep(CONTINUOUS_SECONDS)
        except KeyboardInterrupt:
            return


def _deliver(store: Store, settings: Settings) -> None:
    """Tell what was found, unless somebody else does; what can't be sent now stays in the outbox."""
    if settings.hvac_alerts is None:
        return
    from hvac_platform.alerts.delivery import Deliverer
    from hvac_platform.alerts.standing import told

    deliverer = Deliverer(
        store,
        settings,
        write=errors.print,
        on_sent=lambda sent: errors.print(told(sent)),
        on_trouble=lambda line: errors.print(f"hvac: {line}"),
    )
    try:
        deliverer.deliver_everything(DELIVERY_SECONDS)
    finally:
        deliverer.close()


def _judged(
    found: DetectionPass, method: str, seen: dict[str, int], *, record: bool
) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Do a pass; the anomalous windows, and counts by device. What was judged is added to what has been seen."""
    rows: list[dict[str, Any]] = []
    counts: dict[str, dict[str, Any]] = {}

    def tell(span: Span, judgement: Judgement, result: Comparison) -> None:
        device_id = span.device.device_id
        if result.windows:
            seen[device_id] = int(judgement.series.times_ms[-1]) + 1
        rows.extend(_anomalies(judgement, method))
        _add(counts, device_id, result)

    found.on_judgement = tell
    with progress_bar("device-days") as progress:
        task = progress.add_task("judge", total=found.spans)
        found.on_device = lambda _: progress.advance(task)
        if record:
            write_pass(found)
        else:
            for _ in found.batches():
                pass
    return rows, counts


def _add(counts: dict[str, dict[str, Any]], device_id: str, result: Comparison) -> None:
    """Add what was found on a device in a span to what was found on it before."""
    names = (*method_names(), "consensus", "any", "windows")
    row = counts.setdefault(device_id, {"device": device_id, **dict.fromkeys(names, 0)})
    new = {**result.anomalies, "consensus": result.consensus, "any": result.any_method, "windows": result.windows}
    for name, count in new.items():
        row[name] += count


def _nothing_judged(settings: Settings, left_open: int) -> str:
    if left_open:
        return (
            f"no complete windows yet: {left_open} wait for late readings ({settings.hvac_allowed_lateness_seconds} s)"
        )
    return "no windows in that time: see `hvac verify` for what there is, and --from or --hours-back to look elsewhere"


def _anomalies(judgement: Judgement, method: str) -> list[dict[str, Any]]:
    shown = method_names() if method == ALL_METHODS else (method,)
    rows = []
    for i, time_ms in enumerate(judgement.series.times_ms.tolist()):
        firing = [v for name, v in judgement.verdicts.items() if name in shown and v.anomalous[i]]
        if firing:
            rows.append(
                {
                    "device": judgement.device.device_id,
                    "window": at(time_ms),
                    "score": round(float(max(v.score[i] for v in firing)), 2),
                    "level": min(int(v.level[i]) for v in firing),
                    "methods": [v.method for v in firing],
                    "reasons": [reason for v in firing for reason in v.reasons[i]],
                }
            )
    return rows


METHOD_TITLES = {"consensus": "consensus (2+ methods)", "any_method": "any method"}


def compare_methods(
    names: Names = None,
    devices: Devices = None,
    start: Annotated[
        str | None, typer.Option("--from", help="From here (ISO 8601); all judged windows when absent.")
    ] = None,
    end: Annotated[str | None, typer.Option("--until", help="Up to here.")] = None,
    as_json: AsJson = False,
) -> None:
    """The methods side by side on judged windows: anomalies, rates, consensus of two or more, disagreements."""
    store = open_store(load_settings())
    start_ms, end_ms = instant(start, "--from"), instant(end, "--until")
    require_order(start_ms, end_ms)
    results: list[dict[str, Any]] = []
    for device in chosen_devices(store, named(names, devices)):
        c = compare_device(store, device.device_id, start_ms, end_ms)
        counts = {
            **{m: c.anomalies.get(m, 0) for m in method_names()},
            "consensus": c.consensus,
            "any_method": c.any_method,
        }
        results += [
            {
                "device": device.device_id,
                "method": name if as_json else METHOD_TITLES.get(name, name),
                "windows": c.windows,
                "anomalous": count,
                "rate": Share(c.rate(count)),
                "alone": c.disagreements.get(name) if name in method_names() else None,
            }
            for name, count in counts.items()
            if c.windows
        ]
    print_rows(results, as_json=as_json, title="Methods", empty="no judged windows: hvac detect judges some")
    if results and not as_json:
        console.print("alone: windows that only this method calls anomalous")


NARROW_STATES = 4
"""Columns that fit 80 characters: the metric, its present value, and two past states."""


def _short(value: float) -> float:
    """A difference of floats without the digits that arithmetic adds.

    >>> _short(99.90000000000002)
    99.9
    """
    return float(f"{value:.9g}")


def similar(
    name: OneName = None,
    option: OneDevice = None,
    when: Annotated[
        str | None, typer.Option("--at", help="State at this time (ISO 8601); the newest when absent.")
    ] = None,
    limit: Annotated[int, typer.Option(help="States to show.", min=1, max=100)] = 5,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Cosine from which a state counts as seen before; the profile's own when absent.",
            min=-1,
            max=1,
            callback=finite,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Has this happened before? The most similar past states, with the difference of every metric."""
    settings = load_settings()
    store = open_store(settings)
    chosen = chosen_device(store, name, option)
    device = chosen.device_id
    try:
        history = similar_states(
            store, chosen, make_encoders(settings, store), at_ms=instant(when, "--at"), limit=limit, threshold=threshold
        )
    except NoSnapshotError as error:
        errors.print(
            f"hvac: {error}; its data run from {iso(chosen.first_seen)} to {iso(chosen.last_seen)}", soft_wrap=True
        )
        raise typer.Exit(1) from None
    state_time = at(int(history.state.times_ms[0]))
    last = at(history.last_seen_ms)
    if as_json:
        similar_rows = [
            {
                "window": at(s.time_ms),
                "cosine": round(s.cosine, 6),
                "anomalous": s.anomalous,
                "outcome": s.outcome,
                "metrics": {
                    name: {"then": _short(then), "difference": _short(d)} for name, (then, d) in s.differences.items()
                },
            }
            for s in history.similar
        ]
        print_json(
            {"device": device, "window": state_time, "seen": history.seen, "last_seen": last, "similar": similar_rows}
        )
        return
    rows = [{"window": at(s.time_ms), "cosine": f"{s.cosine:.5f}", "became": s.outcome} for s in history.similar]
    print_rows(rows, as_json=False, title=f"States of {device} most like {state_time}", empty="no earlier state")
    if history.similar:
        metric_rows = []
        for name in list(history.similar[0].differences)[:MOST_SHOWN]:
            row: dict[str, Any] = {"metric": name, "now": float(history.state.column(name)[0])}
            for s in history.similar[:5]:
                then, difference = s.differences.get(name, (np.nan, np.nan))
                row[iso(s.time_ms)[5:16]] = f"{then:.4g} ({difference:+.3g})"
            metric_rows.append(row)
        narrow = list(metric_rows[0])[:NARROW_STATES]
        print_rows(metric_rows, as_json=False, title="Then (difference from now to then)", narrow=narrow)
        if (more := len(history.state.metric_names) - len(metric_rows)) > 0:
            console.print(f"and {more} more metrics, which differ less: --json has them")
    seen = f"seen {history.seen} times before, last {last}" if history.seen else "never seen before"
    console.print(f"{seen} (cosine of {history.threshold:.4g} or more)")
