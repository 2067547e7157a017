"""How the report shows scans."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from ase_dkl.arrays import Floats
from ase_dkl.crystal.lattice import volumes
from ase_dkl.figures.plots import ORANGE, axis_label
from ase_dkl.mechanics.paths import ANGLES
from ase_dkl.mechanics.points import Points, points_on_line
from ase_dkl.mechanics.scan import Scan, scan_along
from ase_dkl.report.attempt import attempt
from ase_dkl.report.blocks import Section, figure, side_by_side
from ase_dkl.report.figures import banded, empty_figure, shade

if TYPE_CHECKING:
    from ase_dkl.dataset import Dataset
    from ase_dkl.model.surrogate import Surrogate

BEYOND = 0.15
"""How far a scan goes beyond the domain on either side, as a part of its width."""
POINTS = 121


def scans(surrogate: Surrogate, dataset: Dataset | None) -> Section:
    """A scan along every lattice parameter that symmetry does not make equal to another, and along the volume."""
    section = Section("Scans", "Scans through the reference lattice")
    lines = distinct_parameters(surrogate) + (["volume"] if surrogate.crystal.dimension == 3 else [])
    drawn = [attempt(section, partial(_scan, surrogate, along, dataset)) for along in lines]
    section.parts.append(
        "<p>One quantity at a time is changed, all else as in the reference; lattice parameters that symmetry makes "
        "equal are shown once. Upper row: energy with ± 2σ of the model. Lower row: ± 2σ of model and noise together, "
        "in which labels are judged. Grey: outside the training domain.</p>"
    )
    section.parts.append(side_by_side(*(each for each in drawn if each is not None)))
    if dataset is None:
        section.missing.append("No labels are drawn: there are none in a model file. Name some with --data DATABASE.")
    return section


def distinct_parameters(surrogate: Surrogate) -> list[str]:
    """Names of the lattice parameters whose lines are no symmetry images of an earlier one's."""
    distinct: list[str] = []
    found: list[Floats] = []
    for name in scan_names(surrogate):
        cell = scan_along(surrogate, name, [2.0 if name in ANGLES else 0.02], stress=False).cells
        parameters = surrogate.space.parameters(cell)[0]
        if not any(np.isclose(parameters, earlier, atol=1e-6).all(axis=1).any() for earlier in found):
            distinct.append(name)
            found.append(parameters[0])
    return distinct


def scan_names(surrogate: Surrogate) -> tuple[str, ...]:
    """Lattice parameters of the periodic axes by the names that scans have for them."""
    axes = [int(axis) for axis in surrogate.crystal.periodic]
    angles = {(1, 2): "alpha", (0, 2): "beta", (0, 1): "gamma"}
    between = [angles[pair] for pair in angles if set(pair) <= set(axes)]
    return (*("abc"[axis] for axis in axes), *between)


def _scan(surrogate: Surrogate, along: str, dataset: Dataset | None) -> str:
    points = points_on_line(surrogate, along, dataset) if dataset is not None else None
    if points is not None and not len(points.coordinate):
        points = None
    scan = scan_along(surrogate, along, _offsets(surrogate, along, points), stress=False)
    drawn = empty_figure(2, 1, height=460, shared_xaxes=True, vertical_spacing=0.05, row_heights=[0.62, 0.38])
    zero = float(scan.prediction.energy.min())
    for trace in banded(
        scan.coordinate, scan.prediction.energy - zero, 2 * scan.prediction.energy_uncertainty, "model"
    ):
        drawn.add_trace(trace, 1, 1)
    total = 2e3 * scan.prediction.value.total
    for trace in banded(scan.coordinate, np.zeros_like(total), total, "± 2σ with noise"):
        drawn.add_trace(trace.update(showlegend=False), 2, 1)
    if points is not None:
        marker = {"color": "white", "size": 7, "line": {"color": ORANGE, "width": 1.6}}
        look = {"x": points.coordinate, "mode": "markers", "marker": marker, "name": "labels", "legendgroup": "labels"}
        drawn.add_trace(go.Scatter(y=points.energies - zero, **look), 1, 1)
        drawn.add_trace(go.Scatter(y=1e3 * points.errors, showlegend=False, **look), 2, 1)
    shade(drawn, scan.coordinate, scan.outside)
    drawn.update_yaxes(title_text="energy (eV per cell)", row=1)
    what = "± 2σ" if points is None else "model − label"
    drawn.update_yaxes(title_text=f"{what} (meV)", range=_inside_range(scan, total, points), row=2)
    drawn.update_xaxes(title_text=axis_label(along), row=2)
    caption = f"Along {axis_label(along).split(' (')[0]}"
    caption += f", with the {len(points.coordinate)} labelled rows on this line." if points is not None else "."
    if dataset is not None and points is None:
        caption += " No labelled row lies on this line."
    return figure(f"scan-{along}", drawn, caption)


def _inside_range(scan: Scan, total: Floats, points: Points | None) -> list[float]:
    """Range of the errors inside the domain: beyond it they are a hundred times larger."""
    inside = total[~scan.outside] if not scan.outside.all() else total
    largest = float(inside.max())
    if points is not None:
        within = np.interp(points.coordinate, scan.coordinate, scan.outside) < 0.5
        largest = max(largest, 1e3 * float(np.abs(points.errors[within]).max(initial=0)))
    return [-1.3 * largest, 1.3 * largest]


def _offsets(surrogate: Surrogate, along: str, points: Points | None) -> Floats:
    """Offsets from somewhat below training lattices and labels to somewhat above: fractions, or degrees for angles."""
    if along == "volume":
        reference, values = float(volumes(surrogate.crystal.cell)), volumes(surrogate.cells)
    else:
        column = scan_names(surrogate).index(along)
        reference = float(surrogate.space.reference[column])
        values = surrogate.space.parameters(surrogate.cells)[..., column]
    unit = 1.0 if along in ANGLES else reference
    least = 2.0 if along in ANGLES else 0.02
    low, high = min(values.min() - reference, -least * unit), max(values.max() - reference, least * unit)
    margin = BEYOND * (high - low)
    reached = np.array([low - margin, high + margin, *(points.coordinate - reference if points is not None else ())])
    return np.linspace(reached.min(), reached.max(), POINTS) / unit
