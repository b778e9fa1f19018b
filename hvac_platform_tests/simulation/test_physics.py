"""The machines obey the physics that ties their sensors together."""

import numpy as np
import pytest

from hvac_platform.simulation.psychrometrics import relative_humidity
from hvac_platform.simulation.weather import Weather
from hvac_platform_tests.simulation.fleets import TYPES, column, fleet, midnight, simulate, span

START = midnight("2025-06-10")


@pytest.fixture(scope="module")
def day():
    """One summer day of two devices of each type, a reading every 20 s."""
    return simulate(fleet(2), span(START, 24, interval_s=20))


@pytest.fixture(scope="module")
def winter():
    return simulate(fleet(2), span(midnight("2025-01-15"), 48))


def of(readings, kind):
    """Function from metric to its values in both devices of a type, in one row."""
    return lambda metric: np.concatenate([column(readings[f"{kind}-{i}"], metric) for i in range(2)])


def test_outdoor_sensors_of_all_machines_show_the_same_weather(day):
    air = Weather(1).sample(span(START, 24, interval_s=20) / 1000.0)
    for kind, metric in (
        ("rooftop_unit", "outdoor_air_temp"),
        ("makeup_air_unit", "outdoor_air_temp"),
        ("cooling_tower", "dry_bulb_temp"),
    ):
        assert np.abs(column(day[f"{kind}-0"], metric) - air.dry_bulb).max() < 1.0
    humidity = relative_humidity(air.dry_bulb, air.humidity_ratio)
    assert np.abs(column(day["makeup_air_unit-0"], "outdoor_air_humidity") - humidity).max() < 4.0


# Rooftop unit


def test_compressor_cycles_and_takes_power_and_supply_temperature_with_it(day):
    for i in range(2):
        unit = day[f"rooftop_unit-{i}"]
        status = column(unit, "compressor_status")
        starts = np.flatnonzero(np.diff(status) == 1)
        assert 20 <= len(starts) <= 140
        power, supply = column(unit, "power_consumption"), column(unit, "supply_air_temp")
        # Compare running and idle, leaving out the minutes after each switch in which the coil cools down or warms up.
        settled = np.ones(len(status), dtype=bool)
        for switch in np.flatnonzero(np.diff(status)):
            settled[switch : switch + 12] = False
        on, off = settled & (status == 1), settled & (status == 0)
        assert power[on].mean() > 5 * power[off].mean()
        assert power[on].min() > power[off].max()
        assert supply[on].mean() < supply[off].mean() - 15


def test_thermostat_has_hysteresis(day):
    """The compressor starts in a warm zone and stops in a cool one: about a degree and a half lie between."""
    for i in range(2):
        unit = day[f"rooftop_unit-{i}"]
        change = np.diff(column(unit, "compressor_status"))
        zone = column(unit, "return_air_temp")[1:]
        assert 1.0 < zone[change == 1].mean() - zone[change == -1].mean() < 2.5


def test_fan_laws_of_the_rooftop_unit(day):
    """At the same filter, pressure drop goes with the square of speed; the fan's current rises faster than linearly."""
    unit = day["rooftop_unit-0"]
    speed, drop, current = (column(unit, m) for m in ("fan_speed", "filter_pressure_drop", "fan_current"))
    slow, fast = speed < np.quantile(speed, 0.1) + 5, speed > np.quantile(speed, 0.9) - 5
    ratio = speed[fast].mean() / speed[slow].mean()
    assert drop[fast].mean() / drop[slow].mean() == pytest.approx(ratio**2, rel=0.05)
    assert current[fast].mean() / current[slow].mean() > ratio


@pytest.fixture(scope="module")
def januaries():
    """A January day of rooftop units in six different years of weather, in one row: function of the metric."""
    runs = [simulate(fleet(2, ("rooftop_unit",)), span(midnight("2025-01-20"), 24), seed=seed) for seed in range(6)]
    return lambda metric: np.concatenate([of(run, "rooftop_unit")(metric) for run in runs])


def test_economizer_cools_instead_of_the_compressor_in_cool_weather(januaries):
    outdoor, damper = januaries("outdoor_air_temp"), januaries("economizer_damper_position")
    assert damper[outdoor < 61].max() > 30
    assert not januaries("compressor_status")[outdoor < 60].any()
    assert damper[outdoor > 63].max() < 42


def test_rooftop_unit_heats_on_a_cold_morning_and_never_while_it_cools(januaries):
    heating = januaries("heating_valve_position")
    assert (heating > 5).any()
    assert not ((heating > 5) & (januaries("compressor_status") == 1)).any()


def test_supply_air_does_not_exceed_saturation(day, winter):
    for readings in (day, winter):
        for kind in ("rooftop_unit", "makeup_air_unit"):
            assert of(readings, kind)("supply_air_humidity").max() < 96


# Makeup air unit


def test_makeup_air_is_heated_in_winter_and_cooled_in_summer(day, winter):
    summer, cold = of(day, "makeup_air_unit"), of(winter, "makeup_air_unit")
    assert not summer("gas_valve_position").any()
    hot = summer("outdoor_air_temp") > 80
    assert np.abs(summer("supply_air_temp")[hot] - 67).max() < 2
    assert (summer("cooling_coil_temp")[hot] < summer("supply_air_temp")[hot]).all()
    burning = cold("gas_valve_position") > 8
    if burning.any():
        assert (cold("supply_air_temp") - cold("outdoor_air_temp"))[burning].mean() > 5


def test_fan_drive_holds_static_pressure(day):
    get = of(day, "makeup_air_unit")
    assert np.abs(get("static_pressure") - 1.0).max() < 0.12
    assert np.abs(get("fan_speed") / get("fan_vfd_frequency") / 25.0 - 1.0).max() < 0.04
    # More open terminals take more air, and more air takes more fan.
    assert np.corrcoef(get("damper_position"), get("supply_air_flow"))[0, 1] > 0.7
    unit = day["makeup_air_unit-0"]
    assert np.corrcoef(column(unit, "supply_air_flow"), column(unit, "fan_speed"))[0, 1] > 0.95


def test_filter_drop_goes_with_the_square_of_flow(day):
    unit = day["makeup_air_unit-0"]
    resistance = column(unit, "filter_pressure_drop") / column(unit, "supply_air_flow") ** 2
    assert resistance.std() / resistance.mean() < 0.06


# Chiller


def test_chiller_balances_heat(day):
    """500 gpm dT of the condenser is 500 gpm dT of the evaporator and the compressor's power."""
    get = of(day, "chiller")
    evaporator = (
        500 * get("chilled_water_flow_rate") * (get("chilled_water_return_temp") - get("chilled_water_supply_temp"))
    )
    condenser = (
        500
        * get("condenser_water_flow_rate")
        * (get("condenser_water_return_temp") - get("condenser_water_supply_temp"))
    )
    balance = condenser / (evaporator + 3412 * get("power_consumption"))
    assert abs(balance.mean() - 1) < 0.02
    assert np.abs(balance - 1).max() < 0.1


def test_chiller_points_agree_with_each_other(day):
    get = of(day, "chiller")
    difference = get("chilled_water_return_temp") - get("chilled_water_supply_temp")
    assert np.abs(get("chilled_water_delta_t") - difference).max() < 0.6
    tons = get("chilled_water_flow_rate") * difference / 24
    assert np.abs(get("cop") * get("power_consumption") / (3.517 * tons) - 1).max() < 0.08


def test_chiller_capacity_follows_the_load(day):
    """Work of the day: more load, more capacity, power and temperature difference; leaving water keeps its setpoint."""
    unit = day["chiller-0"]
    capacity = column(unit, "capacity_percentage")
    assert np.ptp(capacity) > 20
    for metric in ("power_consumption", "chilled_water_delta_t", "compressor_current", "condenser_water_return_temp"):
        assert np.corrcoef(capacity, column(unit, metric))[0, 1] > 0.8, metric
    assert np.abs(column(unit, "chilled_water_supply_temp") - 44).max() < 1.0


def test_chiller_needs_more_power_a_ton_in_warmer_condenser_water(day):
    unit = day["chiller-0"]
    lift = column(unit, "refrigerant_pressure_cond") - column(unit, "refrigerant_pressure_evap")
    assert np.corrcoef(lift, column(unit, "cop"))[0, 1] < -0.9


# Cooling tower


def test_tower_cools_towards_wet_bulb_and_never_below(day, winter):
    for readings in (day, winter):
        get = of(readings, "cooling_tower")
        assert (get("outlet_water_temp") > get("wet_bulb_temp") + 2).all()
        assert (get("wet_bulb_temp") <= get("dry_bulb_temp") + 0.5).all()


def test_tower_identities(day):
    get = of(day, "cooling_tower")
    assert np.abs(get("approach_temp") - (get("outlet_water_temp") - get("wet_bulb_temp"))).max() < 1.0
    assert np.abs(get("range_temp") - (get("inlet_water_temp") - get("outlet_water_temp"))).max() < 1.0


def test_tower_fan_follows_the_fan_law(day):
    unit = day["cooling_tower-0"]
    speed, power = column(unit, "fan_speed"), column(unit, "power_consumption") - 0.4
    slow, fast = speed < np.quantile(speed, 0.1), speed > np.quantile(speed, 0.9)
    expected = np.mean(speed[fast] ** 3) / np.mean(speed[slow] ** 3)
    assert power[fast].mean() / power[slow].mean() == pytest.approx(expected, rel=0.08)


def test_makeup_replaces_evaporation_and_blowdown_over_the_day(day):
    for i in range(2):
        unit = day[f"cooling_tower-{i}"]
        evaporation = 0.00085 * column(unit, "water_flow_rate") * column(unit, "range_temp")
        assert 1.05 < column(unit, "makeup_water_flow").mean() / evaporation.mean() < 1.4
        assert np.ptp(column(unit, "sump_water_level")) < 30
        assert set(np.unique(column(unit, "blowdown_valve_position"))) == {0.0, 40.0}


# Air compressor


def test_compressor_holds_pressure_and_its_power_follows_flow(day):
    for i in range(2):
        unit = day[f"air_compressor-{i}"]
        assert np.abs(column(unit, "discharge_pressure") - 110).max() < 6
        flow, power = column(unit, "air_flow_rate"), column(unit, "power_consumption")
        assert np.corrcoef(flow, power)[0, 1] > 0.99
        by_day = flow > 150
        specific = 100 * power[by_day] / flow[by_day]
        assert specific.max() < 22
        assert 15 < specific.mean() < 20


def test_the_plant_sleeps_at_night(day):
    unit = day["air_compressor-0"]
    hour = np.arange(len(unit.times_ms)) / 180
    flow = column(unit, "air_flow_rate")
    assert flow[(hour > 22.5) | (hour < 4.5)].max() < 0.2 * flow.mean()


def test_run_hours_count_the_hours(day):
    hours = column(day["air_compressor-0"], "run_hours")
    assert (np.diff(hours) >= 0).all()
    assert hours[-1] - hours[0] == pytest.approx(24, abs=0.1)


def test_something_changes_in_every_machine_in_every_season(day, winter):
    active = {
        "rooftop_unit": "power_consumption",
        "makeup_air_unit": "power_consumption",
        "chiller": "power_consumption",
        "cooling_tower": "fan_speed",
        "air_compressor": "air_flow_rate",
    }
    for readings in (day, winter):
        for kind in TYPES:
            values = of(readings, kind)(active[kind])
            assert values.std() > 0.1 * values.mean()
