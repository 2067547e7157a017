"""How many real calculations does a relaxation take: BFGS, GPMin, and a model that learns from nothing?

Starting points are rattled, every free atom by 0.12 Å along each axis (silicon by 0.1 Å), the same for all three. A
calculation is one of energy and forces. All end where no force is larger than 0.02 eV/Å by the real calculator.
Seeds are of the starting points. Printed: calculations as mean ± standard error; how far the energies that the three
end at are apart at most.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from _common import arguments, console, print_environment, stderr
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc111
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.cluster import Icosahedron
from ase.constraints import FixAtoms
from ase.optimize import BFGS, GPMin
from rich.progress import track
from rich.table import Table

from ase_dkl import ActiveIonCalculator

FMAX = 0.02


class Counted(Calculator):
    """Another calculator's energies and forces, counted."""

    implemented_properties = ["energy", "free_energy", "forces"]  # noqa: RUF012

    def __init__(self, calculator: Calculator) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls, self._calculator = 0, calculator

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        """Answer ASE."""
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        self.calls += 1
        assert self.atoms is not None
        twin = self.atoms.copy()
        twin.set_constraint()
        twin.calc = self._calculator
        energy = twin.get_potential_energy(force_consistent=True)
        self.results = {"energy": energy, "free_energy": energy, "forces": twin.get_forces()}


def cluster() -> Atoms:
    atoms: Atoms = Atoms(Icosahedron("Cu", 2))
    atoms.set_cell(None)
    return atoms


def adsorbate() -> Atoms:
    atoms: Atoms = fcc111("Cu", (2, 2, 3), vacuum=8.0)
    add_adsorbate(atoms, "O", 1.2, "fcc")
    atoms.set_constraint(FixAtoms(mask=atoms.get_tags() >= 2))
    return atoms


def silicon() -> Atoms:
    atoms: Atoms = bulk("Si", cubic=True)
    return atoms


def by_gpaw() -> Calculator:
    from gpaw import GPAW

    found: Calculator = GPAW(
        mode={"name": "pw", "ecut": 200}, xc="PBE", kpts=(2, 2, 2), convergence={"density": 1e-5}, txt=None
    )
    return found


def rattled(atoms: Atoms, size: float, seed: int) -> Atoms:
    moved: Atoms = atoms.copy()
    moved.positions += np.random.default_rng(seed).normal(scale=size, size=atoms.positions.shape)
    for each in atoms.constraints:
        moved.positions[each.get_indices()] = atoms.positions[each.get_indices()]
    return moved


def relaxed(start: Atoms, method: str, calculator: Calculator) -> tuple[int, float]:
    """Calculations, and the energy that they end at."""
    atoms, counted = start.copy(), Counted(calculator)
    if method == "learning":
        found = ActiveIonCalculator(atoms, counted).relax(atoms, FMAX)
        if not found.converged:
            stderr.print(found.describe())
    else:
        atoms.calc = counted
        search = {"BFGS": BFGS, "GPMin": GPMin}[method](atoms, logfile=None)
        if not search.run(fmax=FMAX, steps=300):
            stderr.print(f"{method} does not converge in 300 steps.")
    return counted.calls, float(atoms.get_potential_energy())


CASES: dict[str, tuple[Callable[[], Atoms], Callable[[], Calculator], float, int]] = {
    "Cu13, EMT": (cluster, EMT, 0.12, 10),
    "O on Cu(111), two layers held, EMT": (adsorbate, EMT, 0.12, 10),
    "8 Si, GPAW": (silicon, by_gpaw, 0.1, 3),
}
METHODS = ("BFGS", "GPMin", "learning")


def main() -> None:
    parser = arguments(__doc__)
    parser.set_defaults(seeds=list(range(10)))
    given = parser.parse_args()
    quick, seeds = given.quick, given.seeds
    print_environment(seeds, quick)
    table = Table(*("", *METHODS, "of BFGS", "of GPMin", "energies within, meV"))
    for name, (make, calculator, size, most) in CASES.items():
        if quick and calculator is by_gpaw:
            continue
        calls, apart = [], []
        for seed in track(seeds[:most], name, console=stderr):
            start = rattled(make(), size, seed)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = [relaxed(start, method, calculator()) for method in METHODS]
            calls.append([each for each, _ in found])
            apart.append(1e3 * np.ptp([energy for _, energy in found]))
        mean = np.mean(calls, axis=0)
        told = [f"{each:.1f}" for each in mean]
        if len(calls) > 1:
            error = np.std(calls, axis=0, ddof=1) / np.sqrt(len(calls))
            told = [f"{a:.1f} ± {b:.1f}" for a, b in zip(mean, error, strict=True)]
        table.add_row(name, *told, f"{mean[2] / mean[0]:.2f}", f"{mean[2] / mean[1]:.2f}", f"{max(apart):.2f}")
    console.print(table)


if __name__ == "__main__":
    main()
