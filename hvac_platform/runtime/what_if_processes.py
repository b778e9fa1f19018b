"""What other limits would have shown of many devices, in a few processes: each reads its own devices, and none writes."""

from __future__ import annotations

import copyreg
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from functools import partial
from types import MappingProxyType
from typing import Any

from hvac_platform.config import Settings
from hvac_platform.monitoring.passes import Span
from hvac_platform.monitoring.what_if import Compared, Limits, OfScores, judged_again, what_scores_say
from hvac_platform.runtime.connections import make_encoders, open_store
from hvac_platform.runtime.judging_processes import SPANS_A_PROCESS
from hvac_platform.runtime.worker_processes import in_processes, worth_starting
from hvac_platform.timestamps import DAY_MS, now_ms

SCORED_SPANS_A_PROCESS = 150
"""To start a process takes as long as to read the kept scores of so many device-days."""

Asked = Generator[tuple[Span, Callable[[], Compared]]]
"""Each device's span, in order, with what gives (or waits for) its comparison; that raises whatever comparing raises."""


def asked_of_scores(settings: Settings, spans: Sequence[Span], tried: OfScores) -> Asked:
    """What kept scores say of the spans of different devices."""
    return _asked(partial(_scores_say, settings, tried), settings, spans, SCORED_SPANS_A_PROCESS)


def asked_again(settings: Settings, spans: Sequence[Span], fixed: Limits) -> Asked:
    """The spans of different devices, judged again."""
    return _asked(partial(_judged_again, settings, fixed), settings, spans, SPANS_A_PROCESS)


def _asked(work: Callable[[Span], Compared], settings: Settings, spans: Sequence[Span], least_days: int) -> Asked:
    days = sum(max(1, (span.end_ms - span.start_ms) // DAY_MS) for span in spans)
    processes = min(worth_starting(settings.hvac_profile_processes, days, least_days), max(1, len(spans)))
    if processes == 1:
        for span in spans:
            yield span, partial(work, span)
        return
    with closing(in_processes(work, spans, processes)) as turns:
        yield from turns


def _scores_say(settings: Settings, tried: OfScores, span: Span) -> Compared:
    store = open_store(settings)  # open already from the second span on
    return what_scores_say(store, settings, span, tried, make_encoders(settings, store))


def _judged_again(settings: Settings, fixed: Limits, span: Span) -> Compared:
    store = open_store(settings)
    return judged_again(store, make_encoders(settings, store), settings, span, fixed, now_ms())


def _read_only(mapping: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(mapping)


copyreg.pickle(MappingProxyType, lambda mapping: (_read_only, (dict(mapping),)))  # device types hold such mappings
