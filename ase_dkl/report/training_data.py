"""How the report shows what a model was trained on, where that lies, and what the networks became."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from ase_dkl.crystal.lattice import GREEK, unit_of
from ase_dkl.figures.plots import BLUE, GREY, ORANGE
from ase_dkl.model.domain import MARGIN
from ase_dkl.report.blocks import Section, facts, figure, side_by_side, table
from ase_dkl.report.figures import empty_figure

if TYPE_CHECKING:
    from ase_dkl.model.surrogate import Surrogate

SHOWN = 400
"""Points of a kind in each panel, at most."""
ENERGIES = [[0, "#0072B2"], [0.35, "#56B4E9"], [0.7, "#E69F00"], [1, "#D55E00"]]


def domain(surrogate: Surrogate) -> Section:
    """Where the training lattices and their symmetry images lie, and the range that follows."""
    section = Section("Domain", "Training data and domain")
    space = surrogate.space
    parameters, reference, names = space.parameters(surrogate.cells), space.reference, space.names
    if len(names) > 1:
        section.parts.append(_pairs(surrogate, parameters, reference))
    low, high = parameters.min(axis=(0, 1)), parameters.max(axis=(0, 1))
    margin = MARGIN * (high - low)
    rows = [
        [
            GREEK.get(name, name),
            *(f"{value:.{3 if len(name) == 1 else 1}f}" for value in values),
            unit_of(name),
        ]
        for name, *values in zip(names, low - margin, low, reference, high, high + margin, strict=True)
    ]
    head = ["", "inside from", "lowest datum", "reference", "highest datum", "inside to", ""]
    caption = (
        "Range of every lattice parameter over the training lattices and their symmetry images. A lattice is inside "
        f"the domain when it and its images are within these limits and the nearest training lattice is within "
        f"{surrogate.extrapolation(space.crystal.cell[None]).reach:.2g} standard deviations of the lattice parameters."
    )
    section.parts.append(table(head, rows, caption))
    return section


def _pairs(surrogate: Surrogate, parameters: np.ndarray, reference: np.ndarray) -> str:
    names = surrogate.space.names
    labels = [f"{GREEK.get(name, name)} ({unit_of(name)})" for name in names]
    p = len(names)
    n = min(len(parameters), SHOWN)
    chosen = np.linspace(0, len(parameters) - 1, n).astype(int)
    energies = surrogate.predict_cells(surrogate.cells[chosen], stress=False).energy
    energies = energies - energies.min()
    rows = parameters[chosen, 0]
    images = parameters.reshape(-1, p)
    images = images[np.linspace(0, len(images) - 1, min(len(images), SHOWN)).astype(int)]
    size = p - 1
    height = 640 if p > 3 else 460
    drawn = empty_figure(
        size,
        size,
        height=height,
        shared_xaxes=True,
        shared_yaxes=True,
        horizontal_spacing=0.015,
        vertical_spacing=0.02,
    )
    drawn.update_layout(
        coloraxis={
            "colorscale": ENERGIES,
            "colorbar": {"title": {"text": "energy<br>(eV)"}, "len": 0.5, "y": 0.75, "x": 0.9},
        }
    )
    looks = {
        "symmetry images": (images, {"color": GREY, "size": 3, "opacity": 0.35}),
        "training lattices": (rows, {"color": energies, "coloraxis": "coloraxis", "size": 6}),
        "reference": (reference[None], {"symbol": "cross-thin", "size": 10, "line": {"width": 1.6, "color": "#222"}}),
    }
    for i, j in zip(*np.tril_indices(p, -1), strict=True):
        at = {"row": int(i), "col": int(j) + 1}
        for name, (values, marker) in looks.items():
            data = {"x": values[:, j], "y": values[:, i], "mode": "markers", "marker": marker, "name": name}
            if name == "training lattices":
                data["hovertemplate"] = f"{names[j]} %{{x:.4g}}<br>{names[i]} %{{y:.4g}}<br>%{{marker.color:.3f}} eV"
            # A legend cannot show a colour scale: what stands there is a trace of its own.
            drawn.add_trace(go.Scatter(showlegend=False, **data), **at)
        if i == size:
            drawn.update_xaxes(title_text=labels[j], **at)
        if j == 0:
            drawn.update_yaxes(title_text=labels[i], **at)
    for name, (_, marker) in looks.items():
        plain = marker if "coloraxis" not in marker else {"color": BLUE, "size": 6}
        drawn.add_trace(go.Scatter(x=[None], y=[None], mode="markers", marker=plain, name=name), 1, 1)
    for row, column in zip(*np.triu_indices(size, 1), strict=True):
        drawn.update_xaxes(visible=False, row=int(row) + 1, col=int(column) + 1)
        drawn.update_yaxes(visible=False, row=int(row) + 1, col=int(column) + 1)
    drawn.update_layout(
        legend={"x": 0.62, "y": 0.98, "yanchor": "top", "orientation": "v", "itemsizing": "constant"}, margin={"t": 10}
    )
    some = "" if n == len(parameters) else f" {n} of the {len(parameters)} rows are drawn."
    caption = (
        "Training lattices, coloured by the model's energy above the lowest of them; in grey where their symmetry "
        f"images lie, which the model knows as well.{some}"
    )
    return figure("training-lattices", drawn, caption)


def networks(surrogate: Surrogate) -> Section:
    """Singular values, inducing points, and how training ended."""
    section = Section("Networks", "Networks and training")
    config, report = surrogate.config, surrogate.report
    drawn = empty_figure(height=380)
    blocks = [name for name in report.singular_values if name.startswith("block")]
    layers = ["first", *sorted(blocks, key=lambda name: int(name.split()[1])), "last"]
    x = [layer for layer in layers for _ in report.singular_values[layer]]
    y = [value for layer in layers for value in report.singular_values[layer]]
    marker = {"color": BLUE, "size": 9, "opacity": 0.7}
    drawn.add_trace(go.Scatter(x=x, y=y, mode="markers", marker=marker, name="largest singular value"))
    if config.spectral_coefficient is not None:
        edges = [layers[1], layers[-2]]
        line = {"color": ORANGE, "width": 2, "dash": "dash"}
        limit = [config.spectral_coefficient] * 2
        drawn.add_trace(go.Scatter(x=edges, y=limit, mode="lines", line=line, name="limit of the residual blocks"))
    drawn.update_xaxes(title_text="layer", type="category")
    drawn.update_yaxes(title_text="largest singular value", rangemode="tozero")
    caption = (
        "Largest singular value of every layer, a point for each network. Spectral normalisation holds those of the "
        "residual blocks at or below the limit; the first and the last layer are free."
    )
    rows = {
        "networks": f"{config.networks}, {config.width} wide, {config.depth} residual blocks",
        "features": f"{config.n_features}",
        "inducing points": f"{config.n_inducing}",
        "spread of the centres that they start from": ", ".join(f"{value:.0%}" for value in report.centre_spread)
        + " of the data's",
        "kernel and mean": f"{config.kernel}, {config.mean}",
        "steps": f"{report.steps} in {report.seconds:.0f} s, {'' if report.converged else 'not '}converged",
        "bound": f"{report.bound}, {report.bound_per_label:.2f} nats a label",
        "seed": f"{config.seed}",
    }
    section.parts.append(side_by_side(figure("singular-values", drawn, caption), facts(rows)))
    return section
