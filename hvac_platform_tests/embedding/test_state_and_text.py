"""Encoders: a unit vector for any state, that of the state alone; a sentence that a person can read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvac_platform.devices.registry import device_types
from hvac_platform.embedding.state import CLIP, LEARNED_OFFSET, StateEncoder
from hvac_platform.embedding.text import state_sentences
from hvac_platform.snapshots import SnapshotSeries
from hvac_platform.stores.vectors import checked_vectors

TYPES = [*sorted(device_types()), "lathe", ""]
ANY_VALUE = st.floats() | st.sampled_from([0.0, -0.0, 1.7e308, -1.7e308, 5e-324, -999.0, np.nan, np.inf, -np.inf])


def series(device_type, values, device_id="D-1"):
    """Snapshots from columns of values by metric name."""
    names = tuple(values)
    mean = np.array([values[name] for name in names], dtype=np.float64).T.reshape(-1, len(names))
    n = len(mean)
    count = np.isfinite(mean).astype(np.int64)
    return SnapshotSeries(device_id, device_type, np.arange(n) * 60_000, names, mean, count, mean, mean, mean)


def middle_of(device_type):
    """Mid-range values of all metrics that have a range."""
    points = [device_types()[device_type].point(name) for name in device_types()[device_type].metric_names]
    return {p.name: [(p.normal[0] + p.normal[1]) / 2] for p in points if p.normal}


@st.composite
def any_series(draw):
    """Any device type, any of its metrics and others, any values."""
    device_type = draw(st.sampled_from(TYPES))
    declared = list(device_types()[device_type].metric_names) if device_type in device_types() else []
    names = draw(st.lists(st.sampled_from([*declared, "wobble", "É"]) | st.text(max_size=9), unique=True, max_size=20))
    n = draw(st.integers(1, 6))
    return series(
        device_type, {name: draw(st.lists(ANY_VALUE, min_size=n, max_size=n)) for name in names} or {"a": [1]}
    )


@given(state=any_series())
@settings(max_examples=200, deadline=None)
def test_any_state_gets_a_finite_unit_vector(state):
    vectors = StateEncoder().encode(state)
    assert vectors.shape == (len(state), 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors.astype(np.float64), axis=1), 1.0, atol=1e-5)
    checked_vectors(vectors)  # what every store demands


def test_no_snapshots_are_no_vectors():
    assert StateEncoder().encode(series("chiller", {"power_consumption": []})).shape == (0, 384)


@given(state=any_series(), data=st.data())
@settings(max_examples=100, deadline=None)
def test_a_vector_is_that_of_its_own_snapshot_whatever_stands_beside_it(state, data):
    """A snapshot is encoded again beside others when a late reading comes: it must not change by that."""
    vectors = StateEncoder().encode(state)
    row = data.draw(st.integers(0, len(state) - 1))
    present = [name for j, name in enumerate(state.metric_names) if np.isfinite(state.mean[row, j])]
    alone = series(state.device_type, {name: [state.column(name)[row]] for name in present} or {"a": [np.nan]})
    np.testing.assert_allclose(StateEncoder().encode(alone)[0], vectors[row], atol=1e-6)


@given(state=any_series(), data=st.data())
@settings(max_examples=50, deadline=None)
def test_the_order_of_the_metrics_is_irrelevant(state, data):
    order = data.draw(st.permutations(state.metric_names))
    shuffled = series(state.device_type, {name: state.column(name) for name in order})
    np.testing.assert_allclose(StateEncoder().encode(shuffled), StateEncoder().encode(state), atol=1e-6)


@pytest.mark.parametrize("device_type", sorted(device_types()))
def test_the_middle_of_every_range_is_the_constant_alone(device_type):
    (vector,) = StateEncoder().encode(series(device_type, middle_of(device_type)))
    np.testing.assert_allclose(vector[0], 1.0)
    assert not vector[1:].any()


def test_a_declared_metric_takes_its_own_component_in_units_of_half_its_range():
    chiller = device_types()["chiller"]
    name = next(n for n in chiller.metric_names if chiller.point(n).normal)
    low, high = chiller.point(name).normal
    (vector,) = StateEncoder().encode(series("chiller", middle_of("chiller") | {name: [high]}))
    slot = chiller.metric_names.index(name) + 1
    assert vector[slot] / vector[0] == pytest.approx(1 / np.sqrt(len(middle_of("chiller"))))
    assert np.flatnonzero(vector).tolist() == [0, slot]
    (beyond,) = StateEncoder().encode(series("chiller", middle_of("chiller") | {name: [high + 1e6 * (high - low)]}))
    assert beyond[slot] / beyond[0] == pytest.approx(CLIP / np.sqrt(len(middle_of("chiller"))))


def test_a_metric_that_nobody_declares_has_a_direction_of_its_own_in_every_process():
    values = StateEncoder().encode(series("lathe", {"wobble": [1.0, 2.0], "hum": [0.0, 0.0]}))
    assert np.flatnonzero(values[0][1:]).min() + 1 >= LEARNED_OFFSET
    # Fixed by the name: vectors that are stored today are compared with those of tomorrow's process.
    assert np.flatnonzero(values[0])[1:].tolist() == [209, 232, 250, 287, 309, 315, 365, 379]
    other = StateEncoder().encode(series("lathe", {"hum": [1.0]}))
    assert set(np.flatnonzero(other[0])) != set(np.flatnonzero(values[0]))


def test_nearer_states_are_nearer_vectors():
    temperatures = [[20.0, 20.5, 30.0, 300.0]]
    vectors = StateEncoder().encode(series("lathe", {"temperature": temperatures[0], "load": [50.0] * 4}))
    similarity = vectors @ vectors[0]
    assert similarity[0] > similarity[1] > similarity[2] > similarity[3]


# -- text ---------------------------------------------------------------------------------------------------------------


def test_a_sentence_says_device_type_metrics_and_units():
    state = series("rooftop_unit", {"supply_air_temp": [72.46], "return_air_humidity": [45.0]}, "RTU-001")
    assert state_sentences(state) == ["RTU-001 rooftop unit: supply air temperature 72.5 °F, return air humidity 45.0%"]


def test_what_nobody_declares_goes_by_its_own_name_without_a_unit():
    state = series("cnc_lathe", {"spindle_speed": [1200.0]}, "L-7")
    assert state_sentences(state) == ["L-7 cnc lathe: spindle speed 1200.0"]
    mixed = series("chiller", {"wobble_factor": [0.26]}, "CH-001")
    assert state_sentences(mixed) == ["CH-001 chiller: wobble factor 0.3"]


def test_an_absent_metric_is_left_out_of_its_sentence_only():
    state = series("lathe", {"a": [1.0, np.nan], "b": [2.0, 3.0]})
    assert state_sentences(state) == ["D-1 lathe: a 1.0, b 2.0", "D-1 lathe: b 3.0"]


@given(state=any_series())
@settings(max_examples=100, deadline=None)
def test_every_snapshot_has_a_sentence(state):
    sentences = state_sentences(state)
    assert len(sentences) == len(state)
    assert all(sentence.startswith("D-1 ") and sentence.strip() for sentence in sentences)
