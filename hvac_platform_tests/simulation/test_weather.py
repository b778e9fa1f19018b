"""Outdoor air: physically possible, seasonal, daily, and a function of time alone."""

import numpy as np
import psychrolib
import pytest

from hvac_platform.simulation.psychrometrics import (
    SEA_LEVEL_PSI,
    relative_humidity,
    saturation_humidity_ratio,
    saturation_pressure,
)
from hvac_platform.simulation.randomness import LatticeNoise, entropy
from hvac_platform.simulation.refrigerant import saturation_pressure_psig
from hvac_platform.simulation.weather import Climate, Weather
from hvac_platform_tests.simulation.fleets import midnight


def hours(date: str, days: int):
    return midnight(date) / 1000.0 + np.arange(24 * days) * 3600.0


@pytest.fixture(scope="module")
def year():
    """Outdoor air of a year, hour by hour."""
    return Weather(1).sample(hours("2025-01-01", 365))


def test_wet_bulb_lies_between_dew_point_and_dry_bulb(year):
    dew_point = np.array(
        [psychrolib.GetTDewPointFromHumRatio(80.0, w, SEA_LEVEL_PSI) for w in year.humidity_ratio[::50]]
    )
    assert (year.wet_bulb <= year.dry_bulb).all()
    assert (year.wet_bulb[::50] >= dew_point - 0.1).all()


def test_a_damp_climate_does_not_exceed_saturation():
    air = Weather(1, Climate(dew_point_depression_f=2.0)).sample(hours("2025-06-01", 30))
    assert (air.humidity_ratio <= saturation_humidity_ratio(air.dry_bulb) * 1.001).all()


def test_summer_is_warmer_than_winter_and_afternoon_than_dawn():
    weather = Weather(1)
    summer, winter = (weather.sample(hours(d, 28)).dry_bulb for d in ("2025-07-10", "2025-01-10"))
    assert summer.mean() > winter.mean() + 10
    by_hour = summer.reshape(-1, 24).mean(axis=0)
    assert by_hour.argmax() in (14, 15, 16)
    assert by_hour.max() - by_hour.min() > 10


def test_weather_persists_from_day_to_day(year):
    daily = year.dry_bulb.reshape(-1, 24).mean(axis=1)
    assert np.abs(np.diff(daily)).max() < 4.0


def test_site_hour_follows_the_offset_of_the_climate():
    weather = Weather(1, Climate(utc_offset_hours=-6.0))
    assert weather.site_hour(np.array([12 * 3600.0]))[0] == 6.0


def test_weather_is_a_function_of_time_alone():
    times = hours("2025-03-01", 10)
    whole = Weather(5).sample(times).dry_bulb
    weather = Weather(5)
    weather.sample(hours("2024-01-01", 1))
    assert np.array_equal(weather.sample(times[37:51]).dry_bulb, whole[37:51])


def test_lattice_noise_is_bounded_smooth_and_independent_of_its_neighbours():
    times = np.arange(0.0, 864_000.0, 10.0)
    alone = LatticeNoise([entropy(1, "a")], 600.0).sample(times)
    beside = LatticeNoise([entropy(1, "b"), entropy(1, "a")], 600.0).sample(times)
    assert np.array_equal(alone[:, 0], beside[:, 1])
    assert np.abs(alone).max() <= 1.0
    assert np.abs(np.diff(alone[:, 0])).max() < 0.06
    assert abs(np.corrcoef(beside.T)[0, 1]) < 0.15


@pytest.mark.parametrize("temperature", [-20.0, 31.9, 32.1, 55.5, 75.05, 110.0])
def test_saturation_table_agrees_with_psychrolib(temperature):
    exact = psychrolib.GetSatVapPres(temperature)
    assert saturation_pressure(np.array(temperature)) == pytest.approx(exact, rel=1e-4)
    humidity = relative_humidity(
        np.array(temperature), np.array(psychrolib.GetHumRatioFromRelHum(temperature, 0.5, SEA_LEVEL_PSI))
    )
    assert humidity == pytest.approx(50.0, abs=0.05)


# NIST saturation pressures of R-134a, psia.
@pytest.mark.parametrize(
    ("temperature", "psia"), [(40.0, 49.7), (60.0, 72.1), (80.0, 101.4), (100.0, 138.8), (120.0, 185.9)]
)
def test_refrigerant_pressures_agree_with_published_values(temperature, psia):
    assert saturation_pressure_psig(np.array(temperature)) + 14.696 == pytest.approx(psia, rel=0.01)
