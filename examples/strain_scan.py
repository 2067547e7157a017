"""Scan strains with error bars: along a line, beside DFT, and over a plane. Writes figures, a table and structures.

python strain_scan.py [--quick]
"""

import argparse

import ase.io
import numpy as np

from ase_dkl import Dataset, TrainConfig, fit, points_on_line, scan_along, scan_grid, srtio3
from ase_dkl.figures.plots import grid_figure, scan_figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small model, and a coarse grid")
    quick = parser.parse_args().quick
    config = TrainConfig(networks=1, steps=60) if quick else TrainConfig()
    surrogate = fit(Dataset.read(srtio3(), select="set=pool,index<24"), config)

    # One lattice length, all other lattice parameters as they are, from −12 to 12 %. The training rows reach ±10 %;
    # beyond that the figure is grey.
    line = scan_along(surrogate, "a", np.linspace(-0.12, 0.12, 97))
    dft = Dataset.read(srtio3(), select="set=scan_a", reference=surrogate.crystal)
    points = points_on_line(surrogate, "a", dft)
    scan_figure([line], [points], "SrTiO$_3$, one length").savefig("scan_a.png")
    line.to_csv("scan_a.csv")
    ase.io.write("scan_a.xyz", line.to_atoms())  # energies, stresses, uncertainties
    print(f"lowest energy at a = {line.coordinate[line.energy.argmin()]:.3f} Å")

    # Neighbouring lattices err together: how far one lies above the other is surer than where either lies.
    difference, std = line.relative()
    print(f"4 % longer: {line.energy[64]:.4f} ± {line.energy_std[64]:.4f} eV,")
    print(f"which is {difference[64]:.4f} ± {std[64]:.4f} eV above the lowest")

    # Any strain is a direction (Voigt, shears engineering): an orthorhombic one against a shear.
    n = 21 if quick else 81
    strains = ("xx=1,yy=-1", "xy")
    plane = scan_grid(surrogate, strains, (np.linspace(-0.06, 0.06, n), np.linspace(-0.1, 0.1, n)))
    grid_figure(plane, None, "SrTiO$_3$, energy and its uncertainty").savefig("scan_plane.png")


if __name__ == "__main__":
    main()
