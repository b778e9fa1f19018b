"""Detection: judge windows with every method, and record verdicts, events and flags."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from hvac_platform.config import Settings
from hvac_platform.detection.consensus import Comparison, compare
from hvac_platform.detection.verdicts import Verdicts
from hvac_platform.embedding.learned import Encoders
from hvac_platform.monitoring.judging import (
    Common,
    Judgement,
    Ready,
    judge_together,
    judgement_batches,
    read_common,
    ready_to_judge,
)
from hvac_platform.monitoring.kept import KeptDevices
from hvac_platform.monitoring.passes.base import Pass, Span
from hvac_platform.stores.base import Store, StoreError
from hvac_platform.stores.batches import TableBatch
from hvac_platform.timestamps import now_ms

SPANS_TOGETHER, CELLS_TOGETHER = 256, 1_000_000
"""Devices whose windows are judged together, and how many readings of theirs are held for it."""


READ_TOGETHER = 16
"""From so many devices on, what is asked of each is read for all of them at once."""


@dataclass(frozen=True, slots=True)
class JudgingOptions:
    """What is judged of a span, and how strictly.

    Attributes:
        unjudged_only: only windows that are new or have changed since they were judged.
        similarity_threshold: fixed limit in place of the calibrated one.
        sigma_threshold: likewise.
    """

    unjudged_only: bool = False
    similarity_threshold: float | None = None
    sigma_threshold: float | None = None


class Judged(NamedTuple):
    """What came of a span, and when it was begun to be read, epoch milliseconds."""

    began: int
    judgement: Judgement


Judging = tuple[Span, Callable[[], Judged]]
"""A span, and what gives (or waits for) its judgement; that raises whatever judging raises."""
Elsewhere = Callable[[Sequence[Span], JudgingOptions], Generator[Judging]]
"""Judges spans in other processes; gives them in order. A device's next span is begun when the one before is written."""


class _Turn(NamedTuple):
    """A span with what was read of it, and when that began, epoch milliseconds."""

    span: Span
    began: int
    ready: Ready


def judge_span(store: Store, encoders: Encoders, settings: Settings, options: JudgingOptions, span: Span) -> Judged:
    """Judge one span by itself."""
    turn = _read(store, encoders, settings, options, span, now_ms())
    return Judged(turn.began, turn.ready.judge())


def _read(
    store: Store,
    encoders: Encoders,
    settings: Settings,
    options: JudgingOptions,
    span: Span,
    began: int,
    *,
    kept: KeptDevices | None = None,
    common: Common | None = None,
) -> _Turn:
    ready = ready_to_judge(
        *(store, span.device, encoders, settings, span.start_ms, span.end_ms),
        now_ms=began,
        unjudged_only=options.unjudged_only,
        kept=kept,
        common=common,
        similarity_threshold=options.similarity_threshold,
        sigma_threshold=options.sigma_threshold,
    )
    return _Turn(span, began, ready)


class DetectionPass(Pass):
    """Judge the windows of some spans.

    Attributes:
        windows: windows judged.
        left_open: windows that are not complete yet.
        not_judged: windows of which too little was read to judge them.
        consensus: windows that two or more methods call anomalous.
        anomalies: windows that each method calls anomalous, by its name.
        on_judgement: told of each judgement, and where the methods agree.

    Args:
        store: where snapshots, profiles and history are.
        encoders: of all devices.
        settings: lateness and silence decide which windows are complete.
        spans: what to judge, in order.
        unjudged_only: only windows that are new or have changed since they were judged.
        similarity_threshold: fixed limit in place of the calibrated one.
        sigma_threshold: likewise.
        clock: the present, epoch milliseconds.
        kept: what this process keeps of devices that it judges again and again.
        elsewhere: judges in other processes; in this one when absent. Rows are the same, and all are written here.
    """

    table = "anomaly_events"

    def __init__(
        self,
        store: Store,
        encoders: Encoders,
        settings: Settings,
        spans: Sequence[Span],
        *,
        unjudged_only: bool = False,
        similarity_threshold: float | None = None,
        sigma_threshold: float | None = None,
        clock: Callable[[], int] = now_ms,
        kept: KeptDevices | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        super().__init__(store)
        self._encoders, self._settings, self._spans, self._clock = encoders, settings, spans, clock
        self._options = JudgingOptions(unjudged_only, similarity_threshold, sigma_threshold)
        self._kept, self._elsewhere = kept, elsewhere
        self.windows = self.left_open = self.not_judged = self.consensus = 0
        self.anomalies: Counter[str] = Counter()
        self.on_judgement: Callable[[Span, Judgement, Comparison], object] = lambda *_: None

    @property
    def spans(self) -> int:
        """How many spans there are to judge."""
        return len(self._spans)

    def batches(self) -> Iterator[TableBatch]:
        """Flags, events and verdicts; a day all of whose windows are judged is marked so."""
        turns = self._here() if self._elsewhere is None else self._elsewhere(self._spans, self._options)
        with closing(turns):
            for span, judging in turns:
                with self.alone(span.device.device_id):
                    began, judgement = judging()
                    yield from judgement_batches(judgement)
                    if span.day is not None and judgement.left_open == 0 and len(judgement.series):
                        # a day without data is none
                        judged = {"device_id": [span.device.device_id], "date": [span.day], "judged_at": [began]}
                        yield TableBatch(judged, table="device_days", action="update")
                    self._count(span, judgement)

    def _here(self) -> Generator[Judging]:
        for group in self._groups():
            for (span, began, ready), said in zip(group, judge_together([turn.ready for turn in group]), strict=True):
                yield span, partial(_judged, began, ready, said)

    def _groups(self) -> Iterator[list[_Turn]]:
        """Spans with what was read of them: as many of different devices as have few windows together."""
        group: list[_Turn] = []
        devices: set[str] = set()
        cells = 0
        devices_asked = list({span.device.device_id: span.device for span in self._spans}.values())
        common: Common | None = None
        if len(devices_asked) >= READ_TOGETHER:
            with suppress(StoreError):  # it shows at the first device
                common = read_common(
                    *(self.store, devices_asked, self._encoders, self._settings, self._clock()), self._kept
                )
        for span in self._spans:
            device_id = span.device.device_id
            if device_id in devices or cells > CELLS_TOGETHER or len(group) >= SPANS_TOGETHER:
                yield group
                group, devices, cells = [], set(), 0
            reading = self.store, self._encoders, self._settings, self._options, span, self._clock()
            try:
                turn = _read(*reading, kept=self._kept, common=common)
            except Exception as error:
                self.leave_out(device_id, error)
                continue
            group.append(turn)
            devices.add(device_id)
            cells += turn.ready.windows.series.mean.size if turn.ready.windows is not None else 0
        yield group

    def _count(self, span: Span, judgement: Judgement) -> None:
        result = compare({method: v.anomalous for method, v in judgement.verdicts.items()})
        self.windows += result.windows
        self.left_open += judgement.left_open
        self.not_judged += judgement.not_judged
        self.consensus += result.consensus
        self.anomalies.update(result.anomalies)
        self.on_judgement(span, judgement, result)


def _judged(began: int, ready: Ready, said: Mapping[str, Verdicts]) -> Judged:
    return Judged(began, ready.judge(said))
