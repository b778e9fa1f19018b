"""Modes are what statuses and clear clusters tell apart, no more."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvac_platform.detection.modes import (
    LONG_AGO,
    MOST_SWITCHES,
    find_modes,
    find_switches,
    mode_codes,
    modes_of,
    rows_in_mode,
)
from hvac_platform_tests.detection.records import machine
from hvac_platform_tests.simulation.fleets import fleet, midnight, simulate, span


def cycling(rows: int = 400, noise: float = 0.1, seed: int = 1) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    on = (np.arange(rows) % 40 < 10).astype(float)
    return pd.DataFrame(
        {"wandering": generator.normal(size=rows), "kw": 2 + 8 * on + noise * generator.normal(size=rows)}
    )


def test_a_machine_without_switches_has_one_mode():
    modes = find_modes(machine(500))
    assert modes.switches == ()
    (only,) = modes.modes
    assert (only.name, only.share, only.episodes) == ("all", 1.0, 1)


def test_a_clear_cluster_is_a_mode_without_any_status():
    modes = find_modes(cycling())
    assert [(m.name, m.share, m.episodes) for m in modes.modes] == [("kw low", 0.75, 10), ("kw high", 0.25, 10)]
    assert modes.modes[1].centre["kw"] == pytest.approx(10.0, abs=0.1)


def test_a_status_goes_before_what_follows_it():
    frame = cycling().assign(status=(np.arange(400) % 40 < 10).astype(float))
    modes = find_modes(frame)
    assert [s.metric for s in modes.switches] == ["status"]
    assert [m.name for m in modes.modes] == ["status off", "status on"]


@pytest.mark.parametrize("seed", range(5))
def test_uniform_and_normal_metrics_are_no_switches(seed):
    generator = np.random.default_rng(seed)
    frame = pd.DataFrame({"normal": generator.normal(size=2000), "uniform": generator.random(2000)})
    assert find_modes(frame).switches == ()


def test_a_constant_and_a_silent_metric_are_no_switches():
    assert find_modes(cycling().assign(fixed=3.0, silent=np.nan)).switches == find_modes(cycling()).switches


def test_a_row_without_the_reading_has_no_mode():
    frame = cycling()
    modes = find_modes(frame)
    frame.loc[5, "kw"] = np.nan
    labels = modes.label(frame)
    assert labels.isna().sum() == 1
    assert labels[4] == "kw high"


def test_too_few_rows_are_refused():
    with pytest.raises(ValueError, match="at least 50"):
        find_modes(machine(20))


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(1, 6), st.floats(0.01, 100), st.floats(-1000, 1000))
def test_modes_share_the_time_and_units_do_not_matter(seed, columns, factor, offset):
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(200, columns)) + 10.0 * (generator.random((200, columns)) < 0.4)
    frame = pd.DataFrame(values, columns=[f"m{j}" for j in range(columns)])
    modes = find_modes(frame)
    assert len(modes.switches) <= MOST_SWITCHES
    assert 0.8 < sum(m.share for m in modes.modes) <= 1.0 + 1e-9
    assert set(modes.label(frame)) >= {m.name for m in modes.modes}
    other = find_modes(frame * factor + offset)
    assert [m.name for m in other.modes] == [m.name for m in modes.modes]


def test_a_simulated_rooftop_unit_cools_and_rests():
    ((_, readings),) = simulate(fleet(1, ("rooftop_unit",)), span(midnight("2026-07-06"), 48)).items()
    modes = find_modes(pd.DataFrame(readings.values, columns=list(readings.metric_names)))
    assert modes.switches[0].metric == "compressor_status"
    assert len(modes.modes) >= 2


def test_a_mode_is_the_same_number_for_a_row_as_its_name():
    frame = cycling()
    switches = find_modes(frame).switches
    codes = mode_codes(switches, frame.to_numpy(), list(frame.columns))
    names = find_modes(frame).label(frame)
    assert set(zip(codes.tolist(), names, strict=True)) == {(0, "kw low"), (1, "kw high")}
    frame.loc[5, "kw"] = np.nan
    assert mode_codes(switches, frame.to_numpy(), list(frame.columns))[5] == -1


@given(codes=st.lists(st.integers(0, 2), min_size=1, max_size=60), cut=st.integers(0, 60))
def test_rows_in_a_mode_are_counted_from_its_entry_however_they_arrive(codes, cut):
    whole, expected, since = np.array(codes), [], LONG_AGO - 1
    for before, code in zip([codes[0], *codes], codes, strict=False):
        since = since + 1 if code == before else 0
        expected.append(since)
    found = rows_in_mode(whole, [0])
    assert found.tolist() == expected
    cut = min(cut, len(codes))
    if 0 < cut < len(codes):
        rest = rows_in_mode(whole[cut:], [0], before=(codes[cut - 1], int(found[cut - 1])))
        assert rest.tolist() == expected[cut:]


def test_rows_in_a_mode_start_anew_with_each_stretch():
    assert rows_in_mode(np.array([0, 1, 1, 0]), [0, 2]).tolist() == [LONG_AGO, 0, LONG_AGO, 0]


def test_no_rows_have_been_in_no_mode():
    assert len(rows_in_mode(np.zeros(0, dtype=np.int64), [])) == 0


def test_modes_can_be_told_by_switches_found_elsewhere():
    frame = cycling()
    switches = find_switches(frame.to_numpy(), list(frame.columns))
    other = cycling(200, seed=2)
    modes = modes_of(other, switches)
    assert modes.switches == find_modes(frame).switches
    assert [(m.name, m.number, m.share) for m in modes.modes] == [("kw low", 0, 0.75), ("kw high", 1, 0.25)]
