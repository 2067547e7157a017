"""What moves: the points at which a model knows something, and what it sees of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol, Self

import numpy as np
from ase import Atoms

from ase_dkl.arrays import Floats
from ase_dkl.crystal import Crystal, Mapped
from ase_dkl.crystal.coordinates import Coordinates, sample
from ase_dkl.crystal.lattice import image_parameters, independent_strains, metric, strained
from ase_dkl.model.domain import Domain

_PART = 4096
"""Points looked at together."""
_STRAINS = np.eye(6)
_SCATTER = 0.1
"""Largest strain by which lattices are scattered."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What a model sees of n points, and of the first m of them along t directions.

    Attributes:
        points: shape (n, ...).
        directions: in the space's blocks, one after the other, shape (m, t, q); None where values alone are wanted.
        coordinates: of every symmetry image, shape (n, g, p).
        tangents: derivatives of the coordinates along the directions, shape (m, g, t, p), or None.
    """

    points: Floats
    directions: Floats | None
    coordinates: Floats
    tangents: Floats | None


@dataclass(frozen=True, eq=False)
class SeenAlong(Seen):
    """What is seen of points that all have tangents."""

    directions: Floats
    tangents: Floats


class Space(Protocol):
    """Points, and how they are seen. Made from a crystal and training points, and saved with the model."""

    blocks: ClassVar[Mapping[str, int]]
    """Directions along which values have slopes, by their kind, such as {"strain": 6}."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the coordinates that people know."""

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of symmetry images and of coordinates, g and p."""

    def map(self, atoms: Atoms) -> Mapped:
        """The point that a structure is, and of how many reference cells."""

    def atoms(self, point: Floats) -> Atoms:
        """The structure that a point is."""

    def coordinates(self, points: Floats) -> Floats:
        """Coordinates of every symmetry image, shape (n, g, p)."""

    def directions(self, points: Floats) -> Floats:
        """Independent directions at each point, shape (n, t, q)."""

    def seen(self, points: Floats, directions: Floats | None = None) -> Seen:
        """Points, and the first of them along directions (m, t, q)."""

    def seen_along_all(self, points: Floats) -> SeenAlong:
        """Points, and all of them along every direction of the blocks."""

    def between(self, points: Floats, n: int, rng: np.random.Generator) -> Floats:
        """Points between pairs of the given ones."""

    def scattered(self, points: Floats, n: int, rng: np.random.Generator) -> Floats:
        """Points all about the given ones."""

    def domain(self, points: Floats) -> Domain:
        """The region that points fill."""


@dataclass(frozen=True, eq=False)
class Lattice:
    """The lattice moves, and the ions follow it. Points are cells in the reference's basis, shape (n, 3, 3), Å.

    Attributes:
        crystal: the reference crystal, which knows the training cells.
        frame: the coordinates.
        metric: mean of all images of the training cells, about which strains are, shape (d, d), Å²; None in models from
            before there were any.
    """

    blocks: ClassVar[Mapping[str, int]] = {"strain": 6}

    crystal: Crystal
    frame: Coordinates
    metric: Floats | None

    @classmethod
    def of(cls, crystal: Crystal, cells: Floats, *, symmetry: bool = True) -> Self:
        """The space of a crystal, with or without its symmetry, in units of its training cells, shape (n, 3, 3), Å."""
        crystal = crystal if symmetry else crystal.without_symmetry()
        lattices, images = crystal.vectors(cells), crystal.images
        mean = metric(sample(lattices)).mean(axis=0)
        frame = Coordinates.standardising(lattices, images)
        return cls(crystal.near(cells), frame, (images @ mean @ images.mT).mean(axis=0))

    def knowing(self, cells: Floats) -> Self:
        """The same space with other training cells, shape (n, 3, 3), Å."""
        return replace(self, crystal=self.crystal.near(cells))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the lattice parameters."""
        return self.crystal.kind.parameters

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of symmetry images and of lattice parameters, g and p."""
        return len(self.frame.images), len(self.frame.centre)

    def map(self, atoms: Atoms) -> Mapped:
        """A structure's cell in the reference's basis, and of how many reference cells it is.

        Raises:
            NotThisCrystal: a structure that is not the reference crystal, strained.
        """
        return self.crystal.map(atoms)

    def atoms(self, point: Floats) -> Atoms:
        """The crystal with a cell of shape (3, 3), Å."""
        return self.crystal.atoms(point)

    def coordinates(self, points: Floats) -> Floats:
        """Scaled lattice parameters of every image of cells (n, 3, 3), shape (n, g, p)."""
        return self.frame.of(self.crystal.vectors(points))

    def directions(self, points: Floats) -> Floats:
        """Voigt strains that change the lattices of cells (n, 3, 3), shape (n, t, 6)."""
        return independent_strains(self.crystal.vectors(points))

    def seen(self, points: Floats, directions: Floats | None = None) -> Seen:
        """Cells (n, 3, 3), and the first of them along Voigt strains (m, t, 6)."""
        if directions is None or not len(directions):
            return Seen(points, directions, self.coordinates(points), None)
        m, lattices = len(directions), self.crystal.vectors(points)
        coordinates, tangents = self.frame.with_tangents(lattices[:m])
        if m < len(lattices):
            coordinates = np.concatenate([coordinates, self.frame.of(lattices[m:])])
        return Seen(points, directions, coordinates, directions[:, None] @ tangents)

    def seen_along_all(self, points: Floats) -> SeenAlong:
        """Cells (n, 3, 3), and all of them along the six Voigt strains."""
        coordinates, tangents = self.frame.with_tangents(self.crystal.vectors(points))
        return SeenAlong(points, np.broadcast_to(_STRAINS, (len(points), 6, 6)), coordinates, tangents)

    def between(self, points: Floats, n: int, rng: np.random.Generator) -> Floats:
        """Cells whose metrics are mixtures of two of the given ones', shape (n, 3, 3)."""
        metrics = metric(self.crystal.vectors(points))
        first, second = metrics[rng.integers(len(points), size=(2, n))]
        share = rng.random((n, 1, 1))
        roots = np.linalg.cholesky(share * first + (1 - share) * second)
        cells = np.zeros((n, 3, 3))
        cells[:, self.crystal.pbc, : roots.shape[-1]] = roots
        return cells

    def scattered(self, points: Floats, n: int, rng: np.random.Generator) -> Floats:
        """Some of the cells, strained at random, shape (n, 3, 3)."""
        cells = points[rng.integers(len(points), size=n)]
        return strained(cells, rng.uniform(-_SCATTER, _SCATTER, (n, 6)))

    def domain(self, points: Floats) -> Domain:
        """The region that cells, shape (n, 3, 3), fill."""
        parts = (points[start : start + _PART] for start in range(0, len(points), _PART))
        return Domain((self.coordinates(part) for part in parts), self.frame.scale, self.names)

    @property
    def reference(self) -> Floats:
        """Lattice parameters of the reference crystal, shape (p,), Å and degrees."""
        return np.asarray(self.parameters(self.crystal.cell[None])[0, 0])

    def parameters(self, points: Floats) -> Floats:
        """Lattice parameters of every image of cells (n, 3, 3), shape (n, g, p), Å and degrees."""
        return image_parameters(self.crystal.vectors(points), self.crystal.images.astype(float))

    def ranges(self, points: Floats) -> list[tuple[str, float, float, float]]:
        """Lattice parameters of cells and their images: name, lowest, the reference's, highest."""
        parameters = self.parameters(points).reshape(-1, len(self.names))
        columns = (parameters.min(axis=0), self.reference, parameters.max(axis=0))
        return list(zip(self.names, *(column.tolist() for column in columns), strict=True))
