"""What follows from an energy of free ions needs of whoever knows that energy."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from ase_dkl.arrays import Floats
from ase_dkl.crystal import Crystal
from ase_dkl.model.domain import Extrapolation
from ase_dkl.model.prediction import JointPosterior


@runtime_checkable
class IonicEnergy(Protocol):
    """The energy of a crystal, molecule or cluster of which every ion moves, and how sure it is.

    A point has the shape (3 + N, 3), Å: rows 0 to 2 are the cell in the reference's basis, with zeros for the vacuum
    vectors of a molecule, then come the ions' Cartesian positions in the reference's order, each near its own site.
    Slopes are in two blocks, {"strain": 6, "displacement": 3 N}: ∂E/∂ε of ions that follow the strain, eV, and
    ∂E/∂r = −F, ion by ion, eV/Å. Energies are per reference cell, eV.
    """

    @property
    def crystal(self) -> Crystal:
        """The reference."""

    @property
    def reference(self) -> Floats:
        """Its point, shape (3 + N, 3), Å."""

    @property
    def points(self) -> Floats:
        """Points at which the energy is known best, such as training structures, shape (n, 3 + N, 3), Å."""

    def means(self, points: Floats) -> Floats:
        """Expected energies and slopes, shape (n, 7 + 3 N): the first of `marginals`, which may cost far less alone."""

    def marginals(self, points: Floats, slopes: bool) -> tuple[Floats, Floats]:
        """Mean and standard deviation of energies, and of their slopes where wanted, shape (n, 1) or (n, 7 + 3 N)."""

    def joint(self, points: Floats, slopes: bool, *, spread: bool = True) -> JointPosterior:
        """The joint Gaussian of energies, and of their slopes where wanted; `spread` as in `DeepKernel.joint`."""

    def noise(self, shape: tuple[int, int]) -> Floats:
        """The labels' noise in the units and the shape of `marginals`."""

    def extrapolation(self, points: Floats) -> Extrapolation:
        """How far points are from what is known."""
