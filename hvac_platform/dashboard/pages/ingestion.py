"""Ingestion: how far the ledger is behind the log, what was rejected, how fresh devices are, what waits for an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dash import Dash, Input, Output, dcc, html

from hvac_platform.access.users import UserError
from hvac_platform.dashboard.components import (
    NO_PAGE,
    Content,
    Heading,
    Page,
    empty_state,
    guarded,
    note,
    nothing_registered,
    page_of,
    pager,
    table,
)
from hvac_platform.dashboard.formatting import age, device_href, escaped_bytes, number, type_title
from hvac_platform.dashboard.paging import pager_outputs, pager_state, register_pager
from hvac_platform.dashboard.reading import (
    DEAD_LETTER_DAYS,
    MOST_DEAD_LETTERS,
    MOST_ROWS,
    DeadLetters,
    Ingestion,
    dead_letters,
    embedding_backlog,
    today,
)
from hvac_platform.dashboard.shared_readings import SharedReadings
from hvac_platform.ingestion.proof import RangeProof
from hvac_platform.stores.base import Device, Store
from hvac_platform.stores.records import BacklogDay
from hvac_platform.timestamps import iso, now_ms
from hvac_platform.visible_text import visible

PAGE = 20
SHOWN_BACKLOG = 25


def layout() -> Content:
    """The page before its first refresh."""
    return html.Div(
        [
            html.H1("Ingestion"),
            html.H2("Log and ledger"),
            html.Div(note("reading …"), id="ingestion-lag"),
            html.H2("Proof of the ledger"),
            html.P("Each of the last messages that count as in, looked for in the tables.", className="small"),
            html.Div(id="ingestion-proof"),
            html.H2("Freshness of devices"),
            html.P("The ones heard of longest ago first.", className="small"),
            html.Div(pager("freshness"), className="controls"),
            html.Div(id="ingestion-freshness"),
            html.H2("Dead letters"),
            html.Div(id="ingestion-dead-letters"),
            html.H2("Waiting for an embedding"),
            html.Div(id="ingestion-backlog"),
        ]
    )


def _whole_site(error: UserError) -> str:
    """What is said in place of what only those see who see the whole site."""
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."


def lag_table(flow: Ingestion | Exception | None, topic: str, at_ms: int) -> Content:
    """A row a partition."""
    if isinstance(flow, UserError):
        return note(_whole_site(flow))
    if isinstance(flow, Exception):
        return html.Div(
            [
                html.P(visible(f"{type(flow).__name__}: {flow}", 400), className="error-text"),
                html.P("Check KAFKA_BOOTSTRAP_SERVERS or HVAC_HOME; hvac check says which part fails."),
            ],
            className="failure",
            role="alert",
        )
    if flow is None:
        missing = f"the log has no topic {topic} yet: a producer or a simulator makes it"
        return empty_state(missing, ["hvac simulate --duration 600"])
    rows: list[list[Content]] = [
        [
            str(p.partition),
            html.Span(p.state, className="fine" if p.ok else "error-text"),
            *("–" if n is None else number(n, 0) for n in (p.begin, p.end, p.ledger)),
            number(p.waiting, 0),
            number(p.skipped, 0) if p.ledger is not None else "–",
            "–" if p.watermark is None else iso(p.watermark),
            "never" if p.moved_at is None else f"{age(at_ms - p.moved_at)} ago",
            f"run {p.holder[:8]}" if p.holder else "nobody",
        ]
        for p in flow.partitions
    ]
    headings = [
        *(
            Heading("partition"),
            Heading("state"),
            Heading("begin", True),
            Heading("end", True),
            Heading("ledger", True),
        ),
        *(Heading("waiting (messages)", True), Heading("skipped", True), Heading("watermark (UTC)"), Heading("moved")),
        Heading("held by"),
    ]
    troubles = [html.P(visible(line, 400), className="error-text", role="alert") for line in flow.troubles]
    return html.Div(
        [
            html.P(
                f"{topic}: {flow.lag:,} messages wait; {flow.per_minute:,} readings of the last minute are in the log."
            ),
            *troubles,
            table(headings, rows, label="Log and ledger by partition", empty="The topic has no partition."),
        ]
    )


def proof_table(proofs: Sequence[RangeProof] | Exception) -> Content:
    """Whether each of the last messages that the ledger counts as in is in a table."""
    if isinstance(proofs, UserError):
        return note(_whole_site(proofs))
    if isinstance(proofs, Exception):
        return html.P(visible(f"not proven: {type(proofs).__name__}: {proofs}", 400), className="error-text")
    rows: list[list[Content]] = [
        [
            str(proof.partition),
            html.Span("proven" if proof.ok else "missing", className="fine" if proof.ok else "error-text"),
            f"{proof.start:,} to {proof.end:,}",
            *(number(n, 0) for n in (proof.accepted, proof.duplicates, proof.dead_letters, proof.not_records)),
            number(proof.missing, 0),
        ]
        for proof in proofs
        if proof.end > proof.start
    ]
    troubles = [
        html.P(visible(f"partition {proof.partition}: {proof.said}", 400), className="error-text", role="alert")
        for proof in proofs
        if not proof.ok
    ]
    headings = [Heading("partition"), Heading("state"), Heading("offsets"), Heading("readings", True)]
    counts = [Heading(name, True) for name in ("duplicates", "dead letters", "not records", "missing")]
    found = table([*headings, *counts], rows, label="Proof of the ledger", empty="Nothing was taken in yet.")
    return html.Div([*troubles, found])


def freshness_table(devices: Sequence[Device], page: int, at_ms: int) -> tuple[Content, Page]:
    """Devices by the age of their newest reading."""
    if not devices:
        return nothing_registered(), NO_PAGE
    here = page_of(sorted(devices, key=lambda d: (d.last_seen, d.device_id)), page, PAGE, "devices")
    rows: list[list[Content]] = [
        [
            dcc.Link(visible(d.device_id, 60), href=device_href(d.device_id)),
            type_title(d.device_type),
            str(d.kafka_partition),
            iso(d.last_seen),
            age(at_ms - d.last_seen),
        ]
        for d in here.rows
    ]
    headings = [Heading("device"), Heading("type"), Heading("partition"), Heading("last reading (UTC)")]
    return table([*headings, Heading("age", True)], rows, label="Freshness of devices", empty="None."), here


def dead_letter_table(found: DeadLetters, total: int | Exception) -> Content:
    """Rejected messages, newest first, their bytes escaped."""
    if isinstance(total, UserError):  # of the rows none is of a building, so that none was found says nothing
        return note(_whole_site(total))
    if not found.rows:
        return note(f"No message was rejected in the last {DEAD_LETTER_DAYS} days.")
    rows: list[list[Content]] = [
        [
            iso(row.record_time),
            f"{row.kafka_partition} / {row.record_offset:,}",
            visible(row.reason),
            html.Td(escaped_bytes(row.record_key, 80), className="bytes"),
            html.Td(escaped_bytes(row.record_value), className="bytes"),
        ]
        for row in found.rows
    ]
    counted = f"{total:,} are kept" if isinstance(total, int) else "their number is not known"
    partly = "" if found.complete else f" A day has more than {MOST_ROWS:,}: its newest may be missing here."
    headings = [Heading("record time (UTC)"), Heading("partition / offset"), Heading("reason"), Heading("key")]
    return html.Div(
        [
            html.P(f"The newest {len(rows)} of the last {DEAD_LETTER_DAYS} days; {counted}.{partly}"),
            table([*headings, Heading("bytes")], rows, label="Dead letters", empty="None."),
        ]
    )


def backlog_table(rows: Sequence[BacklogDay]) -> Content:
    """Device-days that wait for the encoder's server."""
    cells: list[list[Content]] = [
        [
            dcc.Link(visible(row.device_id, 60), href=device_href(row.device_id)),
            visible(row.date, 20),
            iso(row.since),
            visible(row.reason),
        ]
        for row in rows[:SHOWN_BACKLOG]
    ]
    headings = [Heading("device"), Heading("day (UTC)"), Heading("since (UTC)"), Heading("reason")]
    made = table(headings, cells, label="Embedding backlog", empty="No snapshot waits for an embedding.")
    return html.Div([html.P(f"{len(rows):,} days of devices wait; {len(cells)} are shown."), made]) if rows else made


@dataclass(frozen=True, slots=True)
class IngestionView:
    """What a refresh shows of the store."""

    freshness: Content
    page: Page
    rejected: Content
    backlog: Content


def render(store: Store, shared: SharedReadings, page: int, at_ms: int | None = None) -> IngestionView:
    """One refresh."""
    now = now_ms() if at_ms is None else at_ms
    topic = shared.source.settings.kafka_topic
    freshness, here = freshness_table(store.devices(), page, now)
    letters = dead_letters(store, topic, today(now), most=MOST_DEAD_LETTERS)
    return IngestionView(
        freshness, here, dead_letter_table(letters, shared.rejected()), backlog_table(embedding_backlog(store))
    )


def register(app: Dash, shared: SharedReadings) -> None:
    """Callbacks of the page."""
    register_pager(app, "freshness", ())

    @app.callback(
        Output("ingestion-lag", "children"),
        Output("ingestion-proof", "children"),
        Output("ingestion-freshness", "children"),
        *pager_outputs("freshness"),
        Output("ingestion-dead-letters", "children"),
        Output("ingestion-backlog", "children"),
        Input("tick", "n_intervals"),
        Input("freshness-page", "data"),
    )
    def refresh(_tick: int, page: int | None) -> tuple[Any, ...]:
        views: list[IngestionView] = []
        lag = lag_table(shared.ingestion(), shared.source.settings.kafka_topic, now_ms())
        proof = proof_table(shared.proofs())

        def read(store: Store) -> Content:
            views.append(render(store, shared, page or 0))
            return views[0].freshness

        content = guarded(shared.source, read)
        if not views:
            return lag, proof, content, *pager_state(NO_PAGE), "", ""
        view = views[0]
        return lag, proof, content, *pager_state(view.page), view.rejected, view.backlog
