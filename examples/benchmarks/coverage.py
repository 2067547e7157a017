"""Do error bars hold what they promise? Equation of state and elastic constants of crystals that are known exactly.

Each training set is of another cubic crystal: random elastic constants and B0', a random box, a random design in it,
and labels with the noise of DFT. Energies are of third order in the Eulerian strain, which under pressure is the
Birch–Murnaghan equation of state. Printed: how often the central 95 % interval holds the truth.
"""

import functools
import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
from _common import arguments, configured, print_environment, stderr
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.cell import Cell
from ase.units import GPa
from rich.progress import track
from scipy.stats import qmc

from ase_dkl import Crystal, Dataset, TrainConfig, elastic_constants, equation_of_state, fit
from ase_dkl.arrays import Floats
from ase_dkl.crystal.lattice import strained

ENERGY_NOISE, DERIVATIVE_NOISE = 3e-4, 5e-3
"""Noise of labels, eV: discrete plane waves and k-points, as in the shipped SrTiO3 data."""
ROWS = (8, 12, 16)
NAMES = ("V0", "B0", "C11", "C12", "C44")
IN_95 = 1.959964


@dataclass(frozen=True)
class Truth:
    """A cubic crystal whose energy is a polynomial of the Eulerian strain.

    E = V0 (½ e·C·e + a (tr e)³) with e = ½ (1 − (F Fᵀ)⁻¹), and a such that the pressure derivative of B at V0 is B'.

    Source: F. Birch, Phys. Rev. 71, 809 (1947).
    """

    a0: float
    C11_GPa: float
    C12_GPa: float
    C44_GPa: float
    B_prime: float

    @property
    def values(self) -> Floats:
        """V0 (Å³), B0, C11, C12 and C44 (GPa)."""
        bulk = (self.C11_GPa + 2 * self.C12_GPa) / 3
        return np.array([self.a0**3, bulk, self.C11_GPa, self.C12_GPa, self.C44_GPa])

    def energies(self, cells: Floats) -> Floats:
        """Energies of cells (n, 3, 3), Å, in eV."""
        identity = np.eye(3)
        stretch = cells / self.a0
        strain = (identity - np.linalg.inv(stretch @ stretch.mT)) / 2
        normal = np.diagonal(strain, axis1=1, axis2=2)
        trace = normal.sum(axis=1)
        # ½ e·C·e of a cube, with the six shears at once in the last sum
        shears = (strain**2).sum(axis=(1, 2)) - (normal**2).sum(axis=1)
        _, bulk, C11, C12, C44 = self.values * GPa
        harmonic = (C11 - C12) * (normal**2).sum(axis=1) / 2 + C12 * trace**2 / 2 + C44 * shears
        return np.asarray(self.a0**3 * (harmonic - bulk * (self.B_prime - 4) / 6 * trace**3))

    def derivatives(self, cells: Floats) -> Floats:
        """∂E/∂ε of cells (n, 3, 3), Å, in eV, shape (n, 6)."""
        step = 1e-5 * np.eye(6)
        ends = [(self.energies(strained(cells, e)), self.energies(strained(cells, -e))) for e in step]
        return np.stack([(ahead - behind) / 2e-5 for ahead, behind in ends], axis=1)


def random_truth(rng: np.random.Generator) -> Truth:
    """A stable crystal, from soft to stiff."""
    bulk, tetragonal, C44 = rng.uniform([60, 40, 40], [220, 150, 150])
    return Truth(
        a0=rng.uniform(3.5, 4.5),
        C11_GPa=bulk + 4 / 3 * tetragonal,
        C12_GPa=bulk - 2 / 3 * tetragonal,
        C44_GPa=C44,
        B_prime=rng.uniform(3.5, 5.5),
    )


def dataset(truth: Truth, rows: int, half_width: float, rng: np.random.Generator) -> Dataset:
    """Labelled cells: scrambled Sobol points in lengths ± half_width and angles ± 100 half_width degrees."""
    points = 2 * qmc.Sobol(6, rng=rng).random(rows) - 1
    parameters = np.column_stack([truth.a0 * (1 + half_width * points[:, :3]), 90 + 100 * half_width * points[:, 3:]])
    cells = np.array([Cell.fromcellpar(row).array for row in parameters])
    energies = truth.energies(cells) + ENERGY_NOISE * rng.normal(size=rows)
    slopes = truth.derivatives(cells) + DERIVATIVE_NOISE * rng.normal(size=(rows, 6))
    labelled = []
    for cell, energy, slope in zip(cells, energies, slopes, strict=True):
        atoms = crystal(cell)
        atoms.calc = SinglePointCalculator(atoms, energy=energy, stress=slope / np.linalg.det(cell))
        labelled.append(atoms)
    return Dataset.from_atoms(labelled, reference=Crystal.from_atoms(crystal(truth.a0 * np.eye(3))))


def crystal(cell: Floats) -> Atoms:
    """A motif of space group Pm-3: twelve symmetry images, half as many to compute as other cubic crystals have."""
    x = 0.3
    sites = [(x, 0, 0.5), (-x, 0, 0.5), (0.5, x, 0), (0.5, -x, 0), (0, 0.5, x), (0, 0.5, -x)]
    return Atoms("WCr6", scaled_positions=[(0, 0, 0), *sites], cell=cell, pbc=True)


def one(seed: int, index: int, quick: bool) -> tuple[int, float, Floats, Floats]:
    """Rows, half-width, errors over standard deviations, and these over the values, of one training set."""
    import torch

    torch.set_num_threads(1)
    rng = np.random.default_rng([seed, index])
    truth = random_truth(rng)
    rows, half_width = int(rng.choice(ROWS)), rng.uniform(0.04, 0.10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        surrogate = fit(
            dataset(truth, rows, half_width, rng), configured(TrainConfig(seed=index), quick), progress=False
        )
        curve, constants = equation_of_state(surrogate), elastic_constants(surrogate)
    places = ([0, 0, 3], [0, 1, 3])
    found = np.array([curve.V0_A3, curve.B0_GPa, *constants.C_GPa[places]])
    std = np.array([curve.V0_A3_std, curve.B0_GPa_std, *constants.C_std_GPa[places]])
    return rows, half_width, (found - truth.values) / std, std / truth.values


def lines(done: list[tuple[int, float, Floats, Floats]]) -> Iterator[str]:
    rows, widths = np.array([each[0] for each in done]), np.array([each[1] for each in done])
    scores, spreads = np.array([each[2] for each in done]), np.array([each[3] for each in done])
    yield f"{'training sets':26}{'':>6}" + "".join(f"{name:>16}" for name in NAMES)
    groups = {"all": rows > 0} | {f"{n} rows": rows == n for n in ROWS}
    groups |= {"box below ± 7 %": widths < 0.07, "box above ± 7 %": widths >= 0.07}
    for name, chosen in groups.items():
        if not chosen.any():
            continue
        held = (np.abs(scores[chosen]) < IN_95).mean(axis=0)
        error = np.sqrt(held * (1 - held) / chosen.sum())
        text = "".join(f"{100 * h:9.1f} ± {100 * e:3.1f} %" for h, e in zip(held, error, strict=True))
        yield f"{name:26}{chosen.sum():6}{text}"
    rms = "".join(f"{value:16.2f}" for value in np.sqrt((scores**2).mean(axis=0)))
    yield f"{'rms of error / std':32}{rms}"
    yield f"{'median std, % of the value':32}" + "".join(f"{100 * m:16.3f}" for m in np.median(spreads, axis=0))


def main() -> None:
    parser = arguments(__doc__)
    parser.set_defaults(seeds=[0])
    parser.add_argument("--sets", type=int, default=1000, help="training sets for each seed")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="of one thread each")
    given = parser.parse_args()
    print_environment(given.seeds, given.quick)
    print(f"noise of labels: {1e3 * ENERGY_NOISE:g} meV in energies, {1e3 * DERIVATIVE_NOISE:g} meV in ∂E/∂ε")
    sets = [(seed, index) for seed in given.seeds for index in range(2 if given.quick else given.sets)]
    done: list[tuple[int, float, Floats, Floats]] = []
    with ProcessPoolExecutor(given.processes) as pool:
        results = pool.map(functools.partial(one, quick=given.quick), *zip(*sets, strict=True))
        for result in track(results, "training sets", total=len(sets), console=stderr):
            done.append(result)
            if len(done) % 100 == 0:
                print(*lines(done), sep="\n", flush=True)
    print(*lines(done), sep="\n")


if __name__ == "__main__":
    main()
