"""The figure of a campaign. Like the others, it never touches pyplot's state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from ase_dkl.figures.plots import BLUE, GREY, ORANGE
from ase_dkl.metrics import rmse

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ase_dkl.active.status import Status
    from ase_dkl.active.stopping import Stage


def campaign_figure(status: Status, title: str) -> Figure:
    """Draw uncertainty and error against the number of labels, and beneath it the property that is aimed at.

    Diamonds are real errors: how far a batch's labels were from the model that had chosen their structures; dots are
    each label's own. What was expected of them contains the labels' noise, and they are no average over the box: they
    were chosen where there is most to learn.

    Args:
        status: of a campaign with at least one stage; its tolerance and its target are drawn.
        title: what the figure is of.
    """
    aims = status.stop.target is not None
    figure = Figure(figsize=(6.2, 6.6 if aims else 4.4), layout="constrained", dpi=200)
    grid: Any = figure.subplots(2 if aims else 1, 1, sharex=True, squeeze=False, height_ratios=[5, 3][: 1 + aims])
    _draw_errors(grid[0, 0], status)
    if aims:
        _draw_target(grid[1, 0], status)
    for axes in grid[:, 0]:
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color=GREY, alpha=0.2, lw=0.5)
    grid[-1, 0].set_xlabel("labels (structures computed)")
    figure.suptitle(title, fontsize="medium")
    return figure


def _draw_errors(axes: Axes, status: Status) -> None:
    stages, stop = status.stages, status.stop
    labels = np.array([stage.labels for stage in stages])
    rms = 1e3 * np.array([stage.rms_uncertainty for stage in stages])
    largest = 1e3 * np.array([stage.largest_uncertainty for stage in stages])
    bound = 1e3 * np.array([stage.rms_bound for stage in stages])
    name, judged = ("largest σ", largest) if stop.measure == "largest" else ("RMS error at most, 95 %,", bound)
    calibrated = judged * np.array([stage.calibration for stage in stages])
    if judging := [stage for stage in stages if stage.batch_errors]:
        _draw_batches(axes, judging)
    axes.plot(labels, largest, color=BLUE, lw=1, ls="--", marker="o", ms=3.5, label="largest σ over the box")
    axes.plot(labels, rms, color=BLUE, lw=1, marker="o", ms=3.5, label="RMS σ over the box")
    if stop.tolerance_meV is not None:
        axes.plot(labels, calibrated, color=BLUE, lw=4, alpha=0.3, label=f"{name} × calibration")
        axes.axhline(stop.tolerance_meV, color=GREY, lw=1.2, label=f"tolerance of it, {stop.tolerance_meV:g} meV")
    axes.set_yscale("log")
    # A few errors are always next to nothing; they need no decades of their own.
    axes.set_ylim(bottom=min(0.3 * rms.min(), 0.7 * (stop.tolerance_meV or np.inf)))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("meV per cell")
    axes.legend(frameon=False, fontsize="small", ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1))


def _draw_batches(axes: Axes, judging: Sequence[Stage]) -> None:
    """Errors of each batch's labels against the model that chose them."""
    labels = [stage.labels for stage in judging]
    errors = [1e3 * np.abs(stage.batch_errors) for stage in judging]
    expected = [1e3 * np.asarray(stage.batch_uncertainties) for stage in judging]
    at = np.repeat(labels, [len(each) for each in errors])
    axes.plot(at, np.concatenate(errors), ls="", marker="o", ms=3, color=ORANGE, alpha=0.35, mec="none")
    style: dict[str, Any] = {"ls": "", "color": ORANGE}
    axes.plot(labels, [rmse(each) for each in errors], marker="D", ms=4.5, **style, label="RMS error of a batch")
    axes.plot(labels, [rmse(each) for each in expected], marker="_", ms=12, mew=1.5, **style, label="expected of it")


def _draw_target(axes: Axes, status: Status) -> None:
    target = status.stop.target
    assert target is not None
    known = [stage for stage in status.stages if stage.target_value is not None and stage.target_std is not None]
    labels = [stage.labels for stage in known]
    values = np.array([stage.target_value for stage in known], dtype=float)
    band = 2 * np.array([stage.target_std for stage in known], dtype=float)
    axes.errorbar(labels, values, band, color=BLUE, fmt="o-", ms=3.5, lw=1, capsize=2, label="± 2σ")
    if len(values):
        # The last value is the best guess of where the truth is; within the lines its error bar would be the tolerance.
        for side in (-2, 2):
            axes.axhline(values[-1] + side * target.tolerance, color=GREY, lw=1.2)
        # Early error bars may be a hundred times the last: they may leave the picture.
        reach = max(3 * np.median(band), 4 * target.tolerance, 1.3 * np.abs(values - values[-1]).max())
        axes.set_ylim(values[-1] - reach, values[-1] + reach)
    axes.set_ylabel(f"{target.name} ({status.target_unit})")
    axes.set_title("bars: ± 2σ; lines: ± 2 tolerances about the last value", fontsize="small", loc="left", color=GREY)
