"""What incidents on the store are worth, with the reason where something isn't known; and what repairs have saved.

It is computed of the windows when an incident is written, for its place in lists, and when one incident is looked at. A list
of many reads what was kept with each.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hvac_platform.config import Settings
from hvac_platform.detection.tariffs import mean_price, prices
from hvac_platform.detection.worth import (
    LEAST_HOURS,
    LEAST_HOURS_AFTER,
    DailyExcess,
    Interval,
    Savings,
    comfort_points,
    compared_hours,
    cost_points,
    daily_excess,
    maintenance_parts,
    savings,
)
from hvac_platform.devices.display_units import degree_hours_words
from hvac_platform.devices.registry import DeviceType, device_type
from hvac_platform.monitoring.data_loss import DATA_LOSS
from hvac_platform.monitoring.lifecycle import PLATFORM, State, handling_of, state_of
from hvac_platform.monitoring.tariffs import NO_FILE, Tariffs, usable_tariffs
from hvac_platform.stores.base import Store
from hvac_platform.stores.records import Incident, IncidentHandling, StoredProfile
from hvac_platform.stores.series import read_series
from hvac_platform.timestamps import DAY_MS

if TYPE_CHECKING:
    from hvac_platform.detection.energy import EnergyModel
    from hvac_platform.snapshots import SnapshotSeries

HOUR_MS = 3_600_000
STEP_MS = 300_000
"""Means of hours are compared so often: they move slowly."""
MOST_BEFORE_MS = MOST_AFTER_MS = 7 * DAY_MS
"""So much of a long incident, and of the time after a repair, is compared for what it has saved."""
NOTHING_CAME = "nothing came of it meanwhile"
NO_POWER = "its type declares no electric power and what drives it"
NO_MODEL = "what it should draw has not been learned yet"
NOT_KEPT = "its windows are no longer kept"
TOO_SHORT = "it has lasted less than an hour, and power is compared as the mean of an hour"
NOT_COMPARABLE = (
    "for less than an hour of it what the machine should draw is known: it was in states that were not learned"
)
SUSPECTED = "the sensor that it rests on is suspected itself"
NO_COMFORT = "its type declares no temperature with a setpoint"
NO_TEMPERATURE = (
    "its temperature says nothing then: it stands still, doesn't do what the temperature is for (docs/worth.md), or the "
    "readings are missing"
)


@dataclass(frozen=True, slots=True)
class Worth:
    """What an incident is worth.

    Attributes:
        daily: avoidable energy and cost a day, or None.
        daily_unknown: why it isn't known; empty where it is.
        currency: of the cost; empty without prices.
        prices: what the prices are, such as ``example prices``; empty where nobody said it.
        money_unknown: why there is no money; empty where there is.
        cost: points for it, 0 to 10; 0 where it isn't known.
        degree_hours: discomfort of its last 24 hours, K·h, or None.
        comfort_unknown: why it isn't known; empty where it is.
        comfort: points for it, 0 to 10; 0 where it isn't known.
        maintenance_parts: points for the risk to the machine, by what they are for.
    """

    daily: DailyExcess | None
    daily_unknown: str
    currency: str
    prices: str
    money_unknown: str
    cost: float
    degree_hours: float | None
    comfort_unknown: str
    comfort: float
    maintenance_parts: dict[str, float]

    @property
    def maintenance(self) -> float:
        """Points for the risk to the machine, 0 to 10."""
        return round(sum(self.maintenance_parts.values()), 1)


@dataclass(frozen=True, slots=True)
class Prices:
    """What energy costs, or in a sentence why that isn't known."""

    tariffs: Tariffs | None
    unknown: str

    @classmethod
    def of(cls, settings: Settings) -> Prices:
        """By the file that the settings name, as it is now."""
        return cls(*usable_tariffs(settings))

    @property
    def currency(self) -> str:
        """Of all amounts; empty without prices."""
        return self.tariffs.currency if self.tariffs is not None else ""

    @property
    def name(self) -> str:
        """What the prices are; empty where nobody said it."""
        return self.tariffs.name if self.tariffs is not None else ""


NO_PRICES = Prices(None, NO_FILE)
"""Where nobody asks for money."""


def stored_energy_model(store: Store, device_id: str) -> EnergyModel | None:
    """What a device should draw, without the rest of its profile; None where nothing was learned."""
    stored = StoredProfile.first(store, device_id, only=("energy",))
    if stored is None or not stored.energy:
        return None
    from hvac_platform.detection.energy import EnergyModel

    return EnergyModel.from_document(stored.energy)


def worth_of(store: Store, incident: Incident, prices_: Prices, energy: EnergyModel | None = None) -> Worth:
    """What an incident is worth, by its last 24 hours.

    Args:
        store: has its windows.
        incident: as it is.
        prices_: of energy.
        energy: what the device should draw; read from the store where it isn't given.
    """
    kinds = [(kind["kind"], kind["similarity"]) for kind in incident.kinds]
    if incident.label:
        kinds = [("_".join(incident.label.lower().split()), 1.0), *kinds]
    risk = maintenance_parts(kinds, incident.level, (incident.ended_at - incident.started_at) / 60_000)
    if DATA_LOSS in incident.methods or incident.device_id == PLATFORM:
        return _unknown(NOTHING_CAME if incident.device_id != PLATFORM else NO_POWER, prices_, risk)
    begin_ms = max(incident.started_at, incident.ended_at - DAY_MS)
    series = read_series(
        store,
        incident.device_id,
        incident.device_type,
        begin_ms,
        incident.ended_at,
        metrics=_metrics(incident.device_type),
    )
    if not len(series):
        return _unknown(NOT_KEPT, prices_, risk)
    energy = energy or stored_energy_model(store, incident.device_id)
    daily, daily_unknown = _daily(series, incident, prices_, energy)
    found, comfort_unknown = _discomfort(series, incident)
    price = prices_.tariffs.price if prices_.tariffs is not None else None
    return Worth(
        daily,
        daily_unknown,
        prices_.currency,
        prices_.name,
        prices_.unknown,
        round(cost_points(daily, price), 1),
        found,
        comfort_unknown,
        round(comfort_points(found), 1),
        risk,
    )


def savings_of(
    store: Store, incident: Incident, handling: IncidentHandling | None, prices_: Prices, now_ms: int
) -> tuple[Savings | None, str]:
    """What has been saved since an incident was resolved, or in a sentence why that isn't known; empty of one that isn't.

    The time after it begins when the machine returned, or when somebody said that it is over if that was later. It ends
    after a week, now, or with the next incident of the device that is a warning or worse and no false alarm.
    """
    if handling is None or state_of(handling, now_ms) is not State.RESOLVED or handling.continues:
        return None, ""
    if DATA_LOSS in incident.methods or incident.device_id == PLATFORM:
        return None, ""
    declared = device_type(incident.device_type)
    if declared is None or declared.energy is None:
        return None, NO_POWER
    if _rests_on_a_suspect(incident, _power_metrics(declared)):
        return None, SUSPECTED
    energy = stored_energy_model(store, incident.device_id)
    if energy is None:
        return None, NO_MODEL
    since_ms = incident.ended_at if handling.actor == PLATFORM else max(incident.ended_at, handling.since)
    until_ms, ended_by = min(since_ms + MOST_AFTER_MS, now_ms), ""
    following = _next_start(store, incident, since_ms, until_ms)
    if following is not None:
        until_ms, ended_by = following, ", then another incident began"
    before = _differences(
        store, incident, energy, max(incident.started_at, incident.ended_at - MOST_BEFORE_MS), incident.ended_at
    )
    hours = compared_hours(before.kw, before.window_hours)
    if hours < LEAST_HOURS:
        return None, f"{hours:.1f} h of the incident can be compared, an hour is needed"
    after = _differences(store, incident, energy, since_ms, until_ms)
    hours = compared_hours(after.kw, after.window_hours)
    if hours < LEAST_HOURS_AFTER:
        so_far = f"{hours:.1f} h can be compared{ended_by or ' so far'}"
        return None, f"{LEAST_HOURS_AFTER:.0f} h after it was resolved are needed, and {so_far}"
    price = None
    if prices_.tariffs is not None:
        price = prices(after.middles_ms, *prices_.tariffs.of(incident.building_id))
    return savings(before.kw, after.kw, energy.band_kw, after.window_hours, price=price), ""


@dataclass(frozen=True, slots=True)
class _Differences:
    """Power beyond the expected, as means of hours.

    Attributes:
        middles_ms: int64 [n], the middle of each hour.
        kw: float64 [n]; NaN where it isn't known.
        window_hours: from one to the next.
    """

    middles_ms: NDArray[np.int64]
    kw: NDArray[np.float64]
    window_hours: float


def _differences(store: Store, incident: Incident, energy: EnergyModel, start_ms: int, end_ms: int) -> _Differences:
    """Power beyond the expected in windows whose hour lies in [start_ms, end_ms)."""
    series = read_series(
        store, incident.device_id, incident.device_type, start_ms, end_ms, metrics=_metrics(incident.device_type)
    )
    return _beyond(series, incident.device_type, energy, start_ms)


def _beyond(series: SnapshotSeries, type_name: str, energy: EnergyModel, start_ms: int) -> _Differences:
    """Power beyond the expected, of hours that began at ``start_ms`` or later, one each five minutes."""
    from hvac_platform.detection.learned import frame_of
    from hvac_platform.monitoring.energy import power_frame

    every = max(1, STEP_MS // series.window_ms)
    hours = every * series.window_ms / HOUR_MS
    rows = np.arange((len(series) - 1) % every, len(series), every) if len(series) else np.zeros(0, dtype=np.int64)
    rows = rows[series.times_ms[rows] >= start_ms + HOUR_MS - series.window_ms]
    middles = series.times_ms[rows] + series.window_ms - HOUR_MS // 2
    if not len(rows):
        return _Differences(middles, np.zeros(0), hours)
    difference = energy.difference(power_frame(frame_of(series), type_name), every=every)
    return _Differences(middles, difference.to_numpy(dtype=np.float64)[rows], hours)


def _daily(
    series: SnapshotSeries, incident: Incident, prices_: Prices, energy: EnergyModel | None
) -> tuple[DailyExcess | None, str]:
    """Avoidable energy and cost a day, or why it isn't known."""
    declared = device_type(incident.device_type)
    if declared is None or declared.energy is None:
        return None, NO_POWER
    if energy is None:
        return None, NO_MODEL
    if _rests_on_a_suspect(incident, _power_metrics(declared)):
        return None, SUSPECTED
    if incident.ended_at - incident.started_at < HOUR_MS:
        return None, TOO_SHORT
    found = _beyond(series, incident.device_type, energy, max(incident.started_at, incident.ended_at - DAY_MS))
    price, day_price = None, 0.0
    if prices_.tariffs is not None:
        tariff, zone = prices_.tariffs.of(incident.building_id)
        price = prices(found.middles_ms, tariff, zone)
        day_price = mean_price(incident.ended_at - DAY_MS, incident.ended_at, tariff, zone)
    daily = daily_excess(found.kw, energy.band_kw, found.window_hours, price=price, day_price=day_price)
    return daily, "" if daily is not None else NOT_COMPARABLE


def _discomfort(series: SnapshotSeries, incident: Incident) -> tuple[float | None, str]:
    """Degree-hours, or why they aren't known."""
    declared = device_type(incident.device_type)
    if declared is None or declared.comfort is None:
        return None, NO_COMFORT
    from hvac_platform.detection.comfort import comfort_metrics, discomfort

    if _rests_on_a_suspect(incident, comfort_metrics(declared)):
        return None, SUSPECTED
    found = discomfort(series, declared)
    return found, "" if found is not None else NO_TEMPERATURE


def _metrics(type_name: str) -> frozenset[str]:
    """Points that the worth of a device's incidents rests on."""
    from hvac_platform.detection.comfort import comfort_metrics

    declared = device_type(type_name)
    if declared is None:
        return frozenset()
    return _power_metrics(declared) | comfort_metrics(declared)


def _power_metrics(declared: DeviceType) -> frozenset[str]:
    """Points that electric power and what is expected of it are computed of."""
    energy = declared.energy
    named = () if energy is None else (energy.power, energy.current, *energy.drivers)
    return frozenset(name for name in named if name)


def _rests_on_a_suspect(incident: Incident, metrics: Collection[str]) -> bool:
    """Whether what moved most is one of some points, and the likeliest is that its sensor is wrong, not the machine."""
    from hvac_platform.detection.fault_kinds import SENSOR_KINDS

    likeliest = next((kind["kind"] for kind in incident.kinds), "")
    return likeliest in SENSOR_KINDS and next(iter(incident.metrics), "") in metrics


def _next_start(store: Store, incident: Incident, since_ms: int, until_ms: int) -> int | None:
    """Start of the next incident of the device between two instants that is a warning or worse and no false alarm."""
    span = (since_ms, max(until_ms, since_ms))
    only = ("device_id", "started_at", "incident_id", "severity")
    found = [one for one in Incident.read(store, incident.device_id, span, only=only) if one.severity != "info"]
    stands = handling_of(store, found)
    nothing = (State.FALSE_ALARM, State.TAKEN_BACK)
    starts = [one.started_at for one in found if state_of(stands.get(one.incident_id), until_ms) not in nothing]
    return min(starts, default=None)


def _unknown(why: str, prices_: Prices, risk: dict[str, float]) -> Worth:
    return Worth(None, why, prices_.currency, prices_.name, prices_.unknown, 0.0, None, why, 0.0, risk)


# -- in words --------------------------------------------------------------------------------------------------------------


def money(amount: Interval, currency: str) -> str:
    """An amount with its interval.

    >>> money(Interval(12.0, 9.0, 15.0), "EUR")
    '12.00 EUR (9.00 to 15.00)'
    """
    return f"{amount.value:,.2f} {currency} ({amount.low:,.2f} to {amount.high:,.2f})"


def _a_day(amount: Interval, worth: Worth) -> str:
    """An amount a day, with what the prices are where the file of prices says it."""
    return f"{money(amount, worth.currency)} a day{f' at {worth.prices}' if worth.prices else ''}"


def energy_words(amount: Interval) -> str:
    """Energy with its interval.

    >>> energy_words(Interval(48.0, 36.04, 60.0))
    '48.0 kWh (36.0 to 60.0)'
    """
    return f"{amount.value:,.1f} kWh ({amount.low:,.1f} to {amount.high:,.1f})"


def cost_words(worth: Worth) -> str:
    """What is avoidable a day, how that is known, or why it isn't."""
    daily = worth.daily
    if daily is None:
        return f"not known: {worth.daily_unknown}"
    parts = [] if daily.cost is None else [_a_day(daily.cost, worth)]
    parts.append(f"{energy_words(daily.kwh)} a day")
    how = (
        f"if all of a day were as the {daily.hours:.1f} h that could be compared"
        if daily.extrapolated
        else f"by {daily.hours:.1f} of its last 24 h"
    )
    told = f"{', '.join(parts)}, {how}"
    if daily.kwh.high < 0:
        return f"none, it draws less than its state calls for: {told}"
    return told if daily.kwh.is_more_than_nothing else f"none that can be told from nothing: {told}"


def short_cost(worth: Worth) -> str:
    """What is avoidable a day in a few words; empty where it isn't known, or may be nothing."""
    daily = worth.daily
    if daily is None or not daily.kwh.is_more_than_nothing:
        return ""
    return f"{energy_words(daily.kwh)} a day" if daily.cost is None else _a_day(daily.cost, worth)


def comfort_words(worth: Worth) -> str:
    """How much discomfort there is, or why that isn't known."""
    if worth.degree_hours is None:
        return f"not known: {worth.comfort_unknown}"
    return f"{worth.comfort:g} of 10: {degree_hours_words(worth.degree_hours)} beyond its setpoint in its last 24 h"


def maintenance_words(worth: Worth) -> str:
    """How much the machine is at risk, and of what that is the sum."""
    listed = ", ".join(f"{name} {points:+g}" for name, points in worth.maintenance_parts.items())
    return f"{worth.maintenance:g} of 10" + (f" ({listed})" if listed else "")


def savings_words(found: Savings | None, unknown: str, worth: Worth) -> str:
    """What has been saved since an incident was resolved, or why it isn't known; empty where there is nothing to be said.

    Args:
        found: what has been saved.
        unknown: why that isn't known.
        worth: of the incident, for the currency and what the prices are.
    """
    if found is None:
        return f"not known: {unknown}" if unknown else ""
    amounts = (
        [energy_words(found.kwh)]
        if found.cost is None
        else [money(found.cost, worth.currency), energy_words(found.kwh)]
    )
    daily = f"{energy_words(found.kwh_a_day)} a day" if found.cost_a_day is None else _a_day(found.cost_a_day, worth)
    return (
        f"{', '.join(amounts)} in {found.hours_after:.0f} h, {daily}: at the weather and load since then, against "
        f"{found.hours_before:.1f} h of the incident"
    )


# -- for programs ----------------------------------------------------------------------------------------------------------


def worth_document(worth: Worth) -> dict[str, Any]:
    """What an incident is worth, as plain values for JSON."""
    daily = worth.daily
    return {
        "avoidable_kwh_a_day": None if daily is None else _interval(daily.kwh),
        "avoidable_cost_a_day": None if daily is None or daily.cost is None else _interval(daily.cost),
        "currency": worth.currency or None,
        "prices": worth.prices or None,
        "compared_hours": None if daily is None else round(daily.hours, 2),
        "extrapolated": None if daily is None else daily.extrapolated,
        "degree_hours": None if worth.degree_hours is None else round(worth.degree_hours, 2),
        "cost": worth.cost,
        "comfort": worth.comfort,
        "maintenance_risk": worth.maintenance,
        "maintenance_risk_parts": worth.maintenance_parts,
        "unknown": {
            name: why
            for name, why in (
                ("cost", worth.daily_unknown),
                ("money", worth.money_unknown),
                ("comfort", worth.comfort_unknown),
            )
            if why
        },
    }


def savings_document(found: Savings | None, unknown: str, currency: str) -> dict[str, Any] | None:
    """What has been saved since an incident was resolved, as plain values for JSON; None where nothing is to be said."""
    if found is None:
        return {"unknown": unknown} if unknown else None
    return {
        "kwh": _interval(found.kwh),
        "kwh_a_day": _interval(found.kwh_a_day),
        "cost": None if found.cost is None else _interval(found.cost),
        "cost_a_day": None if found.cost_a_day is None else _interval(found.cost_a_day),
        "currency": currency or None,
        "hours_before": round(found.hours_before, 2),
        "hours_after": round(found.hours_after, 2),
        "unknown": "",
    }


def _interval(one: Interval) -> dict[str, float]:
    return {"value": round(one.value, 3), "low": round(one.low, 3), "high": round(one.high, 3)}
