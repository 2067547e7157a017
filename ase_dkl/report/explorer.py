"""The strain explorer: the model itself, for the page's script to evaluate."""

from __future__ import annotations

import base64
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np

from ase_dkl.arrays import Floats
from ase_dkl.figures.plots import BLUE, GREY, ORANGE
from ase_dkl.model.domain import MARGIN
from ase_dkl.model.model_file import unpack
from ase_dkl.model.posterior import spread_factor
from ase_dkl.report.blocks import Section, json_script
from ase_dkl.report.figures import LOG_TICKS, empty_figure

if TYPE_CHECKING:
    from ase_dkl.model.surrogate import Surrogate

BEYOND = 0.2
"""How far sliders go beyond the domain on either side, as a part of its width."""
MOST_LATTICES = 4096
"""Training lattices in the page, at most; with more of them it judges by the ranges alone."""

_HTML = """
<p>Move the lattice parameters: the model itself runs in this page, {networks} on {images}.</p>
<div id="panel">
  <div class="controls">
    <div id="explorer-sliders"></div>
    <button type="button" id="explorer-reset">Back to the reference</button>
    <p id="explorer-domain" role="status"></p>
  </div>
  <div class="readings">
    <div class="reading"><b>energy</b> <output id="explorer-energy"></output> eV per cell
      <small>± <output id="explorer-uncertainty"></output> meV</small></div>
    <div class="reading"><b>above the reference</b> <output id="explorer-relative"></output> meV</div>
    <div class="reading"><b>{size}</b> <output id="explorer-size"></output> <span id="explorer-size-unit"></span></div>
    <table><caption>{stress} (<span id="explorer-stress-unit"></span>), tension positive, first lattice vector along
      x, second in the xy plane</caption><tbody id="explorer-stress"></tbody></table>
    <svg id="explorer-cell" role="img" aria-label="the cell, over the reference in grey"></svg>
  </div>
  <div id="explorer-plot" class="plot"></div>
</div>
<p class="caption">Upper panel: energy along the parameter moved last, the others as set, with ± 2σ of the model. Lower
panel: σ. Grey: outside the training domain{unless}.</p>
"""


def explorer(surrogate: Surrogate) -> Section:
    """Sliders for the lattice parameters, and what the model says of the lattice that they make."""
    section = Section("Explorer", "Strain explorer")
    kind, networks, images = surrogate.crystal.kind, surrogate.config.networks, len(surrogate.crystal.images)
    few = len(surrogate.cells) <= MOST_LATTICES
    html = _HTML.format(
        networks=f"{networks} network{'s' * (networks > 1)}",
        images=f"{images} symmetry image{'s' * (images > 1)}",
        size=kind.size,
        stress=kind.stress,
        unless="" if few else ", judged by the ranges alone: the training lattices are too many for a page",
    )
    here = files("ase_dkl.report")
    scripts = (here.joinpath(name).read_text(encoding="utf-8") for name in ("model.js", "explorer.js"))
    section.parts += [html, json_script("model", model_data(surrogate))]
    section.parts += [f"<script>\n{script}\n</script>" for script in scripts]
    return section


def model_data(surrogate: Surrogate) -> dict[str, Any]:
    """All that the page's script needs to predict; arrays are float64 in base64."""
    header, tensors = unpack(surrogate.to_bytes(), "This model")
    crystal, config, space = surrogate.crystal, surrogate.config, surrogate.space
    reference, parameters = space.reference, space.parameters(surrogate.cells)
    centre, scale = tensors["scaling.centre"], tensors["scaling.scale"]
    coordinates = (parameters - centre) / scale
    low, high = coordinates.min(axis=(0, 1)), coordinates.max(axis=(0, 1))
    margin = MARGIN * (high - low)
    lattices = coordinates[:, 0] if len(coordinates) <= MOST_LATTICES else coordinates[:0, 0]
    beyond = BEYOND * (high - low)
    arrays = {"centre": centre, "scale": scale, "low": low - margin, "high": high + margin, "lattices": lattices}
    layers = [(tensors[f"layer{i}.weight"], tensors[f"layer{i}.bias"]) for i in range(config.depth + 2)]
    names = {"amplitude": "scale"} | {n: n for n in ("points", "lengthscale", "whitening", "factor", "weights")}
    return {
        "names": list(space.names),
        "reference": reference.tolist(),
        "slider_low": (centre + scale * (low - beyond)).tolist(),
        "slider_high": (centre + scale * (high + beyond)).tolist(),
        "images": crystal.images.tolist(),
        "networks": config.networks,
        "kernel": config.kernel,
        **_encoded_within(surrogate.mean.constants()),
        "spread_factor": spread_factor(config.networks) if config.networks > 1 else 0.0,
        "reach": surrogate.extrapolation(crystal.cell[None]).reach,
        "units": header["scaling"],
        **{name: _encoded(array) for name, array in arrays.items()},
        "layers": [[_encoded(weight), _encoded(bias)] for weight, bias in layers],
        "posterior": {name: _encoded(tensors[f"posterior.{stored}"]) for name, stored in names.items()},
        "atoms": _atoms(surrogate),
        "colours": {"blue": BLUE, "orange": ORANGE, "grey": GREY},
        "layout": _layout(),
    }


def _encoded_within(value: Any) -> Any:
    """Plain values whose arrays are encoded."""
    if isinstance(value, dict):
        return {name: _encoded_within(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_encoded_within(each) for each in value]
    return _encoded(value) if isinstance(value, np.ndarray) else value


def _encoded(array: Floats) -> dict[str, Any]:
    content = np.ascontiguousarray(array, dtype="<f8")
    return {"shape": list(array.shape), "data": base64.b64encode(content.tobytes()).decode()}


def _atoms(surrogate: Surrogate) -> list[dict[str, Any]]:
    """Atoms of the cell and their copies on its faces, by fractions of the periodic vectors and Å across them."""
    from ase.data import chemical_symbols, covalent_radii
    from ase.data.colors import jmol_colors

    crystal = surrogate.crystal
    periodic = list(crystal.periodic)
    across = [axis for axis in range(3) if axis not in periodic]
    middle = crystal.scaled_positions[:, across].mean(axis=0)
    drawn: list[dict[str, Any]] = []
    for number, position in zip(crystal.numbers, crystal.scaled_positions, strict=True):
        inside = position[periodic] % 1
        inside[inside > 1 - 1e-6] = 0
        copies = np.stack(np.meshgrid(*([0, 1] if x < 1e-6 else [0] for x in inside)), -1).reshape(-1, len(periodic))
        colour = "#" + "".join(f"{round(255 * float(c)):02x}" for c in jmol_colors[number])
        symbol = chemical_symbols[number]
        look = {"colour": colour, "radius": 0.4 * float(covalent_radii[number]), "symbol": symbol}
        offsets = (position[across] - middle).tolist()
        drawn += [{"position": [*(inside + copy).tolist(), *offsets], **look} for copy in copies]
    return drawn


def _layout() -> dict[str, Any]:
    drawn = empty_figure(2, 1, height=420, shared_xaxes=True, vertical_spacing=0.06, row_heights=[0.65, 0.35])
    drawn.update_yaxes(title_text="energy above the reference (eV)", row=1)
    drawn.update_yaxes(title_text="σ (meV)", row=2, **LOG_TICKS)
    # A margin that follows the labels would move the panels with the sliders.
    drawn.update_yaxes(automargin=False)
    drawn.update_layout(margin={"t": 10, "l": 84})
    layout: dict[str, Any] = drawn.layout.to_plotly_json()
    # The axis that both panels share carries the title.
    layout["xaxis"] |= {"anchor": "y2", "showticklabels": True, "title": {"text": ""}}
    layout["xaxis"].pop("matches")
    layout.pop("xaxis2")
    layout["yaxis2"]["anchor"] = "x"
    return layout
