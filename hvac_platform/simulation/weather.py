"""Outdoor air: a climate's seasons and days, weather that moves over days, and the psychrometrics of both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import psychrolib
from numpy.typing import NDArray

from hvac_platform.simulation.psychrometrics import SEA_LEVEL_PSI
from hvac_platform.simulation.randomness import LatticeNoise, entropy

Float64 = NDArray[np.float64]

DAY_S = 86_400.0
_YEAR_DAYS = 365.2425
#: Weather is computed at knots this far apart and interpolated: air changes slowly, wet bulb is costly.
_KNOT_S = 600


@dataclass(frozen=True, slots=True)
class Spell:
    """Days that are warmer or colder than the season: dry bulb and dew point move by ``shift_f`` and back again.

    Attributes:
        start_ms: when it begins, epoch milliseconds UTC.
        end_ms: when it is over.
        shift_f: by how much, °F; reached within half a day.
    """

    start_ms: int
    end_ms: int
    shift_f: float

    def at(self, times_s: Float64) -> Float64:
        """Its share in the temperature at ``times_s`` [t], °F."""
        since, left = times_s - self.start_ms / 1000.0, self.end_ms / 1000.0 - times_s
        return self.shift_f * np.clip(np.minimum(since, left) / (0.5 * DAY_S), 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Climate:
    """Where the fleet stands.

    The default is warm and mild, so that every machine has something to do all year: rooftop units cool on a winter
    afternoon and heat on a winter morning, makeup air is heated in winter and cooled in summer.

    Attributes:
        mean_f: mean dry bulb over the year, °F.
        seasonal_f: amplitude of the yearly course, °F.
        daily_f: amplitude of the daily course, °F.
        synoptic_f: largest shift by passing weather, °F; it takes days to move.
        warmest_day: day of the year of the yearly maximum.
        warmest_hour: site hour of the daily maximum.
        dew_point_depression_f: daily mean dry bulb minus dew point, °F.
        utc_offset_hours: site time minus UTC.
        spells: weather beyond that of the season.
    """

    mean_f: float = 74.0
    seasonal_f: float = 9.0
    daily_f: float = 8.0
    synoptic_f: float = 3.0
    warmest_day: float = 203.0
    warmest_hour: float = 15.0
    dew_point_depression_f: float = 18.0
    utc_offset_hours: float = 0.0
    spells: tuple[Spell, ...] = ()


@dataclass(frozen=True, slots=True)
class OutdoorAir:
    """Outdoor air at t times; all float64 [t].

    Attributes:
        dry_bulb: °F.
        wet_bulb: °F.
        humidity_ratio: lb water per lb dry air.
    """

    dry_bulb: Float64
    wet_bulb: Float64
    humidity_ratio: Float64


class Weather:
    """Outdoor air of one climate as a function of time, the same for every device of a fleet and seed.

    Dry bulb = mean + seasonal cosine + daily cosine + synoptic noise. Dew point follows the day's mean, not the hour:
    the water in the air changes with air masses, so relative humidity is high at dawn and low in the afternoon. Wet
    bulb is psychrolib's.

    Args:
        seed: seed of the simulation.
        climate: where the fleet stands.
    """

    def __init__(self, seed: int, climate: Climate | None = None) -> None:
        self.climate = climate or Climate()
        self._synoptic = LatticeNoise([entropy(seed, "weather", "synoptic")], knot_seconds=3 * DAY_S)
        self._moisture = LatticeNoise([entropy(seed, "weather", "moisture")], knot_seconds=1.5 * DAY_S)
        self._cloud = LatticeNoise([entropy(seed, "weather", "cloud")], knot_seconds=2.0 * 3600.0)

    def site_hour(self, times_s: Float64) -> Float64:
        """Hour of the day at the site, 0 <= hour < 24, for ``times_s`` [t] seconds since the epoch."""
        return (times_s / 3600.0 + self.climate.utc_offset_hours) % 24.0

    def sample(self, times_s: Float64) -> OutdoorAir:
        """Outdoor air at ascending ``times_s`` [t], seconds since the epoch."""
        first, last = int(times_s[0] // _KNOT_S), int(times_s[-1] // _KNOT_S) + 1
        knots_s: Float64 = np.arange(first, last + 1, dtype=np.float64) * _KNOT_S
        dry_bulb, dew_point = self._air_at_knots(knots_s)
        ratio = np.empty_like(dry_bulb)
        wet_bulb = np.empty_like(dry_bulb)
        for i, (temperature, dew) in enumerate(zip(dry_bulb.tolist(), dew_point.tolist(), strict=True)):
            ratio[i] = psychrolib.GetHumRatioFromTDewPoint(dew, SEA_LEVEL_PSI)
            wet_bulb[i] = psychrolib.GetTWetBulbFromHumRatio(temperature, float(ratio[i]), SEA_LEVEL_PSI)
        return OutdoorAir(
            dry_bulb=np.interp(times_s, knots_s, dry_bulb),
            wet_bulb=np.interp(times_s, knots_s, wet_bulb),
            humidity_ratio=np.interp(times_s, knots_s, ratio),
        )

    def _air_at_knots(self, knots_s: Float64) -> tuple[Float64, Float64]:
        climate = self.climate
        day_of_year = (knots_s / DAY_S) % _YEAR_DAYS
        season = np.cos(2.0 * np.pi * (day_of_year - climate.warmest_day) / _YEAR_DAYS)
        day = np.cos(2.0 * np.pi * (self.site_hour(knots_s) - climate.warmest_hour) / 24.0)
        air_mass = (
            climate.mean_f + climate.seasonal_f * season + climate.synoptic_f * self._synoptic.sample(knots_s)[:, 0]
        )
        for spell in climate.spells:
            air_mass = air_mass + spell.at(knots_s)
        dry_bulb = air_mass + climate.daily_f * day + 0.6 * self._cloud.sample(knots_s)[:, 0]
        dew_point = air_mass - climate.dew_point_depression_f + 1.2 * self._moisture.sample(knots_s)[:, 0]
        # Air cannot hold more water than at saturation; a climate may be set so damp that nights reach it.
        return dry_bulb, np.minimum(dew_point, dry_bulb - 0.5)
