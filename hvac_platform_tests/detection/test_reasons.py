"""A reason's sign, size and words agree with the values that it prints, and it names what it is about."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvac_platform.detection.reasons import deviations_of, told
from hvac_platform.devices.registry import device_type
from hvac_platform_tests.detection.reading_reasons import contradictions

CHILLER = device_type("chiller")
SENTENCE = "{title} {observed} where the other metrics imply {expected} ({sigmas})"
readings = st.one_of(
    st.floats(-200, 200), st.floats(-1e-6, 1e-6), st.sampled_from([0.0, 3.4e38, -3.4e38, 1e308, 6553.5, -999.0, 44.0])
)


@given(
    metrics=st.integers(1, 6),
    values=st.lists(
        st.tuples(readings | st.just(float("nan")), readings, st.floats(1e-9, 1e6)), min_size=6, max_size=6
    ),
    declared=st.sampled_from([None, CHILLER]),
    data=st.data(),
)
def test_whatever_the_values_are_a_reason_does_not_contradict_itself(metrics, values, declared, data):
    names = CHILLER.metric_names[:metrics]
    observed, expected, unit = np.array(values[:metrics]).T
    first = data.draw(st.sampled_from(names))
    reasons, about = told(deviations_of(names, observed, expected, unit), declared, SENTENCE, first=first)
    assert reasons
    assert set(about) <= set(names)
    assert [found for reason in reasons for found in contradictions(reason)] == []
    if np.isfinite(observed).any() or len(about):
        for metric in about:
            title = metric if declared is None else declared.point(metric).title
            assert any(title in reason for reason in reasons)


def test_values_that_look_alike_are_given_in_digits_that_tell_them_apart():
    ((reason,), _) = told(deviations_of(["a"], *np.array([[21.00012], [21.00034], [1e-5]])), None, SENTENCE)
    assert reason == "a 21.0001 where the other metrics imply 21.0003 (-22.0 sigma)"


def test_beyond_a_hundred_sigmas_words_say_it():
    ((reason,), _) = told(deviations_of(["a"], *np.array([[5e9], [2.0], [0.1]])), None, SENTENCE)
    assert reason == "a 5e+09 where the other metrics imply 2 (far outside anything seen)"


def test_where_no_metric_is_odd_by_itself_the_combination_is_named():
    values = np.array([[44.0, 55.1, 12.0], [44.1, 55.0, 12.0], [0.5, 0.5, 0.5]])
    (reason,), about = told(deviations_of(["a", "b", "c"], *values), None, SENTENCE, first="c", since="for some time ")
    assert reason == "for some time the combination of c 12, a 44 and b 55.1 is unusual, none of them by itself"
    assert about == ("c", "a", "b")


@pytest.mark.parametrize(
    "reason",
    [
        "t 79.0 °F where the other metrics imply 72.8 °F (-31.3 sigma)",
        "t 55.0 °F where the other metrics imply 55.0 °F (+4.0 sigma)",
        "t 1 where the other metrics imply 2 (+87719298.2 sigma)",
        "similarity to the profile 0.9999 is below 0.9999",
    ],
)
def test_contradictions_of_the_past_are_seen_as_such(reason):
    assert contradictions(reason)
