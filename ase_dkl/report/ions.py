"""How the report shows a model of free ions: which ions are uncertain, the vibrations, and the distances it knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
from ase import Atoms
from numpy.typing import NDArray

from ase_dkl.arrays import Floats
from ase_dkl.figures.plots import BLUE, GREY, ORANGE
from ase_dkl.mechanics.phonons import WAVENUMBERS, Phonons, phonons
from ase_dkl.report.accuracy import of_training
from ase_dkl.report.attempt import attempt
from ase_dkl.report.blocks import Section, facts, figure, side_by_side, table
from ase_dkl.report.figures import empty_figure
from ase_dkl.wording import number

if TYPE_CHECKING:
    from ase_dkl.dataset import Dataset
    from ase_dkl.model.ionic_surrogate import IonicSurrogate

SHOWN = 24
"""Lines of a table, at most."""
MOST_MODES = 150
"""Modes that a page is worth waiting for."""
UNCERTAIN = [[0, "#F0E442"], [0.5, "#E69F00"], [1, "#D55E00"]]
_PIXELS = 30.0
"""Diameter of an atom in the picture for each Å of its covalent radius."""
_EDGES = [(i, i | 1 << axis) for i in range(8) for axis in range(3) if not i & 1 << axis]
"""Corners of a cell that are joined; a bit for each lattice vector that leads to a corner."""


def structure(model: IonicSurrogate, dataset: Dataset | None) -> Section:
    """Which ions the model is least sure of, on a picture of the reference and in a table.

    Args:
        model: of free ions.
        dataset: labelled rows, whose forces give each site an error.
    """
    section = Section("Structure", "Which ions are uncertain")
    # By symmetry some forces are zero in the reference, whatever the model knows.
    columns = {"σ in training": model.predict_points(model.points).slopes["displacement"].std}
    rows = None if dataset is None else dataset.subset(dataset.has_forces & ~of_training(model, dataset))
    if rows is None or not len(rows):
        section.missing.append(
            "Rows with forces that the model never saw (--data DATABASE) would tell each ion's error."
        )
    else:
        found = model.predict_points(rows.points).slopes["displacement"]
        columns |= {"σ in unseen rows": found.std, "error there": found.mean - rows.forces}
    by_site = {name: 1e3 * np.sqrt((values**2).mean(axis=(0, 2))) for name, values in columns.items()}
    shown = list(by_site)[min(1, len(by_site) - 1)]
    section.parts.append(side_by_side(_picture(model, shown, by_site[shown]), _sites(section, model, by_site)))
    return section


def _sites(section: Section, model: IonicSurrogate, by_site: dict[str, Floats]) -> str:
    """A table of the ions that move, those that symmetry makes equal in one line, the least certain first."""
    crystal, symbols = model.crystal, model.crystal.atoms().symbols
    orbits = crystal.operations.permutations.min(axis=0)
    lines = []
    for root in np.unique(orbits[crystal.mobile]):
        members = np.flatnonzero(orbits == root)
        names = ", ".join(map(str, members[:6])) + ", …" * (len(members) > 6)
        lines.append((str(symbols[root]), names, [float(values[members].mean()) for values in by_site.values()]))
    lines.sort(key=lambda line: -line[2][-1])
    if len(lines) > SHOWN:
        section.missing.append(f"The table has the {SHOWN} least certain of {len(lines)} kinds of ions.")
    rows = [[symbol, names, *(number(value, 3) for value in values)] for symbol, names, values in lines[:SHOWN]]
    caption = (
        "Forces on the ions, meV/Å, root mean square over components and structures; σ is the model's, without the "
        "labels' noise. Ions that symmetry makes equal share a line."
    )
    return table(["ion", "number", *by_site], rows, caption)


def _picture(model: IonicSurrogate, name: str, std: Floats) -> str:
    """The reference, its ions coloured by the standard deviation of their forces, meV/Å, shape (N,)."""
    from ase.data import covalent_radii

    atoms, mobile = model.crystal.atoms(), model.crystal.mobile
    x, y, z = atoms.positions.T
    sizes = _PIXELS * covalent_radii[atoms.numbers]
    names = np.array([f"{symbol} {i}" for i, symbol in enumerate(atoms.symbols)])
    drawn = empty_figure(height=440, specs=[[{"type": "scene"}]])
    lines = ((_bonds(atoms), 5), (_cell(atoms), 2))
    for points, width in lines:
        line = {"color": "#9a9a9a", "width": width}
        at = dict(zip("xyz", points.T, strict=True))
        drawn.add_trace(go.Scatter3d(mode="lines", line=line, hoverinfo="skip", showlegend=False, **at))
    bar = {"title": {"text": "σ of the force<br>(meV/Å)"}, "len": 0.7}
    looks: dict[str, dict[str, Any]]
    looks = {
        "moves": {"color": std[mobile], "colorscale": UNCERTAIN, "cmin": 0, "cmax": std.max(), "colorbar": bar},
        "held": {"color": GREY},
    }
    for (kind, look), members in zip(looks.items(), (mobile, ~mobile), strict=True):
        if members.any():
            marker = {"size": sizes[members], "opacity": 1, "line": {"width": 1, "color": "#444"}, **look}
            hover = "%{text}<br>σ %{marker.color:.3g} meV/Å<extra></extra>" if kind == "moves" else "%{text}, held"
            at = {"x": x[members], "y": y[members], "z": z[members], "text": names[members]}
            drawn.add_trace(go.Scatter3d(mode="markers", marker=marker, name=kind, hovertemplate=hover, **at))
    everything = np.concatenate([atoms.positions, *(points for points, _ in lines)])
    low, high = np.nanmin(everything, axis=0), np.nanmax(everything, axis=0)
    middle, half = (low + high) / 2, 0.5 * float((high - low).max())
    ranges = {f"{axis}axis_range": [at - half, at + half] for axis, at in zip("xyz", middle, strict=True)}
    drawn.update_layout(showlegend=not mobile.all(), margin={"l": 0, "r": 0, "t": 0, "b": 0})
    drawn.update_scenes(aspectmode="cube", xaxis_visible=False, yaxis_visible=False, zaxis_visible=False, **ranges)
    drawn.update_scenes(camera={"projection": {"type": "orthographic"}, "eye": {"x": 1.3, "y": 0.9, "z": 0.6}})
    caption = f"The reference, its ions coloured by the σ of their forces ({name}). Drag to turn it."
    return figure("picture", drawn, caption)


def _bonds(atoms: Atoms) -> Floats:
    """Half of every bond at each of its ends, a point that is none after each, shape (3 m, 3)."""
    from ase.neighborlist import natural_cutoffs, neighbor_list

    first, vectors = neighbor_list("iD", atoms, natural_cutoffs(atoms, mult=1.15))
    begin = atoms.positions[first]
    return _lines(begin, begin + vectors / 2)


def _cell(atoms: Atoms) -> Floats:
    """Edges of the cell along what is periodic."""
    corners = np.array([[(i >> axis) & 1 for axis in range(3)] for i in range(8)])
    edges = [(i, j) for i, j in _EDGES if not (corners[[i, j]] * ~atoms.pbc).any()]
    begin, end = (corners[[edge[side] for edge in edges]].reshape(-1, 3) @ atoms.cell.array for side in (0, 1))
    return _lines(begin, end)


def _lines(begin: Floats, end: Floats) -> Floats:
    return np.stack([begin, end, np.full_like(begin, np.nan)], axis=1).reshape(-1, 3)


def vibrations(model: IonicSurrogate) -> Section:
    """Frequencies at Γ, of the structure at rest."""
    section = Section("Vibrations", "Vibrations at Γ")
    modes = 3 * int(model.crystal.mobile.sum())
    if modes > MOST_MODES:
        section.missing.append(f"{modes} modes take a while: ase-dkl phonons MODEL has them.")
        return section
    found = attempt(section, lambda: phonons(model))
    if found is None or not found.groups:
        return section
    words = found.words()
    lowest, highest = words[next(iter(words))], list(words.values())[len(found.groups) - 1]
    names = {"lowest frequency": lowest, "highest frequency": highest}
    section.headlines = {name: text.split(", ")[0] for name, text in names.items()}
    if not found.stable:
        section.warnings.append("Some frequencies are imaginary: the structure is no minimum of the energy.")
    few = len(found.groups) <= SHOWN
    section.parts.append(side_by_side(_frequencies(found), facts(words)) if few else _frequencies(found))
    return section


def _frequencies(found: Phonons) -> str:
    frequency, std = np.array([[each.frequency_THz, each.frequency_THz_std] for each in found.groups]).T
    modes = [each.modes for each in found.groups]
    names = [f"{each[0] + 1}" if len(each) == 1 else f"{each[0] + 1}–{each[-1] + 1}" for each in modes]
    drawn = empty_figure(2, 1, height=420, shared_xaxes=True, vertical_spacing=0.06, row_heights=[0.62, 0.38])
    colour = np.where(frequency < 0, ORANGE, BLUE)
    bars = {"array": 2 * std, "thickness": 1.5, "width": 4, "color": "#444"}
    hover = "modes %{x}<br>%{y:.4g} THz<br>%{customdata:.5g} cm⁻¹<extra></extra>"
    look = {"mode": "markers", "marker": {"color": colour, "size": 7}, "error_y": bars, "hovertemplate": hover}
    drawn.add_trace(go.Scatter(x=names, y=frequency, customdata=WAVENUMBERS * frequency, **look), 1, 1)
    hover = "modes %{x}<br>2σ %{y:.3g} THz<extra></extra>"
    drawn.add_trace(go.Bar(x=names, y=2 * std, marker_color=colour, hovertemplate=hover), 2, 1)
    drawn.update_layout(showlegend=False)
    drawn.update_yaxes(title_text="frequency (THz)", row=1)
    drawn.update_yaxes(title_text="2σ (THz)", rangemode="tozero", row=2)
    drawn.update_xaxes(type="category")
    drawn.update_xaxes(title_text="modes, by frequency", row=2)
    caption = (
        "Frequencies of the structure at rest, of lattice and ions, with ± 2σ of the joint posterior; below, 2σ alone. "
        "Imaginary ones are negative. Polar crystals: without the field that parts longitudinal modes."
    )
    return figure("frequencies", drawn, caption)


def distances(model: IonicSurrogate) -> Section:
    """The range of every kind of distance, which a structure leaves when it leaves the data."""
    section = Section("Domain", "Distances and domain")
    space, domain = model.space, model.to_dict()["domain"]
    shortest, longest = space.ranges(model.points)
    kinds, counts = np.unique(space.kinds, return_counts=True)
    order: NDArray[np.int_] = np.argsort(space.lengths[kinds], kind="stable")[:SHOWN]
    rows = [
        [
            domain[kind]["name"].removeprefix("the distance ").split(" of ")[0],
            f"{counts[kind]}",
            *(f"{value:.3f}" for value in (domain[kind]["low"], shortest[:, kind].min())),
            f"{space.lengths[kinds[kind]]:.3f}",
            *(f"{value:.3f}" for value in (longest[:, kind].max(), domain[kind]["high"])),
        ]
        for kind in order
    ]
    if len(kinds) > SHOWN:
        section.missing.append(f"The table has the {SHOWN} shortest of {len(kinds)} kinds of distances.")
    head = ["pair", "in a cell", "inside from", "shortest", "reference", "longest", "inside to"]
    caption = (
        f"Distances that the model sees, Å, and their range in the {len(model.points)} training structures; those that "
        "symmetry makes equal share a line. A structure is inside the domain when all of them are within the limits."
    )
    section.parts.append(table(head, rows, caption))
    return section
