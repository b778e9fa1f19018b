"""Figures that a page draws anew at every refresh without what somebody zoomed into being lost.

Such a graph is in the page's layout and stays there; a refresh sends a figure with the axes of
:func:`~hvac_platform.dashboard.figures.with_moving_axes`, and where the browser has these axes already, all but them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from dash import Patch, dcc, html, no_update

from hvac_platform.dashboard.components import GRAPH_CONFIG, Content, named
from hvac_platform.dashboard.figures import Figure, with_typed_arrays


def kept_graph(graph_id: str, label: str) -> Content:
    """A graph before its first figure."""
    figure: Any = {"data": [], "layout": {"height": 250}}
    return html.Div(
        dcc.Graph(id=graph_id, figure=figure, config=GRAPH_CONFIG), className="figure", role="group", **named(label)
    )


def sent(figure: Any, *, again: bool) -> Any:
    """A figure as it is sent; a patch and ``no_update`` as they are.

    Args:
        figure: of a view.
        again: the browser has one with the same axes; these stay, because Dash writes into them what somebody zoomed into.
    """
    if not isinstance(figure, dict):
        return figure
    whole = with_typed_arrays(figure)
    if not again:
        return whole
    patch = Patch()
    patch["data"] = whole["data"]
    for name, value in whole["layout"].items():
        if name not in _axes(whole):
            patch["layout"][name] = value
        elif "range" in value:
            patch["layout"][name]["range"] = value["range"]
        elif "autorangeoptions" in value:
            patch["layout"][name]["autorangeoptions"] = value["autorangeoptions"]
    return patch


def _axes(figure: Figure) -> dict[str, Figure]:
    return {name: value for name, value in figure["layout"].items() if name.startswith(("xaxis", "yaxis"))}


def same_axes(figures: Sequence[Figure]) -> str:
    """Equal for figures of which one may replace the other on its axes."""
    parts = [
        (
            one["layout"]["uirevision"],
            [
                (name, "range" in axis, "autorangeoptions" in axis, axis.get("domain"))
                for name, axis in _axes(one).items()
            ],
        )
        for one in figures
    ]
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()


def height_of(figure: Any) -> Any:
    """Style of a graph with a figure."""
    return {"height": f"{figure['layout']['height']}px"} if isinstance(figure, dict) else no_update
