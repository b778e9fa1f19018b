"""Figures as plain dictionaries, from arrays: nothing here knows a store or a browser.

Colours are those of Okabe and Ito, which colour-blind people can tell apart; what matters is told by form and words too.
They are for a light ground, and saved pictures keep them; on a dark page the style sheet replaces INK, GRID, MUTED and BLUE.
"""

from __future__ import annotations

import base64
import html
import itertools
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvac_platform.dashboard.formatting import in_figure
from hvac_platform.detection import methods
from hvac_platform.stores.series import VerdictSeries
from hvac_platform.visible_text import visible

Figure = dict[str, Any]
Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]

BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
OVERLAID = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
"""Colours of lines over each other, in order."""
LEGEND_HEIGHT = 44
INK, GRID, MUTED = "#1f2933", "#e4e8ec", "#52606d"
UNKNOWN_METHOD = {"color": MUTED, "dash": "dash"}
SEVERITY_COLOURS = {"critical": VERMILION, "warning": ORANGE, "info": BLUE}

MOST_POINTS = 1200
MOST_SPANS = 150
DIGITS = 7
LONG_COLUMN = 50
TYPED = {"x": "<f8", "y": "<f4", "customdata": "<f4"}
"""Columns of a trace that are numbers, and as which; times in milliseconds need all the digits."""
TITLE_CHARACTERS = 48
"""Of a line of a title: so many fit a phone 390 px wide."""
ROW_HEIGHT = 132
PARTLY_READ, COMPLETE = 0.5, 0.9
"""Shares of a window's points that were read: below the first it is mostly missing, from the second on it is read."""
SCORE_CEILING = 6.0
"""Scores beyond this are drawn here: what is far beyond its limit must not press what is near it to the floor."""


@dataclass(frozen=True, slots=True)
class Line:
    """One metric over time.

    Attributes:
        title: in words.
        unit: its unit, or empty.
        values: float64 [n].
        band: lowest and highest normal value, or None.
        limits: what can be real; a reading beyond, such as a broken sensor's -999, does not stretch the axis.
        ahead: times and values that lead on to the newest reading, of a window that is still open; drawn dotted.
        normal: float64 [n], what would have been normal, or None; drawn dashed.
    """

    title: str
    unit: str
    values: Float64
    band: tuple[float, float] | None = None
    limits: tuple[float, float] | None = None
    ahead: tuple[list[int], list[float | None]] | None = None
    normal: Float64 | None = None

    def axis_range(self) -> list[float] | None:
        """Range of the axis where some readings are beyond the limits and others are not; None lets the values decide.

        >>> Line("power", "kW", np.array([1.0, 3.0, -999.0]), limits=(0, 10)).axis_range()
        [0.84, 3.16]
        """
        known = self.values[np.isfinite(self.values)]
        if self.limits is None or not len(known):
            return None
        inside = known[(known >= self.limits[0]) & (known <= self.limits[1])]
        if len(inside) in (0, len(known)):
            return None
        low, high = float(inside.min()), float(inside.max())
        if self.band is not None and all(np.isfinite(self.band)):
            low, high = min(low, self.band[0]), max(high, self.band[1])
        room = 0.08 * ((high - low) or 1.0)
        return [round(low - room, 9), round(high + room, 9)]


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time to mark: half-open [start, end), what it is, and its colour."""

    start_ms: int
    end_ms: int
    label: str
    colour: str
    opacity: float = 0.18


def decimated(times_ms: Int64, values: Float64, most: int = MOST_POINTS) -> tuple[Int64, Float64]:
    """At most so many points of a line: the lowest and the highest of each stretch, so that no spike is lost.

    >>> times, values = decimated(np.arange(1000), np.r_[np.zeros(500), 9.0, np.zeros(499)], 20)
    >>> len(times) <= 20, values.max()
    (True, np.float64(9.0))
    """
    n = len(times_ms)
    if n <= most:
        return times_ms, values
    stretches = most // 2
    edges = np.arange(stretches + 1) * n // stretches
    places = edges[:-1, None] + np.arange(int(np.diff(edges).max()))
    grid = np.minimum(places, edges[1:, None] - 1)  # shorter stretches repeat their last point
    part, unknown = values[grid], np.isnan(values[grid])
    lowest = np.where(unknown, np.inf, part).argmin(axis=1)
    highest = np.where(unknown, -np.inf, part).argmax(axis=1)
    rows = np.arange(stretches)
    chosen = np.unique(np.concatenate([grid[rows, lowest], grid[rows, highest]]))
    return times_ms[chosen], values[chosen]


def with_gaps(times_ms: Int64, values: Float64, interval_ms: int) -> tuple[list[int], list[float | None]]:
    """Points of a line that is broken where windows lack; NaN become gaps.

    >>> with_gaps(np.array([0, 1, 9]), np.array([1.0, np.nan, 3.0]), 1)
    ([0, 1, 2, 9], [1.0, None, None, 3.0])
    """
    gaps = np.flatnonzero(np.diff(times_ms) > 3 * interval_ms)
    xs = np.insert(times_ms, gaps + 1, times_ms[gaps] + interval_ms)
    known = np.insert(_shown(values), gaps + 1, np.nan)
    ys = known.astype(object)
    ys[~np.isfinite(known)] = None
    return xs.tolist(), ys.tolist()


def with_moving_axes(figure: Figure) -> Figure:
    """The same figure with axes whose ranges may move at a refresh, without what somebody zoomed into being lost.

    Plotly keeps a zoom only where no range is sent; limits of a range that it finds itself say the same, and may change.

    >>> still = {"data": [{"x": [0, 1], "y": [2.0, None]}], "layout": {"xaxis": {"type": "date", "range": [0, 5]}}}
    >>> with_moving_axes(still)["layout"]["xaxis"]
    {'type': 'date', 'autorangeoptions': {'minallowed': 0, 'maxallowed': 5}}
    """
    drawn = [trace for trace in figure["data"] if any(value is not None for value in trace["y"])]
    used = {_axis_name(trace.get(f"{letter}axis", letter)) for trace in drawn for letter in "xy"}
    layout = dict(figure["layout"])
    for name in used & layout.keys():  # on another one there is nothing from which Plotly could begin to find a range
        axis = layout[name]
        if "range" in axis and not axis.get("fixedrange"):
            layout[name] = {key: value for key, value in axis.items() if key != "range"}
            layout[name]["autorangeoptions"] = moving_range(*axis["range"])
    return {**figure, "layout": layout}


def _axis_name(of_trace: str) -> str:
    """Name in a layout of the axis that a trace calls x, y or y2."""
    return f"{of_trace[0]}axis{of_trace[1:]}"


def moving_range(low: float, high: float) -> Figure:
    """What says the range of such an axis."""
    return {"minallowed": low, "maxallowed": high}


def with_typed_arrays(figure: Figure) -> Figure:
    """The same figure with the long columns of its traces as bytes, which plotly.js reads as they are.

    Numbers as text are a third of what a page costs the server.

    >>> short = {"data": [{"x": [0, 1], "y": [2.0, None]}], "layout": {}}
    >>> with_typed_arrays(short) == short
    True
    """
    traces = [
        {name: _typed(name, values) if name in TYPED else values for name, values in trace.items()}
        for trace in figure["data"]
    ]
    return {**figure, "data": traces}


def _typed(name: str, values: Any) -> Any:
    """A column as little-endian numbers in base64, see ``typed arrays`` in Plotly's documentation; NaN is what None was."""
    if len(values) < LONG_COLUMN:
        return values
    numbers = np.array(values, dtype=TYPED[name])
    return {"dtype": numbers.dtype.str[1:], "bdata": base64.b64encode(numbers.tobytes()).decode()}


def _shown(values: Float64) -> Float64:
    """Values to seven digits, which is more than can be seen and half of what there would be to send."""
    size = np.abs(values)
    common = (size > 1e-100) & (size < 1e100)
    scale = 10.0 ** (DIGITS - 1 - np.floor(np.log10(size, out=np.zeros_like(size), where=common)))
    return np.where(common, np.round(values * scale) / scale, values)


def merged(times_ms: Sequence[int], window_ms: int, most: int = MOST_SPANS) -> list[tuple[int, int]]:
    """Spans that windows cover, ascending; neighbours are one, and the pause that counts as none grows until they are few.

    >>> merged([0, 1, 2, 10], 1), merged([0, 10, 20], 1, most=1)
    ([(0, 3), (10, 11)], [(0, 21)])
    """
    pause = window_ms
    while True:
        spans: list[list[int]] = []
        for at in times_ms:
            if spans and at - spans[-1][1] <= pause - window_ms:
                spans[-1][1] = max(spans[-1][1], at + window_ms)
            else:
                spans.append([at, at + window_ms])
        if len(spans) <= most:
            return [(start, end) for start, end in spans]
        pause *= 2


def _base(height: int, *, revision: str, legend: bool) -> Figure:
    return {
        "height": height,
        "margin": {"l": 56, "r": 16, "t": 34, "b": 46},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": INK},
        "showlegend": legend,
        "legend": {"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0, "xanchor": "left"},
        "hovermode": "x unified",
        "uirevision": revision,
        "template": {},
    }


def _time_axis(start_ms: int, end_ms: int, **more: Any) -> Figure:
    return {
        "type": "date",
        "range": [start_ms, end_ms],
        "gridcolor": GRID,
        "linecolor": MUTED,
        "ticks": "outside",
        "hoverformat": "%Y-%m-%d %H:%M:%SZ",
        "title": {"text": "time (UTC)", "font": {"size": 11, "color": MUTED}, "standoff": 4},
        **more,
    }


def _marks(spans: Sequence[Span]) -> list[Figure]:
    return [
        {
            "type": "rect",
            "xref": "x",
            "yref": "paper",
            "x0": span.start_ms,
            "x1": span.end_ms,
            "y0": 0,
            "y1": 1,
            "fillcolor": span.colour,
            "opacity": span.opacity,
            "line": {"width": 0},
            "layer": "below",
        }
        for span in spans
    ]


def metrics_figure(
    times_ms: Int64,
    lines: Sequence[Line],
    *,
    start_ms: int,
    end_ms: int,
    interval_ms: int,
    spans: Sequence[Span] = (),
    revision: str = "",
    overlaid: bool = False,
) -> Figure:
    """Metrics one below the other over one time axis, with normal bands and marked spans.

    Args:
        times_ms: int64 [n], window starts.
        lines: the metrics, first on top.
        start_ms: start of the axis.
        end_ms: its end.
        interval_ms: usual distance of windows; where they are much farther apart, lines are broken.
        spans: marked on all of them.
        revision: zoom and pan are kept while this stays the same.
        overlaid: draw those of one unit over each other, in colours of their own and without bands.
    """
    rows = _rows(lines, overlaid=overlaid)
    n = max(1, len(rows))
    legend_height = LEGEND_HEIGHT if len(rows) < len(lines) else 0
    height = ROW_HEIGHT * n + 74 + legend_height
    gap = 34 / (height - 70 - legend_height)
    row = (1 - gap * (n - 1)) / n
    layout = _base(height, revision=revision, legend=bool(legend_height))
    if legend_height:
        layout["margin"]["t"] += legend_height
    layout["hoversubplots"] = "axis"
    layout["xaxis"] = _time_axis(start_ms, end_ms, anchor="y" if n == 1 else f"y{n}")
    shapes, annotations, traces = _marks(spans), [], []
    axes, colours, alone = [""] * len(lines), [BLUE] * len(lines), [True] * len(lines)
    for i, members in enumerate(rows):
        name = "y" if i == 0 else f"y{i + 1}"
        for k, member in enumerate(members):
            axes[member], colours[member], alone[member] = name, OVERLAID[k % len(OVERLAID)], len(members) == 1
        line = lines[members[0]]
        top = 1 - i * (row + gap)
        shown_range = _shared_range([lines[member] for member in members])
        layout["yaxis" if i == 0 else f"yaxis{i + 1}"] = {
            **({} if shown_range is None else {"range": shown_range}),
            "domain": [max(0.0, top - row), top],
            "gridcolor": GRID,
            "zeroline": False,
            "nticks": 5,
            "automargin": False,
        }
        title = f"{line.title}, {line.unit}" if line.unit else line.title
        if len(members) > 1:
            title = line.unit or "without a unit"
        title += "" if shown_range is None else " (impossible readings off the scale)"
        annotations.append(
            {
                "text": title_lines(title),
                "xref": "paper",
                "yref": "paper",
                "x": 0,
                "y": top,
                "xanchor": "left",
                "yanchor": "bottom",
                "align": "left",
                "showarrow": False,
                "font": {"size": 12, "color": INK},
            }
        )
        if len(members) == 1 and line.band is not None and all(np.isfinite(line.band)):
            shapes.append(
                {
                    "type": "rect",
                    "xref": "paper",
                    "yref": name,
                    "x0": 0,
                    "x1": 1,
                    "y0": line.band[0],
                    "y1": line.band[1],
                    "fillcolor": SKY,
                    "opacity": 0.22,
                    "line": {"width": 0},
                    "layer": "below",
                }
            )
    drawn_ms = _drawn_interval(times_ms, interval_ms)
    for line, name, colour, named in zip(lines, axes, colours, alone, strict=True):
        if line.normal is not None:
            traces.append(_normal_trace(line, *with_gaps(*decimated(times_ms, line.normal), drawn_ms), name))
        xs, ys = with_gaps(*decimated(times_ms, line.values), drawn_ms)
        traces.append(
            {
                "type": "scatter",
                "mode": "lines" if len(xs) > 1 else "markers",
                "x": xs,
                "y": ys,
                "xaxis": "x",
                "yaxis": name,
                "name": in_figure(line.title),
                "showlegend": not named,  # it is named above its row
                "line": {"color": colour, "width": 1.4},
                "hovertemplate": f"%{{y:,.4~g}} {in_figure(line.unit)}",
            }
        )
    for line, name, colour in zip(lines, axes, colours, strict=True):
        if line.ahead is not None:
            traces.append(_ahead_trace(line, name, colour))
    if legend_height and annotations:  # above the first title, which may have two lines
        layout["legend"]["y"] = 1 + (36 if "<br>" in str(annotations[0]["text"]) else 20) / (ROW_HEIGHT * n)
    return {"data": traces, "layout": {**layout, "shapes": shapes, "annotations": annotations}}


def title_lines(title: str) -> str:
    """A title that fits a phone: on two lines where it is long, which is what there is room for above a row.

    >>> title_lines("condenser water supply temperature, °F (impossible readings off the scale)")
    'condenser water supply temperature, °F<br>(impossible readings off the scale)'
    """
    wrapped = textwrap.wrap(visible(title, 120), TITLE_CHARACTERS, max_lines=2, placeholder=" …")
    return "<br>".join(map(html.escape, wrapped))


def _rows(lines: Sequence[Line], *, overlaid: bool) -> list[list[int]]:
    """Which lines each row of a figure has: one, or those of one unit."""
    if not overlaid:
        return [[i] for i in range(len(lines))]
    found: dict[str, list[int]] = {}
    for i, line in enumerate(lines):
        found.setdefault(line.unit, []).append(i)
    return list(found.values())


def _shared_range(lines: Sequence[Line]) -> list[float] | None:
    """Range of an axis with some lines, of which impossible readings stretch none; None lets the values decide."""
    ranges = [line.axis_range() for line in lines]
    if all(one is None for one in ranges):
        return None
    known = [
        one if one is not None else [float(np.nanmin(line.values)), float(np.nanmax(line.values))]
        for one, line in zip(ranges, lines, strict=True)
        if one is not None or bool(np.isfinite(line.values).any())
    ]
    low, high = min(low for low, _ in known), max(high for _, high in known)
    room = 0.08 * (high - low) if len(known) > 1 else 0.0  # the range of one line has room already
    return [low - room, high + room]


def _normal_trace(line: Line, times: list[int], values: list[float | None], axis: str) -> Figure:
    """What would have been normal, beneath what was."""
    return {
        "type": "scatter",
        "mode": "lines",
        "x": times,
        "y": values,
        "xaxis": "x",
        "yaxis": axis,
        "name": f"{in_figure(line.title)}, normal would have been",
        "line": {"color": ORANGE, "width": 1.4, "dash": "dash"},
        "hovertemplate": f"%{{y:,.4~g}} {in_figure(line.unit)}",
    }


def _ahead_trace(line: Line, axis: str, colour: str) -> Figure:
    """The dotted end of a line; these come after all lines, so that a refresh can replace them alone."""
    assert line.ahead is not None
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": line.ahead[0],
        "y": line.ahead[1],
        "xaxis": "x",
        "yaxis": axis,
        "name": f"{in_figure(line.title)}, still open",
        "showlegend": False,
        "line": {"color": colour, "width": 1.4, "dash": "dot"},
        "marker": {"color": "white", "size": 5, "line": {"color": colour, "width": 1.4}},
        "hovertemplate": f"%{{y:,.4~g}} {in_figure(line.unit)}",
    }


def interval_of(times_ms: Int64, window_ms: int) -> int:
    """Usual distance of windows; the length of one where there are too few.

    Args:
        times_ms: int64 [n], window starts.
        window_ms: length of a window.
    """
    return int(np.median(np.diff(times_ms))) if len(times_ms) > 1 else window_ms


def _drawn_interval(times_ms: Int64, interval_ms: int) -> int:
    """Usual distance of the points that are drawn, which is longer where a line was decimated."""
    return interval_ms * max(1, -(-2 * len(times_ms) // MOST_POINTS))


def score_figure(
    verdicts: Mapping[str, VerdictSeries],
    *,
    start_ms: int,
    end_ms: int,
    interval_ms: int,
    spans: Sequence[Span] = (),
    revision: str = "",
) -> Figure:
    """Scores of the methods over time, in units of their limits; the limit is the dashed line at 1."""
    traces: list[Figure] = []
    highest = 1.5
    for method, judged in verdicts.items():
        times, kept = decimated(judged.times_ms, judged.scores)
        xs, ys = with_gaps(times, kept, _drawn_interval(judged.times_ms, interval_ms))
        drawn = [None if y is None else min(y, SCORE_CEILING) for y in ys]
        highest = max([highest, *(y for y in drawn if y is not None)])
        looks = next(({"color": m.color, "dash": m.dash} for m in methods.METHODS if m.name == method), UNKNOWN_METHOD)
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": xs,
                "y": drawn,
                "customdata": ys,
                "name": in_figure(method),
                "line": {**looks, "width": 1.5},
                "hovertemplate": "%{customdata:.3~g}",
            }
        )
    layout = _base(250, revision=revision, legend=True)
    layout["xaxis"] = _time_axis(start_ms, end_ms)
    layout["yaxis"] = {
        "range": [0, highest * 1.06],
        "gridcolor": GRID,
        "zeroline": False,
        "title": {"text": "score (1 is the limit)", "font": {"size": 11, "color": MUTED}},
    }
    line = {"color": INK, "width": 1.2, "dash": "dash"}
    limit = {"type": "line", "xref": "paper", "yref": "y", "x0": 0, "x1": 1, "y0": 1, "y1": 1, "line": line}
    return {"data": traces, "layout": {**layout, "shapes": [*_marks(spans), limit]}}


def strips_figure(
    times_ms: Int64,
    modes: Mapping[str, NDArray[np.bool_]],
    completeness: Float64,
    *,
    window_ms: int,
    start_ms: int,
    end_ms: int,
    revision: str = "",
) -> Figure:
    """Strips over time: how a device ran, and how much of its points was read. Where there is no window, there is nothing.

    Args:
        times_ms: int64 [n], window starts.
        modes: windows of each operating mode, bool [n] by name.
        completeness: float64 [n], share of its points that was read in each window.
        window_ms: length of a window.
        start_ms: start of the axis.
        end_ms: its end.
        revision: zoom and pan are kept while this stays the same.
    """
    looks = itertools.cycle((BLUE, GREEN, PURPLE, SKY, INK, MUTED))
    strips = [(1, name, rows, colour) for (name, rows), colour in zip(modes.items(), looks, strict=False)]
    edges = np.searchsorted((PARTLY_READ, COMPLETE), completeness, side="right")
    for grade, (name, colour) in enumerate(
        (("mostly missing", VERMILION), ("partly read", ORANGE), ("points read", "#b7dfcf"))
    ):
        strips.append((0, name, edges == grade, colour))
    traces: list[Figure] = []
    for row, name, rows, colour in strips:
        if rows.any():
            xs = [at for span in merged(times_ms[rows].tolist(), window_ms) for at in (*span, None)]
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "x": xs,
                    "y": [None if at is None else row for at in xs],
                    "name": in_figure(name),
                    "line": {"color": colour, "width": 16},
                    "hoverinfo": "name+x",
                }
            )
    layout = _base(190, revision=revision, legend=True)
    layout |= {
        "margin": {**layout["margin"], "t": 70},  # on a phone the legend takes three lines
        "hovermode": "closest",
        "xaxis": _time_axis(start_ms, end_ms),
        "yaxis": {
            "range": [-0.6, 1.6] if modes else [-0.6, 0.6],
            "tickvals": [0, 1] if modes else [0],
            "ticktext": ["data", "mode"] if modes else ["data"],
            "showgrid": False,
            "zeroline": False,
            "fixedrange": True,
        },
    }
    return {"data": traces, "layout": layout}


def state_map_figure(
    cloud: Mapping[str, Float64],
    path: Float64,
    times: Sequence[str],
    flagged: NDArray[np.bool_],
    incidents: Sequence[tuple[str, str, tuple[float, float]]],
) -> Figure:
    """States on a plane: normal ones by operating mode, the path of the last day, incidents.

    Args:
        cloud: places of normal states, float64 [n, 2], by the name of their mode.
        path: places of the last day's states, float64 [m, 2].
        times: when each of them was.
        flagged: which of them were called anomalous, bool [m].
        incidents: words, severity and place of each.
    """
    looks = zip(itertools.cycle((BLUE, GREEN, PURPLE, SKY)), itertools.cycle(("circle", "square", "diamond", "cross")))
    traces: list[Figure] = [
        _places(f"normal: {name}", places, {"color": colour, "symbol": symbol, "size": 5, "opacity": 0.5})
        for (name, places), (colour, symbol) in zip(cloud.items(), looks, strict=False)
    ]
    if len(path):
        line = {"color": MUTED, "width": 1}
        traces.append(
            {**_places("path of the last day", path, {}, times), "mode": "lines", "line": line, "opacity": 0.7}
        )
        off = {"color": ORANGE, "symbol": "x", "size": 7}
        if flagged.any():
            when = [time for time, flag in zip(times, flagged.tolist(), strict=True) if flag]
            traces.append(_places("anomalous", path[flagged], off, when))
        now = {"color": INK, "symbol": "star", "size": 15}
        traces.append(_places("newest state", path[-1:], now, times[-1:]))
    for severity in dict.fromkeys(severity for _, severity, _ in incidents):
        here = [(words, place) for words, of, place in incidents if of == severity]
        colour = SEVERITY_COLOURS.get(severity, ORANGE)
        mark = {"color": colour, "symbol": "triangle-up", "size": 14, "line": {"color": "white", "width": 1}}
        places = np.array([place for _, place in here])
        traces.append(_places(f"incident, {severity}", places, mark, [words for words, _ in here]))
    layout = _base(520, revision="", legend=True)
    axis = {"gridcolor": GRID, "zeroline": False, "showticklabels": False}
    layout |= {
        "hovermode": "closest",
        "margin": {"l": 16, "r": 16, "t": 30, "b": 16},
        "legend": {**layout["legend"], "itemsizing": "constant", "y": -0.02, "yanchor": "top"},
        "xaxis": axis,
        "yaxis": {**axis, "scaleanchor": "x"},  # distances are alike in both directions
    }
    return {"data": traces, "layout": layout}


def _places(name: str, places: Float64, marker: Figure, words: Sequence[str] | None = None) -> Figure:
    """Marks at places of a plane, to four digits."""
    rounded = np.round(places, 4)
    told: Figure = (
        {"hoverinfo": "name"}
        if words is None
        else {"text": [in_figure(word) for word in words], "hoverinfo": "text+name"}
    )
    return {
        "type": "scatter",
        "mode": "markers",
        "x": rounded[:, 0].tolist(),
        "y": rounded[:, 1].tolist(),
        "name": in_figure(name),
        "marker": marker,
        **told,
    }


def bars_by_day(
    days: Sequence[str], counts: Mapping[str, Sequence[float]], *, title: str, revision: str = ""
) -> Figure:
    """Grouped bars a day, one colour and pattern a series."""
    colours = [*(method.color for method in methods.METHODS), PURPLE, SKY, ORANGE]
    patterns = ["", "/", ".", "x", "\\", "-"]
    traces = [
        {
            "type": "bar",
            "x": list(days),
            "y": list(values),
            "name": in_figure(name),
            "marker": {"color": colours[i % len(colours)], "pattern": {"shape": patterns[i % len(patterns)]}},
            "hovertemplate": "%{y:,.4~g}",
        }
        for i, (name, values) in enumerate(counts.items())
    ]
    layout = _base(300, revision=revision, legend=True)
    layout |= {
        "barmode": "group",
        "xaxis": {"type": "category", "linecolor": MUTED, "title": {"text": "day (UTC)", "font": {"size": 11}}},
        "yaxis": {"gridcolor": GRID, "rangemode": "tozero", "title": {"text": title, "font": {"size": 11}}},
    }
    return {"data": traces, "layout": layout}


LEAST_POINTS = 10
"""A line of fewer says nothing."""


def sparkline(values: Float64, width: int = 96, height: int = 24) -> str:
    """A small line as the address of an SVG image, with holes in it; empty where fewer than ten values are known.

    >>> sparkline(np.arange(10.0)).startswith("data:image/svg+xml;base64,"), sparkline(np.arange(9.0))
    (True, '')
    """
    return _sparkline(np.ascontiguousarray(values, dtype=np.float64).tobytes(), width, height)


@lru_cache(maxsize=1024)
def _sparkline(content: bytes, width: int, height: int) -> str:
    """The line of some float64; pages are drawn again every few seconds, and most lines are as before."""
    values = np.frombuffer(content, dtype=np.float64)
    _, kept = decimated(np.arange(len(values)), values, width)
    known = np.isfinite(kept)
    if known.sum() < LEAST_POINTS:
        return ""
    low, high = float(kept[known].min()), float(kept[known].max())
    x = np.linspace(2, width - 2, len(kept))
    y = np.full(len(kept), height / 2) if high == low else 2 + (high - kept) / (high - low) * (height - 4)
    rows = np.flatnonzero(known)
    runs = [run for run in np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1) if len(run) > 1]
    parts = [" ".join(f"{x[i]:.1f},{y[i]:.1f}" for i in run.tolist()) for run in runs]
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        f"<style>polyline{{stroke:{BLUE}}}@media(prefers-color-scheme:dark){{polyline{{stroke:{SKY}}}}}</style>"
        + "".join(f'<polyline points="{points}" fill="none" stroke-width="1.5"/>' for points in parts)
        + "</svg>"
    )
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
