"""How the report shows whether error bars are as wide as errors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from ase_dkl.arrays import Floats
from ase_dkl.figures.plots import BLUE, GREEN, ORANGE
from ase_dkl.metrics import coverage
from ase_dkl.report.blocks import figure
from ase_dkl.report.compared import Compared
from ase_dkl.report.figures import empty_figure

LEVELS = np.array([0.5, 0.68, 0.8, 0.9, 0.95, 0.99])
COLOURS = (BLUE, ORANGE, GREEN)


def calibration_figure(counted: Sequence[tuple[Compared, NDArray[np.bool_]]]) -> str:
    """Observed against expected coverage of central intervals.

    Args:
        counted: labels and predictions, and which of them count.
    """
    from scipy.stats import binom

    drawn = empty_figure(height=380)
    expected = np.linspace(0, 1, 101)
    percent = {"tickformat": ".0%", "tickvals": np.linspace(0, 1, 6)}
    first, members = counted[0]
    n = len(np.unique(first.row[members]))
    edge = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
    low, high = (binom.ppf(tail, n, expected) / n for tail in (0.025, 0.975))
    drawn.add_trace(go.Scatter(x=expected, y=low, showlegend=False, **edge))
    fill = "rgba(110, 110, 110, 0.18)"
    drawn.add_trace(go.Scatter(x=expected, y=high, fill="tonexty", fillcolor=fill, name="chance, 95 %", **edge))
    diagonal = {"color": "#444", "width": 1}
    drawn.add_trace(go.Scatter(x=[0, 1], y=[0, 1], mode="lines", line=diagonal, showlegend=False, hoverinfo="skip"))
    for (q, members), colour in zip(counted, COLOURS, strict=False):
        error, total = (q.predicted - q.label)[members], q.total[members]
        observed = [coverage(error, total, level) for level in expected]
        look = {"mode": "lines", "line": {"color": colour, "width": 2}}
        drawn.add_trace(go.Scatter(x=expected, y=observed, name=q.name, **look))
    drawn.update_xaxes(title_text="expected fraction inside the central interval", range=[0, 1.005], **percent)
    drawn.update_yaxes(title_text="observed fraction", range=[0, 1.005], **percent)
    caption = (
        "Calibration: above the diagonal error bars are too wide, below it too narrow. Grey: where the "
        f"{first.name} labels of a perfectly calibrated model would be, with {n} rows."
    )
    return figure("calibration", drawn, caption)


def coverage_figure(counted: Sequence[tuple[Compared, NDArray[np.bool_]]]) -> str:
    """Coverage of the usual intervals; arguments as `calibration_figure`."""
    drawn = empty_figure(height=380)
    names = [f"{level:.0%}" for level in LEVELS]
    for (q, members), colour in zip(counted, COLOURS, strict=False):
        error, total = (q.predicted - q.label)[members], q.total[members]
        observed: Floats = np.array([coverage(error, total, level) for level in LEVELS])
        text = [f"{value:.0%}" for value in observed]
        bar = {"marker_color": colour, "text": text, "textposition": "inside", "insidetextanchor": "start"}
        drawn.add_trace(go.Bar(x=names, y=observed, name=q.name, textangle=0, textfont_color="white", **bar))
    wanted = {"symbol": "line-ew", "size": 40, "line": {"width": 2, "color": "#222"}}
    drawn.add_trace(go.Scatter(x=names, y=LEVELS, mode="markers", marker=wanted, name="as it should be"))
    drawn.update_xaxes(title_text="central interval", type="category")
    drawn.update_yaxes(title_text="labels inside", range=[0, 1.04], tickformat=".0%", tickvals=np.linspace(0, 1, 6))
    return figure(
        "coverage", drawn, "Coverage: how many labels lie within intervals of the model and the noise together."
    )
