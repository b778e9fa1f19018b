"""Fields for text that counts once it is entered: by Enter, or when the field is left.

Dash's own way to wait for that (``debounce``) puts the caret back where it was a moment ago, after each letter: on a slow or
busy browser the next letter is there by then, and lands at the wrong place. So the field itself doesn't wait, and what is
entered is kept beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dash import Dash, Input, Output, State, dcc, html

from hvac_platform.dashboard.components import Content

ENTER = """(_submitted, _left, typed, entered) => typed === entered ? dash_clientside.no_update : typed"""


def typed_field(element: str, label: str, **more: Any) -> list[Content]:
    """A label, its field, and what was entered in it.

    Args:
        element: id of the field.
        label: in words.
        more: properties of the field.
    """
    return [
        html.Label(label, htmlFor=element),
        dcc.Input(id=element, type="text", debounce=False, **more),
        dcc.Store(id=f"{element}-entered"),
    ]


def entered(element: str) -> Input:
    """What was entered in a field, for a callback."""
    return Input(f"{element}-entered", "data")


def register_fields(app: Dash, elements: Sequence[str]) -> None:
    """Have the browser notice what is entered."""
    for element in elements:
        app.clientside_callback(  # type: ignore[no-untyped-call]
            ENTER,
            Output(f"{element}-entered", "data"),
            Input(element, "n_submit"),
            Input(element, "n_blur"),
            State(element, "value"),
            State(f"{element}-entered", "data"),
            prevent_initial_call=True,
        )
