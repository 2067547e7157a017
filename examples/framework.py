"""A flexible framework that closes: its energy over the lattice, ions relaxed, beside a polynomial in the volume.

Zn2(bpdc)2(dabco), 74 atoms. Every second volume is for training. Labels are those of CHGNet, a general potential.

python framework.py [--quick]
"""

import argparse

import numpy as np

from ase_dkl import Dataset, TrainConfig, evaluate, fit
from ase_dkl.dataset import dmof

BRANCH = "ions=relaxed,set!=reopening"
"""The way from open to closed. Coming back the linkers stay turned: that is another branch, and another model."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small model")
    given = parser.parse_args()

    # Linkers turn and move further than atoms are apart: the order of the rows' atoms tells which is which.
    dataset = Dataset.read(dmof(), select=BRANCH)
    volumes = np.abs(np.linalg.det(dataset.cells))
    print(f"{dataset.crystal.formula}: {volumes.min():.0f} to {volumes.max():.0f} Å³, {len(dataset)} rows")
    order = np.argsort(volumes)
    training, unseen = order[::2], order[1::2]

    surrogate = fit(dataset.subset(training), TrainConfig(networks=1, steps=60) if given.quick else TrainConfig())
    found = evaluate(surrogate, dataset.subset(unseen))
    print(f"model: {found.energy_rmse_meV:.1f} meV on {found.n} unseen rows, in the 95 % band {found.coverage_95:.0%}")

    centre, scale = volumes.mean(), np.ptp(volumes) / 2
    x = (volumes - centre) / scale
    for degree in (3, 5):
        curve = np.polynomial.Polynomial.fit(x[training], dataset.energies[training], degree)
        error = curve(x[unseen]) - dataset.energies[unseen]
        print(f"polynomial of degree {degree} in V: {1e3 * np.sqrt(np.mean(error**2)):.1f} meV")


if __name__ == "__main__":
    main()
