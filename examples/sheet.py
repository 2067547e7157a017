"""A two-dimensional material: the MoS2 monolayer. Its elastic constants are in N/m; no thickness is made up.

python sheet.py [--quick] [DATABASE]
"""

import argparse

import numpy as np

from ase_dkl import Dataset, TrainConfig, evaluate, fit, mos2, scan_along, sheet_constants


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small model")
    parser.add_argument("database", nargs="?", default=mos2(), help="DFT data of the sheet; the shipped ones")
    given = parser.parse_args()
    config = TrainConfig(networks=1, steps=60) if given.quick else TrainConfig()

    # The rows' `pbc` says that this is a sheet: a, b and gamma are its lattice parameters, xx, yy and xy its strains.
    # The length of the vacuum plays no part, and out of the plane there is no stress.
    training = Dataset.read(given.database, select="set=pool,index<24")
    unseen = Dataset.read(given.database, select="set=pool,index>=24", reference=training.crystal)
    surrogate = fit(training, config)
    found = evaluate(surrogate, unseen)
    print(f"on {found.n} unseen rows: {found.energy_rmse_meV:.2f} meV")

    sheet = sheet_constants(surrogate)
    length, std = sheet.equilibrium.lattice_parameters[0], sheet.equilibrium.lattice_parameters_std[0]
    print(f"a = {length:.4f} ± {std:.4f} Å, {sheet.ions} ions")
    for name, (i, j) in {"C11": (0, 0), "C12": (0, 1), "C66": (2, 2)}.items():
        print(f"{name} = {sheet.C_N_per_m[i, j]:.1f} ± {sheet.C_std_N_per_m[i, j]:.1f} N/m")

    # Pull along x with the width held: energies, and forces on the edge in N/m.
    line = scan_along(surrogate, "xx", np.linspace(-0.06, 0.06, 61), start=sheet.equilibrium.cell)
    line.to_csv("mos2_pull.csv")
    force = line.table()["stress_xx_N_per_m"]
    print(f"{force[-1]:.2f} N/m at a strain of {line.offsets[-1]:.2f}")


if __name__ == "__main__":
    main()
