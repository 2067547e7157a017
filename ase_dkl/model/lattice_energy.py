"""What follows from an energy needs of whoever knows the energy."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from numpy.typing import ArrayLike

from ase_dkl.arrays import Floats
from ase_dkl.crystal import Crystal
from ase_dkl.model.domain import Extrapolation
from ase_dkl.model.prediction import JointPosterior, Prediction


@runtime_checkable
class LatticeEnergy(Protocol):
    """The energy of a crystal as a function of its lattice, and how sure it is. A surrogate is one.

    Cells are in the reference's basis, shape (n, 3, 3), Å; energies are per reference cell, eV.
    """

    @property
    def crystal(self) -> Crystal:
        """The reference crystal."""

    @property
    def cells(self) -> Floats:
        """Cells at which the energy is known best, such as training lattices, shape (n, 3, 3), Å."""

    def predict_cells(self, cells: ArrayLike, *, stress: bool = True) -> Prediction:
        """Energies, and stresses where wanted."""

    def derivatives(self, cells: ArrayLike) -> Floats:
        """Expected ∂E/∂ε, eV, shape (n, 6)."""

    def posterior(self, cells: ArrayLike, *, derivatives: bool = True, spread: bool = True) -> JointPosterior:
        """The joint Gaussian of energies, and of ∂E/∂ε where wanted."""

    def extrapolation(self, cells: ArrayLike) -> Extrapolation:
        """How far cells are from what is known."""
