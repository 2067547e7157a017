"""How the report shows the equation of state and the elastic constants."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from ase_dkl.arrays import Floats
from ase_dkl.crystal.lattice import VOIGT_NAMES
from ase_dkl.figures.plots import BLUE, ORANGE
from ase_dkl.mechanics.chain import ChainStiffness, chain_stiffness
from ase_dkl.mechanics.elastic import ElasticConstants, elastic_constants
from ase_dkl.mechanics.eos import EquationOfState, equation_of_state
from ase_dkl.mechanics.ionic_lattice import with_ions
from ase_dkl.mechanics.points import points_on_line
from ase_dkl.mechanics.sheet import SheetConstants, sheet_constants
from ase_dkl.model.surrogate import Surrogate
from ase_dkl.report.attempt import attempt
from ase_dkl.report.blocks import Section, facts, figure, measured, side_by_side
from ase_dkl.report.figures import banded, empty_figure
from ase_dkl.wording import number

if TYPE_CHECKING:
    from ase_dkl.dataset import Dataset
    from ase_dkl.model.lattice_energy import LatticeEnergy
    from ase_dkl.model.loading import Loaded


def state(surrogate: Loaded, dataset: Dataset | None) -> Section:
    """The equation of state of a bulk crystal or, in the area, of a sheet; free ions are relaxed."""
    section = Section("Equation of state", "Equation of state")
    fitted = attempt(section, lambda: equation_of_state(with_ions(surrogate, None)))
    if fitted is None:
        return section
    rows = fitted.words()
    section.headlines = {name: rows[name] for name in rows if "modulus" in name}
    ions = "" if isinstance(surrogate, Surrogate) else ", and ions come to rest in every cell"
    words = f"<p>The lattice in equilibrium is scaled without changing its shape{ions}. ± follows from the joint "
    words += "posterior of the energies, not from how well the curve fits.</p>"
    section.parts.append(side_by_side(_curve(surrogate, fitted, dataset), f"<div>{facts(rows)}{words}</div>"))
    return section


def _curve(surrogate: Loaded, fitted: EquationOfState, dataset: Dataset | None) -> str:
    bulk = surrogate.crystal.dimension == 3
    volumes = np.linspace(fitted.volumes.min(), fitted.volumes.max(), 121)
    mean, std = fitted.curve(volumes)
    zero = float(fitted.values[1])
    drawn = empty_figure(2, 1, height=460, shared_xaxes=True, vertical_spacing=0.05, row_heights=[0.56, 0.44])
    for trace in banded(volumes, mean - zero, 2 * std, "fitted curve"):
        drawn.add_trace(trace, 1, 1)
    own = {"mode": "markers", "marker": {"color": BLUE, "size": 5}, "name": "model", "x": fitted.volumes}
    drawn.add_trace(go.Scatter(y=fitted.energies - zero, **own), 1, 1)
    lower = {"showlegend": False, "y": 1e3 * fitted.residuals}
    for trace in banded(volumes, np.zeros_like(volumes), 2e3 * std, "fitted curve"):
        drawn.add_trace(trace.update(showlegend=False), 2, 1)
    drawn.add_trace(go.Scatter(**own, **lower), 2, 1)
    if dataset is not None and bulk and isinstance(surrogate, Surrogate):
        points = points_on_line(surrogate, "volume", dataset)
        near = (points.coordinate >= volumes[0]) & (points.coordinate <= volumes[-1])
        marker = {"color": "white", "size": 8, "line": {"color": ORANGE, "width": 1.6}}
        look = {"mode": "markers", "marker": marker, "name": "labels"}
        if near.any():
            x, energies = points.coordinate[near], points.energies[near]
            drawn.add_trace(go.Scatter(x=x, y=energies - zero, **look), 1, 1)
            off = 1e3 * (energies - fitted.curve(x)[0])
            drawn.add_trace(go.Scatter(x=x, y=off, showlegend=False, **look), 2, 1)
    drawn.add_vline(fitted.values[0], line={"color": "#444", "width": 1, "dash": "dot"})
    drawn.update_yaxes(title_text="energy above E₀ (eV)", row=1)
    drawn.update_yaxes(title_text="above the curve (meV)", row=2)
    drawn.update_xaxes(title_text="volume of a cell (Å³)" if bulk else "area of a cell (Å²)", row=2)
    caption = (
        "Birch–Murnaghan curve through the model's energies; beneath it, how far they and the labels are from it, with "
        f"the curve's ± 2σ. It misses the model's energies by {number(fitted.residual_meV, 3)} meV (root mean square)."
    )
    return figure("eos-curve", drawn, caption)


def elasticity(surrogate: Loaded) -> Section:
    """Elastic constants and moduli, of a bulk crystal in GPa, of a sheet in N/m; free ions are relaxed."""
    section = Section("Elasticity", "Elastic constants")
    by_dimension: dict[int, Callable[[LatticeEnergy], ElasticConstants | SheetConstants | ChainStiffness]]
    by_dimension = {1: chain_stiffness, 2: sheet_constants, 3: elastic_constants}
    constants = by_dimension[surrogate.crystal.dimension]
    found = attempt(section, lambda: constants(with_ions(surrogate, None)))
    if isinstance(found, ElasticConstants):
        _show(section, found, found.C_GPa, found.C_std_GPa, "GPa")
    elif isinstance(found, SheetConstants):
        _show(section, found, found.C_N_per_m, found.C_std_N_per_m, "N/m")
    elif found is not None:
        words = found.words()
        section.headlines = {"stiffness": words["stiffness"]}
        section.parts.append(facts({**words, "ions": found.ions}))
    return section


def _show(section: Section, found: ElasticConstants | SheetConstants, C: Floats, std: Floats, unit: str) -> None:
    where = "in its plane, first lattice vector along x" if len(C) == 3 else "in the frame of IEEE Standard 176 (1987)"
    section.parts.append(
        f"<p>C<sub>ij</sub> = ∂σ<sub>i</sub>/∂ε<sub>j</sub> at the lattice without stress, {where}. ± follows from the "
        "joint posterior of stresses, and contains what the equilibrium's own uncertainty adds.</p>"
    )
    lattice = found.equilibrium.lattice_words()
    section.headlines = {f"lattice: {names}": text for names, text in list(lattice.items())[:1]}
    if found.missing:
        section.warnings.append(found.missing)
    rows = facts({**found.words(), "ions": found.ions})
    section.parts.append(rows if found.undetermined else side_by_side(_stiffness(C, std, unit), rows))


def _stiffness(C: Floats, std: Floats, unit: str) -> str:
    names = list(VOIGT_NAMES) if len(C) == 6 else ["xx", "yy", "xy"]
    largest = float(np.abs(C).max())
    nothing = (np.abs(C) < 1e-6 * largest) & (std < 1e-6 * largest)
    text = [
        [
            "0" if none else measured(value, error).replace(" ± ", "<br>± ")
            for none, value, error in zip(*row, strict=True)
        ]
        for row in zip(nothing, C, std, strict=True)
    ]
    drawn = empty_figure(height=470 if len(C) == 6 else 340)
    drawn.add_trace(
        go.Heatmap(
            z=np.where(nothing, 0, C),
            x=names,
            y=names,
            text=text,
            texttemplate="%{text}",
            customdata=std,
            hovertemplate=f"∂σ(%{{y}})/∂ε(%{{x}})<br>%{{z:.2f}} ± %{{customdata:.2f}} {unit}<extra></extra>",
            colorscale=[[0, ORANGE], [0.5, "#ffffff"], [1, BLUE]],
            # Numbers stay readable on the strongest colour in use.
            zmin=-1.5 * largest,
            zmax=1.5 * largest,
            showscale=False,
            xgap=2,
            ygap=2,
        )
    )
    drawn.update_yaxes(autorange="reversed", type="category", title_text="stress", showgrid=False)
    drawn.update_xaxes(type="category", title_text="strain", showgrid=False)
    return figure(
        "elastic-constants", drawn, f"Elastic constants in {unit}, each with its standard deviation; 0 by symmetry."
    )
