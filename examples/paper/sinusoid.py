"""A sinusoid with a gap in the data, at 10, 20 and 50 inducing points: mean, 2σ band and inducing points.

The line is the lattice constant of a chain of atoms, so that the deep kernel of a crystal learns it like any other
energy. Upper row: the bare method of the paper. Lower row: the defaults, which add several networks, a cubic mean and
the collapsed bound (a chain has no symmetry to gain from, and there are no stress labels here). Writes sinusoid.png.

python sinusoid.py [--quick]
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from ase_dkl import Dataset, Surrogate, TrainConfig, fit
from ase_dkl.figures.plots import BLUE, GREY, ORANGE
from ase_dkl.model.features import propagate, silu

Floats = NDArray[np.float64]

ROWS, NOISE = 128, 0.05
GAP, END, SHOWN = 1.5, 5.0, 8.0
"""Data lie where GAP < |t| < END."""
INDUCING = (10, 20, 50)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="see that it runs: the figure means nothing")
    parser.add_argument("--seed", type=int, default=0, help="of the networks")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    t = rng.uniform(GAP, END, ROWS) * rng.choice([-1, 1], ROWS)
    energies = truth(t) + NOISE * rng.standard_normal(ROWS)
    dataset = Dataset.from_atoms(map(chain, t, energies))
    methods = {"bare method": TrainConfig.paper(seed=options.seed), "defaults": TrainConfig(seed=options.seed)}
    jobs = [(name, m) for name in methods for m in INDUCING]
    models = {}
    for name, m in track(jobs, "training", console=Console(stderr=True)):
        config = replace(methods[name], n_inducing=m)
        if options.quick:
            config = replace(config, networks=1, steps=5, epochs=2)
        models[name, m] = fit(dataset, config, progress=False)
    drawn(models, t, energies).savefig("sinusoid.png")
    Console(width=120).print(table(models))


def truth(t: Floats) -> Floats:
    """The sinusoid, eV."""
    return np.asarray(np.sin(2 * t))


def cells_of(t: Floats) -> Floats:
    """A chain's lattice constant is a measure of t."""
    cells = np.zeros((len(t), 3, 3))
    cells[:, [0, 1, 2], [0, 1, 2]] = np.stack([4 + 0.05 * t, np.full_like(t, 10), np.full_like(t, 10)], axis=1)
    return cells


def chain(t: float, energy: float) -> Atoms:
    """A labelled chain."""
    atoms = Atoms("C", cell=cells_of(np.array([t]))[0], pbc=[True, False, False])
    atoms.calc = SinglePointCalculator(atoms, energy=energy)
    return atoms


def table(models: Mapping[tuple[str, int], Surrogate]) -> Table:
    """What the standard deviation is worth among the data, in the gap and beyond."""
    shown = Table(title="RMS error and RMS standard deviation without label noise, eV")
    regions = {"among the data": (GAP, END), "in the gap": (0, GAP), f"|t| from {END:g} to {SHOWN:g}": (END, SHOWN)}
    shown.add_column("method", no_wrap=True)
    shown.add_column("M", justify="right")
    for region in regions:
        shown.add_column(f"error,\n{region}", justify="right")
        shown.add_column("σ", justify="right")
    for (name, m), model in models.items():
        numbers = []
        for low, high in regions.values():
            t = np.linspace(low, high, 200)
            t = np.append(-t, t)
            p = model.predict_cells(cells_of(t), stress=False)
            numbers += [np.sqrt(np.mean(each**2)) for each in (p.energy - truth(t), p.energy_uncertainty)]
        shown.add_row(name, str(m), *(f"{number:.3f}" for number in numbers))
    return shown


def drawn(models: Mapping[tuple[str, int], Surrogate], t: Floats, energies: Floats) -> Figure:
    names = list(dict.fromkeys(name for name, _ in models))
    figure = Figure(figsize=(4 * len(INDUCING), 3 * len(names)), layout="constrained", dpi=200)
    grid: Any = figure.subplots(len(names), len(INDUCING), sharex=True, sharey=True)
    line = np.linspace(-SHOWN, SHOWN, 801)
    for (name, m), axes in zip(models, grid.flat, strict=True):
        model = models[name, m]
        p = model.predict_cells(cells_of(line), stress=False)
        band = 2 * p.energy_uncertainty
        for low, high in ((-SHOWN, -END), (-GAP, GAP), (END, SHOWN)):
            axes.axvspan(low, high, color="0.93", lw=0, zorder=0)
        axes.fill_between(line, p.energy - band, p.energy + band, color=BLUE, alpha=0.25, lw=0, label="mean ± 2σ")
        axes.plot(line, p.energy, color=BLUE)
        axes.plot(line, truth(line), color="0.3", lw=1, ls="--", label="truth")
        axes.plot(t, energies, ls="", marker=".", ms=4, color=GREY, alpha=0.6, label="data")
        places = places_of_inducing_points(model, line)
        height = np.full_like(places, -2.75)
        axes.plot(places, height, ls="", marker="^", ms=5, color=ORANGE, alpha=0.8, label="inducing points")
        axes.set(xlim=(-SHOWN, SHOWN), ylim=(-3, 3))
        axes.set_title(f"{name}, {m} inducing points", fontsize=10)
    for axes in grid[:, 0]:
        axes.set_ylabel("energy (eV)")
    for axes in grid[-1]:
        axes.set_xlabel("t")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def places_of_inducing_points(model: Surrogate, t: Floats) -> Floats:
    """They live among the features: for each of the first network's, the t whose features are nearest to it."""
    coordinates = model.space.coordinates(cells_of(t))
    features = propagate(model.layers, silu, coordinates, None)[0][0]
    distances = np.linalg.norm(model.process.points[0][:, None] - features, axis=2)
    return np.asarray(t[distances.argmin(axis=1)])


if __name__ == "__main__":
    main()
