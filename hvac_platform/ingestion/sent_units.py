"""Units that points are sent in, kept by device, so that a change is told once, whichever run sees it.

What is sent in the declared unit, in another spelling of it or without a unit needs no row. Points that their type does not
declare are stored in the unit that they come in, and ``hvac verify`` tells of several there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from hvac_platform.coding import Coded, coded_as
from hvac_platform.devices.registry import device_type
from hvac_platform.devices.units import Conversion
from hvac_platform.ingestion.declared_units import conversion_of
from hvac_platform.ingestion.messages import DecodedBatch
from hvac_platform.stores.base import Device, Store
from hvac_platform.stores.records import SENT_UNITS, DevicePoint, Reading, StoredGrade
from hvac_platform.timestamps import DAY_MS, iso, now_ms

_Sent = tuple[str, str, str, str]
"""Device, device type, metric, unit as it was sent."""
NOTED_SINCE = "sent_units_noted_since"
"""When a store that had devices already began to keep their units: what they were sent in before is not known."""
LOOKED_BACK_MS = DAY_MS
"""A point without a reading in so long before a device's newest one counts as new."""


@dataclass(frozen=True, slots=True)
class UnitChange:
    """A point that is sent in another unit than before.

    Attributes:
        before: unit that it was sent in until ``until_ms``; empty where there was none.
        unit: unit that it is sent in since ``since_ms``; empty where there is none.
        declared: unit that its readings are stored in.
        back_ms: when it was sent in the former unit again, within the same messages; None where it wasn't.
    """

    device_id: str
    metric: str
    before: str
    unit: str
    declared: str
    until_ms: int
    since_ms: int
    back_ms: int | None = None

    def __str__(self) -> str:
        """One line for people, without the device."""
        spelled = self.unit or f"no unit, which is taken for {self.declared},"
        back = "" if self.back_ms is None else f" until {iso(self.back_ms)}, then in the former one again"
        since = f"{self.metric} was sent in {self.before or 'no unit'} until {iso(self.until_ms)}"
        return f"{since} and in {spelled} since {iso(self.since_ms)}{back}"


class SentUnits:
    """Compares the units of a batch with those of before.

    Args:
        store: has the units of before.
        devices: gives the registry, as it was before the batch.
        on_change: told of the points of a device whose unit has changed, and of those that are sent in the declared one
            again; before that is kept, so that a crash in between tells it again.
    """

    def __init__(
        self,
        store: Store,
        devices: Callable[[], Mapping[str, Device]],
        on_change: Callable[[str, Sequence[UnitChange]], object],
    ) -> None:
        self._store, self._devices, self._on_change = store, devices, on_change
        self._kept: dict[str, dict[str, str]] | None = None
        self._noted_since = 0

    def look(self, batch: DecodedBatch) -> None:
        """Tell of changes in a batch; call it before its devices are registered.

        A batch whose units are all the declared ones costs a look at the devices of which others are known.
        """
        kept = self._kept if self._kept is not None else self._read()
        if batch.sent_unit is None and not (kept and not kept.keys().isdisjoint(batch.device_id)):
            return
        sent = batch.unit if batch.sent_unit is None else batch.sent_unit
        coded = coded_as(list(zip(batch.device_id, batch.device_type, batch.metric_name, sent, strict=True)))
        if not self._differing(coded.names, self._compared(coded.names)):
            return
        self._read()  # another run may have told it
        units = self._compared(coded.names)
        points = self._differing(coded.names, units)
        for device_id in dict.fromkeys(device_id for device_id, _ in points):
            self._changed(batch, device_id, {metric for one, metric in points if one == device_id}, coded, units)

    def _compared(self, names: Sequence[_Sent]) -> list[str | None]:
        """Units of some readings, alike where they are converted alike; empty of declared ones, None of others."""
        assert self._kept is not None
        found: list[str | None] = []
        spelled: dict[tuple[str, str, Conversion], str] = {}
        for device_id, kind, metric, unit in names:
            how = conversion_of(kind, metric, unit)
            if how is None or how.changes_nothing:
                found.append(None if how is None else "")
                continue
            known = self._kept.get(device_id, {}).get(metric)
            alike = known is not None and conversion_of(kind, metric, known) == how
            found.append(known if alike else spelled.setdefault((device_id, metric, how), unit))
        return found

    def _differing(self, names: Sequence[_Sent], units: Sequence[str | None]) -> set[tuple[str, str]]:
        """Points of which some reading is in another unit than before."""
        assert self._kept is not None
        kept, none = self._kept, dict[str, str]()
        return {
            (device_id, metric)
            for (device_id, _, metric, _), unit in zip(names, units, strict=True)
            if unit is not None and unit != kept.get(device_id, none).get(metric, "")
        }

    def _changed(
        self, batch: DecodedBatch, device_id: str, metrics: set[str], coded: Coded[_Sent], units: Sequence[str | None]
    ) -> None:
        """Tell of the points of one device, and keep their units."""
        names, codes = coded.names, coded.codes
        assert self._kept is not None
        known = self._devices().get(device_id)
        kept = dict(self._kept.get(device_id, {}))
        unknown = known is None or (known.first_seen < self._noted_since and device_id not in self._kept)
        newest = np.iinfo(np.int64).min if known is None else known.last_seen
        changes = []
        for metric in sorted(metrics):
            of = [
                i for i, name in enumerate(names) if name[0] == device_id and name[2] == metric and units[i] is not None
            ]
            rows = np.flatnonzero(np.isin(codes, of) & (batch.timestamps_ms >= newest))  # not history that comes late
            rows = rows[np.argsort(batch.timestamps_ms[rows], kind="stable")]
            if not len(rows):
                continue
            times, sent = batch.timestamps_ms[rows].tolist(), [cast("str", units[codes[row]]) for row in rows.tolist()]
            before = kept.get(metric, "")
            if metric not in kept and sent[0] and (unknown or not self._was_read(device_id, metric, newest)):
                before = sent[0]
            last = next((i for i in reversed(range(len(sent))) if sent[i] != before), None)
            if sent[-1]:
                kept[metric] = sent[-1]
            else:
                kept.pop(metric, None)
            if last is None:
                continue
            first = next(i for i in range(len(sent)) if sent[i] != before)
            after, back = sent[-1], None
            if after == before:
                after, back = sent[first], times[last + 1]
            declared = device_type(names[of[0]][1])
            unit = declared.point(metric).unit if declared is not None else ""
            spelled = {"": unit, **{one: one for one in (before, after) if one}}
            none_sent = not after and all(not names[i][3] for i in of if units[i] == "")
            changes.append(
                UnitChange(
                    device_id,
                    metric,
                    spelled[before],
                    "" if none_sent else spelled[after],
                    unit,
                    times[first - 1] if first else max(newest, 0) if known is not None else times[first],
                    times[first],
                    back,
                )
            )
        if changes:
            self._on_change(device_id, changes)
        if kept != self._kept.get(device_id, {}) or (unknown and known is not None):
            self._kept[device_id] = kept
            now = now_ms()
            grade = cast("StoredGrade", {"units": kept})
            row = DevicePoint(device_id, SENT_UNITS, 0, 0, True, now, now, grade=grade, retired_at=None, updated_at=now)
            self._store.upsert(DevicePoint.TABLE, DevicePoint.columns([row]))

    def _was_read(self, device_id: str, metric: str, until_ms: int) -> bool:
        """Whether a device had a point before; of one that is new nothing has changed."""
        span = (until_ms - LOOKED_BACK_MS, until_ms + 1)
        return (
            Reading.first(self._store, device_id, span, only=("metric_name",), equals={"metric_name": metric})
            is not None
        )

    def _read(self) -> dict[str, dict[str, str]]:
        noted = self._store.remembered().get(NOTED_SINCE)
        if noted is None:
            noted = str(now_ms() if self._devices() else 0)
            self._store.remember(NOTED_SINCE, noted)
        self._noted_since = int(noted)
        rows = DevicePoint.read(self._store, only=("device_id", "grade"), equals={"metric": SENT_UNITS})
        self._kept = {
            row.device_id: dict(cast("dict[str, dict[str, str]]", row.grade or {}).get("units", {})) for row in rows
        }
        return self._kept


def units_sent(store: Store, device_id: str) -> dict[str, str]:
    """Units that points of a device are sent in where those are not the declared ones, by metric."""
    row = DevicePoint.first(store, device_id, only=("grade",), equals={"metric": SENT_UNITS})
    return {} if row is None else dict(cast("dict[str, dict[str, str]]", row.grade or {}).get("units", {}))
