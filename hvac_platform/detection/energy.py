"""Energy: what a machine should draw for what is asked of it, and how much more it does.

Expected power is a robust regression on *drivers*: what a fault doesn't itself move, such as outdoor air, load, setpoints
and the hour. Device types declare theirs (``energy`` in the YAML). Power is compared as a mean over the last hour: a machine
that cycles has no expected power in a minute. This is measurement and verification against a baseline model (ASHRAE
Guideline 14-2014), for one machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hvac_platform.detection.observations import UnusableMetricsError
from hvac_platform.devices.registry import DeviceType, Energy

Float64 = NDArray[np.float64]

AVERAGING = pd.Timedelta(hours=1)
#: Share of the hour that must be known.
LEAST_COVERAGE = 0.5
LEAST_ROWS = 48
MOST_ROWS = 2000
FOLDS = 5
RIDGE = 1e-3
HUBER, ROUNDS = 1.345, 8
#: Dead band: this share of held-out hourly means lies within it.
BAND_SHARE = 0.95
#: Drivers count as known up to this many times the distance at which held-out ones had their nearest neighbour.
ROOM, NEAREST_SHARE = 2.0, 0.99
HARMONICS = 2
DAY_HOURS = 24.0
HOUR_MS = 3_600_000.0


@dataclass(frozen=True, slots=True)
class EnergyModel:
    """Expected power of one machine; made by :func:`fit_energy`.

    Attributes:
        power: name of the column with electric power, kW.
        drivers: names of the d drivers.
        clock: whether the hour of the day is one more.
        centre: float64 [d], medians of the drivers.
        spread: float64 [d], their spreads.
        coefficients: float64 [terms], of the basis: 1, drivers, their squares and products, harmonics of the hour.
        known: float64 [k, d], scaled drivers of the training.
        reach: largest distance to the nearest of them at which power is still told.
        band_kw: dead band, kW.
        error_kw: median absolute held-out error of an hourly mean, kW.
        relative_error: the same as a share of the power.
    """

    power: str
    drivers: tuple[str, ...]
    clock: bool
    centre: Float64
    spread: Float64
    coefficients: Float64
    known: Float64
    reach: float
    band_kw: float
    error_kw: float
    relative_error: float

    def expected(self, metrics: pd.DataFrame, *, every: int = 1) -> pd.Series:
        """Expected mean power over the hour up to each row, kW; [n] with the index of ``metrics``.

        NaN where less than half of the hour is known, and where the drivers lie outside what was learned: no extrapolation.

        Args:
            metrics: n rows with the drivers, UTC DatetimeIndex.
            every: told of every so-manieth row, counted from the last; NaN of the others. Means of hours move slowly.
        """
        drivers = _hourly(metrics[list(self.drivers)])
        scaled = (drivers.to_numpy() - self.centre) / self.spread
        rows = np.flatnonzero(np.isfinite(scaled).all(axis=1))
        rows = rows[(len(metrics) - 1 - rows) % every == 0]
        result = np.full(len(metrics), np.nan)
        near = rows[_nearest(scaled[rows], self.known) <= self.reach]
        result[near] = _basis(scaled[near], _hours(metrics.index[near]) if self.clock else None) @ self.coefficients
        return pd.Series(np.maximum(result, 0.0), index=metrics.index, name="expected_kw")

    def excess(self, metrics: pd.DataFrame) -> pd.Series:
        """Mean power over the hour up to each row beyond what is expected, kW; negative where it is less.

        0 within the dead band, which holds 95 % of the held-out hours of the training. NaN where it can't be told.

        Args:
            metrics: n rows with power and the drivers, UTC DatetimeIndex.
        """
        difference = self.difference(metrics)
        return difference.where(difference.isna() | (difference.abs() > self.band_kw), 0.0).rename("excess_kw")

    def difference(self, metrics: pd.DataFrame, *, every: int = 1) -> pd.Series:
        """As :meth:`excess`, without a dead band: of many hours its mean is what they drew beyond the expected, kW.

        Args:
            metrics: n rows with power and the drivers, UTC DatetimeIndex.
            every: told of every so-manieth row, as :meth:`expected` has it.
        """
        return _hourly(metrics[[self.power]])[self.power] - self.expected(metrics, every=every)

    def to_document(self) -> dict[str, Any]:
        """The model as plain values for JSON."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: v.tolist() if isinstance(v, np.ndarray) else v for name, v in values.items()}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> EnergyModel:
        """The model of :meth:`to_document`."""
        arrays = {n: np.array(document[n], dtype=np.float64) for n in ("centre", "spread", "coefficients")}
        known = np.array(document["known"], dtype=np.float64).reshape(-1, len(document["drivers"]))
        return cls(**{**document, **arrays, "known": known, "drivers": tuple(document["drivers"])})


def electric_power(metrics: pd.DataFrame, energy: Energy) -> pd.Series:
    """Electric power as a device type declares it, kW: its power point, or P = √phases · V · I · cos φ / 1000.

    (√3 · V · I for three phases with V between phases; V · I for one.)

    >>> from hvac_platform.devices.registry import Energy
    >>> fan = Energy(None, ("load",), current="amps", volts=480.0, phases=3, power_factor=0.9)
    >>> float(electric_power(pd.DataFrame({"amps": [10.0]}), fan).iloc[0].round(2))
    7.48
    """
    source, factor = energy.power, 1.0
    if source is None:
        source, factor = energy.current, float(np.sqrt(energy.phases)) * energy.volts * energy.power_factor / 1000.0
    return pd.Series(metrics[source].to_numpy(dtype=np.float64) * factor, index=metrics.index, name="electric_power")


def believable(metrics: pd.DataFrame, device_type: DeviceType) -> pd.DataFrame:
    """Readings with those missing that can't be real: beyond the hard limits of their point, or the mark of a broken sensor.

    One -999 kW would otherwise cancel a day's excess.
    """
    result = metrics.copy()
    for point in device_type.points:
        if point.name in result.columns:
            low, high = point.hard or (-np.inf, np.inf)
            column = result[point.name]
            result[point.name] = column.where(column.between(low, high) & ~column.isin(device_type.sentinels))
    return result


def fit_energy(metrics: pd.DataFrame, *, power: str, drivers: Sequence[str], clock: bool = True) -> EnergyModel:
    """Learn what a machine draws for given drivers.

    Ridge regression on the drivers, their squares and products, and two harmonics of the hour of the day, by Huber's
    weights (Huber, Ann. Math. Statist. 35, 1964), so that hours with a fault count little. The error is that of contiguous
    fifths under models of the other four. Where a driver that never moved (a setpoint) moves later, nothing is told.

    Args:
        metrics: mostly normal rows, UTC DatetimeIndex, with power in kW and the drivers; NaN where missing.
        power: column of the electric power.
        drivers: columns that a fault doesn't itself move.
        clock: whether the hour of the day is a driver too; only with a day or more to learn from.

    Raises:
        UnusableMetricsError: a column is missing, or fewer than 48 rows can be learned from.

    >>> hours = pd.date_range("2026-03-02", periods=480, freq="15min", tz="UTC")
    >>> outdoor = 70.0 + 10.0 * np.sin(np.arange(480) / 10.0)
    >>> table = pd.DataFrame({"kw": 0.5 * outdoor, "outdoor": outdoor}, index=hours)
    >>> model = fit_energy(table, power="kw", drivers=["outdoor"])
    >>> warm = pd.DataFrame({"kw": 42.0, "outdoor": 72.0}, index=hours[:8])
    >>> float(model.excess(warm).iloc[-1].round(1))
    6.0
    """
    if missing := {power, *drivers} - set(metrics.columns):
        raise UnusableMetricsError(f"no column {', '.join(sorted(missing))}: energy needs power and its drivers")
    hourly = _hourly(metrics[[power, *drivers]]).replace([np.inf, -np.inf], np.nan).dropna()
    if len(hourly) < LEAST_ROWS:
        raise UnusableMetricsError(f"{len(hourly)} rows with power and all drivers, at least {LEAST_ROWS} are needed")
    hourly = hourly.iloc[np.unique(np.linspace(0, len(hourly) - 1, min(MOST_ROWS, len(hourly))).astype(np.int64))]
    span = hourly.index[-1] - hourly.index[0]
    clock = clock and span >= pd.Timedelta(days=1)
    values = hourly[list(drivers)].to_numpy(dtype=np.float64)
    centre = np.median(values, axis=0)
    spread = np.maximum(values.std(axis=0), 1e-6 * np.maximum(np.abs(centre), 1.0))
    scaled = (values - centre) / spread
    basis = _basis(scaled, _hours(hourly.index) if clock else None)
    kw = hourly[power].to_numpy(dtype=np.float64)

    held_out, distance = np.empty(len(kw)), np.empty(len(kw))
    for fold in np.array_split(np.arange(len(kw)), FOLDS):
        others = np.setdiff1d(np.arange(len(kw)), fold)
        held_out[fold] = kw[fold] - basis[fold] @ _robust_ridge(basis[others], kw[others])
        distance[fold] = _nearest(scaled[fold], scaled[others])
    reach = ROOM * float(np.quantile(distance, NEAREST_SHARE))
    size = np.abs(held_out)
    return EnergyModel(
        power=power,
        drivers=tuple(drivers),
        clock=clock,
        centre=centre,
        spread=spread,
        coefficients=_robust_ridge(basis, kw),
        known=scaled,
        reach=reach,
        band_kw=float(np.quantile(size, BAND_SHARE)),
        error_kw=float(np.median(size)),
        relative_error=float(np.median(size / np.maximum(kw, 1e-6))),
    )


def kwh(power_kw: pd.Series, interval: pd.Timedelta) -> float:
    """Energy of a power that is known every ``interval``, kWh; hours that are not known count as 0.

    >>> kwh(pd.Series([6.0, np.nan, 3.0]), pd.Timedelta(minutes=20))
    3.0
    """
    return float(np.nansum(power_kw.to_numpy(dtype=np.float64)) * (interval / pd.Timedelta(hours=1)))


def _hourly(metrics: pd.DataFrame) -> pd.DataFrame:
    """Means over the hour up to each row; NaN where less than half of it is known. Rows an hour or more apart stay."""
    times = metrics.index.as_unit("ms").asi8  # type: ignore[attr-defined]
    step_ms = float(np.median(np.diff(times))) if len(times) > 1 else HOUR_MS
    least = max(1, int(LEAST_COVERAGE * HOUR_MS / max(step_ms, 1.0)))
    return metrics.astype(np.float64).rolling(AVERAGING, min_periods=least).mean()


def _hours(index: pd.Index) -> Float64:
    """Hour of the day, UTC, in the middle of the hour that ends at each row."""
    times = pd.DatetimeIndex(index) - AVERAGING / 2
    return np.asarray(times.hour + times.minute / 60.0 + times.second / 3600.0, dtype=np.float64)


def _basis(scaled: Float64, hours: Float64 | None) -> Float64:
    """1, drivers, squares and products, harmonics; float64 [n, terms]. Beyond ±4 spreads a driver stays there."""
    x = np.clip(scaled, -4.0, 4.0)
    first, second = np.triu_indices(x.shape[1])
    parts: list[Float64] = [np.ones((len(x), 1)), x, x[:, first] * x[:, second]]
    if hours is not None:
        angles = 2.0 * np.pi / DAY_HOURS * np.outer(hours, np.arange(1, HARMONICS + 1))
        parts += [np.sin(angles), np.cos(angles)]
    return np.hstack(parts)


def _robust_ridge(basis: Float64, kw: Float64) -> Float64:
    """Coefficients by iteratively reweighted least squares, float64 [terms]; the constant is not penalised."""
    penalty = np.eye(basis.shape[1]) * RIDGE * len(basis)
    penalty[0, 0] = 0.0
    weight = np.ones(len(kw))
    coefficients: Float64 = np.zeros(basis.shape[1])
    for _ in range(ROUNDS):
        weighted = basis * weight[:, None]
        solved = np.linalg.solve(weighted.T @ basis + penalty, weighted.T @ kw)
        coefficients = np.asarray(solved, dtype=np.float64)
        size = np.abs(kw - basis @ coefficients)
        scale = max(1.4826 * float(np.median(size)), 1e-9)
        weight = np.minimum(1.0, HUBER * scale / np.maximum(size, 1e-12))
    return coefficients


def _nearest(rows: Float64, known: Float64) -> Float64:
    """Distance of each row to the nearest known one, float64 [n]; 0 without drivers."""
    result = np.zeros(len(rows))
    squared = (known * known).sum(axis=1)
    for first in range(0, len(rows), 1024):
        part = rows[first : first + 1024]
        distance = (part * part).sum(axis=1)[:, None] - 2.0 * part @ known.T + squared
        result[first : first + 1024] = np.sqrt(np.maximum(distance.min(axis=1), 0.0))
    return result
