"""Wall times, as medians: training, one calculator call, batches, what follows from the energy, and starting up.

Beside an ensemble of five networks of the same size, each on one thread, its batches stand in turns with ours.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from _common import Floats, arguments, configured, console, print_environment, stderr, verdict
from _copper import SHEAR, STRETCH, A, copper
from ase import Atoms
from ase.calculators.emt import EMT
from ase.cell import Cell
from ase.stress import get_elasticity_tensor
from rich.progress import track
from rich.table import Table
from threadpoolctl import threadpool_limits

from ase_dkl import (
    Dataset,
    DKLCalculator,
    Surrogate,
    TrainConfig,
    elastic_constants,
    equation_of_state,
    equilibrium,
    fit,
    scan_along,
    srtio3,
)
from ase_dkl.benchmark.methods import Model, method

LENGTH = 3.945
"""Å, of SrTiO3."""
ONE, DEFAULT = TrainConfig(networks=1), TrainConfig()
ENSEMBLE = "ensemble of five"


def main() -> None:
    options = arguments("Wall times of the package. A fit is repeated with each seed.").parse_args()
    print_environment(options.seeds, options.quick)
    quick = options.quick
    table = Table("what", "median", "range", "target", title="Speed")
    for column in table.columns[1:3]:
        column.justify = "right"
    one, default = _fits(table, options.seeds, quick)
    table.add_section()
    _calls(table, default, 20 if quick else 500)
    table.add_section()
    _batches(table, "one network", one, 200 if quick else 10_000, 20_000, 3_000)
    _batches(table, _networks(DEFAULT), default, 200 if quick else 10_000, None, None)
    table.add_section()
    _beside_ensemble(
        table, {"one network": one, _networks(DEFAULT): default}, 200 if quick else 2_000, 2 if quick else 15
    )
    table.add_section()
    _properties(table, default, 200 if quick else 10_000, 3 if quick else 30)
    table.add_section()
    _starts(table, 1 if quick else 7)
    console.print(table)


def _fits(table: Table, seeds: Sequence[int], quick: bool) -> tuple[Surrogate, Surrogate]:
    """Fits of the same rows; returns models from one network and from the default."""
    pool = Dataset.read(srtio3(), select="set=pool")
    with_stresses = pool.subset(np.arange(16 if quick else 64))
    energies = pool.subset(np.arange(16 if quick else 192)).without_stresses()
    fit(with_stresses, configured(ONE, quick=True), progress=False)  # the first one wakes torch up
    jobs = (
        (with_stresses, f"{len(with_stresses)} rows with stresses", ONE, 20.0),
        (with_stresses, f"{len(with_stresses)} rows with stresses", DEFAULT, 75.0),
        (energies, f"{len(energies)} energies", DEFAULT, 20.0),
    )
    models = []
    for rows, labels, config, target in track(jobs, "fits", console=stderr):
        seconds = []
        for seed in seeds:
            start = time.perf_counter()
            model = fit(rows, configured(replace(config, seed=seed), quick), progress=False)
            seconds.append(time.perf_counter() - start)
        models.append(model)
        _add(table, f"fit, {labels}, {_networks(config)}", seconds, "s", target)
    return models[0], models[1]


def _calls(table: Table, surrogate: Surrogate, n: int) -> None:
    """One calculator call on a cell that changed, through ASE; the change itself is not timed."""
    strontium_titanate = surrogate.crystal.atoms()
    strontium_titanate.calc = DKLCalculator(surrogate)
    reference = copper(np.array([A, A, A, 90, 90, 90]))
    reference.calc = EMT()

    def energy(atoms: Atoms) -> None:
        atoms.get_potential_energy()

    def energy_uncertainty(atoms: Atoms) -> None:
        atoms.get_potential_energy()
        atoms.calc.get_property("energy_uncertainty", atoms)

    def stress_uncertainty(atoms: Atoms) -> None:
        atoms.get_stress()
        atoms.get_potential_energy()
        for name in ("energy_uncertainty", "stress_uncertainty"):
            atoms.calc.get_property(name, atoms)

    default = _networks(DEFAULT)
    # Half the box: calls that do not warn of extrapolation.
    cells = _cells(LENGTH, n, 0.5)
    timed = [
        (f"call, energy and its uncertainty, {default}", _each(energy_uncertainty, strontium_titanate, cells), 0.5),
        (
            f"call, also stress and its uncertainty, {default}",
            _each(stress_uncertainty, strontium_titanate, cells),
            2.0,
        ),
        ("for comparison: EMT, 4 atoms of copper, energy", _each(energy, reference, _cells(A, n, 0.5)), None),
    ]
    for what, milliseconds, target in timed:
        _add(table, what, milliseconds, "ms", target)
    ratio = np.median(timed[0][1]) / np.median(timed[2][1])
    table.add_row("ratio of the first to EMT", f"{ratio:.3f}", "", "")


def _each(call: Callable[[Atoms], None], atoms: Atoms, cells: Floats) -> list[float]:
    milliseconds = []
    for cell in cells:
        atoms.set_cell(cell, scale_atoms=True)
        start = time.perf_counter()
        call(atoms)
        milliseconds.append(1e3 * (time.perf_counter() - start))
    return milliseconds


def _batches(
    table: Table, name: str, surrogate: Surrogate, n: int, energies: float | None, stresses: float | None
) -> None:
    cells = _cells(LENGTH, n, 1.0)
    for stress, target in ((False, energies), (True, stresses)):
        rates = []
        for _ in range(5):
            start = time.perf_counter()
            surrogate.predict_cells(cells, stress=stress)
            rates.append(n / (time.perf_counter() - start))
        what = "energies and stresses" if stress else "energies"
        _add(table, f"batch of {n:,}, {what} with uncertainties, {name}", rates, "a second", target, at_least=True)


def _beside_ensemble(table: Table, models: Mapping[str, Model], n: int, repeats: int) -> None:
    """Microseconds of one thread for each structure; how long an ensemble was trained makes no difference to them."""
    ensemble = method("ensemble")
    rows = Dataset.read(srtio3(), select="set=pool,index<16")
    models = {**models, ENSEMBLE: ensemble.fit(rows, {**ensemble.defaults, "steps": 4}, 0)}
    cells = _cells(LENGTH, n, 1.0)
    for stress in (False, True):
        times: dict[str, list[float]] = {name: [] for name in models}
        with threadpool_limits(1):
            for _ in range(repeats):
                for name, model in models.items():
                    start = time.perf_counter()
                    model.predict_cells(cells, stress=stress)
                    times[name].append(1e6 / n * (time.perf_counter() - start))
        what = "energy and stress" if stress else "energy"
        for name, each in times.items():
            _add(table, f"{what} of one of {n:,}, one thread, {name}", each, "µs", None)
        longest = np.median(times.pop(ENSEMBLE))
        for name, each in times.items():
            ratio = longest / np.median(each)
            target = verdict(ratio, 4.0, at_least=True) if name == "one network" else ""
            table.add_row(f"ratio of the {ENSEMBLE} to {name}", f"{ratio:.2f}", "", target)


def _properties(table: Table, surrogate: Surrogate, points: int, repeats: int) -> None:
    """What follows from the energy, with error bars, and the same through the calculator one by one, without."""
    atoms = surrogate.crystal.atoms(equilibrium(surrogate).cell)
    atoms.calc = DKLCalculator(surrogate)
    offsets = np.linspace(-0.05, 0.05, points)
    few = offsets[:: max(1, points // 200)]
    stretched = [scan_along(surrogate, "xx", [offset], stress=False).cells[0] for offset in few]

    def one_by_one() -> None:
        for cell in stretched:
            atoms.set_cell(cell, scale_atoms=True)
            atoms.get_potential_energy()
            atoms.calc.get_property("energy_uncertainty", atoms)

    def finite_differences() -> None:
        atoms.set_cell(equilibrium(surrogate).cell, scale_atoms=True)
        get_elasticity_tensor(atoms)

    elastic = _repeated(lambda: elastic_constants(surrogate), repeats)
    _add(table, "elastic constants, all 36 and their covariance", elastic, "ms", 50.0)
    through_ase = _repeated(finite_differences, repeats)
    _add(table, "for comparison: ase.stress.get_elasticity_tensor, 18 calls, no error bars", through_ase, "ms", None)
    curve = _repeated(lambda: equation_of_state(surrogate), repeats)
    _add(table, "equation of state, 21 energies and their covariance", curve, "ms", 50.0)
    line = _repeated(lambda: scan_along(surrogate, "xx", offsets, stress=False), 5)
    _add(table, f"scan of {points:,} energies with uncertainties", [each / 1e3 for each in line], "s", 2.0)
    calls = [each / 1e3 * points / len(few) for each in _repeated(one_by_one, 5)]
    what = f"for comparison: calculator calls for them one by one ({len(few)} made, time scaled up)"
    _add(table, what, calls, "s", None)


def _repeated(call: Callable[[], object], repeats: int) -> list[float]:
    """Milliseconds of each call, after one that is not counted."""
    call()
    milliseconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        milliseconds.append(1e3 * (time.perf_counter() - start))
    return milliseconds


def _starts(table: Table, repeats: int) -> None:
    """Processes from start to end."""
    command = str(Path(sys.executable).with_name("ase-dkl"))
    jobs: tuple[tuple[str, list[str], float | None], ...] = (
        ("python, doing nothing", [sys.executable, "-c", "pass"], None),
        (
            "python, import ase.calculators.calculator",
            [sys.executable, "-c", "import ase.calculators.calculator"],
            None,
        ),
        ("python, import ase_dkl", [sys.executable, "-c", "import ase_dkl"], 0.3),
        ("ase-dkl --help", [command, "--help"], 0.6),
    )
    for what, arguments_, target in jobs:
        seconds = []
        for _ in range(repeats):
            start = time.perf_counter()
            subprocess.run(arguments_, check=True, capture_output=True)
            seconds.append(time.perf_counter() - start)
        _add(table, what, seconds, "s", target)


def _add(
    table: Table, what: str, values: Sequence[float], unit: str, target: float | None, *, at_least: bool = False
) -> None:
    median = float(np.median(values))
    form = ",.0f" if at_least else ".3f" if median < 3 else ".1f"
    table.add_row(
        what,
        f"{median:{form}} {unit}",
        f"{min(values):{form}} – {max(values):{form}}",
        "" if target is None else verdict(median, target, at_least=at_least),
    )


def _networks(config: TrainConfig) -> str:
    return "one network" if config.networks == 1 else f"default ({config.networks} networks)"


def _cells(length: float, n: int, reach: float) -> Floats:
    """Cells at random in the box that many times its size, shape (n, 3, 3), Å."""
    points = reach * np.random.default_rng(0).uniform(-1, 1, (n, 6))
    lattices = np.hstack([length * (1 + STRETCH * points[:, :3]), 90 + SHEAR * points[:, 3:]])
    return np.array([Cell.fromcellpar(lattice).array for lattice in lattices])


if __name__ == "__main__":
    main()
