"""What several tests make: structures with the labels of a calculator, and elastic constants."""

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from ase_dkl.arrays import Floats


def labelled(atoms: Atoms, *properties: str, by: Calculator | None = None) -> Atoms:
    """The same atoms with a calculator's labels attached.

    Args:
        atoms: a structure.
        properties: which; by default the energy, and the stress where there is one.
        by: the calculator; EMT by default.
    """
    atoms.calc = EMT() if by is None else by
    wanted = properties or (("energy", "stress") if atoms.pbc.all() else ("energy",))
    results = {name: atoms.calc.get_property(name, atoms) for name in wanted}
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def displaced(atoms: Atoms, n: int = 12, *, size: float = 0.06, strain: float = 0.02, seed: int = 0) -> list[Atoms]:
    """Strained copies, every ion of which is displaced."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        copy = atoms.copy()
        change = strain * rng.uniform(-1, 1, (3, 3))
        if atoms.pbc.all():
            copy.set_cell(copy.cell.array @ (np.eye(3) + (change + change.T) / 2), scale_atoms=True)
        copy.positions += size * rng.normal(size=(len(copy), 3))
        found.append(copy)
    return found


def rattled_alloy(n: int) -> list[Atoms]:
    """Cu3Au of EMT, 4 atoms, strained and with displaced ions."""
    alloy = bulk("Cu", "fcc", a=3.75, cubic=True)
    alloy.symbols[0] = "Au"
    return [labelled(each, "energy", "forces", "stress") for each in displaced(alloy, n)]


def known(number: float | None) -> float:
    """A number that there is."""
    assert number is not None
    return number


def cubic(C11: float, C12: float, C44: float) -> Floats:
    """Elastic constants of a cubic crystal, shape (6, 6)."""
    C = np.zeros((6, 6))
    C[:3, :3] = C12
    np.fill_diagonal(C, [C11] * 3 + [C44] * 3)
    return C


def triclinic(seed: int) -> Floats:
    """Elastic constants of a stable crystal without symmetry, shape (6, 6)."""
    noise = np.random.default_rng(seed).normal(scale=12, size=(6, 6))
    return cubic(250, 90, 70) + noise + noise.T
