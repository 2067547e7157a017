"""How the report shows errors and calibration."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from ase_dkl.figures.plots import BLUE, GREY, ORANGE
from ase_dkl.model.evaluation import FEWEST_JUDGED, evaluate, extrapolation_of
from ase_dkl.model.surrogate import Surrogate
from ase_dkl.model.verdict import disagreement
from ase_dkl.report.blocks import Section, facts, figure, side_by_side
from ase_dkl.report.calibration import calibration_figure, coverage_figure
from ase_dkl.report.compared import Compared, compared
from ase_dkl.report.figures import DECADES, LOG_TICKS, empty_figure
from ase_dkl.wording import number

if TYPE_CHECKING:
    from ase_dkl.dataset import Dataset
    from ase_dkl.model.loading import Loaded
    from ase_dkl.model.records import Evaluation

SAME = 1e-6
"""Difference in standard deviations of the lattice parameters, or in Å of distances between ions, within which a row is
one of the training."""
SHOWN = 2000
"""Rows in a figure, at most; of stresses six times as many numbers, and as many forces."""
KINDS = {
    "new": ("not in training", {"color": BLUE, "symbol": "circle"}),
    "outside": ("not in training, outside the domain", {"color": ORANGE, "symbol": "diamond"}),
    "seen": ("in training", {"color": GREY, "symbol": "circle-open"}),
}


def accuracy(surrogate: Loaded, dataset: Dataset | None) -> Section:
    """Errors and calibration on labelled rows, or what training found on held-out ones.

    Args:
        surrogate: the model.
        dataset: labelled rows; rows that the model was trained on are told from the others.
    """
    section = Section("Errors", "Errors and calibration")
    if dataset is None:
        _as_trained(section, surrogate)
        return section
    seen = of_training(surrogate, dataset)
    judged = ~seen if not seen.all() else seen
    if seen.all():
        section.warnings.append("The model was trained on every one of these rows: these are no errors on unseen data.")
    kind = np.where(seen, "seen", np.where(extrapolation_of(surrogate, dataset).outside, "outside", "new"))
    rows = dataset.subset(judged)
    words = f"{int(judged.sum())} labelled rows"
    if not seen.all():
        words += " that the model never saw"
    words += ". Energies are per reference cell; σ is the model's uncertainty and the labels' noise together."
    if seen.any() and not seen.all():
        words += f" {int(seen.sum())} rows of the training are drawn in grey, and not counted."
    section.parts.append(f"<p>{words}</p>")
    evaluation = evaluate(surrogate, rows)
    enough = len(rows) >= FEWEST_JUDGED
    telling = evaluation if enough and not seen.all() else surrogate.report.errors
    section.headlines = {} if telling is None else _headlines(telling)
    if (words_of_labels := disagreement(surrogate, rows)) is not None:
        section.warnings.append(words_of_labels)
    quantities = compared(surrogate, dataset)
    counted = [(q, judged[q.row]) for q in quantities]
    numbers = facts(evaluation.words())
    section.parts.append(side_by_side(numbers, calibration_figure(counted)) if enough else numbers)
    step = max(len(dataset), *(len(q.label) // 6 for q in quantities)) / SHOWN
    thinned = np.arange(0, len(dataset), max(1, math.ceil(step)))
    drawn = [draw(q, dataset.ids, kind, thinned) for draw in (_parity, _errors_against_uncertainty) for q in quantities]
    section.parts.append(side_by_side(*drawn, *([coverage_figure(counted)] if enough else [])))
    if not enough:
        section.missing.append(f"{len(rows)} rows tell nothing of error bars: no calibration, no coverage.")
    if len(thinned) < len(dataset):
        section.missing.append(f"The figures draw {len(thinned)} of the {len(dataset)} rows; the numbers are of all.")
    return section


def of_training(surrogate: Loaded, dataset: Dataset) -> NDArray[np.bool_]:
    """Which rows are of the training, shape (n,)."""
    if isinstance(surrogate, Surrogate):
        return surrogate.extrapolation(dataset.cells).distance < SAME
    from scipy.spatial.distance import cdist

    # Distances stay as they are where a structure is turned, shifted or one of its images by symmetry.
    given, known = (np.sort(surrogate.space.distances(each)[1]) for each in (dataset.points, surrogate.points))
    return np.asarray(cdist(given, known, "chebyshev").min(axis=1) < SAME)


def _headlines(found: Evaluation) -> dict[str, str]:
    shown = {}
    if found.energy_rmse_meV is not None:
        shown[f"energy error (RMS of {found.n} rows)"] = f"{number(found.energy_rmse_meV, 2)} meV"
    if found.force_rmse_meV_A is not None:
        shown[f"force error (RMS of {found.n} rows)"] = f"{number(found.force_rmse_meV_A, 2)} meV/Å"
    if found.stress_rmse_GPa is not None:
        shown[f"stress error (RMS of {found.n} rows)"] = f"{number(found.stress_rmse_GPa, 2)} GPa"
    if found.coverage_95 is not None:
        shown["energies in the 95 % band"] = f"{found.coverage_95:.1%}"
    return shown


def _as_trained(section: Section, surrogate: Loaded) -> None:
    report = surrogate.report
    errors = report.errors
    reason = "Parity, error against uncertainty and the calibration curve need labelled rows, which a model file does "
    reason += "not hold: make the report with --data DATABASE to see them."
    if errors is None:
        section.missing.append(f"No errors are known: no rows were held out when the model was trained. {reason}")
        return
    words = "Before the saved model was trained, one was trained without some rows. On these"
    if errors is report.left_out:
        by = "by the one network that was trained without it from all others"
        by = by if isinstance(surrogate, Surrogate) else "from the labels of all others"
        words = f"Each of the {errors.n} rows, predicted {by}"
    section.parts.append(f"<p>{words}, σ being the model's uncertainty and the labels' noise together:</p>")
    section.headlines = _headlines(errors)
    section.parts.append(facts(errors.words()))
    section.missing.append(reason)


def _groups(q: Compared, kind: NDArray[Any], thinned: NDArray[np.int_]) -> list[tuple[str, Any, NDArray[np.bool_]]]:
    """Name, marker and members of the kinds of rows that there are."""
    drawn = np.isin(q.row, thinned)
    groups = [(name, marker, drawn & (kind[q.row] == each)) for each, (name, marker) in KINDS.items()]
    return [group for group in groups if group[2].any()]


def _parity(q: Compared, ids: NDArray[Any], kind: NDArray[Any], thinned: NDArray[np.int_]) -> str:
    small, factor = q.small
    drawn = empty_figure(2, 1, height=520, shared_xaxes=True, vertical_spacing=0.05, row_heights=[0.6, 0.4])
    low, high = float(q.label.min()), float(q.label.max())
    line = {"mode": "lines", "line": {"color": "#444", "width": 1}, "showlegend": False, "hoverinfo": "skip"}
    drawn.add_trace(go.Scatter(x=[low, high], y=[low, high], **line), 1, 1)
    drawn.add_trace(go.Scatter(x=[low, high], y=[0, 0], **line), 2, 1)
    for name, marker, members in _groups(q, kind, thinned):
        look = {
            "mode": "markers",
            "marker": {"size": 6, **marker},
            "legendgroup": name,
            "name": name,
            "x": q.label[members],
            "customdata": ids[q.row[members]],
        }
        hover = "row %{customdata}<br>label %{x:.4f}<br>"
        drawn.add_trace(go.Scatter(y=q.predicted[members], hovertemplate=hover + "model %{y:.4f}", **look), 1, 1)
        error = factor * (q.predicted - q.label)[members]
        bars = {"array": 2 * factor * q.total[members], "thickness": 1, "width": 0, "color": "rgba(0,0,0,0.28)"}
        hover += f"error %{{y:.3f}} {small}"
        drawn.add_trace(go.Scatter(y=error, error_y=bars, showlegend=False, hovertemplate=hover, **look), 2, 1)
    drawn.update_yaxes(title_text=f"model ({q.unit})", row=1)
    drawn.update_yaxes(title_text=f"model − label ({small})", row=2)
    drawn.update_xaxes(title_text=q.title, row=2)
    caption = f"Predicted {q.name} against its label, and what is left between them with ± 2σ."
    if q.name == "stress":
        caption += " The labels' fitted offset (Pulay stress) is taken off them."
    return figure(f"parity-{q.name}", drawn, caption)


def _errors_against_uncertainty(q: Compared, ids: NDArray[Any], kind: NDArray[Any], thinned: NDArray[np.int_]) -> str:
    small, factor = q.small
    drawn = empty_figure(height=360)
    size = factor * np.abs(q.predicted - q.label)
    total = factor * q.total
    # Wide enough for some ticks where all uncertainties are alike.
    widen = max(1.15, 2.5 / np.sqrt(total.max() / total.min()))
    ends = np.array([total.min() / widen, total.max() * widen])
    for multiple, dash in ((1, "solid"), (2, "dot")):
        text = "|error| = σ" if multiple == 1 else "|error| = 2σ"
        line = {"color": "#444", "width": 1, "dash": dash}
        drawn.add_trace(go.Scatter(x=ends, y=multiple * ends, mode="lines", line=line, name=text, hoverinfo="skip"))
    # Components that symmetry makes zero in label and model have no place on logarithmic axes.
    exact = size < 1e-9
    for name, marker, group in _groups(q, kind, thinned):
        members = group & ~exact
        drawn.add_trace(
            go.Scatter(
                x=total[members],
                y=size[members],
                mode="markers",
                marker={"size": 6, "opacity": 0.75, **marker},
                name=name,
                showlegend=False,
                customdata=ids[q.row[members]],
                hovertemplate=f"row %{{customdata}}<br>σ %{{x:.3g}} {small}<br>error %{{y:.3g}} {small}",
            )
        )
    title = f"σ of the {q.name}, model and noise ({small})"
    drawn.update_xaxes(title_text=title, range=np.log10(ends).tolist(), **LOG_TICKS)
    drawn.update_yaxes(title_text=f"|model − label| ({small})", **DECADES)
    caption = f"Size of the {q.name} errors against what the model expects; 95 of 100 belong below the dotted line."
    if exact.any():
        caption += f" {int(exact.sum())} that are exactly zero by symmetry are not drawn."
    return figure(f"uncertainty-{q.name}", drawn, caption)
