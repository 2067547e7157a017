"""A cluster: the icosahedron of thirteen copper atoms, and dynamics that stop where the data end. Labels are EMT's.

python cluster.py [--quick]
"""

import argparse

import numpy as np
from ase import Atoms, units
from ase.calculators.emt import EMT
from ase.cluster import Icosahedron
from ase.md.velocitydistribution import Stationary
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS

from ase_dkl import Dataset, DKLCalculator, ExtrapolationError, IonConfig, fit_ions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rows, shorter dynamics")
    given = parser.parse_args()
    rows, steps = (12, 50) if given.quick else (40, 2000)

    cluster = Icosahedron("Cu", 2)
    cluster.calc = EMT()
    BFGS(cluster, logfile=None).run(fmax=0.001)
    rng = np.random.default_rng(0)
    structures = [labelled(cluster, rng.uniform(0.03, 0.12), rng) for _ in range(rows)]
    surrogate = fit_ions(Dataset.from_atoms(structures), IonConfig(n_inducing=200 if given.quick else 800))
    crystal = surrogate.crystal
    print(f"point group {crystal.space_group}, {len(crystal.operations.rotations)} operations")

    atoms = cluster.copy()
    thermal = np.sqrt(units.kB * 300 * atoms.get_masses())[:, None]
    atoms.set_momenta(thermal * rng.normal(size=(len(atoms), 3)))
    Stationary(atoms)
    atoms.calc = DKLCalculator(surrogate, extrapolation="raise")
    before = atoms.get_total_energy()
    dynamics = VelocityVerlet(atoms, 5 * units.fs)
    try:
        dynamics.run(steps)
    except ExtrapolationError as reason:
        print(f"stopped after {dynamics.nsteps} steps: {reason}")
    drift = 1e3 * abs(atoms.get_total_energy() - before) / len(atoms)
    std = np.abs(atoms.calc.results["forces_uncertainty"]).max()
    there = atoms.copy()
    there.calc = EMT()
    error = np.sqrt(np.mean((there.get_forces() - atoms.get_forces()) ** 2))
    print(f"{dynamics.nsteps} steps of 5 fs: total energy drifts by {drift:.3f} meV an atom")
    print(f"forces there: error {1e3 * error:.1f} meV/Å, largest σ {1e3 * std:.1f} meV/Å")


def labelled(atoms: Atoms, size: float, rng: np.random.Generator) -> Atoms:
    """A copy whose atoms are displaced by so many Å, with its energy and forces."""
    copy: Atoms = atoms.copy()
    copy.positions += size * rng.normal(size=(len(copy), 3))
    copy.calc = EMT()
    copy.get_forces()
    return copy


if __name__ == "__main__":
    main()
