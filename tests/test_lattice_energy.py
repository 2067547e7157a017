"""What follows from an energy follows from any: here from one that is known exactly."""

import numpy as np
import pytest
from ase.build import bulk
from ase.units import GPa
from numpy.typing import ArrayLike

from ase_dkl import Crystal, Prediction, elastic_constants, equation_of_state, equilibrium, scan_along
from ase_dkl.arrays import Floats
from ase_dkl.crystal.lattice import VOIGT
from ase_dkl.model.domain import Extrapolation
from ase_dkl.model.lattice_energy import LatticeEnergy
from ase_dkl.model.layout import Layout
from ase_dkl.model.prediction import JointPosterior, Normal

C11, C12, C44 = 1.7, 1.2, 0.75
ENERGY = -3.5


class Hooke:
    """½ V₀ E C E of the Green strain E of copper, whose elastic constants are C in eV/Å³, and nothing unknown."""

    def __init__(self) -> None:
        self.crystal = Crystal.from_atoms(bulk("Cu", a=3.6, cubic=True))
        self.cells = self.crystal.cell[None]
        self.stiffness = np.diag([C11 - C12] * 3 + [C44] * 3)
        self.stiffness[:3, :3] += C12

    def _energies(self, cells: Floats) -> tuple[Floats, Floats]:
        """Energies, shape (n,), and their derivatives along Voigt strains of each cell, (n, 6), eV."""
        deformation = np.linalg.inv(self.crystal.cell) @ cells
        green = (deformation @ deformation.mT - np.eye(3)) / 2
        rows, columns = zip(*VOIGT, strict=True)
        strain = green[:, rows, columns] * [1, 1, 1, 2, 2, 2]
        volume = np.linalg.det(self.crystal.cell)
        stress = np.zeros_like(green)  # the second Piola-Kirchhoff one
        stress[:, rows, columns] = stress[:, columns, rows] = strain @ self.stiffness
        slopes = (deformation.mT @ stress @ deformation)[:, rows, columns]
        return ENERGY + volume * np.einsum("ni,ij,nj->n", strain, self.stiffness, strain) / 2, volume * slopes

    def derivatives(self, cells: ArrayLike) -> Floats:
        return self._energies(np.asarray(cells))[1]

    def predict_cells(self, cells: ArrayLike, *, stress: bool = True) -> Prediction:
        energies, slopes = self._energies(np.asarray(cells))
        rows = np.column_stack([energies, slopes] if stress else [energies])
        return Prediction.of(np.asarray(cells), Normal(rows, 0 * rows, 0 * rows))

    def posterior(self, cells: ArrayLike, *, derivatives: bool = True, spread: bool = True) -> JointPosterior:  # noqa: ARG002
        energies, slopes = self._energies(np.asarray(cells))
        n = len(energies)
        mean = np.concatenate([energies, slopes.ravel()]) if derivatives else energies
        layout = Layout(n, n, {"strain": 6}) if derivatives else Layout(n)
        return JointPosterior(mean, np.zeros((len(mean),) * 2), layout)

    def extrapolation(self, cells: ArrayLike) -> Extrapolation:
        n = len(np.asarray(cells))
        return Extrapolation(np.zeros((n, 1, 6)), np.zeros(n), 1.0, self.crystal.kind.parameters)


@pytest.fixture(scope="module")
def hooke() -> LatticeEnergy:
    return Hooke()


def test_equilibrium(hooke: LatticeEnergy) -> None:
    found = equilibrium(hooke)
    assert found.lattice_parameters == pytest.approx([3.6] * 3 + [90] * 3)
    assert found.energy == pytest.approx(ENERGY)
    assert found.lattice_parameters_std == pytest.approx(0)


def test_elastic_constants(hooke: LatticeEnergy) -> None:
    found = elastic_constants(hooke)
    # Central differences of steps of a thousandth leave a millionth.
    assert found.C_GPa[0, [0, 1]] == pytest.approx(np.array([C11, C12]) / GPa, rel=1e-4)
    assert found.C_GPa[3, 3] == pytest.approx(C44 / GPa, rel=1e-4)
    assert found.C_std_GPa == pytest.approx(0)


@pytest.mark.filterwarnings("ignore::ase_dkl.mechanics.eos.MisfitWarning")
def test_equation_of_state(hooke: LatticeEnergy) -> None:
    found = equation_of_state(hooke, bounds=(-0.01, 0.01))
    assert pytest.approx(3.6**3, rel=1e-4) == found.V0_A3
    assert found.B0_GPa == pytest.approx((C11 + 2 * C12) / 3 / GPa, rel=1e-2)


def test_scan(hooke: LatticeEnergy) -> None:
    scan = scan_along(hooke, "a", [0.0, 0.02])
    strain = (1.02**2 - 1) / 2
    assert scan.energy == pytest.approx(ENERGY + np.array([0, 3.6**3 * C11 * strain**2 / 2]))
