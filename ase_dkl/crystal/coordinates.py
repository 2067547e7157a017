"""Scaled lattice parameters: what a model sees of a lattice, and what distances between lattices are measured in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ase_dkl.arrays import Floats
from ase_dkl.crystal.lattice import image_parameters, image_parameters_and_tangents

ENOUGH = 4096
"""Lattices that tell the spread of all."""
LEAST_LENGTH_SCALE = 0.005
"""Part of a length's mean: a lattice parameter that the data hardly vary is not blown up to unit variance."""
LEAST_ANGLE_SCALE = 0.3
"""The same for angles, degrees."""


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Lattice parameters of every symmetry image, about their mean and in units of their standard deviation.

    Attributes:
        images: symmetry images W, shape (g, d, d).
        centre: the mean of each lattice parameter, shape (p,).
        scale: the standard deviation likewise, shape (p,).
    """

    images: Floats
    centre: Floats
    scale: Floats

    @classmethod
    def standardising(cls, lattices: Floats, images: Floats | NDArray[np.int_]) -> Self:
        """Coordinates in which all images of some lattices, shape (n, d, 3), Å, have mean 0 and variance 1."""
        given = images.astype(float)
        parameters = image_parameters(sample(lattices), given)
        parameters = parameters.reshape(-1, parameters.shape[-1])
        least = np.full_like(parameters[0], LEAST_ANGLE_SCALE)
        lengths = slice(lattices.shape[1])
        least[lengths] = LEAST_LENGTH_SCALE * parameters[:, lengths].mean()
        return cls(given, parameters.mean(axis=0), np.maximum(parameters.std(axis=0), least))

    def of(self, lattices: Floats) -> Floats:
        """Coordinates of every image of lattices (n, d, 3), shape (n, g, p)."""
        return (image_parameters(lattices, self.images) - self.centre) / self.scale

    def with_tangents(self, lattices: Floats) -> tuple[Floats, Floats]:
        """The same, and their derivatives along the six Voigt strains, shape (n, g, 6, p)."""
        parameters, tangents = image_parameters_and_tangents(lattices, self.images)
        return (parameters - self.centre) / self.scale, tangents / self.scale


def sample(lattices: Floats) -> Floats:
    """Enough of the lattices, shape (n, d, 3), to tell the spread of all."""
    return lattices[:: max(1, len(lattices) // ENOUGH)]
