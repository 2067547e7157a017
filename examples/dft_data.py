"""Make the DFT data sets of the package with GPAW: `python dft_data.py mos2 mos2_pbe.db`.

Each row is a single point, 10 to 20 s of one core. A second run on the same database goes on where the first stopped,
and several at once share the work. GPAW is installed apart (https://gpaw.readthedocs.io); it needs libxc and BLAS.

Sets of rows, key `set`:

* `pool`: scrambled Sobol points in the strains, symmetric about the reference. Ions keep their fractional
  coordinates; for silicon they are then relaxed, and both are kept (key `ions`).
* `volumes`, `xx`, `yz`: what elastic constants are found from without a surrogate. Nine isotropic strains, in the plane
  for a sheet, and eight of either kind at the lattice where the energies of `volumes` are lowest.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk, mx2
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.eos import EquationOfState
from ase.optimize import BFGS
from scipy.stats import qmc

from ase_dkl.crystal.lattice import strained

SMEARING_EV = 0.05
ISOTROPIC = np.linspace(-0.02, 0.02, 9)
FINITE = (-0.01, -0.005, 0.005, 0.01, -0.02, -0.015, 0.015, 0.02)


@dataclass(frozen=True)
class System:
    """What is computed, and how."""

    reference: Atoms
    ecut_eV: float
    kpts: tuple[int, int, int]
    strain: float
    """Largest normal strain of the pool."""
    shear: float
    """Largest engineering shear of the pool."""
    points: int
    relaxed: bool = False
    largest_force: float = 0.005
    """Where a relaxation stops, eV/Å."""


def systems() -> dict[str, System]:
    """The crystals of the shipped data."""
    srtio3 = Atoms(
        "SrTiO3",
        scaled_positions=[(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)],
        cell=[3.945] * 3,
        pbc=True,
    )
    mos2 = mx2("MoS2", a=3.18, thickness=3.13, vacuum=6.0)
    return {
        "srtio3": System(srtio3, 800, (3, 3, 3), 0, 0, 0),
        "silicon": System(bulk("Si", a=5.47), 400, (6, 6, 6), 0.05, 0.08, 40, relaxed=True),
        "mos2": System(mos2, 400, (6, 6, 1), 0.06, 0.08, 40),
        "mgo_slab": System(magnesia_slab(4.18, layers=2, vacuum=5.0), 700, (4, 4, 1), 0.05, 0.08, 16),
    }


def magnesia_slab(a: float, layers: int, vacuum: float) -> Atoms:
    """MgO(001) with one formula unit a layer, ions where the bulk has them."""
    side = a / 2**0.5
    slab = Atoms(cell=[side, side, (layers - 1) * a / 2 + 2 * vacuum], pbc=[True, True, False])
    for layer in range(layers):
        corner, centre = (0.0, 0.0), (side / 2, side / 2)
        magnesium, oxygen = (corner, centre) if layer % 2 == 0 else (centre, corner)
        z = vacuum + layer * a / 2
        slab += Atoms("MgO", positions=[(*magnesium, z), (*oxygen, z)])
    return slab


def pool(system: System) -> Iterator[tuple[dict[str, Any], Atoms]]:
    """Strained copies of the reference that fill a box of strains evenly."""
    in_plane = not system.reference.pbc[2]
    axes = [0, 1, 5] if in_plane else list(range(6))
    half_widths = np.array([system.strain] * 3 + [system.shear] * 3)[axes]
    sobol = qmc.Sobol(len(axes), rng=0).random_base2(int(np.ceil(np.log2(max(system.points, 1)))))
    for index, point in enumerate(sobol[: system.points]):
        strain = np.zeros(6)
        strain[axes] = (2 * point - 1) * half_widths
        yield {"set": "pool", "index": index}, deformed(system.reference, strain)


def volumes(system: System) -> Iterator[tuple[dict[str, Any], Atoms]]:
    """The reference, larger and smaller."""
    in_plane = [1, 1, 0, 0, 0, 0] if not system.reference.pbc[2] else [1, 1, 1, 0, 0, 0]
    for index, stretch in enumerate(ISOTROPIC):
        yield {"set": "volumes", "index": index}, deformed(system.reference, stretch * np.array(in_plane))


def finite_strains(system: System, lowest: Atoms) -> Iterator[tuple[dict[str, Any], Atoms]]:
    """Small strains of the lattice of lowest energy."""
    names = {"xx": 0} if not system.reference.pbc[2] else {"xx": 0, "yz": 3}
    for name, component in names.items():
        for index, value in enumerate(FINITE):
            strain = np.zeros(6)
            strain[component] = value
            yield {"set": name, "index": index, "strain": value}, deformed(lowest, strain)


def deformed(atoms: Atoms, strain: np.ndarray) -> Atoms:
    """Strain a crystal with its ions, shears engineering."""
    copy: Atoms = atoms.copy()
    copy.set_cell(strained(atoms.cell.array, strain), scale_atoms=True)
    return copy


def label(system: System, keys: dict[str, Any], atoms: Atoms, database: Any) -> None:
    """Compute a structure and write it, unless it is there; once more with its ions relaxed where that is wanted."""
    from gpaw import __version__
    from gpaw.new.ase_interface import GPAW

    settings = {
        "code": "GPAW",
        "code_version": __version__,
        "xc": "PBE",
        "ecut_eV": float(system.ecut_eV),
        "kpts": "x".join(map(str, system.kpts)) + " gamma",
        "smearing_eV": SMEARING_EV,
    }
    last = keys | {"ions": "relaxed" if system.relaxed else "clamped"}
    claim = database.reserve(**{key: value for key, value in last.items() if key != "strain"})
    if claim is None:
        return
    atoms = atoms.copy()
    pbc = atoms.pbc.copy()
    atoms.pbc = True  # plane waves are periodic; the row says what the crystal is
    atoms.calc = GPAW(
        mode={"name": "pw", "ecut": system.ecut_eV},
        xc="PBE",
        kpts={"size": system.kpts, "gamma": True},
        occupations={"name": "fermi-dirac", "width": SMEARING_EV},
        convergence={"energy": 1e-5},
        txt=None,
    )
    if system.relaxed:
        database.write(row(atoms, pbc), **keys, ions="clamped", **settings)
        # In a relative coordinate of two atoms the optical mode of silicon has 27 eV/Å².
        BFGS(atoms, alpha=27.0, logfile=None).run(fmax=system.largest_force)
    database.write(row(atoms, pbc), id=claim, **last, **settings)
    print(*keys.values(), f"{atoms.get_potential_energy():.6f} eV", flush=True)


def row(atoms: Atoms, pbc: np.ndarray) -> Atoms:
    """Results of a structure, without the calculator that they are from."""
    results = {
        "energy": float(atoms.get_potential_energy()),
        "forces": atoms.get_forces(),
        "stress": atoms.get_stress(),
    }
    copy: Atoms = atoms.copy()
    copy.pbc = pbc
    copy.calc = SinglePointCalculator(copy, **results)
    return copy


def lattice_of_lowest_energy(system: System, database: Any) -> Atoms:
    """The reference, scaled to the minimum of a Birch–Murnaghan curve (of a parabola in the area for a sheet)."""
    rows = [r for r in database.select(set="volumes") if r.get("energy") is not None]
    rows = [r for r in rows if r.ions == ("relaxed" if system.relaxed else "clamped")]
    if len(rows) < len(ISOTROPIC):
        raise SystemExit("The volumes are not all there: another run is still at work on them.")
    energies = np.array([r.energy for r in rows])
    sizes = np.array([r.volume for r in rows])
    if system.reference.pbc[2]:
        lowest = EquationOfState(sizes, energies, eos="birchmurnaghan").fit()[0]
        stretch = (lowest / system.reference.get_volume()) ** (1 / 3)
    else:
        cubic = np.polynomial.Polynomial.fit(sizes, energies, 3)
        roots = cubic.deriv().roots().real
        lowest = min(roots, key=lambda size: float(cubic(size)) if cubic.deriv(2)(size) > 0 else np.inf)
        stretch = (lowest / system.reference.get_volume()) ** 0.5
    in_plane = 0 if not system.reference.pbc[2] else 1
    return deformed(system.reference, (stretch - 1) * np.array([1, 1, in_plane, 0, 0, 0]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("system", choices=sorted(systems()))
    parser.add_argument("database", type=Path)
    parser.add_argument("--points", type=int, help="rows of the pool")
    given = parser.parse_args()
    system = systems()[given.system]
    database = connect(given.database)
    for keys, atoms in [*volumes(system), *list(pool(system))[: given.points]]:
        label(system, keys, atoms, database)
    for keys, atoms in finite_strains(system, lattice_of_lowest_energy(system, database)):
        label(system, keys, atoms, database)


if __name__ == "__main__":
    main()
