"""Second derivatives of the energy by displacements and strains, from slopes about a structure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ase_dkl.arrays import Floats
from ase_dkl.crystal.lattice import STRAIN_GENERATORS, on_strains
from ase_dkl.mechanics.motions import SiteGroup, complement, displacements, moved, rigid_motions

if TYPE_CHECKING:
    from ase_dkl.crystal import Crystal
    from ase_dkl.model.ionic_energy import IonicEnergy

STEP = 5e-3
"""Displacement of central differences, Å: their error is some 10⁻⁵ of a force constant."""
_GENERIC = np.array([[1.0, 0.1, 0.2], [0.1, 2.0, 0.3], [0.2, 0.3, 3.0]])
"""A matrix without symmetry: what is left of it by a group tells apart directions that the group does not mix."""


@dataclass(frozen=True, eq=False)
class Curvature:
    """Second derivatives at a structure.

    Attributes:
        uu: ∂²E/∂u∂u, eV/Å², shape (3 N, 3 N), symmetric; motions that leave the energy alone cost nothing.
        eu: ∂²E/∂ε∂u, eV/Å, of ions that follow the strain ε and are displaced by u from there, shape (6, 3 N).
        others: an orthonormal basis of the displacements that change the energy, shape (3 N − k, 3 N).
    """

    uu: Floats
    eu: Floats
    others: Floats

    @property
    def modes(self) -> tuple[Floats, Floats]:
        """Curvatures of displacements that change the energy, ascending, and their directions, (3 N − k, 3 N)."""
        values, vectors = np.linalg.eigh(self.others @ self.uu @ self.others.T)
        return values, np.asarray(vectors.T @ self.others)

    @property
    def projection(self) -> Floats:
        """Onto displacements that change the energy, shape (3 N, 3 N)."""
        return self.others.T @ self.others

    @property
    def inverse(self) -> Floats:
        """How ions move with the slopes, but for the sign: δu = −H⁻¹ δg, Å²/eV, shape (3 N, 3 N)."""
        return np.asarray(self.others.T @ np.linalg.solve(self.others @ self.uu @ self.others.T, self.others))

    @property
    def response(self) -> Floats:
        """∂u/∂ε of ions on which no forces remain, Å, shape (3 N, 6)."""
        return -self.inverse @ self.eu.T

    def turned(self, rotation: Floats) -> Curvature:
        """Those of the structure turned by r → r @ rotation."""
        on_strain = on_strains(rotation[None])[0]
        n = self.uu.shape[0] // 3
        uu = np.einsum("ab,namc,cd->nbmd", rotation, self.uu.reshape(n, 3, n, 3), rotation)
        eu, others = ((each.reshape(-1, n, 3) @ rotation).reshape(-1, 3 * n) for each in (self.eu, self.others))
        return Curvature(uu.reshape(3 * n, 3 * n), on_strain.T @ eu, others)


def curvatures(model: IonicEnergy, points: Floats) -> list[Curvature]:
    """Second derivatives at several structures; only displacements that symmetry does not make of others are computed.

    Args:
        model: the energy.
        points: shape (n, 3 + N, 3), Å.
    """
    crystal = model.crystal
    groups = [SiteGroup.of(crystal, point) for point in points]
    ways = [_independent_displacements(group) for group in groups]
    about = [
        moved(point[None], displacements(STEP * np.concatenate([way, -way, np.zeros((1, way.shape[1]))])))
        for point, way in zip(points, ways, strict=True)
    ]
    slopes = model.means(np.concatenate(about))[:, 1:]
    split = np.split(slopes, np.cumsum([len(each) for each in about])[:-1])
    found = zip(points, groups, ways, split, strict=True)
    return [_curvature(crystal, point, group, way, rows) for point, group, way, rows in found]


def _curvature(crystal: Crystal, point: Floats, group: SiteGroup, ways: Floats, slopes: Floats) -> Curvature:
    m, g = len(ways), len(group.rotations)
    changes = (slopes[:m] - slopes[m : 2 * m]) / (2 * STEP)
    images = np.array([group.turned(way) for way in ways]).reshape(m * g, -1)
    inverse = np.linalg.inv(images.T @ images)
    of_forces = np.array([group.turned(change[6:]) for change in changes]).reshape(m * g, -1)
    of_stress = (changes[:, None, None, :6] @ on_strains(group.rotations)).reshape(m * g, 6)
    uu = of_forces.T @ images @ inverse
    # What a strain does to a displacement is no part of what it does to the slope.
    carried = np.einsum("jbc,nc->jnb", STRAIN_GENERATORS, slopes[-1, 6:].reshape(-1, 3))
    eu = of_stress.T @ images @ inverse - carried.reshape(6, -1)
    rigid = rigid_motions(crystal, point[3:])
    others = complement(rigid)
    found = Curvature(group.averaged((uu + uu.T) / 2), group.averaged_rows(eu), others)
    projection = found.projection
    return replace(found, uu=projection @ found.uu @ projection, eu=found.eu @ projection)


def _independent_displacements(group: SiteGroup) -> Floats:
    """Unit displacements of single ions whose images are all displacements, shape (m, 3 N)."""
    n = group.permutations.shape[1]
    found = []
    left = set(range(n))
    while left:
        ion = min(left)
        left -= set(group.permutations[:, ion].tolist())
        turns = group.rotations[group.permutations[:, ion] == ion]
        reached = np.empty((0, 3))
        for way in np.linalg.eigh((turns.mT @ _GENERIC @ turns).mean(axis=0))[1].T:
            more = np.concatenate([reached, way @ turns])
            if np.linalg.matrix_rank(more, tol=0.1) > len(reached):
                displacement = np.zeros((n, 3))
                displacement[ion] = way
                found.append(displacement.ravel())
                reached = _basis(more)
    return np.array(found)


def _basis(vectors: Floats) -> Floats:
    _, sizes, directions = np.linalg.svd(vectors, full_matrices=False)
    return np.asarray(directions[sizes > 0.1])
