"""Elastic constants with error bars, at several pressures, and what follows from them.

python elastic_constants.py [--quick] [--pressures 0 5 10]
"""

import argparse

import numpy as np

from ase_dkl import Dataset, TrainConfig, elastic_constants, fit, moduli, srtio3, stability


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small model")
    parser.add_argument("--pressures", type=float, nargs="+", default=[0.0, 5.0, 10.0], help="GPa")
    given = parser.parse_args()
    config = TrainConfig(networks=1, steps=60) if given.quick else TrainConfig()
    surrogate = fit(Dataset.read(srtio3(), select="set=pool,index<24"), config)

    table = []
    for pressure in given.pressures:
        # ∂σ/∂ε of the Cauchy stress at the lattice where it is −P: what stability is judged by. Under pressure the
        # energy's second derivatives are others, `constants.lagrangian_GPa`.
        constants = elastic_constants(surrogate, pressure_GPa=pressure)
        C, std = constants.C_GPa, constants.C_std_GPa
        grains = moduli(C, constants.covariance)
        stable = stability(C, constants.covariance)
        print(f"at {pressure:g} GPa, {constants.ions} ions, a = {constants.equilibrium.lattice_parameters[0]:.4f} Å")
        for name, (i, j) in {"C11": (0, 0), "C12": (0, 1), "C44": (3, 3)}.items():
            print(f"  {name} = {C[i, j]:.1f} ± {std[i, j]:.1f} GPa")
        print(f"  bulk modulus {grains.bulk_modulus_GPa:.1f} ± {grains.bulk_modulus_GPa_std:.1f} GPa")
        print(f"  shear modulus {grains.shear_modulus_GPa:.1f} ± {grains.shear_modulus_GPa_std:.1f} GPa")
        print(f"  stable with probability {stable.stable_probability:.3f}")
        table.append([pressure, *C.ravel(), *std.ravel()])

    # From here on pymatgen: rotations, fits to a symmetry, thermal properties, ...
    tensor = constants.elastic_tensor()
    print(f"pymatgen's Hill average of the bulk modulus, the last pressure: {tensor.k_vrh:.1f} GPa")

    pairs = [f"{i}{j}" for i in range(1, 7) for j in range(1, 7)]
    names = ["pressure_GPa", *(f"C{pair}_GPa" for pair in pairs), *(f"C{pair}_GPa_std" for pair in pairs)]
    np.savetxt("elastic_constants.csv", table, delimiter=",", header=",".join(names), comments="")


if __name__ == "__main__":
    main()
