"""Copper under strain, labelled by ASE's effective medium theory: as many labels as wanted, without noise."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from _common import Floats
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from scipy.stats import qmc

A = 3.6
"""Å, of the cubic cell."""
STRETCH, SHEAR = 0.1, 10.0
"""Half-widths of the box: of lengths as fractions, of angles in degrees."""


def box(seed: int, n: int) -> Floats:
    """Lattice parameters of scrambled Sobol points in the box, Å and degrees, shape (n, 6)."""
    return _lattices(_sobol(seed, n))


def around_the_box(seed: int, n: int, inner: float = 1.2, outer: float = 1.8) -> Floats:
    """The same between two multiples of the box's half-widths."""
    points = outer * _sobol(seed, 2 ** int(np.ceil(np.log2(2 * n))))
    return _lattices(points[np.abs(points).max(axis=1) >= inner][:n])


def copper(lattice: Floats) -> Atoms:
    """The strained cubic cell of four atoms."""
    atoms = bulk("Cu", "fcc", a=A, cubic=True)
    atoms.set_cell(lattice, scale_atoms=True)
    return atoms


def labelled(lattices: Iterable[Floats]) -> list[Atoms]:
    """Structures with energies and stresses."""
    structures = []
    for lattice in lattices:
        atoms = copper(lattice)
        atoms.calc = EMT()
        energy, stress = atoms.get_potential_energy(), atoms.get_stress()
        atoms.calc = SinglePointCalculator(atoms, energy=energy, stress=stress)
        structures.append(atoms)
    return structures


def _sobol(seed: int, n: int) -> Floats:
    return np.asarray(2 * qmc.Sobol(d=6, scramble=True, seed=seed).random(n) - 1)


def _lattices(points: Floats) -> Floats:
    return np.hstack([A * (1 + STRETCH * points[:, :3]), 90 + SHEAR * points[:, 3:]])
