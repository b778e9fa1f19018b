"""Slow degradation."""

from __future__ import annotations

from dataclasses import dataclass

from hvac_platform.stores.records.record import Record


@dataclass(frozen=True, slots=True)
class MetricTrend(Record):
    """How a metric of a device departs from what its others imply, over the last weeks.

    Attributes:
        reading: median of the last day, in ``unit``.
        deviation: observed less expected on the last day, in ``unit``; ``sigmas`` says it in standard deviations.
        per_day: change of the deviation per day.
        since: day that the wear began, epoch milliseconds; None where there is none.
        days_to_limit: None where the metric never leaves its normal range at this pace.
    """

    TABLE = "metric_trends"

    device_id: str
    metric: str
    unit: str
    reading: float | None
    deviation: float
    sigmas: float
    per_day: float
    cusum: float
    since: int | None
    days_to_limit: float | None
    span_start: int
    span_end: int
    updated_at: int
