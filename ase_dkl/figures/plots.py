"""Figures. None of them touches pyplot's state, so they can be drawn without a display and from any thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ase_dkl.arrays import Floats
from ase_dkl.crystal.lattice import GREEK
from ase_dkl.mechanics.grid import Grid
from ase_dkl.mechanics.paths import ANGLES, LENGTHS, STRAINS
from ase_dkl.mechanics.points import Points
from ase_dkl.mechanics.scan import Scan

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe & Ito's palette: told apart with every kind of colour vision.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#6E6E6E"

_DOTS: dict[str, Any] = {"ls": "", "marker": "o", "ms": 4.5, "mfc": "white", "mec": ORANGE, "mew": 1.3}


def axis_label(along: str) -> str:
    """Name and unit of a scanned quantity."""
    if along in LENGTHS:
        return f"lattice length {along} (Å)"
    if along in ANGLES:
        return f"lattice angle {GREEK[along]} (°)"
    if along == "volume":
        return "volume of a cell (Å³)"
    if along == "area":
        return "area of a cell (Å²)"
    if along == "path":
        return "length of the strain path"
    if along not in STRAINS:
        return f"amplitude of the strain {along}"
    shear = along[0] != along[1]
    return f"engineering shear strain γ$_{{{along}}}$" if shear else f"strain ε$_{{{along}}}$"


def scan_figure(scans: Sequence[Scan], points: Sequence[Points | None], title: str) -> Figure:
    """Draw energy along scans, side by side, and beneath it the uncertainty and the error of labelled structures.

    Bands are two standard deviations: the model's own in the upper row, the model's and the labels' noise together in
    the lower, where labels are judged. Grey shading marks where the surrogate extrapolates.

    Args:
        scans: one for each column.
        points: labels on the line of each scan, or None; those beyond the scan are not drawn.
        title: what the figure is of.
    """
    figure = Figure(figsize=(1.2 + 4.4 * len(scans), 5.8), layout="constrained", dpi=200)
    grid: Any = figure.subplots(2, len(scans), squeeze=False, sharex="col", sharey="row", height_ratios=[5, 3])
    zero = min(float(scan.prediction.energy.min()) for scan in scans)
    for column, (scan, labelled) in enumerate(zip(scans, points, strict=True)):
        _draw_energy(grid[0, column], scan, labelled, zero)
        _draw_errors(grid[1, column], scan, labelled)
        grid[1, column].set_xlabel(axis_label(scan.along))
    grid[0, 0].set_ylabel("energy above the\nlowest (eV per cell)")
    grid[0, 0].legend(frameon=False, loc="upper center")
    compared = any(p is not None and len(p.coordinate) for p in points)
    grid[1, 0].set_ylabel(("model − DFT" if compared else "± 2σ") + "\n(meV per cell)")
    grid[1, 0].set_title("band: ± 2σ, the labels' noise included", fontsize="small", loc="left", color=GREY)
    figure.suptitle(title, fontsize="medium")
    return figure


def grid_figure(grid: Grid, points: Points | None, title: str) -> Figure:
    """Draw a map of energy beside a map of its uncertainty, one standard deviation.

    Dots are labelled structures, in the colours of the maps: on the left of their energies, on the right of how far
    the model is from them. Hatching marks where the surrogate extrapolates.

    Args:
        grid: what to draw, its first direction along x.
        points: labels on the plane, or None.
        title: what the figure is of.
    """
    figure = Figure(figsize=(10.4, 4.4), dpi=200)
    figure.set_layout_engine("constrained", wspace=0.08)
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    zero = float(grid.energy.min())
    # A logarithm has no zero.
    energy, std = grid.energy - zero, np.maximum(1e3 * grid.energy_std, 1e-4)
    _draw_map(left, grid, energy, Normalize(0, energy.max()), "energy above the lowest (eV per cell)")
    left.contour(*_map(grid, energy), levels=12, colors="white", linewidths=0.5, alpha=0.6)
    scale = LogNorm(std.min(), std.max())
    _draw_map(right, grid, std, scale, "σ of the energy (meV per cell)")
    drawn = ["hatched: extrapolation"] if grid.outside.any() else []
    if points is not None and len(points.energies):
        _dots(left, points, points.energies - zero)
        _dots(right, points, np.maximum(1e3 * np.abs(points.errors), std.min()))
        drawn.append("dots: DFT (right: |model − DFT|)")
    left.set_title(";  ".join(drawn), fontsize="small", loc="left", color=GREY)
    left.set_ylabel(axis_label(grid.along[1]))
    figure.suptitle(title, fontsize="medium")
    return figure


def _draw_map(axes: Axes, grid: Grid, values: Floats, scale: Normalize, label: str) -> None:
    image = axes.pcolormesh(*_map(grid, values), norm=scale, cmap="viridis", shading="nearest", rasterized=True)
    bar: Any = axes.figure.colorbar(image, ax=axes, label=label)
    if isinstance(scale, LogNorm):
        bar.ax.yaxis.set_major_formatter("{x:g}")
        bar.ax.yaxis.set_minor_formatter("{x:g}")
    if grid.outside.any():
        x, y, outside = _map(grid, grid.outside.astype(float))
        hatched = axes.contourf(x, y, outside, levels=[0.5, 1.5], colors="none", hatches=["///"])
        hatched.set(edgecolor=(1, 1, 1, 0.5), linewidth=0)
        axes.contour(x, y, outside, levels=[0.5], colors="white", linewidths=1.5)
    x, y = grid.coordinates
    axes.set(xlim=(x.min(), x.max()), ylim=(y.min(), y.max()), xlabel=axis_label(grid.along[0]))


def _map(grid: Grid, values: Floats) -> tuple[Floats, Floats, Floats]:
    """What matplotlib draws maps of: sorted x and y, and values whose rows go along y."""
    x, y = grid.coordinates
    columns, rows = np.argsort(x), np.argsort(y)
    return x[columns], y[rows], values[np.ix_(columns, rows)].T


def _dots(axes: Axes, points: Points, values: Floats) -> None:
    mapped: Any = axes.collections[0]
    x, y = points.coordinate.T
    axes.scatter(x, y, c=values, s=34, norm=mapped.norm, cmap=mapped.cmap, ec=ORANGE, lw=1.2)


def _draw_energy(axes: Axes, scan: Scan, points: Points | None, zero: float) -> None:
    mean, band = scan.prediction.energy - zero, 2 * scan.prediction.energy_uncertainty
    _shade_extrapolation(axes, scan)
    axes.fill_between(scan.coordinate, mean - band, mean + band, color=BLUE, alpha=0.25, lw=0, label="mean ± 2σ")
    axes.plot(scan.coordinate, mean, color=BLUE, lw=1.5)
    if points is not None and (within := _within(scan, points)).any():
        axes.plot(points.coordinate[within], points.energies[within] - zero, label="DFT", **_DOTS)
    _clean(axes)


def _draw_errors(axes: Axes, scan: Scan, points: Points | None) -> None:
    _shade_extrapolation(axes, scan)
    band = 2e3 * scan.prediction.value.total
    axes.fill_between(scan.coordinate, -band, band, color=BLUE, alpha=0.25, lw=0)
    axes.axhline(0, color=BLUE, lw=1.5)
    if points is not None:
        within = _within(scan, points)
        axes.plot(points.coordinate[within], 1e3 * points.errors[within], **_DOTS)
    # Errors inside the training range are a fraction of a meV, beyond it tens: linear to 1 meV, logarithmic above.
    axes.set_yscale("symlog", linthresh=1, linscale=1)
    axes.yaxis.set_major_formatter("{x:g}")
    _clean(axes)


def _within(scan: Scan, points: Points) -> NDArray[np.bool_]:
    """The labels that lie where the scan is."""
    slack = 1e-6 * float(np.ptp(scan.coordinate))
    inside: NDArray[np.bool_] = (points.coordinate >= scan.coordinate.min() - slack) & (
        points.coordinate <= scan.coordinate.max() + slack
    )
    return inside


def _shade_extrapolation(axes: Axes, scan: Scan) -> None:
    """Shade where the surrogate extrapolates; the edge lies midway between two points of the scan."""
    order = np.argsort(scan.coordinate)
    x, outside = scan.coordinate[order], scan.outside[order]
    margin = 0.02 * (x[-1] - x[0])
    edges = np.concatenate([x[:1] - margin, (x[1:] + x[:-1]) / 2, x[-1:] + margin])
    label: str | None = "extrapolation"
    # Where it starts (+1) and where it ends (−1)
    changes = np.diff(np.concatenate([[0], outside.astype(int), [0]]))
    for left, right in zip(edges[changes == 1], edges[changes == -1], strict=True):
        axes.axvspan(left, right, color=GREY, alpha=0.15, lw=0, label=label)
        label = None
    axes.set_xlim(edges[0], edges[-1])


def _clean(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(7))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=GREY, alpha=0.2, lw=0.5)
