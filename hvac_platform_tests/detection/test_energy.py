"""Expected power: known where it was learned, silent elsewhere, and excess is what a fault costs."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvac_platform.detection import UnusableMetricsError
from hvac_platform.detection.energy import EnergyModel, believable, electric_power, fit_energy, kwh
from hvac_platform.devices.registry import Energy, device_types
from hvac_platform.simulation.faults import Fault
from hvac_platform_tests.simulation.fleets import HOUR_MS, fleet, midnight, simulate, span

DAY = 24 * 60
MINUTE = pd.Timedelta(minutes=1)


def record(days: float = 6, *, seed: int = 1, noise: float = 0.5) -> pd.DataFrame:
    """A machine whose power depends on outdoor air, its load and the hour, and that cycles every twenty minutes."""
    t = np.arange(int(days * DAY))
    generator = np.random.default_rng(seed)
    outdoor = 70 + 8 * np.sin(2 * np.pi * t / DAY) + 3 * np.sin(2 * np.pi * t / (2.7 * DAY))
    load = 50 + 20 * np.sin(2 * np.pi * t / 511)
    mean = 5 + 0.2 * outdoor + 0.004 * load**2 + 2 * np.sin(2 * np.pi * t / DAY + 1)
    cycling = np.where(t % 20 < 10, 1.5, 0.5)
    index = pd.date_range("2026-03-02", periods=len(t), freq="1min", tz="UTC")
    kw = mean * cycling + noise * generator.normal(size=len(t))
    return pd.DataFrame({"kw": kw, "outdoor": outdoor, "load": load, "mean": mean}, index=index)


@pytest.fixture(scope="module")
def split():
    whole = record()
    return whole.iloc[: 5 * DAY], whole.iloc[5 * DAY :]


@pytest.fixture(scope="module")
def model(split) -> EnergyModel:
    return fit_energy(split[0], power="kw", drivers=["outdoor", "load"])


class TestExpected:
    def test_is_the_hourly_mean_of_a_machine_that_cycles(self, model, split):
        expected = model.expected(split[1])
        truth = split[1]["mean"].rolling("1h").mean()
        assert expected.notna().mean() > 0.9
        assert (expected / truth - 1).abs().median() < 0.02

    def test_is_not_told_beyond_what_was_learned(self, model, split):
        hot = split[1].assign(outdoor=split[1]["outdoor"] + 40)
        assert model.expected(hot).isna().all()
        assert model.excess(hot).isna().all()

    def test_is_not_told_where_a_setpoint_moves_that_never_did(self, split):
        fixed = fit_energy(split[0].assign(setpoint=72.0), power="kw", drivers=["outdoor", "load", "setpoint"])
        assert fixed.expected(split[1].assign(setpoint=72.0)).notna().mean() > 0.9
        assert fixed.expected(split[1].assign(setpoint=75.0)).isna().all()

    def test_rests_on_rows_so_far(self, model, split):
        changed = split[1].copy()
        changed.iloc[700:] = 1e6
        pd.testing.assert_series_equal(model.excess(changed).iloc[:700], model.excess(split[1]).iloc[:700])

    def test_is_never_negative(self, model, split):
        assert (model.expected(split[1]).dropna() >= 0).all()

    @settings(max_examples=10, deadline=None)
    @given(share=st.floats(0, 0.3), seed=st.integers(0, 9))
    def test_missing_readings_are_bridged_within_the_hour(self, model, split, share, seed):
        holes = split[1].mask(np.random.default_rng(seed).random(split[1].shape) < share)
        expected, whole = model.expected(holes), model.expected(split[1])
        both = expected.notna() & whole.notna()
        assert both.iloc[60:].mean() > 0.85
        assert (expected / whole - 1)[both].abs().median() < 0.02

    def test_without_any_reading_nothing_is_told(self, model, split):
        assert model.excess(split[1] * np.nan).isna().all()


class TestExcess:
    def test_is_nothing_on_most_normal_hours(self, model, split):
        assert (model.excess(split[1]).dropna() == 0).mean() > 0.85

    def test_is_what_was_added(self, model, split):
        worn = split[1].copy()
        worn.loc[worn.index[400:700], "kw"] += 10.0
        added = kwh(model.excess(worn) - model.excess(split[1]), MINUTE)
        assert added == pytest.approx(50.0, rel=0.1)

    def test_is_negative_where_less_is_drawn(self, model, split):
        assert model.excess(split[1].assign(kw=split[1]["kw"] - 10.0)).median() == pytest.approx(-10.0, abs=1.0)

    def test_the_dead_band_is_the_models_own_error(self, split):
        quiet, loud = (
            fit_energy(record(5, noise=noise), power="kw", drivers=["outdoor", "load"]) for noise in (0.5, 20.0)
        )
        assert quiet.error_kw < quiet.band_kw < loud.band_kw

    def test_faults_in_the_training_hardly_count(self, split):
        dirty = split[0].copy()
        dirty.iloc[1000:1300, 0] += 60.0
        again = fit_energy(dirty, power="kw", drivers=["outdoor", "load"])
        clean = fit_energy(split[0], power="kw", drivers=["outdoor", "load"])
        assert (again.expected(split[1]) / clean.expected(split[1]) - 1).abs().median() < 0.01

    @settings(max_examples=10, deadline=None)
    @given(factor=st.floats(1e-2, 1e3), offset=st.floats(-200, 200))
    def test_units_of_the_drivers_do_not_matter(self, factor, offset):
        train, test = record(3).iloc[: 2 * DAY : 5], record(3).iloc[2 * DAY :: 5]
        plain = fit_energy(train, power="kw", drivers=["outdoor", "load"]).expected(test)
        other = [f.assign(outdoor=f["outdoor"] * factor + offset) for f in (train, test)]
        changed = fit_energy(other[0], power="kw", drivers=["outdoor", "load"]).expected(other[1])
        pd.testing.assert_series_equal(changed, plain, rtol=1e-3)


class TestFit:
    def test_survives_json(self, model, split):
        again = EnergyModel.from_document(json.loads(json.dumps(model.to_document(), allow_nan=False)))
        pd.testing.assert_series_equal(again.excess(split[1]), model.excess(split[1]))

    def test_the_hour_alone_can_drive(self, split):
        clocked = fit_energy(split[0], power="mean", drivers=[])
        assert clocked.clock
        assert clocked.expected(split[1]).notna().mean() > 0.95

    def test_a_missing_column_is_refused(self, split):
        with pytest.raises(UnusableMetricsError, match="no column steam"):
            fit_energy(split[0], power="kw", drivers=["steam"])

    def test_too_few_rows_are_refused(self, split):
        with pytest.raises(UnusableMetricsError, match="at least 48"):
            fit_energy(split[0].iloc[:40], power="kw", drivers=["load"])


class TestPower:
    def test_of_a_broken_sensor_is_missing(self):
        table = pd.DataFrame({"power_consumption": [300.0, -999.0, 5000.0], "else": [-999.0] * 3})
        read = believable(table, device_types()["chiller"])
        assert read["power_consumption"].isna().tolist() == [False, True, True]
        assert read["else"].tolist() == [-999.0] * 3

    def test_comes_from_the_power_point(self, split):
        table = split[0].rename(columns={"kw": "power_consumption"})
        declared = device_types()["chiller"].energy
        assert electric_power(table, declared).equals(table["power_consumption"].rename("electric_power"))

    @pytest.mark.parametrize(("phases", "volts", "kw"), [(3, 480.0, 8.314), (1, 240.0, 2.4)])
    def test_or_from_current_and_voltage(self, phases, volts, kw):
        energy = Energy(None, ("load",), current="amps", volts=volts, phases=phases)
        assert electric_power(pd.DataFrame({"amps": [10.0]}), energy).iloc[0] == pytest.approx(kw, abs=0.001)


@pytest.mark.parametrize(
    ("device_type", "kind", "least_kwh"),
    [("chiller", "efficiency_degradation", 50), ("air_compressor", "efficiency_degradation", 10)],
)
def test_excess_of_simulated_machines_is_found_and_normal_days_have_little(device_type, kind, least_kwh):
    start = midnight("2026-07-06")
    device = fleet(1, (device_type,))
    begun, ended = start + 152 * HOUR_MS, start + 157 * HOUR_MS
    fault = Fault(device[0].device_id, kind, begun, ended)
    ((_, readings),) = simulate(device, span(start, 168, 300), seed=77, faults=[fault]).items()
    index = pd.to_datetime(readings.times_ms, unit="ms", utc=True)
    frame = pd.DataFrame(readings.values, index=index, columns=list(readings.metric_names))
    energy = device_types()[device_type].energy
    model = fit_energy(frame.iloc[: 120 * 12], power=energy.power, drivers=energy.drivers, clock=energy.clock)
    excess = model.excess(frame.iloc[120 * 12 :])
    times = excess.index.as_unit("ms").asi8
    step = pd.Timedelta(minutes=5)
    assert kwh(excess[(times >= begun) & (times < ended)], step) > least_kwh
    drawn = kwh(frame[energy.power][(index >= excess.index[0]) & (readings.times_ms < begun)], step)
    assert abs(kwh(excess[times < begun], step)) < 0.02 * drawn
