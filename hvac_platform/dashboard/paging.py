"""Buttons that turn pages; a changed filter goes back to the first."""

from __future__ import annotations

from collections.abc import Sequence

from dash import Dash, Input, Output, State, ctx

from hvac_platform.dashboard.components import Page


def turned(trigger: object, prefix: str, page: int) -> int:
    """The page after a click or a change.

    >>> turned("fleet-next", "fleet", 1), turned("fleet-previous", "fleet", 0), turned("fleet-type", "fleet", 5)
    (2, 0, 0)
    """
    if trigger == f"{prefix}-next":
        return page + 1
    return max(0, page - 1) if trigger == f"{prefix}-previous" else 0


def pager_outputs(prefix: str) -> tuple[Output, Output, Output]:
    """What a refresh says to a pager: see :func:`pager_state`."""
    return (
        Output(f"{prefix}-where", "children"),
        Output(f"{prefix}-previous", "disabled"),
        Output(f"{prefix}-next", "disabled"),
    )


def pager_state(page: Page) -> tuple[str, bool, bool]:
    """Values of :func:`pager_outputs`."""
    return page.where, page.first, page.last


def register_pager(app: Dash, prefix: str, filters: Sequence[str]) -> None:
    """Callback of a pager."""

    @app.callback(
        Output(f"{prefix}-page", "data"),
        Input(f"{prefix}-previous", "n_clicks"),
        Input(f"{prefix}-next", "n_clicks"),
        *(Input(name, "value") for name in filters),
        State(f"{prefix}-page", "data"),
        prevent_initial_call=True,
    )
    def turn(*values: object) -> int:
        page = values[-1]
        return turned(ctx.triggered_id, prefix, page if isinstance(page, int) else 0)
