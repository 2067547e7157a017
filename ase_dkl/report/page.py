"""The page: one HTML file with everything in it."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from plotly.offline import get_plotlyjs

from ase_dkl.model.surrogate import Surrogate
from ase_dkl.model.verdict import faults
from ase_dkl.report.accuracy import accuracy
from ase_dkl.report.blocks import Section, facts, measured
from ase_dkl.report.explorer import explorer
from ase_dkl.report.ions import distances, structure, vibrations
from ase_dkl.report.properties import elasticity, state
from ase_dkl.report.scans import scans
from ase_dkl.report.training_data import domain, networks
from ase_dkl.wording import number

if TYPE_CHECKING:
    from ase_dkl.dataset import Dataset
    from ase_dkl.model.loading import Loaded

WHAT = {
    False: "energy of the strained lattice, from a deep-kernel surrogate",
    True: "energy of its ions, from a Gaussian process on what is around them",
}
"""What a page is of, by whether ions are free."""


def sections(surrogate: Loaded, dataset: Dataset | None) -> dict[str, Callable[[], Section]]:
    """What the page consists of, in order: what is being made, and how."""
    errors = {"errors": lambda: accuracy(surrogate, dataset)}
    properties = {
        "equation of state": lambda: state(surrogate, dataset),
        "elastic constants": lambda: elasticity(surrogate),
    }
    if isinstance(surrogate, Surrogate):
        return {
            **errors,
            "explorer": lambda: explorer(surrogate),
            "scans": lambda: scans(surrogate, dataset),
            **properties,
            "domain": lambda: domain(surrogate),
            "networks": lambda: networks(surrogate),
        }
    return {
        **errors,
        "structure": lambda: structure(surrogate, dataset),
        "vibrations": lambda: vibrations(surrogate),
        **(properties if surrogate.crystal.dimension else {}),
        "domain": lambda: distances(surrogate),
    }


def page(surrogate: Loaded, name: str, parts: list[Section], dataset: Dataset | None) -> str:
    """Put sections together.

    Args:
        surrogate: the model.
        name: of its file.
        parts: in order.
        dataset: the rows that it is compared with.

    Returns:
        A whole HTML document that needs nothing from elsewhere.
    """
    here = files("ase_dkl.report")
    template = Template(here.joinpath("page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(f"{surrogate.crystal.formula}: {name}"),
        formula=_formula(surrogate.crystal.formula),
        what=WHAT[surrogate.crystal.ions == "free"],
        style=here.joinpath("style.css").read_text(encoding="utf-8"),
        plotly=get_plotlyjs(),
        header=_header(surrogate, name, dataset),
        headlines="".join(_headline(name, value) for part in parts for name, value in part.headlines.items()),
        links=" ".join(f'<a href="#{part.identity}">{part.name}</a>' for part in parts),
        sections="\n".join(part.html() for part in parts),
        digest=surrogate.digest,
    )


def _headline(name: str, value: str) -> str:
    number, *error = escape(value).split(" ± ")
    small = "".join(f" <small>± {each}</small>" for each in error)
    return f"<li><span>{escape(name)}</span><b>{number}{small}</b></li>"


def _formula(formula: str) -> str:
    return "".join(f"<sub>{char}</sub>" if char.isdigit() else escape(char) for char in formula)


def _header(surrogate: Loaded, name: str, dataset: Dataset | None) -> str:
    crystal, report = surrogate.crystal, surrogate.report
    settings = report.dataset.get("settings") or {}
    free = crystal.ions == "free"
    images, what = (len(crystal.operations.rotations), "operation") if free else (len(crystal.images), "symmetry image")
    group = "space group" if crystal.dimension else "point group"
    rows = {
        "model": name,
        group: f"{crystal.space_group}; {images} {what}{'s' * (images > 1)}",
        "ions": f"{crystal.ions}",
        "trained on": report.trained_on,
        "labels": _source(report.dataset) + "".join(f", {key} {value}" for key, value in settings.items()),
        "noise of the energies": f"{1e3 * report.energy_noise:.2f} meV per cell",
    }
    if (noise := report.noise.get("displacement")) is not None:
        rows["noise of the forces"] = f"{number(1e3 * noise, 3)} meV/Å"
    if report.stress_offset_GPa is not None:
        offset = measured(report.stress_offset_GPa, report.stress_offset_std_GPa or 0.0, "GPa")
        rows["labels' offset (Pulay stress)"] = f"{offset} at the reference volume; not in any predicted stress"
    if dataset is not None:
        rows["compared with"] = f"{len(dataset)} rows of {_source(dataset.provenance)}"
    warnings = [*faults(surrogate), *report.warnings, *(dataset.warnings if dataset is not None else ())]
    return facts(rows) + "".join(f'<p class="warning">{escape(warning)}</p>' for warning in warnings)


def _source(provenance: dict[str, object]) -> str:
    selected = f" ({provenance['select']})" if provenance.get("select") else ""
    return f"{Path(str(provenance.get('source', 'unknown'))).name}{selected}"
