"""Equation of state with error bars from the joint posterior of the energies, and its figure.

python equation_of_state.py [--quick] [--kind vinet]
"""

import argparse

from ase.eos import eos_names
from ase.units import GPa

from ase_dkl import Dataset, TrainConfig, equation_of_state, fit, srtio3
from ase_dkl.figures.eos import eos_figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small model")
    parser.add_argument("--kind", default="birchmurnaghan", choices=eos_names)
    given = parser.parse_args()
    config = TrainConfig(networks=1, steps=60) if given.quick else TrainConfig()
    surrogate = fit(Dataset.read(srtio3(), select="set=pool,index<24"), config)

    eos = equation_of_state(surrogate, kind=given.kind)
    for name, value, std in zip(eos.names, eos.values, eos.std, strict=True):
        print(f"{name} = {value:.4f} ± {std:.4f}")
    # The error bars say what the model does not know. This says how well the form follows the model.
    print(f"residual of the form: {eos.residual_meV:.3f} meV")
    print(f"correlation of B0 and B0': {eos.correlation[2, 3]:.2f}")

    eos_figure(eos, "SrTiO$_3$").savefig("equation_of_state.png")
    pressure, pressure_std = eos.pressure([0.97 * eos.V0_A3])
    print(f"3 % less volume takes {pressure[0] / GPa:.2f} ± {pressure_std[0] / GPa:.2f} GPa")


if __name__ == "__main__":
    main()
