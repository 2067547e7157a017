"""SrTiO3: total energy against a lattice length and an angle, at 10 and 50 inducing points, with its uncertainty.

Trained on real DFT labels of all six lattice parameters; the other four are those of the unstrained crystal here. Left:
the bare method of the paper, energies only. Right: the defaults, stresses and symmetry included. Height is the energy,
colour its standard deviation. Writes srtio3_surface.png.

python srtio3_surface.py [--quick]
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from ase.geometry import cellpar_to_cell
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from ase_dkl import Dataset, Surrogate, TrainConfig, evaluate, fit, srtio3

Floats = NDArray[np.float64]

ROWS = 192
INDUCING = (10, 50)
STRETCH, SHEAR = 0.12, 12.0
"""How far the surface and the DFT scans reach: of the length as a fraction, of the angle in degrees."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="see that it runs: the figure means nothing")
    parser.add_argument("--seed", type=int, default=0, help="of the networks")
    options = parser.parse_args()
    dataset = Dataset.read(srtio3(), select=f"set=pool,index<{24 if options.quick else ROWS}")
    methods = {"bare method": TrainConfig.paper(seed=options.seed), "defaults": TrainConfig(seed=options.seed)}
    jobs = [(name, m) for m in INDUCING for name in methods]
    models = {}
    for name, m in track(jobs, "training", console=Console(stderr=True)):
        config = replace(methods[name], n_inducing=m)
        if options.quick:
            config = replace(config, networks=1, steps=3, epochs=1)
        models[name, m] = fit(dataset, config, progress=False)
    drawn(models).savefig("srtio3_surface.png")
    Console(width=120).print(table(models))


def surface_of(length: float) -> tuple[Floats, Floats, Floats]:
    """Lengths a and angles α on a grid, shape (n, n), and their cells, shape (n², 3, 3)."""
    lengths, angles = np.meshgrid(
        length * np.linspace(1 - STRETCH, 1 + STRETCH, 41), np.linspace(90 - SHEAR, 90 + SHEAR, 41)
    )
    cells = [
        cellpar_to_cell([a, length, length, alpha, 90, 90]) for a, alpha in zip(lengths.flat, angles.flat, strict=True)
    ]
    return lengths, angles, np.array(cells)


def table(models: Mapping[tuple[str, int], Surrogate]) -> Table:
    """Errors on DFT labels: along the axes of the surface, and on rows of the pool that no model has seen."""
    shown = Table(title="RMS error and RMS standard deviation of the energy, meV per cell")
    sets = {"a (scan)": "set=scan_a", "α (scan)": "set=scan_alpha", "unseen rows": "set=pool,index>=192"}
    shown.add_column("method", no_wrap=True)
    shown.add_column("M", justify="right")
    for name in sets:
        shown.add_column(f"{name}\nerror", justify="right")
        shown.add_column("σ", justify="right")
    shown.add_column("unseen, in\n95 % band", justify="right")
    for (method, m), model in models.items():
        cells = []
        for select in sets.values():
            data = Dataset.read(srtio3(), select=select, reference=model.crystal)
            found = evaluate(model, data)
            sigma = model.predict_cells(data.cells, stress=False).energy_uncertainty
            cells += [f"{found.energy_rmse_meV:.2f}", f"{1e3 * np.sqrt(np.mean(sigma**2)):.2f}"]
        shown.add_row(method, str(m), *cells, f"{found.coverage_95:.1%}")
    return shown


def drawn(models: Mapping[tuple[str, int], Surrogate]) -> Figure:
    figure = Figure(figsize=(11, 4.4 * len(INDUCING)), layout="constrained", dpi=200)
    colours = ScalarMappable(LogNorm(1e-4, 1e-1), "viridis")
    for i, ((name, m), model) in enumerate(models.items()):
        axes: Any = figure.add_subplot(len(INDUCING), 2, i + 1, projection="3d")
        reference = float(np.linalg.norm(model.crystal.cell[0]))
        lengths, angles, cells = surface_of(reference)
        p = model.predict_cells(cells, stress=False)
        lowest = float(model.predict_cells(model.crystal.cell[None], stress=False).energy[0])
        energy = (p.energy - lowest).reshape(lengths.shape)
        sigma = p.energy_uncertainty.reshape(lengths.shape)
        axes.plot_surface(lengths, angles, energy, facecolors=colours.to_rgba(sigma), rstride=1, cstride=1, shade=False)
        for select in ("set=scan_a", "set=scan_alpha"):
            data = Dataset.read(srtio3(), select=select, reference=model.crystal)
            a, alpha = scanned(data.cells)
            axes.plot(a, alpha, data.energies - lowest, ls="", marker="o", ms=3, color="red", zorder=10)
        axes.set(xlabel="a (Å)", ylabel="α (°)", zlabel="energy (eV)", zlim=(-0.1, 2.6))
        axes.set_title(f"{name}, {m} inducing points")
        axes.view_init(elev=28, azim=-125)
        axes.set_box_aspect((1, 1, 0.8), zoom=0.9)
    bar = figure.colorbar(colours, ax=figure.axes, shrink=0.6, pad=0.1, extend="both")
    bar.set_label("standard deviation of the energy (eV); red: DFT")
    return figure


def scanned(cells: Floats) -> tuple[Floats, Floats]:
    """Length a and angle α of cells."""
    lengths = np.linalg.norm(cells, axis=2)
    cosine = np.einsum("ij,ij->i", cells[:, 1], cells[:, 2]) / lengths[:, 1] / lengths[:, 2]
    return lengths[:, 0], np.degrees(np.arccos(cosine))


if __name__ == "__main__":
    main()
