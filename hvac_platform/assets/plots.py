"""Small plots that the Dagster UI shows inline: SVG in a data URI."""

import base64
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from hvac_platform.timestamps import iso

WIDTH, HEIGHT, LEFT, BOTTOM = 560, 150, 48, 18
COLOURS = ("#2f6fdb", "#d9822b", "#1a9c6b", "#8f4fbf")
MOST_POINTS = 240
MOST_GROUPS = 20


def line_plot(
    lines: Mapping[str, NDArray[np.float64]],
    times_ms: NDArray[np.int64],
    *,
    limit: float | None = None,
    shaded: tuple[int, int] | None = None,
) -> str:
    """Markdown image of some lines over time, with an optional horizontal limit and a span of it shaded.

    Args:
        lines: float64 [n] by name.
        times_ms: int64 [n].
        limit: drawn dashed.
        shaded: first instant and last, epoch milliseconds.
    """
    values = np.concatenate([v[np.isfinite(v)] for v in lines.values()]) if lines else np.zeros(0)
    if not len(values) or not len(times_ms):
        return "(nothing to plot)"
    low, high = float(values.min()), float(values.max())
    if limit is not None and np.isfinite(limit):
        low, high = min(low, limit), max(high, limit)
    spread = (high - low) or 1.0
    pick = np.unique(np.linspace(0, len(times_ms) - 1, min(MOST_POINTS, len(times_ms))).astype(np.int64))
    duration = max(1, int(times_ms[-1] - times_ms[0]))
    x = LEFT + (times_ms[pick] - times_ms[0]) / duration * (WIDTH - LEFT - 8)

    def y(v: NDArray[np.float64] | float) -> NDArray[np.float64]:
        return np.asarray(8 + (high - np.asarray(v)) / spread * (HEIGHT - BOTTOM - 12))

    parts = [f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
    if shaded is not None:
        left, right = (
            LEFT + min(max(at - int(times_ms[0]), 0), duration) / duration * (WIDTH - LEFT - 8) for at in shaded
        )
        width, height = max(1.0, right - left), HEIGHT - BOTTOM - 4
        parts.append(f'<rect x="{left:.1f}" y="4" width="{width:.1f}" height="{height}" fill="#fbe3d3"/>')
    for position, value in ((12, high), (HEIGHT - BOTTOM, low)):
        parts.append(f'<text x="2" y="{position}" font-size="10" fill="#666">{value:.4g}</text>')
    place = 0
    for i, (name, series) in enumerate(lines.items()):
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y(series[pick]), strict=True) if np.isfinite(b))
        colour = COLOURS[i % len(COLOURS)]
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.2"/>')
        parts.append(f'<text x="{LEFT + place}" y="{HEIGHT - 3}" font-size="10" fill="{colour}">{escape(name)}</text>')
        place += max(150, 6 * len(name))
    if limit is not None and np.isfinite(limit):
        at = float(y(limit))
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - 8}" y1="{at:.1f}" y2="{at:.1f}" stroke="#c33" stroke-dasharray="4 3"/>'
        )
    parts.append(
        f'<text x="{WIDTH - 8}" y="{HEIGHT - 3}" font-size="10" fill="#666" text-anchor="end">'
        f"{iso(int(times_ms[0]))[:16]} – {iso(int(times_ms[-1]))[:16]}</text>"
    )
    return _image(parts)


def bar_plot(counts: Mapping[str, Mapping[str, int]], series: Sequence[str]) -> str:
    """Markdown image of grouped bars: one group a row of ``counts`` (at most twenty), one bar a name in ``series``."""
    groups = list(counts)[:MOST_GROUPS]
    highest = max((counts[g].get(name, 0) for g in groups for name in series), default=0) or 1
    width = (WIDTH - LEFT - 8) / max(1, len(groups))
    bar, floor = 0.8 * width / len(series), HEIGHT - 2 * BOTTOM
    parts = [
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="2" y="14" font-size="10" fill="#666">{highest:,}</text>',
        f'<text x="2" y="{floor}" font-size="10" fill="#666">0</text>',
    ]
    for i, group in enumerate(groups):
        left = LEFT + i * width
        parts.append(f'<text x="{left:.1f}" y="{floor + 13}" font-size="9" fill="#333">{escape(group)}</text>')
        for j, name in enumerate(series):
            height = (floor - 10) * counts[group].get(name, 0) / highest
            parts.append(
                f'<rect x="{left + j * bar:.1f}" y="{floor - height:.1f}" width="{bar * 0.9:.1f}" '
                f'height="{height:.1f}" fill="{COLOURS[j % len(COLOURS)]}"/>'
            )
    for j, name in enumerate(series):
        colour = COLOURS[j % len(COLOURS)]
        parts.append(
            f'<text x="{LEFT + 110 * j}" y="{HEIGHT - 3}" font-size="10" fill="{colour}">{escape(name)}</text>'
        )
    return _image(parts)


def _image(parts: Sequence[str]) -> str:
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}">{"".join(parts)}</svg>'
    return f"![plot](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"
