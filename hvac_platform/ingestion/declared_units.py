"""Readings in the units that device types declare: what producers send in others is converted as it is decoded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hvac_platform.coding import Coded
from hvac_platform.devices.registry import DeviceType, device_type
from hvac_platform.devices.units import SAME, SAYS_NOTHING, Conversion, UnitError, plain

Float64 = NDArray[np.float64]
SIGNIFICANT_DIGITS = 12
"""Of a converted reading: 55.04 °F, not 55.040000000000006."""


@lru_cache(maxsize=65_536)
def _treatment(declared: DeviceType | None, metric: str, unit: str) -> tuple[str, Conversion | None]:
    """Unit that readings are stored in, and how they become it; None where they can't."""
    if declared is None or metric not in declared.index:
        return unit, SAME
    point = declared.point(metric)
    try:
        how = point.conversion(unit)
    except UnitError:
        return unit, None
    if how.changes_nothing and plain(unit[:20]).lower() in SAYS_NOTHING:
        return "", SAME
    return point.unit, how


@lru_cache(maxsize=256)
def _usual_units(types: frozenset[DeviceType | None]) -> dict[str, str]:
    """Units of the metrics about which some types agree; as nearly always, what is sent is in these."""
    found: dict[str, set[str]] = {}
    for declared in types:
        for point in () if declared is None else declared.points:
            found.setdefault(point.name, set()).add(point.unit)
    if None in types:  # what such a device calls by the same name keeps its unit, whichever that is
        return {}
    return {name: next(iter(units)) for name, units in found.items() if len(units) == 1}


def unit_problem(kind: str, metric: str, unit: str) -> str | None:
    """Why a unit of a metric is refused, in one line; None where it is not, as for metrics that the type does not declare.

    >>> unit_problem("rooftop_unit", "supply_air_temp", "kW")
    "unit 'kW' does not measure what '°F' does, the unit of supply_air_temp"
    """
    declared = device_type(kind)
    if declared is None or _treatment(declared, metric, unit)[1] is not None:
        return None
    try:
        declared.point(metric).conversion(unit)
    except UnitError as error:
        return f"{error}, the unit of {metric}"
    return None


def conversion_of(kind: str, metric: str, unit: str) -> Conversion | None:
    """How readings of a declared metric are converted; None where it is not declared, or the unit can't be converted.

    >>> conversion_of("rooftop_unit", "supply_air_temp", "degF").changes_nothing
    True
    """
    declared = device_type(kind)
    return None if declared is None or metric not in declared.index else _treatment(declared, metric, unit)[1]


def converted(kind: str, metric: str, unit: str, value: float) -> float:
    """One reading in the declared unit; as it is where that can't be."""
    how = _treatment(device_type(kind), metric, unit)[1]
    return value if how is None else value * how.scale + how.offset


@dataclass(frozen=True, slots=True)
class ForeignUnits:
    """Readings of a batch in other units than those of their metrics.

    Attributes:
        refused: bool [n], which are in a unit that can't be converted; None where all can.
        told: device, metric and unit of those that were converted, and of undeclared metrics that came in several units.
        sent: n units as they were sent; None where none was converted.
    """

    refused: NDArray[np.bool_] | None = None
    told: frozenset[tuple[str, str, str]] = frozenset()
    sent: list[str] | None = None


NO_FOREIGN_UNITS = ForeignUnits()


def in_usual_units(kinds: Coded[str], metrics: Coded[str], units: Coded[str]) -> bool:
    """Whether all of n readings are in units about which their types agree; as nearly always."""
    usual = _usual_units(frozenset(map(device_type, kinds.names)))
    pairs = np.unique(metrics.codes * len(units.names) + units.codes).tolist()
    return all(
        usual.get(metrics.names[pair // len(units.names)]) == units.names[pair % len(units.names)] for pair in pairs
    )


def in_declared_units(
    device_ids: Sequence[str], kinds: Sequence[str], metrics: Sequence[str], units: list[str], values: Float64
) -> ForeignUnits:
    """Convert readings to the units that their types declare, in place.

    Args:
        device_ids: n devices.
        kinds: n canonical device types.
        metrics: n metrics.
        units: n units as sent; becomes those that the values are in.
        values: float64 [n]; becomes the values in them.
    """
    types = {name: device_type(name) for name in set(kinds)}
    pairs = set(zip(metrics, units, strict=True))
    own = {pair for pair in pairs if not any(kind is not None and pair[0] in kind.index for kind in types.values())}
    if all(
        treated[0] == unit and treated[1] is SAME
        for declared in types.values()
        for metric, unit in pairs
        for treated in (_treatment(declared, metric, unit),)
    ):
        return ForeignUnits(told=_changing(device_ids, metrics, units, own))
    triples = list(zip(kinds, metrics, units, strict=True))
    code_of = {triple: code for code, triple in enumerate(dict.fromkeys(triples))}
    treatments = [_treatment(types[kind], metric, unit) for kind, metric, unit in code_of]
    codes = np.fromiter(map(code_of.__getitem__, triples), np.int64, len(triples))
    scales = np.array([1.0 if how is None else how.scale for _, how in treatments])
    offsets = np.array([0.0 if how is None else how.offset for _, how in treatments])
    changed = np.flatnonzero((scales != 1.0)[codes] | (offsets != 0.0)[codes])
    if len(changed):
        with np.errstate(over="ignore"):
            new = values[changed] * scales[codes[changed]] + offsets[codes[changed]]
        values[changed] = [float(f"{value:.{SIGNIFICANT_DIGITS}g}") for value in new.tolist()]
    told = frozenset((device_ids[i], metrics[i], units[i]) for i in changed.tolist())
    told |= _changing(device_ids, metrics, units, own)
    named, sent = [unit for unit, _ in treatments], list(units)
    units[:] = map(named.__getitem__, codes.tolist())
    bad = np.array([how is None for _, how in treatments])
    return ForeignUnits(bad[codes] if bad.any() else None, told, sent)


def _changing(
    device_ids: Sequence[str], metrics: Sequence[str], units: Sequence[str], own: set[tuple[str, str]]
) -> frozenset[tuple[str, str, str]]:
    """Device, metric and units of undeclared metrics, whose units are given, that one device sends in several."""
    several = {metric for metric, count in Counter(metric for metric, unit in own if unit).items() if count > 1}
    if not several:
        return frozenset()
    found = {row for row in zip(device_ids, metrics, units, strict=True) if row[1] in several and row[2]}
    counted = Counter(row[:2] for row in found)
    return frozenset(row for row in found if counted[row[:2]] > 1)
