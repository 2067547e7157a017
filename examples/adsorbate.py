"""An adsorbate: oxygen in a hollow of Cu(111), the lowest layer held: where it sits, how it vibrates. Labels are EMT's.

python adsorbate.py [--quick]
"""

import argparse

import numpy as np
from ase import Atoms
from ase.build import add_adsorbate, fcc111
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.optimize import BFGS

from ase_dkl import Dataset, DKLCalculator, IonConfig, fit_ions, phonons, relaxed_structure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rows")
    given = parser.parse_args()
    rows = 16 if given.quick else 40

    slab = fcc111("Cu", (2, 2, 3), vacuum=8.0)
    add_adsorbate(slab, "O", 1.2, "fcc")
    lowest = slab.positions[:, 2] < slab.positions[:, 2].min() + 0.1
    slab.set_constraint(FixAtoms(mask=lowest))
    slab.calc = EMT()
    BFGS(slab, logfile=None).run(fmax=0.001)

    # Which ions move is read off the data: the others are where they are in every row. Vacuum is not periodic.
    rng = np.random.default_rng(0)
    structures = [labelled(slab, ~lowest, rng) for _ in range(rows)]
    dataset = Dataset.from_atoms(structures, pbc="TTF")
    surrogate = fit_ions(dataset, IonConfig(n_inducing=200 if given.quick else 800))
    print(f"{int(dataset.crystal.mobile.sum())} of {len(slab)} ions move, {dataset.crystal.space_group}")

    atoms = structures[0].copy()
    atoms.set_constraint(FixAtoms(mask=lowest))
    atoms.calc = DKLCalculator(surrogate, extrapolation="ignore")
    BFGS(atoms, logfile=None).run(fmax=0.001)
    for name, each in (("EMT", slab), ("the model", atoms)):
        print(f"oxygen by {name} is {height(each):.4f} Å above the layer beneath")

    # All rows have one cell: how the lattice would relax they do not tell.
    modes = phonons(surrogate, structure=relaxed_structure(surrogate, fixed_cell=True))
    for group in modes.groups[-3:]:
        print(f"{group.frequency_THz:.2f} ± {group.frequency_THz_std:.2f} THz")


def height(slab: Atoms) -> float:
    top = slab.positions[8:12, 2]
    return float(slab.positions[-1, 2] - top.mean())


def labelled(atoms: Atoms, mobile: np.ndarray, rng: np.random.Generator) -> Atoms:
    """A copy with some of its atoms displaced, with its energy and forces."""
    copy: Atoms = atoms.copy()
    copy.set_constraint()
    copy.positions[mobile] += 0.08 * rng.normal(size=(int(mobile.sum()), 3))
    copy.calc = EMT()
    copy.get_forces()
    return copy


if __name__ == "__main__":
    main()
