"""Figures from arrays: Plotly takes them, nothing is lost by thinning, marks stay few."""

from __future__ import annotations

import base64

import numpy as np
import plotly.graph_objects as go
import pytest

from hvac_platform.dashboard.figures import (
    MOST_POINTS,
    MOST_SPANS,
    Line,
    Span,
    bars_by_day,
    decimated,
    merged,
    metrics_figure,
    score_figure,
    sparkline,
    strips_figure,
    title_lines,
    with_gaps,
    with_typed_arrays,
)
from hvac_platform.stores.series import VerdictSeries

MINUTE = 60_000
TIMES = np.arange(10_080, dtype=np.int64) * MINUTE
VALUES = np.sin(np.arange(10_080) / 300)
AXIS = {"start_ms": 0, "end_ms": 10_080 * MINUTE, "interval_ms": MINUTE}


def test_plotly_takes_every_figure() -> None:
    spans = [Span(0, MINUTE, "anomalous", "#D55E00")]
    lines = [Line("power", "kW", VALUES, (-1.0, 1.0)), Line("flow", "", VALUES, None), Line("x", "m", VALUES * np.nan)]
    for n in range(4):
        go.Figure(metrics_figure(TIMES, lines[:n], spans=spans, **AXIS))
    go.Figure(score_figure({"rules": VerdictSeries(TIMES, VALUES, VALUES > 1)}, spans=spans, **AXIS))
    go.Figure(score_figure({}, **AXIS))
    go.Figure(bars_by_day(["2026-01-01"], {name: [1.0] for name in "abcdefgh"}, title="windows"))


def test_a_week_is_thinned_and_keeps_its_spikes_in_order() -> None:
    values = VALUES.copy()
    values[[17, 5_000]] = 50.0, -50.0
    times, kept = decimated(TIMES, values)
    assert len(times) <= MOST_POINTS
    assert (np.diff(times) > 0).all()
    assert {50.0, -50.0} <= set(kept.tolist())
    figure = metrics_figure(TIMES, [Line("power", "kW", values)], **AXIS)
    assert None not in figure["data"][0]["y"], "thinning is no gap"


def test_a_long_title_has_two_lines_and_no_html() -> None:
    assert title_lines("power, kW") == "power, kW"
    long = title_lines("chilled water supply temperature, °F (impossible readings off the scale)")
    assert long == "chilled water supply temperature, °F (impossible<br>readings off the scale)"
    assert title_lines("<img src=x>") == "&lt;img src=x&gt;"
    assert title_lines("word " * 40).count("<br>") == 1


def test_a_gap_breaks_the_line() -> None:
    times = np.r_[TIMES[:10], TIMES[30:40]]
    _, ys = with_gaps(times, np.ones(20), MINUTE)
    assert ys.count(None) == 1


def test_long_columns_are_sent_as_bytes_in_which_a_gap_is_no_number() -> None:
    values = np.where(np.arange(200) == 7, np.nan, np.linspace(-3.0, 60.0, 200))
    times = TIMES[:200] + 1_790_000_000_000
    plain = metrics_figure(times, [Line("power", "kW", values), Line("end", "kW", values, ahead=([1], [2.0]))], **AXIS)
    sent = with_typed_arrays(plain)
    go.Figure(sent)
    (line, _, end), (sent_line, _, sent_end) = plain["data"], sent["data"]
    times_sent = np.frombuffer(base64.b64decode(sent_line["x"]["bdata"]), sent_line["x"]["dtype"])
    values_sent = np.frombuffer(base64.b64decode(sent_line["y"]["bdata"]), sent_line["y"]["dtype"])
    assert times_sent.tolist() == line["x"], "to the millisecond"
    assert np.isnan(values_sent).tolist() == [y is None for y in line["y"]]
    np.testing.assert_allclose(values_sent, np.array(line["y"], dtype=float), rtol=1e-6)
    assert sent_end == end, "a refresh replaces it point by point"
    assert sent["layout"] == plain["layout"]


def test_metrics_of_one_unit_are_drawn_over_each_other_where_that_is_asked_for() -> None:
    values = np.linspace(40.0, 60.0, len(TIMES))
    broken = np.where(np.arange(len(TIMES)) == 3, -999.0, values + 5)
    lines = [
        Line("supply", "°F", values, band=(30.0, 70.0), ahead=([0], [1.0])),
        Line("power", "kW", values, band=(30.0, 70.0)),
        Line("return", "°F", broken, limits=(0.0, 200.0), ahead=([0], [1.0])),
    ]
    apart, together = (metrics_figure(TIMES, lines, **AXIS, overlaid=overlaid) for overlaid in (False, True))
    assert [trace["yaxis"] for trace in apart["data"]] == ["y", "y2", "y3", "y", "y3"]
    assert [trace["yaxis"] for trace in together["data"]] == ["y", "y2", "y", "y", "y"]
    colours = [trace["line"]["color"] for trace in together["data"]]
    assert colours[0] != colours[2], "lines over each other are told apart"
    assert colours[3:] == [colours[0], colours[2]], "an end has the colour of its line"
    assert (apart["layout"]["showlegend"], together["layout"]["showlegend"]) == (False, True)
    assert [trace["showlegend"] for trace in together["data"]] == [True, False, True, False, False]
    low, high = together["layout"]["yaxis"]["range"]
    assert low > 0, "an impossible reading doesn't stretch the axis"
    assert high > 65, "the highest line is not on the edge"
    bands = [shape for shape in together["layout"]["shapes"] if shape["y0"] == 30.0]
    assert [shape["yref"] for shape in bands] == ["y2"], "a band is of one line"
    go.Figure(together)


def test_marks_stay_few_however_many_windows() -> None:
    scattered = merged([int(t) for t in TIMES[::3]], MINUTE)
    assert len(scattered) <= MOST_SPANS
    assert scattered[0][0] == 0
    assert merged([], MINUTE) == []


def test_scores_far_beyond_the_limit_are_drawn_at_the_ceiling_and_told_in_full() -> None:
    judged = VerdictSeries(TIMES[:2], np.array([0.5, 99.0]), np.array([False, True]))
    trace = score_figure({"rules": judged}, **AXIS)["data"][0]
    assert trace["y"] == [0.5, 6.0]
    assert trace["customdata"] == [0.5, 99.0]


@pytest.mark.parametrize("values", [np.zeros(0), np.full(50, np.nan), np.arange(9.0)])
def test_a_sparkline_of_fewer_than_ten_points_is_not_drawn(values: np.ndarray) -> None:
    assert sparkline(values) == ""


def test_a_hole_in_the_data_is_a_hole_in_its_sparkline() -> None:
    values = np.arange(30.0)
    values[10:15] = np.nan
    drawn = base64.b64decode(sparkline(values).partition(",")[2]).decode()
    assert drawn.count("<polyline ") == 2
    assert base64.b64decode(sparkline(np.arange(30.0)).partition(",")[2]).decode().count("<polyline ") == 1


def test_strips_say_how_a_device_ran_and_how_much_was_read_and_nothing_where_there_is_no_window() -> None:
    times = np.array([0, 60_000, 120_000, 600_000, 660_000], dtype=np.int64)
    on = np.array([True, True, False, False, False])
    completeness = np.array([1.0, 0.95, 0.6, 0.2, np.nan])
    options = {"window_ms": 60_000, "start_ms": 0, "end_ms": 720_000}
    figure = strips_figure(times, {"compressor <on>": on, "off": ~on}, completeness, **options)
    drawn = {trace["name"]: (trace["x"], set(trace["y"]) - {None}) for trace in figure["data"]}
    assert drawn == {
        "compressor &lt;on&gt;": ([0, 120_000, None], {1}),
        "off": ([120_000, 180_000, None, 600_000, 720_000, None], {1}),
        "mostly missing": ([600_000, 660_000, None], {0}),
        "partly read": ([120_000, 180_000, None], {0}),
        "points read": ([0, 120_000, None, 660_000, 720_000, None], {0}),
    }
    one = strips_figure(times, {}, completeness, **options)
    assert one["layout"]["yaxis"]["ticktext"] == ["data"]
