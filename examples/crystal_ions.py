"""A crystal whose ions move: clamped and relaxed constants, internal strain and a frequency from one model.

Silicon from GPAW, beside finite differences of GPAW's.

python crystal_ions.py [--quick]
"""

import argparse

from ase.db import connect

from ase_dkl import Dataset, elastic_constants, fit_ions, internal_strain, lattice, phonons, silicon_ions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rows")
    given = parser.parse_args()
    rows = 12 if given.quick else 42

    surrogate = fit_ions(Dataset.read(silicon_ions(), select=f"set=pool,index<{rows}"))
    directly = connect(silicon_ions()).metadata["finite_differences"]

    clamped = elastic_constants(lattice(surrogate, ions="clamped"))
    relaxed = elastic_constants(lattice(surrogate, ions="relaxed"))
    for name, found in (("clamped", clamped), ("relaxed", relaxed)):
        gpaw = directly[f"C44_{name}_GPa"]["value"]
        print(f"C44, ions {name}: {found.C_GPa[3, 3]:.1f} ± {found.C_std_GPa[3, 3]:.1f} GPa; GPAW {gpaw:.1f}")
    strain = internal_strain(surrogate)
    gpaw = directly["zeta"]["value"]
    print(f"Kleinman's ζ: {strain.kleinman:.3f} ± {strain.kleinman_std:.3f}; GPAW {gpaw:.3f}")
    (optical,) = phonons(surrogate).groups
    gpaw = directly["optical_frequency_THz"]["value"]
    print(f"optical mode: {optical.frequency_THz:.2f} ± {optical.frequency_THz_std:.2f} THz; GPAW {gpaw:.2f}")


if __name__ == "__main__":
    main()
