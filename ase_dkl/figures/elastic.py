"""Figures of elastic properties, drawn like those of `plots`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ase_dkl.arrays import Floats
from ase_dkl.figures.plots import BLUE, GREY
from ase_dkl.mechanics.directional import directional_young_modulus, extreme_young_moduli
from ase_dkl.wording import plus_minus

_AXES = np.eye(3)
_SECTIONS = {"xy": (0, 1), "xz": (0, 2), "yz": (1, 2)}


def young_modulus_figure(C_GPa: Floats, covariance: Floats, title: str) -> Figure:
    """Draw Young's modulus along every direction: as a surface, and in sections with bands of two standard deviations.

    Args:
        C_GPa: elastic constants of a stable crystal, Voigt, shape (6, 6).
        covariance: of `C_GPa.ravel()`, GPa², shape (36, 36).
        title: what the figure is of.
    """
    softest, stiffest = extreme_young_moduli(C_GPa, covariance)
    figure = Figure(figsize=(12.5, 4.2), dpi=200)
    figure.set_layout_engine("constrained", wspace=0.06)
    grid = figure.add_gridspec(1, 4, width_ratios=[1.5, 1, 1, 1])
    solid: Any = figure.add_subplot(grid[0], projection="3d")
    _draw_surface(solid, C_GPa, covariance, softest.young_modulus_GPa, stiffest.young_modulus_GPa)
    for column, (plane, (first, second)) in enumerate(_SECTIONS.items()):
        axes: Any = figure.add_subplot(grid[column + 1], projection="polar")
        angle = np.linspace(0, 2 * np.pi, 361)
        directions = np.cos(angle)[:, None] * _AXES[first] + np.sin(angle)[:, None] * _AXES[second]
        modulus, std = directional_young_modulus(C_GPa, covariance, directions)
        axes.fill_between(angle, modulus - 2 * std, modulus + 2 * std, color=BLUE, alpha=0.3, lw=0)
        axes.plot(angle, modulus, color=BLUE, lw=1.3)
        axes.set_title(f"in the {plane} plane\n", fontsize="small", color=GREY)
        axes.set_ylim(0, 1.1 * stiffest.young_modulus_GPa)
        axes.set_xticks([0, np.pi / 2, np.pi, 3 * np.pi / 2], [plane[0], plane[1], f"−{plane[0]}", f"−{plane[1]}"])
        axes.yaxis.set_major_locator(MaxNLocator(3))
        axes.set_rlabel_position(45)
        axes.tick_params(labelsize="small", colors=GREY)
        axes.grid(color=GREY, alpha=0.3, lw=0.5)
    extremes = {
        name: plus_minus(each.young_modulus_GPa, each.young_modulus_GPa_std, "GPa")
        + f" along {_vector(each.direction)}"
        for name, each in (("smallest", softest), ("largest", stiffest))
    }
    words = " · ".join(f"{name} {extreme}" for name, extreme in extremes.items())
    figure.suptitle(f"{title}: Young's modulus (GPa)\n{words}", fontsize="medium")
    return figure


def _draw_surface(axes: Any, C_GPa: Floats, covariance: Floats, low: float, high: float) -> None:
    """The surface whose distance from the centre is the modulus, coloured by it."""
    polar, azimuth = np.meshgrid(np.linspace(0, np.pi, 73), np.linspace(0, 2 * np.pi, 145), indexing="ij")
    directions = np.stack([np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)], axis=-1)
    modulus, _ = directional_young_modulus(C_GPa, covariance, directions)
    points = np.moveaxis(directions * modulus[..., None], -1, 0)
    # Isotropic but for rounding is one colour.
    scale = Normalize(low, max(high, low * (1 + 1e-3)))
    colors = colormaps["viridis"](scale(modulus))
    axes.plot_surface(*points, facecolors=colors, rcount=73, ccount=145, shade=False, lw=0, antialiased=False)
    axes.set_box_aspect((1, 1, 1))
    axes.set(xlim=(-high, high), ylim=(-high, high), zlim=(-high, high))
    for name in "xyz":
        # Where numbers would have been.
        getattr(axes, f"set_{name}label")(name, labelpad=-12)
    axes.set(xticklabels=[], yticklabels=[], zticklabels=[])
    bar = axes.figure.colorbar(ScalarMappable(scale, "viridis"), ax=axes, shrink=0.7, location="left")
    bar.set_label("Young's modulus (GPa)")


def _vector(direction: Sequence[float]) -> str:
    """A unit vector as small whole numbers where there are such, and in decimals otherwise."""
    vector = np.array(direction)
    for multiple in range(1, 5):
        whole = multiple * vector / np.abs(vector).max()
        if np.abs(whole - whole.round()).max() < 1e-3:
            return "[" + " ".join(f"{round(each)}" for each in whole) + "]"
    return "(" + ", ".join(f"{each:.2f}" for each in vector) + ")"
