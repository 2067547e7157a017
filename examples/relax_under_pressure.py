"""Relax a lattice under pressure: with `equilibrium`, which knows its error, and with ASE's optimisers.

python relax_under_pressure.py [--quick] [--pressures 0 5 10]
"""

import argparse
from typing import Any

import ase.io
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from ase.units import GPa

from ase_dkl import Dataset, DKLCalculator, TrainConfig, equilibrium, fit, srtio3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small model")
    parser.add_argument("--pressures", type=float, nargs="+", default=[0.0, 5.0, 10.0], help="GPa")
    given = parser.parse_args()
    config = TrainConfig(networks=1, steps=60) if given.quick else TrainConfig()
    surrogate = fit(Dataset.read(srtio3(), select="set=pool,index<24"), config)

    relaxed = []
    for pressure in given.pressures:
        found = equilibrium(surrogate, pressure_GPa=pressure)
        length, std = found.lattice_parameters[0], found.lattice_parameters_std[0]

        # The same through ASE, from a lattice strained in every way. FrechetCellFilter asks for forces as well, and
        # there are none: `rigid_ions` answers zeros, which say that the ions follow the lattice. At zero pressure
        # ase.filters.StrainFilter does without.
        atoms = surrogate.crystal.atoms()
        atoms.set_cell(atoms.cell @ [[1.02, 0.02, 0], [0, 0.99, 0.01], [0, 0, 1.01]], scale_atoms=True)
        atoms.calc = DKLCalculator(surrogate, rigid_ions=True)
        lattice: Any = FrechetCellFilter(atoms, scalar_pressure=pressure * GPa)
        BFGS(lattice, logfile=None).run(fmax=1e-4)
        ase_length, alpha = atoms.cell.cellpar()[[0, 3]]

        print(f"at {pressure:g} GPa: a = {length:.5f} ± {std:.5f} Å; by ASE {ase_length:.5f} Å, alpha {alpha:.3f}°")
        relaxed.append(atoms)
    ase.io.write("relaxed.cif", relaxed)


if __name__ == "__main__":
    main()
