"""Units that people prefer to see: values, differences, figures; what is stored stays."""

from __future__ import annotations

import numpy as np
import pytest

from hvac_platform.dashboard.formatting import metric_unit, metric_value
from hvac_platform.dashboard.pages.device import statistics_shown
from hvac_platform.devices.display_units import UNITS_VARIABLE, display_of
from hvac_platform.devices.registry import device_type

SHOWN = [
    ("rooftop_unit", "supply_air_temp", 71.26, "71.3 °F", "21.8 °C"),
    ("chiller", "chilled_water_delta_t", 10.0, "10.0 °F", "5.6 K"),
    ("rooftop_unit", "filter_pressure_drop", 0.25, "0.25 inH2O", "62 Pa"),
    ("chiller", "chilled_water_flow_rate", 1000.0, "1,000 gpm", "63.1 L/s"),
    ("air_compressor", "discharge_pressure", 100.0, "100.0 psig", "689 kPag"),
    ("rooftop_unit", "power_consumption", 3.2, "3.2 kW", "3.2 kW"),
    ("chiller", "cop", 5.25, "5.25", "5.25"),
]


@pytest.mark.parametrize(("kind", "metric", "value", "stored", "si"), SHOWN)
def test_a_reading_is_shown_in_the_preferred_units(
    monkeypatch: pytest.MonkeyPatch, kind: str, metric: str, value: float, stored: str, si: str
) -> None:
    for preference, expected in (("", stored), ("SI", si), ("IP", stored)):
        monkeypatch.setenv(UNITS_VARIABLE, preference)
        assert metric_value(kind, metric, value) == expected


def test_units_that_were_sent_are_shown_so_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(UNITS_VARIABLE, "IP")
    assert metric_value("teapot", "t", 100.0, {"t": "°C"}) == "212 °F"
    assert metric_unit("teapot", "water_flow", {"water_flow": "L/s"}) == "gpm"
    assert metric_unit("teapot", "supply_air_flow", {"supply_air_flow": "L/s"}) == "cfm"
    assert metric_value("teapot", "x", 3.0, {"x": "smoots"}) == "3 smoots"


def test_figures_and_statistics_are_in_one_unit_with_the_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(UNITS_VARIABLE, "SI")
    shown = display_of(device_type("rooftop_unit"), "supply_air_temp", "°F")
    assert shown.values(np.array([32.0, 212.0])).tolist() == pytest.approx([0, 100])
    assert shown.pair((32, 50)) == pytest.approx((0, 10))
    assert (shown.pair(None), shown.maybe(None), shown.end([])) == (None, None, [])
    assert shown.end([5, 50.0]) == [5, pytest.approx(10)]
    assert statistics_shown(shown, {"mean": 50, "std": 9, "min": 32, "max": 212}) == ["10", "5", "0", "100"]
