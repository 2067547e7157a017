"""Ask DFT only where the surrogate is unsure: a Monte Carlo walk over strains of copper, and a relaxation.

Effective medium theory stands for DFT here, so that every answer can be checked. Put any ASE calculator in its place.

python on_the_fly.py [--quick] [--tolerance 2]
"""

import argparse
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.filters import StrainFilter
from ase.optimize import BFGS
from ase.units import kB

from ase_dkl import Crystal, Dataset, TrainConfig, fit
from ase_dkl.active.box import Box
from ase_dkl.active.on_the_fly import ActiveCalculator

TEMPERATURE_K = 600
PRESSURE = 0.0  # eV/Å³
LARGEST_MOVE = 0.02


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small model, and a short walk")
    parser.add_argument("--tolerance", type=float, default=2.0, help="meV per cell")
    given = parser.parse_args()
    config = TrainConfig(networks=1, steps=60) if given.quick else TrainConfig()

    # A dozen labels of small strains to begin with. The walk will go further.
    crystal = Crystal.from_atoms(bulk("Cu", "fcc", a=3.6, cubic=True))
    structures = [crystal.atoms(cell) for cell in Box((-0.03, 0.03), (-3, 3)).design(crystal, 12)]
    for atoms in structures:
        atoms.calc = EMT()
        atoms.get_stress()
    dataset = Dataset.from_atoms(structures, reference=crystal)
    surrogate = fit(dataset, config)

    # With its rows the surrogate can be trained again. Labels go to a database, which later trains another model.
    calculator = ActiveCalculator(
        surrogate,
        EMT(),
        given.tolerance / 1000,
        dataset=dataset,
        database="on_the_fly.db",
        log="on_the_fly.log",
    )
    steps = 300 if given.quick else 1000
    errors = walk(crystal, calculator, steps)
    asked = len(calculator.requests)
    print(f"walk of {steps} steps: EMT answered {asked}, RMS error {1e3 * np.sqrt(np.mean(errors**2)):.2f} meV")

    atoms = crystal.atoms()
    atoms.set_cell(atoms.cell @ [[1.08, 0.03, 0], [0, 0.94, 0], [0, 0, 1.02]], scale_atoms=True)
    atoms.calc = calculator
    lattice: Any = StrainFilter(atoms)
    optimiser = BFGS(lattice, logfile=None)
    optimiser.run(fmax=1e-3, steps=100)
    lengths = ", ".join(f"{length:.4f}" for length in atoms.cell.lengths())
    print(
        f"relaxation of {optimiser.nsteps} steps: EMT answered {len(calculator.requests) - asked}, lengths {lengths} Å"
    )


def walk(crystal: Crystal, calculator: ActiveCalculator, steps: int) -> np.ndarray:
    """Metropolis steps over the lattice at constant pressure; returns the error of each energy, eV per cell."""
    rng = np.random.default_rng(0)
    cell = crystal.cell
    errors = np.empty(steps)
    for step in range(steps):
        strain = rng.uniform(-LARGEST_MOVE, LARGEST_MOVE, (3, 3))
        trial = cell @ (np.eye(3) + 0.5 * (strain + strain.T))
        # The trial first: where the surrogate learns from it, both energies are of the surface that it has then.
        energy = energy_of(crystal.atoms(trial), calculator)
        change = energy - energy_of(crystal.atoms(cell), calculator)
        change += PRESSURE * (np.linalg.det(trial) - np.linalg.det(cell))
        errors[step] = energy - energy_of(crystal.atoms(trial), EMT())
        if rng.random() < np.exp(-max(change, 0.0) / (kB * TEMPERATURE_K)):
            cell = trial
    return errors


def energy_of(atoms: Atoms, calculator: Any) -> float:
    atoms.calc = calculator
    return float(atoms.get_potential_energy())


if __name__ == "__main__":
    main()
