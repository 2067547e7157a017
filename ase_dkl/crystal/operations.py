"""Whole symmetry operations of a crystal: where they turn it, by how much they shift it, and which site comes where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ase_dkl.arrays import Floats, Integers
from ase_dkl.crystal.lattice import normals
from ase_dkl.crystal.motif import Motif
from ase_dkl.crystal.relabelling import isometries


@dataclass(frozen=True, eq=False)
class Operations:
    """Isometries that lay a crystal on itself. A position r goes to r @ rotation + translation.

    Attributes:
        rotations: orthogonal, shape (g, 3, 3).
        translations: shape (g, 3), Å.
        permutations: the site on which each site comes to lie, in this cell or another one, shape (g, n).
        images: of the lattice, which of the crystal's images each turns it into, shape (g,).
    """

    rotations: Floats
    translations: Floats
    permutations: Integers
    images: Integers

    @classmethod
    def of(cls, motif: Motif, images: Integers, tolerance: float) -> Self:
        """All that the images of a motif's lattice allow, those of reversed moments too.

        Args:
            motif: sites of one cell.
            images: symmetry images W of its lattice, W and −W once, shape (g, d, d).
            tolerance: distance within which sites coincide, Å.
        """
        d, frame = motif.dimension, np.vstack([motif.lattice, normals(motif.lattice)])
        found: dict[bytes, tuple[Floats, Floats, Integers, int]] = {}
        for place, image in enumerate(images):
            relabelled = motif.in_basis(image)
            along = np.eye(3)
            along[:d, :d] = np.linalg.inv(image)
            for isometry in isometries(motif, relabelled, tolerance):
                rotation = np.linalg.inv(frame) @ along @ isometry @ frame
                for placement in motif.placements(relabelled.transformed(isometry), tolerance):
                    permutation = placement.partners
                    key = (rotation.round(6) + 0.0).tobytes() + permutation.tobytes()
                    found.setdefault(key, (rotation, placement.shift @ frame, permutation, place))
        rotations, translations, permutations, places = map(np.array, zip(*found.values(), strict=True))
        return cls(rotations, translations, permutations, places)

    def where(self, kept: NDArray[np.bool_]) -> Self:
        """Some of them, by a mask of shape (g,)."""
        return type(self)(self.rotations[kept], self.translations[kept], self.permutations[kept], self.images[kept])
