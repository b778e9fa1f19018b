"""Windows of many device-days judged in a few processes: each reads its own; the one that asked writes what they found."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial

from hvac_platform.config import Settings
from hvac_platform.monitoring.passes.base import Span
from hvac_platform.monitoring.passes.detection import Elsewhere, Judged, Judging, JudgingOptions, judge_span
from hvac_platform.runtime.connections import make_encoders, open_store
from hvac_platform.runtime.worker_processes import in_processes, worth_starting

SPANS_A_PROCESS = 16
"""To start a process takes as long as to judge so many device-days."""


def judging_elsewhere(settings: Settings, spans: Sequence[Span]) -> Elsewhere | None:
    """What judges some spans in processes, as many as the settings say; None where this process is as fast.

    The processes open the store that the settings name.
    """
    processes = worth_starting(settings.hvac_profile_processes, len(spans), SPANS_A_PROCESS)
    if processes == 1 or len({span.device.device_id for span in spans}) == 1:
        return None
    return partial(judge_in_processes, settings, processes)


def judge_in_processes(
    settings: Settings, processes: int, spans: Sequence[Span], options: JudgingOptions
) -> Generator[Judging]:
    """A day's judgement rests on flags that the judgement of the day before may change, so days come one after the other."""
    by_day = sorted(spans, key=lambda span: span.start_ms)
    work = partial(_judge_here, settings, options)
    with closing(in_processes(work, by_day, processes, follow=_same_device)) as turns:
        yield from turns


def _same_device(span: Span, other: Span) -> bool:
    return span.device.device_id == other.device.device_id


def _judge_here(settings: Settings, options: JudgingOptions, span: Span) -> Judged:
    """In a process that was started."""
    store = open_store(settings)  # open already from the second span on
    judged = judge_span(store, make_encoders(settings, store), settings, options, span)
    series = replace(judged.judgement.series, embeddings=None)  # a megabyte that nobody needs any more
    return judged._replace(judgement=replace(judged.judgement, series=series))
