"""In which operating mode a device was in each window."""

from hvac_platform.monitoring.operating_modes import mode_names, windows_by_mode
from hvac_platform.monitoring.profiles import load_profile
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.series import read_series
from hvac_platform.timestamps import DAY_MS
from hvac_platform_tests.dashboard.conftest import START_MS, filled

__all__ = ["filled"]


def test_each_window_is_in_the_mode_that_its_switches_say_the_most_usual_first(filled):
    store = EmbeddedStore(filled / "store.db")
    series = read_series(store, "RTU-001", "rooftop_unit", START_MS, START_MS + DAY_MS)
    found = windows_by_mode(store, series)
    assert set(found) <= set(mode_names(store, "RTU-001").values()) | {"mode not known"}
    assert len(found) > 1
    assert sum(rows.astype(int) for rows in found.values()).tolist() == [1] * len(series)
    counts = [int(rows.sum()) for rows in found.values()]
    assert counts == sorted(counts, reverse=True)
    for switch in load_profile(store, "RTU-001").detector.switches:
        high = series.column(switch.metric) > switch.threshold
        for name, rows in found.items():
            told = switch.name(True).replace("_", " ") in name
            assert (high[rows] == told).all(), (name, switch)


def test_without_a_profile_there_are_no_modes(filled):
    store = EmbeddedStore(filled / "store.db")
    series = read_series(store, "nobody", "rooftop_unit", START_MS, START_MS + DAY_MS)
    assert windows_by_mode(store, series) == {}
    assert mode_names(store, "nobody") == {}
