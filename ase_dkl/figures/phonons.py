"""The figure of vibrations at the Γ point. Like the others, it never touches pyplot's state."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ase_dkl.figures.plots import BLUE, GREY, ORANGE
from ase_dkl.mechanics.phonons import WAVENUMBERS, Phonons

_FEWEST, _MOST = 3.2, 11.0
"""Height of the figure, inches."""


def phonons_figure(found: Phonons, title: str) -> Figure:
    """Draw every frequency with a bar of two standard deviations, and beside it these alone.

    Args:
        found: the vibrations.
        title: what the figure is of.
    """
    n = len(found.groups)
    figure = Figure(figsize=(7.2, min(max(_FEWEST, 1.6 + 0.28 * n), _MOST)), layout="constrained", dpi=200)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[5, 2])
    place = np.arange(n)
    frequency = np.array([group.frequency_THz for group in found.groups])
    std = np.array([group.frequency_THz_std for group in found.groups])
    real = frequency >= 0
    for part, color, label in ((real, BLUE, "frequency ± 2σ"), (~real, ORANGE, "imaginary, ± 2σ")):
        if part.any():
            bars: dict[str, Any] = {"ls": "", "marker": "o", "ms": 5, "capsize": 4, "lw": 1.5, "color": color}
            left.errorbar(frequency[part], place[part], xerr=2 * std[part], label=label, **bars)
    if not real.all():
        low, high = left.get_xlim()
        left.axvspan(low, 0, color=ORANGE, alpha=0.12, lw=0)
        left.set_xlim(low, high)
        left.legend(fontsize="small", framealpha=1, edgecolor="none")
    left.axvline(0, color=GREY, lw=0.8)
    left.set_xlabel("frequency at Γ (THz)")
    left.set_yticks(place, [_name(group.modes) for group in found.groups], fontsize="small" if n <= 36 else 4)
    left.set_ylim(-0.7, max(n - 0.3, 0.7))
    above = left.secondary_xaxis("top", functions=(lambda x: WAVENUMBERS * x, lambda x: x / WAVENUMBERS))
    above.set_xlabel("wavenumber (cm⁻¹)")
    right.barh(place, 2 * std, height=0.55, color=np.where(real, BLUE, ORANGE), alpha=0.6)
    right.set_xlabel("2σ (THz)")
    right.set_xlim(0, 1.1 * max(2 * float(std.max(initial=0)), 1e-12))
    right.xaxis.set_major_locator(MaxNLocator(3))
    for axes in (left, right):
        axes.spines[["right"]].set_visible(False)
        axes.grid(axis="x", color=GREY, alpha=0.2, lw=0.5)
        axes.tick_params(axis="y", length=0)
    right.spines[["top"]].set_visible(False)
    figure.suptitle(title, fontsize="medium")
    return figure


def _name(modes: tuple[int, ...]) -> str:
    """Numbers of a group's modes, from 1, as the table has them."""
    if len(modes) == 1:
        return f"mode {modes[0] + 1}"
    return f"modes {modes[0] + 1}–{modes[-1] + 1} (×{len(modes)})"
