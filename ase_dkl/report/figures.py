"""What the report's figures have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ase_dkl.arrays import Floats
from ase_dkl.figures.plots import BLUE, GREY

SHADE = "rgba(0, 114, 178, 0.22)"
LOG_TICKS = {"type": "log", "tickvals": [m * 10.0**e for e in range(-7, 5) for m in (1, 2, 5)], "tickformat": "~g"}
DECADES = {"type": "log", "tickvals": [10.0**e for e in range(-7, 5)], "tickformat": "~g"}
AXIS = {
    "showline": True,
    "linecolor": "#9a9a9a",
    "gridcolor": "#ececec",
    "zeroline": False,
    "ticks": "outside",
    "tickcolor": "#9a9a9a",
    "title": {"standoff": 8, "font": {"size": 13}},
    "automargin": True,
    "exponentformat": "power",
}


def empty_figure(rows: int = 1, columns: int = 1, *, height: int = 380, **layout: Any) -> go.Figure:
    """Axes without data.

    Args:
        rows: of the grid.
        columns: of the grid.
        height: pixels.
        layout: for `plotly.subplots.make_subplots`.
    """
    figure = make_subplots(rows=rows, cols=columns, **layout)
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 64, "r": 16, "t": 34, "b": 48},
        font={"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 12, "color": "#222"},
        plot_bgcolor="white",
        paper_bgcolor="white",
        hoverlabel={"namelength": -1},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "bgcolor": "rgba(255, 255, 255, 0.7)"},
    )
    figure.update_xaxes(**AXIS)
    figure.update_yaxes(**AXIS)
    figure.update_annotations(font_size=13)
    return figure


def banded(x: Floats, mean: Floats, half_width: Floats, name: str) -> Sequence[go.Scatter]:
    """A line with a band around it."""
    edge = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
    return (
        go.Scatter(x=x, y=mean - half_width, showlegend=False, **edge),
        go.Scatter(x=x, y=mean + half_width, fill="tonexty", fillcolor=SHADE, name="± 2σ", **edge),
        go.Scatter(x=x, y=mean, mode="lines", line={"color": BLUE, "width": 2}, name=name),
    )


def shade(figure: go.Figure, x: Floats, where: Any) -> None:
    """Shade stretches of the axis of x, which grows, in all rows; edges lie midway between two points."""
    edges = np.concatenate([x[:1], (x[1:] + x[:-1]) / 2, x[-1:]])
    changes = np.flatnonzero(np.diff(np.concatenate([[False], where, [False]]).astype(int)))
    for start, stop in changes.reshape(-1, 2):
        area = {"fillcolor": GREY, "opacity": 0.14, "line_width": 0, "layer": "below"}
        figure.add_vrect(x0=edges[start], x1=edges[stop], row="all", col="all", **area)
