"""Random crystals, sheets and chains with known energies and stresses: bonds that stretch and a volume that resists."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal
from ase.stress import full_3x3_to_voigt_6_stress
from ase.units import GPa

from ase_dkl import Crystal
from ase_dkl.arrays import Floats

LAUE = {
    2: ([4.0, 4.8, 5.6, 80, 75, 70], (0.2, 0.3, 0.1)),
    10: ([4.0, 4.8, 5.2, 90, 105, 90], (0.15, 0, 0.3)),
    47: ([4.0, 4.6, 5.2, 90, 90, 90], (0, 0, 0)),
    83: ([5.2, 5.2, 4.0, 90, 90, 90], (0.13, 0.31, 0)),
    123: ([4.0, 4.0, 5.2, 90, 90, 90], (0, 0, 0)),
    147: ([4.8, 4.8, 4.4, 90, 90, 120], (0.25, 0.4, 0.2)),
    164: ([4.0, 4.0, 5.6, 90, 90, 120], (1 / 3, 2 / 3, 0.3)),
    175: ([6.4, 6.4, 5.2, 90, 90, 120], (0.14, 0.37, 0)),
    191: ([4.0, 4.0, 4.4, 90, 90, 120], (0, 0, 0)),
    200: ([5.6, 5.6, 5.6, 90, 90, 90], (0, 0.2, 0.34)),
}
"""A lattice and a site for a space group of each Laue class but that of bulk silicon and copper."""


def unstrained() -> list[Atoms]:
    """One structure of every Laue class and dimension."""
    structures = [crystal("Si", [site], spacegroup=group, cellpar=cell) for group, (cell, site) in LAUE.items()]
    sites, hexagonal = [[1 / 3, 2 / 3, 0.5], [2 / 3, 1 / 3, 0.5]], [2.5, 2.5, 20, 90, 90, 120]
    sheet = Atoms("BN", scaled_positions=sites, cell=hexagonal, pbc=[True, True, False])
    chain = Atoms("C2", positions=[[0, 0, 0], [1.2, 0.4, 0]], cell=[2.5, 15, 15], pbc=[True, False, False])
    return [*structures, bulk("Si"), bulk("Cu", cubic=True), bulk("Fe"), sheet, chain]


@dataclass(frozen=True, eq=False)
class Labelled:
    """Cells with their labels; `energies` and `stresses` may carry noise and an offset."""

    crystal: Crystal
    cells: Floats
    energies: Floats
    stresses: Floats

    def spoilt(self, stresses: Floats) -> Labelled:
        return replace(self, stresses=stresses)


def labelled(atoms: Atoms, rng: np.random.Generator, size: float, n: int, noise: float, offset: float) -> Labelled:
    """Strained copies of a crystal.

    Args:
        atoms: unstrained.
        rng: of everything random.
        size: of the strains.
        n: rows; every other set has one strain at a time, at ±½ and ±1 times the size.
        noise: of both labels, of their spread.
        offset: in V σ, eV.
    """
    reference = Crystal.from_atoms(atoms)
    axes = list(reference.periodic)
    within = np.isin(np.arange(3), axes)
    if rng.integers(2):
        strains = np.array([_strain(i, j, size * step) for i in axes for j in axes if i <= j for step in STEPS])
        strains = np.concatenate([np.zeros((1, 3, 3)), strains])
    else:
        strains = rng.uniform(-size, size, (n, 3, 3)) * within * within[:, None]
        strains = (strains + strains.transpose(0, 2, 1)) / 2
    cells = reference.cell @ (np.eye(3) + strains)
    energies, virials = _bonds(reference, cells, rng)
    energies += noise * energies.std() * rng.normal(size=len(cells)) - 100
    symmetric = rng.normal(size=(len(cells), 3, 3))
    symmetric = (symmetric + symmetric.transpose(0, 2, 1)) / np.sqrt(2)
    virials += (noise * virials.std(axis=0).max() * symmetric + offset * np.eye(3)) * within * within[:, None]
    stresses = virials / np.abs(np.linalg.det(cells))[:, None, None]
    return Labelled(reference, cells, energies, full_3x3_to_voigt_6_stress(stresses))


STEPS = (-1, -0.5, 0.5, 1)


def _strain(i: int, j: int, size: float) -> Floats:
    strain = np.zeros((3, 3))
    strain[i, j] = strain[j, i] = size if i == j else size / 2
    return strain


def _bonds(reference: Crystal, cells: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Energies of Morse bonds along lattice vectors and all their images, and of the volume; and V σ."""
    axes = list(reference.periodic)
    d = len(axes)
    rest = reference.cell[axes] @ reference.cell[axes].T
    lattices = cells[:, axes]
    metrics = lattices @ lattices.transpose(0, 2, 1)
    vectors = np.array([v for v in product((-1, 0, 1), repeat=d) if any(v)])
    vectors = vectors[rng.permutation(len(vectors))[: d * (d + 1) // 2 + 1]]
    images = np.einsum("bi,gij->bgj", vectors, reference.images).reshape(-1, d)
    stiffness = (
        120 * GPa * 15 * len(reference.numbers) * rng.lognormal(0, 0.6, len(vectors)).repeat(len(reference.images))
    )
    stiffness /= len(images)
    lengths = np.sqrt(np.einsum("bi,ij,bj->b", images, rest, images))
    stretches = np.sqrt(np.einsum("bi,nij,bj->nb", images, metrics, images)) / lengths
    decay = np.exp(-3 * (stretches - 1))
    energies = (stiffness * (1 - decay) ** 2 / 18).sum(axis=1)
    slopes = stiffness * (1 - decay) * decay / 3 / (2 * stretches * lengths**2)
    of_metric = np.einsum("nb,bi,bj->nij", slopes, images, images)
    size = np.sqrt(np.linalg.det(metrics) / np.linalg.det(rest))
    bulk_modulus = stiffness.sum()
    energies += bulk_modulus * (size - 1 - np.log(size))
    of_metric += (bulk_modulus * (size - 1) / 2)[:, None, None] * np.linalg.inv(metrics)
    return energies, 2 * lattices.transpose(0, 2, 1) @ of_metric @ lattices
