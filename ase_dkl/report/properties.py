"""How the report shows the equation of state and the elastic constants."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go
from ase.units import GPa

from ase_dkl.arrays import Floats
from ase_dkl.mechanics.elastic import ElasticConstants, elastic_constants
from ase_dkl.mechanics.eos import EquationOfState, equation_of_state
from ase_dkl.mechanics.equilibrium import Equilibrium
from ase_dkl.mechanics.moduli import moduli
from ase_dkl.mechanics.points import points_on_line
from ase_dkl.mechanics.sheet import N_PER_M, SheetConstants, sheet_constants
from ase_dkl.mechanics.stability import stability
from ase_dkl.plots import BLUE, ORANGE
from ase_dkl.report.attempt import attempt
from ase_dkl.report.blocks import Section, facts, figure, measured, side_by_side
from ase_dkl.report.figures import GREEK, banded, empty_figure

if TYPE_CHECKING:
    from ase_dkl.dataset import Dataset
    from ase_dkl.surrogate import Surrogate


def state(surrogate: Surrogate, dataset: Dataset | None) -> Section:
    """The equation of state of a bulk crystal or, in the area, of a sheet."""
    section = Section("Equation of state", "Equation of state")
    fitted = attempt(section, lambda: equation_of_state(surrogate))
    if fitted is None:
        return section
    shown = {
        "V0_A3": ("equilibrium volume V₀", "Å³"),
        "A0_A2": ("equilibrium area A₀", "Å²"),
        "E0_eV": ("energy there, E₀", "eV"),
        "B0_GPa": ("bulk modulus B₀", "GPa"),
        "B0_N_per_m": ("area modulus B₀", "N/m"),
        "B0_prime": ("its derivative B₀′", ""),
    }
    rows = {
        shown[name][0]: measured(value, std, shown[name][1])
        for name, value, std in zip(fitted.names, fitted.values, fitted.std, strict=True)
    }
    section.headlines = {name: rows[name] for name in list(rows) if "modulus" in name}
    words = "<p>The lattice in equilibrium is scaled without changing its shape. ± follows from the joint posterior of "
    words += "the energies, not from how well the curve fits.</p>"
    section.parts.append(side_by_side(_curve(surrogate, fitted, dataset), f"<div>{facts(rows)}{words}</div>"))
    return section


def _curve(surrogate: Surrogate, fitted: EquationOfState, dataset: Dataset | None) -> str:
    bulk = len(surrogate.crystal.periodic) == 3
    volumes = np.linspace(fitted.volumes.min(), fitted.volumes.max(), 121)
    mean, std = fitted.curve(volumes)
    zero = float(fitted.values[1])
    drawn = empty_figure(2, 1, height=460, shared_xaxes=True, vertical_spacing=0.05, row_heights=[0.62, 0.38])
    for trace in banded(volumes, mean - zero, 2 * std, "fitted curve"):
        drawn.add_trace(trace, 1, 1)
    own = {"mode": "markers", "marker": {"color": BLUE, "size": 5}, "name": "model", "x": fitted.volumes}
    drawn.add_trace(go.Scatter(y=fitted.energies - zero, **own), 1, 1)
    pressure, pressure_std = (each / (GPa if bulk else N_PER_M) for each in fitted.pressure(volumes))
    for trace in banded(volumes, pressure, 2 * pressure_std, "pressure"):
        drawn.add_trace(trace.update(showlegend=False), 2, 1)
    if dataset is not None and bulk:
        points = points_on_line(surrogate, "volume", dataset)
        near = (points.coordinate >= volumes[0]) & (points.coordinate <= volumes[-1])
        marker = {"color": "white", "size": 8, "line": {"color": ORANGE, "width": 1.6}}
        look = {"mode": "markers", "marker": marker, "name": "labels"}
        if near.any():
            drawn.add_trace(go.Scatter(x=points.coordinate[near], y=points.energies[near] - zero, **look), 1, 1)
    drawn.add_vline(fitted.values[0], line={"color": "#444", "width": 1, "dash": "dot"})
    drawn.update_yaxes(title_text="energy above E₀ (eV)", row=1)
    drawn.update_yaxes(title_text="pressure (GPa)" if bulk else "pressure in the plane (N/m)", row=2)
    drawn.update_xaxes(title_text="volume of a cell (Å³)" if bulk else "area of a cell (Å²)", row=2)
    caption = (
        "Birch–Murnaghan curve through the model's energies, with ± 2σ; beneath it, its pressure. It misses the "
        f"energies by {fitted.residual_meV:.3f} meV (root mean square)."
    )
    return figure("eos-curve", drawn, caption)


def elasticity(surrogate: Surrogate) -> Section:
    """Elastic constants and moduli, of a bulk crystal in GPa, of a sheet in N/m."""
    section = Section("Elasticity", "Elastic constants")
    if len(surrogate.crystal.periodic) == 2:
        of_sheet = attempt(section, lambda: sheet_constants(surrogate))
        if of_sheet is not None:
            _show(section, of_sheet.equilibrium, of_sheet.C_N_per_m, of_sheet.C_std_N_per_m, "N/m", _of_sheet(of_sheet))
        return section
    constants = attempt(section, lambda: elastic_constants(surrogate))
    if constants is not None:
        averages = attempt(section, lambda: _of_bulk(constants)) or {}
        _show(section, constants.equilibrium, constants.C_GPa, constants.C_std_GPa, "GPa", averages)
    return section


def _show(section: Section, found: Equilibrium, C: Floats, std: Floats, unit: str, averages: dict[str, str]) -> None:
    where = "in its plane, first lattice vector along x" if len(C) == 3 else "in the frame of IEEE Standard 176 (1987)"
    section.parts.append(
        f"<p>C<sub>ij</sub> = ∂σ<sub>i</sub>/∂ε<sub>j</sub> at the lattice without stress, {where}. ± follows from the "
        "joint posterior of stresses, and contains what the equilibrium's own uncertainty adds.</p>"
    )
    lattice: dict[str, list[str]] = {}
    for name, value, error in zip(found.names, found.lattice_parameters, found.lattice_parameters_std, strict=True):
        lattice.setdefault(measured(value, error, "Å" if len(name) == 1 else "°"), []).append(GREEK.get(name, name))
    rows = {f"equilibrium {' = '.join(names)}": text for text, names in lattice.items()}
    section.headlines = {f"lattice: {' = '.join(names)}": text for text, names in list(lattice.items())[:1]}
    section.parts.append(side_by_side(_stiffness(C, std, unit), facts({**rows, **averages})))


def _stiffness(C: Floats, std: Floats, unit: str) -> str:
    names = ["xx", "yy", "zz", "yz", "xz", "xy"] if len(C) == 6 else ["xx", "yy", "xy"]
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


def _of_bulk(constants: ElasticConstants) -> dict[str, str]:
    found = moduli(constants.C_GPa, constants.covariance)
    stable = stability(constants.C_GPa, constants.covariance)
    return {
        "bulk modulus (Hill)": measured(found.bulk_modulus_GPa, found.bulk_modulus_GPa_std, "GPa"),
        "shear modulus (Hill)": measured(found.shear_modulus_GPa, found.shear_modulus_GPa_std, "GPa"),
        "Young's modulus (Hill)": measured(found.young_modulus_GPa, found.young_modulus_GPa_std, "GPa"),
        "Poisson's ratio": measured(found.poisson_ratio, found.poisson_ratio_std),
        "universal anisotropy": measured(found.universal_anisotropy, found.universal_anisotropy_std),
        "smallest eigenvalue": measured(stable.smallest_eigenvalue_GPa, stable.smallest_eigenvalue_GPa_std, "GPa"),
        "stable (Born) with probability": f"{stable.stable_probability:.3g}",
        "ions": constants.ions,
    }


def _of_sheet(found: SheetConstants) -> dict[str, str]:
    along_x, along_y = zip(found.young_moduli_N_per_m, found.young_moduli_std_N_per_m, strict=True)
    return {
        "Young's modulus along x": measured(*along_x, "N/m"),
        "Young's modulus along y": measured(*along_y, "N/m"),
        "shear modulus": measured(found.shear_modulus_N_per_m, found.shear_modulus_std_N_per_m, "N/m"),
        "area modulus": measured(found.area_modulus_N_per_m, found.area_modulus_std_N_per_m, "N/m"),
        "Poisson's ratio": measured(found.poisson_ratio, found.poisson_ratio_std),
        "ions": found.ions,
    }
