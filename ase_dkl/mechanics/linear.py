"""Quantities that are linear in the strain derivatives of the energy: their means and their joint covariance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ase_dkl.arrays import Floats

if TYPE_CHECKING:
    from ase_dkl.model.lattice_energy import LatticeEnergy
    from ase_dkl.model.prediction import JointPosterior


@dataclass(frozen=True, eq=False)
class Linear:
    """Quantities q = L d of the derivatives d = ∂E/∂ε at several cells.

    Attributes:
        cells: shape (n, 3, 3), Å.
        weights: L, shape (p, n, 6); each derivative is in eV, about the cell at which it is taken.
    """

    cells: Floats
    weights: Floats

    def mean(self, surrogate: LatticeEnergy) -> Floats:
        """Expected values, shape (p,)."""
        return np.tensordot(self.weights, surrogate.derivatives(self.cells), axes=2)

    def posterior(self, surrogate: LatticeEnergy) -> tuple[Floats, Floats]:
        """Expected values, shape (p,), and their covariance L Σ Lᵀ, shape (p, p)."""
        return self.under(surrogate.posterior(self.cells))

    def under(self, joint: JointPosterior) -> tuple[Floats, Floats]:
        """The same from a joint posterior of the cells that is known already."""
        mean, covariance = joint.of("strain")
        weights = self.weights.reshape(len(self.weights), -1)
        return weights @ mean, weights @ covariance @ weights.T
