"""A molecule: errors on unseen structures, the structure at rest, vibrations, with error bars. Ethylene from GPAW.

python molecule.py [--quick]
"""

import argparse

from ase.optimize import BFGS

from ase_dkl import Dataset, DKLCalculator, ethylene, evaluate, fit_ions, phonons, relaxed_structure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rows")
    given = parser.parse_args()
    rows = 16 if given.quick else 32

    # Energies and forces of displaced molecules. That there is no lattice is read off the data.
    dataset = Dataset.read(ethylene(), select=f"set=pool,index<{rows}")
    surrogate = fit_ions(dataset)
    found = evaluate(surrogate, Dataset.read(ethylene(), select="set=pool,index>=32", reference=surrogate.crystal))
    print(f"{found.n} unseen rows: {found.energy_rmse_meV:.2f} meV, {found.force_rmse_meV_A:.1f} meV/Å")

    atoms = surrogate.crystal.atoms()
    atoms.rattle(0.03, seed=0)
    atoms.calc = DKLCalculator(surrogate)
    BFGS(atoms, logfile=None).run(fmax=0.001)
    print(f"C=C by BFGS: {atoms.get_distance(0, 1):.4f} Å")

    at_rest = relaxed_structure(surrogate)
    print(f"coordinates are known to {at_rest.positions_std.max():.5f} Å")
    for name, frequency in phonons(surrogate, structure=at_rest).words().items():
        print(f"{name}: {frequency}")


if __name__ == "__main__":
    main()
