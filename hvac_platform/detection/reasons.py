"""Sentences that say why a window is odd: every number in one of them comes from the same statistic as its words.

A sentence about a metric gives what it reads and what was expected of it, in so many digits that the two differ, and how far
apart they are in units of what is usual. Where no metric by itself is far from what is expected, it is the combination that
is odd, and the sentence says which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hvac_platform.devices.registry import DeviceType, show

Float64 = NDArray[np.float64]

REASONS_PER_SNAPSHOT = 3
TELLING_SIGMAS = 2.0
"""A metric nearer than this to what is expected of it tells nothing by itself."""
FAR_SIGMAS = 100.0
"""Beyond this a number of sigmas means no more than that the reading is far outside of what was ever seen."""
MOST_DIGITS = 3
"""Digits beyond the usual ones that two values are given to show that they differ."""


@dataclass(frozen=True, slots=True)
class Deviation:
    """What one metric reads, and what was expected of it; both in its unit.

    Attributes:
        metric: its name.
        observed: the reading; NaN where it is missing.
        expected: what was expected.
        unit: standard deviation of normal readings about what is expected, in the metric's unit, above 0.
    """

    metric: str
    observed: float
    expected: float
    unit: float

    @property
    def sigmas(self) -> float:
        """How far the reading is from what was expected, signed; NaN where it is missing."""
        return (self.observed - self.expected) / self.unit


def deviations_of(names: Sequence[str], observed: Float64, expected: Float64, unit: Float64) -> list[Deviation]:
    """Deviations of one row's m metrics, the farthest first; missing readings last. Each argument has m values."""
    with np.errstate(over="ignore", invalid="ignore"):
        far = np.abs((observed - expected) / unit)
    order = np.argsort(-np.nan_to_num(far, nan=-1.0, posinf=np.finfo(np.float64).max), kind="stable")
    return [Deviation(names[j], float(observed[j]), float(expected[j]), float(unit[j])) for j in order.tolist()]


def told(
    deviations: Sequence[Deviation],
    device_type: DeviceType | None,
    sentence: str,
    *,
    first: str | None = None,
    since: str = "",
    most: int = REASONS_PER_SNAPSHOT,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A few sentences, and the metrics that they rest on, most important first.

    Args:
        deviations: of a row, at least one, the farthest first.
        device_type: says titles, units and digits; None for an unknown type.
        sentence: with ``{title}``, ``{observed}``, ``{expected}`` and ``{sigmas}``.
        first: metric that comes first where it is told at all.
        since: what each sentence begins with, e.g. ``for some time ``.
        most: sentences.
    """
    ordered = sorted(deviations, key=lambda one: one.metric != first)  # stable: the others stay in their order
    lines: list[tuple[str, str]] = []
    for one in ordered:
        if len(lines) < most and (line := _line(one, device_type, sentence)) is not None:
            lines.append((since + line, one.metric))
    missing = [one for one in ordered if not np.isfinite(one.observed)]
    if not lines and missing:
        one = missing[0]
        title, expected = titled(one.metric, device_type), value_shown(one.metric, one.expected, device_type)
        lines.append((f"{since}{title} is missing where {expected} was expected", one.metric))
    if lines:
        return tuple(line for line, _ in lines), tuple(metric for _, metric in lines)
    together = [one for one in ordered if np.isfinite(one.observed)][:REASONS_PER_SNAPSHOT]
    return (since + combination(together, device_type),), tuple(one.metric for one in together)


def combination(together: Sequence[Deviation], device_type: DeviceType | None) -> str:
    """That some metrics are odd together, none of them by itself.

    >>> combination([Deviation("a", 1.0, 1.1, 1.0), Deviation("b", 2.0, 2.0, 1.0)], None)
    'the combination of a 1 and b 2 is unusual, none of them by itself'
    """
    said = [
        f"{titled(one.metric, device_type)} {value_shown(one.metric, one.observed, device_type)}" for one in together
    ]
    if len(said) == 1:
        return f"{said[0]} is unusual for the state that the device is in"
    listed = ", ".join(said[:-1]) + f" and {said[-1]}"
    return f"the combination of {listed} is unusual, none of them by itself"


def _line(one: Deviation, device_type: DeviceType | None, sentence: str) -> str | None:
    """The sentence about one metric; None where it would tell nothing, or where its numbers can't be told apart."""
    if not abs(one.sigmas) >= TELLING_SIGMAS:
        return None
    pair = shown_apart(one.metric, one.observed, one.expected, device_type)
    if pair is None:
        return None
    title = titled(one.metric, device_type)
    return sentence.format(title=title, observed=pair[0], expected=pair[1], sigmas=sigmas_shown(one.sigmas))


def sigmas_shown(sigmas: float) -> str:
    """A distance in sigmas; in words where it is beyond any that a number tells something of.

    >>> sigmas_shown(-3.14), sigmas_shown(87719298.2)
    ('-3.1 sigma', 'far outside anything seen')
    """
    return f"{sigmas:+.1f} sigma" if abs(sigmas) <= FAR_SIGMAS else "far outside anything seen"


def titled(metric: str, device_type: DeviceType | None) -> str:
    """Title of a metric as its type declares it, else its name."""
    declared = device_type is not None and metric in device_type.metric_names
    return device_type.point(metric).title if declared and device_type is not None else metric


def value_shown(metric: str, value: float, device_type: DeviceType | None, extra_digits: int = 0) -> str:
    """A reading with its unit, as far as the type declares it.

    >>> value_shown("rotor_wobble", 0.1234, None), value_shown("rotor_wobble", 0.12341, None, 1)
    ('0.1234', '0.12341')
    """
    if device_type is not None and metric in device_type.metric_names:
        point = device_type.point(metric)
        if abs(value) < 1e9:
            return show(value, point.unit, point.decimals + extra_digits)
        return f"{value:.3g} {point.unit}".rstrip()
    return f"{value:.{4 + extra_digits}g}"


def shown_apart(metric: str, value: float, other: float, device_type: DeviceType | None) -> tuple[str, str] | None:
    """Two readings of a metric in so many digits that they differ; None where that takes too many.

    >>> shown_apart("a", 1.23456, 1.23461, None), shown_apart("a", 1.0, 1.0, None)
    (('1.23456', '1.23461'), None)
    """
    for extra in range(MOST_DIGITS + 1):
        pair = value_shown(metric, value, device_type, extra), value_shown(metric, other, device_type, extra)
        if pair[0] != pair[1]:
            return pair
    return None


def digits_apart(value: float, other: float, least: int = 4, most: int = 9) -> tuple[str, str]:
    """Two numbers with so many decimals that they differ, as far as ``most`` show it.

    >>> digits_apart(0.99991, 0.99993)
    ('0.99991', '0.99993')
    """
    for digits in range(least, most):
        if f"{value:.{digits}f}" != f"{other:.{digits}f}":
            return f"{value:.{digits}f}", f"{other:.{digits}f}"
    return f"{value:.{most}f}", f"{other:.{most}f}"
