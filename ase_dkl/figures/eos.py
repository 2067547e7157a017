"""The figure of an equation of state. Like the others, it never touches pyplot's state."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ase_dkl.figures.plots import BLUE, GREY, ORANGE
from ase_dkl.mechanics.eos import EquationOfState

_ENERGY_MARGIN = 0.03


def eos_figure(eos: EquationOfState, title: str) -> Figure:
    """Draw the fitted energy, and beneath it how far the surrogate's energies are from it.

    Bands are two standard deviations of the model: of the fitted curve in the upper row, of the energies themselves in
    the lower. The vertical line is the minimum, with its own band.

    Args:
        eos: an equation of state.
        title: what the figure is of.
    """
    figure = Figure(figsize=(5.6, 5.8), layout="constrained", dpi=200)
    grid: Any = figure.subplots(2, 1, sharex=True, height_ratios=[5, 3])
    upper, lower = grid
    v = np.linspace(eos.volumes[0], eos.volumes[-1], 201)
    mean, std = eos.curve(v)
    zero = eos.form.along_volume(np.array([eos.form.minimum]), 0)[0, 0]
    upper.fill_between(v, mean - zero - 2 * std, mean - zero + 2 * std, color=BLUE, alpha=0.25, lw=0, label="fit ± 2σ")
    upper.plot(v, mean - zero, color=BLUE, lw=1.5, label=eos.form.kind)
    points: dict[str, Any] = {"ls": "", "marker": "o", "ms": 4, "mfc": "white", "mec": ORANGE, "mew": 1.3}
    upper.plot(eos.volumes, eos.energies - zero, **points, label="surrogate", zorder=3)
    height = float(np.ptp(mean))
    upper.set_ylim(-_ENERGY_MARGIN * height - 2 * std.max(), (1 + _ENERGY_MARGIN) * height + 2 * std.max())
    upper.set_ylabel("energy above the\nminimum (eV per cell)")
    band = 2e3 * np.sqrt(np.diagonal(eos.energies_covariance))
    lower.fill_between(eos.volumes, -band, band, color=BLUE, alpha=0.25, lw=0)
    lower.axhline(0, color=BLUE, lw=1.5)
    lower.plot(eos.volumes, 1e3 * eos.residuals, **points)
    lower.set_ylabel("surrogate − fit\n(meV per cell)")
    lower.set_title("band: ± 2σ of the surrogate's energies", fontsize="small", loc="left", color=GREY)
    lower.set_xlabel("volume of a cell (Å³)" if eos.names[0] == "V0_A3" else "area of a cell (Å²)")
    v0, half = eos.form.minimum, 2 * eos.std[0]
    for axes in grid:
        axes.axvline(v0, color=GREY, lw=0.8, label="minimum ± 2σ")
        axes.axvspan(v0 - half, v0 + half, color=GREY, alpha=0.25, lw=0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color=GREY, alpha=0.2, lw=0.5)
    upper.legend(loc="upper center", framealpha=1, edgecolor="none")
    figure.suptitle(title, fontsize="medium")
    return figure
