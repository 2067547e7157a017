"""Train on a database of DFT single points, judge the model on rows held back, and save it.

python train_from_database.py [--quick]

Any ASE database will do, and any file that ASE reads: cells, energies, and stresses where there are some.
"""

import argparse

from ase_dkl import Dataset, TrainConfig, evaluate, fit, srtio3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small model")
    config = TrainConfig(networks=1, steps=60) if parser.parse_args().quick else TrainConfig()

    # The rows of the shipped database fill a box of lattices evenly, whatever their number. 24 DFT runs with stresses
    # are what one set of elastic constants costs without a surrogate.
    training = Dataset.read(srtio3(), select="set=pool,index<24")
    crystal = training.crystal
    print(f"{crystal.formula}, {crystal.space_group}: each row stands for {len(crystal.images)} by symmetry")

    surrogate = fit(training, config)
    surrogate.save("srtio3.dkl")

    # Rows far above the minimum are of little interest, and few models of any kind get them right.
    unseen = Dataset.read(srtio3(), select="set=pool,index>=192,above_min_eV<2.5", reference=crystal)
    found = evaluate(surrogate, unseen)
    print(f"on {found.n} unseen rows: {found.energy_rmse_meV:.2f} meV, {found.stress_rmse_GPa:.3f} GPa")
    print(f"{found.coverage_95:.0%} of the energies, {found.stress_coverage_95:.0%} of the stresses in the 95 % band")
    # Plane waves at a fixed cutoff: stresses are not quite the slopes of energies. The model finds by how much.
    print(f"Pulay stress in the labels: {surrogate.report.stress_offset_GPa:.3f} GPa")


if __name__ == "__main__":
    main()
