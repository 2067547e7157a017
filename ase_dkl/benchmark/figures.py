"""Figures of a study: scores against the number of rows, or by method where there is one number, and against cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullFormatter

from ase_dkl.benchmark.settings import STRESSES
from ase_dkl.benchmark.table import SCORES, Block, Line
from ase_dkl.figures.plots import BLUE, GREY, ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = (BLUE, ORANGE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe & Ito's palette, less its yellow, which is not seen on white."""
MARKERS = "osD^vP*X<>h"
LOGARITHMIC = ("rmse", "mae", "crps", "fit_s", "predict_us", "single_ms")
WANTED = {"coverage_95": 0.95}
LINEAR_NLL = 10.0
"""Up to this the likelihood's axis is linear: hopeless forecasts have thousands."""
NLL_TICKS = (-8, -4, 0, 10, 100, 1e3, 1e4, 1e5, 1e6)

Panel = tuple[str, str]
"""Data and kind of labels."""


def against_rows(blocks: Sequence[Block], scores: Sequence[str], title: str) -> Figure:
    """Draw scores, one below the other, against the number of rows; data sets and labels side by side."""
    panels = _panels(blocks)
    styles = _styles(blocks)
    figure, grid = _grid(len(scores), len(panels), title)
    for column, (panel, of_panel) in enumerate(panels.items()):
        grid[0, column].set_title(_panel_title(panel), fontsize="small")
        for row, score in enumerate(scores):
            axes = grid[row, column]
            for label, style in styles.items():
                lines = [line for block in of_panel for line in block.lines if line.case.entry.label == label]
                _draw(axes, [line for line in lines if line.values[score]], score, style)
            sizes = sorted({block.n for block in of_panel})
            axes.set_xscale("log", base=2)
            axes.set_xticks(sizes, [str(n) for n in sizes])
            axes.xaxis.set_minor_formatter(NullFormatter())
            _score_axis(axes, score, "y")
        grid[-1, column].set_xlabel("rows to train on")
    for row, score in enumerate(scores):
        grid[row, 0].set_ylabel(SCORES[score].title)
    _legend(figure, styles)
    return figure


def by_method(blocks: Sequence[Block], scores: Sequence[str], title: str) -> Figure:
    """Draw scores of the cases below each other, as points with the spread over the seeds; scores side by side."""
    heights = [len(block.lines) for block in blocks]
    figure = Figure(figsize=(3 + 2.6 * len(scores), 1 + 0.24 * sum(heights) + 0.5 * len(blocks)), layout="constrained")
    grid: Any = figure.subplots(len(blocks), len(scores), squeeze=False, sharey="row", height_ratios=heights)
    for row, block in enumerate(blocks):
        names = [line.case.entry.label for line in block.lines]
        for column, score in enumerate(scores):
            axes = grid[row, column]
            for at, line in enumerate(block.lines):
                if (mean := line.mean(score)) is not None:
                    colour = ORANGE if line is block.best(score) else BLUE
                    axes.plot(line.values[score], [at] * len(line.values[score]), "|", color=colour, alpha=0.6)
                    axes.plot(mean, at, "o", color=colour, ms=5)
            _score_axis(axes, score, "x")
            _unbend(axes, score)
            axes.set_ylim(len(names) - 0.5, -0.5)
            axes.set_yticks(range(len(names)), names, fontsize="small")
        grid[row, 0].set_title(block.title, fontsize="small", loc="left")
    for column, score in enumerate(scores):
        grid[-1, column].set_xlabel(SCORES[score].title)
    figure.suptitle(title + ": means (dots; the best in orange) and seeds (ticks)", fontsize="medium")
    return figure


def against_cost(blocks: Sequence[Block], title: str) -> Figure:
    """Draw the energies' error at the largest number of rows against what the fit and a prediction cost."""
    panels = _panels(blocks)
    styles = {label: style | {"ls": ""} for label, style in _styles(blocks).items()}
    figure, grid = _grid(2, len(panels), title)
    for column, (panel, of_panel) in enumerate(panels.items()):
        largest = max(of_panel, key=lambda block: block.n)
        grid[0, column].set_title(f"{_panel_title(panel)}, {largest.n} rows", fontsize="small")
        for row, cost in enumerate(("fit_s", "predict_us")):
            axes = grid[row, column]
            for line in largest.lines:
                at, error = line.mean(cost), line.mean("energy_rmse_meV")
                if at is not None and error is not None:
                    axes.plot(at, error, **styles[line.case.entry.label])
            _score_axis(axes, cost, "x")
            _score_axis(axes, "energy_rmse_meV", "y")
            axes.set_xlabel(SCORES[cost].title)
    for row in range(2):
        grid[row, 0].set_ylabel(SCORES["energy_rmse_meV"].title)
    _legend(figure, styles)
    return figure


def _panels(blocks: Sequence[Block]) -> dict[Panel, list[Block]]:
    panels: dict[Panel, list[Block]] = {}
    for block in blocks:
        panels.setdefault((block.data, block.labels), []).append(block)
    return panels


def _panel_title(panel: Panel) -> str:
    data, labels = panel
    return f"{data}, {'energies and stresses' if labels == STRESSES else labels}"


def _styles(blocks: Sequence[Block]) -> dict[str, dict[str, Any]]:
    """The look of each method, by its label; the first stands out."""
    labels = list(dict.fromkeys(line.case.entry.label for block in blocks for line in block.lines))
    return {
        label: {
            "color": COLOURS[i % len(COLOURS)],
            "marker": MARKERS[i % len(MARKERS)],
            "ls": "-" if i < len(COLOURS) else "--",
            "lw": 2.4 if i == 0 else 1.2,
            "ms": 7 if i == 0 else 5,
            "alpha": 0.9,
            "zorder": 3 if i == 0 else 2,
        }
        for i, label in enumerate(labels)
    }


def _grid(rows: int, columns: int, title: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(2.4 + 3.2 * columns, 1.0 + 2.6 * rows), layout="constrained")
    figure.suptitle(title, fontsize="medium")
    return figure, figure.subplots(rows, columns, squeeze=False, sharey="row")


def _draw(axes: Axes, lines: Sequence[Line], score: str, style: dict[str, Any]) -> None:
    means = np.array([line.mean(score) for line in lines], dtype=float)
    spreads = np.array([line.spread(score) for line in lines])
    if _is_logarithmic(score):
        # A bar that reaches zero has no end on a logarithm.
        spreads = np.stack([np.minimum(spreads, 0.9 * means), spreads])
    if len(lines):
        axes.errorbar([line.case.n for line in lines], means, spreads, capsize=2, elinewidth=0.8, **style)


def _score_axis(axes: Axes, score: str, which: str) -> None:
    axis = axes.yaxis if which == "y" else axes.xaxis
    if _is_logarithmic(score):
        getattr(axes, f"set_{which}scale")("log")
        axis.set_major_locator(LogLocator(subs=(1, 3)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    elif score.endswith("nll"):
        getattr(axes, f"set_{which}scale")("symlog", linthresh=LINEAR_NLL, linscale=3)
        axis.set_major_locator(FixedLocator(NLL_TICKS))
        axis.set_major_formatter("{x:g}")
    for name, value in WANTED.items():
        if score.endswith(name):
            (axes.axhline if which == "y" else axes.axvline)(value, color=GREY, lw=1, ls=":")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=GREY, alpha=0.2, lw=0.5)


def _unbend(axes: Axes, score: str) -> None:
    """Make the horizontal axis linear where it spans too little for the ticks of another scale."""
    low, high = axes.xaxis.get_data_interval()
    if high < 3 * low if _is_logarithmic(score) else score.endswith("nll") and high < LINEAR_NLL:
        axes.set_xscale("linear")
        axes.xaxis.set_major_locator(MaxNLocator(4))


def _is_logarithmic(score: str) -> bool:
    return any(name in score for name in LOGARITHMIC)


def _legend(figure: Figure, styles: dict[str, dict[str, Any]]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], label=label, **style) for label, style in styles.items()]
    figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize="small")
